// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/statset.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- Sets

StatSet statset_of(struct arena *a, double value, double count)
{
    StatSet s = { 0 };
    if (count <= 0)
        return s;
    s = (StatSet){ .count = count, .sum = value * count, .min = value, .max = value };
    s.bins = arena_new(a, StatBin, 1);
    s.bins[0] = (StatBin){ value, count };
    s.bin_count = 1;
    return s;
}

StatSet statset_of_sums(struct arena *a, double count, double sum, double min, double max)
{
    if (count > 0 && (min == max || count == 1)) {
        StatSet s = statset_of(a, min, count);
        s.sum = sum;
        s.max = max;
        return s;
    }
    return (StatSet){ .count = count, .sum = sum, .min = min, .max = max, .blurred = count > 0 };
}

// Whether two neighbours may count as one: they differ by no more than this part of the greater.
static bool is_near(double x, double y, double part)
{
    return fabs(y - x) <= part * MAX(fabs(x), fabs(y));
}

// Joins neighbours of the sorted bins into their mean until few enough are left.
static size_t join_bins(StatBin *bins, size_t n)
{
    for (double part = 0.01; n > STATSET_BINS_MAX; part *= 2) {
        size_t kept = 1;
        double first = bins[0].value; // of the run that is joined
        for (size_t i = 1; i < n; i++) {
            StatBin *last = &bins[kept - 1];
            if (is_near(first, bins[i].value, part)) {
                double count = last->count + bins[i].count;
                last->value += (bins[i].value - last->value) * (bins[i].count / count);
                last->count = count;
            } else {
                bins[kept++] = bins[i];
                first = bins[i].value;
            }
        }
        n = kept;
    }
    return n;
}

static int by_value(const void *x, const void *y)
{
    const StatBin *a = x, *b = y;
    return a->value < b->value ? -1 : a->value > b->value;
}

StatSet statset_of_values(struct arena *a, const double *values, const double *counts, size_t n)
{
    StatSet s = { 0 };
    size_t used = 0, kept = 0;
    StatBin *bins = arena_new(a, StatBin, n);
    for (size_t i = 0; i < n; i++) {
        double count = counts != NULL ? counts[i] : 1;
        if (count <= 0)
            continue;
        bins[used++] = (StatBin){ values[i], count };
        s.count += count;
        s.sum += values[i] * count;
    }
    if (used == 0)
        return s;
    qsort(bins, used, sizeof *bins, by_value);
    s.min = bins[0].value;
    s.max = bins[used - 1].value;
    for (size_t i = 0; i < used; i++) {
        if (kept > 0 && bins[kept - 1].value == bins[i].value)
            bins[kept - 1].count += bins[i].count;
        else
            bins[kept++] = bins[i];
    }
    s.bins = bins;
    s.bin_count = join_bins(bins, kept);
    return s;
}

static void merge_bins(struct arena *a, StatSet *into, const StatSet *more)
{
    size_t n = 0, i = 0, j = 0;
    StatBin *bins = arena_new(a, StatBin, into->bin_count + more->bin_count);
    while (i < into->bin_count || j < more->bin_count) {
        bool left = j == more->bin_count ||
                    (i < into->bin_count && into->bins[i].value <= more->bins[j].value);
        StatBin b = left ? into->bins[i++] : more->bins[j++];
        if (n > 0 && bins[n - 1].value == b.value)
            bins[n - 1].count += b.count;
        else
            bins[n++] = b;
    }
    into->bins = bins;
    into->bin_count = join_bins(bins, n);
}

void statset_merge(struct arena *a, StatSet *into, const StatSet *more)
{
    if (more->count <= 0)
        return;
    bool first = into->count <= 0;
    into->min = first ? more->min : MIN(into->min, more->min);
    into->max = first ? more->max : MAX(into->max, more->max);
    into->count += more->count;
    into->sum += more->sum;
    into->blurred = into->blurred || more->blurred;
    if (more->bin_count > 0)
        merge_bins(a, into, more);
}

// ---- Names

static bool number_at(Str s, double *ret)
{
    for (size_t i = 0; i < s.n; i++) // no "inf", no hexadecimal
        if (strchr("0123456789.eE+-", s.p[i]) == NULL)
            return false;
    return str_double(s, ret).kind == ERR_NONE;
}

static bool percent_at(Str s, double *ret)
{
    return number_at(s, ret) && *ret >= 0 && *ret <= 100;
}

// "10%:90%", "10:90", with either end left out.
static Err parse_bounds(Str text, Stat *s)
{
    Str low, high;
    if (!str_cut(text, ':', &low, &high) || (low.n == 0 && high.n == 0))
        return fail(ERR_INVALID, "a statistic needs bounds");
    bool percent = str_ends(low, S("%")) || str_ends(high, S("%"));
    s->by_value = !percent;
    s->low = percent ? 0 : -HUGE_VAL;
    s->high = percent ? 100 : HUGE_VAL;
    Str *const ends[] = { &low, &high };
    double *const values[] = { &s->low, &s->high };
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        Str end = *ends[i];
        if (end.n == 0)
            continue;
        if (percent != str_ends(end, S("%")))
            return fail(ERR_INVALID, "both bounds of a statistic are per cent, or neither");
        if (percent ? !percent_at(str_head(end, end.n - 1), values[i]) : !number_at(end, values[i]))
            return fail(ERR_INVALID, "a bound of a statistic is no number");
    }
    return s->low <= s->high ? OK : fail(ERR_INVALID, "the bounds of a statistic are reversed");
}

