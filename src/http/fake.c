// SPDX-License-Identifier: Apache-2.0
// An http without sockets, for tests of what stands above it: they define http_reply and are linked
// with this instead of with the room. Everything that ends an exchange comes to http_reply, nothing
// streams. Weak functions are those that a test may want to answer itself.
#include "http/server.h"

__attribute__((weak)) bool http_replies_full(const struct http_exchange *x)
{
    (void)x;
    return false;
}

__attribute__((weak)) bool http_stream_gone(const struct http_exchange *x)
{
    (void)x;
    return false;
}

bool http_wait_is_over(const struct http_exchange *x)
{
    (void)x;
    return false;
}

Str http_header(const struct http_exchange *x, Str name)
{
    for (size_t i = 0; i < x->header_count; i++)
        if (str_eq(x->headers[i].name, name))
            return x->headers[i].value;
    return (Str){ 0 };
}

void http_reply_take(struct http_exchange *x, unsigned status, const HttpHeader *headers, size_t n,
                     struct buf *take_body)
{
    http_reply(x, status, headers, n, buf_str(take_body));
    buf_done(take_body);
}

void http_reply_share(struct http_exchange *x, unsigned status, const HttpHeader *headers, size_t n,
                      Str body, void (*release)(void *owner), void *owner)
{
    http_reply(x, status, headers, n, body);
    release(owner);
}

void http_reply_source(struct http_exchange *x, struct pool *pool, unsigned status,
                       const HttpHeader *headers, size_t n, uint64_t length,
                       struct http_source *take_source)
{
    (void)pool;
    (void)length;
    http_reply(x, status, headers, n, S(""));
    take_source->close(take_source);
}

void http_body_pump(struct http_exchange *x, struct pool *pool, struct http_sink *sink)
{
    (void)x;
    (void)pool;
    (void)sink;
}

void http_stream_start(struct http_exchange *x, unsigned status, const HttpHeader *headers,
                       size_t n)
{
    http_reply(x, status, headers, n, S(""));
}

void http_stream_watch(struct http_exchange *x, void (*tell)(void *self), void *self)
{
    (void)x;
    (void)tell;
    (void)self;
}

void http_stream_write(struct http_exchange *x, Str piece)
{
    (void)x;
    (void)piece;
}

void http_stream_share(struct http_exchange *x, Str piece, void (*release)(void *owner),
                       void *owner)
{
    (void)x;
    (void)piece;
    release(owner);
}

size_t http_stream_pending(const struct http_exchange *x)
{
    (void)x;
    return 0;
}

bool http_stream_closing(const struct http_exchange *x)
{
    (void)x;
    return false;
}

void http_stream_end(struct http_exchange *x)
{
    (void)x;
}
