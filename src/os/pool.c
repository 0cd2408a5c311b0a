// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"
#include "os/loop.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    POOL_THREADS_MAX = 1024,
    THREAD_NAME_BYTES = 16,
    POOL_NICE = 10, // long work, of readers far behind, takes what reactors leave
};

// A thread of the pool. It sleeps on a condition of its own, so that whoever is woken is the one
// that went to sleep last: its stack and the processor's caches are still warm.
struct worker {
    struct pool *pool;
    pthread_t thread;
    pthread_cond_t wake;
    bool woken;
    struct worker *next; // that sleeps
};

struct pool {
    pthread_mutex_t lock;
    struct task *first;
    struct task **last;
    size_t queued, queue_max;
    struct worker *sleeping; // a stack
    bool waking;             // one has been woken and has not taken a task yet
    atomic_uint wakers;      // threads that are about to signal, without the lock
    bool closing, prompt;
    unsigned threads;
    struct worker worker[];
};

// With the lock held: who is to be woken after it is let go, so that nobody wakes up only to wait
// for the lock; NULL: nobody. One at a time: a woken one wakes the next if there is more to do. So
// tasks that are short and come together do not need a thread each.
static struct worker *next_to_wake(struct pool *p)
{
    struct worker *w = p->sleeping;
    if (w == NULL || p->first == NULL || p->waking)
        return NULL;
    p->sleeping = w->next;
    p->waking = true;
    w->woken = true;
    atomic_fetch_add(&p->wakers, 1);
    return w;
}

static void wake(struct worker *w)
{
    if (w == NULL)
        return;
    pthread_cond_signal(&w->wake);
    atomic_fetch_sub(&w->pool->wakers, 1); // the last thing that is done with the pool
}

// With the lock held. NULL: the pool is closing, and nothing is left.
static struct task *wait_for_task(struct worker *w)
{
    struct pool *p = w->pool;
    while (p->first == NULL && !p->closing) {
        w->next = p->sleeping;
        p->sleeping = w;
        while (!w->woken)
            pthread_cond_wait(&w->wake, &p->lock);
        w->woken = false;
        p->waking = false;
    }
    struct task *t = p->first;
    if (t == NULL)
        return NULL;
    p->first = t->next;
    if (p->first == NULL)
        p->last = &p->first;
    p->queued--;
    return t;
}

static void *work(void *argument)
{
    struct worker *w = argument;
    struct pool *p = w->pool;
    // On Linux of this thread only. It needs no right, and nothing depends on it.
    if (!p->prompt)
        (void)setpriority(PRIO_PROCESS, (id_t)gettid(), POOL_NICE);
    pthread_mutex_lock(&p->lock);
    for (struct task *t; (t = wait_for_task(w)) != NULL;) {
        struct worker *next = next_to_wake(p);
        pthread_mutex_unlock(&p->lock);
        wake(next);
        t->run(t);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static Err open_with(unsigned threads, size_t queue_max, const char *name, bool prompt,
                     struct pool **ret)
{
    CHECK(threads > 0 && threads <= POOL_THREADS_MAX && queue_max > 0);
    struct pool *p = xalloc(sizeof *p + threads * sizeof p->worker[0]);
    p->last = &p->first;
    p->queue_max = queue_max;
    p->prompt = prompt;
    CHECK(pthread_mutex_init(&p->lock, NULL) == 0);
    for (; p->threads < threads; p->threads++) {
        struct worker *w = &p->worker[p->threads];
        w->pool = p;
        CHECK(pthread_cond_init(&w->wake, NULL) == 0);
        int error = pthread_create(&w->thread, NULL, work, w);
        if (error != 0) {
            pthread_cond_destroy(&w->wake);
            pool_close(p);
            return fail_os(error, "a thread of a pool cannot be started");
        }
        char label[THREAD_NAME_BYTES];
        snprintf(label, sizeof label, "%s-%u", name, p->threads); // the kernel keeps 15 bytes
        pthread_setname_np(w->thread, label);
    }
    *ret = p;
    return OK;
}

Err pool_open(unsigned threads, size_t queue_max, const char *name, struct pool **ret)
{
    return open_with(threads, queue_max, name, false, ret);
}

Err pool_open_prompt(unsigned threads, size_t queue_max, const char *name, struct pool **ret)
{
    return open_with(threads, queue_max, name, true, ret);
}

void pool_close(struct pool *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    for (; p->sleeping != NULL; p->sleeping = p->sleeping->next) {
        p->sleeping->woken = true;
        pthread_cond_signal(&p->sleeping->wake);
    }
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->threads; i++)
        CHECK(pthread_join(p->worker[i].thread, NULL) == 0);
    CHECK(p->first == NULL);
    while (atomic_load(&p->wakers) > 0) // what they submitted is done, they are only behind
        sched_yield();
    for (unsigned i = 0; i < p->threads; i++)
        pthread_cond_destroy(&p->worker[i].wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

Err pool_submit(struct pool *p, struct task *t)
{
    pthread_mutex_lock(&p->lock);
    struct worker *next = NULL;
    bool full = p->queued >= p->queue_max;
    if (!full) {
        t->next = NULL;
        *p->last = t;
        p->last = &t->next;
        p->queued++;
        next = next_to_wake(p);
    }
    pthread_mutex_unlock(&p->lock);
    wake(next);
    return full ? fail(ERR_LIMIT, "the pool's queue is full") : OK;
}

size_t pool_queued(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    size_t n = p->queued;
    pthread_mutex_unlock(&p->lock);
    return n;
}
