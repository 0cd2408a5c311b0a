// SPDX-License-Identifier: Apache-2.0
// All deliveries of a front door: the heap of due times, the pools, adding, changing, removing.
#include "base/logline.h"
#include "base/time.h"
#include "delivery/delivery_priv.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum {
    COMPUTE_THREADS_MAX = 64,
    COMPUTE_THREADS_OF_PROCESSOR = 8, // all but one of them may wait for the disk
    NETWORK_THREADS = 64,
    QUEUE_MAX = 1 << 24, // lanes, each of which is in a queue once at most
};
#define CALM_NS NS_PER_S // after many were at work, until there is time again

// ---- The heap. The lock is held.

static bool is_sooner(const struct deliveries *d, size_t x, size_t y)
{
    return d->heap[x]->due_ms < d->heap[y]->due_ms;
}

static void put_at(struct deliveries *d, size_t at, struct lane *l)
{
    d->heap[at] = l;
    l->heap_at = at + 1;
}

static void swap(struct deliveries *d, size_t x, size_t y)
{
    struct lane *l = d->heap[x];
    put_at(d, x, d->heap[y]);
    put_at(d, y, l);
}

static void sift(struct deliveries *d, size_t at)
{
    for (; at > 0 && is_sooner(d, at, (at - 1) / 2); at = (at - 1) / 2)
        swap(d, at, (at - 1) / 2);
    for (size_t child; (child = 2 * at + 1) < d->heap_n; at = child) {
        if (child + 1 < d->heap_n && is_sooner(d, child + 1, child))
            child++;
        if (!is_sooner(d, child, at))
            break;
        swap(d, child, at);
    }
}

static void take_out(struct deliveries *d, struct lane *l)
{
    if (l->heap_at == 0)
        return;
    size_t at = l->heap_at - 1;
    l->heap_at = 0;
    if (at == --d->heap_n)
        return;
    put_at(d, at, d->heap[d->heap_n]);
    sift(d, at);
}

void lane_schedule_locked(struct lane *l, int64_t due_ms)
{
    struct deliveries *d = l->v->d;
    if (l->is_busy || l->is_removed || due_ms == NEVER_MS || atomic_load(&d->stopping))
        return;
    if (l->heap_at != 0 && l->due_ms <= due_ms)
        return;
    l->due_ms = due_ms;
    if (l->heap_at == 0) {
        if (d->heap_n == d->heap_cap) {
            d->heap_cap = MAX(2 * d->heap_cap, (size_t)16);
            d->heap = xrealloc(d->heap, mul_checked(d->heap_cap, sizeof(struct lane *)));
        }
        put_at(d, d->heap_n++, l);
    }
    sift(d, l->heap_at - 1);
    if (d->heap[0] == l)
        chores_at(&d->timer, delivery_wall_ms(d, due_ms));
}

// ---- Running

static bool config_needs_network(const DeliveryConfig *c)
{
    bool waits = c->kind != DELIVER_S3;
    for (size_t i = 0; i < c->step_count; i++)
        waits |= c->steps[i].kind == STEP_LAMBDA;
    return waits;
}

static struct pool *pool_for(const struct lane *l)
{
    const struct delivery_env *env = &l->v->d->env;
    bool waits = !l->is_backup && config_needs_network(&l->v->config->is);
    return waits && env->network != NULL ? env->network : env->compute;
}

// On the service's pool: what is due goes to a pool of ours.
int64_t deliveries_start_due(void *self)
{
    struct deliveries *d = self;
    int64_t now_ms = delivery_now_ms(d);
    pthread_mutex_lock(&d->lock);
    while (d->heap_n > 0 && d->heap[0]->due_ms <= now_ms && !atomic_load(&d->stopping)) {
        struct lane *l = d->heap[0];
        take_out(d, l);
        l->is_busy = true;
        l->computes = pool_for(l) == d->env.compute;
        d->busy++;
        d->computing += l->computes;
        d->runs++;
        CHECK(pool_submit(pool_for(l), &l->task).kind == ERR_NONE); // the queue has room for all
    }
    int64_t next_ms =
        d->heap_n > 0 ? delivery_wall_ms(d, d->heap[0]->due_ms) : (int64_t)CHORES_NEVER;
    pthread_mutex_unlock(&d->lock);
    return next_ms;
}

