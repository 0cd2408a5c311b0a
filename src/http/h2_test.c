// SPDX-License-Identifier: Apache-2.0
// HTTP/2 as a client sees it, with nghttp2 as the client: by prior knowledge, plain and inside TLS.
#include "base/memory.h"
#include "http/stream_rig.h"
#include "os/tls.h"

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MS INT64_C(1000000)

enum { STREAMS_MAX = 64 };

struct stream {
    unsigned status;
    struct buf body;
    Str length;     // content-length as it was sent
    bool continued; // 100 came first
    bool ended;     // the reply is complete
    bool closed;
    uint32_t error;
    Str upload;
    bool holds;  // the upload stays open when all is sent
    bool trails; // and ends with a trailer
};

struct client {
    struct arena *a;
    int fd;
    SSL *ssl;
    nghttp2_session *session;
    struct stream streams[STREAMS_MAX];
    bool server_closed;
    bool goaway;
    uint32_t goaway_error;
    int32_t goaway_last;
};

static struct stream *at(struct client *c, int32_t id)
{
    EXPECT(id > 0 && id / 2 < STREAMS_MAX);
    return &c->streams[id / 2];
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *p, size_t n, int flags, void *user)
{
    (void)session;
    (void)flags;
    struct client *c = user;
    ssize_t sent = c->ssl != NULL ? SSL_write(c->ssl, p, (int)n) : send(c->fd, p, n, MSG_NOSIGNAL);
    return sent > 0 ? sent : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *user)
{
    (void)session;
    (void)flags;
    struct client *c = user;
    Str key = str_from(name, name_n), text = str_from(value, value_n);
    uint64_t status = 0;
    if (str_eq(key, S(":status")) && str_u64(text, &status).kind == ERR_NONE)
        at(c, frame->hd.stream_id)->status = (unsigned)status;
    at(c, frame->hd.stream_id)->continued |= status == 100;
    if (str_eq(key, S("content-length")))
        at(c, frame->hd.stream_id)->length = str_dup(c->a, text);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *user)
{
    (void)session;
    (void)flags;
    buf_add(&at(user, id)->body, str_from(p, n));
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    struct client *c = user;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        c->goaway = true;
        c->goaway_error = frame->goaway.error_code;
        c->goaway_last = frame->goaway.last_stream_id;
    }
    bool last = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (last && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        at(c, frame->hd.stream_id)->ended = true;
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    (void)session;
    at(user, id)->closed = true;
    at(user, id)->error = error;
    return 0;
}

static void client_init(struct client *c, struct arena *a, int fd, SSL *ssl)
{
    *c = (struct client){ .a = a, .fd = fd, .ssl = ssl };
    nghttp2_session_callbacks *callbacks;
    EXPECT(nghttp2_session_callbacks_new(&callbacks) == 0);
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    EXPECT(nghttp2_session_client_new(&c->session, callbacks, c) == 0);
    nghttp2_session_callbacks_del(callbacks);
    EXPECT(nghttp2_submit_settings(c->session, 0, NULL, 0) == 0);
}

static void client_done(struct client *c)
{
    for (size_t i = 0; i < STREAMS_MAX; i++)
        buf_done(&c->streams[i].body);
    nghttp2_session_del(c->session);
    SSL_free(c->ssl);
    close(c->fd);
}

static nghttp2_nv nv(Str name, Str value)
{
    return (nghttp2_nv){ (uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p, name.n,
                         value.n, 0 };
}

static ssize_t read_upload(nghttp2_session *session, int32_t id, uint8_t *to, size_t room,
                           uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)source;
    struct stream *s = at(user, id);
    size_t n = MIN(room, s->upload.n);
    memcpy(to, s->upload.p, n);
    s->upload = str_skip(s->upload, n);
    if (s->upload.n == 0 && s->holds)
        return n > 0 ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
    if (s->upload.n == 0)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (s->upload.n == 0 && s->trails) {
        nghttp2_nv trailer = nv(S("x-checksum"), S("abc="));
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        EXPECT(nghttp2_submit_trailer(session, id, &trailer, 1) == 0);
    }
    return (ssize_t)n;
}

