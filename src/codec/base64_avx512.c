// SPDX-License-Identifier: Apache-2.0
// With VBMI a vector of 64 bytes is permuted by bytes, and looked up in tables of 64 and 128: one
// instruction each for what takes five in base64_avx2.c. Loads and stores under a mask take what is
// left at the end, and touch no byte that does not count.
#include "codec/base64_priv.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi")))
#define AVX512_INLINE AVX512 __attribute__((always_inline)) static inline

enum { GROUPS = 16 }; // of a turn

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// The values of the characters 0 to 127.
#define NONE 255
static const uint8_t values[128] = {
    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE,
    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE,
    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, 62,   NONE, NONE, NONE, 63,
    52,   53,   54,   55,   56,   57,   58,   59,   60,   61,   NONE, NONE, NONE, NONE, NONE, NONE,
    NONE, 0,    1,    2,    3,    4,    5,    6,    7,    8,    9,    10,   11,   12,   13,   14,
    15,   16,   17,   18,   19,   20,   21,   22,   23,   24,   25,   NONE, NONE, NONE, NONE, NONE,
    NONE, 26,   27,   28,   29,   30,   31,   32,   33,   34,   35,   36,   37,   38,   39,   40,
    41,   42,   43,   44,   45,   46,   47,   48,   49,   50,   51,   NONE, NONE, NONE, NONE, NONE,
};

// Of each three bytes b0 b1 b2 the places b1 b0 b2 b1, which hold the four values in 32 bits.
static const uint8_t spread[64] = {
    1,  0,  2,  1,  4,  3,  5,  4,  7,  6,  8,  7,  10, 9,  11, 10, 13, 12, 14, 13, 16, 15,
    17, 16, 19, 18, 20, 19, 22, 21, 23, 22, 25, 24, 26, 25, 28, 27, 29, 28, 31, 30, 32, 31,
    34, 33, 35, 34, 37, 36, 38, 37, 40, 39, 41, 40, 43, 42, 44, 43, 46, 45, 47, 46,
};

// Of each 24 bits the three bytes, the highest first.
static const uint8_t pack[64] = {
    2,  1,  0,  6,  5,  4,  10, 9,  8,  14, 13, 12, 18, 17, 16, 22, 21, 20, 26, 25, 24, 30,
    29, 28, 34, 33, 32, 38, 37, 36, 42, 41, 40, 46, 45, 44, 50, 49, 48, 54, 53, 52, 58, 57,
    56, 62, 61, 60, 0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
};

static inline uint64_t first_lanes(size_t n) // n at most 64
{
    return n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

AVX512 static size_t encode(char *out, const void *in, size_t n)
{
    const __m512i table = _mm512_loadu_si512(alphabet), places = _mm512_loadu_si512(spread);
    const __m512i shifts = _mm512_set1_epi64(0x3036242a1016040a); // 10, 4, 22, 16, and 32 more
    const char *p = in;
    size_t at = 0;
    while (n - at >= 3) {
        size_t groups = MIN((n - at) / 3, (size_t)GROUPS);
        __m512i bytes = _mm512_maskz_loadu_epi8(first_lanes(3 * groups), p + at);
        bytes = _mm512_permutexvar_epi8(places, bytes);
        bytes = _mm512_multishift_epi64_epi8(shifts, bytes); // the table looks at six bits
        _mm512_mask_storeu_epi8(out, first_lanes(4 * groups),
                                _mm512_permutexvar_epi8(bytes, table));
        at += 3 * groups;
        out += 4 * groups;
    }
    return at;
}

// Goes on to the first group that holds a character outside the alphabet. Every turn loads before
// it stores, and stores at or before the place that it read: in place is safe.
AVX512 static size_t decode(void *out, const char *in, size_t n)
{
    const __m512i low = _mm512_loadu_si512(values), high = _mm512_loadu_si512(values + 64);
    const __m512i places = _mm512_loadu_si512(pack);
    char *p = out;
    size_t at = 0;
    while (n - at >= 4) {
        size_t groups = MIN((n - at) / 4, (size_t)GROUPS), good = groups;
        __mmask64 lanes = first_lanes(4 * groups);
        __m512i c = _mm512_maskz_loadu_epi8(lanes, in + at);
        __m512i v = _mm512_permutex2var_epi8(low, c, high); // looks at seven bits
        uint64_t refused = _mm512_movepi8_mask(_mm512_or_si512(v, c)) & lanes;
        if (refused != 0)
            good = (size_t)__builtin_ctzll(refused) / 4;
        v = _mm512_maddubs_epi16(v, _mm512_set1_epi32(0x01400140)); // 12 bits
        v = _mm512_madd_epi16(v, _mm512_set1_epi32(0x00011000));    // 24 bits
        v = _mm512_permutexvar_epi8(places, v);
        _mm512_mask_storeu_epi8(p, first_lanes(3 * good), v);
        at += 4 * good;
        p += 3 * good;
        if (good < groups)
            break;
    }
    return at;
}

AVX512 static size_t check_run(const char *in, size_t n)
{
    const __m512i low = _mm512_loadu_si512(values), high = _mm512_loadu_si512(values + 64);
    for (size_t at = 0; at < n; at += 64) {
        __mmask64 lanes = first_lanes(MIN(n - at, (size_t)64));
        __m512i c = _mm512_maskz_loadu_epi8(lanes, in + at);
        __m512i v = _mm512_permutex2var_epi8(low, c, high);
        uint64_t refused = _mm512_movepi8_mask(_mm512_or_si512(v, c)) & lanes;
        if (refused != 0)
            return at + (size_t)__builtin_ctzll(refused);
    }
    return n;
}

const struct base64_kernel base64_avx512 = {
    { "avx512vbmi", processor_has_avx512 }, encode, decode, decode, check_run, decode
};
#endif
