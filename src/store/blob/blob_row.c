// SPDX-License-Identifier: Apache-2.0
// Keys and values of rows. Keys: numbers with the highest byte first, so that rows lie in their
// order. Where something stands behind a key of a client its zero bytes are escaped (0 1) and it
// ends with 0 0: so keys keep their order whatever they hold.
//
// Values begin with their format. Numbers are of seven bits a byte, the lowest first; text is its
// length and its bytes.
#include "store/blob/blob_priv.h"

#include "codec/little.h"

#include <string.h>

// ---- Keys

static char *add_number(char *at, uint64_t number)
{
    uint64_t big = htobe64(number);
    memcpy(at, &big, sizeof big);
    return at + sizeof big;
}

static Str key_end(const KeyRoom *room, const char *at)
{
    CHECK((size_t)(at - room->bytes) <= sizeof room->bytes);
    return str_from(room->bytes, (size_t)(at - room->bytes));
}

uint64_t number_of(Str eight)
{
    uint64_t big = 0;
    CHECK(eight.n >= sizeof big);
    memcpy(&big, eight.p, sizeof big);
    return be64toh(big);
}

Str key_number(KeyRoom *room, uint64_t number)
{
    return key_end(room, add_number(room->bytes, number));
}

Str key_two(KeyRoom *room, uint64_t number, Str rest)
{
    CHECK(rest.n <= BLOB_FULL_KEY_BYTES_MAX - BLOB_NUMBER_BYTES);
    char *at = add_number(room->bytes, number);
    if (rest.n > 0)
        memcpy(at, rest.p, rest.n);
    return key_end(room, at + rest.n);
}

Str key_part(KeyRoom *room, uint64_t upload, uint32_t number)
{
    return key_end(room, add_number(add_number(room->bytes, upload), number));
}

Str key_gone(KeyRoom *room, char kind, uint64_t number)
{
    room->bytes[0] = kind;
    return key_end(room, add_number(room->bytes + 1, number));
}

static char *add_escaped(char *at, Str key)
{
    for (size_t i = 0; i < key.n; i++) {
        *at++ = key.p[i];
        if (key.p[i] == 0)
            *at++ = 1;
    }
    return at;
}

Str key_escaped(KeyRoom *room, uint64_t bucket, Str key)
{
    CHECK(key.n <= BLOB_KEY_BYTES_MAX);
    return key_end(room, add_escaped(add_number(room->bytes, bucket), key));
}

Str key_tail(KeyRoom *room, uint64_t bucket, Str key, uint64_t tail)
{
    Str head = key_escaped(room, bucket, key);
    char *at = room->bytes + head.n;
    *at++ = 0;
    *at++ = 0;
    return key_end(room, add_number(at, tail));
}

bool key_read_tail(struct arena *a, Str rest, Str *ret_key, uint64_t *ret_tail)
{
    char *key = arena_alloc(a, rest.n + 1, 1), *at = key;
    for (size_t i = 0; i + 1 < rest.n; i++) {
        if (rest.p[i] != 0) {
            *at++ = rest.p[i];
        } else if (rest.p[i + 1] == 1) {
            *at++ = 0;
            i++;
        } else {
            Str tail = str_skip(rest, i + 2);
            if (rest.p[i + 1] != 0 || tail.n != BLOB_NUMBER_BYTES)
                return false;
            *ret_key = str_from(key, (size_t)(at - key));
            *ret_tail = number_of(tail);
            return true;
        }
    }
    return false;
}

// ---- Values

static void add_u64(struct buf *out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_add_byte(out, (char)(v | 0x80));
    buf_add_byte(out, (char)v);
}

// Absent and empty are the same here.
static void add_str(struct buf *out, Str s)
{
    add_u64(out, s.n);
    buf_add(out, s);
}

static void add_pairs(struct buf *out, BlobPairs pairs)
{
    add_u64(out, pairs.n);
    for (size_t i = 0; i < pairs.n; i++) {
        add_str(out, pairs.at[i].name);
        add_str(out, pairs.at[i].value);
    }
}

static void add_extents(struct buf *out, const Extent *extents, size_t n)
{
    add_u64(out, n);
    for (size_t i = 0; i < n; i++) {
        add_u64(out, extents[i].file);
        add_u64(out, extents[i].at);
        add_u64(out, extents[i].n);
    }
}

// A row that is being taken apart. What does not fit makes it bad, and everything after it zero.
struct row_in {
    Str rest;
    bool bad;
};

static uint64_t take_u64(struct row_in *in)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && in->rest.n > 0; shift += 7) {
        unsigned char byte = (unsigned char)in->rest.p[0];
        in->rest = str_skip(in->rest, 1);
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return v;
    }
    in->bad = true;
    return 0;
}

static Str take_str(struct row_in *in)
{
    uint64_t n = take_u64(in);
    if (in->bad || n > in->rest.n) {
        in->bad = true;
        return S("");
    }
    Str s = str_head(in->rest, (size_t)n);
    in->rest = str_skip(in->rest, (size_t)n);
    return s;
}

