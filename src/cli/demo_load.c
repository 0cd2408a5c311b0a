// SPDX-License-Identifier: Apache-2.0
#include "cli/demo_load.h"
#include "base/time.h"
#include "cli/term.h"
#include "codec/base64.h"
#include "os/io.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    BATCH_RECORDS_MAX = 500, // PutRecords
    RATE_PER_PRODUCER = 3200,
    KEYS_PER_SHARD = 64,
    FAILURES_MAX = 40,     // in a row, until the load is given up
    FINAL_TRIES_MAX = 200, // to put what is left when producing ends
};
#define TICK_NS (100 * NS_PER_MS)
#define READ_EVERY_NS (205 * NS_PER_MS) // AWS allows five reads a second of a shard
#define RETRY_NS (100 * NS_PER_MS)

typedef enum CallEnd { CALL_GOOD, CALL_AGAIN, CALL_FATAL } CallEnd;

struct demo_load {
    DemoLoadConfig config;
    struct arena *a;
    Str (*keys)[KEYS_PER_SHARD]; // of each shard
    atomic_bool stop_producing, stop_consuming;
    _Atomic(const char *) problem;
    pthread_mutex_t latency_lock; // a leaf
    struct demo_latency latency;
    struct worker *producers, *consumers;
    size_t producer_count, consumer_count;
};

// A record that is not acknowledged yet.
struct pending {
    uint64_t number;
    int64_t sent_ns; // when it was sent first; 0: not yet
};

struct worker {
    struct demo_load *load;
    unsigned index; // of the producer, or of the shard
    pthread_t thread;
    bool running;
    struct client *client;
    struct arena *a; // of one call
    unsigned failures;
    struct pending pending[BATCH_RECORDS_MAX];
    size_t pending_count;
    uint64_t next_number;
};

static int64_t mono_ns(void)
{
    return io_real()->mono_ns(io_real());
}

static void sleep_ns(int64_t ns)
{
    if (ns > 0)
        io_real()->sleep_ns(io_real(), ns);
}

static void give_up(struct demo_load *l, const char *why)
{
    const char *none = NULL;
    atomic_compare_exchange_strong(&l->problem, &none, why);
}

// One call. What may be better next time is CALL_AGAIN, unless it never gets better.
static CallEnd call(struct worker *w, Str operation, Str body, JsonValue **ret, bool *ret_throttled)
{
    ClientReply reply = { 0 };
    *ret_throttled = false;
    Err e = client_call(w->client, w->a, &client_kinesis, operation, body, &reply);
    if (e.kind == ERR_NONE && client_is_throttle(reply.error)) {
        *ret_throttled = true;
        return CALL_AGAIN;
    }
    if (e.kind != ERR_NONE || reply.status >= 500) {
        if (++w->failures < FAILURES_MAX)
            return CALL_AGAIN;
        give_up(w->load, "the server does not answer any more");
        return CALL_FATAL;
    }
    w->failures = 0;
    if (reply.error.p != NULL || json_parse(w->a, reply.body, ret).kind != ERR_NONE) {
        give_up(w->load, "the server refused a call of the demo");
        return CALL_FATAL;
    }
    return CALL_GOOD;
}

// ---- Producers

static unsigned shard_of(const struct demo_load *l, uint64_t number)
{
    return (unsigned)(number % l->config.shard_count);
}

static Str put_body(struct worker *w)
{
    struct demo_load *l = w->load;
    AUTO_BUF(out);
    AUTO_BUF(data);
    buf_add(&out, S("{\"StreamName\":"));
    add_json_text(&out, l->config.stream);
    buf_add(&out, S(",\"Records\":["));
    int64_t now = mono_ns();
    for (size_t i = 0; i < w->pending_count; i++) {
        struct pending *p = &w->pending[i];
        p->sent_ns = p->sent_ns != 0 ? p->sent_ns : now;
        uint64_t turn = p->number / l->config.shard_count;
        Str key = l->keys[shard_of(l, p->number)][turn % KEYS_PER_SHARD];
        DemoRecord r = { .producer = w->index, .number = p->number, .sent_ns = p->sent_ns };
        buf_clear(&data);
        demo_record_write(&data, &r, key, l->config.record_bytes);
        buf_add(&out, i > 0 ? S(",{\"Data\":\"") : S("{\"Data\":\""));
        buf_add_base64(&out, buf_str(&data));
        buf_addf(&out, "\",\"PartitionKey\":\"%.*s\"}", FMT(key));
    }
    buf_add(&out, S("]}"));
    return str_dup(w->a, buf_str(&out));
}

static unsigned shard_index(const struct demo_load *l, Str id)
{
    for (unsigned i = 0; i < l->config.shard_count; i++)
        if (str_eq(l->config.shards[i].id, id))
            return i;
    return DEMO_SHARDS_MAX;
}

