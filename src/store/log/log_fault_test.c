// SPDX-License-Identifier: Apache-2.0
// What fails: a full disk, a broken device, damaged and missing files, each injected.
#include "store/log/log_test_help.h"
#include "store/zones/zones.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SHARD = 1, HOUR_S = 3600 };
#define HOUR_NS (INT64_C(3600) * NS_PER_S)
#define START_NS (INT64_C(1700000000) * NS_PER_S)

struct fatal {
    _Atomic int calls;
};

static void note_fatal(void *self, Err e)
{
    struct fatal *f = self;
    CHECK(e.kind != ERR_NONE);
    atomic_fetch_add(&f->calls, 1);
}

static Err try_open(const LogConfig *config, struct log **ret)
{
    struct log *l;
    TRY(log_open(config, &l));
    Err e = log_shard_add(l, SHARD, HOUR_NS);
    if (e.kind == ERR_NONE)
        e = log_ready(l);
    if (e.kind == ERR_NONE)
        *ret = l;
    else
        log_close(l);
    return e;
}

static struct log *open_one(const LogConfig *config)
{
    struct log *l = NULL;
    EXPECT_OK(try_open(config, &l));
    return l;
}

static Str some_data(struct arena *a, size_t n, char c)
{
    char *p = arena_alloc(a, n, 1);
    memset(p, c, n);
    return str_from(p, n);
}

static bool is_full(struct log *l)
{
    LogStats stats;
    log_stats(l, &stats);
    return stats.full;
}

static void sleep_a_little(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
}

// ---- A full disk

// Puts until the log says that the disk is full. Returns how many were taken.
static size_t fill_up(struct log *l, Str data, Err *ret)
{
    LogPlace place;
    for (size_t n = 0;; n++) {
        *ret = test_put(l, SHARD, data, &place);
        if (ret->kind != ERR_NONE)
            return n;
    }
}

TEST(a_full_disk_refuses_appends_and_takes_them_again_when_space_returns)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    LogConfig config = test_config(io, S("/log"));
    io_mem_set_capacity(disk, 3 * TEST_FILE_BYTES + config.reserve_bytes + (100 << 10));
    struct log *l = open_one(&config);
    Str data = some_data(a, 100 << 10, 'x');
    Err e;
    size_t n = fill_up(l, data, &e);
    EXPECT_INT(ERR_FULL, e.kind);
    EXPECT(n >= 20 && n < 30);
    EXPECT(is_full(l));
    // The reserve was given back, for those who must write to make room.
    uint64_t free_bytes, total_bytes;
    do {
        sleep_a_little();
        EXPECT_OK(io->space(io, S("/log"), &free_bytes, &total_bytes));
    } while (free_bytes < config.reserve_bytes);
    EXPECT_INT(n, test_read_all(l, a, SHARD, 0).n); // reading goes on

    io_mem_set_capacity(disk, UINT64_MAX);
    while (is_full(l))
        sleep_a_little();
    LogPlace place;
    EXPECT_OK(test_put(l, SHARD, data, &place));
    struct io_file *reserve;
    EXPECT_OK(io->open(io, S("/log/reserve.tmp"), IO_READ, &reserve));
    io->close(reserve);
    log_close(l);
    l = open_one(&config);
    EXPECT_INT(n + 1, test_read_all(l, a, SHARD, 0).n);
    log_close(l);
}

TEST(expiry_frees_a_full_disk_by_itself)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    io_mem_set_clock(disk, START_NS, START_NS);
    io_mem_set_capacity(disk, 3 * TEST_FILE_BYTES + config.reserve_bytes + (100 << 10));
    AUTO(log) l = open_one(&config);
    Str data = some_data(a, 100 << 10, 'x');
    Err e;
    fill_up(l, data, &e);
    EXPECT_INT(ERR_FULL, e.kind);
    test_advance(l, disk, 2 * HOUR_NS);
    log_expire(l);
    while (is_full(l))
        sleep_a_little();
    LogPlace place;
    EXPECT_OK(test_put(l, SHARD, data, &place));
    test_expect_data(l, a, SHARD, &data, 1);
}

