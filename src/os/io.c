// SPDX-License-Identifier: Apache-2.0
#include "os/io.h"

#include "base/buf.h"

enum { UNSIZED_STEP_BYTES = 4096 };

unsigned io_one_copy(struct io_file *f)
{
    (void)f;
    return 1;
}

Err io_no_mend(struct io_file *f, const void *p, size_t n, uint64_t at)
{
    (void)f, (void)p, (void)n, (void)at;
    return fail(ERR_INVALID, "there is no other copy of the file");
}

int io_no_descriptor(struct io_file *f)
{
    (void)f;
    return -1;
}

static Err too_large(void)
{
    return fail(ERR_LIMIT, "file is larger than it may be");
}

// An empty file, or one that the kernel makes up while it is read.
static Err read_unsized(struct io *io, struct io_file *f, struct arena *a, size_t max_bytes,
                        Str *ret)
{
    AUTO_BUF(b);
    for (size_t n = UNSIZED_STEP_BYTES; n == UNSIZED_STEP_BYTES; b.n += n) {
        if (b.n > max_bytes || !buf_reserve(&b, UNSIZED_STEP_BYTES))
            return too_large();
        TRY(io->read(f, b.p + b.n, UNSIZED_STEP_BYTES, b.n, &n));
    }
    if (b.n > max_bytes)
        return too_large();
    *ret = str_dup(a, buf_str(&b));
    return OK;
}

static Err read_open_file(struct io *io, struct io_file *f, struct arena *a, size_t max_bytes,
                          Str *ret)
{
    uint64_t bytes = 0;
    TRY(io->size(f, &bytes));
    if (bytes == 0)
        return read_unsized(io, f, a, max_bytes, ret);
    if (bytes > max_bytes)
        return too_large();
    char *p = arena_new(a, char, (size_t)bytes + 1);
    size_t n = 0;
    TRY(io->read(f, p, (size_t)bytes, 0, &n));
    *ret = str_from(p, n);
    return OK;
}

Err io_read_file(struct io *io, struct arena *a, Str path, size_t max_bytes, Str *ret)
{
    struct io_file *f = NULL;
    TRY(io->open(io, path, IO_READ, &f));
    Err e = read_open_file(io, f, a, max_bytes, ret);
    io->close(f);
    return e;
}

static Err write_aside(struct io *io, Str path, Str content)
{
    struct io_file *f = NULL;
    TRY(io->open(io, path, IO_WRITE | IO_CREATE | IO_TRUNC, &f));
    Err e = io->write(f, content.p, content.n, 0, false);
    if (e.kind == ERR_NONE)
        e = io->sync(f);
    io->close(f);
    return e;
}

static Str parent_of(Str path)
{
    size_t n = path.n;
    while (n > 0 && path.p[n - 1] != '/')
        n--;
    if (n == 0)
        return S(".");
    return str_head(path, n > 1 ? n - 1 : 1);
}

Err io_write_file(struct io *io, struct arena *tmp, Str path, Str content)
{
    Str aside = str_cat(tmp, path, S(".new"));
    Err e = write_aside(io, aside, content);
    if (e.kind == ERR_NONE)
        e = io->rename(io, aside, path);
    if (e.kind != ERR_NONE) {
        err_ignore(io->unlink(io, aside)); // the first error tells more
        return e;
    }
    return io->sync_dir(io, parent_of(path));
}
