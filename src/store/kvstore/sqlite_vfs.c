// SPDX-License-Identifier: Apache-2.0
#include "store/kvstore/sqlite_vfs.h"

#include "base/time.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    VFS_PATH_BYTES_MAX = 1024,
    VFS_REGIONS_MAX = 4096, // of the log's index, 32 KiB each: a log of 16 million pages
    VFS_SECTOR_BYTES = 4096,
    WAL_HEADER_BYTES = 32, // of the log; the header of a frame is shorter
};

struct sqlite_vfs {
    sqlite3_vfs vfs; // first, so that one is the other
    struct io *io;
    char name[32];
    pthread_mutex_t lock; // everything below
    // The database file's locks, as SQLite's "File Locking And Concurrency" page tells them.
    unsigned shared;                  // connections that read
    const struct vfs_file *reserving; // the one that is about to write
    bool pending;                     // nobody new may read
    // The log's index.
    void *regions[VFS_REGIONS_MAX];
    unsigned shm_shared[SQLITE_SHM_NLOCK];
    bool shm_exclusive[SQLITE_SHM_NLOCK];
    // What of the log is not settled.
    struct vfs_file *wal_writer;
    uint64_t wal_dirty_from; // UINT64_MAX: nothing
};

struct vfs_file {
    sqlite3_file base; // first, so that one is the other
    struct sqlite_vfs *v;
    struct io_file *f;
    bool is_wal;
    bool name_is_new;                   // the directory is to be synced with the first sync
    int level;                          // SQLITE_LOCK_*
    unsigned shm_shared, shm_exclusive; // sets of our locks on the index
    char path[VFS_PATH_BYTES_MAX];
};

// SQLite passes on result codes only: the error itself waits here for its own thread.
static _Thread_local Err last_error;

static int remember(Err e, int code)
{
    last_error = e;
    return e.kind == ERR_FULL ? SQLITE_FULL : code;
}

Err sqlite_vfs_met(void)
{
    Err e = last_error;
    last_error = OK;
    return e;
}

Err sqlite_vfs_err(int result_code)
{
    Err e = sqlite_vfs_met();
    int code = result_code & 0xff;
    if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE)
        return OK;
    CHECK(code != SQLITE_NOMEM); // as with our own memory
    bool from_io = code == SQLITE_IOERR || code == SQLITE_FULL || code == SQLITE_CANTOPEN;
    if (from_io && e.kind != ERR_NONE)
        return e;
    switch (code) {
    case SQLITE_CORRUPT:
        return fail(ERR_CORRUPT, "sqlite: the database is damaged");
    case SQLITE_NOTADB:
        return fail(ERR_CORRUPT, "sqlite: this is no database");
    case SQLITE_FULL:
        return fail(ERR_FULL, "sqlite: the database is full");
    case SQLITE_BUSY:
        return fail(ERR_BUSY, "sqlite: the database is locked");
    case SQLITE_TOOBIG:
        return fail(ERR_LIMIT, "sqlite: a value is too large");
    default:
        return fail(ERR_IO, "sqlite: the operation failed");
    }
}

static struct sqlite_vfs *vfs_of(sqlite3_vfs *vfs)
{
    return (struct sqlite_vfs *)vfs;
}

static struct vfs_file *file_of(sqlite3_file *file)
{
    return (struct vfs_file *)file;
}

// ---- Files

static int file_close(sqlite3_file *file)
{
    struct vfs_file *f = file_of(file);
    pthread_mutex_lock(&f->v->lock);
    if (f->v->wal_writer == f)
        f->v->wal_writer = NULL;
    pthread_mutex_unlock(&f->v->lock);
    f->v->io->close(f->f);
    return SQLITE_OK;
}

static int file_read(sqlite3_file *file, void *p, int n, sqlite3_int64 at)
{
    struct vfs_file *f = file_of(file);
    size_t got = 0;
    Err e = f->v->io->read(f->f, p, (size_t)n, (uint64_t)at, &got);
    if (e.kind != ERR_NONE)
        return remember(e, SQLITE_IOERR_READ);
    if (got == (size_t)n)
        return SQLITE_OK;
    memset((char *)p + got, 0, (size_t)n - got); // SQLite relies on it
    return SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *file, const void *p, int n, sqlite3_int64 at)
{
    struct vfs_file *f = file_of(file);
    if (f->is_wal) {
        pthread_mutex_lock(&f->v->lock);
        f->v->wal_writer = f;
        f->v->wal_dirty_from = MIN(f->v->wal_dirty_from, (uint64_t)at);
        pthread_mutex_unlock(&f->v->lock);
    }
    Err e = f->v->io->write(f->f, p, (size_t)n, (uint64_t)at, false);
    return e.kind == ERR_NONE ? SQLITE_OK : remember(e, SQLITE_IOERR_WRITE);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    struct vfs_file *f = file_of(file);
    Err e = f->v->io->truncate(f->f, (uint64_t)bytes);
    return e.kind == ERR_NONE ? SQLITE_OK : remember(e, SQLITE_IOERR_TRUNCATE);
}

