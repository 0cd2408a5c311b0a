// SPDX-License-Identifier: Apache-2.0
// Bit rot. A copy of the disk gets a few flipped bits; the store may refuse it or read what was
// written, but never anything else.
#include "store/sim/sim_priv.h"

#include <inttypes.h>
#include <string.h>

struct rot {
    struct sim_model *model;
    bool is_told;                   // something was ERR_CORRUPT
    bool is_in_journal;             // the only flip
    uint64_t lost_least, kept_most; // positions
};

static void note_kept(struct sim_model *m, uint64_t shard, const LogEntry *e)
{
    m->records[model_verify(m, shard, e) - m->records].is_seen = true;
}

// One of the files of a directory; NULL: there is none.
static const IoName *any_file(struct io *io, struct arena *a, Str dir)
{
    IoName *names;
    size_t n = 0, files = 0;
    if (io->list(io, a, dir, &names, &n).kind != ERR_NONE)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (!names[i].is_dir && names[i].bytes > 0)
            names[files++] = names[i];
    return files > 0 ? &names[sched_below(files)] : NULL;
}

const IoName *sim_flip_any(struct io *io, struct arena *a, Str dir)
{
    const IoName *name = any_file(io, a, dir);
    if (name == NULL)
        return NULL;
    Str path = str_cat3(a, dir, S("/"), name->name);
    uint64_t at = sched_below(sched_chance(4) ? MIN(name->bytes, UINT64_C(8192)) : name->bytes);
    CHECK(io_flip(io, path, at, (unsigned char)(1u << sched_below(8))).kind == ERR_NONE);
    sim_counts.flips++;
    sim_tell("bit rot in %.*s at %" PRIu64, FMT(path), at);
    return name;
}

// Flips one bit of a file of the log, durably; meanwhile nobody renames it.
static void flip(struct rot *r, struct io_mem *mem)
{
    AUTO(arena) a = arena_open();
    sched_hold(true);
    const IoName *name =
        sim_flip_any(io_mem_io(mem), a, sched_chance(2) ? S("/log/sealed") : SIM_LOG_DIR);
    r->is_in_journal = name != NULL && str_starts(name->name, S("journal-"));
    sched_hold(false);
}

static void rot_read(struct rot *r, struct log *l)
{
    struct sim_model *m = r->model;
    for (size_t i = 0; i < m->n; i++)
        m->records[i].is_seen = false;
    for (size_t i = 0; i < m->shard_count; i++) {
        if (m->shards[i].dropped != KNOWN_NO)
            continue;
        Err e = model_read_all(m, l, m->shards[i].id, note_kept);
        if (e.kind != ERR_NONE && e.kind != ERR_CORRUPT)
            sim_fail("damage is read as %s: %s", err_kind_name(e.kind), e.text);
        r->is_told |= e.kind == ERR_CORRUPT;
    }
}

// Where nothing was told, what is missing is at most the newest blocks, which nobody can tell from
// a torn end; and after an orderly end not even those.
static void rot_judge(struct rot *r, bool may_be_torn)
{
    struct sim_model *m = r->model;
    model_tick(m);
    r->lost_least = UINT64_MAX;
    sim_counts.flips_told += r->is_told;
    if (r->is_told)
        return;
    for (size_t i = 0; i < m->n; i++) {
        const struct sim_record *x = &m->records[i];
        bool must_be = model_must_hold(m, x);
        if (x->is_seen)
            r->kept_most = MAX(r->kept_most, x->position);
        else if (must_be)
            r->lost_least = MIN(r->lost_least, x->position);
    }
    if (r->lost_least == UINT64_MAX)
        return;
    if (!may_be_torn || r->lost_least < r->kept_most)
        sim_fail("bit rot loses position %" PRIu64 " without a word, though %" PRIu64 " is there",
                 r->lost_least, r->kept_most);
}

// `late`: the bits flip while the store is open.
void sim_rot_trial(struct sim_world *w, bool late)
{
    struct sim_life l = { .w = w };
    struct rot rot = { .model = &w->model };
    AUTO(io_mem) copy = io_mem_crash(w->mem[0], (IoMemCrash){ .keep = IO_KEEP_ALL });
    AUTO(sim_disk) disk = sim_disk_open(copy, sched_random(), SIM_QUICK, &l.power);
    LogConfig config = sim_log_config(&l, sim_disk_io(disk));
    config.tail_cache_bytes = 1;
    if (!late)
        flip(&rot, copy);
    struct sim_shard before[SIM_SHARDS_MAX]; // what the copy is told is forgotten
    memcpy(before, w->model.shards, sizeof before);
    Err e = log_open(&config, &l.log);
    if (e.kind == ERR_NONE)
        e = sim_declare(&w->model, l.log);
    memcpy(w->model.shards, before, sizeof before);
    if (e.kind != ERR_NONE && (late || e.kind != ERR_CORRUPT))
        sim_fail("opening a %s disk fails with %s: %s", late ? "sound" : "damaged",
                 err_kind_name(e.kind), e.text);
    rot.is_told = e.kind != ERR_NONE;
    if (e.kind == ERR_NONE) {
        for (unsigned i = 0; late && i < 3; i++)
            flip(&rot, copy);
        rot_read(&rot, l.log);
    }
    rot_judge(&rot, !late && !w->was_closed && rot.is_in_journal);
    log_close(l.log);
}
