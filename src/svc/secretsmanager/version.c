// SPDX-License-Identifier: Apache-2.0
// Versions: the values of a secret. Each is sealed with AES-256-GCM under a data key of its own,
// which the key service wraps; the ARN of the secret and the version's id are bound to both.
#include "base/time.h"
#include "codec/base64.h"
#include "codec/gcm.h"
#include "codec/json.h"
#include "svc/secretsmanager/secretsmanager.h"

#include <stdlib.h>
#include <string.h>

enum { ROW_VERSION = 1 };
#define DAY_MS (INT64_C(86400) * 1000)

Str version_key(struct arena *a, const struct secret *x, Str version)
{
    return str_fmt(a, "%016llx%.*s", (unsigned long long)x->id, FMT(version));
}

static Str bound_to(struct arena *a, const struct secret *x, Str version)
{
    return str_fmt(a, "SecretARN=%.*s\1SecretVersionId=%.*s", FMT(x->d.arn), FMT(version));
}

// ---- The key service

static const struct hub_keys *keys_of(const struct call *c)
{
    const struct secrets *s = c->state;
    return s->env.hub != NULL ? s->env.hub->keys : NULL;
}

static Err refused(struct call *c, const struct api_error *error, const HubKeyAnswer *answer)
{
    if (answer->fault == HUB_KEY_GOOD)
        return OK;
    if (answer->fault == HUB_KEY_DENIED)
        return call_fail(c, &aws_AccessDeniedException, "Access to KMS is not allowed");
    if (answer->fault == HUB_KEY_DAMAGED)
        return fail(ERR_CORRUPT, "the wrapped data key of a secret is damaged");
    return call_fail(c, error, "%.*s", FMT(answer->text));
}

static Err make_key(struct call *c, Str key, Str bound, unsigned char ret_plain[HUB_KEY_BYTES],
                    Str *ret_arn, Str *ret_wrapped)
{
    const struct hub_keys *keys = keys_of(c);
    HubKeyAnswer answer = { 0 };
    if (keys == NULL)
        return fail(ERR_NOT_FOUND, "there is no key service");
    if (key.p != NULL)
        TRY(keys->find(keys->self, c, key, ret_arn, &answer));
    else
        TRY(keys->own(keys->self, c, S("secretsmanager"), ret_arn, &answer));
    if (answer.fault == HUB_KEY_GOOD)
        keys->make(keys->self, c, *ret_arn, bound, ret_plain, ret_wrapped, &answer);
    return refused(c, &secretsmanager_EncryptionFailure, &answer);
}

// ---- Sealing

static Str base64_text(struct arena *a, Str bytes)
{
    size_t n = base64_encoded_bytes(bytes.n);
    char *text = arena_alloc(a, n + 1, 1);
    base64_encode(text, bytes.p, bytes.n);
    return str_from(text, n);
}

static void put_text(struct event_writer *w, Str key, Str value)
{
    w->ops->key(w, key);
    w->ops->text(w, value);
}

static void put_number(struct event_writer *w, Str key, int64_t value)
{
    w->ops->key(w, key);
    w->ops->integer(w, value);
}

typedef struct Meta {
    int64_t created_ms, accessed_ms;
    bool binary, own; // own: the account's key, which nobody has named
    Str key, wrapped;
} Meta;

static Err write_meta(struct arena *a, const Meta *m, Str *ret)
{
    AUTO_BUF(b);
    struct event_writer w;
    json_writer_init(&w, &b);
    w.ops->map(&w);
    put_number(&w, S("version"), ROW_VERSION);
    put_number(&w, S("created_ms"), m->created_ms);
    put_number(&w, S("accessed_ms"), m->accessed_ms);
    put_text(&w, S("kind"), m->binary ? S("binary") : S("string"));
    put_text(&w, S("of"), m->own ? S("aws") : S("customer"));
    put_text(&w, S("key"), m->key);
    put_text(&w, S("wrapped"), base64_text(a, m->wrapped));
    w.ops->map_end(&w);
    TRY(buf_err(&b));
    *ret = str_dup(a, buf_str(&b));
    return OK;
}

