// SPDX-License-Identifier: Apache-2.0
#include "codec/event.h"

#include "base/time.h"

static bool begins_value(EventKind k)
{
    return k != EVENT_MAP_END && k != EVENT_LIST_END && k != EVENT_KEY && k != EVENT_END;
}

Err event_skip(struct event_reader *r)
{
    Event first;
    TRY(r->next(r, &first));
    CHECK(begins_value(first.kind));
    return event_skip_rest(r, &first);
}

Err event_skip_rest(struct event_reader *r, const Event *first)
{
    if (first->kind != EVENT_MAP && first->kind != EVENT_LIST)
        return OK;
    unsigned outside = r->depth - 1; // the reader counts the map or list as open already
    while (r->depth > outside) {
        Event e;
        TRY(r->next(r, &e));
    }
    return OK;
}

static void write_event(struct event_writer *w, const Event *e)
{
    switch (e->kind) {
    case EVENT_NULL:
        w->ops->null(w);
        break;
    case EVENT_BOOL:
        w->ops->boolean(w, e->number != 0);
        break;
    case EVENT_INT:
        w->ops->integer(w, e->number);
        break;
    case EVENT_DOUBLE:
        w->ops->real(w, e->real);
        break;
    case EVENT_TEXT:
        w->ops->text(w, e->text);
        break;
    case EVENT_BYTES:
        w->ops->bytes(w, e->text);
        break;
    case EVENT_TIME:
        w->ops->time(w, e->number * NS_PER_MS);
        break;
    case EVENT_MAP:
        w->ops->map(w);
        break;
    case EVENT_MAP_END:
        w->ops->map_end(w);
        break;
    case EVENT_LIST:
        w->ops->list(w);
        break;
    case EVENT_LIST_END:
        w->ops->list_end(w);
        break;
    case EVENT_KEY:
        w->ops->key(w, e->text);
        break;
    case EVENT_END:
        break;
    }
}

Err event_copy(struct event_reader *r, struct event_writer *w)
{
    Event e = { 0 };
    while (e.kind != EVENT_END) {
        TRY(r->next(r, &e));
        write_event(w, &e);
    }
    return buf_err(w->out);
}
