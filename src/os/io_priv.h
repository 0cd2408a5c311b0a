// SPDX-License-Identifier: Apache-2.0
// What the files of the real io table know of each other.
#pragma once
#include "os/io.h"

struct io_file {
    int fd;
    bool direct;
};

// Every queue begins with the functions of its kind.
struct io_queue {
    const struct queue_kind *kind;
};

struct queue_kind {
    const char *name;
    void (*close)(struct io_queue *q);
    Err (*submit)(struct io_queue *q, struct io_write *w);
    Err (*wait)(struct io_queue *q, struct io_write **ret);
};

enum { QUEUE_DEPTH_MAX = 256 }; // more writes at once than any device gains from

Err real_write(struct io_file *f, const void *p, size_t n, uint64_t at, bool durable);

// Whether pwritev2 may be asked for RWF_DSYNC; tests say no, as old kernels and filesystems do.
void real_allow_dsync(bool allow);

// ERR_DENIED: this kernel, or its policy for this process, has no io_uring.
Err queue_uring_open(unsigned depth, struct io_queue **ret);
Err queue_threads_open(unsigned depth, struct io_queue **ret);
