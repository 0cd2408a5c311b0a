// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "client/client.h"
#include "http/server.h"

#include <pthread.h>

// A server that answers with what a test tells it, and keeps what it was asked.
struct rig {
    struct loop *loop;
    struct http_server *server;
    pthread_t thread;
    unsigned status;
    Str body, error_type;
    Str path, target, authorization, token, content_type; // of the last request, in the rig's arena
    Str request_body;
    struct arena *a; // the loop's thread puts it there; closed by the test
};

static Str kept(struct rig *r, const struct http_exchange *x, Str name)
{
    return str_dup(r->a, http_header(x, name));
}

static void answer(void *self, struct http_exchange *x)
{
    struct rig *r = self;
    r->path = str_dup(r->a, x->path);
    r->target = kept(r, x, S("x-amz-target"));
    r->authorization = kept(r, x, S("authorization"));
    r->token = kept(r, x, S("x-amz-security-token"));
    r->content_type = kept(r, x, S("content-type"));
    r->request_body = str_dup(r->a, x->body);
    const HttpHeader headers[] = { { S("x-amzn-requestid"), S("id-1") },
                                   { S("x-amzn-errortype"), r->error_type } };
    http_reply(x, r->status, headers, r->error_type.n > 0 ? 2 : 1, r->body);
}

static void *run_loop(void *self)
{
    loop_run(((struct rig *)self)->loop);
    return NULL;
}

static struct client *rig_start(struct rig *r, struct arena *a)
{
    r->a = arena_open();
    EXPECT_OK(loop_open(&r->loop));
    HttpConfig config = { .limits = http_limits_default(),
                          .loops = &r->loop,
                          .loop_count = 1,
                          .handler = { .self = r, .request = answer } };
    EXPECT_OK(http_server_open(&config, &r->server));
    EXPECT(pthread_create(&r->thread, NULL, run_loop, r) == 0);
    uint16_t port = 0;
    EXPECT_OK(http_server_listen(r->server, S("127.0.0.1:0"), &port));
    ClientConfig c = { .endpoint = str_fmt(a, "http://127.0.0.1:%u", port),
                       .region = S("eu-west-1"),
                       .access_key = S("AKIDEXAMPLE"),
                       .secret_key = S("secret"),
                       .session_token = S("token"),
                       .timeout_ns = 60 * NS_PER_S };
    struct client *client = NULL;
    EXPECT_OK(client_open(&c, &client));
    return client;
}

static void rig_stop(struct rig *r)
{
    http_server_drain(r->server);
    loop_stop(r->loop);
    pthread_join(r->thread, NULL);
    http_server_close(r->server);
    loop_close(r->loop);
}

TEST(a_call_is_signed_and_its_reply_comes_back)
{
    struct rig r = { .status = 200, .body = S("{\"x\":1}") };
    struct client *c = rig_start(&r, a);
    ClientReply reply = { 0 };
    EXPECT_OK(client_call(c, a, &client_kinesis, S("ListStreams"), S("{}"), &reply));
    EXPECT_INT(200, reply.status);
    EXPECT_STR(S("{\"x\":1}"), reply.body);
    EXPECT_STR(S("id-1"), reply.request_id);
    EXPECT(reply.error.p == NULL);
    client_close(c);
    rig_stop(&r);
    EXPECT_STR(S("Kinesis_20131202.ListStreams"), r.target);
    EXPECT_STR(S("application/x-amz-json-1.1"), r.content_type);
    EXPECT_STR(S("{}"), r.request_body);
    EXPECT_STR(S("token"), r.token);
    Str scope = S("/eu-west-1/kinesis/aws4_request");
    EXPECT(str_search(r.authorization, scope) < r.authorization.n);
    EXPECT(str_starts(r.authorization, S("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")));
    arena_close(r.a);
}

TEST(a_service_of_version_1_0_of_the_protocol_is_spoken_to_in_it)
{
    struct rig r = { .status = 200, .body = S("{}") };
    struct client *c = rig_start(&r, a);
    ClientReply reply = { 0 };
    EXPECT_OK(client_call(c, a, &client_dynamodb, S("Scan"), S("{}"), &reply));
    client_close(c);
    rig_stop(&r);
    EXPECT_STR(S("DynamoDB_20120810.Scan"), r.target);
    EXPECT_STR(S("application/x-amz-json-1.0"), r.content_type);
    arena_close(r.a);
}

struct wrong {
    Str body, header, error, message;
    unsigned status;
};

