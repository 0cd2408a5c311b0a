// SPDX-License-Identifier: Apache-2.0
// The tail cache: the newest blocks stay in memory, in the very buffers they were written from.
// Readers take a reference under the lock and copy without it.
#include "store/log/journal_priv.h"

#include <stdlib.h>

// ---- Blocks

struct block *block_new(struct log *l, size_t bytes, size_t extents)
{
    struct block *b = xalloc(sizeof *b);
    b->refs = 1;
    pthread_mutex_lock(&l->lock);
    b->bytes = pages_take(&l->buffers, bytes);
    pthread_mutex_unlock(&l->lock);
    if (b->bytes == NULL)
        b->bytes = pages_get(bytes); // waits for memory, as for the disk
    b->head.bytes = (uint32_t)bytes;
    b->extents = xalloc(mul_checked(MAX(extents, (size_t)1), sizeof *b->extents));
    b->appends_end = &b->appends;
    return b;
}

void block_unref(struct log *l, struct block *b)
{
    if (b == NULL || --b->refs > 0)
        return;
    pages_give(&l->buffers, b->bytes, b->head.bytes);
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
    c->bytes -= pages_room(b->head.bytes);
    block_unref(l, b);
}

void cache_add(struct log *l, struct block *b)
{
    struct cache *c = &l->cache;
    size_t bytes = pages_room(b->head.bytes);
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
