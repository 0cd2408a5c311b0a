// SPDX-License-Identifier: Apache-2.0
#include "codec/marker.h"

#include "codec/crc.h"

#include <stdio.h>

void marker_begin(struct buf *b, Str what, unsigned format, unsigned reader)
{
    buf_addf(b, "%.*s\nformat %u\nreader %u\n", FMT(what), format, reader);
}

void marker_add(struct buf *b, Str name, Str value)
{
    CHECK(str_find(value, '\n') == value.n);
    buf_addf(b, "%.*s %.*s\n", FMT(name), FMT(value));
}

void marker_end(struct buf *b)
{
    buf_addf(b, "crc32c %08x\n", crc32c(0, b->p, b->n));
}

// The text after "name " on the next line.
static bool take_line(Str *rest, Str name, Str *ret)
{
    Str line;
    if (!str_cut(*rest, '\n', &line, rest) || !str_starts(line, name))
        return false;
    *ret = str_skip(line, name.n);
    return true;
}

// The place of the last line, which holds the checksum; content.n if there is none.
static size_t last_line(Str content)
{
    if (!str_ends(content, S("\n")))
        return content.n;
    size_t at = content.n - 1;
    while (at > 0 && content.p[at - 1] != '\n')
        at--;
    return at;
}

static bool is_whole(Str content)
{
    size_t covered = last_line(content);
    Str rest = str_skip(content, covered), crc;
    char expected[16];
    snprintf(expected, sizeof expected, "%08x", crc32c(0, content.p, covered));
    return take_line(&rest, S("crc32c "), &crc) && str_eq(crc, str_of(expected));
}

Err marker_read(Str content, Str what, uint64_t known, Marker *ret)
{
    Marker m = { 0 };
    Str rest = str_head(content, last_line(content)), magic, format, reader;
    bool sound =
        take_line(&rest, what, &magic) && magic.n == 0 && take_line(&rest, S("format "), &format) &&
        take_line(&rest, S("reader "), &reader) && is_whole(content) &&
        str_u64(format, &m.format).kind == ERR_NONE && str_u64(reader, &m.reader).kind == ERR_NONE;
    if (!sound)
        return fail(ERR_CORRUPT, "a marker file is damaged");
    m.lines = rest;
    *ret = m;
    return m.reader > known ? fail(ERR_FORMAT, "written by a newer program") : OK;
}

Str marker_value(const Marker *m, Str name)
{
    for (Str rest = m->lines, line; rest.n > 0;) {
        (void)str_cut(rest, '\n', &line, &rest);
        if (line.n > name.n && line.p[name.n] == ' ' && str_starts(line, name))
            return str_skip(line, name.n + 1);
    }
    return (Str){ 0 };
}
