// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/hashkey.h"
#include "codec/hash.h"

#include <endian.h>
#include <string.h>

enum { KEYS_AT_ONCE = 64 };

static HashKey from_digest(const unsigned char digest[MD5_BYTES])
{
    uint64_t high, low;
    memcpy(&high, digest, sizeof high);
    memcpy(&low, digest + sizeof high, sizeof low);
    return (HashKey)be64toh(high) << 64 | be64toh(low);
}

HashKey hash_key_of(Str partition_key)
{
    unsigned char digest[MD5_BYTES];
    md5(partition_key.p, partition_key.n, digest);
    return from_digest(digest);
}

void hash_keys_of(const Str *partition_keys, size_t n, HashKey *ret)
{
    unsigned char digests[KEYS_AT_ONCE][MD5_BYTES];
    for (size_t at = 0; at < n; at += KEYS_AT_ONCE) {
        size_t count = MIN(n - at, (size_t)KEYS_AT_ONCE);
        md5_many(partition_keys + at, count, digests);
        for (size_t i = 0; i < count; i++)
            ret[at + i] = from_digest(digests[i]);
    }
}

Str hash_key_str(struct arena *a, HashKey h)
{
    char digits[40];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + (unsigned)(h % 10));
        h /= 10;
    } while (h > 0);
    return str_dup(a, str_from(digits + at, sizeof digits - at));
}

Err hash_key_parse(Str text, HashKey *ret)
{
    HashKey h = 0;
    if (text.n == 0)
        return fail(ERR_INVALID, "a hash key is a decimal number");
    for (size_t i = 0; i < text.n; i++) {
        unsigned digit = (unsigned)(text.p[i] - '0');
        if (digit > 9)
            return fail(ERR_INVALID, "a hash key is a decimal number");
        if (h > (HASH_KEY_MAX - digit) / 10)
            return fail(ERR_LIMIT, "a hash key is below 2^128");
        h = h * 10 + digit;
    }
    *ret = h;
    return OK;
}

// floor(2^128 / n), though 2^128 itself does not fit.
static HashKey width(uint32_t n)
{
    CHECK(n > 0);
    return n == 1 ? 0 : HASH_KEY_MAX / n + (HASH_KEY_MAX % n == n - 1);
}

HashKey hash_key_start(uint32_t i, uint32_t n)
{
    CHECK(i < n);
    return width(n) * i;
}

HashKey hash_key_end(uint32_t i, uint32_t n)
{
    return i == n - 1 ? HASH_KEY_MAX : hash_key_start(i + 1, n) - 1;
}
