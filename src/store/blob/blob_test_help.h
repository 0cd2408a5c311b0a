// SPDX-License-Identifier: Apache-2.0
// A store on a disk in memory that may fail, and objects whose bytes follow from a number.
#pragma once
#include "base/test.h"
#include "os/io_fault.h"
#include "os/io_mem.h"
#include "store/blob/blob_priv.h"

#include <stdatomic.h>

struct shop {
    struct io_mem *disk;
    struct io_fault *faults;
    struct kv *kv;
    struct blob *b;    // without its thread: reap_all when a test wants it
    BlobBucket bucket; // "one", not versioned
};

struct shop *shop_open(struct arena *a);
void shop_close(struct shop *s);
AUTO_CLOSE(shop)
// On the same disk, or what a crash has left of it. ERR: what opening said.
Err shop_reopen(struct shop *s, struct arena *a, const IoMemCrash *crash);
BlobBucket shop_bucket(struct shop *s, struct arena *a, Str name, BlobVersioning versioning);

extern const unsigned char shop_key[BLOB_SEAL_BYTES];

Str shop_bytes(struct arena *a, uint64_t seed, size_t n); // at most some MiB
// Puts such bytes in pieces of random sizes; the etag is the seed and the size. With an even seed
// it may share a file.
Err shop_put(struct shop *s, struct arena *a, const BlobBucket *bucket, Str key, uint64_t seed,
             size_t n, const unsigned char *seal, BlobObject *ret);
// Puts that are finished at the same moment, by a thread each. Up to the moment that they wait for
// each other they need no disk, so they are one pack (of every BLOB_PACK_MAX).
struct shop_together {
    struct shop *s;
    Str key;
    uint64_t seed; // even, as of shop_put
    size_t n;
    bool if_absent;
    bool only_settles; // `put` is left to be finished
    // Out of it:
    struct blob_put *put;
    Err err;
    // Its own.
    pthread_t thread;
    atomic_bool ended;
};
void shop_put_together(struct shop *s, struct shop_together *at, size_t n);
// Reads a version whole and expects it to be what its etag says.
Err shop_check(struct shop *s, struct arena *a, const BlobBucket *bucket, Str key, BlobSelect which,
               BlobObject *ret);
// The same of what is in memory; false: nothing is.
bool shop_check_hot(struct shop *s, const BlobBucket *bucket, Str key);
size_t shop_files(struct shop *s, struct arena *a);         // data files on the disk
size_t shop_rows(struct shop *s, enum table t);             // rows of a table
Str shop_path(struct shop *s, struct arena *a, size_t nth); // of a data file
