// SPDX-License-Identifier: Apache-2.0
// Any expression over three series and a list of them: it is refused with a reason, or makes
// points that are numbers and in order.
#include "svc/cloudwatch/metric_math.h"
#include "svc/cloudwatch/search.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SERIES = 3, POINTS = 4 };

static int64_t times[SERIES][POINTS] = { { 0, 60, 120, 180 }, { 60, 120 }, { 0, 180 } };
static double values[SERIES][POINTS] = { { 1, -2, 3, 0 }, { 1e300, 0.5 }, { 7, 7 } };
static MathSeries series[SERIES] = {
    { .label = S_INIT("a"), .period_s = 60, .at_s = times[0], .value = values[0], .n = 4 },
    { .label = S_INIT("b"), .period_s = 60, .at_s = times[1], .value = values[1], .n = 2 },
    { .label = S_INIT("c"), .period_s = 60, .at_s = times[2], .value = values[2], .n = 2 },
};

static Err metric(void *self, Str id, MathValue *ret)
{
    (void)self;
    if (id.n != 2 || id.p[0] != 'm' || id.p[1] < '1' || id.p[1] > '3')
        return fail(ERR_NOT_FOUND, "no such metric");
    *ret = (MathValue){ .kind = MATH_SERIES, .series = &series[id.p[1] - '1'], .n = 1 };
    return OK;
}

static Err metrics(void *self, Str prefix, MathValue *ret)
{
    (void)self;
    (void)prefix;
    *ret = (MathValue){ .kind = MATH_LIST, .series = series, .n = SERIES };
    return OK;
}

static Err search(void *self, Str query, Str stat, int64_t period_s, MathValue *ret)
{
    Search parsed;
    (void)stat;
    (void)period_s;
    if (search_parse(self, query, &parsed).kind != ERR_NONE)
        return fail(ERR_INVALID, "a search is malformed");
    return metrics(self, S(""), ret);
}

static void ignore(void *self, Str id)
{
    (void)self;
    CHECK(id.n > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) a = arena_open();
    Str text = str_from(data, MIN(size, (size_t)2048)); // as long as AWS takes them
    MathEnv env = { .a = a, .to_s = 240, .metric = metric, .metrics = metrics, .search = search };
    MathValue v = { 0 };
    env.self = a;
    math_ids(text, ignore, NULL);
    Err e = math_evaluate(&env, text, &v);
    CHECK(e.kind == ERR_NONE || e.kind == ERR_INVALID || e.kind == ERR_LIMIT);
    if (e.kind != ERR_NONE || v.kind == MATH_NUMBER || v.kind == MATH_TEXT)
        return 0;
    CHECK(v.kind == MATH_LIST || v.n == 1);
    for (size_t i = 0; i < v.n; i++)
        for (size_t j = 0; j < v.series[i].n; j++) {
            CHECK(isfinite(v.series[i].value[j]));
            CHECK(j == 0 || v.series[i].at_s[j - 1] < v.series[i].at_s[j]);
        }
    return 0;
}
