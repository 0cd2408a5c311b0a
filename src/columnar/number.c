// SPDX-License-Identifier: Apache-2.0
#include "columnar/number.h"

#include <math.h>
#include <stdlib.h>

enum {
    DIGITS_MAX = 19,           // that uint64_t holds whatever they are
    EXPONENT_MAX = 1000000000, // beyond what the digits of the largest record make good
    EXACT_POWER_MAX = 22,      // of ten, in a double
};
#define EXACT_DIGITS_MAX (UINT64_C(1) << 53)

static const double real_powers[EXACT_POWER_MAX + 1] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
};

static inline bool is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

// Digits of a run, of which the first that are not zero go into `digits`.
struct run {
    uint64_t digits;
    unsigned used;   // of them, from the first that is not zero
    int32_t dropped; // that found no room
    bool lost;       // one of them is not zero
};

static inline const char *run_scan(const char *p, struct run *r)
{
    for (; is_digit(*p); p++) {
        if (r->used == DIGITS_MAX) {
            r->dropped++;
            r->lost |= *p != '0';
            continue;
        }
        r->digits = r->digits * 10 + (uint64_t)(*p - '0');
        r->used += r->digits != 0;
    }
    return p;
}

static const char *exponent_scan(const char *p, int32_t *ret)
{
    bool negative = *p == '-';
    if (*p == '-' || *p == '+')
        p++;
    if (!is_digit(*p))
        return NULL;
    int32_t value = 0;
    for (; is_digit(*p); p++)
        value = value < EXPONENT_MAX / 10 ? value * 10 + (*p - '0') : EXPONENT_MAX;
    *ret = negative ? -value : value;
    return p;
}

const char *number_scan(const char *p, struct number *ret)
{
    const char *start = p;
    struct number x = { .negative = *p == '-' };
    struct run r = { 0 };
    if (x.negative)
        p++;
    if (!is_digit(*p) || (*p == '0' && is_digit(p[1])))
        return NULL;
    p = run_scan(p, &r);
    x.exponent = r.dropped;
    if (*p == '.') {
        const char *point = ++p;
        int32_t dropped = r.dropped;
        p = run_scan(p, &r);
        if (p == point)
            return NULL;
        x.exponent -= (int32_t)(p - point) - (r.dropped - dropped);
    }
    if (*p == 'e' || *p == 'E') {
        int32_t exponent = 0;
        p = exponent_scan(p + 1, &exponent);
        if (p == NULL)
            return NULL;
        x.exponent += exponent;
    }
    x.digits = r.digits;
    x.exact = !r.lost;
    x.text = str_from(start, (size_t)(p - start));
    *ret = x;
    return p;
}

bool number_whole(const struct number *x, int64_t *ret)
{
    if (!x->exact)
        return false;
    uint64_t value = x->digits;
    int32_t e = value == 0 ? 0 : x->exponent;
    for (; e > 0; e--)
        if (__builtin_mul_overflow(value, 10, &value))
            return false;
    for (; e < 0; e++) {
        if (value % 10 != 0)
            return false;
        value /= 10;
    }
    if (value > (uint64_t)INT64_MAX + x->negative)
        return false;
    *ret = x->negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

bool number_real(const struct number *x, double *ret)
{
    // Both are exact in a double, so that one operation rounds once.
    if (x->exact && x->digits <= EXACT_DIGITS_MAX && x->exponent >= -EXACT_POWER_MAX &&
        x->exponent <= EXACT_POWER_MAX) {
        double value = (double)x->digits;
        value =
            x->exponent < 0 ? value / real_powers[-x->exponent] : value * real_powers[x->exponent];
        *ret = x->negative ? -value : value;
        return true;
    }
    *ret = strtod(x->text.p, NULL); // the program stays in the C locale
    return !isinf(*ret);
}

bool number_decimal(const struct number *x, unsigned precision, unsigned scale, Decimal *ret)
{
    // How many of the digits written stand before the point of the value times 10^scale.
    Str whole, rest;
    Str text = str_skip(x->text, x->negative);
    size_t mantissa = 0;
    while (mantissa < text.n && text.p[mantissa] != 'e' && text.p[mantissa] != 'E')
        mantissa++;
    int32_t exponent = 0;
    if (mantissa < text.n)
        exponent_scan(text.p + mantissa + 1, &exponent);
    str_cut(str_head(text, mantissa), '.', &whole, &rest);
    int64_t kept = (int64_t)whole.n + exponent + scale;

    Decimal max = 1, value = 0;
    for (unsigned i = 0; i < precision; i++)
        max *= 10;
    int64_t written = (int64_t)(whole.n + rest.n);
    for (int64_t i = 0; i < kept; i++) {
        char c = i < (int64_t)whole.n ? whole.p[i]
                 : i < written        ? rest.p[i - (int64_t)whole.n]
                                      : '0';
        if (i >= written && value == 0)
            break;
        if (value >= max / 10)
            return false;
        value = value * 10 + (c - '0');
    }
    if (kept >= 0 && kept < written) {
        char next = kept < (int64_t)whole.n ? whole.p[kept] : rest.p[kept - (int64_t)whole.n];
        value += next >= '5';
    }
    if (value >= max)
        return false;
    *ret = x->negative ? -value : value;
    return true;
}
