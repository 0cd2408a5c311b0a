// SPDX-License-Identifier: Apache-2.0
// Replies: what handlers call, from any thread. The reply is put into its final bytes on the
// caller's thread, in the exchange's arena, and handed to the loop as an operation.
#include "base/memory.h"
#include "base/time.h"
#include "http/server_priv.h"
#include "os/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DATE_BYTES = 32, CONTENT_IN_ARENA_BYTES_MAX = 16384 };

static struct exchange *exchange_of(const struct http_exchange *x)
{
    _Static_assert(offsetof(struct exchange, x) == 0, "an exchange begins with its public part");
    return (struct exchange *)(uintptr_t)x;
}

Str http_header(const struct http_exchange *x, Str name)
{
    for (size_t i = 0; i < x->header_count; i++)
        if (str_eq(x->headers[i].name, name))
            return x->headers[i].value;
    return (Str){ 0 };
}

const char *status_text(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } texts[] = {
        { 200, "OK" },
        { 201, "Created" },
        { 202, "Accepted" },
        { 204, "No Content" },
        { 206, "Partial Content" },
        { 301, "Moved Permanently" },
        { 302, "Found" },
        { 304, "Not Modified" },
        { 307, "Temporary Redirect" },
        { 400, "Bad Request" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 408, "Request Timeout" },
        { 409, "Conflict" },
        { 411, "Length Required" },
        { 412, "Precondition Failed" },
        { 413, "Content Too Large" },
        { 414, "URI Too Long" },
        { 416, "Range Not Satisfiable" },
        { 429, "Too Many Requests" },
        { 431, "Request Header Fields Too Large" },
        { 500, "Internal Server Error" },
        { 501, "Not Implemented" },
        { 503, "Service Unavailable" },
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (texts[i].status == status)
            return texts[i].text;
    return "Status"; // the phrase carries no meaning (RFC 9112 4)
}

// ---- The queue of operations.

void op_push(struct op *op, struct exchange *e, OpKind kind)
{
    struct http_loop *hl = e->on;
    *op = (struct op){ .e = e, .kind = kind };
    // A turn of the loop's own thread looks into the queue before it ends.
    bool in_turn = loop_is_current(hl->loop) && hl->in_turn;
    pthread_mutex_lock(&hl->lock);
    *hl->op_last = op;
    hl->op_last = &op->next;
    bool post = !hl->op_posted && !in_turn;
    hl->op_posted |= post;
    pthread_mutex_unlock(&hl->lock);
    if (post)
        loop_post(hl->loop, &hl->op_task);
}

// The client has gone: the operation has no effect but to end the exchange.
static void op_drop(struct op *op)
{
    struct exchange *e = op->e;
    if (op->kind == OP_PIECE) {
        struct piece *p = (struct piece *)op;
        atomic_fetch_sub(&e->pending, p->counted);
        piece_free(p);
    } else if (op->kind == OP_PUMP) {
        intake_apply(e);
    } else if (op->kind == OP_FLOW) {
        outflow_apply(e);
    } else if (op->kind == OP_HASH) {
        body_hash_apply(e);
    } else if (op->kind == OP_START) {
        e->watched = e->tell != NULL;
        exchange_tell(e); // that the client has gone
        e->flow = e->source_flow;
        if (e->flow != NULL)
            outflow_step(e);
    } else {
        exchange_free(e);
    }
}

static void apply(struct http_loop *hl, struct conn *c, struct op *op)
{
    struct exchange *e = op->e;
    OpKind kind = op->kind; // an operation may be gone when it is applied
    conn_mark(c);
    if (kind == OP_PUMP)
        intake_apply(e);
    else if (kind == OP_FLOW)
        outflow_apply(e);
    else if (kind == OP_HASH)
        body_hash_apply(e);
    else if (c->state == CONN_H2)
        h2_apply(c, op);
    else
        h1_apply(c, op);
    if (kind != OP_START)
        return;
    e->flow = e->source_flow;
    if (e->flow != NULL)
        outflow_step(e);
    if (e->tell == NULL)
        return;
    e->watched = true;
    if (hl->draining)
        exchange_tell(e);
}

bool ops_apply(struct http_loop *hl)
{
    pthread_mutex_lock(&hl->lock);
    struct op *op = hl->op_first;
    hl->op_first = NULL;
    hl->op_last = &hl->op_first;
    pthread_mutex_unlock(&hl->lock);
    bool any = op != NULL;
    while (op != NULL) {
        struct op *next = op->next;
        struct conn *c = op->e->c;
        if (c == NULL)
            op_drop(op);
        else
            apply(hl, c, op);
        op = next;
    }
    return any;
}

void op_run(struct task *t)
{
    struct http_loop *hl = (struct http_loop *)((char *)t - offsetof(struct http_loop, op_task));
    pthread_mutex_lock(&hl->lock);
    hl->op_posted = false;
    pthread_mutex_unlock(&hl->lock);
    turn_finish(hl);
}

