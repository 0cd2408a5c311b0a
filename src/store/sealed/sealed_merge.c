// SPDX-License-Identifier: Apache-2.0
// Merging: several containers become one per retention class of their shards as it is now, without
// what is over. Two reasons: small neighbours, so that a year of data is thousands of files and not
// millions; and more than half of the bytes being over, so that one shard that is kept longer, or
// shards that were dropped, hold back no more space than they fill.
//
// It ends: a merge of neighbours makes fewer containers of them, as at least MERGE_LEAST become at
// most one per class; one for the sake of space leaves nothing that is over, so that its result is
// not half over before time has passed or retention has changed.
#include "store/sealed/sealed_priv.h"

#include "base/time.h"

#include <stdlib.h>

enum {
    MERGE_LEAST = 4,             // neighbours
    MERGE_MOST = 16,             // containers at once: their footers are in memory
    MERGE_SIZE_RATIO = 4,        // of the largest to the smallest
    MERGE_ALIKE_BYTES = 1 << 20, // containers below count as of one size
    MERGE_RETRY_MS = 600000,     // before a container that could not be read is tried again
    MERGE_WORTH_MS = 3600000,    // what will be over as a whole so soon is not rewritten
};

// Records that arrived so far apart are not put together: the older ones would lie there until the
// newest are over.
static const int64_t span_ms_max[RETENTION_CLASSES] = {
    [RETENTION_DAY] = INT64_C(6) * 3600000,
    [RETENTION_WEEK] = INT64_C(42) * 3600000,
    [RETENTION_YEAR] = INT64_C(2190) * 3600000,
};

// What is merged at once.
typedef struct Group {
    struct member *at[MERGE_MOST];
    size_t n;
} Group;

// ---- Choosing: half over

struct portion {
    int64_t over_ms;
    uint64_t bytes;
};

static int compare_portions(const void *x, const void *y)
{
    const struct portion *a = x, *b = y;
    return a->over_ms < b->over_ms ? -1 : a->over_ms > b->over_ms;
}

static int64_t later(int64_t arrival_ms, int64_t kept_ms)
{
    return kept_ms == INT64_MIN || arrival_ms > INT64_MAX - kept_ms ? kept_ms
                                                                    : arrival_ms + kept_ms;
}

static size_t portions(const struct sealed *s, const struct container *c, struct arena *a,
                       struct portion **ret)
{
    size_t shard_count, n = 0;
    const ContainerShard *shards = container_shards(c, &shard_count);
    const ContainerShard *last = &shards[shard_count - 1];
    *ret = arena_new(a, struct portion, (size_t)last->first_chunk + last->chunks);
    for (size_t i = 0; i < shard_count; i++) {
        int64_t kept_ms = shard_over_ms(s, shards[i].shard, 0);
        for (uint32_t row = 0; row < shards[i].chunks; row++) {
            const ContainerChunk *chunk = container_chunk(c, shards[i].first_chunk + row);
            (*ret)[n++] = (struct portion){
                .over_ms = later(chunk->last_arrival_ms, kept_ms),
                .bytes = chunk->raw_bytes,
            };
        }
    }
    return n;
}

// When more than half of the bytes of an open container are over and it pays to drop them;
// INT64_MAX: never.
static int64_t half_over_ms(const struct sealed *s, const struct container *c, int64_t now_ms)
{
    AUTO(arena) tmp = arena_open();
    struct portion *at;
    size_t n = portions(s, c, tmp, &at);
    qsort(at, n, sizeof *at, compare_portions);
    uint64_t total = container_facts(c)->raw_bytes, over = 0;
    size_t i = 0;
    while (i < n && over <= total / 2)
        over += at[i++].bytes;
    int64_t half_ms = at[i - 1].over_ms, all_ms = at[n - 1].over_ms;
    bool is_worth = all_ms > now_ms && all_ms - MERGE_WORTH_MS > MAX(half_ms, now_ms);
    return is_worth ? half_ms : INT64_MAX;
}

// What a choice is made with.
struct choosing {
    struct sealed *s;
    int64_t now_ms;
    uint64_t retention;
    bool (*stop)(void *self);
    void *self;
    bool is_stopped;
    Err failed; // of a footer that could not be read
};

static bool can_be_read(const struct choosing *c, const struct member *m)
{
    return c->now_ms >= m->merge_retry_ms;
}

