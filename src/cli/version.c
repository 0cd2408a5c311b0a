// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"

#include <stdio.h>

static ExitCode run(struct invocation *in)
{
    (void)in;
    puts("headrace " HEADRACE_VERSION);
    return EXIT_GOOD;
}

const struct command command_version = {
    .name = S_INIT("version"),
    .summary = S_INIT("Print the version"),
    .examples = { { S_INIT("headrace version"), S_INIT("the name and the version on one line") },
                  { S_INIT("headrace --version"), S_INIT("the same") } },
    .see_also = S_INIT("doctor"),
    .run = run,
};