// ---- Heads.

// The text of this second, made once a second by each thread that replies.
static Str date_now(struct io *io)
{
    static _Thread_local int64_t second = -1;
    static _Thread_local char text[DATE_BYTES];
    static _Thread_local size_t n;
    int64_t ns = io->wall_ns(io);
    if (ns / NS_PER_S != second) {
        AUTO(arena) tmp = arena_open();
        Str now = time_http(tmp, ns);
        CHECK(now.n <= sizeof text);
        memcpy(text, now.p, now.n);
        n = now.n;
        second = ns / NS_PER_S;
    }
    return str_from(text, n);
}

// Headers that say how the message is framed are the server's business. A reply to HEAD may state
// the length of a body that it does not have.
static bool is_ours(const struct exchange *e, Str name)
{
    static const Str names[] = { S_INIT("connection"), S_INIT("date"), S_INIT("keep-alive"),
                                 S_INIT("transfer-encoding"), S_INIT("upgrade") };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (str_eq_nocase(name, names[i]))
            return true;
    return !e->is_head && str_eq_nocase(name, S("content-length"));
}

static bool states_length(const HttpHeader *headers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq_nocase(headers[i].name, S("content-length")))
            return true;
    return false;
}

static char *put(char *at, Str s)
{
    if (s.n > 0)
        memcpy(at, s.p, s.n);
    return at + s.n;
}

// A control byte would end the header and begin another; handlers may echo what clients sent.
static char *put_value(char *at, Str s)
{
    for (size_t i = 0; i < s.n; i++)
        *at++ = (unsigned char)s.p[i] < 0x20 && s.p[i] != '\t' ? ' ' : s.p[i];
    return at;
}

static char *put_header(char *at, Str name, Str value)
{
    at = put(at, name);
    at = put(at, S(": "));
    at = put_value(at, value);
    return put(at, S("\r\n"));
}

// Of every reply, where str_fmt would take longer than the rest of the head.
static Str decimal(struct arena *a, uint64_t n)
{
    enum { DIGITS_MAX = 20 };
    char *text = arena_alloc(a, DIGITS_MAX, 1);
    size_t at = DIGITS_MAX;
    do
        text[--at] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    return str_from(text + at, DIGITS_MAX - at);
}

// `length`: the text of Content-Length, or absent if there is to be none.
static void make_h1_head(struct exchange *e, unsigned status, const HttpHeader *headers, size_t n,
                         Str length)
{
    enum { FIXED_BYTES_MAX = 256 };
    size_t bytes = FIXED_BYTES_MAX;
    for (size_t i = 0; i < n; i++)
        bytes += headers[i].name.n + headers[i].value.n + 4;
    char *start = arena_alloc(e->x.arena, bytes, 1), *at = start;
    at = put(at, S("HTTP/1.1 "));
    char code[] = { (char)('0' + status / 100), (char)('0' + status / 10 % 10),
                    (char)('0' + status % 10), ' ' };
    at = put(at, str_from(code, sizeof code));
    at = put(at, str_of(status_text(status)));
    at = put(at, S("\r\n"));
    for (size_t i = 0; i < n; i++)
        if (!is_ours(e, headers[i].name))
            at = put_header(at, headers[i].name, headers[i].value);
    at = put_header(at, S("Date"), date_now(e->on->server->io));
    if (length.p != NULL)
        at = put_header(at, S("Content-Length"), length);
    if (e->chunked)
        at = put_header(at, S("Transfer-Encoding"), S("chunked"));
    if (!e->keep_alive)
        at = put_header(at, S("Connection"), S("close"));
    else if (e->old)
        at = put_header(at, S("Connection"), S("keep-alive"));
    at = put(at, S("\r\n"));
    CHECK((size_t)(at - start) <= bytes);
    e->head = str_from(start, (size_t)(at - start));
}

nghttp2_nv nv_of(Str name, Str value)
{
    return (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name.p,
                         .namelen = name.n,
                         .value = (uint8_t *)(uintptr_t)value.p,
                         .valuelen = value.n };
}

// Ids and lengths are others in each reply: in the table of headers that are sent again (RFC 7541
// 2.3.2) they would only push out what is.
static bool is_said_again(Str name)
{
    static const Str names[] = { S_INIT("content-type"), S_INIT("server"),
                                 S_INIT("smithy-protocol") };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (str_eq(name, names[i]))
            return true;
    return str_starts(name, S("access-control-"));
}

