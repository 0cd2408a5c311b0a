// SPDX-License-Identifier: Apache-2.0
// How often operations may be called that do not move records: so many times a second for an
// account in a region, as the API reference says for each (5 for most), a second's worth at once.
// ListShards is counted by stream.
#pragma once
#include "aws/call.h"
#include "base/map.h"

#include <pthread.h>

struct kinesis;
struct stream;

enum {
    RATE_OPS_MAX = 96,
    RATE_REALMS_MAX = 4096, // accounts and regions that are told apart; then all begin anew
    RATE_LIST_SHARDS_PER_S = 1000,
};

struct rates {
    const struct api_op *ops;    // of the service: c->op lies among them
    uint8_t per_s[RATE_OPS_MAX]; // 0: no such limit
    pthread_mutex_t lock;        // a leaf
    struct map *realms;          // account/region -> its buckets, a row of int64_t by operation
};

void rates_init(struct rates *r);
void rates_done(struct rates *r);

// Whether there is a limit at all: there is none for what shards limit, which must stay quick.
static inline bool rates_apply(const struct rates *r, const struct call *c)
{
    return c->op != NULL && r->per_s[c->op - r->ops] != 0;
}

// LimitExceededException: the call's operation was called too often. The name is for the text;
// absent: it has no stream. Calls without an operation (tests) pass.
Err kinesis_admit(struct call *c, Str stream_name);
Err kinesis_admit_listing(struct call *c, struct stream *s);
