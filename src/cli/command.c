// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "cli/help.h"
#include "cli/remote.h"

#include <stdio.h>
#include <unistd.h>

enum { NAME_DISTANCE_MAX = 3, ARGUMENTS_MAX = 1000 };

const struct command *command_find(Str name)
{
    for (size_t i = 0; i < command_count; i++)
        if (str_eq(command_table[i]->name, name))
            return command_table[i];
    return NULL;
}

// Whether commands stand below this word: "stream".
static bool is_group(struct arena *a, Str word)
{
    for (size_t i = 0; i < command_count; i++)
        if (str_starts(command_table[i]->name, str_cat(a, word, S(" "))))
            return true;
    return false;
}

static bool asks_for_help(const char *word)
{
    return str_eq(str_of(word), S("--help")) || str_eq(str_of(word), S("-h"));
}

// How far a name may be off and still be suggested: a third of it, so that short words do not match
// just anything.
static size_t distance_max(Str name)
{
    return MIN(MAX(name.n / 3, 1), NAME_DISTANCE_MAX);
}

Str command_nearest(struct arena *a, Str name)
{
    size_t best = distance_max(name) + 1;
    Str nearest = { 0 };
    for (size_t i = 0; i < command_count; i++) {
        Str full = command_table[i]->name, group, verb;
        (void)str_cut(full, ' ', &group, &verb);
        // "stram" is nearest to the group, "stream lss" to the whole.
        const Str candidates[] = { full, group };
        for (size_t k = 0; k < COUNT_OF(candidates); k++) {
            size_t distance = str_distance(candidates[k], name);
            if (distance < best) {
                best = distance;
                nearest = str_dup(a, candidates[k]);
            }
        }
    }
    return nearest;
}

size_t command_flags(struct arena *a, const struct command *c, const Flag **ret)
{
    size_t max = c->flag_count + setting_count + remote_flag_count, n = 0;
    Flag *all = arena_new(a, Flag, max);
    for (size_t i = 0; i < c->flag_count; i++)
        all[n++] = c->flags[i];
    for (size_t i = 0; c->remote && i < remote_flag_count; i++)
        all[n++] = remote_flags[i];
    for (size_t i = 0; c->settings && i < setting_count; i++) {
        const struct setting *s = &setting_table[i];
        static const Str arguments[] = {
            [SETTING_TEXT] = S_INIT("TEXT"),   [SETTING_LIST] = S_INIT("VALUE"),
            [SETTING_SIZE] = S_INIT("SIZE"),   [SETTING_DURATION] = S_INIT("DURATION"),
            [SETTING_COUNT] = S_INIT("COUNT"), [SETTING_SWITCH] = S_INIT(""),
            [SETTING_CHOICE] = S_INIT("WORD"), [SETTING_FACTOR] = S_INIT("on|off|FACTOR"),
        };
        Str argument = s->type == SETTING_CHOICE ? s->choices : arguments[s->type];
        all[n++] = (Flag){ .name = setting_flag(a, s), .argument = argument, .help = s->help };
    }
    *ret = all;
    return n;
}

// What is being taken apart.
struct parsing {
    struct arena *a;
    const char *const *argv;
    int argc, at;
    const Flag *flags;
    size_t flag_count;
    struct invocation *in;
};

static const Flag *find_flag(const struct parsing *p, Str name)
{
    for (size_t i = 0; i < p->flag_count; i++)
        if (str_eq(p->flags[i].name, name))
            return &p->flags[i];
    // A setting may also be written as the file has it: --journal.file_size.
    const struct setting *s = p->in->command->settings ? setting_of_flag(name) : NULL;
    Str proper = s != NULL ? setting_flag(p->a, s) : S("");
    for (size_t i = 0; i < p->flag_count; i++)
        if (str_eq(p->flags[i].name, proper))
            return &p->flags[i];
    return NULL;
}

