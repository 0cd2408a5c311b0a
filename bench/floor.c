// SPDX-License-Identifier: Apache-2.0
// What no server can save that takes bodies over TCP and acknowledges what is durable: a thread for
// each connection receives a body into one buffer, hashes it, writes as many bytes as its records
// hold, and answers. It understands nothing and keeps nothing: the machine's own limit, to be held
// beside the real figures.
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 4096,
    FILE_BYTES = 512 << 20,
    FILL_BYTES = 1 << 20,
    HEAD_BYTES_MAX = 16 << 10,
    BODY_BYTES_MAX = 16 << 20,
    RECORD_TEXT_BYTES = 1425, // of a record of 1 KB in a body: what tells how many there are
    REPLY_RECORD_BYTES = 112, // what PutRecords answers for each
    REPLY_BYTES_MAX = 1 << 16,
    BACKLOG = 1024,
};

static struct {
    bool hashes, writes;
    int file;
    atomic_ullong blocks; // given out so far; they go round in the file
    char reply[REPLY_BYTES_MAX];
} floor_of;

// Where so many blocks in a row go.
static off_t place_of(uint64_t blocks)
{
    const uint64_t all = FILE_BYTES / BLOCK_BYTES;
    uint64_t at = atomic_fetch_add(&floor_of.blocks, blocks) % all;
    return at + blocks > all ? 0 : (off_t)(at * BLOCK_BYTES);
}

static bool keep(const char *body, size_t n)
{
    if (floor_of.hashes) {
        unsigned char hash[EVP_MAX_MD_SIZE];
        if (EVP_Digest(body, n, hash, NULL, EVP_sha256(), NULL) != 1)
            return false;
    }
    if (!floor_of.writes)
        return true;
    uint64_t blocks = (n / 4 * 3 + BLOCK_BYTES - 1) / BLOCK_BYTES; // base64: three bytes in four
    size_t bytes = (size_t)blocks * BLOCK_BYTES;
    return pwrite(floor_of.file, body, bytes, place_of(blocks)) == (ssize_t)bytes;
}

static bool answer(int fd, size_t body_bytes)
{
    size_t n = (body_bytes / RECORD_TEXT_BYTES + 1) * REPLY_RECORD_BYTES;
    if (n > sizeof floor_of.reply)
        n = sizeof floor_of.reply;
    char head[128];
    int used = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
    return write_both(fd, head, (size_t)used, floor_of.reply, n);
}

// The length that the head says; the head ends before `end`.
static size_t length_of(const char *head, const char *end)
{
    for (const char *p = head; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
        if (strncasecmp(p + 1, "content-length:", 15) == 0)
            return strtoul(p + 16, NULL, 10);
    return 0;
}

static bool serve_one(int fd, char *head, char *body)
{
    size_t filled = 0;
    char *end = NULL;
    while (end == NULL) {
        if (filled >= HEAD_BYTES_MAX - 1)
            return false;
        ssize_t got = recv(fd, head + filled, HEAD_BYTES_MAX - 1 - filled, 0);
        if (got <= 0)
            return false;
        filled += (size_t)got;
        head[filled] = 0;
        end = strstr(head, "\r\n\r\n");
    }
    end += 4;
    size_t n = length_of(head, end), have = filled - (size_t)(end - head);
    if (n == 0 || n > BODY_BYTES_MAX || have > n)
        return false;
    memcpy(body, end, have);
    return (have == n || read_until(fd, body, BODY_BYTES_MAX, &have, n)) && keep(body, n) &&
           answer(fd, n);
}

static void *serve(void *argument)
{
    int fd = (int)(intptr_t)argument;
    char *head = must_alloc(HEAD_BYTES_MAX), *body = NULL;
    if (posix_memalign((void **)&body, BLOCK_BYTES, BODY_BYTES_MAX) == 0) {
        while (serve_one(fd, head, body))
            ;
        free(body);
    }
    free(head);
    close(fd);
    return NULL;
}

// Blocks that were written once, as a journal's are, so that later writes change no metadata.
static int open_file(const char *path)
{
    int plain = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    char *block = must_alloc(FILL_BYTES);
    bool good = plain >= 0;
    for (off_t at = 0; good && at < FILE_BYTES; at += FILL_BYTES)
        good = pwrite(plain, block, FILL_BYTES, at) == FILL_BYTES;
    free(block);
    good = good && fsync(plain) == 0;
    if (plain >= 0)
        close(plain);
    return good ? open(path, O_WRONLY | O_DIRECT | O_DSYNC | O_CLOEXEC) : -1;
}

static int listen_on(const char *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)strtol(port, NULL, 10)) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, BACKLOG) != 0) {
        fprintf(stderr, "port %s: %s\n", port, strerror(errno));
        exit(1);
    }
    return fd;
}

// `what`: "receive", "hash" (and receive), "durable" (and both).
int run_floor(const char *port, const char *path, const char *what)
{
    floor_of.hashes = strcmp(what, "receive") != 0;
    floor_of.writes = strcmp(what, "durable") == 0;
    memset(floor_of.reply, ' ', sizeof floor_of.reply);
    floor_of.file = open_file(path);
    if (floor_of.file < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    int listener = listen_on(port);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0)
            pthread_detach(thread);
        else
            close(fd);
    }
}
