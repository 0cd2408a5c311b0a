// SPDX-License-Identifier: Apache-2.0
// Keys as a whole: made, described, listed, switched, deleted, rotated.
#include "base/time.h"
#include "svc/kms/kms.h"

#include <stdlib.h>

#define DAY_MS (INT64_C(86400) * 1000)

static Str state_of(const struct key *k)
{
    if (k->deletion_ms > 0)
        return kms_KeyState_PendingDeletion;
    return k->enabled ? kms_KeyState_Enabled : kms_KeyState_Disabled;
}

static const kms_KeyMetadata *describe(struct arena *a, const struct key *k)
{
    kms_KeyMetadata *m = arena_new(a, kms_KeyMetadata, 1);
    *m = (kms_KeyMetadata){
        .aws_account_id = str_dup(a, k->account),
        .key_id = str_dup(a, k->id),
        .arn = str_dup(a, k->arn),
        .creation_date = k->created_ms * NS_PER_MS,
        .has_creation_date = true,
        .enabled = k->enabled && k->deletion_ms == 0,
        .has_enabled = true,
        .description = str_dup(a, k->description),
        .key_usage = kms_KeyUsageType_ENCRYPT_DECRYPT,
        .key_state = state_of(k),
        .deletion_date = k->deletion_ms * NS_PER_MS,
        .has_deletion_date = k->deletion_ms > 0,
        .origin = kms_OriginType_AWS_KMS,
        .key_manager = k->managed ? kms_KeyManagerType_AWS : kms_KeyManagerType_CUSTOMER,
        .customer_master_key_spec = kms_CustomerMasterKeySpec_SYMMETRIC_DEFAULT,
        .key_spec = kms_KeySpec_SYMMETRIC_DEFAULT,
        .has_multi_region = true,
        .current_key_material_id = str_dup(a, k->materials[k->material_count - 1].id),
    };
    m->encryption_algorithms =
        (kms_EncryptionAlgorithmSpecList){ .set = true, .n = 1, .at = arena_new(a, Str, 1) };
    m->encryption_algorithms.at[0] = kms_EncryptionAlgorithmSpec_SYMMETRIC_DEFAULT;
    return m;
}

// ---- CreateKey

static Err check_create(struct call *c, const struct kms_CreateKey_in *in)
{
    const struct {
        Str given, served;
        const char *member;
    } members[] = {
        { in->key_usage, kms_KeyUsageType_ENCRYPT_DECRYPT, "KeyUsage" },
        { in->customer_master_key_spec, kms_CustomerMasterKeySpec_SYMMETRIC_DEFAULT,
          "CustomerMasterKeySpec" },
        { in->key_spec, kms_KeySpec_SYMMETRIC_DEFAULT, "KeySpec" },
        { in->origin, kms_OriginType_AWS_KMS, "Origin" },
    };
    for (size_t i = 0; i < COUNT_OF(members); i++)
        if (members[i].given.p != NULL && !str_eq(members[i].given, members[i].served))
            return call_fail(c, &kms_UnsupportedOperationException, "%s %.*s is not supported.",
                             members[i].member, FMT(members[i].given));
    if (in->has_multi_region && in->multi_region)
        return call_fail(c, &kms_UnsupportedOperationException,
                         "Multi-Region keys are not supported.");
    if (in->tags.n > KEY_TAGS_MAX)
        return call_fail(c, &kms_LimitExceededException, "A key may have at most %d tags.",
                         KEY_TAGS_MAX);
    return OK;
}

static Err bad_policy(struct call *c, Err e)
{
    if (e.kind == ERR_LIMIT)
        return call_fail(c, &kms_LimitExceededException, "The key policy is too large.");
    if (e.kind == ERR_INVALID)
        return call_fail(c, &kms_MalformedPolicyDocumentException, "%s", e.text);
    return e;
}

static Err check_tags(struct call *c, kms_TagList tags)
{
    for (size_t i = 0; i < tags.n; i++)
        if (str_starts(tags.at[i].tag_key, S("aws:")))
            return call_fail(c, &kms_TagException,
                             "Tags cannot begin with aws: as it is reserved.");
    return OK;
}

Err kms_CreateKey(struct call *c, const struct kms_CreateKey_in *in, struct kms_CreateKey_out *out)
{
    struct kms *s = c->state;
    AUTO(key) k = NULL;
    TRY(check_create(c, in));
    TRY(check_tags(c, in->tags));
    TRY(key_new(s->env.io, c->account, c->region, kms_now_ms(c), &k));
    if (in->description.p != NULL)
        k->description = str_dup(k->arena, in->description);
    if (in->policy.p != NULL) {
        Err e = key_set_policy(k, in->policy);
        if (e.kind != ERR_NONE)
            return bad_policy(c, e);
    }
    for (size_t i = 0; i < in->tags.n; i++)
        key_set_tag(k, in->tags.at[i].tag_key, in->tags.at[i].tag_value);
    kms_change_begin(s);
    Err e = kms_sweep(s, kms_now_ms(c));
    if (e.kind == ERR_NONE)
        e = kms_put_key(s, key_ref(k));
    kms_change_end(s);
    TRY(e);
    out->key_metadata = describe(c->arena, k);
    return OK;
}

