// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/shelf.h"
#include "aws/call.h"
#include "base/time.h"

#include <pthread.h>
#include <stdlib.h>

enum {
    NOTED_MAX = 256, // places; the oldest is forgotten first
    SHARDS_MAX = 64, // whose followers are told apart; others share a line
};
#define NOWHERE UINT64_MAX // a place that nobody asks for

struct noted {
    size_t bytes_max;
    const void *protocol;
    int64_t made_ns;
    uint64_t made_bytes; // of all frames until then
    ShelfEvent event;    // frame == NULL: it is not kept
};

struct shelf {
    pthread_mutex_t lock;
    uint64_t made_bytes; // of frames that were made
    size_t kept_bytes;   // of frames that are kept
    size_t n, oldest;    // how many were ever noted; of those before `oldest` no frame is kept
    uint64_t froms[NOTED_MAX], shards[NOTED_MAX]; // beside each other: they are looked through
    struct noted noted[NOTED_MAX];
    int64_t followed_ns[SHARDS_MAX]; // when somebody came to a place that was in reach; 0: never
};

void shelf_open(struct shelf **ret)
{
    struct shelf *s = xalloc(sizeof *s);
    *s = (struct shelf){ .n = 0 };
    pthread_mutex_init(&s->lock, NULL);
    *ret = s;
}

void shelf_close(struct shelf *s)
{
    if (s == NULL)
        return;
    shelf_clear(s);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static bool is_fresh(int64_t since_ns, int64_t now_ns)
{
    return now_ns - since_ns < SHELF_KEPT_MS * NS_PER_MS;
}

// NOTED_MAX: it is not noted.
static size_t find(const struct shelf *s, const ShelfPlace *at)
{
    size_t i = 0, n = MIN(s->n, (size_t)NOTED_MAX);
    while (i < n &&
           (s->froms[i] != at->from || s->shards[i] != at->shard ||
            s->noted[i].bytes_max != at->bytes_max || s->noted[i].protocol != at->protocol))
        i++;
    return i < n ? i : NOTED_MAX;
}

// The reference goes to the caller, who gives it back without the lock.
static struct event_frame *take_frame(struct shelf *s, size_t slot)
{
    struct event_frame *f = s->noted[slot].event.frame;
    if (f != NULL)
        s->kept_bytes -= event_frame_bytes(f).n;
    s->noted[slot].event.frame = NULL;
    return f;
}

bool shelf_take(struct shelf *s, const ShelfPlace *at, int64_t now_ns, ShelfEvent *ret)
{
    bool found = false;
    pthread_mutex_lock(&s->lock);
    size_t slot = find(s, at);
    struct noted *m = &s->noted[slot % NOTED_MAX];
    if (slot < NOTED_MAX && is_fresh(m->made_ns, now_ns)) {
        if (s->made_bytes - m->made_bytes < SHELF_BYTES_MAX)
            s->followed_ns[at->shard % SHARDS_MAX] = now_ns;
        found = m->event.frame != NULL;
    }
    if (found) {
        *ret = m->event;
        event_frame_ref(ret->frame);
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

void shelf_put(struct shelf *s, const ShelfPlace *at, int64_t now_ns, const ShelfEvent *e)
{
    size_t bytes = event_frame_bytes(e->frame).n;
    pthread_mutex_lock(&s->lock);
    size_t before = find(s, at), slot = s->n++ % NOTED_MAX;
    struct event_frame *same = before < NOTED_MAX ? take_frame(s, before) : NULL;
    if (before < NOTED_MAX)
        s->froms[before] = NOWHERE;
    struct event_frame *last = take_frame(s, slot);
    int64_t followed_ns = s->followed_ns[at->shard % SHARDS_MAX];
    bool keeps =
        followed_ns != 0 && is_fresh(followed_ns, now_ns) && bytes <= SHELF_EVENT_BYTES_MAX;
    s->froms[slot] = at->from;
    s->shards[slot] = at->shard;
    s->noted[slot] = (struct noted){ at->bytes_max, at->protocol, now_ns, s->made_bytes, *e };
    if (keeps)
        event_frame_ref(e->frame);
    else
        s->noted[slot].event.frame = NULL;
    s->kept_bytes += keeps ? bytes : 0;
    s->made_bytes += bytes;
    s->oldest = MAX(s->oldest, s->n - MIN(s->n, (size_t)NOTED_MAX));
    pthread_mutex_unlock(&s->lock);
    event_frame_unref(same);
    event_frame_unref(last);
    shelf_tidy(s, now_ns);
}

// The oldest frame, if it is too old or one too many.
static struct event_frame *take_oldest(struct shelf *s, int64_t now_ns)
{
    struct event_frame *ret = NULL;
    pthread_mutex_lock(&s->lock);
    for (; s->oldest < s->n && ret == NULL; s->oldest++) {
        size_t slot = s->oldest % NOTED_MAX;
        if (s->kept_bytes <= SHELF_BYTES_MAX && is_fresh(s->noted[slot].made_ns, now_ns))
            break;
        ret = take_frame(s, slot);
    }
    pthread_mutex_unlock(&s->lock);
    return ret;
}

void shelf_tidy(struct shelf *s, int64_t now_ns)
{
    struct event_frame *f;
    while ((f = take_oldest(s, now_ns)) != NULL)
        event_frame_unref(f);
}

void shelf_clear(struct shelf *s)
{
    shelf_tidy(s, INT64_MAX);
}