static int32_t ask(struct client *c, Str method, Str path, Str body, const HttpHeader *more,
                   size_t n, bool holds)
{
    nghttp2_nv headers[200] = { nv(S(":method"), method), nv(S(":scheme"), S("http")),
                                nv(S(":authority"), S("auth:1")), nv(S(":path"), path) };
    for (size_t i = 0; i < n; i++)
        headers[4 + i] = nv(more[i].name, more[i].value);
    nghttp2_data_provider provider = { .read_callback = read_upload };
    bool uploads = body.n > 0 || holds;
    int32_t id =
        nghttp2_submit_request(c->session, NULL, headers, 4 + n, uploads ? &provider : NULL, NULL);
    EXPECT(id > 0);
    at(c, id)->upload = body;
    at(c, id)->holds = holds;
    return id;
}

static int32_t get(struct client *c, Str path)
{
    return ask(c, S("GET"), path, S(""), NULL, 0, false);
}

// Sends what there is to send, which may end streams. An error shows in what is read.
static void push(struct client *c)
{
    nghttp2_session_send(c->session);
}

// Reads once, after sending what there is.
static void pump(struct client *c)
{
    char p[16384];
    push(c);
    ssize_t n = c->ssl != NULL ? SSL_read(c->ssl, p, sizeof p) : recv(c->fd, p, sizeof p, 0);
    if (n <= 0) {
        c->server_closed = true;
        return;
    }
    EXPECT_INT(n, nghttp2_session_mem_recv(c->session, (uint8_t *)p, (size_t)n));
}

static Str finish(struct client *c, int32_t id)
{
    for (push(c); !at(c, id)->ended && !at(c, id)->closed; push(c)) {
        if (c->server_closed)
            test_fail(__FILE__, __LINE__, "the server closed with stream %d open", id);
        pump(c);
    }
    return buf_str(&at(c, id)->body);
}

// The same server, once plain and once inside TLS (without ALPN, as older Java clients do it).
struct world {
    struct rig r;
    struct tls_context *tls;
    struct client c;
};

static void world_start(struct arena *a, struct world *w, bool tls)
{
    SSL *ssl = NULL;
    if (tls) {
        Str cert, key;
        EXPECT_OK(tls_make_certificate(io_real(), test_dir(a), &cert, &key, a));
        EXPECT_OK(tls_server_context(cert, key, &w->r.config.tls));
        EXPECT_OK(tls_client_context(false, S(""), &w->tls));
    }
    rig_start(&w->r);
    int fd = dial(&w->r);
    if (tls) {
        ssl = SSL_new(tls_context_ssl(w->tls));
        EXPECT(tls_attach(ssl, io_real(), fd).kind == ERR_NONE && SSL_connect(ssl) == 1);
    }
    client_init(&w->c, a, fd, ssl);
}

static void world_stop(struct world *w)
{
    client_done(&w->c);
    rig_stop(&w->r);
    tls_context_close(w->r.config.tls);
    tls_context_close(w->tls);
}

static struct world *world_new(void)
{
    struct world *w = xalloc(sizeof *w);
    rig_init(&w->r);
    return w;
}

// ---- Requests and replies.

static Str filled(struct arena *a, size_t n)
{
    char *p = arena_alloc(a, n, 1);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)('a' + i % 23);
    return str_from(p, n);
}

static void check_world(struct arena *a, bool tls)
{
    struct world *w = world_new();
    world_start(a, w, tls);
    struct client *c = &w->c;
    int32_t one = get(c, S("/one?q"));
    int32_t two = ask(c, S("POST"), S("/two"), S("body"), NULL, 0, false);
    int32_t stream = get(c, S("/stream")), big = get(c, S("/big?3000000"));
    Str large = filled(a, 3000000);
    int32_t up = ask(c, S("PUT"), S("/up"), large, NULL, 0, false);
    int32_t head = ask(c, S("HEAD"), S("/x"), S(""), NULL, 0, false);
    EXPECT_STR(S("GET /one q []"), finish(c, one));
    EXPECT_STR(S("POST /two - [body]"), finish(c, two));
    EXPECT_STR(S("one,two,three"), finish(c, stream));
    EXPECT_INT(3000000, finish(c, big).n);
    EXPECT_STR(str_cat3(a, S("PUT /up - ["), large, S("]")), finish(c, up));
    EXPECT_STR(S(""), finish(c, head));
    EXPECT(at(c, one)->status == 200 && str_eq(at(c, one)->length, S("13")));
    EXPECT_STR(S("12"), at(c, head)->length);
    EXPECT_STR(S(""), at(c, stream)->length);
    world_stop(w);
    free(w);
}

TEST(streams_are_answered_by_prior_knowledge)
{
    check_world(a, false);
}

