// SPDX-License-Identifier: Apache-2.0
// OpenSearch and Elasticsearch, by their bulk interface:
//
//     POST /_bulk        Content-Type: application/x-ndjson      Authorization: Basic ...
//     {"index":{"_index":"logs-2016-02-25","_id":"..."}}
//     <the record on one line>
//     > {"errors":true,"items":[{"index":{"status":201}},{"index":{"status":400,"error":{...}}}]}
//
// The index is rotated by the UTC time at which a record arrived. A document's id is made of the
// delivery, the shard, the position and the number within the record: the same over attempts and
// restarts, so that what is sent again overwrites itself. Each item has an outcome of its own: what
// may pass (429, 5xx, 401, 403, 404 and the like) is tried again, what never will (400, 409, 413)
// goes to the error prefix. Records that are no JSON object are not sent at all: they would harm
// their neighbours.
#include "base/time.h"
#include "codec/json.h"
#include "delivery/sink.h"
#include "delivery/sink_net.h"
#include "delivery/sink_reply.h"
#include "delivery/sink_secret.h"
#include "os/io.h"

#include <stdlib.h>

enum {
    REPLY_BYTES_MAX = 32 << 20, // a few hundred bytes an item
    CONNECT_S = 20,
    ANSWER_S = 180,
    REQUEST_BYTES_MAX = 8 << 20, // engines on small machines take 10 MiB
    ERROR_BYTES_MAX = 8192,
    INDEX_BYTES_MAX = 128,
    HEADERS_MAX = 2 + SINK_SIGNED_HEADERS,
};

struct search_sink {
    struct sink sink; // first
    const struct delivery_env *env;
    struct arena *names;
    struct sink_net *net;
    struct sink_signer *signer; // NULL: requests are not signed
    Str target, authorization;
    Str index, type; // in JSON, without quotes
    uint64_t delivery;
    int rotation;
    bool own_ids;
};

// ---- Open

static void close_sink(struct sink *s)
{
    struct search_sink *p = (struct search_sink *)s;
    if (p == NULL)
        return;
    sink_net_close(p->net);
    sink_signer_close(p->signer);
    arena_close(p->names);
    free(p);
}

static Str in_json(struct arena *a, Str text)
{
    AUTO_BUF(b);
    struct event_writer w;
    json_writer_init(&w, &b);
    w.ops->text(&w, text);
    return str_dup(a, str_head(str_skip(buf_str(&b), 1), b.n - 2));
}

static Err open_sink(struct delivery_env *env, const DeliveryConfig *config, struct sink **ret,
                     struct arena *a, Str *ret_text)
{
    const SinkNetLimits limits = { .connect_ns = CONNECT_S * NS_PER_S,
                                   .total_ns = ANSWER_S * NS_PER_S,
                                   .reply_max = REPLY_BYTES_MAX };
    const DeliverySearch *search = &config->search;
    SinkUrl url;
    Str path, query;
    TRY(sink_url_parse(env, a, search->url, &url, ret_text));
    if (search->index.n == 0 || str_utf8_count(search->index) == SIZE_MAX ||
        (search->type.n > 0 && str_utf8_count(search->type) == SIZE_MAX)) {
        *ret_text = S("The name of the index or of its type is not valid.");
        return fail(ERR_INVALID, "an index without a proper name");
    }
    sink_url_split(url.target, &path, &query);
    struct search_sink *p = xalloc(sizeof *p);
    p->sink.ops = &sink_search;
    p->env = env;
    p->names = arena_open();
    p->target = str_cat(p->names, path, S("/_bulk"));
    if (url.user.p != NULL)
        p->authorization = sink_basic_auth(p->names, url.user, url.password);
    else
        sink_signer_open(env, config, url.base, &p->signer);
    p->index = in_json(p->names, search->index);
    if (search->type.n > 0)
        p->type = in_json(p->names, search->type);
    p->delivery = config->id;
    p->rotation = search->rotation;
    p->own_ids = search->own_ids;
    Err e = sink_net_open(env, url.base, &limits, &p->net);
    if (e.kind != ERR_NONE)
        close_sink(&p->sink);
    else
        *ret = &p->sink;
    return e;
}

