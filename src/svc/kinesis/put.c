// SPDX-License-Identifier: Apache-2.0
// PutRecord and PutRecords: check, hash, route, take from the shard's limits, hand to the log, and
// answer when it is on disk. Runs on the reactor and holds no thread while it waits.
#include "base/logline.h"
#include "base/metric.h"
#include "base/time.h"
#include "svc/kinesis/crypt.h"
#include "svc/kinesis/demand.h"

#include <stddef.h>

enum {
    PUT_ERRORS_LISTED_MAX = 10,
    KIB = 1024,
    PUT_RECORDS_BYTES_MAX = 10 << 20,
    ROUTED_AT_ONCE = 64,      // entries whose keys are hashed together
    CREATED_AHEAD_S_MAX = 60, // shards made by so many changes in one second
};

// One record of a request on its way.
typedef struct PutEntry {
    Str key, hash_key;
    Blob data;                             // as it came: the log decodes it
    struct shard *shard;                   // where it belongs
    uint32_t shard_index, shard_created_s; // of it: far away by the time of the answer
    LogPlace *place; // of the record that went to the log; NULL: it was throttled
    // Of an encrypted record, whose data is then sealed, too; else absent. `key` stays plain: it is
    // what the record is routed by.
    Str mark, sealed_key;
} PutEntry;

// What the answer says of a stored entry.
typedef struct PutText {
    char shard_id[SHARD_ID_CHARS];
    char sequence[SEQUENCE_CHARS_MAX];
} PutText;

// One request that waits for the log. All that it is answered with has its place before anything is
// stored: a put that is stored is not answered with an error for want of memory here. Lives in the
// call's arena, which outlives the wait.
struct put {
    struct log_append append;
    struct stream_waiter waiter; // its task brings the result back to the call's loop
    struct call *call;
    struct stream *stream; // a reference
    bool encrypted;
    PutEntry *entries;
    size_t n;
    LogRecord *records; // of the entries that were not throttled, in order
    LogPlace *places;   // an entry that met the end of its shard has one of a later append
    PutText *texts;     // beside entries
    kinesis_PutRecordsResultEntry *answers; // beside entries, of PutRecords
    Err stored;                             // how the newest append fared
    bool is_gone;                           // the stream was deleted meanwhile
    struct kinesis_PutRecord_out *one;      // one of these two
    struct kinesis_PutRecords_out *many;
};

// ---- Checks

// The time in a number is the record's, and never before the creation of its shard, which after a
// change of shards may be a little ahead.
static Err check_ordering(struct call *c, const struct stream *s, Str number)
{
    Sequence q;
    if (number.p == NULL || (sequence_parse(number, &q).kind == ERR_NONE &&
                             q.time_s <= MAX(c->now_ns / NS_PER_S, q.created_s) &&
                             q.created_s <= c->now_ns / NS_PER_S + CREATED_AHEAD_S_MAX))
        return OK;
    return call_fail(c, &kinesis_InvalidArgumentException,
                     "ExclusiveMinimumSequenceNumber %.*s used in PutRecord on stream %.*s under "
                     "account %.*s is invalid.",
                     FMT(number), FMT(s->name), FMT(s->account));
}

static Err check_hash_keys(struct call *c, const struct put *p)
{
    for (size_t i = 0; i < p->n; i++) {
        HashKey h;
        Str given = p->entries[i].hash_key;
        if (given.n > 0 && hash_key_parse(given, &h).kind != ERR_NONE)
            return call_fail(c, &kinesis_InvalidArgumentException,
                             "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, "
                             "2^128-1]. Specified value was %.*s",
                             FMT(given));
    }
    return OK;
}

// What the shapes cannot say: whether this stream needs a partition key, and the size of record
// that it allows. All of a request's errors are told at once.
static Err check_records(struct call *c, const struct put *p)
{
    size_t max = (size_t)p->stream->record_kib_max * KIB, count = 0;
    AUTO_BUF(text);
    for (size_t i = 0; i < p->n; i++) {
        bool keyless = p->entries[i].key.p == NULL && !p->stream->spread;
        bool large = p->entries[i].data.n > max;
        if (!keyless && !large)
            continue;
        Str at = p->many != NULL ? str_fmt(c->arena, "records.%zu.member.", i + 1) : S("");
        if (keyless && count++ < PUT_ERRORS_LISTED_MAX)
            buf_addf(&text,
                     "%sValue null at '%.*spartitionKey' failed to satisfy constraint: Member must "
                     "not be null",
                     text.n > 0 ? "; " : "", FMT(at));
        if (large && count++ < PUT_ERRORS_LISTED_MAX)
            buf_addf(&text,
                     "%sValue at '%.*sdata' failed to satisfy constraint: Member must have length "
                     "less than or equal to %zu",
                     text.n > 0 ? "; " : "", FMT(at), max);
    }
    if (count == 0)
        return OK;
    return call_fail(c, &kinesis_ValidationException, "%zu validation error%s detected: %.*s",
                     count, count == 1 ? "" : "s", FMT(buf_str(&text)));
}

