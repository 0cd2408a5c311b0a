// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/series.h"
#include "base/test.h"
#include "svc/cloudwatch/fetch.h"
#include "svc/cloudwatch/search.h"

enum { HOUR = 3600, DAY = 86400, NOW = 20000 * DAY };

static SeriesName name_of(const char *name_space, const char *name, const Dimension *dims, size_t n)
{
    return (SeriesName){ .account = S("1"),
                         .region = S("r"),
                         .name_space = str_of(name_space),
                         .name = str_of(name),
                         .dims = dims,
                         .dim_count = n };
}

static const Dimension host_a[] = { { S_INIT("Host"), S_INIT("a") } };
static const Dimension host_b[] = { { S_INIT("Host"), S_INIT("b") } };

static void add(struct arena *a, const struct series_store *s, const SeriesName *name, int64_t at_s,
                bool by_seconds, const char *unit, double value)
{
    AUTO(kv_txn) tx = kv_write(s->series);
    StatSet one = statset_of(a, value, 1);
    EXPECT_OK(series_add(s, tx, a, name, at_s, by_seconds, unit_of(str_of(unit)), &one));
    EXPECT_OK(kv_commit(tx));
}

static Fetched fetched(struct arena *a, const struct series_store *s, const SeriesName *name,
                       Window w, unsigned unit)
{
    Fetched f = { 0 };
    AUTO(kv_txn) tx = kv_read(s->series);
    EXPECT_OK(fetch_points(s, tx, a, name, &w, unit, true, &f));
    return f;
}

// "namespace/name/first dimension's value" of all, joined.
static Str listed(struct arena *a, const struct series_store *s, const SeriesName *within,
                  Str after)
{
    AUTO(kv_txn) tx = kv_read(s->series);
    SeriesWalk w = series_walk(s, tx, a, within, after);
    Series one;
    Err e;
    Str text = S("");
    while (series_next(&w, &e, &one))
        text = str_fmt(a, "%.*s%s%.*s/%.*s/%.*s", FMT(text), text.n > 0 ? " " : "",
                       FMT(one.name.name_space), FMT(one.name.name),
                       FMT(one.name.dim_count > 0 ? one.name.dims[0].value : S("")));
    EXPECT_OK(e);
    return text;
}

TEST(points_are_found_by_period)
{
    AUTO(kv) db = kv_open_test();
    struct series_store s;
    EXPECT_OK(series_open(db, &s));
    SeriesName m = name_of("N", "m", host_a, 1), other = name_of("N", "m", host_b, 1);
    for (int i = 0; i < 180; i++) // over three hours and a change of day
        add(a, &s, &m, NOW - HOUR + i * 60 + 7, false, "Count", i);
    add(a, &s, &other, NOW, false, "Count", 1000);
    Fetched f = fetched(a, &s, &m, (Window){ NOW - HOUR, NOW + 2 * HOUR, 60 }, UNITS);
    EXPECT_INT(1, f.unit_count);
    for (int i = 0; i < 180; i++)
        EXPECT(f.units[0].periods[i].count == 1 && f.units[0].periods[i].sum == i);
    f = fetched(a, &s, &m, (Window){ NOW - HOUR, NOW + 2 * HOUR, 300 }, UNITS);
    EXPECT(f.units[0].periods[0].count == 5 && f.units[0].periods[0].sum == 10);
    EXPECT(f.units[0].periods[35].sum == 175 + 176 + 177 + 178 + 179);
    f = fetched(a, &s, &m, (Window){ NOW, NOW + 60, 60 }, UNITS); // the end is not in it
    EXPECT(f.units[0].periods[0].sum == 60);
    f = fetched(a, &s, &m, (Window){ NOW + 5 * HOUR, NOW + 6 * HOUR, 60 }, UNITS);
    EXPECT_INT(0, f.unit_count);
    SeriesName none = name_of("N", "none", NULL, 0);
    EXPECT_INT(0, fetched(a, &s, &none, (Window){ NOW, NOW + 60, 60 }, UNITS).unit_count);
}

