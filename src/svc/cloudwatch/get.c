// SPDX-License-Identifier: Apache-2.0
// GetMetricStatistics and GetMetricData.
//
// Texts on record of AWS: the number of datapoints, StartTime and EndTime, what is required, ids,
// several units, and how labels tell queries apart. The others are in their manner.
#include "base/time.h"
#include "svc/cloudwatch/queries.h"

#include <stdio.h>
#include <stdlib.h>

enum { STATISTICS_POINTS_MAX = 1440, MINUTE_S = 60, DATA_POINTS_MAX = 100800 };

static int64_t seconds_up(int64_t ns)
{
    return ns / NS_PER_S + (ns % NS_PER_S > 0);
}

// 16,666
static Str with_commas(struct arena *a, size_t n)
{
    if (n < 1000)
        return str_fmt(a, "%zu", n);
    return str_fmt(a, "%.*s,%03zu", FMT(with_commas(a, n / 1000)), n % 1000);
}

// ---- GetMetricStatistics

// What is asked for, by name.
struct asked {
    const struct cloudwatch_GetMetricStatistics_in *in;
    Stat *extended; // beside in->extended_statistics
    bool bins;
};

static Err check_statistics(struct call *c, const struct cloudwatch_GetMetricStatistics_in *in,
                            struct asked *ret)
{
    if (in->start_time >= in->end_time)
        return call_fail(c, &cloudwatch_InvalidParameterValueException,
                         "The parameter StartTime must be less than the parameter EndTime.");
    if (!period_is_valid(in->period))
        return call_fail(c, &cloudwatch_InvalidParameterValueException,
                         "The parameter Period must be a value in the set [1, 5, 10, 20, 30] or a "
                         "multiple of 60.");
    if (in->statistics.n + in->extended_statistics.n == 0)
        return call_fail(c, &cloudwatch_InvalidParameterCombinationException,
                         "Must specify either Statistics or ExtendedStatistics.");
    struct asked asked = { .in = in };
    asked.extended = arena_new(c->arena, Stat, MAX(in->extended_statistics.n, (size_t)1));
    for (size_t i = 0; i < in->extended_statistics.n; i++) {
        Str name = in->extended_statistics.at[i];
        if (stat_parse(name, &asked.extended[i]).kind != ERR_NONE ||
            asked.extended[i].kind < STAT_PERCENTILE)
            return call_fail(c, &cloudwatch_InvalidParameterValueException,
                             "The value %.*s for parameter ExtendedStatistics.member.%zu is not "
                             "supported.",
                             FMT(name), i + 1);
        asked.bins = true;
    }
    *ret = asked;
    return OK;
}

// False: nothing that was asked for can be told of it.
static bool fill_point(struct arena *a, const struct asked *asked, const StatSet *set,
                       cloudwatch_Datapoint *p)
{
    const struct cloudwatch_GetMetricStatistics_in *in = asked->in;
    const struct {
        Str name;
        StatKind kind;
        double *value;
        bool *has;
    } parts[] = { { cloudwatch_Statistic_SampleCount, STAT_COUNT, &p->sample_count,
                    &p->has_sample_count },
                  { cloudwatch_Statistic_Average, STAT_AVERAGE, &p->average, &p->has_average },
                  { cloudwatch_Statistic_Sum, STAT_SUM, &p->sum, &p->has_sum },
                  { cloudwatch_Statistic_Minimum, STAT_MIN, &p->minimum, &p->has_minimum },
                  { cloudwatch_Statistic_Maximum, STAT_MAX, &p->maximum, &p->has_maximum } };
    bool told = false;
    for (size_t i = 0; i < in->statistics.n; i++)
        for (size_t j = 0; j < COUNT_OF(parts); j++)
            if (str_eq(in->statistics.at[i], parts[j].name)) {
                Stat s = { .kind = parts[j].kind };
                *parts[j].has = stat_value(&s, set, parts[j].value);
                told = told || *parts[j].has;
            }
    size_t n = in->extended_statistics.n;
    cloudwatch_DatapointValueMap map = { 0 };
    map.at = arena_new(a, cloudwatch_DatapointValueMap_entry, MAX(n, (size_t)1));
    for (size_t i = 0; i < n; i++)
        if (stat_value(&asked->extended[i], set, &map.at[map.n].value))
            map.at[map.n++].key = in->extended_statistics.at[i];
    map.set = map.n > 0;
    p->extended_statistics = map;
    return told || map.set;
}

