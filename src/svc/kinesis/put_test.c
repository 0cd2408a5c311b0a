// SPDX-License-Identifier: Apache-2.0
// What a stream carries, through the operations, on a clock that the test drives.
#include "base/test.h"
#include "base/time.h"
#include "svc/kinesis/test_world.h"

#include <string.h>

#define START_NS (INT64_C(1700000000) * NS_PER_S)
enum { SHARDS = 3, BATCH = 450, RECORD_BYTES = 1023, STEPS = 10, SECONDS = 4 };

static kinesis_PutRecordsRequestEntryList records(struct arena *a)
{
    kinesis_PutRecordsRequestEntryList list = { .set = true, .n = BATCH };
    list.at = arena_new(a, kinesis_PutRecordsRequestEntry, BATCH);
    char *data = arena_alloc(a, RECORD_BYTES, 1);
    memset(data, 'd', RECORD_BYTES);
    for (size_t i = 0; i < BATCH; i++)
        list.at[i] = (kinesis_PutRecordsRequestEntry){
            .partition_key = S("k"), // with it a kilobyte
            .explicit_hash_key = hash_key_str(a, hash_key_start((uint32_t)(i % SHARDS), SHARDS)),
            .data = blob_of(str_from(data, RECORD_BYTES))
        };
    return list;
}

// Returns how many were stored; each of the others says why not.
static size_t put(struct test_world *w, kinesis_PutRecordsRequestEntryList list)
{
    AUTO(arena) a = arena_open();
    struct test_call *o = test_call_new(w, a);
    struct kinesis_PutRecords_in in = { .records = list, .stream_name = S("clicks") };
    struct kinesis_PutRecords_out out = { 0 };
    EXPECT_OK(test_finish(o, kinesis_PutRecords(&o->call, &in, &out)));
    size_t stored = 0;
    for (size_t i = 0; i < out.records.n; i++) {
        const kinesis_PutRecordsResultEntry *e = &out.records.at[i];
        stored += e->sequence_number.n > 0;
        if (e->sequence_number.n > 0)
            continue;
        EXPECT_STR(S("ProvisionedThroughputExceededException"), e->error_code);
        EXPECT_STR(str_fmt(a,
                           "Rate exceeded for shard %.*s in stream clicks under account "
                           "000000000000.",
                           FMT(shard_id_str(a, (int64_t)(i % SHARDS)))),
                   e->error_message);
    }
    EXPECT_INT(BATCH - stored, out.failed_record_count);
    return stored;
}

TEST(three_shards_take_three_thousand_records_of_a_kilobyte_each_second_and_no_more)
{
    struct test_world w;
    test_world_open_at(&w, START_NS);
    struct kinesis_CreateStream_in in = { .stream_name = S("clicks"),
                                          .shard_count = SHARDS,
                                          .has_shard_count = true };
    EXPECT_OK(kinesis_CreateStream(&test_call_new(&w, a)->call, &in));
    struct kinesis *k = w.kinesis;
    k->env.limits = 1;
    kinesis_PutRecordsRequestEntryList list = records(a);
    size_t at_once = 0, stored;
    while ((stored = put(&w, list)) > 0)
        at_once += stored;
    EXPECT_INT(3000, at_once); // a second's worth
    for (int second = 0; second < SECONDS; second++) {
        size_t sum = 0;
        for (int step = 0; step < STEPS; step++) {
            io_mem_advance(w.disk, NS_PER_S / STEPS);
            sum += put(&w, list);
        }
        EXPECT_INT(3000, sum);
    }
    test_world_close(&w);
}
