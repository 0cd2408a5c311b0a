// SPDX-License-Identifier: Apache-2.0
// Sealing: records that have left the journal are read as before, whatever happens on the way.
#include "base/memory.h"
#include "store/log/log_test_help.h"
#include "store/log_lend.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SHARDS = 3, RECORD_BYTES = 60 << 10 };
#define HOUR_NS (INT64_C(3600) * NS_PER_S)
#define START_NS (INT64_C(1700000000) * NS_PER_S)

// What was acknowledged, in order, by shard.
struct kept {
    Str data[SHARDS + 1][400];
    LogPlace place[SHARDS + 1][400];
    size_t n[SHARDS + 1];
};

static Err try_open(const LogConfig *config, struct log **ret)
{
    struct log *l;
    TRY(log_open(config, &l));
    Err e = OK;
    for (uint64_t id = 1; id <= SHARDS && e.kind == ERR_NONE; id++)
        e = log_shard_add(l, id, id == 3 ? 100 * HOUR_NS : 10 * HOUR_NS);
    if (e.kind == ERR_NONE)
        e = log_ready(l);
    if (e.kind == ERR_NONE)
        *ret = l;
    else
        log_close(l);
    return e;
}

static struct log *open_three(const LogConfig *config)
{
    struct log *l = NULL;
    EXPECT_OK(try_open(config, &l));
    return l;
}

// Puts a record that compresses badly and is told from every other.
static Err put(struct log *l, struct kept *k, struct arena *a, uint64_t shard)
{
    char *data = arena_alloc(a, RECORD_BYTES, 1);
    uint64_t x = shard * 1000003 + k->n[shard] + 1;
    for (size_t i = 0; i < RECORD_BYTES; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        data[i] = (char)(x >> 56);
    }
    size_t i = k->n[shard];
    k->data[shard][i] = str_from(data, RECORD_BYTES);
    TRY(test_put(l, shard, k->data[shard][i], &k->place[shard][i]));
    k->n[shard]++;
    return OK;
}

static void put_many(struct log *l, struct kept *k, struct arena *a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        EXPECT_OK(put(l, k, a, 1 + i % SHARDS));
}

static void expect_kept(struct log *l, struct arena *a, const struct kept *k, uint64_t shard,
                        size_t from)
{
    LogBatch all =
        test_read_all(l, a, shard, from < k->n[shard] ? k->place[shard][from].position : 0);
    EXPECT_INT(k->n[shard] - from, all.n);
    for (size_t i = 0; i < all.n; i++) {
        EXPECT_INT(k->place[shard][from + i].position, all.at[i].position);
        EXPECT_INT(k->place[shard][from + i].arrival_ms, all.at[i].arrival_ms);
        EXPECT_STR(k->data[shard][from + i], all.at[i].data);
        EXPECT_STR(S("key"), all.at[i].key);
    }
}

static void expect_all(struct log *l, struct arena *a, const struct kept *k)
{
    for (uint64_t id = 1; id <= SHARDS; id++) {
        expect_kept(l, a, k, id, 0);
        expect_kept(l, a, k, id, k->n[id] / 2);
    }
}

static LogStats stats_of(struct log *l)
{
    LogStats stats;
    log_stats(l, &stats);
    return stats;
}

TEST(what_is_sealed_is_read_as_before_also_after_a_restart)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.tail_cache_bytes = 1;
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    for (int round = 0; round < 4; round++) {
        put_many(l, k, a, 60);
        log_expire(l);
        expect_all(l, a, k);
        if (round % 2 == 1) {
            log_close(l);
            l = open_three(&config);
            expect_all(l, a, k);
        }
    }
    LogStats stats = stats_of(l);
    EXPECT(stats.containers >= 2 && stats.sealed_records > 100);
    EXPECT(stats.files <= 8); // four that wait, and those that were begun by starts
    EXPECT(test_file_number(l, 0) > 4);
    EXPECT(stats.recovered_records < k->n[1] + k->n[2] + k->n[3]);
    log_close(l);
}

