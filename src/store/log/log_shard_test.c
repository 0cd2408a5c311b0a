// SPDX-License-Identifier: Apache-2.0
// Shards: their ends, drops and retention, and the recycling of files behind them.
#include "store/log/log_test_help.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST = 1, SECOND = 2, THIRD = 3 };
#define HOUR_NS (INT64_C(3600) * NS_PER_S)
#define START_NS (INT64_C(1700000000) * NS_PER_S)

static struct log *open_three(const LogConfig *config)
{
    struct log *l = NULL;
    EXPECT_OK(log_open(config, &l));
    for (uint64_t id = FIRST; id <= THIRD; id++)
        EXPECT_OK(log_shard_add(l, id, HOUR_NS));
    EXPECT_OK(log_ready(l));
    return l;
}

struct ending {
    struct log *log;
    LogPlace end;
};

static void *end_second(void *p)
{
    struct ending *e = p;
    EXPECT_OK(log_shards_end(e->log, (uint64_t[]){ SECOND }, 1, &e->end));
    return NULL;
}

// A quarter of a file.
static void put_much(struct log *l, uint64_t shard)
{
    static char data[TEST_FILE_BYTES / 4];
    LogPlace place;
    EXPECT_OK(test_put(l, shard, str_from(data, sizeof data), &place));
}

TEST(a_shard_that_a_thread_has_ended_can_be_ended_again_when_the_thread_is_gone)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    AUTO(log) l = open_three(&config);
    struct ending first = { .log = l }, again = { .log = l };
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, end_second, &first) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    end_second(&again);
    EXPECT_INT(first.end.position, again.end.position);
    EXPECT_INT(first.end.arrival_ms, again.end.arrival_ms);
}

TEST(an_ended_shard_takes_no_records_and_keeps_those_it_has)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    struct log *l = open_three(&config);
    LogPlace before, after, ends[2], again;
    EXPECT_OK(test_put(l, FIRST, S("one"), &before));
    EXPECT_OK(log_shards_end(l, (uint64_t[]){ FIRST, SECOND }, 2, ends));
    EXPECT(ends[0].position > before.position && ends[0].arrival_ms >= before.arrival_ms);
    EXPECT_INT(ends[0].position, ends[1].position);
    EXPECT_OK(test_put(l, FIRST, S("two"), &after));
    EXPECT_INT(0, after.position);
    EXPECT_OK(test_put(l, THIRD, S("child"), &after));
    EXPECT(after.position > ends[0].position);
    for (int restart = 0; restart < 2; restart++) {
        LogSpan span;
        EXPECT_OK(log_span(l, FIRST, &span));
        EXPECT(span.ended && span.end == ends[0].position && span.first == before.position);
        EXPECT_OK(log_span(l, SECOND, &span));
        EXPECT(span.ended && span.end == ends[1].position);
        EXPECT_OK(log_span(l, THIRD, &span));
        EXPECT(!span.ended);
        test_expect_data(l, a, FIRST, (Str[]){ S("one") }, 1);
        EXPECT_OK(log_shards_end(l, (uint64_t[]){ SECOND }, 1, &again));
        EXPECT_INT(ends[1].position, again.position);
        EXPECT_INT(ends[1].arrival_ms, again.arrival_ms);
        EXPECT_OK(test_put(l, SECOND, S("x"), &after));
        EXPECT_INT(0, after.position);
        log_close(l);
        l = open_three(&config);
    }
    log_close(l);
}

TEST(a_dropped_shard_is_forgotten_and_its_neighbours_are_not)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    struct log *l = open_three(&config);
    LogPlace place;
    EXPECT_OK(test_put(l, FIRST, S("gone"), &place));
    EXPECT_OK(test_put(l, SECOND, S("stays"), &place));
    EXPECT_OK(log_shards_drop(l, (uint64_t[]){ FIRST, 4711 }, 2));
    LogSpan span;
    EXPECT_ERR(ERR_NOT_FOUND, log_span(l, FIRST, &span));
    EXPECT_OK(test_put(l, FIRST, S("late"), &place));
    EXPECT_INT(0, place.position);
    log_close(l);
    l = NULL;
    EXPECT_OK(log_open(&config, &l));
    EXPECT_OK(log_shard_add(l, SECOND, HOUR_NS));
    EXPECT_OK(log_ready(l)); // nothing of the dropped one is left that would want a row
    test_expect_data(l, a, SECOND, (Str[]){ S("stays") }, 1);
    log_close(l);
}

TEST(records_of_a_shard_without_a_row_are_reported)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    struct log *l = open_three(&config);
    LogPlace place;
    EXPECT_OK(test_put(l, SECOND, S("x"), &place));
    log_close(l);
    l = NULL;
    EXPECT_OK(log_open(&config, &l));
    EXPECT_OK(log_shard_add(l, FIRST, HOUR_NS));
    EXPECT_ERR(ERR_CORRUPT, log_ready(l));
    log_close(l);
}

