// SPDX-License-Identifier: Apache-2.0
#include "svc/secretsmanager/secret.h"
#include "aws/bind.h"
#include "codec/hash.h"
#include "codec/json.h"

#include <stdlib.h>
#include <string.h>

#define ROW_VERSION '1'
enum { NUMBER_CHARS = 16, LENGTH_CHARS = 8, HEAD_CHARS = 1 + 2 * NUMBER_CHARS + LENGTH_CHARS };
#define CURRENT S("AWSCURRENT")
#define PREVIOUS S("AWSPREVIOUS")

// ---- Life

static struct secret *secret_bare(Str account, Str region)
{
    struct secret *s = xalloc(sizeof *s);
    s->refs = 1;
    s->arena = arena_open();
    s->account = str_dup(s->arena, account);
    s->region = str_dup(s->arena, region);
    return s;
}

struct secret *secret_new(Str account, Str region, Str name, Str suffix, int64_t now_ns)
{
    struct secret *s = secret_bare(account, region);
    s->d.name = str_dup(s->arena, name);
    s->d.arn = str_fmt(s->arena, "arn:aws:secretsmanager:%.*s:%.*s:secret:%.*s-%.*s", FMT(region),
                       FMT(account), FMT(name), FMT(suffix));
    s->d.created_date = s->d.last_changed_date = now_ns;
    s->d.has_created_date = s->d.has_last_changed_date = true;
    return s;
}

