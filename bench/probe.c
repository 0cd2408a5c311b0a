// SPDX-License-Identifier: Apache-2.0
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_BYTES = 64 << 20, ALIGNMENT = 4096 };

// A file whose blocks are allocated and written once, as a journal's are: later writes change no
// metadata.
static int open_filled(const char *path, void *block, size_t bytes)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    int plain = open(path, O_WRONLY | O_CLOEXEC);
    bool filled = plain >= 0;
    for (off_t at = 0; filled && at + (off_t)bytes <= FILE_BYTES; at += (off_t)bytes)
        filled = pwrite(plain, block, bytes, at) == (ssize_t)bytes;
    filled = filled && fsync(plain) == 0;
    if (plain >= 0)
        close(plain);
    if (!filled) {
        close(fd);
        return -1;
    }
    return fd;
}

static void *aligned(size_t bytes)
{
    void *block = NULL;
    if (bytes % ALIGNMENT != 0 || posix_memalign(&block, ALIGNMENT, bytes) != 0) {
        fprintf(stderr, "%zu is not a multiple of %d, or too much\n", bytes, ALIGNMENT);
        exit(2);
    }
    memset(block, 'x', bytes);
    return block;
}

static void report(const char *what, size_t bytes, const struct latencies *l, double seconds)
{
    printf("{\"peer\": \"%s\", \"bytes\": %zu, \"count\": %llu, \"rate\": %.1f, \"mb_s\": %.1f, ",
           what, bytes, (unsigned long long)l->n, (double)l->n / seconds,
           (double)l->n * (double)bytes / seconds / 1e6);
    latencies_print(l);
    printf("}\n");
}

int probe_writes(const char *folder, size_t bytes, unsigned seconds)
{
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/probe", folder);
    if (length < 0 || (size_t)length >= sizeof path || bytes > FILE_BYTES)
        return 2;
    void *block = aligned(bytes);
    int fd = open_filled(path, block, bytes);
    if (fd < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        free(block);
        return 1;
    }
    static struct latencies latencies;
    uint64_t begin = now_us(), end = begin + (uint64_t)seconds * 1000000, now = begin;
    bool good = true;
    for (off_t at = 0; good && now < end;) {
        good = pwrite(fd, block, bytes, at) == (ssize_t)bytes;
        uint64_t done = now_us();
        latencies_add(&latencies, done - now);
        now = done;
        at = at + 2 * (off_t)bytes <= FILE_BYTES ? at + (off_t)bytes : 0;
    }
    report("writes", bytes, &latencies, (double)(now - begin) / 1e6);
    free(block);
    close(fd);
    unlink(path);
    return good ? 0 : 1;
}

int probe_reads(const char *path, size_t bytes, unsigned seconds)
{
    void *block = aligned(bytes);
    int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        free(block);
        return 1;
    }
    static struct latencies latencies;
    uint64_t begin = now_us(), end = begin + (uint64_t)seconds * 1000000, now = begin;
    bool good = true;
    for (off_t at = 0; good && now < end;) {
        ssize_t got = pread(fd, block, bytes, at);
        good = got == (ssize_t)bytes || at > 0;
        at = got == (ssize_t)bytes ? at + got : 0; // its last part is not read
        uint64_t done = now_us();
        if (got == (ssize_t)bytes)
            latencies_add(&latencies, done - now);
        now = done;
    }
    report("reads", bytes, &latencies, (double)(now - begin) / 1e6);
    free(block);
    close(fd);
    return good ? 0 : 1;
}
