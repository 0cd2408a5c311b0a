// SPDX-License-Identifier: Apache-2.0
// MFA devices: the codes of the RFC, what counts as one, and what sessions and
// policies see of it.
#include "base/test.h"
#include "base/time.h"
#include "svc/iam/iam_test_world.h"
#include "svc/iam/mfa.h"

#include <string.h>

#define SERIAL S("arn:aws:iam::000000000000:mfa/phone")

TEST(codes_are_those_of_the_rfc)
{
    static const struct {
        int64_t at_s;
        const char *code;
    } cases[] = { // RFC 6238, appendix B: the last six of eight digits
                  { 59, "287082" },         { 1111111109, "081804" }, { 1111111111, "050471" },
                  { 1234567890, "005924" }, { 2000000000, "279037" }, { 20000000000, "353130" }
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char code[6];
        mfa_code(S("12345678901234567890"), cases[i].at_s / MFA_STEP_S, code);
        EXPECT_STR(str_of(cases[i].code), str_from(code, sizeof code));
    }
}

static Str code_at(struct arena *a, Str seed, int64_t step)
{
    char code[6];
    mfa_code(seed, step, code);
    return str_dup(a, str_from(code, sizeof code));
}

TEST(a_code_is_good_near_its_time_and_once)
{
    Str seed = S("12345678901234567890");
    struct mfa_device d = { .seed = seed };
    int64_t now_ms = 3000 * 1000; // step 100
    for (int64_t step = 95; step <= 105; step++)
        EXPECT_INT(step >= 99 && step <= 101 ? step : -1,
                   mfa_match(&d, code_at(a, seed, step), now_ms));
    d.last_step = 100;
    EXPECT_INT(-1, mfa_match(&d, code_at(a, seed, 100), now_ms));
    EXPECT_INT(101, mfa_match(&d, code_at(a, seed, 101), now_ms));
    d.drift = 50;
    EXPECT_INT(150, mfa_match(&d, code_at(a, seed, 150), now_ms));
    EXPECT_INT(-1, mfa_match(&d, S("12345"), now_ms));
    EXPECT_INT(-1, mfa_match(&d, S(""), now_ms));
}

TEST(two_codes_must_follow_each_other)
{
    Str seed = S("12345678901234567890");
    int64_t now_ms = 3000 * 1000;
    EXPECT_INT(100, mfa_match_two(seed, code_at(a, seed, 99), code_at(a, seed, 100), now_ms, 10));
    EXPECT_INT(-1, mfa_match_two(seed, code_at(a, seed, 100), code_at(a, seed, 99), now_ms, 10));
    EXPECT_INT(-1, mfa_match_two(seed, code_at(a, seed, 98), code_at(a, seed, 100), now_ms, 10));
    EXPECT_INT(110, mfa_match_two(seed, code_at(a, seed, 109), code_at(a, seed, 110), now_ms, 10));
    EXPECT_INT(-1, mfa_match_two(seed, code_at(a, seed, 110), code_at(a, seed, 111), now_ms, 10));
    EXPECT_INT(30, mfa_match_two(seed, code_at(a, seed, 29), code_at(a, seed, 30), now_ms, 240));
}

// ---- With the service

static Str decode32(struct arena *a, Str text)
{
    unsigned char *out = arena_alloc(a, text.n, 1);
    size_t n = 0, bits = 0;
    uint32_t held = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        held = held << 5 | (uint32_t)(c >= 'A' ? c - 'A' : c - '2' + 26);
        for (bits += 5; bits >= 8; bits -= 8)
            out[n++] = (unsigned char)(held >> (bits - 8));
    }
    return str_from(out, n);
}

// A user with a key of his own, and a device. The seed.
static Str make_user(struct iam_world *w, struct arena *a, Str *ret_key)
{
    struct iam_CreateUser_in user = { .user_name = S("alice"), .path = S("/") };
    struct iam_CreateUser_out made = { 0 };
    struct iam_CreateAccessKey_in key = { .user_name = S("alice") };
    struct iam_CreateAccessKey_out keys = { 0 };
    struct iam_CreateVirtualMFADevice_in device = { .virtual_mfa_device_name = S("phone"),
                                                    .path = S("/") };
    struct iam_CreateVirtualMFADevice_out out = { 0 };
    w->now_ns = 3000 * NS_PER_S; // step 100
    EXPECT_OK(iam_world_run(w, a, "CreateUser", &user, &made, NULL));
    EXPECT_OK(iam_world_run(w, a, "CreateAccessKey", &key, &keys, NULL));
    EXPECT_OK(iam_world_run(w, a, "CreateVirtualMFADevice", &device, &out, NULL));
    EXPECT_STR(SERIAL, out.virtual_mfa_device->serial_number);
    EXPECT_INT(64, out.virtual_mfa_device->base32_string_seed.n);
    *ret_key = keys.access_key->access_key_id;
    return decode32(a, out.virtual_mfa_device->base32_string_seed);
}

