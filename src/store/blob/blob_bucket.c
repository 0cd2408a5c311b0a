// SPDX-License-Identifier: Apache-2.0
#include "store/blob/blob_priv.h"

#include <string.h>

static Err copy_bucket(struct arena *a, Str name, Str row, BlobBucket *ret)
{
    BlobBucket b = { 0 };
    TRY(row_read_bucket(row, &b));
    b.name = str_dup(a, name);
    b.owner = str_dup(a, b.owner);
    b.region = str_dup(a, b.region);
    *ret = b;
    return OK;
}

static Err find(struct blob *b, struct kv_txn *tx, struct arena *a, Str name, BlobBucket *ret)
{
    Str row;
    kv_on(tx, b->tables[T_BUCKET]);
    TRY(kv_get(tx, a, name, &row));
    return copy_bucket(a, name, row, ret);
}

Err bucket_look(struct blob *b, struct kv_txn *tx, struct arena *a, const BlobBucket *bucket,
                BlobBucket *ret)
{
    Err e = find(b, tx, a, bucket->name, ret);
    bool other = e.kind == ERR_NONE && ret->id != bucket->id;
    if (e.kind == ERR_NOT_FOUND || other)
        return fail(ERR_CLOSED, "blob: the bucket has been deleted");
    return e;
}

static Err put_bucket(struct blob *b, struct kv_txn *tx, const BlobBucket *bucket)
{
    AUTO_BUF(row);
    row_bucket(&row, bucket);
    TRY(buf_err(&row));
    kv_on(tx, b->tables[T_BUCKET]);
    return kv_put(tx, bucket->name, buf_str(&row));
}

Err blob_bucket_create(struct blob *b, struct arena *a, const BlobBucket *make, BlobBucket *ret)
{
    if (make->name.n == 0 || make->name.n > BLOB_KEY_BYTES_MAX)
        return fail(ERR_INVALID, "blob: the name of a bucket");
    AUTO(kv_txn) tx = kv_write(b->tables[T_BUCKET]);
    BlobBucket there;
    Err e = find(b, tx, a, make->name, &there);
    if (e.kind == ERR_NONE) {
        *ret = there;
        return fail(ERR_EXISTS, "blob: there is a bucket of that name");
    }
    if (e.kind != ERR_NOT_FOUND)
        return e;
    BlobBucket made = *make;
    TRY(kv_next_id(tx, &made.id));
    made.created_ns = b->io->wall_ns(b->io);
    made.versioning = make->locks ? BLOB_VERSIONED : BLOB_UNVERSIONED;
    TRY(put_bucket(b, tx, &made));
    TRY(kv_commit(tx));
    *ret = made;
    return OK;
}

Err blob_bucket_find(struct blob *b, struct arena *a, Str name, BlobBucket *ret)
{
    if (name.n > BLOB_KEY_BYTES_MAX)
        return fail(ERR_NOT_FOUND, "blob: no bucket has such a name");
    AUTO(kv_txn) tx = kv_read(b->tables[T_BUCKET]);
    return find(b, tx, a, name, ret);
}

static Err has_rows(struct blob *b, struct kv_txn *tx, enum table t, uint64_t bucket, bool *ret)
{
    KeyRoom room;
    kv_on(tx, b->tables[t]);
    struct kv_scan s = kv_scan_start(tx, key_number(&room, bucket), S(""));
    *ret = kv_scan_next(&s);
    kv_scan_end(&s);
    return s.err;
}

Err blob_bucket_delete(struct blob *b, const BlobBucket *bucket)
{
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_write(b->tables[T_BUCKET]);
    BlobBucket now;
    bool any = false, older = false;
    TRY(bucket_look(b, tx, tmp, bucket, &now));
    TRY(has_rows(b, tx, T_OBJECT, now.id, &any));
    TRY(has_rows(b, tx, T_OLDER, now.id, &older));
    if (any || older)
        return fail(ERR_EXISTS, "blob: the bucket is not empty");
    kv_on(tx, b->tables[T_BUCKET]);
    TRY(kv_del(tx, now.name));
    TRY(gone_note(b, tx, GONE_BUCKET, now.id, S(""))); // its documents and uploads
    TRY(kv_commit(tx));
    reap_ask(b);
    return OK;
}

