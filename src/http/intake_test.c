// SPDX-License-Identifier: Apache-2.0
// Bodies that a handler takes as they come, over HTTP/1.1 (over HTTP/2: h2_test.c).
#include "http/stream_rig.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MS INT64_C(1000000)

static void say_head(int fd, struct arena *a, const char *path, size_t n)
{
    say(fd, str_fmt(a, "PUT %s HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", path, n));
}

TEST(bodies_of_all_sizes_reach_the_sink_and_the_connection_goes_on)
{
    struct stream_rig s;
    stream_rig_init(&s);
    stream_rig_start(&s);
    int fd = dial(&s.r);
    const size_t sizes[] = {
        1, 10, 65536, HTTP_PIECE_BYTES_MAX, HTTP_PIECE_BYTES_MAX + 1, 5000000
    };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        say_head(fd, a, "/take", sizes[i]);
        say(fd, stream_bytes(a, sizes[i]));
        EXPECT_STR(stream_answer(a, sizes[i], ""), hear_reply(a, fd, NULL));
    }
    say_head(fd, a, "/take", 0); // no body: nothing to be streamed
    EXPECT_STR(S("whole 0"), hear_reply(a, fd, NULL));
    say_head(fd, a, "/whole", 100);
    say(fd, stream_bytes(a, 100));
    EXPECT_STR(S("whole 100"), hear_reply(a, fd, NULL));
    close(fd);
    EXPECT(stream_count(&s, &s.largest) <= HTTP_PIECE_BYTES_MAX);
    stream_rig_stop(&s);
}

TEST(requests_sent_ahead_of_a_streamed_body_wait_for_it)
{
    struct stream_rig s;
    stream_rig_init(&s);
    stream_rig_start(&s);
    int fd = dial(&s.r);
    AUTO_BUF(all);
    for (size_t i = 1; i <= 5; i++) {
        buf_addf(&all, "PUT /take HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", i * 1000);
        buf_add(&all, stream_bytes(a, i * 1000));
    }
    say(fd, buf_str(&all));
    for (size_t i = 1; i <= 5; i++)
        EXPECT_STR(stream_answer(a, i * 1000, ""), hear_reply(a, fd, NULL));
    close(fd);
    stream_rig_stop(&s);
}

TEST(chunked_bodies_are_streamed_with_their_trailers)
{
    struct stream_rig s;
    stream_rig_init(&s);
    stream_rig_start(&s);
    int fd = dial(&s.r);
    for (size_t chunk = 1; chunk < 400000; chunk *= 9) {
        size_t n = MIN(chunk * 5, (size_t)600000);
        Str rest = stream_bytes(a, n);
        say(fd, S("PUT /take HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"));
        while (rest.n > 0) {
            Str piece = str_head(rest, chunk);
            say(fd, str_fmt(a, "%zx\r\n", piece.n));
            say(fd, piece);
            say(fd, S("\r\n"));
            rest = str_skip(rest, piece.n);
        }
        say(fd, S("0\r\nX-Checksum: abc=\r\nOther:  two words \r\n\r\n"));
        EXPECT_STR(stream_answer(a, n, "x-checksum=abc=;other=two words;"),
                   hear_reply(a, fd, NULL));
    }
    close(fd);
    stream_rig_stop(&s);
}

TEST(a_client_that_asks_first_is_told_to_go_on_when_its_body_is_wanted)
{
    struct stream_rig s;
    stream_rig_init(&s);
    stream_rig_start(&s);
    int fd = dial(&s.r);
    Str expect = S(" HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    say(fd, str_cat(a, S("PUT /later"), expect));
    struct http_exchange *x = stream_wait_held(&s);
    char byte;
    EXPECT(recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN); // not asked for yet
    stream_take(&s, x);
    EXPECT_STR(S("HTTP/1.1 100 Continue\r\n\r\n"), hear_head(a, fd));
    say(fd, stream_bytes(a, 5));
    EXPECT_STR(stream_answer(a, 5, ""), hear_reply(a, fd, NULL));
    say(fd, str_cat(a, S("PUT /refuse"), expect));
    Str rest = hear_rest(a, fd); // it has not sent anything, and cannot on this connection
    EXPECT(str_starts(rest, S("HTTP/1.1 403 ")) && str_ends(rest, S("no")));
    EXPECT(str_search(rest, S("Connection: close")) < rest.n);
    stream_rig_stop(&s);
}

TEST(a_refusal_is_read_though_the_body_was_on_its_way)
{
    struct stream_rig s;
    stream_rig_init(&s);
    stream_rig_start(&s);
    const char *const paths[] = { "/refuse", "/take?100000" };
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        int fd = dial(&s.r);
        say_head(fd, a, paths[i], 3000000);
        say(fd, stream_bytes(a, 3000000));
        Str rest = hear_rest(a, fd);
        EXPECT(str_starts(rest, i == 0 ? S("HTTP/1.1 403 ") : S("HTTP/1.1 400 ")));
        EXPECT(str_ends(rest, i == 0 ? S("no") : S("denied")));
    }
    EXPECT_INT(ERR_DENIED, stream_wait_end(&s, 0));
    EXPECT(stream_count(&s, &s.taken_bytes) < 100000 + HTTP_PIECE_BYTES_MAX + 1);
    stream_rig_stop(&s);
}

