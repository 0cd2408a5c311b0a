// SPDX-License-Identifier: Apache-2.0
#include "codec/base64_priv.h"

#ifdef __x86_64__
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

// Six-bit values to characters: a value is first mapped to its class (13: A-Z, 0: a-z, 1..10: 0-9,
// 11: '+', 12: '/'), whose distance to the character comes from a table.
AVX2 static inline __m256i to_characters(__m256i values)
{
    const __m256i distance =
        _mm256_setr_epi8(71, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -19, -16, 65, 0, 0, //
                         71, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -19, -16, 65, 0, 0);
    __m256i upper = _mm256_cmpgt_epi8(_mm256_set1_epi8(26), values);
    __m256i class = _mm256_subs_epu8(values, _mm256_set1_epi8(51));
    class = _mm256_or_si256(class, _mm256_and_si256(upper, _mm256_set1_epi8(13)));
    return _mm256_add_epi8(values, _mm256_shuffle_epi8(distance, class));
}

// What is left of less than a vector goes to the form of half its size, everywhere in this file.

// Takes 24 bytes a turn, twelve in each half of the vector; reads four bytes more than it takes.
AVX2 static size_t encode(char *out, const void *in, size_t n)
{
    // Every three bytes b0 b1 b2 become the two 16-bit numbers b0:b1 and b1:b2.
    const __m256i spread = _mm256_setr_epi8(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10, //
                                            1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10);
    const char *p = in;
    size_t at = 0;
    for (; n - at >= 28; at += 24, out += 32) {
        __m128i low = _mm_loadu_si128((const __m128i *)(const void *)(p + at));
        __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(p + at + 12));
        __m256i w = _mm256_shuffle_epi8(_mm256_set_m128i(high, low), spread);
        // Multiplications shift each half of a 32-bit word by its own distance: the first and
        // third value come down by 10 and 6 bits, the second and fourth go up by 4 and 8.
        __m256i down = _mm256_mulhi_epu16(_mm256_and_si256(w, _mm256_set1_epi32(0x0fc0fc00)),
                                          _mm256_set1_epi32(0x04000040));
        __m256i up = _mm256_mullo_epi16(_mm256_and_si256(w, _mm256_set1_epi32(0x003f03f0)),
                                        _mm256_set1_epi32(0x01000010));
        __m256i characters = to_characters(_mm256_or_si256(down, up));
        _mm256_storeu_si256((__m256i *)(void *)out, characters);
    }
    return at + base64_sse41.encode(out, p + at, n - at);
}

AVX2 static inline __m256i low_half(__m256i v)
{
    return _mm256_and_si256(v, _mm256_set1_epi8(0x0f));
}

AVX2 static inline __m256i high_half(__m256i v)
{
    return low_half(_mm256_srli_epi32(v, 4));
}

// Not zero where a character is outside the alphabet.
//
// The high half of a character names its class: 2 has bit 0 (only '+' and '/'), 3 bit 1 (digits), 4
// and 6 bit 2 (the letters to 'o'), 5 and 7 bit 3 (from 'p'), all others bit 4. The table by
// the low half holds the classes in which that low half is not allowed.
AVX2 static inline __m256i refused_of(__m256i characters)
{
    const __m256i class_of_high =
        _mm256_setr_epi8(0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10,
                         0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08,
                         0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10);
    const __m256i refused_by_low =
        _mm256_setr_epi8(0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1a,
                         0x1b, 0x1b, 0x1b, 0x1a, 0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11,
                         0x11, 0x11, 0x13, 0x1a, 0x1b, 0x1b, 0x1b, 0x1a);
    __m256i class = _mm256_shuffle_epi8(class_of_high, high_half(characters));
    return _mm256_and_si256(class, _mm256_shuffle_epi8(refused_by_low, low_half(characters)));
}

// Characters to six-bit values.
AVX2 static inline __m256i to_values(__m256i characters)
{
    // By the high half, but '/' uses place 1, which no valid character has.
    const __m256i distance =
        _mm256_setr_epi8(0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0, //
                         0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0);
    __m256i slash = _mm256_cmpeq_epi8(characters, _mm256_set1_epi8('/')); // -1 where it is
    __m256i place = _mm256_add_epi8(high_half(characters), slash);
    return _mm256_add_epi8(characters, _mm256_shuffle_epi8(distance, place));
}