// ---- Names

// Weeks begin on Sunday; the first one of a year is the one that has its first Saturday, and counts
// as number 0. The guide says so but for the number, and its example has 2016-w08 for the 25th of
// February, which is in the ninth of these weeks ("Index Rotation for the Amazon OpenSearch Service
// Destination").
static void add_week(struct buf *b, const Civil *c)
{
    const int64_t day_ns = 86400 * NS_PER_S;
    int64_t day = time_from_civil((Civil){ .year = c->year, .month = c->month, .day = c->day });
    int64_t saturday = day + (6 - (int64_t)c->weekday) * day_ns;
    int64_t year = time_civil(saturday).year;
    int64_t new_year = time_from_civil((Civil){ .year = year, .month = 1, .day = 1 });
    buf_addf(b, "-%04d-w%02d", (int)year, (int)((saturday - new_year) / day_ns / 7));
}

static void add_index(struct buf *b, const struct search_sink *p, int64_t arrival_ms)
{
    Civil c = time_civil(arrival_ms * NS_PER_MS);
    buf_add(b, p->index);
    switch (p->rotation) {
    case ROTATE_HOUR:
        buf_addf(b, "-%04d-%02u-%02u-%02u", (int)c.year, c.month, c.day, c.hour);
        break;
    case ROTATE_DAY:
        buf_addf(b, "-%04d-%02u-%02u", (int)c.year, c.month, c.day);
        break;
    case ROTATE_WEEK:
        add_week(b, &c);
        break;
    case ROTATE_MONTH:
        buf_addf(b, "-%04d-%02u", (int)c.year, c.month);
        break;
    default:
        break;
    }
}

static void add_id(struct buf *b, const struct search_sink *p, const DeliveryBatch *batch,
                   const DeliveryRecord *r)
{
    uint64_t shard = r->shard < batch->shard_count ? batch->shards[r->shard] : 0;
    buf_addf(b, "%020llu%020llu%020llu.%u", (unsigned long long)p->delivery,
             (unsigned long long)shard, (unsigned long long)r->position, r->sub);
}

static Str made(struct arena *a, struct buf *b)
{
    return str_dup(a, buf_str(b));
}

// ---- Faults of single records

static void refuse(struct search_sink *p, SinkAttempt *at, size_t i, Str code, Str message)
{
    AUTO_BUF(index);
    AUTO_BUF(id);
    DeliveryRecord *r = &at->batch->at[i];
    add_index(&index, p, r->arrival_ms);
    if (!p->own_ids)
        add_id(&id, p, at->batch, r);
    r->fault = (DeliveryFault){ .type = sink_search.error_type,
                                .code = code,
                                .message = str_dup(at->batch->arena,
                                                   sink_excerpt(message, ERROR_BYTES_MAX)),
                                .attempts = at->attempt,
                                .ended_ms = p->env->io->wall_ns(p->env->io) / NS_PER_MS,
                                .document_id = made(at->batch->arena, &id),
                                .index = made(at->batch->arena, &index) };
    at->pending[i] = false;
    at->pending_count--;
}

static Str status_text(struct arena *a, unsigned status)
{
    return str_fmt(a, "%u", status);
}

// ---- The request

// Whether the record is a JSON object, as far as we can tell: what is nested deeper than our reader
// goes is left to the engine to judge.
static bool is_object(struct arena *tmp, Str data)
{
    struct event_reader r;
    Event e;
    json_reader_init(&r, tmp, data);
    if (r.next(&r, &e).kind != ERR_NONE || e.kind != EVENT_MAP)
        return false;
    Err skipped = event_skip_rest(&r, &e);
    if (skipped.kind != ERR_NONE)
        return skipped.kind != ERR_INVALID;
    return r.next(&r, &e).kind == ERR_NONE && e.kind == EVENT_END;
}

