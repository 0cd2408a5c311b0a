// SPDX-License-Identifier: Apache-2.0
// The key-value store: what services know, in ordered tables of byte strings, durable at commit.
//
// SQLite in WAL mode with synchronous=FULL beneath, its files reached through the io table. Writers
// take turns; the commits of those that wait are grouped into one sync. Hot data is kept in RAM by
// its owner: kv is where it is found again after a crash.
#pragma once
#include "os/io.h"

struct kv;
struct kv_table;
struct kv_txn;

enum { KV_KEY_BYTES_MAX = 4096, KV_VALUE_BYTES_MAX = 16 << 20 };

// ERR_CORRUPT: the file is damaged. ERR_FORMAT: written by a newer program.
Err kv_open(struct io *io, Str path, struct kv **ret);
struct kv *kv_open_test(void); // in memory
void kv_close(struct kv *db);  // NULL is fine
AUTO_CLOSE(kv)

// Writes a copy of the store, as one commit has left it, to a file of that table, and syncs it; the
// directory is not synced. The file must be absent or empty; on an error it holds anything. Blocks;
// others go on reading and writing.
Err kv_snapshot(struct kv *db, struct io *io, Str path);

// Opens a copy of the store in memory: the file and its log are read and nothing is touched. For
// tools; ERR_LIMIT: it is larger than 1 GiB.
Err kv_open_copy(struct io *io, Str path, struct kv **ret);

// Borrowed: closed with the store. Made if it does not exist. The same name gives the same table.
Err kv_table_open(struct kv *db, Str name, struct kv_table **ret);

// Transactions may touch every table of the store. A write transaction sees its own changes; it is
// rolled back unless committed. Neither may be held over a wait for a client.
//
// A reader sees what was committed when it first read, whatever is written meanwhile; 32 read at
// once, more wait. A thread has one write transaction at a time: a second one would wait for
// itself, so it ends the program. Beginning does not fail; what hurts a transaction (ERR_FULL,
// ERR_IO) is returned by the call that meets it and by all calls after it, kv_commit included.
struct kv_txn *kv_write(struct kv_table *t); // waits for its turn
struct kv_txn *kv_read(struct kv_table *t);
void kv_txn_close(struct kv_txn *tx); // rolls back what was not committed; NULL is fine
AUTO_CLOSE(kv_txn)
Err kv_commit(struct kv_txn *tx); // on disk when this returns; an error: nothing of it is

// The short forms work on the table the transaction was begun with; kv_on(tx, t) selects another.
void kv_on(struct kv_txn *tx, struct kv_table *t);
Err kv_put(struct kv_txn *tx, Str key, Str value);
Err kv_del(struct kv_txn *tx, Str key);                                  // OK if absent
Err kv_get(struct kv_txn *tx, struct arena *a, Str key, Str *ret_value); // ERR_NOT_FOUND
Err kv_count(struct kv_txn *tx, Str prefix, size_t *ret);

// The rows whose key starts with `prefix` and is greater than `after` (empty: from the first), in
// order of bytes. `rest` is the key without the prefix; rest and value live until the next step.
struct kv_scan {
    Err err; // why it broke off
    Str rest, value;
    struct kv_txn *tx; // the store's
    void *cursor;
    size_t prefix_bytes;
};
struct kv_scan kv_scan_start(struct kv_txn *tx, Str prefix, Str after);
bool kv_scan_next(struct kv_scan *s);
void kv_scan_end(struct kv_scan *s); // only needed when a scan is left before its end

// Writes the store anew, so that nothing which rows held before they were changed or removed is
// left in its files: for secrets that an older program has kept in plain. Takes as much memory and
// disk as the store has. ERR_LIMIT: it is larger than 1 GiB. ERR_BUSY: somebody is reading. The
// thread has no transaction.
Err kv_scrub(struct kv *db);

// A number that this store has never given before, from 1: commits with the transaction, so an
// aborted one may give it again.
Err kv_next_id(struct kv_txn *tx, uint64_t *ret);
