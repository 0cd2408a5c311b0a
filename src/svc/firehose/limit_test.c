// SPDX-License-Identifier: Apache-2.0
#include "svc/firehose/limit.h"
#include "base/test.h"
#include "base/time.h"

TEST(large_regions_take_five_times_as_much)
{
    EXPECT_INT(5 << 20, hose_limit_rates(S("us-east-1"))->bytes);
    EXPECT_INT(2000, hose_limit_rates(S("eu-west-1"))->requests);
    EXPECT_INT(1 << 20, hose_limit_rates(S("eu-central-1"))->bytes);
    EXPECT_INT(100000, hose_limit_rates(S("eu-central-1"))->records);
}

TEST(a_second_of_bytes_comes_at_once_and_comes_again_after_a_second)
{
    HoseLimits l = { 0 };
    const HoseRates *r = hose_limit_rates(S("eu-central-1"));
    int64_t now_ns = 7 * NS_PER_S;
    for (int i = 0; i < 4; i++)
        EXPECT(hose_limit_record(&l, r, 1, now_ns, 256 << 10));
    EXPECT(!hose_limit_record(&l, r, 1, now_ns, 256 << 10));
    EXPECT(!hose_limit_record(&l, r, 1, now_ns + NS_PER_S / 8, 256 << 10));
    EXPECT(hose_limit_record(&l, r, 1, now_ns + NS_PER_S / 4, 256 << 10));
    for (int i = 0; i < 4; i++)
        EXPECT(hose_limit_record(&l, r, 1, now_ns + 3 * NS_PER_S, 256 << 10));
}

TEST(what_is_refused_costs_nothing)
{
    HoseLimits l = { 0 };
    const HoseRates *r = hose_limit_rates(S("eu-central-1"));
    for (int i = 0; i < 1000; i++)
        EXPECT(hose_limit_request(&l, r, 1, NS_PER_S));
    HoseLimits before = l;
    for (int i = 0; i < 100; i++)
        EXPECT(!hose_limit_request(&l, r, 1, NS_PER_S));
    EXPECT_INT(before.requests_full_ns, l.requests_full_ns);
}

TEST(a_record_larger_than_a_second_passes_when_the_bucket_is_full)
{
    HoseLimits l = { 0 };
    const HoseRates *r = hose_limit_rates(S("eu-central-1"));
    EXPECT(hose_limit_record(&l, r, 0.5, NS_PER_S, 1000 << 10)); // costs two seconds
    EXPECT(!hose_limit_record(&l, r, 0.5, 3 * NS_PER_S / 2, 1));
    EXPECT(hose_limit_record(&l, r, 0.5, 3 * NS_PER_S, 1));
}

TEST(a_scale_of_zero_lifts_the_limits)
{
    HoseLimits l = { 0 };
    const HoseRates *r = hose_limit_rates(S("eu-central-1"));
    for (int i = 0; i < 5000; i++)
        EXPECT(hose_limit_request(&l, r, 0, NS_PER_S) &&
               hose_limit_record(&l, r, 0, NS_PER_S, 1 << 20));
}
