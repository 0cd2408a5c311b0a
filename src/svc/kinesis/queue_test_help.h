// SPDX-License-Identifier: Apache-2.0
// The service on the real store, on a disk in memory whose clock stands still until it is moved,
// and the calls of queues as functions.
#pragma once
#include "base/test.h"
#include "os/io_fault.h"
#include "os/io_mem.h"
#include "svc/kinesis/queues.h"

#include <semaphore.h>

struct queue_world {
    struct io_mem *disk;
    struct io_fault *faults; // between the store and the disk
    struct kv *kv;
    struct log *log;
    struct loop *loop;
    struct pool *pool; // NULL: reads block where they are
    struct service_env env;
    struct kinesis *kinesis;
};

// With a stream "s" in on-demand mode. `cache_bytes` of recent records; 0: all of them.
void queue_world_open(struct queue_world *w, size_t cache_bytes, unsigned pool_threads);
// Everything as a crash at this moment leaves it: what is not durable is lost.
void queue_world_crash(struct queue_world *w);
void queue_world_close(struct queue_world *w);
void queue_world_advance(struct queue_world *w, int64_t ms);
int64_t queue_world_now_ms(struct queue_world *w);

// A call, made and waited for. Not for several threads with the same struct.
struct queue_call {
    struct call call; // first: `done` gets it
    struct queue_world *w;
    sem_t over;
    Err result;
    atomic_bool gone;
};
struct queue_call *queue_call_new(struct queue_world *w, struct arena *r);
Err queue_call_end(struct queue_call *o, Err e); // what the operation has returned, or will answer

// Puts n records with data of so many bytes, each beginning with its number, counted by *count.
void queue_world_put(struct queue_world *w, size_t n, size_t bytes, uint64_t *count);

// What CreateQueue is told; absent and 0: not given.
typedef struct QueueWish {
    Str name, start;
    int32_t visibility_s, receives_max; // receives_max -1: NONE
} QueueWish;
Str queue_world_create(struct queue_world *w, struct arena *a, QueueWish wish);
Err queue_world_delete(struct queue_world *w, Str arn);

// visibility_s -1: the queue's. It waits for no record to come.
Err queue_world_receive(struct queue_world *w, struct arena *a, Str arn, bool dead, int32_t limit,
                        int32_t visibility_s, kinesis_QueueRecordList *ret);
// One entry of a batch: the error's name, absent if it succeeded.
Str queue_world_ack(struct queue_world *w, struct arena *a, Str arn, bool dead, Str handle);
Str queue_world_hide(struct queue_world *w, struct arena *a, Str arn, bool dead, Str handle,
                     int32_t visibility_s);
Str queue_world_restore(struct queue_world *w, struct arena *a, Str arn, Str handle);
