// SPDX-License-Identifier: Apache-2.0
// Lambda: records go to a function in calls of limited size, and what it says replaces them
// (Firehose developer guide, "Data transformation", and what error records of AWS hold).
//
// A call that fails is made again, with a new invocation id and the same records; a reply that
// came is final, whatever it says. Codes and texts of failures are those of AWS's error records.
//
// Several calls of a batch are under way at once ("Quotas": five of a shard, ten for Splunk). The
// lane's thread makes calls itself and takes replies in the order of the records; threads that have
// nothing else to do help it. Whether and when one of them comes changes nothing but the time.
#include "base/time.h"
#include "codec/base64.h"
#include "codec/hash.h"
#include "codec/json.h"
#include "delivery/process_priv.h"
#include "hub/hub.h"
#include "os/io.h"
#include "os/loop.h"

#include <pthread.h>
#include <stdlib.h>

enum {
    CALL_SECONDS_MAX = 300,       // a function's time (quotas)
    CALL_BYTES_DEFAULT = 1 << 20, // BufferSizeInMBs, if it is not given
    RETRIES_DEFAULT = 3,
    RETRY_SECONDS_MAX = 10,
    FRAME_BYTES = 1024,  // of a request, around its records
    RECORD_BYTES = 1024, // of a record's own members, but for its partition key
    UUID_BYTES = 16,
    AT_ONCE = 5, // calls of a delivery
    AT_ONCE_SPLUNK = 10,
};

static const char error_type[] = "processing-failed";

// One call: some records of the batch.
typedef struct Call {
    struct processing *p;
    DeliveryBatch *b;
    const DeliveryRecord *at;
    size_t n;
    Str *ids;            // in the batch's arena
    struct arena *arena; // of everything below
    int64_t attempts;
    Str reply;
    Str code, message; // it has failed for good
    LambdaVerdict *verdicts;
    bool is_done; // under the lock
} Call;

// Those of a batch. Helpers that come late find it on the heap, and nothing to do.
struct calls {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned refs;
    Call *at;
    size_t n, next, taken; // begun up to there, taken into the batch up to there
    size_t at_once, running;
    Err failed; // the first; nothing is begun any more
    struct helper {
        struct task task; // first
        struct calls *calls;
    } helpers[AT_ONCE_SPLUNK];
};

// ---- The request

static Str new_uuid(struct io *io, struct arena *a)
{
    unsigned char b[UUID_BYTES];
    io->random(io, b, sizeof b);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40); // version 4, RFC 9562
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    Str hex = hex_str(a, b, sizeof b);
    return str_fmt(a, "%.8s-%.4s-%.4s-%.4s-%.12s", hex.p, hex.p + 8, hex.p + 12, hex.p + 16,
                   hex.p + 20);
}

static void put_text(struct event_writer *w, Str key, Str value)
{
    w->ops->key(w, key);
    w->ops->text(w, value.p != NULL && str_utf8_count(value) != SIZE_MAX ? value : S(""));
}

static void put_number(struct event_writer *w, Str key, int64_t value)
{
    w->ops->key(w, key);
    w->ops->integer(w, value);
}

static void put_stream(const Call *c, struct event_writer *w, struct arena *tmp,
                       const DeliveryRecord *r)
{
    const DeliveryConfig *config = c->p->config;
    const struct hub_source *source = c->p->env->hub != NULL ? c->p->env->hub->kinesis : NULL;
    bool known = source != NULL && r->shard < c->b->shard_count;
    Str number = known ? source->number(source->self, tmp, config->source_arn,
                                        c->b->shards[r->shard], r->position, r->arrival_ms)
                       : S("");
    w->ops->key(w, S("kinesisRecordMetadata"));
    w->ops->map(w);
    put_text(w, S("sequenceNumber"), number);
    put_text(w, S("subsequenceNumber"), str_fmt(tmp, "%u", r->sub));
    put_text(w, S("partitionKey"), r->key);
    put_text(w, S("shardId"), r->shard < c->b->shard_count ? c->b->shard_ids[r->shard] : S(""));
    put_number(w, S("approximateArrivalTimestamp"), r->arrival_ms);
    w->ops->map_end(w);
}

