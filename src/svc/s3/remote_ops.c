// SPDX-License-Identifier: Apache-2.0
// Operations on buckets that are elsewhere: which go there, what becomes of their input on the way
// and of what comes back.
#include "base/time.h"
#include "codec/hash.h"
#include "svc/s3/remote.h"

// ---- Names. The prefix of a place consists of characters that every encoding leaves alone.

Str s3_remote_key(struct arena *a, const struct remote *r, Str key)
{
    return r->is.prefix.n > 0 ? str_cat(a, r->is.prefix, key) : key;
}

Str s3_remote_local(const struct remote *r, Str key)
{
    return str_starts(key, r->is.prefix) ? str_skip(key, r->is.prefix.n) : key;
}

static void to_local(const struct remote *r, Str *key)
{
    if (key->p != NULL)
        *key = s3_remote_local(r, *key);
}

// ---- Requests

static Str *text_place(const struct shape *shape, void *in, const char *name)
{
    const struct member *m = s3_member(shape, str_of(name));
    bool text = m != NULL && (m->shape->kind == SHAPE_STRING || m->shape->kind == SHAPE_ENUM);
    return text ? (Str *)((char *)in + m->offset) : NULL;
}

// What this side has checked, or says in its own words.
static void forget(const struct shape *shape, void *in)
{
    static const char *const names[] = {
        "ACL",          "ExpectedBucketOwner", "ExpectedSourceBucketOwner",
        "ContentMD5",   "GrantFullControl",    "GrantRead",
        "GrantReadACP", "GrantWriteACP",
    };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        Str *text = text_place(shape, in, names[i]);
        if (text != NULL)
            *text = (Str){ 0 };
    }
    const struct member *m = s3_member(shape, S("ChecksumAlgorithm"));
    if (m != NULL && str_eq(m->called, S("x-amz-sdk-checksum-algorithm")))
        *text_place(shape, in, "ChecksumAlgorithm") = (Str){ 0 };
    m = s3_member(shape, S("ContentLength"));
    if (m != NULL && m->has_offset != SIZE_MAX)
        *((bool *)in + m->has_offset) = false;
}

static void rename_keys(struct call *c, const struct remote *r, void *in)
{
    static const char *const names[] = { "Key", "Prefix", "Marker", "KeyMarker", "StartAfter" };
    const struct shape *shape = c->op->input;
    *text_place(shape, in, "Bucket") = r->is.bucket;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        Str *text = text_place(shape, in, names[i]);
        if (text != NULL &&
            (text->p != NULL || (str_eq(str_of(names[i]), S("Prefix")) && r->is.prefix.n > 0)))
            *text = s3_remote_key(c->arena, r, text->p != NULL ? *text : S(""));
    }
}

void s3_remote_add_header(struct arena *a, RestOut *to, Str name, Str value)
{
    HttpHeader *all = arena_new(a, HttpHeader, to->header_count + 1);
    if (to->header_count > 0)
        memcpy(all, to->headers, to->header_count * sizeof *all);
    all[to->header_count++] = (HttpHeader){ name, value };
    to->headers = all;
}

// Keys that come with requests (SSE-C), which no shape has.
static void pass_customer_keys(struct call *c, RestOut *to)
{
    for (size_t i = 0; c->exchange != NULL && i < c->exchange->header_count; i++) {
        const HttpHeader *h = &c->exchange->headers[i];
        bool key = str_starts(h->name, S("x-amz-server-side-encryption-customer-")) ||
                   str_starts(h->name, S("x-amz-copy-source-server-side-encryption-customer-"));
        if (key)
            s3_remote_add_header(c->arena, to, h->name, h->value);
    }
}

static void drop_host_bucket(const struct remote *r, RestOut *to)
{
    if (!r->is.host_style)
        return;
    Str rest = str_skip(to->path, 1);
    rest = str_skip(rest, str_find(rest, '/'));
    to->path = rest.n > 0 ? rest : S("/");
}

