// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "os/io_priv.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static Str in_dir(struct arena *a, const char *name)
{
    return str_cat3(a, test_dir(a), S("/"), str_of(name));
}

static struct io_file *open_new(struct arena *a, const char *name)
{
    struct io_file *f = NULL;
    EXPECT_OK(io_real()->open(io_real(), in_dir(a, name), IO_WRITE | IO_CREATE | IO_EXCL, &f));
    return f;
}

TEST(what_is_written_is_read_back_and_reads_end_at_the_end)
{
    struct io *io = io_real();
    struct io_file *f = open_new(a, "f");
    EXPECT_OK(io->write(f, "hello", 5, 0, false));
    EXPECT_OK(io->write(f, "world", 5, 5, true));
    char p[32] = { 0 };
    size_t n = 0;
    EXPECT_OK(io->read(f, p, sizeof p, 3, &n));
    EXPECT_STR(S("loworld"), str_from(p, n));
    EXPECT_OK(io->read(f, p, sizeof p, 100, &n));
    EXPECT_INT(0, n);
    uint64_t bytes = 0;
    EXPECT_OK(io->size(f, &bytes));
    EXPECT_INT(10, bytes);
    EXPECT_OK(io->truncate(f, 4));
    EXPECT_OK(io->sync(f));
    EXPECT_OK(io->size(f, &bytes));
    EXPECT_INT(4, bytes);
    EXPECT_OK(io->allocate(f, 100000));
    EXPECT_OK(io->size(f, &bytes));
    EXPECT_INT(100000, bytes);
    io->close(f);
}

TEST(a_durable_write_works_without_data_sync_writes)
{
    struct io *io = io_real();
    struct io_file *f = open_new(a, "f");
    real_allow_dsync(false);
    Err e = io->write(f, "hello", 5, 0, true);
    real_allow_dsync(true);
    EXPECT_OK(e);
    char p[8] = { 0 };
    size_t n = 0;
    EXPECT_OK(io->read(f, p, sizeof p, 0, &n));
    EXPECT_STR(S("hello"), str_from(p, n));
    io->close(f);
    EXPECT_OK(io->open(io, S("/dev/full"), IO_WRITE, &f));
    real_allow_dsync(false);
    e = io->write(f, "x", 1, 0, true);
    real_allow_dsync(true);
    EXPECT_ERR(ERR_FULL, e);
    io->close(f);
}

TEST(a_file_that_is_kept_once_has_one_copy_and_nothing_to_be_mended_from)
{
    struct io *io = io_real();
    struct io_file *f = open_new(a, "f");
    EXPECT_OK(io->write(f, "hello", 5, 0, false));
    char p[8] = { 0 };
    size_t n = 0;
    EXPECT_INT(1, io->copies(f));
    EXPECT_OK(io->read_copy(f, 0, p, sizeof p, 1, &n));
    EXPECT_STR(S("ello"), str_from(p, n));
    EXPECT_ERR(ERR_INVALID, io->read_copy(f, 1, p, sizeof p, 0, &n));
    EXPECT_ERR(ERR_INVALID, io->mend(f, "j", 1, 0));
    io->close(f);
}

TEST(opening_tells_absent_present_and_impossible_apart)
{
    struct io *io = io_real();
    struct io_file *f = NULL;
    EXPECT_ERR(ERR_NOT_FOUND, io->open(io, in_dir(a, "f"), IO_READ, &f));
    EXPECT_ERR(ERR_NOT_FOUND, io->open(io, in_dir(a, "f"), IO_WRITE, &f));
    io->close(open_new(a, "f"));
    EXPECT_ERR(ERR_EXISTS, io->open(io, in_dir(a, "f"), IO_WRITE | IO_CREATE | IO_EXCL, &f));
    EXPECT_ERR(ERR_INVALID, io->open(io, S(""), IO_READ, &f));
    EXPECT_ERR(ERR_INVALID, io->open(io, S("a\0b"), IO_READ, &f));
    char *name = memset(arena_new(a, char, 5000), 'x', 5000);
    EXPECT_ERR(ERR_LIMIT, io->open(io, str_from(name, 5000), IO_READ, &f));
    EXPECT(f == NULL);
    EXPECT_OK(io->open(io, in_dir(a, "f"), IO_READ, &f));
    EXPECT_ERR(ERR_IO, io->write(f, "x", 1, 0, false)); // opened for reading only
    io->close(f);
}

