// SPDX-License-Identifier: Apache-2.0
#include "http/client.h"
#include "http/test_rig.h"
#include "os/tls.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static HttpClientConfig config_for(struct arena *a, const struct rig *r, const char *scheme)
{
    return (HttpClientConfig){ .url = str_fmt(a, "%s://127.0.0.1:%u/ignored", scheme, r->port),
                               .timeout_ns = 60000000000 };
}

TEST(the_client_calls_and_keeps_its_connection)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    HttpClientConfig config = config_for(a, &r, "http");
    AUTO(http_client) c = NULL;
    EXPECT_OK(http_client_open(&config, &c));
    EXPECT_STR(str_fmt(a, "127.0.0.1:%u", r.port), http_client_host(c));
    int64_t before = metric_now(S("headrace_http_accepted_total"), S(""), METRIC_COUNTER);
    HttpHeader headers[] = { { S("X-Test"), S("1") } };
    HttpReply reply;
    for (int i = 0; i < 3; i++) {
        EXPECT_OK(http_client_call(c, a, S("POST"), S("/p?q"), headers, 1, S("body"), &reply));
        EXPECT_INT(200, reply.status);
        EXPECT_STR(S("POST /p q [body]"), reply.body);
        EXPECT_STR(S("content-type"), reply.headers[0].name);
    }
    EXPECT_OK(http_client_call(c, a, S("GET"), S("/stream"), NULL, 0, S(""), &reply));
    EXPECT_STR(S("one,two,three"), reply.body);
    EXPECT_OK(http_client_call(c, a, S("HEAD"), S("/x"), NULL, 0, S(""), &reply));
    EXPECT_STR(S(""), reply.body);
    EXPECT_OK(http_client_call(c, a, S("GET"), S("/big?3000000"), NULL, 0, S(""), &reply));
    EXPECT_INT(3000000, reply.body.n);
    EXPECT_INT(before + 1, metric_now(S("headrace_http_accepted_total"), S(""), METRIC_COUNTER));
    rig_stop(&r);
}

TEST(a_call_in_pieces_sends_and_reads_any_size_and_keeps_its_connection)
{
    enum { PIECES = 40, PIECE_BYTES = 10000 };
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    HttpClientConfig config = config_for(a, &r, "http");
    AUTO(http_client) c = NULL;
    EXPECT_OK(http_client_open(&config, &c));
    int64_t before = metric_now(S("headrace_http_accepted_total"), S(""), METRIC_COUNTER);
    char *piece = arena_alloc(a, PIECE_BYTES, 1);
    HttpReply reply;
    Str rest;
    uint64_t bytes;
    memset(piece, 'x', PIECE_BYTES);
    for (int i = 0; i < 2; i++) {
        EXPECT_OK(http_client_begin(c, S("PUT"), S("/p"), NULL, 0, (uint64_t)PIECES * PIECE_BYTES));
        for (int k = 0; k < PIECES; k++)
            EXPECT_OK(http_client_send(c, str_from(piece, PIECE_BYTES)));
        EXPECT_OK(http_client_head(c, a, &reply, &bytes));
        EXPECT_OK(http_client_rest(c, a, &rest));
        EXPECT(reply.status == 200 && rest.n == bytes && http_client_kept(c));
    }
    EXPECT_OK(http_client_begin(c, S("GET"), S("/big?300000"), NULL, 0, 0));
    EXPECT_OK(http_client_head(c, a, &reply, &bytes));
    EXPECT_INT(300000, bytes);
    uint64_t got = 0;
    for (size_t n = 1; n > 0; got += n)
        EXPECT_OK(http_client_read(c, piece, PIECE_BYTES, &n));
    EXPECT(got == bytes && http_client_kept(c));
    EXPECT_OK(http_client_begin(c, S("HEAD"), S("/x"), NULL, 0, 0));
    EXPECT_OK(http_client_head(c, a, &reply, &bytes));
    EXPECT(bytes == 0 && http_client_kept(c));
    EXPECT_OK(http_client_begin(c, S("GET"), S("/stream"), NULL, 0, 0)); // its length is not said
    EXPECT_OK(http_client_head(c, a, &reply, &bytes));
    EXPECT(bytes == UINT64_MAX);
    EXPECT_OK(http_client_rest(c, a, &rest));
    EXPECT_STR(S("one,two,three"), rest);
    EXPECT_INT(before + 1, metric_now(S("headrace_http_accepted_total"), S(""), METRIC_COUNTER));
    http_client_drop(c); // in the middle, and another call
    EXPECT_OK(http_client_begin(c, S("PUT"), S("/p"), NULL, 0, 100));
    http_client_drop(c);
    EXPECT(!http_client_kept(c));
    EXPECT_OK(http_client_call(c, a, S("GET"), S("/x"), NULL, 0, S(""), &reply));
    EXPECT_STR(S("GET /x - []"), reply.body);
    rig_stop(&r);
}

