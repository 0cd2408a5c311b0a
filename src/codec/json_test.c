// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "codec/json.h"
#include "codec/text.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// The compact form of a document; on an error *ret_at is its place.
static Err compact(struct arena *a, Str input, Str *ret, size_t *ret_at)
{
    AUTO_BUF(b);
    struct event_reader r;
    struct event_writer w;
    json_reader_init(&r, a, input);
    json_writer_init(&w, &b);
    Err e = event_copy(&r, &w);
    *ret = str_dup(a, buf_str(&b));
    *ret_at = r.at;
    return e;
}

static const char *const valid[][2] = {
    { "null", "null" },
    { " true ", "true" },
    { "\r\n\tfalse", "false" },
    { "\"\"", "\"\"" },
    { "[]", "[]" },
    { "{ }", "{}" },
    { "[ 1 , 2 ,3]", "[1,2,3]" },
    { "{\"a\" : {\"b\":[ {} , [] , null]}, \"a\":2}", "{\"a\":{\"b\":[{},[],null]},\"a\":2}" },
    { "0", "0" },
    { "-0", "0" },
    { "-12", "-12" },
    { "9223372036854775807", "9223372036854775807" },
    { "-9223372036854775808", "-9223372036854775808" },
    { "9223372036854775808", "9.223372036854776e+18" },
    { "1.5", "1.5" },
    { "0.1", "0.1" },
    { "1e2", "100.0" },
    { "1E+2", "100.0" },
    { "-1.25e-3", "-0.00125" },
    { "-0.0", "-0.0" },
    { "1e-400", "0.0" },
    { "1e400", "1.7976931348623157e+308" },
    { "-1e400", "-1.7976931348623157e+308" },
    { "0.30000000000000004", "0.30000000000000004" },
    { "\"\\u0041\\n\\/\\\"\\\\\\b\\f\\r\\t\"", "\"A\\n/\\\"\\\\\\b\\f\\r\\t\"" },
    { "\"\\u00e9\\u20AC\\ud83d\\uDE00\"", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"" },
    { "\"\\u0000\\u001f\x7f\"", "\"\\u0000\\u001f\x7f\"" },
    { "{\"\":{\"\\n\":1}}", "{\"\":{\"\\n\":1}}" },
};

TEST(json_that_is_valid_is_accepted_and_written_compactly)
{
    for (size_t i = 0; i < COUNT_OF(valid); i++) {
        Str got;
        size_t at;
        EXPECT_OK(compact(a, str_of(valid[i][0]), &got, &at));
        EXPECT_STR(str_of(valid[i][1]), got);
    }
}

static const struct {
    const char *text;
    size_t at;
} invalid[] = {
    { "", 0 },
    { "  ", 2 },
    { "[1,]", 3 },
    { "[,1]", 1 },
    { "[1 2]", 3 },
    { "[1", 2 },
    { "{\"a\":1,}", 7 },
    { "{\"a\" 1}", 5 },
    { "{a:1}", 1 },
    { "{\"a\":}", 5 },
    { "{\"a\"}", 4 },
    { "{\"a\":1]", 6 },
    { "[1}", 2 },
    { "{,}", 1 },
    { "{", 1 },
    { "]", 0 },
    { "nul", 0 },
    { "True", 0 },
    { "truex", 4 },
    { "1 2", 2 },
    { "{}{}", 2 },
    { "01", 0 },
    { "-", 1 },
    { "-a", 1 },
    { "+1", 0 },
    { ".5", 0 },
    { "1.", 2 },
    { "1.e2", 2 },
    { "1e", 2 },
    { "1e+", 3 },
    { "0x10", 1 },
    { "NaN", 0 },
    { "-Infinity", 1 },
    { "'a'", 0 },
    { "\"a", 2 },
    { "\"a\\", 3 },
    { "\"a\\\"", 4 },
    { "\"\n\"", 1 },
    { "\"\\x41\"", 1 },
    { "\"\\u12\"", 1 },
    { "\"\\u12g4\"", 1 },
    { "\"ab\\ud800\"", 3 },      // a high surrogate alone
    { "\"\\udc00\\ud800\"", 1 }, // the wrong way round
    { "\"\\ud800\\u0041\"", 1 },
    { "\"\\ud800\\n0041\"", 1 },
    { "\"\xff\"", 0 },
    { "\"\xc0\x80\"", 0 },
    { "\"\xed\xa0\x80\"", 0 },
    { "[\"\xe2\x82\"]", 1 },
    { "\xef\xbb\xbf{}", 0 }, // a byte order mark
    { "[1] // no", 4 },
};

