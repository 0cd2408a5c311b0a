// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "delivery/prefix.h"
#include "delivery/zone.h"
#include "os/io.h"

#define WHEN_MS 1535365870123 // 2018-08-27T10:31:10.123Z, a Monday

static Str evaluated(struct arena *a, PrefixPlace place, Str text, Str base, Str zone,
                     int64_t at_ms)
{
    AUTO(prefix) p = NULL;
    Str problem = S(""), got;
    PrefixValues v = { .oldest_ms = at_ms, .error_type = "processing-failed", .io = io_real() };
    EXPECT_OK(prefix_open(place, text, base, zone, &p, a, &problem));
    EXPECT_OK(prefix_evaluate(p, a, &v, &got));
    return got;
}

static Str data(struct arena *a, Str text)
{
    return evaluated(a, PREFIX_DATA, text, (Str){ 0 }, (Str){ 0 }, WHEN_MS);
}

static Str at_time(struct arena *a, Str pattern, Str zone, int64_t at_ms)
{
    Str text = str_cat3(a, S("!{timestamp:"), pattern, S("}"));
    return evaluated(a, PREFIX_DATA, text, (Str){ 0 }, zone, at_ms);
}

static void expect_refused(struct arena *a, PrefixPlace place, Str text, Str base, Str want)
{
    AUTO(prefix) p = NULL;
    Str problem = S("");
    EXPECT_ERR(ERR_INVALID, prefix_open(place, text, base, (Str){ 0 }, &p, a, &problem));
    EXPECT_STR(want, problem);
}

// The five rows of the developer guide's table in "Custom prefixes for Amazon S3 objects". The hour
// belongs to its first and last row, too: objects on record have it.
TEST(the_examples_of_the_developer_guide)
{
    const Str none = { 0 };
    EXPECT_STR(S("2018/08/27/10/"), data(a, none));
    EXPECT_STR(S("myFirehoseFailures/processing-failed/"),
               evaluated(a, PREFIX_ERRORS, S("myFirehoseFailures/!{firehose:error-output-type}/"),
                         none, none, WHEN_MS));

    expect_refused(a, PREFIX_ERRORS, none, S("!{timestamp:yyyy/MM/dd}"),
                   S("ErrorOutputPrefix cannot be null or empty when Prefix contains "
                     "expressions."));

    Str got = data(a, S("myFirehose/DeliveredYear=!{timestamp:yyyy}/anyMonth/"
                        "rand=!{firehose:random-string}"));
    EXPECT(str_starts(got, S("myFirehose/DeliveredYear=2018/anyMonth/rand=")));
    EXPECT_INT(44 + 11, got.n);
    EXPECT_STR(S("myFirehoseFailures/processing-failed/2018/anyMonth/27"),
               evaluated(a, PREFIX_ERRORS,
                         S("myFirehoseFailures/!{firehose:error-output-type}/"
                           "!{timestamp:yyyy}/anyMonth/!{timestamp:dd}"),
                         none, none, WHEN_MS));

    EXPECT_STR(S("myPrefix/year=2018/month=08/day=27/hour=10/"),
               data(a, S("myPrefix/year=!{timestamp:yyyy}/month=!{timestamp:MM}/"
                         "day=!{timestamp:dd}/hour=!{timestamp:HH}/")));
    EXPECT_STR(
        S("myErrorPrefix/year=2018/month=08/day=27/hour=10/processing-failed"),
        evaluated(a, PREFIX_ERRORS,
                  S("myErrorPrefix/year=!{timestamp:yyyy}/month=!{timestamp:MM}/"
                    "day=!{timestamp:dd}/hour=!{timestamp:HH}/!{firehose:error-output-type}"),
                  none, none, WHEN_MS));

    EXPECT_STR(S("myFirehosePrefix/2018/08/27/10/"), data(a, S("myFirehosePrefix/")));
    EXPECT_STR(S("myFirehosePrefix/processing-failed/2018/08/27/10/"),
               evaluated(a, PREFIX_ERRORS, none, S("myFirehosePrefix/"), none, WHEN_MS));
}

