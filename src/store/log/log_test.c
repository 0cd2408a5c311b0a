// SPDX-License-Identifier: Apache-2.0
#include "store/log/log_test_help.h"
#include "store/log_lend.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SHARD = 7, OTHER = 8 };
#define DAY_NS (INT64_C(86400) * NS_PER_S)

static struct log *open_with(const LogConfig *config, uint64_t shards)
{
    struct log *l = NULL;
    EXPECT_OK(log_open(config, &l));
    for (uint64_t i = 0; i < shards; i++)
        EXPECT_OK(log_shard_add(l, SHARD + i, DAY_NS));
    EXPECT_OK(log_ready(l));
    return l;
}

TEST(a_record_is_read_back_as_it_was_put)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    AUTO(log) l = open_with(&config, 1);
    LogPlace place;
    EXPECT_OK(test_put(l, SHARD, S("hello"), &place));
    EXPECT(place.position >= 1 << LOG_ORDINAL_BITS && place.arrival_ms > 0);
    LogBatch all = test_read_all(l, a, SHARD, 0);
    EXPECT_INT(1, all.n);
    EXPECT_INT(place.position, all.at[0].position);
    EXPECT_INT(place.arrival_ms, all.at[0].arrival_ms);
    EXPECT_STR(S("hello"), all.at[0].data);
    EXPECT_STR(S("key"), all.at[0].key);
    EXPECT_STR(S(""), all.at[0].hash_key);
}

TEST(records_are_there_after_a_restart)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    LogPlace first, second;
    struct log *l = open_with(&config, 1);
    EXPECT_OK(test_put(l, SHARD, S("one"), &first));
    EXPECT_OK(test_put(l, SHARD, S("two"), &second));
    log_close(l);
    l = open_with(&config, 1);
    test_expect_data(l, a, SHARD, (Str[]){ S("one"), S("two") }, 2);
    LogPlace third;
    EXPECT_OK(test_put(l, SHARD, S("three"), &third));
    EXPECT(first.position < second.position && second.position < third.position);
    test_expect_data(l, a, SHARD, (Str[]){ S("one"), S("two"), S("three") }, 3);
    log_close(l);
}

TEST(a_real_directory_holds_the_log)
{
    for (int uring = 0; uring < 2; uring++) {
        io_allow_uring(uring != 0);
        LogConfig config =
            test_config(io_real(), str_cat(a, test_dir(a), uring ? S("/u") : S("/t")));
        LogPlace place;
        struct log *l = open_with(&config, 1);
        LogStats stats;
        log_stats(l, &stats);
        EXPECT(uring || str_eq(str_of(stats.queue_kind), S("pwritev2")));
        for (int i = 0; i < 100; i++)
            EXPECT_OK(test_put(l, SHARD, str_fmt(a, "%d", i), &place));
        log_close(l);
        l = open_with(&config, 1);
        LogBatch all = test_read_all(l, a, SHARD, 0);
        EXPECT_INT(100, all.n);
        for (size_t i = 0; i < all.n; i++)
            EXPECT_STR(str_fmt(a, "%zu", i), all.at[i].data);
        log_close(l);
    }
    io_allow_uring(true);
}

// ---- Order and groups

// An io table that starts no durable write while its gate is closed.
struct gate {
    struct io io; // first
    struct io *below;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_closed;
    unsigned waiting;
};

static struct gate *gate_of_test; // files and queues do not know their table

static void pass(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->waiting++;
    pthread_cond_broadcast(&g->changed);
    while (g->is_closed)
        pthread_cond_wait(&g->changed, &g->lock);
    g->waiting--;
    pthread_mutex_unlock(&g->lock);
}

static Err gated_submit(struct io_queue *q, struct io_write *w)
{
    pass(gate_of_test);
    return gate_of_test->below->queue_submit(q, w);
}

static Err gated_write(struct io_file *f, const void *p, size_t n, uint64_t at, bool durable)
{
    if (durable)
        pass(gate_of_test);
    return gate_of_test->below->write(f, p, n, at, durable);
}

static void gate_init(struct gate *g, struct io *below)
{
    *g = (struct gate){ .io = *below, .below = below };
    g->io.queue_submit = gated_submit;
    g->io.write = gated_write;
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->changed, NULL);
    gate_of_test = g;
}

