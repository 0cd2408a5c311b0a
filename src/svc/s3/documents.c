// SPDX-License-Identifier: Apache-2.0
// Settings of buckets that are documents: policy, CORS, encryption, lifecycle, ownership, public
// access, tags, object lock. They are read when they come, so that nonsense is refused, and kept as
// XML (a policy as it is), which is what asking for them answers.
#include "base/time.h"
#include "aws/write_xml.h"
#include "svc/s3/s3.h"

// ---- Keeping and finding

Err s3_get_document(struct call *c, const BlobBucket *bucket, Str name, Str *ret)
{
    *ret = (Str){ 0 };
    Err e = blob_bucket_get_document(s3_of(c)->blob, c->arena, bucket, name, ret);
    return e.kind == ERR_NOT_FOUND ? OK : s3_store_error(c, bucket, e);
}

Err s3_decode_document(struct call *c, const struct shape *shape, Str xml, void *into)
{
    Err e = rest_read_document(c->arena, shape, xml, into);
    return e.kind == ERR_INVALID ? fail(ERR_CORRUPT, "a document of a bucket cannot be read") : e;
}

Str s3_xml_document(struct call *c, Str root, const struct shape *shape, const void *value)
{
    AUTO_BUF(b);
    buf_addf(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<%.*s xmlns=\"%.*s\">", FMT(root),
             FMT(s3_api.xml_namespace));
    xml_write_members(&b, shape, value);
    xml_close_element(&b, root);
    return str_dup(c->arena, buf_str(&b));
}

static const struct member *payload_of(const struct shape *shape)
{
    for (size_t i = 0; i < shape->member_count; i++)
        if (shape->members[i].place == PLACE_PAYLOAD)
            return &shape->members[i];
    return NULL;
}

static Err keep(struct call *c, const BlobBucket *b, Str name, Str text)
{
    struct s3 *s = s3_of(c);
    Err e = blob_bucket_put_document(s->blob, b, name, text);
    if (e.kind == ERR_LIMIT)
        return call_fail(c, &s3_InvalidRequest, "The document is too large");
    TRY(s3_store_error(c, b, e));
    return s3_bucket_reload(s, b->name);
}

// The payload of a request, as XML again.
static Err keep_payload(struct call *c, const void *in, const BlobBucket *b, Str name)
{
    const struct member *m = payload_of(c->op->input);
    const void *value = *(const void *const *)(const void *)((const char *)in + m->offset);
    if (value == NULL)
        return call_fail(c, &rest_MissingRequestBodyError, "Request Body is empty");
    return keep(c, b, name, s3_xml_document(c, m->called, m->shape, value));
}

static Err answer(struct call *c, Str bucket, Str owner, Str name, const struct api_error *none,
                  const char *text, Str *ret)
{
    BlobBucket b;
    TRY(s3_bucket(c, bucket, owner, &b));
    TRY(s3_get_document(c, &b, name, ret));
    if (ret->p == NULL) {
        call_detail(c, S("BucketName"), bucket);
        return call_fail(c, none, "%s", text);
    }
    bool json = str_eq(name, S("policy"));
    call_header(c, S("Content-Type"), json ? S("application/json") : S("application/xml"));
    return OK;
}

static Err forget(struct call *c, Str bucket, Str owner, Str name)
{
    struct s3 *s = s3_of(c);
    BlobBucket b;
    TRY(s3_bucket(c, bucket, owner, &b));
    TRY(s3_store_error(c, &b, blob_bucket_del_document(s->blob, &b, name)));
    return s3_bucket_reload(s, bucket);
}

#define GETS(op, name, error, text)                                                         \
    Err s3_##op(struct call *c, const struct s3_##op##_in *in, struct s3_##op##_out *out)   \
    {                                                                                       \
        return answer(c, in->bucket, in->expected_bucket_owner, S(name), &s3_##error, text, \
                      &out->body);                                                          \
    }

#define DELETES(op, name)                                                 \
    Err s3_##op(struct call *c, const struct s3_##op##_in *in)            \
    {                                                                     \
        return forget(c, in->bucket, in->expected_bucket_owner, S(name)); \
    }

