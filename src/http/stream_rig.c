// SPDX-License-Identifier: Apache-2.0
#include "http/stream_rig.h"

#include "codec/crc.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char byte_at(size_t i)
{
    return (char)(i * 31 + (i >> 10) * 7);
}

Str stream_bytes(struct arena *a, size_t n)
{
    char *p = arena_alloc(a, n + 1, 1);
    for (size_t i = 0; i < n; i++)
        p[i] = byte_at(i);
    return str_from(p, n);
}

Str stream_answer(struct arena *a, size_t n, const char *trailers)
{
    return str_fmt(a, "%zu %08x %s", n, crc32c(0, stream_bytes(a, n).p, n), trailers);
}

// ---- Taking

struct taker {
    struct http_sink sink;
    struct stream_rig *rig;
    struct http_exchange *x;
    size_t n, fails_at;
    uint32_t crc;
};

static Err take(struct http_sink *sink, Str piece)
{
    struct taker *t = (struct taker *)sink;
    struct stream_rig *s = t->rig;
    pthread_mutex_lock(&s->lock);
    s->takes++;
    pthread_cond_broadcast(&s->changed);
    while (s->shut)
        pthread_cond_wait(&s->changed, &s->lock);
    s->taken_bytes += piece.n;
    s->largest = MAX(s->largest, piece.n);
    pthread_mutex_unlock(&s->lock);
    CHECK(piece.n > 0 && piece.n <= HTTP_PIECE_BYTES_MAX);
    t->n += piece.n;
    t->crc = crc32c(t->crc, piece.p, piece.n);
    return t->n >= t->fails_at ? fail(ERR_DENIED, "test") : OK;
}

