// SPDX-License-Identifier: Apache-2.0
// Who may do what, asked as the front asks: users, groups, boundaries, sessions, deleted ones.
#include "base/test.h"
#include "base/time.h"
#include "svc/iam/iam_test_world.h"

#define STREAM "arn:aws:kinesis:us-east-1:000000000000:stream/clicks"
#define ALLOW(action)                                                                     \
    S("{\"Version\":\"2012-10-17\",\"Statement\":[{\"Sid\":\"One\",\"Effect\":\"Allow\"," \
      "\"Action\":\"" action "\",\"Resource\":\"*\"}]}")
#define DENY(action)                                                                    \
    S("{\"Version\":\"2012-10-17\",\"Statement\":[{\"Sid\":\"No\",\"Effect\":\"Deny\"," \
      "\"Action\":\"" action "\",\"Resource\":\"*\"}]}")

static bool may(struct iam_world *w, struct arena *a, Str access_key, Str principal, Str *ret_text)
{
    struct call *c = iam_world_call(w, a, "GetUser");
    c->access_key = access_key;
    c->principal = principal;
    AccessTarget t = { .action = S("kinesis:PutRecord"),
                       .resource = S(STREAM),
                       .account = S("000000000000") };
    return w->hub.access->may(w->hub.access->self, c, &t, ret_text);
}

static Str user_with_key(struct iam_world *w, struct arena *a, Str name)
{
    struct iam_CreateUser_in user = { .user_name = name, .path = S("/") };
    struct iam_CreateUser_out made = { 0 };
    struct iam_CreateAccessKey_in key = { .user_name = name };
    struct iam_CreateAccessKey_out out = { 0 };
    EXPECT_OK(iam_world_run(w, a, "CreateUser", &user, &made, NULL));
    EXPECT_OK(iam_world_run(w, a, "CreateAccessKey", &key, &out, NULL));
    return out.access_key->access_key_id;
}

static void put_policy(struct iam_world *w, struct arena *a, Str user, Str name, Str document)
{
    struct iam_PutUserPolicy_in in = { .user_name = user,
                                       .policy_name = name,
                                       .policy_document = document };
    EXPECT_OK(iam_world_run(w, a, "PutUserPolicy", &in, NULL, NULL));
}

static const Str bob = S_INIT("arn:aws:iam::000000000000:user/bob");

TEST(a_user_may_what_its_policies_allow_and_changes_count_at_once)
{
    struct iam_world w;
    iam_world_open(&w);
    Str key = user_with_key(&w, a, S("bob")), text = S("");
    EXPECT(!may(&w, a, key, bob, &text));
    EXPECT_STR(S("User: arn:aws:iam::000000000000:user/bob is not authorized to perform: "
                 "kinesis:PutRecord on resource: " STREAM
                 " because no identity-based policy allows the kinesis:PutRecord action"),
               text);
    put_policy(&w, a, S("bob"), S("yes"), ALLOW("kinesis:Put*"));
    EXPECT(may(&w, a, key, bob, &text));
    EXPECT(may(&w, a, key, bob, &text)); // what was kept
    put_policy(&w, a, S("bob"), S("no"), DENY("kinesis:PutRecord"));
    EXPECT(!may(&w, a, key, bob, &text));
    EXPECT(str_ends(text, S("with an explicit deny in an identity-based policy")));
    struct iam_DeleteUserPolicy_in drop = { .user_name = S("bob"), .policy_name = S("no") };
    EXPECT_OK(iam_world_run(&w, a, "DeleteUserPolicy", &drop, NULL, NULL));
    EXPECT(may(&w, a, key, bob, &text));
    iam_world_close(&w);
}

