// SPDX-License-Identifier: Apache-2.0
// A network that delivers in pieces and breaks off anywhere. One dialogue is held over and over, on
// HTTP/1.1 and HTTP/2, plain and inside TLS; the faults are on the server's side of the connection.
#include "http/client.h"
#include "http/test_rig.h"
#include "os/io_fault.h"
#include "os/tls.h"

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE_BYTES_MAX = 7, SEEDS = 6, CALLS = 4, HEARD_BYTES_MAX = 8192 };

// ---- The server and one client that goes on however its connection ends.

struct stage {
    struct rig r;
    struct io still; // the machine, at a time that stands still: replies carry the date
    struct io_fault *faults;
    struct tls_context *tls;
    struct http_client *other; // a neighbour that must never notice anything
};

static int64_t standing_ns(struct io *io)
{
    (void)io;
    return INT64_C(1700000000) * 1000000000;
}

static struct stage *stage_open(struct arena *a, bool tls)
{
    struct stage *s = xalloc(sizeof *s);
    rig_init(&s->r);
    s->still = *io_real();
    s->still.wall_ns = standing_ns;
    s->faults = io_fault_open(&s->still, 1);
    s->r.config.io = io_fault_io(s->faults);
    if (tls) {
        Str cert, key;
        EXPECT_OK(tls_make_certificate(io_real(), test_dir(a), &cert, &key, a));
        EXPECT_OK(tls_server_context(cert, key, &s->r.config.tls));
        EXPECT_OK(tls_client_context(false, S(""), &s->tls));
    }
    rig_start(&s->r);
    HttpClientConfig config = { .url = str_fmt(a, "http://127.0.0.1:%u", s->r.port),
                                .timeout_ns = INT64_C(60000000000) };
    EXPECT_OK(http_client_open(&config, &s->other));
    return s;
}

// The neighbour's connection is older than the faults of new ones.
static void neighbour_calls(struct stage *s, struct arena *a)
{
    HttpReply reply;
    EXPECT_OK(http_client_call(s->other, a, S("GET"), S("/next"), NULL, 0, S(""), &reply));
    EXPECT_STR(S("GET /next - []"), reply.body);
}

static void stage_close(struct stage *s)
{
    http_client_close(s->other);
    rig_stop(&s->r);
    io_fault_close(s->faults);
    tls_context_close(s->r.config.tls);
    tls_context_close(s->tls);
    free(s);
}

struct line {
    int fd;
    SSL *ssl;
    bool broken; // it ended, in whatever way
};

static void line_open(struct stage *s, struct line *ret)
{
    *ret = (struct line){ .fd = dial(&s->r) };
    if (s->tls == NULL)
        return;
    ret->ssl = SSL_new(tls_context_ssl(s->tls));
    EXPECT_OK(tls_attach(ret->ssl, io_real(), ret->fd));
    ret->broken = SSL_connect(ret->ssl) != 1;
}

static void line_close(struct line *l)
{
    SSL_free(l->ssl);
    close(l->fd);
}

static void line_say(struct line *l, const void *p, size_t n)
{
    for (size_t done = 0; done < n && !l->broken;) {
        const char *at = (const char *)p + done;
        ssize_t r = l->ssl != NULL ? SSL_write(l->ssl, at, (int)(n - done))
                                   : send(l->fd, at, n - done, MSG_NOSIGNAL);
        l->broken = r <= 0;
        done += r > 0 ? (size_t)r : 0;
    }
}

static size_t line_hear(struct line *l, void *p, size_t room)
{
    if (l->broken)
        return 0;
    ssize_t r = l->ssl != NULL ? SSL_read(l->ssl, p, (int)room) : recv(l->fd, p, room, 0);
    l->broken = r <= 0;
    return r > 0 ? (size_t)r : 0;
}

// ---- The dialogue on HTTP/1.1: requests sent ahead, bodies of both kinds, a streamed reply.

