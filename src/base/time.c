// SPDX-License-Identifier: Apache-2.0
#include "base/time.h"

#include <string.h>

static const char *const month_names[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
static const char *const day_names[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

// Days since 1970-01-01 in the proleptic Gregorian calendar, counting years from March so that the
// leap day is the last day of a year (400 years have 146,097 days).
static int64_t days_from_civil(int64_t year, unsigned month, unsigned day)
{
    int64_t y = year - (month <= 2);
    int64_t era = floor_div(y, 400);
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

Civil time_civil(int64_t ns)
{
    int64_t ms = floor_div(ns, NS_PER_MS);
    int64_t days = floor_div(ms, 86400000);
    int64_t in_day = ms - days * 86400000;
    int64_t z = days + 719468;
    int64_t era = floor_div(z, 146097);
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    unsigned month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
    int64_t weekday = (days + 4) % 7;
    return (Civil){
        .year = yoe + era * 400 + (month <= 2),
        .month = month,
        .day = (unsigned)(doy - (153 * mp + 2) / 5 + 1),
        .weekday = (unsigned)(weekday < 0 ? weekday + 7 : weekday),
        .hour = (unsigned)(in_day / 3600000),
        .minute = (unsigned)(in_day / 60000 % 60),
        .second = (unsigned)(in_day / 1000 % 60),
        .ms = (unsigned)(in_day % 1000),
    };
}

int64_t time_from_civil(Civil c)
{
    int64_t seconds = days_from_civil(c.year, c.month, c.day) * 86400 + (int64_t)c.hour * 3600 +
                      (int64_t)c.minute * 60 + c.second;
    return seconds * NS_PER_S + (int64_t)c.ms * NS_PER_MS;
}

Str time_http(struct arena *a, int64_t ns)
{
    Civil c = time_civil(ns);
    return str_fmt(a, "%s, %02u %s %04lld %02u:%02u:%02u GMT", day_names[c.weekday], c.day,
                   month_names[c.month - 1], (long long)c.year, c.hour, c.minute, c.second);
}

Str time_basic(struct arena *a, int64_t ns)
{
    Civil c = time_civil(ns);
    return str_fmt(a, "%04lld%02u%02uT%02u%02u%02uZ", (long long)c.year, c.month, c.day, c.hour,
                   c.minute, c.second);
}

Str time_iso_ms(struct arena *a, int64_t ns)
{
    Civil c = time_civil(ns);
    return str_fmt(a, "%04lld-%02u-%02uT%02u:%02u:%02u.%03uZ", (long long)c.year, c.month, c.day,
                   c.hour, c.minute, c.second, c.ms);
}

Str time_java(struct arena *a, int64_t ns)
{
    Civil c = time_civil(ns);
    return str_fmt(a, "%s %s %02u %02u:%02u:%02u UTC %04lld", day_names[c.weekday],
                   month_names[c.month - 1], c.day, c.hour, c.minute, c.second, (long long)c.year);
}

// Reads exactly `digits` digits at *at and moves past them.
static bool number_at(Str s, size_t *at, size_t digits, unsigned *ret)
{
    if (s.n < digits || *at > s.n - digits)
        return false;
    unsigned value = 0;
    for (size_t i = 0; i < digits; i++) {
        char c = s.p[*at + i];
        if (c < '0' || c > '9')
            return false;
        value = value * 10 + (unsigned)(c - '0');
    }
    *at += digits;
    *ret = value;
    return true;
}

static bool byte_at(Str s, size_t *at, char c)
{
    if (*at >= s.n || s.p[*at] != c)
        return false;
    (*at)++;
    return true;
}

static bool in_range(const Civil *c)
{
    static const unsigned char days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    return c->year >= 1 && c->month >= 1 && c->month <= 12 && c->day >= 1 &&
           c->day <= days[c->month - 1] && c->hour < 24 && c->minute < 60 && c->second <= 60;
}

static bool year_at(Str s, size_t *at, Civil *c)
{
    unsigned year;
    if (!number_at(s, at, 4, &year))
        return false;
    c->year = year;
    return true;
}

Err time_parse_basic(Str s, int64_t *ret_ns)
{
    Civil c = { 0 };
    size_t at = 0;
    bool good = year_at(s, &at, &c) && number_at(s, &at, 2, &c.month) &&
                number_at(s, &at, 2, &c.day) && byte_at(s, &at, 'T') &&
                number_at(s, &at, 2, &c.hour) && number_at(s, &at, 2, &c.minute) &&
                number_at(s, &at, 2, &c.second) && byte_at(s, &at, 'Z') && at == s.n;
    if (!good || !in_range(&c) || c.year > 2250)
        return fail(ERR_INVALID, "not a date of the form YYYYMMDDTHHMMSSZ");
    *ret_ns = time_from_civil(c);
    return OK;
}

static bool month_at(Str s, size_t *at, unsigned *ret)
{
    if (s.n < 3 || *at > s.n - 3)
        return false;
    for (unsigned i = 0; i < COUNT_OF(month_names); i++)
        if (memcmp(s.p + *at, month_names[i], 3) == 0) {
            *at += 3;
            *ret = i + 1;
            return true;
        }
    return false;
}

Err time_parse_http(Str s, int64_t *ret_ns)
{
    Civil c = { 0 };
    size_t at = str_find(s, ',');
    bool good = byte_at(s, &at, ',') && byte_at(s, &at, ' ') && number_at(s, &at, 2, &c.day) &&
                byte_at(s, &at, ' ') && month_at(s, &at, &c.month) && byte_at(s, &at, ' ') &&
                year_at(s, &at, &c) && byte_at(s, &at, ' ') && number_at(s, &at, 2, &c.hour) &&
                byte_at(s, &at, ':') && number_at(s, &at, 2, &c.minute) && byte_at(s, &at, ':') &&
                number_at(s, &at, 2, &c.second) && str_eq(str_skip(s, at), S(" GMT"));
    if (!good || !in_range(&c) || c.year > 2250)
        return fail(ERR_INVALID, "not an HTTP date");
    *ret_ns = time_from_civil(c);
    return OK;
}

// The fraction of a second: any number of digits, of which the first three count.
static void fraction_at(Str s, size_t *at, unsigned *ret_ms)
{
    unsigned weight = 100, digit;
    while (number_at(s, at, 1, &digit)) {
        *ret_ms += digit * weight;
        weight /= 10;
    }
}

Err time_parse_iso(Str s, int64_t *ret_ns)
{
    Civil c = { 0 };
    size_t at = 0;
    bool good = year_at(s, &at, &c) && byte_at(s, &at, '-') && number_at(s, &at, 2, &c.month) &&
                byte_at(s, &at, '-') && number_at(s, &at, 2, &c.day) && byte_at(s, &at, 'T') &&
                number_at(s, &at, 2, &c.hour) && byte_at(s, &at, ':') &&
                number_at(s, &at, 2, &c.minute) && byte_at(s, &at, ':') &&
                number_at(s, &at, 2, &c.second);
    if (good && byte_at(s, &at, '.'))
        fraction_at(s, &at, &c.ms);
    int64_t offset_minutes = 0;
    if (good && at < s.n && !byte_at(s, &at, 'Z')) {
        int64_t sign = s.p[at] == '-' ? -1 : 1;
        unsigned hours = 0, minutes = 0;
        good = (byte_at(s, &at, '+') || byte_at(s, &at, '-')) && number_at(s, &at, 2, &hours) &&
               byte_at(s, &at, ':') && number_at(s, &at, 2, &minutes);
        offset_minutes = sign * ((int64_t)hours * 60 + minutes);
    }
    if (!good || at != s.n || !in_range(&c) || c.year > 2250)
        return fail(ERR_INVALID, "not an ISO 8601 date and time");
    *ret_ns = time_from_civil(c) - offset_minutes * 60 * NS_PER_S;
    return OK;
}
