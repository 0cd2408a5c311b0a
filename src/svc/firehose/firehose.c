// SPDX-License-Identifier: Apache-2.0
#include "svc/firehose/firehose.h"
#include "base/logline.h"
#include "base/time.h"
#include "store/log.h"
#include "store/master.h"
#include "svc/firehose/config.h"
#include "svc/firehose/crypt.h"
#include "svc/firehose/destination.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    RETRY_MS = 1000,   // after the end of a stream has failed
    FORGET_WAIT_S = 5, // that a deletion waits for it
};

// ---- Finding

Err firehose_not_found(struct call *c, Str name)
{
    return call_fail(c, &firehose_ResourceNotFoundException,
                     "Firehose %.*s under account %.*s not found.", FMT(name), FMT(c->account));
}

void hose_view_done(HoseView *v)
{
    hose_state_unref(v->state);
    hose_unref(v->hose);
    *v = (HoseView){ 0 };
}

bool firehose_look(struct firehose *f, struct arena *tmp, const HoseName *n, HoseView *ret)
{
    Str key = hose_row_key(tmp, n->account, n->region, n->name);
    pthread_rwlock_rdlock(&f->lock);
    struct hose *h = map_get(f->by_key, key);
    if (h != NULL)
        *ret = (HoseView){ .hose = hose_ref(h), .state = hose_state_ref(h->state) };
    pthread_rwlock_unlock(&f->lock);
    if (h != NULL)
        ret->f = &ret->state->f;
    return h != NULL;
}

Err firehose_find(struct call *c, Str name, HoseView *ret)
{
    HoseName n = { c->account, c->region, name };
    return firehose_look(c->state, c->arena, &n, ret) ? OK : firehose_not_found(c, name);
}

void firehose_renew(struct firehose *f, HoseView *v)
{
    pthread_rwlock_rdlock(&f->lock);
    struct hose_state *now = hose_state_ref(v->hose->state);
    pthread_rwlock_unlock(&f->lock);
    hose_state_unref(v->state);
    v->state = now;
    v->f = &now->f;
}

// ---- The table in memory

