// SPDX-License-Identifier: Apache-2.0
#include "aws/body.h"
#include "aws/rest.h"
#include "codec/base64.h"

static const struct {
    Str name, header;
} kinds[CHECKSUM_KINDS] = {
    [CHECKSUM_CRC32] = { S_INIT("CRC32"), S_INIT("x-amz-checksum-crc32") },
    [CHECKSUM_CRC32C] = { S_INIT("CRC32C"), S_INIT("x-amz-checksum-crc32c") },
    [CHECKSUM_CRC64NVME] = { S_INIT("CRC64NVME"), S_INIT("x-amz-checksum-crc64nvme") },
    [CHECKSUM_SHA1] = { S_INIT("SHA1"), S_INIT("x-amz-checksum-sha1") },
    [CHECKSUM_SHA256] = { S_INIT("SHA256"), S_INIT("x-amz-checksum-sha256") },
    [CHECKSUM_MD5] = { S_INIT("MD5"), { 0 } },
};

Str checksum_name(ChecksumKind kind)
{
    return kinds[kind].name;
}

Str checksum_header(ChecksumKind kind)
{
    return kinds[kind].header;
}

static bool kind_of_header(Str name, ChecksumKind *ret)
{
    for (ChecksumKind k = 0; k < CHECKSUM_KINDS; k++)
        if (kinds[k].header.p != NULL && str_eq_nocase(kinds[k].header, name)) {
            *ret = k;
            return true;
        }
    return false;
}

// Base64 of exactly so many bytes.
static bool take_digest(struct arena *a, Str text, unsigned char *into, size_t bytes)
{
    char *out = arena_alloc(a, base64_decoded_max(text.n) + 1, 1);
    Base64Result r = base64_decode(out, text.p, text.n);
    if (text.n == 0 || r.fault != BASE64_GOOD || r.n != bytes)
        return false;
    memcpy(into, out, bytes);
    return true;
}

static Str digest_text(struct arena *a, const unsigned char *bytes, size_t n)
{
    size_t chars = base64_encoded_bytes(n);
    char *text = arena_alloc(a, chars, 1);
    base64_encode(text, bytes, n);
    return str_from(text, chars);
}

void body_want(struct call *c, ChecksumKind kind)
{
    if (c->body != NULL && c->body->sums[kind] == NULL)
        checksum_open(kind, &c->body->sums[kind]);
}

const unsigned char *body_checksum(const struct call *c, ChecksumKind kind)
{
    return c->body != NULL && c->body->made[kind] ? c->body->results[kind] : NULL;
}

bool body_chosen(const struct call *c, ChecksumKind *ret)
{
    if (c->body == NULL || !c->body->has_stated)
        return false;
    *ret = c->body->stated;
    return true;
}

// ---- What the head says

static Err take_md5(struct call *c, const struct http_exchange *x)
{
    struct call_body *b = c->body;
    Str md5 = http_header(x, S("content-md5"));
    if (md5.p == NULL)
        return OK;
    if (!take_digest(c->arena, md5, b->md5, sizeof b->md5))
        return call_fail(c, &rest_InvalidDigest, "The Content-MD5 you specified was invalid.");
    b->has_md5 = true;
    body_want(c, CHECKSUM_MD5);
    return OK;
}

static Err take_checksum(struct call *c, Str name, Str value)
{
    struct call_body *b = c->body;
    ChecksumKind kind;
    if (!kind_of_header(name, &kind))
        return call_fail(c, &rest_InvalidRequest,
                         "The algorithm type you specified in x-amz-checksum- header is invalid.");
    if (b->has_stated)
        return call_fail(c, &rest_InvalidRequest,
                         "Expecting a single x-amz-checksum- header. Multiple checksum Types are "
                         "not allowed.");
    if (!take_digest(c->arena, value, b->value, checksum_bytes(kind)))
        return call_fail(c, &rest_InvalidRequest, "Value for %.*s header is invalid.",
                         FMT(kinds[kind].header));
    b->has_stated = true;
    b->stated = kind;
    body_want(c, kind);
    return OK;
}

