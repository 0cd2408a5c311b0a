// SPDX-License-Identifier: Apache-2.0
// Messages of event streams, in their final bytes. Without the front, so that tests of services can
// link it alone.
#include "aws/bind.h"
#include "aws/call.h"
#include "codec/eventstream.h"

#include <stdatomic.h>
#include <stdlib.h>

struct event_frame {
    atomic_uint refs;
    struct buf bytes;
};

struct event_frame *event_frame_ref(struct event_frame *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void event_frame_unref(struct event_frame *f)
{
    if (f == NULL || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) > 1)
        return;
    buf_done(&f->bytes);
    free(f);
}

Str event_frame_bytes(const struct event_frame *f)
{
    return buf_str(&f->bytes);
}

// The one of the members that is set.
static const struct member *event_of(const struct shape *shape, const void *events,
                                     const void **ret_value)
{
    for (size_t i = 0; i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        *ret_value = *(const void *const *)((const char *)events + m->offset);
        if (*ret_value != NULL)
            return m;
    }
    return NULL;
}

Err event_frame_open(const struct call *c, const void *events, size_t bytes,
                     struct event_frame **ret)
{
    const struct protocol *p = c->protocol;
    const void *value = NULL;
    const struct member *m = event_of(c->op->events, events, &value);
    CHECK(m != NULL);
    EventHeader headers[] = {
        { S(":event-type"), m->name, EVENT_HEADER_STRING },
        { S(":content-type"), p->event_type, EVENT_HEADER_STRING },
        { S(":message-type"), S("event"), EVENT_HEADER_STRING },
    };
    struct event_frame *f = xalloc(sizeof *f);
    atomic_init(&f->refs, 1);
    buf_init_request(&f->bytes, EVENTSTREAM_MESSAGE_BYTES_MAX);
    buf_reserve(&f->bytes, MIN(bytes, (size_t)EVENTSTREAM_MESSAGE_BYTES_MAX));
    size_t place = eventstream_begin(&f->bytes, headers, COUNT_OF(headers));
    bind_write(p, m->shape, value, &f->bytes);
    eventstream_end(&f->bytes, place);
    Err e = buf_err(&f->bytes);
    if (e.kind != ERR_NONE) {
        event_frame_unref(f);
        return e;
    }
    *ret = f;
    return OK;
}
