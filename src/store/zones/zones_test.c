// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "store/zones/zones_priv.h"
#include "store/zones/zones_test_help.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

TEST(what_is_written_is_in_every_zone_and_is_read_back)
{
    struct trio r;
    trio_init(&r);
    EXPECT_OK(trio_open(&r, a));
    trio_fill(&r, a);
    trio_expect_same(&r, a);
    EXPECT(str_eq(trio_content(a, FILE_BYTES, 1), trio_in_zone(&r, a, 2, "journal/one")));
    EXPECT(str_eq(trio_content(a, FILE_BYTES, 1), trio_read_in(r.io, a, S("/data/journal/one"))));

    IoName *names;
    size_t n;
    EXPECT_OK(r.io->list(r.io, a, S("/data"), &names, &n));
    EXPECT_INT(2, n); // what is the zones' own is not seen
    EXPECT_STR(S("db"), names[0].name);
    EXPECT_ERR(ERR_INVALID, r.io->mkdir(r.io, S("/datax")));
    EXPECT_ERR(ERR_NOT_FOUND, r.io->unlink(r.io, S("/data/none")));
    EXPECT_OK(r.io->rename(r.io, S("/data/db"), S("/data/db2")));
    EXPECT_OK(r.io->unlink(r.io, S("/data/db2")));
    trio_expect_same(&r, a);
    for (unsigned i = 0; i < ZONES; i++)
        EXPECT_INT(ZONE_MEMBER, trio_state_of(&r, i));
    trio_done(&r);
}

// ---- Fencing

static Err write_something(struct io *io, struct arena *a, unsigned seed)
{
    AUTO(arena) tmp = arena_open();
    struct io_file *f = NULL;
    TRY(io->mkdir(io, S("/data/d")));
    TRY(io->open(io, S("/data/d/x.tmp"), IO_WRITE | IO_CREATE | IO_TRUNC, &f));
    Str bytes = trio_content(tmp, 10000, seed);
    Err e = io->allocate(f, 20000);
    if (e.kind == ERR_NONE)
        e = io->write(f, bytes.p, bytes.n, 0, true);
    if (e.kind == ERR_NONE)
        e = io->write(f, bytes.p, 100, 9000, false);
    if (e.kind == ERR_NONE)
        e = io->sync(f);
    if (e.kind == ERR_NONE)
        e = io->truncate(f, 10000);
    io->close(f);
    TRY(e);
    TRY(io->rename(io, S("/data/d/x.tmp"), S("/data/d/x")));
    TRY(io->sync_dir(io, S("/data/d")));
    Str back;
    TRY(io_read_file(io, a, S("/data/d/x"), 1 << 20, &back));
    EXPECT_INT(10000, back.n);
    return io->unlink(io, S("/data/d/x"));
}

TEST(each_kind_of_operation_that_fails_in_one_zone_fences_it_and_passes)
{
    static const unsigned kinds[] = { IO_OP_OPEN,     IO_OP_WRITE,  IO_OP_SYNC,
                                      IO_OP_TRUNCATE, IO_OP_RENAME, IO_OP_ALLOCATE,
                                      IO_OP_UNLINK,   IO_OP_MKDIR,  IO_OP_SYNC_DIR };
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        for (unsigned bad = 0; bad < ZONES; bad++) {
            struct trio r;
            trio_init(&r);
            EXPECT_OK(trio_open(&r, a));
            trio_fill(&r, a);
            IoFault fault = { .ops = kinds[k], .times = UINT64_MAX, .path_part = S("/d") };
            io_fault_add(r.faults[bad], fault);
            EXPECT_OK(write_something(r.io, a, 1));
            EXPECT_INT(ZONE_FENCED, trio_state_of(&r, bad));
            EXPECT(zones_enough(r.set));
            EXPECT(str_eq(trio_content(a, FILE_BYTES, 1),
                          trio_read_in(r.io, a, S("/data/journal/one"))));
            io_fault_clear(r.faults[bad]);
            trio_repair(&r, bad);
            trio_expect_same(&r, a);
            EXPECT_OK(write_something(r.io, a, 2));
            trio_expect_same(&r, a);
            trio_done(&r);
        }
    }
}

TEST(a_read_that_fails_is_answered_by_another_zone)
{
    struct trio r;
    trio_init(&r);
    EXPECT_OK(trio_open(&r, a));
    trio_fill(&r, a);
    io_fault_add(r.faults[0], (IoFault){ .ops = IO_OP_READ, .path_part = S("one") });
    EXPECT(str_eq(trio_content(a, FILE_BYTES, 1), trio_read_in(r.io, a, S("/data/journal/one"))));
    EXPECT_INT(ZONE_FENCED, trio_state_of(&r, 0));
    EXPECT_INT(ERR_IO, trio_cause_of(&r, 0));
    trio_repair(&r, 0);
    trio_expect_same(&r, a);
    trio_done(&r);
}

