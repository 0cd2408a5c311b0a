// SPDX-License-Identifier: Apache-2.0
//     rate(4 hours) .. rate(999 days)
//     cron(0 HOURS DAY-OF-MONTH MONTH DAY-OF-WEEK *)     of the two days one is "?"
//
// A field is a list of values, ranges and steps: "8,20", "MON-FRI", "*", "4/12". Days of the month
// may be "L" (the last), days of the week "L" (Saturday), "FRIL" (the last Friday) and "SUN#1" (the
// first Sunday). Windows open on the hour, four hours apart at least, a year at most; a secret is
// rotated when its window opens, or as soon as somebody comes to it.
#include "svc/secretsmanager/schedule.h"
#include "base/time.h"

enum { DAYS_MAX = 999, HOURS_MIN = 4, HOURS_OF_DAY = 24, YEAR_DAYS = 366, SEARCH_DAYS = 8 * 366 };
#define HOUR_MS (INT64_C(3600) * 1000)
#define DAY_MS (HOURS_OF_DAY * HOUR_MS)

// ---- rate(...)

typedef struct Rate {
    int64_t n; // 0: it is none
    bool in_days;
} Rate;

static bool inside(Str e, Str head, Str *ret)
{
    if (!str_starts(e, head) || !str_ends(e, S(")")))
        return false;
    *ret = str_skip(str_head(e, e.n - 1), head.n);
    return true;
}

static Rate rate_of(Str e)
{
    Str number, unit;
    int64_t n;
    if (!inside(e, S("rate("), &e) || !str_cut(e, ' ', &number, &unit) ||
        str_i64(number, &n).kind != ERR_NONE || n < 1 || n > DAYS_MAX)
        return (Rate){ 0 };
    if (str_eq(unit, S("day")) || str_eq(unit, S("days")))
        return (Rate){ n, true };
    bool hours = str_eq(unit, S("hour")) || str_eq(unit, S("hours"));
    return hours && n >= HOURS_MIN ? (Rate){ n, false } : (Rate){ 0 };
}

// ---- cron(...)

typedef struct Cron {
    uint32_t hours, days, months, weekdays; // a bit for each value; weekdays: 1 is Sunday
    bool by_weekday;
    bool last;    // day of the month, or of the weekday in the month
    unsigned nth; // of the weekday in the month; 0: all
} Cron;

typedef struct Field {
    int64_t min, max;
    const char *const *names; // of min and those that follow; NULL: none
} Field;

