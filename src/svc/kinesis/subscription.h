// SPDX-License-Identifier: Apache-2.0
// A subscription: one call of SubscribeToShard while its stream of events is open. subscribe.c
// decides whether there is one, push.c sends its events.
//
// It lies in its call's arena and belongs to its call's loop: everything happens there but reading
// from the disk, which is done on the pool while the loop leaves the subscription alone. Other
// threads only set `why` and wake it, with the lock of its consumer held, under which it takes
// leave of the consumer before it ends.
#pragma once
#include "svc/kinesis/feed.h"
#include "svc/kinesis/kinesis.h"
#include "svc/kinesis/subscribe.h"

enum {
    SUBSCRIPTION_S = 300,         // its life
    SUBSCRIPTION_TAKEOVER_S = 5,  // a further call takes it over from then on
    SUBSCRIPTION_CALLS_PER_S = 1, // of one consumer for one shard
    EVENT_QUIET_S = 5,            // an event is sent at least as often
    EVENT_RECORDS_MAX = 2000,
    EVENT_BYTES_MAX = 256 << 10,    // of keys and data, but at least one record
    EVENT_BYTES_CROWDED = 16 << 10, // while replies hold too much memory
};

typedef enum SubscriptionEnd {
    SUBSCRIPTION_GOES_ON,
    SUBSCRIPTION_TAKEN_OVER,
    SUBSCRIPTION_CANCELLED,
} SubscriptionEnd;

struct fanout {
    struct feeds *feeds;
    struct shelf *shelf;
    atomic_size_t count;    // of subscriptions that have begun and are not over
    struct arena **scratch; // of each loop, for reading and writing one event
    size_t loop_count;
    struct metric *subscriptions, *events, *shared, *records, *bytes, *from_disk;
};

// One event on its way: its bytes, and what has been read when they are sent.
typedef struct Pushed {
    struct event_frame *frame; // NULL: there was nothing to tell
    uint64_t next;
    size_t records, bytes;
    uint64_t data_key; // data_key_number
    int64_t behind_ms;
    uint64_t version; // of the feed, before it was read
    bool is_at_tip;   // nothing followed it then
    bool is_last;     // of the shard
} Pushed;

struct subscription {
    struct listener listener; // first
    struct call *call;
    struct kinesis *k;
    struct stream *stream;     // referenced
    struct shard shard;        // a copy, of what does not change
    struct consumer *consumer; // referenced
    size_t lane;
    struct task task; // wakes it
    atomic_bool posted;
    atomic_int why; // SubscriptionEnd
    struct timer timer;
    uint64_t position;        // where to read on
    _Atomic uint64_t reached; // the same, for others that hold the consumer's lock
    uint64_t version;         // of the feed, as of the last read
    bool is_at_tip;           // that read found the end of what there was
    int64_t started_ns, sent_ns, full_ns;
    int64_t behind_ms; // as the last event told it
    bool sees_end;     // of its shard, whose children it waits for
    bool has_begun, has_ended;
    Err result;

    struct task read_task; // on the pool, then back on the loop
    bool is_reading;
    bool must_tell; // an event is due, with records or without
    size_t bytes_max;
    Pushed read;
    Err read_err;
};

static inline void subscription_move(struct subscription *s, uint64_t position)
{
    s->position = position;
    atomic_store(&s->reached, position);
}

// Ready to be woken for the first time, which begins it.
void subscription_init(struct subscription *s);
// From any thread, with the consumer's lock held, before the subscription has taken leave of it; or
// on its own loop.
void subscription_wake(struct subscription *s);

// The subscription has ended: its consumer's place for the shard is free again (subscribe.c).
void subscribe_leave(struct subscription *s);
