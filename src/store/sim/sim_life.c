// SPDX-License-Identifier: Apache-2.0
// The lives of a world: what goes wrong in each, who does what meanwhile, and how it ends.
#include "store/sim/sim_priv.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    LIVES_MAX = 7,
    ACTS_MAX = 90, // of one life
    CUT_MAX = 260, // changes after which the power goes
    FULL_SECONDS_MAX = 30,
    ANSWER_SECONDS_MAX = 10 * FULL_SECONDS_MAX,
    SERVICE_SECONDS_MAX = 200, // a failed sealing is tried again after up to 64
    DECLARED_MAX = SIM_SHARDS_MAX,
    KV_ONE_IN = 4, // worlds
    ZONES_ONE_IN = 8,
};
#define RECORD_BYTES_MOST ((size_t)12 << 10)

SimCounts sim_counts;

// ---- What goes wrong

static struct sim_plan make_plan(const struct sim_world *w)
{
    struct sim_plan p = {
        .speed = (SimSpeed)(sched_chance(3) ? sched_below(4) : SIM_QUICK),
        .cuts = !sched_chance(4),
        .cut_after = sched_below(sched_chance(3) ? 24 : CUT_MAX) * w->disks,
        .steps_wall = sched_chance(10),
        .bad = SIM_DISKS_MAX,
    };
    if (w->disks > 1) {
        zones_plan(w, &p);
        return p;
    }
    p.bad = 0;
    p.fails = sched_chance(4);
    p.fills = sched_chance(5);
    p.breaks_sync = sched_chance(8);
    p.lies = sched_chance(60);
    return p;
}

void sim_plan_failures(struct sim_disk *d)
{
    static const unsigned kinds[] = {
        IO_OP_WRITE, IO_OP_WRITE,  IO_OP_WRITE,    IO_OP_SYNC,  IO_OP_SYNC_DIR, IO_OP_READ,
        IO_OP_OPEN,  IO_OP_RENAME, IO_OP_ALLOCATE, IO_OP_SIZE,  IO_OP_UNLINK,   IO_OP_TRUNCATE,
        IO_OP_LIST,  IO_OP_SPACE,  IO_OP_LOCK,     IO_OP_MKDIR,
    };
    const Str parts[] = {
        { 0 }, S("/kv"), S("/log"), S("/journal-"), S("/sealed"), S("checkpoint")
    };
    size_t n = 1 + sched_below(3);
    for (size_t i = 0; i < n; i++) {
        IoFault f = {
            .ops = kinds[sched_below(COUNT_OF(kinds))],
            .path_part = parts[sched_below(COUNT_OF(parts))],
            .skip = sched_below(sched_chance(2) ? 120 : 10),
            .times = sched_chance(6) ? 1 + sched_below(6) : 1,
            .tear = sched_below(3),
        };
        io_fault_add(sim_disk_faults(d), f);
        sim_tell("the operations %#x on \"%.*s\" fail %" PRIu64 " times after %" PRIu64, f.ops,
                 FMT(f.path_part), f.times, f.skip);
    }
}

static void fill_disk(struct sim_life *l)
{
    uint64_t free_bytes = 0, total = 0;
    struct io *io = io_mem_io(l->w->mem[l->plan.bad]);
    CHECK(io->space(io, S("/"), &free_bytes, &total).kind == ERR_NONE);
    uint64_t used = total - free_bytes;
    io_mem_set_capacity(l->w->mem[l->plan.bad], used + sched_below(600 << 10));
    l->is_full = true;
    l->full_from_ns = sched_mono_ns();
    // The reader frees it sooner, but there is none before the store is open.
    sim_disk_full_until(l->disk[l->plan.bad], l->full_from_ns + 2 * FULL_SECONDS_MAX * NS_PER_S);
    sim_tell("the disk is full soon");
}

static void free_disk(struct sim_life *l)
{
    for (size_t i = 0; i < l->w->disks; i++)
        io_mem_set_capacity(l->w->mem[i], UINT64_MAX);
    l->is_full = false;
}

