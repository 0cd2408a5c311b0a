// SPDX-License-Identifier: Apache-2.0
// The HTTP Event Collector's protocol against a collector that refuses what Splunk refuses.
#include "base/time.h"
#include "codec/json.h"
#include "delivery/sink_peer.h"

struct collector {
    struct peer peer;
    bool event;
    int64_t not_yet;       // so many questions are answered with false
    const char *reply;     // to data: all of it; NULL: taken
    const char *ack_reply; // to questions
    char channel[64];      // of the first request
    size_t asked;
    struct buf got;
};

static const char *check_head(struct collector *c, const PeerRequest *q)
{
    Str channel = peer_header(q, S("x-splunk-request-channel"));
    if (!str_eq(q->method, S("POST")))
        return "method";
    if (!str_eq(peer_header(q, S("authorization")),
                S("Splunk 11111111-2222-3333-4444-555555555555")))
        return "token";
    if (channel.n != 36)
        return "no channel";
    if (c->channel[0] == 0)
        memcpy(c->channel, channel.p, channel.n);
    return str_eq(channel, str_of(c->channel)) ? NULL : "another channel";
}

static Str take_data(struct collector *c, struct arena *a, const PeerRequest *q)
{
    buf_add(&c->got, q->body);
    if (c->reply != NULL)
        return str_of(c->reply);
    Str body = S("{\"text\":\"Success\",\"code\":0,\"ackId\":7}");
    return str_fmt(a,
                   "HTTP/1.1 200 OK\r\nSet-Cookie: AWSELB=abc; PATH=/\r\nSet-Cookie: x=y\r\n"
                   "Content-Length: %zu\r\n\r\n%.*s",
                   body.n, FMT(body));
}

static Str answer_question(struct collector *c, struct arena *a, const PeerRequest *q)
{
    JsonValue *v;
    if (json_parse(a, q->body, &v).kind != ERR_NONE)
        return peer_refuse(&c->peer, a, "no JSON in a question");
    const JsonValue *acks = json_find(v, S("acks"));
    if (acks == NULL || acks->kind != JSON_LIST || acks->n != 1 || acks->items[0].integer != 7)
        return peer_refuse(&c->peer, a, "acks");
    if (!str_eq(peer_header(q, S("cookie")), S("AWSELB=abc; x=y")))
        return peer_refuse(&c->peer, a, "no cookies of the balancer");
    c->asked++;
    if (c->ack_reply != NULL)
        return str_of(c->ack_reply);
    return peer_reply(a, 200, S("application/json"),
                      --c->not_yet >= 0 ? S("{\"acks\":{\"7\":false}}")
                                        : S("{\"acks\":{\"7\":true}}"));
}

static Str answer(void *of, struct arena *a, const PeerRequest *q)
{
    struct collector *c = of;
    const char *wrong = check_head(c, q);
    if (wrong != NULL)
        return peer_refuse(&c->peer, a, wrong);
    if (str_eq(q->target,
               c->event ? S("/in/services/collector/event") : S("/in/services/collector/raw")))
        return take_data(c, a, q);
    Str path, query;
    (void)str_cut(q->target, '?', &path, &query);
    if (!str_eq(path, S("/in/services/collector/ack")) ||
        !str_eq(query, str_cat(a, S("channel="), str_of(c->channel))))
        return peer_refuse(&c->peer, a, "target");
    return answer_question(c, a, q);
}

static SinkResult deliver_once(struct arena *a, struct collector *c, SinkAttempt *at)
{
    struct delivery_env env = peer_env();
    struct sink *s = NULL;
    Str text = { 0 };
    peer_start(&c->peer, answer, c);
    DeliveryConfig config = {
        .splunk = { .url = str_fmt(a, "http://127.0.0.1:%u/in/", c->peer.port),
                    .token = S("11111111-2222-3333-4444-555555555555"),
                    .event = c->event,
                    .ack_timeout_ns = 180 * NS_PER_S },
    };
    EXPECT_OK(sink_splunk.open(&env, &config, &s, a, &text));
    SinkResult r = sink_splunk.deliver(s, at);
    sink_splunk.close(s);
    peer_stop(&c->peer);
    buf_done(&c->got);
    return r;
}

static const Str lines[] = { S_INIT("one\n"), S_INIT("two"), S_INIT("\xff\n") };
static const Str events[] = { S_INIT("{\"event\":1}\n"), S_INIT("{\"event\":\"\"}"),
                              S_INIT("{\"event\":{}} ") };

TEST(data_counts_as_delivered_when_splunk_has_indexed_it)
{
    for (int event = 0; event < 2; event++) {
        struct collector c = { .event = event, .not_yet = 4 };
        SinkAttempt at;
        peer_attempt(a, event ? events : lines, 3, &at);
        EXPECT_INT(SINK_DELIVERED, deliver_once(a, &c, &at));
        EXPECT_INT(0, at.pending_count);
        EXPECT(!at.pending[0] && !at.pending[2] && at.ack_ms > 0);
        EXPECT_INT(5, c.asked);
        EXPECT_INT(event ? 37 : 9, at.bytes_sent);
    }
}

TEST(what_is_not_acknowledged_in_time_is_sent_again)
{
    struct collector c = { .not_yet = 1000000 };
    SinkAttempt at;
    peer_attempt(a, lines, 3, &at);
    EXPECT_INT(SINK_RETRY, deliver_once(a, &c, &at));
    EXPECT_STR(S("Splunk.AckTimeout"), at.code);
    EXPECT_INT(3, at.pending_count);
    EXPECT(c.asked > 15 && c.asked < 30); // 0.5, 1, 2, 4, 8, 10, 10 ... s in 180 s
}