TEST(a_shard_can_be_dropped_and_ended_while_the_disk_is_full)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    io_mem_set_capacity(disk, 3 * TEST_FILE_BYTES + config.reserve_bytes + (100 << 10));
    AUTO(log) l = open_one(&config);
    EXPECT_OK(log_shard_add(l, SHARD + 1, HOUR_NS));
    Err e;
    fill_up(l, some_data(a, 100 << 10, 'x'), &e);
    EXPECT_INT(ERR_FULL, e.kind);
    LogPlace end;
    EXPECT_OK(log_shards_end(l, (uint64_t[]){ SHARD + 1 }, 1, &end));
    EXPECT_OK(log_shards_drop(l, (uint64_t[]){ SHARD }, 1));
    log_expire(l);
    while (is_full(l))
        sleep_a_little();
}

TEST(a_log_opens_on_a_full_disk_and_can_be_read)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    io_mem_set_capacity(disk, 3 * TEST_FILE_BYTES + config.reserve_bytes + (100 << 10));
    struct log *l = open_one(&config);
    Err e;
    size_t n = fill_up(l, some_data(a, 100 << 10, 'x'), &e);
    log_close(l);
    l = open_one(&config);
    EXPECT_INT(n, test_read_all(l, a, SHARD, 0).n);
    log_close(l);
}

TEST(a_write_that_finds_no_space_fails_its_appends_and_nothing_of_them_is_seen)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 1);
    LogConfig config = test_config(io_fault_io(faults), S("/log"));
    struct log *l = open_one(&config);
    LogPlace place;
    EXPECT_OK(test_put(l, SHARD, S("before"), &place));
    test_wait_for_spare(l); // else the keeper's write could be the one that fails
    io_fault_add(faults, (IoFault){ .ops = IO_OP_WRITE,
                                    .path_part = S("journal-"),
                                    .err = fail(ERR_FULL, "injected") });
    EXPECT_ERR(ERR_FULL, test_put(l, SHARD, S("lost"), &place));
    while (is_full(l))
        sleep_a_little();
    EXPECT_OK(test_put(l, SHARD, S("after"), &place));
    for (int restart = 0; restart < 2; restart++) {
        test_expect_data(l, a, SHARD, (Str[]){ S("before"), S("after") }, 2);
        log_close(l);
        l = open_one(&config);
    }
    log_close(l);
}

// ---- A broken device

TEST(after_a_failed_write_the_same_records_go_to_another_file)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 1);
    struct fatal fatal = { 0 };
    LogConfig config = test_config(io_fault_io(faults), S("/log"));
    config.fatal = note_fatal;
    config.fatal_self = &fatal;
    struct log *l = open_one(&config);
    LogPlace before, place;
    EXPECT_OK(test_put(l, SHARD, S("before"), &before));
    test_wait_for_spare(l);
    for (unsigned tear = 0; tear < 3; tear++) {
        io_fault_add(faults, (IoFault){
                                 .ops = IO_OP_WRITE,
                                 .tear = tear == 0   ? IO_TEAR_NOTHING
                                         : tear == 1 ? IO_TEAR_PREFIX
                                                     : IO_TEAR_SECTORS,
                             });
        EXPECT_OK(test_put(l, SHARD, str_fmt(a, "rewritten %u", tear), &place));
        EXPECT(place.position > before.position);
        EXPECT_INT(tear + 2, test_files_in_use(l));
        io_fault_clear(faults);
        test_wait_for_spare(l);
    }
    EXPECT_INT(0, atomic_load(&fatal.calls));
    for (int restart = 0; restart < 2; restart++) {
        test_expect_data(
            l, a, SHARD,
            (Str[]){ S("before"), S("rewritten 0"), S("rewritten 1"), S("rewritten 2") }, 4);
        log_close(l);
        l = open_one(&config);
    }
    log_close(l);
}

