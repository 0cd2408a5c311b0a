// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"
#include "cli/remote.h"
#include "cli/term.h"

static const Flag flags[] = {
    { S_INIT("yes"), 'y', S_INIT(""), S_INIT("Do not ask on a terminal") },
    { S_INIT("with-consumers"), 0, S_INIT(""),
      S_INIT("Remove it even if consumers are registered for it") },
};

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    ExitCode code = remote_open(in, &c);
    if (code != EXIT_GOOD)
        return code;
    if (!term_confirms(in->args[0], "and all of its records", flag_given(in, S("yes"))))
        return complain(EXIT_FAILED, "nothing was removed");
    const JsonValue *reply = NULL;
    Str body = stream_body(in->a, in->args[0]);
    if (flag_given(in, S("with-consumers")))
        body = str_cat(in->a, str_head(body, body.n - 1), S(",\"EnforceConsumerDeletion\":true}"));
    return remote_call(in, c, S("DeleteStream"), body, &reply);
}

const struct command command_stream_rm = {
    .name = S_INIT("stream rm"),
    .summary = S_INIT("Remove a stream and all of its records"),
    .usage = S_INIT("STREAM [--yes] [--with-consumers]"),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("headrace stream rm clicks"), S_INIT("asks first, on a terminal") },
                  { S_INIT("headrace stream rm clicks --yes"), S_INIT("does not ask") } },
    .see_also = S_INIT("stream ls, stream consumers"),
    .run = run,
};
