// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/kinesis.h"
#include "base/logline.h"
#include "base/time.h"
#include "svc/kinesis/crypt.h"
#include "svc/kinesis/operate.h"
#include "svc/kinesis/consumers.h"
#include "svc/kinesis/subscribe.h"
#include "svc/kinesis/channels.h"
#include "svc/kinesis/queues.h"

#include <stdlib.h>
#include <string.h>

enum { ID_CHARS = 24 };
enum { ENDS_AT_ONCE = 1000 }; // shards by one barrier: their control records fit into any block

// ---- Finding

Err kinesis_not_found(struct call *c, Str stream_name)
{
    return call_fail(c, &kinesis_ResourceNotFoundException,
                     "Stream %.*s under account %.*s not found.", FMT(stream_name),
                     FMT(c->account));
}

Str kinesis_name_in_arn(const struct call *c, Str arn)
{
    Str part[6];
    for (size_t i = 0; i < 5; i++)
        if (!str_cut(arn, ':', &part[i], &arn))
            return (Str){ 0 };
    if (!str_starts(arn, S("stream/")) || !str_eq(part[3], c->region) ||
        !str_eq(part[4], c->account))
        return (Str){ 0 };
    return str_skip(arn, sizeof "stream/" - 1);
}

Str kinesis_name_given(StreamRef ref)
{
    if (ref.name.p != NULL)
        return ref.name;
    return ref.arn.p != NULL ? str_skip(ref.arn, MIN(str_find(ref.arn, '/') + 1, ref.arn.n))
                             : ref.id;
}

static struct stream *find_by_name(struct kinesis *k, const struct call *c, Str name)
{
    Str key = stream_row_key(c->arena, c->account, c->region, name);
    pthread_rwlock_rdlock(&k->lock);
    struct stream *s = map_get(k->by_key, key);
    if (s != NULL)
        stream_ref(s);
    pthread_rwlock_unlock(&k->lock);
    return s;
}

static struct stream *find_by_id(struct kinesis *k, const struct call *c, Str id)
{
    struct stream *found = NULL;
    size_t first, n;
    pthread_rwlock_rdlock(&k->lock);
    kinesis_realm(k, c, &first, &n);
    for (size_t i = first; i < first + n && found == NULL; i++)
        if (str_eq(k->sorted[i]->id, id))
            found = stream_ref(k->sorted[i]);
    pthread_rwlock_unlock(&k->lock);
    return found;
}

Err kinesis_find(struct call *c, StreamRef ref, struct stream **ret)
{
    struct kinesis *k = c->state;
    Str name = ref.name;
    if (rates_apply(&k->rates, c))
        TRY(kinesis_admit(c, kinesis_name_given(ref)));
    if (ref.arn.p != NULL) {
        Str in_arn = kinesis_name_in_arn(c, ref.arn);
        if (name.p != NULL && !str_eq(name, in_arn))
            return call_fail(c, &kinesis_InvalidArgumentException,
                             "StreamName %.*s and StreamARN %.*s name different streams.",
                             FMT(name), FMT(ref.arn));
        if (in_arn.p == NULL) // another account's or region's: not to be seen from here
            return call_fail(c, &kinesis_ResourceNotFoundException,
                             "Stream %.*s not found under account %.*s.", FMT(ref.arn),
                             FMT(c->account));
        name = in_arn;
    }
    if (name.p == NULL && ref.id.p == NULL)
        return call_fail(c, &kinesis_InvalidArgumentException,
                         "Either StreamName or StreamARN should be provided.");
    struct stream *s = name.p != NULL ? find_by_name(k, c, name) : find_by_id(k, c, ref.id);
    if (s == NULL)
        return kinesis_not_found(c, name.p != NULL ? name : ref.id);
    *ret = s;
    return OK;
}

Err kinesis_find_arn(struct call *c, Str resource_arn, struct stream **ret)
{
    Str name = kinesis_name_in_arn(c, resource_arn);
    TRY(kinesis_admit(c, name));
    struct stream *s = name.p != NULL ? find_by_name(c->state, c, name) : NULL;
    if (s == NULL)
        return call_fail(c, &kinesis_ResourceNotFoundException,
                         "Resource %.*s under account %.*s not found.", FMT(resource_arn),
                         FMT(c->account));
    *ret = s;
    return OK;
}

