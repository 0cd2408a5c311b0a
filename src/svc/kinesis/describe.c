// SPDX-License-Identifier: Apache-2.0
// DescribeStream, DescribeStreamSummary, ListStreams and ListShards.
#include "base/time.h"
#include "svc/kinesis/consumer.h"
#include "svc/kinesis/page.h"
#include "svc/kinesis/channels.h"
#include "svc/kinesis/queues.h"

#include <string.h>

enum { DESCRIBE_SHARDS_MAX = 100, LIST_STREAMS_MAX = 100, LIST_SHARDS_MAX = 1000 };

static int64_t created_ns(const struct stream *s)
{
    return s->created_ms / 1000 * NS_PER_S; // AWS shows whole seconds
}

static const kinesis_StreamModeDetails *mode_of(struct arena *a, const struct stream *s)
{
    kinesis_StreamModeDetails *mode = arena_new(a, kinesis_StreamModeDetails, 1);
    mode->stream_mode =
        s->on_demand ? kinesis_StreamMode_ON_DEMAND : kinesis_StreamMode_PROVISIONED;
    return mode;
}

// A scaling that has not taken effect yet is a target only.
static const kinesis_WarmThroughputObject *warm_of(struct arena *a, const struct stream *s)
{
    kinesis_WarmThroughputObject *warm = arena_new(a, kinesis_WarmThroughputObject, 1);
    warm->has_target_mibps = warm->has_current_mibps = true;
    warm->target_mibps = (int32_t)s->warm_mibps;
    warm->current_mibps = (int32_t)MIN((size_t)s->warm_mibps, s->open_count);
    return warm;
}

// One entry, without metrics where enhanced monitoring is off.
static kinesis_EnhancedMonitoringList monitoring_of(struct arena *a, const struct stream *s)
{
    kinesis_EnhancedMonitoringList list = { .set = true, .n = 1 };
    list.at = arena_new(a, kinesis_EnhancedMetrics, 1);
    list.at[0].shard_level_metrics = kinesis_shard_metrics(a, stream_shard_metrics(s));
    return list;
}

static void show_key(struct arena *a, const struct stream *s, Str *ret_type, Str *ret_key_id)
{
    *ret_type = s->key_arn.p != NULL ? kinesis_EncryptionType_KMS : kinesis_EncryptionType_NONE;
    if (s->key_arn.p != NULL)
        *ret_key_id = str_dup(a, s->key_given);
}

static kinesis_Shard describe_shard(struct arena *a, const struct shard *sh, bool is_closed)
{
    kinesis_HashKeyRange *keys = arena_new(a, kinesis_HashKeyRange, 1);
    *keys = (kinesis_HashKeyRange){ .starting_hash_key = hash_key_str(a, sh->start),
                                    .ending_hash_key = hash_key_str(a, sh->end) };
    kinesis_SequenceNumberRange *numbers = arena_new(a, kinesis_SequenceNumberRange, 1);
    numbers->starting_sequence_number = sequence_str(a, shard_sequence_start(sh));
    if (is_closed)
        numbers->ending_sequence_number = sequence_str(a, shard_sequence_end(sh));
    return (kinesis_Shard){
        .shard_id = shard_id_str(a, sh->index),
        .parent_shard_id = sh->parent >= 0 ? shard_id_str(a, sh->parent) : (Str){ 0 },
        .adjacent_parent_shard_id = sh->adjacent >= 0 ? shard_id_str(a, sh->adjacent) : (Str){ 0 },
        .hash_key_range = keys,
        .sequence_number_range = numbers,
    };
}

// ---- Which shards are shown

typedef struct ShardChoice {
    int64_t after; // index after which to begin; -1: from the first
    size_t max;
    Str type; // of the filter
    int64_t filter_index;
    int64_t at_ms; // of AT_TIMESTAMP and FROM_TIMESTAMP
    // All pages of a listing show the shards as they were at the first one: those below this index,
    // and open if their children are not. 0: as they are.
    uint32_t shard_next;
    bool *reopened; // by place: was open then; NULL: all are as they were
} ShardChoice;

