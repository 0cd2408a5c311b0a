// SPDX-License-Identifier: Apache-2.0
// Aliases: names that are pointed at keys and can be pointed at others.
#include "base/time.h"
#include "svc/kms/kms.h"

#include <stdlib.h>

static Err check_name(struct call *c, Str name)
{
    if (!str_starts(name, ALIAS_PREFIX))
        return call_fail(c, &kms_ValidationException,
                         "Alias must start with the prefix \"alias/\". Please see "
                         "https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html");
    if (name.n == ALIAS_PREFIX.n || str_find(name, ':') < name.n)
        return call_fail(c, &kms_ValidationException,
                         "%.*s contains invalid characters for an alias", FMT(name));
    if (str_starts(name, ALIAS_AWS_PREFIX))
        return call_fail(c, &kms_InvalidAliasNameException,
                         "%.*s: the prefix alias/aws/ is reserved for AWS", FMT(name));
    return OK;
}

static Err check_target(struct call *c, Str target, struct key **ret)
{
    if (str_starts(target, ALIAS_PREFIX) || str_search(target, S(":alias/")) < target.n)
        return call_fail(c, &kms_ValidationException, "Aliases must refer to keys. Not aliases");
    AUTO(key) k = NULL;
    TRY(kms_find(c, target, &k));
    TRY(kms_require_kept(c, k));
    TRY(kms_require_customer(c, k));
    *ret = key_ref(k);
    return OK;
}

static Err alias_missing(struct call *c, Str name)
{
    return call_fail(c, &kms_NotFoundException, "Alias arn:aws:kms:%.*s:%.*s:%.*s is not found.",
                     FMT(c->region), FMT(c->account), FMT(name));
}

static Err put_locked(struct call *c, Str name, Str target, bool is_new)
{
    struct kms *s = c->state;
    AUTO(key) k = NULL;
    const struct alias *there = kms_alias(s, c->arena, c->account, c->region, name);
    if (is_new && there != NULL)
        return call_fail(c, &kms_AlreadyExistsException,
                         "An alias with the name arn:aws:kms:%.*s:%.*s:%.*s already exists",
                         FMT(c->region), FMT(c->account), FMT(name));
    if (!is_new && there == NULL)
        return alias_missing(c, name);
    TRY(check_target(c, target, &k));
    int64_t now_ms = kms_now_ms(c);
    struct alias alias = { .key_id = k->id,
                           .account = c->account,
                           .region = c->region,
                           .name = name,
                           .created_ms = is_new ? now_ms : there->created_ms,
                           .updated_ms = now_ms };
    return kms_put_alias(s, &alias);
}

static Err put(struct call *c, Str name, Str target, bool is_new)
{
    struct kms *s = c->state;
    TRY(check_name(c, name));
    kms_change_begin(s);
    Err e = kms_sweep(s, kms_now_ms(c));
    if (e.kind == ERR_NONE)
        e = put_locked(c, name, target, is_new);
    kms_change_end(s);
    return e;
}

Err kms_CreateAlias(struct call *c, const struct kms_CreateAlias_in *in)
{
    return put(c, in->alias_name, in->target_key_id, true);
}

Err kms_UpdateAlias(struct call *c, const struct kms_UpdateAlias_in *in)
{
    return put(c, in->alias_name, in->target_key_id, false);
}

Err kms_DeleteAlias(struct call *c, const struct kms_DeleteAlias_in *in)
{
    struct kms *s = c->state;
    TRY(check_name(c, in->alias_name));
    kms_change_begin(s);
    Err e = OK;
    if (kms_alias(s, c->arena, c->account, c->region, in->alias_name) == NULL)
        e = alias_missing(c, in->alias_name);
    else
        e = kms_drop_alias(s, c->account, c->region, in->alias_name);
    kms_change_end(s);
    return e;
}

// ---- Listing

static int by_name(const void *x, const void *y)
{
    return str_cmp(((const kms_AliasListEntry *)x)->alias_name,
                   ((const kms_AliasListEntry *)y)->alias_name);
}

static kms_AliasListEntry entry_of(struct call *c, const struct alias *alias)
{
    struct arena *a = c->arena;
    return (kms_AliasListEntry){
        .alias_name = str_dup(a, alias->name),
        .alias_arn = str_fmt(a, "arn:aws:kms:%.*s:%.*s:%.*s", FMT(alias->region),
                             FMT(alias->account), FMT(alias->name)),
        .target_key_id = str_dup(a, alias->key_id),
        .creation_date = alias->created_ms * NS_PER_MS,
        .has_creation_date = true,
        .last_updated_date = alias->updated_ms * NS_PER_MS,
        .has_last_updated_date = true,
    };
}

// All of the call's account and region, of one key if it is given, by name.
static kms_AliasList gather(struct call *c, const struct key *of)
{
    struct kms *s = c->state;
    kms_AliasList list = { .set = true };
    Str key;
    void *value;
    pthread_rwlock_rdlock(&s->lock);
    list.at = arena_new(c->arena, kms_AliasListEntry, map_count(s->aliases));
    for (size_t at = 0; map_next(s->aliases, &at, &key, &value);) {
        const struct alias *alias = value;
        if (str_eq(alias->account, c->account) && str_eq(alias->region, c->region) &&
            (of == NULL || str_eq(alias->key_id, of->id)))
            list.at[list.n++] = entry_of(c, alias);
    }
    pthread_rwlock_unlock(&s->lock);
    if (list.n > 0)
        qsort(list.at, list.n, sizeof *list.at, by_name);
    return list;
}

Err kms_ListAliases(struct call *c, const struct kms_ListAliases_in *in,
                    struct kms_ListAliases_out *out)
{
    AUTO(key) of = NULL;
    if (in->key_id.p != NULL)
        TRY(kms_find(c, in->key_id, &of));
    kms_AliasList all = gather(c, of);
    size_t from = 0;
    while (in->marker.p != NULL && from < all.n &&
           str_cmp(all.at[from].alias_name, in->marker) <= 0)
        from++; // the marker is the last name of the page before
    out->aliases = (kms_AliasList){ .set = true, .at = all.at + from, .n = all.n - from };
    if (out->aliases.n > (size_t)in->limit) {
        out->aliases.n = (size_t)in->limit;
        out->truncated = true;
        out->next_marker = out->aliases.at[out->aliases.n - 1].alias_name;
    }
    return OK;
}
