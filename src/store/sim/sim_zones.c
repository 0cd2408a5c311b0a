// SPDX-License-Identifier: Apache-2.0
// Zones: log and key-value store on three disks behind the mirror. One zone at a time may be in any
// trouble; then nothing is lost, service goes on, and the others hold the same after each start.
#include "codec/crc.h"
#include "store/sim/sim_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 64 << 20, REPAIR_SECONDS_MAX = 3600 };
#define ZONE_DIR S("/z")
#define ALL ((1u << SIM_DISKS_MAX) - 1)
#define SETTLE_NS (60 * NS_PER_S) // in which every operation of a slow disk ends

void zones_make(struct sim_world *w)
{
    w->whole = ALL;
    w->rots = sched_chance(3);
    w->rotten = sched_below(SIM_DISKS_MAX);
}

// ---- Which zone may be in trouble

// The one that does not hold everything, or any if all do; SIM_DISKS_MAX: none may.
static size_t spare(const struct sim_world *w)
{
    unsigned missing = ALL & ~w->whole;
    if (w->rots)
        return (missing & ~(1u << w->rotten)) == 0 ? w->rotten : SIM_DISKS_MAX;
    if (missing == 0)
        return sched_below(SIM_DISKS_MAX);
    return (missing & (missing - 1)) == 0 ? (size_t)__builtin_ctz(missing) : SIM_DISKS_MAX;
}

void zones_plan(const struct sim_world *w, struct sim_plan *p)
{
    p->bad = spare(w);
    p->is_beyond = !w->is_formed; // a new set needs all zones
    if (w->rots || !w->is_formed || !sched_chance(3))
        p->speed = SIM_QUICK; // all are of the same: where they stall, any may lag
    if (p->bad == SIM_DISKS_MAX || !w->is_formed)
        return;
    switch (sched_below(14)) {
    case 0:
        p->fails = true;
        break;
    case 1:
        p->fills = true;
        break;
    case 2:
        p->breaks_sync = true;
        break;
    case 3:
        p->is_absent = true;
        break;
    case 4:
    case 5:
        p->dies = true;
        break;
    case 6:
        p->hangs = true;
        break;
    case 7:
        p->stalls = true;
        break;
    case 8:
        p->lies = !w->has_kv; // nobody can see that rows are older ones
        break;
    default:
        break;
    }
}

static void plant_trouble(struct sim_life *l)
{
    const struct sim_plan *p = &l->plan;
    if (p->bad == SIM_DISKS_MAX)
        return;
    struct sim_disk *d = l->disk[p->bad];
    if (p->is_absent)
        sim_disk_die(d, true);
    if (p->dies)
        io_fault_add(sim_disk_faults(d),
                     (IoFault){ .skip = sched_below(200), .times = UINT64_MAX });
    if (p->hangs)
        sim_disk_hang(d, sched_mono_ns() + (int64_t)sched_below(40) * NS_PER_S);
    if (p->stalls)
        sim_disk_set_speed(d, SIM_STALLING);
    sim_tell("zone %zu is the one in trouble%s%s%s%s", p->bad, p->is_absent ? ": it is absent" : "",
             p->dies ? ": it dies" : "", p->hangs ? ": it hangs" : "",
             p->stalls ? ": it stalls" : "");
}

static bool has_trouble(const struct sim_plan *p)
{
    return p->fails || p->fills || p->breaks_sync || p->lies || p->is_absent || p->dies ||
           p->hangs || p->stalls;
}

unsigned sim_zones_left, sim_zones_late;

// Where all disks are slow, others than the one in trouble may lag and be fenced as well, or be too
// slow to be members from the start. They count until the life ends: a log that has failed
// meanwhile does not come back.
bool zones_are_beyond(const struct sim_life *l)
{
    const struct sim_plan *p = &l->plan;
    unsigned in_trouble = has_trouble(p) ? 1u << p->bad : 0;
    if (p->speed >= SIM_SLOW)
        in_trouble |= sim_zones_left;
    return p->is_beyond || (in_trouble & (in_trouble - 1)) != 0;
}

void zones_act(struct sim_life *l)
{
    if (l->plan.bad == SIM_DISKS_MAX)
        return;
    struct sim_disk *d = l->disk[l->plan.bad];
    sim_disk_die(d, false);
    sim_disk_hang(d, 0);
    io_fault_clear(sim_disk_faults(d));
    zones_probe(l->zones);
}

// ---- Comparing the members

static bool is_compared(const struct sim_world *w, Str name)
{
    bool is_own = str_starts(name, S("zone.")) || str_ends(name, S(".zcopy"));
    return !is_own &&
           !(w->rots && str_ends(name, S(".hrc"))); // what rots there is found by readers
}

static Str read_file(struct io *io, struct arena *a, Str path)
{
    Str s = S("");
    CHECK(io_read_file(io, a, path, FILE_BYTES_MAX, &s).kind == ERR_NONE);
    return s;
}

static uint64_t mix(uint64_t h, Str s)
{
    return (h * 31 + s.n) * 31 + crc32c((uint32_t)h, s.p, s.n);
}

// Names and bytes of all files below a directory, as one number. An empty directory is as good as
// none: the mirror removes no directories.
static uint64_t digest(const struct sim_world *w, struct io *io, struct arena *a, Str dir,
                       uint64_t h)
{
    IoName *names = NULL;
    size_t n = 0;
    CHECK(io->list(io, a, dir, &names, &n).kind == ERR_NONE);
    for (size_t i = 0; i < n; i++) {
        Str path = str_cat3(a, dir, S("/"), names[i].name);
        if (names[i].is_dir)
            h = digest(w, io, a, path, h);
        else if (is_compared(w, names[i].name))
            h = mix(mix(h, path), read_file(io, a, path));
    }
    return h;
}

