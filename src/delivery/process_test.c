// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "codec/base64.h"
#include "codec/hash.h"
#include "codec/json.h"
#include "delivery/process_priv.h"
#include "hub/hub.h"
#include "os/io_mem.h"
#include "os/loop.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <zlib.h>

#define ARN S("arn:aws:lambda:us-east-1:000000000000:function:f")

// A function: what it is asked is kept, what it answers is made by `reply`.
struct world {
    struct io_mem *disk;
    struct hub hub;
    struct hub_invoke invoke;
    struct hub_source source;
    struct delivery_env env;
    DeliveryConfig config;
    DeliveryStep steps[8];
    Str (*reply)(struct world *w, struct arena *a, const JsonValue *event);
    HubInvokeFault fault[8]; // of the first calls
    size_t calls;
    Str request[8];
    size_t slept;
    bool stopping;
    struct arena *arena; // of what is kept of the calls
};

static Err answer(void *self, struct arena *a, const HubActor *as, Str arn, Str payload,
                  int64_t timeout_ns, HubInvokeAnswer *ret)
{
    struct world *w = self;
    JsonValue *event = NULL;
    EXPECT_STR(ARN, arn);
    EXPECT_STR(S("arn:role"), as->role_arn);
    EXPECT(timeout_ns == 300 * NS_PER_S && w->calls < COUNT_OF(w->request));
    EXPECT_OK(json_parse(a, str_dup(a, payload), &event));
    w->request[w->calls] = str_dup(w->arena != NULL ? w->arena : a, payload);
    *ret = (HubInvokeAnswer){ .fault = w->fault[w->calls++], .text = S("") };
    if (ret->fault == HUB_INVOKE_GOOD)
        ret->reply = w->reply(w, a, event);
    return OK;
}

static Str number(void *self, struct arena *a, Str arn, uint64_t shard, uint64_t position,
                  int64_t arrival_ms)
{
    (void)self;
    (void)arn;
    (void)arrival_ms;
    return str_fmt(a, "n%llu.%llu", (unsigned long long)shard, (unsigned long long)position);
}

static bool stopping(const struct delivery_env *env)
{
    return ((const struct world *)((const char *)env - offsetof(struct world, env)))->stopping;
}

static bool sleep_a_little(const struct delivery_env *env, int64_t ns)
{
    struct world *w = (struct world *)((uintptr_t)env - offsetof(struct world, env));
    EXPECT(ns >= NS_PER_S);
    w->slept++;
    return true;
}

static void world_open(struct world *w, size_t step_count)
{
    w->disk = io_mem_open(1);
    w->invoke = (struct hub_invoke){ .self = w, .call = answer };
    w->source = (struct hub_source){ .number = number };
    w->hub = (struct hub){ .invoke = &w->invoke, .kinesis = &w->source };
    w->env = (struct delivery_env){
        .io = io_mem_io(w->disk), .hub = &w->hub, .stopping = stopping, .sleep = sleep_a_little
    };
    w->config.direct_shard = 1;
    w->config.account = S("000000000000");
    w->config.region = S("us-east-1");
    w->config.arn = S("arn:aws:firehose:us-east-1:000000000000:deliverystream/d");
    w->config.steps = w->steps;
    w->config.step_count = step_count;
}

static DeliveryBatch batch_of(struct arena *a, const Str *data, size_t n)
{
    static const Str shard_ids[] = { S_INIT("shardId-000000000000") };
    static const uint64_t shards[] = { 77 };
    DeliveryBatch b = { .arena = a, .shard_ids = shard_ids, .shards = shards, .shard_count = 1 };
    for (size_t i = 0; i < n; i++) {
        DeliveryRecord r = { .data = data[i],
                             .raw = data[i],
                             .arrival_ms = 1000 + (int64_t)i,
                             .position = i,
                             .key = S("k") };
        batch_add(&b, &r);
    }
    return b;
}

