// SPDX-License-Identifier: Apache-2.0
// The block functions of SHA-256. Each kind takes whole blocks of one message, or as many of each
// of two messages; the two come to nothing more than one after the other where the processor has
// no instructions whose waiting time the other could fill.
//
//   sha-ni   x86 with its SHA extensions: 4 rounds take 8 cycles of waiting, so two streams fit
//   openssl  OpenSSL's assembly for this processor, one stream: x86 without them, and ARM, where
//            it uses the crypto extension
//   scalar   the definition in C: the oracle of the others, never chosen
#pragma once
#include "codec/hash.h"

struct sha256_kind {
    const char *name;
    bool (*available)(void);
    void (*one)(uint32_t words[SHA256_WORDS], const unsigned char *p, size_t blocks);
    void (*two)(uint32_t v[SHA256_WORDS], const unsigned char *p, uint32_t w[SHA256_WORDS],
                const unsigned char *q, size_t blocks);
};

extern const struct sha256_kind sha256_kinds[]; // the best first
extern const size_t sha256_kind_count;
const struct sha256_kind *sha256_kind(void); // the one that is used
// For tests: another one, until it is called again; NULL: by the processor.
void sha256_use(const struct sha256_kind *kind);

extern const uint32_t sha256_constants[64];

#ifdef __x86_64__
bool sha256_has_ni(void);
void sha256_ni_one(uint32_t words[SHA256_WORDS], const unsigned char *p, size_t blocks);
void sha256_ni_two(uint32_t v[SHA256_WORDS], const unsigned char *p, uint32_t w[SHA256_WORDS],
                   const unsigned char *q, size_t blocks);
#endif
