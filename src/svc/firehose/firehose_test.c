// SPDX-License-Identifier: Apache-2.0
// Delivery streams through power cuts, full disks and many threads.
#include "base/test.h"
#include "svc/firehose/crypt.h"
#include "svc/firehose/test_world.h"

#include <pthread.h>

#define PLACE                                                                            \
    "\"RoleARN\":\"arn:aws:iam::000000000000:role/r\",\"BucketARN\":\"arn:aws:s3:::b\"," \
    "\"BufferingHints\":{\"SizeInMBs\":128,\"IntervalInSeconds\":900}"
#define CREATE                                                                                   \
    "{\"DeliveryStreamName\":\"s\",\"DeliveryStreamEncryptionConfigurationInput\":{\"KeyType\":" \
    "\"AWS_OWNED_CMK\"},\"ExtendedS3DestinationConfiguration\":{" PLACE "}}"
#define CREATE_PLAIN \
    "{\"DeliveryStreamName\":\"s\",\"ExtendedS3DestinationConfiguration\":{" PLACE "}}"
#define UPDATE                                                                                  \
    "{\"DeliveryStreamName\":\"s\",\"CurrentDeliveryStreamVersionId\":\"1\",\"DestinationId\":" \
    "\"destinationId-000000000001\",\"ExtendedS3DestinationUpdate\":{\"Prefix\":\"p/\"}}"
#define NAMED "{\"DeliveryStreamName\":\"s\"}"
#define PUT "{\"DeliveryStreamName\":\"s\",\"Record\":{\"Data\":\"aGVsbG8=\"}}"

struct rig {
    struct test_world w;
    struct test_caller c;
};

static void rig_open(struct rig *r)
{
    test_world_open(&r->w);
    test_caller_open(&r->w, &r->c);
}

static void rig_close(struct rig *r)
{
    test_caller_close(&r->c);
    test_world_close(&r->w);
}

static Err call(struct rig *r, struct arena *a, const char *op, const char *json)
{
    TestAnswer answer;
    return test_call(&r->c, a, op, json, &answer);
}

static Str refused(struct rig *r, struct arena *a, const char *op, const char *json)
{
    TestAnswer answer;
    EXPECT_ERR(ERR_FAULT, test_call(&r->c, a, op, json, &answer));
    return answer.error;
}

static struct hose *find(struct rig *r, struct arena *a, HoseView *ret)
{
    HoseName n = { S("000000000000"), S("us-east-1"), S("s") };
    return firehose_look(r->w.firehose, a, &n, ret) ? ret->hose : NULL;
}

static size_t records_of(struct rig *r, struct arena *a, uint64_t shard, LogBatch *ret)
{
    LogRead read = { .shard = shard, .max_records = 100, .max_bytes = 1 << 20 };
    EXPECT_OK(log_read(r->w.log, a, &read, ret));
    return ret->n;
}

// ---- Power cuts

enum { STEPS = 5 };
static const struct {
    const char *op, *json;
} steps[STEPS] = {
    { "CreateDeliveryStream", CREATE },
    { "PutRecord", PUT },
    { "UpdateDestination", UPDATE },
    { "TagDeliveryStream", "{\"DeliveryStreamName\":\"s\",\"Tags\":[{\"Key\":\"k\"}]}" },
    { "StopDeliveryStreamEncryption", NAMED },
};

// Whether what was acknowledged is there, and nothing beyond what was asked for.
static void check_after(struct rig *r, struct arena *a, int done)
{
    AUTO_VIEW(v);
    LogBatch batch;
    if (find(r, a, &v) == NULL) {
        EXPECT(done < 1);
        return;
    }
    EXPECT(v.f->version == 1 || (v.f->version == 2 && done >= 2));
    EXPECT(done < 3 || v.f->version == 2);
    EXPECT(done < 4 || hose_tag(v.f, S("k")) != NULL);
    EXPECT(done < 5 || v.f->key_kind == HOSE_KEY_NONE);
    size_t n = records_of(r, a, v.hose->id, &batch);
    EXPECT(n == (done >= 2) || (done == 1 && n == 1));
    EXPECT_OK(call(r, a, "PutRecord", PUT)); // and it goes on
    n = records_of(r, a, v.hose->id, &batch);
    EXPECT_OK(hose_crypt_unseal(hose_crypt_reader(r->w.firehose, v.hose, a), a, batch.at, batch.n));
    for (size_t i = 0; i < n; i++)
        EXPECT_STR(S("hello"), batch.at[i].data);
}

