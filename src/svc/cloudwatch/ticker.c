// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/ticker.h"
#include "base/logline.h"
#include "base/time.h"
#include "hub/metrics.h"
#include "svc/cloudwatch/action.h"
#include "svc/cloudwatch/composite.h"
#include "svc/cloudwatch/judge.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum {
    LOOK_EVERY_S = 1,
    SHORT_S = 10, // how often alarms of short periods are looked at
    MINUTE_S = 60,
    HOUR_S = 3600,
    EXPIRE_AT_ONCE = 500, // rows in one transaction
    EXPIRE_ROUNDS_MAX = 1000,
};

struct ticker {
    struct cloudwatch *cw;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool started, stopping;
    // Of the thread alone:
    int64_t gathered_s;                // since when what services count has not been taken
    int64_t short_s, minute_s, hour_s; // the last rounds
};

// ---- What services have counted

struct taking {
    struct metric_sink sink; // first: one is the other
    struct cloudwatch *cw;
    struct kv_txn *tx;
    struct arena *tmp;
    int64_t at_s;
    Err err;
};

// The sums are exact; the values behind percentiles are what the bins say of them.
static StatSet told_set(struct arena *a, const MetricTold *m)
{
    const Gathered *g = &m->values;
    StatSet set =
        statset_of_sums(a, (double)g->count, (double)g->sum, (double)g->min, (double)g->max);
    if (m->bin_count == 0)
        return set;
    double *values = arena_new(a, double, m->bin_count),
           *counts = arena_new(a, double, m->bin_count);
    for (size_t i = 0; i < m->bin_count; i++) {
        values[i] = (double)MIN(MAX(m->bins[i].value, g->min), g->max);
        counts[i] = (double)m->bins[i].count;
    }
    StatSet binned = statset_of_values(a, values, counts, m->bin_count);
    set.bins = binned.bins;
    set.bin_count = binned.bin_count;
    set.blurred = false;
    return set;
}

static void take_told(struct metric_sink *sink, const MetricTold *m)
{
    struct taking *t = (struct taking *)sink;
    Dimension dims[METRIC_DIMENSIONS_MAX];
    if (t->err.kind != ERR_NONE || m->values.count <= 0)
        return;
    if (t->tx == NULL) // without anything told nothing is written
        t->tx = kv_write(t->cw->store.series);
    CHECK(m->dim_count <= METRIC_DIMENSIONS_MAX && unit_of(m->unit) < UNITS);
    for (size_t i = 0; i < m->dim_count; i++)
        dims[i] = (Dimension){ m->dims[i].name, m->dims[i].value };
    SeriesName name = { .account = m->account,
                        .region = m->region,
                        .name_space = m->name_space,
                        .name = m->name,
                        .dims = dims,
                        .dim_count = m->dim_count };
    ArenaMark before = arena_mark(t->tmp);
    StatSet set = told_set(t->tmp, m);
    t->err =
        series_add(&t->cw->store, t->tx, t->tmp, &name, t->at_s, false, unit_of(m->unit), &set);
    arena_rewind(t->tmp, before);
}

// The values belong to the minute in which they began to be counted.
static void gather(struct ticker *t, int64_t now_s)
{
    struct cloudwatch *cw = t->cw;
    AUTO(arena) tmp = arena_open();
    struct taking taking = { .sink.take = take_told, .cw = cw, .tmp = tmp, .at_s = t->gathered_s };
    metric_hub_tell(cw->env.metrics, &taking.sink);
    t->gathered_s = now_s;
    if (taking.tx == NULL)
        return;
    Err e = taking.err.kind != ERR_NONE ? taking.err : kv_commit(taking.tx);
    kv_txn_close(taking.tx);
    if (e.kind != ERR_NONE)
        LOG(LOG_WARN, "metrics of services were not stored", F_ERR(e));
}

// ---- Alarms

