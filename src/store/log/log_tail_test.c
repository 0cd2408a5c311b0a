// SPDX-License-Identifier: Apache-2.0
// Sealed records that the tail cache still has: they are read from there, in order with what lies
// in containers before them and in the journal behind them.
#include "store/log/log_test_help.h"
#include "store/log_lend.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_THREAD__
enum { SEEDS = 2 };
#else
enum { SEEDS = 4 };
#endif

enum { SHARDS = 3, TOLD_MAX = 4000, DATA_BYTES_MAX = 5000, CURSORS = 4, STEPS = 400 };
#define HOUR_NS (INT64_C(3600) * NS_PER_S)
#define START_NS (INT64_C(1700000000) * NS_PER_S)

// ---- A log, and all that it was told

struct told {
    uint64_t shard;
    LogPlace place;
    Str data;
};

struct world {
    struct arena *a;
    struct io_mem *disk;
    struct io_fault *faults;
    LogConfig config;
    struct log *l;
    uint64_t random;
    int64_t now_ns;
    uint64_t shards[SHARDS], next_shard;
    int64_t hidden_ms[SHARDS];
    struct told told[TOLD_MAX];
    size_t n;
};

static uint64_t below(struct world *w, uint64_t n)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (w->random >> 11) % n;
}

// The last shard keeps its records longer than the others.
static int64_t retention_ns(size_t i)
{
    return i == SHARDS - 1 ? 100 * HOUR_NS : 10 * HOUR_NS;
}

static void begin_shard(struct world *w, size_t i)
{
    w->shards[i] = ++w->next_shard;
    w->hidden_ms[i] = 0;
    EXPECT_OK(log_shard_add(w->l, w->shards[i], retention_ns(i)));
}

static struct world *world_open(struct arena *a, size_t cache_bytes, uint64_t seed)
{
    struct world *w = arena_new(a, struct world, 1);
    w->a = a;
    w->random = seed;
    w->now_ns = START_NS;
    w->disk = io_mem_open(seed);
    io_mem_set_clock(w->disk, START_NS, START_NS);
    w->faults = io_fault_open(io_mem_io(w->disk), seed);
    w->config = test_config(io_fault_io(w->faults), S("/log"));
    w->config.file_bytes = JOURNAL_FILE_BYTES_LEAST;
    w->config.seal_bytes = 16 * JOURNAL_FILE_BYTES_LEAST;
    w->config.tail_cache_bytes = cache_bytes;
    w->config.read_cache_bytes = 1;
    EXPECT_OK(log_open(&w->config, &w->l));
    for (size_t i = 0; i < SHARDS; i++)
        begin_shard(w, i);
    EXPECT_OK(log_ready(w->l));
    return w;
}

static void world_close(struct world *w)
{
    log_close(w->l);
    io_fault_close(w->faults);
    io_mem_close(w->disk);
}

static void advance(struct world *w, int64_t ns)
{
    io_mem_advance(w->disk, ns);
    w->now_ns += ns;
}

// One append of some records, told from each other by their data.
static void put(struct world *w, size_t shard, size_t n, size_t bytes)
{
    struct test_append *t = test_append_new();
    t->append.held = w->n % 2 == 0;
    for (size_t i = 0; i < n; i++) {
        char *data = arena_alloc(w->a, bytes, 1);
        memset(data, 'a' + (int)(w->n % 26), bytes);
        Str name = str_fmt(w->a, "%zu", w->n + i);
        memcpy(data, name.p, MIN(name.n, bytes));
        EXPECT(w->n + i < TOLD_MAX);
        w->told[w->n + i] =
            (struct told){ .shard = w->shards[shard], .data = str_from(data, bytes) };
        test_append_add(t, w->shards[shard], S("key"), w->told[w->n + i].data);
    }
    EXPECT_OK(test_append_start(w->l, t));
    EXPECT_OK(test_append_wait(t));
    for (size_t i = 0; i < n; i++)
        w->told[w->n++].place = t->places[i];
    test_append_free(t);
}

