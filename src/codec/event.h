// SPDX-License-Identifier: Apache-2.0
// Documents as a stream of events: the common face of the JSON and CBOR readers and writers.
//
// A reader gives one event after another without building a tree. Text borrows from the input where
// it can; what must be unescaped or joined is made in the reader's arena. Depth is bounded by
// EVENT_DEPTH_MAX. After an error or EVENT_END a reader gives nothing more.
#pragma once
#include "base/buf.h"

enum { EVENT_DEPTH_MAX = 64 };

typedef enum EventKind {
    EVENT_NULL,
    EVENT_BOOL,   // number: 0 or 1
    EVENT_INT,    // number
    EVENT_DOUBLE, // real; a JSON number with a fraction or exponent, or too large for 64 bits
    EVENT_TEXT,   // text, UTF-8
    EVENT_BYTES,  // text; CBOR byte strings only
    EVENT_TIME,   // number: milliseconds since 1970; CBOR tag 1 only
    EVENT_MAP,    // a map begins; keys follow as EVENT_KEY, each before its value
    EVENT_MAP_END,
    EVENT_LIST,
    EVENT_LIST_END,
    EVENT_KEY, // text
    EVENT_END, // the document is complete and nothing follows it
} EventKind;

typedef struct Event {
    EventKind kind;
    Str text; // also the digits of a JSON number, as written
    int64_t number;
    double real;
} Event;

struct event_reader {
    Err (*next)(struct event_reader *r, Event *ret); // ERR_INVALID: malformed; ERR_LIMIT: too deep
    Str input;
    size_t at; // the place reached, for error messages
    struct arena *arena;
    unsigned depth;
    unsigned char stack[EVENT_DEPTH_MAX]; // the reader's: what is open
    uint64_t left[EVENT_DEPTH_MAX];       // the reader's: items to come in definite CBOR items
    bool ended;
};

// Skips the value that the next event begins, whatever it holds.
Err event_skip(struct event_reader *r);
// Skips the rest of the value whose first event was `first`.
Err event_skip_rest(struct event_reader *r, const Event *first);

struct event_writer {
    const struct event_writer_ops *ops;
    struct buf *out;
    unsigned depth;
    bool first[EVENT_DEPTH_MAX]; // nothing has been written at this depth yet
};

// The order of calls is the caller's promise: values in maps follow a key. Room is taken in `out`,
// whose overflow shows at its end (buf_err).
struct event_writer_ops {
    void (*map)(struct event_writer *w);
    void (*map_end)(struct event_writer *w);
    void (*list)(struct event_writer *w);
    void (*list_end)(struct event_writer *w);
    void (*key)(struct event_writer *w, Str name);
    void (*null)(struct event_writer *w);
    void (*boolean)(struct event_writer *w, bool value);
    void (*integer)(struct event_writer *w, int64_t value);
    void (*real)(struct event_writer *w, double value);
    void (*text)(struct event_writer *w, Str utf8);
    void (*bytes)(struct event_writer *w, Str bytes); // JSON: base64
    void (*time)(struct event_writer *w, int64_t ns); // JSON: seconds, ms decimals; CBOR: tag 1, ms
};
