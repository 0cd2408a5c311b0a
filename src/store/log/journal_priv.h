// SPDX-License-Identifier: Apache-2.0
// What the files of the log know of each other. The bytes on disk are told in journal_format.h, the
// way of a block in README.md.
//
// Two locks, both leaves but for one order: queue_lock may not be held when lock is taken.
//   lock        shards, index, cache, the table of files, and what readers may see
//   queue_lock  what waits, blocks under way, states of the threads
// And watch_lock, held while those who watch shards are told; taken before lock (log_watch.c).
// What only the commit thread touches is marked so and has no lock.
#pragma once
#include "base/logline.h"
#include "base/map.h"
#include "base/metric.h"
#include "base/pages.h"
#include "base/slabs.h"
#include "base/time.h"
#include "store/log/journal_format.h"
#include "store/log.h"
#include "store/sealed/sealed.h"

#include <pthread.h>
#include <stddef.h>

enum {
    DEPTH_MAX = 16,  // whatever the configuration says
    DEPTH_SMALL = 4, // writes under way while blocks are small: their time is the device's latency
    DEPTH_LARGE = 2, // two large ones keep it busy, more would only wait in its queue
    SMALL_BLOCK_BYTES = 64 << 10,
    // Greater than the number of blocks that can be unacknowledged at once: a new epoch starts
    // so far beyond the last block that recovery has seen.
    EPOCH_SKIP_BLOCKS = 4096,
    SPARES_MAX = 4,         // recycled files that wait for use; more are given back
    CONTROLS_MAX = 1 << 14, // control records in one block
    JOURNAL_FILE_BYTES_LEAST = 64 << 10,
};
#define JOURNAL_FILE_BYTES_MOST ((uint64_t)2 << 30)

// ---- Files (journal_files.c)

struct journal_file {
    uint64_t number, salt, bytes;
    uint64_t name; // the number in its name: differs from `number` after a crash while recycling
    struct io_file *io;
    uint64_t used;         // where the next block goes; the commit thread's
    uint64_t last_block;   // the newest block placed in it, 0 if none
    uint64_t newest_block; // under lock: the newest that was acknowledged, 0 if none
    unsigned users;        // under lock: readers and blocks under way
    uint64_t live_extents; // under lock: extents in the index
    uint64_t live_bytes;   // under lock
    uint64_t pass_bytes;   // under lock: of shards that are passed, also what is over
    bool suspect;          // a write failed: read it, never write it again
};

struct journal_files {
    struct io *io;
    Str dir;
    uint64_t file_bytes, reserve_bytes;
    bool direct;
    uint64_t highest;         // number given to a file so far; the keeper's
    struct journal_file **at; // under lock: those with blocks, by number; the last is written
    size_t n, room;
    struct journal_file *spares[SPARES_MAX]; // under lock: retired, ready to be renumbered
    size_t spare_count;
    bool reserve_held; // the keeper's
};

// The place of a journal file in the directory, in a buffer of this size.
enum { FILE_NAME_BYTES = 40 };

Str files_path(const struct journal_files *fs, struct arena *a, uint64_t number);
// Opens by name, with direct I/O where there is any, and takes its lock.
Err files_open_one(struct journal_files *fs, Str path, unsigned flags, struct io_file **ret);
// A file that may be written next: a spare renumbered, else a new one, filled with zeros and
// synced. ERR_FULL: there is no space. Called by one thread at a time.
Err files_prepare(struct journal_files *fs, uint64_t epoch, pthread_mutex_t *lock,
                  struct journal_file **ret);
void files_add(struct journal_files *fs, struct journal_file *take_f);            // under lock
struct journal_file *files_find(const struct journal_files *fs, uint64_t number); // under lock
struct journal_file *files_current(const struct journal_files *fs);               // NULL: none
// Keeps a retired file for reuse or removes it. Not under lock.
void files_recycle(struct journal_files *fs, pthread_mutex_t *lock, struct journal_file *take_f);
void file_close(struct journal_files *fs, struct journal_file *f); // NULL is fine
void files_done(struct journal_files *fs);
Err files_reserve_make(struct journal_files *fs); // ERR_FULL; OK if it is there
void files_reserve_release(struct journal_files *fs);
// Whether space for another file and the reserve seems to be there; true if nobody knows.
bool files_space_returned(struct journal_files *fs);

// The end of the room for records: what lies beyond is kept for control records, so that shards
// can be dropped and files be retired while the disk is full.
static inline uint64_t file_room_end(const struct journal_file *f)
{
    uint64_t margin = MIN((uint64_t)256 << 10, f->bytes / 8);
    return (f->bytes - margin) / JOURNAL_ALIGN_BYTES * JOURNAL_ALIGN_BYTES;
}

