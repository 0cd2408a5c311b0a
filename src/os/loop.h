// SPDX-License-Identifier: Apache-2.0
// Reactors and workers. A loop is one thread's epoll: descriptors, timers and tasks posted from
// other threads. A pool is a bounded set of threads, of lower priority, for work that blocks.
//
// Everything of a loop runs on its own thread, except loop_post and loop_stop.
#pragma once
#include "base/err.h"

struct loop;
struct pool;
struct io; // os/io.h

// Embedded in what it works for. One task is in one queue at a time.
struct task {
    void (*run)(struct task *t);
    struct task *next; // the queue's
};

// Embedded in its owner; zeroed means idle.
struct timer {
    void (*fire)(struct timer *t);
    int64_t due_ns; // monotonic
    size_t heap_at; // the loop's: place in the heap plus one, 0 when idle
};

// Embedded in the owner of a descriptor. An error or a hang-up is reported as both events, whatever
// was asked for; reading or writing then says what it is.
struct watch {
    void (*ready)(struct watch *w, unsigned events); // LOOP_READ | LOOP_WRITE
    int fd;
    unsigned events; // what is asked for now
};
enum { LOOP_READ = 1, LOOP_WRITE = 2 };

Err loop_open(struct loop **ret); // with the time of io_real()
Err loop_open_with(struct io *io,
                   struct loop **ret); // only its mono_ns is used; it outlives the loop
void loop_close(struct loop *l);       // NULL is fine; nothing may be left on it but idle timers
AUTO_CLOSE(loop)

void loop_run(struct loop *l); // on the calling thread, until loop_stop
// From any thread. Tasks posted before it still run, and those that they post; after loop_run has
// returned nobody may post any more, or the loop must be run again.
void loop_stop(struct loop *l);
void loop_post(struct loop *l, struct task *t); // from any thread; runs in the order of posting
bool loop_is_current(const struct loop *l);     // whether this is the loop's thread
int64_t loop_now_ns(const struct loop *l);      // monotonic, read once per turn
int64_t loop_read_ns(const struct loop *l);     // monotonic, read now
uint64_t loop_turns(const struct loop *l);      // turns begun so far

void loop_arm(struct loop *l, struct timer *t, int64_t due_ns); // also moves an armed timer
void loop_disarm(struct loop *l, struct timer *t);              // fine when idle

Err loop_watch(struct loop *l, struct watch *w, int fd, unsigned events);
void loop_rewatch(struct loop *l, struct watch *w, unsigned events);
void loop_unwatch(struct loop *l, struct watch *w); // before the descriptor is closed

// Threads for long work: they take what reactors leave.
Err pool_open(unsigned threads, size_t queue_max, const char *name, struct pool **ret);
// The same for work that somebody waits for: threads with the reactors' priority.
Err pool_open_prompt(unsigned threads, size_t queue_max, const char *name, struct pool **ret);
void pool_close(struct pool *p); // finishes what is queued; NULL is fine
AUTO_CLOSE(pool)
Err pool_submit(struct pool *p, struct task *t); // ERR_LIMIT when the queue is full
size_t pool_queued(struct pool *p);
