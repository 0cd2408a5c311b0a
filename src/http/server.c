// SPDX-License-Identifier: Apache-2.0
// The server: its loops, listening, sharing connections out, draining.
#include "base/logline.h"
#include "base/memory.h"
#include "http/server_priv.h"
#include "os/io.h"
#include "os/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 4096, ACCEPTS_PER_TURN_MAX = 64 };
#define ACCEPT_RETRY_NS (100 * INT64_C(1000000))

HttpLimits http_limits_default(void)
{
    const int64_t s = 1000000000;
    return (HttpLimits){
        .header_bytes_max = 64 << 10,
        .header_count_max = 100,
        .body_bytes_max = 16 << 20,
        .connections_max = 10000,
        .undecided_max = 1000,
        .streams_max = 256,
        .open_streams_max = 16384,
        .hash_whole_bytes_max = 16 << 20,
        .body_pool_bytes_max = 256 << 20,
        .reply_pool_bytes_max = 512 << 20,
        .first_bytes_ns = 30 * s,
        .header_ns = 20 * s,
        .body_ns = 30 * s,
        .body_bytes_per_s_min = 1024,
        .body_rate_after_ns = 10 * s,
        .idle_ns = 120 * s,
        .write_ns = 60 * s,
        .drain_ns = 10 * s,
    };
}

// ---- Opening and closing.

static struct metric *count(Str name, Str help, Str labels)
{
    return metric_get(METRIC_COUNTER, name, help, labels);
}

static struct http_metrics metrics_find(void)
{
    Str conns = S("headrace_http_connections");
    Str conns_help = S("Open connections by protocol.");
    Str requests = S("headrace_http_requests_total"), requests_help = S("Requests received whole.");
    Str refused = S("headrace_http_refused_total");
    Str refused_help = S("Connections and requests refused by a limit or for breaking HTTP.");
    Str hashed = S("headrace_http_hashed_bytes_total");
    Str hashed_help = S("Bytes of large bodies hashed, alone or two bodies at once.");
    return (struct http_metrics){
        .conns = { metric_get(METRIC_GAUGE, conns, conns_help, S("protocol=\"undecided\"")),
                   metric_get(METRIC_GAUGE, conns, conns_help, S("protocol=\"h1\"")),
                   metric_get(METRIC_GAUGE, conns, conns_help, S("protocol=\"h2\"")) },
        .opened = count(S("headrace_http_accepted_total"), S("Connections accepted."), S("")),
        .requests_h1 = count(requests, requests_help, S("protocol=\"h1\"")),
        .requests_h2 = count(requests, requests_help, S("protocol=\"h2\"")),
        .in_bytes = count(S("headrace_http_received_bytes_total"),
                          S("Bytes read from clients, TLS removed."), S("")),
        .out_bytes = count(S("headrace_http_sent_bytes_total"),
                           S("Bytes written to clients, before TLS."), S("")),
        .paused = metric_get(
            METRIC_GAUGE, S("headrace_http_paused"),
            S("Connections that are not read because bodies hold too much memory."), S("")),
        .slow = count(S("headrace_http_slow_total"),
                      S("Connections and streams ended because the client was too slow."), S("")),
        .refused_connections = count(refused, refused_help, S("reason=\"connections_max\"")),
        .refused_undecided = count(refused, refused_help, S("reason=\"undecided_max\"")),
        .refused_streams = count(refused, refused_help, S("reason=\"open_streams_max\"")),
        .refused_memory = count(refused, refused_help, S("reason=\"memory\"")),
        .refused_protocol = count(refused, refused_help, S("reason=\"protocol\"")),
        .hashed_alone = count(hashed, hashed_help, S("beside=\"none\"")),
        .hashed_paired = count(hashed, hashed_help, S("beside=\"another\"")),
    };
}

