// SPDX-License-Identifier: Apache-2.0
#include "server/data_dir.h"
#include "base/buf.h"
#include "codec/marker.h"
#include "server/port_owner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MARKER_BYTES_MAX = 4096, LOCK_BYTES_MAX = 1024 };
#define MARKER_KIND S("headrace-data")

struct data_dir {
    struct io *io;
    struct io_file *lock;
    bool is_new;
};

// What is being opened, and where its failure is explained.
struct opening {
    struct io *io;
    struct arena *a;
    Str path;
    Str version;
    Str *problem;
};

static Err explain(const struct opening *o, Err e, Str problem)
{
    *o->problem = problem;
    return e;
}

static Err explain_os(const struct opening *o, Err e, Str path)
{
    return explain(o, e,
                   str_fmt(o->a, "%.*s: %s%s%s", FMT(path), e.text, e.os != 0 ? ": " : "",
                           e.os != 0 ? strerrordesc_np(e.os) : ""));
}

static Err make_directories(const struct opening *o)
{
    for (size_t i = 1; i <= o->path.n; i++) {
        if (i < o->path.n && o->path.p[i] != '/')
            continue;
        Str part = str_head(o->path, i);
        Err e = o->io->mkdir(o->io, part);
        // A parent may be one that we cannot make but may walk through; the last one decides.
        if (e.kind != ERR_NONE && i == o->path.n)
            return explain_os(o, e, part);
    }
    return OK;
}

// "pid 812 (headrace)", as far as it can be found out.
static Str holder(const struct opening *o, Str lock_path)
{
    Str pid = S("");
    Err e = io_read_file(o->io, o->a, lock_path, LOCK_BYTES_MAX, &pid);
    pid = str_trim(str_head(pid, str_find(pid, '\n')));
    if (e.kind != ERR_NONE || pid.n == 0)
        return S("another process");
    Str name = process_name(o->a, pid);
    if (name.n == 0)
        return str_cat(o->a, S("pid "), pid);
    return str_fmt(o->a, "pid %.*s (%.*s)", FMT(pid), FMT(name));
}

static Err take_lock(const struct opening *o, struct data_dir *d)
{
    Str path = str_cat(o->a, o->path, S("/lock"));
    Err e = o->io->open(o->io, path, IO_WRITE | IO_CREATE, &d->lock);
    if (e.kind != ERR_NONE)
        return explain_os(o, e, path);
    e = o->io->lock(d->lock);
    if (e.kind == ERR_BUSY) {
        Str who = holder(o, path);
        return explain(o, e,
                       str_fmt(o->a, "%.*s is in use by %.*s. Stop it, or use another --data-dir.",
                               FMT(o->path), FMT(who)));
    }
    if (e.kind != ERR_NONE)
        return explain_os(o, e, path);
    Str pid = str_fmt(o->a, "%ld\n", (long)getpid());
    e = o->io->truncate(d->lock, 0);
    if (e.kind == ERR_NONE)
        e = o->io->write(d->lock, pid.p, pid.n, 0, false);
    return e.kind == ERR_NONE ? OK : explain_os(o, e, path);
}

static Err write_marker(const struct opening *o, Str path)
{
    AUTO_BUF(b);
    marker_begin(&b, MARKER_KIND, DATA_FORMAT, DATA_READER_LEAST);
    marker_add(&b, S("version"), o->version);
    marker_end(&b);
    TRY(buf_err(&b));
    Err e = io_write_file(o->io, o->a, path, buf_str(&b));
    return e.kind == ERR_NONE ? OK : explain_os(o, e, path);
}

static Err check_marker(const struct opening *o, Str path, Str content)
{
    Marker m = { 0 };
    Err e = marker_read(content, MARKER_KIND, DATA_FORMAT, &m);
    Str version = marker_value(&m, S("version"));
    if (e.kind == ERR_CORRUPT || version.p == NULL)
        return explain(o, fail(ERR_CORRUPT, "data directory marker damaged"),
                       str_fmt(o->a,
                               "%.*s is damaged. Nothing was changed; restore it from a backup.",
                               FMT(path)));
    if (e.kind == ERR_FORMAT)
        return explain(o, fail(ERR_FORMAT, "data directory of a newer format"),
                       str_fmt(o->a,
                               "%.*s was written by headrace %.*s (format %llu); this is headrace "
                               "%.*s (format %d). Use headrace >= %.*s, or restore a backup made "
                               "before the upgrade.",
                               FMT(o->path), FMT(version), (unsigned long long)m.format,
                               FMT(o->version), DATA_FORMAT, FMT(version)));
    return OK;
}

// A journal without a marker means that the marker was lost: starting over could hide data.
static Err check_new(const struct opening *o)
{
    IoName *names = NULL;
    size_t n = 0;
    Err e = o->io->list(o->io, o->a, o->path, &names, &n);
    if (e.kind != ERR_NONE)
        return explain_os(o, e, o->path);
    for (size_t i = 0; i < n; i++)
        if (str_eq(names[i].name, S("journal")) || str_eq(names[i].name, S("headrace.db")))
            return explain(o, fail(ERR_CORRUPT, "data directory without its marker"),
                           str_fmt(o->a,
                                   "%.*s holds data (%.*s) but its FORMAT file is missing. Nothing "
                                   "was changed; restore the file from a backup.",
                                   FMT(o->path), FMT(names[i].name)));
    return OK;
}

