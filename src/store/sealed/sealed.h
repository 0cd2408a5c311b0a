// SPDX-License-Identifier: Apache-2.0
// The sealed part of the log: the set of containers that the checkpoint lists, what reads them, and
// what makes them fewer (merging) and gone (expiry).
//
// Readers may be many. What changes the set (sealed_commit, sealed_expire, sealed_merge) is called
// by one thread at a time. A container that is taken out of the set is unlinked when its last
// reader has gone. The functions of SealedConfig are called by that thread, without a lock held.
//
// A record lies in one container. The ranges of positions that containers hold of a shard may
// interleave, since a shard's retention class changes and merging follows it: readers go on by
// position.
//
// Memory: some 200 bytes per container, the open containers (footers) and unpacked chunks in two
// caches with limits of their own; what readers use at the moment comes on top. Reads are direct,
// so that they push nothing out of the page cache.
#pragma once
#include "store/sealed/checkpoint.h"

struct sealed;

typedef struct SealedConfig {
    struct io *io;
    Str dir;                   // the log's; containers lie in DIR/sealed, the checkpoint in DIR
    size_t read_cache_bytes;   // of unpacked chunks; 0: 32 MiB
    size_t footer_cache_bytes; // of open containers; 0: 16 MiB
    uint64_t merge_bytes_max;  // containers are merged up to this size; 0: 512 MiB
    // How long records of a shard are kept; -1: it is not declared, its records are over. Asked by
    // sealed_expire and sealed_merge, which wait until all shards are declared.
    int64_t (*retention_ns)(void *self, uint64_t shard);
    // The rows of shards as they are to stand in the checkpoint, in the arena, by id.
    void (*rows)(void *self, struct arena *a, CheckpointShard **ret, size_t *ret_n);
    void *self;
} SealedConfig;

// Reads the checkpoint and compares the directory with it: a container that is missing or of
// another length is ERR_CORRUPT, as are containers without a checkpoint. Changes nothing on disk
// but makes the directories. *ret_checkpoint, in the arena, is what was read; zeros (journal_file
// 1) if there was none.
Err sealed_open(const SealedConfig *config, struct arena *a, Checkpoint *ret_checkpoint,
                struct sealed **ret);
void sealed_close(struct sealed *s); // NULL is fine
// Removes files of containers that are not in the set: what a crash has left. Once after the open.
void sealed_clean(struct sealed *s);

// ---- Changing the set

// What happens to the journal together with new containers. Fields that are zero stay as they are.
typedef struct SealedChange {
    const ContainerFacts *added;
    size_t added_count;
    const uint64_t *removed; // numbers
    size_t removed_count;
    uint64_t sealed_block, journal_file, least_number, least_epoch;
    int64_t arrival_ms;
} SealedChange; // one with a journal_file ends Checkpoint.is_restored

// A number for a new container and its writer. Before the first container of all an empty
// checkpoint is written, so that containers without one are damage and never taken for leftovers.
Err sealed_create(struct sealed *s, RetentionClass class, struct container_writer **ret);
// Writes the checkpoint; when it is durable the new containers can be read and the removed ones are
// no more. `rows` NULL: as config.rows says now; the log passes those that will hold after it.
// On an error nothing has changed for readers: the files of `added` are removed, at once if the
// checkpoint certainly does not list them, else after the next commit that succeeds. So they are
// not to be committed again, and journal files that the change would have freed must stay.
// ERR_CORRUPT, ERR_IO: also if an added container cannot be read back.
Err sealed_commit(struct sealed *s, const SealedChange *change, const CheckpointShard *rows,
                  size_t row_count);

// Removes finished containers that will not be committed: after another one failed, say.
void sealed_discard(struct sealed *s, const ContainerFacts *facts, size_t n);

// Takes out containers in which every shard's records are past retention or of no declared shard.
// Touches no disk when nothing is due. Returns whether one was. A container whose footer cannot be
// read stays, is logged, and its error comes back after the others are done; if the footer is
// damaged, until whatever shard it may hold records of, they are over.
Err sealed_expire(struct sealed *s, int64_t now_ms, bool *ret_any);
// Merges one group of small or half-empty containers, if there is one: *ret_any. `stop` is looked
// at now and then: true gives up and changes nothing.
Err sealed_merge(struct sealed *s, int64_t now_ms, bool (*stop)(void *self), void *self,
                 bool *ret_any);
// Expiry looks again at everything: retention has changed or shards were dropped.
void sealed_retention_changed(struct sealed *s);

// ---- Reading. All may block on the disk. Positions of what is found grow.

struct chunk;

// Unpacked chunks that a reader keeps: their records stay where they are until sealed_give_back.
// They count against the memory of requests (base/memory.h) and not against the cache.
typedef struct SealedLoan {
    struct chunk **at; // the caller's, with room for so many
    size_t room, n;
    size_t bytes; // of them, unpacked
} SealedLoan;

typedef struct SealedRead {
    uint64_t shard;
    uint64_t from, to; // positions in [from, to)
    int64_t after_ms;  // records that arrived then or before are over
    size_t bytes_max;  // of keys and data: no more will be taken, about; 0: nobody knows
    SealedLoan *loan;  // NULL: nothing is kept
} SealedRead;

// Calls visit for each record until it returns false: that one is not taken. The record's bytes are
// valid in the call only, or, if it is lent, for as long as the loan. *ret_next: where to read on:
// the one that was not taken, `to` if all were. When a read fails behind records that were taken,
// that is no error yet: *ret_next is the position that the next call will fail at.
typedef bool sealed_visit_fn(void *self, uint64_t position, int64_t arrival_ms, const Record *r,
                             bool is_lent);
Err sealed_read(struct sealed *s, const SealedRead *read, sealed_visit_fn *visit, void *self,
                uint64_t *ret_next);
void sealed_give_back(struct sealed *s, SealedLoan *loan); // it is empty then
// The first position of [from, to) that arrived at or after the time and is not over: *ret_found.
Err sealed_find_time(struct sealed *s, const SealedRead *read, int64_t arrival_ms,
                     uint64_t *ret_position, bool *ret_found);

// ---- For tools

typedef struct SealedStats {
    uint64_t containers, disk_bytes, raw_bytes, records;
    uint64_t read_cache_bytes, footer_cache_bytes;
    uint64_t merges, expired; // containers, since the open
} SealedStats;
void sealed_stats(struct sealed *s, SealedStats *ret);

// Reads and checks every chunk of every container: *ret_records. ERR_CORRUPT after all were read,
// if any could not be; each is logged with file and offset.
Err sealed_check(struct sealed *s, uint64_t *ret_records);

// The facts of all containers of the set, each held: its file stays until sealed_release. For
// backups. The checkpoint as it stands goes with it.
Err sealed_hold(struct sealed *s, struct arena *a, Checkpoint *ret);
void sealed_release(struct sealed *s, const Checkpoint *held);
