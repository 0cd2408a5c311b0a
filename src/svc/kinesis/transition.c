// SPDX-License-Identifier: Apache-2.0
// How a stream comes from one state into the next: what is committed, in which order, and what
// happens by itself when its time has come.
//
// A change of shards: the row says what is wanted; when it is due the log ends the parents, by a
// barrier; the row gets the children; the log is told of them; then all becomes visible in one
// moment, under the lock. Records that come between barrier and moment wait for it (put.c). A crash
// anywhere in between is carried on from at the next start, with the same children.
#include "base/logline.h"
#include "base/time.h"
#include "svc/kinesis/channels.h"
#include "svc/kinesis/demand.h"
#include "svc/kinesis/kinesis.h"
#include "svc/kinesis/queues.h"
#include "svc/kinesis/reshard.h"

#include <string.h>

enum {
    RETRY_MS = 1000,  // after a change that was due has failed
    CLEAR_MS = 60000, // until shards that are over are looked for again
};

static int64_t now_ms(const struct kinesis *k)
{
    return k->env.io->wall_ns(k->env.io) / NS_PER_MS;
}

// ---- Rows

static Err copy_stream(const struct stream *s, struct arena *tmp, struct stream **ret)
{
    AUTO_BUF(row);
    stream_row_write(&row, s); // no lock: only the holder of `changing` writes
    TRY(buf_err(&row));
    return stream_row_read(tmp, stream_row_key(tmp, s->account, s->region, s->name),
                           str_dup(tmp, buf_str(&row)), ret);
}

static Err put_row(struct kv_txn *tx, struct arena *tmp, const struct stream *s)
{
    AUTO_BUF(row);
    stream_row_write(&row, s);
    TRY(buf_err(&row));
    return kv_put(tx, stream_row_key(tmp, s->account, s->region, s->name), buf_str(&row));
}

Err kinesis_change(struct kinesis *k, struct stream *s, StreamEdit *edit, const void *arg)
{
    AUTO(arena) tmp = arena_open();
    AUTO(stream) copy = NULL;
    TRY(copy_stream(s, tmp, &copy));
    edit(copy, arg);
    AUTO(kv_txn) tx = kv_write(k->rows);
    TRY(put_row(tx, tmp, copy));
    TRY(kv_commit(tx));

    pthread_rwlock_wrlock(&k->lock);
    CHECK(s->status == copy->status || stream_may_become(s->status, copy->status));
    stream_take_fields(s, copy);
    if (s->status == STREAM_DELETING)
        stream_wake(s, false);
    pthread_rwlock_unlock(&k->lock);
    return OK;
}

// ---- Updating

struct timed_edit {
    StreamEdit *edit; // NULL: none
    const void *arg;
    StreamChange change;
    bool is_shown; // as UPDATING
};

static void edit_timed(struct stream *copy, const void *arg)
{
    const struct timed_edit *t = arg;
    if (t->edit != NULL)
        t->edit(copy, t->arg);
    copy->change = t->change;
    if (t->is_shown)
        copy->status = STREAM_UPDATING;
}

Err kinesis_update(struct kinesis *k, struct stream *s, StreamEdit *edit, const void *arg)
{
    if (k->env.change_ns <= 0)
        return kinesis_change(k, s, edit, arg);
    struct timed_edit t = { .edit = edit, .arg = arg, .is_shown = true };
    t.change =
        (StreamChange){ .kind = CHANGE_STATUS, .due_ms = now_ms(k) + k->env.change_ns / NS_PER_MS };
    TRY(kinesis_change(k, s, edit_timed, &t));
    chores_at(&k->chores, t.change.due_ms);
    return OK;
}

Err kinesis_reshard(struct kinesis *k, struct stream *s, const StreamChange *change,
                    StreamEdit *edit, const void *arg)
{
    struct timed_edit t = { .edit = edit, .arg = arg, .change = *change, .is_shown = true };
    t.change.due_ms = now_ms(k) + k->env.change_ns / NS_PER_MS;
    TRY(kinesis_change(k, s, edit_timed, &t));
    if (k->env.change_ns > 0) {
        chores_at(&k->chores, t.change.due_ms);
        return OK;
    }
    Err e = kinesis_finish(k, s);
    if (e.kind != ERR_NONE) { // it is in the row: it will be done
        LOG(LOG_WARN, "a change of shards has to be tried again", F_STR("stream", s->arn),
            F_ERR(e));
        chores_at(&k->chores, now_ms(k) + RETRY_MS);
    }
    return OK;
}

// ---- Changing shards

