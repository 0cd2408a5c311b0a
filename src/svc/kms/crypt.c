// SPDX-License-Identifier: Apache-2.0
// What keys are for: Encrypt, Decrypt, ReEncrypt and data keys. From memory; only a key whose
// rotation is due goes to the pool first.
#include "base/time.h"
#include "svc/kms/kms.h"

#include <string.h>

static Err dry_run(struct call *c)
{
    return call_fail(c, &kms_DryRunOperationException,
                     "The request would have succeeded, but the DryRun option is set.");
}

static Err check_algorithm(struct call *c, const struct key *k, Str algorithm)
{
    if (algorithm.p == NULL || str_eq(algorithm, kms_EncryptionAlgorithmSpec_SYMMETRIC_DEFAULT))
        return OK;
    return call_fail(c, &kms_ValidationException,
                     "Algorithm %.*s and key spec SYMMETRIC_DEFAULT of %.*s are incompatible.",
                     FMT(algorithm), FMT(k->arn));
}

static bool is_due(const struct call *c, const struct key *k)
{
    return key_next_rotation_ms(k) <= kms_now_ms(c);
}

// Rotates what is due, then runs the operation again.
struct again {
    const void *in;
    void *out;
};

static Err sweep_and_run(struct call *c, void *self)
{
    struct again *g = self;
    struct kms *s = c->state;
    kms_change_begin(s);
    Err e = kms_sweep(s, kms_now_ms(c));
    kms_change_end(s);
    TRY(e);
    return c->op->run(c, g->in, g->out);
}

static Err run_after_sweep(struct call *c, const void *in, void *out)
{
    struct again *g = arena_new(c->arena, struct again, 1);
    *g = (struct again){ .in = in, .out = out };
    return call_on_pool(c, sweep_and_run, g);
}

Err kms_Encrypt(struct call *c, const struct kms_Encrypt_in *in, struct kms_Encrypt_out *out)
{
    struct kms *s = c->state;
    AUTO(key) k = NULL;
    TRY(kms_find(c, in->key_id, &k));
    TRY(kms_require_usable(c, k));
    TRY(check_algorithm(c, k, in->encryption_algorithm));
    if (is_due(c, k))
        return run_after_sweep(c, in, out);
    if (in->dry_run)
        return dry_run(c);
    Str context = kms_context(c->arena, in->encryption_context);
    out->ciphertext_blob = key_encrypt(s->env.io, k, c->arena, context, in->plaintext);
    out->key_id = str_dup(c->arena, k->arn);
    out->encryption_algorithm = kms_EncryptionAlgorithmSpec_SYMMETRIC_DEFAULT;
    return OK;
}

// AWS has no words for it.
static Err bad_ciphertext(struct call *c)
{
    Err e = call_fail(c, &kms_InvalidCiphertextException, "%s", "");
    c->error_text = (Str){ 0 };
    return e;
}

// The key of a ciphertext, held against the one that the caller expects, and what is in it.
static Err open_blob(struct call *c, Str blob, kms_EncryptionContextType context, Str expected,
                     struct key **ret, Str *ret_plain, Str *ret_material)
{
    struct kms *s = c->state;
    AUTO(key) want = NULL;
    AUTO(key) k = NULL;
    Str id = { 0 };
    bool ours = key_of_blob(c->arena, blob, &id).kind == ERR_NONE;
    if (expected.p != NULL)
        TRY(kms_find(c, expected, &want));
    if (!ours)
        return bad_ciphertext(c);
    k = kms_look_id(s, id, kms_now_ms(c));
    if (want != NULL && !str_eq(want->id, id))
        return call_fail(c, &kms_IncorrectKeyException,
                         "The key ID in the request does not identify a CMK that can perform this "
                         "operation.");
    if (k == NULL || !str_eq(k->region, c->region) || !str_eq(k->account, c->account))
        return call_fail(c, &kms_AccessDeniedException,
                         "The ciphertext refers to a customer master key that does not exist, does "
                         "not exist in this region, or you are not allowed to access.");
    TRY(kms_require_usable(c, k));
    Err e = key_decrypt(k, c->arena, kms_context(c->arena, context), blob, ret_plain, ret_material);
    if (e.kind == ERR_CORRUPT)
        return bad_ciphertext(c);
    TRY(e);
    *ret = key_ref(k);
    return OK;
}

Err kms_Decrypt(struct call *c, const struct kms_Decrypt_in *in, struct kms_Decrypt_out *out)
{
    AUTO(key) k = NULL;
    Str plain, material;
    TRY(open_blob(c, in->ciphertext_blob, in->encryption_context, in->key_id, &k, &plain,
                  &material));
    TRY(check_algorithm(c, k, in->encryption_algorithm));
    if (in->dry_run)
        return dry_run(c);
    out->key_id = str_dup(c->arena, k->arn);
    out->plaintext = plain;
    out->key_material_id = material;
    out->encryption_algorithm = kms_EncryptionAlgorithmSpec_SYMMETRIC_DEFAULT;
    return OK;
}

