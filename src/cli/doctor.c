// SPDX-License-Identifier: Apache-2.0
// Looks at what makes servers fail or crawl, and says what to do about each. It changes nothing but
// a file of its own in the data directory, which it removes.
#include "base/time.h"
#include "cli/commands.h"
#include "cli/term.h"
#include "os/io.h"
#include "server/port_owner.h"
#include "server/zone_set.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timex.h>
#include <unistd.h>

enum {
    SYNC_ROUNDS = 200,
    SYNC_BYTES = IO_ALIGN_BYTES,
    FILES_WANTED = 65536,
    CERT_DAYS_WARN = 30,
    CERT_BYTES_MAX = 65536,
};
// A commit waits for one such write: more is felt in every put. One in a hundred may take longer.
#define SYNC_WARN_NS (20 * NS_PER_MS)
#define SYNC_FAIL_NS (200 * NS_PER_MS)
#define SYNC_WARN_P99_NS (100 * NS_PER_MS)
#define SYNC_TIME_NS (3 * NS_PER_S) // a slow disk is not measured for longer
#define FREE_WARN_BYTES (UINT64_C(10) << 30)
#define FREE_FAIL_BYTES (UINT64_C(512) << 20)
#define CLOCK_EARLIEST_NS (INT64_C(1735689600) * NS_PER_S) // 2025: an unset clock is before it

static const Flag flags[] = {
    { S_INIT("json"), 0, S_INIT(""), S_INIT("Print one JSON object on each line") },
    { S_INIT("config"), 0, S_INIT("FILE"), S_INIT("Read this configuration file") },
};

typedef enum Verdict { VERDICT_OK, VERDICT_WARN, VERDICT_FAIL } Verdict;

typedef struct Finding {
    Verdict verdict;
    Str what; // what was seen
    Str fix;  // what to do; empty if nothing
} Finding;

struct doctor {
    struct arena *a;
    const Settings *settings;
    Str dir; // the data directory, or the nearest directory above it that exists
};

static Finding finding(Verdict verdict, Str what, Str fix)
{
    return (Finding){ .verdict = verdict, .what = what, .fix = fix };
}

static Finding check_clock(struct doctor *d)
{
    int64_t now = io_real()->wall_ns(io_real());
    Str text = time_iso_ms(d->a, now);
    if (now < CLOCK_EARLIEST_NS)
        return finding(VERDICT_FAIL, str_cat(d->a, S("the clock says "), text),
                       S("set the clock; signatures are refused when it is off by five minutes"));
    struct timex t = { 0 };
    int state = adjtimex(&t); // changes nothing: modes is 0
    if (state == TIME_ERROR || (t.status & STA_UNSYNC) != 0)
        return finding(VERDICT_WARN, str_cat(d->a, text, S(", not synchronized")),
                       S("run a time service such as systemd-timesyncd or chrony"));
    return finding(VERDICT_OK, str_cat(d->a, text, S(", synchronized")), S(""));
}