TEST(streams_are_answered_by_prior_knowledge_inside_tls)
{
    check_world(a, true);
}

TEST(pseudo_headers_and_split_cookies_look_as_in_http_1)
{
    struct world *w = world_new();
    world_start(a, w, false);
    HttpHeader more[] = { { S("cookie"), S("a=1") },
                          { S("x-test"), S("v") },
                          { S("cookie"), S("b=2") } };
    int32_t id = ask(&w->c, S("POST"), S("/hold?x=%20"), S("abc"), more, 3, false);
    nghttp2_session_send(w->c.session);
    struct http_exchange *x = desk_wait(&w->r.desk, 0);
    EXPECT_STR(S("auth:1"), http_header(x, S("host")));
    EXPECT_STR(S("a=1; b=2"), http_header(x, S("cookie")));
    EXPECT_STR(S("v"), http_header(x, S("x-test")));
    EXPECT(http_header(x, S(":path")).p == NULL && http_header(x, S("none")).p == NULL);
    EXPECT_STR(S("x=%20"), x->query);
    EXPECT_STR(S("abc"), x->body);
    EXPECT_INT(20, x->http_version);
    HttpHeader mixed[] = { { S("X-Mixed"), S("1") }, { S("Connection"), S("close") } };
    http_reply(x, 404, mixed, 2, S("gone"));
    EXPECT_STR(S("gone"), finish(&w->c, id));
    EXPECT_INT(404, at(&w->c, id)->status);
    world_stop(w);
    free(w);
}

TEST(streams_are_answered_as_they_are_ready_not_in_order)
{
    struct world *w = world_new();
    world_start(a, w, false);
    int32_t held = get(&w->c, S("/hold")), quick = get(&w->c, S("/quick"));
    EXPECT_STR(S("GET /quick - []"), finish(&w->c, quick));
    EXPECT(!at(&w->c, held)->ended);
    http_reply(desk_wait(&w->r.desk, 0), 200, NULL, 0, S("at last"));
    EXPECT_STR(S("at last"), finish(&w->c, held));
    world_stop(w);
    free(w);
}

TEST(a_client_that_asks_before_sending_its_body_is_told_to_go_on_on_its_stream)
{
    struct world *w = world_new();
    world_start(a, w, false);
    struct client *c = &w->c;
    HttpHeader expect = { S("expect"), S("100-continue") };
    int32_t id = ask(c, S("PUT"), S("/e"), S(""), &expect, 1, true);
    while (!at(c, id)->continued)
        pump(c);
    at(c, id)->upload = S("body");
    at(c, id)->holds = false;
    EXPECT(nghttp2_session_resume_data(c->session, id) == 0);
    EXPECT_STR(S("PUT /e - [body]"), finish(c, id));
    world_stop(w);
    free(w);
}

TEST(a_ping_is_answered)
{
    struct world *w = world_new();
    world_start(a, w, false);
    const uint8_t payload[8] = "12345678";
    EXPECT(nghttp2_submit_ping(w->c.session, 0, payload) == 0);
    EXPECT_STR(S("GET /x - []"), finish(&w->c, get(&w->c, S("/x"))));
    EXPECT(!w->c.goaway);
    world_stop(w);
    free(w);
}

// ---- Refusals: one stream, not its neighbours.

static void expect_refused(struct world *w, int32_t id, unsigned status)
{
    EXPECT_STR(str_fmt(w->c.a, "refused %u", status), finish(&w->c, id));
    EXPECT_INT(status, at(&w->c, id)->status);
}

