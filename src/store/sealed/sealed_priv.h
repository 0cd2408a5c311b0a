// SPDX-License-Identifier: Apache-2.0
// What the sealed set is made of. The thread that changes the set reads it without the lock and
// writes it under the lock; everybody else looks at it under the lock only. No I/O is done and
// nothing of another room is called while it is held.
#pragma once
#include "store/sealed/sealed.h"

#include <pthread.h>

// ---- Rings: things in the order of their last use. A ring's head is a ring of its own.

struct ring {
    struct ring *older, *newer;
};

static inline void ring_init(struct ring *head)
{
    head->older = head->newer = head;
}

static inline void ring_take(struct ring *r)
{
    r->older->newer = r->newer;
    r->newer->older = r->older;
    r->older = r->newer = NULL;
}

static inline void ring_add_newest(struct ring *head, struct ring *r)
{
    r->older = head->older;
    r->newer = head;
    r->older->newer = r;
    head->older = r;
}

static inline struct ring *ring_oldest(struct ring *head) // NULL: it is empty
{
    return head->newer != head ? head->newer : NULL;
}

// ---- The set

// A container of the set, or one that is taken out of it and still in use.
struct member {
    struct ring ring; // of the open ones that nobody uses; first, so that a ring is its member
    ContainerFacts facts;
    struct container *open; // NULL: it is not
    unsigned users;         // of `open`
    unsigned refs;          // who needs the file: users, holds
    bool is_retired;        // out of the set: the file goes with the last ref
    struct member *next_retired;

    // Of the thread that changes the set.
    uint64_t witness; // the shard that keeps it longest, as far as is known
    int64_t witness_arrival_ms;
    int64_t due_ms;          // it cannot be over before
    int64_t half_ms;         // more than half of it is over from then on
    uint64_t half_retention; // the sealed.retention that half_ms was computed at; 0: never
    int64_t merge_retry_ms;  // it could not be read: no merging before
};

// By first_position, then number.
struct slot {
    struct member *member;
    uint64_t reach; // the greatest last_position up to here
};

// Open containers. Those in the ring are in nobody's use.
struct footers {
    struct ring idle;
    size_t bytes, bytes_max; // of memory
    size_t count;
};

// An unpacked chunk. The runs do not change, so that readers need no lock.
struct chunk {
    struct ring ring;   // of those that nobody uses; first, so that a ring is its chunk
    struct chunk *next; // in its bucket
    uint64_t container;
    uint32_t row;
    unsigned refs;
    unsigned lent;  // of them, to readers that keep it: its bytes do not count then
    bool is_cached; // in a bucket; else it goes with its last reader
    size_t bytes;
    uint8_t *runs;
};

struct chunks {
    struct ring idle;
    struct chunk **buckets;
    size_t bucket_count; // a power of two
    size_t count;
    size_t bytes, bytes_max;
};

struct sealed {
    struct io *io;
    SealedConfig config;
    struct arena *arena; // of the names
    Str dir;             // of the checkpoint
    Str container_dir;
    Str *leftovers; // paths that the open found and the checkpoint did not list
    size_t leftover_count;

    pthread_mutex_t lock;
    struct slot *at;
    size_t n;
    uint64_t version; // grows whenever the set changes
    struct member *retired;
    struct footers footers;
    struct chunks chunks;
    Checkpoint durable; // as on disk, without the containers; the rows of shards are ours
    uint64_t retention; // grows when retention changes; from 1
    uint64_t merges, expired;

    // Of the thread that changes the set.
    uint64_t generation;       // the greatest that may be on disk
    uint64_t next_number;      // of a container
    uint64_t expire_retention; // the `retention` that all due_ms were computed at
    // Containers that the checkpoint on disk may list though the set does not: a commit has failed
    // so late that nobody knows. The next one that succeeds removes them.
    uint64_t *doubtful;
    size_t doubtful_count;
};

bool facts_before(const ContainerFacts *x, const ContainerFacts *y); // the order of the set
// Not in the set and not open; the caller's.
struct member *member_new(const ContainerFacts *facts);
void container_remove(struct sealed *s, uint64_t number); // unlinks; what fails is logged

// ---- sealed_cache.c

void footers_init(struct footers *f, size_t bytes_max);
void chunks_init(struct chunks *c, size_t bytes_max);
void chunks_done(struct chunks *c); // nobody reads any more

void member_ref(struct sealed *s, struct member *m);
// Takes over a ref and opens the container if it is not: m->open is valid until member_release. On
// an error the ref is gone.
Err member_use(struct sealed *s, struct member *m);
void member_release(struct sealed *s, struct member *m); // the ref too
void member_unref(struct sealed *s, struct member *m);   // one that member_use has not taken over

// Under the lock. The open container of a member that leaves the set, if nobody uses it, for the
// caller to close; NULL otherwise.
struct container *footers_take(struct footers *f, struct member *m);
// Under the lock. An open container becomes a member's.
void footers_add(struct footers *f, struct member *m, struct container *c);
void footers_shrink(struct sealed *s); // closes those over the bounds
// Unlinks and frees a member that is out of the set, in nobody's use and not open.
void member_end(struct sealed *s, struct member *m);

// The chunk of that row, which is one of the shard's; its neighbours below `to` are read along, as
// far as a reader wants them who takes no more than `bytes_max` from here on (0: nobody knows). The
// member is in use.
Err chunk_fetch(struct sealed *s, struct member *m, const ContainerShard *shard, uint32_t row,
                uint64_t to, size_t bytes_max, struct chunk **ret);
void chunk_release(struct sealed *s, struct chunk *c);
void chunk_lend(struct sealed *s, struct chunk *c); // one that was fetched
void chunks_give_back(struct sealed *s, struct chunk **at, size_t n);

// How many chunks from `row` on, of whatever shards, those who go through a whole container read at
// once.
enum { CHUNKS_AT_ONCE_MAX = 64 };
uint32_t chunks_at_once(const struct container *c, uint32_t row);

// ---- sealed_expire.c

// When records that arrived then are over; INT64_MIN: the shard is not declared.
int64_t shard_over_ms(const struct sealed *s, uint64_t shard, int64_t arrival_ms);
uint64_t sealed_retention(struct sealed *s); // sealed.retention, with the lock
