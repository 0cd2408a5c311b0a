// SPDX-License-Identifier: Apache-2.0
#include "codec/crc64_priv.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define FOLDS __attribute__((target("pclmul,sse2")))

FOLDS static inline __m128i fold(__m128i x, __m128i by, __m128i next)
{
    return _mm_xor_si128(
        _mm_xor_si128(_mm_clmulepi64_si128(x, by, 0x00), _mm_clmulepi64_si128(x, by, 0x11)), next);
}

FOLDS static inline __m128i load(const void *p)
{
    return _mm_loadu_si128(p);
}

FOLDS static size_t blocks_fold(const struct crc64_folds *by, uint64_t state,
                                const unsigned char *p, size_t n, unsigned char last[CRC64_BLOCK])
{
    const __m128i one = load(by->one), all = load(by->lanes);
    __m128i x[CRC64_LANES];
    size_t at = CRC64_FOLD_BYTES_MIN;
    for (size_t i = 0; i < CRC64_LANES; i++)
        x[i] = load(p + i * CRC64_BLOCK);
    x[0] = _mm_xor_si128(x[0], _mm_set_epi64x(0, (int64_t)state));
    for (; n - at >= CRC64_FOLD_BYTES_MIN; at += CRC64_FOLD_BYTES_MIN)
        for (size_t i = 0; i < CRC64_LANES; i++)
            x[i] = fold(x[i], all, load(p + at + i * CRC64_BLOCK));
    for (size_t i = 1; i < CRC64_LANES; i++)
        x[0] = fold(x[0], one, x[i]);
    for (; n - at >= CRC64_BLOCK; at += CRC64_BLOCK)
        x[0] = fold(x[0], one, load(p + at));
    _mm_storeu_si128((__m128i *)(void *)last, x[0]);
    return at;
}

const struct crc64_kernel crc64_pclmul = { { "pclmul", processor_has_pclmul }, blocks_fold };
#endif
