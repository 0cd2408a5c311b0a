// SPDX-License-Identifier: Apache-2.0
// All queues, and the one thread that writes what their calls change.
//
// A call changes a queue in memory, under the queue's lock, and in the same moment puts what it
// changed at the end of a list. The thread takes what has gathered there, commits it as one
// transaction and answers the calls: many acknowledgements cost one sync, no call holds a thread
// meanwhile, and the rows change in the order in which memory did. A call is answered after its
// commit. If a commit fails, its calls are told so and what is in memory of their queues is
// read from the rows again.
//
// Locks: `changing` and `lock` of struct kinesis, then a queue's, then the one of the list.
#pragma once
#include "svc/kinesis/kinesis.h"
#include "svc/kinesis/queue.h"

struct queues;

// One row that changes: of a record in flight, or of a cursor.
typedef struct QueueChange {
    uint8_t key[FLIGHT_KEY_BYTES];
    uint8_t row[FLIGHT_ROW_BYTES];
    bool is_removal;
} QueueChange;

// What one call changes, in the call's arena; or, without a call, on the heap.
struct queue_job {
    struct queue_job *next;
    struct queue *queue; // a reference
    struct call *call;   // answered when it is committed; NULL: nobody waits
    QueueChange *changes;
    size_t n;
};

// Reads all rows, after the streams. The thread starts with the first queue.
Err queues_open(struct kinesis *k, struct queues **ret);
// Answers whoever waits, writes what is on its way, and ends the thread. No call begins any more.
void queues_stop(struct queues *qs);
void queues_close(struct queues *qs); // NULL is fine

// ---- For operations

// A reference to the queue; ResourceNotFoundException. It may have any status.
Err queues_find(struct call *c, Str arn, struct queue **ret);
// ResourceNotFoundException: it is being deleted. InternalFailure: it must be read again. Under the
// queue's lock.
Err queues_check_usable(struct call *c, const struct queue *q, int64_t now_ms);

// How many queues the stream has, those that are being deleted included.
size_t queues_on_stream(const struct kinesis *k, const struct stream *s);
// ResourceInUseException if the stream has queues: "`what` ARN`how` because ...". `changing` is
// held.
Err queues_refuse(struct call *c, const struct stream *s, const char *what, const char *how);

bool queues_is_arn(Str resource_arn);
// TagResource, UntagResource and ListTagsForResource of a queue.
Err queues_tag(struct call *c, Str arn, const kinesis_TagMap *tags);
Err queues_untag(struct call *c, Str arn, const kinesis_TagKeyList *keys);
Err queues_list_tags(struct call *c, Str arn, kinesis_TagList *ret);
void queues_copy_tags(struct call *c, Str arn, TagSet *to); // none if there is no such queue

// ---- For the files of queues

struct kv_table *queues_rows(const struct queues *qs);    // kinesis.queues
struct kv_table *queues_flights(const struct queues *qs); // kinesis.inflight
struct kinesis *queues_kinesis(const struct queues *qs);

int64_t queues_now_ms(const struct queues *qs); // wall clock, of the service

// References to all queues, in the arena: of one account and region, or of all (absent).
struct queue **queues_all(struct queues *qs, struct arena *a, Str account, Str region,
                          size_t *ret_n);
void queues_unref_all(struct queue **all, size_t n);
void queues_insert(struct queues *qs, struct queue *take_q);

// Puts the job at the end of the list; takes over its reference. Under the queue's lock, which is
// where the changes were made.
void queues_submit(struct queues *qs, struct queue_job *job);
// Forgets a record, or the cursor of a shard that is gone, with nobody waiting. Under the queue's
// lock.
void queues_drop(struct queues *qs, struct queue *q, struct flight *f);
void queues_drop_cursor(struct queues *qs, struct queue *q, uint64_t shard);

QueueChange change_flight(const struct queue *q, const struct flight *f);
QueueChange change_removal(const struct queue *q, uint64_t shard, uint64_t position);
QueueChange change_cursor(const struct queue *q, const struct cursor *cursor);

// Takes everything of a queue that is being deleted out of kv, then the queue out of memory; or
// waits until the thread, which does the same when it is due, has. Blocks.
Err queues_purge(struct queues *qs, struct queue *q);

// The thread looks whether waiting calls can be served: now, or every few milliseconds.
void queues_wake(struct queues *qs);
void queues_watch(struct queues *qs);
// Counts what runs on the pool, for queues_stop to wait for. False: it is too late for it.
bool queues_pool_begin(struct queues *qs);
void queues_pool_end(struct queues *qs);

// ---- queue_receive.c

// Serves waiting calls while there is something for them. `may_block`: it may read from the disk;
// else, where that is needed, it goes on on the pool.
void queue_pump(struct queues *qs, struct queue *q, bool may_block);
// Answers those whose time is over, whose client has gone, or all.
void queue_expire(struct queues *qs, struct queue *q, bool all);
// What waiting calls are told of: new records of a shard. Whoever pumps calls these.
void queue_watch(struct queues *qs, struct queue *q, struct cursor *cursor);
void queue_unwatch(struct queues *qs, struct cursor *cursor);
void queue_unwatch_all(struct queues *qs, struct queue *q);

// Forgets what is past the retention of the stream.
void queue_sweep(struct queues *qs, struct queue *q);
