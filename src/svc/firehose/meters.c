// SPDX-License-Identifier: Apache-2.0
#include "svc/firehose/meters.h"
#include "base/time.h"
#include "delivery/delivery.h"
#include "svc/firehose/limit.h"

#include <stdlib.h>

void hose_meters_put(struct hose_meters *m, const HosePut *p)
{
    wide_meter_add(p->single ? &m->put_latency : &m->batch_latency, p->took_ns / NS_PER_MS);
    meter_add(p->single ? &m->put_bytes : &m->batch_bytes, p->bytes);
    if (!p->single)
        meter_add(&m->batch_records, p->records);
    if (p->stored > 0) {
        meter_add(&m->in_bytes, p->bytes);
        meter_add(&m->in_records, p->stored);
    }
    if (p->throttled > 0)
        meter_add(&m->throttled, p->throttled);
}

void hose_meters_done(struct hose_meters *m)
{
    wide_meter_done(&m->put_latency);
    wide_meter_done(&m->batch_latency);
    wide_meter_done(&m->describe_latency);
    wide_meter_done(&m->update_latency);
}

// ---- Telling

#define COUNT S("Count")
#define BYTES S("Bytes")
#define MILLISECONDS S("Milliseconds")
#define SECONDS S("Seconds")

// So many times the value one: requests, of which each has one latency.
static Gathered ones(int64_t n)
{
    return (Gathered){ .count = n, .sum = n, .min = 1, .max = 1 };
}

static int64_t count_of(struct wide_meter *m)
{
    return atomic_load_explicit(&m->sums.count, memory_order_relaxed);
}

static void tell_operation(struct telling *t, const char *op, struct wide_meter *latency)
{
    int64_t requests = count_of(latency);
    metric_tell_wide(t, str_fmt(t->arena, "%s.Latency", op), MILLISECONDS, latency);
    metric_tell(t, str_fmt(t->arena, "%s.Requests", op), COUNT, ones(requests));
}

static void tell_front(struct telling *t, struct hose_meters *s)
{
    int64_t puts = count_of(&s->put_latency) + count_of(&s->batch_latency);
    metric_tell(t, S("IncomingBytes"), BYTES, meter_take(&s->in_bytes));
    metric_tell(t, S("IncomingRecords"), COUNT, meter_take(&s->in_records));
    metric_tell(t, S("IncomingPutRequests"), COUNT, ones(puts));
    metric_tell(t, S("ThrottledRecords"), COUNT, meter_take(&s->throttled));
    metric_tell(t, S("PutRecord.Bytes"), BYTES, meter_take(&s->put_bytes));
    metric_tell(t, S("PutRecordBatch.Bytes"), BYTES, meter_take(&s->batch_bytes));
    metric_tell(t, S("PutRecordBatch.Records"), COUNT, meter_take(&s->batch_records));
    tell_operation(t, "PutRecord", &s->put_latency);
    tell_operation(t, "PutRecordBatch", &s->batch_latency);
    tell_operation(t, "DescribeDeliveryStream", &s->describe_latency);
    tell_operation(t, "UpdateDeliveryStream", &s->update_latency);
    metric_tell(t, S("KMSKeyAccessDenied"), COUNT, meter_take(&s->key_denied));
    metric_tell(t, S("KMSKeyDisabled"), COUNT, meter_take(&s->key_disabled));
    metric_tell(t, S("KMSKeyInvalidState"), COUNT, meter_take(&s->key_invalid));
    metric_tell(t, S("KMSKeyNotFound"), COUNT, meter_take(&s->key_missing));
}

// The limits that are in force, as long as puts come.
static void tell_limits(struct telling *t, const HoseTold *h, int64_t puts)
{
    if (h->rates == NULL || puts == 0)
        return;
    const struct {
        Str name, unit;
        int64_t value;
    } all[] = {
        { S("BytesPerSecondLimit"), S("Bytes/Second"), h->rates->bytes },
        { S("RecordsPerSecondLimit"), S("Count/Second"), h->rates->records },
        { S("PutRequestsPerSecondLimit"), S("Count/Second"), h->rates->requests },
    };
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        int64_t value = (int64_t)((double)all[i].value * h->scale);
        metric_tell(t, all[i].name, all[i].unit,
                    (Gathered){ .count = 1, .sum = value, .min = value, .max = value });
    }
}

