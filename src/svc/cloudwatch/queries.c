// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/queries.h"
#include "svc/cloudwatch/insights_run.h"
#include "svc/cloudwatch/search.h"

#include <string.h>

enum { MINUTE_S = 60 };

typedef enum StateKind { STATE_NEW, STATE_RUNNING, STATE_DONE } StateKind;

struct query_state {
    StateKind kind;
    MathValue value;
    Str units;
};

bool query_returns_data(const cloudwatch_MetricDataQuery *q)
{
    return !q->has_return_data || q->return_data;
}

bool period_is_valid(int64_t period_s)
{
    return period_s == 1 || period_s == 5 || period_s == 10 || period_s == 20 || period_s == 30 ||
           (period_s > 0 && period_s % MINUTE_S == 0);
}

// ---- Checks

static bool id_is_valid(Str id)
{
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        bool digit = c >= '0' && c <= '9', upper = c >= 'A' && c <= 'Z';
        if (!((c >= 'a' && c <= 'z') || (i > 0 && (digit || upper || c == '_'))))
            return false;
    }
    return id.n > 0;
}

static Str check_stat(struct arena *a, const cloudwatch_MetricStat *s, Str at)
{
    Stat stat;
    if (s->metric->namespace.p == NULL)
        return str_fmt(a, "The parameter %.*s.MetricStat.Metric.Namespace is required.\n", FMT(at));
    if (s->metric->metric_name.p == NULL)
        return str_fmt(a, "The parameter %.*s.MetricStat.Metric.MetricName is required.\n",
                       FMT(at));
    if (!period_is_valid(s->period))
        return str_fmt(a,
                       "The parameter %.*s.MetricStat.Period must be a value in the set [1, 5, 10, "
                       "20, 30] or a multiple of 60.",
                       FMT(at));
    if (stat_parse(s->stat, &stat).kind != ERR_NONE)
        return str_fmt(a, "The value %.*s for parameter %.*s.MetricStat.Stat is not supported.",
                       FMT(s->stat), FMT(at));
    return (Str){ 0 };
}

Str queries_check(struct arena *a, const cloudwatch_MetricDataQueries *list)
{
    if (list->n > QUERIES_MAX)
        return str_fmt(a, "The collection MetricDataQueries must not have a size greater than %d.",
                       QUERIES_MAX);
    for (size_t i = 0; i < list->n; i++) {
        const cloudwatch_MetricDataQuery *q = &list->at[i];
        Str at = str_fmt(a, "MetricDataQueries.member.%zu", i + 1), problem = { 0 };
        if (!id_is_valid(q->id))
            return str_fmt(a,
                           "The value %.*s for parameter %.*s.Id is not matching the expected "
                           "pattern ^[a-z][a-zA-Z0-9_]*$.",
                           FMT(q->id), FMT(at));
        for (size_t j = 0; j < i; j++)
            if (str_eq(list->at[j].id, q->id))
                return S("The values for parameter id in MetricDataQueries are not unique.");
        if (q->metric_stat != NULL && q->expression.p != NULL)
            return str_fmt(a,
                           "The parameters %.*s.Expression and %.*s.MetricStat are mutually "
                           "exclusive and you have specified both.",
                           FMT(at), FMT(at));
        if (q->metric_stat == NULL && q->expression.p == NULL)
            return str_fmt(a, "The parameter %.*s.MetricStat is required.\n", FMT(at));
        if (q->metric_stat != NULL)
            problem = check_stat(a, q->metric_stat, at);
        if (problem.p != NULL)
            return problem;
    }
    return (Str){ 0 };
}

// ---- Metrics

static Str units_text(struct arena *a, const Fetched *f)
{
    Str text = S("");
    for (size_t i = 0; i < f->unit_count; i++)
        text = str_cat3(a, text, i > 0 ? S(", ") : S(""), unit_name(f->units[i].unit));
    return str_fmt(a, "Multiple units returned: '[%.*s]'", FMT(text));
}

Err metric_series(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, const SeriesName *name,
                  const Stat *stat, const Window *w, unsigned unit, MathSeries *ret, Str *ret_units)
{
    AUTO(arena) tmp = arena_open();
    Fetched f = { 0 };
    MathSeries s = { .label = name->name, .period_s = w->period_s };
    size_t periods = window_periods(w);
    TRY(fetch_points(&cw->store, tx, tmp, name, w, unit, stat->kind >= STAT_PERCENTILE, &f));
    if (f.unit_count > 0) {
        s.at_s = arena_new(a, int64_t, periods);
        s.value = arena_new(a, double, periods);
        for (size_t i = 0; i < periods; i++)
            if (stat_value(stat, &f.units[0].periods[i], &s.value[s.n]))
                s.at_s[s.n++] = w->from_s + (int64_t)i * w->period_s;
    }
    if (ret_units != NULL)
        *ret_units = f.unit_count > 1 ? units_text(a, &f) : (Str){ 0 };
    *ret = s;
    return OK;
}