struct secret *secret_ref(struct secret *s)
{
    __atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void secret_unref(struct secret *s)
{
    if (s == NULL || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    policy_unref(s->policy);
    arena_close(s->arena);
    free(s);
}

// As it would be read from the store: what is shown of a secret is what a restart shows.
struct secret *secret_copy(const struct secret *s)
{
    AUTO(arena) tmp = arena_open();
    AUTO_BUF(row);
    struct secret *copy = NULL;
    secret_row_write(&row, s);
    CHECK(buf_err(&row).kind == ERR_NONE); // far below a buffer's maximum
    Err e =
        secret_row_read(secret_key(tmp, s->account, s->region, s->d.name), buf_str(&row), &copy);
    CHECK(e.kind == ERR_NONE); // we wrote it
    return copy;
}

// ---- Rows

static const struct shape *row_shape(void)
{
    for (size_t i = 0; i < secretsmanager_api.op_count; i++)
        if (str_eq(secretsmanager_api.ops[i].name, S("DescribeSecret")))
            return secretsmanager_api.ops[i].output;
    CHECK(false);
}

Str secret_key(struct arena *a, Str account, Str region, Str name)
{
    return str_fmt(a, "%.*s\1%.*s\1%.*s", FMT(account), FMT(region), FMT(name));
}

void secret_row_write(struct buf *b, const struct secret *s)
{
    Str policy = s->policy != NULL ? policy_document(s->policy) : S("");
    buf_addf(b, "%c%016llx%016llx%08zx", ROW_VERSION, (unsigned long long)s->id,
             (unsigned long long)s->gone_ms, policy.n);
    buf_add(b, policy);
    bind_write(&protocol_json_1_1, row_shape(), &s->d, b);
}

static bool read_number(Str digits, uint64_t *ret)
{
    unsigned char bytes[NUMBER_CHARS / 2];
    *ret = 0;
    if (!hex_decode(bytes, digits))
        return false;
    for (size_t i = 0; i < digits.n / 2; i++)
        *ret = *ret << 8 | bytes[i];
    return true;
}

static Err corrupt(void)
{
    return fail(ERR_CORRUPT, "the row of a secret cannot be understood");
}

typedef struct RowParts {
    uint64_t id, gone_ms;
    Str policy, json;
} RowParts;

static Err row_parts(Str row, RowParts *ret)
{
    uint64_t policy_bytes;
    if (row.n < HEAD_CHARS)
        return corrupt();
    if (row.p[0] != ROW_VERSION)
        return fail(ERR_FORMAT, "the row of a secret was written by a newer program");
    Str rest = str_skip(row, 1);
    if (!read_number(str_head(rest, NUMBER_CHARS), &ret->id) ||
        !read_number(str_head(str_skip(rest, NUMBER_CHARS), NUMBER_CHARS), &ret->gone_ms) ||
        !read_number(str_head(str_skip(rest, (size_t)2 * NUMBER_CHARS), LENGTH_CHARS),
                     &policy_bytes))
        return corrupt();
    rest = str_skip(row, HEAD_CHARS);
    if (ret->gone_ms > INT64_MAX || policy_bytes > rest.n)
        return corrupt();
    ret->policy = str_head(rest, policy_bytes);
    ret->json = str_skip(rest, policy_bytes);
    return OK;
}

static Err read_json(struct arena *a, Str json, struct secretsmanager_DescribeSecret_out *ret)
{
    struct protocol_reader r;
    Str fault = { 0 };
    protocol_json_1_1.reader_init(&r, a, json);
    Err e = bind_decode(&r, row_shape(), a, ret, &fault);
    if (e.kind == ERR_MEMORY)
        return e;
    bool good = e.kind == ERR_NONE && fault.p == NULL && ret->arn.p != NULL && ret->name.p != NULL;
    return good ? OK : corrupt();
}

Err secret_row_tell(struct arena *a, Str row, struct secretsmanager_DescribeSecret_out *ret)
{
    RowParts parts;
    TRY(row_parts(row, &parts));
    return read_json(a, parts.json, ret);
}

// The row lies in the secret's own arena.
static Err read_body(struct secret *s, Str row)
{
    RowParts parts;
    TRY(row_parts(row, &parts));
    s->id = parts.id;
    s->gone_ms = (int64_t)parts.gone_ms;
    TRY(read_json(s->arena, parts.json, &s->d));
    if (parts.policy.n == 0)
        return OK;
    Err e = policy_open(POLICY_RESOURCE, s->d.arn, parts.policy, &s->policy);
    return e.kind == ERR_INVALID || e.kind == ERR_LIMIT ? corrupt() : e;
}

Err secret_row_read(Str key, Str row, struct secret **ret)
{
    Str account, region, rest;
    if (!str_cut(key, '\1', &account, &rest) || !str_cut(rest, '\1', &region, &rest))
        return corrupt();
    AUTO(secret) s = secret_bare(account, region);
    TRY(read_body(s, str_dup(s->arena, row)));
    *ret = s;
    s = NULL; // handed over
    return OK;
}

// ---- Stages

const VersionStages *secret_stages(const struct secret *s, Str version)
{
    for (size_t i = 0; i < s->d.version_ids_to_stages.n; i++)
        if (str_eq(s->d.version_ids_to_stages.at[i].key, version))
            return &s->d.version_ids_to_stages.at[i];
    return NULL;
}

bool secret_has_stage(const struct secret *s, Str version, Str stage)
{
    const VersionStages *v = secret_stages(s, version);
    for (size_t i = 0; v != NULL && i < v->value.n; i++)
        if (str_eq(v->value.at[i], stage))
            return true;
    return false;
}

Str secret_version_at(const struct secret *s, Str stage)
{
    for (size_t i = 0; i < s->d.version_ids_to_stages.n; i++) {
        Str version = s->d.version_ids_to_stages.at[i].key;
        if (secret_has_stage(s, version, stage))
            return version;
    }
    return (Str){ 0 };
}

size_t secret_stage_count(const struct secret *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->d.version_ids_to_stages.n; i++)
        n += s->d.version_ids_to_stages.at[i].value.n;
    return n;
}

// A version without stages is not in the map.
void secret_drop_stage(struct secret *s, Str version, Str stage)
{
    secretsmanager_SecretVersionsToStagesMapType *all = &s->d.version_ids_to_stages;
    size_t kept = 0, left = 0;
    for (size_t i = 0; i < all->n; i++) {
        VersionStages v = all->at[i];
        if (str_eq(v.key, version)) {
            for (size_t k = 0; k < v.value.n; k++)
                if (!str_eq(v.value.at[k], stage))
                    v.value.at[left++] = v.value.at[k];
            v.value.n = left;
        }
        if (v.value.n > 0)
            all->at[kept++] = v;
    }
    all->n = kept;
}

static void add_stage(struct secret *s, Str version, Str stage)
{
    secretsmanager_SecretVersionsToStagesMapType *all = &s->d.version_ids_to_stages;
    VersionStages *more = arena_new(s->arena, VersionStages, all->n + 1);
    size_t at = 0;
    while (at < all->n && !str_eq(all->at[at].key, version))
        at++;
    if (all->n > 0)
        memcpy(more, all->at, all->n * sizeof *more);
    if (at == all->n)
        more[all->n++] = (VersionStages){ .key = str_dup(s->arena, version) };
    VersionStages *v = &more[at];
    Str *stages = arena_new(s->arena, Str, v->value.n + 1);
    for (size_t i = 0; i < v->value.n; i++)
        stages[i] = v->value.at[i];
    stages[v->value.n++] = str_dup(s->arena, stage);
    v->value.at = stages;
    v->value.set = true;
    all->at = more;
    all->set = true;
}

void secret_move_stage(struct secret *s, Str version, Str stage)
{
    Str holder = secret_version_at(s, stage);
    if (holder.p != NULL && str_eq(holder, version))
        return;
    if (holder.p != NULL)
        secret_drop_stage(s, holder, stage);
    add_stage(s, version, stage);
    if (holder.p == NULL || !str_eq(stage, CURRENT))
        return;
    Str before = secret_version_at(s, PREVIOUS);
    if (before.p != NULL)
        secret_drop_stage(s, before, PREVIOUS);
    add_stage(s, holder, PREVIOUS);
}

// ---- Tags

void secret_set_tag(struct secret *s, Str key, Str value)
{
    secretsmanager_TagListType *tags = &s->d.tags;
    Str own = str_dup(s->arena, value.p != NULL ? value : S(""));
    for (size_t i = 0; i < tags->n; i++)
        if (str_eq(tags->at[i].key, key)) {
            tags->at[i].value = own;
            return;
        }
    secretsmanager_Tag *more = arena_new(s->arena, secretsmanager_Tag, tags->n + 1);
    for (size_t i = 0; i < tags->n; i++)
        more[i] = tags->at[i];
    more[tags->n++] = (secretsmanager_Tag){ str_dup(s->arena, key), own };
    tags->at = more;
    tags->set = true;
}

void secret_drop_tag(struct secret *s, Str key)
{
    secretsmanager_TagListType *tags = &s->d.tags;
    size_t kept = 0;
    for (size_t i = 0; i < tags->n; i++)
        if (!str_eq(tags->at[i].key, key))
            tags->at[kept++] = tags->at[i];
    tags->n = kept;
}
