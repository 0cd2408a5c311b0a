// SPDX-License-Identifier: Apache-2.0
#include "store/backup/backup_priv.h"

#include <stdlib.h>
#include <string.h>

Err file_reader_open(struct io *io, Str path, const BackupWatch *watch, struct file_reader *ret)
{
    struct file_reader r = { .io = io, .watch = watch };
    TRY(io->open(io, path, IO_READ, &r.file));
    Err e = io->size(r.file, &r.bytes);
    if (e.kind == ERR_NONE && r.bytes > 0 && r.bytes % IO_ALIGN_BYTES == 0) {
        // So that what is read once pushes nothing out of the page cache.
        struct io_file *direct = NULL;
        if (io->open(io, path, IO_READ | IO_DIRECT, &direct).kind == ERR_NONE) {
            io->close(r.file);
            r.file = direct;
        }
    }
    if (e.kind != ERR_NONE) {
        io->close(r.file);
        return e;
    }
    *ret = r;
    return OK;
}

void file_reader_close(struct file_reader *r)
{
    r->io->close(r->file);
    r->file = NULL;
}

static Err reader_read(void *self, void *p, size_t n, uint64_t at)
{
    struct file_reader *r = self;
    if (watch_stops(r->watch))
        return fail(ERR_CLOSED, "stopped");
    size_t got = 0;
    TRY(r->io->read(r->file, p, n, at, &got));
    if (got < n)
        return fail(ERR_CORRUPT, "a file is shorter than it was");
    watch_add(r->watch, n);
    return OK;
}

BackupBytes reader_bytes(struct file_reader *r)
{
    return (BackupBytes){ .n = r->bytes, .read = reader_read, .self = r };
}

static Err memory_read(void *self, void *p, size_t n, uint64_t at)
{
    const Str *s = self;
    CHECK(at <= s->n && n <= s->n - at);
    memcpy(p, s->p + at, n);
    return OK;
}

BackupBytes memory_bytes(const Str *s)
{
    // Only read, though a reader of files changes what it points to.
    return (BackupBytes){ .n = s->n, .read = memory_read, .self = (void *)(uintptr_t)s };
}

Err bytes_hash(const BackupBytes *b, struct arena *a, Str *ret)
{
    struct sha256 h;
    sha256_init(&h);
    uint8_t *piece = aligned_alloc(IO_ALIGN_BYTES, BACKUP_PIECE_BYTES);
    CHECK(piece != NULL);
    Err e = OK;
    for (uint64_t at = 0; at < b->n && e.kind == ERR_NONE;) {
        size_t n = (size_t)MIN(b->n - at, (uint64_t)BACKUP_PIECE_BYTES);
        e = b->read(b->self, piece, n, at);
        if (e.kind == ERR_NONE)
            sha256_add(&h, piece, n);
        at += n;
    }
    free(piece);
    TRY(e);
    unsigned char digest[SHA256_BYTES];
    sha256_end(&h, digest);
    *ret = hex_str(a, digest, sizeof digest);
    return OK;
}

Err object_read(struct backup_target *t, struct arena *a, Str name, size_t max, Str *ret)
{
    BackupObject o = { 0 };
    AUTO(arena) tmp = arena_open();
    TRY(t->fetch(t, tmp, name, &o));
    Err e = io_read_file(o.io, a, o.path, max, ret);
    t->let_go(t, &o);
    return e;
}
