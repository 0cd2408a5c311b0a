// SPDX-License-Identifier: Apache-2.0
#include "base/time.h"
#include "cli/commands.h"
#include "cli/remote.h"

#define HEALTH_LIMIT_NS (2 * NS_PER_S) // what container runtimes wait for

// Needs no key: health is open to everybody who reaches the port.
static ExitCode run(struct invocation *in)
{
    HttpReply reply = { 0 };
    ExitCode code = remote_page(in, S("GET"), S("/_headrace/ready"), NULL, HEALTH_LIMIT_NS, &reply);
    if (code != EXIT_GOOD)
        return code;
    if (reply.status != 200)
        return complain(EXIT_FAILED, "the server is not ready: status %u", reply.status);
    return EXIT_GOOD;
}

const struct command command_healthcheck = {
    .name = S_INIT("healthcheck"),
    .summary = S_INIT("End with status 0 if the server is ready, within two seconds"),
    .usage = S_INIT("[--endpoint URL]"),
    .flags = remote_flags,
    .flag_count = REMOTE_PAGE_FLAGS,
    .examples = { { S_INIT("headrace healthcheck"),
                    S_INIT("for HEALTHCHECK in a container image") },
                  { S_INIT("headrace healthcheck --endpoint http://127.0.0.1:4567"),
                    S_INIT("a server on another port") } },
    .see_also = S_INIT("serve, doctor"),
    .run = run,
};
