// SPDX-License-Identifier: Apache-2.0
// Access control lists, as far as they are canned: a bucket or an object has the owner's full
// control and, by its canned name, what groups may. Lists that are none of these are refused. New
// buckets take none at all (BucketOwnerEnforced), as those of AWS.
#include "svc/s3/s3.h"

// What a canned ACL grants besides the owner's full control.
static const struct {
    Str name;
    bool all_read, all_write, known_read;
} canned[] = {
    { S_INIT("private"), false, false, false },
    { S_INIT("public-read"), true, false, false },
    { S_INIT("public-read-write"), true, true, false },
    { S_INIT("authenticated-read"), false, false, true },
    { S_INIT("bucket-owner-read"), false, false, false },
    { S_INIT("bucket-owner-full-control"), false, false, false },
    { S_INIT("aws-exec-read"), false, false, false },
    { S_INIT("log-delivery-write"), false, false, false },
};

static bool is_canned(Str name)
{
    for (size_t i = 0; i < COUNT_OF(canned); i++)
        if (str_eq(canned[i].name, name))
            return true;
    return false;
}

static Err not_supported(struct call *c)
{
    return call_fail(c, &s3_AccessControlListNotSupported, "The bucket does not allow ACLs");
}

static bool is_owners(Str acl)
{
    return str_eq(acl, S("private")) || str_eq(acl, S("bucket-owner-full-control"));
}

// Grants one by one, in headers.
static bool has_grants(const struct call *c)
{
    if (c->exchange == NULL)
        return false;
    for (size_t i = 0; i < c->exchange->header_count; i++)
        if (str_starts(c->exchange->headers[i].name, S("x-amz-grant-")))
            return true;
    return false;
}

static Err check(struct call *c, const struct bucket *b, Str acl)
{
    if (acl.p != NULL && !is_canned(acl)) {
        call_detail(c, S("ArgumentName"), S("x-amz-acl"));
        call_detail(c, S("ArgumentValue"), acl);
        return call_fail(c, &s3_InvalidArgument, "Invalid canned ACL");
    }
    if (!b->acls && (has_grants(c) || (acl.p != NULL && !is_owners(acl))))
        return not_supported(c);
    if (has_grants(c))
        return call_fail(c, &s3_NotImplemented,
                         "A header you provided implies functionality that is not implemented");
    if (b->block_acls && (str_starts(acl, S("public-")) || str_eq(acl, S("authenticated-read"))))
        return call_fail(c, &s3_AccessDenied, "Access Denied");
    return OK;
}

Err s3_take_acl(struct call *c, const void *in, struct attributes *into)
{
    Str acl = s3_text_of(c->op->input, in, S("ACL"));
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), s3_text_of(c->op->input, in, S("Bucket")));
    if (b == NULL)
        return OK; // gone meanwhile: the store says so
    TRY(check(c, b, acl));
    if (acl.p != NULL && !is_owners(acl))
        attributes_add(into, S("s3-acl"), acl);
    return OK;
}

// ---- Reading

static s3_Grant grant(struct call *c, const char *type, Str id, Str uri, const char *permission)
{
    s3_Grantee *g = arena_new(c->arena, s3_Grantee, 1);
    g->type = str_of(type);
    g->id = id;
    g->uri = uri;
    return (s3_Grant){ .grantee = g, .permission = str_of(permission) };
}

static Str acl_document(struct call *c, Str owner, Str acl)
{
    enum { GRANTS_MAX = 4 };
    s3_Owner who = { .id = s3_canonical_id(c->arena, owner) };
    s3_AccessControlPolicy p = { .owner = &who };
    p.grants.at = arena_new(c->arena, s3_Grant, GRANTS_MAX);
    p.grants.set = true;
    Str none = { 0 };
    p.grants.at[p.grants.n++] = grant(c, "CanonicalUser", who.id, none, "FULL_CONTROL");
    for (size_t i = 0; i < COUNT_OF(canned); i++) {
        if (!str_eq(canned[i].name, acl))
            continue;
        if (canned[i].all_read)
            p.grants.at[p.grants.n++] = grant(c, "Group", none, S3_EVERYBODY, "READ");
        if (canned[i].all_write)
            p.grants.at[p.grants.n++] = grant(c, "Group", none, S3_EVERYBODY, "WRITE");
        if (canned[i].known_read)
            p.grants.at[p.grants.n++] = grant(c, "Group", none, S3_AUTHENTICATED, "READ");
    }
    const struct member *m =
        s3_member(s3_api_op(S("PutBucketAcl"))->input, S("AccessControlPolicy"));
    call_header(c, S("Content-Type"), S("application/xml"));
    return s3_xml_document(c, S("AccessControlPolicy"), m->shape, &p);
}

