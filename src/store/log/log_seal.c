// SPDX-License-Identifier: Apache-2.0
// Sealing: the records of the oldest journal files go into containers, sorted by shard; when the
// checkpoint that lists them is durable, the index forgets them and the files are used again. What
// the tail cache has of them is read there as before (log_tail.c).
//
// A file is left behind as a whole, and files in the order of their numbers. Records that are over
// by then are not copied; files in which nothing is left need no container. Only the thread that
// has expire_lock is here, so entries of the index that are to be sealed can meanwhile only vanish
// with their shard.
#include "base/memory.h"
#include "base/prefetch.h"
#include "store/log/journal_priv.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENTRIES_MAX = 1 << 20,   // in the index, over which files are sealed however few they are
    HOLD_MAX = 256,          // extents held at once
    ENTRIES_TOGETHER = 4096, // looked at while the lock is held
    ENTRIES_AHEAD = 8,       // of a shard, which the processor fetches before they are looked at
    // Of the unsealed part that is allowed: from when on packing well is given up for speed, and
    // from when on puts are slowed down, so that they are not refused later.
    HURRY_SHARE = 8,
    PACE_SHARE = 2,
    PASS_SHARE = 4, // up to which what will be passed soon is waited for
    // A stream of records that is this fast leaves no time for packing well, nor for merging until
    // it has been over for a while.
    HOT_BYTES_PER_MS = 32 << 10,
    HOT_SPAN_MS_LEAST = 250,
};
#define HOT_NS (3 * NS_PER_S)

// Of one shard, as it was when sealing began.
struct seal_shard {
    uint64_t id;
    RetentionClass class;
    size_t first, end; // of its extents
};

struct seal_extent {
    uint64_t shard;
    IndexEntry entry;
    uint8_t *to;  // where its records are copied
    bool is_lost; // every copy of them is damaged
};

struct sealing {
    struct log *l;
    struct arena *tmp;
    size_t files; // so many
    uint64_t block;
    uint64_t next_file;
    uint64_t bytes; // of the files
    int64_t arrival_ms, now_ms;
    bool hurry;
    uint64_t *ids;    // of shards with entries
    uint32_t *counts; // of their entries that go: those at the beginning
    size_t id_count;
    struct seal_shard *shards; // by id
    size_t shard_count;
    size_t published;            // of the shards
    struct seal_extent *extents; // by shard, then position
    size_t extent_count, extent_room;
    bool any_lost; // of the extents
    uint8_t *buffer;
    ContainerFacts added[RETENTION_CLASSES];
    size_t added_count;
};

// ---- What is to be sealed

// Nothing will be written to it any more, and what is in it is acknowledged or void.
static bool is_closed(const struct log *l, const struct journal_file *f)
{
    return f != files_current(&l->files) && f->last_block <= l->visible;
}

// What is passed before it is sealed has cost nothing. Files that wait behind one of which a little
// is left wait on: it is mostly passed soon, and what is over of them does not make them due.
static bool is_due(const struct log *l, uint64_t closed_bytes, uint64_t pass_bytes)
{
    return closed_bytes - pass_bytes >= l->config.seal_bytes ||
           closed_bytes >= MAX(l->config.seal_bytes, l->config.unsealed_bytes_max / PASS_SHARE) ||
           l->entries >= ENTRIES_MAX;
}

// The first file of the table that is not over yet; those before it wait for their last readers.
static size_t first_file(const struct log *l)
{
    size_t i = 0;
    while (i < l->files.n && l->files.at[i]->number < l->journal_file)
        i++;
    return i;
}

