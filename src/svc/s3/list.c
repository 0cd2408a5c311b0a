// SPDX-License-Identifier: Apache-2.0
// Lists of objects, versions and uploads. Their cost is that of the results (store/blob.h).
#include "codec/hash.h"
#include "svc/s3/s3.h"

static Str or_empty(Str text)
{
    return text.p != NULL ? text : S("");
}

// How a key or prefix is written: as it is, or URL-encoded if that was asked for.
static Str written(struct call *c, Str text, Str encoding)
{
    return text.p != NULL && encoding.p != NULL ? s3_url_encoded(c->arena, text) : text;
}

static Err check_encoding(struct call *c, Str encoding)
{
    if (encoding.p == NULL || str_eq(encoding, S("url")))
        return OK;
    call_detail(c, S("ArgumentName"), S("encoding-type"));
    call_detail(c, S("ArgumentValue"), encoding);
    return call_fail(c, &s3_InvalidArgument, "Invalid Encoding Method specified in Request");
}

static Err take_max(struct call *c, bool has, int32_t given, const char *name, int32_t *ret)
{
    *ret = has ? MIN(given, S3_KEYS_PAGE) : S3_KEYS_PAGE;
    if (!has || given >= 0)
        return OK;
    call_detail(c, S("ArgumentName"), str_of(name));
    call_detail(c, S("ArgumentValue"), str_fmt(c->arena, "%d", (int)given));
    return call_fail(c, &s3_InvalidArgument,
                     "Argument %s must be an integer between 0 and 2147483647", name);
}

static const s3_Owner *owner_of(struct call *c, Str account)
{
    s3_Owner *o = arena_new(c->arena, s3_Owner, 1);
    o->id = s3_canonical_id(c->arena, account);
    return o;
}

// Whose an object or an upload is: mostly `usual`, the bucket's owner.
static const s3_Owner *owner_of_one(struct call *c, const BlobBucket *bucket, BlobPairs attributes,
                                    const s3_Owner *usual)
{
    if (usual == NULL || blob_pair(attributes, S("s3-owner")).p == NULL)
        return usual;
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), bucket->name);
    return b != NULL ? owner_of(c, s3_object_owner(b, attributes)) : usual;
}

// Whether it is being restored, or until when it is, where that is asked for.
static const s3_RestoreStatus *restore_status(struct call *c, const BlobObject *o, Str wanted)
{
    S3Restore r = s3_restore_of(o->attributes, c->now_ns);
    if (r.state == S3_RESTORE_NONE || str_search(wanted, S("RestoreStatus")) == wanted.n)
        return NULL;
    s3_RestoreStatus *status = arena_new(c->arena, s3_RestoreStatus, 1);
    status->has_is_restore_in_progress = true;
    status->is_restore_in_progress = r.state == S3_RESTORE_ONGOING;
    status->has_restore_expiry_date = r.state == S3_RESTORE_READY;
    status->restore_expiry_date = r.until_ns;
    return status;
}

// The kind of an object's checksum, as a list of one.
static void give_algorithm(struct call *c, const BlobObject *o, s3_ChecksumAlgorithmList *list,
                           Str *type)
{
    for (ChecksumKind k = 0; k < CHECKSUM_KINDS; k++) {
        if (checksum_header(k).p == NULL || blob_pair(o->attributes, checksum_header(k)).p == NULL)
            continue;
        list->at = arena_new(c->arena, Str, 1);
        list->at[list->n++] = checksum_name(k);
        list->set = true;
        *type = blob_pair(o->attributes, S("x-amz-checksum-type"));
        return;
    }
}

static void give_prefixes(struct call *c, const Str *prefixes, size_t n, Str encoding,
                          s3_CommonPrefixList *ret)
{
    ret->at = arena_new(c->arena, s3_CommonPrefix, n);
    ret->n = n;
    ret->set = n > 0;
    for (size_t i = 0; i < n; i++)
        ret->at[i].prefix = written(c, prefixes[i], encoding);
}

