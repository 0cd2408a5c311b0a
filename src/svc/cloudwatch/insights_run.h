// SPDX-License-Identifier: Apache-2.0
// A query of Metrics Insights, run.
#pragma once
#include "svc/cloudwatch/insights.h"
#include "svc/cloudwatch/metric_math.h"
#include "svc/cloudwatch/fetch.h"

// One series without groups, else a list, in their order, labelled with the values of the groups.
// ERR_LIMIT: more than MATH_POINTS_MAX points.
Err insights_run(const Insights *q, const struct series_store *store, struct kv_txn *tx,
                 struct arena *a, Str account, Str region, const Window *w, MathValue *ret);