TEST(a_shard_that_was_never_added_takes_nothing)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    AUTO(log) l = open_three(&config);
    struct test_append *t = test_append_new();
    test_append_add(t, 99, S("k"), S("nowhere"));
    test_append_add(t, FIRST, S("k"), S("here"));
    test_append_add(t, 0, S("k"), S("nowhere"));
    EXPECT_OK(test_append_start(l, t));
    EXPECT_OK(test_append_wait(t));
    EXPECT(t->places[0].position == 0 && t->places[1].position != 0 && t->places[2].position == 0);
    test_append_free(t);
    test_expect_data(l, a, FIRST, (Str[]){ S("here") }, 1);
    EXPECT_ERR(ERR_INVALID, log_shard_add(l, 0, HOUR_NS));
}

TEST(what_is_past_its_retention_is_not_read_even_before_it_expires)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    io_mem_set_clock(disk, START_NS, START_NS);
    AUTO(log) l = open_three(&config);
    LogPlace first, second;
    EXPECT_OK(test_put(l, FIRST, S("old"), &first));
    EXPECT_OK(test_put(l, SECOND, S("other"), &second));
    test_advance(l, disk, HOUR_NS / 2);
    EXPECT_OK(test_put(l, FIRST, S("new"), &second));
    EXPECT_OK(log_shard_add(l, SECOND, 2 * HOUR_NS));
    test_advance(l, disk, HOUR_NS / 2);
    for (int expired = 0; expired < 2; expired++) {
        test_expect_data(l, a, FIRST, (Str[]){ S("new") }, 1);
        test_expect_data(l, a, SECOND, (Str[]){ S("other") }, 1);
        LogSpan span;
        EXPECT_OK(log_span(l, FIRST, &span));
        EXPECT_INT(second.position, span.first);
        uint64_t position;
        EXPECT_OK(log_find_time(l, FIRST, 0, &position));
        EXPECT_INT(second.position, position);
        log_expire(l);
    }
    test_advance(l, disk, HOUR_NS);
    test_expect_data(l, a, FIRST, NULL, 0);
    log_expire(l);
    test_expect_data(l, a, FIRST, NULL, 0);
    LogSpan span;
    EXPECT_OK(log_span(l, FIRST, &span));
    EXPECT(span.first == span.next && span.last_arrival_ms == 0);
}

TEST(files_whose_records_are_over_are_used_again)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    io_mem_set_clock(disk, START_NS, START_NS);
    struct log *l = open_three(&config);
    LogPlace place, end;
    EXPECT_OK(test_put(l, FIRST, S("early"), &place));
    EXPECT_OK(log_shards_end(l, (uint64_t[]){ SECOND }, 1, &end));
    LogStats stats;
    for (int i = 0; i < 40; i++) {
        put_much(l, THIRD);
        test_advance(l, disk, HOUR_NS / 8);
        log_expire(l);
        log_stats(l, &stats);
        EXPECT(stats.disk_bytes <= 8 * TEST_FILE_BYTES);
    }
    EXPECT(test_file_number(l, 0) > 2);
    LogSpan span;
    EXPECT_OK(log_span(l, SECOND, &span)); // its end has moved on with the files
    EXPECT(span.ended && span.end == end.position);
    log_close(l);
    l = open_three(&config);
    EXPECT_OK(log_span(l, SECOND, &span));
    EXPECT(span.ended && span.end == end.position);
    EXPECT_INT(7, test_read_all(l, a, THIRD, 0).n);
    test_expect_data(l, a, FIRST, NULL, 0);
    log_close(l);
}

TEST(a_drop_outlives_the_file_that_told_it)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    io_mem_set_clock(disk, START_NS, START_NS);
    struct log *l = open_three(&config);
    EXPECT_OK(log_shard_add(l, FIRST, 100 * HOUR_NS));
    LogPlace place;
    EXPECT_OK(test_put(l, FIRST, S("holds the first file"), &place));
    EXPECT_OK(test_put(l, SECOND, S("dropped"), &place));
    for (int i = 0; i < 4; i++)
        put_much(l, THIRD);
    EXPECT_OK(log_shards_drop(l, (uint64_t[]){ SECOND }, 1));
    for (int i = 0; i < 12; i++) { // the file of the drop goes
        test_advance(l, disk, HOUR_NS / 2);
        put_much(l, THIRD);
        log_expire(l);
    }
    EXPECT(test_file_number(l, 0) > 3);
    log_close(l);
    l = NULL;
    EXPECT_OK(log_open(&config, &l));
    EXPECT_OK(log_shard_add(l, FIRST, 100 * HOUR_NS));
    EXPECT_OK(log_shard_add(l, THIRD, HOUR_NS));
    EXPECT_OK(log_ready(l));
    test_expect_data(l, a, FIRST, (Str[]){ S("holds the first file") }, 1);
    log_close(l);
}

