// SPDX-License-Identifier: Apache-2.0
// Subscriptions on several loops, while records are stored, others take them over and consumers go:
// for the sanitizers, which see who touches what.
#include "aws/protocol.h"
#include "base/test.h"
#include "base/time.h"
#include "os/io_mem.h"
#include "store/kv.h"
#include "store/log.h"
#include "svc/kinesis/consumers.h"
#include "svc/kinesis/operate.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

extern const struct service kinesis_service;

#define START_NS (INT64_C(1700000000) * NS_PER_S)
enum { LOOPS = 2, CONSUMERS = 6, ROUNDS = 8, PUTS = 100 };

struct stage {
    struct io_mem *disk;
    struct kv *kv;
    struct log *log;
    struct loop *loops[LOOPS];
    pthread_t threads[LOOPS];
    struct pool *pool;
    void *kinesis;
};

static void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

static void stage_open(struct stage *w)
{
    *w = (struct stage){ .disk = io_mem_open(1) };
    struct io *io = io_mem_io(w->disk);
    io_mem_set_clock(w->disk, START_NS, NS_PER_S);
    EXPECT_OK(kv_open(io, S("/kv"), &w->kv));
    LogConfig config = { .io = io,
                         .dir = S("/journal"),
                         .file_bytes = 16 << 20,
                         .reserve_bytes = 256 << 10,
                         .tail_cache_bytes = 256 << 10 };
    EXPECT_OK(log_open(&config, &w->log));
    EXPECT_OK(pool_open(2, 64, "test", &w->pool));
    for (size_t i = 0; i < LOOPS; i++)
        EXPECT_OK(loop_open_with(io, &w->loops[i]));
    struct service_env env = { .io = io,
                               .kv = w->kv,
                               .log = w->log,
                               .pool = w->pool,
                               .loops = w->loops,
                               .loop_count = LOOPS };
    EXPECT_OK(kinesis_service.open(&env, &w->kinesis));
    EXPECT_OK(log_ready(w->log));
    for (size_t i = 0; i < LOOPS; i++)
        EXPECT(pthread_create(&w->threads[i], NULL, run_loop, w->loops[i]) == 0);
}

static void stage_close(struct stage *w)
{
    kinesis_service.stop(w->kinesis);
    pool_close(w->pool);
    for (size_t i = 0; i < LOOPS; i++) {
        loop_stop(w->loops[i]);
        EXPECT(pthread_join(w->threads[i], NULL) == 0);
    }
    kinesis_service.close(w->kinesis);
    log_close(w->log);
    for (size_t i = 0; i < LOOPS; i++)
        loop_close(w->loops[i]);
    kv_close(w->kv);
    io_mem_close(w->disk);
}

// ---- A client, which takes every event at once

struct listening {
    struct call call; // first
    atomic_size_t records;
    atomic_bool is_done;
    void (*tell)(void *self);
    void *self;
};

static void over(struct call *c, Err e)
{
    err_ignore(e); // each ends in its own way
    atomic_store(&((struct listening *)c)->is_done, true);
}

static void start(struct call *c, void (*tell)(void *self), void *self)
{
    struct listening *o = (struct listening *)c;
    o->tell = tell;
    o->self = self;
}

static void take_event(struct call *c, struct event_frame *f)
{
    struct listening *o = (struct listening *)c;
    Str rest = event_frame_bytes(f), member = S("\"PartitionKey\":");
    for (size_t at; (at = str_search(rest, member)) < rest.n;) {
        atomic_fetch_add(&o->records, 1);
        rest = str_skip(rest, at + member.n);
    }
    o->tell(o->self);
}

static size_t unsent(const struct call *c)
{
    (void)c;
    return 0;
}

static bool never(const struct call *c)
{
    (void)c;
    return false;
}

static const struct call_stream quick = { start, take_event, unsent, never, never };

static const struct api_op *op_of(const char *name)
{
    for (size_t i = 0; i < kinesis_api.op_count; i++)
        if (str_eq(kinesis_api.ops[i].name, str_of(name)))
            return &kinesis_api.ops[i];
    abort();
}

static struct listening *call_new(struct stage *w, struct arena *a, const char *op, size_t loop)
{
    struct listening *o = arena_new(a, struct listening, 1);
    o->call = (struct call){ .state = w->kinesis,
                             .arena = arena_open(), // the call's own: other threads have it
                             .loop = w->loops[loop],
                             .op = op_of(op),
                             .account = S("000000000000"),
                             .region = S("us-east-1"),
                             .request_id = S("id"),
                             .now_ns = START_NS + 3600 * NS_PER_S,
                             .protocol = &protocol_json_1_1,
                             .stream = &quick,
                             .done = over };
    return o;
}

static void call_end(struct listening *o)
{
    arena_close(o->call.arena);
}

static void wait_for(atomic_bool *is)
{
    while (!atomic_load(is))
        nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
}

// ---- Writing

static void stored(struct log_append *a, Err e)
{
    CHECK(e.kind == ERR_NONE);
    atomic_store((atomic_bool *)a->user, true);
}

static void put(struct stage *w, uint64_t shard, Str data)
{
    atomic_bool is_stored = false;
    LogPlace place = { 0 };
    LogRecord record = { .shard = shard, .key = S("k"), .data = blob_of(data) };
    struct log_append append = {
        .records = &record, .n = 1, .places = &place, .done = stored, .user = &is_stored
    };
    EXPECT_OK(log_append(w->log, &append));
    wait_for(&is_stored);
}

struct writing {
    struct stage *w;
    uint64_t shard;
};

