// SPDX-License-Identifier: Apache-2.0
// Access keys of users.
#include "base/time.h"
#include "svc/iam/iam.h"
#include "svc/iam/used.h"

#include <stdlib.h>

enum { KEY_RANDOM_CHARS = 16, SECRET_CHARS = 40 };
#define KEY_PREFIX S("HRUK") // as long as AWS's, but never to be mistaken for one of theirs

static int by_key(const void *x, const void *y)
{
    const struct signer *const *a = x, *const *b = y;
    return str_cmp((*a)->access_key, (*b)->access_key);
}

typedef struct SignerList {
    struct signer **at;
    size_t n;
} SignerList;

static SignerList keys_of(struct call *c, const struct entity *user)
{
    struct iam *s = c->state;
    SignerList l = { .at = arena_new(c->arena, struct signer *, ENTITY_KEYS_MAX) };
    Str key;
    void *value;
    pthread_rwlock_rdlock(&s->lock);
    for (size_t at = 0; l.n < ENTITY_KEYS_MAX && map_next(s->signers, &at, &key, &value);) {
        struct signer *k = value;
        if (k->token.p == NULL && str_eq(k->account, user->account) && str_eq(k->name, user->name))
            l.at[l.n++] = signer_ref(k);
    }
    pthread_rwlock_unlock(&s->lock);
    if (l.n > 0)
        qsort(l.at, l.n, sizeof *l.at, by_key);
    return l;
}

static void keys_done(SignerList *l)
{
    for (size_t i = 0; i < l->n; i++)
        signer_unref(l->at[i]);
}

static struct signer *new_key(struct iam *s, const struct entity *user, int64_t now_ms)
{
    struct signer *k = signer_new();
    k->access_key = random_id(s->env.io, k->arena, KEY_PREFIX, KEY_RANDOM_CHARS);
    k->secret = random_secret(s->env.io, k->arena, SECRET_CHARS);
    k->account = str_dup(k->arena, user->account);
    k->principal = str_dup(k->arena, user->arn);
    k->kind = ENTITY_USER;
    k->name = str_dup(k->arena, user->name);
    k->entity_id = str_dup(k->arena, user->id);
    k->session_name = S("");
    k->created_ms = now_ms;
    return k;
}

static Err create_locked(struct call *c, Str name, struct signer **ret)
{
    struct iam *s = c->state;
    AUTO(entity) user = NULL;
    TRY(iam_find(c, ENTITY_USER, name, &user));
    SignerList have = keys_of(c, user);
    keys_done(&have);
    if (have.n >= ENTITY_KEYS_MAX)
        return call_fail(c, &iam_LimitExceeded, "Cannot exceed quota for AccessKeysPerUser: %d",
                         ENTITY_KEYS_MAX);
    AUTO(signer) k = new_key(s, user, iam_now_ms(c));
    TRY(iam_put_signer(s, signer_ref(k)));
    *ret = signer_ref(k);
    return OK;
}

Err iam_CreateAccessKey(struct call *c, const struct iam_CreateAccessKey_in *in,
                        struct iam_CreateAccessKey_out *out)
{
    AUTO(signer) k = NULL;
    Str name;
    TRY(iam_own_name(c, in->user_name, &name));
    iam_begin(c->state);
    Err e = create_locked(c, name, &k);
    iam_end(c->state);
    TRY(e);
    iam_AccessKey *key = arena_new(c->arena, iam_AccessKey, 1);
    *key = (iam_AccessKey){ .user_name = str_dup(c->arena, k->name),
                            .access_key_id = str_dup(c->arena, k->access_key),
                            .status = iam_statusType_Active,
                            .secret_access_key = str_dup(c->arena, k->secret),
                            .create_date = k->created_ms / 1000 * NS_PER_S,
                            .has_create_date = true };
    out->access_key = key;
    return OK;
}

