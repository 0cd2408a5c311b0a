// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/queue_test_help.h"
#include "base/time.h"

#include <string.h>

extern const struct service kinesis_service;

enum { WALL_S = 1700000000, PUT_AT_ONCE = 400 };

static void open_all(struct queue_world *w, size_t cache_bytes)
{
    w->faults = io_fault_open(io_mem_io(w->disk), 1);
    struct io *io = io_fault_io(w->faults);
    EXPECT_OK(kv_open(io, S("/kv"), &w->kv));
    EXPECT_OK(log_open(&(LogConfig){ .io = io,
                                     .dir = S("/journal"),
                                     .file_bytes = 16 << 20,
                                     .reserve_bytes = 256 << 10,
                                     .tail_cache_bytes = cache_bytes },
                       &w->log));
    EXPECT_OK(loop_open_with(io, &w->loop));
    w->env = (struct service_env){
        .io = io, .kv = w->kv, .log = w->log, .pool = w->pool, .loops = &w->loop, .loop_count = 1
    };
    void *state;
    EXPECT_OK(kinesis_service.open(&w->env, &state));
    w->kinesis = state;
    EXPECT_OK(log_ready(w->log));
}

static void close_all(struct queue_world *w)
{
    queues_stop(w->kinesis->queues);
    if (kinesis_service.stop != NULL)
        kinesis_service.stop(w->kinesis);
    log_close(w->log);
    kinesis_service.close(w->kinesis);
    kv_close(w->kv);
    loop_close(w->loop);
    io_fault_close(w->faults);
}

void queue_world_open(struct queue_world *w, size_t cache_bytes, unsigned pool_threads)
{
    *w = (struct queue_world){ .disk = io_mem_open(1) };
    io_mem_set_clock(w->disk, WALL_S * NS_PER_S, NS_PER_S);
    if (pool_threads > 0)
        EXPECT_OK(pool_open(pool_threads, 64, "queue", &w->pool));
    open_all(w, cache_bytes);
    AUTO(arena) a = arena_open();
    struct queue_call *o = queue_call_new(w, a);
    struct kinesis_CreateStream_in in = { .stream_name = S("s") };
    EXPECT_OK(kinesis_CreateStream(&o->call, &in));
}

void queue_world_crash(struct queue_world *w)
{
    struct io_mem *later = io_mem_crash(w->disk, (IoMemCrash){ .keep = IO_KEEP_NONE });
    int64_t now_ns = w->env.io->wall_ns(w->env.io), mono_ns = w->env.io->mono_ns(w->env.io);
    close_all(w);
    io_mem_close(w->disk);
    w->disk = later;
    io_mem_set_clock(w->disk, now_ns, mono_ns);
    open_all(w, 0);
}

void queue_world_close(struct queue_world *w)
{
    close_all(w);
    pool_close(w->pool);
    io_mem_close(w->disk);
}

void queue_world_advance(struct queue_world *w, int64_t ms)
{
    io_mem_advance(w->disk, ms * NS_PER_MS);
}

int64_t queue_world_now_ms(struct queue_world *w)
{
    return w->env.io->wall_ns(w->env.io) / NS_PER_MS;
}

// ---- Calls

static void call_over(struct call *c, Err e)
{
    struct queue_call *o = (struct queue_call *)c;
    o->result = e;
    sem_post(&o->over);
}

static bool call_gone(const struct call *c)
{
    return atomic_load(&((const struct queue_call *)c)->gone);
}

struct queue_call *queue_call_new(struct queue_world *w, struct arena *r)
{
    struct queue_call *o = arena_new(r, struct queue_call, 1);
    o->w = w;
    sem_init(&o->over, 0, 0);
    o->call = (struct call){ .state = w->kinesis,
                             .arena = r,
                             .loop = w->loop,
                             .account = S("000000000000"),
                             .region = S("us-east-1"),
                             .request_id = S("id"),
                             .now_ns = w->env.io->wall_ns(w->env.io),
                             .done = call_over,
                             .gone = call_gone };
    return o;
}

Err queue_call_end(struct queue_call *o, Err e)
{
    if (e.kind != ERR_WAIT)
        return e;
    while (sem_wait(&o->over) != 0)
        continue; // interrupted
    return o->result;
}

