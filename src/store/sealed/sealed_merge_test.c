// SPDX-License-Identifier: Apache-2.0
// What makes containers fewer: expiry and merging.
#include "store/sealed/sealed_test_help.h"

#include "base/time.h"
#include "os/io_fault.h"
#include "os/io_mem.h"

#include <pthread.h>
#include <stdatomic.h>

#define WEEK_NS (7 * RIG_DAY_NS)
#define DAY_MS (RIG_DAY_NS / NS_PER_MS)

static size_t count_files(struct arena *a, struct io *io)
{
    IoName *names = NULL;
    size_t n = 0;
    EXPECT_OK(io->list(io, a, S("/log/sealed"), &names, &n));
    return n;
}

static bool never(void *self)
{
    (void)self;
    return false;
}

static bool merge_once(struct rig *r)
{
    bool any;
    EXPECT_OK(sealed_merge(r->s, r->now_ms, never, NULL, &any));
    return any;
}

static unsigned merge_all(struct rig *r)
{
    unsigned n = 0;
    while (merge_once(r)) {
        n++;
        EXPECT(n < 1000); // it ends
    }
    return n;
}

static bool expire(struct rig *r)
{
    bool any;
    EXPECT_OK(sealed_expire(r->s, r->now_ms, &any));
    return any;
}

static void expect_damage(struct rig *r)
{
    bool any;
    EXPECT_ERR(ERR_CORRUPT, sealed_expire(r->s, r->now_ms, &any));
}

static void keep(struct rig *r, uint64_t shard, int64_t retention_ns)
{
    r->retention_ns[shard] = retention_ns;
    sealed_retention_changed(r->s);
}

// ---- Expiry

TEST(a_container_goes_when_the_last_of_its_shards_is_over)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(rig) r = rig_open(io_mem_io(disk), 1);
    rig_add(r, 1, 3, 100);
    rig_add(r, 2, 3, 100);
    EXPECT_OK(rig_seal(r));
    int64_t last_ms = r->now_ms;
    keep(r, 2, 2 * RIG_DAY_NS);
    r->now_ms = last_ms + 2 * DAY_MS - 1;
    EXPECT(!expire(r));
    r->now_ms++;
    EXPECT(expire(r));
    EXPECT_INT(0, rig_stats(r).containers);
    EXPECT_INT(1, rig_stats(r).expired);
    EXPECT_INT(0, count_files(a, io_mem_io(disk)));
    rig_reopen(r, io_mem_io(disk));
    EXPECT_INT(0, rig_stats(r).containers);
    EXPECT(!expire(r));
}

TEST(containers_of_dropped_shards_go_at_once)
{
    AUTO(io_mem) disk = io_mem_open(2);
    AUTO(rig) r = rig_open(io_mem_io(disk), 2);
    rig_add(r, 1, 3, 100);
    EXPECT_OK(rig_seal(r));
    rig_add(r, 2, 3, 100);
    EXPECT_OK(rig_seal(r));
    EXPECT(!expire(r));
    keep(r, 1, -1);
    EXPECT(expire(r));
    EXPECT_INT(1, rig_stats(r).containers);
    rig_expect_all(r);
}

TEST(longer_retention_keeps_what_a_shorter_one_would_have_ended)
{
    AUTO(io_mem) disk = io_mem_open(3);
    AUTO(rig) r = rig_open(io_mem_io(disk), 3);
    rig_add_and_seal(r, 20);
    EXPECT(!expire(r));
    for (uint64_t shard = 1; shard <= RIG_SHARDS; shard++)
        keep(r, shard, WEEK_NS);
    r->now_ms += 2 * DAY_MS;
    EXPECT(!expire(r));
    rig_expect_all(r);
    for (uint64_t shard = 1; shard <= RIG_SHARDS; shard++)
        keep(r, shard, RIG_DAY_NS);
    EXPECT(expire(r));
}