TEST(a_zone_that_alone_is_full_is_fenced_and_a_disk_full_everywhere_is_full)
{
    struct trio r;
    trio_init(&r);
    EXPECT_OK(trio_open(&r, a));
    trio_fill(&r, a);
    struct io_file *f = NULL;
    EXPECT_OK(r.io->open(r.io, S("/data/big"), IO_WRITE | IO_CREATE, &f));
    Str bytes = trio_content(a, 4 << 20, 9);
    for (unsigned i = 0; i < ZONES; i++)
        io_fault_set_budget(r.faults[i], 1 << 20);
    EXPECT_ERR(ERR_FULL, r.io->write(f, bytes.p, bytes.n, 0, true));
    for (unsigned i = 0; i < ZONES; i++)
        EXPECT_INT(ZONE_MEMBER, trio_state_of(&r, i));
    // Two are: the third has written it, and stays.
    io_fault_set_budget(r.faults[1], UINT64_MAX);
    EXPECT_ERR(ERR_FULL, r.io->write(f, bytes.p, bytes.n, 0, true));
    EXPECT_INT(ZONE_MEMBER, trio_state_of(&r, 1));
    io_fault_set_budget(r.faults[0], UINT64_MAX);
    EXPECT_OK(r.io->write(f, bytes.p, bytes.n, 0, true));
    EXPECT_INT(ZONE_FENCED, trio_state_of(&r, 2));
    EXPECT_INT(ERR_FULL, trio_cause_of(&r, 2));
    io_fault_set_budget(r.faults[2], UINT64_MAX);
    trio_repair(&r, 2);
    r.io->close(f);
    trio_expect_same(&r, a);
    trio_done(&r);
}

TEST(below_the_minimum_nothing_is_fenced_and_the_error_is_told)
{
    struct trio r;
    trio_init(&r);
    EXPECT_OK(trio_open(&r, a));
    trio_fill(&r, a);
    io_fault_power_off(r.faults[1]);
    EXPECT_OK(write_something(r.io, a, 1));
    EXPECT_INT(ZONE_FENCED, trio_state_of(&r, 1));
    io_fault_add(r.faults[2], (IoFault){ .ops = IO_OP_WRITE, .times = UINT64_MAX });
    EXPECT_ERR(ERR_IO, write_something(r.io, a, 2));
    EXPECT_INT(ZONE_MEMBER, trio_state_of(&r, 2));
    EXPECT_INT(ZONE_MEMBER, trio_state_of(&r, 0));
    io_fault_clear(r.faults[1]);
    io_fault_clear(r.faults[2]);
    trio_repair(&r, 1);
    EXPECT_OK(write_something(r.io, a, 3));
    trio_expect_same(&r, a);
    trio_done(&r);
}

TEST(one_zone_may_go_on_alone_when_that_is_wanted)
{
    struct trio r;
    trio_init(&r);
    r.config.least = 1;
    EXPECT_OK(trio_open(&r, a));
    trio_fill(&r, a);
    io_fault_power_off(r.faults[0]);
    io_fault_power_off(r.faults[2]);
    EXPECT_OK(write_something(r.io, a, 1));
    trio_write_new(r.io, a, "/data/late", S("late"));
    EXPECT_INT(ZONE_FENCED, trio_state_of(&r, 0));
    EXPECT_INT(ZONE_FENCED, trio_state_of(&r, 2));
    trio_close(&r);

    // Without the one that went on alone it must not open: two that are left behind are no two.
    io_fault_clear(r.faults[0]);
    io_fault_clear(r.faults[2]);
    io_fault_power_off(r.faults[1]);
    EXPECT_ERR(ERR_IO, trio_open(&r, a));
    io_fault_clear(r.faults[1]);
    EXPECT_OK(trio_open(&r, a));
    EXPECT_STR(S("late"), trio_read_in(r.io, a, S("/data/late")));
    trio_repair(&r, 0);
    trio_repair(&r, 2);
    trio_expect_same(&r, a);
    trio_done(&r);
}

// ---- Copies