static Err write_request(const Call *c, struct buf *out)
{
    AUTO(arena) tmp = arena_open();
    const DeliveryConfig *config = c->p->config;
    struct event_writer w;
    json_writer_init(&w, out);
    w.ops->map(&w);
    put_text(&w, S("invocationId"), new_uuid(c->p->env->io, tmp));
    put_text(&w, S("deliveryStreamArn"), config->arn);
    if (config->direct_shard == 0)
        put_text(&w, S("sourceKinesisStreamArn"), config->source_arn);
    put_text(&w, S("region"), config->region);
    w.ops->key(&w, S("records"));
    w.ops->list(&w);
    for (size_t i = 0; i < c->n; i++) {
        ArenaMark mark = arena_mark(tmp);
        w.ops->map(&w);
        put_text(&w, S("recordId"), c->ids[i]);
        put_number(&w, S("approximateArrivalTimestamp"), c->at[i].arrival_ms);
        w.ops->key(&w, S("data"));
        w.ops->bytes(&w, c->at[i].data);
        if (config->direct_shard == 0)
            put_stream(c, &w, tmp, &c->at[i]);
        w.ops->map_end(&w);
        arena_rewind(tmp, mark);
    }
    w.ops->list_end(&w);
    w.ops->map_end(&w);
    return buf_err(out);
}

// Opaque to the function; the same in each attempt, and different within a batch.
static void name_records(Call *c)
{
    c->ids = arena_new(c->b->arena, Str, c->n);
    for (size_t i = 0; i < c->n; i++)
        c->ids[i] = str_fmt(c->b->arena, "%020llu%06u%06u%06zu",
                            (unsigned long long)c->at[i].position, c->at[i].shard, c->at[i].sub, i);
}

// ---- The reply

static const Str function_error = S_INIT("Lambda.FunctionError");

static LambdaVerdict failed(Str code, Str message)
{
    return (LambdaVerdict){ .result = LAMBDA_FAILED, .code = code, .message = message };
}

static LambdaVerdict *all_failed(struct arena *a, size_t n, Str code, Str message)
{
    LambdaVerdict *v = arena_new(a, LambdaVerdict, n);
    for (size_t i = 0; i < n; i++)
        v[i] = failed(code, message);
    return v;
}

static bool read_keys(struct arena *a, const JsonValue *said, LambdaVerdict *v)
{
    const JsonValue *map = json_find(json_find(said, S("metadata")), S("partitionKeys"));
    if (map == NULL || map->kind == JSON_NULL)
        return true;
    if (map->kind != JSON_MAP || map->n > DELIVERY_KEYS_MAX)
        return false;
    DeliveryPair *keys = arena_new(a, DeliveryPair, map->n);
    for (size_t i = 0; i < map->n; i++) {
        const JsonValue *value = &map->items[i];
        bool usable = value->kind == JSON_STRING || value->kind == JSON_NUMBER;
        if (!usable || value->text.n == 0)
            return false;
        keys[i] = (DeliveryPair){ .name = map->items[i].key, .value = value->text };
    }
    v->keys = keys;
    v->key_count = (uint32_t)map->n;
    return true;
}

// What the function said of one record. False: the whole reply is not in the required form.
static bool read_verdict(struct arena *a, const JsonValue *said, LambdaVerdict *ret)
{
    Str result = json_text(said, S("result")), data = json_text(said, S("data"));
    if (str_eq(result, S("Dropped"))) {
        *ret = (LambdaVerdict){ .result = LAMBDA_DROPPED };
        return true;
    }
    if (str_eq(result, S("ProcessingFailed"))) {
        *ret =
            failed(S("Lambda.ProcessingFailedStatus"), S("ProcessingFailed status set for record"));
        return true;
    }
    if (!str_eq(result, S("Ok")))
        return false;
    if (data.p == NULL) {
        *ret = failed(S("Lambda.InvalidReturnFormat"),
                      S("The data field cannot be null when the SourceType is DirectPut or "
                        "KinesisStreamAsSource and processing result is Ok. The value field cannot "
                        "be null when the SourceType is MSKAsSource and processing result is Ok."));
        return true;
    }
    char *bytes = arena_try_raw(a, base64_decoded_max(data.n), 1);
    Base64Result decoded = { .fault = BASE64_LENGTH };
    if (bytes != NULL)
        decoded = base64_decode(bytes, data.p, data.n);
    *ret = (LambdaVerdict){ .result = LAMBDA_OK, .data = str_from(bytes, decoded.n) };
    if (decoded.fault != BASE64_GOOD)
        return false;
    if (!read_keys(a, said, ret))
        *ret = failed(S("DynamicPartitioning.MetadataExtractionFailed"),
                      S("partitionKeys values must not be null or empty"));
    return true;
}

