// SPDX-License-Identifier: Apache-2.0
#include "store/sealed/sealed_test_help.h"

#include "os/io_fault.h"
#include "os/io_mem.h"

#include <string.h>

static size_t count_files(struct arena *a, struct io *io)
{
    IoName *names = NULL;
    size_t n = 0;
    EXPECT_OK(io->list(io, a, S("/log/sealed"), &names, &n));
    return n;
}

TEST(sealed_records_are_read_as_the_model_says)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(rig) r = rig_open(io_mem_io(disk), 1);
    for (unsigned i = 0; i < 30; i++)
        rig_add_and_seal(r, 1 + i % 7);
    rig_expect_all(r);
    rig_expect_random(r, 500);
    rig_reopen(r, io_mem_io(disk));
    rig_expect_all(r);
    EXPECT_INT(30, rig_stats(r).containers);
    EXPECT_INT(r->sealed, rig_stats(r).records);
}

TEST(classes_lie_in_containers_of_their_own)
{
    AUTO(io_mem) disk = io_mem_open(2);
    AUTO(rig) r = rig_open(io_mem_io(disk), 2);
    for (uint64_t shard = 1; shard <= RIG_SHARDS; shard++)
        r->retention_ns[shard] = RIG_DAY_NS * (shard % 3 == 0 ? 1 : shard % 3 == 1 ? 7 : 365);
    for (unsigned i = 0; i < 10; i++) {
        rig_add_and_seal(r, 20);
        r->retention_ns[1 + rig_random(r, RIG_SHARDS)] = RIG_DAY_NS * 7; // some move
    }
    EXPECT_INT(30, rig_stats(r).containers);
    rig_expect_all(r);
    rig_expect_random(r, 500);
}

TEST(a_shard_of_large_and_many_records_is_read_chunk_by_chunk)
{
    AUTO(io_mem) disk = io_mem_open(3);
    AUTO(rig) r = rig_open(io_mem_io(disk), 3);
    r->config.read_cache_bytes = 1 << 20;
    rig_reopen(r, io_mem_io(disk));
    for (unsigned i = 0; i < 40; i++)
        rig_add(r, 7, 10, 10000);
    rig_add(r, 7, 1, 5 << 20); // larger than the cache
    for (unsigned i = 0; i < 40; i++)
        rig_add(r, 7, 10, 10000);
    EXPECT_OK(rig_seal(r));
    rig_expect_all(r);
    for (unsigned i = 0; i < 50; i++) {
        SealedRead read = { .shard = 7, .to = rig_end(r), .after_ms = INT64_MIN };
        read.from = r->records[rig_random(r, r->sealed)].position;
        rig_expect(r, &read, 1 + rig_random(r, 30));
        EXPECT(rig_stats(r).read_cache_bytes <= 1 << 20);
    }
}

TEST(both_caches_stay_within_their_bounds)
{
    AUTO(io_mem) disk = io_mem_open(4);
    AUTO(rig) r = rig_open(io_mem_io(disk), 4);
    r->config.read_cache_bytes = 100 << 10;
    r->config.footer_cache_bytes = 20 << 10;
    rig_reopen(r, io_mem_io(disk));
    for (unsigned i = 0; i < 50; i++) {
        rig_add_and_seal(r, 8);
        rig_expect_random(r, 20);
        SealedStats stats = rig_stats(r);
        EXPECT(stats.read_cache_bytes <= r->config.read_cache_bytes);
        EXPECT(stats.footer_cache_bytes <= r->config.footer_cache_bytes);
    }
    rig_expect_all(r);
    EXPECT(rig_stats(r).footer_cache_bytes > 10 << 10);
    EXPECT(rig_stats(r).read_cache_bytes > 50 << 10);
}

TEST(cached_records_need_no_disk)
{
    AUTO(io_mem) disk = io_mem_open(5);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 5);
    AUTO(rig) r = rig_open(io_fault_io(faults), 5);
    for (unsigned i = 0; i < 5; i++)
        rig_add_and_seal(r, 5);
    rig_expect_all(r);
    uint64_t before = io_fault_count(faults, IO_OP_ANY);
    rig_expect_all(r);
    EXPECT_INT(before, io_fault_count(faults, IO_OP_ANY));
}

