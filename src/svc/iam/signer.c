// SPDX-License-Identifier: Apache-2.0
// Access keys: of users, and of sessions that expire.
#include "codec/json.h"
#include "store/master.h"
#include "svc/iam/iam.h"

#include <stdlib.h>
#include <string.h>

enum { ROW_VERSION = 2 }; // 1 had secret and token in plain, and no tags

static void wipe(Str secret)
{
    explicit_bzero((char *)(uintptr_t)secret.p, secret.n); // our own copy
}

struct signer *signer_new(void)
{
    struct signer *k = xalloc(sizeof *k);
    k->refs = 1;
    k->arena = arena_open();
    k->active = true;
    return k;
}

struct signer *signer_ref(struct signer *k)
{
    __atomic_fetch_add(&k->refs, 1, __ATOMIC_RELAXED);
    return k;
}

void signer_unref(struct signer *k)
{
    if (k == NULL || __atomic_sub_fetch(&k->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < k->session_count; i++)
        policy_unref(k->session[i]);
    if (k->secret.n > 0)
        wipe(k->secret);
    arena_close(k->arena);
    free(k);
}

Str random_secret(struct io *io, struct arena *a, size_t n)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = arena_alloc(a, n, 1);
    for (size_t i = 0; i < n; i++) {
        unsigned char byte;
        io->random(io, &byte, 1);
        text[i] = letters[byte % (sizeof letters - 1)];
    }
    return str_from(text, n);
}

static void put_text(struct event_writer *w, Str key, Str value)
{
    w->ops->key(w, key);
    w->ops->text(w, value.p != NULL ? value : S(""));
}

static void put_number(struct event_writer *w, Str key, int64_t value)
{
    w->ops->key(w, key);
    w->ops->integer(w, value);
}

static Str sealed_name(struct arena *a, Str access_key)
{
    return str_cat(a, S("iam.keys/"), access_key);
}

// Secret and token, which are letters, digits, '+' and '/', in one.
static Str seal(struct io *io, const unsigned char master[GCM_KEY_BYTES], struct arena *tmp,
                const struct signer *k)
{
    Str both = str_cat3(tmp, k->secret, S("\n"), k->token.p != NULL ? k->token : S(""));
    Str sealed = master_seal(io, master, tmp, sealed_name(tmp, k->access_key), both);
    wipe(both);
    return sealed;
}

static void put_tags(struct event_writer *w, const struct signer *k)
{
    w->ops->key(w, S("tags"));
    w->ops->list(w);
    for (size_t i = 0; i < k->tag_count; i++) {
        w->ops->map(w);
        put_text(w, S("key"), k->tags[i].key);
        put_text(w, S("value"), k->tags[i].value);
        put_number(w, S("transitive"), k->tags[i].transitive);
        w->ops->map_end(w);
    }
    w->ops->list_end(w);
}

void signer_row_write(struct io *io, const unsigned char master[GCM_KEY_BYTES], struct arena *tmp,
                      struct buf *b, const struct signer *k)
{
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    put_number(&w, S("version"), ROW_VERSION);
    put_text(&w, S("sealed"), seal(io, master, tmp, k));
    put_text(&w, S("account"), k->account);
    put_text(&w, S("principal"), k->principal);
    put_text(&w, S("kind"), str_of(entity_word(k->kind)));
    put_text(&w, S("name"), k->name);
    put_text(&w, S("entity_id"), k->entity_id);
    put_text(&w, S("session_name"), k->session_name);
    put_text(&w, S("source_identity"), k->source_identity);
    put_text(&w, S("federated"), k->federated);
    put_number(&w, S("mfa_ms"), k->mfa_ms);
    put_tags(&w, k);
    put_number(&w, S("active"), k->active);
    put_number(&w, S("created_ms"), k->created_ms);
    put_number(&w, S("expires_ms"), k->expires_ms);
    w.ops->key(&w, S("session"));
    w.ops->list(&w);
    for (size_t i = 0; i < k->session_count; i++)
        w.ops->text(&w, policy_document(k->session[i]));
    w.ops->list_end(&w);
    w.ops->map_end(&w);
}

static Err get_number(const JsonValue *row, Str key, int64_t *ret)
{
    const JsonValue *v = json_find(row, key);
    if (v == NULL || v->kind != JSON_NUMBER || v->integer < 0)
        return fail(ERR_CORRUPT, "an access key's row lacks a number or holds a wrong one");
    *ret = v->integer;
    return OK;
}