static void give_objects(struct call *c, const BlobBucket *b, const BlobPage *page, Str encoding,
                         bool owner, Str more, s3_ObjectList *ret)
{
    ret->at = arena_new(c->arena, s3_Object, page->object_count);
    ret->n = page->object_count;
    ret->set = ret->n > 0;
    const s3_Owner *who = owner ? owner_of(c, b->owner) : NULL;
    for (size_t i = 0; i < ret->n; i++) {
        const BlobObject *o = &page->objects[i];
        s3_Object *to = &ret->at[i];
        to->key = written(c, o->key, encoding);
        to->last_modified = o->modified_ns;
        to->e_tag = s3_quoted(c->arena, o->etag);
        to->size = (int64_t)o->bytes;
        to->has_last_modified = to->has_size = true;
        to->storage_class = s3_storage_class(o->attributes);
        to->owner = owner_of_one(c, b, o->attributes, who);
        to->restore_status = restore_status(c, o, more);
        give_algorithm(c, o, &to->checksum_algorithm, &to->checksum_type);
    }
}

static Err list(struct call *c, const BlobBucket *b, Str prefix, Str delimiter, Str after,
                int32_t max, BlobPage *ret)
{
    BlobListing l = { .prefix = or_empty(prefix),
                      .delimiter = or_empty(delimiter),
                      .after = or_empty(after),
                      .max = (size_t)max };
    *ret = (BlobPage){ 0 };
    if (max == 0)
        return OK;
    return s3_store_error(c, b, blob_list(s3_of(c)->blob, c->arena, b, &l, ret));
}

Err s3_ListObjects(struct call *c, const struct s3_ListObjects_in *in,
                   struct s3_ListObjects_out *out)
{
    BlobBucket b;
    BlobPage page;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(check_encoding(c, in->encoding_type));
    TRY(take_max(c, in->has_max_keys, in->max_keys, "maxKeys", &out->max_keys));
    TRY(list(c, &b, in->prefix, in->delimiter, in->marker, out->max_keys, &page));
    out->has_max_keys = out->has_is_truncated = true;
    out->is_truncated = page.more;
    out->name = in->bucket;
    out->prefix = written(c, or_empty(in->prefix), in->encoding_type);
    out->marker = written(c, or_empty(in->marker), in->encoding_type);
    out->delimiter =
        in->delimiter.n > 0 ? written(c, in->delimiter, in->encoding_type) : (Str){ 0 };
    out->encoding_type = in->encoding_type;
    if (page.more && in->delimiter.n > 0) // else the last key says it
        out->next_marker = written(c, page.last, in->encoding_type);
    give_objects(c, &b, &page, in->encoding_type, true, in->optional_object_attributes,
                 &out->contents);
    give_prefixes(c, page.prefixes, page.prefix_count, in->encoding_type, &out->common_prefixes);
    return OK;
}

// A token is the key after which to go on, in hexadecimal, so that it is opaque and no XML.
static Err read_token(struct call *c, Str token, Str *ret)
{
    char *key = arena_alloc(c->arena, token.n / 2 + 1, 1);
    if (token.n > 0 && token.n % 2 == 0 && hex_decode(key, token) &&
        str_utf8_count(str_from(key, token.n / 2)) != SIZE_MAX) {
        *ret = str_from(key, token.n / 2);
        return OK;
    }
    call_detail(c, S("ArgumentName"), S("continuation-token"));
    return call_fail(c, &s3_InvalidArgument, "The continuation token provided is incorrect");
}

Err s3_ListObjectsV2(struct call *c, const struct s3_ListObjectsV2_in *in,
                     struct s3_ListObjectsV2_out *out)
{
    BlobBucket b;
    BlobPage page;
    Str after = in->start_after;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(check_encoding(c, in->encoding_type));
    TRY(take_max(c, in->has_max_keys, in->max_keys, "maxKeys", &out->max_keys));
    if (in->continuation_token.p != NULL)
        TRY(read_token(c, in->continuation_token, &after));
    TRY(list(c, &b, in->prefix, in->delimiter, after, out->max_keys, &page));
    out->has_max_keys = out->has_is_truncated = out->has_key_count = true;
    out->is_truncated = page.more;
    out->key_count = (int32_t)(page.object_count + page.prefix_count);
    out->name = in->bucket;
    out->prefix = written(c, or_empty(in->prefix), in->encoding_type);
    out->delimiter =
        in->delimiter.n > 0 ? written(c, in->delimiter, in->encoding_type) : (Str){ 0 };
    out->start_after = written(c, in->start_after, in->encoding_type);
    out->encoding_type = in->encoding_type;
    out->continuation_token = in->continuation_token;
    if (page.more)
        out->next_continuation_token = hex_str(c->arena, page.last.p, page.last.n);
    give_objects(c, &b, &page, in->encoding_type, in->has_fetch_owner && in->fetch_owner,
                 in->optional_object_attributes, &out->contents);
    give_prefixes(c, page.prefixes, page.prefix_count, in->encoding_type, &out->common_prefixes);
    return OK;
}

