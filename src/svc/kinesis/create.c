// SPDX-License-Identifier: Apache-2.0
// CreateStream, DeleteStream and what is changed on a stream as a whole.
#include "base/time.h"
#include "svc/kinesis/consumer.h"
#include "svc/kinesis/demand.h"
#include "svc/kinesis/channels.h"
#include "svc/kinesis/queues.h"
#include "svc/kinesis/stream_priv.h"
#include "svc/kinesis/tags.h"

// Account quotas (developer guide, "Quotas and limits"): shards by region, and streams.
enum { SHARDS_MAX_LARGE_REGIONS = 20000, SHARDS_MAX_OTHER_REGIONS = 1000 };

typedef struct RealmCounts {
    size_t open_shards, on_demand, creating;
} RealmCounts;

static RealmCounts count_realm(struct kinesis *k, const struct call *c)
{
    RealmCounts counts = { 0 };
    size_t first, n;
    pthread_rwlock_rdlock(&k->lock);
    kinesis_realm(k, c, &first, &n);
    for (size_t i = first; i < first + n; i++) {
        const struct stream *s = k->sorted[i];
        counts.open_shards += s->on_demand ? 0 : s->open_count;
        counts.on_demand += s->on_demand;
        counts.creating += s->status == STREAM_CREATING;
    }
    pthread_rwlock_unlock(&k->lock);
    return counts;
}

static size_t shards_max(const struct kinesis *k, const struct call *c)
{
    static const Str large[] = { S_INIT("us-east-1"), S_INIT("us-west-2"), S_INIT("eu-west-1") };
    size_t max = SHARDS_MAX_OTHER_REGIONS;
    for (size_t i = 0; i < COUNT_OF(large); i++)
        if (str_eq(c->region, large[i]))
            max = SHARDS_MAX_LARGE_REGIONS;
    if (k->env.limits <= 0)
        return 1000000; // the largest that ShardCountObject holds
    if (k->env.shards_max > 0)
        return k->env.shards_max;
    return MIN((size_t)((double)max * k->env.limits), (size_t)1000000);
}

// A stream id as AWS writes it: twenty letters or digits, a dash, three more.
static Str new_stream_id(struct kinesis *k, struct arena *a)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    unsigned char random[24];
    char *text = arena_alloc(a, sizeof random, 1);
    k->env.io->random(k->env.io, random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        text[i] = letters[random[i] % (sizeof letters - 1)];
    text[20] = '-';
    return str_from(text, sizeof random);
}

Err kinesis_check_shards(struct call *c, size_t more)
{
    struct kinesis *k = c->state;
    RealmCounts have = count_realm(k, c);
    size_t max = shards_max(k, c);
    if (have.open_shards + more <= max)
        return OK;
    return call_fail(
        c, &kinesis_LimitExceededException,
        "This request would exceed the shard limit for the account %.*s in %.*s. Current shard "
        "count for the account: %zu. Limit: %zu. Number of additional shards that would have "
        "resulted from this request: %zu. Refer to the AWS Service Limits page "
        "(http://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) for current "
        "limits and how to request higher limits.",
        FMT(c->account), FMT(c->region), have.open_shards, max, more);
}

Err kinesis_check_on_demand(struct call *c)
{
    struct kinesis *k = c->state;
    if (k->env.limits <= 0 || count_realm(k, c).on_demand < STREAMS_ON_DEMAND_MAX)
        return OK;
    return call_fail(c, &kinesis_LimitExceededException,
                     "This request would exceed the limit of %d on-demand streams for the account "
                     "%.*s in %.*s.",
                     STREAMS_ON_DEMAND_MAX, FMT(c->account), FMT(c->region));
}

