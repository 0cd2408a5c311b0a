// SPDX-License-Identifier: Apache-2.0
// What is pushed to consumers (operation: SubscribeToShard, subscribe.c).
#pragma once
#include "svc/kinesis/consumer.h"

struct fanout;
struct service_env;

void fanout_open(const struct service_env *env, struct fanout **ret);
void fanout_close(struct fanout *f); // no call is running any more; NULL is fine

// Where a consumer stands in a shard: what lies at or above `position` was not sent to it.
typedef struct SubscribedPlace {
    uint32_t shard; // its index
    bool is_active; // a subscription is open
    bool has_begun; // or was: there is a position
    uint64_t position;
} SubscribedPlace;
// Of all its shards since the server started, in the arena. From any thread.
SubscribedPlace *subscribe_places(struct consumer *x, struct arena *a, size_t *ret_n);

// The consumer is deregistered: its subscriptions end, and it gets no further ones.
void subscribe_cancel(struct consumer *x);
