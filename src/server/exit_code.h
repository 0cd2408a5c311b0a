// SPDX-License-Identifier: Apache-2.0
// How a program of this house ends. Scripts rely on the numbers: they are never reused.
#pragma once
#include "base/str.h"

typedef enum ExitCode {
    EXIT_GOOD = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NOT_FOUND = 3,
    EXIT_AUTH = 4,
    EXIT_THROTTLED = 5,
    EXIT_TIMEOUT = 6,
    EXIT_UNREACHABLE = 7,
    EXIT_LOCKED = 10,
    EXIT_ADDRESS = 11,
    EXIT_CORRUPT = 12,
    EXIT_FORMAT = 13,
    EXIT_DISK = 14,
    EXIT_INTERRUPTED = 130,
} ExitCode;

struct exit_meaning {
    ExitCode code;
    Str meaning;
};
extern const struct exit_meaning exit_meanings[];
extern const size_t exit_meaning_count;

// The code for an error that ended a program which was opening what it keeps on disk.
ExitCode exit_code_of(Err e);

// "headrace: ..." on standard error; returns the code.
ExitCode complain(ExitCode code, const char *format, ...) __attribute__((format(printf, 2, 3)));
// That a file cannot be read, and why: "not found" or "failed".
ExitCode complain_unread(Str path, Err e);
