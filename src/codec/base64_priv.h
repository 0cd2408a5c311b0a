// SPDX-License-Identifier: Apache-2.0
// The vector forms of base64. Each works through as many whole groups as it can in full vectors,
// and says how many input bytes it took (a multiple of 3 or 4); the scalar form does the rest. A
// decoder stops before a vector that holds a character outside the alphabet, '=' included.
#pragma once
#include "codec/base64.h"

size_t base64_encode_scalar(char *out, const void *in, size_t n); // all of it; returns n
Base64Result base64_decode_scalar(void *out, const char *in, size_t n);

#ifdef __x86_64__
size_t base64_encode_avx2(char *out, const void *in, size_t n);
size_t base64_decode_avx2(void *out, const char *in, size_t n);
#endif