Err kinesis_require_active(struct call *c, const struct stream *s)
{
    bool is_changing = s->status == STREAM_ACTIVE && s->change.kind != CHANGE_NONE; // by itself
    if (s->status == STREAM_ACTIVE && !is_changing)
        return OK;
    return call_fail(c, &kinesis_ResourceInUseException,
                     "Stream %.*s under account %.*s not ACTIVE, instead in state %.*s",
                     FMT(s->name), FMT(s->account),
                     FMT(stream_status_name(is_changing ? STREAM_UPDATING : s->status)));
}

// ---- The table in memory

// The first place in `sorted` whose key is not below the given one.
static size_t lower_bound(const struct kinesis *k, Str account, Str region, Str name)
{
    size_t low = 0, high = k->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct stream *s = k->sorted[middle];
        int order = str_cmp(s->account, account);
        order = order != 0 ? order : str_cmp(s->region, region);
        order = order != 0 ? order : str_cmp(s->name, name);
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void kinesis_realm(const struct kinesis *k, const struct call *c, size_t *ret_first, size_t *ret_n)
{
    size_t first = lower_bound(k, c->account, c->region, S(""));
    size_t end = first;
    while (end < k->count && str_eq(k->sorted[end]->account, c->account) &&
           str_eq(k->sorted[end]->region, c->region))
        end++;
    *ret_first = first;
    *ret_n = end - first;
}

Str kinesis_realm_name(const struct call *c)
{
    return str_fmt(c->arena, "%.*s/%.*s", FMT(c->account), FMT(c->region));
}

void kinesis_insert(struct kinesis *k, struct stream *take_s)
{
    AUTO(arena) tmp = arena_open();
    Str key = stream_row_key(tmp, take_s->account, take_s->region, take_s->name);
    pthread_rwlock_wrlock(&k->lock);
    size_t at = lower_bound(k, take_s->account, take_s->region, take_s->name);
    k->sorted = xrealloc(k->sorted, mul_checked(k->count + 1, sizeof *k->sorted));
    memmove(&k->sorted[at + 1], &k->sorted[at], (k->count - at) * sizeof *k->sorted);
    k->sorted[at] = take_s;
    k->count++;
    CHECK(map_put(k->by_key, key, take_s) == NULL);
    pthread_rwlock_unlock(&k->lock);
}

void kinesis_remove(struct kinesis *k, struct stream *s)
{
    AUTO(arena) tmp = arena_open();
    Str key = stream_row_key(tmp, s->account, s->region, s->name);
    pthread_rwlock_wrlock(&k->lock);
    size_t at = lower_bound(k, s->account, s->region, s->name);
    CHECK(at < k->count && k->sorted[at] == s);
    k->count--;
    memmove(&k->sorted[at], &k->sorted[at + 1], (k->count - at) * sizeof *k->sorted);
    CHECK(map_take(k->by_key, key) == s);
    s->status = STREAM_GONE;
    stream_wake(s, false);
    pthread_rwlock_unlock(&k->lock);
    stream_unref(s); // the table's reference
}

// ---- Turns

Err kinesis_change_begin(struct call *c, Str stream_name)
{
    struct kinesis *k = c->state;
    if (atomic_fetch_add(&k->changers, 1) >= CHANGERS_MAX) {
        atomic_fetch_sub(&k->changers, 1);
        return call_fail(c, &kinesis_LimitExceededException,
                         "Rate exceeded for stream %.*s under account %.*s.", FMT(stream_name),
                         FMT(c->account));
    }
    pthread_mutex_lock(&k->changing);
    return OK;
}

void kinesis_change_end(struct kinesis *k)
{
    pthread_mutex_unlock(&k->changing);
    atomic_fetch_sub(&k->changers, 1);
}

// ---- Shards in the log

Err kinesis_declare(struct kinesis *k, const struct stream *s)
{
    int64_t retention_ns = (int64_t)s->retention_hours * 3600 * NS_PER_S;
    for (size_t i = 0; i < s->shard_count; i++) {
        TRY(log_shard_add(k->env.log, s->shards[i]->id, retention_ns));
        if (s->over_ms > 0)
            log_shard_hide(k->env.log, s->shards[i]->id, s->over_ms);
    }
    return OK;
}

Err kinesis_end_shards(struct kinesis *k, const uint64_t *ids, size_t n, LogPlace *ret_ends)
{
    for (size_t i = 0; i < n; i += ENDS_AT_ONCE)
        TRY(log_shards_end(k->env.log, ids + i, MIN(n - i, (size_t)ENDS_AT_ONCE), ret_ends + i));
    for (size_t i = 0; i < n; i++)
        if (ret_ends[i].position == 0)
            return fail(ERR_CORRUPT, "the log does not know a shard that is to end");
    return OK;
}

Err kinesis_end_closed(struct kinesis *k, const struct stream *s)
{
    AUTO(arena) tmp = arena_open();
    uint64_t *ids = arena_new(tmp, uint64_t, s->shard_count);
    LogPlace *ends = arena_new(tmp, LogPlace, s->shard_count);
    size_t n = 0;
    for (size_t i = 0; i < s->shard_count; i++) {
        LogSpan span;
        if (!shard_is_closed(s->shards[i]))
            continue;
        TRY(log_span(k->env.log, s->shards[i]->id, &span));
        if (!span.ended)
            ids[n++] = s->shards[i]->id;
    }
    return kinesis_end_shards(k, ids, n, ends);
}

Err kinesis_forget(struct kinesis *k, struct stream *s)
{
    AUTO(arena) tmp = arena_open();
    uint64_t *ids = arena_new(tmp, uint64_t, s->shard_count);
    for (size_t i = 0; i < s->shard_count; i++)
        ids[i] = s->shards[i]->id;
    TRY(log_shards_drop(k->env.log, ids, s->shard_count));

    AUTO(kv_txn) tx = kv_write(k->rows);
    TRY(kv_del(tx, stream_row_key(tmp, s->account, s->region, s->name)));
    TRY(crypt_del_keys(k, tx, s)); // what they encrypted is gone
    TRY(kinesis_del_policies(k, tx, s->arn));
    TRY(consumers_forget(k, tx, s));
    TRY(kv_commit(tx));
    kinesis_drop_policies(k, s->arn);
    return OK;
}

// ---- Opening

static Err load_secret(struct kinesis *k)
{
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_write(k->meta);
    Str secret;
    Err e = kv_get(tx, tmp, S("token secret"), &secret);
    if (e.kind == ERR_NONE && secret.n == TOKEN_SECRET_BYTES) {
        memcpy(k->sealer.secret, secret.p, TOKEN_SECRET_BYTES);
        return OK;
    }
    if (e.kind == ERR_NONE)
        return fail(ERR_CORRUPT, "the secret of shard iterators has a wrong length");
    if (e.kind != ERR_NOT_FOUND)
        return e;
    k->env.io->random(k->env.io, k->sealer.secret, TOKEN_SECRET_BYTES);
    TRY(kv_put(tx, S("token secret"), str_from(k->sealer.secret, TOKEN_SECRET_BYTES)));
    return kv_commit(tx);
}

// All rows into memory. The scan ends before anything is changed.
static Err load_rows(struct kinesis *k)
{
    AUTO(kv_txn) tx = kv_read(k->rows);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&scan)) {
        AUTO(arena) tmp = arena_open();
        struct stream *s = NULL;
        Err e = stream_row_read(tmp, scan.rest, scan.value, &s);
        if (e.kind != ERR_NONE) {
            LOG(LOG_ERROR, "a stream cannot be read", F_STR("row", scan.rest), F_ERR(e));
            kv_scan_end(&scan);
            return e;
        }
        kinesis_insert(k, s);
    }
    return scan.err;
}