static Err check_quotas(struct call *c, bool on_demand, size_t shards)
{
    RealmCounts have = count_realm(c->state, c);
    if (have.creating >= STREAMS_CREATING_MAX)
        return call_fail(c, &kinesis_LimitExceededException,
                         "Rate exceeded: %d streams are being created under account %.*s.",
                         STREAMS_CREATING_MAX, FMT(c->account));
    return on_demand ? kinesis_check_on_demand(c) : kinesis_check_shards(c, shards);
}

typedef struct NewStream {
    bool on_demand;
    bool spread;
    uint32_t shards, warm_mibps;
} NewStream;

static Err check_create(struct call *c, const struct kinesis_CreateStream_in *in, NewStream *ret)
{
    const struct kinesis_StreamModeDetails *mode = in->stream_mode_details;
    NewStream new = { 0 };
    new.on_demand = mode != NULL ? str_eq(mode->stream_mode, kinesis_StreamMode_ON_DEMAND)
                                 : !in->has_shard_count;
    if (!new.on_demand && !in->has_shard_count)
        return call_fail(
            c, &kinesis_ValidationException,
            "1 validation error detected: Value null at 'shardCount' failed to satisfy "
            "constraint: Member must not be null");
    new.shards = new.on_demand ? STREAM_ON_DEMAND_SHARDS : (uint32_t)in->shard_count;
    new.spread = str_eq(in->record_distribution_strategy, kinesis_RecordDistributionStrategy_AUTO);
    if (new.spread && !new.on_demand)
        return call_fail(c, &kinesis_InvalidArgumentException,
                         "RecordDistributionStrategy AUTO is only for streams in On-Demand mode.");
    if (in->has_warm_throughput_mibps && in->warm_throughput_mibps > 0) {
        if (!new.on_demand)
            return call_fail(c, &kinesis_InvalidArgumentException,
                             "WarmThroughputMiBps is only for streams in On-Demand mode.");
        TRY(kinesis_check_warm(c, in->warm_throughput_mibps));
        new.warm_mibps = (uint32_t)in->warm_throughput_mibps;
        new.shards = MAX(new.shards, new.warm_mibps);
    }
    TRY(tags_check(c, in->tags));
    TRY(tags_check_count(c, "stream", in->stream_name, in->tags.n));
    TRY(check_quotas(c, new.on_demand, new.shards));
    *ret = new;
    return OK;
}

// Commits the row together with the incarnations of its shards.
static Err commit_new(struct kinesis *k, struct arena *a, struct stream *s, uint32_t shards)
{
    AUTO_BUF(row);
    AUTO(kv_txn) tx = kv_write(k->rows);
    uint64_t *ids = arena_new(a, uint64_t, shards);
    for (uint32_t i = 0; i < shards; i++)
        TRY(kv_next_id(tx, &ids[i]));
    stream_split_evenly(s, shards, s->created_ms / 1000, ids);
    if (s->on_demand)
        demand_begin(s, s->created_ms);
    // As it will be found after a crash.
    s->status = s->change.kind != CHANGE_NONE ? STREAM_CREATING : STREAM_ACTIVE;
    stream_row_write(&row, s);
    s->status = STREAM_CREATING;
    TRY(buf_err(&row));
    TRY(kv_put(tx, stream_row_key(a, s->account, s->region, s->name), buf_str(&row)));
    return kv_commit(tx);
}

static int64_t change_due_ms(const struct kinesis *k, const struct call *c)
{
    return (c->now_ns + k->env.change_ns) / NS_PER_MS;
}

