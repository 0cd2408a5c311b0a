// SPDX-License-Identifier: Apache-2.0
// What several commands need to know of a stream.
#pragma once
#include "cli/remote.h"
#include "cli/where.h"

typedef struct ShardInfo {
    Str id;
    Str first_hash, last_hash; // decimal
    Str first_sequence;
    Str last_sequence; // absent while the shard is open
    Str parent;        // absent if it has none
} ShardInfo;

// The condition of --where, NULL without one. EXIT_USAGE with a message that shows where it is
// wrong.
ExitCode where_of_flag(const struct invocation *in, const struct where **ret);
uint32_t where_shard(Str shard_id); // "shardId-000000000002" is shard 2 to people
#define WHERE_HELP                                                                                \
    "A condition is written as in SQL, over fields of data that is JSON, and over @key, @shard, " \
    "@size,\n@arrival and @data: user.id in (1, 2) and not (page like '/a%' or items[0].sku is "  \
    "null), @size\nbetween 100 and 200, @arrival >= '2026-01-31T12:00:00Z'. What a record does "  \
    "not have meets no test;\n`not` turns that round. Names with other characters stand in "      \
    "`backticks`, texts in ' or \"."

// Polls until the stream is ACTIVE. EXIT_TIMEOUT after STREAM_WAIT_S.
enum { STREAM_WAIT_S = 60, STREAM_SHARDS_MAX = 20000 };
ExitCode stream_wait_active(const struct invocation *in, struct client *c, Str stream);

// All shards, closed ones too, in the order of their ids.
ExitCode stream_shards(const struct invocation *in, struct client *c, Str stream, ShardInfo **ret,
                       size_t *ret_n);
