// SPDX-License-Identifier: Apache-2.0
// The table. What changes something goes to all members and to a zone that is being repaired, as
// far as it has the name already; what reads asks one member.
#include "store/zones/zones_priv.h"

#include <stdlib.h>
#include <string.h>

static struct zones *zones_of(struct io *io)
{
    return io->self;
}

// The name below the root, without a leading or trailing slash; empty for the root itself.
static Err relative(const struct zones *s, Str path, Str *ret)
{
    if (!str_starts(path, s->root) || (path.n > s->root.n && path.p[s->root.n] != '/'))
        return fail(ERR_INVALID, "the path is not below the root of the zones");
    Str rel = str_skip(path, s->root.n);
    while (rel.n > 0 && rel.p[0] == '/')
        rel = str_skip(rel, 1);
    while (rel.n > 0 && rel.p[rel.n - 1] == '/')
        rel.n--;
    *ret = rel;
    return OK;
}

static unsigned joining_mask_locked(const struct zones *s, Str rel)
{
    const struct zone *z = s->join.zone;
    bool takes_part = z != NULL && z->state == ZONE_JOINING && join_adopted_locked(s, rel);
    return takes_part ? bit(z->i) : 0;
}

// ---- Opening and closing

Err run_open(struct part *p)
{
    struct io *io = p->zone->io;
    struct io_file *f = NULL;
    unsigned flags = p->op->flags;
    Err e = io->open(io, p->path, flags, &f);
    p->number = 0;
    if (e.kind == ERR_INVALID && (flags & IO_DIRECT) != 0) {
        // Direct I/O may be had in one zone and not in another.
        e = io->open(io, p->path, flags & ~(unsigned)IO_DIRECT, &f);
        p->number = 1;
    }
    TRY(e);
    p->h = xalloc(sizeof *p->h);
    *p->h = (struct handle){ .zone = p->zone, .f = f, .refs = 1 };
    return OK;
}

static void list_add_locked(struct zones *s, struct io_file *f)
{
    f->next = s->files;
    if (s->files != NULL)
        s->files->before = f;
    s->files = f;
}

static void list_remove_locked(struct zones *s, struct io_file *f)
{
    if (f->before != NULL)
        f->before->next = f->next;
    else
        s->files = f->next;
    if (f->next != NULL)
        f->next->before = f->before;
}

// The file of what the zones have opened. None of them has done so directly: ERR_INVALID.
static Err take_opened_locked(struct op *op, Str rel, struct io_file **ret)
{
    struct zones *s = op->s;
    bool any = false, any_direct = (op->flags & IO_DIRECT) == 0;
    for (unsigned i = 0; i < s->count; i++) {
        const struct part *p = &op->parts[i];
        bool is_good = p->done && p->h != NULL && p->life == p->zone->life;
        any |= is_good;
        any_direct |= is_good && p->number == 0;
    }
    if (!any)
        return fail(ERR_IO, "no zone has the file open");
    if (!any_direct)
        return fail(ERR_INVALID, "open: no direct I/O in any zone");
    struct io_file *f = xalloc(sizeof *f);
    f->s = s;
    f->flags = op->flags & ~(unsigned)(IO_CREATE | IO_EXCL | IO_TRUNC);
    f->node = node_get_locked(s, rel);
    for (unsigned i = 0; i < s->count; i++) {
        struct part *p = &op->parts[i];
        if (p->done && p->h != NULL && p->life == p->zone->life) {
            f->h[i] = p->h;
            p->h = NULL;
        }
    }
    list_add_locked(s, f);
    *ret = f;
    return OK;
}

// The node of a file that an open makes empty, entered as by whoever changes a file's bytes: what
// is copied of it meanwhile would bring the old ones back. NULL: it changes nothing.
static struct node *enter_to_empty_locked(struct zones *s, Str rel, unsigned flags)
{
    if ((flags & IO_TRUNC) == 0)
        return NULL;
    struct node *n = node_get_locked(s, rel);
    gate_enter_locked(s, &n->gate);
    return n;
}

