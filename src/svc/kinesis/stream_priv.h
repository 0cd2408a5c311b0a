// SPDX-License-Identifier: Apache-2.0
// What stream.c and stream_row.c share.
#pragma once
#include "svc/kinesis/stream.h"

Str stream_own(Str s);                            // a copy on the heap
struct shard_use *shard_use_of(struct shard *sh); // made if it is not there
// n shards with the next indexes, one behind the other. `open` is sorted again by stream_sort_open.
struct shard *stream_add_shards(struct stream *s, size_t n);
void stream_sort_open(struct stream *s); // after shards were added or closed
