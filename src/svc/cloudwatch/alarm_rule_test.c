// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/alarm_rule.h"
#include "base/buf.h"
#include "base/test.h"

// The alarm a is in ALARM, o in OK, every other one has no data.
static bool holds(struct arena *a, const char *text)
{
    AlarmRule r;
    EXPECT_OK(rule_parse(a, str_of(text), &r));
    Str *states = arena_new(a, Str, r.alarm_count + 1);
    for (size_t i = 0; i < r.alarm_count; i++)
        states[i] = str_eq(r.alarms[i], S("a"))   ? S("ALARM")
                    : str_eq(r.alarms[i], S("o")) ? S("OK")
                                                  : S("INSUFFICIENT_DATA");
    return rule_holds(&r, states);
}

TEST(a_rule_holds_as_its_operators_say)
{
    static const struct {
        const char *text;
        bool want;
    } rules[] = {
        { "TRUE", true },
        { "FALSE", false },
        { "ALARM(a)", true },
        { "ALARM(o)", false },
        { "OK(o)", true },
        { "INSUFFICIENT_DATA(x)", true },
        { "NOT ALARM(a)", false },
        { "NOT NOT ALARM(a)", true },
        { "ALARM(a) AND OK(o)", true },
        { "ALARM(a) AND ALARM(o)", false },
        { "ALARM(a) OR ALARM(o)", true },
        { "TRUE OR FALSE AND FALSE", true }, // AND binds more
        { "(TRUE OR FALSE) AND FALSE", false },
        { "NOT FALSE AND FALSE", false }, // and NOT most
        { "NOT (FALSE AND FALSE)", true },
        { " ( ( ALARM ( \"a\" ) ) ) ", true },
        { "FALSE\nOR\tOK(o)", true },
    };
    for (size_t i = 0; i < COUNT_OF(rules); i++)
        EXPECT(holds(a, rules[i].text) == rules[i].want);
}

TEST(names_are_told_once_and_without_their_quotes)
{
    AlarmRule r;
    EXPECT_OK(rule_parse(a,
                         S("ALARM(\"two words (x)\") OR OK(arn:aws:cloudwatch:r:1:alarm:n) OR "
                           "ALARM(\"say \\\"hi\\\" \\\\ \\n\") AND OK(\"two words (x)\")"),
                         &r));
    EXPECT_INT(3, r.alarm_count);
    EXPECT_STR(S("two words (x)"), r.alarms[0]);
    EXPECT_STR(S("arn:aws:cloudwatch:r:1:alarm:n"), r.alarms[1]);
    EXPECT_STR(S("say \"hi\" \\ \\n"), r.alarms[2]);
}

TEST(what_is_no_rule_is_refused)
{
    static const char *const bad[] = {
        "",
        " ",
        "ALARM",
        "ALARM(",
        "ALARM()",
        "ALARM(\"\")",
        "ALARM(a",
        "ALARM(a b)",
        "ALARM(\"a)",
        "ALARM(a))",
        "(ALARM(a)",
        "AND",
        "NOT",
        "TRUE AND",
        "TRUE FALSE",
        "TRUEE",
        "true",
        "alarm(a)",
        "ALARMS(a)",
        "TRUE ANDOK(a)",
        "ALARM(\"a\"b)",
        "WARN(a)",
        "TRUE OR OR TRUE",
        "ALARM((a))",
    };
    AlarmRule r;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        EXPECT_ERR(ERR_INVALID, rule_parse(a, str_of(bad[i]), &r));
}

// `what` so many times, each '#' in it a number, and then `last`.
static Str repeated(struct arena *a, const char *what, size_t n, const char *last)
{
    AUTO_BUF(b);
    for (size_t i = 0; i < n; i++)
        for (const char *c = what; *c != '\0'; c++)
            if (*c == '#')
                buf_addf(&b, "%zu", i);
            else
                buf_add_byte(&b, *c);
    buf_add(&b, str_of(last));
    return str_dup(a, buf_str(&b));
}

TEST(rules_have_limits)
{
    AlarmRule r;
    EXPECT_OK(rule_parse(a, repeated(a, "ALARM(a#) OR ", 99, "TRUE"), &r));
    EXPECT_OK(rule_parse(a, repeated(a, "ALARM(a#) OR ", 100, "ALARM(a1)"), &r));
    EXPECT_ERR(ERR_LIMIT, rule_parse(a, repeated(a, "ALARM(a#) OR ", 101, "TRUE"), &r));
    EXPECT_OK(rule_parse(a, repeated(a, "TRUE OR ", 499, "TRUE"), &r));
    EXPECT_ERR(ERR_LIMIT, rule_parse(a, repeated(a, "TRUE OR ", 500, "TRUE"), &r));
    EXPECT_OK(rule_parse(a, repeated(a, "NOT ", 100, "TRUE"), &r));
    EXPECT_ERR(ERR_LIMIT, rule_parse(a, repeated(a, "NOT ", 101, "TRUE"), &r));
    EXPECT_ERR(ERR_LIMIT, rule_parse(a, repeated(a, "(", 101, "TRUE"), &r));
    EXPECT_ERR(ERR_LIMIT, rule_parse(a, repeated(a, "          ", 1025, "TRUE"), &r));
}
