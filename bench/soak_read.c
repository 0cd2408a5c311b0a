// SPDX-License-Identifier: Apache-2.0
// Readers. Some follow the hot lanes, as consumers that keep up do. One reads every lane from the
// oldest record that is kept to the newest, at full speed and without end. Both hold every record
// against what must be there.
#include "soak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BODY_BYTES_MAX = 4096,
    CONNECT_PAUSE_US = 20000,
    IDLE_PAUSE_US = 100000, // of a consumer that has seen everything
    IDLE_LANES_EACH = 64, // of the lanes without records, one in so many is read, unless verifying
    ROUNDING_MS = 1000,
};

struct reader {
    struct caller caller;
    char body[BODY_BYTES_MAX];
};

// The status; 0: the connection broke. Waits while there is no server.
static unsigned call(struct reader *r, const char *operation, char **ret_reply, size_t *ret_n)
{
    while (r->caller.fd < 0 && !schedule_is_quitting(&soak.schedule)) {
        r->caller.fd = connect_quietly(r->caller.port);
        if (r->caller.fd < 0)
            usleep(CONNECT_PAUSE_US);
    }
    if (r->caller.fd < 0)
        return 0;
    char hash[CALL_HEX_BYTES];
    size_t n = strlen(r->body);
    call_hash(r->body, n, hash);
    unsigned status = call_send(&r->caller, operation, r->body, n, hash, ret_reply, ret_n);
    if (status == 0)
        caller_disconnect(&r->caller);
    return status;
}

static void keep(char *to, size_t bytes_max, struct text t)
{
    size_t n = t.n < bytes_max ? t.n : 0; // longer than any that is given: none
    memcpy(to, t.p, n);
    to[n] = 0;
}

static bool get_iterator(struct reader *r, const struct lane *lane, struct cursor *c)
{
    const char *kind = c->after[0] != 0 ? "AFTER_SEQUENCE_NUMBER" : "TRIM_HORIZON";
    int n = snprintf(r->body, sizeof r->body,
                     "{\"StreamName\":\"%s\",\"ShardId\":\"shardId-%012u\","
                     "\"ShardIteratorType\":\"%s\"",
                     soak.streams[lane->stream].name, lane->shard, kind);
    if (c->after[0] != 0)
        n += snprintf(r->body + n, sizeof r->body - (size_t)n, ",\"StartingSequenceNumber\":\"%s\"",
                      c->after);
    snprintf(r->body + n, sizeof r->body - (size_t)n, "}");
    char *reply;
    size_t reply_n;
    unsigned status = call(r, "GetShardIterator", &reply, &reply_n);
    if (status != 200) {
        if (status != 0)
            trouble("GetShardIterator: %u %.200s", status, reply);
        return false;
    }
    struct json j = { reply, reply + reply_n, false };
    struct text key;
    json_open(&j, '{');
    while (json_member(&j, &key)) {
        struct text value = json_scalar(&j);
        if (text_is(key, "ShardIterator"))
            keep(c->iterator, sizeof c->iterator, value);
    }
    return !j.bad && c->iterator[0] != 0;
}

// ---- A page

struct page {
    struct lane *lane;
    struct cursor *cursor;
    int64_t before_ms;  // what the server's clock showed at least, when it was asked
    uint64_t must_have; // computed when the answer had come
    uint64_t records, bytes;
    bool at_tip;
    bool good;
};

static void say_wrong(const struct page *p, const char *what, uint64_t number, struct text sequence)
{
    violation("%s shard %u: %s: record %llu, sequence number %.*s, where %llu was to come",
              soak.streams[p->lane->stream].name, p->lane->shard, what, (unsigned long long)number,
              (int)sequence.n, sequence.p, (unsigned long long)p->cursor->expect);
}

// Sequence numbers are decimals of one length, so that they compare as text does.
static bool is_later(const char *before, struct text sequence)
{
    size_t n = strlen(before);
    return n < sequence.n || (n == sequence.n && memcmp(before, sequence.p, n) < 0);
}

static bool check_record(struct page *p, struct text sequence, struct text data, struct text key,
                         int64_t arrival_ms)
{
    struct lane *lane = p->lane;
    struct cursor *c = p->cursor;
    uint64_t number = 0;
    const char *wrong = NULL;
    if (!lane_record_check(lane, data.p, data.n, &number) || !text_is(key, lane->key))
        wrong = "not what was sent";
    else if (number < c->expect || !is_later(c->after, sequence))
        wrong = "out of order or a second time";
    else if (lane_is_refused(lane, number))
        wrong = "stored, though it was refused";
    else if (arrival_ms + soak.streams[lane->stream].retention_ms + ROUNDING_MS < p->before_ms)
        wrong = "readable after its retention";
    if (wrong != NULL)
        say_wrong(p, wrong, number, sequence);
    if (wrong != NULL || !lane_may_miss(lane, c->expect, number, p->must_have))
        return false;
    c->expect = number + 1;
    keep(c->after, sizeof c->after, sequence);
    p->records++;
    p->bytes += data.n / 4 * 3 + key.n;
    return true;
}

