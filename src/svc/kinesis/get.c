// SPDX-License-Identifier: Apache-2.0
// GetShardIterator and GetRecords.
//
// An iterator is a sealed token (token.h) that names a shard by incarnation and the position in the
// log where to read on. Nothing about it is kept here.
#include "base/logline.h"
#include "base/metric.h"
#include "base/time.h"
#include "store/log_lend.h"
#include "svc/kinesis/crypt.h"
#include "svc/kinesis/get.h"

#include <string.h>

enum {
    GET_BYTES_MAX = 10 << 20,
    RECORD_TEXT_BYTES = 224,       // of JSON about a record, besides its data
    GET_BYTES_AT_ONCE = 128 << 10, // up to here the reactor itself reads and answers
};

// What an iterator carries; the stream's name follows it.
struct place {
    uint64_t shard;    // incarnation
    uint64_t position; // read at or after it
    uint32_t index;
};

static Str seal_iterator(struct call *c, const struct stream *s, const struct shard *sh,
                         uint64_t position)
{
    struct kinesis *k = c->state;
    struct place place = { .shard = sh->id, .position = position, .index = sh->index };
    Str payload = str_cat(c->arena, str_from(&place, sizeof place), s->name);
    return token_seal(&k->sealer, c->arena, TOKEN_ITERATOR, kinesis_realm_name(c),
                      c->now_ns / NS_PER_MS, payload);
}

Err get_shard_not_found(struct call *c, Str stream_name, uint32_t index)
{
    return call_fail(c, &kinesis_ResourceNotFoundException,
                     "Shard %.*s in stream %.*s under account %.*s does not exist",
                     FMT(shard_id_str(c->arena, index)), FMT(stream_name), FMT(c->account));
}

// The log does not know the shard: its stream was deleted after we had found it.
static Err from_log(struct call *c, const struct stream *s, const struct shard *sh, Err e)
{
    return e.kind == ERR_NOT_FOUND ? get_shard_not_found(c, s->name, sh->index) : e;
}

// ---- GetShardIterator

static Err bad_sequence(struct call *c, const struct kinesis_GetShardIterator_in *in,
                        const struct stream *s, const char *why)
{
    return call_fail(c, &kinesis_InvalidArgumentException,
                     "StartingSequenceNumber %.*s used in %.*s on shard %.*s in stream %.*s under "
                     "account %.*s is invalid%s.",
                     FMT(in->starting_sequence_number), FMT(c->op->name), FMT(in->shard_id),
                     FMT(s->name), FMT(s->account), why);
}

static Err position_of_sequence(struct call *c, const struct kinesis_GetShardIterator_in *in,
                                const struct stream *s, const struct shard *sh, const LogSpan *span,
                                uint64_t *ret)
{
    Sequence q;
    if (sequence_parse(in->starting_sequence_number, &q).kind != ERR_NONE)
        return bad_sequence(c, in, s, "");
    if (q.shard != sh->index)
        return call_fail(c, &kinesis_InvalidArgumentException,
                         "Invalid StartingSequenceNumber. It encodes %.*s, while it was used in a "
                         "call to a shard with %.*s",
                         FMT(shard_id_str(c->arena, q.shard)),
                         FMT(shard_id_str(c->arena, sh->index)));
    if (q.created_s != sh->created_s)
        return bad_sequence(c, in, s, " because it did not come from this stream");
    bool after = str_eq(in->shard_iterator_type, kinesis_ShardIteratorType_AFTER_SEQUENCE_NUMBER);
    if (q.index == SEQUENCE_INDEX_START || (q.index == SEQUENCE_INDEX_END && shard_is_closed(sh))) {
        *ret = q.index;
        return OK;
    }
    if (q.index >= span->next) // never given out
        return bad_sequence(c, in, s, "");
    *ret = q.index + after;
    return OK;
}

static Err position_of_time(struct call *c, const struct kinesis_GetShardIterator_in *in,
                            const struct shard *sh, uint64_t *ret)
{
    struct kinesis *k = c->state;
    if (!in->has_timestamp)
        return call_fail(c, &kinesis_InvalidArgumentException,
                         "Must specify timestampInMillis parameter for iterator of type "
                         "AT_TIMESTAMP. Current request has no timestamp parameter.");
    if (in->timestamp > c->now_ns)
        return call_fail(c, &kinesis_InvalidArgumentException,
                         "The timestampInMillis parameter cannot be greater than the "
                         "currentTimestampInMillis. timestampInMillis: %lld, "
                         "currentTimestampInMillis: %lld",
                         (long long)(in->timestamp / NS_PER_MS),
                         (long long)(c->now_ns / NS_PER_MS));
    return log_find_time(k->env.log, sh->id, in->timestamp / NS_PER_MS, ret);
}

