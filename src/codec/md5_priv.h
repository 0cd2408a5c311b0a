// SPDX-License-Identifier: Apache-2.0
// The forms of MD5: one message in C, and eight short ones at once with AVX2. The scalar form is
// complete and the oracle of the other.
#pragma once
#include "codec/hash.h"

enum {
    MD5_BLOCK_BYTES = 64,
    MD5_SHORT_BYTES_MAX = 55, // with its end and its length it is one block
    MD5_LANES = 8,
};

extern const uint32_t md5_sines[64]; // the constants that are added
extern const uint8_t md5_turns[16];  // how far is rotated: four for each of the four functions

void md5_scalar(const void *p, size_t n, unsigned char out[MD5_BYTES]);

// One message's only block, with its end and its length: what each lane takes.
void md5_short_block(Str message, uint32_t block[MD5_BLOCK_BYTES / 4]);

#ifdef __x86_64__
bool md5_has_avx2(void);
void md5_avx2(const Str messages[MD5_LANES], unsigned char *const out[MD5_LANES]); // short ones
#endif