static bool read_record(struct page *p, struct json *j)
{
    struct text key, sequence = { "", 0 }, data = { "", 0 }, partition = { "", 0 };
    double arrival = 0;
    json_open(j, '{');
    while (json_member(j, &key)) {
        struct text value = json_scalar(j);
        if (text_is(key, "SequenceNumber"))
            sequence = value;
        else if (text_is(key, "Data"))
            data = value;
        else if (text_is(key, "PartitionKey"))
            partition = value;
        else if (text_is(key, "ApproximateArrivalTimestamp"))
            arrival = strtod(value.p, NULL);
    }
    return !j->bad && check_record(p, sequence, data, partition, (int64_t)(arrival * 1000));
}

static void read_page(struct page *p, const char *reply, size_t n)
{
    struct json j = { reply, reply + n, false };
    struct text key;
    json_open(&j, '{');
    while (json_member(&j, &key)) {
        if (text_is(key, "Records")) {
            json_open(&j, '[');
            while (json_item(&j))
                if (!read_record(p, &j))
                    return;
            continue;
        }
        struct text value = json_scalar(&j);
        if (text_is(key, "NextShardIterator"))
            keep(p->cursor->iterator, sizeof p->cursor->iterator, value);
        else if (text_is(key, "MillisBehindLatest"))
            p->at_tip = text_is(value, "0");
    }
    p->good = !j.bad;
    if (j.bad)
        violation("GetRecords: an answer that cannot be read: %.200s", reply);
}

// One page behind the cursor, compared with what must be there. False: there was none, or it was
// not as it must be.
static bool fetch_page(struct reader *r, struct page *p)
{
    struct lane *lane = p->lane;
    struct cursor *c = p->cursor;
    if (c->iterator[0] == 0 && !get_iterator(r, lane, c))
        return false;
    pthread_mutex_lock(&lane->lock);
    uint64_t settled = lane->settled; // what an answer to a later question must hold
    pthread_mutex_unlock(&lane->lock);
    p->before_ms = wall_ms() + atomic_load(&soak.ahead_ms);
    snprintf(r->body, sizeof r->body, "{\"ShardIterator\":\"%s\",\"Limit\":10000}", c->iterator);
    char *reply;
    size_t n;
    unsigned status = call(r, "GetRecords", &reply, &n);
    if (status != 200) {
        bool expired = status == 400 && strstr(reply, "ExpiredIteratorException") != NULL;
        if (expired)
            COUNT(expired, 1);
        else if (status != 0)
            trouble("GetRecords: %u %.200s", status, reply);
        if (status != 0)
            c->iterator[0] = 0;
        return false;
    }
    p->must_have = lane_must_have(lane, wall_ms() + atomic_load(&soak.ahead_most_ms));
    read_page(p, reply, n);
    if (p->good && p->at_tip && c->expect < settled)
        p->good = lane_may_miss(lane, c->expect, settled, p->must_have);
    return p->good;
}

// ---- Those who keep up

void *tail_reader_run(void *number)
{
    struct reader *r = must_alloc(sizeof *r);
    unsigned mine = *(unsigned *)number;
    caller_open(&r->caller, soak.port, PAGE_BYTES_MAX);
    while (!schedule_is_quitting(&soak.schedule)) {
        uint64_t records = 0;
        for (unsigned i = mine; i < soak.lane_count; i += TAIL_READERS) {
            struct lane *lane = &soak.lanes[i];
            if (soak.streams[lane->stream].use != USE_HOT)
                continue;
            struct page p = { .lane = lane, .cursor = &lane->tail };
            fetch_page(r, &p);
            records += p.records;
            COUNT(tail_records, p.records);
            COUNT(tail_bytes, p.bytes);
        }
        if (records == 0)
            usleep(IDLE_PAUSE_US);
    }
    caller_close(&r->caller);
    return NULL;
}

// ---- The one that reads everything

// From the oldest record to what was the newest when it began. False: given up.
static bool sweep_lane(struct reader *r, struct lane *lane)
{
    struct cursor *c = must_alloc(sizeof *c);
    pthread_mutex_lock(&lane->lock);
    uint64_t target = lane->settled;
    pthread_mutex_unlock(&lane->lock);
    bool whole = false;
    while (!whole && !schedule_is_quitting(&soak.schedule)) {
        struct page p = { .lane = lane, .cursor = c };
        if (fetch_page(r, &p))
            whole = p.at_tip || c->expect >= target;
        COUNT(sweep_records, p.records);
        COUNT(sweep_bytes, p.bytes);
    }
    free(c);
    return whole;
}

static void sweep(struct reader *r, bool verifying)
{
    uint64_t turn = atomic_load(&soak.sweeps);
    for (unsigned i = 0; i < soak.lane_count; i++) {
        struct lane *lane = &soak.lanes[i];
        pthread_mutex_lock(&lane->lock);
        bool is_empty = lane->next == 0;
        pthread_mutex_unlock(&lane->lock);
        if (is_empty && !verifying && (i + turn) % IDLE_LANES_EACH != 0)
            continue;
        bool wanted = atomic_load(&soak.verify);
        if (!sweep_lane(r, lane) || wanted != verifying)
            return; // from the beginning
    }
    atomic_fetch_add(&soak.sweeps, 1);
    if (verifying)
        atomic_store(&soak.verify, false);
}

void *sweep_reader_run(void *unused)
{
    (void)unused;
    struct reader *r = must_alloc(sizeof *r);
    caller_open(&r->caller, soak.port, PAGE_BYTES_MAX);
    while (!schedule_is_quitting(&soak.schedule))
        sweep(r, atomic_load(&soak.verify));
    caller_close(&r->caller);
    return NULL;
}