static Err create_locked(struct call *c, const struct kinesis_CreateStream_in *in)
{
    struct kinesis *k = c->state;
    struct stream *there = NULL;
    pthread_rwlock_rdlock(&k->lock);
    there = map_get(k->by_key, stream_row_key(c->arena, c->account, c->region, in->stream_name));
    pthread_rwlock_unlock(&k->lock);
    if (there != NULL)
        return call_fail(c, &kinesis_ResourceInUseException,
                         "Stream %.*s under account %.*s already exists.", FMT(in->stream_name),
                         FMT(c->account));
    NewStream new = { 0 };
    TRY(check_create(c, in, &new));

    AUTO(stream) s = stream_new(c->account, c->region, in->stream_name);
    s->id = stream_own(new_stream_id(k, c->arena));
    s->created_ms = c->now_ns / NS_PER_MS;
    s->on_demand = new.on_demand;
    s->spread = new.spread;
    s->warm_mibps = new.warm_mibps;
    if (in->has_max_record_size_in_kib)
        s->record_kib_max = (uint32_t)in->max_record_size_in_kib;
    for (size_t i = 0; i < in->tags.n; i++)
        tag_set_put(&s->tags, in->tags.at[i].key, in->tags.at[i].value);
    if (k->env.change_ns > 0)
        s->change = (StreamChange){ .kind = CHANGE_STATUS, .due_ms = change_due_ms(k, c) };
    TRY(commit_new(k, c->arena, s, new.shards));
    kinesis_insert(k, stream_ref(s));
    TRY(kinesis_declare(k, s));
    if (s->change.kind != CHANGE_NONE) {
        chores_at(&k->chores, s->change.due_ms);
        return OK;
    }
    if (s->on_demand)
        chores_at(&k->chores, s->measured_ms + DEMAND_MINUTE_MS);
    pthread_rwlock_wrlock(&k->lock);
    s->status = STREAM_ACTIVE;
    pthread_rwlock_unlock(&k->lock);
    return OK;
}

Err kinesis_CreateStream(struct call *c, const struct kinesis_CreateStream_in *in)
{
    TRY(kinesis_admit(c, in->stream_name));
    TRY(kinesis_change_begin(c, in->stream_name));
    Err e = create_locked(c, in);
    kinesis_change_end(c->state);
    return e;
}

static void mark_deleting(struct stream *copy, const void *arg)
{
    const int64_t *due_ms = arg;
    copy->status = STREAM_DELETING; // whatever else was under way
    copy->change = (StreamChange){ .kind = CHANGE_STATUS, .due_ms = *due_ms };
}

// A stream with consumers is deleted only if that is said to be meant.
static Err check_consumers(struct call *c, const struct stream *s, bool enforce)
{
    if (enforce || consumer_count(s, c->now_ns / NS_PER_MS) == 0)
        return OK;
    return call_fail(c, &kinesis_ResourceInUseException,
                     "DeleteStream can't delete %.*s because there are consumers associated with "
                     "this data stream. To delete %.*s anyway, set the EnforceConsumerDeletion "
                     "parameter to true to force the deletion of all the consumers that are "
                     "associated with it.",
                     FMT(s->arn), FMT(s->name));
}

static Err delete_locked(struct call *c, struct stream *s)
{
    struct kinesis *k = c->state;
    int64_t due_ms = change_due_ms(k, c);
    if (s->status == STREAM_GONE)
        return OK; // somebody else's deletion was faster
    TRY(queues_refuse(c, s, "DeleteStream can't delete", ""));
    TRY(channels_refuse(c, s, "DeleteStream can't delete", ""));
    if (s->status != STREAM_DELETING)
        TRY(kinesis_change(k, s, mark_deleting, &due_ms));
    if (k->env.change_ns <= 0)
        return kinesis_finish(k, s);
    chores_at(&k->chores, due_ms);
    return OK;
}

Err kinesis_DeleteStream(struct call *c, const struct kinesis_DeleteStream_in *in)
{
    struct kinesis *k = c->state;
    AUTO(stream) s = NULL;
    TRY(kinesis_find(c, STREAM_REF(in), &s));
    TRY(kinesis_change_begin(c, s->name));
    Err e = check_consumers(c, s, in->enforce_consumer_deletion);
    if (e.kind == ERR_NONE)
        e = delete_locked(c, s);
    kinesis_change_end(k);
    return e;
}

