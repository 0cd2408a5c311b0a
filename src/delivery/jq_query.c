// SPDX-License-Identifier: Apache-2.0
#include "delivery/jq_query.h"
#include "base/buf.h"
#include "base/time.h"
#include "codec/little.h"
#include "delivery/jq_worker.h"
#include "os/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    POLL_MS = 100,              // how often it is asked whether to stop
    SILENCE_MS_MAX = 60 * 1000, // a process that says nothing, on a machine as busy as it may be
    STARTS_IN_VAIN_MAX = 3,     // in a row: it ended without an answer and without a reason
    READ_BYTES = 64 << 10,
    LIMITED_MAX = 5,         // records of a batch that take too much; then the others are not tried
    AT_ONCE_BYTES = 4 << 20, // of records in one exchange: what is said again after a bad one
};

struct jq_query {
    struct child *child; // NULL: none runs
    int fd;
    struct buf query; // owned
    struct buf in;    // answers, not all of which are complete
};

static void stop(struct jq_query *q)
{
    child_close(q->child);
    q->child = NULL;
    if (q->fd >= 0)
        close(q->fd);
    q->fd = -1;
    buf_clear(&q->in);
}

static Err start(struct jq_query *q)
{
    const char *argv[] = { "/proc/self/exe", jq_worker_argument(), NULL };
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        return fail_os(errno, "a socket for a query's process");
    ChildConfig config = { .argv = argv, .stdin_fd = fds[1], .stdout_fd = fds[1], .stderr_fd = -1 };
    Err e = child_start(&config, &q->child);
    close(fds[1]);
    if (e.kind == ERR_NONE && fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0)
        e = fail_os(errno, "a socket for a query's process");
    q->fd = fds[0];
    if (e.kind != ERR_NONE)
        stop(q);
    return e;
}

// ---- Messages

static void add_message(struct buf *b, Str bytes)
{
    unsigned char head[JQ_HEAD_BYTES];
    put32(head, (uint32_t)bytes.n);
    buf_add(b, str_from(head, sizeof head));
    buf_add(b, bytes);
}

// The next answer if it is complete; *at moves behind it. ERR_CORRUPT: it is none.
static Err next_answer(const struct jq_query *q, size_t *at, JqFault *ret, Str *ret_text,
                       bool *ret_there)
{
    const unsigned char *p = (const unsigned char *)q->in.p + *at;
    size_t left = q->in.n - *at;
    *ret_there = false;
    if (left < JQ_ANSWER_HEAD_BYTES)
        return OK;
    size_t n = get32(p + 1);
    if (p[0] > JQ_ERROR || n > JQ_MESSAGE_BYTES_MAX)
        return fail(ERR_CORRUPT, "a query's process answers nonsense");
    if (left - JQ_ANSWER_HEAD_BYTES < n)
        return OK;
    *ret = (JqFault)p[0];
    *ret_text = str_from(p + JQ_ANSWER_HEAD_BYTES, n);
    *ret_there = true;
    *at += JQ_ANSWER_HEAD_BYTES + n;
    return OK;
}

// One exchange: what is to be said, what has been answered.
typedef struct Exchange {
    struct jq_query *q;
    struct buf out;
    size_t sent;
    struct arena *a;
    JqItem *items;
    size_t n, answered;
    bool (*stopping)(const void *self);
    const void *self;
} Exchange;

static Err take_answers(Exchange *x)
{
    size_t at = 0;
    for (;;) {
        bool there;
        JqFault fault = JQ_GOOD;
        Str text = { 0 };
        TRY(next_answer(x->q, &at, &fault, &text, &there));
        if (!there)
            break;
        if (x->answered == x->n)
            return fail(ERR_CORRUPT, "a query's process answers what it was not asked");
        x->items[x->answered].fault = fault;
        TRY(str_dup_try(x->a, text, &x->items[x->answered].text));
        x->answered++;
    }
    buf_drop(&x->q->in, at);
    return OK;
}