// Whether a change is to be completed at once: its time has come, or it has begun and shards that
// are open in the row take no more records.
static bool is_due(struct kinesis *k, const struct stream *s)
{
    LogSpan span;
    if (s->change.kind == CHANGE_NONE)
        return false;
    for (size_t i = 0; i < s->open_count; i++)
        if (log_span(k->env.log, s->open[i]->id, &span).kind == ERR_NONE && span.ended)
            return true;
    return s->change.due_ms <= k->env.io->wall_ns(k->env.io) / NS_PER_MS;
}

static Err recover_stream(struct kinesis *k, struct stream *s)
{
    TRY(kinesis_declare(k, s));
    TRY(kinesis_end_closed(k, s));
    if (s->status == STREAM_DELETING && s->change.kind == CHANGE_NONE) // of a version without times
        s->change.kind = CHANGE_STATUS;
    if (!is_due(k, s))
        return OK;
    LOG(LOG_INFO, "an interrupted change is completed", F_STR("stream", s->arn),
        F_STR("status", stream_status_name(s->status)));
    Err e = kinesis_finish(k, s);
    if (e.kind != ERR_NONE) // the disk may be full: it can be emptied once the server is there
        LOG(LOG_WARN, "a change has to be tried again", F_STR("stream", s->arn), F_ERR(e));
    return OK;
}

