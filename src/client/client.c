// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"
#include "aws/sigv4.h"
#include "codec/json.h"
#include "codec/xml.h"
#include "http/client.h"
#include "os/io.h"

#include <stdlib.h>
#include <string.h>

enum { HEADERS_MAX = 8 };

struct client {
    struct http_client *http;
    struct arena *a; // of the configuration
    ClientConfig config;
};

const ClientService client_kinesis = { S_INIT("kinesis"), S_INIT("Kinesis_20131202"), false };
const ClientService client_firehose = { S_INIT("firehose"), S_INIT("Firehose_20150804"), false };
const ClientService client_glue = { S_INIT("glue"), S_INIT("AWSGlue"), false };
const ClientService client_dynamodb = { S_INIT("dynamodb"), S_INIT("DynamoDB_20120810"), true };

Err client_open(const ClientConfig *config, struct client **ret)
{
    HttpClientConfig http = { .url = config->endpoint,
                              .verify = config->verify,
                              .ca_file = config->ca_file,
                              .timeout_ns = config->timeout_ns };
    struct http_client *connection = NULL;
    TRY(http_client_open(&http, &connection));
    struct client *c = xalloc(sizeof *c);
    c->http = connection;
    c->a = arena_open();
    c->config.region = str_dup(c->a, config->region);
    c->config.access_key = str_dup(c->a, config->access_key);
    c->config.secret_key = str_dup(c->a, config->secret_key);
    if (config->session_token.n > 0)
        c->config.session_token = str_dup(c->a, config->session_token);
    *ret = c;
    return OK;
}

void client_close(struct client *c)
{
    if (c == NULL)
        return;
    http_client_close(c->http);
    arena_close(c->a);
    free(c);
}

// "com.amazonaws.kinesis#LimitExceededException:http://..." is "LimitExceededException".
static Str error_name(Str type)
{
    size_t hash = str_find(type, '#');
    if (hash < type.n)
        type = str_skip(type, hash + 1);
    return str_head(type, str_find(type, ':'));
}

static Str reply_header(const HttpReply *reply, Str name)
{
    for (size_t i = 0; i < reply->header_count; i++)
        if (str_eq(reply->headers[i].name, name))
            return reply->headers[i].value;
    return S("");
}

// Where the several protocols and proxies of AWS put the name of an error: in the body, in a
// header, or nowhere.
static void decode_error(struct arena *a, const HttpReply *http, ClientReply *reply)
{
    JsonValue *body = NULL;
    Str type = reply_header(http, S("x-amzn-errortype"));
    reply->message = S("");
    if (json_parse(a, http->body, &body).kind == ERR_NONE && body->kind == JSON_MAP) {
        Str in_body = json_text(body, S("__type"));
        type = in_body.n > 0 ? in_body : type;
        Str message = json_text(body, S("message"));
        if (message.p == NULL)
            message = json_text(body, S("Message"));
        reply->message = message.p != NULL ? message : S("");
    }
    reply->error = error_name(type);
    if (reply->error.n == 0)
        reply->error = str_fmt(a, "HTTP status %u", http->status);
}

// Signs and sends. `headers` has room for HEADERS_MAX, of which n are given.
static Err send_signed(struct client *c, struct arena *a, Str service, Str path,
                       HttpHeader *headers, size_t n, Str body, HttpReply *ret)
{
    Sigv4Sign sign = {
        .access_key = c->config.access_key,
        .secret = c->config.secret_key,
        .session_token = c->config.session_token,
        .region = c->config.region,
        .service = service,
        .method = S("POST"),
        .path = path,
        .headers = headers,
        .header_count = n,
        .body = body,
        .now_ns = io_real()->wall_ns(io_real()),
    };
    Sigv4Headers made = { 0 };
    TRY(sigv4_sign(&sign, a, &made));
    for (size_t i = 0; i < made.n && n < HEADERS_MAX; i++)
        headers[n++] = made.at[i];
    return http_client_call(c->http, a, S("POST"), path, headers, n, body, ret);
}

