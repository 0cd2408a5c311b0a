// SPDX-License-Identifier: Apache-2.0
// Test cases 13 to 15 of the GCM specification (McGrew and Viega, appendix B), which have keys of
// 256 bits, and what must not be unsealed.
#include "codec/gcm.h"
#include "base/test.h"
#include "codec/hash.h"

static const struct {
    Str key, nonce, plain, sealed, tag;
} cases[] = {
    { S_INIT("0000000000000000000000000000000000000000000000000000000000000000"),
      S_INIT("000000000000000000000000"), S_INIT(""), S_INIT(""),
      S_INIT("530f8afbc74536b9a963b4f1c4cb738b") },
    { S_INIT("0000000000000000000000000000000000000000000000000000000000000000"),
      S_INIT("000000000000000000000000"), S_INIT("00000000000000000000000000000000"),
      S_INIT("cea7403d4d606b6e074ec5d3baf39d18"), S_INIT("d0d1c8a799996bf0265b98b5d48ab919") },
    { S_INIT("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"),
      S_INIT("cafebabefacedbaddecaf888"),
      S_INIT("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
             "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"),
      S_INIT("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
             "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"),
      S_INIT("b094dac5d93471bdec1a502270e3cc6c") },
};

TEST(sealing_gives_what_the_standard_says_and_unsealing_takes_it_back)
{
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        unsigned char key[GCM_KEY_BYTES], nonce[GCM_NONCE_BYTES], tag[GCM_TAG_BYTES];
        unsigned char plain[64], out[64];
        size_t n = cases[i].plain.n / 2;
        EXPECT(hex_decode(key, cases[i].key) && hex_decode(nonce, cases[i].nonce));
        EXPECT(hex_decode(plain, cases[i].plain));
        AUTO(gcm) to = NULL;
        AUTO(gcm) from = NULL;
        gcm_open_seal(key, &to);
        gcm_open_unseal(key, &from);
        for (int again = 0; again < 2; again++) { // the key stays ready
            gcm_seal(to, nonce, S(""), str_from(plain, n), out, tag);
            EXPECT_STR(cases[i].sealed, hex_str(a, out, n));
            EXPECT_STR(cases[i].tag, hex_str(a, tag, sizeof tag));
            EXPECT_OK(gcm_unseal(from, nonce, S(""), str_from(out, n), tag, out)); // in place
            EXPECT(memcmp(out, plain, n) == 0);
        }
    }
}

TEST(what_was_changed_or_bound_to_something_else_is_refused)
{
    unsigned char key[GCM_KEY_BYTES] = { 7 }, nonce[GCM_NONCE_BYTES] = { 1 }, tag[GCM_TAG_BYTES];
    unsigned char out[5], back[5];
    AUTO(gcm) to = NULL;
    AUTO(gcm) from = NULL;
    gcm_open_seal(key, &to);
    gcm_open_unseal(key, &from);
    gcm_seal(to, nonce, S("stream"), S("hello"), out, tag);
    Str sealed = str_from(out, sizeof out);
    EXPECT_OK(gcm_unseal(from, nonce, S("stream"), sealed, tag, back));
    EXPECT_STR(S("hello"), str_from(back, sizeof back));
    EXPECT_ERR(ERR_CORRUPT, gcm_unseal(from, nonce, S("strean"), sealed, tag, back));
    EXPECT_ERR(ERR_CORRUPT, gcm_unseal(from, nonce, S("stream"), str_head(sealed, 4), tag, back));
    for (size_t i = 0; i < sizeof out; i++) {
        out[i] ^= 1;
        EXPECT_ERR(ERR_CORRUPT, gcm_unseal(from, nonce, S("stream"), sealed, tag, back));
        out[i] ^= 1;
    }
    tag[15] ^= 0x80;
    EXPECT_ERR(ERR_CORRUPT, gcm_unseal(from, nonce, S("stream"), sealed, tag, back));
    tag[15] ^= 0x80;
    nonce[11] ^= 1;
    EXPECT_ERR(ERR_CORRUPT, gcm_unseal(from, nonce, S("stream"), sealed, tag, back));
}

TEST(two_texts_are_sealed_as_one)
{
    unsigned char key[GCM_KEY_BYTES] = { 7 }, nonce[GCM_NONCE_BYTES] = { 1 };
    unsigned char tag[GCM_TAG_BYTES], again[GCM_TAG_BYTES], plain[100], out[100], one[100],
        back[100];
    AUTO(gcm) to = NULL;
    AUTO(gcm) from = NULL;
    gcm_open_seal(key, &to);
    gcm_open_unseal(key, &from);
    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (unsigned char)(i * 7);
    for (size_t at = 0; at <= sizeof plain; at++) { // wherever the first one ends
        Str whole = str_from(plain, sizeof plain);
        gcm_seal(to, nonce, S(""), whole, one, tag);
        gcm_seal_two(to, nonce, str_head(whole, at), str_skip(whole, at), out, again);
        EXPECT(memcmp(one, out, sizeof out) == 0 && memcmp(tag, again, sizeof tag) == 0);
        memcpy(out + at, plain + at, sizeof out - at); // where it is to be written
        gcm_seal_two(to, nonce, str_head(whole, at), str_from(out + at, sizeof out - at), out,
                     again);
        EXPECT(memcmp(one, out, sizeof out) == 0 && memcmp(tag, again, sizeof tag) == 0);
        Str sealed = str_from(out, sizeof out);
        EXPECT_OK(
            gcm_unseal_two(from, nonce, str_head(sealed, at), str_skip(sealed, at), tag, back));
        EXPECT(memcmp(back, plain, sizeof plain) == 0);
        out[at / 2] ^= 4;
        EXPECT_ERR(ERR_CORRUPT, gcm_unseal_two(from, nonce, str_head(sealed, at),
                                               str_skip(sealed, at), tag, back));
    }
}
