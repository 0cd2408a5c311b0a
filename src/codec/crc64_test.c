// SPDX-License-Identifier: Apache-2.0
#include "codec/crc64.h"
#include "codec/crc_fold.h"
#include "codec/kernel_test.h"

// By the definition, a bit at a time.
static uint64_t by_definition(const char *p, size_t n)
{
    uint64_t c = UINT64_MAX;
    for (size_t i = 0; i < n; i++) {
        c ^= (unsigned char)p[i];
        for (int bit = 0; bit < 8; bit++)
            c = (c & 1) != 0 ? (c >> 1) ^ CRC64_NVME_POLYNOMIAL : c >> 1;
    }
    return ~c;
}

TEST(crc64_of_the_check_message_is_the_check_value_of_the_standard)
{
    EXPECT(crc64_nvme(0, "123456789", 9) == UINT64_C(0xae8b14860a799888));
    EXPECT(crc64_nvme(0, "", 0) == 0);
}

// Up to where memory ends; in one piece and in two.
static void every_length(struct arena *a)
{
    enum { BYTES = 700 };
    (void)a;
    char *bytes = guarded_noise(BYTES, 3);
    for (size_t n = 0; n < BYTES; n++) {
        const char *p = bytes + BYTES - n;
        uint64_t want = by_definition(p, n);
        size_t cut = n * 3 / 7;
        EXPECT(crc64_nvme(0, p, n) == want);
        EXPECT(crc64_nvme(crc64_nvme(0, p, cut), p + cut, n - cut) == want);
    }
    guarded_free(bytes, BYTES);
}

TEST(every_form_of_crc64_gives_what_the_definition_gives_at_every_length)
{
    with_each_kernel(&crc64_choice, a, every_length);
}
