// SPDX-License-Identifier: Apache-2.0
#include "codec/crc.h"
#include "codec/crc_fold.h"
#include "codec/kernel_test.h"

// By the definition, a bit at a time.
static uint32_t by_definition(const char *p, size_t n)
{
    uint32_t c = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        c ^= (unsigned char)p[i];
        for (int bit = 0; bit < 8; bit++)
            c = (c & 1) != 0 ? (c >> 1) ^ (uint32_t)CRC32_POLYNOMIAL : c >> 1;
    }
    return ~c;
}

// Up to where memory ends; in one piece and in two.
static void every_length(struct arena *a)
{
    enum { BYTES = 700 };
    (void)a;
    char *bytes = guarded_noise(BYTES, 5);
    for (size_t n = 0; n < BYTES; n++) {
        const char *p = bytes + BYTES - n;
        uint32_t want = by_definition(p, n);
        size_t cut = n * 3 / 7;
        EXPECT(crc32_zlib(0, p, n) == want);
        EXPECT(crc32_zlib(crc32_zlib(0, p, cut), p + cut, n - cut) == want);
    }
    guarded_free(bytes, BYTES);
}

TEST(every_form_of_crc32_gives_what_the_definition_gives_at_every_length)
{
    with_each_kernel(&crc32_choice, a, every_length);
}