Err kms_DescribeKey(struct call *c, const struct kms_DescribeKey_in *in,
                    struct kms_DescribeKey_out *out)
{
    AUTO(key) k = NULL;
    TRY(kms_find_or_make(c, in->key_id, &k));
    out->key_metadata = describe(c->arena, k);
    return OK;
}

// ---- ListKeys

static int by_id(const void *x, const void *y)
{
    return str_cmp(((const kms_KeyListEntry *)x)->key_id, ((const kms_KeyListEntry *)y)->key_id);
}

Err kms_ListKeys(struct call *c, const struct kms_ListKeys_in *in, struct kms_ListKeys_out *out)
{
    struct kms *s = c->state;
    Str id;
    void *value;
    kms_KeyList all = { .set = true };
    pthread_rwlock_rdlock(&s->lock);
    all.at = arena_new(c->arena, kms_KeyListEntry, map_count(s->keys));
    for (size_t at = 0; map_next(s->keys, &at, &id, &value);) {
        const struct key *k = value;
        bool shown = str_eq(k->account, c->account) && str_eq(k->region, c->region) &&
                     !key_is_over(k, kms_now_ms(c)) &&
                     (in->marker.p == NULL || str_cmp(k->id, in->marker) > 0);
        if (shown)
            all.at[all.n++] =
                (kms_KeyListEntry){ str_dup(c->arena, k->id), str_dup(c->arena, k->arn) };
    }
    pthread_rwlock_unlock(&s->lock);
    if (all.n > 0)
        qsort(all.at, all.n, sizeof *all.at, by_id);
    if (all.n > (size_t)in->limit) {
        all.n = (size_t)in->limit;
        out->truncated = true;
        out->next_marker = all.at[all.n - 1].key_id;
    }
    out->keys = all;
    return OK;
}

// ---- States

static Err edit_enabled(struct call *c, struct key *copy, const void *arg)
{
    TRY(kms_require_kept(c, copy));
    TRY(kms_require_customer(c, copy));
    copy->enabled = *(const bool *)arg;
    return OK;
}

Err kms_EnableKey(struct call *c, const struct kms_EnableKey_in *in)
{
    bool enabled = true;
    return kms_edit(c, in->key_id, edit_enabled, &enabled);
}

Err kms_DisableKey(struct call *c, const struct kms_DisableKey_in *in)
{
    bool enabled = false;
    return kms_edit(c, in->key_id, edit_enabled, &enabled);
}

struct deletion {
    int64_t at_ms;
    struct arena *a;
    Str *arn;
};

static Err edit_deletion(struct call *c, struct key *copy, const void *arg)
{
    const struct deletion *d = arg;
    bool cancels = d->at_ms == 0;
    TRY(kms_require_customer(c, copy));
    if (cancels && copy->deletion_ms == 0)
        return call_fail(c, &kms_KMSInvalidStateException, "%.*s is not pending deletion.",
                         FMT(copy->arn));
    if (!cancels)
        TRY(kms_require_kept(c, copy));
    copy->deletion_ms = d->at_ms;
    copy->enabled = false; // one whose deletion was cancelled is disabled, says the manual
    *d->arn = str_dup(d->a, copy->arn);
    return OK;
}

Err kms_ScheduleKeyDeletion(struct call *c, const struct kms_ScheduleKeyDeletion_in *in,
                            struct kms_ScheduleKeyDeletion_out *out)
{
    struct deletion d = { .at_ms = kms_now_ms(c) + in->pending_window_in_days * DAY_MS,
                          .a = c->arena,
                          .arn = &out->key_id };
    TRY(kms_edit(c, in->key_id, edit_deletion, &d));
    out->deletion_date = d.at_ms * NS_PER_MS;
    out->has_deletion_date = true;
    out->key_state = kms_KeyState_PendingDeletion;
    out->pending_window_in_days = in->pending_window_in_days;
    out->has_pending_window_in_days = true;
    return OK;
}

Err kms_CancelKeyDeletion(struct call *c, const struct kms_CancelKeyDeletion_in *in,
                          struct kms_CancelKeyDeletion_out *out)
{
    struct deletion d = { .a = c->arena, .arn = &out->key_id };
    return kms_edit(c, in->key_id, edit_deletion, &d);
}