// Marks the shards that have closed since the first page: their children have come since.
static Err look_back(struct call *c, const struct stream *s, ShardChoice *choice)
{
    if (choice->shard_next == 0 || choice->shard_next == s->shard_next)
        return OK;
    size_t places = s->shard_count > 0 ? s->shards[s->shard_count - 1]->index + 1 : 0;
    choice->reopened = arena_try_new(c->arena, bool, places);
    if (choice->reopened == NULL)
        return fail(ERR_MEMORY, "no memory for the shards of an answer");
    for (size_t i = 0; i < s->shard_count; i++) {
        const struct shard *sh = s->shards[i];
        if (sh->index < choice->shard_next)
            continue;
        if (sh->parent >= 0)
            choice->reopened[sh->parent] = true;
        if (sh->adjacent >= 0)
            choice->reopened[sh->adjacent] = true;
    }
    return OK;
}

static int64_t closed_ms_then(const struct shard *sh, const ShardChoice *choice)
{
    bool was_open = choice->reopened != NULL && choice->reopened[sh->index];
    return was_open ? INT64_MAX : shard_closed_ms(sh);
}

// Whether it had opened by that time. Of parents and children one generation was open: the parents,
// in the very moment in which they ended.
static bool had_opened(const struct stream *s, const struct shard *sh, int64_t at_ms)
{
    int64_t opened_ms = stream_opened_ms(s, sh);
    return sh->parent >= 0 ? opened_ms < at_ms : opened_ms <= at_ms;
}

// A shard is gone when it was closed longer ago than the stream keeps records.
static bool is_shown(const struct stream *s, const struct call *c, const struct shard *sh,
                     const ShardChoice *choice)
{
    int64_t horizon = stream_horizon_ms(s, c->now_ns / NS_PER_MS), at = MAX(choice->at_ms, horizon);
    int64_t closed_ms = closed_ms_then(sh, choice);
    if (closed_ms < horizon || sh->index <= choice->after ||
        (choice->shard_next != 0 && sh->index >= choice->shard_next))
        return false;
    if (str_eq(choice->type, kinesis_ShardFilterType_AFTER_SHARD_ID))
        return sh->index > choice->filter_index;
    if (str_eq(choice->type, kinesis_ShardFilterType_AT_LATEST))
        return closed_ms == INT64_MAX;
    if (str_eq(choice->type, kinesis_ShardFilterType_AT_TRIM_HORIZON))
        return had_opened(s, sh, MAX(horizon, s->created_ms)) && closed_ms >= horizon;
    if (str_eq(choice->type, kinesis_ShardFilterType_AT_TIMESTAMP))
        return had_opened(s, sh, MAX(at, s->created_ms)) && closed_ms >= MAX(at, s->created_ms);
    if (str_eq(choice->type, kinesis_ShardFilterType_FROM_TIMESTAMP))
        return closed_ms >= at;
    return true; // FROM_TRIM_HORIZON, which is also what no filter means
}

// The chosen shards in order of their ids, and whether others follow. The lock is held.
static Err choose_shards(struct call *c, const struct stream *s, ShardChoice *choice,
                         kinesis_ShardList *ret, int64_t *ret_last, bool *ret_more)
{
    kinesis_ShardList list = { .set = true };
    list.at = arena_try_new(c->arena, kinesis_Shard, MIN(choice->max, s->shard_count));
    if (list.at == NULL)
        return fail(ERR_MEMORY, "no memory for the shards of an answer");
    *ret_more = false;
    if (s->status == STREAM_CREATING) {
        *ret = list;
        return OK;
    }
    TRY(look_back(c, s, choice));
    for (size_t i = 0; i < s->shard_count; i++) {
        if (!is_shown(s, c, s->shards[i], choice))
            continue;
        if (list.n == choice->max) {
            *ret = list;
            *ret_more = true;
            return OK;
        }
        bool is_closed = closed_ms_then(s->shards[i], choice) != INT64_MAX;
        list.at[list.n++] = describe_shard(c->arena, s->shards[i], is_closed);
        *ret_last = s->shards[i]->index;
    }
    *ret = list;
    return OK;
}

