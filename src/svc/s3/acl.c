// SPDX-License-Identifier: Apache-2.0
// Access control lists (Amazon S3 User Guide, "Access control list (ACL) overview"). New buckets
// take none (BucketOwnerEnforced), as those of AWS; where they count, a bucket and an object have
// one each: the owner's full control and, by a canned name or grant by grant, what others may.
//
// A list is kept as a text: a canned name, or "grants" and, behind a blank each,
// PERMISSION=GRANTEE, where a grantee is a canonical user id, one of the groups below, or "bucket":
// the owner of the bucket that the object is in. A canned one that grants nothing is not kept.
//
// An object belongs to the account that has written it, if the bucket's ownership is ObjectWriter,
// or BucketOwnerPreferred and it was not written with bucket-owner-full-control (User Guide,
// "Controlling ownership of objects"); else to the bucket's owner.
#include "codec/hash.h"
#include "svc/s3/remote.h"

enum { GRANTS_MAX = 100, ID_CHARS = 64 };

#define GRANTS S("grants")

static const struct {
    Str name, uri;
} groups[] = {
    { S_INIT("all"), S_INIT("http://acs.amazonaws.com/groups/global/AllUsers") },
    { S_INIT("known"), S_INIT("http://acs.amazonaws.com/groups/global/AuthenticatedUsers") },
    { S_INIT("logs"), S_INIT("http://acs.amazonaws.com/groups/s3/LogDelivery") },
};

// What a canned ACL grants besides the owner's full control.
static const struct {
    Str name, grants;
} canned[] = {
    { S_INIT("private"), S_INIT("") },
    { S_INIT("public-read"), S_INIT(" READ=all") },
    { S_INIT("public-read-write"), S_INIT(" READ=all WRITE=all") },
    { S_INIT("authenticated-read"), S_INIT(" READ=known") },
    { S_INIT("bucket-owner-read"), S_INIT(" READ=bucket") },
    { S_INIT("bucket-owner-full-control"), S_INIT(" FULL_CONTROL=bucket") },
    { S_INIT("aws-exec-read"), S_INIT("") },
    { S_INIT("log-delivery-write"), S_INIT(" WRITE=logs READ_ACP=logs") },
};

static const Str permissions[] = { S_INIT("READ"), S_INIT("WRITE"), S_INIT("READ_ACP"),
                                   S_INIT("WRITE_ACP"), S_INIT("FULL_CONTROL") };

// The grants of a text, each behind a blank; absent: it is no list.
static Str grants_of(Str acl)
{
    if (acl.p == NULL)
        return S("");
    if (str_starts(acl, GRANTS))
        return str_skip(acl, GRANTS.n);
    for (size_t i = 0; i < COUNT_OF(canned); i++)
        if (str_eq(canned[i].name, acl))
            return canned[i].grants;
    return (Str){ 0 };
}

static bool next_grant(Str *rest, Str *ret_permission, Str *ret_grantee)
{
    Str one;
    while (rest->n > 0) {
        str_cut(*rest, ' ', &one, rest);
        if (str_cut(one, '=', ret_permission, ret_grantee))
            return true;
    }
    return false;
}

bool s3_acl_is_private(Str acl)
{
    return grants_of(acl).n == 0;
}

Str s3_object_owner(const struct bucket *b, BlobPairs attributes)
{
    Str owner = b->acls ? blob_pair(attributes, S("s3-owner")) : (Str){ 0 };
    return owner.p != NULL ? owner : b->is.owner;
}

bool s3_acl_permits(struct call *c, const struct bucket *b, Str acl, Str permission)
{
    Str rest = grants_of(acl), may, who;
    bool known = c->access_key.n > 0, groups_count = !b->ignore_acls;
    while (next_grant(&rest, &may, &who)) {
        if (!str_eq(may, permission) && !str_eq(may, S("FULL_CONTROL")))
            continue;
        if ((str_eq(who, S("all")) && groups_count) ||
            (str_eq(who, S("known")) && known && groups_count) ||
            (str_eq(who, S("bucket")) && known && str_eq(c->caller, b->is.owner)) ||
            (known && str_eq(who, s3_canonical_id(c->arena, c->caller))))
            return true;
    }
    return false;
}

static bool is_public(Str acl)
{
    Str rest = grants_of(acl), may, who;
    while (next_grant(&rest, &may, &who))
        if (str_eq(who, S("all")) || str_eq(who, S("known")))
            return true;
    return false;
}