static void plant(struct sim_life *l)
{
    struct sim_plan *p = &l->plan;
    if (p->cuts)
        sim_power_cut_after(&l->power, p->cut_after);
    if (p->fails)
        sim_plan_failures(l->disk[p->bad]);
    if (p->breaks_sync)
        io_mem_break_sync(l->w->mem[p->bad], sched_below(12));
    if (p->lies)
        io_fault_add(sim_disk_faults(l->disk[p->bad]),
                     (IoFault){ .ops = IO_OP_WRITE | IO_OP_SYNC | IO_OP_SYNC_DIR,
                                .skip = sched_below(100),
                                .times = 1 + sched_below(50),
                                .lies = true });
    if (p->fills)
        fill_disk(l);
    sim_tell("speed %d%s%s%s%s", (int)p->speed, p->breaks_sync ? ", a sync fails and forgets" : "",
             p->lies ? ", the disk lies" : "", p->steps_wall ? ", the clock steps" : "",
             p->cuts ? "" : ", no power cut planned");
    if (p->cuts)
        sim_tell("the power goes with change %" PRIu64, p->cut_after);
}

// ---- Acting

static void log_fatal(void *self, Err e)
{
    CHECK(e.kind != ERR_NONE);
    ((struct sim_life *)self)->log_died = true;
}

static void append_done(struct log_append *a, Err e)
{
    struct sim_append *p = (struct sim_append *)a;
    p->err = e;
    p->is_done = true;
    sched_wake_all(p);
}

static bool act_append(struct sim_life *l)
{
    struct sim_append *p = model_append_new(&l->w->model, RECORD_BYTES_MOST);
    if (p == NULL)
        return false;
    sim_counts.appends++;
    p->append.done = append_done;
    p->append.held = p->number % 2 == 0; // no draw: stories stay what they were
    Err e = log_append(l->log, &p->append);
    if (p->append.held)
        log_commit(l->log);
    if (e.kind == ERR_NONE) {
        l->open[l->open_count++] = p;
        return true;
    }
    bool is_named = e.kind == ERR_FULL || e.kind == ERR_LIMIT || e.kind == ERR_IO;
    if (!is_named)
        sim_fail("an append was refused with %s: %s", err_kind_name(e.kind), e.text);
    model_append_withdraw(&l->w->model, p);
    return false;
}

static Err collect(struct sim_life *l, size_t i)
{
    struct sim_append *p = l->open[i];
    for (int seconds = 0; !p->is_done; seconds++) {
        if (seconds == ANSWER_SECONDS_MAX)
            sim_fail("append %u gets no answer", p->number);
        sched_wait_on(p, sched_mono_ns() + NS_PER_S);
    }
    Err e = p->err;
    sim_counts.errors += e.kind == ERR_IO;
    sim_counts.fulls += e.kind == ERR_FULL;
    if (e.kind != ERR_NONE && l->w->disks > 1 && !zones_are_beyond(l) && !l->power.is_off)
        sim_fail("append %u is answered with %s: %s, though the other zones are well", p->number,
                 err_kind_name(e.kind), e.text);
    l->open[i] = l->open[--l->open_count];
    model_append_settle(&l->w->model, p);
    return e;
}

static void act_end(struct sim_life *l)
{
    struct sim_shard *s = model_any_live(&l->w->model);
    uint64_t id = s->id;
    s->ended = s->ended == KNOWN_NO ? KNOWN_MAYBE : s->ended;
    LogPlace end = { 0 };
    if (log_shards_end(l->log, &id, 1, &end).kind != ERR_NONE)
        return;
    if (s->ended == KNOWN_YES && s->end != end.position)
        sim_fail("shard %" PRIu64 " ended twice", id);
    s->ended = KNOWN_YES;
    s->end = end.position;
    l->w->model.highest = MAX(l->w->model.highest, end.position);
}

// A new one takes its place first.
static void act_drop(struct sim_life *l)
{
    struct sim_shard *s = model_any_live(&l->w->model);
    struct sim_shard *next = model_add_shard(&l->w->model);
    if (next == NULL)
        return;
    err_ignore(log_shard_add(l->log, next->id, next->retention_ns)); // fails only for number 0
    s->dropped = KNOWN_MAYBE;
    if (log_shards_drop(l->log, &s->id, 1).kind == ERR_NONE)
        s->dropped = KNOWN_YES;
}