static Err check_total(struct call *c, const struct put *p)
{
    size_t total = 0;
    for (size_t i = 0; i < p->n; i++)
        total += p->entries[i].key.n + p->entries[i].data.n;
    if (p->many == NULL || total <= PUT_RECORDS_BYTES_MAX)
        return OK;
    return call_fail(c, &kinesis_InvalidArgumentException, "Records size exceeds %d MB limit",
                     PUT_RECORDS_BYTES_MAX >> 20);
}

static bool is_writable(const struct stream *s)
{
    return s->status == STREAM_ACTIVE || s->status == STREAM_UPDATING;
}

// ---- Routing

// The hash keys of n entries from the one at `from`.
static void entry_hashes(struct kinesis *k, const struct put *p, size_t from, size_t n,
                         HashKey hashes[ROUTED_AT_ONCE])
{
    Str keys[ROUTED_AT_ONCE];
    if (p->stream->spread) {
        k->env.io->random(k->env.io, hashes, n * sizeof *hashes);
        return;
    }
    for (size_t i = 0; i < n; i++)
        keys[i] = p->entries[from + i].key;
    hash_keys_of(keys, n, hashes);
    for (size_t i = 0; i < n; i++) {
        Str given = p->entries[from + i].hash_key;
        if (given.n > 0)
            err_ignore(hash_key_parse(given, &hashes[i])); // checked before
    }
}

// What an entry costs: PutRecord is counted in whole KB, PutRecords by its bytes.
static size_t entry_cost(const struct put *p, const PutEntry *e)
{
    size_t bytes = e->key.n + e->data.n;
    return p->many != NULL ? bytes : (bytes + KIB - 1) / KIB * KIB;
}

static void entry_belongs(PutEntry *e, struct shard *sh)
{
    e->shard = sh;
    e->shard_index = sh->index;
    e->shard_created_s = sh->created_s;
}

static void find_shards(struct kinesis *k, const struct put *p, size_t from, size_t n,
                        struct shard **ret)
{
    HashKey hashes[ROUTED_AT_ONCE];
    entry_hashes(k, p, from, n, hashes);
    stream_route_all(p->stream, hashes, n, ret);
}

// Chooses every entry's shard and takes it from the shard's limits; those that fit become the
// records of the append.
static void route(struct kinesis *k, struct put *p)
{
    int64_t now_ns = kinesis_mono_ns(k);
    bool is_on_demand = p->stream->on_demand;
    struct shard *shards[ROUTED_AT_ONCE];
    for (size_t i = 0; i < p->n; i++) {
        PutEntry *e = &p->entries[i];
        if (i % ROUTED_AT_ONCE == 0)
            find_shards(k, p, i, MIN(p->n - i, (size_t)ROUTED_AT_ONCE), shards);
        struct shard *sh = shards[i % ROUTED_AT_ONCE];
        entry_belongs(e, sh);
        bool fits = shard_take_write(sh, k->env.limits, now_ns, 1, entry_cost(p, e));
        if (is_on_demand)
            demand_note(sh, e->key.n + e->data.n);
        e->place = fits ? &p->places[p->append.n] : NULL;
        if (fits)
            p->records[p->append.n++] = (LogRecord){
                .shard = sh->id, .key = e->key, .hash_key = e->hash_key, .data = e->data
            };
    }
}

// ---- Routing anew: a shard that has ended takes no records, and its children do

static bool is_lost(const PutEntry *e)
{
    return e->place != NULL && e->place->position == 0;
}

// Of the newest append: all before it are settled.
static size_t count_lost(const struct put *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->append.n; i++)
        n += p->append.places[i].position == 0;
    return n;
}

static HashKey entry_hash(struct kinesis *k, const struct put *p, const PutEntry *e)
{
    HashKey h;
    if (p->stream->spread)
        k->env.io->random(k->env.io, &h, sizeof h);
    else if (e->hash_key.n == 0 || hash_key_parse(e->hash_key, &h).kind != ERR_NONE)
        h = hash_key_of(e->key);
    return h;
}

