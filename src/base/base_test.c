// SPDX-License-Identifier: Apache-2.0
#include "base/arena_end.h"
#include "base/logline.h"
#include "base/map.h"
#include "base/metric.h"
#include "base/test.h"
#include "base/time.h"

#include <string.h>

TEST(an_arena_gives_zeroed_aligned_memory_and_takes_it_back)
{
    AUTO(arena) own = arena_open();
    ArenaMark start = arena_mark(own);
    for (size_t i = 0; i < 10000; i++) {
        char *p = arena_alloc(own, i % 300, 64);
        EXPECT((uintptr_t)p % 64 == 0);
        for (size_t k = 0; k < i % 300; k++)
            EXPECT(p[k] == 0);
        memset(p, 0xab, i % 300);
    }
    arena_rewind(own, start);
    EXPECT_INT(0, arena_bytes(own));
    EXPECT(arena_new(own, uint64_t, 3)[2] == 0);
}

TEST(a_big_allocation_gets_a_block_of_its_own)
{
    char *p = arena_alloc(a, 50u << 20, 4096);
    p[(50u << 20) - 1] = 1;
    arena_reset(a);
    EXPECT(arena_new(a, char, 10) != NULL);
}

TEST(strings_cut_find_and_compare_by_bytes)
{
    Str head, tail;
    EXPECT(str_cut(S("key=value=x"), '=', &head, &tail));
    EXPECT_STR(S("key"), head);
    EXPECT_STR(S("value=x"), tail);
    EXPECT(!str_cut(S("none"), '=', &head, &tail));
    EXPECT(tail.n == 0);
    EXPECT(str_cmp(S("a"), S("ab")) < 0 && str_cmp(S("b"), S("ab")) > 0 &&
           str_cmp(S("x"), S("x")) == 0);
    EXPECT(str_eq_nocase(S("Content-TYPE"), S("content-type")));
    EXPECT(str_search(S("abcabd"), S("abd")) == 3 && str_search(S("abc"), S("x")) == 3);
    EXPECT_STR(S("x y"), str_trim(S(" \tx y\r\n")));
    EXPECT_STR(S("a-7"), str_fmt(a, "%s-%d", "a", 7));
}

TEST(numbers_are_read_whole_or_refused)
{
    uint64_t u;
    int64_t i;
    double d;
    EXPECT_OK(str_u64(S("18446744073709551615"), &u));
    EXPECT(u == UINT64_MAX);
    EXPECT_ERR(ERR_INVALID, str_u64(S("18446744073709551616"), &u));
    EXPECT_ERR(ERR_INVALID, str_u64(S("+1"), &u));
    EXPECT_ERR(ERR_INVALID, str_u64(S(""), &u));
    EXPECT_ERR(ERR_INVALID, str_u64(S("1x"), &u));
    EXPECT_OK(str_i64(S("-9223372036854775808"), &i));
    EXPECT(i == INT64_MIN);
    EXPECT_ERR(ERR_INVALID, str_i64(S("9223372036854775808"), &i));
    EXPECT_OK(str_double(S("-1.5e3"), &d));
    EXPECT(d == -1500.0);
    EXPECT_ERR(ERR_INVALID, str_double(S("1.5 "), &d));
}

TEST(utf8_is_counted_in_code_points_and_malformed_text_is_refused)
{
    EXPECT_INT(5, str_utf8_count(S("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z")));
    EXPECT(str_utf8_count(S("\xc0\x80")) == SIZE_MAX);         // overlong
    EXPECT(str_utf8_count(S("\xed\xa0\x80")) == SIZE_MAX);     // surrogate
    EXPECT(str_utf8_count(S("\xf4\x90\x80\x80")) == SIZE_MAX); // above U+10FFFF
    EXPECT(str_utf8_count(S("\xe2\x82")) == SIZE_MAX);         // cut off
}

TEST(a_buffer_that_would_exceed_its_maximum_says_so_at_the_end)
{
    AUTO_BUF(b);
    buf_init(&b, 10);
    buf_add(&b, S("12345678"));
    EXPECT_OK(buf_err(&b));
    buf_add(&b, S("abc"));
    buf_add(&b, S("z"));
    EXPECT_ERR(ERR_LIMIT, buf_err(&b));
    EXPECT_STR(S("12345678"), buf_str(&b));
    buf_clear(&b);
    buf_addf(&b, "%d", 42);
    EXPECT_OK(buf_err(&b));
    EXPECT_STR(S("42"), buf_str(&b));
}

TEST(a_map_keeps_every_key_through_growth_and_deletion)
{
    AUTO(map) m = map_open();
    for (uintptr_t i = 1; i <= 5000; i++)
        EXPECT(map_put(m, str_fmt(a, "key-%zu", (size_t)i), (void *)i) == NULL);
    for (uintptr_t i = 1; i <= 5000; i += 2)
        EXPECT(map_take(m, str_fmt(a, "key-%zu", (size_t)i)) == (void *)i);
    for (uintptr_t i = 1; i <= 5000; i++)
        EXPECT(map_get(m, str_fmt(a, "key-%zu", (size_t)i)) == (i % 2 == 0 ? (void *)i : NULL));
    size_t seen = 0;
    Str key;
    void *value;
    for (size_t at = 0; map_next(m, &at, &key, &value);)
        seen++;
    EXPECT_INT(2500, seen);
    EXPECT_INT(2500, map_count(m));
}

