// SPDX-License-Identifier: Apache-2.0
// Subscriptions on the real store, on a disk and a clock in memory. The test plays the part of the
// front: it takes the events, or leaves them, and says when a client has gone.
#include "aws/protocol.h"
#include "base/metric.h"
#include "base/test.h"
#include "base/time.h"
#include "codec/eventstream.h"
#include "codec/json.h"
#include "hub/hub.h"
#include "os/io_mem.h"
#include "store/kv.h"
#include "store/log.h"
#include "svc/kinesis/consumers.h"
#include "svc/kinesis/subscription.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

extern const struct service kinesis_service;

#define PAUSE_NS (5 * NS_PER_S) // a further call is taken then
#define START_NS (INT64_C(1700000000) * NS_PER_S)
enum { EVENTS_MAX = 256 };

struct world {
    struct io_mem *disk;
    struct kv *kv;
    struct log *log;
    struct loop *loop;
    struct pool *pool;
    struct hub hub;
    struct hub_keys keys;
    struct service_env env;
    void *kinesis;
    struct arena *a;
    Str principal; // of calls from now on
};

// ---- The key service: it lets everybody but DENIED use its one key

#define KEY_ARN S("arn:aws:kms:us-east-1:000000000000:key/k")
#define DENIED S("arn:aws:iam::000000000000:user/denied")

static HubKeyAnswer answer_to(const struct call *c)
{
    bool may = !str_eq(c->principal, DENIED);
    return (HubKeyAnswer){ .fault = may ? HUB_KEY_GOOD : HUB_KEY_DENIED, .text = S("no") };
}

static Err play_find(void *self, struct call *c, Str name, Str *ret_arn, HubKeyAnswer *ret)
{
    (void)self;
    (void)name;
    *ret_arn = KEY_ARN;
    *ret = answer_to(c);
    return OK;
}

static void play_check(void *self, struct call *c, Str arn, Str action, HubKeyAnswer *ret)
{
    (void)self;
    (void)action;
    EXPECT_STR(KEY_ARN, arn);
    *ret = answer_to(c);
}

static void play_make(void *self, struct call *c, Str arn, Str context,
                      unsigned char ret_plain[HUB_KEY_BYTES], Str *ret_wrapped, HubKeyAnswer *ret)
{
    struct world *w = self;
    (void)arn;
    w->env.io->random(w->env.io, ret_plain, HUB_KEY_BYTES);
    *ret_wrapped = context; // never unwrapped: the process lives on
    *ret = answer_to(c);
}

// ---- The world

static void world_open(struct world *w, struct arena *a, double limits)
{
    *w = (struct world){ .disk = io_mem_open(1), .a = a };
    w->keys =
        (struct hub_keys){ .self = w, .find = play_find, .check = play_check, .make = play_make };
    w->hub.keys = &w->keys;
    struct io *io = io_mem_io(w->disk);
    io_mem_set_clock(w->disk, START_NS, NS_PER_S);
    EXPECT_OK(kv_open(io, S("/kv"), &w->kv));
    EXPECT_OK(log_open(&(LogConfig){ .io = io,
                                     .dir = S("/journal"),
                                     .file_bytes = 16 << 20,
                                     .reserve_bytes = 256 << 10,
                                     .tail_cache_bytes = 1 << 20 },
                       &w->log));
    EXPECT_OK(loop_open_with(io, &w->loop));
    EXPECT_OK(pool_open(1, 64, "test", &w->pool));
    w->env = (struct service_env){ .io = io,
                                   .kv = w->kv,
                                   .log = w->log,
                                   .pool = w->pool,
                                   .loops = &w->loop,
                                   .loop_count = 1,
                                   .hub = &w->hub,
                                   .limits = limits };
    EXPECT_OK(kinesis_service.open(&w->env, &w->kinesis));
    EXPECT_OK(log_ready(w->log));
}

// What is on its way through the loop, timers that are due among it.
static void spin(struct world *w)
{
    loop_stop(w->loop);
    loop_run(w->loop);
}

static void rest(struct world *w)
{
    nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
    spin(w);
}

static void world_close(struct world *w)
{
    kinesis_service.stop(w->kinesis);
    pool_close(w->pool);
    spin(w);
    kinesis_service.close(w->kinesis);
    log_close(w->log);
    kv_close(w->kv);
    loop_close(w->loop);
    io_mem_close(w->disk);
}

