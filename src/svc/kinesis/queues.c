// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/queues.h"
#include "base/logline.h"
#include "base/metric.h"
#include "base/time.h"

#include <stdlib.h>

enum {
    CHANGES_AT_ONCE = 4000, // in one transaction
    PURGED_AT_ONCE = 1000,
    TICK_MS = 20,         // while calls wait: whether there is something for them
    REST_MS = 1000,       // while none wait: whether a deletion is due
    SWEEP_MS = 60 * 1000, // what is past its retention is looked for
};

struct queues {
    struct kinesis *k;
    struct kv_table *rows, *flights;
    struct metric *commits, *changes;

    pthread_mutex_t lock; // of all below; a leaf
    pthread_cond_t wake;  // of the thread
    pthread_cond_t ended; // something on the pool
    struct map *by_arn;   // each with a reference
    struct queue_job *first, **last;
    size_t on_pool;
    bool is_due;   // a tick, now
    bool watching; // for what calls wait for: the next tick comes soon
    bool has_thread, stopping;
    pthread_t thread;
};

struct kv_table *queues_rows(const struct queues *qs)
{
    return qs->rows;
}

struct kv_table *queues_flights(const struct queues *qs)
{
    return qs->flights;
}

struct kinesis *queues_kinesis(const struct queues *qs)
{
    return qs->k;
}

int64_t queues_now_ms(const struct queues *qs)
{
    return qs->k->env.io->wall_ns(qs->k->env.io) / NS_PER_MS;
}

// ---- The table

struct queue **queues_all(struct queues *qs, struct arena *a, Str account, Str region,
                          size_t *ret_n)
{
    Str arn;
    void *value;
    size_t n = 0;
    pthread_mutex_lock(&qs->lock);
    struct queue **all = arena_new(a, struct queue *, map_count(qs->by_arn));
    for (size_t at = 0; map_next(qs->by_arn, &at, &arn, &value);) {
        struct queue *q = value;
        if (account.p == NULL || (str_eq(q->account, account) && str_eq(q->region, region)))
            all[n++] = queue_ref(q);
    }
    pthread_mutex_unlock(&qs->lock);
    *ret_n = n;
    return all;
}

void queues_unref_all(struct queue **all, size_t n)
{
    for (size_t i = 0; i < n; i++)
        queue_unref(all[i]);
}

static struct queue *look(struct call *c, Str arn)
{
    struct kinesis *k = c->state;
    struct queues *qs = k->queues;
    pthread_mutex_lock(&qs->lock);
    struct queue *q = map_get(qs->by_arn, arn);
    if (q != NULL && str_eq(q->account, c->account) && str_eq(q->region, c->region))
        queue_ref(q);
    else
        q = NULL;
    pthread_mutex_unlock(&qs->lock);
    return q;
}

void queues_copy_tags(struct call *c, Str arn, TagSet *to)
{
    AUTO(queue) q = look(c, arn);
    if (q == NULL)
        return;
    pthread_mutex_lock(&q->lock);
    tag_set_copy(to, &q->tags);
    pthread_mutex_unlock(&q->lock);
}

Err queues_find(struct call *c, Str arn, struct queue **ret)
{
    TRY(kinesis_admit(c, arn));
    struct queue *q = look(c, arn);
    if (q == NULL)
        return call_fail(c, &kinesis_ResourceNotFoundException,
                         "Queue %.*s under account %.*s not found.", FMT(arn), FMT(c->account));
    *ret = q;
    return OK;
}

// A disk without room is no fault: clients come again, and it may have room then.
static Err throttle(struct call *c)
{
    return call_fail(c, &kinesis_ThrottlingException, "Rate exceeded");
}

Err queues_check_usable(struct call *c, const struct queue *q, int64_t now_ms)
{
    if (queue_status(q, now_ms) == QUEUE_DELETING)
        return call_fail(c, &kinesis_ResourceNotFoundException,
                         "Queue %.*s under account %.*s not found.", FMT(q->arn), FMT(c->account));
    if (!q->stale)
        return OK;
    return q->was_full ? throttle(c)
                       : fail(ERR_IO, "what is in flight of a queue must be read again");
}

size_t queues_on_stream(const struct kinesis *k, const struct stream *s)
{
    struct queues *qs = k->queues;
    Str arn;
    void *value;
    size_t n = 0;
    pthread_mutex_lock(&qs->lock);
    for (size_t at = 0; map_next(qs->by_arn, &at, &arn, &value);)
        n += ((struct queue *)value)->stream == s;
    pthread_mutex_unlock(&qs->lock);
    return n;
}

