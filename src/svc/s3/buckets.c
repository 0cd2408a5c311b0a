// SPDX-License-Identifier: Apache-2.0
// Buckets: made, found, listed, removed; where they are and whether they keep versions.
#include "svc/s3/s3.h"

// ---- Names (Amazon S3 User Guide, "General purpose bucket naming rules")

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool looks_like_address(Str name)
{
    size_t dots = 0;
    for (size_t i = 0; i < name.n; i++) {
        dots += name.p[i] == '.';
        if (name.p[i] != '.' && (name.p[i] < '0' || name.p[i] > '9'))
            return false;
    }
    return dots == 3;
}

bool s3_is_bucket_name(Str name)
{
    enum { NAME_MIN = 3, NAME_MAX = 63 };
    static const Str starts[] = { S_INIT("xn--"), S_INIT("sthree-"), S_INIT("amzn-s3-demo-") };
    static const Str ends[] = { S_INIT("-s3alias"), S_INIT("--ol-s3"), S_INIT(".mrap"),
                                S_INIT("--x-s3"), S_INIT("--table-s3") };
    if (name.n < NAME_MIN || name.n > NAME_MAX || !is_letter_or_digit(name.p[0]) ||
        !is_letter_or_digit(name.p[name.n - 1]) || looks_like_address(name))
        return false;
    for (size_t i = 1; i < name.n; i++) {
        char c = name.p[i];
        if (!is_letter_or_digit(c) && c != '-' && !(c == '.' && name.p[i - 1] != '.'))
            return false;
    }
    for (size_t i = 0; i < COUNT_OF(starts); i++)
        if (str_starts(name, starts[i]))
            return false;
    for (size_t i = 0; i < COUNT_OF(ends); i++)
        if (str_ends(name, ends[i]))
            return false;
    return true;
}

// ---- Making and removing

static Err check_location(struct call *c, const struct s3_CreateBucket_in *in, Str *ret_region)
{
    *ret_region = c->region;
    Str wanted = in->create_bucket_configuration != NULL
                     ? in->create_bucket_configuration->location_constraint
                     : (Str){ 0 };
    if (wanted.n == 0)
        return OK;
    if (str_eq(wanted, S("us-east-1")) && !str_eq(c->region, S("us-east-1")))
        return call_fail(c, &s3_IllegalLocationConstraintException,
                         "The us-east-1 location constraint is incompatible for the region "
                         "specific endpoint this request was sent to.");
    if (str_eq(wanted, S("us-east-1")))
        return call_fail(c, &s3_InvalidArgument, "The specified location-constraint is not valid");
    *ret_region = str_eq(wanted, S("EU")) ? S("eu-west-1") : wanted;
    return OK;
}

static Err bucket_taken(struct call *c, const BlobBucket *holder)
{
    call_detail(c, S("BucketName"), holder->name);
    if (str_eq(holder->owner, c->account))
        return call_fail(c, &s3_BucketAlreadyOwnedByYou,
                         "Your previous request to create the named bucket succeeded and you "
                         "already own it.");
    return call_fail(c, &s3_BucketAlreadyExists,
                     "The requested bucket name is not available. The bucket namespace is shared "
                     "by all users of the system. Please select a different name and try again.");
}

// In a region whose name is a constraint S3 says that the bucket is there; in us-east-1 making it
// again is no error (API Reference, "CreateBucket").
static bool again_is_fine(const struct call *c, const BlobBucket *holder)
{
    return str_eq(holder->owner, c->account) && str_eq(c->region, S("us-east-1")) &&
           str_eq(holder->region, S("us-east-1"));
}