Err version_seal(struct call *c, const struct secret *x, Str version, const SecretValue *value,
                 Str key, VersionRow *ret)
{
    unsigned char plain[HUB_KEY_BYTES], nonce[GCM_NONCE_BYTES] = { 0 }, tag[GCM_TAG_BYTES];
    Str bound = bound_to(c->arena, x, version);
    Meta m = { .created_ms = secrets_now_ms(c), .binary = value->binary, .own = key.p == NULL };
    TRY(make_key(c, key, bound, plain, &m.key, &m.wrapped));
    char *sealed = arena_alloc(c->arena, value->bytes.n + GCM_TAG_BYTES, 1);
    AUTO(gcm) g = NULL;
    gcm_open_seal(plain, &g); // the key seals this one value: the nonce needs no chance
    gcm_seal(g, nonce, bound, value->bytes, sealed, tag);
    explicit_bzero(plain, sizeof plain);
    memcpy(sealed + value->bytes.n, tag, sizeof tag);
    ret->version = version;
    ret->value = str_from(sealed, value->bytes.n + GCM_TAG_BYTES);
    return write_meta(c->arena, &m, &ret->row);
}

// ---- Opening

static Err corrupt(void)
{
    return fail(ERR_CORRUPT, "the version of a secret cannot be understood");
}

static Err read_meta(struct arena *a, Str row, Meta *ret)
{
    JsonValue *v;
    TRY(json_parse(a, row, &v));
    const JsonValue *version = json_find(v, S("version")), *created = json_find(v, S("created_ms")),
                    *accessed = json_find(v, S("accessed_ms"));
    Str wrapped = json_text(v, S("wrapped"));
    ret->key = json_text(v, S("key"));
    ret->binary = str_eq(json_text(v, S("kind")), S("binary"));
    ret->own = str_eq(json_text(v, S("of")), S("aws"));
    if (version == NULL || created == NULL || accessed == NULL || wrapped.p == NULL ||
        ret->key.p == NULL)
        return corrupt();
    if (version->integer > ROW_VERSION)
        return fail(ERR_FORMAT, "the version of a secret was written by a newer program");
    ret->created_ms = created->integer;
    ret->accessed_ms = accessed->integer;
    char *bytes = arena_alloc(a, base64_decoded_max(wrapped.n), 1);
    Base64Result r = base64_decode(bytes, wrapped.p, wrapped.n);
    if (r.fault != BASE64_GOOD)
        return corrupt();
    ret->wrapped = str_from(bytes, r.n);
    return OK;
}

static void tell(struct arena *a, Str version, const Meta *m, VersionInfo *ret)
{
    *ret = (VersionInfo){ .id = str_dup(a, version),
                          .created_ms = m->created_ms,
                          .accessed_ms = m->accessed_ms };
    if (!m->own)
        ret->key = str_dup(a, m->key);
}

static Err read_rows(struct secrets *s, struct arena *a, Str key, Str *ret_row, Str *ret_value)
{
    AUTO(kv_txn) tx = kv_read(s->versions);
    TRY(kv_get(tx, a, key, ret_row));
    kv_on(tx, s->values);
    Err e = kv_get(tx, a, key, ret_value);
    return e.kind == ERR_NOT_FOUND ? corrupt() : e;
}

Err version_open(struct call *c, const struct secret *x, Str version, SecretValue *ret,
                 VersionInfo *ret_info)
{
    const struct hub_keys *keys = keys_of(c);
    unsigned char plain[HUB_KEY_BYTES], nonce[GCM_NONCE_BYTES] = { 0 };
    HubKeyAnswer answer = { 0 };
    Str row, sealed, bound = bound_to(c->arena, x, version);
    Meta m = { 0 };
    TRY(read_rows(c->state, c->arena, version_key(c->arena, x, version), &row, &sealed));
    TRY(read_meta(c->arena, row, &m));
    if (keys == NULL)
        return fail(ERR_NOT_FOUND, "there is no key service");
    if (sealed.n < GCM_TAG_BYTES)
        return corrupt();
    if (m.own && !str_eq(c->caller, x->account)) // AWS's own key is for its account alone
        return call_fail(c, &aws_AccessDeniedException, "Access to KMS is not allowed");
    keys->unwrap(keys->self, c, m.key, bound, m.wrapped, plain, &answer);
    TRY(refused(c, &secretsmanager_DecryptionFailure, &answer));
    size_t n = sealed.n - GCM_TAG_BYTES;
    unsigned char tag[GCM_TAG_BYTES];
    memcpy(tag, sealed.p + n, sizeof tag);
    char *opened = arena_alloc(c->arena, n + 1, 1);
    AUTO(gcm) g = NULL;
    gcm_open_unseal(plain, &g);
    explicit_bzero(plain, sizeof plain);
    TRY(gcm_unseal(g, nonce, bound, str_head(sealed, n), tag, opened));
    *ret = (SecretValue){ .bytes = str_from(opened, n), .binary = m.binary };
    tell(c->arena, version, &m, ret_info);
    return OK;
}