// Books what was acknowledged and keeps the rest. False: the reply makes no sense.
static bool book_results(struct worker *w, const JsonValue *reply)
{
    struct demo_load *l = w->load;
    const JsonValue *results = json_find(reply, S("Records"));
    if (results == NULL || results->kind != JSON_LIST || results->n != w->pending_count)
        return false;
    size_t kept = 0;
    for (size_t i = 0; i < results->n; i++) {
        const JsonValue *r = &results->items[i];
        Str sequence = json_text(r, S("SequenceNumber"));
        unsigned shard = shard_index(l, json_text(r, S("ShardId")));
        if (sequence.n > 0 && shard < DEMO_SHARDS_MAX)
            demo_count_ack(l->config.books, w->index, w->pending[i].number, shard, sequence);
        else
            w->pending[kept++] = w->pending[i];
    }
    demo_count_throttled(l->config.books, kept);
    w->pending_count = kept;
    return true;
}

static CallEnd put_pending(struct worker *w)
{
    if (w->pending_count == 0)
        return CALL_GOOD;
    arena_reset(w->a);
    JsonValue *reply = NULL;
    bool throttled;
    CallEnd end = call(w, S("PutRecords"), put_body(w), &reply, &throttled);
    if (throttled)
        demo_count_throttled(w->load->config.books, w->pending_count);
    if (end == CALL_GOOD && !book_results(w, reply)) {
        give_up(w->load, "the reply to PutRecords does not match the request");
        end = CALL_FATAL;
    }
    return end;
}

static void *produce(void *self)
{
    struct worker *w = self;
    struct demo_load *l = w->load;
    double share = (double)l->config.rate / (double)l->producer_count, due = 0;
    // Producers take turns within a tick.
    int64_t next = mono_ns() + TICK_NS * w->index / (int64_t)l->producer_count;
    CallEnd end = CALL_GOOD;
    while (end != CALL_FATAL && !atomic_load(&l->stop_producing)) {
        sleep_ns(next - mono_ns());
        next = MAX(next + TICK_NS, mono_ns()); // what is late is left out, not sent as a burst
        due = MIN(due + share * (double)TICK_NS / (double)NS_PER_S, BATCH_RECORDS_MAX);
        size_t total = (size_t)due; // what is sent again counts as well
        due -= (double)total;
        while (w->pending_count < total)
            w->pending[w->pending_count++] = (struct pending){ .number = w->next_number++ };
        end = put_pending(w);
    }
    for (int i = 0; i < FINAL_TRIES_MAX && end != CALL_FATAL && w->pending_count > 0; i++) {
        end = put_pending(w);
        if (w->pending_count > 0)
            sleep_ns(RETRY_NS);
    }
    if (w->pending_count > 0)
        give_up(l, "some records could not be put before the end");
    return NULL;
}

// ---- Consumers

static bool get_iterator(struct worker *w, struct buf *iterator)
{
    struct demo_load *l = w->load;
    AUTO_BUF(b);
    buf_add(&b, S("{\"ShardIteratorType\":\"TRIM_HORIZON\",\"StreamName\":"));
    add_json_text(&b, l->config.stream);
    buf_add(&b, S(",\"ShardId\":"));
    add_json_text(&b, l->config.shards[w->index].id);
    buf_add(&b, S("}"));
    CallEnd end = CALL_AGAIN;
    while (end == CALL_AGAIN && !atomic_load(&l->stop_consuming)) {
        JsonValue *reply = NULL;
        bool throttled;
        arena_reset(w->a);
        end = call(w, S("GetShardIterator"), buf_str(&b), &reply, &throttled);
        if (end == CALL_GOOD)
            buf_add(iterator, json_text(reply, S("ShardIterator")));
        else
            sleep_ns(RETRY_NS);
    }
    return iterator->n > 0;
}

static void book_record(struct worker *w, const JsonValue *r, int64_t now)
{
    struct demo_load *l = w->load;
    Str coded = json_text(r, S("Data"));
    char *data = arena_new(w->a, char, base64_decoded_max(coded.n));
    Base64Result decoded = base64_decode(data, coded.p, coded.n);
    DemoRecord record = { 0 };
    if (decoded.fault != BASE64_GOOD ||
        demo_record_read(str_from(data, decoded.n), &record).kind != ERR_NONE) {
        give_up(l, "the stream holds records that are not the demo's");
        return;
    }
    demo_count_got(l->config.books, record.producer, record.number, w->index,
                   json_text(r, S("SequenceNumber")));
    pthread_mutex_lock(&l->latency_lock);
    demo_latency_add(&l->latency, now - record.sent_ns);
    pthread_mutex_unlock(&l->latency_lock);
}