// Whether there is more to compute than processors are for it, or was a moment ago: the last of
// many that are due together are not to take longer than all before them. The lock is held.
static bool is_crowded(struct deliveries *d)
{
    int64_t now_ns = d->env.io->mono_ns(d->env.io);
    if (d->computing > d->processors)
        d->crowded_until_ns = now_ns + CALM_NS;
    return now_ns < d->crowded_until_ns;
}

void lane_run(struct task *t)
{
    struct lane *l = (struct lane *)t;
    struct deliveries *d = l->v->d;
    if (!lane_must_stop(l))
        lane_work(l);
    pthread_mutex_lock(&d->lock);
    is_crowded(d); // so that it is known when it ended
    l->is_busy = false;
    d->busy--;
    d->computing -= l->computes;
    lane_schedule_locked(l, lane_due_ms(l));
    pthread_cond_broadcast(&d->ended);
    pthread_mutex_unlock(&d->lock);
}

// ---- Opening and its end

static bool env_stopping(const struct delivery_env *env)
{
    return atomic_load(&((const struct deliveries *)env)->stopping);
}

// In steps, because the clock may be moved and the server may end.
static bool env_sleep(const struct delivery_env *env, int64_t ns)
{
    enum { STEP_MS = 50 };
    struct io *io = env->io;
    int64_t until_ns = io->mono_ns(io) + ns;
    while (!env_stopping(env) && io->mono_ns(io) < until_ns)
        io_real()->sleep_ns(io_real(), MIN(ns, STEP_MS * NS_PER_MS));
    return !env_stopping(env);
}

static size_t count_processors(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (size_t)MAX(CPU_COUNT(&set), 1) : 1;
}

static unsigned compute_threads(const struct deliveries *d)
{
    return (unsigned)MIN(d->processors * COMPUTE_THREADS_OF_PROCESSOR, (size_t)COMPUTE_THREADS_MAX);
}

static DeliveryEffort effort_of(Str word)
{
    return str_eq(word, S("fast"))    ? EFFORT_FAST
           : str_eq(word, S("small")) ? EFFORT_SMALL
                                      : EFFORT_AUTO;
}

bool deliveries_are_many(struct deliveries *d)
{
    pthread_mutex_lock(&d->lock);
    bool many = is_crowded(d);
    pthread_mutex_unlock(&d->lock);
    return many;
}

static Err open_pools(struct deliveries *d, Str name)
{
    AUTO(arena) tmp = arena_open();
    TRY(kv_table_open(d->env.kv, str_cat(tmp, name, S(".positions")), &d->positions));
    return pool_open(compute_threads(d), QUEUE_MAX, "delivery", &d->env.compute);
}

// Threads that wait for others are had when the first delivery needs them.
static Err need_pool(struct deliveries *d, const DeliveryConfig *c)
{
    struct pool *made = NULL;
    if (!config_needs_network(c) || d->env.network != NULL)
        return OK;
    TRY(pool_open(NETWORK_THREADS, QUEUE_MAX, "deliver-net", &made));
    pthread_mutex_lock(&d->lock);
    struct pool *unneeded = d->env.network != NULL ? made : NULL; // somebody was faster
    if (unneeded == NULL)
        d->env.network = made;
    pthread_mutex_unlock(&d->lock);
    pool_close(unneeded);
    return OK;
}

Err deliveries_open(const struct service_env *env, Str name, struct deliveries **ret)
{
    struct deliveries *d = xalloc(sizeof *d);
    d->env = (struct delivery_env){ .io = env->io,
                                    .kv = env->kv,
                                    .log = env->log,
                                    .hub = env->hub,
                                    .plain_http = !env->public_destinations,
                                    .verify = !env->unverified_destinations,
                                    .ca_file = env->destinations_ca.n > 0 ? env->destinations_ca
                                                                          : (Str){ 0 },
                                    .sign_keys = env->destinations_keys,
                                    .sign_always = env->destinations_sign,
                                    .effort = effort_of(env->destinations_gzip),
                                    .stopping = env_stopping,
                                    .sleep = env_sleep };
    d->service = *env;
    d->processors = count_processors();
    d->room_bytes = room_bytes(env->destinations_bytes);
    d->arena = arena_open();
    d->name = str_dup(d->arena, name);
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_init(&d->clock_lock, NULL);
    pthread_cond_init(&d->ended, NULL);
    chores_init(&d->timer, &d->service, deliveries_start_due, d);
    Err e = open_pools(d, name);
    if (e.kind != ERR_NONE) {
        deliveries_close(d);
        return e;
    }
    chores_start(&d->timer);
    *ret = d;
    return OK;
}

