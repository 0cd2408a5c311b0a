// SPDX-License-Identifier: Apache-2.0
// Batches for destinations over the network. A batch is held while it is tried again, with a timer
// and no thread; when many are held at once some are read again instead. What a destination takes
// at most at once is a window of the batch; each has a request of its own, the same over attempts.
#include "base/logline.h"
#include "base/time.h"
#include "delivery/delivery_priv.h"

#include <stdlib.h>
#include <string.h>

// What is tried.
struct held {
    struct arena *arena;   // of what stays over attempts: texts of faults, names
    struct arena *records; // NULL: they are to be read again
    DeliveryBatch batch;
    struct mark *end; // where its records end
    size_t turn;      // of the shards, when it was begun
    int64_t oldest_ms;
    bool *pending; // by record
    size_t pending_n;
    size_t first, last; // the window
    Str request_id;
    int64_t attempt, began_ms;
    int64_t failed_ms; // the first failure; 0: none
    bool is_given_up;
    bool is_sent;      // nothing is left to be tried, in no window
    Str code, message; // of the last attempt
    SinkObject *objects;
    size_t object_n;
    size_t counted_bytes; // in the sum of all
    uint64_t delivered_records, delivered_bytes;
};

// ---- The sum of what is held

static void count_held(struct lane *l, struct held *h, size_t bytes)
{
    room_count_held(l, h->counted_bytes, bytes);
    h->counted_bytes = bytes;
}

size_t held_data_bytes(const struct lane *l)
{
    return l->held->batch.bytes;
}

void held_drop(struct lane *l)
{
    struct held *h = l->held;
    if (h == NULL)
        return;
    l->held = NULL;
    count_held(l, h, 0);
    arena_close(h->records);
    arena_close(h->arena);
    free(h->end);
    free(h);
}

// ---- Reading

static int64_t oldest_of(const DeliveryBatch *b)
{
    int64_t oldest = 0;
    for (size_t i = 0; i < b->n; i++)
        if (oldest == 0 || b->at[i].arrival_ms < oldest)
            oldest = b->at[i].arrival_ms;
    return oldest;
}

static Err read_records(struct lane *l, struct held *h, size_t most)
{
    bool more = true;
    while (more && h->batch.bytes < most) {
        if (lane_must_stop(l))
            return fail(ERR_CLOSED, "the server stops");
        size_t piece = MIN((size_t)PIECE_BYTES, most - h->batch.bytes);
        TRY(reader_read(l, &h->batch, piece, &more));
    }
    return OK;
}

static Err open_records(struct held *h)
{
    h->records = arena_open_request();
    if (h->records == NULL)
        return fail(ERR_MEMORY, "no memory for a batch");
    h->batch = (DeliveryBatch){ .arena = h->records };
    return OK;
}

static size_t bytes_of(const struct held *h)
{
    return arena_bytes(h->records);
}

// The same records as before, if they are all there.
static Err read_again(struct lane *l, struct held *h)
{
    size_t n = h->batch.n;
    TRY(open_records(h));
    reader_until(l, h->end);
    l->turn = h->turn;
    Err e = read_records(l, h, SIZE_MAX);
    reader_until(l, NULL);
    TRY(e);
    TRY(lane_process(l, &h->batch));
    if (h->batch.n != n) { // retention, or a function that answers otherwise: all is tried
        h->pending = arena_new(h->arena, bool, h->batch.n + 1);
        memset(h->pending, true, h->batch.n);
        h->pending_n = h->batch.n;
        h->first = h->last = 0;
    }
    count_held(l, h, bytes_of(h));
    return OK;
}

static Err take_batch(struct lane *l)
{
    struct held *h = xalloc(sizeof *h);
    size_t most = (size_t)atomic_load(&l->size_bytes);
    h->arena = arena_open();
    l->held = h;
    h->turn = l->turn;
    if (l->plan->ops->bytes_max > 0)
        most = MIN(most, l->plan->ops->bytes_max);
    TRY(open_records(h));
    TRY(read_records(l, h, most));
    h->oldest_ms = oldest_of(&h->batch);
    h->end = reader_mark(l);
    TRY(lane_process(l, &h->batch));
    h->pending = arena_new(h->arena, bool, h->batch.n + 1);
    memset(h->pending, true, h->batch.n);
    h->pending_n = h->batch.n;
    count_held(l, h, bytes_of(h));
    return OK;
}