// ---- What a request says

static Err bad_argument(struct call *c, const char *name, Str value, const char *text)
{
    call_detail(c, S("ArgumentName"), str_of(name));
    call_detail(c, S("ArgumentValue"), value);
    return call_fail(c, &s3_InvalidArgument, "%s", text);
}

static Err by_mail(struct call *c)
{
    return call_fail(c, &s3_UnresolvableGrantByEmailAddress,
                     "The e-mail address you provided does not match any account on record.");
}

static Err add_id(struct call *c, struct buf *b, Str permission, Str id, const char *name)
{
    unsigned char bytes[ID_CHARS / 2];
    if (id.n != ID_CHARS || !hex_decode(bytes, id))
        return bad_argument(c, name, id, "Invalid id");
    buf_addf(b, " %.*s=%.*s", FMT(permission), FMT(str_lower(c->arena, id)));
    return OK;
}

static Err add_group(struct call *c, struct buf *b, Str permission, Str uri, const char *name)
{
    for (size_t i = 0; i < COUNT_OF(groups); i++)
        if (str_eq(groups[i].uri, uri)) {
            buf_addf(b, " %.*s=%.*s", FMT(permission), FMT(groups[i].name));
            return OK;
        }
    return bad_argument(c, name, uri, "Invalid group uri");
}

// id="...", uri="http://..."
static Err add_header(struct call *c, struct buf *b, Str permission, Str header, const char *name)
{
    for (Str rest = header, one, kind, who; rest.n > 0;) {
        str_cut(rest, ',', &one, &rest);
        if (!str_cut(str_trim(one), '=', &kind, &who))
            return bad_argument(c, name, header, "Argument format not recognized");
        who = s3_unquoted(who);
        kind = str_trim(kind);
        if (str_eq_nocase(kind, S("emailAddress")))
            return by_mail(c);
        if (str_eq_nocase(kind, S("id")))
            TRY(add_id(c, b, permission, who, name));
        else if (str_eq_nocase(kind, S("uri")))
            TRY(add_group(c, b, permission, who, name));
        else
            return bad_argument(c, name, header, "Argument format not recognized");
    }
    return OK;
}

// The grants in headers; *ret_any: there are some.
static Err take_headers(struct call *c, struct buf *b, bool *ret_any)
{
    static const struct {
        const char *name;
        Str permission;
    } known[] = { { "x-amz-grant-read", S_INIT("READ") },
                  { "x-amz-grant-write", S_INIT("WRITE") },
                  { "x-amz-grant-read-acp", S_INIT("READ_ACP") },
                  { "x-amz-grant-write-acp", S_INIT("WRITE_ACP") },
                  { "x-amz-grant-full-control", S_INIT("FULL_CONTROL") } };
    *ret_any = false;
    for (size_t i = 0; c->exchange != NULL && i < COUNT_OF(known); i++) {
        Str header = http_header(c->exchange, str_of(known[i].name));
        if (header.p == NULL)
            continue;
        *ret_any = true;
        TRY(add_header(c, b, known[i].permission, header, known[i].name));
    }
    return OK;
}

static Err malformed(struct call *c)
{
    return call_fail(c, &s3_MalformedACLError, REST_MALFORMED_TEXT);
}

// The grants of a document. That of the owner is his anyway.
static Err take_list(struct call *c, const s3_AccessControlPolicy *list, Str owner, struct buf *b)
{
    Str own = s3_canonical_id(c->arena, owner);
    if (list->owner == NULL || list->owner->id.p == NULL || list->grants.n > GRANTS_MAX)
        return malformed(c);
    if (!str_eq(list->owner->id, own))
        return call_fail(c, &s3_AccessDenied, "Access Denied");
    for (size_t i = 0; i < list->grants.n; i++) {
        const s3_Grantee *g = list->grants.at[i].grantee;
        Str may = list->grants.at[i].permission;
        bool known = false;
        for (size_t k = 0; k < COUNT_OF(permissions); k++)
            known = known || str_eq(permissions[k], may);
        if (g == NULL || !known)
            return malformed(c);
        if (g->email_address.p != NULL)
            return by_mail(c);
        if (g->uri.p != NULL)
            TRY(add_group(c, b, may, g->uri, "CanonicalUser/URI"));
        else if (g->id.p == NULL)
            return malformed(c);
        else if (!str_eq(g->id, own) || !str_eq(may, S("FULL_CONTROL")))
            TRY(add_id(c, b, may, g->id, "CanonicalUser/ID"));
    }
    return OK;
}

