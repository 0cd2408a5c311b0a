// SPDX-License-Identifier: Apache-2.0
// Bodies in the content encoding aws-chunked: chunks with their length and, if they are signed, the
// signature of each; trailers behind the last one.
//
//     4000;chunk-signature=0055...\r\n <16,384 bytes> \r\n
//     0;chunk-signature=b6c6...\r\n
//     x-amz-checksum-crc32c:sOO8/Q==\r\n
//     x-amz-trailer-signature:63bd...\r\n
//     \r\n
//
// A filter: bytes go in as they come, the object's bytes come out without being copied. A chunk's
// signature is checked at its end, so what has come out counts only when the end was reached.
//
// Source: Amazon S3 API Reference, "Signature calculations for the authorization header:
// transferring payload in multiple chunks" and "...: including trailing headers".
#pragma once
#include "aws/sigv4.h"

enum {
    CHUNK_LINE_BYTES_MAX = 1024, // a chunk's head
    CHUNK_TRAILERS_BYTES_MAX = 8192,
    CHUNK_TRAILERS_MAX = 16,
};

typedef enum ChunkedState {
    CHUNKED_HEAD,
    CHUNKED_DATA,
    CHUNKED_DATA_END,
    CHUNKED_TRAILERS,
    CHUNKED_DONE,
} ChunkedState;

struct chunked {
    struct arena *a; // of trailers
    const Sigv4Payload *payload;
    ChunkedState state;
    uint64_t left; // of the chunk
    char line[CHUNK_LINE_BYTES_MAX];
    size_t line_bytes;
    char previous[SIGV4_SIGNATURE_HEX]; // signature
    char stated[SIGV4_SIGNATURE_HEX];   // of this chunk
    struct sha256 sha256;               // of this chunk
    bool last;                          // this chunk is it
    HttpHeader trailers[CHUNK_TRAILERS_MAX];
    size_t trailer_count, trailer_bytes;
    Str trailer_signature;
    bool mismatch; // why it was refused: a signature
};

// `payload` says whether chunks and trailers are signed, and outlives the filter.
void chunked_init(struct chunked *k, struct arena *a, const Sigv4Payload *payload);

// Takes some of `in` and gives the next bytes of the object that are in it, borrowed, or none. To
// be called until all is taken. ERR_INVALID: not this encoding; ERR_DENIED: a signature is wrong.
Err chunked_next(struct chunked *k, Str in, size_t *ret_taken, Str *ret_piece);

bool chunked_is_done(const struct chunked *k);          // nothing more may come
Str chunked_trailer(const struct chunked *k, Str name); // in lower case; absent if there is none