static DeliveryBatch processed(struct world *w, struct arena *a, const Str *data, size_t n)
{
    AUTO(processing) p = NULL;
    Str text = { 0 };
    DeliveryBatch b = batch_of(a, data, n);
    w->arena = a;
    EXPECT_OK(processing_open(&w->env, &w->config, &p, &text));
    EXPECT_OK(processing_run(p, &b));
    size_t bytes = 0;
    for (size_t i = 0; i < b.n; i++)
        bytes += b.at[i].data.n;
    EXPECT_INT(bytes, b.bytes);
    return b;
}

static void expect_failed(const DeliveryRecord *r, const char *type, Str code, Str raw)
{
    EXPECT_STR(str_of(type), str_of(r->fault.type));
    EXPECT_STR(code, r->fault.code);
    EXPECT_STR(raw, r->raw);
    EXPECT(r->fault.message.n > 0 && r->fault.attempts > 0);
}

static Str gzip(struct arena *a, Str text)
{
    z_stream z = { 0 };
    char *out = arena_alloc(a, text.n + 1024, 1);
    EXPECT(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    z.next_in = (Bytef *)(uintptr_t)text.p;
    z.avail_in = (unsigned)text.n;
    z.next_out = (Bytef *)out;
    z.avail_out = (unsigned)text.n + 1024;
    EXPECT(deflate(&z, Z_FINISH) == Z_STREAM_END);
    Str packed = str_from(out, z.total_out);
    EXPECT(deflateEnd(&z) == Z_OK);
    return packed;
}

// ---- CloudWatch Logs

#define ENVELOPE                                                                         \
    "{\"messageType\":\"DATA_MESSAGE\",\"logGroup\":\"g\",\"logEvents\":[{\"id\":\"1\"," \
    "\"message\":\"one\"},{\"id\":\"2\",\"message\":\"\"},{\"message\":\"t\\\"wo\"}]}"

TEST(envelopes_are_unpacked_and_what_is_none_goes_as_it_came)
{
    struct world w = { .steps = { { .kind = STEP_DECOMPRESS } } };
    world_open(&w, 1);
    const Str data[] = { gzip(a, S(ENVELOPE)), S("plain"), gzip(a, S("not json")),
                         gzip(a, S("{\"other\":1}")) };
    DeliveryBatch b = processed(&w, a, data, COUNT_OF(data));
    EXPECT_INT(2, b.n);
    EXPECT_STR(S(ENVELOPE), b.at[0].data);
    EXPECT_STR(data[0], b.at[0].raw);
    EXPECT_STR(S("{\"other\":1}"), b.at[1].data);
    EXPECT_INT(2, b.failed_n);
    expect_failed(&b.failed[0], "decompression-failed", S("Decompression failed."), data[1]);
    expect_failed(&b.failed[1], "decompression-failed", S("Decompression failed."), data[2]);
    EXPECT_STR(data[2], b.failed[1].data);
    io_mem_close(w.disk);
}

TEST(messages_come_out_each_with_a_newline)
{
    struct world w = { .steps = { { .kind = STEP_CLOUDWATCH }, { .kind = STEP_DECOMPRESS } } };
    world_open(&w, 2);
    const Str data[] = { gzip(a, S(ENVELOPE)),
                         gzip(a, S("{\"messageType\":\"CONTROL_MESSAGE\",\"logEvents\":[]}")),
                         gzip(a, S("{\"other\":1}")) };
    DeliveryBatch b = processed(&w, a, data, COUNT_OF(data));
    EXPECT_INT(2, b.n);
    EXPECT_STR(S("one\n\nt\"wo\n"), b.at[0].data);
    EXPECT_STR(S(""), b.at[1].data);
    EXPECT_INT(1, b.failed_n);
    expect_failed(&b.failed[0], "decompression-failed", S("Decompression failed."), data[2]);
    io_mem_close(w.disk);
}

TEST(what_unpacks_to_too_much_fails)
{
    struct world w = { .steps = { { .kind = STEP_DECOMPRESS } } };
    world_open(&w, 1);
    size_t n = PROCESS_UNPACKED_BYTES_MAX + 1;
    char *many = memset(arena_alloc(a, n, 1), ' ', n);
    const Str data[] = { gzip(a, str_from(many, n)) };
    DeliveryBatch b = processed(&w, a, data, 1);
    EXPECT(b.n == 0 && b.failed_n == 1);
    io_mem_close(w.disk);
}

// ---- Aggregates of the Kinesis Producer Library

static Str sealed(struct arena *a, Str body)
{
    unsigned char digest[MD5_BYTES];
    md5(body.p, body.n, digest);
    return str_cat3(a, S("\xf3\x89\x9a\xc2"), body, str_from(digest, sizeof digest));
}

#define TWO_KEYS "\x0a\x01x\x0a\x02yy"
#define TWO_RECORDS "\x1a\x07\x08\x00\x1a\x03one\x1a\x07\x08\x01\x1a\x03two"

TEST(aggregates_of_a_stream_become_their_records)
{
    struct world w = { 0 };
    world_open(&w, 0);
    w.config.direct_shard = 0;
    const Str data[] = { S("plain"), sealed(a, S(TWO_KEYS TWO_RECORDS)),
                         sealed(a, S(TWO_RECORDS TWO_KEYS)) }; // in any order
    DeliveryBatch b = processed(&w, a, data, COUNT_OF(data));
    EXPECT_INT(5, b.n);
    static const char *const want[] = { "plain", "one", "two", "one", "two" };
    static const char *const keys[] = { "k", "x", "yy", "x", "yy" };
    for (size_t i = 0; i < 5; i++) {
        EXPECT_STR(str_of(want[i]), b.at[i].data);
        EXPECT_STR(str_of(want[i]), b.at[i].raw);
        EXPECT_STR(str_of(keys[i]), b.at[i].key);
        EXPECT_INT((i + 1) / 2, b.at[i].position);
        EXPECT_INT(i == 2 || i == 4, b.at[i].sub);
    }
    w.config.direct_shard = 1; // of a put there are none
    EXPECT_INT(1, processed(&w, a, &data[1], 1).n);
    io_mem_close(w.disk);
}

TEST(a_damaged_aggregate_is_a_record_like_any_other)
{
    Str good = sealed(a, S(TWO_KEYS TWO_RECORDS));
    KplRecord *records;
    size_t n;
    EXPECT(kpl_parse(a, good, &records, &n) && n == 2);
    for (size_t i = 0; i < good.n; i++) {
        char *bad = arena_alloc(a, good.n, 1);
        memcpy(bad, good.p, good.n);
        bad[i] ^= 1;
        EXPECT(!kpl_parse(a, str_from(bad, good.n), &records, &n));
        EXPECT(!kpl_parse(a, str_head(good, i), &records, &n));
    }
    static const Str bodies[] = {
        S_INIT(""),
        S_INIT(TWO_KEYS),
        S_INIT("\x1a\x07\x08\x00\x1a\x03one"),  // no key of that number
        S_INIT(TWO_KEYS "\x1a\x02\x08\x01"),    // no data
        S_INIT(TWO_KEYS "\x1a\x05\x1a\x03one"), // no key
        S_INIT(TWO_KEYS "\x18\x01"),
        S_INIT(TWO_KEYS "\x1a\x7f"),
        S_INIT("\x0f"),
        S_INIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
    };
    for (size_t i = 0; i < COUNT_OF(bodies); i++)
        EXPECT(!kpl_parse(a, sealed(a, bodies[i]), &records, &n));
    // Fields that are not known are skipped, whatever their kind.
    EXPECT(kpl_parse(a,
                     sealed(a, S("\x20\x01\x29"
                                 "12345678"
                                 "\x32\x01z\x3d"
                                 "1234" TWO_KEYS TWO_RECORDS)),
                     &records, &n));
}

// ---- Splitting

TEST(objects_that_follow_each_other_become_records)
{
    struct world w = { .steps = { { .kind = STEP_DEAGGREGATE } } };
    world_open(&w, 1);
    const Str data[] = { S("{\"a\":\"}\\\"{\"}{\"b\":[{}]}\n\n {\"c\":1}\n"),
                         S("{\"a\":1}"),
                         S("{\"a\":1} x"),
                         S("[1]"),
                         S("{\"a\":1"),
                         S("") };
    DeliveryBatch b = processed(&w, a, data, COUNT_OF(data));
    static const char *const want[] = { "{\"a\":\"}\\\"{\"}", "{\"b\":[{}]}",
                                        "{\"c\":1}",          "{\"a\":1}",
                                        "{\"a\":1} x",        "[1]",
                                        "{\"a\":1",           "" };
    EXPECT_INT(COUNT_OF(want), b.n);
    for (size_t i = 0; i < b.n; i++)
        EXPECT_STR(str_of(want[i]), b.at[i].data);
    EXPECT_INT(2, b.at[2].sub);
    EXPECT_INT(0, b.at[3].sub);
    EXPECT_STR(data[0], b.at[2].raw);
    io_mem_close(w.disk);
}

TEST(a_record_of_more_than_500_parts_stays_whole)
{
    for (int by_delimiter = 0; by_delimiter < 2; by_delimiter++) {
        struct world w = { .steps = { { .kind = STEP_DEAGGREGATE,
                                        .by_delimiter = by_delimiter,
                                        .delimiter = S("##") } } };
        AUTO_BUF(text);
        world_open(&w, 1);
        for (size_t i = 0; i < PROCESS_PARTS_MAX; i++)
            buf_add(&text, by_delimiter ? S("part##") : S("{}"));
        Str most = str_dup(a, buf_str(&text));
        buf_add(&text, by_delimiter ? S("x") : S("{}"));
        Str more = str_dup(a, buf_str(&text));
        EXPECT_INT(PROCESS_PARTS_MAX, processed(&w, a, &most, 1).n);
        DeliveryBatch b = processed(&w, a, &more, 1);
        EXPECT_INT(1, b.n);
        EXPECT_STR(more, b.at[0].data);
        io_mem_close(w.disk);
    }
}

TEST(delimited_parts_and_delimiters)
{
    struct world w = {
        .steps = { { .kind = STEP_DELIMIT, .delimiter = S("\\n") },
                   { .kind = STEP_DEAGGREGATE, .by_delimiter = true, .delimiter = S("##") } }
    };
    world_open(&w, 2);
    const Str data[] = { S("a##b####c##"), S("d") };
    DeliveryBatch b = processed(&w, a, data, COUNT_OF(data));
    static const char *const want[] = { "a\n", "b\n", "c\n", "d\n" };
    EXPECT_INT(COUNT_OF(want), b.n);
    for (size_t i = 0; i < b.n; i++)
        EXPECT_STR(str_of(want[i]), b.at[i].data);
    io_mem_close(w.disk);
}

TEST(what_must_be_json_and_is_not_fails)
{
    struct world w = { .steps = { { .kind = STEP_JSON } } };
    world_open(&w, 1);
    const Str data[] = { S("{}"), S("{\"a\":}"), S("[1] 2"), S("3") };
    DeliveryBatch b = processed(&w, a, data, COUNT_OF(data));
    EXPECT_INT(2, b.n);
    EXPECT_INT(2, b.failed_n);
    expect_failed(&b.failed[0], "processing-failed", S("Record.InvalidJson"), data[1]);
    io_mem_close(w.disk);
}

// ---- Partition keys

TEST(keys_come_from_a_query_and_what_has_none_fails)
{
    struct world w = { .steps = { { .kind = STEP_METADATA, .query = S("{c:.c,n:(.n//1)}") } } };
    world_open(&w, 1);
    const Str data[] = { S("{\"c\":\"x\",\"n\":12}"),
                         S("{\"c\":true}"),
                         S("{\"c\":null}"),
                         S("{\"c\":\"\"}"),
                         S("{\"c\":[1]}"),
                         S("x"),
                         S("{}{}"),
                         S("[]") };
    DeliveryBatch b = processed(&w, a, data, COUNT_OF(data));
    EXPECT_INT(2, b.n);
    EXPECT_INT(2, b.at[0].query_key_count);
    EXPECT_STR(S("c"), b.at[0].query_keys[0].name);
    EXPECT_STR(S("x"), b.at[0].query_keys[0].value);
    EXPECT_STR(S("12"), b.at[0].query_keys[1].value);
    EXPECT_STR(S("true"), b.at[1].query_keys[0].value);
    EXPECT_INT(6, b.failed_n);
    for (size_t i = 0; i < b.failed_n; i++)
        expect_failed(&b.failed[i], "metadata-extraction-failed",
                      S("DynamicPartitioning.MetadataExtractionFailed"), data[i + 2]);
    EXPECT_STR(S("partitionKeys values must not be null or empty"), b.failed[0].fault.message);
    EXPECT_STR(S("Non JSON record provided"), b.failed[3].fault.message);
    EXPECT_STR(S("Non JSON record provided"), b.failed[4].fault.message);
    io_mem_close(w.disk);
}

TEST(a_config_that_cannot_be_done_is_refused_with_a_reason)
{
    static const DeliveryStep bad[][2] = {
        { { .kind = STEP_METADATA, .query = S_INIT("{") } },
        { { .kind = STEP_DEAGGREGATE, .by_delimiter = true } },
        { { .kind = STEP_CLOUDWATCH } },
        { { .kind = STEP_LAMBDA }, { .kind = STEP_LAMBDA } },
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct world w = { .steps = { bad[i][0], bad[i][1] } };
        AUTO(processing) p = NULL;
        Str text = { 0 };
        world_open(&w, i == 3 ? 2 : 1);
        Err e = processing_open(&w.env, &w.config, &p, &text);
        if (e.kind == ERR_NONE)
            e = processing_check(p, a, &text);
        EXPECT_ERR(ERR_INVALID, e);
        EXPECT(text.n > 0);
        io_mem_close(w.disk);
    }
}

TEST(a_query_tells_how_many_keys_it_gives)
{
    static const struct {
        Str query;
        size_t keys;
    } cases[] = { { S_INIT(" {a: .a, \"b\": .x.y} "), 2 },
                  { S_INIT("{c}"), 1 },
                  { S_INIT("{a: (.t | strftime(\"%Y\"))}"), SIZE_MAX }, // of what record?
                  { S_INIT("if .a then {a: .a} else {} end"), SIZE_MAX },
                  { S_INIT(".keys"), SIZE_MAX } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct world w = { .steps = { { .kind = STEP_METADATA, .query = cases[i].query } } };
        AUTO(processing) p = NULL;
        Str text = { 0 };
        size_t keys;
        world_open(&w, 1);
        EXPECT_OK(processing_open(&w.env, &w.config, &p, &text));
        EXPECT_OK(processing_check(p, a, &text));
        EXPECT_OK(processing_query_keys(p, a, &keys));
        EXPECT(keys == cases[i].keys);
        io_mem_close(w.disk);
    }
}

// ---- Lambda

static struct world lambda_world(Str (*reply)(struct world *, struct arena *, const JsonValue *))
{
    return (struct world){ .reply = reply,
                           .steps = { { .kind = STEP_LAMBDA,
                                        .lambda_arn = ARN,
                                        .role_arn = S("arn:role"),
                                        .retries = 2 } } };
}

// Each record with its id, result and the rest of its members, as a format says.
static Str say(struct arena *a, const JsonValue *event, const char *const *formats, size_t n)
{
    AUTO_BUF(b);
    const JsonValue *records = json_find(event, S("records"));
    buf_add(&b, S("{\"records\":["));
    for (size_t i = 0; i < records->n; i++) {
        Str id = json_text(&records->items[i], S("recordId"));
        buf_add(&b, i > 0 ? S(",{\"recordId\":\"") : S("{\"recordId\":\""));
        buf_add(&b, id);
        buf_addf(&b, "\",%s}", formats[i % n]);
    }
    buf_add(&b, S("]}"));
    return str_dup(a, buf_str(&b));
}

static Str mixed(struct world *w, struct arena *a, const JsonValue *event)
{
    static const char *const formats[] = {
        "\"result\":\"Ok\",\"data\":\"dXA=\",\"metadata\":{\"partitionKeys\":{\"y\":\"2024\"}}",
        "\"result\":\"Dropped\"",
        "\"result\":\"ProcessingFailed\",\"data\":\"\"",
        "\"result\":\"Ok\"",
        "\"result\":\"Ok\",\"data\":\"dXA=\",\"metadata\":{\"partitionKeys\":{\"y\":\"\"}}",
    };
    (void)w;
    return say(a, event, formats, COUNT_OF(formats));
}

TEST(a_function_changes_drops_and_fails_records)
{
    struct world w = lambda_world(mixed);
    const Str data[] = { S("a"), S("b"), S("c"), S("d"), S("e") };
    world_open(&w, 1);
    DeliveryBatch b = processed(&w, a, data, COUNT_OF(data));
    EXPECT_INT(1, b.n);
    EXPECT_STR(S("up"), b.at[0].data);
    EXPECT_STR(S("a"), b.at[0].raw);
    EXPECT_STR(S("y"), b.at[0].lambda_keys[0].name);
    EXPECT_STR(S("2024"), b.at[0].lambda_keys[0].value);
    EXPECT_INT(3, b.failed_n);
    expect_failed(&b.failed[0], "processing-failed", S("Lambda.ProcessingFailedStatus"), S("c"));
    expect_failed(&b.failed[1], "processing-failed", S("Lambda.InvalidReturnFormat"), S("d"));
    expect_failed(&b.failed[2], "processing-failed",
                  S("DynamicPartitioning.MetadataExtractionFailed"), S("e"));
    EXPECT_INT(1, w.calls);
    io_mem_close(w.disk);
}

static Str echo(struct world *w, struct arena *a, const JsonValue *event)
{
    static const char *const formats[] = { "\"result\":\"Ok\",\"data\":\"\"" };
    (void)w;
    return say(a, event, formats, 1);
}

TEST(what_a_function_is_told)
{
    struct world w = lambda_world(echo);
    const Str data[] = { S("hi") };
    JsonValue *event = NULL;
    world_open(&w, 1);
    w.config.direct_shard = 0;
    w.config.source_arn = S("arn:stream");
    processed(&w, a, data, 1);
    EXPECT_OK(json_parse(a, w.request[0], &event));
    EXPECT_INT(36, json_text(event, S("invocationId")).n);
    EXPECT_STR(w.config.arn, json_text(event, S("deliveryStreamArn")));
    EXPECT_STR(S("arn:stream"), json_text(event, S("sourceKinesisStreamArn")));
    EXPECT_STR(S("us-east-1"), json_text(event, S("region")));
    const JsonValue *record = &json_find(event, S("records"))->items[0];
    EXPECT(json_text(record, S("recordId")).n > 0);
    EXPECT_INT(1000, json_find(record, S("approximateArrivalTimestamp"))->integer);
    EXPECT_STR(S("aGk="), json_text(record, S("data")));
    const JsonValue *stream = json_find(record, S("kinesisRecordMetadata"));
    EXPECT_STR(S("n77.0"), json_text(stream, S("sequenceNumber")));
    EXPECT_STR(S("0"), json_text(stream, S("subsequenceNumber")));
    EXPECT_STR(S("k"), json_text(stream, S("partitionKey")));
    EXPECT_STR(S("shardId-000000000000"), json_text(stream, S("shardId")));
    EXPECT_INT(1000, json_find(stream, S("approximateArrivalTimestamp"))->integer);
    io_mem_close(w.disk);
}

TEST(calls_hold_as_much_as_the_buffer_says)
{
    struct world w = lambda_world(echo);
    const Str data[] = { S("four"), S("four"), S("four"), S("eleven char"), S("x") };
    world_open(&w, 1);
    w.steps[0].size_bytes = 8;
    DeliveryBatch b = processed(&w, a, data, COUNT_OF(data));
    EXPECT_INT(5, b.n);
    EXPECT_INT(4, w.calls); // 4+4, 4, 11, 1
    io_mem_close(w.disk);
}

// Three calls meet in the function before any of them is answered; the last one answers first.
struct meeting {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t there, most, answered;
    bool denied;
};
static struct meeting meeting = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, 0 };

