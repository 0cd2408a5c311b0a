// SPDX-License-Identifier: Apache-2.0
#include "codec/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SHA256_BLOCK_BYTES = 64 };

// OpenSSL fails here only for want of memory or because its configuration forbids the algorithm.
// Neither can be answered by a caller, so both end the program.
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t context_key;
static EVP_MD *md5_algorithm;
static EVP_MD *sha256_algorithm;

static void free_context(void *p)
{
    EVP_MD_CTX_free(p);
}

static void fetch_algorithms(void)
{
    md5_algorithm = EVP_MD_fetch(NULL, "MD5", NULL);
    sha256_algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
    CHECK(md5_algorithm != NULL && sha256_algorithm != NULL);
    CHECK(pthread_key_create(&context_key, free_context) == 0);
}

// This thread's context: made at its first use, freed when the thread ends.
static EVP_MD_CTX *own_context(void)
{
    CHECK(pthread_once(&once, fetch_algorithms) == 0);
    EVP_MD_CTX *c = pthread_getspecific(context_key);
    if (c == NULL) {
        c = EVP_MD_CTX_new();
        CHECK(c != NULL && pthread_setspecific(context_key, c) == 0);
    }
    return c;
}

static void start(EVP_MD_CTX *c, const EVP_MD *algorithm)
{
    CHECK(EVP_DigestInit_ex2(c, algorithm, NULL) == 1);
}

static void add(EVP_MD_CTX *c, const void *p, size_t n)
{
    CHECK(EVP_DigestUpdate(c, p, n) == 1);
}

static void finish(EVP_MD_CTX *c, unsigned char *out)
{
    CHECK(EVP_DigestFinal_ex(c, out, NULL) == 1);
}

void md5(const void *p, size_t n, unsigned char out[MD5_BYTES])
{
    EVP_MD_CTX *c = own_context();
    start(c, md5_algorithm);
    add(c, p, n);
    finish(c, out);
}

void sha256(const void *p, size_t n, unsigned char out[SHA256_BYTES])
{
    EVP_MD_CTX *c = own_context();
    start(c, sha256_algorithm);
    add(c, p, n);
    finish(c, out);
}

// An OpenSSL context under our own name.
struct sha256 {
    EVP_MD_CTX *context;
};

struct sha256 *sha256_open(void)
{
    CHECK(pthread_once(&once, fetch_algorithms) == 0);
    struct sha256 *h = xalloc(sizeof *h);
    h->context = EVP_MD_CTX_new();
    CHECK(h->context != NULL);
    start(h->context, sha256_algorithm);
    return h;
}

void sha256_add(struct sha256 *h, const void *p, size_t n)
{
    add(h->context, p, n);
}

void sha256_end(struct sha256 *h, unsigned char out[SHA256_BYTES])
{
    finish(h->context, out);
}

void sha256_close(struct sha256 *h)
{
    if (h == NULL)
        return;
    EVP_MD_CTX_free(h->context);
    free(h);
}

void hmac_sha256(Str key, Str message, unsigned char out[SHA256_BYTES])
{
    unsigned char block[SHA256_BLOCK_BYTES] = { 0 };
    unsigned char inner[SHA256_BYTES];
    if (key.n > sizeof block)
        sha256(key.p, key.n, block);
    else if (key.n > 0)
        memcpy(block, key.p, key.n);

    EVP_MD_CTX *c = own_context();
    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= 0x36;
    start(c, sha256_algorithm);
    add(c, block, sizeof block);
    add(c, message.p, message.n);
    finish(c, inner);

    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= 0x36 ^ 0x5c;
    start(c, sha256_algorithm);
    add(c, block, sizeof block);
    add(c, inner, sizeof inner);
    finish(c, out);
    OPENSSL_cleanse(block, sizeof block); // it is the key
}

bool bytes_equal_in_constant_time(const void *x, const void *y, size_t n)
{
    return CRYPTO_memcmp(x, y, n) == 0;
}

void hex_lower(char *out, const void *in, size_t n)
{
    const unsigned char *p = in;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = "0123456789abcdef"[p[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[p[i] & 15];
    }
}

Str hex_str(struct arena *a, const void *in, size_t n)
{
    char *p = arena_new(a, char, mul_checked(n, 2));
    hex_lower(p, in, n);
    return str_from(p, 2 * n);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool hex_decode(void *out, Str hex)
{
    unsigned char *p = out;
    if (hex.n % 2 != 0)
        return false;
    for (size_t i = 0; i < hex.n; i += 2) {
        int high = hex_digit(hex.p[i]), low = hex_digit(hex.p[i + 1]);
        if (high < 0 || low < 0)
            return false;
        p[i / 2] = (unsigned char)(high << 4 | low);
    }
    return true;
}
