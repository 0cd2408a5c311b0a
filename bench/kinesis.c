// SPDX-License-Identifier: Apache-2.0
// PutRecord or PutRecords, signed as an SDK signs: the hash of each body is computed once, the
// signature for every request.
#include "call.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPLY_BYTES_MAX = 1 << 20 };

struct request {
    char *body;
    size_t body_bytes;
    char hash[CALL_HEX_BYTES];
};

struct kinesis {
    struct request batches[BATCHES];
    struct caller caller;
};

// The body of one batch: a record alone is a PutRecord, several are a PutRecords.
static void build(const struct options *o, struct request *r, uint64_t *seed)
{
    size_t text_bytes = 4 * ((o->record_bytes + 2) / 3), used = 0;
    size_t capacity = o->records * (text_bytes + 128) + 256;
    char *data = must_alloc(o->record_bytes), *text = must_alloc(text_bytes + 1);
    r->body = must_alloc(capacity);
    used += (size_t)snprintf(r->body, capacity, "{\"StreamName\":\"%s\",%s", o->stream,
                             o->records > 1 ? "\"Records\":[" : "");
    for (unsigned i = 0; i < o->records; i++) {
        fill_text(data, o->record_bytes, seed);
        EVP_EncodeBlock((unsigned char *)text, (unsigned char *)data, (int)o->record_bytes);
        char key[17] = { 0 };
        fill_text(key, sizeof key - 1, seed);
        used += (size_t)snprintf(r->body + used, capacity - used,
                                 "%s%s\"Data\":\"%s\",\"PartitionKey\":\"%s\"%s", i > 0 ? "," : "",
                                 o->records > 1 ? "{" : "", text, key, o->records > 1 ? "}" : "");
    }
    used += (size_t)snprintf(r->body + used, capacity - used, "%s}", o->records > 1 ? "]" : "");
    r->body_bytes = used;
    call_hash(r->body, used, r->hash);
    free(data);
    free(text);
}

static bool open_client(struct client *c)
{
    struct kinesis *k = must_alloc(sizeof *k);
    uint64_t seed = 88172645463325252u + c->number;
    c->state = k;
    caller_open(&k->caller, c->options->port, REPLY_BYTES_MAX);
    for (unsigned i = 0; i < BATCHES; i++)
        build(c->options, &k->batches[i], &seed);
    k->caller.fd = connect_to(c->options->port);
    return k->caller.fd >= 0;
}

// True: status 200, and no record failed.
static bool send_batch(struct client *c, unsigned batch)
{
    struct kinesis *k = c->state;
    const struct request *r = &k->batches[batch];
    const char *operation = c->options->records > 1 ? "PutRecords" : "PutRecord";
    char *reply;
    size_t n;
    unsigned status = call_send(&k->caller, operation, r->body, r->body_bytes, r->hash, &reply, &n);
    bool good = status == 200 && strstr(reply, "ErrorCode") == NULL;
    if (status != 0 && !good)
        fprintf(stderr, "%.*s\n", 300, reply);
    return good;
}

static void close_client(struct client *c)
{
    struct kinesis *k = c->state;
    for (unsigned i = 0; i < BATCHES; i++)
        free(k->batches[i].body);
    caller_close(&k->caller);
    free(k);
}

const struct peer kinesis_peer = { "kinesis", open_client, send_batch, close_client };
