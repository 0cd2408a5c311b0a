// SPDX-License-Identifier: Apache-2.0
// PutObject and UploadPart of a bucket that is elsewhere. A small body is gathered and sent when it
// is known to be what its sender has said, again if need be. A large one goes as it comes, in
// signed chunks; the last of them, without which the other side makes nothing of the rest, waits
// until the body has been held against everything that its sender has said.
#include "aws/chunked_out.h"
#include "base/memory.h"
#include "codec/hash.h"
#include "svc/s3/remote.h"

#include <stdlib.h>

struct s3_remote_body {
    struct remote *remote;
    RestOut request;
    Str key;
    uint64_t bytes;             // all of them
    Str trailer;                // of a checksum that comes behind the body; absent: none
    size_t trailer_bytes;       // of its value
    struct http_client *client; // NULL: the body is small, and gathered
    struct chunked_out chunks;
    struct buf gathered; // all of a small body; of a large one what is no chunk yet
    struct buf wire;     // chunks on their way
};

// ---- Large bodies

static Err lost(struct call *c, struct s3_remote_body *b, Err e)
{
    http_client_drop(b->client);
    s3_remote_give(b->remote, b->client);
    b->client = NULL;
    return s3_remote_unreached(c, b->remote, e);
}

static Err push(struct s3_remote_body *b)
{
    TRY(buf_err(&b->wire));
    Err e = http_client_send(b->client, buf_str(&b->wire));
    buf_clear(&b->wire);
    return e;
}

// It takes no more: it may have said why.
static Err hear_why(struct call *c, struct s3_remote_body *b, Err e)
{
    RemoteReply reply;
    if (e.kind != ERR_CLOSED)
        return lost(c, b, e);
    Err read = s3_remote_end(b->remote, c->arena, b->client, &reply);
    b->client = NULL;
    if (read.kind != ERR_NONE || !reply.failed)
        return s3_remote_unreached(c, b->remote, e);
    return s3_remote_refused(c, b->remote, &reply, b->key);
}

