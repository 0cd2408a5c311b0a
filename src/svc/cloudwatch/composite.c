// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/composite.h"
#include "svc/cloudwatch/action.h"
#include "base/time.h"
#include "codec/json.h"

Str composite_name_of(struct arena *a, Realm r, Str reference)
{
    return str_starts(reference, S("arn:")) ? alarm_name_of(a, r, reference) : reference;
}

// Its alarms and its suppressor, by name; what is no name of the realm's is empty.
static size_t watched(struct arena *tmp, Realm r, const Composite *c, Str ret[RULE_ALARMS_MAX + 1])
{
    AlarmRule rule;
    size_t n = 0;
    if (c->actions_suppressor.p != NULL)
        ret[n++] = composite_name_of(tmp, r, c->actions_suppressor);
    if (rule_parse(tmp, c->alarm_rule, &rule).kind != ERR_NONE)
        return n; // it was checked when it was put
    for (size_t i = 0; i < rule.alarm_count; i++)
        ret[n++] = composite_name_of(tmp, r, rule.alarms[i]);
    return n;
}

static bool has_name(const Str *names, size_t n, Str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(names[i], name))
            return true;
    return false;
}

Err composite_parents(struct cloudwatch *cw, struct kv_txn *tx, struct arena *tmp, Realm r,
                      const Str *names, size_t n, Str except, size_t *ret_counts)
{
    struct kv_scan scan = composite_scan(cw, tx, tmp, r, S(""), S(""));
    for (size_t i = 0; i < n; i++)
        ret_counts[i] = 0;
    while (kv_scan_next(&scan)) {
        Composite c;
        Str children[RULE_ALARMS_MAX + 1];
        ArenaMark mark = arena_mark(tmp);
        Err e = composite_read(tmp, scan.value, &c);
        if (e.kind != ERR_NONE) {
            kv_scan_end(&scan);
            return e;
        }
        size_t count = str_eq(c.alarm_name, except) ? 0 : watched(tmp, r, &c, children);
        for (size_t i = 0; i < n && count > 0; i++)
            ret_counts[i] += has_name(children, count, names[i]);
        arena_rewind(tmp, mark);
    }
    return scan.err;
}

// ---- What the alarms of a rule say

struct view {
    AlarmRule rule;
    Str *states;       // of rule.alarms
    AlarmState newest; // the one that changed last
    bool is_due;
    AlarmState suppressor; // absent name: there is none
};

// Of an alarm that is gone nothing is known.
static Err state_or_none(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                         Str reference, AlarmState *ret)
{
    Str name = composite_name_of(a, r, reference);
    *ret = (AlarmState){ .name = reference,
                         .arn = reference,
                         .value = cloudwatch_StateValue_INSUFFICIENT_DATA };
    if (name.p == NULL)
        return OK;
    Err e = alarm_state(cw, tx, a, r, name, ret);
    return e.kind == ERR_NOT_FOUND ? OK : e;
}

static Err look(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                const Composite *c, struct view *ret)
{
    struct view v = { 0 };
    TRY(rule_parse(a, c->alarm_rule, &v.rule));
    v.states = arena_new(a, Str, v.rule.alarm_count);
    for (size_t i = 0; i < v.rule.alarm_count; i++) {
        AlarmState s;
        TRY(state_or_none(cw, tx, a, r, v.rule.alarms[i], &s));
        v.states[i] = s.value;
        if (i == 0 || s.transitioned_ns > v.newest.transitioned_ns)
            v.newest = s;
    }
    if (c->actions_suppressor.p != NULL)
        TRY(state_or_none(cw, tx, a, r, c->actions_suppressor, &v.suppressor));
    v.is_due = c->alarm_configuration_updated_timestamp >= c->state_updated_timestamp ||
               v.newest.transitioned_ns >= c->state_updated_timestamp;
    *ret = v;
    return OK;
}

// ---- Why, in words. On record of AWS: that the alarm's ARN comes first, and what it says then.

static const char *const weekdays[] = { "Sunday",   "Monday", "Tuesday", "Wednesday",
                                        "Thursday", "Friday", "Saturday" };
