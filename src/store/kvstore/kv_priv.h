// SPDX-License-Identifier: Apache-2.0
// What the files of kv know of each other: kv.c opens and closes, kv_txn.c has turns, groups and
// commits, kv_row.c reads and writes rows, kv_seal.c knows a row from its damage.
//
//     kv_row    (t, k, v)        every row of every table, in the order of table number and key;
//                                table 0 holds a seal for each table
//     kv_table  (id, name)       the numbers of tables, from 1
//     kv_state  (next_id, seal)  one row
//
// One connection writes, a few read. SQLite's snapshots keep the readers on committed state while a
// group of transactions is being written.
#pragma once
#include "store/kv.h"

#include <pthread.h>
#include <sqlite3.h>

#define KV_SCRUB_BYTES_MAX (INT64_C(1) << 30)

enum {
    KV_FORMAT = 2, // user_version of the file; 1 had no seals and is sealed when it is opened
    KV_APPLICATION_ID = 0x48524b56, // "HRKV"
    KV_SEAL_BYTES = 4,              // behind every value
    KV_GROUP_MAX = 128,             // transactions in one commit: the first has waited for the last
    KV_READERS_MAX = 32,            // connections that read; more wait
    KV_CHECKPOINT_PAGES = 1000,     // in the log, from which on it is copied into the database
    KV_RESTART_PAGES = 16 * 1000,   // from which on readers are kept away until it is
    KV_WRITER_CACHE_KIB = 16 * 1024, // of pages
    KV_READER_CACHE_KIB = 1024,
};

enum kv_statement {
    KV_BEGIN_WRITE,
    KV_BEGIN_READ,
    KV_END, // COMMIT
    KV_ABORT,
    KV_SAVE, // of one member of a group
    KV_RELEASE,
    KV_UNDO, // back to the savepoint
    KV_GET,
    KV_PUT,
    KV_DEL,
    KV_COUNT,
    KV_NEXT_ID,
    KV_SCAN, // prepared anew for each scan that runs beside others
    KV_STATEMENTS,
};

// A running scan; the idle ones are kept with their statement.
struct kv_cursor {
    struct kv_cursor *next;
    sqlite3_stmt *statement;
    int64_t table_id;
};

struct kv_conn {
    sqlite3 *db;
    sqlite3_stmt *statements[KV_STATEMENTS];
    struct kv_cursor *running, *idle;
    struct kv_conn *next; // of idle readers
};

struct kv_table {
    struct kv_table *next;
    struct kv *db;
    int64_t id;
    Str name; // in memory behind the struct
};

struct kv_txn {
    struct kv *db;
    struct kv_conn *conn; // NULL: it could not begin
    int64_t table_id;
    bool writes;
    bool has_turn; // a writer that has not ended
    Err err;       // every call returns it: the transaction is lost
    // Of a writer that waits, for its turn or for its group; guarded by the store's lock.
    struct kv_txn *next;
    pthread_cond_t wake;
    bool granted; // its turn has come
    bool settled; // its group has ended, see err
    pthread_t thread;
};

struct txn_list {
    struct kv_txn *first, *last;
};

struct kv {
    struct io *io;
    struct io_mem *memory; // of kv_open_test
    struct sqlite_vfs *vfs;
    struct io_file *lock_file;
    char *path;
    struct kv_conn writer; // belongs to whoever has the turn

    pthread_mutex_t lock; // everything below
    struct kv_table *tables;
    bool turn_taken;
    pthread_t turn_thread;
    struct txn_list queue; // who waits for the turn
    struct txn_list group; // who waits for the commit
    size_t group_count;
    struct kv_conn *idle_readers;
    unsigned reader_count, active_readers;
    pthread_cond_t reader_free;

    // Of the writer: belong to whoever has the turn.
    bool in_txn;      // a SQLite transaction is open
    bool undo_is_due; // a failed commit may have left frames in the log
    int log_pages;    // as of the last commit
    bool keeps_log;   // a checkpoint has failed: the next start is to find all of the log
};

// ---- kv.c

Err kv_conn_open(struct kv *db, struct kv_conn *c, int cache_kib);
void kv_conn_close(struct kv_conn *c);
Err kv_exec(sqlite3 *db, const char *sql);
Err kv_query_int(sqlite3 *db, const char *sql, int64_t *ret); // the first column of the first row

// ---- kv_seal.c

// Makes kv_seal() and kv_sound() known to a connection.
Err kv_seal_setup(sqlite3 *db);
// The value that stands in a row of that table and key; false: it is damaged.
bool kv_unseal(int64_t table, Str key, Str sealed, Str *ret_value);
extern const char kv_count_damaged[]; // a query for how much of the store is damaged
extern const char kv_seal_all[];      // statements that make format 2 of format 1

// ---- kv_row.c

// Runs a statement that gives no row.
Err kv_run(struct kv_conn *c, enum kv_statement which);
Err kv_prepare(struct kv_conn *c);
void kv_end_scans(struct kv_conn *c);
