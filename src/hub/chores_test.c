// SPDX-License-Identifier: Apache-2.0
#include "hub/chores.h"
#include "base/test.h"
#include "base/time.h"
#include "hub/service.h"
#include "os/io.h"

#include <stdatomic.h>

struct rig {
    struct service_env env;
    struct loop *loop;
    struct pool *pool;
    pthread_t thread;
    struct chores chores;
    atomic_int runs;
    _Atomic int64_t next_ms; // what a run returns
};

static int64_t now_ms(void)
{
    return io_real()->wall_ns(io_real()) / NS_PER_MS;
}

static int64_t run(void *self)
{
    struct rig *r = self;
    atomic_fetch_add(&r->runs, 1);
    return atomic_load(&r->next_ms);
}

static void *run_loop(void *self)
{
    loop_run(((struct rig *)self)->loop);
    return NULL;
}

static void rig_open(struct rig *r, bool dev)
{
    *r = (struct rig){ .next_ms = CHORES_NEVER };
    EXPECT_OK(loop_open(&r->loop));
    EXPECT_OK(pool_open(1, 8, "chores", &r->pool));
    r->env = (struct service_env){
        .io = io_real(), .pool = r->pool, .loops = &r->loop, .loop_count = 1, .dev = dev
    };
    chores_init(&r->chores, &r->env, run, r);
}

static void rig_start(struct rig *r)
{
    chores_start(&r->chores);
    EXPECT(pthread_create(&r->thread, NULL, run_loop, r) == 0);
}

static void rig_close(struct rig *r)
{
    chores_stop(&r->chores);
    pool_close(r->pool);
    loop_stop(r->loop);
    EXPECT(pthread_join(r->thread, NULL) == 0);
    chores_done(&r->chores);
    loop_close(r->loop);
}

static void wait_for_runs(struct rig *r, int n)
{
    while (atomic_load(&r->runs) < n)
        io_real()->sleep_ns(io_real(), NS_PER_MS);
}

TEST(chores_run_when_they_are_due_and_again_when_they_say_so)
{
    struct rig r;
    rig_open(&r, false);
    chores_at(&r.chores, now_ms() + 5); // before the loop runs
    rig_start(&r);
    wait_for_runs(&r, 1);
    atomic_store(&r.next_ms, now_ms());
    chores_at(&r.chores, now_ms() + 5);
    wait_for_runs(&r, 5);
    rig_close(&r);
}

TEST(chores_that_are_due_sooner_do_not_wait_for_later_ones)
{
    struct rig r;
    rig_open(&r, false);
    rig_start(&r);
    chores_at(&r.chores, now_ms() + 3600 * 1000);
    chores_at(&r.chores, now_ms() + 10);
    chores_at(&r.chores, now_ms() + 7200 * 1000);
    wait_for_runs(&r, 1);
    EXPECT_INT(1, atomic_load(&r.runs));
    rig_close(&r);
}

TEST(no_chore_runs_after_the_stop)
{
    struct rig r;
    rig_open(&r, true);
    atomic_store(&r.next_ms, 0); // always due
    rig_start(&r);
    chores_at(&r.chores, 0);
    wait_for_runs(&r, 3);
    chores_stop(&r.chores);
    int runs = atomic_load(&r.runs);
    chores_at(&r.chores, 0);
    EXPECT_INT(runs, atomic_load(&r.runs));
    rig_close(&r);
    EXPECT_INT(runs, atomic_load(&r.runs));
}

TEST(chores_that_were_never_started_end_quietly)
{
    struct rig r;
    rig_open(&r, false);
    chores_at(&r.chores, now_ms());
    chores_stop(&r.chores);
    pool_close(r.pool);
    chores_done(&r.chores);
    loop_close(r.loop);
    EXPECT_INT(0, atomic_load(&r.runs));
}

static _Atomic int64_t back_ns;
static int64_t set_back(struct io *io)
{
    (void)io;
    return io_real()->wall_ns(io_real()) - atomic_load(&back_ns);
}

TEST(a_clock_that_is_set_back_delays_them_by_a_second_at_most)
{
    struct rig r;
    struct io io = *io_real();
    io.wall_ns = set_back;
    rig_open(&r, false);
    r.env.io = &io;
    atomic_store(&back_ns, 0);
    chores_at(&r.chores, now_ms() + 300);
    rig_start(&r);
    atomic_store(&back_ns, 3600 * NS_PER_S);
    int64_t until = io_real()->mono_ns(io_real()) + 600 * NS_PER_S; // not for an hour
    while (atomic_load(&r.runs) == 0 && io_real()->mono_ns(io_real()) < until)
        io_real()->sleep_ns(io_real(), NS_PER_MS);
    EXPECT_INT(1, atomic_load(&r.runs));
    rig_close(&r);
}
