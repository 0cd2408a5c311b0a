// SPDX-License-Identifier: Apache-2.0
#include "aws/protocol.h"
#include "aws/query.h"
#include "aws/rest.h"
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

// Smithy's RPC v2 CBOR (smithy.io, "Smithy RPC v2 CBOR protocol"): times are seconds, as RFC 8949
// has them, and an operation without input may have no body.
static void rpc_reader(struct protocol_reader *r, struct arena *a, Str body)
{
    static const Str empty_map = S_INIT("\xa0");
    *r = (struct protocol_reader){ .next = events_next };
    cbor_reader_init_seconds(&r->events, a, body.n > 0 ? body : empty_map);
}

static void json_writer(struct protocol_writer *w, struct buf *out)
{
    json_writer_init(&w->events, out);
}

static void cbor_writer(struct protocol_writer *w, struct buf *out)
{
    cbor_writer_init(&w->events, out);
}

static void rpc_writer(struct protocol_writer *w, struct buf *out)
{
    cbor_writer_init_seconds(&w->events, out);
}

static void write_error(struct event_writer *events, const ErrorReply *e)
{
    events->ops->map(events);
    events->ops->key(events, S("__type"));
    events->ops->text(events, e->type);
    if (e->message.p != NULL) {
        events->ops->key(events, e->capital_message ? S("Message") : S("message"));
        events->ops->text(events, e->message);
    }
    events->ops->map_end(events);
}

static void json_error(const ErrorReply *e, struct buf *body)
{
    struct event_writer w;
    json_writer_init(&w, body);
    write_error(&w, e);
}

static void cbor_error(const ErrorReply *e, struct buf *body)
{
    struct event_writer w;
    cbor_writer_init(&w, body);
    write_error(&w, e);
}

#define JSON_PROTOCOL(version)                                                                   \
    {                                                                                            \
        .content_type = S_INIT("application/x-amz-json-" version),                               \
        .event_type = S_INIT("application/json"), .reader_init = json_reader, .scan = scan_json, \
        .writer_init = json_writer, .write = write_json, .write_error = json_error,              \
    }

const struct protocol protocol_json_1_0 = JSON_PROTOCOL("1.0");
const struct protocol protocol_json_1_1 = JSON_PROTOCOL("1.1");
const struct protocol protocol_cbor_1_1 = {
    .content_type = S_INIT("application/x-amz-cbor-1.1"),
    .event_type = S_INIT("application/cbor"),
    .reader_init = cbor_reader,
    .scan = scan_cbor,
    .writer_init = cbor_writer,
    .write_error = cbor_error,
};
const struct protocol protocol_rpc_cbor = {
    .content_type = S_INIT("application/cbor"),
    .event_type = S_INIT("application/cbor"),
    .smithy = S_INIT("rpc-v2-cbor"),
    .empty_is_document = true,
    .reader_init = rpc_reader,
    .writer_init = rpc_writer,
    .write_error = cbor_error,
};
const struct protocol protocol_query = {
    .content_type = S_INIT("application/x-www-form-urlencoded"),
    .reply_type = S_INIT("text/xml"),
    .common_error = query_common_error,
    .reader_init = query_reader,
    .write_reply = query_write_reply,
    .write_error = query_write_error,
};
// Read by rest_reader and written by rest_write_reply, which need the whole request.
const struct protocol protocol_rest_xml = {
    .content_type = S_INIT("application/xml"),
    .empty_is_document = true,
    .common_error = rest_common_error,
    .write_error = rest_write_error,
};
