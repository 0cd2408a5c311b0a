// SPDX-License-Identifier: Apache-2.0
// PutObject and UploadPart: bytes go aside as they come; when they are all there and are what their
// sender said, they become an object or a part, in one step.
#include "codec/hash.h"
#include "svc/s3/s3.h"

// What is under way while a body comes.
struct putting {
    struct call_sink sink;
    BlobBucket bucket;
    Str key;
    struct blob_put *put;
    struct attributes attributes;
    BlobNew object; // of PutObject
    void *out;
    uint64_t upload; // of UploadPart
    uint32_t number;
    bool is_part;
};

static Err check_bytes(struct call *c, uint64_t bytes)
{
    if (bytes <= S3_PUT_BYTES_MAX)
        return OK;
    call_detail(c, S("MaxSizeAllowed"),
                str_fmt(c->arena, "%llu", (unsigned long long)S3_PUT_BYTES_MAX));
    return call_fail(c, &s3_EntityTooLarge,
                     "Your proposed upload exceeds the maximum allowed size");
}

static Err take(struct call *c, struct call_sink *sink, Str piece)
{
    struct putting *p = (struct putting *)sink;
    TRY(check_bytes(c, blob_put_bytes(p->put) + piece.n));
    return s3_store_error(c, &p->bucket, blob_put_write(p->put, piece));
}

// The checksum that the sender has chosen, or the one that S3 makes of everything.
static void keep_checksum(struct call *c, struct putting *p)
{
    ChecksumKind kind = CHECKSUM_CRC64NVME;
    body_chosen(c, &kind);
    const unsigned char *sum = body_checksum(c, kind);
    if (sum == NULL)
        return;
    attributes_add(&p->attributes, checksum_header(kind),
                   s3_checksum_text(c->arena, sum, checksum_bytes(kind)));
    if (!p->is_part)
        attributes_add(&p->attributes, S("x-amz-checksum-type"), S("FULL_OBJECT"));
}

static Err finish_object(struct call *c, struct putting *p)
{
    BlobObject made = { 0 };
    p->object.attributes = attributes_pairs(&p->attributes);
    Err e = blob_put_finish(p->put, c->arena, &p->object, &made);
    e = s3_condition_failed(c, e, p->key, &p->object.condition);
    TRY(s3_store_error(c, &p->bucket, e));
    s3_give_headers(c, p->out, &p->bucket, &made, true);
    s3_notify(c, &p->bucket, "ObjectCreated:Put", &made);
    return OK;
}

static Err finish_part(struct call *c, struct putting *p)
{
    BlobPart part = { .number = p->number,
                      .etag = p->object.etag,
                      .attributes = attributes_pairs(&p->attributes) },
             made = { 0 };
    Err e = blob_put_finish_part(p->put, p->key, p->upload, &part, &made);
    if (e.kind == ERR_NOT_FOUND)
        return s3_no_such_upload(c, s3_upload_text(c->arena, p->upload));
    TRY(s3_store_error(c, &p->bucket, e));
    BlobObject o = { .etag = part.etag, .attributes = part.attributes, .is_null = true };
    BlobBucket plain = { .versioning = BLOB_UNVERSIONED }; // a part has no version
    s3_give_headers(c, p->out, &plain, &o, true);
    return OK;
}

static Err end(struct call *c, struct call_sink *sink, Err e)
{
    struct putting *p = (struct putting *)sink;
    const unsigned char *md5 = body_checksum(c, CHECKSUM_MD5);
    if (e.kind == ERR_NONE) {
        CHECK(md5 != NULL);
        p->object.etag = hex_str(c->arena, md5, MD5_BYTES);
        keep_checksum(c, p);
        e = p->is_part ? finish_part(c, p) : finish_object(c, p);
    }
    blob_put_close(p->put);
    p->put = NULL;
    return e;
}

static Err begin(struct call *c, struct putting *p, const unsigned char *seal)
{
    ChecksumKind kind;
    p->sink = (struct call_sink){ .take = take, .end = end };
    if (c->body != NULL && c->body->stated_bytes != UINT64_MAX)
        TRY(check_bytes(c, c->body->stated_bytes));
    body_want(c, CHECKSUM_MD5);
    if (!body_chosen(c, &kind))
        body_want(c, CHECKSUM_CRC64NVME);
    TRY(s3_store_error(c, &p->bucket, blob_put_begin(s3_of(c)->blob, &p->bucket, seal, &p->put)));
    return call_take_body(c, &p->sink);
}

Err s3_PutObject(struct call *c, const struct s3_PutObject_in *in, struct s3_PutObject_out *out)
{
    unsigned char seal[BLOB_SEAL_BYTES];
    bool sealed;
    struct putting *p = arena_new(c->arena, struct putting, 1);
    p->attributes.arena = c->arena;
    p->key = p->object.key = in->key;
    p->out = out;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &p->bucket));
    TRY(s3_check_no_part(c));
    TRY(s3_check_key(c, in->key));
    TRY(s3_take_headers(c, in, &p->attributes));
    TRY(s3_take_acl(c, in, &p->attributes));
    TRY(s3_parse_tags(c, in->tagging, &p->object.tags));
    TRY(s3_take_retention(c, &p->bucket, in, &p->object.retention));
    TRY(s3_take_condition(c, in->if_match, in->if_none_match, &p->object.condition));
    TRY(s3_seal_new(c, &p->bucket, in, &p->attributes, seal, &sealed));
    Err e = begin(c, p, sealed ? seal : NULL);
    explicit_bzero(seal, sizeof seal);
    return e;
}

Err s3_UploadPart(struct call *c, const struct s3_UploadPart_in *in, struct s3_UploadPart_out *out)
{
    unsigned char seal[BLOB_SEAL_BYTES];
    bool sealed;
    BlobUpload upload;
    struct putting *p = arena_new(c->arena, struct putting, 1);
    p->attributes.arena = c->arena;
    p->key = in->key;
    p->out = out;
    p->is_part = true;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &p->bucket));
    TRY(s3_part_target(c, &p->bucket, in->key, in->upload_id, in->part_number, &upload, seal,
                       &sealed));
    p->upload = upload.id;
    p->number = (uint32_t)in->part_number;
    Err e = begin(c, p, sealed ? seal : NULL);
    explicit_bzero(seal, sizeof seal);
    return e;
}
