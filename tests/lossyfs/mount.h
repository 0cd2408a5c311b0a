// SPDX-License-Identifier: Apache-2.0
// What the parts of the program share: the disk, what goes wrong on it, and the lock over both.
#pragma once
#include "rules.h"

#include <pthread.h>

struct mount {
    pthread_mutex_t lock;
    struct disk *disk;
    struct rules rules;
    int64_t cut_ns; // CLOCK_MONOTONIC, just before the power went; 0: it is on
};

struct fuse_lowlevel_ops;
extern const struct fuse_lowlevel_ops mount_ops; // on a struct mount

// Cuts the power now, with the lock held. False: it is off already.
bool mount_cut(struct mount *m, DiskCut cut);

// Answers commands on a socket at `path`, on a thread of its own, until the process ends.
// 0 or an errno.
int control_start(struct mount *m, const char *path);
// Carries out one command and writes one line, without its end, into `ret`.
void control_obey(struct mount *m, char *line, char *ret, size_t room);