static void gate_set(struct gate *g, bool closed)
{
    pthread_mutex_lock(&g->lock);
    g->is_closed = closed;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

static void gate_wait_for(struct gate *g, unsigned n)
{
    pthread_mutex_lock(&g->lock);
    while (g->waiting < n)
        pthread_cond_wait(&g->changed, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static struct test_append *start_one(struct log *l, uint64_t shard, Str data)
{
    struct test_append *t = test_append_new();
    test_append_add(t, shard, S("key"), data);
    EXPECT_OK(test_append_start(l, t));
    return t;
}

static LogPlace wait_ok(struct test_append *t)
{
    EXPECT_OK(test_append_wait(t));
    LogPlace place = t->places[0];
    test_append_free(t);
    return place;
}

TEST(what_arrives_during_a_write_shares_the_next_one)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct gate gate;
    io_mem_set_clock(disk, NS_PER_S, NS_PER_S); // to the log each write is quick
    gate_init(&gate, io_mem_io(disk));
    LogConfig config = test_config(&gate.io, S("/log"));
    AUTO(log) l = open_with(&config, 2);
    test_wait_for_spare(l); // the keeper is not the one who waits at the gate
    gate_set(&gate, true);
    struct test_append *first = start_one(l, SHARD, S("first"));
    gate_wait_for(&gate, 1);
    struct test_append *more[50];
    for (size_t i = 0; i < COUNT_OF(more); i++)
        more[i] = start_one(l, SHARD + i % 2, str_fmt(a, "%zu", i));
    gate_set(&gate, false);
    uint64_t block = wait_ok(first).position >> LOG_ORDINAL_BITS;
    for (size_t i = 0; i < COUNT_OF(more); i++)
        EXPECT_INT(block + 1, wait_ok(more[i]).position >> LOG_ORDINAL_BITS);
    LogBatch all = test_read_all(l, a, SHARD, 0);
    EXPECT_INT(26, all.n);
    EXPECT_STR(S("first"), all.at[0].data);
    for (size_t i = 1; i < all.n; i++)
        EXPECT_STR(str_fmt(a, "%zu", 2 * (i - 1)), all.at[i].data);
}

static struct test_append *hold_one(struct log *l, Str data)
{
    struct test_append *t = test_append_new();
    t->append.held = true;
    test_append_add(t, SHARD, S("key"), data);
    EXPECT_OK(log_append(l, &t->append));
    return t;
}

static void expect_numbers(struct log *l, struct arena *a, size_t n)
{
    LogBatch all = test_read_all(l, a, SHARD, 0);
    EXPECT_INT(n, all.n);
    for (size_t i = 0; i < all.n; i++)
        EXPECT_STR(str_fmt(a, "%zu", i), all.at[i].data);
}

TEST(held_appends_are_written_together_by_whoever_commits_them_if_that_is_quick)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct gate gate;
    io_mem_set_clock(disk, NS_PER_S, NS_PER_S); // to the log each write is quick
    gate_init(&gate, io_mem_io(disk));
    LogConfig config = test_config(&gate.io, S("/log"));
    AUTO(log) l = open_with(&config, 2);
    test_wait_for_spare(l);
    wait_ok(start_one(l, SHARD, S("0"))); // how long a write takes is known from here on
    test_wait_for_quiet(l);
    struct test_append *held[5];
    for (size_t i = 0; i < COUNT_OF(held); i++)
        held[i] = hold_one(l, str_fmt(a, "%zu", i + 1));
    EXPECT_INT(0, atomic_load(&held[0]->finished));
    log_commit(l);
    uint64_t block = held[0]->places[0].position >> LOG_ORDINAL_BITS;
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        EXPECT_INT(1, atomic_load(&held[i]->finished)); // already
        EXPECT_INT(block, wait_ok(held[i]).position >> LOG_ORDINAL_BITS);
    }
    gate_set(&gate, true);
    struct test_append *first = start_one(l, SHARD, S("6"));
    gate_wait_for(&gate, 1);
    struct test_append *second = hold_one(l, S("7"));
    log_commit(l); // does not wait for the commit thread, which takes it over
    EXPECT_INT(0, atomic_load(&second->finished));
    gate_set(&gate, false);
    wait_ok(first);
    wait_ok(second);
    expect_numbers(l, a, 8);
}