static Err check_arguments(struct call *c, const struct kinesis_GetShardIterator_in *in)
{
    Str type = in->shard_iterator_type;
    bool by_number = str_eq(type, kinesis_ShardIteratorType_AT_SEQUENCE_NUMBER) ||
                     str_eq(type, kinesis_ShardIteratorType_AFTER_SEQUENCE_NUMBER);
    bool by_time = str_eq(type, kinesis_ShardIteratorType_AT_TIMESTAMP);
    bool has_number = in->starting_sequence_number.p != NULL;
    if (by_number == has_number || (by_time && !has_number))
        return OK;
    return call_fail(c, &kinesis_InvalidArgumentException,
                     "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and "
                     "StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no "
                     "StartingSequenceNumber. Request specified %.*s and %s.",
                     FMT(type),
                     has_number ? "also a StartingSequenceNumber" : "no StartingSequenceNumber");
}

static Err position_of(struct call *c, const struct kinesis_GetShardIterator_in *in,
                       const struct stream *s, const struct shard *sh, uint64_t *ret)
{
    struct kinesis *k = c->state;
    LogSpan span;
    TRY(log_span(k->env.log, sh->id, &span));
    if (str_eq(in->shard_iterator_type, kinesis_ShardIteratorType_TRIM_HORIZON))
        *ret = 0; // wherever the horizon is when it is read
    else if (str_eq(in->shard_iterator_type, kinesis_ShardIteratorType_LATEST))
        *ret = span.next;
    else if (str_eq(in->shard_iterator_type, kinesis_ShardIteratorType_AT_TIMESTAMP))
        return position_of_time(c, in, sh, ret);
    else
        return position_of_sequence(c, in, s, sh, &span, ret);
    return OK;
}

Err get_position(struct call *c, const struct kinesis_GetShardIterator_in *in,
                 const struct stream *s, const struct shard *sh, uint64_t *ret)
{
    TRY(check_arguments(c, in));
    return from_log(c, s, sh, position_of(c, in, s, sh, ret));
}

static Err malformed_shard(struct call *c, Str stream_name, Str shard_id)
{
    return call_fail(c, &kinesis_ResourceNotFoundException,
                     "Could not find shard %.*s in stream %.*s under account %.*s.", FMT(shard_id),
                     FMT(stream_name), FMT(c->account));
}

Err get_shard_of(struct call *c, const struct stream *s, Str shard_id, struct shard **ret)
{
    struct kinesis *k = c->state;
    struct shard *sh = NULL;
    uint32_t index = 0;
    if (shard_parse_id(shard_id, &index).kind != ERR_NONE)
        return malformed_shard(c, s->name, shard_id);
    pthread_rwlock_rdlock(&k->lock);
    bool gone = s->status == STREAM_GONE || s->status == STREAM_DELETING;
    Err e = gone ? OK : stream_find_shard(s, shard_id, &sh);
    if (sh != NULL && shard_closed_ms(sh) < stream_horizon_ms(s, c->now_ns / NS_PER_MS))
        sh = NULL; // closed longer ago than the stream keeps records: as good as gone
    pthread_rwlock_unlock(&k->lock);
    TRY(e);
    if (sh == NULL)
        return get_shard_not_found(c, s->name, index);
    *ret = sh;
    return OK;
}

// The stream and the shard that a call means, as GetShardIterator names what is missing: the form
// of the shard's id comes first, and of a missing stream the shard is what does not exist.
static Err find_shard(struct call *c, const struct kinesis_GetShardIterator_in *in,
                      struct stream **ret, struct shard **ret_shard)
{
    AUTO(stream) s = NULL;
    uint32_t index = 0;
    Str name = kinesis_name_given(STREAM_REF(in));
    Err malformed = shard_parse_id(in->shard_id, &index);
    if (name.p != NULL && malformed.kind != ERR_NONE)
        return malformed_shard(c, name, in->shard_id);
    Err found = kinesis_find(c, STREAM_REF(in), &s);
    if (found.kind == ERR_FAULT && c->error == &kinesis_ResourceNotFoundException)
        c->error = NULL; // said in this operation's own words
    if (found.kind == ERR_FAULT && c->error == NULL)
        return get_shard_not_found(c, name, index);
    TRY(found);
    TRY(get_shard_of(c, s, in->shard_id, ret_shard));
    *ret = stream_ref(s);
    return OK;
}

