// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 on a connection: one request at a time. A client may send requests ahead; they wait in
// the connection's buffer until the reply before them is complete, so replies cannot change order
// and a flood takes neither memory nor stack.
#include "base/memory.h"
#include "http/server_priv.h"

#include <string.h>

#define JUDGE_AGAIN_NS INT64_C(1000000000)

static Str input(const struct conn *c)
{
    return str_from(c->in + c->in_at, c->in_n - c->in_at);
}

static int64_t now(const struct conn *c)
{
    return loop_now_ns(c->on->loop);
}

// ---- Handing over.

static void hand_broken(struct conn *c, unsigned status)
{
    const struct http_handler *h = &c->server->handler;
    if (h->broken != NULL)
        h->broken(h->self, &c->h1.e->x, status);
    else
        reply_plain(c->h1.e, status);
}

static void hand(struct conn *c)
{
    struct exchange *e = c->h1.e;
    if (e->in != NULL) { // it is with the handler already
        c->h1.state = H1_WAITS;
        intake_end(e);
        return;
    }
    e->x.body = str_from(e->body.p != NULL ? e->body.p : "", e->body.n);
    e->x.received_ns = now(c);
    e->handed = true;
    c->h1.state = H1_WAITS;
    metric_add(c->server->metrics.requests_h1, 1);
    if (e->broken != 0)
        hand_broken(c, e->broken);
    else if (body_hash_end(e))
        c->server->handler.request(c->server->handler.self, &e->x);
}

// Before its body, which the handler takes as it comes.
static void hand_head(struct conn *c)
{
    struct exchange *e = c->h1.e;
    e->x.received_ns = now(c);
    e->handed = true;
    metric_add(c->server->metrics.requests_h1, 1);
    c->server->handler.request(c->server->handler.self, &e->x);
}

static Err err_of(unsigned status)
{
    switch (status) {
    case 408:
        return fail(ERR_TIMEOUT, "http: the client is too slow");
    case 413:
        return fail(ERR_LIMIT, "http: the body is larger than allowed");
    case 503:
        return fail(ERR_MEMORY, "http: no memory for a body");
    default:
        return fail(ERR_INVALID, "http: the body breaks the protocol");
    }
}

// Refuses the request that is being read. What follows it cannot be told apart from its body.
static void refuse(struct conn *c, unsigned status)
{
    struct exchange *e = c->h1.e;
    if (e != NULL && e->in != NULL) { // whose handler says so
        c->h1.state = H1_WAITS;
        intake_fail(e, err_of(status));
        return;
    }
    if (e == NULL)
        e = c->h1.e = exchange_open(c);
    if (e == NULL) {
        conn_close(c);
        return;
    }
    body_release(c->on, &e->body);
    e->broken = status;
    e->keep_alive = false;
    e->x.received_ns = now(c);
    e->handed = true;
    c->h1.state = H1_WAITS;
    const struct http_metrics *m = &c->server->metrics;
    metric_add(status == 503 ? m->refused_memory : m->refused_protocol, 1);
    hand_broken(c, status);
}

// ---- Heads.

static Str moved(Str s, const char *from, const char *to)
{
    return s.p == NULL ? s : str_from(to + (s.p - from), s.n);
}

// The head is copied once into the exchange's arena: the buffer is needed for what comes next.
static void take_head(struct exchange *e, Str bytes, const H1Head *h)
{
    struct arena *a = e->x.arena;
    char *to = arena_alloc(a, MAX(bytes.n, (size_t)1), 1);
    memcpy(to, bytes.p, bytes.n);
    e->x.method = moved(h->method, bytes.p, to);
    e->x.path = str_eq(h->path, S("/")) ? S("/") : moved(h->path, bytes.p, to);
    e->x.query = moved(h->query, bytes.p, to);
    e->x.headers = arena_new(a, HttpHeader, h->header_count + 1);
    for (size_t i = 0; i < h->header_count; i++) {
        Str name = moved(h->headers[i].name, bytes.p, to);
        for (char *c = to + (name.p - to); c < name.p + name.n; c++)
            if (*c >= 'A' && *c <= 'Z')
                *c = (char)(*c + 32);
        Str value = moved(h->headers[i].value, bytes.p, to);
        if (h->authority.p != NULL && str_eq(name, S("host")))
            value = moved(h->authority, bytes.p, to); // it counts, not the header (RFC 9112 3.2.2)
        e->x.headers[i] = (HttpHeader){ .name = name, .value = value };
    }
    e->x.header_count = h->header_count;
    e->keep_alive = h->keep_alive;
    e->is_head = str_eq(h->method, S("HEAD"));
    e->old = h->version == 10;
}

