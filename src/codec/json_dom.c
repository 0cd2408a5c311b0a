// SPDX-License-Identifier: Apache-2.0
#include "codec/json.h"

#include <string.h>

enum { ITEMS_FIRST = 4 };

static Err fill(struct event_reader *r, const Event *e, JsonValue *v);

// Room for one more item: the array doubles, and what it leaves behind dies with the arena.
static JsonValue *add_item(struct arena *a, JsonValue *parent, size_t *cap)
{
    if (parent->n == *cap) {
        *cap = *cap > 0 ? *cap * 2 : ITEMS_FIRST;
        JsonValue *grown = arena_new(a, JsonValue, *cap);
        if (parent->n > 0)
            memcpy(grown, parent->items, parent->n * sizeof *grown);
        parent->items = grown;
    }
    return &parent->items[parent->n++];
}

static Err fill_items(struct event_reader *r, JsonValue *v)
{
    size_t cap = 0;
    for (;;) {
        Event e;
        Str key = { 0 };
        TRY(r->next(r, &e));
        if (e.kind == EVENT_MAP_END || e.kind == EVENT_LIST_END)
            return OK;
        if (e.kind == EVENT_KEY) {
            key = e.text;
            TRY(r->next(r, &e));
        }
        JsonValue *item = add_item(r->arena, v, &cap);
        TRY(fill(r, &e, item)); // recursion ends at the reader's EVENT_DEPTH_MAX
        item->key = key;
    }
}

static Err fill(struct event_reader *r, const Event *e, JsonValue *v)
{
    switch (e->kind) {
    case EVENT_BOOL:
        *v = (JsonValue){ .kind = JSON_BOOL, .integer = e->number };
        return OK;
    case EVENT_INT:
        *v = (JsonValue){
            .kind = JSON_NUMBER, .text = e->text, .integer = e->number, .real = (double)e->number
        };
        return OK;
    case EVENT_DOUBLE:
        *v = (JsonValue){ .kind = JSON_NUMBER, .text = e->text, .real = e->real };
        return OK;
    case EVENT_TEXT:
        *v = (JsonValue){ .kind = JSON_STRING, .text = e->text };
        return OK;
    case EVENT_LIST:
    case EVENT_MAP:
        *v = (JsonValue){ .kind = e->kind == EVENT_MAP ? JSON_MAP : JSON_LIST };
        return fill_items(r, v);
    default:
        *v = (JsonValue){ .kind = JSON_NULL };
        return OK;
    }
}

Err json_parse(struct arena *a, Str input, JsonValue **ret)
{
    struct event_reader r;
    Event e;
    JsonValue *root = arena_new(a, JsonValue, 1);
    json_reader_init(&r, a, input);
    TRY(r.next(&r, &e));
    TRY(fill(&r, &e, root));
    TRY(r.next(&r, &e)); // nothing but blanks may follow
    *ret = root;
    return OK;
}

const JsonValue *json_find(const JsonValue *map, Str key)
{
    if (map == NULL || map->kind != JSON_MAP)
        return NULL;
    for (size_t i = 0; i < map->n; i++)
        if (str_eq(map->items[i].key, key))
            return &map->items[i];
    return NULL;
}

Str json_text(const JsonValue *map, Str key)
{
    const JsonValue *v = json_find(map, key);
    return v != NULL && v->kind == JSON_STRING ? v->text : (Str){ 0 };
}
