// SPDX-License-Identifier: Apache-2.0
// DescribeAlarms, DescribeAlarmsForMetric, DescribeAlarmHistory, and tags.
#include "base/time.h"
#include "svc/cloudwatch/composite.h"

enum { DESCRIBE_MAX = 100, HISTORY_MAX = 100 };

static Realm realm_of(const struct call *c)
{
    return (Realm){ c->account, c->region };
}

static size_t page_size(bool given, int32_t wanted, size_t usual)
{
    return given ? MIN((size_t)wanted, usual) : usual;
}

// ---- DescribeAlarms

// What the conditions look at, of an alarm of either kind.
typedef struct Seen {
    Str name, type, state;
    const cloudwatch_ResourceList *lists[3];
} Seen;

static Seen seen_metric(const Alarm *a)
{
    return (Seen){ .name = a->alarm_name,
                   .type = cloudwatch_AlarmType_MetricAlarm,
                   .state = a->state_value,
                   .lists = { &a->ok_actions, &a->alarm_actions, &a->insufficient_data_actions } };
}

static Seen seen_composite(const Composite *c)
{
    return (Seen){ .name = c->alarm_name,
                   .type = cloudwatch_AlarmType_CompositeAlarm,
                   .state = c->state_value,
                   .lists = { &c->ok_actions, &c->alarm_actions, &c->insufficient_data_actions } };
}

static bool has_action(const Seen *s, Str prefix)
{
    for (size_t i = 0; i < COUNT_OF(s->lists); i++)
        for (size_t j = 0; j < s->lists[i]->n; j++)
            if (str_starts(s->lists[i]->at[j], prefix))
                return true;
    return false;
}

// Without AlarmTypes only metric alarms are told, as in AWS.
static bool has_type(const struct cloudwatch_DescribeAlarms_in *in, Str type)
{
    for (size_t i = 0; i < in->alarm_types.n; i++)
        if (str_eq(in->alarm_types.at[i], type))
            return true;
    return in->alarm_types.n == 0 && str_eq(type, cloudwatch_AlarmType_MetricAlarm);
}

static bool is_described(const struct cloudwatch_DescribeAlarms_in *in, const Seen *s)
{
    bool named = !in->alarm_names.set;
    for (size_t i = 0; i < in->alarm_names.n; i++)
        named = named || str_eq(in->alarm_names.at[i], s->name);
    if (in->state_value.p != NULL && !str_eq(in->state_value, s->state))
        return false;
    if (in->action_prefix.p != NULL && !has_action(s, in->action_prefix))
        return false;
    return named && has_type(in, s->type);
}

// One page of alarms of both kinds, in the order of their names.
struct page {
    struct cloudwatch_DescribeAlarms_out *out;
    size_t max;
    Str last; // the newest on it
};

static bool is_full(const struct page *p)
{
    return p->out->metric_alarms.n + p->out->composite_alarms.n == p->max;
}

// The next row that is wanted, of one kind. False: there is none, or the scan has failed.
static Err next_metric(struct call *c, const struct cloudwatch_DescribeAlarms_in *in,
                       struct kv_scan *scan, Alarm *ret, bool *ret_found)
{
    *ret_found = false;
    while (kv_scan_next(scan)) {
        ArenaMark mark = arena_mark(c->arena);
        TRY(alarm_read(c->arena, scan->value, ret));
        Seen seen = seen_metric(ret);
        *ret_found = is_described(in, &seen);
        if (*ret_found)
            return OK;
        arena_rewind(c->arena, mark);
    }
    return scan->err;
}

static Err next_composite(struct call *c, const struct cloudwatch_DescribeAlarms_in *in,
                          struct kv_scan *scan, Composite *ret, bool *ret_found)
{
    *ret_found = false;
    while (kv_scan_next(scan)) {
        ArenaMark mark = arena_mark(c->arena);
        TRY(composite_read(c->arena, scan->value, ret));
        Seen seen = seen_composite(ret);
        *ret_found = is_described(in, &seen);
        if (*ret_found)
            return OK;
        arena_rewind(c->arena, mark);
    }
    return scan->err;
}