static bool is_half_over(struct choosing *c, struct member *m)
{
    if (m->half_retention == c->retention && m->half_ms > c->now_ms)
        return false;
    member_ref(c->s, m);
    Err e = member_use(c->s, m);
    if (e.kind != ERR_NONE) {
        c->failed = e;
        m->merge_retry_ms = c->now_ms + MERGE_RETRY_MS;
        return false;
    }
    m->half_ms = half_over_ms(c->s, m->open, c->now_ms);
    m->half_retention = c->retention;
    member_release(c->s, m);
    return m->half_ms <= c->now_ms;
}

// The first one that is half over, and such neighbours of its class.
static Group choose_half_over(struct choosing *c)
{
    const struct sealed *s = c->s;
    Group g = { .n = 0 };
    uint64_t bytes = 0;
    for (size_t i = 0; i < s->n && g.n < MERGE_MOST; i++) {
        struct member *m = s->at[i].member;
        c->is_stopped = c->is_stopped || c->stop(c->self);
        if (c->is_stopped)
            break;
        if (!can_be_read(c, m) || (g.n > 0 && m->facts.class != g.at[0]->facts.class))
            continue;
        bytes += m->facts.bytes;
        bool fits = g.n == 0 || bytes <= s->config.merge_bytes_max;
        if (fits && is_half_over(c, m)) {
            g.at[g.n++] = m;
            continue;
        }
        if (g.n > 0)
            break;
        bytes = 0;
    }
    return g;
}

// ---- Choosing: small neighbours

static uint64_t alike_bytes(const struct member *m)
{
    return MAX(m->facts.bytes, (uint64_t)MERGE_ALIKE_BYTES);
}

// The neighbours from at[0] on, all of one class, that go together.
static Group neighbours(const struct sealed *s, struct member *const *at, size_t n)
{
    Group g = { .n = 0 };
    uint64_t sum = 0, least = UINT64_MAX, most = 0;
    int64_t first_ms = INT64_MAX, last_ms = INT64_MIN;
    for (size_t i = 0; i < n && g.n < MERGE_MOST; i++) {
        const ContainerFacts *f = &at[i]->facts;
        sum += f->bytes;
        least = MIN(least, alike_bytes(at[i]));
        most = MAX(most, alike_bytes(at[i]));
        first_ms = MIN(first_ms, f->first_arrival_ms);
        last_ms = MAX(last_ms, f->last_arrival_ms);
        if (sum > s->config.merge_bytes_max || most > least * MERGE_SIZE_RATIO ||
            last_ms - first_ms > span_ms_max[f->class])
            break;
        g.at[g.n++] = at[i];
    }
    return g;
}

static uint64_t mean_bytes(const Group *g)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < g->n; i++)
        sum += g->at[i]->facts.bytes;
    return sum / g->n;
}

// The smallest ones first: that writes every record the least often.
static Group choose_neighbours(struct choosing *c)
{
    const struct sealed *s = c->s;
    AUTO(arena) tmp = arena_open();
    struct member **at = arena_new(tmp, struct member *, MAX(s->n, (size_t)1));
    Group best = { .n = 0 };
    for (unsigned class = 0; class < RETENTION_CLASSES; class ++) {
        size_t n = 0;
        for (size_t i = 0; i < s->n; i++)
            if (s->at[i].member->facts.class == class && can_be_read(c, s->at[i].member))
                at[n++] = s->at[i].member;
        for (size_t i = 0; i + MERGE_LEAST <= n; i++) {
            Group g = neighbours(s, at + i, n - i);
            if (g.n >= MERGE_LEAST && (best.n == 0 || mean_bytes(&g) < mean_bytes(&best)))
                best = g;
        }
    }
    return best;
}

// ---- Inputs

// One input's place in the shard that is being merged.
struct cursor {
    struct member *member; // in use
    size_t shard_row;      // of the footer: the first shard that is not merged yet
    uint32_t row, end;     // chunks of the shard that are not merged yet
    // Chunks that are read, from row `first` on, of this shard and the next ones: so small shards
    // cost no read each. NULL: merged.
    uint8_t *runs[CHUNKS_AT_ONCE_MAX];
    uint32_t first, n;
    size_t at; // in the chunk of `row`
    ContainerRun run;
    bool has_run;
};

