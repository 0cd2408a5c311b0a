// SPDX-License-Identifier: Apache-2.0
// Many clients of one queue at once: every record is done by exactly one of them.
#include "svc/kinesis/queue_test_help.h"

#include <string.h>

enum { CLIENTS = 6, RECORDS = 1500 };

struct worker {
    struct queue_world *w;
    Str arn;
    pthread_t thread;
    _Atomic int *done; // how often each record was acknowledged, by its number
    _Atomic size_t *count;
};

static void acknowledge(struct worker *x, struct arena *a, const kinesis_QueueRecordList *got)
{
    struct queue_call *o = queue_call_new(x->w, a);
    kinesis_AcknowledgeQueueRecordsRequestEntry *entries =
        arena_new(a, kinesis_AcknowledgeQueueRecordsRequestEntry, got->n);
    for (size_t i = 0; i < got->n; i++)
        entries[i].receipt_handle = got->at[i].receipt_handle;
    struct kinesis_AcknowledgeQueueRecords_in in = {
        .queue_arn = x->arn, .entries = { .set = true, .n = got->n, .at = entries }
    };
    struct kinesis_AcknowledgeQueueRecords_out *out =
        arena_new(a, struct kinesis_AcknowledgeQueueRecords_out, 1);
    EXPECT_OK(queue_call_end(o, kinesis_AcknowledgeQueueRecords(&o->call, &in, out)));
    EXPECT_INT(got->n, out->successful.n);
    for (size_t i = 0; i < got->n; i++) {
        uint64_t number;
        memcpy(&number, got->at[i].data.p, sizeof number);
        atomic_fetch_add(&x->done[number], 1);
        atomic_fetch_add(x->count, 1);
    }
}

static void *work(void *self)
{
    struct worker *x = self;
    while (atomic_load(x->count) < RECORDS) {
        AUTO(arena) a = arena_open();
        kinesis_QueueRecordList got;
        EXPECT_OK(queue_world_receive(x->w, a, x->arn, false, 10, -1, &got));
        if (got.n > 0)
            acknowledge(x, a, &got);
    }
    return NULL;
}

TEST(records_are_done_once_though_many_receive_at_once)
{
    struct queue_world w;
    struct worker workers[CLIENTS];
    uint64_t put = 0;
    _Atomic int *done = arena_alloc(a, (RECORDS + 1) * sizeof *done, _Alignof(_Atomic int));
    _Atomic size_t count = 0;
    queue_world_open(&w, 0, 2);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    for (size_t i = 0; i < CLIENTS; i++) {
        workers[i] = (struct worker){ .w = &w, .arn = arn, .done = done, .count = &count };
        EXPECT_INT(0, pthread_create(&workers[i].thread, NULL, work, &workers[i]));
    }
    for (size_t i = 0; i < RECORDS / 50; i++)
        queue_world_put(&w, 50, 100, &put);
    for (size_t i = 0; i < CLIENTS; i++)
        EXPECT_INT(0, pthread_join(workers[i].thread, NULL));
    for (size_t i = 1; i <= RECORDS; i++)
        EXPECT_INT(1, atomic_load(&done[i]));
    queue_world_close(&w);
}

// The queues' thread may come by between a call's place in line and its look at the log.
TEST(a_call_that_need_not_wait_gets_what_is_there_though_others_are_at_the_queue)
{
    struct queue_world w;
    uint64_t put = 0;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    queue_world_put(&w, 3, 16, &put);
    struct queue_call *o = queue_call_new(&w, a);
    AUTO(queue) q = NULL;
    EXPECT_OK(queues_find(&o->call, arn, &q));
    pthread_mutex_lock(&q->lock);
    while (q->pumping)
        pthread_cond_wait(&q->idle, &q->lock);
    q->pumping = true; // somebody else's, so that the call has to stand in line
    pthread_mutex_unlock(&q->lock);
    struct kinesis_ReceiveQueueRecords_in in = { .queue_arn = arn, .limit = 10 };
    struct kinesis_ReceiveQueueRecords_out out = { 0 };
    Err e = kinesis_ReceiveQueueRecords(&o->call, &in, &out);
    EXPECT_INT(ERR_WAIT, e.kind);
    queue_expire(w.kinesis->queues, q, false);
    pthread_mutex_lock(&q->lock);
    q->pumping = false;
    pthread_mutex_unlock(&q->lock);
    queue_pump(w.kinesis->queues, q, true);
    EXPECT_OK(queue_call_end(o, e));
    EXPECT_INT(3, out.queue_records.n);
    queue_world_close(&w);
}

struct purger {
    struct queue_world *w;
    struct queue *q;
    pthread_barrier_t *all;
    pthread_t thread;
};

static void *purge(void *self)
{
    struct purger *p = self;
    pthread_barrier_wait(p->all);
    EXPECT_OK(queues_purge(p->w->kinesis->queues, p->q));
    EXPECT(p->q->purged); // whoever did it
    return NULL;
}

// The queues' thread may find that a deletion is due before the call that asked for it goes on.
TEST(a_queue_is_purged_once_though_several_come_to_it_at_once)
{
    enum { ROUNDS = 30, PURGERS = 3 };
    struct queue_world w;
    uint64_t put = 0;
    queue_world_open(&w, 0, 2);
    for (size_t round = 0; round < ROUNDS; round++) {
        pthread_barrier_t barrier;
        struct purger purgers[PURGERS];
        AUTO(queue) q = NULL;
        kinesis_QueueRecordList got;
        Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
        queue_world_put(&w, 1, 100, &put);
        EXPECT_OK(queue_world_receive(&w, a, arn, false, 10, -1, &got)); // it watches its shards
        EXPECT_OK(queues_find(&queue_call_new(&w, a)->call, arn, &q));
        pthread_barrier_init(&barrier, NULL, PURGERS);
        for (size_t i = 0; i < PURGERS; i++) {
            purgers[i] = (struct purger){ .w = &w, .q = q, .all = &barrier };
            EXPECT_INT(0, pthread_create(&purgers[i].thread, NULL, purge, &purgers[i]));
        }
        for (size_t i = 0; i < PURGERS; i++)
            EXPECT_INT(0, pthread_join(purgers[i].thread, NULL));
        pthread_barrier_destroy(&barrier);
        EXPECT_INT(0, queues_on_stream(w.kinesis, q->stream));
    }
    queue_world_close(&w);
}
