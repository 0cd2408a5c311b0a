// SPDX-License-Identifier: Apache-2.0
// docs/cli.md: the reference of all commands, settings and exit statuses in one page.
#include "cli/man.h"

static void add_flags(struct buf *b, struct arena *tmp, const struct command *c)
{
    // Settings have a section of their own, so that they are not repeated for three commands.
    struct command own = *c;
    own.settings = false;
    const Flag *all;
    size_t n = command_flags(tmp, &own, &all);
    if (n == 0 && !c->settings)
        return;
    if (n > 0)
        buf_add(b, S("| flag | |\n|---|---|\n"));
    for (size_t i = 0; i < n; i++) {
        Str letter = all[i].letter != 0 ? str_fmt(tmp, "-%c, ", all[i].letter) : S("");
        AUTO_BUF(argument);
        for (size_t k = 0; k < all[i].argument.n; k++) { // a bar would end the cell
            if (all[i].argument.p[k] == '|')
                buf_add_byte(&argument, '\\');
            buf_add_byte(&argument, all[i].argument.p[k]);
        }
        buf_addf(b, "| `%.*s--%.*s%s%.*s` | %.*s |\n", FMT(letter), FMT(all[i].name),
                 argument.n > 0 ? " " : "", FMT(buf_str(&argument)), FMT(all[i].help));
    }
    buf_add(b, n > 0 ? S("\n") : S(""));
    if (c->settings)
        buf_add(b, S("Every [setting](#settings) is a flag as well.\n\n"));
}

static void add_command(struct buf *b, struct arena *tmp, const struct command *c)
{
    buf_addf(b, "## headrace %.*s\n\n%.*s.\n\n```text\nheadrace %.*s%s%.*s\n```\n\n", FMT(c->name),
             FMT(c->summary), FMT(c->name), c->usage.n > 0 ? " " : "", FMT(c->usage));
    if (c->details.n > 0)
        buf_addf(b, "%.*s\n\n", FMT(c->details));
    add_flags(b, tmp, c);
    buf_add(b, S("```sh\n"));
    for (size_t i = 0; i < COUNT_OF(c->examples); i++)
        buf_addf(b, "# %.*s\n%.*s\n", FMT(c->examples[i].does), FMT(c->examples[i].line));
    buf_addf(b, "```\n\nSee also: %.*s.\n\n", FMT(c->see_also));
}

static void add_settings(struct buf *b, struct arena *tmp)
{
    buf_add(b, S("## Settings\n\n"
                 "The first of flag, environment variable, file and default that is given decides. "
                 "Sizes are written\nlike `64MiB` or `1GB`, durations like `500ms`, `30s`, `2m`, "
                 "`1h`.\n\n"
                 "| key | flag | environment | default | |\n|---|---|---|---|---|\n"));
    for (size_t i = 0; i < setting_count; i++) {
        const struct setting *s = &setting_table[i];
        Str flag = setting_flag(tmp, s), variable = setting_environment(tmp, s);
        buf_addf(b, "| `%.*s` | `--%.*s` | `%.*s` | %s%.*s%s | %.*s |\n", FMT(s->key), FMT(flag),
                 FMT(variable), s->fallback.n > 0 ? "`" : "", FMT(s->fallback),
                 s->fallback.n > 0 ? "`" : "", FMT(s->help));
    }
    buf_add(b, S("\nSections `[" NAMED_SETTING_SECTION ".NAME]` place the bucket NAME at another "
                 "S3 endpoint ([s3.md](s3.md)); in the file alone.\n\n"
                 "| key | default | |\n|---|---|---|\n"));
    for (size_t i = 0; i < named_setting_count; i++) {
        const struct setting *s = &named_setting_table[i];
        buf_addf(b, "| `%.*s` | %s%.*s%s | %.*s |\n", FMT(s->key), s->fallback.n > 0 ? "`" : "",
                 FMT(s->fallback), s->fallback.n > 0 ? "`" : "", FMT(s->help));
    }
    buf_add(b, S("\n"));
}

void man_markdown(struct buf *b, struct arena *tmp)
{
    buf_add(b,
            S("<!-- SPDX-License-Identifier: Apache-2.0 -->\n"
              "<!-- Made by `build/headrace man --markdown > docs/cli.md`; a test compares. -->\n"
              "# The command line\n\n"
              "Data goes to standard output, everything else to standard error. Tables are for "
              "people on a\nterminal and tab-separated without a heading on a pipe; `--json` "
              "prints one object on each line.\n\n"));
    for (size_t i = 0; i < command_count; i++)
        add_command(b, tmp, command_table[i]);
    add_settings(b, tmp);
    buf_add(b, S("## Exit statuses\n\n| status | |\n|---|---|\n"));
    for (size_t i = 0; i < exit_meaning_count; i++)
        buf_addf(b, "| %d | %.*s |\n", (int)exit_meanings[i].code, FMT(exit_meanings[i].meaning));
}
