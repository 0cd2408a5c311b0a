// SPDX-License-Identifier: Apache-2.0
// Where a lane reads: the shards of its source, how far each is read and delivered, and how much
// waits in them. The log is the buffer: nothing that was read is kept for long.
#include "base/logline.h"
#include "base/time.h"
#include "codec/json.h"
#include "delivery/delivery_priv.h"
#include "store/log_lend.h"

#include <stdlib.h>
#include <string.h>

enum { ROW_VERSION = 1, LOOK_AGAIN_MS = 60000 };

static bool is_direct(const struct lane *l)
{
    return l->plan->config->is.direct_shard != 0;
}

static const struct hub_source *source_of(const struct lane *l)
{
    const struct hub *hub = l->v->d->env.hub;
    return hub != NULL ? hub->kinesis : NULL;
}

// ---- Rows

static Str row_prefix(struct arena *a, uint64_t id)
{
    return str_fmt(a, "%016llx/", (unsigned long long)id);
}

static Str row_key(struct arena *a, const struct lane *l, uint64_t shard)
{
    return str_fmt(a, "%016llx/%c/%016llx", (unsigned long long)l->v->id, l->is_backup ? 'b' : 'd',
                   (unsigned long long)shard);
}

static void write_row(struct buf *b, uint64_t position, int64_t arrival_ms, bool ended)
{
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    w.ops->key(&w, S("version"));
    w.ops->integer(&w, ROW_VERSION);
    w.ops->key(&w, S("position"));
    w.ops->integer(&w, (int64_t)position); // positions have 63 bits
    w.ops->key(&w, S("arrival_ms"));
    w.ops->integer(&w, arrival_ms);
    w.ops->key(&w, S("ended"));
    w.ops->boolean(&w, ended);
    w.ops->map_end(&w);
}

static Err read_row(struct arena *a, Str row, struct cursor *c)
{
    JsonValue *v;
    if (json_parse(a, row, &v).kind != ERR_NONE)
        return fail(ERR_CORRUPT, "a position of a delivery is not JSON");
    const JsonValue *version = json_find(v, S("version")), *position = json_find(v, S("position")),
                    *arrival = json_find(v, S("arrival_ms")), *ended = json_find(v, S("ended"));
    if (version == NULL || position == NULL || arrival == NULL || ended == NULL ||
        position->integer < 0)
        return fail(ERR_CORRUPT, "a position of a delivery is not complete");
    if (version->integer > ROW_VERSION)
        return fail(ERR_FORMAT, "a position of a delivery was written by a newer program");
    c->position = (uint64_t)position->integer;
    c->arrival_ms = arrival->integer;
    c->is_over = c->ended = ended->integer != 0;
    return OK;
}

