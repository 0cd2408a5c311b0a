// SPDX-License-Identifier: Apache-2.0
// What happens to records between source and destination, in this order, whatever that of the
// config is: aggregates of the Kinesis Producer Library (of streams), decompression, messages of
// CloudWatch Logs, de-aggregation, whether it is JSON, Lambda, partition keys, delimiters (Firehose
// developer guide, "Data transformation", "Dynamic partitioning").
#pragma once
#include "delivery/batch.h"

struct processing;

// Compiles the steps of a config (queries, delimiters), which must outlive it. ERR_INVALID: the
// text, in the arena, says why a front door refuses it. Blocks: a query is compiled by a process of
// its own (delivery/jq_query.h).
Err processing_open(struct delivery_env *env, const DeliveryConfig *config, struct processing **ret,
                    struct arena *a, Str *ret_text);
void processing_close(struct processing *p); // NULL is fine
AUTO_CLOSE(processing)

// Replaces the batch's records by what comes of them; those that cannot be processed move to its
// failed ones. Blocks as long as functions run (minutes). An error: the whole batch is to be tried
// again later (ERR_MEMORY; ERR_CLOSED: the server stops). One thread at a time.
Err processing_run(struct processing *p, DeliveryBatch *b);
