// SPDX-License-Identifier: Apache-2.0
// One run of a lane: what waits is counted, and if it is enough or old enough, delivered.
#include "base/logline.h"
#include "base/time.h"
#include "delivery/delivery_priv.h"

#include <stdlib.h>

enum { CALM_BATCHES = 3 }; // after which a buffer that has grown is small again

void lane_init(struct lane *l, struct delivery *v, bool is_backup)
{
    const DeliveryConfig *c = &v->config->is;
    *l = (struct lane){ .task.run = lane_run, .v = v, .is_backup = is_backup };
    atomic_store(&l->size_bytes, MAX(is_backup ? c->backup.size_bytes : c->size_bytes, 1));
}

void lane_done(struct lane *l)
{
    held_drop(l);
    partitions_drop(l);
    partition_forget(l);
    convert_close(l);
    reader_close(l);
    plan_close(l->plan);
}

HubActor lane_actor(const struct lane *l, Str role_arn)
{
    const DeliveryConfig *c = &l->plan->config->is;
    return (HubActor){ .account = c->account,
                       .region = c->region,
                       .role_arn = role_arn,
                       .service = c->service,
                       .source_arn = c->arn };
}

// ---- When

// How much and how long waits before it is read.
static int64_t wait_bytes(const struct lane *l)
{
    bool staged = l->plan != NULL && lane_stages(l);
    return staged ? partition_stage_bytes(l) : atomic_load(&l->size_bytes);
}

static int64_t wait_ms(struct lane *l)
{
    bool staged = l->plan != NULL && lane_stages(l);
    if (staged)
        return partition_stage_ms(l);
    return lane_gather_ms(l, atomic_load(&l->oldest_ms), l->interval_ms);
}

int64_t lane_gather_ms(struct lane *l, int64_t since_ms, int64_t most_ms)
{
    if (!atomic_load(&l->is_soon))
        return most_ms;
    int64_t rested_ms = atomic_load(&l->rested_ms) + SOON_MS - since_ms;
    return MIN(MAX(rested_ms, (int64_t)GATHER_MS), most_ms);
}

// The lock is held, and nobody runs it.
int64_t lane_due_ms(struct lane *l)
{
    int64_t now_ms = delivery_now_ms(l->v->d), due_ms = NEVER_MS, none = 0;
    if (!l->is_loaded || l->is_changed || l->flush)
        return l->retry_ms > 0 && !l->flush ? l->retry_ms : now_ms;
    bool tries_again = l->held != NULL || l->flush_again;
    if (l->retry_ms > now_ms || (l->retry_ms > 0 && tries_again))
        return l->retry_ms; // once it is over, what is due is due by its own
    if (atomic_load(&l->told) || l->is_unknown)
        due_ms = now_ms + MIN(TOLD_MS, l->interval_ms);
    if (atomic_load(&l->told))
        due_ms = MIN(due_ms, now_ms + lane_gather_ms(l, now_ms, TOLD_MS));
    if (l->outputs_due_ms > 0)
        due_ms = MIN(due_ms, l->outputs_due_ms);
    if (atomic_load(&l->pending_records) <= 0)
        return due_ms;
    if (atomic_load(&l->pending_bytes) >= wait_bytes(l))
        return now_ms;
    atomic_compare_exchange_strong(&l->oldest_ms, &none, now_ms);
    return MIN(due_ms, atomic_load(&l->oldest_ms) + wait_ms(l));
}

static bool take_flush(struct lane *l)
{
    struct deliveries *d = l->v->d;
    pthread_mutex_lock(&d->lock);
    bool flush = l->flush;
    l->flush = false;
    pthread_mutex_unlock(&d->lock);
    return flush;
}

static bool is_due(struct lane *l, bool *ret_flush)
{
    int64_t now_ms = delivery_now_ms(l->v->d);
    *ret_flush = take_flush(l) || (l->flush_again && now_ms >= l->retry_ms);
    if (*ret_flush) {
        l->flush_again = false;
        return true;
    }
    if (l->held != NULL || now_ms < l->retry_ms)
        return now_ms >= l->retry_ms;
    if (l->outputs_due_ms > 0 && l->outputs_due_ms <= now_ms)
        return true;
    if (atomic_load(&l->pending_records) <= 0)
        return false;
    return atomic_load(&l->pending_bytes) >= wait_bytes(l) ||
           atomic_load(&l->oldest_ms) + wait_ms(l) <= now_ms;
}

// ---- What fails

static Str name_of(const struct lane *l)
{
    return l->plan != NULL ? l->plan->config->is.name : S("");
}

