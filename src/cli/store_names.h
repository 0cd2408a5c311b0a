// SPDX-License-Identifier: Apache-2.0
// Which stream and shard an incarnation is, from the rows of a stopped server.
#pragma once
#include "cli/command.h"

typedef struct ShardName {
    uint64_t id; // incarnation
    Str account, region, stream;
    uint32_t index;
    int64_t created_s;
} ShardName;

typedef struct ShardNames {
    ShardName *at; // by incarnation
    size_t n, room;
} ShardNames;

// Reads the rows in a copy of DIR/headrace.db, in memory. Everything lies in the arena.
Err store_names(struct arena *a, Str data_dir, ShardNames *ret);
const ShardName *store_name_find(const ShardNames *names, uint64_t id); // NULL: no row
// The sequence number of a record, as clients see it.
Str store_name_sequence(struct arena *a, const ShardName *name, uint64_t position,
                        int64_t arrival_ms);