// Inside a valid document line ends stand between tokens only, where a space does as well.
static void add_line(struct buf *b, Str data)
{
    data = str_trim(data);
    size_t from = b->n;
    buf_add(b, data);
    for (size_t i = from; i < b->n; i++)
        if (b->p[i] == '\n' || b->p[i] == '\r')
            b->p[i] = ' ';
    buf_add_byte(b, '\n');
}

static void add_document(struct buf *b, const struct search_sink *p, const DeliveryBatch *batch,
                         const DeliveryRecord *r)
{
    buf_add(b, S("{\"index\":{\"_index\":\""));
    add_index(b, p, r->arrival_ms);
    if (p->type.n > 0) {
        buf_add(b, S("\",\"_type\":\""));
        buf_add(b, p->type);
    }
    if (!p->own_ids) {
        buf_add(b, S("\",\"_id\":\""));
        add_id(b, p, batch, r);
    }
    buf_add(b, S("\"}}\n"));
    add_line(b, r->data);
}

// ---- The reply

static SinkResult retry(SinkAttempt *at, Str code, Str message)
{
    at->code = code;
    at->message = message;
    return SINK_RETRY;
}

static SinkResult not_reached(SinkAttempt *at, SinkNet net, Str text)
{
    static const Str codes[] = {
        [NET_CONNECT] = S_INIT("OS.ConnectionFailed"), [NET_TLS] = S_INIT("OS.SSLHandshakeFailure"),
        [NET_TIMEOUT] = S_INIT("OS.RequestTimeout"),   [NET_RESET] = S_INIT("OS.ConnectionReset"),
        [NET_LARGE] = S_INIT("OS.ResponseTooLarge"),   [NET_GARBLED] = S_INIT("OS.InvalidResponse"),
    };
    return retry(at, codes[net], text);
}

static bool is_permanent(unsigned status)
{
    return status == 400 || status == 409 || status == 413;
}

// Documents `which`, n of them, were sent and these are their outcomes.
static SinkResult judge_items(struct search_sink *p, SinkAttempt *at, const size_t *which, size_t n,
                              const BulkItem *items)
{
    SinkResult result = SINK_DELIVERED;
    for (size_t i = 0; i < n; i++) {
        unsigned status = items[i].status;
        Str error = items[i].error.p != NULL ? items[i].error : S("");
        if (status >= 200 && status < 300) {
            at->pending[which[i]] = false;
            at->pending_count--;
        } else if (is_permanent(status)) {
            refuse(p, at, which[i], status_text(at->batch->arena, status), error);
        } else {
            result =
                retry(at, status_text(at->arena, status), sink_excerpt(error, ERROR_BYTES_MAX));
        }
    }
    return result;
}

static SinkResult send_documents(struct search_sink *p, SinkAttempt *at, const size_t *which,
                                 size_t n);

// The engine takes smaller requests only.
static SinkResult halve(struct search_sink *p, SinkAttempt *at, const size_t *which, size_t n)
{
    if (n == 1) {
        refuse(p, at, which[0], S("413"), S("The document is larger than the engine takes."));
        return SINK_DELIVERED;
    }
    SinkResult first = send_documents(p, at, which, n / 2);
    SinkResult second =
        first == SINK_DELIVERED ? send_documents(p, at, which + n / 2, n - n / 2) : first;
    return second;
}

