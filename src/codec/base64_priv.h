// SPDX-License-Identifier: Apache-2.0
// The forms of base64. Each works through as many whole groups as it can in full vectors, and says
// how many input bytes it took (a multiple of 3 or 4); what is written in plain C does the rest. A
// decoder stops before a vector that holds a character outside the alphabet, '=' included.
#pragma once
#include "codec/base64.h"
#include "codec/kernel.h"

struct base64_kernel {
    struct kernel kernel;
    size_t (*encode)(char *out, const void *in, size_t n);
    size_t (*decode)(void *out, const char *in, size_t n); // `out` may be `in`
    // Of a text that ends somewhere in in[0 .. n): decodes whole groups of four until one holds a
    // character outside the alphabet or too few are left. `out` as base64_decode_quoted has it.
    size_t (*decode_run)(void *out, const char *in, size_t n);
    // How many characters from the first on are in the alphabet, as far as full vectors tell:
    // there may be more.
    size_t (*check_run)(const char *in, size_t n);
    // Of whole groups without a character outside the alphabet: writes no byte that does not count.
    // `out` is not `in`.
    size_t (*decode_good)(void *out, const char *in, size_t n);
};

#if defined(__x86_64__)
extern const struct base64_kernel base64_avx512, base64_avx2, base64_sse41;
#elif defined(__aarch64__)
extern const struct base64_kernel base64_neon;
#endif
extern const struct base64_kernel base64_scalar; // takes nothing
extern struct kernel_choice base64_choice;

void base64_encode_scalar(char *out, const void *in, size_t n);
Base64Result base64_decode_scalar(void *out, const char *in, size_t n);
bool base64_decode_quoted_scalar(void *out, const char *in, size_t n, size_t *ret_bytes,
                                 size_t *ret_characters);