GETS(GetBucketPolicy, "policy", NoSuchBucketPolicy, "The bucket policy does not exist")
GETS(GetBucketCors, "cors", NoSuchCORSConfiguration, "The CORS configuration does not exist")
GETS(GetBucketTagging, "tagging", NoSuchTagSet, "The TagSet does not exist")
GETS(GetPublicAccessBlock, "publicAccessBlock", NoSuchPublicAccessBlockConfiguration,
     "The public access block configuration was not found")
GETS(GetBucketOwnershipControls, "ownershipControls", OwnershipControlsNotFoundError,
     "The bucket ownership controls were not found")
GETS(GetBucketEncryption, "encryption", ServerSideEncryptionConfigurationNotFoundError,
     "The server side encryption configuration was not found")
GETS(GetBucketWebsite, "website", NoSuchWebsiteConfiguration,
     "The specified bucket does not have a website configuration")
GETS(GetBucketReplication, "replication", ReplicationConfigurationNotFoundError,
     "The replication configuration was not found")
DELETES(DeleteBucketPolicy, "policy")
DELETES(DeleteBucketCors, "cors")
DELETES(DeleteBucketLifecycle, "lifecycle")
DELETES(DeleteBucketTagging, "tagging")
DELETES(DeletePublicAccessBlock, "publicAccessBlock")
DELETES(DeleteBucketOwnershipControls, "ownershipControls")
DELETES(DeleteBucketEncryption, "encryption")
DELETES(DeleteBucketWebsite, "website") // there never is one
DELETES(DeleteBucketReplication, "replication")

// ---- What is never set here

static Err fixed(struct call *c, Str bucket, Str owner, const char *root, const char *content,
                 Str *ret)
{
    BlobBucket b;
    TRY(s3_bucket(c, bucket, owner, &b));
    *ret =
        str_fmt(c->arena, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<%s xmlns=\"%.*s\">%s</%s>",
                root, FMT(s3_api.xml_namespace), content, root);
    call_header(c, S("Content-Type"), S("application/xml"));
    return OK;
}

// What is kept; or what holds if nothing is.
static Err kept_or_fixed(struct call *c, Str bucket, Str owner, Str name, const char *root,
                         const char *content, Str *ret)
{
    BlobBucket b;
    TRY(s3_bucket(c, bucket, owner, &b));
    TRY(s3_get_document(c, &b, name, ret));
    if (ret->p == NULL)
        return fixed(c, bucket, owner, root, content, ret);
    call_header(c, S("Content-Type"), S("application/xml"));
    return OK;
}

// A bucket that was made with object lock has it without a rule.
Err s3_GetObjectLockConfiguration(struct call *c, const struct s3_GetObjectLockConfiguration_in *in,
                                  struct s3_GetObjectLockConfiguration_out *out)
{
    BlobBucket b;
    Str xml;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(s3_get_document(c, &b, S("object-lock"), &xml));
    if (xml.p == NULL && b.locks)
        return fixed(c, in->bucket, in->expected_bucket_owner, "ObjectLockConfiguration",
                     "<ObjectLockEnabled>Enabled</ObjectLockEnabled>", &out->body);
    return answer(c, in->bucket, in->expected_bucket_owner, S("object-lock"),
                  &s3_ObjectLockConfigurationNotFoundError,
                  "Object Lock configuration does not exist for this bucket", &out->body);
}

Err s3_GetBucketRequestPayment(struct call *c, const struct s3_GetBucketRequestPayment_in *in,
                               struct s3_GetBucketRequestPayment_out *out)
{
    return kept_or_fixed(c, in->bucket, in->expected_bucket_owner, S("requestPayment"),
                         "RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>", &out->body);
}

Err s3_GetBucketLogging(struct call *c, const struct s3_GetBucketLogging_in *in,
                        struct s3_GetBucketLogging_out *out)
{
    return fixed(c, in->bucket, in->expected_bucket_owner, "BucketLoggingStatus", "", &out->body);
}

Err s3_GetBucketAccelerateConfiguration(struct call *c,
                                        const struct s3_GetBucketAccelerateConfiguration_in *in,
                                        struct s3_GetBucketAccelerateConfiguration_out *out)
{
    return kept_or_fixed(c, in->bucket, in->expected_bucket_owner, S("accelerate"),
                         "AccelerateConfiguration", "", &out->body);
}