static Str dir_of(const char *path)
{
    Str s = str_of(path);
    while (s.n > 1 && s.p[s.n - 1] != '/')
        s.n--;
    if (s.n > 0 && s.p[s.n - 1] != '/')
        return S(".");
    return s.n > 1 ? str_head(s, s.n - 1) : s;
}

static int file_sync(sqlite3_file *file, int flags)
{
    (void)flags;
    struct vfs_file *f = file_of(file);
    Err e = f->v->io->sync(f->f);
    if (e.kind == ERR_NONE && f->name_is_new) {
        e = f->v->io->sync_dir(f->v->io, dir_of(f->path));
        f->name_is_new = e.kind != ERR_NONE;
    }
    return e.kind == ERR_NONE ? SQLITE_OK : remember(e, SQLITE_IOERR_FSYNC);
}

static int file_size(sqlite3_file *file, sqlite3_int64 *ret_bytes)
{
    struct vfs_file *f = file_of(file);
    uint64_t bytes = 0;
    Err e = f->v->io->size(f->f, &bytes);
    *ret_bytes = (sqlite3_int64)bytes;
    return e.kind == ERR_NONE ? SQLITE_OK : remember(e, SQLITE_IOERR_FSTAT);
}

// ---- Locks between the connections

static int lock_locked(struct sqlite_vfs *v, struct vfs_file *f, int level)
{
    bool other_reserves = v->reserving != NULL && v->reserving != f;
    if (level == SQLITE_LOCK_SHARED) {
        if (v->pending)
            return SQLITE_BUSY;
        v->shared++;
        f->level = SQLITE_LOCK_SHARED;
        return SQLITE_OK;
    }
    if (other_reserves)
        return SQLITE_BUSY;
    v->reserving = f;
    if (level == SQLITE_LOCK_RESERVED) {
        f->level = SQLITE_LOCK_RESERVED;
        return SQLITE_OK;
    }
    v->pending = true;
    bool alone = v->shared == 1; // we read too
    f->level = alone ? SQLITE_LOCK_EXCLUSIVE : SQLITE_LOCK_PENDING;
    return alone ? SQLITE_OK : SQLITE_BUSY;
}

static int file_lock(sqlite3_file *file, int level)
{
    struct vfs_file *f = file_of(file);
    if (f->level >= level)
        return SQLITE_OK;
    pthread_mutex_lock(&f->v->lock);
    int code = lock_locked(f->v, f, level);
    pthread_mutex_unlock(&f->v->lock);
    return code;
}

static int file_unlock(sqlite3_file *file, int level)
{
    struct vfs_file *f = file_of(file);
    if (f->level <= level)
        return SQLITE_OK;
    pthread_mutex_lock(&f->v->lock);
    if (f->v->reserving == f) {
        f->v->reserving = NULL;
        f->v->pending = false;
    }
    if (level == SQLITE_LOCK_NONE)
        f->v->shared--;
    f->level = level;
    pthread_mutex_unlock(&f->v->lock);
    return SQLITE_OK;
}

static int file_is_reserved(sqlite3_file *file, int *ret)
{
    struct vfs_file *f = file_of(file);
    pthread_mutex_lock(&f->v->lock);
    *ret = f->v->reserving != NULL;
    pthread_mutex_unlock(&f->v->lock);
    return SQLITE_OK;
}

static int file_control(sqlite3_file *file, int what, void *p)
{
    (void)file;
    (void)what;
    (void)p;
    return SQLITE_NOTFOUND;
}

static int file_sector_bytes(sqlite3_file *file)
{
    (void)file;
    return VFS_SECTOR_BYTES;
}

