// SPDX-License-Identifier: Apache-2.0
// Identities: what survives, what is refused.
#include "base/test.h"
#include "os/io_mem.h"
#include "svc/iam/iam_test_world.h"

#define POLICY                                                                                     \
    S("{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"kinesis:*\"," \
      "\"Resource\":\"*\"}]}")

static void create_user(struct iam_world *w, struct arena *a, Str name)
{
    struct iam_CreateUser_in in = { .user_name = name, .path = S("/team/") };
    struct iam_CreateUser_out out = { 0 };
    EXPECT_OK(iam_world_run(w, a, "CreateUser", &in, &out, NULL));
    EXPECT_STR(str_cat(a, S("arn:aws:iam::000000000000:user/team/"), name), out.user->arn);
}

static void expect_refused(struct iam_world *w, struct arena *a, const struct api_error *want,
                           const char *op, const void *in)
{
    const struct api_error *error = NULL;
    _Alignas(max_align_t) char out[512] = { 0 }; // of any operation
    EXPECT_ERR(ERR_FAULT, iam_world_run(w, a, op, in, out, &error));
    EXPECT(error == want);
}

TEST(users_keys_and_policies_are_there_after_a_restart)
{
    struct iam_world w;
    iam_world_open(&w);
    create_user(&w, a, S("bob"));
    struct iam_CreateAccessKey_in key_in = { .user_name = S("bob") };
    struct iam_CreateAccessKey_out key_out = { 0 };
    struct iam_PutUserPolicy_in inline_in = { S("bob"), S("p"), POLICY };
    struct iam_CreatePolicy_in policy_in = { .policy_name = S("Managed"),
                                             .path = S("/"),
                                             .policy_document = POLICY };
    struct iam_CreatePolicy_out policy_out = { 0 };
    EXPECT_OK(iam_world_run(&w, a, "CreateAccessKey", &key_in, &key_out, NULL));
    EXPECT_OK(iam_world_run(&w, a, "PutUserPolicy", &inline_in, NULL, NULL));
    EXPECT_OK(iam_world_run(&w, a, "CreatePolicy", &policy_in, &policy_out, NULL));
    struct iam_AttachUserPolicy_in attach = { S("bob"), policy_out.policy->arn };
    EXPECT_OK(iam_world_run(&w, a, "AttachUserPolicy", &attach, NULL, NULL));

    iam_world_reopen(&w);
    Key key;
    EXPECT_OK(keyring_find(w.keys, a, key_out.access_key->access_key_id, &key));
    EXPECT_STR(key_out.access_key->secret_access_key, key.secret);
    EXPECT_STR(S("arn:aws:iam::000000000000:user/team/bob"), key.principal);
    struct iam_GetUserPolicy_in get = { S("bob"), S("p") };
    struct iam_GetUserPolicy_out got = { 0 };
    EXPECT_OK(iam_world_run(&w, a, "GetUserPolicy", &get, &got, NULL));
    EXPECT_STR(iam_url_encode(a, POLICY), got.policy_document);
    struct iam_ListAttachedUserPolicies_in list = { .user_name = S("bob"), .path_prefix = S("/") };
    struct iam_ListAttachedUserPolicies_out listed = { 0 };
    EXPECT_OK(iam_world_run(&w, a, "ListAttachedUserPolicies", &list, &listed, NULL));
    EXPECT_INT(1, listed.attached_policies.n);
    EXPECT_STR(S("Managed"), listed.attached_policies.at[0].policy_name);
    iam_world_close(&w);
}

