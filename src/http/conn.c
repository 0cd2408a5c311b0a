// SPDX-License-Identifier: Apache-2.0
// A connection: finding out what it speaks, moving its bytes, its deadline and its end.
#include "base/logline.h"
#include "base/memory.h"
#include "http/server_priv.h"
#include "os/io.h"
#include "os/tls.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TLS_RECORD_BYTES = 16384,
    ROUNDS_PER_TURN_MAX = 8,
    FILE_BYTES_AT_ONCE = 1 << 20,
    WRITE_BYTES_PER_TURN_MAX = 2 << 20, // of a client that takes it as fast as it is sent
};

static int64_t now(const struct conn *c)
{
    return loop_now_ns(c->on->loop);
}

static bool is_decided(const struct conn *c)
{
    return c->state == CONN_H1 || c->state == CONN_H2 || c->state == CONN_LINGER;
}

static struct metric *gauge_of(struct conn *c)
{
    const struct http_metrics *m = &c->server->metrics;
    return m->conns[c->state == CONN_H1 ? 1 : c->state == CONN_H2 ? 2 : 0];
}

// ---- Pausing.

// Whether the body of a large request is being read. Small ones are not held up by them.
static bool is_receiving(const struct conn *c)
{
    if (c->state == CONN_H1)
        return h1_receives_large(c);
    for (const struct exchange *e = c->exchanges; e != NULL; e = e->next)
        if (!e->handed && e->body.cap > MEMORY_SMALL_BYTES)
            return true;
    return false;
}

static void give_up_exemption(struct conn *c)
{
    c->exempt = false;
    atomic_store(&c->server->exempt_taken, false);
    tell_of_room(c->server);
}

static void conn_resume(struct conn *c)
{
    c->paused = false;
    c->on->paused--;
    atomic_fetch_sub(&c->server->paused_count, 1);
    metric_add(c->server->metrics.paused, -1);
    for (struct exchange *e = c->exchanges; e != NULL; e = e->next)
        e->started_ns = e->moved_ns = now(c); // the pause was not the client's
}

// Stops reading while bodies hold too much memory. If all that hold it were stopped nobody would
// ever release any: so one connection reads on until its request is complete.
static void conn_pause(struct conn *c)
{
    struct http_server *s = c->server;
    if (!c->exempt && !c->paused && !bodies_full(s))
        return;
    bool receives = is_receiving(c);
    if (c->exempt && !receives)
        give_up_exemption(c);
    if (c->paused && !receives) // its request was refused: it is read to its end
        conn_resume(c);
    if (c->paused || c->exempt || !receives || !bodies_full(s))
        return;
    if (!atomic_exchange(&s->exempt_taken, true)) {
        c->exempt = true;
        return;
    }
    c->paused = true;
    c->on->paused++;
    atomic_fetch_add(&s->paused_count, 1);
    metric_add(s->metrics.paused, 1);
    bool missed = !bodies_full(s) || !atomic_load(&s->exempt_taken); // while we were not counted
    if (missed)
        tell_of_room(s);
}

void loop_resume(struct task *t)
{
    struct http_loop *hl =
        (struct http_loop *)((char *)t - offsetof(struct http_loop, resume_task));
    struct http_server *s = hl->server;
    atomic_store(&hl->resume_posted, false);
    for (struct conn *c = hl->conns; c != NULL && hl->paused > 0; c = c->next) {
        bool one = bodies_full(s);
        if (one && atomic_load(&s->exempt_taken))
            break;
        if (!c->paused)
            continue;
        conn_resume(c);
        c->read_again = true;
        conn_mark(c);
        if (one)
            break; // it takes the exemption when its turn comes
    }
    turn_finish(hl);
}

// ---- Undecided connections, the oldest first.

static void undecided_add(struct conn *c)
{
    struct http_loop *hl = c->on;
    c->undecided_previous = hl->undecided_last;
    if (hl->undecided_last != NULL)
        hl->undecided_last->undecided_next = c;
    else
        hl->undecided_first = c;
    hl->undecided_last = c;
}