static void put_round(struct world *w, size_t rounds, size_t bytes)
{
    for (size_t i = 0; i < rounds * SHARDS; i++)
        put(w, i % SHARDS, 1, bytes);
}

static int64_t over_ms(const struct world *w, size_t shard)
{
    return MAX((w->now_ns - retention_ns(shard)) / NS_PER_MS, w->hidden_ms[shard]);
}

// What may be read of a shard from a position on, in order. NULL: nothing more.
static const struct told *next_told(const struct world *w, size_t shard, uint64_t from, size_t *i)
{
    for (; *i < w->n; ++*i) {
        const struct told *t = &w->told[*i];
        if (t->shard == w->shards[shard] && t->place.position >= from &&
            t->place.arrival_ms > over_ms(w, shard))
            return &w->told[(*i)++];
    }
    return NULL;
}

// Returns where in told[] what follows the batch is to be looked for.
static size_t expect_entries(const struct world *w, size_t shard, uint64_t from,
                             const LogBatch *batch)
{
    size_t at = 0;
    for (size_t i = 0; i < batch->n; i++) {
        const struct told *t = next_told(w, shard, from, &at);
        EXPECT(t != NULL);
        EXPECT_INT(t->place.position, batch->at[i].position);
        EXPECT_INT(t->place.arrival_ms, batch->at[i].arrival_ms);
        EXPECT_STR(t->data, batch->at[i].data);
        EXPECT_STR(S("key"), batch->at[i].key);
        EXPECT(batch->next > t->place.position);
    }
    return at;
}

static void expect_batch(const struct world *w, size_t shard, uint64_t from, const LogBatch *batch)
{
    size_t at = expect_entries(w, shard, from, batch);
    EXPECT(batch->next >= from);
    const struct told *rest = next_told(w, shard, from, &at);
    EXPECT(rest == NULL || (batch->more && rest->place.position >= batch->next));
}

static Err read_from(struct world *w, struct arena *a, size_t shard, uint64_t from, LogBatch *ret)
{
    LogRead read = {
        .shard = w->shards[shard], .from = from, .max_records = TOLD_MAX, .max_bytes = 32 << 20
    };
    return log_read_lent(w->l, a, &read, ret);
}

static void expect_from(struct world *w, size_t shard, uint64_t from)
{
    AUTO(arena) a = arena_open();
    LogBatch batch;
    EXPECT_OK(read_from(w, a, shard, from, &batch));
    EXPECT(!batch.more);
    expect_batch(w, shard, from, &batch);
}

// Also from some of the records on, and from behind them.
static void expect_all(struct world *w)
{
    size_t step = 1 + w->n / 64;
    for (size_t i = 0; i < SHARDS; i++) {
        expect_from(w, i, 0);
        for (size_t k = i; k < w->n; k += step)
            expect_from(w, i, w->told[k].place.position + k / step % 2);
    }
}

static void expect_time(struct world *w, size_t shard, int64_t at_ms)
{
    uint64_t position;
    LogSpan span;
    size_t i = 0;
    const struct told *t = next_told(w, shard, 0, &i);
    while (t != NULL && t->place.arrival_ms < at_ms)
        t = next_told(w, shard, 0, &i);
    EXPECT_OK(log_find_time(w->l, w->shards[shard], at_ms, &position));
    EXPECT_OK(log_span(w->l, w->shards[shard], &span));
    EXPECT_INT(t != NULL ? t->place.position : span.next, position);
    int64_t last_ms = 0;
    i = 0;
    while ((t = next_told(w, shard, 0, &i)) != NULL)
        last_ms = t->place.arrival_ms;
    EXPECT_INT(last_ms, span.last_arrival_ms);
}

// ---- The index by itself

