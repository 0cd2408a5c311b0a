// SPDX-License-Identifier: Apache-2.0
// The books of the demo: what was acknowledged and what came back, record by record.
//
// A record is known by its producer and number. Of each the books hold whether it was acknowledged
// (and where), and how often it was read (and where). Blocks of records that were acknowledged and
// read are closed and their memory is freed; whatever of them comes again is a duplicate.
//
//     lost          acknowledged, never read
//     duplicated    read again: every reading after the first
//     out of order  read from a shard after a record with a greater or equal sequence number that
//                   is not the same record, or read from another place than was acknowledged
//
// Safe from any thread.
#pragma once
#include "base/str.h"

enum { DEMO_PRODUCERS_MAX = 32, DEMO_SHARDS_MAX = 64, SEQUENCE_BYTES_MAX = 64 };

struct demo_count;

typedef struct DemoTotals {
    uint64_t put, got, lost, duplicated, out_of_order, throttled;
} DemoTotals;

struct demo_count *demo_count_open(void);
void demo_count_close(struct demo_count *c); // NULL is fine
AUTO_CLOSE(demo_count)

// The server acknowledged record `number` of a producer. Numbers begin at 0 and have no gaps, but
// may be acknowledged in any order.
void demo_count_ack(struct demo_count *c, unsigned producer, uint64_t number, unsigned shard,
                    Str sequence);
// A consumer of the shard read it.
void demo_count_got(struct demo_count *c, unsigned producer, uint64_t number, unsigned shard,
                    Str sequence);
void demo_count_throttled(struct demo_count *c, uint64_t records);

// Lost is everything acknowledged that has not been read yet: final when consumers have ended.
DemoTotals demo_count_totals(struct demo_count *c);
uint64_t demo_count_shard_put(struct demo_count *c, unsigned shard); // acknowledged in this shard