static Err enable(struct iam_world *w, struct arena *a, Str first, Str second,
                  const struct api_error **ret_error)
{
    struct iam_EnableMFADevice_in in = { .user_name = S("alice"),
                                         .serial_number = SERIAL,
                                         .authentication_code1 = first,
                                         .authentication_code2 = second };
    return iam_world_run(w, a, "EnableMFADevice", &in, NULL, ret_error);
}

static bool check(struct iam_world *w, struct arena *a, Str key, Str code, bool use)
{
    struct call *c = iam_world_call(w, a, "GetUser");
    bool good;
    c->access_key = key;
    EXPECT_OK(w->hub.identities->mfa(w->hub.identities->self, c, SERIAL, code, use, &good));
    return good;
}

TEST(a_device_is_enabled_used_and_kept_and_a_code_counts_once_for_ever)
{
    struct iam_world w;
    iam_world_open(&w);
    const struct api_error *error;
    Str key, seed = make_user(&w, a, &key);
    EXPECT_INT(MFA_SEED_BYTES, seed.n);
    EXPECT(!check(&w, a, key, code_at(a, seed, 100), true)); // it is nobody's
    EXPECT_ERR(ERR_FAULT, enable(&w, a, S("000000"), S("000001"), &error));
    EXPECT(error == &iam_InvalidAuthenticationCode);
    EXPECT_OK(enable(&w, a, code_at(a, seed, 99), code_at(a, seed, 100), NULL));
    EXPECT_ERR(ERR_FAULT, enable(&w, a, code_at(a, seed, 99), code_at(a, seed, 100), &error));
    EXPECT(error == &iam_EntityAlreadyExists);
    EXPECT(!check(&w, a, key, code_at(a, seed, 100), true)); // it has counted
    EXPECT(check(&w, a, key, code_at(a, seed, 101), false));
    EXPECT(check(&w, a, key, code_at(a, seed, 101), true));
    EXPECT(!check(&w, a, key, code_at(a, seed, 101), true));
    EXPECT(!check(&w, a, S("ROOT"), code_at(a, seed, 101), true)); // not the root's
    iam_world_reopen(&w);
    EXPECT(!check(&w, a, key, code_at(a, seed, 101), true));
    w.now_ns += 60 * NS_PER_S;
    EXPECT(check(&w, a, key, code_at(a, seed, 102), true));
    iam_world_close(&w);
}

TEST(the_root_has_the_device_that_is_called_so_and_nobody_else_makes_it)
{
    struct iam_world w;
    iam_world_open(&w);
    Str key, serial = S("arn:aws:iam::000000000000:mfa/root-account-mfa-device");
    struct iam_CreateVirtualMFADevice_in in = { .virtual_mfa_device_name = MFA_ROOT_DEVICE,
                                                .path = S("/") };
    struct iam_CreateVirtualMFADevice_out out = { 0 };
    bool good;
    make_user(&w, a, &key);
    struct call *c = iam_world_call(&w, a, "CreateVirtualMFADevice");
    c->principal = S("arn:aws:iam::000000000000:user/alice");
    c->access_key = key;
    EXPECT_ERR(ERR_FAULT, c->op->run(c, &in, &out));
    EXPECT_OK(iam_world_run(&w, a, "CreateVirtualMFADevice", &in, &out, NULL));
    Str seed = decode32(a, out.virtual_mfa_device->base32_string_seed);
    c = iam_world_call(&w, a, "GetUser");
    void *self = w.hub.identities->self;
    EXPECT_OK(w.hub.identities->mfa(self, c, serial, code_at(a, seed, 101), true, &good));
    EXPECT(good);
    EXPECT_OK(w.hub.identities->mfa(self, c, serial, code_at(a, seed, 101), true, &good));
    EXPECT(!good);
    c->access_key = key;
    c->principal = S("arn:aws:iam::000000000000:user/alice");
    w.now_ns += 60 * NS_PER_S;
    c->now_ns = w.now_ns;
    EXPECT_OK(w.hub.identities->mfa(self, c, serial, code_at(a, seed, 102), true, &good));
    EXPECT(!good);
    iam_world_close(&w);
}

TEST(a_users_device_goes_before_the_user)
{
    struct iam_world w;
    iam_world_open(&w);
    const struct api_error *error;
    Str key, seed = make_user(&w, a, &key);
    EXPECT_OK(enable(&w, a, code_at(a, seed, 99), code_at(a, seed, 100), NULL));
    struct iam_DeleteAccessKey_in no_key = { .user_name = S("alice"), .access_key_id = key };
    struct iam_DeleteUser_in no_user = { .user_name = S("alice") };
    struct iam_DeleteVirtualMFADevice_in no_device = { .serial_number = SERIAL };
    struct iam_DeactivateMFADevice_in off = { .user_name = S("alice"), .serial_number = SERIAL };
    EXPECT_OK(iam_world_run(&w, a, "DeleteAccessKey", &no_key, NULL, NULL));
    EXPECT_ERR(ERR_FAULT, iam_world_run(&w, a, "DeleteUser", &no_user, NULL, &error));
    EXPECT(error == &iam_DeleteConflict);
    EXPECT_ERR(ERR_FAULT, iam_world_run(&w, a, "DeleteVirtualMFADevice", &no_device, NULL, &error));
    EXPECT(error == &iam_DeleteConflict);
    EXPECT_OK(iam_world_run(&w, a, "DeactivateMFADevice", &off, NULL, NULL));
    EXPECT_OK(iam_world_run(&w, a, "DeleteVirtualMFADevice", &no_device, NULL, NULL));
    EXPECT_OK(iam_world_run(&w, a, "DeleteUser", &no_user, NULL, NULL));
    iam_world_close(&w);
}

