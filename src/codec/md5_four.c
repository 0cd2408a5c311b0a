// SPDX-License-Identifier: Apache-2.0
// Four messages at once in vectors of 128 bits, which every x86-64 (SSE2) and every ARMv8 (NEON)
// has: written in the compiler's own vectors, the same source for both. As md5_avx2.c, step for
// step.
#include "codec/md5_priv.h"

#if defined(__x86_64__) || defined(__aarch64__)
#include <string.h>

#define INLINE __attribute__((always_inline)) static inline

enum { FOUR = 4 };
typedef uint32_t Words __attribute__((vector_size(16)));

INLINE Words all(uint32_t x)
{
    return (Words){ x, x, x, x };
}

// Four rows of four words become four columns.
INLINE void transpose(Words r[FOUR])
{
    Words low01 = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
    Words high01 = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
    Words low23 = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
    Words high23 = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
    r[0] = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);
    r[1] = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
    r[2] = __builtin_shufflevector(high01, high23, 0, 1, 4, 5);
    r[3] = __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
}

INLINE void step(Words s[FOUR], const Words *words, int i)
{
    Words b = s[1], c = s[2], d = s[3], f;
    int word;
    if (i < 16) {
        f = d ^ (b & (c ^ d));
        word = i;
    } else if (i < 32) {
        f = c ^ (d & (b ^ c));
        word = (5 * i + 1) & 15;
    } else if (i < 48) {
        f = b ^ c ^ d;
        word = (3 * i + 5) & 15;
    } else {
        f = c ^ (b | ~d);
        word = (7 * i) & 15;
    }
    int by = md5_turns[i / 16 * 4 + i % 4];
    Words sum = s[0] + f + all(md5_sines[i]) + words[word];
    s[0] = d;
    s[3] = c;
    s[2] = b;
    s[1] = b + (sum << by | sum >> (32 - by));
}

// The words of the four blocks, word by word.
INLINE void words_load(Words words[16], const Str *messages)
{
    uint32_t block[FOUR][MD5_BLOCK_BYTES / 4];
    for (int i = 0; i < FOUR; i++)
        md5_short_block(messages[i], block[i]);
    for (int part = 0; part < 16; part += FOUR) {
        for (int i = 0; i < FOUR; i++)
            memcpy(&words[part + i], &block[i][part], sizeof *words);
        transpose(words + part);
    }
}

static void four(const Str *messages, unsigned char *const *out)
{
    const Words start[FOUR] = { all(0x67452301), all(0xefcdab89), all(0x98badcfe),
                                all(0x10325476) };
    Words words[16], s[FOUR];
    words_load(words, messages);
    for (int i = 0; i < FOUR; i++)
        s[i] = start[i];
#pragma GCC unroll 64
    for (int i = 0; i < 64; i++)
        step(s, words, i);
    for (int i = 0; i < FOUR; i++)
        s[i] += start[i];
    transpose(s);
    for (int i = 0; i < FOUR; i++)
        memcpy(out[i], &s[i], MD5_BYTES);
}

#if defined(__x86_64__)
const struct md5_kernel md5_sse2 = { { "sse2", processor_always }, FOUR, four };
#else
const struct md5_kernel md5_neon = { { "neon", processor_always }, FOUR, four };
#endif
#endif
