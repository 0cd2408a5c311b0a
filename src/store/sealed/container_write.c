// SPDX-License-Identifier: Apache-2.0
// Writing a container: runs are gathered into a chunk where they lie in the buffer of one direct
// write, packed in place, and the rows are kept until the footer. All of it is on disk under
// another name before it gets its own.
#include "store/sealed/container_priv.h"

#include "base/memory.h"
#include "codec/crc.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum {
    SAVING_SHARE_LEAST = 32,      // less is not worth unpacking
    SAVING_SHARE_HURRY = 3,       // in a hurry less is not worth packing the next chunks
    CHUNK_SMALL_BYTES = 32 << 10, // in a hurry not worth the time either
    UNPACKABLE_MANY = 4,
    UNPACKED_MOST = 15,
};

struct container_writer {
    struct io *io;
    struct io_file *file;
    struct arena *arena; // of the paths
    Str dir, path, aside;
    ContainerHead head;
    Err failed; // why no more can be written

    uint8_t *piece; // bytes of the file from `written` on, aligned; large memory
    size_t piece_room, piece_used;
    uint64_t written;

    // Under construction, with its head at chunk_at of the piece. chunk.runs == 0: there is none.
    ContainerChunk chunk;
    size_t chunk_at;
    uint8_t *packed;
    size_t packed_room;
    ZSTD_CCtx *zstd;
    int level;
    unsigned unpackable; // chunks in a row that did not become shorter
    unsigned unpacked;   // chunks in a row that were not even tried

    ContainerShard *shards; // the last one is under construction
    size_t shard_count, shard_room;
    ContainerChunk *chunks;
    size_t chunk_count, chunk_room;
};

Err container_open_file(struct io *io, Str path, unsigned flags, struct io_file **ret)
{
    Err e = io->open(io, path, flags | IO_DIRECT, ret);
    return e.kind == ERR_INVALID ? io->open(io, path, flags, ret) : e;
}

// ---- The file, piece by piece

static uint64_t place_of(const struct container_writer *w)
{
    return w->written + w->piece_used;
}

// Room for n more bytes.
static void piece_reserve(struct container_writer *w, size_t n)
{
    if (n <= w->piece_room - w->piece_used)
        return;
    size_t room = memory_large_room(w->piece_used + n);
    uint8_t *wider = memory_get_large(room);
    memcpy(wider, w->piece, w->piece_used);
    memory_give_large(w->piece, w->piece_room);
    w->piece = wider;
    w->piece_room = room;
}

// Writes the whole pages of what is complete, if that is enough for one write, and keeps the rest.
static Err piece_write(struct container_writer *w, size_t least)
{
    size_t n = w->piece_used / CONTAINER_ALIGN_BYTES * CONTAINER_ALIGN_BYTES;
    if (n < least)
        return OK;
    TRY(w->io->write(w->file, w->piece, n, w->written, false));
    w->written += n;
    w->piece_used -= n;
    memmove(w->piece, w->piece + n, w->piece_used); // less than a page
    return OK;
}

static Err put(struct container_writer *w, const uint8_t *p, size_t n)
{
    piece_reserve(w, n);
    memcpy(w->piece + w->piece_used, p, n);
    w->piece_used += n;
    return piece_write(w, CONTAINER_PIECE_BYTES);
}

// ---- Beginning and ending

static void writer_free(struct container_writer *w)
{
    w->io->close(w->file);
    ZSTD_freeCCtx(w->zstd);
    memory_give_large(w->piece, w->piece_room);
    memory_give_large(w->packed, w->packed_room);
    free(w->shards);
    free(w->chunks);
    arena_close(w->arena);
    free(w);
}

Err container_create(struct io *io, Str dir, uint64_t number, RetentionClass class,
                     struct container_writer **ret)
{
    CHECK(class < RETENTION_CLASSES);
    struct container_writer *w = xalloc(sizeof *w);
    w->io = io;
    w->arena = arena_open();
    w->dir = str_dup(w->arena, dir);
    w->path = container_path(w->arena, dir, number);
    w->aside = str_cat(w->arena, str_head(w->path, w->path.n - 4), S(".tmp"));
    w->head = (ContainerHead){
        .format = CONTAINER_FORMAT,
        .least_reader = CONTAINER_LEAST_READER,
        .key.number = number,
        .class = class,
        .created_ns = io->wall_ns(io),
    };
    io->random(io, &w->head.key.id, sizeof w->head.key.id);
    w->piece_room = memory_large_room(CONTAINER_PIECE_BYTES * 2);
    w->piece = memory_get_large(w->piece_room);
    w->zstd = ZSTD_createCCtx();
    w->level = CONTAINER_ZSTD_LEVEL;
    Err e = w->zstd == NULL
                ? fail(ERR_MEMORY, "no memory for packing a container")
                : container_open_file(io, w->aside, IO_WRITE | IO_CREATE | IO_TRUNC, &w->file);
    if (e.kind != ERR_NONE) {
        writer_free(w);
        return e;
    }
    container_head_put(w->piece, &w->head);
    w->piece_used = CONTAINER_HEAD_BYTES;
    *ret = w;
    return OK;
}

