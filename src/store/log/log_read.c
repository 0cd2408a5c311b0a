// SPDX-License-Identifier: Apache-2.0
// Reading: first what is sealed, from containers or, as far as it is there, from the tail cache,
// then the journal. Of cache and journal a reader collects under the lock what to read, a few
// extents at a time; checking and copying needs no lock.
#include "base/arena_end.h"
#include "base/memory.h"
#include "store/log/journal_priv.h"
#include "store/log_lend.h"

#include <string.h>

enum { READ_EXTENTS_MAX = 256 }; // collected at once

struct reading {
    struct log *l;
    struct arena *a;
    const LogRead *read;
    bool lends;
    LogBatch batch;
    size_t room, bytes; // of the batch: entries, and bytes of keys and data so far
    bool is_full;       // the next record does not fit
    bool starved;       // there was no memory for it
    ExtentSource sources[READ_EXTENTS_MAX];
    size_t source_count;
    size_t wanted, wanted_bytes; // records of the sources and the batch, about
    size_t visited;              // of the sources, in this round
    struct loan *loan;           // of this round; NULL: records are copied
    bool wants_disk;             // a source is left out because it is not cached
    uint64_t end;                // where the visible records ended
    uint64_t from;               // of this round

    SealedRead sealed; // what to read from containers first; to == 0: nothing
};

int64_t log_now_ms(struct log *l)
{
    return MAX(l->visible_arrival_ms, l->io->wall_ns(l->io) / NS_PER_MS);
}

// What lies at or above this was not acknowledged when it was asked.
static uint64_t visible_end(const struct log *l, const struct shard *s)
{
    const struct shard_data *d = s->data;
    return d->ended ? d->end_position + 1 : (l->visible + 1) << LOG_ORDINAL_BITS;
}

// ---- Collecting, under the lock

// The sealed records that are read from containers. `to` 0: there are none.
static SealedRead far_records(const struct log *l, const struct shard *s, int64_t over_ms)
{
    const struct shard_data *d = s->data;
    if (d->sealed_last == 0 || d->sealed_last_arrival_ms <= over_ms)
        return (SealedRead){ 0 };
    return (SealedRead){
        .shard = s->id,
        .from = d->sealed_first,
        .to = MIN(log_tail_begin(l), d->sealed_last + 1),
        .after_ms = over_ms,
    };
}

static bool has_enough(const struct reading *r)
{
    return r->source_count == READ_EXTENTS_MAX || r->wanted >= r->read->max_records ||
           (r->wanted_bytes >= r->read->max_bytes && r->wanted > 0);
}

// False: it would have to be read from the disk.
static bool collect_extent(struct reading *r, const IndexEntry *e, bool cached_only)
{
    if (!extent_hold(r->l, r->read->shard, e, cached_only, &r->sources[r->source_count]))
        return false;
    r->source_count++;
    uint64_t skipped = r->from > e->position ? r->from - e->position : 0;
    r->wanted += (size_t)(e->count - skipped);
    if (skipped == 0)
        r->wanted_bytes +=
            e->bytes -
            MIN((size_t)e->bytes, (size_t)e->count * (RECORD_HEAD_BYTES + LOG_HASH_KEY_BYTES_MAX));
    return true;
}

// What is sealed and cached. While sealing ends, what it has left may still be in the index. False:
// there is more of it than the reader wants.
static bool collect_tail(struct reading *r, const struct shard *s, int64_t over_ms)
{
    uint64_t last = s->data->sealed_last;
    TailScan scan = tail_scan(&r->l->tail, s->id, r->from, over_ms);
    for (const IndexEntry *e; (e = tail_next(&scan)) != NULL && e->position <= last;) {
        if (has_enough(r))
            return false;
        CHECK(collect_extent(r, e, true)); // the cache has all from the tail's begin on
    }
    return true;
}

