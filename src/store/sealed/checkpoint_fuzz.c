// SPDX-License-Identifier: Apache-2.0
// Reading arbitrary bytes as a checkpoint: it stays inside them, what it accepts is in order, and
// written again it says the same.
//
//     input = a byte of flags, the checkpoint
//
// FIX_CRC makes the checksum right, so that mutations reach what lies before it.
#include "codec/crc.h"
#include "store/sealed/checkpoint.h"

#include <endian.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIX_CRC = 1, CRC_BYTES = 4 };

static Str take_input(struct arena *a, const uint8_t *data, size_t size)
{
    size_t n = size - 1;
    uint8_t *p = arena_new(a, uint8_t, n + 1);
    memcpy(p, data + 1, n);
    if ((data[0] & FIX_CRC) != 0 && n >= CRC_BYTES) {
        uint32_t crc = htole32(crc32c(0, p, n - CRC_BYTES));
        memcpy(p + n - CRC_BYTES, &crc, sizeof crc);
    }
    return str_from(p, n);
}

static void check_order(const Checkpoint *c)
{
    CHECK(c->generation > 0 && c->journal_file > 0 && c->next_container > 0);
    for (size_t i = 0; i < c->shard_count; i++) {
        CHECK(i == 0 || c->shards[i - 1].shard < c->shards[i].shard);
        CHECK(c->shards[i].first_position <= c->shards[i].last_position);
    }
    for (size_t i = 0; i < c->container_count; i++) {
        const ContainerFacts *f = &c->containers[i];
        CHECK(f->number < c->next_container && f->class < RETENTION_CLASSES);
        CHECK(f->first_position <= f->last_position && f->first_shard <= f->last_shard);
        CHECK(i == 0 || c->containers[i - 1].first_position <= f->first_position);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    AUTO(arena) a = arena_open();
    Checkpoint c, again;
    Err e = checkpoint_decode(a, take_input(a, data, size), &c);
    if (e.kind != ERR_NONE) {
        CHECK(e.kind == ERR_CORRUPT || e.kind == ERR_FORMAT);
        return 0;
    }
    check_order(&c);
    Str bytes = checkpoint_encode(a, &c);
    Err second = checkpoint_decode(a, bytes, &again);
    CHECK(second.kind == ERR_NONE && str_eq(bytes, checkpoint_encode(a, &again)));
    return 0;
}
