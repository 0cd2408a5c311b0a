// SPDX-License-Identifier: Apache-2.0
// zone.hrz, a marker file (codec/marker.h):
//
//     headrace-zone
//     format 1
//     reader 1
//     set HEX                   of 128 random bits: whose zone it is
//     zone HEX                  of 64: which one
//     zones N                   in the set
//     least N                   members there must always be
//     generation N              of the list of members; the highest decides
//     members HEX HEX ...       those that have everything; or "none"
//     state whole|partial       partial: it is being copied to
//     crc32c HEX
#include "store/zones/zones_priv.h"

#include "codec/marker.h"

#include <string.h>

enum { RECORD_FORMAT = 1, RECORD_READER_LEAST = 1, HEX_DIGITS = 16 };
#define RECORD_NAME S("headrace-zone")
#define NO_MEMBERS S("none")

static Str id_text(struct arena *a, uint64_t id)
{
    return str_fmt(a, "%016llx", (unsigned long long)id);
}

Str record_text(struct arena *a, const ZoneRecord *r)
{
    AUTO_BUF(b);
    Str members = S("");
    for (size_t i = 0; i < r->member_count; i++)
        members = str_cat3(a, members, i > 0 ? S(" ") : S(""), id_text(a, r->members[i]));
    marker_begin(&b, RECORD_NAME, RECORD_FORMAT, RECORD_READER_LEAST);
    marker_add(&b, S("set"), str_of(r->cluster));
    marker_add(&b, S("zone"), id_text(a, r->id));
    marker_add(&b, S("zones"), str_fmt(a, "%u", r->of));
    marker_add(&b, S("least"), str_fmt(a, "%u", r->least));
    marker_add(&b, S("generation"), str_fmt(a, "%llu", (unsigned long long)r->generation));
    marker_add(&b, S("members"), members.n > 0 ? members : NO_MEMBERS);
    marker_add(&b, S("state"), r->whole ? S("whole") : S("partial"));
    marker_end(&b);
    return str_dup(a, buf_str(&b));
}

static bool take_number(const Marker *m, Str name, uint64_t max, uint64_t *ret)
{
    Str text = marker_value(m, name);
    return text.p != NULL && str_u64(text, ret).kind == ERR_NONE && *ret <= max;
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

static bool take_members(const Marker *m, ZoneRecord *ret)
{
    Str rest = marker_value(m, S("members")), one;
    if (rest.p == NULL || str_eq(rest, NO_MEMBERS))
        return rest.p != NULL;
    while (rest.n > 0) {
        (void)str_cut(rest, ' ', &one, &rest);
        if (ret->member_count == ZONES_MAX || !parse_hex(one, &ret->members[ret->member_count++]))
            return false;
    }
    return ret->member_count > 0;
}

static bool take_values(const Marker *m, ZoneRecord *ret)
{
    uint64_t of, least;
    Str set = marker_value(m, S("set")), state = marker_value(m, S("state"));
    if (set.n != sizeof ret->cluster - 1)
        return false;
    memcpy(ret->cluster, set.p, set.n);
    if (!parse_hex(marker_value(m, S("zone")), &ret->id) || ret->id == 0 ||
        !take_number(m, S("zones"), ZONES_MAX, &of) || of < 2 ||
        !take_number(m, S("least"), of, &least) || least < 1 ||
        !take_number(m, S("generation"), UINT64_MAX, &ret->generation) || !take_members(m, ret))
        return false;
    ret->of = (unsigned)of;
    ret->least = (unsigned)least;
    ret->whole = str_eq(state, S("whole"));
    return ret->whole || str_eq(state, S("partial"));
}

Err record_parse(Str text, ZoneRecord *ret)
{
    Marker m;
    TRY(marker_read(text, RECORD_NAME, RECORD_FORMAT, &m));
    ZoneRecord r = { 0 };
    if (!take_values(&m, &r))
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
