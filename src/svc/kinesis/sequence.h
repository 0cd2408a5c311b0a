// SPDX-License-Identifier: Apache-2.0
// Sequence numbers: decimal strings of 186 bits, in the shape that AWS's clients take apart.
//
//     bits 0..3     version, 2                 bits 80..143   sequence index
//     bits 4..35    shard index                bits 144..147  low four bits of the shard index
//     bits 36..71   record time, seconds       bits 148..183  creation of the shard, seconds
//     bits 72..79   zero                       bits 184..185  2
//
// The sequence index is the record's position in the log (store/log.h), so no counter is kept
// anywhere and a number leads straight to its record. Index 0 is the shard's start, the largest
// index a closed shard's end.
#pragma once
#include "base/str.h"

#define SEQUENCE_INDEX_START UINT64_C(0)
#define SEQUENCE_INDEX_END UINT64_C(0x7fffffffffffffff)
enum { SEQUENCE_CHARS_MAX = 57 };

typedef struct Sequence {
    int64_t created_s; // of the shard
    int64_t time_s;    // of the record, never before created_s
    uint64_t index;
    uint32_t shard;
} Sequence;

// Writes the digits, without a terminator; returns how many.
size_t sequence_format(char out[SEQUENCE_CHARS_MAX], Sequence s);
Str sequence_str(struct arena *a, Sequence s);

// ERR_INVALID: not a number of this shape.
Err sequence_parse(Str text, Sequence *ret);
