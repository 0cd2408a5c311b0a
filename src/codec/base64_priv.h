// SPDX-License-Identifier: Apache-2.0
// The vector forms of base64. Each works through as many whole groups as it can in full vectors,
// and says how many input bytes it took (a multiple of 3 or 4); the scalar form does the rest. A
// decoder stops before a vector that holds a character outside the alphabet, '=' included.
#pragma once
#include "codec/base64.h"

size_t base64_encode_scalar(char *out, const void *in, size_t n); // all of it; returns n
Base64Result base64_decode_scalar(void *out, const char *in, size_t n);
bool base64_decode_quoted_scalar(void *out, const char *in, size_t n, size_t *ret_bytes,
                                 size_t *ret_characters);

#ifdef __x86_64__
size_t base64_encode_avx2(char *out, const void *in, size_t n);
size_t base64_decode_avx2(void *out, const char *in, size_t n);

// Of a text that ends somewhere in in[0 .. n): decodes whole groups of four until one holds a
// character outside the alphabet or fewer than 32 are left. `out` as base64_decode_quoted has it.
size_t base64_decode_run_avx2(void *out, const char *in, size_t n);
#endif