Err queues_refuse(struct call *c, const struct stream *s, const char *what, const char *how)
{
    size_t n = queues_on_stream(c->state, s);
    if (n == 0)
        return OK;
    return call_fail(c, &kinesis_ResourceInUseException,
                     "%s %.*s%s because there are queues (%zu) associated with this data stream. "
                     "Delete every queue on it first.",
                     what, FMT(s->arn), how, n);
}

bool queues_is_arn(Str resource_arn)
{
    Str part;
    for (size_t i = 0; i < 5; i++)
        if (!str_cut(resource_arn, ':', &part, &resource_arn))
            return false;
    return str_starts(resource_arn, S("queue/"));
}

static void *run(void *self);

void queues_insert(struct queues *qs, struct queue *take_q)
{
    take_q->owner = qs;
    pthread_mutex_lock(&qs->lock);
    CHECK(map_put(qs->by_arn, take_q->arn, take_q) == NULL);
    if (!qs->has_thread && !qs->stopping) {
        CHECK(pthread_create(&qs->thread, NULL, run, qs) == 0);
        pthread_setname_np(qs->thread, "queues");
        qs->has_thread = true;
    }
    pthread_cond_signal(&qs->wake);
    pthread_mutex_unlock(&qs->lock);
}

// ---- Jobs

QueueChange change_flight(const struct queue *q, const struct flight *f)
{
    QueueChange change = { .is_removal = false };
    flight_key(change.key, q->id, f->shard, f->position);
    flight_row(change.row, f);
    return change;
}

QueueChange change_removal(const struct queue *q, uint64_t shard, uint64_t position)
{
    QueueChange change = { .is_removal = true };
    flight_key(change.key, q->id, shard, position);
    return change;
}

QueueChange change_cursor(const struct queue *q, const struct cursor *cursor)
{
    QueueChange change = { .is_removal = false };
    flight_key(change.key, q->id, cursor->shard, 0);
    cursor_row(change.row, cursor->next);
    return change;
}

void queues_submit(struct queues *qs, struct queue_job *job)
{
    job->next = NULL;
    job->queue->jobs++;
    pthread_mutex_lock(&qs->lock);
    *qs->last = job;
    qs->last = &job->next;
    pthread_cond_signal(&qs->wake);
    pthread_mutex_unlock(&qs->lock);
}

// A job that nobody waits for, with its change behind it.
struct lone_job {
    struct queue_job job;
    QueueChange change;
};

static void submit_removal(struct queues *qs, struct queue *q, uint64_t shard, uint64_t position)
{
    struct lone_job *lone = xalloc(sizeof *lone);
    lone->change = change_removal(q, shard, position);
    lone->job = (struct queue_job){ .queue = queue_ref(q), .changes = &lone->change, .n = 1 };
    queues_submit(qs, &lone->job);
}

void queues_drop(struct queues *qs, struct queue *q, struct flight *f)
{
    submit_removal(qs, q, f->shard, f->position);
    queue_remove(q, f);
}

void queues_drop_cursor(struct queues *qs, struct queue *q, uint64_t shard)
{
    submit_removal(qs, q, shard, 0);
}

// The first jobs of the list: as many as fit into one transaction, but one at least. Under lock.
static struct queue_job *take_jobs(struct queues *qs)
{
    struct queue_job *first = qs->first, **end = &qs->first;
    size_t n = 0;
    while (*end != NULL && (n == 0 || n + (*end)->n <= CHANGES_AT_ONCE)) {
        n += (*end)->n;
        end = &(*end)->next;
    }
    struct queue_job *rest = *end;
    *end = NULL;
    qs->first = rest;
    if (rest == NULL)
        qs->last = &qs->first;
    return first;
}

static bool is_stale(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool stale = q->stale;
    pthread_mutex_unlock(&q->lock);
    return stale;
}

static Err write_changes(struct kv_txn *tx, const struct queue_job *job)
{
    for (size_t i = 0; i < job->n; i++) {
        const QueueChange *change = &job->changes[i];
        Str key = str_from(change->key, sizeof change->key);
        if (change->is_removal)
            TRY(kv_del(tx, key));
        else
            TRY(kv_put(tx, key, str_from(change->row, sizeof change->row)));
    }
    return OK;
}

// Those of queues that are to be read again have built on what was not committed: they are left
// out.
static Err commit(struct queues *qs, const struct queue_job *jobs)
{
    size_t changes = 0;
    AUTO(kv_txn) tx = kv_write(qs->flights);
    for (const struct queue_job *job = jobs; job != NULL; job = job->next) {
        if (is_stale(job->queue))
            continue;
        TRY(write_changes(tx, job));
        changes += job->n;
    }
    TRY(kv_commit(tx));
    metric_add(qs->commits, 1);
    metric_add(qs->changes, (int64_t)changes);
    return OK;
}

