// SPDX-License-Identifier: Apache-2.0
#include "svc/iam/used.h"
#include "base/test.h"
#include "base/time.h"
#include "os/io_mem.h"
#include "svc/iam/iam_test_world.h"

#define TRUST                                                                                   \
    S("{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":" \
      "\"000000000000\"},\"Action\":\"sts:AssumeRole\"}}")
#define ALL                                                                         \
    S("{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":" \
      "\"kinesis:*\",\"Resource\":\"*\"}}")
#define ROLE_ARN S("arn:aws:iam::000000000000:role/worker")

static struct used *used_of(const struct iam_world *w)
{
    return ((struct iam *)w->iam)->used;
}

static Str make_key(struct iam_world *w, struct arena *a)
{
    struct iam_CreateUser_in user = { .user_name = S("u"), .path = S("/") };
    struct iam_CreateUser_out made = { 0 };
    struct iam_PutUserPolicy_in policy = { S("u"), S("p"), ALL };
    struct iam_CreateAccessKey_in key = { .user_name = S("u") };
    struct iam_CreateAccessKey_out got = { 0 };
    EXPECT_OK(iam_world_run(w, a, "CreateUser", &user, &made, NULL));
    EXPECT_OK(iam_world_run(w, a, "PutUserPolicy", &policy, NULL, NULL));
    EXPECT_OK(iam_world_run(w, a, "CreateAccessKey", &key, &got, NULL));
    return got.access_key->access_key_id;
}

static void use_key(struct iam_world *w, struct arena *a, Str access_key, int64_t at_s, Str region)
{
    struct call *c = iam_world_call(w, a, "GetUser");
    AccessTarget t = { .action = S("kinesis:PutRecord"),
                       .resource = S("arn:aws:kinesis:r:000000000000:stream/s"),
                       .account = S("000000000000") };
    Str text;
    c->access_key = access_key;
    c->principal = S("arn:aws:iam::000000000000:user/u");
    c->now_ns = at_s * NS_PER_S;
    c->region = region;
    EXPECT(w->hub.access->may(w->hub.access->self, c, &t, &text));
}

static const iam_AccessKeyLastUsed *last_of(struct iam_world *w, struct arena *a, Str access_key)
{
    struct iam_GetAccessKeyLastUsed_in in = { access_key };
    struct iam_GetAccessKeyLastUsed_out out = { 0 };
    EXPECT_OK(iam_world_run(w, a, "GetAccessKeyLastUsed", &in, &out, NULL));
    EXPECT_STR(S("u"), out.user_name);
    return out.access_key_last_used;
}

TEST(a_key_tells_its_last_use_by_the_minute_also_after_a_restart)
{
    struct iam_world w;
    iam_world_open(&w);
    Str key = make_key(&w, a);
    EXPECT_STR(S("N/A"), last_of(&w, a, key)->region);
    EXPECT(!last_of(&w, a, key)->has_last_used_date);
    use_key(&w, a, key, 120, S("eu-west-1"));
    use_key(&w, a, key, 125, S("eu-west-2")); // in the same minute: the first one is told
    EXPECT_STR(S("eu-west-1"), last_of(&w, a, key)->region);
    EXPECT_STR(S("kinesis"), last_of(&w, a, key)->service_name);
    use_key(&w, a, key, 180, S("eu-west-3")); // though the decision was kept
    EXPECT_STR(S("eu-west-3"), last_of(&w, a, key)->region);
    EXPECT_OK(used_write(used_of(&w)));
    use_key(&w, a, key, 600, S("lost")); // not written
    iam_world_reopen(&w);
    EXPECT_STR(S("eu-west-3"), last_of(&w, a, key)->region);
    EXPECT_INT(180 * NS_PER_S, last_of(&w, a, key)->last_used_date);
    iam_world_close(&w);
}

TEST(what_is_gone_was_never_used)
{
    struct iam_world w;
    iam_world_open(&w);
    Str key = make_key(&w, a);
    use_key(&w, a, key, 120, S("r"));
    EXPECT_OK(used_write(used_of(&w)));
    struct iam_DeleteAccessKey_in del = { .user_name = S("u"), .access_key_id = key };
    EXPECT_OK(iam_world_run(&w, a, "DeleteAccessKey", &del, NULL, NULL));
    EXPECT_INT(0, used_find(used_of(&w), a, key).at_ms);
    EXPECT_OK(used_write(used_of(&w)));
    EXPECT_INT(0, map_count(used_of(&w)->by_key));
    iam_world_reopen(&w);
    EXPECT_INT(0, map_count(used_of(&w)->by_key));
    iam_world_close(&w);
}