static void make_h2_head(struct exchange *e, unsigned status, const HttpHeader *headers, size_t n,
                         Str length)
{
    struct arena *a = e->x.arena;
    e->nv = arena_new(a, nghttp2_nv, n + 3);
    e->nv[e->nv_count++] = nv_of(S(":status"), decimal(a, status));
    for (size_t i = 0; i < n; i++) {
        if (is_ours(e, headers[i].name))
            continue;
        Str value = headers[i].value;
        char *copy = arena_alloc(a, value.n + 1, 1);
        put_value(copy, value);
        nghttp2_nv *nv = &e->nv[e->nv_count++];
        Str name = str_lower(a, headers[i].name);
        *nv = nv_of(name, str_from(copy, value.n));
        nv->flags = is_said_again(name) ? NGHTTP2_NV_FLAG_NONE : NGHTTP2_NV_FLAG_NO_INDEX;
    }
    e->nv[e->nv_count++] = nv_of(S("date"), str_dup(a, date_now(e->on->server->io)));
    if (length.p == NULL)
        return;
    e->nv[e->nv_count] = nv_of(S("content-length"), length);
    e->nv[e->nv_count++].flags = NGHTTP2_NV_FLAG_NO_INDEX;
}

// Decides how the reply is framed and makes its head. `length` is UINT64_MAX for a stream.
void make_head(struct exchange *e, unsigned status, const HttpHeader *headers, size_t n,
               uint64_t length)
{
    CHECK(status >= 200 && status <= 999 && e->handed && !e->replied);
    bool h2 = e->x.http_version == 20;
    bool never = status == 204 || status == 304; // neither a body nor its length
    e->replied = true;
    e->bodyless = never || e->is_head;
    if (atomic_load_explicit(&e->on->server->draining, memory_order_relaxed))
        e->keep_alive = false;
    if (e->in != NULL && !intake_is_complete(e))
        e->keep_alive = false; // what comes next is the rest of its body
    CHECK(e->in == NULL || !intake_is_pumped(e) || intake_is_over(e));
    if (length == UINT64_MAX && !h2 && e->old)
        e->keep_alive = false; // HTTP/1.0: the end of the connection ends the body
    e->chunked = length == UINT64_MAX && !h2 && !e->old && !never;
    Str text = { 0 };
    if (length != UINT64_MAX && !never && !(e->is_head && states_length(headers, n)))
        text = decimal(e->x.arena, length);
    if (h2)
        make_h2_head(e, status, headers, n, text);
    else
        make_h1_head(e, status, headers, n, text);
}

// ---- What handlers call.

bool http_replies_full(const struct http_exchange *x)
{
    const struct http_server *s = exchange_of(x)->on->server;
    return atomic_load(&s->reply_bytes) >= s->limits.reply_pool_bytes_max;
}

// Memory of its own for a reply's body, counted until the exchange is freed. `taken` bytes of the
// budget of requests come with it.
static void take_content(struct exchange *e, char *take_memory, size_t room, Str content,
                         size_t taken)
{
    e->content_taken = taken;
    e->content_memory = take_memory;
    e->content_room = room;
    e->content = content;
    e->content_counted = content.n; // HTTP/2 shortens content as it sends
    atomic_fetch_add_explicit(&e->on->server->reply_bytes, content.n, memory_order_relaxed);
}

void http_reply(struct http_exchange *x, unsigned status, const HttpHeader *headers, size_t n,
                Str body)
{
    struct exchange *e = exchange_of(x);
    bool large = body.n > CONTENT_IN_ARENA_BYTES_MAX && !e->is_head;
    bool in_pages = body.n >= MEMORY_LARGE_BYTES;
    char *memory = !large ? NULL : in_pages ? memory_try_large(body.n) : memory_try(body.n);
    if (large && memory == NULL) { // the client is told at least that it may come again
        status = 503;
        n = 0;
        body = S("");
    }
    make_head(e, status, headers, n, body.n);
    if (memory != NULL) {
        memcpy(memory, body.p, body.n);
        memory_take_anyway(body.n);
        take_content(e, memory, body.n, e->bodyless ? S("") : str_from(memory, body.n), body.n);
    } else if (body.n > 0 && !e->bodyless) {
        e->content = str_dup(x->arena, body);
    }
    op_push(&e->reply_op, e, OP_REPLY);
}

void http_reply_take(struct http_exchange *x, unsigned status, const HttpHeader *headers, size_t n,
                     struct buf *take_body)
{
    struct exchange *e = exchange_of(x);
    make_head(e, status, headers, n, take_body->n);
    if (!e->bodyless) {
        take_content(e, take_body->p, take_body->cap, buf_str(take_body), take_body->counted);
        buf_init(take_body, take_body->max);
    }
    buf_done(take_body);
    op_push(&e->reply_op, e, OP_REPLY);
}

void http_stream_start(struct http_exchange *x, unsigned status, const HttpHeader *headers,
                       size_t n)
{
    struct exchange *e = exchange_of(x);
    make_head(e, status, headers, n, UINT64_MAX);
    op_push(&e->reply_op, e, OP_START);
}

