// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/metric_math.h"
#include "base/test.h"

#include <math.h>
#include <string.h>

// m1 = 1 2 3 at 0 60 120; m2 = 10 20 at 60 120; gap = 1 4 at 0 180. All by minutes, in 0..240.
struct data {
    struct arena *a;
    MathValue values[3];
};
static const char *const ids[] = { "m1", "m2", "gap" };

static MathValue series(struct arena *a, const char *label, const int64_t *at, const double *value,
                        size_t n)
{
    MathSeries *s = arena_new(a, MathSeries, 1);
    *s = (MathSeries){ .label = str_of(label), .period_s = 60, .n = n };
    s->at_s = arena_new(a, int64_t, n);
    s->value = arena_new(a, double, n);
    memcpy(s->at_s, at, n * sizeof *at);
    memcpy(s->value, value, n * sizeof *value);
    return (MathValue){ .kind = MATH_SERIES, .series = s, .n = 1 };
}

static Err metric(void *self, Str id, MathValue *ret)
{
    struct data *d = self;
    for (size_t i = 0; i < COUNT_OF(ids); i++)
        if (str_eq(id, str_of(ids[i]))) {
            *ret = d->values[i];
            return OK;
        }
    return fail(ERR_NOT_FOUND, "no such id");
}

static Err metrics(void *self, Str prefix, MathValue *ret)
{
    struct data *d = self;
    *ret = (MathValue){ .kind = MATH_LIST, .series = arena_new(d->a, MathSeries, COUNT_OF(ids)) };
    for (size_t i = 0; i < COUNT_OF(ids); i++)
        if (str_starts(str_of(ids[i]), prefix))
            ret->series[ret->n++] = d->values[i].series[0];
    return OK;
}

static MathEnv env_of(struct arena *a, struct data *d)
{
    static const int64_t t1[] = { 0, 60, 120 }, t2[] = { 60, 120 }, t3[] = { 0, 180 };
    static const double v1[] = { 1, 2, 3 }, v2[] = { 10, 20 }, v3[] = { 1, 4 };
    *d = (struct data){ .a = a,
                        .values = { series(a, "one", t1, v1, 3), series(a, "two", t2, v2, 2),
                                    series(a, "gap", t3, v3, 2) } };
    return (MathEnv){ .a = a, .to_s = 240, .metric = metric, .metrics = metrics, .self = d };
}

// "0:1 60:2" for a series, "7" for a number, "[...; ...]" for a list.
static Str shown(struct arena *a, const char *expression)
{
    struct data d;
    MathEnv env = env_of(a, &d);
    MathValue v;
    AUTO_BUF(b);
    Err e = math_evaluate(&env, str_of(expression), &v);
    if (e.kind != ERR_NONE)
        return str_cat(a, S("wrong: "), env.problem);
    if (v.kind == MATH_NUMBER)
        return str_fmt(a, "%g", v.number);
    for (size_t i = 0; i < v.n; i++) {
        buf_add(&b, i > 0 ? S("; ") : S(""));
        for (size_t j = 0; j < v.series[i].n; j++)
            buf_addf(&b, "%s%lld:%g", j > 0 ? " " : "", (long long)v.series[i].at_s[j],
                     v.series[i].value[j]);
    }
    return v.kind == MATH_LIST ? str_fmt(a, "[%.*s]", FMT(buf_str(&b))) : str_dup(a, buf_str(&b));
}

static void expect_all(struct arena *a, const char *const (*cases)[2], size_t n)
{
    for (size_t i = 0; i < n; i++)
        EXPECT_STR(str_of(cases[i][1]), shown(a, cases[i][0]));
}

TEST(operators_have_their_usual_order)
{
    static const char *const cases[][2] = {
        { "1+2*3", "7" },        { "(1+2)*3", "9" }, { "2^3^2", "512" }, { "-2^2", "-4" },
        { "8/2/2", "2" },        { "1-2-3", "-4" },  { "1 < 2", "1" },   { "1 >= 2", "0" },
        { "1+1 == 2", "1" },     { "1 AND 0", "0" }, { "0 || 3", "1" },  { "1.5e2 / 3", "50" },
        { "1 OR 1 AND 0", "1" }, { "2 != 2", "0" },  { "1 && 1", "1" },  { "2*-3", "-6" },
    };
    expect_all(a, cases, COUNT_OF(cases));
}

TEST(series_are_reckoned_with_where_both_have_points)
{
    static const char *const cases[][2] = {
        { "m1", "0:1 60:2 120:3" },
        { "m1*2", "0:2 60:4 120:6" },
        { "10-m1", "0:9 60:8 120:7" },
        { "m1+m2", "60:12 120:23" },
        { "m2/m1", "60:5 120:6.66667" },
        { "m1 > 1", "0:0 60:1 120:1" },
        { "m1/(m1-2)", "0:-1 120:3" }, // by zero: no point
        { "[m1,m2]*2", "[0:2 60:4 120:6; 60:20 120:40]" },
        { "[m1,m2]+m1", "[0:2 60:4 120:6; 60:12 120:23]" },
        { "[m1,m2]+[m2,m2]", "[60:12 120:23; 60:20 120:40]" },
    };
    expect_all(a, cases, COUNT_OF(cases));
}

