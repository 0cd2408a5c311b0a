// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/evaluate.h"
#include "base/test.h"

#include <string.h>

static Alarm alarm_of(int n, int m, const char *treat)
{
    return (Alarm){ .alarm_name = S("a"),
                    .state_value = S("none"),
                    .comparison_operator = cloudwatch_ComparisonOperator_GreaterThanThreshold,
                    .has_threshold = true,
                    .threshold = 1,
                    .has_evaluation_periods = true,
                    .evaluation_periods = n,
                    .has_datapoints_to_alarm = m != n,
                    .datapoints_to_alarm = m,
                    .has_period = true,
                    .period = 60,
                    .statistic = cloudwatch_Statistic_Average,
                    .treat_missing_data = treat != NULL ? str_of(treat) : (Str){ 0 } };
}

// '-' is missing, '0' is not breaching, 'X' is.
static Verdict judged(struct arena *a, const Alarm *alarm, const char *points)
{
    AlarmPoint p[16] = { 0 };
    size_t n = strlen(points);
    for (size_t i = 0; i < n; i++)
        p[i] = (AlarmPoint){ .at_s = (int64_t)i * 60,
                             .present = points[i] != '-',
                             .value = points[i] == 'X' ? 5 : 0,
                             .sample_count = 1 };
    return alarm_evaluate(a, alarm, p, n, 0);
}

static const char *const treatments[] = { NULL, "ignore", "breaching", "notBreaching" };

// The state under each treatment: O, A, I, or = for: it stays.
static void expect_row(struct arena *a, int n, int m, const char *points, const char *want)
{
    for (size_t i = 0; i < COUNT_OF(treatments); i++) {
        Alarm alarm = alarm_of(n, m, treatments[i]);
        Verdict v = judged(a, &alarm, points);
        char got = v.state.p == NULL ? '=' : v.state.p[0];
        EXPECT_STR(str_fmt(a, "%s %zu %c", points, i, want[i]),
                   str_fmt(a, "%s %zu %c", points, i, got));
    }
}

TEST(the_table_of_three_out_of_three)
{
    expect_row(a, 3, 3, "0-X-X", "OOOO");
    expect_row(a, 3, 3, "----0", "OOOO");
    expect_row(a, 3, 3, "-----", "I=AO");
    expect_row(a, 3, 3, "0XX-X", "AAAA");
    expect_row(a, 3, 3, "--X--", "A=AO");
}

TEST(the_table_of_two_out_of_three)
{
    expect_row(a, 3, 2, "0-X-X", "AAAA");
    expect_row(a, 3, 2, "00X0X", "AAAA");
    expect_row(a, 3, 2, "0-X--", "OOAO");
    expect_row(a, 3, 2, "----0", "OOAO");
    expect_row(a, 3, 2, "---X-", "A=AO");
}

TEST(a_single_breach_that_is_too_young_changes_nothing)
{
    expect_row(a, 3, 3, "----X", "==AO");
}

TEST(reasons_are_told_as_aws_tells_them)
{
    Alarm alarm = alarm_of(1, 1, NULL);
    EXPECT_STR(S("Threshold Crossed: 1 datapoint [5.0 (01/01/70 00:02:00)] was greater than the "
                 "threshold (1.0)."),
               judged(a, &alarm, "--X").reason);
    EXPECT_STR(S("Threshold Crossed: 1 datapoint [0.0 (01/01/70 00:02:00)] was not greater than "
                 "the threshold (1.0)."),
               judged(a, &alarm, "--0").reason);
    EXPECT_STR(S("Insufficient Data: 1 datapoint was unknown."), judged(a, &alarm, "---").reason);
    alarm = alarm_of(2, 2, "breaching");
    EXPECT_STR(S("Threshold Crossed: no datapoints were received for 2 periods and 2 missing "
                 "datapoints were treated as [Breaching]."),
               judged(a, &alarm, "----").reason);
    alarm = alarm_of(1, 1, "notBreaching");
    EXPECT_STR(S("Threshold Crossed: no datapoints were received for 1 period and 1 missing "
                 "datapoint was treated as [NonBreaching]."),
               judged(a, &alarm, "---").reason);
    alarm = alarm_of(3, 2, NULL);
    EXPECT_STR(S("Threshold Crossed: 2 out of the last 3 datapoints [5.0 (01/01/70 00:04:00), 0.0 "
                 "(01/01/70 00:03:00), 5.0 (01/01/70 00:02:00)] were greater than the threshold "
                 "(1.0) (minimum 2 datapoints for OK -> ALARM transition)."),
               judged(a, &alarm, "00X0X").reason);
}

TEST(the_data_of_a_reason_is_told_as_aws_tells_it)
{
    Alarm alarm = alarm_of(1, 1, NULL);
    alarm.unit = S("Seconds");
    EXPECT_STR(S("{\"version\":\"1.0\",\"queryDate\":\"1970-01-01T00:00:00.000+0000\","
                 "\"startDate\":\"1970-01-01T00:02:00.000+0000\",\"unit\":\"Seconds\","
                 "\"statistic\":\"Average\",\"period\":60,\"recentDatapoints\":[5.0],"
                 "\"threshold\":1.0,\"evaluatedDatapoints\":[{\"timestamp\":"
                 "\"1970-01-01T00:02:00.000+0000\",\"sampleCount\":1.0,\"value\":5.0}]}"),
               judged(a, &alarm, "--X").reason_data);
}

TEST(what_stays_as_it_is_has_no_reason)
{
    Alarm alarm = alarm_of(1, 1, NULL);
    alarm.state_value = cloudwatch_StateValue_ALARM;
    EXPECT(judged(a, &alarm, "--X").reason.p == NULL);
}

TEST(comparisons)
{
    static const struct {
        const char *op;
        bool below, equal, above;
    } cases[] = { { "GreaterThanOrEqualToThreshold", false, true, true },
                  { "GreaterThanThreshold", false, false, true },
                  { "LessThanThreshold", true, false, false },
                  { "LessThanOrEqualToThreshold", true, true, false } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Alarm alarm = alarm_of(1, 1, NULL);
        alarm.comparison_operator = str_of(cases[i].op);
        EXPECT(alarm_breaches(&alarm, 0) == cases[i].below);
        EXPECT(alarm_breaches(&alarm, 1) == cases[i].equal);
        EXPECT(alarm_breaches(&alarm, 2) == cases[i].above);
    }
    (void)a;
}
