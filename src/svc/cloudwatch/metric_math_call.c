// SPDX-License-Identifier: Apache-2.0
// The functions of metric math. Of a list, SUM and its like make one series, time by time; of one
// series they make a number.
#include "base/time.h"
#include "svc/cloudwatch/metric_math_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef Err Function(MathEnv *env, const MathValue *v, size_t n, MathValue *ret);

static MathValue number_of(double number)
{
    return (MathValue){ .kind = MATH_NUMBER, .number = number };
}

static bool is_series(const MathValue *v)
{
    return v->kind == MATH_SERIES || v->kind == MATH_LIST;
}

static Err want_series(MathEnv *env, const MathValue *v, size_t n)
{
    return n > 0 && is_series(&v[0]) ? OK : math_wrong(env, S("a function wants a time series"));
}

// ---- Statistics

typedef struct Sums {
    double count, sum, squares, min, max;
} Sums;

static void sums_add(Sums *s, double value)
{
    s->min = s->count == 0 ? value : MIN(s->min, value);
    s->max = s->count == 0 ? value : MAX(s->max, value);
    s->count++;
    s->sum += value;
    s->squares += value * value;
}

typedef enum Told { TOLD_SUM, TOLD_AVERAGE, TOLD_MIN, TOLD_MAX, TOLD_DEVIATION } Told;

static double told(const Sums *s, Told what)
{
    double mean = s->sum / s->count;
    switch (what) {
    case TOLD_SUM:
        return s->sum;
    case TOLD_AVERAGE:
        return mean;
    case TOLD_MIN:
        return s->min;
    case TOLD_MAX:
        return s->max;
    default:
        return sqrt(MAX(s->squares / s->count - mean * mean, 0));
    }
}

static Sums sums_of(const MathSeries *s)
{
    Sums sums = { 0 };
    for (size_t i = 0; i < s->n; i++)
        sums_add(&sums, s->value[i]);
    return sums;
}

typedef struct Place {
    int64_t at_s;
    double value;
} Place;

static int by_time(const void *x, const void *y)
{
    const Place *a = x, *b = y;
    return a->at_s < b->at_s ? -1 : a->at_s > b->at_s;
}

// All points of a list, by time.
static Place *places_of(MathEnv *env, const MathValue *list, size_t *ret_n)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; i < list->n; i++)
        n += list->series[i].n;
    Place *places = arena_new(env->a, Place, MAX(n, (size_t)1));
    for (size_t i = 0; i < list->n; i++)
        for (size_t j = 0; j < list->series[i].n; j++)
            places[at++] = (Place){ list->series[i].at_s[j], list->series[i].value[j] };
    if (n > 0)
        qsort(places, n, sizeof *places, by_time);
    *ret_n = n;
    return places;
}

static Err aggregate(MathEnv *env, const MathValue *v, size_t n, Told what, MathValue *ret)
{
    if (n == 1 && v[0].kind == MATH_NUMBER) {
        *ret = v[0];
        return OK;
    }
    TRY(want_series(env, v, n));
    if (v[0].kind == MATH_SERIES) {
        Sums sums = sums_of(&v[0].series[0]);
        *ret = number_of(sums.count > 0 ? told(&sums, what) : NAN);
        return OK;
    }
    size_t count;
    Place *places = places_of(env, &v[0], &count);
    const MathSeries none = { .label = S("") };
    MathSeries *s = arena_new(env->a, MathSeries, 1);
    TRY(math_series_new(env, count, v[0].n > 0 ? &v[0].series[0] : &none, s));
    s->label = (Str){ 0 };
    for (size_t i = 0; i < count;) {
        Sums sums = { 0 };
        int64_t at_s = places[i].at_s;
        for (; i < count && places[i].at_s == at_s; i++)
            sums_add(&sums, places[i].value);
        math_add(s, at_s, told(&sums, what));
    }
    *ret = (MathValue){ .kind = MATH_SERIES, .series = s, .n = 1 };
    return OK;
}

static Err call_sum(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    return aggregate(env, v, n, TOLD_SUM, ret);
}

static Err call_avg(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    return aggregate(env, v, n, TOLD_AVERAGE, ret);
}

static Err call_min(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    return aggregate(env, v, n, TOLD_MIN, ret);
}

static Err call_max(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    return aggregate(env, v, n, TOLD_MAX, ret);
}

