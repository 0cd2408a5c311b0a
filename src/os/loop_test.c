// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "os/io_mem.h"
#include "os/loop.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct runner {
    struct loop *loop;
    pthread_t thread;
};

static void *run_loop(void *argument)
{
    struct runner *r = argument;
    loop_run(r->loop);
    return NULL;
}

static void runner_start(struct runner *r)
{
    EXPECT_OK(loop_open(&r->loop));
    EXPECT(pthread_create(&r->thread, NULL, run_loop, r) == 0);
}

static void runner_stop(struct runner *r)
{
    loop_stop(r->loop);
    EXPECT(pthread_join(r->thread, NULL) == 0);
    loop_close(r->loop);
}

// ---- Tasks.

enum { POSTERS = 4, POSTS_EACH = 5000 };

struct counted {
    struct task task;
    struct poster *owner;
    int number;
};

struct poster {
    struct loop *loop;
    pthread_t thread;
    int seen; // on the loop's thread
    bool disordered;
    struct counted posts[POSTS_EACH];
};

static void count_post(struct task *t)
{
    struct counted *c = (struct counted *)t;
    c->owner->disordered |= c->number != c->owner->seen;
    c->owner->seen++;
}

static void *post_all(void *argument)
{
    struct poster *p = argument;
    for (int i = 0; i < POSTS_EACH; i++) {
        p->posts[i] = (struct counted){ .task.run = count_post, .owner = p, .number = i };
        loop_post(p->loop, &p->posts[i].task);
    }
    return NULL;
}

TEST(tasks_of_many_threads_all_run_and_each_threads_in_its_order)
{
    struct runner r;
    runner_start(&r);
    struct poster *posters = xalloc(POSTERS * sizeof *posters);
    for (int i = 0; i < POSTERS; i++) {
        posters[i].loop = r.loop;
        EXPECT(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]) == 0);
    }
    for (int i = 0; i < POSTERS; i++)
        EXPECT(pthread_join(posters[i].thread, NULL) == 0);
    runner_stop(&r); // tasks posted before the stop still run
    for (int i = 0; i < POSTERS; i++) {
        EXPECT_INT(POSTS_EACH, posters[i].seen);
        EXPECT(!posters[i].disordered);
    }
    free(posters);
}

struct relay {
    struct task task;
    struct loop *loop;
    int left;
};

static void pass_on(struct task *t)
{
    struct relay *r = (struct relay *)t;
    if (--r->left > 0)
        loop_post(r->loop, &r->task);
}

TEST(a_loop_that_stops_runs_what_its_last_tasks_post)
{
    AUTO(loop) l = NULL;
    EXPECT_OK(loop_open(&l));
    struct relay r = { .task.run = pass_on, .loop = l, .left = 5 };
    loop_stop(l);
    loop_post(l, &r.task);
    loop_run(l);
    EXPECT(r.left == 0);
}

TEST(a_stop_before_the_run_is_kept_and_the_loop_can_be_run_again)
{
    AUTO(loop) l = NULL;
    EXPECT_OK(loop_open(&l));
    for (int i = 0; i < 2; i++) {
        loop_stop(l);
        loop_run(l);
    }
    EXPECT(!loop_is_current(l));
}

struct reposter {
    struct task task;
    struct loop *loop;
    int left;
    bool current;
};

static void repost(struct task *t)
{
    struct reposter *r = (struct reposter *)t;
    r->current = loop_is_current(r->loop);
    if (r->left-- > 0)
        loop_post(r->loop, t);
    else
        loop_stop(r->loop);
}

TEST(a_task_may_post_itself_again)
{
    AUTO(loop) l = NULL;
    EXPECT_OK(loop_open(&l));
    struct reposter r = { .task.run = repost, .loop = l, .left = 3 };
    loop_post(l, &r.task);
    loop_run(l);
    EXPECT_INT(-1, r.left);
    EXPECT(r.current);
}

// ---- Timers.

enum { TIMERS = 500 };

struct alarm {
    struct timer timer;
    struct alarms *all;
};

struct alarms {
    struct loop *loop;
    struct alarm alarm[TIMERS];
    int64_t last_due_ns;
    int fired, expected;
    bool disordered, early;
};

