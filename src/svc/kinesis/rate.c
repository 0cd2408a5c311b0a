// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/rate.h"
#include "svc/kinesis/kinesis.h"
#include "svc/kinesis/limit.h"

#include <stdlib.h>

enum { PER_S = 5, UNLIMITED = 0 };

// What the API reference says of each operation, where it is not 5; and what a shard limits.
static const struct {
    Str op;
    uint8_t per_s;
} others[] = {
    { S_INIT("DescribeLimits"), 1 },          { S_INIT("DescribeStream"), 10 },
    { S_INIT("DescribeStreamConsumer"), 20 }, { S_INIT("DescribeStreamSummary"), 20 },
    { S_INIT("GetRecords"), UNLIMITED },      { S_INIT("GetShardIterator"), UNLIMITED },
    { S_INIT("ListShards"), UNLIMITED },      { S_INIT("PutRecord"), UNLIMITED },
    { S_INIT("PutRecords"), UNLIMITED },      { S_INIT("SubscribeToShard"), UNLIMITED },
    { S_INIT("UpdateShardCount"), 10 },
};

static uint8_t per_s_of(Str op)
{
    for (size_t i = 0; i < COUNT_OF(others); i++)
        if (str_eq(others[i].op, op))
            return others[i].per_s;
    // Queues are read and acknowledged like shards.
    return str_find(op, 'Q') < op.n && str_ends(op, S("Records")) ? UNLIMITED : PER_S;
}

void rates_init(struct rates *r)
{
    CHECK(kinesis_api.op_count <= RATE_OPS_MAX);
    *r = (struct rates){ .ops = kinesis_api.ops, .realms = map_open() };
    for (size_t i = 0; i < kinesis_api.op_count; i++)
        r->per_s[i] = per_s_of(kinesis_api.ops[i].name);
    pthread_mutex_init(&r->lock, NULL);
}

static void forget_realms(struct rates *r)
{
    Str key;
    void *buckets;
    for (size_t at = 0; map_next(r->realms, &at, &key, &buckets);)
        free(buckets);
    map_close(r->realms);
    r->realms = map_open();
}

void rates_done(struct rates *r)
{
    forget_realms(r);
    map_close(r->realms);
    pthread_mutex_destroy(&r->lock);
}

// Under lock.
static int64_t *bucket(struct rates *r, Str realm, size_t op)
{
    int64_t *row = map_get(r->realms, realm);
    if (row == NULL) {
        if (map_count(r->realms) >= RATE_REALMS_MAX) // a client may make up regions
            forget_realms(r);
        row = xalloc(kinesis_api.op_count * sizeof *row);
        map_put(r->realms, realm, row);
    }
    return &row[op];
}

static Err refuse(struct call *c, Str stream_name)
{
    if (stream_name.p == NULL)
        return call_fail(c, &kinesis_LimitExceededException, "Rate exceeded for account %.*s.",
                         FMT(c->account));
    return call_fail(c, &kinesis_LimitExceededException,
                     "Rate exceeded for stream %.*s under account %.*s.", FMT(stream_name),
                     FMT(c->account));
}

Err kinesis_admit(struct call *c, Str stream_name)
{
    struct kinesis *k = c->state;
    struct rates *r = &k->rates;
    if (!rates_apply(r, c) || k->env.limits <= 0)
        return OK;
    size_t op = (size_t)(c->op - r->ops);
    int64_t now_ns = kinesis_mono_ns(k);
    Str realm = kinesis_realm_name(c);
    pthread_mutex_lock(&r->lock);
    bool fits = limit_call(bucket(r, realm, op), k->env.limits, now_ns, r->per_s[op]);
    pthread_mutex_unlock(&r->lock);
    return fits ? OK : refuse(c, stream_name);
}

Err kinesis_admit_listing(struct call *c, struct stream *s)
{
    struct kinesis *k = c->state;
    int64_t now_ns = kinesis_mono_ns(k);
    if (k->env.limits <= 0)
        return OK;
    pthread_mutex_lock(&k->rates.lock);
    bool fits = limit_call(&s->lists_full_ns, k->env.limits, now_ns, RATE_LIST_SHARDS_PER_S);
    pthread_mutex_unlock(&k->rates.lock);
    return fits ? OK : refuse(c, s->name);
}