static Err parse_shard(struct call *c, const struct stream *s, Str shard_id, int64_t *ret)
{
    uint32_t index;
    if (shard_parse_id(shard_id, &index).kind != ERR_NONE)
        return call_fail(c, &kinesis_ResourceNotFoundException,
                         "Could not find shard %.*s in stream %.*s under account %.*s.",
                         FMT(shard_id), FMT(s->name), FMT(s->account));
    *ret = index;
    return OK;
}

// ---- Operations

Err kinesis_DescribeStream(struct call *c, const struct kinesis_DescribeStream_in *in,
                           struct kinesis_DescribeStream_out *out)
{
    struct kinesis *k = c->state;
    AUTO(stream) s = NULL;
    TRY(kinesis_find(c, STREAM_REF(in), &s));
    ShardChoice choice = { .after = -1,
                           .max = MIN((size_t)in->limit, (size_t)DESCRIBE_SHARDS_MAX) };
    if (in->exclusive_start_shard_id.p != NULL)
        TRY(parse_shard(c, s, in->exclusive_start_shard_id, &choice.after));

    int64_t last;
    kinesis_StreamDescription *d = arena_new(c->arena, kinesis_StreamDescription, 1);
    pthread_rwlock_rdlock(&k->lock);
    *d = (kinesis_StreamDescription){
        .stream_name = s->name,
        .stream_arn = s->arn,
        .stream_status = stream_status_name(s->status),
        .stream_mode_details = mode_of(c->arena, s),
        .retention_period_hours = (int32_t)s->retention_hours,
        .stream_creation_timestamp = created_ns(s),
        .enhanced_monitoring = monitoring_of(c->arena, s),
    };
    show_key(c->arena, s, &d->encryption_type, &d->key_id);
    Err e = choose_shards(c, s, &choice, &d->shards, &last, &d->has_more_shards);
    d->stream_name = str_dup(c->arena, s->name); // the reference to s ends before the reply
    d->stream_arn = str_dup(c->arena, s->arn);
    bool gone = s->status == STREAM_GONE;
    pthread_rwlock_unlock(&k->lock);
    if (gone)
        return kinesis_not_found(c, s->name);
    TRY(e);
    out->stream_description = d;
    return OK;
}

Err kinesis_DescribeStreamSummary(struct call *c, const struct kinesis_DescribeStreamSummary_in *in,
                                  struct kinesis_DescribeStreamSummary_out *out)
{
    struct kinesis *k = c->state;
    AUTO(stream) s = NULL;
    TRY(kinesis_find(c, STREAM_REF(in), &s));
    kinesis_StreamDescriptionSummary *d = arena_new(c->arena, kinesis_StreamDescriptionSummary, 1);
    pthread_rwlock_rdlock(&k->lock);
    *d = (kinesis_StreamDescriptionSummary){
        .stream_name = str_dup(c->arena, s->name),
        .stream_arn = str_dup(c->arena, s->arn),
        .stream_id = str_dup(c->arena, s->id),
        .stream_status = stream_status_name(s->status),
        .stream_mode_details = mode_of(c->arena, s),
        .retention_period_hours = (int32_t)s->retention_hours,
        .stream_creation_timestamp = created_ns(s),
        .enhanced_monitoring = monitoring_of(c->arena, s),
        .open_shard_count = s->status == STREAM_CREATING ? 0 : (int32_t)s->open_count,
        .has_consumer_count = true,
        .consumer_count = (int32_t)consumer_count(s, c->now_ns / NS_PER_MS),
        .has_queue_count = s->on_demand, // others can have none
        .queue_count = (int32_t)queues_on_stream(k, s),
        .has_channel_count = s->on_demand,
        .channel_count = (int32_t)channels_on_stream(k, s),
        .has_max_record_size_in_kib = true,
        .max_record_size_in_kib = (int32_t)s->record_kib_max,
    };
    show_key(c->arena, s, &d->encryption_type, &d->key_id);
    if (s->warm_mibps > 0)
        d->warm_throughput = warm_of(c->arena, s);
    if (s->spread)
        d->record_distribution_strategy = kinesis_RecordDistributionStrategy_AUTO;
    bool gone = s->status == STREAM_GONE;
    pthread_rwlock_unlock(&k->lock);
    if (gone)
        return kinesis_not_found(c, s->name);
    out->stream_description_summary = d;
    return OK;
}

