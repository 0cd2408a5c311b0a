// SPDX-License-Identifier: Apache-2.0
// What is pushed to consumers (operation: SubscribeToShard, subscribe.c).
#pragma once
#include "svc/kinesis/consumer.h"

struct fanout;
struct service_env;

void fanout_open(const struct service_env *env, struct fanout **ret);
void fanout_close(struct fanout *f); // no call is running any more; NULL is fine

// The consumer is deregistered: its subscriptions end, and it gets no further ones.
void subscribe_cancel(struct consumer *x);
