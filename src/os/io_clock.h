// SPDX-License-Identifier: Apache-2.0
// A clock that can be moved forward: everything of another table, with an offset added to both
// clocks. So a day of retention passes in a moment, for everybody who was given this table, and for
// nobody else (deadlines of sockets stay as they are).
#pragma once
#include "os/io.h"

struct io_clock;

void io_clock_open(struct io *base, int64_t offset_ns, struct io_clock **ret); // base is borrowed
void io_clock_close(struct io_clock *c); // the table is no longer used; NULL is fine
AUTO_CLOSE(io_clock)

struct io *io_clock_io(struct io_clock *c);

// From any thread. The offset only grows, and no further than IO_CLOCK_OFFSET_MAX: ERR_LIMIT.
#define IO_CLOCK_OFFSET_MAX (INT64_C(100) * 365 * 86400 * 1000000000)
int64_t io_clock_offset(const struct io_clock *c);
Err io_clock_advance(struct io_clock *c, int64_t by_ns); // by_ns >= 0
