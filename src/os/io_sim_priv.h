// SPDX-License-Identifier: Apache-2.0
// What the simulated disks share: seeded choices, and a queue of durable writes that carries each
// write out when somebody waits for it, in an order chosen by the seed.
#pragma once
#include "os/io.h"

// The next of a sequence of well mixed numbers (the SplitMix64 generator).
uint64_t sim_random(uint64_t *state);
// In 0..n-1; n > 0.
uint64_t sim_below(uint64_t *state, uint64_t n);

struct sim_queue;

// `write` carries a write out; it is called without the queue's lock held.
struct sim_queue *sim_queue_open(struct io *io, unsigned depth, uint64_t seed);
void sim_queue_close(struct sim_queue *q);
// `late`: the power is off already, so nothing of it may reach the disk any more.
Err sim_queue_submit(struct sim_queue *q, struct io_write *w, bool late);
Err sim_queue_wait(struct sim_queue *q, struct io_write **ret);
// Calls `see` for every write that is under way, not begun and not late.
void sim_queue_each(struct sim_queue *q, void (*see)(void *user, struct io_write *w), void *user);

enum { SIM_QUEUE_DEPTH_MAX = 256 };