static Err meet(void *self, struct arena *a, const HubActor *as, Str arn, Str payload,
                int64_t timeout_ns, HubInvokeAnswer *ret)
{
    (void)as;
    (void)arn;
    (void)timeout_ns;
    struct meeting *m = &meeting;
    JsonValue *event = NULL;
    EXPECT_OK(json_parse(a, str_dup(a, payload), &event));
    Str data = json_text(&json_find(event, S("records"))->items[0], S("data"));
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    pthread_mutex_lock(&m->lock);
    size_t mine = m->there++;
    m->most = MAX(m->most, m->there - m->answered);
    pthread_cond_broadcast(&m->changed);
    while (m->there < 3 && pthread_cond_timedwait(&m->changed, &m->lock, &until) == 0)
        continue;
    while (mine < 3 && m->answered < 2 - mine &&
           pthread_cond_timedwait(&m->changed, &m->lock, &until) == 0)
        continue;
    m->answered++;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    *ret = (HubInvokeAnswer){ .fault = HUB_INVOKE_GOOD, .text = S("") };
    if (m->denied && str_eq(data, S("Y2Nj")))
        return fail(ERR_MEMORY, "a call without memory");
    char text[64];
    snprintf(text, sizeof text, "\"result\":\"Ok\",\"data\":\"%.*s\"", FMT(data));
    const char *const formats[] = { text };
    ret->reply = say(a, event, formats, 1);
    (void)self;
    return OK;
}

