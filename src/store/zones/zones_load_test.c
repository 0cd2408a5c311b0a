// SPDX-License-Identifier: Apache-2.0
// Zones that come and go while others write, and power cuts.
#include "store/zones/zones_test_help.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGE_BYTES = 4096,
    PAGES = 700, // more than two pieces
    NAMES = 8,
    ROUNDS = 9,
    CRASH_ROUNDS = 60,
    SLOTS_MAX = 400,
};

// The SplitMix64 generator.
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t below(uint64_t *state, uint64_t n)
{
    return next_random(state) % n;
}

// ---- Load

struct writer {
    struct io *io;
    atomic_bool stop;
    atomic_uint rounds;
    uint64_t random;
    char *model; // what the file must hold
    size_t model_bytes;
};

static void fill_page(char *p, uint64_t number)
{
    for (size_t i = 0; i < PAGE_BYTES; i += sizeof number)
        memcpy(p + i, &number, sizeof number);
}

// A file that changes everywhere, grows and shrinks, as a database does.
static void *write_pages(void *arg)
{
    struct writer *w = arg;
    struct io *io = w->io;
    struct io_file *f = NULL;
    char page[PAGE_BYTES];
    EXPECT_OK(io->open(io, S("/data/pages"), IO_WRITE | IO_CREATE, &f));
    EXPECT_OK(io->lock(f));
    w->model = xalloc((size_t)PAGES * PAGE_BYTES);
    while (!atomic_load(&w->stop)) {
        uint64_t i = below(&w->random, PAGES);
        if (below(&w->random, 50) == 0) {
            EXPECT_OK(io->truncate(f, i * PAGE_BYTES));
            memset(w->model + i * PAGE_BYTES, 0, (PAGES - i) * PAGE_BYTES);
            w->model_bytes = (size_t)i * PAGE_BYTES;
        } else {
            fill_page(page, next_random(&w->random));
            EXPECT_OK(io->write(f, page, PAGE_BYTES, i * PAGE_BYTES, i % 2 == 0));
            memcpy(w->model + i * PAGE_BYTES, page, PAGE_BYTES);
            w->model_bytes = MAX(w->model_bytes, (size_t)(i + 1) * PAGE_BYTES);
        }
        if (i % 16 == 0)
            EXPECT_OK(io->sync(f));
        uint64_t bytes = 0;
        size_t n = 0;
        EXPECT_OK(io->size(f, &bytes));
        EXPECT_INT(w->model_bytes, bytes);
        EXPECT_OK(io->read(f, page, PAGE_BYTES, i * PAGE_BYTES, &n));
        EXPECT(memcmp(page, w->model + i * PAGE_BYTES, n) == 0);
        atomic_fetch_add(&w->rounds, 1);
    }
    io->close(f);
    return NULL;
}

// A file that is written through a queue and renamed when it is full, as a journal is.
static void *write_queue(void *arg)
{
    struct writer *w = arg;
    struct io *io = w->io;
    struct io_queue *q = NULL;
    char pages[4][PAGE_BYTES];
    EXPECT_OK(io->queue_open(io, 4, &q));
    for (unsigned round = 0; !atomic_load(&w->stop); round++) {
        struct io_file *f = NULL;
        EXPECT_OK(io->open(io, S("/data/next"), IO_WRITE | IO_CREATE | IO_TRUNC, &f));
        if (round % 2 == 0)
            EXPECT_OK(io->rename(io, S("/data/next"), S("/data/current")));
        for (uint64_t at = 0; at < PAGES / 4 && !atomic_load(&w->stop); at += 4) {
            struct io_write writes[4], *done;
            for (size_t k = 0; k < 4; k++) {
                fill_page(pages[k], next_random(&w->random));
                writes[k] = (struct io_write){ .file = f,
                                               .part = { pages[k], PAGE_BYTES },
                                               .at = (at + k) * PAGE_BYTES };
                EXPECT_OK(io->queue_submit(q, &writes[k]));
            }
            for (size_t k = 0; k < 4; k++) {
                EXPECT_OK(io->queue_wait(q, &done));
                EXPECT_OK(done->result);
            }
            atomic_fetch_add(&w->rounds, 1);
        }
        if (round % 2 == 1)
            EXPECT_OK(io->rename(io, S("/data/next"), S("/data/current")));
        io->close(f);
    }
    io->queue_close(q);
    return NULL;
}

// Small files and containers that come, are replaced and go.
static void *write_names(void *arg)
{
    struct writer *w = arg;
    struct io *io = w->io;
    AUTO(arena) tmp = arena_open();
    EXPECT_OK(io->mkdir(io, S("/data/names")));
    for (unsigned round = 0; !atomic_load(&w->stop); round++) {
        ArenaMark mark = arena_mark(tmp);
        uint64_t i = below(&w->random, NAMES);
        // A container never gets a name again that another had.
        uint64_t number = i % 2 == 0 ? i : round;
        Str path = str_fmt(tmp, i % 2 == 0 ? "/data/names/%llu" : "/data/names/%llu.hrc",
                           (unsigned long long)number);
        size_t n = (size_t)below(&w->random, 3 * PAGE_BYTES);
        EXPECT_OK(io_write_file(io, tmp, path, trio_content(tmp, n, round)));
        if (below(&w->random, 3) != 0) {
            EXPECT_OK(io->unlink(io, path));
            EXPECT_OK(io->sync_dir(io, S("/data/names")));
        }
        atomic_fetch_add(&w->rounds, 1);
        arena_rewind(tmp, mark);
    }
    return NULL;
}

static void wait_rounds(struct writer *w, unsigned more)
{
    unsigned until = atomic_load(&w->rounds) + more;
    while (atomic_load(&w->rounds) < until)
        io_real()->sleep_ns(io_real(), NS_PER_MS);
}

