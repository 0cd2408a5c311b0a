// SPDX-License-Identifier: Apache-2.0
#include "svc/secretsmanager/secretsmanager.h"
#include "base/logline.h"
#include "base/time.h"

#include <stdlib.h>
#include <string.h>

enum { ARN_PARTS = 6, RETRY_MS = 1000 };

// ---- Finding

static struct secret *get(struct secrets *s, struct arena *tmp, Str account, Str region, Str name)
{
    Str key = secret_key(tmp, account, region, name);
    pthread_rwlock_rdlock(&s->lock);
    struct secret *x = map_get(s->by_name, key);
    if (x != NULL)
        secret_ref(x);
    pthread_rwlock_unlock(&s->lock);
    return x;
}

// What follows arn:aws:secretsmanager:region:account:secret: if the ARN is of this account and
// region; absent otherwise.
static Str name_in_arn(Str arn, Str account, Str region)
{
    Str part[ARN_PARTS];
    for (size_t i = 0; i < COUNT_OF(part); i++)
        if (!str_cut(arn, ':', &part[i], &arn))
            return (Str){ 0 };
    bool good = str_eq(part[2], S("secretsmanager")) && str_eq(part[3], region) &&
                str_eq(part[4], account) && str_eq(part[5], S("secret"));
    return good ? arn : (Str){ 0 };
}

static struct secret *look_arn(struct secrets *s, struct arena *tmp, Str account, Str region,
                               Str arn)
{
    Str name = name_in_arn(arn, account, region);
    if (name.n > SECRET_SUFFIX_CHARS + 1) {
        struct secret *x =
            get(s, tmp, account, region, str_head(name, name.n - SECRET_SUFFIX_CHARS - 1));
        if (x != NULL && str_eq(x->d.arn, arn))
            return x;
        secret_unref(x);
    }
    return name.n > 0 ? get(s, tmp, account, region, name) : NULL; // a partial ARN
}

struct secret *secrets_look(struct secrets *s, struct arena *tmp, Str account, Str region, Str name,
                            int64_t now_ms)
{
    struct secret *x = str_starts(name, S("arn:")) ? look_arn(s, tmp, account, region, name)
                                                   : get(s, tmp, account, region, name);
    if (x != NULL && secret_is_over(x, now_ms)) {
        secret_unref(x);
        return NULL;
    }
    return x;
}

static Err not_found(struct call *c)
{
    return call_fail(c, &secretsmanager_ResourceNotFoundException,
                     "Secrets Manager can't find the specified secret.");
}

Err secrets_find(struct call *c, Str name, struct secret **ret)
{
    struct secret *x =
        secrets_look(c->state, c->arena, c->account, c->region, name, secrets_now_ms(c));
    if (x == NULL)
        return not_found(c);
    *ret = x;
    return OK;
}

Err secrets_require_kept(struct call *c, const struct secret *x)
{
    if (!x->d.has_deleted_date)
        return OK;
    return call_fail(c, &secretsmanager_InvalidRequestException,
                     "You can't perform this operation on the secret because it was marked for "
                     "deletion.");
}

Err secrets_find_kept(struct call *c, Str name, struct secret **ret)
{
    AUTO(secret) x = NULL;
    TRY(secrets_find(c, name, &x));
    TRY(secrets_require_kept(c, x));
    *ret = secret_ref(x);
    return OK;
}

struct secret **secrets_all(struct call *c, size_t *ret_n)
{
    struct secrets *s = c->state;
    Str name;
    void *value;
    size_t n = 0;
    pthread_rwlock_rdlock(&s->lock);
    struct secret **all = xalloc(mul_checked(map_count(s->by_name) + 1, sizeof(struct secret *)));
    for (size_t at = 0; map_next(s->by_name, &at, &name, &value);) {
        struct secret *x = value;
        if (str_eq(x->account, c->account) && str_eq(x->region, c->region) &&
            !secret_is_over(x, secrets_now_ms(c)))
            all[n++] = secret_ref(x);
    }
    pthread_rwlock_unlock(&s->lock);
    *ret_n = n;
    return all;
}

// ---- Changing

static void keep(struct secrets *s, struct secret *take_x)
{
    AUTO(arena) tmp = arena_open();
    Str key = secret_key(tmp, take_x->account, take_x->region, take_x->d.name);
    pthread_rwlock_wrlock(&s->lock);
    struct secret *old = map_put(s->by_name, key, take_x);
    pthread_rwlock_unlock(&s->lock);
    secret_unref(old);
}