static void act_retention(struct sim_life *l)
{
    struct sim_shard *s = model_any_live(&l->w->model);
    int64_t next_ns = model_any_retention();
    model_change_retention(&l->w->model, s, MIN(s->retention_ns, next_ns));
    err_ignore(log_shard_add(l->log, s->id, next_ns)); // fails only for number 0
    model_change_retention(&l->w->model, s, next_ns);
}

// Whatever has been done is seen by those who read.
static void act_seal(struct sim_life *l)
{
    Err e = log_seal(l->log);
    bool is_named = e.kind == ERR_NONE || e.kind == ERR_FULL || e.kind == ERR_IO;
    if (!is_named && !l->w->model.is_lenient)
        sim_fail("sealing fails with %s: %s", err_kind_name(e.kind), e.text);
}

// Behind a mirror only the wall clock moves: what is under way would seem to lag.
static void pass_quickly(struct sim_life *l, int64_t seconds)
{
    if (l->zones != NULL)
        sched_step_wall(seconds * NS_PER_S);
    else
        sched_advance(seconds * NS_PER_S);
}

static void act_time(struct sim_life *l)
{
    model_tick(&l->w->model); // the log may have seen this moment before the clock is set back
    switch (sched_below(5)) {
    case 0:
        if (sched_chance(6))
            pass_quickly(l, (int64_t)sched_below(200) * 3600);
        break;
    case 1:
        pass_quickly(l, (int64_t)sched_below(400));
        break;
    case 2:
        if (l->plan.steps_wall)
            sched_step_wall((int64_t)sched_below(200) * NS_PER_S - 100 * NS_PER_S);
        break;
    default:
        sched_sleep((int64_t)sched_below(3000) * NS_PER_MS);
    }
    model_tick(&l->w->model);
    if (sched_chance(2))
        log_expire(l->log);
    model_tick(&l->w->model);
}

static void act(struct sim_life *l)
{
    uint64_t what = sched_below(100);
    if (what < 60 && l->open_count < SIM_OPEN_MAX) {
        act_append(l);
    } else if (what < 82) {
        if (l->open_count > 0)
            err_ignore(collect(l, sched_below(l->open_count))); // the model has judged it
    } else if (what < 84) {
        act_end(l);
    } else if (what < 87) {
        act_drop(l);
    } else if (what < 88) {
        act_retention(l);
    } else if (what < 94) {
        act_time(l);
    } else if (what < 95 && l->is_full) {
        free_disk(l);
    } else if (what < 97) {
        act_seal(l);
    } else if (what < 98 && l->zones != NULL) {
        zones_act(l);
    } else {
        sched_sleep((int64_t)sched_below(20) * NS_PER_MS);
    }
}

// ---- Tasks beside

static void read_some(struct sim_life *l, struct arena *a)
{
    struct sim_model *m = &l->w->model;
    struct sim_shard *s = &m->shards[sched_below(m->shard_count)];
    Known dropped = s->dropped;
    unsigned changes = s->changes;
    int64_t over_ms = (sched_wall_ns() - s->retention_ns) / NS_PER_MS;
    uint64_t from = sched_chance(2) ? 0 : sched_below(m->highest + 1);
    LogBatch batch;
    LogRead read = {
        .shard = s->id,
        .from = from,
        .max_records = 1 + sched_below(50),
        .max_bytes = 1 + sched_below(60000),
        .cached_only = sched_chance(8),
    };
    if (log_read(l->log, a, &read, &batch).kind != ERR_NONE)
        return; // what may fail and what may not is told by the checks
    if (dropped == KNOWN_YES)
        sim_fail("shard %" PRIu64 " was dropped and is read", s->id);
    sim_counts.reads++;
    uint64_t position = 0;
    for (size_t i = 0; i < batch.n; i++) {
        if (batch.at[i].position < from || batch.at[i].position <= position)
            sim_fail("a read of shard %" PRIu64 " is out of order", s->id);
        position = batch.at[i].position;
        if (changes == s->changes && changes % 2 == 0 && batch.at[i].arrival_ms < over_ms)
            sim_fail("a read of shard %" PRIu64 " gives what is past its retention", s->id);
        model_read(m, s->id, &batch.at[i]);
    }
}

