// SPDX-License-Identifier: Apache-2.0
// DescribeSecret, DeleteSecret, RestoreSecret, UpdateSecretVersionStage, tags; what is refused:
// replicas.
#include "base/time.h"
#include "svc/secretsmanager/secretsmanager.h"

enum { WINDOW_DAYS_MIN = 7, WINDOW_DAYS_MAX = 30 };
#define DAY_MS (INT64_C(86400) * 1000)

// ---- DescribeSecret

Err secretsmanager_DescribeSecret(struct call *c, const struct secretsmanager_DescribeSecret_in *in,
                                  struct secretsmanager_DescribeSecret_out *out)
{
    AUTO(secret) x = NULL;
    AUTO_BUF(row);
    TRY(secrets_find(c, in->secret_id, &x));
    secret_row_write(&row, x); // a copy in the call's arena, by the way of its row
    TRY(buf_err(&row));
    return secret_row_tell(c->arena, str_dup(c->arena, buf_str(&row)), out);
}

// ---- Going and coming back

typedef struct Deletion {
    int64_t gone_ms;
} Deletion;

static Err edit_delete(struct call *c, SecretChange *x, const void *arg)
{
    const Deletion *d = arg;
    TRY(secrets_require_kept(c, x->copy));
    x->copy->d.deleted_date = c->now_ns;
    x->copy->d.has_deleted_date = true;
    x->copy->gone_ms = d->gone_ms;
    return OK;
}

static Err check_delete(struct call *c, const struct secretsmanager_DeleteSecret_in *in)
{
    bool window = in->has_recovery_window_in_days;
    if (window && in->force_delete_without_recovery)
        return call_fail(c, &secretsmanager_InvalidParameterException,
                         "You can't use ForceDeleteWithoutRecovery in conjunction with "
                         "RecoveryWindowInDays.");
    if (window && (in->recovery_window_in_days < WINDOW_DAYS_MIN ||
                   in->recovery_window_in_days > WINDOW_DAYS_MAX))
        return call_fail(c, &secretsmanager_InvalidParameterException,
                         "The RecoveryWindowInDays value must be between %d and %d days "
                         "(inclusive).",
                         WINDOW_DAYS_MIN, WINDOW_DAYS_MAX);
    return OK;
}

// Also one that is marked already, or is not there (API reference, ForceDeleteWithoutRecovery).
static Err delete_now(struct call *c, const struct secretsmanager_DeleteSecret_in *in,
                      struct secretsmanager_DeleteSecret_out *out)
{
    AUTO(secret)
    x = secrets_look(c->state, c->arena, c->account, c->region, in->secret_id, secrets_now_ms(c));
    out->deletion_date = c->now_ns;
    out->has_deletion_date = true;
    out->arn = x != NULL ? str_dup(c->arena, x->d.arn)
                         : str_fmt(c->arena, "arn:aws:secretsmanager:%.*s:%.*s:secret:%.*s",
                                   FMT(c->region), FMT(c->account), FMT(in->secret_id));
    if (x == NULL && str_starts(in->secret_id, S("arn:")))
        out->arn = in->secret_id;
    out->name = x != NULL ? str_dup(c->arena, x->d.name) : in->secret_id;
    return x != NULL ? secrets_forget(c->state, x) : OK;
}

Err secretsmanager_DeleteSecret(struct call *c, const struct secretsmanager_DeleteSecret_in *in,
                                struct secretsmanager_DeleteSecret_out *out)
{
    AUTO(secret) x = NULL;
    SecretChange change = { 0 };
    TRY(check_delete(c, in));
    if (in->force_delete_without_recovery)
        return delete_now(c, in, out);
    int64_t days = in->has_recovery_window_in_days ? in->recovery_window_in_days : WINDOW_DAYS_MAX;
    Deletion d = { .gone_ms = secrets_now_ms(c) + days * DAY_MS };
    TRY(secrets_find_kept(c, in->secret_id, &x));
    TRY(secrets_change(c, x, &change, edit_delete, &d, NULL));
    secrets_run_at(c->state, d.gone_ms);
    out->arn = str_dup(c->arena, x->d.arn);
    out->name = str_dup(c->arena, x->d.name);
    out->deletion_date = d.gone_ms * NS_PER_MS;
    out->has_deletion_date = true;
    return OK;
}