static Err make_request(struct call *c, struct remote *r, void *in, RestOut *ret)
{
    unsigned char md5[CHECKSUM_BYTES_MAX];
    forget(c->op->input, in);
    rename_keys(c, r, in);
    TRY(s3_remote_defaults(c, r, in));
    TRY(rest_out_request(&s3_api, c->op, in, c->arena, ret));
    pass_customer_keys(c, ret);
    drop_host_bucket(r, ret);
    if (ret->body.p == NULL)
        return OK;
    checksum_of(CHECKSUM_MD5, ret->body, md5);
    s3_remote_add_header(c->arena, ret, S("content-md5"),
                         s3_checksum_text(c->arena, md5, checksum_bytes(CHECKSUM_MD5)));
    return OK;
}

static void *copy_of(struct call *c, const void *in)
{
    void *copy = arena_alloc(c->arena, c->op->input->struct_bytes, _Alignof(max_align_t));
    memcpy(copy, in, c->op->input->struct_bytes);
    return copy;
}

Err s3_remote_request(struct call *c, struct remote *r, const void *in, RestOut *ret)
{
    return make_request(c, r, copy_of(c, in), ret);
}

// ---- Replies

static void pass_customer_reply(struct call *c, const HttpReply *reply)
{
    for (size_t i = 0; i < reply->header_count; i++)
        if (str_starts(reply->headers[i].name, S("x-amz-server-side-encryption-customer-")))
            call_header(c, reply->headers[i].name, reply->headers[i].value);
}

// Operations that do the same when they are done twice, or whose second try says what the first has
// done. An upload that is begun twice leaves one that nobody ends.
static bool may_repeat(const struct api_op *op)
{
    return !str_eq(op->name, S("CreateMultipartUpload")) &&
           !str_eq(op->name, S("CompleteMultipartUpload"));
}

Err s3_remote_take_reply(struct call *c, struct remote *r, const HttpReply *reply, void *out)
{
    pass_customer_reply(c, reply);
    if (reply->status != c->op->status)
        c->status = reply->status;
    Err e = rest_out_reply(c->op, reply->headers, reply->header_count, reply->body, c->arena, out);
    return e.kind == ERR_INVALID ? s3_remote_unreached(c, r, e) : e;
}

Err s3_remote_pass(struct call *c, struct remote *r, const RestOut *q, Str key, void *out)
{
    RemoteReply reply;
    RemoteAsk ask = { .request = q,
                      .body = q->body.p != NULL ? q->body : S(""),
                      .again = may_repeat(c->op) };
    Err e = s3_remote_ask(r, c->arena, &ask, &reply);
    if (e.kind != ERR_NONE)
        return s3_remote_unreached(c, r, e);
    if (reply.failed)
        return s3_remote_refused(c, r, &reply, key);
    return s3_remote_take_reply(c, r, &reply.head, out);
}

static Err forward(struct call *c, struct remote *r, const void *in, void *out)
{
    RestOut q;
    TRY(s3_remote_request(c, r, in, &q));
    return s3_remote_pass(c, r, &q, s3_text_of(c->op->input, in, S("Key")), out);
}

// ---- Events

void s3_remote_tell(struct call *c, struct remote *r, const char *event, Str key, Str etag,
                    uint64_t bytes, Str version)
{
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), r->is.name);
    BlobObject o = { .key = key,
                     .etag = etag.p != NULL ? s3_unquoted(etag) : etag,
                     .bytes = bytes };
    if (b != NULL)
        s3_notify_version(c, &b->is, event, &o, version);
}

// ---- Lists

static const s3_Owner *our_owner(struct call *c, const s3_Owner *theirs)
{
    if (theirs == NULL)
        return NULL;
    s3_Owner *o = arena_new(c->arena, s3_Owner, 1);
    o->id = s3_canonical_id(c->arena, c->account);
    return o;
}

