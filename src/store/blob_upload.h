// SPDX-License-Identifier: Apache-2.0
// Objects that are made in parts (store/blob.h): parts come in any order and from anywhere, each
// durable by itself; completing refers to them, in their order, without copying.
#pragma once
#include "store/blob.h"

enum { BLOB_PARTS_MAX = 10000 };

typedef struct BlobUpload {
    Str key;
    uint64_t id; // never given twice
    int64_t created_ns;
    BlobPairs attributes, tags; // of the object that it will be, as blob_upload_create was given
    BlobRetention retention;
} BlobUpload;

// Key, attributes, tags and retention are the caller's.
Err blob_upload_create(struct blob *b, struct arena *a, const BlobBucket *bucket,
                       const BlobUpload *make, BlobUpload *ret);
Err blob_upload_find(struct blob *b, struct arena *a, const BlobBucket *bucket, Str key,
                     uint64_t id, BlobUpload *ret); // ERR_NOT_FOUND: ended, or never was

// Ends a put as a part: durable when it returns. Replaces a part of that number. `part` gives
// number (1..BLOB_PARTS_MAX), etag and attributes. ERR_NOT_FOUND: no such upload.
Err blob_put_finish_part(struct blob_put *p, Str key, uint64_t upload, const BlobPart *part,
                         BlobPart *ret);

// Makes the object of these parts, which are in the order of their numbers, and ends the upload;
// what other parts there are goes away. `object`'s key is the upload's. ERR_NOT_FOUND: no such
// upload. ERR_INVALID: *ret_wrong is the place in `parts` of one that is not there or has another
// etag. ERR_LIMIT: that one is smaller than part_bytes_min and not the last. ERR_EXISTS, ERR_BUSY:
// the condition. All leave the upload as it was.
typedef struct BlobPartRef {
    uint32_t number;
    Str etag;
} BlobPartRef;
Err blob_upload_complete(struct blob *b, struct arena *a, const BlobBucket *bucket, uint64_t upload,
                         const BlobPartRef *parts, size_t n, uint64_t part_bytes_min,
                         const BlobNew *object, BlobObject *ret, size_t *ret_wrong);
Err blob_upload_abort(struct blob *b, const BlobBucket *bucket, Str key,
                      uint64_t id); // ERR_NOT_FOUND

// The parts with numbers after `after`, at most max <= BLOB_LIST_MAX. ERR_NOT_FOUND: no such
// upload.
Err blob_part_list(struct blob *b, struct arena *a, const BlobBucket *bucket, Str key,
                   uint64_t upload, uint32_t after, size_t max, BlobPart **ret, size_t *ret_n,
                   bool *ret_more);

typedef struct BlobUploadPage {
    BlobUpload *uploads;
    size_t upload_count;
    Str *prefixes;
    size_t prefix_count;
    bool more;
    Str last;         // the next `after`
    uint64_t last_id; // the next `after_version`
} BlobUploadPage;

// In order of keys, of one key in order of age. l->after_version: of the key `after` uploads with
// greater ids are results; 0: none are.
Err blob_upload_list(struct blob *b, struct arena *a, const BlobBucket *bucket,
                     const BlobListing *l, BlobUploadPage *ret);