TEST(a_prefix_without_a_time_gets_one)
{
    Str got = data(a, S("a/!{firehose:random-string}/"));
    EXPECT(str_ends(got, S("/2018/08/27/10/")));
    EXPECT_STR(
        S("errors/processing-failed/2018/08/27/10/"),
        evaluated(a, PREFIX_ERRORS, S("errors/"), S("x/!{timestamp:yyyy}/"), (Str){ 0 }, WHEN_MS));
}

TEST(patterns_are_those_of_java)
{
    static const struct {
        Str pattern, want;
    } cases[] = {
        { S_INIT("y"), S_INIT("2018") },
        { S_INIT("yy-uuuu-YYYY"), S_INIT("18-2018-2018") },
        { S_INIT("yyyyy"), S_INIT("02018") },
        { S_INIT("M MM MMM MMMM MMMMM"), S_INIT("8 08 Aug August A") },
        { S_INIT("d dd D DDD"), S_INIT("27 27 239 239") },
        { S_INIT("H HH h hh k kk K"), S_INIT("10 10 10 10 10 10 10") },
        { S_INIT("m mm s ss"), S_INIT("31 31 10 10") },
        { S_INIT("S SSS SSSSSS"), S_INIT("1 123 123000") },
        { S_INIT("a"), S_INIT("AM") },
        { S_INIT("E EEE EEEE EEEEE e"), S_INIT("Mon Mon Monday M 2") },
        { S_INIT("w ww W"), S_INIT("35 35 5") },
        { S_INIT("Q QQ QQQ QQQQ"), S_INIT("3 03 Q3 3rd quarter") },
        { S_INIT("VV z"), S_INIT("UTC UTC") },
        { S_INIT("x xx xxx X"), S_INIT("+00 +0000 +00:00 Z") },
        { S_INIT("yyyy'year'MM''dd"), S_INIT("2018year08'27") },
        { S_INIT("'it''s'"), S_INIT("it's") },
        { S_INIT("yyyy-MM-dd_HH.mm"), S_INIT("2018-08-27_10.31") },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        EXPECT_STR(cases[i].want, at_time(a, cases[i].pattern, (Str){ 0 }, WHEN_MS));
}

TEST(noon_and_midnight_in_twelve_hours)
{
    int64_t midnight_ms = 1535328000000; // 2018-08-27
    EXPECT_STR(S("12 24 0 AM"), at_time(a, S("h k K a"), (Str){ 0 }, midnight_ms));
    EXPECT_STR(S("12 12 0 PM"), at_time(a, S("h k K a"), (Str){ 0 }, midnight_ms + 12 * 3600000));
}

// The last days of a year in which the new year's first week has begun.
TEST(weeks_begin_on_sunday_and_the_first_has_the_first_of_january)
{
    int64_t new_years_eve_ms = 1546214400000; // 2018-12-31, a Monday
    EXPECT_STR(S("2019-1"), at_time(a, S("YYYY-w"), (Str){ 0 }, new_years_eve_ms));
    EXPECT_STR(S("2018-52"), at_time(a, S("YYYY-w"), (Str){ 0 }, new_years_eve_ms - 2 * 86400000));
    EXPECT_STR(S("2019-1"), at_time(a, S("YYYY-w"), (Str){ 0 }, new_years_eve_ms - 86400000));
    EXPECT_STR(S("2019-1"), at_time(a, S("YYYY-w"), (Str){ 0 }, new_years_eve_ms + 86400000));
    EXPECT_STR(S("2019-2"), at_time(a, S("YYYY-w"), (Str){ 0 }, new_years_eve_ms + 6 * 86400000));
}

TEST(time_zones_move_all_of_it)
{
    EXPECT_STR(S("2018-08-27 12 CEST +02:00"),
               at_time(a, S("yyyy-MM-dd HH z xxx"), S("Europe/Berlin"), WHEN_MS));
    EXPECT_STR(S("2018-08-27 03 PDT -0700"),
               at_time(a, S("yyyy-MM-dd HH z xx"), S("America/Los_Angeles"), WHEN_MS));
    EXPECT_STR(S("16:01 +0530"), at_time(a, S("HH:mm XX"), S("Asia/Kolkata"), WHEN_MS));
    EXPECT_STR(S("America/Los_Angeles"), at_time(a, S("VV"), S("America/Los_Angeles"), WHEN_MS));
    // Beyond what the file lists, by its rule: winter and summer of 2060, and the south.
    int64_t winter_ms = 2841220800000, summer_ms = 2856945600000; // 2060-01-13, 2060-07-13
    EXPECT_STR(S("CET CEST"), str_cat3(a, at_time(a, S("z"), S("Europe/Berlin"), winter_ms), S(" "),
                                       at_time(a, S("z"), S("Europe/Berlin"), summer_ms)));
    EXPECT_STR(S("+11 +10"),
               str_cat3(a, at_time(a, S("x"), S("Australia/Sydney"), winter_ms), S(" "),
                        at_time(a, S("x"), S("Australia/Sydney"), summer_ms)));
}

static int64_t offset(const char *zone, int64_t at_s)
{
    AUTO(zone) z = NULL;
    Str name;
    EXPECT_OK(zone_open(str_of(zone), &z));
    return zone_offset_s(z, at_s, &name);
}

// To the second, where the clocks are changed: 2026-03-29 and 2026-10-25 at 01:00 UTC; and 2050 by
// the rule.
TEST(zones_change_at_their_second)
{
    EXPECT_INT(3600, offset("Europe/Berlin", 1774745999));
    EXPECT_INT(7200, offset("Europe/Berlin", 1774746000));
    EXPECT_INT(7200, offset("Europe/Berlin", 1792889999));
    EXPECT_INT(3600, offset("Europe/Berlin", 1792890000));
    int64_t march_s = 2531955600; // 2050-03-27T01:00:00Z
    EXPECT_INT(3600, offset("Europe/Berlin", march_s - 1));
    EXPECT_INT(7200, offset("Europe/Berlin", march_s));
    EXPECT_INT(0, offset("UTC", march_s));
}

TEST(what_is_no_zone_is_refused)
{
    static const char *const names[] = { "Mars/Olympus",   "../../../etc/passwd",
                                         "/etc/passwd",    "",
                                         "Europe",         "zone.tab",
                                         "Europe/Berlin\n" };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        AUTO(zone) z = NULL;
        EXPECT_ERR(ERR_NOT_FOUND, zone_open(str_of(names[i]), &z));
    }
}

