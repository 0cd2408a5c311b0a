// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/sender.h"
#include "base/logline.h"
#include "base/time.h"
#include "hub/hub.h"
#include "svc/cloudwatch/action.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    THREADS = 4, // a slow function does not delay the others at once
    LOOK_EVERY_S = 1,
    CALL_TIMEOUT_S = 60,
    RETRY_MS = 1000,
    RETRY_MS_MAX = 300 * 1000,
    FAILED_RETRY_MS = 60 * 1000,
};

struct worker {
    struct sender *sender;
    pthread_t thread;
    bool busy; // with this action; under the lock
    unsigned char key[ACTION_KEY_BYTES];
};

struct sender {
    struct cloudwatch *cw;
    pthread_mutex_t lock; // a leaf
    pthread_cond_t wake;
    bool started, stopping;
    struct worker workers[THREADS];
};

// ---- Which action

struct due {
    Str keys[THREADS];
    size_t n;
};

// The first that are due: one more at least than other threads can be at.
static Err list_due(struct cloudwatch *cw, struct arena *a, int64_t now_ms, struct due *ret)
{
    AUTO(kv_txn) tx = kv_read(cw->actions);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    ret->n = 0;
    while (ret->n < THREADS && kv_scan_next(&scan)) {
        uint64_t due_ms = 0;
        for (size_t i = 0; i < 8 && scan.rest.n == ACTION_KEY_BYTES; i++)
            due_ms = due_ms << 8 | (unsigned char)scan.rest.p[i];
        if ((int64_t)due_ms > now_ms)
            break;
        ret->keys[ret->n++] = str_dup(a, scan.rest);
    }
    kv_scan_end(&scan);
    return scan.err;
}

static bool is_taken(const struct sender *s, Str key)
{
    for (size_t i = 0; i < THREADS; i++)
        if (s->workers[i].busy && memcmp(s->workers[i].key, key.p, ACTION_KEY_BYTES) == 0)
            return true;
    return false;
}

