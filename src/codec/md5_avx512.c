// SPDX-License-Identifier: Apache-2.0
// Sixteen messages at once. As md5_avx2.c, but that any function of three words is one instruction,
// and so is a rotation.
#include "codec/md5_priv.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f")))
#define AVX512_INLINE AVX512 __attribute__((always_inline)) static inline

enum { SIXTEEN = 16 };

// The four functions as tables of their value for every three bits b, c, d: b stands for 0xf0, c
// for 0xcc, d for 0xaa.
enum {
    FIRST = 0xca,  // b ? c : d
    SECOND = 0xe4, // d ? b : c
    THIRD = 0x96,  // b ^ c ^ d
    FOURTH = 0x39, // c ^ (b | ~d)
};

// Within each four rows and four columns.
AVX512_INLINE void transpose_fours(__m512i r[SIXTEEN])
{
    for (int i = 0; i < SIXTEEN; i += 4) {
        __m512i low01 = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        __m512i high01 = _mm512_unpackhi_epi32(r[i], r[i + 1]);
        __m512i low23 = _mm512_unpacklo_epi32(r[i + 2], r[i + 3]);
        __m512i high23 = _mm512_unpackhi_epi32(r[i + 2], r[i + 3]);
        r[i] = _mm512_unpacklo_epi64(low01, low23);
        r[i + 1] = _mm512_unpackhi_epi64(low01, low23);
        r[i + 2] = _mm512_unpacklo_epi64(high01, high23);
        r[i + 3] = _mm512_unpackhi_epi64(high01, high23);
    }
}

// Sixteen rows of sixteen words become sixteen columns.
AVX512_INLINE void transpose(__m512i r[SIXTEEN])
{
    transpose_fours(r);
    for (int i = 0; i < 4; i++) { // the fours themselves, as a square of four
        __m512i even01 = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
        __m512i odd01 = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
        __m512i even23 = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
        __m512i odd23 = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
        r[i] = _mm512_shuffle_i32x4(even01, even23, 0x88);
        r[4 + i] = _mm512_shuffle_i32x4(odd01, odd23, 0x88);
        r[8 + i] = _mm512_shuffle_i32x4(even01, even23, 0xdd);
        r[12 + i] = _mm512_shuffle_i32x4(odd01, odd23, 0xdd);
    }
}

// Step i of every lane, as md5.c has it for one.
AVX512_INLINE void step(__m512i s[4], const __m512i *words, int i)
{
    __m512i b = s[1], c = s[2], d = s[3], f;
    int word;
    if (i < 16) {
        f = _mm512_ternarylogic_epi32(b, c, d, FIRST);
        word = i;
    } else if (i < 32) {
        f = _mm512_ternarylogic_epi32(b, c, d, SECOND);
        word = (5 * i + 1) & 15;
    } else if (i < 48) {
        f = _mm512_ternarylogic_epi32(b, c, d, THIRD);
        word = (3 * i + 5) & 15;
    } else {
        f = _mm512_ternarylogic_epi32(b, c, d, FOURTH);
        word = (7 * i) & 15;
    }
    __m512i known = _mm512_add_epi32(_mm512_set1_epi32((int)md5_sines[i]), words[word]);
    __m512i sum = _mm512_add_epi32(_mm512_add_epi32(s[0], known), f);
    __m512i by = _mm512_set1_epi32(md5_turns[i / 16 * 4 + i % 4]);
    s[0] = d;
    s[3] = c;
    s[2] = b;
    s[1] = _mm512_add_epi32(b, _mm512_rolv_epi32(sum, by));
}

AVX512 static void sixteen(const Str *messages, unsigned char *const *out)
{
    uint32_t block[MD5_BLOCK_BYTES / 4];
    __m512i words[SIXTEEN], s[4];
    for (int i = 0; i < SIXTEEN; i++) {
        md5_short_block(messages[i], block);
        words[i] = _mm512_loadu_si512(block);
    }
    transpose(words);
    const __m512i start[4] = { _mm512_set1_epi32(0x67452301), _mm512_set1_epi32((int)0xefcdab89),
                               _mm512_set1_epi32((int)0x98badcfe), _mm512_set1_epi32(0x10325476) };
    for (int i = 0; i < 4; i++)
        s[i] = start[i];
#pragma GCC unroll 64
    for (int i = 0; i < 64; i++)
        step(s, words, i);
    for (int i = 0; i < SIXTEEN; i++)
        words[i] = i < 4 ? _mm512_add_epi32(s[i], start[i]) : _mm512_setzero_si512();
    transpose(words);
    for (int i = 0; i < SIXTEEN; i++)
        _mm_storeu_si128((__m128i *)(void *)out[i], _mm512_castsi512_si128(words[i]));
}

const struct md5_kernel md5_avx512 = { { "avx512vbmi", processor_has_avx512 }, SIXTEEN, sixteen };
#endif
