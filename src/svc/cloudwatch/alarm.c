// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/alarm.h"
#include "aws/bind.h"
#include "base/time.h"

#include <string.h>

#define ROW_BEGIN S("1 ")

// ---- Rows are what clients see: the shapes of the answers, in JSON

static const struct shape *answer_shape(Str op, Str member)
{
    for (size_t i = 0; i < cloudwatch_api.op_count; i++) {
        const struct shape *out = cloudwatch_api.ops[i].output;
        if (!str_eq(cloudwatch_api.ops[i].name, op))
            continue;
        for (size_t j = 0; j < out->member_count; j++)
            if (str_eq(out->members[j].name, member))
                return out->members[j].shape->member;
    }
    CHECK(false);
    return NULL;
}

static const struct shape *alarm_shape(void)
{
    return answer_shape(S("DescribeAlarms"), S("MetricAlarms"));
}

static const struct shape *composite_shape(void)
{
    return answer_shape(S("DescribeAlarms"), S("CompositeAlarms"));
}

static const struct shape *history_shape(void)
{
    return answer_shape(S("DescribeAlarmHistory"), S("AlarmHistoryItems"));
}

static Err write_row(struct buf *b, const struct shape *shape, const void *value)
{
    buf_add(b, ROW_BEGIN);
    bind_write(&protocol_json_1_0, shape, value, b);
    return buf_err(b);
}

static Err read_row(struct arena *a, Str row, const struct shape *shape, void *ret)
{
    struct protocol_reader r;
    Str fault = { 0 };
    if (!str_starts(row, ROW_BEGIN))
        return fail(ERR_FORMAT, "a row was written by a newer program");
    protocol_json_1_0.reader_init(&r, a, str_dup(a, str_skip(row, ROW_BEGIN.n)));
    Err e = bind_decode(&r, shape, a, ret, &fault);
    if (e.kind == ERR_INVALID || e.kind == ERR_LIMIT || fault.p != NULL)
        return fail(ERR_CORRUPT, "a row of an alarm is damaged");
    return e;
}

Err alarm_read(struct arena *a, Str row, Alarm *ret)
{
    *ret = (Alarm){ 0 };
    return read_row(a, row, alarm_shape(), ret);
}

Err composite_read(struct arena *a, Str row, Composite *ret)
{
    *ret = (Composite){ 0 };
    return read_row(a, row, composite_shape(), ret);
}

Err history_read(struct arena *a, Str row, cloudwatch_AlarmHistoryItem *ret)
{
    *ret = (cloudwatch_AlarmHistoryItem){ 0 };
    return read_row(a, row, history_shape(), ret);
}

// ---- Names

static Str realm_prefix(struct arena *a, Realm r)
{
    return str_cat(a, str_fmt(a, "%.*s/%.*s", FMT(r.account), FMT(r.region)), S("\0"));
}

static Str alarm_key(struct arena *a, Realm r, Str name)
{
    return str_cat(a, realm_prefix(a, r), name);
}

Str alarm_arn(struct arena *a, Realm r, Str name)
{
    return str_fmt(a, "arn:aws:cloudwatch:%.*s:%.*s:alarm:%.*s", FMT(r.region), FMT(r.account),
                   FMT(name));
}

Str alarm_name_of(struct arena *a, Realm r, Str arn)
{
    Str start = alarm_arn(a, r, S(""));
    return str_starts(arn, start) && arn.n > start.n ? str_skip(arn, start.n) : (Str){ 0 };
}

// ---- Alarms

Err alarm_get(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r, Str name,
              Alarm *ret)
{
    Str row;
    kv_on(tx, cw->alarms);
    TRY(kv_get(tx, a, alarm_key(a, r, name), &row));
    return alarm_read(a, row, ret);
}

Err alarm_put(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
              const Alarm *alarm)
{
    AUTO_BUF(row);
    TRY(write_row(&row, alarm_shape(), alarm));
    kv_on(tx, cw->alarms);
    return kv_put(tx, alarm_key(a, r, alarm->alarm_name), buf_str(&row));
}