Err kinesis_ListStreams(struct call *c, const struct kinesis_ListStreams_in *in,
                        struct kinesis_ListStreams_out *out)
{
    struct kinesis *k = c->state;
    Str after = in->exclusive_start_stream_name;
    TRY(kinesis_admit(c, (Str){ 0 }));
    if (in->next_token.p != NULL)
        TRY(page_open(c, TOKEN_STREAMS, in->next_token, &after));
    size_t max = MIN((size_t)in->limit, (size_t)LIST_STREAMS_MAX), first, n;
    out->stream_names =
        (kinesis_StreamNameList){ .at = arena_new(c->arena, Str, max), .set = true };
    out->stream_summaries =
        (kinesis_StreamSummaryList){ .at = arena_new(c->arena, kinesis_StreamSummary, max),
                                     .set = true };

    pthread_rwlock_rdlock(&k->lock);
    kinesis_realm(k, c, &first, &n);
    for (size_t i = first; i < first + n && !out->has_more_streams; i++) {
        const struct stream *s = k->sorted[i];
        if (after.p != NULL && str_cmp(s->name, after) <= 0)
            continue;
        out->has_more_streams = out->stream_names.n == max;
        if (out->has_more_streams)
            break;
        Str name = str_dup(c->arena, s->name);
        out->stream_names.at[out->stream_names.n++] = name;
        out->stream_summaries.at[out->stream_summaries.n++] = (kinesis_StreamSummary){
            .stream_name = name,
            .stream_arn = str_dup(c->arena, s->arn),
            .stream_status = stream_status_name(s->status),
            .stream_mode_details = mode_of(c->arena, s),
            .has_stream_creation_timestamp = true,
            .stream_creation_timestamp = created_ns(s),
        };
    }
    pthread_rwlock_unlock(&k->lock);
    if (out->has_more_streams)
        out->next_token = page_seal(c, TOKEN_STREAMS, out->stream_names.at[max - 1]);
    return OK;
}

// What a page token of ListShards carries: the choice, the stream's age, then filter and name.
struct shards_page {
    int64_t after, filter_index, at_ms, created_ms;
    uint32_t type_bytes, shard_next;
};

static Str seal_shards(struct call *c, const struct stream *s, const ShardChoice *choice,
                       int64_t last, uint32_t shard_next)
{
    struct shards_page page = { .after = last,
                                .filter_index = choice->filter_index,
                                .at_ms = choice->at_ms,
                                .created_ms = s->created_ms,
                                .type_bytes = (uint32_t)choice->type.n,
                                .shard_next = shard_next };
    Str head = str_cat(c->arena, str_from(&page, sizeof page), choice->type);
    return page_seal(c, TOKEN_SHARDS, str_cat(c->arena, head, s->name));
}

static Err continue_shards(struct call *c, Str token, ShardChoice *choice, struct stream **ret)
{
    struct shards_page page;
    Str payload;
    AUTO(stream) s = NULL;
    TRY(page_open(c, TOKEN_SHARDS, token, &payload));
    CHECK(payload.n >= sizeof page); // sealed here
    memcpy(&page, payload.p, sizeof page);
    Str rest = str_skip(payload, sizeof page);
    choice->after = page.after;
    choice->filter_index = page.filter_index;
    choice->at_ms = page.at_ms;
    choice->shard_next = page.shard_next;
    choice->type = str_head(rest, page.type_bytes);
    Str name = str_skip(rest, page.type_bytes);
    TRY(kinesis_find(c, (StreamRef){ .name = name }, &s));
    if (s->created_ms != page.created_ms) // another one of that name
        return kinesis_not_found(c, name);
    *ret = stream_ref(s);
    return OK;
}

