// SPDX-License-Identifier: Apache-2.0
// Backups: consistent copies of a store, taken while it works, kept in a target
// (backup_target.h), incremental because what has the same content is kept once.
//
//     repository           a marker file (codec/marker.h) of the kind headrace-backups
//     lock                 held by whoever changes the repository (directories only)
//     objects/ab/abcd...   bytes, named by their SHA-256 in hexadecimal digits
//     backups/ID.json      what one backup consists of: path, hash and size of each file
//
// Everything acknowledged before backup_create began is in the backup. First the log is sealed, so
// that checkpoint and containers hold it all, and the containers are held; then the key-value store
// is copied. So a row of kv may speak of a shard that has no data yet, never data of a shard that
// has no row: such data is left out. At last the files of the object store are copied, which are
// held since before kv was: all that the copied rows name are among them.
//
// A backup counts once its ID.json is there, which is written last. Objects that no backup names
// are left over from runs that did not end; the next create or prune removes them.
#pragma once
#include "store/backup_target.h"

struct kv;
struct log;

enum { BACKUP_FORMAT = 1, BACKUP_LEAST_READER = 1 };

typedef struct BackupFile {
    Str path;            // in the data directory
    Str hash;            // 64 hexadecimal digits
    uint64_t bytes;      //
    uint64_t number, id; // of a container; 0: it is none
    uint64_t blob;       // the number of a file of the object store; 0: it is none
    uint64_t blob_id;    // of its content, if it is known without reading it; else 0
} BackupFile;

typedef struct Backup {
    Str id; // sorts by time: 20260131T120000.123456789Z
    int64_t created_ns;
    Str version; // of the program that made it
    uint64_t shards, containers, records, raw_bytes;
    int64_t newest_ms; // arrival of the newest record that may be in it; 0: none
    bool has_credentials;
    uint64_t bytes; // of all files
    BackupFile *files;
    size_t file_count;
} Backup;

// How it goes. Any function may be NULL. Called on the caller's thread.
typedef struct BackupWatch {
    bool (*stop)(void *self);                         // looked at once per piece: ERR_CLOSED then
    void (*progress)(void *self, uint64_t add_bytes); // read, hashed, copied or checked
    void (*problem)(void *self, Str name, Err e);     // damage, which does not end a check
    void *self;
} BackupWatch;

typedef struct BackupSource {
    struct io *io; // of the files
    Str data_dir;
    struct log *log;
    struct kv *kv;
    Str version;           // of this program
    bool with_credentials; // also the file with the secret key
    // Keeps files of the object store where they are, or lets them go (blob_hold); NULL: nobody
    // changes the store meanwhile.
    void (*hold)(void *self, bool on);
    void *hold_self;
} BackupSource;

typedef struct BackupOutcome {
    Backup backup;
    uint64_t new_objects, new_bytes; // stored by this run; the rest was there already
} BackupOutcome;

// Takes a backup. Blocks. ERR_BUSY: another process changes the target. ERR_INVALID: it is a
// directory of something else. ERR_FULL, ERR_IO, ERR_CORRUPT of either side; ERR_CLOSED: stopped.
// After an error the target is as it was, but for objects that nobody names.
Err backup_create(const BackupSource *source, struct backup_target *t, const BackupWatch *watch,
                  struct arena *a, BackupOutcome *ret);

// All backups, the oldest first. ERR_NOT_FOUND: this is no repository. Those that cannot be read
// are told as problems and left out; *ret_bad counts them.
Err backup_list(struct backup_target *t, const BackupWatch *watch, struct arena *a, Backup **ret,
                size_t *ret_n, size_t *ret_bad);
// By its id, or the newest if that is empty. ERR_NOT_FOUND, ERR_CORRUPT, ERR_FORMAT.
Err backup_find(struct backup_target *t, struct arena *a, Str id, Backup *ret);

// Reads every object of these backups once, compares size and hash, and takes apart the checkpoint
// and every chunk of every container. ERR_CORRUPT after all were read; each is told as a problem.
Err backup_verify(struct backup_target *t, const Backup *backups, size_t n,
                  const BackupWatch *watch);

// The same for containers of a log that are held (log_hold), in their own directory: *ret_records.
struct Checkpoint;
Err backup_check_held(struct io *io, Str dir, const struct Checkpoint *held,
                      const BackupWatch *watch, uint64_t *ret_records);

// Makes the files of a data directory, but for FORMAT, which the caller writes when this has
// returned OK: a directory without it is not taken for one. ERR_EXISTS: the directory is not empty.
// ERR_CORRUPT: an object is damaged. Positions that the log gives from then on are greater than
// those it gave in the first 2^36 blocks after the backup.
Err backup_restore(struct backup_target *t, const Backup *backup, struct io *io, Str dir,
                   const BackupWatch *watch);

typedef struct BackupPruned {
    size_t backups, objects; // removed
    uint64_t bytes;
} BackupPruned;

// Removes all but the newest `keep` backups, and what no backup names. ERR_CORRUPT: one cannot be
// read; then nothing is removed, since nobody knows what it names.
Err backup_prune(struct backup_target *t, size_t keep, const BackupWatch *watch, BackupPruned *ret);