static void tell_objects(struct telling *t, struct delivery_meters *d)
{
    metric_tell(t, S("DeliveryToS3.Bytes"), BYTES, meter_take(&d->object_bytes));
    metric_tell(t, S("DeliveryToS3.Records"), COUNT, meter_take(&d->object_records));
    metric_tell(t, S("DeliveryToS3.Success"), COUNT, meter_take(&d->object_success));
    metric_tell(t, S("DeliveryToS3.DataFreshness"), SECONDS, meter_take(&d->object_freshness));
}

static void tell_source(struct telling *t, struct delivery_meters *d)
{
    Gathered reads = meter_take(&d->source_throttled), looks = meter_take(&d->look_throttled);
    metric_tell(t, S("DataReadFromKinesisStream.Bytes"), BYTES, meter_take(&d->source_bytes));
    metric_tell(t, S("DataReadFromKinesisStream.Records"), COUNT, meter_take(&d->source_records));
    metric_tell(t, S("KinesisMillisBehindLatest"), MILLISECONDS, meter_take(&d->behind_ms));
    metric_tell(t, S("ThrottledGetRecords"), COUNT, reads);
    metric_tell(t, S("ThrottledGetShardIterator"), COUNT, looks);
    metric_tell(t, S("ThrottledDescribeStream"), COUNT, looks);
}

static void tell_delivery(struct telling *t, const HoseTold *h)
{
    struct delivery_meters *d = h->delivery;
    const char *x = h->destination;
    struct arena *a = t->arena;
    metric_tell(t, str_fmt(a, "DeliveryTo%s.Bytes", x), BYTES, meter_take(&d->bytes));
    metric_tell(t, str_fmt(a, "DeliveryTo%s.Records", x), COUNT, meter_take(&d->records));
    metric_tell(t, str_fmt(a, "DeliveryTo%s.Success", x), COUNT, meter_take(&d->success));
    Gathered freshness = meter_take(&d->freshness);
    if (h->has_freshness)
        metric_tell(t, str_fmt(a, "DeliveryTo%s.DataFreshness", x), SECONDS, freshness);
    if (h->to_s3)
        metric_tell(t, S("DeliveryToS3.ObjectCount"), COUNT, meter_take(&d->objects));
    if (h->by_s3)
        tell_objects(t, d);
    if (h->has_attempts) {
        metric_tell(t, str_fmt(a, "DeliveryTo%s.ProcessedBytes", x), BYTES,
                    meter_take(&d->attempted_bytes));
        metric_tell(t, str_fmt(a, "DeliveryTo%s.ProcessedRecords", x), COUNT,
                    meter_take(&d->attempted_records));
    }
    if (h->has_acks)
        metric_tell(t, str_fmt(a, "DeliveryTo%s.DataAckLatency", x), SECONDS,
                    meter_take(&d->ack_latency));
    metric_tell(t, S("BackupToS3.Bytes"), BYTES, meter_take(&d->backup_bytes));
    metric_tell(t, S("BackupToS3.Records"), COUNT, meter_take(&d->backup_records));
    metric_tell(t, S("BackupToS3.Success"), COUNT, meter_take(&d->backup_success));
    metric_tell(t, S("BackupToS3.DataFreshness"), SECONDS, meter_take(&d->backup_freshness));
}

static void tell_processing(struct telling *t, struct delivery_meters *d)
{
    metric_tell(t, S("ExecuteProcessing.Success"), COUNT, meter_take(&d->process_ok));
    metric_tell(t, S("ExecuteProcessing.Duration"), MILLISECONDS, meter_take(&d->process_ms));
    metric_tell(t, S("SucceedProcessing.Records"), COUNT, meter_take(&d->processed_records));
    metric_tell(t, S("SucceedProcessing.Bytes"), BYTES, meter_take(&d->processed_bytes));
    metric_tell(t, S("SucceedConversion.Records"), COUNT, meter_take(&d->converted_records));
    metric_tell(t, S("SucceedConversion.Bytes"), BYTES, meter_take(&d->converted_bytes));
    metric_tell(t, S("FailedConversion.Records"), COUNT, meter_take(&d->unconverted_records));
    metric_tell(t, S("FailedConversion.Bytes"), BYTES, meter_take(&d->unconverted_bytes));
    metric_tell(t, S("PartitionCount"), COUNT, meter_take(&d->partitions));
    metric_tell(t, S("PartitionCountExceeded"), COUNT, meter_take(&d->partitions_exceeded));
    metric_tell(t, S("PerPartitionThroughput"), S("Bytes/Second"), meter_take(&d->partition_rate));
    metric_tell(t, S("LostRecords"), COUNT, meter_take(&d->lost_records));
    metric_tell(t, S("LostBytes"), BYTES, meter_take(&d->lost_bytes));
    metric_tell(t, S("JQProcessing.Duration"), MILLISECONDS, meter_take(&d->jq_ms));
}

