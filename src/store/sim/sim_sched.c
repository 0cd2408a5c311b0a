// SPDX-License-Identifier: Apache-2.0
#include "store/sim/sim_sched.h"

#include "base/time.h"
#include "store/sim/sim_fiber.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    STEP_NS = 150,        // what passes from point to point
    STEPS_MAX = 20000000, // of one run; a run needs a hundredth of it
    WEIGHT_CHOICES = 4,   // how eager tasks are
    SPURIOUS_ONE_IN = 64, // waits on a condition end without reason
};

enum task_state { TASK_CAN_RUN, TASK_WAITS, TASK_ENDED };

struct task {
    enum task_state state;
    const void *on;   // what it waits on; NULL: only on the time
    int64_t until_ns; // 0: for ever
    bool was_woken;
    uint64_t weight;
    struct fiber *fiber;
    void *(*run)(void *arg);
    void *arg;
    void *result;
};

static struct {
    bool is_on;
    uint64_t random;
    uint64_t stay; // of so many points one gives way
    int64_t mono_ns, wall_ns;
    int64_t earliest_ns; // no task waits for a time before it
    uint64_t trace, steps;
    struct task *tasks[SCHED_TASKS_MAX];
    unsigned n, running;
    void (*stuck)(const char *why);
    bool is_held;
} s;

int __real_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);
int __real_pthread_join(pthread_t thread, void **ret);
pthread_t __real_pthread_self(void);
int __real_pthread_mutex_lock(pthread_mutex_t *m);
int __real_pthread_mutex_unlock(pthread_mutex_t *m);
int __real_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m);
int __real_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *t);
int __real_pthread_cond_signal(pthread_cond_t *c);
int __real_pthread_cond_broadcast(pthread_cond_t *c);
int __real_clock_gettime(clockid_t clock, struct timespec *ret);

int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);
int __wrap_pthread_join(pthread_t thread, void **ret);
pthread_t __wrap_pthread_self(void);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *m);
int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m);
int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *t);
int __wrap_pthread_cond_signal(pthread_cond_t *c);
int __wrap_pthread_cond_broadcast(pthread_cond_t *c);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);

// ---- Choices

// The SplitMix64 generator.
uint64_t sched_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t sched_random(void)
{
    return sched_next(&s.random);
}

uint64_t sched_below(uint64_t n)
{
    return sched_random() % n;
}

bool sched_chance(uint64_t one_in)
{
    return sched_below(one_in) == 0;
}

void sched_note(uint64_t what)
{
    s.trace = (s.trace ^ what) * UINT64_C(0x9e3779b97f4a7c15);
    s.trace ^= s.trace >> 29;
}

uint64_t sched_trace(void)
{
    return s.trace;
}

uint64_t sched_steps(void)
{
    return s.steps;
}

unsigned sched_task(void)
{
    return s.running;
}

bool sched_is_on(void)
{
    return s.is_on;
}

void sched_on_stuck(void (*stuck)(const char *why))
{
    s.stuck = stuck;
}

// ---- Turns

static void stop_here(const char *why)
{
    if (s.stuck != NULL)
        s.stuck(why);
    abort();
}

static bool wake_those_whose_time_has_come(void)
{
    if (s.mono_ns < s.earliest_ns)
        return false;
    bool any = false;
    s.earliest_ns = INT64_MAX;
    for (unsigned i = 0; i < s.n; i++) {
        struct task *t = s.tasks[i];
        if (t->state != TASK_WAITS || t->until_ns == 0)
            continue;
        if (t->until_ns <= s.mono_ns) {
            t->state = TASK_CAN_RUN;
            any = true;
        } else {
            s.earliest_ns = MIN(s.earliest_ns, t->until_ns);
        }
    }
    return any;
}

static void pass_time(int64_t ns)
{
    s.mono_ns += ns;
    s.wall_ns += ns;
}

// Nobody can run: time passes until somebody can.
static void skip_to_next_deadline(void)
{
    int64_t next = 0;
    for (unsigned i = 0; i < s.n; i++) {
        const struct task *t = s.tasks[i];
        if (t->state == TASK_WAITS && t->until_ns != 0 && (next == 0 || t->until_ns < next))
            next = t->until_ns;
    }
    if (next == 0)
        stop_here("every thread waits for another");
    pass_time(MAX(next - s.mono_ns, 0));
    CHECK(wake_those_whose_time_has_come());
}

