// SPDX-License-Identifier: Apache-2.0
// Dynamic partitioning: each partition has an object of its own under way, which is finished by its
// own size and age. What waits in the log is read in a first stage, so that a record is on its way
// for one and a half intervals at most (developer guide, "Dynamic partitioning").
//
// Positions are committed up to where the oldest object under way began: after a crash or a failure
// what lies behind is read again. What partitions were delivered meanwhile is remembered as long as
// the process lives: only after a crash their records come twice.
//
// A partition that S3 refuses holds nobody up: the others are finished, and when it has been tried
// for RetryOptions' DurationInSeconds its records go to the errors.
#include "base/map.h"
#include "base/time.h"
#include "columnar/columnar.h"
#include "delivery/delivery_priv.h"

#include <stdlib.h>

enum {
    STAGE_BYTES_MAX = 4 << 20,
    OUTPUT_BYTES = 640 << 10,   // what an output holds, about, without a writer of rows
    LANE_BYTES_MAX = 256 << 20, // of all outputs of a lane; beyond it they are finished
    REMEMBERED_MAX = 10000,     // partitions that were delivered beyond what is committed
};

// A function's own buffer decides when it is called (Processor, "BufferSizeInMBs",
// "BufferIntervalInSeconds"), but for intervals longer than that of the destination.
int64_t partition_stage_bytes(const struct lane *l)
{
    const DeliveryStep *lambda = l->plan->lambda;
    int64_t most = lambda != NULL ? (int64_t)processing_call_bytes(lambda) : STAGE_BYTES_MAX;
    return MIN(atomic_load(&l->size_bytes), most);
}

int64_t partition_stage_ms(const struct lane *l)
{
    const DeliveryStep *lambda = l->plan->lambda;
    int64_t most_ms = lane_partitions(l) ? l->plan->interval_ms / 2 : l->plan->interval_ms;
    if (lambda != NULL && lambda->interval_ns > 0)
        most_ms = MIN(most_ms, lambda->interval_ns / NS_PER_MS);
    return MAX(most_ms, (int64_t)1);
}

// What one run reads: of a function, what its calls can take at once.
static int64_t run_bytes(const struct lane *l)
{
    int64_t stage = partition_stage_bytes(l);
    return l->plan->lambda != NULL ? MAX(stage, (int64_t)l->plan->piece_bytes) : stage;
}

// ---- Marks

static void drop_unused_marks(struct lane *l)
{
    for (struct mark **at = &l->marks; *at != NULL;) {
        struct mark *m = *at;
        if (m->users > 0) {
            at = &m->next;
            continue;
        }
        *at = m->next;
        free(m);
    }
}

static struct mark *add_mark(struct lane *l)
{
    struct mark *m = reader_mark(l), **end = &l->marks;
    while (*end != NULL)
        end = &(*end)->next;
    *end = m;
    return m;
}

static void use_mark(struct output *o, struct mark *m)
{
    if (o->since != NULL)
        return;
    o->since = m;
    m->users++;
}

void partitions_drop(struct lane *l)
{
    outputs_drop(l);
    drop_unused_marks(l);
    map_close(l->partitions);
    l->partitions = NULL;
    l->outputs_due_ms = 0;
    atomic_store(&l->kept_ms, 0);
}

// ---- What is delivered beyond what is committed, and what cannot be delivered

struct stuck {
    int64_t since_ms;
    struct arena *arena;
    Str code, text;
};

static Str name_of(struct arena *a, const char *error_type, Str partition)
{
    return error_type != NULL ? str_cat(a, S("e"), str_of(error_type))
                              : str_cat(a, S("p"), partition.p != NULL ? partition : S(""));
}

static void forget_delivered(struct lane *l)
{
    Str name;
    void *mark;
    for (size_t at = 0; l->delivered != NULL && map_next(l->delivered, &at, &name, &mark);)
        free(mark);
    map_close(l->delivered);
    l->delivered = NULL;
}

static void forget_stuck(struct lane *l, Str name)
{
    struct stuck *s = l->stuck != NULL ? map_take(l->stuck, name) : NULL;
    if (s == NULL)
        return;
    arena_close(s->arena);
    free(s);
}

void partition_forget(struct lane *l)
{
    Str name;
    void *value;
    forget_delivered(l);
    for (size_t at = 0; l->stuck != NULL && map_next(l->stuck, &at, &name, &value);) {
        arena_close(((struct stuck *)value)->arena);
        free(value);
    }
    map_close(l->stuck);
    l->stuck = NULL;
}