TEST(errors_are_found_wherever_aws_puts_their_names)
{
    static const struct wrong cases[] = {
        { S_INIT("{\"__type\":\"LimitExceededException\",\"message\":\"too many\"}"), S_INIT(""),
          S_INIT("LimitExceededException"), S_INIT("too many"), 400 },
        { S_INIT("{\"__type\":\"com.amazonaws.kinesis#ResourceInUseException:http://x/\","
                 "\"Message\":\"M\"}"),
          S_INIT(""), S_INIT("ResourceInUseException"), S_INIT("M"), 400 },
        { S_INIT("{}"), S_INIT("AccessDeniedException:http://x"), S_INIT("AccessDeniedException"),
          S_INIT(""), 403 },
        { S_INIT("<html>"), S_INIT(""), S_INIT("HTTP status 502"), S_INIT(""), 502 },
        { S_INIT("[1]"), S_INIT(""), S_INIT("HTTP status 500"), S_INIT(""), 500 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig r = { .status = cases[i].status, .body = cases[i].body };
        r.error_type = cases[i].header;
        struct client *c = rig_start(&r, a);
        ClientReply reply = { 0 };
        EXPECT_OK(client_call(c, a, &client_kinesis, S("X"), S("{}"), &reply));
        client_close(c);
        rig_stop(&r);
        arena_close(r.a);
        EXPECT_INT(cases[i].status, reply.status);
        EXPECT_STR(cases[i].error, reply.error);
        EXPECT_STR(cases[i].message, reply.message);
    }
}

TEST(a_page_for_operators_is_asked_and_its_errors_are_told_by_kind)
{
    static const struct wrong cases[] = {
        { S_INIT("{\"cursor\":\"7\"}"), S_INIT(""), S_INIT(""), S_INIT(""), 200 },
        { S_INIT("{\"error\":\"no such stream\",\"kind\":\"not-found\"}"), S_INIT(""),
          S_INIT("not-found"), S_INIT("no such stream"), 400 },
        { S_INIT("{\"error\":\"only the root key may ask\"}"), S_INIT(""),
          S_INIT("HTTP status 403"), S_INIT("only the root key may ask"), 403 },
        { S_INIT("<html>"), S_INIT(""), S_INIT("HTTP status 404"), S_INIT(""), 404 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig r = { .status = cases[i].status, .body = cases[i].body };
        struct client *c = rig_start(&r, a);
        ClientReply reply = { 0 };
        EXPECT_OK(client_ask(c, a, S("stream/read"), S("{\"stream\":\"s\"}"), &reply));
        client_close(c);
        rig_stop(&r);
        EXPECT_INT(cases[i].status, reply.status);
        EXPECT_STR(cases[i].error, reply.error.p != NULL ? reply.error : S(""));
        EXPECT_STR(cases[i].message, reply.message.p != NULL ? reply.message : S(""));
        EXPECT_STR(S("{\"stream\":\"s\"}"), r.request_body);
        Str scope = S("/eu-west-1/headrace/aws4_request");
        EXPECT(str_search(r.authorization, scope) < r.authorization.n);
        arena_close(r.a);
    }
}

TEST(nobody_at_the_endpoint_is_an_error_of_its_own)
{
    ClientConfig config = { .endpoint = S("http://127.0.0.1:1"),
                            .region = S("r"),
                            .access_key = S("k"),
                            .secret_key = S("s"),
                            .timeout_ns = 60 * NS_PER_S };
    AUTO(client) c = NULL;
    EXPECT_OK(client_open(&config, &c));
    ClientReply reply = { 0 };
    EXPECT_ERR(ERR_NOT_FOUND, client_call(c, a, &client_kinesis, S("X"), S("{}"), &reply));
    struct client *none = NULL;
    config.endpoint = S("gopher://x");
    EXPECT_ERR(ERR_INVALID, client_open(&config, &none));
}

TEST(throttles_are_told_from_other_errors)
{
    EXPECT(client_is_throttle(S("ProvisionedThroughputExceededException")));
    EXPECT(client_is_throttle(S("ThrottlingException")));
    EXPECT(!client_is_throttle(S("ResourceNotFoundException")));
    EXPECT(!client_is_throttle((Str){ 0 }));
}

TEST(a_key_of_any_bytes_is_signed_as_it_is_sent_and_an_error_of_s3_is_told)
{
    struct rig r = { .status = 404,
                     .body = S("<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code>"
                               "<Message>The specified key does not exist.</Message></Error>") };
    struct client *c = rig_start(&r, a);
    S3OutReply reply;
    const S3OutCall call = { .method = S("GET"),
                             .bucket = S("shelf"),
                             .key = S("a b/+~%\xc3\xbc") };
    EXPECT_OK(client_s3(c, a, &call, &reply));
    EXPECT_STR(S("NoSuchKey"), reply.code);
    EXPECT_STR(S("The specified key does not exist."), reply.message);
    EXPECT_STR(S("id-1"), s3_out_header(&reply, S("x-amzn-requestid")));
    EXPECT(s3_out_header(&reply, S("etag")).p == NULL);
    client_close(c);
    rig_stop(&r);
    EXPECT_STR(S("/shelf/a%20b/%2B~%25%C3%BC"), r.path);
    const Str names = S("SignedHeaders=host;x-amz-content-sha256;x-amz-date");
    EXPECT(str_search(r.authorization, names) < r.authorization.n);
    arena_close(r.a);
}

// The end of an upload may say 200 and be an error.
TEST(an_error_that_says_200_is_one_unless_it_is_what_was_asked_for)
{
    struct rig r = { .status = 200, .body = S("<Error><Code>InternalError</Code></Error>") };
    struct client *c = rig_start(&r, a);
    S3OutReply reply;
    S3OutCall call = {
        .method = S("POST"), .bucket = S("shelf"), .key = S("k"), .query = S("x=1")
    };
    EXPECT_OK(client_s3(c, a, &call, &reply));
    EXPECT_STR(S("InternalError"), reply.code);
    call.method = S("GET");
    EXPECT_OK(client_s3(c, a, &call, &reply));
    EXPECT(reply.code.p == NULL);
    client_close(c);
    rig_stop(&r);
    arena_close(r.a);
}