TEST(a_full_device_is_told_as_full)
{
    struct io *io = io_real();
    struct io_file *f = NULL;
    EXPECT_OK(io->open(io, S("/dev/full"), IO_WRITE, &f));
    EXPECT_ERR(ERR_FULL, io->write(f, "x", 1, 0, false));
    io->close(f);
}

TEST(a_lock_excludes_a_second_open_of_the_file)
{
    struct io *io = io_real();
    struct io_file *f = open_new(a, "f");
    struct io_file *g = NULL;
    EXPECT_OK(io->open(io, in_dir(a, "f"), IO_WRITE, &g));
    EXPECT_OK(io->lock(f));
    EXPECT_OK(io->lock(f));
    EXPECT_ERR(ERR_BUSY, io->lock(g));
    io->close(f);
    EXPECT_OK(io->lock(g));
    io->close(g);
}

TEST(names_are_listed_in_order_with_their_kinds)
{
    struct io *io = io_real();
    struct io_file *f = open_new(a, "b");
    EXPECT_OK(io->write(f, "123", 3, 0, false));
    io->close(f);
    io->close(open_new(a, "c"));
    EXPECT_OK(io->mkdir(io, in_dir(a, "a")));
    EXPECT_OK(io->mkdir(io, in_dir(a, "a")));
    EXPECT_ERR(ERR_EXISTS, io->mkdir(io, in_dir(a, "b")));
    EXPECT_ERR(ERR_NOT_FOUND, io->mkdir(io, in_dir(a, "x/y")));

    IoName *names = NULL;
    size_t n = 0;
    EXPECT_OK(io->list(io, a, test_dir(a), &names, &n));
    EXPECT_INT(3, n);
    EXPECT(names[0].is_dir && str_eq(names[0].name, S("a")));
    EXPECT(!names[1].is_dir && str_eq(names[1].name, S("b")) && names[1].bytes == 3);
    EXPECT_STR(S("c"), names[2].name);

    EXPECT_OK(io->rename(io, in_dir(a, "c"), in_dir(a, "b")));
    EXPECT_ERR(ERR_NOT_FOUND, io->rename(io, in_dir(a, "c"), in_dir(a, "b")));
    EXPECT_OK(io->sync_dir(io, test_dir(a)));
    EXPECT_OK(io->unlink(io, in_dir(a, "b")));
    EXPECT_ERR(ERR_NOT_FOUND, io->unlink(io, in_dir(a, "b")));
    EXPECT_OK(io->list(io, a, in_dir(a, "a"), &names, &n));
    EXPECT_INT(0, n);
    EXPECT_ERR(ERR_NOT_FOUND, io->list(io, a, in_dir(a, "x"), &names, &n));
}

TEST(a_small_file_is_replaced_whole_and_read_up_to_a_limit)
{
    struct io *io = io_real();
    EXPECT_OK(io_write_file(io, a, in_dir(a, "f"), S("first, which is longer")));
    EXPECT_OK(io_write_file(io, a, in_dir(a, "f"), S("second")));
    Str got = { 0 };
    EXPECT_OK(io_read_file(io, a, in_dir(a, "f"), 6, &got));
    EXPECT_STR(S("second"), got);
    EXPECT_ERR(ERR_LIMIT, io_read_file(io, a, in_dir(a, "f"), 5, &got));
    EXPECT_ERR(ERR_NOT_FOUND, io_read_file(io, a, in_dir(a, "g"), 5, &got));
    EXPECT_ERR(ERR_NOT_FOUND, io_write_file(io, a, in_dir(a, "x/f"), S("")));
    IoName *names = NULL;
    size_t n = 0;
    EXPECT_OK(io->list(io, a, test_dir(a), &names, &n));
    EXPECT_INT(1, n); // nothing was left aside
}

