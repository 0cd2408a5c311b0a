// SPDX-License-Identifier: Apache-2.0
// CreateSecret, PutSecretValue, UpdateSecret. Texts that are on record of AWS are AWS's; the others
// are in their manner.
#include "svc/secretsmanager/secretsmanager.h"

#include <string.h>

enum { VERSIONS_SEALED_ANEW = 3 };

// ---- Input

static Err unsupported(struct call *c, const char *member)
{
    return call_fail(c, &secretsmanager_InvalidParameterException,
                     "%s is not supported by this server.", member);
}

static bool is_name(Str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char k = name.p[i];
        bool letter = (k >= 'a' && k <= 'z') || (k >= 'A' && k <= 'Z') || (k >= '0' && k <= '9');
        if (!letter && str_find(S("/_+=.@-!"), k) == S("/_+=.@-!").n)
            return false;
    }
    return name.n > 0;
}

typedef struct Given {
    SecretValue value;
    bool has_value;
    Str token;
} Given;

static Err given_value(struct call *c, Str text, Str bytes, Str token, Given *ret)
{
    if (text.p != NULL && bytes.p != NULL)
        return call_fail(c, &secretsmanager_InvalidParameterException,
                         "You can't specify both a binary secret value and a string secret value "
                         "in the same secret.");
    ret->has_value = text.p != NULL || bytes.p != NULL;
    ret->value = (SecretValue){ .bytes = text.p != NULL ? text : bytes, .binary = text.p == NULL };
    ret->token = token;
    if (ret->value.bytes.n > SECRET_VALUE_BYTES_MAX)
        return call_fail(c, &secretsmanager_InvalidParameterException,
                         "The secret value is larger than %d bytes.", SECRET_VALUE_BYTES_MAX);
    if (ret->has_value && token.p == NULL)
        return call_fail(c, &secretsmanager_InvalidRequestException,
                         "You must provide a ClientRequestToken value. We recommend a UUID-type "
                         "value.");
    return OK;
}

// Whether the version is there, with the same value. ResourceExistsException: with another one.
static Err same_version(struct call *c, const struct secret *x, const Given *g, bool *ret)
{
    SecretValue there;
    VersionInfo info;
    Err e = version_open(c, x, g->token, &there, &info);
    *ret = e.kind == ERR_NONE;
    if (e.kind == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    if (there.binary == g->value.binary && str_eq(there.bytes, g->value.bytes))
        return OK;
    return call_fail(c, &secretsmanager_ResourceExistsException,
                     "You can't modify an existing version, you can only create a new version.");
}

// The account's own key is no key that somebody has named.
static Str named_key(Str key)
{
    bool own = key.n == 0 || str_eq(key, S("alias/aws/secretsmanager"));
    return own ? (Str){ 0 } : key;
}

// What came of a change that puts the version: two who ask for it at once are both answered, if
// they mean the same. The other's may have gone by now, mostly with its secret: then this one is to
// be put again, which `*ret_again` says.
static Err put_or_same(struct call *c, const struct secret *x, const Given *g, Err e,
                       bool *ret_again)
{
    bool same = true;
    if (e.kind == ERR_EXISTS)
        TRY(same_version(c, x, g, &same));
    *ret_again = !same;
    return e.kind == ERR_EXISTS ? OK : e;
}

// ---- CreateSecret

static Err check_create(struct call *c, const struct secretsmanager_CreateSecret_in *in)
{
    if (!is_name(in->name))
        return call_fail(c, &aws_ValidationException,
                         "Invalid name. Must be a valid name containing alphanumeric characters, "
                         "or any of the following: -/_+=.@!");
    if (in->type.p != NULL)
        return unsupported(c, "Type");
    if (in->cross_account_primary_arn.p != NULL)
        return unsupported(c, "CrossAccountPrimaryARN");
    if (in->add_replica_regions.n > 0)
        return call_fail(c, &secretsmanager_InvalidParameterException, "Invalid replica region.");
    if (in->tags.n > SECRET_TAGS_MAX)
        return call_fail(c, &secretsmanager_InvalidParameterException,
                         "A secret can have at most %d tags.", SECRET_TAGS_MAX);
    return OK;
}

static Str random_suffix(struct call *c)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    const struct secrets *s = c->state;
    unsigned char bytes[8 * SECRET_SUFFIX_CHARS];
    char *text = arena_alloc(c->arena, SECRET_SUFFIX_CHARS, 1);
    s->env.io->random(s->env.io, bytes, sizeof bytes);
    for (size_t i = 0; i < SECRET_SUFFIX_CHARS; i++) {
        uint64_t number;
        memcpy(&number, bytes + 8 * i, sizeof number);
        text[i] = letters[number % (sizeof letters - 1)];
    }
    return str_from(text, SECRET_SUFFIX_CHARS);
}

