// SPDX-License-Identifier: Apache-2.0
// Operations, and rounds of the clock between them.
#include "svc/cloudwatch/cloudwatch.h"
#include "base/test.h"
#include "base/time.h"
#include "hub/alarms.h"
#include "hub/metrics.h"
#include "svc/cloudwatch/alarm.h"
#include "svc/cloudwatch/ticker.h"

#include <stdlib.h>
#include <string.h>

enum { START_S = 1700000040 }; // a whole minute

static int64_t clock_s;

static int64_t wall_ns(struct io *io)
{
    (void)io;
    return clock_s * NS_PER_S;
}

// A service without a thread, on a clock that the test moves.
struct world {
    struct io io;
    struct kv *kv;
    struct metric_hub hub;
    struct metric_source source;
    struct meter meter;
    struct alarm_target target, *targets;
    Str acted; // what the last action was
    struct cloudwatch cw;
    struct call call;
    struct arena *a;
};

static void tell(struct metric_source *s, struct metric_sink *sink)
{
    struct world *w = (struct world *)((char *)s - offsetof(struct world, source));
    MetricTold m = { .account = S("1"),
                     .region = S("r"),
                     .name_space = S("AWS/Own"),
                     .name = S("Things"),
                     .unit = S("Count"),
                     .dims = { { S("Kind"), S("k") } },
                     .dim_count = 1,
                     .values = meter_take(&w->meter) };
    sink->take(sink, &m);
}

static bool act(struct alarm_target *t, const AlarmAction *action)
{
    struct world *w = (struct world *)((char *)t - offsetof(struct world, target));
    w->acted = str_fmt(w->a, "%.*s | %.*s", FMT(action->action), FMT(action->subject));
    EXPECT(str_search(action->message, S("\"NewStateValue\":")) < action->message.n);
    return true;
}

static void world_open(struct world *w, struct arena *a)
{
    clock_s = START_S;
    *w = (struct world){ .hub = METRIC_HUB_INIT, .a = a };
    w->io.wall_ns = wall_ns;
    w->kv = kv_open_test();
    w->source.tell = tell;
    metric_hub_add(&w->hub, &w->source);
    w->target.act = act;
    w->targets = &w->target;
    w->cw.env = (struct service_env){
        .io = &w->io, .kv = w->kv, .metrics = &w->hub, .targets = &w->targets
    };
    EXPECT_OK(cloudwatch_load(&w->cw));
    ticker_open(&w->cw, &w->cw.ticker);
}

static void world_close(struct world *w)
{
    ticker_close(w->cw.ticker);
    kv_close(w->kv);
}

static struct call *call_of(struct world *w)
{
    w->call = (struct call){ .state = &w->cw,
                             .arena = w->a,
                             .account = S("1"),
                             .region = S("r"),
                             .now_ns = clock_s * NS_PER_S };
    return &w->call;
}

static void advance(struct world *w, int64_t seconds)
{
    clock_s += seconds;
    ticker_round(w->cw.ticker, clock_s * NS_PER_S);
}

static void put_value(struct world *w, const char *name, double value)
{
    cloudwatch_MetricDatum datum = { .metric_name = str_of(name),
                                     .has_value = true,
                                     .value = value };
    struct cloudwatch_PutMetricData_in in = { .namespace = S("N"),
                                              .metric_data = { &datum, 1, true } };
    EXPECT_OK(cloudwatch_PutMetricData(call_of(w), &in));
}

static Str put_error(struct world *w, cloudwatch_MetricDatum datum)
{
    struct cloudwatch_PutMetricData_in in = { .namespace = S("N"),
                                              .metric_data = { &datum, 1, true } };
    struct call *c = call_of(w);
    EXPECT_ERR(ERR_FAULT, cloudwatch_PutMetricData(c, &in));
    return str_fmt(w->a, "%.*s: %.*s", FMT(c->error->name), FMT(c->error_text));
}

