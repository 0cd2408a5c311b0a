// SPDX-License-Identifier: Apache-2.0
// HTTP/2 on a connection. nghttp2 keeps the protocol; we give it what was read, take the frames it
// makes into buffers of the loop, and hand a stream's request up as an exchange when it is whole.
#include "base/logline.h"
#include "base/memory.h"
#include "http/server_priv.h"

#include <stdlib.h>
#include <string.h>

enum {
    CONN_WINDOW_BYTES = 16 << 20,
    HEADERS_FIRST = 16,         // room for so many at first
    RESETS_MAX = 1000,          // streams reset by a client within RESETS_NS: more is abuse
    ACKS_MAX = 1000,            // answers to PING and SETTINGS that wait to be sent
    HEADER_OVERHEAD_BYTES = 32, // of each header in a list's size (RFC 9113 6.5.2)
};
#define RESETS_NS (10 * INT64_C(1000000000))
#define TICK_NS_MAX INT64_C(1000000000)
#define TICK_NS_MIN INT64_C(1000000)

// A buffer of frames on their way out.
struct block {
    struct out out; // first: they are converted into each other
    struct conn *c;
    struct http_loop *hl;
    char *end; // of what was put in
    char data[];
};

static int64_t now(const struct conn *c)
{
    return loop_now_ns(c->on->loop);
}

// ---- Requests.

static struct exchange *exchange_at(nghttp2_session *session, int32_t stream)
{
    return nghttp2_session_get_stream_user_data(session, stream);
}

static void hand(struct exchange *e)
{
    struct http_server *s = e->on->server;
    e->x.body = str_from(e->body.p != NULL ? e->body.p : "", e->body.n);
    e->x.received_ns = now(e->c);
    e->handed = e->c->h2.handed = true;
    metric_add(s->metrics.requests_h2, 1);
    if (body_hash_end(e))
        s->handler.request(s->handler.self, &e->x);
}

