// SPDX-License-Identifier: Apache-2.0
// The order of the decision, case by case, and its words.
#include "access/policy.h"
#include "base/test.h"

#define MINE "111122223333"
#define OTHERS "444455556666"
#define STREAM "arn:aws:kinesis:us-east-1:" MINE ":stream/clicks"
#define BOB "arn:aws:iam::" MINE ":user/bob"

static struct policy *made(PolicyKind kind, Str name, Str document)
{
    struct policy *p = NULL;
    EXPECT_OK(policy_open(kind, name, document, &p));
    return p;
}

static struct policy *identity(const char *effect, const char *action)
{
    AUTO(arena) tmp = arena_open();
    return made(POLICY_IDENTITY, S("arn:aws:iam::" MINE ":policy/p"),
                str_fmt(tmp,
                        "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Sid\":\"S1\",\"Effect\":"
                        "\"%s\",\"Action\":\"%s\",\"Resource\":\"*\"}]}",
                        effect, action));
}

static struct policy *resource(const char *effect, const char *principal)
{
    AUTO(arena) tmp = arena_open();
    return made(POLICY_RESOURCE, S(STREAM),
                str_fmt(tmp,
                        "{\"Statement\":[{\"Effect\":\"%s\",\"Principal\":{\"AWS\":\"%s\"},"
                        "\"Action\":\"kinesis:*\",\"Resource\":\"%s\"}]}",
                        effect, principal, STREAM));
}

static AccessRequest by(Str principal, Str account)
{
    return (AccessRequest){ .action = S("kinesis:PutRecord"),
                            .resource = S(STREAM),
                            .principal = principal,
                            .principal_account = account,
                            .resource_account = S(MINE) };
}

static AccessDecision decide(AccessRequest r, AccessPolicies p)
{
    AccessDecision d;
    access_decide(&r, &p, &d);
    return d;
}

TEST(nothing_allows_is_a_denial_and_the_sentence_is_the_one_of_aws)
{
    AccessRequest r = by(S(BOB), S(MINE));
    AccessDecision d = decide(r, (AccessPolicies){ 0 });
    EXPECT(d.reason == ACCESS_NOT_ALLOWED && d.source == ACCESS_BY_IDENTITY && d.policy == NULL);
    EXPECT_STR(S("User: " BOB
                 " is not authorized to perform: kinesis:PutRecord on resource: " STREAM
                 " because no identity-based policy allows the kinesis:PutRecord action"),
               access_denied_text(a, &r, &d));
    EXPECT_STR(S("no statement"), access_statement_text(a, &d));
}

TEST(an_identity_is_allowed_by_its_policy_and_denied_by_another)
{
    AUTO(policy) yes = identity("Allow", "kinesis:Put*");
    AUTO(policy) no = identity("Deny", "kinesis:PutRecord");
    struct policy *both[] = { yes, no };
    AccessRequest r = by(S(BOB), S(MINE));
    AccessDecision d = decide(r, (AccessPolicies){ .identity = both, .identity_count = 1 });
    EXPECT(d.reason == ACCESS_ALLOWED && d.policy == yes && !d.conditional);
    d = decide(r, (AccessPolicies){ .identity = both, .identity_count = 2 });
    EXPECT(d.reason == ACCESS_DENIED_BY_STATEMENT && d.policy == no);
    EXPECT_STR(S("User: " BOB
                 " is not authorized to perform: kinesis:PutRecord on resource: " STREAM
                 " with an explicit deny in an identity-based policy"),
               access_denied_text(a, &r, &d));
    EXPECT_STR(S("statement 1 (S1) of arn:aws:iam::" MINE ":policy/p"),
               access_statement_text(a, &d));
}

