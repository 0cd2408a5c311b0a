// SPDX-License-Identifier: Apache-2.0
#include "columnar/moment.h"
#include "base/time.h"

#include <stdlib.h>

enum {
    MILLIS_CHARS_MIN = 13, // of a whole number, so that it is milliseconds and not seconds
    FRACTION_DIGITS_MAX = 9,
    YEAR_MAX = 9999,
    DAY_SECONDS = 86400,
    PARTS_MAX = 64, // of a pattern
    PATTERN_BYTES_MAX = 1024,
};

struct parts {
    int64_t year, month, day, hour, minute, second, ns;
    int64_t day_of_year; // 0: not said
    int64_t half;        // of the day: -1: not said, 0: am, 1: pm
    int64_t offset;      // seconds east of Greenwich
};

static const struct parts parts_none = { .year = 1970, .month = 1, .day = 1, .half = -1 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_leap(int64_t y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

// Days from 1970-01-01 to a day of the Gregorian calendar: years begin in March for it.
static int64_t days_of(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = y / 400, year = y - era * 400;
    int64_t day = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + year * 365 + year / 4 - year / 100 + day - 719468;
}

static bool days_of_parts(const struct parts *x, int64_t *ret)
{
    static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    if (x->year < 1 || x->year > YEAR_MAX || x->month < 1 || x->month > 12 || x->day < 1)
        return false;
    if (x->day_of_year > 0) {
        if (x->day_of_year > 365 + is_leap(x->year))
            return false;
        *ret = days_of(x->year, 1, 1) + x->day_of_year - 1;
        return true;
    }
    if (x->day > lengths[x->month - 1] + (x->month == 2 && is_leap(x->year)))
        return false;
    *ret = days_of(x->year, x->month, x->day);
    return true;
}

static bool moment_of_parts(const struct parts *x, Moment *ret)
{
    int64_t days, hour = x->hour;
    if (!days_of_parts(x, &days) || x->minute > 59 || x->second > 59)
        return false;
    if (x->half >= 0)
        hour = hour % 12 + 12 * x->half;
    if (hour > 23)
        return false;
    ret->seconds = days * DAY_SECONDS + hour * 3600 + x->minute * 60 + x->second - x->offset;
    ret->ns = (int32_t)x->ns;
    return true;
}

// min to max digits at *at.
static bool digits_at(Str s, size_t *at, size_t min, size_t max, int64_t *ret)
{
    size_t n = 0;
    int64_t value = 0;
    while (n < max && *at + n < s.n && is_digit(s.p[*at + n]))
        value = value * 10 + (s.p[*at + n++] - '0');
    if (n < min)
        return false;
    *at += n;
    *ret = value;
    return true;
}

// One to `max` digits behind the point, as nanoseconds.
static bool fraction_at(Str s, size_t *at, size_t max, int64_t *ret_ns)
{
    size_t start = *at;
    int64_t value;
    if (!digits_at(s, at, 1, MIN(max, (size_t)FRACTION_DIGITS_MAX), &value))
        return false;
    for (size_t n = *at - start; n < FRACTION_DIGITS_MAX; n++)
        value *= 10;
    *ret_ns = value;
    return true;
}

static bool char_at(Str s, size_t *at, char c)
{
    if (*at == s.n || s.p[*at] != c)
        return false;
    ++*at;
    return true;
}

// ---- The fixed forms

static bool date_at(Str s, size_t *at, struct parts *x)
{
    return digits_at(s, at, 4, 4, &x->year) && char_at(s, at, '-') &&
           digits_at(s, at, 1, 2, &x->month) && char_at(s, at, '-') &&
           digits_at(s, at, 1, 2, &x->day);
}

static bool time_at(Str s, size_t *at, struct parts *x)
{
    bool good = digits_at(s, at, 1, 2, &x->hour) && char_at(s, at, ':') &&
                digits_at(s, at, 1, 2, &x->minute) && char_at(s, at, ':') &&
                digits_at(s, at, 1, 2, &x->second);
    if (good && char_at(s, at, '.'))
        good = fraction_at(s, at, FRACTION_DIGITS_MAX, &x->ns);
    return good;
}

// Two digits, or more than 99.
static inline unsigned two(const char *p)
{
    unsigned high = (unsigned char)p[0] - '0', low = (unsigned char)p[1] - '0';
    return high > 9 || low > 9 ? 100 : high * 10 + low;
}

// "2017-02-07T15:13:01" with two digits everywhere, and `middle` for the T: what is nearly always
// written. false: the other functions say.
static inline bool usual(Str s, char middle, Moment *ret)
{
    const char *p = s.p;
    if (s.n < 19 || p[4] != '-' || p[7] != '-' || p[10] != middle || p[13] != ':' || p[16] != ':')
        return false;
    unsigned century = two(p), year = two(p + 2), month = two(p + 5), day = two(p + 8);
    unsigned hour = two(p + 11), minute = two(p + 14), second = two(p + 17);
    if (century > 99 || year > 99 || century + year == 0 || month - 1 > 11 || day - 1 > 27 ||
        hour > 23 || minute > 59 || second > 59) // the last days of a month are not usual
        return false;
    ret->seconds = days_of((int64_t)century * 100 + year, month, day) * DAY_SECONDS +
                   (int64_t)hour * 3600 + minute * 60 + second;
    ret->ns = 0;
    return true;
}

// The fraction behind it, if there is one, up to *at.
static inline bool usual_fraction(Str s, size_t *at, Moment *ret)
{
    int64_t ns = 0;
    *at = 19;
    if (s.n == 19 || s.p[19] != '.')
        return true;
    ++*at;
    if (!fraction_at(s, at, FRACTION_DIGITS_MAX, &ns))
        return false;
    ret->ns = (int32_t)ns;
    return true;
}

bool moment_date(Str s, int64_t *ret_days)
{
    struct parts x = parts_none;
    size_t at = 0;
    return date_at(s, &at, &x) && at == s.n && days_of_parts(&x, ret_days);
}

bool moment_plain(Str s, Moment *ret)
{
    struct parts x = parts_none;
    size_t at = 0;
    if (usual(s, ' ', ret) && usual_fraction(s, &at, ret))
        return at == s.n;
    at = 0;
    return date_at(s, &at, &x) && char_at(s, &at, ' ') && time_at(s, &at, &x) && at == s.n &&
           moment_of_parts(&x, ret);
}

static bool moment_iso(Str s, Moment *ret)
{
    struct parts x = parts_none;
    size_t at = 0;
    if (usual(s, 'T', ret) && usual_fraction(s, &at, ret))
        return at + 1 == s.n && s.p[at] == 'Z';
    at = 0;
    return date_at(s, &at, &x) && char_at(s, &at, 'T') && time_at(s, &at, &x) &&
           char_at(s, &at, 'Z') && at == s.n && moment_of_parts(&x, ret);
}

static bool is_in_years(Moment m)
{
    return m.seconds >= days_of(1, 1, 1) * DAY_SECONDS &&
           m.seconds < days_of(YEAR_MAX + 1, 1, 1) * DAY_SECONDS;
}

static bool moment_millis(int64_t ms, Moment *ret)
{
    int64_t seconds = ms / 1000, rest = ms % 1000;
    if (rest < 0) {
        seconds--;
        rest += 1000;
    }
    *ret = (Moment){ .seconds = seconds, .ns = (int32_t)rest * 1000000 };
    return is_in_years(*ret);
}

// Seconds, whole or with a fraction, or milliseconds.
static bool moment_epoch(const struct number *x, Moment *ret)
{
    enum { NANO_DIGITS = 30 };
    int64_t whole;
    Decimal ns;
    bool has_point = str_find(x->text, '.') < x->text.n;
    if (!has_point && x->text.n >= MILLIS_CHARS_MIN)
        return number_whole(x, &whole) && moment_millis(whole, ret);
    if (!number_decimal(x, NANO_DIGITS, FRACTION_DIGITS_MAX, &ns))
        return false;
    Decimal seconds = ns / NS_PER_S, rest = ns % NS_PER_S;
    if (rest < 0) {
        seconds--;
        rest += NS_PER_S;
    }
    if (seconds > INT64_MAX || seconds < INT64_MIN)
        return false;
    *ret = (Moment){ .seconds = (int64_t)seconds, .ns = (int32_t)rest };
    return is_in_years(*ret);
}

bool moment_openx(Str s, Moment *ret)
{
    struct number x;
    if (s.n > 10 && s.p[10] == 'T')
        return moment_iso(s, ret);
    if (str_find(s, ':') < s.n)
        return s.p[s.n - 1] == 'Z' ? moment_iso(s, ret) : moment_plain(s, ret);
    const char *end = number_scan(s.p, &x);
    return end == s.p + s.n && moment_epoch(&x, ret);
}

// ---- Patterns

struct part {
    char letter; // 0: literal
    uint8_t count;
    Str literal;
};

struct moment_format {
    bool millis;
    size_t n;
    struct part parts[PARTS_MAX];
    char text[]; // the literals
};

static const char *const months[] = { "January",   "February", "March",    "April",
                                      "May",       "June",     "July",     "August",
                                      "September", "October",  "November", "December" };
static const char *const weekdays[] = { "Monday", "Tuesday",  "Wednesday", "Thursday",
                                        "Friday", "Saturday", "Sunday" };

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// The quoted text at *at, behind its first quote, goes to *out; two quotes are one.
static bool quoted(Str pattern, size_t *at, char **out)
{
    if (char_at(pattern, at, '\'')) {
        *(*out)++ = '\'';
        return true;
    }
    while (*at < pattern.n) {
        char c = pattern.p[(*at)++];
        if (c == '\'' && !char_at(pattern, at, '\''))
            return true;
        *(*out)++ = c;
    }
    return false;
}

static Err compile(struct moment_format *f, Str pattern, ColumnarProblem *problem)
{
    char *out = f->text;
    for (size_t at = 0; at < pattern.n;) {
        if (f->n == PARTS_MAX)
            return problem_set(problem, COLUMNAR_OPTION, "a format of timestamps is too long");
        struct part *part = &f->parts[f->n++];
        char c = pattern.p[at];
        if (is_letter(c)) {
            if (memchr("yYMdDHhKkmsSaEeZz", c, 17) == NULL)
                return problem_set(
                    problem, COLUMNAR_OPTION,
                    "the letter '%c' in the format of timestamps '%.*s' is not known", c,
                    FMT(pattern));
            part->letter = c;
            while (part->count < UINT8_MAX && char_at(pattern, &at, c))
                part->count++;
            continue;
        }
        part->literal.p = out;
        at++;
        if (c != '\'')
            *out++ = c;
        else if (!quoted(pattern, &at, &out))
            return problem_set(problem, COLUMNAR_OPTION,
                               "a quote is not closed in the format of timestamps '%.*s'",
                               FMT(pattern));
        part->literal.n = (size_t)(out - part->literal.p);
    }
    return OK;
}

Err moment_format_open(Str pattern, ColumnarProblem *problem, struct moment_format **ret)
{
    if (pattern.n == 0 || pattern.n > PATTERN_BYTES_MAX)
        return problem_set(problem, COLUMNAR_OPTION,
                           "a format of timestamps is empty, or has more than %d bytes",
                           PATTERN_BYTES_MAX);
    AUTO(moment_format) f = xalloc(sizeof *f + pattern.n);
    f->millis = str_eq(pattern, S("millis"));
    if (!f->millis)
        TRY(compile(f, pattern, problem));
    *ret = f;
    f = NULL;
    return OK;
}

void moment_format_close(struct moment_format *f)
{
    free(f);
}

// One of some names at *at, whole or its first three letters; 1 is the first.
static bool name_at(Str s, size_t *at, const char *const *names, size_t n, int64_t *ret)
{
    Str rest = str_skip(s, *at);
    for (size_t i = 0; i < n; i++) {
        Str name = str_of(names[i]);
        bool whole = str_eq_nocase(str_head(rest, name.n), name);
        if (!whole && !str_eq_nocase(str_head(rest, 3), str_head(name, 3)))
            continue;
        *at += whole ? name.n : 3;
        *ret = (int64_t)i + 1;
        return true;
    }
    return false;
}

// +01:00, +0100, -05, Z, UTC, GMT
static bool offset_at(Str s, size_t *at, int64_t *ret)
{
    static const Str zero[] = { S_INIT("UTC"), S_INIT("GMT"), S_INIT("Z") };
    for (size_t i = 0; i < COUNT_OF(zero); i++)
        if (str_starts(str_skip(s, *at), zero[i])) {
            *at += zero[i].n;
            return true;
        }
    bool west = char_at(s, at, '-');
    int64_t hours = 0, minutes = 0;
    if ((!west && !char_at(s, at, '+')) || !digits_at(s, at, 2, 2, &hours))
        return false;
    bool more = char_at(s, at, ':') || (*at < s.n && is_digit(s.p[*at]));
    if ((more && !digits_at(s, at, 2, 2, &minutes)) || hours > 23 || minutes > 59)
        return false;
    *ret = (hours * 3600 + minutes * 60) * (west ? -1 : 1);
    return true;
}

static bool half_at(Str s, size_t *at, int64_t *ret)
{
    Str two = str_head(str_skip(s, *at), 2);
    bool pm = str_eq_nocase(two, S("pm"));
    if (!pm && !str_eq_nocase(two, S("am")))
        return false;
    *at += 2;
    *ret = pm;
    return true;
}

static bool between(int64_t x, int64_t min, int64_t max)
{
    return x >= min && x <= max;
}

// A number of up to `wide` digits; where another number follows directly, of as many as the letter
// is repeated.
static bool part_at(const struct part *part, bool tight, Str s, size_t *at, struct parts *x)
{
    size_t wide = tight ? part->count : 2;
    int64_t ignored;
    switch (part->letter) {
    case 'y':
    case 'Y': {
        size_t start = *at;
        if (!digits_at(s, at, 1, tight ? part->count : 4, &x->year))
            return false;
        if (part->count == 2 && *at - start == 2)
            x->year += x->year < 70 ? 2000 : 1900;
        return true;
    }
    case 'M':
        return part->count > 2 ? name_at(s, at, months, COUNT_OF(months), &x->month)
                               : digits_at(s, at, 1, wide, &x->month);
    case 'd':
        return digits_at(s, at, 1, wide, &x->day);
    case 'D':
        return digits_at(s, at, 1, tight ? part->count : 3, &x->day_of_year) && x->day_of_year > 0;
    case 'H':
        return digits_at(s, at, 1, wide, &x->hour) && x->hour < 24;
    case 'h':
        return digits_at(s, at, 1, wide, &x->hour) && between(x->hour, 1, 12);
    case 'K':
        return digits_at(s, at, 1, wide, &x->hour) && between(x->hour, 0, 11);
    case 'k':
        if (!digits_at(s, at, 1, wide, &x->hour) || !between(x->hour, 1, 24))
            return false;
        x->hour %= 24;
        return true;
    case 'm':
        return digits_at(s, at, 1, wide, &x->minute);
    case 's':
        return digits_at(s, at, 1, wide, &x->second);
    case 'S':
        return fraction_at(s, at, part->count, &x->ns);
    case 'a':
        return half_at(s, at, &x->half);
    case 'E':
        return name_at(s, at, weekdays, COUNT_OF(weekdays), &ignored);
    case 'e':
        return digits_at(s, at, 1, 1, &ignored);
    default: // Z z
        return offset_at(s, at, &x->offset);
    }
}

static bool is_number(const struct part *p)
{
    return p->letter != 0 && memchr("yYdDHhKkmsSe", p->letter, 12) != NULL;
}

static bool millis_read(Str s, Moment *ret)
{
    Str whole, fraction;
    int64_t ms;
    str_cut(s, '.', &whole, &fraction);
    for (size_t i = 0; i < fraction.n; i++)
        if (!is_digit(fraction.p[i]))
            return false;
    return str_i64(whole, &ms).kind == ERR_NONE && moment_millis(ms, ret);
}

bool moment_format_read(const struct moment_format *f, Str s, Moment *ret)
{
    if (f->millis)
        return millis_read(s, ret);
    struct parts x = parts_none;
    size_t at = 0;
    for (size_t i = 0; i < f->n; i++) {
        const struct part *part = &f->parts[i], *next = i + 1 < f->n ? part + 1 : NULL;
        if (part->letter == 0) {
            if (!str_starts(str_skip(s, at), part->literal))
                return false;
            at += part->literal.n;
            continue;
        }
        bool tight = next != NULL && (is_number(next) || (next->letter == 'M' && next->count <= 2));
        if (!part_at(part, tight, s, &at, &x))
            return false;
    }
    return at == s.n && moment_of_parts(&x, ret) && is_in_years(*ret);
}
