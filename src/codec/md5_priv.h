// SPDX-License-Identifier: Apache-2.0
// The forms of MD5: one message in C, and several short ones at once in the lanes of vectors. The
// scalar form is complete and the oracle of the others.
#pragma once
#include "codec/hash.h"
#include "codec/kernel.h"

enum {
    MD5_BLOCK_BYTES = 64,
    MD5_SHORT_BYTES_MAX = 55, // with its end and its length it is one block
    MD5_LANES_MAX = 16,
};

struct md5_kernel {
    struct kernel kernel;
    size_t lanes;                                                // 1: one after the other
    void (*run)(const Str *messages, unsigned char *const *out); // `lanes` short ones; NULL if 1
};

#if defined(__x86_64__)
extern const struct md5_kernel md5_avx512, md5_avx2, md5_sse2;
#elif defined(__aarch64__)
extern const struct md5_kernel md5_neon;
#endif
extern struct kernel_choice md5_choice;

extern const uint32_t md5_sines[64]; // the constants that are added
extern const uint8_t md5_turns[16];  // how far is rotated: four for each of the four functions

void md5_scalar(const void *p, size_t n, unsigned char out[MD5_BYTES]);

// One message's only block, with its end and its length: what each lane takes.
void md5_short_block(Str message, uint32_t block[MD5_BLOCK_BYTES / 4]);