Err s3_GetBucketNotificationConfiguration(struct call *c,
                                          const struct s3_GetBucketNotificationConfiguration_in *in,
                                          struct s3_GetBucketNotificationConfiguration_out *out)
{
    return kept_or_fixed(c, in->bucket, in->expected_bucket_owner, S("notification"),
                         "NotificationConfiguration", "", &out->body);
}

// ---- What is set

Err s3_PutBucketCors(struct call *c, const struct s3_PutBucketCors_in *in)
{
    static const Str methods[] = { S_INIT("GET"), S_INIT("PUT"), S_INIT("HEAD"), S_INIT("POST"),
                                   S_INIT("DELETE") };
    enum { RULES_MAX = 100 };
    const s3_CORSRules *rules = &in->cors_configuration->cors_rules;
    BlobBucket b;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    if (rules->n == 0 || rules->n > RULES_MAX)
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    for (size_t i = 0; i < rules->n; i++) {
        const s3_CORSRule *r = &rules->at[i];
        if (r->allowed_methods.n == 0 || r->allowed_origins.n == 0)
            return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
        for (size_t j = 0; j < r->allowed_methods.n; j++) {
            bool known = false;
            for (size_t k = 0; k < COUNT_OF(methods); k++)
                known = known || str_eq(methods[k], r->allowed_methods.at[j]);
            if (!known)
                return call_fail(c, &s3_InvalidRequest,
                                 "Found unsupported HTTP method in CORS config. Unsupported method "
                                 "is %.*s",
                                 FMT(r->allowed_methods.at[j]));
        }
    }
    return keep_payload(c, in, &b, S("cors"));
}

Err s3_PutBucketEncryption(struct call *c, const struct s3_PutBucketEncryption_in *in)
{
    const s3_ServerSideEncryptionRules *rules = &in->server_side_encryption_configuration->rules;
    BlobBucket b;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    const s3_ServerSideEncryptionByDefault *d =
        rules->n == 1 ? rules->at[0].apply_server_side_encryption_by_default : NULL;
    bool kms = d != NULL && str_eq(d->sse_algorithm, S("aws:kms"));
    if (d == NULL || (!kms && !str_eq(d->sse_algorithm, S("AES256"))))
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    if (!kms && d->kms_master_key_id.p != NULL)
        return call_fail(c, &s3_InvalidArgument,
                         "a KMSMasterKeyID is not applicable if the default sse algorithm is not "
                         "aws:kms or aws:kms:dsse");
    return keep_payload(c, in, &b, S("encryption"));
}

static Err check_tag_set(struct call *c, const s3_TagSet *set, size_t max)
{
    BlobPair *pairs = arena_new(c->arena, BlobPair, set->n + 1);
    for (size_t i = 0; i < set->n; i++)
        pairs[i] = (BlobPair){ set->at[i].key, set->at[i].value };
    return s3_check_tags(c, (BlobPairs){ .at = pairs, .n = set->n }, max);
}

Err s3_PutBucketTagging(struct call *c, const struct s3_PutBucketTagging_in *in)
{
    BlobBucket b;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(check_tag_set(c, &in->tagging->tag_set, S3_BUCKET_TAGS_MAX));
    c->status = 204;
    return keep_payload(c, in, &b, S("tagging"));
}

Err s3_PutBucketOwnershipControls(struct call *c, const struct s3_PutBucketOwnershipControls_in *in)
{
    const s3_OwnershipControlsRules *rules = &in->ownership_controls->rules;
    BlobBucket b;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    Str ownership = rules->n == 1 ? rules->at[0].object_ownership : S("");
    if (!str_eq(ownership, S("BucketOwnerEnforced")) &&
        !str_eq(ownership, S("BucketOwnerPreferred")) && !str_eq(ownership, S("ObjectWriter")))
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    AUTO(bucket) known = s3_bucket_ref(s3_of(c), in->bucket);
    if (str_eq(ownership, S("BucketOwnerEnforced")) && known != NULL && known->acls &&
        !s3_acl_is_private(known->acl))
        return call_fail(c, &s3_InvalidBucketAclWithObjectOwnership,
                         "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced "
                         "setting");
    return keep_payload(c, in, &b, S("ownershipControls"));
}