static Err edit_restore(struct call *c, SecretChange *x, const void *arg)
{
    (void)c;
    (void)arg;
    x->copy->d.has_deleted_date = false;
    x->copy->gone_ms = 0;
    return OK;
}

Err secretsmanager_RestoreSecret(struct call *c, const struct secretsmanager_RestoreSecret_in *in,
                                 struct secretsmanager_RestoreSecret_out *out)
{
    AUTO(secret) x = NULL;
    SecretChange change = { 0 };
    TRY(secrets_find(c, in->secret_id, &x));
    TRY(secrets_change(c, x, &change, edit_restore, NULL, NULL)); // one that stays: nothing changes
    out->arn = str_dup(c->arena, x->d.arn);
    out->name = str_dup(c->arena, x->d.name);
    return OK;
}

// ---- Stages

static Err check_move(struct call *c, const struct secretsmanager_UpdateSecretVersionStage_in *in,
                      Str holder)
{
    Str from = in->remove_from_version_id, to = in->move_to_version_id;
    if (from.p != NULL && (holder.p == NULL || !str_eq(holder, from)))
        return call_fail(c, &secretsmanager_InvalidParameterException,
                         "The staging label %.*s is currently not attached to version %.*s.",
                         FMT(in->version_stage), FMT(from));
    if (to.p == NULL && str_eq(in->version_stage, STAGE_CURRENT))
        return call_fail(c, &secretsmanager_InvalidParameterException,
                         "You can only move staging label AWSCURRENT to a different secret "
                         "version. It can't be completely removed.");
    if (to.p != NULL && from.p == NULL && holder.p != NULL && !str_eq(holder, to))
        return call_fail(c, &secretsmanager_InvalidParameterException,
                         "The parameter RemoveFromVersionId can't be empty. Staging label %.*s is "
                         "currently attached to version %.*s, so you must explicitly reference "
                         "that version in RemoveFromVersionId.",
                         FMT(in->version_stage), FMT(holder));
    return OK;
}

static Err edit_stage(struct call *c, SecretChange *x, const void *arg)
{
    const struct secretsmanager_UpdateSecretVersionStage_in *in = arg;
    struct secret *s = x->copy;
    Str holder = secret_version_at(s, in->version_stage), from = in->remove_from_version_id,
        to = in->move_to_version_id;
    bool there = true;
    TRY(secrets_require_kept(c, s));
    if (to.p != NULL) // nobody removes it from here on
        TRY(version_look(c->state, c->arena, s, to, &there));
    if (!there)
        return call_fail(c, &secretsmanager_ResourceNotFoundException,
                         "Secrets Manager can't find the specified secret value for VersionId: "
                         "%.*s",
                         FMT(to));
    TRY(check_move(c, in, holder));
    if (to.p != NULL)
        secret_move_stage(s, to, in->version_stage);
    else if (from.p != NULL)
        secret_drop_stage(s, from, in->version_stage);
    if (secret_stage_count(s) > STAGES_MAX)
        return call_fail(c, &secretsmanager_LimitExceededException,
                         "You have reached the maximum number of staging labels of this secret: "
                         "%d.",
                         STAGES_MAX);
    s->d.last_changed_date = c->now_ns;
    return OK;
}