static Err call_stddev(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    return aggregate(env, v, n, TOLD_DEVIATION, ret);
}

// ---- One value at a time

typedef Err EachSeries(MathEnv *env, const MathSeries *s, const void *arg, MathSeries *ret);

// The same done to a series, or to each of a list.
static Err each_series(MathEnv *env, const MathValue *v, size_t n, EachSeries *each,
                       const void *arg, MathValue *ret)
{
    TRY(want_series(env, v, n));
    MathValue made = { .kind = v[0].kind, .n = v[0].n };
    made.series = arena_new(env->a, MathSeries, MAX(v[0].n, (size_t)1));
    for (size_t i = 0; i < v[0].n; i++)
        TRY(each(env, &v[0].series[i], arg, &made.series[i]));
    *ret = made;
    return OK;
}

typedef double OneNumber(double x);

struct one_number {
    OneNumber *function;
};

static Err map_series(MathEnv *env, const MathSeries *s, const void *arg, MathSeries *ret)
{
    const struct one_number *one = arg;
    TRY(math_series_new(env, s->n, s, ret));
    for (size_t i = 0; i < s->n; i++)
        math_add(ret, s->at_s[i], one->function(s->value[i]));
    return OK;
}

static Err map_values(MathEnv *env, const MathValue *v, size_t n, OneNumber *function,
                      MathValue *ret)
{
    struct one_number one = { function };
    if (n == 1 && v[0].kind == MATH_NUMBER) {
        *ret = number_of(function(v[0].number));
        return OK;
    }
    return each_series(env, v, n, map_series, &one, ret);
}

static Err call_abs(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    return map_values(env, v, n, fabs, ret);
}

static Err call_ceil(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    return map_values(env, v, n, ceil, ret);
}

static Err call_floor(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    return map_values(env, v, n, floor, ret);
}

static Err call_log(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    return map_values(env, v, n, log, ret);
}

static Err call_log10(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    return map_values(env, v, n, log10, ret);
}

// ---- A point and the one before it

typedef enum Step { STEP_DIFF, STEP_DIFF_TIME, STEP_RATE, STEP_RUNNING_SUM } Step;

static Err step_series(MathEnv *env, const MathSeries *s, const void *arg, MathSeries *ret)
{
    Step step = *(const Step *)arg;
    double sum = 0;
    TRY(math_series_new(env, s->n, s, ret));
    for (size_t i = 0; i < s->n; i++) {
        sum += s->value[i];
        if (step == STEP_RUNNING_SUM) {
            math_add(ret, s->at_s[i], sum);
        } else if (i > 0) {
            double rise = s->value[i] - s->value[i - 1];
            double seconds = (double)(s->at_s[i] - s->at_s[i - 1]);
            math_add(ret, s->at_s[i],
                     step == STEP_DIFF   ? rise
                     : step == STEP_RATE ? rise / seconds
                                         : seconds);
        }
    }
    return OK;
}

static Err steps(MathEnv *env, const MathValue *v, size_t n, Step step, MathValue *ret)
{
    return each_series(env, v, n, step_series, &step, ret);
}

static Err call_diff(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    return steps(env, v, n, STEP_DIFF, ret);
}

static Err call_diff_time(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    return steps(env, v, n, STEP_DIFF_TIME, ret);
}

static Err call_rate(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    return steps(env, v, n, STEP_RATE, ret);
}

static Err call_running_sum(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    return steps(env, v, n, STEP_RUNNING_SUM, ret);
}

// ---- FILL

// The value between two points, or after the last one.
static double filled(const MathSeries *s, size_t next, int64_t at_s, const MathValue *with)
{
    bool before = next > 0, after = next < s->n;
    if (with->kind == MATH_NUMBER)
        return with->number;
    if (!before)
        return NAN; // nothing to repeat yet
    double left = s->value[next - 1];
    if (str_eq(with->text, S("REPEAT")) || !after)
        return str_eq(with->text, S("REPEAT")) ? left : NAN;
    double part = (double)(at_s - s->at_s[next - 1]) / (double)(s->at_s[next] - s->at_s[next - 1]);
    return left + part * (s->value[next] - left);
}