TEST(everything_can_be_sealed_at_once)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.tail_cache_bytes = 1; // read from containers
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    EXPECT_OK(log_seal(l)); // there is nothing
    put_many(l, k, a, 10);
    EXPECT_OK(log_seal(l));
    EXPECT_INT(10, stats_of(l).sealed_records);
    EXPECT_INT(1, stats_of(l).files);
    expect_all(l, a, k);
    EXPECT_OK(log_seal(l));
    EXPECT_INT(10, stats_of(l).sealed_records);
    put_many(l, k, a, 4);
    expect_all(l, a, k);
    log_close(l);
    l = open_three(&config);
    EXPECT(stats_of(l).recovered_records == 4);
    expect_all(l, a, k);
    put_many(l, k, a, 3);
    expect_all(l, a, k);
    log_close(l);
}

TEST(what_is_passed_in_time_is_never_sealed)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    EXPECT_OK(put(l, k, a, 1)); // also what was there before counts
    log_shard_pass(l, 1, 0);
    log_shard_pass(l, 77, 1); // nobody knows it
    for (int i = 1; i < 150; i++)
        EXPECT_OK(put(l, k, a, 1));
    log_expire(l);
    EXPECT_INT(0, stats_of(l).containers);
    EXPECT(stats_of(l).files > 8);
    expect_kept(l, a, k, 1, 0);
    log_shard_pass(l, 1, k->place[1][100].position);
    log_shard_pass(l, 1, k->place[1][50].position); // never goes back
    log_expire(l);
    EXPECT_INT(0, stats_of(l).containers);
    EXPECT(stats_of(l).files < 6);
    expect_kept(l, a, k, 1, 100);
    LogSpan span;
    EXPECT_OK(log_span(l, 1, &span));
    EXPECT_INT(k->place[1][100].position, span.first);
    log_shard_pass(l, 1, span.next);
    log_expire(l);
    EXPECT_INT(1, stats_of(l).files);
    EXPECT_INT(0, stats_of(l).live_bytes);
    EXPECT_OK(put(l, k, a, 1));
    expect_kept(l, a, k, 1, k->n[1] - 1);
    log_close(l);
}

TEST(what_is_not_passed_in_time_is_sealed)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.tail_cache_bytes = 1; // read from containers
    config.unsealed_bytes_max = 32 * TEST_FILE_BYTES;
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    log_shard_pass(l, 1, 0);
    for (int i = 0; i < 180; i++)
        EXPECT_OK(put(l, k, a, 1));
    log_expire(l);
    EXPECT(stats_of(l).containers > 0); // a quarter of what may wait
    expect_kept(l, a, k, 1, 0);
    log_shard_pass(l, 1, k->place[1][170].position);
    put_many(l, k, a, 90); // others are sealed as ever
    log_expire(l);
    EXPECT(stats_of(l).sealed_records > 0);
    expect_kept(l, a, k, 2, 0);
    expect_kept(l, a, k, 3, 0);
    log_close(l);
}

TEST(places_are_found_across_containers_and_journal)
{
    AUTO(io_mem) disk = io_mem_open(1);
    io_mem_set_clock(disk, START_NS, START_NS);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.tail_cache_bytes = 1; // read from containers
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    for (int i = 0; i < 30; i++) {
        EXPECT_OK(put(l, k, a, 1));
        test_advance(l, disk, NS_PER_S);
        if (i == 12 || i == 20)
            EXPECT_OK(log_seal(l));
    }
    EXPECT_OK(put(l, k, a, 2));
    for (size_t i = 0; i < 30; i++) {
        uint64_t position;
        EXPECT_OK(log_find_time(l, 1, k->place[1][i].arrival_ms, &position));
        EXPECT_INT(k->place[1][i].position, position);
        EXPECT_OK(log_find_time(l, 1, k->place[1][i].arrival_ms - 1, &position));
        EXPECT_INT(k->place[1][i].position, position);
    }
    LogSpan span;
    EXPECT_OK(log_span(l, 1, &span));
    EXPECT_INT(k->place[1][0].position, span.first);
    EXPECT_INT(k->place[1][29].arrival_ms, span.last_arrival_ms);
    EXPECT_OK(log_seal(l));
    EXPECT_OK(log_span(l, 1, &span));
    EXPECT_INT(k->place[1][29].arrival_ms, span.last_arrival_ms);
    EXPECT(span.next > k->place[2][0].position);
    uint64_t position;
    EXPECT_OK(log_find_time(l, 1, k->place[1][29].arrival_ms + 1, &position));
    EXPECT_INT(span.next, position);
    log_close(l);
}

