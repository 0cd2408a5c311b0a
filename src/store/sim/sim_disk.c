// SPDX-License-Identifier: Apache-2.0
#include "store/sim/sim_disk.h"

#include "base/time.h"
#include "store/sim/sim_priv.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    UNDER_WAY_MAX = 64, // writes at once, of all threads and queues
    NOTED_BYTES = 96,   // of a write that go into the trace: the head of a block with its checksum
    QUEUE_DEPTH_MAX = 64,
    QUEUED_UNAWARE_MAX = 4, // as deep as the queues of the lives
};

struct io_file {
    struct sim_disk *d;
    struct io_file *below;
    bool has_failed;       // a sync or durable write of it, other than for want of space
    unsigned queued_since; // writes of a queue
    Str path;              // in memory behind the struct
};

// A durable write that the device has been given and has not finished.
struct under_way {
    struct io_file *file;
    IoPart part;
    uint64_t at;
};

struct sim_disk {
    struct io io;
    struct io_mem *mem;
    struct io *below;
    struct io_fault *faults;
    struct sim_power *power;
    SimSpeed speed;
    unsigned sector_bytes;
    bool is_dead, is_mirrored;
    int64_t hangs_until_ns, full_until_ns;
    struct under_way *writes[UNDER_WAY_MAX];
    size_t write_count;
};

SimPlant sim_plant;
static bool loud;
static unsigned lazy_task = UINT_MAX;

const char *sim_plant_name(SimPlant plant)
{
    static const char *const names[PLANT_COUNT] = {
        [PLANT_NONE] = "none",
        [PLANT_SKIP_SYNC] = "skip-sync",
        [PLANT_SKIP_SYNC_DIR] = "skip-sync-dir",
        [PLANT_SKIP_DURABLE] = "skip-durable",
        [PLANT_EARLY] = "acknowledge-early",
        [PLANT_IGNORE_CRC] = "ignore-crc",
        [PLANT_REUSE_NUMBER] = "reuse-number",
        [PLANT_FORGET_ENDS] = "forget-ends",
        [PLANT_RETRY_SYNC] = "retry-sync",
        [PLANT_EARLY_RECYCLE] = "early-recycle",
        [PLANT_RAW_CONTAINER] = "raw-container",
        [PLANT_CONTAINER_CRC] = "ignore-container-crc",
        [PLANT_EARLY_EXPIRY] = "early-expiry",
        [PLANT_MERGE_LOSS] = "merge-loss",
        [PLANT_ZONE_EARLY] = "zone-early",
        [PLANT_ZONE_STALE] = "zone-stale",
        [PLANT_ZONE_FORGET] = "zone-forget",
    };
    return names[plant];
}

void sim_disk_be_lazy(bool is_lazy)
{
    lazy_task = is_lazy ? sched_task() : UINT_MAX;
}

static bool is_lazy(void)
{
    return lazy_task == sched_task();
}

void sim_disk_loud(bool is_loud)
{
    loud = is_loud;
}

// ---- Time and power

static int64_t latency_ns(const struct sim_disk *d)
{
    switch (d->speed) {
    case SIM_QUICK:
        return (int64_t)sched_below(20) * NS_PER_US;
    case SIM_USUAL:
        return 50 * NS_PER_US + (int64_t)sched_below(2000) * NS_PER_US;
    case SIM_SLOW:
        return NS_PER_MS + (int64_t)sched_below(80) * NS_PER_MS;
    default:
        return sched_chance(12) ? (int64_t)(1 + sched_below(8)) * NS_PER_S
                                : (int64_t)sched_below(2000) * NS_PER_US;
    }
}

static Err off(void)
{
    return fail(ERR_IO, "the power is off");
}

static void note(const char *op, Str path, uint64_t at, uint64_t n)
{
    uint64_t h = (uint64_t)op[0] << 8 | (uint64_t)op[1];
    for (size_t i = 0; i < path.n; i++)
        h = h * 31 + (unsigned char)path.p[i];
    sched_note(h ^ (at << 20) ^ n);
    if (loud)
        fprintf(stderr, "%12.6f t%u %s %.*s at %llu, %llu\n", (double)sched_mono_ns() / 1e9,
                sched_task(), op, FMT(path), (unsigned long long)at, (unsigned long long)n);
}

