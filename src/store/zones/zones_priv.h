// SPDX-License-Identifier: Apache-2.0
// The engine below the table: an operation has one part per zone; threads of each zone carry its
// parts out; whoever asked for it waits until it can be decided (zones_op.c). One lock guards all
// of it and is never held over a call of a zone's table.
#pragma once
#include "base/map.h"
#include "base/time.h"
#include "store/zones/zones.h"

#include <pthread.h>

#define ZONE_RECORD S("zone.hrz")
#define ZONE_LOCK S("zone.lock")
#define ASIDE_SUFFIX S(".zcopy") // a file that is being copied and becomes visible whole

enum {
    ZONE_THREADS_MAX = 64,   // of one zone: as many parts can be under way
    BUFFERS_KEPT_MAX = 8,    // of operations, for the next ones
    PIECE_BYTES = 1 << 20,   // of a file that are compared and copied at once
    RECORD_BYTES_MAX = 4096, // of zone.hrz
    MEMBERS_ALL = (1 << ZONES_MAX) - 1,
};

struct op;
struct zone;

// One zone's open file. Counted: an operation may be under way when its owner closes it.
struct handle {
    struct zone *zone;
    struct io_file *f;
    unsigned refs;
    struct handle *next; // among those to be closed
};

// What one zone does of an operation.
struct part {
    struct op *op;
    struct zone *zone;
    struct part *next; // in the zone's line
    bool wanted, done;
    unsigned life;    // the zone's when it was handed over
    Str path, path2;  // of operations on names: in this zone
    Str text;         // of a record
    struct handle *h; // given; or the result of an open, until somebody takes it
    Err err;          // when it is done, like what follows
    uint64_t number, number2;
    void *bytes; // of a read; from buffer_take
    size_t room;
    struct arena *arena; // of a list
    IoName *names;
    size_t name_count;
};

struct op {
    struct zones *s;
    Err (*run)(struct part *p); // on a thread of the zone, without the lock
    unsigned refs;              // the owner's and one of each part under way
    pthread_cond_t *wake;       // when a part has ended; NULL: nobody waits any more
    pthread_cond_t ended;
    bool wake_last; // only when the last of its parts has ended
    unsigned flags; // of an open
    void *data;     // aligned; ours
    size_t n, room;
    uint64_t at;
    bool durable;
    struct arena *arena; // of names, or NULL
    int64_t enough_ns;   // when enough zones had done it; 0: not yet
    struct part parts[ZONES_MAX];

    struct io_write *write; // of a queue
    struct io_file *file;
    struct op *next;
};

// Lets many in or one alone, which waits until those inside have left.
struct gate {
    unsigned users;
    bool closed;
};

// A name below the root while somebody has it open or copies it.
struct node {
    Str path; // malloc'ed; relative to the root
    bool named;
    unsigned refs;
    struct gate gate; // of what changes its bytes
};

struct io_file {
    struct zones *s;
    struct node *node;
    unsigned flags;
    bool locked;
    struct handle *h[ZONES_MAX]; // NULL: the zone does not take part
    struct io_file *next, *before;
};

// Identity and members as zone.hrz says.
typedef struct ZoneRecord {
    char cluster[33];
    uint64_t id; // never 0
    uint64_t generation;
    unsigned of, least; // zones in the set; members there must be
    bool whole;         // false: it is being copied to and is no source
    uint64_t members[ZONES_MAX];
    size_t member_count;
} ZoneRecord;

struct zone {
    struct zones *s;
    unsigned i;
    struct io *io;
    Str dir;
    uint64_t id;
    struct handle *lock_file;
    unsigned state;
    unsigned life;   // grows when it leaves: what it was handed before counts no more
    bool is_foreign; // holds what is not ours to remove: never repaired
    Err cause;
    int64_t since_ns;
    uint64_t copied_bytes;
    int64_t retry_ns, retry_step_ns; // when a fenced zone is tried next
    _Atomic unsigned failures;       // operations of it alone that have failed
    bool is_asked_for;               // somebody wants it tried: a try that had begun does not count

    pthread_cond_t work;
    struct part *first, **last;
    struct handle *dead; // to be closed
    unsigned waiting, under_way, idle, thread_count;
    pthread_t threads[ZONE_THREADS_MAX];
    struct metric *up, *fenced, *copied;
};

// The repair of one zone (zones_join.c).
struct join {
    struct zone *zone; // NULL: none is under way
    unsigned life;
    struct map *adopted; // names of which the zone does everything that members do
    Str copying;         // aside, before it is adopted
    bool disturbed;      // that name has changed its meaning
};

struct zones {
    struct io io;
    struct io *base;
    struct arena *a;
    Str root;
    struct zone zones[ZONES_MAX];
    size_t count;
    unsigned least;
    int64_t lag_ns, probe_ns;
    char cluster[33];

