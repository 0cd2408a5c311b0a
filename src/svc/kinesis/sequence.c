// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/sequence.h"
#include "codec/little.h"

#include <string.h>

enum { SEQUENCE_VERSION = 2, LIMBS = 3 };
#define TEN_TO_19 UINT64_C(10000000000000000000) // the largest power of ten in 64 bits
#define TIME_MASK ((UINT64_C(1) << 36) - 1)

// 192 bits, the least significant limb first.
typedef struct Wide {
    uint64_t limb[LIMBS];
} Wide;

// value |= field << bit, for fields that do not overlap.
static void set_bits(Wide *w, unsigned bit, uint64_t field)
{
    unsigned at = bit / 64, shift = bit % 64;
    w->limb[at] |= field << shift;
    if (shift > 0 && at + 1 < LIMBS)
        w->limb[at + 1] |= field >> (64 - shift);
}

static uint64_t get_bits(const Wide *w, unsigned bit, unsigned width)
{
    unsigned at = bit / 64, shift = bit % 64;
    uint64_t value = w->limb[at] >> shift;
    if (shift > 0 && at + 1 < LIMBS)
        value |= w->limb[at + 1] << (64 - shift);
    return width == 64 ? value : value & ((UINT64_C(1) << width) - 1);
}

// Divides high * 2^64 + low by 10^19, where high is below it, with two multiplications by the
// inverse instead of a division (Moeller and Granlund, "Improved division by invariant integers",
// 2011, algorithm 4; the divisor must have its top bit).
static uint64_t divide(uint64_t high, uint64_t low, uint64_t *ret_rest)
{
    const uint64_t inverse = (uint64_t)(~(__uint128_t)0 / TEN_TO_19); // less 2^64
    __uint128_t q = (__uint128_t)inverse * high + ((__uint128_t)high << 64 | low);
    uint64_t quotient = (uint64_t)(q >> 64) + 1;
    uint64_t rest = low - quotient * TEN_TO_19; // all modulo 2^64
    if (rest > (uint64_t)q) {
        quotient--;
        rest += TEN_TO_19;
    }
    if (rest >= TEN_TO_19) {
        quotient++;
        rest -= TEN_TO_19;
    }
    *ret_rest = rest;
    return quotient;
}

// Divides by 10^19 and returns the remainder.
static uint64_t take_19_digits(Wide *w)
{
    uint64_t rest = 0;
    for (int i = LIMBS - 1; i >= 0; i--)
        w->limb[i] = divide(rest, w->limb[i], &rest);
    return rest;
}

// Eight digits at once: halves of four digits each, then of two, then of one, side by side in a
// word. The factors are 2^20 / 100 and 2^10 / 10, rounded up, exact for numbers this small.
static void put_8_digits(char *out, uint64_t value)
{
    uint64_t fours = value / 10000 | value % 10000 << 32;
    uint64_t hundreds = fours * 10486 >> 20 & UINT64_C(0x0000007f0000007f);
    uint64_t twos = hundreds | (fours - hundreds * 100) << 16;
    uint64_t tens = twos * 103 >> 10 & UINT64_C(0x000f000f000f000f);
    uint64_t ones = tens | (twos - tens * 10) << 8;
    put64((uint8_t *)out, ones + UINT64_C(0x3030303030303030));
}

// 18 or 19 digits, without a look at what was just written, which would have to wait for it.
static char *put_digits(char *out, uint64_t value, bool with_19th)
{
    enum { TEN_TO_8 = 100000000 };
    uint64_t high = value / TEN_TO_8, top = high / TEN_TO_8;
    if (with_19th)
        *out++ = (char)('0' + top / 100);
    out[0] = (char)('0' + top / 10 % 10);
    out[1] = (char)('0' + top % 10);
    put_8_digits(out + 2, high % TEN_TO_8);
    put_8_digits(out + 10, value % TEN_TO_8);
    return out + 18;
}

// The first 18 digits of a number are mostly those of the number before it: of the same shard, and
// of a position nearby.
static char *put_first_digits(char *out, uint64_t value)
{
    enum { DIGITS = 18 };
    static _Thread_local uint64_t last;
    static _Thread_local char text[DIGITS]; // of `last`, unless that is 0
    if (value != last) {
        put_digits(text, value, false);
        last = value;
    }
    memcpy(out, text, DIGITS);
    return out + DIGITS;
}

// w = w * 10 + digit; false if it does not fit.
static bool add_digit(Wide *w, unsigned digit)
{
    __uint128_t carry = digit;
    for (int i = 0; i < LIMBS; i++) {
        carry += (__uint128_t)w->limb[i] * 10;
        w->limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
    return carry == 0;
}

size_t sequence_format(char out[SEQUENCE_CHARS_MAX], Sequence s)
{
    Wide w = { 0 };
    set_bits(&w, 0, SEQUENCE_VERSION);
    set_bits(&w, 4, s.shard);
    set_bits(&w, 36, (uint64_t)MAX(s.time_s, s.created_s) & TIME_MASK);
    set_bits(&w, 80, s.index);
    set_bits(&w, 144, s.shard & 15);
    set_bits(&w, 148, (uint64_t)s.created_s & TIME_MASK);
    set_bits(&w, 184, 2);

    // From 2 * 2^184 to below 3 * 2^184, so there are always 56 digits.
    uint64_t low = take_19_digits(&w), middle = take_19_digits(&w), high = take_19_digits(&w);
    char *end = put_first_digits(out, high);
    end = put_digits(end, middle, true);
    return (size_t)(put_digits(end, low, true) - out);
}

Str sequence_str(struct arena *a, Sequence s)
{
    char digits[SEQUENCE_CHARS_MAX];
    return str_dup(a, str_from(digits, sequence_format(digits, s)));
}

Err sequence_parse(Str text, Sequence *ret)
{
    Wide w = { 0 };
    if (text.n == 0 || text.n > SEQUENCE_CHARS_MAX)
        return fail(ERR_INVALID, "not a sequence number: wrong length");
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < '0' || text.p[i] > '9' || !add_digit(&w, (unsigned)(text.p[i] - '0')))
            return fail(ERR_INVALID, "not a sequence number: not a number of 192 bits");

    Sequence s = {
        .created_s = (int64_t)get_bits(&w, 148, 36),
        .time_s = (int64_t)get_bits(&w, 36, 36),
        .index = get_bits(&w, 80, 64),
        .shard = (uint32_t)get_bits(&w, 4, 32),
    };
    bool well_formed = get_bits(&w, 184, 8) == 2 && get_bits(&w, 0, 4) == SEQUENCE_VERSION &&
                       get_bits(&w, 72, 8) == 0 && get_bits(&w, 144, 4) == (s.shard & 15) &&
                       s.shard <= INT32_MAX && s.index <= SEQUENCE_INDEX_END;
    if (!well_formed)
        return fail(ERR_INVALID, "not a sequence number: wrong shape");
    *ret = s;
    return OK;
}
