// SPDX-License-Identifier: Apache-2.0
// When requests are sent, for all clients of a generator.
//
// Closed: as soon as the one before is answered. Open: at the times of many clients that know
// nothing of each other (a Poisson process), whether answers come or not; a client that is late has
// a turn that was due before now. A latency counts from the time at which a request was due: what
// had to wait for a slow answer is slow itself, so that nothing is left out of the figures.
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum mode { MODE_PAUSED, MODE_CLOSED, MODE_OPEN };

struct schedule {
    pthread_mutex_t lock; // of all
    pthread_cond_t changed;
    enum mode mode;
    double rate;        // requests a second, when open
    uint64_t next_us;   // when the next is due
    uint64_t end_us;    // turns that are due later are not given; 0: there is no end
    uint64_t turns_max; // no more are given; 0: no bound
    uint64_t turns;
    uint64_t seed;
    unsigned busy; // turns that were given and have not ended
    bool quitting;
};

#define SCHEDULE_INIT                                                          \
    {                                                                          \
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER \
    }

void schedule_set(struct schedule *s, enum mode mode, double rate);
// Waits for a turn, and until it is due. Returns the time at which its request should be sent; 0:
// the end. schedule_end follows each that is not 0.
uint64_t schedule_take(struct schedule *s);
void schedule_end(struct schedule *s);
bool schedule_is_paused(struct schedule *s); // or over
bool schedule_is_quiet(struct schedule *s);  // paused, and no turn is under way
bool schedule_is_quitting(struct schedule *s);
uint64_t schedule_backlog_us(struct schedule *s); // how late the next turn is

// The next of a sequence of numbers that look random; any seed is good.
uint64_t random_next(uint64_t *seed);
