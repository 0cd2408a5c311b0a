// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "cli/command.h"
#include "cli/man.h"

#include <stdio.h>

// Parses a command line; what it prints about mistakes goes to standard error, as for a user.
static ExitCode parsed(struct arena *a, const char *const *argv, struct invocation *ret)
{
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    bool helped;
    *ret = (struct invocation){ 0 };
    return command_parse(a, argc, argv, ret, &helped);
}
#define ARGV(...) ((const char *const[]){ "headrace", __VA_ARGS__, NULL })

TEST(two_words_name_a_command_and_the_rest_are_its_arguments)
{
    struct invocation in;
    EXPECT_INT(EXIT_GOOD, parsed(a, ARGV("stream", "put", "clicks", "--key=k", "data"), &in));
    EXPECT_STR(S("stream put"), in.command->name);
    EXPECT_INT(2, in.arg_count);
    EXPECT_STR(S("data"), in.args[1]);
    EXPECT_STR(S("k"), flag_text(&in, S("key")));
}

TEST(flags_take_values_in_every_usual_spelling)
{
    struct invocation in;
    EXPECT_INT(EXIT_GOOD, parsed(a, ARGV("stream", "tail", "s", "-n", "5"), &in));
    EXPECT_STR(S("5"), flag_text(&in, S("count")));
    EXPECT_INT(EXIT_GOOD, parsed(a, ARGV("stream", "tail", "s", "-n7"), &in));
    EXPECT_STR(S("7"), flag_text(&in, S("count")));
    EXPECT_INT(EXIT_GOOD, parsed(a, ARGV("stream", "tail", "--count", "9", "s"), &in));
    EXPECT_STR(S("9"), flag_text(&in, S("count")));
    EXPECT_INT(EXIT_GOOD, parsed(a, ARGV("stream", "tail", "s", "--json=false"), &in));
    EXPECT(!flag_given(&in, S("json")));
    EXPECT_INT(EXIT_GOOD, parsed(a, ARGV("stream", "put", "s", "--", "--json"), &in));
    EXPECT_STR(S("--json"), in.args[1]);
    EXPECT_INT(EXIT_GOOD, parsed(a, ARGV("serve", "--log.level", "warn"), &in));
    EXPECT_STR(S("warn"), flag_text(&in, S("log-level")));
}

TEST(a_wrong_command_line_is_a_usage_error)
{
    struct invocation in;
    EXPECT_INT(EXIT_USAGE, parsed(a, ARGV("strem"), &in));
    EXPECT_INT(EXIT_USAGE, parsed(a, ARGV("stream"), &in));
    EXPECT_INT(EXIT_USAGE, parsed(a, ARGV("stream", "pot", "x"), &in));
    EXPECT_INT(EXIT_USAGE, parsed(a, ARGV("serve", "--lisen", "x"), &in));
    EXPECT_INT(EXIT_USAGE, parsed(a, ARGV("serve", "--listen"), &in));
    EXPECT_INT(EXIT_USAGE, parsed(a, ARGV("serve", "extra"), &in));
    EXPECT_INT(EXIT_USAGE, parsed(a, ARGV("stream", "create"), &in));
    EXPECT_INT(EXIT_USAGE, parsed(a, ARGV("stream", "tail", "s", "-x"), &in));
    EXPECT_INT(EXIT_USAGE, parsed(a, ARGV("stream", "tail", "s", "--json=maybe"), &in));
}

TEST(the_nearest_command_is_suggested_and_nothing_far_off)
{
    EXPECT_STR(S("stream"), command_nearest(a, S("strem")));
    EXPECT_STR(S("stream put"), command_nearest(a, S("stream pot")));
    EXPECT_STR(S("doctor"), command_nearest(a, S("docter")));
    EXPECT(command_nearest(a, S("zzzzzz")).p == NULL);
}

TEST(numbers_in_flags_are_checked)
{
    struct invocation in;
    uint64_t n = 0;
    EXPECT_INT(EXIT_GOOD, parsed(a, ARGV("stream", "create", "s", "--shards", "3"), &in));
    EXPECT_INT(EXIT_GOOD, flag_number(&in, S("shards"), 1, 10, 1, &n));
    EXPECT_INT(3, n);
    EXPECT_INT(EXIT_USAGE, flag_number(&in, S("shards"), 4, 10, 1, &n));
    EXPECT_INT(EXIT_GOOD, parsed(a, ARGV("stream", "create", "s"), &in));
    EXPECT_INT(EXIT_GOOD, flag_number(&in, S("shards"), 1, 10, 7, &n));
    EXPECT_INT(7, n);
}

TEST(every_command_is_explained_with_two_examples_and_related_ones)
{
    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = command_table[i];
        EXPECT(command_find(c->name) == c);
        EXPECT(c->summary.n > 0 && c->see_also.n > 0 && c->run != NULL);
        EXPECT(c->args_min <= c->args_max);
        for (size_t k = 0; k < COUNT_OF(c->examples); k++)
            EXPECT(c->examples[k].line.n > 0 && c->examples[k].does.n > 0);
        // What stands in "see also" exists, as a command or as a topic.
        for (Str rest = c->see_also, one; rest.n > 0;) {
            (void)str_cut(rest, ',', &one, &rest);
            one = str_trim(one);
            EXPECT(command_find(one) != NULL || str_starts(one, S("help ")));
        }
    }
}

TEST(no_command_has_two_flags_of_one_name_or_letter)
{
    for (size_t i = 0; i < command_count; i++) {
        const Flag *flags;
        size_t n = command_flags(a, command_table[i], &flags);
        for (size_t k = 0; k < n; k++)
            for (size_t m = k + 1; m < n; m++) {
                EXPECT(!str_eq(flags[k].name, flags[m].name));
                EXPECT(flags[k].letter == 0 || flags[k].letter != flags[m].letter);
            }
    }
}

TEST(manual_pages_keep_roff_from_reading_the_text_as_requests)
{
    for (size_t i = 0; i <= command_count; i++) {
        AUTO_BUF(b);
        man_page(&b, a, i < command_count ? command_table[i] : NULL);
        Str text = buf_str(&b);
        EXPECT(str_search(text, S(".SH NAME\n")) < text.n);
        for (Str rest = text, line; rest.n > 0;) {
            (void)str_cut(rest, '\n', &line, &rest);
            EXPECT(!str_starts(line, S("'")));
            if (str_starts(line, S(".")))
                EXPECT(str_starts(line, S(".SH")) || str_starts(line, S(".SS")) ||
                       str_starts(line, S(".TP")) || str_starts(line, S(".B")) ||
                       str_starts(line, S(".TH")) || str_starts(line, S(".PP")) ||
                       str_starts(line, S(".I")) || str_starts(line, S(".\\\"")));
        }
    }
}

TEST(there_is_completion_for_three_shells)
{
    static const Str shells[] = { S_INIT("bash"), S_INIT("zsh"), S_INIT("fish") };
    for (size_t i = 0; i < COUNT_OF(shells); i++) {
        AUTO_BUF(b);
        EXPECT(completion_script(&b, a, shells[i]));
        Str text = buf_str(&b);
        EXPECT(str_search(text, S("doctor")) < text.n && str_search(text, S("data-dir")) < text.n);
    }
    AUTO_BUF(b);
    EXPECT(!completion_script(&b, a, S("tcsh")));
}