TEST(dates_go_both_ways_in_every_format)
{
    int64_t ns, want = INT64_C(1440938160) * NS_PER_S;
    EXPECT_STR(S("20150830T123600Z"), time_basic(a, want));
    EXPECT_STR(S("Sun, 30 Aug 2015 12:36:00 GMT"), time_http(a, want));
    EXPECT_STR(S("Sun Aug 30 12:36:00 UTC 2015"), time_java(a, want));
    EXPECT_STR(S("2015-08-30T12:36:00.007Z"), time_iso_ms(a, want + 7 * NS_PER_MS));
    EXPECT_OK(time_parse_basic(S("20150830T123600Z"), &ns));
    EXPECT_INT(want, ns);
    EXPECT_OK(time_parse_http(S("Sun, 30 Aug 2015 12:36:00 GMT"), &ns));
    EXPECT_INT(want, ns);
    EXPECT_OK(time_parse_iso(S("2015-08-30T14:36:00.5+02:00"), &ns));
    EXPECT_INT(want + 500 * NS_PER_MS, ns);
    EXPECT_ERR(ERR_INVALID, time_parse_basic(S("20151330T123600Z"), &ns));
    EXPECT_ERR(ERR_INVALID, time_parse_iso(S("2015-08-30"), &ns));
    for (int64_t day = -200000; day < 200000; day += 37)
        EXPECT_INT(day, time_from_civil(time_civil(day * INT64_C(86400) * NS_PER_MS)) / NS_PER_MS /
                            86400);
}

TEST(metrics_render_in_the_prometheus_text_format)
{
    struct metric *c = metric_get(METRIC_COUNTER, S("t_total"), S("Help."), S("op=\"a\""));
    metric_add(c, 3);
    EXPECT(metric_get(METRIC_COUNTER, S("t_total"), S("Help."), S("op=\"a\"")) == c);
    metric_observe_ns(metric_get(METRIC_HISTOGRAM, S("t_seconds"), S("Time."), S("")), 60000);
    AUTO_BUF(b);
    metric_render(&b);
    Str text = buf_str(&b);
    EXPECT(str_search(text, S("# TYPE t_total counter\nt_total{op=\"a\"} 3\n")) < text.n);
    EXPECT(str_search(text, S("t_seconds_bucket{le=\"5e-05\"} 0\n")) < text.n);
    EXPECT(str_search(text, S("t_seconds_bucket{le=\"0.0001\"} 1\n")) < text.n);
    EXPECT(str_search(text, S("t_seconds_count 1\n")) < text.n);
}

TEST(a_series_is_gone_when_all_who_got_it_have_released_it)
{
    struct metric *m = metric_get(METRIC_COUNTER, S("gone_total"), S("Help."), S("a=\"1\""));
    EXPECT(metric_get(METRIC_COUNTER, S("gone_total"), S("Help."), S("a=\"1\"")) == m);
    metric_add(m, 7);
    metric_release(m);
    AUTO_BUF(b);
    metric_render(&b);
    EXPECT(str_search(buf_str(&b), S("gone_total{a=\"1\"} 7\n")) < b.n);
    metric_release(m);
    buf_clear(&b);
    metric_render(&b);
    EXPECT(str_search(buf_str(&b), S("gone_total")) == b.n);
    for (int i = 0; i < 3 * METRIC_SERIES_MAX; i++) // none of them adds to those that exist
        metric_release(
            metric_get(METRIC_COUNTER, S("many_total"), S(""), str_fmt(a, "i=\"%d\"", i)));
    m = metric_get(METRIC_COUNTER, S("many_total"), S(""), S("i=\"x\""));
    buf_clear(&b);
    metric_render(&b);
    EXPECT(str_search(buf_str(&b), S("many_total{i=\"x\"} 0\n")) < b.n);
    metric_release(m);
}

TEST(the_distance_of_words_counts_edits)
{
    EXPECT_INT(0, str_distance(S("listen"), S("listen")));
    EXPECT_INT(1, str_distance(S("listn"), S("listen")));
    EXPECT_INT(3, str_distance(S("kitten"), S("sitting")));
}

static void note_end(void *self)
{
    char **at = self;
    *(*at)++ = 'e';
}

TEST(what_is_to_be_called_at_the_end_is_called_once_with_its_memory)
{
    char text[8] = { 0 }, *at = text;
    struct arena *b = arena_open();
    arena_at_end(b, note_end, &at);
    ArenaMark mark = arena_mark(b);
    arena_at_end(b, note_end, &at);
    arena_rewind(b, mark); // the second one only
    EXPECT_INT(1, at - text);
    arena_reset(b);
    EXPECT_INT(2, at - text);
    arena_at_end(b, note_end, &at);
    arena_close(b);
    EXPECT_INT(3, at - text);
}
