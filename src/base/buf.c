// SPDX-License-Identifier: Apache-2.0
#include "base/buf.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUF_BYTES_FIRST = 256 };

void buf_init(struct buf *b, size_t max_bytes)
{
    *b = (struct buf){ .max = max_bytes };
}

void buf_init_request(struct buf *b, size_t max_bytes)
{
    *b = (struct buf){ .max = max_bytes, .of_request = true };
}

void buf_free(char *take_p, size_t cap)
{
    if (cap >= MEMORY_LARGE_BYTES)
        memory_give_large(take_p, cap);
    else
        free(take_p);
}

void buf_done(struct buf *b)
{
    buf_free(b->p, b->cap);
    memory_give(b->counted);
    *b = (struct buf){ .max = b->max, .of_request = b->of_request };
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    b->overflown = b->starved = false;
}

static size_t bytes_max(const struct buf *b)
{
    return b->max != 0 ? b->max : BUF_BYTES_MAX;
}

// Other memory of `cap` bytes with the same content; NULL: there is none, and nothing has changed.
static char *move(struct buf *b, size_t cap)
{
    if (cap < MEMORY_LARGE_BYTES)
        return memory_try_resize(b->p, cap);
    char *p = memory_try_large(cap);
    if (p == NULL)
        return NULL;
    if (b->n > 0)
        memcpy(p, b->p, b->n);
    buf_free(b->p, b->cap);
    return p;
}

// Grows to `cap` bytes or a little more, if there is memory.
static bool grow(struct buf *b, size_t cap)
{
    if (cap >= MEMORY_LARGE_BYTES)
        cap = MIN(memory_large_room(cap), bytes_max(b));
    if (cap <= MEMORY_SMALL_BYTES) {
        b->p = xrealloc(b->p, cap);
        b->cap = cap;
        return true;
    }
    size_t more = b->of_request ? cap - b->counted : 0;
    if (more > 0 && !memory_take(more, cap))
        return false;
    char *p = move(b, cap);
    if (p == NULL) {
        memory_give(more);
        return false;
    }
    b->p = p;
    b->cap = cap;
    b->counted += more;
    return true;
}

bool buf_grow(struct buf *b, size_t more)
{
    size_t max = bytes_max(b);
    if (b->overflown || more > max || b->n > max - more) {
        b->overflown = true;
        return false;
    }
    size_t doubled = MAX(b->cap * 2, (size_t)BUF_BYTES_FIRST);
    if (grow(b, MIN(MAX(doubled, b->n + more), max)) || grow(b, b->n + more))
        return true;
    b->overflown = b->starved = true;
    return false;
}

void buf_addf(struct buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(n >= 0);
    if (buf_reserve(b, (size_t)n + 1)) { // vsnprintf writes a terminator, which is not counted
        int written = vsnprintf(b->p + b->n, (size_t)n + 1, format, again);
        CHECK(written == n);
        b->n += (size_t)n;
    }
    va_end(again);
}

void buf_drop(struct buf *b, size_t n)
{
    CHECK(n <= b->n);
    if (n == 0)
        return;
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
}

Err buf_err(const struct buf *b)
{
    if (b->starved)
        return fail(ERR_MEMORY, "no memory for a text");
    return b->overflown ? fail(ERR_LIMIT, "the text is longer than its buffer may grow") : OK;
}
