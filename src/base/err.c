// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

Err fail_os(int error_number, const char *text)
{
    ErrKind kind = ERR_IO;
    switch (error_number) {
    case ENOSPC:
    case EDQUOT:
        kind = ERR_FULL;
        break;
    case ENOENT:
        kind = ERR_NOT_FOUND;
        break;
    case EEXIST:
        kind = ERR_EXISTS;
        break;
    case EACCES:
    case EPERM:
    case EROFS:
        kind = ERR_DENIED;
        break;
    default:
        break;
    }
    return (Err){ .kind = kind, .os = error_number, .text = text };
}

const char *err_kind_name(ErrKind kind)
{
    static const char *const names[] = {
        [ERR_NONE] = "none",           [ERR_INVALID] = "invalid", [ERR_LIMIT] = "limit",
        [ERR_NOT_FOUND] = "not-found", [ERR_EXISTS] = "exists",   [ERR_CLOSED] = "closed",
        [ERR_BUSY] = "busy",           [ERR_TIMEOUT] = "timeout", [ERR_DENIED] = "denied",
        [ERR_FULL] = "full",           [ERR_IO] = "io",           [ERR_CORRUPT] = "corrupt",
        [ERR_MEMORY] = "memory",       [ERR_FORMAT] = "format",   [ERR_FAULT] = "fault",
        [ERR_WAIT] = "wait",
    };
    CHECK(kind < COUNT_OF(names));
    return names[kind];
}

void check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "headrace: %s:%d: check failed: %s\n", file, line, what);
    abort();
}