// Only this stream: its reply is sent and the rest of its request thrown away.
static void refuse(struct exchange *e, unsigned status)
{
    struct http_server *s = e->on->server;
    body_release(e->on, &e->body);
    e->broken = status;
    e->x.received_ns = now(e->c);
    e->handed = e->c->h2.handed = true;
    metric_add(status == 503 ? s->metrics.refused_memory : s->metrics.refused_protocol, 1);
    if (s->handler.broken != NULL)
        s->handler.broken(s->handler.self, &e->x, status);
    else
        reply_plain(e, status);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct conn *c = user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    // Each connection may have few streams, but all together would hold more than there is. A
    // client may send a refused one again (RFC 9113 8.7).
    if (atomic_load(&c->server->stream_count) >= c->server->limits.open_streams_max) {
        metric_add(c->server->metrics.refused_streams, 1);
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                  NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    struct exchange *e = exchange_open(c);
    if (e == NULL) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                  NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    e->stream = frame->hd.stream_id;
    nghttp2_session_set_stream_user_data(session, e->stream, e);
    return 0;
}

static HttpHeader *header_find(struct exchange *e, Str name)
{
    for (size_t i = 0; i < e->x.header_count; i++)
        if (str_eq(e->x.headers[i].name, name))
            return &e->x.headers[i];
    return NULL;
}

static void headers_grow(struct exchange *e)
{
    size_t room = MAX(2 * e->header_room, (size_t)HEADERS_FIRST);
    HttpHeader *headers = arena_new(e->x.arena, HttpHeader, room);
    if (e->x.header_count > 0)
        memcpy(headers, e->x.headers, e->x.header_count * sizeof *headers);
    e->x.headers = headers;
    e->header_room = room;
}

static void header_add(struct exchange *e, Str name, Str value)
{
    const HttpLimits *l = &e->on->server->limits;
    e->header_bytes += name.n + value.n + HEADER_OVERHEAD_BYTES;
    if (e->header_bytes > l->header_bytes_max || e->x.header_count == l->header_count_max) {
        e->broken = 431;
        return;
    }
    struct arena *a = e->x.arena;
    if (e->x.header_count == e->header_room)
        headers_grow(e);
    e->x.headers[e->x.header_count++] =
        (HttpHeader){ .name = str_dup(a, name), .value = str_dup(a, value) };
}

static void split_path(struct exchange *e, Str target)
{
    Str path = target, query = { 0 };
    e->x.query = (Str){ 0 };
    if (str_cut(target, '?', &path, &query))
        e->x.query = query;
    e->x.path = path;
}

static void take_header(struct exchange *e, Str name, Str value)
{
    struct arena *a = e->x.arena;
    if (str_eq(name, S(":method")) || str_eq(name, S(":path"))) {
        e->header_bytes += name.n + value.n + HEADER_OVERHEAD_BYTES;
        if (e->header_bytes > e->on->server->limits.header_bytes_max)
            e->broken = name.n == 5 ? 414 : 431;
        else if (name.n == 5)
            split_path(e, str_dup(a, value));
        else
            e->x.method = str_dup(a, value);
    } else if (str_eq(name, S(":authority"))) {
        header_add(e, S("host"), value);
    } else if (str_eq(name, S("cookie")) && header_find(e, name) != NULL) {
        // A cookie may come in several fields; to the handler it is one, as in HTTP/1.1.
        HttpHeader *h = header_find(e, name);
        e->header_bytes += value.n + 2;
        if (e->header_bytes > e->on->server->limits.header_bytes_max)
            e->broken = 431;
        else
            h->value = str_cat3(a, h->value, S("; "), value);
    } else if (name.p[0] != ':' && !(str_eq(name, S("host")) && header_find(e, name) != NULL)) {
        header_add(e, name, value);
    }
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *user)
{
    (void)flags;
    (void)user;
    struct exchange *e = exchange_at(session, frame->hd.stream_id);
    bool trailer = e != NULL && e->headers_ended; // dropped, but of a streamed body
    if (trailer && e->in != NULL && name_n > 0 && name[0] != ':')
        intake_trailer(e, str_from(name, name_n), str_from(value, value_n));
    if (e != NULL && e->broken == 0 && !trailer && name_n > 0)
        take_header(e, str_from(name, name_n), str_from(value, value_n));
    return 0;
}

// Before its body, which the handler takes as it comes.
static void hand_head(struct exchange *e)
{
    struct http_server *s = e->on->server;
    e->x.received_ns = now(e->c);
    e->handed = e->c->h2.handed = true;
    metric_add(s->metrics.requests_h2, 1);
    s->handler.request(s->handler.self, &e->x);
}

static void say_continue(nghttp2_session *session, const struct exchange *e)
{
    nghttp2_nv status = nv_of(S(":status"), S("100"));
    nghttp2_submit_headers(session, NGHTTP2_FLAG_NONE, e->stream, NULL, &status, 1, NULL);
}

// `last`: the request has no body.
static void headers_ended(nghttp2_session *session, struct exchange *e, bool last)
{
    const struct http_server *s = e->on->server;
    e->headers_ended = true;
    e->started_ns = e->moved_ns = now(e->c);
    e->is_head = str_eq(e->x.method, S("HEAD"));
    bool path_fits = str_starts(e->x.path, S("/")) ||
                     (str_eq(e->x.path, S("*")) && str_eq(e->x.method, S("OPTIONS")));
    if (e->broken == 0 && !path_fits)
        e->broken = 400; // also CONNECT, which has none
    if (e->broken != 0) {
        refuse(e, e->broken);
        return;
    }
    e->body_max = s->limits.body_bytes_max;
    if (s->handler.body_max != NULL)
        e->body_max = s->handler.body_max(s->handler.self, &e->x);
    uint64_t length = 0;
    Str stated = http_header(&e->x, S("content-length")); // nghttp2 has checked it
    if (stated.p != NULL && str_u64(stated, &length).kind == ERR_NONE && length > e->body_max)
        refuse(e, 413);
    bool expects = str_eq_nocase(http_header(&e->x, S("expect")), S("100-continue")), full = false;
    if (e->broken != 0 || last)
        return;
    if (intake_open(e, stated.p != NULL ? length : UINT64_MAX, expects, &full)) {
        hand_head(e);
        return;
    }
    if (full || (length > MEMORY_SMALL_BYTES && !memory_has_room((size_t)length)))
        refuse(e, 503);
    else if (expects)
        say_continue(session, e);
    if (!last && e->broken == 0)
        body_hash_begin(e, stated.p != NULL ? length : UINT64_MAX);
}

static bool count_reset(struct conn *c)
{
    if (now(c) - c->h2.resets_ns > RESETS_NS) {
        c->h2.resets_ns = now(c);
        c->h2.resets = 0;
    }
    return ++c->h2.resets > RESETS_MAX;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct conn *c = user;
    if (frame->hd.type == NGHTTP2_RST_STREAM && !c->h2.ending && count_reset(c)) {
        LOG(LOG_WARN, "HTTP/2 client resets streams too fast: its connection is closed",
            F_STR("peer", str_from(c->peer, c->peer_n)));
        metric_add(c->server->metrics.refused_protocol, 1);
        c->h2.ending = true;
        nghttp2_session_terminate_session(session, NGHTTP2_ENHANCE_YOUR_CALM);
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct exchange *e = exchange_at(session, frame->hd.stream_id);
    if (e == NULL)
        return 0;
    bool last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        headers_ended(session, e, last);
    if (last) {
        e->request_ended = true;
        if (e->in != NULL)
            intake_end(e);
        else if (!e->handed)
            hand(e);
    }
    return 0;
}

// The reply was sent before the request had ended. Clients exist that lose a reply which is
// followed by a reset at once, so they may send on for a while, into the void.
static void stop_sending(nghttp2_session *session, const struct exchange *e)
{
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, e->stream, NGHTTP2_NO_ERROR);
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream,
                         const uint8_t *data, size_t n, void *user)
{
    (void)flags;
    (void)user;
    struct exchange *e = exchange_at(session, stream);
    // What a sink has not taken keeps its stream's window shut, and that alone.
    bool streams = e != NULL && e->in != NULL && !e->ended;
    if (streams && intake_add(e, str_from(data, n)))
        nghttp2_session_consume_connection(session, n);
    else
        nghttp2_session_consume(session, stream, n);
    if (e == NULL || streams)
        return 0;
    if (e->handed) { // of a request that was refused
        e->dropped_bytes += n;
        if (e->ended && e->dropped_bytes > LINGER_BYTES_MAX)
            stop_sending(session, e);
        return 0;
    }
    e->moved_ns = now(e->c);
    if (n > e->body_max - e->body.n) {
        refuse(e, 413);
        return 0;
    }
    if (!body_reserve(e->on, &e->body, e->body.n + n, 0)) {
        refuse(e, 503);
        return 0;
    }
    memcpy(e->body.p + e->body.n, data, n);
    e->body.n += n;
    body_hash_arrived(e);
    return 0;
}

static void drop_pieces(struct exchange *e)
{
    while (e->first != NULL) {
        struct piece *p = e->first;
        e->first = p->next;
        piece_done(&p->out);
    }
    e->last = &e->first;
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t code, void *user)
{
    (void)code;
    struct conn *c = user;
    struct exchange *e = exchange_at(session, stream);
    c->idle_ns = now(c);
    if (e == NULL)
        return 0;
    nghttp2_session_set_stream_user_data(session, stream, NULL);
    drop_pieces(e);
    if (e->handed && !e->ended)
        exchange_detach(e);
    else
        exchange_free(e);
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    bool last = (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
                (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    struct exchange *e = last ? exchange_at(session, frame->hd.stream_id) : NULL;
    if (e != NULL)
        e->moved_ns = now(user); // from here on it is only waited for the end of the request
    return 0;
}

// ---- Replies.

static ssize_t read_content(nghttp2_session *session, int32_t stream, uint8_t *to, size_t room,
                            uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)stream;
    (void)user;
    struct exchange *e = source->ptr;
    size_t n = MIN(room, e->content.n);
    memcpy(to, e->content.p, n);
    e->content = str_skip(e->content, n);
    e->moved_ns = now(e->c);
    if (e->content.n == 0)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static ssize_t read_pieces(nghttp2_session *session, int32_t stream, uint8_t *to, size_t room,
                           uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)stream;
    (void)user;
    struct exchange *e = source->ptr;
    size_t total = 0;
    while (e->first != NULL && total < room) {
        struct piece *p = e->first;
        size_t n = MIN(room - total, p->payload.n);
        memcpy(to + total, p->payload.p, n);
        p->payload = str_skip(p->payload, n);
        total += n;
        if (p->payload.n > 0)
            break;
        e->first = p->next;
        if (e->first == NULL)
            e->last = &e->first;
        piece_done(&p->out);
    }
    e->moved_ns = now(e->c);
    if (e->first == NULL && e->ended)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    else if (total == 0)
        return NGHTTP2_ERR_DEFERRED; // until a piece or the end arrives
    return (ssize_t)total;
}

static void submit(struct conn *c, struct exchange *e, bool stream)
{
    nghttp2_data_provider provider = { .source.ptr = e,
                                       .read_callback = stream ? read_pieces : read_content };
    bool body = !e->bodyless && (stream || e->content.n > 0);
    e->moved_ns = now(c);
    int r = nghttp2_submit_response(c->h2.session, e->stream, e->nv, e->nv_count,
                                    body ? &provider : NULL);
    if (r != 0)
        nghttp2_submit_rst_stream(c->h2.session, NGHTTP2_FLAG_NONE, e->stream,
                                  NGHTTP2_INTERNAL_ERROR);
}

void h2_continue(struct conn *c, struct exchange *e)
{
    say_continue(c->h2.session, e);
}

void h2_taken(struct conn *c, struct exchange *e, size_t n)
{
    nghttp2_session_consume_stream(c->h2.session, e->stream, n);
}

void h2_break_off(struct conn *c, struct exchange *e)
{
    nghttp2_submit_rst_stream(c->h2.session, NGHTTP2_FLAG_NONE, e->stream, NGHTTP2_INTERNAL_ERROR);
}

void h2_apply(struct conn *c, struct op *op)
{
    struct exchange *e = op->e;
    struct piece *p = (struct piece *)op; // of OP_PIECE only
    switch (op->kind) {
    case OP_REPLY:
        e->ended = true;
        body_release(c->on, &e->body);
        submit(c, e, false);
        break;
    case OP_START:
        submit(c, e, true);
        break;
    case OP_PIECE:
        p->next = NULL;
        if (e->first == NULL)
            e->moved_ns = now(c);
        *e->last = p;
        e->last = &p->next;
        nghttp2_session_resume_data(c->h2.session, e->stream); // no error: it was not waiting
        break;
    case OP_END:
        e->ended = true;
        body_release(c->on, &e->body);
        nghttp2_session_resume_data(c->h2.session, e->stream);
        break;
    default: // not of replies
        break;
    }
}

// ---- Frames.

static void block_done(struct out *o)
{
    struct block *b = (struct block *)o;
    if (b->c->h2.tail == b)
        b->c->h2.tail = NULL;
    in_buffer_give(b->hl, (char *)b);
}

// False: there is no memory for it.
static bool put_frame(struct conn *c, const uint8_t *p, size_t n)
{
    struct block *b = c->h2.tail;
    if (b == NULL || n > (size_t)((char *)b + c->server->in_buffer_bytes - b->end)) {
        b = (struct block *)in_buffer_take(c->on);
        if (b == NULL)
            return false;
        *b = (struct block){ .c = c, .hl = c->on, .end = b->data };
        conn_out(c, &b->out, str_from(b->data, 0), block_done);
        c->h2.tail = b;
    }
    memcpy(b->end, p, n);
    b->end += n;
    b->out.rest.n += n;
    c->out_bytes += n;
    return true;
}

// ---- Where a client stands.

static bool is_inside(const H2Place *p)
{
    return p->left > 0 || p->head_n > 0 || p->headers_open;
}

static void head_complete(H2Place *p)
{
    enum { HEADERS = 0x1, CONTINUATION = 0x9, END_HEADERS = 0x4 }; // RFC 9113 6
    const uint8_t *h = p->head;
    p->left = (uint64_t)h[0] << 16 | (uint64_t)h[1] << 8 | h[2];
    p->head_n = 0;
    p->headers_open = (h[3] == HEADERS || h[3] == CONTINUATION) && (h[4] & END_HEADERS) == 0;
}

// Walks over what was read. True: at its end another frame is open than at its beginning.
static bool walk(H2Place *p, Str in)
{
    bool moved = !is_inside(p);
    while (in.n > 0) {
        size_t n =
            p->left > 0 ? (size_t)MIN(p->left, in.n) : MIN((size_t)H2_HEAD_BYTES - p->head_n, in.n);
        if (p->left > 0) {
            p->left -= n;
        } else {
            memcpy(p->head + p->head_n, in.p, n);
            p->head_n += n;
            if (p->head_n == H2_HEAD_BYTES)
                head_complete(p);
        }
        in = str_skip(in, n);
        moved |= !is_inside(p);
    }
    return moved && is_inside(p);
}

// Whether the rest of a frame is owed, and we would read it.
static bool owes_frame(const struct conn *c)
{
    return is_inside(&c->h2.place) && !c->h2.unread && !c->h2.ending;
}

void h2_reads(struct conn *c, bool reads)
{
    if (c->h2.unread && reads)
        c->h2.since_ns = now(c); // the pause was not the client's
    c->h2.unread = !reads;
}

bool h2_receive(struct conn *c)
{
    if (c->in_n == c->in_at)
        return false;
    c->h2.handed = false;
    if (walk(&c->h2.place, str_from(c->in + c->in_at, c->in_n - c->in_at)))
        c->h2.since_ns = now(c);
    ssize_t n =
        nghttp2_session_mem_recv(c->h2.session, (uint8_t *)c->in + c->in_at, c->in_n - c->in_at);
    if (n < 0) { // not even an error that HTTP/2 could tell the client about
        metric_add(c->server->metrics.refused_protocol, 1);
        c->ending = true;
    }
    c->in_at = c->in_n;
    return c->h2.handed;
}

void h2_send(struct conn *c)
{
    nghttp2_session *session = c->h2.session;
    while (c->out_bytes < OUT_HIGH_BYTES) {
        const uint8_t *frame = NULL;
        ssize_t n = nghttp2_session_mem_send(session, &frame);
        if (n <= 0) {
            c->ending |= n < 0;
            break;
        }
        if (!put_frame(c, frame, (size_t)n)) { // and without it no further one makes sense
            metric_add(c->server->metrics.refused_memory, 1);
            conn_close(c);
            return;
        }
    }
    bool idle = c->h2.ending && c->exchange_count == 0;
    if (!nghttp2_session_want_write(session) && (idle || !nghttp2_session_want_read(session)))
        c->ending = true;
}

// ---- Its life.

void h2_start(struct conn *c)
{
    const HttpLimits *l = &c->server->limits;
    const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)l->streams_max },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW_BYTES },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)l->header_bytes_max },
    };
    // Only memory can be missing.
    if (nghttp2_session_server_new2(&c->h2.session, c->server->h2_callbacks, c,
                                    c->server->h2_options) != 0 ||
        nghttp2_submit_settings(c->h2.session, NGHTTP2_FLAG_NONE, settings, COUNT_OF(settings)) !=
            0 ||
        nghttp2_session_set_local_window_size(c->h2.session, NGHTTP2_FLAG_NONE, 0,
                                              CONN_WINDOW_BYTES) != 0) {
        metric_add(c->server->metrics.refused_memory, 1);
        conn_close(c);
        return;
    }
    c->h2.resets_ns = c->h2.since_ns = now(c);
    c->h2.place.left = NGHTTP2_CLIENT_MAGIC_LEN; // the preface
}

