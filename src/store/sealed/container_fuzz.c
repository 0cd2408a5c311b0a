// SPDX-License-Identifier: Apache-2.0
// Reading arbitrary files as containers: it ends, stays inside its bytes, and what it accepts is in
// order, agrees with itself and can be written again as the same records.
//
//     input = flags, bytes of the file
//     input = flags with BUILT, shards, chunks, rows of the footer, chunks: the rest is made
//
// FIX_CRC makes the checksums right, so that mutations reach what lies behind them; BUILT does too
// and keeps inputs small.
#include "base/logline.h"
#include "codec/crc.h"
#include "codec/little.h"
#include "os/io_mem.h"
#include "store/sealed/container_priv.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIX_CRC = 1, BUILT = 2, REWRITE_BYTES_MAX = 1 << 20 };

// ---- Input

static void fix_chunk(uint8_t *p, size_t n, ContainerKey key, const uint8_t *row)
{
    uint64_t place = get64(row), stored = get32(row + 8);
    if (place > n || n - place < CHUNK_HEAD_BYTES || n - place - CHUNK_HEAD_BYTES < stored)
        return;
    uint8_t *chunk = p + place;
    uint32_t crc = container_crc(key, place, chunk, CHUNK_HEAD_BYTES - 4);
    put32(chunk + CHUNK_HEAD_BYTES - 4, crc32c(crc, chunk + CHUNK_HEAD_BYTES, stored));
}

static void fix_crc(uint8_t *p, size_t n)
{
    put32(p + CONTAINER_HEAD_BYTES - 4, crc32c(0, p, CONTAINER_HEAD_BYTES - 4));
    ContainerKey key = { .number = get64(p + 16), .id = get64(p + 24) };
    uint8_t *tail = p + n - CONTAINER_TAIL_BYTES;
    uint64_t place = get64(tail + 16), bytes = get64(tail + 24);
    if (place <= n && bytes <= n - place) {
        uint64_t rows = (uint64_t)get32(tail + 32) * SHARD_ROW_BYTES;
        for (uint64_t at = rows; at + CHUNK_ROW_BYTES <= bytes; at += CHUNK_ROW_BYTES)
            fix_chunk(p, n, key, p + place + at);
        put32(tail + 40, container_crc(key, place, p + place, bytes));
    }
    uint32_t crc = container_crc(key, n - CONTAINER_TAIL_BYTES, tail, CONTAINER_TAIL_BYTES - 4);
    put32(tail + CONTAINER_TAIL_BYTES - 4, crc);
}

static Str build(struct arena *a, const uint8_t *data, size_t size)
{
    ContainerTail t = { .shards = data[0], .chunks = data[1] };
    t.footer_bytes = (uint64_t)t.shards * SHARD_ROW_BYTES + (uint64_t)t.chunks * CHUNK_ROW_BYTES;
    t.footer_bytes = MIN(t.footer_bytes, size - 2);
    size_t chunk_bytes = size - 2 - t.footer_bytes;
    t.footer_place = CONTAINER_HEAD_BYTES + chunk_bytes;
    size_t n = container_file_bytes(t.footer_place + t.footer_bytes);
    uint8_t *p = arena_new(a, uint8_t, n);
    ContainerHead h = { CONTAINER_FORMAT, CONTAINER_LEAST_READER, { 1, 2 }, RETENTION_DAY, 3 };
    container_head_put(p, &h);
    memcpy(p + CONTAINER_HEAD_BYTES, data + 2 + t.footer_bytes, chunk_bytes);
    memcpy(p + t.footer_place, data + 2, t.footer_bytes);
    container_tail_put(p + n - CONTAINER_TAIL_BYTES, h.key, n, &t);
    fix_crc(p, n);
    return str_from(p, n);
}

static Str file_of(struct arena *a, const uint8_t *data, size_t size)
{
    if (data[0] & BUILT)
        return build(a, data + 1, size - 1);
    size_t n = size - 1;
    uint8_t *p = arena_new(a, uint8_t, n);
    memcpy(p, data + 1, n);
    if ((data[0] & FIX_CRC) && n >= CONTAINER_HEAD_BYTES + CONTAINER_TAIL_BYTES)
        fix_crc(p, n);
    return str_from(p, n);
}

