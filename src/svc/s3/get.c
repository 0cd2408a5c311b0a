// SPDX-License-Identifier: Apache-2.0
// GetObject and HeadObject: conditions, ranges, parts; the bytes come from a reader as they are
// sent, or go from its file.
#include "base/time.h"
#include "svc/s3/s3.h"

#include <inttypes.h>
#include <stdlib.h>

struct sending {
    struct call_source source;
    struct blob_reader *reader; // or
    struct blob_hot *hot;
    Str bytes;
    BlobObject object; // a small one, which the reader has
    uint64_t at, left;
};

static Err send_read(struct call_source *source, char *p, size_t n, size_t *ret_n)
{
    struct sending *s = (struct sending *)source;
    *ret_n = 0;
    if (s->left == 0)
        return OK;
    if (s->hot != NULL) {
        *ret_n = (size_t)MIN((uint64_t)n, s->left);
        memcpy(p, s->bytes.p + s->at, *ret_n);
    } else {
        TRY(blob_reader_read(s->reader, p, (size_t)MIN((uint64_t)n, s->left), s->at, ret_n));
        if (s->at == 0 && *ret_n == s->object.bytes)
            blob_reader_offer(s->reader, &s->object, str_from(p, *ret_n));
    }
    if (*ret_n == 0)
        return fail(ERR_CORRUPT, "an object is shorter than it should be");
    s->at += *ret_n;
    s->left -= *ret_n;
    return OK;
}

static void send_place(struct call_source *source, size_t n, IoSpan *ret_span)
{
    struct sending *s = (struct sending *)source;
    blob_reader_place(s->reader, (size_t)MIN((uint64_t)n, s->left), s->at, ret_span);
    s->at += ret_span->n;
    s->left -= ret_span->n;
}

static void send_close(struct call_source *source)
{
    struct sending *s = (struct sending *)source;
    blob_reader_close(s->reader);
    blob_hot_give(s->hot);
    free(s);
}

// What of an object is asked for.
struct wanted {
    bool is_range;
    bool is_part; // of several, with checksums of its own
    uint64_t from, n;
    BlobPairs part_attributes;
};

// The bytes of one part.
static Err take_part(struct call *c, const BlobBucket *bucket, const BlobObject *o, int32_t number,
                     struct wanted *w)
{
    uint32_t last = MAX(o->part_count, 1u);
    if (number < 1 || (uint32_t)number > last) {
        call_detail(c, S("PartNumberRequested"), str_fmt(c->arena, "%" PRId32, number));
        call_detail(c, S("ActualPartCount"), str_fmt(c->arena, "%" PRIu32, last));
        return call_fail(c, &s3_InvalidPartNumber, "The requested partnumber is not satisfiable");
    }
    w->is_range = o->bytes > 0;
    if (o->part_count == 0)
        return OK;
    // Numbers of parts have gaps; what is asked for is the n-th.
    uint64_t at = 0;
    uint32_t after = 0, seen = 0;
    for (bool more = true; more;) {
        BlobPart *parts;
        size_t n;
        Err e = blob_object_parts(s3_of(c)->blob, c->arena, bucket, o, after, BLOB_LIST_MAX, &parts,
                                  &n, &more);
        TRY(e.kind == ERR_NOT_FOUND ? s3_no_such_key(c, o->key) : s3_store_error(c, bucket, e));
        for (size_t i = 0; i < n; i++) {
            if (++seen == (uint32_t)number) {
                w->from = at;
                w->n = parts[i].bytes;
                w->is_part = true;
                w->part_attributes = parts[i].attributes;
                return OK;
            }
            at += parts[i].bytes;
            after = parts[i].number;
        }
        if (n == 0)
            break;
    }
    return fail(ERR_CORRUPT, "an object has fewer parts than it should");
}

// GetObject and HeadObject have the same members.
_Static_assert(sizeof(struct s3_GetObject_in) == sizeof(struct s3_HeadObject_in),
               "GetObject and HeadObject take the same");

