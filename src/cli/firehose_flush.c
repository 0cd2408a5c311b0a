// SPDX-License-Identifier: Apache-2.0
#include "base/time.h"
#include "cli/commands.h"
#include "cli/firehose.h"
#include "os/io.h"

enum { WAIT_S = 60, WAIT_S_MAX = 86400 };
#define POLL_NS (50 * NS_PER_MS)

static const Flag flags[] = {
    { S_INIT("wait"), 0, S_INIT("SECONDS"), S_INIT("For all of it to be delivered; 60, 0: not") },
};

static ExitCode wait_empty(struct invocation *in, Str name, int64_t deadline)
{
    struct io *io = io_real();
    Str body = stream_page_body(in->a, name), text, error = S("");
    do {
        const JsonValue *state = NULL;
        ExitCode code = remote_ask(in, S("firehose/state"), body, &state, &text);
        if (code != EXIT_GOOD || str_eq(json_number_text(state, S("backlog_records")), S("0")))
            return code;
        error = json_text(state, S("last_error"));
        io->sleep_ns(io, POLL_NS);
    } while (io->mono_ns(io) < deadline);
    return complain(EXIT_TIMEOUT, "not all of it was delivered in time%s%.*s",
                    error.n > 0 ? ": " : "", FMT(error));
}

static ExitCode run(struct invocation *in)
{
    const JsonValue *answer = NULL;
    Str text;
    uint64_t seconds;
    struct io *io = io_real();
    ExitCode code = flag_number(in, S("wait"), 0, WAIT_S_MAX, WAIT_S, &seconds);
    if (code == EXIT_GOOD)
        code = remote_ask(in, S("firehose/flush"),
                          streams_page_body(in->a, in->args, in->arg_count), &answer, &text);
    int64_t deadline = io->mono_ns(io) + (int64_t)seconds * NS_PER_S;
    for (size_t i = 0; i < in->arg_count && code == EXIT_GOOD && seconds > 0; i++)
        code = wait_empty(in, in->args[i], deadline);
    return code;
}

const struct command command_firehose_flush = {
    .name = S_INIT("firehose flush"),
    .summary = S_INIT("Deliver what waits, whatever the buffer's hints say"),
    .usage = S_INIT("NAME... [--wait SECONDS]"),
    .details = S_INIT(
        "Of a server of headrace, with the root's key. Of several streams all or none are told."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 1,
    .args_max = 1000,
    .examples = { { S_INIT("headrace firehose flush logs"), S_INIT("and wait until it is done") },
                  { S_INIT("headrace firehose flush logs --wait 0"), S_INIT("do not wait") } },
    .see_also = S_INIT("firehose show, firehose send"),
    .run = run,
};
