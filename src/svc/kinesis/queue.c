// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/queue.h"
#include "svc/kinesis/stream_priv.h"

#include <stdlib.h>
#include <string.h>

enum { RECORD_KEY_BYTES = 16 };

struct queue *queue_new(Str account, Str region, Str name, Str arn_id)
{
    AUTO(arena) tmp = arena_open();
    struct queue *q = xalloc(sizeof *q);
    q->refs = 1;
    q->account = stream_own(account);
    q->region = stream_own(region);
    q->name = stream_own(name);
    q->arn = stream_own(str_fmt(tmp, "arn:aws:kinesis:%.*s:%.*s:queue/%.*s", FMT(region),
                                FMT(account), FMT(arn_id)));
    q->visibility_s = QUEUE_VISIBILITY_S;
    q->receives_max = QUEUE_RECEIVES_MAX;
    q->flights = map_open();
    for (size_t i = 0; i < COUNT_OF(q->waiting); i++)
        q->waiting[i].last = &q->waiting[i].first;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->idle, NULL);
    return q;
}

struct queue *queue_ref(struct queue *q)
{
    __atomic_fetch_add(&q->refs, 1, __ATOMIC_RELAXED);
    return q;
}

static void disown(Str s)
{
    free((void *)(uintptr_t)s.p);
}

void queue_unref(struct queue *q)
{
    if (q == NULL || __atomic_sub_fetch(&q->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    Str key;
    void *f;
    for (size_t at = 0; map_next(q->flights, &at, &key, &f);)
        free(f);
    map_close(q->flights);
    free(q->live.at);
    free(q->dead.at);
    free(q->cursors);
    tag_set_done(&q->tags);
    stream_unref(q->stream);
    disown(q->account);
    disown(q->region);
    disown(q->name);
    disown(q->arn);
    pthread_cond_destroy(&q->idle);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

QueueStatus queue_status(const struct queue *q, int64_t now_ms)
{
    if (q->gone_ms != 0)
        return QUEUE_DELETING;
    if (now_ms < q->active_ms)
        return QUEUE_CREATING;
    return now_ms < q->updated_ms ? QUEUE_UPDATING : QUEUE_ACTIVE;
}

Str queue_status_name(QueueStatus status)
{
    static const char *const names[] = { "CREATING", "ACTIVE", "UPDATING", "DELETING" };
    return str_of(names[status]);
}

Str queue_start_name(QueueStart start)
{
    static const char *const names[] = { "LATEST", "TRIM_HORIZON", "AT_TIMESTAMP" };
    return str_of(names[start]);
}

// ---- Heaps

static bool is_before(const struct flight *a, const struct flight *b)
{
    if (a->visible_ms != b->visible_ms)
        return a->visible_ms < b->visible_ms;
    return a->shard != b->shard ? a->shard < b->shard : a->position < b->position;
}

static void heap_set(struct flight_heap *h, size_t at, struct flight *f)
{
    h->at[at] = f;
    f->heap_at = (uint32_t)at + 1;
}

// To where it belongs, from a place where it may be too low or too high.
static void heap_settle(struct flight_heap *h, size_t at, struct flight *f)
{
    for (; at > 0 && is_before(f, h->at[(at - 1) / 2]); at = (at - 1) / 2)
        heap_set(h, at, h->at[(at - 1) / 2]);
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < h->n && is_before(h->at[child + 1], h->at[child]))
            child++;
        if (child >= h->n || !is_before(h->at[child], f))
            break;
        heap_set(h, at, h->at[child]);
        at = child;
    }
    heap_set(h, at, f);
}

static void heap_add(struct flight_heap *h, struct flight *f)
{
    if (h->n == h->room) {
        h->room = MAX(h->room * 2, (size_t)16);
        h->at = xrealloc(h->at, mul_checked(h->room, sizeof(struct flight *)));
    }
    h->n++;
    heap_settle(h, h->n - 1, f);
}

static void heap_remove(struct flight_heap *h, struct flight *f)
{
    size_t at = f->heap_at - 1;
    CHECK(at < h->n && h->at[at] == f);
    f->heap_at = 0;
    struct flight *last = h->at[--h->n];
    if (last != f)
        heap_settle(h, at, last);
}

// ---- Flights

static Str record_key(char room[RECORD_KEY_BYTES], uint64_t shard, uint64_t position)
{
    memcpy(room, &shard, sizeof shard);
    memcpy(room + sizeof shard, &position, sizeof position);
    return str_from(room, RECORD_KEY_BYTES);
}

// In which heap it is, if it is in one.
static struct flight_heap *heap_of(struct queue *q, const struct flight *f)
{
    size_t at = f->heap_at - 1;
    return at < q->live.n && q->live.at[at] == f ? &q->live : &q->dead;
}

struct flight *queue_find(const struct queue *q, uint64_t shard, uint64_t position)
{
    char room[RECORD_KEY_BYTES];
    return map_get(q->flights, record_key(room, shard, position));
}

struct flight *queue_add(struct queue *q, uint64_t shard, uint64_t position)
{
    char room[RECORD_KEY_BYTES];
    struct flight *f = xalloc(sizeof *f);
    f->shard = shard;
    f->position = position;
    CHECK(map_put(q->flights, record_key(room, shard, position), f) == NULL);
    return f;
}

void queue_remove(struct queue *q, struct flight *f)
{
    char room[RECORD_KEY_BYTES];
    if (f->heap_at != 0)
        heap_remove(heap_of(q, f), f);
    CHECK(map_take(q->flights, record_key(room, f->shard, f->position)) == f);
    free(f);
}

void queue_place(struct queue *q, struct flight *f)
{
    if (f->heap_at != 0)
        heap_remove(heap_of(q, f), f);
    heap_add(f->dead ? &q->dead : &q->live, f);
}

struct flight *queue_take(struct queue *q, bool dead, int64_t now_ms)
{
    struct flight_heap *h = dead ? &q->dead : &q->live;
    if (h->n == 0 || h->at[0]->visible_ms > now_ms)
        return NULL;
    struct flight *f = h->at[0];
    heap_remove(h, f);
    f->delivery++;
    return f;
}

void queue_take_flights(struct queue *q, struct queue *other)
{
    struct map *flights = q->flights;
    struct flight_heap live = q->live, dead = q->dead;
    struct cursor *cursors = q->cursors;
    q->flights = other->flights;
    q->live = other->live;
    q->dead = other->dead;
    q->cursors = other->cursors;
    q->cursor_count = other->cursor_count;
    q->seen_count = 0;
    other->flights = flights;
    other->live = live;
    other->dead = dead;
    other->cursors = cursors;
}
