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

TEST(two_mebibytes_a_second_are_pushed_a_second_of_it_at_once)
{
    int64_t full = 0;
    size_t pushed = 0;
    for (int64_t now = start; now < start + 10 * NS_PER_S; now += NS_PER_MS) {
        for (; limit_push_at(full, 1) <= now; pushed += 100000)
            limit_push_done(&full, 1, now, 100000);
    }
    EXPECT(pushed >= 11 * (size_t)SHARD_READ_BYTES_PER_S - 100000);
    EXPECT(pushed <= 11 * (size_t)SHARD_READ_BYTES_PER_S + 100000);
    EXPECT(limit_push_at(full, 0) <= start); // without limits
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

// ---- A plain model of the rules, and random traffic on a clock of our own

// A bucket in the plainest form: what is in it, in billionths of a unit; full at first.
typedef struct Bucket {
    __int128 level, capacity;
    int64_t per_s, at_ns;
} Bucket;

static Bucket bucket(int64_t per_s, int64_t capacity)
{
    __int128 full = (__int128)capacity * NS_PER_S;
    return (Bucket){ .level = full, .capacity = full, .per_s = per_s, .at_ns = start };
}

static void refill(Bucket *b, int64_t now_ns)
{
    b->level = MIN(b->level + (__int128)(now_ns - b->at_ns) * b->per_s, b->capacity);
    b->at_ns = now_ns;
}

// Whether it may give so much, give or take what rounding to nanoseconds has made of so many costs.
// A full one gives anything, and owes the rest.
static bool may_give(const Bucket *b, int64_t units, int64_t roundings)
{
    __int128 slack = (__int128)roundings * b->per_s;
    return b->level + slack >= MIN((__int128)units * NS_PER_S, b->capacity);
}

static bool must_give(const Bucket *b, int64_t units)
{
    return b->level >= (__int128)units * NS_PER_S || b->level == b->capacity;
}

static void give(Bucket *b, int64_t units)
{
    b->level -= (__int128)units * NS_PER_S;
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

TEST(random_writes_are_taken_and_refused_as_a_plain_model_of_the_rules_says)
{
    uint64_t random = 7;
    for (int run = 0; run < 20; run++) {
        ShardLimits l = { 0 };
        Bucket records = bucket(SHARD_WRITE_RECORDS_PER_S, SHARD_WRITE_RECORDS_PER_S);
        Bucket bytes = bucket(SHARD_WRITE_BYTES_PER_S, SHARD_WRITE_BYTES_PER_S);
        Bucket burst = bucket(SHARD_WRITE_BYTES_PER_S, SHARD_WRITE_BURST_BYTES);
        int64_t now = start, taken = 0, refused = 0;
        for (int i = 0; i < 20000; i++) {
            bool is_large = next_random(&random) % 500 == 0;
            int64_t n = is_large ? SHARD_WRITE_SMALL_BYTES_MAX + 1 +
                                       (int64_t)(next_random(&random) % (9 << 20))
                                 : (int64_t)(next_random(&random) % (run % 2 == 0 ? 600 : 6000));
            now += (int64_t)(next_random(&random) % (3 * NS_PER_MS / 2));
            refill(&records, now);
            refill(&bytes, now);
            refill(&burst, now);
            Bucket *by_bytes = is_large ? &burst : &bytes;
            bool fits = limit_write(&l, 1, now, 1, (size_t)n);
            if (fits)
                EXPECT(may_give(&records, 1, taken + 1) && may_give(by_bytes, n, taken + 1));
            else
                EXPECT(!must_give(&records, 1) || !must_give(by_bytes, n));
            taken += fits;
            refused += !fits;
            if (!fits)
                continue;
            give(&records, 1);
            give(&burst, n);
            burst.level = MAX(burst.level, (__int128)0); // small records never owe the burst
            if (!is_large)
                give(&bytes, n);
        }
        EXPECT(taken > 1000 && refused > 100);
    }
}

TEST(random_reads_are_taken_and_refused_as_a_plain_model_of_the_rules_says)
{
    uint64_t random = 11;
    for (int run = 0; run < 20; run++) {
        ShardLimits l = { 0 };
        Bucket calls = bucket(SHARD_READ_CALLS_PER_S, SHARD_READ_CALLS_PER_S);
        int64_t now = start, blocked_until = start, taken = 0, refused = 0;
        for (int i = 0; i < 5000; i++) {
            now += (int64_t)(next_random(&random) % (300 * NS_PER_MS));
            refill(&calls, now);
            bool fits = limit_read(&l, 1, now), is_blocked = now <= blocked_until + 1;
            if (fits)
                EXPECT(may_give(&calls, 1, taken + 1) && now >= blocked_until - 10);
            else
                EXPECT(!must_give(&calls, 1) || is_blocked);
            taken += fits;
            refused += !fits;
            if (!fits)
                continue;
            give(&calls, 1);
            int64_t n =
                next_random(&random) % 4 == 0 ? (int64_t)(next_random(&random) % (10 << 20)) : 0;
            limit_read_done(&l, 1, now, (size_t)n);
            if (n >
                SHARD_READ_BYTES_PER_S) // it makes up for all of it, from the end of its call on
                blocked_until = now + n * NS_PER_S / SHARD_READ_BYTES_PER_S;
            else if (l.read_full_ns - now >=
                     NS_PER_S) // several that made a second's worth together
                blocked_until = l.read_full_ns - NS_PER_S;
        }
        EXPECT(taken > 100 && refused > 100);
    }
}

TEST(three_shards_carry_three_thousand_records_of_a_kilobyte_a_second)
{
    enum { SHARDS = 3, SECONDS = 20, STEPS = 100, OFFERED = 15 };
    ShardLimits l[SHARDS] = { 0 };
    for (int i = 0; i < SHARDS; i++) // the second's worth that may come at once
        while (limit_write(&l[i], 1, start, 1, 1024))
            continue;
    for (int second = 0; second < SECONDS; second++) {
        int taken = 0, refused = 0;
        for (int step = 1; step <= STEPS; step++) {
            int64_t now = start + second * NS_PER_S + step * (NS_PER_S / STEPS);
            for (int i = 0; i < SHARDS * OFFERED; i++) {
                bool fits = limit_write(&l[i % SHARDS], 1, now, 1, 1024);
                taken += fits;
                refused += !fits;
            }
        }
        EXPECT_INT(3000, taken);
        EXPECT_INT(1500, refused);
    }
}
