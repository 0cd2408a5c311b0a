// SPDX-License-Identifier: Apache-2.0
// Sessions of roles: their tags, what they hand down, and what policies see of them.
#include "base/test.h"
#include "base/time.h"
#include "svc/iam/iam_test_world.h"

#define STREAM "arn:aws:kinesis:us-east-1:000000000000:stream/clicks"
#define ROLE S("arn:aws:iam::000000000000:role/Worker")

static void make_role(struct iam_world *w, struct arena *a)
{
    iam_Tag own[] = { { S("team"), S("role") }, { S("kind"), S("worker") } };
    struct iam_CreateRole_in role = {
        .role_name = S("Worker"),
        .path = S("/"),
        .max_session_duration = 3600,
        .tags = { .at = own, .n = COUNT_OF(own), .set = true },
        .assume_role_policy_document =
            S("{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Principal\":{"
              "\"AWS\":\"000000000000\"},\"Action\":\"sts:AssumeRole\"}}")
    };
    struct iam_CreateRole_out made = { 0 };
    struct iam_PutRolePolicy_in yes = {
        .role_name = S("Worker"),
        .policy_name = S("own"),
        .policy_document =
            S("{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":"
              "\"kinesis:*\",\"Resource\":\"*\",\"Condition\":{\"StringEquals\":{"
              "\"aws:ResourceTag/team\":\"${aws:PrincipalTag/team}\","
              "\"aws:PrincipalTag/kind\":\"worker\"},\"StringLike\":{\"aws:SourceIdentity\":"
              "[\"ali*\"]}}}}")
    };
    EXPECT_OK(iam_world_run(w, a, "CreateRole", &role, &made, NULL));
    EXPECT_OK(iam_world_run(w, a, "PutRolePolicy", &yes, NULL, NULL));
}

static HubSession session_of(struct iam_world *w, struct arena *a, Str access_key,
                             const HubTag *tags, size_t n, Str source)
{
    struct call *c = iam_world_call(w, a, "GetUser");
    HubSessionWant want = { .role_arn = ROLE,
                            .session_name = S("s1"),
                            .seconds = 900,
                            .tags = tags,
                            .tag_count = n,
                            .source_identity = source };
    HubSession made;
    c->access_key = access_key;
    EXPECT_OK(w->hub.identities->session(w->hub.identities->self, c, &want, &made));
    return made;
}

static bool may(struct iam_world *w, struct arena *a, const HubSession *s, Str team)
{
    struct call *c = iam_world_call(w, a, "GetUser");
    Str text;
    AccessValue value = { S("aws:ResourceTag/team"), &team, 1 };
    AccessTarget t = { .action = S("kinesis:PutRecord"),
                       .resource = S(STREAM),
                       .account = S("000000000000"),
                       .context = &value,
                       .context_count = 1 };
    c->access_key = s->access_key;
    c->principal = s->arn;
    return w->hub.access->may(w->hub.access->self, c, &t, &text);
}

TEST(a_tag_of_the_session_stands_before_the_one_of_the_role)
{
    struct iam_world w;
    iam_world_open(&w);
    make_role(&w, a);
    HubTag blue = { S("Team"), S("blue"), false }; // keys differ by more than their case
    HubSession plain = session_of(&w, a, S("ROOT"), NULL, 0, S("alice"));
    HubSession tagged = session_of(&w, a, S("ROOT"), &blue, 1, S("alice"));
    HubSession other = session_of(&w, a, S("ROOT"), &blue, 1, S("bob"));
    for (int round = 0; round < 2; round++) {
        EXPECT(may(&w, a, &plain, S("role")) && !may(&w, a, &plain, S("blue")));
        EXPECT(may(&w, a, &tagged, S("blue")) && !may(&w, a, &tagged, S("role")));
        EXPECT(!may(&w, a, &other, S("blue")));
        iam_world_reopen(&w); // and after a restart
    }
    iam_world_close(&w);
}

