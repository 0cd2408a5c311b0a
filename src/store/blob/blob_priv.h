// SPDX-License-Identifier: Apache-2.0
// What the files of blob know of each other.
//
//     blob_bucket    name                                  the bucket
//     blob_document  bucket, name                          a document of it
//     blob_object    bucket, key                           the latest version, if it is no marker
//     blob_older     bucket, escaped key, 0 0, ~version    all other versions, and markers
//     blob_null      bucket, key                           the version that is called "null", if it
//                                                          is in blob_older
//     blob_body      body                                  bytes, or extents and parts
//     blob_file      file                                  who shares it, and checksums
//     blob_upload    bucket, escaped key, 0 0, upload      an object that is being made in parts
//     blob_part      upload, number                        a part of it
//     blob_gone      kind, number                          what is to be removed (blob_reap.c)
//     blob_run       run                                   starts of the store not yet swept
//
// Numbers are 8 bytes, the highest first, so that rows lie in their order; values are in
// blob_row.c. A run is one start of the store; numbers of bodies, files and uploads, and versions,
// are its number in the upper half and count in the lower.
#pragma once
#include "base/buf.h"
#include "codec/gcm.h"
#include "store/blob.h"
#include "store/blob_upload.h"
#include "store/kv.h"

#include <pthread.h>

enum {
    BLOB_FORMAT = 1,              // of rows
    BLOB_BLOCK_BYTES = 131072,    // of a file's content, with a checksum or a tag
    BLOB_FILES_PER_DIR_BITS = 12, // of the number, which the names of directories leave out
    BLOB_RUN_BITS = 32,           // lower bits of a number that count within a run
    BLOB_NUMBER_BYTES = 8,
    BLOB_FULL_KEY_BYTES_MAX = 8 + 2 * BLOB_KEY_BYTES_MAX + 2 + 8,
    BLOB_RESERVE_BYTES = 4 << 20, // for some commits of kv, whatever its log needs
    BLOB_PACK_MAX = 32,    // objects in one file: as much stays until the last of them is gone
    BLOB_REAP_BATCH = 256, // bodies, files or parts removed in one commit
    BLOB_SEALED_BYTES = BLOB_BLOCK_BYTES + GCM_TAG_BYTES, // of a whole block in a sealed file
};
// A file's checksums fit into one row.
#define BLOB_FILE_BYTES_MAX ((uint64_t)(KV_VALUE_BYTES_MAX / 8) * BLOB_BLOCK_BYTES)

// Kinds of blob_gone.
enum { GONE_BODY = 'b', GONE_FILE = 'f', GONE_UPLOAD = 'u', GONE_BUCKET = 'd' };

enum table {
    T_BUCKET,
    T_DOCUMENT,
    T_OBJECT,
    T_OLDER,
    T_NULL,
    T_BODY,
    T_FILE,
    T_UPLOAD,
    T_PART,
    T_GONE,
    T_RUN,
    T_COUNT,
};

// Bytes of a file that belong to a body, in the file's own places.
typedef struct Extent {
    uint64_t file, at, n;
} Extent;

// What a row of blob_object or blob_older says.
typedef struct ObjectRow {
    BlobObject o;  // key and is_latest are not in the row
    uint64_t body; // 0: no bytes
    bool is_inline, is_sealed;
    bool has_ousted; // of one that is placed: another version went for it; not in the row
} ObjectRow;

typedef struct BodyRow {
    bool is_inline, is_sealed;
    Str bytes; // inline: as stored
    Extent *extents;
    size_t extent_count;
    BlobPart *parts;
    size_t part_count;
} BodyRow;

typedef struct FileRow {
    uint64_t refs, bytes; // bytes of content
    bool is_sealed;
    Str crcs; // four bytes for each block, if it is not sealed
} FileRow;

typedef struct UploadRow {
    BlobUpload u;     // key and id are not in the row
    uint64_t changes; // of its parts
} UploadRow;

typedef struct PartRow {
    BlobPart p; // the number is not in the row
    bool is_sealed;
    Extent *extents;
    size_t extent_count;
} PartRow;

// Somebody who waits for a directory to be durable.
struct dir_wait {
    struct dir_wait *next;
    uint64_t dir;
    Err err;
    bool settled;
};

// The slots of keys that a transaction has changed (blob_hot.c).
enum { HOT_SLOTS = 256 };
struct hot_writes {
    struct hot *hot;
    uint64_t slots[HOT_SLOTS / 64]; // bits
};

struct pack; // blob_pack.c

// Somebody whose bytes are to go into a pack.
struct pack_wait {
    struct pack_wait *next;
    pthread_cond_t wake; // settled, or the next to write
    Str bytes;
    uint64_t at; // in the pack
    struct pack *pack;
    Err err;
    bool settled;
};

struct blob {
    struct io *io;
    struct kv *kv;
    Str dir; // in memory of its own
    struct kv_table *tables[T_COUNT];
    uint64_t run;
    uint64_t next_version;      // belongs to who has kv's turn to write
    struct hot_writes *writing; // likewise
    struct hot *hot;
    struct checked *checked;

