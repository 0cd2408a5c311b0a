// SPDX-License-Identifier: Apache-2.0
// The index: for each shard a row of 32-byte entries, one per extent, oldest first; and the table
// of shards by incarnation id.
#include "base/memory.h"
#include "base/prefetch.h"
#include "store/log/journal_priv.h"

#include <stdlib.h>
#include <string.h>

enum { TABLE_ROOM_LEAST = 64, ENTRY_ROOM_LEAST = 4, AHEAD_PLACES = 48 };
static const struct shard_data unused = { 0 };

// ---- The table: open addressing with linear probing, at most three quarters full

// Incarnation ids are counters. Multiplied by 2^64 / golden ratio, their upper bits lie as far from
// each other as they can: neighbours hardly ever meet (Knuth, The Art of Computer Programming 6.4).
static size_t home(const struct shards *t, uint64_t id)
{
    return (size_t)((id * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - __builtin_ctzll(t->room)));
}

static size_t probe(const struct shards *t, uint64_t id)
{
    size_t i = home(t, id);
    while (t->at[i].data != NULL && t->at[i].id != id)
        i = (i + 1) & (t->room - 1);
    return i;
}

struct shard *shards_find(const struct shards *t, uint64_t id)
{
    return t->room == 0 ? NULL : shards_at(t, probe(t, id));
}

static void fetch_place(const struct shards *t, uint64_t id)
{
    const struct shard *s = &t->at[home(t, id)]; // most are at home; the others are not asked for
    prefetch(s);
    prefetch((const uint8_t *)(s + 1) - 1);
}

// With thousands of shards each step of a search is a miss of the processor's cache; those of all
// searches are asked for together, so that they are waited for together.
void shards_find_all(const struct shards *t, const uint64_t *ids, size_t n, struct shard **ret)
{
    bool cold = t->n >= SHARDS_COLD_LEAST;
    for (size_t i = 0; i < n && cold; i++)
        fetch_place(t, ids[i]);
    for (size_t i = 0; i < n; i++) {
        ret[i] = shards_find(t, ids[i]);
        if (ret[i] != NULL && cold)
            prefetch_to_write(ret[i]->data);
    }
}

void shards_ahead(const struct shards *t, size_t i)
{
    const struct shard *s = i + AHEAD_PLACES < t->room ? &t->at[i + AHEAD_PLACES] : NULL;
    if (s == NULL || s->data == NULL)
        return;
    prefetch(s->data);
    prefetch(&s->data->over_ms);
}

static void grow(struct shards *t)
{
    struct shards wider = { .room = MAX(t->room * 2, (size_t)TABLE_ROOM_LEAST), .n = t->n };
    wider.at = xalloc(mul_checked(wider.room, sizeof *wider.at));
    for (size_t i = 0; i < t->room; i++)
        if (t->at[i].data != NULL)
            wider.at[probe(&wider, t->at[i].id)] = t->at[i];
    free(t->at);
    *t = wider;
}

struct shard *shards_make(struct shards *t, uint64_t id)
{
    if ((t->n + 1) * 4 > t->room * 3)
        grow(t);
    struct shard *s = &t->at[probe(t, id)];
    if (s->data == NULL) {
        *s = (struct shard){ .id = id, .retention_ns = SHARD_UNDECLARED, .data = &unused };
        t->n++;
    }
    return s;
}

struct shard_data *shard_data(struct shard *s)
{
    if (s->data == &unused) {
        s->own = memory_get_aligned(CACHE_LINE_BYTES, sizeof *s->own);
        memset(s->own, 0, sizeof *s->own);
    }
    return s->own;
}

static void shard_done(struct shard *s)
{
    if (s->data != &unused && s->data != NULL) {
        free(s->own->at);
        free(s->own);
    }
    *s = (struct shard){ 0 };
}

void shards_remove(struct shards *t, uint64_t id)
{
    size_t hole = probe(t, id);
    CHECK(t->at[hole].data != NULL);
    shard_done(&t->at[hole]);
    t->n--;
    // Those that had to step over the hole move into it, so that a search still finds them.
    for (size_t i = (hole + 1) & (t->room - 1); t->at[i].data != NULL;
         i = (i + 1) & (t->room - 1)) {
        size_t want = home(t, t->at[i].id);
        bool is_past_hole = ((i - want) & (t->room - 1)) >= ((i - hole) & (t->room - 1));
        if (!is_past_hole)
            continue;
        t->at[hole] = t->at[i];
        t->at[i] = (struct shard){ 0 };
        hole = i;
    }
}

void shards_done(struct shards *t)
{
    for (size_t i = 0; i < t->room; i++)
        shard_done(&t->at[i]);
    free(t->at);
    *t = (struct shards){ 0 };
}

// ---- Entries of a shard