TEST(json_that_is_not_valid_is_refused_at_its_place)
{
    for (size_t i = 0; i < COUNT_OF(invalid); i++) {
        Str got;
        size_t at = SIZE_MAX;
        Err e = compact(a, str_of(invalid[i].text), &got, &at);
        if (e.kind != ERR_INVALID || at != invalid[i].at)
            test_fail(__FILE__, __LINE__, "%s: %s at %zu", invalid[i].text, err_kind_name(e.kind),
                      at);
    }
}

TEST(a_zero_byte_is_no_blank_and_no_end)
{
    Str got;
    size_t at;
    EXPECT_ERR(ERR_INVALID, compact(a, S("{}\0"), &got, &at));
    EXPECT_ERR(ERR_INVALID, compact(a, S("\"a\0b\""), &got, &at));
    EXPECT_ERR(ERR_INVALID, compact(a, S("\0"), &got, &at));
}

TEST(every_document_that_is_cut_off_is_refused)
{
    Str whole = S("{\"a\":[1.5e3,true,null,\"x\\u00e9\\n\"],\"b\":{\"c\":\"\"}}"), got;
    size_t at;
    EXPECT_OK(compact(a, whole, &got, &at));
    for (size_t n = 0; n < whole.n; n++)
        EXPECT_ERR(ERR_INVALID, compact(a, str_head(whole, n), &got, &at));
}

static Str nested(struct arena *a, size_t depth)
{
    AUTO_BUF(b);
    for (size_t i = 0; i < depth; i++)
        buf_add_byte(&b, '[');
    for (size_t i = 0; i < depth; i++)
        buf_add_byte(&b, ']');
    return str_dup(a, buf_str(&b));
}

TEST(json_is_read_to_the_named_depth_and_no_deeper)
{
    Str got;
    size_t at;
    EXPECT_OK(compact(a, nested(a, EVENT_DEPTH_MAX), &got, &at));
    EXPECT_STR(nested(a, EVENT_DEPTH_MAX), got);
    EXPECT_ERR(ERR_LIMIT, compact(a, nested(a, EVENT_DEPTH_MAX + 1), &got, &at));
    EXPECT_INT(EVENT_DEPTH_MAX, at);
}

TEST(text_without_escapes_is_borrowed_from_the_input)
{
    Str input = S("[\"plain \xe2\x82\xac\",\"es\\taped\"]");
    struct event_reader r;
    Event e;
    json_reader_init(&r, a, input);
    EXPECT_OK(r.next(&r, &e));
    EXPECT_OK(r.next(&r, &e));
    EXPECT(e.kind == EVENT_TEXT && e.text.p == input.p + 2);
    EXPECT_OK(r.next(&r, &e));
    EXPECT_STR(S("es\taped"), e.text);
    EXPECT(e.text.p < input.p || e.text.p > input.p + input.n);
}

TEST(a_number_keeps_its_digits)
{
    Str input = S("[12, 1e2, 18446744073709551616, "
                  "0.1000000000000000055511151231257827021181583404541015625]");
    struct event_reader r;
    Event e;
    json_reader_init(&r, a, input);
    EXPECT_OK(r.next(&r, &e));
    EXPECT_OK(r.next(&r, &e));
    EXPECT(e.kind == EVENT_INT && e.number == 12);
    EXPECT_STR(S("12"), e.text);
    EXPECT_OK(r.next(&r, &e));
    EXPECT(e.kind == EVENT_DOUBLE && e.real == 100.0);
    EXPECT_STR(S("1e2"), e.text);
    EXPECT_OK(r.next(&r, &e));
    EXPECT(e.kind == EVENT_DOUBLE && e.real == 18446744073709551616.0);
    EXPECT_STR(S("18446744073709551616"), e.text);
    EXPECT_OK(r.next(&r, &e));
    EXPECT(e.kind == EVENT_DOUBLE && e.real == 0.1); // longer than the small buffer
}