// One that is there already is answered again if this is the request that made it.
static Err made_before(struct call *c, const struct secretsmanager_CreateSecret_in *in,
                       const Given *g, struct secretsmanager_CreateSecret_out *out, bool *ret)
{
    AUTO(secret)
    there = secrets_look(c->state, c->arena, c->account, c->region, in->name, secrets_now_ms(c));
    *ret = false;
    if (there == NULL || there->d.has_deleted_date || !g->has_value)
        return OK;
    TRY(same_version(c, there, g, ret));
    out->arn = str_dup(c->arena, there->d.arn);
    out->name = in->name;
    out->version_id = g->token;
    return OK;
}

Err secretsmanager_CreateSecret(struct call *c, const struct secretsmanager_CreateSecret_in *in,
                                struct secretsmanager_CreateSecret_out *out)
{
    Given g = { 0 };
    VersionRow row = { 0 };
    bool before;
    TRY(check_create(c, in));
    TRY(given_value(c, in->secret_string, in->secret_binary, in->client_request_token, &g));
    TRY(made_before(c, in, &g, out, &before));
    if (before)
        return OK;
    AUTO(secret) x = secret_new(c->account, c->region, in->name, random_suffix(c), c->now_ns);
    Str key = named_key(in->kms_key_id);
    if (in->description.p != NULL)
        x->d.description = str_dup(x->arena, in->description);
    if (key.p != NULL)
        x->d.kms_key_id = str_dup(x->arena, key);
    for (size_t i = 0; i < in->tags.n; i++)
        if (in->tags.at[i].key.p != NULL)
            secret_set_tag(x, in->tags.at[i].key, in->tags.at[i].value);
    if (g.has_value) {
        TRY(version_seal(c, x, g.token, &g.value, key, &row));
        secret_move_stage(x, g.token, STAGE_CURRENT);
    }
    TRY(secrets_add(c, x, &row, g.has_value));
    out->arn = str_dup(c->arena, x->d.arn);
    out->name = in->name;
    if (g.has_value)
        out->version_id = g.token;
    return OK;
}

// ---- PutSecretValue

// The stages that a new version gets: those that were asked for, or AWSCURRENT.
static Err give_stages(struct call *c, struct secret *x, Str version,
                       const secretsmanager_SecretVersionStagesType *stages)
{
    if (stages->n == 0 || secret_version_at(x, STAGE_CURRENT).p == NULL)
        secret_move_stage(x, version, STAGE_CURRENT);
    for (size_t i = 0; i < stages->n; i++)
        secret_move_stage(x, version, stages->at[i]);
    if (secret_has_stage(x, version, STAGE_CURRENT))
        secrets_value_has_changed(x, secrets_now_ms(c));
    if (secret_stage_count(x) <= STAGES_MAX)
        return OK;
    return call_fail(c, &secretsmanager_LimitExceededException,
                     "You have reached the maximum number of staging labels of this secret: %d.",
                     STAGES_MAX);
}

static Err edit_put(struct call *c, SecretChange *x, const void *arg)
{
    const struct secretsmanager_PutSecretValue_in *in = arg;
    TRY(secrets_require_kept(c, x->copy));
    TRY(give_stages(c, x->copy, in->client_request_token, &in->version_stages));
    x->copy->d.last_changed_date = c->now_ns;
    return OK;
}

static void tell_stages(struct call *c, const struct secret *x, Str version,
                        secretsmanager_SecretVersionStagesType *ret)
{
    const VersionStages *v = secret_stages(x, version);
    ret->set = true;
    ret->at = arena_new(c->arena, Str, v != NULL ? v->value.n : 0);
    for (size_t i = 0; v != NULL && i < v->value.n; i++)
        ret->at[ret->n++] = str_dup(c->arena, v->value.at[i]);
}

