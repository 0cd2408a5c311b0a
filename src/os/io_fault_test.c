// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "os/io_fault.h"
#include "os/io_mem.h"

#include <string.h>

static Str get(struct arena *a, struct io *io, Str path)
{
    Str s = { 0 };
    Err e = io_read_file(io, a, path, 1 << 20, &s);
    EXPECT(e.kind == ERR_NONE || e.kind == ERR_NOT_FOUND);
    return s;
}

TEST(a_file_write_fails_at_each_of_its_operations_without_harm)
{
    uint64_t n = 0;
    for (bool passed = false; !passed; n++) {
        AUTO(io_mem) m = io_mem_open(n);
        AUTO(io_fault) f = io_fault_open(io_mem_io(m), n);
        struct io *io = io_fault_io(f);
        EXPECT_OK(io_write_file(io, a, S("/f"), S("old")));
        io_fault_add(f, (IoFault){ .skip = n, .err = fail(ERR_FULL, "test") });
        Err e = io_write_file(io, a, S("/f"), S("new"));
        passed = io_fault_hits(f) == 0;
        io_fault_clear(f);
        EXPECT_INT(passed ? ERR_NONE : ERR_FULL, e.kind);
        Str got = get(a, io, S("/f"));
        EXPECT(str_eq(got, S("new")) || (!passed && str_eq(got, S("old"))));
        EXPECT_OK(io_write_file(io, a, S("/f"), S("newer"))); // nothing stands in the way
        EXPECT_STR(S("newer"), get(a, io, S("/f")));
    }
    EXPECT_INT(6, n); // open, write, sync, rename, sync_dir and the run without a failure
}

TEST(a_power_cut_at_each_operation_leaves_the_old_file_or_the_new_one)
{
    unsigned old = 0, new = 0;
    for (uint64_t n = 0, seed = 0; seed < 300; seed++) {
        AUTO(io_mem) m = io_mem_open(seed);
        AUTO(io_fault) f = io_fault_open(io_mem_io(m), seed);
        struct io *io = io_fault_io(f);
        EXPECT_OK(io_write_file(io, a, S("/f"), S("old")));
        io_fault_add(
            f, (IoFault){
                   .ops = IO_OP_CHANGE, .skip = n, .tear = IO_TEAR_SECTORS, .power_off = true });
        Err e = io_write_file(io, a, S("/f"), S("new"));
        n = io_fault_hits(f) > 0 ? n + 1 : 0;
        AUTO(io_mem) later = io_mem_crash(m, (IoMemCrash){ .seed = seed });
        Str got = get(a, io_mem_io(later), S("/f"));
        EXPECT(str_eq(got, S("new")) || (e.kind != ERR_NONE && str_eq(got, S("old"))));
        old += str_eq(got, S("old"));
        new += str_eq(got, S("new"));
    }
    EXPECT(old > 0 && new > 0);
}

TEST(plans_count_by_operation_and_path_and_are_spent)
{
    AUTO(io_mem) m = io_mem_open(1);
    AUTO(io_fault) f = io_fault_open(io_mem_io(m), 1);
    struct io *io = io_fault_io(f);
    io_fault_add(f, (IoFault){ .ops = IO_OP_OPEN, .path_part = S("log"), .skip = 1, .times = 2 });
    struct io_file *file[6] = { 0 };
    EXPECT_OK(io->open(io, S("/other"), IO_WRITE | IO_CREATE, &file[0]));
    EXPECT_OK(io->open(io, S("/a.log"), IO_WRITE | IO_CREATE, &file[1]));
    EXPECT_ERR(ERR_IO, io->open(io, S("/a.log"), IO_WRITE, &file[2]));
    EXPECT_OK(io->open(io, S("/other"), IO_WRITE, &file[2]));
    EXPECT_ERR(ERR_IO, io->open(io, S("/b.log"), IO_WRITE | IO_CREATE, &file[3]));
    EXPECT_OK(io->open(io, S("/a.log"), IO_WRITE, &file[3]));
    EXPECT_INT(2, io_fault_hits(f));
    EXPECT_INT(6, io_fault_count(f, IO_OP_OPEN));
    EXPECT_INT(0, io_fault_count(f, IO_OP_WRITE | IO_OP_SYNC));
    for (int i = 0; i < 4; i++)
        io->close(file[i]);
}

