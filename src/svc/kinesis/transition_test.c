// SPDX-License-Identifier: Apache-2.0
// Changes of streams from state to state: what clients see before, at and after the moment, what a
// put meets in between, and what is there after a crash at any point of it.
#include "base/test.h"
#include "base/time.h"
#include "codec/blob_test.h"
#include "svc/kinesis/demand.h"
#include "svc/kinesis/reshard.h"
#include "svc/kinesis/test_world.h"

#include <string.h>

#define STREAM S("clicks")
#define START_NS (INT64_C(1700000000) * NS_PER_S)
#define DELAY_NS (20 * NS_PER_S)
#define DAY_NS (INT64_C(86400) * NS_PER_S)
#define HALF S("170141183460469231731687303715884105728")
enum { FAULTS_PAST_MAX = 400 };

static void open_at_start(struct test_world *w, int64_t change_ns)
{
    test_world_open_at(w, START_NS);
    struct kinesis *k = w->kinesis;
    k->env.change_ns = w->env.change_ns = change_ns;
}

static void create(struct test_world *w, struct arena *a, int32_t shards)
{
    struct kinesis_CreateStream_in in = { .stream_name = STREAM,
                                          .shard_count = shards,
                                          .has_shard_count = true };
    EXPECT_OK(kinesis_CreateStream(&test_call_new(w, a)->call, &in));
}

static Err split(struct test_world *w, struct arena *a, Str shard, Str key)
{
    struct kinesis_SplitShard_in in = { .stream_name = STREAM,
                                        .shard_to_split = shard,
                                        .new_starting_hash_key = key };
    return kinesis_SplitShard(&test_call_new(w, a)->call, &in);
}

static Str status(struct test_world *w, struct arena *a)
{
    struct kinesis_DescribeStreamSummary_in in = { .stream_name = STREAM };
    struct kinesis_DescribeStreamSummary_out out = { 0 };
    if (kinesis_DescribeStreamSummary(&test_call_new(w, a)->call, &in, &out).kind != ERR_NONE)
        return S("none");
    return out.stream_description_summary->stream_status;
}

static kinesis_ShardList shards(struct test_world *w, struct arena *a, Str filter, int64_t at_ns)
{
    kinesis_ShardFilter f = { .type = filter, .timestamp = at_ns, .has_timestamp = at_ns != 0 };
    struct kinesis_ListShards_in in = { .stream_name = STREAM,
                                        .max_results = 1000,
                                        .shard_filter = filter.n > 0 ? &f : NULL };
    struct kinesis_ListShards_out out = { 0 };
    EXPECT_OK(kinesis_ListShards(&test_call_new(w, a)->call, &in, &out));
    return out.shards;
}

// The numbers of the shards that are shown, as in "0 2 3".
static Str listed(struct test_world *w, struct arena *a, Str filter, int64_t at_ns)
{
    kinesis_ShardList list = shards(w, a, filter, at_ns);
    Str text = S("");
    for (size_t i = 0; i < list.n; i++) {
        uint32_t index = 0;
        EXPECT_OK(shard_parse_id(list.at[i].shard_id, &index));
        text = str_fmt(a, "%.*s%s%u", FMT(text), i > 0 ? " " : "", index);
    }
    return text;
}

// ---- Records

struct one_put {
    struct test_call *call;
    struct kinesis_PutRecord_in in;
    struct kinesis_PutRecord_out out;
    Err first;
};

static struct one_put *start_put(struct test_world *w, struct arena *a, Str hash_key, Str data)
{
    struct one_put *p = arena_new(a, struct one_put, 1);
    p->call = test_call_new(w, a);
    p->in = (struct kinesis_PutRecord_in){ .stream_name = STREAM,
                                           .partition_key = S("k"),
                                           .explicit_hash_key = hash_key,
                                           .data = blob_undecoded(a, data) };
    p->first = kinesis_PutRecord(&p->call->call, &p->in, &p->out);
    return p;
}

static Err end_put(const struct one_put *p)
{
    return test_finish(p->call, p->first);
}

static Err put(struct test_world *w, struct arena *a, Str hash_key, Str data, Str *ret_shard)
{
    struct one_put *p = start_put(w, a, hash_key, data);
    TRY(end_put(p));
    *ret_shard = p->out.shard_id;
    return OK;
}