static void override(struct call *c, const struct s3_GetObject_in *in, Str *type, Str *language,
                     Str *encoding, Str *disposition, Str *cache, Str *expires)
{
    const struct {
        Str given;
        Str *place;
    } all[] = {
        { in->response_content_type, type },
        { in->response_content_language, language },
        { in->response_content_encoding, encoding },
        { in->response_content_disposition, disposition },
        { in->response_cache_control, cache },
        { in->has_response_expires ? time_http(c->arena, in->response_expires) : (Str){ 0 },
          expires },
    };
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (all[i].given.p != NULL)
            *all[i].place = all[i].given;
}

static Err look(struct call *c, const struct s3_GetObject_in *in, const BlobBucket *bucket,
                const BlobObject *o, struct wanted *w)
{
    TRY(s3_check_acl(c, bucket, o,
                     in->version_id.p != NULL ? S("s3:GetObjectVersion") : S("s3:GetObject"),
                     S("READ")));
    if (str_eq(c->op->name, S("GetObject")))
        TRY(s3_check_readable(c, o->attributes, false));
    S3Conditions want = { .if_match = in->if_match,
                          .if_none_match = in->if_none_match,
                          .has_modified = in->has_if_modified_since,
                          .modified_since_ns = in->if_modified_since,
                          .has_unmodified = in->has_if_unmodified_since,
                          .unmodified_since_ns = in->if_unmodified_since };
    TRY(s3_check_conditions(c, &want, o, true));
    *w = (struct wanted){ .n = o->bytes };
    if (in->has_part_number && in->range.p != NULL)
        return call_fail(c, &s3_InvalidRequest,
                         "Cannot specify both Range header and partNumber "
                         "query parameter");
    if (in->has_part_number)
        return take_part(c, bucket, o, in->part_number, w);
    return s3_range(c, in->range, o->bytes, &w->is_range, &w->from, &w->n);
}

// What both replies say.
#define FILL(c, in, out, bucket, o, w)                                                           \
    do {                                                                                         \
        bool sums = str_eq((in)->checksum_mode, S("ENABLED")) &&                                 \
                    (!(w)->is_range || (in)->has_part_number);                                   \
        s3_give_headers((c), (out), (bucket), (o), sums && !(w)->is_part);                       \
        if (sums && (w)->is_part) {                                                              \
            s3_give_checksums((c), (c)->op->output, (out), (w)->part_attributes);                \
            (out)->checksum_type = blob_pair((o)->attributes, S("x-amz-checksum-type"));         \
        }                                                                                        \
        override((c), (in), &(out)->content_type, &(out)->content_language,                      \
                 &(out)->content_encoding, &(out)->content_disposition, &(out)->cache_control,   \
                 &(out)->expires);                                                               \
        (out)->accept_ranges = S("bytes");                                                       \
        (out)->restore = s3_restore_text((c), (o)->attributes);                                  \
        if ((out)->content_type.p == NULL)                                                       \
            (out)->content_type = S("binary/octet-stream");                                      \
        if ((w)->is_range) {                                                                     \
            (c)->status = 206;                                                                   \
            (out)->content_range = str_fmt((c)->arena, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, \
                                           (w)->from, (w)->from + (w)->n - 1, (o)->bytes);       \
        }                                                                                        \
        if ((in)->has_part_number && (o)->part_count > 0) {                                      \
            (out)->parts_count = (int32_t)(o)->part_count;                                       \
            (out)->has_parts_count = true;                                                       \
        }                                                                                        \
    } while (0)

// ---- What is in memory

struct hot_call {
    struct blob_hot *hot;
    const BlobObject *object;
    Str bytes;
};

bool s3_is_quick(struct call *c, const void *input)
{
    const struct s3_GetObject_in *in = input;
    bool reads = str_eq(c->op->name, S("GetObject")) || str_eq(c->op->name, S("HeadObject"));
    if (!reads || in->version_id.p != NULL || in->has_part_number)
        return false;
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), in->bucket);
    struct hot_call h = { 0 };
    if (b != NULL)
        h.hot = blob_hot_take(s3_of(c)->blob, &b->is, in->key, &h.object, &h.bytes);
    if (h.hot == NULL)
        return false;
    struct hot_call *kept = arena_new(c->arena, struct hot_call, 1);
    *kept = h;
    c->user = kept;
    return true;
}

