// SPDX-License-Identifier: Apache-2.0
#include "aws/form_sign.h"
#include "aws/sigv2.h"
#include "aws/sigv4_priv.h"
#include "codec/base64.h"
#include "codec/checksum.h"

static Err refuse(AuthFault *fault, AuthWhy why)
{
    fault->why = why;
    return fail(ERR_DENIED, "a form is not authenticated");
}

static bool is_signed_4(const FormSignature *s, Str secret, const Scope *scope)
{
    unsigned char key[SHA256_BYTES], want[SHA256_BYTES], got[SHA256_BYTES];
    if (s->signature.n != SIGNATURE_HEX || !hex_decode(got, s->signature))
        return false;
    sigv4_signing_key(secret, scope, key);
    hmac_sha256(str_from(key, sizeof key), s->policy, want);
    explicit_bzero(key, sizeof key);
    return bytes_equal_in_constant_time(want, got, sizeof want);
}

static bool is_signed_2(struct arena *a, const FormSignature *s, Str secret)
{
    unsigned char want[CHECKSUM_BYTES_MAX];
    size_t n = checksum_bytes(CHECKSUM_SHA1);
    char *got = arena_alloc(a, base64_decoded_max(s->signature_2.n) + n, 1);
    Base64Result r = base64_decode(got, s->signature_2.p, s->signature_2.n);
    hmac_sha1(secret, s->policy, want);
    return r.fault == BASE64_GOOD && r.n == n && bytes_equal_in_constant_time(want, got, n);
}

Err form_verify(struct keyring *keys, struct arena *a, const FormSignature *s, int64_t now_ns,
                Caller *ret, AuthFault *ret_fault)
{
    Str parts[5] = { 0 }, rest = s->credential;
    Key key = { 0 };
    bool version_4 = s->credential.p != NULL;
    *ret_fault = (AuthFault){ 0 };
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        str_cut(rest, '/', &parts[i], &rest);
    ret_fault->access_key = version_4 ? parts[0] : s->access_key;
    if (version_4 && !str_eq(parts[4], S("aws4_request")))
        return refuse(ret_fault, AUTH_MALFORMED);
    if (keyring_find(keys, a, ret_fault->access_key, &key).kind != ERR_NONE)
        return refuse(ret_fault, AUTH_KEY);
    Scope scope = { parts[1], parts[2], parts[3] };
    bool token = s->token.n == key.session_token.n &&
                 (s->token.n == 0 ||
                  bytes_equal_in_constant_time(s->token.p, key.session_token.p, s->token.n));
    if (!key.unverified && !token)
        return refuse(ret_fault, AUTH_TOKEN);
    if (key.expires_ns != 0 && key.expires_ns <= now_ns)
        return refuse(ret_fault, AUTH_TOKEN_OLD);
    if (!key.unverified &&
        !(version_4 ? is_signed_4(s, key.secret, &scope) : is_signed_2(a, s, key.secret)))
        return refuse(ret_fault, AUTH_MISMATCH);
    *ret = (Caller){ .access_key = key.access_key,
                     .account = key.account,
                     .principal = key.principal,
                     .region = version_4 ? scope.region : S("us-east-1"),
                     .service = S("s3") };
    return OK;
}
