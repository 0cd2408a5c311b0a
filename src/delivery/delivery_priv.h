// SPDX-License-Identifier: Apache-2.0
// What the files of the engine share.
//
// A delivery has one lane for its destination and, if all source records are backed up, one for
// the backup: each with its own positions, buffer and attempts. A lane that waits is a few counters
// and a place in the heap of due times; one that works belongs to one thread of a pool, and what is
// marked "of the run" is touched by that thread alone.
//
//     table <name>.positions   key = id of the delivery, 16 hexadecimal digits, "/d/" or "/b/" (the
//                              destination's lane, the backup's), the shard's incarnation, 16
//                              value = JSON {version, position, arrival_ms, ended}: everything of
//                              the shard below `position` is delivered; the last of it arrived then
//
// One lock, of struct deliveries: a leaf, held over no I/O and no call of another room but the
// timer's.
#pragma once
#include "delivery/compress.h"
#include "delivery/delivery.h"
#include "delivery/env.h"
#include "delivery/prefix.h"
#include "delivery/process.h"
#include "delivery/sink.h"
#include "hub/chores.h"
#include "hub/hub.h"
#include "hub/service.h"
#include "store/kv.h"
#include "store/log.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    PIECE_BYTES = 1 << 20, // read at once
    PIECE_RECORDS_MAX = 10000,
    NOTES_KEPT = 10,
    PAUSE_S_MIN = 1, // between attempts at an object
    PAUSE_S_MAX = 120,
    TOLD_MS = 1000, // how long changes of a stream gather before they are looked at
    SOON_MS = 1000, // what an interval of 0 is: one object a second, if records go on coming
    GATHER_MS = 50, // what it is after a rest of that length
    ROOM_MS = 200,  // until it is looked again whether there is memory
};
#define NEVER_MS INT64_MAX

// A config that several hold. Never changed.
struct shared_config {
    atomic_uint refs;
    DeliveryConfig is;
};
struct shared_config *config_ref(struct shared_config *c);
void config_unref(struct shared_config *c); // NULL is fine

// A config as a lane needs it: read and compiled.
struct plan {
    struct shared_config *config;
    const DeliveryBucket *place;  // of the objects; NULL: the sink takes records
    const DeliveryBucket *errors; // where what fails goes
    struct prefix *data_prefix, *error_prefix;
    struct processing *processing; // NULL: there are no steps
    const DeliveryStep *lambda;    // one of them; NULL: there is none
    size_t piece_bytes;            // read at once
    struct sink *sink;             // NULL: objects are all
    const struct sink_ops *ops;
    int64_t size_bytes, size_max, interval_ms;
    bool is_soon; // an interval of 0
};
// ERR_INVALID: the text says why.
Err plan_open(struct delivery_env *env, struct shared_config *config, bool is_backup,
              struct plan **ret, struct arena *a, Str *ret_text);
// What is found out only when it runs, for a front door. Blocks.
Err plan_check(struct plan *p, struct arena *a, Str *ret_text);
void plan_close(struct plan *p); // NULL is fine
AUTO_CLOSE(plan)

struct deliveries {
    struct delivery_env env; // first: parts are given it
    struct service_env service;
    Str name;
    struct arena *arena;
    struct kv_table *positions;
    struct chores timer;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    struct lane **heap; // by due_ms, the soonest first
    size_t heap_n, heap_cap;
    // Memory (room.c), under the lock: of batches; of what is about to be, or made of them; of both
    // at most.
    size_t held_bytes, reserved_bytes, room_bytes;
    size_t busy;              // lanes: in a pool's queue, or at work
    size_t computing;         // of these, in the pool that computes
    size_t processors;        // that there are for it
    int64_t crowded_until_ns; // of the monotonic clock
    uint64_t runs;
    struct delivery *first;
    const struct sink_ops *test_ops; // for tests: in place of every destination; NULL
    atomic_bool stopping;
    // The clock that due times are kept by: the wall's, which never goes back (clock.c).
    pthread_mutex_t clock_lock; // a leaf
    int64_t clock_ms, clock_mono_ns, clock_back_ms;
};

typedef struct Note {
    char *place; // what is.place points to; NULL: there is no note
    DeliveryObjectNote is;
} Note;

