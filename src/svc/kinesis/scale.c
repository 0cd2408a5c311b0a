// SPDX-License-Identifier: Apache-2.0
// SplitShard, MergeShards and UpdateShardCount (API reference; developer guide, "Resharding a
// stream"). What is checked here is committed as a change; transition.c carries it out.
#include "base/time.h"
#include "svc/kinesis/kinesis.h"
#include "svc/kinesis/reshard.h"

#include <string.h>

// API reference, UpdateShardCount.
enum { SCALE_SHARDS_MAX = 10000, DAY_MS = 86400000 };

// Of streams that scale by themselves the shards are not the caller's to change.
static Err require_provisioned(struct call *c, const struct stream *s)
{
    if (!s->on_demand)
        return OK;
    return call_fail(c, &kinesis_ValidationException,
                     "Request is invalid. Stream %.*s under account %.*s is in On-Demand mode.",
                     FMT(s->name), FMT(s->account));
}

static Err no_shard(struct call *c, Str shard_id, Str stream_name)
{
    return call_fail(c, &kinesis_ResourceNotFoundException,
                     "Could not find shard %.*s in stream %.*s under account %.*s.", FMT(shard_id),
                     FMT(stream_name), FMT(c->account));
}

// The form of a shard's id is looked at before the stream is.
static Err parse_shard(struct call *c, StreamRef ref, Str shard_id, uint32_t *ret)
{
    Str name = kinesis_name_given(ref);
    bool is_formed = shard_parse_id(shard_id, ret).kind == ERR_NONE;
    return is_formed || name.p == NULL ? OK : no_shard(c, shard_id, name);
}

static Err find_open(struct call *c, const struct stream *s, uint32_t index, struct shard **ret)
{
    struct shard *sh = stream_shard(s, index);
    if (sh == NULL || shard_closed_ms(sh) < stream_horizon_ms(s, c->now_ns / NS_PER_MS))
        return no_shard(c, shard_id_str(c->arena, index), s->name);
    if (shard_is_closed(sh))
        return call_fail(c, &kinesis_InvalidArgumentException,
                         "Shard %.*s in stream %.*s under account %.*s has already been merged or "
                         "split, and thus is not eligible for merging or splitting.",
                         FMT(shard_id_str(c->arena, index)), FMT(s->name), FMT(s->account));
    *ret = sh;
    return OK;
}

// A stream remembers its closed shards until they are over.
static Err check_memory(struct call *c, const struct stream *s, size_t more)
{
    if (s->shard_count + more <= STREAM_ROW_SHARDS_MAX)
        return OK;
    return call_fail(c, &kinesis_LimitExceededException,
                     "Stream %.*s under account %.*s has %zu shards, closed ones included, and may "
                     "not have more than %d.",
                     FMT(s->name), FMT(s->account), s->shard_count, STREAM_ROW_SHARDS_MAX);
}

// ---- SplitShard

static Err check_key(struct call *c, const struct stream *s, const struct shard *sh, Str given,
                     HashKey *ret)
{
    Err e = hash_key_parse(given, ret);
    bool is_inside =
        e.kind == ERR_NONE && *ret > sh->start && *ret - sh->start > 1 && *ret < sh->end;
    if (is_inside)
        return OK;
    return call_fail(c, &kinesis_InvalidArgumentException,
                     "NewStartingHashKey %.*s used in SplitShard() on shard %.*s in stream %.*s "
                     "under account %.*s is not both greater than one plus the shard's "
                     "StartingHashKey %.*s and less than the shard's EndingHashKey %.*s.",
                     FMT(given), FMT(shard_id_str(c->arena, sh->index)), FMT(s->name),
                     FMT(s->account), FMT(hash_key_str(c->arena, sh->start)),
                     FMT(hash_key_str(c->arena, sh->end)));
}

static Err split_locked(struct call *c, const struct kinesis_SplitShard_in *in, struct stream *s,
                        uint32_t index)
{
    StreamChange change = { .kind = CHANGE_SPLIT, .shard = index };
    struct shard *sh;
    TRY(require_provisioned(c, s));
    TRY(kinesis_require_active(c, s));
    TRY(find_open(c, s, index, &sh));
    TRY(kinesis_check_shards(c, 1));
    TRY(check_memory(c, s, 2));
    TRY(check_key(c, s, sh, in->new_starting_hash_key, &change.key));
    return kinesis_reshard(c->state, s, &change, NULL, NULL);
}

Err kinesis_SplitShard(struct call *c, const struct kinesis_SplitShard_in *in)
{
    AUTO(stream) s = NULL;
    uint32_t index = 0;
    TRY(parse_shard(c, STREAM_REF(in), in->shard_to_split, &index));
    TRY(kinesis_find(c, STREAM_REF(in), &s));
    TRY(kinesis_change_begin(c, s->name));
    Err e = split_locked(c, in, s, index);
    kinesis_change_end(c->state);
    return e;
}

// ---- MergeShards