TEST(units_are_apart_and_sorted_by_name)
{
    AUTO(kv) db = kv_open_test();
    struct series_store s;
    EXPECT_OK(series_open(db, &s));
    SeriesName m = name_of("N", "m", NULL, 0);
    add(a, &s, &m, NOW, false, "Seconds", 1);
    add(a, &s, &m, NOW, false, "Milliseconds", 2);
    add(a, &s, &m, NOW + 1, false, "Seconds", 3);
    Window w = { NOW, NOW + 60, 60 };
    Fetched f = fetched(a, &s, &m, w, UNITS);
    EXPECT_INT(2, f.unit_count);
    EXPECT_STR(S("Milliseconds"), unit_name(f.units[0].unit));
    EXPECT(f.units[1].periods[0].sum == 4);
    f = fetched(a, &s, &m, w, unit_of(S("Seconds")));
    EXPECT(f.unit_count == 1 && f.units[0].periods[0].count == 2);
}

TEST(high_resolution_is_by_seconds_and_by_minutes)
{
    AUTO(kv) db = kv_open_test();
    struct series_store s;
    EXPECT_OK(series_open(db, &s));
    SeriesName m = name_of("N", "m", NULL, 0);
    add(a, &s, &m, NOW + 3, true, "None", 1);
    add(a, &s, &m, NOW + 58, true, "None", 2);
    add(a, &s, &m, NOW + 61, true, "None", 4);
    Fetched f = fetched(a, &s, &m, (Window){ NOW, NOW + 62, 1 }, UNITS);
    EXPECT(f.units[0].periods[3].sum == 1 && f.units[0].periods[58].sum == 2);
    EXPECT(f.units[0].periods[61].sum == 4 && f.units[0].periods[4].count == 0);
    f = fetched(a, &s, &m, (Window){ NOW, NOW + 60, 30 }, UNITS);
    EXPECT(f.units[0].periods[0].sum == 1 && f.units[0].periods[1].sum == 2);
    f = fetched(a, &s, &m, (Window){ NOW, NOW + 120, 60 }, UNITS);
    EXPECT(f.units[0].periods[0].sum == 3 && f.units[0].periods[1].sum == 4);
}

TEST(metrics_are_listed_by_name_and_from_a_place_on)
{
    AUTO(kv) db = kv_open_test();
    struct series_store s;
    EXPECT_OK(series_open(db, &s));
    SeriesName names[] = { name_of("N", "m", host_a, 1), name_of("N", "m2", NULL, 0),
                           name_of("N2", "m", host_b, 1), name_of("N", "m", NULL, 0) };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        add(a, &s, &names[i], NOW, false, "None", 1);
    SeriesName elsewhere = names[0];
    elsewhere.region = S("r2");
    add(a, &s, &elsewhere, NOW, false, "None", 1);

    SeriesName all = { .account = S("1"), .region = S("r") };
    Str text = listed(a, &s, &all, S(""));
    EXPECT(str_search(text, S("N/m/a")) < text.n && str_search(text, S("N2/m/b")) < text.n);
    EXPECT(str_search(text, S("N/m2/")) < text.n);
    EXPECT_INT(23, text.n); // four of them
    SeriesName one = { .account = S("1"), .region = S("r"), .name_space = S("N2") };
    EXPECT_STR(S("N2/m/b"), listed(a, &s, &one, S("")));
    one.name = S("nope");
    EXPECT_STR(S(""), listed(a, &s, &one, S("")));

    AUTO(kv_txn) tx = kv_read(s.series);
    SeriesWalk w = series_walk(&s, tx, a, &all, S(""));
    Series first;
    Err e;
    EXPECT(series_next(&w, &e, &first));
    Str place = w.key;
    series_walk_end(&w);
    Str rest = listed(a, &s, &all, place);
    EXPECT(rest.n < text.n && str_ends(text, rest));
}

static void expire(const struct series_store *s, int64_t now_s, size_t max, bool more)
{
    bool got;
    AUTO(kv_txn) tx = kv_write(s->points);
    EXPECT_OK(series_expire(s, tx, now_s, max, &got));
    EXPECT(got == more);
    EXPECT_OK(kv_commit(tx));
}

static size_t rows(struct kv_table *t, const char *prefix)
{
    size_t n;
    AUTO(kv_txn) tx = kv_read(t);
    EXPECT_OK(kv_count(tx, str_of(prefix), &n));
    return n;
}