// What it counts is what there is; parts of the tail come one after the other and are sorted.
static void expect_index(struct log *l)
{
    size_t n = 0;
    uint64_t block = 0;
    pthread_mutex_lock(&l->lock);
    for (const struct tail_part *p = l->tail.first; p != NULL; p = p->next) {
        EXPECT(block < p->first_block && p->first_block <= p->last_block);
        EXPECT(p->next != NULL || p == l->tail.last);
        block = p->last_block;
        n += p->entry_count;
        uint32_t end = 0;
        for (size_t i = 0; i < p->shard_count; i++) {
            EXPECT(i == 0 || p->shards[i - 1].id < p->shards[i].id);
            EXPECT(p->shards[i].first == end && p->shards[i].end > end);
            end = p->shards[i].end;
            for (uint32_t k = p->shards[i].first; k < end; k++) {
                const IndexEntry *e = &p->entries[k];
                EXPECT(k == p->shards[i].first || e->position >= e[-1].position + e[-1].count);
                EXPECT(e->position >> LOG_ORDINAL_BITS >= p->first_block);
                EXPECT(e->position >> LOG_ORDINAL_BITS <= p->last_block);
            }
        }
        EXPECT_INT(p->entry_count, end);
    }
    EXPECT(l->tail.first != NULL || l->tail.last == NULL);
    EXPECT_INT(n, l->tail.entries);
    pthread_mutex_unlock(&l->lock);
}

static size_t left_entries(struct log *l)
{
    pthread_mutex_lock(&l->lock);
    size_t n = l->tail.entries;
    pthread_mutex_unlock(&l->lock);
    return n;
}

// Whether the file that an entry of a sealed record names is another's now.
static bool any_left_file_is_gone(struct log *l)
{
    bool any = false;
    pthread_mutex_lock(&l->lock);
    for (const struct tail_part *p = l->tail.first; p != NULL; p = p->next)
        for (size_t i = 0; i < p->entry_count; i++)
            any |= files_find(&l->files, p->entries[i].file) == NULL;
    pthread_mutex_unlock(&l->lock);
    return any;
}

// Whatever is read from the disk fails, until it is let go on.
static void stop_disk(struct world *w)
{
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    io_fault_add(w->faults, (IoFault){ .ops = IO_OP_READ, .times = UINT64_MAX });
}

static void start_disk(struct world *w)
{
    io_fault_clear(w->faults);
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
}

// ---- Where records come from

TEST(what_is_sealed_and_cached_needs_no_disk)
{
    struct world *w = world_open(a, 4 << 20, 1);
    put_round(w, 60, 1000);
    EXPECT_OK(log_seal(w->l));
    put_round(w, 60, 1000); // into the files that are used again
    EXPECT_OK(log_seal(w->l));
    put_round(w, 5, 1000);
    EXPECT_INT(120 * SHARDS, left_entries(w->l));
    EXPECT(any_left_file_is_gone(w->l));
    stop_disk(w);
    expect_all(w);
    for (size_t i = 0; i < w->n; i++)
        expect_time(w, i % SHARDS, w->told[i].place.arrival_ms + (int64_t)(i % 3) - 1);
    LogRead read = {
        .shard = w->shards[0], .max_records = 1000, .max_bytes = 1 << 20, .cached_only = true
    };
    AUTO(arena) held = arena_open();
    LogBatch batch;
    EXPECT_OK(log_read_lent(w->l, held, &read, &batch));
    EXPECT_INT(125, batch.n);
    expect_batch(w, 0, 0, &batch);
    start_disk(w);
    EXPECT(arena_bytes(held) < 100 * 1000); // not copied
    expect_index(w->l);
    put_round(w, 1000, 2500); // drives out what is lent
    EXPECT_OK(log_seal(w->l));
    expect_entries(w, 0, 0, &batch);
    EXPECT(left_entries(w->l) < w->n);
    expect_from(w, 0, 0);
    expect_from(w, 1, 0);
    expect_index(w->l);
    world_close(w);
}

