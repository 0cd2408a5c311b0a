// SPDX-License-Identifier: Apache-2.0
#include "delivery/test_world.h"
#include "base/test.h"

#include <stdlib.h>

#define DAY_NS (INT64_C(86400) * 1000000000)

// ---- The bucket

struct hub_put {
    struct test_world *w;
    struct buf bytes;
    char *bucket;
};

static char *text_of(Str s)
{
    char *p = xalloc(s.n + 1);
    memcpy(p, s.p, s.n);
    return p;
}

static bool takes_one(struct test_world *w, unsigned *n)
{
    pthread_mutex_lock(&w->lock);
    bool some = *n > 0;
    *n -= some;
    pthread_mutex_unlock(&w->lock);
    return some;
}

static void no_bucket(HubObjectAnswer *ret)
{
    *ret = (HubObjectAnswer){ .fault = HUB_OBJECT_NO_BUCKET,
                              .code = S("NoSuchBucket"),
                              .text = S("The specified bucket does not exist") };
}

static Err world_begin(void *self, struct arena *a, const HubObjectWant *want, struct hub_put **ret,
                       HubObjectAnswer *ret_answer)
{
    struct test_world *w = self;
    (void)a;
    *ret_answer = (HubObjectAnswer){ 0 };
    if (takes_one(w, &w->fail_begin))
        return fail(ERR_IO, "injected");
    if (w->no_bucket) {
        no_bucket(ret_answer);
        return OK;
    }
    struct hub_put *p = xalloc(sizeof *p);
    p->w = w;
    p->bucket = text_of(want->bucket);
    pthread_mutex_lock(&w->lock);
    w->open_puts++;
    pthread_mutex_unlock(&w->lock);
    *ret = p;
    return OK;
}

static Err world_write(struct hub_put *p, Str bytes)
{
    if (takes_one(p->w, &p->w->fail_write))
        return fail(ERR_FULL, "injected");
    buf_add(&p->bytes, bytes);
    return OK;
}

static Err world_finish(struct hub_put *p, struct arena *a, Str key, Str content_type,
                        Str content_encoding, HubObjectAnswer *ret)
{
    struct test_world *w = p->w;
    (void)a;
    (void)content_type;
    (void)content_encoding;
    *ret = (HubObjectAnswer){ 0 };
    if (takes_one(w, &w->fail_finish))
        return fail(ERR_IO, "injected");
    if (w->no_bucket) {
        no_bucket(ret);
        return OK;
    }
    pthread_mutex_lock(&w->lock);
    CHECK(w->object_n < WORLD_OBJECTS_MAX);
    w->objects[w->object_n++] =
        (WorldObject){ .bucket = text_of(str_of(p->bucket)), .key = text_of(key), p->bytes };
    p->bytes = (struct buf){ 0 };
    pthread_mutex_unlock(&w->lock);
    return OK;
}

static void world_put_close(struct hub_put *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->w->lock);
    p->w->open_puts--;
    pthread_mutex_unlock(&p->w->lock);
    buf_done(&p->bytes);
    free(p->bucket);
    free(p);
}

Str world_content(struct test_world *w, struct arena *a, Str prefix)
{
    AUTO_BUF(all);
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->object_n; i++)
        if (str_starts(str_of(w->objects[i].key), prefix))
            buf_add(&all, buf_str(&w->objects[i].bytes));
    pthread_mutex_unlock(&w->lock);
    return str_dup(a, buf_str(&all));
}

size_t world_count(struct test_world *w, Str prefix)
{
    size_t n = 0;
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->object_n; i++)
        n += str_starts(str_of(w->objects[i].key), prefix);
    pthread_mutex_unlock(&w->lock);
    return n;
}

// ---- The stores

static void note_fatal(void *self, Err e)
{
    (void)self;
    CHECK(e.kind != ERR_NONE);
}

static void set_clock(struct test_world *w)
{
    io_mem_set_clock(w->disk, w->now_ms * 1000000, (w->now_ms - WORLD_MS + 1000) * 1000000);
}

static void begin(struct test_world *w)
{
    struct io *io = io_fault_io(w->faults);
    set_clock(w);
    EXPECT_OK(kv_open(io, S("/kv"), &w->kv));
    EXPECT_OK(log_open(&(LogConfig){ .io = io,
                                     .dir = S("/journal"),
                                     .file_bytes = 16 << 20,
                                     .reserve_bytes = 256 << 10,
                                     .tail_cache_bytes = 4 << 20,
                                     .fatal = note_fatal },
                       &w->log));
    w->env = (struct service_env){ .io = io, .kv = w->kv, .log = w->log, .hub = &w->hub };
    EXPECT_OK(deliveries_open(&w->env, S("test"), &w->deliveries));
}

