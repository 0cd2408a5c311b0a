// SPDX-License-Identifier: Apache-2.0
#include "server/clock.h"
#include "base/logline.h"
#include "base/time.h"
#include "codec/marker.h"
#include "server/settings.h"

#include <pthread.h>
#include <stdlib.h>

enum { CLOCK_FILE_BYTES_MAX = 256, CLOCK_FORMAT = 2, CLOCK_LEAST_READER = 2 };
#define CLOCK_KIND S("headrace-clock")
#define CLOCK_FIRST S("headrace-clock 1 ") // of the first format, which had no checksum

struct clock {
    ClockConfig config;
    struct arena *names;
    Str path;
    struct io_clock *moved;
    pthread_mutex_t advancing;
};

static Err parse_file(Str content, int64_t *ret_ns)
{
    Str number;
    if (str_starts(content, CLOCK_FIRST)) {
        number = str_trim(str_skip(content, CLOCK_FIRST.n));
    } else {
        Marker m;
        TRY(marker_read(content, CLOCK_KIND, CLOCK_FORMAT, &m));
        number = marker_value(&m, S("offset_ns"));
    }
    int64_t ns = 0;
    if (str_i64(number, &ns).kind != ERR_NONE || ns < 0 || ns > IO_CLOCK_OFFSET_MAX)
        return fail(ERR_CORRUPT, "the file of the virtual clock is damaged");
    *ret_ns = ns;
    return OK;
}

static Err read_offset(struct io *io, Str path, int64_t *ret_ns)
{
    AUTO(arena) tmp = arena_open();
    Str text;
    Err e = io_read_file(io, tmp, path, CLOCK_FILE_BYTES_MAX, &text);
    if (e.kind == ERR_NOT_FOUND) {
        *ret_ns = 0;
        return OK;
    }
    TRY(e);
    return parse_file(text, ret_ns);
}

static Err write_offset(struct clock *c, struct arena *tmp, int64_t ns)
{
    AUTO_BUF(b);
    marker_begin(&b, CLOCK_KIND, CLOCK_FORMAT, CLOCK_LEAST_READER);
    marker_add(&b, S("offset_ns"), str_fmt(tmp, "%lld", (long long)ns));
    marker_end(&b);
    return io_write_file(c->config.io, tmp, c->path, buf_str(&b));
}

Err clock_open(const ClockConfig *config, struct clock **ret)
{
    AUTO(arena) names = arena_open();
    Str path = str_cat(names, config->data_path, S("/clock"));
    int64_t offset_ns = 0;
    TRY(read_offset(config->io, path, &offset_ns));
    struct clock *c = xalloc(sizeof *c);
    *c = (struct clock){ .config = *config, .names = names, .path = path };
    names = NULL; // handed over
    pthread_mutex_init(&c->advancing, NULL);
    io_clock_open(config->io, offset_ns, &c->moved);
    if (offset_ns > 0)
        LOG(LOG_WARN, "the clock of this server is a virtual one",
            F_INT("offset_seconds", offset_ns / NS_PER_S));
    *ret = c;
    return OK;
}

void clock_close(struct clock *c)
{
    if (c == NULL)
        return;
    io_clock_close(c->moved);
    arena_close(c->names);
    pthread_mutex_destroy(&c->advancing);
    free(c);
}

struct io *clock_io(struct clock *c)
{
    return io_clock_io(c->moved);
}

int64_t clock_offset_ns(const struct clock *c)
{
    return io_clock_offset(c->moved);
}

static Err advance_locked(struct clock *c, int64_t by_ns)
{
    AUTO(arena) tmp = arena_open();
    int64_t offset_ns = io_clock_offset(c->moved);
    if (by_ns > IO_CLOCK_OFFSET_MAX - offset_ns)
        return fail(ERR_LIMIT, "the clock cannot be moved so far");
    TRY(write_offset(c, tmp, offset_ns + by_ns));
    return io_clock_advance(c->moved, by_ns);
}

Err clock_advance(struct clock *c, int64_t by_ns)
{
    if (!c->config.may_advance)
        return fail(ERR_DENIED, "only the profile dev may move the clock");
    if (by_ns < 0)
        return fail(ERR_INVALID, "time does not go back");
    pthread_mutex_lock(&c->advancing);
    Err e = advance_locked(c, by_ns);
    pthread_mutex_unlock(&c->advancing);
    if (e.kind == ERR_NONE)
        LOG(LOG_WARN, "the clock was moved", F_INT("by_seconds", by_ns / NS_PER_S),
            F_INT("offset_seconds", clock_offset_ns(c) / NS_PER_S));
    return e;
}

// ---- The page

struct request {
    struct task task;
    struct clock *clock;
    struct http_exchange *x;
    int64_t by_ns;
};

static void answer(struct http_exchange *x, unsigned status, Str body)
{
    const HttpHeader headers[] = { { S("content-type"), S("application/json") },
                                   { S("cache-control"), S("no-store") } };
    http_reply(x, status, headers, COUNT_OF(headers), body);
}

static void answer_error(struct http_exchange *x, unsigned status, const char *text)
{
    answer(x, status, str_fmt(x->arena, "{\"error\":\"%s\"}", text));
}

static void answer_now(struct clock *c, struct http_exchange *x)
{
    struct io *io = clock_io(c);
    answer(x, 200,
           str_fmt(x->arena, "{\"now\":\"%.*s\",\"offset_seconds\":%lld}",
                   FMT(time_iso_ms(x->arena, io->wall_ns(io))),
                   (long long)(clock_offset_ns(c) / NS_PER_S)));
}

static void advance_on_pool(struct task *t)
{
    struct request *r = (struct request *)t;
    Err e = clock_advance(r->clock, r->by_ns);
    if (e.kind == ERR_NONE)
        answer_now(r->clock, r->x);
    else
        answer_error(r->x, e.kind == ERR_DENIED ? 403 : e.kind == ERR_LIMIT ? 400 : 500, e.text);
}

static void serve_post(struct clock *c, struct http_exchange *x)
{
    int64_t by_ns = 0;
    if (http_header(x, S("x-headrace-clock")).p == NULL) {
        answer_error(x, 403, "the header x-headrace-clock is missing");
        return;
    }
    if (!str_starts(x->query, S("advance=")) ||
        parse_duration(str_skip(x->query, sizeof "advance=" - 1), &by_ns).kind != ERR_NONE) {
        answer_error(x, 400, "give a duration: ?advance=25h");
        return;
    }
    struct request *r = arena_new(x->arena, struct request, 1);
    *r = (struct request){ .task.run = advance_on_pool, .clock = c, .x = x, .by_ns = by_ns };
    if (pool_submit(c->config.pool, &r->task).kind != ERR_NONE)
        answer_error(x, 503, "all workers are busy");
}

static void serve_clock(void *self, struct http_exchange *x)
{
    if (str_eq(x->method, S("POST")))
        serve_post(self, x);
    else
        answer_now(self, x);
}

Err clock_add_page(struct clock *c, struct front *front)
{
    return front_add_form(front, S("/_headrace/clock"), serve_clock, c);
}