TEST(what_is_no_prefix_is_refused)
{
    const Str none = { 0 };
    expect_refused(a, PREFIX_DATA, S("a/!{timestamp:yyyy"), none,
                   S("An expression that begins with !{ must end with }."));
    expect_refused(a, PREFIX_DATA, S("!{yyyy}"), none,
                   S("The expression !{yyyy} has no namespace."));
    expect_refused(a, PREFIX_DATA, S("!{timestamp:yyyy-LL}"), none,
                   S("yyyy-LL is not a supported timestamp pattern."));
    expect_refused(a, PREFIX_DATA, S("!{timestamp:}"), none,
                   S(" is not a supported timestamp pattern."));
    expect_refused(a, PREFIX_DATA, S("!{timestamp:'yyyy}"), none,
                   S("'yyyy is not a supported timestamp pattern."));
    expect_refused(a, PREFIX_DATA, S("!{firehose:other}"), none,
                   S("The expression !{firehose:other} is not supported."));
    expect_refused(a, PREFIX_DATA, S("!{firehose:error-output-type}"), none,
                   S("Prefix cannot contain the expression !{firehose:error-output-type}."));
    expect_refused(a, PREFIX_ERRORS, S("!{timestamp:yyyy}"), none,
                   S("ErrorOutputPrefix must contain at least one instance of "
                     "!{firehose:error-output-type} when it contains expressions."));
    expect_refused(a, PREFIX_ERRORS, S("!{firehose:error-output-type}/!{partitionKeyFromQuery:id}"),
                   none,
                   S("ErrorOutputPrefix cannot contain expressions with the namespaces "
                     "partitionKeyFromQuery and partitionKeyFromLambda."));
}

