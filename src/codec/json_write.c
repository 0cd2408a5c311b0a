// SPDX-License-Identifier: Apache-2.0
#include "base/time.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "codec/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INTEGER_DIGITS_MAX = 20, REAL_CHARACTERS_MAX = 32 };

// ---- Commas. `first[depth]` says that none is due: nothing was written at this depth, or a key.

static void before_value(struct event_writer *w)
{
    if (!w->first[w->depth])
        buf_add_byte(w->out, ',');
    w->first[w->depth] = false;
}

static void open_with(struct event_writer *w, char c)
{
    before_value(w);
    CHECK(w->depth < EVENT_WRITE_DEPTH_MAX);
    w->first[++w->depth] = true;
    buf_add_byte(w->out, c);
}

static void close_with(struct event_writer *w, char c)
{
    CHECK(w->depth > 0);
    w->depth--;
    buf_add_byte(w->out, c);
}

static void write_map(struct event_writer *w)
{
    open_with(w, '{');
}

static void write_map_end(struct event_writer *w)
{
    close_with(w, '}');
}

static void write_list(struct event_writer *w)
{
    open_with(w, '[');
}

static void write_list_end(struct event_writer *w)
{
    close_with(w, ']');
}

// ---- Text.

static void add_escape(struct buf *out, unsigned char c)
{
    switch (c) {
    case '"':
    case '\\':
        buf_add_byte(out, '\\');
        buf_add_byte(out, (char)c);
        break;
    case '\b':
        buf_add(out, S("\\b"));
        break;
    case '\f':
        buf_add(out, S("\\f"));
        break;
    case '\n':
        buf_add(out, S("\\n"));
        break;
    case '\r':
        buf_add(out, S("\\r"));
        break;
    case '\t':
        buf_add(out, S("\\t"));
        break;
    default:
        buf_add(out, S("\\u00"));
        buf_add_byte(out, "0123456789abcdef"[c >> 4]);
        buf_add_byte(out, "0123456789abcdef"[c & 15]);
        break;
    }
}

static void add_string(struct buf *out, Str s)
{
    buf_add_byte(out, '"');
    while (s.n > 0) {
        size_t plain = text_plain(s);
        buf_add(out, str_head(s, plain));
        s = str_skip(s, plain);
        if (s.n > 0) {
            add_escape(out, (unsigned char)s.p[0]);
            s = str_skip(s, 1);
        }
    }
    buf_add_byte(out, '"');
}

static void write_key(struct event_writer *w, Str name)
{
    before_value(w);
    add_string(w->out, name);
    buf_add_byte(w->out, ':');
    w->first[w->depth] = true;
}

static void write_text(struct event_writer *w, Str utf8)
{
    before_value(w);
    add_string(w->out, utf8);
}

static void write_bytes(struct event_writer *w, Str bytes)
{
    before_value(w);
    buf_add_byte(w->out, '"');
    buf_add_base64(w->out, bytes);
    buf_add_byte(w->out, '"');
}

// ---- Other values.

static void write_null(struct event_writer *w)
{
    before_value(w);
    buf_add(w->out, S("null"));
}

static void write_boolean(struct event_writer *w, bool value)
{
    before_value(w);
    buf_add(w->out, value ? S("true") : S("false"));
}

static uint64_t magnitude(int64_t value)
{
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

static void add_digits(struct buf *out, uint64_t value)
{
    char digits[INTEGER_DIGITS_MAX];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    buf_add(out, str_from(digits + at, sizeof digits - at));
}

static void write_integer(struct event_writer *w, int64_t value)
{
    before_value(w);
    if (value < 0)
        buf_add_byte(w->out, '-');
    add_digits(w->out, magnitude(value));
}

// JSON has no infinities; the AWS protocols write them as strings.
static Str name_of_special(double value)
{
    if (isnan(value))
        return S("\"NaN\"");
    return value < 0 ? S("\"-Infinity\"") : S("\"Infinity\"");
}

// The shortest digits that give the same number when they are read. A whole number keeps a ".0", as
// AWS writes it, so that it is read as a real number again.
static void write_real(struct event_writer *w, double value)
{
    char text[REAL_CHARACTERS_MAX];
    int n = 0;
    before_value(w);
    if (!isfinite(value)) {
        buf_add(w->out, name_of_special(value));
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    buf_add(w->out, str_from(text, (size_t)n));
    if (text[strcspn(text, ".e")] == 0)
        buf_add(w->out, S(".0"));
}

static void write_time(struct event_writer *w, int64_t ns)
{
    before_value(w);
    int64_t ms = ns / NS_PER_MS - (ns % NS_PER_MS < 0); // rounded down, also before 1970
    uint64_t size = magnitude(ms);
    if (ms < 0)
        buf_add_byte(w->out, '-');
    add_digits(w->out, size / 1000);
    char decimals[] = { '.', (char)('0' + size / 100 % 10), (char)('0' + size / 10 % 10),
                        (char)('0' + size % 10) };
    size_t shown = size % 1000 == 0 ? 0 : size % 100 == 0 ? 2 : size % 10 == 0 ? 3 : 4;
    buf_add(w->out, str_from(decimals, shown));
}

static const struct event_writer_ops json_ops = {
    .map = write_map,
    .map_end = write_map_end,
    .list = write_list,
    .list_end = write_list_end,
    .key = write_key,
    .null = write_null,
    .boolean = write_boolean,
    .integer = write_integer,
    .real = write_real,
    .text = write_text,
    .bytes = write_bytes,
    .time = write_time,
};

void json_writer_init(struct event_writer *w, struct buf *out)
{
    *w = (struct event_writer){ .ops = &json_ops, .out = out, .first = { true } };
}
