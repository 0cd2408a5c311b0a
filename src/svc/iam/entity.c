// SPDX-License-Identifier: Apache-2.0
#include "svc/iam/entity.h"
#include "base/time.h"
#include "codec/json.h"

#include <stddef.h>
#include <stdlib.h>

enum { ROW_VERSION = 1, ID_RANDOM_CHARS = 17, SESSION_S_DEFAULT = 3600 };

static const struct {
    const char *word;
    Str id_prefix;
} kinds[] = {
    [ENTITY_USER] = { "user", S_INIT("AIDA") },
    [ENTITY_GROUP] = { "group", S_INIT("AGPA") },
    [ENTITY_ROLE] = { "role", S_INIT("AROA") },
    [ENTITY_POLICY] = { "policy", S_INIT("ANPA") },
};

const char *entity_word(EntityKind kind)
{
    return kinds[kind].word;
}

Str random_id(struct io *io, struct arena *a, Str prefix, size_t n)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    char *text = arena_alloc(a, prefix.n + n, 1);
    memcpy(text, prefix.p, prefix.n);
    for (size_t i = 0; i < n; i++) {
        unsigned char byte;
        io->random(io, &byte, 1);
        text[prefix.n + i] = letters[byte % (sizeof letters - 1)];
    }
    return str_from(text, prefix.n + n);
}

static struct entity *entity_bare(EntityKind kind)
{
    struct entity *e = xalloc(sizeof *e);
    e->refs = 1;
    e->arena = arena_open();
    e->kind = kind;
    return e;
}

static void set_names(struct entity *e, Str account, Str path, Str name)
{
    struct arena *a = e->arena;
    e->account = str_dup(a, account);
    e->path = str_dup(a, path);
    e->name = str_dup(a, name);
    e->arn = str_fmt(a, "arn:aws:iam::%.*s:%s%.*s%.*s", FMT(account), entity_word(e->kind),
                     FMT(path), FMT(name));
}

struct entity *entity_new(struct io *io, EntityKind kind, Str account, Str path, Str name,
                          int64_t now_ms)
{
    struct entity *e = entity_bare(kind);
    set_names(e, account, path, name);
    e->id = random_id(io, e->arena, kinds[kind].id_prefix, ID_RANDOM_CHARS);
    e->created_ms = e->updated_ms = now_ms;
    e->session_s_max = SESSION_S_DEFAULT;
    e->description = S("");
    return e;
}

struct entity *entity_ref(struct entity *e)
{
    __atomic_fetch_add(&e->refs, 1, __ATOMIC_RELAXED);
    return e;
}

void entity_unref(struct entity *e)
{
    if (e == NULL || __atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < e->policy_count; i++)
        policy_unref(e->policies[i].policy);
    policy_unref(e->trust);
    arena_close(e->arena);
    free(e);
}

static StrList list_copy(struct arena *a, const StrList *l)
{
    StrList copy = { .at = arena_new(a, Str, l->n), .n = l->n };
    for (size_t i = 0; i < l->n; i++)
        copy.at[i] = str_dup(a, l->at[i]);
    return copy;
}

static Str dup_given(struct arena *a, Str s)
{
    return s.p != NULL ? str_dup(a, s) : s;
}

struct entity *entity_copy(const struct entity *e)
{
    struct entity *copy = entity_bare(e->kind);
    struct arena *a = copy->arena;
    size_t counted = offsetof(struct entity, arena); // others count their references meanwhile
    memcpy((char *)copy + counted, (const char *)e + counted, sizeof *e - counted);
    copy->arena = a;
    set_names(copy, e->account, e->path, e->name);
    copy->id = str_dup(a, e->id);
    copy->description = str_dup(a, e->description);
    copy->boundary = dup_given(a, e->boundary);
    copy->version_default = dup_given(a, e->version_default);
    copy->attached = list_copy(a, &e->attached);
    copy->groups = list_copy(a, &e->groups);
    copy->policies = arena_new(a, NamedPolicy, e->policy_count);
    for (size_t i = 0; i < e->policy_count; i++)
        copy->policies[i] = (NamedPolicy){ .name = str_dup(a, e->policies[i].name),
                                           .policy = policy_ref(e->policies[i].policy),
                                           .created_ms = e->policies[i].created_ms };
    copy->tags = arena_new(a, EntityTag, e->tag_count);
    for (size_t i = 0; i < e->tag_count; i++)
        copy->tags[i] = (EntityTag){ str_dup(a, e->tags[i].key), str_dup(a, e->tags[i].value) };
    if (e->trust != NULL)
        policy_ref(e->trust);
    return copy;
}

// ---- Parts

NamedPolicy *entity_policy(const struct entity *e, Str name)
{
    for (size_t i = 0; i < e->policy_count; i++)
        if (str_eq(e->policies[i].name, name))
            return &e->policies[i];
    return NULL;
}