static bool take_all(void *self, uint64_t position, int64_t arrival_ms, const Record *record,
                     bool is_lent)
{
    (void)position, (void)arrival_ms, (void)record, (void)is_lent;
    ++*(uint64_t *)self;
    return true;
}

TEST(a_reader_gets_what_lies_before_a_damaged_chunk)
{
    AUTO(io_mem) disk = io_mem_open(6);
    AUTO(rig) r = rig_open(io_mem_io(disk), 6);
    for (unsigned i = 0; i < 30; i++)
        rig_add(r, 7, 10, 10000);
    EXPECT_OK(rig_seal(r));
    rig_reopen(r, io_mem_io(disk));
    EXPECT_OK(io_flip(io_mem_io(disk), S("/log/sealed/container-0000000001.hrc"), 1 << 20, 1));
    SealedRead read = { .shard = 7, .to = rig_end(r), .after_ms = INT64_MIN };
    uint64_t next = 0, taken = 0;
    EXPECT_OK(sealed_read(r->s, &read, take_all, &taken, &next));
    EXPECT(taken > 10 && taken < 300 && next > r->records[0].position && next < read.to);
    read.from = next;
    EXPECT_ERR(ERR_CORRUPT, sealed_read(r->s, &read, take_all, &taken, &next));
}

struct lending {
    const uint8_t *first[100];
    unsigned lent, copied;
};

static bool note_lent(void *self, uint64_t position, int64_t arrival_ms, const Record *record,
                      bool is_lent)
{
    (void)position, (void)arrival_ms;
    struct lending *l = self;
    if (!is_lent)
        l->copied++;
    else if (l->lent < COUNT_OF(l->first))
        l->first[l->lent++] = (const uint8_t *)record->data.p;
    return l->lent + l->copied < 100;
}

TEST(a_reader_may_keep_some_chunks_and_is_told_which_records_lie_in_them)
{
    AUTO(io_mem) disk = io_mem_open(17);
    AUTO(rig) r = rig_open(io_mem_io(disk), 17);
    r->config.read_cache_bytes = 600 << 10;
    for (unsigned i = 0; i < 30; i++)
        rig_add(r, 7, 10, 10000);
    EXPECT_OK(rig_seal(r));
    rig_reopen(r, io_mem_io(disk));
    struct chunk *chunks[2];
    SealedLoan loan = { .at = chunks, .room = 2 };
    SealedRead read = { .shard = 7, .to = rig_end(r), .after_ms = INT64_MIN, .loan = &loan };
    struct lending l = { 0 };
    uint64_t next;
    EXPECT_OK(sealed_read(r->s, &read, note_lent, &l, &next));
    EXPECT(l.lent == 60 && l.copied == 40); // a chunk holds three blocks
    EXPECT(loan.n == 2 && loan.bytes > 600000);
    uint8_t before[100];
    for (unsigned i = 0; i < l.lent; i++)
        before[i] = *l.first[i];
    rig_expect_all(r); // the cache holds others by now
    EXPECT(rig_stats(r).read_cache_bytes <= r->config.read_cache_bytes);
    for (unsigned i = 0; i < l.lent; i++)
        EXPECT_INT(before[i], *l.first[i]);
    sealed_give_back(r->s, &loan);
    EXPECT(loan.n == 0 && rig_stats(r).read_cache_bytes <= r->config.read_cache_bytes);
    rig_expect_all(r);
    // A chunk of which nothing was taken is not kept.
    struct lending enough = { .copied = 100 };
    EXPECT_OK(sealed_read(r->s, &read, note_lent, &enough, &next));
    EXPECT(loan.n == 0 && loan.bytes == 0);
}