// As many extents from `from` on as the reader may still want.
static void collect_journal(struct reading *r, const struct shard *s, int64_t now_ms)
{
    const struct shard_data *d = s->data;
    uint32_t i = shard_search(s, shard_horizon(s, now_ms), r->from);
    for (; i < d->end && !has_enough(r); i++)
        if (!collect_extent(r, &d->at[i], r->read->cached_only)) {
            r->wants_disk = true;
            break;
        }
    r->batch.more = i < d->end;
}

// What to read in this round: either records in containers or extents.
static Err collect(struct reading *r)
{
    struct log *l = r->l;
    struct shard *s = shards_find(&l->shards, r->read->shard);
    if (s == NULL || !shard_is_declared(s))
        return fail(ERR_NOT_FOUND, "no such shard");
    int64_t now_ms = log_now_ms(l), over_ms = shard_horizon_ms(s, now_ms);
    r->source_count = 0;
    r->wanted = r->batch.n;
    r->wanted_bytes = r->bytes;
    r->end = visible_end(l, s);
    r->sealed = far_records(l, s, over_ms);
    r->sealed.from = MAX(r->from, r->sealed.from);
    if (r->sealed.from < r->sealed.to) {
        r->wants_disk = r->read->cached_only;
        return OK;
    }
    bool any_near = r->sealed.to != 0 && r->from <= s->data->sealed_last;
    r->sealed.to = 0;
    if (any_near && !collect_tail(r, s, over_ms))
        r->batch.more = true;
    else
        collect_journal(r, s, now_ms);
    return OK;
}

// ---- Copying

static Str move_to(char **at, Str s)
{
    Str there = str_from(*at, s.n);
    if (s.n > 0)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return there;
}

static bool entry_copy(struct reading *r, LogEntry *e)
{
    char *at = arena_try_raw(r->a, e->key.n + e->hash_key.n + e->data.n, 1);
    if (at == NULL)
        return false;
    e->key = move_to(&at, e->key);
    e->hash_key = move_to(&at, e->hash_key);
    e->data = move_to(&at, e->data);
    return true;
}

// False: there is no memory.
static bool entry_add(struct reading *r, uint64_t position, int64_t arrival_ms,
                      const Record *record, bool is_lent)
{
    if (r->batch.n == r->room) {
        size_t room = MIN(MAX(MAX(r->room * 2, r->wanted), (size_t)64), r->read->max_records);
        LogEntry *wider = arena_try_raw_new(r->a, LogEntry, room);
        if (wider == NULL)
            return false;
        if (r->batch.n > 0)
            memcpy(wider, r->batch.at, r->batch.n * sizeof *wider);
        r->batch.at = wider;
        r->room = room;
    }
    LogEntry *e = &r->batch.at[r->batch.n];
    *e = (LogEntry){ position, arrival_ms, record->key, record->hash_key, record->data };
    if (!is_lent && !entry_copy(r, e))
        return false;
    r->batch.n++;
    return true;
}

// Takes a record if it fits and there is memory for it; otherwise the reader has enough.
static bool take_record(struct reading *r, uint64_t position, int64_t arrival_ms,
                        const Record *record, bool is_lent)
{
    size_t bytes = record->key.n + record->data.n;
    bool fits =
        r->batch.n == 0 || (bytes <= r->read->max_bytes && r->bytes <= r->read->max_bytes - bytes);
    if (r->batch.n >= r->read->max_records || !fits) {
        r->is_full = true;
        return false;
    }
    if (!entry_add(r, position, arrival_ms, record, is_lent)) {
        r->starved = true;
        return false;
    }
    r->bytes += bytes;
    r->batch.next = position + 1;
    return true;
}

static bool take_sealed(void *self, uint64_t position, int64_t arrival_ms, const Record *record,
                        bool is_lent)
{
    return take_record(self, position, arrival_ms, record, is_lent);
}

