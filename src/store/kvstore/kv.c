// SPDX-License-Identifier: Apache-2.0
#include "store/kvstore/kv_priv.h"

#include "os/io_mem.h"
#include "store/kvstore/sqlite_vfs.h"

#include <stdlib.h>
#include <string.h>

// ---- Connections

Err kv_exec(sqlite3 *db, const char *sql)
{
    return sqlite_vfs_err(sqlite3_exec(db, sql, NULL, NULL, NULL));
}

// Ends a query of one row whose last step gave this code. What a statement changes is committed
// when it ends, after its row was given, and may fail there.
static Err query_end(sqlite3_stmt *s, int code)
{
    int end = sqlite3_finalize(s);
    if (end != SQLITE_OK)
        return sqlite_vfs_err(end);
    return code == SQLITE_ROW ? OK : fail(ERR_IO, "sqlite: a query gave no row");
}

// The first column of the first row, as a number.
Err kv_query_int(sqlite3 *db, const char *sql, int64_t *ret)
{
    sqlite3_stmt *s = NULL;
    TRY(sqlite_vfs_err(sqlite3_prepare_v2(db, sql, -1, &s, NULL)));
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW)
        *ret = sqlite3_column_int64(s, 0);
    return query_end(s, code);
}

static Err query_is(sqlite3 *db, const char *sql, Str want, bool *ret)
{
    sqlite3_stmt *s = NULL;
    TRY(sqlite_vfs_err(sqlite3_prepare_v2(db, sql, -1, &s, NULL)));
    int code = sqlite3_step(s);
    *ret = code == SQLITE_ROW && str_eq(str_of((const char *)sqlite3_column_text(s, 0)), want);
    return query_end(s, code);
}

static Err open_sqlite(struct kv *db, struct kv_conn *c, int cache_kib)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    TRY(sqlite_vfs_err(sqlite3_open_v2(db->path, &c->db, flags, sqlite_vfs_name(db->vfs))));
    sqlite3_extended_result_codes(c->db, 1);
    TRY(kv_seal_setup(c->db));
    AUTO(arena) tmp = arena_open();
    Str sql = str_fmt(tmp,
                      "PRAGMA temp_store = MEMORY; PRAGMA synchronous = FULL; "
                      "PRAGMA cache_size = -%d; PRAGMA secure_delete = FAST; "
                      "PRAGMA wal_autocheckpoint = 0; PRAGMA trusted_schema = OFF;",
                      cache_kib);
    return kv_exec(c->db, str_c(tmp, sql));
}

Err kv_conn_open(struct kv *db, struct kv_conn *c, int cache_kib)
{
    Err e = open_sqlite(db, c, cache_kib);
    if (e.kind == ERR_NONE)
        e = kv_prepare(c);
    if (e.kind != ERR_NONE)
        kv_conn_close(c);
    return e;
}

void kv_conn_close(struct kv_conn *c)
{
    kv_end_scans(c);
    while (c->idle != NULL) {
        struct kv_cursor *cursor = c->idle;
        c->idle = cursor->next;
        sqlite3_finalize(cursor->statement);
        free(cursor);
    }
    for (size_t i = 0; i < KV_STATEMENTS; i++)
        sqlite3_finalize(c->statements[i]);
    CHECK(sqlite3_close(c->db) == SQLITE_OK); // busy only if we forgot a statement
    *c = (struct kv_conn){ 0 };
}

// ---- The store

static Err make_schema(sqlite3 *db)
{
    AUTO(arena) tmp = arena_open();
    Str sql = str_fmt(tmp,
                      "BEGIN IMMEDIATE;"
                      "CREATE TABLE kv_row (t INTEGER NOT NULL, k BLOB NOT NULL, v BLOB NOT NULL,"
                      " PRIMARY KEY (t, k)) WITHOUT ROWID;"
                      "CREATE TABLE kv_table (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE);"
                      "CREATE TABLE kv_state (next_id INTEGER NOT NULL, seal BLOB);"
                      "INSERT INTO kv_state VALUES (0, kv_seal(0, '', CAST(0 AS BLOB)));"
                      "PRAGMA application_id = %d; PRAGMA user_version = %d;"
                      "COMMIT;",
                      KV_APPLICATION_ID, KV_FORMAT);
    return kv_exec(db, str_c(tmp, sql));
}

