// SPDX-License-Identifier: Apache-2.0
// The points of one series in one hour, by minute, or in one minute, by second: a row in kv.
//
//     block   =  version (1)  points  CRC32C (4)
//     point   =  slot (1)  unit (1)  flags (1)  bins (2)  count sum min max (8 each)  bin...
//     bin     =  value (8)  count (8)
//
// Little-endian; numbers are IEEE 754 doubles. Points are in the order of slot and unit. A single
// value is its own bin, which is not written.
#pragma once
#include "base/buf.h"
#include "svc/cloudwatch/statset.h"

enum { BLOCK_SLOTS = 60 };

typedef struct BlockPoint {
    unsigned slot; // of BLOCK_SLOTS
    unsigned unit; // of unit_name()
    StatSet set;
} BlockPoint;

typedef struct Block {
    BlockPoint *at;
    size_t n, cap;
} Block;

// Adds to the point of that slot and unit, or makes it.
void block_add(struct arena *a, Block *b, unsigned slot, unsigned unit, const StatSet *set);

void block_write(struct buf *out, const Block *b);
Err block_read(struct arena *a, Str row, Block *ret); // ERR_CORRUPT, ERR_FORMAT

// Units by number, as they are kept; 0 is None. The number of an unknown one is UNITS.
enum { UNITS = 27 };
unsigned unit_of(Str name);
Str unit_name(unsigned unit);