static Err edit_description(struct call *c, struct key *copy, const void *arg)
{
    TRY(kms_require_kept(c, copy));
    TRY(kms_require_customer(c, copy));
    copy->description = str_dup(copy->arena, *(const Str *)arg);
    return OK;
}

Err kms_UpdateKeyDescription(struct call *c, const struct kms_UpdateKeyDescription_in *in)
{
    return kms_edit(c, in->key_id, edit_description, &in->description);
}

// ---- Policies and tags

static Err check_policy_name(struct call *c, Str name)
{
    return str_eq(name, S("default"))
               ? OK
               : call_fail(c, &kms_NotFoundException, "No such policy exists");
}

Err kms_GetKeyPolicy(struct call *c, const struct kms_GetKeyPolicy_in *in,
                     struct kms_GetKeyPolicy_out *out)
{
    AUTO(key) k = NULL;
    TRY(kms_find(c, in->key_id, &k));
    TRY(check_policy_name(c, in->policy_name));
    out->policy = str_dup(c->arena, policy_document(k->policy));
    out->policy_name = in->policy_name;
    return OK;
}

static Err edit_policy(struct call *c, struct key *copy, const void *arg)
{
    TRY(kms_require_customer(c, copy));
    Err e = key_set_policy(copy, *(const Str *)arg);
    return e.kind == ERR_NONE ? OK : bad_policy(c, e);
}

Err kms_PutKeyPolicy(struct call *c, const struct kms_PutKeyPolicy_in *in)
{
    TRY(check_policy_name(c, in->policy_name));
    return kms_edit(c, in->key_id, edit_policy, &in->policy);
}

Err kms_ListKeyPolicies(struct call *c, const struct kms_ListKeyPolicies_in *in,
                        struct kms_ListKeyPolicies_out *out)
{
    AUTO(key) k = NULL;
    TRY(kms_find(c, in->key_id, &k));
    out->policy_names =
        (kms_PolicyNameList){ .set = true, .n = 1, .at = arena_new(c->arena, Str, 1) };
    out->policy_names.at[0] = S("default");
    return OK;
}

static Err edit_add_tags(struct call *c, struct key *copy, const void *arg)
{
    const kms_TagList *tags = arg;
    TRY(kms_require_kept(c, copy));
    TRY(kms_require_customer(c, copy));
    for (size_t i = 0; i < tags->n; i++)
        key_set_tag(copy, tags->at[i].tag_key, tags->at[i].tag_value);
    if (copy->tag_count > KEY_TAGS_MAX)
        return call_fail(c, &kms_LimitExceededException, "A key may have at most %d tags.",
                         KEY_TAGS_MAX);
    return OK;
}

Err kms_TagResource(struct call *c, const struct kms_TagResource_in *in)
{
    TRY(check_tags(c, in->tags));
    return kms_edit(c, in->key_id, edit_add_tags, &in->tags);
}

static Err edit_drop_tags(struct call *c, struct key *copy, const void *arg)
{
    const kms_TagKeyList *keys = arg;
    TRY(kms_require_kept(c, copy));
    TRY(kms_require_customer(c, copy));
    for (size_t i = 0; i < keys->n; i++)
        key_drop_tag(copy, keys->at[i]);
    return OK;
}

Err kms_UntagResource(struct call *c, const struct kms_UntagResource_in *in)
{
    return kms_edit(c, in->key_id, edit_drop_tags, &in->tag_keys);
}

Err kms_ListResourceTags(struct call *c, const struct kms_ListResourceTags_in *in,
                         struct kms_ListResourceTags_out *out)
{
    AUTO(key) k = NULL;
    TRY(kms_find(c, in->key_id, &k));
    out->tags = (kms_TagList){ .set = true, .at = arena_new(c->arena, kms_Tag, k->tag_count) };
    for (size_t i = 0; i < k->tag_count; i++) {
        if (in->marker.p != NULL && str_cmp(k->tags[i].key, in->marker) <= 0)
            continue;
        if (out->tags.n == (size_t)in->limit) {
            out->truncated = true;
            out->next_marker = out->tags.at[out->tags.n - 1].tag_key;
            break;
        }
        out->tags.at[out->tags.n++] = (kms_Tag){ .tag_key = str_dup(c->arena, k->tags[i].key),
                                                 .tag_value = str_dup(c->arena, k->tags[i].value) };
    }
    return OK;
}

// ---- Rotation

struct rotation {
    int64_t days; // 0: none
    int64_t now_ms;
};

