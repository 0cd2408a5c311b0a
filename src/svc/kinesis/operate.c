// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/operate.h"
#include "base/time.h"

const struct operator_page kinesis_pages[KINESIS_PAGES] = {
    { S_INIT("stream/read"), operator_read },
    { S_INIT("stream/lag"), operator_lag },
};

Err operator_problem(const struct call *call, Err e, Str *ret_problem)
{
    if (e.kind != ERR_FAULT)
        return e;
    *ret_problem = call->error_text;
    return call->error == &kinesis_ResourceNotFoundException
               ? fail(ERR_NOT_FOUND, "no such stream or shard")
               : fail(ERR_INVALID, "the request was refused");
}

Err operator_number(const struct operator_call *c, Str key, int64_t min, int64_t max,
                    int64_t otherwise, int64_t *ret, Str *ret_problem)
{
    const JsonValue *v = json_find(c->body, key);
    int64_t n = v != NULL ? v->integer : otherwise;
    if (v != NULL && (v->kind != JSON_NUMBER || n < min || n > max)) {
        *ret_problem = str_fmt(c->arena, "\"%.*s\" must be a number of %lld to %lld", FMT(key),
                               (long long)min, (long long)max);
        return fail(ERR_INVALID, "a number is wrong");
    }
    *ret = n;
    return OK;
}

Err operator_sequence(const struct operator_call *c, const OperatorView *v, Str text, bool after,
                      uint64_t *ret, Str *ret_problem)
{
    Sequence q = { 0 };
    bool is_one = sequence_parse(text, &q).kind == ERR_NONE && q.index != SEQUENCE_INDEX_END;
    const struct shard *of = NULL;
    for (size_t i = 0; is_one && i < v->shard_count && of == NULL; i++)
        if (v->shards[i].shard->index == q.shard && v->shards[i].shard->created_s == q.created_s)
            of = v->shards[i].shard;
    if (of == NULL) {
        *ret_problem =
            str_fmt(c->arena, "%.*s is no sequence number of a record of this stream", FMT(text));
        return fail(ERR_INVALID, "no sequence number");
    }
    *ret = q.index + after;
    return OK;
}

// The shards as they are now, and a number that rises when there are others.
static void list_shards(OperatorView *v, struct kinesis *k, uint32_t *ret_next)
{
    struct stream *s = v->stream;
    pthread_rwlock_rdlock(&k->lock);
    v->shard_count = s->shard_count;
    v->shards = arena_new(v->call.arena, OperatorShard, s->shard_count);
    for (size_t i = 0; i < s->shard_count; i++)
        v->shards[i].shard = s->shards[i];
    *ret_next = s->shard_next;
    pthread_rwlock_unlock(&k->lock);
}

static bool has_new_shards(struct kinesis *k, const struct stream *s, uint32_t next)
{
    pthread_rwlock_rdlock(&k->lock);
    bool has = s->shard_next != next;
    pthread_rwlock_unlock(&k->lock);
    return has;
}

// Which shards there are and how far the log is, so that both fit: a child that appeared between
// the two questions might have records below the end.
static Err take_moment(OperatorView *v, struct kinesis *k)
{
    uint32_t next;
    do {
        list_shards(v, k, &next);
        size_t known = 0;
        v->end = 0;
        for (size_t i = 0; i < v->shard_count; i++) {
            LogSpan span;
            Err e = log_span(k->env.log, v->shards[i].shard->id, &span);
            if (e.kind == ERR_NOT_FOUND)
                continue; // its records were over, and so is it
            TRY(e);
            v->shards[known++] = (OperatorShard){ v->shards[i].shard, span };
            v->end = MAX(v->end, span.next);
        }
        v->shard_count = known;
    } while (has_new_shards(k, v->stream, next));
    return OK;
}

// In whose name streams are found and places are looked for: it has no call rate of its own.
static const struct api_op *looking(void)
{
    for (size_t i = 0; i < kinesis_api.op_count; i++)
        if (str_eq(kinesis_api.ops[i].name, S("GetShardIterator")))
            return &kinesis_api.ops[i];
    CHECK(!"the contract has GetShardIterator");
    return NULL;
}

Err operator_view(struct kinesis *k, const struct operator_call *c, OperatorView *ret,
                  Str *ret_problem)
{
    Str name = json_text(c->body, S("stream"));
    if (name.n == 0) {
        *ret_problem = S("\"stream\" must name a stream");
        return fail(ERR_INVALID, "no stream");
    }
    *ret = (OperatorView){ .call = { .state = k,
                                     .arena = c->arena,
                                     .op = looking(),
                                     .account = c->account,
                                     .region = c->region,
                                     .principal = c->principal,
                                     .caller = c->account,
                                     .access_key = c->access_key,
                                     .request_id = S(""),
                                     .now_ns = c->now_ns } };
    Err e = kinesis_find(&ret->call, (StreamRef){ .name = name }, &ret->stream);
    if (e.kind == ERR_NONE)
        e = take_moment(ret, k);
    if (e.kind != ERR_NONE)
        operator_view_done(ret);
    return operator_problem(&ret->call, e, ret_problem);
}

void operator_view_done(OperatorView *v)
{
    stream_unref(v->stream);
    v->stream = NULL;
}
