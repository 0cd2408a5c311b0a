// SPDX-License-Identifier: Apache-2.0
// The bytes of a container (container_format.c), for its writer, its reader and their tests. What
// lies where in each part is told in container_format.c.
//
// Decoders check what they can see for themselves, so that no size or place that they return
// reaches beyond the file or the limits of the format.
#pragma once
#include "base/arena.h"
#include "store/sealed/container.h"

enum {
    SHARD_ROW_BYTES = 64,
    CHUNK_ROW_BYTES = 56,
    CONTAINER_ALIGN_BYTES = IO_ALIGN_BYTES,
    CONTAINER_PIECE_BYTES = 1 << 20, // of one direct write, and of one read of many chunks
    CONTAINER_ZSTD_LEVEL = 1,
    CONTAINER_ZSTD_LEVEL_FAST = -5, // three times as fast; what it saves less is a fifth
};

// Which container a checksum belongs to: what it covers besides the bytes themselves.
typedef struct ContainerKey {
    uint64_t number, id;
} ContainerKey;

// CRC32C of the key, the place and the bytes, to be continued with crc32c().
uint32_t container_crc(ContainerKey key, uint64_t place, const void *p, size_t n);

typedef struct ContainerHead {
    uint32_t format, least_reader;
    ContainerKey key;
    uint32_t class; // RetentionClass
    int64_t created_ns;
} ContainerHead;

void container_head_put(uint8_t *p, const ContainerHead *h); // CONTAINER_HEAD_BYTES
// ERR_CORRUPT: not a head, or damaged. ERR_FORMAT: a newer program's.
Err container_head_get(const uint8_t *p, ContainerHead *ret);

typedef struct ContainerTail {
    uint64_t footer_place, footer_bytes;
    uint32_t shards, chunks; // rows of the footer
    uint32_t footer_crc;     // container_crc of the footer at its place
} ContainerTail;

void container_tail_put(uint8_t *p, ContainerKey key, uint64_t file_bytes, const ContainerTail *t);
// Of the last CONTAINER_TAIL_BYTES of a file of that size.
Err container_tail_get(const uint8_t *p, ContainerKey key, uint64_t file_bytes, ContainerTail *ret);
// The size of a file whose footer ends there.
uint64_t container_file_bytes(uint64_t footer_end);

typedef enum ChunkPacking { CHUNK_PLAIN, CHUNK_ZSTD } ChunkPacking;

typedef struct ChunkHead {
    uint64_t shard;
    uint64_t first_position;
    uint32_t stored_bytes, raw_bytes;
    uint32_t records, runs;
    ChunkPacking packing;
} ChunkHead;

// The head, checksum included, of a chunk whose bytes lie at `stored`.
void chunk_head_put(uint8_t *p, ContainerKey key, uint64_t place, const uint8_t *stored,
                    const ChunkHead *h);
// Checks a chunk, head and stored bytes, that the footer describes by `row`: ERR_CORRUPT,
// ERR_FORMAT.
Err chunk_get(const uint8_t *p, ContainerKey key, uint64_t shard, const ContainerChunk *row,
              ChunkHead *ret);
// Compares the heads of the runs of an unpacked chunk with its row. ERR_CORRUPT.
Err chunk_check_runs(const uint8_t *runs, const ContainerChunk *row);

void run_head_put(uint8_t *p, const ContainerRun *run); // RUN_HEAD_BYTES
// Whether `records` hold exactly `count` records.
bool run_is_whole(const ContainerRun *run);

void shard_row_put(uint8_t *p, const ContainerShard *s); // SHARD_ROW_BYTES
void chunk_row_put(uint8_t *p, const ContainerChunk *c); // CHUNK_ROW_BYTES
// Fills both tables from the footer's bytes and checks that they agree with each other and fill
// the file up to the footer: ERR_CORRUPT.
Err footer_get(const uint8_t *p, const ContainerTail *t, ContainerShard *shards,
               ContainerChunk *chunks);

// Make a run part of its chunk's row, and a chunk of its shard's. The first one begins the row:
// c->runs and s->chunks are 0 before.
void chunk_add_run(ContainerChunk *c, const ContainerRun *run);
void shard_add_chunk(ContainerShard *s, const ContainerChunk *c);
// What the head and the rows say of the whole.
void container_facts_of(const ContainerHead *h, const ContainerShard *shards, size_t n,
                        uint64_t file_bytes, ContainerFacts *ret);

// Opens with direct I/O, or without it where the filesystem has none.
Err container_open_file(struct io *io, Str path, unsigned flags, struct io_file **ret);
