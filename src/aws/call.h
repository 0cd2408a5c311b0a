// SPDX-License-Identifier: Apache-2.0
// One call of one operation: who asks, where, and how it is answered. Operations see this and their
// decoded input; protocols, signatures and HTTP are behind it.
#pragma once
#include "access/guard.h"
#include "aws/shape.h"
#include "os/io.h"
#include "os/loop.h"

struct call_stream;
struct pool;
struct http_exchange;
struct protocol; // aws/protocol.h
struct call_body;

// Who takes the body of an operation that `streams`, in pieces, on the worker pool, one at a time.
struct call_sink {
    // An error ends the body: `end` gets it.
    Err (*take)(struct call *c, struct call_sink *s, Str piece);
    // Once. OK: the body is complete and is what its sender has said of it. Else nothing of it
    // counts; ERR_FAULT: the error is recorded in the call. What it returns is the operation's
    // result.
    Err (*end)(struct call *c, struct call_sink *s, Err e);
};

// Where a reply's payload comes from that is of any size. It may outlive the call.
struct call_source {
    // On the worker pool, one at a time. At least one of n bytes. An error breaks the reply off.
    Err (*read)(struct call_source *s, char *p, size_t n, size_t *ret_n);
    // Where the next of n bytes are, if they may be sent from a file as they are (http/server.h).
    // NULL: never.
    void (*place)(struct call_source *s, size_t n, IoSpan *ret_span);
    void (*close)(struct call_source *s); // once, also if nothing was read; frees it
    uint64_t bytes;                       // all of it
    Str memory; // all of it, as it stays until `close`, which may then come from any thread; or
                // absent
};

// A name with a value: an element of an error's body, or a header of a reply.
struct call_pair {
    Str name, value;
    struct call_pair *next;
};

struct call {
    void *state;         // what the service's open function returned
    struct arena *arena; // the call's: input, output and scratch; dies with the reply
    struct loop *loop;   // where the reply is made
    const struct api_op *op;
    Str account;   // "000000000000": whose resources it is about, if permitted also another's
    Str region;    // "us-east-1"
    Str principal; // the caller's ARN
    Str caller;    // the caller's account
    Str access_key;
    // Of what a service does when nobody has called: the role that it was given, and who it is
    // ("firehose.amazonaws.com"). Absent: somebody has signed, or it acts for an account's root.
    Str role, service;
    Str source_arn; // of a service that acts for itself: what for (aws:SourceArn); may be absent
    const struct http_exchange *exchange; // how it came; NULL in tests
    Str request_id;
    int64_t now_ns;     // wall clock at arrival
    void *user;         // the operation's own, while it waits
    size_t reply_bytes; // about how long the output will be, if the operation knows that it is long

    const struct protocol *protocol;  // in which it is answered
    const struct call_stream *stream; // how an event stream goes out

    // Whoever made the call reads these; operations use the functions below.
    const struct api_error *error; // what call_fail recorded; NULL: nothing
    Str error_text;                // in the call's arena
    void (*done)(struct call *c, Err e);
    bool (*gone)(const struct call *c);      // NULL: the caller never goes
    Err (*work)(struct call *c, void *self); // what call_on_pool recorded
    void *work_self;
    struct call_pair *details, *headers; // what call_detail and call_header recorded
    unsigned status;                     // of a reply that is no error, if not the usual one
    struct call_body *body;              // NULL: the protocol has no bodies beside documents
    struct call_sink *sink;              // what call_take_body recorded
    struct call_source *source;          // what call_reply_source recorded
};

// Who runs a call in place of the operation's own function: where what it is about is not here, and
// asking takes as long as others take. On a pool of its own, so that nobody else waits.
struct call_elsewhere {
    Err (*run)(struct call *c, const void *in, void *out);
    struct pool *pool; // also for bodies and payloads; NULL: the service's
};

// What the calls of a service are about, for the front to ask whether they are permitted. Input is
// complete; memory only.
struct call_targets {
    // The account that the input names, or the caller's (c->account). Cheap: asked for every call.
    Str (*account)(struct call *c, const void *in);
    // Everything; `ret` is zeroed, and its account is what the function above said. What is left
    // alone stays: the action "service:Operation", the resource "*".
    void (*target)(struct call *c, const void *in, AccessTarget *ret);
    // Whether the resource has a policy that may refuse its owner's root, who is not asked about
    // otherwise. Cheap; NULL: none has.
    bool (*binds_root)(struct call *c, const void *in);
};

