// SPDX-License-Identifier: Apache-2.0
// Records after a position: what whoever delivers or processes a stream asks of the service that
// has it. A reader keeps its own positions, one per shard, and follows reshards: a shard that is
// read to its end is replaced by its children.
#pragma once
#include "base/str.h"

// On whose behalf a service works when there is no call: the account that owns the thing that
// reads or writes, and the role that it was given. Absent role: the account's root.
typedef struct HubActor {
    Str account, region, role_arn;
    Str service;    // whom the role must trust: "firehose.amazonaws.com"
    Str source_arn; // what it works for, as trust policies may ask; absent: nothing to name
} HubActor;
// Who it is to policies: the role's session that is called like the service, or the root.
Str hub_actor_principal(struct arena *a, const HubActor *as);

typedef enum HubSourceFault {
    HUB_SOURCE_GOOD,
    HUB_SOURCE_NOT_FOUND, // no such stream
    HUB_SOURCE_DENIED,
    HUB_SOURCE_KEY, // the key of an encrypted stream cannot be used
} HubSourceFault;

typedef struct HubSourceShard {
    Str id;               // "shardId-000000000000"
    uint64_t shard;       // never given twice: what positions are kept by
    uint64_t parents[2];  // 0: none, or one whose records are over
    uint64_t first, next; // no record that may be read lies below `first`; new ones come at `next`
    bool ended;           // nothing follows `next`
} HubSourceShard;

typedef struct HubSourceStream {
    HubSourceFault fault;
    Str text;
    uint64_t incarnation;   // a stream made again under the name is another one
    HubSourceShard *shards; // all that have records or are open; parents before children
    size_t n;
} HubSourceStream;

typedef struct HubSourceRecord {
    uint64_t position;
    int64_t arrival_ms;
    Str key, data; // decrypted
} HubSourceRecord;

typedef struct HubSourceBatch {
    HubSourceFault fault;
    Str text;
    HubSourceRecord *at;
    size_t n;
    uint64_t next; // where to read on
    bool more;     // records follow
    bool ended;    // the shard has ended and all of it is read: go on with its children
    bool gone;     // there is no such shard any more
} HubSourceBatch;

struct hub_watch {
    void (*changed)(struct hub_watch *w); // from any thread: hand over quickly
    void *held;                           // the service's
};

struct hub_source {
    void *self;
    Str service; // of the ARNs that it serves: "kinesis"
    // May block. Not counted against the limits of those who read with calls.
    Err (*look)(void *self, struct arena *a, const HubActor *as, Str arn, HubSourceStream *ret);
    // Up to max_bytes of records at or after `from`, at least one if there is one. May block.
    Err (*read)(void *self, struct arena *a, const HubActor *as, Str arn, uint64_t shard,
                uint64_t from, size_t max_bytes, HubSourceBatch *ret);
    // The first position that arrived at or after the time. May block.
    Err (*find_time)(void *self, Str arn, uint64_t shard, int64_t arrival_ms, uint64_t *ret);
    // The sequence number of a record, as its service writes it.
    Str (*number)(void *self, struct arena *a, Str arn, uint64_t shard, uint64_t position,
                  int64_t arrival_ms);
    // `changed` when records have come, and when the shards change. ERR_NOT_FOUND.
    Err (*watch)(void *self, Str arn, uint64_t shard, struct hub_watch *w);
    void (*unwatch)(void *self, struct hub_watch *w); // not running any more when it returns
};
