// SPDX-License-Identifier: Apache-2.0
// The durable write queue on io_uring. One lock guards the submission side and the slots, another
// the completion side, so that a thread may submit while another waits.
#include "os/io_priv.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/uio.h>

enum { URING_CHUNK_BYTES = 1 << 30 }; // of one request; Linux takes no more than 2 GiB

// A write under way and how much of it is on the device.
struct slot {
    struct io_write *w; // NULL: free
    size_t done;
};

struct uring_queue {
    struct io_queue queue; // first, so that one is the other
    struct io_uring ring;
    pthread_mutex_t submit_lock; // the submission ring and slots; taken after wait_lock
    pthread_mutex_t wait_lock;   // the completion ring
    unsigned depth, under_way;
    struct slot *slots; // as many as depth
};

// Hands the rest of a slot's write to the kernel. There is room: a slot has one request at most,
// and the submission ring is as deep as there are slots.
static Err push(struct uring_queue *q, struct slot *s)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);
    if (sqe == NULL) // only after several refusals in a row, see below
        return fail(ERR_IO, "submission ring is blocked");
    const struct io_write *w = s->w;
    size_t left = MIN(w->part.n - s->done, (size_t)URING_CHUNK_BYTES);
    io_uring_prep_write(sqe, w->file->fd, (char *)w->part.p + s->done, (unsigned)left,
                        w->at + s->done);
    sqe->rw_flags = RWF_DSYNC;
    sqe->user_data = (uint64_t)(s - q->slots);
    int r;
    do
        r = io_uring_submit(&q->ring);
    while (r == -EINTR || r == -EAGAIN || r == -EBUSY);
    if (r >= 0)
        return OK;
    // The kernel has not taken the request and it cannot be taken out of the ring: it becomes one
    // that does nothing and belongs to no slot.
    io_uring_prep_nop(sqe);
    sqe->user_data = q->depth;
    return fail_os(-r, "io_uring_enter");
}

static Err uring_submit(struct io_queue *base, struct io_write *w)
{
    struct uring_queue *q = (struct uring_queue *)base;
    pthread_mutex_lock(&q->submit_lock);
    Err e = fail(ERR_LIMIT, "write queue is full");
    for (unsigned i = 0; i < q->depth && q->under_way < q->depth; i++) {
        struct slot *s = &q->slots[i];
        if (s->w != NULL)
            continue;
        *s = (struct slot){ .w = w };
        q->under_way++;
        e = push(q, s);
        if (e.kind != ERR_NONE) {
            s->w = NULL;
            q->under_way--;
        }
        break;
    }
    pthread_mutex_unlock(&q->submit_lock);
    return e;
}

// Whether the write of a slot has ended; otherwise its rest is under way again.
static bool is_ended(struct uring_queue *q, struct slot *s, int result)
{
    struct io_write *w = s->w;
    if (result == -EOPNOTSUPP) {
        // A filesystem without data-sync writes: the slow way knows another one.
        w->result = real_write(w->file, w->part.p, w->part.n, w->at, true);
        return true;
    }
    // Cancelled: the thread that had submitted it has ended. This one does it again.
    if (result < 0 && result != -EINTR && result != -EAGAIN && result != -ECANCELED) {
        w->result = fail_os(-result, "write");
        return true;
    }
    if (result == 0 && s->done < w->part.n) {
        w->result = fail(ERR_IO, "write: the device takes no bytes");
        return true;
    }
    s->done += result > 0 ? (size_t)result : 0;
    w->result = s->done < w->part.n ? push(q, s) : OK;
    return s->done == w->part.n || w->result.kind != ERR_NONE;
}

// One completion that ends a write. Called with wait_lock held.
static Err next_ended(struct uring_queue *q, struct io_write **ret)
{
    while (true) {
        struct io_uring_cqe *cqe = NULL;
        int r = io_uring_wait_cqe(&q->ring, &cqe);
        if (r == -EINTR || r == -EAGAIN)
            continue;
        if (r < 0)
            return fail_os(-r, "io_uring_enter");
        uint64_t number = cqe->user_data;
        int result = cqe->res;
        io_uring_cqe_seen(&q->ring, cqe);
        if (number >= q->depth)
            continue; // the remains of a refused request
        struct slot *s = &q->slots[number];

        pthread_mutex_lock(&q->submit_lock);
        bool ended = is_ended(q, s, result);
        if (ended) {
            *ret = s->w;
            s->w = NULL;
            q->under_way--;
        }
        pthread_mutex_unlock(&q->submit_lock);
        if (ended)
            return OK;
    }
}

static Err uring_wait(struct io_queue *base, struct io_write **ret)
{
    struct uring_queue *q = (struct uring_queue *)base;
    pthread_mutex_lock(&q->wait_lock);
    Err e = next_ended(q, ret);
    pthread_mutex_unlock(&q->wait_lock);
    return e;
}

static void uring_close(struct io_queue *base)
{
    struct uring_queue *q = (struct uring_queue *)base;
    Err e = OK;
    while (q->under_way > 0 && e.kind == ERR_NONE) {
        struct io_write *w;
        e = uring_wait(base, &w);
    }
    io_uring_queue_exit(&q->ring);
    pthread_mutex_destroy(&q->submit_lock);
    pthread_mutex_destroy(&q->wait_lock);
    free(q->slots);
    free(q);
}

static bool can_write(struct io_uring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool can = probe != NULL && io_uring_opcode_supported(probe, IORING_OP_WRITE);
    io_uring_free_probe(probe);
    return can;
}

Err queue_uring_open(unsigned depth, struct io_queue **ret)
{
    static const struct queue_kind kind = {
        .name = "io_uring",
        .close = uring_close,
        .submit = uring_submit,
        .wait = uring_wait,
    };
    struct uring_queue *q = xalloc(sizeof *q);
    // Any refusal means the same: containers and hardened kernels forbid it in many ways.
    if (io_uring_queue_init(depth, &q->ring, 0) != 0) {
        free(q);
        return fail(ERR_DENIED, "io_uring is not to be had");
    }
    if (!can_write(&q->ring)) {
        io_uring_queue_exit(&q->ring);
        free(q);
        return fail(ERR_DENIED, "io_uring cannot write here");
    }
    q->queue.kind = &kind;
    q->depth = depth;
    q->slots = xalloc(mul_checked(depth, sizeof *q->slots));
    pthread_mutex_init(&q->submit_lock, NULL);
    pthread_mutex_init(&q->wait_lock, NULL);
    *ret = &q->queue;
    return OK;
}
