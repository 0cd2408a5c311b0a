// SPDX-License-Identifier: Apache-2.0
// Dynamic partitioning: each partition has an object of its own under way, which is finished by its
// own size and age. What waits in the log is read in a first stage, so that a record is on its way
// for one and a half intervals at most (developer guide, "Dynamic partitioning").
//
// Positions are committed up to where the oldest object under way began: after a crash or a failure
// what lies behind is read again, so records of partitions that were delivered meanwhile may come
// twice.
#include "base/map.h"
#include "columnar/columnar.h"
#include "delivery/delivery_priv.h"

#include <stdlib.h>

enum {
    STAGE_BYTES_MAX = 4 << 20,
    KEY_BYTES_SUFFIX = 320,     // of an object's key behind the prefix: name, time, UUID, extension
    KEY_BYTES_MAX = 1024,       // S3's
    OUTPUT_BYTES = 640 << 10,   // what an output holds, about, without a writer of rows
    LANE_BYTES_MAX = 256 << 20, // of all outputs of a lane; beyond it they are finished
};

int64_t partition_stage_bytes(const struct lane *l)
{
    return MIN(atomic_load(&l->size_bytes), (int64_t)STAGE_BYTES_MAX);
}

int64_t partition_stage_ms(const struct lane *l)
{
    return MAX(l->plan->interval_ms / 2, (int64_t)1);
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

static Err commit_reached(struct lane *l)
{
    drop_unused_marks(l);
    struct mark *m = l->marks != NULL ? NULL : reader_mark(l);
    Err e = reader_commit(l, m != NULL ? m : l->marks);
    free(m);
    return e;
}

// ---- Records to their partitions

static Err refuse(struct lane *l, DeliveryRecord *r, const char *type, Str code, Str message,
                  struct mark *since)
{
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

static Err lacks_key(struct lane *l, struct arena *a, DeliveryRecord *r, Str name,
                     struct mark *since)
{
    return refuse(l, r, "metadata-extraction-failed",
                  S("DynamicPartitioning.MetadataExtractionFailed"),
                  str_fmt(a, "The record has no partition key %.*s", FMT(name)), since);
}

static Err too_long(struct lane *l, DeliveryRecord *r, struct mark *since)
{
    return refuse(l, r, "metadata-extraction-failed",
                  S("DynamicPartitioning.MetadataExtractionFailed"),
                  S("The evaluated prefix of the record's partition is too long"), since);
}

static Err too_many(struct lane *l, DeliveryRecord *r, struct mark *since)
{
    meter_add(&l->v->meters.partitions_exceeded, 1);
    return refuse(l, r, "partition-count-exceeded", S("DynamicPartitioning.PartitionCountExceeded"),
                  S("There are too many active partitions"), since);
}

// Whether objects of that partition can have a key.
static bool can_be_named(struct lane *l, struct arena *a, const DeliveryRecord *r)
{
    const PrefixValues v = { .oldest_ms = r->arrival_ms, .record = r, .io = l->v->d->env.io };
    Str text;
    return prefix_evaluate(l->plan->data_prefix, a, &v, &text).kind == ERR_NONE &&
           text.n + KEY_BYTES_SUFFIX <= KEY_BYTES_MAX;
}

// *ret == NULL: the record went to the errors.
static Err find_output(struct lane *l, struct arena *a, DeliveryRecord *r, struct mark *since,
                       struct output **ret)
{
    OutputKind kind = { .record = r };
    Str missing = { 0 };
    *ret = NULL;
    Err e = prefix_partition(l->plan->data_prefix, a, r, &kind.partition, &missing);
    if (e.kind == ERR_INVALID)
        return lacks_key(l, a, r, missing, since);
    TRY(e);
    *ret = map_get(l->partitions, kind.partition);
    if (*ret != NULL)
        return OK;
    if (map_count(l->partitions) >= DELIVERY_PARTITIONS_MAX)
        return too_many(l, r, since);
    if (!can_be_named(l, a, r))
        return too_long(l, r, since);
    TRY(output_open(l, &kind, ret));
    map_put(l->partitions, (*ret)->partition, *ret);
    return OK;
}

static Err route_record(struct lane *l, struct arena *a, DeliveryRecord *r, struct mark *since)
{
    struct output *o;
    TRY(find_output(l, a, r, since, &o));
    if (o == NULL)
        return OK;
    use_mark(o, since);
    Err e = output_add(o, r);
    if (e.kind != ERR_INVALID)
        return e;
    return refuse(l, r, r->fault.type, r->fault.code, r->fault.message, since);
}

static Err route(struct lane *l, DeliveryBatch *b, struct mark *since)
{
    for (size_t i = 0; i < b->n; i++)
        TRY(route_record(l, b->arena, &b->at[i], since));
    for (size_t i = 0; i < b->failed_n; i++) {
        const OutputKind kind = { .error_type = b->failed[i].fault.type };
        TRY(lane_route_failed(l, &b->failed[i]));
        use_mark(output_find(l, &kind), since);
    }
    return OK;
}

// ---- What is finished

static Err finish(struct lane *l, struct output *o)
{
    if (o->error_type == NULL)
        CHECK(map_take(l->partitions, o->partition) == o);
    return lane_finish_output(l, o);
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

// An interval after it was begun; or one and a half after its oldest record came, of what had to be
// read again.
static int64_t output_due_ms(const struct output *o)
{
    int64_t interval_ms = o->lane->plan->interval_ms, due_ms = o->begun_ms + interval_ms;
    return o->records > 0 ? MIN(due_ms, o->oldest_ms + interval_ms + interval_ms / 2) : due_ms;
}

static Err finish_full(struct lane *l)
{
    int64_t size = atomic_load(&l->size_bytes);
    for (struct output *o = l->outputs, *next; o != NULL; o = next) {
        next = o->next;
        if ((int64_t)o->bytes >= size)
            TRY(finish(l, o));
    }
    return OK;
}

// While it catches up (`more`) what it has is older than that, and not yet all of it.
static Err finish_due(struct lane *l, bool all, bool more)
{
    int64_t now_ms = delivery_now_ms(l->v->d);
    for (struct output *o = l->outputs, *next; o != NULL; o = next) {
        next = o->next;
        int64_t due_ms = more ? o->begun_ms + l->plan->interval_ms : output_due_ms(o);
        if (all || due_ms <= now_ms)
            TRY(finish(l, o));
    }
    return OK;
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
    meter_add(&l->v->meters.partitions, (int64_t)map_count(l->partitions));
}

// ---- A run

static Err read_piece(struct lane *l, size_t max_bytes, size_t *ret_bytes, bool *ret_more)
{
    AUTO(arena) a = arena_open_request();
    if (a == NULL)
        return fail(ERR_MEMORY, "no memory for records on their way");
    DeliveryBatch b = { .arena = a };
    struct mark *since = add_mark(l);
    TRY(reader_read(l, &b, max_bytes, ret_more));
    *ret_bytes = b.bytes;
    TRY(lane_process(l, &b));
    TRY(route(l, &b, since));
    return make_room(l);
}

Err deliver_to_partitions(struct lane *l, bool all, bool *ret_more)
{
    int64_t size = all ? atomic_load(&l->size_bytes) : partition_stage_bytes(l), got = 0;
    if (l->partitions == NULL)
        l->partitions = map_open();
    l->is_schema_fresh = false;
    *ret_more = true;
    while (*ret_more && got < size) {
        size_t bytes;
        if (lane_must_stop(l))
            return fail(ERR_CLOSED, "the server stops");
        TRY(read_piece(l, (size_t)MIN((int64_t)PIECE_BYTES, size - got), &bytes, ret_more));
        got += (int64_t)bytes;
        TRY(finish_full(l));
    }
    TRY(finish_due(l, all, *ret_more));
    TRY(commit_reached(l));
    note_outputs(l);
    return OK;
}
