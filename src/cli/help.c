// SPDX-License-Identifier: Apache-2.0
#include "cli/help.h"
#include "cli/commands.h"
#include "cli/remote.h"

enum { NAME_WIDTH = 16, FLAG_WIDTH = 30 };

static void print_command(FILE *out, const struct command *c)
{
    fprintf(out, "  %-*.*s %.*s\n", NAME_WIDTH, FMT(c->name), FMT(c->summary));
}

void help_overview(FILE *out)
{
    fputs("headrace: streams and analytics on your own machine, spoken to like AWS\n\n"
          "Usage: headrace COMMAND [ARGUMENTS]\n\nCommands:\n",
          out);
    for (size_t i = 0; i < command_count; i++)
        print_command(out, command_table[i]);
    fputs("\nExamples:\n"
          "  headrace demo                 a stream with a producer and consumers, live\n"
          "  headrace serve                the server, in the foreground\n"
          "  eval \"$(headrace env)\"        point AWS tools of this shell at it\n\n"
          "See also: headrace help COMMAND, headrace help exit-codes, headrace help config\n",
          out);
}

void help_group(FILE *out, Str group)
{
    fprintf(out, "Usage: headrace %.*s COMMAND\n\nCommands:\n", FMT(group));
    for (size_t i = 0; i < command_count; i++) {
        Str name = command_table[i]->name;
        if (str_starts(name, group) && name.n > group.n && name.p[group.n] == ' ')
            print_command(out, command_table[i]);
    }
}

static void print_flag(struct arena *a, const Flag *f)
{
    Str letter = f->letter != 0 ? str_fmt(a, "-%c, ", f->letter) : S("");
    Str left = str_fmt(a, "%.*s--%.*s%s%.*s", FMT(letter), FMT(f->name),
                       f->argument.n > 0 ? " " : "", FMT(f->argument));
    if (left.n > FLAG_WIDTH)
        printf("  %.*s\n  %-*s %.*s\n", FMT(left), FLAG_WIDTH, "", FMT(f->help));
    else
        printf("  %-*.*s %.*s\n", FLAG_WIDTH, FMT(left), FMT(f->help));
}

void help_command(struct arena *a, const struct command *c)
{
    printf("headrace %.*s: %.*s\n\nUsage: headrace %.*s%s%.*s\n", FMT(c->name), FMT(c->summary),
           FMT(c->name), c->usage.n > 0 ? " " : "", FMT(c->usage));
    puts("\nExamples:");
    for (size_t i = 0; i < COUNT_OF(c->examples); i++)
        if (c->examples[i].line.n > 0)
            printf("  %.*s\n      %.*s\n", FMT(c->examples[i].line), FMT(c->examples[i].does));
    if (c->details.n > 0)
        printf("\n%.*s\n", FMT(c->details));
    const Flag *flags;
    size_t n = command_flags(a, c, &flags);
    if (n > 0)
        puts("\nFlags:");
    for (size_t i = 0; i < n; i++)
        print_flag(a, &flags[i]);
    if (c->see_also.n > 0)
        printf("\nSee also: %.*s\n", FMT(c->see_also));
}

static void print_exit_codes(void)
{
    puts("The status of every headrace command:\n");
    for (size_t i = 0; i < exit_meaning_count; i++)
        printf("  %3d  %.*s\n", (int)exit_meanings[i].code, FMT(exit_meanings[i].meaning));
}

static void print_config(struct arena *a)
{
    puts("Settings of the server. Each is a key in the TOML file, a flag and an environment\n"
         "variable; the first of flag, environment, file and default that is given decides.\n");
    for (size_t i = 0; i < setting_count; i++) {
        const struct setting *s = &setting_table[i];
        Str flag = setting_flag(a, s), variable = setting_environment(a, s);
        printf("%.*s\n    %.*s.\n    --%.*s   %.*s\n    default: %.*s   example: %.*s\n",
               FMT(s->key), FMT(s->help), FMT(flag), FMT(variable),
               FMT(s->fallback.n > 0 ? s->fallback : S("(none)")), FMT(s->example));
    }
    puts("\nSections [" NAMED_SETTING_SECTION ".NAME], in the file alone: the bucket NAME lies at "
         "another S3\nendpoint.\n");
    for (size_t i = 0; i < named_setting_count; i++) {
        const struct setting *s = &named_setting_table[i];
        printf("%.*s\n    %.*s.\n    default: %.*s   example: %.*s\n", FMT(s->key), FMT(s->help),
               FMT(s->fallback.n > 0 ? s->fallback : S("(none)")), FMT(s->example));
    }
    puts("\nThe file: --config FILE, HEADRACE_CONFIG, $CONFIGURATION_DIRECTORY/headrace.toml,\n"
         "/etc/headrace/headrace.toml for root, $XDG_CONFIG_HOME/headrace/config.toml otherwise.");
}

static ExitCode run(struct invocation *in)
{
    if (in->arg_count == 0) {
        help_overview(stdout);
        return EXIT_GOOD;
    }
    Str name = in->arg_count == 2 ? str_cat3(in->a, in->args[0], S(" "), in->args[1]) : in->args[0];
    if (str_eq(name, S("exit-codes"))) {
        print_exit_codes();
        return EXIT_GOOD;
    }
    if (str_eq(name, S("config"))) {
        print_config(in->a);
        return EXIT_GOOD;
    }
    const struct command *c = command_find(name);
    if (c != NULL) {
        help_command(in->a, c);
        return EXIT_GOOD;
    }
    for (size_t i = 0; i < command_count; i++) {
        if (str_starts(command_table[i]->name, str_cat(in->a, name, S(" ")))) {
            help_group(stdout, name);
            return EXIT_GOOD;
        }
    }
    Str nearest = command_nearest(in->a, name);
    if (nearest.n > 0)
        return complain(EXIT_USAGE, "no help about '%.*s'; did you mean '%.*s'?", FMT(name),
                        FMT(nearest));
    return complain(EXIT_USAGE, "no help about '%.*s'; see headrace help", FMT(name));
}

const struct command command_help = {
    .name = S_INIT("help"),
    .summary = S_INIT("Explain a command or a topic"),
    .usage = S_INIT("[COMMAND|exit-codes|config]"),
    .args_max = 2,
    .examples = { { S_INIT("headrace help stream put"), S_INIT("how records are put") },
                  { S_INIT("headrace help exit-codes"), S_INIT("what the exit status means") } },
    .see_also = S_INIT("man"),
    .run = run,
};