TEST(what_decided_is_told_to_operators)
{
    struct iam_world w;
    iam_world_open(&w);
    Str key = user_with_key(&w, a, S("bob")), text;
    put_policy(&w, a, S("bob"), S("no"), DENY("kinesis:*"));
    EXPECT(!may(&w, a, key, bob, &text));
    Str told = w.hub.access->recent(w.hub.access->self, a);
    EXPECT(str_search(told, S("\"decided_by\":\"statement 1 (No) of "
                              "arn:aws:iam::000000000000:user/bob's policy no\"")) < told.n);
    EXPECT(str_search(told, S("\"request_id\":\"id\"")) < told.n);
    iam_world_close(&w);
}

TEST(groups_give_their_users_what_they_have)
{
    struct iam_world w;
    iam_world_open(&w);
    Str key = user_with_key(&w, a, S("bob")), text;
    struct iam_CreateGroup_in group = { .group_name = S("writers"), .path = S("/") };
    struct iam_CreateGroup_out made = { 0 };
    struct iam_AttachGroupPolicy_in attach = {
        .group_name = S("writers"),
        .policy_arn = S("arn:aws:iam::aws:policy/AmazonKinesisFullAccess")
    };
    struct iam_AddUserToGroup_in join = { .group_name = S("writers"), .user_name = S("bob") };
    struct iam_RemoveUserFromGroup_in leave = { .group_name = S("writers"), .user_name = S("bob") };
    EXPECT_OK(iam_world_run(&w, a, "CreateGroup", &group, &made, NULL));
    EXPECT_OK(iam_world_run(&w, a, "AttachGroupPolicy", &attach, NULL, NULL));
    EXPECT(!may(&w, a, key, bob, &text));
    EXPECT_OK(iam_world_run(&w, a, "AddUserToGroup", &join, NULL, NULL));
    EXPECT(may(&w, a, key, bob, &text));
    EXPECT_OK(iam_world_run(&w, a, "RemoveUserFromGroup", &leave, NULL, NULL));
    EXPECT(!may(&w, a, key, bob, &text));
    iam_world_close(&w);
}

TEST(a_boundary_narrows_and_conditions_are_asked_each_time)
{
    struct iam_world w;
    iam_world_open(&w);
    Str key = user_with_key(&w, a, S("bob")), text;
    put_policy(&w, a, S("bob"), S("p"),
               S("{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\","
                 "\"Resource\":\"*\",\"Condition\":{\"DateLessThan\":{\"aws:CurrentTime\":"
                 "\"1970-06-01\"},\"StringEquals\":{\"aws:username\":\"bob\"}}}}"));
    EXPECT(may(&w, a, key, bob, &text));
    w.now_ns = INT64_C(200) * 86400 * NS_PER_S;
    EXPECT(!may(&w, a, key, bob, &text));
    w.now_ns = 1000 * NS_PER_S;
    struct iam_PutUserPermissionsBoundary_in bound = {
        .user_name = S("bob"),
        .permissions_boundary = S("arn:aws:iam::aws:policy/AmazonKinesisReadOnlyAccess")
    };
    EXPECT_OK(iam_world_run(&w, a, "PutUserPermissionsBoundary", &bound, NULL, NULL));
    EXPECT(!may(&w, a, key, bob, &text));
    EXPECT(
        str_ends(text, S("because no permissions boundary allows the kinesis:PutRecord action")));
    iam_world_close(&w);
}

