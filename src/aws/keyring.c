// SPDX-License-Identifier: Apache-2.0
#include "aws/keyring.h"
#include "base/map.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct keyring {
    pthread_rwlock_t lock;
    struct map *keys; // access key -> struct entry *
    bool dev;
};

// One block per key: its strings follow it.
struct entry {
    Key key;
    size_t bytes;
    char text[];
};

static const char account_of_others[] = "000000000000";
enum { ACCOUNT_DIGITS = sizeof account_of_others - 1 };

static Str put(char **at, Str s)
{
    if (s.p == NULL)
        return s;
    memcpy(*at, s.p, s.n);
    Str copy = { .p = *at, .n = s.n };
    *at += s.n;
    return copy;
}

static struct entry *entry_new(const Key *k)
{
    size_t bytes =
        k->access_key.n + k->secret.n + k->session_token.n + k->account.n + k->principal.n + 1;
    struct entry *e = xalloc(sizeof *e + bytes);
    char *at = e->text;
    e->bytes = bytes;
    e->key = *k;
    e->key.access_key = put(&at, k->access_key);
    e->key.secret = put(&at, k->secret);
    e->key.session_token = put(&at, k->session_token);
    e->key.account = put(&at, k->account);
    e->key.principal = put(&at, k->principal);
    return e;
}

static void entry_free(struct entry *e)
{
    if (e == NULL)
        return;
    explicit_bzero(e->text, e->bytes);
    free(e);
}

void keyring_open(bool dev, struct keyring **ret)
{
    struct keyring *k = xalloc(sizeof *k);
    CHECK(pthread_rwlock_init(&k->lock, NULL) == 0);
    k->keys = map_open();
    k->dev = dev;
    *ret = k;
}

void keyring_close(struct keyring *k)
{
    if (k == NULL)
        return;
    Str name;
    void *entry;
    for (size_t at = 0; map_next(k->keys, &at, &name, &entry);)
        entry_free(entry);
    map_close(k->keys);
    pthread_rwlock_destroy(&k->lock);
    free(k);
}

Err keyring_add(struct keyring *k, const Key *key)
{
    if (key->access_key.n == 0 || key->access_key.n > ACCESS_KEY_BYTES_MAX ||
        key->account.n != ACCOUNT_DIGITS)
        return fail(ERR_INVALID, "an access key or account is malformed");
    struct entry *e = entry_new(key);
    pthread_rwlock_wrlock(&k->lock);
    bool full = map_count(k->keys) >= KEYRING_KEYS_MAX && map_get(k->keys, key->access_key) == NULL;
    struct entry *old = full ? e : map_put(k->keys, key->access_key, e);
    pthread_rwlock_unlock(&k->lock);
    entry_free(old);
    return full ? fail(ERR_LIMIT, "too many access keys") : OK;
}

void keyring_remove(struct keyring *k, Str access_key)
{
    pthread_rwlock_wrlock(&k->lock);
    struct entry *old = map_take(k->keys, access_key);
    pthread_rwlock_unlock(&k->lock);
    entry_free(old);
}

// Letters, digits and the few marks that tools put in made-up keys.
static bool well_formed(Str access_key)
{
    if (access_key.n == 0 || access_key.n > ACCESS_KEY_BYTES_MAX)
        return false;
    for (size_t i = 0; i < access_key.n; i++) {
        char c = access_key.p[i];
        bool word = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!word && c != '_' && c != '-' && c != '.')
            return false;
    }
    return true;
}

static bool is_account(Str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n == ACCOUNT_DIGITS;
}

static void made_up(struct arena *a, Str access_key, Key *ret)
{
    Str account = is_account(access_key) ? str_dup(a, access_key) : str_of(account_of_others);
    *ret = (Key){ .access_key = str_dup(a, access_key),
                  .secret = S(""),
                  .account = account,
                  .principal = str_fmt(a, "arn:aws:iam::%.*s:root", FMT(account)),
                  .unverified = true };
}

static void copy_out(struct arena *a, const Key *key, Key *ret)
{
    *ret = *key;
    ret->access_key = str_dup(a, key->access_key);
    ret->secret = str_dup(a, key->secret);
    ret->account = str_dup(a, key->account);
    ret->principal = str_dup(a, key->principal);
    if (key->session_token.p != NULL)
        ret->session_token = str_dup(a, key->session_token);
}

bool keyring_has(struct keyring *k, Str access_key)
{
    pthread_rwlock_rdlock(&k->lock);
    const struct entry *e = map_get(k->keys, access_key);
    bool verified = e != NULL && !e->key.unverified;
    pthread_rwlock_unlock(&k->lock);
    return verified;
}

Err keyring_find(struct keyring *k, struct arena *a, Str access_key, Key *ret)
{
    pthread_rwlock_rdlock(&k->lock);
    const struct entry *e = map_get(k->keys, access_key);
    if (e != NULL)
        copy_out(a, &e->key, ret);
    pthread_rwlock_unlock(&k->lock);
    if (e != NULL)
        return OK;
    if (!k->dev || !well_formed(access_key))
        return fail(ERR_NOT_FOUND, "no such access key");
    made_up(a, access_key, ret);
    return OK;
}