// Ends the parents, and gives the copy their ends and the children their incarnations, committed.
static Err commit_shards(struct kinesis *k, struct arena *tmp, const struct stream *s,
                         struct stream *copy)
{
    size_t before = s->shard_count, added = copy->shard_count - before;
    size_t *parents = arena_new(tmp, size_t, before);
    size_t n = reshard_parents(copy, s, parents);
    uint64_t *ids = arena_new(tmp, uint64_t, n), *new_ids = arena_new(tmp, uint64_t, added);
    LogPlace *ends = arena_new(tmp, LogPlace, n);
    for (size_t i = 0; i < n; i++)
        ids[i] = s->shards[parents[i]]->id;
    TRY(kinesis_end_shards(k, ids, n, ends));

    AUTO(kv_txn) tx = kv_write(k->rows);
    for (size_t i = 0; i < added; i++)
        TRY(kv_next_id(tx, &new_ids[i]));
    reshard_settle(copy, before, parents, n, ends, new_ids);
    copy->status = STREAM_ACTIVE;
    copy->change = (StreamChange){ 0 };
    TRY(put_row(tx, tmp, copy));
    return kv_commit(tx);
}

static Err finish_shards(struct kinesis *k, struct stream *s)
{
    AUTO(arena) tmp = arena_open();
    AUTO(stream) copy = NULL;
    TRY(copy_stream(s, tmp, &copy));
    TRY(reshard_apply(copy, &s->change));
    TRY(commit_shards(k, tmp, s, copy));

    // The row has the children: from here on memory has to follow.
    Err e = kinesis_declare(k, copy);
    if (e.kind == ERR_NONE)
        e = kinesis_end_closed(k, copy); // those that were short-lived
    if (e.kind != ERR_NONE)
        LOG(LOG_WARN, "a short-lived shard is not ended before the next start",
            F_STR("stream", s->arn), F_ERR(e));
    pthread_rwlock_wrlock(&k->lock);
    stream_take_shards(s, copy);
    stream_take_fields(s, copy);
    stream_wake(s, false);
    pthread_rwlock_unlock(&k->lock);
    return OK;
}

static void edit_active(struct stream *copy, const void *arg)
{
    (void)arg;
    copy->status = STREAM_ACTIVE;
    copy->change = (StreamChange){ 0 };
}

Err kinesis_finish(struct kinesis *k, struct stream *s)
{
    bool is_reshard = s->change.kind != CHANGE_NONE && s->change.kind != CHANGE_STATUS;
    if (s->status == STREAM_DELETING) {
        TRY(kinesis_forget(k, s));
        kinesis_remove(k, s);
        return OK;
    }
    if (!is_reshard)
        return kinesis_change(k, s, edit_active, NULL);
    Err e = finish_shards(k, s);
    if (e.kind == ERR_INVALID) { // it was checked when it began: never to be done
        LOG(LOG_ERROR, "a change of shards is given up", F_STR("stream", s->arn), F_ERR(e));
        return kinesis_change(k, s, edit_active, NULL);
    }
    if (e.kind != ERR_NONE) { // whoever waits may come again
        pthread_rwlock_wrlock(&k->lock);
        stream_wake(s, true);
        pthread_rwlock_unlock(&k->lock);
    }
    return e;
}

// ---- Shards that are over

static bool has_over(const struct kinesis *k, const struct stream *s)
{
    int64_t horizon = stream_horizon_ms(s, now_ms(k));
    bool has = false;
    for (size_t i = 0; i < s->shard_count && s->open_count < s->shard_count && !has; i++)
        has = shard_closed_ms(s->shards[i]) < horizon;
    return has;
}

// The log forgets them first: there is never data without a row.
static Err bury(struct kinesis *k, struct stream *s)
{
    AUTO(arena) tmp = arena_open();
    AUTO(stream) copy = NULL;
    int64_t horizon = stream_horizon_ms(s, now_ms(k));
    TRY(copy_stream(s, tmp, &copy));
    uint64_t *ids = arena_new(tmp, uint64_t, s->shard_count);
    size_t n = stream_bury(copy, horizon, ids);
    if (n == 0)
        return OK;
    TRY(log_shards_drop(k->env.log, ids, n));
    AUTO(kv_txn) tx = kv_write(k->rows);
    TRY(put_row(tx, tmp, copy));
    TRY(kv_commit(tx));

    pthread_rwlock_wrlock(&k->lock);
    stream_bury(s, horizon, ids);
    pthread_rwlock_unlock(&k->lock);
    LOG(LOG_INFO, "closed shards are past the retention and gone", F_STR("stream", s->arn),
        F_INT("shards", (int64_t)n));
    return OK;
}

// The chores hold one reference, the table of streams another, its queues and channels, which look
// at no shards without the lock, one each. Who has just let go of one of those is counted as a call
// that may still look.
static void clear_buried(struct kinesis *k, struct stream *s)
{
    pthread_rwlock_wrlock(&k->lock);
    size_t idle = 2 + queues_on_stream(k, s) + channels_on_stream(k, s);
    if (s->has_buried && __atomic_load_n(&s->refs, __ATOMIC_ACQUIRE) == idle)
        stream_clear_buried(s);
    pthread_rwlock_unlock(&k->lock);
}