static void advance(struct world *w, int64_t ns)
{
    io_mem_advance(w->disk, ns);
    spin(w);
}

// ---- Calls

struct one_call {
    struct call call; // first: `done` gets it
    struct world *w;
    bool is_done;
    Err result;

    // Of a subscription: the client's side.
    bool has_started, is_slow, is_over;
    void (*tell)(void *self);
    void *self;
    size_t unsent, n;
    Str events[EVENTS_MAX];                 // payloads, the initial response left out
    struct event_frame *frames[EVENTS_MAX]; // only to be compared
};

static void call_over(struct call *c, Err e)
{
    struct one_call *o = (struct one_call *)c;
    EXPECT(!o->is_done);
    o->is_done = true;
    o->result = e;
    loop_stop(o->w->loop);
}

static void start(struct call *c, void (*tell)(void *self), void *self)
{
    struct one_call *o = (struct one_call *)c;
    EXPECT(!o->has_started);
    o->has_started = true;
    o->tell = tell;
    o->self = self;
}

static void take_event(struct call *c, struct event_frame *f)
{
    struct one_call *o = (struct one_call *)c;
    EventMessage m;
    EXPECT(o->has_started && o->n < EVENTS_MAX && o->unsent == 0);
    EXPECT_OK(eventstream_read(event_frame_bytes(f), &m));
    EXPECT_STR(S("SubscribeToShardEvent"), eventstream_text(&m, S(":event-type")));
    o->frames[o->n] = f;
    o->events[o->n++] = str_dup(o->w->a, m.payload);
    o->unsent = m.bytes;
    if (!o->is_slow) {
        o->unsent = 0;
        o->tell(o->self);
    }
}

static size_t unsent(const struct call *c)
{
    return ((const struct one_call *)c)->unsent;
}

static bool is_over(const struct call *c)
{
    return ((const struct one_call *)c)->is_over;
}

static bool is_crowded(const struct call *c)
{
    (void)c;
    return false;
}

static const struct call_stream stream = { start, take_event, unsent, is_over, is_crowded };

static const struct api_op *op_of(const char *name)
{
    for (size_t i = 0; i < kinesis_api.op_count; i++)
        if (str_eq(kinesis_api.ops[i].name, str_of(name)))
            return &kinesis_api.ops[i];
    abort();
}

static struct one_call *call_new(struct world *w, const char *op)
{
    struct one_call *o = arena_new(w->a, struct one_call, 1);
    o->w = w;
    o->call = (struct call){ .state = w->kinesis,
                             .arena = w->a,
                             .loop = w->loop,
                             .op = op_of(op),
                             .account = S("000000000000"),
                             .region = S("us-east-1"),
                             .principal = w->principal,
                             .request_id = S("id"),
                             .now_ns = w->env.io->wall_ns(w->env.io),
                             .protocol = &protocol_json_1_1,
                             .stream = &stream,
                             .done = call_over };
    return o;
}

static void create(struct world *w)
{
    struct kinesis_CreateStream_in in = { .stream_name = S("s"),
                                          .shard_count = 1,
                                          .has_shard_count = true };
    EXPECT_OK(kinesis_CreateStream(&call_new(w, "CreateStream")->call, &in));
}

static Str create_consumer(struct world *w, Str name)
{
    struct kinesis_RegisterStreamConsumer_in in = {
        .stream_arn = S("arn:aws:kinesis:us-east-1:000000000000:stream/s"), .consumer_name = name
    };
    struct kinesis_RegisterStreamConsumer_out out = { 0 };
    EXPECT_OK(
        kinesis_RegisterStreamConsumer(&call_new(w, "RegisterStreamConsumer")->call, &in, &out));
    return out.consumer->consumer_arn;
}

static Str put(struct world *w, Str data)
{
    struct one_call *o = call_new(w, "PutRecord");
    struct kinesis_PutRecord_in in = { .stream_name = S("s"),
                                       .partition_key = S("k"),
                                       .data = blob_of(data) };
    struct kinesis_PutRecord_out out = { 0 };
    Err e = kinesis_PutRecord(&o->call, &in, &out);
    if (e.kind == ERR_WAIT && o->call.work != NULL) // a data key is to be made
        e = o->call.work(&o->call, o->call.work_self);
    while (e.kind == ERR_WAIT && !o->is_done)
        loop_run(w->loop);
    EXPECT_OK(e.kind == ERR_WAIT ? o->result : e);
    return out.sequence_number;
}

