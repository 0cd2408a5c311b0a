// SPDX-License-Identifier: Apache-2.0
// Reading. Under the lock a reader only collects what to read, a few extents at a time, and takes
// references on the cached blocks and files that hold them; checking and copying needs no lock.
#include "store/log/journal_priv.h"

#include <stdlib.h>

enum {
    READ_EXTENTS_MAX = 256,     // collected at once
    READ_PIECE_BYTES = 1 << 20, // of neighbouring extents that are read from disk in one go
    READ_GAP_BYTES = 64 << 10,  // of others' records that are read along
};

// An extent on its way to the reader.
struct source {
    IndexEntry entry;
    struct block *block;       // it is cached; else
    struct journal_file *file; // where it lies
};

struct reading {
    struct log *l;
    struct arena *a;
    const LogRead *read;
    LogBatch batch;
    size_t room, bytes; // of the batch: entries, and bytes of keys and data so far
    bool is_full;       // the next record does not fit
    struct source sources[READ_EXTENTS_MAX];
    size_t source_count;
    bool wants_disk; // a source is left out because it is not cached
    uint64_t end;    // where the visible records ended
};

int64_t log_now_ms(struct log *l)
{
    return MAX(l->visible_arrival_ms, l->io->wall_ns(l->io) / NS_PER_MS);
}

// What lies at or above this was not acknowledged when it was asked.
static uint64_t visible_end(const struct log *l, const struct shard *s)
{
    return s->ended ? s->end_position + 1 : (l->visible + 1) << LOG_ORDINAL_BITS;
}

// ---- Collecting, under the lock

static bool collect_one(struct reading *r, const IndexEntry *e)
{
    struct source *s = &r->sources[r->source_count];
    *s = (struct source){ .entry = *e };
    s->block = cache_find(&r->l->cache, e->position >> LOG_ORDINAL_BITS);
    if (s->block != NULL) {
        s->block->refs++;
    } else if (r->read->cached_only) {
        r->wants_disk = true;
        return false;
    } else {
        s->file = files_find(&r->l->files, e->file);
        CHECK(s->file != NULL); // a file with entries is never retired
        s->file->users++;
    }
    r->source_count++;
    return true;
}

// As many extents from `from` on as the reader may still want.
static Err collect(struct reading *r, uint64_t from)
{
    struct log *l = r->l;
    struct shard *s = shards_find(&l->shards, r->read->shard);
    if (s == NULL || !s->declared)
        return fail(ERR_NOT_FOUND, "no such shard");
    r->source_count = 0;
    r->end = visible_end(l, s);
    uint32_t i = shard_search(s, shard_horizon(s, log_now_ms(l)), from);
    size_t records = r->batch.n, bytes = r->bytes;
    for (; i < s->end && r->source_count < READ_EXTENTS_MAX; i++) {
        const IndexEntry *e = &s->at[i];
        if (records >= r->read->max_records || (bytes >= r->read->max_bytes && records > 0))
            break;
        if (!collect_one(r, e))
            break;
        uint64_t skipped = from > e->position ? from - e->position : 0;
        records += (size_t)(e->count - skipped);
        if (skipped == 0)
            bytes += e->bytes - MIN((size_t)e->bytes, (size_t)e->count * (RECORD_HEAD_BYTES +
                                                                          LOG_HASH_KEY_BYTES_MAX));
    }
    r->batch.more = i < s->end;
    return OK;
}

static void release(struct reading *r)
{
    pthread_mutex_lock(&r->l->lock);
    for (size_t i = 0; i < r->source_count; i++) {
        block_unref(r->sources[i].block);
        if (r->sources[i].file != NULL)
            r->sources[i].file->users--;
    }
    pthread_mutex_unlock(&r->l->lock);
    r->source_count = 0;
}

// ---- Copying

