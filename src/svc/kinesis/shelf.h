// SPDX-License-Identifier: Apache-2.0
// Events of old records, in their final bytes, for consumers that come along the same way: those
// that catch up together, each a little behind another. The newest event of a shard is its feed's.
//
// The shelf has room for so many bytes, whoever reads and however many. Of each event that was made
// its place is noted; its bytes are kept only while others have lately come to places that were
// noted in the same shard. So one consumer alone, or one whose followers are far behind, makes its
// events in memory that is still warm, and fills nothing.
//
// Safe from any thread; nothing is called with its lock held.
#pragma once
#include "base/str.h"

struct event_frame; // aws/call.h
struct shelf;

// Two subscriptions with the same place are sent the same event.
typedef struct ShelfPlace {
    uint64_t shard, from;
    size_t bytes_max;
    const void *protocol;
} ShelfPlace;

typedef struct ShelfEvent {
    uint64_t next;         // where to go on
    size_t records, bytes; // in it; bytes of keys and data
    uint64_t data_key;     // data_key_number: who takes it asks for it
    int64_t behind_ms;     // as it tells
    struct event_frame *frame;
} ShelfEvent;

enum {
    SHELF_BYTES_MAX = 32 << 20,      // of frames; an eighth of what the tail cache has by default
    SHELF_EVENT_BYTES_MAX = 2 << 20, // a longer one is not kept
    SHELF_KEPT_MS = 1000,            // so late MillisBehindLatest may be
};

void shelf_open(struct shelf **ret);
void shelf_close(struct shelf *s); // NULL is fine
AUTO_CLOSE(shelf)

// The event of this place, with a reference to its frame; false: it has to be made.
bool shelf_take(struct shelf *s, const ShelfPlace *at, int64_t now_ns, ShelfEvent *ret);
// That this event was made. Takes a reference of its own if it is kept.
void shelf_put(struct shelf *s, const ShelfPlace *at, int64_t now_ns, const ShelfEvent *e);
void shelf_tidy(struct shelf *s, int64_t now_ns); // lets go of what is too old to be given
void shelf_clear(struct shelf *s);                // of all: nobody reads