void world_open(struct test_world *w)
{
    memset(w, 0, sizeof *w);
    pthread_mutex_init(&w->lock, NULL);
    w->now_ms = WORLD_MS;
    w->disk = io_mem_open(1);
    w->faults = io_fault_open(io_mem_io(w->disk), 1);
    w->offer = (struct hub_objects){ .self = w,
                                     .begin = world_begin,
                                     .write = world_write,
                                     .finish = world_finish,
                                     .close = world_put_close };
    w->hub.objects = &w->offer;
    begin(w);
}

void world_close(struct test_world *w)
{
    deliveries_close(w->deliveries);
    log_close(w->log);
    kv_close(w->kv);
    io_fault_close(w->faults);
    io_mem_close(w->disk);
    CHECK(w->open_puts == 0);
    for (size_t i = 0; i < w->object_n; i++) {
        free(w->objects[i].bucket);
        free(w->objects[i].key);
        buf_done(&w->objects[i].bytes);
    }
    pthread_mutex_destroy(&w->lock);
}

void world_restart(struct test_world *w)
{
    io_fault_power_off(w->faults);
    deliveries_close(w->deliveries);
    log_close(w->log);
    kv_close(w->kv);
    io_fault_close(w->faults);
    struct io_mem *later = io_mem_crash(w->disk, (IoMemCrash){ .seed = 1, .keep = IO_KEEP_NONE });
    io_mem_close(w->disk);
    w->disk = later;
    w->faults = io_fault_open(io_mem_io(w->disk), 1);
    begin(w);
}

// ---- Deliveries

DeliveryConfig world_config(struct test_world *w, uint64_t id)
{
    struct arena *a = arena_open();
    (void)w;
    return (DeliveryConfig){
        .arena = a,
        .account = S("000000000000"),
        .region = S("us-east-1"),
        .name = S("clicks"),
        .arn = S("arn:aws:firehose:us-east-1:000000000000:deliverystream/clicks"),
        .service = S("firehose.amazonaws.com"),
        .id = id,
        .version = 1,
        .direct_shard = id,
        .kind = DELIVER_S3,
        .size_bytes = 1 << 20,
        .interval_ns = INT64_C(60) * 1000000000,
        .s3 = { .bucket = S("logs"), .size_bytes = 1 << 20, .interval_ns = 60000000000 },
    };
}

struct delivery *world_add(struct test_world *w, const DeliveryConfig *c)
{
    struct delivery *v;
    if (c->direct_shard != 0)
        EXPECT_OK(log_shard_add(w->log, c->direct_shard, DAY_NS));
    EXPECT_OK(delivery_add(w->deliveries, c, &v));
    return v;
}

struct waiting {
    struct log_append append;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool is_done;
    Err result;
};

static void on_done(struct log_append *append, Err e)
{
    struct waiting *x = (struct waiting *)append;
    pthread_mutex_lock(&x->lock);
    x->is_done = true;
    x->result = e;
    pthread_cond_signal(&x->ended);
    pthread_mutex_unlock(&x->lock);
}

static void append_some(struct test_world *w, struct delivery *v, const Str *data, size_t n)
{
    AUTO(arena) a = arena_open();
    struct waiting x = { .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER };
    LogRecord *records = arena_new(a, LogRecord, n);
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        records[i] = (LogRecord){ .shard = v->config->is.direct_shard, .data = data[i] };
        bytes += data[i].n;
    }
    x.append = (struct log_append){
        .records = records, .n = n, .places = arena_new(a, LogPlace, n), .done = on_done
    };
    EXPECT_OK(log_append(w->log, &x.append));
    pthread_mutex_lock(&x.lock);
    while (!x.is_done)
        pthread_cond_wait(&x.ended, &x.lock);
    pthread_mutex_unlock(&x.lock);
    EXPECT_OK(x.result);
    delivery_arrived(v, n, bytes);
}

void world_put(struct test_world *w, struct delivery *v, const Str *data, size_t n)
{
    for (size_t i = 0; i < n; i += LOG_APPEND_RECORDS_MAX)
        append_some(w, v, data + i, MIN(n - i, (size_t)LOG_APPEND_RECORDS_MAX));
}

void world_put_one(struct test_world *w, struct delivery *v, Str data)
{
    append_some(w, v, &data, 1);
}

void world_run(struct test_world *w)
{
    do
        (void)deliveries_start_due(w->deliveries);
    while (deliveries_wait(w->deliveries));
}

void world_advance(struct test_world *w, int64_t ms)
{
    w->now_ms += ms;
    set_clock(w);
    world_run(w);
}
