// SPDX-License-Identifier: Apache-2.0
#include "http/test_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void *run_loop(void *l)
{
    loop_run(l);
    return NULL;
}

void rig_init(struct rig *r, struct http_handler handler)
{
    *r = (struct rig){ .config.limits = http_limits_default(), .config.handler = handler };
    r->config.limits.drain_ns = 2000000000;
    r->config.loops = r->loops;
    r->config.loop_count = RIG_LOOPS;
}

void rig_start(struct rig *r)
{
    for (int i = 0; i < RIG_LOOPS; i++) {
        EXPECT_OK(loop_open(&r->loops[i]));
        EXPECT(pthread_create(&r->threads[i], NULL, run_loop, r->loops[i]) == 0);
    }
    EXPECT_OK(http_server_open(&r->config, &r->server));
    EXPECT_OK(http_server_listen(r->server, S("127.0.0.1:0"), &r->port));
}

void rig_stop(struct rig *r)
{
    http_server_drain(r->server);
    for (int i = 0; i < RIG_LOOPS; i++) {
        loop_stop(r->loops[i]);
        EXPECT(pthread_join(r->threads[i], NULL) == 0);
    }
    http_server_close(r->server);
    for (int i = 0; i < RIG_LOOPS; i++)
        loop_close(r->loops[i]);
}

int dial(const struct rig *r)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(r->port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    EXPECT(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

void say(int fd, Str bytes)
{
    while (bytes.n > 0) {
        ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n < 0)
            test_fail(__FILE__, __LINE__, "send: %s", strerror(errno));
        bytes = str_skip(bytes, (size_t)n);
    }
}

Str hear(struct arena *a, int fd, size_t n)
{
    char *p = arena_alloc(a, n + 1, 1);
    size_t at = 0;
    while (at < n) {
        ssize_t got = recv(fd, p + at, n - at, 0);
        if (got <= 0)
            test_fail(__FILE__, __LINE__, "the server closed after %zu of %zu bytes: %.*s", at, n,
                      (int)at, p);
        at += (size_t)got;
    }
    return str_from(p, n);
}

Str hear_head(struct arena *a, int fd)
{
    enum { HEAD_BYTES_MAX = 8192 };
    char *p = arena_alloc(a, HEAD_BYTES_MAX, 1);
    size_t n = 0;
    while (!str_ends(str_from(p, n), S("\r\n\r\n"))) {
        EXPECT(n < HEAD_BYTES_MAX);
        ssize_t got = recv(fd, p + n, 1, 0);
        if (got != 1)
            test_fail(__FILE__, __LINE__, "the server closed after: %.*s", (int)n, p);
        n++;
    }
    return str_from(p, n);
}

Str hear_rest(struct arena *a, int fd)
{
    AUTO_BUF(b);
    for (;;) {
        EXPECT(buf_reserve(&b, 65536));
        ssize_t got = recv(fd, b.p + b.n, 65536, 0);
        if (got <= 0)
            break;
        b.n += (size_t)got;
    }
    close(fd);
    return str_dup(a, buf_str(&b));
}