static struct one_call *subscribe(struct world *w, Str arn, Str type, Str number)
{
    kinesis_StartingPosition *at = arena_new(w->a, kinesis_StartingPosition, 1);
    *at = (kinesis_StartingPosition){ .type = type, .sequence_number = number };
    struct kinesis_SubscribeToShard_in in = { .consumer_arn = arn,
                                              .shard_id = S("shardId-000000000000"),
                                              .starting_position = at };
    struct one_call *o = call_new(w, "SubscribeToShard");
    Err e = kinesis_SubscribeToShard(&o->call, &in);
    if (e.kind != ERR_WAIT) {
        o->is_done = true;
        o->result = e;
    }
    spin(w);
    return o;
}

static struct one_call *subscribe_latest(struct world *w, Str arn)
{
    return subscribe(w, arn, S("LATEST"), (Str){ 0 });
}

static void leave(struct one_call *o)
{
    o->is_over = true;
    o->tell(o->self);
    spin(o->w);
    EXPECT(o->is_done);
}

static void expect_fault(const struct api_error *error, const struct one_call *o)
{
    EXPECT(o->is_done);
    EXPECT_ERR(ERR_FAULT, o->result);
    EXPECT_STR(error->name, o->call.error->name);
}

// ---- What a client was told

static const JsonValue *event(struct one_call *o, size_t i)
{
    JsonValue *v;
    EXPECT(i < o->n);
    EXPECT_OK(json_parse(o->w->a, o->events[i], &v));
    return v;
}

static size_t records_of(struct one_call *o, size_t i)
{
    return json_find(event(o, i), S("Records"))->n;
}

// The data of all records so far, in base64, one after the other.
static Str all_data(struct one_call *o)
{
    AUTO_BUF(b);
    for (size_t i = 0; i < o->n; i++) {
        const JsonValue *records = json_find(event(o, i), S("Records"));
        for (size_t j = 0; j < records->n; j++) {
            buf_add(&b, json_text(&records->items[j], S("Data")));
            buf_add_byte(&b, ' ');
        }
    }
    return str_dup(o->w->a, buf_str(&b));
}

static Str last_number(struct one_call *o)
{
    return json_text(event(o, o->n - 1), S("ContinuationSequenceNumber"));
}

static void wait_data(struct one_call *o, Str want)
{
    while (!str_eq(all_data(o), want) && all_data(o).n < want.n)
        rest(o->w);
    EXPECT_STR(want, all_data(o));
}

// ---- Tests

TEST(what_is_put_is_pushed_and_the_first_event_comes_at_once)
{
    struct world w;
    world_open(&w, a, 0);
    create(&w);
    put(&w, S("before"));
    struct one_call *o = subscribe_latest(&w, create_consumer(&w, S("c")));
    EXPECT(o->has_started && o->n == 1 && records_of(o, 0) == 0);
    EXPECT_INT(0, json_find(event(o, 0), S("MillisBehindLatest"))->integer);
    EXPECT(json_find(event(o, 0), S("ChildShards")) == NULL);
    put(&w, S("one"));
    wait_data(o, S("b25l "));
    put(&w, S("two"));
    wait_data(o, S("b25l dHdv "));
    leave(o);
    EXPECT_OK(o->result);
    world_close(&w);
}

TEST(a_client_that_goes_on_after_its_number_misses_nothing_and_sees_nothing_twice)
{
    struct world w;
    world_open(&w, a, 0);
    create(&w);
    Str arn = create_consumer(&w, S("c"));
    struct one_call *o = subscribe_latest(&w, arn);
    put(&w, S("one"));
    wait_data(o, S("b25l "));
    Str number = last_number(o);
    leave(o);
    put(&w, S("two"));
    advance(&w, PAUSE_NS);
    struct one_call *again = subscribe(&w, arn, S("AFTER_SEQUENCE_NUMBER"), number);
    wait_data(again, S("dHdv "));
    leave(again);
    advance(&w, PAUSE_NS);
    struct one_call *all = subscribe(&w, arn, S("TRIM_HORIZON"), (Str){ 0 });
    wait_data(all, S("b25l dHdv "));
    leave(all);
    world_close(&w);
}