// ---- Windows

static void begin_window(struct lane *l, struct held *h)
{
    const struct sink_ops *ops = l->plan->ops;
    size_t records = ops->records_max > 0 ? ops->records_max : SIZE_MAX, bytes = 0;
    h->first = h->last;
    while (h->last < h->batch.n && h->last - h->first < records) {
        bytes += h->batch.at[h->last].data.n;
        if (ops->bytes_max > 0 && bytes > ops->bytes_max && h->last > h->first)
            break;
        h->last++;
    }
    h->request_id = delivery_uuid(h->arena, l->v->d->env.io);
    h->attempt = h->began_ms = h->failed_ms = 0;
    h->is_given_up = false;
}

static size_t count_pending(const struct held *h)
{
    size_t n = 0;
    for (size_t i = h->first; i < h->last; i++)
        n += h->pending[i];
    return n;
}

// What the sink has refused of single records, and what is given up.
static void collect_failed(struct lane *l, struct held *h)
{
    int64_t now_ms = delivery_now_ms(l->v->d);
    for (size_t i = h->first; i < h->last; i++) {
        DeliveryRecord *r = &h->batch.at[i];
        DeliveryFault *f = &r->fault;
        if (h->pending[i]) {
            batch_fail(&h->batch, r, l->plan->ops->error_type, h->code, h->message, h->attempt,
                       now_ms);
        } else if (f->type != NULL) {
            batch_fail(&h->batch, r, f->type, f->code, f->message,
                       f->attempts > 0 ? f->attempts : h->attempt, now_ms);
            DeliveryRecord *failed = &h->batch.failed[h->batch.failed_n - 1];
            failed->fault.document_id = f->document_id;
            failed->fault.index = f->index;
        } else {
            h->delivered_records++;
            h->delivered_bytes += r->data.n;
        }
        h->pending[i] = false;
    }
}

// ---- Attempts

static int64_t deadline_ms(const struct lane *l, const struct held *h)
{
    const DeliveryConfig *c = &l->plan->config->is;
    // Splunk's and HTTP endpoints' time begins with the first failure, the others' with the first
    // attempt (developer guide, "Data delivery failure handling").
    bool from_failure = c->kind == DELIVER_SPLUNK || c->kind == DELIVER_HTTP;
    return (from_failure ? h->failed_ms : h->began_ms) + c->retry_ns / 1000000;
}

static void count_attempt(struct lane *l, const struct held *h, const SinkAttempt *a, bool good)
{
    struct delivery_meters *m = &l->v->meters;
    int64_t age_ms = MAX(delivery_now_ms(l->v->d) - h->oldest_ms, 0);
    meter_add(&m->success, good);
    if (a->ack_ms > 0)
        meter_add(&m->ack_latency, a->ack_ms);
    if (good)
        meter_add(&m->freshness, age_ms / 1000);
}

static void make_attempt(struct lane *l, const struct held *h, struct arena *a, DeliveryBatch *view,
                         SinkAttempt *ret)
{
    *view = h->batch;
    view->at += h->first;
    view->n = h->last - h->first;
    *ret = (SinkAttempt){ .arena = a,
                          .batch = view,
                          .pending = h->pending + h->first,
                          .pending_count = count_pending(h),
                          .request_id = h->request_id,
                          .attempt = h->attempt,
                          .began_ms = h->began_ms,
                          .is_cut = &l->is_cut,
                          .objects = h->objects,
                          .object_count = h->object_n };
}

static Str keep_text(struct held *h, Str text)
{
    return text.p != NULL ? str_dup(h->arena, text) : (Str){ 0 };
}

// What the sink says of single records lives in the attempt's arena.
static void keep_faults(struct held *h, const bool *before)
{
    for (size_t i = h->first; i < h->last; i++) {
        DeliveryFault *f = &h->batch.at[i].fault;
        if (!before[i - h->first] || h->pending[i] || f->type == NULL)
            continue;
        f->code = keep_text(h, f->code);
        f->message = keep_text(h, f->message);
        f->document_id = keep_text(h, f->document_id);
        f->index = keep_text(h, f->index);
    }
}

