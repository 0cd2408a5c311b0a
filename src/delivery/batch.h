// SPDX-License-Identifier: Apache-2.0
// Records on their way through a delivery: read from the source, changed by processors, handed to
// the destination. One batch belongs to one thread at a time.
#pragma once
#include "delivery/config.h"

struct delivery_env;

// Where a record that cannot be delivered goes, and what is written of it there
// ("error-output-type", error records).
typedef struct DeliveryFault {
    const char *type;  // "processing-failed", "format-conversion-failed", ...; NULL: none
    Str code, message; // "Lambda.MissingRecordId"
    int64_t attempts;
    int64_t ended_ms;       // the last attempt
    Str document_id, index; // of a search engine; absent else
} DeliveryFault;

typedef struct DeliveryRecord {
    Str data;
    Str raw; // as the source had it: what error records and backups show
    int64_t arrival_ms;
    uint64_t position; // in its shard
    uint32_t shard;    // index into the batch's shards
    uint32_t sub;      // number among those that came of one source record
    Str key;           // partition key of a stream's record; absent: there is none
    const DeliveryPair *query_keys, *lambda_keys; // for the prefix
    uint32_t query_key_count, lambda_key_count;
    DeliveryFault fault; // fault.type set: it goes to the error prefix
} DeliveryRecord;

typedef struct DeliveryBatch {
    struct arena *arena; // of records and their data
    DeliveryRecord *at;
    size_t n, cap;
    size_t bytes;           // of data
    const Str *shard_ids;   // of a stream; by DeliveryRecord.shard
    const uint64_t *shards; // incarnations
    size_t shard_count;
    DeliveryRecord *failed; // taken out on the way, with their faults
    size_t failed_n, failed_cap;
} DeliveryBatch;

void batch_add(DeliveryBatch *b, const DeliveryRecord *r);
// The same for all of them; an array in the batch's arena is used as it is if it is the first.
void batch_take(DeliveryBatch *b, DeliveryRecord *take_at, size_t n);
// Moves a record into the failed ones; message and code are borrowed.
void batch_fail(DeliveryBatch *b, const DeliveryRecord *r, const char *type, Str code, Str message,
                int64_t attempts, int64_t now_ms);
