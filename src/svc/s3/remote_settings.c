// SPDX-License-Identifier: Apache-2.0
// Settings of buckets that are elsewhere which only the other side can heed: encryption, retention
// and the ends of objects. A place with a prefix is a part of a bucket that others use, too: of its
// lifecycle rules those for that prefix are this place's; its default encryption and retention are
// kept here and said with every object that is written, as they count for no others of the bucket.
#include "svc/s3/remote.h"

// ---- Of the whole bucket

static Err ask(struct call *c, struct remote *r, Str op_name, const void *in, RemoteReply *ret)
{
    const struct api_op *op = c->op;
    RestOut q = { 0 };
    c->op = s3_api_op(op_name);
    Err e = s3_remote_request(c, r, in, &q);
    c->op = op;
    TRY(e);
    RemoteAsk what = { .request = &q, .body = q.body.p != NULL ? q.body : S(""), .again = true };
    e = s3_remote_ask(r, c->arena, &what, ret);
    return e.kind != ERR_NONE ? s3_remote_unreached(c, r, e) : OK;
}

static Err tell(struct call *c, struct remote *r, const RemoteReply *reply)
{
    return reply->failed ? s3_remote_refused(c, r, reply, (Str){ 0 }) : OK;
}

// All of these answer a document.
static void give_document(struct call *c, void *out, Str xml)
{
    *(Str *)((char *)out + s3_member(c->op->output, S("Body"))->offset) = xml;
    call_header(c, S("Content-Type"), S("application/xml"));
}

static Str kept_as(Str op)
{
    return str_ends(op, S("Encryption")) ? S("encryption") : S("object-lock");
}

// What this side keeps for a place with a prefix; absent: nothing, or there is none.
static Err kept(struct call *c, const struct remote *r, Str *ret)
{
    BlobBucket b;
    *ret = (Str){ 0 };
    if (r->is.prefix.n == 0)
        return OK;
    TRY(s3_bucket(c, r->is.name, (Str){ 0 }, &b));
    return s3_get_document(c, &b, kept_as(c->op->name), ret);
}

Err s3_remote_get_setting(struct call *c, struct remote *r, const void *in, void *out)
{
    RemoteReply reply;
    Str own;
    TRY(kept(c, r, &own));
    if (own.p != NULL) {
        give_document(c, out, own);
        return OK;
    }
    TRY(ask(c, r, c->op->name, in, &reply));
    TRY(tell(c, r, &reply));
    give_document(c, out, reply.head.body);
    return OK;
}

Err s3_remote_put_setting(struct call *c, struct remote *r, const void *in, void *out)
{
    RemoteReply reply;
    (void)out;
    TRY(ask(c, r, c->op->name, in, &reply));
    return tell(c, r, &reply);
}

// ---- Of a part of it

Err s3_remote_put_encryption(struct call *c, struct remote *r, const void *in, void *out)
{
    return r->is.prefix.n > 0 ? s3_PutBucketEncryption(c, in)
                              : s3_remote_put_setting(c, r, in, out);
}

Err s3_remote_delete_encryption(struct call *c, struct remote *r, const void *in, void *out)
{
    return r->is.prefix.n > 0 ? s3_DeleteBucketEncryption(c, in)
                              : s3_remote_put_setting(c, r, in, out);
}

// Nothing is retained there unless the bucket has object lock there.
static Err has_lock_there(struct call *c, struct remote *r)
{
    struct s3_GetObjectLockConfiguration_in in = { .bucket = r->is.name };
    RemoteReply reply;
    TRY(ask(c, r, S("GetObjectLockConfiguration"), &in, &reply));
    if (!reply.failed || !str_eq(reply.error.code, S("ObjectLockConfigurationNotFoundError")))
        return tell(c, r, &reply);
    return call_fail(c, &s3_InvalidBucketState,
                     "Object Lock configuration cannot be enabled on existing buckets");
}

Err s3_remote_put_lock(struct call *c, struct remote *r, const void *in, void *out)
{
    if (r->is.prefix.n == 0)
        return s3_remote_put_setting(c, r, in, out);
    TRY(has_lock_there(c, r));
    return s3_keep_lock(c, in);
}

// Such a bucket takes no lists, and so has one kind of owner.
Err s3_remote_put_ownership(struct call *c, struct remote *r, const void *given, void *out)
{
    const struct s3_PutBucketOwnershipControls_in *in = given;
    const s3_OwnershipControlsRules *rules = &in->ownership_controls->rules;
    (void)r;
    (void)out;
    if (rules->n != 1 || str_eq(rules->at[0].object_ownership, S("BucketOwnerEnforced")))
        return s3_PutBucketOwnershipControls(c, in);
    return call_fail(c, &rest_NotImplemented,
                     "A header you provided implies functionality that is not implemented");
}

