// SPDX-License-Identifier: Apache-2.0
#include "svc/firehose/limit.h"
#include "base/time.h"
#include "svc/firehose/firehose.h"

#include <stdlib.h>

enum {
    CALLS_PER_S = 5,
    REALMS_MAX = 4096, // accounts and regions that are told apart; then all begin anew
};

const HoseRates *hose_limit_rates(Str region)
{
    static const Str large[] = { S_INIT("us-east-1"), S_INIT("us-west-2"), S_INIT("eu-west-1") };
    static const HoseRates rates[] = { { 100000, 1000, 1 << 20 }, { 500000, 2000, 5 << 20 } };
    for (size_t i = 0; i < COUNT_OF(large); i++)
        if (str_eq(region, large[i]))
            return &rates[1];
    return &rates[0];
}

// What `amount` costs in a bucket that refills at `rate` a second.
static int64_t cost_ns(double scale, size_t amount, int64_t rate)
{
    int64_t whole = (int64_t)amount / rate * NS_PER_S;
    int64_t rest = (int64_t)amount % rate * NS_PER_S / rate;
    return scale == 1 ? whole + rest : (int64_t)((double)(whole + rest) / scale);
}

// A full bucket gives whatever is asked and is owed the rest.
static bool fits(int64_t full_ns, int64_t now_ns, int64_t cost)
{
    return full_ns <= now_ns || full_ns + cost - now_ns <= NS_PER_S;
}

static void take(int64_t *full_ns, int64_t now_ns, int64_t cost)
{
    *full_ns = MAX(*full_ns, now_ns) + cost;
}

bool hose_limit_request(HoseLimits *l, const HoseRates *r, double scale, int64_t now_ns)
{
    if (scale <= 0)
        return true;
    int64_t cost = cost_ns(scale, 1, r->requests);
    if (!fits(l->requests_full_ns, now_ns, cost))
        return false;
    take(&l->requests_full_ns, now_ns, cost);
    return true;
}

bool hose_limit_record(HoseLimits *l, const HoseRates *r, double scale, int64_t now_ns,
                       size_t bytes)
{
    if (scale <= 0)
        return true;
    int64_t by_count = cost_ns(scale, 1, r->records), by_bytes = cost_ns(scale, bytes, r->bytes);
    if (!fits(l->records_full_ns, now_ns, by_count) || !fits(l->bytes_full_ns, now_ns, by_bytes))
        return false;
    take(&l->records_full_ns, now_ns, by_count);
    take(&l->bytes_full_ns, now_ns, by_bytes);
    return true;
}

// ---- Calls of an account

struct call_rates {
    pthread_mutex_t lock; // a leaf
    struct map *realms;   // account/region -> a row of int64_t by operation
};

struct call_rates *call_rates_open(void)
{
    struct call_rates *r = xalloc(sizeof *r);
    pthread_mutex_init(&r->lock, NULL);
    r->realms = map_open();
    return r;
}

static void forget_realms(struct call_rates *r)
{
    Str key;
    void *buckets;
    for (size_t at = 0; map_next(r->realms, &at, &key, &buckets);)
        free(buckets);
    map_close(r->realms);
    r->realms = NULL;
}

void call_rates_close(struct call_rates *r)
{
    if (r == NULL)
        return;
    forget_realms(r);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static bool take_call(struct call_rates *r, Str realm, size_t op, double scale, int64_t now_ns)
{
    int64_t cost = cost_ns(scale, 1, CALLS_PER_S);
    pthread_mutex_lock(&r->lock);
    if (map_count(r->realms) >= REALMS_MAX) {
        forget_realms(r);
        r->realms = map_open();
    }
    int64_t *buckets = map_get(r->realms, realm);
    if (buckets == NULL) {
        buckets = xalloc(firehose_api.op_count * sizeof *buckets);
        map_put(r->realms, realm, buckets);
    }
    bool may = fits(buckets[op], now_ns, cost);
    if (may)
        take(&buckets[op], now_ns, cost);
    pthread_mutex_unlock(&r->lock);
    return may;
}

Err hose_limit_call(struct call *c)
{
    struct firehose *f = c->state;
    if (f->env.limits <= 0 || c->op == NULL)
        return OK;
    Str realm = str_fmt(c->arena, "%.*s/%.*s", FMT(c->account), FMT(c->region));
    if (take_call(f->call_rates, realm, (size_t)(c->op - firehose_api.ops), f->env.limits,
                  f->env.io->mono_ns(f->env.io)))
        return OK;
    // The text and the error are those of AWS's ListTagsForDeliveryStream (public issues).
    return call_fail(c, &aws_ThrottlingException,
                     "Please slow down. Max limit of %d RPS has breached for %.*s.", CALLS_PER_S,
                     FMT(c->op->name));
}
