// SPDX-License-Identifier: Apache-2.0
// A wire protocol as the binder sees it: a reader that gives a request's document as events, and a
// writer that takes a reply's. The shapes are the same for all of them.
//
// The binder tells the reader which shape it expects where it reads, so that a protocol whose
// documents do not say what they hold (query strings, XML, headers) can decide by it: whether an
// element begins a list or a struct, and that the text "12" is EVENT_INT. JSON and CBOR ignore it.
#pragma once
#include "aws/call.h"
#include "codec/event.h"

struct protocol_reader {
    // As event_reader.next. `want` is what the value is read for; NULL: it will be skipped. After
    // the EVENT_LIST or EVENT_MAP of a value come its elements' events, each with its own `want`.
    Err (*next)(struct protocol_reader *r, const struct shape *want, Event *ret);
    struct event_reader events; // of protocols whose documents are events anyway
    void *own;                  // of others
};

struct protocol_writer {
    struct event_writer events;
};

// What surrounds a reply's document where a protocol puts something there.
typedef struct ReplyFrame {
    const struct api_service *api;
    const struct api_op *op;
    Str request_id;
} ReplyFrame;

// An error on its way to the client.
typedef struct ErrorReply {
    Str type;
    Str code;             // in the Query protocol
    Str message;          // absent: none is sent
    bool capital_message; // the key is `Message`, as AWS's front has it for type errors
    bool ours;            // the server's fault, not the sender's
    Str request_id;
    Str xml_namespace; // may be absent
    // In REST only.
    Str resource;                    // the path
    Str host_id;                     // as the header x-amz-id-2 has it
    const struct call_pair *details; // elements of the error's own
} ErrorReply;

struct protocol {
    Str content_type; // of requests, and of replies unless there is a reply_type
    Str reply_type;
    Str event_type;         // of the messages in event streams
    Str smithy;             // value of the header smithy-protocol; absent: none is sent
    bool empty_is_document; // no body at all is a request without members
    // What it calls an error that every service has, and the status that it has there; NULL: as
    // everywhere.
    const struct api_error *(*common_error)(Str type);
    void (*reader_init)(struct protocol_reader *r, struct arena *a, Str body);
    // The short way past the reader and the binder (aws/scan.h), for operations that ask for it.
    bool (*scan)(const struct shape *shape, struct arena *a, Str body, void *into); // NULL: none
    // NULL: shapes are written by `write_reply` alone, which puts names around values.
    void (*writer_init)(struct protocol_writer *w, struct buf *out);
    // The same of bind_encode and the writer.
    void (*write)(const struct shape *shape, const void *out, struct buf *body); // NULL: none
    // A whole reply, frame and all, also of operations without an output. NULL: the output is all.
    void (*write_reply)(const ReplyFrame *f, const void *out, struct buf *body);
    void (*write_error)(const ErrorReply *e, struct buf *body);
};

extern const struct protocol protocol_json_1_0, protocol_json_1_1, protocol_cbor_1_1,
    protocol_rpc_cbor, protocol_query, protocol_rest_xml;