// The first place in `sorted` whose key is not below the given one.
static size_t lower_bound(const struct firehose *f, Str account, Str region, Str name)
{
    size_t low = 0, high = f->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct hose *h = f->sorted[middle];
        int order = str_cmp(h->account, account);
        order = order != 0 ? order : str_cmp(h->region, region);
        order = order != 0 ? order : str_cmp(h->name, name);
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void firehose_realm(const struct firehose *f, Str account, Str region, size_t *ret_first,
                    size_t *ret_n)
{
    size_t first = lower_bound(f, account, region, S("")), end = first;
    while (end < f->count && str_eq(f->sorted[end]->account, account) &&
           str_eq(f->sorted[end]->region, region))
        end++;
    *ret_first = first;
    *ret_n = end - first;
}

void firehose_insert(struct firehose *f, struct hose *take_h)
{
    AUTO(arena) tmp = arena_open();
    Str key = hose_row_key(tmp, take_h->account, take_h->region, take_h->name);
    pthread_rwlock_wrlock(&f->lock);
    size_t at = lower_bound(f, take_h->account, take_h->region, take_h->name);
    f->sorted = xrealloc(f->sorted, mul_checked(f->count + 1, sizeof *f->sorted));
    memmove(&f->sorted[at + 1], &f->sorted[at], (f->count - at) * sizeof *f->sorted);
    f->sorted[at] = take_h;
    f->count++;
    CHECK(map_put(f->by_key, key, take_h) == NULL);
    pthread_rwlock_unlock(&f->lock);
}

static void take_out(struct firehose *f, struct hose *h)
{
    AUTO(arena) tmp = arena_open();
    Str key = hose_row_key(tmp, h->account, h->region, h->name);
    pthread_rwlock_wrlock(&f->lock);
    size_t at = lower_bound(f, h->account, h->region, h->name);
    CHECK(at < f->count && f->sorted[at] == h);
    f->count--;
    memmove(&f->sorted[at], &f->sorted[at + 1], (f->count - at) * sizeof *f->sorted);
    CHECK(map_take(f->by_key, key) == h);
    h->gone = true;
    pthread_rwlock_unlock(&f->lock);
    hose_unref(h); // the table's reference
}

// ---- Changing

Err firehose_change_begin(struct call *c)
{
    struct firehose *f = c->state;
    if (atomic_fetch_add(&f->changers, 1) >= CHANGERS_MAX) {
        atomic_fetch_sub(&f->changers, 1);
        return call_fail(c, &aws_ThrottlingException, "Rate exceeded");
    }
    pthread_mutex_lock(&f->changing);
    return OK;
}

void firehose_change_end(struct firehose *f)
{
    pthread_mutex_unlock(&f->changing);
    atomic_fetch_sub(&f->changers, 1);
}

// The master key is made with the first secret.
static Err need_master(struct firehose *f, const HoseFields *fields)
{
    if (fields->secrets.n == 0 || f->has_master)
        return OK;
    TRY(master_read_or_make(f->env.io, f->env.data_dir, f->master));
    f->has_master = true;
    return OK;
}

static Err put_row(struct firehose *f, struct kv_txn *tx, const struct hose *h,
                   const HoseFields *fields)
{
    AUTO_BUF(row);
    AUTO(arena) tmp = arena_open();
    hose_row_write(&row, f->env.io, f->master, h, fields);
    TRY(buf_err(&row));
    return kv_put(tx, hose_row_key(tmp, h->account, h->region, h->name), buf_str(&row));
}

Err firehose_change(struct firehose *f, struct hose *h, const HoseFields *fields)
{
    TRY(need_master(f, fields));
    AUTO(kv_txn) tx = kv_write(f->rows);
    TRY(put_row(f, tx, h, fields));
    TRY(kv_commit(tx));

    struct hose_state *now = hose_state_new(fields), *before;
    pthread_rwlock_wrlock(&f->lock);
    before = h->state;
    h->state = now;
    pthread_rwlock_unlock(&f->lock);
    hose_state_unref(before);
    return OK;
}

Err firehose_commit_new(struct firehose *f, struct hose *h, const HoseFields *fields)
{
    TRY(need_master(f, fields));
    AUTO(kv_txn) tx = kv_write(f->rows);
    TRY(kv_next_id(tx, &h->id));
    TRY(put_row(f, tx, h, fields));
    TRY(kv_commit(tx));
    h->state = hose_state_new(fields);
    return OK;
}

// ---- Deliveries

static Err make_config(struct firehose *f, struct hose *h, DeliveryConfig **ret)
{
    pthread_rwlock_rdlock(&f->lock);
    AUTO(hose_state) s = hose_state_ref(h->state);
    pthread_rwlock_unlock(&f->lock);
    return hose_config_make(f, h, &s->f, ret);
}

Err firehose_begin(struct firehose *f, struct hose *h)
{
    DeliveryConfig *config;
    struct delivery *v;
    if (h->state->f.source_arn.p == NULL)
        TRY(log_shard_add(f->env.log, h->id, HOSE_RETENTION_NS));
    TRY(make_config(f, h, &config));
    Err e = delivery_add(f->deliveries, config, &v);
    if (e.kind != ERR_NONE) {
        arena_close(config->arena);
        return e;
    }
    pthread_rwlock_wrlock(&f->lock);
    h->delivery = v;
    pthread_rwlock_unlock(&f->lock);
    return OK;
}

Err firehose_reconfigure(struct firehose *f, struct hose *h)
{
    DeliveryConfig *config;
    if (h->delivery == NULL)
        return firehose_begin(f, h);
    TRY(make_config(f, h, &config));
    delivery_change(h->delivery, config);
    return OK;
}

// False: somebody else is ending the stream, or has.
static bool begin_end(struct firehose *f, struct hose *h, struct delivery **ret)
{
    pthread_rwlock_wrlock(&f->lock);
    bool mine = !h->gone && !h->ending;
    *ret = mine ? h->delivery : NULL;
    if (mine) {
        h->ending = true;
        h->delivery = NULL; // from here on no put tells it of records
    }
    pthread_rwlock_unlock(&f->lock);
    return mine;
}

static Err forget_locked(struct firehose *f, struct hose *h)
{
    AUTO(arena) tmp = arena_open();
    if (h->state->f.source_arn.p == NULL)
        TRY(log_shards_drop(f->env.log, &h->id, 1));
    AUTO(kv_txn) tx = kv_write(f->rows);
    TRY(kv_del(tx, hose_row_key(tmp, h->account, h->region, h->name)));
    TRY(hose_crypt_del_keys(f, tx, h)); // what they encrypted is gone
    TRY(deliveries_forget(f->deliveries, tx, h->id));
    TRY(kv_commit(tx));
    take_out(f, h);
    return OK;
}

Err firehose_forget(struct firehose *f, struct hose *h)
{
    struct delivery *v;
    if (!begin_end(f, h, &v))
        return OK;
    if (v != NULL)
        delivery_remove(v);           // may wait as long as an attempt at a destination takes
    pthread_mutex_lock(&f->changing); // nobody writes its row any more
    Err e = forget_locked(f, h);
    if (e.kind != ERR_NONE) {
        pthread_rwlock_wrlock(&f->lock);
        h->ending = false;
        pthread_rwlock_unlock(&f->lock);
    }
    pthread_cond_broadcast(&f->forgotten);
    pthread_mutex_unlock(&f->changing);
    return e;
}

void firehose_forget_at(struct firehose *f, int64_t due_ms)
{
    chores_at(&f->chores, due_ms);
}

void firehose_wait_forgotten(struct firehose *f, struct hose *h)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += FORGET_WAIT_S;
    while (!h->gone && pthread_cond_timedwait(&f->forgotten, &f->changing, &until) == 0)
        continue;
}

