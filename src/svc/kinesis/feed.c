// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/feed.h"
#include "aws/call.h"
#include "base/map.h"
#include "base/time.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct lane {
    struct feed *feed;
    struct task task;
    atomic_bool posted;
    atomic_size_t count;    // of its listeners
    struct listener *first; // the loop's
};

// Counted by the table, and by each task on its way to a loop.
struct feed {
    struct log_watch watch; // first
    struct feeds *all;
    atomic_uint refs;
    _Atomic uint64_t version;
    size_t listeners; // under all->lock

    pthread_mutex_t lock; // of the next; a leaf
    FeedEvent newest;     // frame == NULL: none

    struct lane lanes[];
};

struct feeds {
    struct log *log;
    struct loop **loops;
    size_t loop_count;
    pthread_mutex_t lock; // of the table; held while the log is asked to watch or not to
    struct map *by_shard; // the eight bytes of its id -> struct feed
};

void feeds_open(struct log *log, struct loop **loops, size_t loop_count, struct feeds **ret)
{
    struct feeds *f = xalloc(sizeof *f);
    *f = (struct feeds){ .log = log, .loops = loops, .loop_count = loop_count };
    pthread_mutex_init(&f->lock, NULL);
    f->by_shard = map_open();
    *ret = f;
}

void feeds_close(struct feeds *f)
{
    if (f == NULL)
        return;
    CHECK(map_count(f->by_shard) == 0);
    map_close(f->by_shard);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

size_t feeds_lane(const struct feeds *f, const struct loop *loop)
{
    size_t lane = 0;
    while (f->loops[lane] != loop)
        CHECK(++lane < f->loop_count);
    return lane;
}

static void feed_unref(struct feed *f)
{
    if (atomic_fetch_sub(&f->refs, 1) > 1)
        return;
    event_frame_unref(f->newest.frame);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

// ---- Waking

static void lane_run(struct task *t)
{
    struct lane *l = (struct lane *)((char *)t - offsetof(struct lane, task));
    struct feed *f = l->feed;
    atomic_store(&l->posted, false); // what changes from here on is told again
    for (struct listener *m = l->first, *next; m != NULL; m = next) {
        next = m->next;
        m->wake(m);
    }
    feed_unref(f);
}

// On a thread of the log. A listener counts before it reads the log for the first time: so either
// it reads what has changed, or it is seen here.
static void changed(struct log_watch *w)
{
    struct feed *f = (struct feed *)w;
    atomic_fetch_add(&f->version, 1);
    for (size_t i = 0; i < f->all->loop_count; i++) {
        struct lane *l = &f->lanes[i];
        if (atomic_load(&l->count) == 0 || atomic_exchange(&l->posted, true))
            continue;
        atomic_fetch_add(&f->refs, 1);
        loop_post(f->all->loops[i], &l->task);
    }
}

// ---- Joining and leaving

static Str key_of(const uint64_t *shard)
{
    return str_from(shard, sizeof *shard);
}

static struct feed *feed_new(struct feeds *all, uint64_t shard)
{
    struct feed *f = xalloc(sizeof *f + mul_checked(all->loop_count, sizeof(struct lane)));
    f->watch = (struct log_watch){ .shard = shard, .changed = changed };
    f->all = all;
    atomic_init(&f->refs, 1);
    pthread_mutex_init(&f->lock, NULL);
    for (size_t i = 0; i < all->loop_count; i++)
        f->lanes[i] = (struct lane){ .feed = f, .task.run = lane_run };
    return f;
}

// The feed of the shard, with one listener more.
static Err feed_get(struct feeds *all, uint64_t shard, struct feed **ret)
{
    Err e = OK;
    pthread_mutex_lock(&all->lock);
    struct feed *f = map_get(all->by_shard, key_of(&shard));
    if (f == NULL) {
        f = feed_new(all, shard);
        e = log_watch(all->log, &f->watch);
        if (e.kind == ERR_NONE)
            map_put(all->by_shard, key_of(&shard), f);
        else
            feed_unref(f);
    }
    if (e.kind == ERR_NONE) {
        f->listeners++;
        *ret = f;
    }
    pthread_mutex_unlock(&all->lock);
    return e;
}

static void feed_put(struct feeds *all, struct feed *f)
{
    pthread_mutex_lock(&all->lock);
    bool is_last = --f->listeners == 0;
    if (is_last) {
        CHECK(map_take(all->by_shard, key_of(&f->watch.shard)) == f);
        log_unwatch(all->log, &f->watch);
    }
    pthread_mutex_unlock(&all->lock);
    if (is_last)
        feed_unref(f); // the table's
}

Err feed_join(struct feeds *all, uint64_t shard, size_t lane, struct listener *m)
{
    struct feed *f;
    TRY(feed_get(all, shard, &f));
    struct lane *l = &f->lanes[lane];
    m->feed = f;
    m->lane = lane;
    m->previous = NULL;
    m->next = l->first;
    if (l->first != NULL)
        l->first->previous = m;
    l->first = m;
    atomic_fetch_add(&l->count, 1);
    return OK;
}

void feed_leave(struct feeds *all, struct listener *m)
{
    struct feed *f = m->feed;
    if (f == NULL)
        return;
    struct lane *l = &f->lanes[m->lane];
    if (m->previous != NULL)
        m->previous->next = m->next;
    else
        l->first = m->next;
    if (m->next != NULL)
        m->next->previous = m->previous;
    m->feed = NULL;
    atomic_fetch_sub(&l->count, 1);
    feed_put(all, f);
}

uint64_t feed_version(const struct feed *f)
{
    return atomic_load(&f->version);
}

// ---- The newest event

static bool is_fresh(const struct feed *f, const void *protocol, int64_t now_ns)
{
    const FeedEvent *e = &f->newest;
    return e->frame != NULL && e->protocol == protocol &&
           now_ns - e->made_ns < FEED_KEPT_MS * NS_PER_MS;
}

bool feed_take(struct feed *f, const void *protocol, uint64_t from, int64_t now_ns, FeedEvent *ret)
{
    pthread_mutex_lock(&f->lock);
    bool found = is_fresh(f, protocol, now_ns) && from >= f->newest.from && from <= f->newest.first;
    if (found) {
        *ret = f->newest;
        event_frame_ref(ret->frame);
    }
    pthread_mutex_unlock(&f->lock);
    return found;
}

bool feed_match(struct feed *f, const void *protocol, uint64_t from, uint64_t first, uint64_t last,
                int64_t now_ns, FeedEvent *ret)
{
    pthread_mutex_lock(&f->lock);
    bool found =
        is_fresh(f, protocol, now_ns) && f->newest.first == first && f->newest.last == last;
    if (found) {
        f->newest.from = MIN(f->newest.from, from);
        *ret = f->newest;
        event_frame_ref(ret->frame);
    }
    pthread_mutex_unlock(&f->lock);
    return found;
}

void feed_keep(struct feed *f, const FeedEvent *e)
{
    pthread_mutex_lock(&f->lock);
    struct event_frame *before = f->newest.frame;
    f->newest = *e;
    event_frame_ref(e->frame);
    pthread_mutex_unlock(&f->lock);
    event_frame_unref(before);
}

void feed_tidy(struct feed *f, int64_t now_ns)
{
    struct event_frame *old = NULL;
    pthread_mutex_lock(&f->lock);
    if (f->newest.frame != NULL && now_ns - f->newest.made_ns >= FEED_KEPT_MS * NS_PER_MS) {
        old = f->newest.frame;
        f->newest.frame = NULL;
    }
    pthread_mutex_unlock(&f->lock);
    event_frame_unref(old);
}