static Err fill_series(MathEnv *env, const MathSeries *s, const void *arg, MathSeries *ret)
{
    int64_t period = MAX(s->period_s, 1);
    // Points lie where the series has some, else at whole periods.
    int64_t phase = s->n > 0 ? s->at_s[0] % period : 0;
    int64_t from = (env->from_s - phase + period - 1) / period * period + phase;
    size_t count = from < env->to_s ? (size_t)((env->to_s - from - 1) / period + 1) : 0, next = 0;
    TRY(math_series_new(env, count + s->n, s, ret));
    for (int64_t at = from; at < env->to_s; at += period) {
        while (next < s->n && s->at_s[next] < at) {
            math_add(ret, s->at_s[next], s->value[next]);
            next++;
        }
        if (next < s->n && s->at_s[next] == at) {
            math_add(ret, at, s->value[next]);
            next++;
        } else {
            math_add(ret, at, filled(s, next, at, arg));
        }
    }
    return OK;
}

static Err call_fill(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    bool word = n == 2 && v[1].kind == MATH_TEXT &&
                (str_eq(v[1].text, S("REPEAT")) || str_eq(v[1].text, S("LINEAR")));
    if (n != 2 || !(word || v[1].kind == MATH_NUMBER))
        return math_wrong(env, S("FILL takes a metric and a number, REPEAT or LINEAR"));
    return each_series(env, v, 1, fill_series, &v[1], ret);
}

// ---- IF

// The value of a number or series at a time; false: it has none.
static bool value_at(const MathValue *v, int64_t at_s, size_t *cursor, double *ret)
{
    if (v->kind == MATH_NUMBER) {
        *ret = v->number;
        return true;
    }
    const MathSeries *s = &v->series[0];
    while (*cursor < s->n && s->at_s[*cursor] < at_s)
        ++*cursor;
    if (*cursor == s->n || s->at_s[*cursor] != at_s)
        return false;
    *ret = s->value[*cursor];
    return true;
}

static Err call_if(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    if (n < 2 || n > 3)
        return math_wrong(env, S("IF takes a condition, a value, and another one or none"));
    for (size_t i = 0; i < n; i++)
        if (v[i].kind != MATH_NUMBER && v[i].kind != MATH_SERIES)
            return math_wrong(env, S("IF takes numbers and single metrics"));
    if (v[0].kind == MATH_NUMBER) {
        if (v[0].number != 0 || n == 3)
            *ret = v[0].number != 0 ? v[1] : v[2];
        else
            *ret = number_of(NAN);
        return OK;
    }
    const MathSeries *condition = &v[0].series[0];
    MathSeries *s = arena_new(env->a, MathSeries, 1);
    size_t cursors[3] = { 0 };
    TRY(math_series_new(env, condition->n, condition, s));
    for (size_t i = 0; i < condition->n; i++) {
        size_t chosen = condition->value[i] != 0 ? 1 : 2;
        double value;
        if (chosen < n && value_at(&v[chosen], condition->at_s[i], &cursors[chosen], &value))
            math_add(s, condition->at_s[i], value);
    }
    *ret = (MathValue){ .kind = MATH_SERIES, .series = s, .n = 1 };
    return OK;
}

// ---- Of series as a whole

static Err call_period(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    TRY(want_series(env, v, n));
    *ret = number_of(v[0].n > 0 ? (double)v[0].series[0].period_s : NAN);
    return OK;
}

static Err call_metric_count(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    TRY(want_series(env, v, n));
    *ret = number_of((double)v[0].n);
    return OK;
}

static Err call_datapoint_count(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    TRY(want_series(env, v, n));
    double count = 0;
    for (size_t i = 0; i < v[0].n; i++)
        count += (double)v[0].series[i].n;
    *ret = number_of(count);
    return OK;
}

static Err call_first(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    TRY(want_series(env, v, n));
    if (v[0].n == 0)
        return math_wrong(env, S("the list is empty"));
    *ret = (MathValue){ .kind = MATH_SERIES, .series = &v[0].series[0], .n = 1 };
    return OK;
}

static Err call_last(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    TRY(want_series(env, v, n));
    if (v[0].n == 0)
        return math_wrong(env, S("the list is empty"));
    *ret = (MathValue){ .kind = MATH_SERIES, .series = &v[0].series[v[0].n - 1], .n = 1 };
    return OK;
}