// The first record of the shard that can be read without the disk; told[] counts all shards.
static size_t first_cached(struct world *w, size_t shard)
{
    for (size_t i = 0; i < w->n; i++) {
        AUTO(arena) a = arena_open();
        LogRead read = { .shard = w->shards[shard],
                         .from = w->told[i].place.position,
                         .max_records = 1,
                         .max_bytes = 1,
                         .cached_only = true };
        LogBatch batch;
        Err e = log_read(w->l, a, &read, &batch);
        if (e.kind == ERR_NONE && w->told[i].shard == w->shards[shard])
            return i;
        EXPECT(e.kind == ERR_NONE || e.kind == ERR_BUSY);
    }
    return w->n;
}

TEST(what_the_cache_has_dropped_is_read_from_containers_and_the_rest_from_it)
{
    for (size_t cache_bytes = 64 << 10; cache_bytes <= 512 << 10; cache_bytes *= 2) {
        struct world *w = world_open(a, cache_bytes, 1);
        put_round(w, 80, 3000);
        EXPECT_OK(log_seal(w->l));
        expect_index(w->l);
        size_t first = first_cached(w, 1);
        EXPECT(first > 0 && first < w->n);
        stop_disk(w);
        expect_from(w, 1, w->told[first].place.position);
        LogBatch batch;
        EXPECT_ERR(ERR_IO, read_from(w, a, 1, w->told[first - SHARDS].place.position, &batch));
        start_disk(w);
        expect_all(w);
        for (size_t i = 0; i < w->n; i += 7)
            expect_time(w, i % SHARDS, w->told[i].place.arrival_ms);
        put_round(w, 5, 3000); // drives some more out
        EXPECT(first_cached(w, 1) > first);
        expect_all(w);
        put_round(w, 60, 3000); // and all
        log_expire(w->l);
        EXPECT_INT(0, left_entries(w->l));
        expect_all(w);
        expect_index(w->l);
        world_close(w);
    }
}

TEST(a_cache_in_which_nothing_fits_leaves_nothing_in_the_index)
{
    struct world *w = world_open(a, 1, 1);
    put_round(w, 40, 3000);
    EXPECT_OK(log_seal(w->l));
    EXPECT_INT(0, left_entries(w->l));
    EXPECT_INT(w->n, first_cached(w, 0));
    put_round(w, 3, 3000);
    expect_all(w);
    expect_index(w->l);
    world_close(w);
}

TEST(a_block_too_large_for_the_cache_drives_out_what_was_sealed)
{
    struct world *w = world_open(a, 16 << 10, 1);
    put(w, 0, 1, 1000);
    EXPECT_OK(log_seal(w->l));
    EXPECT_INT(1, left_entries(w->l));
    put(w, 1, 7, 3000);
    EXPECT_INT(w->n, first_cached(w, 0));
    put(w, 1, 1, 1000);
    expect_all(w);
    EXPECT_OK(log_seal(w->l));
    EXPECT_INT(2, left_entries(w->l));
    EXPECT_INT(w->n - 1, first_cached(w, 1));
    expect_all(w);
    expect_index(w->l);
    world_close(w);
}

TEST(entries_of_sealed_records_take_little_beside_the_cache)
{
    enum { MANY = 480 };
    struct world *w = world_open(a, 256 << 10, 1);
    for (uint64_t id = 100; id < 100 + MANY; id++)
        EXPECT_OK(log_shard_add(w->l, id, HOUR_NS));
    for (int round = 0; round < 12; round++) {
        struct test_append *t = test_append_new();
        for (uint64_t id = 100; id < 100 + MANY; id++)
            test_append_add(t, id, S("k"), S("d"));
        EXPECT_OK(test_append_start(w->l, t));
        EXPECT_OK(test_append_wait(t));
        test_append_free(t);
        EXPECT_OK(log_seal(w->l));
        EXPECT(left_entries(w->l) <= w->config.tail_cache_bytes / 8 / sizeof(IndexEntry));
        expect_index(w->l);
    }
    EXPECT(left_entries(w->l) > 0);
    for (uint64_t id = 100; id < 100 + MANY; id++) {
        AUTO(arena) tmp = arena_open();
        EXPECT_INT(12, test_read_all(w->l, tmp, id, 0).n);
    }
    world_close(w);
}