static Err rate_exceeded(struct call *c, const struct stream *s, const struct shard *sh)
{
    return call_fail(c, &kinesis_ProvisionedThroughputExceededException,
                     "Rate exceeded for shard %.*s in stream %.*s under account %.*s.",
                     FMT(shard_id_str(c->arena, sh->index)), FMT(s->name), FMT(s->account));
}

Err get_dry_run(struct call *c)
{
    return call_fail(c, &kinesis_DryRunOperationException,
                     "Request would have succeeded, but DryRun flag is set.");
}

Err kinesis_GetShardIterator(struct call *c, const struct kinesis_GetShardIterator_in *in,
                             struct kinesis_GetShardIterator_out *out)
{
    struct kinesis *k = c->state;
    AUTO(stream) s = NULL;
    struct shard *sh;
    uint64_t position;
    TRY(find_shard(c, in, &s, &sh));
    TRY(get_position(c, in, s, sh, &position));
    if (in->dry_run)
        return get_dry_run(c);
    if (!shard_take_iterator(sh, k->env.limits, kinesis_mono_ns(k)))
        return rate_exceeded(c, s, sh);
    out->shard_iterator = seal_iterator(c, s, sh, position);
    return OK;
}

// ---- GetRecords

// Opens the iterator and finds its shard, if it still is the one that the iterator was made for.
static Err open_iterator(struct call *c, Str iterator, struct stream **ret,
                         struct shard **ret_shard, uint64_t *ret_position)
{
    struct kinesis *k = c->state;
    int64_t issued_ms, now_ms = c->now_ns / NS_PER_MS;
    Str payload;
    struct place place;
    if (iterator.n > 2 && str_starts(iterator, S("\"")) && str_ends(iterator, S("\"")))
        iterator = str_from(iterator.p + 1, iterator.n - 2); // AWS forgives quotes around it
    Err e = token_open(&k->sealer, c->arena, TOKEN_ITERATOR, kinesis_realm_name(c), iterator,
                       &issued_ms, &payload);
    if (e.kind != ERR_NONE || payload.n < sizeof place)
        return call_fail(c, &kinesis_InvalidArgumentException, "Invalid ShardIterator.");
    if (now_ms - issued_ms > TOKEN_LIFE_MS)
        return call_fail(c, &kinesis_ExpiredIteratorException,
                         "Iterator expired. The iterator was created at time %.*s while right now "
                         "it is %.*s which is further in the future than the tolerated delay of "
                         "%d milliseconds.",
                         FMT(time_java(c->arena, issued_ms * NS_PER_MS)),
                         FMT(time_java(c->arena, c->now_ns)), TOKEN_LIFE_MS);
    memcpy(&place, payload.p, sizeof place);
    Str name = str_skip(payload, sizeof place);
    Str key = stream_row_key(c->arena, c->account, c->region, name);

    pthread_rwlock_rdlock(&k->lock);
    struct stream *s = map_get(k->by_key, key);
    struct shard *sh = s != NULL ? stream_shard(s, place.index) : NULL;
    bool there = sh != NULL && s->status != STREAM_DELETING && sh->id == place.shard;
    if (there)
        stream_ref(s);
    pthread_rwlock_unlock(&k->lock);
    if (!there)
        return get_shard_not_found(c, name, place.index);
    *ret = s;
    *ret_shard = sh;
    *ret_position = place.position;
    return OK;
}

Err get_iterator(struct call *c, const struct stream *of, Str iterator, struct shard **ret,
                 uint64_t *ret_position)
{
    AUTO(stream) s = NULL;
    TRY(open_iterator(c, iterator, &s, ret, ret_position));
    if (s != of)
        return call_fail(c, &kinesis_InvalidArgumentException, "Invalid ShardIterator.");
    return OK;
}