static LogEntry *entry_add(struct reading *r)
{
    if (r->batch.n == r->room) {
        size_t room = MIN(MAX(r->room * 2, (size_t)64), r->read->max_records);
        LogEntry *wider = arena_new(r->a, LogEntry, room);
        for (size_t i = 0; i < r->batch.n; i++)
            wider[i] = r->batch.at[i];
        r->batch.at = wider;
        r->room = room;
    }
    return &r->batch.at[r->batch.n++];
}

// The records of one extent at or after `from` that fit.
static Err copy_extent(struct reading *r, const struct source *s, const uint8_t *p, size_t n,
                       uint64_t from)
{
    ExtentHead x;
    TRY(extent_get(p, n, s->entry.position >> LOG_ORDINAL_BITS, &x));
    if (x.shard != r->read->shard || x.count != s->entry.count || x.bytes != s->entry.bytes)
        return fail(ERR_CORRUPT, "another extent lies where this one was written");
    size_t at = 0;
    for (uint32_t i = 0; i < x.count; i++) {
        Record record;
        if (!record_next(p + EXTENT_HEAD_BYTES, x.bytes, &at, &record))
            return fail(ERR_CORRUPT, "a record is longer than its extent");
        if (s->entry.position + i < from)
            continue;
        size_t bytes = record.key.n + record.data.n;
        bool fits = r->batch.n == 0 ||
                    (bytes <= r->read->max_bytes && r->bytes <= r->read->max_bytes - bytes);
        if (r->batch.n >= r->read->max_records || !fits) {
            r->is_full = true;
            return OK;
        }
        r->bytes += bytes;
        *entry_add(r) = (LogEntry){
            .position = s->entry.position + i,
            .arrival_ms = s->entry.arrival_ms,
            .key = str_dup(r->a, record.key),
            .hash_key = str_dup(r->a, record.hash_key),
            .data = str_dup(r->a, record.data),
        };
        r->batch.next = s->entry.position + i + 1;
    }
    return OK;
}

static uint64_t source_end(const struct source *s)
{
    return (uint64_t)s->entry.place + EXTENT_HEAD_BYTES + s->entry.bytes;
}

// How many of the sources from i on lie so close together that one read fetches them.
static size_t neighbours(const struct reading *r, size_t i)
{
    size_t n = 1;
    for (; i + n < r->source_count; n++) {
        const struct source *before = &r->sources[i + n - 1], *s = &r->sources[i + n];
        if (s->file != r->sources[i].file || s->entry.place < source_end(before) ||
            s->entry.place - source_end(before) > READ_GAP_BYTES ||
            source_end(s) - r->sources[i].entry.place > READ_PIECE_BYTES)
            break;
    }
    return n;
}

static Err copy_from_disk(struct reading *r, size_t i, size_t n, uint64_t from)
{
    struct journal_file *f = r->sources[i].file;
    uint64_t start = r->sources[i].entry.place / JOURNAL_ALIGN_BYTES * JOURNAL_ALIGN_BYTES;
    uint64_t end = source_end(&r->sources[i + n - 1]);
    end = (end + JOURNAL_ALIGN_BYTES - 1) / JOURNAL_ALIGN_BYTES * JOURNAL_ALIGN_BYTES;
    uint8_t *p = aligned_alloc(JOURNAL_ALIGN_BYTES, (size_t)(end - start));
    CHECK(p != NULL);
    size_t got = 0;
    Err e = r->l->io->read(f->io, p, (size_t)(end - start), start, &got);
    if (e.kind == ERR_NONE && got < end - start)
        e = fail(ERR_CORRUPT, "a journal file is shorter than it was");
    for (size_t k = i; k < i + n && e.kind == ERR_NONE && !r->is_full; k++) {
        const struct source *s = &r->sources[k];
        e = copy_extent(r, s, p + (s->entry.place - start), (size_t)(end - s->entry.place), from);
    }
    free(p);
    if (e.kind != ERR_NONE)
        LOG(LOG_ERROR, "records cannot be read back", F_INT("file", f->number),
            F_INT("offset", r->sources[i].entry.place), F_INT("shard", r->read->shard), F_ERR(e));
    return e;
}

