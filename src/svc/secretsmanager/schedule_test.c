// SPDX-License-Identifier: Apache-2.0
// When secrets are rotated; the examples are those of the user guide.
#include "svc/secretsmanager/schedule.h"
#include "base/test.h"
#include "base/time.h"

static struct secretsmanager_RotationRulesType rules(const char *expression, const char *duration)
{
    return (struct secretsmanager_RotationRulesType){ .schedule_expression = str_of(expression),
                                                      .duration = str_of(duration) };
}

static int64_t ms_of(const char *time)
{
    int64_t ns;
    EXPECT_OK(time_parse_iso(str_of(time), &ns));
    return ns / NS_PER_MS;
}

static Str next_of(struct arena *a, const char *expression, const char *duration, const char *after)
{
    struct secretsmanager_RotationRulesType r = rules(expression, duration);
    int64_t ms = schedule_next_ms(&r, ms_of(after));
    return ms == 0 ? S("never") : str_head(time_iso_ms(a, ms * NS_PER_MS), 16);
}

TEST(rotations_come_when_the_schedule_says)
{
    static const struct {
        const char *expression, *duration, *after, *next;
    } cases[] = {
        { "rate(4 hours)", NULL, "2026-11-29T01:30:00Z", "2026-11-29T05:30" },
        { "rate(10 days)", NULL, "2026-11-29T01:30:00Z", "2026-12-09T01:30" },
        { "rate(1 day)", "3h", "2026-11-29T01:30:00Z", "2026-11-30T00:00" },
        { "cron(0 8 * * ? *)", NULL, "2026-11-29T08:00:00Z", "2026-11-30T08:00" },
        { "cron(0 8 * * ? *)", NULL, "2026-11-29T07:59:59Z", "2026-11-29T08:00" },
        { "cron(0 8/8 * * ? *)", NULL, "2026-11-29T08:00:00Z", "2026-11-29T16:00" },
        { "cron(0 2/10 * * ? *)", NULL, "2026-11-29T22:00:00Z", "2026-11-30T02:00" },
        { "cron(0 4/12 * * ? *)", NULL, "2026-11-29T16:00:00Z", "2026-11-30T04:00" },
        { "cron(0 0 ? * SUN *)", NULL, "2026-11-29T00:00:00Z", "2026-12-06T00:00" },
        { "cron(0 0 ? * 2-6 *)", NULL, "2026-11-27T00:00:00Z", "2026-11-30T00:00" },
        { "cron(0 0 ? * L *)", NULL, "2026-11-29T00:00:00Z", "2026-12-05T00:00" },
        { "cron(0 0 ? * SUN#1 *)", NULL, "2026-12-06T00:00:00Z", "2027-01-03T00:00" },
        { "cron(0 0 ? * FRIL *)", NULL, "2026-11-29T00:00:00Z", "2026-12-25T00:00" },
        { "cron(0 17 L * ? *)", NULL, "2027-02-01T00:00:00Z", "2027-02-28T17:00" },
        { "cron(0 0 1 */3 ? *)", NULL, "2026-11-29T00:00:00Z", "2027-01-01T00:00" },
        { "cron(0 0 1 JAN,apr,7 ? *)", NULL, "2027-01-01T00:00:00Z", "2027-04-01T00:00" },
        { "cron(0 0 29 2 ? *)", NULL, "2027-03-01T00:00:00Z", "2028-02-29T00:00" },
        { "cron(0 0 31 2 ? *)", NULL, "2027-03-01T00:00:00Z", "never" },
        { "nonsense", NULL, "2027-03-01T00:00:00Z", "never" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        EXPECT_STR(str_of(cases[i].next),
                   next_of(a, cases[i].expression, cases[i].duration, cases[i].after));
    EXPECT_INT(0, schedule_next_ms(NULL, 1));
}

TEST(schedules_that_cannot_be_are_refused)
{
    static const char *const bad[] = {
        "",
        "rate()",
        "rate(1)",
        "rate(x days)",
        "rate(0 days)",
        "rate(3 hours)",
        "rate(1000 days)",
        "rate(1 week)",
        "rate(5 days",
        "cron()",
        "cron(0 8 * * ? *",
        "cron(0 8 * * ?)",
        "cron(0 8 * * ? * *)",
        "cron(5 8 * * ? *)",
        "cron(0 8 * * ? 2027)",
        "cron(0 24 * * ? *)",
        "cron(0 8 0 * ? *)",
        "cron(0 8 32 * ? *)",
        "cron(0 8 * 13 ? *)",
        "cron(0 8 * FOO ? *)",
        "cron(0 8 ? * 8 *)",
        "cron(0 8 * * * *)",
        "cron(0 8 ? * ? *)",
        "cron(0 8 ? * SUN#6 *)",
        "cron(0 8 ? * SUN#0 *)",
        "cron(0 8 ? * XL *)",
        "cron(0 8, * * ? *)",
        "cron(0 8-4 * * ? *)",
        "cron(0 8/0 * * ? *)",
        "cron(0 */-1 * * ? *)",
        "cron(0 * * * ? *)",
        "cron(0 1,22 * * ? *)",
        "cron(0 8,11 * * ? *)",
        "cron(0 8 31 2 ? *)",
        "cron(0  8 * * ? *)",
        "cron(0 8 -1 * ? *)",
        "cron(0 99999999999999999999 * * ? *)",
    };
    int64_t now_ms = ms_of("2026-11-29T08:00:00Z");
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct secretsmanager_RotationRulesType r = rules(bad[i], NULL);
        if (schedule_objection(&r, now_ms).p == NULL)
            EXPECT_STR(S("refused"), str_of(bad[i]));
    }
    struct secretsmanager_RotationRulesType r = { .has_automatically_after_days = true,
                                                  .automatically_after_days = 30 };
    EXPECT(schedule_objection(&r, now_ms).p == NULL);
    r.schedule_expression = S("rate(30 days)");
    EXPECT_STR(S("You cannot specify both rotation frequency and schedule expression together."),
               schedule_objection(&r, now_ms));
    r = (struct secretsmanager_RotationRulesType){ 0 };
    EXPECT(schedule_objection(&r, now_ms).p != NULL);
}

TEST(windows_end_with_the_day_and_before_the_next_one)
{
    static const struct {
        const char *expression, *longest, *too_long;
    } cases[] = { { "rate(4 hours)", "4h", "5h" },        { "rate(36 hours)", "24h", "25h" },
                  { "rate(10 days)", "24h", "25h" },      { "cron(0 8 * * ? *)", "16h", "17h" },
                  { "cron(0 0 ? * SUN *)", "24h", "0h" }, { "cron(0 8/8 * * ? *)", "8h", "9h" } };
    int64_t now_ms = ms_of("2026-11-29T08:00:00Z");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct secretsmanager_RotationRulesType r = rules(cases[i].expression, cases[i].longest);
        EXPECT(schedule_objection(&r, now_ms).p == NULL);
        r = rules(cases[i].expression, cases[i].too_long);
        EXPECT(schedule_objection(&r, now_ms).p != NULL);
    }
}