TEST(a_stream_that_breaks_a_limit_is_refused_alone)
{
    struct world *w = world_new();
    w->r.config.limits.header_bytes_max = 4000;
    w->r.config.limits.header_count_max = 20;
    w->r.config.limits.body_ns = 300 * MS;
    w->r.desk.body_bytes_max = 1000;
    world_start(a, w, false);
    struct client *c = &w->c;
    HttpHeader many[30], length = { S("content-length"), S("5000") };
    for (size_t i = 0; i < COUNT_OF(many); i++)
        many[i] = (HttpHeader){ S("x-many"), S("v") };
    HttpHeader big = { S("x-big"), filled(a, 5000) };
    expect_refused(w, ask(c, S("GET"), S("/"), S(""), many, COUNT_OF(many), false), 431);
    expect_refused(w, ask(c, S("GET"), S("/"), S(""), &big, 1, false), 431);
    Str target = str_cat(a, S("/"), filled(a, 5000));
    expect_refused(w, get(c, target), 414);
    expect_refused(w, ask(c, S("PUT"), S("/"), filled(a, 5000), NULL, 0, false), 413);
    expect_refused(w, ask(c, S("PUT"), S("/"), filled(a, 5000), &length, 1, false), 413);
    // A body that is refused half way: after a while the client is told to stop.
    int32_t id = ask(c, S("PUT"), S("/"), filled(a, 5000), NULL, 0, true);
    expect_refused(w, id, 413);
    while (!at(c, id)->closed)
        pump(c);
    EXPECT_INT(NGHTTP2_NO_ERROR, at(c, id)->error);
    EXPECT_INT(0, desk_requests(&w->r.desk));
    EXPECT_STR(S("GET /ok - []"), finish(c, get(c, S("/ok"))));
    EXPECT(!c->goaway);
    world_stop(w);
    free(w);
}

TEST(what_is_not_http_2_after_its_first_letters_is_closed)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S("PRINT /x HTTP/1.1\r\nHost: h\r\n\r\n"));
    hear_rest(a, fd); // ends
    fd = dial(&r);
    say(fd, S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    say(fd, S("\x00\x00\x04\x01\x05\x00\x00\x00\x01\xff\xff\xff\xff")); // HPACK nonsense
    hear_rest(a, fd);
    EXPECT_INT(0, desk_requests(&r.desk));
    rig_stop(&r);
}

static void *answer_held(void *desk)
{
    for (size_t i = 0; i < 3; i++)
        http_reply(desk_wait(desk, i), 200, NULL, 0, S("held"));
    return NULL;
}

TEST(bodies_over_the_common_limit_make_the_connection_wait_but_end)
{
    struct world *w = world_new();
    w->r.config.limits.body_pool_bytes_max = 100000;
    world_start(a, w, false);
    struct client *c = &w->c;
    int second = dial(&w->r); // holds the memory, so that the first has to wait
    say(second, S("PUT /hold HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n"));
    Str body = filled(a, 200000);
    say(second, body);
    desk_wait(&w->r.desk, 0);
    int32_t one = ask(c, S("PUT"), S("/hold"), body, NULL, 0, false);
    int32_t two = ask(c, S("PUT"), S("/hold"), body, NULL, 0, false);
    pthread_t answerer;
    EXPECT(pthread_create(&answerer, NULL, answer_held, &w->r.desk) == 0);
    EXPECT_STR(S("held"), finish(c, one));
    EXPECT_STR(S("held"), finish(c, two));
    EXPECT(pthread_join(answerer, NULL) == 0);
    EXPECT_STR(S("held"), hear_reply(a, second, NULL));
    close(second);
    world_stop(w);
    free(w);
}

// ---- Clients that leave or misbehave.

TEST(a_stream_whose_body_finds_no_memory_is_refused_alone)
{
    struct world *w = world_new();
    world_start(a, w, false);
    struct client *c = &w->c;
    int32_t held = get(c, S("/hold"));
    EXPECT_STR(S("GET /x - []"), finish(c, get(c, S("/x"))));
    desk_wait(&w->r.desk, 0);
    memory_fault_set(MEMORY_REQUEST, 0, UINT64_MAX);
    int32_t large = ask(c, S("PUT"), S("/x"), filled(a, 300000), NULL, 0, false);
    EXPECT_INT(503, desk_wait_broken(&w->r.desk, (nghttp2_session_send(c->session), 0)));
    memory_fault_set(MEMORY_REQUEST, 0, 0);
    EXPECT_STR(S("refused 503"), finish(c, large));
    http_reply(desk_wait(&w->r.desk, 0), 200, NULL, 0, S("fine"));
    EXPECT_STR(S("fine"), finish(c, held));
    world_stop(w);
    free(w);
}

TEST(whichever_allocation_fails_other_connections_are_served)
{
    struct world *w = world_new();
    rig_start(&w->r);
    for (uint64_t after = 0;; after++) {
        struct client c;
        w->r.desk.broken_count = 0;
        memory_fault_set(MEMORY_REQUEST, after, UINT64_MAX);
        client_init(&c, a, dial(&w->r), NULL);
        int32_t up = ask(&c, S("PUT"), S("/x"), filled(a, 300000), NULL, 0, false);
        int32_t down = get(&c, S("/big?400000"));
        for (push(&c); !c.server_closed && !(at(&c, up)->closed && at(&c, down)->closed); push(&c))
            pump(&c);
        client_done(&c);
        bool hit = memory_fault_seen(MEMORY_REQUEST) > after;
        memory_fault_set(MEMORY_REQUEST, 0, 0);
        client_init(&c, a, dial(&w->r), NULL);
        EXPECT_STR(S("GET /x - []"), finish(&c, get(&c, S("/x"))));
        client_done(&c);
        if (!hit)
            break;
    }
    rig_stop(&w->r);
    free(w);
}