TEST(a_list_is_aggregated_by_time_and_a_series_to_a_number)
{
    static const char *const cases[][2] = {
        { "SUM([m1,m2])", "0:1 60:12 120:23" },
        { "AVG([m1,m2])", "0:1 60:6 120:11.5" },
        { "MIN([m1,m2])", "0:1 60:2 120:3" },
        { "MAX(METRICS())", "0:1 60:10 120:20 180:4" },
        { "SUM(m1)", "6" },
        { "AVG(m1)", "2" },
        { "STDDEV(m2)", "5" },
        { "m1/SUM(m1)", "0:0.166667 60:0.333333 120:0.5" },
        { "SUM(METRICS(\"m\"))", "0:1 60:12 120:23" },
        { "MAX(3)", "3" },
        { "METRIC_COUNT(METRICS())", "3" },
        { "DATAPOINT_COUNT(m1)", "3" },
    };
    expect_all(a, cases, COUNT_OF(cases));
}

TEST(missing_points_are_filled)
{
    static const char *const cases[][2] = {
        { "FILL(gap, 0)", "0:1 60:0 120:0 180:4" },
        { "FILL(gap, REPEAT)", "0:1 60:1 120:1 180:4" },
        { "FILL(gap, LINEAR)", "0:1 60:2 120:3 180:4" },
        { "FILL(m2, REPEAT)", "60:10 120:20 180:20" },
        { "FILL(m2, LINEAR)", "60:10 120:20" },
        { "FILL(m1*(m1>9)/0, 7)", "0:7 60:7 120:7 180:7" },
        { "TIME_SERIES(3)", "0:3 60:3 120:3 180:3" },
        { "FILL(METRICS('m'), 0)", "[0:1 60:2 120:3 180:0; 0:0 60:10 120:20 180:0]" },
    };
    expect_all(a, cases, COUNT_OF(cases));
}

TEST(functions_of_points)
{
    static const char *const cases[][2] = {
        { "ABS(0-m1)", "0:1 60:2 120:3" },
        { "CEIL(m1/2)", "0:1 60:1 120:2" },
        { "FLOOR(m1/2)", "0:0 60:1 120:1" },
        { "LOG10(m2*10)", "60:2 120:2.30103" },
        { "DIFF(m2)", "120:10" },
        { "DIFF_TIME(m1)", "60:60 120:60" },
        { "RATE(m2)*60", "120:10" },
        { "RUNNING_SUM(m1)", "0:1 60:3 120:6" },
        { "PERIOD(m1)", "60" },
        { "IF(m1 > 1, m2, 0)", "0:0 60:10 120:20" },
        { "IF(m1 > 2, 5)", "120:5" },
        { "IF(1, 2, 3)", "2" },
        { "IF(m1>0, gap)", "0:1" },
        { "MINUTE(m1)", "0:0 60:1 120:2" },
        { "YEAR(m1)", "0:1970 60:1970 120:1970" },
        { "DAY(m1)", "0:4 60:4 120:4" },
    };
    expect_all(a, cases, COUNT_OF(cases));
}

TEST(lists_are_sorted_and_sliced)
{
    static const char *const cases[][2] = {
        { "SORT(METRICS(), SUM, DESC, 1)", "[60:10 120:20]" },
        { "SLICE(SORT(METRICS(), MAX, ASC), 0, 2)", "[0:1 60:2 120:3; 0:1 180:4]" },
        { "FIRST(METRICS())", "0:1 60:2 120:3" },
        { "LAST(METRICS())", "0:1 180:4" },
        { "SLICE(METRICS(), 5, 9)", "[]" },
        { "REMOVE_EMPTY([m1/0, m2])", "[60:10 120:20]" },
    };
    expect_all(a, cases, COUNT_OF(cases));
}

TEST(what_is_wrong_is_told)
{
    static const char *const cases[][2] = {
        { "", "wrong: it ends too early" },
        { "m1 +", "wrong: it ends too early" },
        { "m9", "wrong: there is no metric 'm9'" },
        { "NOPE(m1)", "wrong: there is no function 'NOPE'" },
        { "(m1", "wrong: a closing bracket is missing" },
        { "m1 m2", "wrong: 'm2' is not expected" },
        { "SUM(\"x\")", "wrong: a function wants a time series" },
        { "\"x\" + 1", "wrong: a text cannot be reckoned with" },
        { "\"x", "wrong: a text does not end" },
        { "[1]", "wrong: a list holds time series" },
        { "[m1,m2]+[m1]", "wrong: the lists have different lengths" },
        { "FILL(m1)", "wrong: FILL takes a metric and a number, REPEAT or LINEAR" },
        { "1..2", "wrong: a number is malformed" },
        { "SEARCH('x', 'Sum')", "wrong: SEARCH cannot be used here" },
        { "SLICE(m1)", "wrong: SLICE takes a list and one or two places" },
    };
    expect_all(a, cases, COUNT_OF(cases));
    AUTO_BUF(deep);
    for (int i = 0; i < 100; i++)
        buf_add(&deep, S("(1+"));
    EXPECT_STR(S("wrong: it is nested too deeply"), shown(a, str_c(a, buf_str(&deep))));
}

static void note(void *self, Str id)
{
    buf_add(self, id);
    buf_add_byte(self, ' ');
}

TEST(ids_are_found_in_an_expression)
{
    AUTO_BUF(b);
    EXPECT(math_ids(S("SUM([m1, m2_x]) + 2e5*IF(e1>0, \"no\", m1)"), note, &b));
    EXPECT_STR(S("m1 m2_x e1 m1 "), buf_str(&b));
    EXPECT(!math_ids(S("m1 + 'x"), note, &b));
}
