// SPDX-License-Identifier: Apache-2.0
#include "codec/hash.h"

#include <endian.h>
#include <openssl/crypto.h>
#include <string.h>

bool bytes_equal_in_constant_time(const void *x, const void *y, size_t n)
{
    return CRYPTO_memcmp(x, y, n) == 0;
}

// Four bytes, the first the lowest, to eight digits at once.
static uint64_t hex_of_four(uint32_t bytes)
{
    const uint64_t each = 0x0101010101010101;
    uint64_t v = (bytes | (uint64_t)bytes << 16) & 0x0000ffff0000ffff;
    v = (v | v << 8) & 0x00ff00ff00ff00ff;
    uint64_t digits = (v >> 4 & 0x000f000f000f000f) | (v & 0x000f000f000f000f) << 8;
    uint64_t letters = (digits + 6 * each) >> 4 & each; // 1 where the digit is above 9
    return digits + '0' * each + letters * ('a' - '9' - 1);
}

void hex_lower(char *out, const void *in, size_t n)
{
    const unsigned char *p = in;
    size_t i = 0;
    for (uint32_t four; n - i >= sizeof four; i += sizeof four) {
        memcpy(&four, p + i, sizeof four);
        uint64_t eight = htole64(hex_of_four(le32toh(four)));
        memcpy(out + 2 * i, &eight, sizeof eight);
    }
    for (; i < n; i++) {
        out[2 * i] = "0123456789abcdef"[p[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[p[i] & 15];
    }
}

Str hex_str(struct arena *a, const void *in, size_t n)
{
    char *p = arena_new(a, char, mul_checked(n, 2));
    hex_lower(p, in, n);
    return str_from(p, 2 * n);
}

// The value of a digit plus one, so that the rest of the table is "no digit".
static const unsigned char digit_plus_one[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

bool hex_decode(void *out, Str hex)
{
    unsigned char *p = out;
    if (hex.n % 2 != 0)
        return false;
    for (size_t i = 0; i < hex.n; i += 2) {
        unsigned high = digit_plus_one[(unsigned char)hex.p[i]];
        unsigned low = digit_plus_one[(unsigned char)hex.p[i + 1]];
        if (high == 0 || low == 0)
            return false;
        p[i / 2] = (unsigned char)((high - 1) << 4 | (low - 1));
    }
    return true;
}
