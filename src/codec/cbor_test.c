// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "codec/cbor.h"
#include "codec/hash.h"
#include "codec/json.h"

#include <string.h>

static Str unhex(struct arena *a, const char *hex)
{
    Str s = str_of(hex);
    char *p = arena_alloc(a, s.n / 2, 1);
    CHECK(hex_decode(p, s));
    return str_from(p, s.n / 2);
}

// The document as JSON, which shows every event but the difference of bytes, times and texts.
static Err as_json(struct arena *a, Str cbor, Str *ret)
{
    AUTO_BUF(b);
    struct event_reader r;
    struct event_writer w;
    cbor_reader_init(&r, a, cbor);
    json_writer_init(&w, &b);
    TRY(event_copy(&r, &w));
    *ret = str_dup(a, buf_str(&b));
    return OK;
}

static const char *const examples[][2] = {
    { "00", "0" },
    { "17", "23" },
    { "1818", "24" },
    { "1903e8", "1000" },
    { "1a000f4240", "1000000" },
    { "1b000000e8d4a51000", "1000000000000" },
    { "1bffffffffffffffff", "1.8446744073709552e+19" },
    { "3bffffffffffffffff", "-1.8446744073709552e+19" },
    { "3b7fffffffffffffff", "-9223372036854775808" },
    { "1b7fffffffffffffff", "9223372036854775807" },
    { "c249010000000000000000", "\"AQAAAAAAAAAA\"" },
    { "20", "-1" },
    { "3863", "-100" },
    { "3903e7", "-1000" },
    { "f90000", "0.0" },
    { "f98000", "-0.0" },
    { "f93c00", "1.0" },
    { "fb3ff199999999999a", "1.1" },
    { "f93e00", "1.5" },
    { "f97bff", "65504.0" },
    { "fa47c35000", "100000.0" },
    { "fa7f7fffff", "3.4028234663852886e+38" },
    { "fb7e37e43c8800759c", "1e+300" },
    { "f90001", "5.9604644775390625e-08" },
    { "f90400", "6.103515625e-05" },
    { "f9c400", "-4.0" },
    { "fbc010666666666666", "-4.1" },
    { "f97c00", "\"Infinity\"" },
    { "f97e00", "\"NaN\"" },
    { "f9fc00", "\"-Infinity\"" },
    { "fa7f800000", "\"Infinity\"" },
    { "fb7ff8000000000000", "\"NaN\"" },
    { "f4", "false" },
    { "f5", "true" },
    { "f6", "null" },
    { "f7", "null" },
    { "c074323031332d30332d32315432303a30343a30305a", "\"2013-03-21T20:04:00Z\"" },
    { "d74401020304", "\"AQIDBA==\"" },
    { "d818456449455446", "\"ZElFVEY=\"" },
    { "40", "\"\"" },
    { "6161", "\"a\"" },
    { "6449455446", "\"IETF\"" },
    { "62225c", "\"\\\"\\\\\"" },
    { "62c3bc", "\"\xc3\xbc\"" },
    { "64f0908591", "\"\xf0\x90\x85\x91\"" },
    { "80", "[]" },
    { "83010203", "[1,2,3]" },
    { "8301820203820405", "[1,[2,3],[4,5]]" },
    { "98190102030405060708090a0b0c0d0e0f101112131415161718181819",
      "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25]" },
    { "a0", "{}" },
    { "a26161016162820203", "{\"a\":1,\"b\":[2,3]}" },
    { "826161a161626163", "[\"a\",{\"b\":\"c\"}]" },
    { "5f42010243030405ff", "\"AQIDBAU=\"" },
    { "7f657374726561646d696e67ff", "\"streaming\"" },
    { "7fff", "\"\"" },
    { "9fff", "[]" },
    { "9f018202039f0405ffff", "[1,[2,3],[4,5]]" },
    { "83018202039f0405ff", "[1,[2,3],[4,5]]" },
    { "bf61610161629f0203ffff", "{\"a\":1,\"b\":[2,3]}" },
    { "bf6346756ef563416d7421ff", "{\"Fun\":true,\"Amt\":-2}" },
    { "a17f61616162ff01", "{\"ab\":1}" },
    { "d9d9f7a0", "{}" },
};

TEST(the_examples_of_rfc_8949_are_read)
{
    for (size_t i = 0; i < COUNT_OF(examples); i++) {
        Str got;
        EXPECT_OK(as_json(a, unhex(a, examples[i][0]), &got));
        EXPECT_STR(str_of(examples[i][1]), got);
    }
}

