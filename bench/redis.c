// SPDX-License-Identifier: Apache-2.0
// Redis Streams: the records of a batch are pipelined XADD commands, acknowledged one by one.
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REPLY_BYTES_MAX = 1 << 16 };

struct redis {
    char *batches[BATCHES_MOST];
    size_t bytes[BATCHES_MOST];
    unsigned count;
    char *reply;
};

static void build(const struct options *o, char **ret, size_t *ret_bytes, uint64_t *seed)
{
    size_t capacity = o->records * (o->record_bytes + 256), used = 0;
    char *p = must_alloc(capacity);
    for (unsigned i = 0; i < o->records; i++) {
        used += (size_t)snprintf(p + used, capacity - used,
                                 "*5\r\n$4\r\nXADD\r\n$%zu\r\n%s\r\n$1\r\n*\r\n$1\r\nd\r\n$%u\r\n",
                                 strlen(o->stream), o->stream, o->record_bytes);
        fill_text(p + used, o->record_bytes, seed);
        used += o->record_bytes;
        p[used++] = '\r';
        p[used++] = '\n';
    }
    *ret = p;
    *ret_bytes = used;
}

static bool open_client(struct client *c)
{
    struct redis *r = must_alloc(sizeof *r);
    uint64_t seed = seed_of(c->number);
    c->state = r;
    r->reply = must_alloc(REPLY_BYTES_MAX);
    r->count = batches_of((size_t)c->options->records * c->options->record_bytes);
    for (unsigned i = 0; i < r->count; i++)
        build(c->options, &r->batches[i], &r->bytes[i], &seed);
    c->fd = connect_to(c->options->port);
    return c->fd >= 0;
}

// Each XADD is answered by "$<n>\r\n<id>\r\n": two lines; an error is one that begins with '-'.
static enum outcome send_batch(struct client *c, uint64_t turn)
{
    struct redis *r = c->state;
    unsigned batch = (unsigned)(turn % r->count);
    if (!write_all(c->fd, r->batches[batch], r->bytes[batch]))
        return SENT_BROKEN;
    unsigned lines = 0;
    bool line_start = true;
    while (lines < 2 * c->options->records) {
        size_t filled = 0;
        if (!read_until(c->fd, r->reply, REPLY_BYTES_MAX, &filled, 1))
            return SENT_BROKEN;
        for (size_t i = 0; i < filled; i++) {
            if (line_start && r->reply[i] == '-') {
                fprintf(stderr, "redis: %.*s\n", (int)(filled - i), r->reply + i);
                return SENT_BROKEN;
            }
            line_start = r->reply[i] == '\n';
            lines += line_start;
        }
    }
    return SENT_OK;
}

static void close_client(struct client *c)
{
    struct redis *r = c->state;
    for (unsigned i = 0; i < r->count; i++)
        free(r->batches[i]);
    free(r->reply);
    free(r);
    close(c->fd);
}

const struct peer redis_peer = { "redis", false, open_client, send_batch, close_client };
