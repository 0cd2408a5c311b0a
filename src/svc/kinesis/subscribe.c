// SPDX-License-Identifier: Apache-2.0
// SubscribeToShard (API reference of Kinesis Data Streams): whether a consumer may be pushed a
// shard now, and who is pushed it. What is sent, and when: push.c.
#include "base/metric.h"
#include "base/time.h"
#include "svc/kinesis/consumers.h"
#include "svc/kinesis/get.h"
#include "svc/kinesis/shelf.h"
#include "svc/kinesis/subscription.h"

#include <stdlib.h>
#include <string.h>

// What a consumer does with one shard.
struct consumer_shard {
    uint32_t index;
    int64_t called_ns;           // of the last call that was not refused for its rate
    int64_t subscribed_ns;       // of the last that succeeded
    int64_t full_ns;             // of what it is pushed (limit.h)
    bool has_begun;              // there was a subscription
    uint64_t reached;            // where the last one ended
    struct subscription *active; // NULL: none
};

enum { NEVER_S = -1000000 }; // a long time before any clock began

// ---- The shards of a consumer. Its lock is held.

static struct consumer_shard *shard_of(struct consumer *x, uint32_t index)
{
    size_t at = 0;
    while (at < x->shard_count && x->shards[at].index != index)
        at++;
    if (at < x->shard_count)
        return &x->shards[at];
    x->shards = xrealloc(x->shards, mul_checked(x->shard_count + 1, sizeof *x->shards));
    x->shards[x->shard_count++] = (struct consumer_shard){ .index = index,
                                                           .called_ns = NEVER_S * NS_PER_S,
                                                           .subscribed_ns = NEVER_S * NS_PER_S };
    return &x->shards[at];
}

static void end_active(struct consumer_shard *sh, SubscriptionEnd why)
{
    if (sh->active == NULL)
        return;
    atomic_store(&sh->active->why, why);
    subscription_wake(sh->active);
    sh->active = NULL;
}

typedef enum Claim { CLAIM_GOOD, CLAIM_RATE, CLAIM_ACTIVE, CLAIM_GONE } Claim;

static Claim claim_locked(struct subscription *s, int64_t now_ns, double limits)
{
    struct consumer *x = s->consumer;
    struct consumer_shard *sh = shard_of(x, s->shard.index);
    if (x->is_cancelled)
        return CLAIM_GONE;
    if (limits > 0 &&
        (double)(now_ns - sh->called_ns) * limits * SUBSCRIPTION_CALLS_PER_S < (double)NS_PER_S)
        return CLAIM_RATE;
    sh->called_ns = now_ns;
    if (now_ns - sh->subscribed_ns < SUBSCRIPTION_TAKEOVER_S * NS_PER_S)
        return CLAIM_ACTIVE;
    end_active(sh, SUBSCRIPTION_TAKEN_OVER);
    sh->subscribed_ns = now_ns;
    sh->active = s;
    sh->has_begun = true;
    s->full_ns = sh->full_ns;
    subscription_wake(s); // under the lock: whoever takes it over comes later
    return CLAIM_GOOD;
}

void subscribe_leave(struct subscription *s)
{
    pthread_mutex_lock(&s->consumer->lock);
    struct consumer_shard *sh = shard_of(s->consumer, s->shard.index);
    sh->full_ns = MAX(sh->full_ns, s->full_ns);
    sh->reached = atomic_load(&s->reached);
    if (sh->active == s)
        sh->active = NULL;
    pthread_mutex_unlock(&s->consumer->lock);
}

void subscribe_cancel(struct consumer *x)
{
    pthread_mutex_lock(&x->lock);
    x->is_cancelled = true;
    for (size_t i = 0; i < x->shard_count; i++)
        end_active(&x->shards[i], SUBSCRIPTION_CANCELLED);
    pthread_mutex_unlock(&x->lock);
}

SubscribedPlace *subscribe_places(struct consumer *x, struct arena *a, size_t *ret_n)
{
    pthread_mutex_lock(&x->lock);
    size_t n = x->shard_count;
    SubscribedPlace *all = arena_new(a, SubscribedPlace, n);
    for (size_t i = 0; i < n; i++) {
        const struct consumer_shard *sh = &x->shards[i];
        all[i] = (SubscribedPlace){
            .shard = sh->index,
            .is_active = sh->active != NULL,
            .has_begun = sh->has_begun,
            .position = sh->active != NULL ? atomic_load(&sh->active->reached) : sh->reached,
        };
    }
    pthread_mutex_unlock(&x->lock);
    *ret_n = n;
    return all;
}

// ---- The operation

static Err require_active(struct call *c, const struct stream *s, const struct consumer *x)
{
    struct kinesis *k = c->state;
    pthread_rwlock_rdlock(&k->lock);
    ConsumerStatus status = consumer_status(x, c->now_ns / NS_PER_MS);
    pthread_rwlock_unlock(&k->lock);
    if (status == CONSUMER_ACTIVE)
        return OK;
    return call_fail(c, &kinesis_ResourceInUseException,
                     "Consumer %.*s with creation timestamp %lld under stream: %.*s , account "
                     "%.*s is not in ACTIVE status.",
                     FMT(x->name), (long long)x->created_s, FMT(s->name), FMT(s->account));
}