static int compare_times(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

// How long durable writes of one block take, as the journal's are.
struct sync_times {
    int64_t p50_ns, p99_ns;
    size_t rounds;
};

static Err write_rounds(struct doctor *d, struct io_file *f, int64_t *times, size_t *ret_n)
{
    struct io *io = io_real();
    char *block = arena_alloc(d->a, SYNC_BYTES, IO_ALIGN_BYTES);
    int64_t begin = io->mono_ns(io), now = begin;
    size_t n = 0;
    while (n < SYNC_ROUNDS && (n == 0 || now - begin < SYNC_TIME_NS)) {
        TRY(io->write(f, block, SYNC_BYTES, 0, true));
        int64_t end = io->mono_ns(io);
        times[n++] = end - now;
        now = end;
    }
    *ret_n = n;
    return OK;
}

static Err measure_sync(struct doctor *d, struct sync_times *ret)
{
    struct io *io = io_real();
    Str path = str_fmt(d->a, "%.*s/.doctor-%ld", FMT(d->dir), (long)getpid());
    struct io_file *f = NULL;
    int64_t times[SYNC_ROUNDS];
    size_t n = 0;
    TRY(io->open(io, path, IO_WRITE | IO_CREATE | IO_TRUNC, &f));
    Err e = write_rounds(d, f, times, &n);
    io->close(f);
    Err removed = io->unlink(io, path);
    TRY(e);
    TRY(removed);
    qsort(times, n, sizeof *times, compare_times);
    *ret = (struct sync_times){ times[n / 2], times[n * 99 / 100], n };
    return OK;
}

static Finding check_sync(struct doctor *d)
{
    struct sync_times t = { 0 };
    Err e = measure_sync(d, &t);
    if (e.kind != ERR_NONE)
        return finding(VERDICT_FAIL,
                       str_fmt(d->a, "%.*s cannot be written: %s", FMT(d->dir),
                               e.os != 0 ? strerrordesc_np(e.os) : e.text),
                       S("choose another --data-dir, or change its owner"));
    Str what =
        str_fmt(d->a, "a durable write of 4 KiB takes p50 %.2f ms, p99 %.2f ms (%zu in %.*s)",
                (double)t.p50_ns / 1e6, (double)t.p99_ns / 1e6, t.rounds, FMT(d->dir));
    Verdict verdict = t.p50_ns > SYNC_FAIL_NS                                  ? VERDICT_FAIL
                      : t.p50_ns > SYNC_WARN_NS || t.p99_ns > SYNC_WARN_P99_NS ? VERDICT_WARN
                                                                               : VERDICT_OK;
    return finding(
        verdict, what,
        verdict == VERDICT_OK ? S("")
        : t.p50_ns <= SYNC_WARN_NS
            ? S("something else keeps the disk busy at times, or it pauses; look at iostat")
            : S("use a local SSD for the data directory"));
}

static Finding check_files(struct doctor *d)
{
    struct rlimit l = { 0 };
    if (getrlimit(RLIMIT_NOFILE, &l) != 0)
        return finding(VERDICT_WARN, S("the limit cannot be read"), S(""));
    Str what = str_fmt(d->a, "%llu open files at most", (unsigned long long)l.rlim_max);
    if (l.rlim_max < FILES_WANTED)
        return finding(VERDICT_WARN, what,
                       S("raise it: LimitNOFILE= in the unit, or ulimit -Hn 65536"));
    return finding(VERDICT_OK, what, S(""));
}

static Finding check_uring(struct doctor *d)
{
    if (str_eq(settings_text(d->settings, S("io_uring")), S("off")))
        return finding(VERDICT_OK, S("switched off by the configuration"), S(""));
    struct io *io = io_real();
    struct io_queue *q = NULL;
    Err e = io->queue_open(io, 1, &q);
    if (e.kind != ERR_NONE)
        return finding(VERDICT_FAIL, str_cat(d->a, S("no queue for writes: "), str_of(e.text)),
                       S("report this, with the kernel's version"));
    bool uring = strcmp(io->queue_kind(q), "io_uring") == 0;
    io->queue_close(q);
    if (uring)
        return finding(VERDICT_OK, S("available"), S(""));
    return finding(VERDICT_WARN, S("not available; pwritev2 is used, which costs more threads"),
                   S("allow it: kernel.io_uring_disabled=0, and the container's seccomp profile"));
}

static Finding check_space(struct doctor *d)
{
    uint64_t free_bytes = 0, total = 0;
    Err e = io_real()->space(io_real(), d->dir, &free_bytes, &total);
    if (e.kind != ERR_NONE)
        return finding(VERDICT_FAIL, str_cat(d->a, S("cannot be read: "), str_of(e.text)), S(""));
    Str what = str_fmt(d->a, "%.*s of %.*s free", FMT(term_bytes(d->a, free_bytes)),
                       FMT(term_bytes(d->a, total)));
    Verdict verdict = free_bytes < FREE_FAIL_BYTES   ? VERDICT_FAIL
                      : free_bytes < FREE_WARN_BYTES ? VERDICT_WARN
                                                     : VERDICT_OK;
    return finding(verdict, what,
                   verdict == VERDICT_OK ? S("")
                                         : S("make room; a day of 3 MiB/s takes about 250 GiB"));
}

static Finding check_port(struct doctor *d, Str address)
{
    uint16_t port = 0;
    if (address_port(address, &port).kind != ERR_NONE)
        return finding(VERDICT_FAIL, str_cat(d->a, address, S(" is no address")),
                       S("write HOST:PORT"));
    Str owner = port_owner(d->a, port);
    if (owner.p == NULL)
        return finding(VERDICT_OK, str_cat(d->a, address, S(" is free")), S(""));
    Str what = str_fmt(d->a, "%.*s is in use by %.*s", FMT(address), FMT(owner));
    if (str_search(owner, S("(headrace)")) < owner.n)
        return finding(VERDICT_OK, what, S(""));
    return finding(VERDICT_FAIL, what, S("stop it, or use another --listen"));
}

// Days until the certificate ends; false: there is none, or it cannot be read.
static bool certificate_days(struct doctor *d, Str path, int *ret_days)
{
    Str pem;
    if (io_read_file(io_real(), d->a, path, CERT_BYTES_MAX, &pem).kind != ERR_NONE)
        return false;
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    X509 *x = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    int days = 0, seconds = 0;
    bool read = x != NULL && ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x)) == 1;
    X509_free(x);
    *ret_days = seconds < 0 ? days - 1 : days;
    return read;
}

