// SPDX-License-Identifier: Apache-2.0
// Records, first those in containers, then those of the journal behind them. The ranges of
// positions that containers hold of one shard may interleave, so its chunks are sorted, and those
// that overlap are taken apart together.
#include "store/inspect/inspect_priv.h"

#include <stdlib.h>
#include <string.h>

struct visiting {
    struct inspect *i;
    uint64_t shard, from; // 0: all shards
    bool (*visit)(void *self, const InspectRecord *r);
    void *self;
    bool stopped;
    // of the journal
    const InspectBlock *block;
};

// The records of one run or extent.
static void visit_run(struct visiting *v, uint64_t shard, const ContainerRun *run, bool is_sealed)
{
    size_t at = 0;
    InspectRecord r = { .shard = shard, .arrival_ms = run->arrival_ms, .is_sealed = is_sealed };
    for (uint32_t k = 0; k < run->count && !v->stopped; k++) {
        if (!record_next(run->records, run->bytes, &at, &r.record))
            return; // its checksum was right: a format that we do not know
        r.position = run->position + k;
        if (r.position >= v->from)
            v->stopped = !v->visit(v->self, &r);
    }
}

// Whether records of the shard count at all.
static bool counts(const struct inspect *i, uint64_t shard)
{
    if (inspect_is_dropped(i, shard))
        return false;
    if (!i->has_checkpoint)
        return true;
    for (size_t low = 0, high = i->checkpoint.shard_count; low < high;) {
        size_t middle = low + (high - low) / 2;
        uint64_t at = i->checkpoint.shards[middle].shard;
        if (at == shard)
            return i->checkpoint.shards[middle].last_position != 0;
        if (at < shard)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

// ---- Containers

static Err open_container(struct inspect *i, const InspectContainer *c, struct container **ret)
{
    AUTO(arena) tmp = arena_open();
    Str path = str_cat3(tmp, inspect_container_dir(i, tmp), S("/"), c->name);
    Err e = container_open_path(i->config.io, path, &c->facts, ret);
    if (e.kind == ERR_NONE)
        return OK;
    inspect_problem(i, c->name, 0, e);
    return e.kind == ERR_IO ? e : OK;
}

// One chunk's runs; NULL: it is damaged, which has been told.
static Err read_chunk(struct inspect *i, const InspectContainer *file, struct container *c,
                      uint64_t shard, uint32_t row, uint8_t **ret)
{
    *ret = NULL;
    Err e = container_read(c, shard, row, 1, ret);
    if (e.kind == ERR_NONE)
        return OK;
    inspect_problem(i, file->name, container_chunk(c, row)->place, e);
    *ret = NULL;
    return e.kind == ERR_IO ? e : OK;
}

static Err visit_chunk(struct visiting *v, const InspectContainer *file, struct container *c,
                       uint64_t shard, uint32_t row)
{
    uint8_t *runs = NULL;
    TRY(read_chunk(v->i, file, c, shard, row, &runs));
    ContainerRun run;
    Err e = OK;
    size_t at = 0, n = container_chunk(c, row)->raw_bytes;
    while (runs != NULL && !v->stopped && container_run_next(runs, n, &at, &run, &e))
        visit_run(v, shard, &run, true);
    container_free_runs(runs, n);
    return OK;
}

static Err visit_container(struct visiting *v, const InspectContainer *file)
{
    AUTO(container) c = NULL;
    TRY(open_container(v->i, file, &c));
    size_t n = 0;
    const ContainerShard *shards = c != NULL ? container_shards(c, &n) : NULL;
    for (size_t k = 0; k < n && !v->stopped; k++) {
        if (!counts(v->i, shards[k].shard))
            continue;
        for (uint32_t row = 0; row < shards[k].chunks && !v->stopped; row++)
            TRY(visit_chunk(v, file, c, shards[k].shard, shards[k].first_chunk + row));
    }
    return OK;
}

// ---- One shard over all containers

struct place {
    const InspectContainer *file;
    struct container *open; // borrowed
    uint32_t row;
    const ContainerChunk *chunk;
};

struct places {
    struct place *at;
    size_t n, room;
    struct container **open;
    size_t open_count;
};

static Err find_places(struct visiting *v, struct places *p)
{
    struct inspect *i = v->i;
    p->open = xalloc(mul_checked(MAX(i->container_count, (size_t)1), sizeof(struct container *)));
    for (size_t k = 0; k < i->container_count; k++) {
        const InspectContainer *file = &i->containers[k];
        const ContainerFacts *f = &file->facts;
        if (!file->is_listed || v->shard < f->first_shard || v->shard > f->last_shard)
            continue;
        struct container *c = NULL;
        TRY(open_container(i, file, &c));
        const ContainerShard *s = c != NULL ? container_find(c, v->shard) : NULL;
        if (s == NULL) {
            container_close(c);
            continue;
        }
        p->open[p->open_count++] = c;
        for (uint32_t row = s->first_chunk; row < s->first_chunk + s->chunks; row++) {
            const ContainerChunk *chunk = container_chunk(c, row);
            if (chunk->last_position < v->from)
                continue;
            p->at = inspect_grow(p->at, p->n, &p->room, sizeof *p->at);
            p->at[p->n++] = (struct place){ file, c, row, chunk };
        }
    }
    return OK;
}

static int compare_places(const void *x, const void *y)
{
    const struct place *a = x, *b = y;
    if (a->chunk->first_position != b->chunk->first_position)
        return a->chunk->first_position < b->chunk->first_position ? -1 : 1;
    return 0;
}

// Runs of chunks that overlap.
struct runs {
    ContainerRun *at;
    size_t n, room;
};

static int compare_runs(const void *x, const void *y)
{
    const ContainerRun *a = x, *b = y;
    return a->position < b->position ? -1 : a->position > b->position;
}

static Err visit_overlapping(struct visiting *v, const struct place *at, size_t n)
{
    struct runs runs = { 0 };
    uint8_t **bytes = xalloc(mul_checked(n, sizeof(uint8_t *)));
    Err e = OK, ignored = OK;
    for (size_t k = 0; k < n && e.kind == ERR_NONE; k++) {
        e = read_chunk(v->i, at[k].file, at[k].open, v->shard, at[k].row, &bytes[k]);
        ContainerRun run;
        size_t place = 0;
        while (bytes[k] != NULL &&
               container_run_next(bytes[k], at[k].chunk->raw_bytes, &place, &run, &ignored)) {
            runs.at = inspect_grow(runs.at, runs.n, &runs.room, sizeof *runs.at);
            runs.at[runs.n++] = run;
        }
    }
    if (runs.n > 1)
        qsort(runs.at, runs.n, sizeof *runs.at, compare_runs);
    for (size_t k = 0; k < runs.n && !v->stopped; k++)
        visit_run(v, v->shard, &runs.at[k], true);
    for (size_t k = 0; k < n; k++)
        container_free_runs(bytes[k], at[k].chunk->raw_bytes);
    free(bytes);
    free(runs.at);
    return e;
}

static Err visit_places(struct visiting *v, struct places *p)
{
    if (p->n > 1)
        qsort(p->at, p->n, sizeof *p->at, compare_places);
    for (size_t k = 0; k < p->n && !v->stopped;) {
        uint64_t last = p->at[k].chunk->last_position;
        size_t n = 1;
        while (k + n < p->n && p->at[k + n].chunk->first_position <= last) {
            last = MAX(last, p->at[k + n].chunk->last_position);
            n++;
        }
        TRY(visit_overlapping(v, &p->at[k], n));
        k += n;
    }
    return OK;
}

static Err visit_sealed_shard(struct visiting *v)
{
    struct places p = { 0 };
    Err e = counts(v->i, v->shard) ? find_places(v, &p) : OK;
    if (e.kind == ERR_NONE)
        e = visit_places(v, &p);
    for (size_t k = 0; k < p.open_count; k++)
        container_close(p.open[k]);
    free(p.open);
    free(p.at);
    return e;
}

// ---- The journal

static bool visit_extent(void *self, const ExtentHead *x, const uint8_t *records)
{
    struct visiting *v = self;
    const BlockHead *h = &v->block->head;
    bool wanted = x->kind == EXTENT_RECORDS && (v->shard == 0 || x->shard == v->shard);
    if (!wanted || inspect_is_dropped(v->i, x->shard))
        return true;
    ContainerRun run = {
        .position = (h->number << POSITION_ORDINAL_BITS) + x->first_ordinal,
        .arrival_ms = h->arrival_ms,
        .count = x->count,
        .bytes = x->bytes,
        .records = records,
    };
    visit_run(v, x->shard, &run, false);
    return !v->stopped;
}

static Err visit_block(struct visiting *v, struct io_file *f, const InspectBlock *b)
{
    uint8_t *p = xalloc(b->head.bytes);
    size_t got = 0;
    v->block = b;
    Err e = v->i->config.io->read(f, p, b->head.bytes, b->head.place, &got);
    if (e.kind == ERR_NONE && (got < b->head.bytes || block_crc(p, got) != b->head.crc))
        e = fail(ERR_CORRUPT, "a block has changed since it was checked");
    if (e.kind == ERR_NONE)
        e = inspect_extents(p, &b->head, visit_extent, v);
    free(p);
    if (e.kind == ERR_CORRUPT || e.kind == ERR_FORMAT) {
        inspect_problem(v->i, v->i->files[b->file].name, b->head.place, e);
        return OK;
    }
    return e;
}

static Err visit_journal(struct visiting *v)
{
    struct inspect *i = v->i;
    struct io_file *f = NULL;
    uint32_t open = UINT32_MAX;
    Err e = OK;
    for (size_t k = 0; k < i->block_count && !v->stopped && e.kind == ERR_NONE; k++) {
        AUTO(arena) tmp = arena_open();
        const InspectBlock *b = &i->blocks[k];
        bool is_wanted = (b->state == INSPECT_COUNTS || b->state == INSPECT_DETACHED) &&
                         b->records > 0 &&
                         ((b->head.number + 1) << POSITION_ORDINAL_BITS) > v->from;
        if (!is_wanted)
            continue;
        if (b->file != open) {
            i->config.io->close(f);
            f = NULL;
            open = b->file;
            Str path = inspect_path(i, tmp, i->files[open].name);
            e = i->config.io->open(i->config.io, path, IO_READ, &f);
        }
        if (e.kind == ERR_NONE)
            e = visit_block(v, f, b);
    }
    i->config.io->close(f);
    return e;
}

Err inspect_records(struct inspect *i, uint64_t shard, uint64_t from,
                    bool (*visit)(void *self, const InspectRecord *r), void *self)
{
    struct visiting v = { .i = i, .shard = shard, .from = from, .visit = visit, .self = self };
    if (shard != 0) {
        TRY(visit_sealed_shard(&v));
    } else {
        for (size_t k = 0; k < i->container_count && !v.stopped; k++)
            if (i->containers[k].is_listed)
                TRY(visit_container(&v, &i->containers[k]));
    }
    return v.stopped ? OK : visit_journal(&v);
}

Err inspect_check_containers(struct inspect *i)
{
    for (size_t k = 0; k < i->container_count; k++) {
        if (!i->containers[k].is_listed)
            continue;
        AUTO(container) c = NULL;
        TRY(open_container(i, &i->containers[k], &c));
        size_t n = 0;
        const ContainerShard *shards = c != NULL ? container_shards(c, &n) : NULL;
        for (size_t s = 0; s < n; s++)
            for (uint32_t row = 0; row < shards[s].chunks; row++) {
                uint32_t chunk = shards[s].first_chunk + row;
                uint8_t *runs;
                TRY(read_chunk(i, &i->containers[k], c, shards[s].shard, chunk, &runs));
                container_free_runs(runs, container_chunk(c, chunk)->raw_bytes);
            }
    }
    return OK;
}
