// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "cli/demo_load.h"
#include "codec/hash.h"

TEST(a_record_of_the_demo_has_its_size_and_reads_back)
{
    AUTO_BUF(b);
    DemoRecord r = { .producer = 3, .number = 12345, .sent_ns = 987654321 }, back = { 0 };
    demo_record_write(&b, &r, S("user-1"), 1024);
    EXPECT_INT(1024, b.n);
    EXPECT_OK(demo_record_read(buf_str(&b), &back));
    EXPECT(back.producer == 3 && back.number == 12345 && back.sent_ns == 987654321);
}

TEST(what_is_not_a_record_of_the_demo_is_refused)
{
    static const Str others[] = {
        S_INIT(""),
        S_INIT("hello"),
        S_INIT("{\"producer\":1}"),
        S_INIT("{\"producer\":x,\"number\":1,\"sent_ns\":1,"),
        S_INIT("{\"producer\":99,\"number\":1,\"sent_ns\":1,"),
    };
    DemoRecord r = { 0 };
    for (size_t i = 0; i < COUNT_OF(others); i++)
        EXPECT_ERR(ERR_INVALID, demo_record_read(others[i], &r));
}

TEST(keys_lead_to_their_shard)
{
    // The halves of the hash space.
    const ShardInfo shards[] = {
        { .first_hash = S("0"), .last_hash = S("170141183460469231731687303715884105727") },
        { .first_hash = S("170141183460469231731687303715884105728"),
          .last_hash = S("340282366920938463463374607431768211455") },
    };
    for (unsigned half = 0; half < 2; half++) {
        for (uint64_t i = 0; i < 20; i++) {
            unsigned char digest[MD5_BYTES];
            Str key = demo_key(a, &shards[half], i);
            md5(key.p, key.n, digest);
            EXPECT_INT(half, digest[0] >> 7);
        }
    }
}
