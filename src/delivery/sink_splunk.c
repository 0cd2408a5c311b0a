// SPDX-License-Identifier: Apache-2.0
// Splunk's HTTP Event Collector with indexer acknowledgement: what was sent counts as delivered
// when Splunk says that it is indexed.
//
//     POST /services/collector/raw    or    /services/collector/event
//     Authorization: Splunk <token>         X-Splunk-Request-Channel: <UUID>
//     > {"text":"Success","code":0,"ackId":7}
//     POST /services/collector/ack?channel=<UUID>    {"acks":[7]}
//     > {"acks":{"7":true}}                          false: not yet, or not known
//
// Records are sent as they are, one after another: raw ones bring their own line ends, events must
// be in the collector's JSON already. Cookies of a balancer come back with the questions for
// acknowledgements, which only the indexer that took the data can answer.
#include "base/time.h"
#include "codec/json.h"
#include "delivery/sink.h"
#include "delivery/sink_net.h"
#include "delivery/sink_reply.h"
#include "delivery/sink_secret.h"
#include "os/io.h"

#include <stdlib.h>

enum {
    REPLY_BYTES_MAX = 1 << 20,
    CONNECT_S = 20,
    ANSWER_S = 180,
    ASK_FIRST_MS = 500, // then twice as long each time
    ASK_MS_MAX = 10000,
    TEXT_BYTES_MAX = 1024,
    HEADERS_MAX = 4,
};

// Of the collector's replies ("Troubleshoot HTTP Event Collector", possible error codes).
enum {
    HEC_TOKEN_DISABLED = 1,
    HEC_TOKEN_MISSING = 2,
    HEC_AUTHORIZATION = 3,
    HEC_TOKEN_INVALID = 4,
    HEC_NO_DATA = 5,
    HEC_BAD_FORMAT = 6,
    HEC_BAD_INDEX = 7,
    HEC_CHANNEL_MISSING = 10,
    HEC_CHANNEL_INVALID = 11,
    HEC_EVENT_MISSING = 12,
    HEC_EVENT_BLANK = 13,
    HEC_ACK_DISABLED = 14,
    HEC_BAD_FIELDS = 15,
};

struct splunk_sink {
    struct sink sink; // first
    const struct delivery_env *env;
    struct arena *names;
    struct sink_net *net;
    struct sink_secret *secret; // NULL: the token is here
    Str send_target, ack_target, authorization, channel;
    bool event;
    int64_t ack_timeout_ns;
};

// ---- Open

static void close_sink(struct sink *s)
{
    struct splunk_sink *p = (struct splunk_sink *)s;
    if (p == NULL)
        return;
    sink_net_close(p->net);
    sink_secret_close(p->secret);
    arena_close(p->names);
    free(p);
}

static Err open_sink(struct delivery_env *env, const DeliveryConfig *config, struct sink **ret,
                     struct arena *a, Str *ret_text)
{
    const SinkNetLimits limits = { .connect_ns = CONNECT_S * NS_PER_S,
                                   .total_ns = ANSWER_S * NS_PER_S,
                                   .reply_max = REPLY_BYTES_MAX };
    SinkUrl url;
    Str path, query, token = config->splunk.token;
    TRY(sink_url_parse(env, a, config->splunk.url, &url, ret_text));
    bool has_none = token.n == 0 && config->secret_arn.n == 0;
    if (has_none || str_find(token, '\n') < token.n || str_find(token, '\r') < token.n) {
        *ret_text = S("The token of the HTTP Event Collector is empty or holds a line end.");
        return fail(ERR_INVALID, "a token that cannot be sent");
    }
    sink_url_split(url.target, &path, &query);
    struct splunk_sink *p = xalloc(sizeof *p);
    p->sink.ops = &sink_splunk;
    p->env = env;
    p->names = arena_open();
    p->event = config->splunk.event;
    p->ack_timeout_ns = config->splunk.ack_timeout_ns;
    p->channel = sink_uuid(env, p->names);
    p->authorization = str_cat(p->names, S("Splunk "), token);
    sink_secret_open(env, config, &p->secret);
    p->send_target = str_cat(
        p->names, path, p->event ? S("/services/collector/event") : S("/services/collector/raw"));
    p->ack_target = str_cat3(p->names, path, S("/services/collector/ack?channel="), p->channel);
    Err e = sink_net_open(env, url.base, &limits, &p->net);
    if (e.kind != ERR_NONE)
        close_sink(&p->sink);
    else
        *ret = &p->sink;
    return e;
}

// ---- What replies mean

static SinkResult retry(SinkAttempt *at, Str code, Str message)
{
    at->code = code;
    at->message = message;
    return SINK_RETRY;
}

