// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 as a client sees it, over loopback.
#include "http/test_rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

static Str body_of(Str reply)
{
    size_t at = str_search(reply, S("\r\n\r\n"));
    return at == reply.n ? S("") : str_skip(reply, at + 4);
}

static bool has(Str text, Str part)
{
    return str_search(text, part) < text.n;
}

// Sends all of it, and returns all that comes back until the server closes.
static Str exchange_all(struct arena *a, const struct rig *r, Str bytes)
{
    int fd = dial(r);
    say(fd, bytes);
    return hear_rest(a, fd);
}

// ---- Requests and replies.

TEST(a_request_is_answered_and_the_connection_kept)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    for (int i = 0; i < 3; i++) {
        say(fd, S("POST /a?b=c HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nxyz"));
        Str head = { 0 };
        EXPECT_STR(S("POST /a b=c [xyz]"), hear_reply(a, fd, &head));
        EXPECT(str_starts(head, S("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: ")));
        EXPECT(str_ends(head, S(" GMT\r\nContent-Length: 17\r\n\r\n")));
    }
    close(fd);
    rig_stop(&r);
}

TEST(a_request_that_wants_the_connection_closed_gets_that)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    Str reply = exchange_all(a, &r,
                             S("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
                               "GET /never HTTP/1.1\r\nHost: h\r\n\r\n"));
    EXPECT(has(reply, S("\r\nConnection: close\r\n")));
    EXPECT_STR(S("GET / - []"), body_of(reply));
    EXPECT_INT(1, desk_requests(&r.desk));
    rig_stop(&r);
}

TEST(http_1_0_closes_unless_asked_to_keep)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    Str reply = exchange_all(a, &r,
                             S("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
                               "GET /y HTTP/1.0\r\n\r\n"));
    EXPECT(has(reply, S("\r\nConnection: keep-alive\r\n\r\nGET /x - []HTTP/1.1 200 OK")));
    EXPECT(str_ends(reply, S("\r\nConnection: close\r\n\r\nGET /y - []")));
    rig_stop(&r);
}

TEST(the_host_of_an_absolute_target_counts)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S("GET http://bucket.x:9/hold HTTP/1.1\r\nHOST: y\r\n\r\n"));
    struct http_exchange *x = desk_wait(&r.desk, 0);
    EXPECT_STR(S("bucket.x:9"), http_header(x, S("host")));
    EXPECT_STR(S("/hold"), x->path);
    EXPECT(str_starts(x->peer, S("127.0.0.1:")) && !x->tls && x->http_version == 11);
    http_reply(x, 204, NULL, 0, S(""));
    EXPECT(!has(hear_head(a, fd), S("Content-Length")));
    close(fd);
    rig_stop(&r);
}

TEST(a_reply_to_head_has_a_length_and_no_body)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S("HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n"));
    EXPECT(str_ends(hear_head(a, fd), S("Content-Length: 12\r\n\r\n")));
    say(fd, S("HEAD /hold HTTP/1.1\r\nHost: h\r\n\r\n"));
    HttpHeader length = { S("content-length"), S("77") };
    http_reply(desk_wait(&r.desk, 0), 200, &length, 1, S(""));
    EXPECT(has(hear_head(a, fd), S("content-length: 77\r\n")));
    say(fd, S("HEAD /stream HTTP/1.1\r\nHost: h\r\n\r\n" GET("/y")));
    EXPECT(has(hear_head(a, fd), S("Transfer-Encoding: chunked\r\n")));
    EXPECT_STR(S("GET /y - []"), hear_reply(a, fd, NULL));
    close(fd);
    rig_stop(&r);
}

TEST(a_line_end_in_a_reply_header_makes_no_second_header)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S(GET("/broken-header")));
    EXPECT(has(hear_head(a, fd), S("\r\nX-Echo: a  Set-Cookie: b\r\n")));
    close(fd);
    rig_stop(&r);
}

TEST(a_large_reply_arrives_whole)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S(GET("/big?9000000") GET("/after")));
    Str body = hear_reply(a, fd, NULL);
    EXPECT_INT(9000000, body.n);
    EXPECT(str_find(body, 'x') == body.n && body.p[body.n - 1] == 'b');
    EXPECT_STR(S("GET /after - []"), hear_reply(a, fd, NULL));
    close(fd);
    rig_stop(&r);
}

