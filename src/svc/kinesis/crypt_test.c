// SPDX-License-Identifier: Apache-2.0
// Records that are encrypted at rest, on the real store and a disk in memory. The key service is
// played by a few lines here, which can be told to refuse.
#include "base/test.h"
#include "base/time.h"
#include "codec/blob_test.h"
#include "hub/hub.h"
#include "os/io_mem.h"
#include "svc/kinesis/crypt.h"

#include <semaphore.h>

extern const struct service kinesis_service;

#define KEY_ARN S("arn:aws:kms:us-east-1:000000000000:key/k")
#define OTHER_KEY_ARN S("arn:aws:kms:us-east-1:000000000000:key/other")

struct world {
    struct io_mem *disk;
    struct kv *kv;
    struct log *log;
    struct loop *loop;
    struct service_env env;
    struct hub hub;
    struct hub_keys keys;
    HubKeyFault fault; // what the key service answers
    size_t made, unwrapped;
    bool deletes; // the stream is deleted while a data key is made
    bool changes; // the stream has `next` when a data key has been made
    Str next;
    void *kinesis;
};

// ---- The key service

static Err run(struct world *w, struct arena *a, const char *op, const void *in, void *out,
               const struct api_error **ret_error);

static HubKeyAnswer answer_of(const struct world *w)
{
    return (HubKeyAnswer){ .fault = w->fault, .text = S("so it is") };
}

static Err play_find(void *self, struct call *c, Str name, Str *ret_arn, HubKeyAnswer *ret)
{
    (void)c;
    (void)name;
    *ret_arn = KEY_ARN;
    *ret = answer_of(self);
    return OK;
}

static void play_check(void *self, struct call *c, Str arn, Str action, HubKeyAnswer *ret)
{
    (void)c;
    EXPECT(str_eq(arn, KEY_ARN) || str_eq(arn, OTHER_KEY_ARN));
    EXPECT(str_eq(action, S("kms:GenerateDataKey")) || str_eq(action, S("kms:Decrypt")) ||
           str_eq(action, S("kms:DescribeKey")));
    *ret = answer_of(self);
}

// "Wrapped" is the key with every bit turned, and the context behind it.
static void play_make(void *self, struct call *c, Str arn, Str context,
                      unsigned char ret_plain[HUB_KEY_BYTES], Str *ret_wrapped, HubKeyAnswer *ret)
{
    struct world *w = self;
    char turned[HUB_KEY_BYTES];
    (void)arn;
    *ret = answer_of(w);
    w->made++;
    w->env.io->random(w->env.io, ret_plain, HUB_KEY_BYTES);
    for (size_t i = 0; i < HUB_KEY_BYTES; i++)
        turned[i] = (char)~ret_plain[i];
    *ret_wrapped = str_cat(c->arena, str_from(turned, sizeof turned), context);
    if (w->deletes) {
        struct kinesis_DeleteStream_in in = { .stream_name = S("clicks") };
        EXPECT_OK(run(w, c->arena, "DeleteStream", &in, NULL, NULL));
    }
    if (w->changes) {
        struct kinesis *k = w->kinesis;
        pthread_rwlock_wrlock(&k->lock);
        stream_set_key(k->sorted[0], w->next, w->next);
        pthread_rwlock_unlock(&k->lock);
    }
}

static void play_unwrap(void *self, struct call *c, Str arn, Str context, Str wrapped,
                        unsigned char ret_plain[HUB_KEY_BYTES], HubKeyAnswer *ret)
{
    struct world *w = self;
    (void)c;
    EXPECT(str_eq(arn, KEY_ARN) || str_eq(arn, OTHER_KEY_ARN));
    EXPECT_STR(context, str_skip(wrapped, HUB_KEY_BYTES));
    *ret = answer_of(w);
    w->unwrapped++;
    for (size_t i = 0; i < HUB_KEY_BYTES; i++)
        ret_plain[i] = (unsigned char)~wrapped.p[i];
}

// ---- The world

