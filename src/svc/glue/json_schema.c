// SPDX-License-Identifier: Apache-2.0
#include "svc/glue/avro.h"

static const Str type_names[] = { S_INIT("null"),   S_INIT("boolean"), S_INIT("object"),
                                  S_INIT("array"),  S_INIT("number"),  S_INIT("string"),
                                  S_INIT("integer") };
enum { TYPE_NUMBER = 1 << 4, TYPE_INTEGER = 1 << 6, TYPES_ALL = (1 << 7) - 1 };

// ---- Reading

static Err wrong(Str *ret_text, Str text)
{
    *ret_text = text;
    return fail(ERR_INVALID, "not a JSON schema");
}

// The types that a schema lets through, a bit for each; 0: a name that there is not.
static unsigned types_of(const JsonValue *schema)
{
    const JsonValue *type = json_find(schema, S("type"));
    unsigned all = 0;
    if (type == NULL)
        return TYPES_ALL;
    size_t n = type->kind == JSON_LIST ? type->n : 1;
    for (size_t i = 0; i < n; i++) {
        const JsonValue *one = type->kind == JSON_LIST ? &type->items[i] : type;
        unsigned bit = 0;
        for (unsigned k = 0; k < COUNT_OF(type_names); k++)
            if (one->kind == JSON_STRING && str_eq(one->text, type_names[k]))
                bit = 1U << k;
        if (bit == 0)
            return 0;
        all |= bit;
    }
    return all | ((all & TYPE_NUMBER) != 0 ? TYPE_INTEGER : 0);
}

static bool has_kind(const JsonValue *schema, const char *key, JsonKind kind)
{
    const JsonValue *v = json_find(schema, str_of(key));
    return v == NULL || v->kind == kind;
}

static Err check(const JsonValue *schema, Str *ret_text);

static Err check_map(const JsonValue *map, Str *ret_text)
{
    for (size_t i = 0; map != NULL && i < map->n; i++)
        TRY(check(&map->items[i], ret_text));
    return OK;
}

// Recursion ends at the depth of JSON documents.
static Err check(const JsonValue *schema, Str *ret_text)
{
    static const char *const lists[] = { "required", "enum", "allOf", "anyOf", "oneOf" };
    static const char *const maps[] = { "properties", "patternProperties", "definitions", "$defs" };
    if (schema->kind == JSON_BOOL)
        return OK;
    if (schema->kind != JSON_MAP)
        return wrong(ret_text, S("A schema must be an object or a boolean."));
    if (types_of(schema) == 0)
        return wrong(ret_text, S("The value of type is not valid."));
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        if (!has_kind(schema, lists[i], JSON_LIST))
            return wrong(ret_text, S("required, enum, allOf, anyOf and oneOf must be lists."));
    for (size_t i = 0; i < COUNT_OF(maps); i++) {
        if (!has_kind(schema, maps[i], JSON_MAP))
            return wrong(ret_text, S("properties and definitions must be objects."));
        TRY(check_map(json_find(schema, str_of(maps[i])), ret_text));
    }
    for (size_t i = 2; i < COUNT_OF(lists); i++) // those that hold schemas
        TRY(check_map(json_find(schema, str_of(lists[i])), ret_text));
    const JsonValue *items = json_find(schema, S("items")),
                    *more = json_find(schema, S("additionalProperties"));
    if (items != NULL && items->kind != JSON_LIST)
        TRY(check(items, ret_text));
    return more != NULL ? check(more, ret_text) : OK;
}

Err json_schema_read(struct arena *a, Str definition, const JsonValue **ret, Str *ret_text)
{
    JsonValue *v;
    *ret_text = S("The schema definition is not valid JSON.");
    TRY(json_parse(a, definition, &v));
    TRY(check(v, ret_text));
    *ret = v;
    return OK;
}

// ---- Comparing

static bool is_listed(const JsonValue *list, const JsonValue *value)
{
    for (size_t i = 0; list != NULL && i < list->n; i++) {
        const JsonValue *one = &list->items[i];
        bool same = one->kind == value->kind && str_eq(one->text, value->text);
        if (same && (one->kind != JSON_BOOL || one->integer == value->integer))
            return true;
    }
    return false;
}

static bool enums_meet(const JsonValue *reader, const JsonValue *writer)
{
    const JsonValue *r = json_find(reader, S("enum")), *w = json_find(writer, S("enum"));
    if (r == NULL)
        return true;
    for (size_t i = 0; w != NULL && i < w->n; i++)
        if (!is_listed(r, &w->items[i]))
            return false;
    return w != NULL;
}

static bool is_closed(const JsonValue *schema)
{
    const JsonValue *more = json_find(schema, S("additionalProperties"));
    return more != NULL && more->kind == JSON_BOOL && more->integer == 0;
}

static bool properties_meet(const JsonValue *reader, const JsonValue *writer)
{
    const JsonValue *r = json_find(reader, S("properties")),
                    *w = json_find(writer, S("properties")),
                    *needed = json_find(reader, S("required")),
                    *given = json_find(writer, S("required"));
    for (size_t i = 0; needed != NULL && i < needed->n; i++)
        if (!is_listed(given, &needed->items[i]))
            return false;
    for (size_t i = 0; w != NULL && i < w->n; i++) {
        const JsonValue *to = json_find(r, w->items[i].key);
        if (to != NULL && !json_schema_reads(to, &w->items[i]))
            return false;
        if (to == NULL && is_closed(reader))
            return false;
    }
    return !is_closed(reader) || is_closed(writer);
}

bool json_schema_reads(const JsonValue *reader, const JsonValue *writer)
{
    if (reader->kind == JSON_BOOL || writer->kind == JSON_BOOL)
        return (reader->kind == JSON_BOOL && reader->integer != 0) ||
               (writer->kind == JSON_BOOL && writer->integer == 0);
    if ((types_of(writer) & ~types_of(reader)) != 0 || !enums_meet(reader, writer) ||
        !properties_meet(reader, writer))
        return false;
    const JsonValue *r = json_find(reader, S("items")), *w = json_find(writer, S("items"));
    bool comparable = r != NULL && w != NULL && r->kind != JSON_LIST && w->kind != JSON_LIST;
    return !comparable || json_schema_reads(r, w);
}

// ---- Canonical form

static void write_value(struct event_writer *w, const JsonValue *v)
{
    switch (v->kind) {
    case JSON_NULL:
        w->ops->null(w);
        return;
    case JSON_BOOL:
        w->ops->boolean(w, v->integer != 0);
        return;
    case JSON_NUMBER: // its digits, as no text of a schema is written
        w->ops->map(w);
        w->ops->key(w, S("\1"));
        w->ops->text(w, v->text);
        w->ops->map_end(w);
        return;
    case JSON_STRING:
        w->ops->text(w, v->text);
        return;
    case JSON_LIST:
        w->ops->list(w);
        for (size_t i = 0; i < v->n; i++)
            write_value(w, &v->items[i]);
        w->ops->list_end(w);
        return;
    case JSON_MAP:
        w->ops->map(w);
        for (size_t i = 0; i < v->n; i++) {
            w->ops->key(w, v->items[i].key);
            write_value(w, &v->items[i]);
        }
        w->ops->map_end(w);
        return;
    }
}

Err schema_canonical(struct arena *a, Str definition, Str *ret)
{
    JsonValue *v;
    AUTO_BUF(b);
    struct event_writer w;
    TRY(json_parse(a, definition, &v));
    json_writer_init(&w, &b);
    write_value(&w, v);
    TRY(buf_err(&b));
    *ret = str_dup(a, buf_str(&b));
    return OK;
}
