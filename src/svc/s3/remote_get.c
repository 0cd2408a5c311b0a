// SPDX-License-Identifier: Apache-2.0
// GetObject of a bucket that is elsewhere. A small object is taken whole before anything is said; a
// large one comes as the client takes it. What breaks off is asked for again from there on, of the
// same version. All of an object is held against the checksum that comes with it, or its etag,
// before its last bytes are given.
#include "base/memory.h"
#include "codec/base64.h"
#include "codec/hash.h"
#include "svc/s3/remote.h"

#include <inttypes.h>
#include <stdlib.h>

enum { WHOLE_BYTES = 256 << 10, AGAIN_MAX = 5 };

struct coming {
    struct call_source source;
    struct remote *remote;
    struct arena *arena; // of the request and the etag
    struct arena *tmp;   // of one try
    RestOut request;
    Str etag;
    struct http_client *client;
    uint64_t from, at, left; // `from`: the first byte's place in the object
    unsigned agains;
    struct checksum *sum; // NULL: there is none to hold it against
    ChecksumKind kind;
    unsigned char want[CHECKSUM_BYTES_MAX];
    char *whole;
};

// ---- What the bytes must be

static bool take_sum(struct coming *k, Str text, ChecksumKind kind)
{
    char bytes[64];
    if (text.n == 0 || base64_decoded_max(text.n) > sizeof bytes)
        return false;
    Base64Result d = base64_decode(bytes, text.p, text.n);
    if (d.fault != BASE64_GOOD || d.n != checksum_bytes(kind))
        return false;
    memcpy(k->want, bytes, d.n);
    k->kind = kind;
    return true;
}

static bool is_md5(const HttpReply *reply, Str etag, unsigned char *ret)
{
    Str sealed = s3_remote_header(reply, S("x-amz-server-side-encryption"));
    bool other =
        str_starts(sealed, S("aws:")) ||
        s3_remote_header(reply, S("x-amz-server-side-encryption-customer-algorithm")).p != NULL;
    return !other && etag.n == 2 * (size_t)MD5_BYTES && hex_decode(ret, etag);
}

// Of a whole object: the checksum of all of its bytes, or the etag of one that was put at once.
static void expect(struct coming *k, const HttpReply *reply)
{
    Str type = s3_remote_header(reply, S("x-amz-checksum-type"));
    bool found = false;
    for (ChecksumKind i = 0; !found && i < CHECKSUM_KINDS; i++)
        if (checksum_header(i).p != NULL && !str_eq(type, S("COMPOSITE")))
            found = take_sum(k, s3_remote_header(reply, checksum_header(i)), i);
    Str etag = s3_unquoted(s3_remote_header(reply, S("etag")));
    if (!found && is_md5(reply, etag, k->want)) {
        k->kind = CHECKSUM_MD5;
        found = true;
    }
    if (found)
        checksum_open(k->kind, &k->sum);
}

static Err check(struct coming *k)
{
    unsigned char is[CHECKSUM_BYTES_MAX];
    if (k->sum == NULL)
        return OK;
    checksum_end(k->sum, is);
    checksum_close(k->sum);
    k->sum = NULL;
    return memcmp(is, k->want, checksum_bytes(k->kind)) == 0
               ? OK
               : fail(ERR_CORRUPT, "a remote object's bytes are not those of its checksum");
}

// ---- Bytes

static void let_go(struct coming *k, bool broken)
{
    if (k->client == NULL)
        return;
    if (broken || !http_client_kept(k->client))
        http_client_drop(k->client);
    s3_remote_give(k->remote, k->client);
    k->client = NULL;
}

