// SPDX-License-Identifier: Apache-2.0
// The protocol of HTTP endpoints, which Datadog, New Relic, MongoDB and the other vendors' intakes
// speak, too (Firehose developer guide, "HTTP endpoint delivery request and response
// specifications"):
//
//     POST <path and query as configured>
//     X-Amz-Firehose-Protocol-Version: 1.0            X-Amz-Firehose-Request-Id: <UUID>
//     X-Amz-Firehose-Source-Arn: <delivery stream>    X-Amz-Firehose-Access-Key: <as configured>
//     X-Amz-Firehose-Common-Attributes: {"commonAttributes":{...}}
//     {"requestId":"<UUID>","timestamp":<ms>,"records":[{"data":"<base64>"},...]}
//
// Only 200 with a JSON body that has the request's id and a timestamp means that it was taken.
#include "base/time.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "delivery/compress.h"
#include "delivery/sink.h"
#include "delivery/sink_net.h"
#include "delivery/sink_reply.h"
#include "delivery/sink_secret.h"
#include "os/io.h"

#include <stdlib.h>

enum {
    RECORDS_MAX = 10000,
    BYTES_MAX = 64 << 20, // of records, before they are encoded
    REPLY_BYTES_MAX = 1 << 20,
    MESSAGE_BYTES_MAX = 8192, // of errorMessage
    CONNECT_S = 20,
    ANSWER_S = 180,
    PIECE_BYTES = 64 << 10, // of what is compressed at a time
    ENTRY_BYTES = 13,       // {"data":""},
    HEADERS_MAX = 8,
};

struct endpoint_sink {
    struct sink sink; // first
    const struct delivery_env *env;
    struct arena *names;
    struct sink_net *net;
    struct sink_secret *secret; // NULL: the key is here, or there is none
    Str target, arn, access_key, attributes;
    bool gzip;
};

// ---- Open

static Str write_attributes(struct arena *a, const DeliveryHttp *http)
{
    AUTO_BUF(b);
    struct event_writer w;
    json_writer_init(&w, &b);
    w.ops->map(&w);
    w.ops->key(&w, S("commonAttributes"));
    w.ops->map(&w);
    for (size_t i = 0; i < http->attribute_count; i++) {
        w.ops->key(&w, http->attributes[i].name);
        w.ops->text(&w, http->attributes[i].value);
    }
    w.ops->map_end(&w);
    w.ops->map_end(&w);
    return str_dup(a, buf_str(&b));
}

static void close_sink(struct sink *s)
{
    struct endpoint_sink *h = (struct endpoint_sink *)s;
    if (h == NULL)
        return;
    sink_net_close(h->net);
    sink_secret_close(h->secret);
    arena_close(h->names);
    free(h);
}

static Err open_sink(struct delivery_env *env, const DeliveryConfig *config, struct sink **ret,
                     struct arena *a, Str *ret_text)
{
    const SinkNetLimits limits = { .connect_ns = CONNECT_S * NS_PER_S,
                                   .total_ns = ANSWER_S * NS_PER_S,
                                   .reply_max = REPLY_BYTES_MAX };
    SinkUrl url;
    TRY(sink_url_parse(env, a, config->http.url, &url, ret_text));
    Str key = config->http.access_key;
    if (str_find(key, '\n') < key.n || str_find(key, '\r') < key.n) {
        *ret_text = S("The access key of an HTTP endpoint holds a line end.");
        return fail(ERR_INVALID, "an access key with a line end");
    }
    struct endpoint_sink *h = xalloc(sizeof *h);
    h->sink.ops = &sink_http;
    h->env = env;
    h->names = arena_open();
    h->target = str_dup(h->names, url.target);
    h->arn = str_dup(h->names, config->arn);
    sink_secret_open(env, config, &h->secret);
    if (key.p != NULL)
        h->access_key = str_dup(h->names, key);
    if (config->http.attribute_count > 0)
        h->attributes = write_attributes(h->names, &config->http);
    h->gzip = config->http.gzip;
    Err e = sink_net_open(env, url.base, &limits, &h->net);
    if (e.kind != ERR_NONE)
        close_sink(&h->sink);
    else
        *ret = &h->sink;
    return e;
}

