// SPDX-License-Identifier: Apache-2.0
// The records of all shards of a stream, in the order in which they arrived.
//
//     {"stream":"clicks","from":"trim","limit":1000}
//     {"cursor":"74511","end":"74511","more":false,"now_ms":...,"records":[{"shard":"shardId-...",
//      "sequence":"...","arrival_ms":...,"key":"...","hash_key":"...","data":"base64"},...]}
//
// From where: "from" is trim or latest; or "from_ms" (what arrived then or later), "from_sequence"
// (that record and what arrived after it), "after_sequence", or the "cursor" of an answer. "until"
// is a cursor, too: what lies at or above it is left out. "limit" 0 only finds the place.
#include "base/time.h"
#include "svc/kinesis/crypt.h"
#include "svc/kinesis/operate.h"

#include <stdlib.h>

enum {
    READ_RECORDS_MAX = 10000,
    READ_BYTES_MAX = 4 << 20,        // of keys and data, but at least one record
    READ_SHARD_BYTES_MIN = 64 << 10, // asked of one shard at once
};

// What was read of one shard; the records lie below the bound, and those from `taken` on were not
// wanted this time.
struct piece {
    const struct shard *shard;
    LogBatch batch;
    size_t taken;
};

struct reading {
    struct kinesis *k;
    const struct operator_call *c;
    OperatorView *v;
    uint64_t from, until; // of positions
    size_t limit;
    struct piece *pieces;
    size_t piece_count;
    uint64_t next; // where to read on
    Str *problem;
};

// ---- Where to begin

static Err place_of_time(struct reading *r, int64_t ms)
{
    r->from = r->v->end;
    for (size_t i = 0; i < r->v->shard_count; i++) {
        const OperatorShard *sh = &r->v->shards[i];
        uint64_t position;
        Err e = log_find_time(r->k->env.log, sh->shard->id, ms, &position);
        if (e.kind == ERR_NOT_FOUND)
            continue; // over by now, as all of a stream that is deleted meanwhile
        TRY(e);
        if (position < sh->span.next) // else it has none: a closed one's end lies far behind
            r->from = MIN(r->from, position);
    }
    return OK;
}

static Err bad_place(struct reading *r)
{
    *r->problem = S("where to read from must be \"from\" (trim or latest), \"from_ms\", "
                    "\"from_sequence\", \"after_sequence\" or \"cursor\"");
    return fail(ERR_INVALID, "no place to read from");
}

static Err cursor_of(struct reading *r, Str text, uint64_t *ret)
{
    if (str_u64(text, ret).kind == ERR_NONE && *ret <= INT64_MAX)
        return OK;
    *r->problem = S("a cursor is a number that an earlier answer gave");
    return fail(ERR_INVALID, "no cursor");
}

static Err find_place(struct reading *r)
{
    const JsonValue *body = r->c->body;
    Str word = json_text(body, S("from")), cursor = json_text(body, S("cursor"));
    Str at = json_text(body, S("from_sequence")), after = json_text(body, S("after_sequence"));
    Str until = json_text(body, S("until"));
    int64_t ms = 0;
    r->until = r->v->end;
    if (until.p != NULL) {
        TRY(cursor_of(r, until, &r->until));
        r->until = MIN(r->until, r->v->end);
    }
    if (cursor.p != NULL)
        return cursor_of(r, cursor, &r->from);
    if (at.p != NULL || after.p != NULL)
        return operator_sequence(r->c, r->v, at.p != NULL ? at : after, at.p == NULL, &r->from,
                                 r->problem);
    if (json_find(body, S("from_ms")) != NULL) {
        TRY(operator_number(r->c, S("from_ms"), 0, INT64_MAX / NS_PER_MS, 0, &ms, r->problem));
        return place_of_time(r, ms);
    }
    if (!str_eq(word, S("trim")) && !str_eq(word, S("latest")))
        return bad_place(r);
    r->from = str_eq(word, S("latest")) ? r->v->end : 0;
    return OK;
}

// ---- Reading

static bool may_have_records(const struct reading *r, const LogSpan *span)
{
    return span->first < r->until && span->next > r->from && span->last_arrival_ms != 0;
}

// Reads some of each shard. What lies below `next` is then complete.
static Err read_shards(struct reading *r)
{
    OperatorView *v = r->v;
    size_t candidates = 0;
    for (size_t i = 0; i < v->shard_count; i++)
        candidates += may_have_records(r, &v->shards[i].span);
    r->pieces = arena_new(r->c->arena, struct piece, candidates);
    size_t bytes = MAX(READ_BYTES_MAX / MAX(candidates, (size_t)1), (size_t)READ_SHARD_BYTES_MIN);
    r->next = r->until;
    for (size_t i = 0; i < v->shard_count; i++) {
        const OperatorShard *sh = &v->shards[i];
        LogRead read = {
            .shard = sh->shard->id, .from = r->from, .max_records = r->limit, .max_bytes = bytes
        };
        if (!may_have_records(r, &sh->span))
            continue;
        struct piece p = { .shard = sh->shard };
        Err e = log_read(r->k->env.log, r->c->arena, &read, &p.batch);
        if (e.kind == ERR_NOT_FOUND)
            continue; // over by now
        TRY(e);
        if (p.batch.more)
            r->next = MIN(r->next, p.batch.next);
        if (p.batch.n > 0)
            r->pieces[r->piece_count++] = p;
    }
    return OK;
}

