// SPDX-License-Identifier: Apache-2.0
// A queue on a stream, in memory: which records were handed out and are not done, and how far the
// stream has been handed out. Its rows in kv say the same, after any crash:
//
//     table kinesis.queues      key = account / region / id of the ARN      value = JSON
//     table kinesis.inflight    key = queue (8)  shard (8)  position (8)    value = 32 bytes
//
// Numbers of keys are big-endian, so that they sort. A row of kinesis.inflight at position 0 is the
// shard's cursor: every record below it was handed out. Of those, the ones that have a row are not
// done; the others are. So an acknowledgement removes a row and nothing else. A shard without a
// cursor opened after the queue was made, and is handed out from its beginning.
//
// A record is in flight from a receive until it is acknowledged or its visibility ends. The receive
// that makes it as often received as the queue allows makes it dead: then only the operations for
// dead letters hand it out. What a receipt says of a record holds until it is received again.
#pragma once
#include "base/buf.h"
#include "base/map.h"
#include "os/loop.h"
#include "svc/kinesis/tag_set.h"

#include <pthread.h>

enum {
    QUEUE_VISIBILITY_S = 30, // where CreateQueue names none
    QUEUE_RECEIVES_MAX = 6,
    // Handed out and not done, over which no further ones are: what SQS allows a standard queue.
    QUEUE_IN_FLIGHT_MAX = 120000,
    QUEUE_RECORDS_MAX = 1000000, // with dead letters; each holds about 150 bytes of memory
    QUEUE_WAITING_MAX = 1000,    // receives that wait at once
    QUEUE_TAGS_MAX = 50,
};

typedef enum QueueStatus {
    QUEUE_CREATING,
    QUEUE_ACTIVE,
    QUEUE_UPDATING,
    QUEUE_DELETING,
} QueueStatus;

typedef enum QueueStart { QUEUE_LATEST, QUEUE_TRIM_HORIZON, QUEUE_AT_TIMESTAMP } QueueStart;

// A record that was handed out and is not done.
struct flight {
    uint64_t shard, position;
    int64_t visible_ms; // wall clock; from then on it may be received again
    int64_t first_ms;   // when it was received first
    uint32_t received;  // how often, since it was restored last
    uint32_t delivery;  // how often in all, restorations counted, too: the newest receipt has it
    uint32_t heap_at;   // its place plus one; 0: it is being read to be handed out again
    bool dead;          // a dead letter, or one as soon as its visibility ends
};

struct flight_heap { // the one that is visible first is at its root
    struct flight **at;
    size_t n, room;
};

// How far one shard has been handed out. Only whoever pumps the queue uses it.
struct cursor {
    uint64_t shard, next;
    bool moved;                // further than its row says
    bool over;                 // the shard has ended here, or is gone
    struct queue_watch *watch; // queue_watch.c; NULL: none
};

struct kv_table;
struct queue_watch;
struct receive; // a call that waits: queue_receive.c
struct stream;

struct receive_list {
    struct receive *first, **last;
    size_t n;
    uint64_t came, looked; // calls that have come; the number of the last one that was looked for
};

struct queue {
    unsigned refs;                  // atomic
    uint64_t id;                    // of its rows, never given twice
    Str account, region, name, arn; // owned; like all up to the lock they do not change
    struct stream *stream;          // a reference: who still holds the queue may look at it
    int64_t created_ms;
    QueueStart start;
    int64_t start_ms, begins_ms; // the time that was given; where the stream began for it

    pthread_mutex_t lock; // of all below; a leaf but for the list of jobs
    pthread_cond_t idle;  // nobody pumps, or no jobs are left
    int64_t active_ms;    // CREATING until then
    int64_t updated_ms;   // UPDATING until then
    int64_t gone_ms;      // DELETING, and gone from then on; 0: it is not being deleted
    int32_t visibility_s;
    int32_t receives_max; // 0: nothing becomes a dead letter
    TagSet tags;
    struct map *flights; // by shard and position
    struct flight_heap live, dead;
    struct receive_list waiting[2]; // for records, for dead letters
    size_t jobs;                    // on their way to the disk
    bool pumping;                   // somebody hands out
    _Atomic bool hungry;            // somebody waits; read without the lock, too
    bool wants_disk;                // and the next one may have to read from the disk
    bool on_pool;                   // the task is queued there
    bool stale;                     // a commit failed: to be read from its rows again
    bool was_full;                  // it failed for want of space
    bool closing;                   // nothing is handed out any more: somebody purges it
    bool purged;                    // and that is done
    struct task task;
    struct queues *owner;

    struct cursor *cursors; // in the order of the stream's shards; these are the pump's
    size_t cursor_count, turn;
    size_t seen_count; // the stream's shards as they were when the cursors were made
    uint64_t seen_last;
};

struct queue *queue_new(Str account, Str region, Str name, Str arn_id);
struct queue *queue_ref(struct queue *q);
void queue_unref(struct queue *q); // NULL is fine
static inline void queue_close(struct queue *q)
{
    queue_unref(q);
}
AUTO_CLOSE(queue)

QueueStatus queue_status(const struct queue *q, int64_t now_ms); // under lock
Str queue_status_name(QueueStatus status);
Str queue_start_name(QueueStart start);

// ---- Flights. Under lock.

struct flight *queue_find(const struct queue *q, uint64_t shard, uint64_t position);
// A new one, in no heap. There must be none of that record.
struct flight *queue_add(struct queue *q, uint64_t shard, uint64_t position);
void queue_remove(struct queue *q, struct flight *f); // frees it
// Puts it into the heap it belongs to, or moves it there, after `dead` or `visible_ms` has changed.
void queue_place(struct queue *q, struct flight *f);
// The one that has been visible longest and may be received, taken out of its heap; NULL: none.
// Receipts of it are void from then on, whether it is handed out or placed back.
struct flight *queue_take(struct queue *q, bool dead, int64_t now_ms);
// Exchanges flights and cursors with those of another queue object.
void queue_take_flights(struct queue *q, struct queue *other);

// ---- Rows

enum { FLIGHT_KEY_BYTES = 24, FLIGHT_ROW_BYTES = 32 };

// position 0: of the cursor.
void flight_key(uint8_t ret[FLIGHT_KEY_BYTES], uint64_t queue, uint64_t shard, uint64_t position);
void flight_row(uint8_t ret[FLIGHT_ROW_BYTES], const struct flight *f);
void cursor_row(uint8_t ret[FLIGHT_ROW_BYTES], uint64_t next);
// One row of the queue into memory, by its key without the queue's number; not yet placed.
// ERR_CORRUPT, ERR_FORMAT: not a row of ours.
Err flight_row_read(struct queue *q, Str rest, Str row);

// How far the queue's rows say that the shard was handed out; 0: from its beginning.
Err queue_cursor_row(struct kv_table *flights, struct arena *a, const struct queue *q,
                     uint64_t shard, uint64_t *ret_next);

Str queue_row_key(struct arena *a, const struct queue *q);
void queue_row_write(struct buf *b, const struct queue *q, Str stream_name);
Err queue_row_read(struct arena *tmp, Str key, Str row, Str *ret_stream_name, struct queue **ret);
