// SPDX-License-Identifier: Apache-2.0
#include "svc/kms/kms.h"
#include "base/logline.h"
#include "base/time.h"
#include "codec/json.h"
#include "store/master.h"

#include <stdlib.h>
#include <string.h>

enum { ALIAS_ROW_VERSION = 1 };

// ---- Finding

static Str alias_key(struct arena *a, Str account, Str region, Str name)
{
    return str_fmt(a, "%.*s/%.*s/%.*s", FMT(account), FMT(region), FMT(name));
}

struct key *kms_look_id(struct kms *s, Str id, int64_t now_ms)
{
    pthread_rwlock_rdlock(&s->lock);
    struct key *k = map_get(s->keys, id);
    if (k != NULL && key_is_over(k, now_ms))
        k = NULL;
    if (k != NULL)
        key_ref(k);
    pthread_rwlock_unlock(&s->lock);
    return k;
}

struct alias *kms_alias(struct kms *s, struct arena *a, Str account, Str region, Str name)
{
    Str key = alias_key(a, account, region, name);
    struct alias *copy = NULL;
    pthread_rwlock_rdlock(&s->lock);
    const struct alias *found = map_get(s->aliases, key);
    if (found != NULL) {
        copy = arena_new(a, struct alias, 1);
        *copy = (struct alias){ .key_id = str_dup(a, found->key_id),
                                .account = str_dup(a, found->account),
                                .region = str_dup(a, found->region),
                                .name = str_dup(a, found->name),
                                .created_ms = found->created_ms,
                                .updated_ms = found->updated_ms };
    }
    pthread_rwlock_unlock(&s->lock);
    return copy;
}

// What follows arn:aws:kms:region:account: if the ARN is of this account and region; absent
// otherwise.
static Str name_in_arn(Str arn, Str account, Str region)
{
    Str part[5];
    for (size_t i = 0; i < COUNT_OF(part); i++)
        if (!str_cut(arn, ':', &part[i], &arn))
            return (Str){ 0 };
    bool good = str_eq(part[2], S("kms")) && str_eq(part[3], region) && str_eq(part[4], account);
    return good ? arn : (Str){ 0 };
}

Err kms_look(struct kms *s, Str account, Str region, Str name, int64_t now_ms, struct arena *tmp,
             struct key **ret)
{
    static const Str key_prefix = S_INIT("key/");
    if (str_starts(name, S("arn:"))) {
        name = name_in_arn(name, account, region);
        if (str_starts(name, key_prefix))
            name = str_skip(name, key_prefix.n);
        else if (!str_starts(name, ALIAS_PREFIX))
            return fail(ERR_INVALID, "not the ARN of a key");
    }
    if (str_starts(name, ALIAS_PREFIX)) {
        const struct alias *alias = kms_alias(s, tmp, account, region, name);
        if (alias == NULL)
            return fail(ERR_NOT_FOUND, "no such alias");
        name = alias->key_id;
    } else if (name.n != KEY_ID_CHARS) {
        return fail(ERR_INVALID, "not the id of a key");
    }
    AUTO(key) k = kms_look_id(s, name, now_ms);
    if (k == NULL || !str_eq(k->account, account) || !str_eq(k->region, region))
        return fail(ERR_NOT_FOUND, "no such key");
    *ret = key_ref(k);
    return OK;
}

static Err not_found(struct call *c, Str name, Err e)
{
    bool is_arn = str_starts(name, S("arn:"));
    Str rest = is_arn ? str_skip(name, MIN(str_search(name, S(":alias/")) + 1, name.n)) : name;
    if (str_starts(rest, ALIAS_PREFIX))
        return call_fail(c, &kms_NotFoundException,
                         "Alias arn:aws:kms:%.*s:%.*s:%.*s is not found.", FMT(c->region),
                         FMT(c->account), FMT(rest));
    if (e.kind == ERR_INVALID)
        return call_fail(c, &kms_NotFoundException, "Invalid keyId '%.*s'", FMT(name));
    if (is_arn)
        return call_fail(c, &kms_NotFoundException, "Key '%.*s' does not exist", FMT(name));
    return call_fail(c, &kms_NotFoundException,
                     "Key 'arn:aws:kms:%.*s:%.*s:key/%.*s' does not exist", FMT(c->region),
                     FMT(c->account), FMT(name));
}

Err kms_find(struct call *c, Str name, struct key **ret)
{
    Err e = kms_look(c->state, c->account, c->region, name, kms_now_ms(c), c->arena, ret);
    bool is_missing = e.kind == ERR_NOT_FOUND || e.kind == ERR_INVALID;
    return is_missing ? not_found(c, name, e) : e;
}

