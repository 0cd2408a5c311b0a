// SPDX-License-Identifier: Apache-2.0
// Bodies that are handed on as they come. Two buffers: the loop fills one, the sink has the other,
// on a thread of its pool. When both are full nothing more is read of this body (HTTP/1.1: of its
// connection; HTTP/2: the stream's window stays shut), so the client waits for the sink.
//
// Everything but `taken` and `result` belongs to the loop; these two are the pool's while it is
// busy. The last thing that is done with an intake is to have `end` called.
#include "base/memory.h"
#include "http/server_priv.h"

#include <stdlib.h>
#include <string.h>

enum { RETRY_NS = 5000000 }; // when the pool's queue was full

struct intake {
    struct exchange *e;
    struct http_sink *sink;
    struct pool *pool;
    struct op pump_op;
    struct out continue_out;
    struct task work, back;
    struct timer retry;
    size_t room_max;       // of a buffer
    size_t counted;        // of the budget of requests
    char *filling, *taken; // NULL: not needed yet
    size_t room, taken_room;
    size_t n, taken_n;
    uint64_t left_max; // bytes that body_max still allows
    bool expects;      // 100 (Continue)
    bool busy;         // the pool works
    // Written on the loop; who replies looks at them.
    _Atomic bool pumping; // the sink is there
    _Atomic bool complete;
    _Atomic bool over; // `end` is called, or is about to be
    Err failed;
    Err result;          // of the sink
    struct arena *arena; // of the trailers
    HttpHeader *trailers;
    size_t trailer_count, trailer_bytes;
};

bool intake_open(struct exchange *e, uint64_t length, bool expects, bool *ret_refused)
{
    const struct http_handler *h = &e->on->server->handler;
    *ret_refused = false;
    if (h->wants_stream == NULL || !h->wants_stream(h->self, &e->x))
        return false;
    uint64_t most = e->x.http_version == 20 ? H2_STREAM_WINDOW_BYTES : HTTP_PIECE_BYTES_MAX;
    size_t bytes = (size_t)MIN(length, most);
    *ret_refused = !memory_take(2 * bytes, 2 * bytes);
    if (*ret_refused)
        return false;
    struct intake *in = xalloc(sizeof *in);
    in->e = e;
    in->room_max = bytes;
    in->counted = 2 * bytes;
    in->expects = expects;
    in->left_max = e->body_max;
    in->arena = arena_open();
    e->in = in;
    e->x.streams = true;
    return true;
}

static void buffer_free(char *p, size_t room)
{
    if (room >= MEMORY_LARGE_BYTES)
        memory_give_large(p, room);
    else
        free(p);
}

void intake_free(struct exchange *e)
{
    struct intake *in = e->in;
    if (in == NULL)
        return;
    CHECK(!in->busy || in->over);
    buffer_free(in->filling, in->room);
    buffer_free(in->taken, in->taken_room);
    memory_give(in->counted);
    arena_close(in->arena);
    free(in);
    e->in = NULL;
}

bool intake_is_pumped(const struct exchange *e)
{
    return e->in->pumping;
}

bool intake_is_complete(const struct exchange *e)
{
    return e->in->complete;
}

bool intake_is_over(const struct exchange *e)
{
    return e->in->over;
}

bool intake_waits(const struct exchange *e)
{
    const struct intake *in = e->in;
    return in->pumping && !in->busy && in->n == 0 && !in->complete && !in->over;
}

// ---- The pool's side