// ---- Sessions

static HubSession session_of(struct iam_world *w, struct arena *a, Str key, HubSessionWant want)
{
    struct call *c = iam_world_call(w, a, "GetUser");
    HubSession made;
    c->access_key = key;
    c->principal = S("arn:aws:iam::000000000000:user/alice");
    want.seconds = 3600;
    EXPECT_OK(w->hub.identities->session(w->hub.identities->self, c, &want, &made));
    return made;
}

static bool may(struct iam_world *w, struct arena *a, const HubSession *s, Str principal,
                Str action)
{
    struct call *c = iam_world_call(w, a, "GetUser");
    Str text;
    AccessTarget t = { .action = action, .resource = S("*"), .account = S("000000000000") };
    c->access_key = s->access_key;
    c->principal = principal;
    return w->hub.access->may(w->hub.access->self, c, &t, &text);
}

static void allow(struct iam_world *w, struct arena *a, Str document)
{
    struct iam_PutUserPolicy_in in = { .user_name = S("alice"),
                                       .policy_name = S("p"),
                                       .policy_document = document };
    EXPECT_OK(iam_world_run(w, a, "PutUserPolicy", &in, NULL, NULL));
}

#define ALICE S("arn:aws:iam::000000000000:user/alice")

TEST(policies_see_whether_and_when_a_code_was_shown)
{
    struct iam_world w;
    iam_world_open(&w);
    Str key;
    (void)make_user(&w, a, &key);
    allow(&w, a,
          S("{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\","
            "\"Action\":"
            "\"kinesis:*\",\"Resource\":\"*\",\"Condition\":{\"Bool\":{"
            "\"aws:MultiFactorAuthPresent\":\"true\"},\"NumericLessThan\":{"
            "\"aws:MultiFactorAuthAge\":\"300\"}}}}"));
    HubSession without = session_of(&w, a, key, (HubSessionWant){ 0 });
    HubSession with = session_of(&w, a, key, (HubSessionWant){ .mfa = true });
    EXPECT(!may(&w, a, &without, ALICE, S("kinesis:PutRecord")));
    EXPECT(may(&w, a, &with, ALICE, S("kinesis:PutRecord")));
    EXPECT(!may(&w, a, &(HubSession){ .access_key = key }, ALICE, S("kinesis:PutRecord")));
    iam_world_reopen(&w);
    EXPECT(may(&w, a, &with, ALICE, S("kinesis:PutRecord")));
    w.now_ns += 301 * NS_PER_S;
    EXPECT(!may(&w, a, &with, ALICE, S("kinesis:PutRecord")));
    iam_world_close(&w);
}

TEST(a_federated_session_may_what_its_user_and_its_policies_allow)
{
    struct iam_world w;
    iam_world_open(&w);
    Str key, name = S("arn:aws:sts::000000000000:federated-user/bob");
    Str narrow = S("{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":"
                   "\"Allow\",\"Action\":["
                   "\"kinesis:Get*\",\"kms:*\",\"iam:*\"],\"Resource\":\"*\"}}");
    (void)make_user(&w, a, &key);
    allow(&w, a,
          S("{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\","
            "\"Action\":["
            "\"kinesis:*\",\"iam:*\"],\"Resource\":\"*\"}}"));
    HubSession made = session_of(
        &w, a, key,
        (HubSessionWant){ .federated = S("bob"), .policies = &narrow, .policy_count = 1 });
    EXPECT_STR(name, made.arn);
    EXPECT_STR(S("000000000000:bob"), made.id);
    for (int round = 0; round < 2; round++) {
        EXPECT(may(&w, a, &made, name, S("kinesis:GetRecords")));
        EXPECT(!may(&w, a, &made, name, S("kinesis:PutRecord"))); // not the session's
        EXPECT(!may(&w, a, &made, name, S("kms:Decrypt")));       // not the user's
        EXPECT(!may(&w, a, &made, name, S("iam:GetUser")));       // never
        iam_world_reopen(&w);
    }
    HubSession bare = session_of(&w, a, key, (HubSessionWant){ .federated = S("bob") });
    EXPECT(!may(&w, a, &bare, name, S("kinesis:GetRecords")));
    HubSession nested = session_of(&w, a, made.access_key, (HubSessionWant){ .federated = S("c") });
    EXPECT_INT(HUB_SESSION_NESTED, nested.fault);
    iam_world_close(&w);
}
