// SPDX-License-Identifier: Apache-2.0
// Writing. Bytes are gathered into blocks; few of them stay in memory until the end and lie in kv,
// more go into one file. Between them may stand bytes of other objects' files (blob_put_share).
//
// A block has a CRC32C in the row of its file, or, sealed, a tag behind it in the file: sealed
// blocks are GCM_TAG_BYTES longer. A nonce is the number of the file and of the block, so no data
// key ever seals twice with one, however many objects it serves.
#include "store/blob/blob_priv.h"

#include "base/buf.h"
#include "base/memory.h"
#include "codec/crc.h"
#include "codec/little.h"

#include <stdlib.h>
#include <string.h>

struct blob_put {
    struct blob *b;
    struct arena *own; // what lives as long as it does
    BlobBucket bucket;
    struct gcm *seal; // NULL: not sealed
    char *block;      // BLOB_SEALED_BYTES
    size_t block_n;
    uint64_t bytes;

    struct io_file *file; // NULL: none was needed yet
    uint64_t number;      // of the file
    uint64_t file_bytes;  // of its content, without the block that is being filled
    uint64_t own_from;    // where the extent of it begins that is being filled
    struct buf crcs;
    struct buf extents; // of type Extent
    uint64_t own_extents;
    struct buf pinned; // numbers of bodies whose files are shared
    bool gathers;
    struct pack *pack; // in which its bytes lie; NULL: none
    bool committed;
};

void block_nonce(uint64_t number, uint32_t block, unsigned char out[GCM_NONCE_BYTES])
{
    put64(out, number);
    put32(out + sizeof number, block);
}

static BlobBucket bucket_dup(struct arena *a, const BlobBucket *bucket)
{
    BlobBucket copy = *bucket;
    copy.name = str_dup(a, bucket->name);
    copy.owner = copy.region = S("");
    return copy;
}

Err blob_put_begin(struct blob *b, const BlobBucket *bucket, const unsigned char *seal,
                   struct blob_put **ret)
{
    char *block = memory_try(BLOB_SEALED_BYTES);
    if (block == NULL)
        return fail(ERR_MEMORY, "blob: a block");
    struct blob_put *p = xalloc(sizeof *p);
    p->b = b;
    p->own = arena_open();
    p->bucket = bucket_dup(p->own, bucket);
    p->block = block;
    if (seal != NULL)
        gcm_open_seal(seal, &p->seal);
    *ret = p;
    return OK;
}

// What nothing refers to is removed; if that fails the next start does it.
static void drop_file(struct blob_put *p)
{
    if (p->number == 0)
        return;
    if (p->file != NULL)
        p->b->io->close(p->file);
    if (!p->committed)
        err_ignore(p->b->io->unlink(p->b->io, blob_file_path(p->b, p->own, p->number)));
}

void blob_put_close(struct blob_put *p)
{
    if (p == NULL)
        return;
    drop_file(p);
    if (p->pack != NULL)
        pack_leave(p->b, p->pack);
    for (size_t at = 0; at < p->pinned.n; at += sizeof(uint64_t))
        pin_give(p->b, get64((const uint8_t *)p->pinned.p + at));
    gcm_close(p->seal);
    buf_done(&p->crcs);
    buf_done(&p->extents);
    buf_done(&p->pinned);
    arena_close(p->own);
    free(p->block);
    free(p);
}

void blob_put_gather(struct blob_put *p)
{
    p->gathers = true;
}

uint64_t blob_put_bytes(const struct blob_put *p)
{
    return p->bytes;
}

// ---- Blocks

static Err need_file(struct blob_put *p)
{
    if (p->file != NULL)
        return OK;
    uint64_t number;
    TRY(blob_number(p->b, &number));
    TRY(blob_file_create(p->b, number, &p->file));
    p->number = number;
    return OK;
}

static void add_crc(struct blob_put *p, const char *bytes, size_t n)
{
    uint8_t crc[sizeof(uint32_t)];
    put32(crc, crc32c(0, bytes, n));
    buf_add(&p->crcs, str_from(crc, sizeof crc));
}

// Whole blocks, but for the last one of the file. `bytes` may be p->block, which has room for a
// tag.
static Err write_blocks(struct blob_put *p, const char *bytes, size_t n)
{
    TRY(need_file(p));
    struct io *io = p->b->io;
    if (p->file_bytes + n > BLOB_FILE_BYTES_MAX)
        return fail(ERR_LIMIT, "blob: too many bytes in one piece");
    if (p->seal == NULL) {
        for (size_t at = 0; at < n; at += BLOB_BLOCK_BYTES)
            add_crc(p, bytes + at, MIN(n - at, (size_t)BLOB_BLOCK_BYTES));
        TRY(buf_err(&p->crcs));
        TRY(io->write(p->file, bytes, n, p->file_bytes, false));
    } else {
        unsigned char nonce[GCM_NONCE_BYTES];
        uint64_t block = p->file_bytes / BLOB_BLOCK_BYTES;
        CHECK(bytes == p->block && n <= BLOB_BLOCK_BYTES);
        block_nonce(p->number, (uint32_t)block, nonce);
        gcm_seal(p->seal, nonce, S(""), str_from(bytes, n), p->block,
                 (unsigned char *)p->block + n);
        TRY(io->write(p->file, p->block, n + GCM_TAG_BYTES, block * BLOB_SEALED_BYTES, false));
    }
    p->file_bytes += n;
    return OK;
}

