// SPDX-License-Identifier: Apache-2.0
#include "hub/chores.h"
#include "base/time.h"
#include "hub/service.h"
#include "os/io.h"

#include <stddef.h>

// How often a clock that may be moved is looked at, and how soon a full pool is asked again.
#define LOOK_NS NS_PER_S
#define POOL_FULL_NS (100 * NS_PER_MS)
// How much later than the wall's clock the one that nobody sets says that the time has come.
#define SET_BACK_NS NS_PER_S

static int64_t now_ms(const struct chores *c)
{
    return c->env->io->wall_ns(c->env->io) / NS_PER_MS;
}

static int64_t mono_ns(const struct chores *c)
{
    return c->env->io->mono_ns(c->env->io);
}

static int64_t wait_ms(const struct chores *c)
{
    return MIN(MAX(c->due_ms - now_ms(c), (int64_t)0), INT64_MAX / 4 / NS_PER_MS);
}

// Under lock.
static void set_due(struct chores *c, int64_t due_ms)
{
    c->due_ms = due_ms;
    c->due_mono_ns = mono_ns(c) + wait_ms(c) * NS_PER_MS + SET_BACK_NS;
}

// The timer's time for the next run, on the loop's clock, which nobody moves. Under lock.
static int64_t timer_due_ns(const struct chores *c)
{
    int64_t wait_ns = MIN(wait_ms(c) * NS_PER_MS, MAX(c->due_mono_ns - mono_ns(c), (int64_t)0));
    if (c->env->dev) // a moved clock wakes no loop
        wait_ns = MIN(wait_ns, LOOK_NS);
    return loop_now_ns(c->env->loops[0]) + wait_ns;
}

// Under lock, on the loop's thread or before it runs.
static void arm(struct chores *c)
{
    if (c->due_ms != CHORES_NEVER && !c->is_working && !c->is_stopped)
        loop_arm(c->env->loops[0], &c->timer, timer_due_ns(c));
}

static void arm_on_loop(struct task *t)
{
    struct chores *c = (struct chores *)((char *)t - offsetof(struct chores, arm));
    pthread_mutex_lock(&c->lock);
    c->is_posted = false;
    arm(c);
    pthread_mutex_unlock(&c->lock);
}

// Under lock.
static void post_arm(struct chores *c)
{
    if (c->is_posted || c->is_stopped || !c->is_started)
        return;
    c->is_posted = true;
    loop_post(c->env->loops[0], &c->arm);
}

static void work(struct task *t)
{
    struct chores *c = (struct chores *)((char *)t - offsetof(struct chores, work));
    pthread_mutex_lock(&c->lock);
    c->due_ms = CHORES_NEVER; // what comes up meanwhile says so again
    bool is_stopped = c->is_stopped;
    pthread_mutex_unlock(&c->lock);
    int64_t next_ms = is_stopped ? CHORES_NEVER : c->run(c->self);
    pthread_mutex_lock(&c->lock);
    if (next_ms < c->due_ms)
        set_due(c, next_ms);
    c->is_working = false;
    pthread_cond_broadcast(&c->ended);
    post_arm(c);
    pthread_mutex_unlock(&c->lock);
}

static void fire(struct timer *t)
{
    struct chores *c = (struct chores *)((char *)t - offsetof(struct chores, timer));
    pthread_mutex_lock(&c->lock);
    if (c->due_ms > now_ms(c) && mono_ns(c) < c->due_mono_ns) {
        arm(c);
    } else if (!c->is_working && !c->is_stopped) {
        c->is_working = pool_submit(c->env->pool, &c->work).kind == ERR_NONE;
        if (!c->is_working)
            loop_arm(c->env->loops[0], &c->timer, loop_now_ns(c->env->loops[0]) + POOL_FULL_NS);
    }
    pthread_mutex_unlock(&c->lock);
}

void chores_init(struct chores *c, const struct service_env *env, int64_t (*run)(void *self),
                 void *self)
{
    *c = (struct chores){ .env = env, .run = run, .self = self, .due_ms = CHORES_NEVER };
    c->timer.fire = fire;
    c->arm.run = arm_on_loop;
    c->work.run = work;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->ended, NULL);
}

void chores_start(struct chores *c)
{
    if (c->env->pool == NULL)
        return;
    pthread_mutex_lock(&c->lock);
    c->is_started = true;
    arm(c);
    pthread_mutex_unlock(&c->lock);
}

void chores_at(struct chores *c, int64_t due_ms)
{
    pthread_mutex_lock(&c->lock);
    if (due_ms < c->due_ms) {
        set_due(c, due_ms);
        post_arm(c);
    }
    pthread_mutex_unlock(&c->lock);
}

void chores_stop(struct chores *c)
{
    pthread_mutex_lock(&c->lock);
    c->is_stopped = true;
    while (c->is_working)
        pthread_cond_wait(&c->ended, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

void chores_done(struct chores *c)
{
    if (c->is_started)
        loop_disarm(c->env->loops[0], &c->timer);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->ended);
}
