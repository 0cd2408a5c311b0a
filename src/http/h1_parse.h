// SPDX-License-Identifier: Apache-2.0
// The grammar of HTTP/1.1 messages (RFC 9112) as functions over a range of bytes. They keep no
// state: called again with more bytes they start over, and they answer the same for the same bytes.
// What a prefix is refused for, the whole would be refused for with the same status.
//
// Strict where smuggling lives: lines end in CR LF, a bare CR or LF is refused, so are folded
// headers, space before a colon, Content-Length together with Transfer-Encoding, two lengths, and
// any transfer coding but chunked.
#pragma once
#include "http/server.h"

enum {
    H1_METHOD_BYTES_MAX = 32,
    H1_TARGET_BYTES_MAX = 32768,    // above: 414; pre-signed URLs with session tokens need 4 KiB
    H1_HEADERS_MAX = 1024,          // the most that HttpLimits.header_count_max may allow
    H1_CHUNK_LINE_BYTES_MAX = 1024, // a chunk's size and extensions
    H1_EXTENSION_BYTES_MAX = 16384, // of one body's chunk extensions together
    H1_TRAILER_BYTES_MAX = 8192,    // of one body's trailers together
};

typedef enum H1Result {
    H1_DONE,
    H1_MORE, // correct so far, but not complete
    H1_BAD,
} H1Result;

typedef struct H1Limits {
    size_t header_bytes_max;
    size_t header_count_max;
} H1Limits;

// All strings point into the bytes that were parsed; names are in the client's spelling.
typedef struct H1Head {
    size_t bytes;    // of the whole head, with the empty line
    unsigned status; // of H1_BAD: 400, 414 or 431
    Str method;
    Str path;         // "/" if the target has none; "*" for OPTIONS *
    Str query;        // absent if there is none
    Str authority;    // of a target in absolute form; else absent
    unsigned version; // 10 or 11
    HttpHeader *headers;
    size_t header_count;
    bool keep_alive;
    bool expects_continue;
    bool chunked;
    bool has_length;
    uint64_t length; // Content-Length
    size_t hosts;    // Host headers
} H1Head;

// One request's line and headers. `headers` has room for limits->header_count_max. One empty line
// before the request is skipped.
H1Result h1_parse_head(Str in, const H1Limits *limits, HttpHeader *headers, H1Head *ret);

// "1a3;name=value CR LF". ret_extension_bytes: what followed the size.
H1Result h1_parse_chunk(Str in, size_t *ret_used, uint64_t *ret_bytes, size_t *ret_extension_bytes);

// One line after the last chunk: a trailer, or the empty line that ends the message.
H1Result h1_parse_trailer(Str in, size_t *ret_used, bool *ret_last);

// A reply's status line and headers, for the client. ret->status is the status here; keep_alive,
// chunked and length are set as for requests.
H1Result h1_parse_reply_head(Str in, const H1Limits *limits, HttpHeader *headers, H1Head *ret);
