// SPDX-License-Identifier: Apache-2.0
// How far the readers of a stream are behind, shard by shard.
//
//     {"stream":"clicks","places":[{"shard":"shardId-000000000000","sequence":"4966..."}]}
//     {"now_ms":...,"retention_ms":...,
//      "shards":[{"shard":"shardId-...","state":"open","newest_ms":...}],
//      "readers":[{"kind":"consumer","name":"app","shard":"shardId-...","state":"subscribed",
//       "at_ms":...,"worst_ms":...,"behind_ms":...,"sequence":"...","records":12,"more":false}],
//      "queues":[{"name":"jobs","in_flight":3,"dead":0}]}
//
// Behind is how long the oldest record that a reader has not read has been there; without such a
// record it is 0, and "sequence" (its number) is left out. "records" are those that it has not
// read, counted up to a limit: "more" there are then.
//
// A place is what a reader has noted itself: the number of the last record that it has done, or
// TRIM_HORIZON, LATEST or SHARD_END as the Kinesis Client Library writes them; or an "iterator"; or
// "time_ms". Of the others the server knows: "consumer" (where its subscription stands), "queue"
// (what was handed out), and "reads", which is everybody who calls GetRecords: where the newest
// call left off since the server started, and with "worst_ms" how far behind the slowest reader of
// the last two minutes was.
#include "base/time.h"
#include "svc/kinesis/consumers.h"
#include "svc/kinesis/get.h"
#include "svc/kinesis/operate.h"
#include "svc/kinesis/queues.h"
#include "svc/kinesis/subscribe.h"

#include <stdlib.h>

enum {
    LAG_PLACES_MAX = 20000,
    COUNT_RECORDS_MAX = 100000, // of one reader in one shard
    COUNT_BYTES_MAX = 64 << 20, // read for one request, all readers together
    COUNT_BYTES_AT_ONCE = 1 << 20,
};

struct lag {
    struct kinesis *k;
    const struct operator_call *c;
    OperatorView v;
    struct event_writer w;
    struct arena *scratch; // for records that are counted
    size_t counted_bytes;
    bool counts;
    Str *problem;
};

static int64_t now_ms(const struct lag *l)
{
    return l->c->now_ns / NS_PER_MS;
}

static void put_text(struct lag *l, Str key, Str text)
{
    l->w.ops->key(&l->w, key);
    l->w.ops->text(&l->w, text);
}

static void put_number(struct lag *l, Str key, int64_t n)
{
    l->w.ops->key(&l->w, key);
    l->w.ops->integer(&l->w, n);
}

// ---- One reader of one shard

typedef struct Reader {
    Str kind, name, state;
    int64_t at_ms;    // of its newest reading; 0: not known
    int64_t worst_ms; // of "reads"
} Reader;

// How many records follow, beginning with those of the first batch.
static Err count_records(struct lag *l, uint64_t shard, uint64_t from, uint64_t *ret,
                         bool *ret_more)
{
    LogBatch batch = { .next = from, .more = true };
    *ret = 0;
    while (batch.more && *ret < COUNT_RECORDS_MAX && l->counted_bytes < COUNT_BYTES_MAX) {
        LogRead read = { .shard = shard,
                         .from = batch.next,
                         .max_records = COUNT_RECORDS_MAX - *ret,
                         .max_bytes = COUNT_BYTES_AT_ONCE };
        arena_reset(l->scratch);
        Err e = log_read(l->k->env.log, l->scratch, &read, &batch);
        if (e.kind == ERR_NOT_FOUND)
            break; // over by now: they were there
        TRY(e);
        *ret += batch.n;
        for (size_t i = 0; i < batch.n; i++)
            l->counted_bytes += batch.at[i].key.n + batch.at[i].data.n;
    }
    *ret_more = batch.more;
    return OK;
}

static Err write_unread(struct lag *l, const struct shard *sh, const LogEntry *first)
{
    uint64_t n = 1;
    bool more = true;
    put_number(l, S("behind_ms"), MAX(now_ms(l) - first->arrival_ms, INT64_C(0)));
    put_text(l, S("sequence"),
             sequence_str(l->c->arena, shard_sequence(sh, first->position, first->arrival_ms)));
    if (!l->counts)
        return OK;
    TRY(count_records(l, sh->id, first->position, &n, &more));
    put_number(l, S("records"), (int64_t)n);
    l->w.ops->key(&l->w, S("more"));
    l->w.ops->boolean(&l->w, more);
    return OK;
}

