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

// Divides by 10^19 and returns the remainder. A limb below the divisor needs no division: of nine
// in a number three are left.
static uint64_t take_19_digits(Wide *w)
{
    uint64_t rest = 0;
    for (int i = LIMBS - 1; i >= 0; i--) {
        uint64_t limb = w->limb[i], quotient = 0;
        if (rest > 0)
            quotient = (uint64_t)(((__uint128_t)rest << 64 | limb) / TEN_TO_19);
        else if (limb >= TEN_TO_19)
            quotient = 1;
        w->limb[i] = quotient;
        rest = limb - quotient * TEN_TO_19; // modulo 2^64, where the difference fits
    }
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

static void put_19_digits(char *out, uint64_t value)
{
    enum { TEN_TO_8 = 100000000 };
    char top[8]; // of which three count
    uint64_t high = value / TEN_TO_8;
    put_8_digits(top, high / TEN_TO_8);
    memcpy(out, top + 5, 3);
    put_8_digits(out + 3, high % TEN_TO_8);
    put_8_digits(out + 11, value % TEN_TO_8);
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

    char digits[LIMBS * 19];
    for (int part = LIMBS - 1; part >= 0; part--)
        put_19_digits(digits + part * 19, take_19_digits(&w));
    size_t zeros = 0;
    while (digits[zeros] == '0')
        zeros++; // the top bits are never zero, so a digit follows
    memcpy(out, digits + zeros, sizeof digits - zeros);
    return sizeof digits - zeros;
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