TEST(expiry_touches_no_disk_while_nothing_is_due)
{
    AUTO(io_mem) disk = io_mem_open(4);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 4);
    AUTO(rig) r = rig_open(io_fault_io(faults), 4);
    r->config.footer_cache_bytes = 1; // nothing stays open
    rig_reopen(r, io_fault_io(faults));
    for (unsigned i = 0; i < 20; i++)
        rig_add_and_seal(r, 5);
    EXPECT(!expire(r));
    uint64_t before = io_fault_count(faults, IO_OP_ANY);
    keep(r, 3, WEEK_NS);
    keep(r, 4, -1); // asks again, and the witnesses answer
    for (unsigned i = 0; i < 20; i++) {
        EXPECT(!expire(r));
        r->now_ms += RIG_HOUR_MS;
    }
    EXPECT_INT(before, io_fault_count(faults, IO_OP_ANY));
}

TEST(a_damaged_footer_does_not_keep_the_others)
{
    AUTO(io_mem) disk = io_mem_open(5);
    AUTO(rig) r = rig_open(io_mem_io(disk), 5);
    for (uint64_t i = 0; i < 3; i++) {
        for (uint64_t shard = 3; shard <= 9; shard += 3)
            rig_add(r, shard, 5, 100);
        EXPECT_OK(rig_seal(r));
        r->now_ms += RIG_HOUR_MS;
    }
    keep(r, 6, WEEK_NS);  // it may be in the damaged one, and is
    keep(r, 12, WEEK_NS); // this one cannot
    rig_reopen(r, io_mem_io(disk));
    Str path = S("/log/sealed/container-0000000002.hrc");
    EXPECT_OK(io_flip(io_mem_io(disk), path, 100, 1)); // in its head
    r->now_ms += 2 * DAY_MS;
    expect_damage(r);
    EXPECT_INT(3, rig_stats(r).containers); // all for the sake of 6
    keep(r, 6, RIG_DAY_NS);
    EXPECT(expire(r));
    EXPECT_INT(0, rig_stats(r).containers); // also the one that cannot be opened
}

TEST(a_damaged_footer_is_looked_at_now_and_then)
{
    AUTO(io_mem) disk = io_mem_open(5);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 5);
    AUTO(rig) r = rig_open(io_fault_io(faults), 5);
    for (unsigned i = 0; i < 3; i++) {
        rig_add(r, 3, 5, 100);
        rig_add(r, 6, 5, 100);
        rig_add(r, 9, 5, 100);
        EXPECT_OK(rig_seal(r));
    }
    rig_reopen(r, io_fault_io(faults));
    EXPECT_OK(io_flip(io_mem_io(disk), S("/log/sealed/container-0000000002.hrc"), 100, 1));
    keep(r, 6, WEEK_NS);
    r->now_ms += 2 * DAY_MS;
    expect_damage(r);
    uint64_t before = io_fault_count(faults, IO_OP_ANY);
    for (unsigned i = 0; i < 20; i++) {
        EXPECT(!expire(r));
        r->now_ms += 1000;
    }
    EXPECT_INT(before, io_fault_count(faults, IO_OP_ANY));
}

// ---- Merging

TEST(small_neighbours_become_one)
{
    AUTO(io_mem) disk = io_mem_open(6);
    AUTO(rig) r = rig_open(io_mem_io(disk), 6);
    for (unsigned i = 0; i < 3; i++)
        rig_add_and_seal(r, 5);
    EXPECT_INT(0, merge_all(r)); // too few
    rig_add_and_seal(r, 5);
    EXPECT_INT(1, merge_all(r));
    EXPECT_INT(1, rig_stats(r).containers);
    EXPECT_INT(4, rig_stats(r).merges);
    EXPECT_INT(1, count_files(a, io_mem_io(disk)));
    EXPECT_INT(r->sealed, rig_stats(r).records);
    rig_expect_all(r);
    rig_expect_random(r, 200);
    rig_reopen(r, io_mem_io(disk));
    rig_expect_all(r);
}