void pumped_forget(struct http_server *s)
{
    pthread_mutex_lock(&s->lock); // http_server_drain counts under it
    atomic_fetch_sub(&s->pumped_count, 1);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static struct intake *of_work(struct task *t)
{
    return (struct intake *)((char *)t - offsetof(struct intake, work));
}

static void work_take(struct task *t)
{
    struct intake *in = of_work(t);
    Err e = OK;
    for (size_t at = 0; at < in->taken_n && e.kind == ERR_NONE; at += HTTP_PIECE_BYTES_MAX) {
        size_t n = MIN(in->taken_n - at, (size_t)HTTP_PIECE_BYTES_MAX);
        e = in->sink->take(in->sink, str_from(in->taken + at, n));
    }
    in->result = e;
    loop_post(in->e->x.loop, &in->back);
}

static void work_end(struct task *t)
{
    struct intake *in = of_work(t);
    struct http_server *s = in->e->on->server;
    in->sink->end(in->sink, in->failed); // the exchange may be gone now, and the intake with it
    pumped_forget(s);
}

// ---- The loop's side

static void submit(struct intake *in)
{
    if (pool_submit(in->pool, &in->work).kind != ERR_NONE)
        loop_arm(in->e->x.loop, &in->retry, loop_now_ns(in->e->x.loop) + RETRY_NS);
}

static void submit_again(struct timer *t)
{
    submit((struct intake *)((char *)t - offsetof(struct intake, retry)));
}

static void swap_buffers(struct intake *in)
{
    char *p = in->taken;
    size_t room = in->taken_room;
    in->taken = in->filling;
    in->taken_room = in->room;
    in->taken_n = in->n;
    in->filling = p;
    in->room = room;
    in->n = 0;
}

// Gives the sink what there is, or its end.
static void step(struct intake *in)
{
    struct exchange *e = in->e;
    if (!in->pumping || in->busy || in->over)
        return;
    bool has_bytes = in->n > 0 && in->failed.kind == ERR_NONE;
    if (!has_bytes && !in->complete && in->failed.kind == ERR_NONE)
        return;
    in->busy = true;
    if (has_bytes) {
        swap_buffers(in);
        in->work.run = work_take;
    } else {
        in->over = true;
        in->work.run = work_end;
        e->x.trailers = in->trailers;
        e->x.trailer_count = in->trailer_count;
    }
    submit(in);
    if (has_bytes && e->c != NULL) { // there is room again
        if (e->c->state == CONN_H2)
            h2_taken(e->c, e, in->taken_n);
        conn_mark(e->c);
    }
}

static void come_back(struct task *t)
{
    struct intake *in = (struct intake *)((char *)t - offsetof(struct intake, back));
    struct http_loop *hl = in->e->on;
    hl->in_turn = true;
    in->busy = false;
    in->e->moved_ns = loop_now_ns(hl->loop); // until now nobody waited for the client
    if (in->result.kind != ERR_NONE && in->failed.kind == ERR_NONE)
        in->failed = in->result;
    if (in->e->c != NULL)
        conn_mark(in->e->c); // its deadline counts from now
    step(in);
    turn_finish(hl);
}

void http_body_pump(struct http_exchange *x, struct pool *pool, struct http_sink *sink)
{
    struct exchange *e = (struct exchange *)x;
    struct intake *in = e->in;
    CHECK(in != NULL && in->sink == NULL && !e->replied);
    in->sink = sink;
    in->pool = pool;
    in->back.run = come_back;
    in->retry.fire = submit_again;
    atomic_fetch_add(&e->on->server->pumped_count, 1);
    op_push(&in->pump_op, e, OP_PUMP);
}

void intake_apply(struct exchange *e)
{
    struct intake *in = e->in;
    in->pumping = true;
    e->started_ns = e->moved_ns = loop_now_ns(e->x.loop);
    if (e->c != NULL && in->expects && !in->complete) {
        if (e->c->state == CONN_H2)
            h2_continue(e->c, e);
        else
            h1_continue(e->c, &in->continue_out);
    }
    step(in);
}

// Room for at least one byte in the buffer that is being filled; false: there is no memory.
static bool reserve(struct intake *in, size_t need)
{
    if (need <= in->room)
        return true;
    char *p = need >= MEMORY_LARGE_BYTES ? memory_try_large(need) : memory_try(need);
    if (p == NULL)
        return false;
    if (in->n > 0)
        memcpy(p, in->filling, in->n);
    buffer_free(in->filling, in->room);
    in->filling = p;
    in->room = need;
    return true;
}

bool intake_has_room(const struct exchange *e)
{
    const struct intake *in = e->in;
    return in->pumping && !in->complete && in->failed.kind == ERR_NONE && in->n < in->room_max;
}

bool intake_room(struct exchange *e, char **ret, size_t *ret_n)
{
    struct intake *in = e->in;
    if (!intake_has_room(e))
        return false;
    if (!reserve(in, in->room_max)) {
        intake_fail(e, fail(ERR_MEMORY, "http: a buffer of a body"));
        return false;
    }
    *ret = in->filling + in->n;
    *ret_n = in->room_max - in->n;
    return true;
}

// Counts what has arrived; false: it is more than the handler allows.
static bool count(struct exchange *e, size_t n)
{
    struct intake *in = e->in;
    e->moved_ns = loop_now_ns(e->x.loop);
    e->dropped_bytes += n; // what the client's rate is judged by
    if (n > in->left_max) {
        intake_fail(e, fail(ERR_LIMIT, "http: the body is larger than allowed"));
        return false;
    }
    in->left_max -= n;
    return true;
}

void intake_filled(struct exchange *e, size_t n)
{
    if (!count(e, n))
        return;
    e->in->n += n;
    step(e->in);
}

bool intake_add(struct exchange *e, Str bytes)
{
    struct intake *in = e->in;
    if (in->failed.kind != ERR_NONE || in->over || !count(e, bytes.n))
        return false;
    size_t need = in->n + bytes.n;
    if (!reserve(in, need <= in->room
                         ? need
                         : MAX(need, MIN(2 * in->room, (size_t)H2_STREAM_WINDOW_BYTES)))) {
        intake_fail(e, fail(ERR_MEMORY, "http: a buffer of a body"));
        return false;
    }
    memcpy(in->filling + in->n, bytes.p, bytes.n);
    in->n += bytes.n;
    step(in);
    return true;
}

void intake_trailer(struct exchange *e, Str name, Str value)
{
    struct intake *in = e->in;
    size_t max = e->on->server->limits.header_count_max;
    in->trailer_bytes += name.n + value.n;
    if (in->complete || in->over || in->trailer_count == max)
        return; // as many as headers; the rest is dropped
    if (in->trailer_bytes > H1_TRAILER_BYTES_MAX)
        return;
    if (in->trailers == NULL)
        in->trailers = arena_new(in->arena, HttpHeader, max);
    in->trailers[in->trailer_count++] =
        (HttpHeader){ .name = str_lower(in->arena, name), .value = str_dup(in->arena, value) };
}

void intake_end(struct exchange *e)
{
    e->in->complete = true;
    step(e->in);
}

void intake_fail(struct exchange *e, Err why)
{
    struct intake *in = e->in;
    if (in->over || in->failed.kind != ERR_NONE)
        return;
    in->failed = why;
    step(in);
}