static void world_start(struct world *w)
{
    struct io *io = io_mem_io(w->disk);
    EXPECT_OK(kv_open(io, S("/kv"), &w->kv));
    EXPECT_OK(log_open(&(LogConfig){ .io = io,
                                     .dir = S("/journal"),
                                     .file_bytes = 16 << 20,
                                     .reserve_bytes = 256 << 10,
                                     .tail_cache_bytes = 1 << 20 },
                       &w->log));
    EXPECT_OK(loop_open_with(io, &w->loop));
    w->env = (struct service_env){
        .io = io, .kv = w->kv, .log = w->log, .loops = &w->loop, .loop_count = 1, .hub = &w->hub
    };
    EXPECT_OK(kinesis_service.open(&w->env, &w->kinesis));
    EXPECT_OK(log_ready(w->log));
}

static void world_open(struct world *w)
{
    *w = (struct world){ .disk = io_mem_open(1) };
    w->keys = (struct hub_keys){
        .self = w, .find = play_find, .check = play_check, .make = play_make, .unwrap = play_unwrap
    };
    w->hub.keys = &w->keys;
    world_start(w);
}

static void world_stop(struct world *w)
{
    if (kinesis_service.stop != NULL)
        kinesis_service.stop(w->kinesis);
    log_close(w->log);
    kinesis_service.close(w->kinesis);
    kv_close(w->kv);
    loop_close(w->loop);
}

static void world_close(struct world *w)
{
    world_stop(w);
    io_mem_close(w->disk);
}

struct one_call {
    struct call call; // first: `done` gets it
    struct world *w;
    Err result;
};

static void call_over(struct call *c, Err e)
{
    struct one_call *o = (struct one_call *)c;
    o->result = e;
    loop_stop(o->w->loop);
}

static const struct api_op *op_of(const char *name)
{
    for (size_t i = 0; i < kinesis_api.op_count; i++)
        if (str_eq(kinesis_api.ops[i].name, str_of(name)))
            return &kinesis_api.ops[i];
    CHECK(false);
}

// Runs an operation to its end, also what of it is for the pool or waits for the log.
static Err run(struct world *w, struct arena *a, const char *op, const void *in, void *out,
               const struct api_error **ret_error)
{
    struct one_call *o = arena_new(a, struct one_call, 1);
    o->w = w;
    o->call = (struct call){ .state = w->kinesis,
                             .arena = a,
                             .loop = w->loop,
                             .op = op_of(op),
                             .account = S("000000000000"),
                             .caller = S("000000000000"),
                             .region = S("us-east-1"),
                             .principal = S("arn:aws:iam::000000000000:root"),
                             .request_id = S("id"),
                             .now_ns = w->env.io->wall_ns(w->env.io),
                             .done = call_over };
    Err e = o->call.op->run(&o->call, in, out);
    if (e.kind == ERR_WAIT && o->call.work != NULL)
        e = o->call.work(&o->call, o->call.work_self);
    if (e.kind == ERR_WAIT) {
        loop_run(w->loop);
        e = o->result;
    }
    if (ret_error != NULL)
        *ret_error = o->call.error;
    return e;
}

static void create(struct world *w, struct arena *a)
{
    struct kinesis_CreateStream_in in = { .stream_name = S("clicks"),
                                          .shard_count = 1,
                                          .has_shard_count = true };
    EXPECT_OK(run(w, a, "CreateStream", &in, NULL, NULL));
}

static void encrypt(struct world *w, struct arena *a)
{
    struct kinesis_StartStreamEncryption_in in = { .stream_name = S("clicks"),
                                                   .encryption_type = S("KMS"),
                                                   .key_id = S("alias/aws/kinesis") };
    EXPECT_OK(run(w, a, "StartStreamEncryption", &in, NULL, NULL));
}

static void decrypt(struct world *w, struct arena *a)
{
    struct kinesis_StopStreamEncryption_in in = { .stream_name = S("clicks"),
                                                  .encryption_type = S("KMS"),
                                                  .key_id = S("alias/aws/kinesis") };
    EXPECT_OK(run(w, a, "StopStreamEncryption", &in, NULL, NULL));
}

