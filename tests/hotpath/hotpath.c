// SPDX-License-Identifier: Apache-2.0
// One put after another, or read, through all that a server does with it between the request's
// bytes and the answer's: decode, verify, route, append to a log on a disk in memory or read from
// its memory, encode. Sockets are played here. What is measured runs in measured_requests(), on one
// thread, which is what tests/hotpath.py tells callgrind to count; run alone it prints the time
// that the thread took.
//
//     headrace-hotpath KIND [requests]      KIND: put-records, put-record, put-records-cbor,
//     get-records
#include "aws/front.h"
#include "aws/sigv4.h"
#include "base/time.h"
#include "codec/cbor.h"
#include "codec/json.h"
#include "hub/service.h"
#include "os/io_mem.h"
#include "store/kv.h"
#include "store/log.h"
#include "gen/kinesis_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern const struct service kinesis_service;

void measured_requests(size_t n);

enum { RECORDS = 500, RECORD_BYTES = 1024, WARM_UP = 3, REQUESTS = 20, SHARDS = 4, LIMITS = 1000 };
enum { READ_BYTES = 200 }; // of a record that is read: so many are answered by the reactor itself
#define HOST "127.0.0.1:4566"

typedef struct Kind {
    const char *name, *op, *content_type;
    size_t records;
    bool reads;
} Kind;

static const Kind kinds[] = {
    { "put-records", "PutRecords", "application/x-amz-json-1.1", RECORDS, false },
    { "put-record", "PutRecord", "application/x-amz-json-1.1", 1, false },
    { "put-records-cbor", "PutRecords", "application/x-amz-cbor-1.1", RECORDS, false },
    { "get-records", "GetRecords", "application/x-amz-json-1.1", RECORDS, true },
};

static struct {
    struct io_mem *disk;
    struct kv *kv;
    struct log *log;
    struct loop *loop;
    struct pool *pool;
    struct keyring *keys;
    struct front *front;
    void *kinesis;
    unsigned status; // of the last answer
    size_t answered_bytes;
    struct buf answer; // the last one, if `keeps`
    bool keeps;
} world;

// ---- What http does, as far as the front can see

void http_reply(struct http_exchange *x, unsigned status, const HttpHeader *headers, size_t n,
                Str body)
{
    (void)headers;
    (void)n;
    if (status != 200)
        fprintf(stderr, "answered %u: %.*s\n", status, FMT(body));
    world.status = status;
    world.answered_bytes = body.n;
    buf_clear(&world.answer);
    if (world.keeps)
        buf_add(&world.answer, body);
    loop_stop(x->loop);
}

// ---- The server

static void must(Err e)
{
    if (e.kind == ERR_NONE)
        return;
    fprintf(stderr, "%s\n", e.text);
    exit(1);
}

static void world_open(void)
{
    world.disk = io_mem_open(1);
    struct io *io = io_mem_io(world.disk);
    must(kv_open(io, S("/kv"), &world.kv));
    must(log_open(&(LogConfig){ .io = io,
                                .dir = S("/journal"),
                                .file_bytes = 64 << 20,
                                .reserve_bytes = 256 << 10,
                                .tail_cache_bytes = 1 << 20 },
                  &world.log));
    must(loop_open_with(io, &world.loop));
    must(pool_open(1, 4, "pool", &world.pool));
    struct service_env env = { .io = io,
                               .kv = world.kv,
                               .log = world.log,
                               .pool = world.pool,
                               .loops = &world.loop,
                               .loop_count = 1,
                               .limits = LIMITS };
    must(kinesis_service.open(&env, &world.kinesis));
    must(log_ready(world.log));
    keyring_open(false, &world.keys);
    must(keyring_add(world.keys, &(Key){ .access_key = S("AKIDEXAMPLE"),
                                         .secret = S("secret"),
                                         .account = S("000000000000"),
                                         .principal = S("arn:aws:iam::000000000000:root") }));
    FrontService service = { .api = kinesis_service.api, .state = world.kinesis };
    must(front_open(&(FrontConfig){ .io = io,
                                    .keys = world.keys,
                                    .services = &service,
                                    .service_count = 1,
                                    .pool = world.pool },
                    &world.front));
}

static void world_close(void)
{
    buf_done(&world.answer);
    pool_close(world.pool);
    front_close(world.front);
    keyring_close(world.keys);
    log_close(world.log);
    kinesis_service.close(world.kinesis);
    kv_close(world.kv);
    loop_close(world.loop);
    io_mem_close(world.disk);
}

// ---- The request

enum { HEADERS = 5 };
typedef struct Request {
    HttpHeader headers[HEADERS];
    Str body;
} Request;

static Request request_sign(struct arena *a, const char *op, const char *content_type, Str body)
{
    Request r = { .headers = { { S("host"), S(HOST) },
                               { S("content-type"), str_of(content_type) },
                               { S("x-amz-target"), str_fmt(a, "Kinesis_20131202.%s", op) } },
                  .body = body };
    struct io *io = io_mem_io(world.disk);
    Sigv4Sign sign = { .access_key = S("AKIDEXAMPLE"),
                       .secret = S("secret"),
                       .region = S("us-east-1"),
                       .service = S("kinesis"),
                       .method = S("POST"),
                       .path = S("/"),
                       .headers = r.headers,
                       .header_count = 3,
                       .body = body,
                       .now_ns = io->wall_ns(io) };
    Sigv4Headers made;
    must(sigv4_sign(&sign, a, &made));
    CHECK(made.n == 2);
    r.headers[3] = (HttpHeader){ str_lower(a, made.at[0].name), made.at[0].value };
    r.headers[4] = (HttpHeader){ str_lower(a, made.at[1].name), made.at[1].value };
    return r;
}

