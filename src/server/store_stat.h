// SPDX-License-Identifier: Apache-2.0
// What a store holds, in figures: of a running server, or of a directory. One JSON document for
// both, which `headrace store stat` prints.
#pragma once
#include "codec/json.h"
#include "os/io.h"
#include "store/inspect.h"
#include "store/log.h"

typedef struct StoreStat {
    Str data_dir;
    bool is_online;
    uint64_t journal_files, journal_bytes, spare_bytes;
    uint64_t journal_records; // not sealed yet; offline only
    uint64_t blocks;          // that hold them; offline only
    uint64_t unsealed_bytes;  // of blocks that are read at a start
    struct {
        uint64_t files, bytes, raw_bytes, records;
    } classes[RETENTION_CLASSES];
    uint64_t shards;              // known to the log, or with a row in the checkpoint
    int64_t oldest_ms, newest_ms; // arrival; 0: no record
    uint64_t kv_bytes, kv_log_bytes;
    uint64_t leftovers, problems; // offline only
    LogStats log;                 // online only
} StoreStat;

Err store_stat_online(struct io *io, Str data_dir, struct log *l, StoreStat *ret);
Err store_stat_offline(struct io *io, Str data_dir, struct inspect *i, StoreStat *ret);
void store_stat_write(struct buf *b, const StoreStat *s);
