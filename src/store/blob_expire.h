// SPDX-License-Identifier: Apache-2.0
// Objects that end by rules (store/blob.h). The rules are the service's, which calls when time has
// passed; one call walks a bounded part of a bucket.
#pragma once
#include "store/blob.h"

typedef struct BlobRule {
    Str name; // the service's own
    Str prefix;
    BlobPairs tags;                    // the object has all of them
    uint64_t bytes_above, bytes_below; // only larger and only smaller objects; 0: any
    // Zero: not of this rule. Days end at midnight UTC, after as many whole days.
    int64_t days;             // the latest version; in a versioned bucket a marker is made
    int64_t at_ns;            // the same from a date on
    bool lonely_markers;      // markers with no version left behind them are removed
    int64_t noncurrent_days;  // after a version has been replaced, it is removed ...
    uint32_t noncurrent_kept; // ... except so many of the newest of them
    int64_t upload_days;      // uploads that were begun so long ago are given up
} BlobRule;

typedef enum BlobEnd { BLOB_END_MARKED, BLOB_END_REMOVED, BLOB_END_UPLOAD } BlobEnd;

typedef struct BlobExpire {
    const BlobRule *rules;
    size_t rule_count;
    int64_t now_ns; // wall clock
    // What ends (no upload), in the transaction that ends it, for rows in tables that are
    // not the store's (BlobAlso): an error, and nothing of it has ended. May be NULL.
    Err (*note)(void *self, struct kv_txn *tx, BlobEnd what, const BlobObject *object);
    // What has ended, after its commit; of an upload: key only. May be NULL.
    void (*tell)(void *self, BlobEnd what, const BlobObject *object);
    void *self;
    size_t max; // objects, versions and uploads looked at in this call
    Str after;  // absent: from the beginning
} BlobExpire;

// Whether a rule is about such an object: by its key, tags and size.
bool blob_rule_fits(const BlobRule *r, const BlobObject *o);
// So many whole days after a time, at the next midnight (UTC).
int64_t blob_days_after(int64_t ns, int64_t days);

// *ret_after: the next call's `after`, in `a`; absent: the bucket is done. Retention and legal
// holds keep a version.
Err blob_expire(struct blob *b, struct arena *a, const BlobBucket *bucket, const BlobExpire *e,
                Str *ret_after);