Str kinesis_new_id(struct kinesis *k, struct arena *a)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    unsigned char random[ID_CHARS];
    char *text = arena_alloc(a, sizeof random, 1);
    k->env.io->random(k->env.io, random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        text[i] = letters[random[i] % (sizeof letters - 1)];
    return str_from(text, sizeof random);
}

// Carries on what a crash interrupted, and declares every shard to the log.
static Err recover(struct kinesis *k)
{
    for (size_t i = 0; i < k->count;) {
        AUTO(stream) s = stream_ref(k->sorted[i]);
        TRY(recover_stream(k, s));
        i += s->status != STREAM_GONE;
    }
    return OK;
}

static void kinesis_close(void *state)
{
    struct kinesis *k = state;
    if (k == NULL)
        return;
    metric_hub_remove(k->env.metrics, &k->metrics);
    channels_close(k->channels);
    queues_close(k->queues);
    fanout_close(k->fanout);
    for (size_t i = 0; i < k->count; i++)
        stream_unref(k->sorted[i]);
    free(k->sorted);
    map_close(k->by_key);
    chores_done(&k->chores);
    commits_close(k->commits);
    rates_done(&k->rates);
    kinesis_policies_close(k);
    free(k->members);
    pthread_mutex_destroy(&k->making_keys);
    pthread_rwlock_destroy(&k->lock);
    pthread_mutex_destroy(&k->changing);
    free(k);
}

static Err kinesis_load(struct kinesis *k)
{
    TRY(kv_table_open(k->env.kv, S("kinesis.streams"), &k->rows));
    TRY(kv_table_open(k->env.kv, S("kinesis.meta"), &k->meta));
    TRY(kv_table_open(k->env.kv, S("kinesis.keys"), &k->keys));
    TRY(load_secret(k));
    TRY(kinesis_load_policies(k));
    TRY(load_rows(k));
    TRY(consumers_load(k));
    TRY(recover(k));
    TRY(queues_open(k, &k->queues)); // its thread reads shards: they are declared
    TRY(channels_open(k, &k->channels));
    chores_at(&k->chores, kinesis_due_ms(k));
    chores_start(&k->chores);
    return OK;
}

static void kinesis_stop(void *state)
{
    struct kinesis *k = state;
    channels_stop(k->channels);
    queues_stop(k->queues);
    chores_stop(&k->chores);
}

static Err kinesis_open(const struct service_env *env, void **ret_state)
{
    struct kinesis *k = xalloc(sizeof *k);
    k->env = *env;
    k->sealer.io = env->io;
    k->by_key = map_open();
    rates_init(&k->rates);
    commits_open(env->log, env->loops, env->loop_count, &k->commits);
    chores_init(&k->chores, &k->env, kinesis_run_chores, k);
    k->policies = map_open();
    k->members = kinesis_members_open();
    pthread_mutex_init(&k->changing, NULL);
    pthread_mutex_init(&k->making_keys, NULL);
    pthread_rwlock_init(&k->lock, NULL);
    fanout_open(env, &k->fanout);
    Err e = kinesis_load(k);
    if (e.kind != ERR_NONE) {
        kinesis_close(k);
        return e;
    }
    kinesis_offer_init(k);
    k->metrics.tell = kinesis_tell_metrics;
    metric_hub_add(k->env.metrics, &k->metrics);
    *ret_state = k;
    return OK;
}

extern const struct service kinesis_service;
const struct service kinesis_service = {
    .api = &kinesis_api,
    .targets = &kinesis_targets,
    .pages = kinesis_pages,
    .page_count = KINESIS_PAGES,
    .open = kinesis_open,
    .stop = kinesis_stop,
    .close = kinesis_close,
};