Err kms_require_kept(struct call *c, const struct key *k)
{
    if (k->deletion_ms == 0)
        return OK;
    return call_fail(c, &kms_KMSInvalidStateException, "%.*s is pending deletion.", FMT(k->arn));
}

Err kms_require_usable(struct call *c, const struct key *k)
{
    TRY(kms_require_kept(c, k));
    return k->enabled ? OK : call_fail(c, &kms_DisabledException, "%.*s is disabled.", FMT(k->arn));
}

Err kms_require_customer(struct call *c, const struct key *k)
{
    if (!k->managed)
        return OK;
    return call_fail(c, &kms_AccessDeniedException,
                     "User: %.*s is not authorized to perform: kms:%.*s on resource: %.*s because "
                     "the key is managed by AWS",
                     FMT(c->principal), FMT(c->op->name), FMT(k->arn));
}

Str kms_context(struct arena *a, kms_EncryptionContextType pairs)
{
    AUTO_BUF(b);
    bool *done = arena_new(a, bool, pairs.n);
    for (size_t round = 0; round < pairs.n; round++) { // few pairs: the least that is left
        size_t least = pairs.n;
        for (size_t i = 0; i < pairs.n; i++)
            if (!done[i] && (least == pairs.n || str_cmp(pairs.at[i].key, pairs.at[least].key) < 0))
                least = i;
        done[least] = true;
        Str key = pairs.at[least].key, value = pairs.at[least].value;
        buf_addf(&b, "%zu:%zu:", key.n, value.n);
        buf_add(&b, key);
        buf_add(&b, value);
    }
    return str_dup(a, buf_str(&b));
}

// ---- Memory

static struct alias *alias_new(const struct alias *like)
{
    const Str *const from[] = { &like->key_id, &like->account, &like->region, &like->name };
    size_t bytes = 0;
    for (size_t i = 0; i < COUNT_OF(from); i++)
        bytes += from[i]->n;
    struct alias *made = xalloc(sizeof *made + bytes);
    Str *const to[] = { &made->key_id, &made->account, &made->region, &made->name };
    char *at = made->text;
    for (size_t i = 0; i < COUNT_OF(from); i++) {
        memcpy(at, from[i]->p, from[i]->n);
        *to[i] = str_from(at, from[i]->n);
        at += from[i]->n;
    }
    made->created_ms = like->created_ms;
    made->updated_ms = like->updated_ms;
    return made;
}

static void keep_key(struct kms *s, struct key *take_k)
{
    pthread_rwlock_wrlock(&s->lock);
    struct key *old = map_put(s->keys, take_k->id, take_k);
    pthread_rwlock_unlock(&s->lock);
    key_unref(old);
}

static void keep_alias(struct kms *s, const struct alias *like)
{
    AUTO(arena) tmp = arena_open();
    struct alias *made = alias_new(like);
    Str key = alias_key(tmp, like->account, like->region, like->name);
    pthread_rwlock_wrlock(&s->lock);
    struct alias *old = map_put(s->aliases, key, made);
    pthread_rwlock_unlock(&s->lock);
    free(old);
}

// ---- Changing

static Err need_master(struct kms *s)
{
    if (s->has_master)
        return OK;
    TRY(master_read_or_make(s->env.io, s->env.data_dir, s->master));
    s->has_master = true;
    return OK;
}

Err kms_put_key(struct kms *s, struct key *take_k)
{
    AUTO(key) k = take_k;
    AUTO(arena) tmp = arena_open();
    AUTO_BUF(row);
    TRY(need_master(s));
    key_row_write(s->env.io, s->master, &row, k);
    TRY(buf_err(&row));
    AUTO(kv_txn) tx = kv_write(s->rows);
    TRY(kv_put(tx, key_row_key(tmp, k), buf_str(&row)));
    TRY(kv_commit(tx));
    keep_key(s, key_ref(k));
    return OK;
}

Err kms_put_alias(struct kms *s, const struct alias *like)
{
    AUTO(arena) tmp = arena_open();
    AUTO_BUF(row);
    struct event_writer w;
    json_writer_init(&w, &row);
    w.ops->map(&w);
    w.ops->key(&w, S("version"));
    w.ops->integer(&w, ALIAS_ROW_VERSION);
    w.ops->key(&w, S("key"));
    w.ops->text(&w, like->key_id);
    w.ops->key(&w, S("created_ms"));
    w.ops->integer(&w, like->created_ms);
    w.ops->key(&w, S("updated_ms"));
    w.ops->integer(&w, like->updated_ms);
    w.ops->map_end(&w);
    TRY(buf_err(&row));
    AUTO(kv_txn) tx = kv_write(s->alias_rows);
    TRY(kv_put(tx, alias_key(tmp, like->account, like->region, like->name), buf_str(&row)));
    TRY(kv_commit(tx));
    keep_alias(s, like);
    return OK;
}

