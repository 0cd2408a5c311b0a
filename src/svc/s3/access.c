// SPDX-License-Identifier: Apache-2.0
// What calls are about, for the front to ask whether they are permitted: actions as IAM calls them
// (Service Authorization Reference, "Actions, resources, and condition keys for Amazon S3"), ARNs,
// the bucket's policy.
#include "codec/json.h"
#include "hub/hub.h"
#include "svc/s3/s3.h"

// Where the action is not called like the operation. `versioned`: another one if a version is
// named.
static const struct {
    Str op, action;
    bool versioned;
} actions[] = {
    { S_INIT("AbortMultipartUpload"), S_INIT("AbortMultipartUpload"), false },
    { S_INIT("CompleteMultipartUpload"), S_INIT("PutObject"), false },
    { S_INIT("CopyObject"), S_INIT("PutObject"), false },
    { S_INIT("CreateMultipartUpload"), S_INIT("PutObject"), false },
    { S_INIT("DeleteBucketCors"), S_INIT("PutBucketCORS"), false },
    { S_INIT("DeleteBucketEncryption"), S_INIT("PutEncryptionConfiguration"), false },
    { S_INIT("DeleteBucketLifecycle"), S_INIT("PutLifecycleConfiguration"), false },
    { S_INIT("DeleteBucketOwnershipControls"), S_INIT("PutBucketOwnershipControls"), false },
    { S_INIT("DeleteBucketReplication"), S_INIT("PutReplicationConfiguration"), false },
    { S_INIT("DeleteBucketTagging"), S_INIT("PutBucketTagging"), false },
    { S_INIT("DeleteObject"), S_INIT("DeleteObject"), true },
    { S_INIT("DeleteObjectTagging"), S_INIT("DeleteObjectTagging"), false },
    { S_INIT("DeletePublicAccessBlock"), S_INIT("PutBucketPublicAccessBlock"), false },
    { S_INIT("GetBucketAccelerateConfiguration"), S_INIT("GetAccelerateConfiguration"), false },
    { S_INIT("GetBucketCors"), S_INIT("GetBucketCORS"), false },
    { S_INIT("GetBucketEncryption"), S_INIT("GetEncryptionConfiguration"), false },
    { S_INIT("GetBucketLifecycleConfiguration"), S_INIT("GetLifecycleConfiguration"), false },
    { S_INIT("GetBucketNotificationConfiguration"), S_INIT("GetBucketNotification"), false },
    { S_INIT("GetBucketReplication"), S_INIT("GetReplicationConfiguration"), false },
    { S_INIT("GetObject"), S_INIT("GetObject"), true },
    { S_INIT("GetObjectLockConfiguration"), S_INIT("GetBucketObjectLockConfiguration"), false },
    { S_INIT("GetPublicAccessBlock"), S_INIT("GetBucketPublicAccessBlock"), false },
    { S_INIT("HeadBucket"), S_INIT("ListBucket"), false },
    { S_INIT("HeadObject"), S_INIT("GetObject"), true },
    { S_INIT("ListBuckets"), S_INIT("ListAllMyBuckets"), false },
    { S_INIT("ListMultipartUploads"), S_INIT("ListBucketMultipartUploads"), false },
    { S_INIT("ListObjectVersions"), S_INIT("ListBucketVersions"), false },
    { S_INIT("ListObjects"), S_INIT("ListBucket"), false },
    { S_INIT("ListObjectsV2"), S_INIT("ListBucket"), false },
    { S_INIT("ListParts"), S_INIT("ListMultipartUploadParts"), false },
    { S_INIT("PutBucketAccelerateConfiguration"), S_INIT("PutAccelerateConfiguration"), false },
    { S_INIT("PutBucketCors"), S_INIT("PutBucketCORS"), false },
    { S_INIT("PutBucketEncryption"), S_INIT("PutEncryptionConfiguration"), false },
    { S_INIT("PutBucketLifecycleConfiguration"), S_INIT("PutLifecycleConfiguration"), false },
    { S_INIT("PutBucketNotificationConfiguration"), S_INIT("PutBucketNotification"), false },
    { S_INIT("PutObjectLockConfiguration"), S_INIT("PutBucketObjectLockConfiguration"), false },
    { S_INIT("PutPublicAccessBlock"), S_INIT("PutBucketPublicAccessBlock"), false },
    { S_INIT("UploadPart"), S_INIT("PutObject"), false },
    { S_INIT("UploadPartCopy"), S_INIT("PutObject"), false },
};