static Err first_documents(struct call *c, const BlobBucket *b, const struct s3_CreateBucket_in *in,
                           Str acl)
{
    struct s3 *s = s3_of(c);
    Str ownership =
        in->object_ownership.p != NULL ? in->object_ownership : S("BucketOwnerEnforced");
    Str xml = str_fmt(c->arena,
                      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<OwnershipControls "
                      "xmlns=\"%.*s\"><Rule><ObjectOwnership>%.*s</ObjectOwnership></Rule>"
                      "</OwnershipControls>",
                      FMT(s3_api.xml_namespace), FMT(ownership));
    TRY(blob_bucket_put_document(s->blob, b, S("ownershipControls"), xml));
    if (acl.p != NULL && !str_eq(acl, S("private")))
        TRY(blob_bucket_put_document(s->blob, b, S("acl"), acl));
    return OK;
}

// Two that are made at once may be one too many.
static Err check_count(struct call *c)
{
    if (s3_buckets_of(s3_of(c), c->account) < S3_BUCKETS_MAX)
        return OK;
    return call_fail(c, &s3_TooManyBuckets,
                     "You have attempted to create more buckets than allowed");
}

static bool is_ownership(Str text)
{
    return text.p == NULL || str_eq(text, S("BucketOwnerEnforced")) ||
           str_eq(text, S("BucketOwnerPreferred")) || str_eq(text, S("ObjectWriter"));
}

Err s3_CreateBucket(struct call *c, const struct s3_CreateBucket_in *in,
                    struct s3_CreateBucket_out *out)
{
    Str acl;
    struct s3 *s = s3_of(c);
    BlobBucket make = { .name = in->bucket, .owner = c->account }, made = { 0 };
    if (!s3_is_bucket_name(in->bucket)) {
        call_detail(c, S("BucketName"), in->bucket);
        return call_fail(c, &s3_InvalidBucketName, "The specified bucket is not valid.");
    }
    if (!is_ownership(in->object_ownership))
        return call_fail(c, &s3_InvalidArgument, "Invalid x-amz-object-ownership header");
    bool acls =
        in->object_ownership.p != NULL && !str_eq(in->object_ownership, S("BucketOwnerEnforced"));
    TRY(s3_first_acl(c, in->acl, acls, &acl));
    TRY(check_location(c, in, &make.region));
    AUTO(bucket) there = s3_bucket_ref(s, in->bucket);
    if (there == NULL)
        TRY(check_count(c));
    make.locks = in->has_object_lock_enabled_for_bucket && in->object_lock_enabled_for_bucket;
    Err e = blob_bucket_create(s->blob, c->arena, &make, &made);
    if (e.kind == ERR_EXISTS) {
        if (!again_is_fine(c, &made))
            return bucket_taken(c, &made);
    } else {
        TRY(s3_store_error(c, &make, e));
        TRY(s3_store_error(c, &make, first_documents(c, &made, in, acl)));
    }
    TRY(s3_bucket_reload(s, in->bucket));
    out->location = str_cat(c->arena, S("/"), in->bucket);
    out->bucket_arn = str_cat(c->arena, S("arn:aws:s3:::"), in->bucket);
    return OK;
}

Err s3_DeleteBucket(struct call *c, const struct s3_DeleteBucket_in *in)
{
    struct s3 *s = s3_of(c);
    BlobBucket b;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    Err e = blob_bucket_delete(s->blob, &b);
    if (e.kind == ERR_EXISTS) {
        call_detail(c, S("BucketName"), in->bucket);
        return call_fail(c, &s3_BucketNotEmpty, "The bucket you tried to delete is not empty");
    }
    TRY(s3_bucket_reload(s, in->bucket));
    return s3_store_error(c, &b, e);
}

// ---- Looking

Err s3_HeadBucket(struct call *c, const struct s3_HeadBucket_in *in, struct s3_HeadBucket_out *out)
{
    BlobBucket b;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    out->bucket_region = b.region;
    out->bucket_arn = str_cat(c->arena, S("arn:aws:s3:::"), in->bucket);
    return OK;
}

