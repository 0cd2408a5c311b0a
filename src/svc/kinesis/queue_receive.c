// SPDX-License-Identifier: Apache-2.0
// ReceiveQueueRecords and ReceiveDeadLetterQueueRecords.
//
// A call waits in its queue's list and holds no thread. Whoever finds nobody else at it pumps:
// first what is visible again, then what lies above the cursors, shard by shard in turn, for one
// waiting call after the other. So one thread at a time reads for a queue, outside of every lock;
// what it takes out of a heap is its own until it is handed out or placed back. A reactor reads
// what is cached and leaves the rest to the pool.
#include "base/logline.h"
#include "base/time.h"
#include "svc/kinesis/crypt.h"
#include "svc/kinesis/queue_receipt.h"
#include "svc/kinesis/queues.h"

#include <stddef.h>
#include <stdlib.h>

enum {
    RECEIVE_RECORDS_MAX = 10,
    RECEIVE_BYTES = 4 << 20, // over which a reply takes no further record
    PUMP_CALLS_MAX = 32,     // served at once, before whoever pumps does its own work again
    UNSEEN_S = 1,            // waited past its deadline for a call for which nobody has looked yet
};

struct receive {
    struct receive *next; // the queue's
    struct call *call;
    kinesis_QueueRecordList *records; // of the output
    bool dead;
    size_t limit;
    int32_t visibility_s; // -1: the queue's
    int64_t deadline_ns;  // monotonic, of the service's clock
    uint64_t number;      // of its list
    struct queue_job job;
};

// A record for the call that is being served.
typedef struct Got {
    LogEntry entry;
    uint64_t shard;
    struct flight *flight; // received before; NULL: for the first time
} Got;

struct pump {
    struct queues *qs;
    struct queue *q;
    struct receive *r; // is being served
    bool may_block;
    bool cold; // something is not cached: to be read by one that may block
    bool full; // of records that are in flight
    Err err;   // why no more was got
    Got got[RECEIVE_RECORDS_MAX];
    size_t n, bytes;
};

// ---- The list. Under the queue's lock.

static void list_add(struct receive_list *list, struct receive *r)
{
    r->next = NULL;
    *list->last = r;
    list->last = &r->next;
    list->n++;
}

static void list_put_back(struct receive_list *list, struct receive *r)
{
    r->next = list->first;
    if (list->first == NULL)
        list->last = &r->next;
    list->first = r;
    list->n++;
}

static struct receive *list_take(struct receive_list *list)
{
    struct receive *r = list->first;
    if (r == NULL)
        return NULL;
    list->first = r->next;
    if (list->first == NULL)
        list->last = &list->first;
    list->n--;
    return r;
}

// ---- Reading

static struct kinesis *kinesis_of(const struct pump *p)
{
    return queues_kinesis(p->qs);
}

static bool has_room(const struct pump *p)
{
    return p->n < p->r->limit && p->bytes < RECEIVE_BYTES && !p->cold && p->err.kind == ERR_NONE;
}

static void add(struct pump *p, const LogEntry *entry, uint64_t shard, struct flight *f)
{
    p->got[p->n++] = (Got){ .entry = *entry, .shard = shard, .flight = f };
    p->bytes += entry->key.n + entry->data.n;
}

static Err read_log(struct pump *p, uint64_t shard, uint64_t from, size_t max, LogBatch *ret)
{
    LogRead read = { .shard = shard,
                     .from = from,
                     .max_records = max,
                     .max_bytes = RECEIVE_BYTES - MIN(p->bytes, (size_t)RECEIVE_BYTES - 1),
                     .cached_only = !p->may_block };
    struct arena *a = p->r->call->arena;
    ArenaMark before = arena_mark(a);
    Err e = log_read(kinesis_of(p)->env.log, a, &read, ret);
    if (e.kind == ERR_NONE)
        e = crypt_open(p->r->call, p->q->stream, ret->at, ret->n, p->may_block);
    bool is_told = e.kind == ERR_FAULT; // in the arena is what the answer says
    if (!is_told && (e.kind != ERR_NONE || ret->n == 0))
        arena_rewind(a, before); // a call that waits looks often
    return e;
}