struct merging {
    struct sealed *s;
    struct cursor inputs[MERGE_MOST];
    size_t n;
    struct container_writer *writers[RETENTION_CLASSES]; // NULL: none is needed yet
    ContainerFacts made[RETENTION_CLASSES];
    size_t made_count;
    int64_t now_ms;
    bool (*stop)(void *self);
    void *self;
    bool is_stopped;
    struct member *failed; // the input that could not be read

    // Of the shard.
    uint64_t shard;
    int64_t after_ms; // what arrived then or before is over
    RetentionClass class;
    uint64_t position; // behind the last run that was added
};

static void cursor_drop(struct cursor *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        container_free_runs(c->runs[i], container_chunk(c->member->open, c->first + i)->raw_bytes);
    c->n = 0;
}

static bool cursor_is_read(const struct cursor *c)
{
    return c->row >= c->first && c->row - c->first < c->n;
}

// The next run that is not over, of the chunks that are read.
static Err cursor_next(struct merging *m, struct cursor *c)
{
    Err e = OK;
    for (; c->row < c->end && cursor_is_read(c); c->row++) {
        uint8_t **runs = &c->runs[c->row - c->first];
        size_t bytes = container_chunk(c->member->open, c->row)->raw_bytes;
        while (container_run_next(*runs, bytes, &c->at, &c->run, &e)) {
            c->has_run = c->run.arrival_ms > m->after_ms;
            if (c->has_run)
                return OK;
        }
        TRY(e);
        container_free_runs(*runs, bytes);
        *runs = NULL;
        c->at = 0;
    }
    c->has_run = false;
    return OK;
}

static Err cursor_read(struct merging *m, struct cursor *c)
{
    if (!cursor_is_read(c)) {
        cursor_drop(c);
        uint32_t n = chunks_at_once(c->member->open, c->row);
        Err e = container_read(c->member->open, m->shard, c->row, n, c->runs);
        if (e.kind != ERR_NONE && n > 1) {
            n = 1; // the damage may be a shard's that is over
            e = container_read(c->member->open, m->shard, c->row, n, c->runs);
        }
        TRY(e);
        c->first = c->row;
        c->n = n;
    }
    return cursor_next(m, c);
}

// Chunks of the shard, without those that are over as a whole.
static void cursor_begin(struct merging *m, struct cursor *c)
{
    size_t n;
    const ContainerShard *shards = container_shards(c->member->open, &n);
    c->row = c->end = 0;
    c->at = 0;
    c->has_run = false;
    if (c->shard_row == n || shards[c->shard_row].shard != m->shard)
        return;
    const ContainerShard *shard = &shards[c->shard_row++];
    c->row = shard->first_chunk;
    c->end = shard->first_chunk + shard->chunks;
    while (c->row < c->end &&
           container_chunk(c->member->open, c->row)->last_arrival_ms <= m->after_ms)
        c->row++;
}

static bool cursor_ended(const struct cursor *c)
{
    return !c->has_run && c->row == c->end;
}

static uint64_t cursor_position(const struct cursor *c)
{
    return c->has_run ? c->run.position : container_chunk(c->member->open, c->row)->first_position;
}

// ---- Merging

static Err add_run(struct merging *m, const ContainerRun *run)
{
    if (run->position < m->position)
        return fail(ERR_CORRUPT, "a record lies in two containers");
    struct container_writer **w = &m->writers[m->class];
    if (*w == NULL)
        TRY(sealed_create(m->s, m->class, w));
    m->position = run->position + run->count;
    return container_add(*w, m->shard, run);
}

static struct cursor *first_cursor(struct merging *m)
{
    struct cursor *first = NULL;
    for (size_t i = 0; i < m->n; i++) {
        struct cursor *c = &m->inputs[i];
        if (!cursor_ended(c) && (first == NULL || cursor_position(c) < cursor_position(first)))
            first = c;
    }
    return first;
}

static Err merge_shard(struct merging *m)
{
    for (size_t i = 0; i < m->n; i++)
        cursor_begin(m, &m->inputs[i]);
    m->position = 0;
    struct cursor *c;
    while ((c = first_cursor(m)) != NULL) {
        if (c->has_run)
            TRY(add_run(m, &c->run));
        else if (m->stop(m->self)) {
            m->is_stopped = true;
            return OK;
        }
        Err e = c->has_run ? cursor_next(m, c) : cursor_read(m, c);
        if (e.kind != ERR_NONE)
            m->failed = c->member;
        TRY(e);
    }
    return OK;
}