Err blob_put_write(struct blob_put *p, Str bytes)
{
    while (bytes.n > 0) {
        size_t n = MIN(bytes.n, BLOB_BLOCK_BYTES - p->block_n);
        if (p->block_n == 0 && p->seal == NULL && bytes.n >= BLOB_BLOCK_BYTES) {
            n = bytes.n - bytes.n % BLOB_BLOCK_BYTES;
            TRY(write_blocks(p, bytes.p, n));
        } else {
            memcpy(p->block + p->block_n, bytes.p, n);
            p->block_n += n;
        }
        p->bytes += n;
        bytes = str_skip(bytes, n);
        if (p->block_n == BLOB_BLOCK_BYTES) {
            TRY(write_blocks(p, p->block, p->block_n));
            p->block_n = 0;
        }
    }
    return OK;
}

// ---- Extents

static void add_extent(struct blob_put *p, Extent e)
{
    buf_add(&p->extents, str_from(&e, sizeof e));
}

// What was written since the last extent becomes one.
static void end_own_extent(struct blob_put *p)
{
    uint64_t end = p->file_bytes + p->block_n;
    if (end == p->own_from)
        return;
    add_extent(p, (Extent){ .file = p->number, .at = p->own_from, .n = end - p->own_from });
    p->own_extents++;
    p->own_from = end;
}

Err blob_put_share(struct blob_put *p, struct blob_reader *r, uint64_t at, uint64_t n,
                   bool same_seal)
{
    AUTO(arena) tmp = arena_open();
    size_t count = 0;
    bool sealed = blob_reader_is_sealed(r);
    if (sealed != (p->seal != NULL) || (sealed && !same_seal))
        return fail(ERR_INVALID, "blob: bytes under another key cannot be shared");
    Extent *extents = reader_extents(r, tmp, at, n, &count);
    if (extents == NULL)
        return fail(ERR_INVALID, "blob: these bytes cannot be shared");
    if (p->block_n > 0)
        TRY(need_file(p)); // the extent before needs its number
    uint8_t body[sizeof(uint64_t)];
    put64(body, reader_body(r));
    CHECK(pin_take(p->b, reader_body(r))); // the reader has it pinned, so it is not being removed
    buf_add(&p->pinned, str_from(body, sizeof body));
    end_own_extent(p);
    for (size_t i = 0; i < count; i++)
        add_extent(p, extents[i]);
    p->bytes += n;
    return buf_err(&p->extents);
}

Extent *put_extents(const struct blob_put *p, size_t *ret_n)
{
    *ret_n = p->extents.n / sizeof(Extent);
    return (Extent *)(void *)p->extents.p;
}

bool put_is_sealed(const struct blob_put *p)
{
    return p->seal != NULL;
}

const BlobBucket *put_bucket_of(const struct blob_put *p)
{
    return &p->bucket;
}

struct blob *put_store_of(const struct blob_put *p)
{
    return p->b;
}

void put_committed(struct blob_put *p)
{
    p->committed = true;
    if (p->pack != NULL)
        pack_committed(p->b, p->pack);
}

// ---- The end

bool put_is_inline(const struct blob_put *p)
{
    return p->number == 0 && p->extents.n == 0 && p->bytes <= BLOB_INLINE_BYTES_MAX;
}

Str put_inline(struct blob_put *p, uint64_t body)
{
    unsigned char nonce[GCM_NONCE_BYTES];
    if (p->seal == NULL)
        return str_from(p->block, p->block_n);
    block_nonce(body, UINT32_MAX, nonce);
    gcm_seal(p->seal, nonce, S(""), str_from(p->block, p->block_n), p->block,
             (unsigned char *)p->block + p->block_n);
    return str_from(p->block, p->block_n + GCM_TAG_BYTES);
}

static Err join_pack(struct blob_put *p)
{
    Extent place;
    TRY(pack_add(p->b, str_from(p->block, p->block_n), &p->pack, &place));
    p->block_n = 0;
    add_extent(p, place);
    return buf_err(&p->extents);
}

// All of it is in memory, and may lie with others.
static bool may_join(const struct blob_put *p)
{
    return p->gathers && p->seal == NULL && p->block_n == p->bytes;
}