// ---- Pipelining.

TEST(requests_sent_ahead_are_answered_in_order)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    AUTO_BUF(all);
    enum { REQUESTS = 3000 };
    for (int i = 0; i < REQUESTS; i++)
        buf_addf(&all, "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", i);
    say(fd, buf_str(&all));
    for (int i = 0; i < REQUESTS; i++)
        EXPECT_STR(str_fmt(a, "GET /%d - []", i), hear_reply(a, fd, NULL));
    close(fd);
    rig_stop(&r);
}

TEST(a_request_sent_ahead_waits_for_the_reply_before_it)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S(GET("/hold") GET("/second")));
    struct http_exchange *x = desk_wait(&r.desk, 0);
    EXPECT_INT(1, desk_requests(&r.desk));
    http_reply(x, 200, NULL, 0, S("first"));
    EXPECT_STR(S("first"), hear_reply(a, fd, NULL));
    EXPECT_STR(S("GET /second - []"), hear_reply(a, fd, NULL));
    close(fd);
    rig_stop(&r);
}

TEST(a_flood_whose_replies_are_not_read_stops_being_served)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    int64_t before = metric_now(S("headrace_http_received_bytes_total"), S(""), METRIC_COUNTER);
    // 200 replies of 1 MiB are more than any socket buffer holds.
    AUTO_BUF(all);
    for (int i = 0; i < 200; i++)
        buf_add(&all, S(GET("/big?1048576")));
    say(fd, buf_str(&all));
    for (int i = 0; i < 200; i++) {
        EXPECT_INT(1048576, hear_reply(a, fd, NULL).n);
        // Begun is what the two sockets hold and a little more, not all that was asked.
        EXPECT(desk_requests(&r.desk) <= (size_t)i + 100);
    }
    EXPECT_INT(before + (int64_t)all.n,
               metric_now(S("headrace_http_received_bytes_total"), S(""), METRIC_COUNTER));
    close(fd);
    rig_stop(&r);
}

// ---- Bodies.

TEST(a_chunked_body_is_put_together_whatever_the_pieces)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    Str request = S("POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "3;ext=1\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX-Trailer: t\r\n\r\n");
    say(fd, request);
    EXPECT_STR(S("POST /c - [abc0123456789]"), hear_reply(a, fd, NULL));
    for (size_t i = 0; i < request.n; i++)
        say(fd, str_head(str_skip(request, i), 1));
    EXPECT_STR(S("POST /c - [abc0123456789]"), hear_reply(a, fd, NULL));
    close(fd);
    rig_stop(&r);
}

static Str filled(struct arena *a, size_t n)
{
    char *p = arena_alloc(a, n, 1);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)('a' + i % 23);
    return str_from(p, n);
}

TEST(large_bodies_of_both_kinds_arrive_whole)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    Str body = filled(a, 5000000), want = str_cat3(a, S("PUT / - ["), body, S("]"));
    say(fd, S("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n"));
    say(fd, body);
    EXPECT_STR(want, hear_reply(a, fd, NULL));
    say(fd, S("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for (size_t at = 0; at < body.n; at += 100000) {
        say(fd, S("186a0\r\n"));
        say(fd, str_head(str_skip(body, at), 100000));
        say(fd, S("\r\n"));
    }
    say(fd, S("0\r\n\r\n"));
    EXPECT_STR(want, hear_reply(a, fd, NULL));
    close(fd);
    rig_stop(&r);
}

TEST(a_client_that_asks_before_sending_its_body_is_told_to_go_on)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S("PUT /e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
    EXPECT_STR(S("HTTP/1.1 100 Continue\r\n\r\n"), hear_head(a, fd));
    say(fd, S("ok"));
    EXPECT_STR(S("PUT /e - [ok]"), hear_reply(a, fd, NULL));
    // With the body already there, nothing need be said.
    say(fd, S("PUT /e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok"));
    EXPECT_STR(S("PUT /e - [ok]"), hear_reply(a, fd, NULL));
    // Where there is none it is said all the same: clients may count on it.
    say(fd, S("PUT /e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n"));
    EXPECT_STR(S("HTTP/1.1 100 Continue\r\n\r\n"), hear_head(a, fd));
    EXPECT_STR(S("PUT /e - []"), hear_reply(a, fd, NULL));
    close(fd);
    rig_stop(&r);
}