Err kinesis_DescribeLimits(struct call *c, const struct kinesis_DescribeLimits_in *in,
                           struct kinesis_DescribeLimits_out *out)
{
    (void)in;
    struct kinesis *k = c->state;
    TRY(kinesis_admit(c, (Str){ 0 }));
    RealmCounts have = count_realm(k, c);
    out->shard_limit = (int32_t)shards_max(k, c);
    out->open_shard_count = (int32_t)have.open_shards;
    out->on_demand_stream_count = (int32_t)have.on_demand;
    out->on_demand_stream_count_limit = STREAMS_ON_DEMAND_MAX;
    out->has_channel_count = true; // how many there may be is nowhere said
    out->channel_count = (int32_t)channels_count(k, c->account, c->region);
    return OK;
}

// ---- Retention

struct new_retention {
    uint32_t hours;
    int64_t now_ms;
};

// What is over stays over, though it may still be on the disk.
static void set_retention(struct stream *copy, const void *arg)
{
    const struct new_retention *n = arg;
    copy->over_ms = MAX(copy->over_ms, n->now_ms - (int64_t)copy->retention_hours * 3600 * 1000);
    copy->retention_hours = n->hours;
}

static Err check_retention(struct call *c, const struct stream *s, int32_t hours, bool increase)
{
    const struct api_error *wrong = &kinesis_InvalidArgumentException;
    if (hours < STREAM_RETENTION_HOURS_MIN)
        return call_fail(c, wrong,
                         "Minimum allowed retention period is %d hours. Requested retention period "
                         "(%d hours) is too short.",
                         STREAM_RETENTION_HOURS_MIN, hours);
    if (hours > STREAM_RETENTION_HOURS_MAX)
        return call_fail(c, wrong,
                         "Maximum allowed retention period is %d hours. Requested retention period "
                         "(%d hours) is too long.",
                         STREAM_RETENTION_HOURS_MAX, hours);
    if (increase && (uint32_t)hours < s->retention_hours)
        return call_fail(c, wrong,
                         "Requested retention period (%d hours) for stream %.*s can not be shorter "
                         "than existing retention period (%u hours). Use DecreaseRetentionPeriod "
                         "API.",
                         hours, FMT(s->name), s->retention_hours);
    if (!increase && (uint32_t)hours > s->retention_hours)
        return call_fail(c, wrong,
                         "Requested retention period (%d hours) for stream %.*s can not be longer "
                         "than existing retention period (%u hours). Use IncreaseRetentionPeriod "
                         "API.",
                         hours, FMT(s->name), s->retention_hours);
    return OK;
}

static Err change_retention(struct call *c, StreamRef ref, int32_t hours, bool increase)
{
    struct kinesis *k = c->state;
    AUTO(stream) s = NULL;
    TRY(kinesis_find(c, ref, &s));
    TRY(kinesis_change_begin(c, s->name));
    struct new_retention wanted = { (uint32_t)hours, c->now_ns / NS_PER_MS };
    Err e = kinesis_require_active(c, s);
    if (e.kind == ERR_NONE)
        e = check_retention(c, s, hours, increase);
    if (e.kind == ERR_NONE &&
        wanted.hours != s->retention_hours) { // an equal value changes nothing
        e = kinesis_update(k, s, set_retention, &wanted);
        if (e.kind == ERR_NONE)
            e = kinesis_declare(k, s);
    }
    kinesis_change_end(k);
    return e;
}

Err kinesis_IncreaseStreamRetentionPeriod(struct call *c,
                                          const struct kinesis_IncreaseStreamRetentionPeriod_in *in)
{
    return change_retention(c, STREAM_REF(in), in->retention_period_hours, true);
}

Err kinesis_DecreaseStreamRetentionPeriod(struct call *c,
                                          const struct kinesis_DecreaseStreamRetentionPeriod_in *in)
{
    return change_retention(c, STREAM_REF(in), in->retention_period_hours, false);
}
