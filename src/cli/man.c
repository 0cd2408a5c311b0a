// SPDX-License-Identifier: Apache-2.0
#include "cli/man.h"
#include "cli/commands.h"
#include "os/io.h"

#include <stdio.h>

static const Flag flags[] = {
    { S_INIT("output"), 0, S_INIT("DIR"), S_INIT("Write every page into this directory") },
    { S_INIT("list"), 0, S_INIT(""), S_INIT("Print the names of the pages") },
    { S_INIT("markdown"), 0, S_INIT(""),
      S_INIT("Print the reference of all commands in Markdown") },
};

// Text as roff takes it: no escapes, no requests at the beginning of a line.
static void add_text(struct buf *b, Str s)
{
    bool line_start = b->n == 0 || b->p[b->n - 1] == '\n';
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (line_start && (c == '.' || c == '\''))
            buf_add(b, S("\\&"));
        if (c == '\\')
            buf_add(b, S("\\e"));
        else if (c == '-')
            buf_add(b, S("\\-")); // to be copied as a minus
        else
            buf_add_byte(b, c);
        line_start = c == '\n';
    }
}

static void add_line(struct buf *b, const char *request, Str s)
{
    buf_addf(b, "%s", request);
    add_text(b, s);
    buf_add(b, S("\n"));
}

Str man_name(struct arena *a, const struct command *c)
{
    if (c == NULL)
        return S("headrace");
    AUTO_BUF(b);
    buf_add(&b, S("headrace-"));
    for (size_t i = 0; i < c->name.n; i++)
        buf_add_byte(&b, c->name.p[i] == ' ' ? '-' : c->name.p[i]);
    return str_dup(a, buf_str(&b));
}

static void add_exit_codes(struct buf *b)
{
    buf_add(b, S(".SH EXIT STATUS\n"));
    for (size_t i = 0; i < exit_meaning_count; i++) {
        buf_addf(b, ".TP\n%d\n", (int)exit_meanings[i].code);
        add_line(b, "", exit_meanings[i].meaning);
    }
}

static void add_settings(struct buf *b, struct arena *tmp)
{
    buf_add(b, S(".SH CONFIGURATION\nThe first of flag, environment variable, file and default "
                 "decides.\n"));
    for (size_t i = 0; i < setting_count; i++) {
        const struct setting *s = &setting_table[i];
        Str fallback = s->fallback.n > 0 ? s->fallback : S("(none)");
        add_line(b, ".TP\n.B ", s->key);
        add_line(b, "",
                 str_fmt(tmp, "%.*s. Default: %.*s. Environment: %.*s.", FMT(s->help),
                         FMT(fallback), FMT(setting_environment(tmp, s))));
    }
    buf_add(b, S(".SS Sections [" NAMED_SETTING_SECTION ".NAME]\nA bucket NAME whose objects lie "
                 "at another S3 endpoint; in the file alone.\n"));
    for (size_t i = 0; i < named_setting_count; i++) {
        const struct setting *s = &named_setting_table[i];
        Str fallback = s->fallback.n > 0 ? s->fallback : S("(none)");
        add_line(b, ".TP\n.B ", s->key);
        add_line(b, "", str_fmt(tmp, "%.*s. Default: %.*s.", FMT(s->help), FMT(fallback)));
    }
    buf_add(b, S(".SH FILES\n.TP\n.I /etc/headrace/headrace.toml\nThe configuration file of the "
                 "system.\n.TP\n.I $XDG_CONFIG_HOME/headrace/config.toml\nThe same of a user.\n"
                 ".TP\n.I /var/lib/headrace\nThe data directory of the system.\n"
                 ".TP\n.I $XDG_DATA_HOME/headrace\nThe same of a user.\n"));
}

static void add_main_page(struct buf *b, struct arena *tmp)
{
    buf_add(b, S(".SH NAME\nheadrace \\- streams and analytics on your own machine, spoken to like "
                 "AWS\n.SH SYNOPSIS\n.B headrace\n.I COMMAND\n[\\fIARGUMENTS\\fR]\n"
                 ".SH COMMANDS\n"));
    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = command_table[i];
        buf_add(b, S(".TP\n.BR "));
        add_text(b, man_name(tmp, c));
        buf_add(b, S(" (1)\n"));
        add_line(b, "", str_cat(tmp, c->summary, S(".")));
    }
    add_settings(b, tmp);
    add_exit_codes(b);
}

