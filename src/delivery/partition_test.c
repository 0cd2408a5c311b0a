// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "codec/json.h"
#include "delivery/test_world.h"

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
    EXPECT_INT(3, meter_take(&v->meters.partitions_exceeded).count);
    world_advance(w, 60000);
    EXPECT_INT(DELIVERY_PARTITIONS_MAX + 1, w->object_n);
    Str errors = world_content(w, a, S("errors/partition-count-exceeded/"));
    EXPECT(str_search(errors, S("DynamicPartitioning.PartitionCountExceeded")) < errors.n);
    world_put_one(w, v, S("{\"k\":\"later\"}")); // the others have ended
    world_advance(w, 90000);
    EXPECT_INT(1, world_count(w, S("k=later/")));
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
