// SPDX-License-Identifier: Apache-2.0
// What services ask of the one that keeps objects (svc/s3): to write and to read them on behalf of
// an account and its role. All of it blocks.
#pragma once
#include "hub/source.h"

typedef enum HubObjectFault {
    HUB_OBJECT_GOOD,
    HUB_OBJECT_NO_BUCKET,
    HUB_OBJECT_NO_KEY, // no such object
    HUB_OBJECT_DENIED,
    HUB_OBJECT_KMS,     // the key cannot be used
    HUB_OBJECT_BAD_KEY, // of the object: too long or no UTF-8
} HubObjectFault;

typedef struct HubObjectAnswer {
    HubObjectFault fault;
    Str code, text; // S3's own: "NoSuchBucket", "The specified bucket does not exist"
} HubObjectAnswer;

typedef struct HubObjectWant {
    HubActor as;
    Str bucket;
    Str kms_key;        // ARN of a key or an alias; absent: what the bucket says
    Str expected_owner; // the account whose bucket it must be: else HUB_OBJECT_DENIED; absent: any
    Str storage_class;  // absent: STANDARD
} HubObjectWant;

typedef struct HubObjectEntry {
    Str key;
    uint64_t bytes;
    int64_t modified_ns;
} HubObjectEntry;

struct hub_put;
struct kv_txn;

// Rows of another service that are committed together with an object: after a crash both are there,
// or neither.
struct hub_with {
    // Once at most, at the end of the transaction, on the thread that finishes: rows of the
    // server's kv, and nothing that waits. An error: no object.
    Err (*write)(struct hub_with *w, struct kv_txn *tx);
    bool
        committed; // false: the object is kept where this is not possible, and they are not written
};

struct hub_objects {
    void *self;
    // Whether the bucket is there. Who may write which key is asked when an object is finished.
    Err (*look)(void *self, struct arena *a, const HubObjectWant *want, HubObjectAnswer *ret);
    Err (*begin)(void *self, struct arena *a, const HubObjectWant *want, struct hub_put **ret,
                 HubObjectAnswer *ret_answer);
    Err (*write)(struct hub_put *p, Str bytes); // after an error only close makes sense
    // NULL: there is no such thing here. `w` is the caller's, valid until `finish` has returned.
    void (*join)(struct hub_put *p, struct hub_with *w);
    // Durable and listed when it returns. Absent type and encoding: none is said.
    Err (*finish)(struct hub_put *p, struct arena *a, Str key, Str content_type,
                  Str content_encoding, HubObjectAnswer *ret);
    void (*close)(struct hub_put *p); // NULL is fine; without `finish` nothing is left

    // Up to `max` bytes from `at` on; fewer: the object ends there.
    Err (*read)(void *self, struct arena *a, const HubActor *as, Str bucket, Str key, uint64_t at,
                size_t max, Str *ret, HubObjectAnswer *ret_answer);
    // Keys after `after` with the prefix, at most 1,000.
    Err (*list)(void *self, struct arena *a, const HubActor *as, Str bucket, Str prefix, Str after,
                HubObjectEntry **ret, size_t *ret_n, bool *ret_more, HubObjectAnswer *ret_answer);
    Err (*remove)(void *self, struct arena *a, const HubActor *as, Str bucket, Str key,
                  HubObjectAnswer *ret);
};