// Everything of it that was read is in objects.
static void remember(struct lane *l, Str name)
{
    if (l->delivered == NULL)
        l->delivered = map_open();
    if (map_count(l->delivered) >= REMEMBERED_MAX && map_get(l->delivered, name) == NULL)
        return;
    free(map_put(l->delivered, name, reader_mark(l)));
}

static bool is_delivered(const struct lane *l, struct arena *a, const char *error_type,
                         Str partition, const DeliveryBatch *b, const DeliveryRecord *r)
{
    if (l->delivered == NULL || r->shard >= b->shard_count)
        return false;
    const struct mark *m = map_get(l->delivered, name_of(a, error_type, partition));
    for (size_t i = 0; m != NULL && i < m->n; i++)
        if (m->places[i].shard == b->shards[r->shard])
            return r->position < m->places[i].at;
    return false;
}

static void note_stuck(struct lane *l, Str name)
{
    struct delivery *v = l->v;
    if (l->stuck == NULL)
        l->stuck = map_open();
    struct stuck *s = map_get(l->stuck, name);
    if (s != NULL || map_count(l->stuck) >= DELIVERY_PARTITIONS_MAX)
        return;
    s = xalloc(sizeof *s);
    s->since_ms = delivery_now_ms(v->d);
    s->arena = arena_open();
    pthread_mutex_lock(&v->d->lock);
    s->code = str_dup(s->arena, v->last_code.p != NULL ? v->last_code : S("InternalError"));
    s->text = str_dup(s->arena, v->last_error.p != NULL ? v->last_error : S(""));
    pthread_mutex_unlock(&v->d->lock);
    map_put(l->stuck, name, s);
}

// A partition that has been tried for long enough; NULL: it has not.
static const struct stuck *given_up(const struct lane *l, struct arena *a, Str partition)
{
    const struct stuck *s =
        l->stuck != NULL ? map_get(l->stuck, name_of(a, NULL, partition)) : NULL;
    int64_t tried_ms = s != NULL ? delivery_now_ms(l->v->d) - s->since_ms : 0;
    return s != NULL && tried_ms >= l->plan->config->is.retry_ns / NS_PER_MS ? s : NULL;
}

static Err commit_reached(struct lane *l)
{
    drop_unused_marks(l);
    if (l->marks == NULL) // what was given up is in the errors: its partition may be tried again
        partition_forget(l);
    struct mark *m = l->marks != NULL ? NULL : reader_mark(l);
    Err e = reader_commit(l, m != NULL ? m : l->marks);
    free(m);
    return e;
}

// ---- Records to their partitions

static Err refuse(struct lane *l, const DeliveryBatch *b, DeliveryRecord *r, const char *type,
                  Str code, Str message, struct mark *since)
{
    if (is_delivered(l, b->arena, type, (Str){ 0 }, b, r))
        return OK;
    r->fault = (DeliveryFault){ .type = type,
                                .code = code,
                                .message = message,
                                .attempts = 1,
                                .ended_ms = delivery_now_ms(l->v->d) };
    TRY(lane_route_failed(l, r));
    const OutputKind kind = { .error_type = type };
    use_mark(output_find(l, &kind), since);
    return OK;
}

static Err lacks_key(struct lane *l, const DeliveryBatch *b, DeliveryRecord *r, Str name,
                     struct mark *since)
{
    return refuse(l, b, r, "metadata-extraction-failed",
                  S("DynamicPartitioning.MetadataExtractionFailed"),
                  str_fmt(b->arena, "The record has no partition key %.*s", FMT(name)), since);
}

static Err too_long(struct lane *l, const DeliveryBatch *b, DeliveryRecord *r, struct mark *since)
{
    return refuse(l, b, r, "metadata-extraction-failed",
                  S("DynamicPartitioning.MetadataExtractionFailed"),
                  S("The evaluated prefix of the record's partition is too long"), since);
}

static Err too_many(struct lane *l, const DeliveryBatch *b, DeliveryRecord *r, struct mark *since)
{
    l->has_too_many = true;
    return refuse(l, b, r, "activePartitionExceeded",
                  S("DynamicPartitioning.ActivePartitionsLimitExceeded"),
                  S("The number of active partitions has exceeded the configured limit"), since);
}

