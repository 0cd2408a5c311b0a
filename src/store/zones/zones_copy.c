// SPDX-License-Identifier: Apache-2.0
// Comparing one zone with another and making it the same: in pieces, of which only those that
// differ are written, so that a zone that was away for a minute is whole again soon.
#include "store/zones/zones_priv.h"

#include "base/metric.h"

#include <string.h>

enum {
    PIECES_PER_SYNC = 32,  // written before they are synced: it must not all come at the end
    TAIL_BYTES = 64 << 10, // of a container: its footer
};

static void note_copied(struct zone *z, size_t n)
{
    pthread_mutex_lock(&z->s->lock);
    z->copied_bytes += n;
    pthread_mutex_unlock(&z->s->lock);
    metric_add(z->copied, (int64_t)n);
}

static Err piece_write(struct handle *to, const struct part *p, uint64_t at, int64_t ns)
{
    size_t n = (size_t)p->number;
    if (n > 0)
        TRY(zone_file_write(to, p->bytes, n, at, ns));
    note_copied(to->zone, n);
    if (n == PIECE_BYTES)
        return OK;
    uint64_t bytes = 0;
    TRY(zone_file_size(to, ns, &bytes));
    return bytes == at + n ? OK : zone_file_truncate(to, at + n, ns);
}

Err piece_copy(struct handle *from, struct handle *held, struct handle *to, uint64_t at, int64_t ns,
               size_t *ret_n, bool *ret_differs)
{
    struct op *x = NULL, *y = NULL;
    TRY(zone_file_read(from, PIECE_BYTES, at, ns, &x));
    const struct part *p = &x->parts[from->zone->i];
    size_t n = (size_t)p->number;
    // A piece that cannot be read there is one that differs: writing it may well mend it.
    Err e = zone_file_read(held, PIECE_BYTES, at, ns, &y);
    bool same = e.kind == ERR_NONE && y->parts[held->zone->i].number == n &&
                memcmp(p->bytes, y->parts[held->zone->i].bytes, n) == 0;
    if (y != NULL)
        op_unref(y);
    e = OK;
    if (!same && to != NULL)
        e = piece_write(to, p, at, ns);
    op_unref(x);
    TRY(e);
    *ret_n = n;
    *ret_differs = !same;
    return OK;
}

static Err pieces_compare(struct handle *x, struct handle *y, bool *ret_differs)
{
    size_t n = PIECE_BYTES;
    bool differs = false;
    for (uint64_t at = 0; n == PIECE_BYTES && !differs; at += PIECE_BYTES)
        TRY(piece_copy(x, y, NULL, at, SLOW_NS, &n, &differs));
    *ret_differs = differs;
    return OK;
}

Err zone_file_compare(struct zone *from, struct zone *to, Str rel, bool *ret_differs)
{
    struct handle *x = NULL, *y = NULL;
    TRY(zone_file_open(from, rel, IO_READ | IO_DIRECT, SLOW_NS, &x));
    Err e = zone_file_open(to, rel, IO_READ | IO_DIRECT, SLOW_NS, &y);
    if (e.kind == ERR_NONE)
        e = pieces_compare(x, y, ret_differs);
    zone_file_close(x);
    zone_file_close(y);
    return e;
}

// What cannot be read of y is not the same; an error is that of x.
static Err end_same(struct handle *x, struct handle *y, size_t n, uint64_t at, bool *ret_same)
{
    struct op *p = NULL, *q = NULL;
    TRY(zone_file_read(x, n, at, SLOW_NS, &p));
    Err e = zone_file_read(y, n, at, SLOW_NS, &q);
    const struct part *f = &p->parts[x->zone->i];
    *ret_same = e.kind == ERR_NONE && f->number == q->parts[y->zone->i].number &&
                memcmp(f->bytes, q->parts[y->zone->i].bytes, (size_t)f->number) == 0;
    if (q != NULL)
        op_unref(q);
    op_unref(p);
    return OK;
}

static Err ends_same(struct handle *x, struct handle *y, uint64_t bytes, bool *ret_same)
{
    uint64_t tail = bytes > TAIL_BYTES ? (bytes - TAIL_BYTES) / IO_ALIGN_BYTES * IO_ALIGN_BYTES : 0;
    TRY(end_same(x, y, IO_ALIGN_BYTES, 0, ret_same));
    return *ret_same ? end_same(x, y, (size_t)(bytes - tail), tail, ret_same) : OK;
}

Err zone_file_same_ends(struct zone *from, struct zone *to, Str rel, uint64_t bytes, bool *ret_same)
{
    struct handle *x = NULL, *y = NULL;
    *ret_same = false;
    TRY(zone_file_open(from, rel, IO_READ | IO_DIRECT, SLOW_NS, &x));
    Err e = OK;
    if (zone_file_open(to, rel, IO_READ | IO_DIRECT, SLOW_NS, &y).kind == ERR_NONE)
        e = ends_same(x, y, bytes, ret_same);
    zone_file_close(x);
    zone_file_close(y);
    return e;
}