TEST(thousands_of_shards_share_the_journal)
{
    enum { MANY = 5000 };
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    struct log *l = NULL;
    EXPECT_OK(log_open(&config, &l));
    for (int round = 0; round < 2; round++) {
        for (uint64_t id = 1; id <= MANY; id++)
            EXPECT_OK(log_shard_add(l, id, HOUR_NS));
        EXPECT_OK(log_ready(l));
        for (uint64_t id = 1; id <= MANY; id += 500) {
            struct test_append *t = test_append_new();
            for (uint64_t k = id; k < id + 500; k++)
                test_append_add(t, k, S("k"), str_fmt(a, "%d %llu", round, (unsigned long long)k));
            EXPECT_OK(test_append_start(l, t));
            EXPECT_OK(test_append_wait(t));
            test_append_free(t);
        }
        log_close(l);
        EXPECT_OK(log_open(&config, &l));
    }
    for (uint64_t id = 1; id <= MANY; id++)
        EXPECT_OK(log_shard_add(l, id, HOUR_NS));
    for (uint64_t id = 1; id <= MANY; id += 77)
        test_expect_data(l, a, id,
                         (Str[]){ str_fmt(a, "0 %llu", (unsigned long long)id),
                                  str_fmt(a, "1 %llu", (unsigned long long)id) },
                         2);
    uint64_t odd[MANY / 2];
    for (size_t i = 0; i < COUNT_OF(odd); i++)
        odd[i] = 2 * i + 1;
    EXPECT_OK(log_shards_drop(l, odd, COUNT_OF(odd)));
    LogSpan span;
    for (uint64_t id = 1; id <= MANY; id++)
        EXPECT(log_span(l, id, &span).kind == (id % 2 == 1 ? ERR_NOT_FOUND : ERR_NONE));
    log_close(l);
}

// A device that stores a block and then reports a failure.
static struct io *below_late;
static _Atomic bool fails_late;

static Err late_write(struct io_file *f, const void *p, size_t n, uint64_t at, bool durable)
{
    TRY(below_late->write(f, p, n, at, durable));
    if (durable && fails_late) {
        fails_late = false;
        return fail(ERR_IO, "injected");
    }
    return OK;
}

TEST(a_block_that_was_made_void_stays_void_when_files_are_retired)
{
    AUTO(io_mem) disk = io_mem_open(1);
    below_late = io_mem_io(disk);
    struct io io = *below_late;
    io.write = late_write;
    LogConfig config = test_config(&io, S("/log"));
    io_mem_set_clock(disk, START_NS, START_NS);
    struct log *l = open_three(&config);
    EXPECT_OK(log_shard_add(l, FIRST, 100 * HOUR_NS));
    LogPlace place;
    EXPECT_OK(test_put(l, FIRST, S("holds the first file"), &place));
    test_wait_for_spare(l);
    fails_late = true;
    EXPECT_OK(test_put(l, SECOND, S("twice on the disk"), &place)); // in the second file
    EXPECT(!fails_late);
    test_expect_data(l, a, SECOND, (Str[]){ S("twice on the disk") }, 1);
    for (int i = 0; i < 12; i++) {
        test_advance(l, disk, HOUR_NS / 2);
        put_much(l, THIRD);
        log_expire(l);
    }
    EXPECT(test_file_number(l, 0) > 2); // with it went the block that made the first copy void
    log_close(l);
    l = NULL;
    EXPECT_OK(log_open(&config, &l));
    for (uint64_t id = FIRST; id <= THIRD; id++)
        EXPECT_OK(log_shard_add(l, id, 100 * HOUR_NS));
    EXPECT_OK(log_ready(l));
    test_expect_data(l, a, FIRST, (Str[]){ S("holds the first file") }, 1);
    test_expect_data(l, a, SECOND, NULL, 0);
    log_close(l);
}

// More than the processor's cache is expected to hold, so that they are found together.
TEST(an_append_over_hundreds_of_shards_gives_each_its_own)
{
    enum { SHARDS = SHARDS_COLD_LEAST * 2, ROUNDS = 2 };
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    for (int restart = 0; restart < 2; restart++) {
        AUTO(log) l = NULL;
        EXPECT_OK(log_open(&config, &l));
        for (uint64_t id = 1; id < SHARDS; id++) // not the last one: nobody knows it
            EXPECT_OK(log_shard_add(l, id, HOUR_NS));
        EXPECT_OK(log_ready(l));
        for (int round = 0; round < ROUNDS && restart == 0; round++) {
            struct test_append *t = test_append_new();
            for (uint64_t i = 0; i < LOG_APPEND_RECORDS_MAX; i++) {
                uint64_t id = i * 7 % SHARDS + 1;
                test_append_add(t, id, S("key"), str_fmt(a, "%d of %d", round, (int)id));
            }
            EXPECT_OK(test_append_start(l, t));
            EXPECT_OK(test_append_wait(t));
            for (size_t i = 0; i < LOG_APPEND_RECORDS_MAX; i++)
                EXPECT((t->places[i].position == 0) == (t->records[i].shard == SHARDS));
            test_append_free(t);
        }
        for (uint64_t i = 0; i < LOG_APPEND_RECORDS_MAX; i++) {
            uint64_t id = i * 7 % SHARDS + 1;
            Str data[ROUNDS] = { str_fmt(a, "0 of %d", (int)id), str_fmt(a, "1 of %d", (int)id) };
            if (id != SHARDS)
                test_expect_data(l, a, id, data, ROUNDS);
        }
    }
}