static void local_prefixes(const struct remote *r, const s3_CommonPrefixList *list)
{
    for (size_t i = 0; i < list->n; i++)
        to_local(r, &list->at[i].prefix);
}

static void local_objects(struct call *c, const struct remote *r, const s3_ObjectList *list)
{
    for (size_t i = 0; i < list->n; i++) {
        to_local(r, &list->at[i].key);
        list->at[i].owner = our_owner(c, list->at[i].owner);
    }
}

static Err list_objects(struct call *c, struct remote *r, const void *given, void *into)
{
    const struct s3_ListObjects_in *in = given;
    struct s3_ListObjects_out *out = into;
    TRY(forward(c, r, in, out));
    out->name = in->bucket;
    out->prefix = out->prefix.p != NULL ? s3_remote_local(r, out->prefix) : S("");
    to_local(r, &out->marker);
    to_local(r, &out->next_marker);
    local_objects(c, r, &out->contents);
    local_prefixes(r, &out->common_prefixes);
    return OK;
}

static Err list_objects_v2(struct call *c, struct remote *r, const void *given, void *into)
{
    const struct s3_ListObjectsV2_in *in = given;
    struct s3_ListObjectsV2_out *out = into;
    TRY(forward(c, r, in, out));
    out->name = in->bucket;
    out->prefix = out->prefix.p != NULL ? s3_remote_local(r, out->prefix) : S("");
    to_local(r, &out->start_after);
    local_objects(c, r, &out->contents);
    local_prefixes(r, &out->common_prefixes);
    return OK;
}

static Err list_versions(struct call *c, struct remote *r, const void *given, void *into)
{
    const struct s3_ListObjectVersions_in *in = given;
    struct s3_ListObjectVersions_out *out = into;
    TRY(forward(c, r, in, out));
    out->name = in->bucket;
    out->prefix = out->prefix.p != NULL ? s3_remote_local(r, out->prefix) : S("");
    to_local(r, &out->key_marker);
    to_local(r, &out->next_key_marker);
    for (size_t i = 0; i < out->versions.n; i++) {
        to_local(r, &out->versions.at[i].key);
        out->versions.at[i].owner = our_owner(c, out->versions.at[i].owner);
    }
    for (size_t i = 0; i < out->delete_markers.n; i++) {
        to_local(r, &out->delete_markers.at[i].key);
        out->delete_markers.at[i].owner = our_owner(c, out->delete_markers.at[i].owner);
    }
    local_prefixes(r, &out->common_prefixes);
    return OK;
}

static Err list_uploads(struct call *c, struct remote *r, const void *given, void *into)
{
    const struct s3_ListMultipartUploads_in *in = given;
    struct s3_ListMultipartUploads_out *out = into;
    TRY(forward(c, r, in, out));
    out->bucket = in->bucket;
    to_local(r, &out->prefix);
    to_local(r, &out->key_marker);
    to_local(r, &out->next_key_marker);
    for (size_t i = 0; i < out->uploads.n; i++) {
        to_local(r, &out->uploads.at[i].key);
        out->uploads.at[i].owner = our_owner(c, out->uploads.at[i].owner);
        out->uploads.at[i].initiator = NULL;
    }
    local_prefixes(r, &out->common_prefixes);
    return OK;
}

static Err list_parts(struct call *c, struct remote *r, const void *given, void *into)
{
    const struct s3_ListParts_in *in = given;
    struct s3_ListParts_out *out = into;
    TRY(forward(c, r, in, out));
    out->bucket = in->bucket;
    out->key = in->key;
    out->owner = our_owner(c, out->owner);
    out->initiator = NULL;
    return OK;
}

// ---- Uploads

