// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "http/h1_parse.h"

#include <stdlib.h>
#include <string.h>

static const H1Limits limits = { .header_bytes_max = 512, .header_count_max = 8 };

// A copy that ends where it ends, so that the sanitizer sees one byte too many being read.
static H1Result parse(Str in, HttpHeader *headers, H1Head *ret)
{
    char *exact = xalloc(in.n);
    if (in.n > 0)
        memcpy(exact, in.p, in.n);
    H1Result r = h1_parse_head(str_from(exact, in.n), &limits, headers, ret);
    free(exact);
    return r;
}

TEST(a_request_is_read_with_its_parts)
{
    HttpHeader headers[8];
    H1Head h;
    Str in = S("POST /a%20b?x=1?y HTTP/1.1\r\nHost: h:1\r\nContent-Length: 3\r\n"
               "X-Amz-Target:\t K.P \r\nEmpty:\r\n\r\nabc");
    EXPECT_INT(H1_DONE, h1_parse_head(in, &limits, headers, &h));
    EXPECT_STR(S("POST"), h.method);
    EXPECT_STR(S("/a%20b"), h.path);
    EXPECT_STR(S("x=1?y"), h.query);
    EXPECT_INT(4, h.header_count);
    EXPECT_STR(S("X-Amz-Target"), headers[2].name);
    EXPECT_STR(S("K.P"), headers[2].value);
    EXPECT_STR(S(""), headers[3].value);
    EXPECT(h.has_length && h.length == 3 && h.keep_alive && !h.chunked && !h.expects_continue);
    EXPECT_INT(in.n - 3, h.bytes);
}

struct accepted {
    const char *in; // the parts are stated only where they matter
    const char *path, *query, *authority;
    bool closes, chunked, expects;
};

