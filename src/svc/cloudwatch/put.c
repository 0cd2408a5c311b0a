// SPDX-License-Identifier: Apache-2.0
// PutMetricData. All of a request is one transaction; its answer is made after the commit.
//
// Texts on record of AWS: those of Timestamp and of the sizes of collections, and that all that is
// wrong is told, a line each. The others are in their manner.
#include "base/time.h"
#include "svc/cloudwatch/cloudwatch.h"

#include <math.h>

enum {
    PUT_DATA_MAX = 1000,
    PUT_VALUES_MAX = 150,
    PUT_PAST_S = 14 * 24 * 3600,
    PUT_FUTURE_S = 2 * 3600,
    PUT_ERRORS_MAX = 20, // told of one request
};
#define PUT_VALUE_MAX 2.3485425827738332e108 // 2^360

// What is wrong: of the first kind that was found, one line each.
struct findings {
    struct call *c;
    const struct api_error *error;
    struct buf text;
    size_t n;
};

static void note_finding(struct findings *f, const struct api_error *error, Str text)
{
    if (f->error == NULL)
        f->error = error;
    if (f->error != error || f->n++ >= PUT_ERRORS_MAX)
        return;
    buf_add(&f->text, f->text.n > 0 ? S("\n") : S(""));
    buf_add(&f->text, text);
}

#define FIND(f, error, ...) \
    note_finding(f, &cloudwatch_##error##Exception, str_fmt((f)->c->arena, __VA_ARGS__))

static Str real_text(struct arena *a, double value)
{
    return isnan(value)   ? S("NaN")
           : isinf(value) ? (value > 0 ? S("Infinity") : S("-Infinity"))
                          : str_fmt(a, "%.17g", value);
}

static void check_value(struct findings *f, double value, Str parameter)
{
    if (!(fabs(value) <= PUT_VALUE_MAX))
        FIND(f, InvalidParameterValue, "The value %.*s for parameter %.*s is invalid.",
             FMT(real_text(f->c->arena, value)), FMT(parameter));
}

static void check_lists(struct findings *f, const cloudwatch_MetricDatum *d, Str at)
{
    struct arena *a = f->c->arena;
    const struct {
        const cloudwatch_DatapointValues *list;
        const char *name;
    } lists[] = { { &d->values, "Values" }, { &d->counts, "Counts" } };
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        if (lists[i].list->n > PUT_VALUES_MAX)
            FIND(f, InvalidParameterValue,
                 "The collection %.*s%s must not have a size greater than %d.", FMT(at),
                 lists[i].name, PUT_VALUES_MAX);
        for (size_t j = 0; j < MIN(lists[i].list->n, (size_t)PUT_VALUES_MAX); j++)
            check_value(f, lists[i].list->at[j],
                        str_fmt(a, "%.*s%s.member.%zu", FMT(at), lists[i].name, j + 1));
    }
    for (size_t j = 0; j < d->counts.n; j++)
        if (d->counts.at[j] < 0)
            FIND(f, InvalidParameterValue,
                 "The value %.*s for parameter %.*sCounts.member.%zu is invalid.",
                 FMT(real_text(a, d->counts.at[j])), FMT(at), j + 1);
    if (d->counts.set && d->counts.n != d->values.n)
        FIND(f, InvalidParameterValue,
             "The parameters %.*sValues and %.*sCounts must be of the same size.", FMT(at),
             FMT(at));
}

static void check_statistics(struct findings *f, const cloudwatch_StatisticSet *s, Str at)
{
    const struct {
        double value;
        const char *name;
    } parts[] = { { s->sample_count, "SampleCount" },
                  { s->sum, "Sum" },
                  { s->minimum, "Minimum" },
                  { s->maximum, "Maximum" } };
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        check_value(f, parts[i].value,
                    str_fmt(f->c->arena, "%.*sStatisticValues.%s", FMT(at), parts[i].name));
    if (s->sample_count <= 0)
        FIND(f, InvalidParameterValue,
             "The value %.*s for parameter %.*sStatisticValues.SampleCount is invalid.",
             FMT(real_text(f->c->arena, s->sample_count)), FMT(at));
    if (s->minimum > s->maximum)
        FIND(f, InvalidParameterValue,
             "The parameter %.*sStatisticValues.Maximum must be greater than or equal to "
             "%.*sStatisticValues.Minimum.",
             FMT(at), FMT(at));
}

static void check_values(struct findings *f, const cloudwatch_MetricDatum *d, Str at)
{
    const struct {
        bool given;
        const char *name;
    } ways[] = { { d->has_value, "Value" },
                 { d->values.n > 0, "Values" },
                 { d->statistic_values != NULL, "StatisticValues" } };
    const char *first = NULL;
    for (size_t i = 0; i < COUNT_OF(ways); i++) {
        if (ways[i].given && first != NULL)
            FIND(f, InvalidParameterCombination,
                 "The parameters %.*s%s and %.*s%s are mutually exclusive and you have specified "
                 "both.",
                 FMT(at), first, FMT(at), ways[i].name);
        if (ways[i].given)
            first = ways[i].name;
    }
    if (first == NULL)
        FIND(f, MissingRequiredParameter,
             "At least one of the parameters %.*sValue, %.*sValues and %.*sStatisticValues must be "
             "specified.",
             FMT(at), FMT(at), FMT(at));
    if (d->has_value)
        check_value(f, d->value, str_cat(f->c->arena, at, S("Value")));
    if (d->statistic_values != NULL)
        check_statistics(f, d->statistic_values, at);
    check_lists(f, d, at);
}

