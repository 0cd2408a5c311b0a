// SPDX-License-Identifier: Apache-2.0
// Metric math: expressions over time series, as GetMetricData and alarms have them.
//
// A value is a number, a series (times and values, ascending) or a list of series. An operator
// between two series works on the times that both have; between a list and something, on each
// element. Grammar, by rising precedence; names of functions and of the words AND and OR are in
// capitals:
//
//     or     =  and { ( OR | || ) and }
//     and    =  compare { ( AND | && ) compare }
//     compare=  sum { ( < <= > >= == != ) sum }
//     sum    =  product { ( + - ) product }
//     product=  sign { ( * / ) sign }
//     sign   =  - sign | power
//     power  =  primary [ ^ sign ]
//     primary=  number | id | "text" | FUNCTION( or , ... ) | ( or ) | [ or , ... ]
//
// Source: CloudWatch user guide, "Using math expressions with CloudWatch metrics".
#pragma once
#include "base/str.h"

enum { MATH_DEPTH_MAX = 64, MATH_POINTS_MAX = 1000000 };

typedef struct MathSeries {
    Str label;
    const Str *group_values; // of a query with groups; NULL: of none
    int64_t period_s;
    int64_t *at_s; // ascending
    double *value;
    size_t n;
} MathSeries;

typedef enum MathKind { MATH_NUMBER, MATH_TEXT, MATH_SERIES, MATH_LIST } MathKind;

typedef struct MathValue {
    MathKind kind;
    double number;
    Str text;
    MathSeries *series; // one, or those of a list
    size_t n;
} MathValue;

// What expressions are evaluated with. The functions return ERR_NOT_FOUND for what does not exist,
// or what else went wrong.
typedef struct MathEnv {
    struct arena *a; // of results
    int64_t from_s, to_s;
    Err (*metric)(void *self, Str id, MathValue *ret);
    // The metrics of the request whose ids begin so.
    Err (*metrics)(void *self, Str prefix, MathValue *ret);
    Err (*search)(void *self, Str query, Str stat, int64_t period_s, MathValue *ret);
    void *self;
    size_t points; // made so far
    Str problem;   // what is wrong with the expression, after ERR_INVALID
} MathEnv;

// ERR_INVALID: the expression is not one; env->problem says what. ERR_LIMIT: it makes too much.
Err math_evaluate(MathEnv *env, Str expression, MathValue *ret);

// Calls `each` with every id in an expression, in order. False: it is not well-formed enough.
bool math_ids(Str expression, void (*each)(void *self, Str id), void *self);