TEST(each_copy_can_be_read_and_a_damaged_one_is_mended_from_checked_bytes)
{
    struct trio r;
    trio_init(&r);
    EXPECT_OK(trio_open(&r, a));
    trio_fill(&r, a);
    Str want = trio_content(a, FILE_BYTES, 1);
    EXPECT_OK(io_flip(trio_disk_io(&r, 0), S("/a/journal/one"), 10001, 0x40));
    struct io_file *f = NULL;
    EXPECT_OK(r.io->open(r.io, S("/data/journal/one"), IO_READ, &f));
    EXPECT_INT(ZONES, r.io->copies(f));
    char p[4096];
    size_t n = 0;
    for (unsigned copy = 0; copy < ZONES; copy++) {
        EXPECT_OK(r.io->read_copy(f, copy, p, sizeof p, 8192, &n));
        EXPECT_INT(sizeof p, n);
        EXPECT((memcmp(p, want.p + 8192, n) == 0) == (copy != 0));
    }
    EXPECT_ERR(ERR_INVALID, r.io->read_copy(f, ZONES, p, sizeof p, 0, &n));
    EXPECT_OK(r.io->mend(f, want.p + 9999, 77, 9999)); // read-only and without alignment
    trio_expect_same(&r, a);
    EXPECT(str_eq(want, trio_in_zone(&r, a, 0, "journal/one")));

    // A zone that is out of reach is told, and one that cannot be mended is fenced.
    IoFault fault = { .ops = IO_OP_WRITE, .times = UINT64_MAX };
    io_fault_add(r.faults[1], fault);
    EXPECT_OK(r.io->mend(f, want.p + 9999, 77, 9999));
    EXPECT_INT(ZONE_FENCED, trio_state_of(&r, 1));
    EXPECT_ERR(ERR_IO, r.io->read_copy(f, 1, p, sizeof p, 0, &n));
    io_fault_clear(r.faults[1]);
    trio_repair(&r, 1);
    EXPECT_OK(r.io->read_copy(f, 1, p, sizeof p, 0, &n)); // the open file has come back with it
    EXPECT(memcmp(p, want.p, n) == 0);
    r.io->close(f);
    trio_expect_same(&r, a);
    trio_done(&r);
}

// ---- Starting

// Good content begins as `fill` wrote it.
static Err verify_one(void *self, struct io *io, Str dir, uint64_t *ret_score)
{
    ++*(unsigned *)self;
    AUTO(arena) tmp = arena_open();
    Str s;
    TRY(io_read_file(io, tmp, str_cat(tmp, dir, S("/journal/one")), 64 << 20, &s));
    *ret_score = s.n;
    return s.n >= FILE_BYTES && str_eq(trio_content(tmp, FILE_BYTES, 1), str_head(s, FILE_BYTES))
               ? OK
               : fail(ERR_CORRUPT, "not what was written");
}

TEST(a_zone_that_was_changed_while_stopped_is_made_the_same_from_a_good_one)
{
    for (unsigned bad = 0; bad < ZONES; bad++) {
        for (unsigned how = 0; how < 6; how++) {
            unsigned verified = 0;
            struct trio r;
            trio_init(&r);
            r.config.verify = verify_one;
            r.config.verify_self = &verified;
            EXPECT_OK(trio_open(&r, a));
            trio_fill(&r, a);
            trio_close(&r);
            struct io *io = trio_disk_io(&r, bad);
            Str path = str_cat(a, trio_dirs[bad], S("/journal/one"));
            struct io_file *f = NULL;
            switch (how) {
            case 0: // one bit
                EXPECT_OK(io_flip(io, path, FILE_BYTES - 7, 4));
                break;
            case 1: // cut
                EXPECT_OK(io->open(io, path, IO_WRITE, &f));
                EXPECT_OK(io->truncate(f, 1000));
                io->close(f);
                break;
            case 2: // gone
                EXPECT_OK(io->unlink(io, path));
                break;
            case 3: // something too much
                trio_write_new(io, a, str_c(a, str_cat(a, trio_dirs[bad], S("/journal/three"))),
                               S("?"));
                break;
            case 4: // its record
                EXPECT_OK(io_flip(io, str_cat(a, trio_dirs[bad], S("/zone.hrz")), 40, 1));
                break;
            default: // everything
                trio_replace_disk(&r, bad);
                break;
            }
            EXPECT_OK(trio_open(&r, a));
            EXPECT_INT(how < 4 ? ZONES : 0, verified); // only when members differ
            trio_wait_state(&r, bad, ZONE_MEMBER);
            EXPECT_OK(write_something(r.io, a, 1));
            trio_expect_same(&r, a);
            EXPECT(str_eq(trio_content(a, FILE_BYTES, 1), trio_in_zone(&r, a, bad, "journal/one")));
            // What is too much is not less whole: of equals the first is the source.
            struct io_file *three = NULL;
            io = trio_disk_io(&r, bad);
            EXPECT_ERR(
                how == 3 && bad == 0 ? ERR_NONE : ERR_NOT_FOUND,
                io->open(io, str_cat(a, trio_dirs[bad], S("/journal/three")), IO_READ, &three));
            io->close(three);
            trio_done(&r);
        }
    }
}

TEST(a_directory_that_a_power_cut_has_left_in_one_zone_is_made_in_the_others)
{
    for (unsigned i = 0; i < ZONES; i++) {
        struct trio r;
        trio_init(&r);
        EXPECT_OK(trio_open(&r, a));
        trio_fill(&r, a);
        trio_close(&r);
        struct io *io = trio_disk_io(&r, i);
        EXPECT_OK(io->mkdir(io, str_cat(a, trio_dirs[i], S("/left"))));
        EXPECT_OK(trio_open(&r, a));
        trio_write_new(r.io, a, "/data/left/over", S("in all of them"));
        for (unsigned k = 0; k < ZONES; k++)
            EXPECT_INT(ZONE_MEMBER, trio_state_of(&r, k));
        trio_expect_same(&r, a);
        trio_done(&r);
    }
}