TEST(merging_stops_at_the_size_that_is_set)
{
    AUTO(io_mem) disk = io_mem_open(7);
    AUTO(rig) r = rig_open(io_mem_io(disk), 7);
    r->config.merge_bytes_max = 200 << 10;
    rig_reopen(r, io_mem_io(disk));
    for (unsigned i = 0; i < 40; i++) {
        rig_add_and_seal(r, 1);
        merge_all(r);
    }
    Checkpoint c;
    EXPECT_OK(sealed_hold(r->s, a, &c));
    for (size_t i = 0; i < c.container_count; i++)
        EXPECT(c.containers[i].bytes <= 208 << 10);
    sealed_release(r->s, &c);
    EXPECT(rig_stats(r).containers > 3 && rig_stats(r).containers < 15);
    rig_expect_all(r);
}

TEST(what_arrived_far_apart_is_not_put_together)
{
    AUTO(io_mem) disk = io_mem_open(8);
    AUTO(rig) r = rig_open(io_mem_io(disk), 8);
    for (unsigned i = 0; i < 8; i++) {
        rig_add_and_seal(r, 5);
        r->now_ms += 2 * RIG_HOUR_MS;
    }
    r->now_ms -= 2 * RIG_HOUR_MS;
    EXPECT_INT(0, merge_all(r)); // four of them span more than six hours
}

TEST(what_is_half_over_is_written_anew_without_it)
{
    AUTO(io_mem) disk = io_mem_open(9);
    AUTO(rig) r = rig_open(io_mem_io(disk), 9);
    for (unsigned i = 0; i < 10; i++) {
        rig_add(r, 1, 1, 4000);
        rig_add(r, 2, 1, 4000);
        rig_add(r, 3, 1, 4000);
    }
    EXPECT_OK(rig_seal(r));
    uint64_t bytes = rig_stats(r).disk_bytes;
    keep(r, 2, WEEK_NS);
    EXPECT_INT(0, merge_all(r));
    keep(r, 1, -1);
    EXPECT_INT(0, merge_all(r)); // a third
    r->now_ms += DAY_MS + RIG_HOUR_MS;
    EXPECT_INT(1, merge_all(r));
    EXPECT(!expire(r));
    SealedStats stats = rig_stats(r);
    EXPECT_INT(1, stats.containers);
    EXPECT_INT(10, stats.records);
    EXPECT(stats.disk_bytes < bytes / 2);
    Checkpoint c;
    EXPECT_OK(sealed_hold(r->s, a, &c));
    EXPECT_INT(RETENTION_WEEK, c.containers[0].class);
    sealed_release(r->s, &c);
    rig_expect_all(r);
}

TEST(merging_sorts_shards_into_the_classes_that_they_have_now)
{
    AUTO(io_mem) disk = io_mem_open(10);
    AUTO(rig) r = rig_open(io_mem_io(disk), 10);
    for (unsigned i = 0; i < 5; i++)
        rig_add_and_seal(r, 10);
    for (uint64_t shard = 1; shard <= RIG_SHARDS; shard++)
        keep(r, shard, RIG_DAY_NS * (shard % 3 == 0 ? 1 : shard % 3 == 1 ? 7 : 365));
    EXPECT_INT(1, merge_all(r));
    EXPECT_INT(3, rig_stats(r).containers);
    EXPECT_INT(r->sealed, rig_stats(r).records);
    rig_expect_all(r);
    rig_expect_random(r, 200);
}

// Shards go from class to class and back while containers are merged, so that containers hold
// interleaving ranges of the same shard.
TEST(ranges_of_a_shard_may_interleave_between_containers)
{
    for (uint64_t seed = 20; seed < 24; seed++) {
        AUTO(io_mem) disk = io_mem_open(seed);
        AUTO(rig) r = rig_open(io_mem_io(disk), seed);
        for (unsigned i = 0; i < 60; i++) {
            for (uint64_t shard = 1; shard <= RIG_SHARDS; shard++)
                if (rig_random(r, 4) == 0)
                    keep(r, shard, rig_random(r, 2) == 0 ? RIG_DAY_NS : WEEK_NS);
            rig_add_and_seal(r, 1 + (unsigned)rig_random(r, 6));
            if (rig_random(r, 4) == 0)
                merge_once(r);
            if (i % 10 == 0)
                rig_expect_random(r, 50);
        }
        rig_expect_all(r);
        merge_all(r);
        EXPECT_INT(r->sealed, rig_stats(r).records);
        rig_expect_all(r);
        rig_expect_random(r, 200);
    }
}