// False: the power was not cut any more.
static bool cut(struct arena *a, uint64_t skip, int keep)
{
    struct rig r;
    int done = 0;
    rig_open(&r);
    io_fault_add(r.w.faults, (IoFault){ .ops = IO_OP_CHANGE, .skip = skip, .power_off = true });
    while (done < STEPS && call(&r, a, steps[done].op, steps[done].json).kind == ERR_NONE)
        done++;
    bool was_cut = io_fault_hits(r.w.faults) > 0;
    EXPECT_OK(test_world_crash(&r.w, keep));
    check_after(&r, a, done);
    rig_close(&r);
    return was_cut;
}

TEST(what_was_acknowledged_is_there_after_a_power_cut_at_any_moment)
{
    for (int keep = 0; keep <= 100; keep += 50)
        for (uint64_t skip = 0; cut(a, skip, keep); skip++)
            continue;
}

static bool cut_deletion(struct arena *a, uint64_t skip, int keep)
{
    struct rig r;
    AUTO_VIEW(v);
    LogSpan span;
    rig_open(&r);
    EXPECT_OK(call(&r, a, "CreateDeliveryStream", CREATE));
    EXPECT_OK(call(&r, a, "PutRecord", PUT));
    uint64_t id = find(&r, a, &v)->id;
    io_fault_add(r.w.faults, (IoFault){ .ops = IO_OP_CHANGE, .skip = skip, .power_off = true });
    bool said = call(&r, a, "DeleteDeliveryStream", NAMED).kind == ERR_NONE;
    bool gone = said && firehose_forget(r.w.firehose, v.hose).kind == ERR_NONE;
    bool was_cut = io_fault_hits(r.w.faults) > 0;
    hose_view_done(&v);
    EXPECT_OK(test_world_crash(&r.w, keep));
    bool there = find(&r, a, &v) != NULL;
    EXPECT(!there || !said); // it is completed by the start
    EXPECT(there || said || was_cut);
    EXPECT(!gone || !there);
    bool known = log_span(r.w.log, id, &span).kind == ERR_NONE;
    EXPECT(known == there);
    hose_view_done(&v);
    if (!there) {
        EXPECT_OK(call(&r, a, "CreateDeliveryStream", CREATE));
        EXPECT(find(&r, a, &v)->id != id);
        LogBatch batch;
        EXPECT_INT(0, records_of(&r, a, v.hose->id, &batch));
        hose_view_done(&v);
    }
    rig_close(&r);
    return was_cut;
}

TEST(a_deletion_is_whole_after_a_power_cut_at_any_moment)
{
    for (int keep = 0; keep <= 100; keep += 50)
        for (uint64_t skip = 0; cut_deletion(a, skip, keep); skip++)
            continue;
}

// ---- Records

TEST(records_lie_sealed_in_the_log_and_are_opened_for_deliveries)
{
    struct rig r;
    AUTO_VIEW(v);
    LogBatch batch;
    rig_open(&r);
    EXPECT_OK(call(&r, a, "CreateDeliveryStream", CREATE));
    EXPECT_OK(call(&r, a, "PutRecord", PUT));
    EXPECT_INT(1, records_of(&r, a, find(&r, a, &v)->id, &batch));
    EXPECT(batch.at[0].data.n == 5 && !str_eq(batch.at[0].data, S("hello")));
    EXPECT_OK(hose_crypt_unseal(hose_crypt_reader(r.w.firehose, v.hose, a), a, batch.at, 1));
    EXPECT_STR(S("hello"), batch.at[0].data);
    hose_view_done(&v);
    rig_close(&r);
}

