// SPDX-License-Identifier: Apache-2.0
// The sockets of the real table: one system call each.
#include "os/io_socket_priv.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

// Parts are handed to the kernel as they are.
_Static_assert(sizeof(IoPart) == sizeof(struct iovec) &&
                   offsetof(IoPart, p) == offsetof(struct iovec, iov_base) &&
                   offsetof(IoPart, n) == offsetof(struct iovec, iov_len),
               "an IoPart is an iovec");

static Err socket_failed(int error)
{
    ErrKind kind = ERR_IO;
    const char *text = "a connection failed";
    switch (error) {
    case EAGAIN:
    case EINPROGRESS:
        kind = ERR_BUSY;
        text = "the connection would block";
        break;
    case ECONNABORTED:
    case ECONNREFUSED:
    case ECONNRESET:
    case ENOTCONN:
    case EPIPE:
    case ETIMEDOUT:
        kind = ERR_CLOSED;
        text = "the peer has broken off the connection";
        break;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        kind = ERR_LIMIT;
        text = "no descriptor or memory for a connection";
        break;
    default:
        break;
    }
    return (Err){ .kind = kind, .os = error, .text = text };
}

Err real_receive(struct io *io, int fd, void *p, size_t n, bool peek, size_t *ret_n)
{
    (void)io;
    ssize_t r;
    do
        r = recv(fd, p, n, peek ? MSG_PEEK : 0);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return socket_failed(errno);
    *ret_n = (size_t)r;
    return OK;
}

static Err send_parts(int fd, const IoPart *parts, size_t count, int flags, size_t *ret_n)
{
    struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = count };
    ssize_t r;
    do
        r = sendmsg(fd, &m, MSG_NOSIGNAL | flags);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return socket_failed(errno);
    *ret_n = (size_t)r;
    return OK;
}

Err real_send(struct io *io, int fd, const IoPart *parts, size_t count, size_t *ret_n)
{
    (void)io;
    return send_parts(fd, parts, count, 0, ret_n);
}

// MSG_MORE: what a reply begins with goes into the packet of its first bytes.
Err real_send_file(struct io *io, int fd, const IoPart *parts, size_t count, IoSpan span,
                   size_t *ret_n)
{
    size_t want = 0, before = 0;
    off_t at = (off_t)span.at;
    ssize_t r;
    (void)io;
    for (size_t i = 0; i < count; i++)
        want += parts[i].n;
    if (want > 0)
        TRY(send_parts(fd, parts, count, MSG_MORE, &before));
    *ret_n = before;
    if (before < want)
        return OK;
    do
        r = sendfile(fd, span.file, &at, span.n);
    while (r < 0 && errno == EINTR);
    if (r == 0)
        return fail(ERR_IO, "a file is shorter than what is sent of it");
    if (r < 0)
        return before > 0 && errno == EAGAIN ? OK : socket_failed(errno);
    *ret_n += (size_t)r;
    return OK;
}

Err real_accept(struct io *io, int fd, struct sockaddr_storage *ret_from, int *ret_fd)
{
    (void)io;
    socklen_t n = sizeof *ret_from;
    int r;
    do
        r = accept4(fd, (struct sockaddr *)ret_from, ret_from != NULL ? &n : NULL,
                    SOCK_CLOEXEC | SOCK_NONBLOCK);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return socket_failed(errno);
    *ret_fd = r;
    return OK;
}

Err real_connect(struct io *io, int fd, const struct sockaddr *to, size_t to_bytes)
{
    (void)io;
    if (connect(fd, to, (socklen_t)to_bytes) == 0)
        return OK;
    // Interrupted, it goes on in the background like one that would block.
    return socket_failed(errno == EINTR ? EINPROGRESS : errno);
}
