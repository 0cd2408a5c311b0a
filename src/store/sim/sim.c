// SPDX-License-Identifier: Apache-2.0
// The simulator of the store: worlds from seeds, in as many processes as there are processors.
//
//     headrace-sim [--seed K] [--seeds N] [--jobs N] [--plant NAME] [--list FILE] [--replay]
//     [--loud]
//
// A seed that breaks a promise is reported with what was planted in it and how to run it again; the
// program's status is then 1.
#include "base/logline.h"
#include "store/sim/sim_priv.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TOLD_BYTES_MAX = 8 << 10,
    JOBS_MAX = 64,
    STATUS_BROKEN = 3,
    REPLAYED_SEEDS = 20,   // of a test, run twice each
    PLANT_SEEDS_MAX = 400, // within which each planted mistake must be found
    RARE_FIRST = 3800,
    RARE_MAX = 4000,
    LIST_BYTES_MAX = 1 << 16,
};

static struct {
    uint64_t first, count;
    unsigned jobs;
    bool is_replayed, is_loud, is_quiet;
    const char *list;
} options = { .first = 1, .count = 1000 };

static uint64_t current_seed;
static char told[TOLD_BYTES_MAX];
static size_t told_bytes;

// ---- Reports

void sim_tell(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(told + told_bytes, sizeof told - told_bytes, format, args);
    va_end(args);
    if (options.is_loud)
        fprintf(stderr, "---- %s\n", told + told_bytes);
    if (n < 0 || told_bytes + (size_t)n + 2 > sizeof told)
        return; // the report is cut off, the run goes on
    told_bytes += (size_t)n;
    told[told_bytes++] = '\n';
    told[told_bytes] = 0;
}

static void report(void)
{
    fprintf(stderr, "\nwhat was planted:\n%s", told);
    fprintf(stderr, "at %.6f s, task %u, step %" PRIu64 ", trace %016" PRIx64 "\n",
            (double)sched_mono_ns() / 1e9, sched_task(), sched_steps(), sched_trace());
    fprintf(stderr, "again: make sim SEED=%" PRIu64 "\n", current_seed);
}

void sim_fail(const char *format, ...)
{
    if (!options.is_quiet) {
        fprintf(stderr, "\nseed %" PRIu64 " breaks a promise: ", current_seed);
        va_list args;
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        report();
    }
    _exit(STATUS_BROKEN);
}

static void stuck(const char *why)
{
    sim_fail("%s", why);
}

// ---- One seed

// SQLite seeds its generator once per process, from the default VFS.
static int vfs_random(sqlite3_vfs *vfs, int n, char *p)
{
    (void)vfs;
    for (int i = 0; i < n; i++)
        p[i] = (char)(current_seed >> (8 * (i % 8)));
    return n;
}

static void set_up_sqlite(void)
{
    static sqlite3_vfs vfs;
    // Below there is one thread only, and nobody asks for SQLite's own statistics.
    CHECK(sqlite3_config(SQLITE_CONFIG_SINGLETHREAD) == SQLITE_OK);
    CHECK(sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) == SQLITE_OK);
    CHECK(sqlite3_initialize() == SQLITE_OK);
    vfs = *sqlite3_vfs_find(NULL);
    vfs.zName = "simulated";
    vfs.pNext = NULL;
    vfs.xRandomness = vfs_random;
    CHECK(sqlite3_vfs_register(&vfs, 1) == SQLITE_OK);
}

static uint64_t run_seed(uint64_t seed)
{
    current_seed = seed;
    told_bytes = 0;
    told[0] = 0;
    sqlite3_randomness(0, NULL);
    return sim_world_run(seed);
}

static void run_and_compare(uint64_t seed)
{
    uint64_t trace = run_seed(seed);
    if (options.is_replayed && run_seed(seed) != trace)
        sim_fail("the second run is not the first one again");
    if (options.count == 1)
        printf("seed %" PRIu64 ": trace %016" PRIx64 "\n", seed, trace);
}

// ---- Processes

struct shared {
    _Atomic uint64_t next;   // index of the seed that nobody has taken yet
    uint64_t seed[JOBS_MAX]; // that each process is at
    SimCounts counts[JOBS_MAX];
};