void h1_continue(struct conn *c, struct out *o)
{
    conn_out(c, o, S("HTTP/1.1 100 Continue\r\n\r\n"), NULL);
}

// There is no memory for the body. It is read to its end and dropped, and then refused: so the
// client, which may not listen before it has sent everything, is told, and its connection lives on.
static void drop_body(struct conn *c)
{
    struct exchange *e = c->h1.e;
    e->dropped_bytes += e->body.n;
    body_release(c->on, &e->body);
    e->broken = 503;
    metric_add(c->server->metrics.refused_memory, 1);
}

static bool has_room(const H1Head *h)
{
    return !h->has_length || h->length <= MEMORY_SMALL_BYTES || memory_has_room((size_t)h->length);
}

// Decides what follows the head. The request is complete at once if it has no body.
static void begin_body(struct conn *c, const H1Head *h)
{
    struct exchange *e = c->h1.e;
    const struct http_server *s = c->server;
    e->body_max = s->limits.body_bytes_max;
    if (s->handler.body_max != NULL)
        e->body_max = s->handler.body_max(s->handler.self, &e->x);
    e->started_ns = e->moved_ns = now(c);
    c->h1.judge_ns = now(c) + s->limits.body_rate_after_ns;
    c->h1.left = h->length;
    c->h1.extension_bytes = c->h1.trailer_bytes = 0;
    if (h->has_length && h->length > e->body_max) {
        refuse(c, 413);
        return;
    }
    if (!h->chunked && h->length == 0) {
        // It could be left out (RFC 9110 10.1.1), but botocore takes a reply without it for that of
        // the connection's next request that expects it, too, and waits for its body for ever.
        if (h->expects_continue)
            h1_continue(c, arena_new(e->x.arena, struct out, 1));
        hand(c);
        return;
    }
    bool waits = h->expects_continue && c->in_at == c->in_n;
    bool no_room = false;
    c->h1.state = h->chunked ? H1_CHUNK : H1_LENGTH;
    if (intake_open(e, h->chunked ? UINT64_MAX : h->length, waits, &no_room)) {
        hand_head(c);
        return;
    }
    no_room |= !has_room(h);
    if (no_room && waits)
        refuse(c, 503); // before it sends anything
    else if (no_room)
        drop_body(c);
    else if (waits)
        h1_continue(c, arena_new(e->x.arena, struct out, 1));
    if (c->h1.state != H1_WAITS && e->broken == 0)
        body_hash_begin(e, h->chunked ? UINT64_MAX : h->length);
}

// True: something was begun.
static bool work_head(struct conn *c)
{
    Str in = input(c);
    // Tried again only when a line has been completed: a client that sends byte after byte would
    // make us read the same bytes over and over.
    if (in.n == 0 || c->ending)
        return false;
    if (c->h1.scanned > 0 && in.n <= c->server->limits.header_bytes_max &&
        memchr(in.p + c->h1.scanned, '\n', in.n - c->h1.scanned) == NULL) {
        c->h1.scanned = in.n;
        return false;
    }
    H1Limits limits = { .header_bytes_max = c->server->limits.header_bytes_max,
                        .header_count_max = c->server->limits.header_count_max };
    H1Head h;
    H1Result r = h1_parse_head(in, &limits, c->on->headers, &h);
    if (r == H1_MORE) {
        if (c->h1.scanned == 0)
            c->h1.since_ns = now(c);
        c->h1.scanned = in.n;
        return false;
    }
    c->h1.scanned = 0;
    if (r == H1_BAD) {
        refuse(c, h.status);
        return true;
    }
    c->h1.e = exchange_open(c);
    if (c->h1.e == NULL) {
        conn_close(c);
        return false;
    }
    take_head(c->h1.e, str_head(in, h.bytes), &h);
    c->in_at += h.bytes;
    begin_body(c, &h);
    return true;
}

// ---- Bodies.

static void append(struct conn *c, size_t n)
{
    struct exchange *e = c->h1.e;
    if (e->broken == 0 && !body_reserve(c->on, &e->body, e->body.n + n, 0))
        drop_body(c);
    if (e->broken == 0) {
        memcpy(e->body.p + e->body.n, c->in + c->in_at, n);
        e->body.n += n;
        body_hash_arrived(e);
    } else {
        e->dropped_bytes += n;
    }
    e->moved_ns = now(c);
    c->in_at += n;
    c->h1.left -= n;
}

// As much as there is room for. True: it is complete.
static bool take_streamed(struct conn *c)
{
    char *p;
    size_t room;
    while (c->h1.left > 0 && c->in_n > c->in_at && intake_room(c->h1.e, &p, &room)) {
        size_t n = MIN(MIN(c->in_n - c->in_at, room), c->h1.left);
        memcpy(p, c->in + c->in_at, n);
        c->in_at += n;
        c->h1.left -= n;
        intake_filled(c->h1.e, n);
    }
    return c->h1.left == 0;
}

