// SPDX-License-Identifier: Apache-2.0
// Backups in a directory. An object is written beside its place, synced and renamed, and its
// directory synced; a file whose name ends in ".new" is what is left when that did not end.
#include "store/backup_target.h"

#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 1 << 20 };

struct target_dir {
    struct backup_target table; // first, so that one is the other
    struct io *io;
    struct arena *a;
    Str dir;
    struct io_file *lock;
};

static struct target_dir *dir_of(struct backup_target *t)
{
    return (struct target_dir *)t;
}

// "a/b" of "a/b/c"; "." if there is none above.
static Str parent_of(Str path)
{
    size_t n = path.n;
    while (n > 0 && path.p[n - 1] != '/')
        n--;
    return n > 1 ? str_head(path, n - 1) : n == 1 ? S("/") : S(".");
}

// Makes the directory and those above it; the names of new ones last.
static Err make_dirs(struct io *io, Str path)
{
    for (size_t i = 1; i <= path.n; i++) {
        if (i < path.n && path.p[i] != '/')
            continue;
        Str part = str_head(path, i);
        Err e = io->mkdir(io, part);
        // One above may be out of our hands; the last one decides.
        if (e.kind != ERR_NONE && i == path.n)
            return e;
        if (e.kind == ERR_NONE) {
            Err synced = io->sync_dir(io, parent_of(part));
            if (synced.kind != ERR_NONE && synced.kind != ERR_DENIED)
                return synced;
        }
    }
    return OK;
}

static Err dir_lock(struct backup_target *t)
{
    struct target_dir *d = dir_of(t);
    AUTO(arena) tmp = arena_open();
    if (d->lock != NULL)
        return OK;
    TRY(make_dirs(d->io, d->dir));
    struct io_file *f = NULL;
    TRY(d->io->open(d->io, str_cat(tmp, d->dir, S("/lock")), IO_WRITE | IO_CREATE, &f));
    Err e = d->io->lock(f);
    if (e.kind != ERR_NONE) {
        d->io->close(f);
        return e;
    }
    d->lock = f;
    return OK;
}

static Err copy_bytes(struct io *io, struct io_file *f, const BackupBytes *bytes)
{
    // Whole pages, since the source may be read directly.
    uint8_t *piece = aligned_alloc(IO_ALIGN_BYTES, PIECE_BYTES);
    CHECK(piece != NULL);
    Err e = OK;
    for (uint64_t at = 0; at < bytes->n && e.kind == ERR_NONE;) {
        size_t n = (size_t)MIN(bytes->n - at, (uint64_t)PIECE_BYTES);
        e = bytes->read(bytes->self, piece, n, at);
        if (e.kind == ERR_NONE)
            e = io->write(f, piece, n, at, false);
        at += n;
    }
    free(piece);
    return e;
}

static Err write_aside(struct io *io, Str path, const BackupBytes *bytes)
{
    struct io_file *f = NULL;
    TRY(io->open(io, path, IO_WRITE | IO_CREATE | IO_TRUNC, &f));
    Err e = copy_bytes(io, f, bytes);
    if (e.kind == ERR_NONE)
        e = io->sync(f);
    io->close(f);
    return e;
}

static Err dir_put(struct backup_target *t, Str name, const BackupBytes *bytes)
{
    struct target_dir *d = dir_of(t);
    AUTO(arena) tmp = arena_open();
    Str path = str_cat3(tmp, d->dir, S("/"), name);
    Str aside = str_cat(tmp, path, S(".new"));
    TRY(make_dirs(d->io, parent_of(path)));
    Err e = write_aside(d->io, aside, bytes);
    if (e.kind == ERR_NONE)
        e = d->io->rename(d->io, aside, path);
    if (e.kind != ERR_NONE) {
        err_ignore(d->io->unlink(d->io, aside)); // the first error tells more; it is swept later
        return e;
    }
    return d->io->sync_dir(d->io, parent_of(path));
}

static Err dir_fetch(struct backup_target *t, struct arena *a, Str name, BackupObject *ret)
{
    struct target_dir *d = dir_of(t);
    Str path = str_cat3(a, d->dir, S("/"), name);
    struct io_file *f = NULL;
    uint64_t bytes = 0;
    TRY(d->io->open(d->io, path, IO_READ, &f));
    Err e = d->io->size(f, &bytes);
    d->io->close(f);
    TRY(e);
    *ret = (BackupObject){ .io = d->io, .path = path, .bytes = bytes };
    return OK;
}

static void dir_let_go(struct backup_target *t, BackupObject *o)
{
    (void)t;
    (void)o;
}

// Names found so far.
struct listing {
    struct target_dir *d;
    struct arena *a;
    BackupName *at;
    size_t n, room;
};

static void listing_add(struct listing *l, Str name, uint64_t bytes)
{
    if (l->n == l->room) {
        l->room = MAX(l->room * 2, (size_t)64);
        l->at = xrealloc(l->at, mul_checked(l->room, sizeof *l->at));
    }
    l->at[l->n++] = (BackupName){ .name = name, .bytes = bytes };
}

// What lies in the directory of that name, which is empty or ends in '/', and below it.
static Err list_below(struct listing *l, Str prefix, unsigned depth)
{
    enum { DEPTH_MAX = 4 };
    AUTO(arena) tmp = arena_open();
    Str dir = str_cat3(tmp, l->d->dir, S("/"), prefix);
    IoName *names = NULL;
    size_t n = 0;
    Err e = l->d->io->list(l->d->io, tmp, str_head(dir, dir.n - 1), &names, &n);
    if (e.kind == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    for (size_t i = 0; i < n; i++) {
        Str name = str_cat(l->a, prefix, names[i].name);
        if (!names[i].is_dir)
            listing_add(l, name, names[i].bytes);
        else if (depth < DEPTH_MAX)
            TRY(list_below(l, str_cat(l->a, name, S("/")), depth + 1));
    }
    return OK;
}

static Err dir_list(struct backup_target *t, struct arena *a, Str prefix, BackupName **ret,
                    size_t *ret_n)
{
    struct listing l = { .d = dir_of(t), .a = a };
    Err e = list_below(&l, prefix, 0);
    if (e.kind == ERR_NONE) {
        *ret = arena_new(a, BackupName, MAX(l.n, (size_t)1));
        if (l.n > 0)
            memcpy(*ret, l.at, l.n * sizeof **ret);
        *ret_n = l.n;
    }
    free(l.at);
    return e;
}

static Err dir_remove(struct backup_target *t, Str name)
{
    struct target_dir *d = dir_of(t);
    AUTO(arena) tmp = arena_open();
    Str path = str_cat3(tmp, d->dir, S("/"), name);
    Err e = d->io->unlink(d->io, path);
    if (e.kind == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    return d->io->sync_dir(d->io, parent_of(path));
}

static void dir_close(struct backup_target *t)
{
    struct target_dir *d = dir_of(t);
    d->io->close(d->lock);
    arena_close(d->a);
    free(d);
}

void backup_target_dir(struct io *io, Str dir, struct backup_target **ret)
{
    while (dir.n > 1 && dir.p[dir.n - 1] == '/')
        dir.n--;
    struct target_dir *d = xalloc(sizeof *d);
    d->io = io;
    d->a = arena_open();
    d->dir = str_dup(d->a, dir);
    d->table = (struct backup_target){
        .lock = dir_lock,
        .put = dir_put,
        .fetch = dir_fetch,
        .let_go = dir_let_go,
        .list = dir_list,
        .remove = dir_remove,
        .close = dir_close,
    };
    *ret = &d->table;
}