TEST(a_session_has_what_its_role_has_and_no_more_than_it_asked_for)
{
    struct iam_world w;
    iam_world_open(&w);
    struct iam_CreateRole_in role = {
        .role_name = S("Writer"),
        .path = S("/"),
        .max_session_duration = 3600,
        .assume_role_policy_document =
            S("{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Principal\":{"
              "\"AWS\":\"000000000000\"},\"Action\":\"sts:AssumeRole\"}}")
    };
    struct iam_CreateRole_out made = { 0 };
    struct iam_PutRolePolicy_in yes = { .role_name = S("Writer"),
                                        .policy_name = S("yes"),
                                        .policy_document = ALLOW("kinesis:*") };
    EXPECT_OK(iam_world_run(&w, a, "CreateRole", &role, &made, NULL));
    EXPECT_OK(iam_world_run(&w, a, "PutRolePolicy", &yes, NULL, NULL));
    const struct hub_identities *who = w.hub.identities;
    struct call *c = iam_world_call(&w, a, "GetUser");
    Str narrow = ALLOW("kinesis:Get*"), text;
    HubSessionWant want = { .role_arn = made.role->arn, .session_name = S("s1"), .seconds = 900 };
    HubSession one, two;
    EXPECT_OK(who->session(who->self, c, &want, &one));
    want.policies = &narrow;
    want.policy_count = 1;
    EXPECT_OK(who->session(who->self, c, &want, &two));
    EXPECT(one.fault == HUB_SESSION_GOOD && two.fault == HUB_SESSION_GOOD);
    EXPECT_STR(S("arn:aws:sts::000000000000:assumed-role/Writer/s1"), one.arn);
    EXPECT(may(&w, a, one.access_key, one.arn, &text));
    EXPECT(!may(&w, a, two.access_key, two.arn, &text));
    EXPECT(str_search(text, S("no session policy allows")) < text.n);
    Key key;
    EXPECT_OK(keyring_find(w.keys, a, one.access_key, &key));
    EXPECT_STR(one.token, key.session_token);
    EXPECT_INT(w.now_ns + 900 * NS_PER_S, key.expires_ns);
    want = (HubSessionWant){ .role_arn = made.role->arn, .session_name = S("s1"), .seconds = 7200 };
    EXPECT_OK(who->session(who->self, c, &want, &two));
    EXPECT(two.fault == HUB_SESSION_TOO_LONG);
    want.role_arn = S("arn:aws:iam::000000000000:role/None");
    EXPECT_OK(who->session(who->self, c, &want, &two));
    EXPECT(two.fault == HUB_SESSION_NO_ROLE);

    // Another role of the same name is not the one that was assumed.
    struct iam_DeleteRolePolicy_in drop = { .role_name = S("Writer"), .policy_name = S("yes") };
    struct iam_DeleteRole_in gone = { .role_name = S("Writer") };
    EXPECT_OK(iam_world_run(&w, a, "DeleteRolePolicy", &drop, NULL, NULL));
    EXPECT_OK(iam_world_run(&w, a, "DeleteRole", &gone, NULL, NULL));
    EXPECT_OK(iam_world_run(&w, a, "CreateRole", &role, &made, NULL));
    EXPECT_OK(iam_world_run(&w, a, "PutRolePolicy", &yes, NULL, NULL));
    EXPECT(!may(&w, a, one.access_key, one.arn, &text));
    iam_world_close(&w);
}

TEST(sessions_that_are_over_are_forgotten)
{
    struct iam_world w;
    iam_world_open(&w);
    const struct hub_identities *who = w.hub.identities;
    HubSessionWant want = { .seconds = 900 };
    HubSession one, two;
    Key key;
    EXPECT_OK(who->session(who->self, iam_world_call(&w, a, "GetUser"), &want, &one));
    EXPECT_OK(keyring_find(w.keys, a, one.access_key, &key));
    EXPECT_STR(S("arn:aws:iam::000000000000:root"), key.principal);
    w.now_ns += 901 * NS_PER_S;
    EXPECT_OK(who->session(who->self, iam_world_call(&w, a, "GetUser"), &want, &two));
    EXPECT_ERR(ERR_NOT_FOUND, keyring_find(w.keys, a, one.access_key, &key));
    EXPECT_OK(keyring_find(w.keys, a, two.access_key, &key));
    iam_world_close(&w);
}