static Err find_row(struct lane *l, struct cursor *c, bool *ret_found)
{
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_read(l->v->d->positions);
    Str row;
    Err e = kv_get(tx, tmp, row_key(tmp, l, c->shard), &row);
    *ret_found = e.kind == ERR_NONE;
    if (e.kind == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    return read_row(tmp, row, c);
}

Err reader_forget(struct deliveries *d, struct kv_txn *tx, uint64_t id)
{
    AUTO(arena) tmp = arena_open();
    Str prefix = row_prefix(tmp, id);
    for (;;) { // one at a time: nothing is changed under a scan
        kv_on(tx, d->positions);
        struct kv_scan scan = kv_scan_start(tx, prefix, S(""));
        Str rest = kv_scan_next(&scan) ? str_dup(tmp, scan.rest) : (Str){ 0 };
        TRY(scan.err);
        kv_scan_end(&scan);
        if (rest.p == NULL)
            return OK;
        TRY(kv_del(tx, str_cat(tmp, prefix, rest)));
    }
}

// ---- Cursors

static struct cursor *cursor_of(const struct lane *l, uint64_t shard)
{
    for (size_t i = 0; i < l->cursor_n; i++)
        if (l->cursors[i]->shard == shard)
            return l->cursors[i];
    return NULL;
}

// Of what was delivered nothing need be kept any more; of two lanes the slower one decides.
static void hide_delivered(struct lane *l, struct cursor *c)
{
    struct delivery *v = l->v;
    int64_t over_ms = c->arrival_ms;
    uint64_t position = c->position;
    if (!is_direct(l))
        return;
    // What the other one has committed may grow meanwhile: then it hides the more.
    pthread_mutex_lock(&v->d->lock);
    struct lane *other = l->is_backup ? &v->main : atomic_load(&v->backup);
    if (other != NULL && other->cursor_n == 1) {
        const struct cursor *o = other->cursors[0];
        over_ms = MIN(over_ms, __atomic_load_n(&o->arrival_ms, __ATOMIC_RELAXED));
        position = MIN(position, __atomic_load_n(&o->position, __ATOMIC_RELAXED));
    } else if (other != NULL) {
        over_ms = 0;
        position = 0;
    }
    pthread_mutex_unlock(&v->d->lock);
    log_shard_pass(v->d->env.log, c->shard, position);
    if (over_ms > 0) // others of that millisecond may not be delivered yet
        log_shard_hide(v->d->env.log, c->shard, over_ms - 1);
}

// Where a shard begins of which nothing was delivered yet; `next` is its end at present.
static Err first_position(struct lane *l, uint64_t shard, uint64_t next, uint64_t *ret)
{
    const DeliveryConfig *config = &l->plan->config->is;
    const struct hub_source *source = source_of(l);
    *ret = l->begin_now ? next : 0;
    if (l->begin_now || config->start_ms <= 0)
        return OK;
    if (is_direct(l))
        return log_find_time(l->v->d->env.log, shard, config->start_ms, ret);
    return source->find_time(source->self, config->source_arn, shard, config->start_ms, ret);
}

// The other lane may look meanwhile.
static void keep_cursor(struct lane *l, struct cursor *c)
{
    pthread_mutex_lock(&l->v->d->lock);
    if (l->cursor_n == l->cursor_cap) {
        l->cursor_cap = MAX(2 * l->cursor_cap, (size_t)1);
        l->cursors = xrealloc(l->cursors, mul_checked(l->cursor_cap, sizeof(struct cursor *)));
    }
    l->cursors[l->cursor_n++] = c;
    pthread_mutex_unlock(&l->v->d->lock);
}

static Err add_cursor(struct lane *l, uint64_t shard, uint64_t next, struct cursor **ret)
{
    struct cursor *c = xalloc(sizeof *c);
    c->lane = l;
    c->shard = shard;
    c->limit = c->until = UINT64_MAX;
    c->is_uncounted = true;
    Err e = find_row(l, c, &c->is_written);
    if (e.kind == ERR_NONE && !c->is_written)
        e = first_position(l, shard, next, &c->position);
    if (e.kind != ERR_NONE) {
        free(c);
        return e;
    }
    c->at = c->counted = c->position;
    c->at_ms = c->arrival_ms;
    keep_cursor(l, c);
    *ret = c;
    return OK;
}

Err reader_load(struct lane *l)
{
    struct cursor *c;
    LogSpan span;
    if (l->is_loaded)
        return reader_refresh(l);
    if (is_direct(l)) {
        uint64_t shard = l->plan->config->is.direct_shard;
        TRY(log_span(l->v->d->env.log, shard, &span));
        TRY(add_cursor(l, shard, l->direct_limit, &c));
        c->limit = l->direct_limit;
        c->is_uncounted = c->counted < c->limit && span.first < c->limit;
        hide_delivered(l, c);
    } else {
        TRY(reader_refresh(l));
    }
    l->is_loaded = true;
    if (!l->begin_now)
        return OK;
    struct mark *m = reader_mark(l); // where it began is not forgotten
    Err e = reader_commit(l, m);
    free(m);
    l->begin_now = e.kind != ERR_NONE;
    return e;
}

// ---- The shards of a stream

static void on_change(struct hub_watch *w)
{
    struct lane *l = ((struct cursor *)w)->lane;
    struct deliveries *d = l->v->d;
    if (atomic_exchange(&l->told, true))
        return;
    pthread_mutex_lock(&d->lock);
    int64_t now_ms = delivery_now_ms(d);
    lane_schedule_locked(l, now_ms + lane_gather_ms(l, now_ms, TOLD_MS));
    pthread_mutex_unlock(&d->lock);
}

static void watch(struct lane *l, struct cursor *c)
{
    const struct hub_source *source = source_of(l);
    Str arn = l->plan->config->is.source_arn;
    if (c->is_watched || c->is_over)
        return;
    c->watch.changed = on_change;
    c->is_watched = source->watch(source->self, arn, c->shard, &c->watch).kind == ERR_NONE;
}

static void unwatch(struct lane *l, struct cursor *c)
{
    const struct hub_source *source = source_of(l);
    if (c->is_watched)
        source->unwatch(source->self, &c->watch);
    c->is_watched = false;
}

static Str fault_code(HubSourceFault fault)
{
    static const Str codes[] = {
        [HUB_SOURCE_GOOD] = S_INIT("Kinesis.Error"),
        [HUB_SOURCE_NOT_FOUND] = S_INIT("Kinesis.ResourceNotFoundException"),
        [HUB_SOURCE_DENIED] = S_INIT("Kinesis.AccessDeniedException"),
        [HUB_SOURCE_KEY] = S_INIT("Kinesis.KMSAccessDeniedException"),
    };
    return codes[fault];
}

static Err refused(struct lane *l, HubSourceFault fault, Str text)
{
    lane_failed(l, fault_code(fault), text);
    return fail(ERR_FAULT, "the source cannot be read");
}

static Err take_shard(struct lane *l, const HubSourceShard *s)
{
    struct cursor *c = cursor_of(l, s->shard);
    if (c == NULL) {
        TRY(add_cursor(l, s->shard, s->next, &c));
        c->id_n = MIN(s->id.n, sizeof c->id);
        memcpy(c->id, s->id.p, c->id_n);
    }
    c->parents[0] = s->parents[0];
    c->parents[1] = s->parents[1];
    c->is_gone = false;
    watch(l, c);
    return OK;
}

// Cursors of shards that are no more, and of which nothing is on its way.
static void drop_gone(struct lane *l)
{
    for (size_t i = 0; i < l->cursor_n; i++) {
        struct cursor *c = l->cursors[i];
        if (!c->is_gone)
            continue;
        unwatch(l, c);
        pthread_mutex_lock(&l->v->d->lock);
        l->cursors[i--] = l->cursors[--l->cursor_n];
        pthread_mutex_unlock(&l->v->d->lock);
        free(c);
    }
}

static Err delete_rows(struct lane *l)
{
    AUTO(arena) tmp = arena_open();
    bool any = false;
    for (size_t i = 0; i < l->cursor_n; i++)
        any |= l->cursors[i]->is_gone;
    if (!any)
        return OK;
    AUTO(kv_txn) tx = kv_write(l->v->d->positions);
    for (size_t i = 0; i < l->cursor_n; i++)
        if (l->cursors[i]->is_gone)
            TRY(kv_del(tx, row_key(tmp, l, l->cursors[i]->shard)));
    return kv_commit(tx);
}

// With nothing on its way, or the positions of what is gone would be missed.
Err reader_refresh(struct lane *l)
{
    const struct hub_source *source = source_of(l);
    AUTO(arena) a = arena_open();
    HubSourceStream stream = { 0 };
    int64_t now_ms = delivery_now_ms(l->v->d);
    if (is_direct(l) || (l->is_looked && now_ms - l->looked_ms < LOOK_AGAIN_MS))
        return OK;
    if (source == NULL)
        return refused(l, HUB_SOURCE_NOT_FOUND, S("There is no service with streams."));
    HubActor as = lane_actor(l, l->plan->config->is.source_role_arn);
    TRY(source->look(source->self, a, &as, l->plan->config->is.source_arn, &stream));
    if (!l->is_backup)
        meter_add(&l->v->meters.look_throttled, 0);
    if (stream.fault != HUB_SOURCE_GOOD)
        return refused(l, stream.fault, stream.text);
    for (size_t i = 0; i < l->cursor_n; i++)
        l->cursors[i]->is_gone = true;
    for (size_t i = 0; i < stream.n; i++)
        TRY(take_shard(l, &stream.shards[i]));
    TRY(delete_rows(l));
    drop_gone(l);
    l->is_looked = true;
    l->looked_ms = now_ms;
    return OK;
}

void reader_stop(struct lane *l)
{
    for (size_t i = 0; i < l->cursor_n; i++)
        unwatch(l, l->cursors[i]);
}

void reader_close(struct lane *l)
{
    reader_stop(l);
    for (size_t i = 0; i < l->cursor_n; i++)
        free(l->cursors[i]);
    free(l->cursors);
    l->cursors = NULL;
    l->cursor_n = l->cursor_cap = 0;
}

// ---- Reading

// A shard's records come after those of its parents.
static bool may_read(const struct lane *l, const struct cursor *c)
{
    for (size_t i = 0; i < COUNT_OF(c->parents); i++) {
        const struct cursor *p = c->parents[i] != 0 ? cursor_of(l, c->parents[i]) : NULL;
        if (p != NULL && !p->ended)
            return false;
    }
    return !c->ended && c->at < c->until;
}

typedef struct Piece {
    DeliveryRecord *at;
    size_t n;
    uint64_t next;
    bool more, ended;
} Piece;

static DeliveryRecord *room_for(struct arena *a, size_t n)
{
    return arena_try_new(a, DeliveryRecord, n + 1);
}

// Nothing of it from there on.
static void cut_entries(LogBatch *b, uint64_t until)
{
    while (b->n > 0 && b->at[b->n - 1].position >= until)
        b->n--;
    if (b->next <= until)
        return;
    b->next = until;
    b->more = false;
}

// Records that are in memory stay where they are; what is decrypted is copied.
static Err read_log(struct lane *l, struct arena *a, const struct cursor *c, uint64_t from,
                    size_t max_bytes, bool unseal, LogBatch *ret)
{
    const DeliveryConfig *config = &l->plan->config->is;
    LogRead want = {
        .shard = c->shard, .from = from, .max_records = PIECE_RECORDS_MAX, .max_bytes = max_bytes
    };
    TRY(log_read_lent(l->v->d->env.log, a, &want, ret));
    cut_entries(ret, c->until);
    if (unseal && config->unseal != NULL && ret->n > 0)
        return config->unseal(config->unseal_self, a, ret->at, ret->n);
    return OK;
}

static Err read_direct(struct lane *l, struct arena *a, const struct cursor *c, uint64_t from,
                       size_t max_bytes, bool unseal, Piece *ret)
{
    LogBatch batch;
    TRY(read_log(l, a, c, from, max_bytes, unseal, &batch));
    *ret = (Piece){ .at = room_for(a, batch.n), .next = batch.next, .more = batch.more };
    if (ret->at == NULL)
        return fail(ERR_MEMORY, "no memory for records on their way");
    for (size_t i = 0; i < batch.n; i++) {
        const LogEntry *e = &batch.at[i];
        ret->at[ret->n++] = (DeliveryRecord){
            .data = e->data, .raw = e->data, .arrival_ms = e->arrival_ms, .position = e->position
        };
    }
    return OK;
}

// How far behind it is, as GetRecords says it.
static void count_read(struct lane *l, const HubSourceBatch *b)
{
    struct delivery_meters *m = &l->v->meters;
    int64_t bytes = 0, behind_ms = 0;
    if (l->is_backup || b->n == 0)
        return;
    for (size_t i = 0; i < b->n; i++)
        bytes += (int64_t)b->at[i].data.n;
    if (b->more)
        behind_ms = MAX(delivery_now_ms(l->v->d) - b->at[b->n - 1].arrival_ms, 0);
    meter_add(&m->source_bytes, bytes);
    meter_add(&m->source_records, (int64_t)b->n);
    meter_add(&m->behind_ms, behind_ms);
    meter_add(&m->source_throttled, 0); // what deliveries read counts against no limit
}

static Err read_stream(struct lane *l, struct arena *a, struct cursor *c, uint64_t from,
                       size_t max_bytes, bool counts, Piece *ret)
{
    const struct hub_source *source = source_of(l);
    const DeliveryConfig *config = &l->plan->config->is;
    HubActor as = lane_actor(l, config->source_role_arn);
    HubSourceBatch batch = { 0 };
    TRY(source->read(source->self, a, &as, config->source_arn, c->shard, from, max_bytes, &batch));
    if (batch.fault != HUB_SOURCE_GOOD)
        return refused(l, batch.fault, batch.text);
    if (counts)
        count_read(l, &batch);
    if (batch.gone || batch.ended)
        l->is_looked = false; // there are others to read
    *ret = (Piece){ .at = room_for(a, batch.n),
                    .next = batch.next,
                    .more = batch.more,
                    .ended = batch.ended || batch.gone };
    if (ret->at == NULL)
        return fail(ERR_MEMORY, "no memory for records on their way");
    for (size_t i = 0; i < batch.n; i++) {
        const HubSourceRecord *r = &batch.at[i];
        ret->at[ret->n++] = (DeliveryRecord){ .data = r->data,
                                              .raw = r->data,
                                              .arrival_ms = r->arrival_ms,
                                              .position = r->position,
                                              .key = r->key };
    }
    return OK;
}

// Nothing of it from there on.
static void cut(Piece *p, uint64_t until)
{
    while (p->n > 0 && p->at[p->n - 1].position >= until)
        p->n--;
    if (p->next <= until)
        return;
    p->next = until;
    p->more = p->ended = false;
}

static Err read_some(struct lane *l, struct arena *a, struct cursor *c, uint64_t from,
                     size_t max_bytes, bool unseal, Piece *ret)
{
    TRY(is_direct(l) ? read_direct(l, a, c, from, max_bytes, unseal, ret)
                     : read_stream(l, a, c, from, max_bytes, unseal, ret));
    cut(ret, c->until);
    return OK;
}

static void note_held(struct lane *l)
{
    atomic_store(&l->held_bytes, l->read_bytes - l->committed_bytes);
    atomic_store(&l->held_records, l->read_records - l->committed_records);
}

// Of records that were read.
typedef struct Taken {
    int64_t bytes, records;
    int64_t counted_bytes, counted_records; // which were in what waits
} Taken;

static void take_one(Taken *t, const struct cursor *c, uint64_t position, size_t bytes)
{
    bool counted = position < c->counted || position >= c->limit;
    t->bytes += (int64_t)bytes;
    t->records++;
    t->counted_bytes += counted ? (int64_t)bytes : 0;
    t->counted_records += counted;
}

// What waits becomes less by what was counted of these records.
static void uncount(struct lane *l, struct cursor *c, const Taken *t, uint64_t next, bool more)
{
    l->read_bytes += t->bytes;
    l->read_records += t->records;
    c->counted = MAX(c->counted, next);
    c->is_uncounted = c->is_uncounted && c->counted < c->limit && (more || !is_direct(l));
    l->taken_bytes += t->counted_bytes;
    l->taken_records += t->counted_records;
    note_held(l); // first: who looks meanwhile is told too much rather than that nothing waits
    atomic_fetch_sub(&l->pending_bytes, t->counted_bytes);
    atomic_fetch_sub(&l->pending_records, t->counted_records);
}

static void add_to_batch(struct lane *l, struct cursor *c, size_t index, const Piece *p,
                         DeliveryBatch *b)
{
    Taken t = { 0 };
    for (size_t i = 0; i < p->n; i++) {
        p->at[i].shard = (uint32_t)index;
        take_one(&t, c, p->at[i].position, p->at[i].data.n);
    }
    batch_take(b, p->at, p->n);
    uncount(l, c, &t, p->next, p->more);
    c->at = p->next;
    if (p->n > 0)
        c->at_ms = p->at[p->n - 1].arrival_ms;
    c->ended = p->ended;
}

// Names of the shards, for numbers of records and for functions.
static void name_shards(struct lane *l, DeliveryBatch *b)
{
    Str *ids = arena_new(b->arena, Str, l->cursor_n);
    uint64_t *shards = arena_new(b->arena, uint64_t, l->cursor_n);
    for (size_t i = 0; i < l->cursor_n; i++) {
        ids[i] = str_from(l->cursors[i]->id, l->cursors[i]->id_n);
        shards[i] = l->cursors[i]->shard;
    }
    b->shard_ids = ids;
    b->shards = shards;
    b->shard_count = l->cursor_n;
}

Err reader_read(struct lane *l, DeliveryBatch *b, size_t max_bytes, bool *ret_more)
{
    *ret_more = false;
    if (b->shard_count != l->cursor_n)
        name_shards(l, b);
    for (size_t i = 0; i < l->cursor_n; i++) {
        size_t index = (l->turn + i) % l->cursor_n;
        struct cursor *c = l->cursors[index];
        Piece p;
        if (!may_read(l, c))
            continue;
        TRY(read_some(l, b->arena, c, c->at, max_bytes, true, &p));
        add_to_batch(l, c, index, &p, b);
        if (p.n == 0 && !p.ended)
            continue;
        l->turn = index + 1;
        *ret_more = p.more || l->cursor_n > 1;
        if (p.n > 0)
            return OK;
        i = SIZE_MAX; // a shard has ended: its children may be read, all are asked again
    }
    return OK;
}

Err reader_read_entries(struct lane *l, struct arena *a, size_t max_bytes, LogBatch *ret)
{
    struct cursor *c = l->cursors[0];
    Taken t = { 0 };
    *ret = (LogBatch){ 0 };
    if (!may_read(l, c))
        return OK;
    TRY(read_log(l, a, c, c->at, max_bytes, true, ret));
    for (size_t i = 0; i < ret->n; i++)
        take_one(&t, c, ret->at[i].position, ret->at[i].data.n);
    uncount(l, c, &t, ret->next, ret->more);
    c->at = ret->next;
    if (ret->n > 0)
        c->at_ms = ret->at[ret->n - 1].arrival_ms;
    return OK;
}

// ---- Counting

static Err count_cursor(struct lane *l, struct cursor *c)
{
    int64_t most = atomic_load(&l->size_bytes);
    while (c->is_uncounted && atomic_load(&l->pending_bytes) < most && !lane_must_stop(l)) {
        AUTO(arena) a = arena_open_request();
        int64_t bytes = 0, records = 0;
        Piece p;
        if (a == NULL)
            return fail(ERR_MEMORY, "no memory for records that are counted");
        TRY(read_some(l, a, c, c->counted, PIECE_BYTES, false, &p));
        for (size_t i = 0; i < p.n && p.at[i].position < c->limit; i++) {
            bytes += (int64_t)p.at[i].data.n;
            records++;
        }
        if (p.n > 0 && atomic_load(&l->oldest_ms) == 0)
            atomic_store(&l->oldest_ms, p.at[0].arrival_ms);
        // All of it was read before its end was known: nothing else would say that children may be.
        c->ended |= p.ended && p.n == 0 && c->counted == c->at;
        c->counted = p.next;
        c->is_uncounted = p.more && c->counted < c->limit;
        atomic_fetch_add(&l->pending_bytes, bytes);
        atomic_fetch_add(&l->pending_records, records);
    }
    return OK;
}

Err reader_count(struct lane *l)
{
    if (atomic_exchange(&l->told, false)) {
        l->is_looked = false;
        for (size_t i = 0; i < l->cursor_n; i++)
            l->cursors[i]->is_uncounted = !l->cursors[i]->ended;
    }
    for (size_t i = 0; i < l->cursor_n; i++) {
        struct cursor *c = l->cursors[i];
        if (!may_read(l, c)) // it does not wait for us
            continue;
        TRY(count_cursor(l, c));
        if (c->ended)
            i = SIZE_MAX; // its children may be read, all are asked again
    }
    return OK;
}

bool reader_is_uncounted(const struct lane *l)
{
    if (!l->is_looked && !is_direct(l))
        return true;
    for (size_t i = 0; i < l->cursor_n; i++)
        if (l->cursors[i]->is_uncounted && may_read(l, l->cursors[i]))
            return true;
    return false;
}

// A guess if it cannot be read: when the last one came that was read.
int64_t reader_oldest(struct lane *l)
{
    int64_t oldest_ms = 0;
    if (atomic_load(&l->pending_records) <= 0)
        return 0;
    for (size_t i = 0; i < l->cursor_n; i++) {
        AUTO(arena) a = arena_open();
        struct cursor *c = l->cursors[i];
        int64_t at_ms = c->at_ms;
        Piece p = { 0 };
        if (!may_read(l, c))
            continue;
        if (read_some(l, a, c, c->at, 1, false, &p).kind == ERR_NONE) {
            if (p.n == 0)
                continue;
            at_ms = p.at[0].arrival_ms;
        }
        oldest_ms = oldest_ms == 0 ? at_ms : MIN(oldest_ms, at_ms);
    }
    return oldest_ms;
}

// ---- Marks

struct mark *reader_mark(struct lane *l)
{
    struct mark *m = xalloc(sizeof *m + mul_checked(l->cursor_n, sizeof(MarkPlace)));
    m->bytes = l->read_bytes;
    m->records = l->read_records;
    m->n = l->cursor_n;
    for (size_t i = 0; i < m->n; i++) {
        const struct cursor *c = l->cursors[i];
        m->places[i] = (MarkPlace){ c->shard, c->at, c->at_ms, c->ended };
    }
    return m;
}

void reader_until(struct lane *l, const struct mark *m)
{
    for (size_t i = 0; i < l->cursor_n; i++)
        l->cursors[i]->until = m != NULL ? l->cursors[i]->at : UINT64_MAX; // new ones: nothing
    for (size_t i = 0; m != NULL && i < m->n; i++) {
        struct cursor *c = cursor_of(l, m->places[i].shard);
        if (c != NULL)
            c->until = m->places[i].at;
    }
}

void reader_rewind(struct lane *l)
{
    atomic_fetch_add(&l->pending_bytes, l->read_bytes - l->committed_bytes);
    atomic_fetch_add(&l->pending_records, l->read_records - l->committed_records);
    l->read_bytes = l->committed_bytes;
    l->read_records = l->committed_records;
    note_held(l);
    for (size_t i = 0; i < l->cursor_n; i++) {
        struct cursor *c = l->cursors[i];
        c->at = c->position;
        c->at_ms = c->arrival_ms;
        c->ended = c->is_over;
    }
}

static bool has_moved(const struct lane *l, const MarkPlace *p)
{
    const struct cursor *c = cursor_of(l, p->shard);
    return c != NULL && (c->position != p->at || c->is_over != p->ended || !c->is_written);
}

Err reader_write(struct lane *l, const struct mark *m, struct kv_txn *tx)
{
    AUTO(arena) tmp = arena_open();
    kv_on(tx, l->v->d->positions);
    for (size_t i = 0; i < m->n; i++) {
        const MarkPlace *p = &m->places[i];
        AUTO_BUF(row);
        if (!has_moved(l, p))
            continue;
        write_row(&row, p->at, p->at_ms, p->ended);
        TRY(buf_err(&row));
        TRY(kv_put(tx, row_key(tmp, l, p->shard), buf_str(&row)));
    }
    return OK;
}

static Err write_mark(struct lane *l, const struct mark *m)
{
    size_t moved = 0;
    for (size_t i = 0; i < m->n; i++)
        moved += has_moved(l, &m->places[i]);
    if (moved == 0)
        return OK;
    AUTO(kv_txn) tx = kv_write(l->v->d->positions);
    TRY(reader_write(l, m, tx));
    return kv_commit(tx);
}

Err reader_commit(struct lane *l, const struct mark *m)
{
    TRY(write_mark(l, m));
    reader_committed(l, m);
    return OK;
}

void reader_committed(struct lane *l, const struct mark *m)
{
    for (size_t i = 0; i < m->n; i++) {
        const MarkPlace *p = &m->places[i];
        struct cursor *c = cursor_of(l, p->shard);
        if (c == NULL)
            continue;
        __atomic_store_n(&c->position, p->at, __ATOMIC_RELAXED);
        c->is_written = true;
        __atomic_store_n(&c->arrival_ms, p->at_ms, __ATOMIC_RELAXED);
        c->is_over = p->ended;
        if (c->is_over)
            unwatch(l, c);
        hide_delivered(l, c);
    }
    l->committed_bytes = m->bytes;
    l->committed_records = m->records;
    note_held(l);
}
