// SPDX-License-Identifier: Apache-2.0
// Latencies, counted in buckets of equal relative width: a quantile is known to 1.6 %, however many
// there are, and those of several clients can be added.
#pragma once
#include <stdint.h>

enum {
    LATENCY_SUB_BUCKETS = 64, // of each power of two
    LATENCY_BUCKETS = 32 * LATENCY_SUB_BUCKETS,
};

struct latencies {
    uint64_t n, most_us;
    uint32_t buckets[LATENCY_BUCKETS];
};

void latencies_add(struct latencies *l, uint64_t us);
void latencies_merge(struct latencies *to, const struct latencies *from);
// The latency that the given share, from 0 to 1, does not exceed; never above the longest. 0 of
// none.
uint64_t latencies_quantile(const struct latencies *l, double share);
// Members of a JSON object: p50_us, p99_us, p999_us, max_us.
void latencies_print(const struct latencies *l);
// One more, from which quantiles of several runs together follow: counts, a list of the end of each
// bucket that is not empty and how many fell into it.
void latencies_print_counts(const struct latencies *l);
