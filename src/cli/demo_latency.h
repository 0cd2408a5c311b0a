// SPDX-License-Identifier: Apache-2.0
// A histogram of times on a logarithmic scale, sixteen steps to each doubling.
#pragma once
#include "base/err.h"

enum { LATENCY_STEPS = 16, LATENCY_BUCKETS = 48 * LATENCY_STEPS };

struct demo_latency {
    uint64_t buckets[LATENCY_BUCKETS];
    uint64_t count;
};

void demo_latency_add(struct demo_latency *l, int64_t ns); // below zero counts as zero
// The upper end of the step that holds this share of the times, in nanoseconds; 0 when empty.
int64_t demo_latency_quantile(const struct demo_latency *l, double share);
