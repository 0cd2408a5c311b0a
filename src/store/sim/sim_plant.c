// SPDX-License-Identifier: Apache-2.0
// Mistakes of the engine, planted at the seams between its files: the linker sends these calls here
// (--wrap, see meson.build). Without a plant each does what the engine does.
#include "store/log/journal_priv.h"
#include "store/sim/sim_disk.h"

#include <endian.h>
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
