// SPDX-License-Identifier: Apache-2.0
#include "aws/s3_out.h"
#include "aws/rest_out.h"
#include "aws/sigv4.h"
#include "os/io.h"

Str s3_out_encoded(struct arena *a, Str value)
{
    return rest_out_encoded(a, value, false);
}

Str s3_out_header(const S3OutReply *reply, Str name)
{
    for (size_t i = 0; i < reply->http.header_count; i++)
        if (str_eq(reply->http.headers[i].name, name))
            return reply->http.headers[i].value;
    return (Str){ 0 };
}

// Replies to HEAD have no body, and what a proxy says is no XML.
static void read_error(struct arena *a, const RestOutError *said, S3OutReply *r)
{
    r->code = said->code;
    r->message = said->message;
    if (r->code.n == 0)
        r->code = r->status == 404 ? S("NotFound") : str_fmt(a, "HTTP status %u", r->status);
}

// The end of an upload, a copy and a removal of many may say 200 and be an error all the same. An
// object that is asked for may look like one.
static void check_reply(struct arena *a, const S3OutCall *call, S3OutReply *r)
{
    RestOutError said;
    bool good = r->status >= 200 && r->status <= 299, own = !str_eq(call->method, S("GET"));
    if (good && !own)
        return;
    bool is_error = rest_out_error(r->http.body, a, &said);
    if (!good || is_error)
        read_error(a, &said, r);
}

Err s3_out_call(const S3Out *s, struct arena *a, const S3OutCall *call, S3OutReply *ret)
{
    unsigned char hash[SHA256_BYTES];
    HttpHeader headers[S3_OUT_HEADERS_MAX + 8];
    size_t n;
    CHECK(call->header_count <= S3_OUT_HEADERS_MAX);
    AUTO_BUF(path);
    buf_add(&path, S("/"));
    if (call->bucket.p != NULL)
        buf_add(&path, rest_out_encoded(a, call->bucket, false));
    if (call->key.p != NULL) {
        buf_add(&path, S("/"));
        buf_add(&path, rest_out_encoded(a, call->key, true));
    }
    sha256(call->body.p, call->body.n, hash);
    headers[0] = (HttpHeader){ S("host"), http_client_host(s->http) };
    headers[1] = (HttpHeader){ S("x-amz-content-sha256"), hex_str(a, hash, sizeof hash) };
    n = 2;
    for (size_t i = 0; i < call->header_count; i++)
        headers[n++] = call->headers[i];
    Sigv4Sign sign = { .access_key = s->access_key,
                       .secret = s->secret_key,
                       .session_token = s->session_token,
                       .region = s->region,
                       .service = S("s3"),
                       .method = call->method,
                       .path = buf_str(&path),
                       .query = call->query,
                       .headers = headers,
                       .header_count = n,
                       .body = call->body,
                       .now_ns = s->io->wall_ns(s->io) };
    Sigv4Headers made = { 0 };
    TRY(sigv4_sign(&sign, a, &made));
    for (size_t i = 0; i < made.n; i++)
        headers[n++] = made.at[i];
    Str target = call->query.n > 0 ? str_cat3(a, buf_str(&path), S("?"), call->query)
                                   : str_dup(a, buf_str(&path));
    *ret = (S3OutReply){ 0 };
    TRY(http_client_call(s->http, a, call->method, target, headers, n, call->body, &ret->http));
    ret->status = ret->http.status;
    check_reply(a, call, ret);
    return OK;
}
