// SPDX-License-Identifier: Apache-2.0
// Copies of objects and parts into a bucket that is elsewhere. Inside of one endpoint it makes them
// by itself; else the bytes pass through here: read where they are and put there, in pieces.
#include "base/memory.h"
#include "svc/s3/remote.h"

#include <stdlib.h>

// Whether one can read what the other holds: the same server, asked with the same keys.
static bool is_same_place(const struct remote *x, const struct remote *y)
{
    return str_eq(x->is.endpoint, y->is.endpoint) &&
           str_eq(x->is.credentials_file, y->is.credentials_file) &&
           str_eq(x->is.section, y->is.section) && str_eq(x->is.access_key, y->is.access_key);
}

// As the other side knows the source.
static Str name_there(struct call *c, const struct s3_source *s)
{
    Str key = rest_out_encoded(c->arena, s3_remote_key(c->arena, s->remote, s->key), true);
    Str name = str_fmt(c->arena, "/%.*s/%.*s", FMT(s->remote->is.bucket), FMT(key));
    return s->version_id.p != NULL ? str_cat3(c->arena, name, S("?versionId="), s->version_id)
                                   : name;
}

// ---- Bytes that pass through

// Where the bytes of a copy go.
struct passing {
    struct remote *to;
    Str key;
    const ChecksumKind *kind; // of what is put; NULL: that side chooses
    struct s3_source *from;
    uint64_t at, n; // of the source
};

static Err move(struct call *c, const struct passing *p, struct s3_remote_body *body,
                struct checksum *sum)
{
    char *piece = memory_try(S3_PIECE_BYTES);
    Err e = piece != NULL ? OK : fail(ERR_MEMORY, "no memory to copy an object");
    s3_source_begin(p->from, p->at, p->n);
    while (e.kind == ERR_NONE && p->from->left > 0) {
        size_t n = 0;
        e = s3_source_read(c, p->from, piece, S3_PIECE_BYTES, &n);
        if (e.kind == ERR_NONE && sum != NULL)
            checksum_add(sum, piece, n);
        if (e.kind == ERR_NONE)
            e = s3_remote_body_add(c, body, str_from(piece, n));
    }
    free(piece);
    return e;
}

// The last chunk, without which nothing is made, goes when the source has been read to its end and
// was what it should be.
static Err pass_bytes(struct call *c, const struct passing *p, struct s3_remote_body *body,
                      void *out)
{
    unsigned char digest[CHECKSUM_BYTES_MAX];
    RemoteReply reply;
    Str text = { 0 };
    AUTO(checksum) sum = NULL;
    if (p->kind != NULL)
        checksum_open(*p->kind, &sum);
    TRY(move(c, p, body, sum));
    if (sum != NULL) {
        checksum_end(sum, digest);
        text = s3_checksum_text(c->arena, digest, checksum_bytes(*p->kind));
    }
    TRY(s3_remote_body_end(c, body, (Str){ 0 }, text, &reply));
    return s3_remote_take_reply(c, p->to, &reply.head, out);
}

// The key of the source is nothing to the side where the copy is made.
static void drop_source_key(RestOut *q)
{
    size_t n = 0;
    for (size_t i = 0; i < q->header_count; i++)
        if (!str_starts(q->headers[i].name, S("x-amz-copy-source-")))
            q->headers[n++] = q->headers[i];
    q->header_count = n;
}

// `in` and `out` are those of the operation that is asked there, c->op.
static Err put_there(struct call *c, const struct passing *p, const void *in, BlobPairs headers,
                     void *out)
{
    RestOut q;
    struct s3_remote_body *body = NULL;
    TRY(s3_remote_request(c, p->to, in, &q));
    drop_source_key(&q);
    for (size_t i = 0; i < headers.n; i++)
        s3_remote_add_header(c->arena, &q, headers.at[i].name, headers.at[i].value);
    TRY(s3_remote_body_open(c, p->to, &q, p->key, p->n, p->kind, &body));
    Err e = pass_bytes(c, p, body, out);
    s3_remote_body_close(body);
    return e;
}

static Err as(struct call *c, Str name, const struct passing *p, const void *in, BlobPairs headers,
              void *out)
{
    const struct api_op *op = c->op;
    c->op = s3_api_op(name);
    Err e = put_there(c, p, in, headers, out);
    c->op = op;
    return e;
}

// ---- Objects

static bool kind_called(Str name, ChecksumKind *ret)
{
    for (ChecksumKind k = 0; k < CHECKSUM_KINDS; k++)
        if (checksum_header(k).p != NULL && name.p != NULL && str_eq(checksum_name(k), name)) {
            *ret = k;
            return true;
        }
    return false;
}

static void take_put(struct call *c, const struct s3_PutObject_out *put, const struct s3_source *s,
                     struct s3_CopyObject_out *out)
{
    s3_CopyObjectResult *result = arena_new(c->arena, s3_CopyObjectResult, 1);
    result->e_tag = put->e_tag;
    result->last_modified = c->now_ns;
    result->has_last_modified = true;
    result->checksum_crc32 = put->checksum_crc32;
    result->checksum_crc32_c = put->checksum_crc32_c;
    result->checksum_crc64_nvme = put->checksum_crc64_nvme;
    result->checksum_sha1 = put->checksum_sha1;
    result->checksum_sha256 = put->checksum_sha256;
    result->checksum_type = put->checksum_type;
    out->copy_object_result = result;
    out->version_id = put->version_id;
    out->copy_source_version_id = s->version;
    out->server_side_encryption = put->server_side_encryption;
    out->ssekms_key_id = put->ssekms_key_id;
    out->bucket_key_enabled = put->bucket_key_enabled;
    out->has_bucket_key_enabled = put->has_bucket_key_enabled;
}

