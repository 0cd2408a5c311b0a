// SPDX-License-Identifier: Apache-2.0
// PostObject: a form of a browser (multipart/form-data, RFC 7578) whose last field is the file. It
// is read as it comes: fields are kept, the file goes to the store, what follows it is ignored.
//
// Source: Amazon S3 API Reference, "POST Object".
#include "aws/form_sign.h"
#include "aws/write_xml.h"
#include "base/buf.h"
#include "codec/base64.h"
#include "codec/hash.h"
#include "svc/s3/remote.h"

#include <inttypes.h>

enum {
    FIELDS_MAX = 100,
    FIELD_BYTES_MAX = 20 << 10, // of all fields together, as S3 has it
    HEAD_BYTES_MAX = 4 << 10,   // of a field's headers
    BOUNDARY_BYTES_MAX = 70,    // RFC 2046 5.1.1
};

typedef enum State { BEFORE, HEAD, FIELD, FILE_BYTES, AFTER } State;

struct posting {
    struct call_sink sink;
    BlobBucket bucket;
    struct s3_PostObject_out *out;
    Str delimiter; // "\r\n--boundary"
    State state;
    struct buf rest; // what has come and is not understood yet
    BlobPair fields[FIELDS_MAX];
    size_t field_count, field_bytes;
    Str name, file_name; // of the field that is read
    bool is_file, complete;
    uint64_t min, max;
    uint64_t bytes; // of the file, so far
    struct blob_put *put;
    struct s3_remote_put *remote;        // in its place, where the bucket is elsewhere
    struct checksum *md5, *crc, *sha256; // the last one for the other side
    struct attributes attributes;
    BlobNew object;
    Str version; // of what was made; absent: it has none
};

static Err malformed(struct call *c)
{
    return call_fail(c, &s3_MalformedPOSTRequest,
                     "The body of your POST request is not well-formed multipart/form-data.");
}

static Str field(const struct posting *p, Str name)
{
    for (size_t i = 0; i < p->field_count; i++)
        if (str_eq_nocase(p->fields[i].name, name))
            return p->fields[i].value;
    return (Str){ 0 };
}

// ---- When all fields are there

static Err unbase64(struct call *c, Str text, Str *ret)
{
    char *out = arena_alloc(c->arena, base64_decoded_max(text.n) + 1, 1);
    Base64Result r = base64_decode(out, text.p, text.n);
    *ret = str_from(out, r.n);
    return r.fault == BASE64_GOOD
               ? OK
               : call_fail(c, &s3_InvalidPolicyDocument, "Invalid Policy: Invalid Base64 encoding");
}

static Err signer_refused(struct call *c, const AuthFault *fault)
{
    if (fault->why == AUTH_KEY)
        return call_fail(c, &rest_InvalidAccessKeyId,
                         "The AWS Access Key Id you provided does not exist in our records.");
    if (fault->why == AUTH_TOKEN)
        return call_fail(c, &rest_InvalidToken,
                         "The provided token is malformed or otherwise invalid.");
    if (fault->why == AUTH_TOKEN_OLD)
        return call_fail(c, &rest_ExpiredToken, "The provided token has expired.");
    return call_fail(c, &rest_SignatureDoesNotMatch, REST_MISMATCH_TEXT);
}

// The fields as the policy sees them: the key with the file's name in it.
static BlobPairs with_key(struct call *c, const struct posting *p)
{
    BlobPair *at = arena_new(c->arena, BlobPair, p->field_count + 1);
    for (size_t i = 0; i < p->field_count; i++) {
        at[i] = p->fields[i];
        if (str_eq_nocase(at[i].name, S("key")))
            at[i].value = p->object.key;
    }
    return (BlobPairs){ .at = at, .n = p->field_count };
}

// What a policy comes with, by either way to sign it.
static Err has_signature(struct call *c, const FormSignature *s)
{
    const char *missing = NULL;
    if (s->credential.p != NULL || s->signature.p != NULL)
        missing = s->signature.p == NULL    ? "X-Amz-Signature"
                  : s->credential.p == NULL ? "X-Amz-Credential"
                                            : NULL;
    else if (s->access_key.p == NULL)
        missing = "AWSAccessKeyId";
    else if (s->signature_2.p == NULL)
        missing = "signature";
    if (missing == NULL)
        return OK;
    call_detail(c, S("ArgumentName"), str_of(missing));
    call_detail(c, S("ArgumentValue"), S(""));
    return call_fail(c, &s3_InvalidArgument,
                     "Bucket POST must contain a field named '%s'.  If it is specified, please "
                     "check the order of the fields.",
                     missing);
}

