// SPDX-License-Identifier: Apache-2.0
// Access keys: of users, and of sessions that expire.
#include "codec/json.h"
#include "svc/iam/iam.h"

#include <stdlib.h>
#include <string.h>

enum { ROW_VERSION = 1 };

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
        explicit_bzero((char *)(uintptr_t)k->secret.p, k->secret.n); // our own copy
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

void signer_row_write(struct buf *b, const struct signer *k)
{
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    put_number(&w, S("version"), ROW_VERSION);
    put_text(&w, S("secret"), k->secret);
    put_text(&w, S("token"), k->token);
    put_text(&w, S("account"), k->account);
    put_text(&w, S("principal"), k->principal);
    put_text(&w, S("kind"), str_of(entity_word(k->kind)));
    put_text(&w, S("name"), k->name);
    put_text(&w, S("entity_id"), k->entity_id);
    put_text(&w, S("session_name"), k->session_name);
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

Err signer_row_read(struct arena *tmp, Str access_key, Str row, struct signer **ret)
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
    Str token = json_text(v, S("token"));
    k->access_key = str_dup(a, access_key);
    k->secret = str_dup(a, json_text(v, S("secret")));
    k->token = token.n > 0 ? str_dup(a, token) : (Str){ 0 };
    k->account = str_dup(a, json_text(v, S("account")));
    k->principal = str_dup(a, json_text(v, S("principal")));
    k->name = str_dup(a, json_text(v, S("name")));
    k->entity_id = str_dup(a, json_text(v, S("entity_id")));
    k->session_name = str_dup(a, json_text(v, S("session_name")));
    k->kind = str_eq(json_text(v, S("kind")), S("role")) ? ENTITY_ROLE : ENTITY_USER;
    TRY(get_number(v, S("active"), &active));
    TRY(get_number(v, S("created_ms"), &k->created_ms));
    TRY(get_number(v, S("expires_ms"), &k->expires_ms));
    k->active = active != 0;
    const JsonValue *session = json_find(v, S("session"));
    k->session = arena_new(a, struct policy *, session != NULL ? session->n : 0);
    for (size_t i = 0; session != NULL && i < session->n; i++) {
        if (policy_open(POLICY_IDENTITY, S("the session's policy"), session->items[i].text,
                        &k->session[i])
                .kind != ERR_NONE)
            return fail(ERR_CORRUPT, "a session's policy is damaged");
        k->session_count++;
    }
    *ret = k;
    k = NULL; // handed over
    return OK;
}