static void undecided_remove(struct conn *c)
{
    struct http_loop *hl = c->on;
    if (c->undecided_previous != NULL)
        c->undecided_previous->undecided_next = c->undecided_next;
    else
        hl->undecided_first = c->undecided_next;
    if (c->undecided_next != NULL)
        c->undecided_next->undecided_previous = c->undecided_previous;
    else
        hl->undecided_last = c->undecided_previous;
    atomic_fetch_sub(&c->server->undecided_count, 1);
}

// There are too many of them: the one that has had the longest time to speak goes, so that clients
// who connect and say nothing keep nobody out. Each loop looks after its own; new connections are
// shared out evenly, so its oldest is about the oldest of all.
static void undecided_evict(struct http_loop *hl)
{
    struct http_server *s = hl->server;
    struct conn *oldest = hl->undecided_first;
    if (oldest == NULL || atomic_load(&s->undecided_count) <= s->limits.undecided_max)
        return;
    metric_add(s->metrics.refused_undecided, 1);
    conn_close(oldest);
}

// ---- Its end.

static void drop_exchanges(struct conn *c)
{
    if (c->state == CONN_H2)
        h2_closed(c);
    for (struct exchange *e = c->exchanges, *next; e != NULL; e = next) {
        next = e->next;
        if (e->handed && !e->ended)
            exchange_detach(e);
        else
            exchange_free(e);
    }
}

void conn_close(struct conn *c)
{
    if (c->closed)
        return;
    struct http_loop *hl = c->on;
    c->closed = true;
    loop_disarm(hl->loop, &c->timer);
    loop_unwatch(hl->loop, &c->watch);
    if (c->state != CONN_LINGER)
        metric_add(gauge_of(c), -1);
    if (!is_decided(c))
        undecided_remove(c);
    for (struct out *o = c->out_first, *next; o != NULL; o = next) {
        next = o->next;
        if (o->done != NULL)
            o->done(o);
    }
    c->out_first = NULL;
    drop_exchanges(c);
    if (c->paused)
        conn_resume(c);
    if (c->exempt)
        give_up_exemption(c);
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        hl->conns = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    c->next = hl->closed; // it may still be on the list of dirty ones: freed when the turn ends
    hl->closed = c;
}