Err iam_ListAccessKeys(struct call *c, const struct iam_ListAccessKeys_in *in,
                       struct iam_ListAccessKeys_out *out)
{
    AUTO(entity) user = NULL;
    Str name;
    TRY(iam_own_name(c, in->user_name, &name));
    TRY(iam_find(c, ENTITY_USER, name, &user));
    SignerList l = keys_of(c, user);
    iam_accessKeyMetadataListType list = { .set = true };
    list.at = arena_new(c->arena, iam_AccessKeyMetadata, l.n);
    for (; list.n < l.n; list.n++) {
        const struct signer *k = l.at[list.n];
        list.at[list.n] = (iam_AccessKeyMetadata){
            .user_name = str_dup(c->arena, k->name),
            .access_key_id = str_dup(c->arena, k->access_key),
            .status = k->active ? iam_statusType_Active : iam_statusType_Inactive,
            .create_date = k->created_ms / 1000 * NS_PER_S,
            .has_create_date = true,
        };
    }
    keys_done(&l);
    out->access_key_metadata = list;
    return OK;
}

Err iam_GetAccessKeyLastUsed(struct call *c, const struct iam_GetAccessKeyLastUsed_in *in,
                             struct iam_GetAccessKeyLastUsed_out *out)
{
    struct iam *s = c->state;
    AUTO(signer) k = iam_signer(s, in->access_key_id);
    bool good = k != NULL && k->token.p == NULL && k->name.n > 0 && str_eq(k->account, c->account);
    if (!good)
        return call_fail(c, &iam_NoSuchEntity, "The Access Key with id %.*s cannot be found.",
                         FMT(in->access_key_id));
    Used use = used_find(s->used, c->arena, k->access_key);
    iam_AccessKeyLastUsed *last = arena_new(c->arena, iam_AccessKeyLastUsed, 1);
    *last = (iam_AccessKeyLastUsed){ .service_name = S("N/A"), .region = S("N/A") };
    if (use.at_ms != 0)
        *last = (iam_AccessKeyLastUsed){ .last_used_date = use.at_ms / 1000 * NS_PER_S,
                                         .has_last_used_date = true,
                                         .service_name = use.service,
                                         .region = use.region };
    out->user_name = str_dup(c->arena, k->name);
    out->access_key_last_used = last;
    return OK;
}

// The key, if it is one of the user's. `changing` is held.
static Err find_key(struct call *c, Str name, Str access_key, struct signer **ret)
{
    AUTO(entity) user = NULL;
    TRY(iam_find(c, ENTITY_USER, name, &user));
    AUTO(signer) k = iam_signer(c->state, access_key);
    bool good = k != NULL && k->token.p == NULL && str_eq(k->account, user->account) &&
                str_eq(k->name, user->name);
    if (!good)
        return call_fail(c, &iam_NoSuchEntity, "The Access Key with id %.*s cannot be found.",
                         FMT(access_key));
    *ret = signer_ref(k);
    return OK;
}

static Err update_locked(struct call *c, Str name, Str access_key, bool active)
{
    AUTO(signer) k = NULL;
    TRY(find_key(c, name, access_key, &k));
    AUTO(signer) copy = signer_new();
    copy->access_key = str_dup(copy->arena, k->access_key);
    copy->secret = str_dup(copy->arena, k->secret);
    copy->account = str_dup(copy->arena, k->account);
    copy->principal = str_dup(copy->arena, k->principal);
    copy->name = str_dup(copy->arena, k->name);
    copy->entity_id = str_dup(copy->arena, k->entity_id);
    copy->session_name = S("");
    copy->kind = k->kind;
    copy->created_ms = k->created_ms;
    copy->active = active;
    return iam_put_signer(c->state, signer_ref(copy));
}

Err iam_UpdateAccessKey(struct call *c, const struct iam_UpdateAccessKey_in *in)
{
    Str name;
    TRY(iam_own_name(c, in->user_name, &name));
    if (str_eq(in->status, iam_statusType_Expired))
        return call_fail(c, &iam_ValidationError, "A key is made Active or Inactive.");
    iam_begin(c->state);
    Err e = update_locked(c, name, in->access_key_id, str_eq(in->status, iam_statusType_Active));
    iam_end(c->state);
    return e;
}

Err iam_DeleteAccessKey(struct call *c, const struct iam_DeleteAccessKey_in *in)
{
    AUTO(signer) k = NULL;
    Str name;
    TRY(iam_own_name(c, in->user_name, &name));
    iam_begin(c->state);
    Err e = find_key(c, name, in->access_key_id, &k);
    if (e.kind == ERR_NONE)
        e = iam_drop_signer(c->state, in->access_key_id);
    iam_end(c->state);
    return e;
}
