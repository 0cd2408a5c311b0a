// SPDX-License-Identifier: Apache-2.0
// Composite alarms: alarms on the states of other alarms, whose rows are alarm.h's.
//
// One is looked at when an alarm of its rule has changed its state, or it was put, since its own
// state was set: so a state that a client has set stays until then, as in AWS. A suppressor,
// another alarm, keeps its actions back:
//
//     Alarm            while the suppressor is in ALARM
//     WaitPeriod       a while after this one went into ALARM, in which the suppressor may follow
//     ExtensionPeriod  a while after the suppressor went out of ALARM
//
// When that is over, the actions of ALARM are done if it still is in ALARM. Since when a period
// runs is told by the alarms' own changes of state, so nothing else is kept.
#pragma once
#include "svc/cloudwatch/alarm.h"
#include "svc/cloudwatch/alarm_rule.h"

enum {
    COMPOSITE_PARENTS_MAX = 150, // that watch one alarm (CloudWatch quotas)
    COMPOSITE_PASSES_MAX = 8,    // of one round, for those that watch each other
};

// The alarm's name that a rule or suppressor means: as it stands, or of an ARN of the realm's.
// Absent: the ARN is of none of them.
Str composite_name_of(struct arena *a, Realm r, Str reference);

// Of each of these alarms, how many composite alarms of the realm have it in their rule or as their
// suppressor, not counting the one named `except`.
Err composite_parents(struct cloudwatch *cw, struct kv_txn *tx, struct arena *tmp, Realm r,
                      const Str *names, size_t n, Str except, size_t *ret_counts);

// One page of what DescribeAlarms tells of ChildrenOfAlarmName and ParentsOfAlarmName, after a
// name: name, ARN and, of children, the state and when it was set. `out` has lists of `max` places.
Err composite_tell_children(struct call *c, struct kv_txn *tx, Str name, Str after, size_t max,
                            struct cloudwatch_DescribeAlarms_out *out);
Err composite_tell_parents(struct call *c, struct kv_txn *tx, Str name, Str after, size_t max,
                           struct cloudwatch_DescribeAlarms_out *out);

// Looks at all of them, until nothing changes any more. `ret_any`: whether there are any.
Err composites_round(struct cloudwatch *cw, int64_t now_ns, bool *ret_any);
