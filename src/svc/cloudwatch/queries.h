// SPDX-License-Identifier: Apache-2.0
// The queries of GetMetricData, and of alarms on several metrics: metrics and expressions that name
// each other by their ids.
#pragma once
#include "svc/cloudwatch/cloudwatch.h"
#include "svc/cloudwatch/fetch.h"
#include "svc/cloudwatch/metric_math.h"

enum { QUERIES_MAX = 500, QUERIES_SEARCHED_MAX = 500 };

struct query_state;

typedef struct Queries {
    struct cloudwatch *cw;
    struct kv_txn *tx;
    struct arena *a; // of all results
    Str account, region;
    const cloudwatch_MetricDataQueries *list;
    int64_t from_s, to_s;
    struct query_state *states; // beside the list
    MathEnv env;
    Str problem; // after ERR_INVALID: what the client did wrong
} Queries;

// Checks what the shapes cannot: ids, and that each is a metric or an expression. Absent: nothing
// is wrong; else the text of AWS's ValidationError.
Str queries_check(struct arena *a, const cloudwatch_MetricDataQueries *list);

void queries_init(Queries *q, struct cloudwatch *cw, struct kv_txn *tx, struct arena *a,
                  Str account, Str region, const cloudwatch_MetricDataQueries *list, int64_t from_s,
                  int64_t to_s);

// The value of one query: a series or a list of series. Absent ones were asked for before.
Err queries_value(Queries *q, size_t i, MathValue *ret);

// "Multiple units returned: ...", or absent.
Str queries_units_message(const Queries *q, size_t i);

bool query_returns_data(const cloudwatch_MetricDataQuery *q);
bool period_is_valid(int64_t period_s); // 1, 5, 10, 20, 30 or whole minutes

// One metric as a series of one statistic. Of several units the first by name is taken, as AWS
// does; ret_units (may be NULL) then lists them all.
Err metric_series(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, const SeriesName *name,
                  const Stat *stat, const Window *w, unsigned unit, MathSeries *ret,
                  Str *ret_units);