TEST(several_calls_are_under_way_and_records_keep_their_order)
{
    const Str data[] = { S("aaa"), S("bbb"), S("ccc"), S("ddd"), S("eee"), S("fff") };
    for (int denied = 0; denied < 2; denied++) {
        struct world w = lambda_world(echo);
        AUTO(processing) p = NULL;
        Str text;
        struct delivery_meters counted = { 0 };
        world_open(&w, 1);
        w.steps[0].size_bytes = 3;
        w.invoke.call = meet;
        meeting.there = meeting.most = meeting.answered = 0;
        meeting.denied = denied != 0;
        EXPECT_OK(pool_open(4, 100, "test", &w.env.network));
        DeliveryBatch b = batch_of(a, data, COUNT_OF(data));
        EXPECT_OK(processing_open(&w.env, &w.config, &p, &text));
        processing_count(p, &counted);
        Err e = processing_run(p, &b);
        pool_close(w.env.network);
        EXPECT(meeting.most >= 3 && meeting.most <= 5);
        if (denied) {
            EXPECT_ERR(ERR_MEMORY, e);
        } else {
            EXPECT_OK(e);
            EXPECT_INT(COUNT_OF(data), b.n);
            for (size_t i = 0; i < b.n; i++)
                EXPECT_STR(data[i], b.at[i].data);
            EXPECT_INT(6, meter_take(&counted.process_ok).sum);
            EXPECT_INT(6, meter_take(&counted.processed_records).sum);
            EXPECT_INT(18, meter_take(&counted.processed_bytes).sum);
        }
        io_mem_close(w.disk);
    }
}