IndexEntry *shard_push(struct shard_data *s)
{
    if (s->end == s->room) {
        uint32_t n = s->end - s->first;
        if (n > 0 && s->first > 0)
            memmove(s->at, s->at + s->first, n * sizeof *s->at);
        s->first = 0;
        s->end = n;
        if (n * 2 > s->room || s->room == 0) { // moving alone would have to be done again soon
            s->room = MAX(s->room * 2, (uint32_t)ENTRY_ROOM_LEAST);
            s->at = xrealloc(s->at, mul_checked(s->room, sizeof *s->at));
        }
    }
    return &s->at[s->end++];
}

void shard_trim(struct shard *shard, uint32_t first)
{
    struct shard_data *s = shard_data(shard);
    s->first = first;
    uint32_t n = s->end - s->first;
    if (n == 0) {
        free(s->at);
        s->at = NULL;
        s->first = s->end = s->room = 0;
    } else if (s->room > 1024 && n < s->room / 4) {
        memmove(s->at, s->at + s->first, n * sizeof *s->at);
        s->first = 0;
        s->end = n;
        s->room = n * 2;
        s->at = xrealloc(s->at, mul_checked(s->room, sizeof *s->at));
    }
}

int64_t shard_horizon_ms(const struct shard *s, int64_t now_ms)
{
    int64_t over_ms;
    if (!shard_is_declared(s))
        return INT64_MIN;
    if (__builtin_sub_overflow(now_ms, s->retention_ns / NS_PER_MS, &over_ms))
        over_ms = INT64_MIN;
    return MAX(over_ms, s->data->over_ms);
}

static uint32_t first_in_time(const struct shard *s, int64_t now_ms)
{
    int64_t oldest_ms = shard_horizon_ms(s, now_ms);
    uint32_t low = s->data->first, high = s->data->end;
    if (low < high && s->data->at[low].arrival_ms > oldest_ms)
        return low; // mostly nothing is over since it was looked at last
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (s->data->at[middle].arrival_ms > oldest_ms)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

uint32_t shard_horizon(const struct shard *s, int64_t now_ms)
{
    uint32_t first = first_in_time(s, now_ms);
    return s->data->passes ? shard_search(s, first, s->data->passed) : first;
}

uint32_t shard_search(const struct shard *s, uint32_t from, uint64_t position)
{
    uint32_t low = from, high = s->data->end;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (s->data->at[middle].position + s->data->at[middle].count > position)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

// ---- What a durable block changes

static void index_extent(struct log *l, struct journal_file *f, const BlockHead *head,
                         const BlockExtent *x)
{
    *shard_push(x->data) = (IndexEntry){
        .position = head->number << LOG_ORDINAL_BITS | x->first_ordinal,
        .arrival_ms = head->arrival_ms,
        .file = (uint32_t)f->number,
        .place = (uint32_t)(head->place + x->place),
        .bytes = x->bytes,
        .count = x->count,
    };
    log_note_watches(l, x->data);
    l->entries++;
    f->live_extents++;
    f->live_bytes += x->bytes;
    f->pass_bytes += x->data->passes ? x->bytes : 0;
}

// What a shard among thousands has is far away: first what it has at all, then the end of its row.
static void fetch_ahead(const BlockExtent *extents, size_t n, size_t i)
{
    if (i + AHEAD_PLACES < n)
        prefetch_to_write(extents[i + AHEAD_PLACES].data);
    if (i + AHEAD_PLACES / 2 >= n)
        return;
    const struct shard_data *d = extents[i + AHEAD_PLACES / 2].data;
    if (d->at != NULL)
        prefetch_to_write(&d->at[d->end]);
}

void log_index_extents(struct log *l, struct journal_file *f, const BlockHead *head,
                       const BlockExtent *extents, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fetch_ahead(extents, n, i);
        index_extent(l, f, head, &extents[i]);
    }
}

void log_trim(struct log *l, struct shard *s, uint32_t first)
{
    struct journal_file *f = NULL; // neighbours mostly lie in the same one
    CHECK(first <= s->data->end);
    for (uint32_t i = s->data->first; i < first; i++) {
        const IndexEntry *e = &s->data->at[i];
        if (f == NULL || f->number != e->file)
            f = files_find(&l->files, e->file);
        CHECK(f != NULL); // a file with entries is never retired
        f->live_extents--;
        f->live_bytes -= e->bytes;
    }
    l->entries -= first - s->data->first;
    if (first > s->data->first)
        shard_trim(s, first);
}

void log_apply(struct log *l, const Control *c)
{
    struct shard *s = shards_find(&l->shards, c->id);
    switch ((ControlWhat)c->what) {
    case CONTROL_END:
        if (c->position == 0)
            break; // it was not there any more
        if (s == NULL)
            s = shards_make(&l->shards, c->id); // recovery: its row is declared later
        if (!s->data->ended) {
            struct shard_data *d = shard_data(s);
            d->ended = true;
            d->end_position = c->position;
            d->end_arrival_ms = c->arrival_ms;
            log_note_watches(l, s->data);
        }
        break;
    case CONTROL_DROP:
        if (s != NULL) {
            log_note_watches(l, s->data);
            log_trim(l, s, s->data->end);
            shards_remove(&l->shards, c->id);
        }
        break;
    }
}
