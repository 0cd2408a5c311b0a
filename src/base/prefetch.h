// SPDX-License-Identifier: Apache-2.0
// Asking the processor for a line of memory before it is used. To the compiler a function that does
// nothing else has no effect, and it leaves calls of it out: the empty asm is one that stays.
#pragma once

static inline void prefetch(const void *p)
{
    __builtin_prefetch(p);
    __asm__ volatile("" : : "r"(p));
}

// What is going to be written is asked for alone: no other processor keeps it.
static inline void prefetch_to_write(const void *p)
{
    __builtin_prefetch(p, 1);
    __asm__ volatile("" : : "r"(p));
}