void entity_put_policy(struct entity *e, Str name, struct policy *take_p, int64_t now_ms)
{
    NamedPolicy *there = entity_policy(e, name);
    if (there != NULL) {
        policy_unref(there->policy);
        there->policy = take_p;
        return;
    }
    size_t at = 0;
    while (at < e->policy_count &&
           (e->kind == ENTITY_POLICY || str_cmp(e->policies[at].name, name) < 0))
        at++;
    NamedPolicy *more = arena_new(e->arena, NamedPolicy, e->policy_count + 1);
    for (size_t i = 0; i < e->policy_count; i++)
        more[i < at ? i : i + 1] = e->policies[i];
    more[at] = (NamedPolicy){ str_dup(e->arena, name), take_p, now_ms };
    e->policies = more;
    e->policy_count++;
}

void entity_drop_policy(struct entity *e, Str name)
{
    NamedPolicy *there = entity_policy(e, name);
    if (there == NULL)
        return;
    policy_unref(there->policy);
    e->policy_count--;
    for (size_t i = (size_t)(there - e->policies); i < e->policy_count; i++)
        e->policies[i] = e->policies[i + 1];
}

struct policy *entity_default_version(const struct entity *e)
{
    const NamedPolicy *version = entity_policy(e, e->version_default);
    CHECK(version != NULL);
    return version->policy;
}

void entity_set_trust(struct entity *e, struct policy *take_p)
{
    policy_unref(e->trust);
    e->trust = take_p;
}

bool list_has(const StrList *l, Str s)
{
    for (size_t i = 0; i < l->n; i++)
        if (str_eq(l->at[i], s))
            return true;
    return false;
}

void list_add(struct arena *a, StrList *l, Str s)
{
    Str *more = arena_new(a, Str, l->n + 1);
    for (size_t i = 0; i < l->n; i++)
        more[i] = l->at[i];
    more[l->n++] = str_dup(a, s);
    l->at = more;
}

void list_drop(StrList *l, Str s)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->n; i++)
        if (!str_eq(l->at[i], s))
            l->at[kept++] = l->at[i];
    l->n = kept;
}

void entity_set_tag(struct entity *e, Str key, Str value)
{
    size_t at = 0;
    while (at < e->tag_count && str_cmp(e->tags[at].key, key) < 0)
        at++;
    if (at < e->tag_count && str_eq(e->tags[at].key, key)) {
        e->tags[at].value = str_dup(e->arena, value);
        return;
    }
    EntityTag *more = arena_new(e->arena, EntityTag, e->tag_count + 1);
    for (size_t i = 0; i < e->tag_count; i++)
        more[i < at ? i : i + 1] = e->tags[i];
    more[at] = (EntityTag){ str_dup(e->arena, key), str_dup(e->arena, value) };
    e->tags = more;
    e->tag_count++;
}

void entity_drop_tag(struct entity *e, Str key)
{
    size_t kept = 0;
    for (size_t i = 0; i < e->tag_count; i++)
        if (!str_eq(e->tags[i].key, key))
            e->tags[kept++] = e->tags[i];
    e->tag_count = kept;
}

// ---- Rows

