// SPDX-License-Identifier: Apache-2.0
// The object store: buckets (store/blob_bucket.h) of named objects of any size, in versions.
// Objects that are made in parts: store/blob_upload.h. Objects that end by rules:
// store/blob_expire.h.
//
// What is known of an object is in kv, its bytes in files named by numbers (small ones in kv), so
// that a key is never a path. What a call acknowledged is there after a crash, whole; what it did
// not acknowledge is whole or absent.
//
// Every function blocks (kv, files): it is called on a worker, never on a reactor. All are safe
// from any thread; a blob_put or blob_reader belongs to one thread at a time. Results live in the
// arena `a`. Nothing here knows S3: texts and limits of AWS are the service's.
//
// Errors that every function may return besides its own: ERR_CLOSED, the bucket has been deleted;
// ERR_FULL, ERR_IO, ERR_CORRUPT.
#pragma once
#include "os/io.h"
#include "store/blob_bucket.h"

struct kv;
struct kv_txn;

enum {
    BLOB_KEY_BYTES_MAX = 1024,         // of UTF-8, at least one
    BLOB_INLINE_BYTES_MAX = 16384,     // an object up to here lies in kv
    BLOB_ATTRIBUTES_BYTES_MAX = 65536, // names and values of one object together
    BLOB_SEAL_BYTES = 32,              // a data key
    BLOB_LIST_MAX = 1000,              // results of one list
};

typedef struct BlobConfig {
    struct io *io; // files and time
    struct kv *kv; // outlives the store
    Str dir;       // of the data files; made if absent, its parent exists
} BlobConfig;

// Also removes, in the background, what a crash has left. ERR_FORMAT: written by a newer program.
Err blob_open(const BlobConfig *config, struct blob **ret);
void blob_close(struct blob *b); // puts and readers must be closed; NULL is fine
AUTO_CLOSE(blob)

// While it is held no file goes that a row has named since: for a copy of the whole store, which
// takes the rows first. What nobody needs is removed when nobody holds it any more.
void blob_hold(struct blob *b, bool on); // counts

typedef struct BlobPair {
    Str name, value;
} BlobPair;
typedef struct BlobPairs {
    const BlobPair *at;
    size_t n;
} BlobPairs;
Str blob_pair(BlobPairs pairs, Str name); // the value of the first of that name; absent if none

// ---- Objects

typedef struct BlobRetention {
    enum { BLOB_FREE, BLOB_GOVERNANCE, BLOB_COMPLIANCE } mode;
    int64_t until_ns; // wall clock; of no meaning when free
    bool hold;        // legal hold
} BlobRetention;

// One part of an object that was made in parts.
typedef struct BlobPart {
    uint32_t number;
    uint64_t at, bytes; // its place in the object; 0 as long as that is not made
    Str etag;
    BlobPairs attributes;
    int64_t modified_ns;
} BlobPart;

typedef struct BlobObject {
    Str key;
    uint64_t version; // later versions of a store have greater numbers
    bool is_null;     // made while the bucket was not versioned: its name is "null"
    bool is_marker;   // a delete marker: no bytes, no etag
    bool is_latest;
    uint64_t bytes;
    int64_t modified_ns;
    Str etag;             // without quotes
    BlobPairs attributes; // what the service wants back; names and meanings are its own
    BlobPairs tags;
    BlobRetention retention;
    uint32_t part_count; // 0: not made in parts (blob_object_parts)
} BlobObject;

typedef struct BlobSelect {
    enum { BLOB_LATEST, BLOB_NULL, BLOB_VERSION } which;
    uint64_t version;
} BlobSelect;

// ERR_NOT_FOUND: no such object. Where the latest version is a delete marker that is an answer too:
// ERR_NOT_FOUND, and *ret is the marker (ret->is_marker; else *ret is not touched).
// Asked for by its version, a marker is found: OK.
Err blob_find(struct blob *b, struct arena *a, const BlobBucket *bucket, Str key, BlobSelect which,
              BlobObject *ret);