static const char *const malformed[] = {
    "",
    "18",
    "19ff",
    "1c00",
    "1f",
    "3f",
    "dfff",
    "c1",
    "0000",
    "61",
    "41",
    "81",
    "8201",
    "a1",
    "a16161",
    "a10101",
    "a1410101",
    "a1f601",
    "bf01ff",
    "bf6161ff",
    "bf6161",
    "9f",
    "9f01",
    "7f",
    "7f6161",
    "7f4161ff",
    "5f6161ff",
    "7f7fffff",
    "7f00ff",
    "ff",
    "81ff",
    "a1ff",
    "f8",
    "f818",
    "f8ff",
    "e0",
    "f3",
    "fc",
    "fd",
    "fe",
    "61ff",
    "62c328",
    "7f61c361bcff",
    "d9d9f7",
    "f90000f9",
    "fa0000",
    "a1c0616101",
    "5bffffffffffffffff",
    "7bffffffffffffffff00",
    "9bffffffffffffffff00",
    "bbffffffffffffffff616100",
    "9b0000000100000000",
    "ba80000000",
};

TEST(malformed_cbor_is_refused)
{
    for (size_t i = 0; i < COUNT_OF(malformed); i++) {
        Str got;
        Err e = as_json(a, unhex(a, malformed[i]), &got);
        if (e.kind != ERR_INVALID)
            test_fail(__FILE__, __LINE__, "%s: %s", malformed[i], err_kind_name(e.kind));
    }
    EXPECT(arena_bytes(a) < 100000); // the lengths of 2^64 were not believed
}

TEST(every_cbor_document_that_is_cut_off_is_refused)
{
    Str whole = unhex(a, "bf6161c11b000001917d1234566162a26163fb3ff199999999999a61645f4101ff6165"
                         "9f20f6ffff");
    Str got;
    EXPECT_OK(as_json(a, whole, &got));
    for (size_t n = 0; n < whole.n; n++)
        EXPECT_ERR(ERR_INVALID, as_json(a, str_head(whole, n), &got));
}

static Err first_event(struct arena *a, const char *hex, Event *ret)
{
    struct event_reader r;
    cbor_reader_init(&r, a, unhex(a, hex));
    TRY(r.next(&r, ret));
    Event end;
    return r.next(&r, &end);
}

TEST(tag_1_is_a_time_in_milliseconds)
{
    Event e;
    EXPECT_OK(first_event(a, "c11b000001917d123456", &e));
    EXPECT(e.kind == EVENT_TIME && e.number == INT64_C(0x1917d123456));
    EXPECT_OK(first_event(a, "c1fb4278bcfe56800000", &e)); // 1.7e12 as a float
    EXPECT(e.kind == EVENT_TIME && e.number == INT64_C(1700000000000));
    EXPECT_OK(first_event(a, "c1fb3ff8000000000000", &e)); // 1.5
    EXPECT(e.kind == EVENT_TIME && e.number == 1);
    EXPECT_OK(first_event(a, "c13903e7", &e));
    EXPECT(e.kind == EVENT_TIME && e.number == -1000);
    EXPECT_OK(first_event(a, "d9d9f7c100", &e)); // behind a tag that says nothing
    EXPECT(e.kind == EVENT_TIME && e.number == 0);
    EXPECT_ERR(ERR_INVALID, first_event(a, "c16161", &e));
    EXPECT_ERR(ERR_INVALID, first_event(a, "c1f6", &e));
    EXPECT_ERR(ERR_INVALID, first_event(a, "c180", &e));
    EXPECT_ERR(ERR_INVALID, first_event(a, "c1f97e00", &e));             // not a number
    EXPECT_ERR(ERR_INVALID, first_event(a, "c11b7fffffffffffffff", &e)); // no nanoseconds for it
    EXPECT_ERR(ERR_INVALID, first_event(a, "c11bffffffffffffffff", &e));
}

TEST(a_definite_string_is_borrowed_and_chunks_are_joined)
{
    struct event_reader r;
    Event e;
    Str input = unhex(a, "8263616263"
                         "7f61616162ff");
    cbor_reader_init(&r, a, input);
    EXPECT_OK(r.next(&r, &e));
    EXPECT_OK(r.next(&r, &e));
    EXPECT(e.kind == EVENT_TEXT && e.text.p == input.p + 2 && e.text.n == 3);
    EXPECT_OK(r.next(&r, &e));
    EXPECT_STR(S("ab"), e.text);
    EXPECT_OK(r.next(&r, &e));
    EXPECT(e.kind == EVENT_LIST_END);
    EXPECT_OK(r.next(&r, &e));
    EXPECT(e.kind == EVENT_END);
    EXPECT_ERR(ERR_CLOSED, r.next(&r, &e));
}

TEST(cbor_is_read_to_the_named_depth_and_no_deeper)
{
    char *p = arena_alloc(a, EVENT_DEPTH_MAX + 1, 1);
    Str got;
    memset(p, 0x81, EVENT_DEPTH_MAX + 1); // lists of one item
    p[EVENT_DEPTH_MAX] = 0;
    EXPECT_OK(as_json(a, str_from(p, EVENT_DEPTH_MAX + 1), &got));
    char *deeper = arena_alloc(a, EVENT_DEPTH_MAX + 2, 1);
    memset(deeper, 0x81, EVENT_DEPTH_MAX + 2);
    EXPECT_ERR(ERR_LIMIT, as_json(a, str_from(deeper, EVENT_DEPTH_MAX + 2), &got));
}

