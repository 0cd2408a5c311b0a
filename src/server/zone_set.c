// SPDX-License-Identifier: Apache-2.0
#include "server/zone_set.h"
#include "base/logline.h"
#include "server/data_dir.h"
#include "store/kv.h"
#include "store/log.h"

#include <sys/stat.h>

enum { SCORE_BLOCK_BITS = 20 };

static const SettingValue *zones_of(const Settings *settings)
{
    return settings_value(settings, S("zones"));
}

const Str *data_places(const Settings *settings, size_t *ret_n)
{
    const SettingValue *zones = zones_of(settings);
    if (zones->item_count > 0) {
        *ret_n = zones->item_count;
        return zones->items;
    }
    *ret_n = 1;
    return &settings_value(settings, S("data_dir"))->text;
}

static bool is_there(struct io *io, Str path)
{
    struct io_file *f = NULL;
    if (io->open(io, path, IO_READ, &f).kind != ERR_NONE)
        return false;
    io->close(f);
    return true;
}

Str data_file_find(struct io *io, struct arena *a, const Settings *settings, Str name)
{
    size_t n = 0;
    const Str *places = data_places(settings, &n);
    for (size_t i = 0; i < n; i++) {
        Str path = str_cat3(a, places[i], S("/"), name);
        if (places[i].n > 0 && is_there(io, path))
            return path;
    }
    return (Str){ 0 };
}

// ---- Which content is whole

static Err check_kv(struct io *io, struct arena *tmp, Str dir)
{
    Str path = str_cat(tmp, dir, S("/headrace.db"));
    AUTO(kv) db = NULL;
    return is_there(io, path) ? kv_open(io, path, &db) : OK; // reads the whole file
}

// The newest journal is the one whose last block is the youngest, and of those the longest.
static Err verify(void *self, struct io *io, Str dir, uint64_t *ret_score)
{
    (void)self;
    AUTO(arena) tmp = arena_open();
    LogConfig config = { .io = io, .dir = str_cat(tmp, dir, S("/journal")) };
    LogCheck found = { 0 };
    IoName *names;
    size_t n = 0;
    Err e = io->list(io, tmp, config.dir, &names, &n);
    if (e.kind == ERR_NONE)
        e = log_check(&config, &found);
    if (e.kind != ERR_NOT_FOUND)
        TRY(e);
    TRY(check_kv(io, tmp, dir));
    uint64_t blocks = MIN(found.blocks, ((uint64_t)1 << SCORE_BLOCK_BITS) - 1);
    *ret_score = (uint64_t)found.newest_arrival_ms << SCORE_BLOCK_BITS | blocks;
    return OK;
}

// ---- Opening

static bool same_dir(struct arena *a, Str x, Str y)
{
    struct stat p, q;
    return stat(str_c(a, x), &p) == 0 && stat(str_c(a, y), &q) == 0 && p.st_dev == q.st_dev &&
           p.st_ino == q.st_ino;
}

// Data that would seem to be lost, because nobody looks for it there any more.
static Err check_data_dir(struct io *io, struct arena *a, Str data_dir, const SettingValue *zones,
                          Str *problem)
{
    for (size_t i = 0; i < zones->item_count; i++)
        if (same_dir(a, data_dir, zones->items[i]))
            return OK;
    if (!is_there(io, str_cat(a, data_dir, S("/FORMAT"))))
        return OK;
    *problem = str_fmt(a,
                       "%.*s holds data and is none of the zones. Name it first in zones, and the "
                       "others are made copies of it; or use another data_dir.",
                       FMT(data_dir));
    return fail(ERR_INVALID, "the data directory holds data");
}

// One that would be changed without the others.
static Err check_alone(struct io *io, struct arena *a, Str data_dir, Str *problem)
{
    if (!is_there(io, str_cat(a, data_dir, S("/zone.hrz"))))
        return OK;
    *problem = str_fmt(a,
                       "%.*s is one zone of several. Name all of them in zones; or remove its "
                       "zone.hrz to use it alone from now on.",
                       FMT(data_dir));
    return fail(ERR_INVALID, "the data directory is a zone");
}

// Two zones on one disk are one zone when the disk fails. It may be what somebody wants to try.
static void warn_of_shared_disks(struct arena *a, const SettingValue *zones)
{
    for (size_t i = 0; i < zones->item_count; i++) {
        struct stat p, q;
        for (size_t k = 0; k < i; k++)
            if (stat(str_c(a, zones->items[i]), &p) == 0 &&
                stat(str_c(a, zones->items[k]), &q) == 0 && p.st_dev == q.st_dev)
                LOG(LOG_WARN, "two zones are on one filesystem: they will fail together",
                    F_STR("zone", zones->items[i]), F_STR("other", zones->items[k]));
    }
}

static void make_parents(struct io *io, Str path)
{
    for (size_t i = 1; i < path.n; i++)
        if (path.p[i] == '/')
            err_ignore(io->mkdir(io, str_head(path, i))); // the zone says so itself if it is needed
}

Err zone_set_open(struct io *io, struct arena *a, const Settings *settings, Str version,
                  struct zones **ret, Str *ret_problem)
{
    const SettingValue *zones = zones_of(settings);
    Str data_dir = settings_text(settings, S("data_dir"));
    *ret = NULL;
    if (zones->item_count == 0)
        return check_alone(io, a, data_dir, ret_problem);
    TRY(check_data_dir(io, a, data_dir, zones, ret_problem));
    ZonesConfig config = {
        .io = io,
        .root = data_dir,
        .count = zones->item_count,
        .least = (unsigned)settings_number(settings, S("zones_min")),
        .lag_ns = settings_duration(settings, S("zones_lag")),
        .start_anyway = settings_switch(settings, S("zones_start_anyway")),
        .verify = verify,
    };
    for (size_t i = 0; i < zones->item_count && i < ZONES_MAX; i++) {
        config.dirs[i] = zones->items[i];
        make_parents(io, zones->items[i]);
        TRY(data_dir_look(io, a, zones->items[i], version, ret_problem));
    }
    TRY(zones_open(&config, a, ret, ret_problem));
    warn_of_shared_disks(a, zones);
    return OK;
}
