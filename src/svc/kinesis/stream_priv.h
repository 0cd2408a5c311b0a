// SPDX-License-Identifier: Apache-2.0
// What stream.c and stream_row.c share.
#pragma once
#include "svc/kinesis/stream.h"

Str stream_own(Str s);                            // a copy on the heap
struct shard *stream_add_shard(struct stream *s); // with the next index
void stream_sort_open(struct stream *s);          // after shards were added or closed
