// SPDX-License-Identifier: Apache-2.0
// Structs into replies.
#include "aws/bind_priv.h"

static void encode_value(struct protocol_writer *w, const struct shape *shape, const void *value);

static void encode_struct(struct protocol_writer *w, const struct shape *shape, const void *base)
{
    struct event_writer *events = &w->events;
    events->ops->map(events);
    for (size_t i = 0; i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        const void *value = bind_value(base, m);
        // A required struct that is not there has nothing that could be written.
        bool always = (m->required || m->has_default) && m->shape->kind != SHAPE_STRUCT;
        if (!always && !bind_given(base, m))
            continue;
        events->ops->key(events, m->name);
        if (m->shape->kind == SHAPE_STRUCT)
            value = *(const void *const *)value;
        encode_value(w, m->shape, value);
    }
    events->ops->map_end(events);
}

static void encode_list(struct protocol_writer *w, const struct shape *shape,
                        const struct any_list *list)
{
    struct event_writer *events = &w->events;
    events->ops->list(events);
    for (size_t i = 0; i < list->n; i++)
        encode_value(w, shape->member, bind_element(list, shape, i));
    events->ops->list_end(events);
}

static void encode_map(struct protocol_writer *w, const struct shape *shape,
                       const struct any_list *map)
{
    struct event_writer *events = &w->events;
    events->ops->map(events);
    for (size_t i = 0; i < map->n; i++) {
        const char *entry = bind_element(map, shape, i);
        events->ops->key(events, *(const Str *)entry);
        encode_value(w, shape->member, entry + shape->value_offset);
    }
    events->ops->map_end(events);
}

static void encode_value(struct protocol_writer *w, const struct shape *shape, const void *value)
{
    struct event_writer *events = &w->events;
    switch (shape->kind) {
    case SHAPE_STRING:
    case SHAPE_ENUM:
        events->ops->text(events, *(const Str *)value);
        break;
    case SHAPE_BLOB:
        events->ops->bytes(events, *(const Str *)value);
        break;
    case SHAPE_BOOL:
        events->ops->boolean(events, *(const bool *)value);
        break;
    case SHAPE_INT:
        events->ops->integer(events, *(const int32_t *)value);
        break;
    case SHAPE_LONG:
        events->ops->integer(events, *(const int64_t *)value);
        break;
    case SHAPE_DOUBLE:
        events->ops->real(events, *(const double *)value);
        break;
    case SHAPE_TIME:
        events->ops->time(events, *(const int64_t *)value);
        break;
    case SHAPE_LIST:
        encode_list(w, shape, value);
        break;
    case SHAPE_MAP:
        encode_map(w, shape, value);
        break;
    case SHAPE_STRUCT:
        encode_struct(w, shape, value);
        break;
    }
}

void bind_encode(struct protocol_writer *w, const struct shape *shape, const void *out)
{
    encode_value(w, shape, out);
}

void bind_write(const struct protocol *p, const struct shape *shape, const void *out,
                struct buf *body)
{
    struct protocol_writer w;
    if (p->write != NULL) {
        p->write(shape, out, body);
        return;
    }
    p->writer_init(&w, body);
    bind_encode(&w, shape, out);
}
