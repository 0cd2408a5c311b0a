// SPDX-License-Identifier: Apache-2.0
// The thread that does what the clock asks for: once a minute it takes what services have counted
// and evaluates the alarms, those of shorter periods every ten seconds; once an hour it removes
// what is over. It looks at the service's clock every second, so that a clock that is moved is
// followed.
#pragma once
#include "svc/cloudwatch/cloudwatch.h"

void ticker_open(struct cloudwatch *cw, struct ticker **ret);
void ticker_start(struct ticker *t); // its thread; without it, only rounds that are asked for
// Takes what services have counted for a last time. NULL is fine.
void ticker_close(struct ticker *t);

// One round at a time of the clock: what the thread does.
void ticker_round(struct ticker *t, int64_t now_ns);
