// SPDX-License-Identifier: Apache-2.0
// Base64 (RFC 4648, standard alphabet, padded). In vectors where the processor has them, chosen at
// run time (base64_priv.h); the scalar form is the oracle in the tests.
#pragma once
#include "base/buf.h"

// Bytes that decoding n characters may write at most.
static inline size_t base64_decoded_max(size_t n)
{
    return n / 4 * 3 + 3;
}
static inline size_t base64_encoded_bytes(size_t n)
{
    return (n + 2) / 3 * 4;
}

void base64_encode(char *out, const void *in, size_t n); // writes base64_encoded_bytes(n)

typedef enum Base64Fault {
    BASE64_GOOD,
    BASE64_LENGTH,    // not a multiple of four
    BASE64_CHARACTER, // outside the alphabet, or '=' before the end
    BASE64_LAST,      // unused bits of the last character are not zero
} Base64Fault;
typedef struct Base64Result {
    size_t n; // bytes written
    Base64Fault fault;
    size_t fault_at; // of BASE64_CHARACTER and BASE64_LAST: the place of the character
} Base64Result;
// `out` holds base64_decoded_max(n) and may be `in` itself.
Base64Result base64_decode(void *out, const char *in, size_t n);

// Decodes what stands before the first quote in in[0 .. n), in one pass that finds the quote too.
// False: there is none, or what stands before it is not good. `out` holds base64_quoted_max(n).
static inline size_t base64_quoted_max(size_t n)
{
    enum { LAST_VECTOR_BYTES = 32 };
    return base64_decoded_max(n) + LAST_VECTOR_BYTES;
}
bool base64_decode_quoted(void *out, const char *in, size_t n, size_t *ret_bytes,
                          size_t *ret_characters);

// What stands before the first quote in in[0 .. n) is good: in one pass, which keeps nothing of it.
// False as base64_decode_quoted has it.
bool base64_check_quoted(const char *in, size_t n, size_t *ret_bytes, size_t *ret_characters);
// Decodes what has been found good, base64_encoded_bytes(bytes) characters: writes `bytes` bytes
// and none more. `out` is not `in`.
void base64_decode_good(void *out, const char *in, size_t bytes);

void buf_add_base64(struct buf *b, Str bytes);
const char *base64_kind(void); // the form that is used: "avx2", "neon", "scalar"

// Bytes, or the base64 that they came in, which whoever wants them decodes to where he wants them.
// Begins like a Str, so that who asks only how many bytes there are need not know which it is.
typedef struct Blob {
    const char *p;  // the bytes; or their text, base64_encoded_bytes(n) characters, found good
    size_t n;       // of the bytes, in either case
    bool is_base64; // p is the text
} Blob;

static inline Blob blob_of(Str bytes)
{
    return (Blob){ .p = bytes.p, .n = bytes.n };
}
void blob_copy(void *out, Blob b);       // writes its n bytes and none more; `out` is not b.p
Str blob_bytes(struct arena *a, Blob b); // where they are, or in the arena

// What is behind the first n bytes, a multiple of three if there are more.
static inline Blob blob_skip(Blob b, size_t n)
{
    n = MIN(n, b.n);
    return (Blob){ b.p + (b.is_base64 ? base64_encoded_bytes(n) : n), b.n - n, b.is_base64 };
}
