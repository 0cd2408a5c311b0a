// SPDX-License-Identifier: Apache-2.0
#include "cli/remote.h"
#include "base/time.h"
#include "cli/term.h"
#include "os/io.h"
#include "server/credentials.h"
#include "server/zone_set.h"

#define ENDPOINT_DEFAULT S("http://127.0.0.1:4566")

const Flag remote_flags[] = {
    { S_INIT("endpoint"), 0, S_INIT("URL"),
      S_INIT("The server; else AWS_ENDPOINT_URL, else http://127.0.0.1:4566") },
    { S_INIT("region"), 0, S_INIT("REGION"), S_INIT("Else AWS_REGION, else the setting") },
    { S_INIT("data-dir"), 0, S_INIT("DIR"),
      S_INIT("Where a local server keeps its credentials and certificate") },
    { S_INIT("config"), 0, S_INIT("FILE"),
      S_INIT("A configuration file that names that directory") },
    { S_INIT("ca-file"), 0, S_INIT("FILE"), S_INIT("Certificates that vouch for an https server") },
    { S_INIT("insecure"), 0, S_INIT(""), S_INIT("Accept any certificate") },
    { S_INIT("timeout"), 0, S_INIT("DURATION"),
      S_INIT("Give up after this long without a byte; 30s") },
};
const size_t remote_flag_count = COUNT_OF(remote_flags);

static Str first_of(Str x, Str y)
{
    return x.n > 0 ? x : y;
}

// From the environment as AWS's tools read it, else from the data directory of a local server.
static ExitCode find_key(const struct invocation *in, const Settings *settings, ClientConfig *c)
{
    c->access_key = environment_text(in, S("AWS_ACCESS_KEY_ID"));
    c->secret_key = environment_text(in, S("AWS_SECRET_ACCESS_KEY"));
    c->session_token = environment_text(in, S("AWS_SESSION_TOKEN"));
    if (c->access_key.n > 0 && c->secret_key.n > 0)
        return EXIT_GOOD;
    c->session_token = (Str){ 0 };
    Credentials key = { 0 };
    Err e = credentials_given(environment_text(in, S("HEADRACE_ACCESS_KEY_ID")),
                              environment_text(in, S("HEADRACE_SECRET_ACCESS_KEY")), &key);
    size_t n = 0;
    const Str *places = data_places(settings, &n);
    for (size_t i = 0; i < n && e.kind == ERR_NOT_FOUND; i++)
        e = credentials_read(io_real(), in->a, places[i], &key);
    if (e.kind != ERR_NONE)
        return complain(EXIT_AUTH,
                        "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                        "--data-dir to the server's directory (%.*s/credentials: %s)",
                        FMT(places[0]), e.text);
    c->access_key = key.access_key;
    c->secret_key = key.secret_key;
    return EXIT_GOOD;
}

// What a command is about, by its first word: the variable that AWS's tools have for the service.
static const struct {
    Str word, variable;
    const ClientService *service;
} abouts[] = {
    { S_INIT("blob "), S_INIT("AWS_ENDPOINT_URL_S3"), NULL },
    { S_INIT("firehose "), S_INIT("AWS_ENDPOINT_URL_FIREHOSE"), &client_firehose },
    { S_INIT(""), S_INIT("AWS_ENDPOINT_URL_KINESIS"), &client_kinesis },
};

static size_t about(const struct invocation *in)
{
    size_t i = 0;
    while (!str_starts(in->command->name, abouts[i].word))
        i++;
    return i;
}

static Str endpoint_of(const struct invocation *in)
{
    Str given = first_of(flag_text(in, S("endpoint")),
                         first_of(environment_text(in, abouts[about(in)].variable),
                                  environment_text(in, S("AWS_ENDPOINT_URL"))));
    return first_of(given, ENDPOINT_DEFAULT);
}