static void count_attempted(struct lane *l, const SinkAttempt *a)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < a->batch->n; i++)
        bytes += a->pending[i] ? (int64_t)a->batch->at[i].data.n : 0;
    meter_add(&l->v->meters.attempted_bytes, bytes);
    meter_add(&l->v->meters.attempted_records, (int64_t)a->pending_count);
}

static SinkResult send(struct lane *l, struct held *h)
{
    AUTO(arena) a = arena_open();
    struct sink *sink = l->plan->sink;
    size_t n = h->last - h->first;
    bool *before = arena_new(a, bool, n + 1);
    DeliveryBatch view;
    SinkAttempt attempt;
    if (n > 0)
        memcpy(before, h->pending + h->first, n * sizeof *before);
    make_attempt(l, h, a, &view, &attempt);
    count_attempted(l, &attempt);
    SinkResult result = sink->ops->deliver(sink, &attempt);
    keep_faults(h, before);
    if (result == SINK_DELIVERED && n > 0)
        memset(h->pending + h->first, false, n);
    else if (result == SINK_RETRY && h->object_n == 0 && count_pending(h) == 0)
        result = SINK_DELIVERED; // what was left had faults of its own
    count_attempt(l, h, &attempt, result == SINK_DELIVERED);
    h->code = attempt.code.p != NULL ? keep_text(h, attempt.code) : S("InternalError");
    h->message = attempt.message.p != NULL ? keep_text(h, attempt.message) : S("");
    return result;
}

// ERR_BUSY: it is to be tried again, at l->retry_ms.
static Err attempt(struct lane *l, struct held *h)
{
    h->attempt++;
    if (h->began_ms == 0)
        h->began_ms = delivery_now_ms(l->v->d);
    SinkResult result = send(l, h);
    int64_t now_ms = delivery_now_ms(l->v->d);
    if (result == SINK_DELIVERED)
        return OK;
    if (lane_must_stop(l)) // the attempt may have been cut short
        return fail(ERR_CLOSED, "the server stops");
    if (h->failed_ms == 0)
        h->failed_ms = now_ms;
    int64_t until_ms = deadline_ms(l, h);
    int64_t pause_ns = l->plan->ops->pause_ns(l->plan->sink, h->attempt);
    h->is_given_up = result == SINK_REFUSED || now_ms >= until_ms;
    lane_failed(l, h->code, h->message);
    l->retry_ms = MIN(now_ms + pause_ns / 1000000, until_ms);
    return h->is_given_up ? OK : fail(ERR_BUSY, "a batch is tried again later");
}

// What the sink leaves of it.
static Err give_up(struct lane *l, struct held *h)
{
    AUTO(arena) a = arena_open();
    const struct sink_ops *ops = l->plan->ops;
    DeliveryBatch view;
    SinkAttempt attempt;
    if (!h->is_given_up || ops->give_up == NULL)
        return OK;
    make_attempt(l, h, a, &view, &attempt);
    Err e = ops->give_up(l->plan->sink, &attempt);
    if (e.kind != ERR_NONE)
        lane_failed(l, S("InternalError"), str_of(e.text));
    return e.kind == ERR_NONE ? OK : fail(ERR_FAULT, "a batch could not be given up");
}

// Window by window. ERR_BUSY: later again.
static Err attempt_all(struct lane *l, struct held *h)
{
    while (!h->is_sent) {
        bool has_work = h->object_n > 0 || count_pending(h) > 0;
        if (has_work && !h->is_given_up)
            TRY(attempt(l, h));
        TRY(give_up(l, h));
        collect_failed(l, h);
        h->is_sent = h->last >= h->batch.n;
        if (!h->is_sent)
            begin_window(l, h);
    }
    return OK;
}

// ---- The end

static Err write_failed(struct lane *l, struct held *h)
{
    const DeliveryBatch failed = { .failed = h->batch.failed, .failed_n = h->batch.failed_n };
    if (failed.failed_n == 0)
        return OK;
    TRY(lane_route(l, &failed));
    return lane_finish_outputs(l);
}

static Str place_of(const DeliveryConfig *c)
{
    switch (c->kind) {
    case DELIVER_HTTP:
        return c->http.url;
    case DELIVER_SPLUNK:
        return c->splunk.url;
    case DELIVER_SEARCH:
        return c->search.url;
    default:
        return (Str){ 0 }; // its objects have notes
    }
}

