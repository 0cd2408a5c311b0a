// SPDX-License-Identifier: Apache-2.0
// The two caches: open containers and unpacked chunks. What is in use is in no ring, so it is never
// evicted, and may exceed the bounds for as long as it is used. Chunks of containers that are gone
// age out: numbers are never used twice.
#include "store/sealed/sealed_priv.h"

#include <stdlib.h>

enum {
    OPEN_CONTAINERS_MAX = 256,  // each holds a descriptor
    READ_AHEAD_BYTES = 1 << 20, // of stored chunks that one read fetches
    READ_AHEAD_CHUNKS_MAX = 64,
    AT_ONCE_BYTES = 1 << 20, // of unpacked chunks
    HEADS_SHARE = 8,         // of keys and data, what heads of runs and records may add
    BUCKETS_LEAST = 64,
};
#define READ_AHEAD_RAW_BYTES ((size_t)(4 << 20)) // well packed chunks are large when unpacked

// ---- Open containers

void footers_init(struct footers *f, size_t bytes_max)
{
    *f = (struct footers){ .bytes_max = bytes_max };
    ring_init(&f->idle);
}

void footers_add(struct footers *f, struct member *m, struct container *c)
{
    m->open = c;
    f->bytes += container_memory(c);
    f->count++;
    ring_add_newest(&f->idle, &m->ring);
}

// It is in no ring.
static struct container *forget(struct footers *f, struct member *m)
{
    struct container *c = m->open;
    m->open = NULL;
    f->bytes -= container_memory(c);
    f->count--;
    return c;
}

struct container *footers_take(struct footers *f, struct member *m)
{
    if (m->open == NULL || m->users > 0)
        return NULL;
    ring_take(&m->ring);
    return forget(f, m);
}

// Under the lock. A container to close outside of it while there are too many.
static struct container *evict(struct footers *f)
{
    if (f->bytes <= f->bytes_max && f->count <= OPEN_CONTAINERS_MAX)
        return NULL;
    struct ring *oldest = ring_oldest(&f->idle);
    if (oldest == NULL)
        return NULL;
    ring_take(oldest);
    return forget(f, (struct member *)oldest);
}

void footers_shrink(struct sealed *s)
{
    for (;;) {
        pthread_mutex_lock(&s->lock);
        struct container *c = evict(&s->footers);
        pthread_mutex_unlock(&s->lock);
        if (c == NULL)
            return;
        container_close(c);
    }
}

void member_ref(struct sealed *s, struct member *m)
{
    pthread_mutex_lock(&s->lock);
    m->refs++;
    pthread_mutex_unlock(&s->lock);
}

static void use_open(struct member *m)
{
    if (m->users++ == 0)
        ring_take(&m->ring);
}

Err member_use(struct sealed *s, struct member *m)
{
    pthread_mutex_lock(&s->lock);
    bool is_open = m->open != NULL;
    if (is_open)
        use_open(m);
    pthread_mutex_unlock(&s->lock);
    if (is_open)
        return OK;

    struct container *c = NULL;
    Err e = container_open(s->io, s->container_dir, &m->facts, &c);
    if (e.kind != ERR_NONE) {
        member_unref(s, m);
        return e;
    }
    pthread_mutex_lock(&s->lock);
    if (m->open == NULL) { // nobody else was faster
        footers_add(&s->footers, m, c);
        c = NULL;
    }
    use_open(m);
    pthread_mutex_unlock(&s->lock);
    container_close(c);
    footers_shrink(s);
    return OK;
}

// Under the lock. Whether it is out of the set and this was the last that needed it: then it is the
// caller's to end.
static bool unref(struct sealed *s, struct member *m)
{
    CHECK(m->refs > 0);
    if (--m->refs > 0 || !m->is_retired)
        return false;
    struct member **at = &s->retired;
    while (*at != m)
        at = &(*at)->next_retired;
    *at = m->next_retired;
    return true;
}

void member_end(struct sealed *s, struct member *m)
{
    container_remove(s, m->facts.number);
    free(m);
}

void member_release(struct sealed *s, struct member *m)
{
    struct container *open = NULL;
    pthread_mutex_lock(&s->lock);
    CHECK(m->users > 0);
    if (--m->users == 0) {
        if (m->is_retired)
            open = forget(&s->footers, m);
        else
            ring_add_newest(&s->footers.idle, &m->ring);
    }
    bool is_last = unref(s, m);
    pthread_mutex_unlock(&s->lock);
    container_close(open);
    if (is_last)
        member_end(s, m);
    footers_shrink(s);
}

