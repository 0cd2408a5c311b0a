// SPDX-License-Identifier: Apache-2.0
#include "delivery/test_world.h"
#include "base/test.h"

#include <sched.h>
#include <stdlib.h>

#define DAY_NS (INT64_C(86400) * 1000000000)

// ---- The bucket

struct hub_put {
    struct test_world *w;
    struct buf bytes;
    struct hub_with *with; // NULL: nothing
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

static void world_join(struct hub_put *p, struct hub_with *w)
{
    p->with = p->w->joins ? w : NULL;
}

// The object itself, and what is to be committed with it.
static Err keep_in_kv(struct hub_put *p, Str key)
{
    struct kv_table *kept;
    TRY(kv_table_open(p->w->kv, S("world.objects"), &kept));
    AUTO(kv_txn) tx = kv_write(kept);
    TRY(kv_put(tx, key, buf_str(&p->bytes)));
    TRY(p->with->write(p->with, tx));
    TRY(kv_commit(tx));
    p->with->committed = true;
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
    if (w->denied.n > 0 && str_starts(key, w->denied)) {
        *ret = (HubObjectAnswer){ .fault = HUB_OBJECT_DENIED,
                                  .code = S("AccessDenied"),
                                  .text = S("Access Denied") };
        return OK;
    }
    if (p->with != NULL)
        return keep_in_kv(p, key);
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

static void add_kept(struct test_world *w, Str prefix, struct buf *all)
{
    struct kv_table *kept;
    EXPECT_OK(kv_table_open(w->kv, S("world.objects"), &kept));
    AUTO(kv_txn) tx = kv_read(kept);
    struct kv_scan s = kv_scan_start(tx, prefix, S(""));
    while (kv_scan_next(&s))
        buf_add(all, s.value);
    EXPECT_OK(s.err);
}

Str world_content(struct test_world *w, struct arena *a, Str prefix)
{
    AUTO_BUF(all);
    if (w->joins)
        add_kept(w, prefix, &all);
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

// ---- The stream

static WorldShard *shard_of(struct test_world *w, uint64_t shard)
{
    for (size_t i = 0; i < w->shard_n; i++)
        if (w->shards[i].shard == shard)
            return &w->shards[i];
    return NULL;
}

static Err world_look(void *self, struct arena *a, const HubActor *as, Str arn,
                      HubSourceStream *ret)
{
    struct test_world *w = self;
    (void)as;
    (void)arn;
    *ret = (HubSourceStream){ .fault = w->no_stream ? HUB_SOURCE_NOT_FOUND : HUB_SOURCE_GOOD,
                              .text = S("no such stream") };
    atomic_fetch_add(&w->looks, 1);
    if (w->no_stream)
        return OK;
    ret->shards = arena_new(a, HubSourceShard, w->shard_n + 1);
    for (size_t i = 0; i < w->shard_n; i++) {
        const WorldShard *x = &w->shards[i];
        LogSpan span;
        TRY(log_span(w->log, x->shard, &span));
        ret->shards[ret->n++] =
            (HubSourceShard){ .id = str_fmt(a, "shardId-%012llu", (unsigned long long)x->shard),
                              .shard = x->shard,
                              .parents = { x->parents[0], x->parents[1] },
                              .first = span.first,
                              .next = span.next,
                              .ended = x->ended };
    }
    return OK;
}

static Err world_read(void *self, struct arena *a, const HubActor *as, Str arn, uint64_t shard,
                      uint64_t from, size_t max_bytes, HubSourceBatch *ret)
{
    struct test_world *w = self;
    const WorldShard *x = shard_of(w, shard);
    LogBatch batch;
    (void)as;
    (void)arn;
    *ret = (HubSourceBatch){ .next = from, .gone = x == NULL };
    atomic_fetch_add(&w->reads, 1);
    if (w->no_stream)
        ret->fault = HUB_SOURCE_NOT_FOUND;
    if (x == NULL || w->no_stream)
        return OK;
    TRY(log_read(
        w->log, a,
        &(LogRead){ .shard = shard, .from = from, .max_records = 1000, .max_bytes = max_bytes },
        &batch));
    ret->at = arena_new(a, HubSourceRecord, batch.n + 1);
    for (size_t i = 0; i < batch.n; i++)
        ret->at[ret->n++] = (HubSourceRecord){ .position = batch.at[i].position,
                                               .arrival_ms = batch.at[i].arrival_ms,
                                               .key = batch.at[i].key,
                                               .data = batch.at[i].data };
    ret->next = batch.next;
    ret->more = batch.more;
    ret->ended = x->ended && !batch.more;
    return OK;
}

static Err world_find_time(void *self, Str arn, uint64_t shard, int64_t arrival_ms, uint64_t *ret)
{
    struct test_world *w = self;
    (void)arn;
    return log_find_time(w->log, shard, arrival_ms, ret);
}

static Str world_number(void *self, struct arena *a, Str arn, uint64_t shard, uint64_t position,
                        int64_t arrival_ms)
{
    (void)self;
    (void)arn;
    (void)position;
    (void)arrival_ms;
    return str_fmt(a, "number-in-%llu", (unsigned long long)shard);
}

struct world_watch {
    struct log_watch log; // first
    struct hub_watch *hub;
    struct test_world *w;
};

static void world_changed(struct log_watch *x)
{
    struct world_watch *watch = (struct world_watch *)x;
    watch->hub->changed(watch->hub);
    atomic_fetch_add(&watch->w->told, 1);
}

static Err world_watch(void *self, Str arn, uint64_t shard, struct hub_watch *hub)
{
    struct test_world *w = self;
    struct world_watch *x = xalloc(sizeof *x);
    (void)arn;
    x->hub = hub;
    x->w = w;
    x->log = (struct log_watch){ .shard = shard, .changed = world_changed };
    Err e = log_watch(w->log, &x->log);
    hub->held = x;
    if (e.kind != ERR_NONE)
        free(x);
    else
        atomic_fetch_add(&shard_of(w, shard)->watches, 1);
    return e;
}

static void world_unwatch(void *self, struct hub_watch *hub)
{
    struct test_world *w = self;
    struct world_watch *x = hub->held;
    log_unwatch(w->log, &x->log);
    WorldShard *shard = shard_of(w, x->log.shard);
    if (shard != NULL)
        atomic_fetch_sub(&shard->watches, 1);
    free(x);
}

void world_shard(struct test_world *w, uint64_t shard, uint64_t parent, uint64_t adjacent)
{
    EXPECT_OK(log_shard_add(w->log, shard, DAY_NS));
    w->shards[w->shard_n++] = (WorldShard){ .shard = shard, .parents = { parent, adjacent } };
}

void world_end_shard(struct test_world *w, uint64_t shard)
{
    LogPlace end;
    int told = atomic_load(&w->told), watches = atomic_load(&shard_of(w, shard)->watches);
    shard_of(w, shard)->ended = true; // nothing runs
    EXPECT_OK(log_shards_end(w->log, &shard, 1, &end));
    while (atomic_load(&w->told) < told + watches)
        sched_yield();
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
                                     .join = world_join,
                                     .finish = world_finish,
                                     .close = world_put_close };
    w->stream = (struct hub_source){ .self = w,
                                     .look = world_look,
                                     .read = world_read,
                                     .find_time = world_find_time,
                                     .number = world_number,
                                     .watch = world_watch,
                                     .unwatch = world_unwatch };
    w->hub.objects = &w->offer;
    w->hub.kinesis = &w->stream;
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
    for (size_t i = 0; i < w->shard_n; i++)
        EXPECT_OK(log_shard_add(w->log, w->shards[i].shard, DAY_NS));
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

static size_t append_some(struct test_world *w, uint64_t shard, const Str *data, size_t n)
{
    AUTO(arena) a = arena_open();
    struct waiting x = { .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER };
    LogRecord *records = arena_new(a, LogRecord, n);
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        records[i] = (LogRecord){ .shard = shard, .data = blob_of(data[i]), .key = S("k") };
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
    return bytes;
}

void world_put(struct test_world *w, struct delivery *v, const Str *data, size_t n)
{
    for (size_t i = 0; i < n; i += LOG_APPEND_RECORDS_MAX) {
        size_t some = MIN(n - i, (size_t)LOG_APPEND_RECORDS_MAX);
        size_t bytes = append_some(w, v->config->is.direct_shard, data + i, some);
        delivery_arrived(v, some, bytes);
    }
}

void world_put_one(struct test_world *w, struct delivery *v, Str data)
{
    world_put(w, v, &data, 1);
}

void world_put_shard(struct test_world *w, uint64_t shard, Str data)
{
    int told = atomic_load(&w->told), watches = atomic_load(&shard_of(w, shard)->watches);
    (void)append_some(w, shard, &data, 1);
    while (atomic_load(&w->told) < told + watches) // on a thread of the log, a little later
        sched_yield();
}

void world_run(struct test_world *w)
{
    uint64_t before;
    do {
        before = deliveries_wait(w->deliveries);
        (void)deliveries_start_due(w->deliveries);
    } while (deliveries_wait(w->deliveries) != before);
}

void world_advance(struct test_world *w, int64_t ms)
{
    w->now_ms += ms;
    set_clock(w);
    world_run(w);
}
