// SPDX-License-Identifier: Apache-2.0
// What `stream put` and `firehose send` put: an argument, a file, or each line of standard input.
#pragma once
#include "cli/put_batch.h"

// All of it, until it is stored. The command has the arguments STREAM [DATA], a flag `file` and
// maybe a flag `key`. Tells a terminal how many records were stored.
ExitCode put_input(struct invocation *in);