static Str iterator(struct test_world *w, struct arena *a, Str shard, Str type)
{
    struct kinesis_GetShardIterator_in in = { .stream_name = STREAM,
                                              .shard_id = shard,
                                              .shard_iterator_type = type };
    struct kinesis_GetShardIterator_out out = { 0 };
    EXPECT_OK(kinesis_GetShardIterator(&test_call_new(w, a)->call, &in, &out));
    return out.shard_iterator;
}

static struct kinesis_GetRecords_out get(struct test_world *w, struct arena *a, Str from)
{
    struct kinesis_GetRecords_in in = { .shard_iterator = from, .limit = 10000 };
    struct kinesis_GetRecords_out out = { 0 };
    struct test_call *o = test_call_new(w, a);
    EXPECT_OK(test_finish(o, kinesis_GetRecords(&o->call, &in, &out)));
    // Readers depend on it: either there is more to come, or there are children.
    EXPECT((out.next_shard_iterator.n > 0) != (out.child_shards.n > 0));
    for (size_t i = 0; i < out.child_shards.n; i++)
        EXPECT(out.child_shards.at[i].parent_shards.n > 0);
    return out;
}

// All data of the stream, in the order in which a consumer reads it: a shard after its parents.
static Str everything(struct test_world *w, struct arena *a)
{
    kinesis_ShardList list = shards(w, a, S(""), 0);
    Str text = S("");
    for (size_t i = 0; i < list.n; i++) {
        Str it = iterator(w, a, list.at[i].shard_id, kinesis_ShardIteratorType_TRIM_HORIZON);
        struct kinesis_GetRecords_out out = get(w, a, it);
        for (size_t r = 0; r < out.records.n; r++)
            text = str_fmt(a, "%.*s%.*s", FMT(text), FMT(out.records.at[r].data));
    }
    return text;
}

// ---- The tests

TEST(a_split_shows_parent_and_children_at_once)
{
    struct test_world w;
    Str shard;
    open_at_start(&w, 0);
    create(&w, a, 1);
    EXPECT_OK(put(&w, a, S("0"), S("a"), &shard));
    Str it = iterator(&w, a, S("0"), kinesis_ShardIteratorType_TRIM_HORIZON);
    Str tip = iterator(&w, a, S("0"), kinesis_ShardIteratorType_LATEST);
    EXPECT_OK(split(&w, a, S("0"), HALF));
    EXPECT_STR(S("ACTIVE"), status(&w, a));
    EXPECT_STR(S("0 1 2"), listed(&w, a, S(""), 0));
    EXPECT_STR(S("1 2"), listed(&w, a, kinesis_ShardFilterType_AT_LATEST, 0));

    struct kinesis_GetRecords_out out = get(&w, a, it);
    EXPECT(out.records.n == 1 && out.child_shards.n == 2); // all was read, so the end is known
    EXPECT_STR(S("shardId-000000000001"), out.child_shards.at[0].shard_id);
    EXPECT_STR(S("shardId-000000000000"), out.child_shards.at[1].parent_shards.at[0]);
    EXPECT(get(&w, a, tip).child_shards.n == 2);
    EXPECT_OK(put(&w, a, S("0"), S("b"), &shard));
    EXPECT_STR(S("shardId-000000000001"), shard);
    EXPECT_OK(put(&w, a, HALF, S("c"), &shard));
    EXPECT_STR(S("shardId-000000000002"), shard);
    EXPECT_STR(S("abc"), everything(&w, a));
    test_world_close(&w);
}

