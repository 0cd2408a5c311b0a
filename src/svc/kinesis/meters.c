// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/meters.h"
#include "base/time.h"

// ---- Counting

void meters_put(struct stream_meters *m, bool single, const PutCounts *c)
{
    int64_t took_ms = c->took_ns / NS_PER_MS;
    wide_meter_add(single ? &m->put_latency : &m->puts_latency, took_ms);
    if (c->stored > 0)
        meter_add(single ? &m->put_bytes : &m->puts_bytes, c->bytes);
    else
        meter_add(single ? &m->put_failed : &m->puts_failed, 1);
    if (c->throttled > 0)
        meter_add(&m->write_exceeded, c->throttled);
    if (single)
        return;
    int64_t lost = c->records - c->stored - c->throttled;
    meter_add(&m->puts_total, c->records);
    meter_add(&m->puts_stored, c->stored);
    if (lost > 0)
        meter_add(&m->puts_lost, lost);
    if (c->throttled > 0)
        meter_add(&m->puts_throttled, c->throttled);
}

void meters_get(struct stream_meters *m, int64_t records, int64_t bytes, int64_t behind_ms,
                int64_t took_ns)
{
    meter_add(&m->get_bytes, bytes);
    meter_add(&m->get_records, records);
    wide_meter_add(&m->get_age, behind_ms);
    wide_meter_add(&m->get_latency, took_ns / NS_PER_MS);
}

void meters_done(struct stream_meters *m)
{
    wide_meter_done(&m->put_latency);
    wide_meter_done(&m->puts_latency);
    wide_meter_done(&m->get_latency);
    wide_meter_done(&m->get_age);
}

void meters_subscribe(struct consumer_meters *m, bool well, bool exceeded)
{
    meter_add(&m->subscribed, well);
    meter_add(&m->exceeded, exceeded);
}

void meters_push(struct consumer_meters *m, int64_t records, int64_t bytes, int64_t behind_ms)
{
    meter_add(&m->event_bytes, bytes);
    meter_add(&m->event_records, records);
    wide_meter_add(&m->event_behind, behind_ms);
}

void meters_shard_done(struct shard_meters *m)
{
    wide_meter_done(&m->out_age);
}

void meters_consumer_done(struct consumer_meters *m)
{
    wide_meter_done(&m->event_behind);
}

// ---- Telling

#define COUNT S("Count")
#define BYTES S("Bytes")
#define MILLISECONDS S("Milliseconds")

// What was counted only when it was not zero, as if it had been counted each time.
static Gathered with_zeros(Gathered some, int64_t times)
{
    if (some.count == 0)
        return (Gathered){ .count = times };
    if (some.count < times) {
        some.min = 0;
        some.count = times;
    }
    return some;
}

// One for each request that went well and zero for each that did not.
static Gathered successes(int64_t good, int64_t failed)
{
    return (Gathered){ .count = good + failed, .sum = good, .min = failed == 0, .max = good > 0 };
}

// So many times the value one.
static Gathered ones(int64_t n)
{
    return (Gathered){ .count = n, .sum = n, .min = 1, .max = 1 };
}

static void tell_puts(struct telling *t, struct stream_meters *s)
{
    Gathered put_bytes = meter_take(&s->put_bytes), put_failed = meter_take(&s->put_failed);
    Gathered puts_bytes = meter_take(&s->puts_bytes), puts_failed = meter_take(&s->puts_failed);
    Gathered stored = meter_take(&s->puts_stored);
    int64_t puts = puts_bytes.count + puts_failed.count;
    metric_tell(t, S("PutRecord.Bytes"), BYTES, put_bytes);
    metric_tell_wide(t, S("PutRecord.Latency"), MILLISECONDS, &s->put_latency);
    metric_tell(t, S("PutRecord.Success"), COUNT, successes(put_bytes.count, put_failed.count));
    metric_tell(t, S("PutRecords.Bytes"), BYTES, puts_bytes);
    metric_tell_wide(t, S("PutRecords.Latency"), MILLISECONDS, &s->puts_latency);
    metric_tell(t, S("PutRecords.Success"), COUNT, successes(puts_bytes.count, puts_failed.count));
    metric_tell(t, S("PutRecords.TotalRecords"), COUNT, meter_take(&s->puts_total));
    metric_tell(t, S("PutRecords.SuccessfulRecords"), COUNT, stored);
    metric_tell(t, S("PutRecords.FailedRecords"), COUNT,
                with_zeros(meter_take(&s->puts_lost), puts));
    metric_tell(t, S("PutRecords.ThrottledRecords"), COUNT,
                with_zeros(meter_take(&s->puts_throttled), puts));
    metric_tell(t, S("IncomingBytes"), BYTES, gathered_add(put_bytes, puts_bytes));
    metric_tell(t, S("IncomingRecords"), COUNT, gathered_add(ones(put_bytes.count), stored));
    metric_tell(
        t, S("WriteProvisionedThroughputExceeded"), COUNT,
        with_zeros(meter_take(&s->write_exceeded), puts + put_bytes.count + put_failed.count));
}

