// SPDX-License-Identifier: Apache-2.0
// Replies that are read from a source as the client takes them (over HTTP/2: h2_test.c).
#include "http/stream_rig.h"
#include "os/io_fault.h"

#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MS INT64_C(1000000)

static void ask(int fd, struct arena *a, const char *method, const char *path, size_t n)
{
    say(fd, str_fmt(a, "%s %s?%zu HTTP/1.1\r\nHost: h\r\n\r\n", method, path, n));
}

TEST(sources_of_all_sizes_are_sent_and_the_connection_goes_on)
{
    struct stream_rig s;
    stream_rig_init(&s);
    stream_rig_start(&s);
    int fd = dial(&s.r);
    const size_t sizes[] = { 0, 1, HTTP_PIECE_BYTES_MAX, HTTP_PIECE_BYTES_MAX + 1, 9000000 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        Str head;
        ask(fd, a, "GET", "/source", sizes[i]);
        EXPECT_STR(stream_bytes(a, sizes[i]), hear_reply(a, fd, &head));
        EXPECT(str_search(head, S("chunked")) == head.n);
        stream_wait_closes(&s, i + 1);
    }
    ask(fd, a, "HEAD", "/source", 1234567);
    Str head = hear_head(a, fd);
    EXPECT(str_search(head, S("Content-Length: 1234567\r\n")) < head.n);
    ask(fd, a, "GET", "/source", 3);
    EXPECT_STR(stream_bytes(a, 3), hear_reply(a, fd, NULL));
    close(fd);
    stream_rig_stop(&s);
    EXPECT_INT(COUNT_OF(sizes) + 2, s.closes);
}

TEST(places_in_files_are_sent_as_they_are)
{
    struct stream_rig s;
    stream_rig_init(&s);
    stream_rig_start(&s);
    int fd = dial(&s.r);
    const size_t sizes[] = { 0, 1, 299999, 300001, 900000, 9000000 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        Str head;
        ask(fd, a, "GET", "/file", sizes[i]);
        EXPECT_STR(stream_bytes(a, sizes[i]), hear_reply(a, fd, &head));
        stream_wait_closes(&s, i + 1);
    }
    EXPECT(s.placed_bytes > 3000000 && s.read_bytes > 1000000);
    EXPECT_INT(1 + 299999 + 300001 + 900000 + 9000000, s.placed_bytes + s.read_bytes);
    ask(fd, a, "HEAD", "/file", 1234567);
    hear_head(a, fd);
    ask(fd, a, "GET", "/source", 3);
    EXPECT_STR(stream_bytes(a, 3), hear_reply(a, fd, NULL));
    close(fd);
    stream_rig_stop(&s);
}

TEST(a_file_waits_for_its_client_and_others_do_not)
{
    struct stream_rig s;
    stream_rig_init(&s);
    stream_rig_start(&s);
    int slow = dial(&s.r), quick = dial(&s.r), small = 65536;
    size_t n = 64 << 20;
    EXPECT(setsockopt(slow, SOL_SOCKET, SO_RCVBUF, &small, sizeof small) == 0);
    ask(slow, a, "GET", "/file", n);
    hear(a, slow, 1);
    ask(quick, a, "GET", "/file", 2000000);
    EXPECT_STR(stream_bytes(a, 2000000), hear_reply(a, quick, NULL));
    EXPECT(stream_count(&s, &s.placed_bytes) < n / 2);
    close(slow); // in the middle of a place: the source is closed all the same
    stream_wait_closes(&s, 2);
    close(quick);
    stream_rig_stop(&s);
}

TEST(a_file_that_ends_too_early_cuts_the_reply_off)
{
    struct stream_rig s;
    stream_rig_init(&s);
    stream_rig_start(&s);
    int fd = dial(&s.r);
    ask(fd, a, "GET", "/shorter", 500000);
    Str rest = hear_rest(a, fd);
    EXPECT(str_search(rest, S("Content-Length: 500000\r\n")) < rest.n && rest.n < 500000);
    stream_wait_closes(&s, 1);
    stream_rig_stop(&s);
}