static Str action_of(struct call *c, const void *in)
{
    Str name = c->op->name;
    bool versioned = str_ends(name, S("ObjectTagging")) || str_eq(name, S("GetObjectAttributes")) ||
                     str_ends(name, S("ObjectAcl"));
    for (size_t i = 0; i < COUNT_OF(actions); i++)
        if (str_eq(actions[i].op, name)) {
            versioned = actions[i].versioned;
            name = actions[i].action;
            break;
        }
    versioned = versioned && s3_text_of(c->op->input, in, S("VersionId")).p != NULL;
    if (!versioned)
        return str_cat(c->arena, S("s3:"), name);
    size_t at = str_search(name, S("Object")) + S("Object").n; // GetObject > GetObjectVersion
    return str_fmt(c->arena, "s3:%.*sVersion%.*s", FMT(str_head(name, at)),
                   FMT(str_skip(name, at)));
}

static Str arn_of(struct arena *a, Str bucket, Str key)
{
    Str arn = str_cat(a, S("arn:aws:s3:::"), bucket);
    return key.p != NULL ? str_cat3(a, arn, S("/"), key) : arn;
}

static Str account_of_call(struct call *c, const void *in)
{
    Str name = s3_text_of(c->op->input, in, S("Bucket"));
    AUTO(bucket) b = name.p != NULL ? s3_bucket_ref(s3_of(c), name) : NULL;
    return b != NULL && !str_eq(c->op->name, S("CreateBucket")) ? str_dup(c->arena, b->is.owner)
                                                                : c->account;
}

// The policy that counts for this caller.
static struct policy *policy_for(const struct call *c, const struct bucket *b)
{
    bool stranger = !str_eq(c->caller, b->is.owner);
    return b->restrict_public && b->public_policy && stranger ? NULL : b->policy;
}

// Whether an ACL of the bucket lets in somebody whom no policy would (User Guide, "Mapping of ACL
// permissions and access policy permissions").
static bool acl_permits(struct call *c, const struct bucket *b, Str action)
{
    static const struct {
        Str action, permission;
    } known[] = { { S_INIT("s3:ListBucket"), S_INIT("READ") },
                  { S_INIT("s3:ListBucketVersions"), S_INIT("READ") },
                  { S_INIT("s3:ListBucketMultipartUploads"), S_INIT("READ") },
                  { S_INIT("s3:PutObject"), S_INIT("WRITE") },
                  { S_INIT("s3:DeleteObject"), S_INIT("WRITE") },
                  { S_INIT("s3:GetBucketAcl"), S_INIT("READ_ACP") },
                  { S_INIT("s3:PutBucketAcl"), S_INIT("WRITE_ACP") } };
    for (size_t i = 0; b->acls && i < COUNT_OF(known); i++)
        if (str_eq(known[i].action, action))
            return s3_acl_permits(c, b, b->acl, known[i].permission);
    return false;
}

// The tags that a request gives an object, in a header or as a document; what is wrong with them is
// said later.
static BlobPairs request_tags(struct call *c, const void *in)
{
    BlobPairs tags = { 0 };
    Str header = s3_text_of(c->op->input, in, S("Tagging"));
    if (header.n > 0) {
        struct call quiet = { .arena = c->arena, .op = c->op };
        return s3_parse_tags(&quiet, header, &tags).kind == ERR_NONE ? tags : (BlobPairs){ 0 };
    }
    if (!str_eq(c->op->name, S("PutObjectTagging")))
        return tags;
    const s3_TagSet *set = &((const struct s3_PutObjectTagging_in *)in)->tagging->tag_set;
    BlobPair *at = arena_new(c->arena, BlobPair, set->n + 1);
    for (size_t i = 0; i < set->n; i++)
        at[i] = (BlobPair){ set->at[i].key, set->at[i].value };
    return (BlobPairs){ .at = at, .n = set->n };
}