Err s3_ListBuckets(struct call *c, const struct s3_ListBuckets_in *in,
                   struct s3_ListBuckets_out *out)
{
    struct s3 *s = s3_of(c);
    int32_t max = in->has_max_buckets ? in->max_buckets : S3_BUCKETS_MAX;
    if (max < 1 || max > S3_BUCKETS_MAX)
        return call_fail(c, &s3_InvalidArgument,
                         "Argument max-buckets must be an integer between 1 and 10000");
    Str after = in->continuation_token.p != NULL ? in->continuation_token : S("");
    out->buckets.at = arena_new(c->arena, s3_Bucket, (size_t)max);
    out->buckets.set = true;
    for (bool more = true; more;) {
        BlobBucket *at;
        size_t n, want = MIN((size_t)max - out->buckets.n, (size_t)BLOB_BUCKET_LIST_MAX);
        if (want == 0) {
            out->continuation_token = after;
            break;
        }
        TRY(blob_bucket_list(s->blob, c->arena, c->account,
                             in->prefix.p != NULL ? in->prefix : S(""), after, want, &at, &n,
                             &more));
        for (size_t i = 0; i < n; i++) {
            after = at[i].name;
            if (in->bucket_region.p != NULL && !str_eq(in->bucket_region, at[i].region))
                continue;
            s3_Bucket *b = &out->buckets.at[out->buckets.n++];
            b->name = at[i].name;
            b->creation_date = at[i].created_ns;
            b->has_creation_date = true;
            if (in->has_max_buckets)
                b->bucket_region = at[i].region;
        }
    }
    out->prefix = in->prefix;
    s3_Owner *owner = arena_new(c->arena, s3_Owner, 1);
    owner->id = s3_canonical_id(c->arena, c->account);
    out->owner = owner;
    return OK;
}

Err s3_GetBucketLocation(struct call *c, const struct s3_GetBucketLocation_in *in,
                         struct s3_GetBucketLocation_out *out)
{
    BlobBucket b;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    bool first = str_eq(b.region, S("us-east-1")); // which has no constraint
    out->body = str_fmt(c->arena,
                        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LocationConstraint "
                        "xmlns=\"%.*s\"%s%.*s%s",
                        FMT(s3_api.xml_namespace), first ? "/>" : ">",
                        FMT(first ? S("") : b.region), first ? "" : "</LocationConstraint>");
    call_header(c, S("Content-Type"), S("application/xml"));
    return OK;
}

// ---- Versioning

Err s3_GetBucketVersioning(struct call *c, const struct s3_GetBucketVersioning_in *in,
                           struct s3_GetBucketVersioning_out *out)
{
    BlobBucket b;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    if (b.versioning != BLOB_UNVERSIONED)
        out->status = b.versioning == BLOB_VERSIONED ? S("Enabled") : S("Suspended");
    AUTO(bucket) known = s3_bucket_ref(s3_of(c), in->bucket);
    if (known != NULL && known->mfa_delete.p != NULL)
        out->mfa_delete = str_dup(c->arena, known->mfa_delete);
    return OK;
}

Err s3_PutBucketVersioning(struct call *c, const struct s3_PutBucketVersioning_in *in)
{
    struct s3 *s = s3_of(c);
    BlobBucket b;
    Str status = in->versioning_configuration->status;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    if (status.p == NULL)
        return call_fail(c, &s3_IllegalVersioningConfigurationException,
                         "The Versioning element must be specified");
    Str mfa = in->versioning_configuration->mfa_delete;
    BlobVersioning to = str_eq(status, S("Enabled")) ? BLOB_VERSIONED : BLOB_SUSPENDED;
    if (b.locks && to == BLOB_SUSPENDED)
        return call_fail(c, &s3_InvalidBucketState,
                         "An Object Lock configuration is present on this bucket, so the "
                         "versioning state cannot be changed.");
    TRY(s3_check_mfa_setting(c, &b, mfa));
    if (mfa.p != NULL)
        TRY(s3_store_error(c, &b, blob_bucket_put_document(s->blob, &b, S("s3-mfa-delete"), mfa)));
    TRY(s3_store_error(c, &b, blob_bucket_set_versioning(s->blob, &b, to)));
    return s3_bucket_reload(s, in->bucket);
}
