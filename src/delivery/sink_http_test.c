// SPDX-License-Identifier: Apache-2.0
// The HTTP endpoint protocol against a receiver that refuses whatever a strict one refuses.
#include "codec/base64.h"
#include "codec/gzip.h"
#include "codec/json.h"
#include "delivery/sink_net.h"
#include "delivery/sink_peer.h"
#include "base/time.h"

static const DeliveryPair attributes[] = { { S_INIT("env"), S_INIT("prod") },
                                           { S_INIT("quoted\"name"), S_INIT("line\nend") } };

static DeliveryConfig config_for(struct arena *a, const struct peer *p)
{
    return (DeliveryConfig){
        .name = S("s"),
        .arn = S("arn:aws:firehose:us-east-1:000000000000:deliverystream/s"),
        .kind = DELIVER_HTTP,
        .http = { .url = str_fmt(a, "http://127.0.0.1:%u/in/take?key=a%%20b", p->port),
                  .access_key = S("secret key"),
                  .attributes = attributes,
                  .attribute_count = COUNT_OF(attributes) },
    };
}

// A receiver, and how it answers what is right.
struct endpoint {
    struct peer peer;
    bool gzip;
    const char *reply; // NULL: as the protocol says; else all of it, "%s" is the request's id
    struct buf got;    // data of all records, a line each
};

static const char *check_headers(const PeerRequest *q, bool gzip)
{
    if (!str_eq(q->method, S("POST")) || !str_eq(q->target, S("/in/take?key=a%20b")))
        return "method or target";
    if (!str_eq(peer_header(q, S("content-type")), S("application/json")))
        return "content type";
    if (!str_eq(peer_header(q, S("content-encoding")), gzip ? S("gzip") : (Str){ 0 }))
        return "content encoding";
    if (!str_eq(peer_header(q, S("x-amz-firehose-protocol-version")), S("1.0")))
        return "protocol version";
    if (!str_eq(peer_header(q, S("x-amz-firehose-access-key")), S("secret key")))
        return "access key";
    if (!str_eq(peer_header(q, S("x-amz-firehose-source-arn")),
                S("arn:aws:firehose:us-east-1:000000000000:deliverystream/s")))
        return "source ARN";
    if (!str_eq(peer_header(q, S("x-amz-firehose-common-attributes")),
                S("{\"commonAttributes\":{\"env\":\"prod\",\"quoted\\\"name\":\"line\\nend\"}}")))
        return "common attributes";
    return NULL;
}

static const char *check_body(struct endpoint *e, struct arena *a, const PeerRequest *q)
{
    Str body = q->body;
    JsonValue *v;
    if (e->gzip && gzip_unpack(a, body, 100 << 20, &body).kind != ERR_NONE)
        return "gzip";
    if (json_parse(a, body, &v).kind != ERR_NONE || v->kind != JSON_MAP || v->n != 3)
        return "JSON";
    if (!str_eq(json_text(v, S("requestId")), peer_header(q, S("x-amz-firehose-request-id"))))
        return "requestId of header and body";
    const JsonValue *time = json_find(v, S("timestamp")), *records = json_find(v, S("records"));
    if (time == NULL || time->kind != JSON_NUMBER || time->integer < 1500000000000)
        return "timestamp";
    if (records == NULL || records->kind != JSON_LIST || records->n == 0)
        return "records";
    for (size_t i = 0; i < records->n; i++) {
        Str data = json_text(&records->items[i], S("data"));
        char *out = arena_alloc(a, base64_decoded_max(data.n), 1);
        Base64Result r = base64_decode(out, data.p, data.n);
        if (data.p == NULL || records->items[i].n != 1 || r.fault != BASE64_GOOD)
            return "a record";
        buf_addf(&e->got, "%.*s\n", (int)r.n, out);
    }
    return NULL;
}

