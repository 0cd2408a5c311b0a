// SPDX-License-Identifier: Apache-2.0
// A consumer: GetRecords from the oldest record of a shard to its newest, shard after shard and
// from the beginning again, as fast as it is answered. It counts what it gets and keeps nothing.
#include "call.h"
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BODY_BYTES_MAX = 2048, ITERATOR_BYTES_MAX = 1024, PAGE_BYTES_MAX = 32 << 20 };

struct reader {
    struct caller caller;
    unsigned shard; // at which it is
    char iterator[ITERATOR_BYTES_MAX];
    char stream[CALL_NAME_BYTES];
    char body[BODY_BYTES_MAX];
};

static void keep(char *to, size_t bytes_max, struct text t)
{
    size_t n = t.n < bytes_max ? t.n : 0;
    memcpy(to, t.p, n);
    to[n] = 0;
}

static enum outcome call(struct reader *r, const char *operation, char **ret_reply, size_t *ret_n)
{
    char hash[CALL_HEX_BYTES];
    size_t n = strlen(r->body);
    call_hash(r->body, n, hash);
    unsigned status = call_send(&r->caller, operation, r->body, n, hash, ret_reply, ret_n);
    return call_outcome(status, status == 200 ? "" : *ret_reply);
}

static enum outcome get_iterator(struct reader *r, bool follow)
{
    char *reply;
    size_t n;
    snprintf(r->body, sizeof r->body,
             "{\"StreamName\":\"%s\",\"ShardId\":\"shardId-%012u\",\"ShardIteratorType\":\"%s\"}",
             r->stream, r->shard, follow ? "LATEST" : "TRIM_HORIZON");
    enum outcome outcome = call(r, "GetShardIterator", &reply, &n);
    if (outcome != SENT_OK)
        return outcome;
    struct json j = { reply, reply + n, false };
    struct text key;
    json_open(&j, '{');
    while (json_member(&j, &key)) {
        struct text value = json_scalar(&j);
        if (text_is(key, "ShardIterator"))
            keep(r->iterator, sizeof r->iterator, value);
    }
    return !j.bad && r->iterator[0] != 0 ? SENT_OK : SENT_BROKEN;
}

static void count_record(struct client *c, struct json *j)
{
    struct text key;
    json_open(j, '{');
    while (json_member(j, &key)) {
        struct text value = json_scalar(j);
        if (!text_is(key, "Data"))
            continue;
        c->records++;
        c->bytes += value.n / 4 * 3;
        for (size_t i = value.n; i > 0 && value.p[i - 1] == '='; i--)
            c->bytes--;
    }
}

static enum outcome read_page(struct client *c, const char *reply, size_t n)
{
    struct reader *r = c->state;
    struct json j = { reply, reply + n, false };
    struct text key;
    bool at_tip = false;
    r->iterator[0] = 0;
    json_open(&j, '{');
    while (json_member(&j, &key)) {
        if (text_is(key, "Records")) {
            json_open(&j, '[');
            while (json_item(&j))
                count_record(c, &j);
            continue;
        }
        struct text value = json_scalar(&j);
        if (text_is(key, "NextShardIterator"))
            keep(r->iterator, sizeof r->iterator, value);
        at_tip |= text_is(key, "MillisBehindLatest") && text_is(value, "0");
    }
    if ((at_tip && !c->options->follow) || r->iterator[0] == 0) {
        r->iterator[0] = 0;
        r->shard += c->options->clients;
        if (r->shard >= c->options->shards)
            r->shard = c->number % c->options->shards;
    }
    if (j.bad)
        fprintf(stderr, "GetRecords: an answer that cannot be read: %.200s\n", reply);
    return j.bad ? SENT_BROKEN : SENT_OK;
}

static bool open_client(struct client *c)
{
    struct reader *r = must_alloc(sizeof *r);
    c->state = r;
    caller_open(&r->caller, c->options->port, PAGE_BYTES_MAX);
    r->shard = c->number % c->options->shards;
    call_stream_name(c->options, c->number, r->stream, sizeof r->stream);
    return caller_connect(&r->caller, c->options->tls);
}

static enum outcome send_batch(struct client *c, uint64_t turn)
{
    (void)turn;
    struct reader *r = c->state;
    enum outcome outcome = r->iterator[0] == 0 ? get_iterator(r, c->options->follow) : SENT_OK;
    char *reply;
    size_t n;
    snprintf(r->body, sizeof r->body, "{\"ShardIterator\":\"%s\",\"Limit\":10000}", r->iterator);
    if (outcome == SENT_OK)
        outcome = call(r, "GetRecords", &reply, &n);
    return outcome == SENT_OK ? read_page(c, reply, n) : outcome;
}

static void close_client(struct client *c)
{
    struct reader *r = c->state;
    caller_close(&r->caller);
    free(r);
}

const struct peer read_peer = { "read", true, open_client, send_batch, close_client };