static void count_delivered(struct lane *l, const struct held *h)
{
    struct delivery_meters *m = &l->v->meters;
    if (h->delivered_records == 0)
        return;
    meter_add(&m->records, (int64_t)h->delivered_records);
    meter_add(&m->bytes, (int64_t)h->delivered_bytes);
    DeliveryObjectNote note = { .at_ms = delivery_now_ms(l->v->d),
                                .place = place_of(&l->plan->config->is),
                                .records = h->delivered_records,
                                .bytes = h->delivered_bytes,
                                .written = h->delivered_bytes };
    if (note.place.p != NULL)
        note_add(l->v, &note);
}

// A batch that waits is kept as long as there is room for it.
static void keep_or_forget(struct lane *l, struct held *h)
{
    bool has_faults = h->batch.failed_n > 0; // what is known of them is nowhere else
    for (size_t i = h->first; i < h->last; i++)
        has_faults |= h->batch.at[i].fault.type != NULL;
    if (h->object_n > 0 || has_faults || !room_is_full(l))
        return;
    arena_close(h->records);
    h->records = NULL;
    h->batch.at = h->batch.failed = NULL;
    count_held(l, h, 0);
    reader_rewind(l);
}

static void count_object(struct lane *l, const struct output *o)
{
    struct delivery_meters *m = &l->v->meters;
    if (o->error_type != NULL)
        return;
    meter_add(&m->object_bytes, (int64_t)o->bytes);
    meter_add(&m->object_records, (int64_t)o->records);
    meter_add(&m->object_success, 1);
    meter_add(&m->object_freshness,
              MAX(delivery_now_ms(l->v->d) - o->oldest_ms, (int64_t)0) / 1000);
}

// Of Redshift: the records are in objects before anything is tried.
static Err take_objects(struct lane *l)
{
    struct held *h = xalloc(sizeof *h);
    bool more;
    h->arena = arena_open();
    l->held = h;
    TRY(lane_read_objects(l, &more));
    h->objects = arena_new(h->arena, SinkObject, l->output_n);
    while (l->outputs != NULL) {
        struct output *o = l->outputs;
        TRY(output_finish(o, NULL));
        if (h->oldest_ms == 0 || o->oldest_ms < h->oldest_ms)
            h->oldest_ms = o->oldest_ms;
        if (o->error_type == NULL) {
            h->objects[h->object_n++] = (SinkObject){ .bucket = str_dup(h->arena, o->bucket),
                                                      .key = str_dup(h->arena, o->key),
                                                      .bytes = o->written };
            h->delivered_records += o->records;
            h->delivered_bytes += o->bytes;
        }
        count_object(l, o);
        output_drop(o);
    }
    h->end = reader_mark(l);
    h->is_sent = h->object_n == 0;
    h->request_id = delivery_uuid(h->arena, l->v->d->env.io);
    return OK;
}

static Err take_something(struct lane *l)
{
    if (l->plan->ops->wants_objects)
        return take_objects(l);
    TRY(take_batch(l));
    begin_window(l, l->held);
    return OK;
}

static Err run_held(struct lane *l)
{
    if (l->held == NULL)
        TRY(take_something(l));
    else if (l->held->records == NULL && l->held->object_n == 0 && !l->held->is_sent)
        TRY(read_again(l, l->held));
    TRY(attempt_all(l, l->held));
    TRY(write_failed(l, l->held));
    TRY(reader_commit(l, l->held->end));
    if (!(l->held->is_given_up && l->held->object_n > 0))
        count_delivered(l, l->held);
    held_drop(l);
    return OK;
}

Err deliver_to_sink(struct lane *l)
{
    Err e = run_held(l);
    if (e.kind == ERR_BUSY) {
        keep_or_forget(l, l->held);
        return e;
    }
    // A batch that was sent is not sent again because what is said of it cannot be written.
    if (e.kind == ERR_FAULT && l->held != NULL && l->held->end != NULL) {
        outputs_drop(l);
        return fail(ERR_BUSY, "the rest of a batch is done later");
    }
    if (e.kind != ERR_NONE)
        held_drop(l);
    return e;
}