static Err put(struct world *w, struct arena *a, Str data, Str *ret_type,
               const struct api_error **ret_error)
{
    struct kinesis_PutRecord_in in = { .stream_name = S("clicks"),
                                       .partition_key = S("key"),
                                       .data = blob_undecoded(a, data) };
    struct kinesis_PutRecord_out out = { 0 };
    TRY(run(w, a, "PutRecord", &in, &out, ret_error));
    *ret_type = out.encryption_type;
    return OK;
}

static Err get(struct world *w, struct arena *a, kinesis_RecordList *ret,
               const struct api_error **ret_error)
{
    struct kinesis_GetShardIterator_in at = { .stream_name = S("clicks"),
                                              .shard_id = S("shardId-000000000000"),
                                              .shard_iterator_type = S("TRIM_HORIZON") };
    struct kinesis_GetShardIterator_out iterator = { 0 };
    EXPECT_OK(run(w, a, "GetShardIterator", &at, &iterator, NULL));
    struct kinesis_GetRecords_in in = { .shard_iterator = iterator.shard_iterator, .limit = 100 };
    struct kinesis_GetRecords_out out = { 0 };
    TRY(run(w, a, "GetRecords", &in, &out, ret_error));
    *ret = out.records;
    return OK;
}

// What lies in the log.
static LogBatch stored(struct world *w, struct arena *a)
{
    struct kinesis *k = w->kinesis;
    LogRead read = { .shard = k->sorted[0]->shards[0]->id,
                     .max_records = 100,
                     .max_bytes = 1 << 20 };
    LogBatch batch = { 0 };
    EXPECT_OK(log_read(w->log, a, &read, &batch));
    return batch;
}

struct appending {
    struct log_append append; // first: one is the other
    sem_t over;
};

static void append_over(struct log_append *append, Err e)
{
    EXPECT_OK(e);
    sem_post(&((struct appending *)append)->over);
}

static void append(struct world *w, const LogRecord *record)
{
    LogPlace place = { 0 };
    struct appending one = {
        .append = { .records = record, .n = 1, .places = &place, .done = append_over }
    };
    sem_init(&one.over, 0, 0);
    EXPECT_OK(log_append(w->log, &one.append));
    while (sem_wait(&one.over) != 0)
        continue;
    sem_destroy(&one.over);
}

TEST(what_is_put_into_an_encrypted_stream_is_read_as_it_was_and_stored_otherwise)
{
    struct world w;
    world_open(&w);
    kinesis_RecordList records;
    Str type;
    create(&w, a);
    EXPECT_OK(put(&w, a, S("plain data"), &type, NULL));
    EXPECT(type.p == NULL);
    encrypt(&w, a);
    EXPECT_OK(put(&w, a, S("secret data"), &type, NULL));
    EXPECT_STR(S("KMS"), type);
    EXPECT_OK(put(&w, a, S("secret data"), &type, NULL));
    EXPECT_OK(put(&w, a, S(""), &type, NULL));
    decrypt(&w, a);
    EXPECT_OK(put(&w, a, S("plain again"), &type, NULL));
    EXPECT(type.p == NULL);

    static const char *const want[] = { "plain data", "secret data", "secret data", "",
                                        "plain again" };
    EXPECT_OK(get(&w, a, &records, NULL));
    EXPECT_INT(5, records.n);
    for (size_t i = 0; i < 5; i++) {
        EXPECT_STR(str_of(want[i]), records.at[i].data);
        EXPECT((records.at[i].encryption_type.p != NULL) == (i >= 1 && i <= 3));
    }
    LogBatch batch = stored(&w, a);
    EXPECT_STR(S("plain data"), batch.at[0].data);
    EXPECT(!str_eq(batch.at[1].data, S("secret data")));
    EXPECT(batch.at[1].data.n == sizeof "secret data" - 1); // no longer than it was
    EXPECT(!str_eq(batch.at[1].data, batch.at[2].data));    // no nonce twice
    EXPECT(!str_eq(batch.at[1].hash_key, batch.at[2].hash_key));
    for (size_t i = 0; i < 5; i++) { // the partition key is hidden, and as long as it was
        EXPECT_STR(S("key"), records.at[i].partition_key);
        EXPECT(str_eq(batch.at[i].key, S("key")) == (i == 0 || i == 4));
        EXPECT_INT(3, batch.at[i].key.n);
    }
    EXPECT_INT(1, w.made); // one data key for all
    world_close(&w);
}

