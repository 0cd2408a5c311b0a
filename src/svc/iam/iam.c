// SPDX-License-Identifier: Apache-2.0
#include "svc/iam/mfa.h"
#include "svc/iam/used.h"
#include "base/logline.h"

#include <stdlib.h>
#include <string.h>

// ---- Finding

struct entity *iam_look(struct iam *s, EntityKind kind, Str account, Str name)
{
    AUTO(arena) tmp = arena_open();
    Str key = entity_key(tmp, kind, account, name);
    pthread_rwlock_rdlock(&s->lock);
    struct entity *e = map_get(s->entities, key);
    if (e != NULL)
        entity_ref(e);
    pthread_rwlock_unlock(&s->lock);
    return e;
}

// arn:aws:iam::account:kind/path/name, compared whole with what is found by its last part.
struct entity *iam_look_arn(struct iam *s, EntityKind kind, Str arn)
{
    Str part[5] = { 0 }, rest = arn, name;
    for (size_t i = 0; i < COUNT_OF(part); i++)
        if (!str_cut(rest, ':', &part[i], &rest))
            return NULL;
    name = rest;
    for (size_t at; (at = str_find(name, '/')) < name.n;)
        name = str_skip(name, at + 1);
    struct entity *e = iam_look(s, kind, part[4], name);
    if (e == NULL || str_eq(e->arn, arn))
        return e;
    entity_unref(e);
    return NULL;
}

Err iam_find(struct call *c, EntityKind kind, Str name, struct entity **ret)
{
    struct entity *e = iam_look(c->state, kind, c->account, name);
    if (e == NULL)
        return call_fail(c, &iam_NoSuchEntity, "The %s with name %.*s cannot be found.",
                         entity_word(kind), FMT(name));
    *ret = e;
    return OK;
}

Err iam_find_policy(struct call *c, Str arn, struct entity **ret)
{
    struct entity *e = iam_look_arn(c->state, ENTITY_POLICY, arn);
    if (e == NULL || !(str_eq(e->account, c->account) || str_eq(e->account, S("aws")))) {
        entity_unref(e);
        return call_fail(c, &iam_NoSuchEntity, "Policy %.*s was not found.", FMT(arn));
    }
    *ret = e;
    return OK;
}

struct signer *iam_signer(struct iam *s, Str access_key)
{
    pthread_rwlock_rdlock(&s->lock);
    struct signer *k = map_get(s->signers, access_key);
    if (k != NULL)
        signer_ref(k);
    pthread_rwlock_unlock(&s->lock);
    return k;
}

Err iam_own_name(struct call *c, Str given, Str *ret)
{
    if (given.p != NULL) {
        *ret = given;
        return OK;
    }
    AUTO(signer) k = iam_signer(c->state, c->access_key);
    if (k == NULL || k->kind != ENTITY_USER || k->name.n == 0)
        return call_fail(c, &iam_ValidationError,
                         "Must specify userName when calling with non-User credentials");
    *ret = str_dup(c->arena, k->name);
    return OK;
}

static int by_name(const void *x, const void *y)
{
    const struct entity *const *a = x, *const *b = y;
    return str_cmp((*a)->name, (*b)->name);
}

EntityList iam_list(struct iam *s, struct arena *a, EntityKind kind, Str account, Str prefix)
{
    EntityList l = { 0 };
    Str key;
    void *value;
    pthread_rwlock_rdlock(&s->lock);
    l.at = arena_new(a, struct entity *, map_count(s->entities));
    for (size_t at = 0; map_next(s->entities, &at, &key, &value);) {
        struct entity *e = value;
        if (e->kind == kind && str_eq(e->account, account) && str_starts(e->path, prefix))
            l.at[l.n++] = entity_ref(e);
    }
    pthread_rwlock_unlock(&s->lock);
    if (l.n > 0)
        qsort(l.at, l.n, sizeof *l.at, by_name);
    return l;
}

void iam_list_done(EntityList *l)
{
    for (size_t i = 0; i < l->n; i++)
        entity_unref(l->at[i]);
}

Page iam_page(const Str *names, size_t n, Str marker, int32_t max)
{
    Page p = { 0 };
    while (marker.p != NULL && p.from < n && str_cmp(names[p.from], marker) <= 0)
        p.from++; // the marker is the last name of the page before
    p.n = MIN(n - p.from, (size_t)max);
    p.more = p.from + p.n < n;
    return p;
}

// ---- Changing

void iam_begin(struct iam *s)
{
    pthread_mutex_lock(&s->changing);
}

void iam_end(struct iam *s)
{
    pthread_mutex_unlock(&s->changing);
}

void iam_keep(struct iam *s, struct entity *take_e)
{
    AUTO(arena) tmp = arena_open();
    Str key = entity_key(tmp, take_e->kind, take_e->account, take_e->name);
    pthread_rwlock_wrlock(&s->lock);
    struct entity *old = map_put(s->entities, key, take_e);
    atomic_fetch_add(&s->version, 1);
    pthread_rwlock_unlock(&s->lock);
    entity_unref(old);
}

Err iam_put(struct iam *s, struct entity *take_e)
{
    AUTO(entity) e = take_e;
    AUTO(arena) tmp = arena_open();
    AUTO_BUF(row);
    entity_row_write(&row, e);
    TRY(buf_err(&row));
    AUTO(kv_txn) tx = kv_write(s->rows);
    TRY(kv_put(tx, entity_key(tmp, e->kind, e->account, e->name), buf_str(&row)));
    TRY(kv_commit(tx));
    iam_keep(s, entity_ref(e));
    return OK;
}