static Err merge_locked(struct call *c, struct stream *s, uint32_t index, uint32_t adjacent)
{
    StreamChange change = { .kind = CHANGE_MERGE, .shard = index, .other = adjacent };
    struct shard *sh, *other;
    TRY(require_provisioned(c, s));
    TRY(kinesis_require_active(c, s));
    TRY(find_open(c, s, index, &sh));
    TRY(find_open(c, s, adjacent, &other));
    TRY(check_memory(c, s, 1));
    if (sh->end == HASH_KEY_MAX || sh->end + 1 != other->start)
        return call_fail(c, &kinesis_InvalidArgumentException,
                         "Shards %.*s and %.*s in stream %.*s under account %.*s are not an "
                         "adjacent pair of shards eligible for merging",
                         FMT(shard_id_str(c->arena, index)), FMT(shard_id_str(c->arena, adjacent)),
                         FMT(s->name), FMT(s->account));
    return kinesis_reshard(c->state, s, &change, NULL, NULL);
}

Err kinesis_MergeShards(struct call *c, const struct kinesis_MergeShards_in *in)
{
    AUTO(stream) s = NULL;
    uint32_t index = 0, adjacent = 0;
    TRY(parse_shard(c, STREAM_REF(in), in->shard_to_merge, &index));
    TRY(parse_shard(c, STREAM_REF(in), in->adjacent_shard_to_merge, &adjacent));
    TRY(kinesis_find(c, STREAM_REF(in), &s));
    TRY(kinesis_change_begin(c, s->name));
    Err e = merge_locked(c, s, index, adjacent);
    kinesis_change_end(c->state);
    return e;
}

// ---- UpdateShardCount

// The words are those that users of AWS have quoted.
static Err too_far(struct call *c, const struct stream *s, uint32_t target, const char *why)
{
    return call_fail(c, &kinesis_LimitExceededException,
                     "%s. Current open shard count: %zu Target shard count: %u", why, s->open_count,
                     target);
}

static Err check_target(struct call *c, const struct stream *s, uint32_t target)
{
    const struct kinesis *k = c->state;
    size_t have = s->open_count;
    if (target > SCALE_SHARDS_MAX)
        return too_far(c, s, target,
                       "Target shard count or number of open shards cannot be greater than 10000");
    if (k->env.limits > 0 && target > have * 2)
        return too_far(c, s, target,
                       "UpdateShardCount cannot scale up over double your current open shard "
                       "count");
    if (k->env.limits > 0 && (size_t)target * 2 < have)
        return too_far(c, s, target,
                       "UpdateShardCount cannot scale down below half your current open shard "
                       "count");
    if (target > have)
        TRY(kinesis_check_shards(c, target - have));
    return check_memory(c, s, reshard_scale_adds(s, target));
}

// The oldest of the newest calls, if as many as are allowed within a day have been made.
static Err check_daily(struct call *c, const struct stream *s)
{
    const struct kinesis *k = c->state;
    int64_t oldest_ms = s->scaled_ms[STREAM_SCALES_PER_DAY_MAX - 1];
    if (k->env.limits <= 0 || oldest_ms == 0 || c->now_ns / NS_PER_MS - oldest_ms >= DAY_MS)
        return OK;
    return call_fail(c, &kinesis_LimitExceededException,
                     "UpdateShardCount can be called %d times in 24 hours for one stream. Stream "
                     "%.*s under account %.*s has reached this limit.",
                     STREAM_SCALES_PER_DAY_MAX, FMT(s->name), FMT(s->account));
}

static void note_scaling(struct stream *copy, const void *arg)
{
    const int64_t *now_ms = arg;
    memmove(copy->scaled_ms + 1, copy->scaled_ms,
            sizeof copy->scaled_ms - sizeof copy->scaled_ms[0]);
    copy->scaled_ms[0] = *now_ms;
}

static Err scale_locked(struct call *c, const struct kinesis_UpdateShardCount_in *in,
                        struct stream *s, struct kinesis_UpdateShardCount_out *out)
{
    StreamChange change = { .kind = CHANGE_SCALE, .target = (uint32_t)in->target_shard_count };
    int64_t now_ms = c->now_ns / NS_PER_MS;
    TRY(require_provisioned(c, s));
    TRY(kinesis_require_active(c, s));
    TRY(check_target(c, s, change.target));
    TRY(check_daily(c, s));
    out->stream_name = str_dup(c->arena, s->name);
    out->stream_arn = str_dup(c->arena, s->arn);
    out->has_current_shard_count = out->has_target_shard_count = true;
    out->current_shard_count = (int32_t)s->open_count;
    out->target_shard_count = in->target_shard_count;
    return kinesis_reshard(c->state, s, &change, note_scaling, &now_ms);
}

Err kinesis_UpdateShardCount(struct call *c, const struct kinesis_UpdateShardCount_in *in,
                             struct kinesis_UpdateShardCount_out *out)
{
    AUTO(stream) s = NULL;
    TRY(kinesis_find(c, STREAM_REF(in), &s));
    TRY(kinesis_change_begin(c, s->name));
    Err e = scale_locked(c, in, s, out);
    kinesis_change_end(c->state);
    return e;
}
