// SPDX-License-Identifier: Apache-2.0
// What the backup commands share.
#pragma once
#include "cli/command.h"
#include "store/backup.h"

// The place that an argument names: a directory.
struct backup_target *backup_place(struct arena *a, Str place);

// Shows on a terminal how many bytes were done, and says what is damaged.
struct backup_show {
    struct arena *a;
    uint64_t bytes;
    bool shows; // on a terminal
    int64_t shown_ns;
};
BackupWatch backup_show(struct arena *a, struct backup_show *ret);
void backup_show_end(struct backup_show *s);

// Says what went wrong with the backups there; its exit code.
ExitCode backup_complain(Err e, Str place, const char *what);

// The backups that --id or nothing chooses: one, or all.
ExitCode backup_choose(const struct invocation *in, struct backup_target *t, Str place,
                       const BackupWatch *watch, Backup **ret, size_t *ret_n);
