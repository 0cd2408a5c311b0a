// SPDX-License-Identifier: Apache-2.0
#include "cli/demo_latency.h"

// Below 16 each nanosecond has its own bucket; above, the four bits after the leading one choose.
static size_t bucket_of(uint64_t ns)
{
    if (ns < LATENCY_STEPS)
        return ns;
    unsigned exponent = 63u - (unsigned)__builtin_clzll(ns);
    size_t i = (exponent - 3) * (size_t)LATENCY_STEPS + (ns >> (exponent - 4)) % LATENCY_STEPS;
    return MIN(i, LATENCY_BUCKETS - 1);
}

static int64_t bucket_end(size_t i)
{
    if (i < LATENCY_STEPS)
        return (int64_t)i;
    unsigned exponent = (unsigned)(i / LATENCY_STEPS) + 3;
    uint64_t start = ((uint64_t)LATENCY_STEPS + i % LATENCY_STEPS) << (exponent - 4);
    return (int64_t)(start + (UINT64_C(1) << (exponent - 4)) - 1);
}

void demo_latency_add(struct demo_latency *l, int64_t ns)
{
    l->buckets[bucket_of(ns > 0 ? (uint64_t)ns : 0)]++;
    l->count++;
}

int64_t demo_latency_quantile(const struct demo_latency *l, double share)
{
    double wanted = share * (double)l->count, seen = 0;
    for (size_t i = 0; i < LATENCY_BUCKETS && l->count > 0; i++) {
        seen += (double)l->buckets[i];
        if (l->buckets[i] > 0 && seen >= wanted)
            return bucket_end(i);
    }
    return 0;
}
