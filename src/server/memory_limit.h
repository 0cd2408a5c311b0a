// SPDX-License-Identifier: Apache-2.0
// How much memory this process may have: the machine's, what its control group (version 2 or 1) and
// every group above it allow, and its own limits (RLIMIT_AS, RLIMIT_DATA), whichever is least.
#pragma once
#include "base/str.h"

struct io;

uint64_t memory_limit(struct io *io); // bytes; never 0

// What the control groups in /proc/self/cgroup allow; UINT64_MAX: no limit, or it cannot be read.
uint64_t memory_limit_of_groups(struct io *io);
