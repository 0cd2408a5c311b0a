// SPDX-License-Identifier: Apache-2.0
// Encryption at rest. Each object that is encrypted has a data key of its own, made and wrapped by
// the key service: by the account's key for S3 (SSE-S3, AES256) or by a key that the request or the
// bucket names (SSE-KMS). The wrapped form is kept with the object.
#include "base/time.h"
#include "hub/hub.h"
#include "svc/s3/s3.h"

#define MANAGED_KEY S("alias/aws/s3")

static const struct hub_keys *keys_of(const struct call *c)
{
    const struct s3 *s = c->state;
    return s->env.hub != NULL ? s->env.hub->keys : NULL;
}

static Err refused(struct call *c, const HubKeyAnswer *answer)
{
    switch (answer->fault) {
    case HUB_KEY_NOT_FOUND:
        return call_fail(c, &s3_KmsNotFound, "%.*s", FMT(answer->text));
    case HUB_KEY_DISABLED:
        return call_fail(c, &s3_KmsDisabled, "%.*s", FMT(answer->text));
    case HUB_KEY_PENDING_DELETION:
        return call_fail(c, &s3_KmsInvalidState, "%.*s", FMT(answer->text));
    case HUB_KEY_DENIED:
        return call_fail(c, &s3_AccessDenied, "%.*s", FMT(answer->text));
    default:
        return fail(ERR_CORRUPT, "the wrapped data key of an object is damaged");
    }
}

Err s3_default_encryption(struct call *c, const BlobBucket *bucket, Str *ret_algorithm,
                          Str *ret_key)
{
    s3_ServerSideEncryptionConfiguration e = { 0 };
    Str xml;
    TRY(s3_get_document(c, bucket, S("encryption"), &xml));
    if (xml.p == NULL)
        return OK;
    const struct member *m = s3_member(s3_api_op(S("PutBucketEncryption"))->input,
                                       S("ServerSideEncryptionConfiguration"));
    TRY(s3_decode_document(c, m->shape, xml, &e));
    const s3_ServerSideEncryptionByDefault *d =
        e.rules.n > 0 ? e.rules.at[0].apply_server_side_encryption_by_default : NULL;
    if (d != NULL) {
        *ret_algorithm = d->sse_algorithm;
        *ret_key = d->kms_master_key_id;
    }
    return OK;
}

Err s3_seal_with(struct call *c, const BlobBucket *bucket, Str algorithm, Str key, Str context,
                 struct attributes *into, unsigned char ret_key[BLOB_SEAL_BYTES], bool *ret_sealed)
{
    const struct hub_keys *keys = keys_of(c);
    HubKeyAnswer answer = { 0 };
    Str arn, wrapped;
    *ret_sealed = false;
    if (algorithm.p == NULL && key.p != NULL)
        return call_fail(c, &s3_InvalidArgument,
                         "Server Side Encryption with KMS managed key requires HTTP header "
                         "x-amz-server-side-encryption : aws:kms");
    if (algorithm.p == NULL)
        TRY(s3_default_encryption(c, bucket, &algorithm, &key));
    if (algorithm.p == NULL || (keys == NULL && str_eq(algorithm, S("AES256"))))
        return OK;
    bool kms = str_eq(algorithm, S("aws:kms"));
    if ((!kms && !str_eq(algorithm, S("AES256"))) || keys == NULL)
        return call_fail(c, &s3_InvalidArgument,
                         "The encryption method specified is not supported");
    Str name = kms && key.n > 0 ? key : MANAGED_KEY;
    TRY(keys->find(keys->self, c, name, &arn, &answer));
    if (answer.fault != HUB_KEY_GOOD)
        return refused(c, &answer);
    keys->make(keys->self, c, arn, S(""), ret_key, &wrapped, &answer);
    if (answer.fault != HUB_KEY_GOOD)
        return refused(c, &answer);
    attributes_add(into, S("x-amz-server-side-encryption"), algorithm);
    attributes_add(into, S("s3-key"), arn);
    attributes_add(into, S("s3-wrapped"), wrapped);
    if (kms)
        attributes_add(into, S("x-amz-server-side-encryption-aws-kms-key-id"), arn);
    if (kms && context.p != NULL)
        attributes_add(into, S("x-amz-server-side-encryption-context"), context);
    *ret_sealed = true;
    return OK;
}

// With a key of the customer, if the request gives one.
static Err seal_for_customer(struct call *c, Str algorithm, struct attributes *into,
                             unsigned char ret_key[BLOB_SEAL_BYTES], bool *ret_sealed)
{
    unsigned char key[BLOB_SEAL_BYTES];
    TRY(s3_customer_key(c, false, key, ret_sealed));
    if (!*ret_sealed)
        return OK;
    Err e = algorithm.p == NULL
                ? s3_customer_wrap(c, key, into, ret_key)
                : call_fail(c, &s3_InvalidArgument,
                            "Server Side Encryption with Customer provided key is incompatible "
                            "with the encryption method specified");
    explicit_bzero(key, sizeof key);
    return e;
}