TEST(while_a_stream_is_updating_its_shards_are_as_before)
{
    struct test_world w;
    Str shard;
    open_at_start(&w, 0);
    create(&w, a, 1);
    struct kinesis *k = w.kinesis;
    k->env.change_ns = DELAY_NS;
    EXPECT_OK(split(&w, a, S("0"), HALF));
    EXPECT_STR(S("UPDATING"), status(&w, a));
    EXPECT_ERR(ERR_FAULT, split(&w, a, S("0"), HALF));
    EXPECT_STR(S("0"), listed(&w, a, S(""), 0));
    EXPECT_OK(put(&w, a, HALF, S("a"), &shard));
    EXPECT_STR(S("shardId-000000000000"), shard);
    EXPECT_INT((START_NS + DELAY_NS) / NS_PER_MS, kinesis_run_chores(k));
    EXPECT_STR(S("UPDATING"), status(&w, a));
    io_mem_advance(w.disk, DELAY_NS);
    kinesis_run_chores(k);
    EXPECT_STR(S("ACTIVE"), status(&w, a));
    EXPECT_STR(S("0 1 2"), listed(&w, a, S(""), 0));
    EXPECT_OK(put(&w, a, HALF, S("b"), &shard));
    EXPECT_STR(S("shardId-000000000002"), shard);
    test_world_close(&w);
}

struct waiting {
    struct task task;
    struct loop *loop;
};

// Between the barrier in the log and the moment in which the children appear.
static uint64_t end_in_log(struct kinesis *k, size_t shard)
{
    LogPlace end;
    uint64_t id = k->sorted[0]->shards[shard]->id;
    EXPECT_OK(kinesis_end_shards(k, &id, 1, &end));
    return end.position;
}

static void stop_loop(struct task *t)
{
    struct waiting *wait = (struct waiting *)t;
    loop_stop(wait->loop);
}

// Until so many puts have learnt from the log that they have to wait.
static void wait_for_waiters(struct test_world *w, size_t wanted)
{
    const struct kinesis *k = w->kinesis;
    for (size_t n = 0; n < wanted;) {
        struct waiting stop = { .task.run = stop_loop, .loop = w->loop };
        loop_post(w->loop, &stop.task);
        loop_run(w->loop);
        n = 0;
        for (const struct stream_waiter *at = k->sorted[0]->waiters; at != NULL; at = at->next)
            n++;
    }
}

TEST(a_put_that_meets_the_end_of_its_shard_goes_to_the_child)
{
    struct test_world w;
    open_at_start(&w, 0);
    create(&w, a, 1);
    struct kinesis *k = w.kinesis;
    k->env.change_ns = DELAY_NS;
    Str it = iterator(&w, a, S("0"), kinesis_ShardIteratorType_TRIM_HORIZON);
    EXPECT_OK(split(&w, a, S("0"), HALF));
    uint64_t end = end_in_log(k, 0);
    struct one_put *low = start_put(&w, a, S("0"), S("a"));
    struct one_put *high = start_put(&w, a, HALF, S("b"));
    EXPECT(low->first.kind == ERR_WAIT && high->first.kind == ERR_WAIT);
    wait_for_waiters(&w, 2);
    struct kinesis_GetRecords_out out = get(&w, a, it); // at the end, and nobody sees children yet
    EXPECT(out.records.n == 0 && out.next_shard_iterator.n > 0);
    io_mem_advance(w.disk, DELAY_NS);
    kinesis_run_chores(k);
    EXPECT_OK(end_put(low));
    EXPECT_OK(end_put(high));
    EXPECT_STR(S("shardId-000000000001"), low->out.shard_id);
    EXPECT_STR(S("shardId-000000000002"), high->out.shard_id);
    EXPECT(shard_end_position(k->sorted[0]->shards[0]) == end);
    EXPECT(get(&w, a, out.next_shard_iterator).child_shards.n == 2);
    EXPECT_STR(S("ab"), everything(&w, a));
    test_world_close(&w);
}