static int64_t pause_ms(int64_t attempts)
{
    int64_t s = PAUSE_S_MIN;
    for (int64_t i = 1; i < attempts && s < PAUSE_S_MAX; i++)
        s *= 2;
    return 1000 * MIN(s, (int64_t)PAUSE_S_MAX);
}

void lane_failed(struct lane *l, Str code, Str text)
{
    struct delivery *v = l->v;
    int64_t attempts = atomic_fetch_add(&l->attempts, 1) + 1;
    l->retry_ms = delivery_now_ms(v->d) + pause_ms(attempts);
    error_set(v, code, text);
    if ((attempts & (attempts - 1)) == 0) // ever more seldom
        LOG(LOG_WARN, "a delivery does not succeed", F_STR("delivery", name_of(l)),
            F_INT("id", v->id), F_STR("code", code), F_STR("problem", text),
            F_INT("attempts", attempts));
}

static void succeeded(struct lane *l)
{
    l->retry_ms = 0;
    if (atomic_exchange(&l->attempts, 0) == 0)
        return;
    error_set(l->v, (Str){ 0 }, (Str){ 0 });
    LOG(LOG_INFO, "a delivery succeeds again", F_STR("delivery", name_of(l)));
}

// ---- The buffer's size

// Raised when what waits is more than the batches of one interval take; small again when nothing
// has waited for a while (the developer guide gives no formula).
static void adapt_size(struct lane *l, int64_t took_ms)
{
    const struct plan *p = l->plan;
    int64_t waiting = atomic_load(&l->pending_bytes), size = atomic_load(&l->size_bytes);
    int64_t batches = MAX(p->interval_ms / MAX(took_ms, (int64_t)1), (int64_t)1);
    l->calm = waiting < p->size_bytes ? l->calm + 1 : 0;
    size = MIN(MAX(size, waiting / batches), p->size_max);
    if (l->calm >= CALM_BATCHES)
        size = p->size_bytes;
    atomic_store(&l->size_bytes, MAX(size, p->size_bytes));
}

// ---- The plan

static Err refresh_plan(struct lane *l)
{
    AUTO(arena) tmp = arena_open();
    struct delivery *v = l->v;
    struct plan *plan = NULL;
    Str text;
    pthread_mutex_lock(&v->d->lock);
    bool is_current = l->plan != NULL && l->plan->config == v->config;
    l->is_changed = false;
    struct shared_config *c = is_current ? NULL : config_ref(v->config);
    pthread_mutex_unlock(&v->d->lock);
    if (is_current)
        return OK;
    Err e = plan_open(&v->d->env, c, l->is_backup, &plan, tmp, &text);
    config_unref(c);
    if (e.kind != ERR_NONE) { // the front door has checked it: another program's row, or a zone
        lane_failed(l, S("InternalError"), text.n > 0 ? text : str_of(e.text));
        return fail(ERR_FAULT, "a config that cannot be used");
    }
    if (l->plan != NULL && l->plan->ops != plan->ops) { // another destination: all anew
        held_drop(l);
        reader_rewind(l);
    }
    convert_close(l); // of another table, perhaps
    plan_close(l->plan);
    l->plan = plan;
    processing_count(plan->processing, &v->meters);
    l->retry_ms = 0; // what was wrong may be right now
    l->interval_ms = plan->interval_ms;
    atomic_store(&l->is_soon, plan->is_soon);
    atomic_store(&l->size_bytes, plan->size_bytes);
    return OK;
}

// ---- Objects

Err lane_process(struct lane *l, DeliveryBatch *b)
{
    if (l->plan->processing == NULL)
        return OK;
    return processing_run(l->plan->processing, b);
}

Err lane_route_failed(struct lane *l, const DeliveryRecord *r)
{
    const OutputKind kind = { .error_type = r->fault.type };
    struct output *o = output_find(l, &kind);
    if (o == NULL)
        TRY(output_open(l, &kind, &o));
    return output_add_failed(o, r);
}

static Err route_data(struct lane *l, DeliveryRecord *r)
{
    const OutputKind kind = { 0 };
    struct output *o = output_find(l, &kind);
    if (o == NULL)
        TRY(output_open(l, &kind, &o));
    Err e = output_add(o, r);
    return e.kind == ERR_INVALID ? lane_route_failed(l, r) : e;
}

Err lane_route(struct lane *l, const DeliveryBatch *b)
{
    for (size_t i = 0; i < b->n; i++)
        TRY(route_data(l, &b->at[i]));
    for (size_t i = 0; i < b->failed_n; i++)
        TRY(lane_route_failed(l, &b->failed[i]));
    return OK;
}