// Who sends the form: whoever signed its policy, or nobody.
static Err take_sender(struct call *c, struct posting *p)
{
    Caller caller;
    AuthFault fault;
    Str policy, encoded = field(p, S("policy"));
    FormSignature s = { .policy = encoded,
                        .credential = field(p, S("x-amz-credential")),
                        .signature = field(p, S("x-amz-signature")),
                        .access_key = field(p, S("AWSAccessKeyId")),
                        .signature_2 = field(p, S("signature")),
                        .token = field(p, S("x-amz-security-token")) };
    p->max = S3_PUT_BYTES_MAX;
    if (encoded.p == NULL)
        return OK;
    TRY(has_signature(c, &s));
    Err e = form_verify(s3_of(c)->env.keys, c->arena, &s, c->now_ns, &caller, &fault);
    if (e.kind == ERR_DENIED)
        return signer_refused(c, &fault);
    TRY(e);
    c->caller = caller.account;
    c->principal = caller.principal;
    c->access_key = caller.access_key;
    c->region = caller.region;
    TRY(unbase64(c, encoded, &policy));
    return s3_check_policy(c, policy, with_key(c, p), &p->min, &p->max);
}

static Err take_key(struct call *c, struct posting *p)
{
    static const Str variable = S_INIT("${filename}");
    Str key = field(p, S("key"));
    if (key.n == 0)
        return call_fail(c, &s3_InvalidArgument,
                         "Bucket POST must contain a field named 'key'.  If it is specified, "
                         "please check the order of the fields.");
    size_t at = str_search(key, variable);
    if (at < key.n)
        key = str_cat3(c->arena, str_head(key, at), p->file_name, str_skip(key, at + variable.n));
    p->object.key = key;
    return s3_check_key(c, key);
}

static void take_attributes(struct call *c, struct posting *p)
{
    static const Str kept[] = { S_INIT("cache-control"), S_INIT("content-disposition"),
                                S_INIT("content-encoding"), S_INIT("content-type"),
                                S_INIT("expires") };
    for (size_t i = 0; i < p->field_count; i++) {
        Str name = str_lower(c->arena, p->fields[i].name);
        bool own = str_starts(name, S("x-amz-meta-"));
        for (size_t k = 0; k < COUNT_OF(kept); k++)
            own = own || str_eq(name, kept[k]);
        if (own)
            attributes_add(&p->attributes, name, p->fields[i].value);
    }
}

// A document, as PutObjectTagging takes it.
static Err take_tags(struct call *c, struct posting *p)
{
    s3_Tagging tagging = { 0 };
    Str text, xml = field(p, S("tagging"));
    if (xml.p == NULL)
        return OK;
    const struct member *m = s3_member(s3_api_op(S("PutObjectTagging"))->input, S("Tagging"));
    if (rest_read_document(c->arena, m->shape, xml, &tagging).kind != ERR_NONE)
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    BlobPair *tags = arena_new(c->arena, BlobPair, tagging.tag_set.n + 1);
    for (size_t i = 0; i < tagging.tag_set.n; i++)
        tags[i] = (BlobPair){ tagging.tag_set.at[i].key, tagging.tag_set.at[i].value };
    p->object.tags = (BlobPairs){ .at = tags, .n = tagging.tag_set.n };
    TRY(s3_check_tags(c, p->object.tags, S3_TAGS_MAX));
    if (s3_may(c, S("s3:PutObjectTagging"), p->bucket.name, p->object.key, &text))
        return OK;
    return call_fail(c, &s3_AccessDenied, "%.*s", FMT(text));
}

static Err begin_here(struct call *c, struct posting *p)
{
    unsigned char seal[BLOB_SEAL_BYTES];
    bool sealed;
    TRY(s3_seal_with(c, &p->bucket, field(p, S("x-amz-server-side-encryption")),
                     field(p, S("x-amz-server-side-encryption-aws-kms-key-id")),
                     field(p, S("x-amz-server-side-encryption-context")), &p->attributes, seal,
                     &sealed));
    Err e = blob_put_begin(s3_of(c)->blob, &p->bucket, sealed ? seal : NULL, &p->put);
    explicit_bzero(seal, sizeof seal);
    return s3_store_error(c, &p->bucket, e);
}