// The file of an older program becomes one of ours, as a whole or not at all.
static Err seal_all(sqlite3 *db)
{
    AUTO(arena) tmp = arena_open();
    Str sql = str_fmt(tmp, "BEGIN IMMEDIATE; %s PRAGMA user_version = %d; COMMIT;", kv_seal_all,
                      KV_FORMAT);
    Err e = kv_exec(db, str_c(tmp, sql));
    if (e.kind != ERR_NONE)
        err_ignore(kv_exec(db, "ROLLBACK")); // if that fails, closing it does
    return e;
}

static Err check_rows(sqlite3 *db)
{
    int64_t damaged = 0;
    TRY(kv_query_int(db, kv_count_damaged, &damaged));
    return damaged == 0 ? OK : fail(ERR_CORRUPT, "kv: rows are damaged");
}

// Damage is told as such; anything else keeps its own name.
static Err check_content(sqlite3 *db)
{
    int64_t application = 0, format = 0, tables = 0;
    TRY(kv_query_int(db, "PRAGMA application_id", &application));
    TRY(kv_query_int(db, "PRAGMA user_version", &format));
    TRY(kv_query_int(db, "SELECT count(*) FROM sqlite_schema", &tables));
    if (application == 0 && format == 0 && tables == 0)
        return make_schema(db);
    if (application != KV_APPLICATION_ID)
        return fail(ERR_CORRUPT, "kv: this is no key-value store");
    if (format > KV_FORMAT)
        return fail(ERR_FORMAT, "kv: written by a newer program");
    bool sound = false;
    TRY(query_is(db, "PRAGMA quick_check(1)", S("ok"), &sound));
    if (sound)
        return format < KV_FORMAT ? seal_all(db) : check_rows(db);
    TRY(sqlite_vfs_met()); // the check reports a failed read as damage; we do not
    return fail(ERR_CORRUPT, "kv: the database is damaged");
}

static int remember_pages(void *p, sqlite3 *sqlite, const char *name, int pages)
{
    (void)sqlite;
    (void)name;
    *(int *)p = pages;
    return SQLITE_OK;
}

// The writer stays open, so it is the one that sets the mode and finds what a crash has left.
static Err open_writer(struct kv *db)
{
    TRY(open_sqlite(db, &db->writer, KV_WRITER_CACHE_KIB));
    bool is_wal = false;
    TRY(query_is(db->writer.db, "PRAGMA journal_mode = WAL", S("wal"), &is_wal));
    if (!is_wal)
        return fail(ERR_IO, "kv: the write-ahead log is refused");
    TRY(check_content(db->writer.db));
    sqlite_vfs_wal_settle(db->vfs);
    sqlite3_wal_hook(db->writer.db, remember_pages, &db->log_pages);
    return kv_prepare(&db->writer);
}

// Locks the file before SQLite sees it. The name becomes durable here, whoever made it.
static Err lock_path(struct kv *db, Str path)
{
    TRY(db->io->open(db->io, path, IO_WRITE | IO_CREATE, &db->lock_file));
    TRY(db->io->lock(db->lock_file));
    Str dir = path;
    while (dir.n > 0 && dir.p[dir.n - 1] != '/')
        dir.n--;
    if (dir.n == 0)
        return db->io->sync_dir(db->io, S("."));
    return db->io->sync_dir(db->io, str_head(path, dir.n > 1 ? dir.n - 1 : 1));
}

static Err open_files(struct kv *db, Str path)
{
    TRY(lock_path(db, path));
    TRY(sqlite_vfs_open(db->io, &db->vfs));
    return open_writer(db);
}

Err kv_open(struct io *io, Str path, struct kv **ret)
{
    if (path.n == 0 || memchr(path.p, 0, path.n) != NULL)
        return fail(ERR_INVALID, "kv: path");
    struct kv *db = xalloc(sizeof *db);
    db->io = io;
    db->path = xalloc(path.n + 1);
    memcpy(db->path, path.p, path.n);
    pthread_mutex_init(&db->lock, NULL);
    pthread_cond_init(&db->reader_free, NULL);
    Err e = open_files(db, path);
    if (e.kind != ERR_NONE) {
        kv_close(db);
        return e;
    }
    *ret = db;
    return OK;
}