// The first position at or after a time and the span, against all that was acknowledged before
// they were asked for.
static void find_time(struct sim_life *l)
{
    struct sim_model *m = &l->w->model;
    const struct sim_shard *s = &m->shards[sched_below(m->shard_count)];
    if (m->n == 0 || s->dropped != KNOWN_NO)
        return;
    uint64_t newest = m->highest, position = 0;
    int64_t at_ms = m->records[sched_below(m->n)].arrival_ms + (int64_t)sched_below(3) - 1;
    LogSpan span;
    if (log_span(l->log, s->id, &span).kind != ERR_NONE ||
        log_find_time(l->log, s->id, at_ms, &position).kind != ERR_NONE)
        return; // it may have been dropped meanwhile, or be on a disk that fails
    model_tick(m);
    for (size_t i = 0; i < m->n; i++) {
        const struct sim_record *r = &m->records[i];
        bool counts =
            r->shard == s->id && r->position != 0 && r->position <= newest && model_must_hold(m, r);
        if (!counts)
            continue;
        if ((r->arrival_ms >= at_ms) != (r->position >= position))
            sim_fail("shard %" PRIu64 ": %" PRIu64 " is said to be the first at %" PRId64
                     ", but %" PRIu64 " arrived at %" PRId64,
                     s->id, position, at_ms, r->position, r->arrival_ms);
        if (r->position < span.first || r->position >= span.next ||
            r->arrival_ms > span.last_arrival_ms)
            sim_fail("shard %" PRIu64 ": %" PRIu64 " lies outside of its span", s->id, r->position);
    }
}

static void *reader_run(void *p)
{
    struct sim_life *l = p;
    AUTO(arena) a = arena_open();
    while (!l->stops) {
        arena_reset(a);
        read_some(l, a);
        if (sched_chance(4))
            find_time(l);
        // What cannot be made void waits for space, and others wait for it; so space returns.
        if (l->is_full && sched_mono_ns() - l->full_from_ns > FULL_SECONDS_MAX * NS_PER_S)
            free_disk(l);
        sched_sleep((int64_t)sched_below(30) * NS_PER_MS + 1);
    }
    return NULL;
}

struct kv_task {
    struct sim_life *life;
    unsigned number;
};

static void *kv_run_task(void *p)
{
    struct kv_task *t = p;
    while (!t->life->stops) {
        err_ignore(sim_kv_act(&t->life->w->kv, t->number)); // the model has judged it
        sched_sleep((int64_t)sched_below(60) * NS_PER_MS + 1);
    }
    return NULL;
}

// ---- Opening. What is not OK must have a reason in the plan.

void sim_expect_reason(const struct sim_life *l, const char *what, Err e)
{
    bool is_alone = l->w->disks == 1;
    bool has_reason = l->power.is_off || zones_are_beyond(l) || l->w->model.is_lenient ||
                      (is_alone && (l->plan.fails || l->plan.breaks_sync ||
                                    (l->plan.fills && e.kind == ERR_FULL)));
    bool is_named = e.kind == ERR_IO || e.kind == ERR_FULL || l->w->model.is_lenient;
    if (!has_reason || !is_named)
        sim_fail("%s fails with %s: %s", what, err_kind_name(e.kind), e.text);
}

LogConfig sim_log_config(struct sim_life *l, struct io *io)
{
    static const size_t caches[] = { 1, 16 << 10, 1 << 20 };
    uint64_t file_bytes = UINT64_C(64 << 10) << sched_below(3);
    uint64_t seal_bytes = sched_chance(2) ? 1 : file_bytes * (1 + sched_below(3));
    return (LogConfig){
        .io = io,
        .dir = SIM_LOG_DIR,
        .file_bytes = file_bytes,
        .seal_bytes = seal_bytes,
        .unsealed_bytes_max = sched_chance(4) ? MAX(2 * seal_bytes, 4 * file_bytes) : 0,
        .read_cache_bytes = sched_chance(2) ? 1 : 1 << 20,
        .reserve_bytes = 128 << 10,
        .tail_cache_bytes = caches[sched_below(COUNT_OF(caches))],
        .queue_bytes_max = sched_chance(8) ? 20 << 10 : 1 << 20,
        .depth = (unsigned)sched_below(5),
        .fatal = log_fatal,
        .fatal_self = l,
    };
}