static Err put_rows(struct call *c, struct kv_txn *tx, const SecretChange *x)
{
    struct secrets *s = c->state;
    AUTO_BUF(row);
    secret_row_write(&row, x->copy);
    TRY(buf_err(&row));
    kv_on(tx, s->rows);
    TRY(kv_put(tx, secret_key(c->arena, x->copy->account, x->copy->region, x->copy->d.name),
               buf_str(&row)));
    for (size_t i = 0; i < x->put_count; i++)
        TRY(version_put(s, tx, c->arena, x->copy, &x->put[i]));
    if (x->drop.p != NULL)
        TRY(version_drop(s, tx, c->arena, x->copy, x->drop));
    return x->prune ? version_prune(c, tx, x->copy) : OK;
}

static Err change_locked(struct call *c, const struct secret *of, SecretChange *x, SecretEdit *edit,
                         const void *arg)
{
    struct secrets *s = c->state;
    AUTO(secret) now = get(s, c->arena, of->account, of->region, of->d.name);
    if (now == NULL || now->id != of->id || secret_is_over(now, secrets_now_ms(c)))
        return not_found(c);
    AUTO(secret) copy = secret_copy(now);
    x->copy = copy;
    TRY(edit(c, x, arg));
    AUTO(kv_txn) tx = kv_write(s->rows);
    TRY(put_rows(c, tx, x));
    TRY(kv_commit(tx));
    keep(s, secret_ref(copy));
    return OK;
}

Err secrets_change(struct call *c, const struct secret *of, SecretChange *x, SecretEdit *edit,
                   const void *arg, struct secret **ret)
{
    struct secrets *s = c->state;
    pthread_mutex_lock(&s->changing);
    Err e = change_locked(c, of, x, edit, arg);
    if (e.kind == ERR_NONE && ret != NULL)
        *ret = get(s, c->arena, of->account, of->region, of->d.name);
    pthread_mutex_unlock(&s->changing);
    x->copy = NULL;
    return e;
}

static Err forget_locked(struct secrets *s, const struct secret *x);

static Err check_new(struct call *c, const struct secret *x)
{
    struct secrets *s = c->state;
    AUTO(secret) there = get(s, c->arena, x->account, x->region, x->d.name);
    if (there != NULL && secret_is_over(there, secrets_now_ms(c)))
        return forget_locked(s, there); // the chores have not come to it yet
    if (there != NULL && there->d.has_deleted_date)
        return call_fail(c, &secretsmanager_InvalidRequestException,
                         "You can't create this secret because a secret with this name is already "
                         "scheduled for deletion.");
    if (there != NULL)
        return call_fail(c, &secretsmanager_ResourceExistsException,
                         "The operation failed because the secret %.*s already exists.",
                         FMT(x->d.name));
    if (map_count(s->by_name) < SECRETS_MAX) // changed by the holder of `changing` alone
        return OK;
    return call_fail(c, &secretsmanager_LimitExceededException,
                     "You have reached the maximum number of secrets: %d.", SECRETS_MAX);
}

static Err add_locked(struct call *c, struct secret *x, const VersionRow *put, size_t put_count)
{
    struct secrets *s = c->state;
    TRY(check_new(c, x));
    AUTO(kv_txn) tx = kv_write(s->rows);
    TRY(kv_next_id(tx, &x->id));
    SecretChange change = { .copy = x, .put = put, .put_count = put_count };
    TRY(put_rows(c, tx, &change));
    TRY(kv_commit(tx));
    keep(s, secret_copy(x));
    return OK;
}

Err secrets_add(struct call *c, struct secret *x, const VersionRow *put, size_t put_count)
{
    struct secrets *s = c->state;
    pthread_mutex_lock(&s->changing);
    Err e = add_locked(c, x, put, put_count);
    pthread_mutex_unlock(&s->changing);
    return e;
}

// ---- Going

static Err drop_rows(struct kv_txn *tx, struct kv_table *t, struct arena *tmp, Str prefix)
{
    for (;;) { // nothing is changed under a scan
        kv_on(tx, t);
        struct kv_scan scan = kv_scan_start(tx, prefix, S(""));
        Str rest = kv_scan_next(&scan) ? str_dup(tmp, scan.rest) : (Str){ 0 };
        Err e = scan.err;
        kv_scan_end(&scan);
        TRY(e);
        if (rest.p == NULL)
            return OK;
        TRY(kv_del(tx, str_cat(tmp, prefix, rest)));
    }
}

static Err forget_locked(struct secrets *s, const struct secret *x)
{
    AUTO(arena) tmp = arena_open();
    Str key = secret_key(tmp, x->account, x->region, x->d.name);
    AUTO(secret) now = get(s, tmp, x->account, x->region, x->d.name);
    if (now == NULL || now->id != x->id)
        return OK;
    AUTO(kv_txn) tx = kv_write(s->rows);
    TRY(kv_del(tx, key));
    TRY(drop_rows(tx, s->versions, tmp, version_key(tmp, x, S(""))));
    TRY(drop_rows(tx, s->values, tmp, version_key(tmp, x, S(""))));
    TRY(kv_commit(tx));
    pthread_rwlock_wrlock(&s->lock);
    struct secret *old = map_take(s->by_name, key);
    map_take(s->retries, x->d.arn);
    pthread_rwlock_unlock(&s->lock);
    secret_unref(old);
    return OK;
}