static Err create_upload(struct call *c, struct remote *r, const void *given, void *into)
{
    const struct s3_CreateMultipartUpload_in *in = given;
    struct s3_CreateMultipartUpload_out *out = into;
    struct attributes unused = { .arena = c->arena };
    TRY(s3_take_acl(c, in, &unused));
    TRY(forward(c, r, in, out));
    out->bucket = in->bucket;
    out->key = in->key;
    return OK;
}

static Err complete_upload(struct call *c, struct remote *r, const void *given, void *into)
{
    const struct s3_CompleteMultipartUpload_in *in = given;
    struct s3_CompleteMultipartUpload_out *out = into;
    TRY(forward(c, r, in, out));
    Str host = c->exchange != NULL ? http_header(c->exchange, S("host")) : (Str){ 0 };
    out->location = str_fmt(c->arena, "http://%.*s/%.*s/%.*s", FMT(host), FMT(in->bucket),
                            FMT(rest_out_encoded(c->arena, in->key, true)));
    out->bucket = in->bucket;
    out->key = in->key;
    s3_remote_tell(c, r, "ObjectCreated:CompleteMultipartUpload", in->key, out->e_tag, 0,
                   out->version_id);
    return OK;
}

// ---- Removing

static Err delete_object(struct call *c, struct remote *r, const void *given, void *into)
{
    const struct s3_DeleteObject_in *in = given;
    struct s3_DeleteObject_out *out = into;
    TRY(forward(c, r, in, out));
    bool marker = in->version_id.p == NULL && out->has_delete_marker && out->delete_marker;
    s3_remote_tell(c, r, marker ? "ObjectRemoved:DeleteMarkerCreated" : "ObjectRemoved:Delete",
                   in->key, (Str){ 0 }, 0, out->version_id);
    return OK;
}

static void refuse_key(s3_Errors *errors, const s3_ObjectIdentifier *id)
{
    errors->at[errors->n++] = (s3_Error){ .key = id->key,
                                          .version_id = id->version_id,
                                          .code = S("AccessDenied"),
                                          .message = S("Access Denied") };
}

// What came back, behind what was not even asked for.
static void merge_results(struct call *c, struct remote *r, const s3_Errors *refused,
                          struct s3_DeleteObjects_out *out)
{
    for (size_t i = 0; i < out->deleted.n; i++) {
        s3_DeletedObject *d = &out->deleted.at[i];
        to_local(r, &d->key);
        bool marker = d->version_id.p == NULL && d->has_delete_marker && d->delete_marker;
        s3_remote_tell(c, r, marker ? "ObjectRemoved:DeleteMarkerCreated" : "ObjectRemoved:Delete",
                       d->key, (Str){ 0 }, 0, marker ? d->delete_marker_version_id : d->version_id);
    }
    s3_Error *all = arena_new(c->arena, s3_Error, refused->n + out->errors.n + 1);
    for (size_t i = 0; i < refused->n; i++)
        all[i] = refused->at[i];
    for (size_t i = 0; i < out->errors.n; i++) {
        all[refused->n + i] = out->errors.at[i];
        to_local(r, &all[refused->n + i].key);
    }
    out->errors.at = all;
    out->errors.n += refused->n;
    out->errors.set = out->deleted.set = true;
}