// Declares what lives and drops again what nobody knows to be dropped.
Err sim_declare(struct sim_model *m, struct log *log)
{
    uint64_t unsure[DECLARED_MAX] = { 0 };
    size_t n = 0;
    for (size_t i = 0; i < m->shard_count; i++) {
        const struct sim_shard *s = &m->shards[i];
        if (s->dropped == KNOWN_NO)
            TRY(log_shard_add(log, s->id, s->retention_ns));
        else if (s->dropped == KNOWN_MAYBE)
            unsure[n++] = s->id;
    }
    TRY(log_shards_drop(log, unsure, n));
    for (size_t i = 0; i < n; i++)
        model_shard(m, unsure[i])->dropped = KNOWN_YES;
    return log_ready(log);
}

static Err open_log(struct sim_life *l, struct io *io)
{
    LogConfig config = sim_log_config(l, io);
    TRY(log_open(&config, &l->log));
    TRY(sim_declare(&l->w->model, l->log));
    return model_check(&l->w->model, l->log);
}

static Err open_kv(struct sim_life *l, struct io *io)
{
    if (!l->w->has_kv)
        return OK;
    TRY(sim_kv_open(&l->w->kv, io));
    return sim_kv_check(&l->w->kv, l->w->model.is_lenient);
}

// ---- A life

static void run_tasks(struct sim_life *l)
{
    pthread_t reader, kv[SIM_KV_TASKS];
    struct kv_task tasks[SIM_KV_TASKS];
    unsigned kv_tasks = l->w->has_kv ? SIM_KV_TASKS : 0;
    CHECK(pthread_create(&reader, NULL, reader_run, l) == 0);
    for (unsigned i = 0; i < kv_tasks; i++) {
        tasks[i] = (struct kv_task){ l, i };
        CHECK(pthread_create(&kv[i], NULL, kv_run_task, &tasks[i]) == 0);
    }
    uint64_t acts = 10 + sched_below(ACTS_MAX);
    for (uint64_t i = 0; i < acts && !l->log_died && !l->power.is_off; i++)
        act(l);
    l->stops = true;
    if (l->plan.cuts)
        sim_power_off(&l->power);
    CHECK(pthread_join(reader, NULL) == 0);
    for (unsigned i = 0; i < kv_tasks; i++)
        CHECK(pthread_join(kv[i], NULL) == 0);
}

static void make_well(struct sim_life *l)
{
    for (size_t i = 0; i < l->w->disks; i++) {
        io_fault_clear(sim_disk_faults(l->disk[i]));
        sim_disk_die(l->disk[i], false);
        sim_disk_hang(l->disk[i], 0);
    }
    free_disk(l);
}

// When everything works again, so does the log: at once, or after the next look at the disk.
static void expect_service(struct sim_life *l)
{
    bool is_well = l->log_died || l->power.is_off;
    for (int i = 0; i < SERVICE_SECONDS_MAX && !is_well; i++) {
        if (act_append(l))
            is_well = collect(l, l->open_count - 1).kind == ERR_NONE;
        is_well = is_well || l->w->model.appends == SIM_APPENDS_MAX || l->log_died;
        if (!is_well)
            sched_sleep(NS_PER_S);
    }
    if (!is_well)
        sim_fail("appends are refused though the disk is well and has space");
}

static void count(struct log *log)
{
    LogStats st;
    log_stats(log, &st);
    sim_counts.seals += st.seals;
    sim_counts.merges += st.merges;
    sim_counts.expired += st.expired;
}