// s3:RequestObjectTag/KEY for each, and s3:RequestObjectTagKeys. *into has room. How many.
static size_t add_tags(struct arena *a, BlobPairs tags, AccessValue *into)
{
    Str *keys = arena_new(a, Str, tags.n), *texts = arena_new(a, Str, tags.n);
    for (size_t i = 0; i < tags.n; i++) {
        keys[i] = tags.at[i].name;
        texts[i] = tags.at[i].value;
        into[i] = (AccessValue){ str_cat(a, S("s3:RequestObjectTag/"), keys[i]), &texts[i], 1 };
    }
    into[tags.n] = (AccessValue){ S("s3:RequestObjectTagKeys"), keys, tags.n };
    return tags.n + 1;
}

static void add_context(struct call *c, const void *in, AccessTarget *t)
{
    static const struct {
        Str member, key;
    } known[] = { { S_INIT("Prefix"), S_INIT("s3:prefix") },
                  { S_INIT("Delimiter"), S_INIT("s3:delimiter") },
                  { S_INIT("VersionId"), S_INIT("s3:VersionId") },
                  { S_INIT("ACL"), S_INIT("s3:x-amz-acl") },
                  { S_INIT("ServerSideEncryption"), S_INIT("s3:x-amz-server-side-encryption") },
                  { S_INIT("SSEKMSKeyId"),
                    S_INIT("s3:x-amz-server-side-encryption-aws-kms-key-id") },
                  { S_INIT("StorageClass"), S_INIT("s3:x-amz-storage-class") },
                  { S_INIT("CopySource"), S_INIT("s3:x-amz-copy-source") },
                  { S_INIT("MetadataDirective"), S_INIT("s3:x-amz-metadata-directive") },
                  { S_INIT("GrantRead"), S_INIT("s3:x-amz-grant-read") },
                  { S_INIT("GrantWrite"), S_INIT("s3:x-amz-grant-write") },
                  { S_INIT("GrantReadACP"), S_INIT("s3:x-amz-grant-read-acp") },
                  { S_INIT("GrantWriteACP"), S_INIT("s3:x-amz-grant-write-acp") },
                  { S_INIT("GrantFullControl"), S_INIT("s3:x-amz-grant-full-control") },
                  { S_INIT("ObjectLockMode"), S_INIT("s3:object-lock-mode") },
                  { S_INIT("ObjectLockLegalHoldStatus"), S_INIT("s3:object-lock-legal-hold") },
                  { S_INIT("ObjectOwnership"), S_INIT("s3:x-amz-object-ownership") } };
    enum { TAG_VALUES = S3_TAGS_MAX + 1 };
    AccessValue *values = arena_new(c->arena, AccessValue, COUNT_OF(known) + TAG_VALUES);
    Str *texts = arena_new(c->arena, Str, COUNT_OF(known));
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        texts[i] = s3_text_of(c->op->input, in, known[i].member);
        if (texts[i].p != NULL)
            values[t->context_count++] = (AccessValue){ known[i].key, &texts[i], 1 };
    }
    BlobPairs tags = request_tags(c, in);
    if (tags.n > 0 && tags.n <= S3_TAGS_MAX)
        t->context_count += add_tags(c->arena, tags, values + t->context_count);
    t->context = values;
}

// Operations that ask for themselves, or whom everybody may call.
static bool is_free(Str op)
{
    return str_starts(op, S("Preflight")) || str_eq(op, S("PostObject")) ||
           str_eq(op, S("DeleteObjects"));
}

