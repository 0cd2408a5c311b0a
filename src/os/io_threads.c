// SPDX-License-Identifier: Apache-2.0
// The durable write queue without io_uring: as many threads as writes may be under way.
#include "os/io_priv.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

// Writes in the order of arrival; never more than the queue is deep.
struct ring {
    struct io_write **at;
    size_t first, n;
};

struct thread_queue {
    struct io_queue queue; // first, so that one is the other
    pthread_mutex_t lock;
    pthread_cond_t work; // waiting has grown, or closing was set
    pthread_cond_t done; // ended has grown
    struct ring waiting, ended;
    size_t under_way; // submitted and not yet returned by wait
    bool closing;
    unsigned depth;
    pthread_t *threads;
    unsigned thread_count;
};

static void ring_put(struct ring *r, unsigned depth, struct io_write *w)
{
    r->at[(r->first + r->n++) % depth] = w;
}

static struct io_write *ring_take(struct ring *r, unsigned depth)
{
    struct io_write *w = r->at[r->first];
    r->first = (r->first + 1) % depth;
    r->n--;
    return w;
}

static void *run(void *p)
{
    struct thread_queue *q = p;
    pthread_mutex_lock(&q->lock);
    while (true) {
        while (q->waiting.n == 0 && !q->closing)
            pthread_cond_wait(&q->work, &q->lock);
        if (q->waiting.n == 0)
            break;
        struct io_write *w = ring_take(&q->waiting, q->depth);
        pthread_mutex_unlock(&q->lock);
        w->result = real_write(w->file, w->part.p, w->part.n, w->at, true);
        pthread_mutex_lock(&q->lock);
        ring_put(&q->ended, q->depth, w);
        pthread_cond_signal(&q->done);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

static void threads_close(struct io_queue *base)
{
    struct thread_queue *q = (struct thread_queue *)base;
    pthread_mutex_lock(&q->lock);
    q->closing = true;
    pthread_cond_broadcast(&q->work);
    pthread_mutex_unlock(&q->lock);
    for (unsigned i = 0; i < q->thread_count; i++)
        pthread_join(q->threads[i], NULL);
    pthread_cond_destroy(&q->work);
    pthread_cond_destroy(&q->done);
    pthread_mutex_destroy(&q->lock);
    free(q->waiting.at);
    free(q->ended.at);
    free(q->threads);
    free(q);
}

static Err threads_submit(struct io_queue *base, struct io_write *w)
{
    struct thread_queue *q = (struct thread_queue *)base;
    pthread_mutex_lock(&q->lock);
    bool fits = q->under_way < q->depth;
    if (fits) {
        q->under_way++;
        ring_put(&q->waiting, q->depth, w);
        pthread_cond_signal(&q->work);
    }
    pthread_mutex_unlock(&q->lock);
    return fits ? OK : fail(ERR_LIMIT, "write queue is full");
}

static Err threads_wait(struct io_queue *base, struct io_write **ret)
{
    struct thread_queue *q = (struct thread_queue *)base;
    pthread_mutex_lock(&q->lock);
    while (q->ended.n == 0)
        pthread_cond_wait(&q->done, &q->lock);
    *ret = ring_take(&q->ended, q->depth);
    q->under_way--;
    pthread_mutex_unlock(&q->lock);
    return OK;
}

Err queue_threads_open(unsigned depth, struct io_queue **ret)
{
    static const struct queue_kind kind = {
        .name = "pwritev2",
        .close = threads_close,
        .submit = threads_submit,
        .wait = threads_wait,
    };
    struct thread_queue *q = xalloc(sizeof *q);
    q->queue.kind = &kind;
    q->depth = depth;
    q->waiting.at = xalloc(mul_checked(depth, sizeof(struct io_write *)));
    q->ended.at = xalloc(mul_checked(depth, sizeof(struct io_write *)));
    q->threads = xalloc(mul_checked(depth, sizeof *q->threads));
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->work, NULL);
    pthread_cond_init(&q->done, NULL);

    // Signals belong to the threads that expect them.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int error = 0;
    while (error == 0 && q->thread_count < depth) {
        error = pthread_create(&q->threads[q->thread_count], NULL, run, q);
        q->thread_count += error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        threads_close(&q->queue);
        return fail_os(error, "pthread_create");
    }
    *ret = &q->queue;
    return OK;
}
