// SPDX-License-Identifier: Apache-2.0
#include "os/io_fault.h"

#include "os/io_fault_net_priv.h"
#include "os/io_sim_priv.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { OP_KINDS = 14, TEAR_BYTES = 4096 };

struct plan {
    IoFault is;
    uint64_t seen, failed;
};

struct io_fault {
    struct io io;
    struct io *below;
    struct fault_net *net;
    pthread_mutex_t lock; // everything that follows
    struct plan plans[IO_FAULTS_MAX];
    size_t plan_count;
    uint64_t counts[OP_KINDS];
    uint64_t hits;
    uint64_t budget;
    uint64_t random;
    bool is_off;
    int64_t wall_step_ns;
    struct io_queue *queues; // open ones
};

struct io_file {
    struct io_fault *f;
    struct io_file *below;
    Str path; // in memory behind the struct
};

// How an operation ends before it reaches the table below.
struct verdict {
    Err err;
    unsigned tear; // of a write that fails
    bool cuts_power;
    bool lies; // success, but nothing has become durable
};

static bool plan_strikes(struct plan *p, unsigned op, Str path)
{
    unsigned ops = p->is.ops != 0 ? p->is.ops : (unsigned)IO_OP_ANY;
    uint64_t times = p->is.times != 0 ? p->is.times : 1;
    if ((ops & op) == 0 || p->failed >= times)
        return false;
    if (p->is.path_part.p != NULL && str_search(path, p->is.path_part) == path.n)
        return false;
    if (p->seen++ < p->is.skip)
        return false;
    p->failed++;
    return true;
}

static struct verdict judge_locked(struct io_fault *f, unsigned op, Str path, size_t bytes)
{
    f->counts[__builtin_ctz(op)]++;
    if (f->is_off)
        return (struct verdict){ .err = fail(ERR_IO, "the power is off") };
    for (size_t i = 0; i < f->plan_count; i++) {
        struct plan *p = &f->plans[i];
        if (!plan_strikes(p, op, path))
            continue;
        f->hits++;
        if (p->is.lies)
            return (struct verdict){ .lies = true };
        f->is_off = p->is.power_off;
        Err e = p->is.err.kind != ERR_NONE ? p->is.err : fail(ERR_IO, "injected");
        return (struct verdict){ e, p->is.tear, p->is.power_off };
    }
    if (bytes > f->budget) {
        f->hits++;
        return (struct verdict){ .err = fail(ERR_FULL, "the budget is spent") };
    }
    if (f->budget != UINT64_MAX)
        f->budget -= bytes;
    return (struct verdict){ 0 };
}

// Leaves a part of a write below, not synced. What goes wrong there changes nothing any more.
static void tear_write(struct io_fault *f, struct io_file *below, const char *p, size_t n,
                       uint64_t at, unsigned how)
{
    if (how == IO_TEAR_NOTHING)
        return;
    pthread_mutex_lock(&f->lock);
    uint64_t random = sim_random(&f->random);
    pthread_mutex_unlock(&f->lock);
    uint64_t sectors = (n + TEAR_BYTES - 1) / TEAR_BYTES;
    uint64_t prefix = sim_below(&random, sectors + 1);
    for (uint64_t i = 0; i < sectors; i++) {
        bool kept = how == IO_TEAR_PREFIX ? i < prefix : sim_below(&random, 2) == 0;
        size_t from = (size_t)i * TEAR_BYTES;
        if (kept)
            err_ignore(f->below->write(below, p + from, MIN(n - from, (size_t)TEAR_BYTES),
                                       at + from, false));
    }
}

static void tear_waiting_writes(struct io_fault *f);

static struct verdict judge_call(struct io_fault *f, unsigned op, Str path)
{
    pthread_mutex_lock(&f->lock);
    struct verdict v = judge_locked(f, op, path, 0);
    pthread_mutex_unlock(&f->lock);
    if (v.cuts_power)
        tear_waiting_writes(f);
    return v;
}

static Err judge(struct io_fault *f, unsigned op, Str path)
{
    return judge_call(f, op, path).err;
}

// ---- The table

static struct io_fault *fault_of(struct io *io)
{
    return io->self;
}

static Err fault_open(struct io *io, Str path, unsigned flags, struct io_file **ret)
{
    struct io_fault *f = fault_of(io);
    TRY(judge(f, IO_OP_OPEN, path));
    struct io_file *below = NULL;
    TRY(f->below->open(f->below, path, flags, &below));
    struct io_file *file = xalloc(sizeof *file + path.n);
    char *copy = (char *)(file + 1);
    memcpy(copy, path.p, path.n);
    *file = (struct io_file){ .f = f, .below = below, .path = str_from(copy, path.n) };
    *ret = file;
    return OK;
}