TEST(sealed_records_expire_and_give_their_space_back)
{
    AUTO(io_mem) disk = io_mem_open(1);
    io_mem_set_clock(disk, START_NS, START_NS);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.tail_cache_bytes = 1; // read from containers
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    put_many(l, k, a, 60);
    EXPECT_OK(log_seal(l));
    test_advance(l, disk, 5 * HOUR_NS);
    size_t half = k->n[1];
    put_many(l, k, a, 30);
    EXPECT_OK(log_seal(l));
    uint64_t bytes = stats_of(l).container_bytes;
    test_advance(l, disk, 5 * HOUR_NS);
    expect_kept(l, a, k, 1, half);
    log_expire(l);
    EXPECT(stats_of(l).container_bytes < bytes);
    expect_kept(l, a, k, 1, half);
    expect_kept(l, a, k, 3, 0); // it is kept longer
    test_advance(l, disk, 100 * HOUR_NS);
    log_expire(l);
    EXPECT_INT(0, stats_of(l).containers);
    LogSpan span;
    EXPECT_OK(log_span(l, 3, &span));
    EXPECT(span.first == span.next && span.last_arrival_ms == 0);
    log_close(l);
    l = open_three(&config);
    EXPECT_INT(0, test_read_all(l, a, 3, 0).n);
    LogPlace place;
    EXPECT_OK(test_put(l, 3, S("goes on"), &place));
    EXPECT(place.position > k->place[3][k->n[3] - 1].position);
    EXPECT(place.arrival_ms >= k->place[3][k->n[3] - 1].arrival_ms);
    log_close(l);
}

// Where the n-th record of a shard lies in the first file.
static uint64_t place_in_file(struct log *l, uint64_t shard, size_t n)
{
    pthread_mutex_lock(&l->lock);
    const struct shard *s = shards_find(&l->shards, shard);
    CHECK(s != NULL && n < s->data->end - s->data->first);
    uint64_t place = s->data->at[s->data->first + n].place;
    pthread_mutex_unlock(&l->lock);
    return place;
}

static Err read_from(struct log *l, struct arena *a, uint64_t shard, uint64_t from, LogBatch *ret)
{
    LogRead read = { .shard = shard, .from = from, .max_records = 1000, .max_bytes = 1 << 20 };
    return log_read(l, a, &read, ret);
}

// Of shard 1 the records before `lost` are there, that one is told, and behind it all is there.
static void expect_lost(struct log *l, struct arena *a, const struct kept *k, size_t lost)
{
    LogBatch batch;
    const LogPlace *places = k->place[1];
    EXPECT_OK(read_from(l, a, 1, 0, &batch));
    EXPECT_INT(lost, batch.n);
    EXPECT(batch.more && batch.next <= places[lost].position);
    EXPECT_ERR(ERR_CORRUPT, read_from(l, a, 1, batch.next, &batch));
    EXPECT_ERR(ERR_CORRUPT, read_from(l, a, 1, places[lost].position, &batch));
    expect_kept(l, a, k, 1, lost + 1);
    expect_kept(l, a, k, 2, 0);
    expect_kept(l, a, k, 3, 0);
}

TEST(what_is_damaged_before_it_is_sealed_is_told_and_stops_nothing)
{
    AUTO(io_mem) disk = io_mem_open(1);
    io_mem_set_clock(disk, START_NS, START_NS);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.tail_cache_bytes = 1;
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    put_many(l, k, a, 12);
    uint64_t at = place_in_file(l, 1, 2) + EXTENT_HEAD_BYTES + RECORD_HEAD_BYTES + 2;
    EXPECT_OK(io_flip(io_mem_io(disk), files_path(&l->files, a, 1), at, 4));
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    EXPECT_OK(log_seal(l));
    EXPECT_INT(1, stats_of(l).files);
    expect_lost(l, a, k, 2);
    log_close(l);
    l = open_three(&config); // nothing of the journal is left to be refused
    expect_lost(l, a, k, 2);
    for (int i = 0; i < 4; i++) { // merged, it is told as well
        put_many(l, k, a, 3);
        EXPECT_OK(log_seal(l));
    }
    log_expire(l);
    EXPECT(stats_of(l).merges > 0);
    expect_lost(l, a, k, 2);
    test_advance(l, disk, 101 * HOUR_NS);
    log_expire(l);
    EXPECT_INT(0, stats_of(l).containers);
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
    log_close(l);
}

