// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/insights_run.h"
#include "base/map.h"

#include <stdlib.h>

// All metrics of a group together.
struct group {
    Str label;
    const Str *values; // of the groups; NULL: there are none
    StatSet *periods;  // of the window
    StatSet whole;
    double order;
    bool has_order;
};

struct running {
    const Insights *q;
    const struct series_store *store;
    struct kv_txn *tx;
    struct arena *a;
    const Window *w;
    struct map *by_label; // label -> struct group, in the arena
    struct group **groups;
    size_t n, cap;
};

static Str label_of(struct arena *a, const Insights *q, const SeriesName *name)
{
    Str label = S("");
    for (size_t i = 0; i < q->group_count; i++)
        label = str_cat3(a, label, i > 0 ? S(" ") : S(""), insights_dimension(name, q->groups[i]));
    return label;
}

static const Str *values_of(struct arena *a, const Insights *q, const SeriesName *name)
{
    if (q->group_count == 0)
        return NULL;
    Str *values = arena_new(a, Str, q->group_count);
    for (size_t i = 0; i < q->group_count; i++)
        values[i] = str_dup(a, insights_dimension(name, q->groups[i]));
    return values;
}

static Err group_of(struct running *r, const SeriesName *name, struct group **ret)
{
    Str label = label_of(r->a, r->q, name);
    *ret = map_get(r->by_label, label);
    if (*ret != NULL)
        return OK;
    if ((r->n + 1) * window_periods(r->w) > MATH_POINTS_MAX)
        return fail(ERR_LIMIT, "a query makes too many points");
    if (r->n == r->cap) {
        size_t cap = MAX(2 * r->cap, (size_t)16);
        struct group **wider = arena_new(r->a, struct group *, cap);
        for (size_t i = 0; i < r->n; i++)
            wider[i] = r->groups[i];
        r->groups = wider;
        r->cap = cap;
    }
    struct group *g = arena_new(r->a, struct group, 1);
    g->label = label;
    g->values = values_of(r->a, r->q, name);
    g->periods = arena_new(r->a, StatSet, MAX(window_periods(r->w), (size_t)1));
    r->groups[r->n++] = g;
    map_put(r->by_label, label, g);
    *ret = g;
    return OK;
}

static Err add_metric(struct running *r, const SeriesName *name)
{
    AUTO(arena) tmp = arena_open();
    struct group *g = NULL;
    Fetched f = { 0 };
    TRY(fetch_points(r->store, r->tx, tmp, name, r->w, UNITS, false, &f));
    if (f.unit_count == 0)
        return OK;
    TRY(group_of(r, name, &g));
    for (size_t i = 0; i < window_periods(r->w); i++) {
        statset_merge(r->a, &g->periods[i], &f.units[0].periods[i]);
        statset_merge(r->a, &g->whole, &f.units[0].periods[i]);
    }
    return OK;
}

// The metrics that are meant, as many as one query may look at.
static Err gather(struct running *r, Str account, Str region)
{
    SeriesName within = {
        .account = account, .region = region, .name_space = r->q->name_space, .name = r->q->metric
    };
    AUTO(arena) tmp = arena_open();
    Series found;
    size_t looked_at = 0;
    Err e = OK;
    SeriesWalk w = series_walk(r->store, r->tx, tmp, &within, S(""));
    ArenaMark mark = arena_mark(tmp);
    while (looked_at < INSIGHTS_METRICS_MAX && series_next(&w, &e, &found)) {
        if (insights_matches(r->q, &found.name)) {
            looked_at++;
            e = add_metric(r, &found.name);
        }
        arena_rewind(tmp, mark);
        if (e.kind != ERR_NONE)
            break;
    }
    series_walk_end(&w);
    return e;
}

static int by_label(const void *x, const void *y)
{
    return str_cmp((*(struct group *const *)x)->label, (*(struct group *const *)y)->label);
}

static int by_order(const void *x, const void *y)
{
    const struct group *a = *(struct group *const *)x, *b = *(struct group *const *)y;
    if (a->has_order != b->has_order)
        return a->has_order ? -1 : 1;
    if (a->order != b->order)
        return a->order < b->order ? -1 : 1;
    return str_cmp(a->label, b->label);
}

static void sort(struct running *r)
{
    if (r->n == 0)
        return;
    qsort(r->groups, r->n, sizeof(struct group *), by_label);
    if (!r->q->is_ordered)
        return;
    for (size_t i = 0; i < r->n; i++) {
        struct group *g = r->groups[i];
        g->has_order = stat_value(&r->q->order, &g->whole, &g->order);
        if (r->q->descends)
            g->order = -g->order;
    }
    qsort(r->groups, r->n, sizeof(struct group *), by_order);
}

static MathSeries series_of(const struct running *r, const struct group *g)
{
    size_t periods = window_periods(r->w);
    MathSeries s = { .label = g->label, .group_values = g->values, .period_s = r->w->period_s };
    s.at_s = arena_new(r->a, int64_t, MAX(periods, (size_t)1));
    s.value = arena_new(r->a, double, MAX(periods, (size_t)1));
    for (size_t i = 0; i < periods; i++)
        if (stat_value(&r->q->function, &g->periods[i], &s.value[s.n]))
            s.at_s[s.n++] = r->w->from_s + (int64_t)i * r->w->period_s;
    return s;
}

Err insights_run(const Insights *q, const struct series_store *store, struct kv_txn *tx,
                 struct arena *a, Str account, Str region, const Window *w, MathValue *ret)
{
    struct running r = { .q = q, .store = store, .tx = tx, .a = a, .w = w };
    r.by_label = map_open();
    Err e = gather(&r, account, region);
    map_close(r.by_label);
    TRY(e);
    sort(&r);
    MathValue v = { .kind = q->group_count > 0 ? MATH_LIST : MATH_SERIES };
    v.n = MIN(r.n, q->limit);
    v.series = arena_new(a, MathSeries, MAX(v.n, (size_t)1));
    for (size_t i = 0; i < v.n; i++)
        v.series[i] = series_of(&r, r.groups[i]);
    if (v.kind == MATH_SERIES) // also of no metrics one, without points
        v.n = 1;
    *ret = v;
    return OK;
}