ExitCode remote_page(const struct invocation *in, Str method, Str target, const HttpHeader *header,
                     int64_t timeout_ns, HttpReply *ret)
{
    Str url = endpoint_of(in);
    HttpClientConfig config = { .url = url, .verify = false, .timeout_ns = timeout_ns };
    AUTO(http_client) c = NULL;
    Err e = http_client_open(&config, &c);
    if (e.kind == ERR_NONE)
        e = http_client_call(c, in->a, method, target, header, header != NULL, S(""), ret);
    if (e.kind != ERR_NONE)
        return complain(EXIT_FAILED, "%.*s: %s", FMT(url), e.text);
    return EXIT_GOOD;
}

ExitCode remote_config(const struct invocation *in, ClientConfig *ret)
{
    Settings *settings = arena_new(in->a, Settings, 1);
    ExitCode code = invocation_settings(in, settings);
    if (code != EXIT_GOOD)
        return code;
    ClientConfig c = { .verify = !flag_given(in, S("insecure")), .timeout_ns = 30 * NS_PER_S };
    c.endpoint = endpoint_of(in);
    c.region = first_of(flag_text(in, S("region")),
                        first_of(environment_text(in, S("AWS_REGION")),
                                 environment_text(in, S("AWS_DEFAULT_REGION"))));
    c.region = first_of(c.region, settings_text(settings, S("region")));
    c.ca_file = first_of(flag_text(in, S("ca-file")), environment_text(in, S("AWS_CA_BUNDLE")));
    if (c.ca_file.n == 0)
        c.ca_file = data_file_find(io_real(), in->a, settings, S("tls/cert.pem"));
    Str timeout = flag_text(in, S("timeout"));
    if (timeout.p != NULL &&
        (parse_duration(timeout, &c.timeout_ns).kind != ERR_NONE || c.timeout_ns <= 0))
        return complain(EXIT_USAGE, "--timeout must be a duration such as 30s");
    code = find_key(in, settings, &c);
    if (code == EXIT_GOOD)
        *ret = c;
    return code;
}

ExitCode remote_open(const struct invocation *in, struct client **ret)
{
    ClientConfig config = { 0 };
    ExitCode code = remote_config(in, &config);
    if (code != EXIT_GOOD)
        return code;
    Err e = client_open(&config, ret);
    if (e.kind != ERR_NONE)
        return complain(EXIT_USAGE, "%.*s: %s", FMT(config.endpoint), e.text);
    return EXIT_GOOD;
}

ExitCode remote_unreachable(const struct invocation *in, Err e)
{
    Str endpoint = endpoint_of(in);
    switch (e.kind) {
    case ERR_NOT_FOUND:
        return complain(EXIT_UNREACHABLE,
                        "no server answers at %.*s. Start one with headrace serve, or give "
                        "--endpoint.",
                        FMT(endpoint));
    case ERR_TIMEOUT:
        return complain(EXIT_TIMEOUT, "%.*s did not answer in time", FMT(endpoint));
    default:
        return complain(EXIT_UNREACHABLE, "%.*s: %s", FMT(endpoint), e.text);
    }
}

ExitCode remote_send(const struct invocation *in, struct client *c, struct arena *a, Str operation,
                     Str body, ClientReply *ret)
{
    Err e = client_call(c, a, abouts[about(in)].service, operation, body, ret);
    return e.kind == ERR_NONE ? EXIT_GOOD : remote_unreachable(in, e);
}

ExitCode remote_refused(const ClientReply *reply)
{
    if (reply->status == 404)
        return complain(EXIT_FAILED, "the server is of an older version, or is no headrace");
    if (str_eq(reply->error, S("not-found")))
        return complain(EXIT_NOT_FOUND, "%.*s", FMT(reply->message));
    return complain(reply->status == 403   ? EXIT_AUTH
                    : reply->status == 400 ? EXIT_USAGE
                    : reply->status == 503 ? EXIT_THROTTLED
                                           : EXIT_FAILED,
                    "the server answers %u: %.*s", reply->status, FMT(reply->message));
}

