// SPDX-License-Identifier: Apache-2.0
// The event that a function gets of an alarm (CloudWatch user guide, "Invoke a Lambda function from
// an alarm"):
//
//     {"source":"aws.cloudwatch","alarmArn":..,"accountId":..,"time":..,"region":..,
//      "alarmData":{"alarmName":..,"state":{..},"previousState":{..},"configuration":{..}}}
#include "base/time.h"
#include "codec/hash.h"
#include "codec/json.h"
#include "svc/cloudwatch/action.h"

static void add_text(struct event_writer *w, Str key, Str text)
{
    if (text.p == NULL)
        return;
    w->ops->key(w, key);
    w->ops->text(w, text);
}

static void begin_map(struct event_writer *w, Str key)
{
    w->ops->key(w, key);
    w->ops->map(w);
}

static Str time_of(struct arena *a, int64_t at_ns)
{
    Str iso = time_iso_ms(a, at_ns);
    return str_cat(a, str_head(iso, iso.n - 1), S("+0000"));
}

typedef struct State {
    Str value, reason, data, suppressed_by, suppressed_reason;
    int64_t at_ns;
} State;

static void add_state(struct event_writer *w, struct arena *a, Str key, const State *s)
{
    begin_map(w, key);
    add_text(w, S("value"), s->value);
    add_text(w, S("reason"), s->reason);
    add_text(w, S("reasonData"), s->data);
    add_text(w, S("timestamp"), time_of(a, s->at_ns));
    add_text(w, S("actionsSuppressedBy"), s->suppressed_by);
    add_text(w, S("actionsSuppressedReason"), s->suppressed_reason);
    w->ops->map_end(w);
}

static void begin_event(struct event_writer *w, struct arena *a, Realm r, Str arn, Str name,
                        int64_t at_ns, const State *now, const State *before)
{
    w->ops->map(w);
    add_text(w, S("source"), S("aws.cloudwatch"));
    add_text(w, S("alarmArn"), arn);
    add_text(w, S("accountId"), r.account);
    add_text(w, S("time"), time_of(a, at_ns));
    add_text(w, S("region"), r.region);
    begin_map(w, S("alarmData"));
    add_text(w, S("alarmName"), name);
    add_state(w, a, S("state"), now);
    add_state(w, a, S("previousState"), before);
    begin_map(w, S("configuration"));
}

static Str end_event(struct event_writer *w, struct arena *a, const struct buf *b)
{
    w->ops->map_end(w); // the configuration
    w->ops->map_end(w); // alarmData
    w->ops->map_end(w);
    return str_dup(a, buf_str(b));
}

// ---- What an alarm looks at

static void add_metric_stat(struct event_writer *w, Str name_space, Str name,
                            const cloudwatch_Dimensions *dims, int64_t period, Str stat, Str unit)
{
    begin_map(w, S("metricStat"));
    begin_map(w, S("metric"));
    add_text(w, S("namespace"), name_space);
    add_text(w, S("name"), name);
    begin_map(w, S("dimensions"));
    for (size_t i = 0; i < dims->n; i++)
        add_text(w, dims->at[i].name, dims->at[i].value);
    w->ops->map_end(w);
    w->ops->map_end(w);
    w->ops->key(w, S("period"));
    w->ops->integer(w, period);
    add_text(w, S("stat"), stat);
    add_text(w, S("unit"), unit);
    w->ops->map_end(w);
}

static void add_returns(struct event_writer *w, bool returns)
{
    w->ops->key(w, S("returnData"));
    w->ops->boolean(w, returns);
    w->ops->map_end(w);
}

static void add_query(struct event_writer *w, const cloudwatch_MetricDataQuery *q)
{
    w->ops->map(w);
    add_text(w, S("id"), q->id);
    if (q->metric_stat != NULL) {
        const cloudwatch_Metric *m = q->metric_stat->metric;
        add_metric_stat(w, m->namespace, m->metric_name, &m->dimensions, q->metric_stat->period,
                        q->metric_stat->stat, q->metric_stat->unit);
    }
    add_text(w, S("expression"), q->expression);
    add_text(w, S("label"), q->label);
    if (q->has_period) {
        w->ops->key(w, S("period"));
        w->ops->integer(w, q->period);
    }
    add_returns(w, !q->has_return_data || q->return_data);
}

// AWS gives the one metric of a plain alarm an id of its own; here it is always the alarm's same.
static Str id_of(struct arena *a, Str arn)
{
    unsigned char digest[MD5_BYTES];
    md5(arn.p, arn.n, digest);
    Str hex = hex_str(a, digest, sizeof digest);
    return str_fmt(a, "%.8s-%.4s-%.4s-%.4s-%.12s", hex.p, hex.p + 8, hex.p + 12, hex.p + 16,
                   hex.p + 20);
}

static State state_of(const Alarm *a)
{
    return (State){ .value = a->state_value,
                    .reason = a->state_reason,
                    .data = a->state_reason_data,
                    .at_ns = a->state_updated_timestamp };
}

Str alarm_event(struct arena *a, Realm r, const Alarm *alarm, const Alarm *before)
{
    AUTO_BUF(b);
    struct event_writer w;
    State now = state_of(alarm), old = state_of(before);
    json_writer_init(&w, &b);
    begin_event(&w, a, r, alarm->alarm_arn, alarm->alarm_name, now.at_ns, &now, &old);
    add_text(&w, S("description"), alarm->alarm_description);
    w.ops->key(&w, S("metrics"));
    w.ops->list(&w);
    for (size_t i = 0; i < alarm->metrics.n; i++)
        add_query(&w, &alarm->metrics.at[i]);
    if (alarm->metrics.n == 0) {
        w.ops->map(&w);
        add_text(&w, S("id"), id_of(a, alarm->alarm_arn));
        add_metric_stat(&w, alarm->namespace, alarm->metric_name, &alarm->dimensions, alarm->period,
                        alarm->statistic.p != NULL ? alarm->statistic : alarm->extended_statistic,
                        alarm->unit);
        add_returns(&w, true);
    }
    w.ops->list_end(&w);
    return end_event(&w, a, &b);
}

// ---- Of a composite alarm

static State state_of_composite(const Composite *c)
{
    return (State){ .value = c->state_value,
                    .reason = c->state_reason,
                    .data = c->state_reason_data,
                    .suppressed_by = c->actions_suppressed_by,
                    .suppressed_reason = c->actions_suppressed_reason,
                    .at_ns = c->state_updated_timestamp };
}

Str composite_event(struct arena *a, Realm r, const Composite *alarm, const Composite *before,
                    int64_t now_ns)
{
    AUTO_BUF(b);
    struct event_writer w;
    State now = state_of_composite(alarm), old = state_of_composite(before);
    json_writer_init(&w, &b);
    begin_event(&w, a, r, alarm->alarm_arn, alarm->alarm_name, now_ns, &now, &old);
    add_text(&w, S("description"), alarm->alarm_description);
    add_text(&w, S("alarmRule"), alarm->alarm_rule);
    add_text(&w, S("actionsSuppressor"), alarm->actions_suppressor);
    if (alarm->has_actions_suppressor_wait_period) {
        w.ops->key(&w, S("actionsSuppressorWaitPeriod"));
        w.ops->integer(&w, alarm->actions_suppressor_wait_period);
    }
    if (alarm->has_actions_suppressor_extension_period) {
        w.ops->key(&w, S("actionsSuppressorExtensionPeriod"));
        w.ops->integer(&w, alarm->actions_suppressor_extension_period);
    }
    return end_event(&w, a, &b);
}
