// SPDX-License-Identifier: Apache-2.0
// Streamed replies whose producer is told how they get on, over HTTP/1.1. (HTTP/2: h2_test.c.)
#include "http/test_rig.h"
#include "os/io.h"

#include <stdatomic.h>
#include <unistd.h>

#define HOLD "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n"

// What a producer was told, on its exchange's loop.
struct producer {
    struct http_exchange *x;
    _Atomic size_t told, told_empty, released;
    _Atomic bool told_gone, told_closing;
};

static void told(void *self)
{
    struct producer *p = self;
    atomic_fetch_add(&p->told, 1);
    atomic_fetch_add(&p->told_empty, http_stream_pending(p->x) == 0);
    if (http_stream_gone(p->x))
        atomic_store(&p->told_gone, true);
    if (http_stream_closing(p->x))
        atomic_store(&p->told_closing, true);
}

static void released(void *self)
{
    struct producer *p = self;
    atomic_fetch_add(&p->released, 1);
}

static bool was_told_empty(void *self)
{
    return atomic_load(&((struct producer *)self)->told_empty) > 0;
}

static bool was_told_gone(void *self)
{
    return atomic_load(&((struct producer *)self)->told_gone);
}

static bool was_told_closing(void *self)
{
    return atomic_load(&((struct producer *)self)->told_closing);
}

static bool was_released(void *self)
{
    return atomic_load(&((struct producer *)self)->released) > 0;
}

static void begin(struct rig *r, struct producer *p, int fd)
{
    say(fd, S(HOLD));
    p->x = desk_wait(&r->desk, 0);
    http_stream_watch(p->x, told, p);
    http_stream_start(p->x, 200, NULL, 0);
}

TEST(a_shared_piece_is_sent_where_it_lies_and_then_let_go)
{
    struct rig r;
    struct producer p = { 0 };
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    begin(&r, &p, fd);
    http_stream_share(p.x, S("shared"), released, &p);
    hear_head(a, fd);
    EXPECT_STR(S("6\r\nshared\r\n"), hear(a, fd, 11));
    wait_until(was_released, &p);
    wait_until(was_told_empty, &p);
    http_stream_share(p.x, S(""), released, &p); // an empty chunk would end the body
    http_stream_write(p.x, S("own"));
    http_stream_end(p.x);
    EXPECT_STR(S("3\r\nown\r\n0\r\n\r\n"), hear(a, fd, 13));
    EXPECT_INT(2, atomic_load(&p.released));
    say(fd, S("GET /y HTTP/1.1\r\nHost: h\r\n\r\n"));
    EXPECT_STR(S("GET /y - []"), hear_reply(a, fd, NULL));
    close(fd);
    rig_stop(&r);
}

TEST(a_shared_piece_to_http_1_0_is_sent_as_it_is)
{
    struct rig r;
    struct producer p = { 0 };
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S("GET /hold HTTP/1.0\r\n\r\n"));
    p.x = desk_wait(&r.desk, 0);
    http_stream_start(p.x, 200, NULL, 0);
    http_stream_share(p.x, S("shared"), released, &p);
    http_stream_end(p.x);
    hear_head(a, fd);
    EXPECT_STR(S("shared"), hear_rest(a, fd));
    EXPECT_INT(1, atomic_load(&p.released));
    rig_stop(&r);
}

TEST(a_shared_body_is_a_whole_reply_and_is_let_go_also_where_it_is_not_sent)
{
    enum { BYTES = 5 << 20 };
    struct rig r;
    struct producer p = { 0 };
    char *bytes = arena_alloc(a, BYTES, 1);
    memset(bytes, 'b', BYTES);
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S(HOLD));
    p.x = desk_wait(&r.desk, 0);
    http_reply_share(p.x, 200, NULL, 0, str_from(bytes, BYTES), released, &p);
    EXPECT_STR(str_from(bytes, BYTES), hear_reply(a, fd, NULL));
    wait_until(was_released, &p);
    say(fd, S("HEAD /hold HTTP/1.1\r\nHost: h\r\n\r\n"));
    p.x = desk_wait(&r.desk, 1);
    http_reply_share(p.x, 200, NULL, 0, S("not sent"), released, &p);
    Str head = hear_head(a, fd);
    EXPECT(str_search(head, S("Content-Length: 8\r\n")) < head.n);
    EXPECT_INT(2, atomic_load(&p.released));
    say(fd, S("GET /y HTTP/1.1\r\nHost: h\r\n\r\n"));
    EXPECT_STR(S("GET /y - []"), hear_reply(a, fd, NULL));
    close(fd);
    rig_stop(&r);
}

