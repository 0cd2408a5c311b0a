// SPDX-License-Identifier: Apache-2.0
// The crash loop: appends of many sizes, ends, drops and expiry run on a disk in memory until the
// power goes at a seeded moment, with seeded losses; then the next log is opened on what is left
// and compared with a model of what was promised.
#include "store/log/log_test_help.h"

#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_THREAD__
enum { ROUNDS = 30 }; // what it looks for shows in a few
#else
enum { ROUNDS = 200 };
#endif

enum {
    SHARDS = 5,
    APPENDS_PER_ROUND = 60,
    MODEL_MAX = 1 << 17,
    OPEN_MAX = 12, // appends under way
};
#define RETENTION_NS (INT64_C(600) * NS_PER_S)

// One record of the model. Its data is "<append> <part> <parts> " and filling.
struct model_record {
    uint64_t shard, position;
    int64_t arrival_ms;
    unsigned append, part, parts;
    enum { PROMISED, UNKNOWN, REFUSED } state;
    bool seen; // in this round's reading
};

struct world {
    uint64_t random;
    struct model_record *records;
    size_t n;
    unsigned appends;
    uint64_t shards[SHARDS];
    bool ended[SHARDS];
    uint64_t ends[SHARDS];
    uint64_t next_shard;
    uint64_t highest; // position seen so far
    int64_t now_ns;
    _Atomic bool died;
    int round;
};

struct run {
    struct log *log;
    struct test_append *open[OPEN_MAX];
    size_t first_record[OPEN_MAX]; // in the model
    size_t open_count;
};

static uint64_t random_below(struct world *w, uint64_t n)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (w->random >> 11) % n;
}

static void note_fatal(void *self, Err e)
{
    struct world *w = self;
    CHECK(e.kind != ERR_NONE);
    atomic_store(&w->died, true);
}

static bool is_live(const struct world *w, uint64_t shard)
{
    for (size_t i = 0; i < SHARDS; i++)
        if (w->shards[i] == shard)
            return true;
    return false;
}

static bool is_open(const struct world *w, uint64_t shard)
{
    for (size_t i = 0; i < SHARDS; i++)
        if (w->shards[i] == shard)
            return !w->ended[i];
    return false;
}

// ---- Checking

static struct model_record *model_find(struct world *w, unsigned append, unsigned part)
{
    for (size_t i = w->n; i > 0; i--)
        if (w->records[i - 1].append == append && w->records[i - 1].part == part)
            return &w->records[i - 1];
    test_fail(__FILE__, __LINE__, "append %u has no part %u", append, part);
}

static void check_entry(struct world *w, uint64_t shard, const LogEntry *e)
{
    Str rest = e->data, number, part;
    uint64_t append, index;
    EXPECT(str_cut(rest, ' ', &number, &rest) && str_cut(rest, ' ', &part, &rest));
    EXPECT_OK(str_u64(number, &append));
    EXPECT_OK(str_u64(part, &index));
    struct model_record *m = model_find(w, (unsigned)append, (unsigned)index);
    EXPECT_INT(shard, m->shard);
    EXPECT(!m->seen);
    EXPECT(m->state != REFUSED);
    if (m->state == PROMISED) {
        EXPECT_INT(m->position, e->position);
        EXPECT_INT(m->arrival_ms, e->arrival_ms);
    }
    m->position = e->position;
    m->arrival_ms = e->arrival_ms;
    m->seen = true;
    w->highest = MAX(w->highest, e->position);
}

static bool is_within_retention(const struct world *w, const struct model_record *m)
{
    return m->arrival_ms > (w->now_ns - RETENTION_NS) / NS_PER_MS;
}

// Everything promised is there, nothing refused is, and of what is unknown each append is there
// wholly or not at all; which becomes its fate.
static void check_model(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        struct model_record *m = &w->records[i];
        if (m->state == PROMISED && !m->seen && is_live(w, m->shard) && is_within_retention(w, m))
            test_fail(__FILE__, __LINE__, "round %d: lost part %u of append %u, block %llu",
                      w->round, m->part, m->append,
                      (unsigned long long)(m->position >> LOG_ORDINAL_BITS));
        // An ended shard may have refused its part of an append.
        if (m->state == UNKNOWN && !m->seen && is_open(w, m->shard))
            for (size_t k = 0; k < w->n; k++)
                EXPECT(w->records[k].append != m->append || !w->records[k].seen);
    }
    size_t kept = 0;
    for (size_t i = 0; i < w->n; i++) {
        struct model_record m = w->records[i];
        if (!is_live(w, m.shard) || (m.state == PROMISED && !m.seen))
            continue; // dropped or past its retention
        if (m.state == UNKNOWN)
            m.state = m.seen ? PROMISED : REFUSED;
        m.seen = false;
        w->records[kept++] = m;
    }
    w->n = kept;
}