static void note_bytes(const void *p, size_t n)
{
    const unsigned char *bytes = p;
    uint64_t h = n;
    for (size_t i = 0; i < MIN(n, (size_t)NOTED_BYTES); i++)
        h = h * 31 + bytes[i];
    sched_note(h);
}

// Any subset of the sectors has reached the disk, and stays there.
static void tear(struct sim_disk *d, const struct under_way *w)
{
    uint64_t quarters = sched_below(5); // so that all and nothing occur too
    for (size_t from = 0; from < w->part.n; from += d->sector_bytes) {
        size_t n = MIN(w->part.n - from, (size_t)d->sector_bytes);
        if (sched_below(4) < quarters)
            err_ignore(d->below->write(w->file->below, (char *)w->part.p + from, n, w->at + from,
                                       true)); // beyond the end of a full disk nothing is written
    }
}

void sim_power_off(struct sim_power *p)
{
    if (p->is_off)
        return;
    p->is_off = true;
    note("power off", S(""), 0, 0);
    sched_hold(true);
    for (size_t k = 0; k < p->n; k++)
        for (size_t i = 0; i < p->disks[k]->write_count; i++)
            tear(p->disks[k], p->disks[k]->writes[i]);
    sched_hold(false);
    sched_wake_all(p);
}

void sim_power_cut_after(struct sim_power *p, uint64_t changes)
{
    p->cuts = true;
    p->cut_after = changes;
}

void sim_disk_set_speed(struct sim_disk *d, SimSpeed speed)
{
    d->speed = speed;
}

void sim_disk_die(struct sim_disk *d, bool is_dead)
{
    d->is_dead = is_dead;
}

void sim_disk_hang(struct sim_disk *d, int64_t until_ns)
{
    d->hangs_until_ns = until_ns;
}

void sim_disk_full_until(struct sim_disk *d, int64_t until_ns)
{
    d->full_until_ns = until_ns;
}

void sim_disk_mirrored(struct sim_disk *d)
{
    d->is_mirrored = true;
}

// The tables below lock and unlock, which changes nothing here: without points it is faster.
#define BELOW(call)              \
    ({                           \
        sched_hold(true);        \
        Err below_err_ = (call); \
        sched_hold(false);       \
        below_err_;              \
    })

// Until then, or until the power goes.
static void wait_until(const struct sim_disk *d, int64_t until_ns)
{
    while (!d->power->is_off && sched_mono_ns() < until_ns)
        sched_wait_on(d->power, until_ns);
}

static Err gone(const struct sim_disk *d)
{
    if (d->power->is_off)
        return off();
    return d->is_dead ? fail(ERR_IO, "the disk is dead") : OK;
}

// What happens before any operation.
static Err begin(struct sim_disk *d, const char *op, unsigned kind, Str path, uint64_t at,
                 uint64_t n)
{
    sched_point();
    note(op, path, at, n);
    TRY(gone(d));
    struct sim_power *p = d->power;
    bool is_change = (kind & IO_OP_CHANGE) != 0;
    if (is_change && p->cuts && p->cut_after-- == 0)
        sim_power_off(p);
    if (!p->is_off && (kind == IO_OP_SYNC || kind == IO_OP_SYNC_DIR || sched_chance(16)))
        wait_until(d, sched_mono_ns() + MAX(latency_ns(d), 1));
    wait_until(d, d->hangs_until_ns);
    return gone(d);
}

static void under_way_add(struct sim_disk *d, struct under_way *w)
{
    CHECK(d->write_count < UNDER_WAY_MAX);
    d->writes[d->write_count++] = w;
}

static void under_way_remove(struct sim_disk *d, const struct under_way *w)
{
    size_t i = 0;
    while (d->writes[i] != w)
        i++;
    memmove(&d->writes[i], &d->writes[i + 1], (d->write_count - i - 1) * sizeof(void *));
    d->write_count--;
}

// ---- The table

static struct sim_disk *disk_of(struct io *io)
{
    return io->self;
}

