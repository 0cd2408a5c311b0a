// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "codec/json.h"
#include "delivery/test_world.h"

#include <stdatomic.h>

static struct test_world world;
static const DeliveryStep query = { .kind = STEP_METADATA, .query = S_INIT("{k:.k}") };

static DeliveryConfig partitioned(struct test_world *w)
{
    DeliveryConfig c = world_config(w, 7);
    c.partitioned = true;
    c.steps = &query;
    c.step_count = 1;
    c.s3.prefix = S("k=!{partitionKeyFromQuery:k}/!{timestamp:yyyy}/");
    c.s3.error_prefix = S("errors/!{firehose:error-output-type}/");
    c.retry_ns = 300 * NS_PER_S;
    return c;
}

static struct delivery *begin(struct test_world *w)
{
    world_open(w);
    DeliveryConfig c = partitioned(w);
    return world_add(w, &c);
}

static void end(struct test_world *w, struct delivery *v)
{
    delivery_remove(v);
    world_close(w);
}

TEST(records_go_to_the_objects_of_their_keys)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w);
    world_put(w, v,
              (Str[]){ S("{\"k\":\"a\",\"n\":1}\n"), S("{\"k\":\"b\",\"n\":2}\n"),
                       S("{\"k\":\"a\",\"n\":3}\n"), S("{\"n\":4}\n"), S("nothing\n") },
              5);
    world_advance(w, 30000); // the first stage
    EXPECT_INT(0, w->object_n);
    DeliveryState state;
    delivery_state(v, a, &state);
    EXPECT_INT(5, state.backlog_records);
    EXPECT_INT(WORLD_MS, state.oldest_ms);
    world_advance(w, 60000);
    EXPECT_STR(S("{\"k\":\"a\",\"n\":1}\n{\"k\":\"a\",\"n\":3}\n"),
               world_content(w, a, S("k=a/2018/clicks-1-")));
    EXPECT_STR(S("{\"k\":\"b\",\"n\":2}\n"), world_content(w, a, S("k=b/2018/clicks-1-")));
    EXPECT_INT(3, w->object_n);
    EXPECT(world_content(w, a, S("errors/metadata-extraction-failed/")).n > 0);
    delivery_state(v, a, &state);
    EXPECT_INT(0, state.backlog_records);
    EXPECT_INT(0, state.oldest_ms);
    EXPECT_INT(0, state.due_ms);
    end(w, v);
}

TEST(a_full_partition_does_not_wait_for_the_others)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w);
    char *wide = arena_alloc(a, 600 << 10, 1);
    memset(wide, 'x', 600 << 10);
    Str large = str_fmt(a, "{\"k\":\"a\",\"t\":\"%.*s\"}", 600 << 10, wide);
    world_put_one(w, v, S("{\"k\":\"b\"}"));
    world_put_one(w, v, large);
    world_put_one(w, v, large);
    world_run(w);
    EXPECT_INT(1, w->object_n);
    EXPECT_INT(1, world_count(w, S("k=a/")));
    world_advance(w, 60000);
    EXPECT_INT(1, world_count(w, S("k=b/")));
    EXPECT_INT(2, w->object_n);
    end(w, v);
}

// What was delivered before the crash may come again, what was not must come.
TEST(a_crash_with_objects_under_way_loses_nothing)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w);
    world_put_one(w, v, S("{\"k\":\"a\"}"));
    world_advance(w, 30000);
    world_put_one(w, v, S("{\"k\":\"b\"}"));
    world_advance(w, 30000);
    EXPECT_INT(0, w->object_n);
    delivery_remove(v);
    world_restart(w);
    DeliveryConfig c = partitioned(w);
    v = world_add(w, &c);
    world_advance(w, 30000);
    world_advance(w, 60000);
    EXPECT_STR(S("{\"k\":\"a\"}"), world_content(w, a, S("k=a/")));
    EXPECT_STR(S("{\"k\":\"b\"}"), world_content(w, a, S("k=b/")));
    delivery_remove(v);
    world_restart(w);
    c = partitioned(w);
    v = world_add(w, &c);
    world_advance(w, 100000);
    EXPECT_INT(2, w->object_n);
    end(w, v);
}