void container_abandon(struct container_writer *w)
{
    if (w == NULL)
        return;
    struct io *io = w->io;
    err_ignore(io->unlink(io, w->aside)); // if it stays, the next start removes it
    writer_free(w);
}

// ---- Chunks

// Room for one more row.
static void *rows_reserve(void *rows, size_t n, size_t *room, size_t row_bytes)
{
    CHECK(n < UINT32_MAX);
    if (n < *room)
        return rows;
    *room = *room == 0 ? 64 : mul_checked(*room, 2);
    return xrealloc(rows, mul_checked(*room, row_bytes));
}

void container_hurry(struct container_writer *w)
{
    w->level = CONTAINER_ZSTD_LEVEL_FAST;
}

// What is compressed or encrypted already does not become shorter. Where the last chunks did not,
// most of the next ones are not tried. In a hurry neither are the small ones of thousands of
// shards: merging makes larger ones of them, which pack better.
static bool is_tried(struct container_writer *w, size_t raw_bytes)
{
    if (w->level == CONTAINER_ZSTD_LEVEL_FAST && raw_bytes < CHUNK_SMALL_BYTES)
        return false;
    if (w->unpackable < UNPACKABLE_MANY || w->unpacked == UNPACKED_MOST) {
        w->unpacked = 0;
        return true;
    }
    w->unpacked++;
    return false;
}

// Whether a chunk of n bytes that became m bytes was worth the time.
static bool is_worth(const struct container_writer *w, size_t n, size_t m)
{
    size_t share = w->level == CONTAINER_ZSTD_LEVEL ? SAVING_SHARE_LEAST : SAVING_SHARE_HURRY;
    return m < n - n / share;
}

// Makes one zstd frame of the chunk's runs, where they lie, if that is shorter.
static void pack(struct container_writer *w, uint8_t *runs, ChunkHead *h)
{
    h->packing = CHUNK_PLAIN;
    h->stored_bytes = h->raw_bytes;
    if (!is_tried(w, h->raw_bytes))
        return;
    size_t bound = MAX(ZSTD_compressBound(h->raw_bytes), (size_t)MEMORY_LARGE_BYTES);
    if (bound > w->packed_room) {
        memory_give_large(w->packed, w->packed_room);
        w->packed_room = memory_large_room(bound);
        w->packed = memory_get_large(w->packed_room);
    }
    size_t n = ZSTD_compressCCtx(w->zstd, w->packed, w->packed_room, runs, h->raw_bytes, w->level);
    bool shorter = !ZSTD_isError(n) && n < h->raw_bytes - h->raw_bytes / SAVING_SHARE_LEAST;
    w->unpackable = shorter && is_worth(w, h->raw_bytes, n) ? 0 : w->unpackable + 1;
    if (!shorter)
        return;
    memcpy(runs, w->packed, n);
    h->packing = CHUNK_ZSTD;
    h->stored_bytes = (uint32_t)n;
}

static Err chunk_end(struct container_writer *w)
{
    if (w->chunk.runs == 0)
        return OK;
    ContainerChunk *c = &w->chunk;
    ContainerShard *s = &w->shards[w->shard_count - 1];
    ChunkHead h = {
        .shard = s->shard,
        .first_position = c->first_position,
        .raw_bytes = c->raw_bytes,
        .records = c->records,
        .runs = c->runs,
    };
    uint8_t *head = w->piece + w->chunk_at, *stored = head + CHUNK_HEAD_BYTES;
    pack(w, stored, &h);
    c->place = w->written + w->chunk_at;
    c->stored_bytes = h.stored_bytes;
    chunk_head_put(head, w->head.key, c->place, stored, &h);
    w->piece_used = w->chunk_at + CHUNK_HEAD_BYTES + h.stored_bytes;

    w->chunks = rows_reserve(w->chunks, w->chunk_count, &w->chunk_room, sizeof *w->chunks);
    w->chunks[w->chunk_count++] = *c;
    shard_add_chunk(s, c);
    *c = (ContainerChunk){ 0 };
    return piece_write(w, CONTAINER_PIECE_BYTES);
}

static void shard_begin(struct container_writer *w, uint64_t shard)
{
    CHECK(w->shard_count == 0 || shard > w->shards[w->shard_count - 1].shard);
    w->shards = rows_reserve(w->shards, w->shard_count, &w->shard_room, sizeof *w->shards);
    w->shards[w->shard_count++] = (ContainerShard){
        .shard = shard,
        .first_chunk = (uint32_t)w->chunk_count,
    };
}