Err s3_seal_new(struct call *c, const BlobBucket *bucket, const void *in, struct attributes *into,
                unsigned char ret_key[BLOB_SEAL_BYTES], bool *ret_sealed)
{
    const struct shape *shape = c->op->input;
    TRY(seal_for_customer(c, s3_text_of(shape, in, S("ServerSideEncryption")), into, ret_key,
                          ret_sealed));
    if (*ret_sealed)
        return OK;
    return s3_seal_with(c, bucket, s3_text_of(shape, in, S("ServerSideEncryption")),
                        s3_text_of(shape, in, S("SSEKMSKeyId")),
                        s3_text_of(shape, in, S("SSEKMSEncryptionContext")), into, ret_key,
                        ret_sealed);
}

Err s3_unseal(struct call *c, BlobPairs attributes, bool of_source,
              unsigned char ret_key[BLOB_SEAL_BYTES])
{
    const struct hub_keys *keys = keys_of(c);
    HubKeyAnswer answer = { 0 };
    TRY(s3_customer_check(c, attributes, of_source, ret_key));
    if (s3_is_customers(attributes))
        return OK;
    if (keys == NULL)
        return fail(ERR_NOT_FOUND, "there is no service that knows keys");
    keys->unwrap(keys->self, c, blob_pair(attributes, S("s3-key")), S(""),
                 blob_pair(attributes, S("s3-wrapped")), ret_key, &answer);
    return answer.fault == HUB_KEY_GOOD ? OK : refused(c, &answer);
}

Err s3_seal_as(struct call *c, BlobPairs source, struct attributes *into,
               unsigned char ret_key[BLOB_SEAL_BYTES], bool *ret_same)
{
    Str key = blob_pair(attributes_pairs(into), S("s3-key"));
    *ret_same = key.p != NULL && str_eq(key, blob_pair(source, S("s3-key")));
    if (!*ret_same)
        return OK;
    TRY(s3_unseal(c, source, true, ret_key));
    attributes_set(into, S("s3-wrapped"), blob_pair(source, S("s3-wrapped")));
    return OK;
}

// ---- Objects, found and opened

// A delete marker is said to be one: by its version a method is not allowed for it, else the key is
// not there.
static Err marker_found(struct call *c, const BlobBucket *bucket, Str key, Str version_id,
                        const BlobObject *o)
{
    (void)bucket;
    call_header(c, S("x-amz-delete-marker"), S("true"));
    call_header(c, S("x-amz-version-id"), s3_version_text(c->arena, o));
    if (version_id.p == NULL)
        return s3_no_such_key(c, key);
    call_header(c, S("Last-Modified"), time_http(c->arena, o->modified_ns));
    call_header(c, S("Allow"), S("DELETE"));
    call_detail(c, S("Method"), c->exchange != NULL ? c->exchange->method : S("GET"));
    call_detail(c, S("ResourceType"), S("DeleteMarker"));
    return call_fail(c, &s3_MethodNotAllowed,
                     "The specified method is not allowed against this resource.");
}

// Whoever may not list is not told what is not there (API Reference, "GetObject", "HeadObject").
static bool may_know(struct call *c, const BlobBucket *bucket)
{
    Str text;
    bool reads = str_eq(c->op->name, S("GetObject")) || str_eq(c->op->name, S("HeadObject")) ||
                 str_eq(c->op->name, S("GetObjectAttributes"));
    return !reads || s3_may(c, S("s3:ListBucket"), bucket->name, (Str){ 0 }, &text);
}

Err s3_found(struct call *c, const BlobBucket *bucket, Str key, Str version_id, Err e,
             const BlobObject *o)
{
    if (o->is_marker && (e.kind == ERR_NONE || e.kind == ERR_NOT_FOUND || e.kind == ERR_INVALID))
        return marker_found(c, bucket, key, version_id, o);
    if (e.kind != ERR_NOT_FOUND)
        return s3_store_error(c, bucket, e);
    if (!may_know(c, bucket))
        return call_fail(c, &s3_AccessDenied, "Access Denied");
    if (version_id.p == NULL)
        return s3_no_such_key(c, key);
    call_detail(c, S("Key"), key);
    call_detail(c, S("VersionId"), version_id);
    return call_fail(c, &s3_NoSuchVersion, "The specified version does not exist.");
}

Err s3_open_reader(struct call *c, const BlobBucket *bucket, Str key, Str version_id,
                   bool of_source, BlobObject *ret, struct blob_reader **ret_reader)
{
    unsigned char seal[BLOB_SEAL_BYTES];
    BlobSelect which;
    AUTO(blob_reader) reader = NULL;
    *ret = (BlobObject){ 0 };
    TRY(s3_select(c, version_id, &which));
    Err e = blob_reader_open(s3_of(c)->blob, c->arena, bucket, key, which, ret, &reader);
    if (e.kind != ERR_NONE || ret->is_marker)
        return s3_found(c, bucket, key, version_id, e, ret);
    if (blob_reader_is_sealed(reader)) {
        TRY(s3_unseal(c, ret->attributes, of_source, seal));
        blob_reader_unseal(reader, seal);
        explicit_bzero(seal, sizeof seal);
    } else {
        TRY(s3_customer_check(c, ret->attributes, of_source, seal)); // there must be none
    }
    *ret_reader = reader;
    reader = NULL;
    return OK;
}
