// SPDX-License-Identifier: Apache-2.0
#include "delivery/jq_query.h"
#include "base/test.h"

#include <signal.h>
#include <stdlib.h>

static struct jq_query *opened(struct arena *a, const char *query)
{
    struct jq_query *q = jq_query_new(str_of(query));
    Str text = { 0 };
    EXPECT_OK(jq_query_compile(q, a, &text));
    return q;
}

static JqItem one(struct jq_query *q, struct arena *a, const char *record)
{
    JqItem item = { .record = str_of(record) };
    EXPECT_OK(jq_query_run(q, a, &item, 1, NULL, NULL));
    return item;
}

TEST(a_query_gives_the_first_of_its_values)
{
    AUTO(jq_query) q = opened(a, "{id:.id, day:(.at|.[0:10])}");
    JqItem item = one(q, a, "{\"id\":\"x\",\"at\":\"2024-01-02T03:04:05Z\"}");
    EXPECT_INT(JQ_GOOD, item.fault);
    EXPECT_STR(S("{\"id\":\"x\",\"day\":\"2024-01-02\"}"), item.text);
    item = one(q, a, "{\"id\":1,\"at\":null}");
    EXPECT_STR(S("{\"id\":1,\"day\":null}"), item.text);
    AUTO(jq_query) several = opened(a, ".[]");
    EXPECT_STR(S("1"), one(several, a, "[1,2]").text);
    EXPECT_INT(JQ_ERROR, one(several, a, "[]").fault);
}

TEST(what_is_not_one_json_value_is_told)
{
    AUTO(jq_query) q = opened(a, ".a");
    EXPECT_INT(JQ_NOT_JSON, one(q, a, "{\"a\":1}{\"a\":2}").fault);
    EXPECT_INT(JQ_NOT_JSON, one(q, a, "x").fault);
    EXPECT_INT(JQ_NOT_JSON, one(q, a, "").fault);
    EXPECT_INT(JQ_NOT_JSON, one(q, a, "{\"a\":").fault);
    JqItem item = one(q, a, "[1]");
    EXPECT_INT(JQ_ERROR, item.fault);
    EXPECT_STR(S("Cannot index array with string \"a\""), item.text);
    EXPECT_INT(JQ_GOOD, one(q, a, "{\"a\":3}").fault);
}

TEST(a_query_that_is_none_is_refused)
{
    static const char *const bad[] = { "{", ".a |", "nonsense", "import \"a\" as $a; .",
                                       "include \"a\"; ." };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        AUTO(jq_query) q = jq_query_new(str_of(bad[i]));
        Str text = { 0 };
        EXPECT_ERR(ERR_INVALID, jq_query_compile(q, a, &text));
        EXPECT(text.n > 0);
    }
    AUTO(jq_query) q = jq_query_new(S(".a\0.b"));
    Str text = { 0 };
    EXPECT_ERR(ERR_INVALID, jq_query_compile(q, a, &text));
}

TEST(a_record_that_loops_costs_itself_and_no_other)
{
    AUTO(jq_query) q = opened(a, "if .loop then def f: f; f else .a end");
    JqItem items[5] = { { .record = S("{\"a\":1}") },
                        { .record = S("{\"loop\":true}") },
                        { .record = S("{\"a\":2}") },
                        { .record = S("{\"loop\":true}") },
                        { .record = S("{\"a\":3}") } };
    EXPECT_OK(jq_query_run(q, a, items, COUNT_OF(items), NULL, NULL));
    EXPECT_STR(S("1"), items[0].text);
    EXPECT_INT(JQ_LIMIT, items[1].fault);
    EXPECT_STR(S("2"), items[2].text);
    EXPECT_INT(JQ_LIMIT, items[3].fault);
    EXPECT_STR(S("3"), items[4].text);
}

TEST(a_record_that_takes_memory_costs_itself)
{
    AUTO(jq_query) q = opened(a, "if .much then [range(1e9)] | length else 1 end");
    JqItem items[2] = { { .record = S("{\"much\":true}") }, { .record = S("{}") } };
    EXPECT_OK(jq_query_run(q, a, items, COUNT_OF(items), NULL, NULL));
    EXPECT_INT(JQ_LIMIT, items[0].fault);
    EXPECT_STR(S("1"), items[1].text);
}

TEST(a_query_that_always_takes_too_much_is_given_up_for_the_batch)
{
    enum { MANY = 300 };
    AUTO(jq_query) q = opened(a, "if .much then [range(1e9)] | length else 1 end");
    JqItem items[MANY];
    for (size_t i = 0; i < MANY; i++)
        items[i] = (JqItem){ .record = i == 1 ? S("{}") : S("{\"much\":true}") };
    EXPECT_OK(jq_query_run(q, a, items, MANY, NULL, NULL)); // in seconds, not in minutes
    for (size_t i = 0; i < MANY; i++)
        EXPECT_INT(i == 1 ? JQ_GOOD : JQ_LIMIT, items[i].fault);
    EXPECT_INT(JQ_GOOD, one(q, a, "{}").fault);
}

TEST(nothing_of_the_server_can_be_read)
{
    setenv("JQ_TEST_SECRET", "x", 1);
    AUTO(jq_query) q = opened(a, "[env, $ENV]");
    EXPECT_STR(S("[{},{}]"), one(q, a, "null").text);
}

TEST(many_records_are_answered_in_order)
{
    enum { MANY = 5000 };
    AUTO(jq_query) q = opened(a, "{i:.i}");
    JqItem *items = arena_new(a, JqItem, MANY);
    AUTO_BUF(padding);
    for (size_t i = 0; i < 1000; i++)
        buf_add_byte(&padding, 'x');
    for (size_t i = 0; i < MANY; i++)
        items[i].record = str_fmt(a, "{\"i\":%zu,\"p\":\"%.*s\"}", i, FMT(buf_str(&padding)));
    EXPECT_OK(jq_query_run(q, a, items, MANY, NULL, NULL));
    for (size_t i = 0; i < MANY; i++)
        EXPECT_STR(str_fmt(a, "{\"i\":%zu}", i), items[i].text);
}

TEST(a_process_that_has_ended_is_started_again)
{
    AUTO(jq_query) q = opened(a, ".");
    int pid = jq_query_pid(q);
    EXPECT(pid > 0 && kill(pid, SIGSTOP) == 0 && kill(pid, SIGKILL) == 0);
    JqItem items[2] = { { .record = S("1") }, { .record = S("2") } };
    EXPECT_OK(jq_query_run(q, a, items, COUNT_OF(items), NULL, NULL));
    // Killed while the first was its turn, for all we know.
    EXPECT_INT(JQ_LIMIT, items[0].fault);
    EXPECT_STR(S("2"), items[1].text);
    EXPECT(jq_query_pid(q) != pid);
}

TEST(a_process_that_was_told_to_end_costs_no_record)
{
    AUTO(jq_query) q = opened(a, ".");
    for (int i = 0; i < 3; i++) {
        int pid = jq_query_pid(q);
        EXPECT(pid > 0 && kill(pid, SIGTERM) == 0);
        EXPECT_INT(JQ_GOOD, one(q, a, "1").fault);
        EXPECT(jq_query_pid(q) != pid);
    }
}

static bool yes(const void *self)
{
    (void)self;
    return true;
}

TEST(who_stops_does_not_wait_for_a_query)
{
    AUTO(jq_query) q = opened(a, "def f: f; f");
    JqItem item = { .record = S("1") };
    EXPECT_ERR(ERR_CLOSED, jq_query_run(q, a, &item, 1, yes, NULL));
}