static bool has_customer_key(const struct call *c)
{
    static const Str name = S_INIT("x-amz-server-side-encryption-customer-algorithm");
    return c->exchange != NULL && http_header(c->exchange, name).p != NULL;
}

static Str *text_of(const struct shape *shape, void *in, const char *name)
{
    return (Str *)(void *)((char *)in + s3_member(shape, str_of(name))->offset);
}

static Err default_encryption(struct call *c, const BlobBucket *b, void *in)
{
    const struct shape *shape = c->op->input;
    Str algorithm = { 0 }, key = { 0 };
    if (text_of(shape, in, "ServerSideEncryption")->p != NULL || has_customer_key(c))
        return OK;
    TRY(s3_default_encryption(c, b, &algorithm, &key));
    if (algorithm.p == NULL)
        return OK;
    *text_of(shape, in, "ServerSideEncryption") = algorithm;
    if (key.p != NULL)
        *text_of(shape, in, "SSEKMSKeyId") = key;
    return OK;
}

static Err default_retention(struct call *c, const BlobBucket *b, void *in)
{
    const struct shape *shape = c->op->input;
    const struct member *until = s3_member(shape, S("ObjectLockRetainUntilDate"));
    Str *mode = text_of(shape, in, "ObjectLockMode");
    bool *dated = (bool *)in + until->has_offset;
    BlobRetention r = { 0 };
    if (mode->p != NULL || *dated)
        return OK;
    TRY(s3_default_retention(c, b, &r));
    if (r.mode == BLOB_FREE)
        return OK;
    *mode = r.mode == BLOB_COMPLIANCE ? S("COMPLIANCE") : S("GOVERNANCE");
    *dated = true;
    *(int64_t *)(void *)((char *)in + until->offset) = r.until_ns;
    return OK;
}

Err s3_remote_defaults(struct call *c, struct remote *r, void *in)
{
    Str op = c->op->name;
    BlobBucket b;
    if (r->is.prefix.n == 0 || !(str_eq(op, S("PutObject")) || str_eq(op, S("CopyObject")) ||
                                 str_eq(op, S("CreateMultipartUpload"))))
        return OK;
    TRY(s3_bucket(c, r->is.name, (Str){ 0 }, &b));
    TRY(default_encryption(c, &b, in));
    return default_retention(c, &b, in);
}

// ---- Lifecycle

static const struct shape *lifecycle_shape(void)
{
    return s3_member(s3_api_op(S("PutBucketLifecycleConfiguration"))->input,
                     S("LifecycleConfiguration"))
        ->shape;
}

static Str prefix_of(const s3_LifecycleRule *rule)
{
    Str prefix = rule->prefix;
    if (rule->filter != NULL)
        prefix = rule->filter->and != NULL ? rule->filter->and->prefix : rule->filter->prefix;
    return prefix.p != NULL ? prefix : S("");
}

// A filter has one condition, or several below And.
static void set_prefix(struct arena *a, s3_LifecycleRule *rule, Str prefix)
{
    s3_LifecycleRuleAndOperator *all = arena_new(a, s3_LifecycleRuleAndOperator, 1);
    s3_LifecycleRuleFilter *filter = arena_new(a, s3_LifecycleRuleFilter, 1);
    if (rule->filter == NULL && rule->prefix.p != NULL) {
        rule->prefix = prefix;
        return;
    }
    if (rule->filter != NULL)
        *filter = *rule->filter;
    if (filter->and != NULL) {
        *all = *filter->and;
    } else {
        all->has_object_size_greater_than = filter->has_object_size_greater_than;
        all->object_size_greater_than = filter->object_size_greater_than;
        all->has_object_size_less_than = filter->has_object_size_less_than;
        all->object_size_less_than = filter->object_size_less_than;
        all->tags.at = arena_new(a, s3_Tag, 1);
        all->tags.n = filter->tag != NULL;
        if (filter->tag != NULL)
            all->tags.at[0] = *filter->tag;
        all->tags.set = all->tags.n > 0;
    }
    size_t others =
        all->tags.n + all->has_object_size_greater_than + all->has_object_size_less_than;
    all->prefix = prefix.n > 0 ? prefix : (Str){ 0 };
    *filter = (s3_LifecycleRuleFilter){ 0 };
    rule->filter = filter;
    if (others == 0) {
        filter->prefix = prefix;
    } else if (others > 1 || prefix.n > 0) {
        filter->and = all;
    } else {
        filter->tag = all->tags.n > 0 ? &all->tags.at[0] : NULL;
        filter->has_object_size_greater_than = all->has_object_size_greater_than;
        filter->object_size_greater_than = all->object_size_greater_than;
        filter->has_object_size_less_than = all->has_object_size_less_than;
        filter->object_size_less_than = all->object_size_less_than;
    }
}

