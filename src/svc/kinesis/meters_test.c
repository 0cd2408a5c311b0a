// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/meters.h"
#include "base/test.h"

#include <pthread.h>

struct notes {
    struct metric_sink sink; // first
    struct arena *a;
    Str text; // "name count/sum/min/max" of all
};

static void note(struct metric_sink *sink, const MetricTold *m)
{
    struct notes *n = (struct notes *)sink;
    n->text = str_fmt(n->a, "%.*s%s%.*s %lld/%lld/%lld/%lld", FMT(n->text),
                      n->text.n > 0 ? ", " : "", FMT(m->name), (long long)m->values.count,
                      (long long)m->values.sum, (long long)m->values.min, (long long)m->values.max);
}

static Str told(struct arena *a, struct stream_meters *m)
{
    struct notes n = { .sink.take = note, .a = a, .text = S("") };
    MetricTold as = { .name_space = S("AWS/Kinesis") };
    meters_tell(m, S("s"), &as, &n.sink);
    return n.text;
}

TEST(nothing_is_told_of_an_idle_stream)
{
    struct stream_meters m = { 0 };
    EXPECT_STR(S(""), told(a, &m));
}

static void note_bins(struct metric_sink *sink, const MetricTold *m)
{
    struct notes *n = (struct notes *)sink;
    if (!str_ends(m->name, S("Latency")) && m->bin_count > 0)
        n->text = str_cat3(n->a, n->text, m->name, S("? "));
    for (size_t i = 0; i < m->bin_count; i++)
        n->text = str_fmt(n->a, "%.*s%lldx%lld ", FMT(n->text), (long long)m->bins[i].value,
                          (long long)m->bins[i].count);
}

TEST(latencies_are_told_with_how_often_each_value_came)
{
    struct stream_meters m = { 0 };
    struct notes n = { .sink.take = note_bins, .a = a, .text = S("") };
    MetricTold as = { .name_space = S("AWS/Kinesis") };
    static const int64_t took_ms[] = { 3, 3, 0, 1000, 3 };
    for (size_t i = 0; i < COUNT_OF(took_ms); i++)
        meters_put(&m, true,
                   &(PutCounts){ .records = 1, .stored = 1, .took_ns = took_ms[i] * 1000000 });
    meters_tell(&m, S("s"), &as, &n.sink);
    EXPECT_STR(S("0x1 3x3 1007x1 "), n.text);
    EXPECT(as.bin_count == 0);
    n.text = S("");
    meters_tell(&m, S("s"), &as, &n.sink);
    EXPECT_STR(S(""), n.text);
    meters_done(&m);
}

TEST(a_value_is_found_again_in_its_bin_within_three_per_cent)
{
    size_t last = 0;
    (void)a;
    for (int64_t value = 0; value < INT64_C(1) << 36; value += 1 + value / 50) {
        size_t bin = meter_bin_of(value);
        int64_t back = meter_bin_value(bin), off = back > value ? back - value : value - back;
        EXPECT(bin >= last && bin < METER_BINS);
        EXPECT(off * 100 <= value * 3 + 100 * (value >= 16) && (value >= 16 || off == 0));
        EXPECT_INT(bin, meter_bin_of(back));
        last = bin;
    }
    EXPECT_INT(0, meter_bin_of(-5));
    EXPECT_INT(METER_BINS - 1, meter_bin_of(INT64_MAX));
}

TEST(single_puts_and_batches_are_told_apart_and_together)
{
    struct stream_meters m = { 0 };
    meters_put(&m, true,
               &(PutCounts){ .records = 1, .stored = 1, .bytes = 10, .took_ns = 2000000 });
    meters_put(&m, true, &(PutCounts){ .records = 1, .throttled = 1 });
    meters_put(
        &m, false,
        &(PutCounts){ .records = 5, .stored = 3, .throttled = 1, .bytes = 30, .took_ns = 9000000 });
    EXPECT_STR(
        S("PutRecord.Bytes 1/10/10/10, PutRecord.Latency 2/2/0/2, PutRecord.Success 2/1/0/1, "
          "PutRecords.Bytes 1/30/30/30, PutRecords.Latency 1/9/9/9, "
          "PutRecords.Success 1/1/1/1, PutRecords.TotalRecords 1/5/5/5, "
          "PutRecords.SuccessfulRecords 1/3/3/3, PutRecords.FailedRecords 1/1/1/1, "
          "PutRecords.ThrottledRecords 1/1/1/1, IncomingBytes 2/40/10/30, "
          "IncomingRecords 2/4/1/3, WriteProvisionedThroughputExceeded 3/2/0/1"),
        told(a, &m));
    EXPECT_STR(S(""), told(a, &m)); // telling empties
    meters_done(&m);
}

TEST(reads_are_told_with_their_age)
{
    struct stream_meters m = { 0 };
    meters_get(&m, 4, 400, 1500, 3000000);
    meters_get(&m, 0, 0, 0, 0);
    meters_get_failed(&m);
    meter_add(&m.read_exceeded, 1);
    EXPECT_STR(S("GetRecords.Bytes 2/400/0/400, GetRecords.IteratorAgeMilliseconds 2/1500/0/1500, "
                 "GetRecords.Latency 2/3/0/3, GetRecords.Records 2/4/0/4, "
                 "GetRecords.Success 3/2/0/1, ReadProvisionedThroughputExceeded 3/1/0/1"),
               told(a, &m));
    meters_done(&m);
}