// Sends until the kernel takes no more for a while. Returns how much that was.
static size_t say_until_stuck(int fd, Str bytes)
{
    size_t sent = 0;
    for (int idle = 0; idle < 30 && sent < bytes.n;) {
        ssize_t n = send(fd, bytes.p + sent, bytes.n - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        if (n <= 0)
            nanosleep(&(struct timespec){ .tv_nsec = 10 * MS }, NULL);
    }
    return sent;
}

TEST(a_client_waits_for_a_sink_that_does)
{
    struct stream_rig s;
    stream_rig_init(&s);
    stream_rig_start(&s);
    stream_shut(&s, true);
    int fd = dial(&s.r), small = 65536;
    EXPECT(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
    Str all = stream_bytes(a, 64 << 20);
    say_head(fd, a, "/take", all.n);
    size_t sent = say_until_stuck(fd, all);
    EXPECT(sent < all.n / 2); // what the kernel's buffers hold, and two pieces
    stream_shut(&s, false);
    say(fd, str_skip(all, sent));
    EXPECT_STR(stream_answer(a, all.n, ""), hear_reply(a, fd, NULL));
    close(fd);
    stream_rig_stop(&s);
}

static bool sink_is_busy(void *rig)
{
    struct stream_rig *s = rig;
    return stream_count(s, &s->takes) > 0;
}

TEST(a_sink_that_takes_its_time_is_not_the_clients_fault)
{
    struct stream_rig s;
    stream_rig_init(&s);
    s.r.stands_still = true;
    stream_rig_start(&s);
    stream_shut(&s, true);
    int fd = dial(&s.r);
    size_t n = 700000; // more than both buffers, and less than the kernel takes besides
    say(fd,
        str_cat(a, str_fmt(a, "PUT /take HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", n),
                stream_bytes(a, n)));
    wait_until(sink_is_busy, &s);
    rig_pass(&s.r, 2 * s.r.config.limits.body_ns);
    stream_shut(&s, false);
    EXPECT_STR(stream_answer(a, n, ""), hear_reply(a, fd, NULL));
    close(fd);
    stream_rig_stop(&s);
}

TEST(a_client_that_leaves_in_the_middle_ends_its_sink)
{
    struct stream_rig s;
    stream_rig_init(&s);
    stream_rig_start(&s);
    for (size_t i = 0; i < 6; i++) {
        int fd = dial(&s.r);
        stream_shut(&s, i % 2 == 1); // also while the sink works
        say_head(fd, a, "/take", 1000000);
        say(fd, stream_bytes(a, i * 30000));
        if (i % 3 == 2) // in good order: the rest never comes
            EXPECT(shutdown(fd, SHUT_WR) == 0);
        else
            close(fd);
        nanosleep(&(struct timespec){ .tv_nsec = 5 * MS }, NULL);
        stream_shut(&s, false);
        EXPECT_INT(ERR_CLOSED, stream_wait_end(&s, i));
        if (i % 3 == 2)
            close(fd);
    }
    stream_rig_stop(&s);
}

TEST(a_body_of_which_everything_came_is_answered_though_the_client_ended_its_side)
{
    struct stream_rig s;
    stream_rig_init(&s);
    stream_rig_start(&s);
    stream_shut(&s, true);
    int fd = dial(&s.r);
    size_t n = 900000; // more than both buffers
    say_head(fd, a, "/take", n);
    say(fd, stream_bytes(a, n));
    EXPECT(shutdown(fd, SHUT_WR) == 0);
    nanosleep(&(struct timespec){ .tv_nsec = 20 * MS }, NULL);
    stream_shut(&s, false);
    EXPECT_STR(stream_answer(a, n, ""), hear_reply(a, fd, NULL));
    close(fd);
    stream_rig_stop(&s);
}

TEST(a_client_that_stalls_in_the_middle_is_told)
{
    struct stream_rig s;
    stream_rig_init(&s);
    s.r.config.limits.body_ns = 50 * MS;
    stream_rig_start(&s);
    int fd = dial(&s.r), never = dial(&s.r);
    say_head(never, a, "/take", 10); // not a byte
    say(fd, str_cat(a, S("PUT /take HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"),
                    stream_bytes(a, 5000))); // at once: it may be told before a second send()
    EXPECT(str_ends(hear_rest(a, fd), S("timeout")));
    EXPECT(str_ends(hear_rest(a, never), S("timeout")));
    stream_rig_stop(&s);
}

TEST(a_body_that_breaks_the_protocol_is_told_to_its_sink)
{
    struct stream_rig s;
    stream_rig_init(&s);
    s.r.desk.body_bytes_max = 1000;
    stream_rig_start(&s);
    const struct {
        Str body, want;
    } cases[] = { { S("xyz\r\n"), S("invalid") },
                  { S("5\r\nhelloNO"), S("invalid") },
                  { S("3e9\r\n"), S("limit") },
                  { S("3e8\r\n"), S("closed") } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int fd = dial(&s.r);
        say(fd, S("PUT /take HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"));
        say(fd, cases[i].body);
        if (i == 3)
            close(fd);
        else
            EXPECT(str_ends(hear_rest(a, fd), cases[i].want));
        EXPECT_STR(cases[i].want, str_of(err_kind_name(stream_wait_end(&s, i))));
    }
    int fd = dial(&s.r);
    say_head(fd, a, "/take", 1001); // announced: the handler never sees it
    EXPECT(str_starts(hear_rest(a, fd), S("HTTP/1.1 413 ")));
    stream_rig_stop(&s);
}

TEST(the_end_of_the_server_ends_sinks)
{
    struct stream_rig s;
    stream_rig_init(&s);
    s.r.config.limits.drain_ns = 50 * MS;
    stream_rig_start(&s);
    int fd = dial(&s.r);
    say_head(fd, a, "/take", 100000);
    say(fd, stream_bytes(a, 5000));
    while (stream_count(&s, &s.taken_bytes) < 5000)
        nanosleep(&(struct timespec){ .tv_nsec = MS }, NULL);
    stream_rig_stop(&s);
    EXPECT_INT(1, s.end_count);
    EXPECT_INT(ERR_CLOSED, s.ends[0]);
    close(fd);
}
