// SPDX-License-Identifier: Apache-2.0
#include "base/arena_end.h"
#include "base/memory.h"

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
    size_t counted; // taken of the budget of requests
    _Alignas(16) char data[];
};

struct arena {
    struct block *top;
    size_t next_bytes; // size of the next ordinary block
    size_t total_bytes;
    bool of_request;        // its blocks are counted
    struct arena_end *ends; // the newest first
};

// Lies in the arena itself.
struct arena_end {
    struct arena_end *next;
    struct block *block; // where the arena was when it was made
    size_t used;
    void (*fn)(void *self);
    void *self;
};

// A block of exactly this size. The first block of a request is not counted: connections and
// streams have limits of their own.
static struct block *block_make(struct arena *a, size_t bytes, bool may_be_refused)
{
    bool is_large = sizeof(struct block) + bytes >= MEMORY_LARGE_BYTES;
    if (is_large)
        bytes = memory_large_room(sizeof(struct block) + bytes) - sizeof(struct block);
    size_t counted = a->of_request && a->top != NULL ? bytes : 0,
           all = sizeof(struct block) + bytes;
    if (counted > 0 && !may_be_refused)
        memory_take_anyway(counted);
    else if (counted > 0 && !memory_take(counted, a->total_bytes + counted))
        return NULL;
    struct block *b = is_large ? may_be_refused ? memory_try_large(all) : memory_get_large(all)
                      : may_be_refused ? memory_try(all)
                                       : memory_get(all);
    if (b == NULL) {
        memory_give(counted);
        return NULL;
    }
    *b = (struct block){ .previous = a->top, .bytes = bytes, .counted = counted };
    POISON(b->data, bytes);
    return b;
}

// NULL only if the block may be refused, and was. With little memory it is as small as it can be.
static struct block *block_open(struct arena *a, size_t at_least, bool may_be_refused)
{
    size_t wanted = MAX(a->next_bytes, at_least);
    bool small = wanted <= ARENA_BLOCK_BYTES && !may_be_refused;
    struct block *b = block_make(a, wanted, !small);
    if (b == NULL && (wanted > at_least || !may_be_refused))
        b = block_make(a, at_least, may_be_refused);
    if (b == NULL)
        return NULL;
    if (a->next_bytes < ARENA_BLOCK_BYTES_MAX)
        a->next_bytes *= 2;
    a->total_bytes += b->bytes;
    return a->top = b;
}

static void block_close(struct arena *a, struct block *b)
{
    a->total_bytes -= b->bytes;
    memory_give(b->counted);
    UNPOISON(b->data, b->bytes);
    if (sizeof *b + b->bytes >= MEMORY_LARGE_BYTES)
        memory_give_large(b, sizeof *b + b->bytes);
    else
        free(b);
}

struct arena *arena_open(void)
{
    struct arena *a = xalloc(sizeof *a);
    a->next_bytes = ARENA_BLOCK_BYTES;
    return a;
}

struct arena *arena_open_request(void)
{
    AUTO(arena) a = memory_try_zeroed(sizeof *a);
    if (a == NULL)
        return NULL;
    a->next_bytes = ARENA_BLOCK_BYTES;
    a->of_request = true;
    if (block_open(a, ARENA_BLOCK_BYTES, true) == NULL)
        return NULL;
    struct arena *opened = a;
    a = NULL; // the caller's now
    return opened;
}

void arena_close(struct arena *a)
{
    if (a == NULL)
        return;
    arena_rewind(a, (ArenaMark){ 0 });
    free(a);
}

static size_t aligned(const struct block *b, size_t at, size_t align)
{
    uintptr_t start = (uintptr_t)b->data;
    return ((start + at + align - 1) & ~(uintptr_t)(align - 1)) - start;
}

static void *allocate(struct arena *a, size_t bytes, size_t align, bool may_be_refused)
{
    CHECK(align > 0 && (align & (align - 1)) == 0 && align <= 4096);
    CHECK(bytes < SIZE_MAX / 2);
    struct block *b = a->top;
    size_t start = b != NULL ? aligned(b, b->used, align) : 0;
    if (b == NULL || start > b->bytes || b->bytes - start < bytes) {
        b = block_open(a, bytes + align, may_be_refused);
        if (b == NULL)
            return NULL;
        start = aligned(b, 0, align);
    }
    b->used = start + bytes;
    UNPOISON(b->data + start, bytes);
    return b->data + start;
}

void *arena_alloc(struct arena *a, size_t bytes, size_t align)
{
    return memset(allocate(a, bytes, align, false), 0, bytes);
}

void *arena_try(struct arena *a, size_t bytes, size_t align)
{
    void *p = allocate(a, bytes, align, true);
    return p != NULL ? memset(p, 0, bytes) : NULL;
}

void *arena_try_raw(struct arena *a, size_t bytes, size_t align)
{
    return allocate(a, bytes, align, true);
}

void arena_at_end(struct arena *a, void (*fn)(void *self), void *self)
{
    struct arena_end *e = arena_new(a, struct arena_end, 1);
    *e = (struct arena_end){ a->ends, a->top, a->top->used, fn, self };
    a->ends = e;
}

// Whether what was allocated since then holds it.
static bool is_since(const struct arena *a, const struct arena_end *e, ArenaMark mark)
{
    if (e->block == mark.block)
        return e->used > mark.used;
    const struct block *b = a->top;
    while (b != mark.block && b != e->block)
        b = b->previous;
    return b != mark.block;
}

static void run_ends(struct arena *a, ArenaMark mark)
{
    while (a->ends != NULL && is_since(a, a->ends, mark)) {
        struct arena_end *e = a->ends;
        a->ends = e->next;
        e->fn(e->self);
    }
}

void arena_reset(struct arena *a)
{
    run_ends(a, (ArenaMark){ 0 });
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
    run_ends(a, mark);
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
    return memory_get_zeroed(1, bytes);
}

void *xrealloc(void *p, size_t bytes)
{
    return memory_resize(p, bytes);
}

size_t mul_checked(size_t a, size_t b)
{
    size_t product = 0;
    CHECK(!__builtin_mul_overflow(a, b, &product));
    return product;
}
