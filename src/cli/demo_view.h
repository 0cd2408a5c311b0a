// SPDX-License-Identifier: Apache-2.0
// What the demo shows each second: redrawn in place on a terminal, else one line of words for
// scripts.
#pragma once
#include "base/buf.h"
#include "cli/demo_count.h"

typedef struct DemoMoment {
    int64_t elapsed_ns;
    DemoTotals totals;
    uint64_t shard_put[DEMO_SHARDS_MAX]; // records
    int64_t p50_ns, p99_ns;              // put to get
    uint64_t disk_bytes;
    uint64_t objects, rows; // in the lake
    Str newest;             // the last object's key; absent: none yet
} DemoMoment;

typedef struct DemoView {
    Str title; // "clicks, 3 shards on http://127.0.0.1:40123"
    size_t shard_count;
    size_t record_bytes; // with its key, as the limits count
    bool colour;
    unsigned columns;
    bool lake; // records become objects as well
} DemoView;

// One line: "t=1 in=2990 out=2700 throttled=0 p50_ms=104.1 p99_ms=212.0 disk_bytes=... shard0=99%".
void demo_view_plain(struct buf *b, const DemoView *v, const DemoMoment *before,
                     const DemoMoment *now);
// Several lines. The number of lines, so that the next one can be drawn over them.
unsigned demo_view_screen(struct buf *b, struct arena *tmp, const DemoView *v,
                          const DemoMoment *before, const DemoMoment *now);