// Entries that met an end go to the children of their shards, in their order. False: there are none
// yet, and nothing has changed.
static bool route_lost(struct kinesis *k, struct put *p, LogRecord *records, LogPlace *places)
{
    int64_t now_ns = kinesis_mono_ns(k);
    for (size_t i = 0; i < p->n; i++) {
        PutEntry *e = &p->entries[i];
        if (is_lost(e) && !shard_is_closed(e->shard))
            return false;
    }
    p->append.records = records;
    p->append.places = places;
    p->append.n = 0;
    for (size_t i = 0; i < p->n; i++) {
        PutEntry *e = &p->entries[i];
        if (!is_lost(e))
            continue;
        struct shard *sh = stream_route(p->stream, entry_hash(k, p, e));
        entry_belongs(e, sh);
        bool fits = shard_take_write(sh, k->env.limits, now_ns, 1, entry_cost(p, e));
        e->place = fits ? &places[p->append.n] : NULL;
        if (fits)
            records[p->append.n++] =
                (LogRecord){ .shard = sh->id,
                             .key = e->mark.p != NULL ? e->sealed_key : e->key,
                             .hash_key = e->mark.p != NULL ? e->mark : e->hash_key,
                             .data = e->data };
    }
    return true;
}

typedef enum Way { WAY_NONE, WAY_WAIT, WAY_APPEND } Way; // answer now, wait, append

static Way find_way(struct kinesis *k, struct put *p, size_t lost)
{
    LogRecord *records = arena_try_raw_new(p->call->arena, LogRecord, lost);
    LogPlace *places = arena_try_new(p->call->arena, LogPlace, lost);
    if (records == NULL || places == NULL)
        return WAY_NONE;
    Way way = WAY_NONE;
    bool has_failed = p->waiter.failed;
    p->waiter.failed = false;
    pthread_rwlock_rdlock(&k->lock);
    p->is_gone = !is_writable(p->stream);
    if (!p->is_gone && route_lost(k, p, records, places)) {
        way = p->append.n > 0 ? WAY_APPEND : WAY_NONE;
    } else if (!p->is_gone && !has_failed) {
        stream_wait(p->stream, &p->waiter); // under the lock: the change cannot have passed by
        way = WAY_WAIT;
    }
    pthread_rwlock_unlock(&k->lock);
    return way;
}

// Whether the put goes on: entries that met the end of their shard are on their way again.
static bool goes_on(struct put *p)
{
    struct kinesis *k = p->call->state;
    if (p->stored.kind != ERR_NONE)
        return false;
    size_t lost = count_lost(p);
    if (lost == 0)
        return false;
    Way way = find_way(k, p, lost);
    if (way != WAY_APPEND)
        return way == WAY_WAIT;
    p->append.held = false;
    Err e = log_append(k->env.log, &p->append);
    if (e.kind == ERR_NONE)
        return true;
    p->stored = e;
    return false;
}

// All that needs the stream's fields, under the lock that guards them.
static Err check_and_route(struct call *c, struct put *p, bool dry_run)
{
    if (!is_writable(p->stream))
        return kinesis_not_found(c, p->stream->name);
    TRY(check_records(c, p));
    TRY(check_hash_keys(c, p));
    TRY(check_total(c, p));
    if (dry_run)
        return call_fail(c, &kinesis_DryRunOperationException,
                         "Request would have succeeded, but DryRun flag is set.");
    route(c->state, p);
    return OK;
}

// ---- Answering

// How an entry fared: NULL when it is stored. A full disk or queue throttles, so that the client's
// SDK comes again by itself.
static const struct api_error *fault_of(const struct put *p, const PutEntry *e)
{
    bool crowded = p->stored.kind == ERR_FULL || p->stored.kind == ERR_LIMIT;
    if (e->place == NULL)
        return &kinesis_ProvisionedThroughputExceededException;
    if (e->place->position != 0)
        return NULL;
    if (crowded)
        return &kinesis_ProvisionedThroughputExceededException;
    return p->is_gone ? &kinesis_ResourceNotFoundException : &aws_InternalFailure;
}

static Str fault_text(const struct put *p, const PutEntry *e, const struct api_error *fault)
{
    struct arena *a = p->call->arena;
    if (fault == &kinesis_ProvisionedThroughputExceededException)
        return str_fmt(a, "Rate exceeded for shard %.*s in stream %.*s under account %.*s.",
                       FMT(shard_id_str(a, e->shard_index)), FMT(p->stream->name),
                       FMT(p->stream->account));
    if (fault == &kinesis_ResourceNotFoundException)
        return str_fmt(a, "Stream %.*s under account %.*s not found.", FMT(p->stream->name),
                       FMT(p->stream->account));
    return S("Internal Service Failure.");
}

