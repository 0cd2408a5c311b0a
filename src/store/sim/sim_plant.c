// SPDX-License-Identifier: Apache-2.0
// Mistakes of the engine, planted at the seams between its files: the linker sends these calls here
// (--wrap, see meson.build). Without a plant each does what the engine does.
#include "store/log/journal_priv.h"
#include "store/sealed/container_priv.h"
#include "store/sim/sim_disk.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

uint32_t __real_block_crc(const uint8_t *p, size_t bytes);
uint32_t __wrap_block_crc(const uint8_t *p, size_t bytes);
Err __real_extent_get(const uint8_t *p, size_t n, uint64_t block_number, ExtentHead *ret);
Err __wrap_extent_get(const uint8_t *p, size_t n, uint64_t block_number, ExtentHead *ret);
Err __real_recover(struct log *l);
Err __wrap_recover(struct log *l);
Err __real_sealed_commit(struct sealed *s, const SealedChange *change, const CheckpointShard *rows,
                         size_t row_count);
Err __wrap_sealed_commit(struct sealed *s, const SealedChange *change, const CheckpointShard *rows,
                         size_t row_count);

Err __real_checkpoint_replace(struct io *io, struct arena *tmp, Str dir, const Checkpoint *c,
                              bool *ret_untouched);
Err __wrap_checkpoint_replace(struct io *io, struct arena *tmp, Str dir, const Checkpoint *c,
                              bool *ret_untouched);
Err __real_container_finish(struct container_writer *take_w, ContainerFacts *ret);
Err __wrap_container_finish(struct container_writer *take_w, ContainerFacts *ret);
Err __real_container_add(struct container_writer *w, uint64_t shard, const ContainerRun *run);
Err __wrap_container_add(struct container_writer *w, uint64_t shard, const ContainerRun *run);
Err __real_chunk_get(const uint8_t *p, ContainerKey key, uint64_t shard, const ContainerChunk *row,
                     ChunkHead *ret);
Err __wrap_chunk_get(const uint8_t *p, ContainerKey key, uint64_t shard, const ContainerChunk *row,
                     ChunkHead *ret);
const ContainerShard *__real_container_shards(const struct container *c, size_t *ret_n);
const ContainerShard *__wrap_container_shards(const struct container *c, size_t *ret_n);
Err __real_sealed_merge(struct sealed *s, int64_t now_ms, bool (*stop)(void *self), void *self,
                        bool *ret_any);
Err __wrap_sealed_merge(struct sealed *s, int64_t now_ms, bool (*stop)(void *self), void *self,
                        bool *ret_any);

// ---- The journal

// The checksum that the block itself claims to have.
uint32_t __wrap_block_crc(const uint8_t *p, size_t bytes)
{
    uint32_t claimed;
    if (sim_plant != PLANT_IGNORE_CRC)
        return __real_block_crc(p, bytes);
    memcpy(&claimed, p + BLOCK_HEAD_BYTES - sizeof claimed, sizeof claimed);
    return le32toh(claimed);
}

// The same for an extent: a copy gets the checksum that belongs to it.
Err __wrap_extent_get(const uint8_t *p, size_t n, uint64_t block_number, ExtentHead *ret)
{
    Err e = __real_extent_get(p, n, block_number, ret);
    uint64_t shard;
    uint32_t word[4]; // first ordinal, count, bytes, and one byte of kind
    if (sim_plant != PLANT_IGNORE_CRC || e.kind != ERR_CORRUPT || n < EXTENT_HEAD_BYTES)
        return e;
    memcpy(&shard, p, sizeof shard);
    memcpy(word, p + sizeof shard, sizeof word);
    ExtentHead h = {
        .shard = le64toh(shard),
        .first_ordinal = le32toh(word[0]),
        .count = le32toh(word[1]),
        .bytes = le32toh(word[2]),
        .kind = (uint8_t)le32toh(word[3]),
    };
    if (h.bytes > n - EXTENT_HEAD_BYTES || h.kind > EXTENT_CONTROL)
        return e;
    *ret = h;
    return OK;
}

