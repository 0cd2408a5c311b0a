// SPDX-License-Identifier: Apache-2.0
// Objects in parts. A part has files of its own; the object takes them over by referring to them,
// so that completing costs the same however many bytes there are. The rows of the parts are removed
// later (blob_reap.c): the transaction that completes stays short.
#include "store/blob/blob_priv.h"

#include "base/buf.h"

enum { COMPLETE_TRIES_MAX = 10 }; // each time another part has come

static Err get_upload(struct blob *b, struct kv_txn *tx, struct arena *a, uint64_t bucket, Str key,
                      uint64_t id, UploadRow *ret)
{
    KeyRoom room;
    Str value;
    if (key.n == 0 || key.n > BLOB_KEY_BYTES_MAX)
        return fail(ERR_NOT_FOUND, "blob: no upload has such a key");
    kv_on(tx, b->tables[T_UPLOAD]);
    TRY(kv_get(tx, a, key_tail(&room, bucket, key, id), &value));
    TRY(row_read_upload(a, value, ret));
    ret->u.key = key;
    ret->u.id = id;
    return OK;
}

static Err put_upload(struct blob *b, struct kv_txn *tx, uint64_t bucket, const UploadRow *r)
{
    AUTO_BUF(row);
    KeyRoom room;
    row_upload(&row, r);
    TRY(buf_err(&row));
    kv_on(tx, b->tables[T_UPLOAD]);
    return kv_put(tx, key_tail(&room, bucket, r->u.key, r->u.id), buf_str(&row));
}

static Err del_upload(struct blob *b, struct kv_txn *tx, uint64_t bucket, Str key, uint64_t id)
{
    KeyRoom room;
    kv_on(tx, b->tables[T_UPLOAD]);
    return kv_del(tx, key_tail(&room, bucket, key, id));
}

Err blob_upload_create(struct blob *b, struct arena *a, const BlobBucket *bucket,
                       const BlobUpload *make, BlobUpload *ret)
{
    UploadRow row = { .u = *make };
    TRY(blob_check_key(make->key));
    TRY(blob_check_pairs(make->attributes, make->tags));
    TRY(blob_number(b, &row.u.id));
    row.u.created_ns = b->io->wall_ns(b->io);
    AUTO(kv_txn) tx = kv_write(b->tables[T_UPLOAD]);
    BlobBucket now;
    TRY(bucket_look(b, tx, a, bucket, &now));
    if (!now.locks && (make->retention.mode != BLOB_FREE || make->retention.hold))
        return fail(ERR_INVALID, "blob: retention needs a bucket with object lock");
    TRY(put_upload(b, tx, now.id, &row));
    TRY(kv_commit(tx));
    *ret = row.u;
    return OK;
}

Err blob_upload_find(struct blob *b, struct arena *a, const BlobBucket *bucket, Str key,
                     uint64_t id, BlobUpload *ret)
{
    AUTO(kv_txn) tx = kv_read(b->tables[T_UPLOAD]);
    UploadRow row;
    TRY(get_upload(b, tx, a, bucket->id, key, id, &row));
    *ret = row.u;
    ret->key = str_dup(a, key);
    return OK;
}

static Err abort_one(struct blob *b, const BlobBucket *bucket, Str key, uint64_t id)
{
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_write(b->tables[T_UPLOAD]);
    BlobBucket now;
    UploadRow row;
    TRY(bucket_look(b, tx, tmp, bucket, &now));
    TRY(get_upload(b, tx, tmp, now.id, key, id, &row));
    TRY(del_upload(b, tx, now.id, key, id));
    TRY(gone_note(b, tx, GONE_UPLOAD, id, S("")));
    return kv_commit(tx);
}

Err blob_upload_abort(struct blob *b, const BlobBucket *bucket, Str key, uint64_t id)
{
    unsigned tries = 0;
    Err e;
    do
        e = abort_one(b, bucket, key, id);
    while (reserve_tries_again(b, e, &tries));
    TRY(e);
    reap_ask(b);
    return OK;
}

// ---- Parts

