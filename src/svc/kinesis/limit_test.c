// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "svc/kinesis/limit.h"

static const int64_t start = INT64_C(1000) * NS_PER_S;

TEST(a_shard_takes_a_thousand_records_at_once_and_then_one_each_millisecond)
{
    ShardLimits l = { 0 };
    for (int i = 0; i < 1000; i++)
        EXPECT(limit_write(&l, 1, start, 1, 100));
    EXPECT(!limit_write(&l, 1, start, 1, 100));
    EXPECT(!limit_write(&l, 1, start + NS_PER_MS - 1, 1, 100));
    EXPECT(limit_write(&l, 1, start + NS_PER_MS, 1, 100));
    EXPECT(!limit_write(&l, 1, start + NS_PER_MS, 1, 100));
}

TEST(a_shard_takes_a_mebibyte_a_second)
{
    ShardLimits l = { 0 };
    EXPECT(limit_write(&l, 1, start, 1, 1 << 20));
    EXPECT(!limit_write(&l, 1, start, 1, 1));
    EXPECT(!limit_write(&l, 1, start + NS_PER_S / 2, 1, (1 << 19) + 1));
    EXPECT(limit_write(&l, 1, start + NS_PER_S / 2, 1, 1 << 19));
}

TEST(a_refused_write_costs_nothing)
{
    ShardLimits l = { 0 };
    EXPECT(limit_write(&l, 1, start, 1, 1 << 20));
    ShardLimits before = l;
    EXPECT(!limit_write(&l, 1, start, 1, 4096));
    EXPECT(before.records_full_ns == l.records_full_ns && before.bytes_full_ns == l.bytes_full_ns &&
           before.burst_full_ns == l.burst_full_ns);
}

TEST(large_records_draw_on_a_burst_of_ten_mebibytes)
{
    ShardLimits l = { 0 };
    EXPECT(limit_write(&l, 1, start, 1, 10 << 20));
    EXPECT(!limit_write(&l, 1, start, 1, 2 << 20));
    EXPECT(limit_write(&l, 1, start, 1, 1000)); // small ones go on
    EXPECT(!limit_write(&l, 1, start + NS_PER_S, 1, 2 << 20));
    EXPECT(limit_write(&l, 1, start + 3 * NS_PER_S, 1, 2 << 20));
}

TEST(the_largest_records_fit_with_their_partition_keys)
{
    ShardLimits l = { 0 }, large = { 0 };
    EXPECT(limit_write(&l, 1, start, 1, (1 << 20) + 1024));
    EXPECT(!limit_write(&l, 1, start, 1, (1 << 20) + 1024));   // it is no large record
    EXPECT(!limit_write(&l, 1, start + NS_PER_S, 1, 1 << 20)); // and the key is owed
    EXPECT(limit_write(&l, 1, start + 2 * NS_PER_S, 1, (1 << 20) + 1024));
    EXPECT(limit_write(&large, 1, start, 1, (10 << 20) + 1024));
    EXPECT(!limit_write(&large, 1, start, 1, (10 << 20) + 1024));
    EXPECT(limit_write(&large, 1, start + 11 * NS_PER_S, 1, (10 << 20) + 1024));
}

TEST(five_reads_a_second_then_they_are_refused)
{
    ShardLimits l = { 0 };
    for (int i = 0; i < 5; i++)
        EXPECT(limit_read(&l, 1, start));
    EXPECT(!limit_read(&l, 1, start));
    EXPECT(!limit_read(&l, 1, start + 200 * NS_PER_MS - 1));
    EXPECT(limit_read(&l, 1, start + 200 * NS_PER_MS));
}

TEST(ten_mebibytes_read_block_a_shard_for_five_seconds)
{
    ShardLimits l = { 0 };
    EXPECT(limit_read(&l, 1, start));
    limit_read_done(&l, 1, start, 10 << 20);
    EXPECT(!limit_read(&l, 1, start + 5 * NS_PER_S - 1));
    EXPECT(limit_read(&l, 1, start + 5 * NS_PER_S + 1));
}

TEST(two_mebibytes_a_second_can_be_read_steadily)
{
    ShardLimits l = { 0 };
    for (int i = 0; i < 100; i++) {
        int64_t now = start + i * 200 * NS_PER_MS;
        EXPECT(limit_read(&l, 1, now));
        limit_read_done(&l, 1, now, (2 << 20) / 5);
    }
}

TEST(a_scale_multiplies_and_zero_lifts)
{
    ShardLimits l = { 0 };
    for (int i = 0; i < 2000; i++)
        EXPECT(limit_write(&l, 2, start, 1, 100));
    EXPECT(!limit_write(&l, 2, start, 1, 100));
    for (int i = 0; i < 5000; i++)
        EXPECT(limit_write(&l, 0, start, 1, 1 << 20) && limit_read(&l, 0, start));
}

TEST(a_tiny_scale_makes_calls_rare_and_never_impossible)
{
    ShardLimits l = { 0 };
    EXPECT(limit_read(&l, 0.01, start) && limit_iterator(&l, 0.01, start));
    EXPECT(limit_write(&l, 0.01, start, 1, 1 << 20));
    EXPECT(!limit_read(&l, 0.01, start + 19 * NS_PER_S));
    EXPECT(limit_read(&l, 0.01, start + 20 * NS_PER_S));
    EXPECT(!limit_write(&l, 0.01, start + 99 * NS_PER_S, 1, 1 << 20));
    EXPECT(limit_write(&l, 0.01, start + 100 * NS_PER_S, 1, 1 << 20));
}
