// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/judge.h"
#include "base/test.h"
#include "svc/cloudwatch/test_world.h"

static void put_of(struct world *w, Str host, double value)
{
    cloudwatch_Dimension dim = { S("host"), host };
    cloudwatch_MetricDatum datum = {
        .metric_name = S("m"), .dimensions = { &dim, 1, true }, .has_value = true, .value = value
    };
    struct cloudwatch_PutMetricData_in in = { .namespace = S("N"),
                                              .metric_data = { &datum, 1, true } };
    EXPECT_OK(cloudwatch_PutMetricData(call_of(w), &in));
}

static void put_alarm(struct world *w, Str expression)
{
    cloudwatch_MetricDataQuery query = {
        .id = S("q"), .expression = expression, .has_period = true, .period = 60
    };
    struct cloudwatch_PutMetricAlarm_in in = alarm_in();
    in.namespace = in.metric_name = in.statistic = (Str){ 0 };
    in.has_period = false;
    in.metrics = (cloudwatch_MetricDataQueries){ &query, 1, true };
    EXPECT_OK(cloudwatch_PutMetricAlarm(call_of(w), &in));
}

static cloudwatch_AlarmContributors contributors(struct world *w)
{
    struct cloudwatch_DescribeAlarmContributors_in in = { .alarm_name = S("high") };
    struct cloudwatch_DescribeAlarmContributors_out out = { 0 };
    EXPECT_OK(cloudwatch_DescribeAlarmContributors(call_of(w), &in, &out));
    return out.alarm_contributors;
}

TEST(an_alarm_on_groups_breaches_while_one_of_them_does)
{
    struct world w;
    world_open(&w, a);
    put_alarm(&w, S("SELECT MAX(m) FROM SCHEMA(N, host) GROUP BY host"));
    advance(&w, 60);
    EXPECT_STR(cloudwatch_StateValue_INSUFFICIENT_DATA, state_of(&w, "high"));
    EXPECT_INT(0, contributors(&w).n);
    put_of(&w, S("a"), 1);
    put_of(&w, S("b"), 2);
    advance(&w, 60);
    EXPECT_STR(cloudwatch_StateValue_OK, state_of(&w, "high"));
    EXPECT_INT(0, contributors(&w).n);
    put_of(&w, S("a"), 1);
    put_of(&w, S("b"), 11);
    advance(&w, 60);
    EXPECT_STR(cloudwatch_StateValue_ALARM, state_of(&w, "high"));
    cloudwatch_AlarmContributors got = contributors(&w);
    EXPECT_INT(1, got.n);
    EXPECT_INT(CONTRIBUTOR_ID_CHARS, got.at[0].contributor_id.n);
    EXPECT_INT(1, got.at[0].contributor_attributes.n);
    EXPECT_STR(S("host"), got.at[0].contributor_attributes.at[0].key);
    EXPECT_STR(S("b"), got.at[0].contributor_attributes.at[0].value);
    EXPECT(str_starts(got.at[0].state_reason, S("Threshold Crossed: 1 datapoint [11.0 (")));
    for (int i = 0; i < 4; i++) { // one is heard of no more
        put_of(&w, S("a"), 1);
        advance(&w, 60);
    }
    EXPECT_STR(cloudwatch_StateValue_OK, state_of(&w, "high"));
    for (int i = 0; i < 4; i++)
        advance(&w, 60);
    EXPECT_STR(cloudwatch_StateValue_INSUFFICIENT_DATA, state_of(&w, "high"));
    EXPECT_INT(4, history_of(&w));
    world_close(&w);
}

TEST(an_alarm_on_one_series_has_no_contributors)
{
    struct world w;
    world_open(&w, a);
    put_alarm(&w, S("SELECT MAX(m) FROM SCHEMA(N, host)"));
    put_of(&w, S("a"), 11);
    advance(&w, 60);
    EXPECT_STR(cloudwatch_StateValue_ALARM, state_of(&w, "high"));
    EXPECT_INT(0, contributors(&w).n);
    world_close(&w);
}