struct kv *kv_open_test(void)
{
    struct io_mem *memory = io_mem_open(1);
    struct kv *db = NULL;
    CHECK(kv_open(io_mem_io(memory), S("/kv"), &db).kind == ERR_NONE);
    db->memory = memory;
    return db;
}

void kv_close(struct kv *db)
{
    if (db == NULL)
        return;
    CHECK(!db->turn_taken && db->active_readers == 0);
    while (db->idle_readers != NULL) {
        struct kv_conn *c = db->idle_readers;
        db->idle_readers = c->next;
        kv_conn_close(c);
        free(c);
    }
    kv_conn_close(&db->writer); // copies the log into the database; if it cannot, the log stays
    sqlite_vfs_close(db->vfs);
    db->io->close(db->lock_file);
    while (db->tables != NULL) {
        struct kv_table *t = db->tables;
        db->tables = t->next;
        free(t);
    }
    pthread_cond_destroy(&db->reader_free);
    pthread_mutex_destroy(&db->lock);
    io_mem_close(db->memory);
    free(db->path);
    free(db);
}

// ---- Tables

static struct kv_table *find_locked(struct kv *db, Str name)
{
    struct kv_table *t = db->tables;
    while (t != NULL && !str_eq(t->name, name))
        t = t->next;
    return t;
}

// Runs a statement about one name that gives a number; *ret stays 0 if it gives none.
static Err number_of(sqlite3 *db, const char *sql, Str name, int64_t *ret)
{
    sqlite3_stmt *s = NULL;
    TRY(sqlite_vfs_err(sqlite3_prepare_v2(db, sql, -1, &s, NULL)));
    sqlite3_bind_blob64(s, 1, name.p, name.n, SQLITE_STATIC);
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW) {
        *ret = sqlite3_column_int64(s, 0);
        code = sqlite3_step(s);
    }
    sqlite3_finalize(s);
    return sqlite_vfs_err(code);
}

// Finds or makes the number of a table.
static Err number_table(struct kv_table *t)
{
    AUTO(kv_txn) tx = kv_write(t);
    TRY(tx->err);
    TRY(number_of(tx->conn->db, "SELECT id FROM kv_table WHERE name = ?1", t->name, &t->id));
    if (t->id != 0)
        return OK;
    TRY(number_of(tx->conn->db, "INSERT INTO kv_table (name) VALUES (?1) RETURNING id", t->name,
                  &t->id));
    int64_t sealed = 0;
    TRY(number_of(tx->conn->db,
                  "INSERT INTO kv_row (t, k, v)"
                  " SELECT 0, name, kv_seal(0, name, CAST(id AS BLOB)) FROM kv_table"
                  " WHERE name = ?1 RETURNING 1",
                  t->name, &sealed));
    return kv_commit(tx);
}

Err kv_table_open(struct kv *db, Str name, struct kv_table **ret)
{
    if (name.n == 0 || name.n > KV_KEY_BYTES_MAX)
        return fail(ERR_INVALID, "kv: name of a table");
    pthread_mutex_lock(&db->lock);
    struct kv_table *found = find_locked(db, name);
    pthread_mutex_unlock(&db->lock);
    if (found != NULL) {
        *ret = found;
        return OK;
    }
    struct kv_table *t = xalloc(sizeof *t + name.n);
    memcpy(t + 1, name.p, name.n);
    *t = (struct kv_table){ .db = db, .name = str_from(t + 1, name.n) };
    Err e = number_table(t);
    if (e.kind != ERR_NONE) {
        free(t);
        return e;
    }
    // Two threads may have met here with the same number; the first one's table is everybody's.
    pthread_mutex_lock(&db->lock);
    found = find_locked(db, name);
    if (found == NULL) {
        t->next = db->tables;
        db->tables = t;
    }
    pthread_mutex_unlock(&db->lock);
    if (found != NULL)
        free(t);
    *ret = found != NULL ? found : t;
    return OK;
}