static int64_t floor_to(int64_t at_s, int64_t period_s)
{
    return at_s - at_s % period_s;
}

static Err too_many(Queries *q)
{
    q->problem = S("The time range and periods of the request make too many data points.");
    return fail(ERR_INVALID, "too many points are asked for");
}

static Err run_metric(Queries *q, size_t i, MathValue *ret)
{
    const cloudwatch_MetricStat *m = q->list->at[i].metric_stat;
    cloudwatch_Dimensions dims = m->metric->dimensions;
    Dimension *sorted = arena_new(q->a, Dimension, MAX(dims.n, (size_t)1));
    for (size_t d = 0; d < dims.n; d++)
        sorted[d] = (Dimension){ dims.at[d].name, dims.at[d].value };
    dimensions_sort(sorted, dims.n);
    SeriesName name = { .account = q->account,
                        .region = q->region,
                        .name_space = m->metric->namespace,
                        .name = m->metric->metric_name,
                        .dims = sorted,
                        .dim_count = dims.n };
    Window w = { .from_s = floor_to(q->from_s, m->period), .to_s = q->to_s, .period_s = m->period };
    Stat stat;
    if (window_periods(&w) > FETCH_PERIODS_MAX)
        return too_many(q);
    TRY(stat_parse(m->stat, &stat));
    MathSeries *s = arena_new(q->a, MathSeries, 1);
    TRY(metric_series(q->cw, q->tx, q->a, &name, &stat, &w,
                      m->unit.p != NULL ? unit_of(m->unit) : UNITS, s, &q->states[i].units));
    *ret = (MathValue){ .kind = MATH_SERIES, .series = s, .n = 1 };
    return OK;
}

// ---- Expressions

// A number is told at every period of the shortest metric of the request.
static void number_to_series(Queries *q, MathValue *v)
{
    int64_t period = INT64_MAX;
    for (size_t i = 0; i < q->list->n; i++)
        if (q->list->at[i].metric_stat != NULL)
            period = MIN(period, (int64_t)q->list->at[i].metric_stat->period);
    Window w = { .period_s = period == INT64_MAX ? MINUTE_S : period, .to_s = q->to_s };
    w.from_s = floor_to(q->from_s, w.period_s);
    size_t n = MIN(window_periods(&w), (size_t)FETCH_PERIODS_MAX);
    MathSeries *s = arena_new(q->a, MathSeries, 1);
    *s = (MathSeries){ .period_s = w.period_s, .n = v->number == v->number ? n : 0 };
    s->at_s = arena_new(q->a, int64_t, MAX(n, (size_t)1));
    s->value = arena_new(q->a, double, MAX(n, (size_t)1));
    for (size_t i = 0; i < n; i++) {
        s->at_s[i] = w.from_s + (int64_t)i * w.period_s;
        s->value[i] = v->number;
    }
    *v = (MathValue){ .kind = MATH_SERIES, .series = s, .n = 1 };
}

static Err run_insights(Queries *q, const cloudwatch_MetricDataQuery *query, MathValue *ret)
{
    Insights parsed;
    Window w = { .period_s = query->has_period ? query->period : 5 * MINUTE_S, .to_s = q->to_s };
    w.from_s = floor_to(q->from_s, w.period_s);
    Err e = insights_parse(q->a, query->expression, &parsed);
    if (e.kind == ERR_INVALID) {
        q->problem = str_fmt(q->a, "Error in expression '%.*s': %s", FMT(query->id), e.text);
        return e;
    }
    TRY(e);
    if (!period_is_valid(w.period_s)) {
        q->problem =
            str_fmt(q->a, "Error in expression '%.*s': its period is not valid", FMT(query->id));
        return fail(ERR_INVALID, "a query's period is not valid");
    }
    if (window_periods(&w) > FETCH_PERIODS_MAX)
        return too_many(q);
    e = insights_run(&parsed, &q->cw->store, q->tx, q->a, q->account, q->region, &w, ret);
    return e.kind == ERR_LIMIT ? too_many(q) : e;
}

static Err run_expression(Queries *q, size_t i, MathValue *ret)
{
    const cloudwatch_MetricDataQuery *query = &q->list->at[i];
    MathValue v;
    if (insights_is_query(query->expression))
        return run_insights(q, query, ret);
    Err e = math_evaluate(&q->env, query->expression, &v);
    if (e.kind == ERR_INVALID && q->problem.p == NULL)
        q->problem =
            str_fmt(q->a, "Error in expression '%.*s': %.*s", FMT(query->id), FMT(q->env.problem));
    if (e.kind == ERR_LIMIT)
        return too_many(q);
    TRY(e);
    if (v.kind == MATH_TEXT) {
        q->problem =
            str_fmt(q->a, "Error in expression '%.*s': it makes no time series", FMT(query->id));
        return fail(ERR_INVALID, "an expression makes a text");
    }
    *ret = v;
    return OK;
}