// The first stream that is due, or NULL; when the next one is.
static struct hose *next_due(struct firehose *f, int64_t now_ms, int64_t *ret_next_ms)
{
    struct hose *found = NULL;
    *ret_next_ms = CHORES_NEVER;
    pthread_rwlock_rdlock(&f->lock);
    for (size_t i = 0; i < f->count && found == NULL; i++) {
        const HoseFields *x = &f->sorted[i]->state->f;
        if (!x->deleting || f->sorted[i]->ending)
            continue;
        if (x->due_ms <= now_ms)
            found = hose_ref(f->sorted[i]);
        else
            *ret_next_ms = MIN(*ret_next_ms, x->due_ms);
    }
    pthread_rwlock_unlock(&f->lock);
    return found;
}

static int64_t run_chores(void *self)
{
    struct firehose *f = self;
    int64_t next_ms = CHORES_NEVER;
    for (;;) {
        AUTO(hose) h = next_due(f, firehose_now_ms(f), &next_ms);
        if (h == NULL)
            return next_ms;
        Err e = firehose_forget(f, h);
        if (e.kind == ERR_NONE)
            continue;
        LOG(LOG_WARN, "a delivery stream is not gone yet", F_STR("stream", h->arn), F_ERR(e));
        return firehose_now_ms(f) + RETRY_MS;
    }
}

// ---- Opening

static Err load_master(struct firehose *f)
{
    Err e = master_read(f->env.io, f->env.data_dir, f->master);
    f->has_master = e.kind == ERR_NONE;
    return e.kind == ERR_NOT_FOUND ? OK : e;
}

// All rows into memory. The scan ends before anything is changed.
static Err load_rows(struct firehose *f)
{
    AUTO(kv_txn) tx = kv_read(f->rows);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&scan)) {
        AUTO(arena) tmp = arena_open();
        struct hose *h = NULL;
        Err e = OK;
        if (!f->has_master && hose_row_has_secrets(scan.value))
            e = load_master(f);
        if (e.kind == ERR_NONE)
            e = hose_row_read(tmp, f->has_master ? f->master : NULL, scan.rest, scan.value, &h);
        if (e.kind != ERR_NONE) {
            LOG(LOG_ERROR, "a delivery stream cannot be read", F_STR("row", scan.rest), F_ERR(e));
            kv_scan_end(&scan);
            return e;
        }
        firehose_insert(f, h);
    }
    return scan.err;
}

// A destination that was good once may be none any more (a setting has changed): the stream takes
// records all the same, until its destination is updated.
static Err begin_again(struct firehose *f, struct hose *h)
{
    Err e = firehose_begin(f, h);
    if (e.kind != ERR_INVALID)
        return e;
    LOG(LOG_ERROR, "a delivery stream does not deliver", F_STR("stream", h->arn), F_ERR(e));
    return OK;
}