Err iam_drop(struct iam *s, const struct entity *e)
{
    AUTO(arena) tmp = arena_open();
    Str key = entity_key(tmp, e->kind, e->account, e->name);
    AUTO(kv_txn) tx = kv_write(s->rows);
    TRY(kv_del(tx, key));
    TRY(kv_commit(tx));
    pthread_rwlock_wrlock(&s->lock);
    struct entity *old = map_take(s->entities, key);
    atomic_fetch_add(&s->version, 1);
    pthread_rwlock_unlock(&s->lock);
    used_forget(s->used, e->id);
    entity_unref(old);
    return OK;
}

static Err edit_found(struct call *c, const struct entity *e, EntityEdit *edit, const void *arg)
{
    struct entity *copy = entity_copy(e);
    Err fault = edit(c, copy, arg);
    if (fault.kind == ERR_NONE)
        return iam_put(c->state, copy);
    entity_unref(copy);
    return fault;
}

Err iam_edit(struct call *c, EntityKind kind, Str name, EntityEdit *edit, const void *arg)
{
    struct iam *s = c->state;
    AUTO(entity) e = NULL;
    iam_begin(s);
    Err fault = iam_find(c, kind, name, &e);
    if (fault.kind == ERR_NONE)
        fault = edit_found(c, e, edit, arg);
    iam_end(s);
    return fault;
}

Err iam_edit_policy(struct call *c, Str arn, EntityEdit *edit, const void *arg)
{
    struct iam *s = c->state;
    AUTO(entity) e = NULL;
    iam_begin(s);
    Err fault = iam_find_policy(c, arn, &e);
    if (fault.kind == ERR_NONE && !str_eq(e->account, c->account))
        fault =
            call_fail(c, &iam_NoSuchEntity, "Policy %.*s was not found.", FMT(arn)); // AWS's own
    if (fault.kind == ERR_NONE)
        fault = edit_found(c, e, edit, arg);
    iam_end(s);
    return fault;
}

Err iam_read_policy(struct call *c, PolicyKind kind, Str name, Str document, size_t bytes_max,
                    struct policy **ret)
{
    size_t counted = 0; // without white space, as AWS counts
    for (size_t i = 0; i < document.n; i++)
        counted += strchr(" \t\r\n", document.p[i]) == NULL;
    if (counted > bytes_max)
        return call_fail(c, &iam_LimitExceeded, "Cannot exceed quota for PolicySize: %zu",
                         bytes_max);
    Err e = policy_open(kind, name, document, ret);
    if (e.kind == ERR_INVALID || e.kind == ERR_LIMIT)
        return call_fail(c, &iam_MalformedPolicyDocument, "%s", e.text);
    return e;
}

Str iam_url_encode(struct arena *a, Str s)
{
    static const char digits[] = "0123456789ABCDEF";
    char *text = arena_alloc(a, 3 * s.n + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                     (c != '\0' && strchr("-._~", c) != NULL);
        if (plain) {
            text[n++] = (char)c;
            continue;
        }
        text[n++] = '%';
        text[n++] = digits[c >> 4];
        text[n++] = digits[c & 15];
    }
    return str_from(text, n);
}

// ---- Opening

static Err load_entities(struct iam *s)
{
    AUTO(kv_txn) tx = kv_read(s->rows);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&scan)) {
        AUTO(arena) tmp = arena_open();
        struct entity *e = NULL;
        Err fault = entity_row_read(tmp, scan.rest, scan.value, &e);
        if (fault.kind != ERR_NONE) {
            LOG(LOG_ERROR, "an identity cannot be read", F_STR("row", scan.rest), F_ERR(fault));
            kv_scan_end(&scan);
            return fault;
        }
        iam_keep(s, e);
    }
    return scan.err;
}

static void iam_close(void *state)
{
    struct iam *s = state;
    Str key;
    void *value;
    if (s == NULL)
        return;
    for (size_t at = 0; map_next(s->entities, &at, &key, &value);)
        entity_unref(value);
    for (size_t at = 0; map_next(s->signers, &at, &key, &value);)
        signer_unref(value);
    map_close(s->entities);
    map_close(s->signers);
    iam_close_mfa(s);
    used_close(s->used);
    iam_guard_close(s);
    pthread_rwlock_destroy(&s->lock);
    pthread_mutex_destroy(&s->changing);
    explicit_bzero(s->master, sizeof s->master);
    free(s);
}

static Err load(struct iam *s)
{
    TRY(kv_table_open(s->env.kv, S("iam.entities"), &s->rows));
    TRY(kv_table_open(s->env.kv, S("iam.keys"), &s->key_rows));
    TRY(kv_table_open(s->env.kv, S("iam.meta"), &s->meta));
    TRY(iam_load_managed(s));
    TRY(load_entities(s));
    TRY(iam_load_signers(s));
    TRY(iam_load_mfa(s));
    return used_open(s, &s->used);
}

static void iam_stop(void *state)
{
    struct iam *s = state;
    used_stop(s->used);
}

static Err iam_open(const struct service_env *env, void **ret_state)
{
    struct iam *s = xalloc(sizeof *s);
    s->env = *env;
    s->entities = map_open();
    s->signers = map_open();
    s->devices = map_open();
    pthread_mutex_init(&s->changing, NULL);
    pthread_rwlock_init(&s->lock, NULL);
    iam_guard_open(s);
    Err e = load(s);
    if (e.kind != ERR_NONE) {
        iam_close(s);
        return e;
    }
    iam_offer_init(s);
    if (env->hub != NULL) {
        env->hub->access = &s->guard;
        env->hub->identities = &s->offer;
    }
    *ret_state = s;
    return OK;
}

extern const struct service iam_service;
const struct service iam_service = {
    .api = &iam_api,
    .targets = &iam_targets,
    .open = iam_open,
    .stop = iam_stop,
    .close = iam_close,
};
