// SPDX-License-Identifier: Apache-2.0
// Reading a container: head, tail and footer when it is opened, chunks as they are asked for. Reads
// are direct and whole pages. Nothing is believed before its checksum has been compared.
#include "store/sealed/container_priv.h"

#include "base/logline.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

struct container {
    struct io *io;
    struct io_file *file;
    Str path; // lies behind the struct
    ContainerKey key;
    ContainerFacts facts;
    ContainerShard *shards;
    ContainerChunk *chunks;
    uint32_t chunk_count;
};

// ---- Pages

// Bytes of the file, in whole pages.
struct pages {
    uint8_t *at;      // to be freed
    const uint8_t *p; // the first byte that was asked for
    size_t n;         // how many were
};

static Err pages_read(struct io *io, struct io_file *f, uint64_t place, size_t n, struct pages *ret)
{
    uint64_t start = place / CONTAINER_ALIGN_BYTES * CONTAINER_ALIGN_BYTES;
    uint64_t end =
        (place + n + CONTAINER_ALIGN_BYTES - 1) / CONTAINER_ALIGN_BYTES * CONTAINER_ALIGN_BYTES;
    uint8_t *at = aligned_alloc(CONTAINER_ALIGN_BYTES, (size_t)(end - start));
    CHECK(at != NULL);
    size_t got = 0;
    Err e = io->read(f, at, (size_t)(end - start), start, &got);
    if (e.kind == ERR_NONE && got < end - start)
        e = fail(ERR_CORRUPT, "a container is shorter than it was");
    if (e.kind != ERR_NONE) {
        free(at);
        return e;
    }
    *ret = (struct pages){ .at = at, .p = at + (place - start), .n = n };
    return OK;
}

// ---- Opening

static Err read_head(struct container *c, ContainerHead *ret)
{
    struct pages head;
    TRY(pages_read(c->io, c->file, 0, CONTAINER_HEAD_BYTES, &head));
    Err e = container_head_get(head.p, ret);
    free(head.at);
    return e;
}

static Err read_tail(struct container *c, uint64_t file_bytes, ContainerTail *ret)
{
    struct pages tail;
    TRY(pages_read(c->io, c->file, file_bytes - CONTAINER_TAIL_BYTES, CONTAINER_TAIL_BYTES, &tail));
    Err e = container_tail_get(tail.p, c->key, file_bytes, ret);
    free(tail.at);
    return e;
}

static Err read_footer(struct container *c, const ContainerTail *t)
{
    struct pages footer;
    TRY(pages_read(c->io, c->file, t->footer_place, (size_t)t->footer_bytes, &footer));
    Err e = OK;
    if (container_crc(c->key, t->footer_place, footer.p, footer.n) != t->footer_crc) {
        e = fail(ERR_CORRUPT, "the footer of a container is damaged");
    } else {
        c->shards = xalloc(mul_checked(t->shards, sizeof *c->shards));
        c->chunks = xalloc(mul_checked(t->chunks, sizeof *c->chunks));
        c->chunk_count = t->chunks;
        e = footer_get(footer.p, t, c->shards, c->chunks);
    }
    free(footer.at);
    return e;
}

// All but the chunks; the file says what it is.
static Err read_all_facts(struct container *c)
{
    uint64_t file_bytes = 0;
    TRY(c->io->size(c->file, &file_bytes));
    if (file_bytes < CONTAINER_HEAD_BYTES + CONTAINER_ALIGN_BYTES ||
        file_bytes % CONTAINER_ALIGN_BYTES != 0)
        return fail(ERR_CORRUPT, "a container has a size that none can have");
    ContainerHead head;
    TRY(read_head(c, &head));
    c->key = head.key;
    ContainerTail tail;
    TRY(read_tail(c, file_bytes, &tail));
    TRY(read_footer(c, &tail));
    container_facts_of(&head, c->shards, tail.shards, file_bytes, &c->facts);
    return OK;
}

static Err open_at(struct io *io, Str path, struct container **ret)
{
    struct container *c = xalloc(sizeof *c + path.n);
    c->io = io;
    memcpy(c + 1, path.p, path.n);
    c->path = str_from(c + 1, path.n);
    Err e = container_open_file(io, path, IO_READ, &c->file);
    if (e.kind == ERR_NONE)
        e = read_all_facts(c);
    if (e.kind != ERR_NONE) {
        container_close(c);
        return e;
    }
    *ret = c;
    return OK;
}

static bool facts_equal(const ContainerFacts *x, const ContainerFacts *y)
{
    return x->number == y->number && x->id == y->id && x->bytes == y->bytes &&
           x->raw_bytes == y->raw_bytes && x->records == y->records &&
           x->first_position == y->first_position && x->last_position == y->last_position &&
           x->first_arrival_ms == y->first_arrival_ms && x->last_arrival_ms == y->last_arrival_ms &&
           x->first_shard == y->first_shard && x->last_shard == y->last_shard &&
           x->shards == y->shards && x->class == y->class;
}

Err container_open(struct io *io, Str dir, const ContainerFacts *facts, struct container **ret)
{
    AUTO(arena) tmp = arena_open();
    Str path = container_path(tmp, dir, facts->number);
    struct container *c = NULL;
    Err e = open_at(io, path, &c);
    if (e.kind == ERR_NONE && !facts_equal(&c->facts, facts)) {
        container_close(c);
        e = fail(ERR_CORRUPT, "a container is not the one that was written under its name");
    }
    if (e.kind != ERR_NONE) {
        LOG(LOG_ERROR, "a container cannot be opened", F_STR("file", path), F_ERR(e));
        return e;
    }
    *ret = c;
    return OK;
}

