// SPDX-License-Identifier: Apache-2.0
// The block functions by OpenSSL.
#include "codec/sha256_priv.h"

#include <string.h>

// OpenSSL's own state, because only it gives the block function by itself: the supported interface
// has no way to continue from eight words.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

static void openssl_one(uint32_t words[SHA256_WORDS], const unsigned char *p, size_t blocks)
{
    _Static_assert(sizeof((SHA256_CTX *)0)->h == SHA256_WORDS * sizeof *words, "words of 32 bits");
    SHA256_CTX c;
    SHA256_Init(&c);
    memcpy(c.h, words, sizeof c.h);
    SHA256_Update(&c, p, blocks * SHA256_BLOCK_BYTES); // nothing is left over
    memcpy(words, c.h, sizeof c.h);
}

static void openssl_two(uint32_t v[SHA256_WORDS], const unsigned char *p, uint32_t w[SHA256_WORDS],
                        const unsigned char *q, size_t blocks)
{
    openssl_one(v, p, blocks);
    openssl_one(w, q, blocks);
}

const struct sha256_kernel sha256_openssl = { { "openssl", processor_always },
                                              openssl_one,
                                              openssl_two };
