// SPDX-License-Identifier: Apache-2.0
// The metrics that exist, and their points, in kv. Nothing of them is kept in memory.
//
//     table cloudwatch.series
//         key    account / region  0x00  namespace  0x00  metric name  0x00  digest of dimensions
//         (16) value  version (1)  id (8)  last data, Unix seconds (8)  count (1)
//                {name length (2)  name  value length (2)  value}...
//     table cloudwatch.points
//         key    resolution (1: 'm' or 's')  block number, big-endian (4)  id, big-endian (8)
//         value  a block of points (block.h): of an hour by minutes, of a minute by seconds
//
// Every point is in a block by minutes, those of high resolution in one by seconds as well. Blocks
// of the oldest time come first, so that what is over is found at once.
#pragma once
#include "store/kv.h"
#include "svc/cloudwatch/block.h"

enum {
    SERIES_DIMENSIONS_MAX = 30,
    SERIES_SECONDS_KEPT = 3 * 3600,       // of points by seconds
    SERIES_MINUTES_KEPT = 15 * 24 * 3600, // of points by minutes, and of series without new ones
    SERIES_LAST_LATE_S = 3 * 3600,        // how far last_s may be from the newest point, at most
};

typedef struct Dimension {
    Str name, value;
} Dimension;

// One metric: dimensions are sorted by name.
typedef struct SeriesName {
    Str account, region, name_space, name;
    const Dimension *dims;
    size_t dim_count;
} SeriesName;

struct series_store {
    struct kv_table *series, *points;
};

typedef struct Series {
    uint64_t id;
    int64_t last_s; // about when data came last, or its time; within ten minutes
    SeriesName name;
} Series;

Err series_open(struct kv *db, struct series_store *ret);

// Sorts them by name, in place.
void dimensions_sort(Dimension *dims, size_t n);

// ---- Within a write transaction of the store

// Adds to the points of one metric at a time (Unix seconds); makes the metric if it is new.
Err series_add(const struct series_store *s, struct kv_txn *tx, struct arena *tmp,
               const SeriesName *name, int64_t at_s, bool by_seconds, unsigned unit,
               const StatSet *set);

// Removes what is over at that time: up to `max` blocks or series. False: nothing is left.
Err series_expire(const struct series_store *s, struct kv_txn *tx, int64_t now_s, size_t max,
                  bool *ret_more);

// ---- Within any transaction

Err series_find(const struct series_store *s, struct kv_txn *tx, struct arena *a,
                const SeriesName *name, Series *ret); // ERR_NOT_FOUND

// Calls `each` with every point of the series from one time to before another, in order of time.
typedef Err SeriesVisit(void *self, int64_t at_s, unsigned unit, const StatSet *set);
Err series_points(const struct series_store *s, struct kv_txn *tx, struct arena *tmp, uint64_t id,
                  bool by_seconds, int64_t from_s, int64_t to_s, SeriesVisit *each, void *self);

// Walks the metrics of an account and region, all or of one namespace or one metric (absent: any),
// in order of their keys, after the key `after` (empty: from the first).
typedef struct SeriesWalk {
    struct kv_scan scan;
    struct arena *a; // of what series_next gives
    SeriesName within;
    Str prefix;
    Str key; // of the one that series_next gave, behind the account and region
} SeriesWalk;
SeriesWalk series_walk(const struct series_store *s, struct kv_txn *tx, struct arena *a,
                       const SeriesName *within, Str after);
bool series_next(SeriesWalk *w, Err *ret_err, Series *ret); // false: the end, or the error
void series_walk_end(SeriesWalk *w);                        // needed when it is left before its end