// The last moment of a job, whose memory may be the call's.
static void job_end(struct queue_job *job, Err e)
{
    struct queue *q = job->queue;
    struct call *c = job->call;
    if (c == NULL) {
        free(job);
    } else {
        call_done(c, e.kind == ERR_FULL ? throttle(c) : e);
    }
    pthread_mutex_lock(&q->lock);
    if (--q->jobs == 0)
        pthread_cond_broadcast(&q->idle);
    pthread_mutex_unlock(&q->lock);
    queue_unref(q);
}

static void do_jobs(struct queues *qs, struct queue_job *jobs)
{
    Err e = commit(qs, jobs);
    if (e.kind != ERR_NONE)
        LOG(LOG_ERROR, "what is in flight of queues was not written", F_ERR(e));
    for (struct queue_job *job = jobs, *next; job != NULL; job = next) {
        next = job->next;
        struct queue *q = job->queue;
        pthread_mutex_lock(&q->lock);
        ErrKind why = q->was_full ? ERR_FULL : ERR_IO;
        Err mine = q->stale ? fail(why, "an earlier change of the queue was not written") : e;
        if (!q->stale)
            q->was_full = e.kind == ERR_FULL;
        q->stale |= e.kind != ERR_NONE;
        pthread_mutex_unlock(&q->lock);
        job_end(job, mine);
    }
}

// ---- Reading again

static Err load_flights(struct queues *qs, struct queue *q)
{
    uint8_t prefix[FLIGHT_KEY_BYTES];
    flight_key(prefix, q->id, 0, 0);
    AUTO(kv_txn) tx = kv_read(qs->flights);
    struct kv_scan scan = kv_scan_start(tx, str_from(prefix, 8), S(""));
    while (kv_scan_next(&scan)) {
        Err e = flight_row_read(q, scan.rest, scan.value);
        if (e.kind != ERR_NONE) {
            kv_scan_end(&scan);
            return e;
        }
    }
    return scan.err;
}

// Whether the queue is to be read again, and nobody is at it: then nobody will be. Under lock.
static bool begin_reload(struct queue *q)
{
    bool begins = q->stale && q->jobs == 0 && !q->pumping && !q->closing;
    q->pumping |= begins;
    return begins;
}

// Of a queue that a failed commit has left behind.
static void reload(struct queues *qs, struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool begins = begin_reload(q);
    pthread_mutex_unlock(&q->lock);
    if (!begins)
        return;
    queue_unwatch_all(qs, q); // the cursors go
    AUTO(queue) fresh = queue_new(q->account, q->region, q->name, S(""));
    fresh->id = q->id;
    Err e = load_flights(qs, fresh);
    if (e.kind != ERR_NONE)
        LOG(LOG_ERROR, "what is in flight of a queue cannot be read", F_STR("queue", q->arn),
            F_ERR(e));
    pthread_mutex_lock(&q->lock);
    if (e.kind == ERR_NONE)
        queue_take_flights(q, fresh);
    q->stale = e.kind != ERR_NONE;
    q->was_full = false;
    q->pumping = false;
    pthread_cond_broadcast(&q->idle);
    pthread_mutex_unlock(&q->lock);
}

// ---- Deleting

// Some rows of the queue; *ret_n: how many, 0 when there are none.
static Err purge_some(struct queues *qs, const struct queue *q, size_t *ret_n)
{
    AUTO(arena) tmp = arena_open();
    uint8_t prefix[FLIGHT_KEY_BYTES];
    flight_key(prefix, q->id, 0, 0);
    Str *keys = arena_new(tmp, Str, PURGED_AT_ONCE);
    size_t n = 0;
    AUTO(kv_txn) tx = kv_write(qs->flights);
    struct kv_scan scan = kv_scan_start(tx, str_from(prefix, 8), S(""));
    while (n < PURGED_AT_ONCE && kv_scan_next(&scan))
        keys[n++] = str_cat(tmp, str_from(prefix, 8), scan.rest);
    kv_scan_end(&scan);
    TRY(scan.err);
    for (size_t i = 0; i < n; i++)
        TRY(kv_del(tx, keys[i]));
    *ret_n = n;
    return kv_commit(tx);
}

static void table_remove(struct queues *qs, struct queue *q)
{
    pthread_mutex_lock(&qs->lock);
    struct queue *was = map_take(qs->by_arn, q->arn);
    pthread_mutex_unlock(&qs->lock);
    queue_unref(was);
}