static SinkResult not_reached(SinkAttempt *at, SinkNet net, Str text)
{
    static const Str codes[] = {
        [NET_CONNECT] = S_INIT("Splunk.ConnectionTimeout"),
        [NET_TLS] = S_INIT("Splunk.SSLHandshake"),
        [NET_TIMEOUT] = S_INIT("Splunk.ConnectionTimeout"),
        [NET_RESET] = S_INIT("Splunk.ConnectionClosed"),
        [NET_LARGE] = S_INIT("Splunk.InvalidEndpoint"),
        [NET_GARBLED] = S_INIT("Splunk.InvalidEndpoint"),
    };
    bool unverified = net == NET_TLS && str_search(text, S("certificate")) < text.n;
    return retry(at, unverified ? S("Splunk.SSLUnverified") : codes[net], text);
}

static Str code_of(unsigned status, int64_t code)
{
    switch (code) {
    case HEC_TOKEN_DISABLED:
        return S("Splunk.DisabledToken");
    case HEC_TOKEN_MISSING:
    case HEC_AUTHORIZATION:
    case HEC_TOKEN_INVALID:
        return S("Splunk.InvalidToken");
    case HEC_NO_DATA:
    case HEC_BAD_FORMAT:
    case HEC_EVENT_MISSING:
    case HEC_EVENT_BLANK:
    case HEC_BAD_FIELDS:
        return S("Splunk.InvalidDataFormat");
    case HEC_BAD_INDEX:
        return S("Splunk.InvalidIndex");
    case HEC_CHANNEL_MISSING:
    case HEC_CHANNEL_INVALID: // the question came to another indexer
        return S("Splunk.ProxyWithoutStickySessions");
    case HEC_ACK_DISABLED:
        return S("Splunk.DisabledAck");
    default:
        break;
    }
    if (status == 401 || status == 403)
        return S("Splunk.InvalidToken");
    return status >= 500 || status == 429 ? S("Splunk.ServerError") : S("Splunk.InvalidEndpoint");
}

static SinkResult refused(SinkAttempt *at, const HttpReply *r)
{
    HecReply reply = { .code = -1 };
    Str said = r->body;
    if (hec_reply_read(at->arena, r->body, &reply).kind == ERR_NONE && reply.text.p != NULL)
        said = reply.text;
    else if (str_utf8_count(said) == SIZE_MAX)
        said = S("");
    return retry(at, code_of(r->status, reply.code),
                 str_fmt(at->arena, "Splunk answered with status %u, code %lld: %.*s", r->status,
                         (long long)reply.code, FMT(sink_excerpt(said, TEXT_BYTES_MAX))));
}

// ---- Sending

static bool is_one_object(struct arena *tmp, Str data)
{
    struct event_reader r;
    Event e;
    json_reader_init(&r, tmp, data);
    return r.next(&r, &e).kind == ERR_NONE && e.kind == EVENT_MAP &&
           event_skip_rest(&r, &e).kind == ERR_NONE && r.next(&r, &e).kind == ERR_NONE &&
           e.kind == EVENT_END;
}

// Splunk names the event that it could not read by its number among those sent. Where each record
// is one event that is a record, which goes to the error prefix; the others are sent again.
static void isolate(struct splunk_sink *p, SinkAttempt *at, const HttpReply *r)
{
    HecReply reply;
    DeliveryBatch *b = at->batch;
    AUTO(arena) tmp = arena_open();
    if (!p->event || hec_reply_read(at->arena, r->body, &reply).kind != ERR_NONE ||
        reply.event < 0 || !str_eq(at->code, S("Splunk.InvalidDataFormat")))
        return;
    size_t bad = SIZE_MAX;
    int64_t number = 0;
    for (size_t i = 0; i < b->n && bad == SIZE_MAX; i++) {
        if (!at->pending[i])
            continue;
        if (number == reply.event)
            bad = i;
        else if (!is_one_object(tmp, b->at[i].data))
            return; // who knows how many events it has
        number++;
        arena_reset(tmp);
    }
    if (bad == SIZE_MAX)
        return;
    b->at[bad].fault = (DeliveryFault){ .type = sink_splunk.error_type,
                                        .code = at->code,
                                        .message = at->message,
                                        .attempts = at->attempt,
                                        .ended_ms = p->env->io->wall_ns(p->env->io) / NS_PER_MS };
    at->pending[bad] = false;
    at->pending_count--;
}

static SinkNet post(struct splunk_sink *p, SinkAttempt *at, Str target, Str type, Str cookies,
                    Str body, HttpReply *ret, Str *ret_text)
{
    HttpHeader headers[HEADERS_MAX] = {
        { S("Authorization"), p->authorization },
        { S("X-Splunk-Request-Channel"), p->channel },
        { S("Content-Type"), type },
    };
    headers[HEADERS_MAX - 1] = (HttpHeader){ S("Cookie"), cookies };
    return sink_net_call(p->net, at, target, headers, cookies.n > 0 ? HEADERS_MAX : HEADERS_MAX - 1,
                         body, ret, ret_text);
}