TEST(of_a_request_that_meets_an_end_each_record_is_stored_once_and_in_order)
{
    enum { RECORDS = 300 };
    struct test_world w;
    open_at_start(&w, 0);
    create(&w, a, 2);
    struct kinesis *k = w.kinesis;
    k->env.change_ns = DELAY_NS;
    EXPECT_OK(split(&w, a, S("1"), S("255211775190703847597530955573826158592")));
    end_in_log(k, 1); // the other shard goes on
    struct kinesis_PutRecords_in in = { .stream_name = STREAM };
    struct kinesis_PutRecords_out out = { 0 };
    in.records.at = arena_new(a, kinesis_PutRecordsRequestEntry, RECORDS);
    in.records.n = RECORDS;
    for (size_t i = 0; i < RECORDS; i++)
        in.records.at[i] =
            (kinesis_PutRecordsRequestEntry){ .partition_key = str_fmt(a, "%zu", i % 7),
                                              .data = blob_undecoded(a, str_fmt(a, "%03zu;", i)) };
    struct test_call *o = test_call_new(&w, a);
    Err e = kinesis_PutRecords(&o->call, &in, &out);
    wait_for_waiters(&w, 1);
    io_mem_advance(w.disk, DELAY_NS);
    kinesis_run_chores(k);
    EXPECT_OK(test_finish(o, e));
    EXPECT_INT(0, out.failed_record_count);

    Str newest[7] = { { 0 } };
    size_t count = 0, seen[4] = { 0 };
    for (size_t shard = 0; shard < 4; shard++) {
        struct kinesis_GetRecords_out read =
            get(&w, a,
                iterator(&w, a, str_fmt(a, "%zu", shard), kinesis_ShardIteratorType_TRIM_HORIZON));
        for (size_t r = 0; r < read.records.n; r++, count++) {
            size_t key = (size_t)(read.records.at[r].partition_key.p[0] - '0');
            EXPECT(newest[key].p == NULL || str_cmp(newest[key], read.records.at[r].data) < 0);
            newest[key] = read.records.at[r].data;
        }
        seen[shard] = read.records.n;
    }
    EXPECT_INT(RECORDS, count);
    EXPECT(seen[1] == 0 && seen[0] > 0 && seen[2] + seen[3] > 0);
    for (size_t i = 0; i < RECORDS; i++)
        EXPECT(!str_eq(out.records.at[i].shard_id, S("shardId-000000000001")));
    test_world_close(&w);
}

TEST(a_put_that_waits_for_a_change_learns_that_the_stream_is_gone)
{
    struct test_world w;
    open_at_start(&w, 0);
    create(&w, a, 1);
    struct kinesis *k = w.kinesis;
    k->env.change_ns = DELAY_NS;
    EXPECT_OK(split(&w, a, S("0"), HALF));
    end_in_log(k, 0);
    struct one_put *late = start_put(&w, a, S("0"), S("a"));
    wait_for_waiters(&w, 1);
    k->env.change_ns = 0;
    struct kinesis_DeleteStream_in in = { .stream_name = STREAM };
    EXPECT_OK(kinesis_DeleteStream(&test_call_new(&w, a)->call, &in));
    EXPECT_ERR(ERR_FAULT, end_put(late));
    EXPECT(late->call->call.error == &kinesis_ResourceNotFoundException);
    test_world_close(&w);
}

TEST(a_put_does_not_wait_for_a_change_that_fails_and_a_later_try_succeeds)
{
    struct test_world w;
    Str shard;
    open_at_start(&w, 0);
    create(&w, a, 1);
    struct kinesis *k = w.kinesis;
    k->env.change_ns = DELAY_NS;
    EXPECT_OK(split(&w, a, S("0"), HALF));
    end_in_log(k, 0);
    struct one_put *late = start_put(&w, a, S("0"), S("a"));
    wait_for_waiters(&w, 1);
    io_mem_advance(w.disk, DELAY_NS);
    io_fault_add(w.faults, (IoFault){ .ops = IO_OP_WRITE | IO_OP_SYNC,
                                      .path_part = S("/kv"),
                                      .times = UINT64_MAX,
                                      .err = fail(ERR_FULL, "injected") });
    int64_t again_ms = kinesis_run_chores(k);
    EXPECT_ERR(ERR_IO, end_put(late));
    EXPECT_STR(S("UPDATING"), status(&w, a));
    EXPECT_INT((START_NS + DELAY_NS) / NS_PER_MS + 1000, again_ms);
    io_fault_clear(w.faults);
    kinesis_run_chores(k);
    EXPECT_STR(S("ACTIVE"), status(&w, a));
    EXPECT_OK(put(&w, a, S("0"), S("b"), &shard));
    EXPECT_STR(S("shardId-000000000001"), shard);
    EXPECT_STR(S("b"), everything(&w, a));
    test_world_close(&w);
}

