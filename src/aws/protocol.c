// SPDX-License-Identifier: Apache-2.0
#include "aws/protocol.h"
#include "aws/scan.h"
#include "aws/write_json.h"
#include "codec/cbor.h"
#include "codec/json.h"

static Err events_next(struct protocol_reader *r, const struct shape *want, Event *ret)
{
    (void)want;
    return r->events.next(&r->events, ret);
}

static void json_reader(struct protocol_reader *r, struct arena *a, Str body)
{
    *r = (struct protocol_reader){ .next = events_next };
    json_reader_init(&r->events, a, body);
}

static void cbor_reader(struct protocol_reader *r, struct arena *a, Str body)
{
    *r = (struct protocol_reader){ .next = events_next };
    cbor_reader_init(&r->events, a, body);
}

static void json_writer(struct protocol_writer *w, struct buf *out)
{
    *w = (struct protocol_writer){ 0 };
    json_writer_init(&w->events, out);
}

static void cbor_writer(struct protocol_writer *w, struct buf *out)
{
    *w = (struct protocol_writer){ 0 };
    cbor_writer_init(&w->events, out);
}

static void write_error(struct protocol_writer *w, const ErrorReply *e)
{
    struct event_writer *events = &w->events;
    events->ops->map(events);
    events->ops->key(events, S("__type"));
    events->ops->text(events, e->type);
    if (e->message.p != NULL) {
        events->ops->key(events, e->capital_message ? S("Message") : S("message"));
        events->ops->text(events, e->message);
    }
    events->ops->map_end(events);
}

#define JSON_PROTOCOL(version)                                                                 \
    {                                                                                          \
        .content_type = S_INIT("application/x-amz-json-" version), .reader_init = json_reader, \
        .scan = scan_json, .writer_init = json_writer, .write = write_json,                    \
        .write_error = write_error,                                                            \
    }

const struct protocol protocol_json_1_0 = JSON_PROTOCOL("1.0");
const struct protocol protocol_json_1_1 = JSON_PROTOCOL("1.1");
const struct protocol protocol_cbor_1_1 = {
    .content_type = S_INIT("application/x-amz-cbor-1.1"),
    .reader_init = cbor_reader,
    .scan = scan_cbor,
    .writer_init = cbor_writer,
    .write_error = write_error,
};
