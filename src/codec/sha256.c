// SPDX-License-Identifier: Apache-2.0
// SHA-256 and HMAC over the block functions.
#include "codec/sha256_priv.h"

#include <endian.h>
#include <string.h>

static const uint32_t start_words[SHA256_WORDS] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static const struct kernel *const kernels[] = {
#if defined(__x86_64__)
    &sha256_ni.kernel,
#elif defined(__aarch64__)
    &sha256_armv8.kernel,
#endif
#ifndef SHA256_ALONE
    &sha256_openssl.kernel,
#endif
    &sha256_scalar.kernel,
};
struct kernel_choice sha256_choice = { kernels, COUNT_OF(kernels), NULL };

static const struct sha256_kernel *kernel(void)
{
    return (const struct sha256_kernel *)kernel_get(&sha256_choice);
}

// ---- Pieces

void sha256_init(struct sha256 *h)
{
    memcpy(h->words, start_words, sizeof h->words);
    h->n = 0;
}

// Takes of s what the block that was begun still needs; the rest begins with a block.
static Str fill_part(struct sha256 *h, Str s)
{
    size_t held = h->n % SHA256_BLOCK_BYTES, n = MIN(SHA256_BLOCK_BYTES - held, s.n);
    if (held == 0 || n == 0)
        return s;
    memcpy(h->part + held, s.p, n);
    h->n += n;
    if (held + n == SHA256_BLOCK_BYTES)
        kernel()->one(h->words, h->part, 1);
    return str_skip(s, n);
}

static Str skip_blocks(struct sha256 *h, Str s, size_t blocks)
{
    h->n += blocks * SHA256_BLOCK_BYTES;
    return str_skip(s, blocks * SHA256_BLOCK_BYTES);
}

static const unsigned char *bytes_of(Str s)
{
    return (const unsigned char *)s.p;
}

void sha256_add(struct sha256 *h, const void *p, size_t n)
{
    Str s = fill_part(h, str_from(p, n));
    size_t blocks = s.n / SHA256_BLOCK_BYTES;
    if (blocks > 0) {
        kernel()->one(h->words, bytes_of(s), blocks);
        s = skip_blocks(h, s, blocks);
    }
    if (s.n > 0)
        memcpy(h->part, s.p, s.n);
    h->n += s.n;
}

void sha256_add_pair(struct sha256 *g, Str x, struct sha256 *h, Str y)
{
    x = fill_part(g, x);
    y = fill_part(h, y);
    size_t blocks = MIN(x.n, y.n) / SHA256_BLOCK_BYTES;
    if (blocks > 0) {
        kernel()->two(g->words, bytes_of(x), h->words, bytes_of(y), blocks);
        x = skip_blocks(g, x, blocks);
        y = skip_blocks(h, y, blocks);
    }
    sha256_add(g, x.p, x.n);
    sha256_add(h, y.p, y.n);
}

void sha256_end(struct sha256 *h, unsigned char out[SHA256_BYTES])
{
    unsigned char end[2 * SHA256_BLOCK_BYTES] = { 0 };
    size_t held = h->n % SHA256_BLOCK_BYTES;
    size_t blocks = held + 1 + sizeof(uint64_t) > SHA256_BLOCK_BYTES ? 2 : 1;
    memcpy(end, h->part, held);
    end[held] = 0x80;
    uint64_t bits = htobe64(h->n * 8);
    memcpy(end + blocks * SHA256_BLOCK_BYTES - sizeof bits, &bits, sizeof bits);
    kernel()->one(h->words, end, blocks);
    for (int i = 0; i < SHA256_WORDS; i++) {
        uint32_t word = htobe32(h->words[i]);
        memcpy(out + sizeof word * (size_t)i, &word, sizeof word);
    }
}

void sha256(const void *p, size_t n, unsigned char out[SHA256_BYTES])
{
    struct sha256 h;
    sha256_init(&h);
    sha256_add(&h, p, n);
    sha256_end(&h, out);
}

void sha256_pair(Str x, Str y, unsigned char out_x[SHA256_BYTES], unsigned char out_y[SHA256_BYTES])
{
    struct sha256 g, h;
    sha256_init(&g);
    sha256_init(&h);
    sha256_add_pair(&g, x, &h, y);
    sha256_end(&g, out_x);
    sha256_end(&h, out_y);
}

// ---- HMAC

static void pad_hash(const unsigned char block[SHA256_BLOCK_BYTES], unsigned char pad,
                     uint32_t words[SHA256_WORDS])
{
    unsigned char padded[SHA256_BLOCK_BYTES];
    for (size_t i = 0; i < sizeof padded; i++)
        padded[i] = block[i] ^ pad;
    memcpy(words, start_words, sizeof start_words);
    kernel()->one(words, padded, 1);
    explicit_bzero(padded, sizeof padded); // it is the key
}

void hmac_prepare(Str key, HmacKey *ret)
{
    unsigned char block[SHA256_BLOCK_BYTES] = { 0 };
    if (key.n > sizeof block)
        sha256(key.p, key.n, block);
    else if (key.n > 0)
        memcpy(block, key.p, key.n);
    pad_hash(block, 0x36, ret->inner);
    pad_hash(block, 0x5c, ret->outer);
    explicit_bzero(block, sizeof block);
}

static void hash_after(const uint32_t words[SHA256_WORDS], Str s, unsigned char out[SHA256_BYTES])
{
    struct sha256 h = { .n = SHA256_BLOCK_BYTES };
    memcpy(h.words, words, sizeof h.words);
    sha256_add(&h, s.p, s.n);
    sha256_end(&h, out);
}

void hmac_with(const HmacKey *key, Str message, unsigned char out[SHA256_BYTES])
{
    unsigned char inner[SHA256_BYTES];
    hash_after(key->inner, message, inner);
    hash_after(key->outer, str_from(inner, sizeof inner), out);
}

void hmac_sha256(Str key, Str message, unsigned char out[SHA256_BYTES])
{
    HmacKey k;
    hmac_prepare(key, &k);
    hmac_with(&k, message, out);
    explicit_bzero(&k, sizeof k);
}