TEST(an_entity_is_the_same_after_it_was_written_and_read)
{
    struct io_mem *disk = io_mem_open(1);
    AUTO(entity)
    e = entity_new(io_mem_io(disk), ENTITY_ROLE, S("000000000000"), S("/x/"), S("R"), 7);
    AUTO(entity) back = NULL;
    AUTO_BUF(row);
    struct policy *p;
    EXPECT_OK(policy_open(POLICY_TRUST, e->arn,
                          S("{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":"
                            "\"sts:AssumeRole\"}}"),
                          &p));
    entity_set_trust(e, p);
    EXPECT_OK(policy_open(POLICY_IDENTITY, S("x"), POLICY, &p));
    entity_put_policy(e, S("b"), p, 5);
    EXPECT_OK(policy_open(POLICY_IDENTITY, S("x"), POLICY, &p));
    entity_put_policy(e, S("a"), p, 6);
    list_add(e->arena, &e->attached, S("arn:one"));
    entity_set_tag(e, S("k"), S("v"));
    e->boundary = S("arn:two");
    e->session_s_max = 7200;
    entity_row_write(&row, e);
    Str key = entity_key(a, e->kind, e->account, e->name);
    EXPECT_STR(S("000000000000/role/r"), key);
    EXPECT_OK(entity_row_read(a, key, buf_str(&row), &back));
    EXPECT_STR(e->arn, back->arn);
    EXPECT_STR(e->id, back->id);
    EXPECT_STR(S("a"), back->policies[0].name);
    EXPECT_INT(6, back->policies[0].created_ms);
    EXPECT_INT(2, back->policy_count);
    EXPECT(list_has(&back->attached, S("arn:one")) && back->trust != NULL);
    EXPECT_STR(S("arn:two"), back->boundary);
    EXPECT_STR(S("v"), back->tags[0].value);
    EXPECT_INT(7200, back->session_s_max);
    EXPECT_ERR(ERR_CORRUPT, entity_row_read(a, S("000000000000/role/q"), buf_str(&row), &back));
    EXPECT_ERR(ERR_CORRUPT, entity_row_read(a, S("1/thing/q"), buf_str(&row), &back));
    EXPECT_ERR(ERR_CORRUPT, entity_row_read(a, key, S("{}"), &back));
    io_mem_close(disk);
}

TEST(names_are_taken_whatever_their_case)
{
    struct iam_world w;
    iam_world_open(&w);
    create_user(&w, a, S("Bob"));
    struct iam_CreateUser_in again = { .user_name = S("BOB"), .path = S("/") };
    expect_refused(&w, a, &iam_EntityAlreadyExists, "CreateUser", &again);
    struct iam_GetUser_in get = { .user_name = S("bob") };
    struct iam_GetUser_out got = { 0 };
    EXPECT_OK(iam_world_run(&w, a, "GetUser", &get, &got, NULL));
    EXPECT_STR(S("Bob"), got.user->user_name);
    iam_world_close(&w);
}

TEST(what_is_in_use_is_not_deleted)
{
    struct iam_world w;
    iam_world_open(&w);
    create_user(&w, a, S("bob"));
    struct iam_DeleteUser_in drop = { .user_name = S("bob") };
    struct iam_CreateAccessKey_in key_in = { .user_name = S("bob") };
    struct iam_CreateAccessKey_out key = { 0 };
    EXPECT_OK(iam_world_run(&w, a, "CreateAccessKey", &key_in, &key, NULL));
    expect_refused(&w, a, &iam_DeleteConflict, "DeleteUser", &drop);
    struct iam_DeleteAccessKey_in drop_key = { .user_name = S("bob"),
                                               .access_key_id = key.access_key->access_key_id };
    EXPECT_OK(iam_world_run(&w, a, "DeleteAccessKey", &drop_key, NULL, NULL));
    struct iam_AttachUserPolicy_in attach = { S("bob"),
                                              S("arn:aws:iam::aws:policy/AdministratorAccess") };
    struct iam_DetachUserPolicy_in detach = { attach.user_name, attach.policy_arn };
    EXPECT_OK(iam_world_run(&w, a, "AttachUserPolicy", &attach, NULL, NULL));
    expect_refused(&w, a, &iam_DeleteConflict, "DeleteUser", &drop);
    EXPECT_OK(iam_world_run(&w, a, "DetachUserPolicy", &detach, NULL, NULL));
    EXPECT_OK(iam_world_run(&w, a, "DeleteUser", &drop, NULL, NULL));
    expect_refused(&w, a, &iam_NoSuchEntity, "DeleteUser", &drop);
    iam_world_close(&w);
}