TEST(cbor_values_are_skipped_whole)
{
    struct event_reader r;
    Event e;
    cbor_reader_init(&r, a,
                     unhex(a, "a3"
                              "6161bf6178820102ff"
                              "616280"
                              "616307"));
    EXPECT_OK(r.next(&r, &e));
    EXPECT_OK(r.next(&r, &e));
    EXPECT_OK(event_skip(&r));
    EXPECT_OK(r.next(&r, &e));
    EXPECT_STR(S("b"), e.text);
    EXPECT_OK(event_skip(&r));
    EXPECT_OK(r.next(&r, &e));
    EXPECT_STR(S("c"), e.text);
    EXPECT_OK(event_skip(&r));
    EXPECT_OK(r.next(&r, &e));
    EXPECT(e.kind == EVENT_MAP_END);
}

TEST(the_writer_gives_the_bytes_that_aws_gives)
{
    AUTO_BUF(b);
    struct event_writer w;
    cbor_writer_init(&w, &b);
    w.ops->map(&w);
    w.ops->key(&w, S("t"));
    w.ops->time(&w, INT64_C(1724151234567) * NS_PER_MS + 1);
    w.ops->key(&w, S("l"));
    w.ops->list(&w);
    w.ops->integer(&w, 23);
    w.ops->integer(&w, 24);
    w.ops->integer(&w, 256);
    w.ops->integer(&w, 65536);
    w.ops->integer(&w, INT64_C(4294967296));
    w.ops->integer(&w, -1);
    w.ops->integer(&w, INT64_MIN);
    w.ops->list_end(&w);
    w.ops->key(&w, S("b"));
    w.ops->bytes(&w, S("\x01\x02"));
    w.ops->key(&w, S("r"));
    w.ops->real(&w, 1.1);
    w.ops->key(&w, S("x"));
    w.ops->boolean(&w, true);
    w.ops->key(&w, S("n"));
    w.ops->null(&w);
    w.ops->map_end(&w);
    EXPECT_STR(S("bf"
                 "6174c11b000001916f6c0007"
                 "616c9f1718181901001a000100001b0000000100000000203b7fffffffffffffffff"
                 "6162420102"
                 "6172fb3ff199999999999a"
                 "6178f5"
                 "616ef6"
                 "ff"),
               hex_str(a, buf_str(&b).p, buf_str(&b).n));
}

TEST(json_goes_through_cbor_and_comes_back_the_same)
{
    Str json = S("{\"a\":[1,-1,9223372036854775807,-9223372036854775808,1.5,100.0,true,false,null],"
                 "\"b\":{\"\":\"\xe2\x82\xac\\n\",\"c\":[[],{}]},\"b\":0.1}");
    AUTO_BUF(b);
    struct event_reader r;
    struct event_writer w;
    json_reader_init(&r, a, json);
    cbor_writer_init(&w, &b);
    EXPECT_OK(event_copy(&r, &w));
    Str back;
    EXPECT_OK(as_json(a, buf_str(&b), &back));
    EXPECT_STR(json, back);
}

TEST(times_before_1970_round_down_in_cbor_as_in_json)
{
    AUTO_BUF(b);
    struct event_writer w;
    cbor_writer_init(&w, &b);
    w.ops->time(&w, -1);
    EXPECT_STR(S("c120"), hex_str(a, buf_str(&b).p, buf_str(&b).n));
}

TEST(a_document_of_full_depth_fits_into_an_envelope)
{
    AUTO_BUF(b);
    struct event_reader r;
    struct event_writer w;
    Str got;
    char *p = arena_alloc(a, EVENT_DEPTH_MAX + 1, 1);
    memset(p, 0x81, EVENT_DEPTH_MAX);
    cbor_reader_init(&r, a, str_from(p, EVENT_DEPTH_MAX + 1));
    json_writer_init(&w, &b);
    w.ops->map(&w);
    w.ops->key(&w, S("document"));
    EXPECT_OK(event_copy(&r, &w));
    w.ops->map_end(&w);
    got = buf_str(&b);
    EXPECT(str_starts(got, S("{\"document\":[[")) && str_ends(got, S("]]}")));
}

TEST(a_cbor_writer_whose_buffer_is_full_says_so)
{
    for (size_t max = 1; max < 24; max++) {
        AUTO_BUF(b);
        struct event_reader r;
        struct event_writer w;
        buf_init(&b, max);
        json_reader_init(&r, a, S("{\"a\":[\"text\",1.5,-70000]}"));
        cbor_writer_init(&w, &b);
        EXPECT_ERR(ERR_LIMIT, event_copy(&r, &w)); // the whole takes 25 bytes
    }
}