Err s3_PutPublicAccessBlock(struct call *c, const struct s3_PutPublicAccessBlock_in *in)
{
    BlobBucket b;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    return keep_payload(c, in, &b, S("publicAccessBlock"));
}

Err s3_PutBucketRequestPayment(struct call *c, const struct s3_PutBucketRequestPayment_in *in)
{
    BlobBucket b;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    return keep_payload(c, in, &b, S("requestPayment"));
}

// All that is to be accelerated here is the name: NAME.s3-accelerate.HOST is answered as any other.
Err s3_PutBucketAccelerateConfiguration(struct call *c,
                                        const struct s3_PutBucketAccelerateConfiguration_in *in)
{
    BlobBucket b;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    if (in->accelerate_configuration->status.p == NULL)
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    if (str_find(in->bucket, '.') < in->bucket.n)
        return call_fail(c, &s3_InvalidRequest,
                         "S3 Transfer Acceleration is not supported for buckets with periods (.) "
                         "in their names");
    return keep_payload(c, in, &b, S("accelerate"));
}

Err s3_PutBucketNotificationConfiguration(struct call *c,
                                          const struct s3_PutBucketNotificationConfiguration_in *in)
{
    const s3_NotificationConfiguration *n = in->notification_configuration;
    BlobBucket b;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(s3_check_destinations(c, &b, n));
    return keep_payload(c, in, &b, S("notification"));
}

// ---- Policies

Err s3_PutBucketPolicy(struct call *c, const struct s3_PutBucketPolicy_in *in)
{
    enum { POLICY_BYTES = 20 << 10 }; // Amazon S3 User Guide, "Bucket policies"
    AUTO(policy) p = NULL;
    AUTO(bucket) known = s3_bucket_ref(s3_of(c), in->bucket);
    BlobBucket b;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    if (in->policy.n > POLICY_BYTES)
        return call_fail(c, &s3_InvalidArgument, "Bucket policies are limited to 20 KB in size");
    Err e = policy_open(POLICY_RESOURCE, in->bucket, in->policy, &p);
    if (e.kind == ERR_MEMORY)
        return e;
    if (e.kind != ERR_NONE)
        return call_fail(c, &s3_MalformedPolicy, "%s", e.text);
    if (known != NULL && known->block_policy && s3_policy_is_public(in->policy))
        return call_fail(c, &s3_AccessDenied, "Access Denied");
    c->status = 204;
    return keep(c, &b, S("policy"), in->policy);
}

Err s3_GetBucketPolicyStatus(struct call *c, const struct s3_GetBucketPolicyStatus_in *in,
                             struct s3_GetBucketPolicyStatus_out *out)
{
    BlobBucket b;
    Str policy;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(s3_get_document(c, &b, S("policy"), &policy));
    if (policy.p == NULL)
        return call_fail(c, &s3_NoSuchBucketPolicy, "The bucket policy does not exist");
    return fixed(c, in->bucket, (Str){ 0 }, "PolicyStatus",
                 s3_policy_is_public(policy) ? "<IsPublic>true</IsPublic>"
                                             : "<IsPublic>false</IsPublic>",
                 &out->body);
}

// ---- Object lock and lifecycle

static Err check_lock(struct call *c, const struct s3_PutObjectLockConfiguration_in *in)
{
    const s3_ObjectLockConfiguration *lock = in->object_lock_configuration;
    const s3_DefaultRetention *d =
        lock != NULL && lock->rule != NULL ? lock->rule->default_retention : NULL;
    if (d != NULL && (d->mode.p == NULL || d->has_days == d->has_years))
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    if (d != NULL && ((d->has_days && d->days <= 0) || (d->has_years && d->years <= 0)))
        return call_fail(c, &s3_InvalidArgument,
                         "Default retention period must be a positive integer value");
    return OK;
}

Err s3_keep_lock(struct call *c, const struct s3_PutObjectLockConfiguration_in *in)
{
    BlobBucket b;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(check_lock(c, in));
    return keep_payload(c, in, &b, S("object-lock"));
}

