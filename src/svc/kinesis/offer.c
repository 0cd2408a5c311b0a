// SPDX-License-Identifier: Apache-2.0
// Records of streams for other services (hub/source.h): read from the log where they lie, with the
// permissions of the role that the reader was given, and counted against no limit of consumers.
#include "hub/hub.h"
#include "hub/source.h"
#include "svc/kinesis/crypt.h"
#include "svc/kinesis/kinesis.h"

#include <stdlib.h>

enum { OFFER_RECORDS_MAX = 10000, ARN_PARTS = 5 };

// What an operation finds in a call, for work that nobody has called for. Account and region are
// the stream's.
static struct call *call_for(struct kinesis *k, struct arena *a, const HubActor *as, Str arn)
{
    struct call *c = arena_new(a, struct call, 1);
    Str part[ARN_PARTS] = { 0 }, rest = arn;
    for (size_t i = 0; i < ARN_PARTS; i++)
        if (!str_cut(rest, ':', &part[i], &rest))
            part[i] = S("");
    *c = (struct call){ .state = k,
                        .arena = a,
                        .op = &kinesis_api.ops[0],
                        .account = part[4],
                        .region = part[3],
                        .caller = as->account,
                        .access_key = S(""),
                        .role = as->role_arn,
                        .service = as->service,
                        .source_arn = as->source_arn,
                        .request_id = S("delivery"),
                        .now_ns = k->env.io->wall_ns(k->env.io) };
    c->principal = hub_actor_principal(a, as);
    return c;
}

// ERR_NOT_FOUND: there is no such stream, or it is being deleted.
static Err find_stream(struct kinesis *k, const struct call *c, Str arn, struct stream **ret)
{
    Str name = kinesis_name_in_arn(c, arn);
    if (name.p == NULL)
        return fail(ERR_NOT_FOUND, "no ARN of a stream");
    Str key = stream_row_key(c->arena, c->account, c->region, name);
    pthread_rwlock_rdlock(&k->lock);
    struct stream *s = map_get(k->by_key, key);
    bool there = s != NULL && s->status != STREAM_GONE && s->status != STREAM_DELETING &&
                 s->status != STREAM_CREATING;
    if (there)
        stream_ref(s);
    pthread_rwlock_unlock(&k->lock);
    if (!there)
        return fail(ERR_NOT_FOUND, "no such stream");
    *ret = s;
    return OK;
}

static Str missing(struct call *c, Str arn)
{
    Str name = kinesis_name_in_arn(c, arn);
    return str_fmt(c->arena, "Stream %.*s under account %.*s not found.",
                   FMT(name.p != NULL ? name : arn), FMT(c->account));
}

static bool may(struct kinesis *k, struct call *c, Str action, Str arn, Str *ret_text)
{
    const struct access_guard *guard = k->env.hub != NULL ? k->env.hub->access : NULL;
    if (guard == NULL || k->env.dev)
        return true;
    AUTO(policy) policy = kinesis_policy(k, arn);
    AccessTarget t = { .action = action, .resource = arn, .account = c->account, .policy = policy };
    return guard->may(guard->self, c, &t, ret_text);
}

// The first one decides: the faults that have a text.
static HubSourceFault find(struct kinesis *k, struct call *c, Str action, Str arn,
                           struct stream **ret, Str *ret_text)
{
    if (!may(k, c, action, arn, ret_text))
        return HUB_SOURCE_DENIED;
    if (find_stream(k, c, arn, ret).kind == ERR_NONE)
        return HUB_SOURCE_GOOD;
    *ret_text = missing(c, arn);
    return HUB_SOURCE_NOT_FOUND;
}

// ---- Shards

static uint64_t id_of_index(const struct stream *s, int64_t index)
{
    const struct shard *sh = index >= 0 ? stream_shard(s, index) : NULL;
    return sh != NULL ? sh->id : 0;
}

static Err give_shards(struct kinesis *k, struct arena *a, struct stream *s, HubSourceStream *ret)
{
    pthread_rwlock_rdlock(&k->lock);
    size_t n = s->shard_count;
    ret->shards = arena_new(a, HubSourceShard, n + 1);
    for (size_t i = 0; i < n; i++) { // by index: parents come before children
        const struct shard *sh = s->shards[i];
        ret->shards[ret->n++] = (HubSourceShard){
            .id = shard_id_str(a, sh->index),
            .shard = sh->id,
            .parents = { id_of_index(s, sh->parent), id_of_index(s, sh->adjacent) },
            .ended = shard_is_closed(sh),
        };
    }
    ret->incarnation = n > 0 ? s->shards[0]->id : 0;
    pthread_rwlock_unlock(&k->lock);
    size_t kept = 0;
    for (size_t i = 0; i < ret->n; i++) {
        LogSpan span;
        Err e = log_span(k->env.log, ret->shards[i].shard, &span);
        if (e.kind == ERR_NOT_FOUND)
            continue; // over meanwhile
        TRY(e);
        ret->shards[i].first = span.first;
        ret->shards[i].next = span.next;
        ret->shards[kept++] = ret->shards[i];
    }
    ret->n = kept;
    return OK;
}

static Err offer_look(void *self, struct arena *a, const HubActor *as, Str arn,
                      HubSourceStream *ret)
{
    struct kinesis *k = self;
    struct call *c = call_for(k, a, as, arn);
    AUTO(stream) s = NULL;
    *ret = (HubSourceStream){ 0 };
    ret->fault = find(k, c, S("kinesis:DescribeStream"), arn, &s, &ret->text);
    return ret->fault == HUB_SOURCE_GOOD ? give_shards(k, a, s, ret) : OK;
}