static void perform(const Request *r)
{
    struct arena *a = arena_open_request();
    CHECK(a != NULL);
    HttpHeader headers[HEADERS];
    memcpy(headers, r->headers, sizeof headers);
    struct http_exchange x = { .method = S("POST"),
                               .path = S("/"),
                               .headers = headers,
                               .header_count = HEADERS,
                               .body = r->body,
                               .http_version = 11,
                               .peer = S("127.0.0.1:1"),
                               .arena = a,
                               .loop = world.loop };
    struct http_handler handler = front_handler(world.front);
    handler.request(handler.self, &x);
    loop_run(world.loop);
    CHECK(world.status == 200);
    arena_close(a);
}

// What a record needs, in the order of most examples.
static void write_record(struct event_writer *w, struct arena *a, size_t number, size_t bytes)
{
    unsigned char data[RECORD_BYTES];
    uint32_t random = (uint32_t)number;
    for (size_t i = 0; i < bytes; i++) {
        random = random * 1664525 + 1013904223;
        data[i] = (unsigned char)(random >> 24);
    }
    w->ops->key(w, S("Data"));
    w->ops->bytes(w, str_from(data, bytes));
    w->ops->key(w, S("PartitionKey"));
    w->ops->text(w, str_fmt(a, "user-%05zu", number * 7919 % 100000));
}

static void write_records(struct event_writer *w, struct arena *a, size_t n, size_t bytes)
{
    w->ops->key(w, S("Records"));
    w->ops->list(w);
    for (size_t i = 0; i < n; i++) {
        w->ops->map(w);
        write_record(w, a, i, bytes);
        w->ops->map_end(w);
    }
    w->ops->list_end(w);
}

static Str body_of(struct arena *a, const Kind *kind)
{
    AUTO_BUF(b);
    struct event_writer w;
    if (str_ends(str_of(kind->name), S("cbor")))
        cbor_writer_init(&w, &b);
    else
        json_writer_init(&w, &b);
    w.ops->map(&w);
    w.ops->key(&w, S("StreamName"));
    w.ops->text(&w, S("clicks"));
    if (kind->records == 1)
        write_record(&w, a, 1, RECORD_BYTES);
    else
        write_records(&w, a, kind->records, kind->reads ? READ_BYTES : RECORD_BYTES);
    w.ops->map_end(&w);
    must(buf_err(&b));
    return str_dup(a, buf_str(&b));
}

static Request request;

__attribute__((noinline)) void measured_requests(size_t n)
{
    for (size_t i = 0; i < n; i++)
        perform(&request);
}

// Puts records until one shard has as many as are read, and asks for them all: the same ones in
// every request.
static Str body_of_read(struct arena *a, const Kind *kind)
{
    request = request_sign(a, "PutRecords", kind->content_type, body_of(a, kind));
    for (int i = 0; i < 2 * SHARDS; i++)
        perform(&request);
    world.keeps = true;
    request = request_sign(a, "GetShardIterator", kind->content_type,
                           S("{\"StreamName\": \"clicks\", \"ShardId\": \"shardId-000000000000\", "
                             "\"ShardIteratorType\": \"TRIM_HORIZON\"}"));
    perform(&request);
    Str name = S("{\"ShardIterator\":\""), answer = str_dup(a, buf_str(&world.answer));
    CHECK(str_starts(answer, name));
    Str iterator = str_skip(answer, name.n);
    iterator = str_head(iterator, str_find(iterator, '"'));
    Str body = str_fmt(a, "{\"ShardIterator\": \"%.*s\", \"Limit\": %d}", FMT(iterator), RECORDS);
    request = request_sign(a, kind->op, kind->content_type, body);
    perform(&request);
    answer = buf_str(&world.answer);
    size_t found = 0;
    name = S("\"SequenceNumber\":");
    for (size_t at; (at = str_search(answer, name)) < answer.n; found++)
        answer = str_skip(answer, at + name.n);
    CHECK(found == RECORDS);
    world.keeps = false;
    return body;
}

static int64_t thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static const Kind *kind_named(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (strcmp(name, kinds[i].name) == 0)
            return &kinds[i];
    return NULL;
}

int main(int argc, char **argv)
{
    const Kind *kind = argc > 1 ? kind_named(argv[1]) : NULL;
    uint64_t n = REQUESTS;
    if (kind == NULL || (argc > 2 && str_u64(str_of(argv[2]), &n).kind != ERR_NONE)) {
        fprintf(
            stderr,
            "headrace-hotpath put-records|put-record|put-records-cbor|get-records [requests]\n");
        return 2;
    }
    AUTO(arena) a = arena_open();
    world_open();
    Str create = str_fmt(a, "{\"StreamName\": \"clicks\", \"ShardCount\": %d}", SHARDS);
    request = request_sign(a, "CreateStream", kinds[0].content_type, create);
    perform(&request);
    Str body = kind->reads ? body_of_read(a, kind) : body_of(a, kind);
    request = request_sign(a, kind->op, kind->content_type, body);
    for (int i = 0; i < WARM_UP; i++)
        perform(&request);

    int64_t start_ns = thread_ns();
    measured_requests((size_t)n);
    double spent_ns = (double)(thread_ns() - start_ns);
    size_t records = (size_t)n * kind->records;
    printf("{\"records\": %zu, \"answer_bytes\": %zu, \"ns_per_record\": %.1f}\n", records,
           world.answered_bytes, spent_ns / (double)records);
    world_close();
    return 0;
}