// Every operation of a read fails once: it says so or gives a part, and the next one is whole.
TEST(a_read_that_fails_is_whole_when_it_is_tried_again)
{
    AUTO(io_mem) disk = io_mem_open(16);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 16);
    AUTO(rig) r = rig_open(io_fault_io(faults), 16);
    for (unsigned i = 0; i < 6; i++)
        rig_add_and_seal(r, 10);
    bool hit = true;
    for (uint64_t n = 0; hit; n++) {
        rig_reopen(r, io_fault_io(faults)); // nothing is cached
        uint64_t hits = io_fault_hits(faults), taken = 0, all = 0, next = 0;
        io_fault_add(faults, (IoFault){ .skip = n });
        SealedRead read = { .shard = 5, .to = rig_end(r), .after_ms = INT64_MIN };
        Err e = sealed_read(r->s, &read, take_all, &taken, &next);
        hit = io_fault_hits(faults) > hits;
        io_fault_clear(faults);
        EXPECT(hit || (e.kind == ERR_NONE && next == read.to));
        read.from = e.kind == ERR_NONE ? next : 0;
        EXPECT_OK(sealed_read(r->s, &read, take_all, &taken, &next));
        read.from = 0;
        EXPECT_OK(sealed_read(r->s, &read, take_all, &all, &next));
        EXPECT_INT(all, taken);
        rig_expect(r, &read, SIZE_MAX);
        EXPECT(hit || n > 20);
    }
}

// ---- Opening

TEST(a_new_directory_is_an_empty_set)
{
    AUTO(io_mem) disk = io_mem_open(7);
    AUTO(rig) r = rig_open(io_mem_io(disk), 7);
    EXPECT_INT(1, r->opened.journal_file);
    EXPECT_INT(0, r->opened.generation + r->opened.container_count + r->opened.sealed_block);
    SealedRead read = { .shard = 1, .to = 100, .after_ms = INT64_MIN };
    rig_expect(r, &read, 10);
}

TEST(the_checkpoint_comes_back_as_it_was_committed)
{
    AUTO(io_mem) disk = io_mem_open(8);
    AUTO(rig) r = rig_open(io_mem_io(disk), 8);
    rig_add_and_seal(r, 20);
    CheckpointShard row = { .shard = 9, .first_position = 4, .last_position = 8 };
    EXPECT_OK(
        sealed_commit(r->s, &(SealedChange){ .least_number = 50, .least_epoch = 6 }, &row, 1));
    rig_reopen(r, io_mem_io(disk));
    EXPECT_INT(r->block, r->opened.sealed_block);
    EXPECT_INT(2, r->opened.journal_file);
    EXPECT_INT(50, r->opened.least_number);
    EXPECT_INT(6, r->opened.least_epoch);
    EXPECT_INT(r->now_ms, r->opened.arrival_ms);
    EXPECT_INT(2, r->opened.next_container);
    EXPECT_INT(1, r->opened.shard_count);
    EXPECT_INT(9, r->opened.shards[0].shard);
    EXPECT_INT(1, r->opened.container_count);
}

TEST(a_container_that_is_missing_or_cut_is_told_at_the_open)
{
    for (int cut = 0; cut < 2; cut++) {
        AUTO(io_mem) disk = io_mem_open(9);
        struct io *io = io_mem_io(disk);
        AUTO(rig) r = rig_open(io, 9);
        rig_add_and_seal(r, 20);
        rig_add_and_seal(r, 20);
        Str path = S("/log/sealed/container-0000000002.hrc");
        struct io_file *f = NULL;
        EXPECT_OK(io->open(io, path, IO_WRITE, &f));
        if (cut != 0)
            EXPECT_OK(io->truncate(f, 8192));
        io->close(f);
        if (cut == 0)
            EXPECT_OK(io->unlink(io, path));
        struct sealed *s = NULL;
        Checkpoint c;
        EXPECT_ERR(ERR_CORRUPT, sealed_open(&r->config, a, &c, &s));
    }
}