TEST(containers_expire_also_while_nothing_can_be_sealed)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 1);
    io_mem_set_clock(disk, START_NS, START_NS);
    LogConfig config = test_config(io_fault_io(faults), S("/log"));
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    put_many(l, k, a, 12);
    EXPECT_OK(log_seal(l));
    EXPECT(stats_of(l).containers > 0);
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    io_fault_add(faults, (IoFault){ .ops = IO_OP_WRITE | IO_OP_ALLOCATE,
                                    .path_part = S("sealed"),
                                    .times = UINT64_MAX,
                                    .err = fail(ERR_FULL, "no space for a container") });
    put_many(l, k, a, 150);
    test_advance(l, disk, 101 * HOUR_NS);
    put_many(l, k, a, 150); // sealing is due, whatever becomes of the first ones
    log_expire(l);
    EXPECT(io_fault_hits(faults) > 0);
    EXPECT_INT(0, stats_of(l).containers);
    io_fault_clear(faults);
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
    log_close(l);
}

TEST(ends_and_drops_outlive_the_files_that_told_them)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    put_many(l, k, a, 12);
    EXPECT_OK(log_seal(l));
    LogPlace end;
    EXPECT_OK(log_shards_end(l, (uint64_t[]){ 1 }, 1, &end));
    EXPECT_OK(log_shards_drop(l, (uint64_t[]){ 2 }, 1));
    for (int restart = 0; restart < 3; restart++) {
        log_close(l);
        l = NULL;
        EXPECT_OK(log_open(&config, &l)); // shard 2 has no row any more, and that is no damage
        EXPECT_OK(log_shard_add(l, 1, 10 * HOUR_NS));
        EXPECT_OK(log_shard_add(l, 3, 10 * HOUR_NS));
        EXPECT_OK(log_ready(l));
        LogSpan span;
        EXPECT_OK(log_span(l, 1, &span));
        EXPECT(span.ended && span.end == end.position);
        EXPECT_ERR(ERR_NOT_FOUND, log_span(l, 2, &span));
        expect_kept(l, a, k, 1, 0);
        expect_kept(l, a, k, 3, 0);
        EXPECT_OK(log_seal(l));
    }
    log_close(l);
    l = NULL;
    EXPECT_OK(log_open(&config, &l)); // but that 1 and 3 have none is
    EXPECT_OK(log_shard_add(l, 1, 10 * HOUR_NS));
    EXPECT_ERR(ERR_CORRUPT, log_ready(l));
    log_close(l);
}

TEST(a_longer_retention_keeps_what_is_sealed)
{
    AUTO(io_mem) disk = io_mem_open(1);
    io_mem_set_clock(disk, START_NS, START_NS);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.tail_cache_bytes = 1; // read from containers
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    put_many(l, k, a, 12);
    EXPECT_OK(log_seal(l));
    EXPECT_OK(log_shard_add(l, 1, 1000 * HOUR_NS));
    test_advance(l, disk, 200 * HOUR_NS);
    log_expire(l);
    log_expire(l);
    expect_kept(l, a, k, 1, 0);
    EXPECT_INT(0, test_read_all(l, a, 2, 0).n);
    log_close(l);
}

