// SPDX-License-Identifier: Apache-2.0
// An alarm that changes its state: the row, the history, and what it wants done.
#include "base/time.h"
#include "codec/json.h"
#include "hub/alarms.h"
#include "svc/cloudwatch/action.h"
#include "svc/cloudwatch/sender.h"

// {"stateValue":"OK","stateReason":"...","stateReasonData":{...}}
static void write_state(struct event_writer *w, Str value, Str reason, Str data)
{
    w->ops->map(w);
    w->ops->key(w, S("stateValue"));
    w->ops->text(w, value);
    w->ops->key(w, S("stateReason"));
    w->ops->text(w, reason);
    if (data.n > 0) {
        AUTO(arena) tmp = arena_open();
        struct event_reader r;
        AUTO_BUF(copy);
        struct event_writer checked;
        json_reader_init(&r, tmp, data);
        json_writer_init(&checked, &copy);
        bool is_json = event_copy(&r, &checked).kind == ERR_NONE; // a client's may be anything
        w->ops->key(w, S("stateReasonData"));
        json_reader_init(&r, tmp, data);
        if (!is_json || event_copy(&r, w).kind != ERR_NONE)
            w->ops->text(w, data);
    }
    w->ops->map_end(w);
}

static Str history_data(struct arena *a, const StateChange *s)
{
    AUTO_BUF(b);
    struct event_writer w;
    json_writer_init(&w, &b);
    w.ops->map(&w);
    w.ops->key(&w, S("version"));
    w.ops->text(&w, S("1.0"));
    w.ops->key(&w, S("oldState"));
    write_state(&w, s->old_value, s->old_reason, s->old_data);
    w.ops->key(&w, S("newState"));
    write_state(&w, s->value, s->reason, s->data);
    w.ops->map_end(&w);
    return str_dup(a, buf_str(&b));
}

Err alarm_note_state(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                     const StateChange *s)
{
    Str data = history_data(a, s);
    if (data.n > ALARM_HISTORY_DATA_BYTES_MAX) { // long reasons of clients
        StateChange less = *s;
        less.old_reason = less.old_data = less.data = S("");
        data = history_data(a, &less);
    }
    const cloudwatch_AlarmHistoryItem item = {
        .alarm_name = s->name,
        .alarm_type = s->type,
        .has_timestamp = true,
        .timestamp = s->at_ns,
        .history_item_type = cloudwatch_HistoryItemType_StateUpdate,
        .history_summary =
            str_fmt(a, "Alarm updated from %.*s to %.*s", FMT(s->old_value), FMT(s->value)),
        .history_data = data,
    };
    return history_add(cw, tx, a, r, &item);
}

Err alarm_change_state(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                       Alarm *alarm, Str state, Str reason, Str reason_data, int64_t now_ns)
{
    if (!str_eq(alarm->state_value, state)) {
        alarm->state_transitioned_timestamp = now_ns;
        alarm->has_state_transitioned_timestamp = true;
        TRY(alarm_note_state(cw, tx, a, r,
                             &(StateChange){ .name = alarm->alarm_name,
                                             .type = cloudwatch_AlarmType_MetricAlarm,
                                             .old_value = alarm->state_value,
                                             .old_reason = alarm->state_reason,
                                             .old_data = alarm->state_reason_data,
                                             .value = state,
                                             .reason = reason,
                                             .data = reason_data,
                                             .at_ns = now_ns }));
    }
    alarm->state_value = state;
    alarm->state_reason = reason;
    alarm->state_reason_data = reason_data;
    alarm->state_updated_timestamp = now_ns;
    alarm->has_state_updated_timestamp = true;
    return alarm_put(cw, tx, a, r, alarm);
}