// The commit thread is woken for other reasons, too; and the end of the log takes what is left.
TEST(a_held_append_waits_for_its_commit_whoever_is_awake)
{
    enum { TIMES = 1000 };
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    struct log *l = open_with(&config, 1);
    test_wait_for_spare(l);
    test_wait_for_quiet(l);
    struct test_append *held = hold_one(l, S("0"));
    for (int i = 0; i < TIMES; i++) {
        pthread_mutex_lock(&l->queue_lock);
        pthread_cond_signal(&l->work);
        pthread_mutex_unlock(&l->queue_lock);
        io_real()->sleep_ns(io_real(), 20 * 1000);
    }
    EXPECT_INT(0, atomic_load(&held->finished));
    log_commit(l);
    wait_ok(held);
    struct test_append *left = hold_one(l, S("1"));
    log_close(l);
    EXPECT_INT(1, atomic_load(&left->finished));
    test_append_free(left);
    l = open_with(&config, 1);
    expect_numbers(l, a, 2);
    log_close(l);
}

static void *commit_one(void *log)
{
    log_commit(log);
    return NULL;
}

TEST(several_commit_at_once_and_are_told_in_order)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct gate gate;
    io_mem_set_clock(disk, NS_PER_S, NS_PER_S); // to the log each write is quick
    gate_init(&gate, io_mem_io(disk));
    LogConfig config = test_config(&gate.io, S("/log"));
    AUTO(log) l = open_with(&config, 1);
    test_wait_for_spare(l);
    wait_ok(start_one(l, SHARD, S("0")));
    test_wait_for_quiet(l);
    gate_set(&gate, true);
    pthread_t threads[3];
    struct test_append *held[COUNT_OF(threads)];
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        held[i] = hold_one(l, str_fmt(a, "%zu", i + 1));
        EXPECT(pthread_create(&threads[i], NULL, commit_one, l) == 0);
        gate_wait_for(&gate, (unsigned)i + 1); // all of them write
    }
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        EXPECT_INT(0, atomic_load(&held[i]->finished));
    gate_set(&gate, false);
    LogPlace before = { 0 };
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        pthread_join(threads[i], NULL);
        LogPlace place = wait_ok(held[i]);
        EXPECT(place.position >> LOG_ORDINAL_BITS > before.position >> LOG_ORDINAL_BITS);
        before = place;
    }
    expect_numbers(l, a, COUNT_OF(threads) + 1);
}

TEST(over_the_queue_limit_appends_are_refused_until_it_drains)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct gate gate;
    io_mem_set_clock(disk, NS_PER_S, NS_PER_S); // to the log each write is quick
    gate_init(&gate, io_mem_io(disk));
    LogConfig config = test_config(&gate.io, S("/log"));
    config.queue_bytes_max = 100;
    AUTO(log) l = open_with(&config, 1);
    test_wait_for_spare(l);
    gate_set(&gate, true);
    struct test_append *first = start_one(l, SHARD, S("0123456789012345678901234567890123456789"));
    struct test_append *second = test_append_new();
    test_append_add(second, SHARD, S("key"), S("0123456789012345678901234567890123456789012345"));
    EXPECT_ERR(ERR_LIMIT, test_append_start(l, second));
    gate_set(&gate, false);
    wait_ok(first);
    EXPECT_OK(test_append_start(l, second));
    wait_ok(second);
}

struct writer {
    pthread_t thread;
    struct log *l;
    unsigned number;
};

enum { WRITERS = 6, PUTS_PER_WRITER = 150 };

static void *write_many(void *p)
{
    struct writer *w = p;
    AUTO(arena) a = arena_open();
    for (unsigned i = 0; i < PUTS_PER_WRITER; i++) {
        struct test_append *t = test_append_new();
        for (unsigned k = 0; k < 3; k++)
            test_append_add(t, SHARD + k % 2, S("key"), str_fmt(a, "%u %u", w->number, i * 3 + k));
        t->append.held = i % 3 != 0;
        Err e = test_append_start(w->l, t);
        CHECK(e.kind == ERR_NONE);
        e = test_append_wait(t);
        CHECK(e.kind == ERR_NONE);
        test_append_free(t);
    }
    return NULL;
}

