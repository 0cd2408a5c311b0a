// SPDX-License-Identifier: Apache-2.0
// A consumer of a queue on a stream: receives ten records, acknowledges them, and again. What
// counts is what was acknowledged. The place is the queue's ARN.
#include "call.h"
#include "json.h"

#include <stdio.h>
#include <string.h>
#include <stdlib.h>

enum { BODY_BYTES_MAX = 16 << 10, REPLY_BYTES_MAX = 4 << 20 };

struct consumer {
    struct caller caller;
    char arn[CALL_NAME_BYTES];
    char body[BODY_BYTES_MAX];
};

static enum outcome call(struct consumer *q, const char *operation, char **ret_reply, size_t *ret_n)
{
    char hash[CALL_HEX_BYTES];
    size_t n = strlen(q->body);
    call_hash(q->body, n, hash);
    unsigned status = call_send(&q->caller, operation, q->body, n, hash, ret_reply, ret_n);
    return call_outcome(status, status == 200 ? "" : *ret_reply);
}

// Adds the receipt of one record to the body, and counts the record's bytes.
static void take_record(struct client *c, struct json *j, size_t *used)
{
    struct consumer *q = c->state;
    struct text key;
    json_open(j, '{');
    while (json_member(j, &key)) {
        struct text value = json_scalar(j);
        if (text_is(key, "Data"))
            c->bytes += value.n / 4 * 3;
        if (text_is(key, "ReceiptHandle"))
            *used += (size_t)snprintf(q->body + *used, sizeof q->body - *used,
                                      "%s{\"ReceiptHandle\":\"%.*s\"}",
                                      q->body[*used - 1] == '[' ? "" : ",", (int)value.n, value.p);
    }
}

// The acknowledgement of everything in the reply; returns how many records that is.
static unsigned make_acknowledgement(struct client *c, const char *reply, size_t n)
{
    struct consumer *q = c->state;
    struct json j = { reply, reply + n, false };
    struct text key;
    unsigned records = 0;
    size_t used =
        (size_t)snprintf(q->body, sizeof q->body, "{\"QueueARN\":\"%s\",\"Entries\":[", q->arn);
    json_open(&j, '{');
    while (json_member(&j, &key)) { // QueueRecords is all there is
        json_open(&j, '[');
        for (; json_item(&j); records++)
            take_record(c, &j, &used);
    }
    snprintf(q->body + used, sizeof q->body - used, "]}");
    return j.bad ? 0 : records;
}

static bool open_client(struct client *c)
{
    struct consumer *q = must_alloc(sizeof *q);
    c->state = q;
    snprintf(q->arn, sizeof q->arn, "%s", c->options->stream);
    caller_open(&q->caller, c->options->port, REPLY_BYTES_MAX);
    return caller_connect(&q->caller, c->options->tls);
}

static enum outcome send_batch(struct client *c, uint64_t turn)
{
    (void)turn;
    struct consumer *q = c->state;
    char *reply;
    size_t n;
    snprintf(q->body, sizeof q->body, "{\"QueueARN\":\"%s\",\"WaitTimeSeconds\":1}", q->arn);
    enum outcome outcome = call(q, "ReceiveQueueRecords", &reply, &n);
    unsigned records = outcome == SENT_OK ? make_acknowledgement(c, reply, n) : 0;
    if (records == 0)
        return outcome;
    outcome = call(q, "AcknowledgeQueueRecords", &reply, &n);
    if (outcome != SENT_OK)
        return outcome;
    if (strstr(reply, "\"Failed\":[]") == NULL) {
        fprintf(stderr, "AcknowledgeQueueRecords: %.300s\n", reply);
        return SENT_BROKEN;
    }
    c->records += records;
    return SENT_OK;
}

static void close_client(struct client *c)
{
    struct consumer *q = c->state;
    caller_close(&q->caller);
    free(q);
}

const struct peer queue_peer = { "queue", true, open_client, send_batch, close_client };
