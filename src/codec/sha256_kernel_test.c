// SPDX-License-Identifier: Apache-2.0
// Every form of SHA-256 against the one in C, and that one against the digests of FIPS 180-4.
// Nothing else is needed, so that this also runs where only our own code was compiled.
#include "codec/kernel_test.h"
#include "codec/sha256_priv.h"

#include <string.h>

TEST(sha256_gives_the_digests_of_the_standard)
{
    static const struct {
        const char *message;
        uint32_t words[SHA256_WORDS];
    } cases[] = {
        { "abc",
          { 0xba7816bf, 0x8f01cfea, 0x414140de, 0x5dae2223, 0xb00361a3, 0x96177a9c, 0xb410ff61,
            0xf20015ad } },
        { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
          { 0x248d6a61, 0xd20638b8, 0xe5c02693, 0x0c3e6039, 0xa33ce459, 0x64ff2167, 0xf6ecedd4,
            0x19db06c1 } },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        unsigned char digest[SHA256_BYTES];
        sha256(cases[i].message, strlen(cases[i].message), digest);
        for (size_t w = 0; w < SHA256_WORDS; w++)
            for (size_t b = 0; b < 4; b++)
                EXPECT(digest[4 * w + b] == (cases[i].words[w] >> (24 - 8 * b) & 0xff));
    }
}

static const struct sha256_kernel *kernel(void)
{
    return (const struct sha256_kernel *)kernel_get(&sha256_choice);
}

static void start(uint32_t words[SHA256_WORDS], uint64_t *state)
{
    for (size_t i = 0; i < SHA256_WORDS; i++)
        words[i] = (uint32_t)noise_next(state);
}

// From any state, at every place beside a boundary, up to where memory ends.
static void blocks_of(size_t blocks, uint64_t seed)
{
    size_t n = blocks * SHA256_BLOCK_BYTES;
    char *p = guarded_noise(n + seed % 16, seed), *q = guarded_noise(n, seed + 1);
    const unsigned char *x = (unsigned char *)p, *y = (unsigned char *)q;
    uint32_t got[2][SHA256_WORDS], want[2][SHA256_WORDS];
    uint64_t state = seed + 1;
    start(got[0], &state);
    start(got[1], &state);
    memcpy(want, got, sizeof want);
    kernel()->two(got[0], x, got[1], y, blocks);
    sha256_scalar.one(want[0], x, blocks);
    sha256_scalar.one(want[1], y, blocks);
    EXPECT(memcmp(got, want, sizeof want) == 0);
    kernel()->one(got[0], y, blocks);
    sha256_scalar.one(want[0], y, blocks);
    EXPECT(memcmp(got, want, sizeof want) == 0);
    guarded_free(p, n + seed % 16);
    guarded_free(q, n);
}

static void any_blocks(struct arena *a)
{
    (void)a;
    for (size_t blocks = 0; blocks < 6; blocks++)
        for (uint64_t seed = 1; seed < 40; seed++)
            blocks_of(blocks, seed);
    blocks_of(300, 9);
}

TEST(blocks_of_one_and_of_two_messages_come_to_what_the_scalar_form_makes)
{
    with_each_kernel(&sha256_choice, a, any_blocks);
}

static void whole_messages(struct arena *a)
{
    (void)a;
    for (size_t n = 0; n < 300; n++) {
        unsigned char got[3][SHA256_BYTES], want[2][SHA256_BYTES];
        Str x = str_from(guarded_noise(n, n), n), y = str_head(x, n * 2 / 3);
        const struct kernel *form = kernel_get(&sha256_choice);
        sha256(x.p, x.n, got[0]);
        sha256_pair(x, y, got[1], got[2]);
        kernel_use(&sha256_choice, &sha256_scalar.kernel);
        sha256(x.p, x.n, want[0]);
        sha256(y.p, y.n, want[1]);
        kernel_use(&sha256_choice, form);
        EXPECT(memcmp(got[0], want[0], SHA256_BYTES) == 0);
        EXPECT(memcmp(got[1], want, sizeof want) == 0);
        guarded_free((char *)(uintptr_t)x.p, n);
    }
}

TEST(messages_of_every_length_have_the_digest_of_the_scalar_form)
{
    with_each_kernel(&sha256_choice, a, whole_messages);
}