Err client_ask(struct client *c, struct arena *a, Str page, Str body, ClientReply *ret)
{
    HttpHeader headers[HEADERS_MAX] = { { S("host"), http_client_host(c->http) },
                                        { S("content-type"), S("application/json") } };
    HttpReply reply = { 0 };
    JsonValue *v = NULL;
    TRY(send_signed(c, a, S("headrace"), str_cat(a, S("/_headrace/admin/"), page), headers, 2, body,
                    &reply));
    *ret = (ClientReply){ .status = reply.status, .body = reply.body };
    if (reply.status == 200)
        return OK;
    bool is_json = json_parse(a, reply.body, &v).kind == ERR_NONE;
    Str kind = is_json ? json_text(v, S("kind")) : S(""),
        text = is_json ? json_text(v, S("error")) : S("");
    ret->error = kind.n > 0 ? kind : str_fmt(a, "HTTP status %u", reply.status);
    ret->message = text.p != NULL ? text : S("");
    return OK;
}

Err client_call(struct client *c, struct arena *a, const ClientService *service, Str operation,
                Str body, ClientReply *ret)
{
    HttpHeader headers[HEADERS_MAX] = {
        { S("host"), http_client_host(c->http) },
        { S("content-type"),
          service->json_1_0 ? S("application/x-amz-json-1.0") : S("application/x-amz-json-1.1") },
        { S("x-amz-target"), str_cat3(a, service->target, S("."), operation) },
    };
    HttpReply reply = { 0 };
    TRY(send_signed(c, a, service->signing, S("/"), headers, 3, body, &reply));
    *ret = (ClientReply){ .status = reply.status,
                          .body = reply.body,
                          .request_id = reply_header(&reply, S("x-amzn-requestid")) };
    if (reply.status < 200 || reply.status > 299)
        decode_error(a, &reply, ret);
    return OK;
}

// <ErrorResponse><Error><Code>..</Code><Message>..</Message></Error></ErrorResponse>
static void decode_form_error(struct arena *a, ClientReply *reply)
{
    struct xml_node *root = NULL;
    reply->error = str_fmt(a, "HTTP status %u", reply->status);
    reply->message = S("");
    if (xml_parse(a, reply->body, &root).kind != ERR_NONE || root->first == NULL)
        return;
    for (const struct xml_node *n = root->first->first; n != NULL; n = n->next) {
        if (str_eq(n->name, S("Code")))
            reply->error = n->text;
        if (str_eq(n->name, S("Message")))
            reply->message = n->text;
    }
}

Err client_form(struct client *c, struct arena *a, Str service, Str body, ClientReply *ret)
{
    HttpHeader headers[HEADERS_MAX] = {
        { S("host"), http_client_host(c->http) },
        { S("content-type"), S("application/x-www-form-urlencoded; charset=utf-8") },
    };
    HttpReply reply = { 0 };
    TRY(send_signed(c, a, service, S("/"), headers, 2, body, &reply));
    *ret = (ClientReply){ .status = reply.status, .body = reply.body };
    if (reply.status < 200 || reply.status > 299)
        decode_form_error(a, ret);
    return OK;
}

Err client_s3(struct client *c, struct arena *a, const S3OutCall *call, S3OutReply *ret)
{
    const S3Out out = { .http = c->http,
                        .region = c->config.region,
                        .access_key = c->config.access_key,
                        .secret_key = c->config.secret_key,
                        .session_token = c->config.session_token,
                        .io = io_real() };
    return s3_out_call(&out, a, call, ret);
}

bool client_is_throttle(Str error)
{
    static const Str names[] = {
        S_INIT("ProvisionedThroughputExceededException"),
        S_INIT("ThrottlingException"),
        S_INIT("Throttling"),
        S_INIT("RequestLimitExceeded"),
        S_INIT("KMSThrottlingException"),
        S_INIT("TooManyRequestsException"),
        S_INIT("ServiceUnavailableException"),
        S_INIT("SlowDown"),
        S_INIT("ServiceUnavailable"),
        S_INIT("HTTP status 503"),
    };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (str_eq(names[i], error))
            return true;
    return false;
}
