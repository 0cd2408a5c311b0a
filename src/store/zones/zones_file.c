// SPDX-License-Identifier: Apache-2.0
// Files and names of one zone, for those who compare and copy: done by the zone's own threads, so
// that a zone that hangs stops nobody for longer than he wants to wait.
#include "store/zones/zones_priv.h"

#include <stdlib.h>
#include <string.h>

// ---- Names

bool is_zones_own(Str dir, Str name)
{
    if (str_ends(name, ASIDE_SUFFIX))
        return true;
    // Also what is written aside and has not got its name yet.
    return dir.n == 0 && (str_starts(name, S("zone.")) || str_eq(name, S("lock")) ||
                          str_eq(name, S("lost+found")));
}

bool zone_is_immutable(Str rel)
{
    return str_ends(rel, S(".hrc"));
}

static Err run_name(struct zone *z, Err (*run)(struct part *p), Str rel, Str rel2, int64_t ns)
{
    struct op *op = op_new(z->s, run);
    op_paths(op, rel, rel2);
    Err e = op_run_one(op, z->i, ns);
    op_unref(op);
    return e;
}

Err zone_name_rename(struct zone *z, Str from, Str to, int64_t ns)
{
    return run_name(z, run_rename, from, to, ns);
}

Err zone_name_unlink(struct zone *z, Str rel, int64_t ns)
{
    Err e = run_name(z, run_unlink, rel, (Str){ 0 }, ns);
    return e.kind == ERR_NOT_FOUND ? OK : e;
}

// Also its name in the parent must last: a power cut would take the whole zone otherwise.
static Err run_make_zone(struct part *p)
{
    struct io *io = p->zone->io;
    TRY(io->mkdir(io, p->path));
    size_t n = p->path.n;
    while (n > 0 && p->path.p[n - 1] != '/')
        n--;
    Str parent = n == 0 ? S(".") : str_head(p->path, MAX(n - 1, (size_t)1));
    Err e = io->sync_dir(io, parent);
    // A parent that we may not read is one in which we made nothing.
    return e.kind == ERR_DENIED ? OK : e;
}

Err zone_make_dir(struct zone *z)
{
    return run_name(z, run_make_zone, S(""), (Str){ 0 }, SLOW_NS);
}

Err zone_name_mkdir(struct zone *z, Str rel, int64_t ns)
{
    return run_name(z, run_mkdir, rel, (Str){ 0 }, ns);
}

Err zone_name_sync_dir(struct zone *z, Str rel, int64_t ns)
{
    return run_name(z, run_sync_dir, rel, (Str){ 0 }, ns);
}

static Err run_write_file(struct part *p)
{
    AUTO(arena) tmp = arena_open();
    return io_write_file(p->zone->io, tmp, p->path, str_from(p->op->data, p->op->n));
}

Err zone_name_write_file(struct zone *z, Str rel, Str content, int64_t ns)
{
    struct op *op = op_new(z->s, run_write_file);
    op_paths(op, rel, (Str){ 0 });
    op_buffer(op, content.n);
    memcpy(op->data, content.p, content.n);
    Err e = op_run_one(op, z->i, ns);
    op_unref(op);
    return e;
}

static Err run_read_file(struct part *p)
{
    p->arena = p->arena != NULL ? p->arena : arena_open();
    return io_read_file(p->zone->io, p->arena, p->path, p->op->n, &p->text);
}

Err zone_name_read_file(struct zone *z, struct arena *a, Str rel, size_t max_bytes, int64_t ns,
                        Str *ret)
{
    struct op *op = op_new(z->s, run_read_file);
    op_paths(op, rel, (Str){ 0 });
    op->n = max_bytes;
    Err e = op_run_one(op, z->i, ns);
    if (e.kind == ERR_NONE)
        *ret = str_dup(a, op->parts[z->i].text);
    op_unref(op);
    return e;
}

Err zone_space(struct zone *z, uint64_t *ret_free_bytes)
{
    struct op *op = op_new(z->s, run_space);
    op_paths(op, S(""), (Str){ 0 });
    Err e = op_run_one(op, z->i, SLOW_NS);
    if (e.kind == ERR_NONE)
        *ret_free_bytes = op->parts[z->i].number;
    op_unref(op);
    return e;
}

// ---- Files

Err zone_file_open(struct zone *z, Str rel, unsigned flags, int64_t ns, struct handle **ret)
{
    struct op *op = op_new(z->s, run_open);
    op_paths(op, rel, (Str){ 0 });
    op->flags = flags;
    Err e = op_run_one(op, z->i, ns);
    if (e.kind == ERR_NONE) {
        *ret = op->parts[z->i].h;
        op->parts[z->i].h = NULL;
    }
    op_unref(op);
    return e;
}

void zone_file_close(struct handle *h)
{
    if (h == NULL)
        return;
    struct zones *s = h->zone->s;
    pthread_mutex_lock(&s->lock);
    handle_unref_locked(h);
    pthread_mutex_unlock(&s->lock);
}