// `from`: what lies at or above it is unread.
static Err write_reader(struct lag *l, const struct shard *sh, const Reader *reader, uint64_t from)
{
    LogRead read = { .shard = sh->id, .from = from, .max_records = 1, .max_bytes = 1 };
    LogBatch batch = { 0 };
    arena_reset(l->scratch);
    Err e = log_read(l->k->env.log, l->scratch, &read, &batch);
    if (e.kind == ERR_NOT_FOUND)
        return OK; // the shard is over by now
    TRY(e);
    l->w.ops->map(&l->w);
    put_text(l, S("kind"), reader->kind);
    put_text(l, S("name"), reader->name);
    put_text(l, S("shard"), shard_id_str(l->c->arena, sh->index));
    if (reader->state.n > 0)
        put_text(l, S("state"), reader->state);
    if (reader->at_ms != 0)
        put_number(l, S("at_ms"), reader->at_ms);
    if (reader->worst_ms != 0)
        put_number(l, S("worst_ms"), reader->worst_ms);
    if (batch.n > 0)
        TRY(write_unread(l, sh, &batch.at[0]));
    else
        put_number(l, S("behind_ms"), 0);
    l->w.ops->map_end(&l->w);
    return OK;
}

// ---- What readers have noted themselves

static Err bad_place(struct lag *l)
{
    *l->problem =
        S("a place is a \"shard\" with a \"sequence\", a \"time_ms\", or an \"iterator\"");
    return fail(ERR_INVALID, "a place is none");
}

// As an iterator of GetShardIterator; false: nothing is unread, because the shard was done.
static bool as_iterator(const JsonValue *place, struct kinesis_GetShardIterator_in *ret)
{
    Str sequence = json_text(place, S("sequence"));
    const JsonValue *time = json_find(place, S("time_ms"));
    *ret = (struct kinesis_GetShardIterator_in){ .shard_id = json_text(place, S("shard")) };
    if (time != NULL) {
        ret->shard_iterator_type = kinesis_ShardIteratorType_AT_TIMESTAMP;
        ret->has_timestamp = true;
        ret->timestamp = time->integer <= INT64_MAX / NS_PER_MS ? time->integer * NS_PER_MS : 0;
    } else if (str_eq(sequence, S("TRIM_HORIZON")) || str_eq(sequence, S("LATEST"))) {
        ret->shard_iterator_type = sequence;
    } else {
        ret->shard_iterator_type = kinesis_ShardIteratorType_AFTER_SEQUENCE_NUMBER;
        ret->starting_sequence_number = sequence;
    }
    return !str_eq(sequence, S("SHARD_END"));
}

static Err find_place(struct lag *l, const JsonValue *place, struct shard **ret, uint64_t *ret_from)
{
    struct call *c = &l->v.call;
    struct kinesis_GetShardIterator_in in;
    Str iterator = json_text(place, S("iterator"));
    if (iterator.n > 0)
        return get_iterator(c, l->v.stream, iterator, ret, ret_from);
    if (place->kind != JSON_MAP || json_text(place, S("shard")).n == 0 ||
        (json_text(place, S("sequence")).n == 0 && json_find(place, S("time_ms")) == NULL))
        return bad_place(l);
    bool is_open = as_iterator(place, &in);
    TRY(get_shard_of(c, l->v.stream, in.shard_id, ret));
    if (is_open)
        return get_position(c, &in, l->v.stream, *ret, ret_from);
    *ret_from = SEQUENCE_INDEX_END;
    return OK;
}

static Err write_places(struct lag *l)
{
    const JsonValue *places = json_find(l->c->body, S("places"));
    if (places != NULL && (places->kind != JSON_LIST || places->n > LAG_PLACES_MAX))
        return bad_place(l);
    for (size_t i = 0; places != NULL && i < places->n; i++) {
        struct shard *sh = NULL;
        uint64_t from = 0;
        Err e = find_place(l, &places->items[i], &sh, &from);
        TRY(operator_problem(&l->v.call, e, l->problem));
        const Reader reader = { .kind = S("place"), .name = S("given") };
        TRY(write_reader(l, sh, &reader, from));
    }
    return OK;
}

// ---- What the server knows

static Err write_reads(struct lag *l)
{
    for (size_t i = 0; i < l->v.shard_count; i++) {
        struct shard *sh = l->v.shards[i].shard;
        ShardReads reads;
        if (!shard_reads(sh, now_ms(l), &reads))
            continue;
        const Reader reader = {
            .kind = S("reads"),
            .name = S("GetRecords"),
            .at_ms = reads.at_ms,
            .worst_ms = MAX(reads.worst_ms[0], reads.worst_ms[1]),
        };
        TRY(write_reader(l, sh, &reader, reads.next));
    }
    return OK;
}

static struct consumer **consumers_of(struct lag *l, size_t *ret_n)
{
    const struct stream *s = l->v.stream;
    size_t n = 0;
    pthread_rwlock_rdlock(&l->k->lock);
    struct consumer **all = arena_new(l->c->arena, struct consumer *, s->consumer_count);
    for (size_t i = 0; i < s->consumer_count; i++)
        if (consumer_status(s->consumers[i], now_ms(l)) == CONSUMER_ACTIVE)
            all[n++] = consumer_ref(s->consumers[i]);
    pthread_rwlock_unlock(&l->k->lock);
    *ret_n = n;
    return all;
}

static struct shard *shard_in_view(const struct lag *l, uint32_t index)
{
    for (size_t i = 0; i < l->v.shard_count; i++)
        if (l->v.shards[i].shard->index == index)
            return l->v.shards[i].shard;
    return NULL;
}