// The files that are sealed next: those in which nothing is left and, if it is time, some of the
// oldest others. Under lock.
static void choose_files(struct sealing *s, bool now)
{
    const struct log *l = s->l;
    const struct journal_files *fs = &l->files;
    uint64_t closed = 0, passing = 0, live = 0;
    size_t first = first_file(l);
    for (size_t i = first; i < fs->n && is_closed(l, fs->at[i]); i++) {
        closed += fs->at[i]->bytes;
        passing += fs->at[i]->pass_bytes;
    }
    now |= is_due(l, closed, passing);
    for (size_t i = first; i < fs->n && is_closed(l, fs->at[i]); i++) {
        const struct journal_file *f = fs->at[i];
        bool fits = live == 0 || live + f->live_bytes <= SEAL_BUFFER_BYTES;
        if (f->live_extents > 0 && (!now || !fits))
            break;
        live += f->live_bytes;
        s->bytes += f->bytes;
        s->files++;
        s->block = MAX(s->block, f->newest_block);
        s->next_file = f->number + 1;
    }
    s->arrival_ms = l->visible_arrival_ms;
}

static int compare_ids(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return a < b ? -1 : a > b;
}

// Under lock.
static void note_ids(struct sealing *s)
{
    const struct shards *all = &s->l->shards;
    s->ids = arena_new(s->tmp, uint64_t, MAX(all->n, (size_t)1));
    for (size_t i = 0; i < all->room; i++) {
        shards_ahead(all, i);
        const struct shard *x = shards_at(all, i);
        if (x != NULL && x->data->end > x->data->first)
            s->ids[s->id_count++] = x->id;
    }
    if (s->id_count > 1)
        qsort(s->ids, s->id_count, sizeof *s->ids, compare_ids);
    s->counts = arena_new(s->tmp, uint32_t, MAX(s->id_count, (size_t)1));
    s->shards = arena_new(s->tmp, struct seal_shard, MAX(s->id_count, (size_t)1));
}

static void extent_add(struct sealing *s, uint64_t shard, const IndexEntry *e)
{
    if (s->extent_count == s->extent_room) {
        s->extent_room = MAX(s->extent_room * 2, (size_t)1024);
        s->extents = xrealloc(s->extents, mul_checked(s->extent_room, sizeof *s->extents));
    }
    s->extents[s->extent_count++] = (struct seal_extent){ .shard = shard, .entry = *e };
}

