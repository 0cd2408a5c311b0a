// SPDX-License-Identifier: Apache-2.0
// What CloudWatch is told of a stream (namespace AWS/Kinesis): counted here, told once a minute
// through hub/metrics.h. The metrics of a stream always, those of its shards as
// EnableEnhancedMonitoring says. Source: Kinesis developer guide, "Monitoring the Amazon Kinesis
// Data Streams Service with Amazon CloudWatch".
#pragma once
#include "hub/metrics.h"

// What can be reckoned from others when it is told is not counted: a success is a request that has
// bytes, and what is incoming is what both kinds of put have stored.
struct stream_meters {
    struct meter put_bytes, put_failed;   // PutRecord
    struct meter puts_bytes, puts_failed; // PutRecords
    struct meter puts_total, puts_stored, puts_lost, puts_throttled;
    struct meter get_bytes, get_records, get_failed; // GetRecords
    struct wide_meter put_latency, puts_latency, get_latency, get_age;
    struct meter write_exceeded, read_exceeded;
};

struct shard_meters {
    struct meter in_bytes, write_exceeded; // of a record
    struct meter out_bytes, out_records;   // of a GetRecords
    struct wide_meter out_age;
    struct meter read_exceeded;
};

// Of a consumer: its calls of SubscribeToShard, and what it is pushed.
struct consumer_meters {
    struct meter subscribed, exceeded;       // 1 or 0 for each call
    struct meter event_bytes, event_records; // of an event
    struct wide_meter event_behind;
    struct meter event_failed; // subscriptions that ended with an error
};

// The metrics of shards as bits of a stream's `shard_metrics`, in the order of the API's names.
enum {
    SHARD_METRIC_IN_BYTES = 1,
    SHARD_METRIC_IN_RECORDS = 2,
    SHARD_METRIC_OUT_BYTES = 4,
    SHARD_METRIC_OUT_RECORDS = 8,
    SHARD_METRIC_WRITE_EXCEEDED = 16,
    SHARD_METRIC_READ_EXCEEDED = 32,
    SHARD_METRIC_AGE = 64,
    SHARD_METRIC_COUNT = 7,
    SHARD_METRICS_ALL = 127,
};

// How a put has ended.
typedef struct PutCounts {
    int64_t records, stored, throttled; // what is neither stored nor throttled is lost
    int64_t bytes;                      // of what is stored, keys included
    int64_t took_ns;
} PutCounts;
void meters_put(struct stream_meters *m, bool single, const PutCounts *c);

// How a GetRecords has ended: well, or not.
void meters_get(struct stream_meters *m, int64_t records, int64_t bytes, int64_t behind_ms,
                int64_t took_ns);
static inline void meters_get_failed(struct stream_meters *m)
{
    meter_add(&m->get_failed, 1);
}

// How a SubscribeToShard has ended: exceeded: another one was too recent or is open.
void meters_subscribe(struct consumer_meters *m, bool well, bool exceeded);
void meters_push(struct consumer_meters *m, int64_t records, int64_t bytes, int64_t behind_ms);

// What they have allocated.
void meters_done(struct stream_meters *m);
void meters_shard_done(struct shard_meters *m);
void meters_consumer_done(struct consumer_meters *m);

// Tells all of a stream's meters that have counted something, and empties them. `m` says whose they
// are; its dimensions are set here.
void meters_tell(struct stream_meters *s, Str stream, MetricTold *m, struct metric_sink *sink);
void meters_tell_consumer(struct consumer_meters *s, Str stream, Str consumer, MetricTold *m,
                          struct metric_sink *sink);
void meters_tell_shard(struct shard_meters *s, unsigned wanted, Str stream, Str shard,
                       MetricTold *m, struct metric_sink *sink);
