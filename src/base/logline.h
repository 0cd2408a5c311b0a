// SPDX-License-Identifier: Apache-2.0
// Structured log lines to standard error: text on a terminal, JSON lines elsewhere, one write(2)
// per line, safe from any thread.
//
//     LOG(LOG_WARN, "journal file refused", F_STR("file", name), F_ERR(e));
//
// Secrets are never fields. The clock is set by the owner of the process (os/io.h reads it).
#pragma once
#include "base/str.h"

typedef enum LogLevel { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } LogLevel;
typedef enum LogFormat { LOG_AUTO, LOG_TEXT, LOG_JSON } LogFormat;

typedef struct LogField {
    const char *name; // snake_case
    enum { FIELD_STR, FIELD_INT, FIELD_ERR } kind;
    Str text;
    int64_t number;
    Err err;
} LogField;

#define F_STR(field, value) ((LogField){ .name = (field), .kind = FIELD_STR, .text = (value) })
#define F_INT(field, value) \
    ((LogField){ .name = (field), .kind = FIELD_INT, .number = (int64_t)(value) })
#define F_ERR(value) ((LogField){ .name = "err", .kind = FIELD_ERR, .err = (value) })

#define LOG(level, message, ...)                                                  \
    logline_write((level), (message), (const LogField[]){ { 0 }, ##__VA_ARGS__ }, \
                  sizeof((const LogField[]){ { 0 }, ##__VA_ARGS__ }) / sizeof(LogField))

// The first field is a filler that the macro needs and is skipped.
void logline_write(LogLevel level, const char *message, const LogField *fields, size_t n);

// How lines look and which are left out. `wall_ns` gives the time of a line; NULL: no time.
void logline_setup(LogLevel least, LogFormat format, int64_t (*wall_ns)(void));
bool logline_parse_level(Str name, LogLevel *ret);
bool logline_parse_format(Str name, LogFormat *ret);