TEST(a_failure_reads_what_is_under_way_again)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w);
    world_put_one(w, v, S("{\"k\":\"a\"}"));
    world_advance(w, 30000);
    w->fail_finish = 1;
    world_put_one(w, v, S("{\"k\":\"b\"}"));
    world_advance(w, 60000);
    world_advance(w, 100000);
    EXPECT_STR(S("{\"k\":\"a\"}"), world_content(w, a, S("k=a/")));
    EXPECT_STR(S("{\"k\":\"b\"}"), world_content(w, a, S("k=b/")));
    end(w, v);
}

TEST(keys_beyond_the_limit_go_to_the_errors)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w);
    Str *at = arena_new(a, Str, DELIVERY_PARTITIONS_MAX + 3);
    for (size_t i = 0; i < DELIVERY_PARTITIONS_MAX + 3; i++)
        at[i] = str_fmt(a, "{\"k\":%zu}", i);
    world_put(w, v, at, DELIVERY_PARTITIONS_MAX + 3);
    world_advance(w, 30000);
    EXPECT_INT(1, meter_take(&v->meters.partitions_exceeded).max);
    world_advance(w, 60000);
    EXPECT_INT(DELIVERY_PARTITIONS_MAX + 1, w->object_n);
    Str errors = world_content(w, a, S("errors/activePartitionExceeded/"));
    EXPECT(str_search(errors, S("DynamicPartitioning.ActivePartitionsLimitExceeded")) < errors.n);
    world_put_one(w, v, S("{\"k\":\"later\"}")); // the others have ended
    world_advance(w, 90000);
    EXPECT_INT(1, world_count(w, S("k=later/")));
    end(w, v);
}

// "a\0" and "b" are not "a" and "\0b", though they are the same bytes one behind the other.
TEST(partitions_are_told_apart_whatever_bytes_their_keys_have)
{
    static const DeliveryStep two_keys = { .kind = STEP_METADATA, .query = S_INIT("{k:.k,m:.m}") };
    struct test_world *w = &world;
    world_open(w);
    DeliveryConfig c = partitioned(w);
    c.steps = &two_keys;
    c.s3.prefix = S("!{partitionKeyFromQuery:k}/!{partitionKeyFromQuery:m}/");
    struct delivery *v = world_add(w, &c);
    world_put(w, v,
              (Str[]){ S("{\"k\":\"a\\u0000\",\"m\":\"b\"}"), S("{\"k\":\"a\",\"m\":\"\\u0000b\"}"),
                       S("{\"k\":\"1:\",\"m\":\"2\"}"), S("{\"k\":\"1\",\"m\":\":2\"}") },
              4);
    world_advance(w, 30000);
    world_advance(w, 60000);
    EXPECT_INT(4, w->object_n);
    end(w, v);
}

TEST(a_key_of_which_no_name_can_be_made_goes_to_the_errors)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w);
    char *wide = arena_alloc(a, 600, 1);
    memset(wide, 'y', 600);
    world_put_one(w, v, str_fmt(a, "{\"k\":\"%.*s\"}", 600, wide));
    world_put_one(w, v, S("{\"k\":\"a\"}"));
    world_advance(w, 30000);
    world_advance(w, 60000);
    EXPECT_INT(1, world_count(w, S("k=a/")));
    EXPECT_INT(1, world_count(w, S("errors/metadata-extraction-failed/")));
    end(w, v);
}

TEST(a_flush_delivers_all_partitions_and_a_new_config_begins_with_new_objects)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w);
    world_put_one(w, v, S("{\"k\":\"a\"}"));
    world_advance(w, 30000);
    delivery_flush(v);
    world_run(w);
    EXPECT_INT(1, world_count(w, S("k=a/2018/clicks-1-")));
    world_put_one(w, v, S("{\"k\":\"b\"}"));
    world_advance(w, 30000);
    EXPECT_INT(1, w->object_n);
    DeliveryConfig c = partitioned(w);
    c.version = 2;
    delivery_change(v, &c);
    world_run(w);
    EXPECT_INT(1, world_count(w, S("k=b/2018/clicks-1-")));
    world_put_one(w, v, S("{\"k\":\"c\"}"));
    world_advance(w, 100000);
    EXPECT_INT(1, world_count(w, S("k=c/2018/clicks-2-")));
    end(w, v);
}

