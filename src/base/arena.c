// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define POISON_ENABLED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON_ENABLED 1
#endif
#endif
#ifdef POISON_ENABLED
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { ARENA_BLOCK_BYTES = 8192, ARENA_BLOCK_BYTES_MAX = 1 << 20 };

struct block {
    struct block *previous;
    size_t bytes; // of data
    size_t used;
    _Alignas(16) char data[];
};

struct arena {
    struct block *top;
    size_t next_bytes; // size of the next ordinary block
    size_t total_bytes;
};

static struct block *block_open(struct arena *a, size_t at_least, struct block *previous)
{
    size_t bytes = MAX(a->next_bytes, at_least);
    if (a->next_bytes < ARENA_BLOCK_BYTES_MAX)
        a->next_bytes *= 2;
    struct block *b = malloc(sizeof *b + bytes);
    CHECK(b != NULL);
    *b = (struct block){ .previous = previous, .bytes = bytes };
    POISON(b->data, bytes);
    a->total_bytes += bytes;
    return b;
}

static void block_close(struct arena *a, struct block *b)
{
    a->total_bytes -= b->bytes;
    UNPOISON(b->data, b->bytes);
    free(b);
}

struct arena *arena_open(void)
{
    struct arena *a = xalloc(sizeof *a);
    a->next_bytes = ARENA_BLOCK_BYTES;
    return a;
}

void arena_close(struct arena *a)
{
    if (a == NULL)
        return;
    arena_rewind(a, (ArenaMark){ 0 });
    free(a);
}

void *arena_alloc(struct arena *a, size_t bytes, size_t align)
{
    CHECK(align > 0 && (align & (align - 1)) == 0 && align <= 4096);
    CHECK(bytes < SIZE_MAX / 2);
    struct block *b = a->top;
    size_t start = 0;
    if (b != NULL)
        start = (((uintptr_t)b->data + b->used + align - 1) & ~(align - 1)) - (uintptr_t)b->data;
    if (b == NULL || start > b->bytes || b->bytes - start < bytes) {
        b = a->top = block_open(a, bytes + align, a->top);
        start = (((uintptr_t)b->data + align - 1) & ~(align - 1)) - (uintptr_t)b->data;
    }
    b->used = start + bytes;
    void *p = b->data + start;
    UNPOISON(p, bytes);
    return memset(p, 0, bytes);
}

void arena_reset(struct arena *a)
{
    struct block *first = a->top;
    if (first == NULL)
        return;
    while (first->previous != NULL) {
        struct block *older = first->previous;
        block_close(a, first);
        first = older;
    }
    first->used = 0;
    POISON(first->data, first->bytes);
    a->top = first;
    a->next_bytes = ARENA_BLOCK_BYTES;
}

size_t arena_bytes(const struct arena *a)
{
    return a->total_bytes;
}

ArenaMark arena_mark(struct arena *a)
{
    return (ArenaMark){ .block = a->top, .used = a->top != NULL ? a->top->used : 0 };
}

void arena_rewind(struct arena *a, ArenaMark mark)
{
    while (a->top != mark.block) {
        CHECK(a->top != NULL);
        struct block *older = a->top->previous;
        block_close(a, a->top);
        a->top = older;
    }
    if (a->top == NULL) {
        a->next_bytes = ARENA_BLOCK_BYTES;
        return;
    }
    CHECK(mark.used <= a->top->used);
    a->top->used = mark.used;
    POISON(a->top->data + mark.used, a->top->bytes - mark.used);
}

void *xalloc(size_t bytes)
{
    void *p = calloc(1, bytes > 0 ? bytes : 1);
    CHECK(p != NULL);
    return p;
}

void *xrealloc(void *p, size_t bytes)
{
    void *moved = realloc(p, bytes > 0 ? bytes : 1);
    CHECK(moved != NULL);
    return moved;
}

size_t mul_checked(size_t a, size_t b)
{
    size_t product = 0;
    CHECK(!__builtin_mul_overflow(a, b, &product));
    return product;
}