static bool claim(struct worker *w, const struct due *due, Str *ret_key)
{
    struct sender *s = w->sender;
    bool found = false;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < due->n && !found; i++) {
        if (due->keys[i].n != ACTION_KEY_BYTES || is_taken(s, due->keys[i]))
            continue;
        memcpy(w->key, due->keys[i].p, ACTION_KEY_BYTES);
        w->busy = found = true;
        *ret_key = due->keys[i];
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

static void release(struct worker *w)
{
    pthread_mutex_lock(&w->sender->lock);
    w->busy = false;
    pthread_mutex_unlock(&w->sender->lock);
}

// ---- Doing it

static Err invoke(struct cloudwatch *cw, struct arena *a, const Action *action,
                  HubInvokeAnswer *ret)
{
    const struct hub_invoke *invoke = cw->env.hub != NULL ? cw->env.hub->invoke : NULL;
    HubActor as = { .account = action->realm.account,
                    .region = action->realm.region,
                    .service = S("lambda.alarms.cloudwatch.amazonaws.com") };
    if (invoke != NULL)
        return invoke->call(invoke->self, a, &as, action->action, action->payload,
                            CALL_TIMEOUT_S * NS_PER_S, ret);
    *ret = (HubInvokeAnswer){ .fault = HUB_INVOKE_NOT_FOUND,
                              .text = S("There are no functions here.") };
    return OK;
}

// When it is tried again; 0: not any more.
static int64_t again_ms(Action *action, HubInvokeFault fault, int64_t now_ms)
{
    if (fault == HUB_INVOKE_FAILED)
        return ++action->failures < ACTION_FAILURES_MAX
                   ? now_ms + action->failures * FAILED_RETRY_MS
                   : 0;
    bool passing = fault == HUB_INVOKE_UNREACHABLE || fault == HUB_INVOKE_THROTTLED;
    if (!passing || now_ms - action->changed_ms >= ACTION_KEPT_MS)
        return 0;
    int64_t wait_ms = RETRY_MS;
    for (int64_t i = 0; i < action->tries && wait_ms < RETRY_MS_MAX; i++)
        wait_ms *= 2;
    action->tries++;
    return now_ms + MIN(wait_ms, (int64_t)RETRY_MS_MAX);
}

// The row goes, or another takes its place, together with what the history is told.
static Err settle(struct cloudwatch *cw, struct arena *a, Str key, Action *action,
                  const HubInvokeAnswer *answer, int64_t now_ns)
{
    bool done = answer->fault == HUB_INVOKE_GOOD;
    int64_t next_ms = done ? 0 : again_ms(action, answer->fault, now_ns / NS_PER_MS);
    AUTO(kv_txn) tx = kv_write(cw->actions);
    TRY(kv_del(tx, key));
    if (next_ms > 0)
        TRY(action_put(cw, tx, a, action, next_ms));
    else
        TRY(action_note(cw, tx, a, action,
                        done                 ? (Str){ 0 }
                        : answer->text.n > 0 ? answer->text
                                             : S("The function cannot be called."),
                        now_ns));
    if (!done)
        LOG(LOG_WARN, "an alarm's function was not called with success",
            F_STR("alarm", action->alarm), F_STR("action", action->action),
            F_STR("text", answer->text), F_STR("again", next_ms > 0 ? S("yes") : S("no")));
    return kv_commit(tx);
}

static Err do_action(struct cloudwatch *cw, struct arena *a, Str key, int64_t now_ns)
{
    Str row;
    Action action;
    HubInvokeAnswer answer = { 0 };
    {
        AUTO(kv_txn) tx = kv_read(cw->actions);
        Err e = kv_get(tx, a, key, &row);
        if (e.kind == ERR_NOT_FOUND) // another thread was faster
            return OK;
        TRY(e);
    }
    TRY(action_read(a, row, &action));
    TRY(invoke(cw, a, &action, &answer));
    return settle(cw, a, key, &action, &answer, MAX(now_ns, cw->env.io->wall_ns(cw->env.io)));
}

static bool work_once(struct worker *w, int64_t now_ns, bool *ret_failed)
{
    struct cloudwatch *cw = w->sender->cw;
    AUTO(arena) a = arena_open();
    struct due due = { .n = 0 };
    Str key;
    Err e = list_due(cw, a, now_ns / NS_PER_MS, &due);
    bool found = e.kind == ERR_NONE && claim(w, &due, &key);
    if (found) {
        e = do_action(cw, a, key, now_ns);
        release(w);
    }
    *ret_failed = e.kind != ERR_NONE;
    if (e.kind != ERR_NONE)
        LOG(LOG_WARN, "actions of alarms could not be done", F_ERR(e));
    return found;
}

bool sender_do_one(struct sender *s, int64_t now_ns)
{
    bool failed;
    return work_once(&s->workers[0], now_ns, &failed) && !failed;
}

// ---- The threads

static bool sleep_on(struct sender *s)
{
    struct timespec until;
    pthread_mutex_lock(&s->lock);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LOOK_EVERY_S;
    if (!s->stopping)
        (void)pthread_cond_timedwait(&s->wake, &s->lock, &until);
    bool go_on = !s->stopping;
    pthread_mutex_unlock(&s->lock);
    return go_on;
}

static bool is_stopping(struct sender *s)
{
    pthread_mutex_lock(&s->lock);
    bool stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    return stopping;
}

static void *run(void *self)
{
    struct worker *w = self;
    struct io *io = w->sender->cw->env.io;
    do {
        bool failed = false;
        while (!failed && !is_stopping(w->sender) && work_once(w, io->wall_ns(io), &failed))
            continue;
    } while (sleep_on(w->sender));
    return NULL;
}

void sender_open(struct cloudwatch *cw, struct sender **ret)
{
    struct sender *s = xalloc(sizeof *s);
    pthread_condattr_t monotonic;
    s->cw = cw;
    for (size_t i = 0; i < THREADS; i++)
        s->workers[i].sender = s;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *ret = s;
}

void sender_start(struct sender *s)
{
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&s->workers[i].thread, NULL, run, &s->workers[i]) == 0);
    s->started = true;
}

void sender_wake(struct sender *s)
{
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

void sender_stop(struct sender *s)
{
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < THREADS && s->started; i++)
        CHECK(pthread_join(s->workers[i].thread, NULL) == 0);
    s->started = false;
}

void sender_close(struct sender *s)
{
    if (s == NULL)
        return;
    sender_stop(s);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
