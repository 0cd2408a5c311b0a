// SPDX-License-Identifier: Apache-2.0
#include "base/time.h"
#include "cli/commands.h"
#include "http/client.h"

#define HEALTH_LIMIT_NS (2 * NS_PER_S) // what container runtimes wait for

static const Flag flags[] = {
    { S_INIT("endpoint"), 0, S_INIT("URL"),
      S_INIT("The server; else AWS_ENDPOINT_URL, else http://127.0.0.1:4566") },
};

// Needs no key: health is open to everybody who reaches the port.
static ExitCode run(struct invocation *in)
{
    Str url = flag_text(in, S("endpoint"));
    if (url.n == 0)
        url = environment_text(in, S("AWS_ENDPOINT_URL"));
    if (url.n == 0)
        url = S("http://127.0.0.1:4566");
    // The question is whether the server works, not who it is.
    HttpClientConfig config = { .url = url, .verify = false, .timeout_ns = HEALTH_LIMIT_NS };
    AUTO(http_client) c = NULL;
    Err e = http_client_open(&config, &c);
    HttpReply reply = { 0 };
    if (e.kind == ERR_NONE)
        e = http_client_call(c, in->a, S("GET"), S("/_headrace/ready"), NULL, 0, S(""), &reply);
    if (e.kind != ERR_NONE)
        return complain(EXIT_FAILED, "%.*s: %s", FMT(url), e.text);
    if (reply.status != 200)
        return complain(EXIT_FAILED, "%.*s is not ready: status %u", FMT(url), reply.status);
    return EXIT_GOOD;
}

const struct command command_healthcheck = {
    .name = S_INIT("healthcheck"),
    .summary = S_INIT("End with status 0 if the server is ready, within two seconds"),
    .usage = S_INIT("[--endpoint URL]"),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .examples = { { S_INIT("headrace healthcheck"),
                    S_INIT("for HEALTHCHECK in a container image") },
                  { S_INIT("headrace healthcheck --endpoint http://127.0.0.1:4567"),
                    S_INIT("a server on another port") } },
    .see_also = S_INIT("serve, doctor"),
    .run = run,
};
