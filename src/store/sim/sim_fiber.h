// SPDX-License-Identifier: Apache-2.0
// Threads that are none: each has a stack of its own, and one hands over to another without the
// kernel, which is ten times as fast. They share the calling thread; their thread-local variables
// of this program are kept apart, those of libraries are not.
#pragma once
#include "base/arena.h"

struct fiber;

// The caller's own stack, as a fiber.
struct fiber *fiber_self(void);
// Begins when it is first switched to. `run` must not return: it ends in fiber_leave.
struct fiber *fiber_open(void (*run)(void *arg), void *arg);
// Not the one that runs. NULL is fine.
void fiber_close(struct fiber *f);

// Returns when somebody switches back.
void fiber_switch(struct fiber *from, struct fiber *to);
// The same for one that will never run again.
_Noreturn void fiber_leave(struct fiber *from, struct fiber *to);