// More than one reading gives where the calls of a function want more.
Err lane_read(struct lane *l, DeliveryBatch *b, size_t max_bytes, bool *ret_more)
{
    TRY(reader_read(l, b, MIN(max_bytes, (size_t)PIECE_BYTES), ret_more));
    while (l->plan->piece_bytes > PIECE_BYTES && *ret_more && b->bytes < max_bytes) {
        if (lane_must_stop(l))
            return fail(ERR_CLOSED, "the server stops");
        TRY(reader_read(l, b, MIN(max_bytes - b->bytes, (size_t)PIECE_BYTES), ret_more));
    }
    return OK;
}

// Records go into their object as the log has them.
static bool is_plain(const struct lane *l)
{
    return l->plan->config->is.direct_shard != 0 && l->plan->processing == NULL &&
           !lane_converts(l);
}

static Err read_entries(struct lane *l, struct arena *a, size_t max_bytes, size_t *ret_bytes,
                        bool *ret_more)
{
    const OutputKind kind = { 0 };
    int64_t before = l->read_bytes;
    LogBatch b;
    TRY(reader_read_entries(l, a, max_bytes, &b));
    *ret_bytes = (size_t)(l->read_bytes - before);
    *ret_more = b.more && b.n > 0;
    struct output *o = output_find(l, &kind);
    if (o == NULL && b.n > 0)
        TRY(output_open(l, &kind, &o));
    return output_add_entries(o, b.at, b.n);
}

static Err read_piece(struct lane *l, size_t max_bytes, size_t *ret_bytes, bool *ret_more)
{
    AUTO(arena) a = arena_open_request();
    if (a == NULL)
        return fail(ERR_MEMORY, "no memory for records on their way");
    if (is_plain(l))
        return read_entries(l, a, MIN(max_bytes, (size_t)PIECE_BYTES), ret_bytes, ret_more);
    DeliveryBatch b = { .arena = a };
    TRY(lane_read(l, &b, max_bytes, ret_more));
    *ret_bytes = b.bytes;
    TRY(lane_process(l, &b));
    return lane_route(l, &b);
}

Err lane_read_objects(struct lane *l, bool *ret_more)
{
    size_t size = (size_t)atomic_load(&l->size_bytes), got = 0;
    *ret_more = true;
    while (*ret_more && got < size) {
        size_t bytes = 0;
        if (lane_must_stop(l))
            return fail(ERR_CLOSED, "the server stops");
        TRY(read_piece(l, MIN(l->plan->piece_bytes, size - got), &bytes, ret_more));
        got += bytes;
    }
    return OK;
}

// What a destination without objects refuses goes to its backup; what fails on the way to objects
// is no delivery.
static void count_object(struct lane *l, const struct output *o)
{
    struct delivery_meters *m = &l->v->meters;
    bool to_backup = l->is_backup || l->plan->place == NULL;
    int64_t age_ms = MAX(delivery_now_ms(l->v->d) - o->oldest_ms, 0);
    if (o->error_type != NULL && !to_backup)
        return;
    meter_add(to_backup ? &m->backup_bytes : &m->bytes, (int64_t)o->bytes);
    meter_add(to_backup ? &m->backup_records : &m->records, (int64_t)o->records);
    meter_add(to_backup ? &m->backup_success : &m->success, 1);
    meter_add(to_backup ? &m->backup_freshness : &m->freshness, age_ms / 1000);
    if (!to_backup)
        meter_add(&m->objects, 1);
}

Err lane_finish_output(struct lane *l, struct output *o, struct hub_with *with)
{
    if (o->records > 0) { // else all of it could not be converted
        TRY(output_finish(o, with));
        count_object(l, o);
    }
    output_drop(o);
    return OK;
}

static Err finish_outputs(struct lane *l, struct hub_with *with_last)
{
    while (l->outputs != NULL)
        TRY(lane_finish_output(l, l->outputs, l->output_n == 1 ? with_last : NULL));
    return OK;
}

Err lane_finish_outputs(struct lane *l)
{
    return finish_outputs(l, NULL);
}

// What was counted when the batch began and was not there to be read any more: retention has taken
// it. Everything that is counted can be read, so what remains of it when nothing more is there is
// lost.
static void count_lost(struct lane *l, int64_t waiting_records, int64_t waiting_bytes)
{
    int64_t records = waiting_records - l->taken_records, bytes = waiting_bytes - l->taken_bytes;
    if (records <= 0)
        return;
    atomic_fetch_sub(&l->pending_records, records);
    atomic_fetch_sub(&l->pending_bytes, MAX(bytes, 0));
    meter_add(&l->v->meters.lost_records, records);
    meter_add(&l->v->meters.lost_bytes, MAX(bytes, 0));
    LOG(LOG_ERROR, "records were not delivered before their time was over and are lost",
        F_STR("delivery", l->plan->config->is.name), F_INT("records", records),
        F_INT("bytes", bytes));
}

