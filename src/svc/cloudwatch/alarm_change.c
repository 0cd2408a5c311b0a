// SPDX-License-Identifier: Apache-2.0
// DeleteAlarms, SetAlarmState, EnableAlarmActions and DisableAlarmActions, of alarms of either
// kind.
//
// Texts on record of AWS: that a state is no state, that composite alarms depend on an alarm, and
// that an unknown alarm has none. The others are in its manner.
#include "base/time.h"
#include "codec/json.h"
#include "svc/cloudwatch/action.h"
#include "svc/cloudwatch/composite.h"

static Realm realm_of(const struct call *c)
{
    return (Realm){ c->account, c->region };
}

// An alarm by its name, whatever it is.
typedef struct Found {
    bool is_metric, is_composite; // neither: there is none
    Alarm metric;
    Composite composite;
} Found;

static Err find(struct call *c, struct kv_txn *tx, Str name, Found *ret)
{
    *ret = (Found){ 0 };
    Err e = alarm_get(c->state, tx, c->arena, realm_of(c), name, &ret->metric);
    ret->is_metric = e.kind == ERR_NONE;
    if (e.kind != ERR_NOT_FOUND)
        return e;
    e = composite_get(c->state, tx, c->arena, realm_of(c), name, &ret->composite);
    ret->is_composite = e.kind == ERR_NONE;
    return e.kind == ERR_NOT_FOUND ? OK : e;
}

static Str type_of(const Found *f)
{
    return f->is_composite ? cloudwatch_AlarmType_CompositeAlarm : cloudwatch_AlarmType_MetricAlarm;
}

// ---- DeleteAlarms

// One composite alarm at most, and none that another one watches.
static Err check_deleted(struct call *c, struct kv_txn *tx, const cloudwatch_AlarmNames *names)
{
    Str held = S(""), composite = S("");
    size_t held_count = 0;
    size_t *parents = arena_new(c->arena, size_t, names->n);
    for (size_t i = 0; i < names->n; i++) {
        Found f;
        TRY(find(c, tx, names->at[i], &f));
        if (f.is_composite && composite.n > 0 && !str_eq(composite, names->at[i]))
            return call_fail(c, &cloudwatch_ValidationException,
                             "At most one composite alarm can be deleted in a request.");
        if (f.is_composite)
            composite = names->at[i];
    }
    TRY(composite_parents(c->state, tx, c->arena, realm_of(c), names->at, names->n, S(""),
                          parents));
    for (size_t i = 0; i < names->n; i++) {
        if (parents[i] == 0)
            continue;
        held = str_fmt(c->arena, "%.*s%s%.*s", FMT(held), held_count > 0 ? "," : "",
                       FMT(names->at[i]));
        held_count++;
    }
    return held_count == 0 ? OK
                           : call_fail(c, &cloudwatch_ValidationException,
                                       "Cannot delete %.*s as there are composite alarm(s) "
                                       "depending on %s.",
                                       FMT(held), held_count == 1 ? "it" : "them");
}

Err cloudwatch_DeleteAlarms(struct call *c, const struct cloudwatch_DeleteAlarms_in *in)
{
    struct cloudwatch *cw = c->state;
    TRY(cloudwatch_permit_alarms(c, &in->alarm_names));
    AUTO(kv_txn) tx = kv_write(cw->alarms);
    TRY(check_deleted(c, tx, &in->alarm_names));
    for (size_t i = 0; i < in->alarm_names.n; i++) {
        Found f;
        Str name = in->alarm_names.at[i];
        TRY(find(c, tx, name, &f));
        if (f.is_metric)
            TRY(alarm_delete(cw, tx, c->arena, realm_of(c), name));
        else if (f.is_composite)
            TRY(composite_delete(cw, tx, c->arena, realm_of(c), name));
        else
            continue;
        TRY(alarm_note_change(c, tx, name, type_of(&f), "Delete", "deleted"));
    }
    return kv_commit(tx);
}

// ---- SetAlarmState