TEST(a_number_that_was_told_while_nothing_came_is_a_place_to_go_on_from)
{
    struct world w;
    world_open(&w, a, 0);
    create(&w);
    Str arn = create_consumer(&w, S("c"));
    put(&w, S("one"));
    struct one_call *o = subscribe_latest(&w, arn);
    Str first = last_number(o);
    advance(&w, 5 * NS_PER_S);
    EXPECT_INT(2, o->n); // nothing came, but the client is told so
    EXPECT_INT(0, records_of(o, 1));
    Str second = last_number(o);
    EXPECT(first.n == second.n && str_cmp(first, second) < 0);
    leave(o);
    put(&w, S("two"));
    advance(&w, PAUSE_NS);
    struct one_call *again = subscribe(&w, arn, S("AT_SEQUENCE_NUMBER"), second);
    wait_data(again, S("dHdv "));
    leave(again);
    world_close(&w);
}

TEST(a_subscription_ends_after_five_minutes)
{
    struct world w;
    world_open(&w, a, 0);
    create(&w);
    struct one_call *o = subscribe_latest(&w, create_consumer(&w, S("c")));
    for (int s = 5; s < 300; s += 5)
        advance(&w, 5 * NS_PER_S);
    EXPECT(!o->is_done);
    EXPECT_INT(60, o->n); // one at the beginning, then one every five seconds
    advance(&w, 5 * NS_PER_S);
    EXPECT(o->is_done);
    EXPECT_OK(o->result);
    world_close(&w);
}

TEST(a_further_call_is_refused_for_five_seconds_and_takes_over_then)
{
    struct world w;
    world_open(&w, a, 0);
    create(&w);
    Str arn = create_consumer(&w, S("c"));
    struct one_call *first = subscribe_latest(&w, arn);
    advance(&w, 5 * NS_PER_S - 1);
    struct one_call *early = subscribe_latest(&w, arn);
    expect_fault(&kinesis_ResourceInUseException, early);
    EXPECT_STR(S("Another active subscription exists for this consumer: "
                 "000000000000:s:shardId-000000000000:c"),
               early->call.error_text);
    EXPECT(!early->has_started && !first->is_done);
    advance(&w, 1);
    struct one_call *second = subscribe_latest(&w, arn);
    expect_fault(&kinesis_ResourceInUseException, first);
    EXPECT(second->has_started && !second->is_done);
    put(&w, S("one"));
    wait_data(second, S("b25l "));
    EXPECT_STR(S(""), all_data(first));
    leave(second);
    world_close(&w);
}

TEST(one_call_a_second_is_taken_of_a_consumer_for_a_shard)
{
    struct world w;
    world_open(&w, a, 1);
    create(&w);
    Str arn = create_consumer(&w, S("c"));
    struct one_call *o = subscribe_latest(&w, arn);
    advance(&w, NS_PER_S - 1);
    expect_fault(&kinesis_LimitExceededException, subscribe_latest(&w, arn));
    advance(&w, 1);
    expect_fault(&kinesis_ResourceInUseException, subscribe_latest(&w, arn));
    advance(&w, NS_PER_S - 1);
    expect_fault(&kinesis_LimitExceededException, subscribe_latest(&w, arn));
    leave(o);
    world_close(&w);
}

TEST(two_consumers_at_the_same_place_are_sent_the_same_bytes)
{
    struct world w;
    world_open(&w, a, 0);
    create(&w);
    struct one_call *one = subscribe_latest(&w, create_consumer(&w, S("one")));
    put(&w, S("alone"));
    wait_data(one, S("YWxvbmU= "));
    struct one_call *two = subscribe_latest(&w, create_consumer(&w, S("two")));
    put(&w, S("both"));
    wait_data(one, S("YWxvbmU= Ym90aA== "));
    wait_data(two, S("Ym90aA== "));
    EXPECT(one->frames[one->n - 1] == two->frames[two->n - 1]);
    leave(one);
    leave(two);
    world_close(&w);
}

static void encrypt(struct world *w)
{
    struct kinesis_StartStreamEncryption_in in = { .stream_name = S("s"),
                                                   .encryption_type = S("KMS"),
                                                   .key_id = S("alias/aws/kinesis") };
    EXPECT_OK(kinesis_StartStreamEncryption(&call_new(w, "StartStreamEncryption")->call, &in));
}