// One that is visible again. It is back in its heap unless it was got or is over.
static void read_again(struct pump *p, struct flight *f)
{
    LogBatch batch = { 0 };
    Err e = read_log(p, f->shard, f->position, 1, &batch);
    if (e.kind == ERR_NONE && batch.n > 0 && batch.at[0].position == f->position) {
        add(p, &batch.at[0], f->shard, f);
        return;
    }
    bool is_over = e.kind == ERR_NOT_FOUND || e.kind == ERR_NONE;
    p->cold = e.kind == ERR_BUSY;
    if (!is_over && !p->cold)
        p->err = e;
    pthread_mutex_lock(&p->q->lock);
    if (is_over) // past the retention
        queues_drop(p->qs, p->q, f);
    else
        queue_place(p->q, f);
    pthread_mutex_unlock(&p->q->lock);
}

static void take_visible(struct pump *p)
{
    while (has_room(p)) {
        pthread_mutex_lock(&p->q->lock);
        struct flight *f = queue_take(p->q, p->r->dead, queues_now_ms(p->qs));
        pthread_mutex_unlock(&p->q->lock);
        if (f == NULL)
            return;
        read_again(p, f);
    }
}

// Whether the log has nothing further of the shard, ever.
static bool is_at_end(struct pump *p, const struct cursor *cursor)
{
    LogSpan span;
    Err e = log_span(kinesis_of(p)->env.log, cursor->shard, &span);
    return e.kind == ERR_NOT_FOUND || (e.kind == ERR_NONE && span.ended && cursor->next > span.end);
}

// What lies above one cursor, as far as there is room.
static void take_above(struct pump *p, struct cursor *cursor)
{
    LogBatch batch = { 0 };
    Err e = read_log(p, cursor->shard, cursor->next, p->r->limit - p->n, &batch);
    p->cold = e.kind == ERR_BUSY;
    cursor->over |= e.kind == ERR_NOT_FOUND;
    if (e.kind != ERR_NONE) {
        if (!p->cold && !cursor->over)
            p->err = e;
        return;
    }
    for (size_t i = 0; i < batch.n; i++)
        add(p, &batch.at[i], cursor->shard, NULL);
    cursor->next = MAX(cursor->next, batch.next);
    cursor->moved |= batch.n > 0;
    if (!batch.more)
        cursor->over = is_at_end(p, cursor);
    if (cursor->over)
        queue_unwatch(p->qs, cursor);
}

static struct cursor *cursor_find(const struct queue *q, uint64_t shard)
{
    for (size_t i = 0; i < q->cursor_count; i++)
        if (q->cursors[i].shard == shard)
            return &q->cursors[i];
    return NULL;
}

// The cursors of the stream's shards as they are now: new ones begin at their beginning.
static struct cursor *make_cursors(const struct queue *q, size_t *ret_n)
{
    size_t n = q->stream->shard_count;
    struct cursor *made = xalloc(mul_checked(MAX(n, (size_t)1), sizeof *made));
    for (size_t i = 0; i < n; i++) {
        uint64_t shard = q->stream->shards[i]->id;
        bool is_same = i < q->cursor_count && q->cursors[i].shard == shard; // as a rule
        const struct cursor *known = is_same ? &q->cursors[i] : cursor_find(q, shard);
        made[i] = known != NULL ? *known : (struct cursor){ .shard = shard };
    }
    *ret_n = n;
    return made;
}

// Shards that the stream has no more are past their retention: their rows go.
static void forget_gone(struct pump *p, struct cursor *was, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (cursor_find(p->q, was[i].shard) == NULL)
            queue_unwatch(p->qs, &was[i]);
    pthread_mutex_lock(&p->q->lock);
    for (size_t i = 0; i < n; i++)
        if (cursor_find(p->q, was[i].shard) == NULL)
            queues_drop_cursor(p->qs, p->q, was[i].shard);
    pthread_mutex_unlock(&p->q->lock);
}

