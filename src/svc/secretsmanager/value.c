// SPDX-License-Identifier: Apache-2.0
// GetSecretValue, BatchGetSecretValue, ListSecretVersionIds.
#include "base/logline.h"
#include "base/time.h"
#include "svc/secretsmanager/secretsmanager.h"

#include <stdlib.h>

enum { BATCH_MAX = 20 };
#define DAY_MS (INT64_C(86400) * 1000)

static secretsmanager_SecretVersionStagesType stages_of(struct arena *a, const struct secret *x,
                                                        Str version)
{
    const VersionStages *v = secret_stages(x, version);
    secretsmanager_SecretVersionStagesType all = { .set = v != NULL };
    all.at = arena_new(a, Str, v != NULL ? v->value.n : 0);
    for (size_t i = 0; v != NULL && i < v->value.n; i++)
        all.at[all.n++] = str_dup(a, v->value.at[i]);
    return all;
}

// ---- One value

static Err no_value(struct call *c, Str version, Str stage)
{
    bool by_id = version.p != NULL;
    return call_fail(c, &secretsmanager_ResourceNotFoundException,
                     "Secrets Manager can't find the specified secret value for %s: %.*s",
                     by_id ? "VersionId" : "staging label", FMT(by_id ? version : stage));
}

// Once a day.
static Err edit_accessed(struct call *c, SecretChange *x, const void *arg)
{
    const int64_t *day_ms = arg;
    (void)c;
    x->copy->d.last_accessed_date = *day_ms * NS_PER_MS;
    x->copy->d.has_last_accessed_date = true;
    return OK;
}

static Err write_access(struct call *c, const struct secret *x, const VersionInfo *info)
{
    int64_t day_ms = secrets_now_ms(c) / DAY_MS * DAY_MS;
    SecretChange change = { 0 };
    TRY(version_accessed(c->state, c->arena, x, info, day_ms));
    if (x->d.has_last_accessed_date && x->d.last_accessed_date >= day_ms * NS_PER_MS)
        return OK;
    Err e = secrets_change(c, x, &change, edit_accessed, &day_ms, NULL);
    if (e.kind == ERR_FAULT) { // removed meanwhile: its value was read before
        c->error = NULL;
        return OK;
    }
    return e;
}

// A disk that takes nothing more does not keep anybody from reading.
static void note_access(struct call *c, const struct secret *x, const VersionInfo *info)
{
    Err e = write_access(c, x, info);
    if (e.kind != ERR_NONE)
        LOG(LOG_WARN, "when a secret was read is not noted", F_STR("secret", x->d.arn), F_ERR(e));
}

Err secrets_value(struct call *c, struct secret *x, Str version, Str stage,
                  struct secretsmanager_GetSecretValue_out *out)
{
    SecretValue value;
    VersionInfo info;
    TRY(secrets_require_kept(c, x));
    if (version.p != NULL && stage.p != NULL && !secret_has_stage(x, version, stage))
        return call_fail(c, &secretsmanager_InvalidRequestException,
                         "You provided a VersionStage that is not associated to the provided "
                         "VersionId.");
    if (stage.p == NULL)
        stage = STAGE_CURRENT;
    Str id = version.p != NULL ? version : secret_version_at(x, stage);
    if (id.p == NULL)
        return no_value(c, version, stage);
    Err e = version_open(c, x, id, &value, &info);
    if (e.kind == ERR_NOT_FOUND)
        return no_value(c, version, stage);
    TRY(e);
    out->arn = str_dup(c->arena, x->d.arn);
    out->name = str_dup(c->arena, x->d.name);
    out->version_id = str_dup(c->arena, id);
    out->version_stages = stages_of(c->arena, x, id);
    out->created_date = info.created_ms * NS_PER_MS;
    out->has_created_date = true;
    if (value.binary)
        out->secret_binary = value.bytes;
    else
        out->secret_string = value.bytes;
    note_access(c, x, &info);
    return OK;
}

Err secretsmanager_GetSecretValue(struct call *c, const struct secretsmanager_GetSecretValue_in *in,
                                  struct secretsmanager_GetSecretValue_out *out)
{
    AUTO(secret) x = NULL;
    TRY(secrets_find(c, in->secret_id, &x));
    return secrets_value(c, x, in->version_id, in->version_stage, out);
}

// ---- Several

// Whether the caller may read it: the front has asked about the batch only.
static Err may_read(struct call *c, const struct secret *x)
{
    const struct secrets *s = c->state;
    const struct access_guard *guard = s->env.hub != NULL ? s->env.hub->access : NULL;
    if (guard == NULL || s->env.dev)
        return OK;
    Str text = S("");
    AccessTarget t = { .action = S("secretsmanager:GetSecretValue"),
                       .resource = x->d.arn,
                       .account = x->account,
                       .policy = x->policy };
    if (guard->may(guard->self, c, &t, &text))
        return OK;
    return call_fail(c, &aws_AccessDeniedException, "%.*s", FMT(text));
}

static Err read_one(struct call *c, struct secret *x, secretsmanager_SecretValueEntry *ret)
{
    struct secretsmanager_GetSecretValue_out v = { 0 };
    TRY(may_read(c, x));
    TRY(secrets_value(c, x, (Str){ 0 }, (Str){ 0 }, &v));
    *ret = (secretsmanager_SecretValueEntry){ .arn = v.arn,
                                              .name = v.name,
                                              .version_id = v.version_id,
                                              .secret_binary = v.secret_binary,
                                              .secret_string = v.secret_string,
                                              .version_stages = v.version_stages,
                                              .created_date = v.created_date,
                                              .has_created_date = v.has_created_date };
    return OK;
}