static Err zones_open_file(struct io *io, Str path, unsigned flags, struct io_file **ret)
{
    struct zones *s = zones_of(io);
    Str rel;
    TRY(relative(s, path, &rel));
    struct op *op = op_new(s, run_open);
    op->flags = flags;
    op_paths(op, rel, (Str){ 0 });
    pthread_mutex_lock(&s->lock);
    gate_enter_locked(s, &s->names);
    struct node *emptied = enter_to_empty_locked(s, rel, flags);
    op_want_locked(op, s->members | joining_mask_locked(s, rel), NULL);
    pthread_mutex_unlock(&s->lock);
    Err e = op_run_all(op);
    pthread_mutex_lock(&s->lock);
    if (e.kind == ERR_NONE)
        e = take_opened_locked(op, rel, ret);
    if (emptied != NULL) {
        gate_leave_locked(s, &emptied->gate);
        node_unref_locked(s, emptied);
    }
    gate_leave_locked(s, &s->names);
    op_unref_locked(op);
    pthread_mutex_unlock(&s->lock);
    return e;
}

// Closes here what nobody else is using, so that a lock is given up when this returns.
static void zones_close_file(struct io_file *f)
{
    if (f == NULL)
        return;
    struct zones *s = f->s;
    struct handle *mine[ZONES_MAX] = { NULL };
    pthread_mutex_lock(&s->lock);
    gate_enter_locked(s, &s->names);
    list_remove_locked(s, f);
    for (unsigned i = 0; i < s->count; i++) {
        if (f->h[i] != NULL && f->h[i]->refs == 1)
            mine[i] = f->h[i];
        else
            handle_unref_locked(f->h[i]);
    }
    node_unref_locked(s, f->node);
    gate_leave_locked(s, &s->names);
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->count; i++) {
        if (mine[i] != NULL)
            mine[i]->zone->io->close(mine[i]->f);
        free(mine[i]);
    }
    free(f);
}

// ---- What changes a file

// An operation that all zones do which have the file open.
static Err change(struct op *op, struct io_file *f)
{
    struct zones *s = f->s;
    pthread_mutex_lock(&s->lock);
    gate_enter_locked(s, &f->node->gate);
    op_want_locked(op, MEMBERS_ALL, f);
    pthread_mutex_unlock(&s->lock);
    Err e = op_run_all(op);
    pthread_mutex_lock(&s->lock);
    gate_leave_locked(s, &f->node->gate);
    op_unref_locked(op);
    pthread_mutex_unlock(&s->lock);
    return e;
}

Err run_write(struct part *p)
{
    const struct op *op = p->op;
    return p->zone->io->write(p->h->f, op->data, op->n, op->at, op->durable);
}

// The bytes are copied once for all zones: one that lags may still read them when the caller has
// long been answered.
static struct op *write_op(struct zones *s, const void *p, size_t n, uint64_t at, bool durable)
{
    struct op *op = op_new(s, run_write);
    op_buffer(op, n);
    if (n > 0)
        memcpy(op->data, p, n);
    op->at = at;
    op->durable = durable;
    return op;
}

static Err zones_write(struct io_file *f, const void *p, size_t n, uint64_t at, bool durable)
{
    return change(write_op(f->s, p, n, at, durable), f);
}

Err run_sync(struct part *p)
{
    return p->zone->io->sync(p->h->f);
}

static Err zones_sync(struct io_file *f)
{
    return change(op_new(f->s, run_sync), f);
}

Err run_truncate(struct part *p)
{
    return p->zone->io->truncate(p->h->f, p->op->at);
}

static Err zones_truncate(struct io_file *f, uint64_t bytes)
{
    struct op *op = op_new(f->s, run_truncate);
    op->at = bytes;
    return change(op, f);
}

static Err run_allocate(struct part *p)
{
    return p->zone->io->allocate(p->h->f, p->op->at);
}

static Err zones_allocate(struct io_file *f, uint64_t bytes)
{
    struct op *op = op_new(f->s, run_allocate);
    op->at = bytes;
    return change(op, f);
}

Err run_lock(struct part *p)
{
    return p->zone->io->lock(p->h->f);
}

static Err zones_lock(struct io_file *f)
{
    Err e = change(op_new(f->s, run_lock), f);
    pthread_mutex_lock(&f->s->lock);
    f->locked |= e.kind == ERR_NONE;
    pthread_mutex_unlock(&f->s->lock);
    return e;
}

static Err run_mend(struct part *p)
{
    struct io *io = p->zone->io;
    struct io_file *f = NULL;
    TRY(io->open(io, p->path, IO_WRITE, &f));
    // Not compared first: what the page cache holds need not be what the device holds.
    Err e = io->write(f, p->op->data, p->op->n, p->op->at, true);
    io->close(f);
    return e;
}