TEST(the_root_of_an_account_may_do_all_in_it_and_nothing_elsewhere_by_itself)
{
    AUTO(policy) no = resource("Deny", "*");
    AUTO(policy) yes = resource("Allow", OTHERS);
    AccessRequest own = by(S("arn:aws:iam::" MINE ":root"), S(MINE));
    AccessRequest other = by(S("arn:aws:iam::" OTHERS ":root"), S(OTHERS));
    EXPECT(decide(own, (AccessPolicies){ .resource = no }).reason == ACCESS_ALLOWED);
    EXPECT(decide(own, (AccessPolicies){ .resource = no }).source == ACCESS_BY_ROOT);
    AccessDecision d = decide(own, (AccessPolicies){ .resource = no, .resource_binds_root = true });
    EXPECT(d.reason == ACCESS_DENIED_BY_STATEMENT && d.source == ACCESS_BY_RESOURCE);
    d = decide(own, (AccessPolicies){ .resource = yes, .resource_binds_root = true });
    EXPECT(d.reason == ACCESS_ALLOWED && d.source == ACCESS_BY_ROOT);
    d = decide(other, (AccessPolicies){ 0 });
    EXPECT(d.reason == ACCESS_NOT_ALLOWED && d.source == ACCESS_BY_RESOURCE);
    EXPECT(decide(other, (AccessPolicies){ .resource = yes }).reason == ACCESS_ALLOWED);
    EXPECT(decide(other, (AccessPolicies){ .resource = no }).reason == ACCESS_DENIED_BY_STATEMENT);
}

TEST(what_something_else_grants_only_a_deny_refuses)
{
    AUTO(policy) no = resource("Deny", "*");
    AUTO(policy) yes = identity("Allow", "s3:*");
    AccessRequest stranger = by(S("arn:aws:iam::" OTHERS ":user/eve"), S(OTHERS));
    AccessPolicies p = { .granted = true };
    EXPECT(decide(stranger, p).reason == ACCESS_ALLOWED);
    p.boundary = yes; // which says nothing of it
    EXPECT(decide(stranger, p).reason == ACCESS_ALLOWED);
    p.resource = no;
    EXPECT(decide(stranger, p).reason == ACCESS_DENIED_BY_STATEMENT);
}

TEST(between_accounts_both_must_allow)
{
    AUTO(policy) yes = identity("Allow", "kinesis:*");
    AUTO(policy) shared = resource("Allow", "arn:aws:iam::" OTHERS ":root");
    AUTO(policy) named = resource("Allow", "arn:aws:iam::" OTHERS ":user/eve");
    AccessRequest r = by(S("arn:aws:iam::" OTHERS ":user/eve"), S(OTHERS));
    AccessDecision d = decide(r, (AccessPolicies){ .identity = &yes, .identity_count = 1 });
    EXPECT(d.reason == ACCESS_NOT_ALLOWED && d.source == ACCESS_BY_RESOURCE);
    d = decide(r, (AccessPolicies){ .resource = named });
    EXPECT(d.reason == ACCESS_NOT_ALLOWED && d.source == ACCESS_BY_IDENTITY);
    d = decide(r, (AccessPolicies){ .identity = &yes, .identity_count = 1, .resource = shared });
    EXPECT(d.reason == ACCESS_ALLOWED && d.source == ACCESS_BY_IDENTITY);
    r.principal = S("arn:aws:iam::" OTHERS ":user/mallory");
    d = decide(r, (AccessPolicies){ .identity = &yes, .identity_count = 1, .resource = named });
    EXPECT(d.reason == ACCESS_NOT_ALLOWED && d.source == ACCESS_BY_RESOURCE);
}

TEST(in_its_own_account_a_resource_policy_is_enough_unless_it_names_the_account)
{
    AUTO(policy) named = resource("Allow", BOB);
    AUTO(policy) anyone = resource("Allow", "*");
    AUTO(policy) account = resource("Allow", MINE);
    AccessRequest r = by(S(BOB), S(MINE));
    EXPECT(decide(r, (AccessPolicies){ .resource = named }).reason == ACCESS_ALLOWED);
    EXPECT(decide(r, (AccessPolicies){ .resource = anyone }).reason == ACCESS_ALLOWED);
    EXPECT(decide(r, (AccessPolicies){ .resource = account }).reason == ACCESS_NOT_ALLOWED);
}