static Err purge_all(struct queues *qs, struct queue *q)
{
    queue_unwatch_all(qs, q);
    queue_expire(qs, q, false); // a pump may have placed a call back
    for (size_t n = PURGED_AT_ONCE; n == PURGED_AT_ONCE;)
        TRY(purge_some(qs, q, &n));
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_write(qs->rows);
    TRY(kv_del(tx, queue_row_key(tmp, q)));
    TRY(kv_commit(tx));
    table_remove(qs, q);
    return OK;
}

// By whoever has set `closing`, with nothing on its way.
static Err purge_alone(struct queues *qs, struct queue *q)
{
    Err e = purge_all(qs, q);
    pthread_mutex_lock(&q->lock);
    q->purged = e.kind == ERR_NONE;
    q->closing = q->purged; // else the thread comes to it
    pthread_cond_broadcast(&q->idle);
    pthread_mutex_unlock(&q->lock);
    return e;
}

Err queues_purge(struct queues *qs, struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    while (q->closing && !q->purged) // the thread was faster
        pthread_cond_wait(&q->idle, &q->lock);
    bool is_over = q->purged;
    q->closing = true; // whatever is on its way is written before it is removed
    while (!is_over && (q->pumping || q->jobs > 0))
        pthread_cond_wait(&q->idle, &q->lock);
    pthread_mutex_unlock(&q->lock);
    return is_over ? OK : purge_alone(qs, q);
}

// By the thread, which is the one that does jobs: it comes back until there are none.
static void purge_if_due(struct queues *qs, struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool is_due = q->gone_ms != 0 && q->gone_ms <= queues_now_ms(qs) && !q->closing &&
                  !q->pumping && q->jobs == 0;
    q->closing |= is_due;
    pthread_mutex_unlock(&q->lock);
    if (!is_due)
        return;
    Err e = purge_alone(qs, q);
    if (e.kind != ERR_NONE)
        LOG(LOG_WARN, "the deletion of a queue has to be tried again", F_STR("queue", q->arn),
            F_ERR(e));
}

// ---- The thread

// Returns how many calls are still waiting.
static size_t tick(struct queues *qs, bool sweeps)
{
    AUTO(arena) tmp = arena_open();
    size_t n, waiting = 0;
    struct queue **all = queues_all(qs, tmp, (Str){ 0 }, (Str){ 0 }, &n);
    for (size_t i = 0; i < n; i++) {
        struct queue *q = all[i];
        reload(qs, q);
        if (sweeps)
            queue_sweep(qs, q);
        queue_pump(qs, q, false);
        queue_expire(qs, q, false);
        purge_if_due(qs, q);
        pthread_mutex_lock(&q->lock);
        waiting += q->waiting[0].n + q->waiting[1].n;
        pthread_mutex_unlock(&q->lock);
    }
    queues_unref_all(all, n);
    return waiting;
}

static int64_t real_ns(void)
{
    struct io *io = io_real(); // how long to wait, whatever the service's clock says
    return io->mono_ns(io);
}

static void wait_until(struct queues *qs, int64_t until_ns)
{
    struct timespec until = { .tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S };
    pthread_cond_timedwait(&qs->wake, &qs->lock, &until);
}

// A tick, with the list let go meanwhile.
static void tick_unlocked(struct queues *qs, bool sweeps)
{
    qs->is_due = qs->watching = false; // whoever comes meanwhile says so again
    pthread_mutex_unlock(&qs->lock);
    size_t waiting = tick(qs, sweeps);
    pthread_mutex_lock(&qs->lock);
    qs->watching |= waiting > 0;
}

static void *run(void *self)
{
    struct queues *qs = self;
    int64_t ticked_ns = real_ns(), swept_ns = ticked_ns;
    pthread_mutex_lock(&qs->lock);
    while (!qs->stopping || qs->first != NULL) {
        if (qs->first != NULL) {
            struct queue_job *jobs = take_jobs(qs);
            pthread_mutex_unlock(&qs->lock);
            do_jobs(qs, jobs);
            pthread_mutex_lock(&qs->lock);
        }
        int64_t now_ns = real_ns();
        int64_t due_ns = ticked_ns + (qs->watching ? TICK_MS : REST_MS) * NS_PER_MS;
        if (qs->is_due || now_ns >= due_ns) {
            bool sweeps = now_ns - swept_ns >= SWEEP_MS * NS_PER_MS;
            swept_ns = sweeps ? now_ns : swept_ns;
            ticked_ns = now_ns;
            tick_unlocked(qs, sweeps);
        } else if (qs->first == NULL && !qs->stopping) {
            wait_until(qs, due_ns);
        }
    }
    pthread_mutex_unlock(&qs->lock);
    return NULL;
}

