// SPDX-License-Identifier: Apache-2.0
// Deliveries of streams: all shards, parents before children, positions over restarts.
#include "base/test.h"
#include "delivery/test_world.h"

static struct test_world world;

static DeliveryConfig stream_config(struct test_world *w, uint64_t id)
{
    DeliveryConfig c = world_config(w, id);
    c.direct_shard = 0;
    c.source_arn = S("arn:aws:kinesis:us-east-1:000000000000:stream/clicks");
    c.start_ms = WORLD_MS;
    return c;
}

TEST(all_shards_of_a_stream_are_delivered)
{
    struct test_world *w = &world;
    world_open(w);
    world_shard(w, 11, 0, 0);
    world_shard(w, 12, 0, 0);
    DeliveryConfig c = stream_config(w, 7);
    struct delivery *v = world_add(w, &c);
    world_run(w);
    world_put_shard(w, 11, S("one\n"));
    world_put_shard(w, 12, S("two\n"));
    world_advance(w, 1000); // what has come is counted
    DeliveryState state;
    delivery_state(v, a, &state);
    EXPECT_INT(2, state.backlog_records);
    EXPECT_INT(8, state.backlog_bytes);
    world_put_shard(w, 11, S("three\n"));
    world_advance(w, 60000);
    EXPECT_INT(1, w->object_n);
    Str got = world_content(w, a, S(""));
    EXPECT_INT(14, got.n);
    EXPECT(str_search(got, S("one\nthree\n")) < got.n && str_search(got, S("two\n")) < got.n);
    delivery_remove(v);
    world_close(w);
}

TEST(a_stream_begins_when_the_delivery_was_made)
{
    struct test_world *w = &world;
    world_open(w);
    world_shard(w, 11, 0, 0);
    world_put_shard(w, 11, S("before\n"));
    w->now_ms += 1000;
    world_advance(w, 0);
    DeliveryConfig c = stream_config(w, 7);
    c.start_ms = w->now_ms;
    struct delivery *v = world_add(w, &c);
    world_put_shard(w, 11, S("after\n")); // before it was looked at for the first time
    world_advance(w, 60000);
    EXPECT_STR(S("after\n"), world_content(w, a, S("")));
    delivery_remove(v);
    world_close(w);
}

TEST(children_come_after_their_parents)
{
    struct test_world *w = &world;
    world_open(w);
    world_shard(w, 13, 11, 12); // listed first, to be hard
    world_shard(w, 11, 0, 0);
    world_shard(w, 12, 0, 0);
    world_shard(w, 14, 13, 0);
    DeliveryConfig c = stream_config(w, 7);
    struct delivery *v = world_add(w, &c);
    world_put_shard(w, 14, S("5"));
    world_put_shard(w, 13, S("4"));
    world_put_shard(w, 11, S("1"));
    world_put_shard(w, 12, S("2"));
    world_advance(w, 60000);
    Str got = world_content(w, a, S(""));
    EXPECT_INT(2, got.n); // the parents have not ended
    world_end_shard(w, 11);
    world_advance(w, 60000);
    EXPECT_INT(2, world_content(w, a, S("")).n);
    world_put_shard(w, 12, S("3"));
    world_end_shard(w, 12);
    world_end_shard(w, 13);
    world_advance(w, 1000);
    world_advance(w, 60000);
    got = world_content(w, a, S(""));
    EXPECT_STR(S("345"), str_skip(got, 2));
    delivery_remove(v);
    world_close(w);
}

// Nothing waits in any shard that may be read when the parent ends; with and without a start in
// between.
TEST(children_of_a_parent_that_was_delivered_before_it_ended_are_not_forgotten)
{
    struct test_world *w = &world;
    for (int restarts = 0; restarts < 2; restarts++) {
        world_open(w);
        world_shard(w, 11, 0, 0);
        DeliveryConfig c = stream_config(w, 7);
        struct delivery *v = world_add(w, &c);
        world_put_shard(w, 11, S("1"));
        world_advance(w, 60000);
        EXPECT_STR(S("1"), world_content(w, a, S("")));
        if (restarts > 0) {
            delivery_remove(v);
            world_restart(w);
        }
        world_shard(w, 12, 11, 0);
        world_shard(w, 13, 12, 0);
        world_put_shard(w, 13, S("3"));
        world_put_shard(w, 12, S("2"));
        world_end_shard(w, 11);
        world_end_shard(w, 12);
        if (restarts > 0) {
            c = stream_config(w, 7);
            v = world_add(w, &c);
            world_run(w);
        }
        world_advance(w, 60000);
        world_advance(w, 60000);
        EXPECT_STR(S("123"), world_content(w, a, S("")));
        delivery_remove(v);
        world_close(w);
    }
}