// Its parts with numbers after `after`, at most max <= BLOB_LIST_MAX. ERR_NOT_FOUND as above.
Err blob_object_parts(struct blob *b, struct arena *a, const BlobBucket *bucket,
                      const BlobObject *object, uint32_t after, size_t max, BlobPart **ret,
                      size_t *ret_n, bool *ret_more);

// ---- Writing: begin, write pieces, finish. Closing without it leaves nothing behind.

struct blob_put;

// `seal`: BLOB_SEAL_BYTES, with which the bytes are encrypted (AES-256-GCM by blocks); NULL: they
// are not. Whose key that is the service keeps in the attributes. A data key may serve many puts.
Err blob_put_begin(struct blob *b, const BlobBucket *bucket, const unsigned char *seal,
                   struct blob_put **ret);
Err blob_put_write(struct blob_put *p, Str bytes); // after an error only closing makes sense
// A small object may lie in a file together with others that are finished at the same time, which
// is cheaper; the space of that file is free when the last of them is gone. For objects that come
// in numbers and go together. What is sealed has a file of its own all the same.
void blob_put_gather(struct blob_put *p);
uint64_t blob_put_bytes(const struct blob_put *p); // so far
void blob_put_close(struct blob_put *p);           // NULL is fine
AUTO_CLOSE(blob_put)

// What holds when the object is made, or it is not made: ERR_EXISTS (if_absent: there is one),
// ERR_NOT_FOUND (if_etag: there is none), ERR_BUSY (if_etag: another one is there).
typedef struct BlobCondition {
    bool if_absent;
    Str if_etag; // absent: no condition; "*": any
} BlobCondition;

typedef struct BlobNew {
    Str key;
    Str etag;
    BlobPairs attributes, tags;
    BlobRetention retention; // ERR_INVALID: the bucket has no object lock
    BlobCondition condition;
    // NULL: none. Writes rows of other tables of the same kv in the transaction that makes the
    // object; an error: it is not made.
    Err (*with)(void *self, struct kv_txn *tx);
    void *with_self;
} BlobNew;

// Makes the object: durable and listed when it returns. ERR_INVALID: the key is empty, too long or
// no UTF-8. ERR_LIMIT: attributes. In a bucket that is not versioned it replaces what had the key.
Err blob_put_finish(struct blob_put *p, struct arena *a, const BlobNew *object, BlobObject *ret);

// ---- Reading. A reader goes on giving its version when that is replaced or deleted meanwhile.

struct blob_reader;

// ERR_NOT_FOUND as blob_find. A marker has no reader: ERR_INVALID, and *ret_object is it.
Err blob_reader_open(struct blob *b, struct arena *a, const BlobBucket *bucket, Str key,
                     BlobSelect which, BlobObject *ret_object, struct blob_reader **ret);
bool blob_reader_is_sealed(const struct blob_reader *r); // blob_reader_unseal comes first
void blob_reader_unseal(struct blob_reader *r, const unsigned char seal[BLOB_SEAL_BYTES]);
// Up to n bytes from `at` on, checked against what was written: fewer only at the object's end.
// ERR_CORRUPT: damaged, or sealed with another key. Best in pieces of some hundred KiB.
Err blob_reader_read(struct blob_reader *r, void *p, size_t n, uint64_t at, size_t *ret_n);
// Where the bytes from `at` on, at most n, lie in a file from which they may be sent as they are
// (IoSpan, os/io.h): they are not sealed, and each of their blocks was checked within the last
// minute. *ret_span with n == 0: they are to be read. The descriptor is the reader's, until it is
// used again.
void blob_reader_place(struct blob_reader *r, size_t n, uint64_t at, IoSpan *ret_span);
void blob_reader_close(struct blob_reader *r); // NULL is fine
AUTO_CLOSE(blob_reader)

// ---- Small objects in memory

// Whole objects up to so many bytes, not sealed, that were read more than once lately.
enum { BLOB_HOT_BYTES_MAX = 262144 };

struct blob_hot;

