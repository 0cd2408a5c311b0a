// SPDX-License-Identifier: Apache-2.0
// What the grammar of expressions (metric_math.c) and their functions (metric_math_call.c) share.
#pragma once
#include "svc/cloudwatch/metric_math.h"

enum { MATH_ARGUMENTS_MAX = 100 };

// Notes what is wrong and returns the Err to return.
Err math_wrong(MathEnv *env, Str problem);

// An empty series with room for n points, of the label and period of another.
Err math_series_new(MathEnv *env, size_t n, const MathSeries *like, MathSeries *ret);
void math_add(MathSeries *s, int64_t at_s, double value);

bool math_is_function(Str name);
Err math_call(MathEnv *env, Str name, const MathValue *arguments, size_t n, MathValue *ret);
