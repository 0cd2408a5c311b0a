// SPDX-License-Identifier: Apache-2.0
// Metrics that services have of themselves, for whoever keeps metrics (CloudWatch).
//
// A service counts in meters: four numbers, changed without a lock and without waiting, from any
// thread. Once a minute, and at the end, the keeper asks every source to tell what its meters have
// gathered since; telling empties them. What a killed process had not told is lost.
//
//     service > meter_add() > ... > metric_source.tell() > metric_sink.take() > keeper
#pragma once
#include "base/str.h"

#include <pthread.h>
#include <stdatomic.h>

// What has been gathered: of whole numbers (bytes, milliseconds, things).
struct meter {
    _Atomic int64_t count, sum, min, max; // min and max count only if count is not 0
};

typedef struct Gathered {
    int64_t count, sum, min, max;
} Gathered;

// Several threads may meet in the first value after an emptying: the least and greatest of those
// few values are then told wrongly, or with the next minute's. Counts and sums never are.
static inline void meter_add(struct meter *m, int64_t value)
{
    atomic_fetch_add_explicit(&m->sum, value, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&m->count, 1, memory_order_relaxed) == 0) {
        atomic_store_explicit(&m->min, value, memory_order_relaxed);
        atomic_store_explicit(&m->max, value, memory_order_relaxed);
        return;
    }
    if (value < atomic_load_explicit(&m->min, memory_order_relaxed))
        atomic_store_explicit(&m->min, value, memory_order_relaxed);
    if (value > atomic_load_explicit(&m->max, memory_order_relaxed))
        atomic_store_explicit(&m->max, value, memory_order_relaxed);
}

// What a thread is just adding may be taken in part: its sum now, its count the next time.
static inline Gathered meter_take(struct meter *m)
{
    Gathered g = { .min = atomic_load_explicit(&m->min, memory_order_relaxed),
                   .max = atomic_load_explicit(&m->max, memory_order_relaxed) };
    if (atomic_load_explicit(&m->count, memory_order_relaxed) == 0)
        return (Gathered){ 0 };
    g.count = atomic_exchange_explicit(&m->count, 0, memory_order_relaxed);
    g.sum = atomic_exchange_explicit(&m->sum, 0, memory_order_relaxed);
    return g;
}

// Both together, for a metric that is the sum of two meters.
static inline Gathered gathered_add(Gathered x, Gathered y)
{
    if (x.count == 0 || y.count == 0)
        return x.count == 0 ? y : x;
    return (Gathered){ .count = x.count + y.count,
                       .sum = x.sum + y.sum,
                       .min = MIN(x.min, y.min),
                       .max = MAX(x.max, y.max) };
}

typedef struct MetricDimension {
    Str name, value;
} MetricDimension;

enum { METRIC_DIMENSIONS_MAX = 3 }; // of a service's own metric

// One metric of one minute. Dimensions are sorted by name.
typedef struct MetricTold {
    Str account, region, name_space, name, unit; // "AWS/Kinesis", "IncomingBytes", "Bytes"
    MetricDimension dims[METRIC_DIMENSIONS_MAX];
    size_t dim_count;
    Gathered values;
} MetricTold;

struct metric_sink {
    void (*take)(struct metric_sink *s, const MetricTold *m);
};

// Embedded in its owner. `tell` is called by one thread at a time, which may wait for locks.
struct metric_source {
    void (*tell)(struct metric_source *s, struct metric_sink *sink);
    struct metric_source *next;
};

// The server's, in service_env.
struct metric_hub {
    pthread_mutex_t lock;
    struct metric_source *first;
};
#define METRIC_HUB_INIT                   \
    {                                     \
        .lock = PTHREAD_MUTEX_INITIALIZER \
    }

static inline void metric_hub_add(struct metric_hub *h, struct metric_source *s)
{
    if (h == NULL) // in tests of a service alone
        return;
    pthread_mutex_lock(&h->lock);
    s->next = h->first;
    h->first = s;
    pthread_mutex_unlock(&h->lock);
}

// After it has returned the source is not asked any more.
static inline void metric_hub_remove(struct metric_hub *h, struct metric_source *s)
{
    if (h == NULL)
        return;
    pthread_mutex_lock(&h->lock);
    for (struct metric_source **at = &h->first; *at != NULL; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    pthread_mutex_unlock(&h->lock);
}

static inline void metric_hub_tell(struct metric_hub *h, struct metric_sink *sink)
{
    if (h == NULL)
        return;
    pthread_mutex_lock(&h->lock);
    for (struct metric_source *s = h->first; s != NULL; s = s->next)
        s->tell(s, sink);
    pthread_mutex_unlock(&h->lock);
}