static Err disk_open(struct io *io, Str path, unsigned flags, struct io_file **ret)
{
    struct sim_disk *d = disk_of(io);
    bool may_change = (flags & (IO_CREATE | IO_TRUNC)) != 0;
    TRY(begin(d, "open", may_change ? IO_OP_OPEN : 0, path, 0, flags));
    struct io_file *below = NULL;
    TRY(BELOW(d->below->open(d->below, path, flags, &below)));
    struct io_file *f = xalloc(sizeof *f + path.n);
    memcpy(f + 1, path.p, path.n);
    *f = (struct io_file){ .d = d, .below = below, .path = str_from(f + 1, path.n) };
    *ret = f;
    return OK;
}

static void disk_close(struct io_file *f)
{
    if (f == NULL)
        return;
    sched_hold(true);
    f->d->below->close(f->below);
    sched_hold(false);
    free(f);
}

// After a failed sync nobody knows what the file holds, so the log goes on in another one; what
// was handed over before it knew may still come. (kv overwrites what was not synced, and may sync
// its log again then.)
static void expect_trust(struct io_file *f, bool is_queued)
{
    bool is_kv = str_search(f->path, S("/kv")) < f->path.n;
    if (!f->has_failed || is_kv || f->d->is_mirrored)
        return;
    if (!is_queued || ++f->queued_since > QUEUED_UNAWARE_MAX)
        sim_fail("%.*s is written on though a sync of it has failed", FMT(f->path));
}

static Err note_failure(struct io_file *f, Err e)
{
    f->has_failed |= e.kind != ERR_NONE && e.kind != ERR_FULL && !f->d->power->is_off;
    return e;
}

static Err carry_out(struct io_file *f, const void *p, size_t n, uint64_t at, bool durable)
{
    struct sim_disk *d = f->d;
    TRY(gone(d));
    note_bytes(p, n);
    bool is_kept = durable && sim_plant != PLANT_SKIP_DURABLE && !is_lazy();
    Err e = BELOW(d->below->write(f->below, p, n, at, is_kept));
    return durable ? note_failure(f, e) : e;
}

static Err disk_write(struct io_file *f, const void *p, size_t n, uint64_t at, bool durable)
{
    if (durable)
        expect_trust(f, false);
    struct sim_disk *d = f->d;
    struct under_way w = { f, { (void *)(uintptr_t)p, n }, at };
    under_way_add(d, &w);
    Err e = begin(d, durable ? "write durably" : "write", IO_OP_WRITE, f->path, at, n);
    if (e.kind == ERR_NONE && durable)
        wait_until(d, sched_mono_ns() + MAX(latency_ns(d), 1));
    under_way_remove(d, &w);
    return e.kind == ERR_NONE ? carry_out(f, p, n, at, durable) : e;
}

static Err disk_read(struct io_file *f, void *p, size_t n, uint64_t at, size_t *ret_n)
{
    TRY(begin(f->d, "read", IO_OP_READ, f->path, at, n));
    return BELOW(f->d->below->read(f->below, p, n, at, ret_n));
}

static Err disk_read_copy(struct io_file *f, unsigned copy, void *p, size_t n, uint64_t at,
                          size_t *ret_n)
{
    return copy == 0 ? disk_read(f, p, n, at, ret_n) : fail(ERR_INVALID, "no such copy");
}

static Err disk_sync(struct io_file *f)
{
    expect_trust(f, false);
    TRY(begin(f->d, "sync", IO_OP_SYNC, f->path, 0, 0));
    if (sim_plant == PLANT_SKIP_SYNC || is_lazy())
        return OK;
    Err e = BELOW(f->d->below->sync(f->below));
    if (e.kind != ERR_NONE && sim_plant == PLANT_RETRY_SYNC)
        e = BELOW(f->d->below->sync(f->below));
    return note_failure(f, e);
}

static Err disk_size(struct io_file *f, uint64_t *ret_bytes)
{
    TRY(begin(f->d, "size", IO_OP_SIZE, f->path, 0, 0));
    return BELOW(f->d->below->size(f->below, ret_bytes));
}

static Err disk_truncate(struct io_file *f, uint64_t bytes)
{
    TRY(begin(f->d, "truncate", IO_OP_TRUNCATE, f->path, bytes, 0));
    return BELOW(f->d->below->truncate(f->below, bytes));
}

