// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/rate.h"
#include "base/test.h"
#include "base/time.h"
#include "svc/kinesis/test_world.h"

#define START_NS (INT64_C(1700000000) * NS_PER_S)

static const struct api_op *op(Str name)
{
    for (size_t i = 0; i < kinesis_api.op_count; i++)
        if (str_eq(kinesis_api.ops[i].name, name))
            return &kinesis_api.ops[i];
    test_fail(__FILE__, __LINE__, "no operation %.*s", FMT(name));
}

static struct call *call_of(struct test_world *w, struct arena *a, Str name)
{
    struct call *c = &test_call_new(w, a)->call;
    c->op = op(name);
    return c;
}

static int admitted(struct test_world *w, struct arena *a, Str name, int calls)
{
    int n = 0;
    for (int i = 0; i < calls; i++)
        n += kinesis_admit(call_of(w, a, name), S("s")).kind == ERR_NONE;
    return n;
}

TEST(each_operation_may_be_called_as_often_as_aws_says)
{
    struct test_world w;
    test_world_open_at(&w, START_NS);
    struct kinesis *k = w.kinesis;
    EXPECT_INT(100, admitted(&w, a, S("DescribeLimits"), 100)); // limits are off
    k->env.limits = 1;
    EXPECT_INT(1, admitted(&w, a, S("DescribeLimits"), 100));
    EXPECT_INT(5, admitted(&w, a, S("CreateStream"), 100));
    EXPECT_INT(10, admitted(&w, a, S("DescribeStream"), 100));
    EXPECT_INT(20, admitted(&w, a, S("DescribeStreamSummary"), 100));
    EXPECT_INT(100, admitted(&w, a, S("PutRecords"), 100));
    EXPECT_INT(0, admitted(&w, a, S("CreateStream"), 1));
    io_mem_advance(w.disk, NS_PER_S / 5);
    EXPECT_INT(1, admitted(&w, a, S("CreateStream"), 2));
    io_mem_advance(w.disk, NS_PER_S);
    EXPECT_INT(5, admitted(&w, a, S("CreateStream"), 100));
    test_world_close(&w);
}

TEST(accounts_and_regions_are_counted_apart_and_texts_say_what_was_called)
{
    struct test_world w;
    test_world_open_at(&w, START_NS);
    struct kinesis *k = w.kinesis;
    k->env.limits = 1;
    EXPECT_INT(1, admitted(&w, a, S("DescribeLimits"), 2));
    struct call *c = call_of(&w, a, S("DescribeLimits"));
    c->region = S("eu-west-1");
    EXPECT_OK(kinesis_admit(c, (Str){ 0 }));
    c = call_of(&w, a, S("DescribeLimits"));
    EXPECT_ERR(ERR_FAULT, kinesis_admit(c, (Str){ 0 }));
    EXPECT(c->error == &kinesis_LimitExceededException);
    EXPECT_STR(S("Rate exceeded for account 000000000000."), c->error_text);
    c = call_of(&w, a, S("DescribeLimits"));
    EXPECT_ERR(ERR_FAULT, kinesis_admit(c, S("s")));
    EXPECT_STR(S("Rate exceeded for stream s under account 000000000000."), c->error_text);
    test_world_close(&w);
}

TEST(made_up_regions_take_no_more_than_so_much_memory)
{
    struct test_world w;
    test_world_open(&w);
    struct kinesis *k = w.kinesis;
    k->env.limits = 1;
    for (int i = 0; i < RATE_REALMS_MAX + 10; i++) {
        struct call *c = call_of(&w, a, S("ListStreams"));
        c->region = str_fmt(a, "made-up-%d", i);
        EXPECT_OK(kinesis_admit(c, (Str){ 0 }));
    }
    EXPECT(map_count(k->rates.realms) <= RATE_REALMS_MAX);
    test_world_close(&w);
}