static void stored_as(const struct put *p, size_t i, Str *ret_shard_id, Str *ret_sequence)
{
    const PutEntry *e = &p->entries[i];
    PutText *t = &p->texts[i];
    shard_id_format(t->shard_id, e->shard_index);
    *ret_shard_id = str_from(t->shard_id, SHARD_ID_CHARS);
    Sequence number = { .created_s = e->shard_created_s,
                        .time_s = e->place->arrival_ms / 1000,
                        .index = e->place->position,
                        .shard = e->shard_index };
    *ret_sequence = str_from(t->sequence, sequence_format(t->sequence, number));
}

static Err answer_one(struct put *p)
{
    const PutEntry *e = &p->entries[0];
    const struct api_error *fault = fault_of(p, e);
    if (fault == &aws_InternalFailure) // logged with its cause
        return p->stored.kind != ERR_NONE ? p->stored
                                          : fail(ERR_IO, "the change of a shard is not done yet");
    if (fault != NULL)
        return call_fail(p->call, fault, "%.*s", FMT(fault_text(p, e, fault)));
    stored_as(p, 0, &p->one->shard_id, &p->one->sequence_number);
    if (p->encrypted)
        p->one->encryption_type = kinesis_EncryptionType_KMS;
    return OK;
}

static Err answer_many(struct put *p)
{
    kinesis_PutRecordsResultEntryList list = { .set = true, .n = p->n, .at = p->answers };
    for (size_t i = 0; i < p->n; i++) {
        const PutEntry *e = &p->entries[i];
        const struct api_error *fault = fault_of(p, e);
        if (fault != NULL) {
            p->many->failed_record_count++;
            list.at[i].error_code = fault->name;
            list.at[i].error_message = fault_text(p, e, fault);
        } else {
            stored_as(p, i, &list.at[i].shard_id, &list.at[i].sequence_number);
        }
    }
    p->many->records = list;
    if (p->encrypted)
        p->many->encryption_type = kinesis_EncryptionType_KMS;
    return OK;
}

static void count_by_shard(const struct put *p)
{
    for (size_t i = 0; i < p->n; i++) {
        const PutEntry *e = &p->entries[i];
        struct shard_meters *m = shard_meters_of(e->shard);
        if (e->place == NULL)
            meter_add(&m->write_exceeded, 1);
        else if (fault_of(p, e) == NULL)
            meter_add(&m->in_bytes, (int64_t)(e->key.n + e->data.n));
    }
}

static void count(const struct put *p)
{
    int64_t records = 0, bytes = 0, throttled = 0;
    for (size_t i = 0; i < p->n; i++) {
        bool stored = fault_of(p, &p->entries[i]) == NULL;
        records += stored;
        bytes += stored ? (int64_t)(p->entries[i].key.n + p->entries[i].data.n) : 0;
        throttled += p->entries[i].place == NULL;
    }
    metric_add(p->stream->put_records, records);
    metric_add(p->stream->put_bytes, bytes);
    metric_add(p->stream->put_throttled, throttled);
    const PutCounts counts = { .records = (int64_t)p->n,
                               .stored = records,
                               .throttled = throttled,
                               .bytes = bytes,
                               .took_ns = kinesis_took_ns(p->call) };
    meters_put(&p->stream->meters, p->one != NULL, &counts);
    if (stream_shard_metrics(p->stream) != 0)
        count_by_shard(p);
}

static Err answer(struct put *p)
{
    if (p->stored.kind != ERR_NONE && p->stored.kind != ERR_LIMIT)
        LOG(LOG_WARN, "records were not stored", F_STR("stream", p->stream->arn),
            F_STR("request_id", p->call->request_id), F_ERR(p->stored));
    for (size_t i = 0; i < p->append.n && p->stored.kind != ERR_NONE; i++)
        p->append.places[i].position = 0; // it may have been given before the write failed
    count(p);
    Err e = p->one != NULL ? answer_one(p) : answer_many(p);
    stream_unref(p->stream);
    return e;
}

static void answer_on_loop(struct task *t)
{
    struct put *p = (struct put *)((char *)t - offsetof(struct put, waiter.task));
    if (!goes_on(p))
        call_done(p->call, answer(p));
}

static void stored(struct log_append *append, Err e)
{
    struct put *p = append->user;
    p->stored = e;
    struct kinesis *k = p->call->state;
    commits_then(k->commits, p->call->loop, &p->waiter.task);
}

// ---- Operations