static CallEnd read_once(struct worker *w, struct buf *iterator)
{
    arena_reset(w->a);
    AUTO_BUF(b);
    buf_add(&b, S("{\"Limit\":10000,\"ShardIterator\":"));
    add_json_text(&b, buf_str(iterator));
    buf_add(&b, S("}"));
    JsonValue *reply = NULL;
    bool throttled;
    CallEnd end = call(w, S("GetRecords"), buf_str(&b), &reply, &throttled);
    if (end != CALL_GOOD)
        return end;
    int64_t now = mono_ns();
    const JsonValue *records = json_find(reply, S("Records"));
    for (size_t i = 0; records != NULL && i < records->n; i++)
        book_record(w, &records->items[i], now);
    buf_clear(iterator);
    buf_add(iterator, json_text(reply, S("NextShardIterator")));
    return CALL_GOOD;
}

static void *consume(void *self)
{
    struct worker *w = self;
    struct demo_load *l = w->load;
    AUTO_BUF(iterator);
    if (!get_iterator(w, &iterator))
        return NULL;
    int64_t next = mono_ns();
    CallEnd end = CALL_GOOD;
    while (end != CALL_FATAL && iterator.n > 0 && !atomic_load(&l->stop_consuming)) {
        end = read_once(w, &iterator);
        next = MAX(next + READ_EVERY_NS, mono_ns());
        sleep_ns(next - mono_ns());
    }
    return NULL;
}

// ---- The load

static Err start_workers(struct demo_load *l, struct worker *workers, size_t n,
                         void *(*run)(void *))
{
    for (size_t i = 0; i < n; i++) {
        struct worker *w = &workers[i];
        *w = (struct worker){ .load = l, .index = (unsigned)i, .a = arena_open() };
        TRY(client_open(&l->config.client, &w->client));
        int error = pthread_create(&w->thread, NULL, run, w);
        if (error != 0)
            return fail_os(error, "no thread for the demo");
        w->running = true;
    }
    return OK;
}

static void join_workers(struct worker *workers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (workers[i].running)
            pthread_join(workers[i].thread, NULL);
        workers[i].running = false;
    }
}

static void close_workers(struct worker *workers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        client_close(workers[i].client);
        arena_close(workers[i].a);
    }
}

Err demo_load_start(const DemoLoadConfig *config, struct demo_load **ret)
{
    CHECK(config->shard_count > 0 && config->shard_count <= DEMO_SHARDS_MAX);
    struct arena *a = arena_open();
    struct demo_load *l = arena_new(a, struct demo_load, 1);
    l->config = *config;
    l->a = a;
    CHECK(pthread_mutex_init(&l->latency_lock, NULL) == 0);
    l->keys = arena_alloc(a, mul_checked(config->shard_count, sizeof *l->keys), _Alignof(Str));
    for (size_t i = 0; i < config->shard_count; i++)
        for (uint64_t k = 0; k < KEYS_PER_SHARD; k++)
            l->keys[i][k] = demo_key(a, &config->shards[i], k);
    l->consumer_count = config->shard_count;
    l->producer_count = (config->rate + RATE_PER_PRODUCER - 1) / RATE_PER_PRODUCER;
    l->producer_count = MIN(MAX(l->producer_count, 1), DEMO_PRODUCERS_MAX);
    l->consumers = arena_new(a, struct worker, l->consumer_count);
    l->producers = arena_new(a, struct worker, l->producer_count);
    Err e = start_workers(l, l->consumers, l->consumer_count, consume);
    if (e.kind == ERR_NONE)
        e = start_workers(l, l->producers, l->producer_count, produce);
    if (e.kind != ERR_NONE) {
        demo_load_close(l);
        return e;
    }
    *ret = l;
    return OK;
}

void demo_load_stop(struct demo_load *l)
{
    atomic_store(&l->stop_producing, true);
    join_workers(l->producers, l->producer_count);
}

void demo_load_close(struct demo_load *l)
{
    if (l == NULL)
        return;
    demo_load_stop(l);
    atomic_store(&l->stop_consuming, true);
    join_workers(l->consumers, l->consumer_count);
    close_workers(l->producers, l->producer_count);
    close_workers(l->consumers, l->consumer_count);
    pthread_mutex_destroy(&l->latency_lock);
    arena_close(l->a);
}

Str demo_load_problem(struct demo_load *l)
{
    return str_of(atomic_load(&l->problem));
}

void demo_load_latency(struct demo_load *l, struct demo_latency *ret)
{
    pthread_mutex_lock(&l->latency_lock);
    *ret = l->latency;
    pthread_mutex_unlock(&l->latency_lock);
}