// ---- What must hold

// Writes the runs of a chunk into another container, as merging does.
static Err copy_chunk(struct container_writer *w, uint64_t shard, const ContainerChunk *row,
                      const uint8_t *runs)
{
    size_t at = 0;
    uint64_t records = 0;
    ContainerRun run;
    Err e = OK;
    while (container_run_next(runs, row->raw_bytes, &at, &run, &e)) {
        CHECK(run.position >= row->first_position);
        CHECK(run.position + run.count - 1 <= row->last_position);
        CHECK(run.arrival_ms >= row->first_arrival_ms && run.arrival_ms <= row->last_arrival_ms);
        records += run.count;
        TRY(container_add(w, shard, &run));
    }
    CHECK(e.kind == ERR_NONE && at == row->raw_bytes && records == row->records);
    return OK;
}

static Err copy_shard(struct container *c, struct container_writer *w, const ContainerShard *s)
{
    CHECK(container_find(c, s->shard) == s);
    uint8_t **runs = xalloc(s->chunks * sizeof *runs);
    Err e = container_read(c, s->shard, s->first_chunk, s->chunks, runs);
    for (uint32_t i = 0; i < s->chunks && e.kind == ERR_NONE; i++)
        e = copy_chunk(w, s->shard, container_chunk(c, s->first_chunk + i), runs[i]);
    for (uint32_t i = 0; i < s->chunks; i++)
        container_free_runs(runs[i], container_chunk(c, s->first_chunk + i)->raw_bytes);
    free(runs);
    return e;
}

static void compare(const ContainerFacts *x, const ContainerFacts *y)
{
    CHECK(x->records == y->records && x->raw_bytes == y->raw_bytes && x->shards == y->shards);
    CHECK(x->first_position == y->first_position && x->last_position == y->last_position);
    CHECK(x->first_arrival_ms == y->first_arrival_ms && x->last_arrival_ms == y->last_arrival_ms);
    CHECK(x->first_shard == y->first_shard && x->last_shard == y->last_shard);
}

static void copy_all(struct io *io, struct container *c)
{
    size_t n = 0;
    const ContainerShard *shards = container_shards(c, &n);
    struct container_writer *w = NULL;
    Err e = container_create(io, S("/"), 2, RETENTION_DAY, &w);
    CHECK(e.kind == ERR_NONE);
    for (size_t i = 0; i < n && e.kind == ERR_NONE; i++)
        e = copy_shard(c, w, &shards[i]);
    // Checksums that were made right say nothing of what lies below them.
    CHECK(e.kind == ERR_NONE || e.kind == ERR_CORRUPT || e.kind == ERR_FORMAT);
    if (e.kind != ERR_NONE) {
        container_abandon(w);
        return;
    }
    ContainerFacts facts, again;
    e = container_finish(w, &facts);
    CHECK(e.kind == ERR_NONE);
    compare(&facts, container_facts(c));
    e = container_read_facts(io, S("/container-0000000002.hrc"), &again);
    CHECK(e.kind == ERR_NONE && memcmp(&facts, &again, sizeof facts) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    AUTO(arena) a = arena_open();
    AUTO(io_mem) disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    Err e = io_write_file(io, a, S("/found"), file_of(a, data, size));
    CHECK(e.kind == ERR_NONE);
    ContainerFacts facts;
    e = container_read_facts(io, S("/found"), &facts);
    CHECK(e.kind == ERR_NONE || e.kind == ERR_CORRUPT || e.kind == ERR_FORMAT);
    if (e.kind != ERR_NONE || facts.raw_bytes > REWRITE_BYTES_MAX)
        return 0;
    e = io->rename(io, S("/found"), container_path(a, S("/"), facts.number));
    CHECK(e.kind == ERR_NONE);
    AUTO(container) c = NULL;
    e = container_open(io, S("/"), &facts, &c);
    CHECK(e.kind == ERR_NONE);
    copy_all(io, c);
    return 0;
}