static Err edit_rotation(struct call *c, struct key *copy, const void *arg)
{
    const struct rotation *r = arg;
    TRY(kms_require_customer(c, copy));
    TRY(kms_require_usable(c, copy));
    if (r->days > 0 && copy->rotation_days == 0)
        copy->rotation_from_ms = r->now_ms;
    copy->rotation_days = r->days;
    return OK;
}

Err kms_EnableKeyRotation(struct call *c, const struct kms_EnableKeyRotation_in *in)
{
    struct rotation r = { .days = in->rotation_period_in_days, .now_ms = kms_now_ms(c) };
    return kms_edit(c, in->key_id, edit_rotation, &r);
}

Err kms_DisableKeyRotation(struct call *c, const struct kms_DisableKeyRotation_in *in)
{
    struct rotation r = { .now_ms = kms_now_ms(c) };
    return kms_edit(c, in->key_id, edit_rotation, &r);
}

static Err edit_rotate(struct call *c, struct key *copy, const void *arg)
{
    size_t on_demand = 0;
    TRY(kms_require_customer(c, copy));
    TRY(kms_require_usable(c, copy));
    for (size_t i = 0; i < copy->material_count; i++)
        on_demand += copy->materials[i].on_demand;
    if (on_demand >= KEY_ROTATIONS_ON_DEMAND_MAX)
        return call_fail(c, &kms_LimitExceededException,
                         "%.*s has been rotated on demand %zu times, which is the limit.",
                         FMT(copy->arn), on_demand);
    struct kms *s = c->state;
    key_add_material(s->env.io, copy, kms_now_ms(c), true);
    *(Str *)(uintptr_t)arg = str_dup(c->arena, copy->id);
    return OK;
}

Err kms_RotateKeyOnDemand(struct call *c, const struct kms_RotateKeyOnDemand_in *in,
                          struct kms_RotateKeyOnDemand_out *out)
{
    return kms_edit(c, in->key_id, edit_rotate, &out->key_id);
}

static Err sweep(struct call *c)
{
    struct kms *s = c->state;
    kms_change_begin(s);
    Err e = kms_sweep(s, kms_now_ms(c));
    kms_change_end(s);
    return e;
}

Err kms_GetKeyRotationStatus(struct call *c, const struct kms_GetKeyRotationStatus_in *in,
                             struct kms_GetKeyRotationStatus_out *out)
{
    AUTO(key) k = NULL;
    TRY(sweep(c));
    TRY(kms_find(c, in->key_id, &k));
    TRY(kms_require_kept(c, k));
    out->key_rotation_enabled = k->rotation_days > 0;
    out->has_key_rotation_enabled = true;
    out->key_id = str_dup(c->arena, k->arn);
    if (k->rotation_days > 0) {
        out->rotation_period_in_days = (int32_t)k->rotation_days;
        out->has_rotation_period_in_days = true;
        out->next_rotation_date = key_next_rotation_ms(k) * NS_PER_MS;
        out->has_next_rotation_date = true;
    }
    return OK;
}

Err kms_ListKeyRotations(struct call *c, const struct kms_ListKeyRotations_in *in,
                         struct kms_ListKeyRotations_out *out)
{
    AUTO(key) k = NULL;
    TRY(sweep(c));
    TRY(kms_find(c, in->key_id, &k));
    TRY(kms_require_kept(c, k));
    bool all = str_eq(in->include_key_material, kms_IncludeKeyMaterial_ALL_KEY_MATERIAL);
    uint64_t from = 0;
    if (in->marker.p != NULL && str_u64(in->marker, &from).kind != ERR_NONE)
        return call_fail(c, &kms_InvalidMarkerException, "Invalid marker");
    out->rotations.set = true;
    out->rotations.at = arena_new(c->arena, kms_RotationsListEntry, k->material_count);
    for (size_t i = all ? 0 : 1; i < k->material_count; i++) {
        const KeyMaterial *m = &k->materials[i];
        if (i < from)
            continue;
        if (out->rotations.n == (size_t)in->limit) {
            out->truncated = true;
            out->next_marker = str_fmt(c->arena, "%zu", i);
            break;
        }
        kms_RotationsListEntry *e = &out->rotations.at[out->rotations.n++];
        e->key_id = str_dup(c->arena, k->arn);
        e->key_material_id = str_dup(c->arena, m->id);
        e->key_material_state = i + 1 == k->material_count ? kms_KeyMaterialState_CURRENT
                                                           : kms_KeyMaterialState_NON_CURRENT;
        if (i == 0)
            continue; // made, not rotated
        e->rotation_date = m->created_ms * NS_PER_MS;
        e->has_rotation_date = true;
        e->rotation_type = m->on_demand ? kms_RotationType_ON_DEMAND : kms_RotationType_AUTOMATIC;
    }
    return OK;
}
