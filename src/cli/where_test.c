// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "cli/where.h"

struct asked {
    const char *condition, *data;
    bool is_met;
};

static bool decides(struct arena *a, Str condition, Str data)
{
    struct where *w = NULL;
    WhereFault fault = { 0 };
    const WhereRecord r = {
        .key = S("it's me"), .data = data, .shard = 2, .arrival_ns = INT64_C(1769860800) * NS_PER_S
    }; // 2026-01-31T12:00:00Z
    EXPECT_OK(where_parse(a, condition, &w, &fault));
    return w != NULL && where_matches(w, a, &r);
}

static void ask(struct arena *a, const struct asked *all, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (decides(a, str_of(all[i].condition), str_of(all[i].data)) != all[i].is_met)
            test_fail(__FILE__, __LINE__, "%s of %s", all[i].condition, all[i].data);
}

TEST(fields_are_compared_as_what_they_are)
{
    static const struct asked all[] = {
        { "page = \"/hello\"", "{\"page\":\"/hello\"}", true },
        { "page = '/hello'", "{\"page\":\"/bye\"}", false },
        { "n > 5", "{\"n\":5.5}", true },
        { "n > 5", "{\"n\":\"6\"}", false },
        { "n = 1", "{\"n\":1.0}", true },
        { "n = 9007199254740993", "{\"n\":9007199254740992}", false }, // one double for both
        { "n >= -2 and n <= 2.5e0", "{\"n\":-2}", true },
        { "ok", "{\"ok\":true}", true },
        { "ok", "{\"ok\":1}", false },
        { "ok = false", "{\"ok\":false}", true },
        { "name < 'b'", "{\"name\":\"a\"}", true },
        { "user.tags[1] = 'y'", "{\"user\":{\"tags\":[\"x\",\"y\"]}}", true },
        { "user.tags[2] = 'y'", "{\"user\":{\"tags\":[\"x\",\"y\"]}}", false },
        { "`odd name`.`a``b` = 1", "{\"odd name\":{\"a`b\":1}}", true },
        { "user-agent = 'x'", "{\"user-agent\":\"x\"}", true },
        { "\xc3\xbc = 1", "{\"\xc3\xbc\":1}", true },
    };
    ask(a, all, COUNT_OF(all));
}

TEST(what_is_not_there_meets_nothing)
{
    static const struct asked all[] = {
        { "x = 1", "{}", false },          { "x != 1", "{}", false },
        { "not x = 1", "{}", true },       { "x != 1", "{\"x\":\"1\"}", true },
        { "x is null", "{}", true },       { "x is null", "{\"x\":null}", true },
        { "x is not null", "{}", false },  { "x is not null", "{\"x\":{}}", true },
        { "x.y = 1", "{\"x\":1}", false }, { "x = 1", "not json", false },
        { "x = 1", "[1]", false },         { "x = y", "{}", false },
        { "x", "{\"x\":{}}", false },      { "x = 1", "", false },
    };
    ask(a, all, COUNT_OF(all));
}

TEST(conditions_are_joined_as_sql_joins_them)
{
    static const struct asked all[] = {
        { "a = 1 or b = 1 and c = 1", "{\"a\":1}", true },
        { "(a = 1 or b = 1) and c = 1", "{\"a\":1}", false },
        { "not a = 1 and b = 1", "{\"a\":2,\"b\":1}", true },
        { "not (a = 1 and b = 1)", "{\"a\":1,\"b\":1}", false },
        { "NOT a IN (1, 2)", "{\"a\":2}", false },
        { "a not in ('x', 2)", "{\"a\":3}", true },
        { "a between 2 and 4 and b = 1", "{\"a\":4,\"b\":1}", true },
        { "a not between 2 and 4", "{\"a\":5}", true },
        { "a like 'b%d_f'",
          "{\"a\":\"bcd\xc3\xa9"
          "f\"}",
          true },
        { "a like '%a%b%'", "{\"a\":\"xaxxb\"}", true },
        { "a like '%ab'", "{\"a\":\"abababa\"}", false },
        { "a like '50\\%'", "{\"a\":\"50%\"}", true },
        { "a like '50\\%'", "{\"a\":\"50x\"}", false },
        { "a like ''", "{\"a\":\"\"}", true },
        { "a not like 'x%'", "{\"a\":\"y\"}", true },
        { "a like '1%'", "{\"a\":1}", false },
    };
    ask(a, all, COUNT_OF(all));
}

TEST(a_record_has_more_than_its_data)
{
    static const struct asked all[] = {
        { "@key = 'it''s me'", "", true },
        { "@key like \"it's%\"", "", true },
        { "@shard = 2 and @shard = 'shardId-000000000002'", "", true },
        { "@shard in (0, 'shardId-000000000001')", "", false },
        { "@size = 4 and @data = 'data'", "data", true },
        { "@data like '%at%'", "data", true },
        { "@arrival >= '2026-01-31T12:00:00Z'", "", true },
        { "@arrival > '2026-01-31T12:00:00.000Z'", "", false },
        { "'2026-01-31T11:59:59.999Z' < @arrival", "", true },
        { "@arrival between '2026-01-31T11:00:00Z' and '2026-01-31T13:00:00Z'", "", true },
        { "key is null", "{}", true },
    };
    ask(a, all, COUNT_OF(all));
}

TEST(what_is_no_condition_is_refused_where_it_is_wrong)
{
    static const struct {
        const char *text;
        size_t at;
    } all[] = {
        { "", 0 },          { "a =", 3 },
        { "= 1", 0 },       { "a = 1 b", 6 },
        { "a = 'x", 4 },    { "(a = 1", 6 },
        { "a = 1)", 5 },    { "a in 1", 5 },
        { "a in ()", 6 },   { "a in (1", 7 },
        { "a like b", 7 },  { "a between 1", 11 },
        { "a is 1", 5 },    { "a = null", 4 },
        { "@what = 1", 0 }, { "a[x] = 1", 2 },
        { "a. = 1", 3 },    { "a ; b", 2 },
        { "a not 1", 6 },   { "@arrival > 5", 11 },
        { "1.2.3 = a", 0 }, { "@shard = 'x'", 9 },
        { "a = 1 and", 9 }, { "@arrival = @arrival", 11 },
    };
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        struct where *w = NULL;
        WhereFault fault = { 0 };
        EXPECT_ERR(ERR_INVALID, where_parse(a, str_of(all[i].text), &w, &fault));
        if (fault.at != all[i].at || fault.reason.n == 0)
            test_fail(__FILE__, __LINE__, "%s: at %zu", all[i].text, fault.at);
    }
}

TEST(what_is_too_deep_or_too_long_is_refused)
{
    struct where *w = NULL;
    WhereFault fault = { 0 };
    AUTO_BUF(b);
    for (int i = 0; i < WHERE_DEPTH_MAX; i++)
        buf_add(&b, S("("));
    buf_add(&b, S("a"));
    for (int i = 0; i < WHERE_DEPTH_MAX; i++)
        buf_add(&b, S(")"));
    EXPECT_ERR(ERR_LIMIT, where_parse(a, buf_str(&b), &w, &fault));
    EXPECT_OK(where_parse(a, str_head(str_skip(buf_str(&b), 1), b.n - 2), &w, &fault));
    buf_clear(&b);
    while (b.n <= WHERE_BYTES_MAX)
        buf_add(&b, S("a or "));
    EXPECT_ERR(ERR_LIMIT, where_parse(a, buf_str(&b), &w, &fault));
    EXPECT_OK(where_parse(a, str_head(buf_str(&b), WHERE_BYTES_MAX / 5 * 5 - 4), &w, &fault));
}
