// SPDX-License-Identifier: Apache-2.0
// What the points of a metric say about an alarm. Pure: no clock, no store.
//
// N periods are looked at (EvaluationPeriods), M of them must breach (DatapointsToAlarm). To have N
// points, EVALUATE_MORE_PERIODS older periods are looked at as well; of those that have a point the
// newest N count, and what is still missing is treated as the alarm says. Source: CloudWatch user
// guide, "Configuring how CloudWatch alarms treat missing data", whose tables are the tests.
#pragma once
#include "svc/cloudwatch/alarm.h"

enum { EVALUATE_MORE_PERIODS = 2 };

// One period, the oldest first.
typedef struct AlarmPoint {
    int64_t at_s;
    bool present;
    bool uncertain; // too few samples for its percentile, which the alarm wants ignored
    double value, sample_count;
} AlarmPoint;

typedef struct Verdict {
    Str state;       // absent: it stays as it is
    Str reason;      // why, as AWS says it
    Str reason_data; // JSON
} Verdict;

// `points`: of the last N + EVALUATE_MORE_PERIODS periods.
Verdict alarm_evaluate(struct arena *a, const Alarm *alarm, const AlarmPoint *points, size_t n,
                       int64_t now_ns);

bool alarm_breaches(const Alarm *alarm, double value);
