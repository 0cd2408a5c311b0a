// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/judge.h"
#include "base/time.h"
#include "codec/hash.h"
#include "svc/cloudwatch/insights.h"
#include "svc/cloudwatch/queries.h"

#include <stdlib.h>

enum { MINUTE_S = 60 };

int64_t alarm_period(const Alarm *alarm)
{
    return alarm->metrics.n > 0 ? alarm_period_of(&alarm->metrics) : alarm->period;
}

// A percentile of too few samples, which the alarm wants ignored.
static bool is_uncertain(const Alarm *alarm, const Stat *stat, double count)
{
    if (stat->kind != STAT_PERCENTILE ||
        !str_eq(alarm->evaluate_low_sample_count_percentile, S("ignore")))
        return false;
    double part = stat->high / 100;
    double least = part >= 0.5 ? 10 / MAX(1 - part, 1e-9) : 10 / MAX(part, 1e-9);
    return count < least;
}

static Err points_of_metric(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                            const Alarm *alarm, const Window *w, AlarmPoint *points)
{
    Dimension *dims = arena_new(a, Dimension, MAX(alarm->dimensions.n, (size_t)1));
    for (size_t i = 0; i < alarm->dimensions.n; i++)
        dims[i] = (Dimension){ alarm->dimensions.at[i].name, alarm->dimensions.at[i].value };
    dimensions_sort(dims, alarm->dimensions.n);
    SeriesName name = { .account = r.account,
                        .region = r.region,
                        .name_space = alarm->namespace,
                        .name = alarm->metric_name,
                        .dims = dims,
                        .dim_count = alarm->dimensions.n };
    Fetched f = { 0 };
    Stat stat;
    TRY(stat_parse(alarm->statistic.p != NULL ? alarm->statistic : alarm->extended_statistic,
                   &stat));
    TRY(fetch_points(&cw->store, tx, a, &name, w,
                     alarm->unit.p != NULL ? unit_of(alarm->unit) : UNITS,
                     stat.kind >= STAT_PERCENTILE, &f));
    for (size_t i = 0; f.unit_count > 0 && i < window_periods(w); i++) {
        const StatSet *set = &f.units[0].periods[i];
        points[i].present = stat_value(&stat, set, &points[i].value);
        points[i].sample_count = set->count;
        points[i].uncertain = points[i].present && is_uncertain(alarm, &stat, set->count);
    }
    return OK;
}

static AlarmPoint *points_of(struct arena *a, const Alarm *alarm, const Window *w, size_t *ret_n)
{
    size_t n = (size_t)alarm->evaluation_periods + EVALUATE_MORE_PERIODS;
    AlarmPoint *points = arena_new(a, AlarmPoint, n);
    for (size_t i = 0; i < n; i++)
        points[i].at_s = w->from_s + (int64_t)i * w->period_s;
    *ret_n = n;
    return points;
}

static void take_series(const MathSeries *s, const Window *w, AlarmPoint *points)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->at_s[i] < w->from_s || s->at_s[i] >= w->to_s)
            continue;
        AlarmPoint *p = &points[(s->at_s[i] - w->from_s) / w->period_s];
        p->present = true;
        p->value = s->value[i];
    }
}

static Err value_of_queries(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                            const Alarm *alarm, const Window *w, MathValue *ret)
{
    Queries q;
    queries_init(&q, cw, tx, a, r.account, r.region, &alarm->metrics, w->from_s, w->to_s);
    for (size_t i = 0; i < alarm->metrics.n; i++)
        if (query_returns_data(&alarm->metrics.at[i]))
            TRY(queries_value(&q, i, ret));
    return OK;
}

// ---- Alarms on the groups of a query

static Str id_of(struct arena *a, Str label)
{
    unsigned char digest[SHA256_BYTES];
    sha256(label.p, label.n, digest);
    Str id = S("");
    for (size_t i = 0; i < CONTRIBUTOR_ID_CHARS / 2; i++)
        id = str_fmt(a, "%.*s%02x", FMT(id), digest[i]);
    return id;
}

static void judge_series(struct arena *a, const Alarm *alarm, const MathSeries *s, const Window *w,
                         int64_t now_ns, Contributor *ret)
{
    size_t n;
    AlarmPoint *points = points_of(a, alarm, w, &n);
    Alarm alone = *alarm;
    alone.state_value = S(""); // so that there is a reason, whatever the alarm's state is
    take_series(s, w, points);
    *ret = (Contributor){ .id = id_of(a, s->label),
                          .group_values = s->group_values,
                          .verdict = alarm_evaluate(a, &alone, points, n, now_ns) };
}

// One that breaches is enough; while one may not be told, neither may the others decide.
static int weight(const Verdict *v)
{
    if (str_eq(v->state, cloudwatch_StateValue_ALARM))
        return 3;
    if (v->state.p == NULL)
        return 2;
    return str_eq(v->state, cloudwatch_StateValue_OK) ? 1 : 0;
}

static Verdict together(const Judgement *j)
{
    const Verdict *most = &j->at[0].verdict;
    for (size_t i = 1; i < j->n; i++)
        if (weight(&j->at[i].verdict) > weight(most))
            most = &j->at[i].verdict;
    return *most;
}

