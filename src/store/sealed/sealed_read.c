// SPDX-License-Identifier: Apache-2.0
// Reading across containers. A record lies in one container, but the ranges of positions that
// containers hold of a shard may interleave. So a reader looks for the container with the next
// record, and for the position up to which no other one can hold any: up to there it reads.
#include "store/sealed/sealed_priv.h"

#include "base/logline.h"
#include "base/memory.h"

#include <stdlib.h>

enum { LARGE_READ_BYTES = 4 << 20 };

// A container with records of the shard at or after a position.
struct found {
    struct member *member; // in use; NULL: there is none
    const ContainerShard *shard;
    uint32_t row;      // of the first chunk that may hold one
    uint64_t position; // none lies before
    bool is_exact;     // one lies there
};

static void found_drop(struct sealed *s, struct found *f)
{
    if (f->member != NULL)
        member_release(s, f->member);
    f->member = NULL;
}

// ---- Looking for the next record

// Positions and arrival times grow from chunk to chunk of a shard.
static bool search_footer(struct found *f, const SealedRead *r, uint64_t from)
{
    const struct container *c = f->member->open;
    f->shard = container_find(c, r->shard);
    if (f->shard == NULL)
        return false;
    uint32_t low = f->shard->first_chunk, end = low + f->shard->chunks, high = end;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const ContainerChunk *chunk = container_chunk(c, middle);
        if (chunk->last_position < from || chunk->last_arrival_ms <= r->after_ms)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == end || container_chunk(c, low)->first_position >= r->to)
        return false;
    const ContainerChunk *chunk = container_chunk(c, low);
    f->row = low;
    f->position = MAX(from, chunk->first_position);
    f->is_exact = chunk->first_position >= from && chunk->first_arrival_ms > r->after_ms;
    return true;
}

static Err damaged(const struct member *m, const SealedRead *r, const char *text)
{
    Err e = fail(ERR_CORRUPT, text);
    LOG(LOG_ERROR, "sealed records cannot be read", F_INT("container", m->facts.number),
        F_INT("shard", r->shard), F_ERR(e));
    return e;
}

static bool exact_position(const struct chunk *c, const SealedRead *r, uint64_t from, uint64_t *ret)
{
    size_t at = 0;
    ContainerRun run;
    Err e = OK;
    while (container_run_next(c->runs, c->bytes, &at, &run, &e)) {
        if (run.position + run.count > from && run.arrival_ms > r->after_ms) {
            *ret = MAX(from, run.position);
            return true;
        }
    }
    return false;
}

// Where the next record lies, by the chunk itself.
static Err make_exact(struct sealed *s, struct found *f, const SealedRead *r, uint64_t from)
{
    if (f->is_exact)
        return OK;
    struct chunk *c = NULL;
    TRY(chunk_fetch(s, f->member, f->shard, f->row, r->to, r->bytes_max, &c));
    f->is_exact = exact_position(c, r, from, &f->position);
    chunk_release(s, c);
    return f->is_exact ? OK : damaged(f->member, r, "a chunk does not hold what the footer says");
}

// Keeps the better of the two in *best, the other's position in *limit.
static Err compare(struct sealed *s, const SealedRead *r, uint64_t from, struct found *best,
                   struct found *f, uint64_t *limit)
{
    if (best->member != NULL && best->position == f->position) {
        TRY(make_exact(s, best, r, from));
        TRY(make_exact(s, f, r, from));
        if (best->position == f->position)
            return damaged(f->member, r, "a record lies in two containers");
    }
    if (best->member == NULL || f->position < best->position) {
        struct found worse = *best;
        *best = *f;
        *f = worse;
    }
    if (f->member != NULL)
        *limit = MIN(*limit, f->position);
    return OK;
}

// Under the lock. The next member from *i on that may hold a record of the shard in [from, bound],
// with a ref; NULL: there is none, and *limit is where the next one may begin.
static struct member *next_candidate(struct sealed *s, const SealedRead *r, uint64_t from,
                                     uint64_t bound, size_t *i, uint64_t *limit)
{
    for (; *i < s->n; (*i)++) {
        struct member *m = s->at[*i].member;
        const ContainerFacts *f = &m->facts;
        if (f->first_position >= *limit)
            return NULL;
        if (f->last_position < from || f->last_arrival_ms <= r->after_ms ||
            r->shard < f->first_shard || r->shard > f->last_shard)
            continue;
        if (f->first_position > bound) {
            *limit = f->first_position;
            return NULL;
        }
        (*i)++;
        m->refs++;
        return m;
    }
    return NULL;
}