TEST(a_call_is_made_again_with_the_same_records_and_then_given_up)
{
    struct world w = lambda_world(echo);
    const Str data[] = { S("a") };
    JsonValue *first = NULL, *second = NULL;
    world_open(&w, 1);
    w.fault[0] = HUB_INVOKE_UNREACHABLE;
    w.fault[1] = HUB_INVOKE_THROTTLED;
    EXPECT_INT(1, processed(&w, a, data, 1).n);
    EXPECT(w.calls == 3 && w.slept == 2);
    EXPECT_OK(json_parse(a, w.request[0], &first));
    EXPECT_OK(json_parse(a, w.request[1], &second));
    EXPECT(!str_eq(json_text(first, S("invocationId")), json_text(second, S("invocationId"))));
    EXPECT_STR(json_text(&json_find(first, S("records"))->items[0], S("recordId")),
               json_text(&json_find(second, S("records"))->items[0], S("recordId")));
    w.calls = 0;
    for (size_t i = 0; i < 3; i++)
        w.fault[i] = HUB_INVOKE_FAILED;
    DeliveryBatch b = processed(&w, a, data, 1);
    EXPECT(b.n == 0 && b.failed_n == 1 && w.calls == 3);
    expect_failed(&b.failed[0], "processing-failed", S("Lambda.FunctionError"), S("a"));
    EXPECT_INT(3, b.failed[0].fault.attempts);
    io_mem_close(w.disk);
}