static void fault_close(struct io_file *file)
{
    if (file == NULL)
        return;
    file->f->below->close(file->below);
    free(file);
}

static Err fault_write(struct io_file *file, const void *p, size_t n, uint64_t at, bool durable)
{
    struct io_fault *f = file->f;
    pthread_mutex_lock(&f->lock);
    struct verdict v = judge_locked(f, IO_OP_WRITE, file->path, n);
    pthread_mutex_unlock(&f->lock);
    if (v.err.kind == ERR_NONE)
        return f->below->write(file->below, p, n, at, durable && !v.lies);
    tear_write(f, file->below, p, n, at, v.tear);
    if (v.cuts_power)
        tear_waiting_writes(f);
    return v.err;
}

static Err fault_read(struct io_file *file, void *p, size_t n, uint64_t at, size_t *ret_n)
{
    TRY(judge(file->f, IO_OP_READ, file->path));
    return file->f->below->read(file->below, p, n, at, ret_n);
}

static unsigned fault_copies(struct io_file *file)
{
    return file->f->below->copies(file->below);
}

static Err fault_read_copy(struct io_file *file, unsigned copy, void *p, size_t n, uint64_t at,
                           size_t *ret_n)
{
    TRY(judge(file->f, IO_OP_READ, file->path));
    return file->f->below->read_copy(file->below, copy, p, n, at, ret_n);
}

static Err fault_mend(struct io_file *file, const void *p, size_t n, uint64_t at)
{
    TRY(judge(file->f, IO_OP_WRITE, file->path));
    return file->f->below->mend(file->below, p, n, at);
}

static Err fault_sync(struct io_file *file)
{
    struct verdict v = judge_call(file->f, IO_OP_SYNC, file->path);
    TRY(v.err);
    return v.lies ? OK : file->f->below->sync(file->below);
}

static Err fault_size(struct io_file *file, uint64_t *ret_bytes)
{
    TRY(judge(file->f, IO_OP_SIZE, file->path));
    return file->f->below->size(file->below, ret_bytes);
}

static Err fault_truncate(struct io_file *file, uint64_t bytes)
{
    TRY(judge(file->f, IO_OP_TRUNCATE, file->path));
    return file->f->below->truncate(file->below, bytes);
}

static Err fault_allocate(struct io_file *file, uint64_t bytes)
{
    TRY(judge(file->f, IO_OP_ALLOCATE, file->path));
    return file->f->below->allocate(file->below, bytes);
}

static Err fault_lock(struct io_file *file)
{
    TRY(judge(file->f, IO_OP_LOCK, file->path));
    return file->f->below->lock(file->below);
}

static Err fault_rename(struct io *io, Str from, Str to)
{
    struct io_fault *f = fault_of(io);
    TRY(judge(f, IO_OP_RENAME, to));
    return f->below->rename(f->below, from, to);
}

static Err fault_unlink(struct io *io, Str path)
{
    struct io_fault *f = fault_of(io);
    TRY(judge(f, IO_OP_UNLINK, path));
    return f->below->unlink(f->below, path);
}

static Err fault_mkdir(struct io *io, Str path)
{
    struct io_fault *f = fault_of(io);
    TRY(judge(f, IO_OP_MKDIR, path));
    return f->below->mkdir(f->below, path);
}

static Err fault_sync_dir(struct io *io, Str path)
{
    struct io_fault *f = fault_of(io);
    struct verdict v = judge_call(f, IO_OP_SYNC_DIR, path);
    TRY(v.err);
    return v.lies ? OK : f->below->sync_dir(f->below, path);
}

static Err fault_list(struct io *io, struct arena *a, Str path, IoName **ret, size_t *ret_n)
{
    struct io_fault *f = fault_of(io);
    TRY(judge(f, IO_OP_LIST, path));
    return f->below->list(f->below, a, path, ret, ret_n);
}

static Err fault_space(struct io *io, Str path, uint64_t *ret_free_bytes, uint64_t *ret_total_bytes)
{
    struct io_fault *f = fault_of(io);
    TRY(judge(f, IO_OP_SPACE, path));
    return f->below->space(f->below, path, ret_free_bytes, ret_total_bytes);
}