Err secrets_forget(struct secrets *s, const struct secret *x)
{
    pthread_mutex_lock(&s->changing);
    Err e = forget_locked(s, x);
    pthread_mutex_unlock(&s->changing);
    return e;
}

void secrets_run_at(struct secrets *s, int64_t due_ms)
{
    chores_at(&s->chores, due_ms);
}

// One whose time has come, or NULL and when the next one's comes.
static struct secret *next_due(struct secrets *s, int64_t now_ms, int64_t *ret_next_ms)
{
    struct secret *found = NULL;
    Str name;
    void *value;
    *ret_next_ms = CHORES_NEVER;
    pthread_rwlock_rdlock(&s->lock);
    for (size_t at = 0; found == NULL && map_next(s->by_name, &at, &name, &value);) {
        struct secret *x = value;
        if (secret_is_over(x, now_ms))
            found = secret_ref(x);
        else if (x->gone_ms > 0)
            *ret_next_ms = MIN(*ret_next_ms, x->gone_ms);
    }
    pthread_rwlock_unlock(&s->lock);
    return found;
}

static int64_t forget_due(struct secrets *s)
{
    for (;;) {
        int64_t now_ms = s->env.io->wall_ns(s->env.io) / NS_PER_MS, next_ms;
        AUTO(secret) x = next_due(s, now_ms, &next_ms);
        if (x == NULL)
            return next_ms;
        Err e = secrets_forget(s, x);
        if (e.kind != ERR_NONE) {
            LOG(LOG_WARN, "a secret is not gone yet", F_STR("secret", x->d.arn), F_ERR(e));
            return now_ms + RETRY_MS;
        }
        LOG(LOG_INFO, "a secret is gone: its time is over", F_STR("secret", x->d.arn));
    }
}

static int64_t run_chores(void *self)
{
    struct secrets *s = self;
    int64_t next_ms = forget_due(s);
    return MIN(next_ms, secrets_rotate_due(s, s->env.io->wall_ns(s->env.io) / NS_PER_MS));
}

// ---- Opening

static Err load(struct secrets *s)
{
    TRY(kv_table_open(s->env.kv, S("secrets.secrets"), &s->rows));
    TRY(kv_table_open(s->env.kv, S("secrets.versions"), &s->versions));
    TRY(kv_table_open(s->env.kv, S("secrets.values"), &s->values));
    AUTO(kv_txn) tx = kv_read(s->rows);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&scan)) {
        struct secret *x = NULL;
        Err e = secret_row_read(scan.rest, scan.value, &x);
        if (e.kind != ERR_NONE) {
            LOG(LOG_ERROR, "a secret cannot be read", F_STR("row", scan.rest), F_ERR(e));
            kv_scan_end(&scan);
            return e;
        }
        keep(s, x);
    }
    return scan.err;
}

static void secretsmanager_stop(void *state)
{
    struct secrets *s = state;
    atomic_store(&s->stopping, true);
    chores_stop(&s->chores);
}

static void secretsmanager_close(void *state)
{
    struct secrets *s = state;
    Str name;
    void *value;
    if (s == NULL)
        return;
    for (size_t at = 0; map_next(s->by_name, &at, &name, &value);)
        secret_unref(value);
    map_close(s->by_name);
    map_close(s->retries);
    chores_done(&s->chores);
    pthread_rwlock_destroy(&s->lock);
    pthread_mutex_destroy(&s->changing);
    free(s);
}

static Err secretsmanager_open(const struct service_env *env, void **ret_state)
{
    struct secrets *s = xalloc(sizeof *s);
    int64_t next_ms;
    s->env = *env;
    s->by_name = map_open();
    s->retries = map_open();
    pthread_mutex_init(&s->changing, NULL);
    pthread_rwlock_init(&s->lock, NULL);
    chores_init(&s->chores, &s->env, run_chores, s);
    Err e = load(s);
    if (e.kind != ERR_NONE) {
        secretsmanager_close(s);
        return e;
    }
    secret_unref(next_due(s, INT64_MIN, &next_ms)); // none: nothing is due that early
    chores_at(&s->chores, MIN(next_ms, secrets_rotate_due(s, INT64_MIN)));
    chores_start(&s->chores);
    secrets_offer_init(s);
    if (env->hub != NULL)
        env->hub->secrets = &s->offer;
    *ret_state = s;
    return OK;
}

extern const struct service secretsmanager_service;
const struct service secretsmanager_service = { .api = &secretsmanager_api,
                                                .targets = &secrets_targets,
                                                .open = secretsmanager_open,
                                                .stop = secretsmanager_stop,
                                                .close = secretsmanager_close };
