// SPDX-License-Identifier: Apache-2.0
#include "latency.h"

#include <stdio.h>

static unsigned bucket_of(uint64_t us)
{
    unsigned shift = 0;
    while (us >> shift >= 2 * LATENCY_SUB_BUCKETS)
        shift++;
    uint64_t bucket = shift * LATENCY_SUB_BUCKETS + (us >> shift);
    return bucket < LATENCY_BUCKETS ? (unsigned)bucket : LATENCY_BUCKETS - 1;
}

static uint64_t bucket_end(unsigned bucket)
{
    unsigned shift = bucket < 2 * LATENCY_SUB_BUCKETS ? 0 : bucket / LATENCY_SUB_BUCKETS - 1;
    return ((uint64_t)(bucket - shift * LATENCY_SUB_BUCKETS) + 1) << shift;
}

void latencies_add(struct latencies *l, uint64_t us)
{
    l->n++;
    l->buckets[bucket_of(us)]++;
    l->most_us = us > l->most_us ? us : l->most_us;
}

void latencies_merge(struct latencies *to, const struct latencies *from)
{
    to->n += from->n;
    to->most_us = from->most_us > to->most_us ? from->most_us : to->most_us;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        to->buckets[i] += from->buckets[i];
}

uint64_t latencies_quantile(const struct latencies *l, double share)
{
    uint64_t wanted = (uint64_t)((double)l->n * share), seen = 0;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        seen += l->buckets[i];
        if (seen > wanted)
            return bucket_end(i) < l->most_us ? bucket_end(i) : l->most_us;
    }
    return l->most_us;
}

void latencies_print_counts(const struct latencies *l)
{
    const char *comma = "";
    printf("\"counts\": [");
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        if (l->buckets[i] == 0)
            continue;
        printf("%s[%llu, %u]", comma, (unsigned long long)bucket_end(i), l->buckets[i]);
        comma = ", ";
    }
    printf("]");
}

void latencies_print(const struct latencies *l)
{
    printf("\"p50_us\": %llu, \"p99_us\": %llu, \"p999_us\": %llu, \"max_us\": %llu",
           (unsigned long long)latencies_quantile(l, 0.5),
           (unsigned long long)latencies_quantile(l, 0.99),
           (unsigned long long)latencies_quantile(l, 0.999), (unsigned long long)l->most_us);
}
