// SPDX-License-Identifier: Apache-2.0
// Lambda: records go to a function in calls of limited size, and what it says replaces them
// (Firehose developer guide, "Data transformation", and what error records of AWS hold).
//
// A call that fails is made again, with a new invocation id and the same records; a reply that
// came is final, whatever it says. Codes and texts of failures are those of AWS's error records.
#include "base/time.h"
#include "codec/base64.h"
#include "codec/hash.h"
#include "codec/json.h"
#include "delivery/process_priv.h"
#include "hub/hub.h"
#include "os/io.h"

enum {
    CALL_SECONDS_MAX = 300,       // a function's time (quotas)
    CALL_BYTES_DEFAULT = 1 << 20, // BufferSizeInMBs, if it is not given
    RETRIES_DEFAULT = 3,
    RETRY_SECONDS_MAX = 10,
    FRAME_BYTES = 1024,  // of a request, around its records
    RECORD_BYTES = 1024, // of a record's own members, but for its partition key
    UUID_BYTES = 16,
};

static const char error_type[] = "processing-failed";

// One call: some records of the batch.
typedef struct Call {
    struct processing *p;
    DeliveryBatch *b;
    const DeliveryRecord *at;
    size_t n;
    Str *ids;
    int64_t attempts;
    Str reply;
    Str code, message; // it has failed for good
} Call;

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

static Err try_once(Call *c, HubInvokeAnswer *ret)
{
    const DeliveryConfig *config = c->p->config;
    const DeliveryStep *step = c->p->steps[STEP_LAMBDA];
    const struct hub_invoke *invoke = c->p->env->hub != NULL ? c->p->env->hub->invoke : NULL;
    HubActor as = { .account = config->account,
                    .region = config->region,
                    .role_arn = step->role_arn,
                    .service = config->service };
    AUTO_BUF(request);
    *ret = (HubInvokeAnswer){ .fault = HUB_INVOKE_NOT_FOUND, .text = S("") };
    TRY(write_request(c, &request));
    if (request.n > HUB_INVOKE_BYTES_MAX)
        ret->fault = HUB_INVOKE_TOO_LARGE;
    else if (invoke != NULL)
        TRY(invoke->call(invoke->self, c->b->arena, &as, step->lambda_arn, buf_str(&request),
                         CALL_SECONDS_MAX * NS_PER_S, ret));
    return OK;
}

// ERR_CLOSED: the server stops, and the batch begins anew after its next start.
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

static void apply(Call *c)
{
    struct arena *a = c->b->arena;
    LambdaVerdict *verdicts = c->code.p != NULL ? all_failed(a, c->n, c->code, c->message)
                                                : lambda_verdicts(a, c->reply, c->ids, c->n);
    for (size_t i = 0; i < c->n; i++) {
        DeliveryRecord r = c->at[i];
        const LambdaVerdict *v = &verdicts[i];
        if (v->result == LAMBDA_FAILED)
            batch_fail(c->b, &r, error_type, v->code, v->message, c->attempts,
                       process_now_ms(c->p));
        if (v->result != LAMBDA_OK)
            continue;
        r.data = v->data;
        r.lambda_keys = v->keys;
        r.lambda_key_count = v->key_count;
        batch_add(c->b, &r);
    }
}

// How many of the records fit into one call, at least one.
static size_t share(const struct processing *p, const DeliveryRecord *at, size_t n)
{
    int64_t given = p->steps[STEP_LAMBDA]->size_bytes;
    size_t most = given > 0 ? (size_t)given : CALL_BYTES_DEFAULT, bytes = 0, sent = FRAME_BYTES;
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
    for (size_t done = 0; done < before.n;) {
        Call c = { .p = p, .b = b, .at = before.at + done };
        c.n = share(p, c.at, before.n - done);
        name_records(&c);
        TRY(call(&c));
        apply(&c);
        done += c.n;
    }
    return OK;
}
