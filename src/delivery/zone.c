// SPDX-License-Identifier: Apache-2.0
#include "delivery/zone.h"
#include "base/time.h"
#include "os/io.h"

#include <stdlib.h>
#include <string.h>

enum {
    TZIF_BYTES_MAX = 256 << 10,
    TZIF_HEAD_BYTES = 44,
    TYPE_BYTES = 6,
    NAME_BYTES_MAX = 128,
    SHORT_BYTES_MAX = 16, // of an abbreviation; longer ones are cut
    DAY_S = 86400,
};
#define ZONE_DIR S("/usr/share/zoneinfo/")

typedef struct ZoneType {
    int64_t offset_s;
    char name[SHORT_BYTES_MAX];
    size_t name_n;
} ZoneType;

// When a rule of the footer begins in a year: Mm.w.d, Jn or n, at a time of day.
typedef struct ZoneDay {
    enum { DAY_OF_MONTH_WEEK, DAY_JULIAN, DAY_ZERO_BASED } kind;
    int64_t month, week, day;
    int64_t at_s;
} ZoneDay;

struct zone {
    char name[NAME_BYTES_MAX];
    size_t name_n;
    int64_t *changes; // ascending
    unsigned char *change_types;
    size_t change_count;
    ZoneType *types;
    size_t type_count;
    bool has_rule, has_summer; // behind the last change
    ZoneType standard, summer;
    ZoneDay begins, ends; // of summer, each in the time before it
};

void zone_close(struct zone *z)
{
    if (z == NULL)
        return;
    free(z->changes);
    free(z->change_types);
    free(z->types);
    free(z);
}

Str zone_name(const struct zone *z)
{
    return str_from(z->name, z->name_n);
}

// ---- The footer: a TZ string of POSIX

static bool take_byte(Str *s, char c)
{
    if (s->n == 0 || s->p[0] != c)
        return false;
    *s = str_skip(*s, 1);
    return true;
}

static bool take_number(Str *s, int64_t *ret)
{
    size_t n = 0;
    *ret = 0;
    while (n < s->n && n < 4 && s->p[n] >= '0' && s->p[n] <= '9')
        *ret = *ret * 10 + (s->p[n++] - '0');
    *s = str_skip(*s, n);
    return n > 0;
}

static bool take_short(Str *s, ZoneType *ret)
{
    bool quoted = take_byte(s, '<');
    size_t n = 0;
    while (n < s->n && (quoted ? s->p[n] != '>' : (s->p[n] | 32) >= 'a' && (s->p[n] | 32) <= 'z'))
        n++;
    ret->name_n = MIN(n, (size_t)SHORT_BYTES_MAX);
    memcpy(ret->name, s->p, ret->name_n);
    *s = str_skip(*s, n);
    return n > 0 && (!quoted || take_byte(s, '>'));
}

// [+-]hh[:mm[:ss]]
static bool take_time(Str *s, int64_t *ret_s)
{
    int64_t hours, minutes = 0, seconds = 0;
    bool negative = take_byte(s, '-');
    if (!negative)
        (void)take_byte(s, '+');
    if (!take_number(s, &hours) || (take_byte(s, ':') && !take_number(s, &minutes)) ||
        (take_byte(s, ':') && !take_number(s, &seconds)))
        return false;
    *ret_s = hours * 3600 + minutes * 60 + seconds;
    if (negative)
        *ret_s = -*ret_s;
    return true;
}

static bool take_day(Str *s, ZoneDay *ret)
{
    *ret = (ZoneDay){ .at_s = 2 * 3600 };
    if (take_byte(s, 'M')) {
        ret->kind = DAY_OF_MONTH_WEEK;
        if (!take_number(s, &ret->month) || !take_byte(s, '.') || !take_number(s, &ret->week) ||
            !take_byte(s, '.') || !take_number(s, &ret->day) || ret->month < 1 || ret->month > 12 ||
            ret->week < 1 || ret->week > 5 || ret->day > 6)
            return false;
    } else {
        ret->kind = take_byte(s, 'J') ? DAY_JULIAN : DAY_ZERO_BASED;
        if (!take_number(s, &ret->day) || ret->day > 366)
            return false;
    }
    return !take_byte(s, '/') || take_time(s, &ret->at_s);
}