TEST(a_partition_that_s3_refuses_holds_nobody_up_and_goes_to_the_errors_in_the_end)
{
    struct test_world *w = &world;
    world_open(w);
    DeliveryConfig c = partitioned(w);
    struct delivery *v = world_add(w, &c);
    w->denied = S("k=a/");
    world_put(w, v, (Str[]){ S("{\"k\":\"a\"}"), S("{\"k\":\"b\"}"), S("nothing") }, 3);
    world_advance(w, 30000);
    world_advance(w, 60000); // due, and refused
    for (int i = 0; i < 9; i++) {
        world_put_one(w, v, str_fmt(a, "{\"k\":\"b\",\"n\":%d}", i));
        world_advance(w, 30000);
    }
    EXPECT_INT(0, world_count(w, S("errors/s3-delivery-failed/")));
    for (int i = 0; i < 10; i++)
        world_advance(w, 120000);
    Str errors = world_content(w, a, S("errors/s3-delivery-failed/")),
        b = world_content(w, a, S("k=b/"));
    EXPECT_INT(0, world_count(w, S("k=a/")));
    EXPECT(str_search(errors, S("\"errorCode\":\"S3.AccessDenied\"")) < errors.n);
    EXPECT_INT(1, world_count(w, S("errors/metadata-extraction-failed/")));
    EXPECT_STR(S("{\"k\":\"b\"}"), str_head(b, 9)); // each once, whatever was tried
    EXPECT_INT(9 + 9 * S("{\"k\":\"b\",\"n\":0}").n, b.n);
    w->denied = (Str){ 0 };
    world_put_one(w, v, S("{\"k\":\"a\",\"again\":1}"));
    for (int i = 0; i < 3; i++)
        world_advance(w, 60000);
    EXPECT_INT(1, world_count(w, S("k=a/"))); // what comes later is tried again
    end(w, v);
}

// ---- A function before the object

static atomic_size_t calls; // several are under way at once, on threads of the pool
static Err echo(void *self, struct arena *a, const HubActor *as, Str arn, Str payload,
                int64_t timeout_ns, HubInvokeAnswer *ret)
{
    (void)self;
    (void)as;
    (void)arn;
    (void)timeout_ns;
    AUTO_BUF(b);
    JsonValue *event = NULL;
    EXPECT_OK(json_parse(a, str_dup(a, payload), &event));
    const JsonValue *records = json_find(event, S("records"));
    for (size_t i = 0; i < records->n; i++)
        buf_addf(&b, "%s{\"recordId\":\"%.*s\",\"result\":\"Ok\",\"data\":\"%.*s\"}",
                 i > 0 ? "," : "{\"records\":[", FMT(json_text(&records->items[i], S("recordId"))),
                 FMT(json_text(&records->items[i], S("data"))));
    buf_add(&b, S("]}"));
    atomic_fetch_add(&calls, 1);
    *ret = (HubInvokeAnswer){ .reply = str_dup(a, buf_str(&b)), .text = S("") };
    return OK;
}

TEST(a_function_has_a_buffer_of_its_own_before_the_object)
{
    struct test_world *w = &world;
    struct hub_invoke invoke = { .call = echo };
    const DeliveryStep lambda = {
        .kind = STEP_LAMBDA, .lambda_arn = S("f"), .size_bytes = 8, .interval_ns = 20 * NS_PER_S
    };
    atomic_store(&calls, 0);
    world_open(w);
    w->hub.invoke = &invoke;
    DeliveryConfig c = world_config(w, 7);
    c.steps = &lambda;
    c.step_count = 1;
    struct delivery *v = world_add(w, &c);
    world_put_one(w, v, S("one\n"));
    world_advance(w, 19000);
    EXPECT_INT(0, atomic_load(&calls));
    world_advance(w, 1000);
    EXPECT(atomic_load(&calls) == 1 && w->object_n == 0); // by its interval
    world_put(w, v, (Str[]){ S("two\n"), S("six\n"), S("ten\n") }, 3);
    world_run(w);
    EXPECT_INT(3, atomic_load(&calls)); // by its size, in as many calls as it takes
    EXPECT_INT(0, w->object_n);
    world_advance(w, 59000);
    EXPECT_INT(0, w->object_n);
    world_advance(w, 1000); // the object's interval began with what came of the function
    EXPECT_STR(S("one\ntwo\nsix\nten\n"), world_content(w, a, S("")));
    EXPECT_INT(1, w->object_n);
    EXPECT_INT(4, meter_take(&v->meters.processed_records).sum);
    end(w, v);
}
