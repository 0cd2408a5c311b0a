// SPDX-License-Identifier: Apache-2.0
// PostgreSQL: a batch is one COPY into a table (id bigserial, data text), a record alone an INSERT
// that was prepared; committed when it answers. Speaks just enough of protocol 3.0 for that, to a
// server that trusts local connections.
#include "load.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REPLY_BYTES_MAX = 1 << 16 };

struct postgres {
    char *batches[BATCHES_MOST]; // CopyData and CopyDone; or Bind, Execute and Sync
    size_t bytes[BATCHES_MOST];
    unsigned count;
    char copy[256]; // the Query message
    size_t copy_bytes;
    char *reply;
};

static void put_u32(char *p, size_t value)
{
    uint32_t wire = htonl((uint32_t)value);
    memcpy(p, &wire, 4);
}

static void build_copy(const struct options *o, char **ret, size_t *ret_bytes, uint64_t *seed)
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

// The statement and the portal have no name; one parameter, text, in text; no results.
static void build_insert(const struct options *o, char **ret, size_t *ret_bytes, uint64_t *seed)
{
    static const char execute[] = "E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04";
    size_t bind = 4 + 1 + 1 + 2 + 2 + 4 + o->record_bytes + 2, n = sizeof execute - 1;
    char *p = must_alloc(1 + bind + n);
    p[0] = 'B';
    put_u32(p + 1, bind);
    p[10] = 1; // of two bytes: how many parameters
    put_u32(p + 11, o->record_bytes);
    fill_text(p + 15, o->record_bytes, seed);
    memcpy(p + 1 + bind, execute, n);
    *ret = p;
    *ret_bytes = 1 + bind + n;
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

static bool log_in(struct client *c)
{
    static const char words[] = "user\0bench\0database\0bench\0"; // and the array's own final zero
    char startup[8 + sizeof words];
    put_u32(startup, sizeof startup);
    put_u32(startup + 4, 196608);
    memcpy(startup + 8, words, sizeof words);
    c->fd = connect_to(c->options->port);
    return c->fd >= 0 && write_all(c->fd, startup, sizeof startup) && await(c, 'Z');
}

// Parse, for a statement without a name whose parameter's type follows from the table; and Sync.
static bool prepare(struct client *c)
{
    char message[256] = { 'P' };
    int n = snprintf(message + 6, sizeof message - 16, "INSERT INTO %s (data) VALUES ($1)",
                     c->options->stream);
    size_t parse = 4 + 1 + (size_t)n + 1 + 2;
    put_u32(message + 1, parse);
    memcpy(message + 1 + parse, "S\0\0\0\x04", 5);
    return write_all(c->fd, message, 1 + parse + 5) && await(c, 'Z');
}

static bool open_client(struct client *c)
{
    const struct options *o = c->options;
    struct postgres *g = must_alloc(sizeof *g);
    uint64_t seed = seed_of(c->number);
    c->state = g;
    g->reply = must_alloc(REPLY_BYTES_MAX);
    g->count = batches_of((size_t)o->records * o->record_bytes);
    for (unsigned i = 0; i < g->count; i++)
        (o->records > 1 ? build_copy : build_insert)(o, &g->batches[i], &g->bytes[i], &seed);
    int n = snprintf(g->copy + 5, sizeof g->copy - 5, "COPY %s (data) FROM STDIN", o->stream);
    g->copy[0] = 'Q';
    g->copy_bytes = 5 + (size_t)n + 1;
    put_u32(g->copy + 1, g->copy_bytes - 1);
    return log_in(c) && (o->records > 1 || prepare(c));
}

static enum outcome send_batch(struct client *c, uint64_t turn)
{
    struct postgres *g = c->state;
    unsigned batch = (unsigned)(turn % g->count);
    bool good =
        c->options->records == 1 || (write_all(c->fd, g->copy, g->copy_bytes) && await(c, 'G'));
    good = good && write_all(c->fd, g->batches[batch], g->bytes[batch]) && await(c, 'Z');
    return good ? SENT_OK : SENT_BROKEN;
}

static void close_client(struct client *c)
{
    struct postgres *g = c->state;
    for (unsigned i = 0; i < g->count; i++)
        free(g->batches[i]);
    free(g->reply);
    free(g);
    close(c->fd);
}

const struct peer postgres_peer = { "postgres", false, open_client, send_batch, close_client };
