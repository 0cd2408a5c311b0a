// SPDX-License-Identifier: Apache-2.0
// UpdateStreamMode, UpdateStreamWarmThroughput, UpdateStreamRecordDistributionStrategy and
// UpdateMaxRecordSize (API reference; developer guide, "Choose the data stream capacity mode").
#include "base/time.h"
#include "svc/kinesis/demand.h"
#include "svc/kinesis/kinesis.h"
#include "svc/kinesis/channels.h"
#include "svc/kinesis/queues.h"
#include "svc/kinesis/reshard.h"

#include <string.h>

enum { DAY_MS = 86400000 };

static Err begin(struct call *c, StreamRef ref, struct stream **ret)
{
    AUTO(stream) s = NULL;
    TRY(kinesis_find(c, ref, &s));
    TRY(kinesis_change_begin(c, s->name));
    *ret = s;
    s = NULL; // handed over
    return OK;
}

static Err require_on_demand(struct call *c, const struct stream *s)
{
    if (s->on_demand)
        return OK;
    return call_fail(c, &kinesis_ValidationException,
                     "Request is invalid. Stream %.*s under account %.*s is in Provisioned mode.",
                     FMT(s->name), FMT(s->account));
}

Err kinesis_check_warm(struct call *c, int32_t mibps)
{
    if (mibps > STREAM_WARM_MIBPS_MAX)
        return call_fail(c, &kinesis_InvalidArgumentException,
                         "WarmThroughputMiBps %d is over the limit of %d.", mibps,
                         STREAM_WARM_MIBPS_MAX);
    return kinesis_require_commitment(c);
}

// A shard takes 1 MiB/s. A stream that has been larger stays so until its traffic says otherwise.
static uint32_t shards_for(const struct stream *s, int32_t mibps)
{
    return MAX(MAX((uint32_t)mibps, (uint32_t)STREAM_ON_DEMAND_SHARDS), (uint32_t)s->open_count);
}

struct new_mode {
    bool on_demand, is_switch;
    int32_t warm_mibps; // -1: as it is
    int64_t now_ms;
};

static void set_mode(struct stream *copy, const void *arg)
{
    const struct new_mode *n = arg;
    copy->on_demand = n->on_demand;
    if (!n->on_demand) {
        copy->spread = false; // AUTO is for streams on demand
        copy->warm_mibps = 0;
    } else if (n->warm_mibps >= 0) {
        copy->warm_mibps = (uint32_t)n->warm_mibps;
    }
    if (!n->is_switch)
        return;
    if (n->on_demand)
        demand_begin(copy, n->now_ms);
    memmove(copy->switched_ms + 1, copy->switched_ms,
            sizeof copy->switched_ms - sizeof copy->switched_ms[0]);
    copy->switched_ms[0] = n->now_ms;
}

// With so many shards as the warm throughput wants; in one change.
static Err set_mode_and_scale(struct call *c, struct stream *s, const struct new_mode *n)
{
    struct kinesis *k = c->state;
    if (n->on_demand)
        chores_at(&k->chores, n->now_ms); // its traffic is measured from now on
    uint32_t target = n->warm_mibps >= 0 ? shards_for(s, n->warm_mibps) : (uint32_t)s->open_count;
    if (!n->on_demand || target == s->open_count)
        return kinesis_update(k, s, set_mode, n);
    StreamChange change = { .kind = CHANGE_SCALE, .target = target };
    return kinesis_reshard(k, s, &change, set_mode, n);
}

// ---- UpdateStreamMode

static Err check_switch(struct call *c, const struct stream *s, bool on_demand)
{
    const struct kinesis *k = c->state;
    int64_t oldest_ms = s->switched_ms[STREAM_SWITCHES_PER_DAY_MAX - 1];
    if (k->env.limits > 0 && oldest_ms != 0 && c->now_ns / NS_PER_MS - oldest_ms < DAY_MS)
        return call_fail(c, &kinesis_LimitExceededException,
                         "The capacity mode of a stream can be switched %d times in 24 hours. "
                         "Stream %.*s under account %.*s has reached this limit.",
                         STREAM_SWITCHES_PER_DAY_MAX, FMT(s->name), FMT(s->account));
    return on_demand ? kinesis_check_on_demand(c) : kinesis_check_shards(c, s->open_count);
}

