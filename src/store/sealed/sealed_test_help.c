// SPDX-License-Identifier: Apache-2.0
#include "store/sealed/sealed_test_help.h"

#include "base/time.h"

#include <stdlib.h>
#include <string.h>

enum { ORDINAL_BITS = 18 };

// ---- The set

static int64_t retention_of(void *self, uint64_t shard)
{
    struct rig *r = self;
    return shard <= RIG_SHARDS ? r->retention_ns[shard] : -1;
}

static void rows_of(void *self, struct arena *a, CheckpointShard **ret, size_t *ret_n)
{
    struct rig *r = self;
    CheckpointShard rows[RIG_SHARDS + 1] = { 0 };
    for (size_t i = 0; i < r->sealed; i++) {
        const RigRecord *record = &r->records[i];
        CheckpointShard *row = &rows[record->shard];
        if (row->first_position == 0)
            row->first_position = record->position;
        row->shard = record->shard;
        row->last_position = record->position;
        row->last_arrival_ms = record->arrival_ms;
    }
    *ret = arena_new(a, CheckpointShard, RIG_SHARDS);
    *ret_n = 0;
    for (uint64_t shard = 1; shard <= RIG_SHARDS; shard++)
        if (rows[shard].last_position != 0)
            (*ret)[(*ret_n)++] = rows[shard];
}

struct rig *rig_open(struct io *io, uint64_t seed)
{
    struct rig *r = xalloc(sizeof *r);
    r->state = seed * 2 + 1;
    r->arena = arena_open();
    r->now_ms = 1000000;
    r->config = (SealedConfig){
        .io = io,
        .dir = S("/log"),
        .retention_ns = retention_of,
        .rows = rows_of,
        .self = r,
    };
    for (uint64_t shard = 1; shard <= RIG_SHARDS; shard++)
        r->retention_ns[shard] = RIG_DAY_NS;
    EXPECT_OK(io->mkdir(io, r->config.dir)); // as the log does
    EXPECT_OK(io->sync_dir(io, S("/")));
    EXPECT_OK(sealed_open(&r->config, r->arena, &r->opened, &r->s));
    return r;
}

void rig_close(struct rig *r)
{
    if (r == NULL)
        return;
    sealed_close(r->s);
    arena_close(r->arena);
    free(r->records);
    free(r);
}

void rig_reopen(struct rig *r, struct io *io)
{
    sealed_close(r->s);
    r->s = NULL;
    r->config.io = io;
    EXPECT_OK(sealed_open(&r->config, r->arena, &r->opened, &r->s));
}

// ---- Making records

uint64_t rig_random(struct rig *r, uint64_t below)
{
    r->state ^= r->state << 13;
    r->state ^= r->state >> 7;
    r->state ^= r->state << 17;
    return r->state % below;
}

static void add_record(struct rig *r, RigRecord record)
{
    if (r->n == r->room) {
        r->room = MAX(r->room * 2, (size_t)256);
        r->records = xrealloc(r->records, mul_checked(r->room, sizeof *r->records));
    }
    r->records[r->n++] = record;
}

static void next_block(struct rig *r)
{
    r->block += 1 + rig_random(r, 3); // numbers may skip
    r->now_ms += (int64_t)rig_random(r, 1000);
}

void rig_add(struct rig *r, uint64_t shard, unsigned count, size_t data_bytes)
{
    next_block(r);
    for (unsigned i = 0; i < count; i++)
        add_record(r, (RigRecord){ shard, (r->block << ORDINAL_BITS) + i, r->now_ms, data_bytes });
}

void rig_add_some(struct rig *r)
{
    next_block(r);
    uint64_t position = r->block << ORDINAL_BITS;
    for (uint64_t shard = 1 + rig_random(r, 5); shard <= RIG_SHARDS; shard += 1 + rig_random(r, 10))
        for (uint64_t count = 1 + rig_random(r, 5); count > 0; count--)
            add_record(r, (RigRecord){ shard, position++, r->now_ms, rig_random(r, 3000) });
}

