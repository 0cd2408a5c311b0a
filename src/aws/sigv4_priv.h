// SPDX-License-Identifier: Apache-2.0
// What signing and verifying share: the canonical form of a request and the chain of keys.
#pragma once
#include "aws/sigv4.h"
#include "codec/hash.h"

enum { SIGNATURE_HEX = 2 * SHA256_BYTES, DATE_CHARS = 8 };

// Everything that a signature covers.
typedef struct Canonical {
    Str method, path, query;   // query: without the question mark; may be absent
    bool encode_once;          // s3: the path is encoded as it was sent, not once more
    bool drop_signature;       // X-Amz-Signature is no part of what it signs
    const HttpHeader *headers; // names in lower case
    size_t header_count;
    Str signed_headers; // "host;x-amz-date"
    Str payload_hash;   // hexadecimal, or UNSIGNED-PAYLOAD
} Canonical;

typedef struct Scope {
    Str date, region, service;
} Scope;

// Adds the canonical request. ERR_NOT_FOUND: a signed header is not there. ERR_LIMIT: more signed
// headers or parameters than are allowed.
Err sigv4_canonical(struct buf *out, const Canonical *c, struct arena *tmp);

// What is signed with the key: the hash of the canonical request in its scope.
void sigv4_string_to_sign(struct buf *out, Str time, const Scope *scope, Str canonical);

void sigv4_signing_key(Str secret, const Scope *scope, unsigned char key[SHA256_BYTES]);

// A parameter of a query string, decoded; absent if there is none.
Str sigv4_parameter(struct arena *a, Str query, Str name);
