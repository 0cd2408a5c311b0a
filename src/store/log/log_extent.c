// SPDX-License-Identifier: Apache-2.0
// Extents of the journal on their way to somebody who wants their records: a reader, or the sealer.
// Under the lock they are only found, and the cached block or the file that holds each is held;
// reading and checking needs no lock.
#include "store/log/journal_priv.h"

#include <stdlib.h>

enum {
    PIECE_BYTES = 1 << 20, // of neighbouring extents that are read from disk in one go
    GAP_BYTES = 64 << 10,  // of others' records that are read along
};

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
        block_unref(sources[i].block);
        if (sources[i].file != NULL)
            sources[i].file->users--;
    }
    pthread_mutex_unlock(&l->lock);
}

static Err visit_one(const ExtentSource *s, const uint8_t *p, size_t n, extent_visit *visit,
                     void *self, bool *ret_stop)
{
    ExtentHead x;
    TRY(extent_get(p, n, s->entry.position >> LOG_ORDINAL_BITS, &x));
    if (x.shard != s->shard || x.count != s->entry.count || x.bytes != s->entry.bytes)
        return fail(ERR_CORRUPT, "another extent lies where this one was written");
    return visit(self, s, p + EXTENT_HEAD_BYTES, ret_stop);
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

static Err visit_from_disk(struct log *l, const ExtentSource *sources, size_t n,
                           extent_visit *visit, void *self, bool *ret_stop)
{
    struct journal_file *f = sources[0].file;
    uint64_t start = sources[0].entry.place / JOURNAL_ALIGN_BYTES * JOURNAL_ALIGN_BYTES;
    uint64_t end = source_end(&sources[n - 1]);
    end = (end + JOURNAL_ALIGN_BYTES - 1) / JOURNAL_ALIGN_BYTES * JOURNAL_ALIGN_BYTES;
    uint8_t *p = aligned_alloc(JOURNAL_ALIGN_BYTES, (size_t)(end - start));
    CHECK(p != NULL);
    size_t got = 0;
    Err e = l->io->read(f->io, p, (size_t)(end - start), start, &got);
    if (e.kind == ERR_NONE && got < end - start)
        e = fail(ERR_CORRUPT, "a journal file is shorter than it was");
    for (size_t i = 0; i < n && e.kind == ERR_NONE && !*ret_stop; i++)
        e = visit_one(&sources[i], p + (sources[i].entry.place - start),
                      (size_t)(end - sources[i].entry.place), visit, self, ret_stop);
    free(p);
    if (e.kind != ERR_NONE)
        LOG(LOG_ERROR, "records cannot be read back", F_INT("file", f->number),
            F_INT("offset", sources[0].entry.place), F_INT("shard", sources[0].shard), F_ERR(e));
    return e;
}

Err extents_visit(struct log *l, const ExtentSource *sources, size_t n, extent_visit *visit,
                  void *self)
{
    bool stop = false;
    for (size_t i = 0; i < n && !stop;) {
        const ExtentSource *s = &sources[i];
        if (s->block == NULL) {
            size_t count = neighbours(s, n - i);
            TRY(visit_from_disk(l, s, count, visit, self, &stop));
            i += count;
            continue;
        }
        size_t place = (size_t)(s->entry.place - s->block->head.place);
        TRY(visit_one(s, s->block->bytes + place, s->block->head.used_bytes - place, visit, self,
                      &stop));
        i++;
    }
    return OK;
}