// The first entry that stays in the index. What goes lies at the beginning: the search starts there
// and touches little else.
static uint32_t first_behind(const struct sealing *s, const struct shard *x)
{
    const struct shard_data *d = x->data;
    uint64_t limit = (s->block + 1) << LOG_ORDINAL_BITS;
    uint32_t low = d->first, step = 1;
    for (; step < d->end - low && d->at[low + step].position < limit; step *= 2)
        low += step;
    uint32_t high = MIN(low + step, d->end);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (d->at[middle].position < limit)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// `i`: its place among the ids.
typedef void shard_visit(struct sealing *s, size_t i, struct shard *x);

// What a visit looks at, beside the line that finding the shard has asked for.
static void fetch_ahead(const struct shard *x)
{
    const struct shard_data *d = x->data;
    uint32_t end = MIN(d->end, d->first + ENTRIES_AHEAD);
    prefetch_to_write(&d->over_ms);
    for (uint32_t i = d->first; i < end; i += CACHE_LINE_BYTES / sizeof *d->at)
        prefetch(&d->at[i]);
}

// Some shards with entries from the one at `from` on, under the lock: as many as nobody waits long
// for. Those that were dropped meanwhile are passed over. Returns how many.
static size_t visit_some(struct sealing *s, size_t from, shard_visit *visit)
{
    struct log *l = s->l;
    struct shard *found[SHARDS_TOGETHER_MAX];
    size_t n = MIN(s->id_count - from, (size_t)SHARDS_TOGETHER_MAX), entries = 0, done = 0;
    pthread_mutex_lock(&l->lock);
    shards_find_all(&l->shards, s->ids + from, n, found);
    for (size_t i = 0; i < n; i++)
        if (found[i] != NULL)
            fetch_ahead(found[i]);
    for (; done < n && entries < ENTRIES_TOGETHER; done++) {
        struct shard *x = found[done];
        if (x == NULL)
            continue;
        entries += x->data->end - x->data->first;
        visit(s, from + done, x);
    }
    pthread_mutex_unlock(&l->lock);
    return done;
}

static void visit_all(struct sealing *s, shard_visit *visit)
{
    for (size_t i = 0; i < s->id_count;)
        i += visit_some(s, i, visit);
}

// Copies the entries of one shard that may still be read.
static void note_shard(struct sealing *s, size_t i, struct shard *x)
{
    struct seal_shard *t = &s->shards[s->shard_count];
    *t = (struct seal_shard){ x->id, retention_class(x->retention_ns), s->extent_count, 0 };
    uint32_t end = first_behind(s, x);
    s->counts[i] = end - x->data->first;
    for (uint32_t k = shard_horizon(x, s->now_ms); k < end; k++)
        extent_add(s, x->id, &x->data->at[k]);
    t->end = s->extent_count;
    s->shard_count += t->end > t->first;
}

// ---- Copying

static int compare_places(const void *x, const void *y)
{
    const struct seal_extent *a = *(struct seal_extent *const *)x;
    const struct seal_extent *b = *(struct seal_extent *const *)y;
    if (a->entry.file != b->entry.file)
        return a->entry.file < b->entry.file ? -1 : 1;
    return a->entry.place < b->entry.place ? -1 : a->entry.place > b->entry.place;
}

static Err copy_extent(void *self, const ExtentSource *s, const uint8_t *records, bool *ret_stop)
{
    struct seal_extent ***next = self;
    memcpy((**next)->to, records, s->entry.bytes);
    ++*next;
    *ret_stop = false;
    return OK;
}

// Copies extents that are held. What is damaged in every copy is noted and passed over: waiting
// would mend nothing, and the journal could not be used again behind it.
static Err load_held(struct log *l, const ExtentSource *held, size_t n, struct seal_extent **first)
{
    struct seal_extent **next = first;
    while ((size_t)(next - first) < n) {
        size_t done = (size_t)(next - first);
        Err e = extents_visit(l, held + done, n - done, true, copy_extent, &next);
        if (e.kind != ERR_CORRUPT)
            return e;
        (*next)->is_lost = true;
        next++;
    }
    return OK;
}

// Reads extents in the order of their places into the buffer.
static Err load(struct sealing *s, struct seal_extent **sorted, size_t n)
{
    struct log *l = s->l;
    ExtentSource *held = arena_new(s->tmp, ExtentSource, HOLD_MAX);
    for (size_t i = 0; i < n; i += HOLD_MAX) {
        size_t count = MIN(n - i, (size_t)HOLD_MAX);
        pthread_mutex_lock(&l->lock);
        for (size_t k = 0; k < count; k++)
            extent_hold(l, sorted[i + k]->shard, &sorted[i + k]->entry, false, &held[k]);
        pthread_mutex_unlock(&l->lock);
        Err e = load_held(l, held, count, sorted + i);
        extents_release(l, held, count);
        TRY(e);
    }
    return OK;
}

// How many of the extents fit into the buffer together: at least one.
static size_t group(struct seal_extent **at, size_t n, size_t *ret_bytes)
{
    size_t bytes = at[0]->entry.bytes, count = 1;
    while (count < n && bytes + at[count]->entry.bytes <= SEAL_BUFFER_BYTES)
        bytes += at[count++]->entry.bytes;
    *ret_bytes = bytes;
    return count;
}

static Err add_loaded(struct sealing *s, struct container_writer *w, const struct seal_extent *x)
{
    ContainerRun run = {
        .position = x->entry.position,
        .arrival_ms = x->entry.arrival_ms,
        .count = x->entry.count,
        .bytes = x->entry.bytes,
        .records = x->to,
    };
    if (!x->is_lost)
        return container_add(w, x->shard, &run);
    s->any_lost = true;
    LOG(LOG_ERROR, "records are lost: they were damaged before they were sealed",
        F_STR("dir", s->l->files.dir), F_INT("shard", x->shard), F_INT("position", run.position),
        F_INT("records", run.count));
    metric_add(s->l->metrics.lost, run.count);
    return container_add_lost(w, x->shard, &run);
}

// The pages of a large buffer cost more than what is sorted in it: in a hurry it is kept for the
// next time (log_drop_seal_buffer). One extent may be larger.
static bool is_kept(const struct sealing *s, size_t bytes)
{
    return s->hurry && bytes <= SEAL_BUFFER_BYTES;
}

static uint8_t *buffer_get(const struct sealing *s, size_t bytes)
{
    if (!is_kept(s, bytes))
        return pages_get(bytes);
    uint8_t *kept = s->l->seal_buffer;
    s->l->seal_buffer = NULL;
    return kept != NULL ? kept : pages_get(SEAL_BUFFER_BYTES);
}

static void buffer_give(const struct sealing *s, uint8_t *take_p, size_t bytes)
{
    if (is_kept(s, bytes))
        s->l->seal_buffer = take_p;
    else
        free(take_p);
}

void log_drop_seal_buffer(struct log *l)
{
    free(l->seal_buffer);
    l->seal_buffer = NULL;
}

// Loads them in the order of the disk and adds them in their own.
static Err write_group(struct sealing *s, struct container_writer *w, struct seal_extent **at,
                       size_t n, size_t bytes)
{
    struct seal_extent **sorted = xalloc(mul_checked(n, sizeof *sorted));
    uint8_t *buffer = buffer_get(s, bytes), *to = buffer;
    for (size_t i = 0; i < n; i++) {
        at[i]->to = to;
        to += at[i]->entry.bytes;
        sorted[i] = at[i];
    }
    qsort(sorted, n, sizeof *sorted, compare_places);
    Err e = load(s, sorted, n);
    for (size_t i = 0; i < n && e.kind == ERR_NONE; i++)
        e = add_loaded(s, w, at[i]);
    buffer_give(s, buffer, bytes);
    free(sorted);
    return e;
}

static Err add_extent(void *self, const ExtentSource *s, const uint8_t *records, bool *ret_stop)
{
    ContainerRun run = {
        .position = s->entry.position,
        .arrival_ms = s->entry.arrival_ms,
        .count = s->entry.count,
        .bytes = s->entry.bytes,
        .records = records,
    };
    *ret_stop = false;
    return container_add(self, s->shard, &run);
}

// Adds the first of the extents straight from the tail cache: as many as are in it and are held at
// once.
static Err write_cached(struct sealing *s, struct container_writer *w, struct seal_extent **at,
                        size_t n, ExtentSource *held, size_t *ret_n)
{
    struct log *l = s->l;
    size_t count = 0;
    pthread_mutex_lock(&l->lock);
    while (count < MIN(n, (size_t)HOLD_MAX) &&
           extent_hold(l, at[count]->shard, &at[count]->entry, true, &held[count]))
        count++;
    pthread_mutex_unlock(&l->lock);
    Err e = extents_visit(l, held, count, true, add_extent, w);
    extents_release(l, held, count);
    *ret_n = count;
    return e;
}

static Err write_extents(struct sealing *s, struct container_writer *w, struct seal_extent **at,
                         size_t n)
{
    ExtentSource *held = arena_new(s->tmp, ExtentSource, HOLD_MAX);
    for (size_t i = 0; i < n;) {
        size_t bytes, count;
        TRY(write_cached(s, w, at + i, n - i, held, &count));
        i += count;
        if (count > 0 || i == n)
            continue;
        count = group(at + i, n - i, &bytes);
        TRY(write_group(s, w, at + i, count, bytes));
        i += count;
    }
    return OK;
}

// One container for the shards of a class, if there are any.
static Err write_class(struct sealing *s, RetentionClass class)
{
    size_t n = 0;
    struct seal_extent **at = memory_get(mul_checked(MAX(s->extent_count, (size_t)1), sizeof *at));
    for (size_t i = 0; i < s->shard_count; i++)
        for (size_t k = s->shards[i].first; k < s->shards[i].end; k++)
            if (s->shards[i].class == class)
                at[n++] = &s->extents[k];
    struct container_writer *w = NULL;
    Err e = n > 0 ? sealed_create(s->l->sealed, class, &w) : OK;
    if (e.kind == ERR_NONE && n > 0 && s->hurry)
        container_hurry(w);
    if (e.kind == ERR_NONE && n > 0)
        e = write_extents(s, w, at, n);
    free(at);
    if (e.kind != ERR_NONE) {
        container_abandon(w);
        return e;
    }
    if (n > 0)
        e = container_finish(w, &s->added[s->added_count]);
    s->added_count += n > 0 && e.kind == ERR_NONE;
    return e;
}

// ---- Rows of the checkpoint

static int compare_rows(const void *x, const void *y)
{
    const CheckpointShard *a = x, *b = y;
    return a->shard < b->shard ? -1 : a->shard > b->shard;
}

// What is sealed of a shard, NULL: nothing. For ids that grow from call to call: `*at` is 0 before
// the first.
static const struct seal_shard *seal_shard_next(const struct sealing *s, uint64_t id, size_t *at)
{
    while (*at < s->shard_count && s->shards[*at].id < id)
        ++*at;
    return *at < s->shard_count && s->shards[*at].id == id ? &s->shards[*at] : NULL;
}

// What is sealed of a shard once these extents of it are.
static void advance(const struct sealing *s, const struct seal_shard *x, CheckpointShard *row)
{
    const IndexEntry *last = &s->extents[x->end - 1].entry;
    if (row->first_position == 0)
        row->first_position = s->extents[x->first].entry.position;
    row->last_position = last->position + last->count - 1;
    row->last_arrival_ms = last->arrival_ms;
}

static CheckpointShard row_of(const struct log *l, const struct shard *x)
{
    const struct shard_data *d = x->data;
    CheckpointShard row = {
        .shard = x->id,
        .end_position = d->ended ? d->end_position : 0,
        .end_arrival_ms = d->ended ? d->end_arrival_ms : 0,
    };
    bool is_over = d->sealed_last_arrival_ms <= shard_horizon_ms(x, l->visible_arrival_ms);
    if (d->sealed_last != 0 && !is_over) {
        row.first_position = d->sealed_first;
        row.last_position = d->sealed_last;
        row.last_arrival_ms = d->sealed_last_arrival_ms;
    }
    return row;
}

// What is known of all shards now, in no order. Under lock.
static size_t collect_rows(const struct log *l, CheckpointShard *rows)
{
    size_t n = 0;
    for (size_t i = 0; i < l->shards.room; i++) {
        shards_ahead(&l->shards, i);
        if (shards_at(&l->shards, i) != NULL)
            rows[n++] = row_of(l, shards_at(&l->shards, i));
    }
    return n;
}

// Brings rows, which are sorted, to what they will be when s (which may be NULL) is over, and
// leaves out those that say nothing.
static size_t settle_rows(const struct sealing *s, CheckpointShard *rows, size_t n)
{
    size_t kept = 0, at = 0;
    for (size_t i = 0; i < n; i++) {
        CheckpointShard row = rows[i];
        const struct seal_shard *sealed = s != NULL ? seal_shard_next(s, row.shard, &at) : NULL;
        if (sealed != NULL)
            advance(s, sealed, &row);
        if (row.last_position != 0 || row.end_position != 0)
            rows[kept++] = row;
    }
    return kept;
}

static CheckpointShard *make_rows(struct log *l, const struct sealing *s, struct arena *a,
                                  size_t *ret_n)
{
    pthread_mutex_lock(&l->lock);
    CheckpointShard *rows = arena_new(a, CheckpointShard, MAX(l->shards.n, (size_t)1));
    size_t n = collect_rows(l, rows);
    pthread_mutex_unlock(&l->lock);
    if (n > 1)
        qsort(rows, n, sizeof *rows, compare_rows);
    *ret_n = settle_rows(s, rows, n);
    return rows;
}

void log_rows(void *log, struct arena *a, CheckpointShard **ret, size_t *ret_n)
{
    *ret = make_rows(log, NULL, a, ret_n);
}

int64_t log_retention_of(void *log, uint64_t shard)
{
    struct log *l = log;
    pthread_mutex_lock(&l->lock);
    const struct shard *s = shards_find(&l->shards, shard);
    int64_t retention_ns = s != NULL && shard_is_declared(s) ? s->retention_ns : -1;
    pthread_mutex_unlock(&l->lock);
    return retention_ns;
}

// ---- The end

// Before the first shard is published. What is lost to one reader is to all: then nothing is kept.
static void leave_in_tail(struct sealing *s)
{
    struct log *l = s->l;
    if (s->extent_count == 0)
        return;
    if (s->any_lost || !log_tail_wants(l, s->block)) {
        log_tail_trim(l, true); // there is a gap behind it now
        return;
    }
    struct tail_part *p = tail_part_new(s->shard_count, s->extent_count);
    p->first_block = l->sealed_block + 1; // changed by whoever seals
    p->last_block = s->block;
    p->shard_count = s->shard_count;
    p->entry_count = s->extent_count;
    for (size_t i = 0; i < s->shard_count; i++)
        p->shards[i] = (struct tail_shard){ s->shards[i].id, (uint32_t)s->shards[i].first,
                                            (uint32_t)s->shards[i].end };
    for (size_t i = 0; i < s->extent_count; i++)
        p->entries[i] = s->extents[i].entry;
    log_tail_add(l, p);
}

// From now on the records of this shard are read from containers, or the tail.
static void publish_shard(struct sealing *s, size_t i, struct shard *x)
{
    struct log *l = s->l;
    const struct seal_shard *sealed = seal_shard_next(s, x->id, &s->published);
    if (sealed != NULL) {
        CheckpointShard row = row_of(l, x);
        advance(s, sealed, &row);
        struct shard_data *d = shard_data(x);
        d->sealed_first = row.first_position;
        d->sealed_last = row.last_position;
        d->sealed_last_arrival_ms = row.last_arrival_ms;
    }
    log_trim(l, x, x->data->first + s->counts[i]);
}

// Takes files that are over out of the table, as soon as nobody reads them.
static void recycle(struct log *l)
{
    struct journal_files *fs = &l->files;
    while (true) {
        pthread_mutex_lock(&l->lock);
        struct journal_file *f = fs->n > 0 ? fs->at[0] : NULL;
        bool is_over = f != NULL && f->number < l->journal_file && f->users == 0;
        if (is_over) {
            CHECK(f->live_extents == 0);
            memmove(fs->at, fs->at + 1, --fs->n * sizeof *fs->at);
        }
        pthread_mutex_unlock(&l->lock);
        if (!is_over)
            break;
        files_recycle(fs, &l->lock, f);
    }
    log_note_unsealed(l);
    pthread_mutex_lock(&l->queue_lock);
    pthread_cond_signal(&l->keep);
    pthread_mutex_unlock(&l->queue_lock);
}

// Not of the last file, which is written and cannot be sealed yet.
static uint64_t unsealed_bytes(struct log *l)
{
    uint64_t bytes = 0;
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i + 1 < l->files.n; i++)
        bytes += l->files.at[i]->bytes;
    pthread_mutex_unlock(&l->lock);
    return bytes;
}

