// SPDX-License-Identifier: Apache-2.0
// The other side of chunked.h: a body in chunks that are each signed, so that whoever takes it can
// hold all of it against the signatures before it keeps anything. Of a body whose length is known.
//
// Source: Amazon S3 API Reference, "Signature calculations for the authorization header:
// transferring payload in multiple chunks" and "...: including trailing headers".
#pragma once
#include "aws/sigv4.h"

enum { CHUNK_OUT_BYTES = 64 << 10 }; // of all but the last; AWS takes no less than 8 KiB

struct chunked_out {
    Sigv4Payload payload;               // as sigv4_sign gave it
    char previous[SIGV4_SIGNATURE_HEX]; // signature
};

// How long so many bytes are in this encoding. Absent trailer name: there is none.
uint64_t chunked_out_bytes(uint64_t bytes, Str trailer, size_t trailer_value_bytes);
void chunked_out_init(struct chunked_out *k, const Sigv4Payload *payload);
// Adds a chunk of 1 to CHUNK_OUT_BYTES bytes.
void chunked_out_add(struct chunked_out *k, Str chunk, struct buf *out);
// Adds the end, with the trailer if there is one.
void chunked_out_end(struct chunked_out *k, Str trailer, Str value, struct buf *out);
