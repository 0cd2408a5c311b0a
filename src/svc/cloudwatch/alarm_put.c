// SPDX-License-Identifier: Apache-2.0
// PutMetricAlarm.
//
// Text on record of AWS: that alarms may not look back for more than a day. The others are in its
// manner.
#include "base/time.h"
#include "svc/cloudwatch/composite.h"
#include "svc/cloudwatch/queries.h"

enum { DAY_S = 86400, HOUR_S = 3600, WEEK_S = 7 * DAY_S };

static Realm realm_of(const struct call *c)
{
    return (Realm){ c->account, c->region };
}

static Err invalid(struct call *c, Str text)
{
    return call_fail(c, &cloudwatch_ValidationException, "%.*s", FMT(text));
}

// ---- Checks

static Err check_common(struct call *c, const struct cloudwatch_PutMetricAlarm_in *in)
{
    static const Str treatments[] = { S_INIT("breaching"), S_INIT("notBreaching"), S_INIT("ignore"),
                                      S_INIT("missing") };
    bool known = in->treat_missing_data.p == NULL;
    for (size_t i = 0; i < COUNT_OF(treatments); i++)
        known = known || str_eq(in->treat_missing_data, treatments[i]);
    if (!known)
        return invalid(c, str_fmt(c->arena,
                                  "The value %.*s for parameter TreatMissingData is not supported.",
                                  FMT(in->treat_missing_data)));
    if (in->comparison_operator.p == NULL)
        return invalid(c, S("The parameter ComparisonOperator is required."));
    if (str_search(in->comparison_operator, S("Lower")) < in->comparison_operator.n ||
        str_search(in->comparison_operator, S("Upper")) < in->comparison_operator.n)
        return invalid(c, str_fmt(c->arena,
                                  "The comparison operator %.*s needs a metric math expression "
                                  "with ANOMALY_DETECTION_BAND, which is not supported.",
                                  FMT(in->comparison_operator)));
    if (!in->has_evaluation_periods)
        return invalid(c, S("The parameter EvaluationPeriods is required."));
    if (!in->has_threshold)
        return invalid(c, S("The parameter Threshold is required."));
    if (in->has_datapoints_to_alarm && in->datapoints_to_alarm > in->evaluation_periods)
        return invalid(c, S("The parameter DatapointsToAlarm must be less than or equal to the "
                            "parameter EvaluationPeriods."));
    if (in->evaluate_low_sample_count_percentile.p != NULL &&
        !str_eq(in->evaluate_low_sample_count_percentile, S("evaluate")) &&
        !str_eq(in->evaluate_low_sample_count_percentile, S("ignore")))
        return invalid(c, S("Option for EvaluateLowSampleCountPercentile is not supported. "
                            "Supported options are 'evaluate' and 'ignore'."));
    return OK;
}

static Err check_period(struct call *c, int64_t period, int64_t periods)
{
    if (period != 10 && period != 20 && period != 30 && period % 60 != 0)
        return invalid(c, S("Period must be 10, 20, 30 or a multiple of 60."));
    if (period < HOUR_S && period * periods > DAY_S)
        return invalid(c, S("Metrics cannot be checked across more than a day (EvaluationPeriods * "
                            "Period must be <= 86400)."));
    if (period * periods > WEEK_S)
        return invalid(c, S("Metrics cannot be checked across more than a week (EvaluationPeriods "
                            "* Period must be <= 604800)."));
    return OK;
}

// An alarm on one metric.
static Err check_metric(struct call *c, const struct cloudwatch_PutMetricAlarm_in *in)
{
    Stat stat;
    if (in->metric_name.p == NULL)
        return invalid(c, S("The parameter MetricName is required."));
    if (in->namespace.p == NULL)
        return invalid(c, S("The parameter Namespace is required."));
    if (!in->has_period)
        return invalid(c, S("The parameter Period is required."));
    if ((in->statistic.p != NULL) == (in->extended_statistic.p != NULL))
        return invalid(c, S("Must specify either Statistic or ExtendedStatistic."));
    if (in->extended_statistic.p != NULL &&
        (stat_parse(in->extended_statistic, &stat).kind != ERR_NONE || stat.kind < STAT_PERCENTILE))
        return invalid(
            c, str_fmt(c->arena, "The value %.*s for parameter ExtendedStatistic is not supported.",
                       FMT(in->extended_statistic)));
    return check_period(c, in->period, in->evaluation_periods);
}

// An alarm on the one query among several that returns data.
static Err check_queries(struct call *c, const struct cloudwatch_PutMetricAlarm_in *in)
{
    size_t returning = 0;
    Str problem = queries_check(c->arena, &in->metrics);
    if (problem.p != NULL)
        return invalid(c, problem);
    if (in->metric_name.p != NULL || in->namespace.p != NULL || in->statistic.p != NULL ||
        in->extended_statistic.p != NULL || in->has_period || in->dimensions.n > 0 ||
        in->unit.p != NULL)
        return invalid(c, S("The parameters MetricName, Namespace, Statistic, ExtendedStatistic, "
                            "Dimensions, Period and Unit are mutually exclusive with Metrics."));
    for (size_t i = 0; i < in->metrics.n; i++)
        returning += query_returns_data(&in->metrics.at[i]);
    if (returning != 1)
        return invalid(c, S("Exactly one element of the metrics list should return data."));
    return check_period(c, alarm_period_of(&in->metrics), in->evaluation_periods);
}

