// SPDX-License-Identifier: Apache-2.0
// For tests: deliveries on the real log and store, on a disk in memory and a clock that is moved by
// hand, with a bucket of their own that can be made to fail.
#pragma once
#include "delivery/delivery_priv.h"
#include "os/io_fault.h"
#include "os/io_mem.h"

enum { WORLD_OBJECTS_MAX = 4096, WORLD_SHARDS_MAX = 16 };
#define WORLD_MS INT64_C(1535365870123) // 2018-08-27T10:31:10.123Z

typedef struct WorldObject {
    char *bucket, *key;
    struct buf bytes;
} WorldObject;

// A shard of the world's stream: a shard of the log by the same number.
typedef struct WorldShard {
    uint64_t shard, parents[2];
    bool ended;
    atomic_int watches;
} WorldShard;

struct test_world {
    struct io_mem *disk;
    struct io_fault *faults;
    struct kv *kv;
    struct log *log;
    struct hub hub;
    struct hub_objects offer;
    struct service_env env;
    struct deliveries *deliveries;
    int64_t now_ms;
    // The bucket.
    pthread_mutex_t lock;
    WorldObject objects[WORLD_OBJECTS_MAX];
    size_t object_n;
    unsigned fail_begin, fail_write, fail_finish; // so many times
    bool no_bucket;
    Str denied; // keys that begin so are refused; absent: none are
    size_t open_puts;
    bool joins; // objects are kept in kv, and positions are committed with them
    // A stream.
    struct hub_source stream;
    WorldShard shards[WORLD_SHARDS_MAX];
    size_t shard_n;
    bool no_stream;
    atomic_size_t looks, reads; // by threads of the pool, several at once
    atomic_int told;
};

void world_open(struct test_world *w);
void world_close(struct test_world *w);
// Ends everything as a killed process does, and begins anew; deliveries are to be added again.
void world_restart(struct test_world *w);
// A config of which everything else may be changed before it is added.
DeliveryConfig world_config(struct test_world *w, uint64_t id);
// Declares the direct shard and adds the delivery.
struct delivery *world_add(struct test_world *w, const DeliveryConfig *c);
// Stores records in the direct shard, and says so.
void world_put(struct test_world *w, struct delivery *v, const Str *data, size_t n);
void world_put_one(struct test_world *w, struct delivery *v, Str data);
// A shard of the stream more; and a record in it.
void world_shard(struct test_world *w, uint64_t shard, uint64_t parent, uint64_t adjacent);
void world_put_shard(struct test_world *w, uint64_t shard, Str data);
void world_end_shard(struct test_world *w, uint64_t shard);
// Lets what is due run to its end, until nothing is.
void world_run(struct test_world *w);
void world_advance(struct test_world *w, int64_t ms); // and runs
// All objects whose keys begin so, in the order of their making, joined.
Str world_content(struct test_world *w, struct arena *a, Str prefix);
size_t world_count(struct test_world *w, Str prefix);