static bool take_rule(struct zone *z, Str s)
{
    int64_t west_s;
    if (!take_short(&s, &z->standard) || !take_time(&s, &west_s))
        return false;
    z->standard.offset_s = -west_s;
    if (s.n == 0)
        return true;
    if (!take_short(&s, &z->summer))
        return false;
    z->summer.offset_s = z->standard.offset_s + 3600;
    if (s.n > 0 && s.p[0] != ',') {
        if (!take_time(&s, &west_s))
            return false;
        z->summer.offset_s = -west_s;
    }
    z->has_summer = take_byte(&s, ',') && take_day(&s, &z->begins) && take_byte(&s, ',') &&
                    take_day(&s, &z->ends) && s.n == 0;
    return z->has_summer;
}

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

// Seconds since 1970 as a clock on the wall says, without an offset.
static int64_t day_s(const ZoneDay *d, int64_t year)
{
    int64_t first = time_from_civil((Civil){ .year = year, .month = 1, .day = 1 }) / NS_PER_S;
    if (d->kind == DAY_ZERO_BASED)
        return first + d->day * DAY_S + d->at_s;
    if (d->kind == DAY_JULIAN) // the 29th of February is never counted
        return first + (d->day - 1 + (d->day >= 60 && is_leap(year))) * DAY_S + d->at_s;
    int64_t month = time_from_civil((Civil){ .year = year, .month = (unsigned)d->month, .day = 1 });
    int64_t weekday = time_civil(month).weekday;
    int64_t day = (d->day - weekday + 7) % 7 + (d->week - 1) * 7;
    static const int64_t lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    int64_t length = lengths[d->month - 1] + (d->month == 2 && is_leap(year));
    while (day >= length)
        day -= 7; // the last one
    return month / NS_PER_S + day * DAY_S + d->at_s;
}

static const ZoneType *type_by_rule(const struct zone *z, int64_t at_s)
{
    if (!z->has_summer)
        return &z->standard;
    // The year as standard time has it: changes are never at its ends.
    int64_t year = time_civil((at_s + z->standard.offset_s) * NS_PER_S).year;
    int64_t begins = day_s(&z->begins, year) - z->standard.offset_s;
    int64_t ends = day_s(&z->ends, year) - z->summer.offset_s;
    bool summer = begins < ends ? at_s >= begins && at_s < ends : !(at_s >= ends && at_s < begins);
    return summer ? &z->summer : &z->standard;
}

// ---- The file

static uint32_t be32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static int64_t be64(const char *p)
{
    return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4));
}

typedef struct Counts {
    size_t utc, standard, leap, changes, types, chars;
} Counts;

// False: no header stands there.
static bool take_head(Str *s, Counts *ret)
{
    if (s->n < TZIF_HEAD_BYTES || !str_starts(*s, S("TZif")))
        return false;
    const char *p = s->p + 20;
    *ret = (Counts){ be32(p), be32(p + 4), be32(p + 8), be32(p + 12), be32(p + 16), be32(p + 20) };
    *s = str_skip(*s, TZIF_HEAD_BYTES);
    return ret->changes < TZIF_BYTES_MAX && ret->types < 256 && ret->chars < TZIF_BYTES_MAX &&
           ret->leap < TZIF_BYTES_MAX && ret->utc < 256 && ret->standard < 256;
}

static size_t body_bytes(const Counts *n, size_t time_bytes)
{
    return n->changes * (time_bytes + 1) + n->types * TYPE_BYTES + n->chars +
           n->leap * (time_bytes + 4) + n->utc + n->standard;
}