TEST(what_a_first_try_has_left_on_an_empty_disk_does_not_make_it_a_foreign_one)
{
    struct trio r;
    trio_init(&r);
    EXPECT_OK(trio_open(&r, a));
    trio_fill(&r, a);
    trio_close(&r);
    trio_replace_disk(&r, 1);
    struct io *io = trio_disk_io(&r, 1);
    EXPECT_OK(io->mkdir(io, trio_dirs[1]));
    trio_write_new(io, a, str_c(a, str_cat(a, trio_dirs[1], S("/zone.try.new"))), S("Does it"));
    EXPECT_OK(trio_open(&r, a));
    trio_repair(&r, 1);
    trio_expect_same(&r, a);
    trio_done(&r);
}

TEST(when_every_zone_is_damaged_nothing_is_changed)
{
    unsigned verified = 0;
    struct trio r;
    trio_init(&r);
    r.config.verify = verify_one;
    r.config.verify_self = &verified;
    EXPECT_OK(trio_open(&r, a));
    trio_fill(&r, a);
    trio_close(&r);
    Str before[ZONES];
    for (unsigned i = 0; i < ZONES; i++) {
        EXPECT_OK(io_flip(trio_disk_io(&r, i), str_cat(a, trio_dirs[i], S("/journal/one")), i, 1));
        before[i] = trio_in_zone(&r, a, i, "journal/one");
    }
    EXPECT_ERR(ERR_CORRUPT, trio_open(&r, a));
    EXPECT(r.problem.n > 0);
    for (unsigned i = 0; i < ZONES; i++)
        EXPECT(str_eq(before[i], trio_in_zone(&r, a, i, "journal/one")));
    trio_done(&r);
}

TEST(a_zone_that_was_fenced_is_never_a_source)
{
    for (unsigned stale = 0; stale < ZONES; stale++) {
        struct trio r;
        trio_init(&r);
        EXPECT_OK(trio_open(&r, a));
        trio_fill(&r, a);
        io_fault_power_off(r.faults[stale]);
        trio_write_new(r.io, a, "/data/db", S("newer"));
        EXPECT_INT(ZONE_FENCED, trio_state_of(&r, stale));
        trio_close(&r);
        io_fault_clear(r.faults[stale]);

        // With another one gone, one that is stale and one that is not are enough to know.
        unsigned gone = (stale + 1) % ZONES;
        trio_replace_disk(&r, gone);
        EXPECT_OK(trio_open(&r, a));
        EXPECT_STR(S("newer"), trio_read_in(r.io, a, S("/data/db")));
        trio_repair(&r, stale);
        trio_repair(&r, gone);
        trio_expect_same(&r, a);
        trio_close(&r);

        // The stale one alone is not.
        EXPECT_OK(trio_open(&r, a));
        io_fault_power_off(r.faults[stale]);
        trio_write_new(r.io, a, "/data/db", S("newest"));
        trio_close(&r);
        io_fault_clear(r.faults[stale]);
        trio_replace_disk(&r, gone);
        trio_replace_disk(&r, 3 - stale - gone);
        EXPECT_ERR(ERR_IO, trio_open(&r, a));
        EXPECT(r.problem.n > 0);
        r.config.start_anyway = true; // unless somebody gives up what the others held
        EXPECT_OK(trio_open(&r, a));
        EXPECT_STR(S("newer"), trio_read_in(r.io, a, S("/data/db")));
        trio_done(&r);
    }
}

TEST(too_few_zones_do_not_open)
{
    struct trio r;
    trio_init(&r);
    EXPECT_OK(trio_open(&r, a));
    trio_fill(&r, a);
    trio_close(&r);
    io_fault_power_off(r.faults[0]);
    EXPECT_OK(trio_open(&r, a)); // two of three
    EXPECT_INT(ZONE_FENCED, trio_state_of(&r, 0));
    EXPECT(str_eq(trio_content(a, FILE_BYTES, 1), trio_read_in(r.io, a, S("/data/journal/one"))));
    trio_close(&r);
    io_fault_power_off(r.faults[1]);
    EXPECT_ERR(ERR_IO, trio_open(&r, a));
    r.config.start_anyway = true;
    EXPECT_OK(trio_open(&r, a));
    EXPECT(str_eq(trio_content(a, FILE_BYTES, 1), trio_read_in(r.io, a, S("/data/journal/one"))));
    io_fault_clear(r.faults[0]);
    io_fault_clear(r.faults[1]);
    trio_repair(&r, 0);
    trio_repair(&r, 1);
    trio_expect_same(&r, a);
    trio_done(&r);
}

