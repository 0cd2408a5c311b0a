// SPDX-License-Identifier: Apache-2.0
#include "codec/sha256_priv.h"

#ifdef __x86_64__
#include <immintrin.h>

#define NI __attribute__((target("sha,sse4.1,ssse3")))
#define NI_INLINE NI __attribute__((always_inline)) static inline

// The eight words as the instructions want them, the first letter in the highest place.
typedef struct State {
    __m128i abef, cdgh;
} State;

NI_INLINE State state_load(const uint32_t words[SHA256_WORDS])
{
    __m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)words);
    __m128i hgfe = _mm_loadu_si128((const __m128i *)(const void *)(words + 4));
    __m128i cdab = _mm_shuffle_epi32(dcba, 0xb1), efgh = _mm_shuffle_epi32(hgfe, 0x1b);
    return (State){ _mm_alignr_epi8(cdab, efgh, 8), _mm_blend_epi16(efgh, cdab, 0xf0) };
}

NI_INLINE void state_store(State s, uint32_t words[SHA256_WORDS])
{
    __m128i feba = _mm_shuffle_epi32(s.abef, 0x1b), dchg = _mm_shuffle_epi32(s.cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)(void *)words, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(void *)(words + 4), _mm_alignr_epi8(dchg, feba, 8));
}

NI_INLINE void words_load(__m128i w[4], const unsigned char *p)
{
    const __m128i swap = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    for (int i = 0; i < 4; i++)
        w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)p + i), swap);
}

// Rounds 4 * i to 4 * i + 3, and in place of their words those of sixteen rounds later.
NI_INLINE void four_rounds(State *s, __m128i w[4], int i)
{
    __m128i *now = &w[i & 3];
    __m128i k = _mm_loadu_si128((const __m128i *)(const void *)sha256_constants + i);
    __m128i sum = _mm_add_epi32(*now, k);
    s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, sum);
    s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, _mm_shuffle_epi32(sum, 0x0e));
    if (i >= 12)
        return;
    __m128i before = w[(i + 3) & 3];
    __m128i seventh = _mm_alignr_epi8(before, w[(i + 2) & 3], 4);
    *now = _mm_add_epi32(_mm_sha256msg1_epu32(*now, w[(i + 1) & 3]), seventh);
    *now = _mm_sha256msg2_epu32(*now, before);
}

NI_INLINE State state_add(State s, State t)
{
    return (State){ _mm_add_epi32(s.abef, t.abef), _mm_add_epi32(s.cdgh, t.cdgh) };
}

NI static void one(uint32_t words[SHA256_WORDS], const unsigned char *p, size_t blocks)
{
    State s = state_load(words);
    for (; blocks > 0; blocks--, p += SHA256_BLOCK_BYTES) {
        State before = s;
        __m128i w[4];
        words_load(w, p);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++)
            four_rounds(&s, w, i);
        s = state_add(s, before);
    }
    state_store(s, words);
}

NI static void two(uint32_t v[SHA256_WORDS], const unsigned char *p, uint32_t w[SHA256_WORDS],
                   const unsigned char *q, size_t blocks)
{
    State s = state_load(v), t = state_load(w);
    for (; blocks > 0; blocks--, p += SHA256_BLOCK_BYTES, q += SHA256_BLOCK_BYTES) {
        State s_before = s, t_before = t;
        __m128i x[4], y[4];
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

const struct sha256_kernel sha256_ni = { { "sha-ni", processor_has_sha_ni }, one, two };
#endif