void log_note_unsealed(struct log *l)
{
    uint64_t bytes = unsealed_bytes(l);
    bool is_behind = bytes >= l->config.unsealed_bytes_max;
    pthread_mutex_lock(&l->queue_lock);
    if (is_behind && !l->behind)
        LOG(LOG_WARN, "sealing is behind: appends are refused until it has caught up",
            F_STR("dir", l->files.dir), F_INT("unsealed_bytes", bytes));
    l->behind = is_behind;
    pthread_mutex_unlock(&l->queue_lock);
}

void log_pace(struct log *l, uint64_t bytes)
{
    bool is_much = unsealed_bytes(l) >= l->config.unsealed_bytes_max / PACE_SHARE;
    pthread_mutex_lock(&l->queue_lock);
    // What was granted and not used is not kept: no burst follows a quiet time.
    l->pace_bytes = (int64_t)(bytes / 4 * 3);
    l->paced = is_much;
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->queue_lock);
}

void log_pace_end(struct log *l)
{
    pthread_mutex_lock(&l->queue_lock);
    l->paced = false;
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->queue_lock);
}

static Err commit(struct sealing *s)
{
    struct log *l = s->l;
    size_t row_count;
    CheckpointShard *rows = make_rows(l, s, s->tmp, &row_count);
    SealedChange change = {
        .added = s->added,
        .added_count = s->added_count,
        .sealed_block = s->block,
        .journal_file = s->next_file,
        .arrival_ms = s->arrival_ms,
    };
    TRY(sealed_commit(l->sealed, &change, rows, row_count));
    leave_in_tail(s);
    visit_all(s, publish_shard);
    pthread_mutex_lock(&l->lock);
    l->sealed_block = MAX(l->sealed_block, s->block);
    l->journal_file = s->next_file;
    l->stats.seals += s->added_count;
    pthread_mutex_unlock(&l->lock);
    return OK;
}

