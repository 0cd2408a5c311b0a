// SPDX-License-Identifier: Apache-2.0
// The log: every record of every shard, durable before it is acknowledged, in order.
//
// One journal for all shards, written in blocks by group commit: while one write is on its way,
// what arrives gathers for the next. A position is 63 bits, block number << 18 | ordinal in the
// block: it is at least 1 << 18, is never given twice, and within a shard grows in the order of
// storage. The log knows shards only by incarnation ids: 64 bits that are never used again. The
// format of the files is told in journal_format.h, the way of a block in README.md.
//
// Thread safe. log_append never blocks; what blocks says so.
#pragma once
#include "codec/base64.h"
#include "os/io.h"

struct log;

enum {
    LOG_ORDINAL_BITS = 18,
    LOG_KEY_BYTES_MAX = 1024,        // 256 code points of four bytes
    LOG_HASH_KEY_BYTES_MAX = 39,     // decimal digits of 2^128 - 1
    LOG_DATA_BYTES_MAX = 10 << 20,   // the largest record AWS takes
    LOG_APPEND_BYTES_MAX = 24 << 20, // of one append together
    LOG_APPEND_RECORDS_MAX = 500,    // PutRecords
};

typedef struct LogConfig {
    struct io *io;
    Str dir; // made if absent
    // Of one journal file; 0: 64 MiB. Existing files keep their size. Below 16 MiB the largest
    // records do not fit and are refused.
    uint64_t file_bytes;
    // The oldest files are sealed into containers when files that are no longer written hold this
    // much; 0: 64 MiB. What is not sealed is read at a start, so appends are refused (ERR_LIMIT)
    // while it is more than unsealed_bytes_max; 0: 4 GiB.
    uint64_t seal_bytes, unsealed_bytes_max;
    size_t read_cache_bytes; // of sealed records unpacked for readers; 0: 32 MiB
    uint64_t reserve_bytes;  // given back to the filesystem when it is full; 0: 64 MiB
    size_t tail_cache_bytes; // of recent blocks kept in memory for readers; 0: 256 MiB
    size_t queue_bytes_max;  // waiting to be written, over which log_append refuses; 0: 64 MiB
    unsigned depth;          // block writes under way at once; 0: 2, or 4 while blocks are small
    // The journal failed twice in a row: from now on every append gets ERR_IO; what was stored can
    // still be read. Called once, without locks. NULL: abort().
    void (*fatal)(void *self, Err e);
    void *fatal_self;
} LogConfig;

typedef struct LogRecord {
    uint64_t shard; // incarnation id
    Str key;        // partition key
    Str hash_key;   // the explicit hash key, or empty
    Blob data;      // base64 is decoded to its place in the journal's block
} LogRecord;

typedef struct LogPlace {
    uint64_t position;  // 0: not stored, the shard has ended or was never added
    int64_t arrival_ms; // of the block: since 1970, never goes back
} LogPlace;

// One append, owned by the caller until `done` has been called. Its records become visible and
// durable together; those of one shard keep their order.
struct log_append {
    const LogRecord *records;
    size_t n;         // 1..LOG_APPEND_RECORDS_MAX
    LogPlace *places; // n of them, filled before done is called
    // The caller calls log_commit on this thread before it waits for anything: nobody is woken for
    // the append until then.
    bool held;
    // On a thread of the log or on that of a log_commit, one call at a time, in the order of
    // blocks: hand over quickly, and call nothing of the log that blocks. ERR_FULL: no space;
    // nothing of it is or will become visible. ERR_IO: the journal failed for good (`fatal`);
    // nothing of it is visible, and only the next start knows whether all of it is on the disk or
    // nothing.
    void (*done)(struct log_append *a, Err e);
    void *user;
    struct log_append *next; // the log's, like all that follows
    uint64_t last_block;
    size_t bytes;
};

typedef struct LogEntry {
    uint64_t position;
    int64_t arrival_ms;
    Str key, hash_key, data;
} LogEntry;

typedef struct LogBatch {
    LogEntry *at;
    size_t n;
    uint64_t next; // where to read on; greater than every position returned, never less than `from`
    bool more;     // visible records of the shard follow at or after `next`
} LogBatch;

typedef struct LogSpan {
    uint64_t first; // no record that may be read lies below it; `next` if there is none
    uint64_t next;  // everything acknowledged so far lies below it, everything later at or above
    int64_t last_arrival_ms; // of the newest record; 0 if none
    bool ended;
    uint64_t end; // the barrier's position, if ended
} LogSpan;

typedef struct LogStats {
    uint64_t disk_bytes;                    // of journal files, spares included
    uint64_t live_bytes;                    // in blocks that hold readable records
    uint64_t files;                         // of the journal, in use
    uint64_t containers, container_bytes;   // on disk
    uint64_t container_raw_bytes;           // of their records before compression
    uint64_t sealed_records;                // in containers
    uint64_t index_bytes, read_cache_bytes; // memory; read_cache_bytes with footers
    uint64_t shards;                        // known
    uint64_t seals, merges, expired;        // containers written, merged away, over since start
    uint64_t blocks, records, record_bytes; // written since start
    uint64_t cache_bytes;
    uint64_t recovered_blocks, recovered_records, torn_bytes; // at start
    int64_t recovery_ns;
    bool full;              // writes are being refused for want of space
    bool behind;            // and because sealing has not kept up
    bool failed;            // the device is: nothing is written any more, reads go on
    bool direct;            // files are written with O_DIRECT
    const char *queue_kind; // "io_uring" or "pwritev2"
} LogStats;

