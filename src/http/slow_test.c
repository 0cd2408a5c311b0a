// SPDX-License-Identifier: Apache-2.0
// Slow clients: each deadline of HttpLimits, set to a few hundredths of a second. The tests wait
// for what must happen and state nothing about when. Where something must not happen before a
// deadline time stands still.
#include "http/test_rig.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MS INT64_C(1000000)

static int64_t slow_count(void)
{
    return metric_now(S("headrace_http_slow_total"), S(""), METRIC_COUNTER);
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

// Sends byte after byte, for ever, until the server has had enough. Its reply, if any.
static Str drip(struct arena *a, int fd, Str first, char endless)
{
    say(fd, first);
    char reply[4096];
    size_t n = 0;
    for (;;) {
        pause_ms(5);
        ssize_t sent = send(fd, &endless, 1, MSG_NOSIGNAL);
        ssize_t got = recv(fd, reply + n, sizeof reply - n, MSG_DONTWAIT);
        n += got > 0 ? (size_t)got : 0;
        if (got == 0 || (got < 0 && errno != EAGAIN) || sent < 0)
            break;
    }
    close(fd);
    return str_dup(a, str_from(reply, n));
}

TEST(a_client_that_shows_no_protocol_in_time_is_closed)
{
    struct rig r;
    rig_init(&r);
    r.config.limits.first_bytes_ns = 50 * MS;
    rig_start(&r);
    int64_t before = slow_count();
    int silent = dial(&r), half = dial(&r);
    say(half, S("PR"));
    EXPECT_STR(S(""), hear_rest(a, silent));
    EXPECT_STR(S(""), hear_rest(a, half));
    EXPECT_INT(before + 2, slow_count());
    rig_stop(&r);
}

TEST(headers_that_come_byte_by_byte_end_at_their_deadline)
{
    struct rig r;
    rig_init(&r);
    r.config.limits.header_ns = 60 * MS;
    rig_start(&r);
    Str reply = drip(a, dial(&r), S("GET / HTTP/1.1\r\nHost: h\r\nX: "), 'x');
    EXPECT(str_starts(reply, S("HTTP/1.1 408 Request Timeout\r\n")));
    reply = drip(a, dial(&r), S("GET / HTTP/1.1\r\nHost: h\r\n"), 'x'); // never a full line
    EXPECT(str_starts(reply, S("HTTP/1.1 408 ")));
    EXPECT_INT(0, desk_requests(&r.desk));
    rig_stop(&r);
}

TEST(an_http_2_client_that_stops_inside_a_frame_is_sent_away)
{
    static const Str preface = S_INIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    static const Str settings = S_INIT("\0\0\0\x04\0\0\0\0\0");
    static const Str stops[] = {
        S_INIT("\0\0"),                                 // in a head
        S_INIT("\0\0\x08\x06\0\0\0\0\0ping"),           // in a payload
        S_INIT("\0\0\x01\x01\0\0\0\0\x01\x82"),         // before headers end, which go on ...
        S_INIT("\0\0\x01\x09\0\0\0\0\x01\x86\0\0\x01"), // ... in a frame of their own
    };
    struct rig r;
    rig_init(&r);
    r.config.limits.header_ns = 60 * MS;
    rig_start(&r);
    int64_t before = slow_count();
    int fd = dial(&r);
    say(fd, str_head(preface, 20));
    hear_rest(a, fd); // ends
    EXPECT_INT(before + 1, slow_count());
    for (size_t i = 0; i < COUNT_OF(stops); i++) {
        fd = dial(&r);
        // At once: it may be sent away before a second call of send().
        say(fd, str_cat(a, str_cat3(a, preface, settings, i == 3 ? stops[2] : S("")), stops[i]));
        hear_rest(a, fd);
    }
    EXPECT(slow_count() >= before + 1 + (int64_t)COUNT_OF(stops));
    fd = dial(&r); // between frames it may be idle
    say(fd, str_cat(a, preface, settings));
    pause_ms(150);
    say(fd, S("\0\0\x08\x06\0\0\0\0\0pingpong"));
    for (Str heard = S(""); !str_ends(heard, S("pingpong"));) // whatever stands before the answer
        heard = str_cat(a, heard, hear(a, fd, 1));
    close(fd);
    rig_stop(&r);
}

TEST(a_body_that_stops_coming_is_given_up)
{
    struct rig r;
    rig_init(&r);
    r.config.limits.body_ns = 50 * MS;
    rig_start(&r);
    static const char *const parts[] = {
        "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab",
        "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na",
        "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
    };
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        int fd = dial(&r);
        say(fd, str_of(parts[i]));
        EXPECT(str_starts(hear_rest(a, fd), S("HTTP/1.1 408 ")));
    }
    EXPECT_INT(0, desk_requests(&r.desk));
    rig_stop(&r);
}

