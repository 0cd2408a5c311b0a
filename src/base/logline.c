// SPDX-License-Identifier: Apache-2.0
#include "base/logline.h"
#include "base/buf.h"
#include "base/time.h"

#include <stdlib.h>
#include <unistd.h>

static const char *const level_names[] = { "debug", "info", "warn", "error" };

static struct {
    LogLevel least;
    bool json;
    bool journald;
    int64_t (*wall_ns)(void);
} settings = { .least = LOG_INFO };

void logline_setup(LogLevel least, LogFormat format, int64_t (*wall_ns)(void))
{
    settings.least = least;
    settings.json = format == LOG_JSON || (format == LOG_AUTO && !isatty(STDERR_FILENO));
    settings.journald = getenv("JOURNAL_STREAM") != NULL && !isatty(STDERR_FILENO);
    settings.wall_ns = wall_ns;
}

bool logline_parse_level(Str name, LogLevel *ret)
{
    for (unsigned i = 0; i < COUNT_OF(level_names); i++)
        if (str_eq(name, str_of(level_names[i]))) {
            *ret = (LogLevel)i;
            return true;
        }
    return false;
}

bool logline_parse_format(Str name, LogFormat *ret)
{
    static const char *const names[] = { "auto", "text", "json" };
    for (unsigned i = 0; i < COUNT_OF(names); i++)
        if (str_eq(name, str_of(names[i]))) {
            *ret = (LogFormat)i;
            return true;
        }
    return false;
}

static void add_json_string(struct buf *b, Str s)
{
    buf_add_byte(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            buf_addf(b, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            buf_addf(b, "\\u%04x", c);
        else
            buf_add_byte(b, (char)c);
    }
    buf_add_byte(b, '"');
}

// Control bytes are shown as '?', so that no client can write lines or colours into a terminal.
static void add_plain(struct buf *b, Str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        buf_add_byte(b, c < 0x20 || c == 0x7f ? '?' : (char)c);
    }
}

static void add_field_value(struct buf *b, const LogField *f)
{
    void (*add_text)(struct buf *, Str) = settings.json ? add_json_string : add_plain;
    if (f->kind == FIELD_INT) {
        buf_addf(b, "%lld", (long long)f->number);
        return;
    }
    if (f->kind == FIELD_STR) {
        add_text(b, f->text);
        return;
    }
    AUTO_BUF(text);
    buf_addf(&text, "%s: %s", err_kind_name(f->err.kind), f->err.text != NULL ? f->err.text : "");
    if (f->err.os != 0)
        buf_addf(&text, " (errno %d)", f->err.os);
    add_text(b, buf_str(&text));
}

void logline_write(LogLevel level, const char *message, const LogField *fields, size_t n)
{
    if (level < settings.least)
        return;
    AUTO_BUF(line);
    AUTO(arena) tmp = arena_open();
    static const char priorities[] = { '7', '6', '4', '3' };
    if (settings.journald)
        buf_addf(&line, "<%c>", priorities[level]);
    Str ts = settings.wall_ns != NULL ? time_iso_ms(tmp, settings.wall_ns()) : S("");
    if (settings.json)
        buf_addf(&line, "{\"ts\":\"%.*s\",\"level\":\"%s\",\"msg\":\"%s\"", FMT(ts),
                 level_names[level], message);
    else
        buf_addf(&line, "%.*s %-5s %s", FMT(ts), level_names[level], message);
    for (size_t i = 1; i < n; i++) {
        buf_addf(&line, settings.json ? ",\"%s\":" : " %s=", fields[i].name);
        add_field_value(&line, &fields[i]);
    }
    buf_add(&line, settings.json ? S("}\n") : S("\n"));
    ssize_t written = write(STDERR_FILENO, line.p, line.n);
    (void)written; // a log that cannot be written has nowhere to say so
}
