// SPDX-License-Identifier: Apache-2.0
// The events of a subscription: what is sent, and when. It is woken when its shard has changed,
// when its client has taken what was sent, by its timer, and when it is to end. Of each event the
// client takes everything before the next is read: a slow one holds one event and no more, and
// finds the next wherever it lies by then.
#include "base/memory.h"
#include "base/metric.h"
#include "base/time.h"
#include "store/log_lend.h"
#include "svc/kinesis/crypt.h"
#include "svc/kinesis/get.h"
#include "svc/kinesis/shelf.h"
#include "svc/kinesis/subscription.h"

#define TICK_NS NS_PER_S // clocks that are moved show within a tick
#define AGAIN_NS (50 * NS_PER_MS)

enum { FRAME_BYTES = 512, FRAME_RECORD_BYTES = 192 }; // of an event without its data, of a record

static void run(struct subscription *s);

static int64_t now_ns(const struct subscription *s)
{
    return kinesis_mono_ns(s->k);
}

// ---- Waking and ending

void subscription_wake(struct subscription *s)
{
    if (!atomic_exchange(&s->posted, true))
        loop_post(s->call->loop, &s->task);
}

static void woken(struct task *t)
{
    struct subscription *s =
        (struct subscription *)((char *)t - offsetof(struct subscription, task));
    atomic_store(&s->posted, false);
    run(s);
}

static void changed(struct listener *l)
{
    run((struct subscription *)l);
}

static void told(void *self)
{
    struct subscription *s = self;
    if (!s->has_ended)
        subscription_wake(s);
}

static void timed(struct timer *t)
{
    run((struct subscription *)((char *)t - offsetof(struct subscription, timer)));
}

// The last of it, when nothing of it is on its way any more. The call's arena, and so the
// subscription, goes with call_done.
static void finish(struct subscription *s)
{
    if (s->is_reading || atomic_load(&s->posted))
        return;
    struct fanout *f = s->k->fanout;
    metric_add(f->subscriptions, -1);
    if (atomic_fetch_sub(&f->count, 1) == 1)
        shelf_clear(f->shelf);
    event_frame_unref(s->read.frame);
    stream_unref(s->stream);
    consumer_unref(s->consumer);
    call_done(s->call, s->result);
}

static void end(struct subscription *s, Err e)
{
    s->has_ended = true;
    s->result = e;
    if (e.kind != ERR_NONE)
        meter_add(&s->consumer->meters.event_failed, 1);
    loop_disarm(s->call->loop, &s->timer);
    feed_leave(s->k->fanout->feeds, &s->listener);
    subscribe_leave(s); // nobody else wakes it from here on
    finish(s);
}

static Err gone(struct subscription *s)
{
    return get_shard_not_found(s->call, s->stream->name, s->shard.index);
}

static Err why_it_ends(struct subscription *s, SubscriptionEnd why)
{
    struct call *c = s->call;
    if (why == SUBSCRIPTION_CANCELLED)
        return call_fail(c, &kinesis_ResourceNotFoundException,
                         "Consumer %.*s, account %.*s not found.", FMT(s->consumer->name),
                         FMT(s->stream->account));
    return call_fail(c, &kinesis_ResourceInUseException,
                     "Another active subscription exists for this consumer: %.*s:%.*s:%.*s:%.*s",
                     FMT(s->stream->account), FMT(s->stream->name),
                     FMT(shard_id_str(c->arena, s->shard.index)), FMT(s->consumer->name));
}

// ---- Making an event

// The number to go on after: of the last record that was read, or, where nothing follows it, of all
// that could have been there by now.
static Str continuation(const struct subscription *s, struct arena *a, const LogBatch *batch)
{
    int64_t ms = s->k->env.io->wall_ns(s->k->env.io) / NS_PER_MS;
    if (batch->more && batch->n > 0)
        ms = batch->at[batch->n - 1].arrival_ms;
    uint64_t last = batch->next > 0 ? batch->next - 1 : SEQUENCE_INDEX_START;
    return sequence_str(a, shard_sequence(&s->shard, last, ms));
}