// Under the lock. Those before it end before `from`.
static size_t first_slot(const struct sealed *s, uint64_t from)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->at[middle].reach < from)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// One pass over the set. *ret_stale: it has changed meanwhile, nothing was found.
static Err find_pass(struct sealed *s, const SealedRead *r, uint64_t from, struct found *best,
                     uint64_t *limit, bool *ret_stale)
{
    pthread_mutex_lock(&s->lock);
    uint64_t version = s->version;
    size_t i = first_slot(s, from);
    Err e = OK;
    while (e.kind == ERR_NONE && version == s->version) {
        uint64_t bound = best->member != NULL ? best->position : UINT64_MAX;
        struct found f = { .member = next_candidate(s, r, from, bound, &i, limit) };
        if (f.member == NULL)
            break;
        pthread_mutex_unlock(&s->lock);
        e = member_use(s, f.member);
        if (e.kind != ERR_NONE) {
            f.member = NULL;
        } else if (search_footer(&f, r, from)) {
            e = compare(s, r, from, best, &f, limit);
        }
        found_drop(s, &f);
        pthread_mutex_lock(&s->lock);
    }
    *ret_stale = version != s->version;
    pthread_mutex_unlock(&s->lock);
    if (e.kind != ERR_NONE || *ret_stale)
        found_drop(s, best);
    return *ret_stale ? OK : e; // what was taken out of the set may have been damaged
}

// The container with the shard's next record of [from, r->to), and *ret_limit > from: below it no
// other one holds any. ret->member NULL: there is none.
static Err find(struct sealed *s, const SealedRead *r, uint64_t from, struct found *ret,
                uint64_t *ret_limit)
{
    for (;;) {
        struct found best = { 0 };
        uint64_t limit = r->to;
        bool stale;
        TRY(find_pass(s, r, from, &best, &limit, &stale));
        if (stale)
            continue;
        if (best.member == NULL || best.position < limit) {
            *ret = best;
            *ret_limit = limit;
            return OK;
        }
        found_drop(s, &best); // nothing lies below the limit
        if (limit == r->to) {
            *ret = best;
            *ret_limit = limit;
            return OK;
        }
        from = limit;
    }
}

// ---- Visiting

struct visiting {
    const SealedRead *read;
    sealed_visit_fn *visit;
    void *self;
    uint64_t position; // all before it are visited
    uint64_t limit;
    uint64_t taken;
    size_t bytes;  // of keys and data that were taken
    bool is_lent;  // the chunk
    bool is_ended; // visit does not want more
};

// Ends at the limit, or where visit wants no more.
static Err visit_run(struct visiting *v, const struct member *m, const ContainerRun *run)
{
    size_t at = 0;
    bool is_wanted = run->position < v->limit; // as the caller has seen; part of it at least
    if (is_wanted && run_is_lost(run))
        return damaged(m, v->read, "the records were damaged before they were sealed");
    for (uint32_t i = 0; i < run->count && !v->is_ended; i++) {
        Record record;
        if (!record_next(run->records, run->bytes, &at, &record))
            return damaged(m, v->read, "a record is longer than its run");
        uint64_t position = run->position + i;
        if (position >= v->limit)
            return OK;
        if (position < v->position)
            continue;
        if (v->visit(v->self, position, run->arrival_ms, &record, v->is_lent)) {
            v->position = position + 1;
            v->taken++;
            v->bytes += record.key.n + record.data.n;
        } else {
            v->position = position;
            v->is_ended = true;
        }
    }
    return OK;
}

static Err visit_chunk(struct visiting *v, const struct member *m, const struct chunk *c)
{
    size_t at = 0;
    ContainerRun run;
    Err e = OK;
    while (!v->is_ended && container_run_next(c->runs, c->bytes, &at, &run, &e)) {
        if (run.position >= v->limit)
            return OK;
        if (run.position + run.count > v->position && run.arrival_ms > v->read->after_ms)
            TRY(visit_run(v, m, &run));
    }
    return e.kind == ERR_NONE ? OK : damaged(m, v->read, e.text);
}

