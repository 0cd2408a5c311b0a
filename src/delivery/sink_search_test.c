// SPDX-License-Identifier: Apache-2.0
// The bulk interface of search engines against one that keeps documents by their ids, and refuses
// requests that it could not read.
#include "base/time.h"
#include "codec/json.h"
#include "delivery/sink_peer.h"

#include <stdio.h>

enum { DOCUMENTS_MAX = 64 };

struct engine {
    struct peer peer;
    const char *reply;    // to everything; NULL: items are indexed
    size_t documents_max; // of one request: 413 beyond it; 0: any
    const char *type;     // what actions have; NULL: nothing
    bool no_ids, basic;
    Str refused_part; // in a document: status 400
    Str busy_part;    // status 429, the first time
    bool was_busy;
    size_t n;
    char ids[DOCUMENTS_MAX][80], indexes[DOCUMENTS_MAX][80], sources[DOCUMENTS_MAX][80];
};

static const char *index_one(struct engine *e, struct arena *a, Str action, Str source,
                             struct buf *out)
{
    JsonValue *v, *document;
    if (json_parse(a, action, &v).kind != ERR_NONE || v->kind != JSON_MAP || v->n != 1)
        return "an action";
    const JsonValue *index = json_find(v, S("index"));
    Str id = json_text(index, S("_id")), name = json_text(index, S("_index"));
    if (name.p == NULL || (id.p == NULL) != e->no_ids)
        return "index or id";
    if (!str_eq(json_text(index, S("_type")), str_of(e->type)))
        return "type";
    if (json_parse(a, source, &document).kind != ERR_NONE || document->kind != JSON_MAP)
        return "a document that is no object";
    if (str_search(source, e->refused_part) < source.n) {
        buf_add(out,
                S("{\"index\":{\"status\":400,\"error\":{\"type\":\"mapper_parsing_exception\","
                  "\"reason\":\"no\"}}}"));
        return NULL;
    }
    if (!e->was_busy && str_search(source, e->busy_part) < source.n) {
        e->was_busy = true;
        buf_add(out, S("{\"index\":{\"status\":429,\"error\":{\"type\":\"rejected\"}}}"));
        return NULL;
    }
    size_t at = 0;
    while (at < e->n && (e->no_ids || !str_eq(str_of(e->ids[at]), id)))
        at++;
    buf_addf(out, "{\"index\":{\"status\":%d}}", at < e->n ? 200 : 201);
    e->n = MAX(e->n, at + 1);
    (void)snprintf(e->ids[at], sizeof e->ids[at], "%.*s", FMT(id));
    (void)snprintf(e->indexes[at], sizeof e->indexes[at], "%.*s", FMT(name));
    (void)snprintf(e->sources[at], sizeof e->sources[at], "%.*s", FMT(source));
    return NULL;
}

static Str answer(void *of, struct arena *a, const PeerRequest *q)
{
    struct engine *e = of;
    AUTO_BUF(items);
    Str left = q->body, action, source;
    size_t n = 0;
    if (!str_eq(q->method, S("POST")) || !str_eq(q->target, S("/es/_bulk")) ||
        !str_eq(peer_header(q, S("content-type")), S("application/x-ndjson")) ||
        !str_ends(q->body, S("\n")))
        return peer_refuse(&e->peer, a, "no bulk request");
    if (!str_eq(peer_header(q, S("authorization")), e->basic ? S("Basic dTpwOg==") : (Str){ 0 }))
        return peer_refuse(&e->peer, a, "authorization");
    if (e->reply != NULL)
        return str_of(e->reply);
    for (size_t i = 0; i < q->body.n; i++)
        n += q->body.p[i] == '\n';
    if (e->documents_max > 0 && n > 2 * e->documents_max)
        return peer_reply(a, 413, S("text/plain"), S("too large"));
    for (n = 0; left.n > 0; n++) {
        (void)str_cut(left, '\n', &action, &left);
        (void)str_cut(left, '\n', &source, &left);
        buf_add(&items, n > 0 ? S(",") : S(""));
        const char *wrong = index_one(e, a, action, source, &items);
        if (wrong != NULL)
            return peer_refuse(&e->peer, a, wrong);
    }
    return peer_reply(
        a, 200, S("application/json; charset=UTF-8"),
        str_fmt(a, "{\"took\":1,\"errors\":true,\"items\":[%.*s]}", FMT(buf_str(&items))));
}