static const struct accepted accepted[] = {
    { "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "/", NULL, NULL, false, false, false },
    { "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "/", NULL, NULL, false, false, false },
    { "GET /? HTTP/1.1\r\nhOST:h\r\n\r\n", "/", "", NULL, false, false, false },
    { "GET http://x:1/p?q HTTP/1.1\r\nHost: y\r\n\r\n", "/p", "q", "x:1", false, false, false },
    { "GET HTTPS://x?q HTTP/1.1\r\nHost: y\r\n\r\n", "/", "q", "x", false, false, false },
    { "GET http://x HTTP/1.1\r\nHost: y\r\n\r\n", "/", NULL, "x", false, false, false },
    { "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "*", NULL, NULL, false, false, false },
    { "GET / HTTP/1.0\r\n\r\n", "/", NULL, NULL, true, false, false },
    { "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "/", NULL, NULL, false, false, false },
    { "GET / HTTP/1.1\r\nHost: h\r\nConnection: x , CLOSE\r\n\r\n", "/", NULL, NULL, true, false,
      false },
    { "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n\r\n",
      "/", NULL, NULL, false, true, true },
    { "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\nContent-Length: 7\r\n\r\n", "/", NULL,
      NULL, false, false, false },
    { "GET / HTTP/1.1\r\nHost:\r\nX: \xc3\xa9\r\n\r\n", "/", NULL, NULL, false, false, false },
    { "M-SEARCH /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", "/\xc3\xa9", NULL, NULL, false, false,
      false },
};

TEST(correct_requests_are_accepted)
{
    for (size_t i = 0; i < COUNT_OF(accepted); i++) {
        const struct accepted *t = &accepted[i];
        HttpHeader headers[8];
        H1Head h;
        Str in = str_of(t->in);
        if (h1_parse_head(in, &limits, headers, &h) != H1_DONE)
            test_fail(__FILE__, __LINE__, "refused with %u: %s", h.status, t->in);
        EXPECT_INT(in.n, h.bytes);
        EXPECT_STR(str_of(t->path), h.path);
        EXPECT_STR(str_of(t->query), h.query);
        EXPECT_STR(str_of(t->authority), h.authority);
        EXPECT(h.keep_alive == !t->closes && h.chunked == t->chunked &&
               h.expects_continue == t->expects);
    }
}

#define TO_H "GET / HTTP/1.1\r\nHost: h\r\n"
#define X64 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static const struct {
    const char *in;
    unsigned status;
} rejected[] = {
    { "\x16\x03\x01\x02", 400 },
    { "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", 400 },
    { " GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400 },
    { "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400 },
    { "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 400 },
    { "GET /\r\n\r\n", 400 },
    { "GET / HTTP/1.1\nHost: h\n\n", 400 },
    { "GET / HTTP/1.2\r\nHost: h\r\n\r\n", 400 },
    { "GET / HTTP/2.0\r\nHost: h\r\n\r\n", 400 },
    { "GET / http/1.1\r\nHost: h\r\n\r\n", 400 },
    { "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400 },
    { "\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400 },
    { "GET x HTTP/1.1\r\nHost: h\r\n\r\n", 400 },
    { "GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400 },
    { "CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 400 },
    { "GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n", 400 },
    { "GET http://u@h/x HTTP/1.1\r\nHost: h\r\n\r\n", 400 },
    { "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", 400 },
    { "GET /a\x7f HTTP/1.1\r\nHost: h\r\n\r\n", 400 },
    { "GET / HTTP/1.1\r\n\r\n", 400 }, // no host
    { TO_H "Host: h\r\n\r\n", 400 },
    { TO_H " folded: x\r\n\r\n", 400 },
    { TO_H "X: a\r\n b\r\n\r\n", 400 },
    { TO_H "X : a\r\n\r\n", 400 },
    { TO_H ": a\r\n\r\n", 400 },
    { TO_H "X\r\n\r\n", 400 },
    { TO_H "X: a\rb\r\n\r\n", 400 },
    { TO_H "X: a\nY: b\r\n\r\n", 400 },
    { TO_H "X: a\x01\r\n\r\n", 400 },
    { TO_H "X: a\n\r\n", 400 },
    { TO_H "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
    { TO_H "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400 },
    { TO_H "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400 },
    { TO_H "Content-Length: 1, 1\r\n\r\n", 400 },
    { TO_H "Content-Length: +1\r\n\r\n", 400 },
    { TO_H "Content-Length: -1\r\n\r\n", 400 },
    { TO_H "Content-Length: 0x1\r\n\r\n", 400 },
    { TO_H "Content-Length:\r\n\r\n", 400 },
    { TO_H "Content-Length: 9999999999999999999\r\n\r\n", 400 },
    { TO_H "Transfer-Encoding: gzip\r\n\r\n", 400 },
    { TO_H "Transfer-Encoding: gzip, chunked\r\n\r\n", 400 },
    { TO_H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
    { TO_H "Transfer-Encoding: xchunked\r\n\r\n", 400 },
    { "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
    { X64 " / HTTP/1.1\r\nHost: h\r\n\r\n", 400 },
    { "GET /" X64 X64 X64 X64 X64 X64 X64 X64 " HTTP/1.1\r\nHost: h\r\n\r\n", 414 },
    { TO_H "X: " X64 X64 X64 X64 X64 X64 X64 X64 "\r\n\r\n", 431 },
    { TO_H "1: a\r\n2: a\r\n3: a\r\n4: a\r\n5: a\r\n6: a\r\n7: a\r\n8: a\r\n\r\n", 431 },
};

TEST(incorrect_requests_are_refused)
{
    for (size_t i = 0; i < COUNT_OF(rejected); i++) {
        HttpHeader headers[8];
        H1Head h;
        Str in = str_of(rejected[i].in);
        if (h1_parse_head(in, &limits, headers, &h) != H1_BAD)
            test_fail(__FILE__, __LINE__, "not refused: %s", rejected[i].in);
        if (h.status != rejected[i].status)
            test_fail(__FILE__, __LINE__, "refused with %u: %s", h.status, rejected[i].in);
    }
}

// Feeds more and more of the bytes, until the parser says something.
static H1Result parse_growing(Str in, HttpHeader *headers, H1Head *ret)
{
    for (size_t n = 0; n < in.n; n++) {
        H1Result r = parse(str_head(in, n), headers, ret);
        if (r != H1_MORE)
            return r;
    }
    return parse(in, headers, ret);
}

static void expect_same(Str in)
{
    HttpHeader headers[8];
    H1Head whole, grown;
    H1Result want = parse(in, headers, &whole), got = parse_growing(in, headers, &grown);
    if (want != got || (want == H1_BAD && whole.status != grown.status) ||
        (want == H1_DONE && whole.bytes != grown.bytes))
        test_fail(__FILE__, __LINE__, "%d/%u whole, %d/%u byte by byte: %.*s", want, whole.status,
                  got, grown.status, FMT(in));
}

TEST(byte_by_byte_the_answer_is_the_same)
{
    for (size_t i = 0; i < COUNT_OF(accepted); i++)
        expect_same(str_of(accepted[i].in));
    for (size_t i = 0; i < COUNT_OF(rejected); i++)
        expect_same(str_of(rejected[i].in));
}

// Values are looked at several bytes at a time.
TEST(each_byte_of_a_value_counts_wherever_it_stands)
{
    for (size_t n = 1; n <= 50; n++)
        for (size_t at = 0; at < n; at++)
            for (unsigned byte = 0; byte < 256; byte++) {
                char value[50];
                memset(value, 'v', sizeof value);
                value[at] = (char)byte;
                Str head = str_cat3(a, S("GET / HTTP/1.1\r\nHost: h\r\nX: "), str_from(value, n),
                                    S("\r\n\r\n"));
                bool is_good = byte == '\t' || (byte >= 0x20 && byte != 0x7f);
                HttpHeader headers[4];
                H1Head h;
                H1Result r = h1_parse_head(head, &(H1Limits){ 65536, 4 }, headers, &h);
                arena_reset(a);
                if (r != (is_good ? H1_DONE : H1_BAD))
                    test_fail(__FILE__, __LINE__, "byte %u at %zu of %zu: %d", byte, at, n, (int)r);
            }
}

TEST(chunk_lines_are_read_and_bad_ones_refused)
{
    static const struct {
        const char *in;
        H1Result want;
        uint64_t bytes;
        size_t used, extension;
    } lines[] = {
        { "0\r\n", H1_DONE, 0, 3, 0 },
        { "1aF;n=v\r\nrest", H1_DONE, 0x1af, 9, 4 },
        { "5 ;x\r\n", H1_DONE, 5, 6, 3 },
        { "00000000000005\r\n", H1_DONE, 5, 16, 0 },
        { "fffffffffffffff\r\n", H1_DONE, 0xfffffffffffffff, 17, 0 },
        { "", H1_MORE, 0, 0, 0 },
        { "5", H1_MORE, 0, 0, 0 },
        { "5\r", H1_MORE, 0, 0, 0 },
        { "ffffffffffffffff\r\n", H1_BAD, 0, 0, 0 },
        { "\r\n", H1_BAD, 0, 0, 0 },
        { "-1\r\n", H1_BAD, 0, 0, 0 },
        { "0x5\r\n", H1_BAD, 0, 0, 0 },
        { "5\n", H1_BAD, 0, 0, 0 },
        { "5 x\r\n", H1_BAD, 0, 0, 0 },
        { "5;a\rb\r\n", H1_BAD, 0, 0, 0 },
        { "5;a\n", H1_BAD, 0, 0, 0 },
    };
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        uint64_t bytes = 0;
        size_t used = 0, extension = 0;
        H1Result r = h1_parse_chunk(str_of(lines[i].in), &used, &bytes, &extension);
        if (r != lines[i].want)
            test_fail(__FILE__, __LINE__, "%d: %s", r, lines[i].in);
        EXPECT_INT(lines[i].bytes, bytes);
        EXPECT_INT(lines[i].used, used);
        EXPECT_INT(lines[i].extension, extension);
    }
}

TEST(an_endless_chunk_line_or_trailer_is_refused)
{
    char *p = arena_alloc(a, H1_TRAILER_BYTES_MAX + 2, 1);
    memset(p, 'a', H1_TRAILER_BYTES_MAX + 2);
    p[0] = '1';
    p[1] = ';';
    uint64_t bytes;
    size_t used, extension;
    bool last;
    EXPECT_INT(H1_MORE,
               h1_parse_chunk(str_from(p, H1_CHUNK_LINE_BYTES_MAX), &used, &bytes, &extension));
    EXPECT_INT(H1_BAD,
               h1_parse_chunk(str_from(p, H1_CHUNK_LINE_BYTES_MAX + 1), &used, &bytes, &extension));
    EXPECT_INT(H1_MORE, h1_parse_trailer(str_from(p, H1_TRAILER_BYTES_MAX), &used, &last));
    EXPECT_INT(H1_BAD, h1_parse_trailer(str_from(p, H1_TRAILER_BYTES_MAX + 1), &used, &last));
}

TEST(trailers_are_checked_like_headers)
{
    static const struct {
        const char *in;
        H1Result want;
        size_t used;
        bool last;
    } lines[] = {
        { "\r\nX", H1_DONE, 2, true },       { "X-A: b\r\n", H1_DONE, 8, false },
        { "X-A: b\r", H1_MORE, 0, false },   { "X A: b\r\n", H1_BAD, 0, false },
        { "X-A: b\n", H1_BAD, 0, false },    { " X: b\r\n", H1_BAD, 0, false },
        { "X: \x01\r\n", H1_BAD, 0, false },
    };
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        size_t used = 0;
        bool last = false;
        EXPECT_INT(lines[i].want, h1_parse_trailer(str_of(lines[i].in), &used, &last));
        EXPECT_INT(lines[i].used, used);
        EXPECT(last == lines[i].last);
    }
}

TEST(a_reply_head_is_read)
{
    HttpHeader headers[8];
    H1Head h;
    EXPECT_INT(H1_DONE, h1_parse_reply_head(S("HTTP/1.1 404\r\nConnection: close\r\n\r\n"), &limits,
                                            headers, &h));
    EXPECT(h.status == 404 && !h.keep_alive && !h.has_length);
    EXPECT_INT(H1_DONE, h1_parse_reply_head(S("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
                                            &limits, headers, &h));
    EXPECT(h.status == 200 && h.keep_alive && h.length == 9);
    EXPECT_INT(H1_MORE, h1_parse_reply_head(S("HTTP/1.1 200"), &limits, headers, &h));
    EXPECT_INT(H1_BAD, h1_parse_reply_head(S("HTTP/1.1 2x0 OK\r\n\r\n"), &limits, headers, &h));
    EXPECT_INT(H1_BAD, h1_parse_reply_head(S("SSH-2.0-OpenSSH\r\n\r\n"), &limits, headers, &h));
}