// The last to subscribe is the first to be woken: it makes the event.
TEST(who_may_not_use_the_key_is_not_pushed_what_was_decrypted_for_another)
{
    struct world w;
    world_open(&w, a, 0);
    create(&w);
    encrypt(&w);
    w.principal = DENIED;
    struct one_call *denied = subscribe_latest(&w, create_consumer(&w, S("denied")));
    w.principal = (Str){ 0 };
    struct one_call *one = subscribe_latest(&w, create_consumer(&w, S("one")));
    struct one_call *two = subscribe_latest(&w, create_consumer(&w, S("two")));
    put(&w, S("secret"));
    wait_data(one, S("c2VjcmV0 "));
    wait_data(two, S("c2VjcmV0 "));
    EXPECT(one->frames[one->n - 1] == two->frames[two->n - 1]); // who may is
    while (!denied->is_done)
        rest(&w);
    expect_fault(&kinesis_KMSAccessDeniedException, denied);
    EXPECT_STR(S(""), all_data(denied));
    leave(one);
    leave(two);
    world_close(&w);
}

TEST(a_client_that_reads_slowly_holds_one_event_and_gets_the_rest_when_it_asks)
{
    struct world w;
    world_open(&w, a, 0);
    create(&w);
    struct one_call *o = subscribe_latest(&w, create_consumer(&w, S("c")));
    o->is_slow = true;
    put(&w, S("one"));
    wait_data(o, S("b25l "));
    size_t n = o->n;
    put(&w, S("two"));
    put(&w, S("three"));
    advance(&w, 20 * NS_PER_S);
    EXPECT_INT(n, o->n); // not even that there is nothing
    o->is_slow = false;
    o->unsent = 0;
    o->tell(o->self);
    wait_data(o, S("b25l dHdv dGhyZWU= "));
    leave(o);
    world_close(&w);
}

// The tail cache holds one mebibyte of them.
TEST(what_is_no_longer_in_memory_is_read_from_the_disk)
{
    enum { RECORDS = 12, BYTES = 300000 };
    struct world w;
    world_open(&w, a, 0);
    create(&w);
    char *data = arena_alloc(a, BYTES, 1);
    for (int i = 0; i < RECORDS; i++)
        put(&w, str_from(data, BYTES));
    struct one_call *o = subscribe(&w, create_consumer(&w, S("c")), S("TRIM_HORIZON"), (Str){ 0 });
    size_t got = 0;
    for (size_t seen = 0; got < RECORDS; rest(&w))
        for (; seen < o->n; seen++)
            got += records_of(o, seen);
    EXPECT_INT(RECORDS, got);
    EXPECT(json_find(event(o, 0), S("MillisBehindLatest")) != NULL);
    put(&w, S("live"));
    while (records_of(o, o->n - 1) != 1 || o->events[o->n - 1].n > 1000)
        rest(&w);
    leave(o);
    world_close(&w);
}

static size_t all_records(struct one_call *o)
{
    size_t n = 0;
    for (size_t i = 0; i < o->n; i++)
        n += records_of(o, i);
    return n;
}

static void wait_records(struct one_call *o, size_t n)
{
    while (all_records(o) < n)
        rest(o->w);
}

static int64_t shared_so_far(const struct world *w)
{
    return metric_value(((struct kinesis *)w->kinesis)->fanout->shared);
}

// From memory and from the disk: the tail cache holds one mebibyte of them.
TEST(consumers_of_old_records_one_behind_another_are_sent_events_that_were_made_once)
{
    enum { RECORDS = 24, BYTES = 100000, EVENTS = RECORDS / 2, CONSUMERS = 4 };
    struct world w;
    struct one_call *all[CONSUMERS];
    world_open(&w, a, 0);
    create(&w);
    encrypt(&w); // the key service is asked for each
    char *data = arena_alloc(a, BYTES, 1);
    for (int i = 0; i < RECORDS; i++) {
        memset(data, 'a' + i, BYTES);
        put(&w, str_from(data, BYTES));
    }
    for (int i = 0; i < CONSUMERS; i++) {
        int64_t before = shared_so_far(&w);
        all[i] =
            subscribe(&w, create_consumer(&w, str_fmt(a, "c%d", i)), S("TRIM_HORIZON"), (Str){ 0 });
        wait_records(all[i], RECORDS);
        EXPECT_STR(all_data(all[0]), all_data(all[i]));
        if (i >= 2) // the first was alone; the second was made to keep what it made
            EXPECT(shared_so_far(&w) - before >= EVENTS - 1);
    }
    w.principal = DENIED;
    struct one_call *denied =
        subscribe(&w, create_consumer(&w, S("denied")), S("TRIM_HORIZON"), (Str){ 0 });
    while (!denied->is_done)
        rest(&w);
    expect_fault(&kinesis_KMSAccessDeniedException, denied);
    EXPECT_STR(S(""), all_data(denied));
    for (int i = 0; i < CONSUMERS; i++)
        leave(all[i]);
    world_close(&w);
}

