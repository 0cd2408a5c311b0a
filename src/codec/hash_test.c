// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "codec/crc.h"
#include "codec/hash.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static Str md5_hex(struct arena *a, Str s)
{
    unsigned char digest[MD5_BYTES];
    md5(s.p, s.n, digest);
    return hex_str(a, digest, sizeof digest);
}

static Str sha256_hex(struct arena *a, Str s)
{
    unsigned char digest[SHA256_BYTES];
    sha256(s.p, s.n, digest);
    return hex_str(a, digest, sizeof digest);
}

static Str hmac_hex(struct arena *a, Str key, Str message)
{
    unsigned char mac[SHA256_BYTES];
    hmac_sha256(key, message, mac);
    return hex_str(a, mac, sizeof mac);
}

static Str repeated(struct arena *a, char c, size_t n)
{
    char *p = arena_alloc(a, n, 1);
    memset(p, c, n);
    return str_from(p, n);
}

TEST(md5_gives_the_digests_of_rfc_1321)
{
    EXPECT_STR(S("d41d8cd98f00b204e9800998ecf8427e"), md5_hex(a, S("")));
    EXPECT_STR(S("900150983cd24fb0d6963f7d28e17f72"), md5_hex(a, S("abc")));
    EXPECT_STR(S("57edf4a22be3c955ac49da2e2107b67a"),
               md5_hex(a, S("1234567890123456789012345678901234567890"
                            "1234567890123456789012345678901234567890")));
}

TEST(sha256_gives_the_digests_of_fips_180)
{
    EXPECT_STR(S("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
               sha256_hex(a, (Str){ 0 }));
    EXPECT_STR(S("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
               sha256_hex(a, S("abc")));
    EXPECT_STR(S("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
               sha256_hex(a, repeated(a, 'a', 1000000)));
}

TEST(hmac_gives_the_codes_of_rfc_4231_for_short_and_long_keys)
{
    EXPECT_STR(S("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
               hmac_hex(a, repeated(a, 0x0b, 20), S("Hi There")));
    EXPECT_STR(S("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
               hmac_hex(a, S("Jefe"), S("what do ya want for nothing?")));
    EXPECT_STR(S("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
               hmac_hex(a, repeated(a, (char)0xaa, 131),
                        S("Test Using Larger Than Block-Size Key - Hash Key First")));
    EXPECT_STR(S("b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"),
               hmac_hex(a, (Str){ 0 }, (Str){ 0 }));
}

static void *hash_many(void *wrong)
{
    static const unsigned char want[4] = { 0x90, 0x01, 0x50, 0x98 };
    unsigned char digest[MD5_BYTES], longer[SHA256_BYTES];
    for (int i = 0; i < 2000; i++) {
        md5("abc", 3, digest);
        sha256("abc", 3, longer);
        if (memcmp(digest, want, sizeof want) != 0 || longer[0] != 0xba)
            *(bool *)wrong = true;
    }
    return NULL;
}

TEST(threads_hash_side_by_side)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    bool wrong[THREADS] = { false };
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, hash_many, &wrong[i]) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        EXPECT(!wrong[i]);
}

TEST(hex_goes_both_ways_and_refuses_what_is_not_hex)
{
    unsigned char bytes[4];
    EXPECT_STR(S("00ff1aa1"), hex_str(a, "\x00\xff\x1a\xa1", 4));
    EXPECT(hex_decode(bytes, S("00fF1AA1")));
    EXPECT(memcmp(bytes, "\x00\xff\x1a\xa1", 4) == 0);
    EXPECT(hex_decode(bytes, S("")));
    EXPECT(!hex_decode(bytes, S("abc")));
    EXPECT(!hex_decode(bytes, S("0g")) && !hex_decode(bytes, S("G0")) &&
           !hex_decode(bytes, S(" 0")));
}

TEST(every_byte_has_its_two_digits_at_every_place)
{
    unsigned char bytes[256 + 7], back[256 + 7];
    char text[2 * sizeof bytes + 1], want[3];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    for (size_t n = 0; n <= sizeof bytes; n++) {
        const unsigned char *from = bytes + sizeof bytes - n;
        text[2 * n] = '!';
        hex_lower(text, from, n);
        EXPECT(text[2 * n] == '!');
        for (size_t i = 0; i < n; i++) {
            snprintf(want, sizeof want, "%02x", from[i]);
            EXPECT(memcmp(text + 2 * i, want, 2) == 0);
        }
        EXPECT(hex_decode(back, str_from(text, 2 * n)) && memcmp(back, from, n) == 0);
    }
}

TEST(equality_in_constant_time_is_equality)
{
    EXPECT(bytes_equal_in_constant_time("same", "same", 4));
    EXPECT(!bytes_equal_in_constant_time("same", "sama", 4));
    EXPECT(bytes_equal_in_constant_time("x", "y", 0));
}

// The definition, bit by bit, as the oracle.
static uint32_t crc32c_by_bits(uint32_t crc, Str s)
{
    crc = ~crc;
    for (size_t i = 0; i < s.n; i++) {
        crc ^= (unsigned char)s.p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0x82f63b78u & (0 - (crc & 1)));
    }
    return ~crc;
}

TEST(crc32c_gives_the_vectors_of_rfc_3720)
{
    EXPECT(crc32c(0, "123456789", 9) == 0xe3069283);
    EXPECT(crc32c(0, repeated(a, 0, 32).p, 32) == 0x8a9136aa);
    EXPECT(crc32c(0, repeated(a, (char)0xff, 32).p, 32) == 0x62a8ab43);
    EXPECT(crc32c(0, NULL, 0) == 0);
}

TEST(crc32_zlib_gives_the_check_value_of_its_definition)
{
    EXPECT(crc32_zlib(0, "123456789", 9) == 0xcbf43926);
    EXPECT(crc32_zlib(crc32_zlib(0, "1234", 4), "56789", 5) == 0xcbf43926);
    EXPECT(crc32_zlib(0, NULL, 0) == 0);
}

TEST(crc32c_agrees_with_its_definition_at_every_length_and_over_pieces)
{
    char bytes[700];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 131 >> 3);
    for (size_t n = 0; n < sizeof bytes; n++) {
        Str s = str_from(bytes + n % 9, n - MIN(n, n % 9));
        EXPECT(crc32c(0, s.p, s.n) == crc32c_by_bits(0, s));
        size_t cut = s.n / 3;
        EXPECT(crc32c(crc32c(0, s.p, cut), s.p + cut, s.n - cut) == crc32c_by_bits(0, s));
    }
}