static SinkResult judge(struct search_sink *p, SinkAttempt *at, const size_t *which, size_t n,
                        const HttpReply *reply)
{
    if (reply->status == 413)
        return halve(p, at, which, n);
    if (reply->status != 200) {
        Str said = str_utf8_count(reply->body) == SIZE_MAX ? S("") : reply->body;
        return retry(at, status_text(at->arena, reply->status),
                     sink_excerpt(said, ERROR_BYTES_MAX));
    }
    BulkItem *items = arena_try_new(at->arena, BulkItem, n);
    if (items == NULL)
        return retry(at, S("InternalError"), S("There is no memory for the reply."));
    Err e = bulk_reply_read(at->arena, reply->body, items, n);
    if (e.kind != ERR_NONE)
        return retry(at, S("OS.InvalidResponse"), str_of(e.text));
    return judge_items(p, at, which, n, items);
}

static SinkResult send_documents(struct search_sink *p, SinkAttempt *at, const size_t *which,
                                 size_t n)
{
    HttpHeader headers[HEADERS_MAX] = { { S("Content-Type"), S("application/x-ndjson") },
                                        { S("Authorization"), p->authorization } };
    size_t header_count = p->authorization.p != NULL ? 2 : 1;
    AUTO_BUF(body);
    buf_init_request(&body, 0);
    for (size_t i = 0; i < n; i++)
        add_document(&body, p, at->batch, &at->batch->at[which[i]]);
    Err e = buf_err(&body);
    if (e.kind == ERR_NONE && p->signer != NULL)
        e = sink_sign(p->signer, at->arena, p->target, headers, &header_count, buf_str(&body));
    if (e.kind != ERR_NONE)
        return retry(at, S("InternalError"), str_of(e.text));
    HttpReply reply;
    Str text;
    SinkNet net =
        sink_net_call(p->net, at, p->target, headers, header_count, buf_str(&body), &reply, &text);
    at->bytes_sent += body.n;
    return net == NET_GOOD ? judge(p, at, which, n, &reply) : not_reached(at, net, text);
}

// ---- One attempt: requests of bounded size, one after another. The first that fails as a whole
// ends it.

static bool may_go(struct search_sink *p, SinkAttempt *at, struct arena *tmp, size_t i)
{
    if (!at->pending[i])
        return false;
    if (is_object(tmp, at->batch->at[i].data))
        return true;
    refuse(p, at, i, S("400"),
           S("{\"type\":\"mapper_parsing_exception\",\"reason\":\"the record is not a JSON "
             "object\"}"));
    return false;
}

static SinkResult deliver(struct sink *s, SinkAttempt *at)
{
    struct search_sink *p = (struct search_sink *)s;
    AUTO(arena) tmp = arena_open();
    size_t *which = arena_try_new(at->arena, size_t, at->batch->n + 1);
    if (which == NULL)
        return retry(at, S("InternalError"), S("There is no memory for a request."));
    SinkResult worst = SINK_DELIVERED;
    size_t n = 0, bytes = 0;
    at->bytes_sent = 0;
    for (size_t i = 0; i <= at->batch->n; i++) {
        bool end = i == at->batch->n, goes = !end && may_go(p, at, tmp, i);
        size_t more = goes ? at->batch->at[i].data.n + INDEX_BYTES_MAX : 0;
        arena_reset(tmp);
        if (n > 0 && (end || bytes + more > REQUEST_BYTES_MAX)) {
            size_t left = at->pending_count;
            SinkResult r = send_documents(p, at, which, n);
            worst = r != SINK_DELIVERED ? r : worst;
            if (r != SINK_DELIVERED && at->pending_count == left)
                return r; // nothing went through: it will not for the others either
            n = bytes = 0;
        }
        if (goes)
            which[n++] = i;
        bytes += more;
    }
    return at->pending_count > 0 ? worst : SINK_DELIVERED;
}

static int64_t pause_ns(struct sink *s, int64_t attempts)
{
    return sink_back_off_ns(((struct search_sink *)s)->env, attempts);
}

const struct sink_ops sink_search = {
    .error_type = "AmazonOpenSearchService-failed",
    .metric = "AmazonOpenSearchService",
    .open = open_sink,
    .close = close_sink,
    .deliver = deliver,
    .pause_ns = pause_ns,
};