// The records of an event, in its own arena: the call's lives as long as the subscription.
static Err read_records(struct subscription *s, struct arena *a, const LogBatch *batch,
                        bool may_block, kinesis_SubscribeToShardEvent *event, Pushed *ret)
{
    struct call lent = *s->call;
    lent.arena = a;
    Err e =
        get_records(&lent, s->stream, &s->shard, batch, may_block, &event->records, &ret->bytes);
    if (e.kind == ERR_FAULT) { // what KMS says; it ends the subscription
        s->call->error = lent.error;
        s->call->error_text = str_dup(s->call->arena, lent.error_text);
    }
    return e;
}

static Err fill_event(struct subscription *s, struct arena *a, const LogBatch *batch,
                      bool may_block, kinesis_SubscribeToShardEvent *event, Pushed *ret)
{
    struct kinesis *k = s->k;
    LogSpan span;
    TRY(log_span(k->env.log, s->shard.id, &span));
    ret->data_key = data_key_number(batch->at, batch->n);
    TRY(read_records(s, a, batch, may_block, event, ret));
    ret->records = batch->n;
    ret->next = batch->next;
    s->sees_end = span.ended && !batch->more && batch->next >= span.end;
    if (s->sees_end)
        event->child_shards = get_children(k, a, s->stream, s->shard.index);
    ret->is_last = event->child_shards.n > 0; // else they are about to be shown
    event->child_shards.set = ret->is_last;
    if (!ret->is_last)
        event->continuation_sequence_number = continuation(s, a, batch);
    if (batch->more && batch->n > 0) {
        int64_t now_ms = k->env.io->wall_ns(k->env.io) / NS_PER_MS;
        ret->behind_ms = MAX(now_ms - batch->at[batch->n - 1].arrival_ms, INT64_C(0));
    } else if (batch->more) {
        ret->behind_ms = s->behind_ms;
    }
    event->millis_behind_latest = ret->behind_ms;
    return OK;
}

static Err make(struct subscription *s, struct arena *a, const LogBatch *batch, bool may_block,
                Pushed *ret)
{
    kinesis_SubscribeToShardEvent event = { 0 };
    *ret = (Pushed){ .next = batch->next, .is_at_tip = !batch->more };
    TRY(fill_event(s, a, batch, may_block, &event, ret));
    if (batch->n == 0 && !s->must_tell && !ret->is_last)
        return OK;
    return event_frame_open(
        s->call, &(struct kinesis_SubscribeToShard_events){ .subscribe_to_shard_event = &event },
        FRAME_BYTES + batch->n * FRAME_RECORD_BYTES + ret->bytes * 4 / 3, &ret->frame);
}

// ---- Events that others have made

// Whether the subscription's caller may have what was made for another's. If not, or if that is not
// to be told here, it makes its own event, which says why it may not.
static bool may_have(const struct subscription *s, uint64_t data_key)
{
    if (data_key == 0)
        return true;
    AUTO(arena) a = arena_open();
    struct call lent = *s->call;
    lent.arena = a;
    return crypt_may_read(&lent, s->stream, data_key).kind == ERR_NONE;
}

static ShelfPlace place_of(const struct subscription *s)
{
    return (ShelfPlace){ .shard = s->shard.id,
                         .from = s->position,
                         .bytes_max = s->bytes_max,
                         .protocol = s->call->protocol };
}

// An event of old records. False: it has to be made.
static bool take_made(struct subscription *s, Pushed *ret)
{
    ShelfPlace at = place_of(s);
    ShelfEvent e;
    if (!shelf_take(s->k->fanout->shelf, &at, now_ns(s), &e))
        return false;
    if (!may_have(s, e.data_key)) {
        event_frame_unref(e.frame);
        return false;
    }
    *ret = (Pushed){ .frame = e.frame,
                     .next = e.next,
                     .records = e.records,
                     .bytes = e.bytes,
                     .data_key = e.data_key,
                     .behind_ms = e.behind_ms };
    metric_add(s->k->fanout->shared, 1);
    return true;
}