// How long the file will be is known at its end, and the other side wants to know it before: it is
// kept in a file without a name until then, as what is delivered.
static Err begin_elsewhere(struct call *c, struct posting *p, struct remote *r)
{
    static const Str passed[] = { S_INIT("x-amz-server-side-encryption"),
                                  S_INIT("x-amz-server-side-encryption-aws-kms-key-id"),
                                  S_INIT("x-amz-server-side-encryption-context") };
    for (size_t i = 0; i < COUNT_OF(passed); i++) {
        Str value = field(p, passed[i]);
        if (value.p != NULL)
            attributes_add(&p->attributes, passed[i], value);
    }
    if (p->object.tags.n > 0)
        attributes_add(&p->attributes, S("x-amz-tagging"), s3_tag_header(c->arena, p->object.tags));
    checksum_open(CHECKSUM_SHA256, &p->sha256);
    return s3_store_error(c, &p->bucket, s3_remote_put_open(s3_of(c), r, &p->remote));
}

static Err begin_file(struct call *c, struct posting *p)
{
    struct remote *r = s3_remote_of(s3_of(c), p->bucket.name);
    Str text;
    TRY(take_key(c, p));
    TRY(take_sender(c, p));
    if (!s3_may(c, S("s3:PutObject"), p->bucket.name, p->object.key, &text))
        return call_fail(c, &s3_AccessDenied, "%.*s", FMT(text));
    take_attributes(c, p);
    TRY(s3_take_acl_called(c, p->bucket.name, field(p, S("acl")), &p->attributes));
    TRY(take_tags(c, p));
    checksum_open(CHECKSUM_MD5, &p->md5);
    checksum_open(CHECKSUM_CRC64NVME, &p->crc);
    return r != NULL ? begin_elsewhere(c, p, r) : begin_here(c, p);
}

static Err file_bytes(struct call *c, struct posting *p, Str bytes)
{
    if (bytes.n == 0)
        return OK;
    if (p->bytes + bytes.n > p->max) {
        call_detail(c, S("MaxSizeAllowed"), str_fmt(c->arena, "%" PRIu64, p->max));
        return call_fail(c, &s3_EntityTooLarge,
                         "Your proposed upload exceeds the maximum allowed size");
    }
    checksum_add(p->md5, bytes.p, bytes.n);
    checksum_add(p->crc, bytes.p, bytes.n);
    p->bytes += bytes.n;
    if (p->remote == NULL)
        return s3_store_error(c, &p->bucket, blob_put_write(p->put, bytes));
    checksum_add(p->sha256, bytes.p, bytes.n);
    return s3_store_error(c, &p->bucket, s3_remote_put_write(p->remote, bytes));
}

// ---- Reading the form

// The value of a parameter in quotes; absent: there is none.
static Str parameter(Str header, const char *name)
{
    Str mark = str_of(name);
    size_t at = str_search(header, mark);
    if (at == header.n)
        return (Str){ 0 };
    Str rest = str_skip(header, at + mark.n);
    return str_head(rest, str_find(rest, '"'));
}

static Err take_head(struct call *c, struct posting *p, Str head)
{
    p->name = p->file_name = (Str){ 0 };
    for (Str rest = head, line, name, value; rest.n > 0;) {
        str_cut(rest, '\n', &line, &rest);
        str_cut(str_trim(line), ':', &name, &value);
        if (!str_eq_nocase(name, S("content-disposition")))
            continue;
        p->name = str_dup(c->arena, parameter(value, " name=\""));
        p->file_name = str_dup(c->arena, parameter(value, " filename=\""));
        if (p->file_name.p == NULL)
            p->file_name = S("");
    }
    if (p->name.n == 0)
        return malformed(c);
    p->is_file = str_eq_nocase(p->name, S("file"));
    if (!p->is_file) {
        p->state = FIELD;
        return p->field_count < FIELDS_MAX ? OK : malformed(c);
    }
    // What stands before the last slash is the client's own directory.
    for (size_t i = p->file_name.n; i > 0; i--)
        if (p->file_name.p[i - 1] == '/' || p->file_name.p[i - 1] == '\\') {
            p->file_name = str_skip(p->file_name, i);
            break;
        }
    p->state = FILE_BYTES;
    return begin_file(c, p);
}

// Each of these takes what is there of its part of the form; false: more must come first.

static Err take_first(struct call *c, struct posting *p, bool *ret_more)
{
    Str rest = buf_str(&p->rest);
    *ret_more = rest.n >= p->delimiter.n;
    if (!*ret_more)
        return OK;
    if (!str_starts(rest, p->delimiter))
        return malformed(c);
    buf_drop(&p->rest, p->delimiter.n);
    p->state = HEAD;
    return OK;
}