static bool is_gone(void *x)
{
    return http_stream_gone(x);
}

TEST(an_exchange_outlives_a_reset_stream_and_a_lost_connection)
{
    struct world *w = world_new();
    world_start(a, w, false);
    struct client *c = &w->c;
    int32_t id = get(c, S("/hold"));
    get(c, S("/hold"));
    nghttp2_session_send(c->session);
    struct http_exchange *reset = desk_wait(&w->r.desk, 0), *lost = desk_wait(&w->r.desk, 1);
    http_stream_start(reset, 200, NULL, 0);
    EXPECT(nghttp2_submit_rst_stream(c->session, 0, id, NGHTTP2_CANCEL) == 0);
    nghttp2_session_send(c->session);
    wait_until(is_gone, reset);
    EXPECT(!http_stream_gone(lost));
    EXPECT_STR(S("/hold"), reset->path);
    http_stream_write(reset, S("to nobody"));
    http_stream_end(reset);
    EXPECT_STR(S("GET /x - []"), finish(c, get(c, S("/x"))));
    EXPECT(shutdown(c->fd, SHUT_RDWR) == 0);
    wait_until(is_gone, lost);
    http_reply(lost, 200, NULL, 0, S("to nobody"));
    world_stop(w);
    free(w);
}

TEST(a_client_that_resets_without_end_is_sent_away)
{
    struct world *w = world_new();
    world_start(a, w, false);
    struct client *c = &w->c;
    // Frames by hand: nghttp2 as a client keeps count of its streams.
    say(c->fd, S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    say(c->fd, S("\x00\x00\x00\x04\x00\x00\x00\x00\x00"));
    for (unsigned id = 1; id < 6000; id += 2) {
        // HEADERS with GET, http and "/" from the static table and END_STREAM, then RST_STREAM.
        const unsigned char high = (unsigned char)(id >> 8), low = (unsigned char)id;
        const unsigned char ask_and_reset[] = { 0,    0,    3,    1, 5, 0, 0, high, low,
                                                0x82, 0x86, 0x84, 0, 0, 4, 3, 0,    0,
                                                0,    high, low,  0, 0, 0, 8 };
        if (send(c->fd, ask_and_reset, sizeof ask_and_reset, MSG_NOSIGNAL) < 0)
            break;
    }
    Str rest = hear_rest(a, c->fd);
    // The last frame is a GOAWAY with ENHANCE_YOUR_CALM.
    EXPECT(str_ends(rest, S("\x00\x00\x00\x0b")));
    c->fd = dup(0); // hear_rest has closed it
    world_stop(w);
    free(w);
}

TEST(streams_over_the_limit_wait_at_the_client)
{
    struct world *w = world_new();
    w->r.config.limits.streams_max = 2;
    world_start(a, w, false);
    struct client *c = &w->c;
    finish(c, get(c, S("/first"))); // the server's settings are known now
    int32_t ids[4];
    for (int i = 0; i < 4; i++)
        ids[i] = get(c, S("/hold"));
    nghttp2_session_send(c->session);
    desk_wait(&w->r.desk, 1);
    EXPECT_INT(3, desk_requests(&w->r.desk));
    for (size_t i = 0; i < 4; i++) {
        http_reply(desk_wait(&w->r.desk, i), 200, NULL, 0, S("held"));
        EXPECT_STR(S("held"), finish(c, ids[i]));
        nghttp2_session_send(c->session);
    }
    world_stop(w);
    free(w);
}

TEST(streams_over_the_limit_of_all_connections_are_refused_to_be_sent_again)
{
    struct world *w = world_new();
    w->r.config.limits.open_streams_max = 2;
    world_start(a, w, false);
    struct client *c = &w->c;
    int32_t held[] = { get(c, S("/hold")), get(c, S("/hold")) };
    nghttp2_session_send(c->session);
    desk_wait(&w->r.desk, 1);
    int32_t over = ask(c, S("PUT"), S("/over"), S("body"), NULL, 0, false);
    while (!at(c, over)->closed)
        pump(c);
    EXPECT_INT(NGHTTP2_REFUSED_STREAM, at(c, over)->error);
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        http_reply(desk_wait(&w->r.desk, i), 200, NULL, 0, S("held"));
        EXPECT_STR(S("held"), finish(c, held[i]));
    }
    EXPECT_STR(S("PUT /again - [body]"),
               finish(c, ask(c, S("PUT"), S("/again"), S("body"), NULL, 0, false)));
    world_stop(w);
    free(w);
}

