// SPDX-License-Identifier: Apache-2.0
// PostgreSQL: a batch is one COPY into a table (id bigserial, data text), committed when it
// answers. Speaks just enough of protocol 3.0 for that, to a server that trusts local connections.
#include "load.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REPLY_BYTES_MAX = 1 << 16 };

struct postgres {
    char *batches[BATCHES]; // the CopyData message and CopyDone
    size_t bytes[BATCHES];
    char copy[256]; // the Query message
    size_t copy_bytes;
    char *reply;
};

static void put_u32(char *p, size_t value)
{
    uint32_t wire = htonl((uint32_t)value);
    memcpy(p, &wire, 4);
}

static void build(const struct options *o, char **ret, size_t *ret_bytes, uint64_t *seed)
{
    size_t rows = o->records * ((size_t)o->record_bytes + 1);
    char *p = must_alloc(5 + rows + 5);
    p[0] = 'd';
    put_u32(p + 1, 4 + rows);
    char *at = p + 5;
    for (unsigned i = 0; i < o->records; i++) {
        fill_text(at, o->record_bytes, seed);
        at += o->record_bytes;
        *at++ = '\n';
    }
    *at = 'c';
    put_u32(at + 1, 4);
    *ret = p;
    *ret_bytes = 5 + rows + 5;
}

// Reads messages until one of type `wanted`; an error message ends it.
static bool await(struct client *c, char wanted)
{
    struct postgres *g = c->state;
    while (true) {
        size_t filled = 0;
        if (!read_until(c->fd, g->reply, 5, &filled, 5)) // the header alone, never beyond it
            return false;
        uint32_t wire;
        memcpy(&wire, g->reply + 1, 4);
        size_t whole = 1 + (size_t)ntohl(wire);
        if (whole > REPLY_BYTES_MAX || !read_until(c->fd, g->reply, whole, &filled, whole))
            return false;
        if (g->reply[0] == 'E') {
            fprintf(stderr, "postgres refuses: %.*s\n", (int)(whole - 5), g->reply + 5);
            return false;
        }
        if (g->reply[0] == wanted)
            return true;
    }
}

static bool open_client(struct client *c)
{
    struct postgres *g = must_alloc(sizeof *g);
    uint64_t seed = 88172645463325252u + c->number;
    c->state = g;
    g->reply = must_alloc(REPLY_BYTES_MAX);
    for (unsigned i = 0; i < BATCHES; i++)
        build(c->options, &g->batches[i], &g->bytes[i], &seed);
    int n =
        snprintf(g->copy + 5, sizeof g->copy - 5, "COPY %s (data) FROM STDIN", c->options->stream);
    g->copy[0] = 'Q';
    g->copy_bytes = 5 + (size_t)n + 1;
    put_u32(g->copy + 1, g->copy_bytes - 1);
    c->fd = connect_to(c->options->port);
    if (c->fd < 0)
        return false;
    static const char words[] = "user\0bench\0database\0bench\0"; // and the array's own final zero
    char startup[8 + sizeof words];
    put_u32(startup, sizeof startup);
    put_u32(startup + 4, 196608);
    memcpy(startup + 8, words, sizeof words);
    return write_all(c->fd, startup, sizeof startup) && await(c, 'Z');
}

static bool send_batch(struct client *c, unsigned batch)
{
    struct postgres *g = c->state;
    return write_all(c->fd, g->copy, g->copy_bytes) && await(c, 'G') &&
           write_all(c->fd, g->batches[batch], g->bytes[batch]) && await(c, 'Z');
}

static void close_client(struct client *c)
{
    struct postgres *g = c->state;
    for (unsigned i = 0; i < BATCHES; i++)
        free(g->batches[i]);
    free(g->reply);
    free(g);
    close(c->fd);
}

const struct peer postgres_peer = { "postgres", open_client, send_batch, close_client };