Err composite_change_state(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                           Composite *alarm, Str state, Str reason, Str reason_data, int64_t now_ns)
{
    if (!str_eq(alarm->state_value, state)) {
        alarm->state_transitioned_timestamp = now_ns;
        alarm->has_state_transitioned_timestamp = true;
        TRY(alarm_note_state(cw, tx, a, r,
                             &(StateChange){ .name = alarm->alarm_name,
                                             .type = cloudwatch_AlarmType_CompositeAlarm,
                                             .old_value = alarm->state_value,
                                             .old_reason = alarm->state_reason,
                                             .old_data = alarm->state_reason_data,
                                             .value = state,
                                             .reason = reason,
                                             .data = reason_data,
                                             .at_ns = now_ns }));
    }
    alarm->state_value = state;
    alarm->state_reason = reason;
    alarm->state_reason_data = reason_data;
    alarm->state_updated_timestamp = now_ns;
    alarm->has_state_updated_timestamp = true;
    return composite_put(cw, tx, a, r, alarm);
}

// ---- What is done then

// The statistic as messages have it: SAMPLE_COUNT.
static Str upper_name(Str statistic)
{
    static const Str names[][2] = { { S_INIT("SampleCount"), S_INIT("SAMPLE_COUNT") },
                                    { S_INIT("Average"), S_INIT("AVERAGE") },
                                    { S_INIT("Sum"), S_INIT("SUM") },
                                    { S_INIT("Minimum"), S_INIT("MINIMUM") },
                                    { S_INIT("Maximum"), S_INIT("MAXIMUM") } };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (str_eq(statistic, names[i][0]))
            return names[i][1];
    return statistic;
}

static void add_text(struct event_writer *w, Str key, Str text)
{
    w->ops->key(w, key);
    if (text.p != NULL)
        w->ops->text(w, text);
    else
        w->ops->null(w);
}

static void add_list(struct event_writer *w, Str key, const cloudwatch_ResourceList *list)
{
    w->ops->key(w, key);
    w->ops->list(w);
    for (size_t i = 0; i < list->n; i++)
        w->ops->text(w, list->at[i]);
    w->ops->list_end(w);
}

static void add_trigger(struct event_writer *w, const Alarm *alarm)
{
    bool extended = alarm->extended_statistic.p != NULL;
    w->ops->key(w, S("Trigger"));
    w->ops->map(w);
    add_text(w, S("MetricName"), alarm->metric_name);
    add_text(w, S("Namespace"), alarm->namespace);
    add_text(w, S("StatisticType"), extended ? S("ExtendedStatistic") : S("Statistic"));
    if (extended)
        add_text(w, S("ExtendedStatistic"), alarm->extended_statistic);
    else
        add_text(w, S("Statistic"), upper_name(alarm->statistic));
    add_text(w, S("Unit"), alarm->unit);
    w->ops->key(w, S("Dimensions"));
    w->ops->list(w);
    for (size_t i = 0; i < alarm->dimensions.n; i++) {
        w->ops->map(w);
        add_text(w, S("value"), alarm->dimensions.at[i].value);
        add_text(w, S("name"), alarm->dimensions.at[i].name);
        w->ops->map_end(w);
    }
    w->ops->list_end(w);
    w->ops->key(w, S("Period"));
    w->ops->integer(w, alarm->period);
    w->ops->key(w, S("EvaluationPeriods"));
    w->ops->integer(w, alarm->evaluation_periods);
    add_text(w, S("ComparisonOperator"), alarm->comparison_operator);
    w->ops->key(w, S("Threshold"));
    w->ops->real(w, alarm->threshold);
    add_text(w, S("TreatMissingData"),
             alarm->treat_missing_data.p != NULL ? alarm->treat_missing_data : S("missing"));
    add_text(w, S("EvaluateLowSampleCountPercentile"),
             alarm->evaluate_low_sample_count_percentile.p != NULL
                 ? alarm->evaluate_low_sample_count_percentile
                 : S(""));
    w->ops->map_end(w);
}