// ---- What becomes of them

TEST(what_is_over_hidden_or_dropped_is_not_read_from_the_cache)
{
    struct world *w = world_open(a, 4 << 20, 1);
    put_round(w, 10, 1000);
    advance(w, 5 * HOUR_NS);
    put_round(w, 10, 1000);
    EXPECT_OK(log_seal(w->l));
    advance(w, 5 * HOUR_NS); // the first ten of two shards are over
    expect_all(w);
    expect_time(w, 0, 0);
    log_expire(w->l);
    expect_all(w);
    w->hidden_ms[2] = w->told[5].place.arrival_ms;
    log_shard_hide(w->l, w->shards[2], w->hidden_ms[2]);
    expect_all(w);
    expect_time(w, 2, 0);
    LogPlace end;
    EXPECT_OK(log_shards_end(w->l, &w->shards[1], 1, &end));
    expect_all(w);
    LogBatch batch;
    EXPECT_OK(read_from(w, a, 1, 0, &batch));
    EXPECT_INT(10, batch.n);
    EXPECT_INT(end.position + 1, batch.next);
    EXPECT_OK(log_shards_drop(w->l, &w->shards[1], 1));
    EXPECT_ERR(ERR_NOT_FOUND, read_from(w, a, 1, 0, &batch));
    expect_index(w->l);
    begin_shard(w, 1);
    put_round(w, 2, 1000);
    EXPECT_OK(log_seal(w->l));
    expect_all(w);
    advance(w, 200 * HOUR_NS);
    log_expire(w->l);
    expect_all(w);
    expect_index(w->l);
    world_close(w);
}

TEST(what_is_passed_after_it_was_sealed_is_read_as_before)
{
    struct world *w = world_open(a, 4 << 20, 1);
    put_round(w, 20, 1000);
    EXPECT_OK(log_seal(w->l));
    put_round(w, 20, 1000);
    log_shard_pass(w->l, w->shards[0], w->told[10 * SHARDS].place.position);
    expect_all(w); // sealed is sealed
    log_expire(w->l);
    expect_all(w);
    log_shard_pass(w->l, w->shards[0], w->told[30 * SHARDS].place.position); // into the journal
    expect_from(w, 0, w->told[30 * SHARDS].place.position);
    log_expire(w->l);
    EXPECT_OK(log_seal(w->l));
    EXPECT_INT(20 + 10 + 40 + 40, left_entries(w->l));
    expect_from(w, 0, w->told[30 * SHARDS].place.position);
    expect_from(w, 1, 0);
    expect_index(w->l);
    world_close(w);
}

TEST(a_commit_of_sealing_that_fails_changes_nothing_for_readers)
{
    struct world *w = world_open(a, 512 << 10, 1);
    put_round(w, 20, 3000);
    EXPECT_OK(log_seal(w->l));
    size_t left = left_entries(w->l);
    put_round(w, 5, 3000);
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    for (int again = 0; again < 3; again++) {
        io_fault_add(w->faults, (IoFault){ .path_part = S("checkpoint"), .times = UINT64_MAX });
        EXPECT(log_seal(w->l).kind != ERR_NONE);
        EXPECT_INT(left, left_entries(w->l));
        io_fault_clear(w->faults);
        expect_all(w);
        expect_index(w->l);
    }
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
    EXPECT_OK(log_seal(w->l));
    EXPECT(left_entries(w->l) > left);
    expect_all(w);
    expect_index(w->l);
    world_close(w);
}