static Err fill_page(struct call *c, const struct cloudwatch_DescribeAlarms_in *in,
                     struct kv_scan *metrics, struct kv_scan *composites, struct page *p)
{
    Alarm alarm;
    Composite composite;
    bool has_alarm, has_composite;
    TRY(next_metric(c, in, metrics, &alarm, &has_alarm));
    TRY(next_composite(c, in, composites, &composite, &has_composite));
    while (has_alarm || has_composite) {
        bool first =
            has_alarm && (!has_composite || str_cmp(alarm.alarm_name, composite.alarm_name) < 0);
        if (is_full(p)) {
            p->out->next_token = cloudwatch_token(c->arena, p->last);
            return OK;
        }
        if (first) {
            p->out->metric_alarms.at[p->out->metric_alarms.n++] = alarm;
            p->last = alarm.alarm_name;
            TRY(next_metric(c, in, metrics, &alarm, &has_alarm));
        } else {
            p->out->composite_alarms.at[p->out->composite_alarms.n++] = composite;
            p->last = composite.alarm_name;
            TRY(next_composite(c, in, composites, &composite, &has_composite));
        }
    }
    return OK;
}

static Err check_described(struct call *c, const struct cloudwatch_DescribeAlarms_in *in)
{
    bool children = in->children_of_alarm_name.p != NULL,
         parents = in->parents_of_alarm_name.p != NULL;
    bool others = in->alarm_names.set || in->alarm_name_prefix.p != NULL || in->alarm_types.n > 0 ||
                  in->state_value.p != NULL || in->action_prefix.p != NULL;
    if (in->alarm_names.n > 0 && in->alarm_name_prefix.p != NULL)
        return call_fail(c, &cloudwatch_ValidationException,
                         "The parameters AlarmNames and AlarmNamePrefix are mutually exclusive and "
                         "you have specified both.");
    if ((children && parents) || ((children || parents) && others))
        return call_fail(c, &cloudwatch_ValidationException,
                         "The parameter %s may be combined with MaxRecords and NextToken only.",
                         children ? "ChildrenOfAlarmName" : "ParentsOfAlarmName");
    return cloudwatch_permit_alarms(c, &in->alarm_names);
}

Err cloudwatch_DescribeAlarms(struct call *c, const struct cloudwatch_DescribeAlarms_in *in,
                              struct cloudwatch_DescribeAlarms_out *out)
{
    struct cloudwatch *cw = c->state;
    Str after = S(""), prefix = in->alarm_name_prefix.p != NULL ? in->alarm_name_prefix : S("");
    struct page p = { .out = out };
    p.max = page_size(in->has_max_records, in->max_records, DESCRIBE_MAX);
    TRY(check_described(c, in));
    if (in->next_token.n > 0)
        TRY(cloudwatch_token_open(c, in->next_token, &after));
    out->metric_alarms = (cloudwatch_MetricAlarms){ .set = true };
    out->metric_alarms.at = arena_new(c->arena, Alarm, p.max);
    out->composite_alarms = (cloudwatch_CompositeAlarms){ .set = true };
    out->composite_alarms.at = arena_new(c->arena, Composite, p.max);
    AUTO(kv_txn) tx = kv_read(cw->alarms);
    if (in->children_of_alarm_name.p != NULL)
        return composite_tell_children(c, tx, in->children_of_alarm_name, after, p.max, out);
    if (in->parents_of_alarm_name.p != NULL)
        return composite_tell_parents(c, tx, in->parents_of_alarm_name, after, p.max, out);
    struct kv_scan metrics = alarm_scan(cw, tx, c->arena, realm_of(c), prefix, after);
    struct kv_scan composites = composite_scan(cw, tx, c->arena, realm_of(c), prefix, after);
    Err e = fill_page(c, in, &metrics, &composites, &p);
    kv_scan_end(&metrics);
    kv_scan_end(&composites);
    return e;
}

// ---- DescribeAlarmsForMetric

static bool same_dimensions(const cloudwatch_Dimensions *x, const cloudwatch_Dimensions *y)
{
    if (x->n != y->n)
        return false;
    for (size_t i = 0; i < x->n; i++) {
        bool found = false;
        for (size_t j = 0; j < y->n; j++)
            found = found || (str_eq(x->at[i].name, y->at[j].name) &&
                              str_eq(x->at[i].value, y->at[j].value));
        if (!found)
            return false;
    }
    return true;
}