// A new shard is always the last one, so that looking at it tells whether there is any.
static void follow_shards(struct pump *p)
{
    struct kinesis *k = kinesis_of(p);
    struct queue *q = p->q;
    struct cursor *was = q->cursors;
    size_t was_count = q->cursor_count;
    pthread_rwlock_rdlock(&k->lock);
    size_t n = q->stream->shard_count;
    uint64_t last = n > 0 ? q->stream->shards[n - 1]->id : 0;
    bool is_same = n == q->seen_count && last == q->seen_last;
    struct cursor *made = is_same ? NULL : make_cursors(q, &n);
    pthread_rwlock_unlock(&k->lock);
    if (is_same)
        return;
    q->cursors = made;
    q->cursor_count = q->seen_count = n;
    q->seen_last = last;
    for (size_t i = 0; i < n; i++)
        queue_watch(p->qs, q, &made[i]); // before it is read
    forget_gone(p, was, was_count);
    free(was);
}

static void take_new(struct pump *p)
{
    struct queue *q = p->q;
    pthread_mutex_lock(&q->lock);
    p->full = q->live.n >= QUEUE_IN_FLIGHT_MAX || map_count(q->flights) >= QUEUE_RECORDS_MAX;
    pthread_mutex_unlock(&q->lock);
    for (size_t tried = 0; tried < q->cursor_count && has_room(p) && !p->full; tried++) {
        struct cursor *cursor = &q->cursors[q->turn % q->cursor_count];
        if (!cursor->over)
            take_above(p, cursor);
        if (!p->cold)
            q->turn = (q->turn + 1) % q->cursor_count;
    }
}

// ---- Handing out

static kinesis_QueueRecord describe(struct pump *p, const Got *g, int64_t now_ms)
{
    struct call *c = p->r->call;
    const struct flight *f = g->flight;
    Receipt receipt = { .queue = p->q->id,
                        .shard = g->shard,
                        .position = g->entry.position,
                        .delivery = f != NULL ? f->delivery : 1,
                        .dead = p->r->dead };
    return (kinesis_QueueRecord){
        .receipt_handle = receipt_seal(c, &receipt, now_ms),
        .record_id = receipt_record_id(c->arena, &receipt),
        .partition_key = g->entry.key.n > 0 ? g->entry.key : (Str){ 0 },
        .data = g->entry.data,
        .approximate_arrival_timestamp = g->entry.arrival_ms * NS_PER_MS,
        .first_receive_timestamp = (f != NULL ? f->first_ms : now_ms) * NS_PER_MS,
        .receive_count = f != NULL ? (int32_t)f->received + 1 : 1,
    };
}

// In flight from now on. Under the queue's lock.
static struct flight *hand_out(struct pump *p, const Got *g, int64_t now_ms)
{
    struct queue *q = p->q;
    struct flight *f = g->flight;
    int32_t visibility_s = p->r->visibility_s >= 0 ? p->r->visibility_s : q->visibility_s;
    if (f == NULL) {
        f = queue_add(q, g->shard, g->entry.position);
        f->first_ms = now_ms;
        f->delivery = 1;
    }
    f->received++;
    f->visible_ms = now_ms + (int64_t)visibility_s * 1000;
    f->dead |= q->receives_max > 0 && f->received >= (uint32_t)q->receives_max;
    queue_place(q, f);
    return f;
}

// The cursors that have moved, at the end of the changes. Under the queue's lock.
static size_t add_cursors(struct queue *q, QueueChange *changes, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < q->cursor_count; i++) {
        if (!q->cursors[i].moved)
            continue;
        CHECK(n < max); // each has given a record
        changes[n++] = change_cursor(q, &q->cursors[i]);
        q->cursors[i].moved = false;
    }
    return n;
}