    pthread_mutex_t dir_lock; // making directories
    uint64_t made_dir;        // the last one made, and whether it was
    bool has_dir;
    bool has_reserve;       // under dir_lock, too
    unsigned reserve_users; // that need its space: it is not made again meanwhile; likewise

    pthread_mutex_t lock; // everything below; a leaf
    pthread_cond_t changed;
    uint64_t next_number;
    struct map *pins; // numbers of bodies that are read: how often
    struct map *reaping;
    struct dir_wait *dir_waits;
    bool dir_syncing;
    struct pack *packs;                       // to which somebody may still commit
    struct pack_wait *pack_first, *pack_last; // in the order in which they came
    bool pack_writing;
    uint64_t reaps_asked, reaps_done;
    unsigned holds;
    bool skipped; // something was not removed because it was read, or files are held
    bool closing;
    bool has_reaper;
    pthread_t reaper;
};

// ---- blob_row.c

typedef struct KeyRoom {
    char bytes[BLOB_FULL_KEY_BYTES_MAX + 16];
} KeyRoom;
Str key_number(KeyRoom *room, uint64_t number);
Str key_two(KeyRoom *room, uint64_t number, Str rest); // bucket, key as it is
Str key_part(KeyRoom *room, uint64_t upload, uint32_t number);
Str key_gone(KeyRoom *room, char kind, uint64_t number);
Str key_escaped(KeyRoom *room, uint64_t bucket, Str key);             // the prefix of its rows
Str key_tail(KeyRoom *room, uint64_t bucket, Str key, uint64_t tail); // of one row
// The other way round, of what follows the bucket. False: not such a key.
bool key_read_tail(struct arena *a, Str rest, Str *ret_key, uint64_t *ret_tail);
uint64_t number_of(Str eight);

// Writers append to a buffer. Readers borrow from the row. ERR_FORMAT, ERR_CORRUPT.
void row_bucket(struct buf *out, const BlobBucket *b);
Err row_read_bucket(Str row, BlobBucket *ret);
void row_object(struct buf *out, const ObjectRow *r);
Err row_read_object(struct arena *a, Str row, ObjectRow *ret);
void row_body(struct buf *out, const BodyRow *r);
Err row_read_body(struct arena *a, Str row, BodyRow *ret);
void row_file(struct buf *out, const FileRow *r);
Err row_read_file(Str row, FileRow *ret);
void row_upload(struct buf *out, const UploadRow *r);
Err row_read_upload(struct arena *a, Str row, UploadRow *ret);
void row_part(struct buf *out, const PartRow *r);
Err row_read_part(struct arena *a, Str row, PartRow *ret);

// ---- blob.c

Err blob_open_quiet(const BlobConfig *config, struct blob **ret); // without its thread, for tests
void reserve_make(struct blob *b); // if there is none and there is space
// Whether what has ended so, and frees space, is to be done again: it found none, and may find that
// of the reserve. *tries is 0 at first; it is called until it says no.
bool reserve_tries_again(struct blob *b, Err e, unsigned *tries);
Err blob_number(struct blob *b, uint64_t *ret);
Str blob_file_path(struct blob *b, struct arena *a, uint64_t file);
Err blob_file_create(struct blob *b, uint64_t file, struct io_file **ret);
Err blob_dir_sync(struct blob *b, uint64_t file); // the name of that file is durable
Err blob_check_key(Str key);
Err blob_check_pairs(BlobPairs attributes, BlobPairs tags);

// ---- blob_bucket.c

// The bucket as the transaction sees it. ERR_CLOSED: it has been deleted.
Err bucket_look(struct blob *b, struct kv_txn *tx, struct arena *a, const BlobBucket *bucket,
                BlobBucket *ret);

// ---- blob_object.c: versions

// Makes `row` the latest version of its key, in a transaction that writes; gives it its version and
// time. What it replaces is let go.
Err object_place(struct blob *b, struct kv_txn *tx, struct arena *a, const BlobBucket *bucket,
                 const BlobCondition *condition, ObjectRow *row);
Err object_find(struct blob *b, struct kv_txn *tx, struct arena *a, const BlobBucket *bucket,
                Str key, BlobSelect which, ObjectRow *ret);
// Removes one version that was found, whatever its retention, and lets the next one be the latest.
Err object_remove(struct blob *b, struct kv_txn *tx, struct arena *a, const BlobBucket *bucket,
                  const ObjectRow *row);
// What a DELETE without a version does: *ret_made, *ret_removed (and which).
Err object_delete_latest(struct blob *b, struct kv_txn *tx, struct arena *a,
                         const BlobBucket *bucket, Str key, BlobDelete *d);
// The next older version of the key than that one. ERR_NOT_FOUND.
Err object_behind(struct blob *b, struct kv_txn *tx, struct arena *a, uint64_t bucket, Str key,
                  uint64_t version, ObjectRow *ret);
bool retention_holds(const BlobRetention *r, int64_t now_ns, bool bypass);

// ---- blob_put.c