// The sum of one metric from the start on, over so many minutes.
static double sum_of(struct world *w, const char *name_space, const char *name, int64_t minutes)
{
    Str sum[] = { S("Sum") };
    struct cloudwatch_GetMetricStatistics_out out = { 0 };
    cloudwatch_Dimension kind[] = { { S("Kind"), S("k") } };
    struct cloudwatch_GetMetricStatistics_in in = { .namespace = str_of(name_space),
                                                    .metric_name = str_of(name),
                                                    .start_time = START_S * NS_PER_S,
                                                    .end_time = (START_S + minutes * 60) * NS_PER_S,
                                                    .period = (int32_t)minutes * 60,
                                                    .statistics = { sum, 1, true } };
    if (strcmp(name_space, "AWS/Own") == 0)
        in.dimensions = (cloudwatch_Dimensions){ kind, 1, true };
    EXPECT_OK(cloudwatch_GetMetricStatistics(call_of(w), &in, &out));
    return out.datapoints.n == 0 ? -1 : out.datapoints.at[0].sum;
}

TEST(what_was_put_is_told)
{
    struct world w;
    world_open(&w, a);
    put_value(&w, "m", 1.5);
    put_value(&w, "m", 2);
    put_value(&w, "other", 9);
    EXPECT(sum_of(&w, "N", "m", 1) == 3.5);
    EXPECT(sum_of(&w, "N", "nothing", 1) == -1);
    world_close(&w);
}

TEST(what_is_wrong_with_data_is_told)
{
    struct world w;
    world_open(&w, a);
    double values[151] = { 0 }, counts[] = { 1, 2 };
    cloudwatch_MetricDatum d = { .metric_name = S("m") };
    EXPECT_STR(S("MissingRequiredParameterException: At least one of the parameters "
                 "MetricData.member.1.Value, MetricData.member.1.Values and "
                 "MetricData.member.1.StatisticValues must be specified."),
               put_error(&w, d));
    d.has_value = true;
    d.value = 1e300 * 1e300;
    EXPECT_STR(S("InvalidParameterValueException: The value Infinity for parameter "
                 "MetricData.member.1.Value is invalid."),
               put_error(&w, d));
    d.value = 1;
    d.has_timestamp = true;
    d.timestamp = (START_S - 15 * 86400) * NS_PER_S;
    d.has_storage_resolution = true;
    d.storage_resolution = 5;
    EXPECT_STR(S("InvalidParameterValueException: The parameter MetricData.member.1.Timestamp must "
                 "specify a time within the past two weeks.\nThe value 5 for parameter "
                 "MetricData.member.1.StorageResolution is invalid. It must be 1 or 60."),
               put_error(&w, d));
    d = (cloudwatch_MetricDatum){ .metric_name = S("m"), .values = { values, 151, true } };
    EXPECT_STR(S("InvalidParameterValueException: The collection MetricData.member.1.Values must "
                 "not have a size greater than 150."),
               put_error(&w, d));
    d.values.n = 1;
    d.counts = (cloudwatch_DatapointValues){ counts, 2, true };
    EXPECT_STR(S("InvalidParameterValueException: The parameters MetricData.member.1.Values and "
                 "MetricData.member.1.Counts must be of the same size."),
               put_error(&w, d));
    d.counts = (cloudwatch_DatapointValues){ 0 };
    d.has_value = true;
    EXPECT_STR(S("InvalidParameterCombinationException: The parameters MetricData.member.1.Value "
                 "and MetricData.member.1.Values are mutually exclusive and you have specified "
                 "both."),
               put_error(&w, d));
    world_close(&w);
}