// The answer is complete before the change is made: it may be committed at once.
static void deliver(struct pump *p)
{
    struct receive *r = p->r;
    struct arena *a = r->call->arena;
    int64_t now_ms = queues_now_ms(p->qs);
    r->records->at = arena_new(a, kinesis_QueueRecord, p->n);
    r->records->n = p->n;
    for (size_t i = 0; i < p->n; i++)
        r->records->at[i] = describe(p, &p->got[i], now_ms);
    QueueChange *changes = arena_new(a, QueueChange, 2 * p->n);
    pthread_mutex_lock(&p->q->lock);
    for (size_t i = 0; i < p->n; i++)
        changes[i] = change_flight(p->q, hand_out(p, &p->got[i], now_ms));
    size_t n = p->n + add_cursors(p->q, changes + p->n, p->n);
    r->job =
        (struct queue_job){ .queue = queue_ref(p->q), .call = r->call, .changes = changes, .n = n };
    queues_submit(p->qs, &r->job);
    pthread_mutex_unlock(&p->q->lock);
}

// ---- Pumping

static void answer(struct receive *r, Err e)
{
    r->records->set = true;
    call_done(r->call, e);
}

static void answer_failed(struct pump *p)
{
    if (p->err.kind != ERR_NONE)
        answer(p->r, p->err);
    else
        answer(p->r, call_fail(p->r->call, &kinesis_ThrottlingException,
                               "Rate exceeded for queue %.*s: too many of its records are in "
                               "flight. Acknowledge records first.",
                               FMT(p->q->arn)));
}

// Whether the call has been answered, or will be by its commit.
static bool serve(struct pump *p)
{
    p->n = p->bytes = 0;
    p->err = OK;
    p->full = false;
    if (call_is_gone(p->r->call)) { // nobody would acknowledge what it got
        answer(p->r, OK);
        return true;
    }
    take_visible(p);
    if (!p->r->dead && has_room(p)) {
        follow_shards(p);
        take_new(p);
    }
    p->r->records->set = true;
    if (p->n > 0)
        deliver(p);
    else if (p->err.kind != ERR_NONE || p->full)
        answer_failed(p);
    else
        return false;
    return true;
}

static void pump_on_pool(struct task *t);

// Under the queue's lock.
static bool may_pump(struct queues *qs, struct queue *q, bool may_block)
{
    size_t waiting = q->waiting[0].n + q->waiting[1].n;
    QueueStatus status = queue_status(q, queues_now_ms(qs));
    return waiting > 0 && !q->pumping && !q->stale && !q->closing && status != QUEUE_CREATING &&
           status != QUEUE_DELETING && (may_block || !q->wants_disk);
}

// On the pool, if somebody has found that the disk is needed and nobody is on the way.
static void go_on_on_pool(struct queues *qs, struct queue *q)
{
    struct kinesis *k = queues_kinesis(qs);
    pthread_mutex_lock(&q->lock);
    bool submits = q->wants_disk && !q->on_pool && k->env.pool != NULL;
    q->on_pool |= submits;
    pthread_mutex_unlock(&q->lock);
    if (!submits)
        return;
    queue_ref(q);
    q->task = (struct task){ .run = pump_on_pool };
    if (queues_pool_begin(qs)) {
        if (pool_submit(k->env.pool, &q->task).kind == ERR_NONE)
            return;
        queues_pool_end(qs);
    }
    pthread_mutex_lock(&q->lock);
    q->on_pool = false; // the next tick tries again
    pthread_mutex_unlock(&q->lock);
    queue_unref(q);
}

static void pump_on_pool(struct task *t)
{
    struct queue *q = (struct queue *)((char *)t - offsetof(struct queue, task));
    struct queues *qs = q->owner;
    pthread_mutex_lock(&q->lock);
    q->on_pool = false;
    q->wants_disk = false;
    pthread_mutex_unlock(&q->lock);
    queue_pump(qs, q, true);
    queue_unref(q);
    queues_pool_end(qs);
}

