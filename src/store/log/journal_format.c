// SPDX-License-Identifier: Apache-2.0
#include "store/log/journal_format.h"

#include "codec/crc.h"
#include "codec/little.h"

#include <string.h>

static const char file_magic[8] = { 'H', 'R', 'J', 'O', 'U', 'R', 'N', '\n' };
static const char block_magic[8] = { 'H', 'R', 'B', 'L', 'O', 'C', 'K', '\n' };

// ---- The head of a file

enum { FILE_CRC_AT = JOURNAL_HEAD_BYTES - 4 };

void journal_head_put(uint8_t *p, const JournalHead *h)
{
    memset(p, 0, JOURNAL_HEAD_BYTES);
    memcpy(p, file_magic, sizeof file_magic);
    put32(p + 8, h->format);
    put32(p + 12, h->least_reader);
    put64(p + 16, h->number);
    put64(p + 24, h->salt);
    put64(p + 32, h->epoch);
    put64(p + 40, (uint64_t)h->created_ns);
    put64(p + 48, h->file_bytes);
    put32(p + FILE_CRC_AT, crc32c(0, p, FILE_CRC_AT));
}

Err journal_head_get(const uint8_t *p, JournalHead *ret)
{
    if (memcmp(p, file_magic, sizeof file_magic) != 0)
        return fail(ERR_CORRUPT, "not the head of a journal file");
    if (crc32c(0, p, FILE_CRC_AT) != get32(p + FILE_CRC_AT))
        return fail(ERR_CORRUPT, "the head of a journal file is damaged");
    JournalHead h = {
        .format = get32(p + 8),
        .least_reader = get32(p + 12),
        .number = get64(p + 16),
        .salt = get64(p + 24),
        .epoch = get64(p + 32),
        .created_ns = (int64_t)get64(p + 40),
        .file_bytes = get64(p + 48),
    };
    if (h.least_reader > JOURNAL_FORMAT)
        return fail(ERR_FORMAT, "the journal was written by a newer program");
    *ret = h;
    return OK;
}

// ---- Blocks

enum { BLOCK_CRC_AT = BLOCK_HEAD_BYTES - 4 };

uint32_t block_crc(const uint8_t *p, size_t bytes)
{
    static const uint8_t zeros[4];
    uint32_t crc = crc32c(0, p, BLOCK_CRC_AT);
    crc = crc32c(crc, zeros, sizeof zeros);
    return crc32c(crc, p + BLOCK_HEAD_BYTES, bytes - BLOCK_HEAD_BYTES);
}

void block_seal(uint8_t *p, BlockHead *h)
{
    memset(p, 0, BLOCK_HEAD_BYTES);
    memcpy(p, block_magic, sizeof block_magic);
    put64(p + 8, h->salt);
    put64(p + 16, h->epoch);
    put64(p + 24, h->number);
    put64(p + 32, h->predecessor);
    put64(p + 40, h->durable);
    put64(p + 48, (uint64_t)h->arrival_ms);
    put32(p + 56, (uint32_t)(h->place / JOURNAL_ALIGN_BYTES));
    put32(p + 60, h->bytes);
    put32(p + 64, h->previous_crc);
    put32(p + 68, h->extents);
    put16(p + 72, h->part);
    put16(p + 74, h->parts);
    put32(p + 76, h->used_bytes);
    h->crc = block_crc(p, h->bytes);
    put32(p + BLOCK_CRC_AT, h->crc);
}

bool block_head_get(const uint8_t *p, uint64_t salt, uint64_t place, uint64_t file_bytes,
                    BlockHead *ret)
{
    if (memcmp(p, block_magic, sizeof block_magic) != 0 || get64(p + 8) != salt)
        return false;
    BlockHead h = {
        .salt = salt,
        .epoch = get64(p + 16),
        .number = get64(p + 24),
        .predecessor = get64(p + 32),
        .durable = get64(p + 40),
        .arrival_ms = (int64_t)get64(p + 48),
        .place = (uint64_t)get32(p + 56) * JOURNAL_ALIGN_BYTES,
        .bytes = get32(p + 60),
        .previous_crc = get32(p + 64),
        .extents = get32(p + 68),
        .part = get16(p + 72),
        .parts = get16(p + 74),
        .used_bytes = get32(p + 76),
        .crc = get32(p + BLOCK_CRC_AT),
    };
    bool sane = h.place == place && h.bytes >= JOURNAL_ALIGN_BYTES &&
                h.bytes % JOURNAL_ALIGN_BYTES == 0 && h.bytes <= BLOCK_BYTES_LARGEST &&
                h.bytes <= file_bytes - place && h.used_bytes >= BLOCK_HEAD_BYTES &&
                h.used_bytes <= h.bytes && h.part < h.parts && h.number > h.predecessor &&
                h.durable < h.number && h.number < UINT64_C(1) << 45 && h.arrival_ms >= 0;
    if (sane)
        *ret = h;
    return sane;
}

// ---- Extents

enum { EXTENT_CRC_AT = EXTENT_HEAD_BYTES - 4 };

static uint32_t head_crc(const uint8_t *p, uint64_t block_number)
{
    uint8_t number[8];
    put64(number, block_number);
    return crc32c(crc32c(0, number, sizeof number), p, EXTENT_CRC_AT);
}

