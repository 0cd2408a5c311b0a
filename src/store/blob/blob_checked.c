// SPDX-License-Identifier: Apache-2.0
// Which blocks were read and found sound a short time ago. Such bytes may go from the file to a
// client as they are: they lie in the kernel's memory since, so that checking them again would
// check memory, not the disk. Kept is little, and lost at will: a group of blocks has one place.
#include "base/time.h"
#include "store/blob/blob_priv.h"

#include <stdlib.h>
#include <unistd.h>

enum {
    GROUP_BLOCKS = 64, // 8 MiB
    GROUPS_MAX = 4096,
    MEMORY_SHARE = 4, // no more than a quarter of the memory, or the kernel might not have them
};
#define CHECKED_NS (60 * NS_PER_S)

struct group {
    uint64_t file, at; // numbers of the file, and of the group in it
    uint64_t sound;    // a bit for each block
    int64_t since_ns;  // the oldest of them
};

struct checked {
    pthread_mutex_t lock; // a leaf
    size_t n;
    struct group at[];
};

struct checked *checked_open(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGE_SIZE);
    uint64_t memory = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : 0;
    size_t n = (size_t)(memory / MEMORY_SHARE / ((uint64_t)GROUP_BLOCKS * BLOB_BLOCK_BYTES));
    n = MIN(MAX(n, (size_t)1), (size_t)GROUPS_MAX);
    struct checked *c = xalloc(sizeof *c + mul_checked(n, sizeof(struct group)));
    c->n = n;
    CHECK(pthread_mutex_init(&c->lock, NULL) == 0);
    return c;
}

void checked_close(struct checked *c)
{
    if (c == NULL)
        return;
    pthread_mutex_destroy(&c->lock);
    free(c);
}

// Groups that follow each other have places that do.
static struct group *place_of(struct checked *c, uint64_t file, uint64_t at)
{
    return &c->at[(file * UINT64_C(0x9e3779b97f4a7c15) + at) % c->n];
}

static bool holds(const struct group *g, uint64_t file, uint64_t at, int64_t now_ns)
{
    return g->file == file && g->at == at && g->sound != 0 && now_ns - g->since_ns < CHECKED_NS;
}

void checked_note(struct blob *b, uint64_t file, uint64_t block)
{
    struct checked *c = b->checked;
    uint64_t at = block / GROUP_BLOCKS;
    int64_t now_ns = b->io->mono_ns(b->io);
    pthread_mutex_lock(&c->lock);
    struct group *g = place_of(c, file, at);
    if (!holds(g, file, at, now_ns))
        *g = (struct group){ .file = file, .at = at, .since_ns = now_ns };
    g->sound |= UINT64_C(1) << block % GROUP_BLOCKS;
    pthread_mutex_unlock(&c->lock);
}

void checked_forget(struct blob *b, uint64_t file, uint64_t block)
{
    struct checked *c = b->checked;
    uint64_t at = block / GROUP_BLOCKS;
    pthread_mutex_lock(&c->lock);
    struct group *g = place_of(c, file, at);
    if (g->file == file && g->at == at)
        *g = (struct group){ 0 };
    pthread_mutex_unlock(&c->lock);
}

uint64_t checked_end(struct blob *b, uint64_t file, uint64_t block, uint64_t end)
{
    struct checked *c = b->checked;
    int64_t now_ns = b->io->mono_ns(b->io);
    bool sound = true;
    pthread_mutex_lock(&c->lock);
    while (block < end && sound) {
        uint64_t at = block / GROUP_BLOCKS;
        const struct group *g = place_of(c, file, at);
        sound = holds(g, file, at, now_ns) && (g->sound & UINT64_C(1) << block % GROUP_BLOCKS) != 0;
        block += sound;
    }
    pthread_mutex_unlock(&c->lock);
    return block;
}