static Err disk_allocate(struct io_file *f, uint64_t bytes)
{
    TRY(begin(f->d, "allocate", IO_OP_ALLOCATE, f->path, bytes, 0));
    return BELOW(f->d->below->allocate(f->below, bytes));
}

static Err disk_lock(struct io_file *f)
{
    TRY(begin(f->d, "lock", IO_OP_LOCK, f->path, 0, 0));
    return BELOW(f->d->below->lock(f->below));
}

static Err disk_rename(struct io *io, Str from, Str to)
{
    struct sim_disk *d = disk_of(io);
    TRY(begin(d, "rename", IO_OP_RENAME, to, 0, 0));
    return BELOW(d->below->rename(d->below, from, to));
}

static Err disk_unlink(struct io *io, Str path)
{
    struct sim_disk *d = disk_of(io);
    TRY(begin(d, "unlink", IO_OP_UNLINK, path, 0, 0));
    return BELOW(d->below->unlink(d->below, path));
}

static Err disk_mkdir(struct io *io, Str path)
{
    struct sim_disk *d = disk_of(io);
    TRY(begin(d, "mkdir", IO_OP_MKDIR, path, 0, 0));
    return BELOW(d->below->mkdir(d->below, path));
}

static Err disk_sync_dir(struct io *io, Str path)
{
    struct sim_disk *d = disk_of(io);
    TRY(begin(d, "sync of directory", IO_OP_SYNC_DIR, path, 0, 0));
    return sim_plant == PLANT_SKIP_SYNC_DIR || is_lazy()
               ? OK
               : BELOW(d->below->sync_dir(d->below, path));
}

static Err disk_list(struct io *io, struct arena *a, Str path, IoName **ret, size_t *ret_n)
{
    struct sim_disk *d = disk_of(io);
    TRY(begin(d, "list", IO_OP_LIST, path, 0, 0));
    return BELOW(d->below->list(d->below, a, path, ret, ret_n));
}

static Err disk_space(struct io *io, Str path, uint64_t *ret_free_bytes, uint64_t *ret_total_bytes)
{
    struct sim_disk *d = disk_of(io);
    TRY(begin(d, "space", IO_OP_SPACE, path, 0, 0));
    if (sched_mono_ns() >= d->full_until_ns)
        io_mem_set_capacity(d->mem, UINT64_MAX);
    return BELOW(d->below->space(d->below, path, ret_free_bytes, ret_total_bytes));
}

static int64_t disk_wall_ns(struct io *io)
{
    (void)io;
    return sched_wall_ns();
}

static int64_t disk_mono_ns(struct io *io)
{
    (void)io;
    return sched_mono_ns();
}

static void disk_random(struct io *io, void *p, size_t n)
{
    (void)io;
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)p)[i] = (unsigned char)sched_random();
}

static void disk_sleep_ns(struct io *io, int64_t ns)
{
    (void)io;
    sched_sleep(ns);
}

// ---- The queue

struct queued {
    struct io_write *w;
    int64_t due_ns;
    struct under_way at_device;
    bool is_told; // PLANT_EARLY: its owner has got it back
};

struct io_queue {
    struct sim_disk *d;
    unsigned depth, n;
    struct queued *at[QUEUE_DEPTH_MAX];
};

static Err disk_queue_open(struct io *io, unsigned depth, struct io_queue **ret)
{
    if (depth == 0 || depth > QUEUE_DEPTH_MAX)
        return fail(ERR_INVALID, "queue depth");
    struct io_queue *q = xalloc(sizeof *q);
    q->d = disk_of(io);
    q->depth = depth;
    *ret = q;
    return OK;
}

static Err disk_queue_submit(struct io_queue *q, struct io_write *w)
{
    sched_point();
    note("submit", w->file->path, w->at, w->part.n);
    expect_trust(w->file, true);
    if (q->n == q->depth)
        return fail(ERR_LIMIT, "write queue is full");
    struct queued *x = xalloc(sizeof *x);
    *x = (struct queued){
        .w = w,
        .due_ns = sched_mono_ns() + latency_ns(q->d),
        .at_device = { w->file, w->part, w->at },
    };
    under_way_add(q->d, &x->at_device);
    q->at[q->n++] = x;
    sched_wake_all(q);
    return OK;
}