TEST(containers_without_a_checkpoint_are_no_leftovers)
{
    AUTO(io_mem) disk = io_mem_open(10);
    struct io *io = io_mem_io(disk);
    AUTO(rig) r = rig_open(io, 10);
    rig_add_and_seal(r, 20);
    EXPECT_OK(io->unlink(io, S("/log/checkpoint.hrp")));
    struct sealed *s = NULL;
    Checkpoint c;
    EXPECT_ERR(ERR_CORRUPT, sealed_open(&r->config, a, &c, &s));
    EXPECT_INT(1, count_files(a, io));
}

TEST(what_a_crash_has_left_is_removed_and_its_numbers_are_not_used_again)
{
    AUTO(io_mem) disk = io_mem_open(11);
    struct io *io = io_mem_io(disk);
    AUTO(rig) r = rig_open(io, 11);
    rig_add_and_seal(r, 20);
    ContainerFacts facts;
    struct container_writer *w = NULL;
    rig_add_some(r);
    EXPECT_OK(sealed_create(r->s, RETENTION_DAY, &w)); // finished and never committed
    uint8_t record[64];
    size_t n = record_put(record, S("k"), S(""), blob_of(S("data")));
    ContainerRun run = { .position = 1, .count = 1, .bytes = (uint32_t)n, .records = record };
    EXPECT_OK(container_add(w, 1, &run));
    EXPECT_OK(container_finish(w, &facts));
    EXPECT_INT(2, facts.number);
    struct io_file *f = NULL;
    EXPECT_OK(io->open(io, S("/log/sealed/container-0000000007.tmp"), IO_WRITE | IO_CREATE, &f));
    io->close(f);
    EXPECT_INT(3, count_files(a, io));

    rig_reopen(r, io);
    EXPECT_OK(sealed_create(r->s, RETENTION_DAY, &w)); // before the cleaning
    sealed_clean(r->s);
    EXPECT_OK(container_add(w, 1, &run));
    EXPECT_OK(container_finish(w, &facts));
    EXPECT_INT(8, facts.number);
    EXPECT_INT(2, count_files(a, io));
    rig_expect_all(r);
}

// ---- Committing under faults

// The files are exactly those of the set, and it reads as the model says.
static void expect_whole(struct arena *a, struct rig *r, struct io *io)
{
    sealed_clean(r->s);
    EXPECT_INT(rig_stats(r).containers, count_files(a, io));
    rig_expect_all(r);
}

// Seals with the n-th change failing; then a restart, of the machine or of the program only.
static bool seal_and_fail(struct arena *a, uint64_t n, bool power_off, unsigned keep)
{
    AUTO(io_mem) disk = io_mem_open(n);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), n);
    AUTO(io_mem) later = NULL;
    AUTO(rig) r = rig_open(io_fault_io(faults), 12);
    rig_add_and_seal(r, 3);
    rig_add_and_seal(r, 3);
    size_t before = r->sealed;
    for (unsigned i = 0; i < 3; i++)
        rig_add_some(r);
    size_t after = r->n;
    io_fault_add(faults, (IoFault){ .ops = IO_OP_CHANGE | IO_OP_READ | IO_OP_SIZE,
                                    .skip = n,
                                    .tear = IO_TEAR_SECTORS,
                                    .power_off = power_off });
    Err e = rig_seal(r);
    bool hit = io_fault_hits(faults) > 0;
    if (e.kind == ERR_NONE)
        EXPECT_INT(after, r->sealed);
    later = io_mem_crash(disk, (IoMemCrash){ .seed = n, .keep = keep });
    rig_reopen(r, io_mem_io(later));
    bool is_new = r->opened.container_count == 3;
    EXPECT(is_new || (r->opened.container_count == 2 && e.kind != ERR_NONE));
    r->sealed = is_new ? after : before;
    expect_whole(a, r, io_mem_io(later));
    EXPECT_OK(rig_seal(r)); // nothing or what was not sealed
    expect_whole(a, r, io_mem_io(later));
    return hit;
}

