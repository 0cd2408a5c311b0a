// SPDX-License-Identifier: Apache-2.0
// What the store says about an alarm now: the points it looks at, and their verdict.
//
// An alarm on a query of Metrics Insights with GROUP BY compares each group by itself: each is a
// contributor, and the alarm breaches while one of them does. Contributors have no state of their
// own that is kept: each is judged anew.
#pragma once
#include "svc/cloudwatch/evaluate.h"

enum { CONTRIBUTOR_ID_CHARS = 16 };

typedef struct Contributor {
    Str id;                  // of its group's values
    const Str *group_values; // as the query names the groups
    Verdict verdict;
} Contributor;

typedef struct Judgement {
    Verdict verdict;
    Contributor *at; // in the arena
    size_t n;        // 0: the alarm compares one series
} Judgement;

int64_t alarm_period(const Alarm *alarm); // in seconds, of whatever it compares

Err alarm_judge(struct cloudwatch *cw, struct arena *a, Realm r, const Alarm *alarm, int64_t now_ns,
                Judgement *ret);