static struct queued *next_due(const struct io_queue *q)
{
    struct queued *next = q->at[0];
    for (unsigned i = 1; i < q->n; i++)
        if (q->at[i]->due_ns < next->due_ns)
            next = q->at[i];
    return next;
}

static void queue_remove(struct io_queue *q, const struct queued *x)
{
    unsigned i = 0;
    while (q->at[i] != x)
        i++;
    memmove(&q->at[i], &q->at[i + 1], (q->n - i - 1) * sizeof(struct queued *));
    q->n--;
}

static Err disk_queue_wait(struct io_queue *q, struct io_write **ret)
{
    sched_point();
    while (q->n == 0)
        sched_wait_on(q, 0);
    struct queued *x = next_due(q);
    // What is told early is carried out as an ordinary write, which the page cache keeps until
    // then.
    bool is_early = sim_plant == PLANT_EARLY;
    while (!is_early && x->due_ns > sched_mono_ns()) {
        sched_wait_on(q, x->due_ns);
        x = next_due(q);
    }
    struct io_write *w = x->w;
    queue_remove(q, x);
    w->result = begin(q->d, "write of the queue", IO_OP_WRITE, w->file->path, w->at, w->part.n);
    under_way_remove(q->d, &x->at_device);
    if (w->result.kind == ERR_NONE)
        w->result = carry_out(w->file, w->part.p, w->part.n, w->at, !is_early);
    free(x);
    *ret = w;
    return OK;
}

static void disk_queue_close(struct io_queue *q)
{
    if (q == NULL)
        return;
    while (q->n > 0) {
        struct io_write *w;
        err_ignore(disk_queue_wait(q, &w)); // it never fails, and nobody asks for the result
    }
    free(q);
}

static const char *disk_queue_kind(const struct io_queue *q)
{
    (void)q;
    return "simulated";
}

// ---- Opening

struct sim_disk *sim_disk_open(struct io_mem *below, uint64_t seed, SimSpeed speed,
                               struct sim_power *power)
{
    static const struct io table = {
        .open = disk_open,
        .close = disk_close,
        .write = disk_write,
        .read = disk_read,
        .copies = io_one_copy,
        .read_copy = disk_read_copy,
        .mend = io_no_mend,
        .descriptor = io_no_descriptor,
        .sync = disk_sync,
        .size = disk_size,
        .truncate = disk_truncate,
        .allocate = disk_allocate,
        .lock = disk_lock,
        .rename = disk_rename,
        .unlink = disk_unlink,
        .mkdir = disk_mkdir,
        .sync_dir = disk_sync_dir,
        .list = disk_list,
        .space = disk_space,
        .wall_ns = disk_wall_ns,
        .mono_ns = disk_mono_ns,
        .random = disk_random,
        .sleep_ns = disk_sleep_ns,
        .queue_open = disk_queue_open,
        .queue_close = disk_queue_close,
        .queue_submit = disk_queue_submit,
        .queue_wait = disk_queue_wait,
        .queue_kind = disk_queue_kind,
    };
    struct sim_disk *d = xalloc(sizeof *d);
    d->io = table;
    d->io.self = d;
    d->mem = below;
    d->full_until_ns = INT64_MAX;
    d->faults = io_fault_open(io_mem_io(below), seed);
    d->below = io_fault_io(d->faults);
    d->speed = speed;
    d->power = power;
    CHECK(power->n < SIM_DISKS_MAX);
    power->disks[power->n++] = d;
    d->sector_bytes = sched_chance(2) ? 512 : 4096;
    return d;
}

void sim_disk_close(struct sim_disk *d)
{
    if (d == NULL)
        return;
    CHECK(d->write_count == 0);
    io_fault_close(d->faults);
    free(d);
}

struct io *sim_disk_io(struct sim_disk *d)
{
    return &d->io;
}

bool sim_disk_is_off(const struct io *io)
{
    return ((const struct sim_disk *)io->self)->power->is_off;
}

struct io_fault *sim_disk_faults(struct sim_disk *d)
{
    return d->faults;
}