// How far a shard is read.
struct cursor {
    struct hub_watch watch; // first
    struct lane *lane;
    uint64_t shard, parents[2];
    char id[40]; // "shardId-000000000000"
    size_t id_n;
    uint64_t position; // everything below it is delivered
    int64_t arrival_ms;
    uint64_t at; // and below this it is read
    int64_t at_ms;
    bool ended;   // all of it is read
    bool is_over; // and delivered
    bool is_gone; // the source does not know it any more
    bool is_watched;
    uint64_t counted;  // what lies below is in `pending` or was
    uint64_t limit;    // what lies at or above is told by delivery_arrived
    uint64_t until;    // nothing is read from there on
    bool is_uncounted; // there may be more
    bool is_written;   // there is a row
};

// What all cursors of a lane were at one moment.
typedef struct MarkPlace {
    uint64_t shard, at;
    int64_t at_ms;
    bool ended;
} MarkPlace;
struct mark {
    size_t users; // outputs whose first record came behind it
    struct mark *next;
    int64_t bytes, records; // read before it, since the lane began
    size_t n;
    MarkPlace places[];
};

struct output;
struct held; // attempt.c
struct schema;

struct lane {
    struct task task; // first
    struct delivery *v;
    bool is_backup;

    // Under the lock.
    size_t heap_at; // plus one; 0: not in it
    int64_t due_ms;
    bool is_busy, is_removed;
    bool computes;          // while it is busy: not in the pool that waits for others
    bool flush, is_changed; // the config is another one

    // From any thread.
    _Atomic int64_t pending_bytes, pending_records; // not read yet, of those that are counted
    _Atomic int64_t held_bytes, held_records;       // read, not delivered
    _Atomic int64_t oldest_ms;  // arrival of the oldest that is not delivered; 0: there is none
    _Atomic int64_t size_bytes; // the buffer's size at present
    atomic_bool is_cut;         // it is removed: an attempt under way is to end
    atomic_bool told;           // a stream has changed
    atomic_bool is_soon;        // the plan's, which may be gone
    _Atomic int64_t rested_ms;  // when the last batch was delivered
    _Atomic int64_t attempts;

    // Of the run.
    struct plan *plan; // NULL: not yet, or not while nothing waits
    int64_t interval_ms;
    struct cursor **cursors;
    size_t cursor_n, cursor_cap, turn;
    bool is_loaded, is_looked;
    bool is_unknown;       // there may be more than is counted
    bool begin_now;        // what is there already is not for it
    uint64_t direct_limit; // where the direct shard ended when the delivery was added
    int64_t looked_ms;
    int64_t read_bytes, read_records;           // since it began, less what was rewound
    int64_t committed_bytes, committed_records; // of these
    int64_t taken_bytes, taken_records;         // out of what is pending, by this batch
    int64_t retry_ms;                           // not before; 0: nothing has failed
    int64_t took_ms;                            // of the last batch
    int64_t slow_ms;                            // for tests: it took that much longer
    unsigned calm;                              // batches since the last one that was behind
    struct output *outputs;
    size_t output_n;
    struct map *partitions;  // of dynamic partitioning: values of keys -> output; NULL: none yet
    struct map *delivered;   // name of an output -> mark below which all of it is in objects
    struct map *stuck;       // name of an output -> since when S3 refuses it (partition.c)
    struct mark *marks;      // the oldest first: where outputs began
    int64_t outputs_due_ms;  // when the next of them is finished; 0: there are none
    _Atomic int64_t kept_ms; // arrival of the oldest record in outputs; 0: none
    struct held *held;       // what is tried again; NULL: nothing
    size_t reserved_bytes;   // under the lock: of room.c
    bool flush_again;        // there was no memory for what was to be flushed
    struct schema *schema;   // convert.c; NULL: none yet
    bool is_schema_fresh;
    bool has_too_many; // partitions, in this run
};

struct delivery {
    struct deliveries *d;
    struct delivery *next, *previous; // under the lock
    uint64_t id;
    struct shared_config *config; // under the lock
    struct lane main;
    _Atomic(struct lane *) backup; // NULL: none; stays once it is there
    struct delivery_meters meters;
    // Under the lock.
    char *error_text; // what the two lie in; NULL: none
    Str last_code, last_error;
    int64_t last_error_ms;
    Note notes[NOTES_KEPT]; // a ring
    size_t note_next;
};

// ---- clock.c
// Now, on a clock that goes on where it was when the wall's is set back.
int64_t delivery_now_ms(struct deliveries *d);
// A time of that clock on the wall's.
int64_t delivery_wall_ms(struct deliveries *d, int64_t ms);

