// SPDX-License-Identifier: Apache-2.0
// One simulated world: a disk that lives through several lives of the store, and a model of what
// has been promised. Tasks are alone between two points of sim_sched.h, so nothing here is locked.
#pragma once
#include "base/time.h"
#include "store/kv.h"
#include "store/log.h"
#include "store/sim/sim_disk.h"
#include "store/sim/sim_sched.h"
#include "store/zones/zones.h"

enum {
    SIM_SHARDS = 4,         // live at any time
    SIM_SHARDS_MAX = 96,    // of a world
    SIM_APPEND_RECORDS = 8, // of one append
    SIM_RECORDS_MAX = 6000, // of a world
    SIM_APPENDS_MAX = 2000, // of a world
    SIM_KV_TASKS = 2,
    SIM_KV_KEYS = 6, // of each task
    SIM_KV_IDS_MAX = 4096,
    SIM_OPEN_MAX = 12, // appends under way
};
#define SIM_LOG_DIR S("/log")

// ---- Records (sim_model.c)

typedef enum Fate {
    FATE_FLYING,  // handed over, not answered
    FATE_ACKED,   // must be there
    FATE_UNKNOWN, // answered ERR_IO: all of its append is there after the next start, or nothing
    FATE_REFUSED, // must never be there
    FATE_HIDDEN,  // unknown, and past its retention when that could have been seen: it may come
                  // into sight when the retention grows
} Fate;

struct sim_record {
    uint64_t shard, position; // 0: not known
    int64_t arrival_ms;
    int64_t handed_ms; // when it was handed over; it cannot have arrived before
    uint32_t append, part, bytes;
    Fate fate;
    bool was_read; // in this life
    bool is_seen;  // by the check that is under way
};

struct sim_append {
    struct log_append append; // first
    LogRecord records[SIM_APPEND_RECORDS];
    LogPlace places[SIM_APPEND_RECORDS];
    size_t first; // in the model's records
    uint32_t number;
    bool is_done;
    Err err;
    char bytes[]; // of the records
};

typedef enum Known { KNOWN_NO, KNOWN_MAYBE, KNOWN_YES } Known;

struct sim_shard {
    uint64_t id;
    Known ended, dropped;
    uint64_t end;
    int64_t retention_ns;
    unsigned changes; // of the retention, twice each: odd while the log is being told
    int64_t gone_ms;  // what arrived then or before may be over: it was past the retention once
};

struct sim_model {
    struct sim_record *records;
    size_t n;
    size_t *first_of; // append: its first record
    uint32_t appends;
    struct sim_shard shards[SIM_SHARDS_MAX];
    size_t shard_count;
    uint64_t highest;        // position that anybody has been told
    uint64_t highest_before; // the same when this life began
    int64_t latest_ms;       // wall clock, the latest that anybody can have seen
    bool is_lenient;         // the disk has lied: things may be missing
};

void model_init(struct sim_model *m);
struct sim_shard *model_shard(struct sim_model *m, uint64_t id);
// One of those that are not dropped.
struct sim_shard *model_any_live(struct sim_model *m);
struct sim_shard *model_add_shard(struct sim_model *m);

// A new append of random records, entered as flying. NULL: the model is full.
struct sim_append *model_append_new(struct sim_model *m, size_t record_bytes_max);
void model_append_withdraw(struct sim_model *m, struct sim_append *take_p); // it was never taken
void model_append_settle(struct sim_model *m, struct sim_append *take_p);   // it is done

// Ends the world unless the entry is what was once handed over and may be there.
const struct sim_record *model_verify(const struct sim_model *m, uint64_t shard, const LogEntry *e);
void model_read(struct sim_model *m, uint64_t shard, const LogEntry *e); // verified and remembered
void model_tick(struct sim_model *m);
// Before it is told the log, and again afterwards.
void model_change_retention(struct sim_model *m, struct sim_shard *s, int64_t retention_ns);
int64_t model_any_retention(void);
// Acknowledged, and neither dropped nor past its retention.
bool model_must_hold(const struct sim_model *m, const struct sim_record *r);

// All that can be read of a shard, verified: in ascending order of position and of handing over.
// `see` may be NULL.
Err model_read_all(struct sim_model *m, struct log *l, uint64_t shard,
                   void (*see)(struct sim_model *m, uint64_t shard, const LogEntry *e));