// Everything at once, against the model.
TEST(weeks_of_sealing_merging_and_expiry_reads_as_the_model_says)
{
    for (uint64_t seed = 30; seed < 32; seed++) {
        AUTO(io_mem) disk = io_mem_open(seed);
        AUTO(rig) r = rig_open(io_mem_io(disk), seed);
        for (uint64_t shard = 1; shard <= RIG_SHARDS; shard++)
            keep(r, shard, RIG_DAY_NS * (shard % 3 == 0 ? 1 : shard % 3 == 1 ? 7 : 365));
        unsigned expired = 0, merged = 0;
        for (unsigned hours = 0; hours < 24 * 20; hours += 3) {
            rig_add_and_seal(r, 2);
            r->now_ms += 3 * RIG_HOUR_MS;
            expired += expire(r);
            merged += merge_all(r);
            if (rig_random(r, 50) == 0)
                keep(r, 1 + rig_random(r, RIG_SHARDS), -1);
            if (hours % 60 == 0) {
                rig_reopen(r, io_mem_io(disk));
                sealed_clean(r->s);
                rig_expect_random(r, 30);
            }
        }
        rig_expect_all(r);
        EXPECT(rig_stats(r).containers < 40 && expired > 60 && merged > 30);
        EXPECT_INT(rig_stats(r).containers, count_files(a, io_mem_io(disk)));
    }
}

static bool stop_at_zero(void *self)
{
    unsigned *left = self;
    return *left == 0 || --*left == 0;
}

TEST(merging_gives_up_when_it_is_told_to)
{
    AUTO(io_mem) disk = io_mem_open(11);
    AUTO(rig) r = rig_open(io_mem_io(disk), 11);
    for (unsigned i = 0; i < 4; i++)
        rig_add_and_seal(r, 10);
    unsigned stopped = 0;
    for (unsigned n = 1;; n += 7) {
        bool any;
        unsigned left = n;
        EXPECT_OK(sealed_merge(r->s, r->now_ms, stop_at_zero, &left, &any));
        if (any)
            break;
        stopped++;
        EXPECT_INT(4, rig_stats(r).containers);
        EXPECT_INT(4, count_files(a, io_mem_io(disk)));
    }
    EXPECT(stopped > 5);
    rig_expect_all(r);
}

// ---- Faults

// Merges and expires with the n-th operation failing; then a restart.
static bool change_and_fail(struct arena *a, uint64_t n, bool power_off, unsigned keep_what)
{
    AUTO(io_mem) disk = io_mem_open(n);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), n);
    AUTO(io_mem) later = NULL;
    AUTO(rig) r = rig_open(io_fault_io(faults), 12);
    for (uint64_t shard = 1; shard <= 5; shard++)
        keep(r, shard, WEEK_NS);
    rig_add(r, 9, 3, 100);
    EXPECT_OK(rig_seal(r));
    for (unsigned i = 0; i < 4; i++)
        rig_add_and_seal(r, 2);
    keep(r, 9, -1);
    io_fault_add(faults, (IoFault){ .ops = IO_OP_ANY & ~(unsigned)IO_OP_LIST,
                                    .skip = n,
                                    .tear = IO_TEAR_SECTORS,
                                    .power_off = power_off });
    bool any;
    err_ignore(sealed_expire(r->s, r->now_ms, &any));
    err_ignore(sealed_merge(r->s, r->now_ms, never, NULL, &any));
    bool hit = io_fault_hits(faults) > 0;
    io_fault_clear(faults);
    rig_expect_all(r); // whatever has failed
    later = io_mem_crash(disk, (IoMemCrash){ .seed = n, .keep = keep_what });
    rig_reopen(r, io_mem_io(later));
    sealed_clean(r->s);
    EXPECT_INT(rig_stats(r).containers, count_files(a, io_mem_io(later)));
    rig_expect_all(r);
    expire(r);
    merge_all(r);
    rig_expect_all(r);
    EXPECT_INT(2, rig_stats(r).containers);
    EXPECT_INT(2, count_files(a, io_mem_io(later)));
    return hit;
}