static void ring(struct timer *t)
{
    struct alarms *all = ((struct alarm *)t)->all;
    all->disordered |= t->due_ns < all->last_due_ns;
    all->early |= loop_now_ns(all->loop) < t->due_ns;
    all->last_due_ns = t->due_ns;
    if (++all->fired == all->expected)
        loop_stop(all->loop);
}

TEST(timers_fire_in_order_never_early_and_not_when_disarmed)
{
    AUTO(loop) l = NULL;
    EXPECT_OK(loop_open(&l));
    struct alarms *all = xalloc(sizeof *all);
    all->loop = l;
    int64_t now = loop_now_ns(l);
    for (int i = 0; i < TIMERS; i++) {
        all->alarm[i] = (struct alarm){ .timer.fire = ring, .all = all };
        loop_arm(l, &all->alarm[i].timer, now + (i * 7919 % TIMERS) * 20000);
    }
    for (int i = 0; i < TIMERS; i += 3) // moved to another time, earlier or later
        loop_arm(l, &all->alarm[i].timer, now + (i * 104729 % TIMERS) * 20000);
    for (int i = 0; i < TIMERS; i += 5) {
        loop_disarm(l, &all->alarm[i].timer);
        loop_disarm(l, &all->alarm[i].timer); // fine when idle
    }
    all->expected = TIMERS - TIMERS / 5;
    loop_run(l);
    EXPECT_INT(all->expected, all->fired);
    EXPECT(!all->disordered && !all->early);
    for (int i = 0; i < TIMERS; i++)
        EXPECT(all->alarm[i].timer.heap_at == 0);
    free(all);
}

struct ticker {
    struct timer timer;
    struct loop *loop;
    int ticks;
    struct task last;
    bool task_ran;
};

static void ticker_end(struct task *t)
{
    struct ticker *k = (struct ticker *)((char *)t - offsetof(struct ticker, last));
    k->task_ran = true;
    loop_disarm(k->loop, &k->timer);
    loop_stop(k->loop);
}

static void tick(struct timer *t)
{
    struct ticker *k = (struct ticker *)t;
    if (++k->ticks == 5)
        loop_post(k->loop, &k->last);
    loop_arm(k->loop, t, loop_now_ns(k->loop)); // always due
}

TEST(a_timer_that_is_always_due_does_not_starve_tasks)
{
    AUTO(loop) l = NULL;
    EXPECT_OK(loop_open(&l));
    struct ticker k = { .timer.fire = tick, .loop = l, .last.run = ticker_end };
    loop_arm(l, &k.timer, 0);
    loop_run(l);
    EXPECT(k.task_ran);
}

// ---- Descriptors.

struct pair {
    struct watch watch;
    struct loop *loop;
    struct pair *other; // is unwatched by the one that is told first
    int told;
    unsigned events;
};

static void pair_ready(struct watch *w, unsigned events)
{
    struct pair *p = (struct pair *)w;
    p->told++;
    p->events = events;
    if (p->other != NULL)
        loop_unwatch(p->loop, &p->other->watch);
    loop_unwatch(p->loop, w);
    loop_stop(p->loop);
}

TEST(a_descriptor_that_is_unwatched_is_not_reported_even_if_its_event_was_fetched)
{
    AUTO(loop) l = NULL;
    EXPECT_OK(loop_open(&l));
    int x[2], y[2];
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, x) == 0 &&
           socketpair(AF_UNIX, SOCK_STREAM, 0, y) == 0);
    struct pair p = { .watch.ready = pair_ready, .loop = l };
    struct pair q = { .watch.ready = pair_ready, .loop = l, .other = &p };
    p.other = &q;
    EXPECT(write(x[0], "x", 1) == 1 && write(y[0], "y", 1) == 1); // both are ready in one turn
    EXPECT_OK(loop_watch(l, &p.watch, x[1], LOOP_READ));
    EXPECT_OK(loop_watch(l, &q.watch, y[1], LOOP_READ));
    loop_run(l);
    EXPECT_INT(1, p.told + q.told);
    for (int i = 0; i < 2; i++) {
        close(x[i]);
        close(y[i]);
    }
}

TEST(a_peer_that_is_gone_is_reported_as_both_events_whatever_was_asked_for)
{
    AUTO(loop) l = NULL;
    EXPECT_OK(loop_open(&l));
    int x[2];
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, x) == 0);
    struct pair p = { .watch.ready = pair_ready, .loop = l };
    EXPECT_OK(loop_watch(l, &p.watch, x[1], LOOP_WRITE));
    loop_rewatch(l, &p.watch, 0);
    close(x[0]);
    loop_run(l);
    EXPECT_INT(LOOP_READ | LOOP_WRITE, p.events);
    close(x[1]);
}