static unsigned members(const struct sim_life *l)
{
    ZoneStatus status[ZONES_MAX];
    size_t n = zones_status(l->zones, status);
    unsigned mask = 0;
    for (size_t i = 0; i < n; i++)
        mask |= status[i].state == ZONE_MEMBER ? 1u << i : 0;
    return mask;
}

static void expect_same(const struct sim_world *w, unsigned mask)
{
    AUTO(arena) a = arena_open();
    uint64_t first = 0;
    bool any = false;
    sched_hold(true);
    for (size_t i = 0; i < w->disks; i++) {
        if ((mask & (1u << i)) == 0)
            continue;
        uint64_t h = digest(w, io_mem_io(w->mem[i]), a, ZONE_DIR, 1);
        if (any && h != first)
            sim_fail("zone %zu holds something else than the other members", i);
        first = h;
        any = true;
    }
    sched_hold(false);
}

// ---- A life

// Whether the log of one zone is whole, and how far it goes.
static Err verify(void *self, struct io *io, Str dir, uint64_t *ret_score)
{
    AUTO(arena) tmp = arena_open();
    LogCheck found = { 0 };
    LogConfig config = sim_log_config(self, io);
    config.dir = str_cat(tmp, dir, SIM_LOG_DIR);
    TRY(log_check(&config, &found));
    *ret_score = found.newest_block;
    return OK;
}

Err zones_begin(struct sim_life *l, struct io **ret)
{
    static const int64_t lags_ms[] = { 200, 2000, 10000 };
    AUTO(arena) a = arena_open();
    sim_zones_left = sim_zones_late = 0;
    plant_trouble(l);
    ZonesConfig config = {
        .io = sim_disk_io(l->disk[0]),
        .root = S(""),
        .count = l->w->disks,
        .lag_ns = lags_ms[sched_below(COUNT_OF(lags_ms))] * NS_PER_MS,
        .probe_ns = (int64_t)(1 + sched_below(5000)) * NS_PER_MS,
        .verify = verify,
        .verify_self = l,
    };
    for (size_t i = 0; i < l->w->disks; i++) {
        config.zone_io[i] = sim_disk_io(l->disk[i]);
        config.dirs[i] = ZONE_DIR;
        sim_disk_mirrored(l->disk[i]);
    }
    Str problem;
    Err e = zones_open(&config, a, &l->zones, &problem);
    if (e.kind != ERR_NONE) {
        sim_tell("%.*s", FMT(problem));
        // The one in trouble may have left before, half copied, and is not repaired yet.
        if (has_trouble(&l->plan))
            l->w->whole &= ~(1u << l->plan.bad);
        if (!l->power.is_off) // it may look like damage then
            sim_expect_reason(l, "opening the zones", e);
        return e;
    }
    sim_zones_left |= ALL & ~members(l);
    l->plan.is_beyond = false;
    l->w->is_formed = true;
    if (!l->power.is_off)
        expect_same(l->w, members(l));
    *ret = zones_io(l->zones);
    return OK;
}

// When nobody is in trouble any more, all zones are repaired and hold the same.
static void expect_repair(struct sim_life *l)
{
    for (int i = 0; members(l) != ALL; i++) {
        if (i == REPAIR_SECONDS_MAX)
            sim_fail("a zone is not repaired though all are well");
        zones_probe(l->zones);
        sched_sleep(NS_PER_S);
    }
}

void zones_end(struct sim_life *l)
{
    if (l->zones == NULL && l->power.is_off)
        return;
    bool is_well = !l->plan.cuts && !l->power.is_off;
    for (size_t i = 0; i < l->w->disks; i++)
        sim_disk_set_speed(l->disk[i], SIM_QUICK);
    sched_sleep(SETTLE_NS); // also of a set that did not open: a thread that hung may be left
    if (l->zones == NULL)
        return;
    if (is_well)
        expect_repair(l);
    l->w->whole = members(l) & ~sim_zones_late;
    // Its fence may be on the disks already, though the power went before anybody was told.
    if (l->power.is_off && has_trouble(&l->plan))
        l->w->whole &= ~(1u << l->plan.bad);
    zones_close(l->zones);
    // A write that has failed in too many zones leaves them different until the next start.
    if (is_well && !l->plan.lies && !zones_are_beyond(l))
        expect_same(l->w, ALL);
    if (l->plan.lies)
        l->w->whole &= ~(1u << l->plan.bad);
}

// ---- Between lives

static void wipe(struct sim_world *w, size_t i)
{
    sim_tell("zone %zu is replaced by an empty disk", i);
    io_mem_close(w->mem[i]);
    w->mem[i] = io_mem_open(sched_random());
    w->whole &= ~(1u << i);
}

static void flip(struct sim_world *w, size_t i)
{
    static const char *const dirs[] = { "/z", "/z/log", "/z/log/sealed" };
    AUTO(arena) a = arena_open();
    struct io *io = io_mem_io(w->mem[i]);
    for (size_t n = 1 + sched_below(3); n > 0; n--)
        (void)sim_flip_any(io, a, str_of(dirs[w->has_kv ? 1 + sched_below(2) : sched_below(3)]));
    w->whole &= ~(1u << i);
}

void zones_damage(struct sim_world *w)
{
    size_t bad = spare(w);
    if (bad == SIM_DISKS_MAX || !w->is_formed)
        return;
    if (sched_chance(6))
        wipe(w, bad);
    else if (w->rots && sched_chance(2))
        flip(w, bad);
}
