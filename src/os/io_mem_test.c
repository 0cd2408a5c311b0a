// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "os/io_mem.h"

#include <string.h>

enum { SEEDS = 200 };

static struct io_file *open_file(struct io *io, Str path, unsigned flags)
{
    struct io_file *f = NULL;
    EXPECT_OK(io->open(io, path, flags, &f));
    return f;
}

static void put(struct io *io, Str path, Str content, bool durable)
{
    struct io_file *f = open_file(io, path, IO_WRITE | IO_CREATE);
    EXPECT_OK(io->write(f, content.p, content.n, 0, durable));
    io->close(f);
}

// The content, or an absent string if there is no such file.
static Str get(struct arena *a, struct io *io, Str path)
{
    Str s = { 0 };
    Err e = io_read_file(io, a, path, 1 << 20, &s);
    EXPECT(e.kind == ERR_NONE || e.kind == ERR_NOT_FOUND);
    return s;
}

TEST(a_memory_disk_reads_what_was_written)
{
    AUTO(io_mem) m = io_mem_open(1);
    struct io *io = io_mem_io(m);
    EXPECT_OK(io->mkdir(io, S("/d")));
    EXPECT_OK(io->mkdir(io, S("d/"))); // the same one
    EXPECT_ERR(ERR_NOT_FOUND, io->mkdir(io, S("/x/y")));
    put(io, S("/d/f"), S("hello"), false);
    struct io_file *f = open_file(io, S("//d/./f"), IO_WRITE);
    EXPECT_OK(io->write(f, "end", 3, 10000, false));
    char p[16] = { 1 };
    size_t n = 0;
    EXPECT_OK(io->read(f, p, sizeof p, 9998, &n));
    EXPECT_STR(S("\0\0end"), str_from(p, n));
    EXPECT_OK(io->truncate(f, 2));
    EXPECT_OK(io->truncate(f, 4));
    EXPECT_STR(S("he\0\0"), get(a, io, S("/d/f")));
    EXPECT_ERR(ERR_INVALID, io->open(io, S("/d/../d/f"), IO_READ, &f));
    EXPECT_ERR(ERR_EXISTS, io->open(io, S("/d/f"), IO_WRITE | IO_CREATE | IO_EXCL, &f));
    io->close(f);
    f = open_file(io, S("/d/f"), IO_READ);
    EXPECT_ERR(ERR_IO, io->write(f, "x", 1, 0, false));
    io->close(f);
}

TEST(names_of_a_memory_disk_are_listed_renamed_and_unlinked)
{
    AUTO(io_mem) m = io_mem_open(1);
    struct io *io = io_mem_io(m);
    EXPECT_OK(io->mkdir(io, S("/d")));
    EXPECT_OK(io->mkdir(io, S("/d/sub")));
    put(io, S("/d/b"), S("b"), false);
    put(io, S("/d/a"), S("aaa"), false);
    put(io, S("/d/sub/deep"), S(""), false);
    IoName *names = NULL;
    size_t n = 0;
    EXPECT_OK(io->list(io, a, S("/d"), &names, &n));
    EXPECT_INT(3, n);
    EXPECT(str_eq(names[0].name, S("a")) && names[0].bytes == 3 && !names[0].is_dir);
    EXPECT(str_eq(names[2].name, S("sub")) && names[2].is_dir);
    EXPECT_OK(io->list(io, a, S("/"), &names, &n));
    EXPECT_INT(1, n);

    struct io_file *f = open_file(io, S("/d/b"), IO_READ);
    EXPECT_OK(io->rename(io, S("/d/a"), S("/d/b")));
    EXPECT_STR(S("aaa"), get(a, io, S("/d/b")));
    char c = 0;
    EXPECT_OK(io->read(f, &c, 1, 0, &n)); // the open file is the old one
    EXPECT(n == 1 && c == 'b');
    io->close(f);
    EXPECT_ERR(ERR_NOT_FOUND, io->rename(io, S("/d/a"), S("/d/b")));
    EXPECT_ERR(ERR_INVALID, io->rename(io, S("/d/sub"), S("/d/c")));
    EXPECT_OK(io->unlink(io, S("/d/b")));
    EXPECT_ERR(ERR_NOT_FOUND, io->unlink(io, S("/d/b")));
    EXPECT_ERR(ERR_IO, io->unlink(io, S("/d/sub")));
}

