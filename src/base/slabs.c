// SPDX-License-Identifier: Apache-2.0
#include "base/slabs.h"
#include "base/arena.h"
#include "base/memory.h"
#include "base/pages.h"

#include <stdlib.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

struct slab {
    struct slab *next; // of the free ones
    uint8_t *bytes;
    size_t used;   // from the beginning
    size_t pieces; // that were not given back
};

size_t slabs_room(size_t bytes)
{
    return (bytes + MEMORY_PAGE_BYTES - 1) / MEMORY_PAGE_BYTES * MEMORY_PAGE_BYTES;
}

static void slab_free(struct slab *s)
{
    if (s == NULL)
        return;
    UNPOISON(s->bytes, SLAB_BYTES);
    free(s->bytes);
    free(s);
}

struct slab *slab_new(void)
{
    uint8_t *bytes = pages_new(SLAB_BYTES);
    if (bytes == NULL)
        return NULL;
    struct slab *s = xalloc(sizeof *s);
    s->bytes = bytes;
    POISON(s->bytes, SLAB_BYTES);
    return s;
}

static void keep_or_free(struct slabs *s, struct slab *take_slab)
{
    if (s->free_count >= s->free_max) {
        slab_free(take_slab);
        return;
    }
    take_slab->used = 0;
    take_slab->next = s->free;
    s->free = take_slab;
    s->free_count++;
}

// It has no room for what is wanted: it waits for its pieces to come back.
static void close_open(struct slabs *s)
{
    struct slab *of = s->open;
    s->open = NULL;
    if (of != NULL && of->pieces == 0)
        keep_or_free(s, of);
}

static bool has_room(const struct slab *of, size_t room)
{
    return of != NULL && room <= SLAB_BYTES - of->used;
}

void *slabs_take(struct slabs *s, size_t bytes, struct slab **ret_of)
{
    size_t room = slabs_room(bytes);
    CHECK(bytes > 0 && room <= SLAB_PIECE_BYTES_MOST);
    if (!has_room(s->open, room)) {
        if (s->free == NULL)
            return NULL;
        close_open(s);
        s->open = s->free;
        s->free = s->open->next;
        s->free_count--;
    }
    struct slab *of = s->open;
    uint8_t *p = of->bytes + of->used;
    of->used += room;
    of->pieces++;
    UNPOISON(p, bytes);
    *ret_of = of;
    return p;
}

void slabs_give(struct slabs *s, struct slab *of, void *take_p, size_t bytes)
{
    CHECK(of->pieces > 0);
    POISON(take_p, slabs_room(bytes));
    if (--of->pieces > 0)
        return;
    if (of == s->open)
        of->used = 0;
    else
        keep_or_free(s, of);
}

void slabs_add(struct slabs *s, struct slab *take_slab)
{
    close_open(s);
    s->open = take_slab;
}

void slabs_done(struct slabs *s)
{
    CHECK(s->open == NULL || s->open->pieces == 0);
    slab_free(s->open);
    for (struct slab *of = s->free, *next; of != NULL; of = next) {
        next = of->next;
        slab_free(of);
    }
    *s = (struct slabs){ 0 };
}
