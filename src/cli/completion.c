// SPDX-License-Identifier: Apache-2.0
// Completion for three shells: words of commands, then flags of the command that was typed.
#include "cli/commands.h"
#include "cli/man.h"

#include <stdio.h>

static Str group_of(Str name)
{
    Str head, tail;
    return str_cut(name, ' ', &head, &tail) ? head : (Str){ 0 };
}

static Str verb_of(Str name)
{
    Str head, tail;
    return str_cut(name, ' ', &head, &tail) ? tail : name;
}

// Every first word once.
static void add_first_words(struct buf *b)
{
    Str last = S("");
    for (size_t i = 0; i < command_count; i++) {
        Str group = group_of(command_table[i]->name);
        Str word = group.p != NULL ? group : command_table[i]->name;
        if (!str_eq(word, last))
            buf_addf(b, "%s%.*s", b->n > 0 ? " " : "", FMT(word));
        last = word;
    }
}

static void add_verbs(struct buf *b, Str group)
{
    for (size_t i = 0; i < command_count; i++)
        if (str_eq(group_of(command_table[i]->name), group))
            buf_addf(b, "%s%.*s", b->n > 0 ? " " : "", FMT(verb_of(command_table[i]->name)));
}

static void add_flag_words(struct buf *b, struct arena *tmp, const struct command *c)
{
    const Flag *all;
    size_t n = command_flags(tmp, c, &all);
    buf_add(b, S("--help"));
    for (size_t i = 0; i < n; i++)
        buf_addf(b, " --%.*s", FMT(all[i].name));
}

static bool begins_group(size_t i)
{
    Str group = group_of(command_table[i]->name);
    return group.p != NULL && (i == 0 || !str_eq(group_of(command_table[i - 1]->name), group));
}

// A case of the shell for each group and each command; bash and zsh share it.
static void add_cases(struct buf *b, struct arena *tmp)
{
    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = command_table[i];
        AUTO_BUF(words);
        if (begins_group(i)) {
            Str group = group_of(c->name);
            add_verbs(&words, group);
            buf_addf(b, "    '%.*s') candidates='%.*s' ;;\n", FMT(group), FMT(buf_str(&words)));
            buf_clear(&words);
        }
        add_flag_words(&words, tmp, c);
        buf_addf(b, "    '%.*s'|'%.*s '*) candidates='%.*s' ;;\n", FMT(c->name), FMT(c->name),
                 FMT(buf_str(&words)));
    }
}

static void add_bash(struct buf *b, struct arena *tmp)
{
    AUTO_BUF(first);
    add_first_words(&first);
    buf_add(b, S("# headrace completion bash\n"
                 "_headrace() {\n"
                 "  local candidates='' typed=\"${COMP_WORDS[*]:1:COMP_CWORD-1}\"\n"
                 "  case \"$typed\" in\n"));
    buf_addf(b, "    '') candidates='%.*s' ;;\n", FMT(buf_str(&first)));
    add_cases(b, tmp);
    buf_add(b, S("  esac\n"
                 "  COMPREPLY=($(compgen -W \"$candidates\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
                 "}\n"
                 "complete -o default -F _headrace headrace\n"));
}

static void add_zsh(struct buf *b, struct arena *tmp)
{
    AUTO_BUF(first);
    add_first_words(&first);
    buf_add(b, S("#compdef headrace\n"
                 "_headrace() {\n"
                 "  local typed=\"${(j: :)words[2,CURRENT-1]}\" candidates=''\n"
                 "  case \"$typed\" in\n"));
    buf_addf(b, "    '') candidates='%.*s' ;;\n", FMT(buf_str(&first)));
    add_cases(b, tmp);
    buf_add(b, S("  esac\n"
                 "  compadd -- ${=candidates}\n"
                 "}\n"
                 "if [ \"$funcstack[1]\" = _headrace ]; then _headrace \"$@\"; else compdef "
                 "_headrace headrace; fi\n"));
}

static void add_fish_text(struct buf *b, Str s)
{
    buf_add_byte(b, '\'');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\'' || s.p[i] == '\\')
            buf_add_byte(b, '\\');
        buf_add_byte(b, s.p[i]);
    }
    buf_add_byte(b, '\'');
}

static void add_fish_flags(struct buf *b, struct arena *tmp, const struct command *c, Str condition)
{
    const Flag *all;
    size_t n = command_flags(tmp, c, &all);
    for (size_t i = 0; i < n; i++) {
        buf_addf(b, "complete -c headrace -n \"%.*s\" -l %.*s%s -d ", FMT(condition),
                 FMT(all[i].name), all[i].argument.n > 0 ? " -r" : "");
        add_fish_text(b, all[i].help);
        buf_add(b, S("\n"));
    }
}

static void add_fish(struct buf *b, struct arena *tmp)
{
    buf_add(b, S("# headrace completion fish\n"));
    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = command_table[i];
        Str group = group_of(c->name), verb = verb_of(c->name);
        Str condition;
        if (group.p == NULL) {
            buf_add(b, S("complete -c headrace -n __fish_use_subcommand -f -a "));
            condition = str_cat(tmp, S("__fish_seen_subcommand_from "), verb);
        } else {
            if (begins_group(i))
                buf_addf(b, "complete -c headrace -n __fish_use_subcommand -f -a %.*s\n",
                         FMT(group));
            buf_addf(b, "complete -c headrace -n \"__fish_seen_subcommand_from %.*s\" -f -a ",
                     FMT(group));
            condition = str_fmt(tmp,
                                "__fish_seen_subcommand_from %.*s; and "
                                "__fish_seen_subcommand_from %.*s",
                                FMT(group), FMT(verb));
        }
        buf_addf(b, "%.*s -d ", FMT(verb));
        add_fish_text(b, c->summary);
        buf_add(b, S("\n"));
        add_fish_flags(b, tmp, c, condition);
    }
}

bool completion_script(struct buf *b, struct arena *tmp, Str shell)
{
    static const struct {
        Str shell;
        void (*add)(struct buf *b, struct arena *tmp);
    } shells[] = {
        { S_INIT("bash"), add_bash },
        { S_INIT("zsh"), add_zsh },
        { S_INIT("fish"), add_fish },
    };
    for (size_t i = 0; i < COUNT_OF(shells); i++) {
        if (str_eq(shells[i].shell, shell)) {
            shells[i].add(b, tmp);
            return true;
        }
    }
    return false;
}

static ExitCode run(struct invocation *in)
{
    AUTO_BUF(b);
    Str shell = in->args[0];
    if (!completion_script(&b, in->a, shell))
        return complain(EXIT_USAGE, "no completion for '%.*s'; there is bash, zsh and fish",
                        FMT(shell));
    fwrite(b.p, 1, b.n, stdout);
    return EXIT_GOOD;
}

const struct command command_completion = {
    .name = S_INIT("completion"),
    .summary = S_INIT("Print a completion script for a shell"),
    .usage = S_INIT("bash|zsh|fish"),
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("source <(headrace completion bash)"), S_INIT("for this shell") },
                  { S_INIT("headrace completion fish > ~/.config/fish/completions/headrace.fish"),
                    S_INIT("for every fish") } },
    .see_also = S_INIT("man, help"),
    .run = run,
};
