// SPDX-License-Identifier: Apache-2.0
// DescribeAlarms by ChildrenOfAlarmName and ParentsOfAlarmName.
#include "svc/cloudwatch/composite.h"

#include <stdlib.h>

static int by_text(const void *x, const void *y)
{
    return str_cmp(*(const Str *)x, *(const Str *)y);
}

// The names in the rule, sorted, each once: a name and its ARN are the same.
static Err children_of(struct call *c, struct kv_txn *tx, Str name, Str **ret, size_t *ret_n)
{
    Realm r = { c->account, c->region };
    Composite composite;
    AlarmRule rule;
    *ret_n = 0;
    Err e = composite_get(c->state, tx, c->arena, r, name, &composite);
    if (e.kind == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    TRY(rule_parse(c->arena, composite.alarm_rule, &rule));
    Str *names = arena_new(c->arena, Str, rule.alarm_count);
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < rule.alarm_count; i++) {
        names[n] = composite_name_of(c->arena, r, rule.alarms[i]);
        n += names[n].n > 0;
    }
    if (n > 0)
        qsort(names, n, sizeof *names, by_text);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || !str_eq(names[kept - 1], names[i]))
            names[kept++] = names[i];
    *ret = names;
    *ret_n = kept;
    return OK;
}

static Err tell_child(struct call *c, struct kv_txn *tx, Str name,
                      struct cloudwatch_DescribeAlarms_out *out)
{
    Realm r = { c->account, c->region };
    Alarm alarm;
    Composite composite;
    Err e = alarm_get(c->state, tx, c->arena, r, name, &alarm);
    if (e.kind == ERR_NONE) {
        out->metric_alarms.at[out->metric_alarms.n++] =
            (Alarm){ .alarm_name = alarm.alarm_name,
                     .alarm_arn = alarm.alarm_arn,
                     .state_value = alarm.state_value,
                     .has_state_updated_timestamp = true,
                     .state_updated_timestamp = alarm.state_updated_timestamp };
        return OK;
    }
    if (e.kind == ERR_NOT_FOUND)
        e = composite_get(c->state, tx, c->arena, r, name, &composite);
    if (e.kind == ERR_NONE)
        out->composite_alarms.at[out->composite_alarms.n++] =
            (Composite){ .alarm_name = composite.alarm_name,
                         .alarm_arn = composite.alarm_arn,
                         .state_value = composite.state_value,
                         .has_state_updated_timestamp = true,
                         .state_updated_timestamp = composite.state_updated_timestamp };
    return e.kind == ERR_NOT_FOUND ? OK : e; // it was deleted with a rule that named it
}

Err composite_tell_children(struct call *c, struct kv_txn *tx, Str name, Str after, size_t max,
                            struct cloudwatch_DescribeAlarms_out *out)
{
    Str *names = NULL;
    size_t n, told = 0;
    TRY(children_of(c, tx, name, &names, &n));
    for (size_t i = 0; i < n; i++) {
        if (after.n > 0 && str_cmp(names[i], after) <= 0)
            continue;
        if (told++ == max) {
            out->next_token = cloudwatch_token(c->arena, names[i - 1]);
            return OK;
        }
        TRY(tell_child(c, tx, names[i], out));
    }
    return OK;
}

static bool has_child(struct arena *tmp, Realm r, const Composite *c, Str name)
{
    AlarmRule rule;
    if (rule_parse(tmp, c->alarm_rule, &rule).kind != ERR_NONE)
        return false;
    for (size_t i = 0; i < rule.alarm_count; i++)
        if (str_eq(composite_name_of(tmp, r, rule.alarms[i]), name))
            return true;
    return false;
}

Err composite_tell_parents(struct call *c, struct kv_txn *tx, Str name, Str after, size_t max,
                           struct cloudwatch_DescribeAlarms_out *out)
{
    Realm r = { c->account, c->region };
    cloudwatch_CompositeAlarms *told = &out->composite_alarms;
    struct kv_scan scan = composite_scan(c->state, tx, c->arena, r, S(""), after);
    while (kv_scan_next(&scan)) {
        Composite one;
        ArenaMark mark = arena_mark(c->arena);
        Err e = composite_read(c->arena, scan.value, &one);
        if (e.kind != ERR_NONE) {
            kv_scan_end(&scan);
            return e;
        }
        if (!has_child(c->arena, r, &one, name)) {
            arena_rewind(c->arena, mark);
            continue;
        }
        if (told->n == max) {
            out->next_token = cloudwatch_token(c->arena, told->at[max - 1].alarm_name);
            kv_scan_end(&scan);
            return OK;
        }
        told->at[told->n++] =
            (Composite){ .alarm_name = one.alarm_name, .alarm_arn = one.alarm_arn };
    }
    return scan.err;
}