static Err call_remove_empty(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    TRY(want_series(env, v, n));
    MathValue kept = { .kind = v[0].kind };
    kept.series = arena_new(env->a, MathSeries, MAX(v[0].n, (size_t)1));
    for (size_t i = 0; i < v[0].n; i++)
        if (v[0].series[i].n > 0 || v[0].kind == MATH_SERIES)
            kept.series[kept.n++] = v[0].series[i];
    *ret = kept;
    return OK;
}

static Err call_time_series(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    enum { MINUTE_S = 60 };
    if (n != 1 || v[0].kind != MATH_NUMBER)
        return math_wrong(env, S("TIME_SERIES takes a number"));
    MathSeries *s = arena_new(env->a, MathSeries, 1);
    const MathSeries empty = { .label = S(""), .period_s = MINUTE_S };
    TRY(fill_series(env, &empty, &v[0], s));
    *ret = (MathValue){ .kind = MATH_SERIES, .series = s, .n = 1 };
    return OK;
}

// ---- Lists of the request and of the store

static Err call_metrics(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    if (n > 1 || (n == 1 && v[0].kind != MATH_TEXT))
        return math_wrong(env, S("METRICS takes the beginning of ids, in quotes"));
    return env->metrics(env->self, n == 1 ? v[0].text : S(""), ret);
}

static Err call_search(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    if (n < 2 || n > 3 || v[0].kind != MATH_TEXT || v[1].kind != MATH_TEXT ||
        (n == 3 && (v[2].kind != MATH_NUMBER || v[2].number < 1 || v[2].number > 86400)))
        return math_wrong(env, S("SEARCH takes a search, a statistic and a period"));
    if (env->search == NULL)
        return math_wrong(env, S("SEARCH cannot be used here"));
    return env->search(env->self, v[0].text, v[1].text, n == 3 ? (int64_t)v[2].number : 0, ret);
}

typedef struct Ranked {
    const MathSeries *series;
    double rank;
} Ranked;

static int by_rank(const void *x, const void *y)
{
    const Ranked *a = x, *b = y;
    return a->rank < b->rank ? -1 : a->rank > b->rank;
}

// SORT(list, SUM, DESC, 10): by what a function makes of each.
static Err call_sort(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    if (n < 3 || n > 4 || !is_series(&v[0]) || v[1].kind != MATH_TEXT || v[2].kind != MATH_TEXT ||
        (n == 4 && v[3].kind != MATH_NUMBER))
        return math_wrong(env, S("SORT takes a list, a function, ASC or DESC, and a number"));
    size_t count = v[0].n, kept = count;
    if (n == 4)
        kept = (size_t)MIN(MAX(v[3].number, 0), (double)count);
    Ranked *ranked = arena_new(env->a, Ranked, MAX(count, (size_t)1));
    for (size_t i = 0; i < count; i++) {
        MathValue one = { .kind = MATH_SERIES, .series = &v[0].series[i], .n = 1 }, rank;
        TRY(math_call(env, v[1].text, &one, 1, &rank));
        if (rank.kind != MATH_NUMBER)
            return math_wrong(env, S("SORT needs a function that makes a number"));
        bool down = str_eq(v[2].text, S("DESC"));
        ranked[i].series = &v[0].series[i];
        ranked[i].rank = isnan(rank.number) ? HUGE_VAL : down ? -rank.number : rank.number;
    }
    if (count > 0)
        qsort(ranked, count, sizeof *ranked, by_rank);
    MathValue list = { .kind = MATH_LIST, .n = kept };
    list.series = arena_new(env->a, MathSeries, MAX(kept, (size_t)1));
    for (size_t i = 0; i < kept; i++)
        list.series[i] = *ranked[i].series;
    *ret = list;
    return OK;
}

// SLICE(list, 0, 10): from one place to before another.
static Err call_slice(MathEnv *env, const MathValue *v, size_t n, MathValue *ret)
{
    if (n < 2 || n > 3 || !is_series(&v[0]) || v[1].kind != MATH_NUMBER ||
        (n == 3 && v[2].kind != MATH_NUMBER))
        return math_wrong(env, S("SLICE takes a list and one or two places"));
    double count = (double)v[0].n;
    size_t from = (size_t)MIN(MAX(v[1].number, 0), count);
    size_t to = n == 3 ? (size_t)MIN(MAX(v[2].number, 0), count) : MIN(from + 1, v[0].n);
    *ret = (MathValue){ .kind = MATH_LIST,
                        .series = &v[0].series[from],
                        .n = to > from ? to - from : 0 };
    return OK;
}