// ---- On-demand mode

static void take_peaks(struct stream *copy, const void *arg)
{
    memcpy(copy->peaks, arg, sizeof copy->peaks);
}

// As a change of shards, but the stream stays ACTIVE and nobody asked for it.
static Err reshard_by_itself(struct kinesis *k, struct stream *s, const StreamChange *change)
{
    struct timed_edit t = { .edit = take_peaks, .arg = s->peaks, .change = *change };
    t.change.due_ms = now_ms(k);
    TRY(kinesis_change(k, s, edit_timed, &t));
    return kinesis_finish(k, s);
}

// What the traffic of the last minute says. `changing` is held.
static Err follow_demand(struct kinesis *k, struct stream *s)
{
    int64_t now = now_ms(k);
    StreamChange change;
    if (s->measured_ms == 0) { // the first time after a start
        s->measured_ms = now;
        return OK;
    }
    bool has_risen = demand_measure(s, now), has_changed = false;
    for (int i = 0; i < DEMAND_CHANGES_MAX && demand_next(s, now, &change); i++) {
        if (change.kind == CHANGE_SPLIT)
            demand_keep(s, now, s->open_count + 1);
        TRY(reshard_by_itself(k, s, &change));
        has_changed = true;
        if (change.kind == CHANGE_MERGE)
            break; // down it goes slowly
    }
    return has_risen && !has_changed ? kinesis_change(k, s, take_peaks, s->peaks) : OK;
}

static bool wants_measuring(const struct kinesis *k, const struct stream *s)
{
    return s->on_demand && s->status == STREAM_ACTIVE && s->change.kind == CHANGE_NONE &&
           now_ms(k) - s->measured_ms >= DEMAND_MINUTE_MS;
}

// ---- Chores

static int64_t stream_due_ms(const struct kinesis *k, const struct stream *s)
{
    int64_t due_ms = s->change.kind != CHANGE_NONE ? s->change.due_ms : CHORES_NEVER;
    int64_t retention_ms = (int64_t)s->retention_hours * 3600 * 1000;
    if (s->on_demand && s->status == STREAM_ACTIVE && s->change.kind == CHANGE_NONE)
        due_ms = MIN(due_ms, s->measured_ms + DEMAND_MINUTE_MS);
    if (s->has_buried)
        due_ms = MIN(due_ms, now_ms(k) + CLEAR_MS);
    for (size_t i = 0; i < s->shard_count && s->open_count < s->shard_count; i++)
        if (shard_is_closed(s->shards[i]))
            due_ms = MIN(due_ms, shard_closed_ms(s->shards[i]) + retention_ms + 1);
    return due_ms;
}

int64_t kinesis_due_ms(const struct kinesis *k)
{
    int64_t due_ms = CHORES_NEVER;
    for (size_t i = 0; i < k->count; i++)
        due_ms = MIN(due_ms, stream_due_ms(k, k->sorted[i]));
    return due_ms;
}

static void do_chores(struct kinesis *k, struct stream *s)
{
    Err e = OK;
    pthread_mutex_lock(&k->changing);
    if (s->status != STREAM_GONE && s->change.kind != CHANGE_NONE && s->change.due_ms <= now_ms(k))
        e = kinesis_finish(k, s);
    if (e.kind == ERR_NONE && s->status != STREAM_GONE && has_over(k, s))
        e = bury(k, s);
    if (e.kind == ERR_NONE && wants_measuring(k, s))
        e = follow_demand(k, s);
    pthread_mutex_unlock(&k->changing);
    if (s->has_buried)
        clear_buried(k, s);
    if (e.kind != ERR_NONE)
        LOG(LOG_WARN, "what is due on a stream has to be tried again", F_STR("stream", s->arn),
            F_ERR(e));
}

int64_t kinesis_run_chores(void *self)
{
    struct kinesis *k = self;
    AUTO(arena) tmp = arena_open();
    int64_t now = now_ms(k);
    pthread_rwlock_rdlock(&k->lock);
    struct stream **due = arena_new(tmp, struct stream *, k->count);
    size_t n = 0;
    for (size_t i = 0; i < k->count; i++)
        if (k->sorted[i]->has_buried || stream_due_ms(k, k->sorted[i]) <= now)
            due[n++] = stream_ref(k->sorted[i]);
    pthread_rwlock_unlock(&k->lock);
    for (size_t i = 0; i < n; i++) {
        do_chores(k, due[i]);
        stream_unref(due[i]);
    }
    pthread_rwlock_rdlock(&k->lock);
    int64_t next_ms = kinesis_due_ms(k);
    pthread_rwlock_unlock(&k->lock);
    return next_ms <= now ? now_ms(k) + RETRY_MS : next_ms;
}
