// SPDX-License-Identifier: Apache-2.0
// What every client of the load generators needs: sockets, time, memory, bytes that do not repeat.
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IO_SECONDS_MAX = 30 };

uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void *must_alloc(size_t n)
{
    void *p = calloc(1, n > 0 ? n : 1);
    if (p == NULL) {
        fprintf(stderr, "no memory\n");
        exit(1);
    }
    return p;
}

int connect_quietly(const char *port)
{
    long number = strtol(port, NULL, 10);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)number) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    struct timeval limit = { .tv_sec = IO_SECONDS_MAX };
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return fd;
}

int connect_to(const char *port)
{
    int fd = connect_quietly(port);
    if (fd < 0)
        fprintf(stderr, "connecting to port %s: %s\n", port, strerror(errno));
    return fd;
}

bool write_all(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent <= 0 && errno != EINTR)
            return false;
        if (sent > 0) {
            at += sent;
            n -= (size_t)sent;
        }
    }
    return true;
}

bool write_both(int fd, const void *p, size_t n, const void *q, size_t m)
{
    struct iovec parts[2] = { { (void *)p, n }, { (void *)q, m } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
    ssize_t sent;
    do
        sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return false;
    size_t first = (size_t)sent < n ? (size_t)sent : n, second = (size_t)sent - first;
    return write_all(fd, (const char *)p + first, n - first) &&
           write_all(fd, (const char *)q + second, m - second);
}

bool read_until(int fd, char *buffer, size_t capacity, size_t *filled, size_t want)
{
    while (*filled < want) {
        if (*filled == capacity)
            return false;
        ssize_t got = recv(fd, buffer + *filled, capacity - *filled, 0);
        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        if (got > 0)
            *filled += (size_t)got;
    }
    return true;
}

uint64_t seed_of(unsigned client)
{
    return UINT64_C(88172645463325252) + client;
}

void fill_text(char *p, size_t n, uint64_t *seed)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (size_t i = 0; i < n; i++) {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        p[i] = letters[*seed % 64];
    }
}
