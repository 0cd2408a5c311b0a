// SPDX-License-Identifier: Apache-2.0
#include "cli/backup.h"

#include "base/time.h"
#include "cli/term.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SHOW_EVERY_NS (200 * NS_PER_MS)

struct backup_target *backup_place(struct arena *a, Str place)
{
    struct backup_target *t = NULL;
    (void)a;
    backup_target_dir(io_real(), place, &t);
    return t;
}

static void progress(void *self, uint64_t bytes)
{
    struct backup_show *s = self;
    int64_t now = io_real()->mono_ns(io_real());
    s->bytes += bytes;
    if (!s->shows || now - s->shown_ns < SHOW_EVERY_NS)
        return;
    s->shown_ns = now;
    Str text = term_bytes(s->a, s->bytes);
    fprintf(stderr, "\r%.*s   ", FMT(text));
}

static void problem(void *self, Str name, Err e)
{
    backup_show_end(self);
    complain(EXIT_CORRUPT, "%.*s: %s", FMT(name), e.text);
}

BackupWatch backup_show(struct arena *a, struct backup_show *ret)
{
    *ret = (struct backup_show){ .a = a, .shows = term_is_terminal(STDERR_FILENO) };
    return (BackupWatch){ .progress = progress, .problem = problem, .self = ret };
}

void backup_show_end(struct backup_show *s)
{
    if (s->shows)
        fputs("\r\033[K", stderr);
}

ExitCode backup_complain(Err e, Str place, const char *what)
{
    ExitCode code = e.kind == ERR_NOT_FOUND ? EXIT_NOT_FOUND : exit_code_of(e);
    if (e.kind == ERR_BUSY)
        return complain(code, "%s %.*s: another backup or restore works there", what, FMT(place));
    return complain(code, "%s %.*s: %s%s%s", what, FMT(place), e.text, e.os != 0 ? ": " : "",
                    e.os != 0 ? strerrordesc_np(e.os) : "");
}

ExitCode backup_choose(const struct invocation *in, struct backup_target *t, Str place,
                       const BackupWatch *watch, Backup **ret, size_t *ret_n)
{
    Str id = flag_text(in, S("id"));
    size_t bad = 0;
    Err e;
    if (id.n > 0) {
        *ret = arena_new(in->a, Backup, 1);
        *ret_n = 1;
        e = backup_find(t, in->a, id, *ret);
    } else {
        e = backup_list(t, watch, in->a, ret, ret_n, &bad);
    }
    if (e.kind == ERR_NOT_FOUND && id.n > 0)
        return complain(EXIT_NOT_FOUND, "there is no backup %.*s in %.*s", FMT(id), FMT(place));
    if (e.kind != ERR_NONE)
        return backup_complain(e, place, "cannot read the backups in");
    return bad == 0 ? EXIT_GOOD : EXIT_CORRUPT;
}