uint64_t deliveries_wait(struct deliveries *d)
{
    pthread_mutex_lock(&d->lock);
    while (d->busy > 0)
        pthread_cond_wait(&d->ended, &d->lock);
    uint64_t runs = d->runs;
    pthread_mutex_unlock(&d->lock);
    return runs;
}

void deliveries_stop(struct deliveries *d)
{
    atomic_store(&d->stopping, true);
    chores_stop(&d->timer);
    (void)deliveries_wait(d);
    for (struct delivery *v = d->first; v != NULL; v = v->next) { // nothing changes any more
        held_drop(&v->main);
        partitions_drop(&v->main);
        reader_stop(&v->main);
        if (v->backup != NULL)
            reader_stop(v->backup);
    }
    pool_close(d->env.compute);
    pool_close(d->env.network);
    d->env.compute = d->env.network = NULL;
}

void deliveries_close(struct deliveries *d)
{
    if (d == NULL)
        return;
    if (!atomic_load(&d->stopping))
        deliveries_stop(d);
    chores_done(&d->timer);
    CHECK(d->heap_n == 0);
    free(d->heap);
    pthread_cond_destroy(&d->ended);
    pthread_mutex_destroy(&d->lock);
    pthread_mutex_destroy(&d->clock_lock);
    arena_close(d->arena);
    free(d);
}

// ---- Deliveries

static struct shared_config *share(const DeliveryConfig *config)
{
    struct shared_config *c = xalloc(sizeof *c);
    atomic_init(&c->refs, 1);
    c->is = *config;
    return c;
}

Err delivery_check(struct deliveries *d, const DeliveryConfig *config, struct arena *a,
                   Str *ret_text)
{
    struct shared_config *c = share(config);
    AUTO(plan) main = NULL, *backup = NULL;
    c->is.arena = NULL; // the caller's
    Err e = plan_open(&d->env, c, false, &main, a, ret_text);
    if (e.kind == ERR_NONE)
        e = plan_check(main, a, ret_text);
    if (e.kind == ERR_NONE && config->backup_all)
        e = plan_open(&d->env, c, true, &backup, a, ret_text);
    config_unref(c);
    return e;
}

static struct lane *open_backup(struct delivery *v)
{
    struct lane *l = xalloc(sizeof *l);
    lane_init(l, v, true);
    return l;
}

Err delivery_add(struct deliveries *d, const DeliveryConfig *config, struct delivery **ret)
{
    LogSpan span = { 0 };
    TRY(need_pool(d, config));
    if (config->direct_shard != 0) {
        TRY(log_span(d->env.log, config->direct_shard, &span));
        log_shard_pass(d->env.log, config->direct_shard, 0);
    }
    struct delivery *v = xalloc(sizeof *v);
    v->d = d;
    v->id = config->id;
    v->config = share(config);
    lane_init(&v->main, v, false);
    v->main.direct_limit = span.next;
    if (config->backup_all) {
        v->backup = open_backup(v);
        v->backup->direct_limit = span.next;
    }
    int64_t now_ms = delivery_now_ms(d);
    pthread_mutex_lock(&d->lock);
    v->next = d->first;
    if (v->next != NULL)
        v->next->previous = v;
    d->first = v;
    lane_schedule_locked(&v->main, now_ms); // what waits is counted
    if (v->backup != NULL)
        lane_schedule_locked(v->backup, now_ms);
    pthread_mutex_unlock(&d->lock);
    *ret = v;
    return OK;
}