Str entity_key(struct arena *a, EntityKind kind, Str account, Str name)
{
    return str_fmt(a, "%.*s/%s/%.*s", FMT(account), entity_word(kind), FMT(str_lower(a, name)));
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

static void put_list(struct event_writer *w, Str key, const StrList *l)
{
    w->ops->key(w, key);
    w->ops->list(w);
    for (size_t i = 0; i < l->n; i++)
        w->ops->text(w, l->at[i]);
    w->ops->list_end(w);
}

static void put_policies(struct event_writer *w, const struct entity *e)
{
    w->ops->key(w, S("policies"));
    w->ops->list(w);
    for (size_t i = 0; i < e->policy_count; i++) {
        w->ops->map(w);
        put_text(w, S("name"), e->policies[i].name);
        put_text(w, S("document"), policy_document(e->policies[i].policy));
        put_number(w, S("created_ms"), e->policies[i].created_ms);
        w->ops->map_end(w);
    }
    w->ops->list_end(w);
}

void entity_row_write(struct buf *b, const struct entity *e)
{
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    put_number(&w, S("version"), ROW_VERSION);
    put_text(&w, S("name"), e->name);
    put_text(&w, S("path"), e->path);
    put_text(&w, S("id"), e->id);
    put_text(&w, S("description"), e->description);
    put_number(&w, S("created_ms"), e->created_ms);
    put_number(&w, S("updated_ms"), e->updated_ms);
    put_number(&w, S("session_s_max"), e->session_s_max);
    if (e->signin_s_max > 0)
        put_number(&w, S("signin_s_max"), e->signin_s_max);
    put_number(&w, S("version_last"), e->version_last);
    put_text(&w, S("version_default"), e->version_default.p != NULL ? e->version_default : S(""));
    put_text(&w, S("boundary"), e->boundary.p != NULL ? e->boundary : S(""));
    put_text(&w, S("trust"), e->trust != NULL ? policy_document(e->trust) : S(""));
    put_policies(&w, e);
    put_list(&w, S("attached"), &e->attached);
    put_list(&w, S("groups"), &e->groups);
    w.ops->key(&w, S("tags"));
    w.ops->map(&w);
    for (size_t i = 0; i < e->tag_count; i++)
        put_text(&w, e->tags[i].key, e->tags[i].value);
    w.ops->map_end(&w);
    w.ops->map_end(&w);
}

static Err get_number(const JsonValue *row, Str key, int64_t *ret)
{
    const JsonValue *v = json_find(row, key);
    if (v == NULL || v->kind != JSON_NUMBER || v->integer < 0)
        return fail(ERR_CORRUPT, "an entity's row lacks a number or holds a wrong one");
    *ret = v->integer;
    return OK;
}

static Err read_policies(struct entity *e, const JsonValue *list)
{
    for (size_t i = 0; list != NULL && i < list->n; i++) {
        const JsonValue *one = &list->items[i];
        Str name = json_text(one, S("name"));
        struct policy *p = NULL;
        int64_t created_ms;
        TRY(get_number(one, S("created_ms"), &created_ms));
        Str arn = e->kind == ENTITY_POLICY
                      ? e->arn
                      : str_fmt(e->arena, "%.*s's policy %.*s", FMT(e->arn), FMT(name));
        if (name.n == 0 ||
            policy_open(POLICY_IDENTITY, arn, json_text(one, S("document")), &p).kind != ERR_NONE)
            return fail(ERR_CORRUPT, "a policy's row is damaged");
        entity_put_policy(e, name, p, created_ms);
    }
    return OK;
}

static Str text_or_absent(struct entity *e, const JsonValue *row, Str key)
{
    Str text = json_text(row, key);
    return text.n > 0 ? str_dup(e->arena, text) : (Str){ 0 };
}

static void read_list(struct entity *e, const JsonValue *row, Str key, StrList *ret)
{
    const JsonValue *list = json_find(row, key);
    for (size_t i = 0; list != NULL && i < list->n; i++)
        list_add(e->arena, ret, list->items[i].text);
}

static Err read_fields(struct entity *e, const JsonValue *row)
{
    int64_t version;
    TRY(get_number(row, S("version"), &version));
    if (version > ROW_VERSION)
        return fail(ERR_FORMAT, "an entity's row was written by a newer program");
    TRY(get_number(row, S("created_ms"), &e->created_ms));
    TRY(get_number(row, S("updated_ms"), &e->updated_ms));
    TRY(get_number(row, S("session_s_max"), &e->session_s_max));
    if (json_find(row, S("signin_s_max")) != NULL)
        TRY(get_number(row, S("signin_s_max"), &e->signin_s_max));
    TRY(get_number(row, S("version_last"), &e->version_last));
    e->id = str_dup(e->arena, json_text(row, S("id")));
    e->description = str_dup(e->arena, json_text(row, S("description")));
    e->version_default = text_or_absent(e, row, S("version_default"));
    e->boundary = text_or_absent(e, row, S("boundary"));
    Str trust = json_text(row, S("trust"));
    if (trust.n > 0 && policy_open(POLICY_TRUST, e->arn, trust, &e->trust).kind != ERR_NONE)
        return fail(ERR_CORRUPT, "a role's trust policy is damaged");
    TRY(read_policies(e, json_find(row, S("policies"))));
    if (e->kind == ENTITY_POLICY && entity_policy(e, e->version_default) == NULL)
        return fail(ERR_CORRUPT, "a policy's row has no version");
    read_list(e, row, S("attached"), &e->attached);
    read_list(e, row, S("groups"), &e->groups);
    const JsonValue *tags = json_find(row, S("tags"));
    for (size_t i = 0; tags != NULL && i < tags->n; i++)
        entity_set_tag(e, tags->items[i].key, tags->items[i].text);
    return OK;
}

Err entity_row_read(struct arena *tmp, Str key, Str row, struct entity **ret)
{
    Str account, word, lower, rest;
    JsonValue *v;
    size_t kind = 0;
    if (!str_cut(key, '/', &account, &rest) || !str_cut(rest, '/', &word, &lower) || lower.n == 0)
        return fail(ERR_CORRUPT, "an entity's row has no name");
    while (kind < COUNT_OF(kinds) && !str_eq(word, str_of(kinds[kind].word)))
        kind++;
    if (kind == COUNT_OF(kinds))
        return fail(ERR_CORRUPT, "an entity's row is of no known kind");
    if (json_parse(tmp, row, &v).kind != ERR_NONE || v->kind != JSON_MAP)
        return fail(ERR_CORRUPT, "an entity's row is not JSON");
    AUTO(entity) e = entity_bare((EntityKind)kind);
    set_names(e, account, json_text(v, S("path")), json_text(v, S("name")));
    if (!str_eq(str_lower(tmp, e->name), lower))
        return fail(ERR_CORRUPT, "an entity's row has another name than its key");
    TRY(read_fields(e, v));
    *ret = e;
    e = NULL; // handed over
    return OK;
}