static Str answer(void *of, struct arena *a, const PeerRequest *q)
{
    struct endpoint *e = of;
    const char *wrong = check_headers(q, e->gzip);
    wrong = wrong != NULL ? wrong : check_body(e, a, q);
    if (wrong != NULL)
        return peer_refuse(&e->peer, a, wrong);
    Str id = peer_header(q, S("x-amz-firehose-request-id"));
    if (e->reply == NULL)
        return peer_reply(a, 200, S("application/json"),
                          str_fmt(a, "{\"requestId\":\"%.*s\",\"timestamp\":1}", FMT(id)));
    Str text = str_of(e->reply);
    size_t at = str_search(text, S("%s"));
    return at == text.n ? str_dup(a, text)
                        : str_cat3(a, str_head(text, at), id, str_skip(text, at + 2));
}

static SinkResult deliver_once(struct arena *a, struct endpoint *e, SinkAttempt *at)
{
    struct delivery_env env = peer_env();
    DeliveryConfig config = config_for(a, &e->peer);
    config.http.gzip = e->gzip;
    struct sink *s = NULL;
    Str text = { 0 };
    EXPECT_OK(sink_http.open(&env, &config, &s, a, &text));
    SinkResult r = sink_http.deliver(s, at);
    sink_http.close(s);
    return r;
}

static const Str three[] = { S_INIT("one"), S_INIT(""), S_INIT("three\xff") };

TEST(records_arrive_at_an_endpoint_as_its_protocol_says)
{
    for (int gzip = 0; gzip < 2; gzip++) {
        struct endpoint e = { .gzip = gzip };
        peer_start(&e.peer, answer, &e);
        SinkAttempt at;
        peer_attempt(a, three, 3, &at);
        EXPECT_INT(SINK_DELIVERED, deliver_once(a, &e, &at));
        EXPECT_INT(0, at.pending_count);
        EXPECT(!at.pending[0] && at.bytes_sent > 0);
        peer_stop(&e.peer);
        EXPECT_STR(S("one\n\nthree\xff\n"), buf_str(&e.got));
        buf_done(&e.got);
    }
}

TEST(a_large_body_is_compressed_in_pieces)
{
    enum { RECORDS = 3000, BYTES = 1000 };
    struct endpoint e = { .gzip = true };
    char *bytes = arena_alloc(a, BYTES, 1);
    memset(bytes, 'x', BYTES);
    Str *data = arena_new(a, Str, RECORDS);
    for (size_t i = 0; i < RECORDS; i++)
        data[i] = str_from(bytes, BYTES);
    SinkAttempt at;
    peer_attempt(a, data, RECORDS, &at);
    at.pending[5] = false; // delivered before
    peer_start(&e.peer, answer, &e);
    EXPECT_INT(SINK_DELIVERED, deliver_once(a, &e, &at));
    EXPECT(at.bytes_sent < RECORDS * BYTES / 10);
    peer_stop(&e.peer);
    EXPECT_INT((RECORDS - 1) * (BYTES + 1), e.got.n);
    buf_done(&e.got);
}

#define REPLY(status, headers, body) "HTTP/1.1 " status " X\r\n" headers "\r\n" body
#define JSON_TYPE "Content-Type: application/json\r\n"