// Whether the records came so fast that time matters more than space.
static bool is_hot(const struct sealing *s)
{
    int64_t first_ms = INT64_MAX, last_ms = INT64_MIN;
    uint64_t bytes = 0;
    for (size_t i = 0; i < s->extent_count; i++) {
        const IndexEntry *e = &s->extents[i].entry;
        first_ms = MIN(first_ms, e->arrival_ms);
        last_ms = MAX(last_ms, e->arrival_ms);
        bytes += e->bytes;
    }
    if (bytes == 0)
        return false;
    return bytes / (uint64_t)MAX(last_ms - first_ms, (int64_t)HOT_SPAN_MS_LEAST) >=
           HOT_BYTES_PER_MS;
}

static void note_heat(struct sealing *s)
{
    if (!is_hot(s))
        return;
    s->hurry = true;
    s->l->hot_until_ns = s->l->io->mono_ns(s->l->io) + HOT_NS;
}

static Err run(struct sealing *s)
{
    visit_all(s, note_shard);
    note_heat(s);
    Err e = OK;
    for (unsigned c = 0; c < RETENTION_CLASSES && e.kind == ERR_NONE; c++)
        e = write_class(s, (RetentionClass)c);
    if (e.kind == ERR_NONE)
        return commit(s);
    sealed_discard(s->l->sealed, s->added, s->added_count); // of the classes before
    return e;
}

Err log_seal_step(struct log *l, bool now, bool *ret_any)
{
    AUTO(arena) tmp = arena_open();
    struct sealing s = {
        .l = l,
        .tmp = tmp,
        .hurry = unsealed_bytes(l) >= l->config.unsealed_bytes_max / HURRY_SHARE,
    };
    pthread_mutex_lock(&l->lock);
    s.now_ms = log_now_ms(l);
    choose_files(&s, now);
    if (s.files > 0)
        note_ids(&s);
    pthread_mutex_unlock(&l->lock);
    Err e = s.files > 0 ? run(&s) : OK;
    free(s.extents);
    *ret_any = s.files > 0 && e.kind == ERR_NONE;
    recycle(l);
    if (*ret_any)
        log_pace(l, s.bytes);
    return e;
}
