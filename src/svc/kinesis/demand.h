// SPDX-License-Identifier: Apache-2.0
// Streams in on-demand mode: how many shards they get (developer guide, "On-demand mode").
//
//   - Capacity is twice the peak of the last 30 days: a shard for each MiB/s and each 1,000
//     records/s of it, at least 4, or what the warm throughput wants.
//   - A shard that took more than 500 KB/s over the last 15 minutes is split in the middle.
//   - When the peak has left the window, neighbours with little traffic are merged, slowly.
//
// A shard that is narrow already is not split for its heat: one key may be all there is to it.
// A stream that was made in or switched to this mode counts as one that has used half of what it
// had. Traffic is measured each minute; what was refused counts, too. Call all of it with
// `changing` held, except demand_note.
#pragma once
#include "svc/kinesis/stream.h"

enum {
    DEMAND_MINUTES = 15,
    DEMAND_MINUTE_MS = 60000,
    DEMAND_HOT_BYTES_PER_S = 500 * 1000,
    DEMAND_COLD_BYTES_PER_S = 100 * 1000, // both neighbours together
    DEMAND_CHANGES_MAX = 16,              // of one minute
    DEMAND_NARROW = 64,                   // of the average width: split no further
};

// The traffic of one shard. Made when the first record for it comes.
struct shard_demand {
    uint64_t bytes, records; // atomic: since the last measurement
    uint32_t bytes_per_s[DEMAND_MINUTES];
};

void demand_note(struct shard *sh, size_t bytes); // one record; needs the lock of the streams only

// Begins the history of a stream whose mode is new.
void demand_begin(struct stream *s, int64_t now_ms);

// So many shards are kept for the next 30 days.
void demand_keep(struct stream *s, int64_t now_ms, size_t shards);

// Takes down what came since the last measurement. True: the peak of the day has risen enough to be
// written into the row.
bool demand_measure(struct stream *s, int64_t now_ms);

// The next change that is wanted, if any.
bool demand_next(const struct stream *s, int64_t now_ms, StreamChange *ret);

uint32_t demand_shards(const struct stream *s, int64_t now_ms); // wanted, by the peak