TEST(a_body_that_comes_too_slowly_is_given_up)
{
    struct rig r;
    rig_init(&r);
    r.config.limits.body_rate_after_ns = 100 * MS;
    r.config.limits.body_bytes_per_s_min = 100000;
    rig_start(&r);
    Str reply =
        drip(a, dial(&r), S("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n"), 'x');
    EXPECT(str_starts(reply, S("HTTP/1.1 408 ")));
    rig_stop(&r);
}

TEST(an_idle_connection_is_closed_without_a_word)
{
    struct rig r;
    rig_init(&r);
    r.config.limits.idle_ns = 50 * MS;
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S("GET /x HTTP/1.1\r\nHost: h\r\n\r\n"));
    EXPECT_STR(S("GET /x - []"), hear_reply(a, fd, NULL));
    EXPECT_STR(S(""), hear_rest(a, fd));
    rig_stop(&r);
}

TEST(waiting_for_a_handler_is_not_being_slow)
{
    struct rig r;
    rig_init(&r);
    HttpLimits *l = &r.config.limits;
    l->header_ns = l->body_ns = l->idle_ns = l->write_ns = 20 * MS;
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct http_exchange *x = desk_wait(&r.desk, 0);
    pause_ms(100);
    EXPECT(!http_stream_gone(x));
    http_reply(x, 200, NULL, 0, S("late"));
    EXPECT_STR(S("late"), hear_reply(a, fd, NULL));
    close(fd);
    rig_stop(&r);
}

static bool is_gone(void *x)
{
    return http_stream_gone(x);
}