static Err check_json(struct call *c, Str text)
{
    JsonValue *v;
    if (text.p == NULL || json_parse(c->arena, text, &v).kind == ERR_NONE)
        return OK;
    return call_fail(c, &cloudwatch_InvalidFormatFault, "StateReasonData must be valid JSON");
}

// Either kind into another state, with what is to be done then.
static Err set_state(struct call *c, struct kv_txn *tx,
                     const struct cloudwatch_SetAlarmState_in *in, Found *f)
{
    struct cloudwatch *cw = c->state;
    Realm r = realm_of(c);
    const Found before = *f;
    if (f->is_metric) {
        TRY(alarm_change_state(cw, tx, c->arena, r, &f->metric, in->state_value, in->state_reason,
                               in->state_reason_data, c->now_ns));
        return alarm_queue_actions(cw, tx, c->arena, r, &f->metric, &before.metric);
    }
    TRY(composite_change_state(cw, tx, c->arena, r, &f->composite, in->state_value,
                               in->state_reason, in->state_reason_data, c->now_ns));
    if (str_eq(before.composite.state_value, in->state_value))
        return OK;
    return composite_queue_actions(cw, tx, c->arena, r, &f->composite, &before.composite,
                                   c->now_ns);
}

Err cloudwatch_SetAlarmState(struct call *c, const struct cloudwatch_SetAlarmState_in *in)
{
    struct cloudwatch *cw = c->state;
    Realm r = realm_of(c);
    Found f;
    TRY(check_json(c, in->state_reason_data));
    AUTO(kv_txn) tx = kv_write(cw->alarms);
    TRY(find(c, tx, in->alarm_name, &f));
    if (!f.is_metric && !f.is_composite) {
        Err fault = call_fail(c, &cloudwatch_ResourceNotFound, "%s", "");
        c->error_text = (Str){ 0 }; // AWS sends none
        return fault;
    }
    Str old = f.is_metric ? f.metric.state_value : f.composite.state_value;
    TRY(set_state(c, tx, in, &f));
    TRY(kv_commit(tx));
    if (f.is_metric)
        alarm_act(cw, c->arena, r, &f.metric, old);
    else
        composite_act(cw, c->arena, r, &f.composite, old);
    return OK;
}

// ---- Actions

static Err switch_one(struct call *c, struct kv_txn *tx, Str name, bool on)
{
    struct cloudwatch *cw = c->state;
    Found f;
    TRY(find(c, tx, name, &f));
    bool *enabled = f.is_metric ? &f.metric.actions_enabled : &f.composite.actions_enabled;
    if ((!f.is_metric && !f.is_composite) || *enabled == on)
        return OK;
    *enabled = on;
    TRY(alarm_note_change(c, tx, name, type_of(&f), "Update", "updated"));
    if (f.is_metric) {
        f.metric.alarm_configuration_updated_timestamp = c->now_ns;
        return alarm_put(cw, tx, c->arena, realm_of(c), &f.metric);
    }
    f.composite.alarm_configuration_updated_timestamp = c->now_ns;
    return composite_put(cw, tx, c->arena, realm_of(c), &f.composite);
}

static Err switch_actions(struct call *c, const cloudwatch_AlarmNames *names, bool on)
{
    struct cloudwatch *cw = c->state;
    TRY(cloudwatch_permit_alarms(c, names));
    AUTO(kv_txn) tx = kv_write(cw->alarms);
    for (size_t i = 0; i < names->n; i++)
        TRY(switch_one(c, tx, names->at[i], on));
    return kv_commit(tx);
}

Err cloudwatch_EnableAlarmActions(struct call *c, const struct cloudwatch_EnableAlarmActions_in *in)
{
    return switch_actions(c, &in->alarm_names, true);
}

Err cloudwatch_DisableAlarmActions(struct call *c,
                                   const struct cloudwatch_DisableAlarmActions_in *in)
{
    return switch_actions(c, &in->alarm_names, false);
}