static bool watches(const struct cloudwatch_DescribeAlarmsForMetric_in *in, const Alarm *alarm)
{
    return str_eq(in->metric_name, alarm->metric_name) && str_eq(in->namespace, alarm->namespace) &&
           same_dimensions(&in->dimensions, &alarm->dimensions) &&
           (in->statistic.p == NULL || str_eq(in->statistic, alarm->statistic)) &&
           (in->extended_statistic.p == NULL ||
            str_eq(in->extended_statistic, alarm->extended_statistic)) &&
           (!in->has_period || in->period == alarm->period) &&
           (in->unit.p == NULL || str_eq(in->unit, alarm->unit));
}

Err cloudwatch_DescribeAlarmsForMetric(struct call *c,
                                       const struct cloudwatch_DescribeAlarmsForMetric_in *in,
                                       struct cloudwatch_DescribeAlarmsForMetric_out *out)
{
    struct cloudwatch *cw = c->state;
    size_t cap = 0;
    cloudwatch_MetricAlarms list = { .set = true };
    AUTO(kv_txn) tx = kv_read(cw->alarms);
    struct kv_scan scan = alarm_scan(cw, tx, c->arena, realm_of(c), S(""), S(""));
    while (kv_scan_next(&scan)) {
        Alarm alarm;
        ArenaMark mark = arena_mark(c->arena);
        TRY(alarm_read(c->arena, scan.value, &alarm));
        if (!watches(in, &alarm)) {
            arena_rewind(c->arena, mark);
            continue;
        }
        if (list.n == cap) {
            cap = MAX(cap * 2, (size_t)8);
            Alarm *wider = arena_new(c->arena, Alarm, cap);
            for (size_t i = 0; i < list.n; i++)
                wider[i] = list.at[i];
            list.at = wider;
        }
        list.at[list.n++] = alarm;
    }
    out->metric_alarms = list;
    return scan.err;
}

// ---- DescribeAlarmHistory

static bool is_told(const struct cloudwatch_DescribeAlarmHistory_in *in,
                    const cloudwatch_AlarmHistoryItem *item)
{
    // Without AlarmTypes only that of metric alarms is told, as in AWS.
    bool typed =
        in->alarm_types.n == 0 && str_eq(item->alarm_type, cloudwatch_AlarmType_MetricAlarm);
    for (size_t i = 0; i < in->alarm_types.n; i++)
        typed = typed || str_eq(in->alarm_types.at[i], item->alarm_type);
    return typed && (in->alarm_name.p == NULL || str_eq(in->alarm_name, item->alarm_name)) &&
           (in->history_item_type.p == NULL ||
            str_eq(in->history_item_type, item->history_item_type)) &&
           (!in->has_start_date || item->timestamp >= in->start_date) &&
           (!in->has_end_date || item->timestamp <= in->end_date);
}

// Rows come newest first. Oldest first, all are walked, and the last ones before the place where
// the answer before this ended are told.
struct history_page {
    cloudwatch_AlarmHistoryItem *items; // a ring
    Str *keys;
    size_t n, max;
};

static void turn(struct history_page *p, struct arena *a)
{
    size_t held = MIN(p->n, p->max);
    cloudwatch_AlarmHistoryItem *items = arena_new(a, cloudwatch_AlarmHistoryItem, MAX(held, 1ul));
    Str *keys = arena_new(a, Str, MAX(held, 1ul));
    for (size_t i = 0; i < held; i++) {
        size_t at = (p->n - 1 - i) % p->max;
        items[i] = p->items[at];
        keys[i] = p->keys[at];
    }
    p->items = items;
    p->keys = keys;
}

static Err walk_history(struct call *c, const struct cloudwatch_DescribeAlarmHistory_in *in,
                        struct kv_scan *scan, Str before, bool ascending, struct history_page *p)
{
    while (kv_scan_next(scan)) {
        cloudwatch_AlarmHistoryItem item;
        if (ascending && before.n > 0 && str_cmp(scan->rest, before) >= 0)
            break;
        ArenaMark mark = arena_mark(c->arena);
        TRY(history_read(c->arena, scan->value, &item));
        if (!is_told(in, &item)) {
            arena_rewind(c->arena, mark);
            continue;
        }
        p->keys[p->n % p->max] = str_dup(c->arena, scan->rest);
        p->items[p->n % p->max] = item;
        p->n++;
        if (!ascending && p->n == p->max)
            break;
    }
    kv_scan_end(scan);
    return scan->err;
}