// How many elements follow, of at least so many bytes each.
static size_t take_count(struct row_in *in, size_t bytes_min)
{
    uint64_t n = take_u64(in);
    if (in->bad || n > in->rest.n / bytes_min) {
        in->bad = true;
        return 0;
    }
    return (size_t)n;
}

static BlobPairs take_pairs(struct arena *a, struct row_in *in)
{
    size_t n = take_count(in, 2);
    BlobPair *at = arena_new(a, BlobPair, n);
    for (size_t i = 0; i < n; i++) {
        at[i].name = take_str(in);
        at[i].value = take_str(in);
    }
    return (BlobPairs){ .at = at, .n = n };
}

static Extent *take_extents(struct arena *a, struct row_in *in, size_t *ret_n)
{
    size_t n = take_count(in, 3);
    Extent *at = arena_new(a, Extent, n);
    for (size_t i = 0; i < n; i++) {
        at[i].file = take_u64(in);
        at[i].at = take_u64(in);
        at[i].n = take_u64(in);
    }
    *ret_n = n;
    return at;
}

static Err row_begin(Str row, struct row_in *ret)
{
    if (row.n == 0)
        return fail(ERR_CORRUPT, "blob: an empty row");
    if ((unsigned char)row.p[0] > BLOB_FORMAT)
        return fail(ERR_FORMAT, "blob: a row was written by a newer program");
    *ret = (struct row_in){ .rest = str_skip(row, 1) };
    return OK;
}

static Err row_end(const struct row_in *in)
{
    return in->bad || in->rest.n > 0 ? fail(ERR_CORRUPT, "blob: a row is not what it should be")
                                     : OK;
}

// ---- Buckets

void row_bucket(struct buf *out, const BlobBucket *b)
{
    buf_add_byte(out, BLOB_FORMAT);
    add_u64(out, b->id);
    add_u64(out, (uint64_t)b->created_ns);
    add_u64(out, b->versioning);
    add_u64(out, b->locks);
    add_str(out, b->owner);
    add_str(out, b->region);
}

Err row_read_bucket(Str row, BlobBucket *ret)
{
    struct row_in in;
    BlobBucket b = { 0 };
    TRY(row_begin(row, &in));
    b.id = take_u64(&in);
    b.created_ns = (int64_t)take_u64(&in);
    b.versioning = (BlobVersioning)take_u64(&in);
    b.locks = take_u64(&in) != 0;
    b.owner = take_str(&in);
    b.region = take_str(&in);
    TRY(row_end(&in));
    *ret = b;
    return OK;
}

// ---- Objects

enum {
    FLAG_NULL = 1,
    FLAG_MARKER = 2,
    FLAG_INLINE = 4,
    FLAG_SEALED = 8,
    FLAG_HOLD = 16,
};

static void add_retention(struct buf *out, const BlobRetention *r)
{
    add_u64(out, r->mode);
    if (r->mode != BLOB_FREE)
        add_u64(out, (uint64_t)r->until_ns);
}

static void take_retention(struct row_in *in, BlobRetention *r)
{
    r->mode = (typeof(r->mode))take_u64(in);
    if (r->mode != BLOB_FREE)
        r->until_ns = (int64_t)take_u64(in);
}

void row_object(struct buf *out, const ObjectRow *r)
{
    const BlobObject *o = &r->o;
    buf_add_byte(out, BLOB_FORMAT);
    add_u64(out, (o->is_null ? FLAG_NULL : 0u) | (o->is_marker ? FLAG_MARKER : 0u) |
                     (r->is_inline ? FLAG_INLINE : 0u) | (r->is_sealed ? FLAG_SEALED : 0u) |
                     (o->retention.hold ? FLAG_HOLD : 0u));
    add_u64(out, o->version);
    add_u64(out, o->bytes);
    add_u64(out, (uint64_t)o->modified_ns);
    add_u64(out, r->body);
    add_u64(out, o->part_count);
    add_str(out, o->etag);
    add_retention(out, &o->retention);
    add_pairs(out, o->attributes);
    add_pairs(out, o->tags);
}

Err row_read_object(struct arena *a, Str row, ObjectRow *ret)
{
    struct row_in in;
    ObjectRow r = { 0 };
    TRY(row_begin(row, &in));
    uint64_t flags = take_u64(&in);
    r.o.is_null = (flags & FLAG_NULL) != 0;
    r.o.is_marker = (flags & FLAG_MARKER) != 0;
    r.is_inline = (flags & FLAG_INLINE) != 0;
    r.is_sealed = (flags & FLAG_SEALED) != 0;
    r.o.retention.hold = (flags & FLAG_HOLD) != 0;
    r.o.version = take_u64(&in);
    r.o.bytes = take_u64(&in);
    r.o.modified_ns = (int64_t)take_u64(&in);
    r.body = take_u64(&in);
    r.o.part_count = (uint32_t)take_u64(&in);
    r.o.etag = take_str(&in);
    take_retention(&in, &r.o.retention);
    r.o.attributes = take_pairs(a, &in);
    r.o.tags = take_pairs(a, &in);
    TRY(row_end(&in));
    *ret = r;
    return OK;
}

