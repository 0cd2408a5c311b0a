// SPDX-License-Identifier: Apache-2.0
#include "codec/hash.h"

#include <openssl/crypto.h>

bool bytes_equal_in_constant_time(const void *x, const void *y, size_t n)
{
    return CRYPTO_memcmp(x, y, n) == 0;
}

void hex_lower(char *out, const void *in, size_t n)
{
    const unsigned char *p = in;
    for (size_t i = 0; i < n; i++) {
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

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool hex_decode(void *out, Str hex)
{
    unsigned char *p = out;
    if (hex.n % 2 != 0)
        return false;
    for (size_t i = 0; i < hex.n; i += 2) {
        int high = hex_digit(hex.p[i]), low = hex_digit(hex.p[i + 1]);
        if (high < 0 || low < 0)
            return false;
        p[i / 2] = (unsigned char)(high << 4 | low);
    }
    return true;
}
