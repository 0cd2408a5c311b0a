// SPDX-License-Identifier: Apache-2.0
// The operations on records that were received, up to ten at a time: acknowledge, change the
// visibility, restore; each for records and for dead letters.
//
// Which receipts are good is no more on record than that entries fail by themselves. Here: one that
// was not given out by the queue, or by the other kind of receive, or that has been followed by
// another receive of the record, is an InvalidArgumentException; one whose record is done or past
// the retention is a ResourceNotFoundException.
#include "base/time.h"
#include "svc/kinesis/queue_receipt.h"
#include "svc/kinesis/queues.h"

enum { ENTRIES_MAX = 10 };

typedef enum Deed { ACKNOWLEDGE, SET_VISIBILITY, RESTORE } Deed;

typedef struct Entry {
    Str handle;
    int32_t visibility_s;
    Receipt receipt;
    const struct api_error *error; // NULL: it succeeds
    Str text;
} Entry;

struct batch {
    Deed deed;
    bool dead;
    Entry at[ENTRIES_MAX];
    size_t n;
    // Writes the output: its lists are typed, each operation's in its own way.
    void (*fill)(struct arena *a, const struct batch *b, void *out);
    void *out;
};

static void refuse(Entry *e, const struct api_error *error, Str text)
{
    e->error = error;
    e->text = text;
}

// What can be told by the handle alone.
static void open_receipt(struct call *c, const struct queue *q, const struct batch *b, Entry *e)
{
    const struct api_error *invalid = &kinesis_InvalidArgumentException;
    if (receipt_open(c, e->handle, &e->receipt).kind != ERR_NONE || e->receipt.queue != q->id)
        refuse(e, invalid, S("The receipt handle is not valid for this queue."));
    else if (e->receipt.dead != b->dead)
        refuse(e, invalid,
               b->dead ? S("The receipt handle was not issued by ReceiveDeadLetterQueueRecords.")
                       : S("The receipt handle was not issued by ReceiveQueueRecords."));
}

// The record of a receipt that is its newest; NULL: the entry is refused. Under the queue's lock.
static struct flight *find_record(const struct queue *q, Entry *e)
{
    if (e->error != NULL)
        return NULL;
    struct flight *f = queue_find(q, e->receipt.shard, e->receipt.position);
    if (f == NULL)
        refuse(e, &kinesis_ResourceNotFoundException,
               S("The record is not in the queue: it was acknowledged, or its retention is over."));
    else if (f->delivery != e->receipt.delivery)
        refuse(e, &kinesis_InvalidArgumentException,
               S("The receipt handle has expired: the record was received or restored since."));
    return e->error == NULL ? f : NULL;
}

static QueueChange apply(struct queue *q, const struct batch *b, const Entry *e, struct flight *f,
                         int64_t now_ms)
{
    if (b->deed == ACKNOWLEDGE) {
        QueueChange change = change_removal(q, f->shard, f->position);
        queue_remove(q, f);
        return change;
    }
    f->visible_ms = now_ms;
    if (b->deed == SET_VISIBILITY) {
        f->visible_ms += (int64_t)e->visibility_s * 1000;
    } else {
        f->dead = false;
        f->received = 0;
        f->delivery++; // the receipt has served
    }
    queue_place(q, f);
    return change_flight(q, f);
}

// Applies every entry and, if anything has changed, hands it over to be written. Under the queue's
// lock; the answer is complete before the change can be committed.
static Err apply_all(struct call *c, struct queues *qs, struct queue *q, struct batch *b,
                     bool *ret_waits)
{
    int64_t now_ms = queues_now_ms(qs);
    QueueChange *changes = arena_new(c->arena, QueueChange, b->n);
    size_t n = 0;
    TRY(queues_check_usable(c, q, now_ms));
    for (size_t i = 0; i < b->n; i++) {
        struct flight *f = find_record(q, &b->at[i]);
        if (f != NULL)
            changes[n++] = apply(q, b, &b->at[i], f, now_ms);
    }
    b->fill(c->arena, b, b->out);
    *ret_waits = n > 0;
    if (n == 0)
        return OK;
    struct queue_job *job = arena_new(c->arena, struct queue_job, 1);
    *job = (struct queue_job){ .queue = queue_ref(q), .call = c, .changes = changes, .n = n };
    queues_submit(qs, job);
    return OK;
}

