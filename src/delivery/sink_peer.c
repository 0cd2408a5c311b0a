// SPDX-License-Identifier: Apache-2.0
#include "delivery/sink_peer.h"
#include "http/h1_parse.h"
#include "os/io.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { HEADERS_MAX = 64, HEAD_BYTES_MAX = 128 << 10, PATIENCE_S = 120, TLS_HELLO = 0x16 };

// ---- One request on a connection: false when it is over.

static bool more(int fd, struct buf *in)
{
    enum { READ_BYTES = 65536 };
    if (!buf_reserve(in, READ_BYTES))
        return false;
    ssize_t n = recv(fd, in->p + in->n, READ_BYTES, 0);
    if (n <= 0)
        return false;
    in->n += (size_t)n;
    return true;
}

static Str line_of(Str *s)
{
    size_t at = str_search(*s, S("\r\n"));
    Str line = str_head(*s, at);
    *s = str_skip(*s, MIN(at + 2, s->n));
    return line;
}

static bool read_request(int fd, struct arena *a, struct buf *in, PeerRequest *q)
{
    size_t head_n;
    while ((head_n = str_search(buf_str(in), S("\r\n\r\n"))) == in->n || in->n == 0)
        if (in->n > HEAD_BYTES_MAX || !more(fd, in) || in->p[0] == TLS_HELLO)
            return false;
    Str head = str_dup(a, str_head(buf_str(in), head_n)), rest, line = line_of(&head);
    HttpHeader *headers = arena_new(a, HttpHeader, HEADERS_MAX);
    uint64_t length = 0;
    (void)str_cut(line, ' ', &q->method, &rest);
    (void)str_cut(rest, ' ', &q->target, &rest);
    for (q->header_count = 0; head.n > 0 && q->header_count < HEADERS_MAX; q->header_count++) {
        Str name, value;
        (void)str_cut(line_of(&head), ':', &name, &value);
        headers[q->header_count] = (HttpHeader){ str_lower(a, name), str_trim(value) };
    }
    q->headers = headers;
    err_ignore(str_u64(peer_header(q, S("content-length")), &length)); // none: no body
    while (in->n < head_n + 4 + length)
        if (!more(fd, in))
            return false;
    q->body = str_dup(a, str_head(str_skip(buf_str(in), head_n + 4), (size_t)length));
    buf_drop(in, head_n + 4 + (size_t)length);
    return true;
}

static bool serve_one(struct peer *p, int fd)
{
    AUTO(arena) a = arena_open();
    AUTO_BUF(in);
    PeerRequest q = { .number = p->requests };
    if (!read_request(fd, a, &in, &q)) {
        if (in.n > 0 && in.p[0] == TLS_HELLO) // as servers do that speak no TLS
            (void)!send(fd, "HTTP/1.1 400 X\r\n\r\n", 18, MSG_NOSIGNAL);
        return false;
    }
    Str reply = p->answer(p->of, a, &q);
    p->requests++;
    for (size_t sent = 0; sent < reply.n;) {
        ssize_t n = send(fd, reply.p + sent, reply.n - sent, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        sent += (size_t)n;
    }
    return reply.p == NULL || (str_search(reply, S("\r\n\r\n")) < reply.n &&
                               str_search(reply, S("Connection: close")) == reply.n);
}

static void *run(void *argument)
{
    struct peer *p = argument;
    struct pollfd at[PEER_CONNECTIONS + 2] = { { .fd = p->wake[0], .events = POLLIN },
                                               { .fd = p->listener, .events = POLLIN } };
    nfds_t n = 2;
    const struct timeval patience = { .tv_sec = PATIENCE_S };
    while (poll(at, n, -1) > 0 && at[0].revents == 0) {
        for (nfds_t i = n; i-- > 2;) {
            if (at[i].revents == 0 || serve_one(p, at[i].fd))
                continue;
            close(at[i].fd);
            at[i] = at[--n];
        }
        if (at[1].revents != 0 && n < PEER_CONNECTIONS + 2) {
            int fd = accept(p->listener, NULL, NULL);
            if (fd < 0)
                continue;
            (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            at[n++] = (struct pollfd){ .fd = fd, .events = POLLIN };
        }
    }
    for (nfds_t i = 2; i < n; i++)
        close(at[i].fd);
    return NULL;
}

void peer_start(struct peer *p, peer_answer answer, void *of)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof at;
    *p = (struct peer){ .answer = answer, .of = of };
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT(bind(p->listener, (struct sockaddr *)&at, n) == 0 && listen(p->listener, 8) == 0);
    EXPECT(getsockname(p->listener, (struct sockaddr *)&at, &n) == 0 && pipe(p->wake) == 0);
    p->port = ntohs(at.sin_port);
    EXPECT(pthread_create(&p->thread, NULL, run, p) == 0);
}

void peer_stop(struct peer *p)
{
    EXPECT(write(p->wake[1], "x", 1) == 1);
    EXPECT(pthread_join(p->thread, NULL) == 0);
    close(p->listener);
    close(p->wake[0]);
    close(p->wake[1]);
    if (p->fault[0] != 0)
        test_fail(__FILE__, __LINE__, "the peer refused a request: %s", p->fault);
}

Str peer_header(const PeerRequest *q, Str lower_name)
{
    for (size_t i = 0; i < q->header_count; i++)
        if (str_eq(q->headers[i].name, lower_name))
            return q->headers[i].value;
    return (Str){ 0 };
}

Str peer_reply(struct arena *a, unsigned status, Str type, Str body)
{
    return str_fmt(a, "HTTP/1.1 %u X\r\nContent-Type: %.*s\r\nContent-Length: %zu\r\n\r\n%.*s",
                   status, FMT(type), body.n, FMT(body));
}

Str peer_refuse(struct peer *p, struct arena *a, const char *what)
{
    if (p->fault[0] == 0)
        (void)snprintf(p->fault, sizeof p->fault, "%s", what);
    return peer_reply(a, 400, S("text/plain"), str_of(what));
}

// ---- What a sink is given

static bool never(const struct delivery_env *env)
{
    (void)env;
    return false;
}

static bool sleep_not(const struct delivery_env *env, int64_t ns)
{
    (void)env;
    (void)ns;
    return true;
}

struct delivery_env peer_env(void)
{
    return (struct delivery_env){
        .io = io_real(), .plain_http = true, .stopping = never, .sleep = sleep_not
    };
}

void peer_attempt(struct arena *a, const Str *data, size_t n, SinkAttempt *ret)
{
    static const uint64_t shards[] = { 7 };
    static const Str ids[] = { S_INIT("shardId-000000000000") };
    DeliveryBatch *b = arena_new(a, DeliveryBatch, 1);
    *b = (DeliveryBatch){ .arena = a, .shards = shards, .shard_ids = ids, .shard_count = 1 };
    for (size_t i = 0; i < n; i++) {
        DeliveryRecord r = { .data = data[i],
                             .raw = data[i],
                             .arrival_ms = 1456358400123, // 2016-02-25T00:00:00.123Z
                             .position = 100 + i };
        batch_add(b, &r);
    }
    *ret = (SinkAttempt){ .arena = a,
                          .batch = b,
                          .pending = arena_new(a, bool, n + 1),
                          .pending_count = n,
                          .request_id = S("ed4acda5-034f-9f42-bba1-f29aea6d7d8f"),
                          .attempt = 1,
                          .began_ms = 1456358460000 };
    memset(ret->pending, true, n);
}