TEST(a_full_memory_disk_says_so_until_space_returns)
{
    AUTO(io_mem) m = io_mem_open(1);
    struct io *io = io_mem_io(m);
    io_mem_set_capacity(m, 10);
    put(io, S("/a"), S("1234567"), false);
    struct io_file *f = open_file(io, S("/b"), IO_WRITE | IO_CREATE);
    EXPECT_ERR(ERR_FULL, io->write(f, "1234", 4, 0, false));
    EXPECT_ERR(ERR_FULL, io->allocate(f, 4));
    EXPECT_OK(io->write(f, "123", 3, 0, false));
    uint64_t free_bytes = 1, total_bytes = 0;
    EXPECT_OK(io->space(io, S("/"), &free_bytes, &total_bytes));
    EXPECT(free_bytes == 0 && total_bytes == 10);
    EXPECT_OK(io->unlink(io, S("/a")));
    EXPECT_OK(io->write(f, "1234", 4, 3, false));
    io->close(f);
}

TEST(a_lock_on_a_memory_disk_excludes_others_and_ends_with_its_file)
{
    AUTO(io_mem) m = io_mem_open(1);
    struct io *io = io_mem_io(m);
    struct io_file *f = open_file(io, S("/f"), IO_WRITE | IO_CREATE);
    struct io_file *g = open_file(io, S("/f"), IO_WRITE);
    EXPECT_OK(io->lock(f));
    EXPECT_ERR(ERR_BUSY, io->lock(g));
    io->close(f);
    EXPECT_OK(io->lock(g));
    io->close(g);
}

// How often each of two outcomes was seen over many crashes; anything else fails the test.
static void tally(Str got, Str x, Str y, unsigned seen[2])
{
    EXPECT(str_eq(got, x) || str_eq(got, y));
    seen[str_eq(got, y)]++;
}

TEST(a_crash_keeps_what_was_synced_and_some_of_the_rest)
{
    unsigned seen[2] = { 0 };
    AUTO(io_mem) m = io_mem_open(1);
    struct io *io = io_mem_io(m);
    put(io, S("/f"), S("old"), false);
    struct io_file *f = open_file(io, S("/f"), IO_WRITE);
    EXPECT_OK(io->sync(f));
    EXPECT_OK(io->sync_dir(io, S("/")));
    EXPECT_OK(io->write(f, "new", 3, 0, false));
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        AUTO(io_mem) later = io_mem_crash(m, (IoMemCrash){ .seed = seed });
        tally(get(a, io_mem_io(later), S("/f")), S("old"), S("new"), seen);
    }
    EXPECT(seen[0] > 0 && seen[1] > 0);
    AUTO(io_mem) worst = io_mem_crash(m, (IoMemCrash){ .keep = IO_KEEP_NONE });
    EXPECT_STR(S("old"), get(a, io_mem_io(worst), S("/f")));
    AUTO(io_mem) killed = io_mem_crash(m, (IoMemCrash){ .keep = IO_KEEP_ALL });
    EXPECT_STR(S("new"), get(a, io_mem_io(killed), S("/f")));
    EXPECT_OK(io->sync(f));
    AUTO(io_mem) synced = io_mem_crash(m, (IoMemCrash){ .keep = IO_KEEP_NONE });
    EXPECT_STR(S("new"), get(a, io_mem_io(synced), S("/f")));
    io->close(f);
}

TEST(a_durable_write_is_there_after_every_crash_and_only_it)
{
    AUTO(io_mem) m = io_mem_open(1);
    struct io *io = io_mem_io(m);
    put(io, S("/f"), S("________"), true);
    EXPECT_OK(io->sync_dir(io, S("/")));
    struct io_file *f = open_file(io, S("/f"), IO_WRITE);
    EXPECT_OK(io->write(f, "AAAA", 4, 0, false));
    EXPECT_OK(io->write(f, "BB", 2, 2, true));
    AUTO(io_mem) worst = io_mem_crash(m, (IoMemCrash){ .keep = IO_KEEP_NONE });
    EXPECT_STR(S("__BB____"), get(a, io_mem_io(worst), S("/f")));
    EXPECT_OK(io->write(f, "end", 3, 8, true));
    AUTO(io_mem) longer = io_mem_crash(m, (IoMemCrash){ .keep = IO_KEEP_NONE });
    EXPECT_STR(S("__BB____end"), get(a, io_mem_io(longer), S("/f")));
    io->close(f);
}