TEST(a_body_over_the_handlers_limit_is_refused_and_the_reply_arrives_all_the_same)
{
    struct rig r;
    rig_init(&r);
    r.desk.body_bytes_max = 1000;
    rig_start(&r);
    Str head = S("PUT /e HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n");
    Str reply = exchange_all(a, &r, str_cat(a, head, filled(a, 5000000)));
    EXPECT(str_starts(reply, S("HTTP/1.1 413 Content Too Large\r\n")));
    EXPECT_STR(S("refused 413"), body_of(reply));
    head = S("PUT /e HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n");
    reply = exchange_all(a, &r, str_cat3(a, head, filled(a, 1000), S("\r\n1\r\n")));
    EXPECT(str_starts(reply, S("HTTP/1.1 413 ")));
    reply = exchange_all(a, &r,
                         S("PUT /e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                           "Content-Length: 1001\r\n\r\n"));
    EXPECT(str_starts(reply, S("HTTP/1.1 413 ")));
    EXPECT_INT(0, desk_requests(&r.desk));
    rig_stop(&r);
}

static bool one_is_paused(void *of)
{
    (void)of;
    return metric_now(S("headrace_http_paused"), S(""), METRIC_GAUGE) > 0;
}

static bool has_received(void *bytes)
{
    return metric_now(S("headrace_http_received_bytes_total"), S(""), METRIC_COUNTER) >=
           *(int64_t *)bytes;
}

TEST(bodies_over_the_common_limit_wait_until_others_are_answered)
{
    struct rig r;
    rig_init(&r);
    r.config.limits.body_pool_bytes_max = 100000;
    rig_start(&r);
    Str head = S("PUT /hold HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n");
    Str body = filled(a, 300000);
    int first = dial(&r), second = dial(&r), third = dial(&r);
    int64_t bytes = 290000 + (int64_t)head.n +
                    metric_now(S("headrace_http_received_bytes_total"), S(""), METRIC_COUNTER);
    say(first, head); // it is read on beyond the limit: somebody must finish
    say(first, str_head(body, 290000));
    wait_until(has_received, &bytes);
    Str begun = str_cat(a, head, str_head(body, 100000));
    say(second, begun);
    say(third, begun);
    wait_until(one_is_paused, NULL);
    say(first, str_skip(body, 290000));
    struct http_exchange *x = desk_wait(&r.desk, 0);
    EXPECT_STR(body, x->body);
    http_reply(x, 200, NULL, 0, S("one"));
    EXPECT_STR(S("one"), hear_reply(a, first, NULL));
    say(second, str_skip(body, 100000));
    say(third, str_skip(body, 100000));
    http_reply(desk_wait(&r.desk, 1), 200, NULL, 0, S("next"));
    http_reply(desk_wait(&r.desk, 2), 200, NULL, 0, S("next"));
    EXPECT_STR(S("next"), hear_reply(a, second, NULL));
    EXPECT_STR(S("next"), hear_reply(a, third, NULL));
    EXPECT(!one_is_paused(NULL));
    close(first);
    close(second);
    close(third);
    rig_stop(&r);
}

// ---- What breaks the protocol.

TEST(what_is_not_http_is_refused_and_closed)
{
    struct rig r;
    rig_init(&r);
    r.config.limits.header_bytes_max = 1000;
    rig_start(&r);
    Str big = str_cat(a, S("GET / HTTP/1.1\r\nHost: h\r\nX: "), filled(a, 2000));
    EXPECT(str_starts(exchange_all(a, &r, S("\x80\x81garbage\xff")), S("HTTP/1.1 400 ")));
    EXPECT(str_starts(exchange_all(a, &r, S("GET / HTTP/1.1\r\n\r\n")), S("HTTP/1.1 400 ")));
    EXPECT(str_starts(exchange_all(a, &r, big), S("HTTP/1.1 431 ")));
    big = str_cat(a, S("GET /"), filled(a, 2000));
    EXPECT(str_starts(exchange_all(a, &r, big), S("HTTP/1.1 414 ")));
    Str bad = S("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n");
    EXPECT(str_starts(exchange_all(a, &r, bad), S("HTTP/1.1 400 ")));
    Str ahead = exchange_all(a, &r, S(GET("/ok") "GARBAGE\r\n\r\n"));
    EXPECT(str_starts(ahead, S("HTTP/1.1 200 ")) && has(ahead, S("[]HTTP/1.1 400 ")));
    EXPECT_INT(1, desk_requests(&r.desk));
    rig_stop(&r);
}

TEST(without_a_handler_for_them_broken_requests_get_a_plain_reply)
{
    struct rig r;
    rig_init(&r);
    r.config.handler.broken = NULL;
    rig_start(&r);
    Str reply = exchange_all(a, &r, S("x\r\n\r\n"));
    EXPECT_STR(S("400 Bad Request\n"), body_of(reply));
    EXPECT(has(reply, S("Content-Type: text/plain\r\n")));
    rig_stop(&r);
}

TEST(extensions_and_trailers_of_chunks_are_bounded)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    AUTO_BUF(b);
    buf_add(&b, S("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for (int i = 0; i < 20; i++)
        buf_addf(&b, "1;%.*s\r\nx\r\n", 1000, filled(a, 1000).p);
    EXPECT(str_starts(exchange_all(a, &r, buf_str(&b)), S("HTTP/1.1 400 ")));
    buf_clear(&b);
    buf_add(&b, S("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"));
    for (int i = 0; i < 20; i++)
        buf_addf(&b, "X: %.*s\r\n", 1000, filled(a, 1000).p);
    EXPECT(str_starts(exchange_all(a, &r, buf_str(&b)), S("HTTP/1.1 400 ")));
    rig_stop(&r);
}

TEST(clients_of_other_protocols_are_closed)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    EXPECT_STR(S(""), exchange_all(a, &r, S("\0\0\0\x08\x04\xd2\x16\x2f"))); // PostgreSQL
    EXPECT_STR(S(""), exchange_all(a, &r, S("\x16\x03\x01\x02\x00")));       // TLS, not configured
    rig_stop(&r);
}

TEST(verbs_that_begin_like_the_preface_of_http_2_are_told_apart)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S("P"));
    say(fd, S("R"));
    say(fd, S("OPFIND /x HTTP/1.1\r\nHost: h\r\n\r\n"));
    EXPECT_STR(S("PROPFIND /x - []"), hear_reply(a, fd, NULL));
    close(fd);
    rig_stop(&r);
}

