// SPDX-License-Identifier: Apache-2.0
// The service on a store in memory: what survives, what time brings, what other services get.
#include "base/test.h"
#include "base/time.h"
#include "os/io_mem.h"
#include "svc/kms/kms.h"

extern const struct service kms_service;

#define DAY_NS (INT64_C(86400) * NS_PER_S)

struct world {
    struct io_mem *disk;
    struct kv *kv;
    struct hub hub;
    void *kms;
    int64_t now_ns;
};

static Err try_open(struct world *w)
{
    struct io *io = io_mem_io(w->disk);
    struct service_env env = { .io = io, .kv = w->kv, .hub = &w->hub, .data_dir = S("") };
    return kms_service.open(&env, &w->kms);
}

static void world_open(struct world *w)
{
    *w = (struct world){ .disk = io_mem_open(1), .now_ns = 1000 * DAY_NS };
    EXPECT_OK(kv_open(io_mem_io(w->disk), S("/kv"), &w->kv));
    EXPECT_OK(try_open(w));
}

static void reopen(struct world *w)
{
    kms_service.close(w->kms);
    w->kms = NULL;
    EXPECT_OK(try_open(w));
}

static void world_close(struct world *w)
{
    kms_service.close(w->kms);
    kv_close(w->kv);
    io_mem_close(w->disk);
}

static const struct api_op *op_of(const char *name)
{
    for (size_t i = 0; i < kms_api.op_count; i++)
        if (str_eq(kms_api.ops[i].name, str_of(name)))
            return &kms_api.ops[i];
    CHECK(false);
}

static struct call *call_of(struct world *w, struct arena *a, const char *op)
{
    struct call *c = arena_new(a, struct call, 1);
    *c = (struct call){ .state = w->kms,
                        .arena = a,
                        .op = op_of(op),
                        .account = S("000000000000"),
                        .caller = S("000000000000"),
                        .region = S("us-east-1"),
                        .principal = S("arn:aws:iam::000000000000:root"),
                        .request_id = S("id"),
                        .now_ns = w->now_ns };
    return c;
}

// Runs an operation, also what of it is for the pool.
static Err run(struct world *w, struct arena *a, const char *op, const void *in, void *out,
               const struct api_error **ret_error)
{
    struct call *c = call_of(w, a, op);
    Err e = c->op->run(c, in, out);
    if (e.kind == ERR_WAIT)
        e = c->work(c, c->work_self);
    if (ret_error != NULL)
        *ret_error = c->error;
    return e;
}

static Str new_key(struct world *w, struct arena *a)
{
    struct kms_CreateKey_in in = { .description = S("d") };
    struct kms_CreateKey_out out = { 0 };
    EXPECT_OK(run(w, a, "CreateKey", &in, &out, NULL));
    return out.key_metadata->key_id;
}

static Str encrypt(struct world *w, struct arena *a, Str key, Str plain)
{
    struct kms_Encrypt_in in = { .key_id = key, .plaintext = plain };
    struct kms_Encrypt_out out = { 0 };
    EXPECT_OK(run(w, a, "Encrypt", &in, &out, NULL));
    return out.ciphertext_blob;
}

static Err decrypt(struct world *w, struct arena *a, Str blob, Str *ret,
                   const struct api_error **ret_error)
{
    struct kms_Decrypt_in in = { .ciphertext_blob = blob };
    struct kms_Decrypt_out out = { 0 };
    TRY(run(w, a, "Decrypt", &in, &out, ret_error));
    *ret = out.plaintext;
    return OK;
}

TEST(keys_and_aliases_are_there_after_a_restart_and_decrypt_what_they_did)
{
    struct world w;
    world_open(&w);
    Str key = new_key(&w, a), back;
    struct kms_CreateAlias_in alias = { .alias_name = S("alias/a"), .target_key_id = key };
    EXPECT_OK(run(&w, a, "CreateAlias", &alias, NULL, NULL));
    Str blob = encrypt(&w, a, S("alias/a"), S("secret"));
    reopen(&w);
    EXPECT_OK(decrypt(&w, a, blob, &back, NULL));
    EXPECT_STR(S("secret"), back);
    encrypt(&w, a, S("alias/a"), S("again"));
    world_close(&w);
}

TEST(keys_without_their_master_key_stop_the_start)
{
    struct world w;
    world_open(&w);
    new_key(&w, a);
    kms_service.close(w.kms);
    w.kms = NULL;
    struct io *io = io_mem_io(w.disk);
    EXPECT_OK(io->unlink(io, S("/master.key")));
    EXPECT_ERR(ERR_CORRUPT, try_open(&w));
    world_close(&w);
}

TEST(a_key_that_is_to_be_deleted_is_of_no_use_and_then_gone_with_its_aliases)
{
    struct world w;
    world_open(&w);
    const struct api_error *error;
    Str key = new_key(&w, a), back;
    Str blob = encrypt(&w, a, key, S("x"));
    struct kms_CreateAlias_in alias = { .alias_name = S("alias/a"), .target_key_id = key };
    EXPECT_OK(run(&w, a, "CreateAlias", &alias, NULL, NULL));
    struct kms_ScheduleKeyDeletion_in in = { .key_id = key, .pending_window_in_days = 7 };
    struct kms_ScheduleKeyDeletion_out out = { 0 };
    EXPECT_OK(run(&w, a, "ScheduleKeyDeletion", &in, &out, NULL));
    EXPECT_ERR(ERR_FAULT, decrypt(&w, a, blob, &back, &error));
    EXPECT(error == &kms_KMSInvalidStateException);
    w.now_ns += 7 * DAY_NS;
    EXPECT_ERR(ERR_FAULT, decrypt(&w, a, blob, &back, &error));
    EXPECT(error == &kms_AccessDeniedException); // as of a key that never was
    new_key(&w, a);                              // whatever changes sweeps
    struct kms *s = w.kms;
    EXPECT_INT(1, map_count(s->keys));
    EXPECT_INT(0, map_count(s->aliases));
    reopen(&w);
    s = w.kms;
    EXPECT_INT(1, map_count(s->keys));
    world_close(&w);
}

