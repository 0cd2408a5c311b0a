// SPDX-License-Identifier: Apache-2.0
#include "server/functions.h"
#include "aws/call.h"
#include "base/test.h"
#include "base/time.h"
#include "hub/hub.h"
#include "os/io.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

// One connection after another: each request is kept, and answered with what the test says.
struct endpoint {
    int listener;
    uint16_t port;
    pthread_t thread;
    pthread_mutex_t lock; // of what follows
    const char *reply;    // all bytes; NULL: none, until the client goes
    char request[4096];   // the last one
    size_t n;
};

// Reads a request with a body, or what there is of one.
static size_t read_request(int fd, char *to, size_t room)
{
    size_t n = 0, want = SIZE_MAX;
    while (n < want && n < room - 1) {
        ssize_t got = read(fd, to + n, room - 1 - n);
        if (got <= 0)
            return n;
        n += (size_t)got;
        to[n] = 0;
        const char *end = strstr(to, "\r\n\r\n");
        const char *length = strcasestr(to, "content-length: ");
        if (end != NULL && length != NULL)
            want = (size_t)(end - to) + 4 + strtoul(length + 16, NULL, 10);
    }
    return n;
}

static void serve_one(struct endpoint *e, int fd)
{
    char request[sizeof e->request], rest;
    size_t n = read_request(fd, request, sizeof request);
    pthread_mutex_lock(&e->lock);
    memcpy(e->request, request, n);
    e->n = n;
    const char *reply = e->reply;
    pthread_mutex_unlock(&e->lock);
    if (reply != NULL && write(fd, reply, strlen(reply)) < 0)
        return;
    while (read(fd, &rest, 1) > 0)
        continue;
}

static Str last_request(struct endpoint *e, struct arena *a)
{
    pthread_mutex_lock(&e->lock);
    Str s = str_dup(a, str_from(e->request, e->n));
    pthread_mutex_unlock(&e->lock);
    return s;
}

static void *run(void *self)
{
    struct endpoint *e = self;
    for (;;) {
        int fd = accept(e->listener, NULL, NULL);
        if (fd < 0)
            return NULL;
        serve_one(e, fd);
        close(fd);
    }
}

static void endpoint_start(struct endpoint *e, const char *reply)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof at;
    *e = (struct endpoint){ .listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                            .lock = PTHREAD_MUTEX_INITIALIZER,
                            .reply = reply };
    EXPECT(bind(e->listener, (struct sockaddr *)&at, sizeof at) == 0 &&
           listen(e->listener, 8) == 0 &&
           getsockname(e->listener, (struct sockaddr *)&at, &n) == 0);
    e->port = ntohs(at.sin_port);
    EXPECT(pthread_create(&e->thread, NULL, run, e) == 0);
}

static void endpoint_stop(struct endpoint *e)
{
    shutdown(e->listener, SHUT_RDWR);
    pthread_join(e->thread, NULL);
    close(e->listener);
}

static struct functions *opened(struct arena *a, const struct hub *hub, const Str *endpoints,
                                size_t n)
{
    FunctionsConfig config = { .io = io_real(), .hub = hub, .endpoints = endpoints, .n = n };
    struct functions *f = NULL;
    Str problem = { 0 };
    EXPECT_OK(functions_open(&config, a, &f, &problem));
    return f;
}

static HubInvokeAnswer called(struct functions *f, struct arena *a, const char *arn)
{
    const struct hub_invoke *invoke = functions_offer(f);
    HubActor as = { .account = S("000000000000"),
                    .region = S("us-east-1"),
                    .role_arn = S("arn:aws:iam::000000000000:role/r"),
                    .service = S("firehose.amazonaws.com") };
    HubInvokeAnswer answer;
    EXPECT_OK(
        invoke->call(invoke->self, a, &as, str_of(arn), S("{\"a\":1}"), 60 * NS_PER_S, &answer));
    return answer;
}

#define ARN "arn:aws:lambda:us-east-1:000000000000:function:f"

TEST(an_endpoint_answers_in_a_functions_place)
{
    struct endpoint e;
    endpoint_start(&e, "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"records\":[]}");
    const Str endpoints[] = { str_fmt(a, "f=http://127.0.0.1:%u", e.port),
                              str_fmt(a, ARN "2=http://127.0.0.1:%u/own/path?x=y", e.port) };
    AUTO(functions) f = opened(a, NULL, endpoints, 2);
    HubInvokeAnswer answer = called(f, a, ARN);
    EXPECT_INT(HUB_INVOKE_GOOD, answer.fault);
    EXPECT_STR(S("{\"records\":[]}"), answer.reply);
    EXPECT(str_starts(last_request(&e, a),
                      S("POST /2015-03-31/functions/f/invocations HTTP/1.1\r\n")));
    EXPECT(str_ends(last_request(&e, a), S("\r\n\r\n{\"a\":1}")));
    EXPECT_INT(HUB_INVOKE_GOOD, called(f, a, ARN ":live").fault);
    EXPECT_INT(HUB_INVOKE_GOOD, called(f, a, "f").fault);
    EXPECT_INT(HUB_INVOKE_GOOD, called(f, a, ARN "2:7").fault);
    EXPECT(str_starts(last_request(&e, a), S("POST /own/path?x=y HTTP/1.1\r\n")));
    EXPECT_INT(HUB_INVOKE_NOT_FOUND, called(f, a, ARN "3").fault);
    endpoint_stop(&e);
}