// Whether objects of that partition can have a key.
static bool can_be_named(struct lane *l, struct arena *a, const DeliveryRecord *r)
{
    const PrefixValues v = { .oldest_ms = r->arrival_ms, .record = r, .io = l->v->d->env.io };
    Str text;
    return prefix_evaluate(l->plan->data_prefix, a, &v, &text).kind == ERR_NONE &&
           text.n + PREFIX_NAME_BYTES_MAX <= PREFIX_KEY_BYTES_MAX;
}

// *ret == NULL: the record went to the errors, or was delivered before.
static Err find_output(struct lane *l, const DeliveryBatch *b, DeliveryRecord *r,
                       struct mark *since, struct output **ret)
{
    struct arena *a = b->arena;
    OutputKind kind = { .record = r };
    Str missing = { 0 };
    *ret = NULL;
    if (!lane_partitions(l)) { // all are of one
        if (is_delivered(l, a, NULL, (Str){ 0 }, b, r))
            return OK;
        *ret = output_find(l, &(OutputKind){ 0 });
        return *ret != NULL ? OK : output_open(l, &(OutputKind){ 0 }, ret);
    }
    Err e = prefix_partition(l->plan->data_prefix, a, r, &kind.partition, &missing);
    if (e.kind == ERR_INVALID)
        return lacks_key(l, b, r, missing, since);
    TRY(e);
    if (is_delivered(l, a, NULL, kind.partition, b, r))
        return OK;
    const struct stuck *stuck = given_up(l, a, kind.partition);
    if (stuck != NULL)
        return refuse(l, b, r, "s3-delivery-failed", str_dup(a, stuck->code),
                      str_dup(a, stuck->text), since);
    *ret = map_get(l->partitions, kind.partition);
    if (*ret != NULL)
        return OK;
    if (map_count(l->partitions) >= DELIVERY_PARTITIONS_MAX)
        return too_many(l, b, r, since);
    if (!can_be_named(l, a, r))
        return too_long(l, b, r, since);
    TRY(output_open(l, &kind, ret));
    map_put(l->partitions, (*ret)->partition, *ret);
    return OK;
}

static Err route_record(struct lane *l, const DeliveryBatch *b, DeliveryRecord *r,
                        struct mark *since)
{
    struct output *o;
    TRY(find_output(l, b, r, since, &o));
    if (o == NULL)
        return OK;
    use_mark(o, since);
    Err e = output_add(o, r);
    if (e.kind != ERR_INVALID)
        return e;
    return refuse(l, b, r, r->fault.type, r->fault.code, r->fault.message, since);
}

static Err route(struct lane *l, DeliveryBatch *b, struct mark *since)
{
    for (size_t i = 0; i < b->n; i++)
        TRY(route_record(l, b, &b->at[i], since));
    for (size_t i = 0; i < b->failed_n; i++) {
        const OutputKind kind = { .error_type = b->failed[i].fault.type };
        if (is_delivered(l, b->arena, kind.error_type, (Str){ 0 }, b, &b->failed[i]))
            continue;
        TRY(lane_route_failed(l, &b->failed[i]));
        use_mark(output_find(l, &kind), since);
    }
    return OK;
}

// ---- What is finished

static Err finish(struct lane *l, struct output *o)
{
    int64_t rate = -1;
    if (o->error_type == NULL && lane_partitions(l)) {
        CHECK(map_take(l->partitions, o->partition) == o);
        rate = (int64_t)o->bytes * 1000 / MAX(delivery_now_ms(l->v->d) - o->begun_ms, (int64_t)1);
    }
    AUTO(arena) tmp = arena_open();
    Str name = name_of(tmp, o->error_type, o->partition);
    Err e = lane_finish_output(l, o, NULL);
    if (e.kind == ERR_NONE) {
        if (rate >= 0)
            meter_add(&l->v->meters.partition_rate, rate);
        remember(l, name);
        forget_stuck(l, name);
    } else if (e.kind == ERR_FAULT && name.p[0] == 'p' && lane_partitions(l)) {
        note_stuck(l, name);
    }
    return e;
}

// One that S3 refuses leaves the others to be finished; *ret_failed is set, and all is tried again.
static Err finish_if_it_can_be(struct lane *l, struct output *o, bool *ret_failed)
{
    Err e = finish(l, o);
    if (e.kind != ERR_FAULT || !lane_partitions(l) || o->error_type != NULL)
        return e;
    map_put(l->partitions, o->partition, o);
    *ret_failed = true;
    return OK;
}

static Err failed_or_ok(bool failed)
{
    return failed ? fail(ERR_FAULT, "a partition cannot be delivered") : OK;
}