static void check(struct world *w, struct log *l, struct arena *a)
{
    for (size_t i = 0; i < SHARDS; i++) {
        LogBatch all = test_read_all(l, a, w->shards[i], 0);
        for (size_t k = 0; k < all.n; k++)
            check_entry(w, w->shards[i], &all.at[k]);
        LogSpan span;
        EXPECT_OK(log_span(l, w->shards[i], &span));
        if (w->ended[i]) {
            EXPECT(span.ended);
            EXPECT_INT(w->ends[i], span.end);
        }
        w->ended[i] = span.ended; // an end whose answer was lost may have happened
        w->ends[i] = span.end;
        w->highest = MAX(w->highest, span.end);
    }
    check_model(w);
}

// ---- Acting

static void collect(struct world *w, struct run *r, size_t i)
{
    struct test_append *t = r->open[i];
    Err e = test_append_wait(t);
    for (size_t k = 0; k < t->append.n; k++) {
        struct model_record *m = &w->records[r->first_record[i] + k];
        if (e.kind == ERR_NONE && t->places[k].position != 0) {
            m->state = PROMISED;
            m->position = t->places[k].position;
            m->arrival_ms = t->places[k].arrival_ms;
            EXPECT(m->position > w->highest);
        } else if (e.kind == ERR_NONE || e.kind == ERR_FULL) {
            m->state = REFUSED;
        } else {
            EXPECT_INT(ERR_IO, e.kind);
        }
    }
    test_append_free(t);
    r->open_count--;
    r->open[i] = r->open[r->open_count];
    r->first_record[i] = r->first_record[r->open_count];
}

static size_t random_size(struct world *w)
{
    switch (random_below(w, 12)) {
    case 0:
        return 100000 + random_below(w, 150000); // several make an append that spans blocks
    case 1:
        return 5000 + random_below(w, 30000);
    default:
        return random_below(w, 300);
    }
}

static void act_append(struct world *w, struct run *r, struct arena *a)
{
    struct test_append *t = test_append_new();
    t->append.held = random_below(w, 2);
    size_t n = 1 + random_below(w, 7), first = w->n;
    unsigned number = w->appends++;
    for (size_t i = 0; i < n; i++) {
        uint64_t shard = w->shards[random_below(w, SHARDS)];
        Str head = str_fmt(a, "%u %zu %zu ", number, i, n);
        size_t bytes = head.n + random_size(w);
        char *data = arena_alloc(a, bytes + 1, 1);
        memcpy(data, head.p, head.n);
        memset(data + head.n, 'x', bytes - head.n);
        test_append_add(t, shard, S("k"), str_from(data, bytes));
        CHECK(w->n < MODEL_MAX);
        w->records[w->n++] = (struct model_record){
            .shard = shard,
            .append = number,
            .part = (unsigned)i,
            .parts = (unsigned)n,
            .state = UNKNOWN,
        };
    }
    if (test_append_start(r->log, t).kind != ERR_NONE) {
        w->n = first; // never taken
        test_append_free(t);
        return;
    }
    r->open[r->open_count] = t;
    r->first_record[r->open_count++] = first;
}

static void act_end(struct world *w, struct run *r)
{
    size_t i = random_below(w, SHARDS);
    LogPlace end = { 0 };
    Err e = log_shards_end(r->log, &w->shards[i], 1, &end);
    if (e.kind != ERR_NONE)
        return;
    EXPECT(!w->ended[i] || w->ends[i] == end.position);
    w->ended[i] = true;
    w->ends[i] = end.position;
}

// What is not known to have happened is tried again after the restart, as the service would.
static void act_drop(struct world *w, struct run *r)
{
    size_t i = random_below(w, SHARDS);
    uint64_t id = w->shards[i];
    w->shards[i] = w->next_shard++;
    w->ended[i] = false;
    w->ends[i] = 0;
    EXPECT_OK(log_shard_add(r->log, w->shards[i], RETENTION_NS));
    err_ignore(log_shards_drop(r->log, &id, 1)); // a dropped id is declared no more: see open_round
}