TEST(quotas_and_bad_documents_are_refused)
{
    struct iam_world w;
    iam_world_open(&w);
    create_user(&w, a, S("bob"));
    struct iam_CreateAccessKey_in key = { .user_name = S("bob") };
    struct iam_CreateAccessKey_out made = { 0 };
    for (int i = 0; i < ENTITY_KEYS_MAX; i++)
        EXPECT_OK(iam_world_run(&w, a, "CreateAccessKey", &key, &made, NULL));
    expect_refused(&w, a, &iam_LimitExceeded, "CreateAccessKey", &key);
    struct iam_PutUserPolicy_in bad = { S("bob"), S("p"), S("{\"Statement\":[]}") };
    expect_refused(&w, a, &iam_MalformedPolicyDocument, "PutUserPolicy", &bad);
    char *long_text = arena_alloc(a, 3000, 1);
    memset(long_text, 'x', 3000);
    struct iam_PutUserPolicy_in big = {
        S("bob"), S("p"),
        str_fmt(a,
                "{\"Statement\":{\"Sid\":\"%.3000s\",\"Effect\":\"Allow\",\"Action\":\"*\","
                "\"Resource\":\"*\"}}",
                long_text)
    };
    expect_refused(&w, a, &iam_LimitExceeded, "PutUserPolicy", &big);
    struct iam_AttachUserPolicy_in none = { S("bob"), S("arn:aws:iam::aws:policy/None") };
    expect_refused(&w, a, &iam_NoSuchEntity, "AttachUserPolicy", &none);
    struct iam_GetUser_in nobody = { .user_name = S("ann") };
    expect_refused(&w, a, &iam_NoSuchEntity, "GetUser", &nobody);
    iam_world_close(&w);
}

TEST(versions_of_a_policy_come_and_go_and_one_counts)
{
    struct iam_world w;
    iam_world_open(&w);
    struct iam_CreatePolicy_in in = { .policy_name = S("P"),
                                      .path = S("/"),
                                      .policy_document = POLICY };
    struct iam_CreatePolicy_out out = { 0 };
    EXPECT_OK(iam_world_run(&w, a, "CreatePolicy", &in, &out, NULL));
    Str arn = out.policy->arn;
    struct iam_CreatePolicyVersion_in add = { .policy_arn = arn,
                                              .policy_document = POLICY,
                                              .set_as_default = true,
                                              .has_set_as_default = true };
    struct iam_CreatePolicyVersion_out added = { 0 };
    for (int i = 2; i <= ENTITY_VERSIONS_MAX; i++) {
        EXPECT_OK(iam_world_run(&w, a, "CreatePolicyVersion", &add, &added, NULL));
        EXPECT_STR(str_fmt(a, "v%d", i), added.policy_version->version_id);
    }
    expect_refused(&w, a, &iam_LimitExceeded, "CreatePolicyVersion", &add);
    struct iam_DeletePolicyVersion_in newest = { arn, S("v5") }, oldest = { arn, S("v1") };
    expect_refused(&w, a, &iam_DeleteConflict, "DeletePolicyVersion", &newest);
    EXPECT_OK(iam_world_run(&w, a, "DeletePolicyVersion", &oldest, NULL, NULL));
    EXPECT_OK(iam_world_run(&w, a, "CreatePolicyVersion", &add, &added, NULL));
    EXPECT_STR(S("v6"), added.policy_version->version_id); // no number twice
    struct iam_SetDefaultPolicyVersion_in set = { arn, S("v2") };
    EXPECT_OK(iam_world_run(&w, a, "SetDefaultPolicyVersion", &set, NULL, NULL));
    iam_world_reopen(&w);
    struct iam_GetPolicy_in get = { .policy_arn = arn };
    struct iam_GetPolicy_out got = { 0 };
    EXPECT_OK(iam_world_run(&w, a, "GetPolicy", &get, &got, NULL));
    EXPECT_STR(S("v2"), got.policy->default_version_id);
    iam_world_close(&w);
}

TEST(lists_come_in_pages)
{
    struct iam_world w;
    iam_world_open(&w);
    for (int i = 0; i < 5; i++)
        create_user(&w, a, str_fmt(a, "u%d", i));
    struct iam_ListUsers_in in = { .path_prefix = S("/team/"), .max_items = 2 };
    struct iam_ListUsers_out out = { 0 };
    size_t seen = 0;
    do {
        out = (struct iam_ListUsers_out){ 0 };
        EXPECT_OK(iam_world_run(&w, a, "ListUsers", &in, &out, NULL));
        for (size_t i = 0; i < out.users.n; i++)
            EXPECT_STR(str_fmt(a, "u%zu", seen++), out.users.at[i].user_name);
        in.marker = out.marker;
    } while (out.is_truncated);
    EXPECT_INT(5, seen);
    in = (struct iam_ListUsers_in){ .path_prefix = S("/other/"), .max_items = 2 };
    EXPECT_OK(iam_world_run(&w, a, "ListUsers", &in, &out, NULL));
    EXPECT_INT(0, out.users.n);
    iam_world_close(&w);
}