static bool is_checksum(Str name)
{
    return str_starts(name, S("x-amz-checksum-")) && !str_eq(name, S("x-amz-checksum-mode")) &&
           !str_eq(name, S("x-amz-checksum-algorithm")) && !str_eq(name, S("x-amz-checksum-type"));
}

static Err take_trailer_name(struct call *c, const struct http_exchange *x)
{
    struct call_body *b = c->body;
    Str name = str_trim(http_header(x, S("x-amz-trailer")));
    ChecksumKind kind;
    if (name.n == 0)
        return OK;
    if (!kind_of_header(name, &kind))
        return call_fail(c, &rest_InvalidRequest,
                         "The value specified in the x-amz-trailer header is not supported");
    if (b->has_stated)
        return call_fail(c, &rest_InvalidRequest,
                         "Expecting a single x-amz-checksum- header. Multiple checksum Types are "
                         "not allowed.");
    b->has_stated = b->in_trailer = true;
    b->stated = kind;
    body_want(c, kind);
    return OK;
}

static Err take_checksums(struct call *c, const struct http_exchange *x)
{
    // Of a multipart upload that is completed they are the object's, not the body's.
    bool of_body = http_header(x, S("x-amz-checksum-type")).p == NULL &&
                   !(c->op != NULL && str_eq(c->op->name, S("CompleteMultipartUpload")));
    for (size_t i = 0; of_body && i < x->header_count; i++)
        if (is_checksum(x->headers[i].name))
            TRY(take_checksum(c, x->headers[i].name, x->headers[i].value));
    TRY(take_trailer_name(c, x));
    Str algorithm = http_header(x, S("x-amz-sdk-checksum-algorithm"));
    if (algorithm.p != NULL && of_body && !c->body->has_stated)
        return call_fail(c, &rest_InvalidRequest,
                         "x-amz-sdk-checksum-algorithm specified, but no corresponding "
                         "x-amz-checksum-* or x-amz-trailer headers were found.");
    return OK;
}

static Err take_length(struct call *c, const struct http_exchange *x)
{
    struct call_body *b = c->body;
    Str length =
        http_header(x, b->in_chunks ? S("x-amz-decoded-content-length") : S("content-length"));
    b->stated_bytes = UINT64_MAX;
    if (length.p == NULL && b->in_chunks)
        return call_fail(c, &rest_MissingContentLength,
                         "You must provide the Content-Length HTTP header.");
    if (length.p != NULL && str_u64(length, &b->stated_bytes).kind != ERR_NONE)
        return call_fail(c, &rest_InvalidArgument, "Invalid content length");
    return OK;
}

Err body_open(struct call *c, const struct http_exchange *x, const Sigv4Payload *payload)
{
    struct call_body *b = arena_new(c->arena, struct call_body, 1);
    c->body = b;
    b->payload = *payload;
    b->in_chunks = payload->kind >= PAYLOAD_CHUNKS_SIGNED;
    if (b->in_chunks)
        chunked_init(&b->chunked, c->arena, &b->payload);
    if (payload->kind == PAYLOAD_HASH && payload->verified)
        body_want(c, CHECKSUM_SHA256);
    TRY(take_length(c, x));
    TRY(take_md5(c, x));
    return take_checksums(c, x);
}

void body_close(struct call_body *b)
{
    if (b == NULL)
        return;
    for (size_t i = 0; i < CHECKSUM_KINDS; i++) {
        checksum_close(b->sums[i]);
        b->sums[i] = NULL;
    }
    explicit_bzero(&b->payload.key, sizeof b->payload.key);
}

// ---- Pieces

static Err pass_on(struct call *c, Str piece, struct call_sink *sink)
{
    struct call_body *b = c->body;
    if (piece.n == 0)
        return OK;
    b->bytes += piece.n;
    if (b->bytes > b->stated_bytes)
        return call_fail(c, &rest_IncompleteBody,
                         "The request body is longer than its stated length");
    for (size_t i = 0; i < CHECKSUM_KINDS; i++)
        if (b->sums[i] != NULL)
            checksum_add(b->sums[i], piece.p, piece.n);
    return sink->take(c, sink, piece);
}