// ---- Blocks

typedef struct BlockExtent {
    uint64_t shard;
    // The shard's, found when the block was planned: it stays until the block is published, for a
    // drop comes in a later block or behind its records. Recovery finds it before it publishes.
    struct shard_data *data;
    uint32_t first_ordinal, count;
    uint32_t place; // in the block
    uint32_t bytes; // of the records
} BlockExtent;

enum block_state { BLOCK_READY, BLOCK_WRITING, BLOCK_WRITTEN, BLOCK_FAILED };

// A block from its sealing until the tail cache lets it go.
struct block {
    struct block *next; // the list of those that are not acknowledged
    unsigned refs;      // under lock
    BlockHead head;
    uint8_t *bytes;
    size_t room;       // of the buffer
    struct slab *slab; // it was cut from; NULL: it is one of its own
    struct journal_file *file;
    enum block_state state;
    struct io_write write;
    struct log_append *appends; // done when this block is acknowledged, in order
    struct log_append **appends_end;
    struct control_op *op;
    BlockExtent *extents;
    size_t extent_count;
    uint64_t records, record_bytes;
    int64_t sealed_ns; // monotonic
};

enum { BUFFERS_FREE_BYTES_MAX = 32 << 20, SLABS_FREE_MAX = 2, SEAL_BUFFER_BYTES = 64 << 20 };

struct block *block_new(struct log *l, size_t bytes, size_t extents); // not under lock
void block_unref(struct log *l, struct block *b);                     // under lock; NULL is fine

// Control records on their way. Queued like an append, told apart by records == NULL.
struct control_op {
    struct log_append base; // first, so that one is the other
    Control *controls;      // owned by the waiter
    size_t n;               // may be 0
    bool turns_file;        // its block begins a file
    bool finished;          // under queue_lock
    Err err;
};

static inline struct control_op *op_of(struct log_append *a)
{
    return a->records == NULL ? (struct control_op *)a : NULL;
}

// ---- Index (log_index.c). All under lock.

typedef struct IndexEntry {
    uint64_t position; // of its first record
    int64_t arrival_ms;
    uint32_t file;  // number
    uint32_t place; // of the extent in the file
    uint32_t bytes; // of the records
    uint32_t count;
} IndexEntry;

enum { CACHE_LINE_BYTES = 64 };

// What a shard has that was ever used. The sealed records come before all that are in the index.
// Its first cache line is all that a record on its way needs: with thousands of shards each line is
// fetched anew.
struct shard_data {
    _Alignas(CACHE_LINE_BYTES) IndexEntry *at;
    uint32_t first, end, room; // entries [first, end) are there
    uint32_t build_slot;
    uint64_t build_mark;              // the commit thread's: the block in which `build_slot` holds
    const struct control_op *closing; // an end or drop on its way: takes no more records
    struct log_watch *watches;        // those to be told of changes
    bool ended;                       // durably
    bool passes;                      // log_shard_pass
    // The second line.
    int64_t over_ms; // what arrived then or before is over, however long it is kept from now on
    uint64_t sealed_first; // when it was sealed; it may be over since. 0: nothing is sealed
    uint64_t sealed_last;
    int64_t sealed_last_arrival_ms;
    uint64_t end_position;
    int64_t end_arrival_ms;
    uint64_t passed; // what lies below this position is over as well
};
_Static_assert(offsetof(struct shard_data, over_ms) <= CACHE_LINE_BYTES, "see above");

// Most shards of a large account are idle, so that what only a used one needs is apart. It lies in
// the table itself, and moves when others come or go; its data does not.
struct shard {
    uint64_t id;
    int64_t retention_ns; // SHARD_UNDECLARED: how long it is kept is not known yet
    union {
        const struct shard_data *data; // to be read; unused shards share one of zeros
        struct shard_data *own;        // to be written, by shard_data() only
    };
};
_Static_assert(sizeof(struct shard) <= 24, "what an idle shard costs: up to 2.7 of it");
enum { SHARD_UNDECLARED = -1 };

static inline bool shard_is_declared(const struct shard *s)
{
    return s->retention_ns != SHARD_UNDECLARED;
}

struct shards {
    struct shard *at; // open addressing; data NULL: the place is empty
    size_t n, room;
};

// The shard at a place of the table; NULL: none.
static inline struct shard *shards_at(const struct shards *t, size_t i)
{
    return t->at[i].data != NULL ? &t->at[i] : NULL;
}

