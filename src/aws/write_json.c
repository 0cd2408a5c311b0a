// SPDX-License-Identifier: Apache-2.0
#include "aws/write_json.h"
#include "aws/bind_priv.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "codec/text.h"

#include <string.h>

// How much a list may ask for at once, by the size of its first element.
enum { LIST_ROOM_BYTES_MAX = 1 << 20, TIME_BYTES_MAX = 32 };

// Where the next byte goes. body->n lags behind until `settle`.
struct output {
    char *at, *end;
    struct buf *body;
    struct event_writer events; // for what is rare
    // The last time that was written: records that were stored together have one. 0: there was
    // none.
    int64_t time_ns;
    size_t time_n;
    char time[TIME_BYTES_MAX];
};

static void write_value(struct output *o, const struct shape *shape, const void *value);

static void settle(struct output *o)
{
    o->body->n = (size_t)(o->at - o->body->p);
}

static void follow(struct output *o)
{
    o->at = o->body->p + o->body->n;
    o->end = o->body->p + o->body->cap;
}

static bool grow(struct output *o, size_t bytes)
{
    settle(o);
    bool good = buf_reserve(o->body, bytes);
    follow(o);
    return good;
}

// Room for so many bytes; false: they are to be left out, and buf_err tells.
static inline bool room(struct output *o, size_t bytes)
{
    return (size_t)(o->end - o->at) >= bytes || grow(o, bytes);
}

static void add_byte(struct output *o, char c)
{
    if (room(o, 1))
        *o->at++ = c;
}

static void add(struct output *o, Str s)
{
    if (s.n == 0 || !room(o, s.n))
        return;
    memcpy(o->at, s.p, s.n);
    o->at += s.n;
}

static void add_quoted(struct output *o, Str s)
{
    if (!room(o, s.n + 2))
        return;
    *o->at = '"';
    if (s.n > 0)
        memcpy(o->at + 1, s.p, s.n);
    o->at[s.n + 1] = '"';
    o->at += s.n + 2;
}

// JSON's writer, standing where no comma is due; follow() goes on behind what it has written.
static struct event_writer *leave(struct output *o)
{
    settle(o);
    o->events.first[0] = true;
    return &o->events;
}

static void write_text(struct output *o, Str s)
{
    if (text_plain(s) == s.n) {
        add_quoted(o, s);
        return;
    }
    struct event_writer *w = leave(o);
    w->ops->text(w, s);
    follow(o);
}

static void write_blob(struct output *o, Str s)
{
    size_t n = base64_encoded_bytes(s.n);
    if (!room(o, n + 2))
        return;
    *o->at = '"';
    base64_encode(o->at + 1, s.p, s.n);
    o->at[n + 1] = '"';
    o->at += n + 2;
}

static void write_time(struct output *o, int64_t ns)
{
    if (o->time_n > 0 && ns == o->time_ns) {
        add(o, str_from(o->time, o->time_n));
        return;
    }
    struct event_writer *w = leave(o);
    size_t before = o->body->n;
    w->ops->time(w, ns);
    follow(o);
    o->time_n = o->body->n - before;
    CHECK(o->time_n <= TIME_BYTES_MAX);
    if (o->time_n > 0)
        memcpy(o->time, o->at - o->time_n, o->time_n);
    o->time_ns = ns;
}

// Numbers.
static void write_rare(struct output *o, const struct shape *shape, const void *value)
{
    struct event_writer *w = leave(o);
    switch (shape->kind) {
    case SHAPE_INT:
        w->ops->integer(w, *(const int32_t *)value);
        break;
    case SHAPE_LONG:
        w->ops->integer(w, *(const int64_t *)value);
        break;
    default:
        w->ops->real(w, *(const double *)value);
        break;
    }
    follow(o);
}

static bool is_given(const void *base, const struct member *m)
{
    if (m->shape->kind <= SHAPE_ENUM) // texts and blobs: nearly all members
        return ((const Str *)bind_value(base, m))->p != NULL;
    return bind_given(base, m);
}

// `"Name":`, after a comma if one is due. Names of members need no escapes.
static void write_name(struct output *o, Str name, bool first)
{
    if (!room(o, name.n + 4))
        return;
    if (!first)
        *o->at++ = ',';
    add_quoted(o, name);
    *o->at++ = ':';
}

static void write_struct(struct output *o, const struct shape *shape, const void *base)
{
    bool first = true;
    add_byte(o, '{');
    for (size_t i = 0; i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        const void *value = bind_value(base, m);
        bool always = (m->required || m->has_default) && m->shape->kind != SHAPE_STRUCT;
        if (!always && !is_given(base, m))
            continue;
        write_name(o, m->name, first);
        first = false;
        if (m->shape->kind == SHAPE_STRUCT)
            value = *(const void *const *)value;
        write_value(o, m->shape, value);
    }
    add_byte(o, '}');
}

static void write_list(struct output *o, const struct shape *shape, const struct any_list *list)
{
    add_byte(o, '[');
    for (size_t i = 0; i < list->n; i++) {
        size_t before = (size_t)(o->at - o->body->p);
        if (i > 0)
            add_byte(o, ',');
        write_value(o, shape->member, bind_element(list, shape, i));
        size_t written = (size_t)(o->at - o->body->p) - before;
        if (i == 0 && written <= LIST_ROOM_BYTES_MAX / list->n) // the others are mostly like it
            room(o, list->n * (written + 1));
    }
    add_byte(o, ']');
}

static void write_map(struct output *o, const struct shape *shape, const struct any_list *map)
{
    add_byte(o, '{');
    for (size_t i = 0; i < map->n; i++) {
        const char *entry = bind_element(map, shape, i);
        if (i > 0)
            add_byte(o, ',');
        write_text(o, *(const Str *)entry);
        add_byte(o, ':');
        write_value(o, shape->member, entry + shape->value_offset);
    }
    add_byte(o, '}');
}

static void write_value(struct output *o, const struct shape *shape, const void *value)
{
    switch (shape->kind) {
    case SHAPE_STRING:
    case SHAPE_ENUM:
        write_text(o, *(const Str *)value);
        break;
    case SHAPE_BLOB:
        write_blob(o, *(const Str *)value);
        break;
    case SHAPE_TIME:
        write_time(o, *(const int64_t *)value);
        break;
    case SHAPE_BOOL:
        add(o, *(const bool *)value ? S("true") : S("false"));
        break;
    case SHAPE_LIST:
        write_list(o, shape, value);
        break;
    case SHAPE_MAP:
        write_map(o, shape, value);
        break;
    case SHAPE_STRUCT:
        write_struct(o, shape, value);
        break;
    default:
        write_rare(o, shape, value);
        break;
    }
}

void write_json(const struct shape *shape, const void *out, struct buf *body)
{
    if (!buf_reserve(body, 1)) // a buffer without memory has no place to begin at
        return;
    struct output o = { .body = body };
    json_writer_init(&o.events, body);
    follow(&o);
    write_value(&o, shape, out);
    settle(&o);
}