TEST(after_its_end_or_an_error_a_reader_gives_nothing_more)
{
    struct event_reader r;
    Event e;
    json_reader_init(&r, a, S("1"));
    EXPECT_OK(r.next(&r, &e));
    EXPECT_OK(r.next(&r, &e));
    EXPECT(e.kind == EVENT_END);
    EXPECT_ERR(ERR_CLOSED, r.next(&r, &e));
    json_reader_init(&r, a, S("?"));
    EXPECT_ERR(ERR_INVALID, r.next(&r, &e));
    EXPECT_ERR(ERR_CLOSED, r.next(&r, &e));
}

TEST(values_are_skipped_whole)
{
    struct event_reader r;
    Event e;
    json_reader_init(&r, a, S("{\"a\":{\"x\":[1,{\"y\":[]}]},\"b\":3,\"c\":[[1],2],\"d\":4}"));
    EXPECT_OK(r.next(&r, &e));
    EXPECT_OK(r.next(&r, &e));
    EXPECT_OK(event_skip(&r));
    EXPECT_OK(r.next(&r, &e));
    EXPECT_STR(S("b"), e.text);
    EXPECT_OK(event_skip(&r));
    EXPECT_OK(r.next(&r, &e));
    EXPECT_STR(S("c"), e.text);
    EXPECT_OK(r.next(&r, &e));
    EXPECT_OK(event_skip_rest(&r, &e));
    EXPECT_OK(r.next(&r, &e));
    EXPECT_STR(S("d"), e.text);
    EXPECT_OK(r.next(&r, &e));
    EXPECT_OK(event_skip_rest(&r, &e));
    EXPECT_OK(r.next(&r, &e));
    EXPECT(e.kind == EVENT_MAP_END);
    json_reader_init(&r, a, S("[1,[2,"));
    EXPECT_ERR(ERR_INVALID, event_skip(&r));
}

static Str time_text(struct arena *a, int64_t ns)
{
    AUTO_BUF(b);
    struct event_writer w;
    json_writer_init(&w, &b);
    w.ops->time(&w, ns);
    return str_dup(a, buf_str(&b));
}

TEST(times_are_seconds_with_at_most_three_decimals)
{
    EXPECT_STR(S("1724151234"), time_text(a, INT64_C(1724151234) * NS_PER_S));
    EXPECT_STR(S("1724151234.567"), time_text(a, INT64_C(1724151234567) * NS_PER_MS));
    EXPECT_STR(S("1724151234.567"), time_text(a, INT64_C(1724151234567999999)));
    EXPECT_STR(S("1724151234.5"), time_text(a, INT64_C(1724151234500) * NS_PER_MS));
    EXPECT_STR(S("1724151234.06"), time_text(a, INT64_C(1724151234060) * NS_PER_MS));
    EXPECT_STR(S("0.001"), time_text(a, NS_PER_MS));
    EXPECT_STR(S("0"), time_text(a, 0));
    EXPECT_STR(S("-0.001"), time_text(a, -1));
    EXPECT_STR(S("-1.25"), time_text(a, -1250 * NS_PER_MS));
    EXPECT_STR(S("-9223372036.855"), time_text(a, INT64_MIN));
}

static Str real_text(struct arena *a, double value)
{
    AUTO_BUF(b);
    struct event_writer w;
    json_writer_init(&w, &b);
    w.ops->real(&w, value);
    return str_dup(a, buf_str(&b));
}

TEST(real_numbers_are_written_so_that_they_are_read_back)
{
    static const double values[] = { 0.1, 1.0 / 3, 1e21, 123456789.125, 5e-324, DBL_MAX, -2.5 };
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        EXPECT(strtod(str_c(a, real_text(a, values[i])), NULL) == values[i]);
    }
    EXPECT_STR(S("0.1"), real_text(a, 0.1));
    EXPECT_STR(S("1.0"), real_text(a, 1));
    EXPECT_STR(S("1e+21"), real_text(a, 1e21));
    EXPECT_STR(S("\"NaN\""), real_text(a, (double)NAN));
    EXPECT_STR(S("\"Infinity\""), real_text(a, (double)INFINITY));
    EXPECT_STR(S("\"-Infinity\""), real_text(a, -(double)INFINITY));
}