TEST(boundaries_and_sessions_only_narrow)
{
    AUTO(policy) yes = identity("Allow", "kinesis:*");
    AUTO(policy) reads = identity("Allow", "kinesis:Get*");
    AUTO(policy) named = resource("Allow", BOB);
    AUTO(policy) anyone = resource("Allow", "*");
    AccessRequest r = by(S(BOB), S(MINE));
    AccessPolicies p = { .identity = &yes, .identity_count = 1, .boundary = reads };
    AccessDecision d = decide(r, p);
    EXPECT(d.reason == ACCESS_NOT_ALLOWED && d.source == ACCESS_BY_BOUNDARY);
    EXPECT(str_ends(access_denied_text(a, &r, &d),
                    S("because no permissions boundary allows the kinesis:PutRecord action")));
    p.resource = anyone;
    EXPECT(decide(r, p).reason == ACCESS_NOT_ALLOWED);
    p.resource = named; // the very user: past the boundary
    EXPECT(decide(r, p).reason == ACCESS_ALLOWED);
    p = (AccessPolicies){
        .identity = &yes, .identity_count = 1, .session = &reads, .session_count = 1
    };
    d = decide(r, p);
    EXPECT(d.reason == ACCESS_NOT_ALLOWED && d.source == ACCESS_BY_SESSION);
    p = (AccessPolicies){ .boundary = yes };
    EXPECT(decide(r, p).reason == ACCESS_NOT_ALLOWED); // a boundary gives nothing
}

TEST(a_policy_that_names_a_role_is_for_its_sessions)
{
    AUTO(policy) named = resource("Allow", "arn:aws:iam::" MINE ":role/Reader");
    AUTO(policy) reads = identity("Allow", "kinesis:Get*");
    AccessRequest r = by(S("arn:aws:sts::" MINE ":assumed-role/Reader/s1"), S(MINE));
    EXPECT(decide(r, (AccessPolicies){ .resource = named }).reason == ACCESS_NOT_ALLOWED);
    r.role = S("arn:aws:iam::" MINE ":role/Reader");
    EXPECT(decide(r, (AccessPolicies){ .resource = named }).reason == ACCESS_ALLOWED);
    AccessDecision d =
        decide(r, (AccessPolicies){ .resource = named, .session = &reads, .session_count = 1 });
    EXPECT(d.reason == ACCESS_NOT_ALLOWED && d.source == ACCESS_BY_SESSION);
}

TEST(a_key_decides_itself_or_hands_over_to_its_account)
{
    AUTO(policy) yes = identity("Allow", "kinesis:*");
    AUTO(policy) account = resource("Allow", "arn:aws:iam::" MINE ":root");
    AUTO(policy) other = resource("Allow", "arn:aws:iam::" MINE ":user/ann");
    AccessRequest r = by(S(BOB), S(MINE));
    AccessPolicies p = { .identity = &yes, .identity_count = 1, .resource_decides = true };
    p.resource = account;
    EXPECT(decide(r, p).reason == ACCESS_ALLOWED);
    p.resource = other;
    EXPECT(decide(r, p).source == ACCESS_BY_RESOURCE && decide(r, p).reason == ACCESS_NOT_ALLOWED);
    p.resource = NULL;
    EXPECT(decide(r, p).reason == ACCESS_NOT_ALLOWED);
}

TEST(a_service_is_allowed_by_name)
{
    AUTO(policy) p = NULL;
    p = made(POLICY_RESOURCE, S(STREAM),
             S("{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":{\"Service\":"
               "\"firehose.amazonaws.com\"},\"Action\":\"kinesis:*\",\"Resource\":\"*\"}}"));
    AccessRequest r = by(S(""), S(""));
    r.service = S("firehose.amazonaws.com");
    EXPECT(decide(r, (AccessPolicies){ .resource = p }).reason == ACCESS_ALLOWED);
    r.service = S("events.amazonaws.com");
    EXPECT(decide(r, (AccessPolicies){ .resource = p }).reason == ACCESS_NOT_ALLOWED);
}

TEST(a_variable_in_a_resource_takes_the_callers_value_and_never_a_pattern)
{
    AUTO(policy) p = NULL;
    p = made(POLICY_IDENTITY, S("p"),
             S("{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\","
               "\"Resource\":\"arn:aws:kinesis:*:*:stream/${aws:username}\"}}"));
    AccessRequest r = by(S(BOB), S(MINE));
    Str user = S("clicks");
    AccessValue name = { S("aws:username"), &user, 1 };
    AccessPolicies policies = { .identity = &p, .identity_count = 1 };
    EXPECT(decide(r, policies).reason == ACCESS_NOT_ALLOWED);
    r.context = &name;
    r.context_count = 1;
    EXPECT(decide(r, policies).reason == ACCESS_ALLOWED && decide(r, policies).conditional);
    user = S("*");
    EXPECT(decide(r, policies).reason == ACCESS_NOT_ALLOWED);
    user = S("\x01");
    EXPECT(decide(r, policies).reason == ACCESS_NOT_ALLOWED);
}