TEST(a_torn_write_keeps_any_of_its_sectors)
{
    AUTO(io_mem) m = io_mem_open(1);
    struct io *io = io_mem_io(m);
    char *old = memset(arena_new(a, char, 8192), 'o', 8192);
    char *new = memset(arena_new(a, char, 8192), 'n', 8192);
    put(io, S("/f"), str_from(old, 8192), true);
    EXPECT_OK(io->sync_dir(io, S("/")));
    put(io, S("/f"), str_from(new, 8192), false);
    unsigned seen[4] = { 0 }, halves = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        AUTO(io_mem) later = io_mem_crash(m, (IoMemCrash){ .seed = seed });
        Str got = get(a, io_mem_io(later), S("/f"));
        EXPECT_INT(8192, got.n);
        EXPECT(got.p[0] == got.p[4095] && got.p[4096] == got.p[8191]);
        seen[(got.p[0] == 'n') * 2 + (got.p[4096] == 'n')]++;
        AUTO(io_mem) fine = io_mem_crash(m, (IoMemCrash){ .seed = seed, .sector_bytes = 512 });
        got = get(a, io_mem_io(fine), S("/f"));
        halves += got.p[0] != got.p[4095];
    }
    EXPECT(seen[0] > 0 && seen[1] > 0 && seen[2] > 0 && seen[3] > 0 && halves > 0);
}

TEST(names_survive_a_crash_only_after_sync_dir_and_in_order)
{
    AUTO(io_mem) m = io_mem_open(1);
    struct io *io = io_mem_io(m);
    put(io, S("/a"), S("a"), true);
    put(io, S("/b"), S("b"), true);
    AUTO(io_mem) worst = io_mem_crash(m, (IoMemCrash){ .keep = IO_KEEP_NONE });
    EXPECT(get(a, io_mem_io(worst), S("/a")).p == NULL);
    unsigned both = 0, none = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        AUTO(io_mem) later = io_mem_crash(m, (IoMemCrash){ .seed = seed });
        bool has_a = get(a, io_mem_io(later), S("/a")).p != NULL;
        bool has_b = get(a, io_mem_io(later), S("/b")).p != NULL;
        EXPECT(has_a || !has_b);
        both += has_b;
        none += !has_a;
    }
    EXPECT(both > 0 && none > 0);

    EXPECT_OK(io->sync_dir(io, S("/")));
    EXPECT_OK(io->rename(io, S("/a"), S("/b")));
    unsigned seen[2] = { 0 };
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        AUTO(io_mem) later = io_mem_crash(m, (IoMemCrash){ .seed = seed });
        Str got = get(a, io_mem_io(later), S("/b"));
        tally(got, S("b"), S("a"), seen);
        EXPECT((get(a, io_mem_io(later), S("/a")).p != NULL) == str_eq(got, S("b")));
    }
    EXPECT(seen[0] > 0 && seen[1] > 0);
}

TEST(a_directory_that_was_not_synced_takes_its_files_along)
{
    AUTO(io_mem) m = io_mem_open(1);
    struct io *io = io_mem_io(m);
    EXPECT_OK(io->mkdir(io, S("/d")));
    put(io, S("/d/f"), S("x"), true);
    EXPECT_OK(io->sync_dir(io, S("/d")));
    AUTO(io_mem) worst = io_mem_crash(m, (IoMemCrash){ .keep = IO_KEEP_NONE });
    EXPECT(get(a, io_mem_io(worst), S("/d/f")).p == NULL);
    EXPECT_OK(io->sync_dir(io, S("/")));
    AUTO(io_mem) synced = io_mem_crash(m, (IoMemCrash){ .keep = IO_KEEP_NONE });
    EXPECT_STR(S("x"), get(a, io_mem_io(synced), S("/d/f")));
}

TEST(writing_a_small_file_is_atomic_over_crashes)
{
    unsigned seen[2] = { 0 };
    AUTO(io_mem) m = io_mem_open(1);
    struct io *io = io_mem_io(m);
    EXPECT_OK(io_write_file(io, a, S("/f"), S("first")));
    put(io, S("/f.new"), S("remains of an earlier try"), false);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        AUTO(io_mem) later = io_mem_crash(m, (IoMemCrash){ .seed = seed });
        struct io *after = io_mem_io(later);
        EXPECT_STR(S("first"), get(a, after, S("/f")));
        EXPECT_OK(io_write_file(after, a, S("/f"), S("second")));
        AUTO(io_mem) last = io_mem_crash(later, (IoMemCrash){ .keep = IO_KEEP_NONE });
        tally(get(a, io_mem_io(last), S("/f")), S("first"), S("second"), seen);
    }
    EXPECT_INT(SEEDS, seen[1]); // it had returned, so it is durable
}