TEST(what_services_count_is_stored_by_the_minute_and_at_the_end)
{
    struct world w;
    world_open(&w, a);
    meter_add(&w.meter, 5);
    meter_add(&w.meter, 7);
    advance(&w, 30);
    EXPECT(sum_of(&w, "AWS/Own", "Things", 1) == -1); // the minute is not over
    advance(&w, 30);
    EXPECT(sum_of(&w, "AWS/Own", "Things", 1) == 12);
    meter_add(&w.meter, 100);
    advance(&w, 60);
    EXPECT(sum_of(&w, "AWS/Own", "Things", 1) == 12); // that was the next minute's
    EXPECT(sum_of(&w, "AWS/Own", "Things", 2) == 112);
    meter_add(&w.meter, 1);
    ticker_close(w.cw.ticker);
    ticker_open(&w.cw, &w.cw.ticker);
    EXPECT(sum_of(&w, "AWS/Own", "Things", 3) == 113);
    world_close(&w);
}

static Str state_of(struct world *w, const char *name)
{
    Alarm alarm;
    AUTO(kv_txn) tx = kv_read(w->cw.alarms);
    EXPECT_OK(alarm_get(&w->cw, tx, w->a, (Realm){ S("1"), S("r") }, str_of(name), &alarm));
    return alarm.state_value;
}

static size_t history_of(struct world *w)
{
    struct cloudwatch_DescribeAlarmHistory_in in = { .history_item_type =
                                                         cloudwatch_HistoryItemType_StateUpdate,
                                                     .scan_by =
                                                         cloudwatch_ScanBy_TimestampDescending };
    struct cloudwatch_DescribeAlarmHistory_out out = { 0 };
    EXPECT_OK(cloudwatch_DescribeAlarmHistory(call_of(w), &in, &out));
    return out.alarm_history_items.n;
}

static struct cloudwatch_PutMetricAlarm_in alarm_in(void)
{
    static Str topic[] = { S_INIT("arn:aws:sns:r:1:topic") };
    return (struct cloudwatch_PutMetricAlarm_in){
        .alarm_name = S("high"),
        .namespace = S("N"),
        .metric_name = S("m"),
        .statistic = cloudwatch_Statistic_Maximum,
        .has_period = true,
        .period = 60,
        .has_evaluation_periods = true,
        .evaluation_periods = 1,
        .has_threshold = true,
        .threshold = 10,
        .comparison_operator = cloudwatch_ComparisonOperator_GreaterThanThreshold,
        .actions_enabled = true,
        .alarm_actions = { topic, 1, true },
    };
}

TEST(an_alarm_follows_its_metric_and_keeps_its_history)
{
    struct world w;
    world_open(&w, a);
    struct cloudwatch_PutMetricAlarm_in in = alarm_in();
    EXPECT_OK(cloudwatch_PutMetricAlarm(call_of(&w), &in));
    EXPECT_STR(S("INSUFFICIENT_DATA"), state_of(&w, "high"));
    put_value(&w, "m", 3);
    advance(&w, 60);
    EXPECT_STR(S("OK"), state_of(&w, "high"));
    EXPECT_INT(1, history_of(&w));
    put_value(&w, "m", 11);
    advance(&w, 60);
    EXPECT_STR(S("ALARM"), state_of(&w, "high"));
    EXPECT_STR(S("arn:aws:sns:r:1:topic | ALARM: \"high\" in r"), w.acted);
    w.acted = (Str){ 0 };
    advance(&w, 60); // the breach is still among the periods that are looked at
    EXPECT_STR(S("ALARM"), state_of(&w, "high"));
    EXPECT(w.acted.p == NULL);
    advance(&w, 180);
    EXPECT_STR(S("INSUFFICIENT_DATA"), state_of(&w, "high"));
    EXPECT_INT(3, history_of(&w));
    EXPECT_OK(cloudwatch_PutMetricAlarm(call_of(&w), &in)); // keeps the state
    EXPECT_STR(S("INSUFFICIENT_DATA"), state_of(&w, "high"));
    world_close(&w);
}