TEST(places_in_files_are_moved_by_the_table_like_all_bytes)
{
    struct stream_rig s;
    struct io_fault *net = io_fault_open(io_real(), 7);
    stream_rig_init(&s);
    s.r.config.io = io_fault_io(net);
    stream_rig_start(&s);
    io_fault_net(net, (IoNetFault){ .piece_bytes_max = 5000, .busy_percent = 30 });
    int fd = dial(&s.r);
    ask(fd, a, "GET", "/file", 1000000);
    EXPECT_STR(stream_bytes(a, 1000000), hear_reply(a, fd, NULL));
    close(fd);
    for (size_t after = 0; after < 400; after += 57) { // in the head, and behind it
        io_fault_net(net, (IoNetFault){ .resets = true, .reset_after = after });
        fd = dial(&s.r);
        ask(fd, a, "GET", "/file", 1000000);
        EXPECT(hear_rest(a, fd).n <= after);
    }
    io_fault_net(net, (IoNetFault){ 0 });
    stream_rig_stop(&s);
    io_fault_close(net);
}

static bool is_resting(struct stream_rig *s)
{
    size_t before = stream_count(s, &s->read_bytes);
    nanosleep(&(struct timespec){ .tv_nsec = 50 * MS }, NULL);
    return before > 0 && before == stream_count(s, &s->read_bytes);
}

TEST(a_source_waits_for_a_client_that_does)
{
    struct stream_rig s;
    stream_rig_init(&s);
    stream_rig_start(&s);
    int fd = dial(&s.r), small = 65536;
    size_t n = 64 << 20;
    EXPECT(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small) == 0);
    ask(fd, a, "GET", "/source", n);
    while (!is_resting(&s))
        continue;
    EXPECT(stream_count(&s, &s.read_bytes) <
           n / 2); // what the kernel's buffers hold, and two pieces
    EXPECT_STR(stream_bytes(a, n), hear_reply(a, fd, NULL));
    close(fd);
    stream_rig_stop(&s);
}

TEST(a_source_that_fails_cuts_the_reply_off)
{
    struct stream_rig s;
    stream_rig_init(&s);
    stream_rig_start(&s);
    int fd = dial(&s.r);
    ask(fd, a, "GET", "/cut", 2000000);
    Str rest = hear_rest(a, fd);
    EXPECT(str_search(rest, S("Content-Length: 2000000\r\n")) < rest.n && rest.n < 2000000);
    stream_wait_closes(&s, 1);
    stream_rig_stop(&s);
}

TEST(a_client_that_leaves_closes_the_source)
{
    struct stream_rig s;
    stream_rig_init(&s);
    stream_rig_start(&s);
    for (size_t i = 0; i < 8; i++) {
        int fd = dial(&s.r);
        ask(fd, a, "GET", "/source", 64 << 20);
        if (i % 2 == 0)
            hear(a, fd, i * 100000 + 1);
        close(fd);
        stream_wait_closes(&s, i + 1);
    }
    stream_rig_stop(&s);
}

TEST(a_client_that_stops_reading_is_given_up)
{
    struct stream_rig s;
    stream_rig_init(&s);
    s.r.config.limits.write_ns = 50 * MS;
    stream_rig_start(&s);
    int fd = dial(&s.r);
    ask(fd, a, "GET", "/source", 64 << 20);
    stream_wait_closes(&s, 1);
    EXPECT(hear_rest(a, fd).n < 64 << 20);
    stream_rig_stop(&s);
}

TEST(the_end_of_the_server_waits_until_sources_are_closed)
{
    struct stream_rig s;
    stream_rig_init(&s);
    s.r.config.limits.drain_ns = 50 * MS;
    stream_rig_start(&s);
    int fd = dial(&s.r);
    ask(fd, a, "GET", "/source", 64 << 20);
    hear(a, fd, 1000);
    stream_rig_stop(&s);
    EXPECT_INT(1, s.closes);
    close(fd);
}

TEST(what_replies_from_sources_hold_is_counted)
{
    struct stream_rig s;
    stream_rig_init(&s);
    s.r.config.limits.reply_pool_bytes_max = 3 * HTTP_PIECE_BYTES_MAX;
    stream_rig_start(&s);
    int fds[2];
    for (int i = 0; i < 2; i++) {
        fds[i] = dial(&s.r);
        ask(fds[i], a, "GET", "/source", 64 << 20);
        hear(a, fds[i], 1000);
    }
    int fd = dial(&s.r);
    say(fd, S("PUT /later HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n"));
    struct http_exchange *x = stream_wait_held(&s);
    EXPECT(http_replies_full(x));
    close(fds[0]);
    stream_wait_closes(&s, 1);
    while (http_replies_full(x)) // until the exchange is gone, too
        nanosleep(&(struct timespec){ .tv_nsec = MS }, NULL);
    http_reply(x, 200, NULL, 0, S("now"));
    EXPECT(str_ends(hear_rest(a, fd), S("now")));
    close(fds[1]);
    stream_rig_stop(&s);
}