    pthread_mutex_t lock; // everything that follows, and of the zones
    unsigned members;     // a bit per zone
    uint64_t generation;  // the last that was tried
    bool changing;        // the list of members
    pthread_cond_t changed;
    pthread_cond_t gates_moved;
    struct gate names; // of what changes names
    struct map *nodes; // by path
    struct io_file *files;
    struct join join;
    void *buffers[BUFFERS_KEPT_MAX];
    size_t buffer_bytes[BUFFERS_KEPT_MAX];
    size_t buffer_count;
    bool closing, keeper_stops;
    pthread_cond_t keep; // the keeper's sleep
    pthread_t keeper;
    bool keeper_runs;
};

static inline unsigned bit(unsigned i)
{
    return 1u << i;
}

static inline unsigned count_bits(unsigned mask)
{
    return (unsigned)__builtin_popcount(mask);
}

// How long somebody may be kept waiting for a zone that is slow. While the set is being opened
// nobody waits but who opens it, and the slow one may be one that cannot be done without.
static inline int64_t patience_ns(const struct zones *s)
{
    return s->keeper_runs ? s->lag_ns : 60 * NS_PER_S;
}

// ---- zones_op.c: "locked" functions are called with the lock held, the others without.

int64_t zones_now(void); // monotonic, the threads' own
// Waits on a condition of the set, with the lock held, until then at the latest.
void zones_wait_locked(struct zones *s, pthread_cond_t *c, int64_t until_ns);

struct op *op_new(struct zones *s, Err (*run)(struct part *p));
void op_unref(struct op *op);
void op_unref_locked(struct op *op);
// Aligned memory of at least n bytes, not initialised; it is kept for the next operations.
void *buffer_take(struct zones *s, size_t n, size_t *ret_room);
void op_buffer(struct op *op, size_t n); // data of so many bytes, not initialised
// Names of an operation in every zone: rel is below the root, and may be empty.
void op_paths(struct op *op, Str rel, Str rel2);
void op_want_locked(struct op *op, unsigned mask, const struct io_file *f); // f: or NULL
// Puts the parts into the zones' lines. Their threads are woken by the second, best without the
// lock, on which they would wait at once.
void op_submit_locked(struct op *op, unsigned mask);
void op_wake_zones(const struct op *op, unsigned mask);

// By all that are wanted. The outcome, when those that differed have been fenced.
Err op_run_all(struct op *op);
// The same in two steps. Whether it can be decided; else *until is when to look again at the
// latest.
bool op_is_due_locked(struct op *op, int64_t now, int64_t *until);
// False: look again. It may give the lock up in between.
bool op_decide_locked(struct op *op, Err *ret);
// By one zone that is wanted, the next when it fails or lags; *ret_zone tells which.
Err op_run_any(struct op *op, unsigned *ret_zone);
// By each of these zones, within the time: ERR_TIMEOUT; what came of it is in the parts.
Err op_run_each(struct op *op, unsigned mask, int64_t ns);
// By this zone, within the time.
Err op_run_one(struct op *op, unsigned zone, int64_t ns);

void handle_ref_locked(struct handle *h);
void handle_unref_locked(struct handle *h); // NULL is fine; closed by a thread of the zone

Err zone_start_thread(struct zone *z); // false is no harm if there is another
void zones_stop_threads(struct zones *s);

// The list of members becomes shorter, durably, by those of the mask; causes by zone. False: too
// few would be left, nothing has changed. May give the lock up.
bool zones_fence_locked(struct zones *s, unsigned mask, const Err causes[ZONES_MAX]);
// Writes the list as it is to all members; who cannot leaves. False: too few have it.
bool zones_confirm_locked(struct zones *s);
// A zone that is being repaired has failed.
void zones_drop_join_locked(struct zones *s, Err cause);
void zone_set_state_locked(struct zone *z, unsigned state, Err cause);
// Writes a record with these members and the next generation to zones of the mask, and says which
// have it. May give the lock up; `changing` is set.
unsigned zones_write_records_locked(struct zones *s, unsigned mask, unsigned members,
                                    Err causes[ZONES_MAX]);

// ---- zones_gate.c

void gate_enter_locked(struct zones *s, struct gate *g);
void gate_leave_locked(struct zones *s, struct gate *g);
// Waits for those inside up to a while; false: somebody stays, and the gate is open.
bool gate_close_locked(struct zones *s, struct gate *g);
void gate_open_locked(struct zones *s, struct gate *g);

struct node *node_get_locked(struct zones *s, Str rel); // made if nobody has it; counted
void node_unref_locked(struct zones *s, struct node *n);
void node_moved_locked(struct zones *s, Str from, Str to); // to.p NULL: removed

// ---- zones_record.c

Str record_text(struct arena *a, const ZoneRecord *r);
Err record_parse(Str text, ZoneRecord *ret);                       // ERR_CORRUPT, ERR_FORMAT
Err record_read(struct zone *z, struct arena *a, ZoneRecord *ret); // ERR_NOT_FOUND too
void record_of_zone(const struct zone *z, unsigned members, uint64_t generation, bool whole,
                    ZoneRecord *ret);

// ---- zones_io.c

void zones_fill_table(struct zones *s);

