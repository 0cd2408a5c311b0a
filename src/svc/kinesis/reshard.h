// SPDX-License-Identifier: Apache-2.0
// What a split, a merge or a scaling makes of the shards of a stream, in memory.
//
// Scaling is made of splits and merges, as AWS does it: first every boundary of the wanted shards
// becomes one (splits), then what lies between two of them becomes one shard (merges). Shards that
// are split and merged on the way are short-lived: they close in the moment in which they open.
//
// A change is applied to a copy of the stream. Then the shards that it closes are ended in the log,
// new ones get their incarnations, and reshard_settle writes down both.
#pragma once
#include "svc/kinesis/stream.h"

// Closes shards and adds new ones, which have no incarnation yet; `open` is right, ends are not.
// ERR_INVALID: the shards are not what the change speaks of.
Err reshard_apply(struct stream *s, const StreamChange *c);

// How many shards a change to `target` evenly divided ones would add, short-lived ones included.
size_t reshard_scale_adds(const struct stream *s, uint32_t target);

// What reshard_apply has closed of the first `before` shards, compared with the stream as it was:
// places in the list. Returns how many.
size_t reshard_parents(const struct stream *now, const struct stream *then, size_t *ret_places);

// The ends of those that closed, by their places, and what is new from place `before` on: ids gives
// incarnations. A new shard is a second younger than its parents and than their ends, so that its
// sequence numbers are greater than all of theirs.
void reshard_settle(struct stream *s, size_t before, const size_t *parents, size_t n,
                    const LogPlace *ends, const uint64_t *ids);