// Takes what is there of a body of known length, or of a chunk. True: it is complete.
static bool take_counted(struct conn *c)
{
    if (c->h1.e->in != NULL)
        return take_streamed(c);
    size_t n = MIN(c->in_n - c->in_at, c->h1.left);
    if (n > 0)
        append(c, n);
    return c->h1.left == 0;
}

static size_t received(const struct exchange *e)
{
    return e->body.n + e->dropped_bytes;
}

static H1Result take_chunk_line(struct conn *c)
{
    size_t used = 0, extension = 0;
    uint64_t bytes = 0;
    H1Result r = h1_parse_chunk(input(c), &used, &bytes, &extension);
    if (r != H1_DONE)
        return r;
    c->in_at += used;
    c->h1.extension_bytes += extension;
    if (c->h1.extension_bytes > H1_EXTENSION_BYTES_MAX)
        return H1_BAD;
    c->h1.left = bytes;
    c->h1.state = bytes > 0 ? H1_CHUNK_DATA : H1_TRAILERS;
    return H1_DONE;
}

static H1Result take_trailer(struct conn *c, bool *ret_last)
{
    size_t used = 0;
    H1Result r = h1_parse_trailer(input(c), &used, ret_last);
    if (r == H1_DONE && !*ret_last && c->h1.e->in != NULL) {
        Str name, value;
        if (str_cut(str_head(input(c), used), ':', &name, &value))
            intake_trailer(c->h1.e, name, str_trim(value));
    }
    c->in_at += r == H1_DONE ? used : 0;
    c->h1.trailer_bytes += used;
    return c->h1.trailer_bytes > H1_TRAILER_BYTES_MAX ? H1_BAD : r;
}

static H1Result take_chunk_end(struct conn *c)
{
    Str in = input(c);
    if (in.n == 0 || (in.n == 1 && in.p[0] == '\r'))
        return H1_MORE;
    if (!str_starts(in, S("\r\n")))
        return H1_BAD;
    c->in_at += 2;
    c->h1.state = H1_CHUNK;
    return H1_DONE;
}

// True: the state has changed, look again.
static bool work_chunked(struct conn *c)
{
    H1Result r = H1_DONE;
    bool last = false;
    switch (c->h1.state) {
    case H1_CHUNK:
        r = take_chunk_line(c);
        if (r == H1_DONE && c->h1.left > c->h1.e->body_max - received(c->h1.e)) {
            refuse(c, 413);
            return true;
        }
        break;
    case H1_CHUNK_DATA:
        if (!take_counted(c))
            return false;
        c->h1.state = H1_CHUNK_END;
        break;
    case H1_CHUNK_END:
        r = take_chunk_end(c);
        break;
    default:
        r = take_trailer(c, &last);
        if (r == H1_DONE && last)
            hand(c);
        break;
    }
    if (r == H1_BAD)
        refuse(c, 400);
    return r != H1_MORE;
}

static bool reads_body(const struct conn *c)
{
    return c->h1.state != H1_HEAD && c->h1.state != H1_WAITS;
}

bool h1_is_held_up(const struct conn *c)
{
    if (c->state != CONN_H1 || !reads_body(c) || c->h1.e->in == NULL)
        return false;
    bool is_data = c->h1.state == H1_LENGTH || c->h1.state == H1_CHUNK_DATA;
    return !intake_is_pumped(c->h1.e) || (is_data && !intake_has_room(c->h1.e));
}

bool h1_receives_large(const struct conn *c)
{
    if (!reads_body(c) || c->h1.e->broken != 0 || c->h1.e->in != NULL)
        return false;
    return c->h1.e->body.n + c->h1.left > MEMORY_SMALL_BYTES;
}

bool h1_streams(const struct conn *c)
{
    return c->state == CONN_H1 && c->h1.e != NULL && c->h1.e->watched;
}

bool h1_work(struct conn *c)
{
    while (!c->closed) {
        if (h1_is_held_up(c))
            return false;
        switch (c->h1.state) {
        case H1_HEAD:
            // The client must read first, or others have their turn.
            if (c->out_bytes >= OUT_HIGH_BYTES || c->requests_in_turn >= REQUESTS_PER_TURN_MAX) {
                c->again = c->in_at < c->in_n;
                return false;
            }
            if (!work_head(c))
                return false;
            c->requests_in_turn++;
            if (c->h1.e != NULL && c->h1.e->in != NULL)
                return true; // perhaps it is answered already, or its body pumped
            break;
        case H1_LENGTH:
            if (!take_counted(c))
                return false;
            hand(c);
            break;
        case H1_WAITS:
            return false;
        default:
            if (!work_chunked(c))
                return false;
            break;
        }
        if (c->h1.state == H1_WAITS)
            return true; // perhaps it is answered already
    }
    return false;
}

