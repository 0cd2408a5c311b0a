// SPDX-License-Identifier: Apache-2.0
#include "aws/sigv2.h"
#include "aws/sigv4_priv.h"
#include "base/time.h"
#include "codec/base64.h"
#include "codec/checksum.h"

#include <stdlib.h>

enum { SHA1_BYTES = 20, SHA1_BLOCK_BYTES = 64, AMZ_HEADERS_MAX = 100 };

// The queries that are part of the resource, in their order.
static const Str resources[] = {
    S_INIT("accelerate"),
    S_INIT("acl"),
    S_INIT("analytics"),
    S_INIT("cors"),
    S_INIT("delete"),
    S_INIT("encryption"),
    S_INIT("inventory"),
    S_INIT("lifecycle"),
    S_INIT("location"),
    S_INIT("logging"),
    S_INIT("metrics"),
    S_INIT("notification"),
    S_INIT("object-lock"),
    S_INIT("partNumber"),
    S_INIT("policy"),
    S_INIT("replication"),
    S_INIT("requestPayment"),
    S_INIT("response-cache-control"),
    S_INIT("response-content-disposition"),
    S_INIT("response-content-encoding"),
    S_INIT("response-content-language"),
    S_INIT("response-content-type"),
    S_INIT("response-expires"),
    S_INIT("restore"),
    S_INIT("select"),
    S_INIT("select-type"),
    S_INIT("tagging"),
    S_INIT("torrent"),
    S_INIT("uploadId"),
    S_INIT("uploads"),
    S_INIT("versionId"),
    S_INIT("versioning"),
    S_INIT("versions"),
    S_INIT("website"),
};

bool sigv2_is(const struct http_exchange *x)
{
    return str_starts(http_header(x, S("authorization")), S("AWS ")) ||
           str_starts(x->query, S("AWSAccessKeyId=")) ||
           str_search(x->query, S("&AWSAccessKeyId=")) < x->query.n;
}

void hmac_sha1(Str key, Str message, unsigned char *out)
{
    unsigned char pad[SHA1_BLOCK_BYTES], hashed[CHECKSUM_BYTES_MAX], inner[CHECKSUM_BYTES_MAX];
    if (key.n > sizeof pad) {
        checksum_of(CHECKSUM_SHA1, key, hashed);
        key = str_from(hashed, SHA1_BYTES);
    }
    for (int side = 0; side < 2; side++) {
        AUTO(checksum) c = NULL;
        checksum_open(CHECKSUM_SHA1, &c);
        for (size_t i = 0; i < sizeof pad; i++)
            pad[i] = (unsigned char)((i < key.n ? (unsigned char)key.p[i] : 0) ^
                                     (side == 0 ? 0x36 : 0x5c));
        checksum_add(c, pad, sizeof pad);
        if (side == 0)
            checksum_add(c, message.p, message.n);
        else
            checksum_add(c, inner, SHA1_BYTES);
        checksum_end(c, inner);
    }
    memcpy(out, inner, SHA1_BYTES);
    explicit_bzero(pad, sizeof pad);
    explicit_bzero(hashed, sizeof hashed);
}

static int compare_headers(const void *x, const void *y)
{
    return str_cmp(((const HttpHeader *)x)->name, ((const HttpHeader *)y)->name);
}

static void add_amz_headers(struct buf *b, const struct http_exchange *x)
{
    HttpHeader *all = arena_new(x->arena, HttpHeader, x->header_count + 1);
    size_t n = 0;
    for (size_t i = 0; i < x->header_count && n < AMZ_HEADERS_MAX; i++)
        if (str_starts(x->headers[i].name, S("x-amz-")))
            all[n++] = x->headers[i];
    if (n > 0)
        qsort(all, n, sizeof *all, compare_headers);
    for (size_t i = 0; i < n; i++) {
        bool same = i > 0 && str_eq(all[i].name, all[i - 1].name);
        if (same)
            b->n--; // the end of the line before
        else
            buf_add(b, all[i].name);
        buf_add_byte(b, same ? ',' : ':');
        buf_add(b, str_trim(all[i].value));
        buf_add_byte(b, '\n');
    }
}

static void add_resource(struct buf *b, const struct http_exchange *x, Str bucket)
{
    if (bucket.p != NULL) {
        buf_add_byte(b, '/');
        buf_add(b, bucket);
    }
    buf_add(b, x->path);
    bool first = true;
    for (size_t i = 0; i < COUNT_OF(resources); i++) {
        Str value = sigv4_parameter(x->arena, x->query, resources[i]);
        if (value.p == NULL)
            continue;
        buf_add_byte(b, first ? '?' : '&');
        buf_add(b, resources[i]);
        if (value.n > 0) {
            buf_add_byte(b, '=');
            buf_add(b, value);
        }
        first = false;
    }
}

static Err refuse(AuthFault *fault, AuthWhy why, Str message)
{
    fault->why = why;
    fault->type = S("InvalidSignatureException");
    fault->message = message;
    return fail(ERR_DENIED, "the request is not authenticated");
}

typedef struct Parts {
    Str access_key, signature, date, token;
    bool in_query;
    int64_t expires_s;
} Parts;

