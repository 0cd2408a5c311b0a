// SPDX-License-Identifier: Apache-2.0
// inspect.c opens and walks the journal, inspect_chain.c decides which blocks count,
// inspect_records.c reads records.
#pragma once
#include "store/inspect.h"

enum { POSITION_ORDINAL_BITS = 18 }; // store/log.h

// A control record and the block it lies in.
struct found_control {
    uint32_t block;
    Control control;
};

struct inspect {
    InspectConfig config;
    struct arena *a;
    Checkpoint checkpoint;
    bool has_checkpoint, checkpoint_is_bad;
    InspectFile *files;
    size_t file_count;
    InspectBlock *blocks; // good ones, in the order of files and places
    size_t block_count, block_room;
    InspectContainer *containers;
    size_t container_count;
    struct found_control *controls;
    size_t control_count, control_room;
    uint64_t *dropped; // sorted
    size_t dropped_count;
    uint64_t problems;
};

void inspect_problem(struct inspect *i, Str file, uint64_t offset, Err e);
// Makes room for one more of the given size.
void *inspect_grow(void *at, size_t n, size_t *room, size_t bytes);
Str inspect_path(const struct inspect *i, struct arena *a, Str name);
Str inspect_container_dir(const struct inspect *i, struct arena *a);
bool inspect_is_dropped(const struct inspect *i, uint64_t shard);
// The extents of a block: each is handed to visit, which says whether to go on.
Err inspect_extents(const uint8_t *p, const BlockHead *h,
                    bool (*visit)(void *self, const ExtentHead *x, const uint8_t *records),
                    void *self);

// Sets the states of all blocks.
void inspect_chain(struct inspect *i);