Err cloudwatch_GetMetricStatistics(struct call *c,
                                   const struct cloudwatch_GetMetricStatistics_in *in,
                                   struct cloudwatch_GetMetricStatistics_out *out)
{
    struct cloudwatch *cw = c->state;
    struct asked asked = { 0 };
    const Dimension *dims;
    size_t n;
    TRY(check_statistics(c, in, &asked));
    TRY(cloudwatch_dimensions(c, &in->dimensions, S(""), &dims, &n));
    int64_t start_s = MAX(in->start_time, 0) / NS_PER_S, step = MIN(in->period, MINUTE_S);
    Window w = { .from_s = start_s - start_s % step,
                 .to_s = MAX(seconds_up(in->end_time), 0),
                 .period_s = in->period };
    size_t periods = window_periods(&w);
    if (periods > STATISTICS_POINTS_MAX)
        return call_fail(c, &cloudwatch_InvalidParameterCombinationException,
                         "You have requested up to %.*s datapoints, which exceeds the limit of "
                         "1,440. You may reduce the datapoints requested by increasing Period, or "
                         "decreasing the time range.",
                         FMT(with_commas(c->arena, periods)));
    SeriesName name = cloudwatch_name(c, in->namespace, in->metric_name, dims, n);
    Fetched f = { 0 };
    AUTO(kv_txn) tx = kv_read(cw->store.series);
    TRY(fetch_points(&cw->store, tx, c->arena, &name, &w,
                     in->unit.p != NULL ? unit_of(in->unit) : UNITS, asked.bins, &f));
    out->label = in->metric_name;
    out->datapoints = (cloudwatch_Datapoints){ .set = true };
    out->datapoints.at =
        arena_new(c->arena, cloudwatch_Datapoint, MAX(periods * f.unit_count, (size_t)1));
    for (size_t i = 0; i < periods; i++)
        for (size_t u = 0; u < f.unit_count; u++) {
            cloudwatch_Datapoint p = { .has_timestamp = true,
                                       .timestamp = (w.from_s + (int64_t)i * w.period_s) * NS_PER_S,
                                       .unit = unit_name(f.units[u].unit) };
            if (fill_point(c->arena, &asked, &f.units[u].periods[i], &p))
                out->datapoints.at[out->datapoints.n++] = p;
        }
    return OK;
}

// ---- GetMetricData

// One line of the answer.
typedef struct Result {
    Str id, label, units;
    const MathSeries *series;
} Result;

struct results {
    Result *at;
    size_t n, cap;
};

static Result *next_result(struct arena *a, struct results *r)
{
    if (r->n == r->cap) {
        size_t cap = MAX(r->cap * 2, (size_t)16);
        Result *wider = arena_new(a, Result, cap);
        for (size_t i = 0; i < r->n; i++)
            wider[i] = r->at[i];
        r->at = wider;
        r->cap = cap;
    }
    return &r->at[r->n++];
}

// What tells metrics apart that have no label: what differs among all of them.
static Str metric_label(struct arena *a, const cloudwatch_MetricDataQueries *list,
                        const cloudwatch_MetricStat *m)
{
    bool stats_differ = false, periods_differ = false;
    for (size_t i = 0; i < list->n; i++) {
        const cloudwatch_MetricStat *other = list->at[i].metric_stat;
        if (other == NULL || !query_returns_data(&list->at[i]))
            continue;
        stats_differ = stats_differ || !str_eq(other->stat, m->stat);
        periods_differ = periods_differ || other->period != m->period;
    }
    Str label = m->metric->metric_name;
    if (stats_differ)
        label = str_cat3(a, label, S(" "), m->stat);
    return periods_differ ? str_fmt(a, "%.*s %d", FMT(label), m->period) : label;
}

static Err collect(struct call *c, Queries *q, struct results *r)
{
    for (size_t i = 0; i < q->list->n; i++) {
        const cloudwatch_MetricDataQuery *query = &q->list->at[i];
        MathValue v;
        if (!query_returns_data(query))
            continue;
        Err e = queries_value(q, i, &v);
        if (e.kind == ERR_INVALID && q->problem.p != NULL)
            return call_fail(c, &cloudwatch_ValidationException, "%.*s", FMT(q->problem));
        TRY(e);
        Str label = query->label;
        if (label.p == NULL)
            label = query->metric_stat != NULL ? metric_label(c->arena, q->list, query->metric_stat)
                                               : query->id;
        for (size_t j = 0; j < v.n; j++) {
            Result *one = next_result(c->arena, r);
            *one = (Result){ .id = query->id, .label = label, .series = &v.series[j] };
            one->units = queries_units_message(q, i);
            if (v.kind == MATH_LIST && v.series[j].label.n > 0)
                one->label = query->label.p != NULL
                                 ? str_cat3(c->arena, label, S(" "), v.series[j].label)
                                 : v.series[j].label;
        }
    }
    return OK;
}

