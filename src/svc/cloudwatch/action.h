// SPDX-License-Identifier: Apache-2.0
// What alarms want done when their state changes, and is done by a function. It is written down
// with the change itself, in its transaction, and goes when it has been done, so that no kill loses
// it: a function is called at least once.
//
//     table cloudwatch.actions   key    when it is to be tried, ms, big-endian (8)  id (8)
//                                value  JSON {version, account, region, alarm, type, action: an
//                                       ARN, payload, changed_ms, tries, failures}
//
// Actions of services that are not here are accepted and never done; the history says so.
#pragma once
#include "svc/cloudwatch/alarm.h"

enum {
    ACTION_KEY_BYTES = 16,
    ACTION_FAILURES_MAX = 3, // calls that the function itself fails: as Lambda's asynchronous ones
};
#define ACTION_KEPT_MS (INT64_C(6) * 3600 * 1000) // as long as Lambda keeps an asynchronous event

typedef struct Action {
    Realm realm;
    Str alarm, type, action, payload; // type: of the alarm
    int64_t changed_ms;               // when its state did
    int64_t tries, failures;          // that were in vain
} Action;

// Whether an action is a function: arn:aws:lambda:region:account:function:name[:qualifier].
bool action_is_function(Str arn);

// Of an alarm that goes from one state into another: all that it wants done, in the transaction of
// the change. The caller has looked whether actions are enabled and not suppressed.
Err alarm_queue_actions(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                        const Alarm *alarm, const Alarm *before);
Err composite_queue_actions(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                            const Composite *alarm, const Composite *before, int64_t now_ns);

// What a function is told: the event that Lambda's functions get of CloudWatch.
Str alarm_event(struct arena *a, Realm r, const Alarm *alarm, const Alarm *before);
// `now_ns`: of the action, which may come after the state.
Str composite_event(struct arena *a, Realm r, const Composite *alarm, const Composite *before,
                    int64_t now_ns);

// ---- Rows. Texts lie in the arena.
Err action_read(struct arena *a, Str row, Action *ret);
// Puts it where it is tried at that time.
Err action_put(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, const Action *action,
               int64_t due_ms);
// How it ended, into the history of its alarm. Absent error: it was done.
Err action_note(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, const Action *action,
                Str error, int64_t now_ns);