// ---- Streams.

TEST(a_streamed_reply_is_chunked_and_the_connection_kept)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S(GET("/stream") GET("/y")));
    Str head = hear_head(a, fd);
    EXPECT(has(head, S("Transfer-Encoding: chunked\r\n")) && !has(head, S("Content-Length")));
    Str want = S("4\r\none,\r\n4\r\ntwo,\r\n5\r\nthree\r\n0\r\n\r\n");
    EXPECT_STR(want, hear(a, fd, want.n));
    EXPECT_STR(S("GET /y - []"), hear_reply(a, fd, NULL));
    close(fd);
    rig_stop(&r);
}

TEST(a_streamed_reply_to_http_1_0_ends_with_the_connection)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    Str reply = exchange_all(a, &r, S("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    EXPECT(has(reply, S("Connection: close\r\n")) && !has(reply, S("chunked")));
    EXPECT_STR(S("one,two,three"), body_of(reply));
    rig_stop(&r);
}

static bool nothing_pending(void *x)
{
    return http_stream_pending(x) == 0;
}

static bool is_gone(void *x)
{
    return http_stream_gone(x);
}

TEST(a_producer_sees_what_is_not_yet_with_the_kernel)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S(GET("/hold")));
    struct http_exchange *x = desk_wait(&r.desk, 0);
    http_stream_start(x, 200, NULL, 0);
    Str piece = filled(a, 100000);
    size_t sent = 0;
    while (http_stream_pending(x) < 8000000) { // the client does not read
        http_stream_write(x, piece);
        sent += piece.n;
    }
    hear_head(a, fd);
    for (size_t heard = 0; heard < sent; heard += piece.n)
        EXPECT(str_search(hear(a, fd, piece.n + 9), S("186a0\r\n")) == 0);
    wait_until(nothing_pending, x);
    close(fd);
    while (!http_stream_gone(x)) // the first write after the client has left finds out
        http_stream_write(x, S("anybody?"));
    wait_until(nothing_pending, x); // given up counts as gone
    http_stream_end(x);
    rig_stop(&r);
}