static Err delete_row(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r, Str name,
                      struct kv_table *table)
{
    cloudwatch_TagList tags;
    Str arn = alarm_arn(a, r, name);
    TRY(alarm_tags(cw, tx, a, arn, &tags));
    for (size_t i = 0; i < tags.n; i++)
        TRY(alarm_untag(cw, tx, a, arn, tags.at[i].key));
    kv_on(tx, table);
    return kv_del(tx, alarm_key(a, r, name));
}

Err alarm_delete(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r, Str name)
{
    return delete_row(cw, tx, a, r, name, cw->alarms);
}

Err alarm_admit(struct call *c, struct kv_txn *tx)
{
    struct cloudwatch *cw = c->state;
    Realm r = { c->account, c->region };
    size_t alarms, composites, max = cw->env.alarms_max > 0 ? cw->env.alarms_max : ALARMS_MAX;
    kv_on(tx, cw->composites);
    TRY(kv_count(tx, realm_prefix(c->arena, r), &composites));
    kv_on(tx, cw->alarms);
    TRY(kv_count(tx, realm_prefix(c->arena, r), &alarms));
    if (alarms + composites < max)
        return OK;
    return call_fail(c, &cloudwatch_LimitExceededFault,
                     "The quota of %zu alarms of this account is exhausted.", max);
}

struct kv_scan alarm_scan(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                          Str prefix, Str after)
{
    kv_on(tx, cw->alarms);
    return kv_scan_start(tx, alarm_key(a, r, prefix), after.n > 0 ? alarm_key(a, r, after) : S(""));
}

static Err row_after(struct kv_txn *tx, struct arena *a, Str key, Str *ret_key, Realm *ret_realm,
                     Str *ret_row)
{
    Str names, rest;
    struct kv_scan scan = kv_scan_start(tx, S(""), key);
    if (!kv_scan_next(&scan))
        return scan.err.kind != ERR_NONE ? scan.err : fail(ERR_NOT_FOUND, "no more alarms");
    *ret_key = str_dup(a, scan.rest);
    *ret_row = str_dup(a, scan.value);
    kv_scan_end(&scan);
    str_cut(*ret_key, '\0', &names, &rest);
    str_cut(names, '/', &ret_realm->account, &ret_realm->region);
    return OK;
}

Err alarm_after(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Str key, Str *ret_key,
                Realm *ret_realm, Alarm *ret)
{
    Str row;
    kv_on(tx, cw->alarms);
    TRY(row_after(tx, a, key, ret_key, ret_realm, &row));
    return alarm_read(a, row, ret);
}

// ---- Composite alarms

Err composite_get(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r, Str name,
                  Composite *ret)
{
    Str row;
    kv_on(tx, cw->composites);
    TRY(kv_get(tx, a, alarm_key(a, r, name), &row));
    return composite_read(a, row, ret);
}

Err composite_put(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                  const Composite *alarm)
{
    AUTO_BUF(row);
    TRY(write_row(&row, composite_shape(), alarm));
    kv_on(tx, cw->composites);
    return kv_put(tx, alarm_key(a, r, alarm->alarm_name), buf_str(&row));
}

Err composite_delete(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r, Str name)
{
    return delete_row(cw, tx, a, r, name, cw->composites);
}

struct kv_scan composite_scan(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                              Str prefix, Str after)
{
    kv_on(tx, cw->composites);
    return kv_scan_start(tx, alarm_key(a, r, prefix), after.n > 0 ? alarm_key(a, r, after) : S(""));
}

Err composite_after(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Str key,
                    Str *ret_key, Realm *ret_realm, Composite *ret)
{
    Str row;
    kv_on(tx, cw->composites);
    TRY(row_after(tx, a, key, ret_key, ret_realm, &row));
    return composite_read(a, row, ret);
}

Err alarm_state(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r, Str name,
                AlarmState *ret)
{
    Alarm alarm;
    Composite composite;
    Err e = alarm_get(cw, tx, a, r, name, &alarm);
    if (e.kind == ERR_NONE)
        *ret = (AlarmState){ name, alarm.alarm_arn, alarm.state_value,
                             alarm.state_transitioned_timestamp };
    if (e.kind != ERR_NOT_FOUND)
        return e;
    TRY(composite_get(cw, tx, a, r, name, &composite));
    *ret = (AlarmState){ name, composite.alarm_arn, composite.state_value,
                         composite.state_transitioned_timestamp };
    return OK;
}

