// SPDX-License-Identifier: Apache-2.0
// Deleting: one object, or a thousand in one commit.
#include "svc/s3/s3.h"

static void give_result(struct call *c, const BlobDelete *d, bool *marker, bool *has_marker,
                        Str *version)
{
    BlobObject o = { .version = d->version, .is_null = d->is_null };
    if (d->made_marker || d->removed_marker) {
        *marker = *has_marker = true;
        *version = s3_version_text(c->arena, &o);
    } else if (d->which.which != BLOB_LATEST) {
        *version = s3_version_text(c->arena, &o);
    }
}

static void tell(struct call *c, const BlobBucket *b, const BlobDelete *d)
{
    BlobObject o = { .key = d->key, .version = d->version, .is_null = d->is_null };
    if (d->made_marker)
        s3_notify(c, b, "ObjectRemoved:DeleteMarkerCreated", &o);
    else if (d->removed || d->removed_marker)
        s3_notify(c, b, "ObjectRemoved:Delete", &o);
}

static bool may_bypass(struct call *c, Str bucket, Str key, bool wanted)
{
    Str text;
    return wanted && s3_may(c, S("s3:BypassGovernanceRetention"), bucket, key, &text);
}

static Err locked(struct call *c)
{
    return call_fail(c, &s3_AccessDenied, "Access Denied because object protected by object lock.");
}

Err s3_DeleteObject(struct call *c, const struct s3_DeleteObject_in *in,
                    struct s3_DeleteObject_out *out)
{
    BlobBucket b;
    BlobDelete d = { .key = in->key };
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(s3_check_key(c, in->key));
    TRY(s3_select(c, in->version_id, &d.which));
    if (in->version_id.p != NULL && s3_has_mfa_delete(c, in->bucket))
        TRY(s3_check_mfa(c, &b));
    if (in->if_match.p != NULL)
        d.condition.if_etag = s3_unquoted(in->if_match);
    d.bypass = may_bypass(c, in->bucket, in->key,
                          in->has_bypass_governance_retention && in->bypass_governance_retention);
    TRY(s3_store_error(c, &b, blob_delete(s3_of(c)->blob, &b, &d, 1)));
    if (d.result.kind == ERR_DENIED)
        return locked(c);
    TRY(s3_store_error(c, &b, s3_condition_failed(c, d.result, in->key, &d.condition)));
    if (in->version_id.p != NULL) { // said again, even of one that never was
        out->version_id = in->version_id;
        out->delete_marker = out->has_delete_marker = d.removed_marker;
    } else if (b.versioning != BLOB_UNVERSIONED) {
        give_result(c, &d, &out->delete_marker, &out->has_delete_marker, &out->version_id);
    }
    tell(c, &b, &d);
    return OK;
}

// ---- Many

static void add_error(struct call *c, struct s3_DeleteObjects_out *out,
                      const s3_ObjectIdentifier *id, const char *code, const char *text)
{
    (void)c;
    out->errors.at[out->errors.n++] = (s3_Error){
        .key = id->key, .version_id = id->version_id, .code = str_of(code), .message = str_of(text)
    };
}

// Whether it is to be tried; else its error has been written.
static bool prepare(struct call *c, const struct s3_DeleteObjects_in *in,
                    const s3_ObjectIdentifier *id, BlobDelete *d, struct s3_DeleteObjects_out *out)
{
    Str text;
    *d = (BlobDelete){ .key = id->key };
    Str action = id->version_id.p != NULL ? S("s3:DeleteObjectVersion") : S("s3:DeleteObject");
    if (!s3_may(c, action, in->bucket, id->key, &text)) {
        add_error(c, out, id, "AccessDenied", "Access Denied");
        return false;
    }
    if (id->key.n == 0 || id->key.n > BLOB_KEY_BYTES_MAX) {
        add_error(c, out, id, id->key.n == 0 ? "UserKeyMustBeSpecified" : "KeyTooLongError",
                  id->key.n == 0 ? "The key must be specified" : "Your key is too long");
        return false;
    }
    struct call own = *c; // so that a version that is none is this key's error alone
    own.error = NULL;
    own.details = NULL;
    if (s3_select(&own, id->version_id, &d->which).kind != ERR_NONE) {
        add_error(c, out, id, "NoSuchVersion", "Invalid version id specified");
        return false;
    }
    if (id->e_tag.p != NULL)
        d->condition.if_etag = s3_unquoted(id->e_tag);
    d->bypass = may_bypass(c, in->bucket, id->key,
                           in->has_bypass_governance_retention && in->bypass_governance_retention);
    return true;
}