// What a crash interrupted goes on: streams that are being deleted are forgotten when they are due.
static Err recover(struct firehose *f)
{
    int64_t now_ms = firehose_now_ms(f);
    for (size_t i = 0; i < f->count;) {
        AUTO(hose) h = hose_ref(f->sorted[i]);
        const HoseFields *x = &h->state->f;
        if (x->deleting) {
            if (x->source_arn.p == NULL) // known to the log until it is dropped
                TRY(log_shard_add(f->env.log, h->id, HOSE_RETENTION_NS));
            Err e = x->due_ms <= now_ms ? firehose_forget(f, h) : OK;
            if (e.kind != ERR_NONE) // the disk may be full: it can be emptied once we are there
                LOG(LOG_WARN, "a delivery stream is not gone yet", F_STR("stream", h->arn),
                    F_ERR(e));
        } else {
            TRY(begin_again(f, h));
        }
        i += !h->gone;
    }
    return OK;
}

static void firehose_close(void *state)
{
    struct firehose *f = state;
    if (f == NULL)
        return;
    metric_hub_remove(f->env.metrics, &f->metrics);
    for (size_t i = 0; i < f->count; i++) {
        struct hose *h = f->sorted[i];
        if (h->delivery != NULL)
            delivery_remove(h->delivery);
        h->delivery = NULL;
        hose_unref(h);
    }
    deliveries_close(f->deliveries);
    free(f->sorted);
    map_close(f->by_key);
    chores_done(&f->chores);
    commits_close(f->commits);
    call_rates_close(f->call_rates);
    pthread_cond_destroy(&f->forgotten);
    pthread_mutex_destroy(&f->making_keys);
    pthread_rwlock_destroy(&f->lock);
    pthread_mutex_destroy(&f->changing);
    hose_lists_done(&f->lists);
    explicit_bzero(f->master, sizeof f->master);
    free(f);
}

static Err firehose_load(struct firehose *f)
{
    int64_t next_ms;
    TRY(kv_table_open(f->env.kv, S("firehose.streams"), &f->rows));
    TRY(kv_table_open(f->env.kv, S("firehose.keys"), &f->keys));
    TRY(deliveries_open(&f->env, S("firehose"), &f->deliveries));
    TRY(load_rows(f));
    TRY(recover(f));
    hose_unref(next_due(f, INT64_MIN, &next_ms)); // none: nothing is due that early
    chores_at(&f->chores, next_ms);
    chores_start(&f->chores);
    return OK;
}

static void firehose_stop(void *state)
{
    struct firehose *f = state;
    deliveries_stop(f->deliveries); // first: the chores may wait for one
    chores_stop(&f->chores);
}

static Err firehose_open(const struct service_env *env, void **ret_state)
{
    struct firehose *f = xalloc(sizeof *f);
    f->env = *env;
    f->by_key = map_open();
    f->call_rates = call_rates_open();
    commits_open(env->log, env->loops, env->loop_count, &f->commits);
    chores_init(&f->chores, &f->env, run_chores, f);
    pthread_mutex_init(&f->changing, NULL);
    pthread_mutex_init(&f->lists.lock, NULL);
    pthread_cond_init(&f->forgotten, NULL);
    pthread_mutex_init(&f->making_keys, NULL);
    pthread_rwlock_init(&f->lock, NULL);
    env->io->random(env->io, f->id_secret, sizeof f->id_secret);
    Err e = destination_check_domains(env);
    if (e.kind == ERR_NONE)
        e = firehose_load(f);
    if (e.kind != ERR_NONE) {
        firehose_close(f);
        return e;
    }
    f->metrics.tell = firehose_tell_metrics;
    metric_hub_add(f->env.metrics, &f->metrics);
    *ret_state = f;
    return OK;
}

extern const struct service firehose_service;
const struct service firehose_service = {
    .api = &firehose_api,
    .targets = &firehose_targets,
    .pages = firehose_pages,
    .page_count = FIREHOSE_PAGES,
    .open = firehose_open,
    .stop = firehose_stop,
    .close = firehose_close,
};