TEST(encrypted_records_are_readable_after_a_restart_and_new_ones_get_a_new_data_key)
{
    struct world w;
    world_open(&w);
    kinesis_RecordList records;
    Str type;
    create(&w, a);
    encrypt(&w, a);
    EXPECT_OK(put(&w, a, S("before"), &type, NULL));
    world_stop(&w);
    world_start(&w);
    EXPECT_OK(put(&w, a, S("after"), &type, NULL));
    EXPECT_STR(S("KMS"), type);
    EXPECT_OK(get(&w, a, &records, NULL));
    EXPECT_INT(2, records.n);
    EXPECT_STR(S("before"), records.at[0].data);
    EXPECT_STR(S("after"), records.at[1].data);
    EXPECT_INT(2, w.made);
    EXPECT_INT(1, w.unwrapped); // the one of the life before
    world_close(&w);
}

// As versions before sealed: the row of the data key has version 1, the partition key is bound.
TEST(records_whose_partition_keys_are_plain_are_read)
{
    struct world w;
    world_open(&w);
    kinesis_RecordList records;
    Str type, row;
    create(&w, a);
    encrypt(&w, a);
    EXPECT_OK(put(&w, a, S("new"), &type, NULL));
    struct kinesis *k = w.kinesis;
    const struct stream *s = k->sorted[0];
    unsigned char plain[HUB_KEY_BYTES] = { 9 };
    char turned[HUB_KEY_BYTES + 64], text[256];
    for (size_t i = 0; i < HUB_KEY_BYTES; i++)
        turned[i] = (char)~plain[i];
    Str wrapped =
        str_cat(a, str_from(turned, HUB_KEY_BYTES), str_cat(a, S("aws:kinesis:arn="), s->arn));
    base64_encode(text, wrapped.p, wrapped.n);
    row = str_fmt(a, "{\"version\":1,\"key\":\"%.*s\",\"wrapped\":\"%.*s\",\"created_ms\":1}",
                  FMT(KEY_ARN), (int)base64_encoded_bytes(wrapped.n), text);
    {
        AUTO(kv_txn) tx = kv_write(k->keys);
        EXPECT_OK(kv_put(tx, S("000000000000/us-east-1/clicks/00000000000000ff"), row));
        EXPECT_OK(kv_commit(tx));
    }
    AUTO(data_key) old = data_key_new(255, KEY_ARN, plain, 0, false);
    LogRecord record = { .shard = s->shards[0]->id,
                         .key = S("old key"),
                         .data = blob_of(S("old data")) };
    EXPECT_OK(data_key_seal(a, old, &record, 1));
    EXPECT_STR(S("old key"), record.key);
    append(&w, &record);
    EXPECT_OK(get(&w, a, &records, NULL));
    EXPECT_INT(2, records.n);
    EXPECT_STR(S("old key"), records.at[1].partition_key);
    EXPECT_STR(S("old data"), records.at[1].data);
    world_close(&w);
}