TEST(failures_of_calls_have_their_codes)
{
    static const struct {
        HubInvokeFault fault;
        const char *code;
        size_t calls;
    } cases[] = {
        { HUB_INVOKE_NOT_FOUND, "Lambda.ResourceNotFoundException", 1 },
        { HUB_INVOKE_DENIED, "Lambda.InvokeAccessDenied", 3 },
        { HUB_INVOKE_NO_ROLE, "Lambda.AssumeRoleAccessDenied", 3 },
        { HUB_INVOKE_THROTTLED, "Lambda.InvokeLimitExceeded", 3 },
        { HUB_INVOKE_UNREACHABLE, "Lambda.InternalServerError", 3 },
        { HUB_INVOKE_TOO_LARGE, "Lambda.FunctionError", 1 },
    };
    const Str data[] = { S("a"), S("b") };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct world w = lambda_world(echo);
        world_open(&w, 1);
        for (size_t k = 0; k < 3; k++)
            w.fault[k] = cases[i].fault;
        DeliveryBatch b = processed(&w, a, data, COUNT_OF(data));
        EXPECT_INT(2, b.failed_n);
        expect_failed(&b.failed[1], "processing-failed", str_of(cases[i].code), S("b"));
        EXPECT_INT(cases[i].calls, w.calls);
        io_mem_close(w.disk);
    }
}

