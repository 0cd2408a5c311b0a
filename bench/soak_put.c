// SPDX-License-Identifier: Apache-2.0
// Writers: each has a connection and lanes of its own, and takes its turns from the schedule.
#include "soak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BATCH_LEAST = 50,
    BATCH_MOST = 500,
    BODY_LEAST = 48,
    BODY_MOST = 1900,   // of a record in a batch
    SINGLE_MOST = 4096, // of one that goes alone
    LARGE_LEAST = 100000,
    SINGLES_PERCENT = 40, // of the requests
    LARGE_PERCENT = 3,
    REQUEST_BYTES_MAX = 4 << 20,
    REPLY_BYTES_MAX = 1 << 20,
    CONNECT_PAUSE_US = 20000,
    SHED_US = 60000000, // what is so late is left out, and counted
};

struct part {
    struct lane *lane;
    uint64_t number;
    size_t bytes; // of key and data
};

struct writer {
    struct caller caller;
    unsigned number;
    uint64_t seed;
    unsigned *lanes[STREAMS_MAX]; // its lanes of each stream
    unsigned lane_counts[STREAMS_MAX];
    char *body;
    size_t body_bytes;
    struct part parts[BATCH_MOST];
    unsigned part_count;
    const struct stream *stream;
};

static unsigned between(struct writer *w, unsigned least, unsigned most)
{
    return least + (unsigned)(random_next(&w->seed) % (most - least + 1));
}

// ---- Requests

static const struct stream *choose_stream(struct writer *w)
{
    unsigned all = 0;
    for (unsigned i = 0; i < soak.stream_count; i++)
        all += w->lane_counts[i] > 0 ? soak.streams[i].weight : 0;
    unsigned at = between(w, 0, all - 1);
    for (unsigned i = 0; i < soak.stream_count; i++) {
        unsigned weight = w->lane_counts[i] > 0 ? soak.streams[i].weight : 0;
        if (at < weight)
            return &soak.streams[i];
        at -= weight;
    }
    abort(); // the weights were counted
}

static void add_text(struct writer *w, const char *text)
{
    size_t n = strlen(text);
    memcpy(w->body + w->body_bytes, text, n);
    w->body_bytes += n;
}

static void add_record(struct writer *w, size_t body_bytes)
{
    size_t stream = (size_t)(w->stream - soak.streams);
    unsigned chosen = between(w, 0, w->lane_counts[stream] - 1);
    struct lane *lane = &soak.lanes[w->lanes[stream][chosen]];
    int plant = soak.plant != PLANT_NONE ? atomic_exchange(&soak.plant, PLANT_NONE) : PLANT_NONE;
    pthread_mutex_lock(&lane->lock);
    lane->next += plant == PLANT_SKIP;
    uint64_t number = lane->next++;
    pthread_mutex_unlock(&lane->lock);
    add_text(w, "\"Data\":\"");
    uint64_t sent = plant == PLANT_TWICE && number > 0 ? number - 1 : number;
    char *text = w->body + w->body_bytes;
    size_t n = lane_record_text(lane, sent, body_bytes, text);
    if (plant == PLANT_CHANGE)
        text[n - 1] = text[n - 1] == 'A' ? 'B' : 'A';
    w->body_bytes += n;
    add_text(w, "\",\"PartitionKey\":\"");
    add_text(w, lane->key);
    add_text(w, "\"");
    w->parts[w->part_count++] = (struct part){ lane, number, n / 4 * 3 + KEY_BYTES };
}

static void build_single(struct writer *w, size_t body_bytes)
{
    add_record(w, body_bytes);
    add_text(w, "}");
}

static void build_batch(struct writer *w)
{
    unsigned n = between(w, BATCH_LEAST, BATCH_MOST);
    add_text(w, "\"Records\":[");
    for (unsigned i = 0; i < n; i++) {
        add_text(w, i > 0 ? ",{" : "{");
        add_record(w, between(w, BODY_LEAST, BODY_MOST));
        add_text(w, "}");
    }
    add_text(w, "]}");
}

// Returns the operation.
static const char *build(struct writer *w)
{
    unsigned percent = between(w, 0, 99);
    w->stream = choose_stream(w);
    w->part_count = 0;
    w->body_bytes = 0;
    add_text(w, "{\"StreamName\":\"");
    add_text(w, w->stream->name);
    add_text(w, "\",");
    if (w->stream->use == USE_SPARSE || percent < SINGLES_PERCENT)
        build_single(w, between(w, BODY_LEAST, SINGLE_MOST));
    else if (percent < SINGLES_PERCENT + LARGE_PERCENT)
        build_single(w, between(w, LARGE_LEAST, RECORD_BODY_BYTES_MAX));
    else
        build_batch(w);
    return w->part_count == 1 ? "PutRecord" : "PutRecords";
}

// ---- Answers