Err container_read_facts(struct io *io, Str path, ContainerFacts *ret)
{
    struct container *c = NULL;
    TRY(open_at(io, path, &c));
    *ret = c->facts;
    container_close(c);
    return OK;
}

void container_close(struct container *c)
{
    if (c == NULL)
        return;
    c->io->close(c->file);
    free(c->shards);
    free(c->chunks);
    free(c);
}

// ---- What it says of itself

size_t container_memory(const struct container *c)
{
    return sizeof *c + c->path.n + c->facts.shards * sizeof *c->shards +
           c->chunk_count * sizeof *c->chunks;
}

const ContainerFacts *container_facts(const struct container *c)
{
    return &c->facts;
}

const ContainerShard *container_shards(const struct container *c, size_t *ret_n)
{
    *ret_n = c->facts.shards;
    return c->shards;
}

const ContainerShard *container_find(const struct container *c, uint64_t shard)
{
    size_t low = 0, high = c->facts.shards;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->shards[middle].shard < shard)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->facts.shards && c->shards[low].shard == shard ? &c->shards[low] : NULL;
}

const ContainerChunk *container_chunk(const struct container *c, uint32_t row)
{
    CHECK(row < c->chunk_count);
    return &c->chunks[row];
}

// ---- Chunks

static uint64_t chunk_end_of(const ContainerChunk *row)
{
    return row->place + CHUNK_HEAD_BYTES + row->stored_bytes;
}

// Runs of one chunk, whose head and stored bytes lie at p.
static Err unpack(const struct container *c, ZSTD_DCtx *zstd, uint64_t shard,
                  const ContainerChunk *row, const uint8_t *p, uint8_t **ret)
{
    ChunkHead h;
    TRY(chunk_get(p, c->key, shard, row, &h));
    uint8_t *runs = malloc(h.raw_bytes);
    CHECK(runs != NULL);
    const uint8_t *stored = p + CHUNK_HEAD_BYTES;
    Err e = OK;
    if (h.packing == CHUNK_PLAIN)
        memcpy(runs, stored, h.raw_bytes);
    else if (ZSTD_decompressDCtx(zstd, runs, h.raw_bytes, stored, h.stored_bytes) != h.raw_bytes)
        e = fail(ERR_CORRUPT, "a chunk cannot be unpacked");
    if (e.kind == ERR_NONE)
        e = chunk_check_runs(runs, row);
    if (e.kind != ERR_NONE) {
        free(runs);
        return e;
    }
    *ret = runs;
    return OK;
}

static Err bad_chunk(const struct container *c, uint64_t shard, const ContainerChunk *row, Err e)
{
    LOG(LOG_ERROR, "sealed records cannot be read back", F_STR("file", c->path),
        F_INT("offset", row->place), F_INT("shard", shard), F_ERR(e));
    return e;
}

// Neighbours that one read fetches: ret_runs is filled up to where an error is met.
static Err read_piece(const struct container *c, ZSTD_DCtx *zstd, uint64_t shard, uint32_t first,
                      uint32_t n, uint8_t **ret_runs)
{
    const ContainerChunk *rows = &c->chunks[first];
    struct pages pages;
    Err e = pages_read(c->io, c->file, rows->place,
                       (size_t)(chunk_end_of(&rows[n - 1]) - rows->place), &pages);
    if (e.kind != ERR_NONE)
        return bad_chunk(c, shard, rows, e);
    for (uint32_t i = 0; i < n && e.kind == ERR_NONE; i++) {
        e = unpack(c, zstd, shard, &rows[i], pages.p + (rows[i].place - rows->place), &ret_runs[i]);
        if (e.kind != ERR_NONE)
            e = bad_chunk(c, shard, &rows[i], e);
    }
    free(pages.at);
    return e;
}

static uint32_t piece_length(const struct container *c, uint32_t first, uint32_t n)
{
    uint32_t length = 1;
    while (length < n && chunk_end_of(&c->chunks[first + length]) - c->chunks[first].place <=
                             CONTAINER_PIECE_BYTES)
        length++;
    return length;
}

Err container_read(struct container *c, uint64_t shard, uint32_t first, uint32_t n,
                   uint8_t **ret_runs)
{
    const ContainerShard *s = container_find(c, shard);
    CHECK(s != NULL && n > 0 && first >= s->first_chunk && first - s->first_chunk < s->chunks &&
          n <= s->chunks - (first - s->first_chunk));
    ZSTD_DCtx *zstd = ZSTD_createDCtx();
    CHECK(zstd != NULL);
    for (uint32_t i = 0; i < n; i++)
        ret_runs[i] = NULL;
    Err e = OK;
    for (uint32_t done = 0; done < n && e.kind == ERR_NONE;) {
        uint32_t length = piece_length(c, first + done, n - done);
        e = read_piece(c, zstd, shard, first + done, length, ret_runs + done);
        done += length;
    }
    ZSTD_freeDCtx(zstd);
    for (uint32_t i = 0; i < n && e.kind != ERR_NONE; i++) {
        free(ret_runs[i]);
        ret_runs[i] = NULL;
    }
    return e;
}