// The next shard of any input; false: there is none.
static bool next_shard(struct merging *m)
{
    bool any = false;
    for (size_t i = 0; i < m->n; i++) {
        size_t n;
        const struct cursor *c = &m->inputs[i];
        const ContainerShard *shards = container_shards(c->member->open, &n);
        if (c->shard_row == n || (any && shards[c->shard_row].shard >= m->shard))
            continue;
        m->shard = shards[c->shard_row].shard;
        any = true;
    }
    return any;
}

static Err merge_all(struct merging *m)
{
    while (!m->is_stopped && next_shard(m)) {
        int64_t retention_ns = m->s->config.retention_ns(m->s->config.self, m->shard);
        int64_t kept_ms = retention_ns / NS_PER_MS + (retention_ns % NS_PER_MS != 0);
        m->after_ms = retention_ns < 0 ? INT64_MAX : m->now_ms - kept_ms;
        m->class = retention_class(MAX(retention_ns, 0));
        TRY(merge_shard(m));
    }
    return OK;
}

static Err finish_all(struct merging *m)
{
    for (unsigned class = 0; class < RETENTION_CLASSES; class ++) {
        struct container_writer *w = m->writers[class];
        if (w == NULL)
            continue;
        m->writers[class] = NULL;
        TRY(container_finish(w, &m->made[m->made_count]));
        m->made_count++;
    }
    return OK;
}

static Err commit(struct merging *m)
{
    uint64_t removed[MERGE_MOST];
    for (size_t i = 0; i < m->n; i++)
        removed[i] = m->inputs[i].member->facts.number;
    SealedChange change = {
        .added = m->made,
        .added_count = m->made_count,
        .removed = removed,
        .removed_count = m->n,
    };
    m->made_count = 0; // they are the commit's, whatever happens
    return sealed_commit(m->s, &change, NULL, 0);
}

// Opens the inputs.
static Err begin(struct merging *m, const Group *g)
{
    for (size_t i = 0; i < g->n; i++) {
        member_ref(m->s, g->at[i]);
        Err e = member_use(m->s, g->at[i]);
        if (e.kind != ERR_NONE)
            m->failed = g->at[i];
        TRY(e);
        m->inputs[m->n++].member = g->at[i];
    }
    return OK;
}

static void end(struct merging *m)
{
    if (m->failed != NULL)
        m->failed->merge_retry_ms = m->now_ms + MERGE_RETRY_MS;
    for (size_t i = 0; i < m->n; i++) {
        cursor_drop(&m->inputs[i]);
        member_release(m->s, m->inputs[i].member);
    }
    for (unsigned class = 0; class < RETENTION_CLASSES; class ++)
        container_abandon(m->writers[class]);
    sealed_discard(m->s, m->made, m->made_count);
    free(m);
}

static Err merge(struct merging *m, const Group *g)
{
    TRY(begin(m, g));
    TRY(merge_all(m));
    if (m->is_stopped)
        return OK;
    TRY(finish_all(m));
    TRY(commit(m));
    pthread_mutex_lock(&m->s->lock);
    m->s->merges += g->n;
    pthread_mutex_unlock(&m->s->lock);
    return OK;
}

Err sealed_merge(struct sealed *s, int64_t now_ms, bool (*stop)(void *self), void *self,
                 bool *ret_any)
{
    struct choosing c = {
        .s = s,
        .now_ms = now_ms,
        .retention = sealed_retention(s),
        .stop = stop,
        .self = self,
    };
    Group g = choose_half_over(&c);
    if (g.n == 0 && !c.is_stopped)
        g = choose_neighbours(&c);
    if (g.n == 0 || c.is_stopped) {
        TRY(c.failed);
        *ret_any = false;
        return OK;
    }
    struct merging *m = xalloc(sizeof *m);
    m->s = s;
    m->now_ms = now_ms;
    m->stop = stop;
    m->self = self;
    Err e = merge(m, &g);
    bool is_stopped = m->is_stopped;
    end(m);
    TRY(e);
    *ret_any = !is_stopped;
    return OK;
}
