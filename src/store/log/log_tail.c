// SPDX-License-Identifier: Apache-2.0
// What is sealed though the tail cache has it. Sealing leaves the entries of what it has put into
// containers here, as they are: sorted by shard, then by position, in one part for each time. A
// part goes as a whole, when the cache holds nothing of it any more. So records on their way to the
// disk cost nothing for it, and neither does a block that leaves the cache.
#include "base/memory.h"
#include "store/log/journal_priv.h"

#include <stdlib.h>

enum { ENTRIES_SHARE = 8 }; // of what the cache may hold: the entries

// ---- Parts

struct tail_part *tail_part_new(size_t shards, size_t entries)
{
    struct tail_part *p = xalloc(sizeof *p);
    p->shards = memory_get(mul_checked(MAX(shards, (size_t)1), sizeof *p->shards));
    p->entries = memory_get(mul_checked(MAX(entries, (size_t)1), sizeof *p->entries));
    return p;
}

static void parts_free(struct tail_part *take_first)
{
    for (struct tail_part *p = take_first, *next; p != NULL; p = next) {
        next = p->next;
        free(p->shards);
        free(p->entries);
        free(p);
    }
}

void tail_done(struct tail *t)
{
    parts_free(t->first);
    *t = (struct tail){ 0 };
}

static uint64_t oldest_block(const struct log *l)
{
    return cache_begin(&l->cache) >> LOG_ORDINAL_BITS;
}

bool log_tail_wants(struct log *l, uint64_t block)
{
    pthread_mutex_lock(&l->lock);
    bool is_cached = block >= oldest_block(l);
    pthread_mutex_unlock(&l->lock);
    return is_cached;
}

// Takes the oldest parts out that are not cached or too many. Under lock.
static struct tail_part *take_old(struct log *l, bool all)
{
    struct tail *t = &l->tail;
    size_t most = l->cache.bytes_max / ENTRIES_SHARE / sizeof(IndexEntry);
    struct tail_part *taken = t->first, **end = &taken;
    while (t->first != NULL &&
           (all || t->first->last_block < oldest_block(l) || t->entries > most)) {
        t->entries -= t->first->entry_count;
        end = &t->first->next;
        t->first = t->first->next;
    }
    *end = NULL;
    if (t->first == NULL)
        t->last = NULL;
    return taken;
}

void log_tail_add(struct log *l, struct tail_part *take_part)
{
    struct tail *t = &l->tail;
    pthread_mutex_lock(&l->lock);
    if (t->last != NULL)
        t->last->next = take_part;
    else
        t->first = take_part;
    t->last = take_part;
    t->entries += take_part->entry_count;
    struct tail_part *old = take_old(l, false);
    pthread_mutex_unlock(&l->lock);
    parts_free(old);
}

void log_tail_trim(struct log *l, bool all)
{
    pthread_mutex_lock(&l->lock);
    struct tail_part *old = take_old(l, all);
    pthread_mutex_unlock(&l->lock);
    parts_free(old);
}

// ---- Looking

uint64_t log_tail_begin(const struct log *l)
{
    const struct tail_part *first = l->tail.first;
    return first != NULL ? MAX(first->first_block << LOG_ORDINAL_BITS, cache_begin(&l->cache))
                         : UINT64_MAX;
}

static const struct tail_shard *find_shard(const struct tail_part *p, uint64_t id)
{
    size_t low = 0, high = p->shard_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (p->shards[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < p->shard_count && p->shards[low].id == id ? &p->shards[low] : NULL;
}

// Whether an entry lies wholly before a position, or arrived at the time or before.
static bool is_before(const IndexEntry *e, uint64_t position, int64_t after_ms)
{
    return e->position + e->count <= position || e->arrival_ms <= after_ms;
}

// Both grow from entry to entry.
static const IndexEntry *first_behind(const struct tail_part *p, const struct tail_shard *s,
                                      uint64_t position, int64_t after_ms)
{
    uint32_t low = s->first, high = s->end;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (is_before(&p->entries[middle], position, after_ms))
            low = middle + 1;
        else
            high = middle;
    }
    return &p->entries[low];
}

TailScan tail_scan(const struct tail *t, uint64_t shard, uint64_t position, int64_t after_ms)
{
    return (
        TailScan){ .part = t->first, .shard = shard, .position = position, .after_ms = after_ms };
}

const IndexEntry *tail_next(TailScan *scan)
{
    while (scan->at == scan->end) {
        const struct tail_part *p = scan->part;
        if (p == NULL)
            return NULL;
        scan->part = p->next;
        bool is_passed = (p->last_block + 1) << LOG_ORDINAL_BITS <= scan->position;
        const struct tail_shard *s = is_passed ? NULL : find_shard(p, scan->shard);
        if (s == NULL)
            continue;
        scan->at = first_behind(p, s, scan->position, scan->after_ms);
        scan->end = &p->entries[s->end];
    }
    return scan->at++;
}