// Both keys must be of the caller's account here; each is asked about for itself, in AWS by two
// permissions, kms:ReEncryptFrom and kms:ReEncryptTo.
static Err may_use(struct call *c, const struct key *k, Str action)
{
    struct kms *s = c->state;
    const struct access_guard *guard = s->env.hub != NULL ? s->env.hub->access : NULL;
    AccessTarget t = { .action = action,
                       .resource = k->arn,
                       .account = k->account,
                       .policy = k->policy,
                       .policy_decides = true };
    Str text = S("");
    if (guard == NULL || s->env.dev || guard->may(guard->self, c, &t, &text))
        return OK;
    return call_fail(c, &kms_AccessDeniedException, "%.*s", FMT(text));
}

Err kms_ReEncrypt(struct call *c, const struct kms_ReEncrypt_in *in, struct kms_ReEncrypt_out *out)
{
    struct kms *s = c->state;
    AUTO(key) from = NULL;
    AUTO(key) to = NULL;
    Str plain, material;
    TRY(kms_find(c, in->destination_key_id, &to));
    TRY(kms_require_usable(c, to));
    TRY(check_algorithm(c, to, in->destination_encryption_algorithm));
    if (is_due(c, to))
        return run_after_sweep(c, in, out);
    TRY(open_blob(c, in->ciphertext_blob, in->source_encryption_context, in->source_key_id, &from,
                  &plain, &material));
    TRY(check_algorithm(c, from, in->source_encryption_algorithm));
    TRY(may_use(c, from, S("kms:ReEncryptFrom")));
    TRY(may_use(c, to, S("kms:ReEncryptTo")));
    if (in->dry_run)
        return dry_run(c);
    Str context = kms_context(c->arena, in->destination_encryption_context);
    out->ciphertext_blob = key_encrypt(s->env.io, to, c->arena, context, plain);
    out->source_key_id = str_dup(c->arena, from->arn);
    out->key_id = str_dup(c->arena, to->arn);
    out->source_encryption_algorithm = kms_EncryptionAlgorithmSpec_SYMMETRIC_DEFAULT;
    out->destination_encryption_algorithm = kms_EncryptionAlgorithmSpec_SYMMETRIC_DEFAULT;
    return OK;
}

// ---- Data keys

typedef struct DataKey {
    Str plain, blob, arn, material;
} DataKey;

static Err length_of(struct call *c, Str spec, bool has_bytes, int32_t bytes, size_t *ret)
{
    if (has_bytes == (spec.p != NULL))
        return call_fail(c, &kms_ValidationException,
                         "Please specify either number of bytes or key spec.");
    *ret = has_bytes ? (size_t)bytes : str_eq(spec, kms_DataKeySpec_AES_256) ? 32 : 16;
    return OK;
}

static Err make_data_key(struct call *c, const struct key *k, kms_EncryptionContextType context,
                         size_t n, DataKey *ret)
{
    struct kms *s = c->state;
    unsigned char *plain = arena_alloc(c->arena, n, 1);
    s->env.io->random(s->env.io, plain, n);
    *ret = (DataKey){ .plain = str_from(plain, n),
                      .blob = key_encrypt(s->env.io, k, c->arena, kms_context(c->arena, context),
                                          str_from(plain, n)),
                      .arn = str_dup(c->arena, k->arn),
                      .material = str_dup(c->arena, k->materials[k->material_count - 1].id) };
    return OK;
}

Err kms_GenerateDataKey(struct call *c, const struct kms_GenerateDataKey_in *in,
                        struct kms_GenerateDataKey_out *out)
{
    AUTO(key) k = NULL;
    DataKey made;
    size_t n = 0;
    TRY(length_of(c, in->key_spec, in->has_number_of_bytes, in->number_of_bytes, &n));
    TRY(kms_find(c, in->key_id, &k));
    TRY(kms_require_usable(c, k));
    if (is_due(c, k))
        return run_after_sweep(c, in, out);
    if (in->dry_run)
        return dry_run(c);
    TRY(make_data_key(c, k, in->encryption_context, n, &made));
    out->ciphertext_blob = made.blob;
    out->plaintext = made.plain;
    out->key_id = made.arn;
    out->key_material_id = made.material;
    return OK;
}

Err kms_GenerateDataKeyWithoutPlaintext(struct call *c,
                                        const struct kms_GenerateDataKeyWithoutPlaintext_in *in,
                                        struct kms_GenerateDataKeyWithoutPlaintext_out *out)
{
    AUTO(key) k = NULL;
    DataKey made;
    size_t n = 0;
    TRY(length_of(c, in->key_spec, in->has_number_of_bytes, in->number_of_bytes, &n));
    TRY(kms_find(c, in->key_id, &k));
    TRY(kms_require_usable(c, k));
    if (is_due(c, k))
        return run_after_sweep(c, in, out);
    if (in->dry_run)
        return dry_run(c);
    TRY(make_data_key(c, k, in->encryption_context, n, &made));
    out->ciphertext_blob = made.blob;
    out->key_id = made.arn;
    out->key_material_id = made.material;
    return OK;
}

Err kms_GenerateRandom(struct call *c, const struct kms_GenerateRandom_in *in,
                       struct kms_GenerateRandom_out *out)
{
    struct kms *s = c->state;
    if (!in->has_number_of_bytes)
        return call_fail(c, &kms_ValidationException, "NumberOfBytes is a required parameter.");
    size_t n = (size_t)in->number_of_bytes;
    unsigned char *plain = arena_alloc(c->arena, n, 1);
    s->env.io->random(s->env.io, plain, n);
    out->plaintext = str_from(plain, n);
    return OK;
}