static Err switch_locked(struct call *c, const struct kinesis_UpdateStreamMode_in *in,
                         struct stream *s)
{
    struct new_mode n = {
        .on_demand = str_eq(in->stream_mode_details->stream_mode, kinesis_StreamMode_ON_DEMAND),
        .warm_mibps = in->has_warm_throughput_mibps ? in->warm_throughput_mibps : -1,
        .now_ms = c->now_ns / NS_PER_MS,
    };
    n.is_switch = n.on_demand != s->on_demand;
    TRY(kinesis_require_active(c, s));
    if (n.warm_mibps >= 0 && !n.on_demand)
        return call_fail(c, &kinesis_InvalidArgumentException,
                         "WarmThroughputMiBps is only for streams in On-Demand mode.");
    if (n.warm_mibps >= 0)
        TRY(kinesis_check_warm(c, n.warm_mibps));
    if (n.is_switch && !n.on_demand)
        TRY(queues_refuse(c, s, "UpdateStreamMode can't switch", " to provisioned mode"));
    TRY(channels_refuse(c, s, "UpdateStreamMode can't switch", " to provisioned mode"));
    if (n.is_switch)
        TRY(check_switch(c, s, n.on_demand));
    if (!n.is_switch && n.warm_mibps < 0)
        return OK; // it is what is wanted
    return set_mode_and_scale(c, s, &n);
}

Err kinesis_UpdateStreamMode(struct call *c, const struct kinesis_UpdateStreamMode_in *in)
{
    AUTO(stream) s = NULL;
    TRY(begin(c, (StreamRef){ .arn = in->stream_arn, .id = in->stream_id }, &s));
    Err e = switch_locked(c, in, s);
    kinesis_change_end(c->state);
    return e;
}

// ---- UpdateStreamWarmThroughput

static Err warm_locked(struct call *c, const struct kinesis_UpdateStreamWarmThroughput_in *in,
                       struct stream *s, struct kinesis_UpdateStreamWarmThroughput_out *out)
{
    struct new_mode n = { .on_demand = true,
                          .warm_mibps = in->warm_throughput_mibps,
                          .now_ms = c->now_ns / NS_PER_MS };
    TRY(require_on_demand(c, s));
    TRY(kinesis_require_active(c, s));
    TRY(kinesis_check_warm(c, in->warm_throughput_mibps));
    kinesis_WarmThroughputObject *warm = arena_new(c->arena, kinesis_WarmThroughputObject, 1);
    warm->has_target_mibps = warm->has_current_mibps = true;
    warm->target_mibps = in->warm_throughput_mibps;
    warm->current_mibps = (int32_t)s->warm_mibps;
    out->stream_arn = str_dup(c->arena, s->arn);
    out->stream_name = str_dup(c->arena, s->name);
    out->warm_throughput = warm;
    return set_mode_and_scale(c, s, &n);
}

Err kinesis_UpdateStreamWarmThroughput(struct call *c,
                                       const struct kinesis_UpdateStreamWarmThroughput_in *in,
                                       struct kinesis_UpdateStreamWarmThroughput_out *out)
{
    AUTO(stream) s = NULL;
    TRY(begin(c, STREAM_REF(in), &s));
    Err e = warm_locked(c, in, s, out);
    kinesis_change_end(c->state);
    return e;
}

// ---- UpdateStreamRecordDistributionStrategy: takes effect at once, the stream stays ACTIVE

static void set_spread(struct stream *copy, const void *arg)
{
    copy->spread = *(const bool *)arg;
}

static Err spread_locked(struct call *c, struct stream *s, bool spread)
{
    TRY(kinesis_require_active(c, s));
    if (spread && !s->on_demand)
        return call_fail(c, &kinesis_InvalidArgumentException,
                         "RecordDistributionStrategy AUTO is only for streams in On-Demand mode.");
    return spread == s->spread ? OK : kinesis_change(c->state, s, set_spread, &spread);
}

Err kinesis_UpdateStreamRecordDistributionStrategy(
    struct call *c, const struct kinesis_UpdateStreamRecordDistributionStrategy_in *in)
{
    AUTO(stream) s = NULL;
    bool spread = str_eq(in->record_distribution_strategy, kinesis_RecordDistributionStrategy_AUTO);
    TRY(begin(c, (StreamRef){ .arn = in->stream_arn, .id = in->stream_id }, &s));
    Err e = spread_locked(c, s, spread);
    kinesis_change_end(c->state);
    return e;
}

// ---- UpdateMaxRecordSize

static void set_record_size(struct stream *copy, const void *arg)
{
    copy->record_kib_max = *(const uint32_t *)arg;
}

Err kinesis_UpdateMaxRecordSize(struct call *c, const struct kinesis_UpdateMaxRecordSize_in *in)
{
    AUTO(stream) s = NULL;
    uint32_t kib = (uint32_t)in->max_record_size_in_kib;
    TRY(begin(c, (StreamRef){ .arn = in->stream_arn, .id = in->stream_id }, &s));
    Err e = kinesis_require_active(c, s);
    if (e.kind == ERR_NONE && kib != s->record_kib_max)
        e = kinesis_update(c->state, s, set_record_size, &kib);
    kinesis_change_end(c->state);
    return e;
}
