// SPDX-License-Identifier: Apache-2.0
// What operators ask beside AWS's API (hub/service.h): pages that read a stream as a whole.
//
//     stream/read    records of all shards in the order of their arrival (operate_read.c)
//     stream/lag     how far readers are behind (operate_lag.c)
//
// Nothing of it is taken from the limits of shards or told to CloudWatch: whoever looks on must not
// disturb, and is no consumer. So it is for the root key alone.
//
// The positions of all shards are places in one journal. So one position, the *cursor*, says how
// far a stream has been read, however many shards it has and whatever becomes of them.
#pragma once
#include "svc/kinesis/kinesis.h"

extern const struct operator_page kinesis_pages[];
enum { KINESIS_PAGES = 2 };

typedef struct OperatorShard {
    struct shard *shard; // kept by the stream's reference
    LogSpan span;
} OperatorShard;

// A stream at one moment.
typedef struct OperatorView {
    struct call call;      // in whose name records are read and streams found
    struct stream *stream; // a reference, for operator_view_done
    OperatorShard *shards; // those that are known, in the order of their indexes
    size_t shard_count;
    uint64_t end; // what lies below is visible, and all of it is of these shards
} OperatorView;

// The stream that the body names. ERR_INVALID and ERR_NOT_FOUND with a sentence in ret_problem.
Err operator_view(struct kinesis *k, const struct operator_call *c, OperatorView *ret,
                  Str *ret_problem);
void operator_view_done(OperatorView *v);

// The sentence of an AWS error as a page's problem: ERR_FAULT becomes ERR_INVALID or
// ERR_NOT_FOUND.
Err operator_problem(const struct call *call, Err e, Str *ret_problem);

// A number of the body, or `otherwise` if it is not there; ERR_INVALID outside of min..max.
Err operator_number(const struct operator_call *c, Str key, int64_t min, int64_t max,
                    int64_t otherwise, int64_t *ret, Str *ret_problem);
// The position that follows the record with this sequence number, or its own (`after` false).
Err operator_sequence(const struct operator_call *c, const OperatorView *v, Str text, bool after,
                      uint64_t *ret, Str *ret_problem);

Err operator_read(void *state, const struct operator_call *c, struct buf *ret, Str *ret_problem);
Err operator_lag(void *state, const struct operator_call *c, struct buf *ret, Str *ret_problem);