static Err run_close(struct part *p)
{
    struct handle *h = p->h;
    p->h = NULL;
    p->zone->io->close(h->f);
    free(h);
    return OK;
}

Err zone_file_close_now(struct handle *h, int64_t ns)
{
    struct op *op = op_new(h->zone->s, run_close);
    op->parts[h->zone->i].h = h;
    Err e = op_run_one(op, h->zone->i, ns);
    op_unref(op);
    return e;
}

static struct op *file_op(struct handle *h, Err (*run)(struct part *p))
{
    struct op *op = op_new(h->zone->s, run);
    pthread_mutex_lock(&op->s->lock);
    op->parts[h->zone->i].h = h;
    handle_ref_locked(h);
    pthread_mutex_unlock(&op->s->lock);
    return op;
}

Err zone_file_read(struct handle *h, size_t n, uint64_t at, int64_t ns, struct op **ret_op)
{
    struct op *op = file_op(h, run_read);
    op->n = n;
    op->at = at;
    Err e = op_run_one(op, h->zone->i, ns);
    if (e.kind == ERR_NONE)
        *ret_op = op;
    else
        op_unref(op);
    return e;
}

static Err run_file(struct op *op, const struct handle *h, int64_t ns)
{
    Err e = op_run_one(op, h->zone->i, ns);
    op_unref(op);
    return e;
}

Err zone_file_write(struct handle *h, const void *p, size_t n, uint64_t at, int64_t ns)
{
    struct op *op = file_op(h, run_write);
    op_buffer(op, n);
    memcpy(op->data, p, n);
    op->at = at;
    return run_file(op, h, ns);
}

Err zone_file_sync(struct handle *h, int64_t ns)
{
    return run_file(file_op(h, run_sync), h, ns);
}

Err zone_file_lock(struct handle *h, int64_t ns)
{
    return run_file(file_op(h, run_lock), h, ns);
}

Err zone_file_size(struct handle *h, int64_t ns, uint64_t *ret)
{
    struct op *op = file_op(h, run_size);
    Err e = op_run_one(op, h->zone->i, ns);
    if (e.kind == ERR_NONE)
        *ret = op->parts[h->zone->i].number;
    op_unref(op);
    return e;
}

Err zone_file_truncate(struct handle *h, uint64_t bytes, int64_t ns)
{
    struct op *op = file_op(h, run_truncate);
    op->at = bytes;
    return run_file(op, h, ns);
}

// ---- Trees

struct reading {
    struct zone *zone;
    struct arena *a;
    bool with_asides;
    int64_t ns; // for each directory
    Tree tree;
    size_t room;
};

static void tree_add(struct reading *r, TreeEntry e)
{
    if (r->tree.n == r->room) {
        size_t room = MAX(r->room * 2, (size_t)64);
        TreeEntry *wider = arena_new(r->a, TreeEntry, room);
        if (r->tree.n > 0)
            memcpy(wider, r->tree.at, r->tree.n * sizeof *wider);
        r->tree.at = wider;
        r->room = room;
    }
    r->tree.at[r->tree.n++] = e;
}

static Err read_dir(struct reading *r, Str dir)
{
    struct op *op = op_new(r->zone->s, run_list);
    op_paths(op, dir, (Str){ 0 });
    Err e = op_run_one(op, r->zone->i, r->ns);
    const struct part *p = &op->parts[r->zone->i];
    for (size_t i = 0; e.kind == ERR_NONE && i < p->name_count; i++) {
        const IoName *name = &p->names[i];
        bool is_aside = str_ends(name->name, ASIDE_SUFFIX);
        if (is_zones_own(dir, name->name) && !(is_aside && r->with_asides))
            continue;
        Str path = dir.n > 0 ? str_cat3(r->a, dir, S("/"), name->name) : str_dup(r->a, name->name);
        tree_add(r, (TreeEntry){ path, name->is_dir, name->bytes });
    }
    op_unref(op);
    return e;
}

static int compare_entries(const void *x, const void *y)
{
    return str_cmp(((const TreeEntry *)x)->path, ((const TreeEntry *)y)->path);
}

Err tree_read(struct zone *z, struct arena *a, bool with_asides, int64_t ns, Tree *ret)
{
    struct reading r = { .zone = z, .a = a, .with_asides = with_asides, .ns = ns };
    TRY(read_dir(&r, S("")));
    for (size_t i = 0; i < r.tree.n; i++) { // it grows while directories are read
        if (!r.tree.at[i].is_dir)
            continue;
        Err e = read_dir(&r, r.tree.at[i].path);
        if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
            return e;
    }
    if (r.tree.n > 0)
        qsort(r.tree.at, r.tree.n, sizeof *r.tree.at, compare_entries);
    *ret = r.tree;
    return OK;
}