TEST(what_was_over_does_not_come_back_with_a_longer_retention)
{
    AUTO(io_mem) disk = io_mem_open(1);
    io_mem_set_clock(disk, START_NS, START_NS);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.tail_cache_bytes = 1; // read from containers
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    put_many(l, k, a, 6); // shard 3 keeps their container
    EXPECT_OK(log_seal(l));
    test_advance(l, disk, 6 * HOUR_NS);
    put_many(l, k, a, 3);
    test_advance(l, disk, 5 * HOUR_NS);
    EXPECT_OK(log_shard_add(l, 1, 1000 * HOUR_NS));
    expect_kept(l, a, k, 1, 2);
    EXPECT_INT(1, test_read_all(l, a, 1, 0).n);
    uint64_t position;
    EXPECT_OK(log_find_time(l, 1, 0, &position));
    EXPECT_INT(k->place[1][2].position, position);
    log_close(l);
}

TEST(a_full_disk_while_sealing_leaves_nothing_behind)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    AUTO(io_fault) faults = io_fault_open(io, 1);
    LogConfig config = test_config(io_fault_io(faults), S("/log"));
    config.tail_cache_bytes = 1; // read from containers
    io_mem_set_clock(disk, START_NS, START_NS);
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    EXPECT_OK(log_shard_add(l, 3, 1000 * HOUR_NS)); // a class of its own
    put_many(l, k, a, 9);
    EXPECT_OK(log_seal(l));
    put_many(l, k, a, 9);
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    IoFault full = { .path_part = S("container-"),
                     .times = UINT64_MAX,
                     .err = fail(ERR_FULL, "x") };
    for (uint64_t n = 0; n < 12; n++) {
        io_fault_clear(faults);
        full.ops = IO_OP_WRITE | IO_OP_SYNC | IO_OP_OPEN;
        full.skip = n;
        io_fault_add(faults, full);
        Err e = log_seal(l);
        IoName *names;
        size_t count;
        test_hold_expiry(l); // it merges
        EXPECT_OK(io->list(io, a, S("/log/sealed"), &names, &count));
        EXPECT_INT(stats_of(l).containers, count);
        test_release_expiry(l);
        if (e.kind == ERR_NONE)
            break;
        EXPECT_INT(ERR_FULL, e.kind);
    }
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
    io_fault_clear(faults);
    EXPECT_OK(log_seal(l));
    expect_all(l, a, k);
    log_close(l);
}

TEST(a_read_that_finds_no_memory_fails_alone)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.tail_cache_bytes = 1;
    config.read_cache_bytes = 1;
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    put_many(l, k, a, 12);
    EXPECT_OK(log_seal(l));
    put_many(l, k, a, 6);
    uint64_t refused = 0, n = 0;
    for (bool untouched = false; !untouched; n++) {
        EXPECT(n < 200);
        memory_fault_set(MEMORY_REQUEST, n, 1);
        AUTO(arena) tmp = arena_open();
        LogRead read = { .shard = 1, .max_records = 100, .max_bytes = 10 << 20 };
        LogBatch batch;
        Err e = log_read(l, tmp, &read, &batch);
        untouched = memory_fault_seen(MEMORY_REQUEST) <= n;
        memory_fault_set(MEMORY_REQUEST, 0, 0);
        EXPECT(e.kind == ERR_NONE || e.kind == ERR_MEMORY);
        EXPECT(!untouched || (e.kind == ERR_NONE && batch.n == k->n[1]));
        refused += e.kind == ERR_MEMORY;
        for (size_t i = 0; e.kind == ERR_NONE && i < batch.n; i++)
            EXPECT_STR(k->data[1][i], batch.at[i].data);
        expect_kept(l, a, k, 1, 0);
    }
    EXPECT(refused > 1);
    log_close(l);
}

static LogBatch read_lent(struct log *l, struct arena *a, uint64_t shard, size_t records)
{
    LogRead read = { .shard = shard, .max_records = records, .max_bytes = 10 << 20 };
    LogBatch batch = { 0 };
    EXPECT_OK(log_read_lent(l, a, &read, &batch));
    return batch;
}

static void expect_batch(const struct kept *k, uint64_t shard, const LogBatch *batch, size_t n)
{
    EXPECT_INT(n, batch->n);
    for (size_t i = 0; i < batch->n; i++)
        EXPECT(str_eq(k->data[shard][i], batch->at[i].data) && str_eq(S("key"), batch->at[i].key));
}

