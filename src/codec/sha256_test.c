// SPDX-License-Identifier: Apache-2.0
// Every form of SHA-256 that this processor has, against the scalar one and OpenSSL's digest.
#include "codec/kernel_test.h"
#include "codec/sha256_priv.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTHS = 301, LARGE_BYTES = 1 << 18, LARGE_ROUNDS = 20 };

typedef struct Digest {
    unsigned char at[SHA256_BYTES];
} Digest;

static bool same(Digest x, Digest y)
{
    return memcmp(x.at, y.at, sizeof x.at) == 0;
}

static Digest expected(Str s)
{
    Digest d = { { 0 } };
    CHECK(EVP_Digest(s.p, s.n, d.at, NULL, EVP_sha256(), NULL) == 1);
    return d;
}

static Digest found(Str s)
{
    Digest d = { { 0 } };
    sha256(s.p, s.n, d.at);
    return d;
}

static char *noise(struct arena *a, size_t n)
{
    uint64_t state = 88172645463325252;
    char *p = arena_alloc(a, n, 1);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)noise_next(&state);
    return p;
}

static void each_length(struct arena *a)
{
    char *bytes = noise(a, LENGTHS + 64);
    for (size_t n = 0; n < LENGTHS; n++) {
        Str s = str_from(bytes + n % 64, n); // at every place beside a boundary
        EXPECT(same(found(s), expected(s)));
    }
}

TEST(every_form_of_sha256_gives_the_digest_at_every_length)
{
    with_each_kernel(&sha256_choice, a, each_length);
}

static void large_ones(struct arena *a)
{
    char *bytes = noise(a, LARGE_BYTES + 64);
    uint64_t state = 1;
    for (int i = 0; i < LARGE_ROUNDS; i++) {
        Str s = str_from(bytes + noise_next(&state) % 64, noise_next(&state) % LARGE_BYTES);
        EXPECT(same(found(s), expected(s)));
    }
}

TEST(every_form_of_sha256_gives_the_digest_of_large_messages)
{
    with_each_kernel(&sha256_choice, a, large_ones);
}

static void expect_pair(Str x, Str y)
{
    Digest dx = { { 0 } }, dy = { { 0 } };
    sha256_pair(x, y, dx.at, dy.at);
    EXPECT(same(dx, expected(x)) && same(dy, expected(y)));
}

static void pairs(struct arena *a)
{
    char *bytes = noise(a, LARGE_BYTES + 64);
    for (size_t n = 0; n < LENGTHS; n++) {
        Str x = str_from(bytes + n % 61, n), y = str_from(bytes + n % 7, LENGTHS - 1 - n);
        expect_pair(x, y);
        expect_pair(x, x); // the same bytes twice
        expect_pair(x, str_from(bytes + 1, n));
    }
    uint64_t state = 2;
    for (int i = 0; i < LARGE_ROUNDS; i++) {
        size_t n = noise_next(&state) % LARGE_BYTES, m = noise_next(&state) % LARGE_BYTES;
        expect_pair(str_from(bytes + i, n), str_from(bytes + noise_next(&state) % 64, m));
    }
}

TEST(two_messages_at_once_give_the_digests_of_each)
{
    with_each_kernel(&sha256_choice, a, pairs);
}

// Two messages in pieces of any sizes, each piece alone or beside one of the other message.
static void pieces(struct arena *a)
{
    enum { BYTES = 5000, ROUNDS = 200, PIECE_BYTES_MAX = 300 };
    char *bytes = noise(a, 2 * BYTES);
    Str x = str_from(bytes, BYTES), y = str_from(bytes + BYTES, BYTES);
    Digest want_x = expected(x), want_y = expected(y);
    uint64_t state = 3;
    for (int round = 0; round < ROUNDS; round++) {
        struct sha256 g, h;
        Str rest_x = x, rest_y = y;
        sha256_init(&g);
        sha256_init(&h);
        while (rest_x.n + rest_y.n > 0) {
            uint64_t random = noise_next(&state);
            Str p = str_head(rest_x, random % PIECE_BYTES_MAX);
            Str q = str_head(rest_y, (random >> 16) % PIECE_BYTES_MAX);
            if ((random >> 32 & 1) != 0) {
                sha256_add_pair(&g, p, &h, q);
            } else {
                sha256_add(&g, p.p, p.n);
                sha256_add(&h, q.p, q.n);
            }
            rest_x = str_skip(rest_x, p.n);
            rest_y = str_skip(rest_y, q.n);
        }
        Digest dx = { { 0 } }, dy = { { 0 } };
        sha256_end(&g, dx.at);
        sha256_end(&h, dy.at);
        EXPECT(same(dx, want_x) && same(dy, want_y));
    }
}

TEST(pieces_beside_pieces_give_the_digests_of_the_whole)
{
    with_each_kernel(&sha256_choice, a, pieces);
}

static void codes(struct arena *a)
{
    char *bytes = noise(a, 2 * LENGTHS);
    for (size_t n = 0; n < LENGTHS; n++) {
        Str key = str_from(bytes, n), message = str_from(bytes + LENGTHS - n, LENGTHS - n);
        Digest want = { { 0 } }, whole = want, prepared = want;
        CHECK(HMAC(EVP_sha256(), key.p, (int)key.n, (const unsigned char *)message.p, message.n,
                   want.at, NULL) != NULL);
        hmac_sha256(key, message, whole.at);
        HmacKey k;
        hmac_prepare(key, &k);
        hmac_with(&k, message, prepared.at);
        EXPECT(same(whole, want) && same(prepared, want));
        hmac_with(&k, message, prepared.at); // the key is as it was
        EXPECT(same(prepared, want));
    }
}

TEST(hmac_agrees_with_openssl_for_keys_and_messages_of_every_length)
{
    with_each_kernel(&sha256_choice, a, codes);
}

TEST(no_byte_beyond_a_message_is_read)
{
    for (size_t n = 0; n < 200; n++) {
        char *exact = malloc(MAX(n, (size_t)1)); // the sanitizer watches its end
        CHECK(exact != NULL);
        memset(exact, 'x', MAX(n, (size_t)1));
        Str s = str_from(exact, n);
        EXPECT(same(found(s), expected(s)));
        expect_pair(s, s);
        free(exact);
    }
}

TEST(the_form_that_is_used_is_the_best_that_there_is)
{
    const char *name = kernel_get(&sha256_choice)->name;
    test_ran(name);
    EXPECT(strcmp(name, "scalar") != 0);
#if defined(__x86_64__)
    EXPECT((strcmp(name, "sha-ni") == 0) == processor_has_sha_ni());
#elif defined(__aarch64__)
    EXPECT((strcmp(name, "armv8") == 0) == processor_has_sha2());
#endif
}