// The starting position as an iterator of GetShardIterator.
static struct kinesis_GetShardIterator_in as_iterator(const struct kinesis_SubscribeToShard_in *in)
{
    const kinesis_StartingPosition *at = in->starting_position;
    return (struct kinesis_GetShardIterator_in){
        .shard_id = in->shard_id,
        .shard_iterator_type = at->type,
        .starting_sequence_number = at->sequence_number,
        .timestamp = at->timestamp,
        .has_timestamp = at->has_timestamp,
    };
}

static Err claim(struct call *c, struct subscription *s)
{
    struct kinesis *k = c->state;
    Str shard_id = shard_id_str(c->arena, s->shard.index); // afterwards the arena is the loop's
    pthread_mutex_lock(&s->consumer->lock);
    Claim got = claim_locked(s, kinesis_mono_ns(k), k->env.limits);
    meters_subscribe(&s->consumer->meters, got == CLAIM_GOOD,
                     got == CLAIM_RATE || got == CLAIM_ACTIVE);
    pthread_mutex_unlock(&s->consumer->lock);
    switch (got) {
    case CLAIM_RATE:
        return call_fail(c, &kinesis_LimitExceededException,
                         "Rate exceeded for consumer %.*s and shard %.*s in stream %.*s under "
                         "account %.*s.",
                         FMT(s->consumer->name), FMT(shard_id), FMT(s->stream->name),
                         FMT(s->stream->account));
    case CLAIM_ACTIVE:
        return call_fail(c, &kinesis_ResourceInUseException,
                         "Another active subscription exists for this consumer: "
                         "%.*s:%.*s:%.*s:%.*s",
                         FMT(s->stream->account), FMT(s->stream->name), FMT(shard_id),
                         FMT(s->consumer->name));
    case CLAIM_GONE:
        return call_fail(c, &kinesis_ResourceNotFoundException,
                         "Consumer %.*s, account %.*s not found.", FMT(s->consumer->name),
                         FMT(c->account));
    case CLAIM_GOOD:
        break;
    }
    return OK;
}

// Runs on the pool: where a reader begins may have to be looked for on the disk.
Err kinesis_SubscribeToShard(struct call *c, const struct kinesis_SubscribeToShard_in *in)
{
    AUTO(stream) s = NULL;
    AUTO(consumer) x = NULL;
    struct shard *sh;
    uint64_t position;
    TRY(consumers_find(c, (ConsumerRef){ .arn = in->consumer_arn }, &s, &x));
    TRY(require_active(c, s, x));
    struct kinesis_GetShardIterator_in iterator = as_iterator(in);
    TRY(get_shard_of(c, s, in->shard_id, &sh));
    TRY(get_position(c, &iterator, s, sh, &position));
    if (in->dry_run)
        return get_dry_run(c);
    struct subscription *sub = arena_new(c->arena, struct subscription, 1);
    sub->call = c;
    sub->k = c->state;
    sub->stream = s;
    sub->shard = (struct shard){ .id = sh->id, .created_s = sh->created_s, .index = sh->index };
    sub->consumer = x;
    subscription_move(sub, position);
    subscription_init(sub);
    TRY(claim(c, sub));
    s = NULL; // the subscription's from here on, and it is on its way
    x = NULL;
    return call_wait(c);
}

// ---- Opening

void fanout_open(const struct service_env *env, struct fanout **ret)
{
    Str none = S("");
    struct fanout *f = xalloc(sizeof *f);
    feeds_open(env->log, env->loops, env->loop_count, &f->feeds);
    shelf_open(&f->shelf);
    atomic_init(&f->count, 0);
    f->loop_count = env->loop_count;
    f->scratch = xalloc(mul_checked(MAX(env->loop_count, (size_t)1), sizeof(struct arena *)));
    f->subscriptions = metric_get(METRIC_GAUGE, S("headrace_kinesis_subscriptions"),
                                  S("Subscriptions of consumers that are open."), none);
    f->events = metric_get(METRIC_COUNTER, S("headrace_kinesis_pushed_events_total"),
                           S("Events pushed to consumers."), none);
    f->shared = metric_get(METRIC_COUNTER, S("headrace_kinesis_pushed_shared_total"),
                           S("Events pushed in bytes that were made for another consumer."), none);
    f->records = metric_get(METRIC_COUNTER, S("headrace_kinesis_pushed_records_total"),
                            S("Records pushed to consumers."), none);
    f->bytes = metric_get(METRIC_COUNTER, S("headrace_kinesis_pushed_bytes_total"),
                          S("Bytes of partition keys and data pushed to consumers."), none);
    f->from_disk = metric_get(METRIC_COUNTER, S("headrace_kinesis_pushed_reads_total"),
                              S("Events that were read where it may block."), none);
    *ret = f;
}

void fanout_close(struct fanout *f)
{
    if (f == NULL)
        return;
    for (size_t i = 0; i < f->loop_count; i++)
        arena_close(f->scratch[i]);
    free(f->scratch);
    feeds_close(f->feeds);
    shelf_close(f->shelf);
    free(f);
}