static void expect_writers_order(struct log *l, struct arena *a)
{
    size_t total = 0;
    for (uint64_t shard = SHARD; shard <= OTHER; shard++) {
        int64_t newest[WRITERS];
        memset(newest, 0xff, sizeof newest);
        LogBatch all = test_read_all(l, a, shard, 0);
        total += all.n;
        for (size_t i = 0; i < all.n; i++) {
            Str number, rest;
            uint64_t writer, count;
            EXPECT(str_cut(all.at[i].data, ' ', &number, &rest));
            EXPECT_OK(str_u64(number, &writer));
            EXPECT_OK(str_u64(rest, &count));
            EXPECT(writer < WRITERS);
            EXPECT((int64_t)count > newest[writer % WRITERS]);
            newest[writer % WRITERS] = (int64_t)count;
        }
    }
    EXPECT_INT(WRITERS * PUTS_PER_WRITER * 3, total);
}

TEST(many_threads_keep_their_order_in_each_shard)
{
    for (int uring = 0; uring < 2; uring++) {
        io_allow_uring(uring != 0);
        LogConfig config = test_config(io_real(), str_fmt(a, "%.*s/%d", FMT(test_dir(a)), uring));
        struct log *l = open_with(&config, 2);
        struct writer writers[WRITERS];
        for (unsigned i = 0; i < WRITERS; i++) {
            writers[i] = (struct writer){ .l = l, .number = i };
            EXPECT(pthread_create(&writers[i].thread, NULL, write_many, &writers[i]) == 0);
        }
        for (unsigned i = 0; i < WRITERS; i++)
            pthread_join(writers[i].thread, NULL);
        expect_writers_order(l, a);
        log_close(l);
        l = open_with(&config, 2);
        expect_writers_order(l, a);
        log_close(l);
    }
    io_allow_uring(true);
}

TEST(what_is_over_a_maximum_is_refused)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    AUTO(log) l = open_with(&config, 1);
    struct test_append *t = test_append_new();
    EXPECT_ERR(ERR_INVALID, test_append_start(l, t)); // no records
    Str big = { arena_alloc(a, LOG_KEY_BYTES_MAX + 1, 1), LOG_KEY_BYTES_MAX + 1 };
    test_append_add(t, SHARD, big, S(""));
    EXPECT_ERR(ERR_INVALID, test_append_start(l, t));
    t->records[0].key = str_head(big, LOG_KEY_BYTES_MAX);
    t->records[0].hash_key = str_head(big, LOG_HASH_KEY_BYTES_MAX + 1);
    EXPECT_ERR(ERR_INVALID, test_append_start(l, t));
    t->records[0].hash_key = str_head(big, LOG_HASH_KEY_BYTES_MAX);
    t->records[0].data = blob_of(str_from(arena_alloc(a, TEST_FILE_BYTES, 1), TEST_FILE_BYTES));
    EXPECT_ERR(ERR_INVALID, test_append_start(l, t)); // larger than a file of this size holds
    t->records[0].data.n = 5;
    EXPECT_OK(test_append_start(l, t));
    wait_ok(t);
    LogBatch all = test_read_all(l, a, SHARD, 0);
    EXPECT_INT(1, all.n);
    EXPECT_STR(str_head(big, LOG_KEY_BYTES_MAX), all.at[0].key);
    EXPECT_STR(str_head(big, LOG_HASH_KEY_BYTES_MAX), all.at[0].hash_key);
}

TEST(an_append_larger_than_a_block_becomes_visible_as_one)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    struct log *l = open_with(&config, 2);
    LogPlace before, after;
    EXPECT_OK(test_put(l, SHARD, S("before"), &before));
    struct test_append *t = test_append_new();
    Str data[12];
    for (size_t i = 0; i < COUNT_OF(data); i++) {
        char *p = arena_alloc(a, 150000, 1);
        memset(p, 'a' + (int)i, 150000);
        data[i] = str_from(p, 150000);
        test_append_add(t, SHARD + i % 2, S("key"), data[i]);
    }
    EXPECT_OK(test_append_start(l, t));
    EXPECT_OK(test_append_wait(t));
    uint64_t first = t->places[0].position, last = t->places[11].position;
    test_append_free(t);
    EXPECT(last >> LOG_ORDINAL_BITS > first >> LOG_ORDINAL_BITS);
    EXPECT_OK(test_put(l, SHARD, S("after"), &after));
    EXPECT(before.position < first && last < after.position);
    for (int restart = 0; restart < 2; restart++) {
        test_expect_data(l, a, SHARD,
                         (Str[]){ S("before"), data[0], data[2], data[4], data[6], data[8],
                                  data[10], S("after") },
                         8);
        test_expect_data(l, a, OTHER,
                         (Str[]){ data[1], data[3], data[5], data[7], data[9], data[11] }, 6);
        log_close(l);
        l = open_with(&config, 2);
    }
    log_close(l);
}

