// SPDX-License-Identifier: Apache-2.0
// MD5 (RFC 1321), SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104). The block functions are our
// own, chosen once by what the processor can do (sha256_priv.h, md5_priv.h). All states are plain
// values without memory of their own. Nothing here fails.
#pragma once
#include "base/buf.h"

enum { MD5_BYTES = 16, SHA256_BYTES = 32, SHA256_WORDS = 8, SHA256_BLOCK_BYTES = 64 };

void md5(const void *p, size_t n, unsigned char out[MD5_BYTES]);
// The digests of many messages; up to 55 bytes long, eight of them cost little more than one.
void md5_many(const Str *messages, size_t n, unsigned char (*out)[MD5_BYTES]);

void sha256(const void *p, size_t n, unsigned char out[SHA256_BYTES]);
// Two digests at once: where the processor allows, little slower than the longer one alone.
void sha256_pair(Str x, Str y, unsigned char out_x[SHA256_BYTES],
                 unsigned char out_y[SHA256_BYTES]);

// SHA-256 of bytes that come in pieces.
struct sha256 {
    uint32_t words[SHA256_WORDS]; // after all whole blocks
    uint64_t n;                   // bytes so far
    unsigned char part[SHA256_BLOCK_BYTES];
};
void sha256_init(struct sha256 *h);
void sha256_add(struct sha256 *h, const void *p, size_t n);
// The same as sha256_add(g, x) and sha256_add(h, y), for two different states.
void sha256_add_pair(struct sha256 *g, Str x, struct sha256 *h, Str y);
void sha256_end(struct sha256 *h, unsigned char out[SHA256_BYTES]); // of no use after it

void hmac_sha256(Str key, Str message, unsigned char out[SHA256_BYTES]);
// A key of which the two blocks that depend on it alone are done: half the cost of a short message.
// As secret as the key.
typedef struct HmacKey {
    uint32_t inner[SHA256_WORDS], outer[SHA256_WORDS];
} HmacKey;
void hmac_prepare(Str key, HmacKey *ret);
void hmac_with(const HmacKey *key, Str message, unsigned char out[SHA256_BYTES]);

bool bytes_equal_in_constant_time(const void *x, const void *y, size_t n);

void hex_lower(char *out, const void *in, size_t n); // writes 2 * n characters
Str hex_str(struct arena *a, const void *in, size_t n);
bool hex_decode(void *out, Str hex); // writes hex.n / 2 bytes; false: not hex
