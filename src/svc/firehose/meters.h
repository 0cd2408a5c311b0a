// SPDX-License-Identifier: Apache-2.0
// What CloudWatch is told of a delivery stream (namespace AWS/Firehose, dimension
// DeliveryStreamName): what its front door counts, here; what its delivery counts, in
// delivery_meters. Source: Firehose developer guide, "Monitoring with CloudWatch".
#pragma once
#include "hub/metrics.h"

struct delivery_meters;

struct hose_meters {
    struct meter put_bytes, batch_bytes;          // of a request, of what was stored
    struct meter batch_records;                   // of a request, as asked for
    struct meter in_bytes, in_records;            // of a request, of what was stored
    struct meter throttled;                       // records
    struct wide_meter put_latency, batch_latency; // ms
    struct wide_meter describe_latency, update_latency;
    struct meter key_denied, key_disabled, key_invalid, key_missing; // of encrypted streams
};

// How a put has ended.
typedef struct HosePut {
    bool single;
    int64_t records, stored, throttled, bytes; // bytes: of what is stored
    int64_t took_ns;
} HosePut;
void hose_meters_put(struct hose_meters *m, const HosePut *p);
void hose_meters_done(struct hose_meters *m);

// What is told of a stream once a minute.
typedef struct HoseTold {
    Str stream;
    struct hose_meters *meters;
    struct delivery_meters *delivery; // NULL: it has none
    const char *destination;          // "S3", "HttpEndpoint": of DeliveryTo<X>
    bool to_s3;                       // has ObjectCount
    bool by_s3;                       // has DeliveryToS3 beside its own
    bool has_attempts;                // ProcessedBytes, ProcessedRecords
    bool has_freshness, has_acks;
    const struct HoseRates *rates; // NULL: no limits
    double scale;
} HoseTold;
void hose_meters_tell(const HoseTold *t, MetricTold *m, struct metric_sink *sink);
// Calls of the stream's operations, for AWS/Usage; before what is above empties the meters.
void hose_meters_tell_calls(struct hose_meters *s, MetricTold *m, struct metric_sink *sink);
// One metric of AWS/Usage: Type "API" with an operation, or "Resource" with a kind of things.
void hose_meters_tell_usage(MetricTold *m, struct metric_sink *sink, Str name, Str type,
                            Str resource, Gathered values);

// ListDeliveryStreams, which is of no stream: of an account in a region.
struct hose_lists {
    pthread_mutex_t lock;
    struct hose_list *first;
};
void hose_lists_count(struct hose_lists *l, Str account, Str region, int64_t took_ms);
void hose_lists_tell(struct hose_lists *l, struct metric_sink *sink);
void hose_lists_done(struct hose_lists *l);
