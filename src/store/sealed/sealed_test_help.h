// SPDX-License-Identifier: Apache-2.0
// A sealed set beside a plain list of what it must hold.
#pragma once
#include "base/test.h"
#include "store/sealed/sealed.h"

enum { RIG_SHARDS = 40 }; // ids 1..RIG_SHARDS

#define RIG_HOUR_MS INT64_C(3600000)
#define RIG_DAY_NS (INT64_C(86400) * 1000000000)

// A record as the model keeps it; its bytes follow from shard and position.
typedef struct RigRecord {
    uint64_t shard, position;
    int64_t arrival_ms;
    size_t data_bytes;
} RigRecord;

struct rig {
    SealedConfig config;
    struct sealed *s;
    Checkpoint opened; // what sealed_open has told
    struct arena *arena;
    _Atomic int64_t retention_ns[RIG_SHARDS + 1];

    RigRecord *records; // by position
    size_t n, room;
    size_t sealed; // so many are in containers; the rest waits
    uint64_t block;
    int64_t now_ms;
    uint64_t state; // of the random numbers
};

// On that table, in /log. Every shard is kept for a day.
struct rig *rig_open(struct io *io, uint64_t seed);
void rig_close(struct rig *r);
AUTO_CLOSE(rig)
// Closes the set and opens it on another table; the model stays.
void rig_reopen(struct rig *r, struct io *io);

uint64_t rig_random(struct rig *r, uint64_t below);
// One block: `count` records of the shard, so large each.
void rig_add(struct rig *r, uint64_t shard, unsigned count, size_t data_bytes);
// One block of records of several shards.
void rig_add_some(struct rig *r);
// What waits, as one container per class; sealed_commit. On an error it still waits.
Err rig_seal(struct rig *r);
void rig_add_and_seal(struct rig *r, unsigned blocks); // must work

uint64_t rig_end(const struct rig *r); // behind the last sealed position
int64_t rig_over_ms(const struct rig *r, uint64_t shard, int64_t now_ms); // SealedRead.after_ms
// Compares one read of up to `max` records with the model.
void rig_expect(struct rig *r, const SealedRead *read, size_t max);
void rig_expect_time(struct rig *r, const SealedRead *read, int64_t arrival_ms);
void rig_expect_all(struct rig *r);                     // every shard from the beginning to the end
void rig_expect_random(struct rig *r, unsigned rounds); // reads from anywhere
SealedStats rig_stats(struct rig *r);