TEST(a_scaling_may_make_shards_that_end_as_they_begin)
{
    struct test_world w;
    Str shard;
    open_at_start(&w, 0);
    create(&w, a, 2);
    EXPECT_OK(put(&w, a, S("0"), S("a"), &shard));
    struct kinesis_UpdateShardCount_in in = { .stream_name = STREAM,
                                              .target_shard_count = 3,
                                              .scaling_type = kinesis_ScalingType_UNIFORM_SCALING };
    struct kinesis_UpdateShardCount_out out = { 0 };
    EXPECT_OK(kinesis_UpdateShardCount(&test_call_new(&w, a)->call, &in, &out));
    EXPECT(out.current_shard_count == 2 && out.target_shard_count == 3);
    EXPECT_STR(S("0 1 2 3 4 5 6"), listed(&w, a, S(""), 0));
    EXPECT_STR(S("2 5 6"), listed(&w, a, kinesis_ShardFilterType_AT_LATEST, 0));
    for (int crash = 0; crash < 2; crash++) {
        struct kinesis_GetRecords_out read =
            get(&w, a, iterator(&w, a, S("3"), kinesis_ShardIteratorType_TRIM_HORIZON));
        EXPECT(read.records.n == 0 && read.child_shards.n == 1);
        EXPECT_STR(S("shardId-000000000006"), read.child_shards.at[0].shard_id);
        EXPECT_INT(2, read.child_shards.at[0].parent_shards.n);
        EXPECT_OK(test_world_crash(&w, IO_KEEP_NONE));
    }
    EXPECT_STR(S("a"), everything(&w, a));
    test_world_close(&w);
}

TEST(filters_by_time_show_one_generation)
{
    struct test_world w;
    open_at_start(&w, 0);
    create(&w, a, 1);
    io_mem_advance(w.disk, 10 * NS_PER_S);
    int64_t ended_ns = START_NS + 10 * NS_PER_S;
    EXPECT_OK(split(&w, a, S("0"), HALF));
    io_mem_advance(w.disk, 10 * NS_PER_S);
    Str at = kinesis_ShardFilterType_AT_TIMESTAMP, from = kinesis_ShardFilterType_FROM_TIMESTAMP;
    EXPECT_STR(S("0"), listed(&w, a, at, START_NS));
    EXPECT_STR(S("0"), listed(&w, a, at, ended_ns));
    EXPECT_STR(S("1 2"), listed(&w, a, at, ended_ns + NS_PER_MS)); // no gap of a second
    EXPECT_STR(S("0 1 2"), listed(&w, a, from, ended_ns));
    EXPECT_STR(S("1 2"), listed(&w, a, from, ended_ns + NS_PER_MS));
    EXPECT_STR(S("0"), listed(&w, a, kinesis_ShardFilterType_AT_TRIM_HORIZON, 0));
    EXPECT_STR(S("0 1 2"), listed(&w, a, kinesis_ShardFilterType_FROM_TRIM_HORIZON, 0));
    io_mem_advance(w.disk, DAY_NS);
    EXPECT_STR(S("1 2"), listed(&w, a, kinesis_ShardFilterType_AT_TRIM_HORIZON, 0));
    EXPECT_STR(S("1 2"), listed(&w, a, kinesis_ShardFilterType_FROM_TRIM_HORIZON, 0));
    test_world_close(&w);
}

TEST(the_pages_of_a_listing_show_one_moment)
{
    struct test_world w;
    open_at_start(&w, 0);
    create(&w, a, 4);
    struct kinesis_ListShards_in in = { .stream_name = STREAM, .max_results = 1 };
    struct kinesis_ListShards_out out = { 0 };
    EXPECT_OK(kinesis_ListShards(&test_call_new(&w, a)->call, &in, &out));
    EXPECT_OK(split(&w, a, S("1"), S("100000000000000000000000000000000000000")));
    struct kinesis_MergeShards_in merge = { .stream_name = STREAM,
                                            .shard_to_merge = S("2"),
                                            .adjacent_shard_to_merge = S("3") };
    EXPECT_OK(kinesis_MergeShards(&test_call_new(&w, a)->call, &merge));
    in = (struct kinesis_ListShards_in){ .next_token = out.next_token, .max_results = 10 };
    out = (struct kinesis_ListShards_out){ 0 };
    EXPECT_OK(kinesis_ListShards(&test_call_new(&w, a)->call, &in, &out));
    EXPECT(out.shards.n == 3 && out.next_token.p == NULL);
    for (size_t i = 0; i < out.shards.n; i++)
        EXPECT(out.shards.at[i].sequence_number_range->ending_sequence_number.p == NULL);
    EXPECT_STR(S("0 1 2 3 4 5 6"), listed(&w, a, S(""), 0));
    test_world_close(&w);
}

