// SPDX-License-Identifier: Apache-2.0
// Copies: an object from another, and a part from a range of one. Where the store can, both then
// share the bytes; else they are read and written. Bytes that are shared are read all the same
// where etag and checksum of the copy are not those of the source.
#include "base/memory.h"
#include "codec/hash.h"
#include "svc/s3/remote.h"

#include <inttypes.h>
#include <stdlib.h>

// ---- Sources

bool s3_copy_source(struct arena *a, Str header, Str *ret_bucket, Str *ret_key, Str *ret_version)
{
    Str path, query, plain;
    str_cut(header, '?', &path, &query);
    *ret_version = (Str){ 0 };
    if (rest_decode_path(a, path, &plain).kind != ERR_NONE)
        return false;
    while (str_starts(plain, S("/")))
        plain = str_skip(plain, 1);
    if (str_starts(query, S("versionId="))) // which are letters and digits
        *ret_version = str_skip(query, S("versionId=").n);
    return str_cut(plain, '/', ret_bucket, ret_key) && ret_bucket->n > 0 && ret_key->n > 0;
}

static Err take_source(struct call *c, Str header, Str owner, struct s3_source *s)
{
    Str bucket;
    if (s3_copy_source(c->arena, header, &bucket, &s->key, &s->version_id))
        return s3_bucket(c, bucket, owner, &s->bucket);
    call_detail(c, S("ArgumentName"), S("x-amz-copy-source"));
    call_detail(c, S("ArgumentValue"), header);
    return call_fail(c, &s3_InvalidArgument,
                     "Copy Source must mention the source bucket and key: "
                     "sourcebucket/sourcekey");
}

static Str read_action(const struct s3_source *s)
{
    return s->version_id.p != NULL ? S("s3:GetObjectVersion") : S("s3:GetObject");
}

Err s3_source_find(struct call *c, Str header, Str owner, struct s3_source *s)
{
    Str text;
    TRY(take_source(c, header, owner, s));
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), s->bucket.name);
    bool later = b != NULL && s3_asks_later(b); // when its list or tags are known
    if (!later && !s3_may(c, read_action(s), s->bucket.name, s->key, &text))
        return call_fail(c, &s3_AccessDenied, "%.*s", FMT(text));
    s->remote = b != NULL ? b->remote : NULL;
    return b != NULL && b->adrift ? s3_remote_adrift(c) : OK;
}

Err s3_source_open(struct call *c, Str header, Str owner, struct s3_source *s)
{
    TRY(s3_source_find(c, header, owner, s));
    if (s->remote != NULL) {
        TRY(s3_remote_look(c, s->remote, s));
        return s->restored ? OK : s3_check_readable(c, s->object.attributes, true);
    }
    TRY(s3_open_reader(c, &s->bucket, s->key, s->version_id, true, &s->object, &s->reader));
    TRY(s3_check_acl(c, &s->bucket, &s->object, read_action(s), S("READ")));
    TRY(s3_check_readable(c, s->object.attributes, true));
    if (s->bucket.versioning != BLOB_UNVERSIONED)
        s->version = s3_version_text(c->arena, &s->object);
    return OK;
}

void s3_source_begin(struct s3_source *s, uint64_t from, uint64_t n)
{
    s->at = from;
    s->left = n;
    if (s->remote != NULL)
        s3_remote_read_on(s);
}

Err s3_source_read(struct call *c, struct s3_source *s, char *p, size_t max, size_t *ret_n)
{
    size_t n = (size_t)MIN(s->left, (uint64_t)max);
    *ret_n = 0;
    if (n == 0)
        return OK;
    if (s->remote != NULL) {
        Err e = s->bytes->read(s->bytes, p, n, ret_n);
        if (e.kind != ERR_NONE)
            return s3_remote_unreached(c, s->remote, e);
    } else {
        TRY(blob_reader_read(s->reader, p, n, s->at, ret_n));
    }
    if (*ret_n == 0)
        return fail(ERR_CORRUPT, "an object is shorter than it should be");
    s->at += *ret_n;
    s->left -= *ret_n;
    return OK;
}

void s3_source_done(struct s3_source *s)
{
    if (s->bytes != NULL)
        s->bytes->close(s->bytes);
    blob_reader_close(s->reader);
    *s = (struct s3_source){ 0 };
}

// What a copy is made of, and what is known of it then.
struct copying {
    struct s3_source *from;
    struct blob_put *put; // NULL: bytes are only read
    bool same_seal;       // both have the same data key
    uint64_t at, n;       // of the source
    ChecksumKind kind;
    Str etag, sum;
};

