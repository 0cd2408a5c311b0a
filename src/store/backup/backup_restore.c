// SPDX-License-Identifier: Apache-2.0
// A new data directory out of a backup. Every object is hashed as it is copied: a damaged one ends
// the restore. The files of the journal are not among them; the first start makes new ones.
#include "store/backup/backup_priv.h"

#include <stdlib.h>

// So many blocks after the backup the old timeline may have written, and none of their positions is
// given again: at a thousand commits a second more than two years. There is room for 500 restores
// of restores.
#define RESTORE_SKIP_BLOCKS (UINT64_C(1) << 36)

struct restoring {
    struct backup_target *t;
    struct io *io;
    Str dir;
    const BackupWatch *watch;
    struct buf folder; // of the object store, that is being filled
};

static Err copy_pieces(struct restoring *r, const BackupBytes *from, struct io_file *to,
                       struct sha256 *hash)
{
    uint8_t *piece = aligned_alloc(IO_ALIGN_BYTES, BACKUP_PIECE_BYTES);
    CHECK(piece != NULL);
    Err e = OK;
    for (uint64_t at = 0; at < from->n && e.kind == ERR_NONE;) {
        size_t n = (size_t)MIN(from->n - at, (uint64_t)BACKUP_PIECE_BYTES);
        e = from->read(from->self, piece, n, at);
        if (e.kind == ERR_NONE)
            e = r->io->write(to, piece, n, at, false);
        sha256_add(hash, piece, n);
        at += n;
    }
    free(piece);
    return e;
}

static Err copy_object(struct restoring *r, const BackupFile *f, const BackupObject *o)
{
    AUTO(arena) tmp = arena_open();
    struct sha256 hash;
    sha256_init(&hash);
    struct file_reader from;
    struct io_file *to = NULL;
    TRY(file_reader_open(o->io, o->path, r->watch, &from));
    BackupBytes bytes = reader_bytes(&from);
    Str path = str_cat3(tmp, r->dir, S("/"), f->path);
    Err e = r->io->open(r->io, path, IO_WRITE | IO_CREATE | IO_EXCL, &to);
    if (e.kind == ERR_NONE)
        e = copy_pieces(r, &bytes, to, &hash);
    if (e.kind == ERR_NONE)
        e = r->io->sync(to);
    r->io->close(to);
    file_reader_close(&from);
    TRY(e);
    unsigned char digest[SHA256_BYTES];
    sha256_end(&hash, digest);
    return bytes.n == f->bytes && str_eq(hex_str(tmp, digest, sizeof digest), f->hash)
               ? OK
               : fail(ERR_CORRUPT, "the object is damaged");
}

static Err leave_folder(struct restoring *r)
{
    return r->folder.n > 0 ? r->io->sync_dir(r->io, buf_str(&r->folder)) : OK;
}

// The checkpoint as the new timeline begins with it.
static Err restore_checkpoint(struct restoring *r, const BackupFile *f)
{
    AUTO(arena) tmp = arena_open();
    Str content;
    TRY(object_read(r->t, tmp, object_name(tmp, f->hash), BUF_BYTES_MAX, &content));
    BackupBytes bytes = memory_bytes(&content);
    Str hash;
    TRY(bytes_hash(&bytes, tmp, &hash));
    if (!str_eq(hash, f->hash))
        return fail(ERR_CORRUPT, "the object is damaged");
    Checkpoint c;
    TRY(checkpoint_decode(tmp, content, &c));
    c.generation++;
    c.is_restored = true;
    c.least_number = MAX(c.least_number, c.sealed_block) + RESTORE_SKIP_BLOCKS;
    return checkpoint_write(r->io, tmp, str_cat(tmp, r->dir, S("/journal")), &c);
}

// The folder of a file of the object store is there: DIR/blobs/RUN/HIGH. Files come in the order of
// their folders, which are synced when the next one begins.
static Err enter_folder(struct restoring *r, const BackupFile *f)
{
    AUTO(arena) tmp = arena_open();
    Str path = str_cat3(tmp, r->dir, S("/"), f->path), parts[3], folder = path;
    for (size_t i = COUNT_OF(parts); i-- > 0;) {
        while (folder.p[folder.n - 1] != '/')
            folder.n--;
        folder.n--;
        parts[i] = folder;
    }
    Str high = parts[COUNT_OF(parts) - 1];
    if (str_eq(high, buf_str(&r->folder)))
        return OK;
    TRY(leave_folder(r));
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        TRY(r->io->mkdir(r->io, parts[i]));
        TRY(r->io->sync_dir(r->io, i > 0 ? parts[i - 1] : r->dir));
    }
    buf_clear(&r->folder);
    buf_add(&r->folder, high);
    return buf_err(&r->folder);
}

static Err restore_file(struct restoring *r, const BackupFile *f)
{
    if (str_eq(f->path, PATH_CHECKPOINT))
        return restore_checkpoint(r, f);
    if (f->blob != 0)
        TRY(enter_folder(r, f));
    AUTO(arena) tmp = arena_open();
    BackupObject o = { 0 };
    TRY(r->t->fetch(r->t, tmp, object_name(tmp, f->hash), &o));
    Err e = copy_object(r, f, &o);
    r->t->let_go(r->t, &o);
    return e;
}

// The directory is there and empty. What lies in it is not taken for a store before it has its
// FORMAT, because the journal's directory comes first.
static Err prepare(struct restoring *r)
{
    AUTO(arena) tmp = arena_open();
    IoName *names = NULL;
    size_t n = 0;
    Err e = r->io->list(r->io, tmp, r->dir, &names, &n);
    if (e.kind == ERR_NONE && n > 0)
        return fail(ERR_EXISTS, "the directory is not empty");
    if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
        return e;
    for (size_t i = 1; i <= r->dir.n; i++)
        if (i == r->dir.n || r->dir.p[i] == '/') {
            e = r->io->mkdir(r->io, str_head(r->dir, i));
            if (e.kind != ERR_NONE && i == r->dir.n)
                return e; // one above may be out of our hands; the last one decides
        }
    Str journal = str_cat(tmp, r->dir, S("/journal"));
    TRY(r->io->mkdir(r->io, journal));
    TRY(r->io->sync_dir(r->io, r->dir));
    TRY(r->io->mkdir(r->io, str_cat(tmp, journal, S("/sealed"))));
    return r->io->sync_dir(r->io, journal);
}

static Err restore_all(struct restoring *r, const Backup *backup)
{
    AUTO(arena) tmp = arena_open();
    TRY(prepare(r));
    for (size_t i = 0; i < backup->file_count; i++) {
        Err e = restore_file(r, &backup->files[i]);
        if (e.kind == ERR_NOT_FOUND)
            e = fail(ERR_CORRUPT, "an object is missing");
        if (e.kind != ERR_NONE) {
            watch_problem(r->watch, backup->files[i].path, e);
            return e;
        }
    }
    TRY(leave_folder(r));
    TRY(r->io->sync_dir(r->io, str_cat3(tmp, r->dir, S("/"), PATH_CONTAINERS)));
    TRY(r->io->sync_dir(r->io, str_cat(tmp, r->dir, S("/journal"))));
    return r->io->sync_dir(r->io, r->dir);
}

Err backup_restore(struct backup_target *t, const Backup *backup, struct io *io, Str dir,
                   const BackupWatch *watch)
{
    struct restoring r = { .t = t, .io = io, .dir = dir, .watch = watch };
    Err e = restore_all(&r, backup);
    buf_done(&r.folder);
    return e;
}
