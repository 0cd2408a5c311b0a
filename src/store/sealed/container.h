// SPDX-License-Identifier: Apache-2.0
// A container: records of many shards that have left the journal, sorted by shard, compressed, in
// one file that is written once, renamed into place and never changed. All numbers are little
// endian.
//
//     file    = head (4096 bytes), chunks, footer, zeros, tail (the last 64 bytes); its length is a
//               multiple of 4096
//     chunk   = head (64 bytes), runs of one shard as one zstd frame, or plain if that is no longer
//     run     = head (32 bytes), records of one block as in the journal (journal_format.h)
//     footer  = a row per shard, by id; then a row per chunk, in the order of the file
//
// A chunk ends once it holds CHUNK_BYTES_SPLIT, so that a reader needs no more than it asks for.
// Every checksum (CRC32C) covers the container's random id too: a piece of another file, or of an
// earlier file of the same name, is never taken for one of this.
//
// Where the io table keeps files several times, reading mends damage of one copy from another.
#pragma once
#include "os/io.h"
#include "store/log/journal_format.h"

enum {
    CONTAINER_FORMAT = 1,       // what this program writes
    CONTAINER_LEAST_READER = 1, // the oldest format number whose readers understand it
    CONTAINER_HEAD_BYTES = 4096,
    CONTAINER_TAIL_BYTES = 64,
    CHUNK_HEAD_BYTES = 64,
    RUN_HEAD_BYTES = 32,
    CHUNK_BYTES_SPLIT = 256 << 10, // of runs, uncompressed
};
// Of the runs of one chunk: what it may hold before it is split, and one largest block.
#define CHUNK_BYTES_LARGEST ((size_t)(12 << 20))
// Of the records of one run. A block of the journal has less.
#define RUN_BYTES_LARGEST (CHUNK_BYTES_LARGEST - CHUNK_BYTES_SPLIT - RUN_HEAD_BYTES)

// How long records are kept, in classes, so that a file is over as a whole.
typedef enum RetentionClass {
    RETENTION_DAY,     // up to 24 h
    RETENTION_WEEK,    // up to 168 h
    RETENTION_YEAR,    // longer
    RETENTION_CLASSES, // how many there are
} RetentionClass;

RetentionClass retention_class(int64_t retention_ns);

// What is known of a container without opening it.
typedef struct ContainerFacts {
    uint64_t number;    // in its name, container-0000000001.hrc; never used twice
    uint64_t id;        // random
    uint64_t bytes;     // of the file
    uint64_t raw_bytes; // of the runs, uncompressed
    uint64_t records;
    uint64_t first_position, last_position; // of any of its records
    int64_t first_arrival_ms, last_arrival_ms;
    uint64_t first_shard, last_shard;
    uint32_t shards; // how many
    uint32_t class;  // RetentionClass
} ContainerFacts;

// Records of one shard that lay in one block: positions grow by one, arrival is the same.
typedef struct ContainerRun {
    uint64_t position; // of the first
    int64_t arrival_ms;
    uint32_t count;
    uint32_t bytes;         // of the records
    const uint8_t *records; // as record_put has laid them out
} ContainerRun;

// Records that were damaged before they could be sealed. The run has their positions and its bytes
// are all FF, which is no record: whoever reads it, also an older program, finds ERR_CORRUPT.
bool run_is_lost(const ContainerRun *run);

// ---- Names

enum { CONTAINER_NAME_BYTES = 32 };

Str container_path(struct arena *a, Str dir, uint64_t number);
bool container_name_number(Str name, uint64_t *ret); // whether it is the name of a container

// ---- Writing. By one thread. Nothing is visible under its name before container_finish.

struct container_writer;

// Begins a file of that number aside; direct I/O where there is any. ERR_FULL, ERR_IO.
Err container_create(struct io *io, Str dir, uint64_t number, RetentionClass class,
                     struct container_writer **ret);

// From now on speed matters more than space: the caller has fallen behind.
void container_hurry(struct container_writer *w);

// Shards come in ascending order of ids, the runs of a shard in ascending order of positions. The
// bytes are copied. ERR_CORRUPT: the records of the run are not `count`, or not `bytes` long. After
// an error only container_abandon.
Err container_add(struct container_writer *w, uint64_t shard, const ContainerRun *run);
// A run that is lost (run_is_lost), of which only position, arrival and count are looked at.
Err container_add_lost(struct container_writer *w, uint64_t shard, const ContainerRun *run);

// Footer, sync, rename, sync of the directory. The writer is gone afterwards, whatever happened; on
// an error so is its file. At least one run must have been added.
Err container_finish(struct container_writer *take_w, ContainerFacts *ret);
void container_abandon(struct container_writer *take_w); // NULL is fine

// ---- Reading. Thread safe: an open container does not change.

struct container;

typedef struct ContainerShard {
    uint64_t shard;
    uint64_t first_position, last_position;
    int64_t first_arrival_ms, last_arrival_ms;
    uint64_t records;
    uint64_t raw_bytes;
    uint32_t first_chunk, chunks; // rows of the chunk table
} ContainerShard;

typedef struct ContainerChunk {
    uint64_t place;         // of its head in the file
    uint32_t stored_bytes;  // behind the head
    uint32_t raw_bytes;     // of the runs
    uint32_t records, runs; // how many
    uint64_t first_position, last_position;
    int64_t first_arrival_ms, last_arrival_ms;
} ContainerChunk;

// Reads head, tail and footer and compares them with the facts. ERR_CORRUPT: damaged or another
// file; ERR_FORMAT: a newer program's; ERR_NOT_FOUND: it is not there. Logged with its name.
Err container_open(struct io *io, Str dir, const ContainerFacts *facts, struct container **ret);
// The same of a file anywhere, whatever its name.
Err container_open_path(struct io *io, Str path, const ContainerFacts *facts,
                        struct container **ret);
// The facts from the file itself, for tools that find one alone.
Err container_read_facts(struct io *io, Str path, ContainerFacts *ret);
void container_close(struct container *c); // NULL is fine
AUTO_CLOSE(container)

size_t container_memory(const struct container *c); // bytes that it holds while open
const ContainerFacts *container_facts(const struct container *c);
const ContainerShard *container_shards(const struct container *c, size_t *ret_n); // by id
const ContainerShard *container_find(const struct container *c, uint64_t shard);  // NULL: none
const ContainerChunk *container_chunk(const struct container *c, uint32_t row);

// Reads n neighbouring chunks from row `first`, which is one of that shard's, on in one go, checks
// and unpacks them. They may reach into the following shards.
// Each *ret_runs is raw_bytes long and the caller's, to be freed with container_free_runs.
// ERR_CORRUPT names file and offset in the log; on an error nothing is handed over.
Err container_read(struct container *c, uint64_t shard, uint32_t first, uint32_t n,
                   uint8_t **ret_runs);
void container_free_runs(uint8_t *take_runs, size_t raw_bytes); // NULL is fine

// The run at *at of an unpacked chunk, which is moved behind it; records points into p. False: the
// end, or (*ret_err) damage.
bool container_run_next(const uint8_t *p, size_t n, size_t *at, ContainerRun *ret, Err *ret_err);
