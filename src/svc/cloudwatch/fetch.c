// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/fetch.h"

#include <stdlib.h>

enum { MINUTE_S = 60 };

struct fetch {
    struct arena *a;
    const Window *w;
    unsigned unit;
    bool bins;
    Fetched *into;
};

size_t window_periods(const Window *w)
{
    return w->from_s < w->to_s ? (size_t)((w->to_s - w->from_s - 1) / w->period_s + 1) : 0;
}

static StatSet *periods_of(struct fetch *f, unsigned unit)
{
    Fetched *into = f->into;
    for (size_t i = 0; i < into->unit_count; i++)
        if (into->units[i].unit == unit)
            return into->units[i].periods;
    StatSet *periods = arena_new(f->a, StatSet, MAX(window_periods(f->w), (size_t)1));
    into->units[into->unit_count++] = (UnitPoints){ .unit = unit, .periods = periods };
    return periods;
}

static Err take_point(void *self, int64_t at_s, unsigned unit, const StatSet *set)
{
    struct fetch *f = self;
    if ((f->unit != UNITS && unit != f->unit) || at_s < f->w->from_s)
        return OK;
    StatSet point = *set;
    if (!f->bins)
        point.bin_count = 0;
    statset_merge(f->a, &periods_of(f, unit)[(at_s - f->w->from_s) / f->w->period_s], &point);
    return OK;
}

static int by_unit_name(const void *x, const void *y)
{
    return str_cmp(unit_name(((const UnitPoints *)x)->unit),
                   unit_name(((const UnitPoints *)y)->unit));
}

Err fetch_points(const struct series_store *s, struct kv_txn *tx, struct arena *a,
                 const SeriesName *name, const Window *w, unsigned unit, bool bins, Fetched *ret)
{
    AUTO(arena) tmp = arena_open();
    Series series;
    Fetched fetched = { 0 };
    struct fetch f = { .a = a, .w = w, .unit = unit, .bins = bins, .into = &fetched };
    Err e = series_find(s, tx, tmp, name, &series);
    // Points lie no further apart than they are kept, so that a long time is not walked in vain.
    if (e.kind == ERR_NONE)
        e = series_points(s, tx, tmp, series.id, w->period_s < MINUTE_S,
                          MAX(w->from_s, series.last_s - SERIES_MINUTES_KEPT - SERIES_LAST_LATE_S),
                          MIN(w->to_s, series.last_s + SERIES_LAST_LATE_S), take_point, &f);
    if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
        return e;
    if (fetched.unit_count > 0)
        qsort(fetched.units, fetched.unit_count, sizeof *fetched.units, by_unit_name);
    *ret = fetched;
    return OK;
}