static bool take_types(struct zone *z, const Counts *n, const char *types, const char *names)
{
    z->types = xalloc(mul_checked(n->types, sizeof *z->types));
    z->type_count = n->types;
    for (size_t i = 0; i < n->types; i++) {
        const char *p = types + i * TYPE_BYTES;
        size_t at = (unsigned char)p[5];
        if (at >= n->chars)
            return false;
        z->types[i].offset_s = (int32_t)be32(p);
        z->types[i].name_n = MIN(strnlen(names + at, n->chars - at), (size_t)SHORT_BYTES_MAX);
        memcpy(z->types[i].name, names + at, z->types[i].name_n);
    }
    return n->types > 0;
}

static bool take_file(struct zone *z, Str s)
{
    Counts n;
    if (!take_head(&s, &n) || s.n < body_bytes(&n, 4))
        return false;
    s = str_skip(s, body_bytes(&n, 4)); // of version 1: the same in fewer bits
    if (!take_head(&s, &n) || s.n < body_bytes(&n, 8))
        return false;
    const char *types = s.p + n.changes * 9;
    if (!take_types(z, &n, types, types + n.types * TYPE_BYTES))
        return false;
    z->change_count = n.changes;
    z->changes = xalloc(mul_checked(n.changes + 1, sizeof *z->changes));
    z->change_types = xalloc(n.changes + 1);
    for (size_t i = 0; i < n.changes; i++) {
        z->changes[i] = be64(s.p + i * 8);
        z->change_types[i] = (unsigned char)s.p[n.changes * 8 + i];
        if (z->change_types[i] >= n.types)
            return false;
    }
    s = str_skip(s, body_bytes(&n, 8));
    if (!take_byte(&s, '\n'))
        return false;
    Str rule = str_head(s, str_find(s, '\n'));
    z->has_rule = rule.n > 0;
    return rule.n == 0 || take_rule(z, rule);
}

static bool is_name(Str name)
{
    if (name.n == 0 || name.n >= NAME_BYTES_MAX || name.p[0] == '/' ||
        str_search(name, S("..")) < name.n)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i], l = (char)(c | 32);
        if (!((l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '/' || c == '_' ||
              c == '-' || c == '+'))
            return false;
    }
    return true;
}

static bool is_utc(Str name)
{
    return str_eq(name, S("UTC")) || str_eq(name, S("Etc/UTC")) || str_eq(name, S("GMT")) ||
           str_eq(name, S("Z"));
}

Err zone_open(Str name, struct zone **ret)
{
    AUTO(arena) tmp = arena_open();
    AUTO(zone) z = NULL;
    if (!is_name(name))
        return fail(ERR_NOT_FOUND, "no name of a time zone");
    z = xalloc(sizeof *z);
    memcpy(z->name, name.p, name.n);
    z->name_n = name.n;
    Str text;
    if (is_utc(name)) {
        z->has_rule = take_rule(z, S("UTC0"));
    } else {
        Err e = io_read_file(io_real(), tmp, str_cat(tmp, ZONE_DIR, name), TZIF_BYTES_MAX, &text);
        if (e.kind != ERR_NONE || !take_file(z, text))
            return fail(ERR_NOT_FOUND, "no such time zone");
    }
    *ret = z;
    z = NULL;
    return OK;
}

int64_t zone_offset_s(const struct zone *z, int64_t at_s, Str *ret_short)
{
    size_t low = 0, high = z->change_count; // changes[low - 1] <= at_s < changes[low]
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (z->changes[middle] <= at_s)
            low = middle + 1;
        else
            high = middle;
    }
    const ZoneType *t;
    if (low == z->change_count && z->has_rule)
        t = type_by_rule(z, at_s);
    else
        t = &z->types[low > 0 ? z->change_types[low - 1] : 0];
    *ret_short = str_from(t->name, t->name_n);
    return t->offset_s;
}