// Found shards are there until others are made or removed.
struct shard *shards_find(const struct shards *s, uint64_t id); // NULL: unknown
enum { SHARDS_TOGETHER_MAX = 64, SHARDS_COLD_LEAST = 256 };
// Many at once.
void shards_find_all(const struct shards *s, const uint64_t *ids, size_t n, struct shard **ret);
// For a walk over the whole table: what the places behind `i` need is on its way.
void shards_ahead(const struct shards *s, size_t i);
struct shard *shards_make(struct shards *s, uint64_t id); // found or new
// For writing: a shard's own.
struct shard_data *shard_data(struct shard *s);
void shards_remove(struct shards *s, uint64_t id); // which is there
void shards_done(struct shards *s);
IndexEntry *shard_push(struct shard_data *s);     // a new entry at the end, to be filled
void shard_trim(struct shard *s, uint32_t first); // forgets the entries before `first`
// Records that arrived then or before are past their retention.
int64_t shard_horizon_ms(const struct shard *s, int64_t now_ms);
// The first entry that may be read at this time.
uint32_t shard_horizon(const struct shard *s, int64_t now_ms);
// The first entry in [from, end) whose records are not all below the position.
uint32_t shard_search(const struct shard *s, uint32_t from, uint64_t position);

// ---- Tail cache (log_cache.c). All under lock.

struct cache {
    struct block **at; // a ring, by number
    size_t first, n, room;
    size_t bytes, bytes_max;
};

void cache_add(struct log *l, struct block *b);
struct block *cache_find(const struct cache *c, uint64_t number); // NULL: not there
// All extents from this position on are in the cache; UINT64_MAX: none is.
uint64_t cache_begin(const struct cache *c);
void cache_done(struct log *l);

// ---- What is sealed though the cache has it (log_tail.c)

struct tail_shard {
    uint64_t id;
    uint32_t first, end; // of the part's entries
};

// What was sealed at one time: all of the blocks [first_block, last_block], but for what was over.
struct tail_part {
    struct tail_part *next; // which was sealed after it
    uint64_t first_block, last_block;
    struct tail_shard *shards; // by id
    size_t shard_count;
    // By shard, then position. Their files may hold something else by now: they are read from the
    // cache only.
    IndexEntry *entries;
    size_t entry_count;
};

struct tail {
    struct tail_part *first, *last; // under lock, as all of it
    size_t entries;
};

struct tail_part *tail_part_new(size_t shards, size_t entries); // to be filled
void tail_done(struct tail *t);
// Whether anything up to this block is cached. Not under lock, as the next two.
bool log_tail_wants(struct log *l, uint64_t block);
// Behind those that are there: without a gap, but for blocks of which nothing was sealed.
void log_tail_add(struct log *l, struct tail_part *take_part);
// Forgets what is not cached any more, or all.
void log_tail_trim(struct log *l, bool all);

// What is sealed from this position on has an entry, and is cached. UINT64_MAX: nothing. Under
// lock, as what follows.
uint64_t log_tail_begin(const struct log *l);

// The entries of a shard that do not lie wholly before a position and that arrived after the time,
// in order.
typedef struct TailScan {
    const struct tail_part *part; // the next
    uint64_t shard, position;
    int64_t after_ms;
    const IndexEntry *at, *end;
} TailScan;
TailScan tail_scan(const struct tail *t, uint64_t shard, uint64_t position, int64_t after_ms);
const IndexEntry *tail_next(TailScan *scan); // NULL: there are no more

// The part of an append that goes into one block.
typedef struct BuildPiece {
    struct log_append *append;
    size_t from, to; // records
} BuildPiece;

// ---- The log

struct log_metrics {
    struct metric *blocks, *bytes, *appends, *records, *failures, *commit, *queue_bytes, *full,
        *lost;
};

struct log {
    struct io *io;
    LogConfig config;    // with the defaults filled in
    struct arena *arena; // of the configuration's strings
    size_t block_bytes;  // up to which blocks are gathered
    size_t record_bytes; // of the largest record that a file can hold
    struct journal_files files;
    struct log_metrics metrics;