// Bytes that were appended: everything of it durable but the rows. `inlines`: few bytes may stay
// in memory.
Err put_settle(struct blob_put *p, bool inlines);
bool put_is_inline(const struct blob_put *p);
Str put_inline(struct blob_put *p, uint64_t body); // as they are stored in that body
Err put_rows(struct blob_put *p, struct kv_txn *tx, struct arena *tmp); // of its files
Extent *put_extents(const struct blob_put *p, size_t *ret_n);           // borrowed
bool put_is_sealed(const struct blob_put *p);
const BlobBucket *put_bucket_of(const struct blob_put *p);
struct blob *put_store_of(const struct blob_put *p);
void put_committed(struct blob_put *p); // closing leaves what it made
Err put_file_row(struct blob *b, struct kv_txn *tx, uint64_t file, const FileRow *r);

// ---- blob_pack.c: objects that share a file

// Has the bytes, less than a block, durable in a file, which the caller becomes a member of.
// Blocks.
Err pack_add(struct blob *b, Str bytes, struct pack **ret, Extent *ret_place);
Err pack_row(struct blob *b, struct kv_txn *tx, struct arena *tmp, const struct pack *p); // of it
void pack_committed(struct blob *b, struct pack *p);  // the transaction with that row
void pack_leave(struct blob *b, struct pack *p);      // once; a pack that nobody commits to goes
bool pack_has_members(struct blob *b, uint64_t file); // so it is not unlinked: the reaper is asked

// ---- blob_read.c

// The bytes [at, at + n) of the reader's object; NULL: they are not in files. In `a`.
Extent *reader_extents(const struct blob_reader *r, struct arena *a, uint64_t at, uint64_t n,
                       size_t *ret_n);
uint64_t reader_body(const struct blob_reader *r);
void block_nonce(uint64_t number, uint32_t block, unsigned char out[GCM_NONCE_BYTES]);

// ---- blob_reap.c

// Notes that something is to be removed after the commit.
Err gone_note(struct blob *b, struct kv_txn *tx, char kind, uint64_t number, Str value);
Err gone_forget(struct blob *b, struct kv_txn *tx, char kind, uint64_t number);
// No extent of these is needed any more by somebody: files that nobody shares then are noted.
Err files_release(struct blob *b, struct kv_txn *tx, struct arena *a, const Extent *extents,
                  size_t n);
void reap_ask(struct blob *b);                // something was noted and is committed
Err reap_all(struct blob *b);                 // now, on this thread: all that can be
Err reap_sweep(struct blob *b);               // what earlier runs have left
void *reap_main(void *blob);                  // the thread
bool pin_take(struct blob *b, uint64_t body); // false: it is being removed
void pin_give(struct blob *b, uint64_t body);

// ---- blob_hot.c

struct hot *hot_open(void);
void hot_close(struct hot *h); // NULL is fine
// Every transaction that changes latest versions: `w` is declared before it, so that it is closed
// after it, and begun when it has its turn.
void hot_begin(struct blob *b, struct hot_writes *w);
void hot_writes_close(struct hot_writes *w);
#define AUTO_HOT_WRITES(name) \
    __attribute__((cleanup(hot_writes_close))) struct hot_writes name = { 0 }
void hot_note(struct blob *b, Str full); // that row of blob_object is about to be changed
// Before kv is looked into; what was read then may be kept. UINT64_MAX: it may not.
uint64_t hot_stamp(struct blob *b, Str full);
void hot_keep(struct blob *b, Str full, uint64_t stamp, const BlobObject *object, Str bytes);

// ---- blob_checked.c

struct checked *checked_open(void);
void checked_close(struct checked *c);                            // NULL is fine
void checked_note(struct blob *b, uint64_t file, uint64_t block); // it was read and is sound
void checked_forget(struct blob *b, uint64_t file, uint64_t block);
// The first block from `block` on, at most `end`, that was not checked lately.
uint64_t checked_end(struct blob *b, uint64_t file, uint64_t block, uint64_t end);

// ---- blob_list.c

// A walk over the rows of one table and bucket, in the order of their keys.
struct walk {
    struct blob *b;
    struct kv_txn *tx;
    enum table table;
    uint64_t bucket;
    bool has_tail; // keys are escaped and have a number behind them
    KeyRoom prefix;
    size_t prefix_n;
    struct kv_scan scan;
    struct arena *tmp;
    ArenaMark mark;
    Str skips; // no key that begins with it; absent: none is skipped
    bool has;  // there is a row: key, tail and value are its own until the next step
    Str key, value;
    uint64_t tail;
};

// Begins after a row (its whole key in kv; empty: with the first) and steps to the next one.
Err walk_begin(struct walk *w, struct blob *b, struct kv_txn *tx, struct arena *tmp,
               enum table table, uint64_t bucket, Str prefix, Str after);
Err walk_next(struct walk *w);
Err walk_skip(struct walk *w, Str group); // to the next key that does not begin with it
// The part of the key up to and with the first delimiter after the prefix; absent if there is none.
Str listing_group(const BlobListing *l, Str key);
// Where a table whose keys have a tail begins for this listing; `tail` of the key l->after.
Str listing_after_tail(KeyRoom *room, uint64_t bucket, const BlobListing *l, uint64_t tail);