static Err run(struct call *c, Str arn, struct batch *b)
{
    struct kinesis *k = c->state;
    AUTO(queue) q = NULL;
    bool waits = false, may_wake = b->deed != ACKNOWLEDGE;
    TRY(queues_find(c, arn, &q));
    for (size_t i = 0; i < b->n; i++)
        open_receipt(c, q, b, &b->at[i]);
    pthread_mutex_lock(&q->lock);
    Err e = apply_all(c, k->queues, q, b, &waits);
    pthread_mutex_unlock(&q->lock);
    TRY(e);
    if (may_wake && waits)
        queue_pump(k->queues, q, false); // somebody may be waiting for what is visible now
    return waits ? call_wait(c) : OK;
}

static size_t count_good(const struct batch *b)
{
    size_t good = 0;
    for (size_t i = 0; i < b->n; i++)
        good += b->at[i].error == NULL;
    return good;
}

// An operation, by its name and what it does to dead letters or others. The three structs differ by
// name only.
#define BATCH_OPERATION(op, deed_of_op, is_dead, read_visibility)                           \
    static void fill_##op(struct arena *a, const struct batch *b, void *out)                \
    {                                                                                       \
        struct kinesis_##op##_out *o = out;                                                 \
        size_t good = count_good(b);                                                        \
        o->successful.set = o->failed.set = true;                                           \
        o->successful.n = o->failed.n = 0;                                                  \
        o->successful.at = arena_new(a, kinesis_##op##ResultEntry, good);                   \
        o->failed.at = arena_new(a, kinesis_##op##ErrorEntry, b->n - good);                 \
        for (size_t i = 0; i < b->n; i++) {                                                 \
            const Entry *e = &b->at[i];                                                     \
            if (e->error == NULL)                                                           \
                o->successful.at[o->successful.n++].receipt_handle = e->handle;             \
            else                                                                            \
                o->failed.at[o->failed.n++] =                                               \
                    (kinesis_##op##ErrorEntry){ .receipt_handle = e->handle,                \
                                                .error_code = e->error->name,               \
                                                .error_message = e->text };                 \
        }                                                                                   \
    }                                                                                       \
                                                                                            \
    Err kinesis_##op(struct call *c, const struct kinesis_##op##_in *in,                    \
                     struct kinesis_##op##_out *out)                                        \
    {                                                                                       \
        struct batch *b = arena_new(c->arena, struct batch, 1);                             \
        b->deed = (deed_of_op);                                                             \
        b->dead = (is_dead);                                                                \
        b->fill = fill_##op;                                                                \
        b->out = out;                                                                       \
        CHECK(in->entries.n <= ENTRIES_MAX);                                                \
        for (size_t i = 0; i < in->entries.n; i++)                                          \
            b->at[b->n++] = (Entry){ .handle = in->entries.at[i].receipt_handle,            \
                                     .visibility_s = read_visibility(&in->entries.at[i]) }; \
        return run(c, in->queue_arn, b);                                                    \
    }

#define NO_VISIBILITY(entry) 0
#define ITS_VISIBILITY(entry) (entry)->visibility_timeout_seconds

BATCH_OPERATION(AcknowledgeQueueRecords, ACKNOWLEDGE, false, NO_VISIBILITY)
BATCH_OPERATION(AcknowledgeDeadLetterQueueRecords, ACKNOWLEDGE, true, NO_VISIBILITY)
BATCH_OPERATION(UpdateQueueRecordsVisibility, SET_VISIBILITY, false, ITS_VISIBILITY)
BATCH_OPERATION(UpdateDeadLetterQueueRecordsVisibility, SET_VISIBILITY, true, ITS_VISIBILITY)
BATCH_OPERATION(RestoreDeadLetterQueueRecords, RESTORE, true, NO_VISIBILITY)
