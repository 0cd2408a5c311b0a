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

void buf_add_base64(struct buf *b, Str bytes);
const char *base64_kind(void); // the form that is used: "avx2", "neon", "scalar"