TEST(sealed_records_that_are_lent_stay_where_they_are)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.tail_cache_bytes = 1;
    config.read_cache_bytes = 1 << 20;
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    put_many(l, k, a, 90);
    EXPECT_OK(log_seal(l));
    put_many(l, k, a, 6); // not sealed: read from the journal, in a round of its own
    AUTO(arena) held = arena_open();
    LogBatch all = read_lent(l, held, 1, 100), some = read_lent(l, held, 2, 7);
    EXPECT(arena_bytes(held) < (size_t)6 * RECORD_BYTES); // what is sealed was not copied
    for (int i = 0; i < 2; i++) {
        expect_all(l, a, k); // through the cache, which forgets all but the last
        EXPECT(stats_of(l).read_cache_bytes <= (1 << 20) + (1 << 14));
    }
    expect_batch(k, 1, &all, k->n[1]);
    expect_batch(k, 2, &some, 7);
    LogBatch again = read_lent(l, held, 1, 100); // the same chunks, lent twice
    arena_reset(held);
    AUTO(arena) other = arena_open();
    again = read_lent(l, other, 1, 100);
    expect_batch(k, 1, &again, k->n[1]);
    EXPECT(stats_of(l).read_cache_bytes <= (1 << 20) + (1 << 14));
    log_close(l);
    arena_reset(other); // after the log
}

TEST(sealed_records_are_copied_when_they_cannot_be_lent)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.tail_cache_bytes = 1;
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    put_many(l, k, a, 90);
    EXPECT_OK(log_seal(l));
    EXPECT_OK(memory_setup(MEMORY_REQUESTS_BYTES_MIN, 0));
    memory_take_anyway(MEMORY_REQUESTS_BYTES_MIN);
    struct arena *held = arena_open(); // of no request: it has what it needs
    LogBatch all = read_lent(l, held, 1, 100);
    EXPECT(arena_bytes(held) >= (size_t)30 * RECORD_BYTES);
    expect_batch(k, 1, &all, 30);
    memory_give(MEMORY_REQUESTS_BYTES_MIN);
    arena_reset(held);
    all = read_lent(l, held, 1, 100);
    MemoryStats stats;
    memory_stats(&stats);
    EXPECT(arena_bytes(held) < RECORD_BYTES && stats.requests_bytes >= (size_t)30 * RECORD_BYTES);
    arena_close(held);
    memory_stats(&stats);
    EXPECT_INT(0, stats.requests_bytes);
    EXPECT_OK(memory_setup(0, 0));
    log_close(l);
}

TEST(an_append_whose_parts_lie_on_both_sides_stays_whole)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.tail_cache_bytes = 1;
    struct log *l = open_three(&config);
    static char data[200 << 10];
    enum { RECORDS = 16 };
    struct test_append *t = test_append_new();
    for (size_t i = 0; i < RECORDS; i++)
        test_append_add(t, 1, S("key"), str_from(data, sizeof data));
    EXPECT_OK(test_append_start(l, t)); // three files
    EXPECT_OK(test_append_wait(t));
    test_append_free(t);
    bool any;
    test_hold_expiry(l);
    Err e = log_seal_step(l, true, &any); // the first of them, or two
    test_release_expiry(l);
    EXPECT_OK(e);
    EXPECT(any && stats_of(l).sealed_records > 0);
    EXPECT_INT(RECORDS, test_read_all(l, a, 1, 0).n);
    log_close(l);
    l = open_three(&config);
    EXPECT_INT(RECORDS, test_read_all(l, a, 1, 0).n);
    log_close(l);
}

TEST(appends_wait_while_sealing_is_behind)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 1);
    LogConfig config = test_config(io_fault_io(faults), S("/log"));
    config.tail_cache_bytes = 1; // read from containers
    io_mem_set_clock(disk, START_NS, START_NS);
    config.unsealed_bytes_max = 12 * TEST_FILE_BYTES;
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    io_fault_add(faults, (IoFault){ .path_part = S("sealed"), .times = UINT64_MAX });
    Err e = OK;
    while (e.kind == ERR_NONE && k->n[1] < 390)
        e = put(l, k, a, 1);
    EXPECT_ERR(ERR_LIMIT, e);
    EXPECT(stats_of(l).behind);
    expect_all(l, a, k);
    io_fault_clear(faults);
    test_advance(l, disk, 100 * NS_PER_S); // it is tried again after a while
    log_expire(l);
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
    EXPECT(!stats_of(l).behind);
    EXPECT_OK(put(l, k, a, 1));
    expect_all(l, a, k);
    log_close(l);
}