void h2_closed(struct conn *c)
{
    for (struct exchange *e = c->exchanges; e != NULL; e = e->next)
        drop_pieces(e);
    nghttp2_session_del(c->h2.session);
    c->h2.session = NULL;
}

void h2_drain(struct conn *c)
{
    if (c->h2.ending)
        return;
    c->h2.ending = true;
    nghttp2_submit_goaway(c->h2.session, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(c->h2.session), NGHTTP2_NO_ERROR,
                          NULL, 0);
}

// With streams open the connection is looked at from time to time: their deadlines are many and
// move with every frame.
int64_t h2_look_at(const struct conn *c)
{
    const HttpLimits *l = &c->server->limits;
    if (c->exchange_count == 0) {
        int64_t idle = c->idle_ns + l->idle_ns, frame = c->h2.since_ns + l->header_ns;
        return owes_frame(c) ? MIN(idle, frame) : idle;
    }
    int64_t least = MIN(MIN(l->header_ns, l->body_ns), MIN(l->write_ns, l->body_rate_after_ns)) / 2;
    return now(c) + MAX(MIN(least, TICK_NS_MAX), TICK_NS_MIN);
}

static void look_at_stream(struct conn *c, struct exchange *e)
{
    const HttpLimits *l = &c->server->limits;
    bool unsent = e->handed && (e->first != NULL || (e->ended && e->content.n > 0));
    bool late = !e->handed &&
                (e->headers_ended ? exchange_is_slow(e) : now(c) >= e->started_ns + l->header_ns);
    int64_t linger_ns = MIN(LINGER_NS, l->body_ns);
    if (e->ended && !unsent && !e->request_ended && now(c) >= e->moved_ns + linger_ns)
        stop_sending(c->h2.session, e);
    if (e->in != NULL && intake_waits(e) && exchange_is_slow(e)) {
        metric_add(c->server->metrics.slow, 1);
        intake_fail(e, fail(ERR_TIMEOUT, "http: the client is too slow"));
    } else if (late) {
        metric_add(c->server->metrics.slow, 1);
        refuse(e, c->paused ? 503 : 408);
    } else if (unsent && !e->watched && now(c) >= e->moved_ns + l->write_ns) { // it opens no window
        metric_add(c->server->metrics.slow, 1);
        nghttp2_submit_rst_stream(c->h2.session, NGHTTP2_FLAG_NONE, e->stream, NGHTTP2_CANCEL);
        e->moved_ns = now(c);
    }
}