TEST(a_crash_at_any_point_of_sealing_leaves_the_old_or_the_new_set)
{
    for (unsigned keep = IO_KEEP_SOME; keep <= IO_KEEP_ALL; keep++)
        for (int power_off = keep != IO_KEEP_SOME; power_off < 2; power_off++) {
            uint64_t n = 0;
            while (seal_and_fail(a, n, power_off != 0, keep))
                n++;
            EXPECT(n > 10);
        }
}

// The same without a restart: the set is as before, and the next commit makes order.
static bool seal_and_go_on(struct arena *a, uint64_t n)
{
    AUTO(io_mem) disk = io_mem_open(n);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), n);
    AUTO(rig) r = rig_open(io_fault_io(faults), 13);
    rig_add_and_seal(r, 10);
    for (unsigned i = 0; i < 10; i++)
        rig_add_some(r);
    uint64_t hits = io_fault_hits(faults);
    io_fault_add(faults, (IoFault){ .ops = IO_OP_CHANGE | IO_OP_READ | IO_OP_SIZE, .skip = n });
    Err e = rig_seal(r);
    bool hit = io_fault_hits(faults) > hits;
    io_fault_clear(faults);
    rig_expect_all(r); // the old set, or the new one
    if (e.kind != ERR_NONE) {
        AUTO(io_mem) later = io_mem_crash(disk, (IoMemCrash){ .seed = n, .keep = IO_KEEP_NONE });
        struct sealed *s = NULL;
        SealedConfig config = r->config;
        config.io = io_mem_io(later);
        Checkpoint c;
        EXPECT_OK(sealed_open(&config, a, &c, &s)); // all that is listed is there
        sealed_close(s);
    }
    EXPECT_OK(rig_seal(r));
    EXPECT_INT(r->n, r->sealed);
    EXPECT_INT(2, rig_stats(r).containers);
    // A failing unlink leaves a file for the next start; anything else is in order now.
    if (e.kind != ERR_NONE)
        EXPECT(count_files(a, io_mem_io(disk)) <= 3);
    rig_reopen(r, io_mem_io(disk));
    expect_whole(a, r, io_mem_io(disk));
    return hit;
}

TEST(after_a_failed_commit_the_next_one_makes_order)
{
    uint64_t n = 0;
    while (seal_and_go_on(a, n))
        n++;
    EXPECT(n > 10);
}

TEST(containers_of_a_commit_that_is_in_doubt_stay_until_it_is_settled)
{
    AUTO(io_mem) disk = io_mem_open(14);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 14);
    AUTO(rig) r = rig_open(io_fault_io(faults), 14);
    rig_add_and_seal(r, 10);
    rig_add_some(r);
    io_fault_add(faults, (IoFault){ .ops = IO_OP_SYNC_DIR, .path_part = S("/log"), .skip = 1 });
    EXPECT_ERR(ERR_IO, rig_seal(r)); // renamed, but perhaps not for long
    EXPECT_INT(2, count_files(a, io_mem_io(disk)));
    io_fault_add(faults, (IoFault){ .ops = IO_OP_WRITE, .path_part = S("checkpoint") });
    EXPECT_ERR(ERR_IO, rig_seal(r)); // certainly not written: this one's container goes
    EXPECT_INT(2, count_files(a, io_mem_io(disk)));
    EXPECT_OK(rig_seal(r));
    EXPECT_INT(2, count_files(a, io_mem_io(disk)));
    rig_expect_all(r);
    rig_reopen(r, io_mem_io(disk));
    rig_expect_all(r);
}

TEST(a_container_that_cannot_be_read_back_is_not_committed)
{
    AUTO(io_mem) disk = io_mem_open(15);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 15);
    AUTO(rig) r = rig_open(io_fault_io(faults), 15);
    rig_add_and_seal(r, 10);
    rig_add_some(r);
    io_fault_add(faults, (IoFault){ .ops = IO_OP_READ, .path_part = S("container") });
    EXPECT_ERR(ERR_IO, rig_seal(r));
    EXPECT_INT(1, count_files(a, io_mem_io(disk)));
    EXPECT_OK(rig_seal(r));
    rig_expect_all(r);
}
