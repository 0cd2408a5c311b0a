// SPDX-License-Identifier: Apache-2.0
#include "os/io_sim_priv.h"

#include <pthread.h>
#include <stdlib.h>

uint64_t sim_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t sim_below(uint64_t *state, uint64_t n)
{
    return sim_random(state) % n;
}

struct waiting {
    struct io_write *w;
    bool late;
};

struct sim_queue {
    struct io *io; // whose write carries out
    pthread_mutex_t lock;
    pthread_cond_t more; // something was submitted
    struct waiting *waiting;
    unsigned depth, n, under_way;
    uint64_t random;
};

struct sim_queue *sim_queue_open(struct io *io, unsigned depth, uint64_t seed)
{
    struct sim_queue *q = xalloc(sizeof *q);
    q->io = io;
    q->depth = depth;
    q->random = seed;
    q->waiting = xalloc(mul_checked(depth, sizeof *q->waiting));
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->more, NULL);
    return q;
}

void sim_queue_close(struct sim_queue *q)
{
    while (q->n > 0) {
        struct io_write *w;
        err_ignore(sim_queue_wait(q, &w)); // it never fails, and nobody asks for the result
    }
    pthread_cond_destroy(&q->more);
    pthread_mutex_destroy(&q->lock);
    free(q->waiting);
    free(q);
}

Err sim_queue_submit(struct sim_queue *q, struct io_write *w, bool late)
{
    pthread_mutex_lock(&q->lock);
    bool fits = q->under_way < q->depth;
    if (fits) {
        q->under_way++;
        q->waiting[q->n++] = (struct waiting){ w, late };
        pthread_cond_signal(&q->more);
    }
    pthread_mutex_unlock(&q->lock);
    return fits ? OK : fail(ERR_LIMIT, "write queue is full");
}

Err sim_queue_wait(struct sim_queue *q, struct io_write **ret)
{
    pthread_mutex_lock(&q->lock);
    while (q->n == 0)
        pthread_cond_wait(&q->more, &q->lock);
    uint64_t i = sim_below(&q->random, q->n);
    struct io_write *w = q->waiting[i].w;
    q->waiting[i] = q->waiting[--q->n];
    pthread_mutex_unlock(&q->lock);

    w->result = q->io->write(w->file, w->part.p, w->part.n, w->at, true);
    pthread_mutex_lock(&q->lock);
    q->under_way--;
    pthread_mutex_unlock(&q->lock);
    *ret = w;
    return OK;
}

void sim_queue_each(struct sim_queue *q, void (*see)(void *user, struct io_write *w), void *user)
{
    pthread_mutex_lock(&q->lock);
    for (unsigned i = 0; i < q->n; i++)
        if (!q->waiting[i].late)
            see(user, q->waiting[i].w);
    pthread_mutex_unlock(&q->lock);
}