// The lane is not running any more, and will not. The lock is held.
static void stop_lane_locked(struct lane *l)
{
    struct deliveries *d = l->v->d;
    l->is_removed = true;
    atomic_store(&l->is_cut, true);
    take_out(d, l);
    while (l->is_busy)
        pthread_cond_wait(&d->ended, &d->lock);
}

void delivery_change(struct delivery *v, const DeliveryConfig *config)
{
    struct deliveries *d = v->d;
    struct shared_config *c = share(config);
    struct lane *backup = NULL;
    LogSpan span = { 0 };
    Err e = need_pool(d, config);
    if (e.kind != ERR_NONE) // slower, but it works
        LOG(LOG_WARN, "no threads for deliveries that wait", F_ERR(e));
    if (config->backup_all && v->backup == NULL) {
        backup = open_backup(v);
        backup->begin_now = true; // what came before was not to be backed up
        if (config->direct_shard != 0 &&
            log_span(d->env.log, config->direct_shard, &span).kind == ERR_NONE)
            backup->direct_limit = span.next;
    }
    int64_t now_ms = delivery_now_ms(d);
    pthread_mutex_lock(&d->lock);
    struct shared_config *old = v->config;
    v->config = c;
    v->main.is_changed = true;
    if (v->backup != NULL)
        atomic_load(&v->backup)->is_changed = true;
    lane_schedule_locked(&v->main, now_ms); // its hints may be others
    if (backup != NULL) {
        v->backup = backup;
        lane_schedule_locked(backup, now_ms);
    } else if (v->backup != NULL) {
        lane_schedule_locked(v->backup, now_ms);
    }
    pthread_mutex_unlock(&d->lock);
    config_unref(old);
}

void delivery_remove(struct delivery *v)
{
    struct deliveries *d = v->d;
    pthread_mutex_lock(&d->lock);
    stop_lane_locked(&v->main);
    if (v->backup != NULL)
        stop_lane_locked(v->backup);
    if (v->next != NULL)
        v->next->previous = v->previous;
    *(v->previous != NULL ? &v->previous->next : &d->first) = v->next;
    pthread_mutex_unlock(&d->lock);
    lane_done(&v->main);
    if (v->backup != NULL)
        lane_done(v->backup);
    free(v->backup);
    notes_done(v);
    config_unref(v->config);
    free(v);
}

Err deliveries_forget(struct deliveries *d, struct kv_txn *tx, uint64_t id)
{
    return reader_forget(d, tx, id);
}

// ---- What happens to them from outside

// Only what makes the lane due sooner takes the lock: the first record, and the one that fills the
// buffer.
static void arrived(struct lane *l, int64_t records, int64_t bytes)
{
    struct deliveries *d = l->v->d;
    int64_t before = atomic_fetch_add(&l->pending_records, records);
    int64_t held = atomic_fetch_add(&l->pending_bytes, bytes);
    int64_t size = atomic_load(&l->size_bytes);
    bool is_first = before <= 0, fills = held < size && held + bytes >= size;
    if (!is_first && !fills)
        return;
    int64_t none = 0, now_ms = delivery_now_ms(d);
    if (is_first)
        atomic_compare_exchange_strong(&l->oldest_ms, &none, now_ms);
    pthread_mutex_lock(&d->lock);
    if (!l->is_busy)
        lane_schedule_locked(l, lane_due_ms(l));
    pthread_mutex_unlock(&d->lock);
}

void delivery_arrived(struct delivery *v, size_t records, size_t bytes)
{
    arrived(&v->main, (int64_t)records, (int64_t)bytes);
    struct lane *backup = atomic_load(&v->backup);
    if (backup != NULL)
        arrived(backup, (int64_t)records, (int64_t)bytes);
}

void delivery_flush(struct delivery *v)
{
    struct deliveries *d = v->d;
    int64_t now_ms = delivery_now_ms(d);
    pthread_mutex_lock(&d->lock);
    v->main.flush = true;
    lane_schedule_locked(&v->main, now_ms);
    if (v->backup != NULL) {
        v->backup->flush = true;
        lane_schedule_locked(v->backup, now_ms);
    }
    pthread_mutex_unlock(&d->lock);
}