// Opens or makes the journal and replays it. A torn tail is cut off and logged; a damaged block
// with good ones of the same epoch behind it is ERR_CORRUPT, with the file and the offset logged,
// and nothing is changed. Blocks until recovered.
Err log_open(const LogConfig *config, struct log **ret);
void log_close(struct log *l); // writes what is queued, then ends; NULL is fine
AUTO_CLOSE(log)

// What reading the whole journal has found.
typedef struct LogCheck {
    uint64_t files, disk_bytes;
    uint64_t blocks, records; // in blocks whose checksum and place in the chain are right
    uint64_t shards;          // incarnations with records
    uint64_t containers, container_bytes, sealed_records;
    uint64_t torn_bytes;       // at the end, never acknowledged: the next open cuts them off
    int64_t newest_arrival_ms; // 0: no block
    // Of the newest that counts, sealed or not: of two copies of a log that are sound, the one that
    // has the greater number holds everything that the other one does.
    uint64_t newest_block;
} LogCheck;

// Reads every block and container of a log that nobody has open, as log_open does, and changes
// nothing. ERR_CORRUPT and ERR_FORMAT as log_open, logged with file and offset; `ret` is complete
// on success only.
Err log_check(const LogConfig *config, LogCheck *ret);

// Declares a shard: its row is already committed in kv. Needed once after every log_open, before
// reading or appending. Retention may be changed by calling it again.
Err log_shard_add(struct log *l, uint64_t shard, int64_t retention_ns);
// What arrived then or before is over, however long records are kept now: it was past an earlier
// retention. A shorter one is remembered by itself, until the log is closed. Unknown shards:
// nothing.
void log_shard_hide(struct log *l, uint64_t shard, int64_t over_ms);
// Whoever reads this shard is done with what lies below the position: it goes without being sealed,
// if it is not yet. Sealing expects from the first call on (which may say 0) that what comes to the
// shard is passed soon, and leaves it time for that. Forgotten when the log is closed. Unknown
// shards: nothing.
void log_shard_pass(struct log *l, uint64_t shard, uint64_t position);

// After all shards have been declared: readable data of an undeclared, undropped shard is
// ERR_CORRUPT (journal without kv row), named in the log.
Err log_ready(struct log *l);

// Ends shards in one instant, by a barrier in the journal: later appends to them get position 0.
// Durable when it returns; the barrier's positions come back in ret_ends. Blocks.
Err log_shards_end(struct log *l, const uint64_t *shards, size_t n, LogPlace *ret_ends);

// Forgets shards and all their records, durably, before kv forgets them. Unknown ids are fine.
// Blocks.
Err log_shards_drop(struct log *l, const uint64_t *shards, size_t n);

// Queues records. ERR_LIMIT: the queue is full; ERR_FULL: the disk is; ERR_INVALID: over a maximum
// above; ERR_IO: the journal has failed; ERR_CLOSED: log_close has begun. On an error `done` is not
// called.
Err log_append(struct log *l, struct log_append *a);

// Has everything written that waits. If it is little and the disk is quick this thread writes it,
// and has called `done` when it returns, unless an earlier block is still under way: that saves
// waking two threads. Otherwise the log's threads are told.
void log_commit(struct log *l);

// Records at or after `from`, oldest first: up to max_records, and no more than max_bytes of keys
// and data (but at least one record). Positions below the trim horizon start at it. May block on
// the disk, unless `cached_only`: then ERR_BUSY if the disk would be needed. ERR_MEMORY: there is
// none, not even for one record.
typedef struct LogRead {
    uint64_t shard, from;
    size_t max_records, max_bytes;
    bool cached_only;
} LogRead;
Err log_read(struct log *l, struct arena *a, const LogRead *read, LogBatch *ret);

// Watches a shard, embedded in its owner. `changed` is called when records of the shard have become
// visible, when it has ended and when it is dropped; several changes may be told as one. On a
// thread of the log or of whoever appends: hand over quickly, and call nothing of the log.
struct log_watch {
    uint64_t shard;
    void (*changed)(struct log_watch *w);
    struct log_watch *next, *next_noted; // the log's, like all that follows
    bool is_noted;
};
// What changes after log_watch has returned is told. ERR_NOT_FOUND: the shard is not declared.
Err log_watch(struct log *l, struct log_watch *w);
// When it returns, `changed` is not running and will not be called again. Before log_close; also
// when the shard was dropped meanwhile.
void log_unwatch(struct log *l, struct log_watch *w);

// The first position whose arrival is at or after the time, or span.next if there is none. May
// block on the disk.
Err log_find_time(struct log *l, uint64_t shard, int64_t arrival_ms, uint64_t *ret_position);

// ERR_NOT_FOUND: not declared.
Err log_span(struct log *l, uint64_t shard, LogSpan *ret);

void log_stats(struct log *l, LogStats *ret);

// Expires what is past its retention, seals if it is time and recycles files; runs by itself every
// second, tests call it.
void log_expire(struct log *l);

// Seals everything that is acknowledged now, in files of the journal that are then over. Blocks.
// ERR_FULL, ERR_IO.
Err log_seal(struct log *l);

// ---- For tools that read the sealed part beside the log (store/backup.h)

struct Checkpoint; // store/sealed/checkpoint.h
struct CheckpointShard;

// The checkpoint as it stands, in the arena, with the files of its containers held: they are not
// removed before log_release, whatever expires or is merged.
Err log_hold(struct log *l, struct arena *a, struct Checkpoint *ret);
void log_release(struct log *l, const struct Checkpoint *held);

// What is known now of every declared shard, by id; a shard that has neither sealed records nor
// ended has a row of zeros.
void log_shard_rows(struct log *l, struct arena *a, struct CheckpointShard **ret, size_t *ret_n);
