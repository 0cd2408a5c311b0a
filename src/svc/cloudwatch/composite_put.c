// SPDX-License-Identifier: Apache-2.0
// PutCompositeAlarm.
//
// Texts on record of AWS: those about white space and about alarms that do not exist. The others
// are in its manner.
#include "svc/cloudwatch/composite.h"

#include <string.h>

enum { SUPPRESSOR_PERIOD_MAX = 86400 };

static Realm realm_of(const struct call *c)
{
    return (Realm){ c->account, c->region };
}

static Err invalid(struct call *c, Str text)
{
    return call_fail(c, &cloudwatch_ValidationException, "%.*s", FMT(text));
}

// ---- Checks

static bool is_space(char c)
{
    return c != '\0' && strchr(" \t\r\n", c) != NULL;
}

static Err check_rule(struct call *c, Str text, AlarmRule *ret)
{
    if (is_space(text.p[0]) || is_space(text.p[text.n - 1]))
        return invalid(c,
                       S("AlarmRule must not contain leading or trailing whitespace or be null"));
    Err e = rule_parse(c->arena, text, ret);
    if (e.kind == ERR_INVALID || e.kind == ERR_LIMIT)
        return invalid(c, str_fmt(c->arena, "AlarmRule is not valid: %s.", e.text));
    return e;
}

static Err check_suppressor(struct call *c, const struct cloudwatch_PutCompositeAlarm_in *in)
{
    bool has = in->actions_suppressor.p != NULL;
    if (has != in->has_actions_suppressor_wait_period ||
        has != in->has_actions_suppressor_extension_period)
        return invalid(c, S("The parameters ActionsSuppressor, ActionsSuppressorWaitPeriod and "
                            "ActionsSuppressorExtensionPeriod must be specified together."));
    if (!has)
        return OK;
    int32_t wait = in->actions_suppressor_wait_period,
            extension = in->actions_suppressor_extension_period;
    if (wait < 0 || wait > SUPPRESSOR_PERIOD_MAX || extension < 0 ||
        extension > SUPPRESSOR_PERIOD_MAX)
        return invalid(c, str_fmt(c->arena, "The periods of a suppressor are 0 to %d seconds.",
                                  SUPPRESSOR_PERIOD_MAX));
    return OK;
}

static Err exists(struct call *c, struct kv_txn *tx, Str reference, bool *ret)
{
    AlarmState s;
    Str name = composite_name_of(c->arena, realm_of(c), reference);
    *ret = false;
    if (name.p == NULL)
        return OK;
    Err e = alarm_state(c->state, tx, c->arena, realm_of(c), name, &s);
    *ret = e.kind == ERR_NONE;
    return e.kind == ERR_NOT_FOUND ? OK : e;
}

static Err check_parents(struct call *c, struct kv_txn *tx, Str own_name, const AlarmRule *rule)
{
    Str names[RULE_ALARMS_MAX];
    size_t parents[RULE_ALARMS_MAX];
    for (size_t i = 0; i < rule->alarm_count; i++)
        names[i] = composite_name_of(c->arena, realm_of(c), rule->alarms[i]);
    TRY(composite_parents(c->state, tx, c->arena, realm_of(c), names, rule->alarm_count, own_name,
                          parents));
    for (size_t i = 0; i < rule->alarm_count; i++)
        if (parents[i] >= COMPOSITE_PARENTS_MAX)
            return call_fail(c, &cloudwatch_LimitExceededFault,
                             "The alarm %.*s is watched by %d composite alarms already.",
                             FMT(names[i]), COMPOSITE_PARENTS_MAX);
    return OK;
}

static Err check_alarms(struct call *c, struct kv_txn *tx,
                        const struct cloudwatch_PutCompositeAlarm_in *in, const AlarmRule *rule)
{
    Str missing = S("");
    bool there;
    for (size_t i = 0; i < rule->alarm_count; i++) {
        TRY(exists(c, tx, rule->alarms[i], &there));
        if (!there)
            missing = str_fmt(c->arena, "%.*s%s%.*s", FMT(missing), missing.n > 0 ? ", " : "",
                              FMT(rule->alarms[i]));
    }
    if (missing.n > 0)
        return invalid(c, str_fmt(c->arena,
                                  "Could not save the composite alarm as alarms [%.*s] in the "
                                  "alarm rule do not exist",
                                  FMT(missing)));
    if (in->actions_suppressor.p != NULL) {
        TRY(exists(c, tx, in->actions_suppressor, &there));
        if (!there)
            return invalid(c, str_fmt(c->arena, "The actions suppressor %.*s does not exist.",
                                      FMT(in->actions_suppressor)));
    }
    return check_parents(c, tx, in->alarm_name, rule);
}

