// SPDX-License-Identifier: Apache-2.0
// The files of the journal: made full of zeros before use, renumbered when all in them is over,
// never cut. And the reserve, a file whose space is given back when the filesystem is full.
//
// Zeros are really written, not only allocated: an unwritten extent costs a change of the file
// system's own metadata at every commit, which makes a small commit twice as slow.
#include "base/memory.h"
#include "store/log/journal_priv.h"

#include <stdlib.h>
#include <string.h>

enum { ZERO_PIECE_BYTES = 1 << 20, LOCK_TRIES = 150 };
#define LOCK_PAUSE_NS (20 * NS_PER_MS)

#define NEW_FILE "journal-new.tmp"
#define RESERVE_FILE "reserve.tmp"

Str files_path(const struct journal_files *fs, struct arena *a, uint64_t number)
{
    return str_fmt(a, "%.*s/journal-%010llu.hrj", FMT(fs->dir), (unsigned long long)number);
}

static Str path_of(const struct journal_files *fs, struct arena *a, const char *name)
{
    return str_fmt(a, "%.*s/%s", FMT(fs->dir), name);
}

// The kernel may keep the files of a killed process, with their locks, until it has taken down that
// process's io_uring, a moment after the process is gone.
static Err lock_patiently(struct io *io, struct io_file *f)
{
    Err e = io->lock(f);
    for (int i = 0; i < LOCK_TRIES && e.kind == ERR_BUSY; i++) {
        io->sleep_ns(io, LOCK_PAUSE_NS);
        e = io->lock(f);
    }
    return e;
}

Err files_open_one(struct journal_files *fs, Str path, unsigned flags, struct io_file **ret)
{
    struct io_file *f = NULL;
    if (fs->direct) {
        Err e = fs->io->open(fs->io, path, flags | IO_DIRECT, &f);
        if (e.kind == ERR_INVALID)
            fs->direct = false; // a filesystem without it: the buffered way is as safe, but slower
        else if (e.kind != ERR_NONE)
            return e;
    }
    if (f == NULL)
        TRY(fs->io->open(fs->io, path, flags, &f));
    Err e = lock_patiently(fs->io, f);
    if (e.kind != ERR_NONE) {
        fs->io->close(f);
        return e;
    }
    *ret = f;
    return OK;
}

// ---- New files

static Err fill_with_zeros(struct journal_files *fs, struct io_file *f, uint64_t bytes)
{
    TRY(fs->io->allocate(f, bytes)); // a full disk shows here, before much is written
    void *zeros = memory_get_aligned(JOURNAL_ALIGN_BYTES, ZERO_PIECE_BYTES);
    memset(zeros, 0, ZERO_PIECE_BYTES);
    Err e = OK;
    for (uint64_t at = 0; at < bytes && e.kind == ERR_NONE; at += ZERO_PIECE_BYTES)
        e = fs->io->write(f, zeros, MIN(bytes - at, (uint64_t)ZERO_PIECE_BYTES), at, false);
    free(zeros);
    TRY(e);
    return fs->io->sync(f);
}

// Begins the life of a file: number, salt, head.
static Err begin_life(struct journal_files *fs, struct journal_file *f, uint64_t epoch)
{
    JournalHead h = {
        .format = JOURNAL_FORMAT,
        .least_reader = JOURNAL_LEAST_READER,
        .number = fs->highest + 1,
        .epoch = epoch,
        .created_ns = fs->io->wall_ns(fs->io),
        .file_bytes = f->bytes,
    };
    fs->io->random(fs->io, &h.salt, sizeof h.salt);
    uint8_t *head = memory_get_aligned(JOURNAL_ALIGN_BYTES, JOURNAL_HEAD_BYTES);
    journal_head_put(head, &h);
    Err e = fs->io->write(f->io, head, JOURNAL_HEAD_BYTES, 0, true);
    free(head);
    TRY(e);
    f->number = h.number;
    f->salt = h.salt;
    f->used = JOURNAL_HEAD_BYTES;
    f->newest_block = f->last_block = 0;
    f->live_extents = f->live_bytes = f->pass_bytes = 0;
    return OK;
}

static Err make_new(struct journal_files *fs, struct arena *tmp, uint64_t epoch,
                    struct journal_file *f)
{
    Str path = path_of(fs, tmp, NEW_FILE);
    TRY(files_open_one(fs, path, IO_WRITE | IO_CREATE | IO_TRUNC, &f->io));
    f->bytes = fs->file_bytes;
    Err e = fill_with_zeros(fs, f->io, f->bytes);
    if (e.kind == ERR_NONE)
        e = begin_life(fs, f, epoch);
    if (e.kind == ERR_NONE)
        e = fs->io->rename(fs->io, path, files_path(fs, tmp, f->number));
    if (e.kind == ERR_NONE) {
        f->name = f->number;
        e = fs->io->sync_dir(fs->io, fs->dir);
    } else {
        err_ignore(fs->io->unlink(fs->io, path)); // made anew next time otherwise
    }
    return e;
}