TEST(puts_are_slowed_down_before_they_are_refused)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 1);
    LogConfig config = test_config(io_fault_io(faults), S("/log"));
    io_mem_set_clock(disk, START_NS, START_NS);
    config.unsealed_bytes_max = 12 * TEST_FILE_BYTES;
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    io_fault_add(faults, (IoFault){ .path_part = S("sealed"), .times = UINT64_MAX });
    test_hold_expiry(l); // it paces, too
    log_pace(l, 1);      // little waits to be sealed
    while (test_files_in_use(l) < 7)
        EXPECT_OK(put(l, k, a, 1));
    log_pace(l, 4096);
    EXPECT_OK(put(l, k, a, 1)); // more than was granted; then it is at an end
    struct test_append *t = test_append_new();
    test_append_add(t, 2, S("key"), S("data"));
    EXPECT_OK(test_append_start(l, t));
    nanosleep(&(struct timespec){ .tv_nsec = 20 * 1000000 }, NULL);
    EXPECT_INT(0, atomic_load(&t->finished));
    log_pace(l, 4096);
    EXPECT_OK(test_append_wait(t));
    test_append_free(t);
    log_pace_end(l);
    for (size_t i = 0; i < 10; i++)
        EXPECT_OK(put(l, k, a, 1));
    log_pace(l, 0);
    test_release_expiry(l);
    log_close(l); // does not wait for it
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
}

// Moves what is sealed into a directory of its own, as a restore does.
static void restore_to(struct io *io, struct arena *a, Str to)
{
    Checkpoint c;
    EXPECT_OK(checkpoint_read(io, a, S("/log"), &c));
    c.is_restored = true;
    EXPECT_OK(io->mkdir(io, to));
    EXPECT_OK(io->mkdir(io, str_cat(a, to, S("/sealed"))));
    for (size_t i = 0; i < c.container_count; i++) {
        Str bytes, dir = str_cat(a, to, S("/sealed"));
        Str from = container_path(a, S("/log/sealed"), c.containers[i].number);
        EXPECT_OK(io_read_file(io, a, from, 64 << 20, &bytes));
        EXPECT_OK(io_write_file(io, a, container_path(a, dir, c.containers[i].number), bytes));
    }
    EXPECT_OK(checkpoint_write(io, a, to, &c));
}

TEST(what_was_restored_needs_no_journal_until_it_has_one)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    LogConfig config = test_config(io, S("/log"));
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    put_many(l, k, a, 40);
    EXPECT_OK(log_seal(l));
    log_close(l);
    restore_to(io, a, S("/new"));
    config.dir = S("/new");
    l = open_three(&config);
    expect_all(l, a, k);
    EXPECT_OK(put(l, k, a, 1));
    EXPECT(k->place[1][k->n[1] - 1].position > k->place[1][k->n[1] - 2].position);
    uint64_t number = test_file_number(l, 0);
    Str path = files_path(&l->files, a, number);
    log_close(l);
    l = open_three(&config);
    expect_all(l, a, k);
    log_close(l);
    EXPECT_OK(io->unlink(io, path));
    EXPECT_ERR(ERR_CORRUPT, try_open(&config, &l));
}

// A life with sealing in it, whatever fails. Returns whether it came to its end.
static bool live(const LogConfig *config, struct arena *a, struct kept *k)
{
    struct log *l = NULL;
    if (try_open(config, &l).kind != ERR_NONE)
        return false;
    bool whole = true;
    for (int i = 0; i < 6 && whole; i++)
        whole = put(l, k, a, 1 + (uint64_t)i % SHARDS).kind == ERR_NONE;
    whole &= log_seal(l).kind == ERR_NONE;
    for (int i = 0; i < 3 && whole; i++)
        whole = put(l, k, a, 1 + (uint64_t)i % SHARDS).kind == ERR_NONE;
    log_expire(l);
    log_close(l);
    return whole;
}