TEST(a_key_that_is_inactive_or_deleted_does_not_sign)
{
    struct iam_world w;
    iam_world_open(&w);
    Key key;
    Str text, id = user_with_key(&w, a, S("bob"));
    put_policy(&w, a, S("bob"), S("yes"), ALLOW("kinesis:*"));
    EXPECT(may(&w, a, id, bob, &text));
    struct iam_UpdateAccessKey_in off = { .user_name = S("bob"),
                                          .access_key_id = id,
                                          .status = S("Inactive") };
    EXPECT_OK(iam_world_run(&w, a, "UpdateAccessKey", &off, NULL, NULL));
    EXPECT_ERR(ERR_NOT_FOUND, keyring_find(w.keys, a, id, &key));
    off.status = S("Active");
    EXPECT_OK(iam_world_run(&w, a, "UpdateAccessKey", &off, NULL, NULL));
    EXPECT_OK(keyring_find(w.keys, a, id, &key));
    struct iam_DeleteAccessKey_in drop = { .user_name = S("bob"), .access_key_id = id };
    EXPECT_OK(iam_world_run(&w, a, "DeleteAccessKey", &drop, NULL, NULL));
    EXPECT_ERR(ERR_NOT_FOUND, keyring_find(w.keys, a, id, &key));
    EXPECT(!may(&w, a, id, bob, &text)); // a call that was under way
    iam_world_close(&w);
}

TEST(of_a_resource_policy_another_one_makes_another_decision)
{
    struct iam_world w;
    iam_world_open(&w);
    Str id = user_with_key(&w, a, S("bob")), text;
    AUTO(policy) yes = NULL;
    AUTO(policy) no = NULL;
    EXPECT_OK(policy_open(POLICY_RESOURCE, S(STREAM),
                          S("{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":"
                            "\"arn:aws:iam::000000000000:user/bob\"},\"Action\":\"kinesis:*\","
                            "\"Resource\":\"*\"}}"),
                          &yes));
    EXPECT_OK(policy_open(POLICY_RESOURCE, S(STREAM),
                          S("{\"Statement\":{\"Effect\":\"Deny\",\"Principal\":\"*\","
                            "\"Action\":\"kinesis:*\",\"Resource\":\"*\"}}"),
                          &no));
    struct policy *const policies[] = { yes, no, yes, NULL };
    static const bool want[] = { true, false, true, false };
    for (size_t i = 0; i < COUNT_OF(policies); i++) {
        struct call *c = iam_world_call(&w, a, "GetUser");
        c->access_key = id;
        c->principal = bob;
        AccessTarget t = { .action = S("kinesis:PutRecord"),
                           .resource = S(STREAM),
                           .account = S("000000000000"),
                           .policy = policies[i] };
        EXPECT(w.hub.access->may(w.hub.access->self, c, &t, &text) == want[i]);
    }
    iam_world_close(&w);
}

// ---- Many at once

enum { ASKERS = 3, QUESTIONS = 400, CHANGES = 60 };

struct asking {
    struct iam_world *w;
    Str key;
    unsigned allowed, refused;
};

static void *ask_often(void *self)
{
    struct asking *k = self;
    for (int i = 0; i < QUESTIONS; i++) {
        AUTO(arena) r = arena_open();
        Str text;
        if (may(k->w, r, k->key, bob, &text))
            k->allowed++;
        else
            k->refused++;
    }
    return NULL;
}

TEST(decisions_go_on_while_identities_change)
{
    struct iam_world w;
    iam_world_open(&w);
    struct asking askers[ASKERS];
    pthread_t threads[ASKERS];
    Str key = user_with_key(&w, a, S("bob"));
    struct iam_DeleteUserPolicy_in drop = { .user_name = S("bob"), .policy_name = S("p") };
    for (size_t i = 0; i < ASKERS; i++) {
        askers[i] = (struct asking){ .w = &w, .key = key };
        EXPECT(pthread_create(&threads[i], NULL, ask_often, &askers[i]) == 0);
    }
    for (int i = 0; i < CHANGES; i++) {
        put_policy(&w, a, S("bob"), S("p"), ALLOW("kinesis:*"));
        EXPECT_OK(iam_world_run(&w, a, "DeleteUserPolicy", &drop, NULL, NULL));
    }
    for (size_t i = 0; i < ASKERS; i++) {
        EXPECT(pthread_join(threads[i], NULL) == 0);
        EXPECT_INT(QUESTIONS, askers[i].allowed + askers[i].refused);
    }
    Str text;
    EXPECT(!may(&w, a, key, bob, &text)); // what was kept meanwhile is of the past
    iam_world_close(&w);
}