static bool is_wait_over(void *x)
{
    return http_wait_is_over(x);
}

TEST(a_handler_that_waits_sees_that_its_client_sends_nothing_any_more_and_may_still_answer)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S(GET("/hold")));
    struct http_exchange *x = desk_wait(&r.desk, 0);
    EXPECT(!http_wait_is_over(x));
    EXPECT_INT(0, shutdown(fd, SHUT_WR));
    wait_until(is_wait_over, x);
    EXPECT(!http_stream_gone(x));
    http_reply(x, 200, NULL, 0, S("late"));
    EXPECT(str_ends(hear_rest(a, fd), S("late")));
    rig_stop(&r);
}

static bool are_full(void *x)
{
    return http_replies_full(x);
}

static bool are_not_full(void *x)
{
    return !http_replies_full(x);
}

TEST(replies_that_nobody_takes_are_counted_until_they_are_taken)
{
    struct rig r;
    rig_init(&r);
    r.config.limits.reply_pool_bytes_max = 1000000;
    rig_start(&r);
    int held = dial(&r), fd = dial(&r);
    say(held, S(GET("/hold")));
    struct http_exchange *x = desk_wait(&r.desk, 0);
    EXPECT(!http_replies_full(x));
    say(fd, S(GET("/big?60000000"))); // more than the kernel keeps for a reader
    wait_until(are_full, x);
    EXPECT_INT(60000000, hear_reply(a, fd, NULL).n);
    wait_until(are_not_full, x);
    close(fd);
    http_reply(x, 200, NULL, 0, S(""));
    close(held);
    rig_stop(&r);
}

// ---- Clients that leave.

TEST(an_exchange_outlives_its_client)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S("PUT /hold HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"));
    struct http_exchange *x = desk_wait(&r.desk, 0);
    struct linger at_once = { .l_onoff = 1 };
    EXPECT(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    close(fd); // a reset
    wait_until(is_gone, x);
    EXPECT_STR(S("body"), x->body);
    EXPECT_STR(S("h"), http_header(x, S("host")));
    http_reply(x, 200, NULL, 0, S("nobody hears this"));
    rig_stop(&r);
}

TEST(a_client_that_only_stops_sending_gets_its_reply)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S(GET("/hold") GET("/y")));
    EXPECT(shutdown(fd, SHUT_WR) == 0);
    http_reply(desk_wait(&r.desk, 0), 200, NULL, 0, S("held"));
    EXPECT_STR(S("held"), hear_reply(a, fd, NULL));
    EXPECT_STR(S("GET /y - []"), hear_reply(a, fd, NULL));
    EXPECT_STR(S(""), hear_rest(a, fd));
    rig_stop(&r);
}

TEST(a_client_that_leaves_within_a_request_is_forgotten)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    static const char *const parts[] = {
        "", "P", "GET / HT", "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab",
        "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na"
    };
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        int fd = dial(&r);
        say(fd, str_of(parts[i]));
        EXPECT(shutdown(fd, SHUT_WR) == 0);
        EXPECT_STR(S(""), hear_rest(a, fd));
    }
    EXPECT_INT(0, desk_requests(&r.desk));
    rig_stop(&r);
}

// ---- Limits on connections.

static int64_t refused(Str reason)
{
    return metric_now(S("headrace_http_refused_total"), reason, METRIC_COUNTER);
}

