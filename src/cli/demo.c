// SPDX-License-Identifier: Apache-2.0
// The main job: a server on an empty directory, the classic load into the stream `clicks`,
// everything read back through the API, and at the end the books of both sides in one line.
#include "base/time.h"
#include "cli/commands.h"
#include "cli/demo_lake.h"
#include "cli/demo_load.h"
#include "cli/demo_server.h"
#include "cli/demo_view.h"
#include "cli/term.h"
#include "os/io.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    RATE_DEFAULT = 3000,
    SHARDS_DEFAULT = 3,
    RECORD_BYTES_DEFAULT = 1024,
    SECONDS_MAX = 10 * 365 * 86400,
    KEY_BYTES_TYPICAL = 8, // of a partition key: it counts against a shard's limit
    TREE_DEPTH_MAX = 16,
};
#define STREAM S("clicks")
#define DRAIN_QUIET_NS (30 * NS_PER_S) // without a new record, until the rest counts as lost

static const Flag flags[] = {
    { S_INIT("rate"), 0, S_INIT("COUNT"), S_INIT("Records to put per second; 3000") },
    { S_INIT("seconds"), 0, S_INIT("COUNT"), S_INIT("End after this long; else at Ctrl-C") },
    { S_INIT("shards"), 0, S_INIT("COUNT"), S_INIT("Shards of the stream; 3") },
    { S_INIT("record-bytes"), 0, S_INIT("COUNT"), S_INIT("Size of a record; 1024") },
    { S_INIT("no-lake"), 0, S_INIT(""), S_INIT("Do not deliver to objects as well") },
    { S_INIT("plain"), 0, S_INIT(""), S_INIT("Print one line each second, for scripts") },
    { S_INIT("keep"), 0, S_INIT(""), S_INIT("Leave the data directory behind") },
    { S_INIT("config"), 0, S_INIT("FILE"), S_INIT("A configuration file for the server") },
};

struct demo {
    const struct invocation *in;
    uint64_t rate, seconds, shards, record_bytes; // seconds 0: without end
    bool plain;
    Str data_dir;
    bool data_dir_is_ours; // made here, removed at the end
    sigset_t signals;
    struct demo_server *server;
    struct client *client;
    struct demo_count *books;
    struct demo_load *load;
    struct demo_lake *lake; // NULL: not wanted
    DemoLake in_lake;
    ShardInfo *shard_list;
    size_t shard_count;
    DemoView view;
    unsigned lines_drawn;
    int64_t started_ns;
};

static int64_t mono_ns(void)
{
    return io_real()->mono_ns(io_real());
}

static ExitCode read_flags(struct demo *d)
{
    static const struct {
        Str name;
        uint64_t min, max, otherwise;
    } numbers[] = {
        { S_INIT("rate"), 1, DEMO_RATE_MAX, RATE_DEFAULT },
        { S_INIT("seconds"), 1, SECONDS_MAX, 0 },
        { S_INIT("shards"), 1, DEMO_SHARDS_MAX, SHARDS_DEFAULT },
        { S_INIT("record-bytes"), DEMO_RECORD_BYTES_MIN, DEMO_RECORD_BYTES_MAX,
          RECORD_BYTES_DEFAULT },
    };
    uint64_t *const into[] = { &d->rate, &d->seconds, &d->shards, &d->record_bytes };
    ExitCode code = EXIT_GOOD;
    for (size_t i = 0; i < COUNT_OF(numbers) && code == EXIT_GOOD; i++)
        code = flag_number(d->in, numbers[i].name, numbers[i].min, numbers[i].max,
                           numbers[i].otherwise, into[i]);
    d->plain = flag_given(d->in, S("plain")) || !term_is_terminal(STDOUT_FILENO);
    return code;
}

// ---- The data directory

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *place)
{
    (void)st;
    (void)kind;
    (void)place;
    return remove(path);
}

static uint64_t tree_bytes; // nftw has no argument for its caller; only the main thread uses it

static int add_one(const char *path, const struct stat *st, int kind, struct FTW *place)
{
    (void)path;
    (void)place;
    if (kind == FTW_F)
        tree_bytes += (uint64_t)st->st_blocks * 512; // what it takes, not what it says
    return 0;
}