// ---- Versions

static void give_versions(struct call *c, const BlobBucket *b, const BlobPage *page, Str encoding,
                          Str more, struct s3_ListObjectVersions_out *out)
{
    const s3_Owner *who = owner_of(c, b->owner);
    out->versions.at = arena_new(c->arena, s3_ObjectVersion, page->object_count);
    out->delete_markers.at = arena_new(c->arena, s3_DeleteMarkerEntry, page->object_count);
    for (size_t i = 0; i < page->object_count; i++) {
        const BlobObject *o = &page->objects[i];
        Str key = written(c, o->key, encoding), version = s3_version_text(c->arena, o);
        if (o->is_marker) {
            out->delete_markers.at[out->delete_markers.n++] =
                (s3_DeleteMarkerEntry){ .key = key,
                                        .version_id = version,
                                        .is_latest = o->is_latest,
                                        .has_is_latest = true,
                                        .last_modified = o->modified_ns,
                                        .has_last_modified = true,
                                        .owner = who };
            continue;
        }
        s3_ObjectVersion *v = &out->versions.at[out->versions.n++];
        *v = (s3_ObjectVersion){ .e_tag = s3_quoted(c->arena, o->etag),
                                 .size = (int64_t)o->bytes,
                                 .has_size = true,
                                 .storage_class = s3_storage_class(o->attributes),
                                 .key = key,
                                 .version_id = version,
                                 .is_latest = o->is_latest,
                                 .has_is_latest = true,
                                 .last_modified = o->modified_ns,
                                 .has_last_modified = true,
                                 .owner = owner_of_one(c, b, o->attributes, who) };
        v->restore_status = restore_status(c, o, more);
        give_algorithm(c, o, &v->checksum_algorithm, &v->checksum_type);
    }
    out->versions.set = out->versions.n > 0;
    out->delete_markers.set = out->delete_markers.n > 0;
}

Err s3_ListObjectVersions(struct call *c, const struct s3_ListObjectVersions_in *in,
                          struct s3_ListObjectVersions_out *out)
{
    BlobBucket b;
    BlobPage page = { 0 };
    BlobSelect after = { 0 };
    BlobObject last = { 0 };
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(check_encoding(c, in->encoding_type));
    TRY(take_max(c, in->has_max_keys, in->max_keys, "maxKeys", &out->max_keys));
    if (in->version_id_marker.n > 0 && in->key_marker.n == 0)
        return call_fail(c, &s3_InvalidArgument,
                         "A version-id marker cannot be specified without a key marker.");
    if (in->version_id_marker.n > 0)
        TRY(s3_select(c, in->version_id_marker, &after));
    if (after.which == BLOB_NULL) { // which of the versions it is must be looked up
        Err e = blob_find(s3_of(c)->blob, c->arena, &b, in->key_marker, after, &last);
        after.version = e.kind == ERR_NONE ? last.version : 0;
    }
    BlobListing l = { .prefix = or_empty(in->prefix),
                      .delimiter = or_empty(in->delimiter),
                      .after = or_empty(in->key_marker),
                      .after_version = after.version,
                      .max = (size_t)out->max_keys };
    if (out->max_keys > 0)
        TRY(s3_store_error(c, &b, blob_list_versions(s3_of(c)->blob, c->arena, &b, &l, &page)));
    out->has_max_keys = out->has_is_truncated = true;
    out->is_truncated = page.more;
    out->name = in->bucket;
    out->prefix = written(c, or_empty(in->prefix), in->encoding_type);
    out->key_marker = written(c, or_empty(in->key_marker), in->encoding_type);
    out->version_id_marker = or_empty(in->version_id_marker);
    out->delimiter =
        in->delimiter.n > 0 ? written(c, in->delimiter, in->encoding_type) : (Str){ 0 };
    out->encoding_type = in->encoding_type;
    if (page.more) {
        out->next_key_marker = written(c, page.last, in->encoding_type);
        size_t n = page.object_count; // the name of the last one's version, if it is an object
        if (page.last_version != 0 && n > 0 && str_eq(page.objects[n - 1].key, page.last))
            out->next_version_id_marker = s3_version_text(c->arena, &page.objects[n - 1]);
    }
    give_versions(c, &b, &page, in->encoding_type, in->optional_object_attributes, out);
    give_prefixes(c, page.prefixes, page.prefix_count, in->encoding_type, &out->common_prefixes);
    return OK;
}

