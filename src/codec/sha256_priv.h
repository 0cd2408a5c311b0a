// SPDX-License-Identifier: Apache-2.0
// The block functions of SHA-256. Each form takes whole blocks of one message, or as many of each
// of two messages; the two come to nothing more than one after the other where the processor has
// no instructions whose waiting time the other could fill.
//
//   sha-ni   x86 with its SHA extensions: 4 rounds take 8 cycles of waiting, so two streams fit
//   armv8    ARM with its SHA-2 extension, in the same way
//   openssl  OpenSSL's assembly for this processor, one stream: where neither is
//   scalar   the definition in C: the oracle of the others, never chosen
//
// Built with SHA256_ALONE nothing of OpenSSL is needed, and the scalar form takes its place: so the
// forms are tested where there is no OpenSSL, tests/neon.py.
#pragma once
#include "codec/hash.h"
#include "codec/kernel.h"

struct sha256_kernel {
    struct kernel kernel;
    void (*one)(uint32_t words[SHA256_WORDS], const unsigned char *p, size_t blocks);
    void (*two)(uint32_t v[SHA256_WORDS], const unsigned char *p, uint32_t w[SHA256_WORDS],
                const unsigned char *q, size_t blocks);
};

#if defined(__x86_64__)
extern const struct sha256_kernel sha256_ni;
#elif defined(__aarch64__)
extern const struct sha256_kernel sha256_armv8;
#endif
extern const struct sha256_kernel sha256_openssl, sha256_scalar;
extern struct kernel_choice sha256_choice;

extern const uint32_t sha256_constants[64];
