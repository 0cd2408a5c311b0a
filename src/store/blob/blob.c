// SPDX-License-Identifier: Apache-2.0
// The store itself: opening, numbers, and the directories of data files.
//
//     DIR/RUN/HIGH/NUMBER     hexadecimal; HIGH is NUMBER without its last 12 bits
//
// A file has its final name from the beginning: it is part of something only when a row says so.
#include "store/blob/blob_priv.h"

#include "base/map.h"
#include "base/time.h"

#include <stdlib.h>
#include <string.h>

static const Str table_names[T_COUNT] = {
    [T_BUCKET] = S_INIT("blob_bucket"), [T_DOCUMENT] = S_INIT("blob_document"),
    [T_OBJECT] = S_INIT("blob_object"), [T_OLDER] = S_INIT("blob_older"),
    [T_NULL] = S_INIT("blob_null"),     [T_BODY] = S_INIT("blob_body"),
    [T_FILE] = S_INIT("blob_file"),     [T_UPLOAD] = S_INIT("blob_upload"),
    [T_PART] = S_INIT("blob_part"),     [T_GONE] = S_INIT("blob_gone"),
    [T_RUN] = S_INIT("blob_run"),
};

// ---- Opening

static Err open_tables(struct blob *b)
{
    for (size_t i = 0; i < T_COUNT; i++)
        TRY(kv_table_open(b->kv, table_names[i], &b->tables[i]));
    return OK;
}

// A new run: no number of an earlier one is given again, whatever of it was lost.
static Err begin_run(struct blob *b)
{
    AUTO(kv_txn) tx = kv_write(b->tables[T_RUN]);
    KeyRoom room;
    uint64_t run;
    TRY(kv_next_id(tx, &run));
    TRY(kv_put(tx, key_number(&room, run), S("")));
    TRY(kv_commit(tx));
    b->run = run;
    b->next_number = b->next_version = run << BLOB_RUN_BITS | 1;
    return OK;
}

static Str parent_of(Str path)
{
    while (path.n > 0 && path.p[path.n - 1] != '/')
        path.n--;
    if (path.n == 0)
        return S(".");
    return str_head(path, MAX(path.n - 1, (size_t)1));
}

static Err set_up(struct blob *b)
{
    TRY(b->io->mkdir(b->io, b->dir));
    TRY(b->io->sync_dir(b->io, parent_of(b->dir)));
    TRY(open_tables(b));
    return begin_run(b);
}

Err blob_open_quiet(const BlobConfig *config, struct blob **ret)
{
    struct blob *b = xalloc(sizeof *b);
    b->io = config->io;
    b->kv = config->kv;
    char *dir = xalloc(config->dir.n + 1);
    memcpy(dir, config->dir.p, config->dir.n);
    b->dir = str_from(dir, config->dir.n);
    b->hot = hot_open();
    b->checked = checked_open();
    b->pins = map_open();
    b->reaping = map_open();
    CHECK(pthread_mutex_init(&b->lock, NULL) == 0);
    CHECK(pthread_mutex_init(&b->dir_lock, NULL) == 0);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    CHECK(pthread_cond_init(&b->changed, &monotonic) == 0);
    pthread_condattr_destroy(&monotonic);
    Err e = set_up(b);
    if (e.kind != ERR_NONE) {
        blob_close(b);
        return e;
    }
    *ret = b;
    return OK;
}

Err blob_open(const BlobConfig *config, struct blob **ret)
{
    struct blob *b = NULL;
    TRY(blob_open_quiet(config, &b));
    int r = pthread_create(&b->reaper, NULL, reap_main, b);
    if (r != 0) {
        blob_close(b);
        return fail_os(r, "blob: its thread");
    }
    b->has_reaper = true;
    *ret = b;
    return OK;
}

void blob_close(struct blob *b)
{
    if (b == NULL)
        return;
    pthread_mutex_lock(&b->lock);
    b->closing = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    if (b->has_reaper)
        pthread_join(b->reaper, NULL);
    CHECK(map_count(b->pins) == 0); // a reader is still open
    hot_close(b->hot);
    checked_close(b->checked);
    map_close(b->pins);
    map_close(b->reaping);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->dir_lock);
    pthread_mutex_destroy(&b->lock);
    free((char *)(uintptr_t)b->dir.p);
    free(b);
}

// ---- The reserve: a file whose space is given back when the disk is full, so that what frees
// space can be written down

enum { RESERVE_TRIES = 25 };

#define RESERVE_PAUSE_NS (20 * NS_PER_MS)

static Str reserve_path(struct blob *b, struct arena *a)
{
    return str_cat(a, b->dir, S("/reserve"));
}

void reserve_make(struct blob *b)
{
    AUTO(arena) tmp = arena_open();
    struct io_file *f = NULL;
    pthread_mutex_lock(&b->dir_lock);
    if (!b->has_reserve && b->reserve_users == 0) {
        Err e = b->io->open(b->io, reserve_path(b, tmp), IO_WRITE | IO_CREATE, &f);
        if (e.kind == ERR_NONE)
            e = b->io->allocate(f, BLOB_RESERVE_BYTES);
        b->io->close(f);
        b->has_reserve = e.kind == ERR_NONE;
        if (!b->has_reserve)
            err_ignore(b->io->unlink(b->io, reserve_path(b, tmp))); // half of one helps nobody
    }
    pthread_mutex_unlock(&b->dir_lock);
}

static void reserve_use(struct blob *b)
{
    AUTO(arena) tmp = arena_open();
    pthread_mutex_lock(&b->dir_lock);
    b->reserve_users++;
    if (b->has_reserve)
        err_ignore(b->io->unlink(b->io, reserve_path(b, tmp)));
    b->has_reserve = false;
    pthread_mutex_unlock(&b->dir_lock);
}