TEST(a_stream_is_scaled_ten_times_in_a_day)
{
    struct test_world w;
    open_at_start(&w, 0);
    create(&w, a, 1);
    struct kinesis *k = w.kinesis;
    k->env.limits = 1;
    for (int i = 0; i < 12; i++) {
        struct kinesis_UpdateShardCount_in in = { .stream_name = STREAM,
                                                  .target_shard_count = 1 + (i + 1) % 2,
                                                  .scaling_type =
                                                      kinesis_ScalingType_UNIFORM_SCALING };
        struct kinesis_UpdateShardCount_out out = { 0 };
        struct test_call *o = test_call_new(&w, a);
        Err e = kinesis_UpdateShardCount(&o->call, &in, &out);
        EXPECT(e.kind == (i != 10 ? ERR_NONE : ERR_FAULT));
        EXPECT(i != 10 || o->call.error == &kinesis_LimitExceededException);
        if (i == 10) // then the first one is a day ago
            io_mem_advance(w.disk, DAY_NS - 11 * NS_PER_S);
        io_mem_advance(w.disk, NS_PER_S);
    }
    test_world_close(&w);
}

TEST(a_closed_shard_goes_when_its_records_are_over)
{
    struct test_world w;
    Str shard;
    open_at_start(&w, 0);
    create(&w, a, 1);
    EXPECT_OK(put(&w, a, S("0"), S("a"), &shard));
    EXPECT_OK(split(&w, a, S("0"), HALF));
    EXPECT_OK(put(&w, a, S("0"), S("b"), &shard));
    struct kinesis *k = w.kinesis;
    uint64_t id = k->sorted[0]->shards[0]->id;
    io_mem_advance(w.disk, DAY_NS - NS_PER_S);
    Str it = iterator(&w, a, S("0"), kinesis_ShardIteratorType_TRIM_HORIZON);
    int64_t due_ms = kinesis_run_chores(k);
    EXPECT_INT((START_NS + DAY_NS) / NS_PER_MS + 1, due_ms); // nothing may go before
    EXPECT(stream_shard(k->sorted[0], 0) != NULL && get(&w, a, it).records.n == 1);
    io_mem_advance(w.disk, 2 * NS_PER_S);
    kinesis_run_chores(k);
    LogSpan span;
    EXPECT(stream_shard(k->sorted[0], 0) == NULL);
    EXPECT_ERR(ERR_NOT_FOUND, log_span(k->env.log, id, &span));
    EXPECT_STR(S("1 2"), listed(&w, a, S(""), 0));
    struct kinesis_GetRecords_in in = { .shard_iterator = it, .limit = 1 };
    struct kinesis_GetRecords_out out = { 0 };
    struct test_call *o = test_call_new(&w, a);
    EXPECT_ERR(ERR_FAULT, kinesis_GetRecords(&o->call, &in, &out));
    EXPECT(o->call.error == &kinesis_ResourceNotFoundException);
    EXPECT_OK(test_world_crash(&w, IO_KEEP_NONE));
    k = w.kinesis;
    EXPECT_STR(S("1 2"), listed(&w, a, S(""), 0));
    EXPECT_OK(split(&w, a, S("1"), S("5"))); // numbers are never given twice
    EXPECT_STR(S("1 2 3 4"), listed(&w, a, S(""), 0));
    test_world_close(&w);
}