TEST(two_failed_writes_in_a_row_are_fatal)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 1);
    struct fatal fatal = { 0 };
    LogConfig config = test_config(io_fault_io(faults), S("/log"));
    config.fatal = note_fatal;
    config.fatal_self = &fatal;
    struct log *l = open_one(&config);
    LogPlace place;
    EXPECT_OK(test_put(l, SHARD, S("before"), &place));
    io_fault_add(faults, (IoFault){ .ops = IO_OP_WRITE, .times = UINT64_MAX });
    EXPECT_ERR(ERR_IO, test_put(l, SHARD, S("x"), &place));
    EXPECT_ERR(ERR_IO, test_put(l, SHARD, S("y"), &place));
    EXPECT_ERR(ERR_IO, log_shards_end(l, (uint64_t[]){ SHARD }, 1, &place));
    test_expect_data(l, a, SHARD, (Str[]){ S("before") }, 1);
    log_close(l);
    EXPECT_INT(1, atomic_load(&fatal.calls));
    io_fault_clear(faults);
    l = open_one(&config);
    EXPECT_STR(S("before"), test_read_all(l, a, SHARD, 0).at[0].data);
    log_close(l);
}

// What a small life of the log may answer, whatever fails. Returns whether it came to its end.
static bool live(const LogConfig *config, struct arena *a, Str *acknowledged, size_t *n)
{
    struct log *l = NULL;
    if (try_open(config, &l).kind != ERR_NONE)
        return false;
    bool whole = true;
    LogPlace place;
    for (int i = 0; i < 6; i++) {
        Str data = str_fmt(a, "%d-%zu", i, *n);
        Err e = test_put(l, SHARD, i == 3 ? str_cat(a, data, some_data(a, 600 << 10, 'x')) : data,
                         &place);
        whole &= e.kind == ERR_NONE;
        if (e.kind == ERR_NONE)
            acknowledged[(*n)++] = data;
    }
    log_expire(l);
    log_close(l);
    return whole;
}

TEST(whichever_operation_fails_nothing_acknowledged_is_lost)
{
    enum { LIVES_MAX = 200 };
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    struct fatal fatal = { 0 };
    uint64_t n = 0;
    for (bool untouched = false; !untouched; n++) {
        EXPECT(n < LIVES_MAX);
        AUTO(io_mem) disk = io_mem_open(n);
        AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), n);
        LogConfig config = test_config(io_fault_io(faults), S("/log"));
        config.fatal = note_fatal;
        config.fatal_self = &fatal;
        config.tail_cache_bytes = 1;
        Str acknowledged[16];
        size_t count = 0;
        live(&config, a, acknowledged, &count);
        io_fault_add(faults, (IoFault){ .skip = n });
        bool whole = live(&config, a, acknowledged, &count);
        untouched = io_fault_hits(faults) == 0;
        EXPECT(whole || !untouched);
        io_fault_clear(faults);
        struct log *l = open_one(&config);
        LogBatch all = test_read_all(l, a, SHARD, 0);
        size_t found = 0;
        for (size_t i = 0; i < all.n && found < count; i++)
            found += str_starts(all.at[i].data, acknowledged[found]);
        EXPECT_INT(count, found);
        log_close(l);
    }
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
    EXPECT(n > 20);
}

// ---- Damage

// The offset of the block that holds the n-th record, in the only file.
static uint64_t place_of(struct log *l, size_t n)
{
    pthread_mutex_lock(&l->lock);
    const struct shard *s = shards_find(&l->shards, SHARD);
    CHECK(s != NULL && n < s->data->end - s->data->first);
    uint64_t place = s->data->at[s->data->first + n].place;
    pthread_mutex_unlock(&l->lock);
    return place / JOURNAL_ALIGN_BYTES * JOURNAL_ALIGN_BYTES;
}

static Str first_file(const struct log *l, struct arena *a)
{
    return files_path(&l->files, a, 1);
}

