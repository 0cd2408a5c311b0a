// SPDX-License-Identifier: Apache-2.0
// drive CONFIG.json RECORDS: one batch to one destination, see README.md. The config:
//
//     {"sink":"http|splunk|search|redshift", "url":..., "attempts":10, "pause_ms":100, ...}
//
// Prints a JSON line for each attempt and each record that was refused, and "result N" last.
#include "base/time.h"
#include "codec/json.h"
#include "delivery/env.h"
#include "delivery/sink.h"
#include "hub/hub.h"
#include "os/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INPUT_BYTES_MAX = 256 << 20 };

static _Noreturn void die(Str why)
{
    (void)fprintf(stderr, "drive: %.*s\n", FMT(why));
    exit(2);
}

static void must(Err e)
{
    if (e.kind != ERR_NONE)
        die(str_of(e.text));
}

// ---- Objects are files: FOLDER/bucket/key, of which slashes are made tildes.

struct hub_put {
    struct buf bytes;
    Str folder, bucket;
};

static Str path_of(struct arena *a, Str folder, Str bucket, Str key)
{
    char *name = str_c(a, key);
    for (char *p = name; *p != 0; p++)
        *p = *p == '/' ? '~' : *p;
    return str_fmt(a, "%.*s/%.*s/%s", FMT(folder), FMT(bucket), name);
}

static Err begin(void *self, struct arena *a, const HubObjectWant *want, struct hub_put **ret,
                 HubObjectAnswer *ret_answer)
{
    (void)a;
    *ret_answer = (HubObjectAnswer){ 0 };
    *ret = xalloc(sizeof **ret);
    **ret = (struct hub_put){ .folder = *(Str *)self, .bucket = want->bucket };
    return OK;
}

static Err write_object(struct hub_put *p, Str bytes)
{
    buf_add(&p->bytes, bytes);
    return buf_err(&p->bytes);
}

static Err finish(struct hub_put *p, struct arena *a, Str key, Str type, Str encoding,
                  HubObjectAnswer *ret)
{
    (void)type;
    (void)encoding;
    *ret = (HubObjectAnswer){ 0 };
    return io_write_file(io_real(), a, path_of(a, p->folder, p->bucket, key), buf_str(&p->bytes));
}

static void close_put(struct hub_put *p)
{
    if (p != NULL)
        buf_done(&p->bytes);
    free(p);
}

static Err read_object(void *self, struct arena *a, const HubActor *as, Str bucket, Str key,
                       uint64_t at, size_t max, Str *ret, HubObjectAnswer *ret_answer)
{
    (void)as;
    struct io *io = io_real();
    struct io_file *f = NULL;
    *ret_answer = (HubObjectAnswer){ 0 };
    Err e = io->open(io, path_of(a, *(Str *)self, bucket, key), IO_READ, &f);
    if (e.kind == ERR_NOT_FOUND) {
        *ret_answer = (HubObjectAnswer){ .fault = HUB_OBJECT_NO_KEY,
                                         .code = S("NoSuchKey"),
                                         .text = S("The specified key does not exist.") };
        return OK;
    }
    TRY(e);
    char *p = arena_try_raw(a, max, 1);
    size_t n = 0;
    e = p != NULL ? io->read(f, p, max, at, &n) : fail(ERR_MEMORY, "no memory");
    io->close(f);
    *ret = str_from(p, n);
    return e;
}

// ---- What is asked for

static int64_t number(const JsonValue *v, Str key, int64_t otherwise)
{
    const JsonValue *n = json_find(v, key);
    return n != NULL && (n->kind == JSON_NUMBER || n->kind == JSON_BOOL) ? n->integer : otherwise;
}

static const struct sink_ops *read_config(const JsonValue *v, DeliveryConfig *c)
{
    Str kind = json_text(v, S("sink")), url = json_text(v, S("url"));
    *c = (DeliveryConfig){ .account = S("000000000000"),
                           .region = S("us-east-1"),
                           .name = S("s"),
                           .arn = S("arn:aws:firehose:us-east-1:000000000000:deliverystream/s"),
                           .service = S("firehose.amazonaws.com"),
                           .id = 5,
                           .version = 1,
                           .s3 = { .bucket = S("b"),
                                   .prefix = json_text(v, S("prefix")),
                                   .role_arn = S("arn:aws:iam::0:role/r") } };
    if (str_eq(kind, S("http"))) {
        c->http = (DeliveryHttp){ .url = url,
                                  .access_key = json_text(v, S("key")),
                                  .gzip = number(v, S("gzip"), 0) != 0 };
        return &sink_http;
    }
    if (str_eq(kind, S("splunk"))) {
        c->splunk = (DeliverySplunk){ .url = url,
                                      .token = json_text(v, S("token")),
                                      .event = number(v, S("event"), 0) != 0,
                                      .ack_timeout_ns = number(v, S("ack_s"), 180) * NS_PER_S };
        return &sink_splunk;
    }
    if (str_eq(kind, S("search"))) {
        c->search = (DeliverySearch){ .url = url,
                                      .index = json_text(v, S("index")),
                                      .own_ids = number(v, S("own_ids"), 0) != 0,
                                      .rotation = (int)number(v, S("rotation"), 0) };
        return &sink_search;
    }
    if (!str_eq(kind, S("redshift")))
        die(S("no such sink"));
    c->redshift = (DeliveryRedshift){ .jdbc_url = url,
                                      .user = json_text(v, S("user")),
                                      .password = json_text(v, S("password")),
                                      .table = json_text(v, S("table")),
                                      .columns = json_text(v, S("columns")),
                                      .options = json_text(v, S("options")),
                                      .role_arn = json_text(v, S("role")) };
    return &sink_redshift;
}