static const char *const month_names[] = { "JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                           "JUL", "AUG", "SEP", "OCT", "NOV", "DEC" };
static const char *const weekday_names[] = { "SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT" };
static const Field of_hours = { 0, 23, NULL };
static const Field of_days = { 1, 31, NULL };
static const Field of_months = { 1, 12, month_names };
static const Field of_weekdays = { 1, 7, weekday_names };

static bool read_value(const Field *f, Str text, int64_t *ret)
{
    for (int64_t i = 0; f->names != NULL && i <= f->max - f->min; i++)
        if (str_eq_nocase(text, str_of(f->names[i]))) {
            *ret = f->min + i;
            return true;
        }
    return str_i64(text, ret).kind == ERR_NONE && *ret >= f->min && *ret <= f->max;
}

// One of a list: "*", "a", "a-b", each with "/step"; "a/step" goes on to the end.
static bool read_part(const Field *f, Str text, uint32_t *bits)
{
    Str range, step_text, first, last;
    int64_t from = f->min, to = f->max, step = 1;
    bool has_step = str_cut(text, '/', &range, &step_text);
    if (has_step && (str_i64(step_text, &step).kind != ERR_NONE || step < 1 || step > f->max))
        return false;
    if (!str_eq(range, S("*"))) {
        bool has_end = str_cut(range, '-', &first, &last);
        if (!read_value(f, first, &from))
            return false;
        if (!has_step)
            to = from;
        if (has_end && (!read_value(f, last, &to) || to < from))
            return false;
    }
    for (int64_t i = from; i <= to; i += step)
        *bits |= UINT32_C(1) << i;
    return true;
}

static bool read_field(const Field *f, Str text, uint32_t *bits)
{
    Str part;
    bool more = true;
    while (more) {
        more = str_cut(text, ',', &part, &text);
        if (!read_part(f, part, bits))
            return false;
    }
    return true;
}

static bool read_days(Str text, Cron *ret)
{
    ret->last = str_eq(text, S("L"));
    return ret->last || read_field(&of_days, text, &ret->days);
}

static bool read_weekdays(Str text, Cron *ret)
{
    Str day, nth;
    int64_t n;
    ret->by_weekday = true;
    if (str_cut(text, '#', &day, &nth)) {
        if (str_i64(nth, &n).kind != ERR_NONE || n < 1 || n > 5)
            return false;
        ret->nth = (unsigned)n;
    } else if (text.n > 1 && str_ends(text, S("L"))) {
        day = str_head(text, text.n - 1);
        ret->last = true;
    } else {
        if (str_eq(text, S("L")))
            text = S("SAT");
        return read_field(&of_weekdays, text, &ret->weekdays);
    }
    bool good = read_value(&of_weekdays, day, &n);
    ret->weekdays = good ? UINT32_C(1) << n : 0;
    return good;
}

static bool cron_of(Str e, Cron *ret)
{
    enum { MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS, YEARS, FIELDS };
    Str field[FIELDS], rest;
    size_t n = 0;
    *ret = (Cron){ 0 };
    if (!inside(e, S("cron("), &rest))
        return false;
    for (bool more = true; more; n++) {
        if (n == FIELDS)
            return false;
        more = str_cut(rest, ' ', &field[n], &rest);
    }
    if (n < FIELDS || !str_eq(field[MINUTES], S("0")) || !str_eq(field[YEARS], S("*")))
        return false;
    bool any_day = str_eq(field[DAYS], S("?")), any_weekday = str_eq(field[WEEKDAYS], S("?"));
    if (any_day == any_weekday || !read_field(&of_hours, field[HOURS], &ret->hours) ||
        !read_field(&of_months, field[MONTHS], &ret->months))
        return false;
    return any_day ? read_weekdays(field[WEEKDAYS], ret) : read_days(field[DAYS], ret);
}

static bool has_bit(uint32_t bits, unsigned i)
{
    return (bits >> i & 1) != 0;
}

static bool has_day(const Cron *c, int64_t day_ms)
{
    Civil d = time_civil(day_ms * NS_PER_MS);
    int64_t ahead_ms = (c->by_weekday ? 7 : 1) * DAY_MS;
    bool is_last = time_civil((day_ms + ahead_ms) * NS_PER_MS).month != d.month;
    if (!has_bit(c->months, d.month) || (c->last && !is_last))
        return false;
    if (!c->by_weekday)
        return c->last || has_bit(c->days, d.day);
    return has_bit(c->weekdays, d.weekday + 1) && (c->nth == 0 || (d.day - 1) / 7 + 1 == c->nth);
}

// Within so many days; 0: none.
static int64_t cron_next_ms(const Cron *c, int64_t after_ms, int64_t days)
{
    int64_t first_ms = after_ms / DAY_MS * DAY_MS;
    for (int64_t day_ms = first_ms; day_ms <= first_ms + days * DAY_MS; day_ms += DAY_MS) {
        if (!has_day(c, day_ms))
            continue;
        for (unsigned h = 0; h < HOURS_OF_DAY; h++)
            if (has_bit(c->hours, h) && day_ms + h * HOUR_MS > after_ms)
                return day_ms + h * HOUR_MS;
    }
    return 0;
}

// Between two of them, as if days followed each other; of one a day there are 24.
static int64_t least_hours_between(const Cron *c)
{
    int64_t least = HOURS_OF_DAY, before = -1;
    for (int64_t h = 0; h < 2 * HOURS_OF_DAY; h++) {
        if (!has_bit(c->hours, (unsigned)(h % HOURS_OF_DAY)))
            continue;
        if (before >= 0)
            least = MIN(least, h - before);
        before = h;
    }
    return least;
}

// ---- Rules

#define NO_SCHEDULE                                                                          \
    "Invalid ScheduleExpression: it is rate(4 hours) to rate(999 days), or cron(0 HOURS "    \
    "DAY-OF-MONTH MONTH DAY-OF-WEEK *) with at least four hours and at most a year between " \
    "rotations."
#define NO_WINDOW \
    "The rotation window must not extend into the next UTC day or into the next rotation window."

static int64_t window_hours(const struct secretsmanager_RotationRulesType *r)
{
    int64_t n;
    Str text = r->duration;
    return text.n > 0 && str_i64(str_head(text, text.n - 1), &n).kind == ERR_NONE ? n : -1;
}

// How many hours a window may have.
static int64_t window_hours_max(const struct secretsmanager_RotationRulesType *r)
{
    Rate rate = rate_of(r->schedule_expression);
    Cron c;
    int64_t last = 0;
    if (rate.n > 0 && !rate.in_days)
        return MIN(rate.n, (int64_t)HOURS_OF_DAY);
    if (!cron_of(r->schedule_expression, &c))
        return HOURS_OF_DAY;
    for (unsigned h = 0; h < HOURS_OF_DAY; h++)
        if (has_bit(c.hours, h))
            last = h;
    return MIN(HOURS_OF_DAY - last, least_hours_between(&c));
}

Str schedule_objection(const struct secretsmanager_RotationRulesType *r, int64_t now_ms)
{
    Cron c;
    if (r->has_automatically_after_days && r->schedule_expression.p != NULL) // AWS's text
        return S("You cannot specify both rotation frequency and schedule expression together.");
    if (!r->has_automatically_after_days && r->schedule_expression.p == NULL)
        return S("You must specify either AutomaticallyAfterDays or ScheduleExpression.");
    if (!r->has_automatically_after_days && rate_of(r->schedule_expression).n == 0 &&
        !(cron_of(r->schedule_expression, &c) && least_hours_between(&c) >= HOURS_MIN &&
          cron_next_ms(&c, now_ms, YEAR_DAYS) > 0))
        return S(NO_SCHEDULE);
    int64_t hours = window_hours(r);
    bool fits = r->duration.p == NULL || (hours >= 1 && hours <= window_hours_max(r));
    return fits ? (Str){ 0 } : S(NO_WINDOW);
}

int64_t schedule_next_ms(const struct secretsmanager_RotationRulesType *r, int64_t after_ms)
{
    Cron c;
    if (r == NULL)
        return 0;
    if (r->has_automatically_after_days)
        return after_ms + r->automatically_after_days * DAY_MS;
    if (cron_of(r->schedule_expression, &c))
        return cron_next_ms(&c, after_ms, SEARCH_DAYS);
    Rate rate = rate_of(r->schedule_expression);
    if (rate.n == 0)
        return 0;
    int64_t next_ms = after_ms + rate.n * (rate.in_days ? DAY_MS : HOUR_MS);
    // Windows of a day open at midnight; without a length they last until the next one.
    return rate.in_days && r->duration.p != NULL ? next_ms / DAY_MS * DAY_MS : next_ms;
}
