// SPDX-License-Identifier: Apache-2.0
// Extents of the journal on their way to somebody who wants their records: a reader, or the sealer.
// Under the lock they are only found, and the cached block or the file that holds each is held;
// reading and checking needs no lock.
#include "base/memory.h"
#include "base/prefetch.h"
#include "store/log/journal_priv.h"

#include <limits.h>
#include <stdlib.h>

enum {
    PIECE_BYTES = 1 << 20, // of neighbouring extents that are read from disk in one go
    GAP_BYTES = 64 << 10,  // of others' records that are read along
    AHEAD_EXTENTS = 4,     // in the cache, which the processor fetches while others are read
    AHEAD_BYTES_MAX = 2 << 10,
};
static const unsigned ANY_COPY = UINT_MAX;

bool extent_hold(struct log *l, uint64_t shard, const IndexEntry *e, bool cached_only,
                 ExtentSource *ret)
{
    *ret = (ExtentSource){ .shard = shard, .entry = *e };
    ret->block = cache_find(&l->cache, e->position >> LOG_ORDINAL_BITS);
    if (ret->block != NULL) {
        ret->block->refs++;
        return true;
    }
    if (cached_only)
        return false;
    ret->file = files_find(&l->files, e->file);
    CHECK(ret->file != NULL); // a file with entries is never retired
    ret->file->users++;
    return true;
}

void extents_release(struct log *l, ExtentSource *sources, size_t n)
{
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < n; i++) {
        block_unref(l, sources[i].block);
        if (sources[i].file != NULL)
            sources[i].file->users--;
    }
    pthread_mutex_unlock(&l->lock);
}

static Err check_one(const ExtentSource *s, const uint8_t *p, size_t n)
{
    ExtentHead x;
    TRY(extent_get(p, n, s->entry.position >> LOG_ORDINAL_BITS, &x));
    if (x.shard != s->shard || x.count != s->entry.count || x.bytes != s->entry.bytes)
        return fail(ERR_CORRUPT, "another extent lies where this one was written");
    return OK;
}

static uint64_t source_end(const ExtentSource *s)
{
    return (uint64_t)s->entry.place + EXTENT_HEAD_BYTES + s->entry.bytes;
}

// How many of the sources lie so close together that one read fetches them.
static size_t neighbours(const ExtentSource *sources, size_t n)
{
    size_t k = 1;
    for (; k < n; k++) {
        const ExtentSource *before = &sources[k - 1], *s = &sources[k];
        if (s->file != sources[0].file || s->entry.place < source_end(before) ||
            s->entry.place - source_end(before) > GAP_BYTES ||
            source_end(s) - sources[0].entry.place > PIECE_BYTES)
            break;
    }
    return k;
}

// Large pieces are used again: their pages would cost more than what is read into them.
static uint8_t *piece_get(size_t n)
{
    return n < MEMORY_LARGE_BYTES ? memory_try_aligned(JOURNAL_ALIGN_BYTES, n)
                                  : memory_try_large(n);
}

static void piece_give(uint8_t *p, size_t n)
{
    if (n < MEMORY_LARGE_BYTES)
        free(p);
    else
        memory_give_large(p, n);
}

// Whole pages of a file, for piece_give. `copy`: which of its copies; ANY_COPY: any.
static Err read_pages(struct log *l, const struct journal_file *f, unsigned copy, uint64_t start,
                      uint64_t end, uint8_t **ret)
{
    size_t n = (size_t)(end - start), got = 0;
    uint8_t *p = piece_get(n);
    if (p == NULL)
        return fail(ERR_MEMORY, "no memory for reading the journal");
    Err e = copy == ANY_COPY ? l->io->read(f->io, p, n, start, &got)
                             : l->io->read_copy(f->io, copy, p, n, start, &got);
    if (e.kind == ERR_NONE && got < n)
        e = fail(ERR_CORRUPT, "a journal file is shorter than it was");
    if (e.kind != ERR_NONE) {
        piece_give(p, n);
        return e;
    }
    *ret = p;
    return OK;
}

static uint64_t page_before(uint64_t place)
{
    return place / JOURNAL_ALIGN_BYTES * JOURNAL_ALIGN_BYTES;
}

static uint64_t page_behind(uint64_t place)
{
    return page_before(place + JOURNAL_ALIGN_BYTES - 1);
}

