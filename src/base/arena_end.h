// SPDX-License-Identifier: Apache-2.0
// What is to be done when memory of an arena is freed: for what is held as long as something in the
// arena points to it.
#pragma once
#include "base/arena.h"

// `fn` is called when `self`, which was allocated from the arena last, is freed with it: by
// arena_close, arena_reset or arena_rewind, before any of that memory is gone, the newest first.
void arena_at_end(struct arena *a, void (*fn)(void *self), void *self);
