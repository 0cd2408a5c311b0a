// SPDX-License-Identifier: Apache-2.0
// The tail cache: the newest blocks stay in memory, in the very buffers they were written from.
// Readers take a reference under the lock and copy without it. It has no gaps: a block too large
// for it has driven out all before.
#include "store/log/journal_priv.h"

#include <stdlib.h>

// ---- Blocks

enum { LARGE_BYTES = 2 << 20, LARGE_STEP_BYTES = 1 << 20 };

// Large ones in few sizes: a block of the same records is a little larger when they are of many
// shards, and must find the buffers that those of few have left. Fresh pages cost more than a copy.
static size_t buffer_bytes(size_t block_bytes)
{
    if (block_bytes <= LARGE_BYTES)
        return block_bytes;
    return (block_bytes + LARGE_STEP_BYTES - 1) / LARGE_STEP_BYTES * LARGE_STEP_BYTES;
}

static void buffer_own(struct log *l, struct block *b, size_t bytes)
{
    pthread_mutex_lock(&l->lock);
    b->bytes = pages_take_near(&l->buffers, buffer_bytes(bytes), &b->room);
    pthread_mutex_unlock(&l->lock);
    if (b->bytes == NULL) {
        b->room = pages_room(buffer_bytes(bytes));
        b->bytes = pages_get(b->room); // waits for memory, as for the disk
    }
}

// Blocks leave in the order in which they came, but for those that readers hold. In large pages
// what is scattered in them is found quickly by whoever seals thousands of shards. False: there is
// no memory for a whole slab.
static bool buffer_cut(struct log *l, struct block *b, size_t bytes)
{
    b->room = slabs_room(bytes);
    pthread_mutex_lock(&l->lock);
    b->bytes = slabs_take(&l->slabs, bytes, &b->slab);
    pthread_mutex_unlock(&l->lock);
    struct slab *slab = b->bytes == NULL ? slab_new() : NULL;
    if (slab == NULL)
        return b->bytes != NULL;
    pthread_mutex_lock(&l->lock);
    slabs_add(&l->slabs, slab);
    b->bytes = slabs_take(&l->slabs, bytes, &b->slab);
    pthread_mutex_unlock(&l->lock);
    return true;
}

struct block *block_new(struct log *l, size_t bytes, size_t extents)
{
    struct block *b = xalloc(sizeof *b);
    b->refs = 1;
    // Small and very large buffers are pieces of their own.
    bool fits = bytes >= SLAB_PIECE_BYTES_LEAST && bytes <= SLAB_PIECE_BYTES_MOST;
    if (!fits || !buffer_cut(l, b, bytes))
        buffer_own(l, b, bytes);
    b->head.bytes = (uint32_t)bytes;
    b->extents = xalloc(mul_checked(MAX(extents, (size_t)1), sizeof *b->extents));
    b->appends_end = &b->appends;
    return b;
}

void block_unref(struct log *l, struct block *b)
{
    if (b == NULL || --b->refs > 0)
        return;
    if (b->slab != NULL)
        slabs_give(&l->slabs, b->slab, b->bytes, b->room);
    else
        pages_give(&l->buffers, b->bytes, b->room);
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
    c->bytes -= b->room;
    block_unref(l, b);
}

void cache_add(struct log *l, struct block *b)
{
    struct cache *c = &l->cache;
    size_t bytes = b->room;
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

// Within an epoch the numbers of blocks grow by one, and there are few epochs: mostly the place in
// the ring is known, without a search through memory that is far away.
static size_t likely_place(const struct cache *c, uint64_t number)
{
    uint64_t newest = (*slot(c, c->n - 1))->head.number;
    return number <= newest && newest - number < c->n ? c->n - 1 - (size_t)(newest - number) : c->n;
}

uint64_t cache_begin(const struct cache *c)
{
    return c->n > 0 ? (*slot(c, 0))->head.number << LOG_ORDINAL_BITS : UINT64_MAX;
}

struct block *cache_find(const struct cache *c, uint64_t number)
{
    if (c->n == 0)
        return NULL;
    size_t low = likely_place(c, number), high = c->n;
    if (low < c->n && (*slot(c, low))->head.number == number)
        return *slot(c, low);
    low = 0;
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
