// SPDX-License-Identifier: Apache-2.0
// Replies: the headers that all of them have, bodies of errors, metrics and the access log.
#include "aws/body.h"
#include "aws/front_priv.h"
#include "aws/query.h"
#include "base/logline.h"
#include "base/memory.h"
#include "base/time.h"
#include "codec/base64.h"
#include "codec/hash.h"
#include "os/io.h"

#include <string.h>

enum { ID_2_BYTES = 72, UUID_CHARS = 36 };

// Well-mixed, never repeated, and cheaper than asking the system for each request (SplitMix64).
static uint64_t next_id(struct front *f)
{
    uint64_t z = f->id_seed + atomic_fetch_add(&f->id_count, 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void reply_ids(struct front_call *f)
{
    static const unsigned char groups[] = { 4, 2, 2, 2, 6 }; // bytes between the dashes
    uint64_t words[2] = { next_id(f->front), next_id(f->front) };
    unsigned char bytes[sizeof words];
    char *text = arena_alloc(f->x->arena, UUID_CHARS, 1);
    memcpy(bytes, words, sizeof bytes);
    bytes[6] = (unsigned char)((bytes[6] & 0x0f) | 0x40); // version 4, RFC 9562
    bytes[8] = (unsigned char)((bytes[8] & 0x3f) | 0x80);
    size_t from = 0, to = 0;
    for (size_t i = 0; i < COUNT_OF(groups); i++) {
        if (i > 0)
            text[to++] = '-';
        hex_lower(text + to, bytes + from, groups[i]);
        from += groups[i];
        to += 2u * groups[i];
    }
    f->call.request_id = str_from(text, UUID_CHARS);
}

static Str id_2(struct front_call *f)
{
    uint64_t words[ID_2_BYTES / sizeof(uint64_t)];
    for (size_t i = 0; i < COUNT_OF(words); i++)
        words[i] = next_id(f->front);
    size_t n = base64_encoded_bytes(sizeof words);
    char *text = arena_alloc(f->x->arena, n, 1);
    base64_encode(text, words, sizeof words);
    return str_from(text, n);
}

static void add_header(struct reply_headers *h, Str name, Str value)
{
    CHECK(h->n < HEADERS_MAX);
    h->at[h->n++] = (HttpHeader){ name, value };
}

struct reply_headers reply_usual_headers(struct front_call *f, Str content_type)
{
    struct reply_headers h = { 0 };
    bool rest = f->protocol == &protocol_rest_xml;
    f->id_2 = id_2(f);
    add_header(&h, rest ? S("x-amz-request-id") : S("x-amzn-RequestId"), f->call.request_id);
    add_header(&h, S("x-amz-id-2"), f->id_2);
    if (rest)
        add_header(&h, S("Server"), S("AmazonS3"));
    if (f->protocol != NULL && f->protocol->smithy.p != NULL)
        add_header(&h, S("smithy-protocol"), f->protocol->smithy);
    if (content_type.p != NULL)
        add_header(&h, S("Content-Type"), content_type);
    if (!rest && http_header(f->x, S("origin")).p != NULL) {
        add_header(&h, S("Access-Control-Allow-Origin"), S("*"));
        add_header(&h, S("Access-Control-Expose-Headers"),
                   S("x-amzn-RequestId,x-amzn-ErrorType,x-amz-request-id,x-amz-id-2,"
                     "x-amzn-ErrorMessage,Date"));
    }
    return h;
}

HttpHeader *reply_own_headers(struct front_call *f, HttpHeader *at, size_t *n)
{
    size_t more = 0;
    for (const struct call_pair *p = f->call.headers; p != NULL; p = p->next)
        more++;
    if (more == 0)
        return at;
    HttpHeader *all = arena_new(f->x->arena, HttpHeader, *n + more);
    memcpy(all, at, *n * sizeof *at);
    for (const struct call_pair *p = f->call.headers; p != NULL; p = p->next)
        all[(*n)++] = (HttpHeader){ p->name, p->value };
    return all;
}

void reply_release(struct front_call *f)
{
    struct call *c = &f->call;
    body_close(c->body);
    c->body = NULL;
    if (c->source != NULL)
        c->source->close(c->source);
    c->source = NULL;
}

// Counts and logs a request; nothing of the call may be used after its reply is given.
void reply_account_for(struct front_call *f, unsigned status, Str type)
{
    const struct api_op *op = f->call.op;
    int64_t took_ns = f->front->io->mono_ns(f->front->io) - f->x->received_ns;
    if (op != NULL) {
        const struct op_metrics *m = &f->service->metrics[op - f->service->api->ops];
        metric_add(status < 300 ? m->good : status < 500 ? m->refused : m->failed, 1);
        metric_observe_ns(m->seconds, took_ns);
    }
    LOG(LOG_DEBUG, "request", F_STR("op", op != NULL ? op->name : S("")), F_INT("status", status),
        F_STR("error", type), F_STR("request_id", f->call.request_id),
        F_STR("account", f->call.account), F_STR("peer", f->x->peer),
        F_INT("took_us", took_ns / NS_PER_US));
}

static Str reply_type(const struct front_call *f)
{
    const struct protocol *p = f->protocol;
    return p->reply_type.p != NULL ? p->reply_type : p->content_type;
}

static void write_output(const struct front_call *f, struct buf *body)
{
    const ReplyFrame frame = { .api = f->service->api,
                               .op = f->call.op,
                               .request_id = f->call.request_id };
    if (f->protocol->write_reply != NULL)
        f->protocol->write_reply(&frame, f->out, body);
    else if (f->call.op->output != NULL)
        bind_write(f->protocol, f->call.op->output, f->out, body);
}

void reply_output(struct front_call *f)
{
    if (f->protocol == &protocol_rest_xml) {
        rest_reply_output(f);
        return;
    }
    struct buf body;
    buf_init_request(&body, 0);
    if (f->call.reply_bytes > 0 && memory_has_room(f->call.reply_bytes))
        (void)buf_reserve(&body, f->call.reply_bytes); // so that it is not copied as it grows
    write_output(f, &body);
    Err e = buf_err(&body);
    if (e.kind != ERR_NONE) {
        buf_done(&body);
        if (e.kind == ERR_MEMORY)
            reply_no_memory(f);
        else
            front_failed(f);
        return;
    }
    arena_rewind(f->x->arena, f->before_run); // a slow client holds the reply alone
    struct reply_headers h = reply_usual_headers(f, reply_type(f));
    reply_account_for(f, 200, S(""));
    http_reply_take(f->x, 200, h.at, h.n, &body);
}

void reply_stream(struct front_call *f)
{
    struct reply_headers h = reply_usual_headers(f, S("application/vnd.amazon.eventstream"));
    reply_account_for(f, 200, S(""));
    http_stream_start(f->x, 200, h.at, h.n);
}

// Texts quote what clients sent: header bytes, values cut short. Writers need UTF-8.
Str reply_text(struct arena *a, Str text)
{
    if (text.p == NULL || str_utf8_count(text) != SIZE_MAX)
        return text;
    char *plain = arena_alloc(a, text.n, 1);
    for (size_t i = 0; i < text.n; i++)
        plain[i] = (unsigned char)text.p[i] < 0x80 ? text.p[i] : '?';
    return str_from(plain, text.n);
}

// Clients of a service that spoke Query before it spoke anything else know its errors by the codes
// of Query (Smithy, "AWS Query compatible").
static bool tells_code(const struct front_call *f)
{
    return f->service != NULL && (f->service->api->protocols & API_QUERY) != 0 &&
           f->protocol != &protocol_query;
}

static void send_error(struct front_call *f, unsigned status, ErrorReply e)
{
    const struct api_error *(*known)(Str) = f->protocol->common_error;
    const struct api_error *common = known != NULL ? known(e.type) : query_common_error(e.type);
    if (e.code.p == NULL)
        e.code = common == NULL ? e.type : common->code.p != NULL ? common->code : common->name;
    if (known != NULL && common != NULL)
        status = common->status;
    e.ours = status >= 500;
    e.request_id = f->call.request_id;
    if (f->service != NULL)
        e.xml_namespace = f->service->api->xml_namespace;
    struct reply_headers h = reply_usual_headers(f, reply_type(f));
    if (tells_code(f))
        add_header(&h, S("x-amzn-query-error"),
                   str_cat(f->x->arena, e.code, e.ours ? S(";Receiver") : S(";Sender")));
    AUTO_BUF(body);
    e.resource = f->x->path;
    e.host_id = f->id_2;
    e.details = f->call.details;
    f->protocol->write_error(&e, &body);
    if (buf_err(&body).kind != ERR_NONE)
        buf_clear(&body); // a long text and no memory for it: the status alone
    reply_account_for(f, status, e.type);
    reply_release(f);
    HttpHeader *headers = reply_own_headers(f, h.at, &h.n);
    http_reply(f->x, status, headers, h.n, buf_str(&body));
}

void reply_error(struct front_call *f, unsigned status, Str type, Str message)
{
    send_error(f, status,
               (ErrorReply){ .type = type, .message = reply_text(f->x->arena, message) });
}

void reply_fault(struct front_call *f, const struct api_error *error, Str message)
{
    send_error(
        f, error->status,
        (ErrorReply){ .type = error->name,
                      .code = error->code,
                      .message = reply_text(f->x->arena, message),
                      .capital_message = f->service != NULL && f->service->api->capital_message });
}

void reply_no_memory(struct front_call *f)
{
    metric_add(f->front->refused_for_memory, 1);
    reply_error(f, aws_ServiceUnavailable.status, aws_ServiceUnavailable.name,
                S("The service is unavailable. Please try again."));
}

void reply_type_error(struct front_call *f, Str message)
{
    send_error(f, aws_SerializationException.status,
               (ErrorReply){ .type = aws_SerializationException.name,
                             .message = reply_text(f->x->arena, message),
                             .capital_message = true });
}

void reply_xml(struct front_call *f, unsigned status, Str body)
{
    struct reply_headers h = reply_usual_headers(f, (Str){ 0 });
    reply_account_for(f, status, S(""));
    http_reply(f->x, status, h.at, h.n, body);
}

void reply_envelope(struct front_call *f, unsigned status, Str type)
{
    struct reply_headers h = reply_usual_headers(f, S("application/json"));
    reply_account_for(f, status, type);
    http_reply(f->x, status, h.at, h.n,
               str_fmt(f->x->arena,
                       "{\"Output\":{\"__type\":\"com.amazon.coral.service#%.*s\"},"
                       "\"Version\":\"1.0\"}",
                       FMT(type)));
}

void reply_preflight(struct front_call *f)
{
    struct reply_headers h = { 0 };
    add_header(&h, S("x-amzn-RequestId"), f->call.request_id);
    add_header(&h, S("Access-Control-Allow-Origin"), S("*"));
    Str headers = http_header(f->x, S("access-control-request-headers"));
    if (headers.p != NULL)
        add_header(&h, S("Access-Control-Allow-Headers"), headers);
    Str method = http_header(f->x, S("access-control-request-method"));
    if (method.p != NULL)
        add_header(&h, S("Access-Control-Allow-Methods"), method);
    add_header(&h, S("Access-Control-Max-Age"), S("172800"));
    reply_account_for(f, 200, S(""));
    http_reply(f->x, 200, h.at, h.n, S(""));
}
