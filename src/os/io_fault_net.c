// SPDX-License-Identifier: Apache-2.0
#include "os/io_fault_net_priv.h"
#include "os/io_sim_priv.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

// One per descriptor. A descriptor that is given out again is accepted or connected again, and
// begins anew then.
struct net_conn {
    bool resets;
    uint64_t left; // bytes until the reset
    uint64_t moved;
};

struct fault_net {
    struct io *below;
    pthread_mutex_t lock; // everything that follows; a leaf
    IoNetFault how;
    uint64_t random;
    uint64_t hits;
    struct net_conn *conns; // by descriptor
    size_t conn_count;
    size_t last; // the connection that was made last
};

struct fault_net *fault_net_open(struct io *below, uint64_t seed)
{
    struct fault_net *f = xalloc(sizeof *f);
    f->below = below;
    f->random = seed;
    CHECK(pthread_mutex_init(&f->lock, NULL) == 0);
    return f;
}

void fault_net_close(struct fault_net *f)
{
    if (f == NULL)
        return;
    pthread_mutex_destroy(&f->lock);
    free(f->conns);
    free(f);
}

void fault_net_set(struct fault_net *f, IoNetFault how)
{
    CHECK(how.busy_percent < 100); // else nothing would ever go on
    pthread_mutex_lock(&f->lock);
    f->how = how;
    pthread_mutex_unlock(&f->lock);
}

uint64_t fault_net_bytes(struct fault_net *f)
{
    pthread_mutex_lock(&f->lock);
    uint64_t moved = f->last < f->conn_count ? f->conns[f->last].moved : 0;
    pthread_mutex_unlock(&f->lock);
    return moved;
}

uint64_t fault_net_hits(struct fault_net *f)
{
    pthread_mutex_lock(&f->lock);
    uint64_t hits = f->hits;
    pthread_mutex_unlock(&f->lock);
    return hits;
}

static struct net_conn *conn_of(struct fault_net *f, int fd)
{
    size_t at = (size_t)fd;
    CHECK(fd >= 0);
    if (at >= f->conn_count) {
        f->conns = xrealloc(f->conns, mul_checked(at + 1, sizeof *f->conns));
        for (size_t i = f->conn_count; i <= at; i++)
            f->conns[i] = (struct net_conn){ 0 };
        f->conn_count = at + 1;
    }
    return &f->conns[at];
}

static void conn_begin(struct fault_net *f, int fd)
{
    pthread_mutex_lock(&f->lock);
    *conn_of(f, fd) = (struct net_conn){ .resets = f->how.resets, .left = f->how.reset_after };
    f->last = (size_t)fd;
    pthread_mutex_unlock(&f->lock);
}

// How many of `n` bytes may be moved now.
static Err judge(struct fault_net *f, int fd, size_t n, size_t *ret_n)
{
    Err e = OK;
    pthread_mutex_lock(&f->lock);
    struct net_conn *c = conn_of(f, fd);
    size_t allowed = n;
    if (n > 0 && f->how.piece_bytes_max > 0) {
        size_t piece = (size_t)sim_below(&f->random, f->how.piece_bytes_max) + 1;
        allowed = MIN(n, piece);
    }
    f->hits += allowed < n;
    if (c->resets)
        allowed = (size_t)MIN((uint64_t)allowed, c->left);
    if (c->resets && c->left == 0)
        e = (Err){ .kind = ERR_CLOSED, .os = ECONNRESET, .text = "injected" };
    else if (f->how.busy_percent > 0 && sim_below(&f->random, 100) < f->how.busy_percent)
        e = (Err){ .kind = ERR_BUSY, .os = EAGAIN, .text = "injected" };
    f->hits += e.kind != ERR_NONE;
    pthread_mutex_unlock(&f->lock);
    *ret_n = allowed;
    return e;
}

static void count(struct fault_net *f, int fd, size_t n)
{
    pthread_mutex_lock(&f->lock);
    struct net_conn *c = conn_of(f, fd);
    c->moved += n;
    c->left -= MIN(c->left, (uint64_t)n);
    pthread_mutex_unlock(&f->lock);
}

Err fault_net_receive(struct fault_net *f, int fd, void *p, size_t n, bool peek, size_t *ret_n)
{
    size_t allowed = 0;
    TRY(judge(f, fd, n, &allowed));
    TRY(f->below->receive(f->below, fd, p, allowed, peek, ret_n));
    if (!peek)
        count(f, fd, *ret_n);
    return OK;
}

Err fault_net_send(struct fault_net *f, int fd, const IoPart *parts, size_t count_of, size_t *ret_n)
{
    return fault_net_send_file(f, fd, parts, count_of, (IoSpan){ 0 }, ret_n);
}

Err fault_net_send_file(struct fault_net *f, int fd, const IoPart *parts, size_t count_of,
                        IoSpan span, size_t *ret_n)
{
    size_t n = span.n, allowed = 0, kept = 0, left;
    IoPart cut[IO_SEND_PARTS_MAX];
    CHECK(count_of <= IO_SEND_PARTS_MAX);
    for (size_t i = 0; i < count_of; i++)
        n += parts[i].n;
    TRY(judge(f, fd, n, &allowed));
    for (left = allowed; left > 0 && kept < count_of; kept++) {
        cut[kept] = (IoPart){ .p = parts[kept].p, .n = MIN(parts[kept].n, left) };
        left -= cut[kept].n;
    }
    span.n = left;
    if (left > 0)
        TRY(f->below->send_file(f->below, fd, cut, kept, span, ret_n));
    else
        TRY(f->below->send(f->below, fd, cut, kept, ret_n));
    count(f, fd, *ret_n);
    return OK;
}

Err fault_net_accept(struct fault_net *f, int fd, struct sockaddr_storage *ret_from, int *ret_fd)
{
    pthread_mutex_lock(&f->lock);
    bool fails = f->how.accept_limits > 0;
    f->how.accept_limits -= fails;
    f->hits += fails;
    pthread_mutex_unlock(&f->lock);
    if (fails)
        return (Err){ .kind = ERR_LIMIT, .os = EMFILE, .text = "injected" };
    TRY(f->below->accept(f->below, fd, ret_from, ret_fd));
    conn_begin(f, *ret_fd);
    return OK;
}

Err fault_net_connect(struct fault_net *f, int fd, const struct sockaddr *to, size_t to_bytes)
{
    conn_begin(f, fd);
    return f->below->connect(f->below, fd, to, to_bytes);
}