Str kinesis_iterator_stream(struct call *c, Str iterator)
{
    struct kinesis *k = c->state;
    int64_t issued_ms;
    Str payload;
    if (iterator.n > 2 && str_starts(iterator, S("\"")) && str_ends(iterator, S("\"")))
        iterator = str_from(iterator.p + 1, iterator.n - 2);
    Err e = token_open(&k->sealer, c->arena, TOKEN_ITERATOR, kinesis_realm_name(c), iterator,
                       &issued_ms, &payload);
    if (e.kind != ERR_NONE || payload.n < sizeof(struct place))
        return (Str){ 0 };
    return str_skip(payload, sizeof(struct place));
}

static bool is_child(const struct shard *sh, int64_t index)
{
    return sh->parent == index || sh->adjacent == index;
}

static size_t count_children(const struct stream *s, int64_t index)
{
    size_t n = 0;
    for (size_t i = 0; i < s->shard_count; i++)
        n += is_child(s->shards[i], index);
    return n;
}

kinesis_ChildShardList get_children(struct kinesis *k, struct arena *a, const struct stream *s,
                                    int64_t index)
{
    pthread_rwlock_rdlock(&k->lock);
    kinesis_ChildShardList list = { 0 };
    list.at = arena_new(a, kinesis_ChildShard, count_children(s, index));
    for (size_t i = 0; i < s->shard_count; i++) {
        const struct shard *sh = s->shards[i];
        if (!is_child(sh, index))
            continue;
        kinesis_HashKeyRange *range = arena_new(a, kinesis_HashKeyRange, 1);
        *range = (kinesis_HashKeyRange){ .starting_hash_key = hash_key_str(a, sh->start),
                                         .ending_hash_key = hash_key_str(a, sh->end) };
        kinesis_ChildShard *child = &list.at[list.n++];
        child->shard_id = shard_id_str(a, sh->index);
        child->hash_key_range = range;
        child->parent_shards.set = true;
        child->parent_shards.at = arena_new(a, Str, 2);
        child->parent_shards.at[child->parent_shards.n++] = shard_id_str(a, sh->parent);
        if (sh->adjacent >= 0)
            child->parent_shards.at[child->parent_shards.n++] = shard_id_str(a, sh->adjacent);
    }
    pthread_rwlock_unlock(&k->lock);
    list.set = list.n > 0;
    return list;
}

// Which of the batch are encrypted is asked before they are opened.
Err get_records(struct call *c, struct stream *s, const struct shard *sh, const LogBatch *batch,
                bool may_block, kinesis_RecordList *ret, size_t *ret_bytes)
{
    size_t bytes = 0;
    kinesis_Record *at = arena_try_new(c->arena, kinesis_Record, batch->n);
    if (at == NULL)
        return fail(ERR_MEMORY, "no memory for the records of an answer");
    for (size_t i = 0; i < batch->n; i++) {
        const LogEntry *e = &batch->at[i];
        bytes += e->key.n + e->data.n;
        at[i] = (kinesis_Record){
            .sequence_number =
                sequence_str(c->arena, shard_sequence(sh, e->position, e->arrival_ms)),
            .has_approximate_arrival_timestamp = true,
            .approximate_arrival_timestamp = e->arrival_ms * NS_PER_MS,
        };
        if (data_key_has_sealed(e))
            at[i].encryption_type = kinesis_EncryptionType_KMS;
    }
    TRY(crypt_open(c, s, batch->at, batch->n, may_block));
    for (size_t i = 0; i < batch->n; i++) {
        Str key = batch->at[i].key;
        at[i].partition_key = key.n > 0 ? key : (Str){ 0 }; // it was put without one
        at[i].data = batch->at[i].data;
    }
    *ret = (kinesis_RecordList){ .set = true, .n = batch->n, .at = at };
    *ret_bytes = bytes;
    return OK;
}

static void count(struct call *c, struct stream *s, struct shard *sh, size_t records, size_t bytes,
                  int64_t behind_ms)
{
    metric_add(s->got_records, (int64_t)records);
    metric_add(s->got_bytes, (int64_t)bytes);
    meters_get(&s->meters, (int64_t)records, (int64_t)bytes, behind_ms, kinesis_took_ns(c));
    if (stream_shard_metrics(s) == 0)
        return;
    struct shard_meters *m = shard_meters_of(sh);
    meter_add(&m->out_bytes, (int64_t)bytes);
    meter_add(&m->out_records, (int64_t)records);
    wide_meter_add(&m->out_age, behind_ms);
}