TEST(a_stream_is_made_and_deleted_in_its_time_across_restarts)
{
    struct test_world w;
    open_at_start(&w, DELAY_NS);
    create(&w, a, 1);
    EXPECT_STR(S("CREATING"), status(&w, a));
    EXPECT_OK(test_world_crash(&w, IO_KEEP_NONE));
    EXPECT_STR(S("CREATING"), status(&w, a));
    io_mem_advance(w.disk, DELAY_NS);
    kinesis_run_chores(w.kinesis);
    EXPECT_STR(S("ACTIVE"), status(&w, a));
    struct kinesis_DeleteStream_in in = { .stream_name = STREAM };
    EXPECT_OK(kinesis_DeleteStream(&test_call_new(&w, a)->call, &in));
    EXPECT_STR(S("DELETING"), status(&w, a));
    EXPECT_OK(test_world_crash(&w, IO_KEEP_NONE));
    EXPECT_STR(S("DELETING"), status(&w, a));
    io_mem_advance(w.disk, DELAY_NS);
    EXPECT_OK(test_world_crash(&w, IO_KEEP_NONE));
    EXPECT_STR(S("none"), status(&w, a));
    test_world_close(&w);
}

TEST(a_change_of_retention_makes_a_stream_updating_and_is_in_force_at_once)
{
    struct test_world w;
    open_at_start(&w, 0);
    create(&w, a, 1);
    struct kinesis *k = w.kinesis;
    k->env.change_ns = DELAY_NS;
    struct kinesis_IncreaseStreamRetentionPeriod_in in = { .stream_name = STREAM,
                                                           .retention_period_hours = 48 };
    EXPECT_OK(kinesis_IncreaseStreamRetentionPeriod(&test_call_new(&w, a)->call, &in));
    EXPECT_STR(S("UPDATING"), status(&w, a));
    EXPECT_INT(48, k->sorted[0]->retention_hours);
    io_mem_advance(w.disk, DELAY_NS);
    kinesis_run_chores(k);
    EXPECT_STR(S("ACTIVE"), status(&w, a));
    test_world_close(&w);
}

// A change of shards, and what is listed before and after it.
struct crash_case {
    int32_t shards;
    Err (*change)(struct test_world *w, struct arena *a);
    Str before, after;
};

static Err split_first(struct test_world *w, struct arena *a)
{
    return split(w, a, S("0"), HALF);
}

static Err merge_first(struct test_world *w, struct arena *a)
{
    struct kinesis_MergeShards_in in = { .stream_name = STREAM,
                                         .shard_to_merge = S("0"),
                                         .adjacent_shard_to_merge = S("1") };
    return kinesis_MergeShards(&test_call_new(w, a)->call, &in);
}

static Err scale_to_three(struct test_world *w, struct arena *a)
{
    struct kinesis_UpdateShardCount_in in = { .stream_name = STREAM,
                                              .target_shard_count = 3,
                                              .scaling_type = kinesis_ScalingType_UNIFORM_SCALING };
    struct kinesis_UpdateShardCount_out out = { 0 };
    return kinesis_UpdateShardCount(&test_call_new(w, a)->call, &in, &out);
}

// One round: a record, a change, a record, with the power cut at the n-th change of the disk. What
// was acknowledged is there, in order, and the shards are those of before or of after.
static bool crash_round(struct arena *a, const struct crash_case *t, uint64_t n, int keep)
{
    struct test_world w;
    Str shard, data = S("");
    open_at_start(&w, 0);
    create(&w, a, t->shards);
    io_fault_add(w.faults, (IoFault){ .ops = IO_OP_CHANGE, .skip = n, .power_off = true });
    if (put(&w, a, HALF, S("a"), &shard).kind == ERR_NONE)
        data = S("a");
    struct kinesis *k = w.kinesis;
    bool is_done = t->change(&w, a).kind == ERR_NONE && k->sorted[0]->change.kind == CHANGE_NONE;
    if (data.n == 1 && put(&w, a, HALF, S("b"), &shard).kind == ERR_NONE)
        data = S("ab");
    bool was_hit = io_fault_hits(w.faults) > 0;
    EXPECT_OK(test_world_crash(&w, keep));
    EXPECT_STR(S("ACTIVE"), status(&w, a));
    Str list = listed(&w, a, S(""), 0), found = everything(&w, a);
    EXPECT(str_eq(list, t->after) || (!is_done && str_eq(list, t->before)));
    EXPECT(str_starts(found, data) && str_starts(S("ab"), found));
    EXPECT_OK(put(&w, a, HALF, S("c"), &shard));
    EXPECT_STR(str_fmt(a, "%.*sc", FMT(found)), everything(&w, a));
    test_world_close(&w);
    return was_hit;
}

