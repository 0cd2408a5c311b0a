// SPDX-License-Identifier: Apache-2.0
// The completion thread: takes finished writes from the queue, acknowledges strictly in the order
// of blocks, makes their records visible to readers and tells those who wait. So does whoever wrote
// a block himself; those who wait are told by one thread at a time, in order.
#include "store/log/journal_priv.h"

#include <sys/prctl.h>

static const char *failure_text(ErrKind kind)
{
    switch (kind) {
    case ERR_FULL:
        return "no space is left for the journal";
    case ERR_CLOSED:
        return "the log is closing";
    default:
        return "the journal failed";
    }
}

void log_fail_later(struct log *l, struct log_append *a, ErrKind kind)
{
    l->queued_bytes -= a->bytes;
    a->last_block = kind; // it is in no block: the field is free
    a->next = NULL;
    *l->failing_end = a;
    l->failing_end = &a->next;
    pthread_cond_signal(&l->ended);
}

void log_finish(struct log *l, struct log_append *a, Err e)
{
    struct control_op *op = op_of(a);
    if (op == NULL) {
        a->done(a, e);
        return;
    }
    pthread_mutex_lock(&l->queue_lock);
    op->err = e;
    op->finished = true;
    pthread_cond_broadcast(&l->op_ended);
    pthread_mutex_unlock(&l->queue_lock);
}

// ---- Publishing

static void publish_op(struct log *l, const struct block *b)
{
    for (size_t i = 0; i < b->op->n; i++) {
        Control *c = &b->op->controls[i];
        log_apply(l, c);
        struct shard *s = c->what == CONTROL_END ? shards_find(&l->shards, c->id) : NULL;
        if (s != NULL && s->data->ended) { // another call may have ended it a moment before
            c->position = s->data->end_position;
            c->arrival_ms = s->data->end_arrival_ms;
        }
        if (s != NULL && s->data->closing == b->op)
            shard_data(s)->closing = NULL; // whoever waits for it takes it away
    }
}

// Makes acknowledged blocks visible together. Returns their appends, in order, and whether somebody
// watches what has changed.
static struct log_append *publish(struct log *l, struct block *blocks, bool *ret_noted)
{
    struct log_append *list = NULL, **end = &list;
    int64_t now = l->io->mono_ns(l->io);
    pthread_mutex_lock(&l->lock);
    for (struct block *b = blocks, *next; b != NULL; b = next) {
        next = b->next;
        b->file->newest_block = b->head.number;
        log_index_extents(l, b->file, &b->head, b->extents, b->extent_count);
        if (b->op != NULL)
            publish_op(l, b);
        if (b->appends != NULL) {
            *end = b->appends;
            end = b->appends_end;
            b->appends = NULL;
        }
        l->visible = b->head.number;
        l->visible_arrival_ms = b->head.arrival_ms;
        l->stats.blocks++;
        l->stats.records += b->records;
        l->stats.record_bytes += b->record_bytes;
        metric_add(l->metrics.blocks, 1);
        metric_add(l->metrics.bytes, b->head.bytes);
        metric_add(l->metrics.records, (int64_t)b->records);
        metric_observe_ns(l->metrics.commit, now - b->sealed_ns);
        if (b->extent_count > 0)
            cache_add(l, b);
        b->file->users--;
        block_unref(l, b);
    }
    *ret_noted = l->noted != NULL;
    pthread_mutex_unlock(&l->lock);
    return list;
}

// ---- Acknowledging. Under queue_lock.

static void telling_end(struct log *l)
{
    l->telling--;
    if (l->failed.kind != ERR_NONE || l->needs_epoch || l->stopping) // who waits for nobody telling
        pthread_cond_signal(&l->work);
}

// The end of the run of blocks at the head of the list that are acknowledged together: one block,
// or all parts of an append. NULL: not all of them are written.
static struct block *written_run(struct block *first)
{
    if (first == NULL)
        return NULL;
    struct block *b = first;
    for (; b != NULL && b->state == BLOCK_WRITTEN; b = b->next)
        if (b->head.part + 1 == b->head.parts)
            return b;
    return NULL;
}

