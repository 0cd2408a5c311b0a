// SPDX-License-Identifier: Apache-2.0
// ListMetrics.
#include "svc/cloudwatch/cloudwatch.h"

enum {
    LIST_METRICS_MAX = 500,              // of one answer
    ACTIVE_SECONDS = 3 * 3600 + 50 * 60, // "approximately", says AWS; last_s is late by minutes
};

static bool has_dimension(const SeriesName *n, const cloudwatch_DimensionFilter *f)
{
    for (size_t i = 0; i < n->dim_count; i++)
        if (str_eq(n->dims[i].name, f->name) &&
            (f->value.p == NULL || str_eq(n->dims[i].value, f->value)))
            return true;
    return false;
}

static bool is_wanted(const struct cloudwatch_ListMetrics_in *in, const Series *s, int64_t now_s)
{
    int64_t age_s_max = in->recently_active.p != NULL ? ACTIVE_SECONDS : SERIES_MINUTES_KEPT;
    if (in->metric_name.p != NULL && !str_eq(in->metric_name, s->name.name))
        return false;
    if (s->last_s < now_s - age_s_max)
        return false;
    for (size_t i = 0; i < in->dimensions.n; i++)
        if (!has_dimension(&s->name, &in->dimensions.at[i]))
            return false;
    return true;
}

cloudwatch_Dimensions cloudwatch_dimensions_out(struct arena *a, const SeriesName *n)
{
    cloudwatch_Dimensions d = { .set = true };
    d.at = arena_new(a, cloudwatch_Dimension, MAX(n->dim_count, (size_t)1));
    for (; d.n < n->dim_count; d.n++)
        d.at[d.n] =
            (cloudwatch_Dimension){ .name = n->dims[d.n].name, .value = n->dims[d.n].value };
    return d;
}

static Err list(struct call *c, const struct cloudwatch_ListMetrics_in *in, SeriesWalk *w,
                struct cloudwatch_ListMetrics_out *out)
{
    Series s;
    Err e = OK;
    Str last = { 0 };
    ArenaMark mark = arena_mark(c->arena);
    int64_t now_s = cloudwatch_now_s(c->state);
    while (series_next(w, &e, &s)) {
        if (!is_wanted(in, &s, now_s)) {
            arena_rewind(c->arena, mark);
            continue;
        }
        if (out->metrics.n == LIST_METRICS_MAX) {
            out->next_token = cloudwatch_token(c->arena, last);
            series_walk_end(w);
            return OK;
        }
        out->metrics.at[out->metrics.n++] =
            (cloudwatch_Metric){ .namespace = s.name.name_space,
                                 .metric_name = s.name.name,
                                 .dimensions = cloudwatch_dimensions_out(c->arena, &s.name) };
        last = w->key;
        mark = arena_mark(c->arena);
    }
    return e;
}

Err cloudwatch_ListMetrics(struct call *c, const struct cloudwatch_ListMetrics_in *in,
                           struct cloudwatch_ListMetrics_out *out)
{
    struct cloudwatch *cw = c->state;
    Str after = S("");
    SeriesName within = { .account = c->account, .region = c->region };
    if (in->next_token.n > 0)
        TRY(cloudwatch_token_open(c, in->next_token, &after));
    within.name_space = in->namespace; // and the name only behind it: keys begin with both
    if (in->namespace.p != NULL)
        within.name = in->metric_name;
    out->metrics = (cloudwatch_Metrics){ .set = true };
    out->metrics.at = arena_new(c->arena, cloudwatch_Metric, LIST_METRICS_MAX);
    AUTO(kv_txn) tx = kv_read(cw->store.series);
    SeriesWalk w = series_walk(&cw->store, tx, c->arena, &within, after);
    return list(c, in, &w, out);
}