// Whether it closes in an orderly way or is cut off, without anything being written to it.
TEST(a_producer_is_told_that_its_client_has_gone)
{
    struct rig r;
    struct producer p = { 0 };
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    begin(&r, &p, fd);
    hear_head(a, fd);
    close(fd);
    wait_until(was_told_gone, &p);
    http_stream_share(p.x, S("nobody listens"), released, &p);
    EXPECT_INT(1, atomic_load(&p.released));
    http_stream_end(p.x);
    rig_stop(&r);
}

TEST(what_a_client_that_goes_has_not_taken_is_let_go)
{
    enum { BYTES = 32 << 20 }; // more than the kernel keeps for a reader
    struct rig r;
    struct producer p = { 0 };
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    begin(&r, &p, fd);
    char *large = arena_alloc(a, BYTES, 1);
    http_stream_share(p.x, str_from(large, BYTES), released, &p);
    hear_head(a, fd);
    EXPECT_INT(0, atomic_load(&p.released));
    close(fd);
    wait_until(was_told_gone, &p);
    EXPECT_INT(1, atomic_load(&p.released));
    http_stream_end(p.x);
    rig_stop(&r);
}

TEST(a_watched_stream_may_stay_unread)
{
    enum { BYTES = 32 << 20 };
    struct rig r;
    struct producer p = { 0 };
    rig_init(&r);
    r.config.limits.write_ns = 1000000;
    rig_start(&r);
    int fd = dial(&r);
    begin(&r, &p, fd);
    char *large = arena_alloc(a, BYTES, 1);
    http_stream_share(p.x, str_from(large, BYTES), released, &p);
    hear_head(a, fd);
    usleep(50000); // many times the deadline that would count
    EXPECT(!http_stream_gone(p.x));
    hear(a, fd, BYTES);
    wait_until(was_told_empty, &p);
    http_stream_end(p.x);
    close(fd);
    rig_stop(&r);
}

static void *drain(void *server)
{
    http_server_drain(server);
    return NULL;
}

TEST(a_producer_is_told_that_the_server_shuts_down_and_waited_for)
{
    struct rig r;
    struct producer p = { 0 };
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    begin(&r, &p, fd);
    hear_head(a, fd);
    pthread_t drainer;
    EXPECT(pthread_create(&drainer, NULL, drain, r.server) == 0);
    wait_until(was_told_closing, &p);
    http_stream_write(p.x, S("bye"));
    http_stream_end(p.x);
    EXPECT_STR(S("3\r\nbye\r\n0\r\n\r\n"), hear_rest(a, fd));
    EXPECT(pthread_join(drainer, NULL) == 0);
    rig_stop(&r);
}

TEST(a_stream_that_begins_while_the_server_shuts_down_is_told_at_once)
{
    struct rig r;
    struct producer p = { 0 };
    rig_init(&r);
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S(HOLD));
    p.x = desk_wait(&r.desk, 0);
    pthread_t drainer;
    EXPECT(pthread_create(&drainer, NULL, drain, r.server) == 0);
    while (!http_stream_closing(p.x))
        usleep(1000);
    http_stream_watch(p.x, told, &p);
    http_stream_start(p.x, 200, NULL, 0);
    http_stream_write(p.x, S("bye"));
    wait_until(was_told_closing, &p);
    http_stream_end(p.x);
    Str rest = hear_rest(a, fd);
    EXPECT(str_ends(rest, S("3\r\nbye\r\n0\r\n\r\n")));
    EXPECT(pthread_join(drainer, NULL) == 0);
    rig_stop(&r);
}

TEST(a_stream_whose_client_went_before_it_began_is_told_at_once)
{
    struct rig r;
    struct producer p = { 0 };
    rig_init(&r);
    r.config.limits.drain_ns = 1000000;
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S(HOLD));
    p.x = desk_wait(&r.desk, 0);
    http_server_drain(r.server); // its deadline cuts the connection
    EXPECT(http_stream_gone(p.x));
    http_stream_watch(p.x, told, &p);
    http_stream_start(p.x, 200, NULL, 0);
    wait_until(was_told_gone, &p);
    http_stream_end(p.x);
    http_server_drain(r.server); // again: it waits for the stream
    close(fd);
    rig_stop(&r);
}
