// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"
#include "os/loop.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    POOL_THREADS_MAX = 1024,
    THREAD_NAME_BYTES = 16,
    POOL_NICE = 10, // long work, of readers far behind, takes what reactors leave
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct task *first;
    struct task **last;
    size_t queued, queue_max;
    bool closing, prompt;
    unsigned threads;
    pthread_t thread[];
};

static void *work(void *argument)
{
    struct pool *p = argument;
    // On Linux of this thread only. It needs no right, and nothing depends on it.
    if (!p->prompt)
        (void)setpriority(PRIO_PROCESS, (id_t)gettid(), POOL_NICE);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (p->first == NULL && !p->closing)
            pthread_cond_wait(&p->changed, &p->lock);
        struct task *t = p->first;
        if (t == NULL)
            break; // closing, and nothing is left
        p->first = t->next;
        if (p->first == NULL)
            p->last = &p->first;
        p->queued--;
        pthread_mutex_unlock(&p->lock);
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
    struct pool *p = xalloc(sizeof *p + threads * sizeof(pthread_t));
    p->last = &p->first;
    p->queue_max = queue_max;
    p->prompt = prompt;
    CHECK(pthread_mutex_init(&p->lock, NULL) == 0);
    CHECK(pthread_cond_init(&p->changed, NULL) == 0);
    for (; p->threads < threads; p->threads++) {
        int error = pthread_create(&p->thread[p->threads], NULL, work, p);
        if (error != 0) {
            pool_close(p);
            return fail_os(error, "a thread of a pool cannot be started");
        }
        char label[THREAD_NAME_BYTES];
        snprintf(label, sizeof label, "%s-%u", name, p->threads); // the kernel keeps 15 bytes
        pthread_setname_np(p->thread[p->threads], label);
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
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->threads; i++)
        CHECK(pthread_join(p->thread[i], NULL) == 0);
    CHECK(p->first == NULL);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

Err pool_submit(struct pool *p, struct task *t)
{
    pthread_mutex_lock(&p->lock);
    bool full = p->queued >= p->queue_max;
    if (!full) {
        t->next = NULL;
        *p->last = t;
        p->last = &t->next;
        p->queued++;
        pthread_cond_signal(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return full ? fail(ERR_LIMIT, "the pool's queue is full") : OK;
}

size_t pool_queued(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    size_t n = p->queued;
    pthread_mutex_unlock(&p->lock);
    return n;
}
