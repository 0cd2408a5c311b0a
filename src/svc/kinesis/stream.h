// SPDX-License-Identifier: Apache-2.0
// The streams and shards that exist: all of them in memory, each a row in kv.
//
//     table kinesis.streams     key = account / region / name     value = JSON (stream_row.c)
//
// A stream's row is committed before any of its shards is declared to the log, and it is marked
// DELETING before they are dropped from it. So a crash in between leaves a row without data, which
// recovery carries on from, never data without a row.
//
// Fields that change are read and written under the lock of `struct kinesis`; the shards' limits
// have a lock of their own. A stream that a call waits on is kept by a reference.
#pragma once
#include "base/buf.h"
#include "os/io.h"
#include "os/loop.h"
#include "store/kv.h"
#include "store/log.h"
#include "svc/kinesis/hashkey.h"
#include "svc/kinesis/limit.h"
#include "svc/kinesis/meters.h"
#include "svc/kinesis/sequence.h"
#include "svc/kinesis/tag_set.h"

#include <pthread.h>

enum {
    STREAM_TAGS_MAX = 50,
    STREAM_RETENTION_HOURS_MIN = 24,
    STREAM_RETENTION_HOURS_MAX = 8760,
    STREAM_RECORD_KIB_MIN = 1024,
    STREAM_ON_DEMAND_SHARDS = 4,
    STREAMS_ON_DEMAND_MAX = 50,
    STREAMS_CREATING_MAX = 5,
    STREAM_ROW_SHARDS_MAX = 60000, // open and closed: more would not fit into a row of 16 MiB
    STREAM_SCALES_PER_DAY_MAX = 10,
    STREAM_SWITCHES_PER_DAY_MAX = 2,
    STREAM_WARM_MIBPS_MAX = 10240,
    DEMAND_DAYS = 30,
    DEMAND_SHARDS_MAX = 10240, // 10 GB/s
    STREAM_TURNS_MAX = 25,     // starts and stops of encryption in 24 hours
};

// The most that a stream in on-demand mode took in a minute of the day, by the day of the peaks.
typedef struct DemandPeak {
    uint32_t day; // since 1970; 0: none
    uint32_t kib_per_s, records_per_s;
} DemandPeak;

typedef enum StreamStatus {
    STREAM_CREATING,
    STREAM_ACTIVE,
    STREAM_UPDATING,
    STREAM_DELETING,
    STREAM_GONE, // removed from the table; a reference may still be held
} StreamStatus;

// What is being done to a stream. It is in the row before anything is done, and the stream is as it
// was until it is done: a crash in between leaves it to be done at the next start.
typedef enum ChangeKind {
    CHANGE_NONE,
    CHANGE_STATUS, // nothing but the status moves on
    CHANGE_SPLIT,  // `shard` at `key`
    CHANGE_MERGE,  // `shard` with `other`, whose hash keys follow
    CHANGE_SCALE,  // to `target` shards that divide the hash keys evenly
} ChangeKind;

typedef struct StreamChange {
    ChangeKind kind;
    int64_t due_ms; // not before
    uint32_t shard, other, target;
    HashKey key;
} StreamChange;

// A call that waits until the shards of its stream have changed: its task is posted to its loop
// then. `failed`: they have not, for this time.
struct stream_waiter {
    struct stream_waiter *next; // the stream's
    struct loop *loop;
    struct task task;
    bool failed;
};

// When something was done that may be done so often a day only.
typedef struct Turns {
    int64_t at_ms[STREAM_TURNS_MAX]; // the oldest first
    size_t n;
} Turns;

// What is remembered of calls of GetRecords, since the start: where the newest left off, and how
// far behind the slowest reader of a minute was.
typedef struct ShardReads {
    int64_t at_ms;       // of the newest; 0: none
    uint64_t next;       // where it left off
    int64_t minute;      // since 1970, of worst_ms[0]
    int64_t worst_ms[2]; // of that minute and the one before
} ShardReads;

