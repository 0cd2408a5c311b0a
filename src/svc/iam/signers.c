// SPDX-License-Identifier: Apache-2.0
// Access keys in their table, in memory and in the server's keyring. Their secrets are sealed in
// the table. An older program wrote them in plain: such rows are sealed when they are read, and the
// store is written anew, so that no file of it holds them any longer.
#include "base/logline.h"
#include "store/master.h"
#include "svc/iam/iam.h"
#include "svc/iam/used.h"

#include <stdlib.h>

#define SCRUB S("scrub")

// Into the ring of those who may sign. Of tools there is none.
static Err into_keyring(struct iam *s, const struct signer *k)
{
    if (s->env.keys == NULL)
        return OK;
    if (!k->active) {
        keyring_remove(s->env.keys, k->access_key);
        return OK;
    }
    return keyring_add(s->env.keys, &(Key){ .access_key = k->access_key,
                                            .secret = k->secret,
                                            .session_token = k->token,
                                            .account = k->account,
                                            .principal = k->principal,
                                            .expires_ns = k->expires_ms * 1000000 });
}

static void keep_signer(struct iam *s, struct signer *take_k)
{
    pthread_rwlock_wrlock(&s->lock);
    struct signer *old = map_put(s->signers, take_k->access_key, take_k);
    atomic_fetch_add(&s->version, 1);
    pthread_rwlock_unlock(&s->lock);
    signer_unref(old);
}

Err iam_need_master(struct iam *s)
{
    if (s->has_master)
        return OK;
    TRY(master_read_or_make(s->env.io, s->env.data_dir, s->master));
    s->has_master = true;
    return OK;
}

static Err write_row(struct iam *s, struct kv_txn *tx, const struct signer *k)
{
    AUTO(arena) tmp = arena_open();
    AUTO_BUF(row);
    signer_row_write(s->env.io, s->master, tmp, &row, k);
    TRY(buf_err(&row));
    return kv_put(tx, k->access_key, buf_str(&row));
}

Err iam_put_signer(struct iam *s, struct signer *take_k)
{
    AUTO(signer) k = take_k;
    TRY(iam_need_master(s));
    AUTO(kv_txn) tx = kv_write(s->key_rows);
    TRY(write_row(s, tx, k));
    TRY(kv_commit(tx));
    keep_signer(s, signer_ref(k));
    return into_keyring(s, k); // after the guard knows whose it is
}

Err iam_drop_signer(struct iam *s, Str access_key)
{
    AUTO(kv_txn) tx = kv_write(s->key_rows);
    TRY(kv_del(tx, access_key));
    TRY(kv_commit(tx));
    if (s->env.keys != NULL)
        keyring_remove(s->env.keys, access_key);
    pthread_rwlock_wrlock(&s->lock);
    struct signer *old = map_take(s->signers, access_key);
    atomic_fetch_add(&s->version, 1);
    pthread_rwlock_unlock(&s->lock);
    if (old != NULL && old->token.p == NULL)
        used_forget(s->used, access_key);
    signer_unref(old);
    return OK;
}

static Str one_over(struct iam *s, struct arena *tmp, int64_t now_ms)
{
    Str key, found = { 0 };
    void *value;
    pthread_rwlock_rdlock(&s->lock);
    for (size_t at = 0; found.p == NULL && map_next(s->signers, &at, &key, &value);) {
        const struct signer *k = value;
        if (k->expires_ms > 0 && k->expires_ms <= now_ms)
            found = str_dup(tmp, k->access_key);
    }
    pthread_rwlock_unlock(&s->lock);
    return found;
}

Err iam_sweep(struct iam *s, int64_t now_ms)
{
    AUTO(arena) tmp = arena_open();
    for (Str key; (key = one_over(s, tmp, now_ms)).p != NULL;)
        TRY(iam_drop_signer(s, key));
    return OK;
}

// ---- Loading

// Keys whose rows have their secrets in plain.
struct plain_keys {
    struct signer **at;
    size_t n, cap;
};

static void note_plain(struct plain_keys *p, struct signer *k)
{
    if (p->n == p->cap) {
        p->cap = MAX(2 * p->cap, (size_t)16);
        p->at = xrealloc(p->at, mul_checked(p->cap, sizeof(struct signer *)));
    }
    p->at[p->n++] = signer_ref(k);
}

static void plain_done(struct plain_keys *p)
{
    for (size_t i = 0; i < p->n; i++)
        signer_unref(p->at[i]);
    free(p->at);
}

static Err load_one(struct iam *s, Str access_key, Str row, struct plain_keys *plain)
{
    AUTO(arena) tmp = arena_open();
    AUTO(signer) k = NULL;
    bool is_plain = false;
    TRY(signer_row_read(s->has_master ? s->master : NULL, tmp, access_key, row, &k, &is_plain));
    if (is_plain)
        note_plain(plain, k);
    keep_signer(s, signer_ref(k));
    return into_keyring(s, k);
}

static Err load_rows(struct iam *s, struct plain_keys *plain)
{
    AUTO(kv_txn) tx = kv_read(s->key_rows);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&scan)) {
        Err fault = load_one(s, scan.rest, scan.value, plain);
        if (fault.kind != ERR_NONE) {
            LOG(LOG_ERROR, "an access key cannot be read", F_STR("key", scan.rest), F_ERR(fault));
            kv_scan_end(&scan);
            return fault;
        }
    }
    return scan.err;
}

// All of them, and that the store is to be written anew, in one transaction.
static Err seal_plain(struct iam *s, const struct plain_keys *plain)
{
    if (plain->n == 0)
        return OK;
    TRY(iam_need_master(s));
    AUTO(kv_txn) tx = kv_write(s->key_rows);
    for (size_t i = 0; i < plain->n; i++)
        TRY(write_row(s, tx, plain->at[i]));
    kv_on(tx, s->meta);
    TRY(kv_put(tx, SCRUB, S("1")));
    TRY(kv_commit(tx));
    LOG(LOG_INFO, "the secrets of access keys are sealed now", F_INT("keys", (int64_t)plain->n));
    return OK;
}

static Err scrub_is_due(struct iam *s, bool *ret)
{
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_read(s->meta);
    Str value;
    Err e = kv_get(tx, tmp, SCRUB, &value);
    *ret = e.kind == ERR_NONE;
    return e.kind == ERR_NOT_FOUND ? OK : e;
}

// Not being able to is no reason not to start: it is tried again the next time.
static Err scrub(struct iam *s)
{
    bool due = false;
    TRY(scrub_is_due(s, &due));
    if (!due)
        return OK;
    Err e = kv_scrub(s->env.kv);
    if (e.kind != ERR_NONE) {
        LOG(LOG_WARN, "headrace.db may still hold secrets of access keys in plain", F_ERR(e));
        return OK;
    }
    AUTO(kv_txn) tx = kv_write(s->meta);
    TRY(kv_del(tx, SCRUB));
    return kv_commit(tx);
}

Err iam_load_signers(struct iam *s)
{
    struct plain_keys plain = { 0 };
    Err e = master_read(s->env.io, s->env.data_dir, s->master);
    s->has_master = e.kind == ERR_NONE;
    if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
        return e;
    e = load_rows(s, &plain);
    if (e.kind == ERR_NONE)
        e = seal_plain(s, &plain);
    plain_done(&plain);
    return e.kind == ERR_NONE ? scrub(s) : e;
}