TEST(a_directory_with_data_becomes_the_source_of_a_new_set)
{
    for (unsigned source = 0; source < ZONES; source++) {
        struct trio r;
        trio_init(&r);
        struct io *io = trio_disk_io(&r, source);
        EXPECT_OK(io->mkdir(io, trio_dirs[source]));
        EXPECT_OK(io->mkdir(io, str_cat(a, trio_dirs[source], S("/journal"))));
        trio_write_new(io, a, str_c(a, str_cat(a, trio_dirs[source], S("/journal/one"))),
                       trio_content(a, FILE_BYTES, 1));
        trio_write_new(io, a, str_c(a, str_cat(a, trio_dirs[source], S("/lock"))), S("12\n"));
        EXPECT_OK(trio_open(&r, a));
        EXPECT(
            str_eq(trio_content(a, FILE_BYTES, 1), trio_read_in(r.io, a, S("/data/journal/one"))));
        for (unsigned i = 0; i < ZONES; i++) {
            trio_wait_state(&r, i, ZONE_MEMBER);
            EXPECT(str_eq(trio_content(a, FILE_BYTES, 1), trio_in_zone(&r, a, i, "journal/one")));
        }
        trio_done(&r);
    }
}

TEST(data_that_is_not_known_to_belong_to_the_set_is_left_alone)
{
    struct trio r, other;
    trio_init(&r);
    EXPECT_OK(trio_open(&r, a));
    trio_fill(&r, a);
    trio_close(&r);

    // A zone of another set, and a directory with data and no record.
    trio_init(&other);
    EXPECT_OK(trio_open(&other, a));
    trio_write_new(other.io, a, "/data/db", S("another's"));
    trio_close(&other);
    r.config.zone_io[2] = other.config.zone_io[2];
    EXPECT_OK(trio_open(&r, a));
    zones_probe(r.set);
    EXPECT_OK(write_something(r.io, a, 1));
    EXPECT_INT(ZONE_FENCED, trio_state_of(&r, 2));
    EXPECT_STR(S("another's"), trio_in_zone(&other, a, 2, "db"));
    trio_close(&r);
    EXPECT_OK(trio_disk_io(&other, 2)->unlink(trio_disk_io(&other, 2), S("/c/zone.hrz")));
    EXPECT_OK(trio_open(&r, a));
    zones_probe(r.set);
    EXPECT_OK(write_something(r.io, a, 1));
    EXPECT_INT(ZONE_FENCED, trio_state_of(&r, 2));
    trio_close(&r);
    EXPECT_STR(S("another's"), trio_in_zone(&other, a, 2, "db"));

    // Two of them and no set: which one is right?
    EXPECT_OK(trio_disk_io(&r, 0)->unlink(trio_disk_io(&r, 0), S("/a/zone.hrz")));
    EXPECT_OK(trio_disk_io(&r, 1)->unlink(trio_disk_io(&r, 1), S("/b/zone.hrz")));
    EXPECT_ERR(ERR_INVALID, trio_open(&r, a));
    trio_done(&r);
    trio_done(&other);
}

TEST(a_zone_is_held_by_one_set)
{
    struct trio r;
    trio_init(&r);
    EXPECT_OK(trio_open(&r, a));
    struct zones *second = NULL;
    Str problem;
    EXPECT_ERR(ERR_BUSY, zones_open(&r.config, a, &second, &problem));
    EXPECT(problem.n > 0);
    trio_done(&r);
}

// As when a start has broken off while this zone was made the same as another one.
static void leave_half_copied(struct trio *r, struct arena *a, unsigned i)
{
    ZoneRecord record;
    struct io *io = trio_disk_io(r, i);
    EXPECT_OK(record_parse(trio_in_zone(r, a, i, "zone.hrz"), &record));
    record.whole = false;
    EXPECT_OK(
        io_write_file(io, a, str_cat(a, trio_dirs[i], S("/zone.hrz")), record_text(a, &record)));
    struct io_file *f = NULL;
    EXPECT_OK(io->open(io, str_cat(a, trio_dirs[i], S("/journal/one")), IO_WRITE, &f));
    EXPECT_OK(io->truncate(f, 1000));
    io->close(f);
}