// ---- Storing

static cloudwatch_ResourceList list_of(cloudwatch_ResourceList list)
{
    list.set = true; // AWS tells empty lists
    return list;
}

static Composite composite_of(const struct call *c,
                              const struct cloudwatch_PutCompositeAlarm_in *in)
{
    return (Composite){
        .alarm_name = in->alarm_name,
        .alarm_arn = alarm_arn(c->arena, realm_of(c), in->alarm_name),
        .alarm_description = in->alarm_description,
        .alarm_rule = in->alarm_rule,
        .has_alarm_configuration_updated_timestamp = true,
        .alarm_configuration_updated_timestamp = c->now_ns,
        .has_actions_enabled = true,
        .actions_enabled = in->actions_enabled,
        .ok_actions = list_of(in->ok_actions),
        .alarm_actions = list_of(in->alarm_actions),
        .insufficient_data_actions = list_of(in->insufficient_data_actions),
        .actions_suppressor = in->actions_suppressor,
        .has_actions_suppressor_wait_period = in->has_actions_suppressor_wait_period,
        .actions_suppressor_wait_period = in->actions_suppressor_wait_period,
        .has_actions_suppressor_extension_period = in->has_actions_suppressor_extension_period,
        .actions_suppressor_extension_period = in->actions_suppressor_extension_period,
        .has_state_updated_timestamp = true,
        .has_state_transitioned_timestamp = true,
        .state_value = cloudwatch_StateValue_INSUFFICIENT_DATA,
        .state_reason = S("Unchecked: Initial alarm creation"),
        .state_updated_timestamp = c->now_ns,
        .state_transitioned_timestamp = c->now_ns,
    };
}

static Err check_new(struct call *c, struct kv_txn *tx, Str name)
{
    struct cloudwatch *cw = c->state;
    Alarm other;
    Err e = alarm_get(cw, tx, c->arena, realm_of(c), name, &other);
    if (e.kind == ERR_NONE)
        return invalid(c, str_fmt(c->arena, "The alarm %.*s is a metric alarm.", FMT(name)));
    if (e.kind != ERR_NOT_FOUND)
        return e;
    return alarm_admit(c, tx);
}

static Err store(struct call *c, struct kv_txn *tx,
                 const struct cloudwatch_PutCompositeAlarm_in *in)
{
    struct cloudwatch *cw = c->state;
    Composite alarm = composite_of(c, in), old;
    Err e = composite_get(cw, tx, c->arena, realm_of(c), in->alarm_name, &old);
    bool is_new = e.kind == ERR_NOT_FOUND;
    if (!is_new)
        TRY(e);
    if (is_new) {
        TRY(check_new(c, tx, in->alarm_name));
        for (size_t i = 0; i < in->tags.n; i++)
            TRY(alarm_tag(cw, tx, c->arena, alarm.alarm_arn, in->tags.at[i].key,
                          in->tags.at[i].value));
    } else {
        alarm.state_value = old.state_value;
        alarm.state_reason = old.state_reason;
        alarm.state_reason_data = old.state_reason_data;
        alarm.state_updated_timestamp = old.state_updated_timestamp;
        alarm.state_transitioned_timestamp = old.state_transitioned_timestamp;
        if (in->actions_suppressor.p != NULL) {
            alarm.actions_suppressed_by = old.actions_suppressed_by;
            alarm.actions_suppressed_reason = old.actions_suppressed_reason;
        }
    }
    TRY(alarm_note_change(c, tx, in->alarm_name, cloudwatch_AlarmType_CompositeAlarm,
                          is_new ? "Create" : "Update", is_new ? "created" : "updated"));
    return composite_put(cw, tx, c->arena, realm_of(c), &alarm);
}

Err cloudwatch_PutCompositeAlarm(struct call *c, const struct cloudwatch_PutCompositeAlarm_in *in)
{
    struct cloudwatch *cw = c->state;
    AlarmRule rule;
    TRY(check_rule(c, in->alarm_rule, &rule));
    TRY(check_suppressor(c, in));
    AUTO(kv_txn) tx = kv_write(cw->composites);
    TRY(check_alarms(c, tx, in, &rule));
    Err e = store(c, tx, in);
    if (e.kind == ERR_LIMIT)
        return invalid(c, str_fmt(c->arena, "An alarm may have %d tags.", ALARM_TAGS_MAX));
    TRY(e);
    TRY(kv_commit(tx));
    atomic_store(&cw->has_composites, true);
    return OK;
}