Err put_settle(struct blob_put *p, bool inlines)
{
    if (p->bytes == 0 || p->pack != NULL || (inlines && put_is_inline(p)))
        return OK;
    if (may_join(p))
        return join_pack(p);
    if (p->block_n > 0) {
        TRY(need_file(p));
        end_own_extent(p);
        TRY(write_blocks(p, p->block, p->block_n));
        p->block_n = 0;
    }
    if (p->file == NULL)
        return buf_err(&p->extents);
    end_own_extent(p);
    TRY(buf_err(&p->extents));
    TRY(p->b->io->sync(p->file));
    p->b->io->close(p->file);
    p->file = NULL;
    return blob_dir_sync(p->b, p->number);
}

Err put_file_row(struct blob *b, struct kv_txn *tx, uint64_t file, const FileRow *r)
{
    AUTO_BUF(row);
    KeyRoom room;
    row_file(&row, r);
    TRY(buf_err(&row));
    kv_on(tx, b->tables[T_FILE]);
    return kv_put(tx, key_number(&room, file), buf_str(&row));
}

static Err share_row(struct blob *b, struct kv_txn *tx, struct arena *tmp, uint64_t file)
{
    KeyRoom room;
    Str value;
    FileRow r;
    kv_on(tx, b->tables[T_FILE]);
    TRY(kv_get(tx, tmp, key_number(&room, file), &value));
    TRY(row_read_file(value, &r));
    r.refs++;
    return put_file_row(b, tx, file, &r);
}

Err put_rows(struct blob_put *p, struct kv_txn *tx, struct arena *tmp)
{
    size_t n;
    const Extent *extents = put_extents(p, &n);
    FileRow own = { .refs = p->own_extents,
                    .bytes = p->file_bytes,
                    .is_sealed = p->seal != NULL,
                    .crcs = buf_str(&p->crcs) };
    if (p->number != 0)
        TRY(put_file_row(p->b, tx, p->number, &own));
    for (size_t i = 0; i < n; i++) {
        ArenaMark mark = arena_mark(tmp);
        Err e = extents[i].file == p->number ? OK
                : p->pack != NULL            ? pack_row(p->b, tx, tmp, p->pack)
                                             : share_row(p->b, tx, tmp, extents[i].file);
        arena_rewind(tmp, mark);
        if (e.kind == ERR_NOT_FOUND) // pinned bodies keep theirs
            return fail(ERR_CORRUPT, "blob: a shared file has no row");
        TRY(e);
    }
    return OK;
}

static Err put_body(struct blob_put *p, struct kv_txn *tx, struct arena *tmp, ObjectRow *row)
{
    AUTO_BUF(value);
    KeyRoom room;
    BodyRow body = { .is_inline = put_is_inline(p), .is_sealed = p->seal != NULL };
    if (p->bytes == 0)
        return OK;
    TRY(blob_number(p->b, &row->body));
    row->is_inline = body.is_inline;
    row->is_sealed = body.is_sealed;
    if (body.is_inline) {
        body.bytes = put_inline(p, row->body);
    } else {
        body.extents = put_extents(p, &body.extent_count);
        TRY(put_rows(p, tx, tmp));
    }
    row_body(&value, &body);
    TRY(buf_err(&value));
    kv_on(tx, p->b->tables[T_BODY]);
    return kv_put(tx, key_number(&room, row->body), buf_str(&value));
}

Err blob_put_finish(struct blob_put *p, struct arena *a, const BlobNew *object, BlobObject *ret)
{
    CHECK(!p->committed);
    TRY(blob_check_key(object->key));
    TRY(blob_check_pairs(object->attributes, object->tags));
    TRY(put_settle(p, true));
    struct blob *b = p->b;
    ObjectRow row = { .o = { .key = object->key,
                             .bytes = p->bytes,
                             .etag = object->etag,
                             .attributes = object->attributes,
                             .tags = object->tags,
                             .retention = object->retention } };
    AUTO(arena) tmp = arena_open();
    AUTO_HOT_WRITES(changed);
    AUTO(kv_txn) tx = kv_write(b->tables[T_OBJECT]);
    hot_begin(b, &changed);
    BlobBucket bucket;
    TRY(bucket_look(b, tx, tmp, &p->bucket, &bucket));
    TRY(put_body(p, tx, tmp, &row));
    TRY(object_place(b, tx, tmp, &bucket, &object->condition, &row));
    if (object->with != NULL)
        TRY(object->with(object->with_self, tx));
    TRY(kv_commit(tx));
    put_committed(p);
    if (row.has_ousted) // for nothing the reaper would wake at every put
        reap_ask(b);
    *ret = row.o;
    ret->key = str_dup(a, object->key);
    return OK;
}
