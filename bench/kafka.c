// SPDX-License-Identifier: Apache-2.0
// Kafka: a batch is one Produce request with one record batch (magic 2) for one partition, answered
// when all in-sync replicas have it (acks=all). The topic is there already, on this one broker.
#include "load.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    PRODUCE = 0,
    PRODUCE_VERSION = 7, // the last but one that has no tagged fields
    ACKS_ALL = 0xffff,
    ANSWER_MS_MAX = 30000,
    REPLY_BYTES_MAX = 1 << 16,
    RECORD_HEAD_BYTES_MAX = 32,
    BATCH_HEAD_BYTES = 61,    // up to the records
    BATCH_CRC_COVERS_AT = 21, // to the end
};

struct kafka {
    char *batches[BATCHES_MOST]; // whole requests
    size_t bytes[BATCHES_MOST];
    unsigned count;
    char *reply;
};

struct writer {
    char *p;
    size_t n;
};

static void put_number(struct writer *w, uint64_t value, unsigned bytes)
{
    for (unsigned i = bytes; i-- > 0;)
        w->p[w->n++] = (char)(value >> 8 * i);
}

static void put_bytes(struct writer *w, const void *p, size_t n)
{
    memcpy(w->p + w->n, p, n);
    w->n += n;
}

static void put_text(struct writer *w, const char *text)
{
    put_number(w, strlen(text), 2);
    put_bytes(w, text, strlen(text));
}

static void put_varint(struct writer *w, int64_t value)
{
    uint64_t zigzag = (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
    for (; zigzag >= 0x80; zigzag >>= 7)
        w->p[w->n++] = (char)(zigzag | 0x80);
    w->p[w->n++] = (char)zigzag;
}

static uint32_t crc32c(const char *p, size_t n)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= (unsigned char)p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

// One record: attributes, time and offset from the batch's, no key, the value, no headers.
static void put_record(struct writer *w, unsigned offset, const char *data, size_t n)
{
    char inside[RECORD_HEAD_BYTES_MAX];
    struct writer head = { inside, 0 };
    put_number(&head, 0, 1);
    put_varint(&head, 0);
    put_varint(&head, offset);
    put_varint(&head, -1);
    put_varint(&head, (int64_t)n);
    put_varint(w, (int64_t)(head.n + n + 1));
    put_bytes(w, inside, head.n);
    put_bytes(w, data, n);
    put_varint(w, 0);
}

static void put_record_batch(struct writer *w, const struct options *o, uint64_t *seed)
{
    size_t begin = w->n;
    uint64_t now_ms = (uint64_t)time(NULL) * 1000;
    char *data = must_alloc(o->record_bytes);
    put_number(w, 0, 8);              // base offset
    put_number(w, 0, 4);              // length: below
    put_number(w, UINT32_MAX, 4);     // leader epoch: unknown
    put_number(w, 2, 1);              // magic
    put_number(w, 0, 4);              // checksum: below
    put_number(w, 0, 2);              // no compression
    put_number(w, o->records - 1, 4); // offset of the last
    put_number(w, now_ms, 8);
    put_number(w, now_ms, 8);
    put_number(w, UINT64_MAX, 8); // no producer id, no epoch, no sequence
    put_number(w, UINT16_MAX, 2);
    put_number(w, UINT32_MAX, 4);
    put_number(w, o->records, 4);
    for (unsigned i = 0; i < o->records; i++) {
        fill_text(data, o->record_bytes, seed);
        put_record(w, i, data, o->record_bytes);
    }
    free(data);
    struct writer length = { w->p + begin + 8, 0 }, crc = { w->p + begin + 17, 0 };
    put_number(&length, w->n - begin - 12, 4);
    put_number(&crc, crc32c(w->p + begin + BATCH_CRC_COVERS_AT, w->n - begin - BATCH_CRC_COVERS_AT),
               4);
}

static void build(const struct client *c, char **ret, size_t *ret_bytes, uint64_t *seed)
{
    const struct options *o = c->options;
    size_t records = o->records * ((size_t)o->record_bytes + RECORD_HEAD_BYTES_MAX);
    struct writer w = { must_alloc(512 + BATCH_HEAD_BYTES + records), 4 };
    put_number(&w, PRODUCE, 2);
    put_number(&w, PRODUCE_VERSION, 2);
    put_number(&w, 0, 4); // correlation
    put_text(&w, "headrace-bench");
    put_number(&w, UINT16_MAX, 2); // no transaction
    put_number(&w, ACKS_ALL, 2);
    put_number(&w, ANSWER_MS_MAX, 4);
    put_number(&w, 1, 4); // topics
    put_text(&w, o->stream);
    put_number(&w, 1, 4); // partitions
    put_number(&w, c->number % o->shards, 4);
    size_t length_at = w.n;
    put_number(&w, 0, 4);
    put_record_batch(&w, o, seed);
    struct writer length = { w.p + length_at, 0 }, whole = { w.p, 0 };
    put_number(&length, w.n - length_at - 4, 4);
    put_number(&whole, w.n - 4, 4);
    *ret = w.p;
    *ret_bytes = w.n;
}

static bool open_client(struct client *c)
{
    struct kafka *k = must_alloc(sizeof *k);
    uint64_t seed = seed_of(c->number);
    c->state = k;
    k->reply = must_alloc(REPLY_BYTES_MAX);
    k->count = batches_of((size_t)c->options->records * c->options->record_bytes);
    for (unsigned i = 0; i < k->count; i++)
        build(c, &k->batches[i], &k->bytes[i], &seed);
    c->fd = connect_to(c->options->port);
    return c->fd >= 0;
}

// The answer: length, correlation, one topic with its name, one partition with its error.
static enum outcome send_batch(struct client *c, uint64_t turn)
{
    struct kafka *k = c->state;
    unsigned batch = (unsigned)(turn % k->count);
    size_t filled = 0;
    if (!write_all(c->fd, k->batches[batch], k->bytes[batch]) ||
        !read_until(c->fd, k->reply, 4, &filled, 4))
        return SENT_BROKEN;
    uint32_t wire;
    memcpy(&wire, k->reply, 4);
    size_t whole = 4 + (size_t)ntohl(wire);
    size_t error_at = 4 + 4 + 4 + 2 + strlen(c->options->stream) + 4 + 4;
    if (whole > REPLY_BYTES_MAX || whole < error_at + 2 ||
        !read_until(c->fd, k->reply, whole, &filled, whole))
        return SENT_BROKEN;
    uint16_t error;
    memcpy(&error, k->reply + error_at, 2);
    if (error != 0)
        fprintf(stderr, "kafka: error %d\n", (int16_t)ntohs(error));
    return error == 0 ? SENT_OK : SENT_BROKEN;
}

static void close_client(struct client *c)
{
    struct kafka *k = c->state;
    for (unsigned i = 0; i < k->count; i++)
        free(k->batches[i]);
    free(k->reply);
    free(k);
    close(c->fd);
}

const struct peer kafka_peer = { "kafka", false, open_client, send_batch, close_client };
