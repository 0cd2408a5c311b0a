// SPDX-License-Identifier: Apache-2.0
#include "schedule.h"

#include "load.h"

#include <math.h>
#include <unistd.h>

uint64_t random_next(uint64_t *seed)
{
    *seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = *seed;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

void schedule_set(struct schedule *s, enum mode mode, double rate)
{
    pthread_mutex_lock(&s->lock);
    s->mode = mode;
    s->rate = rate;
    s->next_us = now_us();
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

uint64_t schedule_take(struct schedule *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->mode == MODE_PAUSED && !s->quitting)
        pthread_cond_wait(&s->changed, &s->lock);
    uint64_t now = now_us(), due = now;
    if (s->mode == MODE_OPEN) {
        double chance = (double)(random_next(&s->seed) >> 11) / (double)(UINT64_C(1) << 53);
        due = s->next_us;
        s->next_us += (uint64_t)(-log(1 - chance) / s->rate * 1e6);
    }
    bool ends = s->quitting || (s->end_us > 0 && (due >= s->end_us || now >= s->end_us)) ||
                (s->turns_max > 0 && s->turns == s->turns_max);
    s->busy += !ends;
    s->turns += !ends;
    pthread_mutex_unlock(&s->lock);
    if (!ends && due > now)
        usleep((useconds_t)(due - now));
    return ends ? 0 : due;
}

void schedule_end(struct schedule *s)
{
    pthread_mutex_lock(&s->lock);
    s->busy--;
    pthread_mutex_unlock(&s->lock);
}

bool schedule_is_paused(struct schedule *s)
{
    pthread_mutex_lock(&s->lock);
    bool paused = s->mode == MODE_PAUSED || s->quitting;
    pthread_mutex_unlock(&s->lock);
    return paused;
}

bool schedule_is_quiet(struct schedule *s)
{
    pthread_mutex_lock(&s->lock);
    bool quiet = s->mode == MODE_PAUSED && s->busy == 0;
    pthread_mutex_unlock(&s->lock);
    return quiet;
}

bool schedule_is_quitting(struct schedule *s)
{
    pthread_mutex_lock(&s->lock);
    bool quitting = s->quitting;
    pthread_mutex_unlock(&s->lock);
    return quitting;
}

uint64_t schedule_backlog_us(struct schedule *s)
{
    uint64_t now = now_us();
    pthread_mutex_lock(&s->lock);
    uint64_t behind = s->mode == MODE_OPEN && s->next_us < now ? now - s->next_us : 0;
    pthread_mutex_unlock(&s->lock);
    return behind;
}
