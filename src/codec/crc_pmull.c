// SPDX-License-Identifier: Apache-2.0
// As crc_pclmul.c, by the multiplication without carries of ARMv8.
#include "codec/crc_fold.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#define FOLDS __attribute__((target("+crypto")))
#define FOLDS_INLINE FOLDS __attribute__((always_inline)) static inline
enum { LANES = 4, LANES_BYTES = LANES * CRC_BLOCK };

FOLDS_INLINE poly64x2_t load(const unsigned char *p)
{
    return vreinterpretq_p64_u8(vld1q_u8(p));
}

FOLDS_INLINE poly64x2_t sum(poly64x2_t x, poly64x2_t y)
{
    return vreinterpretq_p64_u8(veorq_u8(vreinterpretq_u8_p64(x), vreinterpretq_u8_p64(y)));
}

FOLDS_INLINE poly64x2_t fold(poly64x2_t x, poly64x2_t by, poly64x2_t next)
{
    poly64_t x_low = (poly64_t)vgetq_lane_p64(x, 0), by_low = (poly64_t)vgetq_lane_p64(by, 0);
    poly64x2_t low = vreinterpretq_p64_p128(vmull_p64(x_low, by_low));
    poly64x2_t high = vreinterpretq_p64_p128(vmull_high_p64(x, by));
    return sum(sum(low, high), next);
}

FOLDS static size_t blocks_fold(const struct crc_folds *by, uint64_t state, const unsigned char *p,
                                size_t n, unsigned char last[CRC_BLOCK])
{
    const poly64x2_t one = vreinterpretq_p64_u64(vld1q_u64(by->one));
    const poly64x2_t all = vreinterpretq_p64_u64(vld1q_u64(by->four));
    poly64x2_t x[LANES];
    size_t at = LANES_BYTES;
    for (size_t i = 0; i < LANES; i++)
        x[i] = load(p + i * CRC_BLOCK);
    x[0] = sum(x[0], vreinterpretq_p64_u64(vsetq_lane_u64(state, vdupq_n_u64(0), 0)));
    for (; n - at >= LANES_BYTES; at += LANES_BYTES)
        for (size_t i = 0; i < LANES; i++)
            x[i] = fold(x[i], all, load(p + at + i * CRC_BLOCK));
    for (size_t i = 1; i < LANES; i++)
        x[0] = fold(x[0], one, x[i]);
    for (; n - at >= CRC_BLOCK; at += CRC_BLOCK)
        x[0] = fold(x[0], one, load(p + at));
    vst1q_u8(last, vreinterpretq_u8_p64(x[0]));
    return at;
}

const struct crc_kernel crc_pmull = { { "pmull", processor_has_pmull }, blocks_fold };
#endif