Err http_server_open(const HttpConfig *config, struct http_server **ret)
{
    const HttpLimits *l = &config->limits;
    if (config->loop_count == 0 || config->handler.request == NULL)
        return fail(ERR_INVALID, "an HTTP server needs a loop and a handler");
    if (l->header_count_max == 0 || l->header_count_max > H1_HEADERS_MAX ||
        l->header_bytes_max < 64 || l->header_bytes_max > (1 << 20))
        return fail(ERR_INVALID, "the limits of HTTP headers are out of range");
    int spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (spare_fd < 0)
        return fail_os(errno, "/dev/null cannot be opened");
    signal(SIGPIPE, SIG_IGN); // sendfile cannot be told not to raise it
    struct http_server *s = xalloc(sizeof *s);
    s->limits = *l;
    s->handler = config->handler;
    s->io = config->io != NULL ? config->io : io_real();
    s->tls = config->tls != NULL ? tls_context_ssl(config->tls) : NULL;
    s->spare_fd = spare_fd;
    s->in_buffer_bytes = MAX((size_t)IN_BUFFER_BYTES, l->header_bytes_max + 4096);
    s->metrics = metrics_find();
    s->loops = xalloc(mul_checked(config->loop_count, sizeof(struct http_loop)));
    s->loop_count = config->loop_count;
    for (size_t i = 0; i < s->loop_count; i++)
        http_loop_init(&s->loops[i], s, config->loops[i]);
    CHECK(pthread_mutex_init(&s->board_lock, NULL) == 0);
    CHECK(pthread_mutex_init(&s->lock, NULL) == 0);
    CHECK(pthread_cond_init(&s->changed, NULL) == 0);
    h2_server_open(s);
    *ret = s;
    return OK;
}

static void listener_stop(struct listener *l)
{
    if (l->fd < 0)
        return;
    if (l->watched)
        loop_unwatch(l->server->loops[0].loop, &l->watch);
    loop_disarm(l->server->loops[0].loop, &l->retry);
    close(l->fd);
    l->fd = -1;
}

void http_server_close(struct http_server *s)
{
    if (s == NULL)
        return;
    s->closing = true;
    while (s->listeners != NULL) {
        struct listener *l = s->listeners;
        s->listeners = l->next;
        listener_stop(l);
        free(l);
    }
    for (size_t i = 0; i < s->loop_count; i++) {
        struct http_loop *hl = &s->loops[i];
        hl->in_turn = true;
        while (hl->conns != NULL)
            conn_close(hl->conns);
        turn_finish(hl);
        loop_disarm(hl->loop, &hl->drain_timer);
    }
    for (size_t i = 0; i < s->loop_count; i++)
        http_loop_done(&s->loops[i]);
    h2_server_close(s);
    close(s->spare_fd);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->board_lock);
    pthread_mutex_destroy(&s->lock);
    free(s->loops);
    free(s);
}

// ---- Accepting.

static struct http_loop *least_busy(struct http_server *s)
{
    size_t start = s->next_loop++ % s->loop_count; // so that equals take turns
    struct http_loop *best = &s->loops[start];
    for (size_t i = 1; i < s->loop_count; i++) {
        struct http_loop *hl = &s->loops[(start + i) % s->loop_count];
        if (atomic_load(&hl->conn_count) < atomic_load(&best->conn_count))
            best = hl;
    }
    return best;
}

static size_t peer_text(const struct sockaddr_storage *from, char *ret)
{
    char address[INET6_ADDRSTRLEN] = "?";
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
    bool is_v6 = from->ss_family == AF_INET6;
    const void *bytes = is_v6 ? (const void *)&v6->sin6_addr : &v4->sin_addr;
    inet_ntop(from->ss_family, bytes, address, sizeof address);
    int n = snprintf(ret, PEER_TEXT_BYTES, is_v6 ? "[%s]:%u" : "%s:%u", address,
                     ntohs(is_v6 ? v6->sin6_port : v4->sin_port));
    return MIN((size_t)n, (size_t)PEER_TEXT_BYTES - 1);
}

static void give_to_loop(struct http_server *s, int fd, const struct sockaddr_storage *from)
{
    int one = 1;
    // Replies are written whole: waiting for more bytes would only delay them.
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) {
        close(fd); // it is gone already
        return;
    }
    struct conn *c = memory_try_zeroed(sizeof *c);
    if (c == NULL) {
        metric_add(s->metrics.refused_memory, 1);
        close(fd);
        return;
    }
    c->server = s;
    c->on = least_busy(s);
    c->fd = fd;
    c->arrive.run = conn_arrive;
    c->peer_n = peer_text(from, c->peer);
    metric_add(s->metrics.opened, 1);
    atomic_fetch_add(&s->conn_count, 1);
    atomic_fetch_add(&s->undecided_count, 1);
    atomic_fetch_add(&c->on->conn_count, 1);
    loop_post(c->on->loop, &c->arrive);
}

