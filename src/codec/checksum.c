// SPDX-License-Identifier: Apache-2.0
#include "codec/checksum.h"
#include "codec/crc.h"
#include "codec/hash.h"

#include <isa-l/crc.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Reflected: the bit of x^0 is the highest.
#define POLYNOMIAL_CRC32 UINT64_C(0xedb88320)
#define POLYNOMIAL_CRC32C UINT64_C(0x82f63b78)
#define POLYNOMIAL_CRC64NVME UINT64_C(0x9a6c9329ac4bc9b5)

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

// ---- Polynomials modulo that of a CRC

// The product of two polynomials modulo the CRC's.
static uint64_t times(uint64_t x, uint64_t y, uint64_t polynomial, uint64_t highest)
{
    uint64_t product = 0;
    for (uint64_t bit = highest; bit != 0; bit >>= 1) {
        if ((x & bit) != 0)
            product ^= y;
        y = (y & 1) != 0 ? (y >> 1) ^ polynomial : y >> 1;
    }
    return product;
}

// x to the power n.
static uint64_t power_of_x(uint64_t n, uint64_t polynomial, uint64_t highest)
{
    uint64_t power = highest, square = highest >> 1; // x^0 and x^1
    for (; n > 0; n >>= 1) {
        if ((n & 1) != 0)
            power = times(power, square, polynomial, highest);
        square = times(square, square, polynomial, highest);
    }
    return power;
}

// ---- CRC-64/NVME: by eight tables, eight bytes in a step; long runs by multiplication without
// carries, where the processor has it (Gopal and others, "Fast CRC computation for generic
// polynomials using PCLMULQDQ instruction", Intel 2009)

enum { STEP = 8, BYTE_VALUES = 256, BLOCK = 16, LANES = 4 };
static uint64_t table[STEP][BYTE_VALUES];
static uint64_t fold_one[2], fold_lanes[2]; // by a block, and by all lanes: low half, high half
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_make(void)
{
    const uint64_t highest = UINT64_C(1) << 63;
    for (size_t i = 0; i < BYTE_VALUES; i++) {
        uint64_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = (c & 1) != 0 ? (c >> 1) ^ POLYNOMIAL_CRC64NVME : c >> 1;
        table[0][i] = c;
    }
    for (size_t k = 1; k < STEP; k++)
        for (size_t i = 0; i < BYTE_VALUES; i++)
            table[k][i] = table[0][table[k - 1][i] & 0xff] ^ (table[k - 1][i] >> 8);
    // The first eight bytes of a block are the terms of x^64 and above. The product of two
    // reflected numbers is x times too large, hence the ones less.
    fold_one[0] = power_of_x(128 + 63, POLYNOMIAL_CRC64NVME, highest);
    fold_one[1] = power_of_x(128 - 1, POLYNOMIAL_CRC64NVME, highest);
    fold_lanes[0] = power_of_x(128 * LANES + 63, POLYNOMIAL_CRC64NVME, highest);
    fold_lanes[1] = power_of_x(128 * LANES - 1, POLYNOMIAL_CRC64NVME, highest);
}

// `state` is the register, complemented at both ends by the caller.
static uint64_t crc64_by_tables(uint64_t state, const unsigned char *p, size_t n)
{
    for (; n >= STEP; n -= STEP, p += STEP) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        state ^= word; // little endian, as all machines that this runs on
        state = table[7][state & 0xff] ^ table[6][(state >> 8) & 0xff] ^
                table[5][(state >> 16) & 0xff] ^ table[4][(state >> 24) & 0xff] ^
                table[3][(state >> 32) & 0xff] ^ table[2][(state >> 40) & 0xff] ^
                table[1][(state >> 48) & 0xff] ^ table[0][state >> 56];
    }
    for (; n > 0; n--, p++)
        state = table[0][(state ^ *p) & 0xff] ^ (state >> 8);
    return state;
}

#if defined(__x86_64__)
#define FOLDS __attribute__((target("pclmul,sse2")))

static inline FOLDS __m128i fold(__m128i x, __m128i by, __m128i next)
{
    return _mm_xor_si128(
        _mm_xor_si128(_mm_clmulepi64_si128(x, by, 0x00), _mm_clmulepi64_si128(x, by, 0x11)), next);
}

static inline FOLDS __m128i load(const unsigned char *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

// Whole blocks, at least LANES of them; *ret_n is how many bytes that were.
static FOLDS uint64_t crc64_by_folding(uint64_t state, const unsigned char *p, size_t n,
                                       size_t *ret_n)
{
    const __m128i one = _mm_set_epi64x((int64_t)fold_one[1], (int64_t)fold_one[0]);
    const __m128i all = _mm_set_epi64x((int64_t)fold_lanes[1], (int64_t)fold_lanes[0]);
    unsigned char last[BLOCK];
    __m128i x[LANES];
    size_t at = LANES * BLOCK;
    for (size_t i = 0; i < LANES; i++)
        x[i] = load(p + i * BLOCK);
    x[0] = _mm_xor_si128(x[0], _mm_set_epi64x(0, (int64_t)state));
    for (; n - at >= LANES * BLOCK; at += LANES * BLOCK)
        for (size_t i = 0; i < LANES; i++)
            x[i] = fold(x[i], all, load(p + at + i * BLOCK));
    for (size_t i = 1; i < LANES; i++)
        x[0] = fold(x[0], one, x[i]);
    for (; n - at >= BLOCK; at += BLOCK)
        x[0] = fold(x[0], one, load(p + at));
    _mm_storeu_si128((__m128i *)(void *)last, x[0]);
    *ret_n = at;
    return crc64_by_tables(0, last, sizeof last);
}

static bool can_fold(void)
{
    return __builtin_cpu_supports("pclmul");
}
#else
static uint64_t crc64_by_folding(uint64_t state, const unsigned char *p, size_t n, size_t *ret_n)
{
    (void)p;
    (void)n;
    *ret_n = 0;
    return state;
}

static bool can_fold(void)
{
    return false;
}
#endif

static uint64_t crc64_nvme(uint64_t crc, const unsigned char *p, size_t n)
{
    size_t done = 0;
    uint64_t state = ~crc;
    pthread_once(&table_once, table_make);
    if (n >= (size_t)LANES * BLOCK && can_fold())
        state = crc64_by_folding(state, p, n, &done);
    return ~crc64_by_tables(state, p + done, n - done);
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
        c->crc = crc32_gzip_refl((uint32_t)c->crc, p, n);
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
    uint64_t polynomial = kind == CHECKSUM_CRC32    ? POLYNOMIAL_CRC32
                          : kind == CHECKSUM_CRC32C ? POLYNOMIAL_CRC32C
                                                    : POLYNOMIAL_CRC64NVME;
    size_t n = checksum_bytes(kind);
    uint64_t highest = UINT64_C(1) << (8 * n - 1);
    uint64_t power = power_of_x(8 * bytes, polynomial, highest); // eight for each byte
    uint64_t first = times(take_number(out, n), power, polynomial, highest);
    put_number(out, n, first ^ take_number(next, n));
}
