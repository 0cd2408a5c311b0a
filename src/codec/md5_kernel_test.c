// SPDX-License-Identifier: Apache-2.0
// Every form of MD5 against the one in C, and that one against the digests of RFC 1321. Nothing
// else is needed, so that this also runs where only our own code was compiled.
#include "codec/kernel_test.h"
#include "codec/md5_priv.h"

#include <string.h>

static bool is_digest_of(const unsigned char digest[MD5_BYTES], Str s)
{
    unsigned char want[MD5_BYTES];
    md5_scalar(s.p, s.n, want);
    return memcmp(digest, want, sizeof want) == 0;
}

TEST(md5_gives_the_digests_of_rfc_1321)
{
    static const struct {
        const char *message;
        unsigned char digest[MD5_BYTES];
    } cases[] = {
        { "",
          { 0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04, 0xe9, 0x80, 0x09, 0x98, 0xec, 0xf8,
            0x42, 0x7e } },
        { "abc",
          { 0x90, 0x01, 0x50, 0x98, 0x3c, 0xd2, 0x4f, 0xb0, 0xd6, 0x96, 0x3f, 0x7d, 0x28, 0xe1,
            0x7f, 0x72 } },
        { "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
          { 0x57, 0xed, 0xf4, 0xa2, 0x2b, 0xe3, 0xc9, 0x55, 0xac, 0x49, 0xda, 0x2e, 0x21, 0x07,
            0xb6, 0x7a } },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        unsigned char digest[MD5_BYTES];
        md5(cases[i].message, strlen(cases[i].message), digest);
        EXPECT(memcmp(digest, cases[i].digest, sizeof digest) == 0);
    }
}

// Each lane has a length and a place of its own, and ends where memory ends.
static void full_lanes(size_t n)
{
    const struct md5_kernel *k = (const struct md5_kernel *)kernel_get(&md5_choice);
    Str messages[MD5_LANES_MAX];
    unsigned char digests[MD5_LANES_MAX][MD5_BYTES], *out[MD5_LANES_MAX];
    for (size_t i = 0; i < k->lanes; i++) {
        size_t length = (n + i * 7) % (MD5_SHORT_BYTES_MAX + 1);
        messages[i] = str_from(guarded_noise(length, n * MD5_LANES_MAX + i), length);
        out[i] = digests[i];
    }
    k->run(messages, out);
    for (size_t i = 0; i < k->lanes; i++)
        EXPECT(is_digest_of(digests[i], messages[i]));
    for (size_t i = 0; i < k->lanes; i++)
        guarded_free((char *)(uintptr_t)messages[i].p, messages[i].n);
}

static void every_short_length(struct arena *a)
{
    (void)a;
    if (((const struct md5_kernel *)kernel_get(&md5_choice))->lanes > 1)
        for (size_t n = 0; n <= MD5_SHORT_BYTES_MAX; n++)
            full_lanes(n);
}

TEST(lanes_give_the_digests_of_each_at_every_short_length)
{
    with_each_kernel(&md5_choice, a, every_short_length);
}

static void any_number(struct arena *a)
{
    enum { COUNT = 40, LENGTHS = 140 };
    (void)a;
    char *bytes = guarded_noise(COUNT + LENGTHS, 7);
    for (size_t count = 0; count <= COUNT; count++) {
        Str messages[COUNT];
        unsigned char digests[COUNT + 1][MD5_BYTES];
        for (size_t i = 0; i < count; i++) // short and long mixed
            messages[i] = str_from(bytes + i, (i * 37 + count) % LENGTHS);
        memset(digests[count], 0x5a, MD5_BYTES);
        md5_many(messages, count, digests);
        for (size_t i = 0; i < count; i++)
            EXPECT(is_digest_of(digests[i], messages[i]));
        EXPECT(digests[count][0] == 0x5a && digests[count][MD5_BYTES - 1] == 0x5a);
    }
    guarded_free(bytes, COUNT + LENGTHS);
}

TEST(any_number_of_messages_give_the_digests_of_each)
{
    with_each_kernel(&md5_choice, a, any_number);
}