TEST(positions_of_all_shards_survive_and_gone_ones_are_forgotten)
{
    struct test_world *w = &world;
    world_open(w);
    world_shard(w, 11, 0, 0);
    world_shard(w, 12, 0, 0);
    DeliveryConfig c = stream_config(w, 7);
    struct delivery *v = world_add(w, &c);
    world_put_shard(w, 11, S("one\n"));
    world_put_shard(w, 12, S("two\n"));
    world_advance(w, 1000);
    world_advance(w, 60000);
    EXPECT_INT(8, world_content(w, a, S("")).n);
    world_put_shard(w, 12, S("three\n"));
    delivery_remove(v);
    world_restart(w);
    w->shards[0] = w->shards[--w->shard_n]; // the first is over
    c = stream_config(w, 7);
    v = world_add(w, &c);
    world_run(w);
    world_advance(w, 60000);
    EXPECT_STR(S("three\n"), str_skip(world_content(w, a, S("")), 8));
    delivery_remove(v);
    world_restart(w);
    c = stream_config(w, 7);
    v = world_add(w, &c);
    world_advance(w, 60000);
    EXPECT_INT(14, world_content(w, a, S("")).n);
    delivery_remove(v);
    world_close(w);
}

TEST(a_stream_that_is_missing_is_asked_for_again)
{
    struct test_world *w = &world;
    world_open(w);
    w->no_stream = true;
    DeliveryConfig c = stream_config(w, 7);
    struct delivery *v = world_add(w, &c);
    world_run(w);
    DeliveryState state;
    delivery_state(v, a, &state);
    EXPECT_STR(S("Kinesis.ResourceNotFoundException"), state.last_code);
    world_shard(w, 11, 0, 0);
    world_put_shard(w, 11, S("one\n"));
    w->no_stream = false;
    world_advance(w, 61000);
    world_advance(w, 61000);
    EXPECT_STR(S("one\n"), world_content(w, a, S("")));
    delivery_remove(v);
    world_close(w);
}

// Nothing is asked while nothing happens.
TEST(a_quiet_stream_costs_nothing)
{
    struct test_world *w = &world;
    world_open(w);
    world_shard(w, 11, 0, 0);
    DeliveryConfig c = stream_config(w, 7);
    struct delivery *v = world_add(w, &c);
    world_run(w);
    size_t looks = atomic_load(&w->looks), reads = atomic_load(&w->reads);
    for (int i = 0; i < 100; i++)
        world_advance(w, 10000);
    EXPECT_INT(looks, atomic_load(&w->looks));
    EXPECT_INT(reads, atomic_load(&w->reads));
    EXPECT_INT(0, w->deliveries->heap_n);
    delivery_remove(v);
    world_close(w);
}

TEST(a_stream_is_backed_up_as_it_came)
{
    struct test_world *w = &world;
    world_open(w);
    world_shard(w, 11, 0, 0);
    DeliveryConfig c = stream_config(w, 7);
    c.backup_all = true;
    c.backup = (DeliveryBucket){ .bucket = S("logs"),
                                 .prefix = S("backup/"),
                                 .size_bytes = 1 << 20,
                                 .interval_ns = 60000000000 };
    struct delivery *v = world_add(w, &c);
    world_run(w);
    world_put_shard(w, 11, S("one\n"));
    world_advance(w, 1000);
    world_advance(w, 60000);
    EXPECT_STR(S("one\n"), world_content(w, a, S("backup/")));
    EXPECT_STR(S("one\n"), world_content(w, a, S("2018/")));
    delivery_remove(v);
    world_close(w);
}