TEST(an_answer_that_the_protocol_does_not_know_is_no_success)
{
    static const struct {
        const char *reply, *code, *message;
        SinkResult result;
    } cases[] = {
        { REPLY("202", JSON_TYPE "Content-Length: 66\r\n",
                "{\"requestId\":\"%s\",\"timestamp\":1}"),
          "HttpEndpoint.DestinationException", "status 202", SINK_RETRY },
        { REPLY("500", JSON_TYPE "Content-Length: 103\r\n",
                "{\"requestId\":\"%s\",\"timestamp\":1,\"errorMessage\":\"disk is full, sorry\"}"),
          "HttpEndpoint.DestinationException", "status 500: disk is full, sorry", SINK_RETRY },
        { REPLY("413", "Content-Length: 0\r\n", ""), "HttpEndpoint.DestinationException", "413",
          SINK_REFUSED },
        { REPLY("301", "Location: http://127.0.0.1:1/\r\nContent-Length: 0\r\n", ""),
          "HttpEndpoint.DestinationException", "301", SINK_RETRY },
        { REPLY("200", "Content-Type: text/html\r\nContent-Length: 2\r\n", "{}"),
          "HttpEndpoint.InvalidResponseFromDestination", "application/json", SINK_RETRY },
        { REPLY("200", "Content-Length: 2\r\n", "{}"),
          "HttpEndpoint.InvalidResponseFromDestination", "application/json", SINK_RETRY },
        { REPLY("200", JSON_TYPE "Content-Encoding: gzip\r\nContent-Length: 2\r\n", "{}"),
          "HttpEndpoint.InvalidResponseFromDestination", "encoding", SINK_RETRY },
        { REPLY("200", JSON_TYPE "Connection: close\r\n", "{\"requestId\":\"%s\",\"timestamp\":1}"),
          "HttpEndpoint.InvalidResponseFromDestination", "Content-Length", SINK_RETRY },
        { REPLY("200", JSON_TYPE "Content-Length: 2\r\n", "{}"),
          "HttpEndpoint.InvalidResponseFromDestination", "requestId", SINK_RETRY },
        { REPLY("200", JSON_TYPE "Content-Length: 3\r\n", "[1]"),
          "HttpEndpoint.InvalidResponseFromDestination", "JSON object", SINK_RETRY },
        { REPLY("200", JSON_TYPE "Content-Length: 35\r\n",
                "{\"requestId\":\"other\",\"timestamp\":1}"),
          "HttpEndpoint.InvalidResponseFromDestination", "\"other", SINK_RETRY },
        { REPLY("200", JSON_TYPE "Content-Length: 52\r\n", "{\"requestId\":\"%s\"}"),
          "HttpEndpoint.InvalidResponseFromDestination", "timestamp", SINK_RETRY },
        { REPLY("200", JSON_TYPE "Content-Length: 2000000\r\n", ""),
          "HttpEndpoint.ResponseTooLarge", "", SINK_RETRY },
        { "SSH-2.0-x\r\n\r\n", "HttpEndpoint.InvalidResponseFromDestination", "HTTP", SINK_RETRY },
        { "", "HttpEndpoint.ConnectionReset", "", SINK_RETRY },
        { "HTTP/1.1 200 X\r\nConte", "HttpEndpoint.ConnectionReset", "", SINK_RETRY },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct endpoint e = { .reply = cases[i].reply };
        peer_start(&e.peer, answer, &e);
        SinkAttempt at;
        peer_attempt(a, three, 3, &at);
        SinkResult r = deliver_once(a, &e, &at);
        if (r != cases[i].result || !str_eq(str_of(cases[i].code), at.code) ||
            str_search(at.message, str_of(cases[i].message)) == at.message.n)
            test_fail(__FILE__, __LINE__, "case %zu: result %d, %.*s: %.*s", i, r, FMT(at.code),
                      FMT(at.message));
        EXPECT(at.pending_count == 3 && at.pending[2]);
        peer_stop(&e.peer);
        buf_done(&e.got);
    }
}

TEST(a_timestamp_may_be_text)
{
    struct endpoint e = {
        .reply =
            REPLY("200", "Content-Type: Application/JSON; charset=utf-8\r\nContent-Length: 84\r\n",
                  "{\"requestId\":\"%s\",\"timestamp\":\"1578090903599\"}    ")
    };
    peer_start(&e.peer, answer, &e);
    SinkAttempt at;
    peer_attempt(a, three, 1, &at);
    EXPECT_INT(SINK_DELIVERED, deliver_once(a, &e, &at));
    peer_stop(&e.peer);
    buf_done(&e.got);
}