// A put of n entries that holds a reference to the stream.
static Err put_new(struct call *c, struct stream *s, size_t n, struct put **ret)
{
    struct put *p = arena_new(c->arena, struct put, 1);
    p->call = c;
    p->n = n;
    p->entries = arena_try_raw_new(c->arena, PutEntry, n);
    p->records = arena_try_raw_new(c->arena, LogRecord, n);
    p->places = arena_try_new(c->arena, LogPlace, n); // what the log leaves alone was not stored
    p->texts = arena_try_raw_new(c->arena, PutText, n);
    if (p->entries == NULL || p->records == NULL || p->places == NULL || p->texts == NULL)
        return fail(ERR_MEMORY, "no memory for the entries of a put");
    p->stream = stream_ref(s);
    p->waiter.loop = c->loop;
    p->waiter.task.run = answer_on_loop;
    p->append = (struct log_append){
        .records = p->records, .places = p->places, .done = stored, .user = p
    };
    *ret = p;
    return OK;
}

// The data key that the put encrypts with; NULL: its stream does not. A new one is made by the
// pool, once an hour.
static Err find_key(struct call *c, struct stream *s, const void *in, void *out,
                    struct data_key **ret)
{
    Err e = crypt_key(c, s, ret);
    if (e.kind != ERR_BUSY)
        return e;
    if (!loop_is_current(c->loop))
        return crypt_make_key(c, s, ret);
    return call_again_on_pool(c, in, out);
}

// Seals the records of the append. The entries have what was sealed too: those that meet the end of
// their shard go to its children as they are.
static Err seal(struct call *c, struct put *p, struct data_key *key)
{
    TRY(crypt_seal(c, key, p->records, p->append.n));
    for (size_t i = 0; i < p->n; i++) {
        PutEntry *e = &p->entries[i];
        if (e->place == NULL)
            continue;
        const LogRecord *record = &p->records[e->place - p->places];
        e->data = record->data;
        e->mark = record->hash_key;
        e->sealed_key = record->key;
    }
    return OK;
}

static Err start(struct call *c, struct put *p, struct data_key *key, bool dry_run)
{
    struct kinesis *k = c->state;
    pthread_rwlock_rdlock(&k->lock);
    Err e = check_and_route(c, p, dry_run);
    pthread_rwlock_unlock(&k->lock);
    p->encrypted = key != NULL;
    if (e.kind == ERR_NONE && key != NULL)
        e = seal(c, p, key);
    if (e.kind != ERR_NONE) {
        stream_unref(p->stream);
        return e;
    }
    if (p->append.n == 0)
        return answer(p);
    p->append.held = commits_soon(k->commits, c->loop, &p->append);
    e = log_append(k->env.log, &p->append);
    if (e.kind != ERR_NONE) {
        p->stored = e;
        return answer(p);
    }
    return call_wait(c); // from here on the log or the loop may already be working on p
}

Err kinesis_PutRecord(struct call *c, const struct kinesis_PutRecord_in *in,
                      struct kinesis_PutRecord_out *out)
{
    AUTO(stream) s = NULL;
    TRY(kinesis_find(c, STREAM_REF(in), &s));
    TRY(check_ordering(c, s, in->sequence_number_for_ordering));
    AUTO(data_key) key = NULL;
    TRY(find_key(c, s, in, out, &key));
    struct put *p;
    TRY(put_new(c, s, 1, &p));
    p->one = out;
    p->entries[0] =
        (PutEntry){ .key = in->partition_key, .hash_key = in->explicit_hash_key, .data = in->data };
    return start(c, p, key, in->dry_run);
}

Err kinesis_PutRecords(struct call *c, const struct kinesis_PutRecords_in *in,
                       struct kinesis_PutRecords_out *out)
{
    AUTO(stream) s = NULL;
    TRY(kinesis_find(c, STREAM_REF(in), &s));
    AUTO(data_key) key = NULL;
    TRY(find_key(c, s, in, out, &key));
    kinesis_PutRecordsResultEntry *answers =
        arena_try_new(c->arena, kinesis_PutRecordsResultEntry, in->records.n);
    if (answers == NULL)
        return fail(ERR_MEMORY, "no memory for the answer of a put");
    struct put *p;
    TRY(put_new(c, s, in->records.n, &p));
    p->many = out;
    p->answers = answers;
    for (size_t i = 0; i < p->n; i++)
        p->entries[i] = (PutEntry){ .key = in->records.at[i].partition_key,
                                    .hash_key = in->records.at[i].explicit_hash_key,
                                    .data = in->records.at[i].data };
    return start(c, p, key, in->dry_run);
}