Err __wrap_recover(struct log *l)
{
    TRY(__real_recover(l));
    if (sim_plant == PLANT_REUSE_NUMBER && l->acked > 0)
        l->next_number = l->acked;
    return OK;
}

// ---- What is sealed

Err __wrap_sealed_commit(struct sealed *s, const SealedChange *change, const CheckpointShard *rows,
                         size_t row_count)
{
    if (sim_plant != PLANT_FORGET_ENDS || rows == NULL)
        return __real_sealed_commit(s, change, rows, row_count);
    AUTO(arena) tmp = arena_open();
    CheckpointShard *without = arena_new(tmp, CheckpointShard, row_count);
    size_t n = 0;
    for (size_t i = 0; i < row_count; i++) {
        without[n] = rows[i];
        without[n].end_position = 0;
        n += rows[i].last_position != 0;
    }
    return __real_sealed_commit(s, change, without, n);
}

Err __wrap_checkpoint_replace(struct io *io, struct arena *tmp, Str dir, const Checkpoint *c,
                              bool *ret_untouched)
{
    sim_disk_be_lazy(sim_plant == PLANT_EARLY_RECYCLE);
    Err e = __real_checkpoint_replace(io, tmp, dir, c, ret_untouched);
    sim_disk_be_lazy(false);
    return e;
}

Err __wrap_container_finish(struct container_writer *take_w, ContainerFacts *ret)
{
    sim_disk_be_lazy(sim_plant == PLANT_RAW_CONTAINER);
    Err e = __real_container_finish(take_w, ret);
    sim_disk_be_lazy(false);
    return e;
}

// What the row says, whatever the bytes are.
Err __wrap_chunk_get(const uint8_t *p, ContainerKey key, uint64_t shard, const ContainerChunk *row,
                     ChunkHead *ret)
{
    Err e = __real_chunk_get(p, key, shard, row, ret);
    if (sim_plant != PLANT_CONTAINER_CRC || e.kind != ERR_CORRUPT)
        return e;
    *ret = (ChunkHead){
        .shard = shard,
        .first_position = row->first_position,
        .stored_bytes = row->stored_bytes,
        .raw_bytes = row->raw_bytes,
        .records = row->records,
        .runs = row->runs,
        .packing = row->stored_bytes < row->raw_bytes ? CHUNK_ZSTD : CHUNK_PLAIN,
    };
    return OK;
}

const ContainerShard *__wrap_container_shards(const struct container *c, size_t *ret_n)
{
    static ContainerShard *early; // of the newest call; the engine looks at one at a time
    const ContainerShard *shards = __real_container_shards(c, ret_n);
    if (sim_plant != PLANT_EARLY_EXPIRY)
        return shards;
    early = xrealloc(early, mul_checked(*ret_n, sizeof *early));
    for (size_t i = 0; i < *ret_n; i++) {
        early[i] = shards[i];
        early[i].last_arrival_ms = shards[i].first_arrival_ms;
    }
    return early;
}

static struct {
    bool is_on;
    struct container_writer *writer;
    uint64_t shard; // the first of its container: there must be one
} merging;

Err __wrap_sealed_merge(struct sealed *s, int64_t now_ms, bool (*stop)(void *self), void *self,
                        bool *ret_any)
{
    merging.is_on = sim_plant == PLANT_MERGE_LOSS;
    merging.writer = NULL;
    Err e = __real_sealed_merge(s, now_ms, stop, self, ret_any);
    merging.is_on = false;
    return e;
}

Err __wrap_container_add(struct container_writer *w, uint64_t shard, const ContainerRun *run)
{
    if (merging.is_on && merging.writer != w) {
        merging.writer = w;
        merging.shard = shard;
    }
    if (merging.is_on && shard != merging.shard && shard % 3 == 0)
        return OK;
    return __real_container_add(w, shard, run);
}