// What one of them is refused with stands in the reply, and the others go on.
static Err read_into(struct call *c, Str id, struct secret *known,
                     struct secretsmanager_BatchGetSecretValue_out *out)
{
    AUTO(secret) x = known != NULL ? secret_ref(known) : NULL;
    Err e = x != NULL ? OK : secrets_find(c, id, &x);
    if (e.kind == ERR_NONE)
        e = read_one(c, x, &out->secret_values.at[out->secret_values.n]);
    if (e.kind == ERR_NONE)
        out->secret_values.n++;
    if (e.kind != ERR_FAULT)
        return e;
    out->errors.at[out->errors.n++] = (secretsmanager_APIErrorType){ .secret_id = id,
                                                                     .error_code = c->error->name,
                                                                     .message = c->error_text };
    c->error = NULL;
    c->error_text = (Str){ 0 };
    return OK;
}

static Err batch_by_filter(struct call *c, const struct secretsmanager_BatchGetSecretValue_in *in,
                           struct secret **all, size_t n,
                           struct secretsmanager_BatchGetSecretValue_out *out)
{
    size_t first, max = in->has_max_results ? (size_t)in->max_results : BATCH_MAX;
    TRY(secrets_token_read(c, in->next_token, all, n, &first));
    size_t end = MIN(n, first + max);
    for (size_t i = first; i < end; i++)
        TRY(read_into(c, str_dup(c->arena, all[i]->d.arn), all[i], out));
    if (end < n)
        out->next_token = secrets_token(c->arena, all[end - 1]);
    return OK;
}

Err secretsmanager_BatchGetSecretValue(struct call *c,
                                       const struct secretsmanager_BatchGetSecretValue_in *in,
                                       struct secretsmanager_BatchGetSecretValue_out *out)
{
    bool by_filter = in->filters.set && in->filters.n > 0;
    if (by_filter == in->secret_id_list.set)
        return call_fail(c, &secretsmanager_InvalidParameterException,
                         "Either 'SecretIdList' or 'Filters' must be provided, but not both.");
    if (!by_filter && in->has_max_results)
        return call_fail(c, &secretsmanager_InvalidParameterException,
                         "'Filters' not specified. 'Filters' must also be specified when "
                         "'MaxResults' is provided.");
    out->secret_values.set = out->errors.set = true;
    out->secret_values.at = arena_new(c->arena, secretsmanager_SecretValueEntry, BATCH_MAX);
    out->errors.at = arena_new(c->arena, secretsmanager_APIErrorType, BATCH_MAX);
    for (size_t i = 0; !by_filter && i < in->secret_id_list.n; i++)
        TRY(read_into(c, in->secret_id_list.at[i], NULL, out));
    if (!by_filter)
        return OK;
    size_t n;
    TRY(secrets_check_filters(c, in->filters));
    struct secret **all = secrets_select(c, in->filters, false, (Str){ 0 }, true, &n);
    Err e = batch_by_filter(c, in, all, n, out);
    secrets_release(all, n);
    return e;
}

// ---- Versions

static secretsmanager_SecretVersionsListEntry version_entry(struct call *c, const struct secret *x,
                                                            const VersionInfo *v)
{
    secretsmanager_SecretVersionsListEntry entry = {
        .version_id = v->id,
        .version_stages = stages_of(c->arena, x, v->id),
        .created_date = v->created_ms * NS_PER_MS,
        .has_created_date = true,
        .last_accessed_date = v->accessed_ms * NS_PER_MS,
        .has_last_accessed_date = v->accessed_ms > 0,
        .kms_key_ids = { .set = true, .at = arena_new(c->arena, Str, 1), .n = 1 },
    };
    entry.kms_key_ids.at[0] = v->key.p != NULL ? v->key : S("DefaultEncryptionKey");
    return entry;
}

Err secretsmanager_ListSecretVersionIds(struct call *c,
                                        const struct secretsmanager_ListSecretVersionIds_in *in,
                                        struct secretsmanager_ListSecretVersionIds_out *out)
{
    struct secrets *s = c->state;
    size_t n, max = in->has_max_results ? (size_t)in->max_results : 100;
    VersionInfo *all;
    AUTO(secret) x = NULL;
    TRY(secrets_find(c, in->secret_id, &x));
    AUTO(kv_txn) tx = kv_read(s->versions);
    TRY(version_list(s, tx, c->arena, x, &all, &n));
    bool begun = in->next_token.p == NULL; // the token is the last version that was told
    out->versions.set = true;
    out->versions.at = arena_new(c->arena, secretsmanager_SecretVersionsListEntry, MIN(n, max));
    for (size_t i = n; i-- > 0;) { // the newest first
        bool shown = begun && (in->include_deprecated || secret_stages(x, all[i].id) != NULL);
        begun = begun || str_eq(all[i].id, in->next_token);
        if (shown && out->versions.n == max) {
            out->next_token = out->versions.at[max - 1].version_id;
            break;
        }
        if (shown)
            out->versions.at[out->versions.n++] = version_entry(c, x, &all[i]);
    }
    if (!begun)
        return call_fail(c, &secretsmanager_InvalidNextTokenException, "Invalid NextToken.");
    out->arn = str_dup(c->arena, x->d.arn);
    out->name = str_dup(c->arena, x->d.name);
    return OK;
}