void member_unref(struct sealed *s, struct member *m)
{
    pthread_mutex_lock(&s->lock);
    bool is_last = unref(s, m);
    pthread_mutex_unlock(&s->lock);
    if (is_last)
        member_end(s, m);
}

// ---- Unpacked chunks

void chunks_init(struct chunks *c, size_t bytes_max)
{
    *c = (struct chunks){ .bytes_max = bytes_max, .bucket_count = BUCKETS_LEAST };
    c->buckets = xalloc(c->bucket_count * sizeof *c->buckets);
    ring_init(&c->idle);
}

static void chunk_free(struct chunk *c)
{
    container_free_runs(c->runs, c->bytes);
    free(c);
}

static size_t bucket_of(const struct chunks *cs, uint64_t container, uint32_t row)
{
    uint64_t h = (container * UINT64_C(0x9e3779b97f4a7c15) + row) * UINT64_C(0xd6e8feb86659fd93);
    return (size_t)(h >> 32) & (cs->bucket_count - 1);
}

static struct chunk **chunk_place(const struct chunks *cs, uint64_t container, uint32_t row)
{
    struct chunk **at = &cs->buckets[bucket_of(cs, container, row)];
    while (*at != NULL && ((*at)->container != container || (*at)->row != row))
        at = &(*at)->next;
    return at;
}

static void buckets_grow(struct chunks *cs)
{
    struct chunk **old = cs->buckets;
    size_t n = cs->bucket_count;
    cs->bucket_count *= 2;
    cs->buckets = xalloc(mul_checked(cs->bucket_count, sizeof *cs->buckets));
    for (size_t i = 0; i < n; i++) {
        for (struct chunk *c = old[i], *next; c != NULL; c = next) {
            next = c->next;
            struct chunk **at = &cs->buckets[bucket_of(cs, c->container, c->row)];
            c->next = *at;
            *at = c;
        }
    }
    free(old);
}

// What a cached chunk costs.
static size_t chunk_cost(const struct chunk *c)
{
    return sizeof *c + c->bytes;
}

static void chunk_evict(struct chunks *cs, struct chunk *c)
{
    ring_take(&c->ring);
    struct chunk **at = chunk_place(cs, c->container, c->row);
    *at = c->next;
    cs->count--;
    cs->bytes -= chunk_cost(c);
    chunk_free(c);
}

static void chunks_shrink(struct chunks *cs)
{
    struct ring *oldest;
    while (cs->bytes > cs->bytes_max && (oldest = ring_oldest(&cs->idle)) != NULL)
        chunk_evict(cs, (struct chunk *)oldest);
}

void chunks_done(struct chunks *cs)
{
    struct ring *oldest;
    while ((oldest = ring_oldest(&cs->idle)) != NULL)
        chunk_evict(cs, (struct chunk *)oldest);
    CHECK(cs->count == 0);
    free(cs->buckets);
    cs->buckets = NULL;
}

static struct chunk *chunk_ref(struct chunk *c)
{
    if (c->refs++ == 0)
        ring_take(&c->ring);
    return c;
}

// Takes the runs. The chunk has a ref, whether it could be cached or not.
static struct chunk *chunk_add(struct chunks *cs, uint64_t container, uint32_t row,
                               uint8_t *take_runs, size_t bytes)
{
    struct chunk **at = chunk_place(cs, container, row);
    if (*at != NULL) { // another reader was faster
        container_free_runs(take_runs, bytes);
        return chunk_ref(*at);
    }
    struct chunk *c = xalloc(sizeof *c);
    *c = (struct chunk){
        .container = container,
        .row = row,
        .refs = 1,
        .bytes = bytes,
        .runs = take_runs,
    };
    if (chunk_cost(c) > cs->bytes_max)
        return c;
    c->is_cached = true;
    *at = c;
    cs->bytes += chunk_cost(c);
    if (++cs->count > cs->bucket_count)
        buckets_grow(cs);
    return c;
}

static void chunk_unref(struct chunks *cs, struct chunk *c)
{
    CHECK(c->refs > 0);
    if (--c->refs > 0)
        return;
    if (!c->is_cached) {
        chunk_free(c);
        return;
    }
    ring_add_newest(&cs->idle, &c->ring);
    chunks_shrink(cs);
}