static SinkResult deliver_with(struct arena *a, struct engine *e, DeliverySearch search,
                               SinkAttempt *at)
{
    struct delivery_env env = peer_env();
    struct sink *s = NULL;
    Str text = { 0 };
    peer_start(&e->peer, answer, e);
    search.url = str_fmt(a, "http://%s127.0.0.1:%u/es/", e->basic ? "u:p%3A@" : "", e->peer.port);
    DeliveryConfig config = { .id = 5, .search = search };
    EXPECT_OK(sink_search.open(&env, &config, &s, a, &text));
    SinkResult r = sink_search.deliver(s, at);
    sink_search.close(s);
    peer_stop(&e->peer);
    return r;
}

#define NOTHING S_INIT("\x01never\x01")
static const Str three[] = { S_INIT("{\"a\":1}\n"), S_INIT("{\r\n  \"b\" : \"x\\ny\"\n}"),
                             S_INIT("{\"c\":3}") };

TEST(documents_are_indexed_once_however_often_they_are_sent)
{
    struct engine e = { .refused_part = NOTHING, .busy_part = NOTHING, .basic = true };
    for (int i = 0; i < 2; i++) { // the second time as after a restart
        SinkAttempt at;
        peer_attempt(a, three, 3, &at);
        at.batch->at[2].position = at.batch->at[1].position; // parts of one record
        at.batch->at[2].sub = 1;
        EXPECT_INT(SINK_DELIVERED,
                   deliver_with(a, &e, (DeliverySearch){ .index = S("i\"x") }, &at));
        EXPECT_INT(0, at.pending_count);
        EXPECT(!at.pending[0] && !at.pending[2]);
    }
    EXPECT_INT(3, e.n);
    EXPECT_STR(S("000000000000000000050000000000000000000700000000000000000101.1"),
               str_of(e.ids[2]));
    EXPECT_STR(S("i\"x"), str_of(e.indexes[0]));
    EXPECT_STR(S("{    \"b\" : \"x\\ny\" }"), str_of(e.sources[1]));
}

TEST(the_engine_may_give_ids_and_old_ones_have_types)
{
    struct engine e = {
        .refused_part = NOTHING, .busy_part = NOTHING, .no_ids = true, .type = "t"
    };
    SinkAttempt at;
    peer_attempt(a, three, 3, &at);
    EXPECT_INT(SINK_DELIVERED,
               deliver_with(a, &e,
                            (DeliverySearch){ .index = S("i"), .type = S("t"), .own_ids = true },
                            &at));
    EXPECT_INT(3, e.n);
}

TEST(indexes_are_rotated_by_the_time_of_arrival)
{
    static const struct {
        const char *at, *index;
        int rotation;
    } cases[] = {
        { "2016-02-25T13:00:00Z", "i", ROTATE_NEVER },
        { "2016-02-25T13:00:00Z", "i-2016-02-25-13", ROTATE_HOUR },
        { "2016-02-25T13:00:00Z", "i-2016-02-25", ROTATE_DAY },
        { "2016-02-25T13:00:00Z", "i-2016-w08", ROTATE_WEEK },
        { "2016-02-25T13:00:00Z", "i-2016-02", ROTATE_MONTH },
        { "2016-02-27T23:59:59.999Z", "i-2016-w08", ROTATE_WEEK }, // Saturday
        { "2016-02-28T00:00:00Z", "i-2016-w09", ROTATE_WEEK },     // Sunday
        { "2015-12-27T00:00:00Z", "i-2016-w00", ROTATE_WEEK },
        { "2015-12-26T23:59:59Z", "i-2015-w51", ROTATE_WEEK },
        { "2017-01-01T00:00:00Z", "i-2017-w00", ROTATE_WEEK },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct engine e = { .refused_part = NOTHING, .busy_part = NOTHING };
        SinkAttempt at;
        int64_t ns;
        peer_attempt(a, three, 1, &at);
        EXPECT_OK(time_parse_iso(str_of(cases[i].at), &ns));
        at.batch->at[0].arrival_ms = ns / NS_PER_MS;
        DeliverySearch search = { .index = S("i") };
        search.rotation = cases[i].rotation;
        EXPECT_INT(SINK_DELIVERED, deliver_with(a, &e, search, &at));
        EXPECT_STR(str_of(cases[i].index), str_of(e.indexes[0]));
    }
}

