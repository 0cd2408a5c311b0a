// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "svc/kinesis/hashkey.h"

TEST(shards_cover_every_hash_key_once)
{
    static const uint32_t counts[] = { 1, 2, 3, 4, 5, 7, 100, 1000, 4096, 20000 };
    for (size_t k = 0; k < COUNT_OF(counts); k++) {
        uint32_t n = counts[k];
        EXPECT(hash_key_start(0, n) == 0 && hash_key_end(n - 1, n) == HASH_KEY_MAX);
        for (uint32_t i = 0; i + 1 < n; i++)
            EXPECT(hash_key_end(i, n) + 1 == hash_key_start(i + 1, n));
    }
}

TEST(ranges_have_the_bounds_that_aws_prints)
{
    EXPECT_STR(S("340282366920938463463374607431768211455"), hash_key_str(a, hash_key_end(2, 3)));
    EXPECT_STR(S("113427455640312821154458202477256070484"), hash_key_str(a, hash_key_end(0, 3)));
    EXPECT_STR(S("170141183460469231731687303715884105728"), hash_key_str(a, hash_key_start(1, 2)));
    EXPECT_STR(S("0"), hash_key_str(a, 0));
}

TEST(hash_keys_are_read_back_and_larger_ones_refused)
{
    HashKey h;
    EXPECT_OK(hash_key_parse(S("340282366920938463463374607431768211455"), &h));
    EXPECT(h == HASH_KEY_MAX);
    EXPECT_ERR(ERR_LIMIT, hash_key_parse(S("340282366920938463463374607431768211456"), &h));
    EXPECT_ERR(ERR_INVALID, hash_key_parse(S(""), &h));
    EXPECT_ERR(ERR_INVALID, hash_key_parse(S("12a"), &h));
}

TEST(a_partition_key_hashes_by_md5_big_endian)
{
    // MD5("a") = 0cc175b9c0f1b6a831c399e269772661
    EXPECT_STR(S("16955237001963240173058271559858726497"), hash_key_str(a, hash_key_of(S("a"))));
}

TEST(many_partition_keys_hash_as_each_does)
{
    enum { KEYS_MAX = 200 };
    Str keys[KEYS_MAX];
    HashKey hashes[KEYS_MAX];
    for (size_t i = 0; i < KEYS_MAX; i++) // some longer than one block of MD5
        keys[i] = str_fmt(a, "%0*zu", (int)(1 + i * 31 % 256), i);
    for (size_t n = 0; n <= KEYS_MAX; n += n < 10 ? 1 : 19) {
        hash_keys_of(keys, n, hashes);
        for (size_t i = 0; i < n; i++)
            EXPECT(hashes[i] == hash_key_of(keys[i]));
    }
}
