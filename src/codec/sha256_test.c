// SPDX-License-Identifier: Apache-2.0
// Every kind of SHA-256 that this processor has, against the scalar one and OpenSSL's digest.
#include "base/test.h"
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

// A sequence that is the same in every run (xorshift64).
static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static char *noise(struct arena *a, size_t n)
{
    uint64_t state = 88172645463325252;
    char *p = arena_alloc(a, n, 1);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)next(&state);
    return p;
}

// Runs `check` with every kind; a kind that this processor lacks is left out, and says so.
static void with_each(struct arena *a, void (*check)(struct arena *a))
{
    for (size_t i = 0; i < sha256_kind_count; i++) {
        const struct sha256_kind *k = &sha256_kinds[i];
        if (!k->available()) {
            printf("# SKIP %s: this processor has not got it\n", k->name);
            continue;
        }
        sha256_use(k);
        check(a);
    }
    sha256_use(NULL);
}

static void each_length(struct arena *a)
{
    char *bytes = noise(a, LENGTHS + 64);
    for (size_t n = 0; n < LENGTHS; n++) {
        Str s = str_from(bytes + n % 64, n); // at every place beside a boundary
        EXPECT(same(found(s), expected(s)));
    }
}

TEST(every_kind_of_sha256_gives_the_digest_at_every_length)
{
    with_each(a, each_length);
}

static void large_ones(struct arena *a)
{
    char *bytes = noise(a, LARGE_BYTES + 64);
    uint64_t state = 1;
    for (int i = 0; i < LARGE_ROUNDS; i++) {
        Str s = str_from(bytes + next(&state) % 64, next(&state) % LARGE_BYTES);
        EXPECT(same(found(s), expected(s)));
    }
}

TEST(every_kind_of_sha256_gives_the_digest_of_large_messages)
{
    with_each(a, large_ones);
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
        size_t n = next(&state) % LARGE_BYTES, m = next(&state) % LARGE_BYTES;
        expect_pair(str_from(bytes + i, n), str_from(bytes + next(&state) % 64, m));
    }
}

TEST(two_messages_at_once_give_the_digests_of_each)
{
    with_each(a, pairs);
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
            uint64_t random = next(&state);
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
    with_each(a, pieces);
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
    with_each(a, codes);
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

TEST(the_kind_that_is_used_is_the_best_that_there_is)
{
    EXPECT(sha256_kind()->available());
    EXPECT(strcmp(sha256_kind()->name, "scalar") != 0);
    printf("# sha256: %s\n", sha256_kind()->name);
#ifdef __x86_64__
    EXPECT((strcmp(sha256_kind()->name, "sha-ni") == 0) == sha256_has_ni());
#endif
}