static Err visit_copy(struct log *l, const ExtentSource *s, unsigned copy, extent_visit *visit,
                      void *self, bool *ret_stop)
{
    uint8_t *p;
    uint64_t place = s->entry.place, start = page_before(place), end = page_behind(source_end(s));
    TRY(read_pages(l, s->file, copy, start, end, &p));
    const uint8_t *extent = p + (place - start);
    Err e = check_one(s, extent, (size_t)(end - place));
    if (e.kind == ERR_NONE) {
        Err mended = l->io->mend(s->file->io, extent, (size_t)(source_end(s) - place), place);
        LOG(LOG_WARN, "a journal file was damaged in one copy and good in another",
            F_INT("file", s->file->number), F_INT("offset", place), F_INT("copy", copy),
            F_ERR(mended));
        e = visit(self, s, extent + EXTENT_HEAD_BYTES, ret_stop);
    }
    piece_give(p, (size_t)(end - start));
    return e;
}

// Where a file is kept several times, what is damaged in one copy may be whole in another, which
// then mends it. ERR_CORRUPT is said only when no copy is left: one that is out of reach may be it.
static Err visit_damaged(struct log *l, const ExtentSource *s, Err damage, extent_visit *visit,
                         void *self, bool *ret_stop)
{
    if (damage.kind == ERR_MEMORY)
        return damage;
    unsigned copies = damage.kind == ERR_CORRUPT ? l->io->copies(s->file->io) : 1;
    for (unsigned copy = 0; copies > 1 && copy < copies; copy++) {
        Err e = visit_copy(l, s, copy, visit, self, ret_stop);
        if (e.kind == ERR_NONE)
            return OK;
        if (e.kind != ERR_CORRUPT)
            damage = fail(ERR_IO, "records are damaged in the copies that can be reached");
    }
    LOG(LOG_ERROR, "records cannot be read back", F_INT("file", s->file->number),
        F_INT("offset", s->entry.place), F_INT("shard", s->shard), F_ERR(damage));
    return damage;
}

static Err visit_from_disk(struct log *l, const ExtentSource *sources, size_t n,
                           extent_visit *visit, void *self, bool *ret_stop)
{
    uint8_t *p;
    uint64_t start = page_before(sources[0].entry.place);
    uint64_t end = page_behind(source_end(&sources[n - 1]));
    Err e = OK, read = read_pages(l, sources[0].file, ANY_COPY, start, end, &p);
    for (size_t i = 0; i < n && e.kind == ERR_NONE && !*ret_stop; i++) {
        const ExtentSource *s = &sources[i];
        uint64_t at = s->entry.place - start;
        Err found = read.kind == ERR_NONE ? check_one(s, p + at, (size_t)(end - start - at)) : read;
        if (found.kind == ERR_NONE)
            e = visit(self, s, p + at + EXTENT_HEAD_BYTES, ret_stop);
        else
            e = visit_damaged(l, s, found, visit, self, ret_stop);
    }
    if (read.kind == ERR_NONE)
        piece_give(p, (size_t)(end - start));
    return e;
}

static const uint8_t *extent_in_block(const ExtentSource *s)
{
    return s->block->bytes + (size_t)(s->entry.place - s->block->head.place);
}

// Small extents of a shard among thousands lie far apart: each would be waited for line by line,
// for the processor sees no order in them before one is nearly over.
static void fetch_ahead(const ExtentSource *s)
{
    if (s->block == NULL)
        return;
    const uint8_t *p = extent_in_block(s);
    size_t n = MIN(EXTENT_HEAD_BYTES + (size_t)s->entry.bytes, (size_t)AHEAD_BYTES_MAX);
    for (size_t at = 0; at < n; at += CACHE_LINE_BYTES)
        prefetch(p + at);
}

Err extents_visit(struct log *l, const ExtentSource *sources, size_t n, bool keep,
                  extent_visit *visit, void *self)
{
    bool stop = false;
    for (size_t i = 0; i < MIN(n, (size_t)AHEAD_EXTENTS); i++)
        fetch_ahead(&sources[i]);
    for (size_t i = 0; i < n && !stop;) {
        const ExtentSource *s = &sources[i];
        if (i + AHEAD_EXTENTS < n)
            fetch_ahead(&sources[i + AHEAD_EXTENTS]);
        if (s->block == NULL) {
            size_t count = neighbours(s, n - i);
            TRY(visit_from_disk(l, s, count, visit, self, &stop));
            i += count;
            continue;
        }
        const uint8_t *extent = extent_in_block(s);
        size_t room = s->block->head.used_bytes - (size_t)(extent - s->block->bytes);
        if (keep)
            TRY(check_one(s, extent, room));
        TRY(visit(self, s, extent + EXTENT_HEAD_BYTES, &stop));
        i++;
    }
    return OK;
}
