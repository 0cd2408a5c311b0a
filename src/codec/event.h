// SPDX-License-Identifier: Apache-2.0
// Documents as a stream of events: the common face of the JSON and CBOR readers and writers.
//
// A reader gives one event after another without building a tree. Text borrows from the input where
// it can; what must be unescaped or joined is made in the reader's arena. Depth is bounded by
// EVENT_DEPTH_MAX. After an error or EVENT_END a reader gives nothing more (ERR_CLOSED).
#pragma once
#include "base/buf.h"

enum {
    EVENT_DEPTH_MAX = 64,        // open maps and lists while reading
    EVENT_WRITE_DEPTH_MAX = 128, // while writing: a document of full depth fits into an envelope
};

typedef enum EventKind {
    EVENT_NULL,
    EVENT_BOOL,   // number: 0 or 1
    EVENT_INT,    // number
    EVENT_DOUBLE, // real; a JSON number with a fraction or exponent, or too large for 64 bits. JSON
                  // numbers beyond the range of double become DBL_MAX: they are never infinite
    EVENT_TEXT,   // text, UTF-8
    EVENT_BYTES,  // text; CBOR byte strings only
    EVENT_TIME,   // number: milliseconds since 1970, which fit int64_t as nanoseconds; CBOR tag 1
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
    Err (*next)(struct event_reader *r, Event *ret); // ERR_INVALID, ERR_LIMIT: too deep; ERR_MEMORY
    Str input;
    size_t at; // the place reached; after an error the place of what is wrong
    struct arena *arena;
    unsigned depth;
    unsigned char state;                  // the reader's: what may come next
    unsigned char stack[EVENT_DEPTH_MAX]; // the reader's: what is open
    uint64_t left[EVENT_DEPTH_MAX];       // the reader's: items to come in definite CBOR items
    bool ended;
    bool seconds; // the reader's: CBOR's times are in seconds
};

// Skips the value that the next event begins, whatever it holds. A value must be due: after a key,
// or at the beginning.
Err event_skip(struct event_reader *r);
// Skips the rest of the value whose first event was `first`.
Err event_skip_rest(struct event_reader *r, const Event *first);

struct event_writer {
    const struct event_writer_ops *ops;
    struct buf *out;
    unsigned depth;
    bool first[EVENT_WRITE_DEPTH_MAX + 1]; // at this depth nothing has been written yet, or a key
};

// The order of calls is the caller's promise: values in maps follow a key, every map and list ends,
// text is UTF-8, and no more than EVENT_WRITE_DEPTH_MAX are open. Room is taken in `out`, whose
// overflow shows at its end (buf_err).
struct event_writer_ops {
    void (*map)(struct event_writer *w);
    void (*map_end)(struct event_writer *w);
    void (*list)(struct event_writer *w);
    void (*list_end)(struct event_writer *w);
    void (*key)(struct event_writer *w, Str name);
    void (*null)(struct event_writer *w);
    void (*boolean)(struct event_writer *w, bool value);
    void (*integer)(struct event_writer *w, int64_t value);
    void (*real)(struct event_writer *w, double value); // JSON: infinities and NaN become strings
    void (*text)(struct event_writer *w, Str utf8);
    void (*bytes)(struct event_writer *w, Str bytes); // JSON: base64
    void (*time)(struct event_writer *w, int64_t ns); // JSON: seconds, ms decimals; CBOR: tag 1, ms
};

// Writes every event that is left in the document: JSON to CBOR, CBOR to JSON, or either to itself
// in its compact form. On an error what was written so far is incomplete.
Err event_copy(struct event_reader *r, struct event_writer *w);
