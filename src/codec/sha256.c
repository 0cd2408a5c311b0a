// SPDX-License-Identifier: Apache-2.0
// SHA-256 and HMAC over the block functions, the scalar one among them.
#include "codec/sha256_priv.h"

#include <endian.h>
#include <stdatomic.h>
#include <string.h>

// OpenSSL's own state, because only it gives the block function by itself: the supported interface
// has no way to continue from eight words.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

const uint32_t sha256_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static const uint32_t start_words[SHA256_WORDS] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

// ---- Scalar: FIPS 180-4, 6.2.2.

static uint32_t turned(uint32_t x, unsigned by)
{
    return x >> by | x << (32 - by);
}

static void schedule(uint32_t w[64], const unsigned char *p)
{
    memcpy(w, p, SHA256_BLOCK_BYTES);
    for (int i = 0; i < 16; i++)
        w[i] = be32toh(w[i]);
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + w[i - 7] +
               (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
    }
}

static void scalar_one(uint32_t words[SHA256_WORDS], const unsigned char *p, size_t blocks)
{
    for (; blocks > 0; blocks--, p += SHA256_BLOCK_BYTES) {
        uint32_t w[64], s[SHA256_WORDS]; // s: a to h
        schedule(w, p);
        memcpy(s, words, sizeof s);
        for (int i = 0; i < 64; i++) {
            uint32_t a = s[0], e = s[4];
            uint32_t choice = (e & s[5]) ^ (~e & s[6]);
            uint32_t majority = (a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]);
            uint32_t t = s[7] + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + choice +
                         sha256_constants[i] + w[i];
            memmove(s + 1, s, sizeof s - sizeof *s);
            s[4] += t;
            s[0] = t + (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + majority;
        }
        for (int i = 0; i < SHA256_WORDS; i++)
            words[i] += s[i];
    }
}

static void scalar_two(uint32_t v[SHA256_WORDS], const unsigned char *p, uint32_t w[SHA256_WORDS],
                       const unsigned char *q, size_t blocks)
{
    scalar_one(v, p, blocks);
    scalar_one(w, q, blocks);
}

// ---- OpenSSL's

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

// ---- The choice

static bool always(void)
{
    return true;
}

const struct sha256_kind sha256_kinds[] = {
#ifdef __x86_64__
    { "sha-ni", sha256_has_ni, sha256_ni_one, sha256_ni_two },
#endif
    { "openssl", always, openssl_one, openssl_two },
    { "scalar", always, scalar_one, scalar_two },
};
const size_t sha256_kind_count = COUNT_OF(sha256_kinds);

static _Atomic(const struct sha256_kind *)
    chosen; // every thread that finds it empty finds the same

void sha256_use(const struct sha256_kind *kind)
{
    atomic_store(&chosen, kind);
}

const struct sha256_kind *sha256_kind(void)
{
    const struct sha256_kind *k = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (k != NULL)
        return k;
    for (k = sha256_kinds; !k->available();)
        k++;
    atomic_store_explicit(&chosen, k, memory_order_relaxed);
    return k;
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
        sha256_kind()->one(h->words, h->part, 1);
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
        sha256_kind()->one(h->words, bytes_of(s), blocks);
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
        sha256_kind()->two(g->words, bytes_of(x), h->words, bytes_of(y), blocks);
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
    sha256_kind()->one(h->words, end, blocks);
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
    sha256_kind()->one(words, padded, 1);
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
