// SPDX-License-Identifier: Apache-2.0
// StartDeliveryStreamEncryption and StopDeliveryStreamEncryption (developer guide, "Data
// protection"). Only what is put afterwards is concerned: what is stored stays as it is, and both
// are delivered. A change takes effect at once; it is shown as ENABLING or DISABLING as long as the
// server was told that changes take.
#include "svc/firehose/encryption.h"
#include "base/time.h"
#include "hub/hub.h"
#include "svc/firehose/crypt.h"

static Err find_key(struct call *c, Str given, struct hose *h, Str *ret_arn)
{
    struct firehose *f = c->state;
    const struct hub_keys *keys = f->env.hub != NULL ? f->env.hub->keys : NULL;
    HubKeyAnswer answer = { 0 };
    if (keys == NULL)
        return fail(ERR_NOT_FOUND, "there is no key service");
    TRY(keys->find(keys->self, c, given, ret_arn, &answer));
    if (answer.fault == HUB_KEY_GOOD) // the caller makes the grant
        keys->check(keys->self, c, *ret_arn, S("kms:CreateGrant"), &answer);
    return hose_crypt_refused(c, h, &answer);
}

// Streams with a customer's key may be so many (API reference, CreateDeliveryStream). One that has
// such a key may get another.
static Err check_quota(struct call *c, const struct hose *h)
{
    struct firehose *f = c->state;
    size_t first, n, used = 0;
    if (f->env.limits <= 0)
        return OK;
    pthread_rwlock_rdlock(&f->lock);
    firehose_realm(f, c->account, c->region, &first, &n);
    for (size_t i = first; i < first + n; i++)
        used += f->sorted[i] != h && f->sorted[i]->state->f.key_kind == HOSE_KEY_CUSTOMER;
    pthread_rwlock_unlock(&f->lock);
    if (used < HOSES_WITH_KEYS_MAX)
        return OK;
    return call_fail(c, &firehose_LimitExceededException,
                     "You can have up to %d firehoses encrypted with keys of type "
                     "CUSTOMER_MANAGED_CMK.",
                     HOSES_WITH_KEYS_MAX);
}

static Err choose_key(struct call *c, const firehose_DeliveryStreamEncryptionConfigurationInput *in,
                      struct hose *h, HoseFields *ret)
{
    bool owned = in == NULL || str_eq(in->key_type, firehose_KeyType_AWS_OWNED_CMK);
    Str given = in != NULL ? in->key_arn : (Str){ 0 };
    if (owned && given.p != NULL)
        return call_fail(c, &firehose_InvalidArgumentException,
                         "KeyARN must not be specified when KeyType is AWS_OWNED_CMK.");
    if (!owned && given.p == NULL)
        return call_fail(c, &firehose_InvalidArgumentException,
                         "KeyARN must be specified when KeyType is CUSTOMER_MANAGED_CMK.");
    ret->key_kind = owned ? HOSE_KEY_OWNED : HOSE_KEY_CUSTOMER;
    ret->key_arn = (Str){ 0 };
    if (owned)
        return OK;
    TRY(check_quota(c, h));
    return find_key(c, given, h, &ret->key_arn);
}

static int64_t settled_ms(const struct call *c)
{
    const struct firehose *f = c->state;
    return (c->now_ns + f->env.change_ns) / NS_PER_MS;
}

Err encryption_of_input(struct call *c,
                        const firehose_DeliveryStreamEncryptionConfigurationInput *in,
                        HoseFields *ret)
{
    if (in == NULL)
        return OK;
    ret->key_since_ms = settled_ms(c);
    return choose_key(c, in, NULL, ret);
}

const firehose_DeliveryStreamEncryptionConfiguration *
encryption_description(struct arena *a, const HoseFields *x, int64_t now_ms)
{
    firehose_DeliveryStreamEncryptionConfiguration *d =
        arena_new(a, firehose_DeliveryStreamEncryptionConfiguration, 1);
    bool on = x->key_kind != HOSE_KEY_NONE, settled = now_ms >= x->key_since_ms;
    if (x->source_arn.p != NULL)
        return NULL; // the source's own
    if (on && settled)
        d->status = firehose_DeliveryStreamEncryptionStatus_ENABLED;
    else if (on)
        d->status = firehose_DeliveryStreamEncryptionStatus_ENABLING;
    else
        d->status = settled ? firehose_DeliveryStreamEncryptionStatus_DISABLED
                            : firehose_DeliveryStreamEncryptionStatus_DISABLING;
    if (on) {
        d->key_type = x->key_kind == HOSE_KEY_OWNED ? firehose_KeyType_AWS_OWNED_CMK
                                                    : firehose_KeyType_CUSTOMER_MANAGED_CMK;
        d->key_arn = x->key_arn.p != NULL ? str_dup(a, x->key_arn) : x->key_arn;
    }
    return d;
}

// ---- Operations

static Err check_state(struct call *c, const HoseView *v)
{
    if (v->hose->gone)
        return firehose_not_found(c, v->hose->name);
    if (v->f->source_arn.p != NULL)
        return call_fail(c, &firehose_InvalidArgumentException,
                         "This operation is not permitted on KinesisStreamAsSource delivery stream "
                         "type.");
    bool changing = c->now_ns / NS_PER_MS < v->f->key_since_ms;
    if (hose_status(v->f, c->now_ns / NS_PER_MS) == HOSE_ACTIVE && !changing)
        return OK;
    return call_fail(c, &firehose_ResourceInUseException,
                     "Firehose %.*s under account %.*s is being changed. Please retry after some "
                     "time.",
                     FMT(v->hose->name), FMT(c->account));
}

static Err change_locked(struct call *c, HoseView *v, bool on,
                         const firehose_DeliveryStreamEncryptionConfigurationInput *in)
{
    firehose_renew(c->state, v);
    TRY(check_state(c, v));
    HoseFields fields = *v->f;
    if (!hose_take_turn(&fields, c->now_ns / NS_PER_MS))
        return call_fail(c, &firehose_LimitExceededException,
                         "The server-side encryption of firehose %.*s under account %.*s was "
                         "started or stopped %d times in the last 24 hours, which is the limit.",
                         FMT(v->hose->name), FMT(c->account), HOSE_TURNS_MAX);
    fields.key_since_ms = settled_ms(c);
    if (on) {
        TRY(choose_key(c, in, v->hose, &fields));
    } else {
        fields.key_kind = HOSE_KEY_NONE;
        fields.key_arn = (Str){ 0 };
    }
    return firehose_change(c->state, v->hose, &fields);
}

static Err change(struct call *c, Str name, bool on,
                  const firehose_DeliveryStreamEncryptionConfigurationInput *in)
{
    AUTO_VIEW(v);
    TRY(hose_limit_call(c));
    TRY(firehose_find(c, name, &v));
    TRY(firehose_change_begin(c));
    Err e = change_locked(c, &v, on, in);
    firehose_change_end(c->state);
    return e;
}

Err firehose_StartDeliveryStreamEncryption(
    struct call *c, const struct firehose_StartDeliveryStreamEncryption_in *in,
    struct firehose_StartDeliveryStreamEncryption_out *out)
{
    (void)out;
    return change(c, in->delivery_stream_name, true,
                  in->delivery_stream_encryption_configuration_input);
}

Err firehose_StopDeliveryStreamEncryption(struct call *c,
                                          const struct firehose_StopDeliveryStreamEncryption_in *in,
                                          struct firehose_StopDeliveryStreamEncryption_out *out)
{
    (void)out;
    return change(c, in->delivery_stream_name, false, NULL);
}