// Whether the reader may keep the chunk. If there is no memory for it he copies, as far as there is
// memory for that.
static bool may_lend(const SealedLoan *loan, const struct chunk *c)
{
    return loan != NULL && loan->n < loan->room && memory_take(c->bytes, loan->bytes + c->bytes);
}

// The chunk changes hands if records of it were taken, even if others of it are damaged.
static Err visit_fetched(struct sealed *s, struct visiting *v, const struct member *m,
                         struct chunk *c)
{
    SealedLoan *loan = v->read->loan;
    uint64_t before = v->taken;
    v->is_lent = may_lend(loan, c);
    Err e = visit_chunk(v, m, c);
    if (v->is_lent && v->taken > before) {
        chunk_lend(s, c);
        loan->at[loan->n++] = c;
        loan->bytes += c->bytes;
        return e;
    }
    if (v->is_lent)
        memory_give(c->bytes);
    chunk_release(s, c);
    return e;
}

// About as much as a reader of much still wants; 0: nobody knows. Who reads little comes again at
// once, and wants what was read ahead.
static size_t bytes_left(const struct visiting *v)
{
    size_t max = v->read->bytes_max;
    return max < LARGE_READ_BYTES ? 0 : v->bytes < max ? max - v->bytes : 1;
}

// All that the container holds below the limit.
static Err visit_member(struct sealed *s, struct visiting *v, const struct found *f)
{
    uint32_t end = f->shard->first_chunk + f->shard->chunks;
    for (uint32_t row = f->row; row < end && !v->is_ended; row++) {
        if (container_chunk(f->member->open, row)->first_position >= v->limit)
            break;
        struct chunk *c = NULL;
        TRY(chunk_fetch(s, f->member, f->shard, row, v->read->to, bytes_left(v), &c));
        TRY(visit_fetched(s, v, f->member, c));
    }
    if (!v->is_ended)
        v->position = v->limit;
    return OK;
}

static Err visit_all(struct sealed *s, struct visiting *v)
{
    while (!v->is_ended && v->position < v->read->to) {
        struct found f;
        TRY(find(s, v->read, v->position, &f, &v->limit));
        if (f.member == NULL) {
            v->position = v->read->to;
            return OK;
        }
        Err e = visit_member(s, v, &f);
        found_drop(s, &f);
        TRY(e);
    }
    return OK;
}

void sealed_give_back(struct sealed *s, SealedLoan *loan)
{
    chunks_give_back(s, loan->at, loan->n);
    memory_give(loan->bytes);
    loan->n = 0;
    loan->bytes = 0;
}

Err sealed_read(struct sealed *s, const SealedRead *read, sealed_visit_fn *visit, void *self,
                uint64_t *ret_next)
{
    struct visiting v = {
        .read = read,
        .visit = visit,
        .self = self,
        .position = MIN(read->from, read->to),
    };
    Err e = visit_all(s, &v);
    if (e.kind != ERR_NONE && v.taken == 0)
        return e;
    *ret_next = v.position;
    return OK;
}

// ---- By time

struct first_record {
    uint64_t position;
    bool is_found;
};

static bool take_first(void *self, uint64_t position, int64_t arrival_ms, const Record *r,
                       bool is_lent)
{
    (void)arrival_ms, (void)r, (void)is_lent;
    struct first_record *first = self;
    *first = (struct first_record){ .position = position, .is_found = true };
    return false;
}

Err sealed_find_time(struct sealed *s, const SealedRead *read, int64_t arrival_ms,
                     uint64_t *ret_position, bool *ret_found)
{
    SealedRead later = *read;
    later.loan = NULL;
    if (arrival_ms > later.after_ms)
        later.after_ms = arrival_ms - 1; // what arrived before is passed over as if it were over
    struct first_record first = { 0 };
    uint64_t next;
    TRY(sealed_read(s, &later, take_first, &first, &next));
    *ret_found = first.is_found;
    if (first.is_found)
        *ret_position = first.position;
    return OK;
}