ExitCode remote_complain(const ClientReply *reply)
{
    static const struct {
        Str error;
        ExitCode code;
    } known[] = {
        { S_INIT("ResourceNotFoundException"), EXIT_NOT_FOUND },
        { S_INIT("UnrecognizedClientException"), EXIT_AUTH },
        { S_INIT("InvalidSignatureException"), EXIT_AUTH },
        { S_INIT("MissingAuthenticationTokenException"), EXIT_AUTH },
        { S_INIT("IncompleteSignatureException"), EXIT_AUTH },
        { S_INIT("SignatureDoesNotMatch"), EXIT_AUTH },
        { S_INIT("InvalidClientTokenId"), EXIT_AUTH },
        { S_INIT("AccessDeniedException"), EXIT_AUTH },
        { S_INIT("ExpiredTokenException"), EXIT_AUTH },
        { S_INIT("LimitExceededException"), EXIT_THROTTLED },
        { S_INIT("NoSuchBucket"), EXIT_NOT_FOUND },
        { S_INIT("NoSuchKey"), EXIT_NOT_FOUND },
        { S_INIT("NotFound"), EXIT_NOT_FOUND },
        { S_INIT("AccessDenied"), EXIT_AUTH },
        { S_INIT("InvalidAccessKeyId"), EXIT_AUTH },
    };
    ExitCode code = client_is_throttle(reply->error) ? EXIT_THROTTLED : EXIT_FAILED;
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (str_eq(known[i].error, reply->error))
            code = known[i].code;
    return complain(code, "%.*s%s%.*s", FMT(reply->error), reply->message.n > 0 ? ": " : "",
                    FMT(reply->message));
}

ExitCode remote_call(const struct invocation *in, struct client *c, Str operation, Str body,
                     const JsonValue **ret)
{
    ClientReply reply = { 0 };
    ExitCode code = remote_send(in, c, in->a, operation, body, &reply);
    if (code != EXIT_GOOD)
        return code;
    if (reply.error.p != NULL)
        return remote_complain(&reply);
    static const JsonValue empty = { .kind = JSON_MAP };
    JsonValue *value = NULL;
    if (reply.body.n == 0) {
        *ret = &empty;
        return EXIT_GOOD;
    }
    if (json_parse(in->a, reply.body, &value).kind != ERR_NONE)
        return complain(EXIT_FAILED, "the reply to %.*s is not JSON", FMT(operation));
    *ret = value;
    return EXIT_GOOD;
}

ExitCode remote_ask(const struct invocation *in, Str page, Str body, const JsonValue **ret,
                    Str *ret_text)
{
    AUTO(client) c = NULL;
    ClientReply reply = { 0 };
    JsonValue *v = NULL;
    ExitCode code = remote_open(in, &c);
    if (code != EXIT_GOOD)
        return code;
    Err e = client_ask(c, in->a, page, body, &reply);
    if (e.kind != ERR_NONE)
        return remote_unreachable(in, e);
    if (reply.status != 200)
        return remote_refused(&reply);
    if (json_parse(in->a, reply.body, &v).kind != ERR_NONE)
        return complain(EXIT_FAILED, "the server's answer is not JSON");
    *ret = v;
    *ret_text = reply.body;
    return EXIT_GOOD;
}

Str stream_page_body(struct arena *a, Str stream)
{
    AUTO_BUF(b);
    buf_add(&b, S("{\"stream\":"));
    add_json_text(&b, stream);
    buf_add(&b, S("}"));
    return str_dup(a, buf_str(&b));
}

Str streams_page_body(struct arena *a, const Str *streams, size_t n)
{
    AUTO_BUF(b);
    buf_add(&b, S("{\"streams\":["));
    for (size_t i = 0; i < n; i++) {
        buf_add(&b, i > 0 ? S(",") : S(""));
        add_json_text(&b, streams[i]);
    }
    buf_add(&b, S("]}"));
    return str_dup(a, buf_str(&b));
}

Str stream_body(struct arena *a, Str stream)
{
    AUTO_BUF(b);
    buf_add(&b, S("{\"StreamName\":"));
    add_json_text(&b, stream);
    buf_add(&b, S("}"));
    return str_dup(a, buf_str(&b));
}

Str json_number_text(const JsonValue *map, Str key)
{
    const JsonValue *v = json_find(map, key);
    return v != NULL && v->kind == JSON_NUMBER ? v->text : S("");
}
