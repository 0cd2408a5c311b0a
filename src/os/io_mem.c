// SPDX-License-Identifier: Apache-2.0
#include "os/io_mem.h"

#include "base/time.h"
#include "os/io_sim_priv.h"
#include "os/io_socket_priv.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_BYTES = 4096, SECTOR_BYTES_MIN = 512 };

// Of a page, shared until it is written: by what is in memory and what is on the device, and by
// disks before and after a crash.
struct content {
    _Atomic unsigned refs;
    char bytes[PAGE_BYTES];
};

// Content that is NULL is all zeros. A clean page is the same in memory and on the device.
struct page {
    struct content *now;
    struct content *synced; // of a dirty page only
    bool dirty;
    bool lost; // a sync of it has failed: the next ones pass it over
};

// A file or a directory. Nodes live as long as the disk: an open file may outlive its name.
struct node {
    struct node *next; // all nodes of the disk
    bool is_dir;
    struct page *pages;
    size_t page_count;
    uint64_t now_bytes, synced_bytes;
    const struct io_file *locked_by;
};

struct name {
    Str path;
    struct node *node;
};

// Sorted by path.
struct names {
    struct name *at;
    size_t n, room;
};

// A change of names that is not durable: `from` goes away (if present), `to` appears (if present).
struct change {
    Str from, to;
    struct node *node;
};

struct io_mem {
    struct io io;
    pthread_mutex_t lock;  // everything below
    struct arena *strings; // paths
    struct node *nodes;
    struct names now, synced;
    struct change *changes;
    size_t change_count, change_room;
    uint64_t capacity;
    uint64_t random;
    bool sync_breaks, sync_is_broken;
    uint64_t syncs_to_break; // how many pass before
    bool clock_is_set;
    int64_t wall_ns, mono_ns; // the time itself, or what is added to the machine's
};

struct io_file {
    struct io_mem *m;
    struct node *node;
    bool writable, direct;
};

// ---- Pages

static struct content *content_ref(struct content *c)
{
    if (c != NULL)
        c->refs++;
    return c;
}

static void content_unref(struct content *c)
{
    if (c != NULL && --c->refs == 0)
        free(c);
}

static const char *content_bytes(const struct content *c)
{
    static const char zeros[PAGE_BYTES];
    return c != NULL ? c->bytes : zeros;
}

// Makes it this holder's own; what it holds is kept unless all of it is about to be written.
static char *content_own(struct content **c, bool is_overwritten)
{
    struct content *old = *c;
    if (old != NULL && old->refs == 1)
        return old->bytes;
    *c = malloc(sizeof **c);
    CHECK(*c != NULL);
    (*c)->refs = 1;
    if (!is_overwritten)
        memcpy((*c)->bytes, content_bytes(old), PAGE_BYTES);
    content_unref(old);
    return (*c)->bytes;
}

static void page_make_dirty(struct page *p)
{
    p->lost = false;
    if (p->dirty)
        return;
    p->dirty = true;
    p->synced = content_ref(p->now);
}