// Characters are counted by one limit, bytes by that of S3's keys: an object must have a name.
TEST(a_prefix_leaves_room_for_the_name_of_an_object)
{
    static const Str none = { 0 }, wide = S_INIT("\xf0\x9f\xa6\x86");
    AUTO_BUF(b);
    for (size_t i = 0; i < 170; i++)
        buf_add(&b, wide);
    AUTO(prefix) p = NULL;
    Str problem;
    EXPECT_OK(prefix_open(PREFIX_DATA, buf_str(&b), none, none, &p, a, &problem));
    for (size_t i = 0; i < 10; i++)
        buf_add(&b, wide);
    expect_refused(a, PREFIX_DATA, buf_str(&b), none,
                   S("An evaluated prefix cannot be longer than 704 bytes."));
    expect_refused(a, PREFIX_ERRORS, buf_str(&b), none,
                   S("An evaluated prefix cannot be longer than 704 bytes."));
}

TEST(partition_keys_are_counted_and_must_be_there)
{
    AUTO(prefix) p = NULL;
    Str problem, got;
    size_t query, lambda;
    EXPECT_OK(prefix_open(PREFIX_DATA,
                          S("!{partitionKeyFromQuery:id}/!{partitionKeyFromLambda:kind}/"
                            "!{partitionKeyFromQuery:id}/!{timestamp:yyyy}/"),
                          (Str){ 0 }, (Str){ 0 }, &p, a, &problem));
    prefix_keys(p, &query, &lambda);
    EXPECT_INT(1, query);
    EXPECT_INT(1, lambda);
    const DeliveryPair id = { S_INIT("id"), S_INIT("7") }, kind = { S_INIT("kind"), S_INIT("x") };
    DeliveryRecord r = {
        .query_keys = &id, .query_key_count = 1, .lambda_keys = &kind, .lambda_key_count = 1
    };
    PrefixValues v = { .oldest_ms = WHEN_MS, .record = &r, .io = io_real() };
    EXPECT_OK(prefix_evaluate(p, a, &v, &got));
    EXPECT_STR(S("7/x/7/2018/"), got);
    r.lambda_key_count = 0;
    EXPECT_ERR(ERR_INVALID, prefix_evaluate(p, a, &v, &got));
    char *much = arena_alloc(a, 600, 1);
    for (size_t i = 0; i < 600; i++)
        much[i] = 'x';
    const DeliveryPair wide = { S_INIT("kind"), str_from(much, 600) };
    r.lambda_keys = &wide;
    r.lambda_key_count = 1;
    EXPECT_ERR(ERR_LIMIT, prefix_evaluate(p, a, &v, &got));
}

TEST(objects_are_called_by_stream_version_time_and_a_uuid)
{
    AUTO(prefix) p = NULL;
    Str problem, key, again;
    DeliveryConfig config = { .name = S("clicks"), .version = 3 };
    PrefixValues v = { .oldest_ms = WHEN_MS, .io = io_real() };
    EXPECT_OK(prefix_open(PREFIX_DATA, S("p/"), (Str){ 0 }, S("Europe/Berlin"), &p, a, &problem));
    EXPECT_OK(prefix_object_key(p, a, &v, &config, S(".gz"), &key));
    EXPECT_OK(prefix_object_key(p, a, &v, &config, S(".gz"), &again));
    Str head = S("p/2018/08/27/12/clicks-3-2018-08-27-12-31-10-");
    EXPECT(str_starts(key, head));
    EXPECT(str_ends(key, S(".gz")));
    EXPECT_INT(head.n + 36 + 3, key.n);
    EXPECT(!str_eq(key, again));
}