static int file_traits(sqlite3_file *file)
{
    (void)file;
    // A write that is cut off harms no bytes beside it: true of every device of this century.
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

// ---- The index of the log, in our memory

static int shm_map(sqlite3_file *file, int region, int bytes, int extend, void volatile **ret)
{
    struct sqlite_vfs *v = file_of(file)->v;
    int code = SQLITE_OK;
    *ret = NULL;
    if (region < 0 || region >= VFS_REGIONS_MAX)
        return SQLITE_FULL;
    pthread_mutex_lock(&v->lock);
    if (v->regions[region] == NULL && extend)
        v->regions[region] = xalloc((size_t)bytes);
    *ret = v->regions[region];
    pthread_mutex_unlock(&v->lock);
    return code;
}

static bool shm_is_free(const struct sqlite_vfs *v, const struct vfs_file *f, int i, bool exclusive)
{
    unsigned bit = 1u << i;
    if (v->shm_exclusive[i] && (f->shm_exclusive & bit) == 0)
        return false;
    unsigned ours = (f->shm_shared & bit) != 0;
    return !exclusive || v->shm_shared[i] == ours;
}

static void shm_take(struct sqlite_vfs *v, struct vfs_file *f, int i, bool exclusive)
{
    unsigned bit = 1u << i;
    if (exclusive) {
        v->shm_exclusive[i] = true;
        f->shm_exclusive |= bit;
    } else if ((f->shm_shared & bit) == 0) {
        v->shm_shared[i]++;
        f->shm_shared |= bit;
    }
}

static void shm_give(struct sqlite_vfs *v, struct vfs_file *f, int i)
{
    unsigned bit = 1u << i;
    if ((f->shm_exclusive & bit) != 0)
        v->shm_exclusive[i] = false;
    if ((f->shm_shared & bit) != 0)
        v->shm_shared[i]--;
    f->shm_exclusive &= ~bit;
    f->shm_shared &= ~bit;
}

static int shm_lock(sqlite3_file *file, int first, int n, int flags)
{
    struct vfs_file *f = file_of(file);
    struct sqlite_vfs *v = f->v;
    bool exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
    bool free_to_take = true;
    pthread_mutex_lock(&v->lock);
    if ((flags & SQLITE_SHM_UNLOCK) != 0) {
        for (int i = first; i < first + n; i++)
            shm_give(v, f, i);
    } else {
        for (int i = first; i < first + n; i++)
            free_to_take = free_to_take && shm_is_free(v, f, i, exclusive);
        for (int i = first; free_to_take && i < first + n; i++)
            shm_take(v, f, i, exclusive);
    }
    pthread_mutex_unlock(&v->lock);
    return free_to_take ? SQLITE_OK : SQLITE_BUSY;
}

static void shm_barrier(sqlite3_file *file)
{
    (void)file;
    atomic_thread_fence(memory_order_seq_cst);
}

static int shm_unmap(sqlite3_file *file, int remove)
{
    (void)remove; // the index lives as long as the vfs
    struct vfs_file *f = file_of(file);
    pthread_mutex_lock(&f->v->lock);
    for (int i = 0; i < SQLITE_SHM_NLOCK; i++)
        shm_give(f->v, f, i);
    pthread_mutex_unlock(&f->v->lock);
    return SQLITE_OK;
}

// ---- The vfs

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags,
                    int *ret_flags)
{
    static const sqlite3_io_methods methods = {
        .iVersion = 2,
        .xClose = file_close,
        .xRead = file_read,
        .xWrite = file_write,
        .xTruncate = file_truncate,
        .xSync = file_sync,
        .xFileSize = file_size,
        .xLock = file_lock,
        .xUnlock = file_unlock,
        .xCheckReservedLock = file_is_reserved,
        .xFileControl = file_control,
        .xSectorSize = file_sector_bytes,
        .xDeviceCharacteristics = file_traits,
        .xShmMap = shm_map,
        .xShmLock = shm_lock,
        .xShmBarrier = shm_barrier,
        .xShmUnmap = shm_unmap,
    };
    struct sqlite_vfs *v = vfs_of(vfs);
    struct vfs_file *f = file_of(file);
    f->base.pMethods = NULL; // not open yet: SQLite will not close it
    if (path == NULL || strlen(path) >= sizeof f->path)
        return SQLITE_CANTOPEN; // a file without a name: kv keeps its temporaries in memory
    unsigned how = 0;
    how |= (flags & SQLITE_OPEN_READWRITE) != 0 ? IO_WRITE : 0;
    how |= (flags & SQLITE_OPEN_CREATE) != 0 ? IO_CREATE : 0;
    how |= (flags & SQLITE_OPEN_EXCLUSIVE) != 0 ? IO_EXCL : 0;
    struct io_file *below = NULL;
    Err e = v->io->open(v->io, str_of(path), how, &below);
    if (e.kind != ERR_NONE)
        return remember(e, SQLITE_CANTOPEN);
    *f = (struct vfs_file){
        .base.pMethods = &methods,
        .v = v,
        .f = below,
        .is_wal = (flags & SQLITE_OPEN_WAL) != 0,
        .name_is_new = (how & IO_CREATE) != 0,
    };
    memcpy(f->path, path, strlen(path) + 1);
    if (ret_flags != NULL)
        *ret_flags = flags;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
    struct sqlite_vfs *v = vfs_of(vfs);
    Err e = v->io->unlink(v->io, str_of(path));
    if (e.kind == ERR_NOT_FOUND)
        return SQLITE_IOERR_DELETE_NOENT;
    if (e.kind == ERR_NONE && sync_dir)
        e = v->io->sync_dir(v->io, dir_of(path));
    return e.kind == ERR_NONE ? SQLITE_OK : remember(e, SQLITE_IOERR_DELETE);
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *ret)
{
    struct sqlite_vfs *v = vfs_of(vfs);
    struct io_file *f = NULL;
    *ret = 0;
    Err e =
        v->io->open(v->io, str_of(path), flags == SQLITE_ACCESS_READWRITE ? IO_WRITE : IO_READ, &f);
    if (e.kind == ERR_NOT_FOUND || e.kind == ERR_DENIED)
        return SQLITE_OK;
    if (e.kind != ERR_NONE)
        return remember(e, SQLITE_IOERR_ACCESS);
    uint64_t bytes = 0;
    e = v->io->size(f, &bytes);
    v->io->close(f);
    if (e.kind != ERR_NONE)
        return remember(e, SQLITE_IOERR_ACCESS);
    *ret = flags != SQLITE_ACCESS_EXISTS || bytes > 0; // an empty journal is none
    return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *path, int room, char *ret)
{
    (void)vfs;
    size_t n = strlen(path);
    if (n >= (size_t)room)
        return SQLITE_CANTOPEN;
    memcpy(ret, path, n + 1);
    return SQLITE_OK;
}