TEST(where_records_were_lost_the_cache_says_nothing_else)
{
    struct world *w = world_open(a, 64 << 10, 1);
    put_round(w, 40, 1000);
    size_t first = first_cached(w, 0);
    EXPECT(first > 2 * SHARDS && first < w->n);
    pthread_mutex_lock(&w->l->lock);
    const struct shard *s = shards_find(&w->l->shards, w->shards[0]);
    uint64_t at = s->data->at[s->data->first + 1].place + EXTENT_HEAD_BYTES + RECORD_HEAD_BYTES + 2;
    pthread_mutex_unlock(&w->l->lock);
    EXPECT_OK(io_flip(io_mem_io(w->disk), files_path(&w->l->files, a, 1), at, 4));
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    EXPECT_OK(log_seal(w->l));
    EXPECT_INT(0, left_entries(w->l));
    LogBatch batch;
    EXPECT_ERR(ERR_CORRUPT, read_from(w, a, 0, w->told[SHARDS].place.position, &batch));
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
    expect_from(w, 0, w->told[2 * SHARDS].place.position);
    expect_from(w, 1, 0);
    put_round(w, 3, 1000);
    EXPECT_OK(log_seal(w->l));
    EXPECT_INT(3 * SHARDS, left_entries(w->l));
    expect_from(w, 0, w->told[2 * SHARDS].place.position);
    expect_index(w->l);
    world_close(w);
}

TEST(a_restart_begins_without_entries_of_what_is_sealed)
{
    struct world *w = world_open(a, 4 << 20, 1);
    put_round(w, 20, 1000);
    EXPECT_OK(log_seal(w->l));
    put_round(w, 5, 1000);
    EXPECT_INT(20 * SHARDS, left_entries(w->l));
    log_close(w->l);
    EXPECT_OK(log_open(&w->config, &w->l));
    for (size_t i = 0; i < SHARDS; i++)
        EXPECT_OK(log_shard_add(w->l, w->shards[i], retention_ns(i)));
    EXPECT_OK(log_ready(w->l));
    EXPECT_INT(0, left_entries(w->l));
    expect_all(w);
    put_round(w, 5, 1000);
    EXPECT_OK(log_seal(w->l));
    stop_disk(w);
    expect_from(w, 0, w->told[25 * SHARDS].place.position);
    LogBatch batch; // what was there before the start is not cached
    EXPECT_ERR(ERR_IO, read_from(w, a, 0, w->told[24 * SHARDS].place.position, &batch));
    start_disk(w);
    expect_all(w);
    expect_index(w->l);
    world_close(w);
}

// ---- Any order of all of it

struct cursor {
    size_t shard;
    uint64_t id, from;
};

// Some records more, or all anew if the shard is another's.
static void read_on(struct world *w, struct cursor *c)
{
    AUTO(arena) a = arena_open();
    if (c->id != w->shards[c->shard] || below(w, 40) == 0)
        *c = (struct cursor){ c->shard, w->shards[c->shard], 0 };
    LogRead read = {
        .shard = c->id,
        .from = c->from,
        .max_records = 1 + below(w, 30),
        .max_bytes = 1 + below(w, 40000),
        .cached_only = below(w, 4) == 0,
    };
    LogBatch batch;
    Err e =
        below(w, 2) == 0 ? log_read(w->l, a, &read, &batch) : log_read_lent(w->l, a, &read, &batch);
    if (read.cached_only && e.kind == ERR_BUSY)
        return;
    EXPECT_OK(e);
    expect_batch(w, c->shard, c->from, &batch);
    EXPECT(batch.n > 0 || !batch.more);
    c->from = batch.next;
}

static void replace_shard(struct world *w, size_t i)
{
    LogPlace end;
    if (below(w, 2) == 0)
        EXPECT_OK(log_shards_end(w->l, &w->shards[i], 1, &end));
    expect_from(w, i, 0);
    EXPECT_OK(log_shards_drop(w->l, &w->shards[i], 1));
    begin_shard(w, i);
}