// ---- Services that act as a role when nobody has called

#define TRUST(service, condition)                                                        \
    S("{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{" \
      "\"Service\":\"" service "\"},\"Action\":\"sts:AssumeRole\"" condition "}]}")

static bool service_may(struct iam_world *w, struct arena *a, Str role_arn, Str service,
                        Str *ret_text)
{
    struct call *c = iam_world_call(w, a, "GetUser");
    c->access_key = S("");
    c->role = role_arn;
    c->service = service;
    c->principal = S("arn:aws:sts::000000000000:assumed-role/writer/firehose.amazonaws.com");
    AccessTarget t = { .action = S("kinesis:PutRecord"),
                       .resource = S(STREAM),
                       .account = S("000000000000") };
    return w->hub.access->may(w->hub.access->self, c, &t, ret_text);
}

static Str make_role(struct iam_world *w, struct arena *a, Str name, Str trust)
{
    struct iam_CreateRole_in in = { .role_name = name,
                                    .path = S("/"),
                                    .max_session_duration = 3600,
                                    .assume_role_policy_document = trust };
    struct iam_CreateRole_out out = { 0 };
    EXPECT_OK(iam_world_run(w, a, "CreateRole", &in, &out, NULL));
    return out.role->arn;
}

TEST(a_service_acts_as_a_role_that_trusts_it_and_may_what_the_role_may)
{
    struct iam_world w;
    iam_world_open(&w);
    const Str firehose = S("firehose.amazonaws.com");
    Str text = S("");
    Str arn = make_role(&w, a, S("writer"), TRUST("firehose.amazonaws.com", ""));
    EXPECT(!service_may(&w, a, arn, firehose, &text)); // nothing allows it
    struct iam_PutRolePolicy_in put = { .role_name = S("writer"),
                                        .policy_name = S("yes"),
                                        .policy_document = ALLOW("kinesis:Put*") };
    EXPECT_OK(iam_world_run(&w, a, "PutRolePolicy", &put, NULL, NULL));
    EXPECT(service_may(&w, a, arn, firehose, &text));
    EXPECT(!service_may(&w, a, arn, S("events.amazonaws.com"), &text)); // it trusts another
    EXPECT(!service_may(&w, a, S("arn:aws:iam::000000000000:role/none"), firehose, &text));
    iam_world_close(&w);
}

TEST(a_trust_policy_may_want_the_account_as_external_id)
{
    struct iam_world w;
    iam_world_open(&w);
    Str text = S("");
    for (int right = 0; right < 2; right++) {
        Str trust = right ? TRUST("firehose.amazonaws.com",
                                  ",\"Condition\":{\"StringEquals\":{\"sts:ExternalId\":"
                                  "\"000000000000\"}}")
                          : TRUST("firehose.amazonaws.com",
                                  ",\"Condition\":{\"StringEquals\":{\"sts:ExternalId\":"
                                  "\"111111111111\"}}");
        Str name = right ? S("right") : S("wrong");
        Str arn = make_role(&w, a, name, trust);
        struct iam_PutRolePolicy_in put = { .role_name = name,
                                            .policy_name = S("yes"),
                                            .policy_document = ALLOW("kinesis:Put*") };
        EXPECT_OK(iam_world_run(&w, a, "PutRolePolicy", &put, NULL, NULL));
        EXPECT(service_may(&w, a, arn, S("firehose.amazonaws.com"), &text) == right);
    }
    iam_world_close(&w);
}