// The records of one extent at or after `from` that fit.
static Err take_extent(void *self, const ExtentSource *s, const uint8_t *p, bool *ret_stop)
{
    struct reading *r = self;
    size_t at = 0;
    bool is_lent = r->loan != NULL && s->block != NULL;
    r->visited++;
    for (uint32_t i = 0; i < s->entry.count; i++) {
        Record record;
        if (!record_next(p, s->entry.bytes, &at, &record))
            return fail(ERR_CORRUPT, "a record is longer than its extent");
        uint64_t position = s->entry.position + i;
        if (position >= r->from &&
            !take_record(r, position, s->entry.arrival_ms, &record, is_lent)) {
            *ret_stop = true;
            break;
        }
    }
    return OK;
}

// ---- Lending: the blocks, or the chunks, of a round stay where they are until the reader's arena
// is freed

enum { LENT_CHUNKS_MAX = 64 }; // more are copied: of as many a whole answer is made, mostly

struct loan {
    struct log *l;             // NULL: it was closed before
    struct loan *next, **back; // in the log's list, under its lock
    SealedLoan sealed;
    size_t bytes; // of the sources, taken of the budget of requests
    size_t n;
    ExtentSource sources[]; // cached ones
};

static void loan_give_back(struct loan *loan)
{
    struct log *l = loan->l;
    pthread_mutex_lock(&l->lock);
    *loan->back = loan->next;
    if (loan->next != NULL)
        loan->next->back = loan->back;
    pthread_mutex_unlock(&l->lock);
    extents_release(l, loan->sources, loan->n);
    sealed_give_back(l->sealed, &loan->sealed);
    memory_give(loan->bytes);
    loan->l = NULL;
}

static void loan_end(void *self)
{
    struct loan *loan = self;
    if (loan->l != NULL)
        loan_give_back(loan);
}

void log_call_loans_in(struct log *l)
{
    while (l->loans != NULL)
        loan_give_back(l->loans);
}

static void loan_push(struct loan *loan)
{
    struct log *l = loan->l;
    pthread_mutex_lock(&l->lock);
    loan->next = l->loans;
    loan->back = &l->loans;
    if (loan->next != NULL)
        loan->next->back = &loan->next;
    l->loans = loan;
    pthread_mutex_unlock(&l->lock);
}

static struct loan *loan_open(struct reading *r, struct loan *loan, size_t bytes)
{
    *loan = (struct loan){ .l = r->l, .bytes = bytes };
    loan_push(loan);
    arena_at_end(r->a, loan_end, loan);
    return loan;
}

// Of a round of sealed records. The chunks are counted as they are lent.
static SealedLoan *loan_sealed(struct reading *r)
{
    if (!r->lends)
        return NULL;
    struct chunk **chunks = arena_try_new(r->a, struct chunk *, LENT_CHUNKS_MAX);
    struct loan *loan = arena_try_new(r->a, struct loan, 1);
    if (chunks == NULL || loan == NULL)
        return NULL;
    SealedLoan *sealed = &loan_open(r, loan, 0)->sealed;
    *sealed = (SealedLoan){ .at = chunks, .room = LENT_CHUNKS_MAX };
    return sealed;
}

// If there is no memory for it, records are copied, as far as there is memory for that.
static struct loan *loan_begin(struct reading *r)
{
    size_t bytes = 0;
    for (size_t i = 0; i < r->source_count; i++)
        bytes += r->sources[i].block != NULL ? r->sources[i].entry.bytes : 0;
    if (!r->lends || bytes == 0)
        return NULL;
    struct loan *loan = arena_try(r->a, sizeof *loan + r->source_count * sizeof *loan->sources,
                                  _Alignof(ExtentSource));
    if (loan == NULL || !memory_take(bytes, bytes))
        return NULL;
    return loan_open(r, loan, bytes);
}

// Those that were looked at change hands.
static void loan_keep(struct reading *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->source_count; i++) {
        if (i < r->visited && r->sources[i].block != NULL)
            r->loan->sources[r->loan->n++] = r->sources[i];
        else
            r->sources[kept++] = r->sources[i];
    }
    r->source_count = kept;
}

// ---- Rounds

