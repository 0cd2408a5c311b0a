// SPDX-License-Identifier: Apache-2.0
// A copy of the store as one commit left it, made while others write: SQLite's backup reads all
// pages within one snapshot.
#include "store/kvstore/kv_priv.h"

#include "os/io_mem.h"
#include "store/kvstore/sqlite_vfs.h"

#define COPY_BYTES_MAX ((size_t)1 << 30)

static Err copy_pages(sqlite3 *from, sqlite3 *to)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    if (b == NULL)
        return sqlite_vfs_err(sqlite3_errcode(to));
    int code = sqlite3_backup_step(b, -1); // all of them: then no writer comes in between
    int end = sqlite3_backup_finish(b);
    return sqlite_vfs_err(code == SQLITE_DONE ? end : code);
}

static Err copy_to(struct kv_conn *from, const char *path, struct sqlite_vfs *vfs)
{
    sqlite3 *to = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    Err e = sqlite_vfs_err(sqlite3_open_v2(path, &to, flags, sqlite_vfs_name(vfs)));
    // Whoever finds the copy half made removes it: it needs no journal of its own.
    if (e.kind == ERR_NONE)
        e = sqlite_vfs_err(sqlite3_exec(to, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;",
                                        NULL, NULL, NULL));
    if (e.kind == ERR_NONE)
        e = copy_pages(from->db, to);
    CHECK(sqlite3_close(to) == SQLITE_OK); // no statement of ours is left
    return e;
}

static Err sync_path(struct io *io, Str path)
{
    struct io_file *f = NULL;
    TRY(io->open(io, path, IO_WRITE, &f));
    Err e = io->sync(f);
    io->close(f);
    return e;
}

Err kv_snapshot(struct kv *db, struct io *io, Str path)
{
    AUTO(arena) tmp = arena_open();
    AUTO(sqlite_vfs) vfs = NULL;
    struct kv_conn from = { 0 };
    TRY(kv_conn_open(db, &from, KV_READER_CACHE_KIB));
    Err e = sqlite_vfs_open(io, &vfs);
    if (e.kind == ERR_NONE)
        e = copy_to(&from, str_c(tmp, path), vfs);
    kv_conn_close(&from);
    TRY(e);
    return sync_path(io, path);
}

static Err copy_file(struct io *from, Str path, struct io *to, Str name)
{
    AUTO(arena) tmp = arena_open();
    Str content;
    TRY(io_read_file(from, tmp, path, COPY_BYTES_MAX, &content));
    return io_write_file(to, tmp, name, content);
}

Err kv_open_copy(struct io *io, Str path, struct kv **ret)
{
    AUTO(arena) tmp = arena_open();
    AUTO(io_mem) memory = io_mem_open(1);
    TRY(copy_file(io, path, io_mem_io(memory), S("/kv")));
    Err e = copy_file(io, str_cat(tmp, path, S("-wal")), io_mem_io(memory), S("/kv-wal"));
    if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
        return e;
    TRY(kv_open(io_mem_io(memory), S("/kv"), ret));
    (*ret)->memory = memory;
    memory = NULL; // the store's now
    return OK;
}
