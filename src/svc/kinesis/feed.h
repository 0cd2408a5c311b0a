// SPDX-License-Identifier: Apache-2.0
// Shards that consumers are pushed. For each there is one watch of the log, whoever listens; from
// there one task goes to each loop that has listeners, which wakes those of that loop.
//
//     log --changed--> feed --task--> lane of a loop --wake--> listeners
//
// The newest event is kept for a moment, in its final bytes: listeners that stand where it begins
// send the same bytes.
#pragma once
#include "os/loop.h"
#include "store/log.h"

struct feeds;
struct feed;
struct event_frame; // aws/call.h

// Embedded in its owner; all of it belongs to its loop.
struct listener {
    void (*wake)(struct listener *m); // may leave the feed
    struct feed *feed;                // NULL: it listens to none
    size_t lane;
    struct listener *previous, *next;
};

void feeds_open(struct log *log, struct loop **loops, size_t loop_count, struct feeds **ret);
void feeds_close(struct feeds *f); // nobody listens any more; NULL is fine
// Which of the loops this is: what feed_join wants to know.
size_t feeds_lane(const struct feeds *f, const struct loop *loop);

// From now on m is woken when the shard has changed. On the loop of m. ERR_NOT_FOUND: the log does
// not know the shard.
Err feed_join(struct feeds *f, uint64_t shard, size_t lane, struct listener *m);
void feed_leave(struct feeds *f, struct listener *m); // fine when it listens to none

// Counts the changes of the shard. Who has read to its end, and asked before, has nothing to read
// as long as it is the same.
uint64_t feed_version(const struct feed *f);

// An event that reached the end of what there was when it was made.
typedef struct FeedEvent {
    uint64_t version;      // of the feed, before it was read
    const void *protocol;  // of its bytes
    uint64_t from;         // who stands at or after this ...
    uint64_t first;        // ... and not behind its first record, wants this event
    uint64_t last, next;   // its last record; where to go on
    size_t records, bytes; // in it; bytes of keys and data
    uint64_t data_key;     // of those that are encrypted: who may not use it is not given the event
    int64_t made_ns;
    struct event_frame *frame; // with a reference for whoever was given it
} FeedEvent;

enum { FEED_KEPT_MS = 1000 }; // how long the newest event may be given again

// The newest event, if it is what a listener who stands at `from` wants. False: it is not.
bool feed_take(struct feed *f, const void *protocol, uint64_t from, int64_t now_ns, FeedEvent *ret);
// The newest event, if it has exactly these records: who finds it knows now that it may also be
// given to those who stand at `from`.
bool feed_match(struct feed *f, const void *protocol, uint64_t from, uint64_t first, uint64_t last,
                int64_t now_ns, FeedEvent *ret);
// Keeps it in place of the one before; takes a reference of its own.
void feed_keep(struct feed *f, const FeedEvent *e);
void feed_tidy(struct feed *f, int64_t now_ns); // lets go of what is too old to be given
