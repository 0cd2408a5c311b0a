// SPDX-License-Identifier: Apache-2.0
// The whole way, over sockets: a signed request in, a reply out.
#include "aws/probe_api.h"
#include "aws/probe_ops.h"
#include "aws/probe_serve.h"
#include "aws/sigv4.h"
#include "base/test.h"
#include "codec/eventstream.h"
#include "http/client.h"
#include "os/io.h"

#include <pthread.h>

static const Key root = { .access_key = S_INIT("AKIDEXAMPLE"),
                          .secret = S_INIT("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
                          .account = S_INIT("111122223333"),
                          .principal = S_INIT("arn:aws:iam::111122223333:root") };

struct client {
    struct keyring *keys;
    struct probe_server *server;
    struct http_client *http;
};

static void client_open(struct client *c, struct arena *a)
{
    enum { WAIT_S = 30 };
    keyring_open(false, &c->keys);
    EXPECT_OK(keyring_add(c->keys, &root));
    probe_serve(c->keys, &c->server);
    const HttpClientConfig config = {
        .url = str_fmt(a, "http://127.0.0.1:%u", probe_server_port(c->server)),
        .timeout_ns = WAIT_S * INT64_C(1000000000),
    };
    EXPECT_OK(http_client_open(&config, &c->http));
}

static void client_close(struct client *c)
{
    http_client_close(c->http);
    probe_server_close(c->server);
    keyring_close(c->keys);
}

static HttpReply call(struct client *c, struct arena *a, Str secret, const char *op, Str body)
{
    enum { OWN = 3, ADDED_MAX = 3 };
    HttpHeader headers[OWN + ADDED_MAX] = {
        { S("host"), http_client_host(c->http) },
        { S("content-type"), S("application/x-amz-json-1.1") },
        { S("x-amz-target"), str_fmt(a, "Probe_20250101.%s", op) },
    };
    Sigv4Sign sign = { .access_key = root.access_key,
                       .secret = secret,
                       .region = S("eu-west-1"),
                       .service = S("probe"),
                       .method = S("POST"),
                       .path = S("/"),
                       .headers = headers,
                       .header_count = OWN,
                       .body = body,
                       .now_ns = io_real()->wall_ns(io_real()) };
    Sigv4Headers added;
    HttpReply reply = { 0 };
    EXPECT_OK(sigv4_sign(&sign, a, &added));
    for (size_t i = 0; i < added.n; i++)
        headers[OWN + i] = added.at[i];
    // the client sets Host itself
    EXPECT_OK(http_client_call(c->http, a, S("POST"), S("/"), headers + 1, OWN - 1 + added.n, body,
                               &reply));
    return reply;
}

static Str header_of(const HttpReply *r, Str name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (str_eq(r->headers[i].name, name))
            return r->headers[i].value;
    return (Str){ 0 };
}

static void expect_reply(unsigned status, Str body, HttpReply r)
{
    EXPECT_STR(body, r.body);
    EXPECT_INT(status, r.status);
}

TEST(a_signed_call_goes_there_and_back)
{
    struct client c;
    client_open(&c, a);
    HttpReply r = call(&c, a, root.secret, "Put", S("{\"Name\":\"abc\"}"));
    expect_reply(200, S("{\"Name\":\"abc\",\"Must\":0,\"Found\":[]}"), r);
    EXPECT_STR(S("application/x-amz-json-1.1"), header_of(&r, S("content-type")));
    EXPECT_INT(36, header_of(&r, S("x-amzn-requestid")).n);
    EXPECT(header_of(&r, S("date")).n > 0);
    expect_reply(200, S(""), call(&c, a, root.secret, "Drop", S("{\"Name\":\"abc\"}")));
    expect_reply(200, S("{\"Name\":\"a\"}"),
                 call(&c, a, root.secret, "Slow", S("{\"Name\":\"a\"}")));
    client_close(&c);
}

TEST(a_wrong_secret_is_refused)
{
    struct client c;
    client_open(&c, a);
    HttpReply r = call(&c, a, S("guessed"), "Put", S("{\"Name\":\"abc\"}"));
    EXPECT_INT(400, r.status);
    EXPECT(
        str_starts(r.body, S("{\"__type\":\"InvalidSignatureException\",\"message\":\"The request "
                             "signature we calculated does not match")));
    client_close(&c);
}

TEST(a_body_over_the_operations_limit_is_413)
{
    struct client c;
    client_open(&c, a);
    char *large = arena_alloc(a, 2048, 1); // Fail takes 1 KiB
    expect_reply(413, S(""), call(&c, a, root.secret, "Fail", str_from(large, 2048)));
    client_close(&c);
}

TEST(calls_that_wait_are_answered_over_the_socket)
{
    struct client c;
    client_open(&c, a);
    probe_seen.early = true;
    expect_reply(200, S("{\"Name\":\"a\"}"),
                 call(&c, a, root.secret, "Later", S("{\"Name\":\"a\"}")));
    probe_seen.early = false;
    client_close(&c);
}

// "type event-or-exception payload" of each message, one after the other.
static Str messages(struct arena *a, Str body)
{
    Str all = S("");
    while (body.n > 0) {
        EventMessage m;
        EXPECT_OK(eventstream_read(body, &m));
        Str kind = eventstream_text(&m, S(":message-type")), name;
        if (str_eq(kind, S("event")))
            name = eventstream_text(&m, S(":event-type"));
        else if (str_eq(kind, S("exception")))
            name = eventstream_text(&m, S(":exception-type"));
        else
            name = str_cat3(a, eventstream_text(&m, S(":error-code")), S(" "),
                            eventstream_text(&m, S(":error-message")));
        all = str_fmt(a, "%.*s%.*s %.*s %.*s|", FMT(all), FMT(kind), FMT(name), FMT(m.payload));
        body = str_skip(body, m.bytes);
    }
    return all;
}

TEST(a_stream_of_events_begins_with_the_initial_response)
{
    struct client c;
    client_open(&c, a);
    HttpReply r = call(&c, a, root.secret, "Watch", S("{\"Ticks\":2}"));
    EXPECT_INT(200, r.status);
    EXPECT_STR(S("application/vnd.amazon.eventstream"), header_of(&r, S("content-type")));
    EXPECT_STR(S("event initial-response {}|event Tick {\"Number\":1}|event Tick "
                 "{\"Number\":2}|"),
               messages(a, r.body));
    client_close(&c);
}

TEST(what_goes_wrong_before_a_stream_begins_is_an_ordinary_error)
{
    struct client c;
    client_open(&c, a);
    expect_reply(409, S("{\"__type\":\"Taken\",\"message\":\"refused\"}"),
                 call(&c, a, root.secret, "Watch", S("{\"Ticks\":1,\"How\":\"refuse\"}")));
    client_close(&c);
}

TEST(what_goes_wrong_in_a_stream_is_its_last_message)
{
    struct client c;
    client_open(&c, a);
    HttpReply r = call(&c, a, root.secret, "Watch", S("{\"Ticks\":1,\"How\":\"taken\"}"));
    EXPECT_STR(S("event initial-response {}|event Tick {\"Number\":1}|exception Taken "
                 "{\"message\":\"it is taken\"}|"),
               messages(a, r.body));
    r = call(&c, a, root.secret, "Watch", S("{\"Ticks\":1,\"How\":\"denied\"}"));
    EXPECT(str_ends(messages(a, r.body), S("|error AccessDeniedException no |")));
    r = call(&c, a, root.secret, "Watch", S("{\"Ticks\":1,\"How\":\"fault\"}"));
    EXPECT(str_ends(messages(a, r.body),
                    S("|exception InternalFault {\"message\":\"The service failed.\"}|")));
    client_close(&c);
}

TEST(pages_are_served_beside_the_operations)
{
    struct client c;
    HttpReply r = { 0 };
    client_open(&c, a);
    EXPECT_OK(http_client_call(c.http, a, S("GET"), S("/health"), NULL, 0, S(""), &r));
    expect_reply(200, S("fine"), r);
    EXPECT_OK(http_client_call(c.http, a, S("GET"), S("/_headrace/none"), NULL, 0, S(""), &r));
    EXPECT_INT(404, r.status);
    client_close(&c);
}
