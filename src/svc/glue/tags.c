// SPDX-License-Identifier: Apache-2.0
// Tags, of what an ARN names: the catalog, databases and tables that there are.
#include "svc/glue/registry.h"

Err glue_put_tags(struct glue *s, struct kv_txn *tx, Str arn, glue_TagsMap tags)
{
    kv_on(tx, s->tags);
    if (tags.n == 0)
        return kv_del(tx, arn);
    const struct glue_GetTags_out row = { .tags = tags };
    return glue_put_row(tx, s->tags, arn, s->tags_shape, &row);
}

static Err bad_arn(struct call *c, Str arn)
{
    return call_fail(c, &glue_InvalidInputException, "%.*s is not a valid resource ARN.", FMT(arn));
}

// What an ARN of the call's account and region names.
static Err place_of(struct call *c, Str arn, Place *ret)
{
    Str part[5], rest = arn, kind;
    for (size_t i = 0; i < COUNT_OF(part); i++)
        if (!str_cut(rest, ':', &part[i], &rest))
            return bad_arn(c, arn);
    if (!str_eq(part[3], c->region) || !str_eq(part[4], c->account))
        return bad_arn(c, arn);
    *ret = (Place){ .account = c->account, .region = c->region };
    if (str_eq(rest, S("catalog")))
        return OK;
    if (!str_cut(rest, '/', &kind, &rest) || rest.n == 0)
        return bad_arn(c, arn);
    ret->database = str_lower(c->arena, rest);
    if (str_eq(kind, S("database")))
        return OK;
    if (!str_eq(kind, S("table")) || !str_cut(ret->database, '/', &ret->database, &ret->table) ||
        ret->table.n == 0)
        return bad_arn(c, arn);
    return OK;
}

// Of the schema registry; false: the ARN is of something else.
static bool names_schema(struct call *c, Str arn, Str *ret_registry, Str *ret_schema)
{
    const Place p = { .account = c->account, .region = c->region };
    Str registries = registry_arn(c->arena, &p, S("")), rest;
    Str schemas = str_head(schema_arn(c->arena, &p, S(""), S("")),
                           registries.n - S("registry").n + S("schema").n);
    *ret_schema = (Str){ 0 };
    if (str_starts(arn, registries)) {
        *ret_registry = str_skip(arn, registries.n);
        return ret_registry->n > 0;
    }
    if (!str_starts(arn, schemas))
        return false;
    rest = str_skip(arn, schemas.n);
    return str_cut(rest, '/', ret_registry, ret_schema) && ret_schema->n > 0;
}

static Err need_schema(struct call *c, struct kv_txn *tx, Str registry, Str schema)
{
    struct glue_GetRegistry_out there = { 0 };
    SchemaRow row;
    return schema.p != NULL ? schema_get(c, tx, registry, schema, &row)
                            : registry_get(c, tx, registry, &there);
}

// The tags of an ARN; EntityNotFoundException: there is no such resource.
static Err find(struct call *c, struct kv_txn *tx, Str arn, Str *ret_key, glue_TagsMap *ret)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Place p;
    TableRow t;
    Str registry, schema;
    bool of_schema = names_schema(c, arn, &registry, &schema);
    if (of_schema)
        TRY(need_schema(c, tx, registry, schema));
    else
        TRY(place_of(c, arn, &p));
    if (!of_schema && p.table.p != NULL)
        TRY(glue_need_table(c, tx, &p, p.database, p.table, &t));
    else if (!of_schema && p.database.p != NULL)
        TRY(glue_need_database(c, tx, &p, p.database));
    *ret_key = of_schema ? arn : glue_arn(a, &p);
    *ret = (glue_TagsMap){ .set = true };
    struct glue_GetTags_out row = { 0 };
    Err e = glue_get_row(tx, s->tags, a, *ret_key, s->tags_shape, &row);
    if (e.kind == ERR_NONE)
        *ret = row.tags;
    return e.kind == ERR_NOT_FOUND ? OK : e;
}

Err glue_GetTags(struct call *c, const struct glue_GetTags_in *in, struct glue_GetTags_out *out)
{
    struct glue *s = c->state;
    Str key;
    AUTO(kv_txn) tx = kv_read(s->tags);
    TRY(find(c, tx, in->resource_arn, &key, &out->tags));
    return OK;
}

static glue_TagsMap_entry *entry_of(const glue_TagsMap *tags, Str key)
{
    for (size_t i = 0; i < tags->n; i++)
        if (str_eq(tags->at[i].key, key))
            return &tags->at[i];
    return NULL;
}

Err glue_TagResource(struct call *c, const struct glue_TagResource_in *in,
                     struct glue_TagResource_out *out)
{
    struct glue *s = c->state;
    Str key;
    glue_TagsMap old;
    (void)out; // has no members
    AUTO(kv_txn) tx = kv_write(s->tags);
    TRY(find(c, tx, in->resource_arn, &key, &old));
    glue_TagsMap all = { .set = true,
                         .at = arena_new(c->arena, glue_TagsMap_entry, old.n + in->tags_to_add.n) };
    for (size_t i = 0; i < old.n; i++)
        all.at[all.n++] = old.at[i];
    for (size_t i = 0; i < in->tags_to_add.n; i++) {
        const glue_TagsMap_entry *tag = &in->tags_to_add.at[i];
        glue_TagsMap_entry *there = entry_of(&all, tag->key);
        if (there != NULL)
            there->value = tag->value;
        else
            all.at[all.n++] = *tag;
    }
    if (all.n > TAGS_MAX)
        return call_fail(c, &glue_InvalidInputException,
                         "A resource cannot have more than %d tags.", TAGS_MAX);
    TRY(glue_put_tags(s, tx, key, all));
    return kv_commit(tx);
}

Err glue_UntagResource(struct call *c, const struct glue_UntagResource_in *in,
                       struct glue_UntagResource_out *out)
{
    struct glue *s = c->state;
    Str key;
    glue_TagsMap old;
    (void)out; // has no members
    AUTO(kv_txn) tx = kv_write(s->tags);
    TRY(find(c, tx, in->resource_arn, &key, &old));
    glue_TagsMap left = { .set = true, .at = arena_new(c->arena, glue_TagsMap_entry, old.n) };
    for (size_t i = 0; i < old.n; i++) {
        bool goes = false;
        for (size_t k = 0; k < in->tags_to_remove.n; k++)
            goes = goes || str_eq(in->tags_to_remove.at[k], old.at[i].key);
        if (!goes)
            left.at[left.n++] = old.at[i];
    }
    TRY(glue_put_tags(s, tx, key, left));
    return kv_commit(tx);
}