// ---- The request

static Err into_buf(void *self, Str bytes)
{
    buf_add(self, bytes);
    return buf_err(self);
}

static Err pass_on(struct compressor *gzip, struct buf *plain, size_t at_least)
{
    if (gzip == NULL || plain->n < at_least)
        return OK;
    TRY(buf_err(plain));
    TRY(compressor_write(gzip, buf_str(plain)));
    buf_clear(plain);
    return OK;
}

// Compressed, it passes through `plain` in pieces; else it is all there in the end.
static Err write_body(const struct endpoint_sink *h, const SinkAttempt *at, struct compressor *gzip,
                      struct buf *plain)
{
    size_t bytes = 0, written = 0;
    for (size_t i = 0; i < at->batch->n; i++)
        if (at->pending[i])
            bytes += base64_encoded_bytes(at->batch->at[i].data.n) + ENTRY_BYTES;
    if (gzip == NULL && !buf_reserve(plain, bytes + PIECE_BYTES))
        return buf_err(plain);
    buf_addf(plain, "{\"requestId\":\"%.*s\",\"timestamp\":%lld,\"records\":[", FMT(at->request_id),
             (long long)(h->env->io->wall_ns(h->env->io) / NS_PER_MS));
    for (size_t i = 0; i < at->batch->n; i++) {
        if (!at->pending[i])
            continue;
        buf_add(plain, written++ > 0 ? S(",{\"data\":\"") : S("{\"data\":\""));
        buf_add_base64(plain, at->batch->at[i].data);
        buf_add(plain, S("\"}"));
        TRY(pass_on(gzip, plain, PIECE_BYTES));
    }
    buf_add(plain, S("]}"));
    TRY(buf_err(plain));
    TRY(pass_on(gzip, plain, 0));
    return gzip != NULL ? compressor_finish(gzip) : OK;
}

static void add(HttpHeader *out, size_t *n, Str name, Str value)
{
    if (value.p == NULL)
        return;
    CHECK(*n < HEADERS_MAX);
    out[*n] = (HttpHeader){ name, value };
    *n += 1;
}

static size_t write_headers(const struct endpoint_sink *h, const SinkAttempt *at, HttpHeader *out)
{
    size_t n = 0;
    add(out, &n, S("Content-Type"), S("application/json"));
    add(out, &n, S("Content-Encoding"), h->gzip ? S("gzip") : (Str){ 0 });
    add(out, &n, S("X-Amz-Firehose-Protocol-Version"), S("1.0"));
    add(out, &n, S("X-Amz-Firehose-Request-Id"), at->request_id);
    add(out, &n, S("X-Amz-Firehose-Source-Arn"), h->arn);
    add(out, &n, S("X-Amz-Firehose-Access-Key"), h->access_key);
    add(out, &n, S("X-Amz-Firehose-Common-Attributes"), h->attributes);
    return n;
}

// ---- The reply

static SinkResult failed(SinkAttempt *at, SinkResult result, Str code, Str message)
{
    at->code = code;
    at->message = message;
    return result;
}

static SinkResult not_reached(SinkAttempt *at, SinkNet net, Str text)
{
    static const Str codes[] = {
        [NET_CONNECT] = S_INIT("HttpEndpoint.ConnectionFailed"),
        [NET_TLS] = S_INIT("HttpEndpoint.SSLHandshakeFailure"),
        [NET_TIMEOUT] = S_INIT("HttpEndpoint.RequestTimeout"),
        [NET_RESET] = S_INIT("HttpEndpoint.ConnectionReset"),
        [NET_LARGE] = S_INIT("HttpEndpoint.ResponseTooLarge"),
        [NET_GARBLED] = S_INIT("HttpEndpoint.InvalidResponseFromDestination"),
    };
    return failed(at, SINK_RETRY, codes[net], text);
}