// One write of the journal finds no space. It may be another than the put's own.
static const struct firehose_PutRecordBatch_out *put_on_full_disk(struct rig *r, struct arena *a)
{
    TestAnswer answer;
    io_fault_add(r->w.faults, (IoFault){ .ops = IO_OP_WRITE,
                                         .path_part = S("journal-"),
                                         .err = fail(ERR_FULL, "injected") });
    EXPECT_OK(test_call(&r->c, a, "PutRecordBatch",
                        "{\"DeliveryStreamName\":\"s\",\"Records\":[{\"Data\":\"YQ==\"}]}",
                        &answer));
    return answer.out;
}

TEST(a_full_disk_slows_down)
{
    struct rig r;
    const struct firehose_PutRecordBatch_out *out;
    rig_open(&r);
    EXPECT_OK(call(&r, a, "CreateDeliveryStream", CREATE_PLAIN));
    do {
        out = put_on_full_disk(&r, a);
    } while (out->failed_put_count == 0);
    EXPECT_STR(S("ServiceUnavailableException"), out->request_responses.at[0].error_code);
    EXPECT_STR(S("Slow down."), out->request_responses.at[0].error_message);
    rig_close(&r);
}

TEST(a_broken_disk_is_our_fault)
{
    struct rig r;
    TestAnswer answer;
    rig_open(&r);
    EXPECT_OK(call(&r, a, "CreateDeliveryStream", CREATE_PLAIN));
    io_fault_power_off(r.w.faults);
    EXPECT_ERR(ERR_IO, test_call(&r.c, a, "PutRecord", PUT, &answer)); // an InternalFailure
    rig_close(&r);
}

TEST(a_put_to_a_stream_that_is_being_deleted_is_refused)
{
    struct rig r;
    AUTO_VIEW(v);
    rig_open(&r);
    EXPECT_OK(call(&r, a, "CreateDeliveryStream", CREATE));
    find(&r, a, &v);
    EXPECT_OK(call(&r, a, "DeleteDeliveryStream", NAMED));
    EXPECT_STR(S("ResourceNotFoundException"), refused(&r, a, "PutRecord", PUT));
    EXPECT_STR(S("ResourceInUseException"), refused(&r, a, "CreateDeliveryStream", CREATE));
    EXPECT_STR(S("ResourceInUseException"), refused(&r, a, "UpdateDestination", UPDATE));
    EXPECT_OK(firehose_forget(r.w.firehose, v.hose));
    EXPECT_OK(firehose_forget(r.w.firehose, v.hose)); // nothing is left to do
    EXPECT_OK(call(&r, a, "CreateDeliveryStream", CREATE));
    hose_view_done(&v);
    rig_close(&r);
}

// ---- Threads

struct worker {
    struct test_world *w;
    pthread_t thread;
    int number;
};

static void *put_many(void *self)
{
    struct worker *me = self;
    struct test_caller c;
    TestAnswer answer;
    test_caller_open(me->w, &c);
    for (int i = 0; i < 200; i++) {
        AUTO(arena) a = arena_open();
        Err e = test_call(&c, a, "PutRecord", PUT, &answer);
        EXPECT(e.kind == ERR_NONE || e.kind == ERR_FAULT);
        EXPECT_OK(test_call(&c, a, "ListDeliveryStreams", "{}", &answer));
        e = test_call(&c, a, "DescribeDeliveryStream", NAMED, &answer);
        EXPECT(e.kind == ERR_NONE || e.kind == ERR_FAULT);
    }
    test_caller_close(&c);
    return NULL;
}

static void drop_metrics(struct metric_sink *s, const MetricTold *m)
{
    (void)s;
    EXPECT(m->values.count > 0);
}

