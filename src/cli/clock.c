// SPDX-License-Identifier: Apache-2.0
#include "base/time.h"
#include "cli/commands.h"
#include "cli/remote.h"

#include <stdio.h>

#define CLOCK_LIMIT_NS (30 * NS_PER_S)

static ExitCode ask(struct invocation *in, Str method, Str target)
{
    HttpReply reply = { 0 };
    const HttpHeader guard = { S("x-headrace-clock"), S("1") };
    ExitCode code = remote_page(in, method, target, &guard, CLOCK_LIMIT_NS, &reply);
    if (code != EXIT_GOOD)
        return code;
    if (reply.status != 200)
        return complain(reply.status == 400 ? EXIT_USAGE : EXIT_FAILED,
                        "the server answers %u: %.*s", reply.status, FMT(reply.body));
    printf("%.*s\n", FMT(reply.body));
    return EXIT_GOOD;
}

static ExitCode run_show(struct invocation *in)
{
    return ask(in, S("GET"), S("/_headrace/clock"));
}

static ExitCode run_advance(struct invocation *in)
{
    int64_t by_ns;
    Err e = parse_duration(in->args[0], &by_ns);
    if (e.kind != ERR_NONE)
        return complain(EXIT_USAGE, "'%.*s' is no duration; write 90s, 10m or 25h",
                        FMT(in->args[0]));
    return ask(in, S("POST"), str_cat(in->a, S("/_headrace/clock?advance="), in->args[0]));
}

const struct command command_clock_show = {
    .name = S_INIT("clock show"),
    .summary = S_INIT("Show the time that a server goes by"),
    .usage = S_INIT("[--endpoint URL]"),
    .flags = remote_flags,
    .flag_count = REMOTE_PAGE_FLAGS,
    .examples = { { S_INIT("headrace clock show"), S_INIT("now, and how far it has been moved") },
                  { S_INIT("headrace clock show --endpoint http://127.0.0.1:4567"),
                    S_INIT("of a server on another port") } },
    .see_also = S_INIT("clock advance"),
    .run = run_show,
};

const struct command command_clock_advance = {
    .name = S_INIT("clock advance"),
    .summary = S_INIT("Move the clock of a server forward (profile dev)"),
    .usage = S_INIT("DURATION [--endpoint URL]"),
    .details = S_INIT("Retention, iterators and limits follow at once: a test of what takes a day "
                      "need not take one. The clock never goes back, not even by a restart."),
    .flags = remote_flags,
    .flag_count = REMOTE_PAGE_FLAGS,
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("headrace clock advance 25h"),
                    S_INIT("records of a stream with a day of retention are gone") },
                  { S_INIT("headrace clock advance 6m"), S_INIT("shard iterators have expired") } },
    .see_also = S_INIT("clock show, serve"),
    .run = run_advance,
};