// Sealed records, then the next round goes on behind them.
static Err read_sealed(struct reading *r)
{
    uint64_t next;
    r->sealed.bytes_max = MAX(r->read->max_bytes - MIN(r->bytes, r->read->max_bytes), (size_t)1);
    r->sealed.loan = loan_sealed(r);
    TRY(sealed_read(r->l->sealed, &r->sealed, take_sealed, r, &next));
    r->batch.next = MAX(r->batch.next, next);
    r->batch.more = true; // the journal has not been looked at
    return OK;
}

static Err read_extents(struct reading *r)
{
    r->loan = loan_begin(r);
    Err e = extents_visit(r->l, r->sources, r->source_count, false, take_extent, r);
    if (r->loan != NULL)
        loan_keep(r);
    return e;
}

// Returns in *ret_done whether the reader has all it asked for, or all there is.
static Err read_round(struct reading *r, bool *ret_done)
{
    r->from = r->batch.next;
    r->visited = 0;
    pthread_mutex_lock(&r->l->lock);
    Err e = collect(r);
    pthread_mutex_unlock(&r->l->lock);
    TRY(e);
    bool is_sealed = r->sealed.to != 0 && !r->wants_disk;
    if (is_sealed)
        e = read_sealed(r);
    else
        e = read_extents(r);
    bool any = is_sealed || r->visited > 0;
    extents_release(r->l, r->sources, r->source_count);
    *ret_done = !any || r->is_full || r->wants_disk || !r->batch.more;
    if (e.kind == ERR_NONE && r->starved)
        e = fail(ERR_MEMORY, "no memory for the records that are read");
    return e;
}

static Err read_all(struct log *l, struct arena *a, const LogRead *read, bool lends, LogBatch *ret)
{
    struct reading *r = arena_new(a, struct reading, 1);
    r->lends = lends;
    r->l = l;
    r->a = a;
    r->read = read;
    r->batch.next = read->from;
    Err e = OK;
    for (bool done = false; !done && e.kind == ERR_NONE;)
        e = read_round(r, &done);
    if (r->batch.n == 0)
        TRY(e);
    r->batch.more |= e.kind != ERR_NONE; // the next call will meet it at once, and say so
    if (r->wants_disk && r->batch.n == 0)
        return fail(ERR_BUSY, "the records are not in memory");
    r->batch.more |= r->is_full | r->wants_disk;
    if (!r->batch.more)
        r->batch.next = MAX(r->batch.next, r->end);
    *ret = r->batch;
    return OK;
}

Err log_read(struct log *l, struct arena *a, const LogRead *read, LogBatch *ret)
{
    return read_all(l, a, read, false, ret);
}

Err log_read_lent(struct log *l, struct arena *a, const LogRead *read, LogBatch *ret)
{
    return read_all(l, a, read, true, ret);
}

// ---- Places

// In the index. Under lock.
static uint64_t find_in_index(const struct log *l, const struct shard *s, int64_t now_ms,
                              int64_t arrival_ms)
{
    const struct shard_data *d = s->data;
    uint32_t low = shard_horizon(s, now_ms), high = d->end;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (d->at[middle].arrival_ms >= arrival_ms)
            high = middle;
        else
            low = middle + 1;
    }
    return low < d->end ? d->at[low].position : visible_end(l, s);
}

// The sealed records in which a time is to be looked for, and what comes first behind them. Under
// lock.
static SealedRead find_near(struct log *l, const struct shard *s, int64_t arrival_ms,
                            uint64_t *ret_position)
{
    const struct shard_data *d = s->data;
    int64_t now_ms = log_now_ms(l), over_ms = shard_horizon_ms(s, now_ms);
    SealedRead far = far_records(l, s, over_ms);
    *ret_position = find_in_index(l, s, now_ms, arrival_ms);
    if (far.to == 0 || d->sealed_last_arrival_ms < arrival_ms)
        return (SealedRead){ 0 };
    TailScan all = tail_scan(&l->tail, s->id, far.to, over_ms);
    TailScan late = tail_scan(&l->tail, s->id, far.to, MAX(over_ms, arrival_ms - 1));
    const IndexEntry *first = tail_next(&all), *found = tail_next(&late);
    if (found != NULL && found->position <= d->sealed_last)
        *ret_position = found->position;
    bool is_near = first != NULL && first->arrival_ms < arrival_ms; // and so is all before it
    return is_near ? (SealedRead){ 0 } : far;
}