TEST(an_endpoint_that_is_not_there_is_told_from_one_without_tls)
{
    struct delivery_env env = peer_env();
    struct endpoint e = { 0 };
    peer_start(&e.peer, answer, &e);
    DeliveryConfig config = config_for(a, &e.peer);
    config.http.url = str_fmt(a, "https://127.0.0.1:%u/", e.peer.port);
    struct sink *s = NULL;
    Str text = { 0 };
    SinkAttempt at;
    peer_attempt(a, three, 1, &at);
    EXPECT_OK(sink_http.open(&env, &config, &s, a, &text));
    EXPECT_INT(SINK_RETRY, sink_http.deliver(s, &at)); // the peer answers in plain text
    EXPECT_STR(S("HttpEndpoint.SSLHandshakeFailure"), at.code);
    peer_stop(&e.peer);
    sink_http.close(s);
    config.http.url = S("https://127.0.0.1:1/"); // the peer's own port may be another's by now
    EXPECT_OK(sink_http.open(&env, &config, &s, a, &text));
    EXPECT_INT(SINK_RETRY, sink_http.deliver(s, &at));
    EXPECT_STR(S("HttpEndpoint.ConnectionFailed"), at.code);
    sink_http.close(s);
}

TEST(private_addresses_and_plain_http_are_refused_where_they_are_not_allowed)
{
    struct delivery_env env = peer_env();
    env.plain_http = false;
    DeliveryConfig config = { .http = { .url = S("http://example.com/") } };
    struct sink *s = NULL;
    Str text = { 0 };
    EXPECT_ERR(ERR_INVALID, sink_http.open(&env, &config, &s, a, &text));
    EXPECT(text.n > 0);
    config.http.url = S("https://127.0.0.1:1/");
    EXPECT_OK(sink_http.open(&env, &config, &s, a, &text));
    SinkAttempt at;
    peer_attempt(a, three, 1, &at);
    EXPECT_INT(SINK_RETRY, sink_http.deliver(s, &at));
    EXPECT_STR(S("HttpEndpoint.ConnectionFailed"), at.code);
    EXPECT_STR(S("the server's address is a private one"), at.message);
    sink_http.close(s);
}

TEST(urls_of_destinations_are_taken_apart)
{
    struct delivery_env env = peer_env();
    static const struct {
        const char *url, *base, *target, *user, *password;
    } good[] = {
        { "https://h", "https://h", "/", NULL, NULL },
        { "https://h:9200?q=1", "https://h:9200", "/?q=1", NULL, NULL },
        { "http://u:p%40ss@[::1]:80/a//b?x=/@#f", "http://[::1]:80", "/a//b?x=/@", "u", "p@ss" },
        { "https://u@x:p@h/", "https://h", "/", "u@x", "p" },
    };
    static const char *const bad[] = { "",
                                       "h",
                                       "ftp://h",
                                       "https://",
                                       "https://h h",
                                       "https://:1",
                                       "https://h:99999",
                                       "https://u:%zz@h",
                                       "https://h/\n" };
    SinkUrl url;
    Str text = { 0 };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        EXPECT_OK(sink_url_parse(&env, a, str_of(good[i].url), &url, &text));
        EXPECT_STR(str_of(good[i].base), url.base);
        EXPECT_STR(str_of(good[i].target), url.target);
        EXPECT_STR(str_of(good[i].user), url.user);
        EXPECT_STR(str_of(good[i].password), url.password);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        text = (Str){ 0 };
        EXPECT_ERR(ERR_INVALID, sink_url_parse(&env, a, str_of(bad[i]), &url, &text));
        EXPECT(text.n > 0);
    }
}

TEST(pauses_double_up_to_two_minutes)
{
    struct delivery_env env = peer_env();
    for (int64_t attempt = 1; attempt < 100; attempt++) {
        int64_t middle = MIN((int64_t)1 << MIN(attempt - 1, (int64_t)20), (int64_t)120) * NS_PER_S;
        int64_t ns = sink_back_off_ns(&env, attempt);
        EXPECT(ns >= middle / 100 * 85 && ns <= middle / 100 * 115 && ns <= 120 * NS_PER_S);
    }
    EXPECT(sink_back_off_ns(&env, 0) <= 2 * NS_PER_S);
}