static int by_lane(const void *a, const void *b)
{
    const struct part *x = a, *y = b;
    if (x->lane->number != y->lane->number)
        return x->lane->number < y->lane->number ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

static void settle_all(struct writer *w, bool acknowledged, bool refused)
{
    qsort(w->parts, w->part_count, sizeof *w->parts, by_lane);
    for (unsigned i = 0, n; i < w->part_count; i += n) {
        for (n = 1; i + n < w->part_count && w->parts[i + n].lane == w->parts[i].lane; n++)
            ;
        uint64_t from = w->parts[i].number;
        lane_settle(w->parts[i].lane, from, from + n, acknowledged, refused);
    }
}

// Whether the record of the reply was refused; its place in the reply is that in the request.
static bool was_refused(struct json *j)
{
    struct text key, code = { "", 0 };
    json_open(j, '{');
    while (json_member(j, &key)) {
        struct text value = json_scalar(j);
        if (text_is(key, "ErrorCode"))
            code = value;
    }
    if (code.n > 0 && !text_is(code, "ProvisionedThroughputExceededException"))
        trouble("PutRecords: %.*s for a record", (int)code.n, code.p);
    return code.n > 0;
}

// A PutRecords of which some records were refused: those are gaps of their own.
static void settle_each(struct writer *w, const char *reply, size_t n)
{
    struct json j = { reply, reply + n, false };
    struct text key;
    unsigned i = 0;
    json_open(&j, '{');
    while (json_member(&j, &key)) {
        if (!text_is(key, "Records")) {
            json_scalar(&j);
            continue;
        }
        json_open(&j, '[');
        for (; json_item(&j) && i < w->part_count; i++) {
            bool refused = was_refused(&j);
            uint64_t number = w->parts[i].number;
            lane_settle(w->parts[i].lane, number, number + 1, !refused, refused);
            COUNT(refused, refused);
        }
    }
    if (j.bad || i != w->part_count)
        violation("PutRecords: an answer that cannot be read, or for other records: %.200s", reply);
}

static void acknowledge(struct writer *w, const char *reply, size_t n, uint64_t due)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < w->part_count; i++)
        bytes += w->parts[i].bytes;
    count_request(now_us() - due, w->part_count, bytes);
    if (strstr(reply, "\"ErrorCode\"") != NULL)
        settle_each(w, reply, n);
    else
        settle_all(w, true, false);
}

// Connected, or told to give up.
static bool connect_again(struct writer *w)
{
    while (w->caller.fd < 0 && !schedule_is_paused(&soak.schedule)) {
        w->caller.fd = connect_quietly(w->caller.port);
        if (w->caller.fd < 0)
            usleep(CONNECT_PAUSE_US);
    }
    return w->caller.fd >= 0;
}

// As an SDK does: a request that was not answered is sent again, here with new numbers.
static void serve_turn(struct writer *w, uint64_t due)
{
    while (connect_again(w)) {
        if (now_us() > due + SHED_US) {
            COUNT(shed, 1);
            return;
        }
        char hash[CALL_HEX_BYTES], *reply;
        size_t n;
        const char *operation = build(w);
        call_hash(w->body, w->body_bytes, hash);
        unsigned status =
            call_send(&w->caller, operation, w->body, w->body_bytes, hash, &reply, &n);
        if (status == 200) {
            acknowledge(w, reply, n, due);
            return;
        }
        bool refused = status == 400 && strstr(reply, "ProvisionedThroughputExceeded") != NULL;
        settle_all(w, false, refused);
        if (status == 0) {
            COUNT(broken, 1);
            caller_disconnect(&w->caller);
            continue;
        }
        if (refused)
            COUNT(refused, w->part_count);
        else
            trouble("%s: %u %.200s", operation, status, reply);
        return;
    }
}

static void choose_lanes(struct writer *w)
{
    for (unsigned i = 0; i < soak.stream_count; i++) {
        const struct stream *s = &soak.streams[i];
        w->lanes[i] = must_alloc((s->shards + 1) * sizeof(unsigned));
        for (unsigned k = s->first; k < s->first + s->shards && s->use != USE_IDLE; k++)
            if (k % soak.connections == w->number)
                w->lanes[i][w->lane_counts[i]++] = k;
    }
}

void *writer_run(void *number)
{
    struct writer *w = must_alloc(sizeof *w);
    w->number = *(unsigned *)number;
    w->seed = soak.seed * 1000 + w->number + 1;
    w->body = must_alloc(REQUEST_BYTES_MAX);
    caller_open(&w->caller, soak.port, REPLY_BYTES_MAX);
    choose_lanes(w);
    for (uint64_t due; (due = schedule_take(&soak.schedule)) != 0; schedule_end(&soak.schedule))
        serve_turn(w, due);
    caller_close(&w->caller);
    return NULL;
}
