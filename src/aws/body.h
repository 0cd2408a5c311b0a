// SPDX-License-Identifier: Apache-2.0
// The body of a REST request on its way to whoever takes it: out of its encoding (aws-chunked), and
// held against everything that its sender has said of it: length, SHA-256, signatures of chunks,
// Content-MD5, x-amz-checksum-* in the head or behind the body.
//
// Source: Amazon S3 API Reference, "Checking object integrity", "Error responses".
#pragma once
#include "aws/call.h"
#include "aws/chunked.h"
#include "codec/checksum.h"

struct call_body {
    Sigv4Payload payload;
    bool in_chunks;
    struct chunked chunked;
    uint64_t stated_bytes;                 // of the object; UINT64_MAX: not said
    uint64_t bytes;                        // so far
    struct checksum *sums[CHECKSUM_KINDS]; // that are made as bytes pass
    unsigned char results[CHECKSUM_KINDS][CHECKSUM_BYTES_MAX];
    bool made[CHECKSUM_KINDS];
    bool has_md5;
    unsigned char md5[16]; // Content-MD5
    bool has_stated;       // a checksum, in the head or as a trailer
    bool in_trailer;
    ChecksumKind stated;
    unsigned char value[CHECKSUM_BYTES_MAX];
};

// Reads what the head says and gives the call its body. ERR_FAULT: it makes no sense; recorded in
// the call.
Err body_open(struct call *c, const struct http_exchange *x, const Sigv4Payload *payload);
void body_close(struct call_body *b); // frees; NULL is fine
// A piece as it came. ERR_FAULT, or the sink's error.
Err body_push(struct call *c, Str raw, struct call_sink *sink);
// No more comes: is it what it should be?
Err body_end(struct call *c);

// ---- For operations that take their body

// A checksum that is to be made besides those that the sender asks for. Before the first piece.
void body_want(struct call *c, ChecksumKind kind);
// The result, once the body is complete; NULL: not made.
const unsigned char *body_checksum(const struct call *c, ChecksumKind kind);
// The kind of checksum that the sender has chosen; false: none.
bool body_chosen(const struct call *c, ChecksumKind *ret);

Str checksum_name(ChecksumKind kind);   // "CRC32"
Str checksum_header(ChecksumKind kind); // "x-amz-checksum-crc32"; of MD5: absent