static Err read_secret(const unsigned char *master, struct arena *tmp, struct signer *k,
                       const JsonValue *row, bool plain)
{
    struct arena *a = k->arena;
    Str both, secret = json_text(row, S("secret")), token = json_text(row, S("token"));
    if (!plain) {
        if (master == NULL)
            return fail(ERR_CORRUPT, "there are access keys, but no master.key for them");
        TRY(master_unseal(master, tmp, sealed_name(tmp, k->access_key), json_text(row, S("sealed")),
                          &both));
        if (!str_cut(both, '\n', &secret, &token))
            return fail(ERR_CORRUPT, "an access key's sealed secret has no end");
    }
    k->secret = str_dup(a, secret);
    k->token = token.n > 0 ? str_dup(a, token) : (Str){ 0 };
    if (!plain)
        wipe(both);
    return OK;
}

static Err read_tags(struct signer *k, const JsonValue *row)
{
    const JsonValue *tags = json_find(row, S("tags"));
    size_t n = tags != NULL ? tags->n : 0;
    k->tags = arena_new(k->arena, HubTag, n);
    for (; k->tag_count < n; k->tag_count++) {
        const JsonValue *one = &tags->items[k->tag_count];
        int64_t transitive;
        TRY(get_number(one, S("transitive"), &transitive));
        k->tags[k->tag_count] = (HubTag){ .key = str_dup(k->arena, json_text(one, S("key"))),
                                          .value = str_dup(k->arena, json_text(one, S("value"))),
                                          .transitive = transitive != 0 };
    }
    return OK;
}

static Err read_session(struct signer *k, const JsonValue *row)
{
    const JsonValue *session = json_find(row, S("session"));
    k->session = arena_new(k->arena, struct policy *, session != NULL ? session->n : 0);
    for (size_t i = 0; session != NULL && i < session->n; i++) {
        if (policy_open(POLICY_IDENTITY, S("the session's policy"), session->items[i].text,
                        &k->session[i])
                .kind != ERR_NONE)
            return fail(ERR_CORRUPT, "a session's policy is damaged");
        k->session_count++;
    }
    return OK;
}

Err signer_row_read(const unsigned char *master, struct arena *tmp, Str access_key, Str row,
                    struct signer **ret, bool *ret_plain)
{
    JsonValue *v;
    int64_t version, active;
    if (json_parse(tmp, row, &v).kind != ERR_NONE || v->kind != JSON_MAP)
        return fail(ERR_CORRUPT, "an access key's row is not JSON");
    TRY(get_number(v, S("version"), &version));
    if (version > ROW_VERSION)
        return fail(ERR_FORMAT, "an access key's row was written by a newer program");
    AUTO(signer) k = signer_new();
    struct arena *a = k->arena;
    k->access_key = str_dup(a, access_key);
    TRY(read_secret(master, tmp, k, v, version == 1));
    k->account = str_dup(a, json_text(v, S("account")));
    k->principal = str_dup(a, json_text(v, S("principal")));
    k->name = str_dup(a, json_text(v, S("name")));
    k->entity_id = str_dup(a, json_text(v, S("entity_id")));
    k->session_name = str_dup(a, json_text(v, S("session_name")));
    Str source = json_text(v, S("source_identity"));
    k->source_identity = source.n > 0 ? str_dup(a, source) : (Str){ 0 };
    Str federated = json_text(v, S("federated")); // older rows have none, as the next
    k->federated = federated.n > 0 ? str_dup(a, federated) : (Str){ 0 };
    const JsonValue *mfa_ms = json_find(v, S("mfa_ms"));
    k->mfa_ms = mfa_ms != NULL ? mfa_ms->integer : 0;
    k->kind = str_eq(json_text(v, S("kind")), S("role")) ? ENTITY_ROLE : ENTITY_USER;
    TRY(get_number(v, S("active"), &active));
    TRY(get_number(v, S("created_ms"), &k->created_ms));
    TRY(get_number(v, S("expires_ms"), &k->expires_ms));
    k->active = active != 0;
    TRY(read_tags(k, v));
    TRY(read_session(k, v));
    *ret = k;
    k = NULL; // handed over
    *ret_plain = version == 1;
    return OK;
}
