// SPDX-License-Identifier: Apache-2.0
#include "server/exit_code.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct exit_meaning exit_meanings[] = {
    { EXIT_GOOD, S_INIT("done") },
    { EXIT_FAILED, S_INIT("failed; the message on standard error says why") },
    { EXIT_USAGE, S_INIT("wrong usage or configuration") },
    { EXIT_NOT_FOUND, S_INIT("the stream or other thing does not exist") },
    { EXIT_AUTH, S_INIT("the credentials were refused") },
    { EXIT_THROTTLED, S_INIT("a limit was exceeded; try again later") },
    { EXIT_TIMEOUT, S_INIT("no answer in time") },
    { EXIT_UNREACHABLE, S_INIT("no server answers at the endpoint") },
    { EXIT_LOCKED, S_INIT("another process holds the data directory") },
    { EXIT_ADDRESS, S_INIT("the address to listen on is in use") },
    { EXIT_CORRUPT, S_INIT("the data directory is damaged; nothing was changed") },
    { EXIT_FORMAT, S_INIT("the data directory was written by a newer version") },
    { EXIT_DISK, S_INIT("the disk failed or is full") },
    { EXIT_INTERRUPTED, S_INIT("interrupted before it was done") },
};
const size_t exit_meaning_count = COUNT_OF(exit_meanings);

ExitCode exit_code_of(Err e)
{
    switch (e.kind) {
    case ERR_NONE:
        return EXIT_GOOD;
    case ERR_INVALID:
        return EXIT_USAGE;
    case ERR_BUSY:
        return EXIT_LOCKED;
    case ERR_CORRUPT:
        return EXIT_CORRUPT;
    case ERR_FORMAT:
        return EXIT_FORMAT;
    case ERR_FULL:
    case ERR_IO:
        return EXIT_DISK;
    default:
        return EXIT_FAILED;
    }
}

ExitCode complain(ExitCode code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    flockfile(stderr); // one message stays together
    fputs("headrace: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    funlockfile(stderr);
    va_end(args);
    return code;
}

ExitCode complain_unread(Str path, Err e)
{
    return complain(e.kind == ERR_NOT_FOUND ? EXIT_NOT_FOUND : EXIT_FAILED,
                    "%.*s cannot be read: %s", FMT(path),
                    e.os != 0 ? strerrordesc_np(e.os) : e.text);
}