static bool nobody_is_connected(void *unused)
{
    (void)unused;
    return metric_now(S("headrace_http_connections"), S("protocol=\"h1\""), METRIC_GAUGE) == 0;
}

TEST(a_connection_that_was_closed_while_idle_is_opened_again)
{
    struct rig r;
    rig_init(&r);
    r.config.limits.idle_ns = 20000000;
    rig_start(&r);
    HttpClientConfig config = config_for(a, &r, "http");
    AUTO(http_client) c = NULL;
    EXPECT_OK(http_client_open(&config, &c));
    HttpReply reply;
    for (int i = 0; i < 2; i++) {
        EXPECT_OK(http_client_call(c, a, S("GET"), S("/x"), NULL, 0, S(""), &reply));
        EXPECT_STR(S("GET /x - []"), reply.body);
        wait_until(nobody_is_connected, NULL);
    }
    rig_stop(&r);
}

TEST(a_refusal_before_the_body_is_sent_whole_is_read)
{
    struct rig r;
    rig_init(&r);
    r.desk.body_bytes_max = 1000;
    rig_start(&r);
    HttpClientConfig config = config_for(a, &r, "http");
    AUTO(http_client) c = NULL;
    EXPECT_OK(http_client_open(&config, &c));
    HttpReply reply;
    Str large = str_from(arena_alloc(a, 4000000, 1), 4000000);
    EXPECT_OK(http_client_call(c, a, S("PUT"), S("/x"), NULL, 0, large, &reply));
    EXPECT_INT(413, reply.status);
    EXPECT_OK(http_client_call(c, a, S("PUT"), S("/x"), NULL, 0, S("ok"), &reply));
    EXPECT_INT(200, reply.status);
    rig_stop(&r);
}

TEST(a_url_that_is_none_is_an_error)
{
    static const char *const urls[] = { "",
                                        "127.0.0.1:1",
                                        "ftp://x",
                                        "http://",
                                        "http://:80",
                                        "http://x:99999",
                                        "http://[::1",
                                        "http://x:y",
                                        "http://[::1]x" };
    for (size_t i = 0; i < COUNT_OF(urls); i++) {
        HttpClientConfig config = { .url = str_of(urls[i]), .timeout_ns = 1000000000 };
        AUTO(http_client) c = NULL;
        EXPECT_ERR(ERR_INVALID, http_client_open(&config, &c));
    }
}

// Of a call that gets no answer, and long enough to connect on a machine that is busy.
#define BRIEF_NS INT64_C(300000000)

// A server that answers one connection with given bytes, whatever it is asked.
struct fake {
    int listener;
    uint16_t port;
    Str answer;
    bool drips; // of the answer's last byte there are ever more, one at a time
    pthread_t thread;
};

static void drip(int fd, char byte)
{
    const struct timespec pause = { .tv_nsec = 2000000 };
    while (send(fd, &byte, 1, MSG_NOSIGNAL) == 1)
        nanosleep(&pause, NULL);
}

static void *fake_run(void *argument)
{
    struct fake *f = argument;
    int fd = accept(f->listener, NULL, NULL);
    char scrap[4096];
    if (fd >= 0 && recv(fd, scrap, sizeof scrap, 0) > 0)
        (void)!send(fd, f->answer.p, f->answer.n, MSG_NOSIGNAL);
    if (f->drips)
        drip(fd, f->answer.p[f->answer.n - 1]);
    if (f->answer.n > 0) // else it keeps silent until the client leaves
        shutdown(fd, SHUT_WR);
    while (recv(fd, scrap, sizeof scrap, 0) > 0)
        ;
    close(fd);
    return NULL;
}

static bool at_the_third_question(void *of)
{
    return ++*(int *)of == 3;
}

static Err call_faked(struct arena *a, struct fake f, HttpClientConfig config, int *asked,
                      HttpReply *ret)
{
    bool is_tls = config.url.p != NULL;
    f.listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof at;
    EXPECT(bind(f.listener, (struct sockaddr *)&at, n) == 0 && listen(f.listener, 1) == 0 &&
           getsockname(f.listener, (struct sockaddr *)&at, &n) == 0);
    EXPECT(pthread_create(&f.thread, NULL, fake_run, &f) == 0);
    config.url = str_fmt(a, "http%s://127.0.0.1:%u", is_tls ? "s" : "", ntohs(at.sin_port));
    struct http_client *c = NULL;
    EXPECT_OK(http_client_open(&config, &c));
    if (asked != NULL)
        http_client_ask(c, at_the_third_question, asked);
    Err e = http_client_call(c, a, S("GET"), S("/"), NULL, 0, S(""), ret);
    EXPECT(http_client_reached(c));
    http_client_close(c);
    EXPECT(pthread_join(f.thread, NULL) == 0);
    close(f.listener);
    return e;
}