TEST(a_server_that_stops_does_not_fail_records)
{
    struct world w = lambda_world(echo);
    AUTO(processing) p = NULL;
    const Str data[] = { S("a") };
    Str text = { 0 };
    world_open(&w, 1);
    w.stopping = true;
    w.fault[0] = HUB_INVOKE_UNREACHABLE;
    DeliveryBatch b = batch_of(a, data, 1);
    EXPECT_OK(processing_open(&w.env, &w.config, &p, &text));
    EXPECT_ERR(ERR_CLOSED, processing_run(p, &b));
    EXPECT_INT(0, b.failed_n);
    io_mem_close(w.disk);
}

TEST(replies_that_break_the_rules)
{
    static const Str ids[] = { S_INIT("1"), S_INIT("2") };
    static const struct {
        const char *reply, *first, *second; // codes; "": it is fine
    } cases[] = {
        { "nonsense", "Lambda.JsonProcessingException", "Lambda.JsonProcessingException" },
        { "{}", "Lambda.MissingRecordId", "Lambda.MissingRecordId" },
        { "{\"records\":[]}", "Lambda.MissingRecordId", "Lambda.MissingRecordId" },
        { "{\"records\":[{\"recordId\":\"2\",\"result\":\"Dropped\"}]}", "Lambda.MissingRecordId",
          "" },
        { "{\"records\":[{\"recordId\":\"2\",\"result\":\"Dropped\"},{\"recordId\":\"3\"},"
          "{\"recordId\":\"1\",\"result\":\"Dropped\"}]}",
          "", "" },
        { "{\"records\":[{\"recordId\":\"1\",\"result\":\"Dropped\"},{\"recordId\":\"1\","
          "\"result\":"
          "\"Ok\",\"data\":\"\"},{\"recordId\":\"2\",\"result\":\"Dropped\"}]}",
          "Lambda.DuplicatedRecordId", "" },
        { "{\"records\":[{\"recordId\":\"1\",\"result\":\"Dropped\"},{\"recordId\":\"2\","
          "\"result\":"
          "\"ok\"}]}",
          "Lambda.FunctionError", "Lambda.FunctionError" },
        { "{\"records\":[{\"recordId\":\"1\",\"result\":\"Dropped\"},{\"recordId\":\"2\","
          "\"result\":"
          "\"Ok\",\"data\":\"?\"}]}",
          "Lambda.FunctionError", "Lambda.FunctionError" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        LambdaVerdict *v = lambda_verdicts(a, str_of(cases[i].reply), ids, 2);
        const char *want[] = { cases[i].first, cases[i].second };
        for (size_t k = 0; k < 2; k++) {
            EXPECT_INT(want[k][0] != 0, v[k].result == LAMBDA_FAILED);
            if (want[k][0] != 0)
                EXPECT_STR(str_of(want[k]), v[k].code);
        }
    }
}