void h2_look(struct conn *c)
{
    if (c->exchange_count == 0 && now(c) >= c->idle_ns + c->server->limits.idle_ns)
        h2_drain(c);
    if (owes_frame(c) && now(c) >= c->h2.since_ns + c->server->limits.header_ns) {
        metric_add(c->server->metrics.slow, 1);
        h2_drain(c); // what was begun before may still be answered
    }
    for (struct exchange *e = c->exchanges; e != NULL; e = e->next)
        look_at_stream(c, e);
}

void h2_server_open(struct http_server *s)
{
    CHECK(nghttp2_session_callbacks_new(&s->h2_callbacks) == 0);
    nghttp2_session_callbacks *b = s->h2_callbacks;
    nghttp2_session_callbacks_set_on_begin_headers_callback(b, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(b, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(b, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(b, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(b, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(b, on_frame_send);
    CHECK(nghttp2_option_new(&s->h2_options) == 0);
    nghttp2_option_set_no_closed_streams(s->h2_options, 1);     // they would be kept for priorities
    nghttp2_option_set_no_auto_window_update(s->h2_options, 1); // on_data_chunk does it
    nghttp2_option_set_max_outbound_ack(s->h2_options, ACKS_MAX);
}

void h2_server_close(struct http_server *s)
{
    nghttp2_session_callbacks_del(s->h2_callbacks);
    nghttp2_option_del(s->h2_options);
}