static Err call_fake_with(struct arena *a, Str answer, HttpClientConfig config, int *asked,
                          HttpReply *ret)
{
    return call_faked(a, (struct fake){ .answer = answer }, config, asked, ret);
}

static Err call_fake(struct arena *a, Str answer, int64_t timeout_ns, HttpReply *ret)
{
    return call_fake_with(a, answer, (HttpClientConfig){ .timeout_ns = timeout_ns }, NULL, ret);
}

TEST(broken_and_odd_replies_are_told_apart)
{
    const int64_t s = 60000000000;
    HttpReply reply;
    EXPECT_OK(call_fake(a, S("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\nto the end"), s,
                        &reply));
    EXPECT_STR(S("to the end"), reply.body);
    EXPECT_OK(call_fake(a, S("HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n"), s, &reply));
    EXPECT_STR(S(""), reply.body);
    EXPECT_ERR(ERR_CLOSED,
               call_fake(a, S("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"), s, &reply));
    EXPECT_ERR(ERR_CLOSED, call_fake(a, S("HTTP/1.1 20"), s, &reply));
    EXPECT_ERR(ERR_INVALID, call_fake(a, S("SSH-2.0-x\r\n"), s, &reply));
    EXPECT_ERR(
        ERR_INVALID,
        call_fake(a, S("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), s, &reply));
    EXPECT_ERR(ERR_INVALID,
               call_fake(a, S("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc"), s,
                         &reply));
    EXPECT_ERR(ERR_LIMIT,
               call_fake(a, S("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"), s, &reply));
    EXPECT_ERR(ERR_TIMEOUT, call_fake(a, S(""), BRIEF_NS, &reply));
}

TEST(a_call_has_an_end_and_a_reply_a_length)
{
    const int64_t s = 60000000000;
    HttpReply reply;
    int asked = 0;
    HttpClientConfig brief = { .timeout_ns = s, .total_ns = BRIEF_NS };
    EXPECT_ERR(ERR_TIMEOUT, call_fake_with(a, S(""), brief, NULL, &reply));
    HttpClientConfig given_up = { .timeout_ns = s };
    EXPECT_ERR(ERR_CLOSED, call_fake_with(a, S(""), given_up, &asked, &reply));
    EXPECT_INT(3, asked);
    static const Str five[] = {
        S_INIT("HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n12345"),
        S_INIT("HTTP/1.1 200 X\r\n\r\n12345"),
        S_INIT("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n12\r\n3\r\n345\r\n0"
               "\r\n\r\n"),
    };
    for (size_t i = 0; i < COUNT_OF(five); i++) {
        HttpClientConfig enough = { .timeout_ns = s, .reply_max = 5 };
        HttpClientConfig small = { .timeout_ns = s, .reply_max = 4 };
        EXPECT_OK(call_fake_with(a, five[i], enough, NULL, &reply));
        EXPECT_STR(S("12345"), reply.body);
        EXPECT_ERR(ERR_LIMIT, call_fake_with(a, five[i], small, NULL, &reply));
    }
}

// In a head, in a body, in a record of TLS: who sends a byte now and then gets no more time than
// who is silent, and the call is given up as soon.
TEST(a_server_that_drips_ends_a_call_no_later)
{
    const int64_t s = 60000000000;
    static const struct {
        Str answer, scheme;
    } cases[] = {
        { S_INIT("HTTP/1.1 200 X\r\nX: a"), { 0 } },
        { S_INIT("HTTP/1.1 200 X\r\nContent-Length: 60000\r\n\r\na"), { 0 } },
        { S_INIT("\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03"), S_INIT("https") },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        HttpReply reply;
        struct fake f = { .answer = cases[i].answer, .drips = true };
        HttpClientConfig brief = { .url = cases[i].scheme, .timeout_ns = s, .total_ns = BRIEF_NS };
        EXPECT_ERR(ERR_TIMEOUT, call_faked(a, f, brief, NULL, &reply));
        int asked = 0;
        HttpClientConfig given_up = { .url = cases[i].scheme, .timeout_ns = s };
        EXPECT_ERR(ERR_CLOSED, call_faked(a, f, given_up, &asked, &reply));
        EXPECT_INT(3, asked);
    }
}

TEST(nobody_at_the_address_is_not_found)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0); // bound but not listening: refused
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof at;
    EXPECT(bind(fd, (struct sockaddr *)&at, n) == 0 &&
           getsockname(fd, (struct sockaddr *)&at, &n) == 0);
    HttpClientConfig config = { .url = str_fmt(a, "http://127.0.0.1:%u", ntohs(at.sin_port)),
                                .timeout_ns = INT64_C(60000000000) };
    AUTO(http_client) c = NULL;
    EXPECT_OK(http_client_open(&config, &c));
    HttpReply reply;
    EXPECT_ERR(ERR_NOT_FOUND, http_client_call(c, a, S("GET"), S("/"), NULL, 0, S(""), &reply));
    EXPECT(!http_client_reached(c));
    close(fd);
}

// ---- TLS.

static void rig_start_tls(struct arena *a, struct rig *r, Str *ret_cert)
{
    Str key;
    EXPECT_OK(tls_make_certificate(io_real(), test_dir(a), ret_cert, &key, a));
    EXPECT_OK(tls_server_context(*ret_cert, key, &r->config.tls));
    rig_start(r);
}

TEST(tls_calls_work_with_and_without_trust)
{
    struct rig r;
    Str cert;
    rig_init(&r);
    rig_start_tls(a, &r, &cert);
    HttpClientConfig config = config_for(a, &r, "https");
    HttpReply reply;
    for (int verify = 0; verify < 2; verify++) {
        config.verify = verify == 1;
        config.ca_file = cert;
        AUTO(http_client) c = NULL;
        EXPECT_OK(http_client_open(&config, &c));
        for (int i = 0; i < 3; i++) {
            EXPECT_OK(http_client_call(c, a, S("POST"), S("/p"), NULL, 0, S("body"), &reply));
            EXPECT_STR(S("POST /p - [body]"), reply.body);
        }
        char *bytes = arena_alloc(a, 3000000, 1);
        memset(bytes, 'x', 3000000);
        Str large = str_from(bytes, 3000000);
        EXPECT_OK(http_client_call(c, a, S("PUT"), S("/p"), NULL, 0, large, &reply));
        EXPECT_INT(3000000 + 11, reply.body.n);
        EXPECT_OK(http_client_call(c, a, S("GET"), S("/stream"), NULL, 0, S(""), &reply));
        EXPECT_STR(S("one,two,three"), reply.body);
    }
    config.url = str_fmt(a, "http://127.0.0.1:%u", r.port); // the same port, plain
    AUTO(http_client) plain = NULL;
    EXPECT_OK(http_client_open(&config, &plain));
    EXPECT_OK(http_client_call(plain, a, S("GET"), S("/p"), NULL, 0, S(""), &reply));
    EXPECT_INT(200, reply.status);
    rig_stop(&r);
    tls_context_close(r.config.tls);
}

TEST(a_certificate_that_nobody_vouches_for_is_refused)
{
    struct rig r;
    Str cert;
    rig_init(&r);
    rig_start_tls(a, &r, &cert);
    HttpClientConfig config = config_for(a, &r, "https");
    config.verify = true; // by the system's authorities
    AUTO(http_client) c = NULL;
    EXPECT_OK(http_client_open(&config, &c));
    HttpReply reply;
    EXPECT_ERR(ERR_DENIED, http_client_call(c, a, S("GET"), S("/p"), NULL, 0, S(""), &reply));
    EXPECT_INT(0, desk_requests(&r.desk));
    rig_stop(&r);
    tls_context_close(r.config.tls);
}

TEST(a_tls_handshake_that_stops_is_closed)
{
    struct rig r;
    Str cert;
    rig_init(&r);
    r.config.limits.first_bytes_ns = 50000000;
    rig_start_tls(a, &r, &cert);
    int begun = dial(&r), garbage = dial(&r);
    say(begun, S("\x16\x03\x01\x02\x00\x01"));
    say(garbage, S("\x16garbage that is no handshake at all"));
    hear_rest(a, garbage);
    EXPECT_STR(S(""), hear_rest(a, begun));
    rig_stop(&r);
    tls_context_close(r.config.tls);
}

TEST(a_client_that_has_shaken_hands_and_stays_silent_is_told_goodbye)
{
    struct rig r;
    Str cert;
    AUTO(tls_context) client = NULL;
    rig_init(&r);
    r.config.limits.idle_ns = 50000000;
    rig_start_tls(a, &r, &cert);
    EXPECT_OK(tls_client_context(false, S(""), &client));
    int fd = dial(&r);
    SSL *ssl = SSL_new(tls_context_ssl(client));
    EXPECT_OK(tls_attach(ssl, io_real(), fd));
    EXPECT_INT(1, SSL_connect(ssl));
    char byte;
    EXPECT_INT(SSL_ERROR_ZERO_RETURN, SSL_get_error(ssl, SSL_read(ssl, &byte, 1)));
    SSL_free(ssl);
    close(fd);
    rig_stop(&r);
    tls_context_close(r.config.tls);
}
