// SPDX-License-Identifier: Apache-2.0
// The checkpoint: which part of the journal is over and where its records went. One small file,
// `checkpoint.hrp` in the log's directory, replaced as a whole; what it does not list does not
// count.
//
//     head (128 bytes), a row per shard (48 bytes), a row per container (96 bytes), CRC32C
//     head = magic (8), format, least reader format (4 each), generation, sealed_block,
//            journal_file, least_number, least_epoch, next_container, arrival_ms, flags (1: it is
//            restored), how many shards, how many containers (8 each), zeros
//
// The fields of a row are those of its struct, in their order. Numbers are little endian.
#pragma once
#include "store/sealed/container.h"

enum { CHECKPOINT_FORMAT = 1, CHECKPOINT_LEAST_READER = 1 };

// Shards that have records in containers, or have ended. One that is not declared after a start is
// ERR_CORRUPT (log_ready); records of a shard without a row are over, wherever they lie.
typedef struct CheckpointShard {
    uint64_t shard;
    uint64_t first_position; // of its oldest sealed record when it was sealed; 0: none is
    uint64_t last_position;  // of its newest sealed record
    int64_t last_arrival_ms;
    uint64_t end_position; // 0: it has not ended
    int64_t end_arrival_ms;
} CheckpointShard;

typedef struct Checkpoint {
    uint64_t generation;     // grows with every write; from 1
    uint64_t sealed_block;   // the newest block of the chain that is over; 0: none
    uint64_t journal_file;   // the first journal file that counts, from 1; those before are over
    uint64_t least_number;   // block numbers and epochs that are given from now on are greater
    uint64_t least_epoch;    //
    uint64_t next_container; // no container has had this number or a greater one; from 1
    int64_t arrival_ms;      // of the newest block that is over
    bool is_restored;        // written by a restore: no journal file has to be there
    CheckpointShard *shards; // by id
    size_t shard_count;
    ContainerFacts *containers; // by first_position, then number
    size_t container_count;
} Checkpoint;

// ERR_NOT_FOUND: there is none (a new log). ERR_CORRUPT (also of every other copy that the table
// keeps), ERR_FORMAT. Arrays lie in the arena.
Err checkpoint_read(struct io *io, struct arena *a, Str dir, Checkpoint *ret);
// Durable when it returns; after an error either the old or the new one is there. ERR_LIMIT: larger
// than a reader would take; ERR_INVALID: rows that a reader would refuse.
Err checkpoint_write(struct io *io, struct arena *tmp, Str dir, const Checkpoint *c);
// The same. *ret_untouched, set in any case: it failed before the old one could be replaced, so
// that one is there for certain.
Err checkpoint_replace(struct io *io, struct arena *tmp, Str dir, const Checkpoint *c,
                       bool *ret_untouched);
// The bytes, for readers of backups and the fuzzer.
Str checkpoint_encode(struct arena *a, const Checkpoint *c);
Err checkpoint_decode(struct arena *a, Str bytes, Checkpoint *ret);