// The place of the first that is refused, if one is.
AVX2 static inline size_t first_refused(__m256i refused)
{
    __m256i good = _mm256_cmpeq_epi8(refused, _mm256_setzero_si256());
    return (size_t)__builtin_ctz(~(unsigned)_mm256_movemask_epi8(good));
}

// Every four values become the three bytes that they stand for, twelve in each half of the vector.
// Nothing of a group reaches the bytes of another.
AVX2 static inline __m256i to_bytes(__m256i values)
{
    const __m256i pack = _mm256_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1, //
                                          2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1);
    __m256i pairs = _mm256_maddubs_epi16(values, _mm256_set1_epi32(0x01400140)); // 12 bits
    __m256i groups = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00011000));    // 24 bits
    return _mm256_shuffle_epi8(groups, pack);
}

// Writes 28 bytes, of which 24 count. A second store costs less than a permutation across halves.
AVX2 static inline void store_values(char *out, __m256i values)
{
    __m256i bytes = to_bytes(values);
    _mm_storeu_si128((__m128i *)(void *)out, _mm256_castsi256_si128(bytes));
    _mm_storeu_si128((__m128i *)(void *)(out + 12), _mm256_extracti128_si256(bytes, 1));
}

// Writes those that count.
AVX2 static inline void store_24(char *out, __m256i values)
{
    const __m256i close_gap = _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7);
    __m256i bytes = _mm256_permutevar8x32_epi32(to_bytes(values), close_gap);
    _mm_storeu_si128((__m128i *)(void *)out, _mm256_castsi256_si128(bytes));
    _mm_storel_epi64((__m128i *)(void *)(out + 16), _mm256_extracti128_si256(bytes, 1));
}

AVX2 static inline __m256i load32(const char *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

// Takes 32 characters a turn and writes 24 bytes, and four more: the loop ends early enough that
// these stay inside base64_decoded_max(n). In place it never reaches what is still to be read,
// since a store begins at or before the place that was just read.
AVX2 static size_t decode(void *out, const char *in, size_t n)
{
    char *p = out;
    size_t at = 0;
    for (; n - at >= 44; at += 32, p += 24) {
        __m256i characters = load32(in + at), refused = refused_of(characters);
        if (!_mm256_testz_si256(refused, refused))
            break;
        store_values(p, to_values(characters));
    }
    return at + base64_sse41.decode(p, in + at, n - at);
}

AVX2 static size_t decode_run(void *out, const char *in, size_t n)
{
    char *p = out;
    size_t at = 0;
    for (; n - at >= 32; at += 32, p += 24) {
        __m256i characters = load32(in + at), refused = refused_of(characters);
        store_values(p, to_values(characters));
        if (!_mm256_testz_si256(refused, refused))
            return at + (first_refused(refused) & ~(size_t)3); // whole groups
    }
    return at + base64_sse41.decode_run(p, in + at, n - at);
}

AVX2 static size_t check_run(const char *in, size_t n)
{
    size_t at = 0;
    for (; n - at >= 64; at += 64) {
        __m256i first = refused_of(load32(in + at)), second = refused_of(load32(in + at + 32));
        __m256i both = _mm256_or_si256(first, second);
        if (_mm256_testz_si256(both, both))
            continue;
        if (!_mm256_testz_si256(first, first))
            return at + first_refused(first);
        return at + 32 + first_refused(second);
    }
    return at + base64_sse41.check_run(in + at, n - at);
}

// What is left of less than a vector is decoded with some that was decoded before.
AVX2 static size_t decode_good(void *out, const char *in, size_t n)
{
    char *p = out;
    size_t at = 0;
    if (n < 32)
        return base64_sse41.decode_good(out, in, n);
    for (; n - at >= 44; at += 32)
        store_values(p + at / 4 * 3, to_values(load32(in + at)));
    if (n - at > 32)
        store_24(p + at / 4 * 3, to_values(load32(in + at)));
    store_24(p + (n - 32) / 4 * 3, to_values(load32(in + n - 32)));
    return n;
}

const struct base64_kernel base64_avx2 = {
    { "avx2", processor_has_avx2 }, encode, decode, decode_run, check_run, decode_good
};
#endif