typedef struct Rules {
    s3_BucketLifecycleConfiguration ours, others; // those of other prefixes
} Rules;

static void add(s3_LifecycleRules *to, const s3_LifecycleRule *rule)
{
    to->at[to->n++] = *rule;
    to->set = true;
}

// The rules that are there; `more`: how many may be added to the others.
static Err rules_there(struct call *c, struct remote *r, size_t more, Rules *ret)
{
    struct s3_GetBucketLifecycleConfiguration_in in = { .bucket = r->is.name };
    s3_BucketLifecycleConfiguration all = { 0 };
    RemoteReply reply;
    TRY(ask(c, r, S("GetBucketLifecycleConfiguration"), &in, &reply));
    if (!reply.failed || !str_eq(reply.error.code, S("NoSuchLifecycleConfiguration"))) {
        TRY(tell(c, r, &reply));
        Err e = rest_read_document(c->arena, lifecycle_shape(), reply.head.body, &all);
        if (e.kind != ERR_NONE)
            return s3_remote_unreached(c, r, e);
    }
    *ret = (Rules){ 0 };
    ret->ours.rules.at = arena_new(c->arena, s3_LifecycleRule, all.rules.n + 1);
    ret->others.rules.at = arena_new(c->arena, s3_LifecycleRule, all.rules.n + more + 1);
    for (size_t i = 0; i < all.rules.n; i++)
        add(str_starts(prefix_of(&all.rules.at[i]), r->is.prefix) ? &ret->ours.rules
                                                                  : &ret->others.rules,
            &all.rules.at[i]);
    return OK;
}

static Err put_rules(struct call *c, struct remote *r, const s3_BucketLifecycleConfiguration *rules)
{
    struct s3_PutBucketLifecycleConfiguration_in put = { .bucket = r->is.name,
                                                         .lifecycle_configuration = rules };
    struct s3_DeleteBucketLifecycle_in none = { .bucket = r->is.name };
    RemoteReply reply;
    TRY(rules->rules.n > 0 ? ask(c, r, S("PutBucketLifecycleConfiguration"), &put, &reply)
                           : ask(c, r, S("DeleteBucketLifecycle"), &none, &reply));
    return tell(c, r, &reply);
}

Err s3_remote_get_lifecycle(struct call *c, struct remote *r, const void *in, void *out)
{
    Rules rules;
    if (r->is.prefix.n == 0)
        return s3_remote_get_setting(c, r, in, out);
    TRY(rules_there(c, r, 0, &rules));
    if (rules.ours.rules.n == 0)
        return call_fail(c, &s3_NoSuchLifecycleConfiguration,
                         "The lifecycle configuration does not exist");
    for (size_t i = 0; i < rules.ours.rules.n; i++) {
        s3_LifecycleRule *rule = &rules.ours.rules.at[i];
        set_prefix(c->arena, rule, str_skip(prefix_of(rule), r->is.prefix.n));
    }
    give_document(c, out,
                  s3_xml_document(c, S("LifecycleConfiguration"), lifecycle_shape(), &rules.ours));
    return OK;
}

Err s3_remote_put_lifecycle(struct call *c, struct remote *r, const void *given, void *out)
{
    const struct s3_PutBucketLifecycleConfiguration_in *in = given;
    const s3_BucketLifecycleConfiguration *wanted = in->lifecycle_configuration;
    Rules rules;
    if (r->is.prefix.n == 0)
        return s3_remote_put_setting(c, r, in, out);
    if (wanted == NULL || wanted->rules.n == 0)
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    if (str_eq(in->transition_default_minimum_object_size,
               S3_MOVES_VARY)) // of the whole bucket there
        return call_fail(c, &rest_NotImplemented,
                         "A header you provided implies functionality that is not implemented");
    TRY(rules_there(c, r, wanted->rules.n, &rules));
    for (size_t i = 0; i < wanted->rules.n; i++) {
        s3_LifecycleRule rule = wanted->rules.at[i];
        set_prefix(c->arena, &rule, str_cat(c->arena, r->is.prefix, prefix_of(&rule)));
        add(&rules.others.rules, &rule);
    }
    return put_rules(c, r, &rules.others);
}

Err s3_remote_delete_lifecycle(struct call *c, struct remote *r, const void *in, void *out)
{
    Rules rules;
    (void)in;
    (void)out;
    TRY(rules_there(c, r, 0, &rules));
    if (r->is.prefix.n == 0)
        rules.others = (s3_BucketLifecycleConfiguration){ 0 };
    return put_rules(c, r, &rules.others);
}
