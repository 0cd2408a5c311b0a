// SPDX-License-Identifier: Apache-2.0
#include "base/pages.h"
#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { HUGE_PAGE_BYTES = 2 << 20, NEAR_CLASSES = 2 };

struct pages_piece {
    struct pages_piece *next, *previous; // of its size
    struct pages_piece *older, *newer;   // of all
    size_t room;
    unsigned class;
};

// Four sizes between one power of two and the next.
static unsigned class_of(size_t bytes, size_t *ret_room)
{
    size_t pages = MAX((bytes + MEMORY_PAGE_BYTES - 1) / MEMORY_PAGE_BYTES, (size_t)1);
    unsigned power = (unsigned)(63 - __builtin_clzll(pages));
    size_t step = MAX((size_t)1 << power >> 2, (size_t)1);
    size_t over = (pages - ((size_t)1 << power) + step - 1) / step;
    *ret_room = (((size_t)1 << power) + over * step) * MEMORY_PAGE_BYTES;
    return power * 4 + (unsigned)over;
}

size_t pages_room(size_t bytes)
{
    size_t room;
    class_of(bytes, &room);
    return room;
}

static void put(struct pages_kept *k, struct pages_piece *p)
{
    p->next = k->free[p->class];
    if (p->next != NULL)
        p->next->previous = p;
    k->free[p->class] = p;
    p->older = k->newest;
    *(p->older != NULL ? &p->older->newer : &k->oldest) = p;
    k->newest = p;
    k->bytes += p->room;
}

static void take(struct pages_kept *k, struct pages_piece *p)
{
    *(p->previous != NULL ? &p->previous->next : &k->free[p->class]) = p->next;
    if (p->next != NULL)
        p->next->previous = p->previous;
    *(p->older != NULL ? &p->older->newer : &k->oldest) = p->newer;
    *(p->newer != NULL ? &p->newer->older : &k->newest) = p->older;
    k->bytes -= p->room;
    UNPOISON(p, p->room);
}

void *pages_take(struct pages_kept *k, size_t bytes)
{
    size_t room;
    unsigned class = class_of(bytes, &room);
    struct pages_piece *found = class < PAGES_CLASSES ? k->free[class] : NULL;
    if (found != NULL)
        take(k, found);
    return found;
}

void *pages_take_near(struct pages_kept *k, size_t bytes, size_t *ret_bytes)
{
    size_t room;
    class_of(bytes, &room);
    for (unsigned i = 0; i <= NEAR_CLASSES; i++) {
        void *p = pages_take(k, room);
        if (p != NULL) {
            *ret_bytes = room;
            return p;
        }
        class_of(room + MEMORY_PAGE_BYTES, &room); // the next one
    }
    return NULL;
}

static void drop_oldest(struct pages_kept *k)
{
    struct pages_piece *oldest = k->oldest;
    take(k, oldest);
    free(oldest);
}

void pages_give(struct pages_kept *k, void *take_p, size_t bytes)
{
    size_t room;
    unsigned class = class_of(bytes, &room);
    if (class >= PAGES_CLASSES || room > k->bytes_max) {
        free(take_p);
        return;
    }
    while (k->bytes > k->bytes_max - room)
        drop_oldest(k);
    struct pages_piece *piece = take_p;
    *piece = (struct pages_piece){ .room = room, .class = class };
    put(k, piece);
    POISON(piece + 1, room - sizeof *piece); // leak checkers follow the lists
}

void pages_drop(struct pages_kept *k)
{
    while (k->oldest != NULL)
        drop_oldest(k);
}

// Pages of 2 MiB are cheaper to fill and to pin. What is beyond the room is never touched.
static size_t whole_bytes(size_t bytes, size_t *ret_align)
{
    size_t room = pages_room(bytes);
    *ret_align = room < HUGE_PAGE_BYTES ? MEMORY_PAGE_BYTES : HUGE_PAGE_BYTES;
    return (room + *ret_align - 1) / *ret_align * *ret_align;
}

static void *with_huge_pages(void *p, size_t bytes)
{
    size_t room = pages_room(bytes);
    if (p != NULL && room >= HUGE_PAGE_BYTES)
        (void)madvise(p, room, MADV_HUGEPAGE); // a hint; it may not be possible
    return p;
}

void *pages_get(size_t bytes)
{
    size_t align, whole = whole_bytes(bytes, &align);
    return with_huge_pages(memory_get_aligned(align, whole), bytes);
}

void *pages_new(size_t bytes)
{
    size_t align, whole = whole_bytes(bytes, &align);
    return with_huge_pages(aligned_alloc(align, whole), bytes);
}
