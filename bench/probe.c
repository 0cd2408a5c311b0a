// SPDX-License-Identifier: Apache-2.0
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_BYTES = 256 << 20, ALIGNMENT = 4096, WRITES_MAX = 4000000 };

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

int probe_disk(const char *folder, size_t bytes, unsigned seconds)
{
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/probe", folder);
    void *block = NULL;
    if (length < 0 || (size_t)length >= sizeof path || bytes % ALIGNMENT != 0 ||
        posix_memalign(&block, ALIGNMENT, bytes) != 0)
        return 2;
    memset(block, 'x', bytes);
    int fd = open_filled(path, block, bytes);
    if (fd < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        free(block);
        return 1;
    }
    uint32_t *us = must_alloc(WRITES_MAX * sizeof *us);
    size_t n = 0;
    uint64_t begin = now_us(), end = begin + (uint64_t)seconds * 1000000, now = begin;
    bool good = true;
    for (off_t at = 0; good && now < end && n < WRITES_MAX; n++) {
        good = pwrite(fd, block, bytes, at) == (ssize_t)bytes;
        uint64_t done = now_us();
        us[n] = (uint32_t)(done - now);
        now = done;
        at = at + 2 * (off_t)bytes <= FILE_BYTES ? at + (off_t)bytes : 0;
    }
    double took = (double)(now - begin) / 1e6;
    printf("{\"peer\": \"disk\", \"bytes\": %zu, \"writes\": %zu, \"rate\": %.1f, \"mb_s\": %.1f, ",
           bytes, n, (double)n / took, (double)n * (double)bytes / took / 1e6);
    print_latencies(us, n);
    printf("}\n");
    free(us);
    free(block);
    close(fd);
    unlink(path);
    return good ? 0 : 1;
}