void chunk_release(struct sealed *s, struct chunk *c)
{
    pthread_mutex_lock(&s->lock);
    chunk_unref(&s->chunks, c);
    pthread_mutex_unlock(&s->lock);
}

// What is lent would drive everything else out of the cache, also what other readers have unpacked
// ahead.
void chunk_lend(struct sealed *s, struct chunk *c)
{
    pthread_mutex_lock(&s->lock);
    if (c->lent++ == 0 && c->is_cached)
        s->chunks.bytes -= chunk_cost(c);
    pthread_mutex_unlock(&s->lock);
}

void chunks_give_back(struct sealed *s, struct chunk **at, size_t n)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < n; i++) {
        CHECK(at[i]->lent > 0);
        if (--at[i]->lent == 0 && at[i]->is_cached)
            s->chunks.bytes += chunk_cost(at[i]);
        chunk_unref(&s->chunks, at[i]);
    }
    pthread_mutex_unlock(&s->lock);
}

// Under the lock. How many chunks from `row` on are worth one read: neighbours of the shard that
// begin before `to` and are not there yet. What is unpacked for a reader who is about to have all
// that he wants is often gone from the cache when he comes again.
static uint32_t read_ahead(const struct sealed *s, const struct member *m,
                           const ContainerShard *shard, uint32_t row, uint64_t to, size_t bytes_max)
{
    const ContainerChunk *first = container_chunk(m->open, row);
    size_t stored = first->stored_bytes, raw = first->raw_bytes;
    size_t raw_max = MIN(READ_AHEAD_RAW_BYTES, s->chunks.bytes_max / 2);
    if (bytes_max > 0) // a chunk is more than the keys and the data in it
        raw_max = MIN(raw_max, bytes_max + bytes_max / HEADS_SHARE + CHUNK_BYTES_SPLIT);
    uint32_t end = shard->first_chunk + shard->chunks;
    uint32_t n = 1;
    for (; row + n < end && n < READ_AHEAD_CHUNKS_MAX; n++) {
        const ContainerChunk *c = container_chunk(m->open, row + n);
        stored += CHUNK_HEAD_BYTES + c->stored_bytes;
        raw += c->raw_bytes;
        if (stored > READ_AHEAD_BYTES || raw > raw_max || c->first_position >= to ||
            *chunk_place(&s->chunks, m->facts.number, row + n) != NULL)
            break;
    }
    return n;
}

Err chunk_fetch(struct sealed *s, struct member *m, const ContainerShard *shard, uint32_t row,
                uint64_t to, size_t bytes_max, struct chunk **ret)
{
    pthread_mutex_lock(&s->lock);
    struct chunk *c = *chunk_place(&s->chunks, m->facts.number, row);
    uint32_t n = c == NULL ? read_ahead(s, m, shard, row, to, bytes_max) : 0;
    if (c != NULL)
        *ret = chunk_ref(c);
    pthread_mutex_unlock(&s->lock);
    if (c != NULL)
        return OK;

    uint8_t *runs[READ_AHEAD_CHUNKS_MAX];
    Err e = container_read(m->open, shard->shard, row, n, runs);
    if (e.kind != ERR_NONE && n > 1) {
        n = 1; // a damaged neighbour does not stand in the way of this one
        e = container_read(m->open, shard->shard, row, n, runs);
    }
    TRY(e);
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = n; i-- > 0;) { // so that what is wanted first is dropped last
        c = chunk_add(&s->chunks, m->facts.number, row + i, runs[i],
                      container_chunk(m->open, row + i)->raw_bytes);
        if (i > 0)
            chunk_unref(&s->chunks, c);
    }
    chunks_shrink(&s->chunks);
    pthread_mutex_unlock(&s->lock);
    *ret = c;
    return OK;
}

uint32_t chunks_at_once(const struct container *c, uint32_t row)
{
    size_t shard_count = 0;
    const ContainerShard *shards = container_shards(c, &shard_count);
    const ContainerShard *last = &shards[shard_count - 1];
    uint32_t n = 1, end = last->first_chunk + last->chunks;
    size_t bytes = container_chunk(c, row)->raw_bytes;
    for (; n < CHUNKS_AT_ONCE_MAX && row + n < end; n++) {
        bytes += container_chunk(c, row + n)->raw_bytes;
        if (bytes > AT_ONCE_BYTES)
            break;
    }
    return n;
}