Err kms_drop_alias(struct kms *s, Str account, Str region, Str name)
{
    AUTO(arena) tmp = arena_open();
    Str key = alias_key(tmp, account, region, name);
    AUTO(kv_txn) tx = kv_write(s->alias_rows);
    TRY(kv_del(tx, key));
    TRY(kv_commit(tx));
    pthread_rwlock_wrlock(&s->lock);
    struct alias *old = map_take(s->aliases, key);
    pthread_rwlock_unlock(&s->lock);
    free(old);
    return OK;
}

static Err make_managed(struct call *c, Str alias_name)
{
    struct kms *s = c->state;
    struct key *k = NULL;
    TRY(key_new(s->env.io, c->account, c->region, kms_now_ms(c), &k));
    k->managed = true;
    k->rotation_days = 365; // "every year, approximately": AWS's own keys
    k->rotation_from_ms = k->created_ms;
    k->description =
        str_fmt(k->arena, "Default key that protects my %.*s data when no other key is defined",
                FMT(str_skip(alias_name, ALIAS_AWS_PREFIX.n)));
    struct alias alias = { .key_id = str_dup(c->arena, k->id),
                           .account = c->account,
                           .region = c->region,
                           .name = alias_name,
                           .created_ms = k->created_ms,
                           .updated_ms = k->created_ms };
    TRY(kms_put_key(s, k));
    return kms_put_alias(s, &alias); // a key without it is never found, and another one is made
}

Err kms_own(struct call *c, Str alias, struct key **ret)
{
    struct kms *s = c->state;
    kms_change_begin(s);
    Err e = OK;
    if (kms_alias(s, c->arena, c->account, c->region, alias) == NULL)
        e = make_managed(c, alias);
    kms_change_end(s);
    TRY(e);
    return kms_find(c, alias, ret);
}

// Those that anybody may ask for before their service has used them.
static bool is_managed_alias(Str name)
{
    return str_eq(name, S("alias/aws/kinesis")) || str_eq(name, S("alias/aws/s3"));
}

Err kms_find_or_make(struct call *c, Str name, struct key **ret)
{
    Str alias = str_starts(name, S("arn:")) ? name_in_arn(name, c->account, c->region) : name;
    return is_managed_alias(alias) ? kms_own(c, alias, ret) : kms_find(c, name, ret);
}

Err kms_edit(struct call *c, Str name, KeyEdit *edit, const void *arg)
{
    struct kms *s = c->state;
    AUTO(key) k = NULL;
    kms_change_begin(s);
    Err e = kms_sweep(s, kms_now_ms(c));
    if (e.kind == ERR_NONE)
        e = kms_find(c, name, &k);
    if (e.kind == ERR_NONE) {
        struct key *copy = key_copy(k);
        e = edit(c, copy, arg);
        if (e.kind == ERR_NONE)
            e = kms_put_key(s, copy);
        else
            key_unref(copy);
    }
    kms_change_end(s);
    return e;
}

// ---- What time brings

static Err forget(struct kms *s, struct key *k)
{
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_write(s->rows);
    Str id = str_dup(tmp, k->id);
    LOG(LOG_INFO, "a key is deleted: its time is over", F_STR("key", k->arn));
    TRY(kv_del(tx, key_row_key(tmp, k)));
    TRY(kv_commit(tx));
    pthread_rwlock_wrlock(&s->lock);
    struct key *old = map_take(s->keys, id);
    pthread_rwlock_unlock(&s->lock);
    key_unref(old);
    return OK;
}

static Err forget_aliases_of(struct kms *s, struct arena *tmp, Str id)
{
    for (;;) {
        Str account = { 0 }, region = { 0 }, name = { 0 }, key;
        void *value;
        pthread_rwlock_rdlock(&s->lock);
        for (size_t at = 0; name.p == NULL && map_next(s->aliases, &at, &key, &value);) {
            const struct alias *alias = value;
            if (!str_eq(alias->key_id, id))
                continue;
            account = str_dup(tmp, alias->account);
            region = str_dup(tmp, alias->region);
            name = str_dup(tmp, alias->name);
        }
        pthread_rwlock_unlock(&s->lock);
        if (name.p == NULL)
            return OK;
        TRY(kms_drop_alias(s, account, region, name));
    }
}

// One key that has come to something, or NULL.
static struct key *due(struct kms *s, int64_t now_ms)
{
    struct key *found = NULL;
    Str id;
    void *value;
    pthread_rwlock_rdlock(&s->lock);
    for (size_t at = 0; found == NULL && map_next(s->keys, &at, &id, &value);) {
        struct key *k = value;
        bool rotates = k->enabled && k->deletion_ms == 0 && key_next_rotation_ms(k) <= now_ms;
        if (key_is_over(k, now_ms) || rotates)
            found = key_ref(k);
    }
    pthread_rwlock_unlock(&s->lock);
    return found;
}