static Err put_object(struct call *c, struct remote *r, const struct s3_CopyObject_in *in,
                      struct s3_source *s, struct s3_CopyObject_out *out)
{
    struct attributes headers = { .arena = c->arena };
    struct s3_PutObject_out made = { 0 };
    BlobPairs tags;
    ChecksumKind kind;
    TRY(s3_copy_object_from(c, in, s, &headers, &tags));
    struct s3_PutObject_in put = {
        .bucket = in->bucket,
        .key = in->key,
        .if_match = in->if_match,
        .if_none_match = in->if_none_match,
        .server_side_encryption = in->server_side_encryption,
        .ssekms_key_id = in->ssekms_key_id,
        .ssekms_encryption_context = in->ssekms_encryption_context,
        .bucket_key_enabled = in->bucket_key_enabled,
        .has_bucket_key_enabled = in->has_bucket_key_enabled,
        .object_lock_mode = in->object_lock_mode,
        .object_lock_retain_until_date = in->object_lock_retain_until_date,
        .has_object_lock_retain_until_date = in->has_object_lock_retain_until_date,
        .object_lock_legal_hold_status = in->object_lock_legal_hold_status,
    };
    if (tags.n > 0)
        put.tagging = s3_tag_header(c->arena, tags);
    struct passing p = { .to = r,
                         .key = in->key,
                         .kind = kind_called(in->checksum_algorithm, &kind) ? &kind : NULL,
                         .from = s,
                         .n = s->object.bytes };
    TRY(as(c, S("PutObject"), &p, &put, attributes_pairs(&headers), &made));
    take_put(c, &made, s, out);
    return OK;
}

static Err copy_object(struct call *c, struct remote *r, const struct s3_CopyObject_in *given,
                       struct s3_CopyObject_out *out)
{
    struct attributes unused = { .arena = c->arena };
    struct s3_CopyObject_in in = *given;
    struct s3_source s = { 0 };
    RestOut q;
    TRY(s3_check_no_part(c));
    TRY(s3_take_acl(c, given, &unused));
    TRY(s3_source_find(c, in.copy_source, in.expected_source_bucket_owner, &s));
    if (s.remote != NULL && is_same_place(s.remote, r)) {
        in.copy_source = name_there(c, &s);
        TRY(s3_remote_request(c, r, &in, &q));
        TRY(s3_remote_pass(c, r, &q, given->key, out));
    } else {
        Err e = s3_source_open(c, in.copy_source, in.expected_source_bucket_owner, &s);
        if (e.kind == ERR_NONE)
            e = put_object(c, r, &in, &s, out);
        s3_source_done(&s);
        TRY(e);
    }
    s3_remote_tell(c, r, "ObjectCreated:Copy", given->key,
                   out->copy_object_result != NULL ? out->copy_object_result->e_tag : (Str){ 0 }, 0,
                   out->version_id);
    return OK;
}

// ---- Parts

static Err put_part(struct call *c, struct remote *r, const struct s3_UploadPartCopy_in *in,
                    struct s3_source *s, struct s3_UploadPartCopy_out *out)
{
    struct s3_UploadPart_in part = { .bucket = in->bucket,
                                     .key = in->key,
                                     .upload_id = in->upload_id,
                                     .part_number = in->part_number,
                                     .given_part_number = true };
    struct s3_UploadPart_out made = { 0 };
    struct passing p = { .to = r, .key = in->key, .from = s };
    TRY(s3_copy_part_from(c, in, s, &p.at, &p.n));
    TRY(as(c, S("UploadPart"), &p, &part, (BlobPairs){ 0 }, &made));
    s3_CopyPartResult *result = arena_new(c->arena, s3_CopyPartResult, 1);
    result->e_tag = made.e_tag;
    result->last_modified = c->now_ns;
    result->has_last_modified = true;
    result->checksum_crc32 = made.checksum_crc32;
    result->checksum_crc32_c = made.checksum_crc32_c;
    result->checksum_crc64_nvme = made.checksum_crc64_nvme;
    result->checksum_sha1 = made.checksum_sha1;
    result->checksum_sha256 = made.checksum_sha256;
    out->copy_part_result = result;
    out->copy_source_version_id = s->version;
    out->server_side_encryption = made.server_side_encryption;
    out->ssekms_key_id = made.ssekms_key_id;
    return OK;
}

static Err copy_part(struct call *c, struct remote *r, const struct s3_UploadPartCopy_in *given,
                     struct s3_UploadPartCopy_out *out)
{
    struct s3_UploadPartCopy_in in = *given;
    struct s3_source s = { 0 };
    RestOut q;
    TRY(s3_source_find(c, in.copy_source, in.expected_source_bucket_owner, &s));
    if (s.remote == NULL || !is_same_place(s.remote, r)) {
        Err e = s3_source_open(c, in.copy_source, in.expected_source_bucket_owner, &s);
        if (e.kind == ERR_NONE)
            e = put_part(c, r, &in, &s, out);
        s3_source_done(&s);
        return e;
    }
    in.copy_source = name_there(c, &s);
    TRY(s3_remote_request(c, r, &in, &q));
    return s3_remote_pass(c, r, &q, in.key, out);
}

Err s3_remote_copy(struct call *c, struct remote *r, const void *in, void *out)
{
    return str_eq(c->op->name, S("CopyObject")) ? copy_object(c, r, in, out)
                                                : copy_part(c, r, in, out);
}