// The calls of one list, until there is nothing more for them.
static void pump_list(struct pump *p, struct receive_list *list, size_t *served)
{
    pthread_mutex_lock(&p->q->lock);
    uint64_t came = list->came;
    pthread_mutex_unlock(&p->q->lock);
    for (bool goes_on = true; goes_on && *served < PUMP_CALLS_MAX;) {
        pthread_mutex_lock(&p->q->lock);
        p->r = list_take(list);
        pthread_mutex_unlock(&p->q->lock);
        if (p->r == NULL)
            return;
        goes_on = serve(p);
        *served += goes_on;
        if (goes_on)
            continue;
        pthread_mutex_lock(&p->q->lock);
        list_put_back(list, p->r);
        if (!p->cold)
            list->looked = came; // what is not there for the first is there for nobody
        pthread_mutex_unlock(&p->q->lock);
    }
}

static bool is_waited_for(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool is = q->waiting[0].n + q->waiting[1].n > 0;
    atomic_store(&q->hungry, is);
    pthread_mutex_unlock(&q->lock);
    return is;
}

void queue_pump(struct queues *qs, struct queue *q, bool may_block)
{
    struct pump p = { .qs = qs, .q = q };
    size_t served = 0;
    p.may_block = may_block || queues_kinesis(qs)->env.pool == NULL;
    pthread_mutex_lock(&q->lock);
    bool pumps = may_pump(qs, q, p.may_block);
    q->pumping |= pumps;
    pthread_mutex_unlock(&q->lock);
    if (pumps) {
        pump_list(&p, &q->waiting[0], &served);
        pump_list(&p, &q->waiting[1], &served);
        pthread_mutex_lock(&q->lock);
        q->pumping = false;
        q->wants_disk |= p.cold;
        pthread_cond_broadcast(&q->idle);
        pthread_mutex_unlock(&q->lock);
        if (served >= PUMP_CALLS_MAX)
            queues_wake(qs);
    }
    if (is_waited_for(q))
        queues_watch(qs);
    go_on_on_pool(qs, q);
}

// ---- Ends of waiting

// A call that need not wait still gets what is there: its time is over once somebody has looked,
// but for a queue that cannot be looked at for long.
static bool is_over(const struct receive_list *list, const struct receive *r, int64_t now_ns)
{
    int64_t more_ns = r->number <= list->looked ? 0 : UNSEEN_S * NS_PER_S;
    return r->deadline_ns + more_ns <= now_ns || call_is_gone(r->call);
}

void queue_expire(struct queues *qs, struct queue *q, bool all)
{
    struct receive_list over = { .last = &over.first };
    int64_t now_ns = kinesis_mono_ns(queues_kinesis(qs)), now_ms = queues_now_ms(qs);
    pthread_mutex_lock(&q->lock);
    bool is_deleted = queue_status(q, now_ms) == QUEUE_DELETING;
    for (size_t i = 0; i < COUNT_OF(q->waiting); i++) {
        struct receive_list *list = &q->waiting[i];
        for (size_t left = list->n; left > 0; left--) {
            struct receive *r = list_take(list);
            bool ends = all || is_deleted || is_over(list, r, now_ns);
            list_add(ends ? &over : list, r);
        }
    }
    pthread_mutex_unlock(&q->lock);
    for (struct receive *r; (r = list_take(&over)) != NULL;)
        answer(r, is_deleted ? queues_check_usable(r->call, q, now_ms) : OK);
}

// ---- Sweeping

// Where the readable records of each shard begin; SIZE_MAX: it is gone.
static void find_first(struct queues *qs, const struct queue *q, uint64_t *ret)
{
    for (size_t i = 0; i < q->cursor_count; i++) {
        LogSpan span;
        Err e = log_span(queues_kinesis(qs)->env.log, q->cursors[i].shard, &span);
        ret[i] = e.kind == ERR_NONE ? span.first : e.kind == ERR_NOT_FOUND ? UINT64_MAX : 0;
    }
}

