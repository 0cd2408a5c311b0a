// SPDX-License-Identifier: Apache-2.0
// What is told of a stream is what docs/firehose.md says, for each destination.
#include "base/map.h"
#include "base/test.h"
#include "delivery/delivery.h"
#include "svc/firehose/destination.h"

#include <stdio.h>
#include <unistd.h>

// Beside the build directory that this program lies in.
static Str documentation(struct arena *a)
{
    char path[4096], *text = arena_alloc(a, 1 << 20, 1);
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);
    EXPECT(n > 0);
    for (int up = 0; up < 3 && n > 0; up++)
        while (n > 0 && path[--n] != '/')
            continue;
    snprintf(path + n, 64, "/docs/firehose.md");
    FILE *f = fopen(path, "r");
    EXPECT(f != NULL);
    size_t bytes = fread(text, 1, 1 << 20, f);
    fclose(f);
    return str_from(text, bytes);
}

// The names in the row of a table that begins with `| row |`.
static void expect_row(struct map *names, Str text, Str row, const char *kind)
{
    Str rest = str_skip(text, str_search(text, row)), line, name;
    EXPECT(rest.n > 0);
    (void)str_cut(str_skip(rest, row.n), '\n', &line, &rest);
    while (str_cut(line, '`', &name, &line) && str_cut(line, '`', &name, &line)) {
        if (map_take(names, name) == NULL)
            fprintf(stderr, "# %s: %.*s is not told\n", kind, FMT(name));
        else
            continue;
        EXPECT(false);
    }
}

struct collecting {
    struct metric_sink sink; // first
    struct arena *a;
    struct map *names;
};

static void collect(struct metric_sink *s, const MetricTold *m)
{
    struct collecting *c = (struct collecting *)s;
    Str name = str_eq(m->name_space, S("AWS/Usage"))
                   ? str_cat3(c->a, m->name_space, S(" "), m->name)
                   : str_dup(c->a, m->name);
    map_put(c->names, name, c);
}

static void fill(void *meters, size_t bytes)
{
    struct meter *m = meters;
    for (size_t i = 0; i < bytes / sizeof *m; i++)
        meter_add(&m[i], 1);
}

static void fill_front(struct hose_meters *m)
{
    HosePut put = { .records = 2, .stored = 1, .throttled = 1, .bytes = 1, .took_ns = 1000000 };
    hose_meters_put(m, &put);
    put.single = true;
    hose_meters_put(m, &put);
    wide_meter_add(&m->describe_latency, 1);
    wide_meter_add(&m->update_latency, 1);
    meter_add(&m->key_denied, 1);
    meter_add(&m->key_disabled, 1);
    meter_add(&m->key_invalid, 1);
    meter_add(&m->key_missing, 1);
}

TEST(what_is_told_is_what_is_documented)
{
    static const DestinationKind kinds[] = {
        DESTINATION_S3,         DESTINATION_REDSHIFT, DESTINATION_ELASTICSEARCH,
        DESTINATION_OPENSEARCH, DESTINATION_SPLUNK,   DESTINATION_SERVERLESS,
        DESTINATION_HTTP
    };
    Str text = documentation(a);
    text = str_skip(text, str_search(text, S("\n## Metrics")));
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct collecting c = { .sink.take = collect, .a = a, .names = map_open() };
        struct hose_meters front = { 0 };
        struct delivery_meters delivery = { 0 };
        struct hose_lists lists = { .lock = PTHREAD_MUTEX_INITIALIZER };
        MetricTold told = { .account = S("0"), .region = S("r"), .name_space = S("AWS/Firehose") };
        const char *metric = destination_metric(kinds[i]);
        fill_front(&front);
        fill(&delivery, sizeof delivery);
        hose_lists_count(&lists, S("0"), S("r"), 1);
        hose_lists_count(&lists, S("0"), S("r"), 1);
        HoseTold t = hose_told_of(kinds[i]);
        t.stream = S("s");
        t.meters = &front;
        t.delivery = &delivery;
        t.rates = hose_limit_rates(S("us-east-1"));
        t.scale = 1;
        hose_meters_tell_calls(&front, &told, &c.sink);
        hose_meters_tell(&t, &told, &c.sink);
        hose_lists_tell(&lists, &c.sink);
        hose_meters_tell_usage(&told, &c.sink, S("ResourceCount"), S("Resource"), S("x"),
                               (Gathered){ 1, 1, 1, 1 });
        expect_row(c.names, text, S("\n| every stream |"), "all");
        expect_row(c.names, text, S("\n| from a Kinesis stream |"), "source");
        expect_row(c.names, text, S("\n| processors, conversion |"), "processing");
        expect_row(c.names, text, S("\n| dynamic partitioning |"), "partitions");
        expect_row(c.names, text, S("\n| backup |"), "backup");
        expect_row(c.names, text, S("\n| encryption |"), "encryption");
        expect_row(c.names, text, S("\n| account |"), "account");
        expect_row(c.names, text, str_fmt(a, "\n| to %s |", metric), metric);
        Str left;
        void *value;
        for (size_t at = 0; map_next(c.names, &at, &left, &value);)
            fprintf(stderr, "# %s: %.*s is not documented\n", metric, FMT(left));
        EXPECT_INT(0, map_count(c.names));
        map_close(c.names);
        hose_meters_done(&front);
        hose_lists_done(&lists);
    }
}
