// SPDX-License-Identifier: Apache-2.0
// Reading a container: head, tail and footer when it is opened, chunks as they are asked for. Reads
// are direct and whole pages. Nothing is believed before its checksum has been compared; where that
// finds damage and the table keeps the file more than once, a good copy mends it.
#include "store/sealed/container_priv.h"

#include "base/logline.h"
#include "base/memory.h"

#include <limits.h>
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

enum { ANY_COPY = UINT_MAX };

// Reads of chunks are of one size of memory, so that each takes what the last one gave back:
// clearing fresh pages costs as much as reading them. In one page of 2 MiB, if there are any, it is
// pinned at once.
enum { PAGES_LARGE_BYTES = 512 << 10, PAGES_LARGE_ROOM = 2 << 20 };

// Bytes of the file, in whole pages.
struct pages {
    uint8_t *at;      // to be freed
    size_t room;      // of it, if it is large memory; 0: it is not
    const uint8_t *p; // the first byte that was asked for
};

static void pages_free(struct pages *pages)
{
    if (pages->room > 0)
        memory_give_large(pages->at, pages->room);
    else
        free(pages->at);
}

static bool pages_alloc(struct pages *pages, size_t bytes)
{
    pages->room = bytes >= PAGES_LARGE_BYTES ? MAX(bytes, (size_t)PAGES_LARGE_ROOM) : 0;
    pages->at = pages->room > 0 ? memory_try_large(pages->room)
                                : memory_try_aligned(CONTAINER_ALIGN_BYTES, bytes);
    return pages->at != NULL;
}

static Err pages_read(const struct container *c, unsigned copy, uint64_t place, size_t n,
                      struct pages *ret)
{
    const uint64_t align = CONTAINER_ALIGN_BYTES;
    uint64_t start = place / align * align, end = (place + n + align - 1) / align * align;
    size_t bytes = (size_t)(end - start), got = 0;
    struct pages pages;
    if (!pages_alloc(&pages, bytes))
        return fail(ERR_MEMORY, "no memory for reading a container");
    Err e = copy == ANY_COPY ? c->io->read(c->file, pages.at, bytes, start, &got)
                             : c->io->read_copy(c->file, copy, pages.at, bytes, start, &got);
    if (e.kind == ERR_NONE && got < bytes)
        e = fail(ERR_CORRUPT, "a container is shorter than it was");
    if (e.kind != ERR_NONE) {
        pages_free(&pages);
        return e;
    }
    pages.p = pages.at + (place - start);
    *ret = pages;
    return OK;
}

// Looks at bytes and keeps what it needs of them. ERR_CORRUPT: another copy may be better.
typedef Err check_fn(void *self, const uint8_t *p);

static Err check_copy(const struct container *c, unsigned copy, uint64_t place, size_t n,
                      check_fn *check, void *self)
{
    struct pages pages;
    TRY(pages_read(c, copy, place, n, &pages));
    Err e = check(self, pages.p);
    if (e.kind == ERR_NONE && copy != ANY_COPY) {
        Err mended = c->io->mend(c->file, pages.p, n, place);
        LOG(LOG_WARN, "a container was damaged in one copy and good in another",
            F_STR("file", c->path), F_INT("offset", place), F_INT("copy", copy), F_ERR(mended));
    }
    pages_free(&pages);
    return e;
}

// After `damage`: the first copy of the file whose bytes pass the check, which mends the others.
static Err check_copies(const struct container *c, uint64_t place, size_t n, check_fn *check,
                        void *self, Err damage)
{
    unsigned copies = c->io->copies(c->file);
    for (unsigned copy = 0; copies > 1 && copy < copies; copy++) {
        Err e = check_copy(c, copy, place, n, check, self);
        if (e.kind == ERR_NONE)
            return OK;
    }
    return damage;
}