TEST(a_key_that_cannot_be_used_refuses_puts_and_reads_with_its_own_error)
{
    static const struct {
        HubKeyFault fault;
        const struct api_error *error;
    } cases[] = { { HUB_KEY_DISABLED, &kinesis_KMSDisabledException },
                  { HUB_KEY_PENDING_DELETION, &kinesis_KMSInvalidStateException },
                  { HUB_KEY_NOT_FOUND, &kinesis_KMSNotFoundException },
                  { HUB_KEY_DENIED, &kinesis_KMSAccessDeniedException } };
    struct world w;
    world_open(&w);
    kinesis_RecordList records;
    Str type;
    create(&w, a);
    encrypt(&w, a);
    EXPECT_OK(put(&w, a, S("x"), &type, NULL));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct api_error *error = NULL;
        w.fault = cases[i].fault;
        EXPECT_ERR(ERR_FAULT, put(&w, a, S("y"), &type, &error));
        EXPECT(error == cases[i].error);
        EXPECT_ERR(ERR_FAULT, get(&w, a, &records, &error));
        EXPECT(error == cases[i].error);
    }
    w.fault = HUB_KEY_GOOD;
    EXPECT_OK(get(&w, a, &records, NULL));
    EXPECT_INT(1, records.n); // nothing of what was refused
    world_close(&w);
}

TEST(a_put_goes_on_with_the_key_that_its_stream_had_while_another_took_its_place)
{
    struct world w;
    world_open(&w);
    const Str next[] = { OTHER_KEY_ARN, KEY_ARN, { 0 } }; // the last: encryption is stopped
    kinesis_RecordList records;
    Str type;
    create(&w, a);
    encrypt(&w, a);
    w.changes = true;
    for (size_t i = 0; i < 3; i++) {
        w.next = next[i];
        EXPECT_OK(put(&w, a, S("secret data"), &type, NULL));
        EXPECT_STR(S("KMS"), type);
        EXPECT_INT(i + 1, w.made); // none of the key that the stream had no more
    }
    EXPECT_OK(put(&w, a, S("plain data"), &type, NULL));
    EXPECT(type.p == NULL);
    EXPECT_OK(get(&w, a, &records, NULL));
    EXPECT_INT(4, records.n);
    for (size_t i = 0; i < 4; i++)
        EXPECT_STR(i < 3 ? S("secret data") : S("plain data"), records.at[i].data);
    world_close(&w);
}

static Err open_stored(struct world *w, struct arena *a, struct stream *s, LogBatch *batch,
                       const struct api_error **ret_error)
{
    struct call c = { .state = w->kinesis, .arena = a, .account = s->account };
    Err e = crypt_open(&c, s, batch->at, batch->n, true);
    *ret_error = c.error;
    return e;
}

// Between the reading of records and their opening their stream may go, and its data keys with it.
TEST(records_whose_stream_is_deleted_while_they_are_read_are_those_of_no_stream)
{
    struct world w;
    world_open(&w);
    Str type;
    const struct api_error *error;
    create(&w, a);
    encrypt(&w, a);
    EXPECT_OK(put(&w, a, S("secret data"), &type, NULL));
    world_stop(&w);
    world_start(&w); // which has not unwrapped it
    struct kinesis *k = w.kinesis;
    AUTO(stream) s = stream_ref(k->sorted[0]);
    LogBatch batch = stored(&w, a);
    struct kinesis_DeleteStream_in in = { .stream_name = S("clicks") };
    EXPECT_OK(run(&w, a, "DeleteStream", &in, NULL, NULL));
    EXPECT_ERR(ERR_FAULT, open_stored(&w, a, s, &batch, &error));
    EXPECT(error == &kinesis_ResourceNotFoundException);
    EXPECT_INT(0, w.unwrapped);
    world_close(&w);
}

TEST(a_stream_that_is_deleted_while_a_data_key_is_made_for_it_leaves_none)
{
    struct world w;
    world_open(&w);
    Str type;
    size_t left;
    const struct api_error *error;
    create(&w, a);
    encrypt(&w, a);
    w.deletes = true;
    EXPECT_ERR(ERR_FAULT, put(&w, a, S("secret data"), &type, &error));
    EXPECT(error == &kinesis_ResourceNotFoundException);
    EXPECT_INT(1, w.made);
    struct kinesis *k = w.kinesis;
    {
        AUTO(kv_txn) tx = kv_read(k->keys);
        EXPECT_OK(kv_count(tx, S(""), &left));
    }
    EXPECT_INT(0, left);
    world_close(&w);
}