void hose_meters_tell(const HoseTold *h, MetricTold *m, struct metric_sink *sink)
{
    AUTO(arena) tmp = arena_open();
    struct telling t = { m, sink, tmp };
    m->dims[0] = (MetricDimension){ S("DeliveryStreamName"), h->stream };
    m->dim_count = 1;
    int64_t puts = count_of(&h->meters->put_latency) + count_of(&h->meters->batch_latency);
    tell_front(&t, h->meters);
    tell_limits(&t, h, puts);
    if (h->delivery == NULL)
        return;
    tell_source(&t, h->delivery);
    tell_delivery(&t, h);
    tell_processing(&t, h->delivery);
}

// ---- Usage

void hose_meters_tell_usage(MetricTold *m, struct metric_sink *sink, Str name, Str type,
                            Str resource, Gathered values)
{
    MetricTold told = { .account = m->account,
                        .region = m->region,
                        .name_space = S("AWS/Usage"),
                        .dims = { { S("Class"), S("None") },
                                  { S("Resource"), resource },
                                  { S("Service"), S("Firehose") },
                                  { S("Type"), type } },
                        .dim_count = 4 };
    struct telling t = { &told, sink, NULL };
    metric_tell(&t, name, COUNT, values);
}

void hose_meters_tell_calls(struct hose_meters *s, MetricTold *m, struct metric_sink *sink)
{
    struct {
        Str op;
        struct wide_meter *latency;
    } all[] = { { S("PutRecord"), &s->put_latency },
                { S("PutRecordBatch"), &s->batch_latency },
                { S("DescribeDeliveryStream"), &s->describe_latency },
                { S("UpdateDestination"), &s->update_latency } };
    for (size_t i = 0; i < COUNT_OF(all); i++)
        hose_meters_tell_usage(m, sink, S("CallCount"), S("API"), all[i].op,
                               ones(count_of(all[i].latency)));
}

// ---- Lists

struct hose_list {
    struct hose_list *next;
    struct arena *arena;
    Str account, region;
    struct wide_meter latency;
};

void hose_lists_count(struct hose_lists *l, Str account, Str region, int64_t took_ms)
{
    struct hose_list *found;
    pthread_mutex_lock(&l->lock);
    for (found = l->first; found != NULL; found = found->next)
        if (str_eq(found->account, account) && str_eq(found->region, region))
            break;
    if (found == NULL) {
        found = xalloc(sizeof *found);
        found->arena = arena_open();
        found->account = str_dup(found->arena, account);
        found->region = str_dup(found->arena, region);
        found->next = l->first;
        l->first = found;
    }
    pthread_mutex_unlock(&l->lock); // what is there stays
    wide_meter_add(&found->latency, took_ms);
}

void hose_lists_tell(struct hose_lists *l, struct metric_sink *sink)
{
    AUTO(arena) tmp = arena_open();
    pthread_mutex_lock(&l->lock);
    struct hose_list *first = l->first;
    pthread_mutex_unlock(&l->lock);
    for (struct hose_list *at = first; at != NULL; at = at->next) {
        MetricTold m = { .account = at->account,
                         .region = at->region,
                         .name_space = S("AWS/Firehose") };
        struct telling t = { &m, sink, tmp };
        hose_meters_tell_usage(&m, sink, S("CallCount"), S("API"), S("ListDeliveryStreams"),
                               ones(count_of(&at->latency)));
        tell_operation(&t, "ListDeliveryStreams", &at->latency);
    }
}

void hose_lists_done(struct hose_lists *l)
{
    while (l->first != NULL) {
        struct hose_list *at = l->first;
        l->first = at->next;
        wide_meter_done(&at->latency);
        arena_close(at->arena);
        free(at);
    }
    pthread_mutex_destroy(&l->lock);
}