// ---- Streams of events.

TEST(a_producer_is_held_back_by_the_window_of_its_stream)
{
    struct world *w = world_new();
    world_start(a, w, false);
    struct client *c = &w->c;
    int32_t id = get(c, S("/hold"));
    nghttp2_session_send(c->session);
    struct http_exchange *x = desk_wait(&w->r.desk, 0);
    http_stream_start(x, 200, NULL, 0);
    Str piece = filled(a, 10000);
    size_t sent = 0;
    for (; sent < 5000000; sent += piece.n)
        http_stream_write(x, piece);
    // The client has opened 64 KiB and reads nothing: at most that is framed.
    EXPECT(http_stream_pending(x) >= sent - 65536 - piece.n);
    while (at(c, id)->body.n < sent)
        pump(c);
    http_stream_write(x, S("end"));
    http_stream_end(x);
    Str body = finish(c, id);
    EXPECT_INT(sent + 3, body.n);
    EXPECT(str_ends(body, S("end")) && str_starts(body, piece));
    world_stop(w);
    free(w);
}

static void note(void *told)
{
    atomic_store((_Atomic bool *)told, true);
}

static void let_go(void *count)
{
    atomic_fetch_add((_Atomic size_t *)count, 1);
}

static bool is_set(void *flag)
{
    return atomic_load((_Atomic bool *)flag);
}

// The same bytes on two streams of a client that opens its windows late.
TEST(a_piece_is_shared_by_streams_and_let_go_by_each_when_it_is_framed)
{
    struct world *w = world_new();
    w->r.config.limits.write_ns = 1 * MS; // does not count for watched streams
    world_start(a, w, false);
    struct client *c = &w->c;
    int32_t id[2] = { get(c, S("/hold")), get(c, S("/hold")) };
    nghttp2_session_send(c->session);
    Str piece = filled(a, 300000); // more than a window
    _Atomic size_t released = 0;
    _Atomic bool told[2] = { false, false };
    struct http_exchange *x[2];
    for (size_t i = 0; i < 2; i++) {
        x[i] = desk_wait(&w->r.desk, i);
        http_stream_watch(x[i], note, &told[i]);
        http_stream_start(x[i], 200, NULL, 0);
        http_stream_share(x[i], piece, let_go, &released);
    }
    usleep(20000);
    EXPECT_INT(0, atomic_load(&released));
    for (size_t i = 0; i < 2; i++) {
        while (at(c, id[i])->body.n < piece.n)
            pump(c);
        wait_until(is_set, &told[i]);
        http_stream_end(x[i]);
        EXPECT_STR(piece, finish(c, id[i]));
    }
    EXPECT_INT(2, atomic_load(&released));
    world_stop(w);
    free(w);
}

TEST(a_producer_is_told_that_its_stream_was_reset)
{
    struct world *w = world_new();
    world_start(a, w, false);
    struct client *c = &w->c;
    int32_t id = get(c, S("/hold"));
    nghttp2_session_send(c->session);
    _Atomic bool told = false;
    struct http_exchange *x = desk_wait(&w->r.desk, 0);
    http_stream_watch(x, note, &told);
    http_stream_start(x, 200, NULL, 0);
    nghttp2_submit_rst_stream(c->session, 0, id, NGHTTP2_CANCEL);
    nghttp2_session_send(c->session);
    wait_until(is_set, &told);
    EXPECT(http_stream_gone(x));
    http_stream_end(x);
    world_stop(w);
    free(w);
}

// ---- Deadlines and draining.

