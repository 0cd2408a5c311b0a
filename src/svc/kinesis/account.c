// SPDX-License-Identifier: Apache-2.0
// DescribeAccountSettings and UpdateAccountSettings: the minimum throughput billing commitment of
// an account in a region (API reference, UpdateAccountSettings; developer guide, "On-demand
// Advantage"). It lasts for a day at least: ended sooner, it ends when the day is over.
//
//     table kinesis.meta    key = commitment/account/region    value = JSON, times in ms; 0: not
//     yet
#include "base/time.h"
#include "codec/json.h"
#include "svc/kinesis/kinesis.h"

#define LEAST_MS (INT64_C(24) * 3600 * 1000)

typedef struct Commitment {
    int64_t started_ms, ended_ms; // ended_ms may lie ahead
} Commitment;

static Str row_key(const struct call *c)
{
    return str_cat(c->arena, S("commitment/"), kinesis_realm_name(c));
}

static int64_t get_ms(const JsonValue *row, Str key)
{
    const JsonValue *v = json_find(row, key);
    return v != NULL && v->kind == JSON_NUMBER ? v->integer : -1;
}

static Err read_row(struct call *c, struct kv_txn *tx, Commitment *ret)
{
    Str text;
    JsonValue *row;
    *ret = (Commitment){ 0 };
    Err e = kv_get(tx, c->arena, row_key(c), &text);
    if (e.kind == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    if (json_parse(c->arena, text, &row).kind == ERR_NONE) {
        ret->started_ms = get_ms(row, S("started_ms"));
        ret->ended_ms = get_ms(row, S("ended_ms"));
        if (ret->started_ms > 0 && ret->ended_ms >= 0)
            return OK;
    }
    return fail(ERR_CORRUPT, "the row of an account's commitment is damaged");
}

static Err write_row(struct call *c, struct kv_txn *tx, const Commitment *m)
{
    return kv_put(tx, row_key(c),
                  str_fmt(c->arena, "{\"started_ms\":%lld,\"ended_ms\":%lld}",
                          (long long)m->started_ms, (long long)m->ended_ms));
}

static bool is_enabled(const Commitment *m, int64_t now_ms)
{
    return m->started_ms > 0 && (m->ended_ms == 0 || m->ended_ms > now_ms);
}

static const kinesis_MinimumThroughputBillingCommitmentOutput *describe(struct call *c,
                                                                        const Commitment *m)
{
    kinesis_MinimumThroughputBillingCommitmentOutput *out =
        arena_new(c->arena, kinesis_MinimumThroughputBillingCommitmentOutput, 1);
    bool enabled = is_enabled(m, c->now_ns / NS_PER_MS);
    out->status =
        !enabled ? kinesis_MinimumThroughputBillingCommitmentOutputStatus_DISABLED
        : m->ended_ms == 0
            ? kinesis_MinimumThroughputBillingCommitmentOutputStatus_ENABLED
            : kinesis_MinimumThroughputBillingCommitmentOutputStatus_ENABLED_UNTIL_EARLIEST_ALLOWED_END;
    out->has_started_at = m->started_ms > 0;
    out->started_at = m->started_ms * NS_PER_MS;
    out->has_ended_at = m->started_ms > 0 && !enabled;
    out->ended_at = m->ended_ms * NS_PER_MS;
    out->has_earliest_allowed_end_at = enabled;
    out->earliest_allowed_end_at = (m->started_ms + LEAST_MS) * NS_PER_MS;
    return out;
}

Err kinesis_has_commitment(struct call *c, bool *ret)
{
    struct kinesis *k = c->state;
    Commitment m;
    AUTO(kv_txn) tx = kv_read(k->meta);
    TRY(read_row(c, tx, &m));
    *ret = is_enabled(&m, c->now_ns / NS_PER_MS);
    return OK;
}

Err kinesis_require_commitment(struct call *c)
{
    bool has;
    TRY(kinesis_has_commitment(c, &has));
    if (has)
        return OK;
    return call_fail(c, &kinesis_InvalidArgumentException,
                     "WarmThroughputMiBps needs the minimum throughput billing commitment of "
                     "account %.*s, which is not enabled.",
                     FMT(c->account));
}

Err kinesis_DescribeAccountSettings(struct call *c,
                                    const struct kinesis_DescribeAccountSettings_in *in,
                                    struct kinesis_DescribeAccountSettings_out *out)
{
    (void)in;
    struct kinesis *k = c->state;
    Commitment m;
    TRY(kinesis_admit(c, (Str){ 0 }));
    AUTO(kv_txn) tx = kv_read(k->meta);
    TRY(read_row(c, tx, &m));
    out->minimum_throughput_billing_commitment = describe(c, &m);
    return OK;
}

static void apply(Commitment *m, bool enable, int64_t now_ms)
{
    if (enable && is_enabled(m, now_ms))
        m->ended_ms = 0; // also if it was about to end
    else if (enable)
        *m = (Commitment){ .started_ms = now_ms };
    else if (is_enabled(m, now_ms))
        m->ended_ms = MAX(now_ms, m->started_ms + LEAST_MS);
}

Err kinesis_UpdateAccountSettings(struct call *c, const struct kinesis_UpdateAccountSettings_in *in,
                                  struct kinesis_UpdateAccountSettings_out *out)
{
    struct kinesis *k = c->state;
    Commitment m;
    TRY(kinesis_admit(c, (Str){ 0 }));
    AUTO(kv_txn) tx = kv_write(k->meta);
    TRY(read_row(c, tx, &m));
    apply(&m,
          str_eq(in->minimum_throughput_billing_commitment->status,
                 kinesis_MinimumThroughputBillingCommitmentInputStatus_ENABLED),
          c->now_ns / NS_PER_MS);
    if (m.started_ms > 0)
        TRY(write_row(c, tx, &m));
    TRY(kv_commit(tx));
    out->minimum_throughput_billing_commitment = describe(c, &m);
    return OK;
}
