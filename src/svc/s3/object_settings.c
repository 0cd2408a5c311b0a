// SPDX-License-Identifier: Apache-2.0
// What of an object can be asked for and changed without its bytes: tags, retention, legal hold,
// attributes.
#include "base/time.h"
#include "svc/s3/s3.h"

static Err find(struct call *c, Str bucket, Str owner, Str key, Str version_id, BlobBucket *ret_b,
                BlobSelect *ret_which, BlobObject *ret)
{
    *ret = (BlobObject){ 0 };
    TRY(s3_bucket(c, bucket, owner, ret_b));
    TRY(s3_select(c, version_id, ret_which));
    Err e = blob_find(s3_of(c)->blob, c->arena, ret_b, key, *ret_which, ret);
    // What is changed then is what was looked at, whatever comes in between.
    *ret_which = (BlobSelect){ .which = BLOB_VERSION, .version = ret->version };
    return e.kind != ERR_NONE || ret->is_marker ? s3_found(c, ret_b, key, version_id, e, ret) : OK;
}

static Err change(struct call *c, const BlobBucket *b, Str key, const BlobSelect *which,
                  const BlobChange *to, BlobObject *ret)
{
    Err e = blob_change(s3_of(c)->blob, c->arena, b, key, *which, to, ret);
    if (e.kind == ERR_DENIED)
        return call_fail(c, &s3_AccessDenied,
                         "Access Denied because object protected by object lock.");
    if (e.kind == ERR_NOT_FOUND)
        return s3_no_such_key(c, key); // gone meanwhile
    return s3_store_error(c, b, e);
}

static Str version_of(struct call *c, const BlobBucket *b, const BlobObject *o)
{
    return b->versioning != BLOB_UNVERSIONED ? s3_version_text(c->arena, o) : (Str){ 0 };
}

// ---- Tags

static Err may_tag(struct call *c, const BlobBucket *b, const BlobObject *o, Str version_id,
                   Str action, Str of_version)
{
    return s3_check_acl(c, b, o, version_id.p != NULL ? of_version : action, (Str){ 0 });
}

Err s3_GetObjectTagging(struct call *c, const struct s3_GetObjectTagging_in *in,
                        struct s3_GetObjectTagging_out *out)
{
    BlobBucket b;
    BlobSelect which;
    BlobObject o;
    TRY(find(c, in->bucket, in->expected_bucket_owner, in->key, in->version_id, &b, &which, &o));
    TRY(may_tag(c, &b, &o, in->version_id, S("s3:GetObjectTagging"),
                S("s3:GetObjectVersionTagging")));
    out->version_id = version_of(c, &b, &o);
    out->tag_set.at = arena_new(c->arena, s3_Tag, o.tags.n);
    out->tag_set.n = o.tags.n;
    out->tag_set.set = true;
    for (size_t i = 0; i < o.tags.n; i++)
        out->tag_set.at[i] = (s3_Tag){ o.tags.at[i].name, o.tags.at[i].value };
    return OK;
}

Err s3_PutObjectTagging(struct call *c, const struct s3_PutObjectTagging_in *in,
                        struct s3_PutObjectTagging_out *out)
{
    const s3_TagSet *set = &in->tagging->tag_set;
    BlobBucket b;
    BlobSelect which;
    BlobObject o;
    BlobPair *pairs = arena_new(c->arena, BlobPair, set->n + 1);
    for (size_t i = 0; i < set->n; i++)
        pairs[i] = (BlobPair){ set->at[i].key, set->at[i].value };
    BlobPairs tags = { .at = pairs, .n = set->n };
    TRY(s3_check_tags(c, tags, S3_TAGS_MAX));
    TRY(find(c, in->bucket, in->expected_bucket_owner, in->key, in->version_id, &b, &which, &o));
    TRY(may_tag(c, &b, &o, in->version_id, S("s3:PutObjectTagging"),
                S("s3:PutObjectVersionTagging")));
    TRY(change(c, &b, in->key, &which, &(BlobChange){ .tags = &tags }, &o));
    out->version_id = version_of(c, &b, &o);
    s3_notify(c, &b, "ObjectTagging:Put", &o);
    return OK;
}