Err cloudwatch_DescribeAlarmHistory(struct call *c,
                                    const struct cloudwatch_DescribeAlarmHistory_in *in,
                                    struct cloudwatch_DescribeAlarmHistory_out *out)
{
    struct cloudwatch *cw = c->state;
    Str place = S("");
    bool ascending = str_eq(in->scan_by, cloudwatch_ScanBy_TimestampAscending);
    size_t max = page_size(in->has_max_records, in->max_records, HISTORY_MAX);
    struct history_page p = { .max = max + 1 }; // one more tells whether others follow
    if (in->next_token.n > 0)
        TRY(cloudwatch_token_open(c, in->next_token, &place));
    p.items = arena_new(c->arena, cloudwatch_AlarmHistoryItem, p.max);
    p.keys = arena_new(c->arena, Str, p.max);
    AUTO(kv_txn) tx = kv_read(cw->history);
    struct kv_scan scan = history_scan(cw, tx, c->arena, realm_of(c), ascending ? S("") : place);
    TRY(walk_history(c, in, &scan, place, ascending, &p));
    if (ascending)
        turn(&p, c->arena);
    size_t held = MIN(p.n, p.max), told = MIN(held, max);
    out->alarm_history_items =
        (cloudwatch_AlarmHistoryItems){ .at = p.items, .n = told, .set = true };
    if (held > max)
        out->next_token = cloudwatch_token(c->arena, p.keys[max - 1]);
    return OK;
}

// ---- Tags

// The ARN of an alarm that exists.
static Err find_tagged(struct call *c, struct kv_txn *tx, Str arn)
{
    AlarmState alarm;
    Str name = alarm_name_of(c->arena, realm_of(c), arn);
    if (!str_starts(arn, S("arn:")))
        return call_fail(c, &cloudwatch_InvalidParameterValueException,
                         "The value %.*s for parameter ResourceARN is invalid.", FMT(arn));
    Err e = fail(ERR_NOT_FOUND, "no alarm's ARN");
    if (name.p != NULL)
        e = alarm_state(c->state, tx, c->arena, realm_of(c), name, &alarm);
    if (e.kind == ERR_NOT_FOUND)
        return call_fail(c, &cloudwatch_ResourceNotFoundException,
                         "The resource %.*s does not exist.", FMT(arn));
    return e;
}

Err cloudwatch_ListTagsForResource(struct call *c,
                                   const struct cloudwatch_ListTagsForResource_in *in,
                                   struct cloudwatch_ListTagsForResource_out *out)
{
    struct cloudwatch *cw = c->state;
    AUTO(kv_txn) tx = kv_read(cw->alarms);
    TRY(find_tagged(c, tx, in->resource_arn));
    return alarm_tags(cw, tx, c->arena, in->resource_arn, &out->tags);
}

Err cloudwatch_TagResource(struct call *c, const struct cloudwatch_TagResource_in *in,
                           struct cloudwatch_TagResource_out *out)
{
    (void)out;
    struct cloudwatch *cw = c->state;
    AUTO(kv_txn) tx = kv_write(cw->alarms);
    TRY(find_tagged(c, tx, in->resource_arn));
    for (size_t i = 0; i < in->tags.n; i++) {
        Err e =
            alarm_tag(cw, tx, c->arena, in->resource_arn, in->tags.at[i].key, in->tags.at[i].value);
        if (e.kind == ERR_LIMIT)
            return call_fail(c, &cloudwatch_LimitExceededException, "An alarm may have %d tags.",
                             ALARM_TAGS_MAX);
        TRY(e);
    }
    return kv_commit(tx);
}

Err cloudwatch_UntagResource(struct call *c, const struct cloudwatch_UntagResource_in *in,
                             struct cloudwatch_UntagResource_out *out)
{
    (void)out;
    struct cloudwatch *cw = c->state;
    AUTO(kv_txn) tx = kv_write(cw->alarms);
    TRY(find_tagged(c, tx, in->resource_arn));
    for (size_t i = 0; i < in->tag_keys.n; i++)
        TRY(alarm_untag(cw, tx, c->arena, in->resource_arn, in->tag_keys.at[i]));
    return kv_commit(tx);
}
