// SPDX-License-Identifier: Apache-2.0
// Due times are kept by the wall's clock, which tests and operators may put forward. When it is set
// back what waits would wait for as much longer: so from then on that much is added.
#include "base/logline.h"
#include "base/time.h"
#include "delivery/delivery_priv.h"

enum { CLOCK_SLACK_MS = 2000 }; // what a clock that is being corrected may lose between two looks

int64_t delivery_now_ms(struct deliveries *d)
{
    struct io *io = d->env.io;
    int64_t wall_ms = io->wall_ns(io) / NS_PER_MS, mono_ns = io->mono_ns(io), lost_ms = 0;
    pthread_mutex_lock(&d->clock_lock);
    int64_t now_ms = wall_ms + d->clock_back_ms;
    int64_t expected_ms = d->clock_ms + (mono_ns - d->clock_mono_ns) / NS_PER_MS;
    if (d->clock_ms != 0 && now_ms + CLOCK_SLACK_MS < expected_ms) {
        lost_ms = expected_ms - now_ms;
        d->clock_back_ms += lost_ms;
        now_ms = expected_ms;
    }
    d->clock_ms = now_ms;
    d->clock_mono_ns = mono_ns;
    pthread_mutex_unlock(&d->clock_lock);
    if (lost_ms > 0)
        LOG(LOG_WARN, "the clock was set back: deliveries go on as if it was not",
            F_INT("ms", lost_ms));
    return now_ms;
}

int64_t delivery_wall_ms(struct deliveries *d, int64_t ms)
{
    pthread_mutex_lock(&d->clock_lock);
    int64_t wall_ms = ms - d->clock_back_ms;
    pthread_mutex_unlock(&d->clock_lock);
    return wall_ms;
}