// Bytes of the source go into the copy, if they do not have to be shared, and into `sums`.
static Err move_bytes(struct call *c, const struct copying *k, struct checksum *const *sums,
                      size_t sum_count)
{
    char *piece = memory_try(S3_PIECE_BYTES);
    Err e = piece != NULL ? OK : fail(ERR_MEMORY, "no memory to copy an object");
    s3_source_begin(k->from, k->at, k->n);
    while (e.kind == ERR_NONE && k->from->left > 0) {
        size_t got = 0;
        e = s3_source_read(c, k->from, piece, S3_PIECE_BYTES, &got);
        if (e.kind == ERR_NONE && k->put != NULL)
            e = blob_put_write(k->put, str_from(piece, got));
        for (size_t i = 0; e.kind == ERR_NONE && i < sum_count; i++)
            checksum_add(sums[i], piece, got);
    }
    free(piece);
    return e;
}

// The etag and checksum of the source, if the copy has the same: it is all of an object whose etag
// is an MD5, and has that kind.
static bool knows_sums(struct copying *k)
{
    const BlobObject *o = &k->from->object;
    Str sum = blob_pair(o->attributes, checksum_header(k->kind));
    if (k->from->remote != NULL || k->at != 0 || k->n != o->bytes || o->part_count > 0 ||
        o->etag.n != 2 * (size_t)MD5_BYTES || sum.p == NULL)
        return false;
    k->etag = o->etag;
    k->sum = sum;
    return true;
}

// Appends the bytes to what is being written, by reference if the store can, and finds their etag
// and checksum.
static Err append(struct call *c, struct copying *k)
{
    unsigned char md5[CHECKSUM_BYTES_MAX], sum[CHECKSUM_BYTES_MAX];
    Err e = k->from->remote == NULL
                ? blob_put_share(k->put, k->from->reader, k->at, k->n, k->same_seal)
                : fail(ERR_INVALID, "its bytes are elsewhere");
    if (e.kind == ERR_NONE)
        k->put = NULL;
    else if (e.kind != ERR_INVALID)
        return e;
    if (knows_sums(k))
        return k->put != NULL ? move_bytes(c, k, NULL, 0) : OK;
    AUTO(checksum) digest = NULL;
    AUTO(checksum) other = NULL;
    checksum_open(CHECKSUM_MD5, &digest);
    checksum_open(k->kind, &other);
    struct checksum *const sums[] = { digest, other };
    TRY(move_bytes(c, k, sums, COUNT_OF(sums)));
    checksum_end(digest, md5);
    checksum_end(other, sum);
    k->etag = hex_str(c->arena, md5, MD5_BYTES);
    k->sum = s3_checksum_text(c->arena, sum, checksum_bytes(k->kind));
    return OK;
}

static Err check_bytes(struct call *c, uint64_t bytes)
{
    return bytes <= S3_PUT_BYTES_MAX
               ? OK
               : call_fail(c, &s3_InvalidRequest,
                           "The specified copy source is larger than the maximum allowable size "
                           "for a copy source: 5368709120");
}

// Both operations have the same conditions.
#define CONDITIONS(in)                                                                            \
    (S3Conditions)                                                                                \
    {                                                                                             \
        .if_match = (in)->copy_source_if_match, .if_none_match = (in)->copy_source_if_none_match, \
        .has_modified = (in)->has_copy_source_if_modified_since,                                  \
        .modified_since_ns = (in)->copy_source_if_modified_since,                                 \
        .has_unmodified = (in)->has_copy_source_if_unmodified_since,                              \
        .unmodified_since_ns = (in)->copy_source_if_unmodified_since                              \
    }

// ---- Objects

// The attributes that a copy gets from its source, or from its request.
static Err take_attributes(struct call *c, const struct s3_CopyObject_in *in,
                           const struct s3_source *s, struct attributes *into)
{
    bool replace = str_eq(in->metadata_directive, S("REPLACE"));
    BlobPairs from = s->object.attributes;
    if (in->metadata_directive.p != NULL && !replace && !str_eq(in->metadata_directive, S("COPY")))
        return call_fail(c, &s3_InvalidArgument, "Unknown metadata directive.");
    if (replace)
        return s3_take_headers(c, in, into);
    for (size_t i = 0; i < from.n; i++) {
        Str name = from.at[i].name;
        bool own = str_starts(name, S("s3-")) || str_starts(name, S("x-amz-checksum-")) ||
                   str_starts(name, S("x-amz-server-side-encryption")) ||
                   str_eq(name, S("x-amz-storage-class")) ||
                   str_eq(name, S("x-amz-website-redirect-location"));
        if (!own)
            attributes_add(into, name, from.at[i].value);
    }
    if (in->storage_class.p != NULL && !str_eq(in->storage_class, S("STANDARD")))
        attributes_add(into, S("x-amz-storage-class"), in->storage_class);
    if (in->website_redirect_location.p != NULL) // which is never the source's
        attributes_add(into, S("x-amz-website-redirect-location"), in->website_redirect_location);
    return OK;
}

