// SPDX-License-Identifier: Apache-2.0
#include "http/test_rig.h"

#include "base/memory.h"
#include "codec/hash.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// A client of a test is late where the test says so, not because the machine is busy.
#define NEVER_LATE_NS (INT64_C(1800) * 1000000000)

static void *run_loop(void *l)
{
    loop_run(l);
    return NULL;
}

// ---- The handler.

static void hold(struct desk *d, struct http_exchange *x)
{
    CHECK(d->held_count < HELD_MAX);
    d->held[d->held_count++] = x;
    pthread_cond_broadcast(&d->changed);
}

static void answer(struct http_exchange *x)
{
    HttpHeader type = { S("Content-Type"), S("text/plain") };
    uint64_t n = 0;
    if (str_eq(x->path, S("/stream"))) {
        http_stream_start(x, 200, &type, 1);
        http_stream_write(x, S("one,"));
        http_stream_write(x, S("")); // nothing, and not the end
        http_stream_write(x, S("two,"));
        http_stream_write(x, S("three"));
        http_stream_end(x);
    } else if (str_eq(x->path, S("/big")) && str_u64(x->query, &n).kind == ERR_NONE) {
        bool is_large = n >= MEMORY_LARGE_BYTES;
        struct buf b = { .p = is_large ? memory_get_large((size_t)n) : xalloc((size_t)n),
                         .n = (size_t)n,
                         .cap = (size_t)n };
        memset(b.p, 'b', b.n);
        http_reply_take(x, 200, &type, 1, &b);
        CHECK(b.n == 0 && b.p == NULL);
    } else if (str_eq(x->path, S("/broken-header"))) {
        HttpHeader broken = { S("X-Echo"), S("a\r\nSet-Cookie: b") };
        http_reply(x, 200, &broken, 1, S(""));
    } else {
        Str query = x->query.p != NULL ? x->query : S("-");
        http_reply(x, 200, &type, 1,
                   str_fmt(x->arena, "%.*s %.*s %.*s [%.*s]", FMT(x->method), FMT(x->path),
                           FMT(query), FMT(x->body)));
    }
}

static void check_digest(const struct http_exchange *x)
{
    unsigned char digest[SHA256_BYTES];
    if (x->body_sha256 == NULL)
        return;
    sha256(x->body.p, x->body.n, digest);
    CHECK(memcmp(digest, x->body_sha256, sizeof digest) == 0);
}

static void desk_request(void *self, struct http_exchange *x)
{
    struct desk *d = self;
    bool held = str_eq(x->path, S("/hold"));
    check_digest(x);
    pthread_mutex_lock(&d->lock);
    d->requests++;
    d->digests += x->body_sha256 != NULL;
    if (held)
        hold(d, x);
    pthread_mutex_unlock(&d->lock);
    if (!held)
        answer(x);
}

static void desk_broken(void *self, struct http_exchange *x, unsigned status)
{
    struct desk *d = self;
    pthread_mutex_lock(&d->lock);
    CHECK(d->broken_count < HELD_MAX);
    d->broken[d->broken_count++] = status;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
    http_reply(x, status, NULL, 0, str_fmt(x->arena, "refused %u", status));
}

static size_t desk_body_max(void *self, const struct http_exchange *x)
{
    CHECK(x->method.n > 0);
    return ((struct desk *)self)->body_bytes_max;
}

static bool desk_wants_sha256(void *self, const struct http_exchange *x)
{
    CHECK(x->method.n > 0);
    return !((struct desk *)self)->declines_sha256;
}

struct http_handler desk_handler(struct desk *d)
{
    return (struct http_handler){ .self = d,
                                  .request = desk_request,
                                  .broken = desk_broken,
                                  .body_max = desk_body_max,
                                  .wants_sha256 = desk_wants_sha256 };
}

struct http_exchange *desk_wait(struct desk *d, size_t n)
{
    pthread_mutex_lock(&d->lock);
    while (d->held_count <= n)
        pthread_cond_wait(&d->changed, &d->lock);
    struct http_exchange *x = d->held[n];
    pthread_mutex_unlock(&d->lock);
    return x;
}