// Makes an event, which others may come for if it is one of old records.
static Err make_for_all(struct subscription *s, struct arena *a, const LogBatch *batch,
                        bool may_block, Pushed *ret)
{
    TRY(make(s, a, batch, may_block, ret));
    bool is_old = batch->n > 0 && batch->more;
    if (!is_old || s->bytes_max < EVENT_BYTES_MAX || !memory_has_room(SHELF_BYTES_MAX))
        return OK; // what is kept counts as memory of requests: theirs must not be short
    ShelfPlace at = place_of(s);
    shelf_put(s->k->fanout->shelf, &at, now_ns(s),
              &(ShelfEvent){ .next = ret->next,
                             .records = ret->records,
                             .bytes = ret->bytes,
                             .data_key = ret->data_key,
                             .behind_ms = ret->behind_ms,
                             .frame = ret->frame });
    return OK;
}

static LogRead what_to_read(const struct subscription *s, bool cached_only)
{
    return (LogRead){ .shard = s->shard.id,
                      .from = s->position,
                      .max_records = EVENT_RECORDS_MAX,
                      .max_bytes = s->bytes_max,
                      .cached_only = cached_only };
}

// ---- Sending

static void send(struct subscription *s, const Pushed *p)
{
    const struct fanout *f = s->k->fanout;
    s->call->stream->send(s->call, p->frame);
    s->sent_ns = now_ns(s);
    s->must_tell = false;
    limit_push_done(&s->full_ns, s->k->env.limits, s->sent_ns, p->bytes);
    meters_push(&s->consumer->meters, (int64_t)p->records, (int64_t)p->bytes, p->behind_ms);
    metric_add(f->events, 1);
    metric_add(f->records, (int64_t)p->records);
    metric_add(f->bytes, (int64_t)p->bytes);
}

// Takes what was read; the reference to the frame goes with it. False: that was the end.
static bool take(struct subscription *s, Pushed *p)
{
    bool is_last = p->is_last;
    if (p->records > 0)
        subscription_move(s, p->next); // else it stays among those with whom it may share events
    s->behind_ms = p->behind_ms;
    s->version = p->version;
    s->is_at_tip = p->is_at_tip;
    if (p->frame != NULL)
        send(s, p);
    event_frame_unref(p->frame);
    *p = (Pushed){ 0 };
    if (is_last)
        end(s, OK);
    return !is_last;
}

static void arm(struct subscription *s, int64_t in_ns)
{
    struct loop *l = s->call->loop;
    loop_arm(l, &s->timer, loop_now_ns(l) + MAX(in_ns, NS_PER_MS));
}

// What the log, or making an event, had against it.
static void fail_with(struct subscription *s, Err e)
{
    if (e.kind == ERR_MEMORY)
        arm(s, AGAIN_NS); // others will have given some back
    else if (e.kind == ERR_NOT_FOUND)
        end(s, gone(s)); // its stream was deleted
    else
        end(s, e);
}

// ---- Reading where it may block

static void read_on_loop(struct task *t)
{
    struct subscription *s =
        (struct subscription *)((char *)t - offsetof(struct subscription, read_task));
    s->is_reading = false;
    run(s);
}

