// SPDX-License-Identifier: Apache-2.0
// Asking the processor for a line of memory before it is used. To the compiler a function that does
// nothing else has no effect, and it leaves calls of it out: asm that is volatile stays.
#pragma once

static inline void prefetch(const void *p)
{
    __builtin_prefetch(p);
    __asm__ volatile("" : : "r"(p));
}

// What is going to be written is asked for alone, so that no other processor keeps it. The compiler
// knows PREFETCHW only for processors that it is told of; those that lack it pass over it.
static inline void prefetch_to_write(const void *p)
{
#ifdef __x86_64__
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
#else
    __builtin_prefetch(p, 1);
    __asm__ volatile("" : : "r"(p));
#endif
}
