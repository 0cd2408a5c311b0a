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

bool call_is_gone(const struct call *c)
{
    return c->gone != NULL && c->gone(c);
}

void call_done(struct call *c, Err e)
{
    c->done(c, e);
}