// What s3_is_quick has found; the object is good as long as *ret is.
static void take_hot(struct call *c, struct blob_hot **ret, BlobObject *ret_object, Str *ret_bytes)
{
    struct hot_call *h = c->user;
    c->user = NULL;
    if (h == NULL)
        return;
    *ret = h->hot;
    *ret_object = *h->object;
    *ret_bytes = h->bytes;
}

Err s3_GetObject(struct call *c, const struct s3_GetObject_in *in, struct s3_GetObject_out *out)
{
    BlobBucket bucket;
    BlobObject o;
    struct wanted w;
    AUTO(blob_reader) reader = NULL;
    AUTO(blob_hot) hot = NULL;
    unsigned char none[BLOB_SEAL_BYTES];
    Str bytes = { 0 };
    take_hot(c, &hot, &o, &bytes);
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &bucket));
    TRY(s3_check_no_attributes(c));
    if (hot != NULL)
        TRY(s3_customer_check(c, o.attributes, false, none)); // it is not sealed
    else
        TRY(s3_open_reader(c, &bucket, in->key, in->version_id, false, &o, &reader));
    TRY(look(c, in, &bucket, &o, &w));
    FILL(c, in, out, &bucket, &o, &w);
    struct sending *s = xalloc(sizeof *s);
    *s = (struct sending){ .source = { .read = send_read, .close = send_close, .bytes = w.n },
                           .reader = reader,
                           .hot = hot,
                           .bytes = bytes,
                           .at = w.from,
                           .left = w.n };
    if (hot != NULL)
        s->source.memory = str_from(bytes.p + w.from, w.n);
    else if (o.bytes <= BLOB_HOT_BYTES_MAX)
        s->object = o; // read in any case, so that it is kept in memory
    else
        s->source.place = send_place;
    reader = NULL;
    hot = NULL;
    call_reply_source(c, &s->source);
    return OK;
}

// What the reply needs of an object that is in memory only until the operation ends.
static void keep(struct arena *a, BlobObject *o)
{
    BlobPair *pairs = arena_new(a, BlobPair, o->attributes.n + 1);
    for (size_t i = 0; i < o->attributes.n; i++)
        pairs[i] = (BlobPair){ str_dup(a, o->attributes.at[i].name),
                               str_dup(a, o->attributes.at[i].value) };
    o->etag = str_dup(a, o->etag);
    o->attributes.at = pairs;
}

static Err find(struct call *c, const struct s3_GetObject_in *in, const BlobBucket *bucket,
                BlobObject *ret)
{
    BlobSelect which;
    TRY(s3_select(c, in->version_id, &which));
    Err e = blob_find(s3_of(c)->blob, c->arena, bucket, in->key, which, ret);
    if (e.kind != ERR_NONE || ret->is_marker)
        return s3_found(c, bucket, in->key, in->version_id, e, ret);
    return OK;
}

// S3 answers HEAD without a body, so that its errors are known by their status alone.
Err s3_HeadObject(struct call *c, const struct s3_HeadObject_in *head,
                  struct s3_HeadObject_out *out)
{
    const struct s3_GetObject_in *in = (const void *)head;
    BlobBucket bucket;
    BlobObject o = { 0 };
    AUTO(blob_hot) hot = NULL;
    Str bytes;
    struct wanted w;
    unsigned char seal[BLOB_SEAL_BYTES];
    take_hot(c, &hot, &o, &bytes);
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &bucket));
    if (hot != NULL)
        keep(c->arena, &o);
    else
        TRY(find(c, in, &bucket, &o));
    Err e = s3_customer_check(c, o.attributes, false, seal);
    explicit_bzero(seal, sizeof seal);
    TRY(e);
    TRY(look(c, in, &bucket, &o, &w));
    FILL(c, in, out, &bucket, &o, &w);
    out->content_length = (int64_t)w.n;
    out->has_content_length = true;
    return OK;
}