TEST(every_operation_can_be_made_to_fail)
{
    AUTO(io_mem) m = io_mem_open(1);
    AUTO(io_fault) f = io_fault_open(io_mem_io(m), 1);
    struct io *io = io_fault_io(f);
    struct io_file *file = NULL, *other = NULL;
    EXPECT_OK(io->open(io, S("/f"), IO_WRITE | IO_CREATE, &file));
    io_fault_power_off(f);
    char p[4] = { 0 };
    size_t n = 0;
    uint64_t x = 0, y = 0;
    IoName *names = NULL;
    EXPECT_ERR(ERR_IO, io->open(io, S("/f"), IO_READ, &other));
    EXPECT_ERR(ERR_IO, io->write(file, p, 4, 0, true));
    EXPECT_ERR(ERR_IO, io->read(file, p, 4, 0, &n));
    EXPECT_ERR(ERR_IO, io->sync(file));
    EXPECT_ERR(ERR_IO, io->size(file, &x));
    EXPECT_ERR(ERR_IO, io->truncate(file, 1));
    EXPECT_ERR(ERR_IO, io->allocate(file, 1));
    EXPECT_ERR(ERR_IO, io->lock(file));
    EXPECT_ERR(ERR_IO, io->rename(io, S("/f"), S("/g")));
    EXPECT_ERR(ERR_IO, io->unlink(io, S("/f")));
    EXPECT_ERR(ERR_IO, io->mkdir(io, S("/d")));
    EXPECT_ERR(ERR_IO, io->sync_dir(io, S("/")));
    EXPECT_ERR(ERR_IO, io->list(io, a, S("/"), &names, &n));
    EXPECT_ERR(ERR_IO, io->space(io, S("/"), &x, &y));
    io_fault_clear(f);
    EXPECT_OK(io->size(file, &x));
    EXPECT_INT(0, x);
    io->close(file);
}

TEST(a_spent_budget_is_a_full_disk_until_it_is_raised)
{
    AUTO(io_mem) m = io_mem_open(1);
    AUTO(io_fault) f = io_fault_open(io_mem_io(m), 1);
    struct io *io = io_fault_io(f);
    struct io_file *file = NULL;
    EXPECT_OK(io->open(io, S("/f"), IO_WRITE | IO_CREATE, &file));
    io_fault_set_budget(f, 6);
    EXPECT_OK(io->write(file, "1234", 4, 0, false));
    EXPECT_ERR(ERR_FULL, io->write(file, "567", 3, 4, false));
    EXPECT_OK(io->write(file, "56", 2, 4, false));
    io_fault_set_budget(f, 100);
    EXPECT_OK(io->write(file, "789", 3, 6, false));
    EXPECT_STR(S("123456789"), get(a, io, S("/f")));
    io->close(file);
}

TEST(a_torn_write_leaves_a_prefix_or_any_sectors)
{
    unsigned gaps = 0, cuts = 0;
    char *p = memset(arena_new(a, char, 5 * 4096), 'x', 5 * 4096);
    for (uint64_t seed = 0; seed < 100; seed++) {
        AUTO(io_mem) m = io_mem_open(seed);
        AUTO(io_fault) f = io_fault_open(io_mem_io(m), seed);
        struct io *io = io_fault_io(f);
        struct io_file *file = NULL;
        EXPECT_OK(io->open(io, S("/f"), IO_WRITE | IO_CREATE, &file));
        bool prefix = seed % 2 == 0;
        io_fault_add(
            f, (IoFault){ .ops = IO_OP_WRITE, .tear = prefix ? IO_TEAR_PREFIX : IO_TEAR_SECTORS });
        EXPECT_ERR(ERR_IO, io->write(file, p, 5 * 4096, 0, true));
        Str got = get(a, io, S("/f"));
        bool gap = got.n > 0 && memchr(got.p, 0, got.n) != NULL;
        EXPECT(got.n % 4096 == 0 && !(prefix && gap));
        cuts += prefix && got.n > 0 && got.n < (size_t)5 * 4096;
        gaps += gap;
        io->close(file);
    }
    EXPECT(gaps > 0 && cuts > 0);
}