static uint64_t disk_bytes(struct demo *d)
{
    tree_bytes = 0;
    nftw(str_c(d->in->a, d->data_dir), add_one, TREE_DEPTH_MAX, FTW_PHYS);
    return tree_bytes;
}

static ExitCode choose_data_dir(struct demo *d)
{
    struct arena *a = d->in->a;
    d->data_dir = flag_text(d->in, S("data-dir"));
    if (d->data_dir.n > 0) {
        Err e = io_real()->mkdir(io_real(), d->data_dir);
        if (e.kind != ERR_NONE)
            return complain(EXIT_FAILED, "%.*s cannot be made: %s", FMT(d->data_dir), e.text);
        return EXIT_GOOD;
    }
    const char *tmp = getenv("TMPDIR");
    const Str places[] = { S("."), tmp != NULL && tmp[0] != '\0' ? str_of(tmp) : S("/tmp") };
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        char *path = str_c(a, str_cat(a, places[i], S("/headrace-data-XXXXXX")));
        if (mkdtemp(path) == NULL)
            continue;
        d->data_dir = str_of(path);
        d->data_dir_is_ours = true;
        return EXIT_GOOD;
    }
    return complain(EXIT_FAILED, "no directory for the demo can be made: %s",
                    strerrordesc_np(errno));
}

static void remove_data_dir(struct demo *d)
{
    if (!d->data_dir_is_ours || flag_given(d->in, S("keep")))
        return;
    const char *path = str_c(d->in->a, d->data_dir);
    if (nftw(path, remove_one, TREE_DEPTH_MAX, FTW_DEPTH | FTW_PHYS) != 0)
        complain(EXIT_FAILED, "%s was not removed: %s", path, strerrordesc_np(errno));
}

// ---- Start

static ExitCode make_stream(struct demo *d)
{
    const struct invocation *in = d->in;
    Str body = str_fmt(in->a, "{\"StreamName\":\"clicks\",\"ShardCount\":%llu}",
                       (unsigned long long)d->shards);
    const JsonValue *reply = NULL;
    ExitCode code = remote_call(in, d->client, S("CreateStream"), body, &reply);
    if (code == EXIT_GOOD)
        code = stream_wait_active(in, d->client, STREAM);
    if (code == EXIT_GOOD)
        code = stream_shards(in, d->client, STREAM, &d->shard_list, &d->shard_count);
    if (code == EXIT_GOOD && (d->shard_count == 0 || d->shard_count > DEMO_SHARDS_MAX))
        code = complain(EXIT_FAILED, "the stream has %zu shards", d->shard_count);
    return code;
}

static ExitCode make_lake(struct demo *d)
{
    const JsonValue *reply = NULL;
    if (flag_given(d->in, S("no-lake")))
        return EXIT_GOOD;
    ExitCode code = remote_call(d->in, d->client, S("DescribeStreamSummary"),
                                stream_body(d->in->a, STREAM), &reply);
    if (code != EXIT_GOOD)
        return code;
    Str arn = json_text(json_find(reply, S("StreamDescriptionSummary")), S("StreamARN"));
    return demo_lake_open(d->in, d->client, arn, &d->lake);
}

static ExitCode start(struct demo *d)
{
    ExitCode code = choose_data_dir(d);
    if (code == EXIT_GOOD)
        code = demo_server_start(d->in, d->data_dir, flag_text(d->in, S("listen")), &d->server);
    if (code != EXIT_GOOD)
        return code;
    ClientConfig client = { .endpoint = demo_server_url(d->server),
                            .region = S("us-east-1"),
                            .access_key = demo_server_access_key(d->server),
                            .secret_key = demo_server_secret_key(d->server),
                            .verify = false, // it is our own child, on this machine
                            .timeout_ns = 30 * NS_PER_S };
    Err e = client_open(&client, &d->client);
    if (e.kind != ERR_NONE)
        return complain(EXIT_FAILED, "no client for the server: %s", e.text);
    code = make_stream(d);
    if (code == EXIT_GOOD)
        code = make_lake(d);
    if (code != EXIT_GOOD)
        return code;
    Str url = demo_server_url(d->server);
    d->view = (DemoView){ .shard_count = d->shard_count,
                          .record_bytes = d->record_bytes + KEY_BYTES_TYPICAL,
                          .colour = term_colour(STDOUT_FILENO),
                          .columns = term_columns(STDOUT_FILENO),
                          .lake = d->lake != NULL };
    d->view.title =
        str_fmt(d->in->a, "stream clicks, %zu shards on %.*s", d->shard_count, FMT(url));
    printf("headrace demo: %.*s, data in %.*s\n", FMT(d->view.title), FMT(d->data_dir));
    fflush(stdout);
    d->books = demo_count_open();
    DemoLoadConfig load = { .client = client,
                            .stream = STREAM,
                            .shards = d->shard_list,
                            .shard_count = d->shard_count,
                            .rate = d->rate,
                            .record_bytes = d->record_bytes,
                            .books = d->books };
    d->started_ns = mono_ns();
    e = demo_load_start(&load, &d->load);
    return e.kind == ERR_NONE ? EXIT_GOOD : complain(EXIT_FAILED, "no load: %s", e.text);
}

