// SPDX-License-Identifier: Apache-2.0
// The tail cache: the newest blocks stay in memory, in the very buffers they were written from.
// Readers take a reference under the lock and copy without it.
#include "base/memory.h"
#include "store/log/journal_priv.h"

#include <stdlib.h>

struct block *block_new(size_t bytes, size_t extents)
{
    struct block *b = xalloc(sizeof *b);
    b->refs = 1;
    b->bytes = memory_get_aligned(JOURNAL_ALIGN_BYTES, bytes); // waits for it, as for the disk
    b->head.bytes = (uint32_t)bytes;
    b->extents = xalloc(mul_checked(MAX(extents, (size_t)1), sizeof *b->extents));
    b->appends_end = &b->appends;
    return b;
}

void block_unref(struct block *b)
{
    if (b == NULL || --b->refs > 0)
        return;
    free(b->bytes);
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

static void drop_oldest(struct cache *c)
{
    struct block *b = *slot(c, 0);
    c->first = (c->first + 1) & (c->room - 1);
    c->n--;
    c->bytes -= b->head.bytes;
    block_unref(b);
}

void cache_add(struct cache *c, struct block *b)
{
    while (c->n > 0 && c->bytes + b->head.bytes > c->bytes_max)
        drop_oldest(c);
    if (b->head.bytes > c->bytes_max)
        return;
    if (c->n == c->room)
        grow(c);
    b->refs++;
    c->bytes += b->head.bytes;
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

void cache_done(struct cache *c)
{
    while (c->n > 0)
        drop_oldest(c);
    free(c->at);
    *c = (struct cache){ 0 };
}