TEST(a_body_that_stops_coming_costs_its_stream_only)
{
    struct world *w = world_new();
    w->r.config.limits.body_ns = 60 * MS;
    world_start(a, w, false);
    int32_t slow = ask(&w->c, S("PUT"), S("/slow"), S("begun"), NULL, 0, true);
    int32_t held = get(&w->c, S("/hold"));
    expect_refused(w, slow, 408);
    http_reply(desk_wait(&w->r.desk, 0), 200, NULL, 0, S("fine"));
    EXPECT_STR(S("fine"), finish(&w->c, held));
    world_stop(w);
    free(w);
}

TEST(a_stream_whose_client_opens_no_window_is_reset)
{
    struct world *w = world_new();
    w->r.config.limits.write_ns = 60 * MS;
    world_start(a, w, false);
    struct client *c = &w->c;
    const nghttp2_settings_entry closed = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0 };
    EXPECT(nghttp2_submit_settings(c->session, 0, &closed, 1) == 0);
    int32_t id = get(c, S("/big?10"));
    while (!at(c, id)->closed)
        pump(c);
    EXPECT_INT(NGHTTP2_CANCEL, at(c, id)->error);
    world_stop(w);
    free(w);
}

TEST(an_idle_connection_is_told_goodbye)
{
    struct world *w = world_new();
    w->r.stands_still = true;
    world_start(a, w, false);
    EXPECT_STR(S("GET /x - []"), finish(&w->c, get(&w->c, S("/x"))));
    rig_pass(&w->r, w->r.config.limits.idle_ns);
    while (!w->c.server_closed)
        pump(&w->c);
    EXPECT(w->c.goaway && w->c.goaway_error == NGHTTP2_NO_ERROR);
    world_stop(w);
    free(w);
}

static void *drain(void *server)
{
    http_server_drain(server);
    return NULL;
}

TEST(draining_says_goodbye_and_lets_open_streams_end)
{
    struct world *w = world_new();
    world_start(a, w, false);
    struct client *c = &w->c;
    int32_t held = get(c, S("/hold"));
    nghttp2_session_send(c->session);
    struct http_exchange *x = desk_wait(&w->r.desk, 0);
    pthread_t drainer;
    EXPECT(pthread_create(&drainer, NULL, drain, w->r.server) == 0);
    while (!c->goaway)
        pump(c);
    EXPECT_INT(held, c->goaway_last);
    http_reply(x, 200, NULL, 0, S("still served"));
    EXPECT_STR(S("still served"), finish(c, held));
    while (!c->server_closed)
        pump(c);
    EXPECT(pthread_join(drainer, NULL) == 0);
    world_stop(w);
    free(w);
}

// ---- Bodies and replies that are not whole in memory.

struct stream_world {
    struct stream_rig s;
    struct client c;
};

static struct stream_world *stream_world_new(struct arena *a, int64_t body_ns)
{
    struct stream_world *w = xalloc(sizeof *w);
    stream_rig_init(&w->s);
    if (body_ns != 0)
        w->s.r.config.limits.body_ns = body_ns;
    stream_rig_start(&w->s);
    client_init(&w->c, a, dial(&w->s.r), NULL);
    return w;
}

static void stream_world_end(struct stream_world *w)
{
    client_done(&w->c);
    stream_rig_stop(&w->s);
    free(w);
}

TEST(bodies_of_streams_reach_their_sinks)
{
    struct stream_world *w = stream_world_new(a, 0);
    const size_t sizes[] = { 1, 1000, 65536, 3000000, 5000000 };
    int32_t ids[COUNT_OF(sizes)];
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        ids[i] = ask(&w->c, S("PUT"), S("/take"), stream_bytes(a, sizes[i]), NULL, 0, false);
        at(&w->c, ids[i])->trails = i == 3;
    }
    int32_t none = ask(&w->c, S("PUT"), S("/take"), S(""), NULL, 0, false);
    int32_t whole = ask(&w->c, S("PUT"), S("/whole"), stream_bytes(a, 3000000), NULL, 0, false);
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        EXPECT_STR(stream_answer(a, sizes[i], i == 3 ? "x-checksum=abc=;" : ""),
                   finish(&w->c, ids[i]));
    EXPECT_STR(S("whole 0"), finish(&w->c, none));
    EXPECT_STR(S("whole 3000000"), finish(&w->c, whole));
    EXPECT(stream_count(&w->s, &w->s.largest) <= HTTP_PIECE_BYTES_MAX);
    stream_world_end(w);
}

