// SPDX-License-Identifier: Apache-2.0
#include "os/io_clock.h"

#include <stdatomic.h>
#include <stdlib.h>

struct io_clock {
    struct io io; // first: the functions below are called with it
    struct io *base;
    _Atomic int64_t offset_ns;
};

static struct io_clock *of_io(struct io *io)
{
    return (struct io_clock *)io;
}

static int64_t clock_wall_ns(struct io *io)
{
    struct io_clock *c = of_io(io);
    return c->base->wall_ns(c->base) + atomic_load_explicit(&c->offset_ns, memory_order_relaxed);
}

static int64_t clock_mono_ns(struct io *io)
{
    struct io_clock *c = of_io(io);
    return c->base->mono_ns(c->base) + atomic_load_explicit(&c->offset_ns, memory_order_relaxed);
}

void io_clock_open(struct io *base, int64_t offset_ns, struct io_clock **ret)
{
    struct io_clock *c = xalloc(sizeof *c);
    c->io = *base; // files, queues and randomness as they were; they find themselves by `self`
    c->base = base;
    c->io.wall_ns = clock_wall_ns;
    c->io.mono_ns = clock_mono_ns;
    atomic_init(&c->offset_ns, offset_ns);
    *ret = c;
}

void io_clock_close(struct io_clock *c)
{
    free(c);
}

struct io *io_clock_io(struct io_clock *c)
{
    return &c->io;
}

int64_t io_clock_offset(const struct io_clock *c)
{
    return atomic_load_explicit(&c->offset_ns, memory_order_relaxed);
}

Err io_clock_advance(struct io_clock *c, int64_t by_ns)
{
    CHECK(by_ns >= 0);
    int64_t now = io_clock_offset(c);
    do {
        if (by_ns > IO_CLOCK_OFFSET_MAX - now)
            return fail(ERR_LIMIT, "the clock cannot be moved so far");
    } while (!atomic_compare_exchange_weak(&c->offset_ns, &now, now + by_ns));
    return OK;
}