Err secretsmanager_UpdateSecretVersionStage(
    struct call *c, const struct secretsmanager_UpdateSecretVersionStage_in *in,
    struct secretsmanager_UpdateSecretVersionStage_out *out)
{
    AUTO(secret) x = NULL;
    SecretChange change = { 0 };
    if (in->move_to_version_id.p == NULL && in->remove_from_version_id.p == NULL)
        return call_fail(c, &secretsmanager_InvalidParameterException,
                         "You must provide either MoveToVersionId or RemoveFromVersionId.");
    TRY(secrets_find_kept(c, in->secret_id, &x));
    TRY(secrets_change(c, x, &change, edit_stage, in, NULL));
    out->arn = str_dup(c->arena, x->d.arn);
    out->name = str_dup(c->arena, x->d.name);
    return OK;
}

// ---- Tags

static Err edit_tag(struct call *c, SecretChange *x, const void *arg)
{
    const struct secretsmanager_TagResource_in *in = arg;
    TRY(secrets_require_kept(c, x->copy));
    for (size_t i = 0; i < in->tags.n; i++)
        secret_set_tag(x->copy, in->tags.at[i].key, in->tags.at[i].value);
    if (x->copy->d.tags.n <= SECRET_TAGS_MAX)
        return OK;
    return call_fail(c, &secretsmanager_InvalidParameterException,
                     "A secret can have at most %d tags.", SECRET_TAGS_MAX);
}

static Err check_tags(struct call *c, const secretsmanager_TagListType *tags)
{
    for (size_t i = 0; i < tags->n; i++)
        if (tags->at[i].key.p == NULL || str_starts(tags->at[i].key, S("aws:")))
            return call_fail(c, &secretsmanager_InvalidParameterException,
                             "Tag keys must be given and can't begin with aws:.");
    return OK;
}

Err secretsmanager_TagResource(struct call *c, const struct secretsmanager_TagResource_in *in)
{
    AUTO(secret) x = NULL;
    SecretChange change = { 0 };
    TRY(check_tags(c, &in->tags));
    TRY(secrets_find_kept(c, in->secret_id, &x));
    return secrets_change(c, x, &change, edit_tag, in, NULL);
}

static Err edit_untag(struct call *c, SecretChange *x, const void *arg)
{
    const struct secretsmanager_UntagResource_in *in = arg;
    TRY(secrets_require_kept(c, x->copy));
    for (size_t i = 0; i < in->tag_keys.n; i++)
        secret_drop_tag(x->copy, in->tag_keys.at[i]);
    return OK;
}

Err secretsmanager_UntagResource(struct call *c, const struct secretsmanager_UntagResource_in *in)
{
    AUTO(secret) x = NULL;
    SecretChange change = { 0 };
    TRY(secrets_find_kept(c, in->secret_id, &x));
    return secrets_change(c, x, &change, edit_untag, in, NULL);
}

// ---- Replicas: there are none here

static Err no_replicas(struct call *c, Str name)
{
    AUTO(secret) x = NULL;
    TRY(secrets_find_kept(c, name, &x));
    return call_fail(c, &secretsmanager_InvalidParameterException, "Invalid replica region.");
}

Err secretsmanager_ReplicateSecretToRegions(
    struct call *c, const struct secretsmanager_ReplicateSecretToRegions_in *in,
    struct secretsmanager_ReplicateSecretToRegions_out *out)
{
    (void)out;
    return no_replicas(c, in->secret_id);
}

Err secretsmanager_RemoveRegionsFromReplication(
    struct call *c, const struct secretsmanager_RemoveRegionsFromReplication_in *in,
    struct secretsmanager_RemoveRegionsFromReplication_out *out)
{
    (void)out;
    return no_replicas(c, in->secret_id);
}

Err secretsmanager_StopReplicationToReplica(
    struct call *c, const struct secretsmanager_StopReplicationToReplica_in *in,
    struct secretsmanager_StopReplicationToReplica_out *out)
{
    AUTO(secret) x = NULL;
    (void)out;
    TRY(secrets_find_kept(c, in->secret_id, &x));
    return call_fail(c, &secretsmanager_InvalidRequestException,
                     "Operation not permitted on a secret that is not a replica.");
}
