// SPDX-License-Identifier: Apache-2.0
// Messages of application/vnd.amazon.eventstream, in which AWS frames streamed replies. Numbers are
// big-endian, checksums CRC-32 as in zlib.
//
//     u32 bytes of the message     u32 bytes of its headers     u32 checksum of these eight bytes
//     headers: { u8 bytes, name, u8 type, value }*              a string (7): u16 bytes, text
//     payload
//     u32 checksum of all that stands before it
#pragma once
#include "base/buf.h"

enum {
    EVENTSTREAM_PRELUDE_BYTES = 12,
    EVENTSTREAM_FRAMING_BYTES = 16,            // a message without headers and payload
    EVENTSTREAM_MESSAGE_BYTES_MAX = 24 << 20,  // what SDKs take, and we read
    EVENTSTREAM_HEADERS_BYTES_MAX = 128 << 10, // of one message
    EVENTSTREAM_NAME_BYTES_MAX = 255,
    EVENTSTREAM_VALUE_BYTES_MAX = 32767,
};

typedef enum EventHeaderType {
    EVENT_HEADER_TRUE,
    EVENT_HEADER_FALSE,
    EVENT_HEADER_BYTE,
    EVENT_HEADER_SHORT,
    EVENT_HEADER_INT,
    EVENT_HEADER_LONG,
    EVENT_HEADER_BYTES,
    EVENT_HEADER_STRING,
    EVENT_HEADER_TIME, // milliseconds since 1970
    EVENT_HEADER_UUID,
} EventHeaderType;

typedef struct EventHeader {
    Str name;
    Str value; // of a string or bytes the content, of others their bytes on the wire
    EventHeaderType type;
} EventHeader;

// Begins a message with string headers at the buffer's end; its payload is what is added before
// eventstream_end, to which the place that is returned is given. Names and values fit the maxima.
size_t eventstream_begin(struct buf *b, const EventHeader *headers, size_t n);
void eventstream_end(struct buf *b, size_t place); // nothing if the buffer has overflown

typedef struct EventMessage {
    Str headers, payload; // borrowed
    size_t bytes;         // of the whole message
} EventMessage;

// The message that `in` begins with, checked. ERR_BUSY: it is not complete. ERR_INVALID: a length
// or checksum is wrong; nothing behind it can be read.
Err eventstream_read(Str in, EventMessage *ret);

// Takes the first of the headers; false: there is none. ERR_INVALID: malformed.
Err eventstream_header(Str *headers, EventHeader *ret, bool *ret_any);

// The value of a message's string header; absent if there is none, or they are malformed.
Str eventstream_text(const EventMessage *m, Str name);
