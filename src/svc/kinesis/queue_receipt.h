// SPDX-License-Identifier: Apache-2.0
// A receipt handle: a sealed token (token.h) that names one delivery of one record in one queue.
#pragma once
#include "svc/kinesis/kinesis.h"

typedef struct Receipt {
    uint64_t queue, shard, position;
    uint32_t delivery;
    bool dead; // by ReceiveDeadLetterQueueRecords
} Receipt;

Str receipt_seal(struct call *c, const Receipt *r, int64_t now_ms);
// ERR_INVALID: not one of ours, or of another account or region.
Err receipt_open(struct call *c, Str handle, Receipt *ret);

// The same in every delivery and every queue of the stream.
Str receipt_record_id(struct arena *a, const Receipt *r);
