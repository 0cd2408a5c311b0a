// SPDX-License-Identifier: Apache-2.0
// Reading without copying.
#pragma once
#include "store/log.h"

// log_read, but records that are in memory stay where they are: they are held, and counted against
// the memory of requests, until the arena is freed or the log is closed.
Err log_read_lent(struct log *l, struct arena *a, const LogRead *read, LogBatch *ret);
