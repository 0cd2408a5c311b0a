// SPDX-License-Identifier: Apache-2.0
#include "store/zones/zones_test_help.h"

#include <string.h>

const Str trio_dirs[ZONES] = { S_INIT("/a"), S_INIT("/b"), S_INIT("/c") };

void trio_init(struct trio *r)
{
    *r = (struct trio){ 0 };
    for (unsigned i = 0; i < ZONES; i++) {
        r->disks[i] = io_mem_open(i + 1);
        r->faults[i] = io_fault_open(io_mem_io(r->disks[i]), i + 1);
        r->config.zone_io[i] = io_fault_io(r->faults[i]);
        r->config.dirs[i] = trio_dirs[i];
    }
    r->config.io = io_real();
    r->config.root = S("/data");
    r->config.count = ZONES;
    r->config.probe_ns = 3600 * NS_PER_S; // tests say when
    r->config.lag_ns = 60 * NS_PER_S;     // a thread that gets no processor does not lag
}

Err trio_open(struct trio *r, struct arena *a)
{
    Err e = zones_open(&r->config, a, &r->set, &r->problem);
    r->io = e.kind == ERR_NONE ? zones_io(r->set) : NULL;
    return e;
}

void trio_close(struct trio *r)
{
    zones_close(r->set);
    r->set = NULL;
}

void trio_done(struct trio *r)
{
    trio_close(r);
    for (unsigned i = 0; i < ZONES; i++) {
        io_fault_close(r->faults[i]);
        io_mem_close(r->disks[i]);
    }
}

struct io *trio_disk_io(const struct trio *r, unsigned i)
{
    return io_mem_io(r->disks[i]);
}

unsigned trio_state_of(struct trio *r, unsigned i)
{
    ZoneStatus st[ZONES_MAX];
    EXPECT_INT(ZONES, zones_status(r->set, st));
    return st[i].state;
}

ErrKind trio_cause_of(struct trio *r, unsigned i)
{
    ZoneStatus st[ZONES_MAX];
    zones_status(r->set, st);
    return st[i].cause.kind;
}

// Waits as long as it takes, and for a test that has failed not for ever.
void trio_wait_state(struct trio *r, unsigned i, unsigned state)
{
    int64_t until = io_real()->mono_ns(io_real()) + WAIT_SECONDS_MAX * NS_PER_S;
    while (trio_state_of(r, i) != state) {
        EXPECT(io_real()->mono_ns(io_real()) < until);
        io_real()->sleep_ns(io_real(), NS_PER_MS);
    }
}

void trio_repair(struct trio *r, unsigned i)
{
    zones_probe(r->set);
    trio_wait_state(r, i, ZONE_MEMBER);
}

Str trio_content(struct arena *a, size_t n, unsigned seed)
{
    char *p = arena_new(a, char, n);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)(seed * 31 + i * 7 + (i >> 12));
    return str_from(p, n);
}

void trio_write_new(struct io *io, struct arena *a, const char *path, Str bytes)
{
    EXPECT_OK(io_write_file(io, a, str_of(path), bytes));
}

Str trio_read_in(struct io *io, struct arena *a, Str path)
{
    Str s = S("");
    EXPECT_OK(io_read_file(io, a, path, 64 << 20, &s));
    return s;
}

Str trio_in_zone(const struct trio *r, struct arena *a, unsigned i, const char *rel)
{
    return trio_read_in(trio_disk_io(r, i), a, str_cat3(a, trio_dirs[i], S("/"), str_of(rel)));
}

// All zones hold the same names with the same bytes.
void trio_expect_same_dir(const struct trio *r, struct arena *a, unsigned i, Str rel)
{
    IoName *x, *y;
    size_t n = 0, m = 0;
    EXPECT_OK(
        trio_disk_io(r, 0)->list(trio_disk_io(r, 0), a, str_cat(a, trio_dirs[0], rel), &x, &n));
    EXPECT_OK(
        trio_disk_io(r, i)->list(trio_disk_io(r, i), a, str_cat(a, trio_dirs[i], rel), &y, &m));
    EXPECT_INT(n, m);
    for (size_t k = 0; k < n; k++) {
        EXPECT_STR(x[k].name, y[k].name);
        Str path = str_cat3(a, rel, S("/"), x[k].name);
        if (x[k].is_dir) {
            trio_expect_same_dir(r, a, i, path);
        } else if (!str_eq(x[k].name, S("zone.hrz"))) {
            Str p = trio_read_in(trio_disk_io(r, 0), a, str_cat(a, trio_dirs[0], path));
            Str q = trio_read_in(trio_disk_io(r, i), a, str_cat(a, trio_dirs[i], path));
            EXPECT_INT(p.n, q.n);
            EXPECT(memcmp(p.p, q.p, p.n) == 0);
        }
    }
}

void trio_expect_same(const struct trio *r, struct arena *a)
{
    for (unsigned i = 1; i < ZONES; i++)
        trio_expect_same_dir(r, a, i, S(""));
}

void trio_fill(struct trio *r, struct arena *a)
{
    EXPECT_OK(r->io->mkdir(r->io, S("/data/journal")));
    trio_write_new(r->io, a, "/data/journal/one", trio_content(a, FILE_BYTES, 1));
    trio_write_new(r->io, a, "/data/journal/two.hrc", trio_content(a, 5000, 2));
    trio_write_new(r->io, a, "/data/db", trio_content(a, 100000, 3));
}

// What a power cut leaves of all disks; the set must be closed.
void trio_crash(struct trio *r, uint64_t seed)
{
    for (unsigned i = 0; i < ZONES; i++) {
        struct io_mem *later = io_mem_crash(r->disks[i], (IoMemCrash){ .seed = seed + i });
        io_fault_close(r->faults[i]);
        io_mem_close(r->disks[i]);
        r->disks[i] = later;
        r->faults[i] = io_fault_open(io_mem_io(later), seed + i);
        r->config.zone_io[i] = io_fault_io(r->faults[i]);
    }
}

// An empty disk in place of this one.
void trio_replace_disk(struct trio *r, unsigned i)
{
    io_fault_close(r->faults[i]);
    io_mem_close(r->disks[i]);
    r->disks[i] = io_mem_open(100 + i);
    r->faults[i] = io_fault_open(io_mem_io(r->disks[i]), 100 + i);
    r->config.zone_io[i] = io_fault_io(r->faults[i]);
}