static size_t memory_of(const struct output *o)
{
    return o->writer != NULL ? columnar_writer_bytes(o->writer) : OUTPUT_BYTES;
}

static struct output *oldest_of(const struct lane *l)
{
    struct output *oldest = l->outputs;
    for (struct output *o = l->outputs; o != NULL; o = o->next)
        if (o->begun_ms < oldest->begun_ms)
            oldest = o;
    return oldest;
}

// An interval after it was begun; or that and what goes before it after its oldest record came, of
// what had to be read again.
static int64_t output_due_ms(const struct output *o)
{
    int64_t interval_ms = o->lane->plan->interval_ms, due_ms = o->begun_ms + interval_ms;
    int64_t latest_ms = o->oldest_ms + interval_ms + partition_stage_ms(o->lane);
    return o->records > 0 ? MIN(due_ms, latest_ms) : due_ms;
}

static Err finish_full(struct lane *l)
{
    int64_t size = atomic_load(&l->size_bytes);
    bool failed = false;
    for (struct output *o = l->outputs, *next; o != NULL; o = next) {
        next = o->next;
        if ((int64_t)o->bytes >= size)
            TRY(finish_if_it_can_be(l, o, &failed));
    }
    return failed_or_ok(failed);
}

// While it catches up (`more`) what it has is older than that, and not yet all of it.
static Err finish_due(struct lane *l, bool all, bool more)
{
    int64_t now_ms = delivery_now_ms(l->v->d);
    bool failed = false;
    for (struct output *o = l->outputs, *next; o != NULL; o = next) {
        next = o->next;
        int64_t due_ms = more ? o->begun_ms + l->plan->interval_ms : output_due_ms(o);
        if (all || due_ms <= now_ms)
            TRY(finish_if_it_can_be(l, o, &failed));
    }
    return failed_or_ok(failed);
}

// Objects are finished before their time rather than that memory runs out.
static Err make_room(struct lane *l)
{
    size_t held = 0;
    for (struct output *o = l->outputs; o != NULL; o = o->next)
        held += memory_of(o);
    while (held > LANE_BYTES_MAX && l->outputs != NULL) {
        struct output *o = oldest_of(l);
        held -= memory_of(o);
        TRY(finish(l, o));
    }
    return OK;
}

static void note_outputs(struct lane *l)
{
    int64_t due_ms = 0, kept_ms = 0;
    for (struct output *o = l->outputs; o != NULL; o = o->next) {
        int64_t its_ms = output_due_ms(o);
        due_ms = due_ms == 0 ? its_ms : MIN(due_ms, its_ms);
        if (o->oldest_ms > 0)
            kept_ms = kept_ms == 0 ? o->oldest_ms : MIN(kept_ms, o->oldest_ms);
    }
    l->outputs_due_ms = due_ms;
    atomic_store(&l->kept_ms, kept_ms);
    if (!lane_partitions(l))
        return;
    meter_add(&l->v->meters.partitions, (int64_t)map_count(l->partitions));
    meter_add(&l->v->meters.partitions_exceeded, l->has_too_many);
}

// ---- A run

static Err read_piece(struct lane *l, size_t max_bytes, size_t *ret_bytes, bool *ret_more)
{
    AUTO(arena) a = arena_open_request();
    if (a == NULL)
        return fail(ERR_MEMORY, "no memory for records on their way");
    DeliveryBatch b = { .arena = a };
    struct mark *since = add_mark(l);
    TRY(lane_read(l, &b, max_bytes, ret_more));
    *ret_bytes = b.bytes;
    TRY(lane_process(l, &b));
    TRY(route(l, &b, since));
    return make_room(l);
}

Err deliver_to_partitions(struct lane *l, bool all, bool *ret_more)
{
    int64_t size = all ? atomic_load(&l->size_bytes) : run_bytes(l), got = 0;
    int64_t piece = (int64_t)l->plan->piece_bytes;
    if (l->partitions == NULL)
        l->partitions = map_open();
    l->is_schema_fresh = l->has_too_many = false;
    *ret_more = true;
    while (*ret_more && got < size) {
        size_t bytes;
        if (lane_must_stop(l))
            return fail(ERR_CLOSED, "the server stops");
        TRY(read_piece(l, (size_t)MIN(piece, size - got), &bytes, ret_more));
        got += (int64_t)bytes;
        TRY(finish_full(l));
    }
    TRY(finish_due(l, all, *ret_more));
    TRY(commit_reached(l));
    note_outputs(l);
    return OK;
}
