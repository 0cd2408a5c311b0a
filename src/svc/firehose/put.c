// SPDX-License-Identifier: Apache-2.0
// PutRecord and PutRecordBatch: check, take from the stream's limits, seal, hand to the log, and
// answer when it is on disk. Runs on the reactor and holds no thread while it waits.
#include "base/logline.h"
#include "base/metric.h"
#include "base/time.h"
#include "codec/base64.h"
#include "store/log.h"
#include "svc/firehose/crypt.h"

#include <stddef.h>
#include <string.h>

enum {
    BATCH_BYTES_MAX = 4 << 20, // of all records of a PutRecordBatch
    RECORD_ID_WORDS = 21,      // 168 bytes: as long as AWS's
    RECORD_ID_CHARS = 224,
};
_Static_assert(RECORD_ID_WORDS * 8 / 3 * 4 == RECORD_ID_CHARS, "base64 without padding");

// One request that waits for the log. All that it is answered with has its place before anything is
// stored. Lives in the call's arena, which outlives the wait.
struct put {
    struct log_append append;
    struct task task; // brings the result back to the call's loop
    struct call *call;
    struct hose *hose; // a reference
    bool encrypted;
    const firehose_Record *in; // n of them
    size_t n;
    LogRecord *records;                            // of those that were not throttled, in order
    LogPlace *places;                              // beside records
    bool *throttled;                               // beside in
    char *ids;                                     // RECORD_ID_CHARS each, beside in
    firehose_PutRecordBatchResponseEntry *answers; // beside in, of PutRecordBatch
    Err stored;
    struct firehose_PutRecord_out *one; // one of these two
    struct firehose_PutRecordBatch_out *many;
};

// ---- Record ids: opaque, never the same twice

static uint64_t mix(uint64_t x) // splitmix64's finalizer: one to one
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static Str record_id(const struct put *p, size_t i, uint64_t position)
{
    const struct firehose *f = p->call->state;
    uint64_t words[RECORD_ID_WORDS];
    words[0] = mix(position ^ f->id_secret[0]);
    words[1] = mix(p->hose->id ^ f->id_secret[1]) ^ words[0];
    for (size_t k = 2; k < RECORD_ID_WORDS; k++)
        words[k] = mix(words[k - 1] + f->id_secret[k % 2] + words[0]);
    base64_encode(p->ids + i * RECORD_ID_CHARS, words, sizeof words);
    return str_from(p->ids + i * RECORD_ID_CHARS, RECORD_ID_CHARS);
}

// ---- Checks and limits

// CloudWatch Logs sends GZIP and nothing else; the signer says nothing about who sends here.
static bool is_gzip(Str data)
{
    return str_starts(data, S("\x1f\x8b"));
}

static Err check_sender(struct call *c, const HoseView *v, const struct put *p)
{
    for (size_t i = 0; v->state->logs_only && i < p->n; i++)
        if (!is_gzip(p->in[i].data))
            return call_fail(c, &firehose_InvalidSourceException,
                             "Only requests from CloudWatch Logs are supported when CloudWatch "
                             "Logs decompression is enabled.");
    return OK;
}

static Err check(struct call *c, const HoseView *v, const struct put *p)
{
    size_t total = 0;
    if (hose_status(v->f, c->now_ns / NS_PER_MS) != HOSE_ACTIVE)
        return firehose_not_found(c, v->hose->name);
    if (v->f->source_arn.p != NULL)
        return call_fail(c, &firehose_InvalidArgumentException,
                         "This operation is not permitted on KinesisStreamAsSource delivery stream "
                         "type.");
    for (size_t i = 0; i < p->n; i++)
        total += p->in[i].data.n;
    if (total <= BATCH_BYTES_MAX)
        return check_sender(c, v, p);
    return call_fail(c, &firehose_InvalidArgumentException, "Records size exceeds %d MB limit",
                     BATCH_BYTES_MAX >> 20);
}

