// SPDX-License-Identifier: Apache-2.0
// The command line as data: one row for each command, from which help, manual pages and completion
// are made. A command is one file that exports its row; commands.c lists the rows.
//
// Data goes to standard output, everything else to standard error. What a command returns is the
// status of the process (server/exit_code.h).
#pragma once
#include "base/str.h"
#include "server/exit_code.h"
#include "server/settings.h"

typedef struct Flag {
    Str name;     // "from"
    char letter;  // 'n' for -n, or 0
    Str argument; // "COUNT"; empty for a switch
    Str help;     // one sentence without a full stop
} Flag;

typedef struct Example {
    Str line; // to be copied as it stands
    Str does; // what it does
} Example;

struct invocation;
struct command {
    Str name;    // "stream put"
    Str summary; // one sentence without a full stop
    Str usage;   // its arguments: "STREAM [DATA]"
    Str details; // paragraphs, or empty
    const Flag *flags;
    size_t flag_count;
    bool settings; // every setting of the server is a flag too
    bool remote;   // talks to a server: remote_flags are flags too (remote.h)
    unsigned args_min, args_max;
    Example examples[2];
    Str see_also; // names of commands, separated by commas
    ExitCode (*run)(struct invocation *in);
};

// The command line taken apart.
struct invocation {
    struct arena *a; // for everything until the process ends
    const struct command *command;
    Str *args;
    size_t arg_count;
    SettingFlag *flags; // in their order; those of settings too
    size_t flag_count;
    const char *const *environment;
};

extern const struct command *const command_table[];
extern const size_t command_count;

// Finds the command and takes its arguments apart. EXIT_GOOD: `ret` is complete. Otherwise the
// problem has been printed (or the help that was asked for, with *ret_helped set).
ExitCode command_parse(struct arena *a, int argc, const char *const *argv, struct invocation *ret,
                       bool *ret_helped);

const struct command *command_find(Str name); // NULL if there is none
// The nearest name, or an absent Str when none is near.
Str command_nearest(struct arena *a, Str name);
// All flags of a command, with those of settings and of the endpoint.
size_t command_flags(struct arena *a, const struct command *c, const Flag **ret);

bool flag_given(const struct invocation *in, Str name);
Str flag_text(const struct invocation *in, Str name); // the last one; absent if not given
// A whole number between min and max, or `otherwise`. EXIT_USAGE with a message if it is neither.
ExitCode flag_number(const struct invocation *in, Str name, uint64_t min, uint64_t max,
                     uint64_t otherwise, uint64_t *ret);
Str environment_text(const struct invocation *in, Str name); // absent if unset or empty

// Where this command line has its settings from, and what they are.
SettingsInput invocation_input(const struct invocation *in);
ExitCode invocation_settings(const struct invocation *in, Settings *ret);

#define HEADRACE_VERSION_STR S(HEADRACE_VERSION)