static void tell_gets(struct telling *t, struct stream_meters *s)
{
    Gathered bytes = meter_take(&s->get_bytes), failed = meter_take(&s->get_failed);
    metric_tell(t, S("GetRecords.Bytes"), BYTES, bytes);
    metric_tell_wide(t, S("GetRecords.IteratorAgeMilliseconds"), MILLISECONDS, &s->get_age);
    metric_tell_wide(t, S("GetRecords.Latency"), MILLISECONDS, &s->get_latency);
    metric_tell(t, S("GetRecords.Records"), COUNT, meter_take(&s->get_records));
    metric_tell(t, S("GetRecords.Success"), COUNT, successes(bytes.count, failed.count));
    metric_tell(t, S("ReadProvisionedThroughputExceeded"), COUNT,
                with_zeros(meter_take(&s->read_exceeded), bytes.count + failed.count));
}

void meters_tell(struct stream_meters *s, Str stream, MetricTold *m, struct metric_sink *sink)
{
    struct telling t = { m, sink };
    m->dims[0] = (MetricDimension){ S("StreamName"), stream };
    m->dim_count = 1;
    tell_puts(&t, s);
    tell_gets(&t, s);
}

void meters_tell_consumer(struct consumer_meters *s, Str stream, Str consumer, MetricTold *m,
                          struct metric_sink *sink)
{
    struct telling t = { m, sink };
    Gathered bytes = meter_take(&s->event_bytes), failed = meter_take(&s->event_failed);
    m->dims[0] = (MetricDimension){ S("ConsumerName"), consumer };
    m->dims[1] = (MetricDimension){ S("StreamName"), stream };
    m->dim_count = 2;
    metric_tell(&t, S("SubscribeToShard.Success"), COUNT, meter_take(&s->subscribed));
    metric_tell(&t, S("SubscribeToShard.RateExceeded"), COUNT, meter_take(&s->exceeded));
    metric_tell(&t, S("SubscribeToShardEvent.Bytes"), BYTES, bytes);
    metric_tell(&t, S("SubscribeToShardEvent.Records"), COUNT, meter_take(&s->event_records));
    metric_tell_wide(&t, S("SubscribeToShardEvent.MillisBehindLatest"), MILLISECONDS,
                     &s->event_behind);
    metric_tell(&t, S("SubscribeToShardEvent.Success"), COUNT,
                successes(bytes.count, failed.count));
}

void meters_tell_shard(struct shard_meters *s, unsigned wanted, Str stream, Str shard,
                       MetricTold *m, struct metric_sink *sink)
{
    struct telling t = { m, sink };
    Gathered in = meter_take(&s->in_bytes), out = meter_take(&s->out_bytes);
    Gathered refused = meter_take(&s->write_exceeded), unread = meter_take(&s->read_exceeded);
    const struct {
        unsigned bit;
        Str name, unit;
        Gathered values;
    } all[] = {
        { SHARD_METRIC_IN_BYTES, S("IncomingBytes"), BYTES, in },
        { SHARD_METRIC_IN_RECORDS, S("IncomingRecords"), COUNT, ones(in.count) },
        { SHARD_METRIC_OUT_BYTES, S("OutgoingBytes"), BYTES, out },
        { SHARD_METRIC_OUT_RECORDS, S("OutgoingRecords"), COUNT, meter_take(&s->out_records) },
        { SHARD_METRIC_WRITE_EXCEEDED, S("WriteProvisionedThroughputExceeded"), COUNT,
          with_zeros(refused, in.count + refused.count) },
        { SHARD_METRIC_READ_EXCEEDED, S("ReadProvisionedThroughputExceeded"), COUNT,
          with_zeros(unread, out.count + unread.count) },
    };
    m->dims[0] = (MetricDimension){ S("ShardId"), shard };
    m->dims[1] = (MetricDimension){ S("StreamName"), stream };
    m->dim_count = 2;
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if ((wanted & all[i].bit) != 0)
            metric_tell(&t, all[i].name, all[i].unit, all[i].values);
    if ((wanted & SHARD_METRIC_AGE) != 0)
        metric_tell_wide(&t, S("IteratorAgeMilliseconds"), MILLISECONDS, &s->out_age);
    else
        wide_meter_drop(&s->out_age);
}
