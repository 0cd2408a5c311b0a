// SPDX-License-Identifier: Apache-2.0
// zone.hrz: one a line, the last over all bytes before it.
//
//     headrace-zone
//     format 1
//     reader 1                  the least format that a program must know to read it
//     set HEX                   of 128 random bits: whose zone it is
//     zone HEX                  of 64: which one
//     zones N                   in the set
//     least N                   members there must always be
//     generation N              of the list of members; the highest decides
//     members HEX HEX ...       those that have everything
//     state whole|partial       partial: it is being copied to
//     crc32c HEX
#include "store/zones/zones_priv.h"

#include "base/buf.h"
#include "codec/crc.h"

#include <stdlib.h>
#include <string.h>

enum { RECORD_FORMAT = 1, RECORD_READER_LEAST = 1, HEX_DIGITS = 16 };

Str record_text(struct arena *a, const ZoneRecord *r)
{
    AUTO_BUF(b);
    buf_addf(&b, "headrace-zone\nformat %d\nreader %d\nset %s\nzone %016llx\nzones %u\nleast %u\n",
             RECORD_FORMAT, RECORD_READER_LEAST, r->cluster, (unsigned long long)r->id, r->of,
             r->least);
    buf_addf(&b, "generation %llu\nmembers", (unsigned long long)r->generation);
    for (size_t i = 0; i < r->member_count; i++)
        buf_addf(&b, " %016llx", (unsigned long long)r->members[i]);
    buf_addf(&b, "\nstate %s\n", r->whole ? "whole" : "partial");
    uint32_t crc = crc32c(0, b.p, b.n);
    buf_addf(&b, "crc32c %08x\n", crc);
    return str_dup(a, buf_str(&b));
}

static bool take(Str *rest, Str name, Str *ret)
{
    Str line;
    if (!str_cut(*rest, '\n', &line, rest) || !str_starts(line, name))
        return false;
    *ret = str_skip(line, name.n);
    return true;
}

static bool take_number(Str *rest, Str name, uint64_t max, uint64_t *ret)
{
    Str text;
    return take(rest, name, &text) && str_u64(text, ret).kind == ERR_NONE && *ret <= max;
}

static bool parse_hex(Str s, uint64_t *ret)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool is_digit = c >= '0' && c <= '9';
        if (!is_digit && !(c >= 'a' && c <= 'f'))
            return false;
        n = n << 4 | (uint64_t)(is_digit ? c - '0' : c - 'a' + 10);
    }
    *ret = n;
    return s.n == HEX_DIGITS;
}

static bool take_members(Str *rest, ZoneRecord *ret)
{
    Str list;
    if (!take(rest, S("members"), &list))
        return false;
    while (list.n > 0) {
        if (list.p[0] != ' ' || ret->member_count == ZONES_MAX)
            return false;
        list = str_skip(list, 1);
        size_t n = str_find(list, ' ');
        if (!parse_hex(str_head(list, n), &ret->members[ret->member_count++]))
            return false;
        list = str_skip(list, n);
    }
    return true;
}

static bool take_lines(Str text, ZoneRecord *ret)
{
    Str set, id, state;
    uint64_t of, least;
    if (!take(&text, S("set "), &set) || set.n != sizeof ret->cluster - 1)
        return false;
    memcpy(ret->cluster, set.p, set.n);
    if (!take(&text, S("zone "), &id) || !parse_hex(id, &ret->id) || ret->id == 0 ||
        !take_number(&text, S("zones "), ZONES_MAX, &of) || of < 2 ||
        !take_number(&text, S("least "), of, &least) ||
        !take_number(&text, S("generation "), UINT64_MAX, &ret->generation) ||
        !take_members(&text, ret) || !take(&text, S("state "), &state))
        return false;
    ret->of = (unsigned)of;
    ret->least = (unsigned)least;
    ret->whole = str_eq(state, S("whole"));
    return ret->least >= 1 && text.n == 0 && (ret->whole || str_eq(state, S("partial")));
}

Err record_parse(Str text, ZoneRecord *ret)
{
    static const Str name = S_INIT("crc32c ");
    size_t crc_line = name.n + 8 + 1;
    if (text.n <= crc_line)
        return fail(ERR_CORRUPT, "zone.hrz is too short");
    Str body = str_head(text, text.n - crc_line), last = str_skip(text, body.n), head;
    uint64_t format, reader;
    AUTO_BUF(b);
    buf_addf(&b, "crc32c %08x\n", crc32c(0, body.p, body.n));
    if (!str_eq(buf_str(&b), last) || !take(&body, S("headrace-zone"), &head) || head.n != 0 ||
        !take_number(&body, S("format "), UINT64_MAX, &format) ||
        !take_number(&body, S("reader "), UINT64_MAX, &reader))
        return fail(ERR_CORRUPT, "zone.hrz is damaged");
    if (reader > RECORD_FORMAT)
        return fail(ERR_FORMAT, "zone.hrz was written by a newer program");
    ZoneRecord r = { 0 };
    if (!take_lines(body, &r))
        return fail(ERR_CORRUPT, "zone.hrz is damaged");
    *ret = r;
    return OK;
}

Err record_read(struct zone *z, struct arena *a, ZoneRecord *ret)
{
    Str text;
    Err e = zone_name_read_file(z, a, ZONE_RECORD, RECORD_BYTES_MAX, SLOW_NS, &text);
    if (e.kind == ERR_LIMIT)
        return fail(ERR_CORRUPT, "zone.hrz is too long");
    TRY(e);
    return record_parse(text, ret);
}