static Err take_tags(struct call *c, const struct s3_CopyObject_in *in, const struct s3_source *s,
                     BlobPairs *ret)
{
    bool replace = str_eq(in->tagging_directive, S("REPLACE"));
    if (in->tagging_directive.p != NULL && !replace && !str_eq(in->tagging_directive, S("COPY")))
        return call_fail(c, &s3_InvalidArgument, "Unknown tagging directive.");
    if (replace)
        return s3_parse_tags(c, in->tagging, ret);
    if (s->remote != NULL && s->tag_count > 0)
        return s3_remote_tags(c, s, ret);
    *ret = s->object.tags;
    return OK;
}

static bool is_onto_itself(const struct call *c, const struct s3_CopyObject_in *in,
                           const struct s3_source *s)
{
    static const Str new_key = S_INIT("x-amz-server-side-encryption-customer-key");
    if (c->exchange != NULL && http_header(c->exchange, new_key).p != NULL)
        return false;
    return str_eq(s->bucket.name, in->bucket) && str_eq(s->key, in->key) &&
           s->version_id.p == NULL && !str_eq(in->metadata_directive, S("REPLACE")) &&
           in->storage_class.p == NULL && in->server_side_encryption.p == NULL &&
           in->website_redirect_location.p == NULL && !str_eq(in->tagging_directive, S("REPLACE"));
}

Err s3_copy_object_from(struct call *c, const struct s3_CopyObject_in *in,
                        const struct s3_source *s, struct attributes *into, BlobPairs *ret_tags)
{
    S3Conditions want = CONDITIONS(in);
    TRY(s3_check_conditions(c, &want, &s->object, false));
    TRY(check_bytes(c, s->object.bytes));
    if (is_onto_itself(c, in, s))
        return call_fail(c, &s3_InvalidRequest,
                         "This copy request is illegal because it is trying to copy an object to "
                         "itself without changing the object's metadata, storage class, website "
                         "redirect location or encryption attributes.");
    TRY(take_attributes(c, in, s, into));
    return take_tags(c, in, s, ret_tags);
}

static ChecksumKind kind_of(Str name, BlobPairs attributes)
{
    for (ChecksumKind k = 0; k < CHECKSUM_KINDS; k++) {
        if (checksum_header(k).p == NULL)
            continue;
        if (name.p != NULL ? str_eq(name, checksum_name(k))
                           : blob_pair(attributes, checksum_header(k)).p != NULL)
            return k;
    }
    return CHECKSUM_CRC64NVME;
}

static Err copy_object(struct call *c, const struct s3_CopyObject_in *in, struct s3_source *s,
                       struct s3_CopyObject_out *out)
{
    unsigned char seal[BLOB_SEAL_BYTES];
    bool sealed;
    BlobBucket b;
    BlobNew object = { .key = in->key };
    BlobObject made = { 0 };
    struct attributes attributes = { .arena = c->arena };
    AUTO(blob_put) put = NULL;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(s3_check_no_part(c));
    TRY(s3_check_key(c, in->key));
    TRY(s3_source_open(c, in->copy_source, in->expected_source_bucket_owner, s));
    TRY(s3_copy_object_from(c, in, s, &attributes, &object.tags));
    TRY(s3_take_acl(c, in, &attributes));
    TRY(s3_take_retention(c, &b, in, &object.retention));
    TRY(s3_take_condition(c, in->if_match, in->if_none_match, &object.condition));
    TRY(s3_seal_new(c, &b, in, &attributes, seal, &sealed));
    struct copying k = { .from = s,
                         .n = s->object.bytes,
                         .kind = kind_of(in->checksum_algorithm, s->object.attributes) };
    if (sealed)
        TRY(s3_seal_as(c, s->object.attributes, &attributes, seal, &k.same_seal));
    TRY(s3_store_error(c, &b, blob_put_begin(s3_of(c)->blob, &b, sealed ? seal : NULL, &put)));
    explicit_bzero(seal, sizeof seal);
    k.put = put;
    TRY(s3_store_error(c, &b, append(c, &k)));
    attributes_add(&attributes, checksum_header(k.kind), k.sum);
    attributes_add(&attributes, S("x-amz-checksum-type"), S("FULL_OBJECT"));
    object.etag = k.etag;
    object.attributes = attributes_pairs(&attributes);
    Err e = blob_put_finish(put, c->arena, &object, &made);
    TRY(s3_store_error(c, &b, s3_condition_failed(c, e, in->key, &object.condition)));
    s3_give_headers(c, out, &b, &made, false);
    out->copy_source_version_id = s->version;
    s3_CopyObjectResult *result = arena_new(c->arena, s3_CopyObjectResult, 1);
    result->e_tag = s3_quoted(c->arena, made.etag);
    result->last_modified = made.modified_ns;
    result->has_last_modified = true;
    s3_give_checksums(c, s3_member(c->op->output, S("CopyObjectResult"))->shape, result,
                      made.attributes);
    out->copy_object_result = result;
    s3_notify(c, &b, "ObjectCreated:Copy", &made);
    return OK;
}