TEST(after_a_start_that_broke_off_any_zone_may_die_at_any_time_of_the_next)
{
    for (unsigned reads = 0; reads < 60; reads++) {
        unsigned verified = 0;
        struct trio r;
        trio_init(&r);
        r.config.verify = verify_one;
        r.config.verify_self = &verified;
        EXPECT_OK(trio_open(&r, a));
        trio_fill(&r, a);
        trio_close(&r);
        leave_half_copied(&r, a, 1);
        // The first zone has more than the last, which is to be made the same.
        struct io_file *f = NULL;
        struct io *io = trio_disk_io(&r, 0);
        EXPECT_OK(io->open(io, S("/a/journal/one"), IO_WRITE, &f));
        EXPECT_OK(io->write(f, "more", 4, FILE_BYTES, true));
        io->close(f);
        IoFault death = { .ops = IO_OP_READ, .skip = reads, .power_off = true };
        io_fault_add(r.faults[0], death);
        EXPECT_OK(trio_open(&r, a));
        Str one = trio_read_in(r.io, a, S("/data/journal/one"));
        EXPECT(str_eq(trio_content(a, FILE_BYTES, 1), str_head(one, FILE_BYTES)));
        for (unsigned i = 1; i < ZONES; i++)
            EXPECT_INT(ZONE_MEMBER, trio_state_of(&r, i));
        trio_done(&r);
    }
}

TEST(what_a_failed_sync_has_lost_is_written_again_though_the_page_cache_has_it)
{
    struct trio r;
    trio_init(&r);
    EXPECT_OK(trio_open(&r, a));
    trio_fill(&r, a);
    struct io_file *f = NULL;
    EXPECT_OK(r.io->open(r.io, S("/data/db"), IO_WRITE, &f));
    EXPECT_OK(r.io->write(f, "newer", 5, 5000, false));
    io_mem_break_sync(r.disks[1], 0);
    EXPECT_OK(r.io->sync(f));
    EXPECT_INT(ZONE_FENCED, trio_state_of(&r, 1));
    trio_repair(&r, 1);
    r.io->close(f);
    trio_close(&r);
    AUTO(io_mem) later = io_mem_crash(r.disks[1], (IoMemCrash){ .keep = IO_KEEP_NONE });
    Str want = trio_in_zone(&r, a, 0, "db");
    EXPECT(str_eq(want, trio_read_in(io_mem_io(later), a, S("/b/db"))));
    trio_done(&r);
}

// ---- Lagging

// Long enough for a machine that is busy: who is not meant to lag must not.
#define LAG_NS (4 * NS_PER_S)

static atomic_bool is_stuck;
static struct io slow_table;
static Err (*write_below)(struct io_file *f, const void *p, size_t n, uint64_t at, bool durable);

static Err slow_write(struct io_file *f, const void *p, size_t n, uint64_t at, bool durable)
{
    while (atomic_load(&is_stuck))
        io_real()->sleep_ns(io_real(), NS_PER_MS);
    return write_below(f, p, n, at, durable);
}

static void trio_make_slow(struct trio *r, unsigned i)
{
    slow_table = *r->config.zone_io[i];
    write_below = slow_table.write;
    slow_table.write = slow_write;
    r->config.zone_io[i] = &slow_table;
    atomic_store(&is_stuck, false);
}

TEST(a_zone_that_lags_is_fenced_and_the_caller_is_answered)
{
    struct trio r;
    trio_init(&r);
    trio_make_slow(&r, 1);
    r.config.lag_ns = LAG_NS;
    EXPECT_OK(trio_open(&r, a));
    trio_fill(&r, a);
    struct io_file *f = NULL;
    struct io_queue *q = NULL;
    EXPECT_OK(r.io->open(r.io, S("/data/x"), IO_WRITE | IO_CREATE, &f));
    EXPECT_OK(r.io->queue_open(r.io, 2, &q));
    atomic_store(&is_stuck, true);
    // The memory may be used again as soon as the call has returned.
    char *p = malloc(100000);
    memset(p, 'x', 100000);
    struct io_write w = { .file = f, .part = { p, 100000 }, .at = 0 }, *done = NULL;
    EXPECT_OK(r.io->queue_submit(q, &w));
    EXPECT_OK(r.io->queue_wait(q, &done));
    EXPECT(done == &w);
    EXPECT_OK(w.result);
    EXPECT_OK(r.io->write(f, p, 1000, 100000, true));
    free(p);
    EXPECT_INT(ZONE_FENCED, trio_state_of(&r, 1));
    EXPECT_INT(ERR_TIMEOUT, trio_cause_of(&r, 1));
    // While the write hangs the zone does not come back: it could land on what was copied.
    zones_probe(r.set);
    EXPECT_OK(write_something(r.io, a, 4));
    EXPECT_INT(ZONE_FENCED, trio_state_of(&r, 1));
    atomic_store(&is_stuck, false);
    while (trio_state_of(&r, 1) != ZONE_MEMBER) {
        zones_probe(r.set);
        io_real()->sleep_ns(io_real(), NS_PER_MS);
    }
    r.io->queue_close(q);
    r.io->close(f);
    trio_expect_same(&r, a);
    EXPECT_INT(101000, trio_in_zone(&r, a, 1, "x").n);
    trio_done(&r);
}