Err s3_DeleteObjectTagging(struct call *c, const struct s3_DeleteObjectTagging_in *in,
                           struct s3_DeleteObjectTagging_out *out)
{
    BlobBucket b;
    BlobSelect which;
    BlobObject o;
    BlobPairs none = { 0 };
    TRY(find(c, in->bucket, in->expected_bucket_owner, in->key, in->version_id, &b, &which, &o));
    TRY(may_tag(c, &b, &o, in->version_id, S("s3:DeleteObjectTagging"),
                S("s3:DeleteObjectVersionTagging")));
    TRY(change(c, &b, in->key, &which, &(BlobChange){ .tags = &none }, &o));
    out->version_id = version_of(c, &b, &o);
    s3_notify(c, &b, "ObjectTagging:Delete", &o);
    return OK;
}

// ---- Object lock

static Err needs_lock(struct call *c, const BlobBucket *b)
{
    return b->locks
               ? OK
               : call_fail(c, &s3_InvalidRequest, "Bucket is missing Object Lock Configuration");
}

Err s3_GetObjectRetention(struct call *c, const struct s3_GetObjectRetention_in *in,
                          struct s3_GetObjectRetention_out *out)
{
    BlobBucket b;
    BlobSelect which;
    BlobObject o;
    TRY(find(c, in->bucket, in->expected_bucket_owner, in->key, in->version_id, &b, &which, &o));
    TRY(needs_lock(c, &b));
    if (o.retention.mode == BLOB_FREE)
        return call_fail(c, &s3_NoSuchObjectLockConfiguration,
                         "The specified object does not have a ObjectLock configuration");
    s3_ObjectLockRetention *r = arena_new(c->arena, s3_ObjectLockRetention, 1);
    r->mode = o.retention.mode == BLOB_COMPLIANCE ? S("COMPLIANCE") : S("GOVERNANCE");
    r->retain_until_date = o.retention.until_ns;
    r->has_retain_until_date = true;
    out->retention = r;
    return OK;
}

Err s3_PutObjectRetention(struct call *c, const struct s3_PutObjectRetention_in *in,
                          struct s3_PutObjectRetention_out *out)
{
    BlobBucket b;
    BlobSelect which;
    BlobObject o;
    Str text;
    (void)out;
    TRY(find(c, in->bucket, in->expected_bucket_owner, in->key, in->version_id, &b, &which, &o));
    TRY(needs_lock(c, &b));
    const s3_ObjectLockRetention *wanted = in->retention;
    BlobRetention r = { 0 };
    if (wanted != NULL && (wanted->mode.p != NULL) != wanted->has_retain_until_date)
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    if (wanted != NULL && wanted->mode.p != NULL) {
        r.mode = str_eq(wanted->mode, S("COMPLIANCE")) ? BLOB_COMPLIANCE : BLOB_GOVERNANCE;
        r.until_ns = wanted->retain_until_date;
        if (r.until_ns <= c->now_ns)
            return call_fail(c, &s3_InvalidArgument,
                             "The retain until date must be in the future!");
    }
    bool bypass = in->has_bypass_governance_retention && in->bypass_governance_retention &&
                  s3_may(c, S("s3:BypassGovernanceRetention"), in->bucket, in->key, &text);
    BlobChange to = { .retention = &r, .of_retention = BLOB_PERIOD, .bypass = bypass };
    return change(c, &b, in->key, &which, &to, &o);
}

Err s3_GetObjectLegalHold(struct call *c, const struct s3_GetObjectLegalHold_in *in,
                          struct s3_GetObjectLegalHold_out *out)
{
    BlobBucket b;
    BlobSelect which;
    BlobObject o;
    TRY(find(c, in->bucket, in->expected_bucket_owner, in->key, in->version_id, &b, &which, &o));
    TRY(needs_lock(c, &b));
    s3_ObjectLockLegalHold *hold = arena_new(c->arena, s3_ObjectLockLegalHold, 1);
    hold->status = o.retention.hold ? S("ON") : S("OFF");
    out->legal_hold = hold;
    return OK;
}