TEST(a_crash_at_any_point_of_expiry_and_merging_loses_nothing)
{
    for (unsigned keep_what = IO_KEEP_SOME; keep_what <= IO_KEEP_ALL; keep_what++)
        for (int power_off = keep_what != IO_KEEP_SOME; power_off < 2; power_off++) {
            uint64_t n = 0;
            while (change_and_fail(a, n, power_off != 0, keep_what))
                n++;
            EXPECT(n > 20);
        }
}

TEST(an_input_that_cannot_be_read_is_left_alone_for_a_while)
{
    AUTO(io_mem) disk = io_mem_open(13);
    AUTO(rig) r = rig_open(io_mem_io(disk), 13);
    for (unsigned i = 0; i < 5; i++)
        rig_add_and_seal(r, 5);
    EXPECT_OK(io_flip(io_mem_io(disk), S("/log/sealed/container-0000000002.hrc"), 4200, 1));
    bool any;
    EXPECT_ERR(ERR_CORRUPT, sealed_merge(r->s, r->now_ms, never, NULL, &any));
    EXPECT_INT(5, count_files(a, io_mem_io(disk)));
    EXPECT_INT(1, merge_all(r)); // the others
    EXPECT_INT(2, rig_stats(r).containers);
    uint64_t records;
    EXPECT_ERR(ERR_CORRUPT, sealed_check(r->s, &records));
}

// ---- Tools

TEST(a_check_counts_all_records)
{
    AUTO(io_mem) disk = io_mem_open(14);
    AUTO(rig) r = rig_open(io_mem_io(disk), 14);
    uint64_t records;
    EXPECT_OK(sealed_check(r->s, &records));
    EXPECT_INT(0, records);
    for (unsigned i = 0; i < 5; i++)
        rig_add_and_seal(r, 5);
    EXPECT_OK(sealed_check(r->s, &records));
    EXPECT_INT(r->sealed, records);
}

TEST(a_check_finds_flipped_bytes_wherever_they_are)
{
    AUTO(io_mem) disk = io_mem_open(15);
    struct io *io = io_mem_io(disk);
    AUTO(rig) r = rig_open(io, 15);
    rig_add_and_seal(r, 1);
    uint64_t bytes = rig_stats(r).disk_bytes, records;
    Str path = S("/log/sealed/container-0000000001.hrc");
    for (uint64_t at = 0; at < bytes; at += 97) {
        if (at >= bytes - 4096 - 64 && at < bytes - 64)
            continue; // zeros between footer and tail mean nothing
        EXPECT_OK(io_flip(io, path, at, 8));
        EXPECT_ERR(ERR_CORRUPT, sealed_check(r->s, &records));
        EXPECT_OK(io_flip(io, path, at, 8));
    }
    EXPECT_OK(sealed_check(r->s, &records));
}

TEST(a_check_reads_on_behind_what_is_damaged)
{
    AUTO(io_mem) disk = io_mem_open(18);
    struct io *io = io_mem_io(disk);
    AUTO(rig) r = rig_open(io, 18);
    for (unsigned i = 0; i < 3; i++)
        rig_add_and_seal(r, 30);
    rig_reopen(r, io);
    AUTO(io_fault) faults = io_fault_open(io, 18);
    EXPECT_OK(io_flip(io, S("/log/sealed/container-0000000002.hrc"), 8000, 1));
    rig_reopen(r, io_fault_io(faults));
    uint64_t records;
    EXPECT_ERR(ERR_CORRUPT, sealed_check(r->s, &records));
    uint64_t reads = io_fault_count(faults, IO_OP_READ);
    EXPECT_OK(io_flip(io, S("/log/sealed/container-0000000002.hrc"), 8000, 1));
    EXPECT_OK(sealed_check(r->s, &records));
    EXPECT_INT(r->sealed, records);
    EXPECT(reads > io_fault_count(faults, IO_OP_READ) - reads); // it went on, in smaller steps
    rig_reopen(r, io);
}