TEST(a_source_of_which_one_read_fails_is_blamed_and_not_who_is_copied_to)
{
    for (unsigned reads = 0; reads < 40; reads++) {
        unsigned verified = 0;
        struct trio r;
        trio_init(&r);
        r.config.verify = verify_one;
        r.config.verify_self = &verified;
        EXPECT_OK(trio_open(&r, a));
        trio_fill(&r, a);
        trio_close(&r);
        EXPECT_OK(io_flip(trio_disk_io(&r, 2), str_cat(a, trio_dirs[2], S("/journal/one")), 7, 1));
        io_fault_add(r.faults[0], (IoFault){ .ops = IO_OP_READ, .skip = reads });
        EXPECT_OK(trio_open(&r, a));
        for (unsigned i = 1; i < ZONES; i++) {
            EXPECT_INT(ZONE_MEMBER, trio_state_of(&r, i));
            EXPECT(str_eq(trio_content(a, FILE_BYTES, 1), trio_in_zone(&r, a, i, "journal/one")));
        }
        trio_done(&r);
    }
}

TEST(a_source_that_fails_while_others_are_copied_from_it_is_replaced_by_another_one)
{
    for (unsigned reads = 0; reads < 24; reads++) {
        unsigned verified = 0;
        struct trio r;
        trio_init(&r);
        r.config.verify = verify_one;
        r.config.verify_self = &verified;
        EXPECT_OK(trio_open(&r, a));
        trio_fill(&r, a);
        trio_close(&r);
        EXPECT_OK(io_flip(trio_disk_io(&r, 2), str_cat(a, trio_dirs[2], S("/journal/one")), 7, 1));
        IoFault death = { .ops = IO_OP_READ, .skip = reads, .power_off = true };
        io_fault_add(r.faults[0], death);
        EXPECT_OK(trio_open(&r, a));
        EXPECT(
            str_eq(trio_content(a, FILE_BYTES, 1), trio_read_in(r.io, a, S("/data/journal/one"))));
        trio_done(&r);
    }
}

// ---- A zone that lags and has done it before it could be fenced

static struct io refusing_table;
static Err (*open_below)(struct io *io, Str path, unsigned flags, struct io_file **ret);
static atomic_bool refuses, has_written;

// No record is written here; but until that has been tried the other zone is stuck.
static Err refusing_open(struct io *io, Str path, unsigned flags, struct io_file **ret)
{
    if (!atomic_load(&refuses) || str_search(path, S("zone.hrz")) == path.n)
        return open_below(io, path, flags, ret);
    atomic_store(&is_stuck, false);
    while (!atomic_load(&has_written))
        io_real()->sleep_ns(io_real(), NS_PER_MS);
    return fail(ERR_IO, "injected");
}

static Err noted_write(struct io_file *f, const void *p, size_t n, uint64_t at, bool durable)
{
    Err e = slow_write(f, p, n, at, durable);
    atomic_store(&has_written, true);
    return e;
}

TEST(what_a_zone_has_done_while_it_was_to_be_fenced_counts_when_it_was_not)
{
    struct trio r;
    trio_init(&r);
    trio_make_slow(&r, 1);
    slow_table.write = noted_write;
    refusing_table = *r.config.zone_io[0];
    open_below = refusing_table.open;
    refusing_table.open = refusing_open;
    r.config.zone_io[0] = &refusing_table;
    r.config.lag_ns = LAG_NS;
    atomic_store(&refuses, false);
    EXPECT_OK(trio_open(&r, a));
    trio_fill(&r, a);
    struct io_file *f = NULL;
    EXPECT_OK(r.io->open(r.io, S("/data/x"), IO_WRITE | IO_CREATE, &f));
    atomic_store(&has_written, false);
    atomic_store(&is_stuck, true);
    atomic_store(&refuses, true);
    EXPECT_OK(r.io->write(f, "x", 1, 0, true));
    EXPECT(atomic_load(&has_written));
    for (unsigned i = 0; i < ZONES; i++)
        EXPECT_INT(ZONE_MEMBER, trio_state_of(&r, i));
    r.io->close(f);
    atomic_store(&refuses, false);
    trio_done(&r);
}

// ---- A file that is made empty while it is copied

static Err (*read_below)(struct io_file *f, void *p, size_t n, uint64_t at, size_t *ret_n);
static atomic_bool is_watched, is_copied, is_emptied;

// When a piece has been read to be copied, the file is made empty, unless that has to wait.
static Err watched_read(struct io_file *f, void *p, size_t n, uint64_t at, size_t *ret_n)
{
    Err e = read_below(f, p, n, at, ret_n);
    if (n != PIECE_BYTES || !atomic_exchange(&is_watched, false))
        return e;
    atomic_store(&is_copied, true);
    for (int i = 0; i < 200 && !atomic_load(&is_emptied); i++)
        io_real()->sleep_ns(io_real(), NS_PER_MS);
    return e;
}