TEST(a_data_key_that_is_missing_while_its_stream_is_there_is_damage)
{
    struct world w;
    world_open(&w);
    Str type;
    const struct api_error *error;
    create(&w, a);
    encrypt(&w, a);
    EXPECT_OK(put(&w, a, S("secret data"), &type, NULL));
    world_stop(&w);
    world_start(&w);
    struct kinesis *k = w.kinesis;
    LogBatch batch = stored(&w, a);
    {
        AUTO(kv_txn) tx = kv_write(k->keys);
        EXPECT_OK(crypt_del_keys(k, tx, k->sorted[0]));
        EXPECT_OK(kv_commit(tx));
    }
    EXPECT_ERR(ERR_CORRUPT, open_stored(&w, a, k->sorted[0], &batch, &error));
    EXPECT(error == NULL);
    world_close(&w);
}

TEST(a_batch_is_encrypted_whole)
{
    struct world w;
    world_open(&w);
    kinesis_RecordList records;
    create(&w, a);
    encrypt(&w, a);
    struct kinesis_PutRecords_in in = { .stream_name = S("clicks") };
    struct kinesis_PutRecords_out out = { 0 };
    in.records.n = 50;
    in.records.at = arena_new(a, kinesis_PutRecordsRequestEntry, 50);
    for (size_t i = 0; i < 50; i++) // some in CBOR, some in JSON
        in.records.at[i] = (kinesis_PutRecordsRequestEntry){
            .partition_key = str_fmt(a, "k%zu", i),
            .data = i % 3 == 0 ? blob_of(str_fmt(a, "data %zu", i))
                               : blob_undecoded(a, str_fmt(a, "data %zu", i)),
            .explicit_hash_key = i % 2 == 0 ? S("12345") : (Str){ 0 },
        };
    EXPECT_OK(run(&w, a, "PutRecords", &in, &out, NULL));
    EXPECT_STR(S("KMS"), out.encryption_type);
    EXPECT_INT(0, out.failed_record_count);
    EXPECT_OK(get(&w, a, &records, NULL));
    EXPECT_INT(50, records.n);
    for (size_t i = 0; i < 50; i++) {
        EXPECT_STR(str_fmt(a, "data %zu", i), records.at[i].data);
        EXPECT_STR(in.records.at[i].partition_key, records.at[i].partition_key);
        EXPECT(data_key_has_sealed(&stored(&w, a).at[i]));
    }
    world_close(&w);
}

TEST(data_keys_go_with_their_stream)
{
    struct world w;
    world_open(&w);
    Str type;
    size_t n = 0;
    create(&w, a);
    encrypt(&w, a);
    EXPECT_OK(put(&w, a, S("x"), &type, NULL));
    struct kinesis *k = w.kinesis;
    {
        AUTO(kv_txn) tx = kv_read(k->keys);
        EXPECT_OK(kv_count(tx, S(""), &n));
        EXPECT_INT(1, n);
    }
    struct kinesis_DeleteStream_in in = { .stream_name = S("clicks") };
    EXPECT_OK(run(&w, a, "DeleteStream", &in, NULL, NULL));
    {
        AUTO(kv_txn) tx = kv_read(k->keys);
        EXPECT_OK(kv_count(tx, S(""), &n));
        EXPECT_INT(0, n);
    }
    world_close(&w);
}

TEST(encryption_is_started_so_often_a_day_only)
{
    Turns t = { 0 };
    for (int64_t i = 0; i < STREAM_TURNS_MAX; i++)
        EXPECT(stream_take_turn(&t, 1000 + i));
    EXPECT(!stream_take_turn(&t, 1000 + 86399999));
    EXPECT(stream_take_turn(&t, 1000 + 86400000)); // the first is a day ago
    EXPECT(!stream_take_turn(&t, 1000 + 86400000));
    EXPECT_INT(STREAM_TURNS_MAX, t.n);
}
