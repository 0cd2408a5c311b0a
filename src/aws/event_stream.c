// SPDX-License-Identifier: Apache-2.0
// Replies that are streams of messages: how those of aws/call.h go out over HTTP.
#include "aws/front_priv.h"
#include "codec/eventstream.h"

enum { ERROR_TEXT_BYTES_MAX = 2048 }; // of a header; those of the model have a payload

static struct front_call *of_call(const struct call *c)
{
    return (struct front_call *)(uintptr_t)c;
}

// ---- Messages that are not events

static void add_map(const struct protocol *p, struct buf *b, Str key, Str text)
{
    struct protocol_writer w;
    p->writer_init(&w, b);
    w.events.ops->map(&w.events);
    if (text.p != NULL) {
        w.events.ops->key(&w.events, key);
        w.events.ops->text(&w.events, text);
    }
    w.events.ops->map_end(&w.events);
}

// Its payload is {"message": text}, or an empty map.
static void send_message(struct front_call *f, const EventHeader *headers, size_t n, Str text)
{
    AUTO_BUF(b);
    size_t place = eventstream_begin(&b, headers, n);
    add_map(f->protocol, &b, S("message"), text);
    eventstream_end(&b, place);
    if (buf_err(&b).kind == ERR_NONE) // without memory for it the stream just ends
        http_stream_write(f->x, buf_str(&b));
}

static void send_first(struct front_call *f)
{
    const EventHeader headers[] = {
        { S_INIT(":event-type"), S_INIT("initial-response"), EVENT_HEADER_STRING },
        { S_INIT(":content-type"), f->protocol->content_type, EVENT_HEADER_STRING },
        { S_INIT(":message-type"), S_INIT("event"), EVENT_HEADER_STRING },
    };
    send_message(f, headers, COUNT_OF(headers), (Str){ 0 });
}

static bool is_modelled(const struct front_call *f)
{
    const struct api_op *op = f->call.op;
    for (size_t i = 0; i < op->error_count; i++)
        if (op->errors[i] == f->call.error)
            return true;
    return false;
}

// An error of the operation's model is an exception to SDKs; any other has a code and a text.
static void send_fault(struct front_call *f, const struct api_error *error, Str text)
{
    if (error == f->call.error && is_modelled(f)) {
        const EventHeader headers[] = {
            { S_INIT(":exception-type"), error->name, EVENT_HEADER_STRING },
            { S_INIT(":content-type"), f->protocol->event_type, EVENT_HEADER_STRING },
            { S_INIT(":message-type"), S_INIT("exception"), EVENT_HEADER_STRING },
        };
        send_message(f, headers, COUNT_OF(headers), reply_text(f->x->arena, text));
        return;
    }
    Str why = text.p != NULL ? reply_text(f->x->arena, text) : S("The service failed.");
    const EventHeader headers[] = {
        { S_INIT(":error-code"), error->name, EVENT_HEADER_STRING },
        { S_INIT(":error-message"), str_head(why, ERROR_TEXT_BYTES_MAX), EVENT_HEADER_STRING },
        { S_INIT(":message-type"), S_INIT("error"), EVENT_HEADER_STRING },
    };
    AUTO_BUF(b);
    eventstream_end(&b, eventstream_begin(&b, headers, COUNT_OF(headers)));
    if (buf_err(&b).kind == ERR_NONE)
        http_stream_write(f->x, buf_str(&b));
}

static void send_failure(struct front_call *f)
{
    f->call.error = front_failure(f->call.op);
    send_fault(f, f->call.error != NULL ? f->call.error : &aws_InternalFailure,
               f->call.error != NULL ? S("The service failed.") : (Str){ 0 });
}

void stream_finish(struct front_call *f, Err e)
{
    if (e.kind == ERR_FAULT && f->call.error != NULL)
        send_fault(f, f->call.error, f->call.error_text);
    else if (e.kind == ERR_MEMORY)
        send_fault(f, &aws_ServiceUnavailable, (Str){ 0 });
    else if (e.kind != ERR_NONE)
        send_failure(f);
    http_stream_end(f->x);
}

// ---- What operations call

static void stream_start(struct call *c, void (*tell)(void *self), void *self)
{
    struct front_call *f = of_call(c);
    f->streams = true;
    http_stream_watch(f->x, tell, self);
    reply_stream(f);
    send_first(f);
}

static void let_go(void *frame)
{
    event_frame_unref(frame);
}

static void stream_send(struct call *c, struct event_frame *frame)
{
    http_stream_share(of_call(c)->x, event_frame_bytes(frame), let_go, event_frame_ref(frame));
}

static size_t stream_unsent(const struct call *c)
{
    return http_stream_pending(of_call(c)->x);
}

static bool stream_is_over(const struct call *c)
{
    const struct http_exchange *x = of_call(c)->x;
    return http_stream_gone(x) || http_stream_closing(x);
}

static bool stream_is_crowded(const struct call *c)
{
    return http_replies_full(of_call(c)->x);
}

const struct call_stream front_stream = {
    .start = stream_start,
    .send = stream_send,
    .unsent = stream_unsent,
    .is_over = stream_is_over,
    .is_crowded = stream_is_crowded,
};
