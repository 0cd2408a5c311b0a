// SPDX-License-Identifier: Apache-2.0
// The buckets of the object store (store/blob.h, which says what holds for all functions).
#pragma once
#include "base/str.h"

struct blob;

enum { BLOB_BUCKET_LIST_MAX = 1000, BLOB_DOCUMENT_BYTES_MAX = 1 << 20 };

typedef enum BlobVersioning { BLOB_UNVERSIONED, BLOB_VERSIONED, BLOB_SUSPENDED } BlobVersioning;

typedef struct BlobBucket {
    Str name;
    uint64_t id; // never given twice: a bucket made again under a name is another one
    Str owner, region;
    int64_t created_ns;
    BlobVersioning versioning;
    bool locks; // object lock: retention is allowed, versioning cannot be suspended
} BlobBucket;

// Name, owner, region and locks are the caller's, the rest is filled in. ERR_EXISTS: the name is
// taken (*ret is the bucket that has it).
Err blob_bucket_create(struct blob *b, struct arena *a, const BlobBucket *make, BlobBucket *ret);
Err blob_bucket_find(struct blob *b, struct arena *a, Str name, BlobBucket *ret); // ERR_NOT_FOUND
// ERR_EXISTS: it holds objects, versions or delete markers. Its uploads are given up.
Err blob_bucket_delete(struct blob *b, const BlobBucket *bucket);
// In order of names, those after `after` that begin with the prefix; of one owner, or of all if
// absent. At most max <= BLOB_BUCKET_LIST_MAX; *ret_more: others follow.
Err blob_bucket_list(struct blob *b, struct arena *a, Str owner, Str prefix, Str after, size_t max,
                     BlobBucket **ret, size_t *ret_n, bool *ret_more);
Err blob_bucket_set_versioning(struct blob *b, const BlobBucket *bucket, BlobVersioning to);
Err blob_bucket_set_locks(struct blob *b, const BlobBucket *bucket); // needs BLOB_VERSIONED

// Documents of a bucket, by names of the service's ("policy", "cors", ...). ERR_LIMIT: too long.
Err blob_bucket_put_document(struct blob *b, const BlobBucket *bucket, Str name, Str value);
Err blob_bucket_get_document(struct blob *b, struct arena *a, const BlobBucket *bucket, Str name,
                             Str *ret);                                           // ERR_NOT_FOUND
Err blob_bucket_del_document(struct blob *b, const BlobBucket *bucket, Str name); // OK if absent