TEST(each_document_has_its_own_outcome)
{
    static const Str data[] = {
        S_INIT("{\"good\":1}"), S_INIT("{\"bad\":1}"), S_INIT("no object"),
        S_INIT("{\"busy\":1}"), S_INIT("[1]"),         S_INIT("{\"x\":1}}")
    };
    struct engine e = { .refused_part = S("bad"), .busy_part = S("busy") };
    SinkAttempt at;
    peer_attempt(a, data, COUNT_OF(data), &at);
    DeliverySearch search = { .index = S("i"), .rotation = ROTATE_DAY };
    EXPECT_INT(SINK_RETRY, deliver_with(a, &e, search, &at));
    EXPECT_STR(S("429"), at.code);
    EXPECT_STR(S("{\"type\":\"rejected\"}"), at.message);
    EXPECT(at.pending_count == 1 && at.pending[3] && !at.pending[0]);
    const DeliveryFault *f = &at.batch->at[1].fault;
    EXPECT_STR(S("AmazonOpenSearchService-failed"), str_of(f->type));
    EXPECT_STR(S("400"), f->code);
    EXPECT_STR(S("{\"type\":\"mapper_parsing_exception\",\"reason\":\"no\"}"), f->message);
    EXPECT_STR(S("i-2016-02-25"), f->index);
    EXPECT_STR(S("000000000000000000050000000000000000000700000000000000000101.0"), f->document_id);
    EXPECT(f->attempts == 1 && f->ended_ms > 0);
    EXPECT(at.batch->at[0].fault.type == NULL && at.batch->at[3].fault.type == NULL);
    for (size_t i = 2; i < COUNT_OF(data); i++)
        EXPECT(i == 3 || str_eq(at.batch->at[i].fault.code, S("400")));
    at.attempt = 2;
    EXPECT_INT(SINK_DELIVERED, deliver_with(a, &e, search, &at));
    EXPECT_INT(2, e.n);
}

TEST(what_is_too_large_for_the_engine_is_halved)
{
    Str data[13];
    for (size_t i = 0; i < COUNT_OF(data); i++)
        data[i] = str_fmt(a, "{\"n\":%zu}", i);
    struct engine e = { .refused_part = NOTHING, .busy_part = NOTHING, .documents_max = 2 };
    SinkAttempt at;
    peer_attempt(a, data, COUNT_OF(data), &at);
    EXPECT_INT(SINK_DELIVERED, deliver_with(a, &e, (DeliverySearch){ .index = S("i") }, &at));
    EXPECT_INT(13, e.n);
    EXPECT_INT(0, at.pending_count);
    struct engine tiny = { .reply = "HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n" };
    peer_attempt(a, data, 2, &at);
    EXPECT_INT(SINK_DELIVERED, deliver_with(a, &tiny, (DeliverySearch){ .index = S("i") }, &at));
    EXPECT_STR(S("413"), at.batch->at[1].fault.code);
}

TEST(an_engine_that_fails_as_a_whole_is_tried_again)
{
    static const struct {
        const char *reply, *code;
    } cases[] = {
        { "HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\nbusy", "503" },
        { "HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n", "401" },
        { "HTTP/1.1 403 X\r\nContent-Length: 0\r\n\r\n", "403" },
        { "HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n", "400" },
        { "HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}", "OS.InvalidResponse" },
        { "HTTP/1.1 200 X\r\nContent-Length: 12\r\n\r\n{\"items\":[]}", "OS.InvalidResponse" },
        { "", "OS.ConnectionReset" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct engine e = { .reply = cases[i].reply };
        SinkAttempt at;
        peer_attempt(a, three, 3, &at);
        EXPECT_INT(SINK_RETRY, deliver_with(a, &e, (DeliverySearch){ .index = S("i") }, &at));
        EXPECT_STR(str_of(cases[i].code), at.code);
        EXPECT_INT(3, at.pending_count);
    }
}
