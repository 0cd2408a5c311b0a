// SPDX-License-Identifier: Apache-2.0
// The virtual clock of a server: how far it has been moved is kept in DIR/clock, so that time does
// not go back at the next start. Moving it is for tests of what takes hours or days: retention,
// iterators, limits. Only the profile dev may; an offset that is there is kept in every profile.
//
//     DIR/clock     a marker file (codec/marker.h) of the kind headrace-clock, with offset_ns; in
//                   its first format "headrace-clock 1 <nanoseconds>" and a line end
//
//     GET  /_headrace/clock                {"now":"...","offset_seconds":N}
//     POST /_headrace/clock?advance=25h    the same, afterwards; needs the header x-headrace-clock:
//     1,
//                                          which no page of another site can send
#pragma once
#include "aws/front.h"
#include "os/io_clock.h"

struct clock;

typedef struct ClockConfig {
    struct io *io; // the real one
    Str data_path;
    bool may_advance;  // the profile dev
    struct pool *pool; // the file is written on it
} ClockConfig;

// ERR_CORRUPT: the file is not one of ours. ERR_FORMAT: a newer program's. Strings are copied.
Err clock_open(const ClockConfig *config, struct clock **ret);
void clock_close(struct clock *c); // NULL is fine
AUTO_CLOSE(clock)

struct io *clock_io(struct clock *c); // for everything that shall follow the virtual clock
int64_t clock_offset_ns(const struct clock *c);

// On disk before it is in effect. ERR_DENIED: not in this profile. ERR_LIMIT: too far.
Err clock_advance(struct clock *c, int64_t by_ns);

Err clock_add_page(struct clock *c, struct front *front);