TEST(a_descriptor_that_cannot_be_watched_is_an_error)
{
    AUTO(loop) l = NULL;
    EXPECT_OK(loop_open(&l));
    struct pair p = { .watch.ready = pair_ready };
    EXPECT_ERR(ERR_IO, loop_watch(l, &p.watch, -1, LOOP_READ));
}

// ---- The pool.

struct job {
    struct task task;
    sem_t *gate; // waits for it before it ends; may be NULL
    sem_t *started;
    _Atomic int *done;
};

static void do_job(struct task *t)
{
    struct job *j = (struct job *)t;
    if (j->started != NULL)
        sem_post(j->started);
    if (j->gate != NULL)
        sem_wait(j->gate);
    atomic_fetch_add(j->done, 1);
}

TEST(a_pool_refuses_what_its_queue_cannot_hold_and_finishes_the_rest)
{
    struct pool *p = NULL;
    EXPECT_OK(pool_open(1, 2, "test", &p));
    sem_t gate, started;
    sem_init(&gate, 0, 0);
    sem_init(&started, 0, 0);
    _Atomic int done = 0;
    struct job jobs[4];
    for (int i = 0; i < 4; i++)
        jobs[i] = (struct job){ .task.run = do_job, .done = &done };
    jobs[0].gate = &gate;
    jobs[0].started = &started;
    EXPECT_OK(pool_submit(p, &jobs[0].task));
    sem_wait(&started); // it is with the thread, not in the queue
    EXPECT_OK(pool_submit(p, &jobs[1].task));
    EXPECT_OK(pool_submit(p, &jobs[2].task));
    EXPECT_INT(2, pool_queued(p));
    EXPECT_ERR(ERR_LIMIT, pool_submit(p, &jobs[3].task));
    sem_post(&gate);
    pool_close(p);
    EXPECT_INT(3, atomic_load(&done));
    sem_destroy(&gate);
    sem_destroy(&started);
}

TEST(a_pool_of_several_threads_runs_every_task_once)
{
    struct pool *p = NULL;
    enum { JOBS = 2000 };
    EXPECT_OK(pool_open(4, JOBS, "test", &p));
    _Atomic int done = 0;
    struct job *jobs = xalloc(JOBS * sizeof *jobs);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){ .task.run = do_job, .done = &done };
        EXPECT_OK(pool_submit(p, &jobs[i].task));
    }
    pool_close(p);
    EXPECT_INT(JOBS, atomic_load(&done));
    free(jobs);
}

// ---- The clock.

struct leap {
    struct timer timer;
    struct watch watch;
    struct loop *loop;
    struct io_mem *clock;
    int64_t fired_ns;
};

static void leap_ready(struct watch *w, unsigned events)
{
    (void)events;
    struct leap *p = (struct leap *)((char *)w - offsetof(struct leap, watch));
    io_mem_advance(p->clock, 3600 * INT64_C(1000000000));
}

static void leap_fire(struct timer *t)
{
    struct leap *p = (struct leap *)t;
    p->fired_ns = loop_now_ns(p->loop);
    loop_stop(p->loop);
}

TEST(a_loop_goes_by_the_clock_it_was_given)
{
    AUTO(io_mem) clock = io_mem_open(1);
    io_mem_set_clock(clock, 0, 1000);
    struct leap p = { .clock = clock, .watch.ready = leap_ready, .timer.fire = leap_fire };
    EXPECT_OK(loop_open_with(io_mem_io(clock), &p.loop));
    EXPECT_INT(1000, loop_now_ns(p.loop));
    int pair[2];
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[0], "x", 1) == 1);
    EXPECT_OK(loop_watch(p.loop, &p.watch, pair[1], LOOP_READ));
    loop_arm(p.loop, &p.timer, 3600 * INT64_C(1000000000)); // an hour, of that clock
    loop_run(p.loop);
    EXPECT_INT(3600 * INT64_C(1000000000) + 1000, p.fired_ns);
    loop_unwatch(p.loop, &p.watch);
    loop_close(p.loop);
    close(pair[0]);
    close(pair[1]);
}
