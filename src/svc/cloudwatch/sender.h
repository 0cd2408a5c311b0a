// SPDX-License-Identifier: Apache-2.0
// The threads that call the functions of alarms (action.h). What cannot be reached is tried again,
// at first after a second, later every five minutes, for six hours; what the function itself fails,
// twice more, after one and two minutes. How it ended is history of the alarm.
#pragma once
#include "svc/cloudwatch/cloudwatch.h"

void sender_open(struct cloudwatch *cw, struct sender **ret);
void sender_start(struct sender *s);
void sender_wake(struct sender *s); // there may be something to do; NULL is fine
void sender_stop(struct sender *s); // calls under way are waited for; NULL is fine
void sender_close(struct sender *s);

// Does one action that is due: what a thread does, for tests. False: none is.
bool sender_do_one(struct sender *s, int64_t now_ns);