static Err write_consumer(struct lag *l, struct consumer *x)
{
    size_t n = 0;
    SubscribedPlace *places = subscribe_places(x, l->c->arena, &n);
    for (size_t i = 0; i < n; i++) {
        struct shard *sh = shard_in_view(l, places[i].shard);
        const Reader reader = {
            .kind = S("consumer"),
            .name = x->name,
            .state = places[i].is_active ? S("subscribed") : S("not subscribed"),
        };
        if (sh != NULL && places[i].has_begun)
            TRY(write_reader(l, sh, &reader, places[i].position));
    }
    return OK;
}

static Err write_consumers(struct lag *l)
{
    size_t n = 0;
    struct consumer **all = consumers_of(l, &n);
    Err e = OK;
    for (size_t i = 0; i < n; i++) {
        if (e.kind == ERR_NONE)
            e = write_consumer(l, all[i]);
        consumer_unref(all[i]);
    }
    return e;
}

// Where the queue's cursors stand is what its rows say: those in memory belong to who hands out.
static Err write_queue(struct lag *l, const struct queue *q)
{
    for (size_t i = 0; i < l->v.shard_count; i++) {
        const struct shard *sh = l->v.shards[i].shard;
        uint64_t next = 0;
        TRY(queue_cursor_row(queues_flights(l->k->queues), l->c->arena, q, sh->id, &next));
        const Reader reader = { .kind = S("queue"), .name = q->name };
        TRY(write_reader(l, sh, &reader, next));
    }
    return OK;
}

static void write_flights(struct lag *l, struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    size_t all = map_count(q->flights), dead = q->dead.n;
    pthread_mutex_unlock(&q->lock);
    l->w.ops->map(&l->w);
    put_text(l, S("name"), q->name);
    put_number(l, S("in_flight"), (int64_t)(all - MIN(dead, all)));
    put_number(l, S("dead"), (int64_t)dead);
    l->w.ops->map_end(&l->w);
}

// Those of the stream. The readers are written first, then, once more, what is in flight.
static Err write_queues(struct lag *l, bool flights)
{
    size_t n = 0;
    struct queue **all = queues_all(l->k->queues, l->c->arena, l->c->account, l->c->region, &n);
    Err e = OK;
    for (size_t i = 0; i < n && e.kind == ERR_NONE; i++) {
        if (all[i]->stream != l->v.stream)
            continue;
        if (flights)
            write_flights(l, all[i]);
        else
            e = write_queue(l, all[i]);
    }
    queues_unref_all(all, n);
    return e;
}

// ---- The answer

static void write_shards(struct lag *l)
{
    l->w.ops->key(&l->w, S("shards"));
    l->w.ops->list(&l->w);
    for (size_t i = 0; i < l->v.shard_count; i++) {
        const OperatorShard *sh = &l->v.shards[i];
        l->w.ops->map(&l->w);
        put_text(l, S("shard"), shard_id_str(l->c->arena, sh->shard->index));
        put_text(l, S("state"), sh->span.ended ? S("closed") : S("open"));
        if (sh->span.last_arrival_ms != 0)
            put_number(l, S("newest_ms"), sh->span.last_arrival_ms);
        l->w.ops->map_end(&l->w);
    }
    l->w.ops->list_end(&l->w);
}

static Err write_answer(struct lag *l)
{
    pthread_rwlock_rdlock(&l->k->lock);
    int64_t retention_ms = (int64_t)l->v.stream->retention_hours * 3600 * 1000;
    pthread_rwlock_unlock(&l->k->lock);
    l->w.ops->map(&l->w);
    put_number(l, S("now_ms"), now_ms(l));
    put_number(l, S("retention_ms"), retention_ms);
    write_shards(l);
    l->w.ops->key(&l->w, S("readers"));
    l->w.ops->list(&l->w);
    TRY(write_places(l));
    TRY(write_reads(l));
    TRY(write_consumers(l));
    TRY(write_queues(l, false));
    l->w.ops->list_end(&l->w);
    l->w.ops->key(&l->w, S("queues"));
    l->w.ops->list(&l->w);
    TRY(write_queues(l, true));
    l->w.ops->list_end(&l->w);
    l->w.ops->map_end(&l->w);
    return OK;
}

Err operator_lag(void *state, const struct operator_call *c, struct buf *ret, Str *ret_problem)
{
    const JsonValue *counts = json_find(c->body, S("count"));
    struct lag l = { .k = state,
                     .c = c,
                     .problem = ret_problem,
                     .counts = counts != NULL && counts->kind == JSON_BOOL && counts->integer };
    TRY(operator_view(state, c, &l.v, ret_problem));
    l.scratch = arena_open_request();
    json_writer_init(&l.w, ret);
    Err e = l.scratch != NULL ? write_answer(&l) : fail(ERR_MEMORY, "no memory to read records");
    arena_close(l.scratch);
    operator_view_done(&l.v);
    return e;
}