enum { FRAMING_BYTES_MAX = 32 }; // "<size> CR LF" and "CR LF"

// What goes before a piece of this size; how long it is.
static int chunk_head(const struct exchange *e, struct piece *p, size_t n)
{
    return e->chunked ? snprintf(p->data, FRAMING_BYTES_MAX, "%zx\r\n", n) : 0;
}

void http_stream_write(struct http_exchange *x, Str piece)
{
    struct exchange *e = exchange_of(x);
    CHECK(e->replied);
    if (piece.n == 0 || e->bodyless || http_stream_gone(x)) // an empty chunk would end the body
        return;
    struct piece *p = xrealloc(NULL, sizeof *p + piece.n + FRAMING_BYTES_MAX);
    *p = (struct piece){ .counted = piece.n };
    int head = chunk_head(e, p, piece.n);
    char *at = put(p->data + head, piece);
    p->payload = str_from(p->data + head, piece.n);
    if (e->chunked)
        at = put(at, S("\r\n"));
    p->framed = str_from(p->data, (size_t)(at - p->data));
    atomic_fetch_add(&e->pending, p->counted);
    op_push(&p->op, e, OP_PIECE);
}

void http_stream_share(struct http_exchange *x, Str piece, void (*release)(void *owner),
                       void *owner)
{
    struct exchange *e = exchange_of(x);
    CHECK(e->replied);
    if (piece.n == 0 || e->bodyless || http_stream_gone(x)) {
        release(owner);
        return;
    }
    struct piece *p = xrealloc(NULL, sizeof *p + FRAMING_BYTES_MAX);
    *p = (struct piece){ .payload = piece, .counted = piece.n, .release = release, .owner = owner };
    p->framed = str_from(p->data, (size_t)chunk_head(e, p, piece.n));
    atomic_fetch_add(&e->pending, p->counted);
    op_push(&p->op, e, OP_PIECE);
}

void reply_file(struct exchange *e, IoSpan take_span)
{
    CHECK(!e->bodyless && !e->chunked);
    struct piece *p = xrealloc(NULL, sizeof *p);
    *p = (struct piece){ .span = take_span, .counted = take_span.n };
    atomic_fetch_add(&e->pending, p->counted);
    op_push(&p->op, e, OP_PIECE);
}

void http_reply_share(struct http_exchange *x, unsigned status, const HttpHeader *headers, size_t n,
                      Str body, void (*release)(void *owner), void *owner)
{
    struct exchange *e = exchange_of(x);
    make_head(e, status, headers, n, body.n);
    op_push(&e->reply_op, e, OP_START);
    http_stream_share(x, body, release, owner);
    http_stream_end(x);
}

void http_stream_watch(struct http_exchange *x, void (*tell)(void *self), void *self)
{
    struct exchange *e = exchange_of(x);
    CHECK(!e->replied && e->tell == NULL);
    e->tell = tell;
    e->tell_self = self;
    atomic_fetch_add(&e->on->server->watched_count, 1); // given back by exchange_free
}

bool http_stream_closing(const struct http_exchange *x)
{
    return atomic_load(&exchange_of(x)->on->server->draining);
}

void http_stream_end(struct http_exchange *x)
{
    struct exchange *e = exchange_of(x);
    CHECK(e->replied);
    op_push(&e->end_op, e, OP_END);
}

bool http_stream_gone(const struct http_exchange *x)
{
    return atomic_load(&exchange_of(x)->gone);
}

bool http_wait_is_over(const struct http_exchange *x)
{
    const struct exchange *e = exchange_of(x);
    return atomic_load(&e->gone) || atomic_load(&e->half_closed) ||
           atomic_load_explicit(&e->on->server->draining, memory_order_relaxed);
}

size_t http_stream_pending(const struct http_exchange *x)
{
    return atomic_load(&exchange_of(x)->pending);
}

void piece_done(struct out *o)
{
    struct piece *p = (struct piece *)((char *)o - offsetof(struct piece, out));
    struct exchange *e = p->op.e;
    bool is_last = atomic_fetch_sub(&e->pending, p->counted) == p->counted;
    piece_free(p);
    if (e->flow != NULL)
        outflow_step(e);
    if (is_last)
        exchange_tell(e);
}

void piece_free(struct piece *p)
{
    if (p->span.n > 0)
        close(p->span.file);
    if (p->release != NULL)
        p->release(p->owner);
    free(p);
}

void exchange_tell(struct exchange *e)
{
    if (e->watched && !e->ended)
        e->tell(e->tell_self);
}

void reply_plain(struct exchange *e, unsigned status)
{
    HttpHeader type = { S("Content-Type"), S("text/plain") };
    http_reply(&e->x, status, &type, 1,
               str_fmt(e->x.arena, "%u %s\n", status, status_text(status)));
}