TEST(a_sink_that_waits_holds_up_its_own_stream_and_no_other)
{
    struct stream_world *w = stream_world_new(a, 0);
    size_t n = 20000000;
    stream_shut(&w->s, true);
    int32_t held = ask(&w->c, S("PUT"), S("/take"), stream_bytes(a, n), NULL, 0, false);
    int32_t other = ask(&w->c, S("PUT"), S("/whole"), stream_bytes(a, 9000000), NULL, 0, false);
    EXPECT_STR(S("whole 9000000"), finish(&w->c, other));
    EXPECT(at(&w->c, held)->upload.n > n - (4 << 20)); // its window is shut
    stream_shut(&w->s, false);
    EXPECT_STR(stream_answer(a, n, ""), finish(&w->c, held));
    stream_world_end(w);
}

TEST(a_stream_that_breaks_off_ends_its_sink)
{
    struct stream_world *w = stream_world_new(a, 0);
    int32_t reset = ask(&w->c, S("PUT"), S("/take"), stream_bytes(a, 1000), NULL, 0, true);
    push(&w->c);
    EXPECT(nghttp2_submit_rst_stream(w->c.session, 0, reset, NGHTTP2_CANCEL) == 0);
    push(&w->c);
    EXPECT_INT(ERR_CLOSED, stream_wait_end(&w->s, 0));
    int32_t fails =
        ask(&w->c, S("PUT"), S("/take?50000"), stream_bytes(a, 9000000), NULL, 0, false);
    EXPECT_STR(S("denied"), finish(&w->c, fails));
    int32_t refused = ask(&w->c, S("PUT"), S("/refuse"), stream_bytes(a, 1000), NULL, 0, false);
    EXPECT_STR(S("no"), finish(&w->c, refused));
    int32_t good = ask(&w->c, S("PUT"), S("/take"), stream_bytes(a, 1000), NULL, 0, false);
    EXPECT_STR(stream_answer(a, 1000, ""), finish(&w->c, good));
    stream_world_end(w);
}

TEST(a_stream_that_stalls_is_told)
{
    struct stream_world *w = stream_world_new(a, 50 * MS);
    int32_t stalls = ask(&w->c, S("PUT"), S("/take"), stream_bytes(a, 1000), NULL, 0, true);
    EXPECT_STR(S("timeout"), finish(&w->c, stalls));
    stream_world_end(w);
}

TEST(a_stream_is_told_to_go_on_when_its_body_is_wanted)
{
    struct stream_world *w = stream_world_new(a, 0);
    HttpHeader expect = { S("expect"), S("100-continue") };
    int32_t id = ask(&w->c, S("PUT"), S("/later"), S(""), &expect, 1, true);
    push(&w->c);
    struct http_exchange *x = stream_wait_held(&w->s);
    EXPECT(!at(&w->c, id)->continued);
    stream_take(&w->s, x);
    while (!at(&w->c, id)->continued)
        pump(&w->c);
    at(&w->c, id)->upload = stream_bytes(a, 700);
    at(&w->c, id)->holds = false;
    nghttp2_session_resume_data(w->c.session, id);
    EXPECT_STR(stream_answer(a, 700, ""), finish(&w->c, id));
    stream_world_end(w);
}

TEST(streams_are_answered_from_sources)
{
    struct stream_world *w = stream_world_new(a, 0);
    int32_t big = get(&w->c, S("/source?9000000")), none = get(&w->c, S("/source?0"));
    int32_t head = ask(&w->c, S("HEAD"), S("/source?77"), S(""), NULL, 0, false);
    int32_t cut = get(&w->c, S("/cut?2000000"));
    EXPECT_STR(stream_bytes(a, 9000000), finish(&w->c, big));
    EXPECT_STR(S("9000000"), at(&w->c, big)->length);
    EXPECT_STR(S(""), finish(&w->c, none));
    EXPECT_STR(S(""), finish(&w->c, head));
    EXPECT_STR(S("77"), at(&w->c, head)->length);
    finish(&w->c, cut);
    EXPECT(at(&w->c, cut)->closed && !at(&w->c, cut)->ended);
    EXPECT_INT(NGHTTP2_INTERNAL_ERROR, at(&w->c, cut)->error);
    int32_t left = get(&w->c, S("/source?90000000"));
    push(&w->c);
    pump(&w->c);
    EXPECT(nghttp2_submit_rst_stream(w->c.session, 0, left, NGHTTP2_CANCEL) == 0);
    push(&w->c);
    stream_wait_closes(&w->s, 5);
    EXPECT(stream_count(&w->s, &w->s.read_bytes) < 90000000);
    stream_world_end(w);
}
