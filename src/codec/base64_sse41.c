// SPDX-License-Identifier: Apache-2.0
// As base64_avx2.c, where every step is explained, in vectors of half the size.
#include "codec/base64_priv.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define SSE41 __attribute__((target("sse4.1")))

SSE41 static inline __m128i load(const void *p)
{
    return _mm_loadu_si128(p);
}

SSE41 static inline __m128i to_characters(__m128i values)
{
    const __m128i distance =
        _mm_setr_epi8(71, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -19, -16, 65, 0, 0);
    __m128i upper = _mm_cmpgt_epi8(_mm_set1_epi8(26), values);
    __m128i class = _mm_subs_epu8(values, _mm_set1_epi8(51));
    class = _mm_or_si128(class, _mm_and_si128(upper, _mm_set1_epi8(13)));
    return _mm_add_epi8(values, _mm_shuffle_epi8(distance, class));
}

// Takes 12 bytes a turn; reads four more than it takes.
SSE41 static size_t encode(char *out, const void *in, size_t n)
{
    const __m128i spread = _mm_setr_epi8(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10);
    const char *p = in;
    size_t at = 0;
    for (; n - at >= 16; at += 12, out += 16) {
        __m128i w = _mm_shuffle_epi8(load(p + at), spread);
        __m128i down = _mm_mulhi_epu16(_mm_and_si128(w, _mm_set1_epi32(0x0fc0fc00)),
                                       _mm_set1_epi32(0x04000040));
        __m128i up = _mm_mullo_epi16(_mm_and_si128(w, _mm_set1_epi32(0x003f03f0)),
                                     _mm_set1_epi32(0x01000010));
        _mm_storeu_si128((__m128i *)(void *)out, to_characters(_mm_or_si128(down, up)));
    }
    return at;
}

SSE41 static inline __m128i low_half(__m128i v)
{
    return _mm_and_si128(v, _mm_set1_epi8(0x0f));
}

SSE41 static inline __m128i high_half(__m128i v)
{
    return low_half(_mm_srli_epi32(v, 4));
}

SSE41 static inline __m128i refused_of(__m128i characters)
{
    const __m128i class_of_high = _mm_setr_epi8(0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08,
                                                0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10);
    const __m128i refused_by_low = _mm_setr_epi8(0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11,
                                                 0x11, 0x11, 0x13, 0x1a, 0x1b, 0x1b, 0x1b, 0x1a);
    __m128i class = _mm_shuffle_epi8(class_of_high, high_half(characters));
    return _mm_and_si128(class, _mm_shuffle_epi8(refused_by_low, low_half(characters)));
}

SSE41 static inline __m128i to_values(__m128i characters)
{
    const __m128i distance =
        _mm_setr_epi8(0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0);
    __m128i slash = _mm_cmpeq_epi8(characters, _mm_set1_epi8('/'));
    __m128i place = _mm_add_epi8(high_half(characters), slash);
    return _mm_add_epi8(characters, _mm_shuffle_epi8(distance, place));
}

SSE41 static inline size_t first_refused(__m128i refused)
{
    __m128i good = _mm_cmpeq_epi8(refused, _mm_setzero_si128());
    return (size_t)__builtin_ctz(~(unsigned)_mm_movemask_epi8(good));
}

// Twelve bytes that count, of 16.
SSE41 static inline __m128i to_bytes(__m128i values)
{
    const __m128i pack = _mm_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1);
    __m128i pairs = _mm_maddubs_epi16(values, _mm_set1_epi32(0x01400140)); // 12 bits
    __m128i groups = _mm_madd_epi16(pairs, _mm_set1_epi32(0x00011000));    // 24 bits
    return _mm_shuffle_epi8(groups, pack);
}

SSE41 static inline void store_values(char *out, __m128i values)
{
    _mm_storeu_si128((__m128i *)(void *)out, to_bytes(values));
}

SSE41 static inline void store_12(char *out, __m128i values)
{
    __m128i bytes = to_bytes(values);
    int last = _mm_extract_epi32(bytes, 2);
    _mm_storel_epi64((__m128i *)(void *)out, bytes);
    memcpy(out + 8, &last, sizeof last);
}

// Ends early enough that the last store stays inside base64_decoded_max(n).
SSE41 static size_t decode(void *out, const char *in, size_t n)
{
    char *p = out;
    size_t at = 0;
    for (; n - at >= 20; at += 16, p += 12) {
        __m128i characters = load(in + at), refused = refused_of(characters);
        if (!_mm_testz_si128(refused, refused))
            break;
        store_values(p, to_values(characters));
    }
    return at;
}

SSE41 static size_t decode_run(void *out, const char *in, size_t n)
{
    char *p = out;
    for (size_t at = 0; n - at >= 16; at += 16, p += 12) {
        __m128i characters = load(in + at), refused = refused_of(characters);
        store_values(p, to_values(characters));
        if (!_mm_testz_si128(refused, refused))
            return at + (first_refused(refused) & ~(size_t)3); // whole groups
    }
    return n & ~(size_t)15;
}

SSE41 static size_t check_run(const char *in, size_t n)
{
    for (size_t at = 0; n - at >= 16; at += 16) {
        __m128i refused = refused_of(load(in + at));
        if (!_mm_testz_si128(refused, refused))
            return at + first_refused(refused);
    }
    return n & ~(size_t)15;
}

SSE41 static size_t decode_good(void *out, const char *in, size_t n)
{
    char *p = out;
    size_t at = 0;
    if (n < 16)
        return 0;
    for (; n - at >= 24; at += 16)
        store_values(p + at / 4 * 3, to_values(load(in + at)));
    if (n - at > 16)
        store_12(p + at / 4 * 3, to_values(load(in + at)));
    store_12(p + (n - 16) / 4 * 3, to_values(load(in + n - 16)));
    return n;
}

const struct base64_kernel base64_sse41 = {
    { "sse4.1", processor_has_sse41 }, encode, decode, decode_run, check_run, decode_good
};
#endif