Err s3_PutObjectLockConfiguration(struct call *c, const struct s3_PutObjectLockConfiguration_in *in,
                                  struct s3_PutObjectLockConfiguration_out *out)
{
    struct s3 *s = s3_of(c);
    BlobBucket b;
    (void)out;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    if (b.versioning != BLOB_VERSIONED)
        return call_fail(c, &s3_InvalidBucketState,
                         "Versioning must be 'Enabled' on the bucket to apply a Object Lock "
                         "configuration");
    TRY(check_lock(c, in));
    if (!b.locks)
        TRY(s3_store_error(c, &b, blob_bucket_set_locks(s->blob, &b)));
    return keep_payload(c, in, &b, S("object-lock"));
}

// What the schema of the document does not say but demands.
static bool is_good_rule(const s3_LifecycleRule *r)
{
    const s3_LifecycleExpiration *x = r->expiration;
    if (x != NULL && x->has_date + x->has_days + x->has_expired_object_delete_marker != 1)
        return false;
    const s3_NoncurrentVersionExpiration *v = r->noncurrent_version_expiration;
    if (v != NULL && !v->has_noncurrent_days)
        return false;
    for (size_t i = 0; i < r->transitions.n; i++) {
        const s3_Transition *t = &r->transitions.at[i];
        if (t->has_date + t->has_days != 1 || !s3_may_move(S("STANDARD"), t->storage_class))
            return false;
    }
    for (size_t i = 0; i < r->noncurrent_version_transitions.n; i++) {
        const s3_NoncurrentVersionTransition *t = &r->noncurrent_version_transitions.at[i];
        if (!t->has_noncurrent_days || !s3_may_move(S("STANDARD"), t->storage_class))
            return false;
    }
    return x != NULL || v != NULL || r->abort_incomplete_multipart_upload != NULL ||
           r->transitions.n > 0 || r->noncurrent_version_transitions.n > 0;
}

// Objects that are read now and then come no sooner (User Guide, "Constraints and considerations
// for transitions").
static Err check_days(struct call *c, const char *days, const char *action, Str class, int32_t n)
{
    bool rare = str_eq(class, S("STANDARD_IA")) || str_eq(class, S("ONEZONE_IA"));
    if (n < 0)
        return call_fail(c, &s3_InvalidArgument, "'%s' for %s action must be nonnegative", days,
                         action);
    if (!rare || n >= 30)
        return OK;
    return call_fail(c, &s3_InvalidArgument,
                     "'%s' in %s action must be greater than or equal to 30 for storageClass "
                     "'%.*s'",
                     days, action, FMT(class));
}

static Err check_transitions(struct call *c, const s3_LifecycleRule *r)
{
    const s3_LifecycleExpiration *x = r->expiration;
    BlobRule about = { 0 };
    s3_lifecycle_filter(c->arena, r, &about);
    for (size_t i = 0; i < r->transitions.n; i++) {
        const s3_Transition *t = &r->transitions.at[i];
        for (size_t j = 0; j < i; j++)
            if (str_eq(r->transitions.at[j].storage_class, t->storage_class))
                return call_fail(c, &s3_InvalidArgument,
                                 "'StorageClass' must be different for 'Transition' actions in "
                                 "same 'Rule'");
        if (t->has_date && t->date % (86400 * NS_PER_S) != 0)
            return call_fail(c, &s3_InvalidArgument, "'Date' must be at midnight GMT");
        if (t->has_days)
            TRY(check_days(c, "Days", "Transition", t->storage_class, t->days));
        if (t->has_days && x != NULL && x->has_days && x->days <= t->days)
            return call_fail(c, &s3_InvalidArgument,
                             "'Days' in the Expiration action for filter '(prefix=%.*s)' must be "
                             "greater than 'Days' in the Transition action",
                             FMT(about.prefix));
    }
    for (size_t i = 0; i < r->noncurrent_version_transitions.n; i++) {
        const s3_NoncurrentVersionTransition *t = &r->noncurrent_version_transitions.at[i];
        TRY(check_days(c, "NoncurrentDays", "NoncurrentVersionTransition", t->storage_class,
                       t->noncurrent_days));
    }
    return OK;
}

