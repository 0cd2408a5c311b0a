// SPDX-License-Identifier: Apache-2.0
#include "codec/checksum.h"
#include "codec/crc.h"
#include "codec/crc64.h"
#include "codec/hash.h"

#include <openssl/evp.h>
#include <stdlib.h>

// Reflected: the bit of x^0 is the highest.
#define POLYNOMIAL_CRC32C UINT64_C(0x82f63b78)

struct checksum {
    ChecksumKind kind;
    uint64_t crc;
    struct sha256 sha256;
    EVP_MD_CTX *digest;
};

size_t checksum_bytes(ChecksumKind kind)
{
    static const size_t bytes[CHECKSUM_KINDS] = { 4, 4, 8, 20, SHA256_BYTES, MD5_BYTES };
    return bytes[kind];
}

bool checksum_is_crc(ChecksumKind kind)
{
    return kind <= CHECKSUM_CRC64NVME;
}

// ---- All kinds

void checksum_open(ChecksumKind kind, struct checksum **ret)
{
    struct checksum *c = xalloc(sizeof *c);
    c->kind = kind;
    sha256_init(&c->sha256);
    if (kind == CHECKSUM_SHA1 || kind == CHECKSUM_MD5) {
        c->digest = EVP_MD_CTX_new();
        CHECK(c->digest != NULL &&
              EVP_DigestInit_ex(c->digest, kind == CHECKSUM_MD5 ? EVP_md5() : EVP_sha1(), NULL) ==
                  1);
    }
    *ret = c;
}

void checksum_close(struct checksum *c)
{
    if (c == NULL)
        return;
    EVP_MD_CTX_free(c->digest);
    free(c);
}

void checksum_add(struct checksum *c, const void *p, size_t n)
{
    if (n == 0)
        return;
    switch (c->kind) {
    case CHECKSUM_CRC32:
        c->crc = crc32_zlib((uint32_t)c->crc, p, n);
        break;
    case CHECKSUM_CRC32C:
        c->crc = crc32c((uint32_t)c->crc, p, n);
        break;
    case CHECKSUM_CRC64NVME:
        c->crc = crc64_nvme(c->crc, p, n);
        break;
    case CHECKSUM_SHA256:
        sha256_add(&c->sha256, p, n);
        break;
    default:
        CHECK(EVP_DigestUpdate(c->digest, p, n) == 1);
        break;
    }
}

static uint64_t take_number(const unsigned char *p, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++)
        value = value << 8 | p[i];
    return value;
}

static void put_number(unsigned char *p, size_t n, uint64_t value)
{
    for (size_t i = n; i > 0; i--, value >>= 8)
        p[i - 1] = (unsigned char)value;
}

void checksum_end(struct checksum *c, unsigned char out[CHECKSUM_BYTES_MAX])
{
    if (checksum_is_crc(c->kind))
        put_number(out, checksum_bytes(c->kind), c->crc);
    else if (c->kind == CHECKSUM_SHA256)
        sha256_end(&c->sha256, out);
    else
        CHECK(EVP_DigestFinal_ex(c->digest, out, NULL) == 1);
}

void checksum_of(ChecksumKind kind, Str bytes, unsigned char out[CHECKSUM_BYTES_MAX])
{
    AUTO(checksum) c = NULL;
    checksum_open(kind, &c);
    checksum_add(c, bytes.p, bytes.n);
    checksum_end(c, out);
}

// ---- Joining: the first part's checksum times x to the power of the second one's bits

void checksum_join(ChecksumKind kind, unsigned char out[CHECKSUM_BYTES_MAX],
                   const unsigned char *next, uint64_t bytes)
{
    CHECK(checksum_is_crc(kind));
    uint64_t polynomial = kind == CHECKSUM_CRC32    ? CRC32_POLYNOMIAL
                          : kind == CHECKSUM_CRC32C ? POLYNOMIAL_CRC32C
                                                    : CRC64_NVME_POLYNOMIAL;
    size_t n = checksum_bytes(kind);
    uint64_t highest = UINT64_C(1) << (8 * n - 1);
    uint64_t power = crc_power_of_x(8 * bytes, polynomial, highest); // eight for each byte
    uint64_t first = crc_times(take_number(out, n), power, polynomial, highest);
    put_number(out, n, first ^ take_number(next, n));
}