static Finding check_certificate(struct doctor *d)
{
    Str path = settings_text(d->settings, S("tls.cert"));
    bool given = path.n > 0;
    if (!given)
        path = data_file_find(io_real(), d->a, d->settings, S("tls/cert.pem"));
    int days = 0;
    if (path.p == NULL || !certificate_days(d, path, &days)) {
        if (given)
            return finding(VERDICT_FAIL, str_cat(d->a, path, S(" cannot be read")),
                           S("correct tls.cert"));
        return finding(VERDICT_OK, S("none yet; made at the first start"), S(""));
    }
    Str what = str_fmt(d->a, "%.*s ends in %d days", FMT(path), days);
    if (days >= CERT_DAYS_WARN)
        return finding(VERDICT_OK, what, S(""));
    return finding(days < 0 ? VERDICT_FAIL : VERDICT_WARN, what,
                   given ? S("renew it and restart the server")
                         : S("remove the files in DATA_DIR/tls and restart: new ones are made"));
}

// The nearest directory at or above the data directory that exists.
static void find_dir(struct doctor *d)
{
    Str dir = settings_text(d->settings, S("data_dir"));
    while (dir.n > 1 && access(str_c(d->a, dir), F_OK) != 0) {
        size_t n = dir.n;
        while (n > 0 && dir.p[n - 1] != '/')
            n--;
        dir = n > 1 ? str_head(dir, n - 1) : n == 1 ? S("/") : S(".");
    }
    d->dir = dir.n > 0 ? dir : S(".");
}

static void print_finding(struct doctor *d, struct table *t, Str name, Finding f)
{
    static const Str words[] = { S_INIT("ok"), S_INIT("warn"), S_INIT("fail") };
    static const char *const colours[] = { "32", "33", "31" };
    Str word = words[f.verdict];
    if (t->style != TABLE_HUMAN) {
        const Str cells[] = { word, name, f.what, f.fix };
        table_row(t, cells);
        return;
    }
    Str fill = str_head(S("    "), 4 - word.n);
    Str painted = term_paint(d->a, term_colour(STDOUT_FILENO), colours[f.verdict], word);
    printf("%.*s%.*s  %-12.*s %.*s\n", FMT(painted), FMT(fill), FMT(name), FMT(f.what));
    if (f.fix.n > 0)
        printf("%20s%.*s\n", "", FMT(f.fix));
}

static ExitCode examine(struct doctor *d, TableStyle style)
{
    static const Column columns[] = {
        { S_INIT("verdict"), false },
        { S_INIT("check"), false },
        { S_INIT("found"), false },
        { S_INIT("fix"), false },
    };
    static const struct {
        Str name;
        Finding (*check)(struct doctor *d);
    } checks[] = {
        { S_INIT("clock"), check_clock },      { S_INIT("disk-latency"), check_sync },
        { S_INIT("disk-space"), check_space }, { S_INIT("open-files"), check_files },
        { S_INIT("io_uring"), check_uring },   { S_INIT("certificate"), check_certificate },
    };
    struct table t = table_begin(d->a, style, columns, COUNT_OF(columns));
    bool failed = false;
    for (size_t i = 0; i < COUNT_OF(checks); i++) {
        Finding f = checks[i].check(d);
        failed |= f.verdict == VERDICT_FAIL;
        print_finding(d, &t, checks[i].name, f);
    }
    const SettingValue *listen = settings_value(d->settings, S("listen"));
    for (size_t i = 0; i < listen->item_count; i++) {
        Finding f = check_port(d, listen->items[i]);
        failed |= f.verdict == VERDICT_FAIL;
        print_finding(d, &t, S("port"), f);
    }
    return failed ? EXIT_FAILED : EXIT_GOOD;
}

static ExitCode run(struct invocation *in)
{
    Settings *settings = arena_new(in->a, Settings, 1);
    ExitCode code = invocation_settings(in, settings);
    if (code != EXIT_GOOD)
        return code;
    struct doctor d = { .a = in->a, .settings = settings };
    find_dir(&d);
    return examine(&d, table_style(flag_given(in, S("json"))));
}

const struct command command_doctor = {
    .name = S_INIT("doctor"),
    .summary = S_INIT("Check this machine: clock, disk, limits, port and certificate"),
    .usage = S_INIT("[--data-dir DIR] [--listen ADDRESS:PORT]"),
    .details = S_INIT("Each line is ok, warn or fail, with what to do. The status is 1 if "
                      "anything failed."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .settings = true,
    .examples = { { S_INIT("headrace doctor"), S_INIT("with the settings that serve would use") },
                  { S_INIT("headrace doctor --data-dir /mnt/fast --json"),
                    S_INIT("another directory, for scripts") } },
    .see_also = S_INIT("serve, config print"),
    .run = run,
};
