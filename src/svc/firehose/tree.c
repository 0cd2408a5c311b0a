// SPDX-License-Identifier: Apache-2.0
#include "svc/firehose/tree.h"
#include "aws/bind.h"

#include <string.h>

JsonValue *tree_map(struct arena *a)
{
    JsonValue *v = arena_new(a, JsonValue, 1);
    v->kind = JSON_MAP;
    return v;
}

JsonValue *tree_find(const JsonValue *map, Str key)
{
    for (size_t i = 0; map != NULL && map->kind == JSON_MAP && i < map->n; i++)
        if (str_eq(map->items[i].key, key))
            return &map->items[i];
    return NULL;
}

const JsonValue *tree_at(const JsonValue *map, const char *path)
{
    Str rest = str_of(path), key;
    while (map != NULL && rest.n > 0) {
        str_cut(rest, '/', &key, &rest);
        map = tree_find(map, key);
    }
    return map;
}

Str tree_text(const JsonValue *map, Str key)
{
    const JsonValue *v = tree_find(map, key);
    return v != NULL && v->kind == JSON_STRING ? v->text : (Str){ 0 };
}

int64_t tree_integer(const JsonValue *map, Str key, int64_t otherwise)
{
    const JsonValue *v = tree_find(map, key);
    return v != NULL && v->kind == JSON_NUMBER ? v->integer : otherwise;
}

double tree_real(const JsonValue *map, Str key, double otherwise)
{
    const JsonValue *v = tree_find(map, key);
    return v != NULL && v->kind == JSON_NUMBER ? v->real : otherwise;
}

bool tree_is_true(const JsonValue *map, Str key)
{
    const JsonValue *v = tree_find(map, key);
    return v != NULL && v->kind == JSON_BOOL && v->integer != 0;
}

// ---- Changing

void tree_set(struct arena *a, JsonValue *map, Str key, const JsonValue *value)
{
    JsonValue *there = tree_find(map, key);
    if (there == NULL) { // seldom more than a dozen members, so nothing is kept in hand
        JsonValue *items = arena_new(a, JsonValue, map->n + 1);
        if (map->n > 0)
            memcpy(items, map->items, map->n * sizeof *items);
        map->items = items;
        there = &items[map->n++];
    }
    *there = *value;
    there->key = key;
}

void tree_set_text(struct arena *a, JsonValue *map, Str key, Str text)
{
    tree_set(a, map, key, &(JsonValue){ .kind = JSON_STRING, .text = text });
}

void tree_set_integer(struct arena *a, JsonValue *map, Str key, int64_t value)
{
    tree_set(a, map, key,
             &(JsonValue){ .kind = JSON_NUMBER,
                           .text = str_fmt(a, "%lld", (long long)value),
                           .integer = value,
                           .real = (double)value });
}

void tree_set_bool(struct arena *a, JsonValue *map, Str key, bool value)
{
    tree_set(a, map, key, &(JsonValue){ .kind = JSON_BOOL, .integer = value });
}

void tree_drop(JsonValue *map, Str key)
{
    JsonValue *v = tree_find(map, key);
    if (v == NULL)
        return;
    size_t at = (size_t)(v - map->items);
    memmove(v, v + 1, (map->n - at - 1) * sizeof *v);
    map->n--;
}

void tree_rename(JsonValue *map, Str from, Str to)
{
    JsonValue *v = tree_find(map, from);
    if (v != NULL)
        v->key = to;
}

// ---- Writing and reading

static void write_number(struct event_writer *w, const JsonValue *v)
{
    int64_t whole;
    if (str_i64(v->text, &whole).kind == ERR_NONE)
        w->ops->integer(w, v->integer);
    else
        w->ops->real(w, v->real);
}

void tree_write(struct event_writer *w, const JsonValue *v)
{
    switch (v->kind) {
    case JSON_NULL:
        w->ops->null(w);
        return;
    case JSON_BOOL:
        w->ops->boolean(w, v->integer != 0);
        return;
    case JSON_NUMBER:
        write_number(w, v);
        return;
    case JSON_STRING:
        w->ops->text(w, v->text);
        return;
    case JSON_LIST:
        w->ops->list(w);
        for (size_t i = 0; i < v->n; i++)
            tree_write(w, &v->items[i]);
        w->ops->list_end(w);
        return;
    case JSON_MAP:
        w->ops->map(w);
        for (size_t i = 0; i < v->n; i++) {
            w->ops->key(w, v->items[i].key);
            tree_write(w, &v->items[i]);
        }
        w->ops->map_end(w);
    }
}

Err tree_json(struct arena *a, const JsonValue *v, Str *ret)
{
    AUTO_BUF(text);
    struct event_writer w;
    json_writer_init(&w, &text);
    tree_write(&w, v);
    TRY(buf_err(&text));
    return str_dup_try(a, buf_str(&text), ret);
}

Err tree_of_struct(struct arena *a, const struct shape *shape, const void *from, JsonValue **ret)
{
    AUTO_BUF(text);
    Str json;
    bind_write(&protocol_json_1_1, shape, from, &text);
    TRY(buf_err(&text));
    TRY(str_dup_try(a, buf_str(&text), &json));
    return json_parse(a, json, ret);
}

Err tree_to_struct(struct arena *a, const struct shape *shape, const JsonValue *v, void *into)
{
    struct protocol_reader r;
    Str json, fault = { 0 };
    TRY(tree_json(a, v, &json));
    protocol_json_1_1.reader_init(&r, a, json);
    TRY(bind_decode(&r, shape, a, into, &fault));
    return fault.p == NULL ? OK : fail(ERR_CORRUPT, "a configuration is not of its shape");
}