static int vfs_random(sqlite3_vfs *vfs, int n, char *p)
{
    struct sqlite_vfs *v = vfs_of(vfs);
    v->io->random(v->io, p, (size_t)n);
    return n;
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
    struct sqlite_vfs *v = vfs_of(vfs);
    v->io->sleep_ns(v->io, us * NS_PER_US);
    return us;
}

// Milliseconds since noon of 24 November 4714 BC, the day zero of Julian day numbers.
static int vfs_time(sqlite3_vfs *vfs, sqlite3_int64 *ret)
{
    struct sqlite_vfs *v = vfs_of(vfs);
    *ret = v->io->wall_ns(v->io) / NS_PER_MS + INT64_C(210866760000000);
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int n, char *p)
{
    (void)vfs;
    (void)n;
    (void)p;
    return last_error.os;
}

Err sqlite_vfs_open(struct io *io, struct sqlite_vfs **ret)
{
    static atomic_uint count;
    struct sqlite_vfs *v = xalloc(sizeof *v);
    v->io = io;
    v->wal_dirty_from = UINT64_MAX;
    snprintf(v->name, sizeof v->name, "headrace-%u", atomic_fetch_add(&count, 1));
    v->vfs = (sqlite3_vfs){
        .iVersion = 2,
        .szOsFile = sizeof(struct vfs_file),
        .mxPathname = VFS_PATH_BYTES_MAX - 1,
        .zName = v->name,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_path,
        .xRandomness = vfs_random,
        .xSleep = vfs_sleep,
        .xGetLastError = vfs_last_error,
        .xCurrentTimeInt64 = vfs_time,
    };
    pthread_mutex_init(&v->lock, NULL);
    int code = sqlite3_vfs_register(&v->vfs, 0);
    if (code != SQLITE_OK) {
        pthread_mutex_destroy(&v->lock);
        free(v);
        return sqlite_vfs_err(code);
    }
    *ret = v;
    return OK;
}

void sqlite_vfs_close(struct sqlite_vfs *v)
{
    if (v == NULL)
        return;
    sqlite3_vfs_unregister(&v->vfs);
    for (size_t i = 0; i < VFS_REGIONS_MAX; i++)
        free(v->regions[i]);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

const char *sqlite_vfs_name(const struct sqlite_vfs *v)
{
    return v->name;
}

void sqlite_vfs_wal_settle(struct sqlite_vfs *v)
{
    pthread_mutex_lock(&v->lock);
    v->wal_dirty_from = UINT64_MAX;
    pthread_mutex_unlock(&v->lock);
}

Err sqlite_vfs_wal_undo(struct sqlite_vfs *v)
{
    static const char zeros[WAL_HEADER_BYTES];
    pthread_mutex_lock(&v->lock);
    uint64_t at = v->wal_dirty_from;
    const struct vfs_file *f = v->wal_writer;
    pthread_mutex_unlock(&v->lock);
    if (at == UINT64_MAX || f == NULL)
        return OK;
    // The writing connection is in our caller's hands, so the file stays open meanwhile.
    uint64_t bytes = 0;
    TRY(v->io->size(f->f, &bytes));
    if (bytes > at)
        TRY(v->io->write(f->f, zeros, sizeof zeros, at, true));
    sqlite_vfs_wal_settle(v);
    return OK;
}