static Err pieces_copy(struct handle *x, struct handle *held, struct handle *y)
{
    size_t n = PIECE_BYTES;
    for (uint64_t at = 0; n == PIECE_BYTES; at += PIECE_BYTES) {
        bool differs;
        TRY(piece_copy(x, held, y, at, SLOW_NS, &n, &differs));
        if (at / PIECE_BYTES % PIECES_PER_SYNC == PIECES_PER_SYNC - 1)
            TRY(zone_file_sync(y, SLOW_NS));
    }
    return zone_file_sync(y, SLOW_NS);
}

static Err copy_to(struct zone *from, struct zone *to, Str rel, Str to_rel, unsigned flags)
{
    struct handle *x = NULL, *held = NULL, *y = NULL;
    TRY(zone_file_open(from, rel, IO_READ | IO_DIRECT, SLOW_NS, &x));
    Err e = zone_file_open(to, to_rel, IO_WRITE | IO_CREATE | flags, SLOW_NS, &y);
    if (e.kind == ERR_NONE)
        e = zone_file_open(to, to_rel, IO_READ | IO_DIRECT, SLOW_NS, &held);
    if (e.kind == ERR_NONE)
        e = pieces_copy(x, held, y);
    zone_file_close(x);
    zone_file_close(held);
    zone_file_close(y);
    return e;
}

Err zone_file_copy(struct zone *from, struct zone *to, Str rel)
{
    return copy_to(from, to, rel, rel, 0);
}

Err zone_file_copy_aside(struct zone *from, struct zone *to, Str rel)
{
    AUTO(arena) tmp = arena_open();
    return copy_to(from, to, rel, str_cat(tmp, rel, ASIDE_SUFFIX), IO_TRUNC);
}

// ---- Trees

// The next name of either tree, in order; an entry is NULL where that tree has not got it.
static bool next_pair(const Tree *x, const Tree *y, size_t at[2], const TreeEntry *ret[2])
{
    bool has_x = at[0] < x->n, has_y = at[1] < y->n;
    if (!has_x && !has_y)
        return false;
    int order = !has_x ? 1 : !has_y ? -1 : str_cmp(x->at[at[0]].path, y->at[at[1]].path);
    ret[0] = order <= 0 ? &x->at[at[0]++] : NULL;
    ret[1] = order >= 0 ? &y->at[at[1]++] : NULL;
    return true;
}

// Whether the names and sizes of an entry tell already that it differs. Of directories that only
// the second has, see trees_share_dirs.
static bool entry_differs(const TreeEntry *x, const TreeEntry *y)
{
    if (x == NULL)
        return !y->is_dir;
    return y == NULL || x->is_dir != y->is_dir || (!x->is_dir && x->bytes != y->bytes);
}

// Of files of the same name and size.
static Err content_differs(struct zone *from, struct zone *to, const TreeEntry *x, bool *ret)
{
    if (!zone_is_immutable(x->path))
        return zone_file_compare(from, to, x->path, ret);
    bool same = false;
    TRY(zone_file_same_ends(from, to, x->path, x->bytes, &same));
    *ret = !same;
    return OK;
}

Err trees_compare(struct zone *from, struct zone *to, bool *ret_differ)
{
    AUTO(arena) tmp = arena_open();
    Tree x, y;
    TRY(tree_read(from, tmp, false, SLOW_NS, &x));
    TRY(tree_read(to, tmp, false, SLOW_NS, &y));
    bool differs = false;
    size_t at[2] = { 0 };
    const TreeEntry *pair[2];
    while (!differs && next_pair(&x, &y, at, pair)) {
        differs = entry_differs(pair[0], pair[1]);
        if (!differs && pair[0] != NULL && !pair[0]->is_dir)
            TRY(content_differs(from, to, pair[0], &differs));
    }
    *ret_differ = differs;
    return OK;
}

// ---- All at once

struct side_by_side {
    struct zones *s;
    unsigned mask;
    struct zone *first;
    struct handle *h[ZONES_MAX];
};

static Err read_all(struct side_by_side *b, uint64_t at, size_t *ret_n, bool *ret_same)
{
    struct op *op = op_new(b->s, run_read);
    op->n = PIECE_BYTES;
    op->at = at;
    pthread_mutex_lock(&b->s->lock);
    for (unsigned i = 0; i < b->s->count; i++) {
        op->parts[i].h = (b->mask & bit(i)) != 0 ? b->h[i] : NULL;
        if (op->parts[i].h != NULL)
            handle_ref_locked(op->parts[i].h);
    }
    pthread_mutex_unlock(&b->s->lock);
    Err e = op_run_each(op, b->mask, SLOW_NS);
    const struct part *first = &op->parts[b->first->i];
    for (unsigned i = 0; i < b->s->count && e.kind == ERR_NONE; i++) {
        const struct part *p = &op->parts[i];
        if ((b->mask & bit(i)) == 0)
            continue;
        e = p->err;
        *ret_same &= e.kind == ERR_NONE && p->number == first->number &&
                     memcmp(p->bytes, first->bytes, (size_t)first->number) == 0;
    }
    if (e.kind == ERR_NONE)
        *ret_n = (size_t)first->number;
    op_unref(op);
    return e;
}

