// SPDX-License-Identifier: Apache-2.0
// EnableEnhancedMonitoring and DisableEnhancedMonitoring, and what CloudWatch is told.
#include "svc/kinesis/consumer.h"
#include "svc/kinesis/kinesis.h"

#include <stddef.h>
#include <stdlib.h>

static const Str names[SHARD_METRIC_COUNT] = {
    S_INIT("IncomingBytes"),
    S_INIT("IncomingRecords"),
    S_INIT("OutgoingBytes"),
    S_INIT("OutgoingRecords"),
    S_INIT("WriteProvisionedThroughputExceeded"),
    S_INIT("ReadProvisionedThroughputExceeded"),
    S_INIT("IteratorAgeMilliseconds"),
};

kinesis_MetricsNameList kinesis_shard_metrics(struct arena *a, unsigned bits)
{
    kinesis_MetricsNameList list = { .set = true, .at = arena_new(a, Str, SHARD_METRIC_COUNT) };
    for (size_t i = 0; i < SHARD_METRIC_COUNT; i++)
        if ((bits & 1u << i) != 0)
            list.at[list.n++] = names[i];
    return list;
}

static uint32_t bits_of(const kinesis_MetricsNameList *list)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < list->n; i++) {
        if (str_eq(list->at[i], kinesis_MetricsName_ALL))
            bits = SHARD_METRICS_ALL;
        for (size_t j = 0; j < SHARD_METRIC_COUNT; j++)
            if (str_eq(list->at[i], names[j]))
                bits |= 1u << j;
    }
    return bits;
}

// ---- Operations

static void set_metrics(struct stream *copy, const void *arg)
{
    copy->shard_metrics = *(const uint32_t *)arg;
}

struct change {
    StreamRef ref;
    uint32_t on, off;
    uint32_t before, after; // results
    Str name, arn;
};

static Err change_metrics(struct call *c, struct change *m)
{
    AUTO(stream) s = NULL;
    TRY(kinesis_find(c, m->ref, &s));
    TRY(kinesis_change_begin(c, s->name));
    Err e = kinesis_require_active(c, s);
    m->before = stream_shard_metrics(s);
    m->after = (m->before | m->on) & ~m->off;
    if (e.kind == ERR_NONE && m->after != m->before)
        e = kinesis_update(c->state, s, set_metrics, &m->after);
    kinesis_change_end(c->state);
    m->name = str_dup(c->arena, s->name);
    m->arn = str_dup(c->arena, s->arn);
    return e;
}

Err kinesis_EnableEnhancedMonitoring(struct call *c,
                                     const struct kinesis_EnableEnhancedMonitoring_in *in,
                                     struct kinesis_EnableEnhancedMonitoring_out *out)
{
    struct change m = { .ref = STREAM_REF(in), .on = bits_of(&in->shard_level_metrics) };
    TRY(change_metrics(c, &m));
    out->stream_name = m.name;
    out->stream_arn = m.arn;
    out->current_shard_level_metrics = kinesis_shard_metrics(c->arena, m.before);
    out->desired_shard_level_metrics = kinesis_shard_metrics(c->arena, m.after);
    return OK;
}

Err kinesis_DisableEnhancedMonitoring(struct call *c,
                                      const struct kinesis_DisableEnhancedMonitoring_in *in,
                                      struct kinesis_DisableEnhancedMonitoring_out *out)
{
    struct change m = { .ref = STREAM_REF(in), .off = bits_of(&in->shard_level_metrics) };
    TRY(change_metrics(c, &m));
    out->stream_name = m.name;
    out->stream_arn = m.arn;
    out->current_shard_level_metrics = kinesis_shard_metrics(c->arena, m.before);
    out->desired_shard_level_metrics = kinesis_shard_metrics(c->arena, m.after);
    return OK;
}

// ---- Telling

static void tell_shards(struct kinesis *k, struct stream *s, MetricTold *m,
                        struct metric_sink *sink)
{
    unsigned wanted = stream_shard_metrics(s);
    pthread_rwlock_rdlock(&k->lock);
    size_t n = s->shard_count;
    struct shard **shards = xalloc(mul_checked(MAX(n, (size_t)1), sizeof *shards));
    for (size_t i = 0; i < n; i++)
        shards[i] = s->shards[i]; // they stay where they are as long as the stream
    pthread_rwlock_unlock(&k->lock);
    for (size_t i = 0; i < n; i++) {
        char id[SHARD_ID_CHARS];
        shard_id_format(id, shards[i]->index);
        meters_tell_shard(shard_meters_of(shards[i]), wanted, s->name, str_from(id, sizeof id), m,
                          sink);
    }
    free(shards);
}

static void tell_consumers(struct kinesis *k, struct stream *s, MetricTold *m,
                           struct metric_sink *sink)
{
    pthread_rwlock_rdlock(&k->lock);
    size_t n = s->consumer_count;
    struct consumer **consumers = xalloc(mul_checked(MAX(n, (size_t)1), sizeof *consumers));
    for (size_t i = 0; i < n; i++)
        consumers[i] = consumer_ref(s->consumers[i]);
    pthread_rwlock_unlock(&k->lock);
    for (size_t i = 0; i < n; i++) {
        meters_tell_consumer(&consumers[i]->meters, s->name, consumers[i]->name, m, sink);
        consumer_unref(consumers[i]);
    }
    free(consumers);
}

void kinesis_tell_metrics(struct metric_source *self, struct metric_sink *sink)
{
    struct kinesis *k = (struct kinesis *)((char *)self - offsetof(struct kinesis, metrics));
    // The sink may wait for a disk: nothing of it under the lock.
    pthread_rwlock_rdlock(&k->lock);
    size_t n = k->count;
    struct stream **streams = xalloc(mul_checked(MAX(n, (size_t)1), sizeof *streams));
    for (size_t i = 0; i < n; i++)
        streams[i] = stream_ref(k->sorted[i]);
    pthread_rwlock_unlock(&k->lock);
    for (size_t i = 0; i < n; i++) {
        struct stream *s = streams[i];
        MetricTold m = { .account = s->account,
                         .region = s->region,
                         .name_space = S("AWS/Kinesis") };
        meters_tell(&s->meters, s->name, &m, sink);
        tell_consumers(k, s, &m, sink);
        if (stream_shard_metrics(s) != 0)
            tell_shards(k, s, &m, sink);
        stream_unref(s);
    }
    free(streams);
}