static void *write_much(void *self)
{
    struct writing *p = self;
    static char data[4096];
    for (size_t i = 0; i < ROUNDS * PUTS; i++)
        put(p->w, p->shard, str_from(data, sizeof data));
    return NULL;
}

// ---- Looking on

struct looking {
    struct stage *w;
    atomic_bool is_over;
    size_t seen; // records
};

// Asks a page as the admin does: on a thread of its own.
static JsonValue *look(struct stage *w, struct arena *a, const struct operator_page *page,
                       const char *asked)
{
    AUTO_BUF(b);
    Str problem = { 0 };
    JsonValue *body = NULL, *answer = NULL;
    CHECK(json_parse(a, str_of(asked), &body).kind == ERR_NONE);
    const struct operator_call c = { .arena = a,
                                     .account = S("000000000000"),
                                     .region = S("us-east-1"),
                                     .access_key = S("AKIAROOT"),
                                     .now_ns = START_NS + 3600 * NS_PER_S,
                                     .body = body };
    CHECK(page->answer(w->kinesis, &c, &b, &problem).kind == ERR_NONE);
    CHECK(json_parse(a, str_dup(a, buf_str(&b)), &answer).kind == ERR_NONE);
    return answer;
}

static void *look_on(void *self)
{
    struct looking *o = self;
    for (bool is_last = false; !is_last;) {
        is_last = atomic_load(&o->is_over);
        AUTO(arena) a = arena_open();
        const JsonValue *lag =
            look(o->w, a, &kinesis_pages[1], "{\"stream\":\"s\",\"count\":true}");
        CHECK(json_find(lag, S("readers")) != NULL);
        const JsonValue *read = look(o->w, a, &kinesis_pages[0],
                                     "{\"stream\":\"s\",\"from\":\"trim\",\"limit\":10000}");
        size_t n = json_find(read, S("records"))->n;
        CHECK(n >= o->seen); // what was seen stays
        o->seen = n;
    }
    return NULL;
}

// ---- The test

static uint64_t create(struct stage *w, struct arena *a)
{
    struct listening *o = call_new(w, a, "CreateStream", 0);
    struct kinesis_CreateStream_in in = { .stream_name = S("s"),
                                          .shard_count = 1,
                                          .has_shard_count = true };
    EXPECT_OK(kinesis_CreateStream(&o->call, &in));
    call_end(o);
    return ((struct kinesis *)w->kinesis)->sorted[0]->shards[0]->id;
}

static Str create_consumer(struct stage *w, struct arena *a, size_t i)
{
    struct listening *o = call_new(w, a, "RegisterStreamConsumer", 0);
    struct kinesis_RegisterStreamConsumer_in in = {
        .stream_arn = S("arn:aws:kinesis:us-east-1:000000000000:stream/s"),
        .consumer_name = str_fmt(a, "c%zu", i),
    };
    struct kinesis_RegisterStreamConsumer_out out = { 0 };
    EXPECT_OK(kinesis_RegisterStreamConsumer(&o->call, &in, &out));
    Str arn = str_dup(a, out.consumer->consumer_arn);
    call_end(o);
    return arn;
}

static struct listening *subscribe(struct stage *w, struct arena *a, Str arn, size_t loop)
{
    struct listening *o = call_new(w, a, "SubscribeToShard", loop);
    kinesis_StartingPosition at = { .type = kinesis_ShardIteratorType_TRIM_HORIZON };
    struct kinesis_SubscribeToShard_in in = { .consumer_arn = arn,
                                              .shard_id = S("0"),
                                              .starting_position = &at };
    EXPECT_ERR(ERR_WAIT, kinesis_SubscribeToShard(&o->call, &in));
    return o;
}

static void deregister(struct stage *w, struct arena *a, Str arn)
{
    struct listening *o = call_new(w, a, "DeregisterStreamConsumer", 0);
    struct kinesis_DeregisterStreamConsumer_in in = { .consumer_arn = arn };
    EXPECT_OK(kinesis_DeregisterStreamConsumer(&o->call, &in));
    call_end(o);
}

TEST(subscriptions_are_taken_over_and_cancelled_while_records_are_stored)
{
    struct stage w;
    struct listening *all[ROUNDS][CONSUMERS];
    Str arns[CONSUMERS];
    stage_open(&w);
    struct writing writing = { &w, create(&w, a) };
    for (size_t i = 0; i < CONSUMERS; i++)
        arns[i] = create_consumer(&w, a, i);
    pthread_t writer, onlooker;
    struct looking looking = { .w = &w };
    EXPECT(pthread_create(&writer, NULL, write_much, &writing) == 0);
    EXPECT(pthread_create(&onlooker, NULL, look_on, &looking) == 0);
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < CONSUMERS; i++)
            all[round][i] = subscribe(&w, a, arns[i], (round + i) % LOOPS);
        io_mem_advance(w.disk, 5 * NS_PER_S); // from now on they may be taken over
    }
    EXPECT(pthread_join(writer, NULL) == 0);
    for (size_t i = 0; i < CONSUMERS; i++) { // the last ones get everything
        while (atomic_load(&all[ROUNDS - 1][i]->records) < ROUNDS * PUTS)
            nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
        EXPECT_INT(ROUNDS * PUTS, atomic_load(&all[ROUNDS - 1][i]->records));
        deregister(&w, a, arns[i]);
    }
    for (size_t round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < CONSUMERS; i++)
            wait_for(&all[round][i]->is_done);
    atomic_store(&looking.is_over, true);
    EXPECT(pthread_join(onlooker, NULL) == 0);
    EXPECT_INT(ROUNDS * PUTS, looking.seen);
    stage_close(&w);
    for (size_t round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < CONSUMERS; i++)
            call_end(all[round][i]);
}
