// SPDX-License-Identifier: Apache-2.0
// The bytes of the journal. All numbers are little endian.
//
//     file    = head (4096 bytes), then blocks at multiples of 4096; behind the last block lies
//               what the file held in an earlier life, or zeros
//     block   = head (96 bytes), extents, zeros up to a multiple of 4096
//     extent  = head (32 bytes), records of one shard, or control records
//     record  = head (8 bytes), key, explicit hash key, data
//
// Every life of a file has a random salt, which each of its blocks repeats. So a block of an
// earlier life is never taken for one of this life, nor is a forgery inside a client's record.
//
// The blocks form one chain over all files: each names its predecessor and the predecessor's
// checksum. Within an epoch, numbers grow by one. Each start and each failed write begins a new
// epoch, whose first block names the last block that counts: what lies between them is void. Each
// block also says up to which number everything was durable when it was sealed. That tells a torn
// tail (nothing behind it was sealed after it had become durable) from damage.
#pragma once
#include "codec/base64.h"

enum {
    JOURNAL_FORMAT = 1,       // what this program writes
    JOURNAL_LEAST_READER = 1, // the oldest format number whose readers understand it
    JOURNAL_ALIGN_BYTES = 4096,
    JOURNAL_HEAD_BYTES = 4096,
    BLOCK_HEAD_BYTES = 96,
    EXTENT_HEAD_BYTES = 32,
    RECORD_HEAD_BYTES = 8,
    CONTROL_BYTES = 32,
    // Blocks are gathered up to this size; one that holds a single larger record is larger.
    BLOCK_BYTES_MAX = 4 << 20,
    BLOCK_RECORDS_MAX = 1 << 16,
    // An extent is closed once it holds this much, so that a reader needs no more than it asks for.
    EXTENT_BYTES_SPLIT = 256 << 10,
};

// The largest block there can be: one record at every limit and its heads.
#define BLOCK_BYTES_LARGEST ((uint64_t)(11 << 20))

typedef struct JournalHead {
    uint32_t format, least_reader;
    uint64_t number; // of the file, from 1; never used twice
    uint64_t salt;
    uint64_t epoch; // when this life began
    int64_t created_ns;
    uint64_t file_bytes;
} JournalHead;

typedef struct BlockHead {
    uint64_t salt, epoch, number;
    uint64_t predecessor; // number of the block before it in the chain; 0: there is none
    uint64_t durable;     // all blocks of the chain up to this one were on disk
    int64_t arrival_ms;
    uint64_t place;        // its own offset in the file
    uint32_t bytes;        // of the whole block
    uint32_t used_bytes;   // of head and extents
    uint32_t previous_crc; // the checksum in the predecessor's head
    uint32_t extents;
    uint16_t part, parts; // of one append that needs several blocks; 0 of 1 otherwise
    uint32_t crc;         // of the whole block, this field counted as zeros
} BlockHead;

typedef enum ExtentKind { EXTENT_RECORDS, EXTENT_CONTROL } ExtentKind;

typedef struct ExtentHead {
    uint64_t shard; // 0 for control records
    uint32_t first_ordinal, count;
    uint32_t bytes; // of the records, without this head
    uint8_t kind;
    uint32_t key_version; // of the key that encrypts it; 0: plain
    uint32_t crc;         // of the block number, this head up to here, and the records
} ExtentHead;

typedef enum ControlWhat {
    CONTROL_END = 1, // shard `id` ended at `position`, `arrival_ms`
    CONTROL_DROP,    // shard `id` is forgotten; its records lie in files up to `position`
} ControlWhat;

typedef struct Control {
    uint8_t what;
    uint64_t id;
    uint64_t position;
    int64_t arrival_ms;
} Control;

typedef struct Record {
    Str key, hash_key, data;
} Record;

void journal_head_put(uint8_t *p, const JournalHead *h); // JOURNAL_HEAD_BYTES, checksum included
// ERR_CORRUPT: not a head, or damaged. ERR_FORMAT: a newer program's.
Err journal_head_get(const uint8_t *p, JournalHead *ret);

// Puts the head in front of a block whose extents are in place, checksum included; sets h->crc.
void block_seal(uint8_t *p, BlockHead *h);
// Whether these are the first bytes of a block that could lie at its place in a file of this salt
// and size. The checksum is not looked at.
bool block_head_get(const uint8_t *p, uint64_t salt, uint64_t place, uint64_t file_bytes,
                    BlockHead *ret);
uint32_t block_crc(const uint8_t *p, size_t bytes);

// Puts the head in front of h->bytes of records, checksum included.
void extent_seal(uint8_t *p, uint64_t block_number, ExtentHead *h);
// The same in two steps, where the head is known before the records are there: the checksum of the
// head, to be continued over all records, and then its place.
uint32_t extent_begin(uint8_t *p, uint64_t block_number, const ExtentHead *h);
void extent_end(uint8_t *p, uint32_t crc);
// The head alone, of an extent whose bytes are known to be right. ERR_CORRUPT, ERR_FORMAT.
Err extent_head_get(const uint8_t *p, size_t n, ExtentHead *ret);
// Reads and checks one extent out of n bytes that begin with it: ERR_CORRUPT.
Err extent_get(const uint8_t *p, size_t n, uint64_t block_number, ExtentHead *ret);

static inline size_t record_bytes(size_t key, size_t hash_key, size_t data)
{
    return RECORD_HEAD_BYTES + key + hash_key + data;
}
// Returns where the next record goes.
size_t record_put(uint8_t *p, Str key, Str hash_key, Blob data);
// The same, and continues a checksum over the record while it is in the cache.
size_t record_put_summed(uint8_t *p, Str key, Str hash_key, Blob data, uint32_t *crc);
// The record at *at of n bytes, which is moved behind it; its parts point into p.
bool record_next(const uint8_t *p, size_t n, size_t *at, Record *ret);

void control_put(uint8_t *p, const Control *c); // CONTROL_BYTES
Err control_get(const uint8_t *p, Control *ret);