TEST(an_alarm_on_an_expression)
{
    struct world w;
    world_open(&w, a);
    cloudwatch_Metric metric[] = { { .namespace = S("N"), .metric_name = S("x") },
                                   { .namespace = S("N"), .metric_name = S("y") } };
    cloudwatch_MetricStat stats[] = { { .metric = &metric[0], .period = 60, .stat = S("Sum") },
                                      { .metric = &metric[1], .period = 60, .stat = S("Sum") } };
    cloudwatch_MetricDataQuery queries[] = {
        { .id = S("x"), .metric_stat = &stats[0], .has_return_data = true },
        { .id = S("y"), .metric_stat = &stats[1], .has_return_data = true },
        { .id = S("e"), .expression = S("100 * x / (x + y)") },
    };
    struct cloudwatch_PutMetricAlarm_in in = alarm_in();
    in.namespace = in.metric_name = in.statistic = (Str){ 0 };
    in.has_period = false;
    in.threshold = 50;
    in.metrics = (cloudwatch_MetricDataQueries){ queries, 3, true };
    EXPECT_OK(cloudwatch_PutMetricAlarm(call_of(&w), &in));
    put_value(&w, "x", 1);
    put_value(&w, "y", 3);
    advance(&w, 60);
    EXPECT_STR(S("OK"), state_of(&w, "high"));
    put_value(&w, "x", 9);
    put_value(&w, "y", 3);
    advance(&w, 60);
    EXPECT_STR(S("ALARM"), state_of(&w, "high"));
    world_close(&w);
}

TEST(short_periods_are_looked_at_every_ten_seconds)
{
    struct world w;
    world_open(&w, a);
    struct cloudwatch_PutMetricAlarm_in in = alarm_in();
    in.period = 10;
    EXPECT_OK(cloudwatch_PutMetricAlarm(call_of(&w), &in));
    cloudwatch_MetricDatum d = { .metric_name = S("m"),
                                 .has_value = true,
                                 .value = 50,
                                 .has_storage_resolution = true,
                                 .storage_resolution = 1 };
    struct cloudwatch_PutMetricData_in data = { .namespace = S("N"),
                                                .metric_data = { &d, 1, true } };
    EXPECT_OK(cloudwatch_PutMetricData(call_of(&w), &data));
    advance(&w, 5);
    EXPECT_STR(S("INSUFFICIENT_DATA"), state_of(&w, "high"));
    advance(&w, 5);
    EXPECT_STR(S("ALARM"), state_of(&w, "high"));
    world_close(&w);
}

TEST(history_is_told_in_both_directions_by_pages)
{
    struct world w;
    world_open(&w, a);
    struct cloudwatch_PutMetricAlarm_in in = alarm_in();
    EXPECT_OK(cloudwatch_PutMetricAlarm(call_of(&w), &in));
    for (int i = 0; i < 5; i++) {
        struct cloudwatch_SetAlarmState_in set = { .alarm_name = S("high"),
                                                   .state_value = i % 2 == 0
                                                                      ? cloudwatch_StateValue_OK
                                                                      : cloudwatch_StateValue_ALARM,
                                                   .state_reason = str_fmt(a, "r%d", i) };
        clock_s++;
        EXPECT_OK(cloudwatch_SetAlarmState(call_of(&w), &set));
    }
    for (int descending = 0; descending < 2; descending++) {
        struct cloudwatch_DescribeAlarmHistory_in page = {
            .history_item_type = cloudwatch_HistoryItemType_StateUpdate,
            .has_max_records = true,
            .max_records = 2,
            .scan_by = descending ? cloudwatch_ScanBy_TimestampDescending
                                  : cloudwatch_ScanBy_TimestampAscending
        };
        Str seen = S("");
        do {
            struct cloudwatch_DescribeAlarmHistory_out out = { 0 };
            EXPECT_OK(cloudwatch_DescribeAlarmHistory(call_of(&w), &page, &out));
            for (size_t i = 0; i < out.alarm_history_items.n; i++)
                seen = str_fmt(
                    a, "%.*s %lld", FMT(seen),
                    (long long)(out.alarm_history_items.at[i].timestamp / NS_PER_S - START_S));
            page.next_token = out.next_token;
        } while (page.next_token.p != NULL);
        EXPECT_STR(descending ? S(" 5 4 3 2 1") : S(" 1 2 3 4 5"), seen);
    }
    world_close(&w);
}