TEST(direct_files_are_read_to_their_odd_end)
{
    struct io *io = io_real();
    struct io_file *f = open_new(a, "f");
    EXPECT_OK(io->write(f, "tail", 4, IO_ALIGN_BYTES, false));
    io->close(f);
    Err e = io->open(io, in_dir(a, "f"), IO_READ | IO_DIRECT, &f);
    if (e.kind == ERR_INVALID)
        return; // this filesystem has no direct I/O
    EXPECT_OK(e);
    char *p = aligned_alloc(IO_ALIGN_BYTES, 4 * IO_ALIGN_BYTES);
    size_t n = 0;
    EXPECT_OK(io->read(f, p, 4 * IO_ALIGN_BYTES, 0, &n));
    EXPECT_INT(IO_ALIGN_BYTES + 4, n);
    EXPECT_STR(S("tail"), str_from(p + IO_ALIGN_BYTES, 4));
    free(p);
    io->close(f);
}

TEST(clocks_randomness_and_space_are_there)
{
    struct io *io = io_real();
    int64_t before = io->mono_ns(io);
    io->sleep_ns(io, NS_PER_MS);
    EXPECT(io->mono_ns(io) - before >= NS_PER_MS);
    EXPECT(io->wall_ns(io) > INT64_C(1700000000) * NS_PER_S);
    unsigned char p[64] = { 0 }, q[64] = { 0 };
    io->random(io, p, sizeof p);
    io->random(io, q, sizeof q);
    EXPECT(memcmp(p, q, sizeof p) != 0);
    uint64_t free_bytes = 0, total_bytes = 0;
    EXPECT_OK(io->space(io, test_dir(a), &free_bytes, &total_bytes));
    EXPECT(free_bytes <= total_bytes && total_bytes > 0);
}

// ---- The queue, both kinds

enum { DEPTH = 4, WRITES = 200, BLOCK_BYTES = 4096 };

static struct io_queue *queue_of(bool uring)
{
    struct io *io = io_real();
    struct io_queue *q = NULL;
    io_allow_uring(uring);
    EXPECT_OK(io->queue_open(io, DEPTH, &q));
    io_allow_uring(true);
    if (!uring)
        EXPECT_STR(S("pwritev2"), str_of(io->queue_kind(q)));
    return q;
}

static void fill_through(struct arena *a, bool uring, const char *name)
{
    struct io *io = io_real();
    struct io_queue *q = queue_of(uring);
    struct io_file *f = open_new(a, name);
    struct io_write *writes = arena_new(a, struct io_write, WRITES);
    unsigned under_way = 0, ended = 0;
    for (unsigned i = 0; ended < WRITES;) {
        if (i < WRITES && under_way < DEPTH) {
            char *p = arena_new(a, char, BLOCK_BYTES);
            memset(p, (int)('a' + i % 26), BLOCK_BYTES);
            writes[i] = (struct io_write){ .file = f,
                                           .part = { p, BLOCK_BYTES },
                                           .at = (uint64_t)i * BLOCK_BYTES };
            EXPECT_OK(io->queue_submit(q, &writes[i++]));
            under_way++;
            continue;
        }
        struct io_write *w = NULL;
        EXPECT_OK(io->queue_wait(q, &w));
        EXPECT_OK(w->result);
        EXPECT(w->owner == NULL);
        w->owner = w; // returned once
        under_way--;
        ended++;
    }
    io->queue_close(q);
    char *p = arena_new(a, char, BLOCK_BYTES);
    for (unsigned i = 0; i < WRITES; i++) {
        size_t n = 0;
        EXPECT_OK(io->read(f, p, BLOCK_BYTES, (uint64_t)i * BLOCK_BYTES, &n));
        EXPECT(n == BLOCK_BYTES && p[0] == (char)('a' + i % 26) && p[0] == p[n - 1]);
    }
    io->close(f);
}