static bool pick(unsigned *ret)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < s.n; i++)
        total += s.tasks[i]->state == TASK_CAN_RUN ? s.tasks[i]->weight : 0;
    if (total == 0)
        return false;
    uint64_t at = sched_below(total);
    for (unsigned i = 0; i < s.n; i++) {
        uint64_t weight = s.tasks[i]->state == TASK_CAN_RUN ? s.tasks[i]->weight : 0;
        if (at < weight) {
            *ret = i;
            return true;
        }
        at -= weight;
    }
    return false;
}

// Chooses who has the turn next.
static unsigned pass_turn(void)
{
    if (++s.steps > STEPS_MAX)
        stop_here("it never comes to an end");
    unsigned next;
    while (!pick(&next))
        skip_to_next_deadline();
    if (next != s.running)
        sched_note(next);
    return next;
}

// Returns when the turn has come back.
static void give_way(void)
{
    struct task *self = s.tasks[s.running];
    s.running = pass_turn();
    struct task *next = s.tasks[s.running];
    if (next != self)
        fiber_switch(self->fiber, next->fiber);
}

void sched_point(void)
{
    if (!s.is_on || s.is_held)
        return;
    pass_time(STEP_NS);
    wake_those_whose_time_has_come();
    if (sched_chance(s.stay))
        give_way();
}

void sched_hold(bool is_held)
{
    s.is_held = is_held;
}

bool sched_wait_on(const void *address, int64_t until_ns)
{
    CHECK(!s.is_held);
    struct task *t = s.tasks[s.running];
    t->state = TASK_WAITS;
    t->on = address;
    t->until_ns = until_ns;
    if (until_ns != 0)
        s.earliest_ns = MIN(s.earliest_ns, until_ns);
    t->was_woken = false;
    give_way();
    t->on = NULL;
    t->until_ns = 0;
    return t->was_woken;
}

static void wake(struct task *t)
{
    t->state = TASK_CAN_RUN;
    t->was_woken = true;
}

void sched_wake_all(const void *address)
{
    for (unsigned i = 0; i < s.n; i++)
        if (s.tasks[i]->state == TASK_WAITS && s.tasks[i]->on == address)
            wake(s.tasks[i]);
}

static void wake_one(const void *address)
{
    unsigned waiting = 0;
    for (unsigned i = 0; i < s.n; i++)
        waiting += s.tasks[i]->state == TASK_WAITS && s.tasks[i]->on == address;
    if (waiting == 0)
        return;
    uint64_t chosen = sched_below(waiting);
    for (unsigned i = 0; i < s.n; i++)
        if (s.tasks[i]->state == TASK_WAITS && s.tasks[i]->on == address && chosen-- == 0)
            wake(s.tasks[i]);
}

void sched_sleep(int64_t ns)
{
    sched_wait_on(NULL, s.mono_ns + MAX(ns, 1));
}

// ---- Time

int64_t sched_mono_ns(void)
{
    return s.mono_ns;
}

int64_t sched_wall_ns(void)
{
    return s.wall_ns;
}

void sched_advance(int64_t ns)
{
    pass_time(ns);
    wake_those_whose_time_has_come();
}

void sched_step_wall(int64_t by_ns)
{
    s.wall_ns += by_ns;
}

// ---- Tasks

static struct task *task_add(void)
{
    CHECK(s.n < SCHED_TASKS_MAX);
    struct task *t = xalloc(sizeof *t);
    t->weight = UINT64_C(1) << (2 * sched_below(WEIGHT_CHOICES));
    s.tasks[s.n++] = t;
    return t;
}

void sched_begin(uint64_t seed, int64_t wall_ns)
{
    static const uint64_t stays[] = { 2, 4, 16, 64 };
    CHECK(!s.is_on && s.n == 0);
    s.random = seed;
    s.trace = 0;
    s.steps = 0;
    s.mono_ns = NS_PER_S;
    s.wall_ns = wall_ns;
    s.earliest_ns = INT64_MAX;
    s.stay = stays[sched_below(COUNT_OF(stays))];
    s.running = 0;
    task_add()->fiber = fiber_self();
    s.is_on = true;
}

