// SPDX-License-Identifier: Apache-2.0
// What other services are offered of streams.
#include "base/test.h"
#include "base/time.h"
#include "svc/kinesis/test_world.h"

#define START_NS (INT64_C(1700000000) * NS_PER_S)
#define ARN S("arn:aws:kinesis:us-east-1:000000000000:stream/clicks")

static const HubActor firehose = { .account = S_INIT("000000000000"),
                                   .region = S_INIT("us-east-1"),
                                   .service = S_INIT("firehose.amazonaws.com") };

static const struct hub_source *offer_of(struct test_world *w)
{
    return &((struct kinesis *)w->kinesis)->offer;
}

static void create(struct test_world *w, struct arena *a)
{
    struct kinesis_CreateStream_in in = { .stream_name = S("clicks"),
                                          .shard_count = 1,
                                          .has_shard_count = true };
    EXPECT_OK(kinesis_CreateStream(&test_call_new(w, a)->call, &in));
}

static Str put(struct test_world *w, struct arena *a, Str data)
{
    struct kinesis_PutRecord_in in = { .stream_name = S("clicks"),
                                       .partition_key = S("k"),
                                       .data = blob_of(data) };
    struct kinesis_PutRecord_out out = { 0 };
    struct test_call *o = test_call_new(w, a);
    EXPECT_OK(test_finish(o, kinesis_PutRecord(&o->call, &in, &out)));
    return out.sequence_number;
}

static HubSourceStream look(struct test_world *w, struct arena *a)
{
    const struct hub_source *o = offer_of(w);
    HubSourceStream s;
    EXPECT_OK(o->look(o->self, a, &firehose, ARN, &s));
    return s;
}

static HubSourceBatch read_from(struct test_world *w, struct arena *a, uint64_t shard,
                                uint64_t from)
{
    const struct hub_source *o = offer_of(w);
    HubSourceBatch b;
    EXPECT_OK(o->read(o->self, a, &firehose, ARN, shard, from, 1 << 20, &b));
    return b;
}

TEST(a_stream_is_read_shard_by_shard_and_numbers_are_those_of_its_records)
{
    struct test_world w;
    test_world_open_at(&w, START_NS);
    const struct hub_source *o = offer_of(&w);
    create(&w, a);
    put(&w, a, S("one"));
    Str number = put(&w, a, S("two"));
    HubSourceStream s = look(&w, a);
    EXPECT_INT(HUB_SOURCE_GOOD, s.fault);
    EXPECT_INT(1, s.n);
    EXPECT_STR(S("shardId-000000000000"), s.shards[0].id);
    EXPECT(!s.shards[0].ended && s.shards[0].parents[0] == 0);
    HubSourceBatch b = read_from(&w, a, s.shards[0].shard, 0);
    EXPECT_INT(2, b.n);
    EXPECT_STR(S("one"), b.at[0].data);
    EXPECT_STR(S("k"), b.at[1].key);
    EXPECT(!b.more && !b.ended && !b.gone);
    EXPECT_STR(number,
               o->number(o->self, a, ARN, s.shards[0].shard, b.at[1].position, b.at[1].arrival_ms));
    HubSourceBatch rest = read_from(&w, a, s.shards[0].shard, b.next);
    EXPECT_INT(0, rest.n);
    uint64_t position;
    EXPECT_OK(o->find_time(o->self, ARN, s.shards[0].shard, START_NS / NS_PER_MS + 1, &position));
    EXPECT_INT(s.shards[0].next, position);
    test_world_close(&w);
}

TEST(a_shard_that_is_split_ends_and_has_children)
{
    struct test_world w;
    test_world_open_at(&w, START_NS);
    create(&w, a);
    put(&w, a, S("one"));
    uint64_t parent = look(&w, a).shards[0].shard;
    struct kinesis_SplitShard_in in = { .stream_name = S("clicks"),
                                        .shard_to_split = S("shardId-000000000000"),
                                        .new_starting_hash_key =
                                            S("170141183460469231731687303715884105728") };
    EXPECT_OK(kinesis_SplitShard(&test_call_new(&w, a)->call, &in));
    put(&w, a, S("two"));
    HubSourceStream s = look(&w, a);
    EXPECT_INT(3, s.n);
    EXPECT_INT(parent, s.shards[0].shard);
    EXPECT(s.shards[0].ended);
    EXPECT(s.shards[1].parents[0] == parent && s.shards[2].parents[0] == parent);
    HubSourceBatch b = read_from(&w, a, parent, 0);
    EXPECT_INT(1, b.n);
    EXPECT(b.ended);
    EXPECT(read_from(&w, a, parent, b.next).ended);
    size_t n = 0;
    for (size_t i = 1; i < 3; i++) {
        b = read_from(&w, a, s.shards[i].shard, 0);
        EXPECT(!b.ended);
        n += b.n;
    }
    EXPECT_INT(1, n);
    test_world_close(&w);
}

struct seen {
    struct hub_watch watch;
    atomic_int times;
};

static void note(struct hub_watch *w)
{
    atomic_fetch_add(&((struct seen *)w)->times, 1);
}

TEST(a_watch_is_told_of_records_until_it_ends)
{
    struct test_world w;
    test_world_open_at(&w, START_NS);
    const struct hub_source *o = offer_of(&w);
    struct seen seen = { .watch.changed = note };
    create(&w, a);
    uint64_t shard = look(&w, a).shards[0].shard;
    EXPECT_ERR(ERR_NOT_FOUND, o->watch(o->self, ARN, 987654, &seen.watch));
    EXPECT_OK(o->watch(o->self, ARN, shard, &seen.watch));
    put(&w, a, S("one"));
    put(&w, a, S("two"));
    o->unwatch(o->self, &seen.watch); // waits for what is being told
    int times = atomic_load(&seen.times);
    EXPECT(times >= 1 && times <= 2);
    put(&w, a, S("three"));
    EXPECT_INT(times, atomic_load(&seen.times));
    test_world_close(&w);
}

TEST(a_stream_that_is_made_again_is_another_one)
{
    struct test_world w;
    test_world_open_at(&w, START_NS);
    create(&w, a);
    put(&w, a, S("one"));
    HubSourceStream before = look(&w, a);
    struct kinesis_DeleteStream_in in = { .stream_name = S("clicks") };
    EXPECT_OK(kinesis_DeleteStream(&test_call_new(&w, a)->call, &in));
    HubSourceStream gone = look(&w, a);
    EXPECT_INT(HUB_SOURCE_NOT_FOUND, gone.fault);
    EXPECT_STR(S("Stream clicks under account 000000000000 not found."), gone.text);
    create(&w, a);
    HubSourceStream after = look(&w, a);
    EXPECT(after.incarnation != before.incarnation);
    EXPECT(read_from(&w, a, before.shards[0].shard, 0).gone);
    EXPECT_INT(0, read_from(&w, a, after.shards[0].shard, 0).n);
    test_world_close(&w);
}