// No descriptor is free. The spare one is given up for a moment, so that the client is told at once
// instead of waiting in a queue that nobody serves.
static void refuse_for_descriptors(struct listener *l)
{
    struct http_server *s = l->server;
    metric_add(s->metrics.refused_connections, 1);
    if (s->spare_fd >= 0)
        close(s->spare_fd);
    int fd = -1;
    Err e = s->io->accept(s->io, l->fd, NULL, &fd);
    if (e.kind == ERR_NONE)
        close(fd);
    s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (e.kind != ERR_LIMIT)
        return;
    LOG(LOG_WARN, "no descriptor is free: accepting pauses");
    loop_rewatch(s->loops[0].loop, &l->watch, 0);
    loop_arm(s->loops[0].loop, &l->retry, loop_now_ns(s->loops[0].loop) + ACCEPT_RETRY_NS);
}

static void listener_retry(struct timer *t)
{
    struct listener *l = (struct listener *)((char *)t - offsetof(struct listener, retry));
    loop_rewatch(l->server->loops[0].loop, &l->watch, LOOP_READ);
}

static void listener_ready(struct watch *w, unsigned events)
{
    (void)events;
    struct listener *l = (struct listener *)((char *)w - offsetof(struct listener, watch));
    struct http_server *s = l->server;
    for (int i = 0; i < ACCEPTS_PER_TURN_MAX; i++) {
        struct sockaddr_storage from = { 0 };
        int fd = -1;
        Err e = s->io->accept(s->io, l->fd, &from, &fd);
        if (e.kind == ERR_LIMIT)
            refuse_for_descriptors(l);
        if (e.kind != ERR_NONE)
            return; // nobody is waiting, or a client that has gone
        if (atomic_load(&s->conn_count) < s->limits.connections_max) {
            give_to_loop(s, fd, &from);
            continue;
        }
        metric_add(s->metrics.refused_connections, 1);
        close(fd);
    }
}

static void listener_start(struct task *t)
{
    struct listener *l = (struct listener *)((char *)t - offsetof(struct listener, start));
    if (l->fd < 0)
        return; // closed before its loop ran
    Err e = loop_watch(l->server->loops[0].loop, &l->watch, l->fd, LOOP_READ);
    l->watched = e.kind == ERR_NONE;
    if (!l->watched)
        LOG(LOG_ERROR, "a listening socket cannot be watched", F_ERR(e));
}

// "127.0.0.1:4566", "[::1]:0", ":4566".
static Err parse_address(Str s, struct sockaddr_storage *ret, socklen_t *ret_n)
{
    size_t colon = s.n;
    while (colon > 0 && s.p[colon - 1] != ':')
        colon--;
    uint64_t port = 0;
    if (colon == 0 || str_u64(str_skip(s, colon), &port).kind != ERR_NONE || port > 65535)
        return fail(ERR_INVALID, "an address is written 127.0.0.1:4566, [::1]:4566 or :4566");
    Str host = str_head(s, colon - 1);
    bool v6 = host.n == 0 || host.p[0] == '[';
    if (host.n > 1 && v6 && str_ends(host, S("]")))
        host = str_skip(str_head(host, host.n - 1), 1);
    char text[INET6_ADDRSTRLEN] = { 0 };
    if (host.n >= sizeof text)
        return fail(ERR_INVALID, "not an IP address");
    if (host.n > 0)
        memcpy(text, host.p, host.n);
    *ret = (struct sockaddr_storage){ .ss_family = v6 ? AF_INET6 : AF_INET };
    struct sockaddr_in *a4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)ret;
    if (v6)
        a6->sin6_port = htons((uint16_t)port);
    else
        a4->sin_port = htons((uint16_t)port);
    *ret_n = v6 ? sizeof *a6 : sizeof *a4;
    if (host.n == 0)
        return OK; // in6addr_any, which also takes IPv4
    void *bytes = v6 ? (void *)&a6->sin6_addr : &a4->sin_addr;
    return inet_pton(ret->ss_family, text, bytes) == 1 ? OK
                                                       : fail(ERR_INVALID, "not an IP address");
}