// A call that was permitted before may note it after.
TEST(what_is_gone_is_not_noted_by_calls_that_were_under_way)
{
    struct iam_world w;
    iam_world_open(&w);
    Str key = make_key(&w, a);
    const Used use = { .at_ms = 120000, .region = S("r"), .service = S("kinesis") };
    struct iam_DeleteAccessKey_in del = { .user_name = S("u"), .access_key_id = key };
    EXPECT_OK(iam_world_run(&w, a, "DeleteAccessKey", &del, NULL, NULL)); // never used before
    used_note(used_of(&w), key, &use);
    EXPECT_INT(0, used_find(used_of(&w), a, key).at_ms);
    EXPECT_OK(used_write(used_of(&w)));
    EXPECT_INT(0, map_count(used_of(&w)->by_key));
    iam_world_reopen(&w);
    EXPECT_INT(0, map_count(used_of(&w)->by_key));
    iam_world_close(&w);
}

TEST(a_full_disk_delays_what_is_written)
{
    struct iam_world w;
    iam_world_open(&w);
    Str key = make_key(&w, a);
    use_key(&w, a, key, 120, S("r"));
    io_mem_set_capacity(w.disk, 0);
    EXPECT_ERR(ERR_FULL, used_write(used_of(&w)));
    io_mem_set_capacity(w.disk, UINT64_MAX); // there is room again
    EXPECT_OK(used_write(used_of(&w)));
    iam_world_reopen(&w);
    EXPECT_STR(S("r"), last_of(&w, a, key)->region);
    iam_world_close(&w);
}

static const iam_Role *role_of(struct iam_world *w, struct arena *a)
{
    struct iam_GetRole_in in = { S("worker") };
    struct iam_GetRole_out out = { 0 };
    EXPECT_OK(iam_world_run(w, a, "GetRole", &in, &out, NULL));
    return out.role;
}

TEST(a_role_tells_the_last_call_of_its_sessions_and_keeps_the_time_of_a_sign_in)
{
    struct iam_world w;
    iam_world_open(&w);
    struct iam_CreateRole_in make = { .role_name = S("worker"),
                                      .path = S("/"),
                                      .max_session_duration = 3600,
                                      .has_max_signin_session_duration = true,
                                      .max_signin_session_duration = 7200,
                                      .assume_role_policy_document = TRUST };
    struct iam_CreateRole_out made = { 0 };
    struct iam_PutRolePolicy_in policy = { S("worker"), S("p"), ALL };
    EXPECT_OK(iam_world_run(&w, a, "CreateRole", &make, &made, NULL));
    EXPECT_OK(iam_world_run(&w, a, "PutRolePolicy", &policy, NULL, NULL));
    EXPECT(made.role->role_last_used == NULL);
    EXPECT(!role_of(&w, a)->role_last_used->has_last_used_date);
    struct call *c = iam_world_call(&w, a, "GetUser");
    HubSessionWant want = { .role_arn = ROLE_ARN, .session_name = S("s"), .seconds = 900 };
    HubSession session;
    c->access_key = S("ROOT");
    EXPECT_OK(w.hub.identities->session(w.hub.identities->self, c, &want, &session));
    use_key(&w, a, session.access_key, 300, S("eu-west-1"));
    EXPECT_OK(used_write(used_of(&w)));
    iam_world_reopen(&w);
    const iam_Role *role = role_of(&w, a);
    EXPECT_STR(S("eu-west-1"), role->role_last_used->region);
    EXPECT_INT(300 * NS_PER_S, role->role_last_used->last_used_date);
    EXPECT_INT(7200, role->max_signin_session_duration);
    struct iam_UpdateRole_in reset = { .role_name = S("worker"),
                                       .has_reset_max_signin_session_duration = true,
                                       .reset_max_signin_session_duration = true };
    struct iam_UpdateRole_out none = { 0 };
    EXPECT_OK(iam_world_run(&w, a, "UpdateRole", &reset, &none, NULL));
    EXPECT(!role_of(&w, a)->has_max_signin_session_duration);
    iam_world_close(&w);
}
