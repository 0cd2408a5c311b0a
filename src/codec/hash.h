// SPDX-License-Identifier: Apache-2.0
// MD5 (RFC 1321), SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104), by OpenSSL, with the algorithms
// fetched once: a one-shot EVP call costs several times the hash of a short key.
#pragma once
#include "base/buf.h"

enum { MD5_BYTES = 16, SHA256_BYTES = 32 };

void md5(const void *p, size_t n, unsigned char out[MD5_BYTES]);
void sha256(const void *p, size_t n, unsigned char out[SHA256_BYTES]);

// SHA-256 of bytes that come in pieces.
struct sha256;
struct sha256 *sha256_open(void);
void sha256_add(struct sha256 *h, const void *p, size_t n);
void sha256_end(struct sha256 *h,
                unsigned char out[SHA256_BYTES]); // it can only be closed after it
void sha256_close(struct sha256 *h);              // NULL is fine
AUTO_CLOSE(sha256)

void hmac_sha256(Str key, Str message, unsigned char out[SHA256_BYTES]);
bool bytes_equal_in_constant_time(const void *x, const void *y, size_t n);

void hex_lower(char *out, const void *in, size_t n); // writes 2 * n characters
Str hex_str(struct arena *a, const void *in, size_t n);
bool hex_decode(void *out, Str hex); // writes hex.n / 2 bytes; false: not hex