    pthread_mutex_t lock;
    struct shards shards;
    struct cache cache;
    struct tail tail;
    struct pages_kept buffers; // of blocks that are free; under lock
    struct slabs slabs;        // from which those of blocks are cut; under lock
    struct loan *loans;        // blocks that readers have not given back (log_read.c)
    struct sealed *sealed; // has locks of its own, which may be taken when none of these is held
    uint64_t sealed_block; // the newest block that is over
    uint64_t journal_file; // number of the first file that is not
    bool is_restored;      // by the checkpoint: there need not be a journal
    size_t entries;        // in the index
    LogStats stats;
    uint64_t visible; // the newest acknowledged block
    int64_t visible_arrival_ms;
    struct log_watch *noted; // to be told of what has become visible
    bool is_ready;
    bool only_looks; // log_check: recovery changes nothing on disk

    // The commit thread's, and log_open's before it; and whoever drives in its place.
    uint64_t epoch;
    uint64_t next_number;
    uint64_t built;      // the newest block of the chain under construction
    uint32_t built_crc;  // and its checksum
    int64_t arrival_ms;  // of the newest block
    size_t newest_bytes; // of the newest block, for the choice of depth
    struct build *build; // scratch of log_build.c
    BuildPiece *pieces;  // scratch of log_commit.c
    size_t piece_room;

    pthread_mutex_t queue_lock;
    pthread_cond_t work;     // for the commit thread
    pthread_cond_t ended;    // for the completion thread
    pthread_cond_t keep;     // for the keeper
    pthread_cond_t expire;   // for the expiry thread
    pthread_cond_t op_ended; // for those who wait for control records
    struct io_queue *queue;
    struct log_append *waiting, **waiting_end;
    size_t queued_bytes;
    struct block *unacked, **unacked_end;
    unsigned under_way;
    uint64_t acked; // the newest acknowledged block; what `durable` says in new ones
    uint32_t acked_crc;
    Err failed;                                // why no more blocks are submitted
    struct block *ready;                       // the first of `unacked` that is not submitted
    struct log_append *failing, **failing_end; // told by the completion thread; see log_fail_later
    struct journal_file *next_file;            // prepared; taken by the commit thread
    Err prepare_err;                           // why there is none
    bool needs_epoch;                          // the next block must begin one
    bool full;                                 // appends are refused
    unsigned telling;   // how many threads publish or tell somebody, without the lock
    bool driving;       // somebody does the commit thread's work
    bool acknowledging; // somebody does, and looks again before he ends
    bool wanted;        // the commit thread is to take what waits: it is not, or no longer, held
    unsigned here;      // blocks that are being written by those who built them
    size_t room;        // left in the file that is written, for callers who write themselves
    int64_t write_ns;   // what such a write takes, about; 0: not known
    unsigned missed;    // commits left to the threads since, because it takes too long
    bool probe;         // the keeper asks the commit thread to try a write
    bool dead;          // the journal failed twice in a row
    bool behind;        // sealing is: appends are refused
    bool paced;         // blocks are built as fast as sealing gets on
    int64_t pace_bytes; // that may be built until it has got on
    unsigned failures;  // in a row
    bool stopping, commit_ended;
    pthread_t commit_thread, completion_thread, keeper_thread, expiry_thread;
    unsigned threads; // started, in this order

    pthread_mutex_t watch_lock;  // those who watch are being told; taken before `lock`
    pthread_mutex_t expire_lock; // one expiry or sealing at a time; taken before the others
    unsigned tidy_failures;      // under expire_lock: of it, in a row
    int64_t tidy_after_ns;       // under expire_lock: not tried before
    int64_t hot_until_ns;        // under expire_lock: records come fast, merging can wait
    uint8_t *seal_buffer;        // under expire_lock: kept while they do; NULL: none
};

// ---- Watches (log_watch.c)

// Those who watch the shard are to be told. Under lock.
void log_note_watches(struct log *l, const struct shard_data *d);
// Tells them. Without locks, by whoever published what changed.
void log_tell_watches(struct log *l);

// ---- Building (log_build.c). The commit thread's.

struct build *build_open(void);
void build_close(struct build *b);

// A block of the right size for these pieces and control records (op may be NULL), with one
// reference, and what goes where; build_fill must follow before the next plan.
struct block *build_plan(struct log *l, const BuildPiece *pieces, size_t n, struct control_op *op);
// Fills a planned block and seals it as the next of the chain, at its file's `used`: copies the
// records, fills the places of the appends, computes the checksums.
void build_fill(struct log *l, struct block *b, struct journal_file *f, uint16_t part,
                uint16_t parts);
size_t append_record_bytes(const LogRecord *r); // in the block, without extent heads

// ---- Extents on their way to a reader or to the sealer (log_extent.c)

typedef struct ExtentSource {
    uint64_t shard;
    IndexEntry entry;
    struct block *block;       // it is cached; else
    struct journal_file *file; // where it lies
} ExtentSource;