unsigned desk_wait_broken(struct desk *d, size_t n)
{
    pthread_mutex_lock(&d->lock);
    while (d->broken_count <= n)
        pthread_cond_wait(&d->changed, &d->lock);
    unsigned status = d->broken[n];
    pthread_mutex_unlock(&d->lock);
    return status;
}

size_t desk_requests(struct desk *d)
{
    pthread_mutex_lock(&d->lock);
    size_t n = d->requests;
    pthread_mutex_unlock(&d->lock);
    return n;
}

size_t desk_digests(struct desk *d)
{
    pthread_mutex_lock(&d->lock);
    size_t n = d->digests;
    pthread_mutex_unlock(&d->lock);
    return n;
}

// ---- The server.

static int64_t passed_ns(struct io *io)
{
    struct rig *r = (struct rig *)((char *)io - offsetof(struct rig, clock));
    return atomic_load(&r->passed_ns);
}

void rig_init(struct rig *r)
{
    *r = (struct rig){ .config.limits = http_limits_default(), .clock = *io_real() };
    HttpLimits *l = &r->config.limits;
    l->first_bytes_ns = l->header_ns = l->body_ns = l->body_rate_after_ns = l->idle_ns =
        l->write_ns = l->drain_ns = NEVER_LATE_NS;
    r->clock.mono_ns = passed_ns;
    EXPECT(pthread_mutex_init(&r->desk.lock, NULL) == 0);
    EXPECT(pthread_cond_init(&r->desk.changed, NULL) == 0);
    r->desk.body_bytes_max = r->config.limits.body_bytes_max;
    r->config.handler = desk_handler(&r->desk);
    r->config.loops = r->loops;
    r->config.loop_count = RIG_LOOPS;
}

void rig_start(struct rig *r)
{
    for (int i = 0; i < RIG_LOOPS; i++) {
        EXPECT_OK(loop_open_with(r->stands_still ? &r->clock : io_real(), &r->loops[i]));
        EXPECT(pthread_create(&r->threads[i], NULL, run_loop, r->loops[i]) == 0);
    }
    EXPECT_OK(http_server_open(&r->config, &r->server));
    EXPECT_OK(http_server_listen(r->server, S("127.0.0.1:0"), &r->port));
}

struct sign {
    struct task task;
    sem_t seen;
};

static void sign_seen(struct task *t)
{
    sem_post(&((struct sign *)t)->seen);
}

// A task runs behind the timers of its turn.
void rig_pass(struct rig *r, int64_t ns)
{
    EXPECT(r->stands_still);
    atomic_fetch_add(&r->passed_ns, ns);
    for (int i = 0; i < RIG_LOOPS; i++) {
        struct sign sign = { .task.run = sign_seen };
        sem_init(&sign.seen, 0, 0);
        loop_post(r->loops[i], &sign.task);
        while (sem_wait(&sign.seen) != 0)
            continue; // interrupted
        sem_destroy(&sign.seen);
    }
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
    pthread_cond_destroy(&r->desk.changed);
    pthread_mutex_destroy(&r->desk.lock);
}

void connect_to(const struct rig *r, int fd)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(r->port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    EXPECT(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
}

int dial(const struct rig *r)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    connect_to(r, fd);
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

Str hear_reply(struct arena *a, int fd, Str *ret_head)
{
    Str head = hear_head(a, fd), name = S("Content-Length: "), digits;
    size_t at = str_search(head, name);
    if (at == head.n)
        test_fail(__FILE__, __LINE__, "no length: %.*s", FMT(head));
    digits = str_skip(head, at + name.n);
    uint64_t n = 0;
    EXPECT_OK(str_u64(str_head(digits, str_find(digits, '\r')), &n));
    if (ret_head != NULL)
        *ret_head = head;
    return hear(a, fd, (size_t)n);
}

void wait_until(bool (*is)(void *), void *of)
{
    while (!is(of))
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

int64_t metric_now(Str name, Str labels, MetricKind kind)
{
    return metric_value(metric_get(kind, name, S(""), labels));
}