static int64_t fault_wall_ns(struct io *io)
{
    struct io_fault *f = fault_of(io);
    pthread_mutex_lock(&f->lock);
    int64_t step_ns = f->wall_step_ns;
    pthread_mutex_unlock(&f->lock);
    return f->below->wall_ns(f->below) + step_ns;
}

static int64_t fault_mono_ns(struct io *io)
{
    struct io_fault *f = fault_of(io);
    return f->below->mono_ns(f->below);
}

static void fault_random(struct io *io, void *p, size_t n)
{
    struct io_fault *f = fault_of(io);
    f->below->random(f->below, p, n);
}

static void fault_sleep_ns(struct io *io, int64_t ns)
{
    struct io_fault *f = fault_of(io);
    f->below->sleep_ns(f->below, ns);
}

// ---- The queue: our own on top of write, so that every write of it can be made to fail.

struct io_queue {
    struct io_fault *f;
    struct sim_queue *sim;
    struct io_queue *next;
};

static Err fault_queue_open(struct io *io, unsigned depth, struct io_queue **ret)
{
    struct io_fault *f = fault_of(io);
    if (depth == 0 || depth > SIM_QUEUE_DEPTH_MAX)
        return fail(ERR_INVALID, "queue depth");
    struct io_queue *q = xalloc(sizeof *q);
    pthread_mutex_lock(&f->lock);
    *q = (struct io_queue){ .f = f, .next = f->queues };
    q->sim = sim_queue_open(io, depth, sim_random(&f->random));
    f->queues = q;
    pthread_mutex_unlock(&f->lock);
    *ret = q;
    return OK;
}

static void fault_queue_close(struct io_queue *q)
{
    if (q == NULL)
        return;
    struct io_fault *f = q->f;
    sim_queue_close(q->sim);
    pthread_mutex_lock(&f->lock);
    struct io_queue **at = &f->queues;
    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    pthread_mutex_unlock(&f->lock);
    free(q);
}

static Err fault_queue_submit(struct io_queue *q, struct io_write *w)
{
    pthread_mutex_lock(&q->f->lock);
    bool late = q->f->is_off;
    pthread_mutex_unlock(&q->f->lock);
    return sim_queue_submit(q->sim, w, late);
}

static Err fault_queue_wait(struct io_queue *q, struct io_write **ret)
{
    return sim_queue_wait(q->sim, ret);
}

static const char *fault_queue_kind(const struct io_queue *q)
{
    (void)q;
    return "faulty";
}

static void tear_waiting(void *user, struct io_write *w)
{
    tear_write(user, w->file->below, w->part.p, w->part.n, w->at, IO_TEAR_SECTORS);
}

// Queues are opened and closed by their owners; a power cut at that very moment would race, which
// tests do not do.
static void tear_waiting_writes(struct io_fault *f)
{
    pthread_mutex_lock(&f->lock);
    struct io_queue *q = f->queues;
    pthread_mutex_unlock(&f->lock);
    for (; q != NULL; q = q->next)
        sim_queue_each(q->sim, tear_waiting, f);
}

// ---- The network

static Err fault_receive(struct io *io, int fd, void *p, size_t n, bool peek, size_t *ret_n)
{
    return fault_net_receive(fault_of(io)->net, fd, p, n, peek, ret_n);
}

static Err fault_send(struct io *io, int fd, const IoPart *parts, size_t count, size_t *ret_n)
{
    return fault_net_send(fault_of(io)->net, fd, parts, count, ret_n);
}

static Err fault_send_file(struct io *io, int fd, const IoPart *parts, size_t count, IoSpan span,
                           size_t *ret_n)
{
    return fault_net_send_file(fault_of(io)->net, fd, parts, count, span, ret_n);
}

static Err fault_accept(struct io *io, int fd, struct sockaddr_storage *ret_from, int *ret_fd)
{
    return fault_net_accept(fault_of(io)->net, fd, ret_from, ret_fd);
}

static Err fault_connect(struct io *io, int fd, const struct sockaddr *to, size_t to_bytes)
{
    return fault_net_connect(fault_of(io)->net, fd, to, to_bytes);
}

void io_fault_net(struct io_fault *f, IoNetFault how)
{
    fault_net_set(f->net, how);
}

uint64_t io_fault_net_bytes(struct io_fault *f)
{
    return fault_net_bytes(f->net);
}

uint64_t io_fault_net_hits(struct io_fault *f)
{
    return fault_net_hits(f->net);
}

// ---- Plans

