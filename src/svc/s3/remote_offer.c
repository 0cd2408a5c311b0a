// SPDX-License-Identifier: Apache-2.0
// Objects of buckets that are elsewhere for other services (hub/objects.h). What is written is kept
// in a file here until its key is known and all of it is there; then it goes out in one piece, so
// that it can be sent again.
#include "base/memory.h"
#include "codec/hash.h"
#include "os/io.h"
#include "svc/s3/remote.h"

#include <stdlib.h>

struct s3_remote_put {
    struct remote *remote;
    struct io_file *file; // without a name: nothing is left after a crash
    uint64_t bytes;
};

// ---- Writing

Err s3_remote_put_open(struct s3 *s, struct remote *r, struct s3_remote_put **ret)
{
    AUTO(arena) tmp = arena_open();
    struct io *io = s->env.io;
    unsigned char id[8];
    struct io_file *file = NULL;
    io->random(io, id, sizeof id);
    Str dir = str_cat(tmp, s->env.data_dir, S("/remote"));
    Str path = str_cat3(tmp, dir, S("/"), hex_str(tmp, id, sizeof id));
    TRY(io->mkdir(io, dir));
    TRY(io->open(io, path, IO_WRITE | IO_CREATE | IO_EXCL, &file));
    Err e = io->unlink(io, path);
    if (e.kind != ERR_NONE) {
        io->close(file);
        return e;
    }
    struct s3_remote_put *p = xalloc(sizeof *p);
    *p = (struct s3_remote_put){ .remote = r, .file = file };
    *ret = p;
    return OK;
}

Err s3_remote_put_write(struct s3_remote_put *p, Str bytes)
{
    if (p->bytes + bytes.n > S3_PUT_BYTES_MAX)
        return fail(ERR_LIMIT, "an object for a remote bucket is too large for one request");
    TRY(p->remote->io->write(p->file, bytes.p, bytes.n, p->bytes, false));
    p->bytes += bytes.n;
    return OK;
}

void s3_remote_put_close(struct s3_remote_put *p)
{
    if (p == NULL)
        return;
    p->remote->io->close(p->file);
    free(p);
}

static Err send_file(struct s3_remote_put *p, struct http_client *client)
{
    struct io *io = p->remote->io;
    char *piece = memory_try(S3_PIECE_BYTES);
    Err e = piece != NULL ? OK : fail(ERR_MEMORY, "no memory to send an object");
    for (uint64_t at = 0; e.kind == ERR_NONE && at < p->bytes;) {
        size_t n = 0;
        e = io->read(p->file, piece, (size_t)MIN((uint64_t)S3_PIECE_BYTES, p->bytes - at), at, &n);
        if (e.kind == ERR_NONE && n == 0)
            e = fail(ERR_CORRUPT, "a file of a remote object is too short");
        if (e.kind == ERR_NONE)
            e = http_client_send(client, str_from(piece, n));
        at += n;
    }
    free(piece);
    return e;
}

static Err send_once(struct s3_remote_put *p, struct arena *a, const RestOut *q, Str hash,
                     RemoteReply *ret)
{
    struct http_client *client;
    Sigv4Payload unused;
    TRY(s3_remote_begin(p->remote, a, q, hash, p->bytes, &client, &unused));
    Err e = send_file(p, client);
    if (e.kind == ERR_NONE || e.kind == ERR_CLOSED) {
        Err read = s3_remote_end(p->remote, a, client, ret); // it may have said why it closed
        return e.kind == ERR_NONE || read.kind == ERR_NONE ? read : e;
    }
    http_client_drop(client);
    s3_remote_give(p->remote, client);
    return e;
}

// Whether the same may be taken in a moment; what a maker has not built will not.
static bool is_passing(const RemoteReply *reply)
{
    return reply->failed && reply->head.status >= 500 && reply->head.status != 501;
}

// A put of the same bytes twice is the same as once: it may be sent again.
static Err send(struct s3_remote_put *p, struct arena *a, const RestOut *q, Str hash,
                RemoteReply *ret)
{
    struct io *io = p->remote->io;
    int64_t wait_ns = REMOTE_BACKOFF_NS;
    for (unsigned i = 1;; i++) {
        Err e = send_once(p, a, q, hash, ret);
        bool again = e.kind == ERR_CLOSED || (e.kind == ERR_NONE && is_passing(ret));
        if (!again || i == REMOTE_TRIES || atomic_load(&p->remote->over))
            return e;
        io->sleep_ns(io, wait_ns);
        wait_ns *= 2;
    }
}

