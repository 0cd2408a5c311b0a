// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"
#include "server/serve.h"

static const Flag flags[] = {
    { S_INIT("config"), 0, S_INIT("FILE"), S_INIT("Read this configuration file") },
    { S_INIT("attached"), 0, S_INIT(""),
      S_INIT("End when standard input ends, and leave SIGINT to the program at its other end") },
};

static ExitCode run(struct invocation *in)
{
    Settings *settings = arena_new(in->a, Settings, 1);
    ExitCode code = invocation_settings(in, settings);
    if (code != EXIT_GOOD)
        return code;
    SettingsInput input = invocation_input(in);
    ServeConfig config = {
        .settings = settings,
        .input = &input,
        .version = HEADRACE_VERSION_STR,
        .access_key = environment_text(in, S("HEADRACE_ACCESS_KEY_ID")),
        .secret_key = environment_text(in, S("HEADRACE_SECRET_ACCESS_KEY")),
        .notify_socket = environment_text(in, S("NOTIFY_SOCKET")),
        .journal_stream = environment_text(in, S("JOURNAL_STREAM")),
        .attached = flag_given(in, S("attached")),
    };
    return serve(&config);
}

const struct command command_serve = {
    .name = S_INIT("serve"),
    .summary = S_INIT("Run the server in the foreground"),
    .usage = S_INIT("[--data-dir DIR] [--listen ADDRESS:PORT]..."),
    .details = S_INIT(
        "Prints its addresses and then a line 'Ready.' when it serves. SIGTERM and SIGINT end it:\n"
        "running requests are finished, the status is 0; a second signal ends it at once. SIGHUP\n"
        "reads log.level again. The root key comes from HEADRACE_ACCESS_KEY_ID and\n"
        "HEADRACE_SECRET_ACCESS_KEY; without them one is made, printed once and kept in\n"
        "DATA_DIR/credentials. Every flag is also an environment variable and a key of the\n"
        "configuration file: see headrace help config."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .settings = true,
    .examples = { { S_INIT("headrace serve"),
                    S_INIT("on 127.0.0.1:4566, with the usual directory") },
                  { S_INIT(
                        "headrace serve --data-dir ./data --listen 127.0.0.1:4567 --profile dev"),
                    S_INIT("a server for tests that takes any credentials") } },
    .see_also = S_INIT("env, demo, config print, help exit-codes"),
    .run = run,
};
