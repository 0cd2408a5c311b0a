// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/insights.h"
#include "base/test.h"
#include "base/time.h"
#include "svc/cloudwatch/test_world.h"

#include <stdlib.h>

static Insights parsed(struct arena *a, const char *text)
{
    Insights q = { 0 };
    EXPECT_OK(insights_parse(a, str_of(text), &q));
    return q;
}

TEST(a_query_is_read_whatever_the_case_of_its_words)
{
    Insights q =
        parsed(a, "select avg(\"PutRecord.Latency\") From SCHEMA(\"AWS/Kinesis\", StreamName) "
                  "where StreamName != 'it''s' AND Zone = '' group by StreamName, Zone "
                  "ORDER BY MAX() desc LIMIT 7");
    EXPECT_INT(STAT_AVERAGE, q.function.kind);
    EXPECT_STR(S("PutRecord.Latency"), q.metric);
    EXPECT_STR(S("AWS/Kinesis"), q.name_space);
    EXPECT(q.has_schema && q.schema_count == 1);
    EXPECT_INT(2, q.condition_count);
    EXPECT_STR(S("it's"), q.conditions[0].value);
    EXPECT(q.conditions[0].differs && !q.conditions[1].differs);
    EXPECT_INT(2, q.group_count);
    EXPECT(q.is_ordered && q.descends && q.order.kind == STAT_MAX);
    EXPECT_INT(7, q.limit);
    q = parsed(a, "SELECT COUNT(m) FROM N ORDER BY SUM()");
    EXPECT(!q.has_schema && !q.descends);
    EXPECT_INT(INSIGHTS_SERIES_MAX, q.limit);
    EXPECT(insights_is_query(S(" select")) && !insights_is_query(S("selected + 1")));
}

TEST(what_is_no_query_is_refused)
{
    static const char *const bad[] = {
        "",
        "SELECT",
        "SELECT m FROM N",
        "SELECT P99(m) FROM N",
        "SELECT AVG(m FROM N",
        "SELECT AVG() FROM N",
        "SELECT AVG(m)",
        "SELECT AVG(m) FROM",
        "SELECT AVG(m) FROM AWS/Kinesis",
        "SELECT AVG(m) FROM SCHEMA(N",
        "SELECT AVG(m) FROM SCHEMA(N,)",
        "SELECT AVG(m) FROM N WHERE",
        "SELECT AVG(m) FROM N WHERE a = b",
        "SELECT AVG(m) FROM N WHERE a > '1'",
        "SELECT AVG(m) FROM N WHERE a = 'x",
        "SELECT AVG(m) FROM N WHERE a = 'x' OR b = 'y'",
        "SELECT AVG(m) FROM N GROUP a",
        "SELECT AVG(m) FROM N GROUP BY",
        "SELECT AVG(m) FROM N ORDER BY a",
        "SELECT AVG(m) FROM N LIMIT 0",
        "SELECT AVG(m) FROM N LIMIT 501",
        "SELECT AVG(m) FROM N LIMIT 5 GROUP BY a",
        "SELECT AVG(\"m) FROM N",
    };
    Insights q;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        EXPECT_ERR(ERR_INVALID, insights_parse(a, str_of(bad[i]), &q));
}

TEST(a_schema_means_exactly_its_dimensions_and_a_namespace_any)
{
    const Dimension dims[] = { { S("Host"), S("h") }, { S("Zone"), S("z") } };
    const SeriesName both = { S("1"), S("r"), S("N"), S("m"), dims, 2 },
                     one = { S("1"), S("r"), S("N"), S("m"), dims, 1 };
    static const struct {
        const char *text;
        bool both, one;
    } rows[] = {
        { "SELECT AVG(m) FROM N", true, true },
        { "SELECT AVG(m) FROM O", false, false },
        { "SELECT AVG(n) FROM N", false, false },
        { "SELECT AVG(m) FROM SCHEMA(N)", false, false },
        { "SELECT AVG(m) FROM SCHEMA(N, Host)", false, true },
        { "SELECT AVG(m) FROM SCHEMA(N, Zone, Host)", true, false },
        { "SELECT AVG(m) FROM N GROUP BY Zone", true, false },
        { "SELECT AVG(m) FROM N WHERE Host = 'h'", true, true },
        { "SELECT AVG(m) FROM N WHERE Host = 'h' AND Zone != 'z'", false, false },
        { "SELECT AVG(m) FROM N WHERE Zone != 'y'", true, false },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        Insights q = parsed(a, rows[i].text);
        EXPECT(insights_matches(&q, &both) == rows[i].both);
        EXPECT(insights_matches(&q, &one) == rows[i].one);
    }
}

