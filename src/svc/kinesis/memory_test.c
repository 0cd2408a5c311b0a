// SPDX-License-Identifier: Apache-2.0
// Calls for which there is no memory: the call gets ERR_MEMORY, nothing of it is stored, the next
// one succeeds and everything is given back. The service runs on the real store, on a disk in
// memory.
#include "base/memory.h"
#include "base/test.h"
#include "svc/kinesis/test_world.h"

#include <string.h>

enum { RECORDS = 400, RECORD_BYTES = 3000 };

static void create(struct test_world *w, struct arena *a)
{
    struct kinesis_CreateStream_in in = { .stream_name = S("clicks"),
                                          .shard_count = 1,
                                          .has_shard_count = true };
    EXPECT_OK(kinesis_CreateStream(&test_call_new(w, a)->call, &in));
}

static kinesis_PutRecordsRequestEntryList entries(struct arena *a)
{
    kinesis_PutRecordsRequestEntryList list = { .set = true, .n = RECORDS };
    list.at = arena_new(a, kinesis_PutRecordsRequestEntry, RECORDS);
    char *data = arena_alloc(a, RECORD_BYTES, 1);
    memset(data, 'd', RECORD_BYTES);
    for (size_t i = 0; i < RECORDS; i++)
        list.at[i] =
            (kinesis_PutRecordsRequestEntry){ .partition_key = str_fmt(a, "key-%zu", i),
                                              .data = blob_of(str_from(data, RECORD_BYTES)) };
    return list;
}

static Err put(struct test_world *w, struct arena *r, kinesis_PutRecordsRequestEntryList list)
{
    struct test_call *o = test_call_new(w, r);
    struct kinesis_PutRecords_in in = { .records = list, .stream_name = S("clicks") };
    struct kinesis_PutRecords_out out = { 0 };
    TRY(test_finish(o, kinesis_PutRecords(&o->call, &in, &out)));
    EXPECT_INT(RECORDS, out.records.n);
    EXPECT_INT(0, out.failed_record_count);
    for (size_t i = 0; i < RECORDS; i++)
        EXPECT(out.records.at[i].sequence_number.n > 50 &&
               str_eq(out.records.at[i].shard_id, S("shardId-000000000000")));
    return OK;
}

static Str iterator(struct test_world *w, struct arena *a)
{
    struct kinesis_GetShardIterator_in in = { .stream_name = S("clicks"),
                                              .shard_id = S("shardId-000000000000"),
                                              .shard_iterator_type =
                                                  kinesis_ShardIteratorType_TRIM_HORIZON };
    struct kinesis_GetShardIterator_out out = { 0 };
    EXPECT_OK(kinesis_GetShardIterator(&test_call_new(w, a)->call, &in, &out));
    return out.shard_iterator;
}

static Err get(struct test_world *w, struct arena *r, Str from, size_t *ret_n)
{
    struct kinesis_GetRecords_in in = { .shard_iterator = from, .limit = 10000 };
    struct kinesis_GetRecords_out out = { 0 };
    struct test_call *o = test_call_new(w, r);
    TRY(test_finish(o, kinesis_GetRecords(&o->call, &in, &out)));
    for (size_t i = 0; i < out.records.n; i++)
        EXPECT(out.records.at[i].data.n == RECORD_BYTES && out.records.at[i].data.p[0] == 'd');
    *ret_n = out.records.n;
    return OK;
}

static size_t stored(struct test_world *w, struct arena *a)
{
    size_t n = 0;
    EXPECT_OK(get(w, a, iterator(w, a), &n));
    return n;
}

static size_t taken(void)
{
    MemoryStats s;
    memory_stats(&s);
    return s.requests_bytes;
}

TEST(a_put_for_which_there_is_no_memory_stores_nothing_and_the_next_one_everything)
{
    struct test_world w;
    test_world_open(&w);
    create(&w, a);
    kinesis_PutRecordsRequestEntryList list = entries(a);
    size_t good = 0, refused = 0;
    for (uint64_t after = 2; refused == after - 2; after++) { // two are for the call's arena
        memory_fault_set(MEMORY_REQUEST, after, UINT64_MAX);
        AUTO(arena) r = arena_open_request();
        Err e = put(&w, r, list);
        memory_fault_set(MEMORY_REQUEST, 0, 0);
        EXPECT(e.kind == ERR_NONE || e.kind == ERR_MEMORY);
        refused += e.kind == ERR_MEMORY;
        good += e.kind == ERR_NONE;
        EXPECT_INT(good * RECORDS, stored(&w, a));
    }
    EXPECT(refused > 0 && good == 1);
    AUTO(arena) r = arena_open_request();
    EXPECT_OK(put(&w, r, list));
    EXPECT_INT(2 * RECORDS, stored(&w, a));
    arena_reset(r);
    EXPECT_INT(0, taken());
    test_world_close(&w);
}

TEST(a_read_for_which_there_is_no_memory_gives_less_or_fails_alone)
{
    struct test_world w;
    test_world_open(&w);
    create(&w, a);
    kinesis_PutRecordsRequestEntryList list = entries(a);
    for (int i = 0; i < 3; i++) // more than is cached: some must be read from the disk
        EXPECT_OK(put(&w, a, list));
    Str from = iterator(&w, a);
    size_t n = 0, refused = 0, fewer = 0;
    bool hit = true;
    for (uint64_t after = 2; hit; after++) {
        memory_fault_set(MEMORY_REQUEST, after, UINT64_MAX);
        AUTO(arena) r = arena_open_request();
        Err e = get(&w, r, from, &n);
        hit = memory_fault_seen(MEMORY_REQUEST) > after;
        memory_fault_set(MEMORY_REQUEST, 0, 0);
        EXPECT(e.kind == ERR_NONE || e.kind == ERR_MEMORY);
        EXPECT(e.kind == ERR_MEMORY || (n > 0 && (hit || n == 3 * RECORDS)));
        refused += e.kind == ERR_MEMORY;
        fewer += e.kind == ERR_NONE && n < 3 * RECORDS;
        arena_reset(r);
        EXPECT_INT(0, taken());
        EXPECT_INT(3 * RECORDS, stored(&w, a));
    }
    EXPECT(refused > 1 && fewer > 1);
    test_world_close(&w);
}

TEST(when_bookkeeping_finds_no_memory_the_reserve_serves_it_and_the_put_succeeds)
{
    struct test_world w;
    test_world_open(&w);
    EXPECT_OK(memory_setup(MEMORY_REQUESTS_BYTES_MIN, MEMORY_RESERVE_BYTES));
    create(&w, a);
    kinesis_PutRecordsRequestEntryList list = entries(a);
    for (uint64_t after = 0; after < 6; after++) {
        memory_fault_set(MEMORY_BOOKKEEPING, after, 2);
        AUTO(arena) r = arena_open_request();
        EXPECT(r != NULL);
        Err e = put(&w, r, list);
        memory_fault_set(MEMORY_BOOKKEEPING, 0, 0);
        EXPECT(e.kind == ERR_NONE || e.kind == ERR_MEMORY); // refused while the reserve was gone
        EXPECT(!memory_is_short());
    }
    EXPECT(stored(&w, a) > 0);
    EXPECT_OK(memory_setup(0, 0));
    test_world_close(&w);
}