// A journal of five records that was not closed but cut off: the state of a killed process.
static struct io_mem *killed_journal(struct arena *a, uint64_t places[5], Str *ret_path)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    struct log *l = open_one(&config);
    LogPlace place;
    for (size_t i = 0; i < 5; i++) {
        EXPECT_OK(test_put(l, SHARD, str_fmt(a, "record %zu", i), &place));
        places[i] = place_of(l, i);
    }
    *ret_path = first_file(l, a);
    test_wait_for_spare(l);
    struct io_mem *after = io_mem_crash(disk, (IoMemCrash){ .keep = IO_KEEP_ALL });
    log_close(l);
    return after;
}

TEST(damage_before_the_end_is_refused_and_nothing_is_changed)
{
    uint64_t places[5];
    Str path;
    for (size_t i = 0; i < 4; i++) {
        AUTO(io_mem) disk = killed_journal(a, places, &path);
        struct io *io = io_mem_io(disk);
        EXPECT_OK(io_flip(io, path, places[i] + 100 + i * 30, 4));
        Str before, after;
        EXPECT_OK(io_read_file(io, a, path, 16 << 20, &before));
        LogConfig config = test_config(io, S("/log"));
        struct log *l = NULL;
        EXPECT_ERR(ERR_CORRUPT, try_open(&config, &l));
        EXPECT_OK(io_read_file(io, a, path, 16 << 20, &after));
        EXPECT(str_eq(before, after));
    }
}

TEST(damage_to_the_last_block_cannot_be_told_from_a_torn_write_and_is_cut)
{
    uint64_t places[5];
    Str path;
    AUTO(io_mem) disk = killed_journal(a, places, &path);
    EXPECT_OK(io_flip(io_mem_io(disk), path, places[4] + 200, 4));
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    struct log *l = open_one(&config);
    Str left[] = { S("record 0"), S("record 1"), S("record 2"), S("record 3"), S("new") };
    test_expect_data(l, a, SHARD, left, 4);
    LogStats stats;
    log_stats(l, &stats);
    EXPECT(stats.torn_bytes > 0);
    LogPlace place;
    EXPECT_OK(test_put(l, SHARD, S("new"), &place));
    log_close(l);
    l = open_one(&config);
    test_expect_data(l, a, SHARD, left, 5);
    log_stats(l, &stats);
    EXPECT_INT(0, stats.torn_bytes);
    log_close(l);
}

TEST(after_a_clean_close_damage_to_the_last_record_is_refused_too)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    struct log *l = open_one(&config);
    LogPlace place;
    EXPECT_OK(test_put(l, SHARD, S("last"), &place));
    uint64_t at = place_of(l, 0);
    Str path = first_file(l, a);
    log_close(l);
    EXPECT_OK(io_flip(io_mem_io(disk), path, at + 130, 1));
    EXPECT_ERR(ERR_CORRUPT, try_open(&config, &l));
}

TEST(a_damaged_head_or_a_missing_file_is_refused)
{
    for (int missing = 0; missing < 2; missing++) {
        AUTO(io_mem) disk = io_mem_open(1);
        struct io *io = io_mem_io(disk);
        LogConfig config = test_config(io, S("/log"));
        struct log *l = open_one(&config);
        LogPlace place;
        for (int i = 0; i < 8; i++)
            EXPECT_OK(test_put(l, SHARD, some_data(a, 300 << 10, 'x'), &place));
        EXPECT(test_files_in_use(l) >= 3);
        Str path = files_path(&l->files, a, 2);
        log_close(l);
        if (missing)
            EXPECT_OK(io->unlink(io, path));
        else
            EXPECT_OK(io_flip(io, path, 20, 1));
        EXPECT_ERR(ERR_CORRUPT, try_open(&config, &l));
    }
}

TEST(a_journal_of_a_newer_program_is_refused_by_name)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    EXPECT_OK(io->mkdir(io, S("/log")));
    uint8_t *head = arena_alloc(a, JOURNAL_HEAD_BYTES * 16, JOURNAL_ALIGN_BYTES);
    JournalHead h = { .format = 9, .least_reader = 9, .number = 1, .file_bytes = 65536 };
    journal_head_put(head, &h);
    EXPECT_OK(io_write_file(io, a, S("/log/journal-0000000001.hrj"), str_from(head, 65536)));
    LogConfig config = test_config(io, S("/log"));
    struct log *l = NULL;
    EXPECT_ERR(ERR_FORMAT, try_open(&config, &l));
}