// Takes what the records cost; those that fit become the records of the append.
static void admit(struct put *p)
{
    const struct firehose *f = p->call->state;
    const HoseRates *rates = hose_limit_rates(p->hose->region);
    int64_t now_ns = f->env.io->mono_ns(f->env.io);
    bool limited = f->env.limits > 0;
    if (limited)
        pthread_mutex_lock(&p->hose->limit_lock);
    bool may = !limited || hose_limit_request(&p->hose->limits, rates, f->env.limits, now_ns);
    for (size_t i = 0; i < p->n; i++) {
        Str data = p->in[i].data;
        p->throttled[i] = limited && (!may || !hose_limit_record(&p->hose->limits, rates,
                                                                 f->env.limits, now_ns, data.n));
        if (!p->throttled[i])
            p->records[p->append.n++] = (LogRecord){ .shard = p->hose->id, .data = blob_of(data) };
    }
    if (limited)
        pthread_mutex_unlock(&p->hose->limit_lock);
}

// ---- Answering

// How a record fared: NULL when it is stored. A full disk or queue throttles, so that the client's
// SDK comes again by itself.
static const struct api_error *fault_of(const struct put *p, size_t i, const LogPlace *place)
{
    if (p->throttled[i] || p->stored.kind == ERR_FULL || p->stored.kind == ERR_LIMIT)
        return &firehose_ServiceUnavailableException;
    if (p->stored.kind != ERR_NONE)
        return &aws_InternalFailure;
    return place->position != 0 ? NULL : &firehose_ResourceNotFoundException; // deleted meanwhile
}

static Str fault_text(const struct put *p, const struct api_error *fault)
{
    if (fault == &firehose_ServiceUnavailableException)
        return S("Slow down.");
    if (fault == &firehose_ResourceNotFoundException)
        return str_fmt(p->call->arena, "Firehose %.*s under account %.*s not found.",
                       FMT(p->hose->name), FMT(p->hose->account));
    return S("Internal Service Failure.");
}

static Err answer_one(struct put *p)
{
    const struct api_error *fault = fault_of(p, 0, p->places);
    if (fault == &aws_InternalFailure)
        return p->stored; // logged with its cause
    if (fault != NULL)
        return call_fail(p->call, fault, "%.*s", FMT(fault_text(p, fault)));
    p->one->record_id = record_id(p, 0, p->places[0].position);
    p->one->has_encrypted = true;
    p->one->encrypted = p->encrypted;
    return OK;
}

static Err answer_many(struct put *p)
{
    const LogPlace *place = p->places;
    firehose_PutRecordBatchResponseEntryList list = { .set = true, .n = p->n, .at = p->answers };
    for (size_t i = 0; i < p->n; i++) {
        const struct api_error *fault = fault_of(p, i, place);
        if (fault != NULL) {
            p->many->failed_put_count++;
            // The name of an entry's own kind of failure has no "Exception" (API reference).
            list.at[i].error_code =
                fault == &aws_InternalFailure ? S("InternalFailure") : fault->name;
            list.at[i].error_message = fault_text(p, fault);
        } else {
            list.at[i].record_id = record_id(p, i, place->position);
        }
        place += !p->throttled[i];
    }
    p->many->request_responses = list;
    p->many->has_encrypted = true;
    p->many->encrypted = p->encrypted;
    return OK;
}

// Tells the delivery, as long as there is one.
static void tell_delivery(struct put *p, size_t records, size_t bytes)
{
    struct firehose *f = p->call->state;
    if (records == 0)
        return;
    pthread_rwlock_rdlock(&f->lock);
    if (p->hose->delivery != NULL)
        delivery_arrived(p->hose->delivery, records, bytes);
    pthread_rwlock_unlock(&f->lock);
}

static void count(struct put *p)
{
    const LogPlace *place = p->places;
    HosePut put = { .single = p->one != NULL,
                    .records = (int64_t)p->n,
                    .took_ns = firehose_took_ns(p->call) };
    for (size_t i = 0; i < p->n; i++) {
        bool stored = fault_of(p, i, place) == NULL;
        put.stored += stored;
        put.bytes += stored ? (int64_t)p->in[i].data.n : 0;
        put.throttled += p->throttled[i];
        place += !p->throttled[i];
    }
    tell_delivery(p, (size_t)put.stored, (size_t)put.bytes);
    metric_add(p->hose->put_records, put.stored);
    metric_add(p->hose->put_bytes, put.bytes);
    metric_add(p->hose->put_throttled, put.throttled);
    hose_meters_put(&p->hose->meters, &put);
}