// The positions of a batch, which are committed with its last object, if that is kept in the same
// store: then a crash repeats nothing of a batch that is one object, as most are.
struct positions {
    struct hub_with with; // first
    struct lane *lane;
    struct mark *mark;
};

static Err write_positions(struct hub_with *w, struct kv_txn *tx)
{
    const struct positions *p = (const struct positions *)w;
    return reader_write(p->lane, p->mark, tx);
}

static Err finish_and_commit(struct lane *l)
{
    struct positions p = { .with.write = write_positions, .lane = l, .mark = reader_mark(l) };
    Err e = finish_outputs(l, &p.with);
    if (e.kind == ERR_NONE && p.with.committed)
        reader_committed(l, p.mark);
    else if (e.kind == ERR_NONE)
        e = reader_commit(l, p.mark);
    free(p.mark);
    return e;
}

static Err deliver_objects(struct lane *l, bool *ret_more)
{
    l->is_schema_fresh = false;
    TRY(lane_read_objects(l, ret_more));
    return finish_and_commit(l);
}

// ERR_BUSY: a batch is held, and tried again later.
static Err deliver(struct lane *l, bool flush)
{
    int64_t began_ms = delivery_now_ms(l->v->d);
    int64_t records = atomic_load(&l->pending_records), bytes = atomic_load(&l->pending_bytes);
    bool more = true, is_new = l->held == NULL;
    if (is_new)
        l->taken_bytes = l->taken_records = 0;
    if (l->plan->sink != NULL)
        TRY(deliver_to_sink(l));
    else if (lane_stages(l))
        TRY(deliver_to_partitions(l, flush, &more));
    else
        TRY(deliver_objects(l, &more));
    succeeded(l);
    if (!more)
        count_lost(l, records, bytes);
    atomic_store(&l->oldest_ms, reader_oldest(l));
    atomic_store(&l->rested_ms, delivery_now_ms(l->v->d));
    l->took_ms = delivery_now_ms(l->v->d) - began_ms + l->slow_ms;
    adapt_size(l, l->took_ms);
    return OK;
}

static Err deliver_if_there_is_room(struct lane *l, bool flush)
{
    if (!room_take(l)) {
        l->retry_ms = delivery_now_ms(l->v->d) + ROOM_MS;
        return fail(ERR_BUSY, "there is no memory for a batch at present");
    }
    Err e = deliver(l, flush);
    room_give(l);
    return e;
}

// What is in outputs is for the config that they were begun with.
static Err finish_before_change(struct lane *l)
{
    bool more;
    pthread_mutex_lock(&l->v->d->lock);
    bool is_current = l->plan == NULL || l->plan->config == l->v->config;
    pthread_mutex_unlock(&l->v->d->lock);
    if (is_current || l->outputs == NULL)
        return OK;
    return deliver_to_partitions(l, true, &more);
}

// Of a delivery into which nothing is put not much is kept: one of thousands, mostly.
static void drop_idle_plan(struct lane *l)
{
    const struct plan *p = l->plan;
    bool is_cheap = p->config->is.direct_shard != 0 && p->sink == NULL && p->processing == NULL;
    if (!is_cheap || l->outputs != NULL || l->held != NULL || l->is_unknown ||
        atomic_load(&l->pending_records) > 0)
        return;
    convert_close(l);
    plan_close(l->plan);
    l->plan = NULL;
}

static Err work(struct lane *l)
{
    bool flush;
    TRY(finish_before_change(l));
    TRY(refresh_plan(l));
    if (l->held == NULL)
        TRY(reader_load(l));
    TRY(reader_count(l));
    if (is_due(l, &flush)) {
        Err e = deliver_if_there_is_room(l, flush);
        l->flush_again = flush && e.kind != ERR_NONE;
        TRY(e);
    }
    l->is_unknown = reader_is_uncounted(l);
    drop_idle_plan(l);
    return OK;
}

// After an error nothing of the batch has happened but objects that are there already.
void lane_work(struct lane *l)
{
    struct delivery_meters *m = &l->v->meters;
    Err e = work(l);
    if (e.kind == ERR_NONE || e.kind == ERR_BUSY)
        return;
    held_drop(l);
    partitions_drop(l);
    reader_rewind(l);
    if (e.kind != ERR_FAULT && e.kind != ERR_CLOSED)
        lane_failed(l, S("InternalError"), str_of(e.text));
    if (e.kind == ERR_CLOSED)
        return;
    if (l->is_backup)
        meter_add(&m->backup_success, 0);
    else if (l->plan == NULL || l->plan->sink == NULL)
        meter_add(&m->success, 0);
    else if (l->plan->ops->wants_objects)
        meter_add(&m->object_success, 0);
}