typedef struct Ordered {
    const LogEntry *entry;
    struct piece *piece;
} Ordered;

static int by_position(const void *x, const void *y)
{
    uint64_t a = ((const Ordered *)x)->entry->position, b = ((const Ordered *)y)->entry->position;
    return a < b ? -1 : a > b;
}

// The records below `next` in the order of their positions, cut to what one answer may hold.
static Ordered *merge(struct reading *r, size_t *ret_n)
{
    size_t all = 0, n = 0, bytes = 0;
    for (size_t i = 0; i < r->piece_count; i++)
        all += r->pieces[i].batch.n;
    Ordered *list = arena_new(r->c->arena, Ordered, all);
    for (size_t i = 0; i < r->piece_count; i++) {
        struct piece *p = &r->pieces[i];
        for (size_t k = 0; k < p->batch.n && p->batch.at[k].position < r->next; k++)
            list[n++] = (Ordered){ &p->batch.at[k], p };
    }
    qsort(list, n, sizeof *list, by_position);
    size_t taken = 0;
    for (; taken < n && taken < r->limit; taken++) {
        bytes += list[taken].entry->key.n + list[taken].entry->data.n;
        if (taken > 0 && bytes > READ_BYTES_MAX)
            break;
        list[taken].piece->taken++;
    }
    if (taken < n)
        r->next = list[taken].entry->position;
    *ret_n = taken;
    return list;
}

// ---- The answer

static void put_text(struct event_writer *w, Str key, Str text)
{
    w->ops->key(w, key);
    w->ops->text(w, text);
}

static void put_number(struct event_writer *w, Str key, int64_t n)
{
    w->ops->key(w, key);
    w->ops->integer(w, n);
}

static void write_record(struct reading *r, struct event_writer *w, const Ordered *o)
{
    const LogEntry *e = o->entry;
    ArenaMark mark = arena_mark(r->c->arena);
    w->ops->map(w);
    put_text(w, S("shard"), shard_id_str(r->c->arena, o->piece->shard->index));
    put_text(
        w, S("sequence"),
        sequence_str(r->c->arena, shard_sequence(o->piece->shard, e->position, e->arrival_ms)));
    put_number(w, S("arrival_ms"), e->arrival_ms);
    put_text(w, S("key"), e->key);
    if (e->hash_key.n > 0)
        put_text(w, S("hash_key"), e->hash_key);
    w->ops->key(w, S("data"));
    w->ops->bytes(w, e->data);
    w->ops->map_end(w);
    arena_rewind(r->c->arena, mark);
}

static void write_answer(struct reading *r, struct buf *b, const Ordered *records, size_t n)
{
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    put_text(&w, S("cursor"), str_fmt(r->c->arena, "%llu", (unsigned long long)r->next));
    put_text(&w, S("end"), str_fmt(r->c->arena, "%llu", (unsigned long long)r->v->end));
    w.ops->key(&w, S("more"));
    w.ops->boolean(&w, r->next < r->until);
    put_number(&w, S("now_ms"), r->c->now_ns / NS_PER_MS);
    w.ops->key(&w, S("records"));
    w.ops->list(&w);
    for (size_t i = 0; i < n; i++)
        write_record(r, &w, &records[i]);
    w.ops->list_end(&w);
    w.ops->map_end(&w);
}

// Of each shard the first records were taken, so they are opened together.
static Err open_records(struct reading *r)
{
    for (size_t i = 0; i < r->piece_count; i++) {
        struct piece *p = &r->pieces[i];
        if (p->taken == 0)
            continue;
        Err e = crypt_open(&r->v->call, r->v->stream, p->batch.at, p->taken, true);
        TRY(operator_problem(&r->v->call, e, r->problem));
    }
    return OK;
}

static Err read_view(struct reading *r, struct buf *ret)
{
    Ordered *records = NULL;
    size_t n = 0;
    TRY(find_place(r));
    r->next = r->from;
    if (r->limit > 0 && r->from < r->until) {
        TRY(read_shards(r));
        records = merge(r, &n);
        TRY(open_records(r));
    }
    write_answer(r, ret, records, n);
    return OK;
}

Err operator_read(void *state, const struct operator_call *c, struct buf *ret, Str *ret_problem)
{
    OperatorView v;
    int64_t limit;
    TRY(operator_number(c, S("limit"), 0, READ_RECORDS_MAX, 1000, &limit, ret_problem));
    TRY(operator_view(state, c, &v, ret_problem));
    struct reading r = {
        .k = state, .c = c, .v = &v, .limit = (size_t)limit, .problem = ret_problem
    };
    Err e = read_view(&r, ret);
    operator_view_done(&v);
    return e;
}