// The canned name of grants, if they are those of one.
static Str shortest(struct call *c, Str grants)
{
    for (size_t i = 0; i < COUNT_OF(canned); i++)
        if (str_eq(canned[i].grants, grants))
            return canned[i].name;
    return str_cat(c->arena, GRANTS, grants);
}

// The list that a request gives: a canned name, headers, or a document. Absent: none.
static Err take(struct call *c, Str name, const s3_AccessControlPolicy *list, Str owner, Str *ret)
{
    AUTO_BUF(b);
    bool any;
    *ret = name;
    TRY(take_headers(c, &b, &any));
    if (name.p != NULL && any)
        return call_fail(c, &s3_InvalidRequest,
                         "Specifying both Canned ACLs and Header Grants is not allowed");
    if (list != NULL && (any || name.p != NULL))
        return call_fail(c, &s3_UnexpectedContent, "This request does not support content");
    if (name.p != NULL)
        return grants_of(name).p != NULL && !str_starts(name, GRANTS)
                   ? OK
                   : bad_argument(c, "x-amz-acl", name, "Invalid canned ACL");
    if (list != NULL)
        TRY(take_list(c, list, owner, &b));
    if (list != NULL || any)
        *ret = shortest(c, buf_str(&b));
    return buf_err(&b);
}

// Where lists do not count, only the one that says what holds anyway is taken: by its name, or as a
// document (API Reference, "PutObject").
static Err check(struct call *c, const struct bucket *b, Str name, Str acl)
{
    bool idle = name.p != NULL
                    ? str_eq(name, S("bucket-owner-full-control"))
                    : grants_of(acl).n == 0 || str_eq(acl, S("bucket-owner-full-control"));
    if (!b->acls && !idle)
        return call_fail(c, &s3_AccessControlListNotSupported, "The bucket does not allow ACLs");
    if (b->block_acls && is_public(acl))
        return call_fail(c, &s3_AccessDenied, "Access Denied");
    return OK;
}

static bool is_writers(const struct call *c, const struct bucket *b, Str acl)
{
    return b->acls && !str_eq(c->caller, b->is.owner) &&
           !(b->preferred && str_eq(acl, S("bucket-owner-full-control")));
}

Err s3_take_acl(struct call *c, const void *in, struct attributes *into)
{
    const struct shape *shape = c->op->input;
    return s3_take_acl_called(c, s3_text_of(shape, in, S("Bucket")),
                              s3_text_of(shape, in, S("ACL")), into);
}

Err s3_take_acl_called(struct call *c, Str bucket, Str name, struct attributes *into)
{
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), bucket);
    Str acl;
    if (b == NULL)
        return OK; // gone meanwhile: the store says so
    TRY(take(c, name, NULL, b->is.owner, &acl));
    // Clients that always name one name this one, and their uploads succeed (README).
    bool is_usual = str_eq(name, S("private"));
    TRY(check(c, b, is_usual ? (Str){ 0 } : name, acl));
    bool writers = is_writers(c, b, acl);
    if (writers)
        attributes_add(into, S("s3-owner"), c->caller);
    // What it grants to the bucket's owner means nothing if that is whose the object is.
    if (grants_of(acl).n > 0 && (writers || !str_starts(acl, S("bucket-owner-"))))
        attributes_add(into, S("s3-acl"), acl);
    return OK;
}

Err s3_first_acl(struct call *c, Str name, bool acls, Str *ret)
{
    TRY(take(c, name, NULL, c->account, ret));
    if (!acls && ret->p != NULL && !str_eq(*ret, S("private")))
        return call_fail(c, &s3_InvalidBucketAclWithObjectOwnership,
                         "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced "
                         "setting");
    return OK;
}

// ---- Reading

static s3_Grant grant(struct call *c, Str who, Str permission)
{
    s3_Grantee *g = arena_new(c->arena, s3_Grantee, 1);
    g->type = S("CanonicalUser");
    for (size_t i = 0; i < COUNT_OF(groups); i++)
        if (str_eq(groups[i].name, who)) {
            g->type = S("Group");
            g->uri = groups[i].uri;
        }
    if (g->uri.p == NULL)
        g->id = who;
    return (s3_Grant){ .grantee = g, .permission = permission };
}