// Also for a connection that never reached its loop.
void conn_free(struct conn *c)
{
    struct http_server *s = c->server;
    if (c->in != NULL)
        in_buffer_give(c->on, c->in);
    SSL_free(c->ssl);
    close(c->fd);
    atomic_fetch_sub(&c->on->conn_count, 1);
    free(c);
    pthread_mutex_lock(&s->lock); // http_server_drain counts under it
    atomic_fetch_sub(&s->conn_count, 1);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

// Everything is written. A reset would destroy what the client has not read yet, and closing with
// unread input is a reset: so our side is closed first and the rest is read and thrown away.
static void conn_linger(struct conn *c)
{
    if (c->ssl != NULL) {
        ERR_clear_error();
        SSL_shutdown(c->ssl); // says goodbye; an answer is not waited for
    }
    if (c->peer_ended || shutdown(c->fd, SHUT_WR) != 0) {
        conn_close(c);
        return;
    }
    metric_add(gauge_of(c), -1);
    if (!is_decided(c))
        undecided_remove(c);
    drop_exchanges(c);
    c->read_again = false; // from here on the socket is read itself, not the TLS layer
    c->state = CONN_LINGER;
    c->idle_ns = now(c);
}

void conn_drain(struct conn *c)
{
    if (c->state == CONN_H2)
        h2_drain(c);
    else if (c->state == CONN_H1 && (c->h1.e != NULL || c->out_first != NULL))
        c->ending = c->h1.e == NULL; // else the reply that is awaited ends it
    else if (c->state != CONN_LINGER)
        conn_close(c);
    if (!c->closed)
        conn_mark(c);
}

// ---- Reading.

typedef enum Got { GOT_BYTES, GOT_NOTHING, GOT_END, GOT_ERROR } Got;

static Got got_of(Err e)
{
    if (e.kind == ERR_NONE)
        return GOT_BYTES;
    return e.kind == ERR_BUSY ? GOT_NOTHING : GOT_ERROR;
}

static Got receive_tls(struct conn *c, char *p, size_t room, size_t *ret_n)
{
    size_t total = 0;
    while (total < room) {
        size_t n = 0;
        ERR_clear_error();
        int r = SSL_read_ex(c->ssl, p + total, room - total, &n);
        if (r == 1) {
            total += n;
            continue;
        }
        int error = SSL_get_error(c->ssl, r);
        *ret_n = total;
        if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
            return total > 0 ? GOT_BYTES : GOT_NOTHING;
        if (total > 0) {
            c->read_again = true; // the bytes first; the next read tells of the end
            return GOT_BYTES;
        }
        return error == SSL_ERROR_ZERO_RETURN ? GOT_END : GOT_ERROR;
    }
    c->read_again = true; // more may be inside the TLS layer, where epoll does not see it
    *ret_n = total;
    return GOT_BYTES;
}

static Got receive(struct conn *c, char *p, size_t room, size_t *ret_n)
{
    if (c->ssl != NULL && c->state != CONN_LINGER)
        return receive_tls(c, p, room, ret_n);
    struct io *io = c->server->io;
    Err e = io->receive(io, c->fd, p, room, false, ret_n);
    if (e.kind != ERR_NONE)
        return got_of(e);
    return *ret_n > 0 ? GOT_BYTES : GOT_END;
}

static void read_and_drop(struct conn *c)
{
    char *scrap = in_buffer_take(c->on);
    size_t n = 0;
    if (scrap == NULL) {
        conn_close(c);
        return;
    }
    Got got = receive(c, scrap, c->server->in_buffer_bytes, &n);
    in_buffer_give(c->on, scrap);
    c->lingered_bytes += got == GOT_BYTES ? n : 0;
    if (got == GOT_END || got == GOT_ERROR || c->lingered_bytes > LINGER_BYTES_MAX)
        conn_close(c);
}

static bool in_room(struct conn *c, char **ret, size_t *ret_n)
{
    if (c->in == NULL) {
        c->in = in_buffer_take(c->on);
        c->in_at = c->in_n = 0;
    }
    if (c->in == NULL) { // there is not even memory to read what it wants
        metric_add(c->server->metrics.refused_memory, 1);
        conn_close(c);
        return false;
    }
    if (c->in_at > 0 && c->in_n == c->server->in_buffer_bytes) {
        memmove(c->in, c->in + c->in_at, c->in_n - c->in_at);
        c->in_n -= c->in_at;
        c->in_at = 0;
    }
    *ret = c->in + c->in_n;
    *ret_n = c->server->in_buffer_bytes - c->in_n;
    return *ret_n > 0;
}

static bool wants_read(const struct conn *c)
{
    if (c->peer_ended || c->paused)
        return false;
    if (c->state == CONN_LINGER)
        return true;
    if (h1_is_held_up(c))
        return false;
    if (c->ending || (c->state == CONN_H2 && c->out_bytes >= OUT_HIGH_BYTES))
        return false;
    return c->in == NULL || c->in_n - c->in_at < c->server->in_buffer_bytes;
}

// Whether something came.
static bool conn_read(struct conn *c)
{
    if (c->state == CONN_LINGER) {
        read_and_drop(c);
        return false;
    }
    if (!wants_read(c))
        return false;
    c->read_again = false;
    char *p = NULL;
    size_t room = 0, n = 0;
    bool body = c->state == CONN_H1 && h1_body_room(c, &p, &room);
    if (!body && !in_room(c, &p, &room))
        return false;
    switch (receive(c, p, room, &n)) {
    case GOT_BYTES:
        metric_add(c->server->metrics.in_bytes, (int64_t)n);
        if (body)
            h1_body_arrived(c, n);
        else
            c->in_n += n;
        break;
    case GOT_NOTHING:
        break;
    case GOT_END:
        c->peer_ended = true;
        for (struct exchange *e = c->exchanges; e != NULL; e = e->next)
            atomic_store(&e->half_closed, true);
        break;
    case GOT_ERROR:
        conn_close(c);
        break;
    }
    return n > 0;
}

// ---- Writing.

void conn_out(struct conn *c, struct out *o, Str bytes, void (*done)(struct out *))
{
    if (c->out_first == NULL)
        c->wrote_ns = now(c);
    o->next = NULL;
    o->rest = bytes;
    o->of_file = false;
    o->done = done;
    *c->out_last = o;
    c->out_last = &o->next;
    c->out_bytes += bytes.n;
}

void conn_out_file(struct conn *c, struct out *o, IoSpan span, void (*done)(struct out *))
{
    conn_out(c, o, (Str){ .n = span.n }, done);
    o->of_file = true;
    o->file = span.file;
    o->file_at = span.at;
}

static void out_written(struct conn *c, size_t n)
{
    if (n > 0)
        c->wrote_ns = now(c);
    c->out_bytes -= n;
    metric_add(c->server->metrics.out_bytes, (int64_t)n);
    while (c->out_first != NULL) {
        struct out *o = c->out_first;
        size_t part = MIN(n, o->rest.n);
        if (o->of_file) {
            o->file_at += part;
            o->rest.n -= part;
        } else {
            o->rest = str_skip(o->rest, part);
        }
        n -= part;
        if (o->rest.n > 0)
            return;
        c->out_first = o->next;
        if (c->out_first == NULL)
            c->out_last = &c->out_first;
        if (o->done != NULL)
            o->done(o);
    }
}

// One write of what there is. A TLS record is filled from several parts, so that a reply's head and
// body are one record and one call.
static Got send_tls(struct conn *c, size_t *ret_n)
{
    char record[TLS_RECORD_BYTES];
    Str bytes = c->out_first->rest;
    if (bytes.n < sizeof record && c->out_first->next != NULL) {
        size_t n = 0;
        for (struct out *o = c->out_first; o != NULL && n < sizeof record; o = o->next) {
            size_t part = MIN(o->rest.n, sizeof record - n);
            if (part > 0)
                memcpy(record + n, o->rest.p, part);
            n += part;
        }
        bytes = str_from(record, n);
    }
    if (bytes.n == 0) {
        *ret_n = 0;
        return GOT_BYTES;
    }
    ERR_clear_error();
    int r = SSL_write_ex(c->ssl, bytes.p, bytes.n, ret_n);
    if (r == 1)
        return GOT_BYTES;
    int error = SSL_get_error(c->ssl, r);
    c->wants_read_to_write = error == SSL_ERROR_WANT_READ;
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? GOT_NOTHING : GOT_ERROR;
}

static Got send_plain(struct conn *c, size_t *ret_n)
{
    struct io *io = c->server->io;
    IoPart parts[IO_SEND_PARTS_MAX];
    size_t n = 0;
    struct out *o = c->out_first;
    for (; o != NULL && !o->of_file && n < IO_SEND_PARTS_MAX; o = o->next)
        if (o->rest.n > 0) {
            parts[n] = (IoPart){ .p = (void *)(uintptr_t)o->rest.p, .n = o->rest.n };
            n++;
        }
    *ret_n = 0;
    if (o != NULL && o->of_file && o->rest.n > 0) {
        IoSpan span = { o->file, o->file_at, MIN(o->rest.n, (size_t)FILE_BYTES_AT_ONCE) };
        return got_of(io->send_file(io, c->fd, parts, n, span, ret_n));
    }
    return n > 0 ? got_of(io->send(io, c->fd, parts, n, ret_n)) : GOT_BYTES;
}

// Writes until the kernel takes no more, or others have to have their turn. False: the connection
// is closed.
static bool conn_write(struct conn *c)
{
    for (size_t all = 0, n = 0; c->out_first != NULL && all < WRITE_BYTES_PER_TURN_MAX; all += n) {
        n = 0;
        Got got = c->ssl != NULL ? send_tls(c, &n) : send_plain(c, &n);
        if (got == GOT_ERROR) {
            conn_close(c);
            return false;
        }
        if (got == GOT_NOTHING)
            break;
        out_written(c, n);
    }
    return true;
}

// ---- What it speaks.

static void conn_decide(struct conn *c, ConnState state)
{
    metric_add(gauge_of(c), -1);
    c->state = state;
    metric_add(gauge_of(c), 1);
    undecided_remove(c);
    c->idle_ns = now(c);
    if (state == CONN_H2)
        h2_start(c);
}

static void start_tls(struct conn *c)
{
    if (c->server->tls == NULL) {
        metric_add(c->server->metrics.refused_protocol, 1);
        LOG(LOG_INFO, "TLS client refused: no certificate is configured",
            F_STR("peer", str_from(c->peer, c->peer_n)));
        conn_close(c);
        return;
    }
    c->ssl = SSL_new(c->server->tls);
    if (c->ssl == NULL || tls_attach(c->ssl, c->server->io, c->fd).kind != ERR_NONE) {
        conn_close(c);
        return;
    }
    SSL_set_accept_state(c->ssl);
    c->state = CONN_SHAKES;
}

static void shake(struct conn *c)
{
    ERR_clear_error();
    int r = SSL_do_handshake(c->ssl);
    if (r == 1) {
        c->state = CONN_SECOND;
        c->idle_ns = now(c);
        c->read_again = true; // what came with the handshake's last flight is inside the TLS layer
        return;
    }
    int error = SSL_get_error(c->ssl, r);
    c->wants_read_to_write = error == SSL_ERROR_WANT_READ;
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
        metric_add(c->server->metrics.refused_protocol, 1);
        conn_close(c);
    }
}

