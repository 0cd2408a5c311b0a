// SPDX-License-Identifier: Apache-2.0
#include "codec/text.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define EVERY_BYTE(value) (UINT64_C(0x0101010101010101) * (value))
#define HIGH_BITS EVERY_BYTE(0x80)

static uint64_t load8(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

// Marks the high bit of bytes that are zero. Only the lowest mark is exact, as a borrow may run
// into the bytes above it; the lowest is the one that is asked for.
static uint64_t zero_bytes(uint64_t word)
{
    return (word - EVERY_BYTE(0x01)) & ~word & HIGH_BITS;
}

static uint64_t special_bytes(uint64_t word)
{
    uint64_t control = (word - EVERY_BYTE(0x20)) & ~word & HIGH_BITS;
    return control | zero_bytes(word ^ EVERY_BYTE('"')) | zero_bytes(word ^ EVERY_BYTE('\\'));
}

#ifdef __SSE2__
// 0xff where a byte is special.
static __m128i special_lanes(const char *p)
{
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x1f)), x);
    __m128i quote = _mm_cmpeq_epi8(x, _mm_set1_epi8('"'));
    __m128i backslash = _mm_cmpeq_epi8(x, _mm_set1_epi8('\\'));
    return _mm_or_si128(control, _mm_or_si128(quote, backslash));
}

// Walks on while vectors hold nothing special, 64 bytes a turn and then 16; true: *at is special or
// the end.
static bool skip_plain_vectors(Str s, size_t *at)
{
    for (; s.n - *at >= 64; *at += 64) {
        const char *p = s.p + *at;
        __m128i low = _mm_or_si128(special_lanes(p), special_lanes(p + 16));
        __m128i high = _mm_or_si128(special_lanes(p + 32), special_lanes(p + 48));
        if (_mm_movemask_epi8(_mm_or_si128(low, high)) != 0)
            break;
    }
    for (; s.n - *at >= 16; *at += 16) {
        int special = _mm_movemask_epi8(special_lanes(s.p + *at));
        if (special != 0) {
            *at += (size_t)__builtin_ctz((unsigned)special);
            return true;
        }
    }
    if (s.n < 16 || *at == s.n)
        return *at == s.n;
    // The last sixteen, of which those before *at are known to be plain.
    int special = _mm_movemask_epi8(special_lanes(s.p + s.n - 16));
    *at = special != 0 ? s.n - 16 + (size_t)__builtin_ctz((unsigned)special) : s.n;
    return true;
}
#endif

size_t text_plain(Str s)
{
    size_t at = 0;
#ifdef __SSE2__
    if (skip_plain_vectors(s, &at))
        return at;
#endif
    for (; s.n - at >= 8; at += 8) {
        uint64_t special = special_bytes(load8(s.p + at));
        if (special != 0)
            return at + (size_t)__builtin_ctzll(special) / 8;
    }
    while (at < s.n && (unsigned char)s.p[at] >= 0x20 && s.p[at] != '"' && s.p[at] != '\\')
        at++;
    return at;
}

bool text_quoted(Str s, Str *ret)
{
    size_t n = text_plain(s);
    if (n == s.n || s.p[n] != '"' || !text_is_utf8(str_from(s.p, n)))
        return false;
    *ret = str_from(s.p, n);
    return true;
}

// Whether all bytes of a text of less than eight are ASCII.
static bool is_short_ascii(Str s)
{
    unsigned char all = 0;
    for (size_t i = 0; i < s.n; i++)
        all |= (unsigned char)s.p[i];
    return all < 0x80;
}

bool text_is_utf8(Str s)
{
    if (s.n < 8)
        return is_short_ascii(s) || str_utf8_count(s) != SIZE_MAX;
    size_t at = 0;
    while (s.n - at >= 32 &&
           ((load8(s.p + at) | load8(s.p + at + 8) | load8(s.p + at + 16) | load8(s.p + at + 24)) &
            HIGH_BITS) == 0)
        at += 32;
    while (s.n - at >= 8 && (load8(s.p + at) & HIGH_BITS) == 0)
        at += 8;
    // The last eight bytes, of which some were seen before: all that is left is ASCII, or is
    // counted.
    if (s.n - at < 8 && (load8(s.p + s.n - 8) & HIGH_BITS) == 0)
        return true;
    return str_utf8_count(str_skip(s, at)) != SIZE_MAX;
}