static uint32_t extent_crc(const uint8_t *p, uint64_t block_number, size_t bytes)
{
    return crc32c(head_crc(p, block_number), p + EXTENT_HEAD_BYTES, bytes);
}

uint32_t extent_begin(uint8_t *p, uint64_t block_number, const ExtentHead *h)
{
    memset(p, 0, EXTENT_HEAD_BYTES);
    put64(p, h->shard);
    put32(p + 8, h->first_ordinal);
    put32(p + 12, h->count);
    put32(p + 16, h->bytes);
    p[20] = h->kind;
    put32(p + 24, h->key_version);
    return head_crc(p, block_number);
}

void extent_end(uint8_t *p, uint32_t crc)
{
    put32(p + EXTENT_CRC_AT, crc);
}

void extent_seal(uint8_t *p, uint64_t block_number, ExtentHead *h)
{
    h->crc = crc32c(extent_begin(p, block_number, h), p + EXTENT_HEAD_BYTES, h->bytes);
    extent_end(p, h->crc);
}

Err extent_head_get(const uint8_t *p, size_t n, ExtentHead *ret)
{
    if (n < EXTENT_HEAD_BYTES)
        return fail(ERR_CORRUPT, "an extent is cut off");
    ExtentHead h = {
        .shard = get64(p),
        .first_ordinal = get32(p + 8),
        .count = get32(p + 12),
        .bytes = get32(p + 16),
        .kind = p[20],
        .key_version = get32(p + 24),
        .crc = get32(p + EXTENT_CRC_AT),
    };
    if (h.bytes > n - EXTENT_HEAD_BYTES)
        return fail(ERR_CORRUPT, "an extent is longer than its block");
    if (h.kind > EXTENT_CONTROL || h.key_version != 0)
        return fail(ERR_FORMAT, "an extent of a kind that this program does not know");
    *ret = h;
    return OK;
}

Err extent_get(const uint8_t *p, size_t n, uint64_t block_number, ExtentHead *ret)
{
    ExtentHead h;
    Err e = extent_head_get(p, n, &h);
    if (e.kind == ERR_CORRUPT)
        return e;
    if (extent_crc(p, block_number, get32(p + 16)) != get32(p + EXTENT_CRC_AT))
        return fail(ERR_CORRUPT, "the checksum of an extent is wrong");
    TRY(e); // only what is not damaged is a newer program's
    *ret = h;
    return OK;
}

// ---- Records

// Of a large record: still in the cache when it is summed, and whole groups of base64.
enum { SUMMED_PIECE_BYTES = 24 << 10 };
_Static_assert(SUMMED_PIECE_BYTES % 3 == 0, "blob_skip");

static size_t put_bytes(uint8_t *p, size_t at, Str s)
{
    if (s.n > 0)
        memcpy(p + at, s.p, s.n);
    return at + s.n;
}

// All but the data. Returns where that goes.
static size_t record_begin(uint8_t *p, Str key, Str hash_key, size_t data_bytes)
{
    put16(p, (uint16_t)key.n);
    p[2] = (uint8_t)hash_key.n;
    p[3] = 0;
    put32(p + 4, (uint32_t)data_bytes);
    size_t at = put_bytes(p, RECORD_HEAD_BYTES, key);
    return put_bytes(p, at, hash_key);
}

size_t record_put(uint8_t *p, Str key, Str hash_key, Blob data)
{
    size_t at = record_begin(p, key, hash_key, data.n);
    blob_copy(p + at, data);
    return at + data.n;
}

size_t record_put_summed(uint8_t *p, Str key, Str hash_key, Blob data, uint32_t *crc)
{
    size_t at = record_begin(p, key, hash_key, data.n), summed = 0;
    do {
        Blob piece = { data.p, MIN(data.n, (size_t)SUMMED_PIECE_BYTES), data.is_base64 };
        blob_copy(p + at, piece);
        at += piece.n;
        *crc = crc32c(*crc, p + summed, at - summed);
        summed = at;
        data = blob_skip(data, piece.n);
    } while (data.n > 0);
    return at;
}

bool record_next(const uint8_t *p, size_t n, size_t *at, Record *ret)
{
    if (n - *at < RECORD_HEAD_BYTES)
        return false;
    const uint8_t *head = p + *at;
    size_t key = get16(head), hash_key = head[2], data = get32(head + 4);
    if (n - *at - RECORD_HEAD_BYTES < key + hash_key + data)
        return false;
    const uint8_t *bytes = head + RECORD_HEAD_BYTES;
    *ret = (Record){
        .key = str_from(bytes, key),
        .hash_key = str_from(bytes + key, hash_key),
        .data = str_from(bytes + key + hash_key, data),
    };
    *at += record_bytes(key, hash_key, data);
    return true;
}

void control_put(uint8_t *p, const Control *c)
{
    memset(p, 0, CONTROL_BYTES);
    p[0] = c->what;
    put64(p + 8, c->id);
    put64(p + 16, c->position);
    put64(p + 24, (uint64_t)c->arrival_ms);
}

Err control_get(const uint8_t *p, Control *ret)
{
    Control c = {
        .what = p[0],
        .id = get64(p + 8),
        .position = get64(p + 16),
        .arrival_ms = (int64_t)get64(p + 24),
    };
    if (c.what < CONTROL_END || c.what > CONTROL_DROP)
        return fail(ERR_FORMAT, "a control record that this program does not know");
    *ret = c;
    return OK;
}