TEST(a_client_that_does_not_read_its_reply_is_closed)
{
    struct rig r;
    rig_init(&r);
    r.config.limits.write_ns = 60 * MS;
    rig_start(&r);
    int64_t before = slow_count();
    int fd = dial(&r);
    say(fd, S("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct http_exchange *x = desk_wait(&r.desk, 0);
    http_stream_start(x, 200, NULL, 0);
    Str piece = str_from(arena_alloc(a, 1000000, 1), 1000000);
    for (int i = 0; i < 10; i++)
        http_stream_write(x, piece);
    wait_until(is_gone, x);
    http_stream_end(x);
    EXPECT_INT(before + 1, slow_count());
    close(fd);
    rig_stop(&r);
}

static bool has_received(void *bytes)
{
    return metric_now(S("headrace_http_received_bytes_total"), S(""), METRIC_COUNTER) >=
           *(int64_t *)bytes;
}

// The first is read on; while it keeps coming, slowly, the second waits and is told so.
TEST(bodies_that_wait_for_memory_too_long_are_refused)
{
    struct rig r;
    rig_init(&r);
    r.stands_still = true;
    r.config.limits.body_pool_bytes_max = 1000;
    r.config.limits.body_ns = 2000 * MS;
    rig_start(&r);
    int64_t bytes = metric_now(S("headrace_http_received_bytes_total"), S(""), METRIC_COUNTER);
    int first = dial(&r), second = dial(&r);
    Str head = S("PUT /hold HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n0123456789");
    say(first, head);
    say(second, head);
    bytes += 2 * (int64_t)head.n;
    wait_until(has_received, &bytes);
    char reply[16] = { 0 };
    for (bool told = false; !told;) {
        rig_pass(&r, 100 * MS);
        ssize_t n = recv(second, reply, 12, MSG_DONTWAIT);
        ssize_t other = recv(first, reply, n > 0 ? 0 : 12, MSG_DONTWAIT);
        told = n == 12 || other == 12;
        EXPECT(send(first, "x", 1, MSG_NOSIGNAL) == 1);
        EXPECT(send(second, "x", 1, MSG_NOSIGNAL) == 1); // whichever of them came second
        bytes++;
        wait_until(has_received, &bytes);
    }
    EXPECT_STR(S("HTTP/1.1 503"), str_of(reply));
    EXPECT_INT(503, desk_wait_broken(&r.desk, 0));
    close(first);
    close(second);
    rig_stop(&r);
}

// ---- A server that was away.

// Holds up its loop in each request for /away, until the test lets it go on.
struct away {
    struct http_handler desk;
    sem_t has_left, returns;
};

static void away_request(void *self, struct http_exchange *x)
{
    struct away *w = self;
    if (str_eq(x->path, S("/away"))) {
        sem_post(&w->has_left);
        while (sem_wait(&w->returns) != 0)
            continue; // interrupted
    }
    w->desk.request(w->desk.self, x);
}

// What was sent before the loop left, what came while it was away, and what is answered then.
static const struct {
    Str begun, rest, answer;
} away_cases[] = {
    { S_INIT(""), S_INIT("GET /1 HTTP/1.0\r\n\r\n"), S_INIT("GET /1 - []") },
    { S_INIT("GET /2 HTTP/1.0\r\nX: "), S_INIT("y\r\n\r\n"), S_INIT("GET /2 - []") },
    { S_INIT("PUT /3 HTTP/1.0\r\nContent-Length: 5\r\n\r\nab"), S_INIT("cde"),
      S_INIT("PUT /3 - [abcde]") },
    { S_INIT("PUT /4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
             "Transfer-Encoding: chunked\r\n\r\n2\r\na"),
      S_INIT("b\r\n0\r\n\r\n"), S_INIT("PUT /4 - [ab]") },
    { S_INIT("GET /5 HTTP/1.1\r\nHost: h\r\n\r\n"), // answered; then idle
      S_INIT("GET /6 HTTP/1.0\r\n\r\n"), S_INIT("GET /6 - []") },
    { S_INIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x08\x06\0\0\0\0\0ping"),
      S_INIT("pong"), S_INIT("pingpong") },
};
enum { AWAY_EACH = 40 }; // together more connections than a turn has events

static bool all_are_there(void *expected)
{
    const int64_t *n = expected; // connections, bytes
    int64_t there =
        metric_now(S("headrace_http_connections"), S("protocol=\"undecided\""), METRIC_GAUGE) +
        metric_now(S("headrace_http_connections"), S("protocol=\"h1\""), METRIC_GAUGE) +
        metric_now(S("headrace_http_connections"), S("protocol=\"h2\""), METRIC_GAUGE);
    return there == n[0] &&
           metric_now(S("headrace_http_received_bytes_total"), S(""), METRIC_COUNTER) == n[1];
}

TEST(what_came_while_the_server_was_away_for_an_hour_came_in_time)
{
    enum { N = COUNT_OF(away_cases) * AWAY_EACH };
    struct rig r;
    int fds[N];
    rig_init(&r);
    struct away w = { .desk = r.config.handler };
    sem_init(&w.has_left, 0, 0);
    sem_init(&w.returns, 0, 0);
    r.stands_still = true;
    r.config.loop_count = 1;
    r.config.handler = (struct http_handler){ .self = &w, .request = away_request };
    rig_start(&r);
    int64_t there[] = { N + 1, metric_now(S("headrace_http_received_bytes_total"), S(""),
                                          METRIC_COUNTER) };
    int other = dial(&r);
    for (size_t i = 0; i < N; i++) {
        Str begun = away_cases[i % COUNT_OF(away_cases)].begun;
        fds[i] = dial(&r);
        say(fds[i], begun);
        there[1] += (int64_t)begun.n;
    }
    wait_until(all_are_there, there);
    for (size_t i = 0; i < N; i++)
        if (str_starts(away_cases[i % COUNT_OF(away_cases)].begun, S("GET /5")))
            EXPECT_STR(S("GET /5 - []"), hear_reply(a, fds[i], NULL));
    say(other, S("GET /away HTTP/1.0\r\n\r\n"));
    while (sem_wait(&w.has_left) != 0)
        continue; // interrupted
    for (size_t i = 0; i < N; i++)
        say(fds[i], away_cases[i % COUNT_OF(away_cases)].rest);
    atomic_fetch_add(&r.passed_ns, 3600 * 1000 * MS);
    sem_post(&w.returns);
    EXPECT(str_ends(hear_rest(a, other), S("GET /away - []")));
    for (size_t i = 0; i < N; i++) {
        Str heard = hear_rest(a, fds[i]), answer = away_cases[i % COUNT_OF(away_cases)].answer;
        if (str_search(heard, answer) == heard.n)
            test_fail(__FILE__, __LINE__, "not %.*s but %.*s", FMT(answer), FMT(heard));
    }
    rig_stop(&r);
    sem_destroy(&w.has_left);
    sem_destroy(&w.returns);
}