static Err take_parts(const struct http_exchange *x, Parts *p, AuthFault *fault)
{
    Str header = http_header(x, S("authorization"));
    p->in_query = !str_starts(header, S("AWS "));
    p->token = http_header(x, S("x-amz-security-token"));
    if (!p->in_query) {
        str_cut(str_trim(str_skip(header, 4)), ':', &p->access_key, &p->signature);
        p->date = http_header(x, S("x-amz-date")).p != NULL ? S("") : http_header(x, S("date"));
    } else {
        p->access_key = sigv4_parameter(x->arena, x->query, S("AWSAccessKeyId"));
        p->signature = sigv4_parameter(x->arena, x->query, S("Signature"));
        p->date = sigv4_parameter(x->arena, x->query, S("Expires"));
        if (p->token.p == NULL)
            p->token = sigv4_parameter(x->arena, x->query, S("x-amz-security-token"));
    }
    fault->access_key = p->access_key;
    if (p->access_key.n == 0 || p->signature.n == 0 ||
        (p->in_query && str_i64(p->date, &p->expires_s).kind != ERR_NONE))
        return refuse(fault, AUTH_MALFORMED,
                      S("Query-string authentication requires the Signature, Expires and "
                        "AWSAccessKeyId parameters"));
    return OK;
}

static Err check_time(const struct http_exchange *x, const Parts *p, int64_t now_ns,
                      AuthFault *fault)
{
    int64_t ns;
    if (p->in_query) {
        fault->expired_ns = MIN(p->expires_s, INT64_MAX / NS_PER_S) * NS_PER_S;
        return now_ns / NS_PER_S <= p->expires_s
                   ? OK
                   : refuse(fault, AUTH_EXPIRED, S("Request has expired"));
    }
    Str date = http_header(x, S("x-amz-date"));
    if (date.p == NULL)
        date = p->date;
    if (time_parse_http(date, &ns).kind != ERR_NONE && time_parse_basic(date, &ns).kind != ERR_NONE)
        return refuse(fault, AUTH_MALFORMED,
                      S("AWS authentication requires a valid Date or x-amz-date header"));
    bool near = ns >= now_ns - SIGV4_SKEW_S3_NS && ns <= now_ns + SIGV4_SKEW_S3_NS;
    return near ? OK : refuse(fault, AUTH_SKEW, S("the clocks differ"));
}

// "/bucket", which clients sign as "/bucket/": botocore does, and S3 takes both.
static bool is_bucket_alone(const struct http_exchange *x, Str bucket)
{
    return bucket.p == NULL && x->path.n > 1 &&
           str_find(str_skip(x->path, 1), '/') == x->path.n - 1;
}

static Err check_one(const struct http_exchange *x, Str bucket, const Parts *p, const Key *key,
                     AuthFault *fault)
{
    unsigned char want[CHECKSUM_BYTES_MAX];
    AUTO_BUF(text);
    buf_add(&text, x->method);
    buf_add_byte(&text, '\n');
    buf_add(&text, http_header(x, S("content-md5")));
    buf_add_byte(&text, '\n');
    buf_add(&text, http_header(x, S("content-type")));
    buf_add_byte(&text, '\n');
    buf_add(&text, p->date);
    buf_add_byte(&text, '\n');
    add_amz_headers(&text, x);
    if (p->in_query && p->token.p != NULL && http_header(x, S("x-amz-security-token")).p == NULL)
        buf_addf(&text, "x-amz-security-token:%.*s\n", FMT(p->token));
    add_resource(&text, x, bucket);
    TRY(buf_err(&text));
    hmac_sha1(key->secret, buf_str(&text), want);
    char *given = arena_alloc(x->arena, base64_decoded_max(p->signature.n) + SHA1_BYTES, 1);
    Base64Result r = base64_decode(given, p->signature.p, p->signature.n);
    if (r.fault == BASE64_GOOD && r.n == SHA1_BYTES &&
        bytes_equal_in_constant_time(want, given, SHA1_BYTES))
        return OK;
    fault->provided = p->signature;
    fault->string_to_sign = str_dup(x->arena, buf_str(&text));
    return refuse(fault, AUTH_MISMATCH, S("the signature does not match"));
}

static Err check_signature(const struct http_exchange *x, Str bucket, const Parts *p,
                           const Key *key, AuthFault *fault)
{
    Err e = check_one(x, bucket, p, key, fault);
    if (e.kind != ERR_DENIED || !is_bucket_alone(x, bucket))
        return e;
    struct http_exchange with = *x;
    AuthFault other = *fault;
    with.path = str_cat(x->arena, x->path, S("/"));
    return check_one(&with, bucket, p, key, &other).kind == ERR_NONE ? OK : e;
}

static Err check_token(const Parts *p, const Key *key, int64_t now_ns, AuthFault *fault)
{
    bool same = (p->token.p != NULL) == (key->session_token.p != NULL) &&
                p->token.n == key->session_token.n &&
                (p->token.n == 0 ||
                 bytes_equal_in_constant_time(p->token.p, key->session_token.p, p->token.n));
    if (!same)
        return refuse(fault, AUTH_TOKEN, S("the token is not its key's"));
    if (key->expires_ns != 0 && key->expires_ns <= now_ns)
        return refuse(fault, AUTH_TOKEN_OLD, S("the token has expired"));
    return OK;
}

Err sigv2_verify(struct keyring *keys, const struct http_exchange *x, Str bucket, int64_t now_ns,
                 Caller *ret, AuthFault *ret_fault)
{
    Parts p = { 0 };
    Key key = { 0 };
    *ret_fault = (AuthFault){ 0 };
    TRY(take_parts(x, &p, ret_fault));
    if (keyring_find(keys, x->arena, p.access_key, &key).kind != ERR_NONE)
        return refuse(ret_fault, AUTH_KEY, S("the key is not known"));
    if (!key.unverified) {
        TRY(check_token(&p, &key, now_ns, ret_fault));
        TRY(check_time(x, &p, now_ns, ret_fault));
        TRY(check_signature(x, bucket, &p, &key, ret_fault));
    }
    *ret = (Caller){ .access_key = key.access_key,
                     .account = key.account,
                     .principal = key.principal,
                     .region = S("us-east-1"),
                     .service = S("s3") };
    return OK;
}
