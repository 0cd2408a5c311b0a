// SPDX-License-Identifier: Apache-2.0
#include "codec/sha256_priv.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#define SHA2 __attribute__((target("+crypto")))
#define SHA2_INLINE SHA2 __attribute__((always_inline)) static inline

typedef struct State {
    uint32x4_t abcd, efgh;
} State;

SHA2_INLINE State state_load(const uint32_t words[SHA256_WORDS])
{
    return (State){ vld1q_u32(words), vld1q_u32(words + 4) };
}

SHA2_INLINE void state_store(State s, uint32_t words[SHA256_WORDS])
{
    vst1q_u32(words, s.abcd);
    vst1q_u32(words + 4, s.efgh);
}

SHA2_INLINE State state_add(State s, State t)
{
    return (State){ vaddq_u32(s.abcd, t.abcd), vaddq_u32(s.efgh, t.efgh) };
}

SHA2_INLINE void words_load(uint32x4_t w[4], const unsigned char *p)
{
    for (int i = 0; i < 4; i++)
        w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p + 16 * i)));
}

// Rounds 4 * i to 4 * i + 3, and in place of their words those of sixteen rounds later.
SHA2_INLINE void four_rounds(State *s, uint32x4_t w[4], int i)
{
    uint32x4_t *now = &w[i & 3], before = s->abcd;
    uint32x4_t sum = vaddq_u32(*now, vld1q_u32(sha256_constants + 4 * i));
    s->abcd = vsha256hq_u32(s->abcd, s->efgh, sum);
    s->efgh = vsha256h2q_u32(s->efgh, before, sum);
    if (i < 12)
        *now =
            vsha256su1q_u32(vsha256su0q_u32(*now, w[(i + 1) & 3]), w[(i + 2) & 3], w[(i + 3) & 3]);
}

SHA2 static void one(uint32_t words[SHA256_WORDS], const unsigned char *p, size_t blocks)
{
    State s = state_load(words);
    for (; blocks > 0; blocks--, p += SHA256_BLOCK_BYTES) {
        State before = s;
        uint32x4_t w[4];
        words_load(w, p);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++)
            four_rounds(&s, w, i);
        s = state_add(s, before);
    }
    state_store(s, words);
}

SHA2 static void two(uint32_t v[SHA256_WORDS], const unsigned char *p, uint32_t w[SHA256_WORDS],
                     const unsigned char *q, size_t blocks)
{
    State s = state_load(v), t = state_load(w);
    for (; blocks > 0; blocks--, p += SHA256_BLOCK_BYTES, q += SHA256_BLOCK_BYTES) {
        State s_before = s, t_before = t;
        uint32x4_t x[4], y[4];
        words_load(x, p);
        words_load(y, q);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            four_rounds(&s, x, i);
            four_rounds(&t, y, i);
        }
        s = state_add(s, s_before);
        t = state_add(t, t_before);
    }
    state_store(s, v);
    state_store(t, w);
}

const struct sha256_kernel sha256_armv8 = { { "armv8", processor_has_sha2 }, one, two };
#endif