Err s3_CopyObject(struct call *c, const struct s3_CopyObject_in *in, struct s3_CopyObject_out *out)
{
    struct s3_source s = { 0 };
    Err e = copy_object(c, in, &s, out);
    s3_source_done(&s);
    return e;
}

// ---- Parts

static Err take_range(struct call *c, Str header, uint64_t bytes, uint64_t *ret_from,
                      uint64_t *ret_n)
{
    bool is_range;
    *ret_from = 0;
    *ret_n = bytes;
    if (header.p == NULL)
        return OK;
    Str first, last, range = str_starts(header, S("bytes=")) ? str_skip(header, 6) : S("");
    uint64_t from, to;
    if (!str_cut(range, '-', &first, &last) || str_u64(first, &from).kind != ERR_NONE ||
        str_u64(last, &to).kind != ERR_NONE || to < from)
        return call_fail(c, &s3_InvalidArgument,
                         "The x-amz-copy-source-range value must be of the form bytes=first-last "
                         "where first and last are the zero-based offsets of the first and last "
                         "bytes to copy");
    if (to >= bytes)
        return call_fail(c, &s3_InvalidArgument,
                         "Range specified is not valid for source object of size: %" PRIu64, bytes);
    return s3_range(c, header, bytes, &is_range, ret_from, ret_n);
}

Err s3_copy_part_from(struct call *c, const struct s3_UploadPartCopy_in *in,
                      const struct s3_source *s, uint64_t *ret_from, uint64_t *ret_n)
{
    S3Conditions want = CONDITIONS(in);
    TRY(s3_check_conditions(c, &want, &s->object, false));
    TRY(take_range(c, in->copy_source_range, s->object.bytes, ret_from, ret_n));
    return check_bytes(c, *ret_n);
}

static Err copy_part(struct call *c, const struct s3_UploadPartCopy_in *in, struct s3_source *s,
                     struct s3_UploadPartCopy_out *out)
{
    unsigned char seal[BLOB_SEAL_BYTES];
    bool sealed;
    BlobBucket b;
    BlobUpload upload;
    struct copying k = { .from = s };
    struct attributes attributes = { .arena = c->arena };
    AUTO(blob_put) put = NULL;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(s3_part_target(c, &b, in->key, in->upload_id, in->part_number, &upload, seal, &sealed));
    TRY(s3_source_open(c, in->copy_source, in->expected_source_bucket_owner, s));
    TRY(s3_copy_part_from(c, in, s, &k.at, &k.n));
    k.kind = kind_of(blob_pair(upload.attributes, S("s3-checksum")), (BlobPairs){ 0 });
    TRY(s3_store_error(c, &b, blob_put_begin(s3_of(c)->blob, &b, sealed ? seal : NULL, &put)));
    explicit_bzero(seal, sizeof seal);
    k.put = put;
    TRY(s3_store_error(c, &b, append(c, &k)));
    attributes_add(&attributes, checksum_header(k.kind), k.sum);
    BlobPart part = { .number = (uint32_t)in->part_number,
                      .etag = k.etag,
                      .attributes = attributes_pairs(&attributes) },
             made = { 0 };
    Err e = blob_put_finish_part(put, in->key, upload.id, &part, &made);
    TRY(e.kind == ERR_NOT_FOUND ? s3_no_such_upload(c, in->upload_id) : s3_store_error(c, &b, e));
    s3_CopyPartResult *result = arena_new(c->arena, s3_CopyPartResult, 1);
    result->e_tag = s3_quoted(c->arena, part.etag);
    result->last_modified = made.modified_ns;
    result->has_last_modified = true;
    s3_give_checksums(c, s3_member(c->op->output, S("CopyPartResult"))->shape, result,
                      part.attributes);
    out->copy_part_result = result;
    out->copy_source_version_id = s->version;
    return OK;
}

Err s3_UploadPartCopy(struct call *c, const struct s3_UploadPartCopy_in *in,
                      struct s3_UploadPartCopy_out *out)
{
    struct s3_source s = { 0 };
    Err e = copy_part(c, in, &s, out);
    s3_source_done(&s);
    return e;
}