// The place of an id among those that were sent, or n. Functions keep the order, mostly.
static size_t place_of(const Str *ids, size_t n, Str id, size_t hint)
{
    if (hint < n && str_eq(ids[hint], id))
        return hint;
    for (size_t i = 0; i < n; i++)
        if (str_eq(ids[i], id))
            return i;
    return n;
}

LambdaVerdict *lambda_verdicts(struct arena *a, Str reply, const Str *ids, size_t n)
{
    JsonValue *v = NULL;
    if (json_parse(a, reply, &v).kind != ERR_NONE)
        return all_failed(a, n, S("Lambda.JsonProcessingException"),
                          S("There was an error parsing returned records from the Lambda function. "
                            "Ensure that the returned records follow the status model required by "
                            "Firehose."));
    LambdaVerdict *verdicts = all_failed(a, n, S("Lambda.MissingRecordId"),
                                         S("One or more record Ids were not returned. Ensure that "
                                           "the Lambda function returns all received record Ids."));
    bool *seen = arena_new(a, bool, n);
    const JsonValue *records = json_find(v, S("records"));
    for (size_t i = 0; records != NULL && records->kind == JSON_LIST && i < records->n; i++) {
        size_t at = place_of(ids, n, json_text(&records->items[i], S("recordId")), i);
        if (at == n)
            continue; // of no record of ours: nothing is about it
        if (seen[at]) {
            verdicts[at] =
                failed(S("Lambda.DuplicatedRecordId"),
                       S("Multiple records were returned with the same record Id. Ensure "
                         "that the Lambda function returns a unique record Id for each "
                         "record."));
            continue;
        }
        seen[at] = true;
        if (!read_verdict(a, &records->items[i], &verdicts[at]))
            return all_failed(a, n, function_error,
                              S("Check your function and make sure the output is in required "
                                "format. In addition to that, make sure the processed records "
                                "contain valid result status of Dropped, Ok, or ProcessingFailed"));
    }
    return verdicts;
}

// ---- Calling

// What a call's failure is called, and whether trying again may help.
static bool explain(const HubInvokeAnswer *answer, Str *ret_code, Str *ret_message)
{
    switch (answer->fault) {
    case HUB_INVOKE_NOT_FOUND:
        *ret_code = S("Lambda.ResourceNotFoundException");
        *ret_message = S("The specified Lambda function could not be found.");
        return false;
    case HUB_INVOKE_DENIED:
        *ret_code = S("Lambda.InvokeAccessDenied");
        *ret_message = S("Access was denied. Ensure that the access policy allows access to the "
                         "Lambda function.");
        return true;
    case HUB_INVOKE_NO_ROLE:
        *ret_code = S("Lambda.AssumeRoleAccessDenied");
        *ret_message = S("Access was denied. Ensure that the trust policy for the provided IAM "
                         "role allows Firehose to assume the role.");
        return true;
    case HUB_INVOKE_THROTTLED:
        *ret_code = S("Lambda.InvokeLimitExceeded");
        *ret_message = S("The Lambda concurrent execution limit is exceeded.");
        return true;
    case HUB_INVOKE_TOO_LARGE:
        *ret_code = function_error;
        *ret_message = S("The request or the response of the Lambda function is larger than 6 MB.");
        return false;
    case HUB_INVOKE_FAILED:
        *ret_code = function_error;
        *ret_message = S("The Lambda function was successfully invoked but it returned an error "
                         "result.");
        return true;
    default:
        *ret_code = S("Lambda.InternalServerError");
        *ret_message = answer->text.n > 0 ? answer->text : S("The function cannot be reached.");
        return true;
    }
}

static void count_call(const Call *c, int64_t began_ns, bool good)
{
    struct delivery_meters *m = c->p->meters;
    struct io *io = c->p->env->io;
    if (m == NULL)
        return;
    meter_add(&m->process_ok, good);
    meter_add(&m->process_ms, (io->mono_ns(io) - began_ns) / NS_PER_MS);
}