// The names of a new directory and of its parents, which may be new too, must last as well: a power
// cut would take the whole directory otherwise.
static Err sync_parents(const struct opening *o)
{
    for (Str dir = o->path;;) {
        size_t n = dir.n; // up to and with the last slash
        while (n > 0 && dir.p[n - 1] != '/')
            n--;
        Str parent = n == 0 ? S(".") : str_head(dir, MAX(n - 1, 1));
        Err e = o->io->sync_dir(o->io, parent);
        // One that we may not read is one in which we made nothing.
        if (e.kind != ERR_NONE && e.kind != ERR_DENIED)
            return explain_os(o, e, parent);
        if (n <= 1)
            return OK;
        dir = parent;
    }
}

static Err look_at_marker(const struct opening *o, Str path, bool *ret_there)
{
    Str content = S("");
    *ret_there = false;
    Err e = io_read_file(o->io, o->a, path, MARKER_BYTES_MAX, &content);
    if (e.kind == ERR_NOT_FOUND)
        return OK;
    if (e.kind != ERR_NONE)
        return explain_os(o, e, path);
    *ret_there = true;
    return check_marker(o, path, content);
}

static Str without_slash(Str path)
{
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    return path;
}

Err data_dir_hold(struct io *io, struct arena *a, Str path, struct data_dir **ret, Str *ret_problem)
{
    path = without_slash(path);
    const struct opening o = { .io = io, .a = a, .path = path, .problem = ret_problem };
    if (path.n == 0)
        return explain(&o, fail(ERR_INVALID, "no data directory"),
                       S("no data directory: give --data-dir DIR, or set HOME"));
    TRY(make_directories(&o));
    struct data_dir *d = xalloc(sizeof *d);
    d->io = io;
    Err e = take_lock(&o, d);
    if (e.kind != ERR_NONE) {
        data_dir_close(d);
        return e;
    }
    *ret = d;
    return OK;
}

Err data_dir_check(struct data_dir *d, struct io *content, struct arena *a, Str path, Str version,
                   Str *ret_problem)
{
    const struct opening o = { .io = content,
                               .a = a,
                               .path = without_slash(path),
                               .version = version,
                               .problem = ret_problem };
    Str marker = str_cat(a, o.path, S("/FORMAT"));
    bool is_there;
    TRY(look_at_marker(&o, marker, &is_there));
    if (is_there)
        return OK;
    TRY(check_new(&o));
    d->is_new = true;
    TRY(write_marker(&o, marker));
    // What lies elsewhere has made its own directories last.
    return content == d->io ? sync_parents(&o) : OK;
}

Err data_dir_look(struct io *io, struct arena *a, Str path, Str version, Str *ret_problem)
{
    const struct opening o = {
        .io = io, .a = a, .path = path, .version = version, .problem = ret_problem
    };
    bool is_there;
    Err e = look_at_marker(&o, str_cat(a, path, S("/FORMAT")), &is_there);
    // One that is damaged or out of reach is not newer, and may be mended from elsewhere.
    return e.kind == ERR_FORMAT ? e : OK;
}

Err data_dir_open(struct io *io, struct arena *a, Str path, Str version, struct data_dir **ret,
                  Str *ret_problem)
{
    struct data_dir *d = NULL;
    TRY(data_dir_hold(io, a, path, &d, ret_problem));
    Err e = data_dir_check(d, io, a, path, version, ret_problem);
    if (e.kind != ERR_NONE) {
        data_dir_close(d);
        return e;
    }
    *ret = d;
    return OK;
}

void data_dir_note_address(struct data_dir *d, Str url)
{
    AUTO(arena) tmp = arena_open();
    Str text = str_fmt(tmp, "%ld\n%.*s\n", (long)getpid(), FMT(url));
    err_ignore(d->io->write(d->lock, text.p, text.n, 0, false)); // tools then ask for it
}

Str data_dir_address(struct io *io, struct arena *a, Str path)
{
    Str text, pid, rest;
    Err e = io_read_file(io, a, str_cat(a, path, S("/lock")), LOCK_BYTES_MAX, &text);
    if (e.kind != ERR_NONE || !str_cut(text, '\n', &pid, &rest) || rest.n == 0)
        return (Str){ 0 };
    return str_trim(rest);
}

Err data_dir_mark(struct io *io, struct arena *a, Str path, Str version, Str *ret_problem)
{
    const struct opening o = {
        .io = io, .a = a, .path = path, .version = version, .problem = ret_problem
    };
    TRY(write_marker(&o, str_cat(a, path, S("/FORMAT"))));
    return sync_parents(&o);
}

void data_dir_close(struct data_dir *d)
{
    if (d == NULL)
        return;
    d->io->close(d->lock);
    free(d);
}

bool data_dir_is_new(const struct data_dir *d)
{
    return d->is_new;
}