Err stat_parse(Str name, Stat *ret)
{
    static const struct {
        Str name;
        StatKind kind;
    } simple[] = { { S_INIT("SampleCount"), STAT_COUNT },
                   { S_INIT("Average"), STAT_AVERAGE },
                   { S_INIT("Sum"), STAT_SUM },
                   { S_INIT("Minimum"), STAT_MIN },
                   { S_INIT("Maximum"), STAT_MAX } },
      short_forms[] = { { S_INIT("p"), STAT_PERCENTILE },
                        { S_INIT("tm"), STAT_TRIMMED_MEAN },
                        { S_INIT("tc"), STAT_TRIMMED_COUNT },
                        { S_INIT("ts"), STAT_TRIMMED_SUM },
                        { S_INIT("wm"), STAT_WINSORIZED_MEAN } },
      long_forms[] = { { S_INIT("TM("), STAT_TRIMMED_MEAN },
                       { S_INIT("TC("), STAT_TRIMMED_COUNT },
                       { S_INIT("TS("), STAT_TRIMMED_SUM },
                       { S_INIT("WM("), STAT_WINSORIZED_MEAN },
                       { S_INIT("PR("), STAT_PERCENTILE_RANK } };
    *ret = (Stat){ .high = 100 };
    if (str_eq(name, S("IQM"))) {
        *ret = (Stat){ .kind = STAT_TRIMMED_MEAN, .low = 25, .high = 75 };
        return OK;
    }
    for (size_t i = 0; i < COUNT_OF(simple); i++)
        if (str_eq(name, simple[i].name)) {
            ret->kind = simple[i].kind;
            return OK;
        }
    for (size_t i = 0; i < COUNT_OF(short_forms); i++) {
        ret->kind = short_forms[i].kind;
        if (str_starts(name, short_forms[i].name) &&
            percent_at(str_skip(name, short_forms[i].name.n), &ret->high))
            return OK;
    }
    for (size_t i = 0; i < COUNT_OF(long_forms); i++) {
        Str start = long_forms[i].name;
        ret->kind = long_forms[i].kind;
        if (!str_starts(name, start) || !str_ends(name, S(")")))
            continue;
        TRY(parse_bounds(str_head(str_skip(name, start.n), name.n - start.n - 1), ret));
        return ret->kind == STAT_PERCENTILE_RANK && !ret->by_value
                   ? fail(ERR_INVALID, "the bounds of a percentile rank are values")
                   : OK;
    }
    return fail(ERR_INVALID, "no statistic has this name");
}

// ---- Values

// The least value that so many per cent of the values do not exceed.
static double value_at(const StatSet *set, double percent)
{
    double wanted = set->count * percent / 100, seen = 0;
    for (size_t i = 0; i < set->bin_count; i++) {
        seen += set->bins[i].count;
        if (seen >= wanted)
            return MIN(MAX(set->bins[i].value, set->min), set->max);
    }
    return set->max;
}

// How many of the values of bin i lie between the bounds; `before` is the number of those less.
static double inside(const Stat *s, const StatSet *set, size_t i, double before)
{
    const StatBin *b = &set->bins[i];
    if (s->by_value)
        return b->value > s->low && b->value <= s->high ? b->count : 0;
    double from = MAX(before, set->count * s->low / 100);
    double to = MIN(before + b->count, set->count * s->high / 100);
    return MAX(to - from, 0);
}

static bool trimmed(const Stat *s, const StatSet *set, double *ret)
{
    double before = 0, count = 0, sum = 0, outside = 0;
    double low = s->by_value ? s->low : value_at(set, s->low);
    double high = s->by_value ? s->high : value_at(set, s->high);
    for (size_t i = 0; i < set->bin_count; i++) {
        double in = inside(s, set, i, before), value = set->bins[i].value;
        double bound = MIN(MAX(value, low), high); // where what lies outside ends
        count += in;
        sum += in * value;
        outside += (set->bins[i].count - in) * bound;
        before += set->bins[i].count;
    }
    if (s->kind == STAT_TRIMMED_COUNT)
        *ret = count;
    else if (s->kind == STAT_TRIMMED_SUM)
        *ret = sum;
    else if (s->kind == STAT_PERCENTILE_RANK)
        *ret = count / set->count * 100;
    else if (s->kind == STAT_WINSORIZED_MEAN)
        *ret = (sum + outside) / set->count;
    else if (count > 0)
        *ret = sum / count;
    else
        return false;
    return true;
}

bool stat_value(const Stat *s, const StatSet *set, double *ret)
{
    if (set->count <= 0 || (s->kind >= STAT_PERCENTILE && set->blurred))
        return false;
    switch (s->kind) {
    case STAT_COUNT:
        *ret = set->count;
        return true;
    case STAT_AVERAGE:
        *ret = set->sum / set->count;
        return true;
    case STAT_SUM:
        *ret = set->sum;
        return true;
    case STAT_MIN:
        *ret = set->min;
        return true;
    case STAT_MAX:
        *ret = set->max;
        return true;
    case STAT_PERCENTILE:
        *ret = value_at(set, s->high);
        return true;
    default:
        return trimmed(s, set, ret);
    }
}