static void add_flags(struct buf *b, struct arena *tmp, const struct command *c)
{
    const Flag *all;
    size_t n = command_flags(tmp, c, &all);
    if (n > 0)
        buf_add(b, S(".SH OPTIONS\n"));
    for (size_t i = 0; i < n; i++) {
        buf_add(b, S(".TP\n\\fB"));
        if (all[i].letter != 0)
            add_text(b, str_fmt(tmp, "-%c, ", all[i].letter));
        add_text(b, str_cat(tmp, S("--"), all[i].name));
        buf_add(b, S("\\fR"));
        if (all[i].argument.n > 0) {
            buf_add(b, S(" \\fI"));
            add_text(b, all[i].argument);
            buf_add(b, S("\\fR"));
        }
        add_line(b, "\n", str_cat(tmp, all[i].help, S(".")));
    }
}

static void add_command_page(struct buf *b, struct arena *tmp, const struct command *c)
{
    buf_add(b, S(".SH NAME\n"));
    add_text(b, man_name(tmp, c));
    add_line(b, " \\- ", c->summary);
    add_line(b, ".SH SYNOPSIS\n.B headrace ", c->name);
    if (c->usage.n > 0)
        add_line(b, "", c->usage);
    add_line(b, ".SH DESCRIPTION\n", str_cat(tmp, c->summary, S(".")));
    if (c->details.n > 0)
        add_line(b, ".PP\n", c->details);
    add_flags(b, tmp, c);
    buf_add(b, S(".SH EXAMPLES\n"));
    for (size_t i = 0; i < COUNT_OF(c->examples); i++) {
        if (c->examples[i].line.n == 0)
            continue;
        add_line(b, ".TP\n.B ", c->examples[i].line);
        add_line(b, "", str_cat(tmp, c->examples[i].does, S(".")));
    }
    if (c->see_also.n > 0)
        add_line(b, ".SH SEE ALSO\n.BR headrace (1),\n", c->see_also);
}

void man_page(struct buf *b, struct arena *tmp, const struct command *c)
{
    Str name = man_name(tmp, c);
    buf_add(b, S(".\\\" Made by `headrace man` from the table of commands.\n"));
    buf_addf(b, ".TH \"%.*s\" 1 \"\" \"headrace " HEADRACE_VERSION "\" \"User Commands\"\n",
             FMT(name));
    if (c == NULL)
        add_main_page(b, tmp);
    else
        add_command_page(b, tmp, c);
}

static ExitCode write_pages(struct invocation *in, Str dir)
{
    Err made = io_real()->mkdir(io_real(), dir);
    if (made.kind != ERR_NONE)
        return complain(EXIT_FAILED, "%.*s cannot be made: %s", FMT(dir), made.text);
    for (size_t i = 0; i <= command_count; i++) {
        const struct command *c = i < command_count ? command_table[i] : NULL;
        AUTO_BUF(b);
        man_page(&b, in->a, c);
        Str path = str_fmt(in->a, "%.*s/%.*s.1", FMT(dir), FMT(man_name(in->a, c)));
        Err e = io_write_file(io_real(), in->a, path, buf_str(&b));
        if (e.kind != ERR_NONE)
            return complain(EXIT_FAILED, "%.*s cannot be written: %s", FMT(path), e.text);
    }
    return EXIT_GOOD;
}

static ExitCode run(struct invocation *in)
{
    Str dir = flag_text(in, S("output"));
    if (dir.p != NULL)
        return write_pages(in, dir);
    if (flag_given(in, S("markdown"))) {
        AUTO_BUF(markdown);
        man_markdown(&markdown, in->a);
        fwrite(markdown.p, 1, markdown.n, stdout);
        return EXIT_GOOD;
    }
    if (flag_given(in, S("list"))) {
        for (size_t i = 0; i <= command_count; i++)
            printf("%.*s.1\n", FMT(man_name(in->a, i < command_count ? command_table[i] : NULL)));
        return EXIT_GOOD;
    }
    Str name = in->arg_count > 0 ? in->args[0] : S("");
    if (in->arg_count == 2)
        name = str_cat3(in->a, name, S(" "), in->args[1]);
    const struct command *c = name.n > 0 ? command_find(name) : NULL;
    if (name.n > 0 && c == NULL)
        return complain(EXIT_USAGE, "there is no command '%.*s'", FMT(name));
    AUTO_BUF(b);
    man_page(&b, in->a, c);
    fwrite(b.p, 1, b.n, stdout);
    return EXIT_GOOD;
}

const struct command command_man = {
    .name = S_INIT("man"),
    .summary = S_INIT("Print manual pages"),
    .usage = S_INIT("[COMMAND] [--output DIR] [--list] [--markdown]"),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .args_max = 2,
    .examples = { { S_INIT("headrace man stream put | man -l -"), S_INIT("read a page") },
                  { S_INIT("headrace man --output /usr/local/share/man/man1"),
                    S_INIT("install all of them") } },
    .see_also = S_INIT("help, completion"),
    .run = run,
};
