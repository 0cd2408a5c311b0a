// SPDX-License-Identifier: Apache-2.0
// For the tests of kernels: a check with every form that this processor has, and memory whose end
// the processor itself watches, so that a vector that reaches too far is found without a sanitizer.
#pragma once
#include "base/test.h"
#include "codec/kernel.h"

// The name of the test says which forms ran.
void with_each_kernel(struct kernel_choice *c, struct arena *a, void (*check)(struct arena *a));

// n bytes of noise, the same in every run with the same seed. Behind the last one there is no
// memory. Given back by guarded_free.
char *guarded_noise(size_t n, uint64_t seed);
void guarded_free(char *p, size_t n);

uint64_t noise_next(uint64_t *state); // a sequence that is the same in every run; *state is not 0
