// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "os/io_fault.h"
#include "os/io_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void make_pair(int *ret)
{
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret) == 0);
}

static Err receive(struct io *io, int fd, struct arena *a, bool peek, Str *ret)
{
    char bytes[100];
    size_t n = 0;
    TRY(io->receive(io, fd, bytes, sizeof bytes, peek, &n));
    *ret = str_dup(a, str_from(bytes, n));
    return OK;
}

static Err send_str(struct io *io, int fd, Str s, size_t *ret_n)
{
    IoPart part = { .p = (void *)(uintptr_t)s.p, .n = s.n };
    return io->send(io, fd, &part, 1, ret_n);
}

TEST(a_socket_says_not_now_and_ended_and_broken_off_apart)
{
    struct io *io = io_real();
    int pair[2];
    make_pair(pair);
    Str got = { 0 };
    EXPECT_ERR(ERR_BUSY, receive(io, pair[1], a, false, &got));
    char one[] = "one", two[] = ",two";
    IoPart parts[] = { { one, 3 }, { one, 0 }, { two, 4 } };
    size_t n = 0;
    EXPECT_OK(io->send(io, pair[0], parts, COUNT_OF(parts), &n));
    EXPECT_INT(7, n);
    EXPECT_OK(receive(io, pair[1], a, true, &got)); // it is still there
    EXPECT_STR(S("one,two"), got);
    EXPECT_OK(receive(io, pair[1], a, false, &got));
    EXPECT_STR(S("one,two"), got);
    EXPECT(shutdown(pair[0], SHUT_WR) == 0);
    EXPECT_OK(receive(io, pair[1], a, false, &got));
    EXPECT_INT(0, got.n);
    close(pair[0]);
    EXPECT_ERR(ERR_CLOSED, send_str(io, pair[1], S("x"), &n)); // and no signal
    close(pair[1]);
}

TEST(a_full_socket_is_busy)
{
    struct io *io = io_real();
    int pair[2];
    make_pair(pair);
    Str block = str_from(arena_alloc(a, 65536, 1), 65536);
    memset((void *)(uintptr_t)block.p, 'b', block.n);
    size_t n = 0;
    Err e = OK;
    while (e.kind == ERR_NONE)
        e = send_str(io, pair[0], block, &n);
    EXPECT_ERR(ERR_BUSY, e);
    close(pair[0]);
    close(pair[1]);
}

static int listen_here(struct sockaddr_in *ret)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t n = sizeof *ret;
    *ret = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    EXPECT(bind(fd, (struct sockaddr *)ret, n) == 0 && listen(fd, 8) == 0 &&
           getsockname(fd, (struct sockaddr *)ret, &n) == 0);
    return fd;
}

static int connect_here(struct io *io, const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    Err e = io->connect(io, fd, (const struct sockaddr *)to, sizeof *to);
    EXPECT(e.kind == ERR_NONE || e.kind == ERR_BUSY);
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    EXPECT(poll(&p, 1, -1) == 1);
    return fd;
}