static Err contents_same(struct side_by_side *b, Str rel, bool *ret_same)
{
    Err e = OK;
    for (unsigned i = 0; i < b->s->count && e.kind == ERR_NONE; i++) {
        b->h[i] = NULL;
        if ((b->mask & bit(i)) != 0)
            e = zone_file_open(&b->s->zones[i], rel, IO_READ | IO_DIRECT, SLOW_NS, &b->h[i]);
    }
    size_t n = PIECE_BYTES;
    for (uint64_t at = 0; e.kind == ERR_NONE && *ret_same && n == PIECE_BYTES; at += PIECE_BYTES)
        e = read_all(b, at, &n, ret_same);
    for (unsigned i = 0; i < b->s->count; i++) {
        zone_file_close(b->h[i]);
        b->h[i] = NULL;
    }
    return e;
}

// Names and sizes, and what of containers tells whether they are the same.
static Err outlines_same(struct zone *x, struct zone *y, const Tree *p, bool *ret_same)
{
    AUTO(arena) tmp = arena_open();
    Tree q;
    TRY(tree_read(y, tmp, false, SLOW_NS, &q));
    size_t at[2] = { 0 };
    const TreeEntry *pair[2];
    while (*ret_same && next_pair(p, &q, at, pair)) {
        *ret_same = !entry_differs(pair[0], pair[1]);
        if (*ret_same && pair[0] != NULL && !pair[0]->is_dir && zone_is_immutable(pair[0]->path))
            TRY(zone_file_same_ends(x, y, pair[0]->path, pair[0]->bytes, ret_same));
    }
    return OK;
}

Err trees_all_same(struct zones *s, unsigned mask, bool *ret_same)
{
    AUTO(arena) tmp = arena_open();
    struct side_by_side b = { .s = s, .mask = mask, .first = &s->zones[__builtin_ctz(mask)] };
    Tree tree;
    bool same = true;
    TRY(tree_read(b.first, tmp, false, SLOW_NS, &tree));
    for (unsigned i = 0; i < s->count && same; i++)
        if ((mask & bit(i)) != 0 && i != b.first->i)
            TRY(outlines_same(b.first, &s->zones[i], &tree, &same));
    for (size_t i = 0; i < tree.n && same; i++)
        if (!tree.at[i].is_dir && !zone_is_immutable(tree.at[i].path))
            TRY(contents_same(&b, tree.at[i].path, &same));
    *ret_same = same;
    return OK;
}

// ---- Making one the same

static Err make_same(struct zone *from, struct zone *to, const TreeEntry *x, const TreeEntry *y)
{
    if (x == NULL)
        return y->is_dir ? OK : zone_name_unlink(to, y->path, SLOW_NS);
    if (y != NULL && y->is_dir != x->is_dir) {
        if (y->is_dir)
            return fail(ERR_EXISTS, "a directory lies where a file belongs");
        TRY(zone_name_unlink(to, y->path, SLOW_NS));
    }
    if (x->is_dir)
        return zone_name_mkdir(to, x->path, SLOW_NS);
    if (!zone_is_immutable(x->path))
        return zone_file_copy(from, to, x->path);
    bool same = false;
    if (y != NULL && y->bytes == x->bytes)
        TRY(zone_file_same_ends(from, to, x->path, x->bytes, &same));
    if (same)
        return OK;
    AUTO(arena) tmp = arena_open();
    TRY(zone_file_copy_aside(from, to, x->path));
    return zone_name_rename(to, str_cat(tmp, x->path, ASIDE_SUFFIX), x->path, SLOW_NS);
}

Err tree_sync_dirs(struct zone *z, const Tree *tree, int64_t ns)
{
    for (size_t i = 0; i < tree->n; i++)
        if (tree->at[i].is_dir)
            TRY(zone_name_sync_dir(z, tree->at[i].path, ns));
    return zone_name_sync_dir(z, S(""), ns);
}

Err trees_share_dirs(struct zone *from, struct zone *to)
{
    AUTO(arena) tmp = arena_open();
    Tree x, y;
    TRY(tree_read(from, tmp, false, SLOW_NS, &x));
    TRY(tree_read(to, tmp, false, SLOW_NS, &y));
    size_t at[2] = { 0 };
    const TreeEntry *pair[2];
    bool any = false;
    while (next_pair(&x, &y, at, pair)) {
        if (pair[0] == NULL || !pair[0]->is_dir || pair[1] != NULL)
            continue;
        TRY(zone_name_mkdir(to, pair[0]->path, SLOW_NS));
        any = true;
    }
    return any ? tree_sync_dirs(to, &x, SLOW_NS) : OK;
}

Err trees_make_same(struct zone *from, struct zone *to)
{
    AUTO(arena) tmp = arena_open();
    Tree x, y;
    TRY(tree_read(from, tmp, false, SLOW_NS, &x));
    TRY(tree_read(to, tmp, true, SLOW_NS, &y));
    size_t at[2] = { 0 };
    const TreeEntry *pair[2];
    while (next_pair(&x, &y, at, pair))
        TRY(make_same(from, to, pair[0], pair[1]));
    return tree_sync_dirs(to, &x, SLOW_NS);
}