// ---- Reading

static void put_numbers(struct log *l, struct arena *a, uint64_t shard, size_t n)
{
    for (size_t i = 0; i < n; i += 100) {
        struct test_append *t = test_append_new();
        for (size_t k = i; k < MIN(n, i + 100); k++)
            test_append_add(t, shard, S("key"), str_fmt(a, "%zu", k));
        EXPECT_OK(test_append_start(l, t));
        wait_ok(t);
    }
}

TEST(a_reader_gets_no_more_than_it_asks_for_and_goes_on_where_it_was)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    AUTO(log) l = open_with(&config, 2);
    put_numbers(l, a, SHARD, 250);
    LogRead read = { .shard = SHARD, .max_records = 7, .max_bytes = 1 << 20 };
    LogBatch batch = { 0 };
    for (size_t i = 0; i < 250;) {
        EXPECT_OK(log_read(l, a, &read, &batch));
        EXPECT_INT(MIN(7, 250 - i), batch.n);
        for (size_t k = 0; k < batch.n; k++)
            EXPECT_STR(str_fmt(a, "%zu", i++), batch.at[k].data);
        EXPECT(batch.more == (i < 250));
        read.from = batch.next;
    }
    EXPECT_OK(log_read(l, a, &read, &batch));
    EXPECT(batch.n == 0 && !batch.more && batch.next == read.from);
    read = (LogRead){ .shard = SHARD, .max_records = 1000, .max_bytes = 10 };
    EXPECT_OK(log_read(l, a, &read, &batch));
    EXPECT(batch.n == 2 && batch.more); // "key0" and "key1"
    read.max_bytes = 1;
    EXPECT_OK(log_read(l, a, &read, &batch));
    EXPECT(batch.n == 1 && batch.more);
    read.shard = OTHER;
    EXPECT_OK(log_read(l, a, &read, &batch));
    EXPECT(batch.n == 0 && !batch.more && batch.next > 0);
    read.shard = 12345;
    EXPECT_ERR(ERR_NOT_FOUND, log_read(l, a, &read, &batch));
}

TEST(next_never_skips_what_is_stored_later)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    AUTO(log) l = open_with(&config, 2);
    LogBatch batch;
    LogRead read = { .shard = SHARD, .max_records = 10, .max_bytes = 1000 };
    EXPECT_OK(log_read(l, a, &read, &batch));
    LogPlace place;
    EXPECT_OK(test_put(l, SHARD, S("x"), &place));
    EXPECT(place.position >= batch.next);
    LogSpan span;
    EXPECT_OK(log_span(l, SHARD, &span));
    EXPECT(span.first == place.position && span.next > place.position && !span.ended);
    EXPECT_INT(place.arrival_ms, span.last_arrival_ms);
}

TEST(blocks_of_every_large_size_are_written_and_read_back)
{
    enum { STEP = 300 << 10 };
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.file_bytes = 32 << 20;
    config.seal_bytes = 1 << 30;
    config.tail_cache_bytes = 64 << 20;
    struct log *l = open_with(&config, 1);
    size_t n = 0;
    for (size_t bytes = STEP; bytes <= LOG_DATA_BYTES_MAX; bytes += STEP) {
        char *data = arena_alloc(a, bytes, 1);
        memset(data, (int)('a' + n % 26), bytes);
        LogPlace place;
        EXPECT_OK(test_put(l, SHARD, str_from(data, bytes), &place));
        LogRead read = { .shard = SHARD, .from = place.position, .max_records = 1, .max_bytes = 1 };
        LogBatch batch;
        EXPECT_OK(log_read(l, a, &read, &batch));
        EXPECT(batch.n == 1 && str_eq(batch.at[0].data, str_from(data, bytes)));
        n++;
    }
    EXPECT(n > 30);
    log_close(l);
    l = open_with(&config, 1); // the journal is read ahead
    LogBatch all = test_read_all(l, a, SHARD, 0);
    EXPECT_INT(n, all.n);
    for (size_t i = 0; i < n; i++)
        EXPECT(all.at[i].data.n == (i + 1) * STEP &&
               all.at[i].data.p[STEP - 1] == 'a' + (char)(i % 26));
    log_close(l);
}