// POST, PUT and PATCH share their first letter with the preface of HTTP/2, so up to three bytes are
// needed.
static void sniff(struct conn *c)
{
    Str in = str_from(c->in + c->in_at, c->in_n - c->in_at);
    if (in.n == 0)
        return;
    if (c->state == CONN_FIRST && in.p[0] == 0) {
        metric_add(c->server->metrics.refused_protocol, 1);
        LOG(LOG_WARN, "PostgreSQL client refused: this port does not serve that protocol",
            F_STR("peer", str_from(c->peer, c->peer_n)));
        conn_close(c);
        return;
    }
    Str preface = S("PRI");
    if (!str_eq(str_head(in, 3), str_head(preface, MIN(in.n, (size_t)3))))
        conn_decide(c, CONN_H1);
    else if (in.n >= 3)
        conn_decide(c, CONN_H2);
}

// The first byte is looked at without taking it: OpenSSL wants to read it itself. False: it has not
// come, so nothing may be read yet.
static bool first_byte(struct conn *c)
{
    char first = 0;
    size_t n = 0;
    struct io *io = c->server->io;
    if (c->in != NULL)
        return true;
    Err e = io->receive(io, c->fd, &first, 1, true, &n);
    if (n == 1 && first == 0x16)
        start_tls(c);
    return e.kind != ERR_BUSY;
}