TEST(connections_over_the_limit_are_closed_at_once_and_counted)
{
    struct rig r;
    rig_init(&r);
    r.config.limits.connections_max = 2;
    rig_start(&r);
    int64_t before = refused(S("reason=\"connections_max\""));
    int one = dial(&r), two = dial(&r);
    say(one, S(GET("/1")));
    say(two, S(GET("/2")));
    hear_reply(a, one, NULL);
    hear_reply(a, two, NULL);
    EXPECT_STR(S(""), hear_rest(a, dial(&r)));
    EXPECT_INT(before + 1, refused(S("reason=\"connections_max\"")));
    say(one, S(GET("/1"))); // the others are not disturbed
    EXPECT_STR(S("GET /1 - []"), hear_reply(a, one, NULL));
    close(one);
    close(two);
    rig_stop(&r);
}

TEST(connections_that_show_nothing_are_limited_by_themselves)
{
    struct rig r;
    rig_init(&r);
    r.config.limits.undecided_max = 2;
    rig_start(&r);
    int64_t before = refused(S("reason=\"undecided_max\""));
    int decided[3];
    for (int i = 0; i < 3; i++) { // they do not count once they have spoken
        decided[i] = dial(&r);
        say(decided[i], S(GET("/1")));
        hear_reply(a, decided[i], NULL);
    }
    int first = dial(&r), half = dial(&r), third = dial(&r);
    say(half, S("P"));
    EXPECT_STR(S(""), hear_rest(a, first)); // the oldest makes room
    EXPECT_INT(before + 1, refused(S("reason=\"undecided_max\"")));
    say(half, S("OST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"));
    EXPECT_STR(S("POST /2 - []"), hear_reply(a, half, NULL));
    say(third, S(GET("/3")));
    EXPECT_STR(S("GET /3 - []"), hear_reply(a, third, NULL));
    for (int i = 0; i < 3; i++) { // nor are they touched
        say(decided[i], S(GET("/4")));
        EXPECT_STR(S("GET /4 - []"), hear_reply(a, decided[i], NULL));
        close(decided[i]);
    }
    close(half);
    close(third);
    rig_stop(&r);
}

TEST(silent_connections_do_not_keep_others_out)
{
    enum { SILENT = 40 };
    struct rig r;
    rig_init(&r);
    r.config.limits.undecided_max = 4;
    rig_start(&r);
    int silent[SILENT];
    for (int i = 0; i < SILENT; i++) {
        silent[i] = dial(&r);
        int one = dial(&r);
        say(one, S(GET("/one")));
        EXPECT_STR(S("GET /one - []"), hear_reply(a, one, NULL));
        close(one);
    }
    for (int i = 0; i < SILENT; i++)
        close(silent[i]);
    rig_stop(&r);
}

TEST(without_free_descriptors_a_client_is_told_at_once)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int64_t before = refused(S("reason=\"connections_max\""));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int lowest_free = dup(fd);
    close(lowest_free);
    struct rlimit old, tight;
    EXPECT(getrlimit(RLIMIT_NOFILE, &old) == 0);
    tight = (struct rlimit){ .rlim_cur = (rlim_t)lowest_free, .rlim_max = old.rlim_max };
    EXPECT(setrlimit(RLIMIT_NOFILE, &tight) == 0);
    connect_to(&r, fd);
    Str heard = hear_rest(a, fd);
    EXPECT(setrlimit(RLIMIT_NOFILE, &old) == 0);
    EXPECT_STR(S(""), heard);
    EXPECT_INT(before + 1, refused(S("reason=\"connections_max\"")));
    fd = dial(&r); // and when there are some again, it is served
    say(fd, S(GET("/x")));
    EXPECT_STR(S("GET /x - []"), hear_reply(a, fd, NULL));
    close(fd);
    rig_stop(&r);
}

TEST(connections_are_shared_out_evenly)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fds[8], on_first = 0;
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        fds[i] = dial(&r);
        say(fds[i], S(GET("/hold")));
        on_first += desk_wait(&r.desk, i)->loop == r.loops[0];
    }
    EXPECT_INT(4, on_first);
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        http_reply(desk_wait(&r.desk, i), 200, NULL, 0, S(""));
        hear_reply(a, fds[i], NULL);
        close(fds[i]);
    }
    rig_stop(&r);
}