// ---- Parts of times

typedef enum Part {
    PART_EPOCH,
    PART_MINUTE,
    PART_HOUR,
    PART_DAY,
    PART_DATE,
    PART_MONTH,
    PART_YEAR
} Part;

static Err part_series(MathEnv *env, const MathSeries *s, const void *arg, MathSeries *ret)
{
    TRY(math_series_new(env, s->n, s, ret));
    for (size_t i = 0; i < s->n; i++) {
        Civil c = time_civil(s->at_s[i] * NS_PER_S);
        const double parts[] = { [PART_EPOCH] = (double)s->at_s[i],
                                 [PART_MINUTE] = c.minute,
                                 [PART_HOUR] = c.hour,
                                 [PART_DAY] = c.weekday == 0 ? 7 : c.weekday, // Monday is 1
                                 [PART_DATE] = c.day,
                                 [PART_MONTH] = c.month,
                                 [PART_YEAR] = (double)c.year };
        math_add(ret, s->at_s[i], parts[*(const Part *)arg]);
    }
    return OK;
}

#define PART_FUNCTION(name, part)                                               \
    static Err name(MathEnv *env, const MathValue *v, size_t n, MathValue *ret) \
    {                                                                           \
        const Part which = part;                                                \
        return each_series(env, v, n, part_series, &which, ret);                \
    }
PART_FUNCTION(call_epoch, PART_EPOCH)
PART_FUNCTION(call_minute, PART_MINUTE)
PART_FUNCTION(call_hour, PART_HOUR)
PART_FUNCTION(call_day, PART_DAY)
PART_FUNCTION(call_date, PART_DATE)
PART_FUNCTION(call_month, PART_MONTH)
PART_FUNCTION(call_year, PART_YEAR)

// ---- By name

static const struct {
    Str name;
    Function *call;
} functions[] = {
    { S_INIT("ABS"), call_abs },
    { S_INIT("AVG"), call_avg },
    { S_INIT("CEIL"), call_ceil },
    { S_INIT("DATAPOINT_COUNT"), call_datapoint_count },
    { S_INIT("DATE"), call_date },
    { S_INIT("DAY"), call_day },
    { S_INIT("DIFF"), call_diff },
    { S_INIT("DIFF_TIME"), call_diff_time },
    { S_INIT("EPOCH"), call_epoch },
    { S_INIT("FILL"), call_fill },
    { S_INIT("FIRST"), call_first },
    { S_INIT("FLOOR"), call_floor },
    { S_INIT("HOUR"), call_hour },
    { S_INIT("IF"), call_if },
    { S_INIT("LAST"), call_last },
    { S_INIT("LOG"), call_log },
    { S_INIT("LOG10"), call_log10 },
    { S_INIT("MAX"), call_max },
    { S_INIT("METRICS"), call_metrics },
    { S_INIT("METRIC_COUNT"), call_metric_count },
    { S_INIT("MIN"), call_min },
    { S_INIT("MINUTE"), call_minute },
    { S_INIT("MONTH"), call_month },
    { S_INIT("PERIOD"), call_period },
    { S_INIT("RATE"), call_rate },
    { S_INIT("REMOVE_EMPTY"), call_remove_empty },
    { S_INIT("RUNNING_SUM"), call_running_sum },
    { S_INIT("SEARCH"), call_search },
    { S_INIT("SLICE"), call_slice },
    { S_INIT("SORT"), call_sort },
    { S_INIT("STDDEV"), call_stddev },
    { S_INIT("SUM"), call_sum },
    { S_INIT("TIME_SERIES"), call_time_series },
    { S_INIT("YEAR"), call_year },
};

static Function *function_of(Str name)
{
    for (size_t i = 0; i < COUNT_OF(functions); i++)
        if (str_eq(functions[i].name, name))
            return functions[i].call;
    return NULL;
}

bool math_is_function(Str name)
{
    return function_of(name) != NULL;
}

Err math_call(MathEnv *env, Str name, const MathValue *arguments, size_t n, MathValue *ret)
{
    Function *call = function_of(name);
    if (call == NULL)
        return math_wrong(env, str_fmt(env->a, "there is no function '%.*s'", FMT(name)));
    return call(env, arguments, n, ret);
}