static const char *const months[] = { "January",   "February", "March",    "April",
                                      "May",       "June",     "July",     "August",
                                      "September", "October",  "November", "December" };

static Str reason_of(struct arena *a, const Composite *c, const struct view *v, Str state)
{
    bool created = str_starts(c->state_reason, S("Unchecked"));
    if (v->newest.name.p == NULL ||
        c->alarm_configuration_updated_timestamp >= v->newest.transitioned_ns)
        return str_fmt(a, "%.*s was %s and its alarm rule evaluates to %.*s", FMT(c->alarm_arn),
                       created ? "created" : "updated", FMT(state));
    Civil t = time_civil(v->newest.transitioned_ns);
    return str_fmt(a,
                   "%.*s transitioned to %.*s at %s %02u %s, %lld "
                   "%02u:%02u:%02u UTC",
                   FMT(v->newest.arn), FMT(v->newest.value), weekdays[t.weekday], t.day,
                   months[t.month - 1], (long long)t.year, t.hour, t.minute, t.second);
}

static void put_text(struct event_writer *w, Str key, Str text)
{
    w->ops->key(w, key);
    w->ops->text(w, text);
}

// {"triggeringAlarms":[{"arn":"...","state":{"value":"ALARM","timestamp":"..."}}]}
static Str reason_data(struct arena *a, const struct view *v)
{
    AUTO_BUF(b);
    struct event_writer w;
    Str at = time_iso_ms(a, v->newest.transitioned_ns);
    json_writer_init(&w, &b);
    w.ops->map(&w);
    w.ops->key(&w, S("triggeringAlarms"));
    w.ops->list(&w);
    if (v->newest.name.p != NULL) {
        w.ops->map(&w);
        put_text(&w, S("arn"), v->newest.arn);
        w.ops->key(&w, S("state"));
        w.ops->map(&w);
        put_text(&w, S("value"), v->newest.value);
        put_text(&w, S("timestamp"), str_cat(a, str_head(at, at.n - 1), S("+0000")));
        w.ops->map_end(&w);
        w.ops->map_end(&w);
    }
    w.ops->list_end(&w);
    w.ops->map_end(&w);
    return str_dup(a, buf_str(&b));
}

// ---- Suppression

// By what actions are kept back from now on; absent: by nothing. `state`: what the alarm's is now.
static Str suppressed_by(const Composite *c, const struct view *v, Str state, int64_t now_ns)
{
    Str was = c->actions_suppressed_by;
    bool changes = !str_eq(state, c->state_value);
    if (v->suppressor.name.p == NULL || (!changes && was.p == NULL))
        return (Str){ 0 };
    if (str_eq(v->suppressor.value, cloudwatch_StateValue_ALARM))
        return cloudwatch_ActionsSuppressedBy_Alarm;
    int64_t extension_ns = c->actions_suppressor_extension_period * NS_PER_S;
    bool waited = str_eq(was, cloudwatch_ActionsSuppressedBy_WaitPeriod);
    if (was.p != NULL && !waited && now_ns < v->suppressor.transitioned_ns + extension_ns)
        return cloudwatch_ActionsSuppressedBy_ExtensionPeriod;
    bool enters = changes && str_eq(state, cloudwatch_StateValue_ALARM);
    int64_t from_ns = enters ? now_ns : c->state_transitioned_timestamp;
    if ((enters || waited) && now_ns < from_ns + c->actions_suppressor_wait_period * NS_PER_S)
        return cloudwatch_ActionsSuppressedBy_WaitPeriod;
    return (Str){ 0 };
}

static Str suppressed_reason(struct arena *a, const Composite *c, Str by)
{
    if (by.p == NULL)
        return (Str){ 0 };
    const char *why = str_eq(by, cloudwatch_ActionsSuppressedBy_Alarm) ? "is in ALARM"
                      : str_eq(by, cloudwatch_ActionsSuppressedBy_WaitPeriod)
                          ? "may go into ALARM within the wait period"
                          : "left ALARM within the extension period";
    return str_fmt(a, "Actions are suppressed: %.*s %s", FMT(c->actions_suppressor), why);
}

