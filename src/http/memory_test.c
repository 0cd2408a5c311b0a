// SPDX-License-Identifier: Apache-2.0
// Memory that is refused: the request ends with 503, its connection and all others go on, and
// everything is given back.
#include "base/memory.h"
#include "http/test_rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MIB = 1 << 20, LARGE = 300000 };

static size_t taken(void)
{
    MemoryStats s;
    memory_stats(&s);
    return s.requests_bytes;
}

static int64_t refused(void)
{
    return metric_now(S("headrace_http_refused_total"), S("reason=\"memory\""), METRIC_COUNTER);
}

static Str filled(struct arena *a, size_t n)
{
    char *p = arena_alloc(a, n, 1);
    memset(p, 'f', n);
    return str_from(p, n);
}

static void say_put(struct arena *a, int fd, const char *path, Str body)
{
    say(fd, str_fmt(a, "PUT %s HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", path, body.n));
    say(fd, body);
}

static void expect_alive(struct arena *a, int fd)
{
    say(fd, S("GET /after HTTP/1.1\r\nHost: h\r\n\r\n"));
    EXPECT_STR(S("GET /after - []"), hear_reply(a, fd, NULL));
}

static void no_memory(void)
{
    memory_fault_set(MEMORY_REQUEST, 0, UINT64_MAX);
}

static void memory_again(void)
{
    memory_fault_set(MEMORY_REQUEST, 0, 0);
}

TEST(a_body_that_finds_no_memory_is_refused_and_its_connection_goes_on)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    Str body = filled(a, LARGE), head;
    int fd = dial(&r);
    expect_alive(a, fd); // what a small request needs is kept for the next one
    int64_t before = refused();
    no_memory();
    say_put(a, fd, "/x", body);
    EXPECT_STR(S("refused 503"), hear_reply(a, fd, &head));
    EXPECT(str_search(head, S("close")) == head.n);
    say(fd, str_fmt(a, "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n",
                    LARGE));
    say(fd, str_cat(a, body, S("\r\n3\r\nabc\r\n0\r\n\r\n")));
    EXPECT_STR(S("refused 503"), hear_reply(a, fd, NULL));
    memory_again();
    expect_alive(a, fd);
    EXPECT_INT(before + 2, refused());
    say_put(a, fd, "/x", body);
    EXPECT_INT(LARGE + 11, hear_reply(a, fd, NULL).n);
    close(fd);
    rig_stop(&r);
    EXPECT_INT(0, taken());
}

TEST(a_dropped_body_has_the_limit_of_one_that_is_kept)
{
    struct rig r;
    rig_init(&r);
    r.desk.body_bytes_max = LARGE;
    rig_start(&r);
    int fd = dial(&r);
    expect_alive(a, fd);
    no_memory();
    say(fd, str_fmt(a, "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n",
                    LARGE));
    say(fd, str_cat(a, filled(a, LARGE), S("\r\n1\r\n")));
    EXPECT_INT(413, desk_wait_broken(&r.desk, 0));
    memory_again();
    hear_rest(a, fd);
    rig_stop(&r);
}

TEST(large_bodies_fill_the_budget_and_small_ones_still_pass)
{
    enum { HELD = 3, EACH = 15 * MIB };
    struct rig r;
    rig_init(&r);
    EXPECT_OK(memory_setup(MEMORY_REQUESTS_BYTES_MIN, 0));
    r.desk.body_bytes_max = 100 * MIB;
    rig_start(&r);
    int fd[HELD + 1], small = dial(&r);
    for (int i = 0; i < HELD; i++) { // each a piece of 16 MiB: three of them, and no fourth
        fd[i] = dial(&r);
        say_put(a, fd[i], "/hold", filled(a, EACH));
        desk_wait(&r.desk, (size_t)i);
    }
    fd[HELD] = dial(&r);
    say_put(a, fd[HELD], "/x", filled(a, EACH));
    EXPECT_STR(S("refused 503"), hear_reply(a, fd[HELD], NULL));
    expect_alive(a, fd[HELD]);
    say_put(a, small, "/x", filled(a, 1000));
    EXPECT_INT(1011, hear_reply(a, small, NULL).n);
    say(small,
        S("PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 60000000\r\nExpect: 100-continue\r\n"
          "\r\n"));
    EXPECT_STR(S("refused 503"), hear_reply(a, small, NULL)); // before it is sent
    EXPECT_STR(S(""), hear_rest(a, small));
    for (int i = 0; i < HELD; i++) {
        http_reply(r.desk.held[i], 200, NULL, 0, S("done"));
        EXPECT_STR(S("done"), hear_reply(a, fd[i], NULL));
        close(fd[i]);
    }
    say_put(a, fd[HELD], "/x", filled(a, EACH));
    EXPECT_INT(EACH + 11, hear_reply(a, fd[HELD], NULL).n);
    close(fd[HELD]);
    rig_stop(&r);
    EXPECT_INT(0, taken());
    EXPECT_OK(memory_setup(0, 0));
}

static bool has_taken(void *least)
{
    return taken() >= *(const size_t *)least;
}

// What a body holds of which 300 kB of 8 MiB have come, when that is at least so much.
static size_t taken_at_the_start(size_t budget_bytes, size_t least)
{
    struct rig r;
    rig_init(&r);
    EXPECT_OK(memory_setup(budget_bytes, 0));
    r.desk.body_bytes_max = 100 * MIB;
    rig_start(&r);
    struct arena *a = arena_open();
    int fd = dial(&r);
    say(fd, S("PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 8388608\r\n\r\n"));
    say(fd, filled(a, 300000));
    wait_until(has_taken, &least);
    size_t found = taken();
    close(fd);
    rig_stop(&r);
    EXPECT_INT(0, taken());
    EXPECT_OK(memory_setup(0, 0));
    arena_close(a);
    return found;
}

TEST(an_announced_body_gets_all_its_memory_when_it_has_begun_and_there_is_plenty)
{
    (void)a;
    EXPECT(taken_at_the_start(SIZE_MAX, 8 * MIB) >= 8 * MIB);
    EXPECT(taken_at_the_start(MEMORY_REQUESTS_BYTES_MIN, 300000) < MIB);
}

// One client from its first byte to the server's last, which may come early. How many came.
static size_t converse(struct arena *a, const struct rig *r)
{
    int fd = dial(r);
    Str all = str_cat3(
        a, str_fmt(a, "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", LARGE),
        filled(a, LARGE), S("GET /big?400000 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
    while (all.n > 0) {
        ssize_t n = send(fd, all.p, all.n, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        all = str_skip(all, (size_t)n);
    }
    char *heard = xalloc(MIB); // a buffer that grows would meet the fault itself
    size_t n = 0;
    for (ssize_t got = 1; got > 0; n += got > 0 ? (size_t)got : 0)
        got = recv(fd, heard, MIB, 0);
    close(fd);
    free(heard);
    return n;
}

TEST(whichever_allocation_fails_the_client_is_refused_or_closed_and_the_next_is_served)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    for (uint64_t after = 0;; after++) {
        r.desk.broken_count = 0;
        memory_fault_set(MEMORY_REQUEST, after, UINT64_MAX);
        converse(a, &r);
        bool hit = memory_fault_seen(MEMORY_REQUEST) > after;
        memory_again();
        EXPECT(converse(a, &r) > LARGE + 400000);
        if (!hit)
            break;
    }
    rig_stop(&r);
    EXPECT_INT(0, taken());
}
