// SPDX-License-Identifier: Apache-2.0
// Whether backups are what was stored: every byte by its hash, and the checkpoint and containers
// once more by what they say of themselves, as the log will read them after a restore.
#include "store/backup/backup_priv.h"

#include "base/map.h"

#include <stdlib.h>

struct verifying {
    struct backup_target *t;
    const BackupWatch *watch;
    struct arena *a;
    struct map *sound; // hashes of objects that were read and are
};

static Err check_hash(struct verifying *v, const BackupObject *o, const BackupFile *f)
{
    AUTO(arena) tmp = arena_open();
    if (o->bytes != f->bytes)
        return fail(ERR_CORRUPT, "the object has another size than it was stored with");
    struct file_reader r;
    TRY(file_reader_open(o->io, o->path, v->watch, &r));
    BackupBytes bytes = reader_bytes(&r);
    Str hash;
    Err e = bytes_hash(&bytes, tmp, &hash);
    file_reader_close(&r);
    TRY(e);
    return str_eq(hash, f->hash) ? OK : fail(ERR_CORRUPT, "the object is damaged");
}

static Err check_chunks(const BackupWatch *watch, struct container *c, bool tells_progress)
{
    size_t n;
    const ContainerShard *shards = container_shards(c, &n);
    for (size_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < shards[i].chunks; k++) {
            uint32_t row = shards[i].first_chunk + k;
            uint8_t *runs = NULL;
            if (watch_stops(watch))
                return fail(ERR_CLOSED, "stopped");
            TRY(container_read(c, shards[i].shard, row, 1, &runs));
            container_free_runs(runs, container_chunk(c, row)->raw_bytes);
            if (tells_progress)
                watch_add(watch, container_chunk(c, row)->stored_bytes);
        }
    }
    return OK;
}

static Err check_container(struct verifying *v, const BackupObject *o, const Checkpoint *cp,
                           const BackupFile *f)
{
    for (size_t i = 0; i < cp->container_count; i++) {
        const ContainerFacts *facts = &cp->containers[i];
        if (facts->number != f->number)
            continue;
        if (facts->id != f->id)
            break;
        AUTO(container) c = NULL;
        TRY(container_open_path(o->io, o->path, facts, &c));
        return check_chunks(v->watch, c, false);
    }
    return fail(ERR_CORRUPT, "the checkpoint does not know the container");
}

static Err check_file(struct verifying *v, const Checkpoint *cp, const BackupFile *f)
{
    AUTO(arena) tmp = arena_open();
    BackupObject o = { 0 };
    Err e = v->t->fetch(v->t, tmp, object_name(tmp, f->hash), &o);
    if (e.kind == ERR_NOT_FOUND)
        return fail(ERR_CORRUPT, "the object is missing");
    TRY(e);
    e = check_hash(v, &o, f);
    if (e.kind == ERR_NONE && f->number != 0)
        e = check_container(v, &o, cp, f);
    v->t->let_go(v->t, &o);
    return e;
}

static Err read_checkpoint(struct verifying *v, const Backup *b, Checkpoint *ret)
{
    for (size_t i = 0; i < b->file_count; i++) {
        if (!str_eq(b->files[i].path, PATH_CHECKPOINT))
            continue;
        AUTO(arena) tmp = arena_open();
        Str content;
        TRY(object_read(v->t, tmp, object_name(tmp, b->files[i].hash), BUF_BYTES_MAX, &content));
        TRY(checkpoint_decode(v->a, content, ret));
        return ret->container_count == b->containers
                   ? OK
                   : fail(ERR_CORRUPT, "the checkpoint has other containers than the backup");
    }
    return fail(ERR_CORRUPT, "there is no checkpoint");
}

static void problem(struct verifying *v, const Backup *b, Str path, Str hash, Err e)
{
    AUTO(arena) tmp = arena_open();
    watch_problem(v->watch,
                  str_fmt(tmp, "backup %.*s, %.*s (object %.*s)", FMT(b->id), FMT(path), FMT(hash)),
                  e);
}

// Damage is counted; what keeps us from looking on comes back.
static Err check_backup(struct verifying *v, const Backup *b, size_t *ret_bad)
{
    Checkpoint cp = { 0 };
    Err e = read_checkpoint(v, b, &cp);
    if (e.kind == ERR_CLOSED)
        return e;
    if (e.kind != ERR_NONE) {
        problem(v, b, PATH_CHECKPOINT, S("?"), e);
        ++*ret_bad;
    }
    bool has_checkpoint = e.kind == ERR_NONE;
    for (size_t i = 0; i < b->file_count; i++) {
        const BackupFile *f = &b->files[i];
        if (map_get(v->sound, f->hash) != NULL || (!has_checkpoint && f->number != 0))
            continue;
        e = check_file(v, &cp, f);
        if (e.kind == ERR_CLOSED)
            return e;
        if (e.kind == ERR_NONE) {
            map_put(v->sound, f->hash, v);
            continue;
        }
        problem(v, b, f->path, f->hash, e);
        ++*ret_bad;
    }
    return OK;
}

Err backup_verify(struct backup_target *t, const Backup *backups, size_t n,
                  const BackupWatch *watch)
{
    AUTO(arena) a = arena_open();
    AUTO(map) sound = map_open();
    struct verifying v = { .t = t, .watch = watch, .a = a, .sound = sound };
    size_t bad = 0;
    for (size_t i = 0; i < n; i++)
        TRY(check_backup(&v, &backups[i], &bad));
    return bad == 0 ? OK : fail(ERR_CORRUPT, "backups are damaged");
}

static Err check_one(struct io *io, Str path, const ContainerFacts *f, const BackupWatch *watch)
{
    AUTO(container) c = NULL;
    TRY(container_open_path(io, path, f, &c));
    return check_chunks(watch, c, true);
}

Err backup_check_held(struct io *io, Str dir, const Checkpoint *held, const BackupWatch *watch,
                      uint64_t *ret_records)
{
    uint64_t records = 0;
    size_t bad = 0;
    for (size_t i = 0; i < held->container_count; i++) {
        AUTO(arena) tmp = arena_open();
        const ContainerFacts *f = &held->containers[i];
        Str path = container_path(tmp, dir, f->number);
        Err e = check_one(io, path, f, watch);
        if (e.kind == ERR_CLOSED)
            return e;
        records += e.kind == ERR_NONE ? f->records : 0;
        bad += e.kind != ERR_NONE;
        if (e.kind != ERR_NONE)
            watch_problem(watch, path, e);
    }
    *ret_records = records;
    return bad == 0 ? OK : fail(ERR_CORRUPT, "containers are damaged");
}