// ---- Looking

static Str state_now(const Composite *c, const struct view *v)
{
    if (!v->is_due)
        return c->state_value;
    return rule_holds(&v->rule, v->states) ? cloudwatch_StateValue_ALARM : cloudwatch_StateValue_OK;
}

static Err look_at(struct cloudwatch *cw, struct arena *a, Realm r, Str name, int64_t now_ns,
                   bool *ret_changed)
{
    Composite c;
    struct view v;
    AUTO(kv_txn) tx = kv_write(cw->composites);
    Err e = composite_get(cw, tx, a, r, name, &c);
    if (e.kind == ERR_NOT_FOUND) // deleted meanwhile
        return OK;
    TRY(e);
    TRY(look(cw, tx, a, r, &c, &v));
    Str old = c.state_value, state = state_now(&c, &v), was = c.actions_suppressed_by;
    Str by = suppressed_by(&c, &v, state, now_ns);
    bool changes = !str_eq(old, state);
    if (!changes && str_eq(by, was))
        return OK;
    const Composite before = c;
    // What is done: for a new state, or what was kept back, if it is still to be done.
    bool acts = by.p == NULL && (changes || str_eq(state, cloudwatch_StateValue_ALARM));
    c.actions_suppressed_by = by;
    c.actions_suppressed_reason = suppressed_reason(a, &c, by);
    if (changes)
        TRY(composite_change_state(cw, tx, a, r, &c, state, reason_of(a, &c, &v, state),
                                   reason_data(a, &v), now_ns));
    else
        TRY(composite_put(cw, tx, a, r, &c));
    if (acts)
        TRY(composite_queue_actions(cw, tx, a, r, &c, &before, now_ns));
    TRY(kv_commit(tx));
    *ret_changed |= changes;
    if (acts)
        composite_act(cw, a, r, &c, changes ? old : cloudwatch_StateValue_OK);
    return OK;
}

// Whether a look would change anything: without the turn of a writer, for every second.
static Err would_change(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                        const Composite *c, int64_t now_ns, bool *ret)
{
    struct view v;
    TRY(look(cw, tx, a, r, c, &v));
    Str state = state_now(c, &v);
    *ret = !str_eq(state, c->state_value) ||
           !str_eq(suppressed_by(c, &v, state, now_ns), c->actions_suppressed_by);
    return OK;
}

// The next one after a key that a look would change. ERR_NOT_FOUND: there is none.
static Err next_due(struct cloudwatch *cw, struct arena *a, int64_t now_ns, Str *key, Realm *ret_r,
                    Str *ret_name, bool *ret_any)
{
    AUTO(kv_txn) tx = kv_read(cw->composites);
    for (;;) {
        Composite c;
        bool due;
        TRY(composite_after(cw, tx, a, *key, key, ret_r, &c));
        *ret_any = true;
        TRY(would_change(cw, tx, a, *ret_r, &c, now_ns, &due));
        *ret_name = c.alarm_name;
        if (due)
            return OK;
    }
}

static Err pass(struct cloudwatch *cw, int64_t now_ns, bool *ret_any, bool *ret_changed)
{
    AUTO(arena) keys = arena_open();
    Str key = S("");
    for (;;) {
        AUTO(arena) a = arena_open();
        Realm r;
        Str name;
        Err e = next_due(cw, a, now_ns, &key, &r, &name, ret_any);
        if (e.kind == ERR_NOT_FOUND)
            return OK;
        TRY(e);
        TRY(look_at(cw, a, r, name, now_ns, ret_changed));
        arena_reset(keys);
        key = str_dup(keys, key);
    }
}

Err composites_round(struct cloudwatch *cw, int64_t now_ns, bool *ret_any)
{
    bool changed = true;
    *ret_any = false;
    for (int i = 0; changed && i < COMPOSITE_PASSES_MAX; i++) {
        changed = false;
        TRY(pass(cw, now_ns, ret_any, &changed));
    }
    return OK;
}
