// SPDX-License-Identifier: Apache-2.0
// MD5 in C and many at once, in every form, against OpenSSL's digest.
#include "codec/kernel_test.h"
#include "codec/md5_priv.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTHS = 301 };

static bool is_digest_of(const unsigned char digest[MD5_BYTES], Str s)
{
    unsigned char want[MD5_BYTES];
    CHECK(EVP_Digest(s.p, s.n, want, NULL, EVP_md5(), NULL) == 1);
    return memcmp(digest, want, sizeof want) == 0;
}

static char *noise(struct arena *a, size_t n)
{
    uint32_t state = 2463534242;
    char *p = arena_alloc(a, n, 1);
    for (size_t i = 0; i < n; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        p[i] = (char)state;
    }
    return p;
}

TEST(md5_gives_the_digest_at_every_length_and_of_large_messages)
{
    enum { LARGE_BYTES = 100000 };
    char *bytes = noise(a, LARGE_BYTES);
    unsigned char digest[MD5_BYTES];
    for (size_t n = 0; n < LENGTHS; n++) {
        md5_scalar(bytes + n % 16, n, digest);
        EXPECT(is_digest_of(digest, str_from(bytes + n % 16, n)));
    }
    for (size_t n = LARGE_BYTES - 200; n < LARGE_BYTES; n += 7) {
        md5_scalar(bytes + LARGE_BYTES - n, n, digest);
        EXPECT(is_digest_of(digest, str_from(bytes + LARGE_BYTES - n, n)));
    }
}

static void many(struct arena *a)
{
    char *bytes = noise(a, 4 * LENGTHS);
    Str messages[LENGTHS];
    unsigned char digests[LENGTHS + 1][MD5_BYTES];
    for (size_t count = 0; count <= LENGTHS; count = count < 20 ? count + 1 : count + 47) {
        for (size_t i = 0; i < count; i++) // short and long mixed
            messages[i] = str_from(bytes + i * 3, (i * 37 + count) % LENGTHS);
        memset(digests[count], 0x5a, MD5_BYTES);
        md5_many(messages, count, digests);
        for (size_t i = 0; i < count; i++)
            EXPECT(is_digest_of(digests[i], messages[i]));
        EXPECT(digests[count][0] == 0x5a && digests[count][MD5_BYTES - 1] == 0x5a);
    }
}

TEST(many_digests_are_those_of_each_however_many_and_long)
{
    with_each_kernel(&md5_choice, a, many);
}

static void exact_messages(struct arena *a)
{
    (void)a;
    enum { COUNT = 11 };
    for (size_t n = 0; n <= MD5_SHORT_BYTES_MAX + 1; n++) {
        Str messages[COUNT];
        unsigned char digests[COUNT][MD5_BYTES];
        char *exact = malloc(MAX(n, (size_t)1)); // the sanitizer watches its end
        CHECK(exact != NULL);
        memset(exact, 'k', MAX(n, (size_t)1));
        for (size_t i = 0; i < COUNT; i++)
            messages[i] = i == 0 ? (Str){ 0 } : str_from(exact, n);
        md5_many(messages, COUNT, digests);
        EXPECT(is_digest_of(digests[0], S("")));
        for (size_t i = 1; i < COUNT; i++)
            EXPECT(is_digest_of(digests[i], messages[i]));
        free(exact);
    }
}

TEST(no_byte_beyond_a_short_message_is_read)
{
    with_each_kernel(&md5_choice, a, exact_messages);
}