static void read_on_pool(struct task *t)
{
    struct subscription *s =
        (struct subscription *)((char *)t - offsetof(struct subscription, read_task));
    AUTO(arena) a = arena_open_request();
    LogRead read = what_to_read(s, false);
    LogBatch batch;
    Err e = a != NULL ? log_read_lent(s->k->env.log, a, &read, &batch)
                      : fail(ERR_MEMORY, "no memory to read records");
    if (e.kind == ERR_NONE)
        e = make_for_all(s, a, &batch, true, &s->read);
    if (e.kind == ERR_NONE && batch.n == 0)
        subscription_move(s, batch.next); // so that it is not looked for again
    s->read.is_at_tip = false;            // it was not asked before how often the shard had changed
    s->read_err = e;
    s->read_task = (struct task){ .run = read_on_loop };
    loop_post(s->call->loop, &s->read_task);
}

static void read_later(struct subscription *s)
{
    s->read_task = (struct task){ .run = read_on_pool };
    s->is_reading = true;
    metric_add(s->k->fanout->from_disk, 1);
    if (pool_submit(s->k->env.pool, &s->read_task).kind != ERR_NONE) {
        s->is_reading = false;
        arm(s, AGAIN_NS); // all workers are busy
    }
}

// ---- Reading what is in memory

// Takes the event's reference. False: it is not for this one.
static bool share(struct subscription *s, const FeedEvent *e, Pushed *ret)
{
    if (!may_have(s, e->data_key)) {
        event_frame_unref(e->frame);
        return false;
    }
    *ret = (Pushed){ .frame = e->frame,
                     .next = e->next,
                     .records = e->records,
                     .bytes = e->bytes,
                     .data_key = e->data_key,
                     .version = e->version,
                     .is_at_tip = true };
    metric_add(s->k->fanout->shared, 1);
    return true;
}

// Gives others the event that was just made, or takes theirs.
static Err make_shared(struct subscription *s, struct arena *a, const LogBatch *batch,
                       uint64_t version, Pushed *ret)
{
    struct feed *feed = s->listener.feed;
    uint64_t first = batch->at[0].position, last = batch->at[batch->n - 1].position;
    FeedEvent e;
    if (feed_match(feed, s->call->protocol, s->position, first, last, now_ns(s), &e) &&
        share(s, &e, ret))
        return OK;
    TRY(make(s, a, batch, false, ret));
    if (!ret->is_last)
        feed_keep(feed, &(FeedEvent){ .version = version,
                                      .protocol = s->call->protocol,
                                      .from = s->position,
                                      .first = first,
                                      .last = last,
                                      .next = ret->next,
                                      .records = ret->records,
                                      .bytes = ret->bytes,
                                      .data_key = ret->data_key,
                                      .made_ns = now_ns(s),
                                      .frame = ret->frame });
    return OK;
}

static Err read_and_make(struct subscription *s, struct arena *a, Pushed *ret)
{
    uint64_t version = feed_version(s->listener.feed);
    LogRead read = what_to_read(s, true);
    LogBatch batch;
    TRY(log_read_lent(s->k->env.log, a, &read, &batch));
    if (batch.n > 0 && !batch.more)
        TRY(make_shared(s, a, &batch, version, ret));
    else
        TRY(make_for_all(s, a, &batch, false, ret));
    ret->version = version;
    return OK;
}

static Err read_cached(struct subscription *s, Pushed *ret)
{
    struct fanout *f = s->k->fanout;
    FeedEvent e;
    if (feed_take(s->listener.feed, s->call->protocol, s->position, now_ns(s), &e) &&
        share(s, &e, ret))
        return OK;
    if (take_made(s, ret))
        return OK;
    if (f->scratch[s->lane] == NULL)
        f->scratch[s->lane] = arena_open_request();
    struct arena *a = f->scratch[s->lane];
    if (a == NULL)
        return fail(ERR_MEMORY, "no memory to read records");
    Err err = read_and_make(s, a, ret);
    arena_reset(a);
    return err;
}

// ---- What is to be done now

