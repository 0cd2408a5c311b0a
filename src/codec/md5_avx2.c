// SPDX-License-Identifier: Apache-2.0
#include "codec/md5_priv.h"

#ifdef __x86_64__
#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE AVX2 __attribute__((always_inline)) static inline

enum { EIGHT = 8 };

// Eight rows of eight words become eight columns.
AVX2_INLINE void transpose(__m256i r[8])
{
    __m256i t[8], u[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        u[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        u[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        u[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        u[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x20);
        r[i + 4] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x31);
    }
}

// Step i of every lane, as md5.c has it for one.
AVX2_INLINE void step(__m256i s[4], const __m256i *words, int i)
{
    const __m256i ones = _mm256_set1_epi32(-1);
    __m256i b = s[1], c = s[2], d = s[3], f;
    int word;
    if (i < 16) {
        f = _mm256_xor_si256(d, _mm256_and_si256(b, _mm256_xor_si256(c, d)));
        word = i;
    } else if (i < 32) {
        f = _mm256_xor_si256(c, _mm256_and_si256(d, _mm256_xor_si256(b, c)));
        word = (5 * i + 1) & 15;
    } else if (i < 48) {
        f = _mm256_xor_si256(b, _mm256_xor_si256(c, d));
        word = (3 * i + 5) & 15;
    } else {
        f = _mm256_xor_si256(c, _mm256_or_si256(b, _mm256_xor_si256(d, ones)));
        word = (7 * i) & 15;
    }
    int by = md5_turns[i / 16 * 4 + i % 4];
    __m256i known = _mm256_add_epi32(_mm256_set1_epi32((int)md5_sines[i]), words[word]);
    __m256i sum = _mm256_add_epi32(_mm256_add_epi32(s[0], known), f);
    s[0] = d;
    s[3] = c;
    s[2] = b;
    s[1] = _mm256_add_epi32(
        b, _mm256_or_si256(_mm256_slli_epi32(sum, by), _mm256_srli_epi32(sum, 32 - by)));
}

// The words of the eight blocks, word by word.
AVX2_INLINE void words_load(__m256i words[16], const Str *messages)
{
    uint32_t block[EIGHT][MD5_BLOCK_BYTES / 4];
    for (int i = 0; i < EIGHT; i++)
        md5_short_block(messages[i], block[i]);
    for (int half = 0; half < 16; half += 8) {
        for (int i = 0; i < EIGHT; i++)
            words[half + i] = _mm256_loadu_si256((const __m256i *)(const void *)&block[i][half]);
        transpose(words + half);
    }
}

AVX2 static void eight(const Str *messages, unsigned char *const *out)
{
    __m256i words[16], rows[8] = { 0 };
    __m256i *s = rows; // transposed in place: the last four rows stay zero
    words_load(words, messages);
    const __m256i start[4] = { _mm256_set1_epi32(0x67452301), _mm256_set1_epi32((int)0xefcdab89),
                               _mm256_set1_epi32((int)0x98badcfe), _mm256_set1_epi32(0x10325476) };
    for (int i = 0; i < 4; i++)
        s[i] = start[i];
#pragma GCC unroll 64
    for (int i = 0; i < 64; i++)
        step(s, words, i);
    for (int i = 0; i < 4; i++)
        s[i] = _mm256_add_epi32(s[i], start[i]);
    transpose(rows);
    for (int i = 0; i < EIGHT; i++)
        _mm_storeu_si128((__m128i *)(void *)out[i], _mm256_castsi256_si128(rows[i]));
}

const struct md5_kernel md5_avx2 = { { "avx2", processor_has_avx2 }, EIGHT, eight };
#endif