// Adds what the input says of tags to a target's context: aws:RequestTag/KEY for each of its member
// Tags (a map, or a list of Key or TagKey with Value or TagValue), and aws:TagKeys of these or of
// its member TagKeys. Values are borrowed from the input. The front does it for every call.
void call_add_tags(struct call *c, const void *in, AccessTarget *t);

// Records the AWS error that the caller gets. Returns the Err to return: ERR_FAULT. The first one
// wins.
Err call_fail(struct call *c, const struct api_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// An error that is in no service's model but every service has: ValidationException (400),
// AccessDeniedException (400), InternalFailure (500), ThrottlingException (400),
// UnrecognizedClientException (400; a key that is none), ServiceUnavailable (503).
extern const struct api_error aws_ValidationException, aws_AccessDeniedException,
    aws_InternalFailure, aws_ThrottlingException, aws_SerializationException,
    aws_UnrecognizedClientException, aws_ServiceUnavailable;

// `return call_wait(c);` - the answer comes later, by call_done, from any thread, exactly once,
// even before this returns. Input, output and arena stay valid until then. No thread is held. On
// the call's own loop call_done makes the reply before it returns.
Err call_wait(struct call *c);
void call_done(struct call *c, Err e); // OK: the output is complete. ERR_FAULT: after call_fail.

// Whether nobody takes the answer any more, or the server is about to end: a call that waits for
// something to happen is answered at once. From any thread, until call_done.
bool call_is_gone(const struct call *c);

// `return call_on_pool(c, work, self);` - the rest of the operation may block: `work` runs once on
// the worker pool, and what it returns is what the operation returns. It need not run at all (the
// client has gone, the pool is full), so `self` lies in the call's arena and holds nothing.
Err call_on_pool(struct call *c, Err (*work)(struct call *c, void *self), void *self);

// The same with the whole operation, which the reactor began and could not end without waiting.
Err call_again_on_pool(struct call *c, const void *in, void *out);

// ---- Event streams: operations with `events` in their .api line
//
// Such an operation fails like any other, or returns call_wait and answers by c->stream: `start`
// once, then messages, at last call_done. There OK ends the stream; an error ends it with a message
// that says so. From one thread at a time; nothing of the call may be touched after call_done.

// One message in its final bytes: the member of `events` (struct service_Op_events) that is set.
// Made once, it may be sent to every call of the operation with the same protocol. `bytes` is a
// guess at its size, for which there is room from the beginning; 0: none. ERR_MEMORY, ERR_LIMIT:
// larger than SDKs take.
struct event_frame;
Err event_frame_open(const struct call *c, const void *events, size_t bytes,
                     struct event_frame **ret);
struct event_frame *event_frame_ref(struct event_frame *f);
void event_frame_unref(struct event_frame *f); // NULL is fine
Str event_frame_bytes(const struct event_frame *f);

struct call_stream {
    // Status 200 and the first message. From now until call_done `tell` is called on the call's
    // loop when all that was sent has left for the client, and when the stream is over; it may only
    // take note, as by posting a task.
    void (*start)(struct call *c, void (*tell)(void *self), void *self);
    void (*send)(struct call *c, struct event_frame *f); // takes a reference of its own
    size_t (*unsent)(const struct call *c);              // bytes that the client has not taken yet
    bool (*is_over)(
        const struct call *c); // the client has gone or the server stops: call_done soon
    bool (*is_crowded)(const struct call *c); // replies hold too much memory: send little
};

// `return call_take_body(c, sink);` - the rest of the operation happens as the body comes. Only of
// operations that are marked `streams` and `blocking`. The sink lies in the call's arena, which
// stays as it is until it has ended.
Err call_take_body(struct call *c, struct call_sink *sink);

// The reply's payload comes from there, whatever the output's payload member says. The source is
// the front's from here on, and closed when the payload has been sent, or cannot be.
void call_reply_source(struct call *c, struct call_source *source);

// Elements of the error's body, and headers of the reply whatever it is. Names are literals, values
// live in the call's arena.
void call_detail(struct call *c, Str name, Str value);
void call_header(struct call *c, Str name, Str value);

// ERR_MEMORY is answered with ServiceUnavailable and status 503, which SDKs try again. Any other
// Err but ERR_FAULT that an operation returns is our fault: it is logged with its cause and
// answered with status 500 and InternalFailure, or the operation's own internal error if its model
// has one.