// Asks for what is missing.
static Err resume(struct coming *k)
{
    RemoteReply reply;
    arena_reset(k->tmp);
    RestOut q = k->request;
    s3_remote_add_header(k->tmp, &q, S("range"),
                         str_fmt(k->tmp, "bytes=%" PRIu64 "-%" PRIu64, k->from + k->at,
                                 k->from + k->at + k->left - 1));
    s3_remote_add_header(k->tmp, &q, S("if-match"), k->etag);
    RemoteAsk ask = { .request = &q, .body = S(""), .again = true, .stream = true };
    TRY(s3_remote_ask(k->remote, k->tmp, &ask, &reply));
    if (!reply.failed && reply.head.status == 206 && reply.bytes == k->left) {
        k->client = reply.client;
        return OK;
    }
    s3_remote_done(k->remote, &reply);
    return fail(ERR_IO, "a remote object cannot be read on");
}

static Err next(struct coming *k, char *p, size_t n, size_t *ret_n)
{
    for (;;) {
        Err e = k->client != NULL ? http_client_read(k->client, p, n, ret_n) : resume(k);
        if (e.kind == ERR_NONE && *ret_n > 0)
            return OK;
        if (e.kind == ERR_NONE && k->client != NULL)
            continue; // it has been found again
        let_go(k, true);
        if (e.kind != ERR_CLOSED && e.kind != ERR_TIMEOUT && e.kind != ERR_NOT_FOUND)
            return e;
        if (++k->agains > AGAIN_MAX || atomic_load(&k->remote->over))
            return e;
    }
}

static Err read_some(struct coming *k, char *p, size_t n, size_t *ret_n)
{
    *ret_n = 0;
    if (k->left == 0)
        return OK;
    TRY(next(k, p, (size_t)MIN((uint64_t)n, k->left), ret_n));
    if (k->sum != NULL)
        checksum_add(k->sum, p, *ret_n);
    k->at += *ret_n;
    k->left -= *ret_n;
    if (k->left > 0)
        return OK;
    let_go(k, false);
    return check(k);
}

static Err read_source(struct call_source *source, char *p, size_t n, size_t *ret_n)
{
    struct coming *k = (struct coming *)source;
    if (k->whole == NULL)
        return read_some(k, p, n, ret_n);
    *ret_n = (size_t)MIN((uint64_t)n, k->source.memory.n - k->at);
    memcpy(p, k->whole + k->at, *ret_n);
    k->at += *ret_n;
    return OK;
}

static void close_source(struct call_source *source)
{
    struct coming *k = (struct coming *)source;
    let_go(k, k->left > 0);
    checksum_close(k->sum);
    free(k->whole);
    arena_close(k->tmp);
    arena_close(k->arena);
    free(k);
}

static Err take_whole(struct coming *k)
{
    size_t n = (size_t)k->left, got;
    k->whole = memory_try(MAX(n, (size_t)1));
    if (k->whole == NULL)
        return fail(ERR_MEMORY, "no memory for a small object");
    while (k->left > 0)
        TRY(read_some(k, k->whole + k->at, (size_t)k->left, &got));
    k->at = 0;
    k->source.memory = str_from(k->whole, n);
    return OK;
}

// ---- The request

static void copy_request(struct coming *k, const RestOut *q)
{
    struct arena *a = k->arena;
    k->request = (RestOut){ .method = q->method, .path = str_dup(a, q->path) };
    if (q->query.p != NULL)
        k->request.query = str_dup(a, q->query);
    for (size_t i = 0; i < q->header_count; i++) {
        const HttpHeader *h = &q->headers[i];
        if (str_starts(h->name, S("x-amz-")) && !str_eq(h->name, S("x-amz-checksum-mode")))
            s3_remote_add_header(a, &k->request, str_dup(a, h->name), str_dup(a, h->value));
    }
}

// "bytes 5-9/100": where the bytes begin.
static uint64_t first_byte(const HttpReply *reply)
{
    Str range = s3_remote_header(reply, S("content-range")), first, rest;
    uint64_t from = 0;
    if (range.p == NULL || !str_starts(range, S("bytes ")))
        return 0;
    (void)str_cut(str_skip(range, 6), '-', &first, &rest);
    return str_u64(first, &from).kind == ERR_NONE ? from : 0;
}