Err secretsmanager_PutSecretValue(struct call *c, const struct secretsmanager_PutSecretValue_in *in,
                                  struct secretsmanager_PutSecretValue_out *out)
{
    Given g = { 0 };
    VersionRow row = { 0 };
    bool same;
    AUTO(secret) x = NULL;
    AUTO(secret) now = NULL;
    TRY(given_value(c, in->secret_string, in->secret_binary, in->client_request_token, &g));
    if (!g.has_value)
        return call_fail(c, &secretsmanager_InvalidRequestException,
                         "You must provide either SecretString or SecretBinary.");
    if (in->rotation_token.p != NULL)
        return unsupported(c, "RotationToken");
    TRY(secrets_find_kept(c, in->secret_id, &x));
    TRY(same_version(c, x, &g, &same));
    for (bool again = !same; again;) {
        SecretChange change = { .put = &row, .put_count = 1, .prune = true };
        TRY(version_seal(c, x, g.token, &g.value, x->d.kms_key_id, &row));
        TRY(put_or_same(c, x, &g, secrets_change(c, x, &change, edit_put, in, &now), &again));
    }
    out->arn = str_dup(c->arena, x->d.arn);
    out->name = str_dup(c->arena, x->d.name);
    out->version_id = g.token;
    tell_stages(c, now != NULL ? now : x, g.token, &out->version_stages);
    return OK;
}

// ---- UpdateSecret

typedef struct Update {
    const struct secretsmanager_UpdateSecret_in *in;
    bool has_value;
} Update;

static Err edit_update(struct call *c, SecretChange *x, const void *arg)
{
    const Update *u = arg;
    struct secret *s = x->copy;
    TRY(secrets_require_kept(c, s));
    if (u->in->description.p != NULL)
        s->d.description = str_dup(s->arena, u->in->description);
    if (u->in->kms_key_id.p != NULL) {
        Str key = named_key(u->in->kms_key_id);
        s->d.kms_key_id = key.p != NULL ? str_dup(s->arena, key) : key;
    }
    if (u->has_value)
        TRY(give_stages(c, s, u->in->client_request_token,
                        &(secretsmanager_SecretVersionStagesType){ 0 }));
    s->d.last_changed_date = c->now_ns;
    return OK;
}

// With another key the versions that are in use are sealed anew (API reference, UpdateSecret).
static Err seal_anew(struct call *c, const struct secret *x, Str key,
                     VersionRow ret[VERSIONS_SEALED_ANEW], size_t *ret_n)
{
    static const Str stages[VERSIONS_SEALED_ANEW] = { S_INIT("AWSCURRENT"), S_INIT("AWSPREVIOUS"),
                                                      S_INIT("AWSPENDING") };
    for (size_t i = 0; i < VERSIONS_SEALED_ANEW; i++) {
        Str version = secret_version_at(x, stages[i]);
        bool done = version.p == NULL;
        for (size_t k = 0; k < *ret_n; k++)
            done = done || str_eq(ret[k].version, version);
        if (done)
            continue;
        SecretValue value;
        VersionInfo info;
        Err e = version_open(c, x, version, &value, &info);
        if (e.kind == ERR_NOT_FOUND) // of a rotation that has just begun
            continue;
        TRY(e);
        VersionRow *row = &ret[(*ret_n)++];
        *row = (VersionRow){ .anew = true };
        TRY(version_seal(c, x, str_dup(c->arena, version), &value, key, row));
    }
    return OK;
}

static Err update(struct call *c, const struct secretsmanager_UpdateSecret_in *in,
                  const struct secret *x, const Given *g, bool *ret_again)
{
    VersionRow rows[VERSIONS_SEALED_ANEW + 1];
    size_t n = 0;
    bool same = false;
    Str key = named_key(in->kms_key_id.p != NULL ? in->kms_key_id : x->d.kms_key_id);
    if (g->has_value)
        TRY(same_version(c, x, g, &same));
    if (in->kms_key_id.p != NULL)
        TRY(seal_anew(c, x, key, rows, &n));
    if (g->has_value && !same) {
        rows[n] = (VersionRow){ 0 };
        TRY(version_seal(c, x, g->token, &g->value, key, &rows[n++]));
    }
    Update u = { .in = in, .has_value = g->has_value && !same };
    SecretChange change = { .put = rows, .put_count = n, .prune = u.has_value };
    Err e = secrets_change(c, x, &change, edit_update, &u, NULL);
    return put_or_same(c, x, g, e, ret_again);
}

Err secretsmanager_UpdateSecret(struct call *c, const struct secretsmanager_UpdateSecret_in *in,
                                struct secretsmanager_UpdateSecret_out *out)
{
    Given g = { 0 };
    AUTO(secret) x = NULL;
    if (in->type.p != NULL)
        return unsupported(c, "Type");
    TRY(given_value(c, in->secret_string, in->secret_binary, in->client_request_token, &g));
    TRY(secrets_find_kept(c, in->secret_id, &x));
    for (bool again = true; again;)
        TRY(update(c, in, x, &g, &again));
    out->arn = str_dup(c->arena, x->d.arn);
    out->name = str_dup(c->arena, x->d.name);
    if (g.has_value)
        out->version_id = g.token;
    return OK;
}
