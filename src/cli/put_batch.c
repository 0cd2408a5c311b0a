// SPDX-License-Identifier: Apache-2.0
#include "cli/put_batch.h"
#include "base/time.h"
#include "cli/term.h"
#include "codec/base64.h"
#include "codec/hash.h"
#include "os/io.h"

#include <stdlib.h>

#define RETRY_NS (250 * NS_PER_MS)

struct put_kind {
    Str operation, name, results; // the name is that of the stream's member
    bool keys;
    size_t record_max;
};

static const struct put_kind to_stream = { S_INIT("PutRecords"), S_INIT("StreamName"),
                                           S_INIT("Records"), true, PUT_RECORD_BYTES_MAX };
static const struct put_kind to_delivery = { S_INIT("PutRecordBatch"), S_INIT("DeliveryStreamName"),
                                             S_INIT("RequestResponses"), false,
                                             DELIVERY_RECORD_BYTES_MAX };

size_t put_batch_record_max(const struct put_batch *b)
{
    return b->kind->record_max;
}

struct put_batch *put_batch_open(const struct invocation *in, struct client *c, Str stream)
{
    struct put_batch *b = xalloc(sizeof *b);
    b->in = in;
    b->client = c;
    b->stream = stream;
    b->kind = str_starts(in->command->name, S("firehose ")) ? &to_delivery : &to_stream;
    b->a = arena_open();
    return b;
}

void put_batch_close(struct put_batch *b)
{
    if (b == NULL)
        return;
    arena_close(b->a);
    free(b);
}

bool put_batch_has_room(const struct put_batch *b, size_t bytes)
{
    return b->n == 0 || (b->n < PUT_RECORDS_MAX && b->bytes + bytes <= PUT_BYTES_MAX);
}

static Str new_key(struct arena *a)
{
    unsigned char random[8];
    io_real()->random(io_real(), random, sizeof random);
    return hex_str(a, random, sizeof random);
}

void put_batch_add(struct put_batch *b, const PutEntry *entry)
{
    CHECK(put_batch_has_room(b, entry->data.n));
    b->at[b->n++] = (PutEntry){
        .key = entry->key.n > 0 ? str_dup(b->a, entry->key) : new_key(b->a),
        .data = str_dup(b->a, entry->data),
        .hash_key = str_dup(b->a, entry->hash_key),
    };
    b->bytes += entry->data.n;
}

static Str request_body(struct put_batch *b)
{
    AUTO_BUF(out);
    buf_addf(&out, "{\"%.*s\":", FMT(b->kind->name));
    add_json_text(&out, b->stream);
    buf_add(&out, S(",\"Records\":["));
    for (size_t i = 0; i < b->n; i++) {
        buf_add(&out, i > 0 ? S(",{\"Data\":\"") : S("{\"Data\":\""));
        buf_add_base64(&out, b->at[i].data);
        buf_add(&out, S("\""));
        if (b->kind->keys) {
            buf_add(&out, S(",\"PartitionKey\":"));
            add_json_text(&out, b->at[i].key);
        }
        if (b->at[i].hash_key.n > 0)
            buf_addf(&out, ",\"ExplicitHashKey\":\"%.*s\"", FMT(b->at[i].hash_key));
        buf_add(&out, S("}"));
    }
    buf_add(&out, S("]}"));
    return str_dup(b->a, buf_str(&out));
}

// Whether one of the records that are to be sent again is older, and of the same key.
static bool overtakes(const struct put_batch *b, size_t kept, const PutEntry *entry)
{
    for (size_t i = 0; i < kept; i++)
        if (str_eq(b->at[i].key, entry->key))
            return true;
    return false;
}

// Keeps only the records that were not stored, in their order.
static ExitCode keep_failed(struct put_batch *b, const JsonValue *reply)
{
    const JsonValue *results = json_find(reply, b->kind->results);
    if (results == NULL || results->kind != JSON_LIST || results->n != b->n)
        return complain(EXIT_FAILED, "the reply to %.*s does not match the request",
                        FMT(b->kind->operation));
    size_t kept = 0;
    for (size_t i = 0; i < b->n; i++) {
        PutEntry entry = b->at[i];
        if (json_text(&results->items[i], S("ErrorCode")).p == NULL) {
            b->stored++;
            b->stored_bytes += entry.key.n + entry.data.n;
            b->overtaken += b->kind->keys && overtakes(b, kept, &entry);
        } else {
            b->at[kept++] = entry;
        }
    }
    b->again += kept;
    b->n = kept;
    return EXIT_GOOD;
}

static ExitCode send_once(struct put_batch *b)
{
    ClientReply reply = { 0 };
    ExitCode code =
        remote_send(b->in, b->client, b->a, b->kind->operation, request_body(b), &reply);
    if (code != EXIT_GOOD)
        return code;
    if (reply.error.p != NULL && !client_is_throttle(reply.error))
        return remote_complain(&reply);
    if (reply.error.p != NULL) {
        b->again += b->n;
        return EXIT_GOOD;
    }
    JsonValue *value = NULL;
    if (json_parse(b->a, reply.body, &value).kind != ERR_NONE)
        return complain(EXIT_FAILED, "the reply to %.*s is not JSON", FMT(b->kind->operation));
    return keep_failed(b, value);
}

ExitCode put_batch_flush(struct put_batch *b)
{
    for (int tries = 0; b->n > 0; tries++) {
        if (tries > PUT_TRIES_MAX)
            return complain(EXIT_THROTTLED, "the server keeps refusing; %llu records were stored",
                            (unsigned long long)b->stored);
        if (tries > 0)
            io_real()->sleep_ns(io_real(), RETRY_NS);
        size_t before = b->n;
        ExitCode code = send_once(b);
        if (code != EXIT_GOOD)
            return code;
        if (b->n < before)
            tries = 0;
    }
    b->bytes = 0;
    arena_reset(b->a);
    return EXIT_GOOD;
}