static void act(struct world *w, struct run *r, struct io_mem *disk, struct arena *a)
{
    uint64_t what = random_below(w, 100);
    if (what < 80 && r->open_count < OPEN_MAX) {
        act_append(w, r, a);
    } else if (what < 93 && r->open_count > 0) {
        collect(w, r, random_below(w, r->open_count));
    } else if (what == 93) {
        act_end(w, r);
    } else if (what == 94) {
        act_drop(w, r);
    } else if (what == 95) {
        w->now_ns += (int64_t)random_below(w, 200) * NS_PER_S;
        io_mem_set_clock(disk, w->now_ns, w->now_ns);
        log_expire(r->log);
    }
}

// Ids that were dropped without an answer may still have records: they are dropped again.
static void open_round(struct world *w, struct run *r, struct io *io, struct arena *a)
{
    LogConfig config = test_config(io, S("/log"));
    config.file_bytes = 512 << 10;
    config.tail_cache_bytes = random_below(w, 2) ? 64 << 10 : 4 << 20;
    config.depth = (unsigned)random_below(w, 5);
    config.fatal = note_fatal;
    config.fatal_self = w;
    EXPECT_OK(log_open(&config, &r->log));
    for (size_t i = 0; i < SHARDS; i++)
        EXPECT_OK(log_shard_add(r->log, w->shards[i], RETENTION_NS));
    uint64_t *gone = arena_new(a, uint64_t, w->next_shard);
    size_t n = 0;
    for (uint64_t id = w->next_shard > 40 ? w->next_shard - 40 : 1; id < w->next_shard; id++)
        if (!is_live(w, id))
            gone[n++] = id;
    EXPECT_OK(log_shards_drop(r->log, gone, n));
    EXPECT_OK(log_ready(r->log));
}

// A write that fails before the power goes: the device's fault, or no space for a moment.
static void add_stumble(struct world *w, struct io_fault *faults)
{
    if (random_below(w, 3) == 0)
        return;
    io_fault_add(faults, (IoFault){
                             .ops = IO_OP_WRITE,
                             .skip = random_below(w, 30),
                             .err = random_below(w, 2) ? fail(ERR_FULL, "injected") : (Err){ 0 },
                             .tear = random_below(w, 3),
                         });
}

static struct io_mem *run_round(struct world *w, struct io_mem *disk, struct arena *a)
{
    struct run r = { 0 };
    atomic_store(&w->died, false);
    io_mem_set_clock(disk, w->now_ns, w->now_ns);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), w->random);
    open_round(w, &r, io_fault_io(faults), a);
    check(w, r.log, a);
    bool clean = random_below(w, 8) == 0;
    if (!clean)
        io_fault_add(faults, (IoFault){
                                 .ops = IO_OP_CHANGE,
                                 .skip = random_below(w, 60),
                                 .power_off = true,
                                 .tear = random_below(w, 3),
                             });
    add_stumble(w, faults);
    for (int i = 0; i < APPENDS_PER_ROUND && !atomic_load(&w->died); i++)
        act(w, &r, disk, a);
    if (!clean)
        io_fault_power_off(faults);
    while (r.open_count > 0)
        collect(w, &r, random_below(w, r.open_count));
    log_close(r.log);
    struct io_mem *after = io_mem_crash(disk, (IoMemCrash){
                                                  .seed = w->random,
                                                  .keep = random_below(w, 3),
                                                  .sector_bytes = random_below(w, 2) ? 512 : 4096,
                                              });
    io_mem_close(disk);
    return after;
}

static void crash_loop(uint64_t seed, int rounds)
{
    logline_setup(getenv("HEADRACE_TEST_LOUD") != NULL ? LOG_INFO : (LogLevel)(LOG_ERROR + 1),
                  LOG_TEXT, NULL);
    struct world w = {
        .random = seed,
        .records = xalloc(MODEL_MAX * sizeof(struct model_record)),
        .next_shard = SHARDS + 1,
        .now_ns = INT64_C(1700000000) * NS_PER_S,
    };
    for (size_t i = 0; i < SHARDS; i++)
        w.shards[i] = i + 1;
    struct io_mem *disk = io_mem_open(seed);
    for (int i = 0; i < rounds; i++) {
        AUTO(arena) a = arena_open();
        w.round = i;
        disk = run_round(&w, disk, a);
    }
    io_mem_close(disk);
    free(w.records);
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
}

TEST(what_was_acknowledged_survives_every_crash_once_and_in_order)
{
    const char *seed = getenv("HEADRACE_TEST_SEED");
    const char *rounds = getenv("HEADRACE_TEST_ROUNDS");
    crash_loop(seed != NULL ? strtoull(seed, NULL, 10) : 20240229,
               rounds != NULL ? (int)strtol(rounds, NULL, 10) : ROUNDS);
}