static Str acl_document(struct call *c, Str owner, Str bucket_owner, Str acl)
{
    s3_Owner who = { .id = s3_canonical_id(c->arena, owner) };
    s3_AccessControlPolicy p = { .owner = &who };
    Str rest = grants_of(acl), may, grantee;
    size_t max = 1;
    for (size_t i = 0; i < rest.n; i++)
        max += rest.p[i] == ' ';
    p.grants.at = arena_new(c->arena, s3_Grant, max);
    p.grants.set = true;
    p.grants.at[p.grants.n++] = grant(c, who.id, S("FULL_CONTROL"));
    while (next_grant(&rest, &may, &grantee))
        p.grants.at[p.grants.n++] = grant(
            c, str_eq(grantee, S("bucket")) ? s3_canonical_id(c->arena, bucket_owner) : grantee,
            may);
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
    out->body = acl_document(c, b.owner, b.owner, acl);
    return OK;
}

static Err find_there(struct call *c, struct remote *r, Str key, Str version_id, BlobObject *ret)
{
    struct s3_source s = { .key = key, .version_id = version_id };
    Err e = s3_remote_look(c, r, &s);
    *ret = s.object;
    s3_source_done(&s);
    return e;
}

static Err find(struct call *c, const BlobBucket *b, Str key, Str version_id, BlobObject *ret)
{
    BlobSelect which;
    struct remote *r = s3_remote_of(s3_of(c), b->name);
    *ret = (BlobObject){ 0 };
    if (r != NULL)
        return find_there(c, r, key, version_id, ret);
    TRY(s3_select(c, version_id, &which));
    Err e = blob_find(s3_of(c)->blob, c->arena, b, key, which, ret);
    return e.kind != ERR_NONE || ret->is_marker ? s3_found(c, b, key, version_id, e, ret) : OK;
}

static Str owner_of(struct call *c, const BlobBucket *bucket, const BlobObject *o)
{
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), bucket->name);
    return b != NULL ? str_dup(c->arena, s3_object_owner(b, o->attributes)) : bucket->owner;
}

Err s3_GetObjectAcl(struct call *c, const struct s3_GetObjectAcl_in *in,
                    struct s3_GetObjectAcl_out *out)
{
    BlobBucket b;
    BlobObject o;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(find(c, &b, in->key, in->version_id, &o));
    TRY(s3_check_acl(c, &b, &o,
                     in->version_id.p != NULL ? S("s3:GetObjectVersionAcl") : S("s3:GetObjectAcl"),
                     S("READ_ACP")));
    out->body = acl_document(c, owner_of(c, &b, &o), b.owner, blob_pair(o.attributes, S("s3-acl")));
    return OK;
}

// ---- Writing

// What a request to set a list wants.
static Err wanted(struct call *c, Str bucket, Str name, const s3_AccessControlPolicy *list,
                  Str owner, Str *ret)
{
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), bucket);
    TRY(take(c, name, list, owner, ret));
    if (ret->p == NULL)
        return call_fail(c, &s3_MissingSecurityHeader,
                         "Your request was missing a required header");
    return b != NULL ? check(c, b, name, *ret) : OK;
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
    BlobObject o;
    Str acl;
    (void)out;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(find(c, &b, in->key, in->version_id, &o));
    TRY(wanted(c, in->bucket, in->acl, in->access_control_policy, owner_of(c, &b, &o), &acl));
    TRY(s3_check_acl(c, &b, &o,
                     in->version_id.p != NULL ? S("s3:PutObjectVersionAcl") : S("s3:PutObjectAcl"),
                     S("WRITE_ACP")));
    if (s3_remote_of(s3_of(c), in->bucket) != NULL)
        return OK; // it says what holds there anyway
    BlobPair list = { S("s3-acl"), acl };
    Err e = blob_change(s3_of(c)->blob, c->arena, &b, in->key,
                        (BlobSelect){ .which = BLOB_VERSION, .version = o.version },
                        &(BlobChange){ .set = { &list, 1 } }, &o);
    if (e.kind == ERR_NOT_FOUND)
        return s3_no_such_key(c, in->key);
    TRY(s3_store_error(c, &b, e));
    s3_notify(c, &b, "ObjectAcl:Put", &o);
    return OK;
}