int64_t alarm_period_of(const cloudwatch_MetricDataQueries *list)
{
    int64_t period = 0;
    for (size_t i = 0; i < list->n; i++)
        if (list->at[i].metric_stat != NULL)
            period = MAX(period, (int64_t)list->at[i].metric_stat->period);
    for (size_t i = 0; i < list->n; i++)
        if (query_returns_data(&list->at[i]) && list->at[i].has_period)
            period = list->at[i].period;
    return period > 0 ? period : 60;
}

// ---- PutMetricAlarm

static cloudwatch_ResourceList list_of(cloudwatch_ResourceList list)
{
    list.set = true; // AWS tells empty lists
    return list;
}

static Alarm alarm_of(struct call *c, const struct cloudwatch_PutMetricAlarm_in *in)
{
    bool single = in->metrics.n == 0;
    Alarm alarm = {
        .alarm_name = in->alarm_name,
        .alarm_arn = alarm_arn(c->arena, realm_of(c), in->alarm_name),
        .alarm_description = in->alarm_description,
        .has_alarm_configuration_updated_timestamp = true,
        .alarm_configuration_updated_timestamp = c->now_ns,
        .has_actions_enabled = true,
        .actions_enabled = in->actions_enabled,
        .ok_actions = list_of(in->ok_actions),
        .alarm_actions = list_of(in->alarm_actions),
        .insufficient_data_actions = list_of(in->insufficient_data_actions),
        .metric_name = in->metric_name,
        .namespace = in->namespace,
        .statistic = in->statistic,
        .extended_statistic = in->extended_statistic,
        .dimensions = in->dimensions,
        .has_period = in->has_period,
        .period = in->period,
        .unit = in->unit,
        .has_evaluation_periods = true,
        .evaluation_periods = in->evaluation_periods,
        .has_datapoints_to_alarm = in->has_datapoints_to_alarm,
        .datapoints_to_alarm = in->datapoints_to_alarm,
        .has_threshold = true,
        .threshold = in->threshold,
        .comparison_operator = in->comparison_operator,
        .treat_missing_data = in->treat_missing_data,
        .evaluate_low_sample_count_percentile = in->evaluate_low_sample_count_percentile,
        .metrics = in->metrics,
        .threshold_metric_id = in->threshold_metric_id,
    };
    if (single)
        alarm.dimensions.set = true;
    alarm.metrics.set = !single;
    return alarm;
}

Err alarm_note_change(struct call *c, struct kv_txn *tx, Str name, Str type, const char *what,
                      const char *did)
{
    const cloudwatch_AlarmHistoryItem item = {
        .alarm_name = name,
        .alarm_type = type,
        .has_timestamp = true,
        .timestamp = c->now_ns,
        .history_item_type = cloudwatch_HistoryItemType_ConfigurationUpdate,
        .history_summary = str_fmt(c->arena, "Alarm \"%.*s\" %s", FMT(str_head(name, 200)), did),
        .history_data = str_fmt(c->arena, "{\"version\":\"1.0\",\"type\":\"%s\"}", what),
    };
    return history_add(c->state, tx, c->arena, realm_of(c), &item);
}

static Err store_alarm(struct call *c, struct kv_txn *tx,
                       const struct cloudwatch_PutMetricAlarm_in *in)
{
    struct cloudwatch *cw = c->state;
    Alarm alarm = alarm_of(c, in), old;
    Err e = alarm_get(cw, tx, c->arena, realm_of(c), in->alarm_name, &old);
    bool is_new = e.kind == ERR_NOT_FOUND;
    if (!is_new)
        TRY(e);
    if (is_new) {
        Composite other;
        e = composite_get(cw, tx, c->arena, realm_of(c), in->alarm_name, &other);
        if (e.kind == ERR_NONE)
            return invalid(
                c, str_fmt(c->arena, "The alarm %.*s is a composite alarm.", FMT(in->alarm_name)));
        if (e.kind != ERR_NOT_FOUND)
            return e;
        TRY(alarm_admit(c, tx));
        old = (Alarm){ .state_value = cloudwatch_StateValue_INSUFFICIENT_DATA,
                       .state_reason = S("Unchecked: Initial alarm creation"),
                       .state_updated_timestamp = c->now_ns,
                       .state_transitioned_timestamp = c->now_ns };
        for (size_t i = 0; i < in->tags.n; i++)
            TRY(alarm_tag(cw, tx, c->arena, alarm.alarm_arn, in->tags.at[i].key,
                          in->tags.at[i].value)); // of an alarm that exists tags stay as they are
    }
    alarm.state_value = old.state_value;
    alarm.state_reason = old.state_reason;
    alarm.state_reason_data = old.state_reason_data;
    alarm.has_state_updated_timestamp = alarm.has_state_transitioned_timestamp = true;
    alarm.state_updated_timestamp = old.state_updated_timestamp;
    alarm.state_transitioned_timestamp = old.state_transitioned_timestamp;
    TRY(alarm_note_change(c, tx, in->alarm_name, cloudwatch_AlarmType_MetricAlarm,
                          is_new ? "Create" : "Update", is_new ? "created" : "updated"));
    return alarm_put(cw, tx, c->arena, realm_of(c), &alarm);
}

Err cloudwatch_PutMetricAlarm(struct call *c, const struct cloudwatch_PutMetricAlarm_in *in)
{
    struct cloudwatch *cw = c->state;
    TRY(check_common(c, in));
    TRY(in->metrics.n > 0 ? check_queries(c, in) : check_metric(c, in));
    AUTO(kv_txn) tx = kv_write(cw->alarms);
    Err e = store_alarm(c, tx, in);
    if (e.kind == ERR_LIMIT)
        return invalid(c, str_fmt(c->arena, "An alarm may have %d tags.", ALARM_TAGS_MAX));
    TRY(e);
    return kv_commit(tx);
}
