// SPDX-License-Identifier: Apache-2.0
// Reading. A reader pins its body, so that its files stay until it is closed (blob_reap.c), and
// has one of them open. Every block is checked; where the io table keeps several copies of a file
// (store/zones) a damaged one is read from another and mended.
#include "store/blob/blob_priv.h"

#include "base/logline.h"
#include "base/memory.h"
#include "codec/crc.h"
#include "codec/little.h"

#include <stdlib.h>
#include <string.h>

enum { OPEN_TRIES_MAX = 1000 }; // each time the object was replaced: somebody else got on

struct blob_reader {
    struct blob *b;
    struct arena *own; // what lives as long as it does
    uint64_t bytes;
    uint64_t stamp; // hot_stamp of its key; UINT64_MAX: it is not to be kept
    uint64_t bucket;
    uint64_t body; // 0: nothing, or small: not pinned
    bool is_sealed;
    struct gcm *unseal;
    uint64_t small_body; // the number of a body that is small
    Str small;           // its bytes, as stored until they are unsealed
    bool small_is_plain;

    Extent *extents;
    uint64_t *ends;     // where each extent ends in the object
    size_t count, last; // last: the one that was read last

    struct io_file *file; // NULL: none is open
    uint64_t number;
    struct arena *of_file;
    FileRow row;
    char *block; // the content of one block that was not wanted whole; NULL: not needed yet
    size_t block_at, block_n; // which, in bytes of the file; none if block_n == 0
    char *stored;             // a sealed block
};

// ---- Opening

static void set_extents(struct blob_reader *r, const BodyRow *body)
{
    r->extents = body->extents;
    r->count = body->extent_count;
    r->ends = arena_new(r->own, uint64_t, r->count + 1);
    uint64_t end = 0;
    for (size_t i = 0; i < r->count; i++) {
        end += r->extents[i].n;
        r->ends[i] = end;
    }
}

static Err get_body(struct blob *b, struct kv_txn *tx, struct arena *a, uint64_t number,
                    BodyRow *ret)
{
    KeyRoom room;
    Str value;
    kv_on(tx, b->tables[T_BODY]);
    TRY(kv_get(tx, a, key_number(&room, number), &value));
    return row_read_body(a, value, ret);
}

static Err set_small(struct blob_reader *r, const ObjectRow *row, const BodyRow *body)
{
    size_t tag = row->is_sealed ? GCM_TAG_BYTES : 0;
    if (!body->is_inline || body->bytes.n != row->o.bytes + tag)
        return fail(ERR_CORRUPT, "blob: a small object is not what it should be");
    r->small = body->bytes;
    r->small_body = row->body;
    r->small_is_plain = !row->is_sealed;
    return OK;
}

// Pinned first and looked at afterwards: so it is not removed in between. *ret_again: it was
// removed before that, so its object is another one by now.
static Err pin_body(struct blob_reader *r, const ObjectRow *row, bool *ret_again)
{
    BodyRow body;
    *ret_again = !pin_take(r->b, row->body);
    if (*ret_again)
        return OK;
    r->body = row->body;
    AUTO(kv_txn) tx = kv_read(r->b->tables[T_BODY]);
    Err e = get_body(r->b, tx, r->own, row->body, &body);
    if (e.kind == ERR_NOT_FOUND) {
        pin_give(r->b, r->body);
        r->body = 0;
        *ret_again = true;
        return OK;
    }
    TRY(e);
    set_extents(r, &body);
    if (r->count == 0 || r->ends[r->count - 1] != row->o.bytes)
        return fail(ERR_CORRUPT, "blob: the extents of an object do not make up its size");
    return OK;
}

// Finds the object and, if it is small, its bytes.
static Err find_object(struct blob_reader *r, struct arena *a, const BlobBucket *bucket, Str key,
                       BlobSelect which, ObjectRow *ret)
{
    AUTO(kv_txn) tx = kv_read(r->b->tables[T_OBJECT]);
    BodyRow body;
    TRY(object_find(r->b, tx, a, bucket, key, which, ret));
    if (ret->o.is_marker || !ret->is_inline)
        return OK;
    Err e = get_body(r->b, tx, r->own, ret->body, &body);
    if (e.kind == ERR_NOT_FOUND)
        return fail(ERR_CORRUPT, "blob: a small object has no bytes");
    TRY(e);
    return set_small(r, ret, &body);
}