static void reserve_leave(struct blob *b)
{
    pthread_mutex_lock(&b->dir_lock);
    b->reserve_users--;
    pthread_mutex_unlock(&b->dir_lock);
}

// Others take space and give it back at the same time: what is being removed, and reserves that are
// tried again, of which half may be there for a moment. So not once, but for a while.
bool reserve_tries_again(struct blob *b, Err e, unsigned *tries)
{
    if (e.kind == ERR_FULL && *tries < RESERVE_TRIES) {
        if ((*tries)++ == 0)
            reserve_use(b);
        else
            b->io->sleep_ns(b->io, RESERVE_PAUSE_NS);
        return true;
    }
    if (*tries > 0)
        reserve_leave(b);
    return false;
}

// ---- Numbers

Err blob_number(struct blob *b, uint64_t *ret)
{
    pthread_mutex_lock(&b->lock);
    uint64_t number = b->next_number;
    bool is_spent = number >> BLOB_RUN_BITS != b->run;
    if (!is_spent)
        b->next_number++;
    pthread_mutex_unlock(&b->lock);
    if (is_spent) // four thousand million of them: the next start begins anew
        return fail(ERR_LIMIT, "blob: no number is left in this run");
    *ret = number;
    return OK;
}

// ---- Directories

static Str dir_path(struct blob *b, struct arena *a, uint64_t high)
{
    uint64_t run = high >> (BLOB_RUN_BITS - BLOB_FILES_PER_DIR_BITS);
    return str_fmt(a, "%.*s/%llx/%llx", FMT(b->dir), (unsigned long long)run,
                   (unsigned long long)high);
}

Str blob_file_path(struct blob *b, struct arena *a, uint64_t file)
{
    Str dir = dir_path(b, a, file >> BLOB_FILES_PER_DIR_BITS);
    return str_fmt(a, "%.*s/%llx", FMT(dir), (unsigned long long)file);
}

// The directory is there and its name durable. Once for many files, so others may wait for it.
static Err make_dir(struct blob *b, struct arena *tmp, uint64_t high)
{
    Str dir = dir_path(b, tmp, high), run_dir = parent_of(dir);
    TRY(b->io->mkdir(b->io, run_dir));
    TRY(b->io->mkdir(b->io, dir));
    TRY(b->io->sync_dir(b->io, b->dir));
    return b->io->sync_dir(b->io, run_dir);
}

Err blob_file_create(struct blob *b, uint64_t file, struct io_file **ret)
{
    AUTO(arena) tmp = arena_open();
    uint64_t high = file >> BLOB_FILES_PER_DIR_BITS;
    Err e = OK;
    pthread_mutex_lock(&b->dir_lock);
    if (!b->has_dir || b->made_dir < high) {
        e = make_dir(b, tmp, high);
        b->has_dir |= e.kind == ERR_NONE;
        if (e.kind == ERR_NONE)
            b->made_dir = high;
    }
    pthread_mutex_unlock(&b->dir_lock);
    TRY(e);
    return b->io->open(b->io, blob_file_path(b, tmp, file), IO_WRITE | IO_CREATE | IO_EXCL, ret);
}

// Syncs the directories that these wait for, each once.
static void sync_dirs(struct blob *b, struct dir_wait *waits)
{
    AUTO(arena) tmp = arena_open();
    for (struct dir_wait *w = waits; w != NULL; w = w->next) {
        struct dir_wait *same = waits;
        while (same->dir != w->dir)
            same = same->next;
        w->err = same != w ? same->err : b->io->sync_dir(b->io, dir_path(b, tmp, w->dir));
    }
}

// Whoever comes while a sync is under way waits for the next one, which is for all that came.
Err blob_dir_sync(struct blob *b, uint64_t file)
{
    struct dir_wait mine = { .dir = file >> BLOB_FILES_PER_DIR_BITS };
    pthread_mutex_lock(&b->lock);
    mine.next = b->dir_waits;
    b->dir_waits = &mine;
    while (!mine.settled) {
        if (b->dir_syncing) {
            pthread_cond_wait(&b->changed, &b->lock);
            continue;
        }
        struct dir_wait *all = b->dir_waits;
        b->dir_waits = NULL;
        b->dir_syncing = true;
        pthread_mutex_unlock(&b->lock);
        sync_dirs(b, all);
        pthread_mutex_lock(&b->lock);
        b->dir_syncing = false;
        for (struct dir_wait *w = all, *next; w != NULL; w = next) {
            next = w->next; // it may be gone as soon as it is settled
            w->settled = true;
        }
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
    return mine.err;
}

// ---- What clients give

Str blob_pair(BlobPairs pairs, Str name)
{
    for (size_t i = 0; i < pairs.n; i++)
        if (str_eq(pairs.at[i].name, name))
            return pairs.at[i].value;
    return (Str){ 0 };
}

Err blob_check_key(Str key)
{
    if (key.n == 0 || key.n > BLOB_KEY_BYTES_MAX || str_utf8_count(key) == SIZE_MAX)
        return fail(ERR_INVALID, "blob: the key is empty, too long or no UTF-8");
    return OK;
}

Err blob_check_pairs(BlobPairs attributes, BlobPairs tags)
{
    size_t bytes = 0;
    for (size_t i = 0; i < attributes.n; i++)
        bytes += attributes.at[i].name.n + attributes.at[i].value.n;
    for (size_t i = 0; i < tags.n; i++)
        bytes += tags.at[i].name.n + tags.at[i].value.n;
    if (bytes > BLOB_ATTRIBUTES_BYTES_MAX)
        return fail(ERR_LIMIT, "blob: too many attributes and tags");
    return OK;
}