// Most shards of a large account are idle, so that what only a used one needs is apart, and made
// when it is first used.
struct shard_use {
    pthread_mutex_t lock;
    ShardLimits limits;
    ShardReads reads;
    uint64_t end_position;       // of the barrier, when closed
    int64_t closed_ms;           // atomic; 0: it is open
    struct shard_demand *demand; // atomic (demand.h); NULL: the stream is not on demand
    struct shard_meters *meters; // atomic; NULL: none of its metrics was wanted yet
};

struct shard {
    HashKey start, end;
    uint64_t id;           // incarnation: how the log knows it
    struct shard_use *use; // atomic; NULL: not used yet, and open
    uint32_t created_s;    // Unix time; enough until 2106
    uint32_t index;
    int32_t parent, adjacent; // indexes, or -1; shards that are over are named, too
};
_Static_assert(sizeof(struct shard) <= 64, "what an idle shard costs, besides two pointers to it");

struct stream {
    unsigned refs; // atomic
    Str account, region, name, arn, id;
    StreamStatus status;
    int64_t created_ms;
    bool on_demand;
    bool spread; // RecordDistributionStrategy AUTO: partition keys do not choose the shard
    uint32_t retention_hours;
    int64_t over_ms; // what arrived then or before was past an earlier retention; 0: nothing
    uint32_t record_kib_max;
    uint32_t shard_metrics;        // atomic; of its shards, as bits (meters.h)
    uint32_t warm_mibps;           // WarmThroughputMiBps; 0: none
    DemandPeak peaks[DEMAND_DAYS]; // of on-demand mode, by day % DEMAND_DAYS; under `changing`
    int64_t measured_ms;           // 0: not since the start
    StreamChange change;
    int64_t scaled_ms[STREAM_SCALES_PER_DAY_MAX];     // when its shards were counted anew
    int64_t switched_ms[STREAM_SWITCHES_PER_DAY_MAX]; // and its mode: the newest first, 0: never
    TagSet tags;
    struct consumer **consumers; // by name, each with a reference
    size_t consumer_count;
    bool encrypts; // atomic: new records are encrypted
    Str key_given; // as StartStreamEncryption named the key; absent: it does not
    Str key_arn;   // of the key
    Turns starts, stops;
    struct data_keys *data_keys; // crypt.h; made with the stream
    struct shard **shards;       // by index, without those that are over
    size_t shard_count;
    uint32_t shard_next;        // the index of the next one
    struct shard_block *blocks; // in which they lie
    bool has_buried;            // and some that are over, for calls that may still know them
    struct shard **open;        // by hash key
    size_t open_count;
    int64_t lists_full_ns;                        // of ListShards, guarded by the lock of rates
    struct stream_waiter *waiters, **waiters_end; // by stream_wait and stream_wake
    struct stream_meters meters;
    struct metric *put_records, *put_bytes, *put_throttled, *got_records, *got_bytes,
        *got_throttled;
};

struct stream *stream_new(Str account, Str region, Str name);
struct stream *stream_ref(struct stream *s);
void stream_unref(struct stream *s); // NULL is fine
static inline void stream_close(struct stream *s)
{
    stream_unref(s);
}
AUTO_CLOSE(stream)

// Adds n shards that divide the hash keys evenly; ids gives their incarnations.
void stream_split_evenly(struct stream *s, uint32_t n, int64_t created_s, const uint64_t *ids);

// Ends at the position of its barrier. Adding a closed shard to a stream ends with
// stream_sort_open.
void shard_close(struct shard *sh, uint64_t end_position, int64_t closed_ms);
bool shard_is_closed(const struct shard *sh);        // needs no lock
int64_t shard_closed_ms(const struct shard *sh);     // INT64_MAX: it is open
uint64_t shard_end_position(const struct shard *sh); // of a closed one

// When it opened: that is, when its parents ended. INT64_MIN: its parents are over.
int64_t stream_opened_ms(const struct stream *s, const struct shard *sh);

