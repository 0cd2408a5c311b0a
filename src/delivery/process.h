// SPDX-License-Identifier: Apache-2.0
// What happens to records between source and destination, in this order, whatever that of the
// config is: aggregates of the Kinesis Producer Library (of streams), decompression, messages of
// CloudWatch Logs, de-aggregation, whether it is JSON, Lambda, partition keys, delimiters (Firehose
// developer guide, "Data transformation", "Dynamic partitioning").
#pragma once
#include "delivery/batch.h"

struct processing;

// Takes the steps of a config, which must outlive it. ERR_INVALID: the text says why
// a front door refuses it.
Err processing_open(struct delivery_env *env, const DeliveryConfig *config, struct processing **ret,
                    Str *ret_text);
void processing_close(struct processing *p); // NULL is fine
AUTO_CLOSE(processing)

// Compiles a query, for a front door that has not seen it before; else it is compiled when it is
// needed. Blocks: it is done by a process of its own (delivery/jq_query.h). ERR_INVALID as above.
Err processing_check(struct processing *p, struct arena *a, Str *ret_text);
// How many keys a query gives that is an object of them, "{a: .b, c: .d}"; SIZE_MAX: it is another
// one, or cannot say without a record. After processing_check.
Err processing_query_keys(struct processing *p, struct arena *a, size_t *ret_n);
struct delivery_meters;
void processing_count(struct processing *p, struct delivery_meters *m);
// Calls of a function: how many at once, and how large.
size_t processing_calls_at_once(const DeliveryConfig *config);
size_t processing_call_bytes(const DeliveryStep *step);

// Replaces the batch's records by what comes of them; those that cannot be processed move to its
// failed ones. Blocks as long as functions run (minutes). An error: the whole batch is to be tried
// again later (ERR_MEMORY; ERR_CLOSED: the server stops). One thread at a time.
Err processing_run(struct processing *p, DeliveryBatch *b);