TEST(a_consumer_tells_of_its_calls_and_its_events)
{
    struct consumer_meters m = { 0 };
    struct notes n = { .sink.take = note, .a = a, .text = S("") };
    MetricTold as = { 0 };
    meters_subscribe(&m, true, false);
    meters_subscribe(&m, false, true);
    meters_push(&m, 2, 20, 0);
    meters_push(&m, 0, 0, 70);
    meter_add(&m.event_failed, 1);
    meters_tell_consumer(&m, S("s"), S("c"), &as, &n.sink);
    EXPECT_STR(S("SubscribeToShard.Success 2/1/0/1, SubscribeToShard.RateExceeded 2/1/0/1, "
                 "SubscribeToShardEvent.Bytes 2/20/0/20, SubscribeToShardEvent.Records 2/2/0/2, "
                 "SubscribeToShardEvent.MillisBehindLatest 2/70/0/70, "
                 "SubscribeToShardEvent.Success 3/2/0/1"),
               n.text);
    EXPECT(as.dim_count == 2 && str_eq(as.dims[0].value, S("c")));
    n.text = S("");
    meters_tell_consumer(&m, S("s"), S("c"), &as, &n.sink);
    EXPECT_STR(S(""), n.text);
    meters_consumer_done(&m);
}

TEST(of_a_shard_only_what_is_wanted_is_told)
{
    struct shard_meters m = { 0 };
    struct notes n = { .sink.take = note, .a = a, .text = S("") };
    MetricTold as = { 0 };
    meter_add(&m.in_bytes, 7);
    meter_add(&m.in_bytes, 9);
    meter_add(&m.out_bytes, 16);
    wide_meter_add(&m.out_age, 5);
    meters_tell_shard(&m, SHARD_METRIC_IN_RECORDS | SHARD_METRIC_AGE, S("s"), S("shardId-0"), &as,
                      &n.sink);
    EXPECT_STR(S("IncomingRecords 2/2/1/1, IteratorAgeMilliseconds 1/5/5/5"), n.text);
    EXPECT(as.dim_count == 2 && str_eq(as.dims[0].value, S("shardId-0")));
    n.text = S("");
    meters_tell_shard(&m, SHARD_METRICS_ALL, S("s"), S("shardId-0"), &as, &n.sink);
    EXPECT_STR(S(""), n.text);
    wide_meter_add(&m.out_age, 5);
    meters_tell_shard(&m, 0, S("s"), S("shardId-0"), &as, &n.sink); // what nobody wants is dropped
    meters_tell_shard(&m, SHARD_METRICS_ALL, S("s"), S("shardId-0"), &as, &n.sink);
    EXPECT_STR(S(""), n.text);
    meters_shard_done(&m);
}

// ---- The meters themselves

enum { THREADS = 4, ADDS = 20000 };

static void *add_many(void *meter)
{
    for (int i = 1; i <= ADDS; i++)
        meter_add(meter, i);
    return NULL;
}

TEST(no_value_is_lost_between_threads)
{
    struct meter m = { 0 };
    pthread_t threads[THREADS];
    Gathered sum = { 0 };
    (void)a;
    for (size_t i = 0; i < THREADS; i++)
        EXPECT_INT(0, pthread_create(&threads[i], NULL, add_many, &m));
    for (int i = 0; i < 100; i++) {
        Gathered g = meter_take(&m); // while they add
        sum.count += g.count;
        sum.sum += g.sum;
    }
    for (size_t i = 0; i < THREADS; i++)
        EXPECT_INT(0, pthread_join(threads[i], NULL));
    Gathered rest = meter_take(&m);
    EXPECT_INT(THREADS * ADDS, sum.count + rest.count);
    EXPECT_INT((int64_t)THREADS * ADDS * (ADDS + 1) / 2, sum.sum + rest.sum);
}

static void *add_many_wide(void *meter)
{
    for (int i = 1; i <= ADDS; i++)
        wide_meter_add(meter, i % 1000);
    return NULL;
}

TEST(threads_that_meet_in_the_first_value_share_the_bins)
{
    struct wide_meter m = { 0 };
    pthread_t threads[THREADS];
    GatheredBin bins[METER_BINS];
    int64_t count = 0;
    (void)a;
    for (size_t i = 0; i < THREADS; i++)
        EXPECT_INT(0, pthread_create(&threads[i], NULL, add_many_wide, &m));
    for (int i = 0; i < 20; i++)
        for (size_t n = wide_meter_take_bins(&m, bins); n > 0; n--)
            count += bins[n - 1].count;
    for (size_t i = 0; i < THREADS; i++)
        EXPECT_INT(0, pthread_join(threads[i], NULL));
    for (size_t n = wide_meter_take_bins(&m, bins); n > 0; n--)
        count += bins[n - 1].count;
    EXPECT_INT(THREADS * ADDS, count);
    wide_meter_done(&m);
}