static void ignore_fatal(void *self, Err e)
{
    CHECK(self == NULL && e.kind != ERR_NONE);
}

// Everything acknowledged is there; of the one put that failed nobody knows.
static void expect_acknowledged(const LogConfig *config, struct arena *a, const struct kept *k)
{
    struct log *l = open_three(config);
    for (uint64_t id = 1; id <= SHARDS; id++) {
        LogBatch all = test_read_all(l, a, id, 0);
        size_t found = 0;
        for (size_t i = 0; i < all.n && found < k->n[id]; i++)
            found += all.at[i].position == k->place[id][found].position &&
                     str_eq(all.at[i].data, k->data[id][found]);
        EXPECT_INT(k->n[id], found);
        EXPECT(all.n <= k->n[id] + 1);
    }
    log_close(l);
}

static void fail_each_operation(IoFault plan, bool crashes)
{
    enum { OPERATIONS_MAX = 400 };
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    uint64_t n = 0;
    for (bool untouched = false; !untouched; n++) {
        EXPECT(n < OPERATIONS_MAX);
        AUTO(arena) a = arena_open();
        AUTO(io_mem) disk = io_mem_open(n);
        AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), n);
        LogConfig config = test_config(io_fault_io(faults), S("/log"));
        config.fatal = ignore_fatal;
        config.tail_cache_bytes = 1;
        struct kept *k = arena_new(a, struct kept, 1);
        EXPECT(live(&config, a, k));
        plan.skip = n;
        io_fault_add(faults, plan);
        bool whole = live(&config, a, k);
        untouched = io_fault_hits(faults) == 0;
        EXPECT(whole || !untouched);
        io_fault_clear(faults);
        AUTO(io_mem)
        after = io_mem_crash(
            disk, (IoMemCrash){ .seed = n, .keep = crashes ? IO_KEEP_SOME : IO_KEEP_ALL });
        config.io = io_mem_io(after);
        expect_acknowledged(&config, a, k);
    }
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
    EXPECT(n > 40);
}

TEST(whichever_operation_of_sealing_fails_nothing_acknowledged_is_lost)
{
    fail_each_operation((IoFault){ .times = 1 }, false);
}

TEST(wherever_the_power_goes_while_sealing_nothing_acknowledged_is_lost)
{
    fail_each_operation(
        (IoFault){ .ops = IO_OP_CHANGE, .power_off = true, .tear = IO_TEAR_SECTORS }, true);
}

// ---- Beside each other

struct reader {
    struct log *l;
    struct kept *k;
    _Atomic bool stops;
    _Atomic size_t rounds;
};

// Reads the first shard again and again; what was there stays there.
static void *read_on(void *p)
{
    struct reader *r = p;
    while (!r->stops) {
        AUTO(arena) a = arena_open();
        LogBatch all = test_read_all(r->l, a, 1, 0), lent = read_lent(r->l, a, 1, 100);
        for (size_t i = 0; i < all.n; i++)
            EXPECT_STR(r->k->data[1][i], all.at[i].data);
        for (size_t i = 0; i < lent.n; i++)
            EXPECT_STR(r->k->data[1][i], lent.at[i].data);
        r->rounds++;
    }
    return NULL;
}

TEST(readers_see_everything_while_it_is_being_sealed)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    config.tail_cache_bytes = 1;
    config.read_cache_bytes = 100 << 10;
    struct log *l = open_three(&config);
    struct kept *k = arena_new(a, struct kept, 1);
    struct reader r = { .l = l, .k = k };
    EXPECT_OK(put(l, k, a, 1));
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, read_on, &r) == 0);
    for (int i = 0; i < 12; i++) {
        put_many(l, k, a, 9);
        EXPECT_OK(log_seal(l));
        log_expire(l);
    }
    while (r.rounds == 0) // it may never have had its turn
        io_real()->sleep_ns(io_real(), NS_PER_MS);
    r.stops = true;
    pthread_join(thread, NULL);
    expect_all(l, a, k);
    log_close(l);
}