static Err copy_sources(struct reading *r, uint64_t from)
{
    for (size_t i = 0; i < r->source_count && !r->is_full;) {
        const struct source *s = &r->sources[i];
        if (s->block == NULL) {
            size_t n = neighbours(r, i);
            TRY(copy_from_disk(r, i, n, from));
            i += n;
            continue;
        }
        size_t place = (size_t)(s->entry.place - s->block->head.place);
        TRY(copy_extent(r, s, s->block->bytes + place, s->block->head.used_bytes - place, from));
        i++;
    }
    return OK;
}

Err log_read(struct log *l, struct arena *a, const LogRead *read, LogBatch *ret)
{
    struct reading *r = arena_new(a, struct reading, 1);
    r->l = l;
    r->a = a;
    r->read = read;
    r->batch.next = read->from;
    do {
        uint64_t from = r->batch.next;
        pthread_mutex_lock(&l->lock);
        Err e = collect(r, from);
        pthread_mutex_unlock(&l->lock);
        if (e.kind == ERR_NONE)
            e = copy_sources(r, from);
        bool any = r->source_count > 0;
        release(r);
        TRY(e);
        if (!any)
            break;
    } while (r->batch.more && !r->is_full && !r->wants_disk);
    if (r->wants_disk && r->batch.n == 0)
        return fail(ERR_BUSY, "the records are not in memory");
    r->batch.more |= r->is_full;
    if (!r->batch.more)
        r->batch.next = MAX(r->batch.next, r->end);
    *ret = r->batch;
    return OK;
}

// ---- Places

Err log_find_time(struct log *l, uint64_t shard, int64_t arrival_ms, uint64_t *ret_position)
{
    pthread_mutex_lock(&l->lock);
    struct shard *s = shards_find(&l->shards, shard);
    bool found = s != NULL && s->declared;
    if (found) {
        uint32_t low = shard_horizon(s, log_now_ms(l)), high = s->end;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (s->at[middle].arrival_ms >= arrival_ms)
                high = middle;
            else
                low = middle + 1;
        }
        *ret_position = low < s->end ? s->at[low].position : visible_end(l, s);
    }
    pthread_mutex_unlock(&l->lock);
    return found ? OK : fail(ERR_NOT_FOUND, "no such shard");
}

Err log_span(struct log *l, uint64_t shard, LogSpan *ret)
{
    pthread_mutex_lock(&l->lock);
    struct shard *s = shards_find(&l->shards, shard);
    bool found = s != NULL && s->declared;
    if (found) {
        uint32_t first = shard_horizon(s, log_now_ms(l));
        bool any = first < s->end;
        *ret = (LogSpan){
            .first = any ? s->at[first].position : visible_end(l, s),
            .next = visible_end(l, s),
            .last_arrival_ms = any ? s->at[s->end - 1].arrival_ms : 0,
            .ended = s->ended,
            .end = s->ended ? s->end_position : 0,
        };
    }
    pthread_mutex_unlock(&l->lock);
    return found ? OK : fail(ERR_NOT_FOUND, "no such shard");
}

void log_stats(struct log *l, LogStats *ret)
{
    pthread_mutex_lock(&l->lock);
    LogStats st = l->stats;
    st.cache_bytes = l->cache.bytes;
    for (size_t i = 0; i < l->files.n; i++) {
        st.disk_bytes += l->files.at[i]->bytes;
        st.live_bytes += l->files.at[i]->live_bytes;
    }
    for (size_t i = 0; i < l->files.spare_count; i++)
        st.disk_bytes += l->files.spares[i]->bytes;
    pthread_mutex_unlock(&l->lock);
    pthread_mutex_lock(&l->queue_lock);
    if (l->next_file != NULL)
        st.disk_bytes += l->next_file->bytes;
    st.full = l->full;
    st.failed = l->dead;
    st.queue_kind = l->io->queue_kind(l->queue);
    pthread_mutex_unlock(&l->queue_lock);
    st.direct = l->files.direct;
    *ret = st;
}