static Str talk_h1(struct arena *a, struct line *l)
{
    Str text = S("POST /one?q HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789"
                 "PUT /two HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: t\r\n\r\n"
                 "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n"
                 "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    char *heard = arena_alloc(a, HEARD_BYTES_MAX, 1);
    size_t n = 0, got = 0;
    line_say(l, text.p, text.n);
    l->broken = false; // what was answered before the end is read
    do {
        EXPECT(n < HEARD_BYTES_MAX);
        got = line_hear(l, heard + n, HEARD_BYTES_MAX - n);
        n += got;
    } while (got > 0);
    return str_from(heard, n);
}

// ---- The dialogue on HTTP/2: as many streams at once. What was heard is each stream's reply,
// since the order of frames is the server's to choose.

struct h2_talk {
    struct {
        unsigned status;
        struct buf body;
        Str upload;
    } streams[CALLS];
    size_t closed;
};

static size_t stream_at(int32_t id)
{
    EXPECT(id > 0 && id / 2 < CALLS);
    return (size_t)id / 2;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *user)
{
    (void)session;
    (void)flags;
    struct h2_talk *t = user;
    uint64_t status = 0;
    if (str_eq(str_from(name, name_n), S(":status")) &&
        str_u64(str_from(value, value_n), &status).kind == ERR_NONE)
        t->streams[stream_at(frame->hd.stream_id)].status = (unsigned)status;
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *user)
{
    (void)session;
    (void)flags;
    struct h2_talk *t = user;
    buf_add(&t->streams[stream_at(id)].body, str_from(p, n));
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    (void)session;
    (void)id;
    (void)error;
    struct h2_talk *t = user;
    t->closed++;
    return 0;
}

static ssize_t read_upload(nghttp2_session *session, int32_t id, uint8_t *to, size_t room,
                           uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)source;
    struct h2_talk *t = user;
    Str *upload = &t->streams[stream_at(id)].upload;
    size_t n = MIN(room, upload->n);
    memcpy(to, upload->p, n);
    *upload = str_skip(*upload, n);
    *flags |= upload->n == 0 ? (uint32_t)NGHTTP2_DATA_FLAG_EOF : 0;
    return (ssize_t)n;
}

static nghttp2_nv pair_of(const char *name, const char *value)
{
    return (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name,
                         .value = (uint8_t *)(uintptr_t)value,
                         .namelen = strlen(name),
                         .valuelen = strlen(value) };
}

static void ask_all(nghttp2_session *session, struct h2_talk *t)
{
    static const char *const paths[CALLS] = { "/one?q", "/two", "/stream", "/last" };
    EXPECT(nghttp2_submit_settings(session, 0, NULL, 0) == 0);
    for (size_t i = 0; i < CALLS; i++) {
        bool uploads = i < 2;
        nghttp2_nv head[] = { pair_of(":method", uploads ? "POST" : "GET"),
                              pair_of(":scheme", "http"), pair_of(":authority", "h"),
                              pair_of(":path", paths[i]) };
        nghttp2_data_provider body = { .read_callback = read_upload };
        t->streams[i].upload = S("0123456789");
        EXPECT(nghttp2_submit_request(session, NULL, head, COUNT_OF(head), uploads ? &body : NULL,
                                      NULL) == (int32_t)(2 * i + 1));
    }
}

static void exchange_frames(nghttp2_session *session, struct h2_talk *t, struct line *l)
{
    uint8_t bytes[HEARD_BYTES_MAX];
    do {
        const uint8_t *p = NULL;
        for (ssize_t n; (n = nghttp2_session_mem_send(session, &p)) > 0;)
            line_say(l, p, (size_t)n);
        size_t got = line_hear(l, bytes, sizeof bytes);
        EXPECT(nghttp2_session_mem_recv(session, bytes, got) == (ssize_t)got);
    } while (t->closed < CALLS && !l->broken);
}