// At the begin of a life, nothing being under way: everything promised is there, nothing refused
// is, appends are there wholly or not at all. Not OK: the disk failed meanwhile, nothing is known.
Err model_check(struct sim_model *m, struct log *l);

// ---- Key-value transactions (sim_kv.c)

struct sim_kv_rows {
    uint32_t version[SIM_KV_KEYS]; // 0: absent
};

struct sim_kv {
    struct kv *db;
    struct kv_table *table;
    struct sim_kv_rows rows[SIM_KV_TASKS];
    struct sim_kv_rows maybe[SIM_KV_TASKS]; // if the last transaction has happened after all
    bool is_unsure[SIM_KV_TASKS];
    uint32_t versions; // given so far
    bool id_is_given[SIM_KV_IDS_MAX];
};

Err sim_kv_open(struct sim_kv *k, struct io *io);
Err sim_kv_check(struct sim_kv *k, bool is_lenient); // at the begin of a life
Err sim_kv_act(struct sim_kv *k, unsigned task);     // one transaction

// ---- Lives (sim_life.c)

// What goes wrong in one life.
struct sim_plan {
    SimSpeed speed;
    bool cuts, steps_wall;
    uint64_t cut_after;
    size_t bad; // the disk that the rest happens to; SIM_DISKS_MAX: none
    bool fails, fills, breaks_sync, lies;
    bool is_absent, dies, hangs, stalls; // of zones only
    bool is_beyond;                      // more than one zone is in trouble: errors are in order
};

struct sim_life {
    struct sim_world *w;
    struct sim_plan plan;
    struct sim_power power;
    struct sim_disk *disk[SIM_DISKS_MAX];
    struct zones *zones; // NULL: there is one disk
    struct log *log;
    struct sim_append *open[SIM_OPEN_MAX];
    size_t open_count;
    bool is_full;         // the capacity of a disk is bounded
    int64_t full_from_ns; // monotonic
    bool stops;           // the tasks are to end
    bool log_died;
};

struct sim_world {
    size_t disks; // one, or one per zone
    struct io_mem *mem[SIM_DISKS_MAX];
    struct sim_model model;
    struct sim_kv kv;
    bool has_kv;     // it takes half of the time, and has much less to be found in it
    bool was_closed; // the last life ended well, not in a crash

    // Of zones.
    bool is_formed; // the set has been open once
    unsigned whole; // a bit for each that certainly holds everything
    bool rots;      // bits flip between lives, all of them in this zone:
    size_t rotten;
};

// Runs a world; ends the process with a report when a promise is broken. Returns the trace.
uint64_t sim_world_run(uint64_t seed);

// What is not OK must have a reason in the plan.
void sim_expect_reason(const struct sim_life *l, const char *what, Err e);
void sim_plan_failures(struct sim_disk *d);
LogConfig sim_log_config(struct sim_life *l, struct io *io);
// Declares what lives and drops again what nobody knows to be dropped.
Err sim_declare(struct sim_model *m, struct log *log);

// ---- Bit rot (sim_rot.c)

// `late`: the bits flip while the store is open.
void sim_rot_trial(struct sim_world *w, bool late);
// Flips one bit of any file of the directory, durably. NULL: there is none. The name is in `a`.
const IoName *sim_flip_any(struct io *io, struct arena *a, Str dir);

// ---- Zones (sim_zones.c): the same on three disks behind a mirror

void zones_make(struct sim_world *w);
void zones_plan(const struct sim_world *w, struct sim_plan *p);
// Opens the set and checks that its members are the same.
Err zones_begin(struct sim_life *l, struct io **ret);
void zones_act(struct sim_life *l);     // a disk that was in trouble comes back
void zones_end(struct sim_life *l);     // closes the set; everybody else has gone
void zones_damage(struct sim_world *w); // between lives
// Whether more than one zone is in trouble, so that errors are in order.
bool zones_are_beyond(const struct sim_life *l);
// Of this life, a bit for each zone: those that have been fenced, and those that became members
// when the power had gone.
extern unsigned sim_zones_left, sim_zones_late;

// ---- Reports (sim.c)

// What was planted in this life, for the report.
void sim_tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Prints the report and ends the process.
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

typedef struct SimCounts {
    uint64_t lives, appends, acked, reads, cuts, errors, fulls, flips, flips_told, transactions;
    uint64_t seals, merges, expired; // containers
} SimCounts;
extern SimCounts sim_counts;
