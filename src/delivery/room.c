// SPDX-License-Identifier: Apache-2.0
// Memory for batches that wait for others: destinations over the network, functions. Before a lane
// reads, it takes room for what it is about to hold: the records, and what is made of them on the
// way. Where there is none it waits without a thread, and the records in the log. So hundreds of
// slow destinations cost as much memory as a few.
//
// What is kept of batches between attempts is at most half of the room (attempt.c), and whoever is
// alone always gets it: something is always on its way.
#include "base/memory.h"
#include "delivery/delivery_priv.h"

enum {
    ROOM_BYTES_MOST = 256 << 20, // where nothing is set
    ROOM_BYTES_LEAST = 16 << 20,
    BODY_FACTOR = 2,      // a request's body: base64, or JSON around each record
    ROWS_SHARE = 2,       // of the records of a file: its rows, packed, and what is being packed
    LOAD_BYTES = 4 << 20, // of COPY: a piece of an object, what is unpacked of it, rows to be sent
    CALL_FACTOR = 4,      // a function's request, its reply, and what is read out of that
};

size_t room_bytes(size_t set)
{
    MemoryStats s;
    memory_stats(&s);
    if (set > 0)
        return set;
    size_t half = s.requests_bytes_max / 2;
    return half == 0 ? ROOM_BYTES_MOST
                     : MAX(MIN(half, (size_t)ROOM_BYTES_MOST), (size_t)ROOM_BYTES_LEAST);
}

static size_t need_of(const struct lane *l)
{
    const struct plan *p = l->plan;
    size_t waiting = (size_t)MAX(atomic_load(&l->pending_bytes), (int64_t)0);
    bool sends = p->sink != NULL && !p->ops->wants_objects;
    size_t most = sends ? (size_t)atomic_load(&l->size_bytes) : p->piece_bytes;
    if (p->sink == NULL && lane_converts(l)) // rows, packed
        return MIN(waiting, (size_t)atomic_load(&l->size_bytes)) / ROWS_SHARE;
    if (p->sink == NULL && p->lambda == NULL)
        return 0;
    size_t bytes = l->held != NULL ? held_data_bytes(l) : MIN(waiting, most);
    size_t called = p->lambda != NULL ? MIN(bytes, p->piece_bytes) : 0;
    size_t loaded = p->sink != NULL && p->ops->wants_objects ? LOAD_BYTES : 0;
    return bytes * (1 + (sends ? BODY_FACTOR : 0)) + called * CALL_FACTOR + loaded;
}

bool room_take(struct lane *l)
{
    struct deliveries *d = l->v->d;
    size_t need = need_of(l);
    if (need == 0)
        return true;
    pthread_mutex_lock(&d->lock);
    bool fits = d->reserved_bytes == 0 || d->held_bytes + d->reserved_bytes + need <= d->room_bytes;
    if (fits) {
        d->reserved_bytes += need;
        l->reserved_bytes = need;
    }
    pthread_mutex_unlock(&d->lock);
    return fits;
}

void room_give(struct lane *l)
{
    struct deliveries *d = l->v->d;
    pthread_mutex_lock(&d->lock);
    d->reserved_bytes -= l->reserved_bytes;
    l->reserved_bytes = 0;
    pthread_mutex_unlock(&d->lock);
}

void room_count_held(struct lane *l, size_t before, size_t now)
{
    struct deliveries *d = l->v->d;
    pthread_mutex_lock(&d->lock);
    d->held_bytes = d->held_bytes - before + now;
    size_t there = now > before ? MIN(now - before, l->reserved_bytes) : 0;
    d->reserved_bytes -= there;
    l->reserved_bytes -= there;
    pthread_mutex_unlock(&d->lock);
}

bool room_is_full(struct lane *l)
{
    struct deliveries *d = l->v->d;
    pthread_mutex_lock(&d->lock);
    bool full = d->held_bytes > d->room_bytes / 2;
    pthread_mutex_unlock(&d->lock);
    return full;
}