TEST(transitive_tags_and_the_source_identity_are_handed_down_and_not_replaced)
{
    struct iam_world w;
    iam_world_open(&w);
    make_role(&w, a);
    HubTag first[] = { { S("team"), S("blue"), true }, { S("cost"), S("1"), false } };
    HubTag second[] = { { S("cost"), S("2"), false } },
           again[] = { { S("TEAM"), S("red"), false } };
    HubTag twice[] = { { S("x"), S("1"), false }, { S("X"), S("2"), false } };
    HubSession one = session_of(&w, a, S("ROOT"), first, 2, S("alice"));
    HubSession two = session_of(&w, a, one.access_key, second, 1, (Str){ 0 });
    HubSession three = session_of(&w, a, two.access_key, NULL, 0, (Str){ 0 });
    EXPECT(may(&w, a, &two, S("blue")) && may(&w, a, &three, S("blue")));
    EXPECT_STR(S("alice"), three.source_identity);
    struct call *c = iam_world_call(&w, a, "GetUser");
    c->access_key = three.access_key;
    HubInherited from = w.hub.identities->inherited(w.hub.identities->self, c);
    EXPECT(from.tags);
    EXPECT_STR(S("alice"), from.source_identity);
    AUTO(signer) k = iam_signer(w.iam, three.access_key);
    EXPECT_INT(1, k->tag_count); // cost was not transitive
    HubSession bad = session_of(&w, a, one.access_key, again, 1, (Str){ 0 });
    EXPECT(bad.fault == HUB_SESSION_BAD_TAGS);
    EXPECT_STR(
        S("One of the specified transitive tag keys can't be set because it conflicts with a "
          "transitive tag key from the calling session."),
        bad.text);
    bad = session_of(&w, a, S("ROOT"), twice, 2, (Str){ 0 });
    EXPECT(bad.fault == HUB_SESSION_BAD_TAGS);
    EXPECT_STR(S("Duplicate tag keys found. Please note that Tag keys are case insensitive."),
               bad.text);
    iam_world_close(&w);
}

// The key was good when the request came; by the time of the session it may have been deleted.
TEST(who_asks_with_a_key_that_was_deleted_meanwhile_gets_no_session_of_the_root)
{
    struct iam_world w;
    iam_world_open(&w);
    make_role(&w, a);
    struct iam_CreateUser_in user = { .user_name = S("bob"), .path = S("/") };
    struct iam_CreateUser_out bob = { 0 };
    struct iam_CreateAccessKey_in key = { .user_name = S("bob") };
    struct iam_CreateAccessKey_out made = { 0 };
    EXPECT_OK(iam_world_run(&w, a, "CreateUser", &user, &bob, NULL));
    EXPECT_OK(iam_world_run(&w, a, "CreateAccessKey", &key, &made, NULL));
    Str all = S("{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\","
                "\"Resource\":\"*\"}}");
    const HubSessionWant wants[] = {
        { .seconds = 900 },
        { .seconds = 900, .federated = S("f"), .policies = &all, .policy_count = 1 },
        { .seconds = 900, .role_arn = ROLE, .session_name = S("s") }
    };
    struct call *c = iam_world_call(&w, a, "GetUser");
    HubSession session;
    c->access_key = made.access_key->access_key_id;
    c->principal = bob.user->arn;
    for (size_t i = 0; i < COUNT_OF(wants); i++) {
        EXPECT_OK(w.hub.identities->session(w.hub.identities->self, c, &wants[i], &session));
        EXPECT(session.fault == HUB_SESSION_GOOD);
    }
    struct iam_DeleteAccessKey_in drop = { .user_name = S("bob"), .access_key_id = c->access_key };
    EXPECT_OK(iam_world_run(&w, a, "DeleteAccessKey", &drop, NULL, NULL));
    for (size_t i = 0; i < COUNT_OF(wants); i++) {
        EXPECT_OK(w.hub.identities->session(w.hub.identities->self, c, &wants[i], &session));
        EXPECT(session.fault == HUB_SESSION_GONE && session.access_key.p == NULL);
    }
    iam_world_close(&w);
}

TEST(with_those_that_are_handed_down_a_session_has_no_more_tags_than_it_may)
{
    struct iam_world w;
    iam_world_open(&w);
    make_role(&w, a);
    HubTag many[50], one = { S("more"), S("v"), false };
    for (size_t i = 0; i < COUNT_OF(many); i++)
        many[i] = (HubTag){ str_fmt(a, "k%zu", i), S("v"), true };
    HubSession full = session_of(&w, a, S("ROOT"), many, COUNT_OF(many), (Str){ 0 });
    EXPECT(full.fault == HUB_SESSION_GOOD);
    HubSession more = session_of(&w, a, full.access_key, &one, 1, (Str){ 0 });
    EXPECT(more.fault == HUB_SESSION_BIG_POLICY);
    iam_world_close(&w);
}