Err s3_remote_put_finish(struct call *c, struct s3_remote_put *p, Str key, BlobPairs attributes,
                         Str md5, Str sha256_hex, const char *event, BlobObject *ret,
                         Str *ret_version)
{
    struct remote *r = p->remote;
    struct s3_PutObject_in in = { .bucket = r->is.name, .key = key };
    RestOut q;
    RemoteReply reply;
    TRY(s3_remote_request(c, r, &in, &q));
    for (size_t i = 0; i < attributes.n; i++)
        if (!str_starts(attributes.at[i].name, S("s3-")) &&
            !str_eq(attributes.at[i].name, S("x-amz-checksum-type")))
            s3_remote_add_header(c->arena, &q, attributes.at[i].name, attributes.at[i].value);
    s3_remote_add_header(c->arena, &q, S("content-md5"), md5);
    Err e = send(p, c->arena, &q, sha256_hex, &reply);
    if (e.kind != ERR_NONE)
        return e; // whoever delivers tries again
    if (is_passing(&reply))
        return fail(ERR_IO, "a remote bucket's endpoint has failed");
    if (reply.failed)
        return s3_remote_refused(c, r, &reply, key);
    Str etag = s3_remote_header(&reply.head, S("etag"));
    *ret = (BlobObject){ .key = key,
                         .bytes = p->bytes,
                         .etag = s3_unquoted(etag.p != NULL ? etag : S("")) };
    *ret_version = s3_remote_header(&reply.head, S("x-amz-version-id"));
    s3_remote_tell(c, r, event, key, ret->etag, p->bytes, *ret_version);
    return OK;
}

// ---- Reading, listing, removing: as a client would ask

static Err ask(struct call *c, struct remote *r, const RestOut *q, Str key, RemoteReply *ret)
{
    RemoteAsk what = { .request = q, .body = S(""), .again = true };
    TRY(s3_remote_ask(r, c->arena, &what, ret));
    if (!ret->failed)
        return OK;
    if (ret->head.status >= 500)
        return fail(ERR_IO, "a remote bucket's endpoint has failed");
    return s3_remote_refused(c, r, ret, key);
}

Err s3_remote_read_piece(struct call *c, struct remote *r, Str key, uint64_t at, size_t max,
                         Str *ret)
{
    RestOut q;
    RemoteReply reply;
    struct s3_GetObject_in in = { .bucket = r->is.name, .key = key };
    c->op = s3_api_op(S("GetObject"));
    in.range = str_fmt(c->arena, "bytes=%llu-%llu", (unsigned long long)at,
                       (unsigned long long)(at + MAX(max, (size_t)1) - 1));
    TRY(s3_remote_request(c, r, &in, &q));
    Err e = ask(c, r, &q, key, &reply);
    if (e.kind == ERR_FAULT && c->error == &s3_InvalidRange) { // it ends before
        c->error = NULL;
        *ret = S("");
        return OK;
    }
    TRY(e);
    // Whoever does not know ranges gives all of it.
    Str all = reply.head.body;
    if (reply.head.status == 200)
        all = at < all.n ? str_skip(all, (size_t)at) : S("");
    *ret = str_head(all, max);
    return OK;
}

Err s3_remote_list_some(struct call *c, struct remote *r, Str prefix, Str after, BlobPage *ret)
{
    RestOut q;
    RemoteReply reply;
    struct s3_ListObjectsV2_in in = { .bucket = r->is.name,
                                      .prefix = prefix.p != NULL ? prefix : S("") };
    struct s3_ListObjectsV2_out out = { 0 };
    c->op = s3_api_op(S("ListObjectsV2"));
    if (after.n > 0)
        in.start_after = after;
    TRY(s3_remote_request(c, r, &in, &q));
    TRY(ask(c, r, &q, (Str){ 0 }, &reply));
    TRY(rest_out_reply(c->op, reply.head.headers, reply.head.header_count, reply.head.body,
                       c->arena, &out));
    ret->objects = arena_new(c->arena, BlobObject, out.contents.n + 1);
    ret->object_count = out.contents.n;
    ret->more = out.has_is_truncated && out.is_truncated;
    for (size_t i = 0; i < out.contents.n; i++)
        ret->objects[i] = (BlobObject){ .key = s3_remote_local(r, out.contents.at[i].key),
                                        .bytes = (uint64_t)out.contents.at[i].size,
                                        .modified_ns = out.contents.at[i].last_modified };
    return OK;
}

Err s3_remote_remove_one(struct call *c, struct remote *r, Str key)
{
    RestOut q;
    RemoteReply reply;
    struct s3_DeleteObject_in in = { .bucket = r->is.name, .key = key };
    c->op = s3_api_op(S("DeleteObject"));
    TRY(s3_remote_request(c, r, &in, &q));
    return ask(c, r, &q, key, &reply);
}