bool h1_body_room(struct conn *c, char **ret, size_t *ret_n)
{
    bool counted = c->h1.state == H1_LENGTH || c->h1.state == H1_CHUNK_DATA;
    if (!counted || c->in_at != c->in_n || c->h1.left == 0 || c->h1.e->broken != 0)
        return false;
    if (c->h1.e->in != NULL) {
        bool has_room = intake_room(c->h1.e, ret, ret_n);
        *ret_n = has_room ? MIN(*ret_n, c->h1.left) : 0;
        return has_room;
    }
    struct body *b = &c->h1.e->body;
    // A body gets memory as it arrives: what a client only announces costs nothing.
    size_t want = MIN(c->h1.left, MAX(b->n, (size_t)BODY_START_BYTES_MAX));
    size_t announced = c->h1.state == H1_LENGTH ? b->n + c->h1.left : 0;
    if (b->cap == b->n && !body_reserve(c->on, b, b->n + want, announced)) {
        drop_body(c);
        return false;
    }
    *ret = b->p + b->n;
    *ret_n = MIN(b->cap - b->n, c->h1.left);
    return true;
}

void h1_body_arrived(struct conn *c, size_t n)
{
    if (c->h1.e->in != NULL) {
        c->h1.left -= n;
        intake_filled(c->h1.e, n);
        return;
    }
    c->h1.e->body.n += n;
    body_hash_arrived(c->h1.e);
    c->h1.e->moved_ns = now(c);
    c->h1.left -= n;
}

// ---- Replies.

static void release(struct out *o)
{
    exchange_free(o->e);
}

// The reply is complete: its last bytes free the exchange when they are written.
static void end_reply(struct conn *c, struct exchange *e, Str last)
{
    e->ended = true;
    e->end_out.e = e;
    conn_out(c, &e->end_out, last, release);
    body_release(c->on, &e->body);
    c->h1.e = NULL;
    c->h1.state = H1_HEAD;
    c->idle_ns = now(c);
    if (!e->keep_alive || c->on->draining)
        c->ending = true;
}

static void piece_out(struct conn *c, struct piece *p)
{
    if (p->span.n > 0) {
        conn_out_file(c, &p->out, p->span, piece_done);
    } else if (p->release == NULL) {
        conn_out(c, &p->out, p->framed, piece_done);
    } else if (p->framed.n == 0) { // not chunked
        conn_out(c, &p->out, p->payload, piece_done);
    } else {
        conn_out(c, &p->head_out, p->framed, NULL);
        conn_out(c, &p->body_out, p->payload, NULL);
        conn_out(c, &p->out, S("\r\n"), piece_done);
    }
}

void h1_apply(struct conn *c, struct op *op)
{
    struct exchange *e = op->e;
    struct piece *p = (struct piece *)op; // of OP_PIECE only
    switch (op->kind) {
    case OP_REPLY:
        conn_out(c, &e->head_out, e->head, NULL);
        end_reply(c, e, e->content);
        break;
    case OP_START:
        conn_out(c, &e->head_out, e->head, NULL);
        break;
    case OP_PIECE:
        piece_out(c, p);
        break;
    case OP_END:
        end_reply(c, e, e->chunked && !e->bodyless ? S("0\r\n\r\n") : S(""));
        break;
    default: // not of replies
        break;
    }
}

// ---- Deadlines.

int64_t h1_deadline(struct conn *c)
{
    const HttpLimits *l = &c->server->limits;
    const struct exchange *e = c->h1.e;
    switch (c->h1.state) {
    case H1_HEAD:
        return c->h1.scanned > 0 ? c->h1.since_ns + l->header_ns : c->idle_ns + l->idle_ns;
    case H1_WAITS:
        return 0;
    default:
        break;
    }
    if (e->in != NULL && !intake_waits(e))
        return 0; // not for the client
    return MIN(e->moved_ns + l->body_ns, c->h1.judge_ns);
}

void h1_late(struct conn *c)
{
    if (c->h1.state == H1_HEAD && c->h1.scanned == 0) {
        c->ending = true; // idle
        return;
    }
    if (c->h1.state != H1_HEAD && !exchange_is_slow(c->h1.e)) {
        c->h1.judge_ns = now(c) + JUDGE_AGAIN_NS;
        return;
    }
    metric_add(c->server->metrics.slow, 1);
    refuse(c, c->paused ? 503 : 408);
}