// ---- Tags

static Str tag_prefix(struct arena *a, Str arn)
{
    return str_cat(a, arn, S("\0"));
}

Err alarm_tags(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Str arn,
               cloudwatch_TagList *ret)
{
    cloudwatch_TagList tags = { .set = true };
    tags.at = arena_new(a, cloudwatch_Tag, ALARM_TAGS_MAX);
    kv_on(tx, cw->tags);
    struct kv_scan scan = kv_scan_start(tx, tag_prefix(a, arn), S(""));
    while (tags.n < ALARM_TAGS_MAX && kv_scan_next(&scan))
        tags.at[tags.n++] =
            (cloudwatch_Tag){ .key = str_dup(a, scan.rest), .value = str_dup(a, scan.value) };
    kv_scan_end(&scan);
    *ret = tags;
    return scan.err;
}

Err alarm_tag(struct cloudwatch *cw, struct kv_txn *tx, struct arena *tmp, Str arn, Str key,
              Str value)
{
    size_t held;
    kv_on(tx, cw->tags);
    TRY(kv_put(tx, str_cat(tmp, tag_prefix(tmp, arn), key), value));
    TRY(kv_count(tx, tag_prefix(tmp, arn), &held));
    return held <= ALARM_TAGS_MAX ? OK : fail(ERR_LIMIT, "an alarm has too many tags");
}

Err alarm_untag(struct cloudwatch *cw, struct kv_txn *tx, struct arena *tmp, Str arn, Str key)
{
    kv_on(tx, cw->tags);
    return kv_del(tx, str_cat(tmp, tag_prefix(tmp, arn), key));
}

// ---- History

static Str big_endian(struct arena *a, uint64_t value)
{
    unsigned char *p = arena_alloc(a, sizeof value, 1);
    for (size_t i = sizeof value; i > 0; i--, value >>= 8)
        p[i - 1] = (unsigned char)value;
    return str_from(p, sizeof value);
}

Err history_add(struct cloudwatch *cw, struct kv_txn *tx, struct arena *tmp, Realm r,
                const cloudwatch_AlarmHistoryItem *item)
{
    AUTO_BUF(row);
    uint64_t id;
    TRY(write_row(&row, history_shape(), item));
    TRY(kv_next_id(tx, &id));
    Str when = big_endian(tmp, ~(uint64_t)(item->timestamp / NS_PER_MS));
    kv_on(tx, cw->history);
    return kv_put(tx, str_cat3(tmp, realm_prefix(tmp, r), when, big_endian(tmp, UINT64_MAX - id)),
                  buf_str(&row));
}

struct kv_scan history_scan(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                            Str after)
{
    Str prefix = realm_prefix(a, r);
    kv_on(tx, cw->history);
    return kv_scan_start(tx, prefix, after.n > 0 ? str_cat(a, prefix, after) : S(""));
}

Err history_expire(struct cloudwatch *cw, struct kv_txn *tx, int64_t now_s, size_t max,
                   bool *ret_more)
{
    enum { PLACE_BYTES = 16 }; // time and id, at the end of a key
    AUTO(arena) tmp = arena_open();
    Str *keys = arena_new(tmp, Str, max);
    size_t n = 0;
    Str horizon = big_endian(tmp, ~(uint64_t)(MAX(now_s - ALARM_HISTORY_KEPT_S, 0) * 1000));
    kv_on(tx, cw->history);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (n < max && kv_scan_next(&scan)) {
        Str key = scan.rest;
        Str when = key.n > PLACE_BYTES ? str_head(str_skip(key, key.n - PLACE_BYTES), 8) : S("");
        if (str_cmp(when, horizon) > 0)
            keys[n++] = str_dup(tmp, key);
    }
    kv_scan_end(&scan);
    TRY(scan.err);
    for (size_t i = 0; i < n; i++)
        TRY(kv_del(tx, keys[i]));
    *ret_more = n == max;
    return OK;
}