static Err reader_set(struct blob_reader *r, struct arena *a, const BlobBucket *bucket, Str key,
                      BlobSelect which, BlobObject *ret_object)
{
    ObjectRow row;
    KeyRoom room;
    bool again = true;
    r->bucket = bucket->id;
    for (unsigned tries = 0; again; tries++) {
        row = (ObjectRow){ 0 };
        r->stamp = which.which == BLOB_LATEST && key.n <= BLOB_KEY_BYTES_MAX
                       ? hot_stamp(r->b, key_two(&room, bucket->id, key))
                       : UINT64_MAX;
        if (tries == OPEN_TRIES_MAX)
            return fail(ERR_BUSY, "blob: the object is replaced all the time");
        Err e = find_object(r, a, bucket, key, which, &row);
        bool is_marker = row.o.is_marker && (e.kind == ERR_NONE || e.kind == ERR_NOT_FOUND);
        if (e.kind == ERR_NONE || is_marker) {
            *ret_object = row.o;
            ret_object->key = str_dup(a, key);
        }
        TRY(e);
        if (is_marker)
            return fail(ERR_INVALID, "blob: a delete marker has no bytes");
        again = false;
        if (row.body != 0 && !row.is_inline)
            TRY(pin_body(r, &row, &again));
    }
    r->bytes = row.o.bytes;
    r->is_sealed = row.is_sealed;
    return OK;
}

Err blob_reader_open(struct blob *b, struct arena *a, const BlobBucket *bucket, Str key,
                     BlobSelect which, BlobObject *ret_object, struct blob_reader **ret)
{
    struct blob_reader *r = xalloc(sizeof *r);
    r->b = b;
    r->own = arena_open();
    r->of_file = arena_open();
    Err e = reader_set(r, a, bucket, key, which, ret_object);
    if (e.kind != ERR_NONE) {
        blob_reader_close(r);
        return e;
    }
    *ret = r;
    return OK;
}

void blob_reader_close(struct blob_reader *r)
{
    if (r == NULL)
        return;
    if (r->file != NULL)
        r->b->io->close(r->file);
    if (r->body != 0)
        pin_give(r->b, r->body);
    gcm_close(r->unseal);
    free(r->block);
    free(r->stored);
    arena_close(r->of_file);
    arena_close(r->own);
    free(r);
}

void blob_reader_offer(struct blob_reader *r, const BlobObject *object, Str bytes)
{
    KeyRoom room;
    if (r->stamp == UINT64_MAX || r->is_sealed || bytes.n != r->bytes ||
        bytes.n > BLOB_HOT_BYTES_MAX)
        return;
    hot_keep(r->b, key_two(&room, r->bucket, object->key), r->stamp, object, bytes);
}

bool blob_reader_is_sealed(const struct blob_reader *r)
{
    return r->is_sealed;
}

void blob_reader_unseal(struct blob_reader *r, const unsigned char seal[BLOB_SEAL_BYTES])
{
    _Static_assert((int)BLOB_SEAL_BYTES == (int)GCM_KEY_BYTES, "a data key is a key of AES-256");
    gcm_close(r->unseal);
    gcm_open_unseal(seal, &r->unseal);
}

uint64_t reader_body(const struct blob_reader *r)
{
    return r->body;
}

// ---- Extents

