// SPDX-License-Identifier: Apache-2.0
// Metrics Insights: queries in a form of SQL, as expressions of GetMetricData and of alarms.
//
//     SELECT function "(" metric ")"   FROM namespace | SCHEMA "(" namespace {, dimension} ")"
//     [ WHERE condition {AND condition} ]         condition = dimension = | != 'value'
//     [ GROUP BY dimension {, dimension} ]
//     [ ORDER BY function "(" ")" [ASC | DESC] ]  [ LIMIT number ]
//
// Functions are AVG, COUNT, MAX, MIN and SUM; words may be written in any case; names of letters,
// digits and '_' need no quotes, others are in double ones; values are in single ones, in which ''
// is one. Source: CloudWatch user guide, "Metrics Insights query components and syntax".
//
// A schema takes the metrics with exactly these dimensions, a namespace alone those with any; a
// metric that lacks a dimension of the groups or conditions is not meant. One series is made of all
// metrics of a group, period by period.
#pragma once
#include "svc/cloudwatch/search.h"

enum {
    INSIGHTS_CONDITIONS_MAX = 30,
    INSIGHTS_SERIES_MAX = 500,    // told, also without LIMIT
    INSIGHTS_METRICS_MAX = 10000, // looked at (CloudWatch user guide, "Metrics Insights limits")
};

typedef struct InsightsCondition {
    Str dimension, value;
    bool differs;
} InsightsCondition;

typedef struct Insights {
    Stat function;
    Str metric, name_space;
    bool has_schema;
    Str schema[SERIES_DIMENSIONS_MAX], groups[SERIES_DIMENSIONS_MAX];
    size_t schema_count, group_count;
    InsightsCondition conditions[INSIGHTS_CONDITIONS_MAX];
    size_t condition_count;
    bool is_ordered, descends;
    Stat order;
    size_t limit;
} Insights;

// Whether an expression is a query, well-formed or not: it begins with SELECT.
bool insights_is_query(Str text);
Err insights_parse(struct arena *a, Str text, Insights *ret); // ERR_INVALID, with what is wrong
bool insights_matches(const Insights *q, const SeriesName *name);
// The value of a dimension; absent: the metric has it not.
Str insights_dimension(const SeriesName *name, Str dimension);
