// SPDX-License-Identifier: Apache-2.0
#include "cli/backup.h"
#include "cli/commands.h"
#include "cli/store_side.h"
#include "cli/term.h"
#include "server/data_dir.h"

#include <stdio.h>

static const Flag flags[] = {
    { S_INIT("data-dir"), 0, S_INIT("DIR"), S_INIT("The new data directory") },
    { S_INIT("id"), 0, S_INIT("ID"), S_INIT("This backup; the newest") },
};

static ExitCode restore(struct invocation *in, struct backup_target *t, const Backup *b, Str dir)
{
    struct backup_show show;
    BackupWatch watch = backup_show(in->a, &show);
    Err e = backup_restore(t, b, io_real(), dir, &watch);
    backup_show_end(&show);
    if (e.kind == ERR_EXISTS)
        return complain(EXIT_USAGE, "%.*s is not empty; a restore makes a new data directory",
                        FMT(dir));
    if (e.kind != ERR_NONE)
        return backup_complain(e, dir, "the restore is not complete; remove");
    Str problem = S("");
    e = data_dir_mark(io_real(), in->a, dir, HEADRACE_VERSION_STR, &problem);
    if (e.kind != ERR_NONE)
        return complain(exit_code_of(e), "%.*s", FMT(problem));
    Str bytes = term_bytes(in->a, b->bytes);
    printf("restored %.*s to %.*s: %llu records, %.*s\n", FMT(b->id), FMT(dir),
           (unsigned long long)b->records, FMT(bytes));
    return EXIT_GOOD;
}

static ExitCode run(struct invocation *in)
{
    Str dir = flag_text(in, S("data-dir")), id = flag_text(in, S("id"));
    if (dir.n == 0)
        return complain(EXIT_USAGE, "give --data-dir DIR, a new directory");
    AUTO(backup_target) t = backup_place(in->a, in->args[0]);
    Backup b;
    Err e = backup_find(t, in->a, id, &b);
    if (e.kind == ERR_NOT_FOUND)
        return complain(EXIT_NOT_FOUND, "there is no such backup in %.*s", FMT(in->args[0]));
    // So that nothing is pruned meanwhile. Backups on a disk that can only be read are fine too.
    if (e.kind == ERR_NONE)
        e = t->lock(t);
    if (e.kind != ERR_NONE && e.kind != ERR_DENIED)
        return backup_complain(e, in->args[0], "cannot use the backup in");
    return restore(in, t, &b, dir);
}

const struct command command_backup_restore = {
    .name = S_INIT("backup restore"),
    .summary = S_INIT("Make a new data directory out of a backup"),
    .usage = S_INIT("DIR --data-dir NEW [--id ID]"),
    .details = S_INIT(
        "Then start a server on it. Records have the sequence numbers that they had; numbers that\n"
        "the server gave after the backup are not given again. Records that are past their\n"
        "retention by then expire as always. Without the credentials in the backup, a new root "
        "key\n"
        "is made at the start, or the one in the environment is used."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("headrace backup restore /backup/headrace --data-dir ./restored"),
                    S_INIT("the newest") },
                  { S_INIT("headrace serve --data-dir ./restored"), S_INIT("and go on from it") } },
    .see_also = S_INIT("backup create, backup verify, serve"),
    .run = run,
};