static void add_result(struct call *c, const BlobBucket *b, const s3_ObjectIdentifier *id,
                       const BlobDelete *d, bool quiet, struct s3_DeleteObjects_out *out)
{
    if (d->result.kind == ERR_DENIED) {
        add_error(c, out, id, "AccessDenied",
                  "Access Denied because object protected by object lock.");
        return;
    }
    if (d->result.kind == ERR_BUSY) {
        add_error(c, out, id, "PreconditionFailed",
                  "At least one of the pre-conditions you specified did not hold");
        return;
    }
    if (d->result.kind == ERR_NOT_FOUND) {
        add_error(c, out, id, "NoSuchKey", "The specified key does not exist.");
        return;
    }
    if (d->result.kind != ERR_NONE) {
        add_error(c, out, id, "InternalError",
                  "We encountered an internal error. Please try again.");
        return;
    }
    tell(c, b, d);
    if (quiet)
        return;
    s3_DeletedObject *r = &out->deleted.at[out->deleted.n++];
    Str version = { 0 };
    *r = (s3_DeletedObject){ .key = id->key, .version_id = id->version_id };
    if (b->versioning == BLOB_UNVERSIONED)
        return;
    give_result(c, d, &r->delete_marker, &r->has_delete_marker, &version);
    if (r->delete_marker)
        r->delete_marker_version_id = version;
}

// All of the request fails where a code is missing, or is wrong (API Reference, "DeleteObjects").
static Err check_mfa(struct call *c, const BlobBucket *b, const s3_ObjectIdentifierList *ids)
{
    bool needed = c->exchange != NULL && http_header(c->exchange, S("x-amz-mfa")).p != NULL;
    for (size_t i = 0; i < ids->n; i++)
        needed = needed || ids->at[i].version_id.p != NULL;
    return needed && s3_has_mfa_delete(c, b->name) ? s3_check_mfa(c, b) : OK;
}

Err s3_DeleteObjects(struct call *c, const struct s3_DeleteObjects_in *in,
                     struct s3_DeleteObjects_out *out)
{
    const s3_ObjectIdentifierList *ids = &in->delete->objects;
    bool quiet = in->delete->has_quiet && in->delete->quiet;
    ChecksumKind kind;
    BlobBucket b;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    if (c->body != NULL && !c->body->has_md5 && !body_chosen(c, &kind))
        return call_fail(
            c, &s3_InvalidRequest,
            "Missing required header for this request: Content-MD5 OR x-amz-checksum-*");
    if (ids->n == 0 || ids->n > S3_DELETE_MAX)
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    TRY(check_mfa(c, &b, ids));
    BlobDelete *deletes = arena_new(c->arena, BlobDelete, ids->n);
    const s3_ObjectIdentifier **which = arena_new(c->arena, const s3_ObjectIdentifier *, ids->n);
    size_t n = 0;
    out->errors.at = arena_new(c->arena, s3_Error, ids->n);
    out->deleted.at = arena_new(c->arena, s3_DeletedObject, ids->n);
    out->errors.set = out->deleted.set = true;
    for (size_t i = 0; i < ids->n; i++)
        if (prepare(c, in, &ids->at[i], &deletes[n], out))
            which[n++] = &ids->at[i];
    if (n > 0)
        TRY(s3_store_error(c, &b, blob_delete(s3_of(c)->blob, &b, deletes, n)));
    for (size_t i = 0; i < n; i++)
        add_result(c, &b, which[i], &deletes[i], quiet, out);
    return OK;
}
