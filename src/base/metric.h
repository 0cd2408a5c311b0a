// SPDX-License-Identifier: Apache-2.0
// Counters, gauges and histograms in the Prometheus text format (version 0.0.4).
//
// A series is found once by name and labels and then updated without a lock; it lives as long as
// the process. Names: headrace_<what>_<unit>[_total], base units (prometheus.io naming page).
#pragma once
#include "base/buf.h"

typedef enum MetricKind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM } MetricKind;

struct metric;

// `labels` is the inside of the braces, `op="PutRecord"`, or empty; values must not hold quotes,
// backslashes or line ends. The same name and labels give the same series; at most
// METRIC_SERIES_MAX series exist, after which all further ones share one named "overflow". A series
// stays until it has been released as often as it was got; most never are.
enum { METRIC_SERIES_MAX = 20000 };
struct metric *metric_get(MetricKind kind, Str name, Str help, Str labels);
void metric_release(struct metric *m); // NULL is fine

void metric_add(struct metric *m, int64_t amount);    // counters and gauges
void metric_set(struct metric *m, int64_t value);     // gauges
void metric_observe_ns(struct metric *m, int64_t ns); // histograms of seconds
int64_t metric_value(const struct metric *m);         // a histogram's count of observations

// All series, grouped by name.
void metric_render(struct buf *b);