static struct coming *coming_open(struct remote *r, const RestOut *q, RemoteReply *reply)
{
    struct coming *k = xalloc(sizeof *k);
    k->source =
        (struct call_source){ .read = read_source, .close = close_source, .bytes = reply->bytes };
    k->remote = r;
    k->arena = arena_open();
    k->tmp = arena_open();
    k->client = reply->client;
    k->left = reply->bytes;
    k->from = first_byte(&reply->head);
    Str etag = s3_remote_header(&reply->head, S("etag"));
    k->etag = str_dup(k->arena, etag.p != NULL ? etag : S(""));
    copy_request(k, q);
    return k;
}

static void forget_sums(struct s3_GetObject_out *out)
{
    out->checksum_crc32 = out->checksum_crc32_c = out->checksum_crc64_nvme = (Str){ 0 };
    out->checksum_sha1 = out->checksum_sha256 = out->checksum_type = (Str){ 0 };
}

Err s3_remote_get(struct call *c, struct remote *r, const struct s3_GetObject_in *in,
                  struct s3_GetObject_out *out)
{
    RestOut q;
    RemoteReply reply;
    struct s3_GetObject_in with = *in;
    bool asked = str_eq(in->checksum_mode, S("ENABLED"));
    with.checksum_mode = S("ENABLED");
    TRY(s3_check_no_attributes(c));
    TRY(s3_remote_request(c, r, &with, &q));
    RemoteAsk ask = { .request = &q, .body = S(""), .again = true, .stream = true };
    Err e = s3_remote_ask(r, c->arena, &ask, &reply);
    if (e.kind != ERR_NONE)
        return s3_remote_unreached(c, r, e);
    if (reply.failed)
        return s3_remote_refused(c, r, &reply, in->key);
    if (reply.bytes == UINT64_MAX || (reply.bytes > 0 && reply.client == NULL)) {
        s3_remote_done(r, &reply);
        return s3_remote_unreached(c, r, fail(ERR_INVALID, "an object comes without its length"));
    }
    struct coming *k = coming_open(r, &q, &reply);
    e = s3_remote_take_reply(c, r, &reply.head, out);
    out->has_content_length = false;
    if (!asked)
        forget_sums(out);
    if (e.kind == ERR_NONE && reply.head.status == 200)
        expect(k, &reply.head);
    if (e.kind == ERR_NONE && k->left <= WHOLE_BYTES) {
        e = take_whole(k);
        if (e.kind != ERR_NONE)
            e = s3_remote_unreached(c, r, e);
    }
    if (e.kind != ERR_NONE) {
        close_source(&k->source);
        return e;
    }
    call_reply_source(c, &k->source);
    return OK;
}

// ---- Sources of copies

// A request names the key of its source beside that of what it makes.
static void name_source_key(struct arena *a, RestOut *q)
{
    static const Str source = S_INIT("x-amz-copy-source-");
    size_t n = 0;
    for (size_t i = 0; i < q->header_count; i++) {
        HttpHeader h = q->headers[i];
        if (str_starts(h.name, S("x-amz-server-side-encryption-customer-")))
            continue;
        if (str_starts(h.name, source))
            h.name = str_cat(a, S("x-amz-"), str_skip(h.name, source.n));
        q->headers[n++] = h;
    }
    q->header_count = n;
}

static bool is_attribute(Str name)
{
    static const Str known[] = {
        S_INIT("cache-control"),       S_INIT("content-disposition"),
        S_INIT("content-encoding"),    S_INIT("content-language"),
        S_INIT("content-type"),        S_INIT("expires"),
        S_INIT("x-amz-storage-class"), S_INIT("x-amz-website-redirect-location")
    };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (str_eq(known[i], name))
            return true;
    return str_starts(name, S("x-amz-meta-")) || str_starts(name, S("x-amz-checksum-"));
}