// A bucket's owner can always mend its policy (User Guide, "Bucket policies": the root user may
// get, put and delete one that denies it that).
static bool is_about_policy(Str op)
{
    return str_eq(op, S("GetBucketPolicy")) || str_eq(op, S("PutBucketPolicy")) ||
           str_eq(op, S("DeleteBucketPolicy"));
}

static bool binds_root(struct call *c, const void *in)
{
    Str name = s3_text_of(c->op->input, in, S("Bucket"));
    AUTO(bucket) b = name.p != NULL ? s3_bucket_ref(s3_of(c), name) : NULL;
    return b != NULL && b->policy != NULL && !is_about_policy(c->op->name) &&
           !str_eq(c->op->name, S("CreateBucket"));
}

static bool asks_object(Str action)
{
    return str_eq(action, S("s3:GetObject")) || str_eq(action, S("s3:GetObjectVersion")) ||
           str_eq(action, S("s3:GetObjectAcl")) || str_eq(action, S("s3:PutObjectAcl")) ||
           str_eq(action, S("s3:GetObjectVersionAcl")) ||
           str_eq(action, S("s3:PutObjectVersionAcl"));
}

static bool asks_tags(Str action)
{
    return str_starts(action, S("s3:")) &&
           (str_ends(action, S("ObjectTagging")) || str_ends(action, S("ObjectVersionTagging")));
}

// What lies elsewhere has its tags there: no policy here can speak of them.
bool s3_asks_later(const struct bucket *b)
{
    return b->acls || (b->asks_tags && b->remote == NULL);
}

static void target_of_call(struct call *c, const void *in, AccessTarget *ret)
{
    Str name = s3_text_of(c->op->input, in, S("Bucket"));
    Str key = s3_text_of(c->op->input, in, S("Key"));
    bool making = str_eq(c->op->name, S("CreateBucket"));
    AUTO(bucket) b = name.p != NULL && !making ? s3_bucket_ref(s3_of(c), name) : NULL;
    ret->action = action_of(c, in);
    ret->resource = name.p != NULL ? arn_of(c->arena, name, key) : S("*");
    add_context(c, in, ret);
    if (name.p != NULL && b == NULL && !making) {
        ret->for_everybody = true; // to hear that there is no such bucket
        return;
    }
    ret->for_everybody = is_free(c->op->name);
    if (b == NULL)
        return;
    s3_allow_origin(c, b->cors); // a page may read why it is refused
    struct policy *policy = policy_for(c, b);
    ret->policy = policy != NULL ? policy_ref(policy) : NULL;
    ret->binds_root = !is_about_policy(c->op->name);
    ret->granted = acl_permits(c, b, ret->action);
    // ACLs and tags of objects are known when the object is: who reads is asked there
    // (s3_check_acl).
    bool tags = b->asks_tags && b->remote == NULL;
    bool later = (s3_asks_later(b) && asks_object(ret->action)) || (tags && asks_tags(ret->action));
    ret->for_everybody = ret->for_everybody || later;
}

const struct call_targets s3_targets = { .account = account_of_call,
                                         .target = target_of_call,
                                         .binds_root = binds_root };

// ---- Questions in the course of a call

// s3:ExistingObjectTag/KEY of an object; NULL: it is none.
static void add_existing_tags(struct arena *a, const BlobObject *o, AccessTarget *t)
{
    if (o == NULL || o->tags.n == 0)
        return;
    AccessValue *values = arena_new(a, AccessValue, o->tags.n);
    Str *texts = arena_new(a, Str, o->tags.n);
    for (size_t i = 0; i < o->tags.n; i++) {
        texts[i] = o->tags.at[i].value;
        values[i] = (AccessValue){ str_cat(a, S("s3:ExistingObjectTag/"), o->tags.at[i].name),
                                   &texts[i], 1 };
    }
    t->context = values;
    t->context_count = o->tags.n;
}