static Err answer(struct put *p)
{
    if (p->stored.kind != ERR_NONE && p->stored.kind != ERR_LIMIT)
        LOG(LOG_WARN, "records were not stored", F_STR("stream", p->hose->arn),
            F_STR("request_id", p->call->request_id), F_ERR(p->stored));
    count(p);
    Err e = p->one != NULL ? answer_one(p) : answer_many(p);
    hose_unref(p->hose);
    return e;
}

static void answer_on_loop(struct task *t)
{
    struct put *p = (struct put *)((char *)t - offsetof(struct put, task));
    call_done(p->call, answer(p));
}

static void stored(struct log_append *append, Err e)
{
    struct put *p = append->user;
    p->stored = e;
    struct firehose *f = p->call->state;
    commits_then(f->commits, p->call->loop, &p->task);
}

// ---- Operations

// A put of n records that holds a reference to the stream.
static Err put_new(struct call *c, struct hose *h, const firehose_Record *in, size_t n,
                   struct put **ret)
{
    struct put *p = arena_new(c->arena, struct put, 1);
    p->call = c;
    p->in = in;
    p->n = n;
    p->records = arena_try_raw_new(c->arena, LogRecord, n);
    p->places = arena_try_new(c->arena, LogPlace, n); // what the log leaves alone was not stored
    p->throttled = arena_try_new(c->arena, bool, n);
    p->ids = arena_try_raw(c->arena, mul_checked(n, RECORD_ID_CHARS), 1);
    p->answers = arena_try_new(c->arena, firehose_PutRecordBatchResponseEntry, n);
    if (p->records == NULL || p->places == NULL || p->throttled == NULL || p->ids == NULL ||
        p->answers == NULL)
        return fail(ERR_MEMORY, "no memory for the entries of a put");
    p->hose = hose_ref(h);
    p->task.run = answer_on_loop;
    p->append = (struct log_append){
        .records = p->records, .places = p->places, .done = stored, .user = p
    };
    *ret = p;
    return OK;
}

// The data key that the put encrypts with; NULL: its stream does not. A new one is made by the
// pool, once an hour.
static Err find_key(struct call *c, const HoseView *v, const void *in, void *out,
                    struct data_key **ret)
{
    Err e = hose_crypt_key(c, v, ret);
    if (e.kind != ERR_BUSY)
        return e;
    if (!loop_is_current(c->loop))
        return hose_crypt_make_key(c, v, ret);
    return call_again_on_pool(c, in, out);
}

static Err start(struct call *c, const HoseView *v, struct put *p, struct data_key *key)
{
    struct firehose *f = c->state;
    Err e = check(c, v, p);
    if (e.kind == ERR_NONE)
        admit(p);
    p->encrypted = key != NULL;
    if (e.kind == ERR_NONE && key != NULL)
        e = data_key_seal(c->arena, key, p->records, p->append.n);
    if (e.kind != ERR_NONE) {
        hose_unref(p->hose);
        return e;
    }
    c->reply_bytes = p->many != NULL ? p->n * (RECORD_ID_CHARS + 16) : 0;
    if (p->append.n == 0)
        return answer(p);
    p->append.held = commits_soon(f->commits, c->loop, &p->append);
    e = log_append(f->env.log, &p->append);
    if (e.kind != ERR_NONE) {
        p->stored = e;
        return answer(p);
    }
    return call_wait(c); // from here on the log or the loop may already be working on p
}

Err firehose_PutRecord(struct call *c, const struct firehose_PutRecord_in *in,
                       struct firehose_PutRecord_out *out)
{
    AUTO_VIEW(v);
    TRY(firehose_find(c, in->delivery_stream_name, &v));
    AUTO(data_key) key = NULL;
    TRY(find_key(c, &v, in, out, &key));
    struct put *p;
    TRY(put_new(c, v.hose, in->record, 1, &p));
    p->one = out;
    return start(c, &v, p, key);
}

Err firehose_PutRecordBatch(struct call *c, const struct firehose_PutRecordBatch_in *in,
                            struct firehose_PutRecordBatch_out *out)
{
    AUTO_VIEW(v);
    TRY(firehose_find(c, in->delivery_stream_name, &v));
    AUTO(data_key) key = NULL;
    TRY(find_key(c, &v, in, out, &key));
    struct put *p;
    TRY(put_new(c, v.hose, in->records.at, in->records.n, &p));
    p->many = out;
    return start(c, &v, p, key);
}