// What a zone's thread does; the results are in the part.
Err run_open(struct part *p); // h
Err run_write(struct part *p);
Err run_read(struct part *p); // bytes, and in number how many
Err run_sync(struct part *p);
Err run_size(struct part *p); // number
Err run_truncate(struct part *p);
Err run_lock(struct part *p);
Err run_rename(struct part *p); // from path to path2; with a number: removes path2 instead
Err run_unlink(struct part *p);
Err run_mkdir(struct part *p);
Err run_sync_dir(struct part *p);
Err run_list(struct part *p);  // names
Err run_space(struct part *p); // number: free, number2: all

// ---- zones_file.c: one zone's files, by its threads, with a limit of time.

#define SLOW_NS (60 * NS_PER_S) // for what keeps nobody waiting

typedef struct TreeEntry {
    Str path; // below the zone's directory
    bool is_dir;
    uint64_t bytes;
} TreeEntry;
typedef struct Tree {
    TreeEntry *at; // parents before their children, by path
    size_t n;
} Tree;

// ns: how long to wait; ERR_TIMEOUT.
Err zone_file_open(struct zone *z, Str rel, unsigned flags, int64_t ns, struct handle **ret);
void zone_file_close(struct handle *h); // some time; NULL is fine
// Before it returns, unless the zone hangs. Nobody else uses the handle.
Err zone_file_close_now(struct handle *h, int64_t ns);
// Into the operation's part of this zone; *ret_op is the caller's.
Err zone_file_read(struct handle *h, size_t n, uint64_t at, int64_t ns, struct op **ret_op);
Err zone_file_write(struct handle *h, const void *p, size_t n, uint64_t at, int64_t ns);
Err zone_file_sync(struct handle *h, int64_t ns);
Err zone_file_lock(struct handle *h, int64_t ns);
Err zone_file_size(struct handle *h, int64_t ns, uint64_t *ret);
Err zone_file_truncate(struct handle *h, uint64_t bytes, int64_t ns);
Err zone_name_rename(struct zone *z, Str from, Str to, int64_t ns);
Err zone_name_unlink(struct zone *z, Str rel, int64_t ns); // OK if it is not there
Err zone_make_dir(struct zone *z); // its directory, durably; OK if it is there
Err zone_name_mkdir(struct zone *z, Str rel, int64_t ns);
Err zone_name_sync_dir(struct zone *z, Str rel, int64_t ns);
Err zone_name_write_file(struct zone *z, Str rel, Str content, int64_t ns); // as io_write_file
Err zone_name_read_file(struct zone *z, struct arena *a, Str rel, size_t max_bytes, int64_t ns,
                        Str *ret);
Err zone_space(struct zone *z, uint64_t *ret_free_bytes);
// Everything below the zone's directory but what is the zone's own; `with_asides`: also copies that
// broke off.
Err tree_read(struct zone *z, struct arena *a, bool with_asides, int64_t ns, Tree *ret);

bool is_zones_own(Str dir, Str name); // dir is below the zone's; what is no part of the content
bool zone_is_immutable(Str rel);      // a container: what has the name and the size is the same

// ---- zones_copy.c

// What is in one piece of `held` is made what is in `from`, by writing to `to`; *ret_n: bytes there
// were, fewer than a piece at the end, where the size is made the same too. `to` NULL: nothing is
// written. `held` is open with IO_DIRECT: what a failed sync has lost is in the page cache still,
// looks the same there, and would not be written again.
Err piece_copy(struct handle *from, struct handle *held, struct handle *to, uint64_t at, int64_t ns,
               size_t *ret_n, bool *ret_differs);
// Whole files that nobody writes.
Err zone_file_compare(struct zone *from, struct zone *to, Str rel, bool *ret_differs);
// Whether a container, of so many bytes in both, has the same head and footer, which name what is
// in it and hold its checksums.
Err zone_file_same_ends(struct zone *from, struct zone *to, Str rel, uint64_t bytes,
                        bool *ret_same);
Err zone_file_copy(struct zone *from, struct zone *to, Str rel);
Err zone_file_copy_aside(struct zone *from, struct zone *to,
                         Str rel); // to rel + ASIDE_SUFFIX, synced
// Whether all these zones hold the same. They are read side by side. An error: one cannot be read.
Err trees_all_same(struct zones *s, unsigned mask, bool *ret_same);
Err trees_compare(struct zone *from, struct zone *to, bool *ret_differ);
Err trees_make_same(struct zone *from, struct zone *to);
// Directories are never removed: what one has, the other gets.
Err trees_share_dirs(struct zone *from, struct zone *to);
Err tree_sync_dirs(struct zone *z, const Tree *tree, int64_t ns);

// ---- zones_join.c

// Copies everything to a zone that is no member and makes it one. With or without load.
Err zone_join(struct zone *z);
// Its record says whether it is whole, with the list as it is.
Err zone_write_state(struct zone *z, bool whole);
void *zones_keep(void *p); // the thread that does so
bool join_adopted_locked(const struct zones *s, Str rel);