static Err try_once(Call *c, HubInvokeAnswer *ret)
{
    const DeliveryConfig *config = c->p->config;
    const DeliveryStep *step = c->p->steps[STEP_LAMBDA];
    const struct hub_invoke *invoke = c->p->env->hub != NULL ? c->p->env->hub->invoke : NULL;
    struct io *io = c->p->env->io;
    HubActor as = { .account = config->account,
                    .region = config->region,
                    .role_arn = step->role_arn,
                    .service = config->service,
                    .source_arn = config->arn };
    AUTO_BUF(request);
    buf_init_request(&request, 0);
    *ret = (HubInvokeAnswer){ .fault = HUB_INVOKE_NOT_FOUND, .text = S("") };
    TRY(write_request(c, &request));
    int64_t began_ns = io->mono_ns(io);
    if (request.n > HUB_INVOKE_BYTES_MAX)
        ret->fault = HUB_INVOKE_TOO_LARGE;
    else if (invoke != NULL)
        TRY(invoke->call(invoke->self, c->arena, &as, step->lambda_arn, buf_str(&request),
                         CALL_SECONDS_MAX * NS_PER_S, ret));
    count_call(c, began_ns, ret->fault == HUB_INVOKE_GOOD);
    return OK;
}

// Until it has an answer or is given up. ERR_CLOSED: the server stops, and the batch begins anew
// after its next start.
static Err call(Call *c)
{
    const struct delivery_env *env = c->p->env;
    int64_t retries = c->p->steps[STEP_LAMBDA]->retries;
    if (retries < 0)
        retries = RETRIES_DEFAULT;
    for (int64_t seconds = 1;; seconds = MIN(seconds * 2, RETRY_SECONDS_MAX)) {
        HubInvokeAnswer answer;
        TRY(try_once(c, &answer));
        c->attempts++;
        c->reply = answer.reply;
        if (answer.fault == HUB_INVOKE_GOOD)
            return OK;
        bool again = explain(&answer, &c->code, &c->message);
        if (!again || c->attempts > retries)
            return OK;
        c->code = (Str){ 0 };
        if (env->stopping != NULL && env->stopping(env))
            return fail(ERR_CLOSED, "the server stops");
        if (env->sleep != NULL && !env->sleep(env, seconds * NS_PER_S))
            return fail(ERR_CLOSED, "the server stops");
    }
}

static Err call_and_judge(Call *c)
{
    c->arena = arena_open_request();
    if (c->arena == NULL)
        return fail(ERR_MEMORY, "no memory for what a function says");
    TRY(call(c));
    c->verdicts = c->code.p != NULL ? all_failed(c->arena, c->n, c->code, c->message)
                                    : lambda_verdicts(c->arena, c->reply, c->ids, c->n);
    return OK;
}

// ---- Into the batch

static Err take_record(Call *c, const LambdaVerdict *v, DeliveryRecord *r)
{
    struct arena *a = c->b->arena;
    DeliveryPair *keys = arena_new(a, DeliveryPair, v->key_count);
    struct delivery_meters *m = c->p->meters;
    for (size_t i = 0; i < v->key_count; i++)
        keys[i] = (DeliveryPair){ str_dup(a, v->keys[i].name), str_dup(a, v->keys[i].value) };
    TRY(str_dup_try(a, v->data, &r->data));
    r->lambda_keys = keys;
    r->lambda_key_count = v->key_count;
    batch_add(c->b, r);
    if (m != NULL) {
        meter_add(&m->processed_records, 1);
        meter_add(&m->processed_bytes, (int64_t)r->data.n);
    }
    return OK;
}

static Err take_call(Call *c)
{
    struct arena *a = c->b->arena;
    for (size_t i = 0; i < c->n; i++) {
        DeliveryRecord r = c->at[i];
        const LambdaVerdict *v = &c->verdicts[i];
        if (v->result == LAMBDA_FAILED)
            batch_fail(c->b, &r, error_type, v->code, str_dup(a, v->message), c->attempts,
                       process_now_ms(c->p));
        if (v->result == LAMBDA_OK)
            TRY(take_record(c, v, &r));
    }
    arena_close(c->arena);
    c->arena = NULL;
    return OK;
}

// ---- Several at once

static void unref_locked(struct calls *all)
{
    bool last = --all->refs == 0;
    pthread_mutex_unlock(&all->lock);
    if (!last)
        return;
    pthread_cond_destroy(&all->changed);
    pthread_mutex_destroy(&all->lock);
    free(all);
}

// Makes the next call, if there is one that may be made now. The lock is held.
static bool make_one_locked(struct calls *all)
{
    if (all->failed.kind != ERR_NONE || all->next == all->n ||
        all->next - all->taken >= all->at_once)
        return false;
    Call *c = &all->at[all->next++];
    all->running++;
    pthread_mutex_unlock(&all->lock);
    Err e = call_and_judge(c);
    pthread_mutex_lock(&all->lock);
    all->running--;
    c->is_done = true;
    if (e.kind != ERR_NONE && all->failed.kind == ERR_NONE)
        all->failed = e;
    pthread_cond_broadcast(&all->changed);
    return true;
}

