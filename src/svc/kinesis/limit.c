// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/limit.h"
#include "base/time.h"

// What `amount` costs in a bucket that refills at `rate` a second.
static int64_t cost_ns(double scale, size_t amount, int64_t rate)
{
    int64_t whole = (int64_t)amount / rate * NS_PER_S;
    int64_t rest = (int64_t)amount % rate * NS_PER_S / rate;
    return scale == 1 ? whole + rest : (int64_t)((double)(whole + rest) / scale);
}

// A full bucket gives whatever is asked and is owed the rest: a record of the largest size comes
// with a partition key, and a small scale makes one call cost more than a second.
static bool fits(int64_t full_ns, int64_t now_ns, int64_t cost, int64_t capacity)
{
    return full_ns <= now_ns || full_ns + cost - now_ns <= capacity;
}

static void take(int64_t *full_ns, int64_t now_ns, int64_t cost)
{
    *full_ns = MAX(*full_ns, now_ns) + cost;
}

bool limit_write(ShardLimits *l, double scale, int64_t now_ns, size_t records, size_t bytes)
{
    if (scale <= 0)
        return true;
    int64_t by_count = cost_ns(scale, records, SHARD_WRITE_RECORDS_PER_S);
    int64_t by_bytes = cost_ns(scale, bytes, SHARD_WRITE_BYTES_PER_S);
    int64_t burst = cost_ns(scale, SHARD_WRITE_BURST_BYTES, SHARD_WRITE_BYTES_PER_S);
    // A larger scale shortens costs, so that a second of capacity holds more.
    bool large = bytes > SHARD_WRITE_SMALL_BYTES_MAX;
    if (!fits(l->records_full_ns, now_ns, by_count, NS_PER_S))
        return false;
    if (large ? !fits(l->burst_full_ns, now_ns, by_bytes, burst)
              : !fits(l->bytes_full_ns, now_ns, by_bytes, NS_PER_S))
        return false;
    take(&l->records_full_ns, now_ns, by_count);
    take(&l->burst_full_ns, now_ns, by_bytes);
    l->burst_full_ns = MIN(l->burst_full_ns, now_ns + burst); // small records never owe the burst
    if (!large)
        take(&l->bytes_full_ns, now_ns, by_bytes);
    return true;
}

bool limit_read(ShardLimits *l, double scale, int64_t now_ns)
{
    if (scale <= 0)
        return true;
    int64_t call = cost_ns(scale, 1, SHARD_READ_CALLS_PER_S);
    if (l->read_full_ns - now_ns >= NS_PER_S || !fits(l->calls_full_ns, now_ns, call, NS_PER_S))
        return false;
    take(&l->calls_full_ns, now_ns, call);
    return true;
}

void limit_read_done(ShardLimits *l, double scale, int64_t now_ns, size_t bytes)
{
    if (scale <= 0)
        return;
    int64_t cost = cost_ns(scale, bytes, SHARD_READ_BYTES_PER_S);
    if (cost > NS_PER_S)
        l->read_full_ns = now_ns + NS_PER_S + cost;
    else
        take(&l->read_full_ns, now_ns, cost);
}

bool limit_call(int64_t *full_ns, double scale, int64_t now_ns, int64_t per_s)
{
    if (scale <= 0)
        return true;
    int64_t call = cost_ns(scale, 1, per_s);
    if (!fits(*full_ns, now_ns, call, NS_PER_S))
        return false;
    take(full_ns, now_ns, call);
    return true;
}

bool limit_iterator(ShardLimits *l, double scale, int64_t now_ns)
{
    return limit_call(&l->iterators_full_ns, scale, now_ns, SHARD_ITERATORS_PER_S);
}

int64_t limit_push_at(int64_t full_ns, double scale)
{
    return scale <= 0 ? INT64_MIN : full_ns - NS_PER_S;
}

void limit_push_done(int64_t *full_ns, double scale, int64_t now_ns, size_t bytes)
{
    if (scale > 0)
        take(full_ns, now_ns, cost_ns(scale, bytes, SHARD_READ_BYTES_PER_S));
}