static void *make_empty(void *arg)
{
    struct io *io = arg;
    struct io_file *f = NULL;
    while (!atomic_load(&is_copied))
        io_real()->sleep_ns(io_real(), NS_PER_MS);
    EXPECT_OK(io->open(io, S("/data/db"), IO_WRITE | IO_CREATE | IO_TRUNC, &f));
    atomic_store(&is_emptied, true);
    io->close(f);
    return NULL;
}

TEST(a_file_that_is_made_empty_while_it_is_copied_is_empty_in_the_copy)
{
    struct trio r;
    trio_init(&r);
    static struct io watching_table;
    watching_table = *r.config.zone_io[0];
    read_below = watching_table.read;
    watching_table.read = watched_read;
    r.config.zone_io[0] = &watching_table;
    EXPECT_OK(trio_open(&r, a));
    trio_write_new(r.io, a, "/data/db", trio_content(a, 100000, 3));
    io_fault_power_off(r.faults[1]);
    trio_write_new(r.io, a, "/data/db", trio_content(a, 100000, 4));
    EXPECT_INT(ZONE_FENCED, trio_state_of(&r, 1));
    io_fault_clear(r.faults[1]);
    atomic_store(&is_copied, false);
    atomic_store(&is_emptied, false);
    atomic_store(&is_watched, true);
    pthread_t other;
    EXPECT_INT(0, pthread_create(&other, NULL, make_empty, r.io));
    trio_repair(&r, 1);
    pthread_join(other, NULL);
    EXPECT_INT(0, trio_in_zone(&r, a, 0, "db").n);
    trio_expect_same(&r, a);
    trio_done(&r);
}

// ---- A name that an open file gets while that name is about to be copied

static Err (*rename_below)(struct io *io, Str from, Str to);
static struct zones *renaming_set;
static atomic_bool is_renaming;

// The first piece of the file is under way: its renaming begins, and ends when names shall stand.
static Err reads_until_renaming(struct io_file *f, void *p, size_t n, uint64_t at, size_t *ret_n)
{
    Err e = read_below(f, p, n, at, ret_n);
    if (n != PIECE_BYTES || !atomic_exchange(&is_watched, false))
        return e;
    atomic_store(&is_copied, true);
    while (!atomic_load(&is_renaming))
        io_real()->sleep_ns(io_real(), NS_PER_MS);
    return e;
}

static Err renames_when_names_shall_stand(struct io *io, Str from, Str to)
{
    if (!atomic_load(&is_copied) || str_search(to, S("/ab")) == to.n)
        return rename_below(io, from, to);
    atomic_store(&is_renaming, true);
    for (bool stand = false; !stand;) {
        io_real()->sleep_ns(io_real(), NS_PER_MS);
        pthread_mutex_lock(&renaming_set->lock);
        stand = renaming_set->names.closed;
        pthread_mutex_unlock(&renaming_set->lock);
    }
    return rename_below(io, from, to);
}

static void *rename_when_copied(void *arg)
{
    struct io *io = arg;
    while (!atomic_load(&is_copied))
        io_real()->sleep_ns(io_real(), NS_PER_MS);
    EXPECT_OK(io->rename(io, S("/data/aa"), S("/data/ab")));
    return NULL;
}

// What it had open there before is closed: the leak checker sees to it.
TEST(an_open_file_that_gets_the_name_of_one_to_be_copied_is_open_once)
{
    struct trio r;
    trio_init(&r);
    static struct io table;
    table = *r.config.zone_io[0];
    read_below = table.read;
    rename_below = table.rename;
    table.read = reads_until_renaming;
    table.rename = renames_when_names_shall_stand;
    r.config.zone_io[0] = &table;
    EXPECT_OK(trio_open(&r, a));
    renaming_set = r.set;
    atomic_store(&is_copied, false);
    trio_write_new(r.io, a, "/data/aa", trio_content(a, 100000, 3));
    trio_write_new(r.io, a, "/data/ab", trio_content(a, 1000, 4));
    io_fault_power_off(r.faults[1]);
    struct io_file *f = NULL;
    EXPECT_OK(r.io->open(r.io, S("/data/aa"), IO_WRITE, &f));
    EXPECT_OK(r.io->write(f, "x", 1, 0, true));
    EXPECT_INT(ZONE_FENCED, trio_state_of(&r, 1));
    io_fault_clear(r.faults[1]);
    atomic_store(&is_renaming, false);
    atomic_store(&is_watched, true);
    pthread_t other;
    EXPECT_INT(0, pthread_create(&other, NULL, rename_when_copied, r.io));
    trio_repair(&r, 1);
    pthread_join(other, NULL);
    EXPECT_OK(r.io->write(f, "y", 1, 1, true));
    r.io->close(f);
    EXPECT_INT(100000, trio_in_zone(&r, a, 1, "ab").n);
    trio_expect_same(&r, a);
    trio_done(&r);
}