TEST(connections_are_made_and_accepted)
{
    AUTO(io_mem) disk = io_mem_open(1); // a disk in memory has the machine's network
    struct io *io = io_mem_io(disk);
    struct sockaddr_in at;
    struct sockaddr_storage from = { 0 };
    int listener = listen_here(&at), served = -1;
    EXPECT_ERR(ERR_BUSY, io->accept(io, listener, &from, &served));
    int client = connect_here(io, &at);
    EXPECT_OK(io->accept(io, listener, &from, &served));
    EXPECT_INT(AF_INET, from.ss_family);
    EXPECT((fcntl(served, F_GETFL) & O_NONBLOCK) != 0 && fcntl(served, F_GETFD) == FD_CLOEXEC);
    size_t n = 0;
    Str got = { 0 };
    EXPECT_OK(send_str(io, client, S("hello"), &n));
    EXPECT_OK(receive(io, served, a, false, &got));
    EXPECT_STR(S("hello"), got);

    struct linger at_once = { .l_onoff = 1 };
    EXPECT(setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    close(client); // a reset
    EXPECT_ERR(ERR_CLOSED, receive(io, served, a, false, &got));
    close(served);
    close(listener);
}

TEST(accepting_without_a_descriptor_is_a_limit)
{
    struct io *io = io_real();
    struct sockaddr_in at;
    struct rlimit old, none;
    int listener = listen_here(&at), client = connect_here(io, &at), served = -1;
    EXPECT(getrlimit(RLIMIT_NOFILE, &old) == 0);
    none = old;
    none.rlim_cur = 0;
    EXPECT(setrlimit(RLIMIT_NOFILE, &none) == 0);
    Err e = io->accept(io, listener, NULL, &served);
    EXPECT(setrlimit(RLIMIT_NOFILE, &old) == 0);
    EXPECT_ERR(ERR_LIMIT, e);
    EXPECT_INT(EMFILE, e.os);
    EXPECT_OK(io->accept(io, listener, NULL, &served));
    close(served);
    close(client);
    close(listener);
}

// ---- The network of io_fault.

TEST(an_injected_network_delivers_in_pieces_and_says_not_now)
{
    AUTO(io_fault) f = io_fault_open(io_real(), 7);
    struct io *io = io_fault_io(f);
    int pair[2];
    make_pair(pair);
    io_fault_net(f, (IoNetFault){ .piece_bytes_max = 7, .busy_percent = 50 });
    Str text = S("a text that is longer than a few pieces of it"), rest = text;
    AUTO_BUF(got);
    unsigned busy = 0;
    while (rest.n > 0 || got.n < text.n) {
        size_t n = 0;
        Str piece = { 0 };
        Err e = rest.n > 0 ? send_str(io, pair[0], rest, &n) : OK;
        EXPECT(n <= 7);
        rest = str_skip(rest, n);
        busy += e.kind == ERR_BUSY;
        e = receive(io, pair[1], a, false, &piece);
        EXPECT(e.kind == ERR_BUSY || (piece.n > 0 && piece.n <= 7));
        buf_add(&got, piece);
    }
    EXPECT_STR(text, buf_str(&got));
    EXPECT(busy > 0 && io_fault_net_hits(f) > 10);
    close(pair[0]);
    close(pair[1]);
}

TEST(an_injected_reset_comes_after_so_many_bytes_of_new_connections_only)
{
    AUTO(io_fault) f = io_fault_open(io_real(), 7);
    struct io *io = io_fault_io(f);
    struct sockaddr_in at;
    int listener = listen_here(&at), old_served = -1, served = -1;
    int old = connect_here(io_real(), &at);
    EXPECT_OK(io->accept(io, listener, NULL, &old_served));
    io_fault_net(f, (IoNetFault){ .resets = true, .reset_after = 5, .accept_limits = 1 });
    int client = connect_here(io_real(), &at);
    EXPECT_ERR(ERR_LIMIT, io->accept(io, listener, NULL, &served));
    EXPECT_OK(io->accept(io, listener, NULL, &served));
    size_t n = 0;
    Str got = { 0 };
    EXPECT_OK(send_str(io_real(), client, S("abc"), &n));
    EXPECT_OK(receive(io, served, a, true, &got)); // looking moves nothing
    EXPECT_OK(receive(io, served, a, false, &got));
    EXPECT_OK(send_str(io, served, S("defg"), &n));
    EXPECT_INT(2, n);
    EXPECT_INT(5, io_fault_net_bytes(f));
    EXPECT_ERR(ERR_CLOSED, send_str(io, served, S("fg"), &n));
    EXPECT_ERR(ERR_CLOSED, receive(io, served, a, false, &got));
    EXPECT_OK(send_str(io, old_served, S("longer than five"), &n));
    EXPECT_INT(16, n);
    close(served);
    close(client);
    close(old_served);
    close(old);
    close(listener);
}

TEST(a_file_whose_size_the_kernel_does_not_know_is_read_whole)
{
    Str got = { 0 };
    EXPECT_OK(io_read_file(io_real(), a, S("/proc/self/status"), 1 << 16, &got));
    EXPECT(str_starts(got, S("Name:")) && str_search(got, S("VmRSS:")) < got.n);
    EXPECT_ERR(ERR_LIMIT, io_read_file(io_real(), a, S("/proc/self/status"), 100, &got));
    EXPECT_OK(io_read_file(io_real(), a, S("/dev/null"), 100, &got));
    EXPECT_INT(0, got.n);
}
