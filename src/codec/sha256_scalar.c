// SPDX-License-Identifier: Apache-2.0
// FIPS 180-4, 6.2.2, as it is written.
#include "codec/sha256_priv.h"

#include <endian.h>
#include <string.h>

const uint32_t sha256_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t turned(uint32_t x, unsigned by)
{
    return x >> by | x << (32 - by);
}

static void schedule(uint32_t w[64], const unsigned char *p)
{
    memcpy(w, p, SHA256_BLOCK_BYTES);
    for (int i = 0; i < 16; i++)
        w[i] = be32toh(w[i]);
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + w[i - 7] +
               (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
    }
}

static void scalar_one(uint32_t words[SHA256_WORDS], const unsigned char *p, size_t blocks)
{
    for (; blocks > 0; blocks--, p += SHA256_BLOCK_BYTES) {
        uint32_t w[64], s[SHA256_WORDS]; // s: a to h
        schedule(w, p);
        memcpy(s, words, sizeof s);
        for (int i = 0; i < 64; i++) {
            uint32_t a = s[0], e = s[4];
            uint32_t choice = (e & s[5]) ^ (~e & s[6]);
            uint32_t majority = (a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]);
            uint32_t t = s[7] + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + choice +
                         sha256_constants[i] + w[i];
            memmove(s + 1, s, sizeof s - sizeof *s);
            s[4] += t;
            s[0] = t + (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + majority;
        }
        for (int i = 0; i < SHA256_WORDS; i++)
            words[i] += s[i];
    }
}

static void scalar_two(uint32_t v[SHA256_WORDS], const unsigned char *p, uint32_t w[SHA256_WORDS],
                       const unsigned char *q, size_t blocks)
{
    scalar_one(v, p, blocks);
    scalar_one(w, q, blocks);
}

const struct sha256_kernel sha256_scalar = { { "scalar", processor_always },
                                             scalar_one,
                                             scalar_two };
