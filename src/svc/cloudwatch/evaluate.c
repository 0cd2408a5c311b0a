// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/evaluate.h"
#include "base/time.h"
#include "codec/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REASON_POINTS_MAX = 5, REAL_CHARACTERS_MAX = 32 };

// The points that count, the newest first.
struct chosen {
    const AlarmPoint **at;
    size_t n, breaching, missing;
    bool uncertain;
    size_t oldest_breach; // how many periods ago, from 1; 0: none breaches
};

bool alarm_breaches(const Alarm *alarm, double value)
{
    Str op = alarm->comparison_operator;
    if (str_eq(op, cloudwatch_ComparisonOperator_GreaterThanOrEqualToThreshold))
        return value >= alarm->threshold;
    if (str_eq(op, cloudwatch_ComparisonOperator_GreaterThanThreshold))
        return value > alarm->threshold;
    if (str_eq(op, cloudwatch_ComparisonOperator_LessThanThreshold))
        return value < alarm->threshold;
    return value <= alarm->threshold;
}

static struct chosen choose(struct arena *a, const Alarm *alarm, const AlarmPoint *points, size_t n)
{
    size_t wanted = (size_t)alarm->evaluation_periods;
    struct chosen c = { .at = arena_new(a, const AlarmPoint *, MAX(wanted, (size_t)1)) };
    for (size_t i = n; i > 0 && c.n < wanted; i--) {
        const AlarmPoint *p = &points[i - 1];
        if (!p->present)
            continue;
        c.at[c.n++] = p;
        c.uncertain = c.uncertain || p->uncertain;
        if (alarm_breaches(alarm, p->value)) {
            c.breaching++;
            c.oldest_breach = n - i + 1;
        }
    }
    c.missing = wanted - c.n;
    return c;
}

static size_t to_alarm(const Alarm *alarm)
{
    return (size_t)(alarm->has_datapoints_to_alarm ? alarm->datapoints_to_alarm
                                                   : alarm->evaluation_periods);
}

// ---- Why, in words

static Str real_text(struct arena *a, double value)
{
    char text[REAL_CHARACTERS_MAX];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    const char *whole = text[strcspn(text, ".en")] == 0 ? ".0" : "";
    return str_fmt(a, "%s%s", text, whole);
}

static const char *comparison(const Alarm *alarm)
{
    Str op = alarm->comparison_operator;
    if (str_eq(op, cloudwatch_ComparisonOperator_GreaterThanOrEqualToThreshold))
        return "greater than or equal to";
    if (str_eq(op, cloudwatch_ComparisonOperator_GreaterThanThreshold))
        return "greater than";
    if (str_eq(op, cloudwatch_ComparisonOperator_LessThanThreshold))
        return "less than";
    return "less than or equal to";
}

// [21.5 (26/10/23 16:42:00), ...]
static Str points_text(struct arena *a, const struct chosen *c)
{
    AUTO_BUF(b);
    buf_add_byte(&b, '[');
    for (size_t i = 0; i < MIN(c->n, (size_t)REASON_POINTS_MAX); i++) {
        Civil t = time_civil(c->at[i]->at_s * NS_PER_S);
        buf_addf(&b, "%s%.*s (%02u/%02u/%02u %02u:%02u:%02u)", i > 0 ? ", " : "",
                 FMT(real_text(a, c->at[i]->value)), t.day, t.month, (unsigned)(t.year % 100),
                 t.hour, t.minute, t.second);
    }
    buf_add_byte(&b, ']');
    return str_dup(a, buf_str(&b));
}

static Str missing_text(struct arena *a, const Alarm *alarm, const struct chosen *c)
{
    bool breaching = str_eq(alarm->treat_missing_data, S("breaching"));
    return str_fmt(a,
                   "no datapoints were received for %zu period%s and %zu missing datapoint%s "
                   "treated as [%s]",
                   c->missing, c->missing == 1 ? "" : "s", c->missing,
                   c->missing == 1 ? " was" : "s were", breaching ? "Breaching" : "NonBreaching");
}

static Str threshold_text(struct arena *a, const Alarm *alarm, const struct chosen *c, bool breach)
{
    const char *not = breach ? "" : "not ";
    Str threshold = real_text(a, alarm->threshold), points = points_text(a, c);
    size_t counted = breach ? c->breaching : c->n - c->breaching;
    if (c->n == 0)
        return str_fmt(a, "Threshold Crossed: %.*s.", FMT(missing_text(a, alarm, c)));
    if (!alarm->has_datapoints_to_alarm)
        return str_fmt(a, "Threshold Crossed: %zu datapoint%s %.*s %s %s%s the threshold (%.*s).",
                       c->n, c->n == 1 ? "" : "s", FMT(points), c->n == 1 ? "was" : "were", not,
                       comparison(alarm), FMT(threshold));
    size_t least =
        breach ? to_alarm(alarm) : (size_t)alarm->evaluation_periods - to_alarm(alarm) + 1;
    return str_fmt(a,
                   "Threshold Crossed: %zu out of the last %zu datapoints %.*s %s %s%s the "
                   "threshold (%.*s) (minimum %zu datapoint%s for %s transition).",
                   counted, (size_t)alarm->evaluation_periods, FMT(points),
                   counted == 1 ? "was" : "were", not, comparison(alarm), FMT(threshold), least,
                   least == 1 ? "" : "s", breach ? "OK -> ALARM" : "ALARM -> OK");
}