static Err read_checked(const struct container *c, uint64_t place, size_t n, check_fn *check,
                        void *self)
{
    Err e = check_copy(c, ANY_COPY, place, n, check, self);
    return e.kind == ERR_CORRUPT ? check_copies(c, place, n, check, self, e) : e;
}

// ---- Opening

struct opening {
    struct container *c;
    uint64_t file_bytes;
    ContainerHead head;
    ContainerTail tail;
};

static Err check_head(void *self, const uint8_t *p)
{
    struct opening *o = self;
    return container_head_get(p, &o->head);
}

static Err check_tail(void *self, const uint8_t *p)
{
    struct opening *o = self;
    return container_tail_get(p, o->head.key, o->file_bytes, &o->tail);
}

static Err check_footer(void *self, const uint8_t *p)
{
    const struct opening *o = self;
    const ContainerTail *t = &o->tail;
    if (container_crc(o->head.key, t->footer_place, p, (size_t)t->footer_bytes) != t->footer_crc)
        return fail(ERR_CORRUPT, "the footer of a container is damaged");
    return footer_get(p, t, o->c->shards, o->c->chunks);
}

// All but the chunks; the file says what it is.
static Err read_all_facts(struct container *c)
{
    uint64_t file_bytes = 0;
    TRY(c->io->size(c->file, &file_bytes));
    if (file_bytes < CONTAINER_HEAD_BYTES + CONTAINER_ALIGN_BYTES ||
        file_bytes % CONTAINER_ALIGN_BYTES != 0)
        return fail(ERR_CORRUPT, "a container has a size that none can have");
    struct opening o = { .c = c, .file_bytes = file_bytes };
    TRY(read_checked(c, 0, CONTAINER_HEAD_BYTES, check_head, &o));
    c->key = o.head.key;
    TRY(read_checked(c, file_bytes - CONTAINER_TAIL_BYTES, CONTAINER_TAIL_BYTES, check_tail, &o));
    c->shards = xalloc(mul_checked(o.tail.shards, sizeof *c->shards));
    c->chunks = xalloc(mul_checked(o.tail.chunks, sizeof *c->chunks));
    c->chunk_count = o.tail.chunks;
    TRY(read_checked(c, o.tail.footer_place, (size_t)o.tail.footer_bytes, check_footer, &o));
    container_facts_of(&o.head, c->shards, o.tail.shards, file_bytes, &c->facts);
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

Err container_open_path(struct io *io, Str path, const ContainerFacts *facts,
                        struct container **ret)
{
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

Err container_open(struct io *io, Str dir, const ContainerFacts *facts, struct container **ret)
{
    AUTO(arena) tmp = arena_open();
    return container_open_path(io, container_path(tmp, dir, facts->number), facts, ret);
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

static size_t chunk_bytes(const ContainerChunk *row)
{
    return CHUNK_HEAD_BYTES + (size_t)row->stored_bytes;
}

// Unpacked runs: mostly large memory, which the next ones take again.
static uint8_t *runs_alloc(size_t raw_bytes)
{
    return raw_bytes >= MEMORY_LARGE_BYTES ? memory_try_large(raw_bytes) : memory_try(raw_bytes);
}

void container_free_runs(uint8_t *take_runs, size_t raw_bytes)
{
    if (raw_bytes >= MEMORY_LARGE_BYTES)
        memory_give_large(take_runs, raw_bytes);
    else
        free(take_runs);
}

struct unpacking {
    const struct container *c;
    ZSTD_DCtx *zstd;
    const ContainerShard *shard; // of the chunk
    const ContainerChunk *row;
    uint8_t *runs; // unpacked
};

// Head and stored bytes of a chunk lie at p.
static Err unpack(void *self, const uint8_t *p)
{
    struct unpacking *u = self;
    ChunkHead h;
    TRY(chunk_get(p, u->c->key, u->shard->shard, u->row, &h));
    uint8_t *runs = runs_alloc(h.raw_bytes);
    if (runs == NULL)
        return fail(ERR_MEMORY, "no memory for unpacking a chunk");
    const uint8_t *stored = p + CHUNK_HEAD_BYTES;
    Err e = OK;
    if (h.packing == CHUNK_PLAIN)
        memcpy(runs, stored, h.raw_bytes);
    else if (ZSTD_decompressDCtx(u->zstd, runs, h.raw_bytes, stored, h.stored_bytes) != h.raw_bytes)
        e = fail(ERR_CORRUPT, "a chunk cannot be unpacked");
    if (e.kind == ERR_NONE)
        e = chunk_check_runs(runs, u->row);
    if (e.kind != ERR_NONE) {
        container_free_runs(runs, h.raw_bytes);
        return e;
    }
    u->runs = runs;
    return OK;
}

// The chunk u->row; p is unused if reading has failed.
static Err unpack_chunk(struct unpacking *u, Err read, const uint8_t *p)
{
    Err e = read.kind == ERR_NONE ? unpack(u, p) : read;
    if (e.kind == ERR_CORRUPT)
        e = check_copies(u->c, u->row->place, chunk_bytes(u->row), unpack, u, e);
    if (e.kind != ERR_NONE)
        LOG(LOG_ERROR, "sealed records cannot be read back", F_STR("file", u->c->path),
            F_INT("offset", u->row->place), F_INT("shard", u->shard->shard), F_ERR(e));
    return e;
}

static size_t piece_bytes(const ContainerChunk *rows, uint32_t n)
{
    return (size_t)(rows[n - 1].place - rows->place) + chunk_bytes(&rows[n - 1]);
}

// Neighbours that one read fetches: ret_runs is filled up to where an error is met.
static Err read_piece(struct unpacking *u, uint32_t first, uint32_t n, uint8_t **ret_runs)
{
    const ContainerChunk *rows = &u->c->chunks[first];
    struct pages pages = { 0 };
    Err read = pages_read(u->c, ANY_COPY, rows->place, piece_bytes(rows, n), &pages);
    Err e = OK;
    for (uint32_t i = 0; i < n && e.kind == ERR_NONE; i++) {
        u->row = &rows[i];
        u->runs = NULL;
        while (first + i >= u->shard->first_chunk + u->shard->chunks)
            u->shard++;
        size_t at = read.kind == ERR_NONE ? (size_t)(rows[i].place - rows->place) : 0;
        e = unpack_chunk(u, read, pages.p + at);
        ret_runs[i] = u->runs;
    }
    pages_free(&pages);
    return e;
}

static uint32_t piece_length(const struct container *c, uint32_t first, uint32_t n)
{
    uint32_t length = 1;
    while (length < n && piece_bytes(&c->chunks[first], length + 1) <= CONTAINER_PIECE_BYTES)
        length++;
    return length;
}

Err container_read(struct container *c, uint64_t shard, uint32_t first, uint32_t n,
                   uint8_t **ret_runs)
{
    const ContainerShard *s = container_find(c, shard);
    CHECK(s != NULL && n > 0 && first >= s->first_chunk && first - s->first_chunk < s->chunks &&
          first < c->chunk_count && n <= c->chunk_count - first);
    struct unpacking u = { .c = c, .zstd = ZSTD_createDCtx(), .shard = s };
    if (u.zstd == NULL)
        return fail(ERR_MEMORY, "no memory for unpacking a chunk");
    for (uint32_t i = 0; i < n; i++)
        ret_runs[i] = NULL;
    Err e = OK;
    for (uint32_t done = 0; done < n && e.kind == ERR_NONE;) {
        uint32_t length = piece_length(c, first + done, n - done);
        e = read_piece(&u, first + done, length, ret_runs + done);
        done += length;
    }
    ZSTD_freeDCtx(u.zstd);
    for (uint32_t i = 0; i < n && e.kind != ERR_NONE; i++) {
        container_free_runs(ret_runs[i], c->chunks[first + i].raw_bytes);
        ret_runs[i] = NULL;
    }
    return e;
}