TEST(two_logs_cannot_have_one_directory)
{
    LogConfig config = test_config(io_real(), test_dir(a));
    AUTO(log) l = open_one(&config);
    struct log *other = NULL;
    EXPECT_ERR(ERR_BUSY, try_open(&config, &other));
}

TEST(a_forged_block_inside_a_record_is_not_taken_for_one)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    struct log *l = open_one(&config);
    LogPlace place;
    EXPECT_OK(test_put(l, SHARD, S("one"), &place));
    // A block of a wrong salt at every multiple of 4096, wherever the record comes to lie.
    size_t n = 16 * JOURNAL_ALIGN_BYTES;
    uint8_t *p = arena_alloc(a, n + JOURNAL_ALIGN_BYTES, JOURNAL_ALIGN_BYTES);
    size_t shift = BLOCK_HEAD_BYTES + EXTENT_HEAD_BYTES + RECORD_HEAD_BYTES + 3;
    for (size_t at = JOURNAL_ALIGN_BYTES; at + JOURNAL_ALIGN_BYTES <= n;
         at += JOURNAL_ALIGN_BYTES) {
        BlockHead h = {
            .salt = 42,
            .epoch = 1 << 20,
            .number = 1 << 30,
            .durable = 1 << 29,
            .place = place_of(l, 0) + JOURNAL_ALIGN_BYTES + at,
            .bytes = JOURNAL_ALIGN_BYTES,
            .used_bytes = BLOCK_HEAD_BYTES,
            .parts = 1,
        };
        block_seal(p + at, &h);
    }
    EXPECT_OK(test_put(l, SHARD, str_from(p + shift, n - shift), &place));
    Str path = first_file(l, a);
    uint64_t at = place_of(l, 1);
    AUTO(io_mem) after = io_mem_crash(disk, (IoMemCrash){ .keep = IO_KEEP_ALL });
    log_close(l);
    EXPECT_OK(io_flip(io_mem_io(after), path, at + 5, 1)); // so that the scan looks inside
    config = test_config(io_mem_io(after), S("/log"));
    l = open_one(&config);
    test_expect_data(l, a, SHARD, (Str[]){ S("one") }, 1);
    log_close(l);
}

// ---- Several copies

static void flip_in_zone(struct io *io, struct arena *a, const char *dir, uint64_t place)
{
    Str path = str_fmt(a, "%s/log/journal-0000000001.hrj", dir);
    EXPECT_OK(io_flip(io, path, place + BLOCK_HEAD_BYTES + EXTENT_HEAD_BYTES + 20, 4));
}

TEST(damage_in_one_zone_is_read_from_another_and_mended)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    ZonesConfig zones_config = {
        .io = io,
        .root = S("/data"),
        .dirs = { S("/a"), S("/b"), S("/c") },
        .count = 3,
        .lag_ns = 60 * NS_PER_S, // a thread that gets no processor does not lag
    };
    Str problem = S("");
    AUTO(zones) zones = NULL;
    EXPECT_OK(zones_open(&zones_config, a, &zones, &problem));
    LogConfig config = test_config(zones_io(zones), S("/data/log"));
    config.tail_cache_bytes = 1;
    AUTO(log) l = open_one(&config);
    LogPlace where;
    for (int i = 0; i < 5; i++)
        EXPECT_OK(test_put(l, SHARD, str_fmt(a, "record %d that is long enough", i), &where));
    for (size_t i = 1; i < 4; i++) { // first in a, then in b, then in c
        const char *dirs[] = { "/a", "/b", "/c" };
        flip_in_zone(io, a, dirs[i - 1], place_of(l, i));
        EXPECT_INT(5, test_read_all(l, a, SHARD, 0).n);
    }
    flip_in_zone(io, a, "/b", place_of(l, 2)); // what was mended helps the next time
    flip_in_zone(io, a, "/c", place_of(l, 2));
    EXPECT_INT(5, test_read_all(l, a, SHARD, 0).n);
}