TEST(a_writer_whose_buffer_is_full_says_so)
{
    AUTO_BUF(b);
    struct event_reader r;
    struct event_writer w;
    buf_init(&b, 8);
    json_reader_init(&r, a, S("[\"0123456789\",[1]]"));
    json_writer_init(&w, &b);
    EXPECT_ERR(ERR_LIMIT, event_copy(&r, &w));
}

TEST(bytes_are_written_as_base64)
{
    AUTO_BUF(b);
    struct event_writer w;
    json_writer_init(&w, &b);
    w.ops->list(&w);
    w.ops->bytes(&w, S("fo"));
    w.ops->bytes(&w, S(""));
    w.ops->list_end(&w);
    EXPECT_STR(S("[\"Zm8=\",\"\"]"), buf_str(&b));
}

TEST(a_tree_finds_keys_and_keeps_order)
{
    JsonValue *root = NULL;
    EXPECT_OK(
        json_parse(a,
                   S("{\"s\":\"text\",\"n\":-7,\"r\":2.5,\"t\":true,\"z\":null,\"l\":[1,2,3,4,5,6],"
                     "\"m\":{\"k\":{\"deep\":\"er\"}},\"s\":\"second\"}"),
                   &root));
    EXPECT(root->kind == JSON_MAP && root->n == 8);
    EXPECT_STR(S("text"), json_text(root, S("s")));
    EXPECT(json_text(root, S("n")).p == NULL && json_text(root, S("none")).p == NULL);
    const JsonValue *number = json_find(root, S("n"));
    EXPECT(number->kind == JSON_NUMBER);
    EXPECT(number->integer == -7 && number->real == -7.0);
    EXPECT_STR(S("-7"), number->text);
    EXPECT(json_find(root, S("r"))->real == 2.5);
    EXPECT(json_find(root, S("t"))->kind == JSON_BOOL && json_find(root, S("t"))->integer == 1);
    EXPECT(json_find(root, S("z"))->kind == JSON_NULL);
    const JsonValue *list = json_find(root, S("l"));
    EXPECT(list->kind == JSON_LIST && list->n == 6 && list->items[5].integer == 6);
    EXPECT_STR(S("er"), json_text(json_find(json_find(root, S("m")), S("k")), S("deep")));
    EXPECT(json_find(list, S("s")) == NULL && json_find(NULL, S("s")) == NULL);
}

TEST(a_tree_of_a_broken_document_is_refused)
{
    JsonValue *root = NULL;
    EXPECT_ERR(ERR_INVALID, json_parse(a, S("{\"a\":[1,2}"), &root));
    EXPECT_ERR(ERR_INVALID, json_parse(a, S("{} x"), &root));
    EXPECT_ERR(ERR_INVALID, json_parse(a, S(""), &root));
    EXPECT_ERR(ERR_LIMIT, json_parse(a, nested(a, EVENT_DEPTH_MAX + 1), &root));
    EXPECT(root == NULL);
}

static size_t plain_by_bytes(Str s)
{
    size_t n = 0;
    while (n < s.n && (unsigned char)s.p[n] >= 0x20 && s.p[n] != '"' && s.p[n] != '\\')
        n++;
    return n;
}

TEST(the_fast_scan_finds_every_special_byte_at_every_place)
{
    for (size_t length = 1; length < 150; length += 1 + length / 40)
        for (size_t at = 0; at < length; at++) {
            char *p = xalloc(length);
            for (int c = 0; c < 256; c++) {
                memset(p, c % 2 == 0 ? 'x' : 0xe9, length);
                p[at] = (char)c;
                EXPECT_INT(plain_by_bytes(str_from(p, length)), text_plain(str_from(p, length)));
            }
            free(p);
        }
}

TEST(malformed_utf8_is_seen_behind_long_ascii)
{
    for (size_t n = 0; n < 80; n++) {
        char *p = xalloc(n + 2);
        memset(p, 'a', n);
        memcpy(p + n, "\xc3\xa9", 2);
        EXPECT(text_is_utf8(str_from(p, n + 2)) && !text_is_utf8(str_from(p, n + 1)));
        free(p);
    }
}
