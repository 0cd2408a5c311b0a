// SPDX-License-Identifier: Apache-2.0
#include "base/metric.h"
#include "base/map.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

// Upper bounds of histogram buckets: from 50 us, where a durable put lives, to 10 s.
static const int64_t bounds_us[] = { 50,     100,     200,     500,     1000,    2000,
                                     5000,   10000,   20000,   50000,   100000,  200000,
                                     500000, 1000000, 2000000, 5000000, 10000000 };

struct metric {
    MetricKind kind;
    size_t refs;                 // under the registry's lock
    Str name, help, labels, key; // owned, in one block of memory
    char *text;
    _Atomic int64_t value; // a histogram's sum in nanoseconds
    _Atomic int64_t buckets[COUNT_OF(bounds_us) + 1];
};

static struct {
    pthread_mutex_t lock;
    struct map *by_key;
    struct metric **all;
    size_t n, cap;
} registry = { .lock = PTHREAD_MUTEX_INITIALIZER };

// Copies a string behind those that are there already.
static Str keep(char **end, Str s)
{
    Str kept = str_from(*end, s.n);
    if (s.n > 0)
        memcpy(*end, s.p, s.n);
    *end += s.n;
    return kept;
}

static struct metric *metric_add_series(MetricKind kind, Str name, Str help, Str labels, Str key)
{
    struct metric *m = xalloc(sizeof *m);
    char *end = m->text = xalloc(name.n + help.n + labels.n + key.n);
    m->kind = kind;
    m->name = keep(&end, name);
    m->help = keep(&end, help);
    m->labels = keep(&end, labels);
    m->key = keep(&end, key);
    if (registry.n == registry.cap) {
        registry.cap = MAX(registry.cap * 2, (size_t)64);
        registry.all = xrealloc(registry.all, registry.cap * sizeof(struct metric *));
    }
    registry.all[registry.n++] = m;
    map_put(registry.by_key, m->key, m);
    return m;
}

struct metric *metric_get(MetricKind kind, Str name, Str help, Str labels)
{
    AUTO(arena) tmp = arena_open();
    pthread_mutex_lock(&registry.lock);
    if (registry.by_key == NULL)
        registry.by_key = map_open();
    Str key = str_cat3(tmp, name, S("{"), labels);
    struct metric *m = map_get(registry.by_key, key);
    if (m == NULL && registry.n >= METRIC_SERIES_MAX) {
        key = str_cat(tmp, name, S("{overflow"));
        labels = S("overflow=\"true\"");
        m = map_get(registry.by_key, key);
    }
    if (m == NULL)
        m = metric_add_series(kind, name, help, labels, key);
    m->refs++;
    pthread_mutex_unlock(&registry.lock);
    CHECK(m->kind == kind);
    return m;
}

static void remove_series(struct metric *m)
{
    CHECK(map_take(registry.by_key, m->key) == m);
    size_t at = 0;
    while (registry.all[at] != m)
        at++;
    registry.all[at] = registry.all[--registry.n];
    free(m->text);
    free(m);
}

void metric_release(struct metric *m)
{
    if (m == NULL)
        return;
    pthread_mutex_lock(&registry.lock);
    if (--m->refs == 0)
        remove_series(m);
    pthread_mutex_unlock(&registry.lock);
}

void metric_add(struct metric *m, int64_t amount)
{
    atomic_fetch_add_explicit(&m->value, amount, memory_order_relaxed);
}

void metric_set(struct metric *m, int64_t value)
{
    CHECK(m->kind == METRIC_GAUGE);
    atomic_store_explicit(&m->value, value, memory_order_relaxed);
}

void metric_observe_ns(struct metric *m, int64_t ns)
{
    CHECK(m->kind == METRIC_HISTOGRAM);
    size_t i = 0;
    while (i < COUNT_OF(bounds_us) && ns > bounds_us[i] * 1000)
        i++;
    atomic_fetch_add_explicit(&m->buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->value, ns, memory_order_relaxed);
}

int64_t metric_value(const struct metric *m)
{
    if (m->kind != METRIC_HISTOGRAM)
        return atomic_load_explicit(&m->value, memory_order_relaxed);
    int64_t count = 0;
    for (size_t i = 0; i < COUNT_OF(m->buckets); i++)
        count += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
    return count;
}

static void render_histogram(struct buf *b, const struct metric *m)
{
    const char *comma = m->labels.n > 0 ? "," : "";
    int64_t count = 0;
    for (size_t i = 0; i < COUNT_OF(m->buckets); i++) {
        count += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
        buf_addf(b, "%.*s_bucket{%.*s%sle=\"", FMT(m->name), FMT(m->labels), comma);
        if (i < COUNT_OF(bounds_us))
            buf_addf(b, "%g\"} %lld\n", (double)bounds_us[i] / 1e6, (long long)count);
        else
            buf_addf(b, "+Inf\"} %lld\n", (long long)count);
    }
    const char *open = m->labels.n > 0 ? "{" : "", *close = m->labels.n > 0 ? "}" : "";
    double sum = (double)atomic_load_explicit(&m->value, memory_order_relaxed) / 1e9;
    buf_addf(b, "%.*s_sum%s%.*s%s %.9g\n", FMT(m->name), open, FMT(m->labels), close, sum);
    buf_addf(b, "%.*s_count%s%.*s%s %lld\n", FMT(m->name), open, FMT(m->labels), close,
             (long long)count);
}

static int by_name(const void *x, const void *y)
{
    const struct metric *const *m = x, *const *o = y;
    int order = str_cmp((*m)->name, (*o)->name);
    return order != 0 ? order : str_cmp((*m)->labels, (*o)->labels);
}

void metric_render(struct buf *b)
{
    static const char *const kinds[] = { "counter", "gauge", "histogram" };
    pthread_mutex_lock(&registry.lock);
    if (registry.n > 0)
        qsort(registry.all, registry.n, sizeof(struct metric *), by_name);
    Str last = { 0 };
    for (size_t i = 0; i < registry.n; i++) {
        const struct metric *m = registry.all[i];
        if (!str_eq(m->name, last))
            buf_addf(b, "# HELP %.*s %.*s\n# TYPE %.*s %s\n", FMT(m->name), FMT(m->help),
                     FMT(m->name), kinds[m->kind]);
        last = m->name;
        if (m->kind == METRIC_HISTOGRAM)
            render_histogram(b, m);
        else if (m->labels.n > 0)
            buf_addf(b, "%.*s{%.*s} %lld\n", FMT(m->name), FMT(m->labels),
                     (long long)metric_value(m));
        else
            buf_addf(b, "%.*s %lld\n", FMT(m->name), (long long)metric_value(m));
    }
    pthread_mutex_unlock(&registry.lock);
}