static Str java_time(struct arena *a, int64_t ns)
{
    Str iso = time_iso_ms(a, ns); // ...Z
    return str_cat(a, str_head(iso, iso.n - 1), S("+0000"));
}

static void add_text(struct event_writer *w, Str key, Str text)
{
    if (text.p == NULL)
        return;
    w->ops->key(w, key);
    w->ops->text(w, text);
}

static void add_evaluated(struct arena *a, struct event_writer *w, const Alarm *alarm,
                          const struct chosen *c, int64_t newest_s)
{
    w->ops->key(w, S("evaluatedDatapoints"));
    w->ops->list(w);
    for (size_t i = 0; i < MIN(c->n, (size_t)REASON_POINTS_MAX); i++) {
        w->ops->map(w);
        add_text(w, S("timestamp"), java_time(a, c->at[i]->at_s * NS_PER_S));
        if (c->at[i]->sample_count > 0) {
            w->ops->key(w, S("sampleCount"));
            w->ops->real(w, c->at[i]->sample_count);
        }
        w->ops->key(w, S("value"));
        w->ops->real(w, c->at[i]->value);
        w->ops->map_end(w);
    }
    for (size_t i = 0; c->n == 0 && i < MIN(c->missing, (size_t)REASON_POINTS_MAX); i++) {
        w->ops->map(w);
        add_text(w, S("timestamp"),
                 java_time(a, (newest_s - (int64_t)i * alarm->period) * NS_PER_S));
        w->ops->map_end(w);
    }
    w->ops->list_end(w);
}

static Str reason_data(struct arena *a, const Alarm *alarm, const struct chosen *c,
                       int64_t newest_s, int64_t now_ns)
{
    AUTO_BUF(b);
    struct event_writer w;
    json_writer_init(&w, &b);
    w.ops->map(&w);
    add_text(&w, S("version"), S("1.0"));
    add_text(&w, S("queryDate"), java_time(a, now_ns));
    if (c->n > 0)
        add_text(&w, S("startDate"), java_time(a, c->at[c->n - 1]->at_s * NS_PER_S));
    add_text(&w, S("unit"), alarm->unit);
    add_text(&w, S("statistic"), alarm->statistic);
    add_text(&w, S("statistic"), alarm->extended_statistic);
    if (alarm->has_period) {
        w.ops->key(&w, S("period"));
        w.ops->integer(&w, alarm->period);
    }
    w.ops->key(&w, S("recentDatapoints"));
    w.ops->list(&w);
    for (size_t i = MIN(c->n, (size_t)REASON_POINTS_MAX); i > 0; i--) // the oldest first
        w.ops->real(&w, c->at[i - 1]->value);
    w.ops->list_end(&w);
    w.ops->key(&w, S("threshold"));
    w.ops->real(&w, alarm->threshold);
    add_evaluated(a, &w, alarm, c, newest_s);
    w.ops->map_end(&w);
    return str_dup(a, buf_str(&b));
}

// ---- The rules

static Str state_without_missing(const Alarm *alarm, const struct chosen *c)
{
    size_t m = to_alarm(alarm);
    if (c->breaching >= m)
        return cloudwatch_StateValue_ALARM;
    return c->missing == 0 ? cloudwatch_StateValue_OK : (Str){ 0 };
}

// What is missing is left away: what is there decides, if it all says the same for long enough.
static Str state_missing(const Alarm *alarm, const struct chosen *c)
{
    if (c->n == 0)
        return cloudwatch_StateValue_INSUFFICIENT_DATA;
    if (c->breaching < c->n)
        return cloudwatch_StateValue_OK;
    return c->oldest_breach >= to_alarm(alarm) ? cloudwatch_StateValue_ALARM : (Str){ 0 };
}

static Str state_of(const Alarm *alarm, const struct chosen *c)
{
    Str treat = alarm->treat_missing_data, state = state_without_missing(alarm, c);
    if (c->uncertain)
        return (Str){ 0 };
    if (state.p != NULL)
        return state;
    if (str_eq(treat, S("breaching")))
        return c->breaching + c->missing >= to_alarm(alarm) ? cloudwatch_StateValue_ALARM
                                                            : cloudwatch_StateValue_OK;
    if (str_eq(treat, S("notBreaching")))
        return cloudwatch_StateValue_OK;
    if (str_eq(treat, S("ignore")))
        return c->breaching < c->n ? cloudwatch_StateValue_OK : (Str){ 0 };
    return state_missing(alarm, c);
}

Verdict alarm_evaluate(struct arena *a, const Alarm *alarm, const AlarmPoint *points, size_t n,
                       int64_t now_ns)
{
    struct chosen c = choose(a, alarm, points, n);
    Verdict v = { .state = state_of(alarm, &c) };
    if (v.state.p == NULL || str_eq(v.state, alarm->state_value))
        return v;
    if (str_eq(v.state, cloudwatch_StateValue_INSUFFICIENT_DATA))
        v.reason = str_fmt(a, "Insufficient Data: %zu datapoint%s unknown.", c.missing,
                           c.missing == 1 ? " was" : "s were");
    else
        v.reason = threshold_text(a, alarm, &c, str_eq(v.state, cloudwatch_StateValue_ALARM));
    v.reason_data = reason_data(a, alarm, &c, n > 0 ? points[n - 1].at_s : 0, now_ns);
    return v;
}