TEST(both_queues_write_everything_once)
{
    fill_through(a, true, "uring");
    fill_through(a, false, "threads");
}

static void overfill(struct arena *a, bool uring, const char *name)
{
    struct io *io = io_real();
    struct io_queue *q = queue_of(uring);
    struct io_file *f = open_new(a, name);
    struct io_write writes[DEPTH + 1];
    for (unsigned i = 0; i <= DEPTH; i++) {
        writes[i] = (struct io_write){ .file = f, .part = { (void *)(uintptr_t) "x", 1 }, .at = i };
        if (i < DEPTH)
            EXPECT_OK(io->queue_submit(q, &writes[i]));
    }
    EXPECT_ERR(ERR_LIMIT, io->queue_submit(q, &writes[DEPTH]));
    struct io_write *w = NULL;
    EXPECT_OK(io->queue_wait(q, &w));
    EXPECT_OK(io->queue_submit(q, &writes[DEPTH]));
    io->queue_close(q); // waits for the rest
    uint64_t bytes = 0;
    EXPECT_OK(io->size(f, &bytes));
    EXPECT_INT(DEPTH + 1, bytes);
    io->close(f);
}

TEST(both_queues_refuse_more_than_their_depth_and_finish_at_close)
{
    overfill(a, true, "uring");
    overfill(a, false, "threads");
}

static void fail_a_write(bool uring)
{
    struct io *io = io_real();
    struct io_queue *q = queue_of(uring);
    struct io_file *f = NULL;
    EXPECT_OK(io->open(io, S("/dev/full"), IO_WRITE, &f));
    struct io_write w = { .file = f, .part = { (void *)(uintptr_t) "x", 1 } };
    struct io_write *got = NULL;
    EXPECT_OK(io->queue_submit(q, &w));
    EXPECT_OK(io->queue_wait(q, &got));
    EXPECT(got == &w);
    EXPECT_ERR(ERR_FULL, w.result);
    io->queue_close(q);
    io->close(f);
}

TEST(both_queues_report_the_error_of_a_write)
{
    fail_a_write(true);
    fail_a_write(false);
}

