// SPDX-License-Identifier: Apache-2.0
// The directory of a log, read as it lies there by a reader of its own: nothing is written or
// locked, and damage ends nothing. It is told, and what can still be read is. For tools that look
// at a stopped server's directory or at a copy of one.
//
// Which blocks count follows log/journal_format.h, as recovery does. Behind damage the chain is
// taken up again at the next good block that says that it counts.
#pragma once
#include "store/log/journal_format.h"
#include "store/sealed/checkpoint.h"

struct inspect;

typedef struct InspectConfig {
    struct io *io;
    Str dir; // the log's
    // What is wrong, where in which file. NULL: nobody wants to know.
    void (*problem)(void *self, Str file, uint64_t offset, Err e);
    void *self;
} InspectConfig;

typedef struct InspectFile {
    Str name; // in the directory
    uint64_t bytes;
    JournalHead head; // zeros if it cannot be read
    bool is_over;     // it does not count: sealed, a double, or without a readable head
} InspectFile;

typedef enum InspectState {
    INSPECT_COUNTS,
    INSPECT_VOID,     // of an epoch that went on without it, or never acknowledged
    INSPECT_PARTIAL,  // of an append whose other blocks are not there: never acknowledged
    INSPECT_DETACHED, // counts, but what lay before it is damaged
    INSPECT_OVER,     // its records are in containers
} InspectState;

typedef struct InspectBlock {
    uint32_t file; // of inspect_files
    InspectState state;
    BlockHead head;
    uint32_t records, controls;
} InspectBlock;

typedef struct InspectContainer {
    Str name;
    uint64_t bytes;       // of the file; 0: it is not there
    bool is_listed;       // by the checkpoint; otherwise it is left over from a crash
    ContainerFacts facts; // as the checkpoint has them, else as the file has them, else zeros
} InspectContainer;

typedef struct InspectRecord {
    uint64_t shard, position;
    int64_t arrival_ms;
    bool is_sealed; // it lies in a container
    Record record;  // valid in the call only
} InspectRecord;

typedef struct InspectStats {
    uint64_t files, file_bytes, spare_bytes; // journal files that count; of the others
    uint64_t blocks, block_bytes, records;   // that count
    uint64_t void_blocks;
    struct {
        uint64_t files, bytes, raw_bytes, records;
    } classes[RETENTION_CLASSES]; // listed containers
    uint64_t leftovers;           // containers that are not listed
    uint64_t problems;            // told so far
    int64_t oldest_ms, newest_ms; // arrival; 0: there is no record
} InspectStats;

// Reads heads, the checkpoint and every block. ERR_NOT_FOUND: there is no such directory.
Err inspect_open(const InspectConfig *config, struct inspect **ret);
void inspect_close(struct inspect *i); // NULL is fine
AUTO_CLOSE(inspect)

const Checkpoint *inspect_checkpoint(const struct inspect *i); // NULL: none, or not readable
const InspectFile *inspect_files(const struct inspect *i, size_t *ret_n);   // by number
const InspectBlock *inspect_blocks(const struct inspect *i, size_t *ret_n); // in their order
const InspectContainer *inspect_containers(const struct inspect *i, size_t *ret_n);
void inspect_stats(const struct inspect *i, InspectStats *ret);

// Visits records that count, until visit returns false. Of one shard from a position on: in the
// order of positions. Of all (shard 0): container by container, then the journal. Records past
// their retention are among them as long as they lie there. ERR_IO; damage is told and skipped.
Err inspect_records(struct inspect *i, uint64_t shard, uint64_t from,
                    bool (*visit)(void *self, const InspectRecord *r), void *self);

// Reads and checks every chunk of the listed containers; damage is told.
Err inspect_check_containers(struct inspect *i);