static void help(struct task *t)
{
    struct calls *all = ((struct helper *)t)->calls;
    pthread_mutex_lock(&all->lock);
    while (all->failed.kind == ERR_NONE && all->next < all->n)
        if (!make_one_locked(all))
            pthread_cond_wait(&all->changed, &all->lock);
    unref_locked(all);
}

static void ask_for_help(struct calls *all, struct pool *pool)
{
    size_t wanted = MIN(all->at_once, all->n);
    for (size_t i = 1; i < wanted && pool != NULL; i++) {
        struct helper *h = &all->helpers[i - 1];
        *h = (struct helper){ .task.run = help, .calls = all };
        pthread_mutex_lock(&all->lock);
        all->refs++;
        pthread_mutex_unlock(&all->lock);
        if (pool_submit(pool, &h->task).kind == ERR_NONE)
            continue;
        pthread_mutex_lock(&all->lock); // it goes slower
        all->refs--;
        pthread_mutex_unlock(&all->lock);
        return;
    }
}

// All of them, taken in their order. The lock is held.
static void make_all_locked(struct calls *all)
{
    while (all->failed.kind == ERR_NONE && all->taken < all->n) {
        Call *first = &all->at[all->taken];
        if (first->is_done) {
            pthread_mutex_unlock(&all->lock);
            Err e = take_call(first);
            pthread_mutex_lock(&all->lock);
            all->taken++;
            if (e.kind != ERR_NONE && all->failed.kind == ERR_NONE)
                all->failed = e;
            pthread_cond_broadcast(&all->changed);
        } else if (!make_one_locked(all)) {
            pthread_cond_wait(&all->changed, &all->lock);
        }
    }
    pthread_cond_broadcast(&all->changed);
    while (all->running > 0) // they use the batch
        pthread_cond_wait(&all->changed, &all->lock);
}

static Err make_calls(struct processing *p, Call *at, size_t n)
{
    struct calls *all = xalloc(sizeof *all);
    pthread_mutex_init(&all->lock, NULL);
    pthread_cond_init(&all->changed, NULL);
    all->refs = 1;
    all->at = at;
    all->n = n;
    all->at_once = processing_calls_at_once(p->config);
    ask_for_help(all, p->env->network);
    pthread_mutex_lock(&all->lock);
    make_all_locked(all);
    Err e = all->failed;
    all->next = all->n; // nothing is left for those who come now
    unref_locked(all);
    for (size_t i = 0; i < n; i++)
        arena_close(at[i].arena);
    return e;
}

size_t processing_calls_at_once(const DeliveryConfig *config)
{
    return config->kind == DELIVER_SPLUNK ? AT_ONCE_SPLUNK : AT_ONCE;
}

size_t processing_call_bytes(const DeliveryStep *step)
{
    return step->size_bytes > 0 ? (size_t)step->size_bytes : CALL_BYTES_DEFAULT;
}

// How many of the records fit into one call, at least one.
static size_t share(const struct processing *p, const DeliveryRecord *at, size_t n)
{
    size_t most = processing_call_bytes(p->steps[STEP_LAMBDA]), bytes = 0, sent = FRAME_BYTES;
    for (size_t i = 0; i < n; i++) {
        bytes += at[i].data.n;
        sent += base64_encoded_bytes(at[i].data.n) + 6 * at[i].key.n + RECORD_BYTES;
        if (i > 0 && (bytes > most || sent > HUB_INVOKE_BYTES_MAX))
            return i;
    }
    return n;
}

Err process_lambda(struct processing *p, DeliveryBatch *b)
{
    Before before = process_begin(b);
    size_t n = 0;
    for (size_t done = 0; done < before.n; n++)
        done += share(p, before.at + done, before.n - done);
    Call *calls = arena_try_new(b->arena, Call, n);
    if (calls == NULL)
        return n == 0 ? OK : fail(ERR_MEMORY, "no memory for calls of a function");
    for (size_t i = 0, done = 0; i < n; i++) {
        Call *c = &calls[i];
        *c = (Call){ .p = p, .b = b, .at = before.at + done };
        c->n = share(p, c->at, before.n - done);
        name_records(c);
        done += c->n;
    }
    return make_calls(p, calls, n);
}