static const struct shard *shard_of(struct kinesis *k, struct stream *s, uint64_t id)
{
    const struct shard *found = NULL;
    pthread_rwlock_rdlock(&k->lock);
    for (size_t i = 0; i < s->shard_count && found == NULL; i++)
        if (s->shards[i]->id == id)
            found = s->shards[i];
    pthread_rwlock_unlock(&k->lock);
    return found;
}

// ---- Records

static Err give_records(struct arena *a, const LogBatch *batch, HubSourceBatch *ret)
{
    ret->at = arena_try_new(a, HubSourceRecord, batch->n + 1);
    if (ret->at == NULL)
        return fail(ERR_MEMORY, "no memory for the records of a stream");
    for (size_t i = 0; i < batch->n; i++) {
        const LogEntry *e = &batch->at[i];
        ret->at[ret->n++] = (HubSourceRecord){
            .position = e->position, .arrival_ms = e->arrival_ms, .key = e->key, .data = e->data
        };
    }
    return OK;
}

static Err read_shard(struct call *c, struct stream *s, const struct shard *sh, uint64_t from,
                      size_t max_bytes, HubSourceBatch *ret)
{
    struct kinesis *k = c->state;
    bool closed = shard_is_closed(sh); // asked first: what is read then is all of it
    LogRead read = {
        .shard = sh->id, .from = from, .max_records = OFFER_RECORDS_MAX, .max_bytes = max_bytes
    };
    LogBatch batch;
    Err e = log_read(k->env.log, c->arena, &read, &batch);
    ret->gone = e.kind == ERR_NOT_FOUND;
    if (ret->gone)
        return OK;
    TRY(e);
    e = crypt_open(c, s, batch.at, batch.n, true);
    ret->gone = e.kind == ERR_FAULT && c->error == &kinesis_ResourceNotFoundException;
    if (ret->gone)
        return OK; // with its stream, while it was read
    if (e.kind == ERR_FAULT) {
        ret->fault = HUB_SOURCE_KEY;
        ret->text = c->error_text;
        return OK;
    }
    TRY(e);
    ret->next = batch.next;
    ret->more = batch.more;
    ret->ended = closed && !batch.more;
    return give_records(c->arena, &batch, ret);
}

static Err offer_read(void *self, struct arena *a, const HubActor *as, Str arn, uint64_t shard,
                      uint64_t from, size_t max_bytes, HubSourceBatch *ret)
{
    struct kinesis *k = self;
    struct call *c = call_for(k, a, as, arn);
    AUTO(stream) s = NULL;
    *ret = (HubSourceBatch){ .next = from };
    ret->fault = find(k, c, S("kinesis:GetRecords"), arn, &s, &ret->text);
    if (ret->fault != HUB_SOURCE_GOOD)
        return OK;
    const struct shard *sh = shard_of(k, s, shard);
    if (sh != NULL)
        return read_shard(c, s, sh, from, max_bytes, ret);
    ret->gone = true;
    return OK;
}

static Err offer_find_time(void *self, Str arn, uint64_t shard, int64_t arrival_ms, uint64_t *ret)
{
    struct kinesis *k = self;
    (void)arn;
    Err e = log_find_time(k->env.log, shard, arrival_ms, ret);
    if (e.kind != ERR_NOT_FOUND)
        return e;
    *ret = 0; // the shard is gone: reading it says so
    return OK;
}

static Str offer_number(void *self, struct arena *a, Str arn, uint64_t shard, uint64_t position,
                        int64_t arrival_ms)
{
    struct kinesis *k = self;
    const HubActor nobody = { .account = S("") };
    struct call *c = call_for(k, a, &nobody, arn);
    AUTO(stream) s = NULL;
    Sequence number = { .index = position, .time_s = arrival_ms / 1000 };
    if (find_stream(k, c, arn, &s).kind == ERR_NONE) {
        const struct shard *sh = shard_of(k, s, shard);
        if (sh != NULL)
            number = shard_sequence(sh, position, arrival_ms);
    }
    return sequence_str(a, number);
}

// ---- Watching

struct offer_watch {
    struct log_watch log; // first
    struct hub_watch *hub;
};

static void changed(struct log_watch *w)
{
    struct hub_watch *hub = ((struct offer_watch *)w)->hub;
    hub->changed(hub);
}

static Err offer_watch(void *self, Str arn, uint64_t shard, struct hub_watch *w)
{
    struct kinesis *k = self;
    struct offer_watch *o = xalloc(sizeof *o);
    (void)arn;
    o->hub = w;
    o->log.shard = shard;
    o->log.changed = changed;
    Err e = log_watch(k->env.log, &o->log);
    if (e.kind != ERR_NONE)
        free(o);
    else
        w->held = o;
    return e;
}

static void offer_unwatch(void *self, struct hub_watch *w)
{
    struct kinesis *k = self;
    struct offer_watch *o = w->held;
    log_unwatch(k->env.log, &o->log);
    w->held = NULL;
    free(o);
}

void kinesis_offer_init(struct kinesis *k)
{
    k->offer = (struct hub_source){ .self = k,
                                    .service = S("kinesis"),
                                    .look = offer_look,
                                    .read = offer_read,
                                    .find_time = offer_find_time,
                                    .number = offer_number,
                                    .watch = offer_watch,
                                    .unwatch = offer_unwatch };
    if (k->env.hub != NULL)
        k->env.hub->kinesis = &k->offer;
}