static Str talk_h2(struct arena *a, struct line *l)
{
    struct h2_talk t = { 0 };
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_session *session = NULL;
    EXPECT(nghttp2_session_callbacks_new(&callbacks) == 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    EXPECT(nghttp2_session_client_new(&session, callbacks, &t) == 0);
    nghttp2_session_callbacks_del(callbacks);
    ask_all(session, &t);
    exchange_frames(session, &t, l);
    nghttp2_session_del(session);
    AUTO_BUF(heard);
    for (size_t i = 0; i < CALLS; i++) {
        buf_addf(&heard, "%u %.*s\n", t.streams[i].status, FMT(buf_str(&t.streams[i].body)));
        buf_done(&t.streams[i].body);
    }
    return str_dup(a, buf_str(&heard));
}

// ---- The promises.

typedef Str Talk(struct arena *a, struct line *l);

static Str hold(struct arena *a, struct stage *s, Talk *talk)
{
    struct line l;
    line_open(s, &l);
    Str heard = talk(a, &l);
    line_close(&l);
    return heard;
}

static void check_pieces(struct arena *a, Talk *talk, bool tls, Str part)
{
    struct stage *s = stage_open(a, tls);
    Str whole = hold(a, s, talk);
    EXPECT(str_search(whole, part) < whole.n);
    EXPECT(str_search(whole, S("GET /last - []")) < whole.n);
    for (unsigned seed = 0; seed < SEEDS; seed++) { // each goes on in the sequence of the faults
        uint64_t before = io_fault_net_hits(s->faults);
        io_fault_net(s->faults, (IoNetFault){ .piece_bytes_max = seed == 0 ? 1 : PIECE_BYTES_MAX,
                                              .busy_percent = seed % 3 * 30 });
        EXPECT_STR(whole, hold(a, s, talk));
        EXPECT(io_fault_net_hits(s->faults) > before + 50);
    }
    io_fault_net(s->faults, (IoNetFault){ 0 });
    stage_close(s);
}

TEST(http_1_in_pieces_of_any_size_is_the_same_dialogue)
{
    check_pieces(a, talk_h1, false, S("PUT /two - [abcdefg]"));
}

TEST(http_1_inside_tls_in_pieces_of_any_size_is_the_same_dialogue)
{
    check_pieces(a, talk_h1, true, S("PUT /two - [abcdefg]"));
}

TEST(http_2_in_pieces_of_any_size_is_the_same_dialogue)
{
    check_pieces(a, talk_h2, false, S("200 POST /one q [0123456789]\n"));
}

TEST(http_2_inside_tls_in_pieces_of_any_size_is_the_same_dialogue)
{
    check_pieces(a, talk_h2, true, S("200 POST /one q [0123456789]\n"));
}

static bool nobody_else_is_connected(void *unused)
{
    (void)unused;
    return metric_now(S("headrace_http_connections"), S("protocol=\"undecided\""), METRIC_GAUGE) +
               metric_now(S("headrace_http_connections"), S("protocol=\"h1\""), METRIC_GAUGE) +
               metric_now(S("headrace_http_connections"), S("protocol=\"h2\""), METRIC_GAUGE) ==
           1;
}

// Breaks the connection after 0, step, 2 * step, ... bytes of the dialogue, until it is held whole.
static void check_resets(struct arena *a, Talk *talk, bool tls, uint64_t step)
{
    struct stage *s = stage_open(a, tls);
    Str whole = hold(a, s, talk);
    neighbour_calls(s, a);
    uint64_t n = 0;
    for (bool passed = false; !passed; n += step) {
        AUTO(arena) tmp = arena_open();
        io_fault_net(s->faults, (IoNetFault){ .resets = true, .reset_after = n });
        uint64_t before = io_fault_net_hits(s->faults);
        Str heard = hold(tmp, s, talk);
        wait_until(nobody_else_is_connected, NULL);
        passed = io_fault_net_hits(s->faults) == before;
        EXPECT(!passed || str_eq(whole, heard));
        neighbour_calls(s, tmp);
    }
    EXPECT(n > whole.n);
    io_fault_net(s->faults, (IoNetFault){ 0 });
    EXPECT_STR(whole, hold(a, s, talk)); // new clients are served as before
    stage_close(s);
}

TEST(http_1_broken_off_after_any_byte_harms_nobody_else)
{
    check_resets(a, talk_h1, false, 1);
}

TEST(http_2_broken_off_after_any_byte_harms_nobody_else)
{
    check_resets(a, talk_h2, false, 1);
}

// A handshake costs too much to break it at each of its bytes. Which ones they are differs by run,
// as the lengths of signatures and so all positions behind them do.
enum { TLS_STEP_BYTES = 41 };

TEST(http_1_inside_tls_broken_off_in_the_handshake_or_later_harms_nobody_else)
{
    check_resets(a, talk_h1, true, TLS_STEP_BYTES);
}

TEST(http_2_inside_tls_broken_off_in_the_handshake_or_later_harms_nobody_else)
{
    check_resets(a, talk_h2, true, TLS_STEP_BYTES);
}

// ---- Descriptors run out.

TEST(one_moment_without_descriptors_costs_one_client_and_two_only_time)
{
    struct stage *s = stage_open(a, false);
    neighbour_calls(s, a);
    io_fault_net(s->faults, (IoNetFault){ .accept_limits = 1 });
    EXPECT_STR(S(""), hear_rest(a, dial(&s->r))); // told at once, with the spare descriptor
    io_fault_net(s->faults, (IoNetFault){ .accept_limits = 2 }); // even that was taken by another
    struct line l;
    line_open(s, &l);
    EXPECT(str_search(talk_h1(a, &l), S("GET /last - []")) > 0); // it waited and is served
    line_close(&l);
    neighbour_calls(s, a);
    EXPECT_INT(3, io_fault_net_hits(s->faults));
    stage_close(s);
}

// ---- The client.

TEST(the_client_reads_and_writes_in_pieces_plain_and_inside_tls)
{
    struct stage *s = stage_open(a, true);
    AUTO(io_fault) faults = io_fault_open(io_real(), 5);
    io_fault_net(faults, (IoNetFault){ .piece_bytes_max = PIECE_BYTES_MAX, .busy_percent = 20 });
    for (int tls = 0; tls < 2; tls++) {
        HttpClientConfig config = { .url = str_fmt(a, "%s://127.0.0.1:%u", tls ? "https" : "http",
                                                   s->r.port),
                                    .timeout_ns = INT64_C(60000000000),
                                    .io = io_fault_io(faults) };
        AUTO(http_client) c = NULL;
        EXPECT_OK(http_client_open(&config, &c));
        HttpReply reply;
        for (int i = 0; i < 2; i++) {
            EXPECT_OK(http_client_call(c, a, S("POST"), S("/p"), NULL, 0, S("body"), &reply));
            EXPECT_STR(S("POST /p - [body]"), reply.body);
            EXPECT_OK(http_client_call(c, a, S("GET"), S("/stream"), NULL, 0, S(""), &reply));
            EXPECT_STR(S("one,two,three"), reply.body);
        }
    }
    EXPECT(io_fault_net_hits(faults) > 100);
    stage_close(s);
}

TEST(a_reply_broken_off_after_any_byte_is_an_error_of_the_client)
{
    struct stage *s = stage_open(a, false);
    AUTO(io_fault) faults = io_fault_open(io_real(), 5);
    HttpClientConfig config = { .url = str_fmt(a, "http://127.0.0.1:%u", s->r.port),
                                .timeout_ns = INT64_C(60000000000),
                                .io = io_fault_io(faults) };
    uint64_t n = 0;
    for (bool passed = false; !passed; n++) {
        AUTO(arena) tmp = arena_open();
        io_fault_net(faults, (IoNetFault){ .resets = true, .reset_after = n });
        AUTO(http_client) c = NULL;
        EXPECT_OK(http_client_open(&config, &c));
        HttpReply reply;
        Err e = http_client_call(c, tmp, S("GET"), S("/x"), NULL, 0, S(""), &reply);
        passed = e.kind == ERR_NONE;
        EXPECT(passed || e.kind == ERR_CLOSED);
        if (passed)
            EXPECT_STR(S("GET /x - []"), reply.body);
    }
    EXPECT(n > 100);
    stage_close(s);
}