struct io_fault *io_fault_open(struct io *below, uint64_t seed)
{
    static const struct io table = {
        .open = fault_open,
        .close = fault_close,
        .write = fault_write,
        .read = fault_read,
        .copies = fault_copies,
        .read_copy = fault_read_copy,
        .mend = fault_mend,
        .descriptor = io_no_descriptor, // reads may fail here
        .sync = fault_sync,
        .size = fault_size,
        .truncate = fault_truncate,
        .allocate = fault_allocate,
        .lock = fault_lock,
        .rename = fault_rename,
        .unlink = fault_unlink,
        .mkdir = fault_mkdir,
        .sync_dir = fault_sync_dir,
        .list = fault_list,
        .space = fault_space,
        .wall_ns = fault_wall_ns,
        .mono_ns = fault_mono_ns,
        .random = fault_random,
        .sleep_ns = fault_sleep_ns,
        .queue_open = fault_queue_open,
        .queue_close = fault_queue_close,
        .queue_submit = fault_queue_submit,
        .queue_wait = fault_queue_wait,
        .queue_kind = fault_queue_kind,
        .receive = fault_receive,
        .send = fault_send,
        .send_file = fault_send_file,
        .accept = fault_accept,
        .connect = fault_connect,
    };
    struct io_fault *f = xalloc(sizeof *f);
    f->io = table;
    f->io.self = f;
    f->below = below;
    f->net = fault_net_open(below, seed);
    f->random = seed;
    f->budget = UINT64_MAX;
    pthread_mutex_init(&f->lock, NULL);
    return f;
}

void io_fault_close(struct io_fault *f)
{
    if (f == NULL)
        return;
    CHECK(f->queues == NULL);
    fault_net_close(f->net);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

struct io *io_fault_io(struct io_fault *f)
{
    return &f->io;
}

void io_fault_add(struct io_fault *f, IoFault plan)
{
    pthread_mutex_lock(&f->lock);
    CHECK(f->plan_count < IO_FAULTS_MAX);
    CHECK(!plan.lies || (plan.ops & ~(unsigned)(IO_OP_WRITE | IO_OP_SYNC | IO_OP_SYNC_DIR)) == 0);
    f->plans[f->plan_count++] = (struct plan){ .is = plan };
    pthread_mutex_unlock(&f->lock);
}

void io_fault_clear(struct io_fault *f)
{
    pthread_mutex_lock(&f->lock);
    f->plan_count = 0;
    f->is_off = false;
    f->budget = UINT64_MAX;
    pthread_mutex_unlock(&f->lock);
}

uint64_t io_fault_hits(struct io_fault *f)
{
    pthread_mutex_lock(&f->lock);
    uint64_t hits = f->hits;
    pthread_mutex_unlock(&f->lock);
    return hits;
}

uint64_t io_fault_count(struct io_fault *f, unsigned ops)
{
    uint64_t count = 0;
    pthread_mutex_lock(&f->lock);
    for (unsigned i = 0; i < OP_KINDS; i++)
        count += (ops & (1u << i)) != 0 ? f->counts[i] : 0;
    pthread_mutex_unlock(&f->lock);
    return count;
}

void io_fault_power_off(struct io_fault *f)
{
    pthread_mutex_lock(&f->lock);
    bool was_on = !f->is_off;
    f->is_off = true;
    pthread_mutex_unlock(&f->lock);
    if (was_on)
        tear_waiting_writes(f);
}

void io_fault_set_budget(struct io_fault *f, uint64_t bytes)
{
    pthread_mutex_lock(&f->lock);
    f->budget = bytes;
    pthread_mutex_unlock(&f->lock);
}

void io_fault_step_wall(struct io_fault *f, int64_t by_ns)
{
    pthread_mutex_lock(&f->lock);
    f->wall_step_ns += by_ns;
    pthread_mutex_unlock(&f->lock);
}

static Err flip_open(struct io *io, struct io_file *f, uint64_t at, unsigned char mask)
{
    unsigned char byte = 0;
    size_t n = 0;
    TRY(io->read(f, &byte, 1, at, &n));
    if (n != 1)
        return fail(ERR_INVALID, "no such byte to flip");
    byte ^= mask;
    return io->write(f, &byte, 1, at, true);
}

Err io_flip(struct io *io, Str path, uint64_t at, unsigned char mask)
{
    struct io_file *f = NULL;
    TRY(io->open(io, path, IO_WRITE, &f));
    Err e = flip_open(io, f, at, mask);
    io->close(f);
    return e;
}