// The part of that number that was there before, if any, is let go.
static Err replace_part(struct blob *b, struct kv_txn *tx, struct arena *tmp, Str key)
{
    Str value;
    PartRow old;
    kv_on(tx, b->tables[T_PART]);
    Err e = kv_get(tx, tmp, key, &value);
    if (e.kind == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    TRY(row_read_part(tmp, value, &old));
    return files_release(b, tx, tmp, old.extents, old.extent_count);
}

static Err put_part(struct blob_put *p, struct kv_txn *tx, Str key, const BlobPart *part)
{
    AUTO_BUF(row);
    PartRow r = { .p = *part, .is_sealed = put_is_sealed(p) };
    r.extents = put_extents(p, &r.extent_count);
    row_part(&row, &r);
    TRY(buf_err(&row));
    kv_on(tx, put_store_of(p)->tables[T_PART]);
    return kv_put(tx, key, buf_str(&row));
}

Err blob_put_finish_part(struct blob_put *p, Str key, uint64_t upload, const BlobPart *part,
                         BlobPart *ret)
{
    struct blob *b = put_store_of(p);
    if (part->number == 0 || part->number > BLOB_PARTS_MAX)
        return fail(ERR_INVALID, "blob: the number of a part");
    TRY(blob_check_pairs(part->attributes, (BlobPairs){ 0 }));
    TRY(put_settle(p, false));
    BlobPart made = *part;
    made.bytes = blob_put_bytes(p);
    made.at = 0;
    made.modified_ns = b->io->wall_ns(b->io);
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_write(b->tables[T_PART]);
    BlobBucket now;
    UploadRow row;
    KeyRoom room;
    Str row_key = key_part(&room, upload, part->number);
    TRY(bucket_look(b, tx, tmp, put_bucket_of(p), &now));
    TRY(get_upload(b, tx, tmp, now.id, key, upload, &row));
    TRY(replace_part(b, tx, tmp, row_key));
    TRY(put_rows(p, tx, tmp));
    TRY(put_part(p, tx, row_key, &made));
    row.changes++;
    TRY(put_upload(b, tx, now.id, &row));
    TRY(kv_commit(tx));
    put_committed(p);
    reap_ask(b);
    *ret = made;
    return OK;
}

static uint32_t part_number(Str rest)
{
    return rest.n == BLOB_NUMBER_BYTES ? (uint32_t)number_of(rest) : 0;
}

static Err read_part(struct arena *a, const struct kv_scan *s, PartRow *ret)
{
    TRY(row_read_part(a, str_dup(a, s->value), ret));
    ret->p.number = part_number(s->rest);
    return OK;
}

Err blob_part_list(struct blob *b, struct arena *a, const BlobBucket *bucket, Str key,
                   uint64_t upload, uint32_t after, size_t max, BlobPart **ret, size_t *ret_n,
                   bool *ret_more)
{
    CHECK(max <= BLOB_LIST_MAX);
    AUTO(kv_txn) tx = kv_read(b->tables[T_PART]);
    UploadRow row;
    KeyRoom prefix, from;
    BlobPart *found = arena_new(a, BlobPart, max + 1);
    size_t n = 0;
    TRY(get_upload(b, tx, a, bucket->id, key, upload, &row));
    kv_on(tx, b->tables[T_PART]);
    struct kv_scan s =
        kv_scan_start(tx, key_number(&prefix, upload), key_part(&from, upload, after));
    while (n <= max && kv_scan_next(&s)) {
        PartRow part;
        TRY(read_part(a, &s, &part));
        found[n++] = part.p;
    }
    kv_scan_end(&s);
    TRY(s.err);
    *ret = found;
    *ret_n = MIN(n, max);
    *ret_more = n > max;
    return OK;
}

// ---- Completing

struct completion {
    const BlobPartRef *wanted;
    size_t wanted_n, wanted_at; // wanted_at: the next one that is looked for
    uint64_t part_bytes_min;
    size_t *wrong;
    uint64_t changes; // of the upload when it was read
    uint64_t bytes;
    BodyRow body;
    size_t extent_room;
    struct buf note; // of the parts that are not wanted
};

static Err wrong_part(struct completion *c, ErrKind kind, const char *text)
{
    *c->wrong = c->wanted_at;
    return fail(kind, text);
}

static void add_extents(struct arena *a, struct completion *c, const PartRow *part)
{
    size_t n = c->body.extent_count, need = n + part->extent_count;
    if (need > c->extent_room) {
        c->extent_room = MAX(need, 2 * c->extent_room);
        Extent *wider = arena_new(a, Extent, c->extent_room);
        if (n > 0)
            memcpy(wider, c->body.extents, n * sizeof *wider);
        c->body.extents = wider;
    }
    if (part->extent_count > 0)
        memcpy(c->body.extents + n, part->extents, part->extent_count * sizeof *part->extents);
    c->body.extent_count = need;
}

// The next stored part, in the order of numbers: wanted or not.
static Err take_part(struct arena *a, struct completion *c, const PartRow *part)
{
    const BlobPartRef *want = c->wanted_at < c->wanted_n ? &c->wanted[c->wanted_at] : NULL;
    if (want == NULL || part->p.number < want->number) {
        KeyRoom room;
        buf_add(&c->note, key_number(&room, part->p.number));
        return OK;
    }
    if (part->p.number > want->number)
        return wrong_part(c, ERR_INVALID, "blob: there is no such part");
    if (!str_eq(part->p.etag, want->etag))
        return wrong_part(c, ERR_INVALID, "blob: the part has another etag");
    if (part->p.bytes < c->part_bytes_min && c->wanted_at + 1 < c->wanted_n)
        return wrong_part(c, ERR_LIMIT, "blob: the part is too small");
    if (c->wanted_at > 0 && part->is_sealed != c->body.is_sealed)
        return wrong_part(c, ERR_INVALID, "blob: the part is not sealed as the others");
    c->body.is_sealed = part->is_sealed;
    add_extents(a, c, part);
    c->body.parts[c->body.part_count++] = part->p;
    c->bytes += part->p.bytes;
    c->wanted_at++;
    return OK;
}

// Reads what there is of the upload and puts the body together.
static Err gather_within(struct blob *b, struct kv_txn *tx, struct arena *a,
                         const BlobBucket *bucket, Str key, uint64_t upload, struct completion *c)
{
    UploadRow row;
    KeyRoom room;
    TRY(get_upload(b, tx, a, bucket->id, key, upload, &row));
    c->changes = row.changes;
    c->wanted_at = c->extent_room = 0;
    c->bytes = 0;
    c->body = (BodyRow){ .parts = arena_new(a, BlobPart, c->wanted_n) };
    buf_clear(&c->note);
    buf_add_byte(&c->note, 1);
    kv_on(tx, b->tables[T_PART]);
    struct kv_scan s = kv_scan_start(tx, key_number(&room, upload), S(""));
    while (kv_scan_next(&s)) {
        PartRow part;
        TRY(read_part(a, &s, &part));
        TRY(take_part(a, c, &part));
    }
    TRY(s.err);
    return c->wanted_at == c->wanted_n ? buf_err(&c->note)
                                       : wrong_part(c, ERR_INVALID, "blob: there is no such part");
}

// The same without holding anybody up.
static Err gather_parts(struct blob *b, struct arena *a, const BlobBucket *bucket, Str key,
                        uint64_t upload, struct completion *c)
{
    AUTO(kv_txn) tx = kv_read(b->tables[T_PART]);
    return gather_within(b, tx, a, bucket, key, upload, c);
}

static Err put_completed(struct blob *b, struct kv_txn *tx, const struct completion *c,
                         ObjectRow *row)
{
    AUTO_BUF(value);
    KeyRoom room;
    row->o.bytes = c->bytes;
    row->o.part_count = (uint32_t)c->body.part_count;
    row->is_sealed = c->body.is_sealed;
    if (c->bytes == 0) { // of one empty part nothing is left to be known
        row->o.part_count = 0;
        return OK;
    }
    TRY(blob_number(b, &row->body));
    row_body(&value, &c->body);
    TRY(buf_err(&value));
    kv_on(tx, b->tables[T_BODY]);
    return kv_put(tx, key_number(&room, row->body), buf_str(&value));
}

// *ret_again: the upload has changed since it was read. `last`: it is read here, while nobody
// writes.
static Err commit_completed(struct blob *b, struct arena *tmp, const BlobBucket *bucket,
                            uint64_t upload, const BlobNew *object, struct completion *c, bool last,
                            ObjectRow *row, bool *ret_again)
{
    AUTO_HOT_WRITES(changed);
    AUTO(kv_txn) tx = kv_write(b->tables[T_OBJECT]);
    hot_begin(b, &changed);
    BlobBucket now;
    UploadRow there;
    *ret_again = false;
    TRY(bucket_look(b, tx, tmp, bucket, &now));
    if (last)
        TRY(gather_within(b, tx, tmp, &now, object->key, upload, c));
    TRY(get_upload(b, tx, tmp, now.id, object->key, upload, &there));
    *ret_again = there.changes != c->changes;
    if (*ret_again)
        return OK;
    TRY(put_completed(b, tx, c, row));
    TRY(object_place(b, tx, tmp, &now, &object->condition, row));
    TRY(del_upload(b, tx, now.id, object->key, upload));
    TRY(gone_note(b, tx, GONE_UPLOAD, upload, buf_str(&c->note)));
    return kv_commit(tx);
}

static Err complete(struct blob *b, struct arena *tmp, const BlobBucket *bucket, uint64_t upload,
                    const BlobNew *object, struct completion *c, ObjectRow *row)
{
    bool again = true;
    for (unsigned tries = 0; again; tries++) {
        bool last = tries >= COMPLETE_TRIES_MAX; // parts come all the time
        if (!last)
            TRY(gather_parts(b, tmp, bucket, object->key, upload, c));
        TRY(commit_completed(b, tmp, bucket, upload, object, c, last, row, &again));
    }
    reap_ask(b);
    return OK;
}

Err blob_upload_complete(struct blob *b, struct arena *a, const BlobBucket *bucket, uint64_t upload,
                         const BlobPartRef *parts, size_t n, uint64_t part_bytes_min,
                         const BlobNew *object, BlobObject *ret, size_t *ret_wrong)
{
    if (n == 0 || n > BLOB_PARTS_MAX)
        return fail(ERR_INVALID, "blob: no parts, or too many");
    TRY(blob_check_key(object->key));
    TRY(blob_check_pairs(object->attributes, object->tags));
    AUTO(arena) tmp = arena_open();
    ObjectRow row = { .o = { .key = object->key,
                             .etag = object->etag,
                             .attributes = object->attributes,
                             .tags = object->tags,
                             .retention = object->retention } };
    *ret_wrong = 0;
    struct completion c = {
        .wanted = parts, .wanted_n = n, .part_bytes_min = part_bytes_min, .wrong = ret_wrong
    };
    Err e = complete(b, tmp, bucket, upload, object, &c, &row);
    buf_done(&c.note);
    TRY(e);
    *ret = row.o;
    ret->key = str_dup(a, object->key);
    return OK;
}

// ---- Listing

static Err add_upload(struct arena *a, BlobUploadPage *page, const struct walk *w)
{
    UploadRow row;
    TRY(row_read_upload(a, str_dup(a, w->value), &row));
    row.u.key = str_dup(a, w->key);
    row.u.id = w->tail;
    page->uploads[page->upload_count++] = row.u;
    page->last = row.u.key;
    page->last_id = row.u.id;
    return OK;
}

Err blob_upload_list(struct blob *b, struct arena *a, const BlobBucket *bucket,
                     const BlobListing *l, BlobUploadPage *ret)
{
    CHECK(l->max <= BLOB_LIST_MAX);
    if (l->prefix.n > BLOB_KEY_BYTES_MAX || l->after.n > BLOB_KEY_BYTES_MAX)
        return fail(ERR_INVALID, "blob: no key is as long");
    BlobUploadPage page = { .uploads = arena_new(a, BlobUpload, l->max),
                            .prefixes = arena_new(a, Str, l->max) };
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_read(b->tables[T_UPLOAD]);
    KeyRoom room;
    struct walk w;
    uint64_t tail = l->after_version != 0 ? l->after_version : UINT64_MAX;
    Str after = listing_after_tail(&room, bucket->id, l, tail);
    TRY(walk_begin(&w, b, tx, tmp, T_UPLOAD, bucket->id, l->prefix, after));
    TRY(walk_skip(&w, listing_group(l, l->after)));
    while (w.has && l->max > 0) {
        Str group = listing_group(l, w.key);
        bool wanted = group.p == NULL || str_cmp(group, l->after) > 0;
        page.more = wanted && page.upload_count + page.prefix_count == l->max;
        if (page.more)
            break;
        if (group.p == NULL) {
            TRY(add_upload(a, &page, &w));
            TRY(walk_next(&w));
            continue;
        }
        group = str_dup(a, group);
        if (wanted) {
            page.last = page.prefixes[page.prefix_count++] = group;
            page.last_id = 0;
        }
        TRY(walk_skip(&w, group));
    }
    *ret = page;
    return OK;
}