static Err delete_objects(struct call *c, struct remote *r, const void *given, void *into)
{
    struct s3_DeleteObjects_in *in = copy_of(c, given);
    struct s3_DeleteObjects_out *out = into;
    const s3_ObjectIdentifierList *ids = &in->delete->objects;
    s3_Delete *list = arena_new(c->arena, s3_Delete, 1);
    ChecksumKind kind;
    RestOut q;
    Str text;
    if (c->body != NULL && !c->body->has_md5 && !body_chosen(c, &kind))
        return call_fail(
            c, &s3_InvalidRequest,
            "Missing required header for this request: Content-MD5 OR x-amz-checksum-*");
    if (ids->n == 0 || ids->n > S3_DELETE_MAX)
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    s3_Errors refused = { .at = arena_new(c->arena, s3_Error, ids->n) };
    *list = *in->delete;
    list->objects.at = arena_new(c->arena, s3_ObjectIdentifier, ids->n);
    list->objects.n = 0;
    for (size_t i = 0; i < ids->n; i++) {
        const s3_ObjectIdentifier *id = &ids->at[i];
        Str action = id->version_id.p != NULL ? S("s3:DeleteObjectVersion") : S("s3:DeleteObject");
        if (!s3_may(c, action, in->bucket, id->key, &text)) {
            refuse_key(&refused, id);
            continue;
        }
        s3_ObjectIdentifier *to = &list->objects.at[list->objects.n++];
        *to = *id;
        to->key = s3_remote_key(c->arena, r, id->key);
    }
    in->delete = list;
    if (list->objects.n > 0) {
        TRY(make_request(c, r, in, &q));
        TRY(s3_remote_pass(c, r, &q, (Str){ 0 }, out));
    }
    merge_results(c, r, &refused, out);
    return OK;
}

// ---- Which operation goes where

static Err change_tags(struct call *c, struct remote *r, const void *in, void *out)
{
    bool put = str_eq(c->op->name, S("PutObjectTagging"));
    TRY(forward(c, r, in, out));
    s3_remote_tell(c, r, put ? "ObjectTagging:Put" : "ObjectTagging:Delete",
                   s3_text_of(c->op->input, in, S("Key")), (Str){ 0 }, 0,
                   s3_text_of(c->op->output, out, S("VersionId")));
    return OK;
}

static Err not_removed(struct call *c, struct remote *r, const void *in, void *out)
{
    (void)r;
    (void)in;
    (void)out;
    return call_fail(c, &s3_MethodNotAllowed,
                     "This bucket is placed at another endpoint by the configuration.");
}

// What this side decides: such a bucket belongs to its owner alone, and takes no other lists.
static Err get_object_acl(struct call *c, struct remote *r, const void *in, void *out)
{
    (void)r;
    return s3_GetObjectAcl(c, in, out);
}

static Err put_object_acl(struct call *c, struct remote *r, const void *in, void *out)
{
    (void)r;
    return s3_PutObjectAcl(c, in, out);
}

static Err post_object(struct call *c, struct remote *r, const void *in, void *out)
{
    (void)r;
    return s3_PostObject(c, in, out);
}

static Err get_object(struct call *c, struct remote *r, const void *in, void *out)
{
    return s3_remote_get(c, r, in, out);
}

typedef Err (*remote_op)(struct call *c, struct remote *r, const void *in, void *out);