TEST(held_containers_stay_until_they_are_released)
{
    AUTO(io_mem) disk = io_mem_open(16);
    struct io *io = io_mem_io(disk);
    AUTO(rig) r = rig_open(io, 16);
    for (unsigned i = 0; i < 4; i++)
        rig_add_and_seal(r, 5);
    Checkpoint held, again;
    EXPECT_OK(sealed_hold(r->s, a, &held));
    EXPECT_INT(r->block, held.sealed_block);
    EXPECT_INT(4, held.container_count);
    EXPECT(held.shard_count > 10);
    EXPECT_INT(1, merge_all(r));
    EXPECT_OK(sealed_hold(r->s, a, &again));
    EXPECT_INT(1, again.container_count);
    EXPECT_INT(5, count_files(a, io));
    for (size_t i = 0; i < held.container_count; i++) {
        ContainerFacts facts;
        EXPECT_OK(container_read_facts(
            io, container_path(a, S("/log/sealed"), held.containers[i].number), &facts));
        EXPECT_INT(held.containers[i].id, facts.id);
    }
    sealed_release(r->s, &held);
    EXPECT_INT(1, count_files(a, io));
    sealed_release(r->s, &again);
    EXPECT_INT(1, count_files(a, io));
    rig_expect_all(r);
}

// ---- Threads

struct reader {
    struct rig *r;
    pthread_t thread;
    _Atomic bool *is_over;
    uint64_t to;
    uint64_t records; // of each full read of shard 5
};

static bool count_one(void *self, uint64_t position, int64_t arrival_ms, const Record *r,
                      bool is_lent)
{
    (void)position, (void)arrival_ms, (void)r, (void)is_lent;
    ++*(uint64_t *)self;
    return true;
}

static void *read_on(void *self)
{
    struct reader *me = self;
    while (!atomic_load(me->is_over)) {
        SealedRead read = { .shard = 5, .to = me->to, .after_ms = INT64_MIN };
        uint64_t n = 0, next;
        EXPECT_OK(sealed_read(me->r->s, &read, count_one, &n, &next));
        EXPECT_INT(me->records, n);
        EXPECT_INT(me->to, next);
        SealedStats stats;
        sealed_stats(me->r->s, &stats);
        AUTO(arena) a = arena_open();
        Checkpoint held;
        EXPECT_OK(sealed_hold(me->r->s, a, &held));
        sealed_release(me->r->s, &held);
    }
    return NULL;
}

TEST(readers_see_every_record_while_containers_are_merged_and_expire)
{
    AUTO(io_mem) disk = io_mem_open(17);
    AUTO(rig) r = rig_open(io_mem_io(disk), 17);
    r->config.read_cache_bytes = 64 << 10;
    r->config.footer_cache_bytes = 8 << 10;
    rig_reopen(r, io_mem_io(disk));
    keep(r, 5, 365 * RIG_DAY_NS);
    for (unsigned i = 0; i < 20; i++) {
        rig_add(r, 5, 5, 1000);
        rig_add_and_seal(r, 3);
    }
    _Atomic bool is_over = false;
    struct reader readers[3];
    uint64_t records = 0;
    for (size_t i = 0; i < r->sealed; i++)
        records += r->records[i].shard == 5;
    for (size_t i = 0; i < COUNT_OF(readers); i++) {
        readers[i] =
            (struct reader){ .r = r, .is_over = &is_over, .to = rig_end(r), .records = records };
        EXPECT(pthread_create(&readers[i].thread, NULL, read_on, &readers[i]) == 0);
    }
    for (unsigned i = 0; i < 30; i++) {
        rig_add_and_seal(r, 2);
        r->now_ms += RIG_HOUR_MS;
        expire(r);
        merge_all(r);
        if (i % 10 == 5)
            keep(r, 5, i % 20 == 5 ? 30 * RIG_DAY_NS : 6 * RIG_DAY_NS);
    }
    atomic_store(&is_over, true);
    for (size_t i = 0; i < COUNT_OF(readers); i++)
        pthread_join(readers[i].thread, NULL);
    rig_expect_all(r);
    EXPECT_INT(rig_stats(r).containers, count_files(a, io_mem_io(disk)));
}