TEST(what_a_broken_sync_has_lost_only_a_new_write_brings_back)
{
    AUTO(io_mem) m = io_mem_open(1);
    struct io *io = io_mem_io(m);
    put(io, S("/f"), S("old"), true);
    EXPECT_OK(io->sync_dir(io, S("/")));
    struct io_file *f = open_file(io, S("/f"), IO_WRITE);
    EXPECT_OK(io->write(f, "new", 3, 0, false));
    io_mem_break_sync(m, 0);
    EXPECT(!io_mem_sync_is_broken(m));
    EXPECT_ERR(ERR_IO, io->sync(f));
    EXPECT(io_mem_sync_is_broken(m));
    EXPECT_OK(io->sync(f)); // succeeds, and means nothing
    EXPECT_STR(S("new"), get(a, io, S("/f")));
    struct io_file *direct = open_file(io, S("/f"), IO_READ | IO_DIRECT);
    char got[4];
    size_t n = 0;
    EXPECT_OK(io->read(direct, got, sizeof got, 0, &n));
    EXPECT_STR(S("old"), str_from(got, n));
    AUTO(io_mem) lost = io_mem_crash(m, (IoMemCrash){ .keep = IO_KEEP_NONE });
    EXPECT_STR(S("old"), get(a, io_mem_io(lost), S("/f")));
    EXPECT_OK(io->write(f, "new", 3, 0, false));
    EXPECT_OK(io->sync(f));
    AUTO(io_mem) kept = io_mem_crash(m, (IoMemCrash){ .keep = IO_KEEP_NONE });
    EXPECT_STR(S("new"), get(a, io_mem_io(kept), S("/f")));
    EXPECT_OK(io->read(direct, got, sizeof got, 0, &n));
    EXPECT_STR(S("new"), str_from(got, n));
    io->close(direct);
    io->close(f);
}

TEST(a_set_clock_moves_only_when_told)
{
    AUTO(io_mem) m = io_mem_open(1);
    struct io *io = io_mem_io(m);
    EXPECT(io->wall_ns(io) > INT64_C(1700000000) * NS_PER_S);
    io_mem_set_clock(m, 1000, 50);
    EXPECT(io->wall_ns(io) == 1000 && io->mono_ns(io) == 50);
    io->sleep_ns(io, 3600 * NS_PER_S);
    EXPECT(io->wall_ns(io) == 1000 + 3600 * NS_PER_S && io->mono_ns(io) == 50 + 3600 * NS_PER_S);
    io_mem_step_wall(m, -1000);
    EXPECT(io->wall_ns(io) == 3600 * NS_PER_S && io->mono_ns(io) == 50 + 3600 * NS_PER_S);
}

TEST(the_same_seed_gives_the_same_randomness)
{
    unsigned char p[3][20] = { { 0 } };
    for (int i = 0; i < 3; i++) {
        AUTO(io_mem) m = io_mem_open(i < 2 ? 7 : 8);
        io_mem_io(m)->random(io_mem_io(m), p[i], sizeof p[i]);
    }
    EXPECT(memcmp(p[0], p[1], sizeof p[0]) == 0 && memcmp(p[0], p[2], sizeof p[0]) != 0);
}

TEST(a_memory_queue_makes_each_write_durable_when_it_ends)
{
    AUTO(io_mem) m = io_mem_open(3);
    struct io *io = io_mem_io(m);
    struct io_file *f = open_file(io, S("/f"), IO_WRITE | IO_CREATE);
    EXPECT_OK(io->sync_dir(io, S("/")));
    struct io_queue *q = NULL;
    EXPECT_OK(io->queue_open(io, 2, &q));
    char x[] = "x", y[] = "y";
    struct io_write w[3] = { { f, { x, 1 }, 0, OK, x }, { f, { y, 1 }, 1, OK, y }, { f } };
    EXPECT_OK(io->queue_submit(q, &w[0]));
    EXPECT_OK(io->queue_submit(q, &w[1]));
    EXPECT_ERR(ERR_LIMIT, io->queue_submit(q, &w[2]));
    AUTO(io_mem) early = io_mem_crash(m, (IoMemCrash){ .keep = IO_KEEP_NONE });
    EXPECT_STR(S(""), get(a, io_mem_io(early), S("/f")));
    for (int i = 0; i < 2; i++) {
        struct io_write *got = NULL;
        EXPECT_OK(io->queue_wait(q, &got));
        EXPECT_OK(got->result);
    }
    AUTO(io_mem) late = io_mem_crash(m, (IoMemCrash){ .keep = IO_KEEP_NONE });
    EXPECT_STR(S("xy"), get(a, io_mem_io(late), S("/f")));
    io->queue_close(q);
    io->close(f);
}