// ---- Bodies and files

static void add_part(struct buf *out, const BlobPart *p)
{
    add_u64(out, p->bytes);
    add_u64(out, (uint64_t)p->modified_ns);
    add_str(out, p->etag);
    add_pairs(out, p->attributes);
}

static void take_part(struct arena *a, struct row_in *in, BlobPart *p)
{
    p->bytes = take_u64(in);
    p->modified_ns = (int64_t)take_u64(in);
    p->etag = take_str(in);
    p->attributes = take_pairs(a, in);
}

void row_body(struct buf *out, const BodyRow *r)
{
    buf_add_byte(out, BLOB_FORMAT);
    add_u64(out, (r->is_inline ? FLAG_INLINE : 0u) | (r->is_sealed ? FLAG_SEALED : 0u));
    add_str(out, r->bytes);
    add_extents(out, r->extents, r->extent_count);
    add_u64(out, r->part_count);
    for (size_t i = 0; i < r->part_count; i++) {
        add_u64(out, r->parts[i].number);
        add_part(out, &r->parts[i]);
    }
}

Err row_read_body(struct arena *a, Str row, BodyRow *ret)
{
    enum { PART_BYTES_MIN = 5 };
    struct row_in in;
    BodyRow r = { 0 };
    TRY(row_begin(row, &in));
    uint64_t flags = take_u64(&in);
    r.is_inline = (flags & FLAG_INLINE) != 0;
    r.is_sealed = (flags & FLAG_SEALED) != 0;
    r.bytes = take_str(&in);
    r.extents = take_extents(a, &in, &r.extent_count);
    r.part_count = take_count(&in, PART_BYTES_MIN);
    r.parts = arena_new(a, BlobPart, r.part_count);
    uint64_t at = 0;
    for (size_t i = 0; i < r.part_count; i++) {
        r.parts[i].number = (uint32_t)take_u64(&in);
        take_part(a, &in, &r.parts[i]);
        r.parts[i].at = at;
        at += r.parts[i].bytes;
    }
    TRY(row_end(&in));
    *ret = r;
    return OK;
}

void row_file(struct buf *out, const FileRow *r)
{
    buf_add_byte(out, BLOB_FORMAT);
    add_u64(out, r->is_sealed ? FLAG_SEALED : 0);
    add_u64(out, r->refs);
    add_u64(out, r->bytes);
    add_str(out, r->crcs);
}

Err row_read_file(Str row, FileRow *ret)
{
    struct row_in in;
    FileRow r = { 0 };
    TRY(row_begin(row, &in));
    r.is_sealed = (take_u64(&in) & FLAG_SEALED) != 0;
    r.refs = take_u64(&in);
    r.bytes = take_u64(&in);
    r.crcs = take_str(&in);
    TRY(row_end(&in));
    uint64_t blocks = (r.bytes + BLOB_BLOCK_BYTES - 1) / BLOB_BLOCK_BYTES;
    if (r.refs == 0 || r.crcs.n != (r.is_sealed ? 0 : blocks * sizeof(uint32_t)))
        return fail(ERR_CORRUPT, "blob: the row of a file is not what it should be");
    *ret = r;
    return OK;
}

// ---- Uploads

void row_upload(struct buf *out, const UploadRow *r)
{
    buf_add_byte(out, BLOB_FORMAT);
    add_u64(out, r->u.retention.hold ? FLAG_HOLD : 0);
    add_u64(out, r->changes);
    add_u64(out, (uint64_t)r->u.created_ns);
    add_retention(out, &r->u.retention);
    add_pairs(out, r->u.attributes);
    add_pairs(out, r->u.tags);
}

Err row_read_upload(struct arena *a, Str row, UploadRow *ret)
{
    struct row_in in;
    UploadRow r = { 0 };
    TRY(row_begin(row, &in));
    r.u.retention.hold = (take_u64(&in) & FLAG_HOLD) != 0;
    r.changes = take_u64(&in);
    r.u.created_ns = (int64_t)take_u64(&in);
    take_retention(&in, &r.u.retention);
    r.u.attributes = take_pairs(a, &in);
    r.u.tags = take_pairs(a, &in);
    TRY(row_end(&in));
    *ret = r;
    return OK;
}

void row_part(struct buf *out, const PartRow *r)
{
    buf_add_byte(out, BLOB_FORMAT);
    add_u64(out, r->is_sealed ? FLAG_SEALED : 0);
    add_part(out, &r->p);
    add_extents(out, r->extents, r->extent_count);
}

Err row_read_part(struct arena *a, Str row, PartRow *ret)
{
    struct row_in in;
    PartRow r = { 0 };
    TRY(row_begin(row, &in));
    r.is_sealed = (take_u64(&in) & FLAG_SEALED) != 0;
    take_part(a, &in, &r.p);
    r.extents = take_extents(a, &in, &r.extent_count);
    TRY(row_end(&in));
    *ret = r;
    return OK;
}
