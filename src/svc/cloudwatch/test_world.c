// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/test_world.h"
#include "base/test.h"
#include "base/time.h"
#include "svc/cloudwatch/alarm.h"
#include "svc/cloudwatch/ticker.h"

#include <string.h>

int64_t world_clock_s;

static int64_t wall_ns(struct io *io)
{
    (void)io;
    return world_clock_s * NS_PER_S;
}

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
    GatheredBin bins[METER_BINS];
    m.name = S("Latency");
    m.values = meter_take(&w->wide.sums);
    m.bin_count = wide_meter_take_bins(&w->wide, bins);
    m.bins = bins;
    sink->take(sink, &m);
}

static bool act(struct alarm_target *t, const AlarmAction *action)
{
    struct world *w = (struct world *)((char *)t - offsetof(struct world, target));
    w->actions++;
    w->acted = str_fmt(w->a, "%.*s | %.*s", FMT(action->action), FMT(action->subject));
    EXPECT(str_search(action->message, S("\"NewStateValue\":")) < action->message.n);
    return true;
}

void world_open(struct world *w, struct arena *a)
{
    world_clock_s = START_S;
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

void world_close(struct world *w)
{
    ticker_close(w->cw.ticker);
    wide_meter_done(&w->wide);
    kv_close(w->kv);
}

struct call *call_of(struct world *w)
{
    w->call = (struct call){ .state = &w->cw,
                             .arena = w->a,
                             .account = S("1"),
                             .region = S("r"),
                             .now_ns = world_clock_s * NS_PER_S };
    return &w->call;
}

void advance(struct world *w, int64_t seconds)
{
    world_clock_s += seconds;
    ticker_round(w->cw.ticker, world_clock_s * NS_PER_S);
}

void put_value(struct world *w, const char *name, double value)
{
    cloudwatch_MetricDatum datum = { .metric_name = str_of(name),
                                     .has_value = true,
                                     .value = value };
    struct cloudwatch_PutMetricData_in in = { .namespace = S("N"),
                                              .metric_data = { &datum, 1, true } };
    EXPECT_OK(cloudwatch_PutMetricData(call_of(w), &in));
}

double sum_of(struct world *w, const char *name_space, const char *name, int64_t minutes)
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

Str state_of(struct world *w, const char *name)
{
    AlarmState alarm;
    AUTO(kv_txn) tx = kv_read(w->cw.alarms);
    EXPECT_OK(alarm_state(&w->cw, tx, w->a, (Realm){ S("1"), S("r") }, str_of(name), &alarm));
    return alarm.value;
}

size_t history_of(struct world *w)
{
    struct cloudwatch_DescribeAlarmHistory_in in = { .history_item_type =
                                                         cloudwatch_HistoryItemType_StateUpdate,
                                                     .scan_by =
                                                         cloudwatch_ScanBy_TimestampDescending };
    struct cloudwatch_DescribeAlarmHistory_out out = { 0 };
    EXPECT_OK(cloudwatch_DescribeAlarmHistory(call_of(w), &in, &out));
    return out.alarm_history_items.n;
}

struct cloudwatch_PutMetricAlarm_in alarm_in(void)
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