static inline bool lane_must_stop(struct lane *l)
{
    struct deliveries *d = l->v->d;
    pthread_mutex_lock(&d->lock);
    bool stop = atomic_load(&d->stopping) || l->is_removed;
    pthread_mutex_unlock(&d->lock);
    return stop;
}

// ---- deliveries.c
// What is due begins; when the next one is. The timer's task, and what tests call in its place.
int64_t deliveries_start_due(void *d);
uint64_t deliveries_wait(struct deliveries *d); // until none is busy; how many runs there were
// More are to be run, or at work, than there are processors, or were in the last second.
bool deliveries_are_many(struct deliveries *d);
// The lane is to be looked at then, if not sooner. The lock is held.
void lane_schedule_locked(struct lane *l, int64_t due_ms);

// ---- lane.c
void lane_init(struct lane *l, struct delivery *v, bool is_backup);
void lane_done(struct lane *l);
void lane_run(struct task *t); // of a pool
void lane_work(struct lane *l);
Err lane_process(struct lane *l, DeliveryBatch *b);     // what the config wants done with them
Err lane_route(struct lane *l, const DeliveryBatch *b); // into outputs
// Records for the processors, about max_bytes of them.
Err lane_read(struct lane *l, DeliveryBatch *b, size_t max_bytes, bool *ret_more);
Err lane_route_failed(struct lane *l, const DeliveryRecord *r);
// And takes it out. `with`: as of output_finish.
Err lane_finish_output(struct lane *l, struct output *o, struct hub_with *with);
Err lane_finish_outputs(struct lane *l);
// Reads a batch into outputs. *ret_more: the buffer's size was reached before the end.
Err lane_read_objects(struct lane *l, bool *ret_more);
// When it is due, as it stands. The lock is held.
int64_t lane_due_ms(struct lane *l);
// How long what has come since then gathers, at most `most_ms`. From any thread.
int64_t lane_gather_ms(struct lane *l, int64_t since_ms, int64_t most_ms);
// Something of it did not succeed: told to operators, tried again later.
void lane_failed(struct lane *l, Str code, Str text);
HubActor lane_actor(const struct lane *l, Str role_arn);

// ---- reader.c: of the run
Err reader_load(struct lane *l);
Err reader_refresh(struct lane *l); // the shards of a stream, if they may have changed
Err reader_count(struct lane *l);   // what is not counted, until the buffer's size is reached
void reader_stop(struct lane *l);   // nothing of the source is watched any more
void reader_close(struct lane *l);
void reader_rewind(struct lane *l);    // to what is committed
int64_t reader_oldest(struct lane *l); // arrival of the oldest that waits; 0: nothing does
void reader_until(struct lane *l, const struct mark *m); // nothing behind it; NULL: no such bound
struct mark *reader_mark(struct lane *l);                // as it stands now; free()
// Everything before the mark is delivered.
Err reader_commit(struct lane *l, const struct mark *m);
// The two halves of it: its rows, in a transaction, and what is to be done when that is committed.
Err reader_write(struct lane *l, const struct mark *m, struct kv_txn *tx);
void reader_committed(struct lane *l, const struct mark *m);
// Adds records of one shard to the batch, about max_bytes. *ret_more: others may follow.
Err reader_read(struct lane *l, DeliveryBatch *b, size_t max_bytes, bool *ret_more);
// The same of a direct shard, as the log has them, with less work for each. Valid as the arena is.
Err reader_read_entries(struct lane *l, struct arena *a, size_t max_bytes, LogBatch *ret);
Err reader_forget(struct deliveries *d, struct kv_txn *tx, uint64_t id);
bool reader_is_uncounted(const struct lane *l); // there may be more to be read than is known