static Err send_some(Exchange *x)
{
    Str rest = str_skip(buf_str(&x->out), x->sent);
    ssize_t n = send(x->q->fd, rest.p, rest.n, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return fail(ERR_CLOSED, "a query's process has ended");
    x->sent += n > 0 ? (size_t)n : 0;
    return OK;
}

static Err receive_some(Exchange *x)
{
    struct buf *in = &x->q->in;
    if (!buf_reserve(in, READ_BYTES))
        return fail(ERR_MEMORY, "no memory for a query's answers");
    ssize_t n = recv(x->q->fd, in->p + in->n, READ_BYTES, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return OK;
    if (n <= 0)
        return fail(ERR_CLOSED, "a query's process has ended");
    in->n += (size_t)n;
    return take_answers(x);
}

// Until all is answered. ERR_CLOSED, ERR_TIMEOUT: the process has ended, or says nothing.
// ERR_BUSY: we are to stop.
static Err exchange(Exchange *x)
{
    size_t silent_ms = 0;
    while (x->answered < x->n) {
        bool all_sent = x->sent == x->out.n;
        struct pollfd p = { .fd = x->q->fd, .events = (short)(POLLIN | (all_sent ? 0 : POLLOUT)) };
        int ready = poll(&p, 1, POLL_MS);
        if (ready == 0) {
            silent_ms += POLL_MS;
            if (silent_ms > SILENCE_MS_MAX)
                return fail(ERR_TIMEOUT, "a query's process says nothing");
            if (x->stopping != NULL && x->stopping(x->self))
                return fail(ERR_BUSY, "the server stops");
            continue;
        }
        silent_ms = 0;
        if (!all_sent && (p.revents & POLLOUT) != 0) {
            Err e = send_some(x);
            if (e.kind == ERR_CLOSED && (p.revents & POLLIN) == 0)
                return e;
        }
        if ((p.revents & (POLLIN | POLLHUP | POLLERR)) != 0)
            TRY(receive_some(x));
    }
    return OK;
}

// ---- Queries

// Tells a new process its query.
static Err compile(struct jq_query *q, struct arena *a, JqItem *ret)
{
    TRY(start(q));
    Exchange x = { .q = q, .a = a, .items = ret, .n = 1 };
    *ret = (JqItem){ 0 };
    add_message(&x.out, buf_str(&q->query));
    Err e = buf_err(&x.out);
    if (e.kind == ERR_NONE)
        e = exchange(&x);
    buf_done(&x.out);
    if (e.kind != ERR_NONE || ret->fault != JQ_GOOD)
        stop(q);
    return e;
}

struct jq_query *jq_query_new(Str query)
{
    struct jq_query *q = xalloc(sizeof *q);
    q->fd = -1;
    buf_add(&q->query, query); // what does not fit is said when it is compiled
    return q;
}

Err jq_query_compile(struct jq_query *q, struct arena *a, Str *ret_text)
{
    JqItem compiled;
    TRY(buf_err(&q->query));
    Err e = compile(q, a, &compiled);
    if (e.kind == ERR_CLOSED || e.kind == ERR_TIMEOUT) {
        *ret_text = S("the query takes too long to compile");
        return fail(ERR_INVALID, "a query cannot be compiled");
    }
    TRY(e);
    if (compiled.fault != JQ_GOOD) {
        *ret_text = compiled.text;
        return fail(ERR_INVALID, "a query cannot be compiled");
    }
    return OK;
}

void jq_query_close(struct jq_query *q)
{
    if (q == NULL)
        return;
    stop(q);
    buf_done(&q->query);
    buf_done(&q->in);
    free(q);
}

int jq_query_pid(const struct jq_query *q)
{
    return q->child != NULL ? child_pid(q->child) : 0;
}

// Whether the process has ended itself because of the record it was at; it is gone either way.
static bool was_bounded(struct jq_query *q)
{
    ChildEnd end = { 0 };
    if (q->child == NULL || child_wait(q->child, NS_PER_S, &end).kind != ERR_NONE)
        return true; // it hangs
    return end.signalled || end.code != JQ_EXIT_IDLE;
}

// As many of the items as one process answers. ERR_TIMEOUT: the next one has ended it.
static Err run_some(struct jq_query *q, Exchange *x)
{
    JqItem compiled;
    if (q->child == NULL) {
        TRY(compile(q, x->a, &compiled));
        if (compiled.fault != JQ_GOOD)
            return fail(ERR_CORRUPT, "a query that was compiled cannot be compiled again");
    }
    size_t said = 0;
    while (said < x->n && (said == 0 || x->out.n < AT_ONCE_BYTES))
        add_message(&x->out, x->items[said++].record);
    x->n = said;
    TRY(buf_err(&x->out));
    Err e = exchange(x);
    if (e.kind != ERR_CLOSED && e.kind != ERR_TIMEOUT)
        return e;
    bool bounded = e.kind == ERR_TIMEOUT || was_bounded(q);
    return fail(bounded ? ERR_TIMEOUT : ERR_CLOSED, "a query's process has ended");
}

static void limit(JqItem *item)
{
    item->fault = JQ_LIMIT;
    item->text = S("The query took too long or too much memory.");
}

Err jq_query_run(struct jq_query *q, struct arena *a, JqItem *items, size_t n,
                 bool (*stopping)(const void *self), const void *self)
{
    size_t done = 0, in_vain = 0, limited = 0;
    while (done < n) {
        if (limited == LIMITED_MAX) {
            limit(&items[done++]);
            continue;
        }
        Exchange x = {
            .q = q, .a = a, .items = items + done, .n = n - done, .stopping = stopping, .self = self
        };
        Err e = run_some(q, &x);
        buf_done(&x.out);
        done += x.answered;
        if (e.kind == ERR_NONE)
            continue;
        stop(q);
        if (e.kind == ERR_TIMEOUT) {
            limit(&items[done++]);
            limited++;
        } else if (e.kind == ERR_CLOSED) { // idle for too long, at that moment
            in_vain = x.answered > 0 ? 0 : in_vain + 1;
            if (in_vain == STARTS_IN_VAIN_MAX)
                return fail(ERR_IO, "a query's process does not stay");
        } else {
            return e.kind == ERR_BUSY ? fail(ERR_CLOSED, "the server stops") : e;
        }
    }
    return OK;
}