// The same bytes whenever they are asked for; they do not pack well.
static Str data_of(struct arena *a, const RigRecord *record)
{
    char *p = arena_new(a, char, record->data_bytes + 1);
    uint64_t x = record->position * 2 + 1;
    for (size_t i = 0; i < record->data_bytes; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[i] = (char)('a' + x % 16);
    }
    return str_from(p, record->data_bytes);
}

static Str key_of(struct arena *a, const RigRecord *record)
{
    return str_fmt(a, "key-%llu", (unsigned long long)record->shard);
}

// ---- Sealing

// The records of one shard and block from *i on, as a run; *i moves behind them.
static ContainerRun run_from(const struct rig *r, struct arena *a, size_t *i)
{
    const RigRecord *first = &r->records[*i];
    ContainerRun run = { .position = first->position, .arrival_ms = first->arrival_ms };
    size_t room = 0;
    for (size_t k = *i; k < r->n && k - *i < 100; k++)
        room += record_bytes(32, 0, r->records[k].data_bytes);
    uint8_t *p = arena_new(a, uint8_t, room);
    for (; *i < r->n && run.count < 100; (*i)++, run.count++) {
        const RigRecord *record = &r->records[*i];
        if (record->shard != first->shard || record->position != run.position + run.count)
            break;
        run.bytes += (uint32_t)record_put(p + run.bytes, key_of(a, record), S(""),
                                          blob_of(data_of(a, record)));
    }
    run.records = p;
    return run;
}

static Err add_shard(struct rig *r, struct container_writer *w, uint64_t shard)
{
    AUTO(arena) tmp = arena_open();
    for (size_t i = r->sealed; i < r->n;) {
        if (r->records[i].shard != shard) {
            i++;
            continue;
        }
        ContainerRun run = run_from(r, tmp, &i);
        TRY(container_add(w, shard, &run));
    }
    return OK;
}

static bool has_records(const struct rig *r, uint64_t shard)
{
    for (size_t i = r->sealed; i < r->n; i++)
        if (r->records[i].shard == shard)
            return true;
    return false;
}

static Err seal_class(struct rig *r, RetentionClass class, ContainerFacts *ret, bool *ret_any)
{
    struct container_writer *w = NULL;
    for (uint64_t shard = 1; shard <= RIG_SHARDS; shard++) {
        if (retention_class(MAX(r->retention_ns[shard], 0)) != class || !has_records(r, shard))
            continue;
        if (w == NULL)
            TRY(sealed_create(r->s, class, &w));
        Err e = add_shard(r, w, shard);
        if (e.kind != ERR_NONE) {
            container_abandon(w);
            return e;
        }
    }
    *ret_any = w != NULL;
    return w != NULL ? container_finish(w, ret) : OK;
}

Err rig_seal(struct rig *r)
{
    ContainerFacts added[RETENTION_CLASSES];
    SealedChange change = {
        .added = added,
        .sealed_block = r->block,
        .journal_file = 2,
        .arrival_ms = r->now_ms,
    };
    for (unsigned class = 0; class < RETENTION_CLASSES; class ++) {
        bool any;
        Err e = seal_class(r, (RetentionClass) class, &added[change.added_count], &any);
        if (e.kind != ERR_NONE) {
            sealed_discard(r->s, added, change.added_count);
            return e;
        }
        if (any)
            change.added_count++;
    }
    size_t before = r->sealed;
    r->sealed = r->n; // as the rows are to say
    Err e = sealed_commit(r->s, &change, NULL, 0);
    if (e.kind != ERR_NONE)
        r->sealed = before;
    return e;
}

void rig_add_and_seal(struct rig *r, unsigned blocks)
{
    while (blocks-- > 0)
        rig_add_some(r);
    EXPECT_OK(rig_seal(r));
}

// ---- Comparing

uint64_t rig_end(const struct rig *r)
{
    return r->sealed == 0 ? 0 : r->records[r->sealed - 1].position + 1;
}

int64_t rig_over_ms(const struct rig *r, uint64_t shard, int64_t now_ms)
{
    return now_ms - r->retention_ns[shard] / NS_PER_MS;
}

