// SPDX-License-Identifier: Apache-2.0
// Files and objects over HTTP/1.1: GET of one that is there, PUT of ever other ones. Requests are
// signed for S3; who serves plain files does not look at that. A record is an object of
// record_bytes; the stream is the path of its folder, "bucket/folder".
#include "call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum {
    PIECE_BYTES = 256 << 10,
    PATH_BYTES = 256,
    NAMES = 64, // that one client writes to in turn
};

struct mover {
    struct caller caller;
    char piece[PIECE_BYTES];
};

static bool open_client(struct client *c)
{
    struct mover *m = must_alloc(sizeof *m);
    uint64_t seed = seed_of(c->number);
    c->state = m;
    caller_open(&m->caller, c->options->port, PIECE_BYTES);
    m->caller.service = "s3";
    fill_text(m->piece, sizeof m->piece, &seed);
    return caller_connect(&m->caller, false);
}

static void close_client(struct client *c)
{
    struct mover *m = c->state;
    caller_close(&m->caller);
    free(m);
}

// The reply's head; how much of the body has come with it. 0: the connection broke.
static unsigned read_head(struct mover *m, uint64_t *ret_body, size_t *ret_got)
{
    char *p = m->caller.reply, *end = NULL;
    size_t filled = 0;
    while (end == NULL) {
        if (!read_until(m->caller.fd, p, PIECE_BYTES - 1, &filled, filled + 1))
            return 0;
        p[filled] = 0;
        end = strstr(p, "\r\n\r\n");
    }
    char *length = strcasestr(p, "\r\ncontent-length:");
    *ret_body = length != NULL && length < end ? strtoull(length + 17, NULL, 10) : 0;
    *ret_got = filled - (size_t)(end + 4 - p);
    return (unsigned)strtoul(p + 9, NULL, 10);
}

// What is left of the body goes into no memory of ours.
static bool drop(struct mover *m, uint64_t n)
{
    while (n > 0) {
        ssize_t got = recv(m->caller.fd, m->caller.reply,
                           n < PIECE_BYTES ? (size_t)n : (size_t)PIECE_BYTES, 0);
        if (got <= 0)
            return false;
        n -= (uint64_t)got;
    }
    return true;
}

static enum outcome finish(struct client *c, uint64_t *ret_body)
{
    struct mover *m = c->state;
    size_t got = 0;
    unsigned status = read_head(m, ret_body, &got);
    if (status / 100 != 2)
        fprintf(stderr, "%s: %u %.300s\n", c->options->stream, status, m->caller.reply);
    if (status == 0 || got > *ret_body || !drop(m, *ret_body - got))
        return SENT_BROKEN;
    return status / 100 == 2 ? SENT_OK : SENT_BROKEN;
}

static enum outcome get_one(struct client *c, uint64_t turn)
{
    (void)turn;
    struct mover *m = c->state;
    char head[CALL_HEAD_BYTES_MAX], path[PATH_BYTES];
    uint64_t body = 0;
    snprintf(path, sizeof path, "/%s", c->options->stream);
    size_t n = call_object_head(&m->caller, "GET", path, 0, head);
    if (n == 0 || !write_all(m->caller.fd, head, n))
        return SENT_BROKEN;
    enum outcome outcome = finish(c, &body);
    if (outcome != SENT_OK || body != c->options->record_bytes)
        return SENT_BROKEN;
    c->records++;
    c->bytes += body;
    return SENT_OK;
}

static enum outcome put_one(struct client *c, uint64_t turn)
{
    struct mover *m = c->state;
    char head[CALL_HEAD_BYTES_MAX], path[PATH_BYTES];
    size_t bytes = c->options->record_bytes, first = bytes < PIECE_BYTES ? bytes : PIECE_BYTES;
    uint64_t body;
    snprintf(path, sizeof path, "/%s/%u-%u", c->options->stream, c->number,
             (unsigned)(turn % NAMES));
    size_t n = call_object_head(&m->caller, "PUT", path, bytes, head);
    if (n == 0 || !write_both(m->caller.fd, head, n, m->piece, first))
        return SENT_BROKEN;
    for (size_t left = bytes - first, one; left > 0; left -= one) {
        one = left < PIECE_BYTES ? left : PIECE_BYTES;
        if (!write_all(m->caller.fd, m->piece, one))
            return SENT_BROKEN;
    }
    enum outcome outcome = finish(c, &body);
    c->records += outcome == SENT_OK;
    c->bytes += outcome == SENT_OK ? bytes : 0;
    return outcome;
}

const struct peer object_get_peer = { "object-get", true, open_client, get_one, close_client };
const struct peer object_put_peer = { "object-put", true, open_client, put_one, close_client };
