// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"

#include <stdio.h>

static const Flag flags[] = {
    { S_INIT("config"), 0, S_INIT("FILE"), S_INIT("The same as FILE") },
};

static size_t count_given(const Settings *settings)
{
    size_t n = 0;
    for (size_t i = 0; i < setting_count; i++)
        n += !str_eq(settings->at[i].origin, S("default"));
    for (const NamedSettings *s = settings->named; s != NULL; s = s->next)
        for (size_t i = 0; i < named_setting_count; i++)
            n += !str_eq(s->at[i].origin, S("default"));
    return n;
}

static size_t count_all(const Settings *settings)
{
    size_t n = setting_count;
    for (const NamedSettings *s = settings->named; s != NULL; s = s->next)
        n += named_setting_count;
    return n;
}

static ExitCode run(struct invocation *in)
{
    Settings *settings = arena_new(in->a, Settings, 1);
    SettingsInput input = invocation_input(in);
    Str *problems = NULL;
    size_t n = 0;
    if (in->arg_count > 0 && input.file.n > 0)
        return complain(EXIT_USAGE, "give either FILE or --config");
    if (in->arg_count > 0)
        input.file = in->args[0];
    settings_check(in->a, &input, settings, &problems, &n);
    for (size_t i = 0; i < n; i++)
        complain(EXIT_USAGE, "%.*s", FMT(problems[i]));
    for (size_t i = 0; i < settings->unknown_count; i++)
        fprintf(stderr, "headrace: no setting is called %.*s\n", FMT(settings->unknown[i]));
    if (n > 0)
        return EXIT_USAGE;
    Str file = settings->file.p != NULL ? settings->file : S("no configuration file");
    printf("%.*s: good, %zu of %zu settings are given\n", FMT(file), count_given(settings),
           count_all(settings));
    return EXIT_GOOD;
}

const struct command command_config_check = {
    .name = S_INIT("config check"),
    .summary = S_INIT("Name every problem of a configuration, and start nothing"),
    .usage = S_INIT("[FILE]"),
    .details = S_INIT("As serve would find them: the file, variables and flags together. Every "
                      "problem is a line with\nthe place and the key; the exit status is 2 when "
                      "there is one. Variables that look like settings\nand are none are named, "
                      "too, but are no problem."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .settings = true,
    .args_max = 1,
    .examples = { { S_INIT("headrace config check headrace.toml"), S_INIT("a file by itself") },
                  { S_INIT("headrace config check && systemctl restart headrace"),
                    S_INIT("only with a good one") } },
    .see_also = S_INIT("config print, serve, help config"),
    .run = run,
};