static bool is_wanted(const RigRecord *record, const SealedRead *read, uint64_t from)
{
    return record->shard == read->shard && record->position >= from &&
           record->position < read->to && record->arrival_ms > read->after_ms;
}

// The model's first record at or after `from`; NULL: there is none.
static const RigRecord *model_next(const struct rig *r, const SealedRead *read, uint64_t from)
{
    size_t low = 0, high = r->sealed;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->records[middle].position < from)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low; i < r->sealed; i++)
        if (is_wanted(&r->records[i], read, from))
            return &r->records[i];
    return NULL;
}

struct comparing {
    struct rig *r;
    const SealedRead *read;
    uint64_t from; // the next record is the model's first from here on
    size_t left;
    bool is_wrong; // a record came that the model does not have
};

static bool compare_record(void *self, uint64_t position, int64_t arrival_ms, const Record *r,
                           bool is_lent)
{
    (void)is_lent;
    struct comparing *c = self;
    if (c->left == 0)
        return false;
    c->left--;
    const RigRecord *want = model_next(c->r, c->read, c->from);
    if (want == NULL) {
        c->is_wrong = true;
        return false;
    }
    EXPECT_INT(want->position, position);
    EXPECT_INT(want->arrival_ms, arrival_ms);
    AUTO(arena) a = arena_open();
    EXPECT_STR(data_of(a, want), r->data);
    EXPECT_STR(key_of(a, want), r->key);
    c->from = position + 1;
    return true;
}

void rig_expect(struct rig *r, const SealedRead *read, size_t max)
{
    struct comparing c = { .r = r, .read = read, .from = read->from, .left = max };
    uint64_t next;
    EXPECT_OK(sealed_read(r->s, read, compare_record, &c, &next));
    EXPECT(!c.is_wrong);
    const RigRecord *left = model_next(r, read, c.from);
    EXPECT_INT(left != NULL ? left->position : MAX(read->to, read->from), MAX(next, read->from));
    EXPECT(left == NULL || c.left == 0);
}

void rig_expect_time(struct rig *r, const SealedRead *read, int64_t arrival_ms)
{
    SealedRead later = *read;
    later.after_ms = MAX(read->after_ms, arrival_ms - 1);
    const RigRecord *want = model_next(r, &later, read->from);
    uint64_t position;
    bool found;
    EXPECT_OK(sealed_find_time(r->s, read, arrival_ms, &position, &found));
    EXPECT(found == (want != NULL));
    if (want != NULL)
        EXPECT_INT(want->position, position);
}

void rig_expect_all(struct rig *r)
{
    for (uint64_t shard = 1; shard <= RIG_SHARDS; shard++) {
        SealedRead read = { .shard = shard, .to = rig_end(r), .after_ms = INT64_MIN };
        if (r->retention_ns[shard] < 0)
            continue;
        read.after_ms = rig_over_ms(r, shard, r->now_ms);
        rig_expect(r, &read, SIZE_MAX);
    }
}

void rig_expect_random(struct rig *r, unsigned rounds)
{
    while (rounds-- > 0 && r->sealed > 0) {
        const RigRecord *x = &r->records[rig_random(r, r->sealed)];
        const RigRecord *y = &r->records[rig_random(r, r->sealed)];
        SealedRead read = {
            .shard = 1 + rig_random(r, RIG_SHARDS),
            .from = x->position + rig_random(r, 3) - 1,
            .to = rig_random(r, 2) == 0 ? rig_end(r) : y->position,
        };
        if (r->retention_ns[read.shard] < 0)
            continue;
        read.after_ms = MAX(rig_over_ms(r, read.shard, r->now_ms),
                            x->arrival_ms - (int64_t)rig_random(r, 100000));
        rig_expect(r, &read, rig_random(r, 40));
        rig_expect_time(r, &read, y->arrival_ms + (int64_t)rig_random(r, 3) - 1);
    }
}

SealedStats rig_stats(struct rig *r)
{
    SealedStats stats;
    sealed_stats(r->s, &stats);
    return stats;
}