// ---- Uploads

static void give_upload(struct call *c, const BlobBucket *b, const BlobUpload *u, Str encoding,
                        s3_MultipartUpload *ret)
{
    *ret = (s3_MultipartUpload){
        .upload_id = s3_upload_text(c->arena, u->id),
        .key = written(c, u->key, encoding),
        .initiated = u->created_ns,
        .has_initiated = true,
        .storage_class = s3_storage_class(u->attributes),
        .owner = owner_of_one(c, b, u->attributes, owner_of(c, b->owner)),
        .initiator = s3_initiator(c, b, u->attributes),
        .checksum_algorithm = blob_pair(u->attributes, S("s3-checksum")),
        .checksum_type = blob_pair(u->attributes, S("x-amz-checksum-type")),
    };
}

Err s3_ListMultipartUploads(struct call *c, const struct s3_ListMultipartUploads_in *in,
                            struct s3_ListMultipartUploads_out *out)
{
    BlobBucket b;
    BlobUploadPage page = { 0 };
    uint64_t after = 0;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(check_encoding(c, in->encoding_type));
    TRY(take_max(c, in->has_max_uploads, in->max_uploads, "max-uploads", &out->max_uploads));
    if (in->upload_id_marker.n > 0 && in->key_marker.n > 0 &&
        !s3_upload_number(in->upload_id_marker, &after))
        return call_fail(c, &s3_InvalidArgument, "Invalid uploadId marker");
    BlobListing l = { .prefix = or_empty(in->prefix),
                      .delimiter = or_empty(in->delimiter),
                      .after = or_empty(in->key_marker),
                      .after_version = after,
                      .max = (size_t)out->max_uploads };
    if (out->max_uploads > 0)
        TRY(s3_store_error(c, &b, blob_upload_list(s3_of(c)->blob, c->arena, &b, &l, &page)));
    out->has_max_uploads = out->has_is_truncated = true;
    out->is_truncated = page.more;
    out->bucket = in->bucket;
    out->prefix = in->prefix.n > 0 ? written(c, in->prefix, in->encoding_type) : (Str){ 0 };
    out->key_marker = written(c, or_empty(in->key_marker), in->encoding_type);
    out->upload_id_marker = or_empty(in->upload_id_marker);
    out->delimiter =
        in->delimiter.n > 0 ? written(c, in->delimiter, in->encoding_type) : (Str){ 0 };
    out->encoding_type = in->encoding_type;
    if (page.more) {
        out->next_key_marker = written(c, page.last, in->encoding_type);
        out->next_upload_id_marker = s3_upload_text(c->arena, page.last_id);
    }
    out->uploads.at = arena_new(c->arena, s3_MultipartUpload, page.upload_count);
    out->uploads.n = page.upload_count;
    out->uploads.set = out->uploads.n > 0;
    for (size_t i = 0; i < page.upload_count; i++)
        give_upload(c, &b, &page.uploads[i], in->encoding_type, &out->uploads.at[i]);
    give_prefixes(c, page.prefixes, page.prefix_count, in->encoding_type, &out->common_prefixes);
    return OK;
}