// Why a reply with status 200 does not count; absent: it does.
static Str objection(struct arena *a, const HttpReply *r, Str request_id)
{
    EndpointReply reply;
    if (!str_eq(sink_media_type(a, r), S("application/json")))
        return S("The endpoint's response is not of type application/json.");
    if (sink_header(r, S("content-encoding")).p != NULL)
        return S("The endpoint's response has a content encoding.");
    if (sink_header(r, S("content-length")).p == NULL)
        return S("The endpoint's response has no Content-Length.");
    if (endpoint_reply_read(a, r->body, &reply).kind != ERR_NONE)
        return S("The endpoint's response is not a JSON object.");
    if (!str_eq(reply.request_id, request_id))
        return str_fmt(a, "The endpoint's response has the requestId \"%.*s\" instead of \"%.*s\".",
                       FMT(sink_excerpt(reply.request_id, MESSAGE_BYTES_MAX)), FMT(request_id));
    if (!reply.timestamp)
        return S("The endpoint's response has no timestamp.");
    return (Str){ 0 };
}

static Str refusal_text(struct arena *a, const HttpReply *r)
{
    EndpointReply reply;
    Str said = r->body;
    if (endpoint_reply_read(a, r->body, &reply).kind == ERR_NONE && reply.error_message.p != NULL)
        said = reply.error_message;
    else if (str_utf8_count(said) == SIZE_MAX)
        said = S(""); // no text
    return str_fmt(a, "The endpoint answered with status %u: %.*s", r->status,
                   FMT(sink_excerpt(said, MESSAGE_BYTES_MAX)));
}

static SinkResult judge(SinkAttempt *at, const HttpReply *r)
{
    size_t bytes = r->body.n;
    for (size_t i = 0; i < r->header_count; i++)
        bytes += r->headers[i].name.n + r->headers[i].value.n + S(": \r\n").n;
    if (bytes > REPLY_BYTES_MAX)
        return not_reached(at, NET_LARGE, S("The endpoint's response is larger than 1 MiB."));
    if (r->status != 200)
        return failed(at, r->status == 413 ? SINK_REFUSED : SINK_RETRY,
                      S("HttpEndpoint.DestinationException"), refusal_text(at->arena, r));
    Str why = objection(at->arena, r, at->request_id);
    if (why.p != NULL)
        return failed(at, SINK_RETRY, S("HttpEndpoint.InvalidResponseFromDestination"), why);
    for (size_t i = 0; i < at->batch->n; i++)
        at->pending[i] = false;
    at->pending_count = 0;
    return SINK_DELIVERED;
}

static SinkResult send_body(struct endpoint_sink *h, SinkAttempt *at, Str body)
{
    HttpHeader headers[HEADERS_MAX];
    size_t n = write_headers(h, at, headers);
    HttpReply reply;
    Str text;
    SinkNet net = sink_net_call(h->net, at, h->target, headers, n, body, &reply, &text);
    at->bytes_sent = body.n;
    return net == NET_GOOD ? judge(at, &reply) : not_reached(at, net, text);
}

static SinkResult deliver(struct sink *s, SinkAttempt *at)
{
    struct endpoint_sink *h = (struct endpoint_sink *)s;
    AUTO_BUF(plain);
    AUTO_BUF(packed);
    buf_init_request(&plain, 0); // refused rather than more than there is
    buf_init_request(&packed, 0);
    AUTO(compressor) gzip = NULL;
    if (h->secret != NULL && !sink_secret_get(h->secret, at, S("api_key"), &h->access_key))
        return SINK_RETRY;
    if (h->gzip)
        compressor_open(DELIVERY_GZIP, false, S(""), into_buf, &packed, &gzip);
    Err e = write_body(h, at, gzip, &plain);
    if (e.kind != ERR_NONE)
        return failed(at, SINK_RETRY, S("InternalError"), str_of(e.text));
    return send_body(h, at, buf_str(h->gzip ? &packed : &plain));
}

static int64_t pause_ns(struct sink *s, int64_t attempts)
{
    return sink_back_off_ns(((struct endpoint_sink *)s)->env, attempts);
}

const struct sink_ops sink_http = {
    .error_type = "http-endpoint-failed",
    .metric = "HttpEndpoint",
    .records_max = RECORDS_MAX,
    .bytes_max = BYTES_MAX,
    .open = open_sink,
    .close = close_sink,
    .deliver = deliver,
    .pause_ns = pause_ns,
};
