// SPDX-License-Identifier: Apache-2.0
// The limits of one shard, as AWS states them (developer guide, quotas and limits):
//
//     write   1,000 records/s and 1 MiB/s, keys included; a second's worth may come at once.
//     Records
//             over 1 MiB draw on a burst of 10 MiB that refills at 1 MiB/s.
//     read    5 calls/s and 2 MiB/s, shared by all callers. A reply of more than a second's worth
//             blocks further calls for as long as it takes to make up for it: 10 MiB, 5 seconds.
//
// Buckets are kept as the time at which they will be full again, in whole nanoseconds, so that
// nothing is lost to rounding and an idle shard needs no timer. A scale of 2 doubles every rate, 0
// lifts the limits. The caller holds the shard's lock.
#pragma once
#include "base/err.h"

enum {
    SHARD_WRITE_RECORDS_PER_S = 1000,
    SHARD_WRITE_BYTES_PER_S = 1 << 20,
    SHARD_WRITE_SMALL_BYTES_MAX = (1 << 20) + 1024, // 1 MiB of data and any partition key
    SHARD_WRITE_BURST_BYTES = 10 << 20,
    SHARD_READ_CALLS_PER_S = 5,
    SHARD_READ_BYTES_PER_S = 2 << 20,
    SHARD_ITERATORS_PER_S = 5,
};

typedef struct ShardLimits {
    int64_t records_full_ns;
    int64_t bytes_full_ns;
    int64_t burst_full_ns;
    int64_t calls_full_ns;
    int64_t read_full_ns;
    int64_t iterators_full_ns;
} ShardLimits;

// Takes what one record or one request of `records` costs, or nothing: false.
bool limit_write(ShardLimits *l, double scale, int64_t now_ns, size_t records, size_t bytes);

// Before a read: false if it has to wait. After it: what it cost.
bool limit_read(ShardLimits *l, double scale, int64_t now_ns);
void limit_read_done(ShardLimits *l, double scale, int64_t now_ns, size_t bytes);

bool limit_iterator(ShardLimits *l, double scale, int64_t now_ns);

// Any bucket of calls, by itself: so many a second, a second's worth at once.
bool limit_call(int64_t *full_ns, double scale, int64_t now_ns, int64_t per_s);

// What one consumer is pushed of a shard, apart from what others read: 2 MiB/s, a second's worth at
// once. When something may be pushed again (at once, if that has passed), and what it cost.
int64_t limit_push_at(int64_t full_ns, double scale);
void limit_push_done(int64_t *full_ns, double scale, int64_t now_ns, size_t bytes);
