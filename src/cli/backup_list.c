// SPDX-License-Identifier: Apache-2.0
// The commands on a place of backups that change at most the place itself.
#include "base/time.h"
#include "cli/backup.h"
#include "cli/commands.h"
#include "cli/term.h"

#include <stdio.h>

static const Flag list_flags[] = {
    { S_INIT("json"), 0, S_INIT(""), S_INIT("Print one JSON object on each line") },
};
static const Flag verify_flags[] = {
    { S_INIT("id"), 0, S_INIT("ID"), S_INIT("Only this backup; all") },
};
static const Flag prune_flags[] = {
    { S_INIT("keep"), 0, S_INIT("COUNT"), S_INIT("So many of the newest stay") },
};

static Str number_text(struct arena *a, uint64_t n)
{
    return str_fmt(a, "%llu", (unsigned long long)n);
}

// ---- list

static ExitCode run_list(struct invocation *in)
{
    static const Column columns[] = {
        { S_INIT("id"), false },      { S_INIT("created"), false },     { S_INIT("records"), true },
        { S_INIT("shards"), true },   { S_INIT("files"), true },        { S_INIT("bytes"), true },
        { S_INIT("version"), false }, { S_INIT("credentials"), false },
    };
    struct backup_show show;
    BackupWatch watch = backup_show(in->a, &show);
    AUTO(backup_target) t = backup_place(in->a, in->args[0]);
    Backup *all = NULL;
    size_t n = 0;
    ExitCode code = backup_choose(in, t, in->args[0], &watch, &all, &n);
    if (all == NULL)
        return code;
    TableStyle style = table_style(flag_given(in, S("json")));
    struct table table = table_begin(in->a, style, columns, COUNT_OF(columns));
    for (size_t i = 0; i < n; i++) {
        const Backup *b = &all[i];
        const Str cells[] = {
            b->id,
            time_iso_ms(in->a, b->created_ns),
            number_text(in->a, b->records),
            number_text(in->a, b->shards),
            number_text(in->a, b->file_count),
            style == TABLE_HUMAN ? term_bytes(in->a, b->bytes) : number_text(in->a, b->bytes),
            b->version,
            b->has_credentials ? S("yes") : S("no"),
        };
        table_row(&table, cells);
    }
    table_end(&table);
    return code;
}

// ---- verify

static ExitCode run_verify(struct invocation *in)
{
    struct backup_show show;
    BackupWatch watch = backup_show(in->a, &show);
    AUTO(backup_target) t = backup_place(in->a, in->args[0]);
    Backup *all = NULL;
    size_t n = 0;
    ExitCode code = backup_choose(in, t, in->args[0], &watch, &all, &n);
    if (all == NULL)
        return code;
    if (n == 0)
        return code != EXIT_GOOD
                   ? code
                   : complain(EXIT_NOT_FOUND, "there are no backups in %.*s", FMT(in->args[0]));
    // So that nothing is pruned meanwhile. Backups on a disk that can only be read are fine too.
    Err e = t->lock(t);
    if (e.kind != ERR_NONE && e.kind != ERR_DENIED)
        return backup_complain(e, in->args[0], "cannot read the backups in");
    e = backup_verify(t, all, n, &watch);
    backup_show_end(&show);
    if (e.kind != ERR_NONE)
        return backup_complain(e, in->args[0], "cannot rely on");
    for (size_t i = 0; i < n; i++)
        printf("ok\t%.*s\t%llu records, %zu files\n", FMT(all[i].id),
               (unsigned long long)all[i].records, all[i].file_count);
    return code;
}

// ---- prune

static ExitCode run_prune(struct invocation *in)
{
    struct backup_show show;
    BackupWatch watch = backup_show(in->a, &show);
    uint64_t keep = 0;
    if (flag_text(in, S("keep")).n == 0)
        return complain(EXIT_USAGE, "give --keep COUNT");
    ExitCode code = flag_number(in, S("keep"), 1, 1000000, 0, &keep);
    if (code != EXIT_GOOD)
        return code;
    AUTO(backup_target) t = backup_place(in->a, in->args[0]);
    BackupPruned done = { 0 };
    Err e = backup_prune(t, keep, &watch, &done);
    if (e.kind != ERR_NONE)
        return backup_complain(e, in->args[0], "cannot prune");
    Str bytes = term_bytes(in->a, done.bytes);
    printf("removed %zu backups and %zu objects, %.*s\n", done.backups, done.objects, FMT(bytes));
    return EXIT_GOOD;
}

const struct command command_backup_list = {
    .name = S_INIT("backup list"),
    .summary = S_INIT("List the backups in a directory"),
    .usage = S_INIT("DIR [--json]"),
    .flags = list_flags,
    .flag_count = COUNT_OF(list_flags),
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("headrace backup list /backup/headrace"), S_INIT("the oldest first") },
                  { S_INIT("headrace backup list /backup/headrace --json"),
                    S_INIT("for scripts") } },
    .see_also = S_INIT("backup create, backup verify"),
    .run = run_list,
};

const struct command command_backup_verify = {
    .name = S_INIT("backup verify"),
    .summary = S_INIT("Read backups and verify every byte"),
    .usage = S_INIT("DIR [--id ID]"),
    .details = S_INIT("Every object is hashed, and every record in it is unpacked as a restored "
                      "server would read it.\nStatus 12: something is damaged or missing, and the "
                      "message says in which backup."),
    .flags = verify_flags,
    .flag_count = COUNT_OF(verify_flags),
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("headrace backup verify /backup/headrace"),
                    S_INIT("all of them; what they share is read once") },
                  { S_INIT("headrace backup verify /backup/headrace --id "
                           "20260131T120000.123456789Z"),
                    S_INIT("one") } },
    .see_also = S_INIT("backup list, backup restore, help exit-codes"),
    .run = run_verify,
};

const struct command command_backup_prune = {
    .name = S_INIT("backup prune"),
    .summary = S_INIT("Remove all but the newest backups"),
    .usage = S_INIT("DIR --keep COUNT"),
    .details = S_INIT("Also removes what interrupted runs have left. When a backup cannot be read, "
                      "nothing is removed."),
    .flags = prune_flags,
    .flag_count = COUNT_OF(prune_flags),
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("headrace backup prune /backup/headrace --keep 14"),
                    S_INIT("two weeks, if there is one a day") },
                  { S_INIT("headrace backup prune /backup/headrace --keep 1"),
                    S_INIT("only the newest stays") } },
    .see_also = S_INIT("backup create, backup list"),
    .run = run_prune,
};