// ---- Every second

static ExitCode take_moment(struct demo *d, DemoMoment *ret)
{
    ExitCode code = d->lake != NULL ? demo_lake_look(d->lake, &d->in_lake) : EXIT_GOOD;
    struct demo_latency *latency = xalloc(sizeof *latency);
    demo_load_latency(d->load, latency);
    *ret = (DemoMoment){ .elapsed_ns = mono_ns() - d->started_ns,
                         .totals = demo_count_totals(d->books),
                         .p50_ns = demo_latency_quantile(latency, 0.50),
                         .p99_ns = demo_latency_quantile(latency, 0.99),
                         .disk_bytes = disk_bytes(d),
                         .objects = d->in_lake.objects,
                         .rows = d->in_lake.rows,
                         .newest = d->in_lake.newest };
    for (unsigned i = 0; i < d->shard_count; i++)
        ret->shard_put[i] = demo_count_shard_put(d->books, i);
    free(latency);
    return code;
}

static void show(struct demo *d, const DemoMoment *before, const DemoMoment *now)
{
    AUTO(arena) tmp = arena_open();
    AUTO_BUF(b);
    if (d->plain) {
        demo_view_plain(&b, &d->view, before, now);
    } else {
        if (d->lines_drawn > 0)
            buf_addf(&b, "\033[%uA", d->lines_drawn);
        d->lines_drawn = demo_view_screen(&b, tmp, &d->view, before, now);
    }
    fwrite(b.p, 1, b.n, stdout);
    fflush(stdout);
}

static ExitCode check_health(struct demo *d)
{
    Str problem = demo_load_problem(d->load);
    if (problem.p != NULL)
        return complain(EXIT_FAILED, "%.*s", FMT(problem));
    if (!demo_server_runs(d->server))
        return complain(EXIT_FAILED, "the server ended by itself; see %.*s/server.log",
                        FMT(d->data_dir));
    return EXIT_GOOD;
}

// Whether a signal asked for the end before the time has come.
static bool wait_until(struct demo *d, int64_t when_ns)
{
    for (;;) {
        int64_t left = MAX(when_ns - mono_ns(), 0);
        struct timespec t = { .tv_sec = left / NS_PER_S, .tv_nsec = left % NS_PER_S };
        if (sigtimedwait(&d->signals, NULL, &t) > 0)
            return true;
        if (left == 0)
            return false;
    }
}

static ExitCode watch(struct demo *d)
{
    DemoMoment moments[2] = { 0 };
    for (uint64_t second = 1;; second++) {
        int64_t due = d->started_ns + (int64_t)second * NS_PER_S;
        if (wait_until(d, due))
            return EXIT_GOOD;
        DemoMoment *before = &moments[(second + 1) % 2], *now = &moments[second % 2];
        ExitCode looked = take_moment(d, now);
        show(d, before, now);
        ExitCode code = check_health(d);
        code = code == EXIT_GOOD ? looked : code;
        if (code != EXIT_GOOD || second == d->seconds)
            return code;
    }
}

// ---- The end

// Until everything acknowledged has been read, or nothing has come for a while.
static void drain(struct demo *d)
{
    int64_t quiet_since = mono_ns();
    uint64_t last = UINT64_MAX;
    for (;;) {
        DemoTotals t = demo_count_totals(d->books);
        if (t.lost == 0 || mono_ns() - quiet_since > DRAIN_QUIET_NS)
            return;
        if (t.got != last)
            quiet_since = mono_ns();
        last = t.got;
        io_real()->sleep_ns(io_real(), 20 * NS_PER_MS);
    }
}

