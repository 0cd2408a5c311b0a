// SPDX-License-Identifier: Apache-2.0
#include "codec/crc_fold.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define FOLDS __attribute__((target("pclmul,sse2")))
enum { LANES = 4, LANES_BYTES = LANES * CRC_BLOCK };

FOLDS static inline __m128i fold(__m128i x, __m128i by, __m128i next)
{
    return _mm_xor_si128(
        _mm_xor_si128(_mm_clmulepi64_si128(x, by, 0x00), _mm_clmulepi64_si128(x, by, 0x11)), next);
}

FOLDS static inline __m128i load(const void *p)
{
    return _mm_loadu_si128(p);
}

FOLDS static size_t blocks_fold(const struct crc_folds *by, uint64_t state, const unsigned char *p,
                                size_t n, unsigned char last[CRC_BLOCK])
{
    const __m128i one = load(by->one), all = load(by->four);
    __m128i x[LANES];
    size_t at = LANES_BYTES;
    for (size_t i = 0; i < LANES; i++)
        x[i] = load(p + i * CRC_BLOCK);
    x[0] = _mm_xor_si128(x[0], _mm_set_epi64x(0, (int64_t)state));
    for (; n - at >= LANES_BYTES; at += LANES_BYTES)
        for (size_t i = 0; i < LANES; i++)
            x[i] = fold(x[i], all, load(p + at + i * CRC_BLOCK));
    for (size_t i = 1; i < LANES; i++)
        x[0] = fold(x[0], one, x[i]);
    for (; n - at >= CRC_BLOCK; at += CRC_BLOCK)
        x[0] = fold(x[0], one, load(p + at));
    _mm_storeu_si128((__m128i *)(void *)last, x[0]);
    return at;
}

const struct crc_kernel crc_pclmul = { { "pclmul", processor_has_pclmul }, blocks_fold };
#endif