// A put is answered on the loop of its call.
static void put_over(struct call *c, Err e)
{
    struct queue_call *o = (struct queue_call *)c;
    o->result = e;
    loop_stop(o->w->loop);
}

static void put_some(struct queue_world *w, size_t n, size_t bytes, uint64_t *count)
{
    AUTO(arena) a = arena_open();
    struct queue_call *o = queue_call_new(w, a);
    struct kinesis_PutRecords_out out = { 0 };
    struct kinesis_PutRecords_in in = { .stream_name = S("s") };
    in.records.n = n;
    in.records.at = arena_new(a, kinesis_PutRecordsRequestEntry, n);
    for (size_t i = 0; i < n; i++) {
        char *data = arena_alloc(a, MAX(bytes, sizeof *count), 1);
        ++*count;
        memcpy(data, count, sizeof *count);
        in.records.at[i].partition_key = str_fmt(a, "key-%llu", (unsigned long long)*count);
        in.records.at[i].data = blob_of(str_from(data, MAX(bytes, sizeof *count)));
    }
    o->call.done = put_over;
    Err e = kinesis_PutRecords(&o->call, &in, &out);
    if (e.kind == ERR_WAIT) {
        loop_run(w->loop);
        e = o->result;
    }
    EXPECT_OK(e);
    EXPECT_INT(0, out.failed_record_count);
}

void queue_world_put(struct queue_world *w, size_t n, size_t bytes, uint64_t *count)
{
    size_t at_once =
        MIN(MAX((size_t)(4 << 20) / MAX(bytes, (size_t)1), (size_t)1), (size_t)PUT_AT_ONCE);
    for (size_t left = n; left > 0; left -= MIN(left, at_once))
        put_some(w, MIN(left, at_once), bytes, count);
}

Str queue_world_create(struct queue_world *w, struct arena *a, QueueWish wish)
{
    struct queue_call *o = queue_call_new(w, a);
    kinesis_QueueStreamConfiguration *stream = arena_new(a, kinesis_QueueStreamConfiguration, 1);
    kinesis_QueueStartingPosition *start = arena_new(a, kinesis_QueueStartingPosition, 1);
    kinesis_DeadLetterConfiguration *letters = arena_new(a, kinesis_DeadLetterConfiguration, 1);
    kinesis_QueueAttributes *attributes = arena_new(a, kinesis_QueueAttributes, 1);
    start->type = wish.start;
    stream->stream_arn = S("arn:aws:kinesis:us-east-1:000000000000:stream/s");
    stream->starting_position = wish.start.p != NULL ? start : NULL;
    bool is_on = wish.receives_max > 0;
    letters->target_type = is_on ? kinesis_TargetType_BUILT_IN : kinesis_TargetType_NONE;
    letters->has_max_receive_count = is_on;
    letters->max_receive_count = wish.receives_max;
    attributes->has_visibility_timeout_seconds = wish.visibility_s > 0;
    attributes->visibility_timeout_seconds = wish.visibility_s;
    attributes->dead_letter_configuration = wish.receives_max != 0 ? letters : NULL;
    struct kinesis_CreateQueue_in in = {
        .queue_name = wish.name,
        .stream_configuration_list = { .set = true, .n = 1, .at = stream },
        .queue_attributes = attributes,
    };
    struct kinesis_CreateQueue_out out = { 0 };
    EXPECT_OK(kinesis_CreateQueue(&o->call, &in, &out));
    return out.queue_description->queue_arn;
}

Err queue_world_delete(struct queue_world *w, Str arn)
{
    AUTO(arena) a = arena_open();
    struct queue_call *o = queue_call_new(w, a);
    struct kinesis_DeleteQueue_in in = { .queue_arn = arn };
    return kinesis_DeleteQueue(&o->call, &in);
}

