// SPDX-License-Identifier: Apache-2.0
// Replies that are read from a source. A thread of the pool reads a piece while the one before it
// is being written: two are in memory, and the source waits for the client. On the loop it is
// decided who goes on; when the source is read to its end, or nobody wants the rest, it is closed
// on the pool.
//
// A source may say that its next bytes can be sent from a file as they are. Then the loop has the
// kernel send them (plain HTTP/1.1 only), from a descriptor of their own.
#include "base/memory.h"
#include "http/server_priv.h"

#include <fcntl.h>
#include <stdlib.h>

enum {
    PENDING_BYTES_MAX = HTTP_PIECE_BYTES_MAX, // with so much unwritten no further piece is read
    RETRY_NS = 5000000,                       // when the pool's queue was full
    SPAN_BYTES_MAX = 8 << 20,                 // of a file; the same, while they cost no memory
};

struct outflow {
    struct exchange *e; // NULL when it is only to be closed
    struct http_server *server;
    struct loop *loop;
    struct pool *pool;
    struct http_source *source;
    struct op read_op;
    struct task work;
    struct timer retry;
    uint64_t left; // not read yet; the pool's while it is busy
    bool failed;   // likewise
    bool placed;   // likewise: the last piece was a place in a file
    bool places;   // such may be
    bool reads;    // others may be: there is not much unwritten
    bool busy;     // the loop's
};

static void submit(struct outflow *f)
{
    if (pool_submit(f->pool, &f->work).kind != ERR_NONE)
        loop_arm(f->loop, &f->retry, loop_now_ns(f->loop) + RETRY_NS);
}

static void submit_again(struct timer *t)
{
    submit((struct outflow *)((char *)t - offsetof(struct outflow, retry)));
}

// ---- The pool's side

static void piece_release(void *p)
{
    memory_give_large(p, HTTP_PIECE_BYTES_MAX);
}

// Reads as much as a piece holds: sources may give less at a time.
static Err read_piece(struct outflow *f, char *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t got = 0;
        TRY(f->source->read(f->source, p + at, n - at, &got));
        if (got == 0 || got > n - at)
            return fail(ERR_IO, "http: a source ended too early");
        at += got;
    }
    return OK;
}

// False: the next bytes are in no file.
static bool send_span(struct outflow *f)
{
    IoSpan span = { 0 };
    f->source->place(f->source, (size_t)MIN(f->left, (uint64_t)SPAN_BYTES_MAX), &span);
    if (span.n == 0)
        return false;
    CHECK(span.n <= f->left);
    span.file = fcntl(span.file, F_DUPFD_CLOEXEC, 0); // closed with the piece
    f->failed = span.file < 0;
    if (f->failed)
        return true;
    f->left -= span.n;
    reply_file(f->e, span);
    return true;
}

static void send_piece(struct outflow *f)
{
    size_t n = (size_t)MIN(f->left, (uint64_t)HTTP_PIECE_BYTES_MAX);
    char *p = memory_try_large(HTTP_PIECE_BYTES_MAX);
    f->failed = p == NULL || read_piece(f, p, n).kind != ERR_NONE;
    if (f->failed && p != NULL)
        piece_release(p);
    if (f->failed)
        return;
    f->left -= n;
    http_stream_share(&f->e->x, str_from(p, n), piece_release, p);
}

static void work_read(struct task *t)
{
    struct outflow *f = (struct outflow *)((char *)t - offsetof(struct outflow, work));
    f->placed = f->places && send_span(f);
    if (!f->placed && f->reads)
        send_piece(f);
    op_push(&f->read_op, f->e, OP_FLOW);
}

static void work_close(struct task *t)
{
    struct outflow *f = (struct outflow *)((char *)t - offsetof(struct outflow, work));
    struct http_server *s = f->server;
    f->source->close(f->source);
    free(f);
    pumped_forget(s);
}

// ---- The loop's side

// Nothing more is read: the source is closed, and the exchange ends with what is under way.
static void finish(struct exchange *e)
{
    struct outflow *f = e->flow;
    e->flow = NULL;
    f->e = NULL;
    f->work.run = work_close;
    submit(f);
    http_stream_end(&e->x);
}

void outflow_step(struct exchange *e)
{
    struct outflow *f = e->flow;
    if (f->busy)
        return;
    size_t pending = http_stream_pending(&e->x);
    f->reads = pending <= PENDING_BYTES_MAX;
    if (f->left == 0 || http_stream_gone(&e->x)) {
        finish(e);
    } else if (!f->failed && (f->reads || (f->placed && pending <= SPAN_BYTES_MAX))) {
        f->busy = true;
        submit(f);
    }
}

void outflow_apply(struct exchange *e)
{
    struct outflow *f = e->flow;
    f->busy = false;
    if (f->failed && e->c != NULL && e->c->state == CONN_H2)
        h2_break_off(e->c, e); // its stream is closed, and then it is gone
    else if (f->failed && e->c != NULL)
        conn_close(e->c); // likewise
    else
        outflow_step(e);
}

void http_reply_source(struct http_exchange *x, struct pool *pool, unsigned status,
                       const HttpHeader *headers, size_t n, uint64_t length,
                       struct http_source *take_source)
{
    struct exchange *e = (struct exchange *)x;
    make_head(e, status, headers, n, length);
    if (e->bodyless || length == 0) {
        op_push(&e->reply_op, e, OP_START);
        take_source->close(take_source);
        http_stream_end(x);
        return;
    }
    struct outflow *f = xalloc(sizeof *f);
    *f = (struct outflow){ .e = e,
                           .server = e->on->server,
                           .loop = x->loop,
                           .pool = pool,
                           .source = take_source,
                           .left = length,
                           .places =
                               take_source->place != NULL && x->http_version == 11 && !x->tls };
    f->work.run = work_read;
    f->retry.fire = submit_again;
    e->source_flow = f;
    e->content_counted = (size_t)MIN(length, (uint64_t)2 * HTTP_PIECE_BYTES_MAX);
    atomic_fetch_add_explicit(&e->on->server->reply_bytes, e->content_counted,
                              memory_order_relaxed);
    atomic_fetch_add(&e->on->server->pumped_count, 1);
    op_push(&e->reply_op, e, OP_START);
}
