// SPDX-License-Identifier: Apache-2.0
// MFA delete: a bucket whose versions go for ever, and whose versioning changes, only with a code
// of the device of its owner's root (User Guide, "Configuring MFA delete").
#include "hub/hub.h"
#include "svc/s3/s3.h"

bool s3_has_mfa_delete(struct call *c, Str bucket)
{
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), bucket);
    return b != NULL && str_eq(b->mfa_delete, S("Enabled"));
}

// "SERIAL CODE", which counts once.
static Err check_code(struct call *c, Str header, bool *ret)
{
    const struct hub *hub = s3_of(c)->env.hub;
    Str serial, code;
    *ret = false;
    if (!str_cut(str_trim(header), ' ', &serial, &code) || hub == NULL || hub->identities == NULL)
        return OK;
    return hub->identities->mfa(hub->identities->self, c, serial, str_trim(code), true, ret);
}

Err s3_check_mfa(struct call *c, const BlobBucket *bucket)
{
    bool good;
    Str header = c->exchange != NULL ? http_header(c->exchange, S("x-amz-mfa")) : (Str){ 0 };
    if (header.p == NULL)
        return call_fail(c, &s3_AccessDenied, "Mfa Authentication must be used for this request");
    if (!str_ends(c->principal, S(":root")) || !str_eq(c->caller, bucket->owner))
        return call_fail(c, &s3_AccessDenied,
                         "This operation may only be performed by the bucket owner");
    if (http_header(c->exchange, S("x-amz-security-token")).p != NULL)
        return call_fail(c, &s3_InvalidRequest,
                         "DevPay and Mfa are mutually exclusive authorization methods.");
    TRY(check_code(c, header, &good));
    return good ? OK : call_fail(c, &s3_AccessDenied, "Access Denied");
}

Err s3_check_mfa_setting(struct call *c, const BlobBucket *bucket, Str wanted)
{
    bool on = s3_has_mfa_delete(c, bucket->name);
    Str lifecycle;
    if (!on && !str_eq(wanted, S("Enabled")))
        return OK; // it stays as it is: Terraform always says Disabled
    TRY(s3_check_mfa(c, bucket));
    TRY(s3_get_document(c, bucket, S("lifecycle"), &lifecycle));
    if (!str_eq(wanted, S("Enabled")) || lifecycle.p == NULL)
        return OK;
    return call_fail(c, &s3_InvalidBucketState,
                     "MFA Delete cannot be enabled on a bucket that has a lifecycle "
                     "configuration.");
}
