// SPDX-License-Identifier: Apache-2.0
// The tail cache: the newest blocks stay in memory, in the very buffers they were written from.
// Readers take a reference under the lock and copy without it.
#include "base/memory.h"
#include "store/log/journal_priv.h"

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

enum { HUGE_PAGE_BYTES = 2 << 20 };

// ---- Buffers

struct block_buffer {
    struct block_buffer *next;
};

// Four sizes between one power of two and the next.
static unsigned class_of(size_t bytes, size_t *ret_room)
{
    size_t pages = MAX((bytes + JOURNAL_ALIGN_BYTES - 1) / JOURNAL_ALIGN_BYTES, (size_t)1);
    unsigned power = (unsigned)(63 - __builtin_clzll(pages));
    size_t step = MAX((size_t)1 << power >> 2, (size_t)1);
    size_t over = (pages - ((size_t)1 << power) + step - 1) / step;
    *ret_room = (((size_t)1 << power) + over * step) * JOURNAL_ALIGN_BYTES;
    return power * 4 + (unsigned)over;
}

size_t block_buffer_room(size_t bytes)
{
    size_t room;
    class_of(bytes, &room);
    return room;
}

uint8_t *block_buffer_take(struct block_buffers *p, size_t bytes)
{
    size_t room;
    unsigned class = class_of(bytes, &room);
    struct block_buffer *found = class < BUFFER_CLASSES ? p->free[class] : NULL;
    if (found == NULL)
        return NULL;
    UNPOISON(found, room);
    p->free[class] = found->next;
    p->bytes -= room;
    return (uint8_t *)found;
}

void block_buffer_give(struct block_buffers *p, uint8_t *take_buffer, size_t bytes)
{
    size_t room;
    unsigned class = class_of(bytes, &room);
    if (class >= BUFFER_CLASSES || p->bytes + room > BUFFERS_FREE_BYTES_MAX) {
        free(take_buffer);
        return;
    }
    struct block_buffer *b = (struct block_buffer *)take_buffer;
    b->next = p->free[class];
    p->free[class] = b;
    p->bytes += room;
    POISON(b, room);
}

void block_buffers_done(struct block_buffers *p)
{
    for (unsigned i = 0; i < BUFFER_CLASSES; i++) {
        while (p->free[i] != NULL) {
            struct block_buffer *b = p->free[i];
            UNPOISON(b, sizeof *b);
            p->free[i] = b->next;
            free(b);
        }
    }
    p->bytes = 0;
}

// Large ones in pages of 2 MiB where there are any: that makes them cheaper to fill and to pin.
static uint8_t *block_buffer_new(size_t bytes)
{
    size_t room = block_buffer_room(bytes);
    if (room < HUGE_PAGE_BYTES)
        return memory_get_aligned(JOURNAL_ALIGN_BYTES, room);
    size_t whole = (room + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    uint8_t *p = memory_get_aligned(HUGE_PAGE_BYTES, whole); // what is beyond is never touched
    (void)madvise(p, room, MADV_HUGEPAGE);                   // a hint; it may not be possible
    return p;
}

// ---- Blocks

struct block *block_new(struct log *l, size_t bytes, size_t extents)
{
    struct block *b = xalloc(sizeof *b);
    b->refs = 1;
    pthread_mutex_lock(&l->lock);
    b->bytes = block_buffer_take(&l->buffers, bytes);
    pthread_mutex_unlock(&l->lock);
    if (b->bytes == NULL)
        b->bytes = block_buffer_new(bytes); // waits for memory, as for the disk
    b->head.bytes = (uint32_t)bytes;
    b->extents = xalloc(mul_checked(MAX(extents, (size_t)1), sizeof *b->extents));
    b->appends_end = &b->appends;
    return b;
}

void block_unref(struct log *l, struct block *b)
{
    if (b == NULL || --b->refs > 0)
        return;
    block_buffer_give(&l->buffers, b->bytes, b->head.bytes);
    free(b->extents);
    free(b);
}

static struct block **slot(const struct cache *c, size_t i)
{
    return &c->at[(c->first + i) & (c->room - 1)];
}

static void grow(struct cache *c)
{
    size_t room = MAX(c->room * 2, (size_t)64);
    struct block **at = xalloc(mul_checked(room, sizeof *at));
    for (size_t i = 0; i < c->n; i++)
        at[i] = *slot(c, i);
    free(c->at);
    c->at = at;
    c->room = room;
    c->first = 0;
}

static void drop_oldest(struct log *l)
{
    struct cache *c = &l->cache;
    struct block *b = *slot(c, 0);
    c->first = (c->first + 1) & (c->room - 1);
    c->n--;
    c->bytes -= block_buffer_room(b->head.bytes);
    block_unref(l, b);
}

void cache_add(struct log *l, struct block *b)
{
    struct cache *c = &l->cache;
    size_t bytes = block_buffer_room(b->head.bytes);
    while (c->n > 0 && c->bytes + bytes > c->bytes_max)
        drop_oldest(l);
    if (bytes > c->bytes_max)
        return;
    if (c->n == c->room)
        grow(c);
    b->refs++;
    c->bytes += bytes;
    *slot(c, c->n++) = b;
}

struct block *cache_find(const struct cache *c, uint64_t number)
{
    size_t low = 0, high = c->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((*slot(c, middle))->head.number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->n && (*slot(c, low))->head.number == number ? *slot(c, low) : NULL;
}

void cache_done(struct log *l)
{
    struct cache *c = &l->cache;
    while (c->n > 0)
        drop_oldest(l);
    free(c->at);
    *c = (struct cache){ 0 };
}
