// SPDX-License-Identifier: Apache-2.0
// What all operations need: the bucket of a call, names of versions, errors of the store.
#include "aws/query.h"
#include "codec/base64.h"
#include "codec/hash.h"
#include "svc/s3/s3.h"

#include <inttypes.h>

// ---- The bucket

// Who asks another's bucket that lets its users pay says that he knows it, in a header or, in a
// signed link, in the query (User Guide, "Downloading objects from Requester Pays buckets"). Nobody
// else is let.
static Err check_payer(struct call *c, const struct bucket *b)
{
    static const Str name = S_INIT("x-amz-request-payer");
    if (!b->requester_pays || c->exchange == NULL || str_eq(c->caller, b->is.owner))
        return OK;
    Str header = http_header(c->exchange, name);
    Str said = header.p != NULL ? header : query_field(c->arena, c->exchange->query, name);
    if (c->access_key.n == 0 || !str_eq(said, S("requester")))
        return call_fail(c, &s3_AccessDenied, "Access Denied");
    call_header(c, S("x-amz-request-charged"), S("requester"));
    return OK;
}

Err s3_bucket(struct call *c, Str name, Str expected_owner, BlobBucket *ret)
{
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), name);
    if (b == NULL) {
        call_detail(c, S("BucketName"), name);
        return call_fail(c, &s3_NoSuchBucket, "The specified bucket does not exist");
    }
    s3_allow_origin(c, b->cors);
    if (expected_owner.p != NULL && !str_eq(expected_owner, b->is.owner))
        return call_fail(c, &s3_AccessDenied, "Access Denied");
    TRY(check_payer(c, b));
    *ret = b->is;
    ret->name = name;
    ret->owner = str_dup(c->arena, b->is.owner);
    ret->region = str_dup(c->arena, b->is.region);
    return OK;
}

Err s3_store_error(struct call *c, const BlobBucket *bucket, Err e)
{
    if (e.kind == ERR_CLOSED) {
        call_detail(c, S("BucketName"), bucket->name);
        return call_fail(c, &s3_NoSuchBucket, "The specified bucket does not exist");
    }
    if (e.kind == ERR_FULL)
        return fail(ERR_MEMORY, "no space is left for objects"); // 503, which clients try again
    if (e.kind == ERR_BUSY) // others replace what is asked for, again and again
        return call_fail(c, &rest_SlowDown, "Please reduce your request rate.");
    return e;
}

Err s3_no_such_key(struct call *c, Str key)
{
    call_detail(c, S("Key"), key);
    return call_fail(c, &s3_NoSuchKey, "The specified key does not exist.");
}

Err s3_check_key(struct call *c, Str key)
{
    if (key.n <= BLOB_KEY_BYTES_MAX)
        return OK;
    call_detail(c, S("Size"), str_fmt(c->arena, "%zu", key.n));
    call_detail(c, S("MaxSizeAllowed"), str_fmt(c->arena, "%d", BLOB_KEY_BYTES_MAX));
    return call_fail(c, &s3_KeyTooLongError, "Your key is too long");
}

static Err not_a_part(struct call *c, const RestRequest *r)
{
    if (rest_query_has(r, S("uploadId"))) {
        call_header(c, S("Allow"), S("DELETE, POST, GET"));
        call_detail(c, S("Method"), S("PUT"));
        call_detail(c, S("ResourceType"), S("UPLOAD"));
        return call_fail(c, &s3_MethodNotAllowed,
                         "The specified method is not allowed against this resource.");
    }
    if (!rest_query_has(r, S("partNumber")))
        return OK;
    call_detail(c, S("ArgumentName"), S("partNumber"));
    call_detail(c, S("ArgumentValue"), S("partNumber"));
    return call_fail(c, &s3_InvalidArgument,
                     "This operation does not accept partNumber without uploadId");
}

// As S3 answers both halves of what UploadPart needs (seen on the wire: versity/versitygw issues
// 1226, 1236 and 1237).
Err s3_check_no_part(struct call *c)
{
    RestRequest r;
    Str query = c->exchange != NULL ? c->exchange->query : S("");
    if (str_search(query, S("uploadId")) == query.n &&
        str_search(query, S("partNumber")) == query.n)
        return OK;
    TRY(rest_request(c->arena, c->exchange, &r));
    return not_a_part(c, &r);
}

