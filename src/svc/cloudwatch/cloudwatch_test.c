// SPDX-License-Identifier: Apache-2.0
// Operations, and rounds of the clock between them.
#include "base/test.h"
#include "base/time.h"
#include "svc/cloudwatch/alarm.h"
#include "svc/cloudwatch/test_world.h"
#include "svc/cloudwatch/ticker.h"

#include <stdlib.h>
#include <string.h>

static Str put_error(struct world *w, cloudwatch_MetricDatum datum)
{
    struct cloudwatch_PutMetricData_in in = { .namespace = S("N"),
                                              .metric_data = { &datum, 1, true } };
    struct call *c = call_of(w);
    EXPECT_ERR(ERR_FAULT, cloudwatch_PutMetricData(c, &in));
    return str_fmt(w->a, "%.*s: %.*s", FMT(c->error->name), FMT(c->error_text));
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

TEST(percentiles_of_what_services_measure_are_told)
{
    struct world w;
    world_open(&w, a);
    for (int i = 1; i <= 1000; i++)
        wide_meter_add(&w.wide, i);
    advance(&w, 60);
    Str stats[] = { S("p50"), S("p99"), S("p99.9"), S("tm90") };
    cloudwatch_Dimension kind[] = { { S("Kind"), S("k") } };
    struct cloudwatch_GetMetricStatistics_out out = { 0 };
    struct cloudwatch_GetMetricStatistics_in in = { .namespace = S("AWS/Own"),
                                                    .metric_name = S("Latency"),
                                                    .dimensions = { kind, 1, true },
                                                    .start_time = START_S * NS_PER_S,
                                                    .end_time = (START_S + 60) * NS_PER_S,
                                                    .period = 60,
                                                    .extended_statistics = { stats, 4, true } };
    EXPECT_OK(cloudwatch_GetMetricStatistics(call_of(&w), &in, &out));
    EXPECT_INT(1, out.datapoints.n);
    const cloudwatch_DatapointValueMap *told = &out.datapoints.at[0].extended_statistics;
    static const double want[] = { 500, 990, 999, 450 };
    EXPECT_INT(4, told->n);
    for (size_t i = 0; i < told->n; i++)
        EXPECT(told->at[i].value > want[i] * 0.96 && told->at[i].value < want[i] * 1.04);
    world_close(&w);
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
        world_clock_s++;
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