Err blob_bucket_list(struct blob *b, struct arena *a, Str owner, Str prefix, Str after, size_t max,
                     BlobBucket **ret, size_t *ret_n, bool *ret_more)
{
    CHECK(max <= BLOB_BUCKET_LIST_MAX);
    AUTO(kv_txn) tx = kv_read(b->tables[T_BUCKET]);
    BlobBucket *found = arena_new(a, BlobBucket, max + 1);
    size_t n = 0;
    struct kv_scan s = kv_scan_start(tx, prefix, after);
    while (n <= max && kv_scan_next(&s)) {
        TRY(copy_bucket(a, str_cat(a, prefix, s.rest), s.value, &found[n]));
        n += owner.p == NULL || str_eq(owner, found[n].owner);
    }
    kv_scan_end(&s);
    TRY(s.err);
    *ret = found;
    *ret_n = MIN(n, max);
    *ret_more = n > max;
    return OK;
}

Err blob_bucket_set_versioning(struct blob *b, const BlobBucket *bucket, BlobVersioning to)
{
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_write(b->tables[T_BUCKET]);
    BlobBucket now;
    TRY(bucket_look(b, tx, tmp, bucket, &now));
    if (to == BLOB_UNVERSIONED && now.versioning != to)
        return fail(ERR_INVALID, "blob: versioning can only be suspended");
    if (now.locks && to != BLOB_VERSIONED)
        return fail(ERR_INVALID, "blob: a bucket with object lock keeps its versions");
    now.versioning = to;
    TRY(put_bucket(b, tx, &now));
    return kv_commit(tx);
}

Err blob_bucket_set_locks(struct blob *b, const BlobBucket *bucket)
{
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_write(b->tables[T_BUCKET]);
    BlobBucket now;
    TRY(bucket_look(b, tx, tmp, bucket, &now));
    if (now.versioning != BLOB_VERSIONED)
        return fail(ERR_INVALID, "blob: object lock needs versioning");
    now.locks = true;
    TRY(put_bucket(b, tx, &now));
    return kv_commit(tx);
}

// ---- Documents

static Err check_document(Str name, Str value)
{
    if (name.n == 0 || name.n > BLOB_KEY_BYTES_MAX)
        return fail(ERR_INVALID, "blob: the name of a document");
    return value.n <= BLOB_DOCUMENT_BYTES_MAX ? OK : fail(ERR_LIMIT, "blob: a document");
}

// NULL: it is removed.
static Err change_document(struct blob *b, const BlobBucket *bucket, Str name, const Str *value)
{
    TRY(check_document(name, value != NULL ? *value : S("")));
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_write(b->tables[T_BUCKET]);
    BlobBucket now;
    KeyRoom room;
    TRY(bucket_look(b, tx, tmp, bucket, &now));
    kv_on(tx, b->tables[T_DOCUMENT]);
    Str key = key_two(&room, now.id, name);
    TRY(value != NULL ? kv_put(tx, key, *value) : kv_del(tx, key));
    return kv_commit(tx);
}

Err blob_bucket_put_document(struct blob *b, const BlobBucket *bucket, Str name, Str value)
{
    return change_document(b, bucket, name, &value);
}

Err blob_bucket_del_document(struct blob *b, const BlobBucket *bucket, Str name)
{
    return change_document(b, bucket, name, NULL);
}

Err blob_bucket_get_document(struct blob *b, struct arena *a, const BlobBucket *bucket, Str name,
                             Str *ret)
{
    TRY(check_document(name, S("")));
    AUTO(kv_txn) tx = kv_read(b->tables[T_DOCUMENT]);
    KeyRoom room;
    return kv_get(tx, a, key_two(&room, bucket->id, name), ret);
}