// Makes, changes and deletes the stream over and over.
static void *change_many(void *self)
{
    struct worker *me = self;
    struct test_caller c;
    TestAnswer answer;
    struct metric_sink sink = { .take = drop_metrics };
    test_caller_open(me->w, &c);
    for (int i = 0; i < 40; i++) {
        AUTO(arena) a = arena_open();
        AUTO_VIEW(v);
        HoseName n = { S("000000000000"), S("us-east-1"), S("s") };
        EXPECT_OK(test_call(&c, a, "CreateDeliveryStream", CREATE, &answer));
        EXPECT_OK(test_call(&c, a, "UpdateDestination", UPDATE, &answer));
        EXPECT_OK(test_call(&c, a, "StopDeliveryStreamEncryption", NAMED, &answer));
        EXPECT_OK(test_call(&c, a, "StartDeliveryStreamEncryption", NAMED, &answer));
        firehose_tell_metrics(&me->w->firehose->metrics, &sink);
        EXPECT(firehose_look(me->w->firehose, a, &n, &v));
        EXPECT_OK(test_call(&c, a, "DeleteDeliveryStream", NAMED, &answer));
        EXPECT_OK(firehose_forget(me->w->firehose, v.hose));
    }
    test_caller_close(&c);
    return NULL;
}

TEST(puts_and_changes_of_many_threads_do_not_disturb_each_other)
{
    struct test_world w;
    struct worker workers[4];
    test_world_open(&w);
    for (int i = 0; i < 4; i++) {
        workers[i] = (struct worker){ .w = &w, .number = i };
        EXPECT(pthread_create(&workers[i].thread, NULL, i == 0 ? change_many : put_many,
                              &workers[i]) == 0);
    }
    for (int i = 0; i < 4; i++)
        EXPECT(pthread_join(workers[i].thread, NULL) == 0);
    test_world_close(&w);
}

// ---- Quota

// Streams in memory alone: what counts is how many there are.
static void add_streams(struct firehose *f, struct arena *a, size_t n, HoseKeyKind key)
{
    for (size_t i = 0; i < n; i++) {
        struct hose *h =
            hose_new(S("000000000000"), S("us-east-1"), str_fmt(a, "many-%04zu", i), 1000000 + i);
        h->state =
            hose_state_new(&(HoseFields){ .version = 1, .destination = S("{}"), .key_kind = key });
        firehose_insert(f, h);
    }
}

TEST(an_account_has_so_many_streams_in_a_region_when_limits_are_on)
{
    struct rig r;
    rig_open(&r);
    add_streams(r.w.firehose, a, HOSES_MAX, HOSE_KEY_NONE);
    r.w.firehose->env.limits = 1;
    TestAnswer answer;
    EXPECT_ERR(ERR_FAULT, test_call(&r.c, a, "CreateDeliveryStream", CREATE_PLAIN, &answer));
    EXPECT_STR(S("LimitExceededException"), answer.error);
    EXPECT(str_starts(answer.text, S("You have already consumed your firehose quota of 5000 hoses. "
                                     "Firehose names: [many-0000, many-0001, ")));
    r.w.firehose->env.limits = 0;
    EXPECT_OK(call(&r, a, "CreateDeliveryStream", CREATE_PLAIN));
    rig_close(&r);
}

#define ENCRYPT                                                                                  \
    "{\"DeliveryStreamName\":\"s\",\"DeliveryStreamEncryptionConfigurationInput\":{\"KeyType\":" \
    "\"CUSTOMER_MANAGED_CMK\",\"KeyARN\":\"arn:aws:kms:us-east-1:000000000000:key/k\"}}"

TEST(so_many_streams_have_keys_of_customers)
{
    struct rig r;
    TestAnswer answer;
    rig_open(&r);
    EXPECT_OK(call(&r, a, "CreateDeliveryStream", CREATE_PLAIN));
    r.w.firehose->env.limits = 1000; // of calls
    // There is no key service: it would be asked.
    EXPECT_ERR(ERR_NOT_FOUND, call(&r, a, "StartDeliveryStreamEncryption", ENCRYPT));
    add_streams(r.w.firehose, a, HOSES_WITH_KEYS_MAX, HOSE_KEY_CUSTOMER);
    EXPECT_ERR(ERR_FAULT, test_call(&r.c, a, "StartDeliveryStreamEncryption", ENCRYPT, &answer));
    EXPECT_STR(S("LimitExceededException"), answer.error);
    EXPECT_OK(call(&r, a, "StartDeliveryStreamEncryption", NAMED)); // with AWS's own
    r.w.firehose->env.limits = 0;
    EXPECT_ERR(ERR_NOT_FOUND, call(&r, a, "StartDeliveryStreamEncryption", ENCRYPT));
    rig_close(&r);
}