static ExitCode unknown_flag(const struct parsing *p, Str name)
{
    size_t best = distance_max(name) + 1;
    Str nearest = S("");
    for (size_t i = 0; i < p->flag_count; i++) {
        size_t distance = str_distance(p->flags[i].name, name);
        if (distance < best) {
            best = distance;
            nearest = p->flags[i].name;
        }
    }
    Str command = p->in->command->name;
    if (nearest.n > 0)
        return complain(EXIT_USAGE, "unknown flag '--%.*s'; did you mean '--%.*s'?", FMT(name),
                        FMT(nearest));
    return complain(EXIT_USAGE, "unknown flag '--%.*s'; see headrace help %.*s", FMT(name),
                    FMT(command));
}

static ExitCode add_flag(struct parsing *p, const Flag *f, bool has_value, Str value)
{
    if (f->argument.n > 0 && !has_value) {
        if (p->at >= p->argc)
            return complain(EXIT_USAGE, "--%.*s needs a value: %.*s", FMT(f->name),
                            FMT(f->argument));
        value = str_of(p->argv[p->at++]);
    } else if (f->argument.n == 0) {
        if (has_value && !str_eq(value, S("true")) && !str_eq(value, S("false")))
            return complain(EXIT_USAGE, "--%.*s takes no value but true or false", FMT(f->name));
        value = has_value ? value : S("true");
    }
    p->in->flags[p->in->flag_count++] = (SettingFlag){ .name = f->name, .value = value };
    return EXIT_GOOD;
}

static ExitCode parse_long(struct parsing *p, Str word)
{
    Str name, value;
    bool has_value = str_cut(str_skip(word, 2), '=', &name, &value);
    const Flag *f = find_flag(p, name);
    return f != NULL ? add_flag(p, f, has_value, value) : unknown_flag(p, name);
}

// -n 5 and -n5.
static ExitCode parse_short(struct parsing *p, Str word)
{
    for (size_t i = 0; i < p->flag_count; i++)
        if (p->flags[i].letter == word.p[1])
            return add_flag(p, &p->flags[i], word.n > 2, str_skip(word, 2));
    return complain(EXIT_USAGE, "unknown flag '%.*s'; see headrace help %.*s", FMT(word),
                    FMT(p->in->command->name));
}

static ExitCode parse_arguments(struct parsing *p, bool *ret_help)
{
    bool flags_ended = false;
    while (p->at < p->argc) {
        Str word = str_of(p->argv[p->at++]);
        ExitCode code = EXIT_GOOD;
        if (flags_ended || word.n < 2 || word.p[0] != '-')
            p->in->args[p->in->arg_count++] = word;
        else if (str_eq(word, S("--")))
            flags_ended = true;
        else if (asks_for_help(word.p))
            *ret_help = true;
        else if (str_starts(word, S("--")))
            code = parse_long(p, word);
        else
            code = parse_short(p, word);
        if (code != EXIT_GOOD)
            return code;
    }
    return EXIT_GOOD;
}

static ExitCode check_count(const struct invocation *in)
{
    const struct command *c = in->command;
    if (in->arg_count < c->args_min)
        return complain(EXIT_USAGE, "an argument is missing; usage: headrace %.*s %.*s",
                        FMT(c->name), FMT(c->usage));
    if (in->arg_count > c->args_max)
        return complain(EXIT_USAGE, "unexpected argument '%.*s'; usage: headrace %.*s %.*s",
                        FMT(in->args[c->args_max]), FMT(c->name), FMT(c->usage));
    return EXIT_GOOD;
}

// The command that the first words name, and how many they are. NULL: printed why there is none.
static const struct command *find_command(struct arena *a, int argc, const char *const *argv,
                                          int *ret_words)
{
    Str first = str_of(argv[1]);
    if (argc > 2) {
        const struct command *two = command_find(str_cat3(a, first, S(" "), str_of(argv[2])));
        *ret_words = 2;
        if (two != NULL)
            return two;
    }
    *ret_words = 1;
    const struct command *one = command_find(first);
    if (one != NULL)
        return one;
    Str name = first;
    if (is_group(a, first)) {
        if (argc < 3 || argv[2][0] == '-') {
            help_group(stderr, first);
            return NULL;
        }
        name = str_cat3(a, first, S(" "), str_of(argv[2]));
    }
    Str nearest = command_nearest(a, name);
    if (nearest.n > 0)
        complain(EXIT_USAGE, "unknown command '%.*s'; did you mean '%.*s'?", FMT(name),
                 FMT(nearest));
    else
        complain(EXIT_USAGE, "unknown command '%.*s'; see headrace help", FMT(name));
    return NULL;
}