// ---- output.c: objects on their way
typedef struct OutputKind {
    const char *error_type;       // NULL: data
    const DeliveryRecord *record; // its partition keys name the object; NULL: there are none
    Str partition;                // the keys' values; what tells outputs apart
} OutputKind;
struct output {
    struct output *next;
    struct lane *lane;
    struct arena *arena; // of keys and names
    const char *error_type;
    Str partition;
    DeliveryRecord record; // keys alone
    Str bucket, key;       // when it is there
    struct hub_put *put;
    struct compressor *compressor;
    bool converts;                  // rows, by a writer in place of the compressor
    struct columnar_writer *writer; // NULL: the table is none that can be written
    struct schema *schema;          // of the writer
    struct buf waiting;             // records are given on in larger pieces
    uint64_t records, bytes, written;
    int64_t oldest_ms, begun_ms;
    struct mark *since;
};
struct output *output_find(struct lane *l, const OutputKind *kind); // NULL: there is none
// ERR_FAULT: the lane has been told what failed.
Err output_open(struct lane *l, const OutputKind *kind, struct output **ret);
// Its data. ERR_INVALID: it cannot be converted, and the record's fault says why.
Err output_add(struct output *o, DeliveryRecord *r);
// Of one that is not converted.
Err output_add_entries(struct output *o, const LogEntry *at, size_t n);
Err output_add_failed(struct output *o, const DeliveryRecord *r); // a line about it
// The object is there when it returns, and with it what is to be committed with it, if that says so
// then (NULL: nothing).
Err output_finish(struct output *o, struct hub_with *with);
void output_drop(
    struct output *o); // takes it out of the lane; nothing is left of what is unfinished
void outputs_drop(struct lane *l); // all of them

// ---- attempt.c
// A batch to the sink, or another attempt at the one that is held. ERR_BUSY: to be gone on with at
// l->retry_ms; what was read stays read. Any other error: nothing is held.
Err deliver_to_sink(struct lane *l);
void held_drop(struct lane *l);

size_t held_data_bytes(const struct lane *l); // of the records of what is held

// ---- room.c
size_t room_bytes(size_t set); // how much there is; 0: nothing is set
// Room for what the lane is about to do; false: there is none at present.
bool room_take(struct lane *l);
void room_give(struct lane *l); // what is left of it
// A batch holds as much now; that much of the room that was taken is used.
void room_count_held(struct lane *l, size_t before, size_t now);
bool room_is_full(struct lane *l); // too much to keep batches that wait

// ---- partition.c
static inline bool lane_partitions(const struct lane *l)
{
    return !l->is_backup && l->plan->config->is.partitioned &&
           l->plan->config->is.kind == DELIVER_S3;
}
// Whether its records are taken out of the log before their object is due: into those of their
// partitions, or to a function, whose buffer comes before that of the destination.
static inline bool lane_stages(const struct lane *l)
{
    bool early = l->plan->config->is.partitioned || l->plan->lambda != NULL;
    return !l->is_backup && l->plan->config->is.kind == DELIVER_S3 && l->plan->sink == NULL &&
           early;
}
int64_t partition_stage_bytes(const struct lane *l);
int64_t partition_stage_ms(const struct lane *l);
// Reads what waits into the outputs of its partitions, and finishes those that are full or old
// enough; `all`: all of them. *ret_more as of lane_read_objects.
Err deliver_to_partitions(struct lane *l, bool all, bool *ret_more);
void partitions_drop(struct lane *l);  // with their outputs and marks
void partition_forget(struct lane *l); // also what was delivered and what could not be

// ---- convert.c
// The table's schema as it is now, in the lane; looked for once in a batch.
Err convert_refresh(struct lane *l);
void convert_close(struct lane *l);
// A writer of rows whose bytes go to the sink, and a reference to the schema that it needs as long
// as it is open. ERR_FAULT: the lane has been told.
Err convert_open(struct lane *l, Err (*write)(void *self, Str bytes), void *self,
                 struct columnar_writer **ret, struct schema **ret_schema);
void convert_schema_unref(struct schema *s); // NULL is fine
// ERR_INVALID: the record's fault says what is wrong with it.
Err convert_add(struct lane *l, struct columnar_writer *w, DeliveryRecord *r);
// Whether options and formats are ones that can be written. ERR_INVALID: the text.
Err convert_check(const DeliveryConfig *c, struct arena *a, Str *ret_text);
Str convert_extension(const DeliveryConfig *c);
static inline bool lane_converts(const struct lane *l)
{
    return !l->is_backup && l->plan->config->is.conversion.enabled;
}

// ---- error_record.c
void error_record_write(struct buf *b, struct lane *l, struct arena *tmp, const DeliveryRecord *r);

// ---- state.c
void note_add(struct delivery *v, const DeliveryObjectNote *n);
void notes_done(struct delivery *v);
// What has gone wrong last; absent code: nothing has.
void error_set(struct delivery *v, Str code, Str text);
