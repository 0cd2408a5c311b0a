// SPDX-License-Identifier: Apache-2.0
// The seam between a function and its forms for different processors. A form is a constant whose
// first member is a `struct kernel`; a table lists all forms that were compiled, the best first.
// The first one that this processor supports is taken at the first use, and kept. The last one of a
// table is in plain C, always supported, complete by itself, and what the tests hold the others
// against.
#pragma once
#include "base/buf.h"

#include <stdatomic.h>

struct kernel {
    const char *name; // the instructions that it takes: "avx2", "neon", "scalar"
    bool (*supported)(void);
};

struct kernel_choice {
    const struct kernel *const *table;
    size_t count;
    _Atomic(const struct kernel *) chosen; // NULL before the first use; every thread finds the same
};

const struct kernel *kernel_choose(struct kernel_choice *c); // by the processor

static inline const struct kernel *kernel_get(struct kernel_choice *c)
{
    const struct kernel *k = atomic_load_explicit(&c->chosen, memory_order_relaxed);
    return k != NULL ? k : kernel_choose(c);
}

// For tests: this one, until it is called again; NULL: by the processor.
void kernel_use(struct kernel_choice *c, const struct kernel *k);

// What the processor has, and the system lets programs use.
bool processor_always(void);
#if defined(__x86_64__)
// F, BW, VL and VBMI: not those that have AVX-512 and pay for its use with a slower clock.
bool processor_has_avx512(void);
bool processor_has_avx2(void);
bool processor_has_sse41(void);
bool processor_has_pclmul(void);
bool processor_has_vpclmul(void); // and AVX2
bool processor_has_sha_ni(void);
#elif defined(__aarch64__)
bool processor_has_sha2(void);
bool processor_has_pmull(void);
#endif
