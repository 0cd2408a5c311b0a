// SPDX-License-Identifier: Apache-2.0
// Bytes under construction. One growth policy (doubling) and one maximum: what would exceed it is
// dropped and remembered, so that writers need one check at the end (buf_err). So is what needs
// more than MEMORY_SMALL_BYTES when there is no memory.
#pragma once
#include "base/str.h"

#include <string.h>

struct buf {
    char *p; // freed with buf_free
    size_t n;
    size_t cap;
    size_t max;      // bytes; 0 means BUF_BYTES_MAX
    bool overflown;  // something did not fit: the content is incomplete
    bool starved;    // and it was memory that was missing
    bool of_request; // what it holds counts against the budget of requests (base/memory.h)
    size_t counted;  // of it
};

enum { BUF_BYTES_MAX = 1 << 30 };

void buf_init(struct buf *b, size_t max_bytes);
void buf_init_request(struct buf *b, size_t max_bytes);
void buf_free(char *take_p, size_t cap); // the memory of a buffer that was taken from it
void buf_done(struct buf *b);            // frees; the buffer may be used again afterwards
static inline void buf_auto_done(struct buf *b)
{
    buf_done(b);
}
// AUTO_BUF(b); declares an empty buffer that is freed on every way out.
#define AUTO_BUF(name) __attribute__((cleanup(buf_auto_done))) struct buf name = { 0 }

void buf_clear(struct buf *b);             // keeps the memory
bool buf_grow(struct buf *b, size_t more); // buf_reserve when there is no room yet
// Room for `more` bytes at p + n; false: overflown.
static inline bool buf_reserve(struct buf *b, size_t more)
{
    return (!b->overflown && b->cap - b->n >= more) || buf_grow(b, more);
}
static inline void buf_add(struct buf *b, Str s)
{
    if (s.n == 0 || !buf_reserve(b, s.n))
        return;
    memcpy(b->p + b->n, s.p, s.n);
    b->n += s.n;
}
static inline void buf_add_byte(struct buf *b, char c)
{
    if (buf_reserve(b, 1))
        b->p[b->n++] = c;
}
void buf_addf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_drop(struct buf *b, size_t n);        // removes the first n bytes
Err buf_err(const struct buf *b);              // something did not fit: ERR_LIMIT or ERR_MEMORY
static inline Str buf_str(const struct buf *b) // valid until the next change
{
    return (Str){ .p = b->p != NULL ? b->p : "", .n = b->n };
}
