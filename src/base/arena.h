// SPDX-License-Identifier: Apache-2.0
// Memory that dies together: a chain of blocks, allocated forwards, freed at once.
//
// A parameter named `a` receives results, one named `tmp` scratch only. An arena belongs to one
// thread at a time. Under address sanitizer released bytes are poisoned.
#pragma once
#include "base/err.h"

struct arena;

struct arena *arena_open(void);
// An arena whose blocks beyond the first count against the budget of requests (base/memory.h).
// NULL: there is no memory.
struct arena *arena_open_request(void);
void arena_close(struct arena *a); // NULL is fine
AUTO_CLOSE(arena)

// Zeroed memory; never NULL, and so for small things only. `align` is a power of two.
void *arena_alloc(struct arena *a, size_t bytes, size_t align);
#define arena_new(a, type, count) \
    ((type *)arena_alloc((a), mul_checked(sizeof(type), (count)), _Alignof(type)))

// The same for what may be as large as a request makes it. NULL: there is no memory (ERR_MEMORY).
void *arena_try(struct arena *a, size_t bytes, size_t align);
#define arena_try_new(a, type, count) \
    ((type *)arena_try((a), mul_checked(sizeof(type), (count)), _Alignof(type)))

// The same, but what it holds is left to chance: for what is written whole before it is read.
void *arena_try_raw(struct arena *a, size_t bytes, size_t align);
#define arena_try_raw_new(a, type, count) \
    ((type *)arena_try_raw((a), mul_checked(sizeof(type), (count)), _Alignof(type)))

// Frees everything but one block, which is kept for the next use.
void arena_reset(struct arena *a);

// Bytes taken from the system by this arena.
size_t arena_bytes(const struct arena *a);

typedef struct ArenaMark {
    void *block;
    size_t used;
} ArenaMark;

ArenaMark arena_mark(struct arena *a);
void arena_rewind(struct arena *a, ArenaMark mark); // frees what was allocated since the mark

// Zeroed heap memory for bookkeeping, never NULL: it draws on the reserve (base/memory.h). Free
// with free(). What a client decides the size of is got with memory_try.
void *xalloc(size_t bytes);
void *xrealloc(void *p, size_t bytes);

// a * b; the program ends when it overflows, which no checked input may cause.
size_t mul_checked(size_t a, size_t b);