static bool never(const struct delivery_env *env)
{
    (void)env;
    return false;
}

static bool sleep_really(const struct delivery_env *env, int64_t ns)
{
    env->io->sleep_ns(env->io, ns);
    return true;
}

// ---- One batch

static void read_records(struct arena *a, Str path, DeliveryBatch *b)
{
    static const uint64_t shards[] = { 7 };
    Str in;
    must(io_read_file(io_real(), a, path, INPUT_BYTES_MAX, &in));
    *b = (DeliveryBatch){ .arena = a, .shards = shards, .shard_count = 1 };
    for (Str line; in.n > 0;) {
        (void)str_cut(in, '\n', &line, &in);
        DeliveryRecord r = {
            .data = line, .raw = line, .arrival_ms = 1456358400123, .position = b->n
        };
        batch_add(b, &r);
    }
}

static void tell(const char *what, int64_t n, Str code, Str message)
{
    AUTO_BUF(b);
    struct event_writer w;
    json_writer_init(&w, &b);
    w.ops->map(&w);
    w.ops->key(&w, str_of(what));
    w.ops->integer(&w, n);
    w.ops->key(&w, S("code"));
    w.ops->text(&w, code);
    w.ops->key(&w, S("message"));
    w.ops->text(&w, message);
    w.ops->map_end(&w);
    printf("%.*s\n", FMT(buf_str(&b)));
    (void)fflush(stdout);
}

static void tell_refused(const DeliveryBatch *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->at[i].fault.type != NULL)
            tell("record", (int64_t)i, b->at[i].fault.code, b->at[i].fault.message);
}

static SinkResult drive(struct arena *a, struct sink *s, const JsonValue *v, SinkAttempt *at)
{
    struct io *io = io_real();
    int64_t attempts = number(v, S("attempts"), 1);
    SinkResult r = SINK_RETRY;
    for (at->attempt = 1; r == SINK_RETRY && at->attempt <= attempts; at->attempt++) {
        if (at->attempt > 1)
            io->sleep_ns(io, number(v, S("pause_ms"), 100) * NS_PER_MS);
        at->arena = a;
        at->code = at->message = (Str){ 0 };
        r = s->ops->deliver(s, at);
        tell("attempt", at->attempt, at->code, at->message);
    }
    if (r != SINK_DELIVERED && s->ops->give_up != NULL)
        must(s->ops->give_up(s, at));
    return r;
}

static void read_objects(struct arena *a, const JsonValue *v, SinkAttempt *at)
{
    const JsonValue *keys = json_find(v, S("objects"));
    size_t n = keys != NULL ? keys->n : 0;
    SinkObject *o = arena_new(a, SinkObject, n + 1);
    for (size_t i = 0; i < n; i++)
        o[i] = (SinkObject){ .bucket = S("b"), .key = keys->items[i].text };
    at->objects = o;
    at->object_count = n;
}

int main(int argc, char **argv)
{
    AUTO(arena) a = arena_open();
    Str text = { 0 };
    JsonValue *v;
    DeliveryConfig config;
    DeliveryBatch batch;
    struct sink *s = NULL;
    if (argc != 3)
        die(S("drive CONFIG.json RECORDS"));
    must(io_read_file(io_real(), a, str_of(argv[1]), INPUT_BYTES_MAX, &text));
    must(json_parse(a, text, &v));
    Str folder = json_text(v, S("folder"));
    struct hub_objects objects = { .self = &folder,
                                   .begin = begin,
                                   .write = write_object,
                                   .finish = finish,
                                   .close = close_put,
                                   .read = read_object };
    struct hub hub = { .objects = &objects };
    struct delivery_env env = {
        .io = io_real(), .hub = &hub, .plain_http = true, .stopping = never, .sleep = sleep_really
    };
    const struct sink_ops *ops = read_config(v, &config);
    read_records(a, str_of(argv[2]), &batch);
    Err e = ops->open(&env, &config, &s, a, &text);
    if (e.kind != ERR_NONE)
        die(text);
    SinkAttempt at = { .batch = &batch,
                       .pending = arena_new(a, bool, batch.n + 1),
                       .pending_count = batch.n,
                       .request_id = S("ed4acda5-034f-9f42-bba1-f29aea6d7d8f"),
                       .began_ms = 1456358460000 };
    memset(at.pending, true, batch.n);
    read_objects(a, v, &at);
    SinkResult r = drive(a, s, v, &at);
    tell_refused(&batch);
    ops->close(s);
    printf("result %d\n", r);
    return 0;
}