struct seeds {
    uint64_t *at;
    uint64_t n;
};

static void work(struct shared *shared, unsigned job, const struct seeds *seeds)
{
    logline_setup(options.is_loud ? LOG_DEBUG : (LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    sim_disk_loud(options.is_loud);
    sched_on_stuck(stuck);
    set_up_sqlite();
    if (options.is_quiet && freopen("/dev/null", "w", stderr) == NULL)
        _exit(2);
    uint64_t i;
    while ((i = shared->next++) < seeds->n) {
        shared->seed[job] = seeds->at[i];
        run_and_compare(seeds->at[i]);
        shared->counts[job] = sim_counts;
    }
    exit(0); // not _exit: the leak checker looks now
}

static struct shared *share(void)
{
    void *p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                   -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

// 0: none was found; otherwise a seed that failed.
static uint64_t run_all(const struct seeds *seeds, SimCounts *ret)
{
    struct shared *shared = share();
    pid_t children[JOBS_MAX];
    unsigned jobs = (unsigned)MIN((uint64_t)options.jobs, seeds->n);
    fflush(NULL);
    for (unsigned i = 0; i < jobs; i++) {
        children[i] = fork();
        CHECK(children[i] >= 0);
        if (children[i] == 0)
            work(shared, i, seeds);
    }
    uint64_t failed = 0;
    for (unsigned i = 0; i < jobs; i++) {
        int status = 0;
        CHECK(waitpid(children[i], &status, 0) == children[i]);
        if (status != 0) {
            failed = shared->seed[i];
            shared->next = seeds->n; // the others end after what they are at
            if (!options.is_quiet && !(WIFEXITED(status) && WEXITSTATUS(status) == STATUS_BROKEN))
                fprintf(stderr,
                        "seed %" PRIu64 " ended the process (status %#x); again: make sim "
                        "SEED=%" PRIu64 "\n",
                        failed, (unsigned)status, failed);
        }
        const uint64_t *from = (const uint64_t *)&shared->counts[i];
        for (size_t k = 0; k < sizeof *ret / sizeof *from; k++)
            ((uint64_t *)ret)[k] += from[k];
    }
    munmap(shared, sizeof *shared);
    return failed;
}

static struct seeds seeds_range(uint64_t first, uint64_t n)
{
    struct seeds s = { .at = xalloc(mul_checked((size_t)n, sizeof(uint64_t))), .n = n };
    for (uint64_t i = 0; i < n; i++)
        s.at[i] = first + i;
    return s;
}

static bool run_range(uint64_t first, uint64_t n)
{
    struct seeds seeds = seeds_range(first, n);
    SimCounts c = { 0 };
    uint64_t failed = run_all(&seeds, &c);
    free(seeds.at);
    printf("# %" PRIu64 " seeds from %" PRIu64 "%s: %" PRIu64 " lives, %" PRIu64
           " crashes, %" PRIu64 " appends, %" PRIu64 " records acknowledged, %" PRIu64
           " reads, %" PRIu64 " containers sealed, %" PRIu64 " merged, %" PRIu64
           " expired, %" PRIu64 " transactions, %" PRIu64 " answers ERR_IO, %" PRIu64
           " ERR_FULL, %" PRIu64 " bit flips, %" PRIu64 " of them reported\n",
           n, first, failed != 0 ? " (ended early)" : "", c.lives, c.cuts, c.appends, c.acked,
           c.reads, c.seals, c.merges, c.expired, c.transactions, c.errors, c.fulls, c.flips,
           c.flips_told);
    return failed == 0;
}

// ---- As a test

// The seeds that have failed once: one per line, behind # what it was.
static struct seeds read_list(const char *path)
{
    AUTO(arena) tmp = arena_open();
    Str rest, line;
    Err e = io_read_file(io_real(), tmp, str_of(path), LIST_BYTES_MAX, &rest);
    if (e.kind != ERR_NONE) {
        fprintf(stderr, "%s: %s\n", path, e.text);
        exit(2);
    }
    struct seeds s = { .at = xalloc(mul_checked(rest.n + 1, sizeof(uint64_t))) };
    while (rest.n > 0) {
        str_cut(rest, '\n', &line, &rest);
        Str number = str_trim(str_head(line, str_find(line, '#')));
        if (number.n > 0 && str_u64(number, &s.at[s.n]).kind == ERR_NONE)
            s.n++;
    }
    return s;
}

static int test_count;

static bool tap(bool is_ok, const char *what, const char *about)
{
    printf("%s %d - %s%s\n", is_ok ? "ok" : "not ok", ++test_count, what, about);
    fflush(stdout);
    return is_ok;
}

static bool test_seeds(void)
{
    SimCounts c = { 0 };
    struct seeds listed = read_list(options.list);
    bool ok =
        tap(listed.n == 0 || run_all(&listed, &c) == 0, "every seed that ever failed passes", "");
    free(listed.at);
    options.is_replayed = true;
    ok &= tap(run_range(options.first, REPLAYED_SEEDS), "a seed runs twice in the same way", "");
    options.is_replayed = false;
    ok &= tap(run_range(options.first, options.count), "no seed breaks a promise", "");
    return ok;
}

static bool test_plants(void)
{
    bool ok = true;
    options.is_quiet = true;
    for (SimPlant p = PLANT_NONE + 1; p < PLANT_COUNT; p++) {
        sim_plant = p;
        // It shows only where a zone that was left out wins by its place in the list: in one world
        // of some thousands, so the search begins where it has been found.
        bool is_rare = p == PLANT_ZONE_FORGET;
        struct seeds seeds =
            seeds_range(is_rare ? RARE_FIRST : 1, is_rare ? RARE_MAX : PLANT_SEEDS_MAX);
        SimCounts c = { 0 };
        uint64_t seed = run_all(&seeds, &c);
        ok &= tap(seed != 0, "a planted mistake is found: ", sim_plant_name(p));
        printf("# by seed %" PRIu64 "\n", seed);
        free(seeds.at);
    }
    return ok;
}

static int test(void)
{
    bool ok = test_seeds();
    ok &= test_plants();
    printf("1..%d\n", test_count);
    return ok ? 0 : 1;
}

// ---- The program

static bool parse_plant(const char *name)
{
    for (SimPlant p = PLANT_NONE; p < PLANT_COUNT; p++)
        if (strcmp(sim_plant_name(p), name) == 0) {
            sim_plant = p;
            return true;
        }
    return false;
}

static bool parse(int count, char **words)
{
    for (int i = 1; i < count; i++) {
        const char *word = words[i];
        if (strcmp(word, "--replay") == 0) {
            options.is_replayed = true;
            continue;
        }
        if (strcmp(word, "--loud") == 0) {
            options.is_loud = true;
            continue;
        }
        if (i + 1 == count)
            return false;
        uint64_t number = 0;
        const char *value = words[++i];
        bool is_number = str_u64(str_of(value), &number).kind == ERR_NONE;
        if (strcmp(word, "--seed") == 0 && is_number)
            options.first = number, options.count = 1;
        else if (strcmp(word, "--first") == 0 && is_number)
            options.first = number;
        else if (strcmp(word, "--seeds") == 0 && is_number)
            options.count = number;
        else if (strcmp(word, "--jobs") == 0 && is_number)
            options.jobs = (unsigned)MIN(number, (uint64_t)JOBS_MAX);
        else if (strcmp(word, "--test") == 0)
            options.list = value;
        else if (strcmp(word, "--plant") != 0 || !parse_plant(value))
            return false;
    }
    return true;
}

int main(int count, char **words)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    options.jobs = (unsigned)MIN(MAX(processors, 1), JOBS_MAX);
    if (!parse(count, words)) {
        fprintf(stderr, "usage: headrace-sim [--seed K | --first K] [--seeds N] [--jobs N] "
                        "[--plant NAME] [--replay] [--loud] | --test LIST [--seeds N]\n");
        return 2;
    }
    if (options.list != NULL)
        return test();
    return run_range(options.first, options.count) ? 0 : 1;
}