// Whoever waits in vain is answered at once, not by the thread's next look.
static Err end_receive(struct queue_call *o, Str arn, Err e)
{
    AUTO(arena) tmp = arena_open();
    struct queue_call *finder = queue_call_new(o->w, tmp);
    AUTO(queue) q = NULL;
    if (e.kind == ERR_WAIT && queues_find(&finder->call, arn, &q).kind == ERR_NONE) {
        pthread_mutex_lock(&q->lock);
        while (q->pumping) // the thread, which had looked before
            pthread_cond_wait(&q->idle, &q->lock);
        pthread_mutex_unlock(&q->lock);
        queue_pump(o->w->kinesis->queues, q, true);
        queue_expire(o->w->kinesis->queues, q, false);
    }
    return queue_call_end(o, e);
}

Err queue_world_receive(struct queue_world *w, struct arena *a, Str arn, bool dead, int32_t limit,
                        int32_t visibility_s, kinesis_QueueRecordList *ret)
{
    struct queue_call *o = queue_call_new(w, a);
    Err e;
    if (dead) {
        struct kinesis_ReceiveDeadLetterQueueRecords_in in = {
            .queue_arn = arn,
            .limit = limit,
            .has_visibility_timeout_seconds = visibility_s >= 0,
            .visibility_timeout_seconds = visibility_s,
        };
        struct kinesis_ReceiveDeadLetterQueueRecords_out *out =
            arena_new(a, struct kinesis_ReceiveDeadLetterQueueRecords_out, 1);
        e = end_receive(o, arn, kinesis_ReceiveDeadLetterQueueRecords(&o->call, &in, out));
        *ret = out->queue_records;
        return e;
    }
    struct kinesis_ReceiveQueueRecords_in in = {
        .queue_arn = arn,
        .limit = limit,
        .has_visibility_timeout_seconds = visibility_s >= 0,
        .visibility_timeout_seconds = visibility_s,
    };
    struct kinesis_ReceiveQueueRecords_out *out =
        arena_new(a, struct kinesis_ReceiveQueueRecords_out, 1);
    e = end_receive(o, arn, kinesis_ReceiveQueueRecords(&o->call, &in, out));
    *ret = out->queue_records;
    return e;
}

// One batch operation with one entry. The structs of the five differ by name only.
#define ONE_ENTRY(op, w, a, arn, ret, ...)                                                    \
    do {                                                                                      \
        struct queue_call *o_ = queue_call_new((w), (a));                                     \
        kinesis_##op##RequestEntry entry_ = { __VA_ARGS__ };                                  \
        struct kinesis_##op##_in in_ = { .queue_arn = (arn),                                  \
                                         .entries = { .set = true, .n = 1, .at = &entry_ } }; \
        struct kinesis_##op##_out *out_ = arena_new((a), struct kinesis_##op##_out, 1);       \
        EXPECT_OK(queue_call_end(o_, kinesis_##op(&o_->call, &in_, out_)));                   \
        EXPECT_INT(1, out_->successful.n + out_->failed.n);                                   \
        (ret) = out_->failed.n > 0 ? out_->failed.at[0].error_code : (Str){ 0 };              \
    } while (0)

Str queue_world_ack(struct queue_world *w, struct arena *a, Str arn, bool dead, Str handle)
{
    Str ret;
    if (dead)
        ONE_ENTRY(AcknowledgeDeadLetterQueueRecords, w, a, arn, ret, .receipt_handle = handle);
    else
        ONE_ENTRY(AcknowledgeQueueRecords, w, a, arn, ret, .receipt_handle = handle);
    return ret;
}

Str queue_world_hide(struct queue_world *w, struct arena *a, Str arn, bool dead, Str handle,
                     int32_t visibility_s)
{
    Str ret;
    if (dead)
        ONE_ENTRY(UpdateDeadLetterQueueRecordsVisibility, w, a, arn, ret, .receipt_handle = handle,
                  .visibility_timeout_seconds = visibility_s);
    else
        ONE_ENTRY(UpdateQueueRecordsVisibility, w, a, arn, ret, .receipt_handle = handle,
                  .visibility_timeout_seconds = visibility_s);
    return ret;
}

Str queue_world_restore(struct queue_world *w, struct arena *a, Str arn, Str handle)
{
    Str ret;
    ONE_ENTRY(RestoreDeadLetterQueueRecords, w, a, arn, ret, .receipt_handle = handle);
    return ret;
}