// The alarm is read again: somebody may have changed it meanwhile, and is then right.
static Err change(struct cloudwatch *cw, struct arena *a, Realm r, const Alarm *judged,
                  const Verdict *v, int64_t now_ns)
{
    Alarm alarm;
    AUTO(kv_txn) tx = kv_write(cw->alarms);
    Err e = alarm_get(cw, tx, a, r, judged->alarm_name, &alarm);
    if (e.kind == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    if (alarm.state_updated_timestamp != judged->state_updated_timestamp ||
        alarm.alarm_configuration_updated_timestamp !=
            judged->alarm_configuration_updated_timestamp)
        return OK;
    const Alarm before = alarm;
    TRY(alarm_change_state(cw, tx, a, r, &alarm, v->state, v->reason, v->reason_data, now_ns));
    TRY(alarm_queue_actions(cw, tx, a, r, &alarm, &before));
    TRY(kv_commit(tx));
    alarm_act(cw, a, r, &alarm, judged->state_value);
    return OK;
}

static Err look_at(struct cloudwatch *cw, struct arena *a, Realm r, const Alarm *alarm,
                   int64_t now_ns)
{
    Judgement j;
    TRY(alarm_judge(cw, a, r, alarm, now_ns, &j));
    if (j.verdict.state.p == NULL || str_eq(j.verdict.state, alarm->state_value))
        return OK;
    return change(cw, a, r, alarm, &j.verdict, now_ns);
}

static Err next_alarm(struct cloudwatch *cw, struct arena *a, Str *key, Realm *ret_realm,
                      Alarm *ret)
{
    AUTO(kv_txn) tx = kv_read(cw->alarms);
    return alarm_after(cw, tx, a, *key, key, ret_realm, ret);
}

static void evaluate_all(struct ticker *t, int64_t now_ns, bool short_ones)
{
    AUTO(arena) keys = arena_open();
    Str key = S("");
    for (;;) {
        AUTO(arena) a = arena_open();
        Realm r;
        Alarm alarm;
        Err e = next_alarm(t->cw, a, &key, &r, &alarm);
        if (e.kind == ERR_NOT_FOUND)
            return;
        if (e.kind == ERR_NONE && (alarm_period(&alarm) < MINUTE_S) == short_ones)
            e = look_at(t->cw, a, r, &alarm, now_ns);
        if (e.kind != ERR_NONE && e.kind != ERR_INVALID) { // of a query: the alarm says nothing
            LOG(LOG_WARN, "alarms were not evaluated", F_STR("after", key), F_ERR(e));
            return;
        }
        arena_reset(keys);
        key = str_dup(keys, key);
    }
}

// Composite alarms follow those of their rules within a second, in the same round if it is one's.
static void evaluate_composites(struct ticker *t, int64_t now_ns)
{
    struct cloudwatch *cw = t->cw;
    bool any = true;
    if (!atomic_load(&cw->has_composites))
        return;
    atomic_store(&cw->has_composites, false); // before one may be put
    Err e = composites_round(cw, now_ns, &any);
    if (e.kind != ERR_NONE)
        LOG(LOG_WARN, "composite alarms were not evaluated", F_ERR(e));
    if (any || e.kind != ERR_NONE)
        atomic_store(&cw->has_composites, true);
}

// ---- What is over

static Err expire_some(struct cloudwatch *cw, int64_t now_s, bool *ret_more)
{
    bool more_points, more_history;
    AUTO(kv_txn) tx = kv_write(cw->store.points);
    TRY(series_expire(&cw->store, tx, now_s, EXPIRE_AT_ONCE, &more_points));
    TRY(history_expire(cw, tx, now_s, EXPIRE_AT_ONCE, &more_history));
    *ret_more = more_points || more_history;
    return kv_commit(tx);
}

static void expire(struct ticker *t, int64_t now_s)
{
    bool more = true;
    for (int i = 0; more && i < EXPIRE_ROUNDS_MAX; i++) {
        Err e = expire_some(t->cw, now_s, &more);
        if (e.kind != ERR_NONE) {
            LOG(LOG_WARN, "old metrics were not removed", F_ERR(e));
            return;
        }
    }
}

// ---- The thread

void ticker_round(struct ticker *t, int64_t now_ns)
{
    int64_t now_s = now_ns / NS_PER_S;
    bool minute = now_s / MINUTE_S != t->minute_s / MINUTE_S;
    if (minute)
        gather(t, now_s);
    if (minute || now_s / SHORT_S != t->short_s / SHORT_S) {
        evaluate_all(t, now_ns, true);
        t->short_s = now_s;
    }
    if (minute) {
        evaluate_all(t, now_ns, false);
        t->minute_s = now_s;
    }
    evaluate_composites(t, now_ns);
    if (now_s / HOUR_S != t->hour_s / HOUR_S) {
        expire(t, now_s);
        t->hour_s = now_s;
    }
}

static int64_t wall_ns(const struct ticker *t)
{
    return t->cw->env.io->wall_ns(t->cw->env.io);
}

// Sleeps until it is time to look again; false: the end has come.
static bool sleep_on(struct ticker *t)
{
    struct timespec until;
    pthread_mutex_lock(&t->lock);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LOOK_EVERY_S;
    while (!t->stopping && pthread_cond_timedwait(&t->wake, &t->lock, &until) != ETIMEDOUT)
        continue;
    bool go_on = !t->stopping;
    pthread_mutex_unlock(&t->lock);
    return go_on;
}

static void *run(void *self)
{
    struct ticker *t = self;
    while (sleep_on(t))
        ticker_round(t, wall_ns(t));
    return NULL;
}

void ticker_open(struct cloudwatch *cw, struct ticker **ret)
{
    struct ticker *t = xalloc(sizeof *t);
    pthread_condattr_t monotonic;
    t->cw = cw;
    t->gathered_s = t->short_s = t->minute_s = wall_ns(t) / NS_PER_S; // the first hour is at once
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&t->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *ret = t;
}

void ticker_start(struct ticker *t)
{
    CHECK(pthread_create(&t->thread, NULL, run, t) == 0);
    t->started = true;
}

void ticker_close(struct ticker *t)
{
    if (t == NULL)
        return;
    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
    if (t->started)
        CHECK(pthread_join(t->thread, NULL) == 0);
    gather(t, wall_ns(t) / NS_PER_S);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