// ---- Run, as GetMetricData runs them

static void put_of(struct world *w, const char *host, const char *zone, double value)
{
    cloudwatch_Dimension dims[] = { { S("Host"), str_of(host) }, { S("Zone"), str_of(zone) } };
    cloudwatch_MetricDatum datum = {
        .metric_name = S("m"), .dimensions = { dims, 2, true }, .has_value = true, .value = value
    };
    struct cloudwatch_PutMetricData_in in = { .namespace = S("N"),
                                              .metric_data = { &datum, 1, true } };
    EXPECT_OK(cloudwatch_PutMetricData(call_of(w), &in));
}

static Str answer(struct world *w, const char *text)
{
    cloudwatch_MetricDataQuery query = {
        .id = S("q"), .expression = str_of(text), .has_period = true, .period = 60
    };
    struct cloudwatch_GetMetricData_in in = { .metric_data_queries = { &query, 1, true },
                                              .start_time = START_S * NS_PER_S,
                                              .end_time = (START_S + 120) * NS_PER_S,
                                              .scan_by = cloudwatch_ScanBy_TimestampAscending };
    struct cloudwatch_GetMetricData_out out = { 0 };
    struct call *c = call_of(w);
    Err e = cloudwatch_GetMetricData(c, &in, &out);
    if (e.kind == ERR_FAULT)
        return c->error_text;
    EXPECT_OK(e);
    Str told = S("");
    for (size_t i = 0; i < out.metric_data_results.n; i++) {
        const cloudwatch_MetricDataResult *r = &out.metric_data_results.at[i];
        told = str_fmt(w->a, "%.*s%s%.*s:", FMT(told), i > 0 ? "; " : "", FMT(r->label));
        for (size_t k = 0; k < r->values.n; k++)
            told = str_fmt(w->a, "%.*s %g", FMT(told), r->values.at[k]);
    }
    return told;
}

TEST(metrics_are_added_up_by_group_and_period)
{
    struct world w;
    world_open(&w, a);
    put_of(&w, "h1", "a", 1);
    put_of(&w, "h2", "a", 5);
    put_of(&w, "h3", "b", 7);
    put_of(&w, "h3", "b", 9);
    world_clock_s += 60;
    put_of(&w, "h1", "a", 10);
    EXPECT_STR(S("q: 5.5 10"), answer(&w, "SELECT AVG(m) FROM N"));
    EXPECT_STR(S("q: 4 1"), answer(&w, "SELECT COUNT(m) FROM SCHEMA(N, Host, Zone)"));
    EXPECT_STR(S("a: 6 10; b: 16"), answer(&w, "SELECT SUM(m) FROM N GROUP BY Zone"));
    EXPECT_STR(S("h3 b: 9; h1 a: 1 10"),
               answer(&w, "SELECT MAX(m) FROM N WHERE Host != 'h2' GROUP BY Host, Zone ORDER BY "
                          "AVG() DESC"));
    EXPECT_STR(S("h3: 7; h2: 5"),
               answer(&w, "SELECT MIN(m) FROM N GROUP BY Host ORDER BY MIN() DESC LIMIT 2"));
    EXPECT_STR(S("h1: 1 10"), answer(&w, "SELECT MIN(m) FROM N GROUP BY Host LIMIT 1"));
    EXPECT_STR(S("q:"), answer(&w, "SELECT MIN(m) FROM Other"));
    EXPECT_STR(S(""), answer(&w, "SELECT MIN(m) FROM Other GROUP BY Host"));
    EXPECT(str_search(answer(&w, "SELECT MIN(m) FROM"), S("a name is missing")) <
           answer(&w, "SELECT MIN(m) FROM").n);
    world_close(&w);
}