static void take_object(struct call *c, const HttpReply *reply, const struct s3_HeadObject_out *out,
                        struct s3_source *s)
{
    struct attributes attributes = { .arena = c->arena };
    for (size_t i = 0; i < reply->header_count; i++)
        if (is_attribute(reply->headers[i].name))
            attributes_add(&attributes, reply->headers[i].name, reply->headers[i].value);
    Str etag = s3_unquoted(out->e_tag.p != NULL ? out->e_tag : S(""));
    s->object = (BlobObject){ .key = s->key,
                              .bytes = (uint64_t)MAX(out->content_length, INT64_C(0)),
                              .etag = etag,
                              .modified_ns = out->last_modified,
                              .attributes = attributes_pairs(&attributes) };
    s->version = out->version_id;
    s->restored = str_search(out->restore, S("ongoing-request=\"false\"")) < out->restore.n;
    s->tag_count = out->has_tag_count ? out->tag_count : 0;
}

static Err look(struct call *c, struct remote *r, struct s3_source *s)
{
    struct s3_HeadObject_in in = { .bucket = r->is.name,
                                   .key = s->key,
                                   .version_id = s->version_id,
                                   .checksum_mode = S("ENABLED") };
    struct s3_HeadObject_out out = { 0 };
    RestOut q;
    RemoteReply reply;
    TRY(s3_remote_request(c, r, &in, &q));
    name_source_key(c->arena, &q);
    RemoteAsk ask = { .request = &q, .body = S(""), .again = true };
    Err e = s3_remote_ask(r, c->arena, &ask, &reply);
    if (e.kind != ERR_NONE)
        return s3_remote_unreached(c, r, e);
    if (reply.failed && reply.head.status == 404 && s->version_id.p != NULL)
        return call_fail(c, &s3_NoSuchVersion, "The specified version does not exist.");
    if (reply.failed)
        return s3_remote_refused(c, r, &reply, s->key);
    TRY(rest_out_reply(c->op, reply.head.headers, reply.head.header_count, S(""), c->arena, &out));
    take_object(c, &reply.head, &out, s);
    q.method = S("GET");
    reply.bytes = 0;
    struct coming *k = coming_open(r, &q, &reply);
    expect(k, &reply.head);
    s->bytes = &k->source;
    return OK;
}

Err s3_remote_look(struct call *c, struct remote *r, struct s3_source *s)
{
    const struct api_op *op = c->op;
    c->op = s3_api_op(S("HeadObject"));
    Err e = look(c, r, s);
    c->op = op;
    return e;
}

void s3_remote_read_on(struct s3_source *s)
{
    struct coming *k = (struct coming *)s->bytes;
    k->from = s->at;
    k->at = 0;
    k->left = s->left;
    if (s->at == 0 && s->left == s->object.bytes)
        return;
    checksum_close(k->sum); // it is of all bytes
    k->sum = NULL;
}

static Err ask_tags(struct call *c, const struct s3_source *s, struct s3_GetObjectTagging_out *out)
{
    struct s3_GetObjectTagging_in in = { .bucket = s->bucket.name,
                                         .key = s->key,
                                         .version_id = s->version };
    RestOut q;
    TRY(s3_remote_request(c, s->remote, &in, &q));
    return s3_remote_pass(c, s->remote, &q, s->key, out);
}

Err s3_remote_tags(struct call *c, const struct s3_source *s, BlobPairs *ret)
{
    struct s3_GetObjectTagging_out out = { 0 };
    const struct api_op *op = c->op;
    c->op = s3_api_op(S("GetObjectTagging"));
    Err e = ask_tags(c, s, &out);
    c->op = op;
    TRY(e);
    BlobPair *tags = arena_new(c->arena, BlobPair, out.tag_set.n + 1);
    for (size_t i = 0; i < out.tag_set.n; i++)
        tags[i] = (BlobPair){ out.tag_set.at[i].key, out.tag_set.at[i].value };
    *ret = (BlobPairs){ .at = tags, .n = out.tag_set.n };
    return OK;
}