static Err bad_chunk(struct call *c, Err e)
{
    if (e.kind == ERR_DENIED)
        return call_fail(c, &rest_SignatureDoesNotMatch, "%s", REST_MISMATCH_TEXT);
    return call_fail(c, &rest_IncompleteBody, "The request body terminated unexpectedly");
}

Err body_push(struct call *c, Str raw, struct call_sink *sink)
{
    struct call_body *b = c->body;
    if (!b->in_chunks)
        return pass_on(c, raw, sink);
    while (raw.n > 0) {
        size_t taken;
        Str piece;
        Err e = chunked_next(&b->chunked, raw, &taken, &piece);
        if (e.kind != ERR_NONE)
            return bad_chunk(c, e);
        TRY(pass_on(c, piece, sink));
        raw = str_skip(raw, taken);
    }
    return OK;
}

// ---- The end

static Err check_sha256(struct call *c)
{
    struct call_body *b = c->body;
    const unsigned char *got = b->results[CHECKSUM_SHA256];
    if (b->payload.kind != PAYLOAD_HASH || !b->payload.verified ||
        memcmp(b->payload.sha256, got, sizeof b->payload.sha256) == 0)
        return OK;
    call_detail(c, S("ClientComputedContentSHA256"),
                hex_str(c->arena, b->payload.sha256, sizeof b->payload.sha256));
    call_detail(c, S("S3ComputedContentSHA256"), hex_str(c->arena, got, sizeof b->payload.sha256));
    return call_fail(c, &rest_XAmzContentSHA256Mismatch,
                     "The provided 'x-amz-content-sha256' header does not match what was "
                     "computed.");
}

static Err check_md5(struct call *c)
{
    struct call_body *b = c->body;
    const unsigned char *got = b->results[CHECKSUM_MD5];
    if (!b->has_md5 || memcmp(b->md5, got, sizeof b->md5) == 0)
        return OK;
    call_detail(c, S("ExpectedDigest"), digest_text(c->arena, b->md5, sizeof b->md5));
    call_detail(c, S("CalculatedDigest"), digest_text(c->arena, got, sizeof b->md5));
    return call_fail(c, &rest_BadDigest,
                     "The Content-MD5 you specified did not match what we received.");
}

static Err check_stated(struct call *c)
{
    struct call_body *b = c->body;
    if (!b->has_stated)
        return OK;
    size_t bytes = checksum_bytes(b->stated);
    if (b->in_trailer) {
        Str text = chunked_trailer(&b->chunked, kinds[b->stated].header);
        if (!b->in_chunks || !take_digest(c->arena, text, b->value, bytes))
            return call_fail(c, &rest_MalformedTrailerError,
                             "The request contained trailing data that was not well-formed or did "
                             "not conform to our published schema.");
    }
    if (memcmp(b->value, b->results[b->stated], bytes) == 0)
        return OK;
    return call_fail(c, &rest_BadDigest,
                     "The %.*s you specified did not match the calculated checksum.",
                     FMT(kinds[b->stated].name));
}

Err body_end(struct call *c)
{
    struct call_body *b = c->body;
    if ((b->in_chunks && !chunked_is_done(&b->chunked)) ||
        (b->stated_bytes != UINT64_MAX && b->bytes != b->stated_bytes))
        return call_fail(c, &rest_IncompleteBody, "The request body terminated unexpectedly");
    for (size_t i = 0; i < CHECKSUM_KINDS; i++)
        if (b->sums[i] != NULL) {
            checksum_end(b->sums[i], b->results[i]);
            b->made[i] = true;
            checksum_close(b->sums[i]);
            b->sums[i] = NULL;
        }
    TRY(check_sha256(c));
    TRY(check_md5(c));
    return check_stated(c);
}