Err log_find_time(struct log *l, uint64_t shard, int64_t arrival_ms, uint64_t *ret_position)
{
    SealedRead far = { 0 };
    pthread_mutex_lock(&l->lock);
    struct shard *s = shards_find(&l->shards, shard);
    bool is_known = s != NULL && shard_is_declared(s), is_found = false;
    if (is_known)
        far = find_near(l, s, arrival_ms, ret_position);
    pthread_mutex_unlock(&l->lock);
    if (!is_known)
        return fail(ERR_NOT_FOUND, "no such shard");
    uint64_t position;
    if (far.from < far.to)
        TRY(sealed_find_time(l->sealed, &far, arrival_ms, &position, &is_found));
    if (is_found)
        *ret_position = position;
    return OK;
}

Err log_span(struct log *l, uint64_t shard, LogSpan *ret)
{
    pthread_mutex_lock(&l->lock);
    struct shard *s = shards_find(&l->shards, shard);
    bool found = s != NULL && shard_is_declared(s);
    if (found) {
        const struct shard_data *d = s->data;
        int64_t now_ms = log_now_ms(l);
        uint32_t first = shard_horizon(s, now_ms);
        bool any = first < d->end;
        bool any_sealed =
            d->sealed_last != 0 && d->sealed_last_arrival_ms > shard_horizon_ms(s, now_ms);
        *ret = (LogSpan){
            .first = any_sealed ? d->sealed_first
                     : any      ? d->at[first].position
                                : visible_end(l, s),
            .next = visible_end(l, s),
            .last_arrival_ms = any          ? d->at[d->end - 1].arrival_ms
                               : any_sealed ? d->sealed_last_arrival_ms
                                            : 0,
            .ended = d->ended,
            .end = d->ended ? d->end_position : 0,
        };
    }
    pthread_mutex_unlock(&l->lock);
    return found ? OK : fail(ERR_NOT_FOUND, "no such shard");
}

// Of the journal and the index. Under lock.
static void count_journal(const struct log *l, LogStats *st)
{
    const struct journal_files *fs = &l->files;
    st->cache_bytes = l->cache.bytes;
    st->files = fs->n;
    st->shards = l->shards.n;
    st->index_bytes =
        (l->entries + l->tail.entries) * sizeof(IndexEntry) + l->shards.n * sizeof(struct shard);
    for (size_t i = 0; i < fs->n; i++) {
        st->disk_bytes += fs->at[i]->bytes;
        st->live_bytes += fs->at[i]->live_bytes;
    }
    for (size_t i = 0; i < fs->spare_count; i++)
        st->disk_bytes += fs->spares[i]->bytes;
}

static void count_sealed(const struct log *l, LogStats *st)
{
    SealedStats sealed;
    sealed_stats(l->sealed, &sealed);
    st->containers = sealed.containers;
    st->container_bytes = sealed.disk_bytes;
    st->container_raw_bytes = sealed.raw_bytes;
    st->sealed_records = sealed.records;
    st->read_cache_bytes = sealed.read_cache_bytes + sealed.footer_cache_bytes;
    st->merges = sealed.merges;
    st->expired = sealed.expired;
}

void log_stats(struct log *l, LogStats *ret)
{
    pthread_mutex_lock(&l->lock);
    LogStats st = l->stats;
    count_journal(l, &st);
    pthread_mutex_unlock(&l->lock);
    count_sealed(l, &st);
    pthread_mutex_lock(&l->queue_lock);
    if (l->next_file != NULL)
        st.disk_bytes += l->next_file->bytes;
    st.full = l->full;
    st.behind = l->behind;
    st.failed = l->dead;
    st.queue_kind = l->io->queue_kind(l->queue);
    pthread_mutex_unlock(&l->queue_lock);
    st.direct = l->files.direct;
    *ret = st;
}
