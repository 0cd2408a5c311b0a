// SPDX-License-Identifier: Apache-2.0
// PutRecord or PutRecords, signed as an SDK signs: the hash of each body is computed once, the
// signature for every request.
#include "call.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPLY_BYTES_MAX = 1 << 20 };

struct kinesis {
    struct call_body batches[BATCHES_MOST];
    unsigned count;
    struct caller caller;
};

// The body of one batch: a record alone is a PutRecord, several are a PutRecords.
void call_build(struct call_body *r, const struct options *o, const char *stream, uint64_t *seed)
{
    size_t text_bytes = 4 * ((o->record_bytes + 2) / 3), used = 0;
    size_t capacity = o->records * (text_bytes + 128) + 256;
    char *data = must_alloc(o->record_bytes), *text = must_alloc(text_bytes + 1);
    r->p = must_alloc(capacity);
    used += (size_t)snprintf(r->p, capacity, "{\"StreamName\":\"%s\",%s", stream,
                             o->records > 1 ? "\"Records\":[" : "");
    for (unsigned i = 0; i < o->records; i++) {
        fill_text(data, o->record_bytes, seed);
        EVP_EncodeBlock((unsigned char *)text, (unsigned char *)data, (int)o->record_bytes);
        char key[17] = { 0 };
        fill_text(key, sizeof key - 1, seed);
        used += (size_t)snprintf(r->p + used, capacity - used,
                                 "%s%s\"Data\":\"%s\",\"PartitionKey\":\"%s\"%s", i > 0 ? "," : "",
                                 o->records > 1 ? "{" : "", text, key, o->records > 1 ? "}" : "");
    }
    used += (size_t)snprintf(r->p + used, capacity - used, "%s}", o->records > 1 ? "]" : "");
    r->n = used;
    call_hash(r->p, used, r->hash);
    free(data);
    free(text);
}

const char *call_put_operation(const struct options *o)
{
    return o->records > 1 ? "PutRecords" : "PutRecord";
}

// A record that was refused asks for the whole batch again: nothing is counted twice or by halves.
enum outcome call_outcome(unsigned status, const char *reply)
{
    if (status == 200 && strstr(reply, "\"ErrorCode\":\"") == NULL)
        return SENT_OK;
    if (status == 503 || (status != 0 && strstr(reply, "ProvisionedThroughputExceeded") != NULL))
        return SENT_REFUSED;
    fprintf(stderr, "status %u: %.300s\n", status, status != 0 ? reply : "the connection broke");
    return SENT_BROKEN;
}

void call_stream_name(const struct options *o, unsigned client, char *ret, size_t bytes)
{
    if (o->streams > 1)
        snprintf(ret, bytes, "%s-%u", o->stream, client % o->streams);
    else
        snprintf(ret, bytes, "%s", o->stream);
}

unsigned call_build_all(struct call_body *ret, const struct client *c)
{
    const struct options *o = c->options;
    unsigned count = batches_of((size_t)o->records * o->record_bytes);
    uint64_t seed = seed_of(c->number);
    char stream[CALL_NAME_BYTES];
    call_stream_name(o, c->number, stream, sizeof stream);
    for (unsigned i = 0; i < count; i++)
        call_build(&ret[i], o, stream, &seed);
    return count;
}

static bool open_client(struct client *c)
{
    struct kinesis *k = must_alloc(sizeof *k);
    c->state = k;
    caller_open(&k->caller, c->options->port, REPLY_BYTES_MAX);
    caller_set_account(&k->caller, c->options->accounts, c->number);
    k->count = call_build_all(k->batches, c);
    return caller_connect(&k->caller, c->options->tls);
}

static enum outcome send_batch(struct client *c, uint64_t turn)
{
    struct kinesis *k = c->state;
    const struct call_body *r = &k->batches[turn % k->count];
    char *reply;
    size_t n;
    unsigned status =
        call_send(&k->caller, call_put_operation(c->options), r->p, r->n, r->hash, &reply, &n);
    return call_outcome(status, reply);
}

static void close_client(struct client *c)
{
    struct kinesis *k = c->state;
    for (unsigned i = 0; i < k->count; i++)
        free(k->batches[i].p);
    caller_close(&k->caller);
    free(k);
}

const struct peer kinesis_peer = { "kinesis", false, open_client, send_batch, close_client };