// Where an answer goes on: a result, and how many of its points were told.
typedef struct Place {
    size_t result, told;
} Place;

static Err open_place(struct call *c, Str token, const struct results *r, Place *ret)
{
    Str text, left, right;
    uint64_t result, told;
    *ret = (Place){ 0 };
    if (token.n == 0)
        return OK;
    TRY(cloudwatch_token_open(c, token, &text));
    str_cut(text, '.', &left, &right);
    if (str_u64(left, &result).kind != ERR_NONE || str_u64(right, &told).kind != ERR_NONE ||
        result >= r->n || told > r->at[result].series->n)
        return call_fail(c, &cloudwatch_InvalidNextToken, "The service could not parse the token.");
    *ret = (Place){ (size_t)result, (size_t)told };
    return OK;
}

static cloudwatch_MetricDataResultMessages units_message(struct arena *a, Str text)
{
    cloudwatch_MetricDataResultMessages m = { 0 };
    if (text.p == NULL)
        return m;
    m = (cloudwatch_MetricDataResultMessages){ .set = true, .n = 1 };
    m.at = arena_new(a, cloudwatch_MessageData, 1);
    m.at[0] = (cloudwatch_MessageData){ .code = S("MultipleUnits"), .value = text };
    return m;
}

// The points of a result from one on, as many as may be told.
static cloudwatch_MetricDataResult told_result(struct arena *a, const Result *r, size_t from,
                                               size_t max, bool ascending)
{
    const MathSeries *s = r->series;
    size_t n = MIN(s->n - from, max);
    cloudwatch_MetricDataResult out = { .id = r->id,
                                        .label = r->label,
                                        .messages = units_message(a, r->units),
                                        .timestamps = { .set = true, .n = n },
                                        .values = { .set = true, .n = n },
                                        .status_code = from + n == s->n
                                                           ? cloudwatch_StatusCode_Complete
                                                           : cloudwatch_StatusCode_PartialData };
    out.timestamps.at = arena_new(a, int64_t, MAX(n, (size_t)1));
    out.values.at = arena_new(a, double, MAX(n, (size_t)1));
    for (size_t i = 0; i < n; i++) {
        size_t at = ascending ? from + i : s->n - 1 - from - i;
        out.timestamps.at[i] = s->at_s[at] * NS_PER_S;
        out.values.at[i] = s->value[at];
    }
    return out;
}

static void tell(struct call *c, const struct cloudwatch_GetMetricData_in *in,
                 const struct results *r, Place place, struct cloudwatch_GetMetricData_out *out)
{
    bool ascending = str_eq(in->scan_by, cloudwatch_ScanBy_TimestampAscending);
    size_t left = DATA_POINTS_MAX;
    if (in->has_max_datapoints)
        left = MIN(left, (size_t)in->max_datapoints);
    cloudwatch_MetricDataResults list = { .set = true };
    list.at = arena_new(c->arena, cloudwatch_MetricDataResult, MAX(r->n, (size_t)1));
    while (place.result < r->n) {
        const Result *one = &r->at[place.result];
        cloudwatch_MetricDataResult told = told_result(c->arena, one, place.told, left, ascending);
        list.at[list.n++] = told;
        left -= told.values.n;
        place.told += told.values.n;
        if (place.told < one->series->n)
            break;
        place = (Place){ .result = place.result + 1 };
        if (left == 0)
            break;
    }
    if (place.result < r->n)
        out->next_token =
            cloudwatch_token(c->arena, str_fmt(c->arena, "%zu.%zu", place.result, place.told));
    out->metric_data_results = list;
    out->messages.set = true;
}

Err cloudwatch_GetMetricData(struct call *c, const struct cloudwatch_GetMetricData_in *in,
                             struct cloudwatch_GetMetricData_out *out)
{
    struct cloudwatch *cw = c->state;
    Str problem = queries_check(c->arena, &in->metric_data_queries);
    if (problem.p == NULL && in->start_time >= in->end_time)
        problem = S("The parameter StartTime must be less than the parameter EndTime.");
    if (problem.p != NULL)
        return call_fail(c, &cloudwatch_ValidationException, "%.*s", FMT(problem));
    Queries q;
    struct results r = { 0 };
    Place place;
    AUTO(kv_txn) tx = kv_read(cw->store.series);
    queries_init(&q, cw, tx, c->arena, c->account, c->region, &in->metric_data_queries,
                 MAX(in->start_time, 0) / NS_PER_S, MAX(seconds_up(in->end_time), 0));
    TRY(collect(c, &q, &r));
    TRY(open_place(c, in->next_token, &r, &place));
    tell(c, in, &r, place, out);
    return OK;
}
