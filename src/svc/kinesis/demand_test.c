// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/demand.h"
#include "base/test.h"
#include "svc/kinesis/reshard.h"
#include "svc/kinesis/stream_priv.h"

#define START_MS INT64_C(1700000000000)
#define DAY_MS INT64_C(86400000)
enum { MIB = 1 << 20, KB = 1000 };

static struct stream *sample(void)
{
    const uint64_t ids[] = { 1, 2, 3, 4 };
    struct stream *s = stream_new(S("000000000000"), S("us-east-1"), S("clicks"));
    s->status = STREAM_ACTIVE;
    s->on_demand = true;
    s->created_ms = START_MS;
    stream_split_evenly(s, STREAM_ON_DEMAND_SHARDS, START_MS / 1000, ids);
    demand_begin(s, START_MS);
    return s;
}

// As the service carries it out.
static void carry_out(struct stream *s, int64_t now_ms, const StreamChange *c)
{
    static uint64_t id = 100;
    size_t before = s->shard_count;
    if (c->kind == CHANGE_SPLIT)
        demand_keep(s, now_ms, s->open_count + 1);
    EXPECT_OK(reshard_apply(s, c));
    for (size_t i = before; i < s->shard_count; i++)
        s->shards[i]->id = id++;
}

// Minutes of traffic in bytes a second on the shard that owns the key, and what follows from them.
static int64_t minutes(struct stream *s, int64_t now_ms, int n, HashKey key, uint64_t bytes_per_s)
{
    for (int i = 0; i < n; i++) {
        StreamChange change;
        if (bytes_per_s > 0)
            demand_note(stream_route(s, key), bytes_per_s * 60);
        now_ms += DEMAND_MINUTE_MS;
        demand_measure(s, now_ms);
        for (int k = 0; k < DEMAND_CHANGES_MAX && demand_next(s, now_ms, &change); k++) {
            carry_out(s, now_ms, &change);
            if (change.kind == CHANGE_MERGE)
                break;
        }
    }
    return now_ms;
}

TEST(a_stream_with_little_traffic_keeps_its_four_shards)
{
    AUTO(stream) s = sample();
    minutes(s, START_MS, 100, 0, 100 * KB);
    EXPECT(s->open_count == 4 && s->shard_count == 4);
}

TEST(capacity_is_twice_the_peak)
{
    AUTO(stream) s = sample();
    StreamChange change;
    for (size_t i = 0; i < 4; i++) // 6 MiB/s in all
        demand_note(s->open[i], (size_t)MIB * 60 * 3 / 2);
    EXPECT(demand_measure(s, START_MS + DEMAND_MINUTE_MS));
    EXPECT_INT(12, demand_shards(s, START_MS + DEMAND_MINUTE_MS));
    while (demand_next(s, START_MS + DEMAND_MINUTE_MS, &change))
        carry_out(s, START_MS + DEMAND_MINUTE_MS, &change);
    EXPECT_INT(12, s->open_count);
    EXPECT_INT(12, demand_shards(s, START_MS + DEMAND_MINUTE_MS));
}

TEST(records_count_as_bytes_do)
{
    AUTO(stream) s = sample();
    for (int i = 0; i < 60 * 3000; i++)
        demand_note(s->open[i % 4], 1);
    EXPECT(demand_measure(s, START_MS + DEMAND_MINUTE_MS));
    EXPECT_INT(6, demand_shards(s, START_MS + DEMAND_MINUTE_MS));
}

TEST(a_shard_that_is_hot_for_long_is_split_in_the_middle)
{
    AUTO(stream) s = sample();
    const struct shard *hot = s->open[1];
    int64_t now_ms = minutes(s, START_MS, 10, hot->start, 700 * KB);
    EXPECT_INT(4, s->open_count); // not for a burst
    minutes(s, now_ms, 3, hot->start, 700 * KB);
    EXPECT(s->open_count == 5 && shard_is_closed(hot));
    EXPECT(s->open[1]->start == hot->start && s->open[2]->end == hot->end);
    EXPECT(s->open[2]->start - s->open[1]->start == (hot->end - hot->start) / 2 + 1);
}

TEST(one_hot_key_does_not_make_shards_without_end)
{
    AUTO(stream) s = sample();
    minutes(s, START_MS, 2000, 12345, 900 * KB);
    EXPECT(s->open_count > 5 && s->open_count < 20);
}

TEST(shards_are_kept_for_thirty_days_and_then_merged_slowly)
{
    AUTO(stream) s = sample();
    int64_t now_ms = minutes(s, START_MS, 1, 0, 8 * MIB);
    EXPECT_INT(16, s->open_count);
    now_ms += 29 * DAY_MS;
    now_ms = minutes(s, now_ms, 50, 0, KB);
    EXPECT_INT(16, s->open_count);
    now_ms += DAY_MS;
    now_ms = minutes(s, now_ms, 1, 0, KB);
    EXPECT_INT(15, s->open_count);
    now_ms = minutes(s, now_ms, 100, 0, KB);
    EXPECT_INT(4, s->open_count);
    EXPECT(s->open[0]->start == 0 && s->open[3]->end == HASH_KEY_MAX);
}

TEST(warm_throughput_is_a_floor)
{
    AUTO(stream) s = sample();
    s->warm_mibps = 9;
    minutes(s, START_MS, 1, 0, 0);
    EXPECT_INT(9, s->open_count);
}

TEST(a_row_remembers_the_peaks)
{
    AUTO(stream) s = sample();
    AUTO(stream) back = NULL;
    AUTO_BUF(row);
    s->id = stream_own(S("x"));
    minutes(s, START_MS, 1, 0, 8 * MIB);
    stream_row_write(&row, s);
    EXPECT_OK(stream_row_read(a, stream_row_key(a, s->account, s->region, s->name), buf_str(&row),
                              &back));
    EXPECT_INT(16, demand_shards(back, START_MS + 2 * DAY_MS));
    EXPECT_INT(4, demand_shards(back, START_MS + 40 * DAY_MS));
}