static Err renumber(struct journal_files *fs, struct arena *tmp, uint64_t epoch,
                    struct journal_file *f)
{
    Str from = files_path(fs, tmp, f->name);
    TRY(begin_life(fs, f, epoch));
    TRY(fs->io->rename(fs->io, from, files_path(fs, tmp, f->number)));
    f->name = f->number;
    return fs->io->sync_dir(fs->io, fs->dir);
}

Err files_prepare(struct journal_files *fs, uint64_t epoch, pthread_mutex_t *lock,
                  struct journal_file **ret)
{
    AUTO(arena) tmp = arena_open();
    pthread_mutex_lock(lock);
    struct journal_file *f = fs->spare_count > 0 ? fs->spares[--fs->spare_count] : NULL;
    pthread_mutex_unlock(lock);
    bool is_new = f == NULL;
    if (is_new)
        f = xalloc(sizeof *f);
    Err e = is_new ? make_new(fs, tmp, epoch, f) : renumber(fs, tmp, epoch, f);
    if (e.kind != ERR_NONE) {
        // Its number may be given again. If the file cannot be removed either, the next start finds
        // it under a name that is not its number, or retired.
        if (!is_new)
            err_ignore(fs->io->unlink(fs->io, files_path(fs, tmp, f->name)));
        file_close(fs, f);
        return e;
    }
    fs->highest = f->number;
    *ret = f;
    return OK;
}

// ---- The table

void files_add(struct journal_files *fs, struct journal_file *take_f)
{
    if (fs->n == fs->room) {
        fs->room = MAX(fs->room * 2, (size_t)16);
        fs->at = xrealloc(fs->at, mul_checked(fs->room, sizeof(struct journal_file *)));
    }
    fs->at[fs->n++] = take_f;
}

struct journal_file *files_find(const struct journal_files *fs, uint64_t number)
{
    size_t low = 0, high = fs->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (fs->at[middle]->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < fs->n && fs->at[low]->number == number ? fs->at[low] : NULL;
}

struct journal_file *files_current(const struct journal_files *fs)
{
    return fs->n > 0 ? fs->at[fs->n - 1] : NULL;
}

void files_recycle(struct journal_files *fs, pthread_mutex_t *lock, struct journal_file *take_f)
{
    pthread_mutex_lock(lock);
    bool keep = !take_f->suspect && take_f->bytes == fs->file_bytes && fs->spare_count < SPARES_MAX;
    if (keep)
        fs->spares[fs->spare_count++] = take_f;
    pthread_mutex_unlock(lock);
    if (keep)
        return;
    AUTO(arena) tmp = arena_open();
    Err e = fs->io->unlink(fs->io, files_path(fs, tmp, take_f->name));
    if (e.kind != ERR_NONE) // its blocks are over, whether it lies there or not
        LOG(LOG_WARN, "a retired journal file could not be removed", F_INT("file", take_f->name),
            F_ERR(e));
    file_close(fs, take_f);
}

void file_close(struct journal_files *fs, struct journal_file *f)
{
    if (f == NULL)
        return;
    if (f->io != NULL)
        fs->io->close(f->io);
    free(f);
}

void files_done(struct journal_files *fs)
{
    for (size_t i = 0; i < fs->n; i++)
        file_close(fs, fs->at[i]);
    for (size_t i = 0; i < fs->spare_count; i++)
        file_close(fs, fs->spares[i]);
    free(fs->at);
    fs->at = NULL;
    fs->n = fs->room = fs->spare_count = 0;
}

// ---- The reserve

Err files_reserve_make(struct journal_files *fs)
{
    if (fs->reserve_held || fs->reserve_bytes == 0)
        return OK;
    AUTO(arena) tmp = arena_open();
    struct io_file *f;
    Str path = path_of(fs, tmp, RESERVE_FILE);
    TRY(fs->io->open(fs->io, path, IO_WRITE | IO_CREATE, &f));
    Err e = fs->io->allocate(f, fs->reserve_bytes);
    fs->io->close(f);
    if (e.kind == ERR_NONE)
        fs->reserve_held = true;
    else
        err_ignore(fs->io->unlink(fs->io, path)); // half a reserve helps nobody
    return e;
}

void files_reserve_release(struct journal_files *fs)
{
    if (!fs->reserve_held)
        return;
    AUTO(arena) tmp = arena_open();
    fs->reserve_held = false;
    Err e = fs->io->unlink(fs->io, path_of(fs, tmp, RESERVE_FILE));
    if (e.kind != ERR_NONE)
        LOG(LOG_WARN, "the reserve could not be released", F_ERR(e));
}

bool files_space_returned(struct journal_files *fs)
{
    uint64_t free_bytes, total_bytes;
    Err e = fs->io->space(fs->io, fs->dir, &free_bytes, &total_bytes);
    uint64_t held = fs->reserve_held ? fs->reserve_bytes : 0;
    return e.kind != ERR_NONE || free_bytes + held >= fs->reserve_bytes + fs->file_bytes;
}
