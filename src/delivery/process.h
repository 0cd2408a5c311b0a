// SPDX-License-Identifier: Apache-2.0
// What happens to records between source and destination, in this order: decompression, messages of
// CloudWatch Logs, aggregates of the Kinesis Producer Library, de-aggregation, Lambda, partition
// keys, delimiters (Firehose developer guide, "Data transformation", "Dynamic partitioning").
#pragma once
#include "delivery/batch.h"

struct processing;

// Compiles the steps of a config (queries, delimiters). ERR_INVALID: the text says why a front door
// refuses it.
Err processing_open(struct delivery_env *env, const DeliveryConfig *config, struct processing **ret,
                    struct arena *a, Str *ret_text);
void processing_close(struct processing *p); // NULL is fine
AUTO_CLOSE(processing)

// Replaces the batch's records by what comes of them; those that cannot be processed move to its
// failed ones. Blocks as long as functions run (minutes). An error: the whole batch is to be tried
// again later (ERR_MEMORY; ERR_CLOSED: the server stops). One thread at a time.
Err processing_run(struct processing *p, DeliveryBatch *b);