static void end_life(struct sim_life *l)
{
    free_disk(l);
    while (l->open_count > 0)
        err_ignore(collect(l, sched_below(l->open_count))); // the model has judged it
    if (!l->plan.cuts)
        make_well(l);
    if (l->log != NULL) {
        if (!l->plan.cuts && l->w->model.n + 100 * SIM_APPEND_RECORDS < SIM_RECORDS_MAX)
            expect_service(l);
        count(l->log);
    }
    log_close(l->log);
    kv_close(l->w->kv.db);
    l->w->kv.db = NULL;
}

// What the disks hold when the power has gone, or the program was killed.
static void crash(struct sim_world *w, struct sim_life *l)
{
    w->was_closed = !l->power.is_off && l->log != NULL && !l->log_died;
    for (size_t i = 0; i < w->disks; i++) {
        io_mem_set_capacity(w->mem[i], UINT64_MAX);
        struct io_mem *after =
            io_mem_crash(w->mem[i], (IoMemCrash){
                                        .seed = sched_random(),
                                        .keep = sched_below(3),
                                        .sector_bytes = sched_chance(2) ? 512 : 4096,
                                    });
        io_mem_close(w->mem[i]);
        w->mem[i] = after;
    }
    sim_counts.cuts++;
    w->model.is_lenient |= l->plan.lies && w->disks == 1;
}

static void open_disks(struct sim_life *l)
{
    for (size_t i = 0; i < l->w->disks; i++)
        l->disk[i] = sim_disk_open(l->w->mem[i], sched_random(), l->plan.speed, &l->power);
}

static void close_disks(struct sim_life *l)
{
    for (size_t i = 0; i < l->w->disks; i++)
        sim_disk_close(l->disk[i]);
}

static Err open_all(struct sim_life *l)
{
    struct io *io = sim_disk_io(l->disk[0]);
    if (l->w->disks > 1)
        TRY(zones_begin(l, &io));
    Err e = open_kv(l, io);
    if (e.kind != ERR_NONE)
        sim_expect_reason(l, "opening kv", e);
    TRY(e);
    e = open_log(l, io);
    if (e.kind != ERR_NONE)
        sim_expect_reason(l, "opening the log", e);
    return e;
}

static void live(struct sim_world *w)
{
    struct sim_life l = { .w = w, .plan = make_plan(w) };
    sim_counts.lives++;
    open_disks(&l);
    plant(&l);
    if (open_all(&l).kind == ERR_NONE)
        run_tasks(&l);
    end_life(&l);
    if (w->disks > 1)
        zones_end(&l);
    crash(w, &l);
    close_disks(&l);
}

// Nothing may be missing when the disks are well.
static void live_well(struct sim_world *w)
{
    struct sim_life l = { .w = w, .plan.bad = SIM_DISKS_MAX };
    open_disks(&l);
    sim_tell("a life without faults");
    err_ignore(open_all(&l)); // there is no reason for an error
    end_life(&l);
    if (w->disks > 1)
        zones_end(&l);
    close_disks(&l);
}

static void make_world(struct sim_world *w, uint64_t seed)
{
    bool has_zones = sched_chance(ZONES_ONE_IN) || sim_plant >= PLANT_ZONES_FIRST;
    *w = (struct sim_world){ .disks = has_zones ? SIM_DISKS_MAX : 1 };
    for (size_t i = 0; i < w->disks; i++)
        w->mem[i] = io_mem_open(seed + i);
    model_init(&w->model);
    w->has_kv = sched_chance(KV_ONE_IN);
    if (w->disks > 1)
        zones_make(w);
}

uint64_t sim_world_run(uint64_t seed)
{
    sched_begin(seed, INT64_C(1700000000) * NS_PER_S);
    struct sim_world w;
    make_world(&w, seed);
    uint64_t lives = 1 + sched_below(LIVES_MAX);
    for (uint64_t i = 0; i < lives && !w.model.is_lenient; i++) {
        sim_tell("life %" PRIu64, i + 1);
        live(&w);
        if (w.disks > 1)
            zones_damage(&w);
        else if (sched_chance(2) && !w.model.is_lenient)
            sim_rot_trial(&w, sched_chance(2));
    }
    live_well(&w);
    for (size_t i = 0; i < w.disks; i++)
        io_mem_close(w.mem[i]);
    uint64_t trace = sched_trace();
    sched_end();
    return trace;
}