static void end(struct http_sink *sink, Err e)
{
    struct taker *t = (struct taker *)sink;
    struct stream_rig *s = t->rig;
    struct http_exchange *x = t->x;
    AUTO_BUF(trailers);
    for (size_t i = 0; i < x->trailer_count; i++)
        buf_addf(&trailers, "%.*s=%.*s;", FMT(x->trailers[i].name), FMT(x->trailers[i].value));
    Str text = e.kind == ERR_NONE
                   ? str_fmt(x->arena, "%zu %08x %.*s", t->n, t->crc, FMT(buf_str(&trailers)))
                   : str_of(err_kind_name(e.kind));
    free(t);
    http_reply(x, e.kind == ERR_NONE ? 200 : 400, NULL, 0, text);
    pthread_mutex_lock(&s->lock);
    CHECK(s->end_count < ENDS_MAX);
    s->ends[s->end_count++] = e.kind;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void stream_take(struct stream_rig *s, struct http_exchange *x)
{
    struct taker *t = xalloc(sizeof *t);
    *t = (struct taker){ .sink = { .take = take, .end = end }, .rig = s, .x = x };
    uint64_t n = SIZE_MAX;
    if (x->query.p != NULL)
        err_ignore(str_u64(x->query, &n)); // then it does not fail
    t->fails_at = (size_t)n;
    http_body_pump(x, s->pool, &t->sink);
}

// ---- Giving

struct giver {
    struct http_source source;
    int file;
    struct stream_rig *rig;
    size_t at, cut_at;
};

static Err give(struct http_source *source, char *p, size_t n, size_t *ret_n)
{
    struct giver *g = (struct giver *)source;
    n = MIN(n, 100000 + g->at % 7777);
    if (g->at >= g->cut_at)
        return fail(ERR_IO, "test");
    for (size_t i = 0; i < n; i++)
        p[i] = byte_at(g->at + i);
    g->at += n;
    pthread_mutex_lock(&g->rig->lock);
    g->rig->read_bytes += n;
    pthread_mutex_unlock(&g->rig->lock);
    *ret_n = n;
    return OK;
}

// Of a file every third stretch is to be read.
static void place(struct http_source *source, size_t n, IoSpan *ret_span)
{
    enum { STRETCH = 300000 };
    struct giver *g = (struct giver *)source;
    size_t stretch = g->at / STRETCH, end = (stretch + 1) * STRETCH;
    if (stretch % 3 == 1)
        return;
    n = MIN(n, (stretch % 3 == 2 ? end + STRETCH : end) - g->at);
    *ret_span = (IoSpan){ g->file, g->at, n };
    g->at += n;
    pthread_mutex_lock(&g->rig->lock);
    g->rig->placed_bytes += n;
    pthread_mutex_unlock(&g->rig->lock);
}

static int make_file(size_t n)
{
    int fd = memfd_create("source", MFD_CLOEXEC);
    CHECK(fd >= 0);
    char piece[4096];
    for (size_t at = 0; at < n; at += sizeof piece) {
        size_t part = MIN(n - at, sizeof piece);
        for (size_t i = 0; i < part; i++)
            piece[i] = byte_at(at + i);
        CHECK(pwrite(fd, piece, part, (off_t)at) == (ssize_t)part);
    }
    return fd;
}

static void close_giver(struct http_source *source)
{
    struct giver *g = (struct giver *)source;
    struct stream_rig *s = g->rig;
    if (g->source.place != NULL)
        close(g->file);
    free(g);
    pthread_mutex_lock(&s->lock);
    s->closes++;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void give_from(struct stream_rig *s, struct http_exchange *x, bool cut)
{
    struct giver *g = xalloc(sizeof *g);
    uint64_t n = 0;
    CHECK(str_u64(x->query, &n).kind == ERR_NONE);
    *g = (struct giver){ .source = { .read = give, .close = close_giver },
                         .rig = s,
                         .cut_at = cut ? (size_t)n / 2 : SIZE_MAX };
    if (str_eq(x->path, S("/file")) || str_eq(x->path, S("/shorter"))) {
        g->source.place = place;
        g->file = make_file(str_eq(x->path, S("/file")) ? n : n / 2);
    }
    HttpHeader type = { S("Content-Type"), S("x/y") };
    http_reply_source(x, s->pool, 200, &type, 1, n, &g->source);
}

// ---- The handler

static bool wants_stream(void *self, const struct http_exchange *x)
{
    (void)self;
    return !str_eq(x->path, S("/whole"));
}

static void request(void *self, struct http_exchange *x)
{
    struct stream_rig *s = self;
    if (str_eq(x->path, S("/source")) || str_eq(x->path, S("/cut")) ||
        str_eq(x->path, S("/file")) || str_eq(x->path, S("/shorter"))) {
        give_from(s, x, str_eq(x->path, S("/cut")));
    } else if (str_eq(x->path, S("/refuse"))) {
        http_reply(x, 403, NULL, 0, S("no"));
    } else if (str_eq(x->path, S("/later"))) {
        pthread_mutex_lock(&s->lock);
        s->held = x;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
    } else if (x->streams) {
        CHECK(x->body.n == 0);
        stream_take(s, x);
    } else {
        http_reply(x, 200, NULL, 0, str_fmt(x->arena, "whole %zu", x->body.n));
    }
}

static size_t body_max(void *self, const struct http_exchange *x)
{
    (void)x;
    struct stream_rig *s = self;
    return s->r.desk.body_bytes_max;
}

void stream_rig_init(struct stream_rig *s)
{
    *s = (struct stream_rig){ 0 };
    rig_init(&s->r);
    s->r.desk.body_bytes_max = (size_t)1 << 30;
    s->r.config.handler = (struct http_handler){
        .self = s, .request = request, .wants_stream = wants_stream, .body_max = body_max
    };
    EXPECT(pthread_mutex_init(&s->lock, NULL) == 0);
    EXPECT(pthread_cond_init(&s->changed, NULL) == 0);
}

void stream_rig_start(struct stream_rig *s)
{
    EXPECT_OK(pool_open(2, 64, "test", &s->pool));
    rig_start(&s->r);
}

void stream_rig_stop(struct stream_rig *s)
{
    rig_stop(&s->r);
    pool_close(s->pool);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
}

void stream_shut(struct stream_rig *s, bool shut)
{
    pthread_mutex_lock(&s->lock);
    s->shut = shut;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

size_t stream_count(struct stream_rig *s, const size_t *which)
{
    pthread_mutex_lock(&s->lock);
    size_t n = *which;
    pthread_mutex_unlock(&s->lock);
    return n;
}

ErrKind stream_wait_end(struct stream_rig *s, size_t n)
{
    pthread_mutex_lock(&s->lock);
    while (s->end_count <= n)
        pthread_cond_wait(&s->changed, &s->lock);
    ErrKind kind = s->ends[n];
    pthread_mutex_unlock(&s->lock);
    return kind;
}

struct http_exchange *stream_wait_held(struct stream_rig *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->held == NULL)
        pthread_cond_wait(&s->changed, &s->lock);
    struct http_exchange *x = s->held;
    s->held = NULL;
    pthread_mutex_unlock(&s->lock);
    return x;
}

void stream_wait_closes(struct stream_rig *s, size_t n)
{
    pthread_mutex_lock(&s->lock);
    while (s->closes < n)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}