// Finds an extent and holds what has it, until extents_release. False: it is not cached, and
// nothing is held. Under lock.
bool extent_hold(struct log *l, uint64_t shard, const IndexEntry *e, bool cached_only,
                 ExtentSource *ret);
void extents_release(struct log *l, ExtentSource *sources, size_t n);

// The records of an extent, entry.bytes of them; valid in the call only.
typedef Err extent_visit(void *self, const ExtentSource *s, const uint8_t *records, bool *ret_stop);

// Reads, checks and visits extents in turn; those that lie close together on disk, in ascending
// places, are read in one go. What is cached never was on the disk and is checked for those only
// who `keep` it elsewhere. ERR_CORRUPT is logged with file and offset.
Err extents_visit(struct log *l, const ExtentSource *sources, size_t n, bool keep,
                  extent_visit *visit, void *self);

// ---- The log's own parts

struct log *log_new(const LogConfig *config); // nothing is read and no thread runs yet
void log_free(struct log *l);                 // its threads have ended

void *commit_run(void *log);     // log_commit.c
void *completion_run(void *log); // log_complete.c
void *keeper_run(void *log);     // log_keeper.c
void *expiry_run(void *log);     // log_keeper.c

// Begins a new epoch behind the newest acknowledged block, by a durable block of its own. The
// commit thread's, and log_open's before it.
Err log_open_epoch(struct log *l);
// Appends are taken again. Under queue_lock.
void log_leave_full(struct log *l);
// Tells the owner of an append or control operation, on this thread. Without locks.
void log_finish(struct log *l, struct log_append *a, Err e);
// A write has ended: acknowledges what can be. Under queue_lock, which is given up in between.
void log_written(struct log *l, struct block *b);
// Has the completion thread tell it. Under queue_lock.
void log_fail_later(struct log *l, struct log_append *a, ErrKind kind);
// Has control records written and waits until they are durable. ERR_CLOSED: the log is closing.
Err log_run_control(struct log *l, struct control_op *op);
size_t log_controls_max(const struct log *l); // that fit into one block

// ---- Sealing (log_seal.c). Called with expire_lock held.

// Moves the oldest journal files into containers, if it is time to (or `now`), and recycles those
// that are over. *ret_any: files were left behind, there may be more.
Err log_seal_step(struct log *l, bool now, bool *ret_any);
// Of records that are sorted; kept while they come fast. Under expire_lock.
void log_drop_seal_buffer(struct log *l);
// What the sealed set asks of the log; not under lock.
int64_t log_retention_of(void *log, uint64_t shard);
void log_rows(void *log, struct arena *a, CheckpointShard **ret, size_t *ret_n);
// Whether the unsealed part has reached its limit. Not under a lock.
void log_note_unsealed(struct log *l);
// Journal of so many bytes was left behind: while much waits to be sealed, somewhat less may come.
void log_pace(struct log *l, uint64_t bytes);
void log_pace_end(struct log *l); // until the next log_pace

// ---- Reading ahead (journal_ahead.c). By one thread.

// Reads these files, one after the other, from now on. NULL: no thread can be had.
struct ahead *ahead_open(struct io *io, struct journal_file *const *files, size_t n);
void ahead_close(struct ahead *a);                               // NULL is fine
void ahead_begin(struct ahead *a, const struct journal_file *f); // the next of the files
// n bytes of the file, at most BLOCK_BYTES_LARGEST, from `at` on; never before an earlier `at`.
// Valid until the next call. ERR_CORRUPT: the file is shorter.
Err ahead_get(struct ahead *a, uint64_t at, size_t n, const uint8_t **ret);

// ---- Recovery (journal_recover.c)

// Reads the checkpoint and the journal behind it. Afterwards files, shards, index and the numbers
// are as they were left; nothing on disk is changed but names of recycled files.
Err recover(struct log *l);

// Applies control records that have become durable. Under lock.
void log_apply(struct log *l, const Control *c);
// Index entries of extents of a block that has become durable. Under lock.
void log_index_extents(struct log *l, struct journal_file *f, const BlockHead *head,
                       const BlockExtent *extents, size_t n);
// Forgets entries before `first` of a shard and counts them out of their files. Under lock.
void log_trim(struct log *l, struct shard *s, uint32_t first);

// Nobody reads what was lent any more, though some arenas may not be freed yet.
void log_call_loans_in(struct log *l);

int64_t log_now_ms(struct log *l); // never before the newest block. Under lock.
