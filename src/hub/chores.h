// SPDX-License-Identifier: Apache-2.0
// What the service does by itself when its time has come: a timer on the first loop that starts one
// task on the pool. Safe from any thread, except where it says otherwise.
#pragma once
#include "os/loop.h"

#include <pthread.h>

struct service_env;

struct chores {
    const struct service_env *env;
    int64_t (*run)(void *self); // on the pool; returns when to run again (ms since 1970), or never
    void *self;
    struct timer timer;
    struct task arm, work;
    pthread_mutex_t lock; // a leaf; guards what follows
    pthread_cond_t ended;
    int64_t due_ms;
    int64_t due_mono_ns; // by when it runs though the wall's clock was set back
    bool is_started, is_stopped, is_posted, is_working;
};
#define CHORES_NEVER INT64_MAX

// Without a pool nothing ever runs.
void chores_init(struct chores *c, const struct service_env *env, int64_t (*run)(void *self),
                 void *self);
void chores_start(struct chores *c); // once, before the loops run
// Runs them at that time, or sooner.
void chores_at(struct chores *c, int64_t due_ms);
void chores_stop(struct chores *c); // none is running when it returns, and none will
void chores_done(struct chores *c); // when the loops have ended