static ExitCode drain_lake(struct demo *d, uint64_t put)
{
    ExitCode code = demo_lake_drain(d->lake, put, &d->in_lake);
    if (code == EXIT_GOOD && d->in_lake.newest.n > 0)
        printf("%llu objects, the last s3://lake/%.*s\n", (unsigned long long)d->in_lake.objects,
               FMT(d->in_lake.newest));
    if (code == EXIT_GOOD && d->in_lake.rows < put)
        code = complain(EXIT_FAILED, "not everything that was put is in objects");
    d->in_lake.newest = (Str){ 0 };
    return code;
}

// A second Ctrl-C ends us at once; the server sees its input end and stops as well.
static void release_signals(struct demo *d)
{
    pthread_sigmask(SIG_UNBLOCK, &d->signals, NULL);
}

static ExitCode finish(struct demo *d, ExitCode code)
{
    ExitCode health = EXIT_GOOD;
    if (d->load != NULL) {
        demo_load_stop(d->load);
        if (demo_server_runs(d->server))
            drain(d);
        health = check_health(d);
        DemoTotals t = demo_count_totals(d->books);
        if (health == EXIT_GOOD && (t.lost > 0 || t.out_of_order > 0))
            health = complain(EXIT_FAILED, "the books of both sides do not agree");
        if (health == EXIT_GOOD && d->lake != NULL)
            health = drain_lake(d, t.put);
    }
    demo_lake_close(d->lake);
    demo_load_close(d->load);
    client_close(d->client);
    if (d->server != NULL) {
        ExitCode ended = demo_server_stop(d->server);
        code = code == EXIT_GOOD ? health : code;
        code = code == EXIT_GOOD ? ended : code;
    }
    demo_server_close(d->server);
    if (code == EXIT_GOOD)
        remove_data_dir(d);
    else if (d->data_dir.n > 0)
        complain(code, "the data directory %.*s was kept", FMT(d->data_dir));
    return code;
}

// The last line, whatever happened.
static void report(struct demo *d)
{
    if (d->books == NULL)
        return;
    DemoTotals t = demo_count_totals(d->books);
    demo_count_close(d->books);
    printf("put %llu, got %llu, lost %llu, duplicated %llu, out of order %llu, throttled %llu, "
           "in objects %llu\n",
           (unsigned long long)t.put, (unsigned long long)t.got, (unsigned long long)t.lost,
           (unsigned long long)t.duplicated, (unsigned long long)t.out_of_order,
           (unsigned long long)t.throttled, (unsigned long long)d->in_lake.rows);
}

static ExitCode run(struct invocation *in)
{
    struct demo *d = arena_new(in->a, struct demo, 1);
    d->in = in;
    ExitCode code = read_flags(d);
    if (code != EXIT_GOOD)
        return code;
    sigemptyset(&d->signals);
    sigaddset(&d->signals, SIGINT);
    sigaddset(&d->signals, SIGTERM);
    sigaddset(&d->signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &d->signals, NULL);
    code = start(d);
    if (code == EXIT_GOOD)
        code = watch(d);
    release_signals(d);
    code = finish(d, code);
    report(d);
    return code;
}

const struct command command_demo = {
    .name = S_INIT("demo"),
    .summary = S_INIT("Start a server, put and read a live load, and account for every record"),
    .usage = S_INIT("[--rate COUNT] [--seconds COUNT] [--plain]"),
    .details = S_INIT(
        "Creates the stream 'clicks' on a server of its own with an empty data directory, puts\n"
        "records of 1 KB, reads every shard through the API and shows both sides live. A delivery\n"
        "stream writes the same records to the bucket 'lake' as Parquet, by hour. The last line "
        "is\n"
        "what was counted: 'put N, got N, lost 0, duplicated 0, out of order 0, throttled N,\n"
        "in objects N' (rows of the Parquet files). The status is 1 if anything was lost or came "
        "out of order. Settings of\n"
        "the server may be given as flags too."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .settings = true,
    .examples = { { S_INIT("headrace demo"), S_INIT("3,000 records a second until Ctrl-C") },
                  { S_INIT("headrace demo --seconds 10 --rate 3000 --plain"),
                    S_INIT("ten seconds, one line for each, for scripts") } },
    .see_also = S_INIT("serve, stream tail"),
    .run = run,
};