static struct block *take_written(struct log *l)
{
    struct block *blocks = l->unacked, *last = NULL;
    for (struct block *b = written_run(blocks); b != NULL; b = written_run(b->next))
        last = b;
    if (last == NULL)
        return NULL;
    l->unacked = last->next;
    if (l->unacked == NULL)
        l->unacked_end = &l->unacked;
    last->next = NULL;
    l->acked = last->head.number;
    l->acked_crc = last->head.crc;
    l->failures = 0;
    return blocks;
}

static void tell(struct log *l, struct block *blocks)
{
    size_t bytes = 0, appends = 0;
    for (struct block *b = blocks; b != NULL; b = b->next)
        for (struct log_append *a = b->appends; a != NULL; a = a->next, appends++)
            bytes += a->bytes;
    l->queued_bytes -= bytes;
    metric_set(l->metrics.queue_bytes, (int64_t)l->queued_bytes);
    metric_add(l->metrics.appends, (int64_t)appends);
    l->telling++;
    pthread_mutex_unlock(&l->queue_lock);
    bool noted;
    for (struct log_append *a = publish(l, blocks, &noted), *next; a != NULL; a = next) {
        next = a->next;
        log_finish(l, a, OK);
    }
    if (noted)
        log_tell_watches(l);
    pthread_mutex_lock(&l->queue_lock);
    telling_end(l);
}

// By one thread at a time, so that all are told in order: it looks again for what others have
// written meanwhile.
static void acknowledge(struct log *l)
{
    bool is_left = l->waiting != NULL && l->wanted;
    if (is_left || l->ready != NULL || l->failed.kind != ERR_NONE || l->needs_epoch || l->probe ||
        l->stopping)
        pthread_cond_signal(&l->work);
    if (l->acknowledging)
        return;
    l->acknowledging = true;
    for (struct block *blocks; (blocks = take_written(l)) != NULL;)
        tell(l, blocks);
    l->acknowledging = false;
}

void log_written(struct log *l, struct block *b)
{
    bool failed = b->write.result.kind != ERR_NONE;
    b->state = failed ? BLOCK_FAILED : BLOCK_WRITTEN;
    bool is_worst = l->failed.kind == ERR_NONE || l->failed.kind == ERR_FULL;
    if (failed && is_worst)
        l->failed = b->write.result;
    acknowledge(l);
}

static void wait_for_write(struct log *l)
{
    pthread_mutex_unlock(&l->queue_lock);
    struct io_write *w = NULL;
    Err e = l->io->queue_wait(l->queue, &w);
    // Without the queue nothing is known of any write, and nothing may be answered.
    if (e.kind != ERR_NONE) {
        LOG(LOG_ERROR, "the write queue failed", F_ERR(e));
        CHECK(e.kind == ERR_NONE);
    }
    pthread_mutex_lock(&l->queue_lock);
    l->under_way--;
    log_written(l, w->owner);
}

static void tell_failing(struct log *l)
{
    struct log_append *a = l->failing;
    l->failing = NULL;
    l->failing_end = &l->failing;
    metric_set(l->metrics.queue_bytes, (int64_t)l->queued_bytes);
    l->telling++;
    pthread_mutex_unlock(&l->queue_lock);
    for (struct log_append *next; a != NULL; a = next) {
        next = a->next;
        ErrKind kind = (ErrKind)a->last_block;
        log_finish(l, a, fail(kind, failure_text(kind)));
    }
    pthread_mutex_lock(&l->queue_lock);
    telling_end(l);
}

void *completion_run(void *p)
{
    struct log *l = p;
    prctl(PR_SET_NAME, "log-complete");
    pthread_mutex_lock(&l->queue_lock);
    while (true) {
        if (l->failing != NULL)
            tell_failing(l);
        else if (l->under_way > 0)
            wait_for_write(l);
        else if (l->commit_ended)
            break;
        else
            pthread_cond_wait(&l->ended, &l->queue_lock);
    }
    pthread_mutex_unlock(&l->queue_lock);
    return NULL;
}