ExitCode command_parse(struct arena *a, int argc, const char *const *argv, struct invocation *ret,
                       bool *ret_helped)
{
    *ret_helped = false;
    if (argc < 2 || asks_for_help(argv[1])) {
        help_overview(argc < 2 ? stderr : stdout);
        *ret_helped = true;
        return argc < 2 ? EXIT_USAGE : EXIT_GOOD;
    }
    if (argc > 2 && asks_for_help(argv[2]) && is_group(a, str_of(argv[1]))) {
        help_group(stdout, str_of(argv[1]));
        *ret_helped = true;
        return EXIT_GOOD;
    }
    if (str_eq(str_of(argv[1]), S("--version"))) {
        static const char *const version[] = { "headrace", "version", NULL };
        argc = 2;
        argv = version;
    }
    if (argc > ARGUMENTS_MAX)
        return complain(EXIT_USAGE, "too many arguments");
    int words = 0;
    const struct command *c = find_command(a, argc, argv, &words);
    if (c == NULL)
        return EXIT_USAGE;
    *ret = (struct invocation){ .a = a,
                                .command = c,
                                .args = arena_new(a, Str, (size_t)argc),
                                .flags = arena_new(a, SettingFlag, (size_t)argc),
                                .environment = (const char *const *)environ };
    struct parsing p = { .a = a, .argv = argv, .argc = argc, .at = 1 + words, .in = ret };
    p.flag_count = command_flags(a, c, &p.flags);
    ExitCode code = parse_arguments(&p, ret_helped);
    if (code != EXIT_GOOD)
        return code;
    if (*ret_helped) {
        help_command(a, c);
        return EXIT_GOOD;
    }
    return check_count(ret);
}

bool flag_given(const struct invocation *in, Str name)
{
    Str text = flag_text(in, name);
    return text.p != NULL && !str_eq(text, S("false"));
}

Str flag_text(const struct invocation *in, Str name)
{
    for (size_t i = in->flag_count; i > 0; i--)
        if (str_eq(in->flags[i - 1].name, name))
            return in->flags[i - 1].value;
    return (Str){ 0 };
}

ExitCode flag_number(const struct invocation *in, Str name, uint64_t min, uint64_t max,
                     uint64_t otherwise, uint64_t *ret)
{
    Str text = flag_text(in, name);
    uint64_t number = otherwise;
    if (text.p != NULL && (str_u64(text, &number).kind != ERR_NONE || number < min || number > max))
        return complain(EXIT_USAGE, "--%.*s must be a whole number from %llu to %llu", FMT(name),
                        (unsigned long long)min, (unsigned long long)max);
    *ret = number;
    return EXIT_GOOD;
}

Str environment_text(const struct invocation *in, Str name)
{
    for (size_t i = 0; in->environment[i] != NULL; i++) {
        Str line = str_of(in->environment[i]);
        if (line.n > name.n + 1 && str_starts(line, name) && line.p[name.n] == '=')
            return str_skip(line, name.n + 1);
    }
    return (Str){ 0 };
}

SettingsInput invocation_input(const struct invocation *in)
{
    SettingFlag *flags = arena_new(in->a, SettingFlag, in->flag_count);
    size_t n = 0;
    for (size_t i = 0; i < in->flag_count; i++)
        if (setting_of_flag(in->flags[i].name) != NULL)
            flags[n++] = in->flags[i];
    return (SettingsInput){ .flags = flags,
                            .flag_count = n,
                            .environment = in->environment,
                            .file = flag_text(in, S("config")),
                            .root = geteuid() == 0 };
}

ExitCode invocation_settings(const struct invocation *in, Settings *ret)
{
    SettingsInput input = invocation_input(in);
    Str problem = S("");
    Err e = settings_load(in->a, &input, ret, &problem);
    if (e.kind != ERR_NONE)
        return complain(EXIT_USAGE, "%.*s", FMT(problem));
    return EXIT_GOOD;
}