static Err start(struct call *c, struct s3_remote_body *b)
{
    Sigv4Payload payload;
    struct arena *a = c->arena;
    uint64_t length = chunked_out_bytes(b->bytes, b->trailer, b->trailer_bytes);
    s3_remote_add_header(a, &b->request, S("x-amz-decoded-content-length"),
                         str_fmt(a, "%llu", (unsigned long long)b->bytes));
    if (b->trailer.p != NULL)
        s3_remote_add_header(a, &b->request, S("x-amz-trailer"), b->trailer);
    Err e = s3_remote_begin(b->remote, a, &b->request,
                            b->trailer.p != NULL ? S("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")
                                                 : S("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
                            length, &b->client, &payload);
    if (e.kind != ERR_NONE)
        return s3_remote_unreached(c, b->remote, e);
    chunked_out_init(&b->chunks, &payload);
    explicit_bzero(&payload.key, sizeof payload.key);
    return OK;
}

static Err end_large(struct call *c, struct s3_remote_body *b, Str sum, RemoteReply *reply)
{
    if (b->gathered.n > 0)
        chunked_out_add(&b->chunks, buf_str(&b->gathered), &b->wire);
    chunked_out_end(&b->chunks, b->trailer, sum, &b->wire);
    Err e = push(b);
    if (e.kind != ERR_NONE && e.kind != ERR_CLOSED)
        return lost(c, b, e);
    e = s3_remote_end(b->remote, c->arena, b->client, reply);
    b->client = NULL;
    return e.kind != ERR_NONE ? s3_remote_unreached(c, b->remote, e) : OK;
}

// ---- Small ones

static Err end_small(struct call *c, struct s3_remote_body *b, Str md5, Str sum, RemoteReply *reply)
{
    if (md5.p != NULL)
        s3_remote_add_header(c->arena, &b->request, S("content-md5"), md5);
    if (b->trailer.p != NULL)
        s3_remote_add_header(c->arena, &b->request, b->trailer, sum);
    RemoteAsk ask = { .request = &b->request, .body = buf_str(&b->gathered), .again = true };
    Err e = s3_remote_ask(b->remote, c->arena, &ask, reply);
    return e.kind != ERR_NONE ? s3_remote_unreached(c, b->remote, e) : OK;
}

// ---- Both

Err s3_remote_body_open(struct call *c, struct remote *r, const RestOut *q, Str key, uint64_t bytes,
                        const ChecksumKind *kind, struct s3_remote_body **ret)
{
    struct s3_remote_body *b = arena_new(c->arena, struct s3_remote_body, 1);
    *b = (struct s3_remote_body){ .remote = r, .request = *q, .key = key, .bytes = bytes };
    if (kind != NULL) {
        b->trailer = checksum_header(*kind);
        b->trailer_bytes = (checksum_bytes(*kind) + 2) / 3 * 4; // in base64
    }
    buf_init_request(&b->gathered, REMOTE_WHOLE_BYTES);
    buf_init_request(&b->wire, 0);
    Err e = bytes > REMOTE_WHOLE_BYTES ? start(c, b) : OK;
    if (e.kind == ERR_NONE)
        *ret = b;
    else
        s3_remote_body_close(b);
    return e;
}

Err s3_remote_body_add(struct call *c, struct s3_remote_body *b, Str piece)
{
    if (b->client == NULL) {
        buf_add(&b->gathered, piece);
        return buf_err(&b->gathered);
    }
    while (piece.n > 0) {
        size_t n = MIN(piece.n, CHUNK_OUT_BYTES - b->gathered.n);
        buf_add(&b->gathered, str_head(piece, n));
        piece = str_skip(piece, n);
        if (b->gathered.n < CHUNK_OUT_BYTES)
            break;
        TRY(buf_err(&b->gathered));
        chunked_out_add(&b->chunks, buf_str(&b->gathered), &b->wire);
        buf_clear(&b->gathered);
        Err e = push(b);
        if (e.kind == ERR_MEMORY)
            return e;
        if (e.kind != ERR_NONE)
            return hear_why(c, b, e);
    }
    return buf_err(&b->gathered);
}

Err s3_remote_body_end(struct call *c, struct s3_remote_body *b, Str md5, Str sum, RemoteReply *ret)
{
    TRY(b->client != NULL ? end_large(c, b, sum, ret) : end_small(c, b, md5, sum, ret));
    return ret->failed ? s3_remote_refused(c, b->remote, ret, b->key) : OK;
}

void s3_remote_body_close(struct s3_remote_body *b)
{
    if (b == NULL)
        return;
    if (b->client != NULL) {
        http_client_drop(b->client); // what was sent so far becomes nothing
        s3_remote_give(b->remote, b->client);
    }
    explicit_bzero(&b->chunks, sizeof b->chunks);
    buf_done(&b->gathered);
    buf_done(&b->wire);
}

// ---- Bodies that come with requests

struct sending {
    struct call_sink sink;
    struct remote *remote;
    struct s3_remote_body *body;
    Str key;
    void *out;
    uint64_t bytes;
    bool is_part;
};

static Err take(struct call *c, struct call_sink *sink, Str piece)
{
    return s3_remote_body_add(c, ((struct sending *)sink)->body, piece);
}

static Str sum_text(struct call *c, ChecksumKind kind)
{
    const unsigned char *sum = body_checksum(c, kind);
    return sum != NULL ? s3_checksum_text(c->arena, sum, checksum_bytes(kind)) : (Str){ 0 };
}

static Err finish(struct call *c, struct sending *s)
{
    RemoteReply reply;
    ChecksumKind kind = CHECKSUM_CRC32;
    bool chosen = body_chosen(c, &kind);
    TRY(s3_remote_body_end(c, s->body, sum_text(c, CHECKSUM_MD5),
                           chosen ? sum_text(c, kind) : (Str){ 0 }, &reply));
    TRY(s3_remote_take_reply(c, s->remote, &reply.head, s->out));
    if (!s->is_part) {
        struct s3_PutObject_out *out = s->out;
        s3_remote_tell(c, s->remote, "ObjectCreated:Put", s->key, out->e_tag, s->bytes,
                       out->version_id);
    }
    return OK;
}

static Err end(struct call *c, struct call_sink *sink, Err e)
{
    struct sending *s = (struct sending *)sink;
    if (e.kind == ERR_NONE)
        e = finish(c, s);
    s3_remote_body_close(s->body);
    return e;
}

static Err check_bytes(struct call *c, uint64_t bytes)
{
    if (bytes == UINT64_MAX)
        return call_fail(c, &rest_MissingContentLength,
                         "You must provide the Content-Length HTTP header.");
    if (bytes <= S3_PUT_BYTES_MAX)
        return OK;
    call_detail(c, S("MaxSizeAllowed"),
                str_fmt(c->arena, "%llu", (unsigned long long)S3_PUT_BYTES_MAX));
    return call_fail(c, &s3_EntityTooLarge,
                     "Your proposed upload exceeds the maximum allowed size");
}

// The encoding of the body on its way here is not the object's.
static void drop_chunked(RestOut *q)
{
    size_t n = 0;
    for (size_t i = 0; i < q->header_count; i++) {
        HttpHeader h = q->headers[i];
        if (str_eq(h.name, S("content-encoding")) && str_starts(h.value, S("aws-chunked"))) {
            h.value = str_trim(str_skip(h.value, S("aws-chunked").n));
            if (str_starts(h.value, S(",")))
                h.value = str_trim(str_skip(h.value, 1));
            if (h.value.n == 0)
                continue;
        }
        q->headers[n++] = h;
    }
    q->header_count = n;
}

Err s3_remote_put(struct call *c, struct remote *r, const void *in, void *out)
{
    struct attributes unused = { .arena = c->arena };
    struct sending *s = arena_new(c->arena, struct sending, 1);
    *s = (struct sending){ .sink = { .take = take, .end = end },
                           .remote = r,
                           .key = s3_text_of(c->op->input, in, S("Key")),
                           .out = out,
                           .bytes = c->body->stated_bytes,
                           .is_part = str_eq(c->op->name, S("UploadPart")) };
    ChecksumKind kind;
    RestOut q;
    if (!s->is_part)
        TRY(s3_check_no_part(c));
    TRY(check_bytes(c, s->bytes));
    if (!s->is_part)
        TRY(s3_take_acl(c, in, &unused));
    TRY(s3_remote_request(c, r, in, &q));
    drop_chunked(&q);
    if (s->bytes <= REMOTE_WHOLE_BYTES)
        body_want(c, CHECKSUM_MD5);
    bool behind = body_chosen(c, &kind) && c->body->in_trailer;
    TRY(s3_remote_body_open(c, r, &q, s->key, s->bytes, behind ? &kind : NULL, &s->body));
    return call_take_body(c, &s->sink);
}