#define SAYS(status, body) "HTTP/1.1 " status " X\r\nConnection: close\r\n\r\n" body

TEST(each_refusal_of_splunk_has_its_code)
{
    static const struct {
        const char *reply, *ack_reply, *code;
    } cases[] = {
        { SAYS("403", "{\"text\":\"Token disabled\",\"code\":1}"), NULL, "Splunk.DisabledToken" },
        { SAYS("401", "{\"text\":\"Token is required\",\"code\":2}"), NULL, "Splunk.InvalidToken" },
        { SAYS("403", "{\"text\":\"Invalid token\",\"code\":4}"), NULL, "Splunk.InvalidToken" },
        { SAYS("403", "<html>"), NULL, "Splunk.InvalidToken" },
        { SAYS("400", "{\"text\":\"No data\",\"code\":5}"), NULL, "Splunk.InvalidDataFormat" },
        { SAYS("400", "{\"text\":\"Invalid data format\",\"code\":6}"), NULL,
          "Splunk.InvalidDataFormat" },
        { SAYS("400", "{\"text\":\"Incorrect index\",\"code\":7}"), NULL, "Splunk.InvalidIndex" },
        { SAYS("500", "{\"text\":\"Internal server error\",\"code\":8}"), NULL,
          "Splunk.ServerError" },
        { SAYS("503", "{\"text\":\"Server is busy\",\"code\":9}"), NULL, "Splunk.ServerError" },
        { SAYS("400", "{\"text\":\"Data channel is missing\",\"code\":10}"), NULL,
          "Splunk.ProxyWithoutStickySessions" },
        { SAYS("404", "not found"), NULL, "Splunk.InvalidEndpoint" },
        { SAYS("200", "<html>hello"), NULL, "Splunk.InvalidEndpoint" },
        { SAYS("200", "{\"text\":\"Success\",\"code\":0}"), NULL, "Splunk.DisabledAck" },
        { "SSH-2.0\r\n\r\n", NULL, "Splunk.InvalidEndpoint" },
        { "", NULL, "Splunk.ConnectionClosed" },
        { NULL, SAYS("400", "{\"text\":\"ACK is disabled\",\"code\":14}"), "Splunk.DisabledAck" },
        { NULL, SAYS("400", "{\"text\":\"Invalid data channel\",\"code\":11}"),
          "Splunk.ProxyWithoutStickySessions" },
        { NULL, SAYS("503", "{\"text\":\"Server is busy\",\"code\":9}"), "Splunk.AckTimeout" },
        { NULL, SAYS("200", "garbage"), "Splunk.AckTimeout" },
        { NULL, "", "Splunk.AckTimeout" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct collector c = { .reply = cases[i].reply, .ack_reply = cases[i].ack_reply };
        SinkAttempt at;
        peer_attempt(a, lines, 3, &at);
        SinkResult r = deliver_once(a, &c, &at);
        if (r != SINK_RETRY || !str_eq(str_of(cases[i].code), at.code) || at.message.n == 0)
            test_fail(__FILE__, __LINE__, "case %zu: result %d, %.*s: %.*s", i, r, FMT(at.code),
                      FMT(at.message));
        EXPECT_INT(3, at.pending_count);
    }
}

TEST(an_event_that_splunk_cannot_read_does_not_hold_up_the_others)
{
    struct collector c = { .event = true,
                           .reply =
                               SAYS("400", "{\"text\":\"Event field cannot be blank\",\"code\":"
                                           "13,\"invalid-event-number\":0}") };
    SinkAttempt at;
    peer_attempt(a, events, 3, &at);
    at.pending[0] = false; // delivered before: the collector's number 0 is the second record
    at.pending_count = 2;
    EXPECT_INT(SINK_RETRY, deliver_once(a, &c, &at));
    EXPECT(!at.pending[1] && at.pending[2] && at.pending_count == 1);
    EXPECT_STR(S("splunk-failed"), str_of(at.batch->at[1].fault.type));
    EXPECT_STR(S("Splunk.InvalidDataFormat"), at.batch->at[1].fault.code);
    // Where a record may hold several events nobody knows which one is meant.
    static const Str mixed[] = { S_INIT("{\"event\":1}{\"event\":2}"), S_INIT("{\"event\":\"\"}") };
    struct collector d = { .event = true,
                           .reply = SAYS("400", "{\"code\":13,\"invalid-event-number\":2}") };
    peer_attempt(a, mixed, 2, &at);
    EXPECT_INT(SINK_RETRY, deliver_once(a, &d, &at));
    EXPECT_INT(2, at.pending_count);
}

TEST(a_token_that_cannot_be_a_header_is_refused)
{
    struct delivery_env env = peer_env();
    DeliveryConfig config = { .splunk = { .url = S("https://h:8088"), .token = S("a\nb") } };
    struct sink *s = NULL;
    Str text = { 0 };
    EXPECT_ERR(ERR_INVALID, sink_splunk.open(&env, &config, &s, a, &text));
    config.splunk.token = S("");
    EXPECT_ERR(ERR_INVALID, sink_splunk.open(&env, &config, &s, a, &text));
    EXPECT(text.n > 0);
}
