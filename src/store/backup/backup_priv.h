// SPDX-License-Identifier: Apache-2.0
// What the files of the room share.
#pragma once
#include "codec/hash.h"
#include "store/backup.h"
#include "store/sealed/checkpoint.h"

enum {
    BACKUP_PIECE_BYTES = 1 << 20, // read, hashed and copied at once
    HASH_CHARS = 2 * SHA256_BYTES,
    MANIFEST_BYTES_MAX = 512 << 20, // some 2,500,000 files
    SMALL_FILE_BYTES_MAX = 1 << 20,
};

#define REPOSITORY_NAME S("repository")
#define REPOSITORY_KIND S("headrace-backups")
#define MANIFEST_KIND S("headrace-backup")
#define PATH_CHECKPOINT S("journal/checkpoint.hrp")
#define PATH_CONTAINERS S("journal/sealed")
#define PATH_BLOBS S("blobs")
#define PATH_KV S("headrace.db")
#define PATH_CLOCK S("clock")
#define PATH_CREDENTIALS S("credentials")
#define PATH_MASTER_KEY S("master.key") // of svc/kms

// ---- Watching

static inline bool watch_stops(const BackupWatch *w)
{
    return w != NULL && w->stop != NULL && w->stop(w->self);
}

static inline void watch_add(const BackupWatch *w, uint64_t bytes)
{
    if (w != NULL && w->progress != NULL)
        w->progress(w->self, bytes);
}

static inline void watch_problem(const BackupWatch *w, Str name, Err e)
{
    if (w != NULL && w->problem != NULL)
        w->problem(w->self, name, e);
}

// ---- Reading files (backup_file.c)

// A file that is read piece by piece, directly if it is a whole number of pages.
struct file_reader {
    struct io *io;
    struct io_file *file;
    uint64_t bytes;
    const BackupWatch *watch;
};

Err file_reader_open(struct io *io, Str path, const BackupWatch *watch, struct file_reader *ret);
void file_reader_close(struct file_reader *r);
BackupBytes reader_bytes(struct file_reader *r);
BackupBytes memory_bytes(const Str *s); // s outlives it

// The SHA-256 of it all, in hexadecimal digits.
Err bytes_hash(const BackupBytes *b, struct arena *a, Str *ret);
// The whole object, at most max bytes.
Err object_read(struct backup_target *t, struct arena *a, Str name, size_t max, Str *ret);

// ---- Names and manifests (backup_manifest.c)

Str object_name(struct arena *a, Str hash); // objects/ab/abcd...
Str manifest_name(struct arena *a, Str id);
Str manifest_write(struct arena *a, const Backup *b);
// ERR_CORRUPT: no manifest, damaged, or of another id. ERR_FORMAT: a newer program's. In the arena.
Err manifest_read(struct arena *a, Str id, Str content, Backup *ret);

// ---- The repository (backup_repository.c)

// Checks the marker. ERR_NOT_FOUND: no repository. ERR_FORMAT, ERR_CORRUPT.
Err repository_open(struct backup_target *t);
// The same and takes the lock; makes a repository where there is nothing. ERR_INVALID: something
// else lies there.
Err repository_make(struct backup_target *t);

// The objects that are there, by name.
typedef struct ObjectList {
    BackupName *at;
    size_t n;
} ObjectList;
Err objects_list(struct backup_target *t, struct arena *a, ObjectList *ret);
bool objects_have(const ObjectList *l, Str name, uint64_t bytes);

// Removes what none of the backups names.
Err repository_sweep(struct backup_target *t, const Backup *backups, size_t n, BackupPruned *ret);
