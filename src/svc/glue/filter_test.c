// SPDX-License-Identifier: Apache-2.0
#include "svc/glue/filter.h"
#include "base/test.h"

static const FilterKey keys[] = {
    { S_INIT("city"), S_INIT("string") },         { S_INIT("n"), S_INIT("int") },
    { S_INIT("price"), S_INIT("decimal(10,2)") }, { S_INIT("day"), S_INIT("date") },
    { S_INIT("at"), S_INIT("timestamp") },        { S_INIT("yes"), S_INIT("boolean") },
};
static const Str values[] = { S_INIT("Zurich"),
                              S_INIT("10"),
                              S_INIT("-1.50"),
                              S_INIT("2024-02-29"),
                              S_INIT("2024-02-29 10:00:00.5"),
                              S_INIT("true") };

static bool matches(struct arena *a, const char *expression)
{
    struct filter *f = NULL;
    Str text = { 0 };
    uint64_t steps = 0;
    bool ret = false;
    EXPECT_OK(filter_parse(a, str_of(expression), keys, COUNT_OF(keys), &f, &text));
    EXPECT_OK(filter_matches(f, a, values, &ret, &steps, &text));
    EXPECT(steps > 0);
    return ret;
}

TEST(keys_are_compared_as_their_types_say)
{
    static const char *const true_ones[] = {
        "city = 'Zurich'",
        "CITY = \"Zurich\"",
        "`city` <> 'Bern'",
        "'Bern' < city",
        "n = 10",
        "n = '10'",
        "n = +010",
        "n > 9",
        "n >= 10",
        "9 < n",
        "n != 9",
        "n < 100",
        "price = -1.5",
        "price < -1.49",
        "price > '-2'",
        "price < 0",
        "price = -01.500",
        "day = '2024-02-29'",
        "day > '2024-02-28'",
        "at = '2024-02-29 10:00:00.500'",
        "at > '2024-02-29 10:00:00'",
        "at < '2024-02-29 10:00:01'",
    };
    static const char *const false_ones[] = {
        "city = 'zurich'",
        "n < 10",
        "n = 1",
        "n > 100",
        "price = 1.5",
        "10 < n",
        "day < '2024-02-29'",
        "at < '2024-02-29 10:00:00.49'",
    };
    for (size_t i = 0; i < COUNT_OF(true_ones); i++)
        if (!matches(a, true_ones[i]))
            test_fail(__FILE__, __LINE__, "%s", true_ones[i]);
    for (size_t i = 0; i < COUNT_OF(false_ones); i++)
        if (matches(a, false_ones[i]))
            test_fail(__FILE__, __LINE__, "%s", false_ones[i]);
}

TEST(conditions_are_joined_with_and_before_or)
{
    EXPECT(matches(a, "n = 10 or n = 1 and city = 'x'"));
    EXPECT(!matches(a, "(n = 10 or n = 1) and city = 'x'"));
    EXPECT(matches(a, "NOT n = 1 AND not (city = 'x' OR n = 3)"));
    EXPECT(matches(a, "((n = (10)))"));
}

TEST(lists_ranges_and_patterns)
{
    EXPECT(matches(a, "n IN (1, 10, 100)") && !matches(a, "n in (1)"));
    EXPECT(matches(a, "city NOT IN ('a','b')") && !matches(a, "city not in ('Zurich')"));
    EXPECT(matches(a, "n between 10 and 11 and city = 'Zurich'"));
    EXPECT(matches(a, "n NOT BETWEEN 11 AND 12") && !matches(a, "n between 11 and 12"));
    EXPECT(matches(a, "city LIKE 'Z%'") && matches(a, "city like '%u%i_h'"));
    EXPECT(matches(a, "city like 'Zurich%%'") && !matches(a, "city like 'Z_rich_'"));
    EXPECT(matches(a, "city not like 'B%'") && !matches(a, "city like ''"));
    EXPECT(matches(a, "city is not null") && !matches(a, "n IS NULL"));
}

static Str refused(struct arena *a, const char *expression)
{
    struct filter *f = NULL;
    Str text = { 0 };
    EXPECT_ERR(ERR_INVALID, filter_parse(a, str_of(expression), keys, COUNT_OF(keys), &f, &text));
    return text;
}

TEST(what_cannot_be_read_is_refused_with_a_reason)
{
    static const char *const bad[] = {
        "",        "n",      "n =",       "= 1",    "n = 1 and", "n = 1 n = 2", "n in ()",
        "n in (1", "n = 'x", "(n = 1",    "n = 1)", "n like 'x", "n between 1", "city like 3",
        "n is",    "n = n",  "n not = 1", "1 = 1",  "n = 1;",    "not"
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        EXPECT(refused(a, bad[i]).n > 0);
    EXPECT_STR(S("Unsupported expression 'n ='"), refused(a, "n ="));
    EXPECT_STR(S("Invalid partition expression!"), refused(a, "other = 1"));
    EXPECT_STR(S("For input string: \"x\" is not an integer."), refused(a, "n = 'x'"));
    EXPECT_STR(S("For input string: \"1.5\" is not an integer."), refused(a, "n = 1.5"));
    EXPECT_STR(S("x is not a decimal."), refused(a, "price = 'x'"));
    EXPECT_STR(S("2023-02-29 is not a date."), refused(a, "day = '2023-02-29'"));
    EXPECT_STR(S("Timestamp format must be yyyy-mm-dd hh:mm:ss[.fffffffff] x is not a timestamp."),
               refused(a, "at = 'x'"));
    EXPECT_STR(S("Integral data type doesn't support operation 'LIKE'"), refused(a, "n like '1'"));
    EXPECT_STR(S("Unknown type : 'boolean'"), refused(a, "yes = 'true'"));
}

TEST(depth_is_bounded)
{
    AUTO_BUF(b);
    struct filter *f = NULL;
    Str text = { 0 };
    for (size_t i = 0; i < 1000; i++)
        buf_add(&b, S("("));
    buf_add(&b, S("n = 1"));
    for (size_t i = 0; i < 1000; i++)
        buf_add(&b, S(")"));
    EXPECT_ERR(ERR_INVALID, filter_parse(a, buf_str(&b), keys, COUNT_OF(keys), &f, &text));
}

TEST(a_stored_value_of_another_type_is_told)
{
    static const Str bad[] = { S_INIT(""), S_INIT("null"), S_INIT(""),
                               S_INIT(""), S_INIT(""),     S_INIT("") };
    struct filter *f = NULL;
    Str text = { 0 };
    uint64_t steps = 0;
    bool ret;
    EXPECT_OK(filter_parse(a, S("n = 1"), keys, COUNT_OF(keys), &f, &text));
    EXPECT_ERR(ERR_INVALID, filter_matches(f, a, bad, &ret, &steps, &text));
    EXPECT_STR(S("For input string: \"null\" is not an integer."), text);
}

TEST(an_expensive_pattern_counts_its_steps)
{
    AUTO_BUF(b);
    struct filter *f = NULL;
    Str text = { 0 }, many[COUNT_OF(keys)];
    uint64_t steps = 0;
    bool ret;
    for (size_t i = 0; i < 1000; i++)
        buf_add(&b, S("a"));
    memcpy(many, values, sizeof many);
    many[0] = buf_str(&b);
    EXPECT_OK(filter_parse(a, S("city like '%a%a%a%aaaaaaaaaaaaaaaaaab'"), keys, COUNT_OF(keys), &f,
                           &text));
    EXPECT_OK(filter_matches(f, a, many, &ret, &steps, &text));
    EXPECT(!ret && steps > 1000);
}
