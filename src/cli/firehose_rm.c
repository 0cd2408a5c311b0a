// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"
#include "cli/firehose.h"
#include "cli/term.h"

static const Flag flags[] = {
    { S_INIT("yes"), 'y', S_INIT(""), S_INIT("Do not ask on a terminal") },
    { S_INIT("force"), 0, S_INIT(""), S_INIT("Also if its key cannot be given back") },
};

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    ExitCode code = remote_open(in, &c);
    if (code != EXIT_GOOD)
        return code;
    if (!term_confirms(in->args[0], "and all that it has not delivered", flag_given(in, S("yes"))))
        return complain(EXIT_FAILED, "nothing was removed");
    const JsonValue *reply = NULL;
    Str body = firehose_body(in->a, in->args[0]);
    if (flag_given(in, S("force")))
        body = str_cat(in->a, str_head(body, body.n - 1), S(",\"AllowForceDelete\":true}"));
    return remote_call(in, c, S("DeleteDeliveryStream"), body, &reply);
}

const struct command command_firehose_rm = {
    .name = S_INIT("firehose rm"),
    .summary = S_INIT("Remove a delivery stream; what it has not delivered is lost"),
    .usage = S_INIT("NAME [--yes] [--force]"),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("headrace firehose rm logs"), S_INIT("asks first, on a terminal") },
                  { S_INIT("headrace firehose flush logs && headrace firehose rm logs --yes"),
                    S_INIT("nothing is lost") } },
    .see_also = S_INIT("firehose ls, firehose flush"),
    .run = run,
};
