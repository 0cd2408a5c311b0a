// SPDX-License-Identifier: Apache-2.0
// A consumer that was registered for a stream: it is pushed what the stream's shards store, apart
// from all other readers (enhanced fan-out). All are in memory, with their stream; each is a row.
//
//     table kinesis.consumers    key = account / region / stream / consumer    value = JSON
//
// Rows come before what is in memory, and go in the transaction in which their stream's row goes.
// A status is told by the clock: what takes time has a moment at which it is over, so that nothing
// has to be carried on after a crash.
//
// The clock's moments and the tags are read and written under the lock of `struct kinesis`; the
// subscriptions have a lock of their own (subscribe.c).
#pragma once
#include "base/buf.h"
#include "svc/kinesis/meters.h"
#include "svc/kinesis/tag_set.h"

#include <pthread.h>

typedef enum ConsumerStatus {
    CONSUMER_CREATING,
    CONSUMER_ACTIVE,
    CONSUMER_DELETING,
    CONSUMER_GONE, // to be forgotten; no client sees it
} ConsumerStatus;

struct consumer_shard; // what a consumer does with one shard: subscribe.c
struct stream;

struct consumer {
    unsigned refs; // atomic
    Str name, arn;
    int64_t created_s; // Unix time, the last part of its ARN
    int64_t active_ms; // ACTIVE from then on
    int64_t gone_ms;   // gone from then on, DELETING until then; 0: it is not being deleted
    TagSet tags;
    struct consumer_meters meters;
    pthread_mutex_t lock; // of what follows; a leaf
    bool is_cancelled;    // deregistered: it is pushed nothing any more
    struct consumer_shard *shards;
    size_t shard_count;
};

struct consumer *consumer_new(const struct stream *s, Str name, int64_t created_s);
struct consumer *consumer_ref(struct consumer *x);
void consumer_unref(struct consumer *x); // NULL is fine
static inline void consumer_close(struct consumer *x)
{
    consumer_unref(x);
}
AUTO_CLOSE(consumer)

ConsumerStatus consumer_status(const struct consumer *x, int64_t now_ms);
Str consumer_status_name(ConsumerStatus status);

// The stream's ARN and the consumer's name in "STREAM-ARN/consumer/NAME:CREATED"; false: it has not
// that form.
bool consumer_arn_split(Str arn, Str *ret_stream_arn, Str *ret_name, int64_t *ret_created_s);

// The row: kv key and value, and back. ERR_CORRUPT, ERR_FORMAT: not a row of ours.
Str consumer_row_key(struct arena *a, const struct stream *s, Str name);
void consumer_row_write(struct buf *b, const struct consumer *x);
Err consumer_row_read(struct arena *tmp, const struct stream *s, Str name, Str row,
                      struct consumer **ret);

// The consumer of a stream by its name, whatever its status; NULL: there is none. `ret_at` is its
// place, or where it belongs.
struct consumer *consumer_find(const struct stream *s, Str name, size_t *ret_at);
// Puts one among those of the stream, in place of one of the same name; or takes one away.
void consumer_insert(struct stream *s, struct consumer *take_x);
void consumer_remove(struct stream *s, const struct consumer *x);
// Those that a client sees.
size_t consumer_count(const struct stream *s, int64_t now_ms);
