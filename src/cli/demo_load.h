// SPDX-License-Identifier: Apache-2.0
// The load of the demo: producers that put at an even pace, and a consumer for each shard.
//
// A record is a JSON text of a page view, padded to its size, that begins with its producer, its
// number and the time it was first sent. Keys are chosen so that every shard gets the same share.
// What is throttled is sent again before anything new; what is late is not made up for by a burst.
#pragma once
#include "cli/demo_count.h"
#include "cli/demo_latency.h"
#include "cli/stream.h"

enum {
    DEMO_RECORD_BYTES_MIN = 128,
    DEMO_RECORD_BYTES_MAX = 8192,
    DEMO_RATE_MAX = 100000, // records per second
};

struct demo_load;

typedef struct DemoLoadConfig {
    ClientConfig client;
    Str stream;
    const ShardInfo *shards;
    size_t shard_count; // at most DEMO_SHARDS_MAX
    uint64_t rate;      // records per second, of all producers together
    size_t record_bytes;
    struct demo_count *books;
} DemoLoadConfig;

// Starts the threads. Everything of the configuration outlives the load.
Err demo_load_start(const DemoLoadConfig *config, struct demo_load **ret);

// Ends the producers; what they have under way is put first, as far as the server takes it.
void demo_load_stop(struct demo_load *l);

// Ends the consumers and frees everything; NULL is fine.
void demo_load_close(struct demo_load *l);
AUTO_CLOSE(demo_load)

// Why the load cannot go on, or an absent Str. Static.
Str demo_load_problem(struct demo_load *l);
void demo_load_latency(struct demo_load *l, struct demo_latency *ret); // a copy

// A partition key whose hash lies in the shard; `i` selects one of many. Pure.
Str demo_key(struct arena *a, const ShardInfo *shard, uint64_t i);

// The text of a record, and back. ERR_INVALID: it is none of ours.
typedef struct DemoRecord {
    unsigned producer;
    uint64_t number;
    int64_t sent_ns;
} DemoRecord;
void demo_record_write(struct buf *b, const DemoRecord *r, Str user, size_t bytes);
Err demo_record_read(Str data, DemoRecord *ret);
