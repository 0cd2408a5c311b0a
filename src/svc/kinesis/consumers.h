// SPDX-License-Identifier: Apache-2.0
// Consumers as operations and the rest of the room see them. (Operations: consumers.c.)
#pragma once
#include "svc/kinesis/consumer.h"
#include "svc/kinesis/kinesis.h"

enum {
    CONSUMERS_MAX = 20,           // of a stream
    CONSUMERS_MAX_ADVANTAGE = 50, // on demand, with the account's commitment (On-demand Advantage)
    CONSUMERS_CREATING_MAX = 5,   // of an account in a region
};

// How a client names a consumer. Absent members were not given.
typedef struct ConsumerRef {
    Str arn, stream_arn, name;
} ConsumerRef;

// References to a consumer that is not gone and to its stream; ResourceNotFoundException, or
// InvalidArgumentException when it is not named or named twice differently.
Err consumers_find(struct call *c, ConsumerRef ref, struct stream **ret_stream,
                   struct consumer **ret);

// Whether the ARN of a resource is a consumer's.
bool consumers_is_arn(Str resource_arn);

// Edits a copy of a consumer's tags, commits its row, then makes the edit visible. `changing` is
// held. ResourceNotFoundException: it is gone by now.
Err consumers_change_tags(struct call *c, struct stream *s, struct consumer *x,
                          void (*edit)(TagSet *tags, const void *arg), const void *arg);

// All rows into memory, beside the streams, which are there. At start.
Err consumers_load(struct kinesis *k);

// Adds the removal of every consumer's row to the transaction that removes the stream's.
Err consumers_forget(struct kinesis *k, struct kv_txn *tx, const struct stream *s);

// LimitExceededException if the stream has as many consumers and queues as it may. `changing` is
// held. Blocks.
Err consumers_check_count(struct call *c, const struct stream *s);