// All others are about what this side keeps: policies, CORS, tags of the bucket, notifications.
static const struct {
    Str name;
    remote_op run;
} remote_ops[] = {
    { S_INIT("AbortMultipartUpload"), forward },
    { S_INIT("CompleteMultipartUpload"), complete_upload },
    { S_INIT("CopyObject"), s3_remote_copy },
    { S_INIT("CreateMultipartUpload"), create_upload },
    { S_INIT("DeleteBucket"), not_removed },
    { S_INIT("DeleteBucketEncryption"), s3_remote_delete_encryption },
    { S_INIT("DeleteBucketLifecycle"), s3_remote_delete_lifecycle },
    { S_INIT("DeleteObject"), delete_object },
    { S_INIT("DeleteObjects"), delete_objects },
    { S_INIT("DeleteObjectTagging"), change_tags },
    { S_INIT("GetBucketEncryption"), s3_remote_get_setting },
    { S_INIT("GetBucketLifecycleConfiguration"), s3_remote_get_lifecycle },
    { S_INIT("GetBucketVersioning"), forward },
    { S_INIT("GetObject"), get_object },
    { S_INIT("GetObjectAcl"), get_object_acl },
    { S_INIT("GetObjectAttributes"), forward },
    { S_INIT("GetObjectLegalHold"), forward },
    { S_INIT("GetObjectLockConfiguration"), s3_remote_get_setting },
    { S_INIT("GetObjectRetention"), forward },
    { S_INIT("GetObjectTagging"), forward },
    { S_INIT("HeadObject"), forward },
    { S_INIT("ListMultipartUploads"), list_uploads },
    { S_INIT("ListObjectVersions"), list_versions },
    { S_INIT("ListObjects"), list_objects },
    { S_INIT("ListObjectsV2"), list_objects_v2 },
    { S_INIT("ListParts"), list_parts },
    { S_INIT("PostObject"), post_object },
    { S_INIT("PutBucketEncryption"), s3_remote_put_encryption },
    { S_INIT("PutBucketLifecycleConfiguration"), s3_remote_put_lifecycle },
    { S_INIT("PutBucketOwnershipControls"), s3_remote_put_ownership },
    { S_INIT("PutBucketVersioning"), forward },
    { S_INIT("PutObject"), s3_remote_put },
    { S_INIT("PutObjectAcl"), put_object_acl },
    { S_INIT("PutObjectLegalHold"), forward },
    { S_INIT("PutObjectLockConfiguration"), s3_remote_put_lock },
    { S_INIT("PutObjectRetention"), forward },
    { S_INIT("PutObjectTagging"), change_tags },
    { S_INIT("RestoreObject"), forward },
    { S_INIT("UploadPart"), s3_remote_put },
    { S_INIT("UploadPartCopy"), s3_remote_copy },
};

static remote_op op_of(const struct call *c)
{
    for (size_t i = 0; i < COUNT_OF(remote_ops); i++)
        if (str_eq(remote_ops[i].name, c->op->name))
            return remote_ops[i].run;
    return NULL;
}

Err s3_remote_run(struct call *c, const void *in, void *out)
{
    BlobBucket b;
    const struct shape *shape = c->op->input;
    Str name = s3_text_of(shape, in, S("Bucket"));
    struct remote *r = s3_remote_of(s3_of(c), name);
    if (r == NULL)
        return c->op->run(c, in, out); // a copy into a bucket that is here, of what is elsewhere
    TRY(s3_bucket(c, name, s3_text_of(shape, in, S("ExpectedBucketOwner")), &b));
    return op_of(c)(c, r, in, out);
}

// A bucket whose objects are elsewhere, while nobody says where: what is asked of them has no
// answer, and none must be made up.
Err s3_remote_adrift(struct call *c)
{
    return call_fail(c, &rest_ServiceUnavailable,
                     "This bucket was placed at another endpoint, which the configuration no "
                     "longer names.");
}

static Err run_adrift(struct call *c, const void *in, void *out)
{
    (void)in;
    (void)out;
    return s3_remote_adrift(c);
}

static const struct call_elsewhere adrift = { .run = run_adrift };

// A copy into a bucket that is here waits for the place of its source, beside those that ask it.
static const struct call_elsewhere *source_elsewhere(struct call *c, const void *in)
{
    Str bucket, key, version, header = s3_text_of(c->op->input, in, S("CopySource"));
    if (header.p == NULL || !s3_copy_source(c->arena, header, &bucket, &key, &version))
        return NULL; // it says so
    struct remote *r = s3_remote_of(s3_of(c), bucket);
    return r != NULL ? &r->elsewhere : NULL;
}

const struct call_elsewhere *s3_elsewhere(struct call *c, const void *in)
{
    remote_op op = op_of(c);
    if (op == NULL)
        return NULL;
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), s3_text_of(c->op->input, in, S("Bucket")));
    if (b == NULL || (b->remote == NULL && !b->adrift))
        return op == s3_remote_copy ? source_elsewhere(c, in) : NULL;
    if (b->remote != NULL)
        return &b->remote->elsewhere;
    return op != not_removed ? &adrift : NULL; // it may be removed
}
