// SPDX-License-Identifier: Apache-2.0
// Where backups are kept: named objects that are stored whole or not at all. A directory is one
// such place; another kind is another table of these functions.
//
// Names are relative paths of letters, digits, '.', '-', '_' and '/'. One thread at a time.
#pragma once
#include "os/io.h"

// Bytes to be stored: read in pieces, more than once if a target wants to.
typedef struct BackupBytes {
    uint64_t n;
    // Exactly n bytes from `at` on, or an error.
    Err (*read)(void *self, void *p, size_t n, uint64_t at);
    void *self;
} BackupBytes;

// A stored object as a file that can be read.
typedef struct BackupObject {
    struct io *io;
    Str path;
    uint64_t bytes;
    void *own; // the target's
} BackupObject;

typedef struct BackupName {
    Str name;
    uint64_t bytes;
} BackupName;

struct backup_target {
    // Nobody else changes the target until it is closed. ERR_BUSY: somebody does. ERR_DENIED: it
    // can only be read.
    Err (*lock)(struct backup_target *t);
    // Durable under its name when it returns; replaces what had the name. After an error, or a
    // crash, the name is as it was.
    Err (*put)(struct backup_target *t, Str name, const BackupBytes *bytes);
    // ERR_NOT_FOUND. The object, brought near if it is elsewhere, until it is let go.
    Err (*fetch)(struct backup_target *t, struct arena *a, Str name, BackupObject *ret);
    void (*let_go)(struct backup_target *t, BackupObject *o);
    // All objects whose names start with the prefix, which is empty or ends in '/', by name. None
    // is no error. What puts that never ended have left is among them, with names of its own.
    Err (*list)(struct backup_target *t, struct arena *a, Str prefix, BackupName **ret,
                size_t *ret_n);
    Err (*remove)(struct backup_target *t, Str name); // OK if absent
    void (*close)(struct backup_target *t);
};

static inline void backup_target_close(struct backup_target *t) // NULL is fine
{
    if (t != NULL)
        t->close(t);
}
AUTO_CLOSE(backup_target)

// A directory. It is made, with its parents, by the first put or lock if it is not there.
void backup_target_dir(struct io *io, Str dir, struct backup_target **ret);