// Under the queue's lock. Nobody pumps, so that none is being read.
static void drop_old(struct queues *qs, struct queue *q, struct arena *tmp, const uint64_t *first)
{
    struct flight **old = arena_new(tmp, struct flight *, map_count(q->flights));
    size_t n = 0;
    Str key;
    void *value;
    for (size_t at = 0; map_next(q->flights, &at, &key, &value);) {
        struct flight *f = value;
        struct cursor *cursor = cursor_find(q, f->shard);
        if (cursor == NULL || f->position < first[cursor - q->cursors])
            old[n++] = f;
    }
    for (size_t i = 0; i < n; i++)
        queues_drop(qs, q, old[i]);
}

void queue_sweep(struct queues *qs, struct queue *q)
{
    AUTO(arena) tmp = arena_open();
    pthread_mutex_lock(&q->lock);
    bool sweeps = !q->pumping && !q->stale && !q->closing && map_count(q->flights) > 0;
    q->pumping |= sweeps; // the cursors are ours meanwhile
    pthread_mutex_unlock(&q->lock);
    if (!sweeps)
        return;
    uint64_t *first = arena_new(tmp, uint64_t, q->cursor_count);
    find_first(qs, q, first);
    pthread_mutex_lock(&q->lock);
    drop_old(qs, q, tmp, first);
    q->pumping = false;
    pthread_cond_broadcast(&q->idle);
    pthread_mutex_unlock(&q->lock);
}

// ---- Operations

struct wish {
    Str arn;
    bool dead;
    int32_t limit, wait_s, visibility_s;
};

static Err wait_in_line(struct call *c, struct queues *qs, struct queue *q, struct receive *r)
{
    struct receive_list *list = &q->waiting[r->dead];
    pthread_mutex_lock(&q->lock);
    Err e = queues_check_usable(c, q, queues_now_ms(qs));
    if (e.kind == ERR_NONE && list->n >= QUEUE_WAITING_MAX)
        e = call_fail(c, &kinesis_ThrottlingException, "Rate exceeded for queue %.*s.",
                      FMT(q->arn));
    if (e.kind == ERR_NONE) {
        r->number = ++list->came;
        list_add(list, r);
        atomic_store(&q->hungry, true); // before the log is looked at
    }
    pthread_mutex_unlock(&q->lock);
    return e;
}

static Err receive(struct call *c, const struct wish *wish, kinesis_QueueRecordList *records)
{
    struct kinesis *k = c->state;
    AUTO(queue) q = NULL;
    TRY(queues_find(c, wish->arn, &q));
    struct receive *r = arena_new(c->arena, struct receive, 1);
    *r = (struct receive){
        .call = c,
        .records = records,
        .dead = wish->dead,
        .limit = (size_t)wish->limit,
        .visibility_s = wish->visibility_s,
        .deadline_ns = kinesis_mono_ns(k) + (int64_t)wish->wait_s * NS_PER_S,
    };
    TRY(wait_in_line(c, k->queues, q, r));
    queue_pump(k->queues, q, false);
    return call_wait(c);
}

Err kinesis_ReceiveQueueRecords(struct call *c, const struct kinesis_ReceiveQueueRecords_in *in,
                                struct kinesis_ReceiveQueueRecords_out *out)
{
    struct wish wish = {
        .arn = in->queue_arn,
        .limit = in->limit,
        .wait_s = in->wait_time_seconds,
        .visibility_s = in->has_visibility_timeout_seconds ? in->visibility_timeout_seconds : -1,
    };
    return receive(c, &wish, &out->queue_records);
}

Err kinesis_ReceiveDeadLetterQueueRecords(struct call *c,
                                          const struct kinesis_ReceiveDeadLetterQueueRecords_in *in,
                                          struct kinesis_ReceiveDeadLetterQueueRecords_out *out)
{
    struct wish wish = {
        .arn = in->queue_arn,
        .dead = true,
        .limit = in->limit,
        .wait_s = in->wait_time_seconds,
        .visibility_s = in->has_visibility_timeout_seconds ? in->visibility_timeout_seconds : -1,
    };
    return receive(c, &wish, &out->queue_records);
}