static Err add(struct container_writer *w, uint64_t shard, const ContainerRun *run)
{
    TRY(w->failed);
    if (!run_is_whole(run) && !run_is_lost(run))
        return fail(ERR_CORRUPT, "the records of a run do not fill it");
    if (w->shard_count == 0 || shard != w->shards[w->shard_count - 1].shard) {
        TRY(chunk_end(w));
        shard_begin(w, shard);
    }
    ContainerChunk *c = &w->chunk;
    const ContainerShard *s = &w->shards[w->shard_count - 1];
    CHECK(c->runs == 0 || run->position > c->last_position);
    CHECK(s->chunks == 0 || run->position > s->last_position);
    piece_reserve(w, CHUNK_HEAD_BYTES + RUN_HEAD_BYTES + run->bytes);
    if (c->runs == 0) {
        w->chunk_at = w->piece_used;
        w->piece_used += CHUNK_HEAD_BYTES;
    }
    run_head_put(w->piece + w->piece_used, run);
    memcpy(w->piece + w->piece_used + RUN_HEAD_BYTES, run->records, run->bytes);
    w->piece_used += RUN_HEAD_BYTES + run->bytes;
    chunk_add_run(c, run);
    return c->raw_bytes >= CHUNK_BYTES_SPLIT ? chunk_end(w) : OK;
}

Err container_add(struct container_writer *w, uint64_t shard, const ContainerRun *run)
{
    CHECK(run->count > 0 && run->position <= UINT64_MAX - run->count);
    CHECK(run->bytes <= RUN_BYTES_LARGEST);
    w->failed = add(w, shard, run);
    return w->failed;
}

Err container_add_lost(struct container_writer *w, uint64_t shard, const ContainerRun *run)
{
    ContainerRun lost = *run;
    CHECK(run->count <= RUN_BYTES_LARGEST / RECORD_HEAD_BYTES);
    lost.bytes = run->count * RECORD_HEAD_BYTES;
    uint8_t *none = xalloc(lost.bytes);
    memset(none, 0xff, lost.bytes);
    lost.records = none;
    Err e = container_add(w, shard, &lost);
    free(none);
    return e;
}

// ---- The end

// Rows on their way into the footer, through its checksum.
static Err row_put(struct container_writer *w, uint32_t *crc, const uint8_t *row, size_t n)
{
    *crc = crc32c(*crc, row, n);
    return put(w, row, n);
}

static Err footer_write(struct container_writer *w, ContainerTail *ret)
{
    ContainerTail t = {
        .footer_place = place_of(w),
        .shards = (uint32_t)w->shard_count,
        .chunks = (uint32_t)w->chunk_count,
    };
    t.footer_crc = container_crc(w->head.key, t.footer_place, NULL, 0);
    uint8_t row[MAX(SHARD_ROW_BYTES, CHUNK_ROW_BYTES)];
    for (size_t i = 0; i < w->shard_count; i++) {
        shard_row_put(row, &w->shards[i]);
        TRY(row_put(w, &t.footer_crc, row, SHARD_ROW_BYTES));
    }
    for (size_t i = 0; i < w->chunk_count; i++) {
        chunk_row_put(row, &w->chunks[i]);
        TRY(row_put(w, &t.footer_crc, row, CHUNK_ROW_BYTES));
    }
    t.footer_bytes = place_of(w) - t.footer_place;
    *ret = t;
    return OK;
}

// Zeros and the tail, which ends the file at a multiple of the alignment.
static Err tail_write(struct container_writer *w, const ContainerTail *t, uint64_t file_bytes)
{
    static const uint8_t zeros[CONTAINER_ALIGN_BYTES];
    TRY(put(w, zeros, (size_t)(file_bytes - CONTAINER_TAIL_BYTES - place_of(w))));
    uint8_t tail[CONTAINER_TAIL_BYTES];
    container_tail_put(tail, w->head.key, file_bytes, t);
    TRY(put(w, tail, sizeof tail));
    return w->piece_used > 0 ? piece_write(w, 0) : OK;
}

static Err finish(struct container_writer *w, ContainerFacts *ret)
{
    TRY(w->failed);
    CHECK(w->shard_count > 0);
    TRY(chunk_end(w));
    ContainerTail t;
    TRY(footer_write(w, &t));
    uint64_t file_bytes = container_file_bytes(place_of(w));
    TRY(tail_write(w, &t, file_bytes));
    TRY(w->io->sync(w->file));
    TRY(w->io->rename(w->io, w->aside, w->path));
    Err e = w->io->sync_dir(w->io, w->dir);
    if (e.kind != ERR_NONE) {
        err_ignore(w->io->unlink(w->io, w->path)); // nobody lists it: the next start removes it
        return e;
    }
    container_facts_of(&w->head, w->shards, w->shard_count, file_bytes, ret);
    return OK;
}

Err container_finish(struct container_writer *w, ContainerFacts *ret)
{
    Err e = finish(w, ret);
    if (e.kind != ERR_NONE) {
        container_abandon(w);
        return e;
    }
    writer_free(w);
    return OK;
}
