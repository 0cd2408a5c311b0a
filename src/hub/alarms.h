// SPDX-License-Identifier: Apache-2.0
// What an alarm wants done when its state changes: an ARN, of an SNS topic for example, and a text.
// Whoever can do it registers itself; until somebody has, the change of state is history and
// nothing else.
#pragma once
#include "base/str.h"

typedef struct AlarmAction {
    Str account, region;
    Str action; // the ARN
    Str subject, message;
} AlarmAction;

struct alarm_target {
    // True: it is its own, and has been done or will be. Must not wait for long.
    bool (*act)(struct alarm_target *t, const AlarmAction *action);
    struct alarm_target *next; // the next one that is asked
};
