// SPDX-License-Identifier: Apache-2.0
// Appends of a turn of a loop are committed together, by the loop's thread, before it sleeps:
// nobody is woken for them, and the answers go out in the turn after it. If more clients are known
// to put at the same time a commit waits for them, for as long as commits take at the most.
#pragma once
#include "os/loop.h"

struct commits;
struct log;
struct log_append;

// One place for each of the loops, which outlive it.
void commits_open(struct log *log, struct loop *const *loops, size_t n, struct commits **ret);
void commits_close(struct commits *c); // when the loops have ended; NULL is fine

// Whether the append, that is made now on this loop, may be `held`: then log_commit follows by
// itself. False on other threads, and for large ones.
bool commits_soon(struct commits *c, struct loop *l, const struct log_append *a);

// For `done` of an append: runs the task on its loop, soon, and not within `done`.
void commits_then(struct commits *c, struct loop *l, struct task *t);