Err s3_PutObjectLegalHold(struct call *c, const struct s3_PutObjectLegalHold_in *in,
                          struct s3_PutObjectLegalHold_out *out)
{
    BlobBucket b;
    BlobSelect which;
    BlobObject o;
    (void)out;
    if (in->legal_hold == NULL || in->legal_hold->status.p == NULL)
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    TRY(find(c, in->bucket, in->expected_bucket_owner, in->key, in->version_id, &b, &which, &o));
    TRY(needs_lock(c, &b));
    BlobRetention r = { .hold = str_eq(in->legal_hold->status, S("ON")) };
    BlobChange to = { .retention = &r, .of_retention = BLOB_HOLD };
    return change(c, &b, in->key, &which, &to, &o);
}

// ---- Attributes

static Err give_parts(struct call *c, const struct s3_GetObjectAttributes_in *in,
                      const BlobBucket *b, const BlobObject *o,
                      struct s3_GetObjectAttributes_out *out)
{
    BlobPart *parts;
    size_t n;
    bool more;
    int32_t max = in->has_max_parts ? MIN(in->max_parts, S3_PARTS_PAGE) : S3_PARTS_PAGE;
    int32_t after = in->has_part_number_marker ? in->part_number_marker : 0;
    if (o->part_count == 0)
        return OK;
    if (max <= 0 || after < 0)
        return call_fail(c, &s3_InvalidArgument, "Invalid part number marker or number of parts");
    Err e = blob_object_parts(s3_of(c)->blob, c->arena, b, o, (uint32_t)after, (size_t)max, &parts,
                              &n, &more);
    TRY(e.kind == ERR_NOT_FOUND ? s3_no_such_key(c, in->key) : s3_store_error(c, b, e));
    s3_GetObjectAttributesParts *p = arena_new(c->arena, s3_GetObjectAttributesParts, 1);
    p->total_parts_count = (int32_t)o->part_count;
    p->has_total_parts_count = true;
    out->object_parts = p;
    const struct shape *all = s3_member(c->op->output, S("ObjectParts"))->shape;
    const struct shape *shape = s3_member(all, S("Parts"))->shape->member;
    if (n == 0)
        return OK;
    p->part_number_marker = after;
    p->max_parts = max;
    p->is_truncated = more;
    p->next_part_number_marker = (int32_t)parts[n - 1].number;
    p->has_part_number_marker = p->has_max_parts = p->has_is_truncated =
        p->has_next_part_number_marker = true;
    p->parts.at = arena_new(c->arena, s3_ObjectPart, n);
    p->parts.n = n;
    p->parts.set = true;
    for (size_t i = 0; i < n; i++) {
        s3_ObjectPart *to = &p->parts.at[i];
        to->part_number = (int32_t)parts[i].number;
        to->size = (int64_t)parts[i].bytes;
        to->has_part_number = to->has_size = true;
        s3_give_checksums(c, shape, to, parts[i].attributes);
    }
    return OK;
}

Err s3_GetObjectAttributes(struct call *c, const struct s3_GetObjectAttributes_in *in,
                           struct s3_GetObjectAttributes_out *out)
{
    BlobBucket b;
    BlobSelect which;
    BlobObject o;
    unsigned char seal[BLOB_SEAL_BYTES];
    TRY(find(c, in->bucket, in->expected_bucket_owner, in->key, in->version_id, &b, &which, &o));
    Err e = s3_customer_check(c, o.attributes, false, seal);
    explicit_bzero(seal, sizeof seal);
    TRY(e);
    out->last_modified = o.modified_ns;
    out->has_last_modified = true;
    out->version_id = version_of(c, &b, &o);
    for (size_t i = 0; i < in->object_attributes.n; i++) {
        Str want = in->object_attributes.at[i];
        if (str_eq(want, S("ETag"))) {
            out->e_tag = o.etag;
        } else if (str_eq(want, S("ObjectSize"))) {
            out->object_size = (int64_t)o.bytes;
            out->has_object_size = true;
        } else if (str_eq(want, S("StorageClass"))) {
            out->storage_class = s3_storage_class(o.attributes);
        } else if (str_eq(want, S("ObjectParts"))) {
            TRY(give_parts(c, in, &b, &o, out));
        } else if (str_eq(want, S("Checksum"))) {
            s3_Checksum *sum = arena_new(c->arena, s3_Checksum, 1);
            s3_give_checksums(c, s3_member(c->op->output, S("Checksum"))->shape, sum, o.attributes);
            out->checksum = sum;
        } else {
            return call_fail(c, &s3_InvalidArgument, "Invalid attribute name specified.");
        }
    }
    return OK;
}
