// SPDX-License-Identifier: Apache-2.0
// As crc_pclmul.c, two blocks in a vector.
#include "codec/crc_fold.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define FOLDS __attribute__((target("avx2,pclmul,vpclmulqdq")))
enum { PAIR = 2 * CRC_BLOCK, PAIRS = 4, PAIRS_BYTES = PAIRS * PAIR };

FOLDS static inline __m256i fold(__m256i x, __m256i by, __m256i next)
{
    return _mm256_xor_si256(_mm256_xor_si256(_mm256_clmulepi64_epi128(x, by, 0x00),
                                             _mm256_clmulepi64_epi128(x, by, 0x11)),
                            next);
}

FOLDS static inline __m128i fold_one(__m128i x, __m128i by, __m128i next)
{
    return _mm_xor_si128(
        _mm_xor_si128(_mm_clmulepi64_si128(x, by, 0x00), _mm_clmulepi64_si128(x, by, 0x11)), next);
}

FOLDS static inline __m128i load_one(const void *p)
{
    return _mm_loadu_si128(p);
}

FOLDS static inline __m256i load(const void *p)
{
    return _mm256_loadu_si256(p);
}

FOLDS static inline __m256i in_both(const uint64_t by[2])
{
    return _mm256_broadcastsi128_si256(load_one(by));
}

FOLDS size_t crc_vpclmul_fold(const struct crc_folds *by, uint64_t state, const unsigned char *p,
                              size_t n, unsigned char last[CRC_BLOCK])
{
    const __m128i one = load_one(by->one);
    const __m256i two = in_both(by->two), all = in_both(by->eight);
    __m256i x[PAIRS];
    size_t at = PAIRS_BYTES;
    for (size_t i = 0; i < PAIRS; i++)
        x[i] = load(p + i * PAIR);
    x[0] = _mm256_xor_si256(x[0], _mm256_set_epi64x(0, 0, 0, (int64_t)state));
    for (; n - at >= PAIRS_BYTES; at += PAIRS_BYTES)
        for (size_t i = 0; i < PAIRS; i++)
            x[i] = fold(x[i], all, load(p + at + i * PAIR));
    for (size_t i = 1; i < PAIRS; i++)
        x[0] = fold(x[0], two, x[i]);
    for (; n - at >= PAIR; at += PAIR)
        x[0] = fold(x[0], two, load(p + at));
    __m128i rest = fold_one(_mm256_castsi256_si128(x[0]), one, _mm256_extracti128_si256(x[0], 1));
    if (n - at >= CRC_BLOCK) {
        rest = fold_one(rest, one, load_one(p + at));
        at += CRC_BLOCK;
    }
    _mm_storeu_si128((__m128i *)(void *)last, rest);
    return at;
}

const struct crc_kernel crc_vpclmul = { { "vpclmul", processor_has_vpclmul }, crc_vpclmul_fold };
#endif