Err kms_sweep(struct kms *s, int64_t now_ms)
{
    for (;;) {
        AUTO(arena) tmp = arena_open();
        AUTO(key) k = due(s, now_ms);
        if (k == NULL)
            return OK;
        if (key_is_over(k, now_ms)) {
            TRY(forget_aliases_of(s, tmp, k->id)); // an alias never names nothing
            TRY(forget(s, k));
            continue;
        }
        struct key *copy = key_copy(k);
        key_add_material(s->env.io, copy, now_ms, false);
        TRY(kms_put_key(s, copy));
    }
}

// ---- Opening

static Err load_keys(struct kms *s)
{
    AUTO(kv_txn) tx = kv_read(s->rows);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&scan)) {
        AUTO(arena) tmp = arena_open();
        struct key *k = NULL;
        Err e = s->has_master ? key_row_read(s->master, tmp, scan.rest, scan.value, &k)
                              : fail(ERR_CORRUPT, "there are keys, but no master.key for them");
        if (e.kind != ERR_NONE) {
            LOG(LOG_ERROR, "a key cannot be read", F_STR("row", scan.rest), F_ERR(e));
            kv_scan_end(&scan);
            return e;
        }
        keep_key(s, k);
    }
    return scan.err;
}

static Err load_alias(struct kms *s, Str row_key, Str row)
{
    AUTO(arena) tmp = arena_open();
    JsonValue *v;
    struct alias alias = { 0 };
    Str rest;
    if (!str_cut(row_key, '/', &alias.account, &rest) ||
        !str_cut(rest, '/', &alias.region, &alias.name) || alias.name.n == 0)
        return fail(ERR_CORRUPT, "an alias's row has no name");
    if (json_parse(tmp, row, &v).kind != ERR_NONE)
        return fail(ERR_CORRUPT, "an alias's row is not JSON");
    const JsonValue *version = json_find(v, S("version")), *created = json_find(v, S("created_ms")),
                    *updated = json_find(v, S("updated_ms"));
    alias.key_id = json_text(v, S("key"));
    if (version == NULL || created == NULL || updated == NULL || alias.key_id.n == 0)
        return fail(ERR_CORRUPT, "an alias's row is not complete");
    if (version->integer > ALIAS_ROW_VERSION)
        return fail(ERR_FORMAT, "an alias's row was written by a newer program");
    alias.created_ms = created->integer;
    alias.updated_ms = updated->integer;
    keep_alias(s, &alias);
    return OK;
}

static Err load_aliases(struct kms *s)
{
    AUTO(kv_txn) tx = kv_read(s->alias_rows);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&scan)) {
        Err e = load_alias(s, scan.rest, scan.value);
        if (e.kind != ERR_NONE) {
            LOG(LOG_ERROR, "an alias cannot be read", F_STR("row", scan.rest), F_ERR(e));
            kv_scan_end(&scan);
            return e;
        }
    }
    return scan.err;
}

static Err load(struct kms *s)
{
    TRY(kv_table_open(s->env.kv, S("kms.keys"), &s->rows));
    TRY(kv_table_open(s->env.kv, S("kms.aliases"), &s->alias_rows));
    Err e = master_read(s->env.io, s->env.data_dir, s->master);
    s->has_master = e.kind == ERR_NONE;
    if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
        return e;
    TRY(load_keys(s));
    return load_aliases(s);
}

static void kms_close(void *state)
{
    struct kms *s = state;
    Str name;
    void *value;
    if (s == NULL)
        return;
    for (size_t at = 0; map_next(s->keys, &at, &name, &value);)
        key_unref(value);
    for (size_t at = 0; map_next(s->aliases, &at, &name, &value);)
        free(value);
    map_close(s->keys);
    map_close(s->aliases);
    pthread_rwlock_destroy(&s->lock);
    pthread_mutex_destroy(&s->changing);
    explicit_bzero(s->master, sizeof s->master);
    free(s);
}

static Err kms_open(const struct service_env *env, void **ret_state)
{
    struct kms *s = xalloc(sizeof *s);
    s->env = *env;
    s->keys = map_open();
    s->aliases = map_open();
    pthread_mutex_init(&s->changing, NULL);
    pthread_rwlock_init(&s->lock, NULL);
    Err e = load(s);
    if (e.kind != ERR_NONE) {
        kms_close(s);
        return e;
    }
    kms_offer_init(s);
    if (env->hub != NULL)
        env->hub->keys = &s->offer;
    *ret_state = s;
    return OK;
}

extern const struct service kms_service;
const struct service kms_service = {
    .api = &kms_api, .targets = &kms_targets, .open = kms_open, .close = kms_close
};