// False: it could not begin, and has ended.
static bool begin(struct subscription *s)
{
    struct call *c = s->call;
    struct fanout *f = s->k->fanout;
    s->has_begun = true;
    s->started_ns = now_ns(s);
    s->must_tell = true;
    s->lane = feeds_lane(f->feeds, c->loop);
    metric_add(f->subscriptions, 1);
    atomic_fetch_add(&f->count, 1);
    Err e = feed_join(f->feeds, s->shard.id, s->lane, &s->listener);
    if (e.kind == ERR_NOT_FOUND)
        e = gone(s);
    if (e.kind == ERR_NONE)
        c->stream->start(c, told, s);
    else
        end(s, e);
    return e.kind == ERR_NONE;
}

// Until something is due by itself.
static void wait(struct subscription *s, int64_t now, bool is_unsent)
{
    int64_t in_ns = MIN(s->started_ns + SUBSCRIPTION_S * NS_PER_S - now, TICK_NS);
    if (!is_unsent)
        in_ns = MIN(in_ns, s->sent_ns + EVENT_QUIET_S * NS_PER_S - now);
    if (s->sees_end)
        in_ns = MIN(in_ns, AGAIN_NS);
    feed_tidy(s->listener.feed, now);
    shelf_tidy(s->k->fanout->shelf, now);
    arm(s, in_ns);
}

// That nothing was read, to a client that may not be sent more yet.
static void push_nothing(struct subscription *s)
{
    AUTO(arena) a = arena_open();
    Pushed p;
    Err e = make(s, a, &(LogBatch){ .next = s->position, .more = true }, false, &p);
    if (e.kind == ERR_NONE)
        take(s, &p);
    else
        fail_with(s, e);
}

static bool has_nothing_to_do(const struct subscription *s)
{
    return s->is_at_tip && !s->must_tell && !s->sees_end &&
           feed_version(s->listener.feed) == s->version;
}

static void push_next(struct subscription *s)
{
    Pushed p = { 0 };
    if (has_nothing_to_do(s))
        return;
    s->bytes_max = s->call->stream->is_crowded(s->call) ? EVENT_BYTES_CROWDED : EVENT_BYTES_MAX;
    Err e = read_cached(s, &p);
    if (e.kind == ERR_BUSY)
        read_later(s);
    else if (e.kind != ERR_NONE)
        fail_with(s, e);
    else
        take(s, &p);
}

// One event, if its client has taken the one before and there is one to be sent.
static void push(struct subscription *s)
{
    int64_t now = now_ns(s), at = limit_push_at(s->full_ns, s->k->env.limits);
    bool is_unsent = s->call->stream->unsent(s->call) > 0;
    wait(s, now, is_unsent);
    if (is_unsent)
        return; // told() comes when it is sent
    s->must_tell |= now - s->sent_ns >= EVENT_QUIET_S * NS_PER_S;
    if (at <= now)
        push_next(s);
    else if (s->must_tell)
        push_nothing(s);
    else
        arm(s, MIN(at - now, TICK_NS));
}

// Takes what was read on the pool, if something was. False: that was the end, or it must wait.
static bool take_read(struct subscription *s)
{
    Err e = s->read_err;
    s->read_err = OK;
    if (e.kind != ERR_NONE)
        fail_with(s, e);
    else if (s->read.next != 0)
        return take(s, &s->read);
    return e.kind == ERR_NONE;
}

static void run(struct subscription *s)
{
    if (s->has_ended) {
        finish(s);
        return;
    }
    if (s->is_reading || (!s->has_begun && !begin(s)) || !take_read(s))
        return; // what is read comes back by itself
    SubscriptionEnd why = (SubscriptionEnd)atomic_load(&s->why);
    if (s->call->stream->is_over(s->call))
        end(s, OK);
    else if (why != SUBSCRIPTION_GOES_ON)
        end(s, why_it_ends(s, why));
    else if (now_ns(s) - s->started_ns >= SUBSCRIPTION_S * NS_PER_S)
        end(s, OK);
    else
        push(s);
}

void subscription_init(struct subscription *s)
{
    s->listener.wake = changed;
    s->task.run = woken;
    s->timer.fire = timed;
}