// Those that fill an extent by themselves, those that share one and those that are the only ones of
// their shard get their checksums in different ways.
TEST(records_of_sizes_around_that_of_an_extent_are_read_back_from_disk)
{
    enum { SHARDS = 3 };
    static const size_t sizes[] = { 10,
                                    90000,
                                    EXTENT_BYTES_SPLIT - RECORD_HEAD_BYTES - 3,
                                    0,
                                    EXTENT_BYTES_SPLIT - RECORD_HEAD_BYTES - 4,
                                    200000,
                                    EXTENT_BYTES_SPLIT - RECORD_HEAD_BYTES - 2,
                                    40000,
                                    600000,
                                    EXTENT_BYTES_SPLIT };
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.file_bytes = 32 << 20;
    config.seal_bytes = 1 << 30;
    struct log *l = open_with(&config, SHARDS);
    for (size_t from = 0; from < COUNT_OF(sizes); from++) {
        struct test_append *t = test_append_new();
        for (size_t i = 0; i < 1 + from % 4; i++) {
            size_t n = sizes[(from + i) % COUNT_OF(sizes)];
            char *data = arena_alloc(a, n + 1, 1);
            memset(data, 'a' + (int)(from + i), n);
            test_append_add(t, SHARD + i % SHARDS, S("key"), str_from(data, n));
            test_append_add(t, SHARD + from % SHARDS, S("key"), str_from(data, MIN(n, 99)));
        }
        EXPECT_OK(test_append_start(l, t));
        wait_ok(t);
    }
    LogBatch before[SHARDS];
    for (uint64_t s = 0; s < SHARDS; s++)
        before[s] = test_read_all(l, a, SHARD + s, 0);
    log_close(l);
    l = open_with(&config, SHARDS);
    size_t n = 0;
    for (uint64_t s = 0; s < SHARDS; s++) {
        LogBatch after = test_read_all(l, a, SHARD + s, 0);
        EXPECT_INT(before[s].n, after.n);
        for (size_t i = 0; i < after.n; i++, n++)
            EXPECT(after.at[i].position == before[s].at[i].position &&
                   str_eq(after.at[i].data, before[s].at[i].data));
    }
    EXPECT_INT(46, n);
    log_close(l);
}

TEST(what_is_lent_stays_when_the_cache_lets_it_go)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    AUTO(log) l = open_with(&config, 1);
    char *data = arena_new(a, char, 200 << 10);
    LogPlace place;
    for (int i = 0; i < 8; i++) {
        memset(data, 'a' + i, 200 << 10);
        EXPECT_OK(test_put(l, SHARD, str_from(data, 200 << 10), &place));
    }
    struct arena *held = arena_open();
    LogRead read = { .shard = SHARD, .max_records = 5, .max_bytes = 4 << 20 };
    LogBatch batch, copied;
    EXPECT_OK(log_read_lent(l, held, &read, &batch));
    EXPECT_OK(log_read(l, a, &read, &copied));
    EXPECT(arena_bytes(held) < 200 << 10); // nothing was copied
    for (int i = 0; i < 40; i++)           // twice the cache
        EXPECT_OK(test_put(l, SHARD, str_from(data, 200 << 10), &place));
    EXPECT(batch.n == 5 && copied.n == 5 && batch.more && batch.next == copied.next);
    for (size_t i = 0; i < 5; i++) {
        EXPECT_INT(copied.at[i].position, batch.at[i].position);
        EXPECT_STR(copied.at[i].key, batch.at[i].key);
        EXPECT(str_eq(copied.at[i].data, batch.at[i].data));
        EXPECT(batch.at[i].data.p[0] == 'a' + (char)i);
    }
    arena_close(held);
    held = arena_open();
    read = (LogRead){ .shard = SHARD, .max_records = 100, .max_bytes = 40 << 20 };
    EXPECT_OK(log_read_lent(l, held, &read, &batch)); // some from the disk
    EXPECT_INT(48, batch.n);
    EXPECT(batch.at[0].data.p[0] == 'a' && batch.at[47].data.p[0] == 'h');
    arena_close(held);
}