// The message that AWS sends to a topic. `rule`: of a composite alarm, which has no trigger.
static Str message_of(struct arena *a, Realm r, const Alarm *alarm, Str old_state, Str rule)
{
    AUTO_BUF(b);
    struct event_writer w;
    json_writer_init(&w, &b);
    w.ops->map(&w);
    add_text(&w, S("AlarmName"), alarm->alarm_name);
    add_text(&w, S("AlarmDescription"), alarm->alarm_description);
    add_text(&w, S("AWSAccountId"), r.account);
    add_text(&w, S("AlarmConfigurationUpdatedTimestamp"),
             time_iso_ms(a, alarm->alarm_configuration_updated_timestamp));
    add_text(&w, S("NewStateValue"), alarm->state_value);
    add_text(&w, S("NewStateReason"), alarm->state_reason);
    add_text(&w, S("StateChangeTime"), time_iso_ms(a, alarm->state_updated_timestamp));
    add_text(&w, S("Region"), r.region);
    add_text(&w, S("AlarmArn"), alarm->alarm_arn);
    add_text(&w, S("OldStateValue"), old_state);
    add_list(&w, S("OKActions"), &alarm->ok_actions);
    add_list(&w, S("AlarmActions"), &alarm->alarm_actions);
    add_list(&w, S("InsufficientDataActions"), &alarm->insufficient_data_actions);
    if (rule.p == NULL)
        add_trigger(&w, alarm);
    else
        add_text(&w, S("AlarmRule"), rule);
    w.ops->map_end(&w);
    return str_dup(a, buf_str(&b));
}

static void act(struct cloudwatch *cw, struct arena *tmp, Realm r, const Alarm *alarm,
                Str old_state, Str rule)
{
    const cloudwatch_ResourceList *list = str_eq(alarm->state_value, cloudwatch_StateValue_OK)
                                              ? &alarm->ok_actions
                                          : str_eq(alarm->state_value, cloudwatch_StateValue_ALARM)
                                              ? &alarm->alarm_actions
                                              : &alarm->insufficient_data_actions;
    if (!alarm->actions_enabled || str_eq(old_state, alarm->state_value))
        return;
    sender_wake(cw->sender); // functions are its
    if (cw->env.targets == NULL || *cw->env.targets == NULL)
        return;
    AlarmAction action = { .account = r.account, .region = r.region };
    action.subject = str_fmt(tmp, "%.*s: \"%.*s\" in %.*s", FMT(alarm->state_value),
                             FMT(alarm->alarm_name), FMT(r.region));
    action.message = message_of(tmp, r, alarm, old_state, rule);
    for (size_t i = 0; i < list->n; i++) {
        action.action = list->at[i];
        struct alarm_target *t = *cw->env.targets;
        if (action_is_function(action.action))
            continue;
        while (t != NULL && !t->act(t, &action))
            t = t->next;
    }
}

void alarm_act(struct cloudwatch *cw, struct arena *tmp, Realm r, const Alarm *alarm, Str old_state)
{
    act(cw, tmp, r, alarm, old_state, (Str){ 0 });
}

void composite_act(struct cloudwatch *cw, struct arena *tmp, Realm r, const Composite *alarm,
                   Str old_state)
{
    // What both kinds have.
    const Alarm common = {
        .alarm_name = alarm->alarm_name,
        .alarm_arn = alarm->alarm_arn,
        .alarm_description = alarm->alarm_description,
        .alarm_configuration_updated_timestamp = alarm->alarm_configuration_updated_timestamp,
        .actions_enabled = alarm->actions_enabled,
        .ok_actions = alarm->ok_actions,
        .alarm_actions = alarm->alarm_actions,
        .insufficient_data_actions = alarm->insufficient_data_actions,
        .state_value = alarm->state_value,
        .state_reason = alarm->state_reason,
        .state_updated_timestamp = alarm->state_updated_timestamp,
    };
    act(cw, tmp, r, &common, old_state, alarm->alarm_rule);
}