// ---- Deadlines: one timer per connection. It is armed late: a deadline that moves away lets it
// fire once for nothing.

bool exchange_is_slow(const struct exchange *e)
{
    const HttpLimits *l = &e->c->server->limits;
    int64_t at = now(e->c), took_ns = at - e->started_ns;
    if (at >= e->moved_ns + l->body_ns)
        return true;
    if (took_ns < l->body_rate_after_ns || took_ns <= 0 || e->c->paused)
        return false;
    double rate = (double)(e->body.n + e->dropped_bytes) / ((double)took_ns / 1e9);
    return rate < (double)l->body_bytes_per_s_min;
}

// Whether there is something that the client has to read before a deadline.
static bool is_unread(const struct conn *c)
{
    return c->out_first != NULL && !h1_streams(c);
}

static int64_t deadline(struct conn *c)
{
    const HttpLimits *l = &c->server->limits;
    int64_t at = 0;
    switch (c->state) {
    case CONN_H1:
        at = h1_deadline(c);
        break;
    case CONN_H2:
        at = h2_look_at(c);
        break;
    case CONN_LINGER:
        return c->idle_ns + LINGER_NS;
    case CONN_SECOND: // shaken hands, said nothing: it lies in a client's pool
        at = c->idle_ns + l->idle_ns;
        break;
    default:
        return c->opened_ns + l->first_bytes_ns;
    }
    if (is_unread(c) && (at == 0 || c->wrote_ns + l->write_ns < at))
        at = c->wrote_ns + l->write_ns;
    return at;
}

