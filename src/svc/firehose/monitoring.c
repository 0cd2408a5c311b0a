// SPDX-License-Identifier: Apache-2.0
// What is told of all delivery streams once a minute.
#include "svc/firehose/destination.h"

#include <stddef.h>
#include <stdlib.h>

static DestinationKind kind_of(struct arena *tmp, const HoseFields *x)
{
    Destination d = { 0 };
    err_ignore(destination_read(tmp, x->destination, S(""), &d)); // we wrote it
    return d.kind;
}

// The delivery's meters, emptied into others: it may end as soon as the lock is given back.
static void take_meters(struct delivery_meters *from, struct delivery_meters *to)
{
    struct meter *source = (struct meter *)from, *sink = (struct meter *)to;
    _Static_assert(sizeof *from % sizeof *source == 0, "it is made of meters alone");
    for (size_t i = 0; i < sizeof *from / sizeof *source; i++) {
        Gathered g = meter_take(&source[i]);
        sink[i].count = g.count;
        sink[i].sum = g.sum;
        sink[i].min = g.min;
        sink[i].max = g.max;
    }
}

HoseTold hose_told_of(DestinationKind kind)
{
    return (HoseTold){ .destination = destination_metric(kind),
                       .to_s3 = kind == DESTINATION_S3,
                       .by_s3 = kind == DESTINATION_REDSHIFT,
                       .has_attempts = kind == DESTINATION_HTTP,
                       .has_freshness = kind != DESTINATION_REDSHIFT,
                       .has_acks = kind == DESTINATION_SPLUNK };
}

static void tell_hose(struct firehose *f, struct hose *h, struct metric_sink *sink)
{
    AUTO(arena) tmp = arena_open();
    struct delivery_meters meters = { 0 };
    pthread_rwlock_rdlock(&f->lock);
    AUTO(hose_state) s = hose_state_ref(h->state);
    bool delivers = h->delivery != NULL;
    if (delivers)
        take_meters(delivery_meters(h->delivery), &meters);
    pthread_rwlock_unlock(&f->lock);

    DestinationKind kind = kind_of(tmp, &s->f);
    MetricTold told = { .account = h->account,
                        .region = h->region,
                        .name_space = S("AWS/Firehose") };
    HoseTold t = hose_told_of(kind);
    t.stream = h->name;
    t.meters = &h->meters;
    t.delivery = delivers ? &meters : NULL;
    if (f->env.limits > 0 && s->f.source_arn.p == NULL)
        t.rates = hose_limit_rates(h->region);
    t.scale = f->env.limits;
    hose_meters_tell_calls(&h->meters, &told, sink);
    hose_meters_tell(&t, &told, sink);
}

// How many streams there are, of each account in a region.
static void tell_counts(struct hose *const *hoses, size_t n, struct metric_sink *sink)
{
    for (size_t i = 0, first = 0; i < n; i++) {
        const struct hose *h = hoses[i], *next = i + 1 < n ? hoses[i + 1] : NULL;
        if (next != NULL && str_eq(h->account, next->account) && str_eq(h->region, next->region))
            continue;
        int64_t count = (int64_t)(i + 1 - first);
        MetricTold m = { .account = h->account, .region = h->region };
        hose_meters_tell_usage(&m, sink, S("ResourceCount"), S("Resource"), S("DeliveryStreams"),
                               (Gathered){ .count = 1, .sum = count, .min = count, .max = count });
        first = i + 1;
    }
}

void firehose_tell_metrics(struct metric_source *self, struct metric_sink *sink)
{
    struct firehose *f = (struct firehose *)((char *)self - offsetof(struct firehose, metrics));
    // The sink may wait for a disk: nothing of it under the lock.
    pthread_rwlock_rdlock(&f->lock);
    size_t n = f->count;
    struct hose **hoses = xalloc(mul_checked(n + 1, sizeof *hoses));
    for (size_t i = 0; i < n; i++)
        hoses[i] = hose_ref(f->sorted[i]);
    pthread_rwlock_unlock(&f->lock);
    tell_counts(hoses, n, sink);
    hose_lists_tell(&f->lists, sink);
    for (size_t i = 0; i < n; i++) {
        tell_hose(f, hoses[i], sink);
        hose_unref(hoses[i]);
    }
    free(hoses);
}