// `o`: what of is known already; may be NULL.
static bool may(struct call *c, Str action, Str bucket, Str key, const BlobObject *o, bool granted,
                Str *ret_text)
{
    struct s3 *s = s3_of(c);
    const struct access_guard *guard = s->env.hub != NULL ? s->env.hub->access : NULL;
    AUTO(bucket) b = s3_bucket_ref(s, bucket);
    *ret_text = S("Access Denied");
    if (b == NULL || guard == NULL || s->env.dev)
        return true;
    bool roots = str_ends(c->principal, S(":root")) && str_eq(c->caller, b->is.owner);
    if (roots && b->policy == NULL)
        return true;
    AccessTarget t = { .action = action,
                       .resource = arn_of(c->arena, bucket, key),
                       .account = b->is.owner,
                       .policy = policy_for(c, b),
                       .binds_root = true,
                       .granted = granted || acl_permits(c, b, action) };
    add_existing_tags(c->arena, o, &t);
    return guard->may(guard->self, c, &t, ret_text);
}

bool s3_may(struct call *c, Str action, Str bucket, Str key, Str *ret_text)
{
    return may(c, action, bucket, key, NULL, false, ret_text);
}

// An object that is not the bucket's owner's: policies of the bucket say nothing about it (User
// Guide, "Bucket policies"), and its owner's are asked, or its list.
static bool may_others(struct call *c, Str owner, Str action, Str resource, bool granted,
                       Str *ret_text)
{
    struct s3 *s = s3_of(c);
    const struct access_guard *guard = s->env.hub != NULL ? s->env.hub->access : NULL;
    AccessTarget t = {
        .action = action, .resource = resource, .account = owner, .granted = granted
    };
    *ret_text = S("Access Denied");
    return guard == NULL || s->env.dev ||
           ((granted || str_eq(c->caller, owner)) && guard->may(guard->self, c, &t, ret_text));
}

Err s3_check_acl(struct call *c, const BlobBucket *bucket, const BlobObject *o, Str action,
                 Str permission)
{
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), bucket->name);
    Str text;
    bool listed =
        permission.p != NULL; // lists do not speak of it, and it is the bucket's to permit
    if (b == NULL || !s3_asks_later(b) || (!listed && !b->asks_tags))
        return OK; // the front has asked
    Str owner = s3_object_owner(b, o->attributes);
    bool ours = !listed || str_eq(owner, b->is.owner);
    Str acl = blob_pair(o->attributes, S("s3-acl"));
    bool granted = listed && b->acls && s3_acl_permits(c, b, acl, permission);
    if (ours ? may(c, action, bucket->name, o->key, o, granted, &text)
             : may_others(c, owner, action, arn_of(c->arena, bucket->name, o->key), granted, &text))
        return OK;
    return call_fail(c, &s3_AccessDenied, "%.*s", FMT(text));
}

// ---- Public policies: an allow for anybody, without a condition

static bool is_anybody(const JsonValue *principal)
{
    if (principal == NULL)
        return false;
    if (principal->kind == JSON_STRING)
        return str_eq(principal->text, S("*"));
    const JsonValue *aws = json_find(principal, S("AWS"));
    if (aws == NULL)
        return false;
    if (aws->kind == JSON_STRING)
        return str_eq(aws->text, S("*"));
    for (size_t i = 0; i < aws->n; i++)
        if (str_eq(aws->items[i].text, S("*")))
            return true;
    return false;
}

static bool is_open(const JsonValue *statement)
{
    return str_eq(json_text(statement, S("Effect")), S("Allow")) &&
           (is_anybody(json_find(statement, S("Principal"))) ||
            json_find(statement, S("NotPrincipal")) != NULL) &&
           json_find(statement, S("Condition")) == NULL;
}

bool s3_policy_is_public(Str document)
{
    AUTO(arena) tmp = arena_open();
    JsonValue *root = NULL;
    if (json_parse(tmp, document, &root).kind != ERR_NONE)
        return true; // what is not understood is not called private
    const JsonValue *statements = json_find(root, S("Statement"));
    if (statements == NULL || statements->kind != JSON_LIST)
        return statements != NULL && is_open(statements);
    for (size_t i = 0; i < statements->n; i++)
        if (is_open(&statements->items[i]))
            return true;
    return false;
}
