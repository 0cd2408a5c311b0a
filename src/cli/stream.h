// SPDX-License-Identifier: Apache-2.0
// What several commands need to know of a stream.
#pragma once
#include "cli/remote.h"

typedef struct ShardInfo {
    Str id;
    Str first_hash, last_hash; // decimal
    Str first_sequence;
    Str last_sequence; // absent while the shard is open
    Str parent;        // absent if it has none
} ShardInfo;

// Polls until the stream is ACTIVE. EXIT_TIMEOUT after STREAM_WAIT_S.
enum { STREAM_WAIT_S = 60, STREAM_SHARDS_MAX = 20000 };
ExitCode stream_wait_active(const struct invocation *in, struct client *c, Str stream);

// All shards, closed ones too, in the order of their ids.
ExitCode stream_shards(const struct invocation *in, struct client *c, Str stream, ShardInfo **ret,
                       size_t *ret_n);