TEST(what_an_endpoint_says_is_understood)
{
    static const struct {
        const char *reply;
        HubInvokeFault fault;
    } cases[] = {
        { "HTTP/1.1 200 OK\r\nX-Amz-Function-Error: Unhandled\r\nContent-Length: 2\r\n\r\n{}",
          HUB_INVOKE_FAILED },
        { "HTTP/1.1 200 OK\r\nContent-Length: "
          "38\r\n\r\n{\"errorMessage\":\"a\",\"errorType\":\"b\"}  ",
          HUB_INVOKE_FAILED },
        { "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", HUB_INVOKE_DENIED },
        { "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", HUB_INVOKE_NOT_FOUND },
        { "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", HUB_INVOKE_TOO_LARGE },
        { "HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n", HUB_INVOKE_THROTTLED },
        { "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", HUB_INVOKE_UNREACHABLE },
        { "HTTP/1.1 400 No\r\nContent-Length: 3\r\n\r\nwhy", HUB_INVOKE_FAILED },
        { "HTTP/1.1 200 OK\r\nContent-Length: 6291457\r\n\r\n", HUB_INVOKE_TOO_LARGE },
        { "nonsense\r\n\r\n", HUB_INVOKE_UNREACHABLE },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct endpoint e;
        endpoint_start(&e, cases[i].reply);
        const Str endpoint = str_fmt(a, "f=http://127.0.0.1:%u", e.port);
        AUTO(functions) f = opened(a, NULL, &endpoint, 1);
        EXPECT_INT(cases[i].fault, called(f, a, ARN).fault);
        endpoint_stop(&e);
    }
}

TEST(nobody_there_may_be_tried_again)
{
    const Str endpoint = S("f=http://127.0.0.1:1"); // a port that was free a moment ago may not be
    AUTO(functions) f = opened(a, NULL, &endpoint, 1);
    HubInvokeAnswer answer = called(f, a, ARN);
    EXPECT_INT(HUB_INVOKE_UNREACHABLE, answer.fault);
    EXPECT(answer.text.n > 0);
}

TEST(a_server_that_stops_waits_for_no_function)
{
    struct endpoint e;
    endpoint_start(&e, NULL);
    const Str endpoint = str_fmt(a, "f=http://127.0.0.1:%u", e.port);
    AUTO(functions) f = opened(a, NULL, &endpoint, 1);
    functions_stop(f);
    EXPECT_INT(HUB_INVOKE_UNREACHABLE, called(f, a, ARN).fault);
    endpoint_stop(&e);
}

static bool never(void *self, struct call *c, const AccessTarget *t, Str *ret_text)
{
    (void)self;
    EXPECT_STR(S("lambda:InvokeFunction"), t->action);
    EXPECT_STR(S(ARN), t->resource);
    EXPECT_STR(S("arn:aws:sts::000000000000:assumed-role/r/firehose.amazonaws.com"), c->principal);
    *ret_text = S("no");
    return false;
}

static bool lends(void *self, const HubActor *as)
{
    EXPECT(as->role_arn.n > 0);
    return *(const bool *)self;
}

TEST(a_role_that_may_not_invoke_is_denied)
{
    bool lent = true;
    const struct hub_identities identities = { .self = &lent, .lends = lends };
    struct access_guard guard = { .may = never };
    struct hub hub = { .access = &guard, .identities = &identities };
    const Str endpoint = S("f=http://127.0.0.1:1");
    AUTO(functions) f = opened(a, &hub, &endpoint, 1);
    HubInvokeAnswer answer = called(f, a, ARN);
    EXPECT_INT(HUB_INVOKE_DENIED, answer.fault);
    EXPECT_STR(S("no"), answer.text);
    lent = false;
    EXPECT_INT(HUB_INVOKE_NO_ROLE, called(f, a, ARN).fault);
}

TEST(a_malformed_endpoint_is_told)
{
    static const Str bad[] = { S_INIT(""),   S_INIT("f"),         S_INIT("=http://x"),
                               S_INIT("f="), S_INIT("f=ftp://x"), S_INIT("f=http://x:port") };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        FunctionsConfig config = { .io = io_real(), .endpoints = &bad[i], .n = 1 };
        struct functions *f = NULL;
        Str problem = { 0 };
        EXPECT_ERR(ERR_INVALID, functions_open(&config, a, &f, &problem));
        EXPECT(str_starts(problem, S("functions.endpoints: ")));
    }
}