static Err apply_filter(struct call *c, const struct stream *s, const kinesis_ShardFilter *filter,
                        ShardChoice *choice)
{
    Str type = choice->type = filter->type;
    bool by_time = str_eq(type, kinesis_ShardFilterType_AT_TIMESTAMP) ||
                   str_eq(type, kinesis_ShardFilterType_FROM_TIMESTAMP);
    bool by_shard = str_eq(type, kinesis_ShardFilterType_AFTER_SHARD_ID);
    if (by_time != filter->has_timestamp)
        return call_fail(c, &kinesis_InvalidArgumentException,
                         by_time ? "Must specify a Timestamp for a ShardFilter of type %.*s."
                                 : "A ShardFilter of type %.*s takes no Timestamp.",
                         FMT(type));
    if (by_shard != (filter->shard_id.p != NULL))
        return call_fail(c, &kinesis_InvalidArgumentException,
                         by_shard ? "Must specify a ShardId for a ShardFilter of type %.*s."
                                  : "A ShardFilter of type %.*s takes no ShardId.",
                         FMT(type));
    choice->at_ms = by_time ? filter->timestamp / NS_PER_MS : 0;
    return by_shard ? parse_shard(c, s, filter->shard_id, &choice->filter_index) : OK;
}

static Err begin_shards(struct call *c, const struct kinesis_ListShards_in *in, ShardChoice *choice,
                        struct stream **ret)
{
    AUTO(stream) s = NULL;
    if (in->stream_name.p == NULL && in->stream_arn.p == NULL && in->stream_id.p == NULL)
        return call_fail(c, &kinesis_InvalidArgumentException,
                         "Either NextToken or StreamName should be provided.");
    TRY(kinesis_find(c, STREAM_REF(in), &s));
    if (in->has_stream_creation_timestamp &&
        in->stream_creation_timestamp / NS_PER_S != s->created_ms / 1000)
        return kinesis_not_found(c, s->name);
    if (in->exclusive_start_shard_id.p != NULL)
        TRY(parse_shard(c, s, in->exclusive_start_shard_id, &choice->after));
    if (in->shard_filter != NULL)
        TRY(apply_filter(c, s, in->shard_filter, choice));
    *ret = stream_ref(s);
    return OK;
}

Err kinesis_ListShards(struct call *c, const struct kinesis_ListShards_in *in,
                       struct kinesis_ListShards_out *out)
{
    struct kinesis *k = c->state;
    AUTO(stream) s = NULL;
    ShardChoice choice = { .after = -1,
                           .type = kinesis_ShardFilterType_FROM_TRIM_HORIZON,
                           .max = MIN((size_t)in->max_results, (size_t)LIST_SHARDS_MAX) };
    if (in->next_token.p != NULL &&
        (in->stream_name.p != NULL || in->stream_arn.p != NULL || in->shard_filter != NULL ||
         in->exclusive_start_shard_id.p != NULL || in->has_stream_creation_timestamp))
        return call_fail(c, &kinesis_InvalidArgumentException,
                         "NextToken and StreamName cannot be provided together.");
    if (in->next_token.p != NULL)
        TRY(continue_shards(c, in->next_token, &choice, &s));
    else
        TRY(begin_shards(c, in, &choice, &s));

    TRY(kinesis_admit_listing(c, s));
    int64_t last = -1;
    pthread_rwlock_rdlock(&k->lock);
    bool listed = s->status == STREAM_ACTIVE || s->status == STREAM_UPDATING;
    StreamStatus status = s->status;
    uint32_t shard_next = choice.shard_next != 0 ? choice.shard_next : s->shard_next;
    bool more = false;
    Err e = listed                  ? choose_shards(c, s, &choice, &out->shards, &last, &more)
            : status == STREAM_GONE ? kinesis_not_found(c, s->name)
                                    : kinesis_require_active(c, s);
    pthread_rwlock_unlock(&k->lock);
    TRY(e);
    if (more)
        out->next_token = seal_shards(c, s, &choice, last, shard_next);
    return OK;
}
