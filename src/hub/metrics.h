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
#include <stdlib.h>

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

// ---- Meters of which percentiles can be told
//
// Beside the four numbers they count how often which value came, in bins: up to 15 each value has
// its own, beyond 16 bins share what lies between two powers of two, so that a value told is off by
// 3 % at most. The bins are made with the first value and stay: a meter that nothing has happened
// to costs a pointer.

enum {
    METER_STEPS = 16,  // bins between two powers of two
    METER_POWERS = 33, // from 2^4 on; beyond 2^36 all is one
    METER_BINS = METER_STEPS + (METER_POWERS - 1) * METER_STEPS, // 528: 2112 bytes
};

struct meter_bins {
    _Atomic uint32_t counts[METER_BINS];
};

struct wide_meter {
    struct meter sums;
    _Atomic(struct meter_bins *) bins; // NULL: nothing yet
};

// How often values about that large came.
typedef struct GatheredBin {
    int64_t value, count;
} GatheredBin;

static inline size_t meter_bin_of(int64_t value)
{
    if (value < METER_STEPS)
        return value > 0 ? (size_t)value : 0;
    unsigned power = 63u - (unsigned)__builtin_clzll((uint64_t)value); // from 4 on
    size_t step = (size_t)(value >> (power - 4)) - METER_STEPS;
    return MIN((size_t)(power - 3) * METER_STEPS + step, (size_t)METER_BINS - 1);
}

// The middle of what falls into a bin.
static inline int64_t meter_bin_value(size_t bin)
{
    if (bin < METER_STEPS)
        return (int64_t)bin;
    unsigned power = (unsigned)(bin / METER_STEPS) - 1; // of two, that the step is wide
    int64_t low = (int64_t)(METER_STEPS + bin % METER_STEPS) << power;
    return low + (((int64_t)1 << power) - 1) / 2;
}

static inline void wide_meter_add(struct wide_meter *m, int64_t value)
{
    struct meter_bins *bins = atomic_load_explicit(&m->bins, memory_order_acquire);
    if (bins == NULL) {
        struct meter_bins *made = xalloc(sizeof *made);
        if (atomic_compare_exchange_strong_explicit(&m->bins, &bins, made, memory_order_acq_rel,
                                                    memory_order_acquire))
            bins = made;
        else
            free(made); // another thread was first
    }
    atomic_fetch_add_explicit(&bins->counts[meter_bin_of(value)], 1, memory_order_relaxed);
    meter_add(&m->sums, value);
}

// The bins that are not empty, by value, into `ret`; they are empty then.
static inline size_t wide_meter_take_bins(struct wide_meter *m, GatheredBin ret[METER_BINS])
{
    struct meter_bins *bins = atomic_load_explicit(&m->bins, memory_order_acquire);
    size_t n = 0;
    for (size_t i = 0; bins != NULL && i < METER_BINS; i++) {
        if (atomic_load_explicit(&bins->counts[i], memory_order_relaxed) == 0)
            continue;
        uint32_t count = atomic_exchange_explicit(&bins->counts[i], 0, memory_order_relaxed);
        ret[n++] = (GatheredBin){ meter_bin_value(i), count };
    }
    return n;
}

// Forgets what was counted.
static inline void wide_meter_drop(struct wide_meter *m)
{
    GatheredBin bins[METER_BINS];
    (void)meter_take(&m->sums);
    (void)wide_meter_take_bins(m, bins);
}

static inline void wide_meter_done(struct wide_meter *m)
{
    free(atomic_load_explicit(&m->bins, memory_order_relaxed));
}

typedef struct MetricDimension {
    Str name, value;
} MetricDimension;

enum { METRIC_DIMENSIONS_MAX = 4 }; // of a service's own metric

// One metric of one minute. Dimensions are sorted by name.
typedef struct MetricTold {
    Str account, region, name_space, name, unit; // "AWS/Kinesis", "IncomingBytes", "Bytes"
    MetricDimension dims[METRIC_DIMENSIONS_MAX];
    size_t dim_count;
    Gathered values;
    const GatheredBin *bins; // of the values; without them there are no percentiles
    size_t bin_count;
} MetricTold;

struct metric_sink {
    void (*take)(struct metric_sink *s, const MetricTold *m);
};

// What a source tells with: the metric that is filled in, and who takes it.
struct telling {
    MetricTold *m;
    struct metric_sink *sink;
    struct arena *arena; // for names that are made
};

// Nothing, if nothing has been gathered.
static inline void metric_tell(struct telling *t, Str name, Str unit, Gathered values)
{
    if (values.count <= 0)
        return;
    t->m->name = name;
    t->m->unit = unit;
    t->m->values = values;
    t->sink->take(t->sink, t->m);
}

// With how often which value came, for percentiles.
static inline void metric_tell_wide(struct telling *t, Str name, Str unit, struct wide_meter *m)
{
    GatheredBin bins[METER_BINS];
    Gathered sums = meter_take(&m->sums);
    t->m->bin_count = wide_meter_take_bins(m, bins);
    t->m->bins = bins;
    metric_tell(t, name, unit, sums);
    t->m->bins = NULL;
    t->m->bin_count = 0;
}

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