TEST(what_left_the_cache_is_read_from_disk)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.tail_cache_bytes = 16 << 10;
    AUTO(log) l = open_with(&config, 2);
    put_numbers(l, a, SHARD, 3000);
    put_numbers(l, a, OTHER, 100);
    LogBatch all = test_read_all(l, a, SHARD, 0);
    EXPECT_INT(3000, all.n);
    for (size_t i = 0; i < all.n; i++)
        EXPECT_STR(str_fmt(a, "%zu", i), all.at[i].data);
    LogRead read = { .shard = SHARD, .max_records = 10, .max_bytes = 1000, .cached_only = true };
    LogBatch batch;
    EXPECT_ERR(ERR_BUSY, log_read(l, a, &read, &batch));
    read.shard = OTHER;
    EXPECT_OK(log_read(l, a, &read, &batch));
    EXPECT_INT(10, batch.n);
    // In the middle of an extent, where a reader stopped.
    read =
        (LogRead){ .shard = SHARD, .from = all.at[150].position, .max_records = 1, .max_bytes = 9 };
    EXPECT_OK(log_read(l, a, &read, &batch));
    EXPECT_STR(S("150"), batch.at[0].data);
    LogStats stats;
    log_stats(l, &stats);
    EXPECT(stats.cache_bytes <= 16 << 10);
}

static bool flip_on_disk(struct io *io, struct arena *a, Str needle)
{
    IoName *names;
    size_t n;
    EXPECT_OK(io->list(io, a, S("/log"), &names, &n));
    for (size_t i = 0; i < n; i++) {
        Str path = str_cat(a, S("/log/"), names[i].name), content;
        if (!str_starts(names[i].name, S("journal-")))
            continue;
        EXPECT_OK(io_read_file(io, a, path, 16 << 20, &content));
        size_t at = str_search(content, needle);
        if (at == content.n)
            continue;
        EXPECT_OK(io_flip(io, path, at, 1));
        return true;
    }
    return false;
}

TEST(a_record_that_changed_on_disk_is_not_handed_out)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.tail_cache_bytes = 1; // nothing fits
    AUTO(log) l = open_with(&config, 2);
    LogPlace place;
    EXPECT_OK(test_put(l, SHARD, S("a needle in a haystack"), &place));
    EXPECT_OK(test_put(l, OTHER, S("straw"), &place));
    EXPECT(flip_on_disk(io_mem_io(disk), a, S("needle")));
    LogBatch batch;
    LogRead read = { .shard = SHARD, .max_records = 10, .max_bytes = 1000 };
    EXPECT_ERR(ERR_CORRUPT, log_read(l, a, &read, &batch));
    test_expect_data(l, a, OTHER, (Str[]){ S("straw") }, 1);
}

TEST(a_time_leads_to_the_first_record_at_or_after_it)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    int64_t start = INT64_C(1700000000) * NS_PER_S;
    io_mem_set_clock(disk, start, start);
    AUTO(log) l = open_with(&config, 1);
    LogPlace places[5];
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        EXPECT_OK(test_put(l, SHARD, S("x"), &places[i]));
        EXPECT_INT(start / NS_PER_MS + (int64_t)i * 1000, places[i].arrival_ms);
        io_mem_advance(disk, NS_PER_S);
    }
    uint64_t position;
    EXPECT_OK(log_find_time(l, SHARD, 0, &position));
    EXPECT_INT(places[0].position, position);
    EXPECT_OK(log_find_time(l, SHARD, places[2].arrival_ms, &position));
    EXPECT_INT(places[2].position, position);
    EXPECT_OK(log_find_time(l, SHARD, places[2].arrival_ms + 1, &position));
    EXPECT_INT(places[3].position, position);
    EXPECT_OK(log_find_time(l, SHARD, places[4].arrival_ms + 1, &position));
    EXPECT(position > places[4].position);
    EXPECT_ERR(ERR_NOT_FOUND, log_find_time(l, 99, 0, &position));
}

TEST(arrival_never_goes_back_though_the_clock_does)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    int64_t start = INT64_C(1700000000) * NS_PER_S;
    io_mem_set_clock(disk, start, start);
    struct log *l = open_with(&config, 1);
    LogPlace first, second, third;
    EXPECT_OK(test_put(l, SHARD, S("1"), &first));
    io_mem_step_wall(disk, -3600 * NS_PER_S);
    EXPECT_OK(test_put(l, SHARD, S("2"), &second));
    EXPECT_INT(first.arrival_ms, second.arrival_ms);
    log_close(l);
    l = open_with(&config, 1);
    EXPECT_OK(test_put(l, SHARD, S("3"), &third));
    EXPECT_INT(first.arrival_ms, third.arrival_ms);
    test_expect_data(l, a, SHARD, (Str[]){ S("1"), S("2"), S("3") }, 3);
    log_close(l);
}
