// SPDX-License-Identifier: Apache-2.0
// What operations see of their call. Without the front, so that tests of services can link it
// alone.
#include "aws/call.h"

#include <stdarg.h>
#include <stdio.h>

Err call_fail(struct call *c, const struct api_error *error, const char *format, ...)
{
    Err e = fail(ERR_FAULT, "an error of the service's model");
    if (c->error != NULL)
        return e;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(n >= 0);
    char *text = arena_alloc(c->arena, (size_t)n + 1, 1);
    vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    c->error_text = str_from(text, (size_t)n);
    c->error = error;
    return e;
}

Err call_wait(struct call *c)
{
    (void)c;
    return fail(ERR_WAIT, "the answer comes later");
}

Err call_on_pool(struct call *c, Err (*work)(struct call *c, void *self), void *self)
{
    c->work = work;
    c->work_self = self;
    return call_wait(c);
}

struct again {
    const void *in;
    void *out;
};

static Err run_again(struct call *c, void *self)
{
    const struct again *g = self;
    return c->op->run(c, g->in, g->out);
}

Err call_again_on_pool(struct call *c, const void *in, void *out)
{
    struct again *g = arena_new(c->arena, struct again, 1);
    *g = (struct again){ .in = in, .out = out };
    return call_on_pool(c, run_again, g);
}

Err call_take_body(struct call *c, struct call_sink *sink)
{
    CHECK(c->op == NULL || (c->op->streams && c->op->blocking));
    c->sink = sink;
    return call_wait(c);
}

void call_reply_source(struct call *c, struct call_source *source)
{
    c->source = source;
}

// At the end, so that they are written in their order.
static void add_pair(struct call *c, struct call_pair **at, Str name, Str value)
{
    while (*at != NULL)
        at = &(*at)->next;
    *at = arena_new(c->arena, struct call_pair, 1);
    **at = (struct call_pair){ .name = name, .value = value };
}

void call_detail(struct call *c, Str name, Str value)
{
    add_pair(c, &c->details, name, value);
}

void call_header(struct call *c, Str name, Str value)
{
    add_pair(c, &c->headers, name, value);
}

bool call_is_gone(const struct call *c)
{
    return c->gone != NULL && c->gone(c);
}

void call_done(struct call *c, Err e)
{
    c->done(c, e);
}