// Records that arrived then or before are over, and so are shards that closed before it.
int64_t stream_horizon_ms(const struct stream *s, int64_t now_ms);

// The open shard that owns the hash key.
struct shard *stream_route(const struct stream *s, HashKey h);
void stream_route_all(const struct stream *s, const HashKey *hashes, size_t n, struct shard **ret);

// By its index. NULL: there is none, or none any more.
struct shard *stream_shard(const struct stream *s, int64_t index);

// Takes closed shards out of the stream that ended before the time; returns their incarnations.
// Their memory stays for calls that have found them before.
size_t stream_bury(struct stream *s, int64_t before_ms, uint64_t *ret_ids);
// Gives that memory back. No call may hold the stream, and nobody may find it meanwhile.
void stream_clear_buried(struct stream *s);

// Copies what a change of a stream may change: the status and all that is not its name or shards.
// The tags are exchanged.
void stream_take_fields(struct stream *s, struct stream *copy);
// Brings shards up to those of a copy, in which some have closed and others were added behind them.
void stream_take_shards(struct stream *s, const struct stream *copy);

// Whoever waits holds a reference to the stream. Call both with the lock of the streams held, to
// wake for writing: so nobody misses what happened between his look and his wait.
void stream_wait(struct stream *s, struct stream_waiter *w);
void stream_wake(struct stream *s, bool failed);

// By its name as a client writes it: what follows the first '-', or all of it, read as a number.
// NULL: no such shard. ERR_INVALID: no number of 0..2147483647.
Err stream_find_shard(const struct stream *s, Str shard_id, struct shard **ret);
Err shard_parse_id(Str shard_id, uint32_t *ret_index);
enum { SHARD_ID_CHARS = 20 };
void shard_id_format(char out[SHARD_ID_CHARS], int64_t index); // shardId-000000000003
Str shard_id_str(struct arena *a, int64_t index);

// What a record or request takes from the shard's limits (limit.h), under the shard's own lock. A
// scale of 0 lifts the limits and makes nothing.
bool shard_take_write(struct shard *sh, double scale, int64_t now_ns, size_t records, size_t bytes);
bool shard_take_read(struct shard *sh, double scale, int64_t now_ns);
void shard_read_done(struct shard *sh, double scale, int64_t now_ns, size_t bytes);
bool shard_take_iterator(struct shard *sh, double scale, int64_t now_ns);

// A GetRecords left off at `next`, so far behind. And what is remembered: false if nothing is.
void shard_note_read(struct shard *sh, int64_t now_ms, uint64_t next, int64_t behind_ms);
bool shard_reads(struct shard *sh, int64_t now_ms, ShardReads *ret);

// Where the shard counts, made when it is first asked for.
struct shard_meters *shard_meters_of(struct shard *sh);
static inline unsigned stream_shard_metrics(const struct stream *s)
{
    return __atomic_load_n(&s->shard_metrics, __ATOMIC_RELAXED);
}

// The number of a record of the shard, its start, and its end if it is closed.
Sequence shard_sequence(const struct shard *sh, uint64_t position, int64_t arrival_ms);
Sequence shard_sequence_start(const struct shard *sh);
Sequence shard_sequence_end(const struct shard *sh);

// Under which key new records are encrypted; absent, absent: under none.
void stream_set_key(struct stream *s, Str given, Str arn);
// Whether one more is allowed at that time; if so it is noted.
bool stream_take_turn(Turns *t, int64_t now_ms);

bool stream_may_become(StreamStatus from, StreamStatus to);
Str stream_status_name(StreamStatus status);

// The row: kv key and value, and back. ERR_CORRUPT: not a row of ours.
Str stream_row_key(struct arena *a, Str account, Str region, Str name);
void stream_row_write(struct buf *b, const struct stream *s);
Err stream_row_read(struct arena *tmp, Str key, Str row, struct stream **ret);
