// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "cli/demo_count.h"
#include "cli/demo_latency.h"

static Str sequence(struct arena *a, uint64_t n)
{
    return str_fmt(a, "4966%020llu", (unsigned long long)n);
}

static void expect(struct demo_count *c, DemoTotals want)
{
    DemoTotals got = demo_count_totals(c);
    EXPECT_INT(want.put, got.put);
    EXPECT_INT(want.got, got.got);
    EXPECT_INT(want.lost, got.lost);
    EXPECT_INT(want.duplicated, got.duplicated);
    EXPECT_INT(want.out_of_order, got.out_of_order);
    EXPECT_INT(want.throttled, got.throttled);
}

TEST(records_that_come_back_once_and_in_order_leave_clean_books)
{
    AUTO(demo_count) c = demo_count_open();
    for (uint64_t i = 0; i < 30000; i++) // several blocks, which are closed on the way
        demo_count_ack(c, 0, i, (unsigned)(i % 3), sequence(a, i));
    expect(c, (DemoTotals){ .put = 30000, .lost = 30000 });
    for (uint64_t i = 0; i < 30000; i++)
        demo_count_got(c, 0, i, (unsigned)(i % 3), sequence(a, i));
    demo_count_throttled(c, 7);
    expect(c, (DemoTotals){ .put = 30000, .got = 30000, .throttled = 7 });
    EXPECT_INT(10000, demo_count_shard_put(c, 1));
}

TEST(a_record_read_before_its_acknowledgement_arrived_is_fine)
{
    AUTO(demo_count) c = demo_count_open();
    demo_count_got(c, 1, 0, 0, sequence(a, 5));
    expect(c, (DemoTotals){ .got = 1 });
    demo_count_ack(c, 1, 0, 0, sequence(a, 5));
    expect(c, (DemoTotals){ .put = 1, .got = 1 });
}

TEST(a_record_that_never_comes_is_lost)
{
    AUTO(demo_count) c = demo_count_open();
    demo_count_ack(c, 0, 0, 0, sequence(a, 1));
    demo_count_ack(c, 0, 1, 0, sequence(a, 2));
    demo_count_got(c, 0, 1, 0, sequence(a, 2));
    expect(c, (DemoTotals){ .put = 2, .got = 1, .lost = 1 });
}

TEST(a_record_read_twice_is_a_duplicate_even_after_its_block_was_closed)
{
    AUTO(demo_count) c = demo_count_open();
    for (uint64_t i = 0; i < 10000; i++) {
        demo_count_ack(c, 0, i, 0, sequence(a, i));
        demo_count_got(c, 0, i, 0, sequence(a, i));
    }
    demo_count_got(c, 0, 1, 0, sequence(a, 1));
    demo_count_got(c, 0, 9999, 0, sequence(a, 9999));
    expect(c, (DemoTotals){ .put = 10000, .got = 10000, .duplicated = 2 });
}

TEST(a_sequence_number_that_does_not_grow_is_out_of_order)
{
    AUTO(demo_count) c = demo_count_open();
    for (uint64_t i = 0; i < 4; i++)
        demo_count_ack(c, 0, i, 0, sequence(a, i));
    demo_count_got(c, 0, 0, 0, sequence(a, 0));
    demo_count_got(c, 0, 2, 0, sequence(a, 2));
    demo_count_got(c, 0, 1, 0, sequence(a, 1));
    demo_count_got(c, 0, 3, 0, sequence(a, 3));
    expect(c, (DemoTotals){ .put = 4, .got = 4, .out_of_order = 1 });
}

TEST(a_record_read_from_another_place_than_acknowledged_is_out_of_order)
{
    AUTO(demo_count) c = demo_count_open();
    demo_count_ack(c, 0, 0, 0, sequence(a, 1));
    demo_count_got(c, 0, 0, 1, sequence(a, 1)); // another shard
    demo_count_got(c, 0, 1, 1, sequence(a, 8));
    demo_count_ack(c, 0, 1, 1, sequence(a, 9)); // another number
    expect(c, (DemoTotals){ .put = 2, .got = 2, .out_of_order = 2 });
}

TEST(an_acknowledgement_counts_once)
{
    AUTO(demo_count) c = demo_count_open();
    demo_count_ack(c, 0, 0, 0, sequence(a, 1));
    demo_count_ack(c, 0, 0, 0, sequence(a, 2));
    expect(c, (DemoTotals){ .put = 1, .lost = 1 });
}

TEST(percentiles_are_within_a_sixteenth)
{
    struct demo_latency l = { 0 };
    EXPECT_INT(0, demo_latency_quantile(&l, 0.5));
    for (int64_t us = 1; us <= 1000; us++)
        demo_latency_add(&l, us * 1000);
    int64_t p50 = demo_latency_quantile(&l, 0.5), p99 = demo_latency_quantile(&l, 0.99);
    EXPECT(p50 >= 500 * 1000 && p50 <= 500 * 1000 * 17 / 16);
    EXPECT(p99 >= 990 * 1000 && p99 <= 990 * 1000 * 17 / 16);
    demo_latency_add(&l, -5); // a clock that stepped
    EXPECT_INT(1001, l.count);
}