void sched_end(void)
{
    CHECK(s.is_on && s.running == 0);
    s.is_on = false;
    for (unsigned i = 0; i < s.n; i++) {
        CHECK(i == 0 || s.tasks[i]->state == TASK_ENDED);
        fiber_close(s.tasks[i]->fiber);
        free(s.tasks[i]);
    }
    s.n = 0;
}

static struct fiber *task_run(void *p)
{
    struct task *t = p;
    t->result = t->run(t->arg);
    t->state = TASK_ENDED;
    sched_wake_all(t);
    s.running = pass_turn();
    return s.tasks[s.running]->fiber;
}

// The place of an ended task is used again, so that a run may have any number of them.
static unsigned task_place(void)
{
    for (unsigned i = 1; i < s.n; i++)
        if (s.tasks[i]->state == TASK_ENDED && s.tasks[i]->run == NULL)
            return i;
    task_add();
    return s.n - 1;
}

int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg)
{
    if (!s.is_on)
        return __real_pthread_create(ret, attr, run, arg);
    unsigned place = task_place();
    struct task *t = s.tasks[place];
    t->weight = UINT64_C(1) << (2 * sched_below(WEIGHT_CHOICES));
    t->run = run;
    t->arg = arg;
    t->state = TASK_CAN_RUN;
    t->fiber = fiber_open(task_run, t);
    *ret = (pthread_t)place + 1;
    sched_point();
    return 0;
}

int __wrap_pthread_join(pthread_t thread, void **ret)
{
    if (!s.is_on)
        return __real_pthread_join(thread, ret);
    unsigned place = (unsigned)thread - 1;
    CHECK(place > 0 && place < s.n && s.tasks[place]->run != NULL);
    struct task *t = s.tasks[place];
    while (t->state != TASK_ENDED)
        sched_wait_on(t, 0);
    t->run = NULL;
    if (ret != NULL)
        *ret = t->result;
    fiber_close(t->fiber);
    t->fiber = NULL;
    return 0;
}

pthread_t __wrap_pthread_self(void)
{
    return s.is_on ? (pthread_t)s.running + 1 : __real_pthread_self();
}

// ---- Locks

int __wrap_pthread_mutex_lock(pthread_mutex_t *m)
{
    if (!s.is_on)
        return __real_pthread_mutex_lock(m);
    sched_point();
    while (pthread_mutex_trylock(m) != 0)
        sched_wait_on(m, 0);
    return 0;
}

static void unlock(pthread_mutex_t *m)
{
    CHECK(__real_pthread_mutex_unlock(m) == 0);
    sched_wake_all(m);
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *m)
{
    if (!s.is_on)
        return __real_pthread_mutex_unlock(m);
    unlock(m);
    sched_point();
    return 0;
}

static int cond_wait(pthread_cond_t *c, pthread_mutex_t *m, int64_t until_ns)
{
    unlock(m);
    bool woken = true;
    if (sched_chance(SPURIOUS_ONE_IN))
        sched_point();
    else
        woken = sched_wait_on(c, until_ns);
    while (pthread_mutex_trylock(m) != 0)
        sched_wait_on(m, 0);
    return woken ? 0 : ETIMEDOUT;
}

int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
    return s.is_on ? cond_wait(c, m, 0) : __real_pthread_cond_wait(c, m);
}

// The time is on the monotonic clock: the engine knows no other for this.
int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *t)
{
    if (!s.is_on)
        return __real_pthread_cond_timedwait(c, m, t);
    return cond_wait(c, m, MAX(t->tv_sec * NS_PER_S + t->tv_nsec, 1));
}

int __wrap_pthread_cond_signal(pthread_cond_t *c)
{
    if (!s.is_on)
        return __real_pthread_cond_signal(c);
    wake_one(c);
    sched_point();
    return 0;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *c)
{
    if (!s.is_on)
        return __real_pthread_cond_broadcast(c);
    sched_wake_all(c);
    sched_point();
    return 0;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
    if (!s.is_on)
        return __real_clock_gettime(clock, ret);
    int64_t ns = clock == CLOCK_REALTIME ? s.wall_ns : s.mono_ns;
    *ret = (struct timespec){ .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };
    return 0;
}
