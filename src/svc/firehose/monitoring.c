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
    HoseTold t = { .stream = h->name,
                   .meters = &h->meters,
                   .delivery = delivers ? &meters : NULL,
                   .destination = destination_metric(kind),
                   .to_s3 = kind == DESTINATION_S3,
                   .has_freshness = kind != DESTINATION_REDSHIFT,
                   .has_acks = kind == DESTINATION_SPLUNK,
                   .rates = f->env.limits > 0 && s->f.source_arn.p == NULL
                                ? hose_limit_rates(h->region)
                                : NULL,
                   .scale = f->env.limits };
    hose_meters_tell(&t, &told, sink);
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
    for (size_t i = 0; i < n; i++) {
        tell_hose(f, hoses[i], sink);
        hose_unref(hoses[i]);
    }
    free(hoses);
}