TEST(a_power_cut_at_any_point_of_a_change_loses_nothing_and_leaves_whole_shards)
{
    static const struct crash_case cases[] = {
        { 1, split_first, S_INIT("0"), S_INIT("0 1 2") },
        { 2, merge_first, S_INIT("0 1"), S_INIT("0 1 2") },
        { 2, scale_to_three, S_INIT("0 1"), S_INIT("0 1 2 3 4 5 6") },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        for (int keep = IO_KEEP_SOME; keep <= IO_KEEP_ALL; keep++) {
            uint64_t n = 0;
            while (n < FAULTS_PAST_MAX && crash_round(a, &cases[i], n, keep))
                n++;
            EXPECT(n > 5 && n < FAULTS_PAST_MAX);
        }
}

// The same while a closed shard goes.
static bool bury_round(struct arena *a, uint64_t n, int keep)
{
    struct test_world w;
    Str shard;
    open_at_start(&w, 0);
    create(&w, a, 1);
    EXPECT_OK(put(&w, a, HALF, S("over"), &shard));
    EXPECT_OK(split_first(&w, a));
    io_mem_advance(w.disk, DAY_NS + NS_PER_S);
    EXPECT_OK(put(&w, a, HALF, S("a"), &shard));
    io_fault_add(w.faults, (IoFault){ .ops = IO_OP_CHANGE, .skip = n, .power_off = true });
    kinesis_run_chores(w.kinesis);
    bool was_hit = io_fault_hits(w.faults) > 0;
    EXPECT_OK(test_world_crash(&w, keep));
    EXPECT_STR(S("1 2"), listed(&w, a, S(""), 0));
    EXPECT_STR(S("a"), everything(&w, a));
    struct kinesis *k = w.kinesis;
    kinesis_run_chores(k);
    EXPECT(stream_shard(k->sorted[0], 0) == NULL);
    EXPECT_OK(split(&w, a, S("2"), S("255211775190703847597530955573826158592")));
    EXPECT_STR(S("1 2 3 4"), listed(&w, a, S(""), 0));
    test_world_close(&w);
    return was_hit;
}

TEST(a_power_cut_while_a_closed_shard_goes_harms_nothing)
{
    for (int keep = IO_KEEP_SOME; keep <= IO_KEEP_ALL; keep++) {
        uint64_t n = 0;
        while (n < FAULTS_PAST_MAX && bury_round(a, n, keep))
            n++;
        EXPECT(n > 1 && n < FAULTS_PAST_MAX);
    }
}

TEST(a_stream_on_demand_follows_its_traffic_and_stays_active)
{
    struct test_world w;
    open_at_start(&w, 0);
    struct kinesis_CreateStream_in in = { .stream_name = STREAM };
    EXPECT_OK(kinesis_CreateStream(&test_call_new(&w, a)->call, &in));
    struct kinesis *k = w.kinesis;
    Str shard;
    EXPECT_OK(put(&w, a, S("0"), S("a"), &shard));
    demand_note(stream_route(k->sorted[0], 0), (size_t)6 * 60 << 20); // 6 MiB/s for a minute
    io_mem_advance(w.disk, 60 * NS_PER_S);
    kinesis_run_chores(k);
    EXPECT_INT(12, k->sorted[0]->open_count);
    EXPECT_STR(S("ACTIVE"), status(&w, a));
    EXPECT_OK(put(&w, a, S("0"), S("b"), &shard));
    EXPECT(!str_eq(shard, S("shardId-000000000000")));
    EXPECT_STR(S("ab"), everything(&w, a));
    EXPECT_OK(test_world_crash(&w, IO_KEEP_NONE));
    k = w.kinesis;
    kinesis_run_chores(k);
    io_mem_advance(w.disk, 60 * NS_PER_S);
    kinesis_run_chores(k);
    EXPECT_INT(12, k->sorted[0]->open_count); // the peak is in the row
    EXPECT_STR(S("ab"), everything(&w, a));
    test_world_close(&w);
}
