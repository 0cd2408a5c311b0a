// SPDX-License-Identifier: Apache-2.0
// Alarms, their tags and their history, in kv.
//
//     table cloudwatch.alarms   key    account / region  0x00  name
//                               value  "1 " and the alarm as JSON, as DescribeAlarms tells it
//     table cloudwatch.composites       the same of composite alarms
//     table cloudwatch.tags     key    ARN  0x00  tag key             value  the tag's value
//     table cloudwatch.history  key    account / region  0x00  ~time in ms, big-endian (8)  id (8)
//                               value  "1 " and the item as JSON, as DescribeAlarmHistory tells it
//
// The newest item of history comes first. Items outlive their alarm.
#pragma once
#include "svc/cloudwatch/cloudwatch.h"

enum {
    ALARMS_MAX = 5000, // of an account in a region: AWS's quota
    ALARM_TAGS_MAX = 50,
    ALARM_HISTORY_DATA_BYTES_MAX = 4095,
};
#define ALARM_HISTORY_KEPT_S (30 * INT64_C(86400))

typedef cloudwatch_MetricAlarm Alarm;
typedef cloudwatch_CompositeAlarm Composite;

// Whose: of a call, or of a row.
typedef struct Realm {
    Str account, region;
} Realm;

Str alarm_arn(struct arena *a, Realm r, Str name);
// The name in an ARN of one of the realm's alarms; absent: it is not one.
Str alarm_name_of(struct arena *a, Realm r, Str arn);

// Within a transaction of the store. Texts lie in the arena.
Err alarm_get(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r, Str name,
              Alarm *ret); // ERR_NOT_FOUND
Err alarm_put(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
              const Alarm *alarm);
Err alarm_delete(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r, Str name);
// Whether there is room for one more, of either kind: LimitExceededFault.
Err alarm_admit(struct call *c, struct kv_txn *tx);

// The alarms of a realm whose names begin with a prefix, after a name (empty: from the first).
struct kv_scan alarm_scan(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                          Str prefix, Str after);
Err alarm_read(struct arena *a, Str row, Alarm *ret); // a row's value
// The next alarm of all realms after a key (empty: the first). ERR_NOT_FOUND: there is none.
Err alarm_after(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Str key, Str *ret_key,
                Realm *ret_realm, Alarm *ret);

// ---- Composite alarms: the same. A name belongs to one alarm, of either kind.
Err composite_get(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r, Str name,
                  Composite *ret); // ERR_NOT_FOUND
Err composite_put(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                  const Composite *alarm);
Err composite_delete(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r, Str name);
struct kv_scan composite_scan(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                              Str prefix, Str after);
Err composite_read(struct arena *a, Str row, Composite *ret);
Err composite_after(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Str key,
                    Str *ret_key, Realm *ret_realm, Composite *ret);

// The state of an alarm of either kind. ERR_NOT_FOUND.
typedef struct AlarmState {
    Str name, arn, value;
    int64_t transitioned_ns;
} AlarmState;
Err alarm_state(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r, Str name,
                AlarmState *ret);

// ---- Tags
Err alarm_tags(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Str arn,
               cloudwatch_TagList *ret);
Err alarm_tag(struct cloudwatch *cw, struct kv_txn *tx, struct arena *tmp, Str arn, Str key,
              Str value);
Err alarm_untag(struct cloudwatch *cw, struct kv_txn *tx, struct arena *tmp, Str arn, Str key);

// ---- History
Err history_add(struct cloudwatch *cw, struct kv_txn *tx, struct arena *tmp, Realm r,
                const cloudwatch_AlarmHistoryItem *item);
struct kv_scan history_scan(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                            Str after); // `after`: a key as scan.rest told it
Err history_read(struct arena *a, Str row, cloudwatch_AlarmHistoryItem *ret);
Err history_expire(struct cloudwatch *cw, struct kv_txn *tx, int64_t now_s, size_t max,
                   bool *ret_more);

// The period in which an alarm on several queries is looked at: that of its longest metric.
int64_t alarm_period_of(const cloudwatch_MetricDataQueries *list);

// ---- Changes of state

// The alarm in another state, with its history; the caller commits. What it wants done then is
// done by alarm_act, after the commit.
Err alarm_change_state(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                       Alarm *alarm, Str state, Str reason, Str reason_data, int64_t now_ns);
Err composite_change_state(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                           Composite *alarm, Str state, Str reason, Str reason_data,
                           int64_t now_ns);

// One change of either kind of alarm, into the history.
typedef struct StateChange {
    Str name, type;
    Str old_value, old_reason, old_data, value, reason, data;
    int64_t at_ns;
} StateChange;
Err alarm_note_state(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                     const StateChange *s);
// That a call has made, changed or deleted an alarm: "Create", "created".
Err alarm_note_change(struct call *c, struct kv_txn *tx, Str name, Str type, const char *what,
                      const char *did);

void alarm_act(struct cloudwatch *cw, struct arena *tmp, Realm r, const Alarm *alarm,
               Str old_state);
void composite_act(struct cloudwatch *cw, struct arena *tmp, Realm r, const Composite *alarm,
                   Str old_state);
