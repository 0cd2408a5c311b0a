// SPDX-License-Identifier: Apache-2.0
// Recovery over arbitrary files: it ends, stays inside its bytes, and what it accepts is in order,
// can be read and is found again by the next recovery.
//
//     input = flags, pages of the first file, bytes of the first file, bytes of the second
//
// FIX_CRC makes the checksums right, so that mutations reach what lies behind them.
#include "os/io_mem.h"
#include "store/log/journal_priv.h"
#include "codec/little.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIX_CRC = 1, FIX_CHAIN = 2, FILE_BYTES = JOURNAL_FILE_BYTES_LEAST };

static void fix_head(uint8_t *p)
{
    JournalHead h = {
        .format = get32(p + 8),
        .least_reader = get32(p + 12),
        .number = get64(p + 16),
        .salt = get64(p + 24),
        .epoch = get64(p + 32),
        .created_ns = (int64_t)get64(p + 40),
        .file_bytes = FILE_BYTES,
    };
    journal_head_put(p, &h);
}

static void fix_extents(uint8_t *p, const BlockHead *b)
{
    size_t at = BLOCK_HEAD_BYTES;
    for (uint32_t i = 0; i < b->extents && b->used_bytes - at >= EXTENT_HEAD_BYTES; i++) {
        uint8_t *x = p + at;
        ExtentHead h = {
            .shard = get64(x),
            .first_ordinal = get32(x + 8),
            .count = get32(x + 12),
            .bytes = get32(x + 16),
            .kind = x[20],
            .key_version = get32(x + 24),
        };
        if (h.bytes > b->used_bytes - at - EXTENT_HEAD_BYTES)
            return;
        extent_seal(x, b->number, &h);
        at += EXTENT_HEAD_BYTES + h.bytes;
    }
}

static void fix_file(uint8_t *p, unsigned flags, uint32_t *crc)
{
    fix_head(p);
    uint64_t salt = get64(p + 24);
    for (size_t at = JOURNAL_HEAD_BYTES; at + JOURNAL_ALIGN_BYTES <= FILE_BYTES;) {
        BlockHead b;
        if (!block_head_get(p + at, salt, at, FILE_BYTES, &b)) {
            at += JOURNAL_ALIGN_BYTES;
            continue;
        }
        fix_extents(p + at, &b);
        if (flags & FIX_CHAIN)
            b.previous_crc = *crc;
        block_seal(p + at, &b);
        *crc = b.crc;
        at += b.bytes;
    }
}

static void write_file(struct io *io, struct arena *a, unsigned number, const uint8_t *bytes)
{
    Str path = str_fmt(a, "/log/journal-%010u.hrj", number);
    Err e = io_write_file(io, a, path, str_from(bytes, FILE_BYTES));
    CHECK(e.kind == ERR_NONE);
}

static void read_shard(struct log *l, struct arena *a, struct shard *s)
{
    s->retention_ns = INT64_MAX;
    uint64_t before = 0;
    for (uint32_t i = s->data->first; i < s->data->end; i++) {
        CHECK(s->data->at[i].position >= before);
        before = s->data->at[i].position + s->data->at[i].count;
    }
    LogRead read = { .shard = s->id, .max_records = 1000, .max_bytes = 1 << 20 };
    LogBatch batch;
    Err e = log_read(l, a, &read, &batch);
    // A checksum that was made right says nothing of the records below it.
    CHECK(e.kind == ERR_NONE || e.kind == ERR_CORRUPT);
    for (size_t i = 1; e.kind == ERR_NONE && i < batch.n; i++)
        CHECK(batch.at[i].position > batch.at[i - 1].position);
}

// The number of records found, or UINT64_MAX if the files were refused.
static uint64_t recover_once(struct io *io, struct arena *a)
{
    LogConfig config = {
        .io = io,
        .dir = S("/log"),
        .file_bytes = FILE_BYTES,
        .reserve_bytes = 1,
        .tail_cache_bytes = 1,
    };
    struct log *l = log_new(&config);
    Err e = recover(l);
    uint64_t found = UINT64_MAX;
    if (e.kind == ERR_NONE) {
        found = l->stats.recovered_records;
        CHECK(l->next_number > l->visible);
        for (size_t i = 0; i < l->shards.room; i++)
            if (shards_at(&l->shards, i) != NULL)
                read_shard(l, a, shards_at(&l->shards, i));
    }
    log_free(l);
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    AUTO(arena) a = arena_open();
    AUTO(io_mem) disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    Err e = io->mkdir(io, S("/log"));
    CHECK(e.kind == ERR_NONE);
    uint8_t *bytes = arena_alloc(a, (size_t)2 * FILE_BYTES, JOURNAL_ALIGN_BYTES);
    size_t first = MIN((size_t)data[1] * JOURNAL_ALIGN_BYTES, MIN(size - 2, (size_t)FILE_BYTES));
    size_t second = MIN(size - 2 - first, (size_t)FILE_BYTES);
    memcpy(bytes, data + 2, first);
    memcpy(bytes + FILE_BYTES, data + 2 + first, second);
    uint32_t crc = 0;
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *p = bytes + (size_t)i * FILE_BYTES;
        if (data[0] & FIX_CRC)
            fix_file(p, data[0], &crc);
        if (i == 0 || second > 0)
            write_file(io, a, i + 1, p);
    }
    uint64_t found = recover_once(io, a);
    CHECK(recover_once(io, a) == found);
    return 0;
}