// A file may not grow over one block: a write of two ends in its middle, and what follows fails.
static void cut_a_write(struct arena *a, bool uring, const char *name)
{
    struct io *io = io_real();
    struct io_queue *q = queue_of(uring);
    struct io_file *f = open_new(a, name);
    char *p = memset(arena_new(a, char, 2 * BLOCK_BYTES), 'x', 2 * BLOCK_BYTES);
    struct io_write w = { .file = f, .part = { p, 2 * BLOCK_BYTES } };
    struct io_write *got = NULL;
    struct rlimit before, limit;
    EXPECT(getrlimit(RLIMIT_FSIZE, &before) == 0);
    limit = (struct rlimit){ .rlim_cur = BLOCK_BYTES, .rlim_max = before.rlim_max };
    void (*old)(int) = signal(SIGXFSZ, SIG_IGN);
    EXPECT(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    Err submitted = io->queue_submit(q, &w);
    Err waited = submitted.kind == ERR_NONE ? io->queue_wait(q, &got) : submitted;
    EXPECT(setrlimit(RLIMIT_FSIZE, &before) == 0);
    signal(SIGXFSZ, old);
    EXPECT_OK(waited);
    EXPECT_ERR(ERR_IO, w.result);
    EXPECT_INT(EFBIG, w.result.os);
    uint64_t bytes = 0;
    EXPECT_OK(io->size(f, &bytes));
    EXPECT_INT(BLOCK_BYTES, bytes);
    io->queue_close(q);
    io->close(f);
}

TEST(both_queues_go_on_after_a_short_write)
{
    cut_a_write(a, true, "uring");
    cut_a_write(a, false, "threads");
}

TEST(a_queue_has_a_depth_with_limits)
{
    struct io_queue *q = NULL;
    EXPECT_ERR(ERR_INVALID, io_real()->queue_open(io_real(), 0, &q));
    EXPECT_ERR(ERR_INVALID, io_real()->queue_open(io_real(), 100000, &q));
    io_real()->queue_close(NULL);
}

struct waiter {
    struct io_queue *q;
    unsigned ended;
};

static void *wait_for_all(void *p)
{
    struct waiter *waiter = p;
    while (waiter->ended < WRITES) {
        struct io_write *w = NULL;
        if (io_real()->queue_wait(waiter->q, &w).kind != ERR_NONE || w->result.kind != ERR_NONE)
            break;
        waiter->ended++;
    }
    return NULL;
}

static void submit_beside_a_waiter(struct arena *a, bool uring, const char *name)
{
    struct io *io = io_real();
    struct waiter waiter = { .q = queue_of(uring) };
    struct io_file *f = open_new(a, name);
    struct io_write *writes = arena_new(a, struct io_write, WRITES);
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, wait_for_all, &waiter) == 0);
    for (unsigned i = 0; i < WRITES;) {
        writes[i] = (struct io_write){ .file = f, .part = { &writes[0], 64 }, .at = i * 64 };
        Err e = io->queue_submit(waiter.q, &writes[i]);
        if (e.kind == ERR_NONE)
            i++;
        else
            EXPECT_ERR(ERR_LIMIT, e);
    }
    pthread_join(thread, NULL);
    EXPECT_INT(WRITES, waiter.ended);
    io->queue_close(waiter.q);
    io->close(f);
}

struct submitter {
    struct io_queue *q;
    struct io_write *writes; // DEPTH of them
};

static void *submit_and_end(void *p)
{
    struct submitter *s = p;
    for (unsigned i = 0; i < DEPTH; i++)
        if (io_real()->queue_submit(s->q, &s->writes[i]).kind != ERR_NONE)
            return p;
    return NULL;
}

static void submit_from_an_ending_thread(struct arena *a, bool uring, const char *name)
{
    struct io *io = io_real();
    struct io_queue *q = queue_of(uring);
    struct io_file *f = open_new(a, name);
    char *p = memset(arena_new(a, char, BLOCK_BYTES), 'x', BLOCK_BYTES);
    for (unsigned round = 0; round < 20; round++) {
        struct io_write writes[DEPTH];
        for (unsigned i = 0; i < DEPTH; i++)
            writes[i] = (struct io_write){ .file = f,
                                           .part = { p, BLOCK_BYTES },
                                           .at = (uint64_t)i * BLOCK_BYTES };
        struct submitter submitter = { q, writes };
        pthread_t thread;
        void *refused = NULL;
        EXPECT(pthread_create(&thread, NULL, submit_and_end, &submitter) == 0);
        pthread_join(thread, &refused);
        EXPECT(refused == NULL);
        for (unsigned i = 0; i < DEPTH; i++) {
            struct io_write *w = NULL;
            EXPECT_OK(io->queue_wait(q, &w));
            EXPECT_OK(w->result);
        }
    }
    io->queue_close(q);
    io->close(f);
}

TEST(a_write_outlives_the_thread_that_submitted_it)
{
    submit_from_an_ending_thread(a, true, "uring");
    submit_from_an_ending_thread(a, false, "threads");
}

TEST(one_thread_submits_while_another_waits)
{
    submit_beside_a_waiter(a, true, "uring");
    submit_beside_a_waiter(a, false, "threads");
}