TEST(a_cancelled_deletion_leaves_a_disabled_key)
{
    struct world w;
    world_open(&w);
    const struct api_error *error;
    Str key = new_key(&w, a);
    struct kms_ScheduleKeyDeletion_in in = { .key_id = key, .pending_window_in_days = 7 };
    struct kms_ScheduleKeyDeletion_out out = { 0 };
    struct kms_CancelKeyDeletion_in cancel = { .key_id = key };
    struct kms_CancelKeyDeletion_out cancelled = { 0 };
    EXPECT_OK(run(&w, a, "ScheduleKeyDeletion", &in, &out, NULL));
    EXPECT_OK(run(&w, a, "CancelKeyDeletion", &cancel, &cancelled, NULL));
    struct kms_Encrypt_in encrypts = { .key_id = key, .plaintext = S("x") };
    struct kms_Encrypt_out encrypted = { 0 };
    EXPECT_ERR(ERR_FAULT, run(&w, a, "Encrypt", &encrypts, &encrypted, &error));
    EXPECT(error == &kms_DisabledException);
    world_close(&w);
}

TEST(a_key_rotates_by_itself_when_it_is_used_after_its_period)
{
    struct world w;
    world_open(&w);
    Str key = new_key(&w, a), back;
    Str before = encrypt(&w, a, key, S("old"));
    struct kms_EnableKeyRotation_in in = { .key_id = key, .rotation_period_in_days = 90 };
    EXPECT_OK(run(&w, a, "EnableKeyRotation", &in, NULL, NULL));
    w.now_ns += 91 * DAY_NS;
    Str after = encrypt(&w, a, key, S("new"));
    struct kms *s = w.kms;
    AUTO(key) k = kms_look_id(s, key, 0);
    EXPECT_INT(2, k->material_count);
    EXPECT_OK(decrypt(&w, a, before, &back, NULL));
    EXPECT_STR(S("old"), back);
    EXPECT_OK(decrypt(&w, a, after, &back, NULL));
    EXPECT_STR(S("new"), back);
    world_close(&w);
}

TEST(a_context_is_the_same_in_any_order_and_cannot_be_forged)
{
    kms_EncryptionContextType_entry one[] = { { S("a"), S("1") }, { S("b"), S("2") } };
    kms_EncryptionContextType_entry two[] = { { S("b"), S("2") }, { S("a"), S("1") } };
    kms_EncryptionContextType_entry odd[] = { { S("a"), S("11:1:b2") } };
    kms_EncryptionContextType x = { .at = one, .n = 2 }, y = { .at = two, .n = 2 },
                              z = { .at = odd, .n = 1 };
    EXPECT(str_eq(kms_context(a, x), kms_context(a, y)));
    EXPECT(!str_eq(kms_context(a, x), kms_context(a, z)));
    EXPECT_STR(S(""), kms_context(a, (kms_EncryptionContextType){ 0 }));
}

TEST(other_services_get_data_keys_that_only_the_right_context_unwraps)
{
    struct world w;
    world_open(&w);
    struct call *c = call_of(&w, a, "Encrypt");
    const struct hub_keys *keys = w.hub.keys;
    unsigned char plain[HUB_KEY_BYTES], back[HUB_KEY_BYTES];
    Str arn, wrapped;
    HubKeyAnswer answer;
    c->state = NULL; // another service's
    EXPECT_OK(keys->find(keys->self, c, S("alias/aws/kinesis"), &arn, &answer));
    EXPECT(answer.fault == HUB_KEY_GOOD);
    Str again;
    EXPECT_OK(keys->find(keys->self, c, S("alias/aws/kinesis"), &again, &answer));
    EXPECT_STR(arn, again); // made once
    keys->make(keys->self, c, arn, S("s"), plain, &wrapped, &answer);
    EXPECT(answer.fault == HUB_KEY_GOOD);
    keys->unwrap(keys->self, c, arn, S("s"), wrapped, back, &answer);
    EXPECT(answer.fault == HUB_KEY_GOOD && memcmp(plain, back, sizeof plain) == 0);
    keys->unwrap(keys->self, c, arn, S("t"), wrapped, back, &answer);
    EXPECT(answer.fault == HUB_KEY_DAMAGED);
    EXPECT_OK(keys->find(keys->self, c, S("alias/none"), &again, &answer));
    EXPECT(answer.fault == HUB_KEY_NOT_FOUND);
    Str key = new_key(&w, a);
    struct kms_DisableKey_in off = { .key_id = key };
    EXPECT_OK(run(&w, a, "DisableKey", &off, NULL, NULL));
    EXPECT_OK(keys->find(keys->self, c, key, &again, &answer));
    EXPECT(answer.fault == HUB_KEY_DISABLED);
    keys->check(keys->self, c, again, S("kms:Decrypt"), &answer);
    EXPECT(answer.fault == HUB_KEY_DISABLED);
    world_close(&w);
}
