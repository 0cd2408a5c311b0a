// SPDX-License-Identifier: Apache-2.0
// Documents, patterns and conditions.
#include "access/policy_priv.h"
#include "base/test.h"

static Err open(PolicyKind kind, const char *document)
{
    AUTO(policy) p = NULL;
    return policy_open(kind, S("test"), str_of(document), &p);
}

#define ALLOW "\"Effect\":\"Allow\",\"Action\":\"kinesis:*\",\"Resource\":\"*\""

TEST(what_is_no_policy_is_refused)
{
    static const struct {
        PolicyKind kind;
        const char *document;
    } bad[] = {
        { POLICY_IDENTITY, "" },
        { POLICY_IDENTITY, "[]" },
        { POLICY_IDENTITY, "{}" },
        { POLICY_IDENTITY, "{\"Statement\":[]}" },
        { POLICY_IDENTITY, "{\"Statement\":[{" ALLOW "}]" },
        { POLICY_IDENTITY, "{\"Version\":\"2011-10-17\",\"Statement\":[{" ALLOW "}]}" },
        { POLICY_IDENTITY, "{\"Statement\":[{" ALLOW "}],\"Extra\":1}" },
        { POLICY_IDENTITY, "{\"Statement\":[{" ALLOW ",\"Extra\":1}]}" },
        { POLICY_IDENTITY, "{\"Statement\":[{" ALLOW ",\"Effect\":\"Deny\"}]}" },
        { POLICY_IDENTITY, "{\"Statement\":[{" ALLOW ",\"NotAction\":\"s3:*\"}]}" },
        { POLICY_IDENTITY, "{\"Statement\":[{" ALLOW ",\"Principal\":\"*\"}]}" },
        { POLICY_IDENTITY, "{\"Statement\":[{" ALLOW ",\"Sid\":\"a b\"}]}" },
        { POLICY_IDENTITY,
          "{\"Statement\":[{" ALLOW ",\"Condition\":{\"Equals\":{\"a\":\"b\"}}}]}" },
        { POLICY_IDENTITY,
          "{\"Statement\":[{" ALLOW ",\"Condition\":{\"NumericEquals\":{\"a\":\"b\"}}}]}" },
        { POLICY_IDENTITY,
          "{\"Statement\":[{" ALLOW ",\"Condition\":{\"IpAddress\":{\"a\":\"1.2.3.4/33\"}}}]}" },
        { POLICY_IDENTITY, "{\"Statement\":[{" ALLOW ",\"Condition\":{\"NullIfExists\":{\"a\":"
                           "\"true\"}}}]}" },
        { POLICY_IDENTITY,
          "{\"Statement\":{\"Effect\":\"allow\",\"Action\":\"*\",\"Resource\":\"*\"}}" },
        { POLICY_IDENTITY, "{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"PutRecord\","
                           "\"Resource\":\"*\"}}" },
        { POLICY_IDENTITY, "{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":"
                           "\"clicks\"}}" },
        { POLICY_IDENTITY, "{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\"}}" },
        { POLICY_IDENTITY, "{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\","
                           "\"Action\":\"*\",\"Resource\":\"arn:${aws:username\"}}" },
        { POLICY_RESOURCE, "{\"Statement\":{" ALLOW "}}" },
        { POLICY_RESOURCE, "{\"Statement\":{" ALLOW ",\"Principal\":{\"AWS\":\"bob\"}}}" },
        { POLICY_RESOURCE, "{\"Statement\":{" ALLOW ",\"Principal\":{\"Others\":\"*\"}}}" },
        { POLICY_TRUST, "{\"Statement\":{" ALLOW ",\"Principal\":\"*\"}}" },
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (open(bad[i].kind, bad[i].document).kind != ERR_INVALID)
            test_fail(__FILE__, __LINE__, "accepted: %s", bad[i].document);
}

TEST(what_is_a_policy_is_accepted_and_keeps_its_text)
{
    AUTO(policy) p = NULL;
    Str text = S("{\"Statement\":[{" ALLOW ",\"Sid\":\"One\"},{" ALLOW "}]}");
    EXPECT_OK(policy_open(POLICY_IDENTITY, S("arn:x"), text, &p));
    EXPECT_STR(text, policy_document(p));
    EXPECT_STR(S("arn:x"), policy_name(p));
    EXPECT_INT(2, policy_statement_count(p));
    EXPECT_STR(S("One"), policy_sid(p, 0));
    EXPECT(policy_sid(p, 1).p == NULL);
    EXPECT_OK(open(POLICY_RESOURCE, "{\"Statement\":{" ALLOW ",\"Principal\":{\"AWS\":[\"*\"]}}}"));
    EXPECT_OK(open(POLICY_TRUST,
                   "{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"sts:AssumeRole\","
                   "\"Principal\":{\"Service\":\"lambda.amazonaws.com\"}}}"));
}

TEST(a_policy_that_is_too_large_is_refused)
{
    AUTO(policy) p = NULL;
    char *text = arena_alloc(a, POLICY_BYTES_MAX + 1, 1);
    memset(text, ' ', POLICY_BYTES_MAX + 1);
    EXPECT_ERR(ERR_LIMIT,
               policy_open(POLICY_IDENTITY, S("x"), str_from(text, POLICY_BYTES_MAX + 1), &p));
}

static bool fits(struct arena *a, Str pattern, Str text, bool nocase)
{
    Str made;
    EXPECT_OK(pattern_make(a, pattern, true, false, &made));
    return pattern_fits(made, text, nocase);
}

TEST(wildcards_fit_any_text_or_one_character)
{
    EXPECT(fits(a, S("*"), S(""), false) && fits(a, S("*"), S("anything"), false));
    EXPECT(fits(a, S("a*c*e"), S("abcde"), false) && !fits(a, S("a*c*e"), S("abcdef"), false));
    EXPECT(fits(a, S("a?c"), S("abc"), false) && !fits(a, S("a?c"), S("ac"), false));
    EXPECT(fits(a, S("*ab"), S("aab"), false) && fits(a, S("**"), S(""), false));
    EXPECT(!fits(a, S(""), S("a"), false) && fits(a, S(""), S(""), false));
    EXPECT(fits(a, S("kinesis:put*"), S("kinesis:PutRecord"), true));
    EXPECT(!fits(a, S("kinesis:put*"), S("kinesis:PutRecord"), false));
}

TEST(a_pattern_with_many_stars_takes_no_longer_than_it_may)
{
    char pattern[400], text[4000];
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = i % 2 ? 'a' : '*';
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = 'b';
    EXPECT(!fits(a, str_from(pattern, sizeof pattern), str_from(text, sizeof text), false));
}

TEST(in_arns_wildcards_do_not_reach_over_the_first_five_colons)
{
    Str pattern, arn = S("arn:aws:kinesis:us-east-1:111122223333:stream/a:b");
    EXPECT_OK(pattern_make(a, S("arn:aws:kinesis:*:1:stream/a*"), true, false, &pattern));
    EXPECT(pattern_fits_arn(pattern, S("arn:aws:kinesis:us-east-1:1:stream/a")));
    EXPECT(!pattern_fits_arn(pattern, S("arn:aws:kinesis:us-east-1:2:1:stream/a")));
    EXPECT_OK(pattern_make(a, S("arn:aws:kinesis:*:*:stream/a*"), true, false, &pattern));
    EXPECT(pattern_fits_arn(pattern, arn));
    EXPECT_OK(
        pattern_make(a, S("arn:aws:kinesis:us-*:111122223333:stream/?:b"), true, false, &pattern));
    EXPECT(pattern_fits_arn(pattern, arn));
    EXPECT_OK(pattern_make(a, S("*"), true, false, &pattern));
    EXPECT(pattern_fits_arn(pattern, arn) && pattern_fits_arn(pattern, S("*")));
}

// ---- Conditions

static bool holds(struct arena *a, const char *op, const char *want, const Str *values, size_t n)
{
    AUTO(policy) p = NULL;
    Str text = str_fmt(a,
                       "{\"Version\":\"2012-10-17\",\"Statement\":{" ALLOW
                       ",\"Condition\":{\"%s\":{\"Test:Key\":%s}}}}",
                       op, want);
    EXPECT_OK(policy_open(POLICY_IDENTITY, S("x"), text, &p));
    const Str user = S("bob");
    const AccessValue context[] = { { S("aws:username"), &user, 1 }, { S("test:key"), values, n } };
    AccessRequest r = { .action = S("kinesis:PutRecord"),
                        .resource = S("*"),
                        .principal = S("arn:aws:iam::111122223333:user/bob"),
                        .principal_account = S("111122223333"),
                        .resource_account = S("111122223333"),
                        .context = context,
                        .context_count = n > 0 ? 2 : 1 };
    AccessPolicies policies = { .identity = &p, .identity_count = 1 };
    AccessDecision d;
    access_decide(&r, &policies, &d);
    EXPECT(d.conditional);
    return d.reason == ACCESS_ALLOWED;
}

TEST(each_operator_compares_as_its_name_says)
{
    static const struct {
        const char *op, *want, *have;
        bool holds;
    } cases[] = {
        { "StringEquals", "\"a\"", "a", true },
        { "StringEquals", "\"a\"", "A", false },
        { "StringEquals", "\"a*\"", "ab", false },
        { "StringEquals", "[\"x\",\"a\"]", "a", true },
        { "StringEquals", "\"${aws:username}\"", "bob", true },
        { "StringEquals", "\"${aws:none}\"", "bob", false },
        { "StringEquals", "\"${aws:none, 'bob'}\"", "bob", true },
        { "StringNotEquals", "[\"x\",\"a\"]", "a", false },
        { "StringNotEquals", "[\"x\",\"y\"]", "a", true },
        { "StringEqualsIgnoreCase", "\"a\"", "A", true },
        { "StringNotEqualsIgnoreCase", "\"a\"", "A", false },
        { "StringLike", "\"a*\"", "abc", true },
        { "StringLike", "\"a${*}\"", "abc", false },
        { "StringLike", "\"a${*}\"", "a*", true },
        { "StringNotLike", "\"a*\"", "abc", false },
        { "NumericEquals", "5", "5.0", true },
        { "NumericNotEquals", "\"5\"", "6", true },
        { "NumericLessThan", "\"5\"", "5", false },
        { "NumericLessThanEquals", "\"5\"", "5", true },
        { "NumericGreaterThan", "\"5\"", "6", true },
        { "NumericGreaterThanEquals", "\"5\"", "4", false },
        { "NumericEquals", "\"5\"", "five", false },
        { "DateEquals", "\"2026-01-01\"", "2026-01-01T00:00:00Z", true },
        { "DateLessThan", "\"2026-01-02T00:00:00Z\"", "2026-01-01T00:00:00Z", true },
        { "DateGreaterThan", "\"1767225600\"", "2026-01-01T00:00:01Z", true },
        { "Bool", "\"true\"", "True", true },
        { "Bool", "true", "false", false },
        { "IpAddress", "\"203.0.113.0/24\"", "203.0.113.255", true },
        { "IpAddress", "\"203.0.113.0/24\"", "203.0.114.0", false },
        { "IpAddress", "\"203.0.113.7\"", "203.0.113.7", true },
        { "IpAddress", "\"2001:db8::/33\"", "2001:db8:7fff::1", true },
        { "IpAddress", "\"2001:db8::/33\"", "2001:db8:8000::1", false },
        { "IpAddress", "\"0.0.0.0/0\"", "::1", false },
        { "NotIpAddress", "\"203.0.113.0/24\"", "203.0.113.1", false },
        { "ArnLike", "\"arn:aws:s3:::a*\"", "arn:aws:s3:::abc", true },
        { "ArnEquals", "\"arn:aws:*:::abc\"", "arn:aws:s3:::abc", true },
        { "ArnNotLike", "\"arn:aws:s3:::a*\"", "arn:aws:s3:::abc", false },
        { "Null", "\"true\"", "x", false },
        { "Null", "\"false\"", "x", true },
        { "StringEqualsIfExists", "\"a\"", "b", false },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Str have = str_of(cases[i].have);
        if (holds(a, cases[i].op, cases[i].want, &have, 1) != cases[i].holds)
            test_fail(__FILE__, __LINE__, "%s %s of %s", cases[i].op, cases[i].want, cases[i].have);
    }
}

TEST(a_key_that_the_request_has_not_is_told_from_one_that_differs)
{
    EXPECT(!holds(a, "StringEquals", "\"a\"", NULL, 0));
    EXPECT(holds(a, "StringNotEquals", "\"a\"", NULL, 0));
    EXPECT(holds(a, "StringEqualsIfExists", "\"a\"", NULL, 0));
    EXPECT(holds(a, "Null", "\"true\"", NULL, 0));
    EXPECT(!holds(a, "Null", "\"false\"", NULL, 0));
    EXPECT(holds(a, "ForAllValues:StringEquals", "\"a\"", NULL, 0));
    EXPECT(!holds(a, "ForAnyValue:StringEquals", "\"a\"", NULL, 0));
}

TEST(of_several_values_all_or_any_must_be_right)
{
    const Str ab[] = { S("a"), S("b") }, ax[] = { S("a"), S("x") };
    EXPECT(holds(a, "ForAllValues:StringEquals", "[\"a\",\"b\",\"c\"]", ab, 2));
    EXPECT(!holds(a, "ForAllValues:StringEquals", "[\"a\",\"b\",\"c\"]", ax, 2));
    EXPECT(holds(a, "ForAnyValue:StringEquals", "[\"a\"]", ax, 2));
    EXPECT(!holds(a, "ForAnyValue:StringEquals", "[\"c\"]", ax, 2));
    EXPECT(holds(a, "ForAnyValue:StringNotEquals", "[\"a\"]", ax, 2));
    EXPECT(!holds(a, "ForAllValues:StringNotEquals", "[\"a\"]", ax, 2));
    EXPECT(holds(a, "StringEquals", "\"x\"", ax, 2));
    EXPECT(!holds(a, "StringNotEquals", "\"x\"", ax, 2));
}