static void judge_groups(struct arena *a, const Alarm *alarm, const MathValue *v, const Window *w,
                         int64_t now_ns, Judgement *ret)
{
    ret->n = v->n;
    ret->at = arena_new(a, Contributor, v->n);
    for (size_t i = 0; i < v->n; i++)
        judge_series(a, alarm, &v->series[i], w, now_ns, &ret->at[i]);
    ret->verdict = together(ret);
}

// ---- All of them

static Window window_of(const Alarm *alarm, int64_t now_ns)
{
    int64_t period = alarm_period(alarm), now_s = now_ns / NS_PER_S;
    Window w = { .period_s = period };
    // Alarms on one metric look back from the last whole minute, whatever their period; queries
    // have their points at whole periods.
    w.to_s = now_s - now_s % (alarm->metrics.n > 0 ? period : MIN(period, (int64_t)MINUTE_S));
    w.from_s = w.to_s - (alarm->evaluation_periods + EVALUATE_MORE_PERIODS) * period;
    return w;
}

Err alarm_judge(struct cloudwatch *cw, struct arena *a, Realm r, const Alarm *alarm, int64_t now_ns,
                Judgement *ret)
{
    Window w = window_of(alarm, now_ns);
    size_t n;
    AlarmPoint *points = points_of(a, alarm, &w, &n);
    AUTO(kv_txn) tx = kv_read(cw->store.series);
    *ret = (Judgement){ 0 };
    if (alarm->metrics.n == 0) {
        TRY(points_of_metric(cw, tx, a, r, alarm, &w, points));
    } else {
        MathValue v = { 0 };
        TRY(value_of_queries(cw, tx, a, r, alarm, &w, &v));
        if (v.n > 0 && v.series[0].group_values != NULL) {
            judge_groups(a, alarm, &v, &w, now_ns, ret);
            return OK;
        }
        if (v.n == 1) // of no series and of several there is nothing that could be compared
            take_series(&v.series[0], &w, points);
    }
    ret->verdict = alarm_evaluate(a, alarm, points, n, now_ns);
    return OK;
}

// ---- DescribeAlarmContributors

// The names of the groups are those of the query that the alarm compares.
static Err groups_of(struct arena *a, const Alarm *alarm, Insights *ret)
{
    *ret = (Insights){ 0 };
    for (size_t i = 0; i < alarm->metrics.n; i++)
        if (query_returns_data(&alarm->metrics.at[i]))
            return insights_parse(a, alarm->metrics.at[i].expression, ret);
    return OK;
}

static cloudwatch_AlarmContributor show(struct arena *a, const Insights *q, const Contributor *from)
{
    cloudwatch_AlarmContributor to = { .contributor_id = from->id,
                                       .state_reason = from->verdict.reason };
    to.contributor_attributes = (cloudwatch_ContributorAttributes){ .set = true };
    to.contributor_attributes.at =
        arena_new(a, cloudwatch_ContributorAttributes_entry, MAX(q->group_count, (size_t)1));
    for (size_t i = 0; i < q->group_count; i++)
        to.contributor_attributes.at[to.contributor_attributes.n++] =
            (cloudwatch_ContributorAttributes_entry){ .key = q->groups[i],
                                                      .value = from->group_values[i] };
    return to;
}

static Err find_alarm(struct call *c, Str name, Alarm *ret)
{
    struct cloudwatch *cw = c->state;
    Realm r = { c->account, c->region };
    AUTO(kv_txn) tx = kv_read(cw->alarms);
    Err e = alarm_get(cw, tx, c->arena, r, name, ret);
    if (e.kind != ERR_NOT_FOUND)
        return e;
    return call_fail(c, &cloudwatch_ResourceNotFoundException, "The alarm %.*s does not exist.",
                     FMT(name));
}

// They all fit into one page (a query has at most 500 series), so no token is ever given out.
Err cloudwatch_DescribeAlarmContributors(struct call *c,
                                         const struct cloudwatch_DescribeAlarmContributors_in *in,
                                         struct cloudwatch_DescribeAlarmContributors_out *out)
{
    Alarm alarm;
    Judgement j;
    Insights q;
    if (in->next_token.p != NULL)
        return call_fail(c, &cloudwatch_InvalidNextToken, "The service could not parse the token.");
    TRY(find_alarm(c, in->alarm_name, &alarm));
    TRY(alarm_judge(c->state, c->arena, (Realm){ c->account, c->region }, &alarm, c->now_ns, &j));
    out->alarm_contributors.set = true;
    out->alarm_contributors.at =
        arena_new(c->arena, cloudwatch_AlarmContributor, MAX(j.n, (size_t)1));
    if (j.n > 0)
        TRY(groups_of(c->arena, &alarm, &q));
    for (size_t i = 0; i < j.n; i++)
        if (str_eq(j.at[i].verdict.state, cloudwatch_StateValue_ALARM))
            out->alarm_contributors.at[out->alarm_contributors.n++] = show(c->arena, &q, &j.at[i]);
    return OK;
}