static void count_refused(struct stream *s, struct shard *sh)
{
    metric_add(s->got_throttled, 1);
    meters_get_failed(&s->meters);
    meter_add(&s->meters.read_exceeded, 1);
    if (stream_shard_metrics(s) != 0)
        meter_add(&shard_meters_of(sh)->read_exceeded, 1);
}

static Err answer_batch(struct call *c, struct stream *s, struct shard *sh, const LogBatch *read,
                        bool may_block, struct kinesis_GetRecords_out *out)
{
    struct kinesis *k = c->state;
    LogBatch batch = *read;
    LogSpan span;
    size_t bytes;
    TRY(from_log(c, s, sh, log_span(k->env.log, sh->id, &span)));
    TRY(get_records(c, s, sh, &batch, may_block, &out->records, &bytes));
    c->reply_bytes = bytes + bytes / 3 + batch.n * RECORD_TEXT_BYTES;
    shard_read_done(sh, k->env.limits, kinesis_mono_ns(k), bytes);

    if (batch.more && batch.n > 0)
        out->millis_behind_latest =
            MAX(c->now_ns / NS_PER_MS - batch.at[batch.n - 1].arrival_ms, (int64_t)0);
    count(c, s, sh, batch.n, bytes, out->millis_behind_latest);
    shard_note_read(sh, c->now_ns / NS_PER_MS, batch.next, out->millis_behind_latest);
    if (span.ended && !batch.more && batch.next >= span.end)
        out->child_shards = get_children(k, c->arena, s, sh->index);
    if (!out->child_shards.set) // one of both is always there: readers depend on it
        out->next_shard_iterator = seal_iterator(c, s, sh, batch.next);
    return OK;
}

// A GetRecords that goes on where it may block.
struct get {
    const struct kinesis_GetRecords_in *in;
    struct kinesis_GetRecords_out *out;
};

static Err read_on_pool(struct call *c, void *self)
{
    const struct get *g = self;
    struct kinesis *k = c->state;
    AUTO(stream) s = NULL;
    LogRead read = { .max_records = (size_t)g->in->limit, .max_bytes = GET_BYTES_MAX };
    LogBatch batch;
    struct shard *sh;
    TRY(open_iterator(c, g->in->shard_iterator, &s, &sh, &read.from)); // it may be gone by now
    read.shard = sh->id;
    TRY(from_log(c, s, sh, log_read_lent(k->env.log, c->arena, &read, &batch)));
    return answer_batch(c, s, sh, &batch, true, g->out);
}

Err kinesis_GetRecords(struct call *c, const struct kinesis_GetRecords_in *in,
                       struct kinesis_GetRecords_out *out)
{
    struct kinesis *k = c->state;
    AUTO(stream) s = NULL;
    struct shard *sh;
    uint64_t position;
    TRY(open_iterator(c, in->shard_iterator, &s, &sh, &position));
    if (in->stream_arn.p != NULL && !str_eq(in->stream_arn, s->arn))
        return call_fail(c, &kinesis_InvalidArgumentException, "Invalid ShardIterator.");
    if (in->dry_run)
        return get_dry_run(c);
    if (!shard_take_read(sh, k->env.limits, kinesis_mono_ns(k))) {
        count_refused(s, sh);
        return call_fail(c, &kinesis_ProvisionedThroughputExceededException,
                         "Rate exceeded for Shard - %.*s/%.*s/%.*s", FMT(s->account), FMT(s->name),
                         FMT(shard_id_str(c->arena, sh->index)));
    }
    LogRead read = { .shard = sh->id,
                     .from = position,
                     .max_records = (size_t)in->limit,
                     .max_bytes = GET_BYTES_AT_ONCE,
                     .cached_only = true };
    LogBatch batch;
    Err e = log_read_lent(k->env.log, c->arena, &read, &batch);
    bool is_cut = e.kind == ERR_NONE && batch.more && batch.n < read.max_records;
    if (e.kind != ERR_BUSY && !is_cut) { // consumers that keep up: few records, all in memory
        TRY(from_log(c, s, sh, e));
        e = answer_batch(c, s, sh, &batch, false, out);
        if (e.kind != ERR_BUSY)
            return e;
        *out = (struct kinesis_GetRecords_out){ 0 }; // a data key must be read: once more, there
    }
    struct get *g = arena_new(c->arena, struct get, 1);
    *g = (struct get){ .in = in, .out = out };
    return call_on_pool(c, read_on_pool, g);
}