TEST(two_mebibytes_a_second_are_pushed_a_second_of_them_at_once)
{
    enum { BYTES = 1 << 20 };
    struct world w;
    world_open(&w, a, 1);
    create(&w);
    struct one_call *o = subscribe_latest(&w, create_consumer(&w, S("c")));
    char *data = arena_alloc(a, BYTES, 1);
    for (size_t i = 1; i <= 4; i++) { // at the pace at which a shard takes them
        put(&w, str_from(data, BYTES));
        wait_records(o, i);
        advance(&w, NS_PER_S + NS_PER_MS);
    }
    leave(o);
    struct one_call *all =
        subscribe(&w, create_consumer(&w, S("d")), S("TRIM_HORIZON"), (Str){ 0 });
    wait_records(all, 2); // a second's worth and two keys
    for (int turns = 0; turns < 50; turns++)
        rest(&w);
    EXPECT_INT(2, all_records(all)); // the clock stands still
    advance(&w, NS_PER_S);
    wait_records(all, 4);
    leave(all);
    world_close(&w);
}

TEST(a_consumer_that_is_deregistered_is_told_so)
{
    struct world w;
    world_open(&w, a, 0);
    create(&w);
    Str arn = create_consumer(&w, S("c"));
    struct one_call *o = subscribe_latest(&w, arn);
    struct kinesis_DeregisterStreamConsumer_in in = { .consumer_arn = arn };
    EXPECT_OK(
        kinesis_DeregisterStreamConsumer(&call_new(&w, "DeregisterStreamConsumer")->call, &in));
    spin(&w);
    expect_fault(&kinesis_ResourceNotFoundException, o);
    expect_fault(&kinesis_ResourceNotFoundException, subscribe_latest(&w, arn));
    world_close(&w);
}

TEST(a_stream_that_is_deleted_ends_what_is_pushed_of_it)
{
    struct world w;
    world_open(&w, a, 0);
    create(&w);
    struct one_call *o = subscribe_latest(&w, create_consumer(&w, S("c")));
    struct kinesis_DeleteStream_in in = { .stream_name = S("s") };
    struct one_call *refused = call_new(&w, "DeleteStream");
    EXPECT_ERR(ERR_FAULT, kinesis_DeleteStream(&refused->call, &in));
    EXPECT_STR(S("ResourceInUseException"), refused->call.error->name);
    in.enforce_consumer_deletion = true;
    EXPECT_OK(kinesis_DeleteStream(&call_new(&w, "DeleteStream")->call, &in));
    while (!o->is_done)
        rest(&w);
    expect_fault(&kinesis_ResourceNotFoundException, o);
    world_close(&w);
}

TEST(consumers_and_their_tags_are_there_after_a_restart)
{
    struct world w;
    world_open(&w, a, 0);
    create(&w);
    Str arn = create_consumer(&w, S("c"));
    kinesis_TagMap_entry tag = { .key = S("k"), .value = S("v") };
    struct kinesis_TagResource_in in = { .resource_arn = arn,
                                         .tags = { .at = &tag, .n = 1, .set = true } };
    EXPECT_OK(kinesis_TagResource(&call_new(&w, "TagResource")->call, &in));
    kinesis_service.stop(w.kinesis);
    spin(&w);
    kinesis_service.close(w.kinesis);
    loop_close(w.loop); // with its timers
    EXPECT_OK(loop_open_with(w.env.io, &w.loop));
    EXPECT_OK(kinesis_service.open(&w.env, &w.kinesis));
    struct kinesis_ListTagsForResource_in ask = { .resource_arn = arn };
    struct kinesis_ListTagsForResource_out tags = { 0 };
    EXPECT_OK(kinesis_ListTagsForResource(&call_new(&w, "ListTagsForResource")->call, &ask, &tags));
    EXPECT(tags.tags.n == 1);
    EXPECT_STR(S("v"), tags.tags.at[0].value);
    struct one_call *o = subscribe_latest(&w, arn);
    EXPECT(o->has_started);
    leave(o);
    world_close(&w);
}