static void rearm(struct conn *c)
{
    int64_t at = deadline(c);
    if (at != 0 && (c->timer.heap_at == 0 || at < c->timer.due_ns))
        loop_arm(c->on->loop, &c->timer, at);
}

// ---- The turn.

void conn_mark(struct conn *c)
{
    if (c->dirty || c->closed)
        return;
    c->dirty = true;
    c->next_dirty = NULL;
    *c->on->dirty_last = c;
    c->on->dirty_last = &c->next_dirty;
}

static void conn_update(struct conn *c)
{
    if (c->in != NULL && c->in_at == c->in_n) {
        in_buffer_give(c->on, c->in);
        c->in = NULL;
        c->in_at = c->in_n = 0;
    }
    c->requests_in_turn = 0;
    conn_pause(c);
    bool reads = wants_read(c);
    if (c->state == CONN_H2)
        h2_reads(c, reads);
    // To be called again without an event, a connection waits for what is true already.
    bool writes =
        c->again || (reads && c->read_again) || (c->out_first != NULL && !c->wants_read_to_write);
    unsigned events = (reads || c->wants_read_to_write ? (unsigned)LOOP_READ : 0) |
                      (writes ? (unsigned)LOOP_WRITE : 0);
    if (c->state == CONN_SHAKES)
        events = c->wants_read_to_write ? LOOP_READ : LOOP_WRITE;
    loop_rewatch(c->on->loop, &c->watch, events);
    rearm(c);
}

// What is written makes room for further frames; others have their turn after some rounds of that.
// False: the connection is closed.
static bool write_h2(struct conn *c)
{
    if (c->peer_ended) {
        conn_close(c); // it cannot even open windows any more
        return false;
    }
    for (int round = 0; round < ROUNDS_PER_TURN_MAX; round++) {
        h2_send(c);
        if (c->closed)
            return false;
        if (c->out_first == NULL)
            return true;
        if (!conn_write(c))
            return false;
        if (c->out_first != NULL)
            return true; // the kernel takes no more
    }
    c->again = true;
    return true;
}

// All that can be done with what has arrived and what was replied.
static void conn_work(struct conn *c)
{
    if (c->state == CONN_SHAKES)
        shake(c);
    if (!c->closed && (c->state == CONN_FIRST || c->state == CONN_SECOND))
        sniff(c);
    if (!c->closed && c->peer_ended && h1_streams(c))
        conn_close(
            c); // nothing would be told of it by writing, as long as there is nothing to write
    if (c->closed)
        return;
    c->again = false;
    if ((c->state == CONN_H1 && h1_work(c)) || (c->state == CONN_H2 && h2_receive(c))) {
        conn_mark(c); // its reply may be in the queue: then it is written together with the next
        return;
    }
    if (c->closed)
        return;
    if (c->state == CONN_H2 ? !write_h2(c) : !conn_write(c))
        return;
    bool waits = c->state == CONN_H1 && (c->h1.state == H1_WAITS || h1_is_held_up(c));
    if (c->peer_ended && !waits && !c->again && c->state != CONN_LINGER)
        c->ending = true;
    if (c->ending && c->out_first == NULL && c->state != CONN_LINGER)
        conn_linger(c);
    if (!c->closed)
        conn_update(c);
}

void turn_finish(struct http_loop *hl)
{
    hl->in_turn = true;
    hl->reads = 0;
    do {
        while (hl->dirty_first != NULL) {
            struct conn *c = hl->dirty_first;
            hl->dirty_first = c->next_dirty;
            if (hl->dirty_first == NULL)
                hl->dirty_last = &hl->dirty_first;
            c->dirty = false;
            if (!c->closed)
                conn_work(c);
            if (c->dirty && hl->dirty_first == c)
                break; // its reply may be in the queue
        }
    } while (ops_apply(hl) || hl->dirty_first != NULL);
    hl->in_turn = false;
    while (hl->closed != NULL) {
        struct conn *c = hl->closed;
        hl->closed = c->next;
        conn_free(c);
    }
}