// ---- Rows

Err version_look(struct secrets *s, struct arena *tmp, const struct secret *x, Str version,
                 bool *ret)
{
    Str row;
    AUTO(kv_txn) tx = kv_read(s->versions);
    Err e = kv_get(tx, tmp, version_key(tmp, x, version), &row);
    *ret = e.kind == ERR_NONE;
    return e.kind == ERR_NOT_FOUND ? OK : e;
}

Err version_accessed(struct secrets *s, struct arena *tmp, const struct secret *x,
                     const VersionInfo *info, int64_t day_ms)
{
    Meta m = { 0 };
    Str key = version_key(tmp, x, info->id), row;
    if (info->accessed_ms >= day_ms)
        return OK;
    AUTO(kv_txn) tx = kv_write(s->versions);
    Err e = kv_get(tx, tmp, key, &row);
    if (e.kind == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    TRY(read_meta(tmp, row, &m));
    m.accessed_ms = day_ms;
    TRY(write_meta(tmp, &m, &row));
    TRY(kv_put(tx, key, row));
    return kv_commit(tx);
}

static int by_age(const void *p, const void *q)
{
    const VersionInfo *x = p, *y = q;
    if (x->created_ms != y->created_ms)
        return x->created_ms < y->created_ms ? -1 : 1;
    return str_cmp(x->id, y->id);
}

Err version_list(struct secrets *s, struct kv_txn *tx, struct arena *a, const struct secret *x,
                 VersionInfo **ret, size_t *ret_n)
{
    Str prefix = version_key(a, x, S(""));
    size_t n, k = 0;
    kv_on(tx, s->versions);
    TRY(kv_count(tx, prefix, &n));
    VersionInfo *all = arena_new(a, VersionInfo, n + 1);
    struct kv_scan scan = kv_scan_start(tx, prefix, S(""));
    while (k < n && kv_scan_next(&scan)) {
        Meta m = { 0 };
        Err e = read_meta(a, str_dup(a, scan.value), &m);
        if (e.kind != ERR_NONE) {
            kv_scan_end(&scan);
            return e;
        }
        tell(a, scan.rest, &m, &all[k++]);
    }
    Err e = scan.err;
    kv_scan_end(&scan);
    TRY(e);
    if (k > 0)
        qsort(all, k, sizeof *all, by_age);
    *ret = all;
    *ret_n = k;
    return OK;
}

Err version_put(struct secrets *s, struct kv_txn *tx, struct arena *a, const struct secret *x,
                const VersionRow *v)
{
    Str key = version_key(a, x, v->version), there;
    kv_on(tx, s->versions);
    Err e = kv_get(tx, a, key, &there);
    if (e.kind == ERR_NONE && !v->anew)
        return fail(ERR_EXISTS, "the version is there already");
    if (e.kind == ERR_NOT_FOUND && v->anew)
        return OK;
    if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
        return e;
    TRY(kv_put(tx, key, v->row));
    kv_on(tx, s->values);
    return kv_put(tx, key, v->value);
}

Err version_drop(struct secrets *s, struct kv_txn *tx, struct arena *a, const struct secret *x,
                 Str version)
{
    Str key = version_key(a, x, version);
    kv_on(tx, s->versions);
    TRY(kv_del(tx, key));
    kv_on(tx, s->values);
    return kv_del(tx, key);
}

Err version_prune(struct call *c, struct kv_txn *tx, const struct secret *x)
{
    struct secrets *s = c->state;
    VersionInfo *all;
    size_t n, left;
    TRY(version_list(s, tx, c->arena, x, &all, &n));
    left = n;
    for (size_t i = 0; i < n && left > VERSIONS_KEPT; i++) {
        bool is_young = all[i].created_ms > secrets_now_ms(c) - DAY_MS;
        if (is_young || secret_stages(x, all[i].id) != NULL)
            continue;
        TRY(version_drop(s, tx, c->arena, x, all[i].id));
        left--;
    }
    if (left <= VERSIONS_MAX)
        return OK;
    return call_fail(c, &secretsmanager_LimitExceededException,
                     "You have reached the maximum number of versions of this secret: %d.",
                     VERSIONS_MAX);
}