// The latest version of a key, if it is in memory; NULL: it is not, which says nothing of whether
// it is there. Does not block. What is returned is good until it is given back.
struct blob_hot *blob_hot_take(struct blob *b, const BlobBucket *bucket, Str key,
                               const BlobObject **ret_object, Str *ret_bytes);
void blob_hot_give(struct blob_hot *o); // from any thread, also after blob_close; NULL is fine
static inline void blob_hot_close(struct blob_hot *o)
{
    blob_hot_give(o);
}
AUTO_CLOSE(blob_hot)
// Whoever has read all bytes of the object that a reader was opened with (BLOB_LATEST) may offer
// them. Not all are kept.
void blob_reader_offer(struct blob_reader *r, const BlobObject *object, Str bytes);

// Appends bytes of an object to what is being written without copying them, at any size: both then
// share them. ERR_INVALID: not possible here (other key, small pieces, another place): read and
// write them instead. Nothing has been appended then. `same_seal`: both have the same data key.
Err blob_put_share(struct blob_put *p, struct blob_reader *r, uint64_t at, uint64_t n,
                   bool same_seal);

// ---- Changing and deleting

// What else belongs to a commit: rows in tables that are not the store's. Called once, last in the
// transaction, with what the object will be; an error, and nothing has happened. It waits for
// nobody.
typedef struct BlobAlso {
    Err (*write)(void *self, struct kv_txn *tx, const BlobObject *object); // NULL: nothing
    void *self;
} BlobAlso;

// What may be changed of a version that is there.
typedef struct BlobChange {
    const BlobPairs *tags;          // NULL: as they are
    const BlobPairs *attributes;    // replaces all of them
    BlobPairs set;                  // these, besides; an absent value takes one away
    const BlobRetention *retention; // ERR_DENIED: shorter than what is there, or of another mode
    enum { BLOB_BOTH, BLOB_PERIOD, BLOB_HOLD } of_retention; // what of it is set
    bool bypass;                                             // of BLOB_GOVERNANCE
    const BlobPair *only_if; // ERR_BUSY: the attribute is another; absent value: it is there
    BlobAlso also;
} BlobChange;
Err blob_change(struct blob *b, struct arena *a, const BlobBucket *bucket, Str key,
                BlobSelect which, const BlobChange *change, BlobObject *ret);

typedef struct BlobDelete {
    Str key;
    BlobSelect which; // BLOB_LATEST: as a DELETE without a version: may make a marker
    bool bypass;      // of BLOB_GOVERNANCE
    BlobCondition condition;
    // Filled in. OK: it is gone, also if it never was. ERR_DENIED: retention or a legal hold.
    Err result;
    bool made_marker, removed_marker, removed; // removed: there was something
    uint64_t version;                          // of the marker or of what was removed
    bool is_null;
} BlobDelete;

// All of them in one commit, at most BLOB_LIST_MAX; each has its result. The error is of all.
Err blob_delete(struct blob *b, const BlobBucket *bucket, BlobDelete *at, size_t n);

// ---- Listing, in order of the keys' bytes. The cost is that of the results, not of what is
// stored.

typedef struct BlobListing {
    Str prefix;
    Str delimiter;          // of any length; absent or empty: none
    Str after;              // results are greater; a common prefix counts as a result
    uint64_t after_version; // of versions: results of the key `after` are older than it; 0: none
    size_t max;             // <= BLOB_LIST_MAX, objects and common prefixes together
} BlobListing;

typedef struct BlobPage {
    BlobObject *objects;
    size_t object_count;
    Str *prefixes; // common ones: up to and with the first delimiter after the prefix
    size_t prefix_count;
    bool more;
    Str last; // the last object's key or common prefix, whichever is greater: the next `after`
    uint64_t last_version;
} BlobPage;

// The latest versions that are no markers.
Err blob_list(struct blob *b, struct arena *a, const BlobBucket *bucket, const BlobListing *l,
              BlobPage *ret);
// All versions and markers, of one key the newest first.
Err blob_list_versions(struct blob *b, struct arena *a, const BlobBucket *bucket,
                       const BlobListing *l, BlobPage *ret);