TEST(a_power_cut_tears_what_a_queue_has_under_way)
{
    unsigned survived = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        AUTO(io_mem) m = io_mem_open(seed);
        AUTO(io_fault) f = io_fault_open(io_mem_io(m), seed);
        struct io *io = io_fault_io(f);
        struct io_file *file = NULL;
        EXPECT_OK(io->open(io, S("/f"), IO_WRITE | IO_CREATE, &file));
        EXPECT_OK(io->sync_dir(io, S("/")));
        struct io_queue *q = NULL;
        EXPECT_OK(io->queue_open(io, 4, &q));
        char x[] = "x";
        struct io_write w[3] = { { file, { x, 1 }, 0, OK, NULL },
                                 { file, { x, 1 }, 1, OK, NULL },
                                 { file, { x, 1 }, 2, OK, NULL } };
        struct io_write *got = NULL;
        for (int i = 0; i < 3; i++)
            EXPECT_OK(io->queue_submit(q, &w[i]));
        EXPECT_OK(io->queue_wait(q, &got));
        EXPECT_OK(got->result);
        uint64_t durable_at = got->at;
        io_fault_power_off(f);
        EXPECT_OK(io->queue_wait(q, &got));
        EXPECT_ERR(ERR_IO, got->result);
        io->queue_close(q);
        io->close(file);
        AUTO(io_mem) later = io_mem_crash(m, (IoMemCrash){ .seed = seed });
        Str after = get(a, io_mem_io(later), S("/f"));
        EXPECT(after.n > durable_at && after.p[durable_at] == 'x');
        for (size_t i = 0; i < after.n; i++)
            survived += i != durable_at && after.p[i] == 'x';
    }
    EXPECT(survived > 0);
}

TEST(nothing_that_is_submitted_after_a_power_cut_reaches_the_disk)
{
    AUTO(io_mem) m = io_mem_open(1);
    AUTO(io_fault) f = io_fault_open(io_mem_io(m), 1);
    struct io *io = io_fault_io(f);
    struct io_file *file = NULL;
    struct io_queue *q = NULL;
    char x[] = "x";
    struct io_write w[16];
    EXPECT_OK(io->open(io, S("/f"), IO_WRITE | IO_CREATE, &file));
    EXPECT_OK(io->queue_open(io, COUNT_OF(w), &q));
    io_fault_power_off(f);
    for (size_t i = 0; i < COUNT_OF(w); i++) {
        w[i] = (struct io_write){ .file = file, .part = { x, 1 }, .at = i };
        EXPECT_OK(io->queue_submit(q, &w[i]));
    }
    io_fault_power_off(f);
    io->queue_close(q);
    io->close(file);
    AUTO(io_mem) later = io_mem_crash(m, (IoMemCrash){ .keep = IO_KEEP_ALL });
    EXPECT_STR(S(""), get(a, io_mem_io(later), S("/f")));
}

TEST(a_device_that_lies_loses_what_it_called_durable)
{
    AUTO(io_mem) m = io_mem_open(1);
    AUTO(io_fault) f = io_fault_open(io_mem_io(m), 1);
    io_fault_add(
        f, (IoFault){ .ops = IO_OP_SYNC | IO_OP_SYNC_DIR, .times = UINT64_MAX, .lies = true });
    EXPECT_OK(io_write_file(io_fault_io(f), a, S("/f"), S("x")));
    AUTO(io_mem) later = io_mem_crash(m, (IoMemCrash){ .keep = IO_KEEP_NONE });
    EXPECT(get(a, io_mem_io(later), S("/f")).p == NULL);
}

TEST(a_flipped_bit_stays_flipped)
{
    AUTO(io_mem) m = io_mem_open(1);
    struct io *io = io_mem_io(m);
    EXPECT_OK(io_write_file(io, a, S("/f"), S("abc")));
    EXPECT_OK(io_flip(io, S("/f"), 1, 0x20));
    EXPECT_STR(S("aBc"), get(a, io, S("/f")));
    EXPECT_ERR(ERR_INVALID, io_flip(io, S("/f"), 3, 1));
}

TEST(the_wall_clock_can_step_alone)
{
    AUTO(io_mem) m = io_mem_open(1);
    io_mem_set_clock(m, 1000, 10);
    AUTO(io_fault) f = io_fault_open(io_mem_io(m), 1);
    struct io *io = io_fault_io(f);
    io_fault_step_wall(f, -400);
    EXPECT(io->wall_ns(io) == 600 && io->mono_ns(io) == 10);
    io->sleep_ns(io, 5);
    EXPECT(io->wall_ns(io) == 605 && io->mono_ns(io) == 15);
}