static Err listen_on(int fd, const struct sockaddr_storage *to, socklen_t n, uint16_t *ret_port)
{
    int one = 1, zero = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        (to->ss_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero) != 0))
        return fail_os(errno, "a listening socket cannot be set up");
    if (bind(fd, (const struct sockaddr *)to, n) != 0 || listen(fd, LISTEN_BACKLOG) != 0)
        return errno == EADDRINUSE ? fail(ERR_BUSY, "the address is in use by another program")
                                   : fail_os(errno, "the address cannot be listened on");
    struct sockaddr_storage bound = { 0 };
    socklen_t bound_n = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &bound_n) != 0)
        return fail_os(errno, "the bound port cannot be read");
    *ret_port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                  : ((struct sockaddr_in *)&bound)->sin_port);
    return OK;
}

Err http_server_listen(struct http_server *s, Str address, uint16_t *ret_port)
{
    struct sockaddr_storage to;
    socklen_t n = 0;
    TRY(parse_address(address, &to, &n));
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 && errno == EAFNOSUPPORT && address.p[0] == ':') {
        ((struct sockaddr_in *)&to)->sin_addr.s_addr = 0; // this machine has no IPv6
        to.ss_family = AF_INET;
        n = sizeof(struct sockaddr_in);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    }
    if (fd < 0)
        return fail_os(errno, "no socket to listen on");
    Err e = listen_on(fd, &to, n, ret_port);
    if (e.kind != ERR_NONE) {
        close(fd);
        return e;
    }
    struct listener *l = xalloc(sizeof *l);
    *l = (struct listener){ .server = s,
                            .fd = fd,
                            .watch.ready = listener_ready,
                            .retry.fire = listener_retry,
                            .start.run = listener_start };
    pthread_mutex_lock(&s->lock);
    l->next = s->listeners;
    s->listeners = l;
    pthread_mutex_unlock(&s->lock);
    loop_post(s->loops[0].loop, &l->start);
    return OK;
}

// ---- Draining.

static void drain_over(struct timer *t)
{
    struct http_loop *hl =
        (struct http_loop *)((char *)t - offsetof(struct http_loop, drain_timer));
    hl->in_turn = true;
    while (hl->conns != NULL)
        conn_close(hl->conns);
    turn_finish(hl);
}

static void drain_loop(struct task *t)
{
    struct http_loop *hl = (struct http_loop *)((char *)t - offsetof(struct http_loop, drain_task));
    struct http_server *s = hl->server;
    hl->draining = hl->in_turn = true;
    if (hl == &s->loops[0])
        for (struct listener *l = s->listeners; l != NULL; l = l->next)
            listener_stop(l);
    for (struct conn *c = hl->conns, *next; c != NULL; c = next) {
        next = c->next;
        for (struct exchange *e = c->exchanges; e != NULL; e = e->next)
            exchange_tell(e);
        conn_drain(c);
    }
    hl->drain_timer.fire = drain_over;
    loop_arm(hl->loop, &hl->drain_timer, loop_now_ns(hl->loop) + s->limits.drain_ns);
    turn_finish(hl);
    pthread_mutex_lock(&s->lock);
    s->drains_left--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void http_server_drain(struct http_server *s)
{
    pthread_mutex_lock(&s->lock);
    bool first = !atomic_exchange(&s->draining, true);
    if (first)
        s->drains_left = s->loop_count;
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; first && i < s->loop_count; i++) {
        s->loops[i].drain_task.run = drain_loop;
        loop_post(s->loops[i].loop, &s->loops[i].drain_task);
    }
    pthread_mutex_lock(&s->lock);
    while (s->drains_left > 0 || atomic_load(&s->conn_count) > 0 ||
           atomic_load(&s->watched_count) > 0 || atomic_load(&s->pumped_count) > 0 ||
           atomic_load(&s->pending_hashes) > 0)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}