static bool is_zero(const char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static void copy_into(struct content **c, size_t at, const char *p, size_t n)
{
    if ((n == PAGE_BYTES || *c == NULL) && is_zero(p, n)) {
        content_unref(*c);
        *c = NULL;
        return;
    }
    memcpy(content_own(c, n == PAGE_BYTES) + at, p, n);
}

// Makes a range of a page durable.
static void page_sync(struct page *p, size_t at, size_t n)
{
    if (!p->dirty || p->lost)
        return;
    if (n < PAGE_BYTES)
        copy_into(&p->synced, at, content_bytes(p->now) + at, n);
    if (n == PAGE_BYTES ||
        memcmp(content_bytes(p->synced), content_bytes(p->now), PAGE_BYTES) == 0) {
        content_unref(p->synced);
        p->synced = NULL;
        p->dirty = false;
    }
}

static void node_reach(struct node *f, uint64_t bytes)
{
    size_t want = (size_t)((bytes + PAGE_BYTES - 1) / PAGE_BYTES);
    if (want <= f->page_count)
        return;
    size_t room = MAX(want, f->page_count * 2);
    f->pages = xrealloc(f->pages, mul_checked(room, sizeof *f->pages));
    memset(f->pages + f->page_count, 0, (room - f->page_count) * sizeof *f->pages);
    f->page_count = room;
}

// Stores bytes in memory; p == NULL stores zeros.
static void node_store(struct node *f, const char *p, size_t n, uint64_t at)
{
    node_reach(f, at + n);
    for (size_t done = 0; done < n;) {
        size_t in_page = (size_t)((at + done) % PAGE_BYTES);
        size_t chunk = MIN(n - done, PAGE_BYTES - in_page);
        struct page *page = &f->pages[(at + done) / PAGE_BYTES];
        page_make_dirty(page);
        copy_into(&page->now, in_page, p != NULL ? p + done : content_bytes(NULL), chunk);
        done += chunk;
    }
}

static void node_sync_range(struct node *f, uint64_t at, size_t n)
{
    for (size_t done = 0; done < n;) {
        size_t in_page = (size_t)((at + done) % PAGE_BYTES);
        size_t chunk = MIN(n - done, PAGE_BYTES - in_page);
        page_sync(&f->pages[(at + done) / PAGE_BYTES], in_page, chunk);
        done += chunk;
    }
    f->synced_bytes = MAX(f->synced_bytes, at + n);
}

static void node_set_size(struct node *f, uint64_t bytes)
{
    for (uint64_t at = bytes; at < f->now_bytes;) {
        uint64_t chunk = MIN(f->now_bytes - at, PAGE_BYTES - at % PAGE_BYTES);
        node_store(f, NULL, (size_t)chunk, at);
        at += chunk;
    }
    node_reach(f, bytes);
    f->now_bytes = bytes;
}

static struct node *node_new(struct io_mem *m, bool is_dir)
{
    struct node *f = xalloc(sizeof *f);
    f->is_dir = is_dir;
    f->next = m->nodes;
    m->nodes = f;
    return f;
}

// ---- Names

static size_t names_place(const struct names *t, Str path)
{
    size_t low = 0, high = t->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (str_cmp(t->at[middle].path, path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct node *names_find(const struct names *t, Str path)
{
    size_t i = names_place(t, path);
    return i < t->n && str_eq(t->at[i].path, path) ? t->at[i].node : NULL;
}

static void names_put(struct names *t, Str path, struct node *node)
{
    size_t i = names_place(t, path);
    if (i == t->n || !str_eq(t->at[i].path, path)) {
        if (t->n == t->room) {
            t->room = t->room == 0 ? 16 : mul_checked(t->room, 2);
            t->at = xrealloc(t->at, mul_checked(t->room, sizeof *t->at));
        }
        memmove(t->at + i + 1, t->at + i, (t->n - i) * sizeof *t->at);
        t->n++;
    }
    t->at[i] = (struct name){ path, node };
}

static void names_remove(struct names *t, Str path)
{
    size_t i = names_place(t, path);
    if (i == t->n || !str_eq(t->at[i].path, path))
        return;
    memmove(t->at + i, t->at + i + 1, (t->n - i - 1) * sizeof *t->at);
    t->n--;
}

static void names_apply(struct names *t, const struct change *c)
{
    if (c->from.p != NULL)
        names_remove(t, c->from);
    if (c->to.p != NULL)
        names_put(t, c->to, c->node);
}

static Str parent_of(Str path)
{
    size_t n = path.n;
    while (n > 1 && path.p[n - 1] != '/')
        n--;
    return str_head(path, n > 1 ? n - 1 : 1);
}

static void change_names(struct io_mem *m, struct change c)
{
    names_apply(&m->now, &c);
    if (m->change_count == m->change_room) {
        m->change_room = m->change_room == 0 ? 16 : mul_checked(m->change_room, 2);
        m->changes = xrealloc(m->changes, mul_checked(m->change_room, sizeof *m->changes));
    }
    m->changes[m->change_count++] = c;
}

// One spelling for each path: /a/b. ERR_INVALID for what this disk does not know.
static Err canonical(struct io_mem *m, Str path, Str *ret)
{
    if (path.n == 0 || memchr(path.p, 0, path.n) != NULL)
        return fail(ERR_INVALID, "empty path or zero byte in it");
    char *p = arena_new(m->strings, char, path.n + 2);
    size_t n = 0;
    Str rest = path;
    while (rest.n > 0) {
        Str part = { 0 };
        str_cut(rest, '/', &part, &rest);
        if (str_eq(part, S("..")))
            return fail(ERR_INVALID, "a path may not go up");
        if (part.n == 0 || str_eq(part, S(".")))
            continue;
        p[n++] = '/';
        memcpy(p + n, part.p, part.n);
        n += part.n;
    }
    *ret = n > 0 ? str_from(p, n) : S("/");
    return OK;
}

static Err check_parent(struct io_mem *m, Str path)
{
    const struct node *dir = names_find(&m->now, parent_of(path));
    if (dir == NULL)
        return fail(ERR_NOT_FOUND, "no such directory");
    return dir->is_dir ? OK : fail(ERR_IO, "not a directory");
}

// ---- The table. Each function locks and leaves the work to one that needs not.

static struct io_mem *mem_of(struct io *io)
{
    return io->self;
}

static Err locked_open(struct io_mem *m, Str path, unsigned flags, struct io_file **ret)
{
    TRY(canonical(m, path, &path));
    struct node *f = names_find(&m->now, path);
    if (f != NULL && (flags & IO_EXCL) != 0)
        return fail(ERR_EXISTS, "open: file exists");
    if (f == NULL && (flags & IO_CREATE) == 0)
        return fail(ERR_NOT_FOUND, "open: no such file");
    if (f != NULL && f->is_dir)
        return fail(ERR_IO, "open: is a directory");
    if (f == NULL) {
        TRY(check_parent(m, path));
        f = node_new(m, false);
        change_names(m, (struct change){ .to = path, .node = f });
    }
    if ((flags & IO_TRUNC) != 0)
        node_set_size(f, 0);
    struct io_file *open = xalloc(sizeof *open);
    *open = (struct io_file){
        .m = m,
        .node = f,
        .writable = (flags & IO_WRITE) != 0,
        .direct = (flags & IO_DIRECT) != 0,
    };
    *ret = open;
    return OK;
}

static Err mem_open(struct io *io, Str path, unsigned flags, struct io_file **ret)
{
    struct io_mem *m = mem_of(io);
    pthread_mutex_lock(&m->lock);
    Err e = locked_open(m, path, flags, ret);
    pthread_mutex_unlock(&m->lock);
    return e;
}

static void mem_close(struct io_file *f)
{
    if (f == NULL)
        return;
    pthread_mutex_lock(&f->m->lock);
    if (f->node->locked_by == f)
        f->node->locked_by = NULL;
    pthread_mutex_unlock(&f->m->lock);
    free(f);
}

static uint64_t used_bytes(const struct io_mem *m)
{
    uint64_t used = 0;
    for (size_t i = 0; i < m->now.n; i++)
        used += m->now.at[i].node->now_bytes;
    return used;
}

// Makes the file at least so large, if the device has room for it.
static Err grow(struct io_file *f, uint64_t bytes)
{
    if (!f->writable)
        return fail(ERR_IO, "file was opened for reading");
    if (bytes <= f->node->now_bytes)
        return OK;
    if (bytes - f->node->now_bytes > f->m->capacity ||
        used_bytes(f->m) > f->m->capacity - (bytes - f->node->now_bytes))
        return fail(ERR_FULL, "no space left on the device");
    node_set_size(f->node, bytes);
    return OK;
}

static Err mem_write(struct io_file *f, const void *p, size_t n, uint64_t at, bool durable)
{
    pthread_mutex_lock(&f->m->lock);
    Err e = grow(f, at + n);
    if (e.kind == ERR_NONE) {
        node_store(f->node, p, n, at);
        if (durable)
            node_sync_range(f->node, at, n);
    }
    pthread_mutex_unlock(&f->m->lock);
    return e;
}

static Err mem_read(struct io_file *f, void *p, size_t n, uint64_t at, size_t *ret_n)
{
    pthread_mutex_lock(&f->m->lock);
    const struct node *node = f->node;
    n = at < node->now_bytes ? (size_t)MIN(n, node->now_bytes - at) : 0;
    for (size_t done = 0; done < n;) {
        size_t in_page = (size_t)((at + done) % PAGE_BYTES);
        size_t chunk = MIN(n - done, PAGE_BYTES - in_page);
        const struct page *page = &node->pages[(at + done) / PAGE_BYTES];
        bool is_lost = f->direct && page->dirty && page->lost; // on the device there is the old one
        memcpy((char *)p + done, content_bytes(is_lost ? page->synced : page->now) + in_page,
               chunk);
        done += chunk;
    }
    pthread_mutex_unlock(&f->m->lock);
    *ret_n = n;
    return OK;
}

// Whether this sync is the one that fails. With the lock held.
static bool sync_breaks(struct io_mem *m)
{
    if (!m->sync_breaks || m->syncs_to_break-- > 0)
        return false;
    m->sync_breaks = false;
    m->sync_is_broken = true;
    return true;
}

static Err mem_read_copy(struct io_file *f, unsigned copy, void *p, size_t n, uint64_t at,
                         size_t *ret_n)
{
    return copy == 0 ? mem_read(f, p, n, at, ret_n) : fail(ERR_INVALID, "no such copy");
}

static Err mem_sync(struct io_file *f)
{
    pthread_mutex_lock(&f->m->lock);
    bool breaks = sync_breaks(f->m);
    for (size_t i = 0; i < f->node->page_count; i++) {
        struct page *page = &f->node->pages[i];
        page->lost |= breaks && page->dirty;
        page_sync(page, 0, PAGE_BYTES);
    }
    if (!breaks)
        f->node->synced_bytes = f->node->now_bytes;
    pthread_mutex_unlock(&f->m->lock);
    return breaks ? fail(ERR_IO, "sync: lost what was written") : OK;
}

static Err mem_size(struct io_file *f, uint64_t *ret_bytes)
{
    pthread_mutex_lock(&f->m->lock);
    *ret_bytes = f->node->now_bytes;
    pthread_mutex_unlock(&f->m->lock);
    return OK;
}

static Err mem_truncate(struct io_file *f, uint64_t bytes)
{
    pthread_mutex_lock(&f->m->lock);
    Err e = grow(f, bytes);
    if (e.kind == ERR_NONE)
        node_set_size(f->node, bytes);
    pthread_mutex_unlock(&f->m->lock);
    return e;
}

static Err mem_allocate(struct io_file *f, uint64_t bytes)
{
    pthread_mutex_lock(&f->m->lock);
    Err e = grow(f, bytes);
    pthread_mutex_unlock(&f->m->lock);
    return e;
}

static Err mem_lock(struct io_file *f)
{
    pthread_mutex_lock(&f->m->lock);
    const struct io_file *holder = f->node->locked_by;
    if (holder == NULL)
        f->node->locked_by = f;
    pthread_mutex_unlock(&f->m->lock);
    return holder == NULL || holder == f ? OK : fail(ERR_BUSY, "lock: held by another");
}

static Err locked_rename(struct io_mem *m, Str from, Str to)
{
    TRY(canonical(m, from, &from));
    TRY(canonical(m, to, &to));
    struct node *f = names_find(&m->now, from);
    const struct node *target = names_find(&m->now, to);
    if (f == NULL)
        return fail(ERR_NOT_FOUND, "rename: no such file");
    if (f->is_dir || (target != NULL && target->is_dir))
        return fail(ERR_INVALID, "rename: directories keep their names here");
    TRY(check_parent(m, to));
    if (!str_eq(from, to))
        change_names(m, (struct change){ .from = from, .to = to, .node = f });
    return OK;
}

static Err mem_rename(struct io *io, Str from, Str to)
{
    struct io_mem *m = mem_of(io);
    pthread_mutex_lock(&m->lock);
    Err e = locked_rename(m, from, to);
    pthread_mutex_unlock(&m->lock);
    return e;
}

static Err locked_unlink(struct io_mem *m, Str path)
{
    TRY(canonical(m, path, &path));
    struct node *f = names_find(&m->now, path);
    if (f == NULL)
        return fail(ERR_NOT_FOUND, "unlink: no such file");
    if (f->is_dir)
        return fail(ERR_IO, "unlink: is a directory");
    change_names(m, (struct change){ .from = path, .node = f });
    return OK;
}

static Err mem_unlink(struct io *io, Str path)
{
    struct io_mem *m = mem_of(io);
    pthread_mutex_lock(&m->lock);
    Err e = locked_unlink(m, path);
    pthread_mutex_unlock(&m->lock);
    return e;
}

static Err locked_mkdir(struct io_mem *m, Str path)
{
    TRY(canonical(m, path, &path));
    const struct node *f = names_find(&m->now, path);
    if (f != NULL)
        return f->is_dir ? OK : fail(ERR_EXISTS, "mkdir: a file has the name");
    TRY(check_parent(m, path));
    change_names(m, (struct change){ .to = path, .node = node_new(m, true) });
    return OK;
}

static Err mem_mkdir(struct io *io, Str path)
{
    struct io_mem *m = mem_of(io);
    pthread_mutex_lock(&m->lock);
    Err e = locked_mkdir(m, path);
    pthread_mutex_unlock(&m->lock);
    return e;
}

static Err find_dir(struct io_mem *m, Str *path)
{
    TRY(canonical(m, *path, path));
    const struct node *dir = names_find(&m->now, *path);
    if (dir == NULL)
        return fail(ERR_NOT_FOUND, "no such directory");
    return dir->is_dir ? OK : fail(ERR_IO, "not a directory");
}

static bool touches(const struct change *c, Str dir)
{
    return (c->from.p != NULL && str_eq(parent_of(c->from), dir)) ||
           (c->to.p != NULL && str_eq(parent_of(c->to), dir));
}

static Err mem_sync_dir(struct io *io, Str path)
{
    struct io_mem *m = mem_of(io);
    pthread_mutex_lock(&m->lock);
    Err e = find_dir(m, &path);
    size_t kept = 0;
    for (size_t i = 0; e.kind == ERR_NONE && i < m->change_count; i++) {
        if (touches(&m->changes[i], path))
            names_apply(&m->synced, &m->changes[i]);
        else
            m->changes[kept++] = m->changes[i];
    }
    if (e.kind == ERR_NONE)
        m->change_count = kept;
    pthread_mutex_unlock(&m->lock);
    return e;
}

static Err mem_list(struct io *io, struct arena *a, Str path, IoName **ret, size_t *ret_n)
{
    struct io_mem *m = mem_of(io);
    pthread_mutex_lock(&m->lock);
    Err e = find_dir(m, &path);
    if (e.kind == ERR_NONE) {
        IoName *names = arena_new(a, IoName, m->now.n);
        size_t n = 0;
        for (size_t i = 0; i < m->now.n; i++) {
            const struct name *s = &m->now.at[i];
            if (s->path.n == 1 || !str_eq(parent_of(s->path), path))
                continue; // the root is in no directory
            Str base = str_skip(s->path, path.n > 1 ? path.n + 1 : 1);
            names[n++] = (IoName){ str_dup(a, base), s->node->is_dir, s->node->now_bytes };
        }
        *ret = names;
        *ret_n = n;
    }
    pthread_mutex_unlock(&m->lock);
    return e;
}

static Err mem_space(struct io *io, Str path, uint64_t *ret_free_bytes, uint64_t *ret_total_bytes)
{
    struct io_mem *m = mem_of(io);
    pthread_mutex_lock(&m->lock);
    Err e = find_dir(m, &path);
    if (e.kind == ERR_NONE) {
        uint64_t used = used_bytes(m);
        *ret_free_bytes = used < m->capacity ? m->capacity - used : 0;
        *ret_total_bytes = m->capacity;
    }
    pthread_mutex_unlock(&m->lock);
    return e;
}

static int64_t mem_wall_ns(struct io *io)
{
    struct io_mem *m = mem_of(io);
    pthread_mutex_lock(&m->lock);
    int64_t ns = m->wall_ns + (m->clock_is_set ? 0 : io_real()->wall_ns(io_real()));
    pthread_mutex_unlock(&m->lock);
    return ns;
}

static int64_t mem_mono_ns(struct io *io)
{
    struct io_mem *m = mem_of(io);
    pthread_mutex_lock(&m->lock);
    int64_t ns = m->mono_ns + (m->clock_is_set ? 0 : io_real()->mono_ns(io_real()));
    pthread_mutex_unlock(&m->lock);
    return ns;
}

static void mem_random(struct io *io, void *p, size_t n)
{
    struct io_mem *m = mem_of(io);
    pthread_mutex_lock(&m->lock);
    for (size_t done = 0; done < n;) {
        uint64_t r = sim_random(&m->random);
        size_t chunk = MIN(n - done, sizeof r);
        memcpy((char *)p + done, &r, chunk);
        done += chunk;
    }
    pthread_mutex_unlock(&m->lock);
}

static void mem_sleep_ns(struct io *io, int64_t ns)
{
    struct io_mem *m = mem_of(io);
    pthread_mutex_lock(&m->lock);
    bool is_set = m->clock_is_set;
    pthread_mutex_unlock(&m->lock);
    if (is_set)
        io_mem_advance(m, MAX(ns, 0));
    else
        io_real()->sleep_ns(io_real(), ns);
}

// ---- The queue

struct io_queue {
    struct sim_queue *sim;
};

static Err mem_queue_open(struct io *io, unsigned depth, struct io_queue **ret)
{
    if (depth == 0 || depth > SIM_QUEUE_DEPTH_MAX)
        return fail(ERR_INVALID, "queue depth");
    uint64_t seed;
    mem_random(io, &seed, sizeof seed);
    struct io_queue *q = xalloc(sizeof *q);
    q->sim = sim_queue_open(io, depth, seed);
    *ret = q;
    return OK;
}

static void mem_queue_close(struct io_queue *q)
{
    if (q == NULL)
        return;
    sim_queue_close(q->sim);
    free(q);
}

static Err mem_queue_submit(struct io_queue *q, struct io_write *w)
{
    return sim_queue_submit(q->sim, w, false);
}

static Err mem_queue_wait(struct io_queue *q, struct io_write **ret)
{
    return sim_queue_wait(q->sim, ret);
}

static const char *mem_queue_kind(const struct io_queue *q)
{
    (void)q;
    return "memory";
}

// ---- The disk

struct io_mem *io_mem_open(uint64_t seed)
{
    static const struct io table = {
        .open = mem_open,
        .close = mem_close,
        .write = mem_write,
        .read = mem_read,
        .copies = io_one_copy,
        .read_copy = mem_read_copy,
        .mend = io_no_mend,
        .descriptor = io_no_descriptor,
        .sync = mem_sync,
        .size = mem_size,
        .truncate = mem_truncate,
        .allocate = mem_allocate,
        .lock = mem_lock,
        .rename = mem_rename,
        .unlink = mem_unlink,
        .mkdir = mem_mkdir,
        .sync_dir = mem_sync_dir,
        .list = mem_list,
        .space = mem_space,
        .wall_ns = mem_wall_ns,
        .mono_ns = mem_mono_ns,
        .random = mem_random,
        .sleep_ns = mem_sleep_ns,
        .queue_open = mem_queue_open,
        .queue_close = mem_queue_close,
        .queue_submit = mem_queue_submit,
        .queue_wait = mem_queue_wait,
        .queue_kind = mem_queue_kind,
        .receive = real_receive,
        .send = real_send,
        .send_file = real_send_file,
        .accept = real_accept,
        .connect = real_connect,
    };
    struct io_mem *m = xalloc(sizeof *m);
    m->io = table;
    m->io.self = m;
    pthread_mutex_init(&m->lock, NULL);
    m->strings = arena_open();
    m->capacity = UINT64_MAX;
    m->random = seed;
    struct node *root = node_new(m, true);
    names_put(&m->now, S("/"), root);
    names_put(&m->synced, S("/"), root);
    return m;
}

void io_mem_close(struct io_mem *m)
{
    if (m == NULL)
        return;
    while (m->nodes != NULL) {
        struct node *f = m->nodes;
        m->nodes = f->next;
        for (size_t i = 0; i < f->page_count; i++) {
            content_unref(f->pages[i].now);
            content_unref(f->pages[i].synced);
        }
        free(f->pages);
        free(f);
    }
    free(m->now.at);
    free(m->synced.at);
    free(m->changes);
    arena_close(m->strings);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

struct io *io_mem_io(struct io_mem *m)
{
    return &m->io;
}

// ---- The crash

// The choices of one crash: `quarters` of four un-synced things are kept.
struct fate {
    uint64_t random;
    unsigned quarters;
    unsigned sector_bytes;
};

static bool keeps(struct fate *fate)
{
    return sim_below(&fate->random, 4) < fate->quarters;
}

static uint64_t kept_size(struct fate *fate, const struct node *f)
{
    if (fate->quarters == 0 || fate->quarters == 4)
        return fate->quarters == 0 ? f->synced_bytes : f->now_bytes;
    uint64_t low = MIN(f->now_bytes, f->synced_bytes);
    uint64_t high = MAX(f->now_bytes, f->synced_bytes);
    switch (sim_below(&fate->random, 3)) {
    case 0:
        return f->synced_bytes;
    case 1:
        return f->now_bytes;
    default:
        return low + sim_below(&fate->random, high - low + 1);
    }
}

static void copy_node(struct fate *fate, const struct node *from, struct node *to)
{
    uint64_t bytes = kept_size(fate, from);
    node_reach(to, bytes);
    for (size_t i = 0; i * PAGE_BYTES < bytes && i < from->page_count; i++) {
        const struct page *page = &from->pages[i];
        size_t in_page = (size_t)MIN(bytes - i * PAGE_BYTES, (uint64_t)PAGE_BYTES);
        if (!page->dirty && in_page == PAGE_BYTES) {
            to->pages[i].now = content_ref(page->now);
            continue;
        }
        for (size_t at = 0; at < in_page; at += fate->sector_bytes) {
            bool newest = !page->dirty || keeps(fate);
            const struct content *sector = newest ? page->now : page->synced;
            size_t n = MIN(in_page - at, (size_t)fate->sector_bytes);
            copy_into(&to->pages[i].now, at, content_bytes(sector) + at, n);
        }
    }
    to->now_bytes = to->synced_bytes = bytes;
}

static void copy_names(struct io_mem *m, struct fate *fate, struct io_mem *later)
{
    struct names kept = { 0 };
    for (size_t i = 0; i < m->synced.n; i++)
        names_put(&kept, m->synced.at[i].path, m->synced.at[i].node);
    size_t changes = sim_below(&fate->random, m->change_count + 1);
    if (fate->quarters == 0 || fate->quarters == 4)
        changes = fate->quarters == 0 ? 0 : m->change_count;
    for (size_t i = 0; i < changes; i++)
        names_apply(&kept, &m->changes[i]);

    // Parents sort before their children; what lost its directory is lost.
    for (size_t i = 0; i < kept.n; i++) {
        Str path = str_dup(later->strings, kept.at[i].path);
        if (path.n == 1 || names_find(&later->now, parent_of(path)) == NULL)
            continue;
        struct node *f = node_new(later, kept.at[i].node->is_dir);
        copy_node(fate, kept.at[i].node, f);
        names_put(&later->now, path, f);
        names_put(&later->synced, path, f);
    }
    free(kept.at);
}

struct io_mem *io_mem_crash(struct io_mem *m, IoMemCrash crash)
{
    struct fate fate = { .random = crash.seed, .sector_bytes = crash.sector_bytes };
    if (fate.sector_bytes == 0)
        fate.sector_bytes = PAGE_BYTES;
    CHECK(fate.sector_bytes >= SECTOR_BYTES_MIN && PAGE_BYTES % fate.sector_bytes == 0);
    fate.quarters = (unsigned)sim_below(&fate.random, 5); // so that all and nothing occur too
    if (crash.keep != IO_KEEP_SOME)
        fate.quarters = crash.keep == IO_KEEP_ALL ? 4 : 0;

    struct io_mem *later = io_mem_open(sim_random(&fate.random));
    pthread_mutex_lock(&m->lock);
    copy_names(m, &fate, later);
    later->capacity = m->capacity;
    later->clock_is_set = m->clock_is_set;
    later->wall_ns = m->wall_ns;
    later->mono_ns = m->mono_ns;
    pthread_mutex_unlock(&m->lock);
    return later;
}

void io_mem_set_capacity(struct io_mem *m, uint64_t bytes)
{
    pthread_mutex_lock(&m->lock);
    m->capacity = bytes;
    pthread_mutex_unlock(&m->lock);
}

void io_mem_break_sync(struct io_mem *m, uint64_t skip)
{
    pthread_mutex_lock(&m->lock);
    m->sync_breaks = true;
    m->syncs_to_break = skip;
    pthread_mutex_unlock(&m->lock);
}

bool io_mem_sync_is_broken(struct io_mem *m)
{
    pthread_mutex_lock(&m->lock);
    bool broken = m->sync_is_broken;
    pthread_mutex_unlock(&m->lock);
    return broken;
}

void io_mem_set_clock(struct io_mem *m, int64_t wall_ns, int64_t mono_ns)
{
    pthread_mutex_lock(&m->lock);
    m->clock_is_set = true;
    m->wall_ns = wall_ns;
    m->mono_ns = mono_ns;
    pthread_mutex_unlock(&m->lock);
}

void io_mem_advance(struct io_mem *m, int64_t ns)
{
    pthread_mutex_lock(&m->lock);
    m->wall_ns += ns;
    m->mono_ns += ns;
    pthread_mutex_unlock(&m->lock);
}

void io_mem_step_wall(struct io_mem *m, int64_t by_ns)
{
    pthread_mutex_lock(&m->lock);
    m->wall_ns += by_ns;
    pthread_mutex_unlock(&m->lock);
}