// The extent in which the object's byte `at` lies.
static size_t extent_at(const struct blob_reader *r, uint64_t at)
{
    size_t low = 0, high = r->count - 1;
    if (r->ends[r->last] > at && (r->last == 0 || r->ends[r->last - 1] <= at))
        return r->last;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->ends[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

// The rest of that extent from `at` on, at most n bytes.
static Extent rest_of(const struct blob_reader *r, size_t i, uint64_t at, uint64_t n)
{
    uint64_t start = i > 0 ? r->ends[i - 1] : 0;
    Extent e = r->extents[i];
    e.at += at - start;
    e.n = MIN(r->ends[i] - at, n);
    return e;
}

Extent *reader_extents(const struct blob_reader *r, struct arena *a, uint64_t at, uint64_t n,
                       size_t *ret_n)
{
    if (r->body == 0 || n == 0 || at > r->bytes || n > r->bytes - at)
        return NULL;
    size_t first = extent_at(r, at), last = extent_at(r, at + n - 1), count = last - first + 1;
    Extent *extents = arena_new(a, Extent, count);
    for (size_t i = 0; i < count; i++) {
        extents[i] = rest_of(r, first + i, at, n);
        at += extents[i].n;
        n -= extents[i].n;
    }
    *ret_n = count;
    return extents;
}

// ---- Files

static Err load_row(struct blob_reader *r, uint64_t number)
{
    KeyRoom room;
    Str value;
    FileRow row;
    AUTO(kv_txn) tx = kv_read(r->b->tables[T_FILE]);
    Err e = kv_get(tx, r->of_file, key_number(&room, number), &value);
    if (e.kind == ERR_NOT_FOUND)
        return fail(ERR_CORRUPT, "blob: a file of an object has no row");
    TRY(e);
    TRY(row_read_file(value, &row));
    if (row.is_sealed != r->is_sealed)
        return fail(ERR_CORRUPT, "blob: a file is not sealed as its object is");
    r->row = row;
    return OK;
}

static Err use_file(struct blob_reader *r, uint64_t number)
{
    if (r->file != NULL && r->number == number)
        return OK;
    if (r->file != NULL)
        r->b->io->close(r->file);
    r->file = NULL;
    r->block_n = 0;
    arena_reset(r->of_file);
    TRY(load_row(r, number));
    Str path = blob_file_path(r->b, r->of_file, number);
    Err e = r->b->io->open(r->b->io, path, IO_READ, &r->file);
    if (e.kind == ERR_NOT_FOUND)
        return fail(ERR_CORRUPT, "blob: a file of an object is missing");
    TRY(e);
    r->number = number;
    return OK;
}

// ---- Blocks

static bool crc_fits(const struct blob_reader *r, uint64_t block, const char *p, size_t n)
{
    const uint8_t *crcs = (const uint8_t *)r->row.crcs.p;
    return get32(crcs + block * sizeof(uint32_t)) == crc32c(0, p, n);
}

// Whether `stored` is that block; its content goes to `out`, which is `stored` if it is not sealed.
static bool is_sound(struct blob_reader *r, uint64_t block, const char *stored, size_t n, char *out)
{
    unsigned char nonce[GCM_NONCE_BYTES];
    if (!r->is_sealed)
        return crc_fits(r, block, stored, n);
    block_nonce(r->number, (uint32_t)block, nonce);
    return gcm_unseal(r->unseal, nonce, S(""), str_from(stored, n),
                      (const unsigned char *)stored + n, out)
               .kind == ERR_NONE;
}

// The first copy was damaged: another one may not be, and then makes it whole.
static Err read_other_copy(struct blob_reader *r, uint64_t block, char *stored, size_t n, char *out)
{
    struct io *io = r->b->io;
    size_t bytes = r->is_sealed ? n + GCM_TAG_BYTES : n, got = 0;
    uint64_t at = block * (r->is_sealed ? BLOB_SEALED_BYTES : BLOB_BLOCK_BYTES);
    checked_forget(r->b, r->number, block);
    LOG(LOG_ERROR, "a block of an object is damaged, or its key is another",
        F_INT("file", r->number), F_INT("block", block));
    for (unsigned copy = 0; copy < io->copies(r->file) && io->copies(r->file) > 1; copy++) {
        Err e = io->read_copy(r->file, copy, stored, bytes, at, &got);
        if (e.kind != ERR_NONE || got != bytes || !is_sound(r, block, stored, n, out))
            continue;
        return io->mend(r->file, stored, bytes, at);
    }
    return fail(ERR_CORRUPT, "blob: a block of an object is damaged");
}

// Whole blocks of the open file, as they follow each other: n bytes, the last one may be short.
static Err read_blocks(struct blob_reader *r, uint64_t block, char *out, size_t n)
{
    size_t got = 0;
    TRY(r->b->io->read(r->file, out, n, block * BLOB_BLOCK_BYTES, &got));
    for (size_t at = 0; at < n; at += BLOB_BLOCK_BYTES, block++) {
        size_t part = MIN(n - at, (size_t)BLOB_BLOCK_BYTES);
        if (at + part > got || !is_sound(r, block, out + at, part, out + at))
            TRY(read_other_copy(r, block, out + at, part, out + at));
        checked_note(r->b, r->number, block);
    }
    return OK;
}

static Err read_sealed(struct blob_reader *r, uint64_t block, char *out, size_t n)
{
    size_t got = 0;
    if (r->stored == NULL && (r->stored = memory_try(BLOB_SEALED_BYTES)) == NULL)
        return fail(ERR_MEMORY, "blob: a block");
    TRY(r->b->io->read(r->file, r->stored, n + GCM_TAG_BYTES, block * BLOB_SEALED_BYTES, &got));
    if (got != n + GCM_TAG_BYTES || !is_sound(r, block, r->stored, n, out))
        return read_other_copy(r, block, r->stored, n, out);
    return OK;
}

// Has one block in r->block.
static Err need_block(struct blob_reader *r, uint64_t block, size_t n)
{
    if (r->block_n > 0 && r->block_at == block * BLOB_BLOCK_BYTES)
        return OK;
    if (r->block == NULL && (r->block = memory_try(BLOB_BLOCK_BYTES)) == NULL)
        return fail(ERR_MEMORY, "blob: a block");
    r->block_n = 0;
    TRY(r->is_sealed ? read_sealed(r, block, r->block, n) : read_blocks(r, block, r->block, n));
    r->block_at = block * BLOB_BLOCK_BYTES;
    r->block_n = n;
    return OK;
}

// Bytes of the open file.
static Err read_file(struct blob_reader *r, char *p, size_t n, uint64_t at)
{
    if (at > r->row.bytes || n > r->row.bytes - at)
        return fail(ERR_CORRUPT, "blob: an extent is outside its file");
    while (n > 0) {
        uint64_t block = at / BLOB_BLOCK_BYTES, from = block * BLOB_BLOCK_BYTES;
        size_t of_block = (size_t)MIN(r->row.bytes - from, (uint64_t)BLOB_BLOCK_BYTES), part;
        bool whole = at == from && n >= of_block;
        if (whole && r->is_sealed) {
            part = of_block;
            TRY(read_sealed(r, block, p, part));
        } else if (whole) {
            // As many of them as are wanted whole, the last of the file included.
            part = from + n == r->row.bytes ? n : MAX(n - n % BLOB_BLOCK_BYTES, of_block);
            TRY(read_blocks(r, block, p, part));
        } else {
            TRY(need_block(r, block, of_block));
            part = MIN(n, of_block - (size_t)(at - from));
            memcpy(p, r->block + (at - from), part);
        }
        p += part;
        at += part;
        n -= part;
    }
    return OK;
}

// ---- The object

static Err read_small(struct blob_reader *r, char *p, size_t n, uint64_t at)
{
    if (!r->small_is_plain) {
        unsigned char nonce[GCM_NONCE_BYTES];
        size_t bytes = r->small.n - GCM_TAG_BYTES;
        char *plain = arena_alloc(r->own, bytes + 1, 1);
        block_nonce(r->small_body, UINT32_MAX, nonce);
        TRY(gcm_unseal(r->unseal, nonce, S(""), str_head(r->small, bytes),
                       (const unsigned char *)r->small.p + bytes, plain));
        r->small = str_from(plain, bytes);
        r->small_is_plain = true;
    }
    memcpy(p, r->small.p + at, n);
    return OK;
}

Err blob_reader_read(struct blob_reader *r, void *p, size_t n, uint64_t at, size_t *ret_n)
{
    CHECK(!r->is_sealed || r->unseal != NULL);
    if (at > r->bytes)
        return fail(ERR_INVALID, "blob: read beyond the end");
    n = (size_t)MIN((uint64_t)n, r->bytes - at);
    if (n > 0 && r->body == 0)
        TRY(read_small(r, p, n, at));
    for (size_t done = 0; done < n && r->body != 0;) {
        r->last = extent_at(r, at + done);
        Extent e = rest_of(r, r->last, at + done, n - done);
        TRY(use_file(r, e.file));
        TRY(read_file(r, (char *)p + done, (size_t)e.n, e.at));
        done += (size_t)e.n;
    }
    *ret_n = n;
    return OK;
}

void blob_reader_place(struct blob_reader *r, size_t n, uint64_t at, IoSpan *ret_span)
{
    *ret_span = (IoSpan){ 0 };
    if (r->is_sealed || r->body == 0 || n == 0 || at >= r->bytes)
        return;
    r->last = extent_at(r, at);
    Extent e = rest_of(r, r->last, at, n);
    if (use_file(r, e.file).kind != ERR_NONE || e.at > r->row.bytes || e.n > r->row.bytes - e.at)
        return; // reading it says what is wrong
    uint64_t first = e.at / BLOB_BLOCK_BYTES;
    uint64_t end = (e.at + e.n + BLOB_BLOCK_BYTES - 1) / BLOB_BLOCK_BYTES;
    int fd = r->b->io->descriptor(r->file);
    end = fd >= 0 ? checked_end(r->b, e.file, first, end) : first;
    if (end > first)
        *ret_span = (IoSpan){ fd, e.at, (size_t)MIN(e.n, end * BLOB_BLOCK_BYTES - e.at) };
}