static Err run(Queries *q, size_t i, MathValue *ret)
{
    struct query_state *s = &q->states[i];
    if (s->kind == STATE_RUNNING) {
        q->problem = str_fmt(q->a, "Error in expression '%.*s': it depends on itself",
                             FMT(q->list->at[i].id));
        return fail(ERR_INVALID, "expressions form a circle");
    }
    if (s->kind == STATE_NEW) {
        s->kind = STATE_RUNNING;
        TRY(q->list->at[i].expression.p != NULL ? run_expression(q, i, &s->value)
                                                : run_metric(q, i, &s->value));
        s->kind = STATE_DONE;
    }
    *ret = s->value;
    return OK;
}

static Err metric_by_id(void *self, Str id, MathValue *ret)
{
    Queries *q = self;
    for (size_t i = 0; i < q->list->n; i++)
        if (str_eq(q->list->at[i].id, id))
            return run(q, i, ret);
    return fail(ERR_NOT_FOUND, "no query has this id");
}

static Err metrics_by_prefix(void *self, Str prefix, MathValue *ret)
{
    Queries *q = self;
    MathValue list = { .kind = MATH_LIST }, v;
    list.series = arena_new(q->a, MathSeries, MAX(q->list->n, (size_t)1));
    for (size_t i = 0; i < q->list->n; i++) {
        const cloudwatch_MetricDataQuery *one = &q->list->at[i];
        if (one->metric_stat == NULL || !str_starts(one->id, prefix))
            continue;
        TRY(run(q, i, &v));
        list.series[list.n++] = v.series[0];
    }
    *ret = list;
    return OK;
}

// ---- SEARCH

static Err search_one(Queries *q, const Series *found, const Stat *stat, const Window *w,
                      MathSeries *ret)
{
    TRY(metric_series(q->cw, q->tx, q->a, &found->name, stat, w, UNITS, ret, NULL));
    for (size_t i = 0; i < found->name.dim_count; i++)
        ret->label = i == 0 ? found->name.dims[0].value
                            : str_cat3(q->a, ret->label, S(" "), found->name.dims[i].value);
    ret->label = str_cat3(q->a, ret->label, found->name.dim_count > 0 ? S(" ") : S(""),
                          found->name.dim_count > 0 ? found->name.name : S(""));
    return OK;
}

static Err run_search(void *self, Str text, Str stat_name, int64_t period_s, MathValue *ret)
{
    Queries *q = self;
    Search search;
    Stat stat;
    Window w = { .period_s = period_s > 0 ? period_s : 5 * MINUTE_S, .to_s = q->to_s };
    w.from_s = floor_to(q->from_s, w.period_s);
    if (stat_parse(stat_name, &stat).kind != ERR_NONE || !period_is_valid(w.period_s) ||
        search_parse(q->a, text, &search).kind != ERR_NONE) {
        q->problem = S("Invalid syntax for SEARCH expression");
        return fail(ERR_INVALID, "a search is malformed");
    }
    if (window_periods(&w) > FETCH_PERIODS_MAX)
        return too_many(q);
    Series *found = arena_new(q->a, Series, QUERIES_SEARCHED_MAX);
    size_t n;
    TRY(search_run(&search, &q->cw->store, q->tx, q->a, q->account, q->region, found,
                   QUERIES_SEARCHED_MAX, &n));
    MathValue list = { .kind = MATH_LIST, .n = n };
    list.series = arena_new(q->a, MathSeries, MAX(n, (size_t)1));
    for (size_t i = 0; i < n; i++)
        TRY(search_one(q, &found[i], &stat, &w, &list.series[i]));
    *ret = list;
    return OK;
}

// ----

void queries_init(Queries *q, struct cloudwatch *cw, struct kv_txn *tx, struct arena *a,
                  Str account, Str region, const cloudwatch_MetricDataQueries *list, int64_t from_s,
                  int64_t to_s)
{
    *q = (Queries){ .cw = cw,
                    .tx = tx,
                    .a = a,
                    .account = account,
                    .region = region,
                    .list = list,
                    .from_s = MAX(from_s, 0),
                    .to_s = to_s,
                    .states = arena_new(a, struct query_state, MAX(list->n, (size_t)1)) };
    q->env = (MathEnv){ .a = a,
                        .from_s = floor_to(q->from_s, MINUTE_S),
                        .to_s = to_s,
                        .metric = metric_by_id,
                        .metrics = metrics_by_prefix,
                        .search = run_search,
                        .self = q };
}

Err queries_value(Queries *q, size_t i, MathValue *ret)
{
    MathValue v;
    TRY(run(q, i, &v));
    if (v.kind == MATH_NUMBER)
        number_to_series(q, &v);
    *ret = v;
    return OK;
}

Str queries_units_message(const Queries *q, size_t i)
{
    return q->states[i].units;
}
