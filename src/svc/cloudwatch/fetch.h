// SPDX-License-Identifier: Apache-2.0
// The points of one metric in periods.
#pragma once
#include "svc/cloudwatch/series.h"

enum { FETCH_PERIODS_MAX = 100800 }; // of one metric in one request, as AWS has it

// Periods from one time on: [from_s, from_s + period_s), ... to before to_s.
typedef struct Window {
    int64_t from_s, to_s, period_s;
} Window;

size_t window_periods(const Window *w);

// The sets of one unit, one for each period; those of periods without data have a count of 0.
typedef struct UnitPoints {
    unsigned unit;
    StatSet *periods;
} UnitPoints;

typedef struct Fetched {
    UnitPoints units[UNITS]; // sorted by the unit's name
    size_t unit_count;
} Fetched;

// Of all units, or of one (UNITS: all). A metric that does not exist has no points. Periods of less
// than a minute are filled with the points of high resolution. `bins`: percentiles are asked for.
Err fetch_points(const struct series_store *s, struct kv_txn *tx, struct arena *a,
                 const SeriesName *name, const Window *w, unsigned unit, bool bins, Fetched *ret);