static Err mend_alone(struct io_file *f, Str rel, const void *p, size_t n, uint64_t at)
{
    struct zones *s = f->s;
    struct op *op = op_new(s, run_mend);
    op_buffer(op, n);
    memcpy(op->data, p, n);
    op->at = at;
    op_paths(op, rel, (Str){ 0 });
    pthread_mutex_lock(&s->lock);
    op_want_locked(op, MEMBERS_ALL, f);
    for (unsigned i = 0; i < s->count; i++) {
        handle_unref_locked(op->parts[i].h); // the file is opened anew, for writing
        op->parts[i].h = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    Err e = op_run_all(op);
    op_unref(op);
    return e;
}

static Err zones_mend(struct io_file *f, const void *p, size_t n, uint64_t at)
{
    struct zones *s = f->s;
    AUTO(arena) tmp = arena_open();
    pthread_mutex_lock(&s->lock);
    gate_enter_locked(s, &s->names);
    Str rel = str_dup(tmp, f->node->path);
    bool is_alone = f->node->named && gate_close_locked(s, &f->node->gate);
    pthread_mutex_unlock(&s->lock);
    Err e = is_alone ? mend_alone(f, rel, p, n, at) : fail(ERR_BUSY, "the file is being written");
    pthread_mutex_lock(&s->lock);
    if (is_alone)
        gate_open_locked(s, &f->node->gate);
    gate_leave_locked(s, &s->names);
    pthread_mutex_unlock(&s->lock);
    return e;
}

// ---- What reads a file

Err run_read(struct part *p)
{
    // Each zone into memory of its own: two may be asked, one after the other.
    size_t got = 0;
    if (p->bytes == NULL)
        p->bytes = buffer_take(p->op->s, p->op->n, &p->room);
    Err e = p->zone->io->read(p->h->f, p->bytes, p->op->n, p->op->at, &got);
    p->number = got;
    return e;
}

static struct op *read_op(struct io_file *f, size_t n, uint64_t at)
{
    struct op *op = op_new(f->s, run_read);
    op->n = n;
    op->at = at;
    pthread_mutex_lock(&f->s->lock);
    op_want_locked(op, MEMBERS_ALL, f);
    pthread_mutex_unlock(&f->s->lock);
    return op;
}

static Err zones_read(struct io_file *f, void *p, size_t n, uint64_t at, size_t *ret_n)
{
    struct op *op = read_op(f, n, at);
    unsigned zone = 0;
    Err e = op_run_any(op, &zone);
    if (e.kind == ERR_NONE) {
        *ret_n = (size_t)op->parts[zone].number;
        memcpy(p, op->parts[zone].bytes, *ret_n);
    }
    op_unref(op);
    return e;
}

static unsigned zones_copies(struct io_file *f)
{
    return (unsigned)f->s->count;
}

static Err zones_read_copy(struct io_file *f, unsigned copy, void *p, size_t n, uint64_t at,
                           size_t *ret_n)
{
    struct zones *s = f->s;
    if (copy >= s->count)
        return fail(ERR_INVALID, "no such copy");
    struct op *op = read_op(f, n, at);
    pthread_mutex_lock(&s->lock);
    bool is_there = op->parts[copy].wanted && (s->members & bit(copy)) != 0;
    pthread_mutex_unlock(&s->lock);
    Err e = is_there ? op_run_one(op, copy, s->lag_ns) : fail(ERR_IO, "the zone is no member");
    if (e.kind == ERR_NONE) {
        *ret_n = (size_t)op->parts[copy].number;
        memcpy(p, op->parts[copy].bytes, *ret_n);
    }
    op_unref(op);
    return e;
}

Err run_size(struct part *p)
{
    return p->zone->io->size(p->h->f, &p->number);
}

static Err zones_size(struct io_file *f, uint64_t *ret_bytes)
{
    struct op *op = op_new(f->s, run_size);
    pthread_mutex_lock(&f->s->lock);
    op_want_locked(op, MEMBERS_ALL, f);
    pthread_mutex_unlock(&f->s->lock);
    unsigned zone = 0;
    Err e = op_run_any(op, &zone);
    if (e.kind == ERR_NONE)
        *ret_bytes = op->parts[zone].number;
    op_unref(op);
    return e;
}

// ---- Names

Err run_rename(struct part *p)
{
    struct io *io = p->zone->io;
    // A zone under repair that has no copy of `from` yet must not keep an older `to`.
    if (p->number != 0) {
        Err e = io->unlink(io, p->path2);
        return e.kind == ERR_NOT_FOUND ? OK : e;
    }
    return io->rename(io, p->path, p->path2);
}

static void note_disturbed_locked(struct zones *s, Str rel)
{
    if (s->join.zone != NULL && s->join.copying.p != NULL && str_eq(s->join.copying, rel))
        s->join.disturbed = true;
}

static void renamed_locked(struct zones *s, Str from, Str to)
{
    node_moved_locked(s, from, to);
    note_disturbed_locked(s, from);
    note_disturbed_locked(s, to);
    if (s->join.zone == NULL || str_eq(from, to))
        return;
    bool has_from = map_take(s->join.adopted, from) != NULL;
    map_take(s->join.adopted, to);
    if (has_from)
        map_put(s->join.adopted, to, s->join.zone);
}

static Err zones_rename(struct io *io, Str from_path, Str to_path)
{
    struct zones *s = zones_of(io);
    Str from, to;
    TRY(relative(s, from_path, &from));
    TRY(relative(s, to_path, &to));
    struct op *op = op_new(s, run_rename);
    op_paths(op, from, to);
    pthread_mutex_lock(&s->lock);
    gate_enter_locked(s, &s->names);
    unsigned with_from = joining_mask_locked(s, from), with_to = joining_mask_locked(s, to);
    op_want_locked(op, s->members | with_from | with_to, NULL);
    if (with_from == 0 && with_to != 0)
        op->parts[s->join.zone->i].number = 1;
    pthread_mutex_unlock(&s->lock);
    Err e = op_run_all(op);
    pthread_mutex_lock(&s->lock);
    if (e.kind == ERR_NONE)
        renamed_locked(s, from, to);
    gate_leave_locked(s, &s->names);
    op_unref_locked(op);
    pthread_mutex_unlock(&s->lock);
    return e;
}

Err run_unlink(struct part *p)
{
    return p->zone->io->unlink(p->zone->io, p->path);
}

static Err zones_unlink(struct io *io, Str path)
{
    struct zones *s = zones_of(io);
    Str rel;
    TRY(relative(s, path, &rel));
    struct op *op = op_new(s, run_unlink);
    op_paths(op, rel, (Str){ 0 });
    pthread_mutex_lock(&s->lock);
    gate_enter_locked(s, &s->names);
    op_want_locked(op, s->members | joining_mask_locked(s, rel), NULL);
    pthread_mutex_unlock(&s->lock);
    Err e = op_run_all(op);
    pthread_mutex_lock(&s->lock);
    if (e.kind == ERR_NONE) {
        node_moved_locked(s, rel, (Str){ 0 });
        note_disturbed_locked(s, rel);
        if (s->join.zone != NULL)
            map_take(s->join.adopted, rel);
    }
    gate_leave_locked(s, &s->names);
    op_unref_locked(op);
    pthread_mutex_unlock(&s->lock);
    return e;
}

// Directories are made in a zone under repair before anything else and never removed.
static Err change_dir(struct io *io, Str path, Err (*run)(struct part *p))
{
    struct zones *s = zones_of(io);
    Str rel;
    TRY(relative(s, path, &rel));
    struct op *op = op_new(s, run);
    op_paths(op, rel, (Str){ 0 });
    pthread_mutex_lock(&s->lock);
    gate_enter_locked(s, &s->names);
    bool is_joining = s->join.zone != NULL && s->join.zone->state == ZONE_JOINING;
    op_want_locked(op, s->members | (is_joining ? bit(s->join.zone->i) : 0), NULL);
    pthread_mutex_unlock(&s->lock);
    Err e = op_run_all(op);
    pthread_mutex_lock(&s->lock);
    gate_leave_locked(s, &s->names);
    op_unref_locked(op);
    pthread_mutex_unlock(&s->lock);
    return e;
}

Err run_mkdir(struct part *p)
{
    return p->zone->io->mkdir(p->zone->io, p->path);
}

static Err zones_mkdir(struct io *io, Str path)
{
    return change_dir(io, path, run_mkdir);
}

Err run_sync_dir(struct part *p)
{
    return p->zone->io->sync_dir(p->zone->io, p->path);
}

static Err zones_sync_dir(struct io *io, Str path)
{
    return change_dir(io, path, run_sync_dir);
}

Err run_list(struct part *p)
{
    struct io *io = p->zone->io;
    p->arena = p->arena != NULL ? p->arena : arena_open();
    return io->list(io, p->arena, p->path, &p->names, &p->name_count);
}

static Err zones_list(struct io *io, struct arena *a, Str path, IoName **ret, size_t *ret_n)
{
    struct zones *s = zones_of(io);
    Str rel;
    TRY(relative(s, path, &rel));
    struct op *op = op_new(s, run_list);
    op_paths(op, rel, (Str){ 0 });
    pthread_mutex_lock(&s->lock);
    op_want_locked(op, s->members, NULL);
    pthread_mutex_unlock(&s->lock);
    unsigned zone = 0;
    Err e = op_run_any(op, &zone);
    if (e.kind == ERR_NONE) {
        const struct part *p = &op->parts[zone];
        IoName *names = arena_new(a, IoName, p->name_count);
        size_t n = 0;
        for (size_t i = 0; i < p->name_count; i++) {
            if (is_zones_own(rel, p->names[i].name))
                continue;
            names[n] = p->names[i];
            names[n++].name = str_dup(a, p->names[i].name);
        }
        *ret = names;
        *ret_n = n;
    }
    op_unref(op);
    return e;
}

Err run_space(struct part *p)
{
    return p->zone->io->space(p->zone->io, p->path, &p->number, &p->number2);
}

// Of the zone that has least.
static Err zones_space(struct io *io, Str path, uint64_t *ret_free_bytes, uint64_t *ret_total_bytes)
{
    struct zones *s = zones_of(io);
    Str rel;
    TRY(relative(s, path, &rel));
    struct op *op = op_new(s, run_space);
    op_paths(op, rel, (Str){ 0 });
    pthread_mutex_lock(&s->lock);
    op_want_locked(op, s->members, NULL);
    pthread_mutex_unlock(&s->lock);
    Err e = op_run_all(op);
    pthread_mutex_lock(&s->lock);
    uint64_t free_bytes = UINT64_MAX;
    for (unsigned i = 0; i < s->count && e.kind == ERR_NONE; i++) {
        const struct part *p = &op->parts[i];
        bool is_good = p->wanted && p->done && p->err.kind == ERR_NONE;
        if (is_good && (s->members & bit(i)) != 0 && p->number <= free_bytes) {
            free_bytes = p->number;
            *ret_free_bytes = p->number;
            *ret_total_bytes = p->number2;
        }
    }
    op_unref_locked(op);
    pthread_mutex_unlock(&s->lock);
    return e;
}

// ---- The queue

struct io_queue {
    struct zones *s;
    pthread_cond_t ended;
    unsigned depth, under_way;
    struct op *first, **last; // whose outcome nobody has been told
};

static Err zones_queue_open(struct io *io, unsigned depth, struct io_queue **ret)
{
    if (depth == 0 || depth > ZONE_THREADS_MAX)
        return fail(ERR_INVALID, "queue depth");
    struct io_queue *q = xalloc(sizeof *q);
    q->s = zones_of(io);
    q->depth = depth;
    q->last = &q->first;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&q->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *ret = q;
    return OK;
}

static Err zones_queue_submit(struct io_queue *q, struct io_write *w)
{
    struct zones *s = q->s;
    pthread_mutex_lock(&s->lock);
    bool fits = q->under_way < q->depth;
    q->under_way += fits;
    if (fits)
        gate_enter_locked(s, &w->file->node->gate);
    pthread_mutex_unlock(&s->lock);
    if (!fits)
        return fail(ERR_LIMIT, "write queue is full");
    struct op *op = write_op(s, w->part.p, w->part.n, w->at, true);
    op->write = w;
    op->file = w->file;
    op->wake = &q->ended;
    op->wake_last = true;
    pthread_mutex_lock(&s->lock);
    op_want_locked(op, MEMBERS_ALL, w->file);
    *q->last = op;
    q->last = &op->next;
    op_submit_locked(op, MEMBERS_ALL);
    op->refs++; // it may be waited for and gone before its zones are woken
    pthread_cond_broadcast(&q->ended);
    pthread_mutex_unlock(&s->lock);
    op_wake_zones(op, MEMBERS_ALL);
    op_unref(op);
    return OK;
}

static void queue_remove_locked(struct io_queue *q, const struct op *op)
{
    struct op **at = &q->first;
    while (*at != op)
        at = &(*at)->next;
    *at = op->next;
    if (*at == NULL)
        q->last = at;
}

static void queue_put_locked(struct io_queue *q, struct op *op)
{
    op->next = NULL;
    *q->last = op;
    q->last = &op->next;
}

static struct op *queue_find_due_locked(struct io_queue *q, int64_t *until)
{
    int64_t now = zones_now();
    for (struct op *op = q->first; op != NULL; op = op->next)
        if (op_is_due_locked(op, now, until))
            return op;
    return NULL;
}

static Err zones_queue_wait(struct io_queue *q, struct io_write **ret)
{
    struct zones *s = q->s;
    pthread_mutex_lock(&s->lock);
    struct op *op;
    Err e = OK;
    while (true) {
        int64_t until = INT64_MAX;
        op = queue_find_due_locked(q, &until);
        if (op == NULL) {
            zones_wait_locked(s, &q->ended, until);
            continue;
        }
        queue_remove_locked(q, op); // deciding may give the lock up
        if (op_decide_locked(op, &e))
            break;
        queue_put_locked(q, op);
    }
    op->wake = NULL;
    op->write->result = e;
    *ret = op->write;
    gate_leave_locked(s, &op->file->node->gate);
    op_unref_locked(op);
    q->under_way--;
    pthread_mutex_unlock(&s->lock);
    return OK;
}

static void zones_queue_close(struct io_queue *q)
{
    if (q == NULL)
        return;
    while (q->under_way > 0) {
        struct io_write *w;
        err_ignore(zones_queue_wait(q, &w)); // it never fails, and nobody asks for the result
    }
    pthread_cond_destroy(&q->ended);
    free(q);
}

static const char *zones_queue_kind(const struct io_queue *q)
{
    (void)q;
    return "zones";
}

// ---- What is no file

static int64_t zones_wall_ns(struct io *io)
{
    struct io *base = zones_of(io)->base;
    return base->wall_ns(base);
}

static int64_t zones_mono_ns(struct io *io)
{
    struct io *base = zones_of(io)->base;
    return base->mono_ns(base);
}

static void zones_random(struct io *io, void *p, size_t n)
{
    struct io *base = zones_of(io)->base;
    base->random(base, p, n);
}

static void zones_sleep_ns(struct io *io, int64_t ns)
{
    struct io *base = zones_of(io)->base;
    base->sleep_ns(base, ns);
}

static Err zones_receive(struct io *io, int fd, void *p, size_t n, bool peek, size_t *ret_n)
{
    struct io *base = zones_of(io)->base;
    return base->receive(base, fd, p, n, peek, ret_n);
}

static Err zones_send(struct io *io, int fd, const IoPart *parts, size_t count, size_t *ret_n)
{
    struct io *base = zones_of(io)->base;
    return base->send(base, fd, parts, count, ret_n);
}

static Err zones_send_file(struct io *io, int fd, const IoPart *parts, size_t count, IoSpan span,
                           size_t *ret_n)
{
    struct io *base = zones_of(io)->base;
    return base->send_file(base, fd, parts, count, span, ret_n);
}

static Err zones_accept(struct io *io, int fd, struct sockaddr_storage *ret_from, int *ret_fd)
{
    struct io *base = zones_of(io)->base;
    return base->accept(base, fd, ret_from, ret_fd);
}

static Err zones_connect(struct io *io, int fd, const struct sockaddr *to, size_t to_bytes)
{
    struct io *base = zones_of(io)->base;
    return base->connect(base, fd, to, to_bytes);
}

void zones_fill_table(struct zones *s)
{
    s->io = (struct io){
        .self = s,
        .open = zones_open_file,
        .close = zones_close_file,
        .write = zones_write,
        .read = zones_read,
        .copies = zones_copies,
        .read_copy = zones_read_copy,
        .mend = zones_mend,
        .descriptor = io_no_descriptor, // of several copies any may be damaged
        .sync = zones_sync,
        .size = zones_size,
        .truncate = zones_truncate,
        .allocate = zones_allocate,
        .lock = zones_lock,
        .rename = zones_rename,
        .unlink = zones_unlink,
        .mkdir = zones_mkdir,
        .sync_dir = zones_sync_dir,
        .list = zones_list,
        .space = zones_space,
        .wall_ns = zones_wall_ns,
        .mono_ns = zones_mono_ns,
        .random = zones_random,
        .sleep_ns = zones_sleep_ns,
        .queue_open = zones_queue_open,
        .queue_close = zones_queue_close,
        .queue_submit = zones_queue_submit,
        .queue_wait = zones_queue_wait,
        .queue_kind = zones_queue_kind,
        .receive = zones_receive,
        .send = zones_send,
        .send_file = zones_send_file,
        .accept = zones_accept,
        .connect = zones_connect,
    };
}