// Behind a delimiter: the rest of its line and the headers of a field, or "--", which ends the
// form.
static Err take_headers(struct call *c, struct posting *p, bool *ret_more)
{
    static const Str end = S_INIT("\r\n\r\n");
    Str rest = buf_str(&p->rest);
    size_t at = str_search(rest, end);
    *ret_more = true;
    if (str_starts(rest, S("--"))) {
        p->state = AFTER;
        return OK;
    }
    *ret_more = at < rest.n;
    if (!*ret_more)
        return rest.n > HEAD_BYTES_MAX ? malformed(c) : OK;
    TRY(take_head(c, p, str_head(rest, at)));
    buf_drop(&p->rest, at + end.n);
    return OK;
}

static Err take_field(struct call *c, struct posting *p, bool *ret_more)
{
    Str rest = buf_str(&p->rest);
    size_t at = str_search(rest, p->delimiter);
    *ret_more = at < rest.n;
    if (p->field_bytes + at > FIELD_BYTES_MAX)
        return call_fail(c, &s3_MaxPostPreDataLengthExceeded,
                         "Your POST request fields preceding the upload file were too large.");
    if (!*ret_more)
        return OK;
    p->field_bytes += at;
    p->fields[p->field_count++] = (BlobPair){ p->name, str_dup(c->arena, str_head(rest, at)) };
    buf_drop(&p->rest, at + p->delimiter.n);
    p->state = HEAD;
    return OK;
}

// A delimiter may come in two pieces: as much as it could begin with is kept back.
static Err take_file(struct call *c, struct posting *p, bool *ret_more)
{
    Str rest = buf_str(&p->rest);
    size_t at = str_search(rest, p->delimiter);
    bool found = at < rest.n;
    size_t n = found ? at : rest.n - MIN(rest.n, p->delimiter.n - 1);
    *ret_more = found;
    TRY(file_bytes(c, p, str_head(rest, n)));
    buf_drop(&p->rest, found ? at + p->delimiter.n : n);
    if (found) {
        p->complete = true;
        p->state = AFTER;
    }
    return OK;
}

static Err take(struct call *c, struct call_sink *sink, Str piece)
{
    struct posting *p = (struct posting *)sink;
    buf_add(&p->rest, piece);
    TRY(buf_err(&p->rest));
    for (bool more = true; more && p->state != AFTER;) {
        if (p->state == BEFORE)
            TRY(take_first(c, p, &more));
        else if (p->state == HEAD)
            TRY(take_headers(c, p, &more));
        else if (p->state == FIELD)
            TRY(take_field(c, p, &more));
        else
            TRY(take_file(c, p, &more));
    }
    if (p->state == AFTER) // what follows the file is ignored
        buf_clear(&p->rest);
    return OK;
}

// ---- The end

static void reply(struct call *c, struct posting *p, const BlobObject *made)
{
    Str status = field(p, S("success_action_status"));
    Str redirect = field(p, S("success_action_redirect"));
    Str host = c->exchange != NULL ? http_header(c->exchange, S("host")) : S("");
    Str location = str_fmt(c->arena, "http://%.*s/%.*s/%.*s", FMT(host), FMT(p->bucket.name),
                           FMT(s3_url_encoded(c->arena, made->key)));
    p->out->e_tag = s3_quoted(c->arena, made->etag);
    p->out->location = location;
    p->out->version_id = p->version;
    if (str_starts(redirect, S("http://")) || str_starts(redirect, S("https://"))) {
        bool query = str_find(redirect, '?') < redirect.n;
        p->out->location = str_fmt(c->arena, "%.*s%cbucket=%.*s&key=%.*s&etag=%%22%.*s%%22",
                                   FMT(redirect), query ? '&' : '?', FMT(p->bucket.name),
                                   FMT(s3_url_encoded(c->arena, made->key)), FMT(made->etag));
        c->status = 303;
    } else if (str_eq(status, S("200"))) {
        c->status = 200;
    } else if (str_eq(status, S("201"))) {
        AUTO_BUF(b);
        buf_add(&b, S("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse>"));
        xml_add_element(&b, S("Location"), location);
        xml_add_element(&b, S("Bucket"), p->bucket.name);
        xml_add_element(&b, S("Key"), made->key);
        xml_add_element(&b, S("ETag"), p->out->e_tag);
        buf_add(&b, S("</PostResponse>"));
        p->out->body = str_dup(c->arena, buf_str(&b));
        c->status = 201;
        call_header(c, S("Content-Type"), S("application/xml"));
    }
}