void queues_watch(struct queues *qs)
{
    pthread_mutex_lock(&qs->lock);
    if (!qs->watching)
        pthread_cond_signal(&qs->wake);
    qs->watching = true;
    pthread_mutex_unlock(&qs->lock);
}

void queues_wake(struct queues *qs)
{
    pthread_mutex_lock(&qs->lock);
    qs->is_due = true;
    pthread_cond_signal(&qs->wake);
    pthread_mutex_unlock(&qs->lock);
}

bool queues_pool_begin(struct queues *qs)
{
    pthread_mutex_lock(&qs->lock);
    bool begins = !qs->stopping;
    qs->on_pool += begins;
    pthread_mutex_unlock(&qs->lock);
    return begins;
}

void queues_pool_end(struct queues *qs)
{
    pthread_mutex_lock(&qs->lock);
    if (--qs->on_pool == 0)
        pthread_cond_broadcast(&qs->ended);
    pthread_mutex_unlock(&qs->lock);
}

void queues_stop(struct queues *qs)
{
    if (qs == NULL)
        return;
    AUTO(arena) tmp = arena_open();
    size_t n;
    pthread_mutex_lock(&qs->lock);
    qs->stopping = true;
    pthread_cond_signal(&qs->wake);
    while (qs->on_pool > 0)
        pthread_cond_wait(&qs->ended, &qs->lock);
    bool has_thread = qs->has_thread;
    qs->has_thread = false;
    pthread_mutex_unlock(&qs->lock);
    if (has_thread)
        CHECK(pthread_join(qs->thread, NULL) == 0);
    struct queue **all = queues_all(qs, tmp, (Str){ 0 }, (Str){ 0 }, &n);
    for (size_t i = 0; i < n; i++)
        queue_unwatch_all(qs, all[i]);
    for (size_t i = 0; i < n; i++)
        queue_expire(qs, all[i], true); // nobody pumps any more: these need no commit
    queues_unref_all(all, n);
}

// ---- Opening

static Err load_row(struct queues *qs, Str key, Str row)
{
    AUTO(arena) tmp = arena_open();
    AUTO(queue) q = NULL;
    Str name;
    TRY(queue_row_read(tmp, key, row, &name, &q));
    struct stream *s = map_get(qs->k->by_key, stream_row_key(tmp, q->account, q->region, name));
    if (s == NULL)
        return fail(ERR_CORRUPT, "a queue's row has no stream");
    q->stream = stream_ref(s);
    TRY(load_flights(qs, q));
    queues_insert(qs, queue_ref(q));
    return OK;
}

static Err load(struct queues *qs)
{
    AUTO(kv_txn) tx = kv_read(qs->rows);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&scan)) {
        Err e = load_row(qs, scan.rest, scan.value);
        if (e.kind != ERR_NONE) {
            LOG(LOG_ERROR, "a queue cannot be read", F_STR("row", scan.rest), F_ERR(e));
            kv_scan_end(&scan);
            return e;
        }
    }
    return scan.err;
}

Err queues_open(struct kinesis *k, struct queues **ret)
{
    struct queues *qs = xalloc(sizeof *qs);
    pthread_condattr_t attributes;
    qs->k = k;
    qs->by_arn = map_open();
    qs->last = &qs->first;
    qs->commits = metric_get(METRIC_COUNTER, S("headrace_kinesis_queue_commits_total"),
                             S("Commits of what is in flight of queues."), S(""));
    qs->changes = metric_get(METRIC_COUNTER, S("headrace_kinesis_queue_changes_total"),
                             S("Rows that these commits changed."), S(""));
    pthread_mutex_init(&qs->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&qs->wake, &attributes);
    pthread_cond_init(&qs->ended, NULL);
    pthread_condattr_destroy(&attributes);
    *ret = qs; // the operations of queues look there
    TRY(kv_table_open(k->env.kv, S("kinesis.queues"), &qs->rows));
    TRY(kv_table_open(k->env.kv, S("kinesis.inflight"), &qs->flights));
    return load(qs);
}

void queues_close(struct queues *qs)
{
    if (qs == NULL)
        return;
    queues_stop(qs);
    Str arn;
    void *q;
    for (size_t at = 0; map_next(qs->by_arn, &at, &arn, &q);)
        queue_unref(q);
    map_close(qs->by_arn);
    metric_release(qs->commits);
    metric_release(qs->changes);
    pthread_cond_destroy(&qs->wake);
    pthread_cond_destroy(&qs->ended);
    pthread_mutex_destroy(&qs->lock);
    free(qs);
}
