// SPDX-License-Identifier: Apache-2.0
// Threads that take turns: exactly one of the simulated program's threads runs at any time, and who
// goes on is chosen by a seeded generator. Time is virtual and passes only here.
//
// The linker sends pthread_create, pthread_mutex_lock, clock_gettime and their like of everything
// that is linked statically to this file (--wrap, see meson.build), so the engine runs unchanged.
// Each of those calls and each call of the simulated disk is a point at which another thread may go
// on. Between two points a thread is alone, so the simulator's own data needs no locks.
//
// What a seed determines: the order of threads, the time, every call of the io table and its
// result. What it does not: addresses. Nothing that is compared or hashed may depend on them.
#pragma once
#include "base/str.h"

enum { SCHED_TASKS_MAX = 256 };

// The calling thread becomes the first task. Until sched_end threads are simulated ones.
void sched_begin(uint64_t seed, int64_t wall_ns);
// All other tasks have been joined.
void sched_end(void);
bool sched_is_on(void);

uint64_t sched_next(uint64_t *state); // the next of a sequence of well mixed numbers
uint64_t sched_random(void);          // of the run's own sequence
uint64_t sched_below(uint64_t n);     // 0..n-1
bool sched_chance(uint64_t one_in);

// Another task may go on here.
void sched_point(void);
// While held, points are none: what happens is one step. Nothing in it may wait.
void sched_hold(bool is_held);
// Waits until somebody wakes what waits on this address or the time (0: none) has come, which is
// told by false.
bool sched_wait_on(const void *address, int64_t until_ns);
void sched_wake_all(const void *address);
void sched_sleep(int64_t ns);

int64_t sched_mono_ns(void);
int64_t sched_wall_ns(void);
void sched_advance(int64_t ns);      // both clocks, as if nothing had happened meanwhile
void sched_step_wall(int64_t by_ns); // as when an administrator sets it

// Everything that has happened, as one number. Events are folded in by the disk too.
uint64_t sched_trace(void);
void sched_note(uint64_t what);
unsigned sched_task(void); // number of the running task
uint64_t sched_steps(void);

// Called, and must not return, when no task can ever go on, or none ever rests.
void sched_on_stuck(void (*stuck)(const char *why));
