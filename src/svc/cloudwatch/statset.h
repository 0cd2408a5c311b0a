// SPDX-License-Identifier: Apache-2.0
// What is kept of the values of one metric in one minute or second, and what can be told from it.
//
// Count, sum, least and greatest are exact. For percentiles the values themselves are kept as
// (value, count) pairs up to STATSET_BINS_MAX of them; beyond, neighbours are joined, closest
// first, so that a value told is off by a few hundredths at most. A set that a client sent ready
// made (StatisticValues) has no values: percentiles of it are unknown, unless it is of one value.
#pragma once
#include "base/str.h"

enum { STATSET_BINS_MAX = 100 };

typedef struct StatBin {
    double value, count;
} StatBin;

typedef struct StatSet {
    double count, sum, min, max;
    StatBin *bins; // by value; in the arena of whoever made the set
    size_t bin_count;
    bool blurred; // of some values only the sums are known
} StatSet;

// A set of `count` times the same value; of nothing if count is 0.
StatSet statset_of(struct arena *a, double value, double count);
// Of values that occurred so many times each; counts NULL: once. A count of 0 is none.
StatSet statset_of_values(struct arena *a, const double *values, const double *counts, size_t n);
// A set of which only the sums are known.
StatSet statset_of_sums(struct arena *a, double count, double sum, double min, double max);
// Adds what `more` holds.
void statset_merge(struct arena *a, StatSet *into, const StatSet *more);

// What a client asks for by name: "Average", "p99.9", "tm90", "TM(10%:90%)", "PR(:100)", "IQM".
typedef enum StatKind {
    STAT_COUNT,
    STAT_AVERAGE,
    STAT_SUM,
    STAT_MIN,
    STAT_MAX,
    STAT_PERCENTILE,      // p: the value at `high`
    STAT_TRIMMED_MEAN,    // tm: the mean of what lies between the bounds
    STAT_TRIMMED_COUNT,   // tc
    STAT_TRIMMED_SUM,     // ts
    STAT_WINSORIZED_MEAN, // wm: what lies outside counts as the bound it is beyond
    STAT_PERCENTILE_RANK, // PR: per cent of the values between two values
} StatKind;

typedef struct Stat {
    StatKind kind;
    bool by_value;    // bounds are values, else per cent
    double low, high; // what is between: more than low, no more than high
} Stat;

Err stat_parse(Str name, Stat *ret); // ERR_INVALID
// False: it cannot be told (no values, or only their sums).
bool stat_value(const Stat *s, const StatSet *set, double *ret);