static Err check_rule(struct call *c, const s3_LifecycleRule *r)
{
    enum { ID_CHARS_MAX = 255 };
    const s3_LifecycleExpiration *x = r->expiration;
    if (!is_good_rule(r))
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    if (r->id.n > ID_CHARS_MAX)
        return call_fail(c, &s3_InvalidArgument,
                         "ID length should not exceed allowed limit of 255");
    if (x != NULL && x->has_days && x->days <= 0)
        return call_fail(c, &s3_InvalidArgument,
                         "'Days' for Expiration action must be a positive integer");
    const s3_NoncurrentVersionExpiration *v = r->noncurrent_version_expiration;
    if (v != NULL && v->noncurrent_days <= 0)
        return call_fail(c, &s3_InvalidArgument,
                         "'NoncurrentDays' for NoncurrentVersionExpiration action must be a "
                         "positive integer");
    if (x != NULL && x->has_date && x->date % (86400 * NS_PER_S) != 0)
        return call_fail(c, &s3_InvalidArgument, "'Date' must be at midnight GMT");
    return check_transitions(c, r);
}

// A rule that has no name is given one.
static void name_rules(struct call *c, const s3_BucketLifecycleConfiguration *l,
                       s3_BucketLifecycleConfiguration *ret)
{
    enum { ID_BYTES = 18 };
    struct io *io = s3_of(c)->env.io;
    *ret = *l;
    ret->rules.at = arena_new(c->arena, s3_LifecycleRule, l->rules.n);
    memcpy(ret->rules.at, l->rules.at, l->rules.n * sizeof *l->rules.at);
    for (size_t i = 0; i < l->rules.n; i++) {
        unsigned char id[ID_BYTES];
        if (ret->rules.at[i].id.n > 0)
            continue;
        io->random(io, id, sizeof id);
        ret->rules.at[i].id = s3_checksum_text(c->arena, id, sizeof id);
    }
}

Err s3_PutBucketLifecycleConfiguration(struct call *c,
                                       const struct s3_PutBucketLifecycleConfiguration_in *in,
                                       struct s3_PutBucketLifecycleConfiguration_out *out)
{
    enum { RULES_MAX = 1000 };
    Str least = in->transition_default_minimum_object_size;
    BlobBucket b;
    if (least.p == NULL)
        least = S3_MOVES_128K;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    const s3_BucketLifecycleConfiguration *l = in->lifecycle_configuration;
    if (l == NULL)
        return call_fail(c, &rest_MissingRequestBodyError, "Request Body is empty");
    if (s3_has_mfa_delete(c, in->bucket))
        return call_fail(c, &s3_InvalidBucketState,
                         "Lifecycle configuration cannot be put on a bucket with MFA Delete "
                         "enabled.");
    if (l->rules.n == 0 || l->rules.n > RULES_MAX)
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    for (size_t i = 0; i < l->rules.n; i++) {
        TRY(check_rule(c, &l->rules.at[i]));
        for (size_t j = 0; j < i; j++)
            if (l->rules.at[i].id.p != NULL && str_eq(l->rules.at[i].id, l->rules.at[j].id))
                return call_fail(c, &s3_InvalidArgument,
                                 "Rule ID must be unique. Found same ID for more than one rule");
    }
    s3_BucketLifecycleConfiguration named;
    struct s3_PutBucketLifecycleConfiguration_in with = *in;
    if (!str_eq(least, S3_MOVES_128K) && !str_eq(least, S3_MOVES_VARY))
        return call_fail(c, &s3_InvalidRequest,
                         "Invalid TransitionDefaultMinimumObjectSize found: %.*s", FMT(least));
    name_rules(c, l, &named);
    with.lifecycle_configuration = &named;
    out->transition_default_minimum_object_size = least;
    TRY(keep(c, &b, S("s3-moves-min"), least));
    return keep_payload(c, &with, &b, S("lifecycle"));
}

Err s3_GetBucketLifecycleConfiguration(struct call *c,
                                       const struct s3_GetBucketLifecycleConfiguration_in *in,
                                       struct s3_GetBucketLifecycleConfiguration_out *out)
{
    BlobBucket b;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(answer(c, in->bucket, in->expected_bucket_owner, S("lifecycle"),
               &s3_NoSuchLifecycleConfiguration, "The lifecycle configuration does not exist",
               &out->body));
    TRY(s3_get_document(c, &b, S("s3-moves-min"), &out->transition_default_minimum_object_size));
    if (out->transition_default_minimum_object_size.p == NULL)
        out->transition_default_minimum_object_size = S3_MOVES_128K;
    return OK;
}
