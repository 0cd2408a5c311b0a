// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "base/logline.h"
#include "os/io.h"

#include <signal.h>
#include <stdio.h>

static int64_t wall_ns(void)
{
    return io_real()->wall_ns(io_real());
}

int main(int argc, char **argv)
{
    // A reader that went away is an error of a write, not the end of the program.
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); // so is a file that may not grow
    logline_setup(LOG_INFO, LOG_AUTO, wall_ns);
    AUTO(arena) a = arena_open();
    struct invocation in = { 0 };
    bool helped;
    ExitCode code = command_parse(a, argc, (const char *const *)argv, &in, &helped);
    if (code == EXIT_GOOD && !helped)
        code = in.command->run(&in);
    if (fflush(stdout) != 0 && code == EXIT_GOOD)
        code = EXIT_FAILED; // what was printed did not arrive
    return (int)code;
}