// "a=1; b=2" of the Set-Cookie headers.
static Str cookies_of(struct arena *a, const HttpReply *r)
{
    Str all = S("");
    for (size_t i = 0; i < r->header_count; i++) {
        if (!str_eq(r->headers[i].name, S("set-cookie")))
            continue;
        Str one = str_trim(str_head(r->headers[i].value, str_find(r->headers[i].value, ';')));
        all = all.n > 0 ? str_cat3(a, all, S("; "), one) : one;
    }
    return all;
}

// ---- Acknowledgements

// One question; true: it is decided, by *ret.
static bool ask(struct splunk_sink *p, SinkAttempt *at, int64_t ack_id, Str cookies, Str body,
                SinkResult *ret)
{
    HttpReply reply;
    Str text;
    bool indexed = false;
    SinkNet net = post(p, at, p->ack_target, S("application/json"), cookies, body, &reply, &text);
    if (net != NET_GOOD)
        return false; // until the time is over, or the pause is cut
    if (reply.status != 200) {
        *ret = refused(at, &reply);
        bool passes = str_eq(at->code, S("Splunk.ServerError"));
        return !passes;
    }
    Err e = hec_ack_read(at->arena, reply.body, ack_id, &indexed);
    *ret = SINK_DELIVERED;
    return e.kind == ERR_NONE && indexed;
}

static SinkResult await_ack(struct splunk_sink *p, SinkAttempt *at, int64_t ack_id, Str cookies)
{
    struct io *io = p->env->io;
    Str body = str_fmt(at->arena, "{\"acks\":[%lld]}", (long long)ack_id);
    int64_t from_ns = io->mono_ns(io), ms = ASK_FIRST_MS, waited_ns = 0;
    SinkResult result = SINK_RETRY;
    while (!ask(p, at, ack_id, cookies, body, &result)) {
        int64_t over_ns = MAX(io->mono_ns(io) - from_ns, waited_ns);
        if (over_ns >= p->ack_timeout_ns)
            return retry(at, S("Splunk.AckTimeout"),
                         S("Splunk has not acknowledged the data within the timeout."));
        int64_t pause_ns = MIN(ms * NS_PER_MS, p->ack_timeout_ns - over_ns);
        if (!sink_sleep(p->env, at, pause_ns))
            return retry(at, S("InternalError"), S("The server is being stopped."));
        waited_ns += pause_ns;
        ms = MIN(ms * 2, (int64_t)ASK_MS_MAX);
    }
    if (result != SINK_DELIVERED)
        return result;
    at->code = at->message = (Str){ 0 };
    at->ack_ms = MAX((io->mono_ns(io) - from_ns) / NS_PER_MS, (int64_t)1);
    for (size_t i = 0; i < at->batch->n; i++)
        at->pending[i] = false;
    at->pending_count = 0;
    return SINK_DELIVERED;
}

static SinkResult deliver(struct sink *s, SinkAttempt *at)
{
    struct splunk_sink *p = (struct splunk_sink *)s;
    AUTO_BUF(body);
    buf_init_request(&body, 0);
    Str token;
    if (p->secret != NULL) {
        if (!sink_secret_get(p->secret, at, S("hec_token"), &token))
            return SINK_RETRY;
        p->authorization = str_cat(at->arena, S("Splunk "), token);
    }
    for (size_t i = 0; i < at->batch->n; i++)
        if (at->pending[i])
            buf_add(&body, at->batch->at[i].data);
    Err e = buf_err(&body);
    if (e.kind != ERR_NONE)
        return retry(at, S("InternalError"), str_of(e.text));
    HttpReply reply;
    HecReply said;
    Str text;
    SinkNet net = post(p, at, p->send_target, p->event ? S("application/json") : S("text/plain"),
                       S(""), buf_str(&body), &reply, &text);
    at->bytes_sent = body.n;
    if (net != NET_GOOD)
        return not_reached(at, net, text);
    e = hec_reply_read(at->arena, reply.body, &said);
    if (reply.status != 200 || (e.kind == ERR_NONE && said.code > 0)) {
        SinkResult r = refused(at, &reply);
        isolate(p, at, &reply);
        return at->pending_count > 0 ? r : SINK_DELIVERED;
    }
    if (e.kind != ERR_NONE)
        return retry(at, S("Splunk.InvalidEndpoint"),
                     S("What answers is no HTTP Event Collector."));
    if (said.ack_id < 0)
        return retry(at, S("Splunk.DisabledAck"),
                     S("Indexer acknowledgement is disabled for the token."));
    return await_ack(p, at, said.ack_id, cookies_of(at->arena, &reply));
}

static int64_t pause_ns(struct sink *s, int64_t attempts)
{
    return sink_back_off_ns(((struct splunk_sink *)s)->env, attempts);
}

const struct sink_ops sink_splunk = {
    .error_type = "splunk-failed",
    .metric = "Splunk",
    .open = open_sink,
    .close = close_sink,
    .deliver = deliver,
    .pause_ns = pause_ns,
};