void turn_run(struct task *t)
{
    struct http_loop *hl = (struct http_loop *)((char *)t - offsetof(struct http_loop, turn_task));
    hl->turn_posted = false;
    turn_finish(hl);
}

// Connections that are ready together are read first, all or some at a time, and worked on after
// that: so bodies that end together are hashed together.
static void turn_finish_soon(struct http_loop *hl)
{
    if (++hl->reads >= READS_PER_TURN_MAX) {
        turn_finish(hl);
    } else if (!hl->turn_posted) {
        hl->turn_posted = true;
        loop_post(hl->loop, &hl->turn_task);
    }
}

// Whether something came.
static bool conn_take(struct conn *c, bool reads)
{
    bool may_read = c->closed || c->state != CONN_FIRST || first_byte(c);
    return may_read && !c->closed && c->state != CONN_SHAKES && reads && conn_read(c);
}

static void conn_ready(struct watch *w, unsigned events)
{
    struct conn *c = (struct conn *)((char *)w - offsetof(struct conn, watch));
    struct http_loop *hl = c->on;
    unsigned asked = w->events;
    bool read_again = c->read_again;
    hl->in_turn = true;
    c->wants_read_to_write = false;
    if ((events & asked) == 0)
        conn_close(c); // an error or a hang-up, and nothing we wait for would tell
    (void)conn_take(c, (events & LOOP_READ) != 0 || read_again);
    conn_mark(c);
    turn_finish_soon(hl);
}

// What has come is read and worked on before anybody is called late: it may be this thread, or the
// whole process, that was held up.
static void catch_up(struct conn *c)
{
    bool more = true;
    for (int round = 0; round < ROUNDS_PER_TURN_MAX && more && !c->closed; round++) {
        more = conn_take(c, true);
        if (!c->closed)
            conn_work(c);
    }
}

static void conn_late(struct timer *t)
{
    struct conn *c = (struct conn *)((char *)t - offsetof(struct conn, timer));
    struct http_loop *hl = c->on;
    hl->in_turn = true;
    catch_up(c);
    if (c->closed) {
        turn_finish(hl);
        return;
    }
    int64_t at = deadline(c);
    bool unread = is_unread(c) && now(c) >= c->wrote_ns + c->server->limits.write_ns;
    bool due = at != 0 && at <= now(c);
    if (unread || (due && !is_decided(c) && c->state != CONN_SECOND)) {
        metric_add(c->server->metrics.slow, 1);
        conn_close(c);
    } else if (due && c->state == CONN_SECOND) {
        c->ending = true;
        conn_mark(c);
    } else if (due && c->state == CONN_LINGER) {
        conn_close(c);
    } else if (c->state == CONN_H2) {
        h2_look(c);
        conn_mark(c);
    } else if (due) {
        h1_late(c);
        conn_mark(c);
    } else {
        rearm(c);
    }
    turn_finish(hl);
}

void conn_arrive(struct task *t)
{
    struct conn *c = (struct conn *)((char *)t - offsetof(struct conn, arrive));
    struct http_loop *hl = c->on;
    c->watch.ready = conn_ready;
    c->timer.fire = conn_late;
    c->out_last = &c->out_first;
    c->opened_ns = c->idle_ns = now(c);
    Err e = hl->draining ? fail(ERR_CLOSED, "the server is shutting down")
                         : loop_watch(hl->loop, &c->watch, c->fd, LOOP_READ);
    if (e.kind != ERR_NONE) {
        atomic_fetch_sub(&c->server->undecided_count, 1);
        conn_free(c);
        return;
    }
    metric_add(gauge_of(c), 1);
    c->next = hl->conns;
    if (c->next != NULL)
        c->next->previous = c;
    hl->conns = c;
    hl->in_turn = true;
    undecided_evict(hl);
    undecided_add(c);
    rearm(c);
    turn_finish(hl);
}
