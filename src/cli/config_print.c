// SPDX-License-Identifier: Apache-2.0
#include "base/buf.h"
#include "cli/commands.h"

#include <stdio.h>

static const Flag flags[] = {
    { S_INIT("origin"), 0, S_INIT(""), S_INIT("Say where each value comes from") },
    { S_INIT("config"), 0, S_INIT("FILE"), S_INIT("Read this configuration file") },
};

// A basic string of TOML.
static void add_quoted(struct buf *b, Str s)
{
    buf_add_byte(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c == 0x7f)
            buf_addf(b, "\\u%04x", c);
        else if (c == '"' || c == '\\')
            buf_addf(b, "\\%c", c);
        else
            buf_add_byte(b, (char)c);
    }
    buf_add_byte(b, '"');
}

static void add_value(struct buf *b, const struct setting *s, const SettingValue *v)
{
    if (s->type == SETTING_COUNT || s->type == SETTING_SWITCH) {
        buf_add(b, v->text);
    } else if (s->type != SETTING_LIST) {
        add_quoted(b, v->text);
    } else {
        buf_add(b, S("["));
        for (size_t i = 0; i < v->item_count; i++) {
            buf_add(b, i > 0 ? S(", ") : S(""));
            add_quoted(b, v->items[i]);
        }
        buf_add(b, S("]"));
    }
}

static void add_named(struct buf *b, const NamedSettings *n, bool origin)
{
    buf_addf(b, "\n[%s.", NAMED_SETTING_SECTION);
    add_quoted(b, n->name);
    buf_add(b, S("]\n"));
    for (size_t i = 0; i < named_setting_count; i++) {
        buf_addf(b, "%.*s = ", FMT(named_setting_table[i].key));
        add_value(b, &named_setting_table[i], &n->at[i]);
        if (origin)
            buf_addf(b, "  # %.*s", FMT(n->at[i].origin));
        buf_add(b, S("\n"));
    }
}

// The table is ordered: plain keys first, then those of one section together.
static ExitCode run(struct invocation *in)
{
    Settings *settings = arena_new(in->a, Settings, 1);
    ExitCode code = invocation_settings(in, settings);
    if (code != EXIT_GOOD)
        return code;
    AUTO_BUF(b);
    Str section = S("");
    for (size_t i = 0; i < setting_count; i++) {
        const struct setting *s = &setting_table[i];
        Str head, key;
        if (!str_cut(s->key, '.', &head, &key)) {
            key = head;
            head = S("");
        }
        if (!str_eq(head, section))
            buf_addf(&b, "\n[%.*s]\n", FMT(head));
        section = head;
        buf_addf(&b, "%.*s = ", FMT(key));
        add_value(&b, s, &settings->at[i]);
        if (flag_given(in, S("origin")))
            buf_addf(&b, "  # %.*s", FMT(settings->at[i].origin));
        buf_add(&b, S("\n"));
    }
    for (const NamedSettings *n = settings->named; n != NULL; n = n->next)
        add_named(&b, n, flag_given(in, S("origin")));
    fwrite(b.p, 1, b.n, stdout);
    return EXIT_GOOD;
}

const struct command command_config_print = {
    .name = S_INIT("config print"),
    .summary = S_INIT("Print the settings that a server would run with"),
    .usage = S_INIT("[--origin]"),
    .details = S_INIT("The output is a configuration file. Nothing secret is in it."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .settings = true,
    .examples = { { S_INIT("headrace config print --origin"),
                    S_INIT("each value and the flag, variable or line that set it") },
                  { S_INIT("headrace config print > headrace.toml"),
                    S_INIT("a configuration file to begin with") } },
    .see_also = S_INIT("serve, help config"),
    .run = run,
};