static void check_datum(struct findings *f, const cloudwatch_MetricDatum *d, Str at)
{
    int64_t age_s = f->c->now_ns / NS_PER_S - d->timestamp / NS_PER_S;
    if (d->has_timestamp && (age_s > PUT_PAST_S || age_s < -PUT_FUTURE_S))
        FIND(f, InvalidParameterValue,
             "The parameter %.*sTimestamp must specify a time within the past two weeks.", FMT(at));
    if (d->has_storage_resolution && d->storage_resolution != 1 && d->storage_resolution != 60)
        FIND(f, InvalidParameterValue,
             "The value %d for parameter %.*sStorageResolution is invalid. It must be 1 or 60.",
             d->storage_resolution, FMT(at));
    if (!cloudwatch_is_plain(d->metric_name))
        FIND(f, InvalidParameterValue,
             "The parameter %.*sMetricName must not contain control characters.", FMT(at));
    check_values(f, d, at);
}

// ---- Storing

static StatSet set_of(struct arena *a, const cloudwatch_MetricDatum *d)
{
    const cloudwatch_StatisticSet *s = d->statistic_values;
    if (s != NULL)
        return statset_of_sums(a, s->sample_count, s->sum, s->minimum, s->maximum);
    if (d->values.n > 0)
        return statset_of_values(a, d->values.at, d->counts.set ? d->counts.at : NULL, d->values.n);
    return statset_of(a, d->value, 1);
}

// One list of data of a request, and what its members are called.
struct part {
    const cloudwatch_MetricData *data;
    Str what; // "MetricData.member."
};

static Err store_datum(struct call *c, struct kv_txn *tx, Str name_space,
                       const cloudwatch_MetricDatum *d, Str at)
{
    struct cloudwatch *cw = c->state;
    AUTO(arena) tmp = arena_open();
    const Dimension *dims;
    size_t n;
    TRY(cloudwatch_dimensions(c, &d->dimensions, at, &dims, &n));
    SeriesName name = cloudwatch_name(c, name_space, d->metric_name, dims, n);
    StatSet set = set_of(tmp, d);
    int64_t at_s = (d->has_timestamp ? d->timestamp : c->now_ns) / NS_PER_S;
    if (set.count <= 0) // all of its counts are 0
        return OK;
    return series_add(&cw->store, tx, tmp, &name, at_s,
                      d->has_storage_resolution && d->storage_resolution == 1,
                      d->unit.p != NULL ? unit_of(d->unit) : 0, &set);
}

static Err check_parts(struct call *c, Str name_space, const struct part *parts, size_t n)
{
    struct findings f = { .c = c };
    size_t total = 0;
    if (str_starts(name_space, S("AWS/")) || !cloudwatch_is_plain(name_space))
        FIND(&f, InvalidParameterValue, "The value %.*s for parameter Namespace is invalid.",
             FMT(name_space));
    for (size_t i = 0; i < n; i++)
        total += parts[i].data->n;
    if (total > PUT_DATA_MAX)
        FIND(&f, InvalidParameterValue,
             "The collection MetricData must not have a size greater than %d.", PUT_DATA_MAX);
    else if (total == 0)
        FIND(&f, MissingRequiredParameter, "The parameter MetricData is required.");
    else
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < parts[i].data->n; j++)
                check_datum(&f, &parts[i].data->at[j],
                            str_fmt(c->arena, "%.*s%zu.", FMT(parts[i].what), j + 1));
    Str text = str_dup(c->arena, buf_str(&f.text));
    buf_done(&f.text);
    return f.error == NULL ? OK : call_fail(c, f.error, "%.*s", FMT(text));
}

Err cloudwatch_PutMetricData(struct call *c, const struct cloudwatch_PutMetricData_in *in)
{
    struct cloudwatch *cw = c->state;
    size_t n = 1 + in->entity_metric_data.n;
    struct part *parts = arena_new(c->arena, struct part, n);
    parts[0] = (struct part){ &in->metric_data, S("MetricData.member.") };
    for (size_t i = 1; i < n; i++)
        parts[i] =
            (struct part){ &in->entity_metric_data.at[i - 1].metric_data,
                           str_fmt(c->arena, "EntityMetricData.member.%zu.MetricData.member.", i) };
    TRY(check_parts(c, in->namespace, parts, n));
    AUTO(kv_txn) tx = kv_write(cw->store.series);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < parts[i].data->n; j++)
            TRY(store_datum(c, tx, in->namespace, &parts[i].data->at[j],
                            str_fmt(c->arena, "%.*s%zu.", FMT(parts[i].what), j + 1)));
    return kv_commit(tx);
}