TEST(a_zone_that_returns_is_repaired_while_writes_go_on)
{
    static void *(*const runs[])(void *) = { write_pages, write_queue, write_names };
    struct trio r;
    struct writer writers[COUNT_OF(runs)] = { 0 };
    pthread_t threads[COUNT_OF(runs)];
    trio_init(&r);
    EXPECT_OK(trio_open(&r, a));
    trio_fill(&r, a);
    for (size_t i = 0; i < COUNT_OF(runs); i++) {
        writers[i].io = r.io;
        writers[i].random = i;
        EXPECT_INT(0, pthread_create(&threads[i], NULL, runs[i], &writers[i]));
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned bad = round % ZONES;
        for (size_t i = 0; i < COUNT_OF(runs); i++)
            wait_rounds(&writers[i], 3);
        io_fault_power_off(r.faults[bad]);
        trio_wait_state(&r, bad, ZONE_FENCED);
        wait_rounds(&writers[0], 5);
        io_fault_clear(r.faults[bad]);
        trio_repair(&r, bad);
    }
    for (size_t i = 0; i < COUNT_OF(runs); i++)
        atomic_store(&writers[i].stop, true);
    for (size_t i = 0; i < COUNT_OF(runs); i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < ZONES; i++)
        EXPECT_INT(ZONE_MEMBER, trio_state_of(&r, i));
    trio_expect_same(&r, a);
    Str pages = trio_in_zone(&r, a, 2, "pages");
    EXPECT_INT(writers[0].model_bytes, pages.n);
    EXPECT(memcmp(writers[0].model, pages.p, pages.n) == 0);
    free(writers[0].model);
    trio_done(&r);
}

// ---- Power cuts

// A log of numbered pages, each durable before the next one is written.
static Err verify_log(void *self, struct io *io, Str dir, uint64_t *ret_score)
{
    (void)self;
    AUTO(arena) tmp = arena_open();
    Str s = S("");
    Err e = io_read_file(io, tmp, str_cat(tmp, dir, S("/log")), 64 << 20, &s);
    if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
        return e;
    uint64_t n = 0;
    char page[PAGE_BYTES];
    while ((n + 1) * PAGE_BYTES <= s.n) {
        fill_page(page, n + 1);
        if (memcmp(page, s.p + n * PAGE_BYTES, PAGE_BYTES) != 0)
            break;
        n++;
    }
    *ret_score = n;
    return OK;
}

// Writes until the disks fail; returns what was acknowledged.
static uint64_t append_until_off(struct trio *r, uint64_t from)
{
    struct io *io = r->io;
    struct io_file *f = NULL;
    char page[PAGE_BYTES];
    uint64_t acknowledged = from;
    if (io->open(io, S("/data/log"), IO_WRITE | IO_CREATE, &f).kind != ERR_NONE)
        return from;
    Err e = io->sync_dir(io, S("/data"));
    while (e.kind == ERR_NONE && acknowledged < SLOTS_MAX) {
        fill_page(page, acknowledged + 1);
        e = io->write(f, page, PAGE_BYTES, acknowledged * PAGE_BYTES, true);
        acknowledged += e.kind == ERR_NONE;
        if (acknowledged % 8 == 0 && e.kind == ERR_NONE) {
            AUTO(arena) tmp = arena_open();
            err_ignore(io_write_file(io, tmp, S("/data/side"), S("beside"))); // the log tells all
        }
    }
    io->close(f);
    return acknowledged;
}

TEST(what_was_acknowledged_survives_power_cuts_and_the_loss_of_a_zone)
{
    for (uint64_t seed = 1; seed <= CRASH_ROUNDS; seed++) {
        uint64_t random = seed, acknowledged = 0;
        unsigned lost = ZONES; // replaced and not a member again
        struct trio r;
        trio_init(&r);
        r.config.verify = verify_log;
        r.config.probe_ns = NS_PER_MS; // repairs are cut as well
        EXPECT_OK(trio_open(&r, a));
        for (unsigned life = 0; life < 4; life++) {
            for (unsigned i = 0; i < ZONES; i++) {
                IoFault cut = { .ops = IO_OP_CHANGE,
                                .skip = below(&random, 300),
                                .tear = IO_TEAR_SECTORS,
                                .power_off = true };
                io_fault_add(r.faults[i], cut);
            }
            acknowledged = append_until_off(&r, acknowledged);
            if (lost < ZONES && trio_state_of(&r, lost) == ZONE_MEMBER)
                lost = ZONES;
            trio_close(&r);
            trio_crash(&r, next_random(&random));
            if (below(&random, 2) == 0) { // two at once are too many
                lost = lost < ZONES ? lost : (unsigned)below(&random, ZONES);
                trio_replace_disk(&r, lost);
            }
            EXPECT_OK(trio_open(&r, a));
            uint64_t there = 0;
            for (unsigned i = 0; i < ZONES; i++) {
                if (trio_state_of(&r, i) != ZONE_MEMBER)
                    continue;
                EXPECT_OK(verify_log(NULL, trio_disk_io(&r, i), trio_dirs[i], &there));
                if (there < acknowledged || there > acknowledged + 1)
                    test_fail(__FILE__, __LINE__,
                              "seed %llu, life %u: %llu acknowledged, %llu there",
                              (unsigned long long)seed, life, (unsigned long long)acknowledged,
                              (unsigned long long)there);
            }
            acknowledged = there;
        }
        for (unsigned i = 0; i < ZONES; i++)
            trio_wait_state(&r, i, ZONE_MEMBER);
        trio_close(&r);
        trio_expect_same(&r, a);
        trio_done(&r);
    }
}