static void act(struct world *w)
{
    size_t i = below(w, SHARDS);
    uint64_t what = below(w, 100);
    if (what < 70) {
        put(w, i, 1 + below(w, 8), 1 + below(w, DATA_BYTES_MAX));
    } else if (what < 80) {
        EXPECT_OK(log_seal(w->l));
    } else if (what < 88) {
        log_expire(w->l);
    } else if (what < 92) {
        advance(w, (int64_t)below(w, 3600) * NS_PER_S);
    } else if (what < 96 && w->n > 0) {
        size_t newest = w->n - 1 - below(w, w->n < 80 ? w->n : 80);
        w->hidden_ms[i] = MAX(w->hidden_ms[i], w->told[newest].place.arrival_ms);
        log_shard_hide(w->l, w->shards[i], w->hidden_ms[i]);
    } else if (what == 99) {
        replace_shard(w, i);
    }
}

TEST(whatever_happens_readers_get_all_in_order)
{
    static const size_t caches[] = { 1, 20 << 10, 100 << 10, 400 << 10, 4 << 20 };
    for (uint64_t seed = 1; seed <= SEEDS * COUNT_OF(caches); seed++) {
        AUTO(arena) tmp = arena_open();
        struct world *w = world_open(tmp, caches[seed % COUNT_OF(caches)], seed);
        struct cursor cursors[CURSORS] = { 0 };
        for (size_t i = 0; i < CURSORS; i++)
            cursors[i].shard = i % SHARDS;
        for (int step = 0; step < STEPS; step++) {
            act(w);
            read_on(w, &cursors[below(w, CURSORS)]);
            size_t i = below(w, SHARDS);
            if (step % 4 == 0)
                expect_time(w, i, w->now_ns / NS_PER_MS - (int64_t)below(w, 7200000));
            if (step % 16 == 0)
                expect_from(w, i, 0);
            expect_index(w->l);
        }
        expect_all(w);
        world_close(w);
    }
}

// ---- Beside each other

struct reader {
    struct world *w;
    size_t shard;
    _Atomic size_t told; // so many of the world's are acknowledged
    _Atomic bool stops;
    _Atomic size_t rounds;
};

// Follows a shard to its end, again and again: what was there when it began is there, in order.
static void *follow(void *p)
{
    struct reader *r = p;
    const struct world *w = r->w;
    while (!r->stops) {
        AUTO(arena) a = arena_open();
        size_t told = r->told, at = 0;
        LogBatch all = test_read_all(w->l, a, w->shards[r->shard], 0);
        for (size_t i = 0; i < told; i++)
            if (w->told[i].shard == w->shards[r->shard]) {
                EXPECT(at < all.n);
                EXPECT_INT(w->told[i].place.position, all.at[at].position);
                EXPECT_STR(w->told[i].data, all.at[at++].data);
            }
        r->rounds++;
    }
    return NULL;
}

TEST(readers_follow_while_records_are_sealed_and_leave_the_cache)
{
    static const size_t caches[] = { 40 << 10, 200 << 10, 4 << 20 };
    for (size_t c = 0; c < COUNT_OF(caches); c++) {
        AUTO(arena) tmp = arena_open();
        struct world *w = world_open(tmp, caches[c], c + 1);
        struct reader readers[2] = { { .w = w, .shard = 0 }, { .w = w, .shard = 1 } };
        pthread_t threads[2];
        for (size_t i = 0; i < 2; i++)
            CHECK(pthread_create(&threads[i], NULL, follow, &readers[i]) == 0);
        for (int round = 0; round < 20; round++) {
            put_round(w, 8, 2000);
            readers[0].told = readers[1].told = w->n;
            EXPECT_OK(log_seal(w->l));
            log_expire(w->l);
        }
        for (size_t i = 0; i < 2; i++) {
            readers[i].stops = true;
            pthread_join(threads[i], NULL);
            EXPECT(readers[i].rounds > 0);
        }
        expect_index(w->l);
        world_close(w);
    }
}