Err s3_GetBucketAcl(struct call *c, const struct s3_GetBucketAcl_in *in,
                    struct s3_GetBucketAcl_out *out)
{
    BlobBucket b;
    Str acl;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(s3_get_document(c, &b, S("acl"), &acl));
    out->body = acl_document(c, b.owner, acl);
    return OK;
}

Err s3_GetObjectAcl(struct call *c, const struct s3_GetObjectAcl_in *in,
                    struct s3_GetObjectAcl_out *out)
{
    BlobBucket b;
    BlobSelect which;
    BlobObject o = { 0 };
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(s3_select(c, in->version_id, &which));
    Err e = blob_find(s3_of(c)->blob, c->arena, &b, in->key, which, &o);
    if (e.kind != ERR_NONE || o.is_marker)
        return s3_found(c, &b, in->key, in->version_id, e, &o);
    out->body = acl_document(c, b.owner, blob_pair(o.attributes, S("s3-acl")));
    return OK;
}

// ---- Writing

// The canned ACL that a list is; absent: none.
static Str canned_of(struct call *c, const s3_AccessControlPolicy *p, Str owner)
{
    bool all_read = false, all_write = false, known_read = false, full = false;
    Str own = s3_canonical_id(c->arena, owner);
    for (size_t i = 0; i < p->grants.n; i++) {
        const s3_Grantee *g = p->grants.at[i].grantee;
        Str may = p->grants.at[i].permission;
        if (g == NULL)
            return (Str){ 0 };
        if (str_eq(g->id, own) && str_eq(may, S("FULL_CONTROL")))
            full = true;
        else if (str_eq(g->uri, S3_EVERYBODY) && str_eq(may, S("READ")))
            all_read = true;
        else if (str_eq(g->uri, S3_EVERYBODY) && str_eq(may, S("WRITE")))
            all_write = true;
        else if (str_eq(g->uri, S3_AUTHENTICATED) && str_eq(may, S("READ")))
            known_read = true;
        else
            return (Str){ 0 };
    }
    for (size_t i = 0; full && i < COUNT_OF(canned); i++)
        if (canned[i].all_read == all_read && canned[i].all_write == all_write &&
            canned[i].known_read == known_read)
            return canned[i].name;
    return (Str){ 0 };
}

// What a request to set an ACL wants: a header or a list.
static Err wanted(struct call *c, Str bucket, Str header, const s3_AccessControlPolicy *list,
                  Str owner, Str *ret)
{
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), bucket);
    *ret = header;
    if (header.p == NULL && list == NULL && !has_grants(c))
        return call_fail(c, &s3_MissingSecurityHeader,
                         "Your request was missing a required header");
    if (header.p == NULL && list != NULL) {
        *ret = canned_of(c, list, owner);
        if (ret->p == NULL)
            return b != NULL && !b->acls
                       ? not_supported(c)
                       : call_fail(c, &s3_NotImplemented,
                                   "Access control lists that are none of the canned ones are not "
                                   "implemented");
    }
    return b != NULL ? check(c, b, *ret) : OK;
}

Err s3_PutBucketAcl(struct call *c, const struct s3_PutBucketAcl_in *in)
{
    struct s3 *s = s3_of(c);
    BlobBucket b;
    Str acl;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(wanted(c, in->bucket, in->acl, in->access_control_policy, b.owner, &acl));
    TRY(s3_store_error(c, &b, blob_bucket_put_document(s->blob, &b, S("acl"), acl)));
    return s3_bucket_reload(s, in->bucket);
}

Err s3_PutObjectAcl(struct call *c, const struct s3_PutObjectAcl_in *in,
                    struct s3_PutObjectAcl_out *out)
{
    BlobBucket b;
    BlobSelect which;
    BlobObject o = { 0 };
    Str acl;
    (void)out;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(wanted(c, in->bucket, in->acl, in->access_control_policy, b.owner, &acl));
    TRY(s3_select(c, in->version_id, &which));
    Err e = blob_find(s3_of(c)->blob, c->arena, &b, in->key, which, &o);
    if (e.kind != ERR_NONE || o.is_marker)
        return s3_found(c, &b, in->key, in->version_id, e, &o);
    struct attributes attributes = { .arena = c->arena };
    for (size_t i = 0; i < o.attributes.n; i++)
        attributes_add(&attributes, o.attributes.at[i].name, o.attributes.at[i].value);
    attributes_set(&attributes, S("s3-acl"), acl);
    BlobPairs pairs = attributes_pairs(&attributes);
    e = blob_change(s3_of(c)->blob, c->arena, &b, in->key,
                    (BlobSelect){ .which = BLOB_VERSION, .version = o.version },
                    &(BlobChange){ .attributes = &pairs }, &o);
    if (e.kind == ERR_NOT_FOUND)
        return s3_no_such_key(c, in->key);
    TRY(s3_store_error(c, &b, e));
    s3_notify(c, &b, "ObjectAcl:Put", &o);
    return OK;
}