TEST(an_address_in_use_or_misspelt_is_an_error)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    uint16_t port = 0;
    Str same = str_fmt(a, "127.0.0.1:%u", r.port);
    EXPECT_ERR(ERR_BUSY, http_server_listen(r.server, same, &port));
    EXPECT_ERR(ERR_INVALID, http_server_listen(r.server, S("127.0.0.1"), &port));
    EXPECT_ERR(ERR_INVALID, http_server_listen(r.server, S("localhost:1"), &port));
    EXPECT_ERR(ERR_INVALID, http_server_listen(r.server, S("127.0.0.1:65536"), &port));
    EXPECT_ERR(ERR_INVALID, http_server_listen(r.server, S("[::1:0"), &port));
    EXPECT_OK(http_server_listen(r.server, S("127.0.0.2:0"), &port));
    EXPECT(port != 0);
    rig_stop(&r);
}

// ---- Draining.

static void *drain(void *server)
{
    http_server_drain(server);
    return NULL;
}

TEST(draining_lets_running_requests_end_and_closes_idle_connections)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int idle = dial(&r), busy = dial(&r), stream = dial(&r);
    say(idle, S(GET("/1")));
    hear_reply(a, idle, NULL);
    say(busy, S(GET("/hold")));
    struct http_exchange *x = desk_wait(&r.desk, 0);
    say(stream, S(GET("/hold")));
    struct http_exchange *y = desk_wait(&r.desk, 1);
    http_stream_start(y, 200, NULL, 0);
    hear_head(a, stream);
    pthread_t drainer;
    EXPECT(pthread_create(&drainer, NULL, drain, r.server) == 0);
    EXPECT_STR(S(""), hear_rest(a, idle)); // closed because of it
    http_reply(x, 200, NULL, 0, S("still served"));
    Str last = hear_rest(a, busy);
    EXPECT(has(last, S("Connection: close\r\n")));
    EXPECT_STR(S("still served"), body_of(last));
    http_stream_write(y, S("x"));
    http_stream_end(y);
    EXPECT_STR(S("1\r\nx\r\n0\r\n\r\n"), hear_rest(a, stream));
    EXPECT(pthread_join(drainer, NULL) == 0);
    rig_stop(&r);
}

TEST(draining_ends_at_its_deadline_even_if_a_handler_never_answers)
{
    struct rig r;
    rig_init(&r);
    r.config.limits.drain_ns = 50000000;
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S(GET("/hold")));
    struct http_exchange *x = desk_wait(&r.desk, 0);
    http_server_drain(r.server);
    EXPECT_STR(S(""), hear_rest(a, fd));
    EXPECT(http_stream_gone(x));
    rig_stop(&r); // the exchange is freed with the server
}

// ---- Replies from other threads.

enum { REPLIERS = 4, REPLIES = 400 };

struct job {
    struct task task;
    struct http_exchange *x;
};

struct hall {
    struct pool *pool;
    struct job jobs[REPLIES];
    _Atomic size_t next;
};

static void do_job(struct task *t)
{
    struct http_exchange *x = ((struct job *)t)->x;
    http_reply(x, 200, NULL, 0, str_fmt(x->arena, "%.*s!", FMT(x->path)));
}

static void to_pool(void *self, struct http_exchange *x)
{
    struct hall *h = self;
    struct job *j = &h->jobs[h->next++];
    *j = (struct job){ .task.run = do_job, .x = x };
    CHECK(pool_submit(h->pool, &j->task).kind == ERR_NONE);
}

TEST(many_threads_reply_at_once)
{
    struct rig r;
    rig_init(&r);
    struct hall *h = xalloc(sizeof *h);
    EXPECT_OK(pool_open(REPLIERS, REPLIES, "reply", &h->pool));
    r.config.handler = (struct http_handler){ .self = h, .request = to_pool };
    rig_start(&r);
    enum { CLIENTS = 8 };
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = dial(&r);
    for (int round = 0; round < REPLIES / CLIENTS; round++) {
        for (int i = 0; i < CLIENTS; i++)
            say(fds[i], str_fmt(a, "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", i));
        for (int i = 0; i < CLIENTS; i++)
            EXPECT_STR(str_fmt(a, "/%d!", i), hear_reply(a, fds[i], NULL));
    }
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    pool_close(h->pool);
    rig_stop(&r);
    free(h);
}