// GetObjectAttributes without what it asks for is no GetObject.
Err s3_check_no_attributes(struct call *c)
{
    RestRequest r;
    Str query = c->exchange != NULL ? c->exchange->query : S("");
    if (query.n == 0 || str_search(query, S("attributes")) == query.n)
        return OK;
    TRY(rest_request(c->arena, c->exchange, &r));
    if (!rest_query_has(&r, S("attributes")))
        return OK;
    return call_fail(c, &s3_InvalidRequest,
                     "The x-amz-object-attributes header specifying the attributes to be retrieved "
                     "is either missing or empty");
}

// ---- Texts

Str s3_quoted(struct arena *a, Str etag)
{
    return str_cat3(a, S("\""), etag, S("\""));
}

Str s3_unquoted(Str etag)
{
    etag = str_trim(etag);
    if (str_starts(etag, S("W/")))
        etag = str_skip(etag, 2);
    if (etag.n >= 2 && etag.p[0] == '"' && etag.p[etag.n - 1] == '"')
        return str_from(etag.p + 1, etag.n - 2);
    return etag;
}

Str s3_checksum_text(struct arena *a, const unsigned char *bytes, size_t n)
{
    size_t chars = base64_encoded_bytes(n);
    char *text = arena_alloc(a, chars, 1);
    base64_encode(text, bytes, n);
    return str_from(text, chars);
}

Str s3_url_encoded(struct arena *a, Str text)
{
    static const char hex[] = "0123456789ABCDEF";
    AUTO_BUF(b);
    for (size_t i = 0; i < text.n; i++) {
        unsigned char ch = (unsigned char)text.p[i];
        bool plain = (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') ||
                     (ch >= 'A' && ch <= 'Z') || strchr("-_.*/", ch) != NULL;
        if (plain && ch != 0) {
            buf_add_byte(&b, (char)ch);
        } else if (ch == ' ') {
            buf_add_byte(&b, '+');
        } else {
            buf_add_byte(&b, '%');
            buf_add_byte(&b, hex[ch >> 4]);
            buf_add_byte(&b, hex[ch & 15]);
        }
    }
    return str_dup(a, buf_str(&b));
}

// An account's canonical user id, which AWS draws by lot: here it follows from the account.
Str s3_canonical_id(struct arena *a, Str account)
{
    unsigned char hash[SHA256_BYTES];
    Str text = str_cat(a, S("headrace canonical user "), account);
    sha256(text.p, text.n, hash);
    return hex_str(a, hash, sizeof hash);
}

// ---- Versions: numbers in 32 characters, as opaque as those of S3

enum { VERSION_CHARS = 32 };

Str s3_version_text(struct arena *a, const BlobObject *o)
{
    if (o->is_null)
        return S("null");
    // The number twice, the second time inverted, so that no other text is a version.
    return str_fmt(a, "%016" PRIx64 "%016" PRIx64, o->version, ~o->version);
}

Err s3_select(struct call *c, Str version_id, BlobSelect *ret)
{
    unsigned char bytes[VERSION_CHARS / 2];
    uint64_t first = 0, second = 0;
    if (version_id.p == NULL) {
        *ret = (BlobSelect){ .which = BLOB_LATEST };
        return OK;
    }
    if (str_eq(version_id, S("null"))) {
        *ret = (BlobSelect){ .which = BLOB_NULL };
        return OK;
    }
    if (version_id.n == VERSION_CHARS && hex_decode(bytes, version_id))
        for (size_t i = 0; i < 8; i++) {
            first = first << 8 | bytes[i];
            second = second << 8 | bytes[i + 8];
        }
    if (first != ~second) {
        call_detail(c, S("ArgumentName"), S("versionId"));
        call_detail(c, S("ArgumentValue"), version_id);
        return call_fail(c, &s3_InvalidArgument, "Invalid version id specified");
    }
    *ret = (BlobSelect){ .which = BLOB_VERSION, .version = first };
    return OK;
}

// ---- Members by their names

const struct api_op *s3_api_op(Str name)
{
    size_t i = 0;
    while (!str_eq(s3_api.ops[i].name, name))
        i++;
    return &s3_api.ops[i];
}

const struct member *s3_member(const struct shape *shape, Str name)
{
    for (size_t i = 0; shape != NULL && i < shape->member_count; i++)
        if (str_eq(shape->members[i].name, name))
            return &shape->members[i];
    return NULL;
}

Str s3_text_of(const struct shape *shape, const void *in, Str member)
{
    const struct member *m = s3_member(shape, member);
    bool text = m != NULL && (m->shape->kind == SHAPE_STRING || m->shape->kind == SHAPE_ENUM);
    return text ? *(const Str *)((const char *)in + m->offset) : (Str){ 0 };
}