TEST(what_is_over_is_removed_and_nothing_else)
{
    AUTO(kv) db = kv_open_test();
    struct series_store s;
    EXPECT_OK(series_open(db, &s));
    SeriesName old = name_of("N", "old", NULL, 0), m = name_of("N", "m", NULL, 0);
    for (int i = 0; i < 4; i++)
        add(a, &s, &old, NOW + i * HOUR, true, "None", 1);
    add(a, &s, &m, NOW + 16 * DAY, true, "None", 1);
    expire(&s, NOW + 3 * HOUR + 2 * HOUR, 100, false); // two by seconds are over, none by minutes
    EXPECT_INT(3, rows(s.points, "s"));
    EXPECT_INT(5, rows(s.points, "m"));
    EXPECT_INT(2, rows(s.series, ""));
    expire(&s, NOW + 16 * DAY + 60, 2, true);
    expire(&s, NOW + 16 * DAY + 60, 2, true);
    expire(&s, NOW + 16 * DAY + 60, 2, false);
    EXPECT_INT(1, rows(s.points, "s"));
    EXPECT_INT(1, rows(s.points, "m"));
    EXPECT_INT(1, rows(s.series, ""));
}

TEST(a_damaged_row_is_an_error)
{
    AUTO(kv) db = kv_open_test();
    struct series_store s;
    EXPECT_OK(series_open(db, &s));
    SeriesName m = name_of("N", "m", host_a, 1);
    add(a, &s, &m, NOW, false, "None", 1);
    AUTO(kv_txn) tx = kv_write(s.series);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    EXPECT(kv_scan_next(&scan));
    Str key = str_dup(a, scan.rest), row = str_dup(a, scan.value);
    kv_scan_end(&scan);
    Series found;
    for (size_t n = 0; n < row.n; n++) {
        kv_on(tx, s.series);
        EXPECT_OK(kv_put(tx, key, str_head(row, n)));
        EXPECT_ERR(ERR_CORRUPT, series_find(&s, tx, a, &m, &found));
    }
    kv_on(tx, s.series);
    EXPECT_OK(kv_put(tx, key, str_cat(a, S("\x02"), str_skip(row, 1))));
    EXPECT_ERR(ERR_FORMAT, series_find(&s, tx, a, &m, &found));
}

// ---- Searching

static bool found_by(struct arena *a, const char *text, const SeriesName *name)
{
    Search s;
    EXPECT_OK(search_parse(a, str_of(text), &s));
    return search_matches(&s, name);
}

TEST(a_search_means_schema_and_terms)
{
    static const Dimension dims[] = { { S_INIT("Host"), S_INIT("web-1") },
                                      { S_INIT("Zone"), S_INIT("z") } };
    SeriesName m = name_of("AWS/X", "CPUUtilization", dims, 2);
    EXPECT(found_by(a, "{AWS/X,Host,Zone}", &m) && found_by(a, "{AWS/X, Zone, Host} cpu", &m));
    EXPECT(!found_by(a, "{AWS/X,Host}", &m) && !found_by(a, "{AWS/Y,Host,Zone}", &m));
    EXPECT(found_by(a, "MetricName=\"CPUUtilization\"", &m));
    EXPECT(!found_by(a, "MetricName=\"CPU\"", &m) && found_by(a, "MetricName=CPU", &m));
    EXPECT(found_by(a, "Host=web AND Zone=\"z\"", &m) && !found_by(a, "Host=web Zone=q", &m));
    EXPECT(found_by(a, "WEB", &m) && found_by(a, "\"web-1\"", &m) && !found_by(a, "\"web\"", &m));
    EXPECT(found_by(a, "Namespace = \"AWS/X\" util", &m));
}

TEST(what_is_no_search_is_refused)
{
    static const char *const bad[] = { "",    " ",  "{",      "{a",    "{a,", "{a,}",
                                       "\"x", "x=", "a OR b", "NOT x", "(x)", "=x" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        Search s;
        EXPECT_ERR(ERR_INVALID, search_parse(a, str_of(bad[i]), &s));
    }
}