static Err make_here(struct call *c, struct posting *p, BlobObject *ret)
{
    TRY(s3_store_error(c, &p->bucket, blob_put_finish(p->put, c->arena, &p->object, ret)));
    if (p->bucket.versioning != BLOB_UNVERSIONED)
        p->version = s3_version_text(c->arena, ret);
    s3_notify(c, &p->bucket, "ObjectCreated:Post", ret);
    return OK;
}

static Err make_elsewhere(struct call *c, struct posting *p, const unsigned char *md5,
                          BlobObject *ret)
{
    unsigned char sha256[CHECKSUM_BYTES_MAX];
    const struct api_op *op = c->op;
    struct remote *r = s3_remote_of(s3_of(c), p->bucket.name);
    checksum_end(p->sha256, sha256);
    c->op = s3_api_op(S("PutObject"));
    Err e = s3_remote_put_finish(c, p->remote, p->object.key, p->object.attributes,
                                 s3_checksum_text(c->arena, md5, MD5_BYTES),
                                 hex_str(c->arena, sha256, SHA256_BYTES), "ObjectCreated:Post", ret,
                                 &p->version);
    c->op = op;
    return e.kind == ERR_NONE || e.kind == ERR_FAULT ? e : s3_remote_unreached(c, r, e);
}

static Err finish(struct call *c, struct posting *p)
{
    unsigned char md5[CHECKSUM_BYTES_MAX], crc[CHECKSUM_BYTES_MAX];
    BlobObject made = { 0 };
    if (!p->complete)
        return p->md5 == NULL && p->state == AFTER
                   ? call_fail(c, &s3_InvalidArgument,
                               "POST requires exactly one file upload per request.")
                   : malformed(c);
    if (p->bytes < p->min) {
        call_detail(c, S("MinSizeAllowed"), str_fmt(c->arena, "%" PRIu64, p->min));
        return call_fail(c, &s3_EntityTooSmall,
                         "Your proposed upload is smaller than the minimum allowed size");
    }
    checksum_end(p->md5, md5);
    checksum_end(p->crc, crc);
    attributes_add(&p->attributes, checksum_header(CHECKSUM_CRC64NVME),
                   s3_checksum_text(c->arena, crc, checksum_bytes(CHECKSUM_CRC64NVME)));
    attributes_add(&p->attributes, S("x-amz-checksum-type"), S("FULL_OBJECT"));
    p->object.etag = hex_str(c->arena, md5, MD5_BYTES);
    p->object.attributes = attributes_pairs(&p->attributes);
    TRY(p->remote != NULL ? make_elsewhere(c, p, md5, &made) : make_here(c, p, &made));
    reply(c, p, &made);
    return OK;
}

static Err end(struct call *c, struct call_sink *sink, Err e)
{
    struct posting *p = (struct posting *)sink;
    if (e.kind == ERR_NONE)
        e = finish(c, p);
    blob_put_close(p->put);
    s3_remote_put_close(p->remote);
    checksum_close(p->md5);
    checksum_close(p->crc);
    checksum_close(p->sha256);
    buf_done(&p->rest);
    return e;
}

static Err take_boundary(struct call *c, struct posting *p)
{
    Str type = c->exchange != NULL ? http_header(c->exchange, S("content-type")) : S("");
    size_t at = str_search(type, S("boundary="));
    if (!str_starts(type, S("multipart/form-data")) || at == type.n)
        return call_fail(c, &s3_PreconditionFailed,
                         "Bucket POST must be of the enclosure-type multipart/form-data");
    Str boundary = str_skip(type, at + S("boundary=").n);
    boundary = str_head(boundary, str_find(boundary, ';'));
    if (boundary.n >= 2 && boundary.p[0] == '"')
        boundary = str_from(boundary.p + 1, boundary.n - 2);
    if (boundary.n == 0 || boundary.n > BOUNDARY_BYTES_MAX)
        return malformed(c);
    p->delimiter = str_cat(c->arena, S("\r\n--"), boundary);
    return OK;
}

Err s3_PostObject(struct call *c, const struct s3_PostObject_in *in, struct s3_PostObject_out *out)
{
    struct posting *p = arena_new(c->arena, struct posting, 1);
    p->sink = (struct call_sink){ .take = take, .end = end };
    p->out = out;
    p->attributes.arena = c->arena;
    TRY(s3_bucket(c, in->bucket, (Str){ 0 }, &p->bucket));
    TRY(take_boundary(c, p));
    buf_init_request(&p->rest, 0);
    buf_add(&p->rest, S("\r\n")); // as before every other delimiter
    return call_take_body(c, &p->sink);
}
